"""A question of a table runs again by a press: without a model, with the presser's rights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from core.base.http import HttpClient
from core.domain.messages import Answer, turn_id
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB

QUERY = 'call nocodb_query {"table": "Orders", "filters": [{"field": "Paid", "op": "eq", "value": "false"}]}'


async def test_rows_are_read_again(bot_home: BotHome) -> None:
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        model = EchoModel()
        async with bot_home.open(model, [source]) as ponte:
            message, receipt = await ponte.send(QUERY)
            first = await ponte.wait_for_answer(receipt)
            print(first.text[-300:], first.can_run_again)
            again = await ponte.ask(f"rerun {receipt.turn}")
            print(again.text[:200])
            once = await ponte.ask(f"rerun {receipt.turn}")
            print(once.text)
            assert 0
