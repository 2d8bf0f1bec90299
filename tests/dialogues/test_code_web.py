"""Python in the sandbox, as a person on the page or with the HTTP API sees it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.base.errors import PonteError
from core.tools.code.local import LOCAL_DESCRIPTION
from tests.code import sandboxed
from tests.dialogues.plotting import PLOT, PNG, SALES, calls, sandboxed_ponte
from tests.dialogues.whole import Whole, whole
from tests.fakes.openai import FakeOpenAI


@pytest.fixture
async def ponte(tmp_path: Path, fake: FakeOpenAI) -> AsyncIterator[Whole]:
    async with sandboxed_ponte(tmp_path / "home", fake) as ponte:
        yield ponte


def last_input(fake: FakeOpenAI) -> str:
    """What the model was told at last."""
    return str(fake.request_bodies("/responses")[-1]["input"])


async def test_a_table_goes_in_and_a_plot_comes_out(ponte: Whole, fake: FakeOpenAI) -> None:
    fake.say(calls(PLOT), "Sales went up.")
    answer = await ponte.ask("Plot sales by month from this CSV", sales_csv=SALES)
    assert answer["response"] == "Sales went up."
    plot, code = answer["files"]
    assert (plot["type"], code["type"]) == ("image/png", "text/x-python")
    assert (await ponte.file(plot)).startswith(PNG)
    assert (await ponte.file(code)).decode() == PLOT
    assert f"[The person has: {plot['name']}]" in last_input(fake)


async def test_variables_and_files_live_on_between_questions(
    ponte: Whole, fake: FakeOpenAI
) -> None:
    fake.say(calls("import pandas as pd\nsales = pd.read_csv('sales.csv')"), "Read.")
    await ponte.ask("Read this", sales_csv=SALES)
    fake.say(calls("int(sales.total.sum())"), "73 in all.")
    assert (await ponte.ask("How much in all?"))["response"] == "73 in all."
    assert "'output': '73'" in last_input(fake)


async def test_a_code_block_alone_just_runs(ponte: Whole, fake: FakeOpenAI) -> None:
    answer = await ponte.ask("```python\nx = 6\nprint('é <b> `')\nx * 7\n```")
    assert answer["response"] == "```\né <b> `\n```\n\n```\n42\n```"
    answer = await ponte.ask("```python\nx / 0\n```")
    assert "ZeroDivisionError: division by zero" in answer["response"]
    assert answer["status"] == "done"
    assert fake.request_bodies("/responses") == []
    answer = await ponte.ask(f"```python\n{PLOT}```", sales_csv=SALES)
    assert [file["type"] for file in answer["files"]] == ["image/png"]


async def test_a_code_block_and_the_model_share_one_state(ponte: Whole, fake: FakeOpenAI) -> None:
    await ponte.ask("```python\nrate = 0.23\n```")
    fake.say(calls("rate * 100"), "23 %.")
    assert (await ponte.ask("Which rate?"))["response"] == "23 %."
    assert "'output': '23.0'" in last_input(fake)


async def test_after_a_restart_the_loss_is_told_and_the_files_are_back(
    tmp_path: Path, fake: FakeOpenAI
) -> None:
    async with sandboxed_ponte(tmp_path / "home", fake) as ponte:
        fake.say(calls("sales = open('sales.csv').read()"), "Read.")
        await ponte.ask("Read this", sales_csv=SALES)
    async with sandboxed_ponte(tmp_path / "home", fake) as ponte:
        fake.say(calls("print(open('sales.csv').readline())\nsales"), "It is gone.")
        answer = await ponte.ask("What was it?")
        assert answer["response"].startswith(
            "It is gone.\n\n_Python was restarted because Ponte was restarted."
        )
        assert "month,total" in last_input(fake)
        assert "NameError: name" in last_input(fake)
        assert answer["files"] == []


async def test_a_stop_ends_the_run_and_keeps_the_state(
    ponte: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ponte.ask("```python\nx = 5\n```")
    began = sandboxed.output(monkeypatch)
    code = "print('on', flush=True)\nwhile True: pass"
    running = asyncio.create_task(ponte.ask(f"```python\n{code}\n```"))
    await began.wait()
    assert (await ponte.ask("stop"))["response"] == "Stopped."
    assert (await running)["status"] == "stopped"
    assert (await ponte.ask("```python\nx\n```"))["response"] == "```\n5\n```"


async def test_forget_ends_the_kernel(ponte: Whole) -> None:
    await ponte.ask("```python\nx = 5\n```")
    assert len(sandboxed.kernels()) == 1
    await ponte.ask("forget")
    assert sandboxed.kernels() == set()
    answer = await ponte.ask("```python\nx\n```")
    assert "NameError" in answer["response"]
    assert "Python was restarted" not in answer["response"]


async def test_conversations_are_apart(ponte: Whole) -> None:
    await ponte.ask("```python\nopen('secret', 'w').write('a')\n```", conversation="a")
    answer = await ponte.ask("```python\nimport os; os.listdir()\n```", conversation="b")
    assert answer["response"] == "```\n[]\n```"


async def test_the_bot_is_not_to_be_seen(
    ponte: Whole, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_TEST", "sesame")
    code = "import os, pathlib; (dict(os.environ), pathlib.Path('/proc/1/environ').read_bytes())"
    answer = await ponte.ask(f"```python\n{code}\n```")
    assert "sesame" not in answer["response"]
    assert "sk-test" not in answer["response"]
    code = f"open({str(Path(os.getcwd()) / 'bot/settings.py')!r}).read()"
    answer = await ponte.ask(f"```python\n{code}\n```")
    assert "Error: [Errno" in answer["response"]


async def test_the_model_is_told_what_it_can_do(ponte: Whole, fake: FakeOpenAI) -> None:
    await ponte.ask("hello")
    (tool,) = [
        t for t in fake.request_bodies("/responses")[-1]["tools"] if t["name"] == "run_python"
    ]
    assert (tool["description"], tool["strict"]) == (LOCAL_DESCRIPTION, True)


async def test_the_description_can_be_replaced(tmp_path: Path, fake: FakeOpenAI) -> None:
    own = {"ponte_code_description": "Runs Python for the finance team."}
    async with sandboxed_ponte(tmp_path / "home", fake, **own) as ponte:
        await ponte.ask("hello")
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


async def test_a_run_that_a_restart_cut_off_is_not_run_again_by_itself(
    tmp_path: Path, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print('on', flush=True)\nimport time; time.sleep(600)"
    asked = {"message": f"```python\n{code}\n```", "conversation": "c1", "event_key": "once"}
    async with sandboxed_ponte(tmp_path / "home", fake, ponte_grace=0) as ponte:
        began = sandboxed.output(monkeypatch)
        running = asyncio.create_task(ponte.web.post("/chat", json=asked))
        await began.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert sandboxed.kernels() == set()
    async with sandboxed_ponte(tmp_path / "home", fake) as ponte:
        answer = (await ponte.web.post("/chat", json=asked)).json()
        assert answer["status"] == "failed"
        assert (
            "I was interrupted while this code ran, so its effects are unknown"
            in answer["response"]
        )
