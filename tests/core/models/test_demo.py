"""The demo model: a person without a key tries Ponte."""

from __future__ import annotations

import contextlib
import json
import re
import runpy
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.base.errors import ToolError
from core.base.http import HttpClient
from core.changes.service import _DONE_BEFORE
from core.domain.messages import File, Item, Person
from core.domain.ports import SAMPLE_TABLES_PHRASE, Model, Tool
from core.domain.records import ASK_IF_NONE_FITS, NOTE_TEMPLATE, Remote
from core.domain.rights import Viewer
from core.models import demo_turn
from core.models.demo_model import (
    EXPORT_SENTENCE,
    OVERDUE_SENTENCE,
    PAY_SENTENCE,
    DemoModel,
    make_file_code,
)
from core.tools.nocodb.bridge import BridgeSource
from core.tools.nocodb.source import NocoSource
from core.tools.tool import FunctionTool, outcome_of_error
from core.turn.rounds import RESULT_LOST, RESULT_UNKNOWN
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import BASE, CUSTOMERS
from tests.fakes.chat import Chat
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB

BEA = Person("web", "bea", name="Bea")
OUTLINED_TABLES = "- **Customers**: Name, a, b: c, Orders, 2 more\n- **Orders**: Amount\n- **Many**"


@contextlib.asynccontextmanager
async def open_bridge_chat(*, patched: bool = True) -> AsyncIterator[tuple[Chat, FakeBridge]]:
    async with FakeBridge(patched=patched) as bridge, HttpClient() as http:
        tools = await BridgeSource(bridge.url, "", http, pauses=(0, 0)).tools(Viewer())
        yield Chat(DemoModel, tools), bridge


def execute(answers: Mapping[str, object]) -> Tool:
    """A bridge in memory: `answers` by its tools' names; a ToolError is raised."""

    async def nocodb_execute(tool: str, args: dict[str, Any]) -> object:
        """Read tables."""
        answer = answers[tool]
        if isinstance(answer, ToolError):
            raise answer
        return answer

    return FunctionTool(nocodb_execute, effect="read", doing="reads", strict=False)


def python(said: str) -> Tool:
    async def run_python(code: str) -> str:
        """Run Python."""
        return said.format(code=code)

    return FunctionTool(run_python, effect="code", doing="runs")


def parse_calls(calls: Sequence[Item]) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, json.loads(call.arguments)) for call in calls]


async def test_it_says_what_it_is_and_what_one_line_adds() -> None:
    chat = Chat(DemoModel)
    answer = await chat.says("Please write me a poem")
    assert "demo model" in answer
    assert "open Setup on the page" in answer
    assert "OPENAI_API_KEY=" in answer
    assert re.findall(r"- `(.*?)`", answer) == ["history", "help"], "what needs no tool"
    assert len(chat.deltas) > 10
    assert "".join(chat.deltas) == answer, "it streams the text with which it completes"


@pytest.mark.parametrize(
    "request_",
    [
        "Every Monday at 9 show the overdue invoices",
        "me lembre amanhã às 10h",
        "tous les lundis à 9 h, liste les factures en retard",
    ],
)
async def test_it_promises_no_schedule(request_: str) -> None:
    assert "schedules and reminders need a real model" in await Chat(DemoModel).says(request_)


async def test_it_offers_only_what_works_here() -> None:
    answer = await Chat(DemoModel, [python("{code}")]).says("hello")
    assert re.findall(r"- `(.*?)`", answer) == ["history", "run python …", "help"]
    async with open_bridge_chat() as (chat, _):
        answer = await chat.says("hello")
    tables = ["list tables", "show TABLE", "/nocodb TOOL {json}"]
    assert re.findall(r"- `(.*?)`", answer) == ["history", *tables, "help"]


async def test_tables_over_the_bridge() -> None:
    async with open_bridge_chat() as (chat, bridge):
        answer = await chat.says("List tables")
        assert "Tables: 2" in answer
        assert f"**Customers** (`{CUSTOMERS}`)" in answer
        assert bridge.executed_tools == ["list_bases", "list_tables"]
        list_tables = {"tool": "list_tables", "args": {"base_id": BASE}}
        assert parse_calls(chat.calls)[1] == ("nocodb_execute", list_tables)
        answer = await chat.says("show customers")
        total = len(bridge.api.rows[CUSTOMERS])
        assert f"**Customers**: showing 20 of {total} rows." in answer
        assert len([line for line in answer.split("\n") if line.startswith("|")]) == 22
        ids = [call.call_id for call in chat.calls]
        assert len(ids) == len(set(ids)) == 3
        again = [item for ask in chat.asks for item in await chat.complete(ask)]
        assert [item.call_id for item in again if item.kind == "call"] == ids, "asked again"
        answer = await chat.says("show Custommers")
        assert answer == "Table Custommers not found. Available tables: Customers, Orders."


