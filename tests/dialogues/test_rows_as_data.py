"""Rows that a tool read are placed by the model, and each platform shows them in its own form."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from adapters.discord.render import to_discord
from adapters.slack.render import PostContent, safe_markdown
from adapters.terminal.screen import Screen
from adapters.web.page.render import find_tables, to_html
from core.base.http import HttpClient
from core.domain.messages import Answer, Item, decode_json, encode_json
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.domain.records import Outcome
from core.domain.rows import Chart, Placed, RowColumn, RowsResult, Series, place_results
from core.tools.nocodb.source import NocoSource
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.test_slack_cards import answered_workplace
from tests.fakes.models import EchoModel
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.slack import blocks
from tests.slack.doubles import NoPosts
from tests.time_limits import Limits

QUERY = 'call nocodb_query {"table": "Orders", "fields": ["Title", "Amount", "Paid"], "limit": 20}'


class PlacingModel(EchoModel):
    """Makes the calls of the message, one round for each line, then answers with `text`."""

    def __init__(
        self, text: str = "Here:\n\n[table: r1]\n\nThat is all.", is_truncated: bool = False
    ) -> None:
        super().__init__()
        self.text, self.is_truncated = text, is_truncated

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        self.asks.append(ask)
        items = [*await ask.history(), *ask.input]
        lines = [item for item in items if item.role == "user"][-1].text.splitlines()
        if ask.number <= len(lines):
            yield RoundCompleted(self._calls(ask, lines[ask.number - 1]))
            return
        for piece in re.findall(".{1,3}|\n", self.text):
            yield TextDelta(piece)
        item = Item(kind="message", role="assistant", text=self.text)
        yield RoundCompleted((item,), is_truncated=self.is_truncated)


@asynccontextmanager
async def open_bot(bot_home: BotHome, model: EchoModel) -> AsyncIterator[RunningBot]:
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        async with bot_home.open(model, [source]) as ponte:
            yield ponte


def make_answer(data: RowsResult, around: str = "Here:\n\n{}\n\nThat is all.") -> Answer:
    text = around.format(data.to_markdown())
    return Answer(text, parts=(text,), placed=(Placed(data.to_markdown(), data),))


def make_rows(*cells: str, numbers: tuple[Any, ...] = ()) -> RowsResult:
    """One column of texts, and one of numbers."""
    values = numbers or tuple(range(len(cells)))
    return RowsResult(
        "Things: 2 of 9 rows",
        (RowColumn("Name"), RowColumn("Size", "number")),
        tuple((cell, str(value)) for cell, value in zip(cells, values, strict=True)),
        tuple((None, value) for value in values),
    )


async def test_the_model_names_rows_and_types_none(bot_home: BotHome) -> None:
    model = PlacingModel()
    async with open_bot(bot_home, model) as ponte:
        answer = await ponte.ask(QUERY)
    content = next(item.text for item in model.asks[1].input if item.kind == "output")
    assert "[table: r1]" in json.loads(content)["show"]
    (place,) = answer.placed
    assert isinstance(place.data, RowsResult)
    assert place.data.caption == "Orders: 20 of 60 rows"
    assert len(place.data.rows) == 20
    assert [column.kind for column in place.data.columns] == ["words", "number", "words"]
    assert f"Here:\n\n{place.text}\n\nThat is all.\n\nSource: Orders: 20 of 60 rows" in answer.text
    assert "[table" not in answer.text


@pytest.mark.parametrize("end", ["[ta", "[table: r", "[table: r1", "[table: r1]"])
async def test_a_cut_answer_shows_no_half_reference(bot_home: BotHome, end: str) -> None:
    async with open_bot(bot_home, PlacingModel(f"Here:\n\n{end}", is_truncated=True)) as ponte:
        answer = await ponte.ask(QUERY)
    assert answer.is_cut
    assert "[ta" not in answer.text
    assert len(answer.placed) == end.endswith("]")


async def test_the_same_rows_on_every_platform(bot_home: BotHome) -> None:
    async with open_bot(bot_home, PlacingModel()) as ponte:
        answer = await ponte.ask(QUERY)
    data = answer.placed[0].data
    assert isinstance(data, RowsResult)
    content = PostContent(answer.text, placed=answer.placed).build_whole()
    blocks.check_message(content["blocks"], "chat.postMessage")
    assert [block["type"] for block in content["blocks"]] == ["markdown", "data_table", "markdown"]
    table = content["blocks"][1]
    assert table["caption"] == "Orders: 20 of 60 rows"
    assert [cell["text"] for cell in table["rows"][1]] == list(data.rows[0])
    assert table["rows"][1][1]["value"] == float(data.values[0][1] or 0)
    page = to_html(answer.text, answer.placed)
    assert page.count("<tr>") == 21
    assert f'data-value="{float(data.values[0][1] or 0)!r}"' in page
    assert data.rows[0][0] in to_discord(answer.text).text
    output = io.StringIO()
    view = {"response": answer.text, "status": "done", "cards": [], "files": []}
    Screen(output).show_answer(view)
    assert data.rows[19][0] in output.getvalue()


async def test_caption_and_source_agree_beside_a_file(bot_home: BotHome) -> None:
    async with open_bot(bot_home, PlacingModel()) as ponte:
        answer = await ponte.ask(QUERY[:-1] + ', "export": "xlsx"}')
    assert isinstance(answer.placed[0].data, RowsResult)
    assert answer.placed[0].data.caption == "Orders: 20 of 60 rows"
    assert "Source: Orders: 20 of 60 rows" in answer.text
    assert "`Orders.xlsx`: 60 rows. [" in answer.text


async def test_figures_by_group_are_rows_too(bot_home: BotHome) -> None:
    call = {"table": "Orders", "group_by": "Paid", "aggregates": [{"field": "Amount", "fn": "sum"}]}
    async with open_bot(bot_home, PlacingModel()) as ponte:
        answer = await ponte.ask(f"call nocodb_summarize {json.dumps(call)}")
    data = answer.placed[0].data
    assert isinstance(data, RowsResult)
    assert [column.title for column in data.columns] == ["Paid", "Rows", "Amount: sum"]
    assert sum(int(row[1] or 0) for row in data.values) == 60
    assert data.caption == "Orders: 60 of 60 rows"
    assert [row[2] for row in data.rows] == ["1,395", "1,350"], "in the reader's language"
    assert sorted(row[2] or 0 for row in data.values) == [1350, 1395]
    assert data.total == ("Total", "60", "2,745")
    assert answer.text.split("\n\n")[1].endswith("\n| Total | 60 | 2,745 |")
    page = to_html(answer.text, answer.placed)
    assert "</tr></tbody><tfoot><tr>" in page.replace("\n", "")
    assert ">2,745</td></tr></tfoot></table>" in page.replace("\n", "")
    table = PostContent(answer.text, placed=answer.placed).build_whole()["blocks"][1]
    assert [cell["text"] for cell in table["rows"][-1]] == ["Total", "60", "2,745"]
    assert len(find_tables(answer.text, answer.placed)[0][1]) == 2, "a file has the groups"


async def test_only_what_adds_up_has_a_total(bot_home: BotHome) -> None:
    """Rows with two tags are in two groups, and a group alone is its own total."""
    figures = [{"field": "Value", "fn": fn} for fn in ("sum", "avg", "min", "unique", "filled")]
    status = {"table": "Customers", "group_by": "Status", "aggregates": figures}
    only = {"field": "Status", "op": "eq", "value": "Lead"}
    tables = []
    async with open_bot(bot_home, PlacingModel()) as ponte:
        for call in (status, {**status, "group_by": "Tags"}, {**status, "filters": [only]}):
            answer = await ponte.ask(f"call nocodb_summarize {json.dumps(call)}")
            tables.append(answer.placed[0].data)
    whole, overlapping, single = (each for each in tables if isinstance(each, RowsResult))
    assert [bool(cell) for cell in whole.total] == [True, True, True, False, False, False, True]
    assert (overlapping.total, single.total) == ((), ())


async def test_an_unknown_id_is_a_note_and_a_table_that_the_model_types_stays(
    bot_home: BotHome,
) -> None:
    text = "| a |\n| --- |\n| 1 |\n\n[table: r7]\n\n`[table: r1]` and ```\n[table: r1]\n```"
    async with open_bot(bot_home, PlacingModel(text)) as ponte:
        answer = await ponte.ask(QUERY)
    assert answer.text.startswith("| a |\n| --- |\n| 1 |\n\n_These rows are no longer available.")
    assert "`[table: r1]` and" in answer.text


ROWS = make_rows("a", "b")


@pytest.mark.parametrize(
    "text",
    ["> [table: r1]", "see [table: r1]", "```\n[table: r1]\n```", "[table: x]", "| [table: r1] |"],
)
def test_only_a_line_of_its_own_is_a_reference(text: str) -> None:
    assert place_results(text, lambda: {"r1": ROWS}) == (text, ())


def test_a_reference_in_a_cell_is_text_and_rows_are_placed_once() -> None:
    rows = make_rows("[table: r2]", "x\n[table: r2]\ny")
    text, place = place_results("[table: r1]\n[table: r1]\n", lambda: {"r1": rows, "r2": ROWS})
    assert [each.data for each in place] == [rows]
    assert text == rows.to_markdown() + "\n"
    assert len(text.splitlines()) == 4


def test_a_growing_text_shows_rows_once_their_line_is_complete() -> None:
    whole = "Here:\n\n[table: r1]\n\n[1] is all."
    views = [
        place_results(whole[:end], lambda: {"r1": ROWS}, True)[0] for end in range(len(whole) + 1)
    ]
    for before, after in pairwise(views):
        assert "[table" not in after
        assert after.startswith(before.rstrip("\n")), "Slack can only append"
    assert views[-1] == place_results(whole, lambda: {"r1": ROWS})[0]


def test_rows_are_stored_with_the_call_and_the_answer() -> None:
    rows = make_rows("a", numbers=(10**30,))
    outcome = Outcome("ok", "", data=rows)
    assert decode_json(Outcome, encode_json(outcome)) == outcome
    answer = make_answer(rows)
    assert decode_json(Answer, encode_json(answer)) == answer


def test_a_number_too_large_for_a_float_is_text_on_slack() -> None:
    answer = make_answer(make_rows("a", numbers=(10**30,)))
    table = PostContent(answer.text, placed=answer.placed).build_whole()["blocks"][1]
    assert table["rows"][1][1] == {"type": "raw_text", "text": str(10**30)}


@pytest.mark.parametrize(("columns", "count"), [(200, 2), (20, 99), (3, 100), (1, 1), (21, 1)])
def test_slack_gets_markdown_of_what_its_table_does_not_hold(columns: int, count: int) -> None:
    rows = RowsResult(
        "Big",
        tuple(RowColumn(f"C{n}") for n in range(columns)),
        tuple(tuple("v" for _ in range(columns)) for _ in range(count)),
        tuple(tuple(None for _ in range(columns)) for _ in range(count)),
    )
    answer = make_answer(rows)
    content = PostContent(answer.text, placed=answer.placed).build_whole()
    kinds = {block["type"] for block in content["blocks"]}
    assert ("data_table" in kinds) == (columns <= 20 and count < 100)
    if "data_table" not in kinds:
        assert content["blocks"] == [{"type": "markdown", "text": safe_markdown(answer.text)}]
    else:
        blocks.check_message(content["blocks"], "chat.postMessage")


def test_a_second_table_of_a_message_is_markdown() -> None:
    one, two = make_rows("a"), make_rows("b")
    text = f"{one.to_markdown()}\n\n{two.to_markdown()}"
    places = (Placed(one.to_markdown(), one), Placed(two.to_markdown(), two))
    content = PostContent(text, placed=places).build_whole()
    assert [block["type"] for block in content["blocks"]] == ["data_table", "markdown"]
    blocks.check_message(content["blocks"], "chat.postMessage")


async def test_a_workspace_without_data_blocks_gets_markdown_and_is_not_asked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    monkeypatch.setattr(blocks, "TAKES_DATA", False)
    limits(CHANNEL_INTERVAL=0.01)
    answer = make_answer(make_rows("a", "b"))
    async with answered_workplace(tmp_path, answer) as (w, inbox, post):
        w.slack.api.limits.on = False
        attempts = []
        for _ in range(4):
            assert [block["type"] for block in post.blocks] == ["markdown"]
            assert answer.text in post.visible_text or "| a | 0 |" in str(post.blocks)
            await w.ask("again")
            before, count = w.slack.api.calls["chat.postMessage"], len(w.posts())
            await w.bot.slack.reply(inbox.messages[-1].reply_to, NoPosts()).finish(answer)
            attempts.append(w.slack.api.calls["chat.postMessage"] - before)
            assert len(w.posts()) == count + 1, "one post, whatever was refused"
            post = w.posts()[-1]
        assert attempts == [2, 2, 1, 1]


async def test_slack_shows_a_sortable_table(tmp_path: Path) -> None:
    answer = replace(make_answer(make_rows("a", "b")), cards=())
    async with answered_workplace(tmp_path, answer) as (_, _, post):
        assert [block["type"] for block in post.blocks] == ["markdown", "data_table", "markdown"]


BY_TITLE = {"result": "r1", "kind": "bar", "title": "Amounts", "x": "Title", "y": ["Amount"]}


async def test_a_chart_of_rows_that_were_read(bot_home: BotHome) -> None:
    model = PlacingModel("[chart: r2]")
    async with open_bot(bot_home, model) as ponte:
        answer = await ponte.ask(f"{QUERY}\ncall chart {json.dumps(BY_TITLE)}")
    (place,) = answer.placed
    assert isinstance(place.data, Chart)
    assert len(place.data.labels) == 20
    assert answer.text.startswith("```\nAmounts\n")
    content = PostContent(answer.text, placed=answer.placed).build_whole()
    blocks.check_message(content["blocks"], "chat.postMessage")
    kinds = [block["type"] for block in content["blocks"]]
    assert kinds == ["data_visualization", "markdown"]
    page = to_html(answer.text, answer.placed)
    assert '<svg viewBox="0 0 640 300" role="img" aria-label="Amounts">' in page
    assert page.count("<tr>") == 21, "the values are a table too"
    assert "Source: Orders" in page
    assert "█" in to_discord(answer.text).text


@pytest.mark.parametrize(("change", "hint"), [
    ({"result": "r9"}, "r1"), ({"x": "Nothing"}, "the columns are Title, Amount, Paid"),
    ({"y": ["Title"]}, "has no numbers"), ({"y": []}, "it needs numbers"),
    ({"x": "Paid"}, "sum them up by group"),
    ({"series": "Paid", "y": ["Amount", "Amount"]}, "one column"),
])  # fmt: skip
async def test_a_chart_that_cannot_be_drawn_says_why(
    bot_home: BotHome, change: dict[str, Any], hint: str
) -> None:
    model = PlacingModel("no chart")
    async with open_bot(bot_home, model) as ponte:
        await ponte.ask(f"{QUERY}\ncall chart {json.dumps(BY_TITLE | change)}")
    outputs = [item.text for item in model.asks[2].input if item.kind == "output"]
    assert hint in outputs[-1]


def make_chart(kind: Any, labels: int, names: int, values: Any = lambda n: n + 1.0) -> Chart:
    return Chart(
        kind,
        'Title with <b> & "quotes" of more than fifty characters, to be cut',
        tuple(f"Label {n} ```|<i>" for n in range(labels)),
        tuple(
            Series(
                f"Series {n}",
                tuple(map(values, range(labels))),
                tuple(str(values(at)) for at in range(labels)),
            )
            for n in range(names)
        ),
    )


@pytest.mark.parametrize("kind", ["bar", "line", "area", "pie"])
@pytest.mark.parametrize(
    "values",
    [
        lambda n: n + 1.0,
        lambda n: 0.0,
        lambda n: -n - 1.0,
        lambda n: None,
        lambda n: 2.0**53,
        lambda n: 5e-324 * n,
        lambda n: 1e-9 * n,
    ],
)
def test_every_chart_arrives_on_every_platform(kind: Any, values: Any) -> None:
    for labels, names in ((1, 1), (12, 1), (20, 1), (20, 6), (20, 12), (50, 2)):
        data = make_chart(kind, labels, 1 if kind == "pie" else names, values)
        text = f"Before\n\n{data.to_markdown()}\n\nAfter"
        places = (Placed(data.to_markdown(), data),)
        content = PostContent(text, placed=places).build_whole()
        if any(block["type"] == "data_visualization" for block in content["blocks"]):
            blocks.check_message(content["blocks"], "chat.postMessage")
        else:
            assert content["blocks"] == [{"type": "markdown", "text": safe_markdown(text)}]
        page = to_html(text, places)
        root = ElementTree.fromstring(re.search(r"<svg.*</svg>", page, re.DOTALL)[0])  # type: ignore[index]
        assert root.get("role") == "img"
        assert page.count("<tr>") == labels + 1
        assert not re.search("nan|inf|0{20}", page)
        assert page.startswith("<p")
        assert len(to_discord(text).text.splitlines()) >= labels
