"""A schedule in a home's database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from core.domain.messages import Address, Person, ReplyTo, encode_json


def add_schedule(home: Path) -> None:
    """Store an active schedule of bob's, as its Start does."""
    owner = Person("web", "bob", name="<b>Bob</b>")
    to = ReplyTo(Address("web", "main", person="bob"), owner, "m1", "")
    values = {
        "id": "abc234", "origin": "o", "person": "web:bob", "owner": encode_json(owner),
        "conversation": to.address.conversation, "reply_to": encode_json(to), "kind": "post",
        "text": "<i>Stand-up</i>", "cron": "0 9 LW * *", "time_zone": "Europe/Lisbon",
        "state": "active", "next_due_at": 4e9, "catch_up_seconds": 60.0, "created_at": 1.0,
        "updated_at": 1.0,
    }  # fmt: skip
    with closing(sqlite3.connect(home / "ponte.db")) as connection, connection:
        marks = ", ".join("?" for _ in values)
        connection.execute(
            f"INSERT INTO schedules ({', '.join(values)}) VALUES ({marks})", [*values.values()]
        )
