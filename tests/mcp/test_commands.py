"""Quick commands that programs ask for over MCP."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from tests.fakes.stackspot import FakeStackSpot
from tests.fakes.stackspot.state import CLIENT, REALM, SECRET
from tests.mcp.client import read_result, run_ponte

FILE = """
[quick_commands.close-month]
title = "Close the month"
effect = "write"

[quick_commands.explain]
title = "Explain"
effect = "read"
"""


async def test_a_quick_command_is_proposed_and_never_run(tmp_path: Path) -> None:
    async with FakeStackSpot() as stackspot:
        settings = {
            "stackspot_client_id": CLIENT,
            "stackspot_client_secret": SecretStr(SECRET),
            "stackspot_realm": REALM,
            "stackspot_auth_url": stackspot.url,
            "stackspot_api_url": stackspot.url,
            "stackspot_agent_url": stackspot.url,
        }
        async with (
            run_ponte(tmp_path / "home", FILE, **settings) as ponte,
            ponte.connect(await ponte.create_token()) as client,
        ):
            tools = {each.name: each for each in (await client.list_tools()).tools}
            description = tools["propose_quick_command"].description or ""
            assert "close-month" in description
            assert "(asks first) is proposed: a person approves it." in description
            asked = {"slug": "close-month", "input": "May"}
            request = read_result(await client.call_tool("propose_quick_command", asked))
            assert request["state"] == "waiting"
            assert "Close the month" in request["what"]
            for slug, code in (("explain", "not_offered"), ("nothing", "bad_request")):
                arguments = {"slug": slug, "input": "May"}
                refused = read_result(await client.call_tool("propose_quick_command", arguments))
                assert refused["error"]["code"] == code
            assert "create" not in [each.kind for each in stackspot.requests]
