"""Schedules in a database, and their tools in a bot that is opened later."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

from bot.engine import Engine
from core.changes.service import Proposals
from core.domain.changes import new_change_id
from core.domain.messages import Address, Person, ReplyTo, encode_json
from core.saved.questions import MayKnow
from core.schedules.alerts import AlertCondition, AlertState
from core.schedules.rows import Schedules
from core.schedules.schedule import Schedule, ScheduleDraft, ScheduleRule
from core.schedules.service import Scheduling
from core.schedules.tools import ScheduleSource


class LateScheduleSource(ScheduleSource):
    """The tools of schedules; `open` sets the engine."""

    def __init__(self) -> None:
        super().__init__(cast(Scheduling, None), cast(Proposals, None), cast(MayKnow, None))

    def open(self, engine: Engine) -> None:
        """Use the schedules of this engine."""
        self._schedules, self._proposals = engine.schedules, engine.changes.proposals
        self._may_know = engine.assistant.contexts.may_know


async def put_schedule(
    store: Schedules, to: ReplyTo, draft: ScheduleDraft, locale: str = ""
) -> Schedule:
    """Store an active schedule of the asker, as an approved change does."""
    id, to = new_change_id(), replace(to, turn="", token="", token_expires_at=0.0)
    return await store.put(Schedule(id, to.asker, to, draft, locale=locale, revision=id), "")


def add_schedule(home: Path) -> None:
    """Store an active schedule of bob's, as its approval does."""
    owner = Person("web", "bob", name="<b>Bob</b>")
    to = ReplyTo(Address("web", "main", person="bob"), owner, "m1", "")
    values = {
        "id": "abc234",
        "revision": "abc234",
        "person": "web:bob",
        "owner": encode_json(owner),
        "conversation": to.address.conversation,
        "reply_to": encode_json(to),
        "kind": "post",
        "text": "<i>Stand-up</i>",
        "cron": "0 9 LW * *",
        "time_zone": "Europe/Lisbon",
        "state": "active",
        "next_due_at": 4e9,
        "catch_up_seconds": 60.0,
        "created_at": 1.0,
        "updated_at": 1.0,
    }
    with closing(sqlite3.connect(home / "ponte.db")) as connection, connection:
        marks = ", ".join("?" for _ in values)
        connection.execute(
            f"INSERT INTO schedules ({', '.join(values)}) VALUES ({marks})", [*values.values()]
        )


async def post_alert(engine: Engine, to: ReplyTo, text: str) -> None:
    """Store an alert of the asker and the end of a look that found an edge."""
    draft = ScheduleDraft("alert", "Orders", ScheduleRule("*/5 * * * *"), "UTC")
    draft = replace(draft, queries="[]", condition=encode_json(AlertCondition("count", limit="1")))
    store = engine.schedules.store
    alert = await put_schedule(store, to, draft)
    await store.end_look(alert, encode_json(AlertState()), text)
    (run,) = await store.list_runs(alert.id)
    await engine.conversations.inbox.wait_for_answer(run.seq)
