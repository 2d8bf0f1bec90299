"""The model reads tables through the bridge, and only reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from core.base.errors import ToolError
from core.base.http import (
    HttpAnswer,
    HttpClient,
    HttpDown,
    HttpError,
    HttpTimeout,
    HttpTooLarge,
    HttpUnreadable,
)
from core.changes.approval import Access, Approval, TableRule, TableRules
from core.domain.records import Health
from core.domain.rights import Need, Viewer
from core.people.policy import ANY_TABLE
from core.tools.nocodb.bridge import TOOL_LIST_SECONDS, BridgeSource
from core.tools.nocodb.bridge_api import (
    BRIDGE_READ_TOOLS,
    BRIDGE_TOOLS,
    explain_bridge_error,
)
from core.tools.tool import MAX_OUTCOME_CHARACTERS, outcome_of_error
from core.turn.context import ToolContexts
from tests.core.tools.scene import ctx
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import BASE, CUSTOMERS, ORDERS, VIEWS
from tests.fakes.clock import Clock
from tests.fakes.config import FixedConfig
from tests.fakes.faulty import Trouble
from tests.fakes.loop_clock import LoopClock, run_ready
from tests.fakes.nocodb.server import FakeNocoDB


@contextlib.asynccontextmanager
async def asking(
    bridge: FakeBridge,
    base_id: str = "",
    token: str = "",
    clock: Clock | None = None,
    config: FixedConfig | None = None,
) -> AsyncIterator[BridgeSource]:
    async with bridge, HttpClient() as http:
        yield BridgeSource(
            bridge.url,
            token,
            http,
            base_id=base_id,
            pauses=(0, 0),
            clock=clock or Clock(),
            config=config or FixedConfig(),
        )


async def execute(
    source: BridgeSource, tool: str, *, viewer: Viewer | None = None, **args: Any
) -> Any:
    """What the model reads of a call, as JSON."""
    (result,) = await source.tools(Viewer())
    asking = replace(ctx(), viewer=viewer or Viewer())
    outcome = await result.run(asking, json.dumps({"tool": tool, "args": args}))
    assert outcome.status == "ok"
    return json.loads(outcome.text)


async def error_of_call(source: BridgeSource, tool: str, **args: Any) -> dict[str, str]:
    """What the model is told of a call that does not work."""
    (result,) = await source.tools(Viewer())
    with pytest.raises(ToolError) as error:
        await result.run(ctx(), json.dumps({"tool": tool, "args": args}))
    data: dict[str, str] = json.loads(outcome_of_error(error.value).text)["error"]
    return data


async def test_from_the_bases_to_the_rows() -> None:
    bridge = FakeBridge()
    async with asking(bridge) as source:
        (base,) = (await execute(source, "list_bases"))["list"]
        tables = (await execute(source, "list_tables", base_id=base["id"]))["list"]
        assert [table["title"] for table in tables] == ["Customers", "Orders"]
        table = tables[0]["id"]
        page = await execute(source, "list_records", table_id=table, limit=2, where="(Id,eq,7)")
        assert [row["Name"] for row in page["list"]] == ["Ada Bernard"]
        row = await execute(source, "get_record", table_id=table, record_id="1")
        assert row["Name"] == "Ada Almeida"
        assert row["Contract"] == [{"title": "contract.pdf", "size": 2048}], "no signed address"
        assert base["password"] == "[withheld]"
    assert bridge.executed_tools == [
        "list_bases",
        "list_tables",
        "get_table",
        "list_records",
        "get_record",
    ]


async def test_the_model_is_told_what_it_may_ask() -> None:
    async with asking(FakeBridge()) as source:
        (tool,) = await source.tools(Viewer())
    assert (tool.spec.name, tool.effect, tool.spec.strict) == ("nocodb_execute", "read", False)
    assert "- list_records(table_id, limit=25, offset=0" in tool.spec.description
    assert "list_views" not in tool.spec.description, "the fake bridge does not say it has them"
    assert "- update_record(table_id, record_id, record_data)" in tool.spec.description
    assert "only propose" in tool.spec.description
    for never in ("delete_base", "create_table", "create_webhook", "create_comment", "upload_file"):
        assert never not in tool.spec.description


async def test_who_may_only_read_is_offered_no_more() -> None:
    bridge = FakeBridge()
    async with asking(bridge) as source:
        (tool,) = await source.tools(Viewer())
        assert tool.restrict_to({"chat", "propose"}) is None
        assert tool.restrict_to({"read", "propose"}) is tool
        reading = tool.restrict_to({"read"})
        assert reading
        assert "create_record" not in reading.spec.description
        assert "Nothing can be changed here" in reading.spec.description
        call = {"tool": "delete_record", "args": {"table_id": CUSTOMERS, "record_id": 1}}
        with pytest.raises(ToolError, match="can do more than the bridge allows"):
            await reading.run(ctx(), json.dumps(call))
        assert (await reading.run(ctx(), '{"tool": "list_bases"}')).status == "ok"
    assert bridge.executed_tools == ["list_bases"]


@pytest.mark.parametrize("name", ["customers", CUSTOMERS])
async def test_a_hidden_table_is_not_there(name: str) -> None:
    rules = TableRules({name: TableRule("hidden")})
    async with asking(FakeBridge(), config=FixedConfig(rules)) as source:
        for tool, args in (
            ("get_table", {"base_id": BASE, "table_id": CUSTOMERS}),
            ("list_records", {"table_id": CUSTOMERS}),
            ("create_record", {"table_id": CUSTOMERS, "record_data": {"Name": "Eve"}}),
        ):
            error = await error_of_call(source, tool, **args)
            assert (error["code"], error["message"]) == ("not_found", "Table not found.")
        tables = (await execute(source, "list_tables", base_id=BASE))["list"]
        assert [table["title"] for table in tables] == ["Orders"]
        await execute(source, "list_records", table_id=tables[0]["id"])


@pytest.mark.parametrize("rule", ["Customers", CUSTOMERS])
@pytest.mark.parametrize("patched", [True, False])
async def test_a_hidden_table_cannot_be_read_by_its_title(rule: str, patched: bool) -> None:
    """Some bridges take a title in place of an id, and the public one describes no table."""
    config = FixedConfig(TableRules({rule: TableRule("hidden")}))
    bridge = FakeBridge(patched=patched)
    bridge.api.ids_by_title = {"Customers": CUSTOMERS, "Orders": ORDERS, "customers": CUSTOMERS}
    async with asking(bridge, config=config) as source:
        for name in ("Customers", "customers"):
            error = await error_of_call(source, "list_records", table_id=name)
            assert (error["code"], error["message"]) == ("not_found", "Table not found.")
        if patched or rule == CUSTOMERS:
            assert await execute(source, "list_records", table_id=ORDERS)


SECRET_CONDITIONS: Sequence[dict[str, object]] = (
    {"where": "(Password,eq,x)"},
    {"where": "(Id,gt,0)~and( password ,like,h%)"},
    {"where": "(Id,gt,0)~or((pass-word,lt,m)~and(Id,eq,1))"},
    {"where": '("Password",lt,m)'},
    {"where": "(cPassword,eq,x)"},
    {"where": "(db_Password,eq,x)"},
    {"sort": ["Id", "-Password"]},
    {"sort": "-Password"},
    {"sort": ["cPassword"]},
    {"sort": ["Id,-Password"]},
)


async def test_conditions_do_not_reveal_a_secret_field() -> None:
    bridge = FakeBridge()
    for row in bridge.api.rows[CUSTOMERS]:
        row["Password"] = "hunter2"
    bridge.api.fields[CUSTOMERS] += ("Password",)
    async with asking(bridge) as source:
        for args in SECRET_CONDITIONS:
            error = await error_of_call(source, "list_records", table_id=CUSTOMERS, **args)
            assert error["code"] == "withheld", args
        error = await error_of_call(source, "global_search", query="hunter")
        assert error["code"] == "not_offered"
        where = "(Name,eq,Ada (x,Password))"
        page = await execute(source, "list_records", table_id=CUSTOMERS, where=where)
        assert page["list"] == []
        page = await execute(source, "list_records", table_id=CUSTOMERS, where="(Id,eq,1)")
        (row,) = page["list"]
    assert row["Password"] == "[withheld]"
    assert {"global_search"}.isdisjoint(bridge.executed_tools)


@pytest.mark.parametrize("patched", [True, False])
async def test_a_table_that_is_not_described_is_closed_where_a_rule_hides_titles(
    patched: bool,
) -> None:
    """Nobody knows whether it is the hidden one."""
    bridge, config = FakeBridge(patched=patched), FixedConfig()
    async with asking(bridge, config=config) as source:
        await source.tools(Viewer())
        for tool, args in (("get_table", {"base_id": BASE}), ("get_record", {"record_id": 1})):
            config.table_rules = TableRules({"Customers": TableRule("hidden")})
            bridge.fail(patched, 500, "503: 503 Server Error")
            error = await error_of_call(source, tool, table_id=CUSTOMERS, **args)
            assert error["code"] == "bridge_unreadable"
            assert bridge.executed_tools == ["list_records"], "a sample alone was read"
            bridge.calls.clear()
            config.table_rules = TableRules({ORDERS: TableRule("hidden")})
        bridge.fail(patched, 500, "503: 503 Server Error")
        assert await execute(source, "list_records", table_id=CUSTOMERS)


@pytest.mark.parametrize("patched", [True, False])
async def test_secret_fields_are_not_revealed_by_their_ids_or_by_links(patched: bool) -> None:
    """A condition on a link compares the display field of the linked rows."""
    bridge = FakeBridge(patched=patched)
    for row in bridge.api.rows[ORDERS]:
        row["Customer"] = {"Id": 1, "Password": "hunter2"}
    async with asking(bridge) as source:
        for args, code in (
            ({"where": "(c1a2b3c4d5e6f7g,like,h%)"}, "unknown_field"),
            ({"where": "(Customer,like,h%)"}, "bad_filter"),
            ({"where": "(Id,gt,0)~and(~not(Customer,lt,m))"}, "bad_filter"),
            ({"sort": "Customer"}, "bad_filter"),
            ({"sort": '[{"field":"Password","direction":"asc"}]'}, "unknown_field"),
            ({"sort": {"Password": "asc"}}, "unknown_field"),
        ):
            error = await error_of_call(source, "list_records", table_id=ORDERS, **args)
            assert error["code"] == code, args
        await execute(source, "list_records", table_id=ORDERS, where="(Customer,blank,)")


@pytest.mark.parametrize("empty", [None, []])
async def test_a_link_that_is_empty_in_the_first_rows_reveals_no_secret(empty: object) -> None:
    bridge = FakeBridge(patched=False)
    for row in bridge.api.rows[ORDERS]:
        row |= {"Customer": empty, "Due": None, "Paid": None}
    bridge.api.rows[ORDERS][-1] |= {"Customer": {"Id": 1, "Password": "hunter2"}, "Due": "May"}
    async with asking(bridge) as source:
        args = {"table_id": ORDERS, "where": "(Customer,like,h%)"}
        assert (await error_of_call(source, "list_records", **args))["code"] == "bad_filter"
        for field in ("Due", "Paid"):
            await execute(source, "list_records", table_id=ORDERS, where=f"({field},eq,May)")


async def test_a_calls_effect_is_that_of_the_bridges_tool() -> None:
    async with asking(FakeBridge()) as source:
        (result,) = await source.tools(Viewer())
    assert result.effect_of('{"tool": "update_record", "args": {}}') == "write"
    for tool in ('"list_records"', '"_make_request"', "[]"):
        assert result.effect_of(f'{{"tool": {tool}}}') == "read"
    assert result.effect_of("[]") == result.effect_of("{") == "read"


async def test_the_base_that_is_set_is_filled_in() -> None:
    bridge = FakeBridge()
    async with asking(bridge, base_id=BASE) as source:
        await execute(source, "list_tables")
        await error_of_call(source, "list_tables", base_id="another")
        (tool,) = await source.tools(Viewer())
    assert [call.args["base_id"] for call in bridge.calls] == [BASE, "another"]
    assert "may be left out" in tool.spec.description


async def test_what_changes_more_than_rows_never_reaches_the_bridge() -> None:
    bridge = FakeBridge()
    changing = [each.name for each in BRIDGE_TOOLS.values() if each.effect not in ("read", "write")]
    assert {"create_table", "create_comment", "delete_base", "upload_file"} < set(changing)
    async with asking(bridge) as source:
        for tool in changing:
            error = await error_of_call(source, tool, table_id=CUSTOMERS)
            assert error["code"] == "not_offered"
            why = "can do more than the bridge allows"
            why = "The bridge can't attach files to rows." if tool == "upload_file" else why
            assert why in error["message"]
        for tool in ("_make_request", "__init__", "get_or_create_base", "rows", ""):
            assert (await error_of_call(source, tool, table_id=CUSTOMERS))["code"] == "unknown_tool"
        error = await error_of_call(source, "list_views", table_id=CUSTOMERS)
        assert error["message"] == "This bridge doesn't have the tool list_views."
    assert bridge.calls == []
    assert not bridge.api.breached


async def test_an_id_cannot_leave_its_step_of_the_path() -> None:
    bridge = FakeBridge()
    async with asking(bridge) as source:
        ids: list[object] = ["../../x", "..", "1?a=b", "1%2e", "a\\b", "1\n", "", {}, None, True]
        for record in ids:
            error = await error_of_call(source, "get_record", table_id=CUSTOMERS, record_id=record)
            assert error["message"] == "`record_id` isn't an ID."
    assert bridge.calls == []


async def test_the_public_code_cannot_list_tables_and_the_model_is_told() -> None:
    async with asking(FakeBridge(patched=False)) as source:
        error = await error_of_call(source, "list_tables", base_id=BASE)
        assert (await execute(source, "list_records", table_id=CUSTOMERS))["list"]
    assert error["message"] == (
        "The bridge can't use list_tables: NocoDB responded with 404 (not found)."
    )
    assert "NOCODB_URL" in error["hint"]
    assert "nocodb.internal" not in json.dumps(error)


async def test_a_wrong_call_is_told_the_right_one() -> None:
    async with asking(FakeBridge()) as source:
        hint = (await error_of_call(source, "list_record"))["hint"]
        assert hint.startswith("did you mean list_records(table_id")
        error = await error_of_call(source, "list_tables", base="x")
    assert error["code"] == "bad_arguments"
    assert error["hint"] == "list_tables(base_id): got an unexpected keyword argument 'base'"


async def test_rows_that_do_not_fit_are_left_out_whole() -> None:
    bridge = FakeBridge()
    for row in bridge.api.rows[CUSTOMERS]:
        row["Name"] = "x" * 1_000
    async with asking(bridge) as source:
        (tool,) = await source.tools(Viewer())
        call = json.dumps({"tool": "list_records", "args": {"table_id": CUSTOMERS, "limit": 30}})
        outcome = await tool.run(ctx(), call)
    page = json.loads(outcome.text)
    assert len(outcome.text) <= MAX_OUTCOME_CHARACTERS
    assert page["cut"] == (
        f"only the first {len(page['list'])} of these 30 rows fit; "
        f"go on at offset + {len(page['list'])}, or ask for fewer fields"
    )
    assert page["pageInfo"]["totalRows"] == 30


async def test_a_read_is_tried_again_when_the_connection_breaks_and_other_faults_are_told() -> None:
    bridge = FakeBridge()
    async with asking(bridge) as source:
        await source.tools(Viewer())
        bridge.drop("before")
        bridge.fail(1, 503)
        assert await execute(source, "list_bases")
        assert [call.succeeded for call in bridge.calls] == [False, False, True]
        bridge.fail(3, 502)
        assert (await error_of_call(source, "list_bases"))["code"] == "bridge_down"
        bridge.fail(1, 500, "500: something else")
        assert (await error_of_call(source, "list_bases"))["code"] == "bridge_failed"
        assert len(bridge.calls) == 7


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ({"result": [{"id": "b1"}]}, [{"id": "b1"}]),
        ({"result": [], "error": None}, []),
        ([{"id": "b1"}], [{"id": "b1"}]),
        ({"list": [{"id": "b1"}]}, {"list": [{"id": "b1"}]}),
        ({"Id": 1, "error": "404: a row"}, {"Id": 1, "error": "404: a row"}),
    ],
)
async def test_a_bridge_may_return_a_result_as_it_is(body: object, result: object) -> None:
    bridge = FakeBridge()
    async with asking(bridge) as source:
        bridge.trouble(Trouble("status", 200, body))
        assert await source.api.call_once("list_bases", {}) == result


@pytest.mark.parametrize("status", [200, 500])
async def test_an_error_in_any_status_is_an_error(status: int) -> None:
    bridge = FakeBridge()
    async with asking(bridge) as source:
        bridge.trouble(Trouble("status", status, {"result": None, "error": "no such base"}))
        error = await error_of_call(source, "list_bases")
    assert (error["code"], error["hint"]) == ("bridge_failed", "no such base")


async def test_a_single_attempt_is_never_tried_again_and_says_when_it_may_have_happened() -> None:
    bridge = FakeBridge()
    async with asking(bridge) as source:
        bridge.drop("after")
        with pytest.raises(ToolError) as error:
            await source.api.call_once("create_record", {"table_id": CUSTOMERS, "record_data": {}})
        assert getattr(error.value, "unsure", None) is True
    assert bridge.executed_tools == ["create_record"]
    assert len(bridge.api.rows[CUSTOMERS]) == 31


CUSTOMERS_VIEW, ORDERS_VIEW = VIEWS


@pytest.mark.parametrize("tool", ["list_filters", "list_sorts"])
async def test_views_of_a_closed_table_are_not_read(tool: str) -> None:
    """They go by the view's id alone, and filters hold values."""
    config = FixedConfig(TableRules({"Orders": TableRule("hidden")}))
    bridge = FakeBridge(has_views=True)
    async with asking(bridge, config=config) as source:
        closure = await error_of_call(source, tool, view_id=ORDERS_VIEW)
        unknown = await error_of_call(source, tool, view_id="vw9")
        assert closure == unknown, "not even that there is such a view"
        assert "list_views" in closure["hint"]
        assert (await error_of_call(source, "list_views", table_id=ORDERS))["code"] == "not_found"
        assert await error_of_call(source, tool, view_id=ORDERS_VIEW) == closure
        assert bridge.executed_tools.count(tool) == 0
        await execute(source, "list_views", table_id=CUSTOMERS)
        result = (await execute(source, tool, view_id=CUSTOMERS_VIEW))["list"]
        assert [one["fk_view_id"] for one in result] == [CUSTOMERS_VIEW]
        config.table_rules = TableRules({"Customers": TableRule("hidden")})
        error = await error_of_call(source, tool, view_id=CUSTOMERS_VIEW)
        assert error == closure, "closed meanwhile"
        config.table_rules = TableRules()
        assert len((await execute(source, tool, view_id=ORDERS_VIEW))["list"]) == 1


