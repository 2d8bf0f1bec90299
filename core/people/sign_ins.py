"""People who sign in to the page with Slack or with an account of their company (OIDC)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from core.domain.messages import Person
from core.store.tables import TableDeclaration, real, text

SIGN_INS_TABLE = TableDeclaration(
    name="sign_ins",
    whose="person",
    section="sign_in",
    seen_at="first_at",
    contents="people who sign in to the page with Slack or their company's account: name, groups, "
    "with which provider, when first and last, and when the provider last confirmed them",
    kept="until they are forgotten",
    columns=(
        text("person"),
        text("provider"),
        text("name"),
        text("group_names", json=True),
        text("session_key", secret=True),
        real("first_at"),
        real("last_at"),
        real("confirmed_at"),
        real("removed_at", default=0),
    ),
    key=("person",),
    deleted_by=("person",),
)

OIDC_PLATFORM = "oidc"
"""The platform of people whose provider is a `[sign_in.NAME]` of ponte.toml."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as a provider has just confirmed them.

    `provider` is the NAME of `[sign_in.NAME]`, or "slack". `person` has the name to show, which
    never identifies anybody. `groups` are those of the provider's token, by their names there.
    """

    provider: str
    person: Person
    groups: tuple[str, ...] = ()


def escape_subject(subject: str) -> str:
    """Return an account's id at its provider as it stands in a person's key. Colons, commas, spaces
    and other characters are percent-encoded, so that no id can look like another key."""
    return quote(subject, safe="")
