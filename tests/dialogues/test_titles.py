"""The model names a conversation of the page after its first answer, once, and the asker pays."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.engine import Engine
from core.base.errors import ModelDown
from core.domain.model_rounds import RoundRequest
from core.money.allowances import Allowance
from core.turn.run import TurnConfig
from core.turn.titles import MAX_TITLE_TOKENS, TITLE_INSTRUCTIONS, TITLE_REQUEST
from tests.dialogues.bot_home import BotHome
from tests.dialogues.whole import Json, Whole, whole
from tests.fakes.choices import make_message
from tests.fakes.config import FixedConfig
from tests.fakes.models import EchoModel
from tests.fakes.openai import FakeOpenAI, Script

SUGGESTED = Script('**"Faturas [vencidas](https://evil.example)"**\n@everyone', match=TITLE_REQUEST)


def title_requests(fake: FakeOpenAI) -> list[Json]:
    bodies = [*fake.request_bodies("/responses"), *fake.request_bodies("/chat/completions")]
    return [body for body in bodies if TITLE_INSTRUCTIONS in str(body)]


async def finish_background_tasks(engine: Engine) -> None:
    await asyncio.gather(*engine.manager.background_tasks._running)


async def titles(ponte: Whole, fake: FakeOpenAI, requests: int) -> list[str]:
    """The titles of the list, once that many were asked for."""
    await fake.wait_until(lambda: len(title_requests(fake)) >= requests)
    await finish_background_tasks(ponte.app.engine)
    value = (await ponte.web.get("/conversations")).json()["conversations"]
    return [one["title"] for one in value]


@pytest.mark.parametrize("level", ["conversations", "responses", "chat"])
async def test_the_first_answer_gives_a_title_once(tmp_path: Path, level: str) -> None:
    async with (
        FakeOpenAI() as fake,
        whole(tmp_path, fake, ponte_titles="on", ponte_model_api=level) as ponte,
    ):
        fake.say(SUGGESTED, "Três.")
        first = await ponte.ask("Quais faturas estão vencidas?")
        assert await titles(ponte, fake, 1) == ["Faturas vencidas"]
        (question,) = title_requests(fake)
        assert "tools" not in question
        most = question.get("max_output_tokens") or question.get("max_tokens")
        assert most == MAX_TITLE_TOKENS
        assert question.get("store", False) is False
        await ponte.ask("E as outras?")
        body = (await ponte.web.get(f"/turns/{first['turn']}/usage")).json()
        assert body["input"] > 0
        assert await titles(ponte, fake, 1) == ["Faturas vencidas"]
        assert len(title_requests(fake)) == 1
        # What the model hears of the conversation later has nothing of the title.
        items = [item for one in fake.conversations.values() for item in one.items]
        newest = str(items if level == "conversations" else fake.requests[-1].body)
        assert TITLE_REQUEST not in newest
        await ponte.web.patch("/conversations/c1", json={"title": "Mine"})
        assert await titles(ponte, fake, 1) == ["Mine"]
        await ponte.web.patch("/conversations/c1", json={"title": ""})
        assert await titles(ponte, fake, 1) == ["Faturas vencidas"]


async def test_where_no_title_is_asked_for_or_kept(tmp_path: Path) -> None:
    """The first words stay: after a failure, where a person wrote a title, for a command, over
    `/v1`, and where titles are off."""
    async with FakeOpenAI() as fake, whole(tmp_path, fake, ponte_titles="on") as ponte:
        no = Script(status=400, code="invalid_prompt", match=TITLE_REQUEST, times=1)
        fake.say(no)
        await ponte.ask("First words of it", conversation="failed")
        assert await titles(ponte, fake, 1) == ["First words of it"]
        await ponte.ask("Second words", conversation="failed")
        await ponte.ask("help", conversation="command")
        fake.say(Script("Ok.", match="Wait", held=True))
        waiting = asyncio.create_task(ponte.ask("Wait for me", conversation="edited"))
        await fake.wait_until(lambda: "Wait for me" in str(fake.requests[-1].body))
        await ponte.web.patch("/conversations/edited", json={"title": "My own"})
        fake.release.set()
        await waiting
        request = {"model": "ponte", "messages": [{"role": "user", "content": "Over v1"}]}
        name = {"X-Ponte-Conversation": "program"}
        async with ponte.program() as program:
            answer = await program.post("/v1/chat/completions", json=request, headers=name)
        assert answer.status_code == 200
        assert len(title_requests(fake)) == 1
        value = (await ponte.web.get("/conversations")).json()["conversations"]
        assert {one["id"]: one["title"] for one in value} == {
            "program": "Over v1",
            "edited": "My own",
            "failed": "First words of it",
        }
    async with FakeOpenAI() as fake, whole(tmp_path / "off", fake) as ponte:
        await ponte.ask("Off")
        assert title_requests(fake) == []


async def test_a_title_is_paid_from_the_asker_s_allowances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens are counted with the turn, and without any left the first words stay."""
    allowances: list[Allowance] = []
    async with FakeOpenAI() as fake, whole(tmp_path, fake, ponte_titles="on") as ponte:
        budget = ponte.app.engine.people.budget
        monkeypatch.setattr(budget, "config", FixedConfig(turn_allowances=allowances))
        allowances.append(Allowance("each person", "day", tokens=200_000))
        usage = {"input": 300, "output": 10}
        fake.say(Script("A title", match=TITLE_REQUEST, usage=usage))
        fake.say(Script("Hi.", match="hello", usage={"input": 1000, "output": 100}))
        first = await ponte.ask("hello")
        assert await titles(ponte, fake, 1) == ["A title"]
        body = (await ponte.web.get(f"/turns/{first['turn']}/usage")).json()
        assert (body["input"], body["output"]) == (1300, 110)
        row = await ponte.app.engine.stores.database.read(
            lambda c: c.execute("SELECT sum(tokens) AS tokens FROM counters").fetchone()
        )
        assert row["tokens"] == 1410, "as spent, with nothing held"
        fake.say(Script("Hi.", match="again", usage={"input": 198_000, "output": 100}))
        await ponte.ask("hello again", conversation="c2")
        assert (await titles(ponte, fake, 1))[0] == "hello again"