async def test_each_tool_that_reads_is_checked_by_a_table_or_a_view() -> None:
    """A new one in the catalogue must say what it reads from."""
    unchecked = {"list_bases", "get_base", "list_tables"}
    for name in BRIDGE_READ_TOOLS:
        names = BRIDGE_TOOLS[name].argument_names
        assert name in unchecked or {"table_id", "view_id"} & {*names}, name


async def test_a_bridge_that_hangs_is_given_up() -> None:
    bridge = FakeBridge()
    async with asking(bridge) as source:
        bridge.hang()
        clock = LoopClock()
        reading = asyncio.create_task(source.api.call_with_retries("list_bases", {}))
        await bridge.wait_for_held_call()
        clock.skip(60.0)
        with pytest.raises(ToolError, match="didn't respond in time"):
            await reading
        bridge.release()


async def test_a_bearer_is_sent_and_a_missing_one_is_told_to_the_operator() -> None:
    async with asking(FakeBridge(token="s3cret"), token="s3cret") as source:
        assert await execute(source, "list_bases")
    async with asking(FakeBridge(token="s3cret")) as source:
        error = await error_of_call(source, "list_bases")
    assert error["message"] == (
        "The NocoDB bridge rejected the token (status 401). Check the NOCODB_TOKEN setting."
    )


