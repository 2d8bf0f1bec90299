"""Python in the sandbox, as a person on the page or with the HTTP API sees it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from core.base.errors import PonteError
from core.tools.code.local import LOCAL_DESCRIPTION
from tests.code import sandboxed
from tests.dialogues.plotting import PLOT, PNG, SALES, calls, sandboxed_ponte
from tests.dialogues.whole import whole
from tests.fakes.openai import FakeOpenAI

pytestmark = pytest.mark.slow


def last_input(fake: FakeOpenAI) -> str:
    """What the model was told at last."""
    return str(fake.request_bodies("/responses")[-1]["input"])


async def test_a_table_goes_in_and_a_plot_comes_out(tmp_path: Path, fake: FakeOpenAI) -> None:
    """Variables and files live on between questions."""
    async with sandboxed_ponte(tmp_path / "home", fake) as ponte:
        fake.say(calls(PLOT), "Sales went up.")
        answer = await ponte.ask("Plot sales by month from this CSV", sales_csv=SALES)
        assert answer["response"] == "Sales went up."
        plot, code = answer["files"]
        assert (plot["type"], code["type"]) == ("image/png", "text/x-python")
        png = await ponte.file(plot)
        assert (png.startswith(PNG), int.from_bytes(png[16:20]) > 400) == (True, True), "its width"
        assert (await ponte.file(code)).decode() == PLOT
        assert f"[The person has: {plot['name']}]" in last_input(fake)
        (tool,) = [
            t for t in fake.request_bodies("/responses")[-1]["tools"] if t["name"] == "run_python"
        ]
        assert (tool["description"], tool["strict"]) == (LOCAL_DESCRIPTION, False)
        fake.say(calls("sales = pd.read_csv('sales.csv')\nint(sales.total.sum())"), "73 in all.")
        assert (await ponte.ask("How much in all?"))["response"] == "73 in all."
        assert "'output': '73'" in last_input(fake)


async def test_a_code_block_alone_just_runs(
    tmp_path: Path, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shares its state with the model's runs, and with no other conversation. The bot is not to
    be seen. A stop ends the run and keeps the state; `forget` ends the kernel."""
    monkeypatch.setenv("SECRET_OF_THE_TEST", "sesame")
    async with sandboxed_ponte(tmp_path / "home", fake) as ponte:

        async def run(code: str, **more: Any) -> str:
            answer = await ponte.ask(f"```python\n{code}\n```", **more)
            assert answer["status"] == "done"
            return str(answer["response"])

        assert await run("x = 6\nprint('é <b> `')\nx * 7") == "```\né <b> `\n```\n\n```\n42\n```"
        assert "ZeroDivisionError: division by zero" in await run("x / 0")
        answer = await ponte.ask(f"```python\n{PLOT}```", sales_csv=SALES)
        assert [file["type"] for file in answer["files"]] == ["image/png"]
        assert fake.request_bodies("/responses") == []

        fake.say(calls("x * 100"), "600.")
        assert (await ponte.ask("A hundred times?"))["response"].startswith("600.\n")
        assert "'output': '600'" in last_input(fake)

        code = "(dict(os.environ), pathlib.Path('/proc/1/environ').read_bytes())"
        event = await run(f"import os, pathlib; {code}")
        assert ("sesame" in event, "sk-test" in event) == (False, False)
        settings = str(Path(os.getcwd()) / "bot/settings.py")
        assert "Error: [Errno" in await run(f"open({settings!r}).read()")

        began = sandboxed.output(monkeypatch)
        endless = "print('on', flush=True)\nwhile True: pass"
        running = asyncio.create_task(ponte.ask(f"```python\n{endless}\n```"))
        await began.wait()
        assert (await ponte.ask("stop"))["response"] == "Stopped."
        assert (await running)["status"] == "stopped"
        assert await run("x") == "```\n6\n```"

        assert len(sandboxed.kernels()) == 1
        await ponte.ask("forget")
        assert sandboxed.kernels() == set()
        result = await run("x")
        assert ("NameError" in result, "Python was restarted" in result) == (True, False)

        await run("open('secret', 'w').write('a')", conversation="a")
        assert await run("import os; os.listdir()", conversation="b") == "```\n[]\n```"


async def test_after_a_restart_the_loss_is_told_and_the_files_are_back(
    tmp_path: Path, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that the restart cut off is not run again by itself. The operator may replace what the
    model is told of Python."""
    code = "print('on', flush=True)\nimport time; time.sleep(600)"
    request = {"message": f"```python\n{code}\n```", "conversation": "c2", "event_key": "once"}
    async with sandboxed_ponte(tmp_path / "home", fake, ponte_grace=0) as ponte:
        fake.say(calls("sales = open('sales.csv').read()"), "Read.")
        await ponte.ask("Read this", sales_csv=SALES)
        began = sandboxed.output(monkeypatch)
        running = asyncio.create_task(ponte.web.post("/chat", json=request))
        await began.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert sandboxed.kernels() == set()
    own = {"ponte_code_description": "Runs Python for the finance team."}
    async with sandboxed_ponte(tmp_path / "home", fake, **own) as ponte:
        again = (await ponte.web.post("/chat", json=request)).json()
        assert again["status"] == "failed"
        text = "I was interrupted while this code ran, so its effects are unknown"
        assert text in again["response"]
        fake.say(calls("print(open('sales.csv').readline())\nsales"), "It is gone.")
        answer = await ponte.ask("What was it?")
        assert answer["response"].startswith(
            "It is gone.\n\n_Python was restarted because Ponte was restarted."
        )
        assert "month,total" in last_input(fake)
        assert "NameError: name" in last_input(fake)
        assert answer["files"] == []
        assert "finance team" in str(fake.request_bodies("/responses")[-1]["tools"])


async def test_switched_off_it_is_not_offered_and_says_so(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with whole(tmp_path / "home", fake, ponte_code="off") as ponte:
        assert "**code**: off – PONTE_CODE is off" in (await ponte.ask("status"))["response"]
        answer = await ponte.ask("```python\n1\n```")
        assert answer["status"] == "failed"
        assert "I can't run code" in answer["response"]
        await ponte.ask("hello")
        assert "run_python" not in str(fake.request_bodies("/responses")[-1].get("tools"))


async def test_where_no_sandbox_holds_nothing_runs(
    tmp_path: Path, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "core.tools.code.sandbox.barriers._find_obstacle", lambda: PonteError("this is no Linux")
    )
    home = await sandboxed.home(tmp_path / "home")
    async with whole(home, fake, ponte_code="local") as ponte:
        status = (await ponte.ask("status"))["response"]
        assert "**code**: FAILING – local: this is no Linux" in status
        assert "I can't run code" in (await ponte.ask("```python\n1\n```"))["response"]
        await ponte.ask("hello")
        assert "run_python" not in str(fake.request_bodies("/responses")[-1].get("tools"))
