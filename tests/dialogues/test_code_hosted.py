"""Python at OpenAI, as people see it: a table in, a plot out, and what they are told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from core.domain.records import Turn
from core.journal.journal import Journal
from tests.dialogues.test_code_slack import files_in, slack_settings
from tests.dialogues.whole import whole
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.script import Run
from tests.fakes.slack import FakeSlack

SALES = b"month,total\n1,20\n2,22\n"
PNG = b"\x89PNG\r\n\x1a\n a plot"
TOTAL = (
    "rows = open('sales.csv').read().split()[1:]\nprint(sum(int(r.split(',')[1]) for r in rows))"
)


def calls(code: str, **more: object) -> Script:
    return Script(calls=(("run_python", json.dumps({"code": code})),), **more)  # type: ignore[arg-type]  # a script's own fields


def plot_script() -> Script:
    return Script(text="done", runs=(Run(logs="", files=(("sales.png", PNG),)),))


def last_input(fake: FakeOpenAI) -> str:
    """What the model was told at last."""
    return str(fake.request_bodies("/responses")[-1]["input"])


async def test_a_table_goes_in_and_a_plot_comes_out(tmp_path: Path, fake: FakeOpenAI) -> None:
    """Lost variables are told, and files put back."""
    async with whole(tmp_path, fake) as ponte:
        fake.say(calls("plot('sales.csv')"), "Here is the plot.", calls(TOTAL), "42 in all.")
        fake.runs(plot_script())
        answer = await ponte.ask("Plot sales by month.", sales_csv=SALES)
        assert answer["response"] == "Here is the plot."
        plot, code = answer["files"]
        assert (plot["name"], plot["type"]) == ("sales.png", "image/png")
        assert await ponte.file(plot) == PNG
        assert await ponte.file(code) == b"plot('sales.csv')\n"
        (container,) = fake.containers.all.values()
        assert container.bytes_of["/mnt/data/sales.csv"] == SALES
        fake.later += 25 * 60
        answer = await ponte.ask("How much?")
        assert answer["response"] == (
            "42 in all.\n\n_Python was restarted because it was idle for 20 minutes. Earlier "
            "variables are lost. The files of this conversation were restored._"
        )
        assert "Earlier variables are lost" in last_input(fake)
        assert fake.containers.created == 2


async def test_variables_live_on_until_they_are_forgotten(tmp_path: Path, fake: FakeOpenAI) -> None:
    """Also in the next process. `forget` deletes the container, also one of an earlier process, and
    what was asked."""
    fake.say(calls("x = 20"), "Noted.", calls("print(x + 1)"), "21.", calls("print(x + 2)"), "22.")
    async with whole(tmp_path, fake) as ponte:
        await ponte.ask("x is 20")
        assert (await ponte.ask("and one more?"))["response"] == "21."
        assert "21" in last_input(fake)
    async with whole(tmp_path, fake) as ponte:
        assert (await ponte.ask("and two more?"))["response"] == "22."
        assert "'output': '22'" in last_input(fake)
        assert fake.containers.created == 1
    async with whole(tmp_path, fake) as ponte:
        await ponte.ask("forget")
        await fake.wait_until(lambda: not fake.responses and not fake.containers.all)
        fake.say(calls("x = 20"), "Noted.")
        await ponte.ask("x is 20")
        await ponte.ask("forget")
        await fake.wait_until(lambda: not fake.responses and not fake.containers.all)


async def test_where_nothing_is_to_be_stored_nothing_is(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with whole(tmp_path, fake, ponte_model_api="responses") as ponte:
        fake.say(calls("print(1)"), "One.")
        assert (await ponte.ask("one?"))["response"] == "One."
        assert fake.responses == {}


async def test_python_at_a_server_of_its_own(tmp_path: Path, fake: FakeOpenAI) -> None:
    """Neither server gets the other's key."""
    fake.key = "sk-test"
    async with FakeOpenAI() as containers:
        containers.key = "sk-code"
        own = {"ponte_code_base_url": containers.base_url, "ponte_code_api_key": "sk-code"}
        async with whole(tmp_path, fake, ponte_code_model="gpt-6-sol", **own) as ponte:
            fake.say(calls("x = 20"), "Noted.")
            assert (await ponte.ask("x is 20"))["response"] == "Noted."
            assert containers.containers.created == 1
            assert fake.containers.created == 0
            assert containers.responses == {}, "the model's server could not erase it"
        async with whole(tmp_path, fake, ponte_code_model="gpt-6-sol", **own) as ponte:
            await ponte.ask("forget")
            await containers.wait_until(lambda: not containers.containers.all)


