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
from core.base.errors import BadInput, NotFound, NotStored, PonteError, Refusal
from core.base.i18n import say, use_locale
from core.base.text import to_one_line
from core.domain.messages import Address, Person
from core.domain.ports import ChatPlatform
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
from core.people.policy import MAX_CONFIRMED_AGE_SECONDS
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
    from core.erasure import KnownPerson, SqlPersonalData

ACCOUNTS_CHANGED_TOPIC = "people"
"""The notification between processes that an account or a session has changed."""
MAX_API_TOKEN_NAME_CHARACTERS = 60
MAX_API_TOKEN_DAYS = 3660
"""The longest time for which an API token can be valid: ten years."""


class WrongName(BadInput):
    """Raised for a name of a page account that contains characters that are not allowed, or is too
    long."""

    sentence = (
        "`{name}` isn't a valid name. Use up to 32 lowercase letters, digits, dots, hyphens and "
        "underscores, starting with a letter or digit."
    )


class WrongTokenDays(BadInput):
    """Raised for a number of days for which no API token can be valid."""

    sentence = "Enter a number of days from 1 to {limit}, or 0 for a token that never expires."


class PageAccountService(SqlPageAccounts, SqlSignIns):
    """Reads and changes the accounts of the web page, its API tokens, and people who sign in with a
    provider (the port `PageAccounts`). Every process of Ponte is notified of each change, so that
    it takes effect everywhere at once. `list_providers` returns the names of the OIDC providers in
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
        """End all sessions of a person who signed in with a provider, in every process."""
        await super().end_all_sessions(person, now)
        await self._notify_all()

    async def remove_sign_in(self, person: str, now: float, by: Person) -> SignedInPerson:
        """Record that a person who signs in with a provider may not sign in any more, and end the
        person's sessions in every process. Raise NotFound."""
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
        record and its text, of which only the hash is stored. Raise NotFound, TooManyApiTokens,
        WrongTokenDays.
        """
        id = person.partition(":")[2]
        # People of a sign-in provider (three parts in the key) have no account on the page.
        find = self.find_sign_in if is_provider_key(person) else self.find
        # The owner needs no invitation, so there is no account to find.
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
        """Delete an API token, of that person if one is given, and return its record. `by` is who
        does it for the person, None if the person does it themself.

        Requests that were made with the token and still run are ended. Raise NotFound.
        """
        token = await self.delete_api_token(id, person, by)
        await self._notify_all()  # ends the token's running requests
        return token

    async def invite(self, person: Person, by: Person = OPERATOR) -> str:
        """Create an account for this person and return its sign-in token, of which only the hash is
        stored. Raise NameTaken, NotStored."""
        token = new_token()
        await self.add(person.key, hash_token(token), by)
        return token

    async def renew_link(self, person: Person, by: Person = OPERATOR) -> str:
        """Give an account a new sign-in token and return it; the one before and its sessions end.
        Raise NotFound."""
        token = new_token()
        await self.renew(person.key, hash_token(token), by)
        await self._notify_all()  # ends the open sessions
        return token

    async def remove(self, person: str, by: Person | None = None) -> Sequence[int]:
        """Delete an account, which ends its sessions in every process. Return the `seq` of the
        person's unfinished turns, for the caller to stop. Raise NotFound."""
        turns = await super().remove(person, by)
        await self._notify_all()
        return turns

    def on_change(self, heard: Callable[[], None]) -> None:
        """Call the function `heard` after each change of an account or session, also by another
        process."""
        self._listeners.append(heard)

    def person(self, name: str, *, owner: bool = False) -> Person:
        """Return the person of an account's name, whether or not there is such an account. With
        `owner`, the name may also be that of the owner, or the key of a person of a provider. Raise
        WrongName, BadInput."""
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
        """Return who a key means, how many rows each section of an export has, and which
        conversations the person shares with others. The section `decisions` has no table of its
        own. `remembered` is what platform adapters store of the person."""
        who = await self.data.find(person)
        places = await self.data.find_conversations(who)
        counts = await self.data.count_rows(who)
        sections = [*(table.section for table in SCHEMA.export_tables), "decisions"]
        rows = await self.data.read_remembered()
        # A row is an adapter's JSON about many people. `select_ids` keeps the entries of this one.
        ids_by_name = {name: select_ids(data, who.ids) for name, data in rows.items()}
        remembered = {name: data for name, data in ids_by_name.items() if data}
        names = sorted(who.names)
        return PersonCounts(who.key, names, places.shared, counts, sections, remembered)

    async def read_file(self, person: str, file: str) -> bytes:
        """Return the bytes of a file of the person, for the export. Raise NotFound, also for a file
        of somebody else."""
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

        Their running turns are stopped, and their requests denied. People who sign in with Slack go
        on to use Ponte in Slack, so only those on the page are.
        """
        if not is_provider_key(name):
            person = self.accounts.person(name).key
            await self.remove_account(person, by)
            return person
        await self.accounts.remove_sign_in(name, time.time(), by)
        platform = "" if name.startswith(f"{OIDC_PLATFORM}:") else WEB.name
        turns = await self.data.list_unfinished_turns(self.data.by_key(name), platform)
        await self._stop_work(name, turns, platform)
        return name

    async def _stop_work(self, person: str, turns: Iterable[int], platform: str = "") -> None:
        for seq in turns:
            await self.engine.conversations.inbox.cancel(seq)
        await self.engine.changes.proposals.withdraw_of(person, platform)

    async def forget(self, person: str, actor: Person) -> ForgottenPerson:
        """Erase a person everywhere. The order keeps them findable after a crash, so that the same
        command finishes the erasure: the audit log's key goes last.

        Raise UnknownPerson or AmbiguousPerson before anything is erased, and StillApplying (a
        change of theirs is being written) before rows are.
        """
        who = await self.data.find(person)
        counts = await self.data.count_rows(who)
        shared = (await self.data.find_conversations(who)).shared
        await self.engine.people.audit.write_note("person-forgotten", actor, person=who.key)
        # Whoever has an account on the page loses it first, so that they cannot write meanwhile.
        # That also stops their turns and withdraws their proposals. Without an account, the
        # proposals are withdrawn here, and `_clear_outside_tables` stops the turns.
        if await self.accounts.find(who.key):
            await self.remove_account(who.key)
        else:
            await self.engine.changes.proposals.withdraw_of(who.key)
        # The cards of the withdrawn proposals, while the rows that say where they are exist.
        await self._try_now(self.engine.redraw.once)
        platform = who.key.partition(":")[0]
        if platform in self.listing:  # before the rows go, so that no list brings them back
            await self.engine.people.directory.forget(platform, [who.id])
        # Rows may arrive meanwhile, so a few rounds are made if something is left.
        remaining_rows: Json = {}
        for _ in range(ERASE_ROUNDS):
            await self._clear_outside_tables(who)
            # StillApplying if a change of theirs is being written where a turn may run (`at_work`).
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
        # Objects on the model's server that belonged to the erased conversations: another process
        # may have the duty to erase them, so it is told. This one tries now, too, so that the
        # counts below have only what the server did not erase.
        await self.engine.upkeep.announce_forgotten()
        await self._try_now(self.engine.upkeep.erase)
        # Databases keep the bytes of deleted rows in their files until they are overwritten.
        await self.engine.stores.scrub(whole=True)
        if not remaining_rows:
            await self.engine.people.audit.forget(who.key)
            await self.engine.stores.scrub()
        # `remains_notice` tells where deleted data may still exist, such as in backups.
        journal, remains = self.engine.conversations.journal, self.engine.upkeep.remains_notice
        waiting = [*await journal.list_remotes_to_erase(), *await journal.list_unerasable_remotes()]
        remains = say(remains) if remains else ""
        return ForgottenPerson(who.key, counts, shared, remaining_rows, len(waiting), remains)

    async def _clear_outside_tables(self, who: KnownPerson) -> None:
        """Stop the person's turns, and delete what their rows lead to, while the rows exist:
        conversations in which nobody else took part, bytes of files, sandbox states, thread
        records. Wait a short time for running turns, which could write more; the caller's next
        round erases that."""
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
        """Run `work` within STEP_TIMEOUT_SECONDS. A failure is only logged: other parts of Ponte do
        the same work later, and the erasure goes on."""
        try:
            async with asyncio.timeout(STEP_TIMEOUT_SECONDS):
                await work()
        except (TimeoutError, PonteError) as error:
            log.info("could not erase a person; retrying", error=repr(error))
