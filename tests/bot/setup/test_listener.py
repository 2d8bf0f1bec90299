"""The listening socket that a start hands over to the next one, and signals during a restart."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from adapters.web import LISTENER_VARIABLE
from adapters.web.server import HttpServer, bind_socket
from bot.setup.restart import Restart
from tests.fakes.uvicorn_pauses import short_pauses
from tests.time_limits import Limits

HOST = "127.0.0.1"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as own:
        yield own


@pytest.mark.parametrize("text", ["nonsense", "-1", "0x1", "999999", "9" * 40, " ", "1.5", "²"])
def test_nonsense_in_the_variable_does_not_end_the_start(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(LISTENER_VARIABLE, text)
    Restart()
    bind_socket(HOST, 0).close()
    assert LISTENER_VARIABLE not in os.environ


def test_a_descriptor_that_is_no_listener_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """As stdout, which may be a socket of the journal."""
    ours, theirs = socket.socketpair()
    with ours, theirs, (Path(os.devnull)).open("rb") as file:
        for descriptor in (ours.fileno(), file.fileno()):
            monkeypatch.setenv(LISTENER_VARIABLE, str(descriptor))
            bind_socket(HOST, 0).close()
            os.fstat(descriptor)


def test_a_start_that_failed_hands_the_socket_on(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    """Its own server has closed the socket by then."""
    port = listener.getsockname()[1]
    monkeypatch.setenv(LISTENER_VARIABLE, str(os.dup(listener.fileno())))
    restart, environments = Restart(), []
    bind_socket(HOST, port).close()
    monkeypatch.setattr(os, "execve", lambda *words: environments.append(words[2]))
    restart.execute()
    monkeypatch.setenv(LISTENER_VARIABLE, environments[0][LISTENER_VARIABLE])
    with bind_socket(HOST, port) as again:
        assert again.getsockname()[1] == port


async def test_requests_on_accepted_connections_are_answered_before_the_end(
    limits: Limits,
) -> None:
    """A connection without a request so far is none that waits in the socket's queue."""
    limits(HAND_OVER_CHECKS=1_000_000)
    begun, may_answer = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            begun.set()
            await may_answer.wait()
        await PlainTextResponse("done")(scope, receive, send)

    listener = bind_socket(HOST, 0)
    server = HttpServer(app, listener)
    await server.start()
    fresh, idle = [await asyncio.open_connection(*listener.getsockname()) for _ in range(2)]
    idle[1].write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await idle[0].readuntil(b"done")
    descriptor = await server.hand_over()
    finishing = asyncio.create_task(server.finish_requests())
    assert await idle[0].read() == b"", "it owes nothing, so it is closed"
    fresh[1].write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
    await begun.wait()
    assert not finishing.done()
    may_answer.set()
    assert (await fresh[0].read()).startswith(b"HTTP/1.1 200"), "and then it is closed"
    await finishing
    for _, writer in (fresh, idle):
        writer.close()
    await server.stop()
    os.close(descriptor)


async def test_requests_that_are_accepted_at_the_moment_of_the_hand_over_are_answered() -> None:
    """Also those that asyncio accepts in the same step of its loop, or in one of the next."""
    for steps in range(4):
        listener = bind_socket(HOST, 0)
        server = HttpServer(PlainTextResponse("done"), listener)
        await server.start()
        await asyncio.wait_for(_answer_one(listener), 30)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(8)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        for _ in range(steps):
            await asyncio.sleep(0)
        descriptor = await server.hand_over()
        await server.finish_requests()
        # Those that are still in the queue of the socket belong to the next process.
        with socket.socket(fileno=descriptor) as queue:
            queue.setblocking(False)
            waiting = set()
            with suppress(BlockingIOError):
                while True:
                    connection, address = queue.accept()
                    connection.close()
                    waiting.add(address)
        for client in clients:
            with client:
                if client.getsockname() not in waiting:
                    answer = await asyncio.to_thread(client.recv, 1000)
                    assert answer.startswith(b"HTTP/1.1 200"), steps
        await server.stop()


async def test_connections_that_are_accepted_at_the_moment_of_a_stop_are_closed() -> None:
    """asyncio drops a connection unclosed if its listener is closed between the accept and the
    transport. It would come up as a ResourceWarning, in whatever runs then."""
    dropped: list[object] = []
    with pytest.MonkeyPatch.context() as patch, short_pauses():
        patch.setattr(sys, "unraisablehook", dropped.append)
        for steps in range(12):
            listener = bind_socket(HOST, 0)
            server = HttpServer(PlainTextResponse("done"), listener)
            await server.start()
            await asyncio.wait_for(_answer_one(listener), 30)
            stop = asyncio.create_task(server.stop())
            for _ in range(steps):
                await asyncio.sleep(0)
            if listener.fileno() == -1:
                await stop
                continue
            with socket.create_connection(listener.getsockname()) as client:
                await stop
                with suppress(ConnectionResetError):
                    assert not await asyncio.to_thread(client.recv, 1), steps
            gc.collect()
            assert not dropped, steps


async def _answer_one(listener: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_who_ends_the_process_during_a_restart_ends_it(listener: socket.socket) -> None:
    async def hand_over() -> int:
        return os.dup(listener.fileno())

    for is_before in (True, False):
        restart, stop = Restart(), asyncio.Event()
        restart.begin(stop, hand_over)
        if is_before:
            stop.set()
        await restart.request()
        assert restart.cancel() is not is_before
        assert stop.is_set()
        assert not restart.is_requested


async def test_the_check_finds_ponte_in_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nothing_set: None
) -> None:
    """Also in one that has a folder `bot`."""
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot" / "__init__.py").touch()
    monkeypatch.setenv("PONTE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[3]), *sys.path])
    await Restart().probe()
