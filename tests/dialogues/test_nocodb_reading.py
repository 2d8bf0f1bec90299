"""A person asks the team's tables, and sees rows, figures, a file, and where they come from."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from adapters.discord.render import to_discord as on_discord
from adapters.slack.render import PostContent
from adapters.terminal.screen import Screen
from adapters.web.page.render import to_html
from core.base.http import HttpClient
from core.domain.messages import Answer
from core.domain.ports import Model
from core.models.demo_model import DemoModel
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.fakes.choices import make_message
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB

SOURCE = re.compile(
    r"\n\nSource: (?P<what>.+): (?P<shown>[\d,]+) of (?P<total>[\d,]+) rows?, "
    r"\w{3} \d+, \d{4}, [\d:]+\u202f[AP]M \((?P<zone>[\w/]+)\)\. (?:`[\w.]+`: [\d,]+ rows?\. )?"
    r"(?:\d+ figures?, (?:all )?found in what I read\. )?"
    r"\[NocoDB\]\((?P<url>http://127\.0\.0\.1:\d+/dashboard/#/nc/pcrmfake/m\w+)\)$"
)


@asynccontextmanager
async def open_bot(bot_home: BotHome, model: Model) -> AsyncIterator[RunningBot]:
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        async with bot_home.open(model, [source]) as ponte:
            yield ponte


def source(answer: Answer) -> tuple[str, str, str]:
    match = SOURCE.search(answer.text)
    assert match, answer.text
    return match["what"], match["shown"], match["total"]


async def test_some_of_a_table_and_where_it_is_from(bot_home: BotHome) -> None:
    async with open_bot(bot_home, DemoModel()) as ponte:
        answer = await ponte.ask(
            '/nocodb query {"table": "Orders", "filters": [{"field": "Paid", "op": "eq", "value":'
            ' "true"}, {"field": "Amount", "op": "gt", "value": "80"}]}'
        )
        assert answer.text.startswith("**query**: showing 4 of 4 rows.\n\n| Id | Title | Amount |")
        assert source(answer) == ("Orders, Paid is checked and Amount is more than 80", "4", "4")
        all_of_it = await ponte.ask("show Customers")
        assert source(all_of_it) == ("Customers", "20", "30")
        groups = await ponte.ask('/nocodb summarize {"table": "Orders", "group_by": "Paid"}')
        assert groups.text.startswith("**summarize**\n\n| Paid |"), "groups are no rows"
        nearly = (await ponte.ask("show Custmers")).text
        assert ("did you mean 'Customers'?" in nearly, "Source:" in nearly) == (True, False)


async def test_the_same_answer_is_a_table_on_every_platform(bot_home: BotHome) -> None:
    async with open_bot(bot_home, DemoModel()) as ponte:
        text = (await ponte.ask("show Readings")).text
    (block,) = PostContent(text).build_whole()["blocks"]
    assert block["type"] == "markdown", "Slack renders tables there itself"
    assert "| 2 | r0002 | 2 |" in block["text"]
    assert "[NocoDB](http://127.0.0.1" in block["text"]
    discord = on_discord(text).text
    assert "```\nId  Label  Value\n──  ─────  ─────\n1   r0001      1" in discord
    assert "NocoDB (<http://127.0.0.1" in discord
    page = to_html(text)
    assert re.search(r'<div class="table"[^>]*><table>', page)
    assert re.search(r"<td[^>]*>r0002</td>", page)
    assert re.search(r"<a [^>]*href=\"http://127[^>]+/dashboard/#/nc/[^>]+>NocoDB</a>", page)
    output = io.StringIO()
    Screen(output).show_answer({"response": text, "status": "done", "cards": [], "files": []})
    assert "| 2 | r0002 | 2 |" in output.getvalue()


async def test_figures_by_group_and_all_rows_as_a_file(bot_home: BotHome) -> None:
    """Two questions in a turn have two sources."""
    async with open_bot(bot_home, EchoModel()) as ponte:
        answer = await ponte.ask(
            'call nocodb_summarize {"table": "Orders", "group_by": "Paid", '
            '"aggregates": [{"field": "Amount", "fn": "sum"}]}'
        )
        assert '"all":{"sum of Amount":2745}' in answer.text
        assert '{"Paid":"checked","rows":30,"sum of Amount":1395}' in answer.text
        assert source(answer) == ("Orders", "60", "60")
        call = 'call nocodb_summarize {{"table": "{}"}}'
        text = "\n".join(call.format(table) for table in ("Orders", "Customers", "Orders"))
        answer = await ponte.ask(text)
        lines = [line for line in answer.text.splitlines() if line.startswith("Source: ")]
        assert [line.split(":")[1] for line in lines] == [" Orders", " Customers"]
        answer = await ponte.ask('call nocodb_query {"table": "Readings", "export": "csv"}')
        (file,) = answer.files
        _, data = await ponte.engine.conversations.files.get(file.id)
        assert file.name == "Readings.csv"
        assert data.decode("utf-8-sig").splitlines()[-1] == "1200,r1200,1200"
        assert source(answer) == ("Readings", "20", "1,200")


async def test_a_day_is_the_askers(bot_home: BotHome) -> None:
    """Everybody was seen at 12:30 in London, which is half past two the next day out there."""
    async with open_bot(bot_home, EchoModel()) as ponte:
        for zone, rows in (("Pacific/Kiritimati", "1"), ("UTC", "3")):
            message = make_message(
                'call nocodb_summarize {"table": "Customers", "filters": '
                '[{"field": "Seen", "op": "lte", "value": "2026-11-02"}]}',
                zone,
            )
            answer = await ponte.ask_message(replace(message, time_zone=zone))
            match = SOURCE.search(answer.text)
            assert match is not None
            assert (match["zone"], match["total"]) == (zone, rows)
