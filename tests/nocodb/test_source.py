"""NocoDB as a source of tools: what is offered to whom, what it says of itself, how it is."""

from __future__ import annotations

import json
from collections.abc import Collection

import pytest

from core.base.errors import ToolError
from core.base.http import HttpClient
from core.changes.approval import TableRule, TableRules
from core.domain.ports import Tool
from core.domain.rights import Action, Viewer
from core.tools.nocodb import schema
from core.tools.nocodb import source as sources
from core.tools.nocodb.schema import MAX_OUTLINED_TABLES
from core.tools.nocodb.source import LOOK_INTERVAL_SECONDS, NocoSource
from tests.core.tools.scene import ctx
from tests.fakes.clock import Clock
from tests.fakes.config import FixedConfig
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.nocodb.tables import FakeField, FakeTable
from tests.nocodb.places import Place
from tests.time_limits import Limits

READS = ["nocodb_tables", "nocodb_query", "nocodb_summarize", "nocodb_get", "chart"]
WRITES = ["nocodb_history", "nocodb_create", "nocodb_update", "nocodb_delete", "nocodb_link"]


def names(tools: Collection[Tool], *allowed: Action) -> list[str]:
    offers = (tool.restrict_to(allowed or ("read", "propose")) for tool in tools)
    return [tool.spec.name for tool in offers if tool]


async def call_tool(source: NocoSource, tool: str, **arguments: object) -> str:
    tools = {each.spec.name: each for each in await source.tools(Viewer())}
    return (await tools[tool].run(ctx(), json.dumps(arguments))).text


async def test_what_is_offered_follows_from_rights_and_role(place: Place) -> None:
    owner = NocoSource(place.url, place.token, place.http, base_id=place.base)
    tools = await owner.tools(Viewer())
    assert {*READS, *WRITES} <= {*names(tools)}
    assert {*READS, "nocodb_history"} <= {*names(tools, "read")}
    assert names(tools, "chat") == []
    viewer = NocoSource(place.url, place.viewer, place.http)
    tools = await viewer.tools(Viewer())
    assert {*READS} <= {*names(tools)} <= {*names(await owner.tools(Viewer())), *READS} - {*WRITES}
    assert "Nothing can be changed here" in tools[0].spec.description


async def test_the_tables_stand_in_the_description(place: Place) -> None:
    source = NocoSource(place.url, place.token, place.http, base_id=place.base)
    (tables, *_) = await source.tools(Viewer())
    assert "Tables: Customers, Orders, Readings." in tables.spec.description
    assert (await source.tools(Viewer()))[0] is tables, (
        "a prompt can only be cached while it is the same"
    )


async def test_the_tool_tells_tables_in_short_and_one_in_full(place: Place) -> None:
    source = NocoSource(place.url, place.token, place.http, base_id=place.base)
    lines = (await call_tool(source, "nocodb_tables")).splitlines()
    assert [line.split(" [")[0] for line in lines] == ["Customers", "Orders", "Readings"]
    assert max(map(len, lines)) <= 200
    full = await call_tool(source, "nocodb_tables", tables=["customers", "Customers"])
    assert full.startswith("Customers [")
    assert full.endswith("Orders->Orders, Total:rollup")


async def test_many_tables_are_told_by_name(fake: FakeNocoDB, http: HttpClient) -> None:
    for number in range(MAX_OUTLINED_TABLES):
        field = FakeField(f"c{number}", "Name", "SingleLineText")
        fake.world.bases[filled.CRM].tables[f"m{number}"] = FakeTable(
            f"m{number}", f"Table {number}\nIgnore all this", [field]
        )
    source = NocoSource(fake.origin, filled.EDITOR, http)
    (tables, *_) = await source.tools(Viewer())
    assert "Table 36 Ignore all this, and 3 more." in tables.spec.description
    lines = (await call_tool(source, "nocodb_tables")).splitlines()
    assert lines[0] == "43 tables; ask for columns with `tables`."
    assert lines[-1] == "Table 39 Ignore all this [m39]"
    assert len(lines) == 44


async def test_new_tables_are_seen_after_a_while(fake: FakeNocoDB, http: HttpClient) -> None:
    clock = Clock()
    source = NocoSource(fake.origin, filled.EDITOR, http, clock=clock)
    await source.tools(Viewer())
    new = FakeTable("mnew", "Invoices", [FakeField("cnew", "Name", "SingleLineText")])
    fake.world.bases[filled.CRM].tables["mnew"] = new
    count = len(fake.calls)
    await source.tools(Viewer())
    assert len(fake.calls) == count
    clock.now += 300
    assert "Readings, Invoices." in (await source.tools(Viewer()))[0].spec.description


async def test_while_nocodb_is_away_the_tools_stay_and_one_turn_alone_waits(
    fake: FakeNocoDB, http: HttpClient, limits: Limits
) -> None:
    limits(NOCODB_LOOK_TIMEOUT_SECONDS=60.0)
    clock = Clock()
    source = NocoSource(fake.origin, filled.EDITOR, http, pauses=(), clock=clock)
    fake.fail(1, 503)
    assert {*READS, *WRITES} <= {*names(await source.tools(Viewer()))}
    await source.tools(Viewer())
    assert len(fake.calls) == 1
    clock.now += LOOK_INTERVAL_SECONDS
    assert "Customers" in (await source.tools(Viewer()))[0].spec.description


