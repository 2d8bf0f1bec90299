"""`ponte doctor --model`: three paid requests tell an operator whether the model works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import typer

from bot.cli.doctor import examine, try_model
from bot.config.ponte_toml import Config
from bot.home import Home, Start
from bot.settings import Settings
from core.base.errors import PonteError
from core.models.served_model import (
    CODE_WORD,
    CONTEXT_QUESTION,
    TEXT_QUESTION,
    TOOL_QUESTION,
    TRIAL_TOOL,
)
from tests.bot.conftest import Shell
from tests.fakes.holder import FakeHolder
from tests.fakes.openai import FakeOpenAI, Script

COUNTS = Script("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20", match=TEXT_QUESTION)
CALLS = Script(calls=((TRIAL_TOOL.name, '{"city":"Lisbon"}'),), match=TOOL_QUESTION)
ANSWERS = Script(f"It is **{CODE_WORD.title()}**.", match=CODE_WORD)


def count_paid(fake: FakeOpenAI) -> int:
    """Return the number of questions. To find out the level, Ponte sends one without an input."""
    return sum(r.method == "POST" and bool(r.body.get("stream")) for r in fake.requests)


async def check(home: Path, fake: FakeOpenAI, *scripts: Script, **given: str) -> list[str]:
    """Return the exit code and the lines after the notice."""
    fake.say(*scripts)
    settings = Settings.model_validate(
        {
            "openai_api_key": "sk-right",
            "openai_base_url": fake.base_url,
            "ponte_home": home,
            **given,
        }
    )
    lines: list[str] = []
    confirmed: list[str] = []
    start = Start(settings, Config(), Home(home))
    code = await try_model(start, lines.append, lambda: confirmed.extend(lines))
    assert confirmed == lines[:1]
    assert "three short requests to gpt-6-luna at 127.0.0.1" in lines[0]
    return [str(code), *lines[1:]]


@pytest.mark.parametrize(
    ("without", "level"),
    [
        ({"containers"}, "conversations stored there and here"),
        ({"conversations"}, "Responses API, history stored only here"),
        ({"conversations", "responses"}, "Chat Completions API, history stored only here"),
    ],
)
async def test_a_model_that_can_answer_turns_passes(
    tmp_path: Path, without: set[str], level: str
) -> None:
    async with FakeOpenAI(without=without) as fake:
        findings = await check(tmp_path / "home", fake, COUNTS, CALLS, ANSWERS)
        assert count_paid(fake) == 3
        assert fake.conversations == {}
        inputs, outputs = (sum(count) for count in zip(*fake.used, strict=True))
    assert findings == [
        "0",
        "ok    model stream: the text arrives in 7 pieces",
        f"ok    model level: gpt-6-luna at 127.0.0.1: {level}",
        "ok    model tool call: the model called the test tool",
        "ok    model tool result: the answer contains the test tool's result",
        f"ok    model usage: the server counted {inputs} input tokens and {outputs} output tokens",
    ]


NO_TOOLS = Script(status=400, message="gemma has no tools.")
REFUSED = "The model's server rejected the request (HTTP 400)."
TOOLLESS = (
    "the model answered without calling the test tool; without tool calls it can't use tables, "
    "quick commands or Python"
)
WRONG_CALL = "the model called a tool that doesn't exist, or used wrong arguments"


@pytest.mark.parametrize(
    ("changed", "paid", "part", "words"),
    [
        ({"call": NO_TOOLS, "answer": NO_TOOLS}, 3, "tool call", REFUSED),
        ({"call": Script("I have no tools.")}, 2, "tool call", TOOLLESS),
        ({"call": Script(calls=((TRIAL_TOOL.name, "Lisbon"),))}, 2, "tool call", WRONG_CALL),
        ({"call": Script(calls=((TRIAL_TOOL.name, "{}"),))}, 2, "tool call", WRONG_CALL),
        ({"call": Script(calls=(("search", '{"city":"Lisbon"}'),))}, 2, "tool call", WRONG_CALL),
        (
            {"answer": Script("I don't know.")}, 3, "tool result",
            "the answer doesn't contain the test tool's result",
        ),
        ({"text": Script(fail="no_terminal")}, 1, "stream", "The model's server isn't resp"),
        ({"text": Script()}, 1, "stream", "The model returned an empty answer."),
    ],
)  # fmt: skip
async def test_what_does_not_work_is_told_as_in_a_turn(
    tmp_path: Path, changed: Mapping[str, Script], paid: int, part: str, words: str
) -> None:
    scripts = {"text": COUNTS, "call": CALLS, "answer": ANSWERS, **changed}
    async with FakeOpenAI(without={"conversations", "responses"}) as fake:
        code, *lines = await check(tmp_path / "home", fake, *scripts.values())
        assert count_paid(fake) == paid
    assert code == "1"
    (failing,) = [line for line in lines if line.startswith("FAIL")]
    assert failing.startswith(f"FAIL  model {part}: {words}")


async def test_what_people_would_notice_is_no_failure(tmp_path: Path) -> None:
    scripts = [
        Script("1 2 3", piece=100, match=TEXT_QUESTION, counted="no"),
        CALLS,
        ANSWERS,
    ]
    async with FakeOpenAI(without={"conversations", "responses"}) as fake:
        findings = await check(tmp_path / "home", fake, *scripts)
    assert findings[0] == "0"
    assert findings[1] == (
        "note  model stream: the text arrives in one piece, so people see an answer only when "
        "it's complete"
    )
    assert findings[-1] == (
        "note  model usage: the server doesn't report token counts, so costs are upper estimates"
    )


async def test_a_wrong_key_pays_for_nothing(tmp_path: Path) -> None:
    async with FakeOpenAI(key="sk-another") as fake:
        findings = await check(tmp_path / "home", fake)
        assert count_paid(fake) == 0
    words = "The model's server rejected the API key. Check the OPENAI_API_KEY setting."
    assert findings == ["1", f"FAIL  model stream: {words}"]


async def test_requests_whose_result_is_lost_are_not_paid_twice(tmp_path: Path) -> None:
    """The running Ponte may have sent them before its answer was lost."""
    note = {"part": "model requests", "state": "note", "words": "Three requests."}
    holder = FakeHolder(results={"names": {}, "doctor": [note]})
    home, lines = Home(tmp_path / "home"), list[str]()
    async with FakeOpenAI() as fake:
        values = {"openai_api_key": "sk-right", "openai_base_url": fake.base_url}
        settings = Settings.model_validate({**values, "ponte_home": home.path, "ponte_code": "off"})
        start = Start(settings, Config(), home)
        async with holder.local(start):
            with pytest.raises(PonteError, match="answered with HTTP 404"):
                await try_model(start, lines.append, lambda: holder.results.pop("doctor"))
            assert [route for route, _ in holder.asked].count("POST /operator/doctor") == 2
            assert (fake.requests, lines) == ([], ["note  model requests: Three requests."])
            await examine(start, lines.append)
    assert "but doesn't respond" in lines[1]
    assert len(lines) > 5, "what this folder's settings lead to"


def test_the_demo_model_has_nothing_to_check(ponte: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONTE_WEB_PORT", "0")
    monkeypatch.setenv("PONTE_CODE", "off")
    ponte("doctor", "--model")
    assert (ponte.code, ponte.err) == (0, "")
    assert ponte.out.splitlines()[-1] == (
        "off   model requests: Nothing to check: the demo model is in use. Set "
        "OPENAI_API_KEY or OPENAI_BASE_URL."
    )
    assert "model requests" not in ponte("doctor").out


@pytest.mark.parametrize(
    ("words", "is_terminal", "is_asked"),
    [((), True, True), (("--yes",), True, False), ((), False, False)],
)
def test_a_person_at_a_terminal_is_asked_first(
    ponte: Shell,
    monkeypatch: pytest.MonkeyPatch,
    words: Sequence[str],
    is_terminal: bool,
    is_asked: bool,
) -> None:
    """There is no key, so that the requests fail before they are sent."""
    for name, value in {
        "PONTE_CODE": "off",
        "PONTE_MODEL_API": "chat",
        "PONTE_WEB_PORT": "0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdin.isatty", lambda: is_terminal, raising=False)
    questions = list[str]()

    def decline(question: str, abort: bool) -> None:
        questions.append(question)
        raise typer.Abort

    monkeypatch.setattr("bot.cli.command_line.typer.confirm", decline)
    ponte("doctor", "--model", *words)
    assert ponte.code == 1
    assert questions == ["Send them?"] * is_asked
    assert "Ponte will send three short requests to gpt-6-luna at api.openai.com" in ponte.out
    assert ("FAIL  model stream: No model is set up." in ponte.out) is not is_asked


@pytest.mark.parametrize("kind", ["Ollama", ""])
async def test_a_fourth_request_tests_the_context(tmp_path: Path, kind: str) -> None:
    """A server may drop the beginning of a text without a word. OpenAI's models need no test."""
    scripts = (COUNTS, CALLS, ANSWERS, Script(f"It is {CODE_WORD}.", match=CONTEXT_QUESTION))
    lines: list[str] = []
    async with FakeOpenAI(without={"conversations", "responses"}, models=["mine"]) as fake:
        fake.kind, fake.context = kind, 4_096 if kind else 900_000
        fake.say(*scripts)
        settings = Settings.model_validate(
            {
                "openai_base_url": fake.base_url,
                "ponte_home": tmp_path / "home",
                "ponte_model": "mine",
                "ponte_model_context": 16_384 if kind else None,
            }
        )
        start = Start(settings, Config(), Home(tmp_path / "home"))
        code = await try_model(start, lines.append, lambda: None)
        assert count_paid(fake) == 4
    assert "A fourth request of up to 7,000 tokens" in lines[0]
    (context,) = [line for line in lines if "model context" in line]
    if kind:
        assert (code, context[:21]) == (1, "FAIL  model context: ")
        assert "set PONTE_MODEL_CONTEXT" in context
    else:
        assert (code, context) == (
            0,
            "ok    model context: the model can read a text of about 6,750 tokens in full",
        )
