"""Protocols of the page's accounts, the owner's name and known people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from core.domain.records import (
    ApiToken,
    EndedToken,
    PageAccount,
)


class PageAccounts(Protocol):
    """The named accounts of a surface that belongs to the owner, in addition to the owner."""

    async def list_all(self) -> Sequence[PageAccount]:
        """Return all accounts."""

    async def find(self, person: str) -> PageAccount | None:
        """Return the account by the person's key."""

    async def record_visit(self, person: str, day: str) -> None:
        """Record that the person used the surface on that day."""

    async def end_session(self, session: str, until: float) -> None:
        """End a session, in every process, that would otherwise last until `until`.

        Raises NotStored.
        """

    async def is_session_ended(self, session: str) -> bool:
        """Return True if the session was ended. Raises NotStored."""

    async def find_api_token(self, token_hash: str) -> ApiToken | None:
        """Return the API token with this SHA-256, None if there is none. Raises NotStored."""

    async def record_api_token_use(self, id: str, day: str) -> None:
        """Record that an API token was used on that day."""

    async def list_api_tokens(self, person: str = "") -> Sequence[ApiToken]:
        """Return the API tokens of a person (a key), or of everybody."""

    async def create_api_token(self, person: str, name: str, days: int) -> tuple[ApiToken, str]:
        """Create an API token for a person. Return it and its text, which is stored nowhere.

        `days` is how long it is valid; 0 means without end. Raises BadInput and NotStored.
        """

    async def revoke_api_token(self, id: str, person: str = "") -> ApiToken:
        """Delete an API token, of that person if one is given, and return it.

        Raises NotFound and NotStored.
        """

    async def find_ended_token(self, token_hash: str) -> EndedToken | None:
        """Return the sign-in token with this SHA-256 if it was replaced or removed lately. Raises
        NotStored."""

    async def list_ended_tokens(self, person: str) -> Sequence[EndedToken]:
        """Return the sign-in tokens of this person (a key) that were replaced or removed lately."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Register a function to call when somebody's access changes, in any process.

        Access changes when a token is replaced or revoked, or a session is ended.
        """


class OwnerNames(Protocol):
    """The name of the person who owns this Ponte."""

    @property
    def current(self) -> str:
        """The name to show; "" if none is known."""

    async def change(self, name: str) -> None:
        """Store a name; "" returns to the setting's or the system's name. Raises NotStored."""