async def test_no_bridge_is_told_without_its_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bridge = FakeBridge()
    async with bridge:
        pass
    async with HttpClient() as http:
        source = BridgeSource(bridge.url, "s3cret", http, pauses=(0, 0))
        error = await error_of_call(source, "list_bases")
        health = await source.health()
    assert error["code"] == "bridge_down"
    assert (health.name, health.state, health.words) == ("nocodb", "failing", error["message"])
    for text in (json.dumps(error), health.words, caplog.text):
        assert "127.0.0.1" not in text
        assert "s3cret" not in text


async def test_the_list_of_tools_is_kept_for_a_while_and_may_be_missing() -> None:
    bridge, clock = FakeBridge(), Clock()
    async with asking(bridge, clock=clock) as source:
        first = await source.tools(Viewer())
        clock.now += TOOL_LIST_SECONDS / 2
        assert await source.tools(Viewer()) == first
        assert bridge.listed == 1
        clock.now += TOOL_LIST_SECONDS
        assert await source.tools(Viewer()) == first
        assert bridge.listed == 2
        words = "bridge; 7 of its 14 tools are read-only"
        assert await source.health() == Health("nocodb", "on", words)
    async with asking(FakeBridge(lists_tools=False)) as source:
        (tool,) = await source.tools(Viewer())
        assert "- list_views(table_id)" in tool.spec.description
        assert await source.health() == Health("nocodb", "on", "bridge; it doesn't list its tools")


