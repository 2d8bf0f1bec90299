"""Requests to `/mcp` that no well-behaved client sends, and programs that try to decide."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from adapters.mcp_server.endpoint import (
    MAX_MCP_DEPTH,
    MAX_MCP_REQUESTS,
    MAX_MCP_REQUESTS_OF_TOKEN,
    HttpAnswer,
    McpEndpoint,
)
from adapters.mcp_server.requests import clean_client_name
from adapters.mcp_server.tools import McpTools
from adapters.web.server import MAX_UNAUTHENTICATED_CONNECTIONS
from bot.features.sign_in.feature import PageConfig
from core.base.errors import SettingsError
from core.journal import inbox as inbox_module
from core.tools.sample import SAMPLE_FILE
from tests.evals.case import read_cases
from tests.evals.models import read_round, wishes
from tests.fakes.config import with_sections
from tests.mcp.client import PAY, McpPonte, make_request, read_result, run_ponte
from tests.time_limits import Limits

LIST = make_request("tools/list")
OLD = {"MCP-Protocol-Version": "2025-06-18"}


def read_status(home: Path) -> str:
    """Return the status of the invoice that `PAY` would change."""
    with closing(sqlite3.connect(home / SAMPLE_FILE)) as connection:
        sql = "SELECT cells FROM table_rows WHERE table_id = 'minvoices' AND id = 3"
        (cells,) = connection.execute(sql).fetchone()
    return str(json.loads(cells)["Status"])


async def test_who_comes_in_and_what_others_read(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        tokens = {
            "mcp": await ponte.create_token("ana"),
            "expired": await ponte.create_token("ana", days=1),
            "api": await ponte.create_token("ana", kind="api"),
            "metrics": await ponte.create_token(kind="metrics"),
            "owner": ponte.page.headers["authorization"].split()[1],
            "wrong": "ponte-api-" + "x" * 43,
            "long": "x" * 10_000,
        }
        statement = "UPDATE api_tokens SET expires_at = 1 WHERE expires_at > 0"
        await ponte.app.engine.stores.database.write(lambda c: c.execute(statement).close())
        for kind, token in tokens.items():
            answer = await ponte.post(token, LIST, **OLD)
            assert answer.status_code == (200 if kind == "mcp" else 401), kind
            if kind != "mcp":
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "--mcp" in answer.json()["error"]["message"]
        for value in ("", "Bearer", f"Basic {tokens['mcp']}", tokens["mcp"]):
            assert (await ponte.post("x", LIST, Authorization=value, **OLD)).status_code == 401
        foreign = await ponte.post(tokens["mcp"], LIST, Origin="https://evil.example", **OLD)
        assert foreign.status_code == 403
        for method in ("GET", "DELETE", "PUT"):
            headers = {"Authorization": f"Bearer {tokens['mcp']}"}
            answer = await ponte.page.request(method, "/mcp", headers=headers)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        found = await ponte.page.get("/.well-known/oauth-protected-resource/mcp", headers={})
        assert found.status_code == 404


async def test_host_and_origin_are_checked_as_for_the_page(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        token, port = await ponte.create_token(), ponte.url.rpartition(":")[2]
        for headers in (
            {"Origin": ponte.url},
            {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"},
            {"Host": f"[::1]:{port}"},
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},  # as Electron sends
        ):
            answer = await ponte.post(token, LIST, **OLD, **headers)
            assert answer.status_code == 200, headers
        for headers in (
            {"Host": "evil.example"},
            {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"},
            {"Host": "ponte:8080"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        ):
            answer = await ponte.post(token, LIST, **OLD, **headers)
            assert answer.status_code == 403, headers
            message = answer.json()["error"]["message"]
            if "Host" in headers:
                assert "PONTE_WEB_URL" in message
                assert "PONTE_WEB_HOST" in message
    secret = SecretStr("0123456789abcdef" * 2)
    url = "https://ponte.example"
    async with run_ponte(tmp_path / "proxied", ponte_web_url=url, ponte_web_token=secret) as ponte:
        token = await ponte.create_token()
        for headers in ({"Host": "ponte.example"}, {"Origin": "https://ponte.example"}):
            answer = await ponte.post(token, LIST, **OLD, **headers)
            assert answer.status_code == 200, headers


async def test_a_slash_after_the_path_changes_nothing(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        token = await ponte.create_token()
        statuses = [
            (await ponte.post(text, LIST, path=path, **OLD)).status_code
            for text in (token, "wrong")
            for path in ("/mcp", "/mcp/", "/mcp//")
        ]
        assert statuses == [200, 200, 403, 401, 401, 401]


async def test_a_chart_reads_rows_that_come_as_a_text(tmp_path: Path) -> None:
    total = {"field": "Amount", "fn": "sum"}
    rows = {"table": "Invoices", "aggregates": [total], "group_by": "Status"}
    async with (
        run_ponte(tmp_path / "home") as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):
        chart = {"kind": "bar", "title": "Sums", "x": "Status", "y": ["sum of Amount"]}
        drawn = [
            read_result(await client.call_tool("chart", {**chart, "rows": value}))
            for value in (rows, json.dumps(rows))
        ]
        assert drawn[0]["labels"], drawn[0]
        assert drawn[0] == drawn[1]
        for value in (None, 5, "[1]", "Invoices"):
            refused = read_result(await client.call_tool("chart", {**chart, "rows": value}))
            assert "`rows`" in str(refused["error"]), value


async def test_a_revoked_token_and_a_removed_person_read_nothing_more(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        first, second = [await ponte.create_token("ana") for _ in range(2)]
        tokens = await ponte.app.accounts.list_api_tokens("web:ana")
        await ponte.app.accounts.revoke_api_token(tokens[0].id)
        answers = [(await ponte.post(each, LIST, **OLD)).status_code for each in (first, second)]
        assert sorted(answers) == [200, 401]
        await ponte.app.accounts.remove("web:ana")
        assert (await ponte.post(second, LIST, **OLD)).status_code == 401


async def test_where_links_are_off_programs_of_link_people_are_too(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        token, live = await ponte.create_token("ana"), ponte.app.live
        live.current = with_sections(live.current, page=PageConfig(links=False))
        answer = await ponte.post(token, LIST, **OLD)
        assert answer.status_code == 401
        assert "Sign-in links are turned off" in answer.json()["error"]["message"]


async def test_where_mcp_is_off_nothing_is_there(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home", ponte_mcp="off") as ponte:
        answer = await ponte.post(await ponte.create_token(), LIST, **OLD)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, -32600)
        assert "PONTE_MCP=on" in answer.json()["error"]["message"]
        described = (await ponte.page.get("/openapi.json")).json()["paths"]["/mcp"]["post"]
        assert {"401", "403", "404", "406"} <= described["responses"].keys()
        assert "signed events" not in described["summary"]


async def test_a_process_that_stops_takes_no_request(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        token = await ponte.create_token()
        assert (await ponte.post(token, LIST, **OLD)).status_code == 200
        await ponte.app.surfaces.stop_intake()
        late = await ponte.post(token, LIST, **OLD)
        assert (late.status_code, late.headers["retry-after"]) == (503, "2")


async def test_why_the_sdk_did_not_start_is_logged_and_the_next_request_starts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uvicorn logs the error with which the request ends."""
    fault, faults = ImportError("a part of the SDK is missing"), list[Exception]()
    handle = McpEndpoint.handle

    @asynccontextmanager
    async def fail(manager: object) -> AsyncIterator[None]:
        raise fault
        yield

    async def note_fault(*arguments: Any) -> HttpAnswer:
        try:
            return await handle(*arguments)
        except Exception as error:
            faults.append(error)
            raise

    monkeypatch.setattr(McpEndpoint, "handle", note_fault)

    async with run_ponte(tmp_path / "home") as ponte:
        token = await ponte.create_token()
        with monkeypatch.context() as patch, structlog.testing.capture_logs() as lines:
            patch.setattr(
                "mcp.server.streamable_http_manager.StreamableHTTPSessionManager.run", fail
            )
            assert (await ponte.post(token, LIST, **OLD)).status_code == 500
        assert faults == [fault]
        assert "MCP server started" not in [line["event"] for line in lines]
        assert (await ponte.post(token, LIST, **OLD)).status_code == 200


