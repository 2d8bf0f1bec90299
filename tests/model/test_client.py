"""The one client of the openai package."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from core.base.errors import NoKey
from core.base.http import MAX_ERROR_BODY_BYTES
from core.base.model_faults import ModelServerFault
from core.base.openai import ModelEndpoint, ModelServerClient, seconds_before_retry
from core.base.proxies import Proxies
from core.models.model_server import ModelOptions, explain_fault
from tests.fakes.openai import FakeOpenAI
from tests.fakes.proxy import ForwardProxy

ROOT = Path(__file__).parents[2]
KEY = "sk-" + "secret" * 4


@pytest.fixture
async def client(fake: FakeOpenAI, waits: list[float]) -> AsyncIterator[ModelServerClient]:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    client = ModelServerClient(ModelEndpoint(KEY, fake.base_url), sleep=sleep)
    yield client
    await client.close()


def test_only_openais_hosts_are_official() -> None:
    assert ModelEndpoint("k").is_official
    assert ModelEndpoint("k", "https://eu.api.openai.com/v1").is_official
    assert not ModelEndpoint("k", "https://openai.com.example.org/v1").is_official
    assert not ModelEndpoint("k", "http://127.0.0.1:11434/v1").is_official
    assert KEY not in repr(ModelEndpoint(KEY))


async def test_no_key() -> None:
    with pytest.raises(NoKey):
        await ModelServerClient(ModelEndpoint()).get("/models")


async def test_reading_is_repeated(
    client: ModelServerClient, fake: FakeOpenAI, waits: list[float]
) -> None:
    fake.ill = 503
    with pytest.raises(ModelServerFault) as error:
        await client.get("/models")
    assert error.value.status == 503
    assert error.value.request == "req_refused"
    assert len(fake.requests) == 3
    assert [round(wait) for wait in waits] == [1, 1]


async def test_a_write_is_not_repeated(client: ModelServerClient, fake: FakeOpenAI) -> None:
    fake.ill = 503
    with pytest.raises(ModelServerFault):
        await client.post("/conversations", {})
    assert len(fake.requests) == 1


async def test_a_refused_connection_was_not_sent(waits: list[float]) -> None:
    client = ModelServerClient(ModelEndpoint(KEY, "http://127.0.0.1:9/v1"))
    with pytest.raises(ModelServerFault) as error:
        await client.post("/conversations", {})
    assert error.value.kind == "unsent"
    assert error.value.may_pass
    await client.close()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_breaks_under_a_request_was_sent(reset: bool) -> None:
    asked = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += bool(await reader.readuntil(b"\r\n\r\n"))
        if reset:
            writer.transport.abort()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        client = ModelServerClient(ModelEndpoint(KEY, f"http://{host}:{port}/v1"))
        with pytest.raises(ModelServerFault) as error:
            await client.post("/conversations", {})
        await client.close()
    assert (error.value.kind, asked) == ("lost", 1)
    assert not error.value.may_pass, "it may have been done, and paid for"


async def test_one_import_in_a_thread_for_all(fake: FakeOpenAI) -> None:
    client = ModelServerClient(ModelEndpoint(KEY, fake.base_url))
    first, second = await asyncio.gather(client.load_sdk(), client.load_sdk())
    assert first is second
    assert first.max_retries == 0
    await client.close()


def test_the_import_does_not_stall_the_loop_and_is_complete_when_it_ends() -> None:
    """A fresh process: the import runs beside the loop, which has next to nothing of its CPU.

    Else a tool that speaks HTTP for the first time at that moment breaks the first turn.
    """
    script = """
import asyncio, sys, time
from core.base.openai import ModelEndpoint, ModelServerClient
async def main():
    longest, begun = 0.0, time.process_time()
    task = asyncio.ensure_future(ModelServerClient(ModelEndpoint("k", "http://127.0.0.1:9/v1")).load_sdk())
    while not task.done():
        turn = time.thread_time()
        await asyncio.sleep(0.001)
        longest = max(longest, time.thread_time() - turn)
    print(longest / (time.process_time() - begun), sys.modules["httpx"].Timeout.__name__)
asyncio.run(main())
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    share, name = result.stdout.split()
    assert (float(share) < 0.25, name) == (True, "Timeout")


