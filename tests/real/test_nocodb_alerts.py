"""Alerts over a real NocoDB: figures, no figure, and rows that appear."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.base.http import HttpClient
from core.schedules.alerts import MAX_FAILED_LOOKS
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import RIGHTS
from tests.dialogues.test_alerts import OVER_20, QUERY, Watch, stop_timer
from tests.dialogues.test_run_again import Planner
from tests.fakes.schedules import LateScheduleSource
from tests.real.nocodb.seed import Base, Seeded, call


@pytest.mark.parametrize(
    ("what", "posts"),
    [
        ("r1 count > 20", ["No longer true: 20 (before: 30).", "Now true: 21 (before: 20)."]),
        ("r1 sum Amount > 1250", ["No longer true: ", "Now true: "]),
        ("r1 max Amount changes 10%", ["", "Changed: "]),
        ("r1 new", ["", "1 new row."]),
    ],
)
async def test_it_reads_the_table_as_it_is(
    tmp_path: Path, real_nocodb: Seeded, reused_base: Base, what: str, posts: list[str]
) -> None:
    url, token, orders = real_nocodb.url, real_nocodb.token, reused_base.tables["Orders"]
    records, late = f"{url}/api/v3/data/{reused_base.id}/{orders}/records", LateScheduleSource()
    model = Planner(QUERY, ("schedule_propose", {**OVER_20, "what": what}))
    async with HttpClient() as http:
        source = NocoSource(url, token, http, base_id=reused_base.id, pauses=())
        home = BotHome(tmp_path / "home")
        async with home.open(model, [source, late], policy=RIGHTS) as ponte:
            late.open(ponte.engine)
            stop_timer(ponte)
            w = Watch(ponte)
            await w.approve()
            assert await w.look() == []
            paid = [{"id": id, "fields": {"Paid": True}} for id in range(1, 21, 2)]
            call(records, paid, method="PATCH", xc_token=token)
            found = [*await w.look(times=MAX_FAILED_LOOKS), ""]
            assert posts[0] in found[0]
            await w.forget_last_post()
            row = {"Title": "Order 61", "Amount": 500, "Paid": False}
            call(records, [{"fields": row}], xc_token=token)
            (post,) = await w.look(times=2)
            assert posts[1] in post
            assert "| Order " in post
