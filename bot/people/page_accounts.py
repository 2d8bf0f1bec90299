"""Accounts of the page: who may sign in, their API tokens, and the work of `ponte people`."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from adapters.web import WEB
from core.base.errors import BadInput, NotFound, PonteError
from core.base.text import to_one_line
from core.domain.messages import Address, Person
from core.domain.records import ApiToken, EndedToken, PageAccount
from core.journal.peers import Peers
from core.people.audit import Audit
from core.people.page_accounts import SqlPageAccounts, hash_token, new_api_token, new_token
from core.people.rules import OWNER_ID

ACCOUNTS_CHANGED_TOPIC = "people"
"""The notification between processes that an account or a session has changed."""
MAX_API_TOKEN_NAME_CHARACTERS = 60
MAX_API_TOKEN_DAYS = 3660
"""The longest time for which an API token can be valid: ten years."""


class WrongName(BadInput):
    """The name of a page account contains characters that are not allowed, or is too long."""

    sentence = (
        "{name} is not a valid name. Use up to 32 lowercase letters, digits, dots, hyphens "
        "and underscores, starting with a letter or digit."
    )


class WrongTokenDays(BadInput):
    """An API token cannot be valid for this number of days."""

    sentence = "Give a number of days from 1 to {limit}, or 0 for a token that does not expire."


class OwnersName(BadInput):
    """The name `owner` cannot be given to another person."""

    sentence = "`owner` is the person with the page's own token, which `ponte link` prints."


async def _ignore_departure(person: str, turns: Sequence[int]) -> None:
    return None


class PageAccountService:
    """The `PageAccounts` port, with changes.

    Every process is notified of each change.
    """

    def __init__(self, store: SqlPageAccounts, peers: Peers, audit: Audit) -> None:
        self._store = store
        self._audit = audit
        self.on_left = _ignore_departure
        """Called with the key of each person whose account is removed, and the turns that run for
        them."""
        self._peers = peers
        self._listeners: list[Callable[[], None]] = []
        peers.on(ACCOUNTS_CHANGED_TOPIC, self._notify_listeners)

    async def list_all(self) -> Sequence[PageAccount]:
        """Return all accounts."""
        return await self._store.list_all()

    async def find(self, person: str) -> PageAccount | None:
        """Return the account of a person (a key), or None."""
        return await self._store.find(person)

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Return whether the person has left since then (`DepartureLookup`).

        An account of the same name that was added later belongs to somebody else.
        """
        if person.id == OWNER_ID:
            return False
        account = await self._store.find(person.key)
        return account is None or account.added_at > since

    async def record_visit(self, person: str, day: str) -> None:
        """Store `day` (YYYY-MM-DD) as the last day on which the person used the page."""
        await self._store.record_visit(person, day)

    async def end_session(self, session: str, until: float) -> None:
        """End a browser's session in every process. It would expire at `until` (Unix seconds)."""
        await self._store.end_session(session, until)
        await self._notify_all()

    async def is_session_ended(self, session: str) -> bool:
        """Return True if the session was ended by its user."""
        return await self._store.is_session_ended(session)

    async def find_ended_token(self, token_hash: str) -> EndedToken | None:
        """Return the sign-in token with this hash if it was replaced or removed lately."""
        return await self._store.find_ended_token(token_hash)

    async def list_ended_tokens(self, person: str) -> Sequence[EndedToken]:
        """Return the sign-in tokens of a person that were replaced or removed lately."""
        return await self._store.list_ended_tokens(person)

    async def find_api_token(self, token_hash: str) -> ApiToken | None:
        """Return the API token with this hash, or None."""
        return await self._store.find_api_token(token_hash)

    async def record_api_token_use(self, id: str, day: str) -> None:
        """Store `day` (YYYY-MM-DD) as the last day on which the API token was used."""
        await self._store.record_api_token_use(id, day)

    async def list_api_tokens(self, person: str = "") -> Sequence[ApiToken]:
        """Return the API tokens of a person, or of everybody."""
        return await self._store.list_api_tokens(person)

    async def create_api_token(
        self, person: str, name: str, days: int, by: Person | None = None
    ) -> tuple[ApiToken, str]:
        """Create an API token for the owner or a person with an account (a key).

        `by` is the owner who does it for them; they get a notice. None: they do it themselves.
        Return the token's record and its text. Raise NotFound, TooManyApiTokens, WrongTokenDays.
        """
        platform, _, id = person.partition(":")
        if id != OWNER_ID and await self._store.find(person) is None:
            raise NotFound(what=id)
        if not 0 <= days <= MAX_API_TOKEN_DAYS:
            raise WrongTokenDays(limit=MAX_API_TOKEN_DAYS)
        text, now = new_api_token(), time.time()
        name = to_one_line(name, MAX_API_TOKEN_NAME_CHARACTERS)
        expires = now + 86_400 * days if days else 0.0
        token = ApiToken(secrets.token_hex(4), person, hash_token(text), name, now, expires)
        await self._store.add_api_token(token, notifies=by is not None)
        actor = by or Person(platform, id)
        await self._audit.write_note("api-token-added", actor, person=person, api_token=token.id)
        return token, text

    async def revoke_api_token(
        self, id: str, person: str = "", by: Person | None = None
    ) -> ApiToken:
        """Delete an API token, of that person if one is given. `by` is as in `create_api_token`.

        Requests that it began end. Raise NotFound.
        """
        token = await self._store.revoke_api_token(id, person, notifies=by is not None)
        await self._notify_all()
        platform, _, name = token.person.partition(":")
        actor = by or Person(platform, name)
        await self._audit.write_note("api-token-revoked", actor, person=token.person, api_token=id)
        return token

    async def add(self, person: Person) -> str:
        """Create an account and return its token. Raise NameTaken, NotStored."""
        token = new_token()
        await self._store.add(person.key, hash_token(token))
        return token

    async def renew(self, person: Person) -> str:
        """Return a new token; the one before and its sessions end. Raise NotFound."""
        token = new_token()
        await self._store.renew(person.key, hash_token(token))
        await self._notify_all()
        return token

    async def remove(self, person: str) -> None:
        """Delete an account and end what its person began. Raise NotFound."""
        turns = await self._store.remove(person)
        await self._notify_all()
        await self.on_left(person, turns)

    def on_change(self, heard: Callable[[], None]) -> None:
        """Call `heard` after each change of an account or session, also by another process."""
        self._listeners.append(heard)

    def person(self, name: str, *, owner: bool = False) -> Person:
        """Return the person of an account's name. `owner`: that may be the owner. Raise WrongName,
        OwnersName."""
        if name == OWNER_ID and not owner:
            raise OwnersName
        if not re.fullmatch(WEB.ids, name):
            raise WrongName(name=repr(name[:40]))
        return Person(WEB.name, name)

    async def _notify_all(self) -> None:
        await self._notify_listeners()
        with suppress(PonteError):  # the others look by themselves, a little later
            await self._peers.notify(ACCOUNTS_CHANGED_TOPIC, "")

    async def _notify_listeners(self, _: str = "") -> None:
        for heard in self._listeners:
            heard()