async def test_faults_show_no_key_and_no_message(
    client: ModelServerClient, fake: FakeOpenAI
) -> None:
    fake.key = "sk-right"
    with pytest.raises(ModelServerFault) as error:
        await client.get("/models")
    assert str(error.value) == "refused 401 invalid_api_key req_refused"
    assert KEY not in repr(error.getrepr(chain=True))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "x"}, None),
        ({}, None),
    ],
)
async def test_retry_after_headers_become_seconds(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert (await request_fault(429, headers)).wait == seconds


async def test_retry_after_a_date() -> None:
    wait = (await request_fault(429, {"retry-after": formatdate(time.time() + 30)})).wait
    assert wait is not None
    assert 25 < wait <= 31


async def request_fault(status: int, headers: dict[str, str]) -> ModelServerFault:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    app = web.Application()
    app.router.add_get("/v1/models", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = ModelServerClient(ModelEndpoint(KEY, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"))
    client.sleep = _no_sleep
    with pytest.raises(ModelServerFault) as error:
        await client.get("/models")
    await client.close()
    await runner.cleanup()
    return error.value


async def _no_sleep(_: float) -> None:
    return None


def test_pauses_grow_and_obey_retry_after() -> None:
    assert seconds_before_retry(1, ModelServerFault("refused", status=429, wait=7.0)) == 7.0
    for attempt, least in ((1, 0.5), (2, 1.0), (3, 2.0), (9, 8.0)):
        assert least <= seconds_before_retry(attempt, ModelServerFault("lost")) <= least * 1.25


def test_a_refused_field_that_names_a_model_is_no_unknown_model() -> None:
    for param, is_unknown in (("", True), ("model", True), ("reasoning.effort", False)):
        words = "The model does not exist."
        fault = ModelServerFault("refused", status=400, body={"param": param, "message": words})
        assert fault.is_unknown_model is is_unknown, param


def test_quota_is_never_passing() -> None:
    for code in ("insufficient_quota", "credit_balance_exhausted", "spend_limit_reached"):
        fault = ModelServerFault("refused", status=429, body={"code": code})
        assert fault.is_quota_exhausted
        assert not fault.may_pass
    assert ModelServerFault(
        "refused", status=429, body={"type": "insufficient_quota"}
    ).is_quota_exhausted
    assert ModelServerFault("refused", status=402).is_quota_exhausted
    assert ModelServerFault("refused", status=429, body={"code": "rate_limit_exceeded"}).may_pass


async def test_a_list_of_models_may_be_bare(fake: FakeOpenAI) -> None:
    """Together AI sends it so."""

    async def bare(_: web.Request) -> web.StreamResponse:
        return web.json_response([{"id": "a", "context_length": 9000}, {"id": "b"}])

    fake.hostile, fake.hostile_at = bare, {"/models"}
    client = ModelServerClient(ModelEndpoint(KEY, fake.base_url), sleep=_no_sleep)
    assert [each["id"] for each in (await client.get("/models"))["data"]] == ["a", "b"]
    await client.close()


async def test_a_proxy_is_used_and_never_shown(fake: FakeOpenAI) -> None:
    """The proxy's password stays out of errors; NO_PROXY goes around it."""
    proxies = Proxies(http="http://user:hunter2@127.0.0.1:9")
    client = ModelServerClient(ModelEndpoint(KEY, fake.base_url, proxies), sleep=_no_sleep)
    with pytest.raises(ModelServerFault) as error:
        await client.get("/models")
    assert "hunter2" not in repr(error.value)
    assert str(error.value) == "unsent, proxy 127.0.0.1:9"
    assert str(explain_fault(error.value, ModelOptions())) == (
        "The model's server isn't responding. Your message is saved. Try again in a minute. The "
        "request went through the proxy 127.0.0.1:9."
    )
    await client.close()
    for no_proxy in ("127.0.0.1", "127.0.0.0/8"):
        place = ModelEndpoint(KEY, fake.base_url, Proxies(http=proxies.http, no=no_proxy))
        around = ModelServerClient(place)
        assert await around.get("/models")
        await around.close()


@pytest.mark.parametrize(
    ("status", "body", "names_proxy"),
    [
        (503, "<html>no route</html>", True), (407, "", True), (403, "Forbidden", True),
        (200, "<html>Please sign in</html>", True), (503, '{"error": {"message": "x"}}', False),
        (400, "<html>bad</html>", False),
    ],
)  # fmt: skip
async def test_an_error_names_the_proxy_unless_the_server_itself_responded(
    fake: FakeOpenAI, status: int, body: str, names_proxy: bool
) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body)

    fake.hostile, fake.hostile_at = refuse, {"/models"}
    async with ForwardProxy() as proxy:
        place = ModelEndpoint(KEY, fake.base_url, Proxies(http=proxy.url))
        client = ModelServerClient(place, sleep=_no_sleep)
        with pytest.raises(ModelServerFault) as error:
            await client.get("/models")
        await client.close()
        name = proxy.url.removeprefix("http://")
    assert (name in str(error.value)) is names_proxy
    assert (name in str(explain_fault(error.value, ModelOptions()))) is names_proxy


async def test_an_answer_is_streamed_through_a_proxy(fake: FakeOpenAI) -> None:
    async with ForwardProxy("user", "hunter2") as proxy:
        place = ModelEndpoint(KEY, fake.base_url, Proxies(http=proxy.url))
        client = ModelServerClient(place, sleep=_no_sleep)
        body = {"model": "gpt-6-luna", "input": "hello", "stream": True}
        events = [event async for event in client.stream("/responses", body)]
        types = [event["type"] for event in events]
        assert (types[0], types[-1]) == ("response.created", "response.completed")
        words = "".join(event["delta"] for event in events if event["type"].endswith("text.delta"))
        assert words == "You said: hello"
        assert len(proxy.asked) == 1
        await client.close()


@pytest.mark.parametrize(("more", "is_cut"), [(0, False), (1, True), (10**6, True)])
async def test_an_error_through_a_proxy_is_read_to_its_cap(
    fake: FakeOpenAI, more: int, is_cut: bool
) -> None:
    """JSON that was cut has no message."""
    frame = len(json.dumps({"error": {"message": ""}}))
    words = "x" * (MAX_ERROR_BODY_BYTES - frame + more)

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": words}}, status=400)

    fake.hostile, fake.hostile_at = refuse, {"/models"}
    async with ForwardProxy("user", "hunter2") as proxy:
        client = ModelServerClient(ModelEndpoint(KEY, fake.base_url, Proxies(http=proxy.url)))
        with pytest.raises(ModelServerFault) as error:
            await client.get("/models")
        await client.close()
    assert (error.value.kind, error.value.status) == ("refused", 400)
    assert (error.value.message != words) is is_cut
