"""Programs that read and propose changes over MCP, and the people who decide on them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import mcp_types
import pytest

from adapters.mcp_server import requests
from adapters.mcp_server.requests import McpOrigin
from core.domain.messages import Answer
from tests.mcp.client import PAY, read_result, run_ponte
from tests.time_limits import Limits

TOOLS = [
    "nocodb_tables",
    "nocodb_query",
    "nocodb_get",
    "nocodb_history",
    "nocodb_summarize",
    "saved_question",
    "chart",
    "propose_change",
    "change_status",
    "my_requests",
]


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_a_client_of_each_protocol_reads_and_proposes(tmp_path: Path, mode: str) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        token = await ponte.create_token()
        async with ponte.connect(token, mode) as client:
            offered = (await client.list_tools()).tools
            assert [each.name for each in offered] == TOOLS
            texts = " ".join(f"{each.description} {each.input_schema}" for each in offered)
            assert "your turn" not in texts, "a program has none"
            assert {*re.findall(r"nocodb_[a-z]+", texts)} <= {*TOOLS}, "none that is not offered"
            hints = {each.name: each.annotations for each in offered}
            only_read = {name for name, hint in hints.items() if hint and hint.read_only_hint}
            assert only_read == {*TOOLS} - {"propose_change"}
            assert "place the table" not in texts, "only Ponte's own model can"
            found = await client.call_tool("nocodb_query", {"table": "Invoices"})
            rows, source = read_result(found), found.content[-1]
            assert isinstance(source, mcp_types.TextContent)
            assert source.text.startswith("Source: Invoices: ")
            assert rows["total"] > rows["returned"] == len(rows["rows"])
            request = read_result(await client.call_tool("propose_change", PAY))
            assert request["state"] == "waiting"
            assert request["rows"] == ["INV-2003: Status: Overdue → Paid"]
            assert "with “Claude Code”" in request["card"]
            again = read_result(await client.call_tool("propose_change", PAY))
            assert again["id"] == request["id"], "no second card while it waits"
            (listed,) = read_result(await client.call_tool("my_requests", {}))["requests"]
            assert (listed["id"], listed["state"]) == (request["id"], "waiting")


async def test_equal_calls_at_the_same_moment_make_one_card(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        async with ponte.connect(await ponte.create_token()) as client:
            calls = (client.call_tool("propose_change", PAY) for _ in range(8))
            ids = {read_result(each)["id"] for each in await asyncio.gather(*calls)}
        async with ponte.connect(await ponte.create_token()) as other:
            ids.add(read_result(await other.call_tool("propose_change", PAY))["id"])
        waiting = (await ponte.page.get("/approvals")).json()["approvals"]
        assert len(ids) == 2, "another token makes a request of its own"
        assert {each["id"] for each in waiting} == ids


async def test_what_means_the_same_is_one_card(tmp_path: Path) -> None:
    equal: list[dict[str, Any]] = [
        {**PAY},
        {**PAY, "changes": [{"id": "3", "fields": {"Status": "Paid"}}]},
        {**PAY, "changes": json.dumps(PAY["changes"])},
        {**PAY, "table": "minvoices"},
    ]
    async with (
        run_ponte(tmp_path / "home") as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):
        deletions = [{"action": "delete", "table": "Orders", "ids": [id]} for id in ("1", 1)]
        for calls in (equal, deletions):
            answers = [read_result(await client.call_tool("propose_change", c)) for c in calls]
            assert [answer.get("id") for answer in answers] == [answers[0]["id"]] * len(calls)
        waiting = (await ponte.page.get("/approvals")).json()["approvals"]
        assert len(waiting) == 2


async def test_a_used_up_allowance_is_named_with_its_end(tmp_path: Path) -> None:
    file = '[[allowances]]\nof = "each person"\nper = "month"\nturns = 1\n'
    async with (
        run_ponte(tmp_path / "home", file, ponte_locale="pt-BR") as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):
        first, second = [
            read_result(
                await client.call_tool(
                    "propose_change", {"action": "delete", "table": "minvoices", "ids": [row]}
                )
            )
            for row in (3, 4)
        ]
        assert first["state"] == "waiting"
        error = second["error"]
        assert error["code"] == "too_many"
        assert "your limit of 1 message a month. The limit resets on " in error["message"]


async def test_a_turn_that_takes_long_makes_one_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client repeats the call while its first request still waits for a turn."""
    may_end, make_answer = asyncio.Event(), McpOrigin.make_answer

    async def wait_first(self: McpOrigin, *arguments: Any) -> Answer:
        await may_end.wait()
        return await make_answer(self, *arguments)

    monkeypatch.setattr(McpOrigin, "make_answer", wait_first)
    async with (
        run_ponte(tmp_path / "home") as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(requests, "PROPOSAL_SECONDS", 0.05)
            for _ in range(2):
                early = read_result(await client.call_tool("propose_change", PAY))
                assert early["error"]["code"] == "not_ready"
        may_end.set()
        request = read_result(await client.call_tool("propose_change", PAY))
        waiting = (await ponte.page.get("/approvals")).json()["approvals"]
        assert [each["id"] for each in waiting] == [request["id"]]


async def test_a_draft_that_takes_long_ends_with_a_true_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    async def hang(*arguments: Any) -> None:
        await asyncio.Event().wait()

    limits(MCP_CALL_SECONDS=10.0)  # so that no time is left for a draft
    async with (
        run_ponte(tmp_path / "home") as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):
        monkeypatch.setattr(requests.ChangeRequests, "find_destination", hang)
        error = read_result(await client.call_tool("propose_change", PAY))["error"]
        assert (error["code"], error["message"]) == ("timeout", "no answer in time")


async def test_an_old_request_that_still_waits_is_found(tmp_path: Path, limits: Limits) -> None:
    limits(MAX_SEARCHED_CHANGES=1)
    async with (
        run_ponte(tmp_path / "home") as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):
        other = {**PAY, "changes": [{"id": 4, "fields": {"Status": "Open"}}]}
        ids = [
            read_result(await client.call_tool("propose_change", each))["id"]
            for each in (PAY, other, PAY)
        ]
        assert ids[0] == ids[2]


async def test_a_program_reads_what_people_decided(tmp_path: Path, limits: Limits) -> None:
    async with (
        run_ponte(tmp_path / "home") as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):

        async def propose() -> str:
            return str(read_result(await client.call_tool("propose_change", PAY))["id"])

        async def decide(id: str, action: str) -> None:
            body = {"action": action, "conversation": "mcp"}
            assert (await ponte.page.post(f"/cards/{id}", json=body)).is_success

        denied = await propose()
        await ponte.page.post("/chat", json={"message": f"deny {denied} too early"})
        status = read_result(await client.call_tool("change_status", {"id": denied}))
        assert (status["state"], status["reason"]) == ("denied", "too early")
        approved = await propose()
        assert approved != denied, "a decided request is no answer to a new call"
        await decide(approved, "approve")
        status = read_result(await client.call_tool("change_status", {"id": approved}))
        assert status["state"] == "done"
        assert status["rows"] == ["INV-2003: Status: Overdue → Paid"]
        await decide(approved, "undo")
        status = read_result(await client.call_tool("change_status", {"id": approved}))
        assert status["state"] == "undone"
        called = await client.call_tool("nocodb_history", {"table": "Invoices", "id": 3})
        undo, change = read_result(called)["changes"]
        assert (change["id"], change["requested_by"]) == (approved, "you")
        assert (change["before"]["Status"], change["after"]["Status"]) == ("Overdue", "Paid")
        assert undo["after"]["Status"] == "Overdue"
        assert "Source: change made through Ponte to Invoices, row 3" in str(called.content[-1])
        rows = await client.call_tool("nocodb_query", {"table": "Invoices"})
        assert read_result(rows)["changed_by_ponte_lately"] == ["3"]
        listing = read_result(await client.call_tool("my_requests", {}))
        states = [each["state"] for each in listing["requests"]]
        assert (states, listing["more"]) == (["undone", "denied"], 0)
        limits(MAX_LISTED_MCP_REQUESTS=1)
        listing = read_result(await client.call_tool("my_requests", {}))
        assert (len(listing["requests"]), listing["more"]) == (1, 1)


async def test_a_chart_is_data(tmp_path: Path) -> None:
    async with (
        run_ponte(tmp_path / "home") as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):
        total = {"field": "Amount", "fn": "sum"}
        rows = {"table": "Invoices", "aggregates": [total], "group_by": "Status"}
        chart = {"kind": "bar", "title": "Sums", "x": "Status", "y": ["sum of Amount"]}
        data = read_result(await client.call_tool("chart", {"rows": rows, **chart}))
        assert data["labels"] == ["Paid", "Open", "Overdue"]
        assert [round(each) for each in data["series"]["Amount: sum"]] == [9395, 2079, 1198]
        refused = await client.call_tool("chart", {"rows": rows, **chart, "y": ["Nothing"]})
        assert refused.is_error
        assert "the columns are" in read_result(refused)["error"]["hint"]
