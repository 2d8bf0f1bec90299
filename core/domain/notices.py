"""Notices to one person that answer no message, as that their sign-in link was replaced."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.text.i18n import say

LINK_RENEWED, ACCESS_REMOVED = "link-renewed", "access-removed"
"""Kinds of notices whose id is the SHA-256 of the sign-in token that ended."""
SENTENCES: Mapping[str, str] = {
    LINK_RENEWED: (
        "The owner of this Ponte replaced your sign-in link. The earlier link and its sessions "
        "have ended. Your API tokens stay valid."
    ),
    ACCESS_REMOVED: "The owner of this Ponte removed your access to this page.",
    "api-token-added": (
        "The owner of this Ponte created an API token for you: {name}. A program that has it can "
        "chat as you."
    ),
    "api-token-revoked": (
        "The owner of this Ponte revoked one of your API tokens: {name}. Programs can no longer "
        "use it."
    ),
}
"""The sentence of each kind of notice. A kind is stored, so it keeps its name."""


@dataclass(frozen=True, slots=True)
class PersonNotice:
    """A notice to one person. `values` fill the sentence of its kind; `at` is in seconds since the
    epoch."""

    id: str
    kind: str
    values: Mapping[str, str]
    at: float

    @classmethod
    def new(cls, id: str, kind: str, **values: str) -> PersonNotice:
        """Return a notice of this moment. Raise KeyError for an unknown kind."""
        say(SENTENCES[kind], **values)
        return cls(id, kind, values, time.time())

    @property
    def stored_text(self) -> str:
        """The kind and the values as JSON. The language is chosen when the person gets it."""
        return json.dumps({"kind": self.kind, "values": dict(self.values)})

    @classmethod
    def read(cls, id: str, stored_text: str, at: float) -> PersonNotice:
        """Return a stored notice."""
        stored = json.loads(stored_text)
        return cls(id, stored["kind"], stored["values"], at)

    def words(self, escape: Callable[[str], str] = str) -> str:
        """Return the notice in the current language. `escape` makes a value safe for the place that
        shows it. Raise KeyError for a kind that only a newer version knows."""
        values = {name: escape(value) for name, value in self.values.items()}
        return say(SENTENCES[self.kind], **values)
