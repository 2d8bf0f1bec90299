"""One kernel, asked run by run: what a person's code shows, and what it cannot break."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from core.tools.code.port import InputFile, RunResult
from core.tools.code.sandbox.process import Sandbox
from core.tools.code.sandbox.sandbox import SandboxLimits
from core.tools.code.session import RUN_SECONDS, KernelSession
from tests.code import sandboxed
from tests.code.test_kernels import STUBBORN
from tests.time_limits import Limits


@pytest.fixture(params=["bubblewrap", "landlock"])
async def session(request: pytest.FixtureRequest) -> AsyncIterator[KernelSession]:
    async with sandboxed.session(request.param) as session:
        yield session


one_sandbox = pytest.mark.parametrize("session", [""], indirect=True)
"""For what the kernel and Ponte do alone: in the sandbox that this machine gets."""


def input_file(name: str, data: bytes, id: str = "") -> InputFile:
    async def read() -> bytes:
        return data

    return InputFile(id or name, name, "text/plain", len(data), read)


async def run(session: KernelSession, code: str, *files: InputFile) -> RunResult:
    return await session.run(code, files)


async def run_out_of_time(
    session: KernelSession, monkeypatch: pytest.MonkeyPatch, code: str
) -> RunResult:
    """Run code until it has printed something; then its time is over."""
    began = sandboxed.output(monkeypatch)
    running = asyncio.create_task(run(session, code))
    await began.wait()
    sandboxed.skip_seconds(RUN_SECONDS)
    return await running


@pytest.mark.slow
async def test_the_last_expression_is_shown_and_variables_stay(session: KernelSession) -> None:
    assert await run(session, "x = 20\nprint('hi')\nx + 1") == RunResult("hi\n", "21")
    assert await run(session, "x += 1; x") == RunResult(value="21")
    assert await run(session, "None") == RunResult()
    assert await run(session, "display('a', [x])") == RunResult("a\n[21]\n")
    assert (await run(session, "'é\\ud800' + '🦜'")).value == "'é\\ud800🦜'"


@pytest.mark.slow
async def test_the_clock_is_in_the_zone_of_each_asker(session: KernelSession) -> None:
    code = (
        "from datetime import datetime as d; n = d.now().astimezone(); n.utcoffset().seconds / 900"
    )
    for zone, quarters in (
        ("Asia/Kathmandu", 23.0),
        ("Asia/Tokyo", 36.0),
        ("Etc/GMT-14", 56.0),
        ("UTC", 0.0),
        ("Mars/Base", 0.0),
    ):
        session.zone = zone
        assert (await run(session, code)).value == str(quarters), zone
    session.zone = "America/New_York"
    summer = "import time; time.localtime(1_800_000_000).tm_isdst, time.localtime(0).tm_hour"
    assert (await run(session, summer)).value == "(0, 19)"
    await run(session, "import os; del os.environ; time.tzset = None")
    assert await run(session, "1") == RunResult(value="1")


@pytest.mark.slow
async def test_stdout_and_stderr_keep_their_order(session: KernelSession) -> None:
    code = "import sys\nprint(1)\nprint(2, file=sys.stderr)\nprint(3)"
    assert (await run(session, code)).printed == "1\n2\n3\n"


@pytest.mark.slow
async def test_errors_show_the_persons_lines_alone(session: KernelSession) -> None:
    await run(session, "def half(x):\n    return x / 0")
    ran = await run(session, "half(1)")
    views = [line for line in ran.error.splitlines() if line.strip(" ~^")]
    assert views == [
        "Traceback (most recent call last):",
        '  File "<run 2>", line 1, in <module>',
        "    half(1)",
        '  File "<run 1>", line 2, in half',
        "    return x / 0",
        "ZeroDivisionError: division by zero",
    ]
    deep = await run(session, "import json\njson.loads('{')")
    assert "json/decoder.py" not in deep.error
    assert "JSONDecodeError" in deep.error
    assert "SyntaxError" in (await run(session, "f(")).error
    assert (await run(session, "x")).error.endswith("NameError: name 'x' is not defined")


ENDS = {
    "raise SystemExit": "",
    "import sys; sys.exit(3)": "SystemExit: 3",
    "input()": "EOFError",
    "class E(Exception):\n    def __str__(self): 1/0\nraise E": "<exception str() failed>",
    "import subprocess; subprocess.run(['ls'])": "PermissionError",
    "[0] * 10**9": "MemoryError",
}


@pytest.mark.slow
async def test_code_that_ends_otherwise(session: KernelSession) -> None:
    wrong = {}
    for code, error in ENDS.items():
        ran, after = await run(session, code), await run(session, "1")
        matches = (error in ran.error, bool(ran.error), ran.fault, after.value)
        if matches != (True, bool(error), "", "1"):
            wrong[code] = (ran, after)
    assert wrong == {}


POISON = [
    "import builtins\nbuiltins.len = builtins.print = builtins.str = None",
    "import json, base64, traceback\njson.dumps = base64.b64encode = traceback.format_exc = None",
    "import os\nos.write = os.read = os.path.join = None",
    "import sys\nsys.stdout = sys.stderr = None",
    "import sys\nsys.stdout.close()",
    "import os\nos.close(0); os.close(1); os.close(2)",
    "import sys\nsys.settrace(lambda *a: 1/0)\nsys.setprofile(lambda *a: None)",
    "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)",
    "import sys\nsys.modules.clear()",
    "import linecache, ast\nlinecache.cache = None\nast.parse = None",
    "globals().clear()",
    "import gc\ngc.disable()\nimport sys\nsys.setrecursionlimit(50)",
]


@pytest.mark.slow
@one_sandbox
@pytest.mark.parametrize("code", POISON)
async def test_what_breaks_the_interpreter_does_not_reach_the_next_run(
    session: KernelSession, code: str
) -> None:
    """It goes on, or it ended and says that its state is lost; never anything in between."""
    ran = await run(session, code)
    if not ran.is_state_lost:
        after = await run(session, "print(len([1]))\n1 + 1")
        assert (after.value, after.error) == ("2", "")
        assert after.printed in ("1\n", "")
    assert session.alive != ran.is_state_lost


@pytest.mark.slow
async def test_a_trace_function_of_one_run_does_not_see_the_next(session: KernelSession) -> None:
    """One that does no harm: the next run would not fail with it."""
    await run(session, "import sys\nseen = []\nsys.settrace(lambda *a: seen.append(a[1]))")
    await run(session, "def one():\n    return 1\none()")
    assert (await run(session, "seen.count('call') < 2, sys.gettrace()")).value == "(True, None)"


@pytest.mark.slow
async def test_the_end_of_the_process_is_told_with_its_last_words(session: KernelSession) -> None:
    ran = await run(session, "import os\nprint('so far', flush=True)\nos._exit(3)")
    assert (ran.printed, ran.fault, ran.is_state_lost) == ("so far\n", "died", True)
    assert not session.alive


@pytest.mark.slow
async def test_files_go_in_once_and_what_changed_comes_out(session: KernelSession) -> None:
    csv = input_file("sales.csv", b"a,b\n1,2\n")
    ran = await run(session, "open('sales.csv').read()", csv)
    assert (ran.value, ran.output_files) == ("'a,b\\n1,2\\n'", ())
    ran = await run(
        session, "open('sales.csv', 'a').write('3,4\\n'); open('b.txt', 'w').write('b')", csv
    )
    assert {file.name: file.data for file in ran.output_files} == {
        "sales.csv": b"a,b\n1,2\n3,4\n",
        "b.txt": b"b",
    }
    back = [input_file("sales.csv", b"a,b\n1,2\n3,4\n", "made"), csv]
    assert (await run(session, "1", *back)).output_files == ()
    assert (await run(session, "open('sales.csv').read()[-4:]", *back)).value == "'3,4\\n'"


@pytest.mark.slow
async def test_only_regular_files_come_out(session: KernelSession) -> None:
    code = """
