"""Copies of a card and reminders when the platform or a person gets in the way. The platforms' own
dialogues are in test_slack_approvers.py and test_discord_approvers.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest

from core.base.errors import PlatformBusy, TakenOver
from core.changes.approval import TableRule, TableRules
from core.domain.changes import ApprovalNotice, DecisionRequest, DisplayName
from core.domain.messages import Address, Message, Person, ReplyTo
from core.domain.ports import Messenger
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import ADA, BOSS, bot, on_slack, propose, proposed_on_slack, says
from tests.fakes.choices import allow_list
from tests.fakes.clock import Clock
from tests.fakes.config import FixedConfig, fixed_rules
from tests.fakes.gate import Gate
from tests.fakes.memory_table import MemoryTable
from tests.fakes.recorder import RecordedPost
from tests.time_limits import Limits

APPROVER = Person("slack", "U5", "T1", "Cleo")
RULES = TableRules({"people": TableRule("ask", frozenset({"slack:U5"}))})


class Workspace:
    """A messenger of a workspace in which nobody reads the channels of others."""

    is_busy = False

    async def members(self, names: Collection[str]) -> Sequence[Person]:
        return [one for one in (APPROVER, BOSS) if f"slack:{one.id}" in names]

    async def can_read(self, person: Person, address: Address) -> bool | None:
        return False

    async def labels(self, names: Collection[str]) -> Mapping[str, DisplayName]:
        return {}

    async def title(self, address: Address) -> str:
        return ""

    async def open_direct_message(self, person: Person) -> tuple[ReplyTo, str]:
        if self.is_busy:
            raise PlatformBusy(1.0)
        return ReplyTo(Address("slack", f"D{person.id}", "T1"), person, "direct", ""), "en"

    def destination_after(self, to: ReplyTo, post: str = "") -> ReplyTo:
        return replace(to, source=f"after {post}")


@asynccontextmanager
async def team(
    bot_home: BotHome, policy: Policy | None = None, rules: TableRules = RULES
) -> AsyncIterator[tuple[RunningBot, Workspace]]:
    """Mia asks in a channel that Cleo, who approves, does not read. The test redraws."""
    policy = policy or allow_list(frozenset({"slack:U1"}), frozenset({"slack:U9"}))
    table = MemoryTable({"1": dict(ADA)})
    table.is_editable = True
    async with bot(bot_home, table, policy=policy, rules=rules) as ponte:
        await ponte.stop_redrawing()
        workspace = Workspace()
        messengers = ponte.engine.platforms.messengers
        messengers["slack"] = cast(Messenger, workspace)
        yield ponte, workspace


async def ask(ponte: RunningBot) -> str:
    """Return the id of a new proposal."""
    rows = {"1": {"Name": "A"}}
    return (await proposed_on_slack(ponte, "k1", "table_update", rows=rows)).id


async def deny(ponte: RunningBot, id: str) -> None:
    assert "Denied" in (await says(ponte, f"deny {id}", "deny")).text


def direct_posts(ponte: RunningBot) -> list[RecordedPost]:
    return [post for post in ponte.recorder.posts if post.channel == f"D{APPROVER.id}"]


async def test_an_approver_is_asked_once_known_to_be_no_guest(bot_home: BotHome) -> None:
    is_guest: list[bool | None] = [None]

    async def find_guest(person: Person, max_age: float) -> bool | None:
        return is_guest[0] if person == APPROVER else False

    clock = Clock()
    policy = allow_list(
        frozenset({"slack:U1"}), frozenset({"slack:U9"}), {}, {"slack": find_guest}, clock
    )
    async with team(bot_home, policy) as (ponte, _):
        await ask(ponte)
        assert await ponte.engine.redraw.once() == 1
        assert direct_posts(ponte) == []
        is_guest[0] = False
        clock.now += 300
        assert await ponte.engine.redraw.once() == 0
        (copy,) = direct_posts(ponte)
        assert copy.text.startswith("Mia requested this in another conversation. You can decide")


async def test_an_approver_is_asked_once_no_rule_can_deny_it(bot_home: BotHome) -> None:
    groups: list[frozenset[str] | None] = [None]

    async def find_groups(person: Person, max_age: float) -> frozenset[str] | None:
        return groups[0]

    policy = allow_list(
        frozenset({"slack:U1"}), frozenset({"slack:U9"}), memberships={"slack": find_groups}
    )
    no_clerks = Rule("rule 1", frozenset({"slack:S1"}), deny=("approve",))
    policy.read_rules = fixed_rules(RuleBook((no_clerks,)))
    async with team(bot_home, policy) as (ponte, _):
        await ask(ponte)
        assert await ponte.engine.redraw.once() == 1
        assert direct_posts(ponte) == []
        groups[0] = frozenset()
        assert await ponte.engine.redraw.once() == 0
        assert len(direct_posts(ponte)) == 1


async def test_who_must_approve_again_is_reminded(bot_home: BotHome) -> None:
    """Their approval does not count, because they were removed since and came back."""
    has_left = dict[Person, bool]()

    async def find_departure(person: Person, address: Address, since: float) -> bool:
        return has_left.get(person, False)

    policy = allow_list(frozenset({"slack:U1", "slack:U5"}), frozenset({"slack:U9"}))
    policy.people.departures["slack"] = find_departure
    rule = replace(RULES.tables["people"], approvals=2)
    rules = TableRules({"people": rule})
    async with team(bot_home, policy, rules) as (ponte, _):
        id = await ask(ponte)
        assert await ponte.engine.redraw.once() == 0
        direct = replace(on_slack("", "k").address, channel="DU5", thread="", is_shared=False)
        decision = DecisionRequest(id, 91, APPROVER, direct, is_click=True, revision=1)
        await ponte.engine.changes.decisions.decide("approve", decision)
        has_left[APPROVER] = True
        change = await ponte.engine.changes.ledger.get(id)
        assert len(change.consents) == 1
        assert (await ponte.engine.changes.views.without_void(change)).consents == ()
        config = ponte.engine.changes.approval.config
        assert isinstance(config, FixedConfig)
        config.table_rules = replace(rules, remind_after=60.0)
        bot_home.clock.now += 120.0
        assert await ponte.engine.redraw.once() == 0
        texts = [post.text for post in direct_posts(ponte)]
        assert (len(texts), "is waiting for approval" in texts[-1]) == (2, True)


HOUR_SECONDS = 3_600.0


@pytest.mark.parametrize("approvers_only", [False, True])
async def test_what_nobody_decided_is_sent_to_admins_once(
    bot_home: BotHome, approvers_only: bool
) -> None:
    rule = replace(RULES.tables["people"], approvers_only=approvers_only)
    rules = TableRules({"people": rule}, remind_after=5 * HOUR_SECONDS)
    rules = replace(rules, escalate_after=4 * HOUR_SECONDS)
    async with team(bot_home, rules=rules) as (ponte, _):
        id = await ask(ponte)

        async def pass_hours(hours: float) -> Sequence[str]:
            bot_home.clock.now += hours * HOUR_SECONDS
            count = len(ponte.recorder.posts)
            assert await ponte.engine.redraw.once() == 0
            return [f"{post.channel}: {post.text}" for post in ponte.recorder.posts[count:]]

        (request,) = await pass_hours(0)
        assert request.startswith("DU5: Mia requested this")
        assert "waiting for" not in request
        assert await pass_hours(3.9) == []
        copies = await pass_hours(0.2)
        if approvers_only:
            (reminder,) = copies
            assert reminder.startswith(f"DU5: `{id}` is waiting"), "nobody else can be asked"
        else:
            (copy,) = copies
            assert copy.startswith("DU9: Mia requested this in another conversation.")
            assert f"`deny {id}`. This request has been waiting for more than 4 hours." in copy
        assert await pass_hours(18.8) == [], "the admins were asked in place of a reminder"
        reminders = await pass_hours(0.2)
        expected = ["DU5", "C1"] if approvers_only else ["DU5", "DU9", "C1"]
        assert sorted(expected) == sorted(text.split(": ")[0] for text in reminders)
        assert all("It expires in 54 minutes. Type `approve" in text for text in reminders)
        assert await pass_hours(0.5) == []


async def test_a_late_escalation_is_not_lost_to_the_last_hour(bot_home: BotHome) -> None:
    rules = replace(RULES, escalate_after=23.5 * HOUR_SECONDS)
    async with team(bot_home, rules=rules) as (ponte, _):
        await ask(ponte)
        assert await ponte.engine.redraw.once() == 0
        count = len(ponte.recorder.posts)
        bot_home.clock.now += 23.6 * HOUR_SECONDS
        for _ in range(2):
            assert await ponte.engine.redraw.once() == 0
        posts = [f"{post.channel}: {post.text}" for post in ponte.recorder.posts[count:]]
        assert [text for text in posts if text.startswith("DU9: Mia requested this")], posts
        assert len(posts) == len(set(posts)) == 3


async def test_nobody_is_reminded_of_a_request_whose_time_is_over(bot_home: BotHome) -> None:
    """Ponte was away; the request is closed a moment later."""
    async with team(bot_home) as (ponte, _):
        await ask(ponte)
        assert await ponte.engine.redraw.once() == 0
        bot_home.clock.now += 24.5 * HOUR_SECONDS
        assert await ponte.engine.redraw.requests.once() == 0
        assert not [post for post in ponte.recorder.posts if "is waiting for" in post.text]


async def test_an_approver_elsewhere_is_reminded_of_a_request_on_the_page(
    bot_home: BotHome,
) -> None:
    rules = replace(RULES, remind_after=60.0)
    async with team(bot_home, rules=rules) as (ponte, _):
        await propose(ponte, "table_update", rows={"1": {"Name": "A"}})
        assert await ponte.engine.redraw.once() == 0
        bot_home.clock.now += 120.0
        assert await ponte.engine.redraw.once() == 0
        texts = [post.text for post in direct_posts(ponte)]
        assert (len(texts), "is waiting for approval" in texts[-1]) == (2, True)


async def test_what_was_decided_meanwhile_is_not_sent_to_an_approver(bot_home: BotHome) -> None:
    async with team(bot_home) as (ponte, workspace):
        id = await ask(ponte)
        workspace.is_busy = True
        assert await ponte.engine.redraw.once() == 1
        await deny(ponte, id)
        workspace.is_busy = False
        assert await ponte.engine.redraw.once() == 0
        assert direct_posts(ponte) == []
        assert await ponte.engine.conversations.outbox.list_unposted() == []


async def test_nobody_is_reminded_of_a_card_that_they_do_not_have(bot_home: BotHome) -> None:
    async with team(bot_home) as (ponte, _):
        id, outbox = await ask(ponte), ponte.engine.conversations.outbox
        await outbox.put(ApprovalNotice(id, "reminder", BOSS))
        assert await ponte.engine.redraw.once() == 0
        assert [post.source for post in direct_posts(ponte)] == ["direct"]
        assert not [post for post in ponte.recorder.posts if "is waiting" in post.text]
        assert await outbox.list_unposted() == []


async def test_an_approvers_copy_shows_the_version_that_was_changed(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that lost its lease posts no notices."""
    is_lost = [True]

    def check_ownership() -> None:
        if is_lost[0]:
            raise TakenOver

    async with team(bot_home) as (ponte, _):
        id = await ask(ponte)
        monkeypatch.setattr(ponte.engine.conversations.journal, "check_ownership", check_ownership)
        with pytest.raises(TakenOver):
            await ponte.engine.redraw.once()
        assert direct_posts(ponte) == []
        is_lost[0] = False
        assert await ponte.engine.redraw.once() == 0
        assert len(direct_posts(ponte)) == 1
        reply = await says(ponte, f"change {id} Name = B", "change")
        assert "Saved the new values of" in reply.text
        await ponte.engine.redraw.once()
        assert len(direct_posts(ponte)) == 1, "the copy is redrawn, and no second one is posted"
        (copy,) = await ponte.engine.conversations.outbox.list_copies(id)
        change = await ponte.engine.changes.ledger.get(id)
        assert (change.proposal.revision, copy.drawn_version) == (2, change.version)


