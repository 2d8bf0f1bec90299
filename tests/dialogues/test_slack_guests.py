"""Guests, strangers, and events that contradict themselves: nobody's members."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from adapters.slack.client import WAITING_REACTION
from adapters.slack.people import SlackPeople
from core.base.errors import StatusUnknown
from core.domain.messages import Answer, Card
from core.domain.ports import Tool
from core.domain.records import Outcome, QuickCommand, ToolContext
from core.domain.rights import Effect
from core.people.rules import GUEST_REASON
from core.tools.tool import FunctionTool
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.models import EchoModel
from tests.fakes.slack import TEAM, Json, SlackPerson
from tests.slack.bot import Setting, Workplace, workplace
from tests.slack.doubles import Board, NoPosts, WatchedInbox
from tests.time_limits import Limits

BOARD = Board([QuickCommand("joke", "Joke")])
OTHER = "T0OTHER"


def setting(*allow: str, inbox: WatchedInbox | None = None) -> Setting:
    choices = make_choices(policy=allow_list(frozenset(allow)))
    return Setting(chosen=choices, board=BOARD, inbox=inbox.over if inbox else lambda over: over)


def guest(w: Workplace) -> SlackPerson:
    eve = w.slack.person("Eve", guest="multi")
    w.general.members.add(eve.id)
    return eve


async def wait_for_refusal(w: Workplace, who: SlackPerson, words: str = GUEST_REASON) -> None:
    await w.until(lambda: any(p.seen_by == who.id for p in w.whispers()))
    (text,) = [post for post in w.whispers() if post.seen_by == who.id]
    assert text.visible_text == words


async def test_a_guest_is_refused_alone_whom_the_workspace_s_name_does_not_mean(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path, setting(f"slack:{TEAM}")) as w:
        eve = guest(w)
        w.slack.say(eve, w.general, f"{w.slack.bot} hello")
        await wait_for_refusal(w, eve)
        assert w.posts() == []
        assert (await w.ask("hello")).visible_text == "You said: hello"


async def test_a_guest_whose_group_is_named_is_answered(tmp_path: Path) -> None:
    async with workplace(tmp_path) as w:
        eve = guest(w)
        w.slack.workspace.groups["S0FRIENDS"] = {eve.id}
        await w.restart(setting("slack:S0FRIENDS"))
        message = w.slack.say(eve, w.general, f"{w.slack.bot} hello")
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"


async def test_a_guests_clicks_and_forms_and_commands_do_nothing(tmp_path: Path) -> None:
    inbox = WatchedInbox()
    async with workplace(tmp_path, setting(inbox=inbox)) as w:
        eve = guest(w)
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} pay order 1")
        await w.slack.wait_for_answer(message)
        card = Card("abc234", "proposal", "Update 1 row", "", actions=("approve",))
        reply = w.bot.slack.reply(inbox.messages[0].reply_to, NoPosts())
        await reply.finish(Answer("Shall I?", parts=("Shall I?",), cards=(card,)))
        post = w.posts()[-1]
        await w.slack.click(eve, post, "Approve").acked.wait()
        await w.until(lambda: len(w.whispers()) == 1)
        typed_text = w.slack.command(eve, w.general, "/quick-command", "joke")
        await w.until(lambda: len(w.whispers()) == 2)
        assert typed_text.response == {}
        command = w.slack.command(eve, w.general, "/quick-command", "")
        await command.acked.wait()
        assert command.response["text"] == GUEST_REASON
        await w.slack.shortcut(eve, message, "ponte_ask").acked.wait()
        assert {whisper.visible_text for whisper in w.whispers()} == {GUEST_REASON}
        assert w.slack.workspace.views == []
        assert len(w.posts()) == 2
        refusal, _ = await w.bot.engine.people.audit.read(event="action-refused")
        assert [line["right"] for line in refusal] == ["chat"] * 4
        assert {line["asker"].rpartition(":")[2] for line in refusal} == {eve.id}
        w.slack.open_home(eve)
        await w.until(lambda: w.slack.workspace.homes)
        text = str(w.slack.workspace.homes[eve.id])
        assert ("You're a guest, and I only answer members here" in text, "echo" in text) == (
            True,
            False,
        )


async def test_a_form_that_was_open_before_is_refused_as_well(tmp_path: Path) -> None:
    async with workplace(tmp_path, setting()) as w:
        await w.slack.command(w.alice, w.general, "/quick-command", "").acked.wait()
        eve = guest(w)
        submission = w.slack.submit(eve, w.slack.workspace.views[0], {"slug": "joke"})
        await submission.acked.wait()
        await wait_for_refusal(w, eve)
        assert w.posts() == []


@pytest.mark.parametrize("how", ["missing_scope", "?never_heard_of"])
async def test_where_slack_refuses_to_say_who_somebody_is_they_are_asked_to_try_again(
    tmp_path: Path, limits: Limits, how: str
) -> None:
    limits(REFUSAL_SECONDS=0.0)
    async with workplace(tmp_path, replace(setting(), listed=False)) as w:
        w.slack.api.faults.add("users.info", how, 0)
        w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await wait_for_refusal(w, w.alice, StatusUnknown.sentence)
        await no_refusal_is_noted(w)
        w.slack.api.faults.end("users.info")
        assert (await w.ask("and now?")).visible_text == "You said: and now?"


async def test_who_could_not_be_identified_gets_the_home_tab_as_soon_as_they_are(
    tmp_path: Path, limits: Limits
) -> None:
    limits(REFUSAL_SECONDS=0.0)
    limits(_IDENTIFY_PAUSES_SECONDS=[0.02] * 2_000)
    async with workplace(tmp_path, replace(setting(), listed=False)) as w:
        w.slack.api.faults.add("users.info", "missing_scope", 0)
        w.slack.open_home(w.alice)
        await w.until(lambda: len(w.calls("views.publish")) > 1)
        home = w.slack.workspace.homes[w.alice.id]
        assert "couldn't check in time" in str(home)
        w.slack.api.faults.end("users.info")
        await w.until(lambda: "Mention me" in str(w.slack.workspace.homes[w.alice.id]))
        count = len(w.calls("views.publish"))
        await w.ask("and now?")
        assert len(w.calls("views.publish")) == count


async def no_refusal_is_noted(w: Workplace) -> None:
    note, _ = await w.bot.engine.people.audit.read(event="action-refused")
    assert list(note) == []


async def test_who_is_not_known_yet_waits_and_sees_that_they_do(
    tmp_path: Path, limits: Limits
) -> None:
    limits(UNKNOWN_MARK_SECONDS=0.0)
    async with workplace(tmp_path, replace(setting(), listed=False)) as w:
        gate = w.slack.api.hold("users.info")
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await w.until(lambda: message.reactions == {WAITING_REACTION})
        assert w.posts() == []
        gate.release()
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"
        await w.until(lambda: not message.reactions)
        assert w.whispers() == []


@pytest.mark.slow
async def test_a_slack_that_does_not_answer_is_waited_for(tmp_path: Path, limits: Limits) -> None:
    limits(ASK_AGAIN_SECONDS=0.0)
    async with workplace(tmp_path, replace(setting(), listed=False)) as w:
        w.slack.api.faults.add("users.info", "503", 8)
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        assert (
            await w.slack.wait_for_answer(message, seconds=60)
        ).visible_text == "You said: hello"
        assert w.slack.api.calls["users.info"] == 9
        assert w.whispers() == []


async def test_who_is_not_known_in_time_is_asked_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(WAIT_SECONDS=0.2)
    limits(CONFIRM_SECONDS=0.0)
    limits(_CONFIRM_TIMEOUT_SECONDS=0.0)
    limits(_LOOKUP_TIMEOUT_SECONDS=0.2)
    monkeypatch.setattr("adapters.slack.people.SlackPeople.profiles.__defaults__", (0.0,))
    async with workplace(tmp_path, replace(setting(), listed=False)) as w:
        gate = w.slack.api.hold("users.info")
        w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await wait_for_refusal(w, w.alice, StatusUnknown.sentence)
        await no_refusal_is_noted(w)
        gate.release()


async def test_a_stop_ends_the_wait_for_somebody_who_is_not_known(tmp_path: Path) -> None:
    inbox = WatchedInbox()
    variant = replace(setting(inbox=inbox), listed=False)
    async with workplace(tmp_path, variant) as w:
        gate = w.slack.api.hold("users.info")
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await w.until(lambda: inbox.messages)
        await w.until(lambda: w.slack.api.calls["users.info"])
        assert await w.bot.engine.conversations.inbox.cancel(1)
        assert (await w.slack.wait_for_answer(message)).visible_text == "_Stopped._"
        gate.release()


async def test_a_restart_while_somebody_waits_answers_them(tmp_path: Path) -> None:
    async with workplace(tmp_path, replace(setting(), listed=False)) as w:
        gate = w.slack.api.hold("users.info")
        message = w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await w.until(lambda: w.slack.api.calls["users.info"])
        await w.slack.deliveries.wait_for_deliveries()
        await w.restart()
        gate.release()
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"
        assert w.whispers() == []


async def test_who_becomes_a_guest_is_one_within_five_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    monkeypatch.setattr(
        "adapters.slack.adapter.SlackPeople", partial(SlackPeople, clock=lambda: now[0])
    )
    async with workplace(tmp_path, setting()) as w:
        await w.ask("hello")
        w.alice.guest = "single"
        now[0] += 299
        w.slack.say(w.alice, w.general, f"{w.slack.bot} hello")
        await wait_for_refusal(w, w.alice)


async def test_while_slack_is_silent_members_go_on_and_are_offered_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    now = [time.time()]
    monkeypatch.setattr(
        "adapters.slack.adapter.SlackPeople", partial(SlackPeople, clock=lambda: now[0])
    )
    model = EchoModel()
    tools = [FixedTools(_tool("look", "read"), _tool("compute", "code"), _tool("pay", "spend"))]
    choices = make_choices(model, tools, allow_list())
    async with workplace(tmp_path, Setting(chosen=choices)) as w:
        ask = f"{w.slack.bot} hello"
        await w.slack.wait_for_answer(w.slack.say(w.alice, w.general, ask))
        # Slack answers no question from here on, so none of these deadlines cuts an answer off.
        limits(CONFIRM_SECONDS=0.05)
        limits(_CONFIRM_TIMEOUT_SECONDS=0.05)
        limits(_LOOKUP_TIMEOUT_SECONDS=0.05)
        limits(WAIT_SECONDS=0.2)
        for method in ("users.info", "users.list"):
            w.slack.api.faults.add(method, "429", 0, retry_after=60)
        now[0] += 23 * 3600
        message = w.slack.say(w.alice, w.general, ask)
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"
        offers = [[tool.name for tool in question.tools] for question in model.asks]
        assert offers == [["look", "compute", "pay"], ["look"]]
        w.slack.say(w.alice, w.general, f"{w.slack.bot} quick-command joke")
        await wait_for_refusal(w, w.alice, StatusUnknown.sentence)
        now[0] += 2 * 3600
        w.slack.say(w.bob, w.general, ask)
        await w.until(lambda: len(w.whispers()) == 2)
        assert len(model.asks) == 2


def _tool(name: str, effect: Effect) -> Tool:
    async def run(ctx: ToolContext) -> Outcome:
        """Do it."""
        return Outcome("ok", "done")

    run.__name__ = name
    return FunctionTool(run, effect=effect, doing="is at it…")


async def test_who_joins_and_who_becomes_a_guest_is_known_by_events(tmp_path: Path) -> None:
    async with workplace(tmp_path, setting()) as w:
        await w.until(lambda: w.bot.slack.workspace.directory.is_complete)
        w.slack.api.faults.add("users.info", "missing_scope", 0)
        zoe = w.slack.join("Zoe")
        w.general.members.add(zoe.id)
        await w.slack.deliveries.wait_for_deliveries()
        message = w.slack.say(zoe, w.general, f"{w.slack.bot} hello")
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"
        w.slack.change_person(zoe, guest="single")
        await w.slack.deliveries.wait_for_deliveries()
        w.slack.say(zoe, w.general, f"{w.slack.bot} hello")
        await wait_for_refusal(w, zoe)


async def test_answers_do_not_wait_for_refusals(tmp_path: Path) -> None:
    """A channel takes five posts at once; the tier of refusals is another one."""
    async with workplace(tmp_path, setting()) as w:
        guests = [guest(w) for _ in range(8)]
        for eve in guests:
            w.slack.say(eve, w.general, f"{w.slack.bot} hello")
        await w.until(lambda: len(w.whispers()) == 8)
        limiter = w.bot.slack.workspace.api.limiter
        for _ in range(5):
            await limiter.turn("chat.postMessage", w.general.id, 0.0)


LIES: dict[str, Json] = {
    "two workspaces of the author": {"user_team": OTHER, "team": TEAM},
    "an unknown workspace": {"user_team": OTHER, "team": OTHER},
    "another source": {"team": TEAM, "source_team": OTHER},
}


async def test_an_event_that_contradicts_itself_or_is_of_another_workspace_is_an_outsiders(
    tmp_path: Path,
) -> None:
    inbox = WatchedInbox()
    async with workplace(tmp_path, setting(inbox=inbox)) as w:
        for number, (lie, fields) in enumerate(LIES.items(), 1):
            w.slack.say(w.alice, w.general, f"{w.slack.bot} {lie}", **fields)
            await w.until(lambda: len(w.whispers()) == number)  # noqa: B023
            assert "members of this workspace" in w.whispers()[-1].visible_text, lie
            assert inbox.messages[-1].address.workspace == TEAM, lie
            assert inbox.messages[-1].author.workspace != TEAM, lie
        w.slack.say(w.alice, w.general, f"{w.slack.bot} hello", envelope={"team_id": OTHER})
        await w.until(lambda: len(w.whispers()) == len(LIES) + 1)
        assert inbox.messages[-1].address.workspace == TEAM
        assert w.posts() == []


async def test_in_a_shared_channel_slack_is_asked_whose_member_somebody_is(tmp_path: Path) -> None:
    async with workplace(tmp_path, setting()) as w:
        w.general.shared_with_strangers = True
        eve = w.slack.person("Eve", team=OTHER)
        w.general.members.add(eve.id)
        w.slack.say(eve, w.general, f"{w.slack.bot} hello", team=TEAM, user_team=TEAM)
        await wait_for_refusal(w, eve)
        message = w.slack.say(
            w.alice, w.general, f"{w.slack.bot} hello", envelope={"team_id": OTHER}
        )
        assert (await w.slack.wait_for_answer(message)).visible_text == "You said: hello"


async def test_a_form_that_contradicts_itself_is_an_outsiders(tmp_path: Path) -> None:
    async with workplace(tmp_path, setting()) as w:

        def answers() -> list[str]:
            """What Bob alone is shown. Alice may be told that her form is late."""
            posts = w.whispers()
            return [post.visible_text for post in posts if post.seen_by == w.bob.id]

        bob: Json = {"id": w.bob.id, "name": "bob", "team_id": TEAM}
        lies: list[Json] = [
            {"user": {**bob, "team_id": OTHER}},
            {"user": bob, "team": {"id": OTHER, "domain": "other"}},
        ]
        for number, lie in enumerate(lies, 1):
            await w.slack.command(w.alice, w.general, "/quick-command", "").acked.wait()
            submission = w.slack.submit(w.bob, w.slack.workspace.views[-1], {"slug": "joke"}, lie)
            await submission.acked.wait()
            await w.until(lambda: len(answers()) == number)  # noqa: B023
            assert "membros deste workspace" in answers()[-1], lie
        assert w.posts() == []


async def test_a_command_from_another_workspace_is_an_outsiders(tmp_path: Path) -> None:
    async with workplace(tmp_path, setting()) as w:
        command = w.slack.command(w.bob, w.general, "/quick-command", "joke", {"team_id": OTHER})
        await command.acked.wait()
        await w.until(lambda: w.whispers())
        assert "membros deste workspace" in w.whispers()[0].visible_text
