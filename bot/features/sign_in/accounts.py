"""Who may sign in to the page, and the API tokens of these people."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from adapters.web import WEB
from core.base.errors import BadInput, NotFound, NotStored, PonteError, Refusal
from core.base.text import to_one_line
from core.domain.messages import Address, Person
from core.domain.records import ApiToken
from core.journal.jobs import Peers
from core.people.audit import OPERATOR
from core.people.page_accounts import (
    NOT_INVITED_SENTENCE,
    SqlPageAccounts,
    hash_token,
    new_api_token,
    new_token,
)
from core.people.policy import MAX_CONFIRMED_AGE_SECONDS, PlatformPeople
from core.people.rules import OIDC_PLATFORM, OWNER_ID
from core.people.sign_ins import (
    ABSENT_SECONDS,
    CONFIRMED_SECONDS,
    SignedInPerson,
    SqlSignIns,
    is_provider_key,
)
from core.store.database import Database

ACCOUNTS_CHANGED_TOPIC = "people"
"""The notification between processes that an account or a session has changed."""
MAX_API_TOKEN_NAME_CHARACTERS = 60
MAX_API_TOKEN_DAYS = 3660
"""An API token is valid for at most ten years."""


class WrongName(BadInput):
    """A page account's name is too long, or has characters that are not allowed."""

    sentence = (
        "`{name}` isn't a valid name. Use up to 32 lowercase letters, digits, dots, hyphens and "
        "underscores, starting with a letter or digit."
    )


class WrongTokenDays(BadInput):
    """No API token can be valid for so many days."""

    sentence = "Enter a number of days from 1 to {limit}, or 0 for a token that never expires."


