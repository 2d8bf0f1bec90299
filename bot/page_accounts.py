"""Accounts of the page: who may sign in, and the work of `ponte people`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from adapters.web import WEB
from core.domain.errors import BadInput, PonteError
from core.domain.messages import Address, Person
from core.domain.records import PageAccount
from core.integrations.integration import OperatorAction, Peers
from core.ports.conversations import Inbox, Journal
from core.rights.audit import OPERATOR, AuditLog
from core.rights.policy import OWNER_ID
from core.store.page_accounts import SqlPageAccounts, hash_token, new_token

log = structlog.get_logger("people")
ACCOUNTS_CHANGED_TOPIC = "people"
"""The notification between processes that an account or a session has changed."""
Json = Mapping[str, Any]


class WrongName(BadInput):
    """The name of a page account contains characters that are not allowed, or is too long."""

    sentence = (
        "{name} is not a valid name. Use up to 32 lowercase letters, digits, dots, hyphens "
        "and underscores, starting with a letter or digit."
    )


class OwnersName(BadInput):
    """The name `owner` cannot be given to another person."""

    sentence = "`owner` is the person with the page's own token, which `ponte link` prints."


class PageAccountService:
    """The `PageAccounts` port, with changes.

    Every process is notified of each change. `left` is called with the key of each person whose
    account is removed.
    """

    def __init__(
        self, store: SqlPageAccounts, journal: Journal, inbox: Inbox, peers: Peers, audit: AuditLog,
        left: Callable[[str], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._store = store
        self._on_left = left
        self._audit = audit
        self._journal = journal
        self._inbox = inbox
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
        """Return whether the person has left since then (the `HasLeft` port).

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

    async def remove(self, person: str) -> None:
        """Delete an account, stop its person's turns and withdraw their proposals. Raise
        NotFound."""
        left = await self._store.remove(person)
        await self._notify_all()
        for seq in left:
            await self._inbox.cancel(seq)
        await self._on_left(person)

    def on_change(self, heard: Callable[[], None]) -> None:
        """Call `heard` after each change of an account or session, also by another process."""
        self._listeners.append(heard)

    def acts(self, page: Callable[[], str]) -> Mapping[str, OperatorAction]:
        """Return the operator's actions. `page` returns the page's address, "" if there is none."""

        async def list_people(arguments: Json) -> Json:
            return {"people": [_account_json(account) for account in await self.list_all()]}

        async def add(arguments: Json) -> Json:
            person, token = _named_person(arguments), new_token()
            await self._store.add(person.key, hash_token(token))
            await self._audit.write_note("person-added", OPERATOR, person=person.key)
            kept = len(await self._journal.list_conversations_of(person.key))
            return {"token": token, "page": page(), "conversations": kept}

        async def renew(arguments: Json) -> Json:
            person, token = _named_person(arguments), new_token()
            await self._store.renew(person.key, hash_token(token))
            await self._notify_all()
            await self._audit.write_note("person-renewed", OPERATOR, person=person.key)
            return {"token": token, "page": page()}

        async def remove(arguments: Json) -> Json:
            person = _named_person(arguments)
            await self.remove(person.key)
            await self._audit.write_note("person-removed", OPERATOR, person=person.key)
            return {"person": person.key}

        return {
            "people": list_people, "people/add": add, "people/renew": renew,
            "people/remove": remove,
        }  # fmt: skip

    async def _notify_all(self) -> None:
        await self._notify_listeners()
        with suppress(PonteError):  # the others look by themselves, a little later
            await self._peers.notify(ACCOUNTS_CHANGED_TOPIC, "")

    async def _notify_listeners(self, _: str = "") -> None:
        for heard in self._listeners:
            heard()


def _named_person(arguments: Json) -> Person:
    """Return the person that the arguments name. Raise WrongName, OwnersName."""
    name = str(arguments.get("person", ""))
    if name == OWNER_ID:
        raise OwnersName
    if not re.fullmatch(WEB.ids, name):
        raise WrongName(name=repr(name[:40]))
    return Person(WEB.name, name)


def _account_json(account: PageAccount) -> Json:
    name = account.person.partition(":")[2]
    return {"name": name, "added": account.added_at, "seen": account.last_visit}