async def test_a_request_that_waits_when_ponte_stops_is_to_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(SHUTDOWN_GRACE_SECONDS=0.05)
    began = asyncio.Event()

    async def hang(*arguments: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(McpTools, "call", hang)
    async with run_ponte(tmp_path / "home") as ponte:
        call = make_request("tools/call", {"name": "nocodb_tables", "arguments": {}})
        waiting = asyncio.create_task(ponte.post(await ponte.create_token(), call, **OLD))
        await began.wait()
    answer = await waiting
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_without_the_package_it_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"-r requirements/mcp\.txt"):
        async with run_ponte(tmp_path / "home"):
            pass


async def test_hostile_bodies_are_refused_with_an_error_of_json_rpc(tmp_path: Path) -> None:
    deep: object = "x"
    for _ in range(MAX_MCP_DEPTH + 1):
        deep = [deep]
    bodies: list[tuple[object, int]] = [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"null", 400),
        ([LIST, LIST], 400),
        (make_request("tools/call", {"name": "my_requests", "arguments": {"x": deep}}), 400),
        (make_request("tools/call", {"name": "x", "arguments": {"x": [0] * 30_000}}), 400),
        (make_request("tools/call", {"name": 5}), 200),
        (make_request("resources/list"), 200),
        ({"jsonrpc": "2.0", "id": 1}, 400),
        ({"jsonrpc": "1.0", "id": {}, "method": "tools/list"}, 400),
    ]
    async with run_ponte(tmp_path / "home") as ponte:
        token = await ponte.create_token()
        for body, status in bodies:
            answer = await ponte.post(token, body, **OLD)
            assert answer.status_code == status, (body, answer.text)
            assert answer.json()["error"]["code"] < 0, body
        large = await ponte.post(token, b" " * 1_000_001)
        assert (large.status_code, large.headers["connection"]) == (413, "close")
        assert large.json()["jsonrpc"] == "2.0"
        assert "1 MB" in large.json()["error"]["message"]
        unknown = await ponte.post(token, LIST, **{"MCP-Protocol-Version": "1999-01-01"})
        assert unknown.status_code == 400
        calls: list[tuple[str, object]] = [
            ("nocodb_query", {"table": ["x"]}),
            ("nocodb_query", {"table": "x" * 100_000}),
            ("nocodb_query", {"table": "Invoices", "export": "csv"}),
            ("nocodb_get", {"table": "Invoices", "id": {"$ne": 1}}),
            ("propose_change", {"action": "approve", "table": "Invoices"}),
            ("propose_change", {"action": "update", "table": "Invoices", "changes": []}),
            ("propose_change", {**PAY, "unknown": True}),
            ("change_status", {"id": {"x": 1}}),
            ("change_status", {}),
            ("chart", {"rows": 5}),
            ("x" * 10_000, {}),
        ]
        async with ponte.connect(token) as client:
            for name, arguments in calls:
                result = await client.call_tool(name, arguments)  # type: ignore[arg-type]
                assert result.is_error, (name, result)
                message = read_result(result)["error"]["message"]
                assert message, name
                if name == "change_status":
                    assert ("`id`" in message) == (not arguments), "a missing one is named"
        assert (await ponte.page.get("/approvals")).json()["approvals"] == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Claude Code", "Claude Code"),
        ("<!channel> *Ana* approved", "channel Ana approved"),
        ("[x](https://evil.example) @everyone", "x (https evil example) everyone"),
        ("a\u202eb\u200bc\x00\n\n# d", "a b c d"),
        ("x" * 500, "x" * 40),
        ("`" * 50, ""),
        ("_so_ __so__", "so so"),
    ],
)
def test_the_name_of_a_client_is_only_words(given: str, shown: str) -> None:
    assert clean_client_name(given) == shown