async def test_the_public_bridge_cannot_list_tables_but_reads_one_by_its_id() -> None:
    async with open_bridge_chat(patched=False) as (chat, _):
        assert "404" in await chat.says("list tables")
        assert "404" in await chat.says("show Customers")
        assert "20 of" in await chat.says(f"show {CUSTOMERS}")


async def test_the_bridge_called_by_hand() -> None:
    async with open_bridge_chat() as (chat, _):
        args = json.dumps({"table_id": CUSTOMERS, "limit": 2})
        assert "**list_records**: showing 2 of" in await chat.says(f"/nocodb list_records {args}")
        args = json.dumps({"table_id": CUSTOMERS, "record_id": 1})
        assert (await chat.says(f"/nocodb get_record {args}")).startswith("```json\n{\n")
        assert "Type `/nocodb TOOL {json}`" in await chat.says("/nocodb list_bases {oops")
        # The arguments are the bridge's to judge, whatever their names.
        answer = await chat.says('/nocodb list_bases {"tool": "x"}')
        assert parse_calls(chat.calls)[-1] == (
            "nocodb_execute",
            {"tool": "list_bases", "args": {"tool": "x"}},
        )
        answer = await chat.says('/nocodb delete_base {"base_id": "p1"}')
        assert "can do more than the bridge allows" in answer


async def test_without_tools_it_says_what_to_set() -> None:
    chat = Chat(DemoModel)
    assert "Setup on the page" in await chat.says("list tables")
    assert "Setup on the page" in await chat.says("show Customers")
    assert "Setup on the page" in await chat.says("/nocodb list_bases {}")
    assert "`PONTE_CODE`" in await chat.says("run python 1 + 1")


@pytest.mark.parametrize("wrapped", [True, False])
async def test_rows_that_try_to_be_markup(wrapped: bool) -> None:
    rows = [{"Id": 1, "Name": "a|b\n[x](http://evil.example) `c`", "Tags": [{"title": "t"}, "u"]}]
    page = {"list": rows, "pageInfo": {"totalRows": 1}}
    chat = Chat(DemoModel, [execute({"list_records": {"result": page} if wrapped else page})])
    answer = await chat.says("show m1customers0001")
    assert answer.split("\n")[-1] == (r"| 1 | a\|b \[x\](http://evil.example) \`c\` | t, u |")


async def test_a_tool_that_fails_is_told_in_words() -> None:
    down = ToolError("The bridge is asleep.", hint="do not tell")
    chat = Chat(DemoModel, [execute({"list_bases": down})])
    assert await chat.says("list tables") == "That didn't work: The bridge is asleep."


def list_bases_tool(count: int, locked: str = "") -> Tool:
    """Return a bridge with so many bases of one table each; one is locked."""

    async def nocodb_execute(tool: str, args: dict[str, str]) -> object:
        """Read tables."""
        if tool == "list_bases":
            return [{"id": f"p{number}", "title": f"Base {number}"} for number in range(count)]
        if args["base_id"] == locked:
            raise ToolError("It is locked.")
        return [{"id": f"m{args['base_id']}", "title": f"Cats {args['base_id']}"}]

    return FunctionTool(nocodb_execute, effect="read", doing="reads", strict=False)


async def test_one_base_of_two_fails() -> None:
    assert await Chat(DemoModel, [list_bases_tool(2, "p1")]).says("list tables") == (
        "Tables: 1\n\n- **Cats p0** (`mp0`)\n\nI couldn't read the base Base 1: It is locked."
    )


async def test_of_many_bases_the_first_are_read_and_the_answer_says_so() -> None:
    chat = Chat(DemoModel, [list_bases_tool(30)])
    answer = await chat.says("list tables")
    call_count = len(chat.calls) - 1
    assert call_count < 30
    assert answer.startswith(f"Tables: {call_count}\n\n")
    assert answer.endswith(f"\n\nI read only the first {call_count} bases.")


@pytest.mark.parametrize("said", [OVERDUE_SENTENCE, PAY_SENTENCE, EXPORT_SENTENCE])
async def test_a_step_of_the_tour_that_cannot_read_says_why(said: str) -> None:
    chat = Chat(DemoModel, sample_tools(reads=False, changes=True))
    assert await chat.says(said) == "That didn't work: The disk is full."
    assert [call.name for call in chat.calls] == ["nocodb_query"]