import os
os.symlink('/etc/passwd', 'link')
try: os.mkfifo('fifo')
except PermissionError: pass
os.makedirs('sub/deep'); open('sub/deep/x.csv', 'w').write('x'); open('.hidden', 'w').write('x')
open('a\\nb\\x1b[31m.txt', 'w').write('x'); open(b'\\xff.txt', 'w').write('x')
"""
    ran = await run(session, code)
    assert sorted(file.name for file in ran.output_files) == [
        "?.txt",
        "a\nb\x1b[31m.txt",
        "sub_deep_x.csv",
    ]


@pytest.mark.slow
@one_sandbox
async def test_too_much_of_files_is_left_and_told(session: KernelSession) -> None:
    ran = await run(session, "for n in range(25): open(f'{n}.txt', 'w').write('x')")
    assert len(ran.output_files) == 20
    assert len(ran.left_out) == 5
    ran = await run(session, "open('large.bin', 'wb').write(bytes(9 << 20)); 1")
    assert (ran.output_files, ran.left_out) == (
        (),
        ("'large.bin' was not taken: a file may have 8 MiB",),
    )
    ran = await run(session, "for n in range(5): open(f'{n}.bin', 'wb').write(bytes(7 << 20))")
    assert len(ran.output_files) == 4
    assert ran.left_out == ("'4.bin' was not taken: the files of one run may have 32 MiB",)
    big = input_file("big.csv", b"", "big")
    ran = await run(session, "1", InputFile("big", "big.csv", "", 1 << 30, big.read))
    assert ran.left_out == ("'big.csv' is too large to be put into the work folder",)


def test_a_work_folder_of_too_many_files_is_looked_through_in_part(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / name).write_text(name)
    # In a process of its own: the kernel removes standard modules from `sys.modules`.
    code = (
        "import sys\nfrom core.tools.code.kernel import kernel\nkernel.MAX_FILES_SEEN = 3\n"
        "print(*(name for name, _ in kernel.WorkFolder(sys.argv[1]).list_changed()))"
    )
    output = subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True)
    assert output.split() == ["a", "b", "c"]


@pytest.mark.slow
async def test_figures_come_out_without_being_asked_for(session: KernelSession) -> None:
    ran = await run(session, "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.title('a')")
    assert [(file.name, file.type) for file in ran.output_files] == [
        ("figure-1-1.png", "image/png")
    ]
    ran = await run(session, "plt.plot([1]); plt.show(); plt.bar([1], [2]); plt.show()")
    assert [file.name for file in ran.output_files] == ["figure-2-1.png", "figure-2-2.png"]
    assert (ran.printed, ran.error) == ("", "")
    ran = await run(session, "plt.plot([1]); plt.savefig('mine.png')")
    assert [file.name for file in ran.output_files] == ["mine.png"]
    assert (await run(session, "len(plt.get_fignums())")).value == "0"
    result = await run(session, "plt.plot([1])\nplt.title('$\\\\frac{$')")
    assert "ParseFatalException" in result.error or "ValueError" in result.error
    assert await run(session, "1") == RunResult(value="1")
    # One that cannot be drawn spoils no other.
    code = "plt.figure(figsize=(1e4, 1e4)); plt.plot([1]); plt.figure(); plt.plot([2])"
    ran = await run(session, code)
    assert [file.name for file in ran.output_files] == ["figure-7-1.png"]
    assert "Error" in ran.error
    assert await run(session, "1") == RunResult(value="1")


@pytest.mark.slow
async def test_a_file_that_does_not_fit_is_told_and_nothing_is_lost(session: KernelSession) -> None:
    await run(session, "import os, resource; os.mkdir('a.csv'); os.symlink('/', 'b.csv'); x = 1")
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    files = [input_file("a.csv", b"a"), input_file("b.csv", b"b")]
    ran = await run(session, f"{limit}; x", *files)
    assert (ran.value, ran.left_out) == (
        "1",
        tuple(f"{each.name!r} could not be put into the work folder" for each in files),
    )
    ran = await run(session, "os.path.exists('c.csv'), x", input_file("c.csv", bytes(2000)))
    assert ran.value == "(False, 1)"
    assert ran.left_out == ("'c.csv' could not be put into the work folder",)


@pytest.mark.slow
@one_sandbox
async def test_a_flood_is_ended_and_a_lot_is_cut(session: KernelSession, limits: Limits) -> None:
    # Endless output is read until this limit ends it.
    limits(LAST_OUTPUT_SECONDS=0.05)
    ran = await run(session, "print('x' * 2_000_000)")
    assert (len(ran.printed), ran.left_out) == (
        1 << 20,
        ("951,425 bytes of what it printed were not kept",),
    )
    ran = await run(session, "while True: print('x' * 10_000)")
    assert (ran.fault, ran.is_state_lost, len(ran.printed)) == ("flooded", True, 1 << 20)


@pytest.mark.slow
async def test_late_code_is_interrupted_and_keeps_its_state(
    session: KernelSession, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(INTERRUPT_GRACE_SECONDS=600.0)
    for code in ("while True: pass", "import time\ntime.sleep(600)"):
        ran = await run_out_of_time(session, monkeypatch, f"x = 1\nprint('on', flush=True)\n{code}")
        assert (ran.fault, ran.is_state_lost) == ("timeout", False)
        assert "KeyboardInterrupt" in ran.error
    assert (await run(session, "x")).value == "1"


@pytest.mark.slow
async def test_code_that_does_not_listen_is_killed(
    session: KernelSession, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(INTERRUPT_GRACE_SECONDS=0.2)
    ran = await run_out_of_time(session, monkeypatch, STUBBORN)
    assert (ran.fault, ran.is_state_lost, session.alive) == ("timeout", True, False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bubblewrap", "landlock"])
async def test_processor_time_that_is_nearly_used_up_is_no_error(kind: str) -> None:
    """The limit of one run, a minute, is longer than what is left for all."""
    async with sandboxed.one_of(kind) as sandbox:
        limits = SandboxLimits(cpu=59)
        session = await KernelSession.start(sandbox, await sandboxed.python(), limits)
        assert (await run(session, "1 + 1")).value == "2"
        await session.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "alive"),
    [("print('on', flush=True)\nimport time\ntime.sleep(600)", True), (STUBBORN, False)],
)
async def test_a_stop_ends_the_run_at_once(
    session: KernelSession, monkeypatch: pytest.MonkeyPatch, limits: Limits, code: str, alive: bool
) -> None:
    limits(INTERRUPT_GRACE_SECONDS=600.0 if alive else 0.2)
    began = sandboxed.output(monkeypatch)
    await run(session, "x = 5")
    began.clear()
    running = asyncio.create_task(run(session, code))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert session.alive is alive
    if alive:
        assert await run(session, "x") == RunResult(value="5")


FIRST_SIGNAL_IS_LOST = """
import signal, time
kill = signal.pthread_kill
def lose(*arguments):
    signal.pthread_kill = kill
