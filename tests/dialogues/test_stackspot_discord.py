"""Quick commands on Discord: slash and autocomplete, replies, files, and approval by a click."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.dialogues.stackspot import asks
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.choices import allow_list
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.stackspot import FakeStackSpot, Look, Run
from tests.fakes.stackspot_parts import stackspot_choices


@pytest.fixture
def ana(discord: FakeDiscord) -> DiscordPerson:
    return discord.user("Ana")


@pytest.fixture
async def ponte(
    discord: FakeDiscord, stackspot: FakeStackSpot, tmp_path: Path
) -> AsyncIterator[DiscordPonte]:
    async with AsyncExitStack() as stack:
        ponte = DiscordPonte(discord, tmp_path)
        ponte.policy = allow_list(frozenset({"*"}))
        ponte.choices = await stack.enter_async_context(
            stackspot_choices(stackspot.url, model=ponte.model, policy=ponte.policy)
        )
        await ponte.open()
        await ponte.ready()
        yield ponte
        await ponte.close()


async def test_progress_and_result_stand_in_the_commands_answer(
    ponte: DiscordPonte, ana: DiscordPerson, stackspot: FakeStackSpot
) -> None:
    stackspot.held = True
    stackspot.go(Run((Look("RUNNING", 0.42, "Summarise"), Look("COMPLETED"))))
    exchange = await ana.slash("quick-command", slug="explain", input="a bridge")
    await exchange.wait_until(lambda e: "42 % · Summarise" in e.text)
    stackspot.held = False
    await exchange.wait_until(lambda e: e.text == "explain: a bridge")


async def test_autocomplete_and_modal_are_of_the_registry(
    ponte: DiscordPonte, ana: DiscordPerson, stackspot: FakeStackSpot
) -> None:
    match = await ana.autocomplete("quick-command", "slug", slug="da")
    assert match == [{"name": "daily-summary – Daily summary", "value": "daily-summary"}]
    modal = await ana.slash("quick-command", slug="daily-summary", locale="pt-BR")
    await modal.wait_for_ack()
    assert modal.data["title"] == "Resumo diário"
    submission = await ana.submit(modal, day="20 May", tone="dry")
    await submission.wait_until(lambda e: "daily-summary: {" in e.text)
    assert stackspot.count_executions({"day": "20 May", "tone": "dry"}) == 1


async def test_a_file_or_the_message_replied_to_is_the_input(
    ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    exchange = await ana.slash("quick-command", slug="explain", file=("a.csv", b"a;b"))
    await exchange.wait_until(lambda e: e.text == "explain: a;b")
    ours = await ana.ask("hello")
    await ana.say("!quick-command explain", reply_to=ours)
    await ana.wait_for_text("explain: You said: hello")


async def test_what_the_model_wants_to_spend_is_approved_by_a_click(
    ponte: DiscordPonte, ana: DiscordPerson, stackspot: FakeStackSpot
) -> None:
    stackspot.go(Run(result="@everyone " + "long " * 900))
    await ana.say(asks("translate-all", "it"))
    (card,) = await ana.wait_for_messages(lambda seen: seen and seen[0]["embeds"])
    assert card["embeds"][0]["title"] == "Run Translate everything"
    await ana.click(card, "Approve")
    result = await ana.wait_for_text("Approved by Ana. Done.")
    posts = await ana.wait_for_messages(
        lambda seen: "".join(m["content"] for m in seen).count("long") == 900
    )
    assert not result["mentions"]
    assert not result.get("mention_everyone")
    assert len(posts) > 2
    await ana.wait_for_messages(lambda seen: "✓ done" in seen[0]["embeds"][0]["author"]["name"])
    assert stackspot.count("create") == 1


async def test_an_approved_run_can_be_stopped_and_leaves_its_card_whole(
    ponte: DiscordPonte, ana: DiscordPerson, stackspot: FakeStackSpot
) -> None:
    stackspot.held = True
    await ana.say(asks("translate-all", "it"))
    (card,) = await ana.wait_for_messages(lambda seen: seen and seen[0]["embeds"])
    await ana.click(card, "Approve")
    await stackspot.wait_for_requests("status", 3)
    (running,) = await ana.wait_for_messages(lambda seen: "in progress" in str(seen[0]["embeds"]))
    assert running["embeds"][0]["title"] == "Run Translate everything"
    assert "is running" not in running["content"]
    await ana.say("stop")
    (first_message, *_) = await ana.wait_for_messages(
        lambda seen: "I stopped waiting because" in str(seen[0]["embeds"])
    )
    assert first_message["embeds"][0]["title"] == "Run Translate everything"