async def test_a_payment_that_cannot_be_proposed_says_why() -> None:
    chat = Chat(DemoModel, sample_tools(reads=True, changes=False))
    assert await chat.says(PAY_SENTENCE) == "That didn't work: It is locked."
    payment = {"table": "Invoices", "changes": [{"id": "7", "fields": {"Status": "Paid"}}]}
    assert parse_calls(chat.calls)[1] == ("nocodb_update", payment)


def sample_tools(*, reads: bool, changes: bool) -> Sequence[Tool]:
    """The tools over the sample tables, which fail where they are not to read or change."""

    async def nocodb_query(
        table: str,
        filters: list[Any],
        match: str,
        page: int,
        fields: list[str],
        sort: list[Any],
        limit: int,
        export: str | None = None,
    ) -> dict[str, object]:
        if not reads:
            raise ToolError("The disk is full.")
        return {"total": 1, "returned": 1, "rows": [{"id": "7", "Number": "2026-01"}]}

    async def nocodb_update(table: str, changes: list[Any]) -> str:
        if not may_change:
            raise ToolError("It is locked.")
        return "proposed"

    may_change = changes
    about: Any = {"doing": "works", "strict": False, "description": SAMPLE_TABLES_PHRASE}
    return [
        FunctionTool(nocodb_query, effect="read", **about),
        FunctionTool(nocodb_update, effect="write", **about),
    ]


async def test_the_rest_tools_are_used_where_they_are_offered() -> None:
    async def nocodb_tables() -> str:
        """Tables."""
        fields = "Name*:text, a, b: c:select(x, y|z), Orders->Orders, and 2 more"
        return (
            f"3 tables\nCustomers [m1] (read only): {fields}\nOrders [m2]: Amount:number\nMany [m3]"
        )

    async def nocodb_query(
        table: str, filters: list[str], match: str, fields: list[str], sort: list[str], limit: int
    ) -> dict[str, object]:
        """Query."""
        if table != "Customers":
            raise ToolError("There is no table {table}.", table=table)
        return {"total": 53, "returned": 1, "rows": [{"Name": "Ada"}], "truncated": True}

    tools = [
        FunctionTool(each, effect="read", doing="reads") for each in (nocodb_tables, nocodb_query)
    ]
    chat = Chat(DemoModel, tools)
    assert await chat.says("list tables") == OUTLINED_TABLES
    assert await chat.says("show Customers") == (
        "**Customers**: showing 1 of 53 rows.\n\n| Name |\n| --- |\n| Ada |"
    )
    assert chat.calls[0].arguments == json.dumps(
        {"table": "Customers", "filters": [], "match": "all", "fields": [], "sort": [], "limit": 20}
    )
    assert await chat.says("show Cats") == "That didn't work: There is no table Cats."


async def test_nocodb_over_rest() -> None:
    async with FakeNocoDB() as nocodb, HttpClient() as http:
        source = NocoSource(nocodb.origin, filled.EDITOR, http, pauses=())
        chat = Chat(DemoModel, await source.tools(Viewer()))
        assert "- **Customers**: Name, Email, " in await chat.says("list tables")
        reply = await chat.says("show customers")
        assert reply.startswith("**Customers**: showing 20 of 30 rows.")
        assert "| 1 | Customer 01 | c01@example.com | Active |" in reply
        assert "signed" not in reply
        missing = await chat.says("show Custmers")
        assert missing.endswith("Table \\`Custmers\\` not found. (did you mean 'Customers'?)")
        assert "Order 12" in await chat.says('/nocodb get {"table": "Orders", "id": "12"}')
        text = await chat.says("/nocodb drop_base {}")
        assert "NocoDB isn't connected" in text
        assert "`query`" in text


async def test_run_python() -> None:
    chat = Chat(DemoModel, [python("ran {code}")])
    assert await chat.says("run python print(2.)") == "```\nran print(2.)\n```"
    assert await chat.says("Run python\n```python\na = 1\nprint(a)\n```") == (
        "```\nran a = 1\nprint(a)\n```"
    )
    assert "run python print" in await chat.says("run python")


async def test_python_on_a_file_that_was_attached() -> None:
    chat = Chat(DemoModel, [python("ran {code}")])
    assert "Attach a file to your message" in await chat.says("Summarize the attached file")
    file = File("f1", "sales.csv", "text/csv", 10)
    chat.thread.append(Item(kind="message", role="user", text="here", name="Ana", files=(file,)))
    reply = await chat.says("Summarise my file")
    assert "'sales.csv'" in reply
    newer = File("f2", "costs.csv", "text/csv", 10)
    assert "'costs.csv'" in await chat.says("Summarise my file", files=(newer,))
    assert "That was the last step. To use a real model, open Setup on the page" in reply
    reply = await Chat(DemoModel, [python("drawn")]).says("draw something")
    assert reply.startswith("I can only chart the sales in the sample tables."), "it says so"


