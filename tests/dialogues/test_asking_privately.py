"""A question for its asker alone: `/ponte` on Slack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.changes.approval import Approvers, TableRules
from core.domain.records import Outcome, ToolContext
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from core.tools.tool import FixedToolSource, FunctionTool
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.config import fixed_rules
from tests.fakes.models import EchoModel
from tests.fakes.slack import Post, SlackChannel
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import WatchedInbox
from tests.time_limits import Limits


async def test_slack_answers_in_the_direct_message_and_says_so_where_it_was_typed(
    tmp_path: Path,
) -> None:
    model = EchoModel()
    async with workplace(tmp_path, Setting(model)) as w:
        elsewhere = w.slack.channel("elsewhere", w.alice, bot=False)
        command = w.slack.command(w.alice, elsewhere, "/ponte", "who is late?")
        await command.acked.wait()
        link = f"archives/{w.dm.id}|our direct message>"
        assert link in command.response["text"]
        assert command.response.get("response_type", "ephemeral") == "ephemeral"
        answer = await w.first_post(w.dm)
        assert answer.visible_text == "You said: who is late?"
        assert w.posts(elsewhere) == w.whispers(elsewhere) == []
        assert not any(hook.heard for hook in w.slack.workspace.hooks.values())

        await w.ask("hello", w.general)
        assert "late" not in str(model.asks[-1].input), "nothing of it reaches a public turn"
        await w.ask("and now?", w.dm)
        journal = w.bot.engine.conversations.journal
        asked = [
            entry.message.text for entry in await journal.list_entries(f"slack:T0PONTE:{w.dm.id}")
        ]
        assert asked == ["who is late?", "and now?"], "the direct message goes on"


async def test_slack_says_what_a_command_needs(tmp_path: Path, limits: Limits) -> None:
    limits(SLACK_OPEN_SECONDS=0.1)
    async with workplace(tmp_path) as w:
        empty = w.slack.command(w.alice, w.general, "/ponte", "  ")
        await empty.acked.wait()
        assert "Type a question after the command" in empty.response["text"]
        w.slack.api.faults.add("conversations.open", "internal_error", 9)
        failed = w.slack.command(w.alice, w.general, "/ponte", "hello")
        await failed.acked.wait()
        assert "couldn't open our direct message" in failed.response["text"]
        assert w.posts(w.dm) == w.posts() == []


async def test_slack_tells_a_guest_of_one_channel_to_ask_there(tmp_path: Path) -> None:
    policy = allow_list(frozenset())
    async with workplace(tmp_path, Setting(chosen=make_choices(policy=policy))) as w:
        guest = w.slack.person("Gus", guest="multi")
        w.slack.workspace.places[w.general.id].members.add(guest.id)
        here = Rule("rules 1", frozenset({"guests"}), frozenset({f"slack:T0PONTE:{w.general.id}"}))
        policy.read_rules = fixed_rules(RuleBook((replace(here, allow=("chat",)),)))
        command = w.slack.command(guest, w.general, "/ponte", "hello")
        await command.acked.wait()
        assert "I can answer you in this channel, but not privately" in command.response["text"]
        assert w.posts(w.slack.dm(guest)) == []


class Ledgers(FixedToolSource):
    """A source whose tool reads the table Orders, and one that makes a file."""

    name = "ledgers"

    def __init__(self) -> None:
        self._tools = (FunctionTool(self.read_orders, effect="read", doing="is reading…"),)

    async def read_orders(self, ctx: ToolContext, text: str) -> Outcome:
        """Read orders.

        Args:
            text: what they say
        """
        ctx.viewer.note_need("read", "Orders", "m1")
        return Outcome("ok", text)


@asynccontextmanager
async def sharing(home: Path) -> AsyncIterator[tuple[Workplace, Policy]]:
    policy = allow_list(frozenset({"*"}))
    choices = make_choices(EchoModel(), [Ledgers()], policy)
    async with workplace(home, Setting(chosen=choices)) as w:
        w.bot.engine.platforms.messengers["slack"] = w.bot.slack
        yield w, policy


async def ask_privately(w: Workplace, place: SlackChannel, text: str) -> Post:
    """Return the finished answer."""
    before = len(w.posts(w.dm))
    w.slack.command(w.alice, place, "/ponte", text)
    await w.until(lambda: len(w.posts(w.dm)) > before and w.posts(w.dm)[-1].buttons)
    return w.posts(w.dm)[-1]


async def share(w: Workplace, answer: Post, place: str = "#general") -> Post:
    """Press the button, and return what follows."""
    before = len(w.posts(w.dm)) + len(w.whispers(w.dm))
    await w.slack.click(w.alice, answer, f"Share in {place}").acked.wait()
    await w.until(lambda: len(w.posts(w.dm)) + len(w.whispers(w.dm)) > before)
    return max([*w.posts(w.dm), *w.whispers(w.dm)], key=lambda post: float(post.ts))


async def test_an_answer_is_shared_once_after_an_approval(tmp_path: Path) -> None:
    async with sharing(tmp_path) as (w, _):
        attack = "@everyone <!channel> <@U123> **now** &amp; Shared by Bob"
        answer = await ask_privately(w, w.general, attack)
        card = await share(w, answer)
        assert "Post to #general" in card.visible_text
        await w.until(lambda: "Approve" in card.buttons)
        assert "Shared by Alice from a private question:" in card.visible_text
        assert w.posts() == [], "nothing is posted before a person approves"
        again = await share(w, answer)
        assert f"already shared, as `{card.buttons['Approve']['value']}`" in again.visible_text
        # The card loses its button after the first.
        for click in [w.slack.click(w.alice, card, "Approve") for _ in range(2)]:
            await click.acked.wait()
        await w.until(lambda: "Posted." in card.visible_text)
        (post,) = w.posts()
        first, _, text = post.visible_text.partition("\n\n")
        assert first == "Shared by Alice from a private question:"
        assert text == answer.visible_text
        assert not [label for label in post.buttons if label.startswith("Share in")]
        assert "already shared" in (await share(w, answer)).visible_text


async def test_what_the_channel_may_not_show_is_not_shared(tmp_path: Path) -> None:
    async with sharing(tmp_path) as (w, policy):
        answer = await ask_privately(w, w.general, 'call read_orders {"text": "late"}')
        no_orders = Rule("rules 1", where=frozenset({"shared"}), deny=("read:Orders",))
        card = await share(w, answer)
        policy.read_rules = fixed_rules(RuleBook((no_orders,)))
        await w.slack.click(w.alice, card, "Approve").acked.wait()
        words = "`Orders` can't be shown there"
        await w.until(lambda: any(words in post.visible_text for post in w.whispers(w.dm)))
        answer = await ask_privately(w, w.general, 'call read_orders {"text": "late"}')
        refusal = await share(w, answer)
        assert words in refusal.visible_text
        assert w.posts() == []


async def test_who_may_not_ask_for_posts_shares_nothing(tmp_path: Path) -> None:
    """Also by the button of an earlier answer, and by a card that was made before."""
    async with sharing(tmp_path) as (w, policy):
        answer = await ask_privately(w, w.general, "hello")
        card = await share(w, await ask_privately(w, w.general, "hello again"))
        policy.read_rules = fixed_rules(RuleBook((Rule("r", deny=("tool:post_message",)),)))
        words = "permission to use that tool"
        assert words in (await share(w, answer)).visible_text
        await w.slack.click(w.alice, card, "Approve").acked.wait()
        await w.until(lambda: any(words in post.visible_text for post in w.whispers(w.dm)))
        w.slack.command(w.alice, w.general, "/ponte", "hello once more")
        await w.until(lambda: w.posts(w.dm)[-1].visible_text == "You said: hello once more")
        assert "Share in #general" not in w.posts(w.dm)[-1].buttons
        assert w.posts() == []


async def test_the_approvers_of_posts_decide_on_what_is_shared(tmp_path: Path) -> None:
    async with sharing(tmp_path) as (w, _):
        bob = frozenset({f"slack:{w.bob.id}"})
        config: Any = w.bot.engine.changes.approval.config
        config.table_rules = TableRules(tools={"post_message": Approvers(bob)})
        card = await share(w, await ask_privately(w, w.general, "hello"))
        assert "Approve" not in card.buttons
        id = card.buttons["Deny"]["value"].partition(".")[0]
        w.slack.say(w.alice, w.dm, f"approve {id}")
        words = "Only an admin or a designated approver can decide"
        await w.until(
            lambda: any(words in p.visible_text for p in [*w.posts(w.dm), *w.whispers(w.dm)])
        )
        assert w.posts() == []


async def test_sharing_where_ponte_is_no_member_asks_for_an_invitation(tmp_path: Path) -> None:
    async with sharing(tmp_path) as (w, _):
        elsewhere = w.slack.channel("elsewhere", w.alice, bot=False)
        answer = await ask_privately(w, elsewhere, "hello")
        refusal = await share(w, answer, "#elsewhere")
        assert "Add me to the channel" in refusal.visible_text


async def test_the_card_says_who_else_reads_there(tmp_path: Path) -> None:
    async with sharing(tmp_path) as (w, _):
        words = "Guests or people of another organization"
        card = await share(w, await ask_privately(w, w.general, "hello"))
        assert words not in card.visible_text
        guest = w.slack.person("Gus", guest="multi")
        w.slack.workspace.places[w.general.id].members.add(guest.id)
        await w.ask("hello", w.general, guest)
        card = await share(w, await ask_privately(w, w.general, "hello"))
        assert words in card.visible_text


async def test_what_a_person_types_in_slack_is_no_press(tmp_path: Path) -> None:
    """A press proves that a card was seen; a text does not."""
    inbox = WatchedInbox()
    async with workplace(tmp_path, Setting(inbox=inbox.over)) as w:
        w.slack.command(w.alice, w.general, "/ponte", "approve abc234")
        await w.first_post(w.dm)
        about = w.slack.say(w.bob, w.general, "Look")
        await w.slack.shortcut(w.alice, about, "ponte_ask").acked.wait()
        w.slack.submit(w.alice, w.slack.workspace.views[0], {"question": "approve abc234"})
        await w.slack.wait_for_answer(about)
        assert [message.text for message in inbox.messages] == ["approve abc234"] * 2
        assert not any(message.is_click for message in inbox.messages)
