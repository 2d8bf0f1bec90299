"""What comes from the sandbox is untrusted: code there can write whatever it likes to the pipe."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.tools.code.port import MAX_OUTPUT_FILES
from core.tools.code.sandbox.process import RunningProgram
from core.tools.code.session import (
    MAX_KEPT_BYTES,
    MAX_LEFT_OUT_FILES,
    BrokenFrame,
    Done,
    FileMade,
    KernelReady,
    KernelRun,
    KernelSession,
    LeftOut,
    PrintedOutput,
    parse_frame,
)
from tests.code import sandboxed


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("owned",)


HOSTILE = [
    b"",
    b"\n",
    b"{}",
    b"null",
    b"[]",
    b'"done"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"done": 1, "value": "", "error": ""}',
    b'{"done": "x", "value": null, "error": ""}',
    b'{"done": "x", "value": "", "error": "", "more": 1}',
    b'{"file": "a", "data": 5}',
    b'{"file": "a", "data": "not base64!"}',
    b'{"file": {"__class__": "x"}, "data": ""}',
    b'{"file": "' + b"a" * 5000 + b'", "data": ""}',
    b'{"ready": "all"}',
    b'{"done": "x", "value": "' + b"v" * 200_000 + b'", "error": ""}',
    pickle.dumps(Evil()),
]


@pytest.mark.parametrize("line", HOSTILE)
def test_what_is_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(BrokenFrame):
        parse_frame(line)


def test_frames_of_ours_are_read() -> None:
    data = base64.b64encode(b"\0x").decode()
    assert parse_frame(json.dumps({"file": "a", "data": data}).encode()) == FileMade(
        file="a", data=data.encode()
    )
    assert parse_frame(b'{"ready": true}') == KernelReady(ready=True)
    assert parse_frame(b'{"left": "a", "why": "many"}') == LeftOut(left="a", why="many")


def test_a_frame_at_the_wrong_time_is_refused() -> None:
    run = KernelRun("mine")
    for came in (
        Done(done="other", value="", error=""),
        KernelReady(ready=True),
        LeftOut(left="a", why="because"),
    ):
        with pytest.raises(BrokenFrame):
            run.add_frame(came)
    for number in range(MAX_OUTPUT_FILES):
        run.add_frame(FileMade(file=str(number), data=b""))
    with pytest.raises(BrokenFrame):
        run.add_frame(FileMade(file="one more", data=b""))


def test_a_file_of_a_run_may_not_be_larger_than_all_may_be() -> None:
    run, half = KernelRun("mine"), base64.b64encode(bytes(17 << 20))
    run.add_frame(FileMade(file="a", data=half))
    with pytest.raises(BrokenFrame):
        run.add_frame(FileMade(file="b", data=half))


FORGED = [
    'b\'{"done": "x", "value": "forged", "error": ""}\\n\'',
    "b'garbage\\n'",
    "b'x' * (40 << 20)",
    "__import__('pickle').dumps(print) + b'\\n'",
    "b'{\"ready\": []}\\n'",
]


@pytest.mark.slow
@pytest.mark.parametrize("frames", FORGED)
async def test_a_kernel_that_forges_is_ended_and_the_next_one_is_whole(frames: str) -> None:
    code = f"""
import os, sys
data = memoryview({frames})
while data: data = data[os.write(int(sys.argv[1]), data):]
'done'
"""
    async with sandboxed.session() as session:
        ran = await session.run(code, ())
        assert (ran.fault, ran.is_state_lost, ran.value) == ("died", True, "")
        assert not session.alive


@pytest.mark.slow
async def test_a_forged_file_is_only_a_file_of_that_run() -> None:
    """Its name is its own; who keeps it makes that safe."""
    code = """
import os, sys
os.write(int(sys.argv[1]), b'{"file": "../../etc/cron.d/x", "data": "eA=="}\\\\n')
"""
    async with sandboxed.session() as session:
        (file,) = (await session.run(code.replace("\\\\n", "\\n"), ())).output_files
        assert (file.name, file.data) == ("../../etc/cron.d/x", b"x")


class Flooding:
    """A kernel that wrote all of this between two runs, when nobody read."""

    def __init__(self, frames: bytes) -> None:
        self.stdin = self
        self.frames, self.output = asyncio.StreamReader(len(frames)), asyncio.StreamReader()
        self.frames.feed_data(frames)
        self.returncode: int | None = None
        self.overran = ""

    def write(self, request: bytes) -> None:
        """It listens to nothing."""

    async def drain(self) -> None:
        """Nor does it keep anybody waiting."""

    def is_closing(self) -> bool:
        return False

    async def kill(self) -> None:
        self.returncode = -9


async def test_a_flood_of_small_frames_holds_nobody_up() -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    session = KernelSession(
        cast(RunningProgram, Flooding(b'{"left": "x", "why": "many"}\n' * 100_000))
    )
    beating = asyncio.create_task(beat())
    ran = await session.run("1", ())
    beating.cancel()
    assert (ran.fault, ran.is_state_lost) == ("died", True)
    assert beats > MAX_LEFT_OUT_FILES
    assert ran.left_out[-1] == f"{MAX_LEFT_OUT_FILES - 10} more files were not taken"


@pytest.mark.slow
async def test_a_forged_mark_hides_nothing_of_the_next_run() -> None:
    async with sandboxed.session() as session:
        ran = await session.run("print('\\0forged\\0'); print('after')", ())
        assert ran.printed == "\0forged\0\nafter\n"
        assert (await session.run("print('next')", ())).printed == "next\n"


MARK = b"\0abc\0"
CUTS = st.lists(st.integers(0, 60), max_size=8)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.text("\0abcé", max_size=20), st.binary(max_size=20), CUTS)
def test_all_before_the_mark_and_the_rest_for_the_next(
    text: str, rest: bytes, cuts: list[int]
) -> None:
    data = text.encode()
    if MARK in data + MARK[:-1]:
        return
    printed_output, is_ended, after = PrintedOutput(MARK), False, b""
    for piece in pieces(data + MARK + rest, cuts):
        if is_ended:
            after += piece
        else:
            is_ended = printed_output.feed(piece)
    assert (is_ended, printed_output.text, printed_output.discarded_bytes) == (True, text, 0)
    assert printed_output.rest + after == rest


@given(st.binary(max_size=40), CUTS)
def test_what_came_before_an_early_end_is_there(data: bytes, cuts: list[int]) -> None:
    printed_output = PrintedOutput(b"\0never\0")
    for piece in pieces(data, cuts):
        assert not printed_output.feed(piece)
    assert printed_output.text == data.decode(errors="replace")


def test_what_is_over_the_cap_is_counted() -> None:
    printed_output = PrintedOutput(MARK, b"before ")
    printed_output.feed(b"x" * (MAX_KEPT_BYTES + 10) + MARK)
    assert (len(printed_output.text), printed_output.discarded_bytes, printed_output.total) == (
        MAX_KEPT_BYTES,
        17,
        MAX_KEPT_BYTES + 17,
    )