async def test_a_copy_that_could_not_be_redrawn_is_redrawn_later(bot_home: BotHome) -> None:
    """And a card after the pause that the platform asked for."""
    async with team(bot_home) as (ponte, _):
        id = await ask(ponte)
        await ponte.engine.redraw.once()
        await deny(ponte, id)
        ponte.recorder.faults.lose_before = 2  # the card, then its copy
        assert await ponte.engine.redraw.once() == 2
        ponte.recorder.faults.busy = 1
        assert await ponte.engine.redraw.once() == 0
        card = next(post for post in ponte.recorder.posts if post.source == "slack:k1")
        for post in (card, *direct_posts(ponte)):
            assert f"⟦{id} denied" in post.text


@pytest.mark.parametrize("is_listed", [False, True], ids=["a copy", "a card in a list"])
async def test_ponte_gives_up_a_card_that_can_never_be_redrawn(
    bot_home: BotHome, limits: Limits, is_listed: bool
) -> None:
    limits(MAX_COPY_REDRAWS=3)
    limits(MAX_REDRAW_TRIES=3)
    async with team(bot_home) as (ponte, workspace):
        recorder, redraw = ponte.recorder, ponte.engine.redraw
        id = await ask(ponte)
        workspace.is_busy = is_listed  # so that there is a list and no copy
        await redraw.once()
        if is_listed:
            question = in_direct_message("approvals", "k2")
            assert len((await ponte.ask_message(question)).cards) == 1
        await deny(ponte, id)
        edits = recorder.calls.count("edit")
        for remaining in (2, 2, 0, 0):
            recorder.faults.lose_before = 2  # the card, and its copy or the list
            assert await redraw.once() == remaining
        assert recorder.calls.count("edit") - edits == 6, "three times each"