signal.pthread_kill = lose
print("on", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
async def test_a_stop_reaches_code_that_was_just_about_to_wait(
    session: KernelSession, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    """A signal just before `time.sleep` begins does not wake it."""
    limits(INTERRUPT_GRACE_SECONDS=60.0)
    ran = await run_out_of_time(session, monkeypatch, FIRST_SIGNAL_IS_LOST)
    assert (ran.fault, ran.is_state_lost) == ("timeout", False)


@pytest.mark.slow
async def test_a_repeated_interrupt_is_raised_once(
    session: KernelSession, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    """The code may end in its own time, and an interrupt that it raised itself counts for
    nothing."""
    limits(INTERRUPT_GRACE_SECONDS=600.0)
    code = """
import signal, time
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    pass
try:
    print("on", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    time.sleep(0.3)
    saved = True
"""
    ran = await run_out_of_time(session, monkeypatch, code)
    assert (ran.fault, ran.is_state_lost) == ("timeout", False)
    assert (await run(session, "saved")).value == "True"


@pytest.mark.slow
async def test_a_stop_before_the_code_began_counts(session: KernelSession, limits: Limits) -> None:
    limits(INTERRUPT_GRACE_SECONDS=600.0)
    start_event = asyncio.Event()

    async def read() -> bytes:
        start_event.set()
        return b""

    code = "import time\ntime.sleep(600)"
    running = asyncio.create_task(session.run(code, [InputFile("f", "f", "", 0, read)]))
    await start_event.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await run(session, "open('f').read()")).value == "''"


async def test_a_kernel_whose_start_is_cancelled_is_ended() -> None:
    waits, end = asyncio.Event(), list[str]()

    async def hang() -> bytes:
        waits.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def kill() -> None:
        end.append("killed")

    async def start(*given: object) -> object:
        return SimpleNamespace(frames=SimpleNamespace(readline=hang), kill=kill)

    sandbox = cast("Sandbox", SimpleNamespace(start=start))
    starting = asyncio.create_task(KernelSession.start(sandbox, Path("python"), SandboxLimits()))
    await waits.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert end == ["killed"]


def test_who_imports_the_kernels_program_keeps_their_modules() -> None:
    importlib.import_module("core.tools.code.kernel.kernel")
    assert sys.modules["json"] is json
