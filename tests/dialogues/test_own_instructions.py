"""A person's instructions for one conversation of the page, and the effort that they choose."""

from __future__ import annotations

from pathlib import Path

from adapters.web.page_routes import MAX_INSTRUCTIONS_CHARACTERS
from bot.config import ChannelConfig, Config
from core.conversation.prompt import INSTRUCTIONS, PERSON_INSTRUCTIONS_HEADING
from core.rights.rules import Rule, RuleBook
from tests.dialogues.whole import Whole, whole
from tests.fakes.openai import FakeOpenAI

OWN = "Answer in haiku.\nNever use the letter z."


async def instruct(ponte: Whole, text: str, conversation: str = "c1") -> int:
    address = f"/conversations/{conversation}"
    return (await ponte.web.patch(address, json={"instructions": text})).status_code


async def test_they_stand_below_those_of_the_owner_and_the_channel(tmp_path: Path) -> None:
    async with FakeOpenAI() as fake, whole(tmp_path, fake) as ponte:

        def last_instructions() -> str:
            return str(fake.request_bodies("/responses")[-1]["instructions"])

        channel = ChannelConfig(instructions="Be polite.")
        ponte.app.live.current = Config(channels={"web": channel})
        assert await instruct(ponte, f"  {OWN}\x1b ") == 200
        await ponte.ask("hello")
        own = f"{PERSON_INSTRUCTIONS_HEADING}\n{OWN}"
        assert last_instructions() == "\n\n".join([INSTRUCTIONS, "Be polite.", own])
        shown = (await ponte.web.get("/conversations/c1")).json()
        assert shown["instructions"] == OWN
        asked = {"model": "ponte", "messages": [{"role": "user", "content": "hello"}]}
        for name, has_own in (("c1", True), ("c2", False)):
            named = {"X-Ponte-Conversation": name}
            async with ponte.program() as program:
                await program.post("/v1/chat/completions", json=asked, headers=named)
            assert (OWN in last_instructions()) is has_own, name
        assert await instruct(ponte, "x" * (MAX_INSTRUCTIONS_CHARACTERS + 1)) == 400
        assert await instruct(ponte, "") == 200
        await ponte.ask("again")
        assert last_instructions() == f"{INSTRUCTIONS}\n\nBe polite."
        await instruct(ponte, "Secret wish.")
        await ponte.ask("once more")
        await ponte.web.delete("/conversations/c1")
        assert (await ponte.web.get("/conversations/c1")).json()["instructions"] == ""
        rows = await ponte.app.engine.stores.database.read(
            lambda c: c.execute("SELECT message FROM inbox").fetchall()
        )
        assert "Secret wish." not in str([row["message"] for row in rows])


async def test_an_effort_is_chosen_where_a_rule_gives_it(tmp_path: Path) -> None:
    async with FakeOpenAI() as fake, whole(tmp_path, fake) as ponte:
        rule = Rule("1", frozenset({"web:owner"}), allow=("effort:high", "effort:low"))
        ponte.app.engine.manager._services.policy.rule_book = lambda: RuleBook((rule,))  # type: ignore[attr-defined]
        assert (await ponte.web.get("/me")).json()["efforts"] == ["high", "low"]
        for effort, status in (("high", 200), ("medium", 400), ("", 200)):
            body = {"message": "hello", "conversation": "c1", "effort": effort}
            answer = await ponte.web.post("/chat", json=body)
            assert answer.status_code == status, (effort, answer.text)
        asked = fake.request_bodies("/responses")[-2:]
        assert [one.get("reasoning") for one in asked] == [{"effort": "high"}, None]