class PageAccountService(SqlPageAccounts, SqlSignIns):
    """Reads and changes the accounts of the web page, its API tokens, and people who sign in with a
    provider (the port `PageAccounts`). Every process is notified of each change, so that it takes
    effect everywhere at once. `list_providers` returns the names of the OIDC providers in
    ponte.toml."""

    def __init__(
        self, database: Database, peers: Peers, list_providers: Callable[[], Collection[str]]
    ) -> None:
        super().__init__(database)
        self._list_providers = list_providers
        self._peers = peers
        self._listeners: list[Callable[[], None]] = []
        peers.on(ACCOUNTS_CHANGED_TOPIC, self._notify_listeners)

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Return whether the account of a person who used the page at the time `since` (in Unix
        seconds) is gone. A `DepartureLookup`.

        An account of the same name that was added later belongs to somebody else. Ponte cannot ask
        an OIDC provider whether it still has an account, so people count as gone ABSENT_SECONDS
        after it confirmed them.
        """
        if person.id == OWNER_ID:
            return False
        if person.platform == OIDC_PLATFORM:
            if (known := await self._find_member(person)) is None:
                return True
            oldest = time.time() - ABSENT_SECONDS
            return known.first_at > since or known.confirmed_at < oldest
        account = await self.find(person.key)
        return account is None or account.added_at > since

    async def has_withdrawn(self, person: Person, address: Address, since: float) -> bool:
        """Return whether a person of an OIDC provider was removed, or has ended all their sessions,
        since they asked for a change or approved it. A `DepartureLookup`."""
        known = await self._find_member(person)
        return known is None or known.sessions_since > since

    @property
    def lookups(self) -> PlatformPeople:
        """Functions by which the policy finds out about people of the page and of OIDC providers,
        whom no chat platform knows."""
        return PlatformPeople(
            memberships={OIDC_PLATFORM: self.find_groups},
            departures={WEB.name: self.has_left, OIDC_PLATFORM: self.has_left},
            withdrawals={OIDC_PLATFORM: self.has_withdrawn},
        )

    async def _find_member(self, person: Person) -> SignedInPerson | None:
        known = await self.find_sign_in(person.key)
        is_member = known and not known.removed_at and known.provider in self._list_providers()
        return known if is_member else None

    async def find_groups(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return the groups of a person of an OIDC provider, by their names in rules, as its latest
        signed answer has them. A `GroupLookup`.

        Page, tokens and schedules end by themselves when the provider does not confirm the person,
        so the age of that answer only matters for MAX_CONFIRMED_AGE_SECONDS, which stands for
        CONFIRMED_SECONDS: None if it is older."""
        if person.id.partition(":")[0] not in self._list_providers():
            return None  # not known: rules may deny their groups something
        try:
            known = await self._find_member(person)
        except NotStored:
            return None
        if known is None:
            return frozenset()
        is_late = known.confirmed_at < time.time() - CONFIRMED_SECONDS
        return None if is_late and max_age <= MAX_CONFIRMED_AGE_SECONDS else known.group_names

    async def end_all_sessions(self, person: Person, now: float) -> None:
        """End all sessions in every process."""
        await super().end_all_sessions(person, now)
        await self._notify_all()

    async def remove_sign_in(self, person: str, now: float, by: Person) -> SignedInPerson:
        """A person who signs in with a provider may not sign in any more: end their sessions in
        every process. Raises NotFound."""
        removed = await super().remove_sign_in(person, now, by)
        await self._notify_all()
        return removed

    async def end_session(self, session: str, until: float) -> None:
        """End a browser's session in every process. It would expire at `until` (Unix seconds)."""
        await super().end_session(session, until)
        await self._notify_all()

    async def create_api_token(
        self, person: str, name: str, days: int, by: Person | None = None, kind: str = "api"
    ) -> tuple[ApiToken, str]:
        """Create an API token for the owner or a person with an account (a key).

        `kind` is what the token gives access to (`ApiToken`). `by` is the owner who creates it for
        the person, who gets a notice; None if the person does it themself. Return the token's
        record and its text, of which only the hash is stored. Raises NotFound, TooManyApiTokens,
        WrongTokenDays.
        """
        id = person.partition(":")[2]
        # People of a sign-in provider (three parts in the key) have no account on the page.
        find = self.find_sign_in if is_provider_key(person) else self.find
        # The owner needs no invitation.
        account = None if id == OWNER_ID else await find(person)
        if account is None and id != OWNER_ID:
            raise NotFound(NOT_INVITED_SENTENCE, name=person.removeprefix("web:"))
        if isinstance(account, SignedInPerson) and account.removed_at:
            raise Refusal(
                "{name} was removed from the page. To let them in again, run `ponte people readmit "
                "{name}`.",
                name=person,
            )
        if not 0 <= days <= MAX_API_TOKEN_DAYS:
            raise WrongTokenDays(limit=MAX_API_TOKEN_DAYS)
        text, now = new_api_token(), time.time()
        name = to_one_line(name, MAX_API_TOKEN_NAME_CHARACTERS)
        expires = now + 86_400 * days if days else 0.0  # 0: never
        token = ApiToken(
            secrets.token_hex(4), person, hash_token(text), name, now, expires, kind=kind
        )
        await self.add_api_token(token, by)
        return token, text

    async def revoke_api_token(
        self, id: str, person: str = "", by: Person | None = None
    ) -> ApiToken:
        """Delete an API token, of that person if one is given. `by` is who does it for the person,
        None if the person does it themself.

        Requests that were made with the token and still run are ended. Raises NotFound.
        """
        token = await self.delete_api_token(id, person, by)
        await self._notify_all()
        return token

    async def invite(self, person: Person, by: Person = OPERATOR) -> str:
        """Create an account and return its sign-in token, of which only the hash is stored. Raises
        NameTaken, NotStored."""
        token = new_token()
        await self.add(person.key, hash_token(token), by)
        return token

    async def renew_link(self, person: Person, by: Person = OPERATOR) -> str:
        """Give an account a new sign-in token and return it; the one before and its sessions end.
        Raises NotFound."""
        token = new_token()
        await self.renew(person.key, hash_token(token), by)
        await self._notify_all()
        return token

    async def remove(self, person: str, by: Person | None = None) -> Sequence[int]:
        """Delete an account, which ends its sessions in every process. Return the `seq` of the
        person's unfinished turns, for the caller to stop. Raises NotFound."""
        turns = await super().remove(person, by)
        await self._notify_all()
        return turns

    def on_change(self, heard: Callable[[], None]) -> None:
        """Call `heard` after each change of an account or session, also by another process."""
        self._listeners.append(heard)

    def person(self, name: str, *, owner: bool = False) -> Person:
        """Return the person of a name, whether or not there is an account. With `owner`, it may
        also be that of the owner, or the key of a person of a provider. Raises WrongName,
        BadInput."""
        if owner and is_provider_key(name):
            return Person("", name)  # its `key` is that key again
        if name == OWNER_ID and not owner:
            words = (
                "The name `owner` is reserved for the person who signs in with the link from "
                "`ponte link`. Choose another name."
            )
            raise BadInput(words)
        if not re.fullmatch(WEB.ids, name):
            raise WrongName(name=name[:40])
        return Person(WEB.name, name)

    async def _notify_all(self) -> None:
        await self._notify_listeners()
        with suppress(PonteError):  # the others look by themselves, a little later
            await self._peers.notify(ACCOUNTS_CHANGED_TOPIC, "")

    async def _notify_listeners(self, _: str = "") -> None:
        for listener in self._listeners:
            listener()