def in_direct_message(text: str, key: str) -> Message:
    return on_slack(text, key, APPROVER, channel="D1", shared=False)


async def test_a_list_is_redrawn_by_a_process_that_has_its_platform(bot_home: BotHome) -> None:
    async with team(bot_home) as (ponte, _):
        id, replies = await ask(ponte), ponte.engine.platforms.replies
        await ponte.ask_message(in_direct_message("approvals", "k2"))
        await deny(ponte, id)
        slack = replies.pop("slack")
        assert await ponte.engine.redraw.once() == 0
        listing = next(post for post in ponte.recorder.posts if post.channel == "D1")
        assert listing.text.endswith(f"⟦{id} open approve/deny⟧")
        replies["slack"] = slack
        assert await ponte.engine.redraw.once() == 0
        assert f"⟦{id} denied" in listing.text


async def test_a_card_that_was_decided_while_its_list_was_posted_is_redrawn(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with team(bot_home) as (ponte, _):
        engine, recorder, gate = ponte.engine, ponte.recorder, Gate()
        id, make_post = await ask(ponte), recorder.post

        async def post(channel: str, source: str, key: str, text: str) -> str:
            if channel == "D1":
                await gate.wait()
            return await make_post(channel, source, key, text)

        monkeypatch.setattr(recorder, "post", post)
        await engine.conversations.inbox.accept(in_direct_message("approvals", "k2"))
        await gate.wait_until_reached()
        await deny(ponte, id)
        assert await engine.redraw.once() == 0
        gate.release()
        await ponte.ask_message(in_direct_message("help", "k3"))  # the turn before has ended
        assert await engine.redraw.once() == 0
        listing = next(post for post in recorder.posts if post.channel == "D1")
        assert f"⟦{id} denied" in listing.text
