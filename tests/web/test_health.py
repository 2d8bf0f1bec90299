"""What machines and the operator read."""

from __future__ import annotations

import asyncio
import gc
import importlib
import socket
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from adapters.web.errors import UnknownPath
from adapters.web.server import bind_socket
from core.base.errors import SettingsError
from core.domain.messages import Person
from core.domain.records import Health
from core.people.audit import OPERATOR
from tests.fakes.operator import MemoryOperator
from tests.time_limits import Limits
from tests.web.web_ponte import Client, WebPonte


async def test_alive_and_ready(client: Client) -> None:
    assert (await client.get("/healthz")).json() == {"status": "alive"}
    response = await client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ready", "reasons": []})


async def test_not_ready_says_why_to_whom_it_trusts(ponte: WebPonte, client: Client) -> None:
    ponte.board.parts = [
        Health("slack", "failing", "no frame for 95 s"),
        Health("discord", "off"),
        Health("model", "on"),
    ]
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["reasons"] == [{"name": "slack", "words": "no frame for 95 s"}]
    async with ponte.stranger() as somebody:
        stranger = await somebody.get("/readyz")
    assert (stranger.status_code, stranger.json()) == (503, {"status": "not ready"})


async def test_the_operator_reads_metrics_and_what_is_connected(
    ponte: WebPonte, client: Client
) -> None:
    response = await client.get("/metrics")
    assert response.text == "ponte_up 1\n"
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    ponte.board.parts = [Health("model", "on", "demo model")]
    response = await client.get("/status")
    assert response.json() == {"parts": [{"name": "model", "state": "on", "words": "demo model"}]}


def test_a_port_that_is_taken_is_told_to_the_operator() -> None:
    with bind_socket("127.0.0.1", 0) as busy_socket:
        port = busy_socket.getsockname()[1]
        with pytest.raises(SettingsError) as error:
            bind_socket("127.0.0.1", port)
    assert error.value.words() == (
        f"Can't listen on 127.0.0.1:{port} (Address already in use). "
        "Change PONTE_WEB_HOST or PONTE_WEB_PORT."
    )
    del error
    gc.collect()  # a socket that was left open would be a warning, and so an error


class EchoOperator(MemoryOperator):
    async def run(self, name: str, arguments: Mapping[str, Any], actor: Person = OPERATOR) -> Any:
        if name != "bell ring":
            raise UnknownPath
        return arguments

    async def describe(
        self,
        name: str,
        arguments: Mapping[str, Any],
        actor: Person = OPERATOR,
        *,
        as_json: bool = False,
    ) -> Mapping[str, Any]:
        return {"lines": [name, str(as_json)]}


async def test_the_operator_s_routes_are_on_the_socket_alone(tmp_path: Path) -> None:
    ponte = WebPonte(home=tmp_path)
    ponte.operator = EchoOperator()
    await ponte.open()
    try:
        async with ponte.client() as web, ponte.terminal_client() as socket:
            body = {"arguments": {"word": "so"}}
            assert (await web.post("/operator/bell/ring", json=body)).status_code == 404
            assert (await socket.get("/operator/bell/ring")).status_code == 405
            assert (await socket.post("/operator/bell/ring", json=body)).json() == {"word": "so"}
            for output in ("text", "json"):
                answer = await socket.post("/operator/bell/ring", json=body | {"output": output})
                assert answer.json() == {"lines": ["bell ring", str(output == "json")]}
            assert (await socket.post("/operator/other", json=body)).status_code == 404
            response = await socket.post("/operator/bell/ring", json={"output": "html"})
            assert response.status_code == 400
    finally:
        await ponte.close()


async def test_the_sockets_server_starts_late_and_its_failures_are_in_the_log(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: Limits,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As after an upgrade in place, or without free file descriptors. A command waits."""
    load, failures = importlib.import_module, [OSError(24, "Too many open files"), ImportError("x")]
    ponte = WebPonte(home=tmp_path)
    await ponte.open()

    def import_module(name: str, package: str | None = None) -> ModuleType:
        if name == "adapters.web.server" and failures:
            raise failures.pop(0)
        return load(name, package)

    limits(SERVER_RETRY_SECONDS=0.0)
    monkeypatch.setattr(importlib, "import_module", import_module)
    try:
        with socket.socket(socket.AF_UNIX) as dead_socket:
            dead_socket.connect(str(tmp_path / "ponte.sock"))
        async with ponte.terminal_client() as client, ponte.terminal_client() as other:
            answers = await asyncio.gather(client.get("/healthz"), other.get("/healthz"))
        assert [each.status_code for each in answers] == [200, 200]
        assert failures == []
        assert capsys.readouterr().out.count("Too many open files") == 1
    finally:
        await ponte.close()


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