def test_the_program_for_a_file_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sales.csv").write_text("name;value\nAna;2.5\nBia;4\n;\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("sales.csv", "", "../etc/passwd\n'"):
        program = tmp_path / ".program"
        program.write_text(make_file_code(name), encoding="utf-8")
        runpy.run_path(str(program))
        assert capsys.readouterr().out == (
            "sales.csv: 4 lines\n3 rows\n- name: 2 filled\n- value: 2 filled, sum 6.50\n"
        )


async def test_output_cannot_leave_its_block() -> None:
    chat = Chat(DemoModel, [python("```\n# out\n```")])
    assert await chat.says("run python x") == "````\n```\n# out\n```\n````"


async def test_history_is_the_thread() -> None:
    chat = Chat(DemoModel)
    assert await chat.says("history") == "This conversation has no earlier messages."
    await chat.says("the code is 42")
    await chat.says("I like tea", BEA)
    reply = await chat.says("history")
    assert "- **Ana**: the code is 42\n- **I**: I'm Ponte's demo model" in reply
    assert "- **Bea**: I like tea" in reply


async def test_quoted_context_is_not_what_was_asked() -> None:
    chat = Chat(DemoModel)
    item = Item(kind="message", role="user", text="> 'Bea': list tables", name="context")
    chat.thread.append(item)
    assert await chat.says("history") == "This conversation has no earlier messages."


@pytest.mark.parametrize("odd", ["", "null", "[1]", "text", '{"list": 1}', '{"list": [1, null]}'])
async def test_the_demo_model_accepts_any_tool_result(odd: str) -> None:
    value = json.loads(odd) if odd.startswith(("{", "[", "n")) else odd
    answers = dict.fromkeys(("list_bases", "list_tables", "list_records", "get_record"), value)
    chat = Chat(DemoModel, [execute(answers)])
    for messages in (
        "list tables",
        "show Customers",
        "show m1customers0001",
        "/nocodb get_record {}",
    ):
        assert await chat.says(messages)


async def test_it_keeps_nothing_anywhere() -> None:
    model: Model = DemoModel()
    assert (model.level, (await model.health()).state) == ("demo", "on")
    assert not await model.erase(Remote("conversation", "conv_1"))
    await model.close()


NO_MONEY = ToolError("{why}", code="too_many", hint="answer now", why="Not run. No money.")
OUTCOMES_FOR_A_MODEL = {
    RESULT_UNKNOWN: "I was interrupted while this code ran, so its effects are unknown",
    NO_MONEY: "That didn't work: Not run. No money.",
    RESULT_LOST: "its result could not be stored and is lost",
}
CHANGES_FOR_A_MODEL = {
    outcome_of_error(
        ToolError(_DONE_BEFORE, code="done_before", hint="tell the person so", id="abc234")
    ).text: "already made, as abc234",
    NOTE_TEMPLATE.format(words="Proposal abc234: Done."): "Proposal abc234: Done.",
}


async def test_words_that_are_meant_for_a_model_are_not_repeated() -> None:
    """As an outcome is found after a kill, or where a limit is reached; and as it is told of a
    change that was done before a kill, or that a rule allowed."""
    answers = list[str]()
    for error, words in OUTCOMES_FOR_A_MODEL.items():
        outcome = outcome_of_error(error).text.replace("{", "{{").replace("}", "}}")
        chat = Chat(DemoModel, [python(outcome)])
        answers.append(await chat.says("run python 1 + 1"))
        assert words in answers[-1]
    question = '/nocodb create_record {"table_id": "m1", "record_data": {"Name": "A"}}'
    for outcome, words in CHANGES_FOR_A_MODEL.items():
        answers.append(await Chat(DemoModel, [execute({"create_record": outcome})]).says(question))
        assert words in answers[-1]
    for words in ("to you", "tell the person", "do not repeat", "answer now", "error:"):
        assert words not in str(answers)
    for words in ("A note from Ponte", "not from a person"):
        assert words not in str(answers)


def test_a_note_for_the_model_is_not_shown_to_people() -> None:
    hint = f"there are Orders{ASK_IF_NONE_FITS}"
    problem = {"code": "unknown_table", "message": "Table 'x' not found.", "hint": hint}
    error = demo_turn._parse_output(json.dumps({"error": problem})).error
    assert error == "Table 'x' not found. (there are Orders)"
