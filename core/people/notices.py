"""Notices to one person that answer no message, as that their sign-in link was replaced."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.base.i18n import say

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
    "schedule-missed": (
        "The schedule `{schedule}` did not run at {when}, and it is too late to run it now: Ponte "
        "was not running then, or the platform did not tell who you are. It does this: {what}"
    ),
    "schedule-busy": (
        "The schedule `{schedule}` did not run at {when}, because its previous run had not ended. "
        "It does this: {what}"
    ),
    "schedule-unknown": (
        "The schedule `{schedule}` did not run at {when}, because the platform did not report in "
        "time whether you are still a member. It does this: {what}"
    ),
    "schedule-failed": "The schedule `{schedule}` failed at {when}. It does this: {what}",
    "schedule-failures": (
        "The schedule `{schedule}` is paused, because several of its runs failed, last at "
        "{when}. Check its answers, then resume it. It does this: {what}"
    ),
    "schedule-rights": (
        "The schedule `{schedule}` is paused. When it was due at {when}, its owner no longer had "
        "permission for it in that place. It does this: {what}"
    ),
    "schedule-allowance": (
        "The schedule `{schedule}` did not run at {when}, because an allowance is used up. It runs "
        "again at its next time. It does this: {what}"
    ),
}
"""The sentence of each kind of notice. A kind is stored, so it keeps its name."""


@dataclass(frozen=True, slots=True)
class PersonNotice:
    """A notice to one person. `values` fill the sentence of its kind; `created_at` is in seconds
    since the epoch."""

    id: str
    kind: str
    values: Mapping[str, str]
    created_at: float

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
