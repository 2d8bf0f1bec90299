"""`ponte quick-command` in a shell, as processes of their own, and `ponte chat`."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.terminal.chat import chat
from tests.dialogues.stackspot import asks
from tests.fakes import forker
from tests.fakes.choices import open_engine
from tests.fakes.keyboard import Keyboard
from tests.fakes.stackspot import FakeStackSpot, Look, Run
from tests.fakes.stackspot.state import CLIENT, REALM, SECRET
from tests.fakes.stackspot_parts import stackspot_choices
from tests.fakes.web_surfaces import make_terminal
from tests.web.web_ponte import unix_socket

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shell:
    """Each command is a process; `stackspot` outlives them."""

    home: Path
    stackspot: FakeStackSpot

    async def __call__(self, *words: str) -> tuple[int, str, str]:
        """The exit code, stdout and stderr of `ponte WORDS`."""
        process = await self.begin(*words)
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def begin(self, *words: str, stderr: int = asyncio.subprocess.PIPE) -> forker.Process:
        url = self.stackspot.url
        ours = {
            "PONTE_HOME": str(self.home),
            "PONTE_MODEL_API": "demo",
            "PYTHONPATH": str(ROOT),
            "STACKSPOT_CLIENT_ID": CLIENT,
            "STACKSPOT_CLIENT_SECRET": SECRET,
            "STACKSPOT_REALM": REALM,
            "STACKSPOT_AUTH_URL": url,
            "STACKSPOT_API_URL": url,
            "STACKSPOT_AGENT_URL": url,
            "PATH": os.environ["PATH"],
            "PONTE_WEB_PORT": "0",
        }
        return await forker.start(
            "tests.dialogues.quick_polls", *words, cwd=self.home.parent, env=ours, stderr=stderr
        )


@pytest.fixture
def ponte(tmp_path: Path, stackspot: FakeStackSpot) -> Shell:
    (tmp_path / "ponte.toml").write_text('[quick_commands.explain]\ntitle = "Explain"\n')
    return Shell(tmp_path / "home", stackspot)


DONE = Look("COMPLETED", 1.0)


async def test_the_result_alone_is_printed(ponte: Shell) -> None:
    ponte.stackspot.go(
        Run((DONE,)), Run((DONE,), '```json\n{"a": 1}\n```'), Run((DONE,), "line\n" * 3000)
    )
    assert await ponte("quick-command", "explain", "a", "bridge") == (0, "explain: a bridge\n", "")
    _, code, _ = await ponte("quick-command", "explain", "x")
    assert json.loads(code) == {"a": 1}
    _, whole, _ = await ponte("quick-command", "explain", "x")
    assert whole.split() == ["line"] * 3000


async def test_a_file_and_json(ponte: Shell) -> None:
    ponte.stackspot.go(Run((DONE,)))
    (ponte.home.parent / "a.csv").write_text("a;b\n")
    code, out, _ = await ponte("quick-command", "explain", "--file", "a.csv", "--json")
    body = json.loads(out)
    assert (code, body["status"], body["response"]) == (0, "done", "explain: a;b")


async def test_a_failure_is_1_and_goes_to_stderr(ponte: Shell) -> None:
    ponte.stackspot.go(Run((Look("FAILURE"),)))
    code, out, err = await ponte("quick-command", "explain", "x")
    assert (code, out) == (1, "")
    assert err == "StackSpot reports a failure (FAILURE), without a reason.\n"


async def test_how_far_it_is_shows_where_somebody_sits(ponte: Shell) -> None:
    ponte.stackspot.go(Run((Look("RUNNING", 0.42, "Summarise"), DONE)))
    screen, tty = pty.openpty()
    process = await ponte.begin("quick-command", "explain", "a bridge", stderr=tty)
    os.close(tty)
    out, _ = await process.communicate()
    text = os.read(screen, 4096).decode()
    os.close(screen)
    assert (process.returncode, out) == (0, b"explain: a bridge\n")
    assert "is running the quick command… 42 % · Summarise" in text
    assert text.endswith("\r\x1b[K"), "it leaves no trace"


async def test_ctrl_c_stops_the_waiting_and_says_what_goes_on(ponte: Shell) -> None:
    ponte.stackspot.held = True
    process = await ponte.begin("quick-command", "explain", "a bridge")
    await ponte.stackspot.wait_for_requests("status")
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err.decode() == (
        "Stopped waiting for explain. StackSpot started it and may still finish it.\n"
    )
    looks = ponte.stackspot.count("status")
    ponte.stackspot.held = False
    await ponte("threads", "list")
    assert ponte.stackspot.count("status") == looks, "nobody goes on with it"


async def test_a_shell_waits_out_that_the_bot_dies(ponte: Shell) -> None:
    ponte.stackspot.held = True
    first = await ponte.begin("run")
    await ready(first)
    shell = await ponte.begin("quick-command", "explain", "a bridge")
    await ponte.stackspot.wait_for_requests("status")
    first.kill()
    await first.communicate()
    second = await ponte.begin("run")
    await ready(second)
    ponte.stackspot.held = False
    out, err = await shell.communicate()
    assert (shell.returncode, out, err) == (0, b"explain: a bridge\n", b"")
    assert ponte.stackspot.count("create") == 1
    second.terminate()
    await second.communicate()


async def ready(ponte: forker.Process) -> None:
    assert ponte.stdout
    async for line in ponte.stdout:
        if line.startswith(b"Ponte is ready"):
            return
    raise AssertionError("it did not start")


async def test_the_doctor_gets_a_token_and_shows_no_secret(ponte: Shell) -> None:
    _, out, err = await ponte("doctor")
    assert f"ok    stackspot: it returns a token for the realm {REALM}" in out
    assert "quick commands in ponte.toml: 1, agents: 0" in out
    ponte.stackspot.realms.clear()
    code, out, _ = await ponte("doctor")
    assert code == 1
    assert "FAIL  stackspot: StackSpot has no realm" in out
    assert SECRET not in out + err
    ponte.stackspot.refused.clear()  # of the realm that it no longer has


async def test_a_chat_runs_one_asks_first_and_goes_on(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(FakeStackSpot())
        context = await stack.enter_async_context(stackspot_choices(fake.url))
        engine = await open_engine(tmp_path, context)
        terminal = make_terminal(engine, unix_socket(tmp_path / "s"))
        engine.start()
        await terminal.start()
        text = f"quick-command explain a bridge\n{asks('translate-all', 'it')}\n"
        output = io.StringIO()
        await chat(tmp_path / "s", Keyboard(text), output)
        assert "explain: a bridge\n" in output.getvalue()
        assert "# Run Translate everything · ● waiting for approval" in output.getvalue()
        (card,) = await engine.changes.views.find_latest("")
        await chat(tmp_path / "s", Keyboard(f"approve {card.id}\n"), output)
        assert "Done.\n\ntranslate-all: it\n" in output.getvalue()
        await terminal.stop_intake()
        await engine.drain(1)
        await terminal.close()
        await engine.close()