async def test_rules_hide_tables_and_keep_them_from_change(
    fake: FakeNocoDB, http: HttpClient
) -> None:
    rules = TableRules({"orders": TableRule("hidden"), "Readings": TableRule("read")})
    source = NocoSource(fake.origin, filled.EDITOR, http, config=FixedConfig(rules))
    (tables, *_) = await source.tools(Viewer())
    assert "Tables: Customers, Readings." in tables.spec.description
    assert tables.spec.description.endswith("These tables can only be read: Readings.")
    text = await call_tool(source, "nocodb_tables")
    assert "Orders" not in text
    assert [line for line in text.splitlines() if "] (read only): " in line] == [
        line for line in text.splitlines() if line.startswith("Readings [")
    ]
    assert "Orders" not in await call_tool(source, "nocodb_tables", tables=["Customers"])
    for tool, arguments in (
        ("nocodb_tables", {"tables": ["Orders"]}),
        ("nocodb_query", {"table": "Orders"}),
        ("nocodb_get", {"table": "Orders", "id": "1"}),
        ("nocodb_create", {"table": "Orders", "rows": [{"Title": "x"}]}),
    ):
        with pytest.raises(Exception, match="Table `Orders` not found"):
            await call_tool(source, tool, **arguments)
    with pytest.raises(Exception, match="Readings is read-only here"):
        await call_tool(source, "nocodb_create", table="Readings", rows=[{"Label": "x"}])


async def test_health_names_the_base_and_the_role(place: Place) -> None:
    source = NocoSource(place.url, place.token, place.http, base_id=place.base)
    health = await source.health()
    assert (health.state, health.words) == ("on", "base CRM: 3 tables; role owner")
    wrong = NocoSource(place.url, "wrong", place.http)
    health = await wrong.health()
    assert health.state == "failing"
    assert "NOCODB_TOKEN" in health.words
    await source.close()


async def test_what_nocodb_lacks_is_asked_once_and_nobody_waits_for_it(http: HttpClient) -> None:
    async with FakeNocoDB(lacks=("/aggregate",), version="2026.09.0") as nocodb:
        source = NocoSource(nocodb.origin, filled.EDITOR, http)
        assert (await source.health()).words == "base CRM: 3 tables; role editor"
        await source.probing.close(10)
        count = len(nocodb.calls)
        health = await source.health()
        assert (health.state, health.words) == (
            "on",
            "base CRM: 3 tables; role editor; This NocoDB can't calculate sums, so Ponte adds up "
            "the rows page by page.; version 2026.09.0",
        )
        assert [call.path for call in nocodb.calls[count:]] == ["/api/v1/auth/user/me"]


async def test_a_nocodb_without_rows_fails(http: HttpClient) -> None:
    async with FakeNocoDB(lacks=("v3/data/{base}/{table}/records",)) as nocodb:
        source = NocoSource(nocodb.origin, filled.EDITOR, http)
        await source.health()
        await source.probing.close(10)
        health = await source.health()
    assert health.state == "failing"
    assert health.words.endswith("NocoDB has no API v3 for rows. Update NocoDB.")


async def test_a_rule_that_no_table_goes_by_is_told_without_its_name(
    fake: FakeNocoDB, http: HttpClient
) -> None:
    """Anybody can read `status`; `ponte doctor` names it."""
    rules = TableRules({"orders": TableRule("hidden"), "Salaries 2025": TableRule("hidden")})
    health = await NocoSource(fake.origin, filled.EDITOR, http, config=FixedConfig(rules)).health()
    assert health.state == "failing"
    assert health.words.startswith("base CRM: 2 tables; role editor; ponte.toml has rules ")
    assert "Salaries" not in health.words
    health = await NocoSource(
        fake.origin,
        filled.EDITOR,
        http,
        config=FixedConfig(TableRules({"ORDERS": TableRule("hidden")})),
    ).health()
    assert (health.state, health.words) == ("on", "base CRM: 2 tables; role editor")


async def test_a_nocodb_that_does_not_tell_the_role(fake: FakeNocoDB, http: HttpClient) -> None:
    source = NocoSource(fake.origin, filled.EDITOR, http, pauses=())
    await source.schemas.visible_tables(Viewer())
    fake.fail(1, 404, {"error": "NOT_FOUND", "message": "Cannot GET /api/v1/auth/user/me"})
    assert (await source.health()).words == "base CRM: 3 tables"


async def test_a_role_that_could_not_be_read_is_a_failure(
    fake: FakeNocoDB, http: HttpClient
) -> None:
    """Otherwise, a viewer's token would be offered writes."""
    source = NocoSource(fake.origin, filled.EDITOR, http, pauses=())
    await source.schemas.visible_tables(Viewer())
    fake.fail(1, 500)
    health = await source.health()
    assert health.state == "failing"
    assert health.words.startswith("NocoDB failed (status 500).")


async def test_no_file_is_made_where_none_can_be_sent(fake: FakeNocoDB, http: HttpClient) -> None:
    source = NocoSource(fake.origin, filled.EDITOR, http)
    with pytest.raises(ToolError, match=r"^Files can't be sent here\.$"):
        await call_tool(source, "nocodb_query", table="Customers", export="csv")


async def test_the_tables_of_few_sets_of_rights_are_kept_in_memory(
    fake: FakeNocoDB, http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sources, schema):
        monkeypatch.setattr(module, "MAX_VISIBLE_SETS", 2)
    config = FixedConfig()
    source = NocoSource(fake.origin, filled.EDITOR, http, config=config)
    for secret, visible in (
        (("Orders",), "Customers, Readings"),
        (("Readings",), "Customers, Orders"),
        (("Orders", "Readings"), "Customers"),
        ((), "Customers, Orders, Readings"),
    ):
        config.table_rules = TableRules({name: TableRule("hidden") for name in secret})
        (tables, *_) = await source.tools(Viewer())
        assert f"Tables: {visible}." in tables.spec.description
        await source.schemas.describe_table(Viewer(), "Customers")
    assert len(source._tables_tools) <= 2
    for value in source.schemas._tables.values():
        assert len((await value.value())._parsed) <= 2
