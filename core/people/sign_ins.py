"""People who sign in to the page with Slack or with an account of their company (OIDC)."""

from __future__ import annotations

from dataclasses import dataclass

from core.domain.messages import Person

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
