"""What is said of proposals unasked: cards for their approvers, reminders, that one has expired."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.domain.changes import Outgoing, Stage
from core.domain.messages import Person, ReplyTo, decode, encode
from core.store.database import Connection, Database, Row, lock

_DUE: dict[Stage, str] = {
    "asked": "state IN ('open', 'applying') AND state = 'open' AND told = ''",
    "reminded": "state IN ('open', 'applying') AND state = 'open' AND told = 'asked'",
    "expired": "state = 'expired' AND told <> 'expired' AND told <> 'never'",
}
"""By stage, which changes it is next for."""


class SqlOutbox:
    """The `Outbox` port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def untold(self, stage: Stage, created_before: float) -> Sequence[str]:
        def read(connection: Connection) -> Sequence[str]:
            rows = connection.execute(
                f"SELECT id FROM changes WHERE {_DUE[stage]} AND created < ?"  # noqa: S608 - ours
                " ORDER BY created",
                (created_before,),
            )
            return [row["id"] for row in rows]

        return await self._database.read(read)

    async def tell(self, change: str, stage: Stage, outgoing: Sequence[Outgoing]) -> None:
        def write(connection: Connection) -> None:
            there = "SELECT conversation FROM changes WHERE id = ?"
            row = connection.execute(there, (change,)).fetchone()
            if row is None:
                return
            lock(connection, row["conversation"])
            due = f"UPDATE changes SET told = ? WHERE id = ? AND {_DUE[stage]}"  # noqa: S608 - ours
            if connection.execute(due, (stage, change)).rowcount:
                for one in outgoing:
                    _put(connection, one)

        await self._database.write(write)

    async def unposted(self) -> Sequence[Outgoing]:
        return await self._select("state IN ('new', 'posting') ORDER BY at")

    async def copies(self, change: str) -> Sequence[Outgoing]:
        return await self._select(
            "change = :change AND kind = 'copy' AND state = 'posted' ORDER BY person", change=change
        )

    async def reached(self, change: str, person: str) -> bool:
        found = await self._select(
            "change = :change AND kind = 'copy' AND person = :person"
            " AND state IN ('posting', 'posted', 'removed')",
            change=change, person=person,
        )  # fmt: skip
        return bool(found)

    async def outdated(self) -> Sequence[Outgoing]:
        return await self._select(
            "kind = 'copy' AND state = 'posted'"
            " AND drawn < (SELECT version FROM changes WHERE id = change) ORDER BY at"
        )

    async def put(self, outgoing: Outgoing) -> None:
        """One whose change was forgotten meanwhile keeps no words."""

        def write(connection: Connection) -> None:
            row = connection.execute(
                "SELECT conversation FROM changes WHERE id = ?", (outgoing.change,)
            ).fetchone()
            if row is None:
                return
            lock(connection, row["conversation"])
            state = connection.execute(
                "SELECT forgotten FROM changes WHERE id = ?", (outgoing.change,)
            ).fetchone()
            gone = bool(state["forgotten"])
            _put(connection, nameless(outgoing) if gone else outgoing)

        await self._database.write(write)

    async def _select(self, where: str, **values: str) -> Sequence[Outgoing]:
        def read(connection: Connection) -> Sequence[Outgoing]:
            statement = f"SELECT * FROM outbox WHERE {where}"  # noqa: S608 - one of the above
            return [_outgoing(row) for row in connection.execute(statement, values)]

        return await self._database.read(read)


def forget(connection: Connection, change: str) -> None:
    """What is not begun yet is not posted; of the others no word and no name stays here."""
    connection.execute("DELETE FROM outbox WHERE change = ? AND state = 'new'", (change,))
    for row in connection.execute("SELECT * FROM outbox WHERE change = ?", (change,)).fetchall():
        _put(connection, nameless(_outgoing(row)))


def nameless(one: Outgoing) -> Outgoing:
    person = replace(one.person, name="")
    to = replace(one.to, asker=replace(one.to.asker, name="")) if one.to else None
    return replace(one, person=person, to=to, text="")


def _put(connection: Connection, one: Outgoing) -> None:
    connection.execute(
        "INSERT INTO outbox (change, kind, person, recipient, reply_to, locale, text, post, state,"
        " drawn, at) VALUES (:change, :kind, :person, :recipient, :reply_to, :locale, :text, :post,"
        " :state, :drawn, :at) ON CONFLICT (change, kind, person) DO UPDATE SET"
        " recipient = excluded.recipient, reply_to = excluded.reply_to, locale = excluded.locale,"
        " text = excluded.text, post = excluded.post, state = excluded.state,"
        " drawn = excluded.drawn",
        {
            "change": one.change, "kind": one.kind, "person": one.person.key,
            "recipient": encode(one.person), "reply_to": encode(one.to) if one.to else "",
            "locale": one.locale, "text": one.text, "post": one.post, "state": one.state,
            "drawn": one.drawn, "at": time.time(),
        },
    )  # fmt: skip


def _outgoing(row: Row) -> Outgoing:
    values: dict[str, Any] = {name: row[name] for name in ("change", "kind", "locale", "text")}
    return Outgoing(
        **values, person=decode(Person, row["recipient"]),
        to=decode(ReplyTo, row["reply_to"]) if row["reply_to"] else None,
        post=row["post"], state=row["state"], drawn=row["drawn"],
    )  # fmt: skip