async def test_no_way_leads_a_program_to_a_decision(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with run_ponte(home) as ponte:
        token = await ponte.create_token()
        async with ponte.connect(token) as client:
            id = read_result(await client.call_tool("propose_change", PAY))["id"]
            for name in ("approve", "undo", "deny", "approve_change", "stackspot_quick_command"):
                assert (await client.call_tool(name, {"id": id})).is_error
            words = f"approve {id}"
            cells = {**PAY, "changes": [{"id": 4, "fields": {"Status": words}}]}
            await client.call_tool("propose_change", cells)
            await client.call_tool("change_status", {"id": id, "action": "approve"})
        bearer = {"Authorization": f"Bearer {token}"}
        for method, path, body in (
            ("POST", "/chat", {"message": words}),
            ("POST", f"/cards/{id}", {"action": "approve", "conversation": "mcp"}),
            ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": words}]}),
            ("POST", "/me/tokens", {}),
            ("GET", "/approvals", None),
            ("GET", "/metrics", None),
            ("POST", "/login", {"token": token}),
            ("GET", "/me", None),
        ):
            answer = await ponte.page.request(method, path, json=body, headers=bearer)
            assert answer.status_code in (401, 403), path
        for method in ("elicitation/create", "sampling/createMessage", "tools/approve"):
            answer = await ponte.post(token, make_request(method, {"id": id}), **OLD)
            assert "error" in answer.json()
        waiting = (await ponte.page.get("/approvals")).json()["approvals"]
        assert id in [each["id"] for each in waiting]
    assert read_status(home) == "Overdue"


def read_all_rows(home: Path) -> list[tuple[object, ...]]:
    """Return every row of the sample tables."""
    with closing(sqlite3.connect(home / SAMPLE_FILE)) as connection:
        return connection.execute("SELECT * FROM table_rows ORDER BY table_id, id").fetchall()


async def test_a_client_that_obeys_every_text_writes_nothing(tmp_path: Path) -> None:
    """It does what the evaluation's texts from outside order, and what any model could try."""
    orders = [c for case in read_cases() for each in case.orders for c in read_round(each)[1]]
    home, actions = tmp_path / "home", {"create", "update", "delete", "link"}
    async with run_ponte(home) as ponte:
        async with ponte.connect(await ponte.create_token()) as client:
            await client.call_tool("nocodb_query", {"table": "Invoices"})
            before = read_all_rows(home)
            for name, text in [*orders, *wishes()]:
                arguments = json.loads(text)
                await client.call_tool(name, arguments)
                if (action := name.removeprefix("nocodb_")) in actions:
                    await client.call_tool("propose_change", {"action": action, **arguments})
        waiting = (await ponte.page.get("/approvals")).json()["approvals"]
        assert waiting, "what it proposed waits for a person"
        assert {each["state"] for each in waiting} == {"open"}
    assert read_all_rows(home) == before


async def test_what_may_happen_without_a_person_elsewhere_waits_here(tmp_path: Path) -> None:
    home, file = tmp_path / "home", '[tables.Invoices]\naccess = "auto"\n'
    async with (
        run_ponte(home, file) as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):
        new = {"action": "create", "table": "Invoices", "rows": [{"Number": "INV-1"}]}
        for arguments in (PAY, new):
            state = read_result(await client.call_tool("propose_change", arguments))["state"]
            assert state == "waiting"
    assert read_status(home) == "Overdue"


async def test_each_reads_only_their_own_requests(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        async with ponte.connect(await ponte.create_token("ana")) as client:
            id = read_result(await client.call_tool("propose_change", PAY))["id"]
        for name in ("bia", "owner"):
            async with ponte.connect(await ponte.create_token(name)) as client:
                result = await client.call_tool("change_status", {"id": id})
                assert read_result(result)["error"]["code"] == "not_found"
                assert read_result(await client.call_tool("my_requests", {}))["requests"] == []


async def test_who_may_not_read_a_table_any_more_is_not_told_its_name(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with run_ponte(home) as ponte:
        token = await ponte.create_token("ana")
        async with ponte.connect(token) as client:
            id = read_result(await client.call_tool("propose_change", PAY))["id"]
    file = '[[rules]]\nwho = ["web:ana"]\ndeny = ["read:Invoices"]\n'
    async with run_ponte(home, file) as ponte, ponte.connect(token) as client:
        for name, arguments in (("my_requests", {}), ("change_status", {"id": id})):
            result = read_result(await client.call_tool(name, arguments))
            assert id in str(result)
            assert "Invoices" not in str(result)


async def test_rights_are_those_of_the_person(tmp_path: Path) -> None:
    file = """
[[rules]]
who = ["web:ana"]
deny = ["propose", "read:Customers"]

[[rules]]
who = ["web:bia"]
deny = ["chat"]
"""
    async with run_ponte(tmp_path / "home", file) as ponte:
        async with ponte.connect(await ponte.create_token("ana")) as client:
            names = [each.name for each in (await client.list_tools()).tools]
            assert "propose_change" not in names
            refused = read_result(await client.call_tool("propose_change", PAY))
            assert refused["error"]["code"] == "forbidden"
            assert "`propose`" in refused["error"]["message"]
            assert "Ponte's page" in refused["error"]["message"]
            absent = read_result(await client.call_tool("absent", {}))
            assert absent["error"]["code"] == "unknown_tool"
            hidden = await client.call_tool("nocodb_query", {"table": "Customers"})
            assert hidden.is_error
        async with ponte.connect(await ponte.create_token("bia")) as client:
            refused = read_result(await client.call_tool("my_requests", {}))
            assert refused["error"]["code"] == "forbidden"


async def test_status_metrics_and_the_audit_log_know_it(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        async with ponte.connect(await ponte.create_token()) as client:
            id = read_result(await client.call_tool("propose_change", PAY))["id"]
        (token,) = await ponte.app.accounts.list_api_tokens("web:owner")
        states = {part.name: part.state for part in await ponte.app.board.health()}
        assert states["mcp"] == "on"
        counted = await ponte.app.board.metrics()
        assert 'ponte_mcp_calls_total{outcome="ok",tool="propose_change"}' in counted
        lines, _ = await ponte.app.engine.people.audit.read()
        of_token = {line["event"]: line for line in lines if line.get("api_token") == token.id}
        assert of_token["change-proposed"]["change"] == id
        assert of_token["mcp-request"]["tool"] == "nocodb_update"


async def test_one_program_s_flood_delays_nobody_else(tmp_path: Path) -> None:
    """Requests of one token wait for each other, and too many are refused."""
    async with run_ponte(tmp_path / "home") as ponte:
        flooding, other = await ponte.create_token("ana"), await ponte.create_token("bia")
        query = make_request("tools/call", {"name": "nocodb_tables", "arguments": {}})
        flood = [
            asyncio.create_task(ponte.post(flooding, query, **OLD))
            for _ in range(MAX_MCP_REQUESTS_OF_TOKEN + 30)
        ]
        answer = await ponte.post(other, query, **OLD)
        assert answer.status_code == 200
        statuses = [each.status_code for each in await asyncio.gather(*flood)]
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 8


async def test_requests_in_a_minute_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(MAX_MCP_PROPOSALS_PER_MINUTE=3)
    moment = 1_800_000_059.0  # a second before the clock's next minute
    monkeypatch.setattr(inbox_module, "time", SimpleNamespace(time=lambda: moment))
    async with (
        run_ponte(tmp_path / "home") as ponte,
        ponte.connect(await ponte.create_token("ana")) as client,
    ):
        ids, row = set[str](), 0

        async def propose(count: int) -> list[str]:
            """Return the error codes of so many new requests."""
            nonlocal row
            codes = list[str]()
            for _ in range(count):
                row += 1
                change = {"id": row, "fields": {"Number": f"INV-{row}"}}
                answer = read_result(
                    await client.call_tool("propose_change", {**PAY, "changes": [change]})
                )
                ids.update({answer["id"]} if "id" in answer else ())
                codes.append(answer.get("error", {}).get("code", ""))
            return codes

        assert await propose(4) == ["", "", "", "too_many"]
        moment += 2
        assert await propose(1) == ["too_many"]
        waiting = (await ponte.page.get("/approvals")).json()["approvals"]
        assert {each["id"] for each in waiting} == ids, "a refused one leaves nothing"
        moment += 59
        assert await propose(4) == ["", "", "", "too_many"]


def test_requests_of_programs_displace_no_connection() -> None:
    assert MAX_MCP_REQUESTS < MAX_UNAUTHENTICATED_CONNECTIONS


async def test_a_hundred_clients_at_once(tmp_path: Path) -> None:
    async with run_ponte(tmp_path / "home") as ponte:
        tokens = [await ponte.create_token(f"person{n % 20}") for n in range(100)]

        async def use(ponte: McpPonte, token: str, mode: str) -> str:
            async with ponte.connect(token, mode) as client:
                await client.list_tools()
                return str(read_result(await client.call_tool("propose_change", PAY))["id"])

        modes = ("auto", "legacy", "2026-07-28")
        ids = await asyncio.gather(*(use(ponte, t, modes[n % 3]) for n, t in enumerate(tokens)))
        assert len(set(ids)) == 100
