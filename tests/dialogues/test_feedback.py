"""Thumbs under answers of Slack, Discord and the page: what is stored, and what operators read."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.operation_service import OperationService
from tests.dialogues.test_code_slack import slack_settings
from tests.dialogues.test_show_code import deny_chat, discord_settings
from tests.dialogues.whole import Whole, whole
from tests.fakes.discord.people import DiscordPerson
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.world import Payload
from tests.fakes.openai import FakeOpenAI
from tests.fakes.slack import FakeSlack, blocks
from tests.fakes.timeouts import HANG_TIMEOUT_SECONDS
from tests.time_limits import Limits

pytestmark = pytest.mark.slow
NOT_RATEABLE = "This answer can't be rated."


async def votes_of(ponte: Whole, **arguments: Any) -> list[dict[str, Any]]:
    votes: list[dict[str, Any]] = await OperationService(ponte.app).run("feedback", arguments)
    return votes


async def until(ponte: Whole, count: int) -> list[dict[str, Any]]:
    """Wait until so many votes are stored: a press is acknowledged before it is."""
    async with asyncio.timeout(HANG_TIMEOUT_SECONDS):
        while len(votes := await votes_of(ponte)) < count:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0)
    return votes


def has_thumbs(words: str, messages: list[Payload]) -> bool:
    """Whether the answer with these words is complete, with its thumbs."""
    return any(m["content"] == words and "👎" in str(m["components"]) for m in messages)


async def test_thumbs_on_slack(tmp_path: Path, fake: FakeOpenAI, limits: Limits) -> None:
    """A vote is stored at the press and its reason afterwards, also over a restart. Who may not
    chat, and a turn, a post or a place that do not belong together, are refused in words."""
    limits(PLACE_REFRESH_SECONDS=-1.0)
    async with FakeSlack() as slack:
        alice, bob, eve = (slack.person(name) for name in ("Alice", "Bob", "Eve"))
        general, direct = slack.channel("general", alice, bob, eve), slack.dm(alice)
        settings = slack_settings(slack)

        async def refusal(someone: Any, post: Any, **lies: Any) -> str:
            post.votes.clear()
            slack.rate(someone, post, "up", lies or None)
            hook = list(slack.workspace.hooks.values())[-1]
            await slack.wait_until(lambda: hook.heard)
            return str(hook.heard[-1]["text"])

        async with whole(tmp_path, fake, **settings) as ponte:
            await slack.deliveries.wait_until_connected()
            fake.say("It is 42.", "Secret 43.", "Plain.")
            post = await slack.wait_for_answer(slack.say(alice, general, f"{slack.bot} why?"))
            private = await slack.wait_for_answer(slack.say(alice, direct, "my secret?"))
            command = await slack.wait_for_answer(slack.say(alice, direct, "help"))
            assert (bool(post.thumbs), command.thumbs) == (True, {})
            await slack.wait_until(lambda: private.thumbs)
            for someone, thumb in ((alice, "up"), (bob, "up"), (alice, "down")):
                delivery = slack.rate(someone, post, thumb)
                assert delivery
                await delivery.acked.wait()
            await slack.wait_until(lambda: slack.workspace.views)
            (view,) = slack.workspace.views
            assert len(view["blocks"]) == 1, "in a channel nobody is asked to share"
            assert slack.rate(alice, post, "down") is None, "Slack sends no event of that"
            slack.rate(alice, private, "down")
            await slack.wait_until(lambda: len(slack.workspace.views) == 2)
            rated = {
                (one["person"].rpartition(":")[2], one["vote"]) for one in await until(ponte, 3)
            }
            assert rated == {(alice.id, "down"), (bob.id, "up")}
        config = deny_chat(tmp_path, f"slack:{eve.id}")
        async with whole(tmp_path, fake, config=config, **settings) as ponte:
            await slack.deliveries.wait_until_connected()
            (public, form) = slack.workspace.views
            await slack.submit(alice, public, {"reason": "Wrong\x1b[2J sum"}).acked.wait()
            down = {one["question"]: one for one in await votes_of(ponte, down=True)}
            assert (down["why?"]["reason"], down["why?"]["answer"]) == ("Wrong sum", "It is 42.")
            assert (down[None]["answer"], len(down[None]["models"])) == (None, 1)
            await slack.submit(alice, form, {"share": "true"}).acked.wait()
            shared = next(one for one in await votes_of(ponte) if one["shared"])
            assert (shared["question"], shared["answer"]) == ("my secret?", "Secret 43.")
            assert "I can't chat with you here." in await refusal(eve, post)
            value = post.thumbs["positive_button"]["value"]
            for forged in (
                "up.aaaaaaaaaaaaaaaa",
                "",
                "up",
                private.thumbs["positive_button"]["value"],
            ):
                post.thumbs["positive_button"]["value"] = forged
                assert NOT_RATEABLE in await refusal(bob, post)
            post.thumbs["positive_button"]["value"] = value
            elsewhere = {"channel": {"id": direct.id}}
            assert NOT_RATEABLE in await refusal(alice, post, **elsewhere)
            general.kind = "group"
            assert len([one for one in await votes_of(ponte) if one["answer"]]) == 1
            slack.say(alice, direct, "forget yes")
            await slack.wait_until(
                lambda: "Deleted" in slack.workspace.by_bot(direct.id)[-1].visible_text
            )
            assert not any(one["shared"] for one in await votes_of(ponte))
            delivery = slack.submit(alice, form, {"reason": "late"})
            await delivery.acked.wait()
            assert NOT_RATEABLE in str(delivery.response)
            assert "vote" not in str(fake.request_bodies("/responses"))
            assert (slack.workspace.pings, slack.workspace.complaints) == ([], [])


async def test_a_slack_without_thumbs_gets_answers_without(
    tmp_path: Path, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "TAKES_FEEDBACK", False)
    async with FakeSlack() as slack:
        alice = slack.person("Alice")
        general, direct = slack.channel("general", alice), slack.dm(alice)
        async with whole(tmp_path, fake, **slack_settings(slack)):
            await slack.deliveries.wait_until_connected()
            fake.say("It is 42.", "It is 43.")
            for words in (f"{slack.bot} why?",):
                post = await slack.wait_for_answer(slack.say(alice, general, words))
                assert "It is 42." in post.visible_text
            post = await slack.wait_for_answer(slack.say(alice, direct, "why?"))
            assert ("It is 43." in post.visible_text, post.thumbs) == (True, {})


async def test_fifty_people_press_at_once(tmp_path: Path, fake: FakeOpenAI) -> None:
    """Each counts once, however often Slack delivers the press."""
    async with FakeSlack() as slack:
        crowd = [slack.person(f"P{n}") for n in range(50)]
        general = slack.channel("general", *crowd)
        async with whole(tmp_path, fake, **slack_settings(slack)) as ponte:
            await slack.deliveries.wait_until_connected()
            fake.say("It is 42.")
            post = await slack.wait_for_answer(slack.say(crowd[0], general, f"{slack.bot} why?"))
            presses = [slack.rate(one, post, "up") for one in crowd]
            again = [slack.deliveries.send("interactive", one.payload) for one in presses if one]
            await asyncio.gather(*(one.acked.wait() for one in [*presses, *again] if one))
            votes = await until(ponte, 50)
            assert len({one["person"] for one in votes}) == len(votes) == 50


async def test_thumbs_on_discord(tmp_path: Path, discord: FakeDiscord, fake: FakeOpenAI) -> None:
    """The same thumb pressed again takes the vote back. A form asks why, also after a restart."""
    bo, eve = (DiscordPerson(discord, discord.world.user(name)) for name in ("Bo", "Eve"))
    settings = discord_settings(discord) | {"ponte_allow": f"discord:{bo.id}"}
    async with whole(tmp_path, fake, **settings) as ponte:
        await discord.wait_until(lambda: discord.rest.commands)
        fake.say("It is 42.", "It is 43.")
        for question, words in (("why?", "It is 42."), ("and why?", "It is 43.")):
            await bo.say(question)
            await bo.wait_for_messages(partial(has_thumbs, words))
        post = await bo.wait_for_text("It is 42.")
        other = await bo.wait_for_text("It is 43.")
        for words in ("Thanks for your feedback.", "Your feedback was removed."):
            exchange = await bo.click(post, "👍")
            await exchange.wait_for_ack()
            assert (exchange.ephemeral, exchange.text) == (True, words)
        assert await votes_of(ponte) == []
        form = await bo.click(post, "👎")
        await form.wait_for_ack()
        (vote,) = await votes_of(ponte)
        assert (vote["vote"], vote["question"], vote["answer"]) == ("down", None, None)
    config = deny_chat(tmp_path, f"discord:{eve.id}")
    async with whole(tmp_path, fake, config=config, **settings) as ponte:
        await discord.wait_until(lambda: discord.gateway.identified == 2)
        exchange = await bo.submit(form, reason="Wrong sum", share=True)
        await exchange.wait_for_ack()
        assert exchange.text == "Thanks for your feedback."
        (vote,) = await votes_of(ponte)
        assert (vote["reason"], vote["question"], vote["answer"]) == (
            "Wrong sum",
            "why?",
            "It is 42.",
        )
        exchange = await eve.click(post, "👍")
        await exchange.wait_for_ack()
        assert "I can't chat with you here." in exchange.text
        other["components"] = post["components"]  # forged: the buttons of another answer
        exchange = await bo.click(other, "👍")
        await exchange.wait_for_ack()
        assert NOT_RATEABLE in exchange.text
        await bo.say("forget yes")
        await bo.wait_for_messages(lambda seen: "Deleted" in seen[-1]["content"])
        assert await votes_of(ponte) == []
        exchange = await bo.submit(form, reason="Late")
        await exchange.wait_for_ack()
        assert NOT_RATEABLE in exchange.text


async def test_thumbs_on_the_page(tmp_path: Path, fake: FakeOpenAI) -> None:
    """What a visitor votes is theirs, and is in the conversation when it is opened again. Of a
    conversation on the page, operators read no text that was not shared."""
    async with whole(tmp_path, fake) as ponte:
        fake.say("It is 42.")
        answer = await ponte.ask("why?")
        command = await ponte.ask("help")
        assert (answer["vote"], command.get("vote")) == ("", None)
        path = f"/turns/{answer['turn']}/feedback"
        for thumb in ("up", "down"):
            stored = await ponte.web.post(path, json={"vote": thumb})
            assert stored.json() == {"turn": answer["turn"], "vote": thumb}
        (vote,) = await votes_of(ponte)
        assert (vote["vote"], vote["question"], vote["reason"]) == ("down", None, "")
        shown = (await ponte.web.get("/conversations/c1")).json()["messages"]
        assert [one.get("vote") for one in shown if one["role"] == "assistant"] == ["down"]
        for wrong in (
            {"vote": "down", "reason": "x" * 1001},
            {"vote": "sideways"},
            {},
        ):
            assert (await ponte.web.post(path, json=wrong)).status_code in (400, 422)
        why = {"vote": "down", "reason": "Wrong sum", "share": True}
        assert (await ponte.web.post(path, json=why)).status_code == 200
        (vote,) = await votes_of(ponte)
        assert (vote["question"], vote["answer"]) == ("why?", "It is 42.")
        refused = await ponte.web.post(f"/turns/{command['turn']}/feedback", json={"vote": "up"})
        assert (refused.status_code, NOT_RATEABLE in refused.text) == (404, True)
        assert (await ponte.web.post(path, json={"vote": ""})).status_code == 200
        assert await votes_of(ponte) == []
        assert (await ponte.web.post(path, json=why)).status_code == 200, "both at once"
        (vote,) = await votes_of(ponte)
        assert (vote["vote"], vote["reason"], vote["question"]) == ("down", "Wrong sum", "why?")
        assert (await ponte.web.post(path, json={"vote": "up", "reason": "x"})).status_code == 200
        (vote,) = await votes_of(ponte)
        assert (vote["vote"], vote["reason"], vote["question"]) == ("up", "", None)
        assert (await ponte.web.post(path, json={"vote": ""})).status_code == 200
        table = (await ponte.web.get("/admin/feedback")).text
        assert "No feedback yet." in table


async def test_the_operators_page_lists_votes(tmp_path: Path, fake: FakeOpenAI) -> None:
    """Nothing that a person wrote becomes markup."""
    async with whole(tmp_path, fake) as ponte:
        fake.say("It is 42.", "It is 43.")
        for question, share in (("why?", False), ("<i>and</i> why?", True)):
            path = f"/turns/{(await ponte.ask(question))['turn']}/feedback"
            await ponte.web.post(path, json={"vote": "down"})
            why = {"vote": "down", "reason": "<script>alert(1)</script>", "share": share}
            await ponte.web.post(path, json=why)
        page = (await ponte.web.get("/admin/feedback?down=1&since=2026-01-01")).text
        assert "ponte feedback --since 2026-01-01 --down" in page
        assert "&lt;script&gt;alert(1)" in page
        assert "<script" not in page
        assert ("It is 43." in page, "It is 42." in page) == (True, False)
        assert "&lt;i&gt;and" in page
        assert "t a date" in (await ponte.web.get("/admin/feedback?since=soon")).text
        operations = (await ponte.web.get("/admin/operations")).text
        assert "ponte feedback" not in operations