class RefusesTitles(EchoModel):
    """A model server that rejects each request for a title unprocessed."""

    level = "chat"

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    async def ask(self, ask: RoundRequest) -> Any:
        assert ask.payment
        await ask.payment(1000)
        if ask.for_title:
            self.refused += 1
            ask.payment.on_refused_request()
            raise ModelDown
        async for event in super().ask(ask):
            yield event


async def test_a_title_that_the_server_refused_costs_nothing(bot_home: BotHome) -> None:
    model, allowed = RefusesTitles(), [Allowance("each person", tokens=200_000)]
    file = bot_home.open(model, allowed=allowed, profile=TurnConfig(titles=True))
    async with file as ponte:
        engine = ponte.engine
        variant = replace(make_message("hello", "k1"), has_conversation_title=True)
        assert (await ponte.ask_message(variant)).status == "done"
        await ponte.ask("help")  # in the same conversation: the turn before has ended
        await finish_background_tasks(engine)
        items = await engine.stores.database.read(
            lambda c: c.execute("SELECT count(*) AS count FROM holds").fetchone()
        )
    assert (model.refused, items["count"]) == (1, 0)


async def test_the_demo_model_gives_titles_too(tmp_path: Path) -> None:
    async with (
        FakeOpenAI() as fake,
        whole(tmp_path, fake, ponte_titles="on", ponte_model_api="demo") as ponte,
    ):
        await ponte.ask("How are you today?!\nI have more to say.")
        await ponte.ask("Again")
        listing = await titles(ponte, fake, 0)
        assert listing == ["How are you today"]


async def test_a_title_that_was_cut_is_none(tmp_path: Path) -> None:
    """Its text may be the beginning of a thought."""
    cut = Script("We need a title for", match=TITLE_REQUEST, incomplete="max_output_tokens")
    async with (
        FakeOpenAI() as fake,
        whole(tmp_path, fake, ponte_titles="on", ponte_model_api="responses") as ponte,
    ):
        fake.say(cut)
        await ponte.ask("Quais faturas estão vencidas?")
        assert await titles(ponte, fake, 1) == ["Quais faturas estão vencidas?"]
