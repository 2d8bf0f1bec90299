"""The command `ponte changes pending --all`: it asks the process that holds the home, and prints
its answer."""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from bot.app import start
from bot.client import local_client
from bot.text_table import format_table
from core.text.i18n import format_moment, say
from core.text.text import to_one_line

Json = Mapping[str, Any]


def list_pending(*, as_json: bool = False) -> int:
    """Print everybody's requests that wait for approval. Return the exit code."""
    begun = start(quiet=True, asks_holder=True)

    async def ask() -> tuple[Sequence[Json], Mapping[str, str]]:
        async with local_client(begun) as one:
            pending = (await one.act("pending"))["pending"]
            keys = sorted({change["asker"] for change in pending})
            return pending, (await one.act("names", keys=keys))["names"] if keys else {}

    pending, names = asyncio.run(ask())
    zone = ZoneInfo(begun.settings.ponte_timezone)
    lines = [json.dumps(pending, ensure_ascii=False)] if as_json else []
    for line in lines or format_pending(pending, zone, names):
        sys.stdout.write(line + "\n")
    return 0


def format_pending(
    pending: Sequence[Json], zone: datetime.tzinfo, names: Mapping[str, str]
) -> Iterator[str]:
    """Yield headings and a line for each request: its id, title, person, place and times. `names`
    replace the keys of people."""
    if not pending:
        yield say("No request is waiting.")
        return
    rows = [
        (
            str(one["id"]), to_one_line(str(one["title"])),
            to_one_line(names.get(one["asker"], one["asker"])), to_one_line(str(one["place"])),
            *(format_moment(datetime.datetime.fromtimestamp(one[at], zone))
              for at in ("created", "expires")),
        )
        for one in pending
    ]  # fmt: skip
    headings = (
        say("ID"), say("request"), say("requested by"), say("place"), say("time"), say("expires"),
    )  # fmt: skip
    yield from format_table(headings, rows)
