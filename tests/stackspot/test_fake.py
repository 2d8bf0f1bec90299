"""The fake is strict: what StackSpot would refuse, it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

import pytest

from core.base.http import HttpAnswer, HttpClient
from tests.fakes.stackspot import SECRET, FakeStackSpot
from tests.fakes.stackspot.clock import SteppedClock
from tests.fakes.stackspot.state import CLIENT
from tests.stackspot.command_scene import client

CREATE = "/v1/quick-commands/create-execution"
FORM = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}


async def status(http: HttpClient, method: str, url: str, **sent: Any) -> int:
    try:
        await http.request_json(method, url, **sent)
    except HttpAnswer as answer:
        return answer.status
    return 200


@pytest.mark.parametrize(
    ("path", "sent", "expected"),
    [
        ("/acme/oidc/oauth/token", {"form": FORM}, 200),
        ("/other/oidc/oauth/token", {"form": FORM}, 404),
        ("/acme/oidc/oauth/token", {"form": {**FORM, "client_secret": "x"}}, 401),
        ("/acme/oidc/oauth/token", {"form": {**FORM, "scope": "x"}}, 400),
        ("/acme/oidc/oauth/token", {"body": FORM}, 400),
        ("/acme/oidc/oauth/token", {"form": FORM, "params": {"client_id": "x"}}, 400),
        (f"{CREATE}/echo", {"body": {"input_data": "a"}}, 401),
    ],
)
async def test_requests_with_wrong_credentials_are_refused(
    fake: FakeStackSpot, path: str, sent: dict[str, Any], expected: int
) -> None:
    async with HttpClient() as http:
        assert await status(http, "POST", f"{fake.url}{path}", **sent) == expected


@pytest.mark.parametrize(
    ("path", "sent", "expected"),
    [
        (f"{CREATE}/echo", {"body": {"input_data": {"a": 1}}}, 200),
        (f"{CREATE}/echo", {"body": {"input_data": 3}}, 400),
        (f"{CREATE}/echo", {"body": {}}, 400),
        (f"{CREATE}/echo", {"body": {"input_data": "a", "x": 1}}, 400),
        (f"{CREATE}/ECHO", {"body": {"input_data": "a"}}, 400),
        (f"{CREATE}/echo", {"body": {"input_data": "a"}, "params": {"conversation_id": "c"}}, 400),
        ("/v1/agent/01AGENT/chat", {"body": {"user_prompt": "a"}}, 400),
        ("/v1/agent/nobody/chat", {"body": {"user_prompt": "a"}}, 404),
    ],
)
async def test_requests_with_wrong_bodies_are_refused(
    fake: FakeStackSpot, path: str, sent: dict[str, Any], expected: int
) -> None:
    headers = {"Authorization": f"Bearer {fake.new_token()}"}
    async with HttpClient() as http:
        url = f"{fake.url}{path}"
        assert await status(http, "POST", url, headers=headers, **sent) == expected


async def test_an_answer_is_cached_and_a_token_ends(
    fake: FakeStackSpot, clock: SteppedClock
) -> None:
    headers = {"Authorization": f"Bearer {fake.new_token()}"}
    async with client(fake.url, clock) as stackspot, HttpClient() as http:
        url = f"{fake.url}/v1/quick-commands/callback/{await stackspot.create('echo', 'a')}"
        for expected in ("CREATED", "CREATED"):
            answer = await http.get_json(url, headers=headers)
            assert answer["progress"]["status"] == expected
        clock.time += 1_200
        assert await status(http, "GET", url, headers=headers) == 401


@pytest.mark.starts_process
async def test_it_runs_as_a_process(clock: SteppedClock) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.stackspot", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        url = (await process.stdout.readline()).decode().strip()
        async with client(url, clock) as stackspot, HttpClient() as http:
            script = {"looks": [["CREATED"], ["COMPLETED", 1.0]], "result": "from afar"}
            await http.post_json(f"{url}/_fake/go", [script])
            trouble = {"how": "status", "status": 503}
            await http.post_json(f"{url}/_fake/fail", [["create", trouble]])
            await http.post_json(f"{url}/_fake/set", {"commands": ["echo"]})
            assert (await stackspot.run("echo", "a")).text == "from afar"
            seen = await http.get_json(f"{url}/_fake/seen?kind=status&times=2")
        assert [made["input"] for made in seen["executions"]] == ["a"]
        assert SECRET not in json.dumps(seen)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
