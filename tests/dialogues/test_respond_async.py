"""`POST /chat` with `Prefer: respond-async`: a refusal is the status, or the turn shows it."""

from __future__ import annotations

from pathlib import Path

import httpx

from bot.config.ponte_toml import Config, LimitsConfig
from tests.dialogues.whole import Whole, whole
from tests.fakes.openai import FakeOpenAI, Script

RESPOND_LATER_HEADERS = {"Prefer": "respond-async"}


async def later(ponte: Whole, text: str, **more: str) -> httpx.Response:
    return await ponte.web.post(
        "/chat", json={"message": text, **more}, headers=RESPOND_LATER_HEADERS
    )


async def test_a_message_over_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    """It takes no place in the conversation, so nothing could show it later."""
    async with FakeOpenAI() as fake, whole(tmp_path, fake) as ponte:
        ponte.app.live.current = Config(limits=LimitsConfig(waiting_per_person=1))
        fake.say(Script(text="Hello.", fail="hang"))
        assert (await later(ponte, "one")).status_code == 202
        await fake.wait_for_failures()
        receipt = await later(ponte, "two")
        assert (receipt.status_code, receipt.json()["status"]) == (202, "accepted")
        for conversation in ("main", "main", "other", "other"):  # the first time, and a repeat
            refusal = await later(
                ponte, "three", conversation=conversation, event_key=f"k-{conversation}"
            )
            assert refusal.status_code == 429
            assert refusal.json()["error"]["code"] == "too_many"
            assert (
                "of your messages are already queued, so I didn't process this one"
                in refusal.json()["error"]["message"]
            )


async def test_a_turn_over_the_cap_shows_that_it_was_refused(tmp_path: Path) -> None:
    """The cap is counted when the turn begins, which may be later."""
    async with FakeOpenAI() as fake, whole(tmp_path, fake, ponte_daily_turns="1/0") as ponte:
        fake.say("Hello.")
        await ponte.ask("one", conversation="main")
        receipt = await later(ponte, "two")
        assert receipt.status_code == 202
        again = await ponte.web.post("/chat", json={"message": "x"})
        assert again.status_code == 429, "the turns of a conversation come one after the other"
        value = (await ponte.web.get("/conversations/main")).json()["messages"]
        message, text = [one for one in value if one["turn"] == receipt.json()["turn"]]
        assert message["state"] == "failed"
        assert (text["status"], text["code"]) == ("failed", "too_many")


async def test_a_typed_command_is_asked_again(tmp_path: Path) -> None:
    """It is in no list of the conversation, because it runs at once."""
    async with FakeOpenAI() as fake, whole(tmp_path, fake) as ponte:
        first = await ponte.ask("hello")
        for text in ("help", "status", "hello again"):
            answer = await ponte.ask("status")
            again = await ponte.web.post(
                "/chat", json={"message": text, "conversation": "c1", "replaces": answer["turn"]}
            )
            assert again.status_code == 200, (text, again.text)
            assert again.json()["status"] == "done", text
        for old, status in ((first["turn"], 400), (answer["turn"], 400), ("a" * 16, 404)):
            response = await ponte.web.post(
                "/chat", json={"message": "x", "conversation": "c1", "replaces": old}
            )
            assert response.status_code == status, response.text
        elsewhere = await ponte.ask("status", conversation="c2")
        response = await ponte.web.post(
            "/chat", json={"message": "x", "conversation": "c1", "replaces": elsewhere["turn"]}
        )
        assert response.status_code == 404
