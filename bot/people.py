"""People of this Ponte: who may sign in to the page, the owner's name, and what is stored of a
person.

Forgetting deletes in an order that keeps the person findable after a crash, so that the same
command finishes it: first what the rows lead to (running turns, files, kernels, thread records),
then the rows in one transaction, and last the key of their lines in the audit log.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from adapters.web import WEB
from bot.operation_results import ForgottenPerson, PersonCounts
from bot.stores import SCHEMA
from core.base.errors import BadInput, NotFound, NotStored, PonteError
from core.base.i18n import say, use_locale
from core.base.text import to_one_line
from core.domain.messages import Address, Person
from core.domain.ports import ChatPlatform
from core.domain.records import ApiToken
from core.erasure import KnownPerson, SqlPersonalData
from core.journal.jobs import Peers
from core.people.audit import OPERATOR
from core.people.page_accounts import (
    NOT_INVITED_SENTENCE,
    SqlPageAccounts,
    hash_token,
    new_api_token,
    new_token,
)
from core.people.rules import OIDC_PLATFORM, OWNER_ID
from core.people.sign_ins import (
    ABSENT_SECONDS,
    CONFIRMED_SECONDS,
    SignedInPerson,
    SqlSignIns,
    is_provider_key,
)
from core.store.database import Database
from core.store.remembered import select_ids

if TYPE_CHECKING:
    from bot.engine import Engine

ACCOUNTS_CHANGED_TOPIC = "people"
"""The notification between processes that an account or a session has changed."""
MAX_API_TOKEN_NAME_CHARACTERS = 60
MAX_API_TOKEN_DAYS = 3660
"""The longest time for which an API token can be valid: ten years."""


class WrongName(BadInput):
    """The name of a page account contains characters that are not allowed, or is too long."""

    sentence = (
        "`{name}` isn't a valid name. Use up to 32 lowercase letters, digits, dots, hyphens and "
        "underscores, starting with a letter or digit."
    )


class WrongTokenDays(BadInput):
    """An API token cannot be valid for this number of days."""

    sentence = "Enter a number of days from 1 to {limit}, or 0 for a token that never expires."


class PageAccountService(SqlPageAccounts, SqlSignIns):
    """The `PageAccounts` port, with the methods that change accounts. Every process of Ponte is
    notified of each change."""

    def __init__(self, database: Database, peers: Peers) -> None:
        super().__init__(database)
        self._peers = peers
        self._listeners: list[Callable[[], None]] = []
        peers.on(ACCOUNTS_CHANGED_TOPIC, self._notify_listeners)

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Return whether the account of a person who used the page at the time `since` (in Unix
        seconds) is gone; None if the sign-in has not confirmed them lately. A `DepartureLookup`.

        An account of the same name that was added later belongs to somebody else.
        """
        if person.id == OWNER_ID:
            return False
        if person.platform == OIDC_PLATFORM:
            known = await self.find_sign_in(person.key)
            is_gone = known is None or bool(known.removed_at) or known.first_at > since
            is_absent = known and known.confirmed_at < time.time() - ABSENT_SECONDS
            return True if is_gone else None if is_absent else False
        account = await self.find(person.key)
        return account is None or account.added_at > since

    async def find_groups(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return the groups of a person of an OIDC provider, by their names in rules; None if the
        provider has not confirmed them lately. The port `GroupLookup`."""
        known = None
        with suppress(NotStored):
            known = await self.find_sign_in(person.key)
        oldest = time.time() - max(max_age, CONFIRMED_SECONDS)
        return known.group_names if known and known.confirmed_at >= oldest else None

    async def end_all_sessions(self, person: Person) -> None:
        """End all sessions of a person who signed in with a provider, in every process."""
        await super().end_all_sessions(person)
        await self._notify_all()

    async def remove_sign_in(self, person: str, now: float, by: Person) -> SignedInPerson:
        """Refuse a person who signs in with a provider from now on, and end their sessions in every
        process. Raise NotFound."""
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

        `kind` is what it opens (`ApiToken`). `by` is the owner who does it for them; they get a
        notice. None: they do it themselves.
        Return the token's record and its text. Raise NotFound, TooManyApiTokens, WrongTokenDays.
        """
        id = person.partition(":")[2]
        find = self.find_sign_in if is_provider_key(person) else self.find
        # The owner needs no invitation, so there is no account to find.
        if id != OWNER_ID and await find(person) is None:
            raise NotFound(NOT_INVITED_SENTENCE, name=id)
        if not 0 <= days <= MAX_API_TOKEN_DAYS:
            raise WrongTokenDays(limit=MAX_API_TOKEN_DAYS)
        text, now = new_api_token(), time.time()
        name = to_one_line(name, MAX_API_TOKEN_NAME_CHARACTERS)
        expires = now + 86_400 * days if days else 0.0
        token = ApiToken(
            secrets.token_hex(4), person, hash_token(text), name, now, expires, kind=kind
        )
        await self.add_api_token(token, by)
        return token, text

    async def revoke_api_token(
        self, id: str, person: str = "", by: Person | None = None
    ) -> ApiToken:
        """Delete an API token, of that person if one is given. `by` is as in `create_api_token`.

        Requests that it began end. Raise NotFound.
        """
        token = await self.delete_api_token(id, person, by)
        await self._notify_all()
        return token

    async def invite(self, person: Person, by: Person = OPERATOR) -> str:
        """Create an account and return its token. Raise NameTaken, NotStored."""
        token = new_token()
        await self.add(person.key, hash_token(token), by)
        return token

    async def renew_link(self, person: Person, by: Person = OPERATOR) -> str:
        """Return a new token; the one before and its sessions end. Raise NotFound."""
        token = new_token()
        await self.renew(person.key, hash_token(token), by)
        await self._notify_all()
        return token

    async def remove(self, person: str, by: Person | None = None) -> Sequence[int]:
        """Delete an account, which ends its sessions. Return the `seq` of its unfinished turns.
        Raise NotFound."""
        turns = await super().remove(person, by)
        await self._notify_all()
        return turns

    def on_change(self, heard: Callable[[], None]) -> None:
        """Call `heard` after each change of an account or session, also by another process."""
        self._listeners.append(heard)

    def person(self, name: str, *, owner: bool = False) -> Person:
        """Return the person of an account's name. `owner`: that may be the owner, or a provider's
        key (`person.key`). Raise WrongName, BadInput."""
        if owner and is_provider_key(name):
            return Person("", name)
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


def system_user_name() -> str:
    """Return the full name of the system user that runs this process, else the login name; ""
    if the system has no entry for this user, as in some containers."""
    try:
        user = pwd.getpwuid(os.geteuid())
    except KeyError:
        return ""
    # The first field of GECOS is the full name; "&" in it stands for the login name (passwd(5)).
    full = user.pw_gecos.partition(",")[0].replace("&", user.pw_name.capitalize())
    return full.strip() or user.pw_name


log = structlog.get_logger("personal_data")
Json = Mapping[str, Any]
STEP_TIMEOUT_SECONDS = 10.0
"""How long to wait for stopped turns, for the model's server and for cards to be drawn."""
TURN_POLL_SECONDS = 0.05
"""How often to check whether a stopped turn has ended. It may run in another process."""
ERASE_ROUNDS = 3
"""How often to erase rows again that arrived while a person was erased."""


@dataclass(frozen=True, slots=True)
class PersonalDataService:
    """Exports and erases what is stored about a person, for `ponte person`. `chats` are the
    platforms that this process serves. `listing` are the names of platforms that list people who
    never wrote to us."""

    engine: Engine
    data: SqlPersonalData
    accounts: PageAccountService
    chats: Sequence[ChatPlatform]
    listing: Collection[str] = ()

    async def count_rows(self, person: str) -> PersonCounts:
        """Return who a key means, how many rows each section has, and which conversations they
        share with others."""
        who = await self.data.find(person)
        places = await self.data.find_conversations(who)
        counts = await self.data.count_rows(who)
        sections = [*(table.section for table in SCHEMA.export_tables), "decisions"]
        rows = await self.data.read_remembered()
        ids_by_name = {name: select_ids(data, who.ids) for name, data in rows.items()}
        remembered = {name: data for name, data in ids_by_name.items() if data}
        names = sorted(who.names)
        return PersonCounts(who.key, names, places.shared, counts, sections, remembered)

    async def read_file(self, person: str, file: str) -> bytes:
        """Return the bytes of one of their files. Raise NotFound."""
        if not await self.data.owns_file(self.data.by_key(person), file):
            raise NotFound(what="file")
        _, data = await self.engine.conversations.files.get(file)
        return data

    async def remove_account(self, person: str, by: Person | None = None) -> None:
        """Delete the page account of a person (a key), stop their turns and withdraw their
        proposals. Raise NotFound."""
        await self._stop_work(person, await self.accounts.remove(person, by))

    async def remove(self, name: str, by: Person) -> str:
        """End the access of a person to the page, by the name of an account or the key of a person
        of a provider. Return their key. Raise NotFound.

        Ponte goes on to work for people of Slack in Slack.
        """
        if not is_provider_key(name):
            person = self.accounts.person(name).key
            await self.remove_account(person, by)
            return person
        await self.accounts.remove_sign_in(name, time.time(), by)
        if name.startswith(f"{OIDC_PLATFORM}:"):
            turns = await self.data.list_unfinished_turns(self.data.by_key(name))
            await self._stop_work(name, turns)
        return name

    async def _stop_work(self, person: str, turns: Iterable[int]) -> None:
        """Cancel these turns (`seq`) and withdraw the person's proposals."""
        for seq in turns:
            await self.engine.conversations.inbox.cancel(seq)
        await self.engine.changes.proposals.withdraw_of(person)

    async def forget(self, person: str, actor: Person) -> ForgottenPerson:
        """Erase a person everywhere.

        Raise UnknownPerson or AmbiguousPerson before anything is erased, and StillApplying before
        rows are.
        """
        who = await self.data.find(person)
        counts = await self.data.count_rows(who)
        shared = (await self.data.find_conversations(who)).shared
        await self.engine.people.audit.write_note("person-forgotten", actor, person=who.key)
        # Whoever has an account on the page loses it first, so that they cannot write meanwhile.
        if await self.accounts.find(who.key):
            await self.remove_account(who.key)
        else:
            await self.engine.changes.proposals.withdraw_of(who.key)
        await self._try_now(self.engine.redraw.once)
        platform = who.key.partition(":")[0]
        if platform in self.listing:  # before the rows go, so that no list brings them back
            await self.engine.people.directory.forget(platform, [who.id])
        # Rows may arrive meanwhile, so a few rounds are made if something is left.
        remaining_rows: Json = {}
        for _ in range(ERASE_ROUNDS):
            await self._clear_outside_tables(who)
            erased = await self.data.erase(who, self.engine.at_work)
            # The cards that named them are stored without their name, and drawn again.
            changes = self.engine.changes
            for id in erased.decided:
                with suppress(NotFound):
                    change = await changes.ledger.get(id)
                    with use_locale(change.proposal.locale):
                        card = await changes.views.card(change)
                    journal = self.engine.conversations.journal
                    await journal.replace_cards(change.proposal.seq, [card])
            changes.lifecycle.on_change()
            if not (remaining_rows := await self.data.count_rows(who)):
                break

        # Platforms remember people in memory: here, or in the processes that serve the platform,
        # which read the rows again. The rows are without the person already.
        for chat in self.chats:
            if chat.name == platform:
                await chat.forget(who.ids)
        if platform not in {chat.name for chat in self.chats}:
            for name in await self.data.read_remembered():
                await self.engine.stores.peers.notify("remembered", name)
        await self.engine.upkeep.announce_forgotten()
        await self._try_now(self.engine.upkeep.erase)
        # Databases keep the bytes of deleted rows in their files until they are overwritten.
        await self.engine.stores.scrub(whole=True)
        if not remaining_rows:
            await self.engine.people.audit.forget(who.key)
            await self.engine.stores.scrub()
        journal, remains = self.engine.conversations.journal, self.engine.upkeep.remains_notice
        waiting = [*await journal.list_remotes_to_erase(), *await journal.list_unerasable_remotes()]
        remains = say(remains) if remains else ""
        return ForgottenPerson(who.key, counts, shared, remaining_rows, len(waiting), remains)

    async def _clear_outside_tables(self, who: KnownPerson) -> None:
        """Stop their turns, and delete what their rows lead to: conversations of theirs alone,
        bytes of files, kernels, thread records."""
        engine = self.engine
        for seq in await self.data.list_unfinished_turns(who):
            await engine.conversations.inbox.cancel(seq)
        places = await self.data.find_conversations(who)
        for conversation in places.alone:
            await engine.upkeep.forget(conversation)
        with suppress(TimeoutError):
            running_turn = engine.conversations.inbox.running_turn
            async with asyncio.timeout(STEP_TIMEOUT_SECONDS):
                for conversation in (*places.alone, *places.shared):
                    while await running_turn(conversation) is not None:  # noqa: ASYNC110
                        await asyncio.sleep(TURN_POLL_SECONDS)
        for file in await self.data.list_files(who):
            await engine.conversations.files.discard(file)
        for thread in places.threads:
            await engine.assistant.forget(thread)

    async def _try_now(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work`, which is tried again later if it fails now."""
        try:
            async with asyncio.timeout(STEP_TIMEOUT_SECONDS):
                await work()
        except (TimeoutError, PonteError) as error:
            log.info("could not erase a person; retrying", error=repr(error))