async def test_what_is_no_bridge_or_cannot_list_its_tools_is_failing() -> None:
    async with FakeNocoDB() as server, HttpClient() as http:
        health = await BridgeSource(f"{server.origin}/execute", "", http).health()
    assert (health.state, "NOCODB_URL" in health.words) == ("failing", True), health.words
    bridge = FakeBridge()
    async with asking(bridge) as source:
        bridge.listing_status = 500
        health = await source.health()
    assert (health.state, health.words) == ("failing", "The bridge couldn't run tools.")


async def test_a_bridge_that_is_away_is_not_asked_again_by_each_turn() -> None:
    bridge, clock = FakeBridge(), Clock()
    await bridge.start()
    await bridge.stop()
    port = int(bridge.origin.rpartition(":")[2])
    async with HttpClient() as http:
        source = BridgeSource(bridge.url, "", http, clock=clock)
        (tool,) = await source.tools(Viewer())
        assert "- list_views(table_id)" in tool.spec.description
        await bridge.start(port)
        await source.tools(Viewer())
        assert bridge.listed == 0
        clock.now += TOOL_LIST_SECONDS / 10
        (tool,) = await source.tools(Viewer())
        assert "list_views" not in tool.spec.description
        await bridge.stop()


async def test_a_rule_for_a_table_that_is_not_there_is_told_in_its_health(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = FixedConfig(TableRules({"Custmers": TableRule("hidden")}))
    async with asking(FakeBridge(), config=config) as source:
        health = await source.health()
        assert (health.state, "tables that don't exist" in health.words) == ("failing", True)
        rules = {"Customers": TableRule("hidden"), ORDERS: TableRule("read")}
        config.table_rules = TableRules(rules)
        assert (await source.health()).state == "on"
    config.table_rules = TableRules({"Custmers": TableRule("hidden")})
    async with asking(FakeBridge(patched=False), config=config) as source:
        assert (await source.health()).state == "on", "it cannot list its tables"
    bridge = FakeBridge()
    page = {**bridge.api.list_tables(BASE), "pageInfo": {"isLastPage": False}}
    monkeypatch.setattr(bridge.api, "list_tables", lambda base_id: page)
    async with asking(bridge, config=config) as source:
        assert (await source.health()).state == "on", "its list goes on"


async def test_a_list_of_tables_in_another_form_shows_no_hidden_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bridge, config = FakeBridge(), FixedConfig()
    table_rules = TableRules({"orders": TableRule("hidden")})
    async with asking(bridge, config=config) as source:
        lists: list[object] = [{"tables": ["Orders"]}, {"list": {"Orders": {}}}]
        for listing in lists:
            monkeypatch.setattr(bridge.api, "list_tables", lambda base_id, tables=listing: tables)
            config.table_rules = table_rules
            error = await error_of_call(source, "list_tables", base_id=BASE)
            assert error["code"] == "bridge_unreadable"
            config.table_rules = TableRules()
            assert await execute(source, "list_tables", base_id=BASE) == listing
        monkeypatch.setattr(bridge.api, "list_tables", lambda base_id: ["Customers", "Orders", 7])
        config.table_rules = table_rules
        assert await execute(source, "list_tables", base_id=BASE) == ["Customers"], "bare titles"


async def test_turns_of_a_new_process_wait_for_the_first_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the second turn is told that the bridge cannot write."""
    async with FakeBridge() as bridge, HttpClient() as http:
        source = BridgeSource(bridge.url, "", http)
        list_tools, may_answer = source.api.list_tools, asyncio.Event()

        async def list_late() -> object:
            await may_answer.wait()
            return await list_tools()

        monkeypatch.setattr(source.api, "list_tools", list_late)
        turns = [asyncio.create_task(source.tools(Viewer())) for _ in range(2)]
        await run_ready()
        assert not any(turn.done() for turn in turns)
        may_answer.set()
        first, second = await asyncio.gather(*turns)
        assert first == second
        assert source._find_permitted("create_record", "write")
        assert bridge.listed == 1


async def test_rows_of_a_table_whose_title_is_unknown_are_for_who_may_read_all() -> None:
    """Later rules may name the table by its title, which the stored result does not know."""
    async with asking(FakeBridge(has_views=True)) as source:
        for tool, args, need in (
            ("list_records", {"table_id": CUSTOMERS}, ("read", CUSTOMERS, ANY_TABLE)),
            ("list_filters", {"view_id": ORDERS_VIEW}, ("read", "", ANY_TABLE)),
        ):
            usage = set[Need]()
            await execute(source, tool, viewer=Viewer(needs=usage), **args)
            assert usage == {need}, tool
            for access, may_know in (("hidden", False), ("read", True)):
                rules = TableRules({"Customers": TableRule(cast(Access, access))})
                anything = cast(Any, None)
                approval = Approval(anything, {}, FixedConfig(rules))
                contexts = ToolContexts(anything, {}, approval)
                assert contexts.may_know(None, usage) is may_know


@pytest.mark.parametrize("rules", [TableRules(), TableRules({"other": TableRule("hidden")})])
async def test_a_result_is_for_those_who_may_read_its_table(rules: TableRules) -> None:
    async with asking(FakeBridge(has_views=True), config=FixedConfig(rules)) as source:
        for tool, args, needs in (
            ("list_tables", {"base_id": BASE}, {("Customers", CUSTOMERS), ("Orders", ORDERS)}),
            ("list_records", {"table_id": CUSTOMERS}, {("Customers", CUSTOMERS)}),
            ("list_views", {"table_id": ORDERS}, {("Orders", ORDERS)}),
            ("list_filters", {"view_id": ORDERS_VIEW}, {("Orders", ORDERS)}),
        ):
            usage = set[Need]()
            await execute(source, tool, viewer=Viewer(needs=usage), **args)
            assert usage == {("read", *names) for names in needs}, tool


NOT_FOUND = "404: 404 Client Error: Not Found for url: https://db.example/api/v2/tables/t/records"
DOWN = "500: HTTPConnectionPool(host='db.example', port=80): Max retries exceeded with url: /x"
FASTAPI = [{"type": "missing", "loc": ["body", "args"], "msg": "Field required"}]


def answer(status: int, detail: object = None) -> HttpAnswer:
    return HttpAnswer(status, {}, json.dumps({"detail": detail}).encode())


@pytest.mark.parametrize(
    ("error", "code", "unsure"),
    [
        (HttpDown("ConnectError", sent=False), "bridge_down", False),
        (HttpDown("ReadError"), "bridge_down", True),
        (HttpTimeout("ReadTimeout"), "bridge_silent", True),
        (HttpTooLarge("more"), "too_large", True),
        (HttpUnreadable("not JSON"), "bridge_unreadable", True),
        (answer(401), "bridge_refused", False),
        (answer(404, "Not Found"), "bridge_missing", False),
        (answer(429), "bridge_busy", False),
        (answer(502), "bridge_down", True),
        (answer(422, FASTAPI), "malformed", False),
        (answer(422, "odd"), "malformed", False),
        (answer(500, "400: Unknown tool: x"), "unknown_tool", False),
        (answer(500, NOT_FOUND), "not_found", False),
        (answer(500, DOWN), "nocodb_down", True),
        (answer(500, "403: 403 Client Error: Forbidden"), "nocodb_refused", False),
        (answer(500, "422: 422 Client Error: Unprocessable"), "bad_arguments", False),
        (answer(500, "429: 429 Client Error"), "nocodb_busy", False),
        (answer(500, "503: 503 Server Error"), "bridge_failed", True),
        (answer(500, "N.get_base() missing 1 required positional argument: 'base_id'"),
         "bad_arguments", False),
        (answer(500, ["odd"]), "bridge_failed", True),
        (HttpAnswer(500, {}, b"<html>"), "bridge_failed", True),
    ],
)  # fmt: skip
def test_each_answer_has_its_words(error: HttpError, code: str, unsure: bool) -> None:
    text = explain_bridge_error(error, "get_base")
    assert (text.code, text.unsure) == (code, unsure)
    assert str(text).endswith(".")
    assert "{" not in str(text)
    assert "db.example" not in str(text) + text.hint


def test_a_malformed_call_says_where_and_long_texts_and_tokens_do_not_pass() -> None:
    malformed = explain_bridge_error(answer(422, FASTAPI), "get_base")
    assert malformed.hint == "['body', 'args']: Field required"
    words = "boom " + "a1" * 20 + " at https://db.example/x " + "b " * 900
    error = explain_bridge_error(answer(500, words), "x")
    assert error.hint.startswith("boom (withheld) at (address) b b")
    assert len(error.hint) == 300


async def test_the_operators_meanings_stand_in_the_result_of_a_table() -> None:
    fields = {"Status": "Lost: gone to another shop", "password": "hunter2"}
    rules = TableRules({
        CUSTOMERS: TableRule(about="shops", fields=fields),
        ORDERS: TableRule("hidden", about="secret"),
    })  # fmt: skip
    async with asking(FakeBridge(), config=FixedConfig(rules)) as source:
        for limit in (1, 200):
            page = await execute(source, "list_records", table_id=CUSTOMERS, limit=limit)
            assert "ponte.toml " in page["meanings"]
            assert "Status: Lost: gone to another shop" in page["meanings"]
            assert "hunter2" not in page["meanings"]
            assert page["list"]
        assert "meanings" not in await execute(source, "list_tables", base_id=BASE)
        assert [(row["field"], row["text"]) for row in await source.list_meanings(Viewer())] == [
            ("", "shops"),
            ("Status", "Lost: gone to another shop"),
        ]
