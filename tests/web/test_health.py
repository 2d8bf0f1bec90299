"""What machines and the operator read."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.web.server import bind_socket
from core.domain.errors import NotFound, SettingsError
from core.domain.records import Health
from core.integrations.integration import OperatorAction
from tests.web.web_ponte import WebPonte


async def test_alive_and_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "alive"}
    said = await client.get("/readyz")
    assert (said.status_code, said.json()) == (200, {"status": "ready", "reasons": []})


async def test_not_ready_says_why_to_whom_it_trusts(
    ponte: WebPonte, client: httpx.AsyncClient
) -> None:
    ponte.board.parts = [
        Health("slack", "failing", "no frame for 95 s"),
        Health("discord", "off"),
        Health("model", "on"),
    ]
    said = await client.get("/readyz")
    assert said.status_code == 503
    assert said.json()["reasons"] == [{"name": "slack", "words": "no frame for 95 s"}]
    async with ponte.stranger() as somebody:
        stranger = await somebody.get("/readyz")
    assert (stranger.status_code, stranger.json()) == (503, {"status": "not ready"})


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    said = await client.get("/metrics")
    assert said.text == "ponte_up 1\n"
    assert said.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_the_page_reads_what_is_connected(ponte: WebPonte, client: httpx.AsyncClient) -> None:
    ponte.board.parts = [Health("model", "on", "demo model")]
    said = await client.get("/status")
    assert said.json() == {"parts": [{"name": "model", "state": "on", "words": "demo model"}]}


def test_a_port_that_is_taken_is_told_to_the_operator() -> None:
    with bind_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError) as refused:
            bind_socket("127.0.0.1", port)
    assert refused.value.words() == (
        f"Cannot listen on 127.0.0.1:{port} (Address already in use). "
        "Change PONTE_WEB_HOST or PONTE_WEB_PORT."
    )
    del refused
    gc.collect()  # a socket that was left open would be a warning, and so an error


class Threads:
    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.acts: Mapping[str, OperatorAction] = {"echo": self._echo}

    async def _echo(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"said": arguments["word"]}

    async def threads(self) -> Sequence[Mapping[str, Any]]:
        return [{"conversation": "slack:T1:C1:1.2"}]

    async def thread(self, conversation: str) -> Mapping[str, Any]:
        if conversation != "slack:T1:C1:1.2":
            raise NotFound(what="thread")
        return {"conversation": conversation, "messages": []}

    def link(self) -> str:
        return "http://127.0.0.1:8080/#token=t"

    async def forget(self, conversation: str) -> Mapping[str, Any]:
        self.forgotten.append(conversation)
        return {"messages": 1}


async def test_the_operator_s_routes_are_on_the_socket_alone(tmp_path: Path) -> None:
    ponte, threads = WebPonte(home=tmp_path), Threads()
    ponte.operator = threads
    await ponte.open()
    try:
        async with ponte.client() as web, ponte.terminal_client() as socket:
            assert (await web.get("/operator/threads")).status_code == 404
            assert (await web.get("/operator/link")).status_code == 404
            assert (await socket.get("/operator/link")).json() == {"link": threads.link()}
            listed = await socket.get("/operator/threads")
            assert listed.json() == {"threads": [{"conversation": "slack:T1:C1:1.2"}]}
            shown = await socket.get("/operator/threads/slack:T1:C1:1.2")
            assert shown.json()["messages"] == []
            assert (await socket.get("/operator/threads/nothing")).status_code == 404
            assert (await socket.post("/operator/forget", json={})).status_code == 400
            done = await socket.post("/operator/forget", json={"conversation": "slack:T1:C1:1.2"})
            assert done.json() == {"messages": 1}
            word = {"arguments": {"word": "so"}}
            assert (await web.post("/operator/echo", json=word)).status_code == 404
            assert (await socket.post("/operator/echo", json=word)).json() == {"said": "so"}
            assert (await socket.post("/operator/other", json=word)).status_code == 404
    finally:
        await ponte.close()
    assert threads.forgotten == ["slack:T1:C1:1.2"]


async def test_routes_of_other_adapters_check_their_callers_themselves() -> None:
    ponte = WebPonte()

    async def slack(headers: object, body: bytes) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, body

    ponte.extra["/slack/events"] = slack
    await ponte.open()
    try:
        async with ponte.stranger(Host="ponte.example", Origin="https://slack.com") as client:
            assert (await client.post("/slack/events", content="event")).text == "event"
            assert (await client.post("/slack/other")).status_code == 403
    finally:
        await ponte.close()