async def test_a_code_block_alone_just_runs(tmp_path: Path, fake: FakeOpenAI) -> None:
    """By the chosen model, which `status` names. A refusal tells the reason."""
    async with whole(tmp_path, fake, ponte_code_model="gpt-6-sol") as ponte:
        assert "hosted: gpt-6-sol at 127.0.0.1" in (await ponte.ask("status"))["response"]
        answer = await ponte.ask("```python\nprint(6 * 7)\n```")
        assert answer["response"] == "```\n42\n```"
        assert fake.request_bodies("/responses")[-1]["model"] == "gpt-6-sol"
        answer = await ponte.ask("```python\n1 / 0\n```")
        assert "ZeroDivisionError: division by zero" in answer["response"]
        assert "2 messages" in (await ponte.ask("usage"))["response"]
        fake.runs(Script(runs=(Run(code="print(43)", logs="43\n"),)))
        answer = await ponte.ask("```python\nprint(42)\n```")
        assert "The code that ran differs from the code that was requested" in answer["response"]
        assert await ponte.file(answer["files"][0]) == b"print(43)\n"
        for script, words in (
            (Script(refusal="No."), "The model declined to run this code."),
            (Script(status=400, param="tools[0].type", message="x"), "PONTE_CODE_MODEL"),
            (Script(status=429, code="insufficient_quota", times=0), "no credit left"),
        ):
            fake.runs(script)
            answer = await ponte.ask("```python\nprint(1)\n```")
            assert (answer["status"], words in answer["response"]) == ("failed", True), words


async def test_stop_ends_the_run_there_too(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with whole(tmp_path, fake) as ponte:
        fake.say(calls("x = 1"), "Noted.", calls("while True: pass"))
        await ponte.ask("x is 1")
        fake.runs(Script(runs=(Run(logs=""),), fail="hang"))
        running = asyncio.create_task(ponte.ask("now for ever"))
        await fake.wait_for_failures()
        await ponte.ask("stop")
        assert (await running)["status"] == "stopped"
        await fake.wait_until(lambda: not fake.containers.all)
        fake.say(calls("print(1)"), "One.")
        assert "the last run was stopped" in (await ponte.ask("and now?"))["response"]


@pytest.fixture
def run_handles(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[str]:
    """The ids of runs, each as soon as it is journalled."""
    handles, journalled = asyncio.Queue[str](), Journal.record_call_handle

    async def call_known(self: Journal, turn: Turn, call_id: str, handle: str) -> None:
        await journalled(self, turn, call_id, handle)
        handles.put_nowait(handle)

    monkeypatch.setattr(Journal, "record_call_handle", call_known)
    return handles


@pytest.mark.slow
async def test_a_run_that_outlives_the_process_is_taken_up(
    tmp_path: Path, fake: FakeOpenAI, run_handles: asyncio.Queue[str]
) -> None:
    """SIGTERM in mid-run: the next process tells what came of it, and nothing ran twice."""
    fake.say(calls("n = 0\nprint('began')"), "Zero.", calls("n += 1\nprint(n)"), "One.")
    async with whole(tmp_path, fake, ponte_grace=0) as ponte:
        await ponte.ask("n is 0")
        fake.runs(Script(runs=(Run(),), fail="hang", match="n += 1"))
        request = {"message": "one more", "conversation": "c1", "event_key": "again"}
        running = asyncio.create_task(ponte.web.post("/chat", json=request))
        await fake.wait_for_failures()
        await run_handles.get()
        assert await run_handles.get() == list(fake.responses)[-1]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    async with whole(tmp_path, fake) as ponte:
        answer = (await ponte.web.post("/chat", json=request)).json()
        assert (answer["status"], answer["response"]) == ("done", "One.")
        assert "'output': '1'" in last_input(fake)
    assert len([a for a in fake.request_bodies("/responses") if a.get("tool_choice")]) == 2


async def test_in_slack_a_plot_comes_into_the_thread(tmp_path: Path, fake: FakeOpenAI) -> None:
    async with FakeSlack() as slack:
        alice = slack.person("Alice")
        general = slack.channel("general", alice)
        async with whole(tmp_path, fake, **slack_settings(slack)):
            await slack.deliveries.wait_until_connected()
            fake.say(calls("plot('sales.csv')"), "Here is the plot.")
            fake.runs(plot_script())
            csv = ("sales.csv", "text/csv", SALES)
            message = slack.say(alice, general, f"{slack.bot} plot this", files=[csv])
            await slack.wait_until(lambda: files_in(slack, general.id, message.ts))
            (plot, *_) = files_in(slack, general.id, message.ts)
            assert plot == ("sales.png", PNG)
            (container,) = fake.containers.all.values()
            assert container.bytes_of["/mnt/data/sales.csv"] == SALES
            fake.later += 25 * 60
            fake.say(calls("print(1)"), "One.")
            again = slack.say(alice, general, f"{slack.bot} and 1?", thread=message)
            post = await slack.wait_for_answer(again)
            assert "Python was restarted because it was idle for 20 minutes" in post.visible_text
