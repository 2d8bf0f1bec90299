"""`ponte backup` beside a real process that is talked to, and kill -9 in the middle of things."""

from __future__ import annotations

import asyncio
import glob
import json
import os
import secrets
import sqlite3
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from bot.settings import Settings
from core.base.errors import RESTORED_REASON, Restored
from tests.fakes.choices import make_message
from tests.fakes.forker import Process, start
from tests.real.conftest import ToolContext
from tests.real.victims import Victim, turns_of_the_loop
from tests.recorded.recorded_ponte import Json, put_home

LANES = 4
PIPE_HOLDS = 1 << 16
"""Bytes that a pipe takes before its writer waits (pipe(7))."""


@asynccontextmanager
async def start_ponte(home: Path, *words: str, stdin: int = DEVNULL) -> AsyncIterator[Process]:
    ours = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    env = {**ours, "PONTE_HOME": str(home)}
    process = await start("bot", *words, env=env, cwd=home.parent, stdin=stdin, stderr=PIPE)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def ponte(home: Path, *words: str, stdin: int = DEVNULL) -> bytes:
    async with start_ponte(home, *words, stdin=stdin) as process:
        out, err = await process.communicate()
    assert process.returncode == 0, err
    return out


async def until(home: Path, pattern: str) -> None:
    """Something of that name is there."""
    async for _ in turns_of_the_loop():
        if next(iter(glob.glob(pattern, root_dir=home)), ""):
            return


def column(home: Path, statement: str) -> list[str]:
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        return [row[0] for row in connection.execute(statement)]


async def test_a_backup_during_conversations_is_complete(ctx: ToolContext, tmp_path: Path) -> None:
    acked: list[list[str]] = [[] for _ in range(LANES)]
    over = asyncio.Event()

    async def talk(lane: int) -> None:
        while not over.is_set():
            one = make_message("hello", f"{lane}-{len(acked[lane])}", f"C{lane}")
            await ctx.people.say(one)
            acked[lane].append(one.event_key)
            await ctx.people.answer(one)

    await ctx.victim.start()
    talking = [asyncio.create_task(talk(lane)) for lane in range(LANES)]
    backups = []
    for number in range(2):
        before = [list(lane) for lane in acked]
        path = tmp_path / f"{number}.tar.gz"
        await ponte(ctx.victim.home, "backup", str(path))
        backups.append((path, before, [len(lane) for lane in acked]))
    over.set()
    await asyncio.gather(*talking)

    for path, before, after in backups:
        home = path.with_suffix(".home")
        await ponte(home, "restore", str(path))
        event_keys = column(home, "SELECT event_key FROM inbox ORDER BY seq")
        for lane in range(LANES):
            of_lane = [key for key in event_keys if key.startswith(f"{lane}-")]
            assert of_lane[: len(before[lane])] == before[lane], "acknowledged, so it is kept"
            assert of_lane == [f"{lane}-{n}" for n in range(len(of_lane))], "one moment"
            assert len(of_lane) <= after[lane] + 1
        states = set(column(home, "SELECT DISTINCT state FROM inbox"))
        assert states <= {"done", "undeliverable"}
    await ctx.victim.kill()

    open_then = set(
        column(home, f"SELECT conversation FROM inbox WHERE reason = '{RESTORED_REASON}'")
    )
    ctx.victim.home, posts = home, len(ctx.recorder.posts)
    again = Victim(home, *ctx.victim.arguments[1:2])
    ctx.people.victim = again
    try:
        await again.start()
        for lane in range(LANES):
            message = make_message("hello again", f"again-{lane}", f"C{lane}")
            answer = await ctx.people.ask(message)
            is_told = str(Restored()) in answer.text
            assert is_told is (message.address.conversation in open_then), answer.text
            assert answer.text.endswith("You said: hello again")
    finally:
        await again.kill()
    new = ctx.recorder.posts[posts:]
    assert {post.source for post in new} == {f"again-{lane}" for lane in range(LANES)}


@pytest.mark.slow
async def test_killed_in_the_middle_nothing_half_is_left(
    tmp_path: Path, recorded_today: Json
) -> None:
    home, other, path = tmp_path / "home", tmp_path / "other", tmp_path / "kept.tar.gz"
    put_home(recorded_today["home"], home)
    # Nothing that can be packed: a pipe does not take half of it.
    with closing(sqlite3.connect(home / "ponte.db")) as connection, connection:
        rows = [(json.dumps({"at": "", "event": secrets.token_hex(100)}),) for _ in range(5_000)]
        connection.executemany("INSERT INTO audit (line) VALUES (?)", rows)
    async with start_ponte(home, "backup", "-") as process:  # it waits, as nobody reads on
        assert process.stdout
        await process.stdout.readexactly(PIPE_HOLDS)
        process.kill()
    assert len(list(home.glob("backup-*"))) == 1
    whole = await ponte(home, "backup", "-")
    assert list(home.glob("backup-*")) == []
    async with start_ponte(home, "backup", str(path)) as process:
        await until(home, "backup-*")
        process.kill()
    assert not path.exists()

    reading, writing = os.pipe()
    async with start_ponte(other, "restore", "-", stdin=reading) as process:
        os.close(reading)
        with os.fdopen(writing, "wb", 0) as pipe:
            await asyncio.to_thread(pipe.write, whole[: len(whole) // 2])
            await until(other, "restore-*/ponte.db")
            process.kill()
    assert not (other / "ponte.db").exists()
    (tmp_path / "whole").write_bytes(whole)
    with (tmp_path / "whole").open("rb") as file:
        await ponte(other, "restore", "-", stdin=file.fileno())
    assert {entry.name for entry in other.iterdir()} >= {"ponte.db", "files"}
    assert list(other.glob("restore-*")) == []
    events = "SELECT event_key FROM inbox ORDER BY event_key"
    assert column(other, events) == column(home, events)
