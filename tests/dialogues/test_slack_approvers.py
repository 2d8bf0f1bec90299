"""Who approves and does not read along is asked in a direct message: once, and closed with all."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.base.tasks import cancel_all
from core.changes.approval import TableRule, TableRules
from core.domain.changes import PROPOSAL_LIFETIME_SECONDS
from core.domain.messages import Person
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.clock import Clock
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel
from tests.fakes.notices import notify
from tests.fakes.slack import Post, SlackChannel, SlackPerson
from tests.slack.bot import Setting, Workplace, workplace

DELETE = f"call table_delete {json.dumps({'ids': ['1']})}"


@dataclass
class Team:
    """Alice asks in #general, where Bob reads along; Carol and Dora are in the group that approves
    with him, and not in that channel. Gus is a guest in that group, and Robo another app."""

    w: Workplace
    table: MemoryTable
    clock: Clock
    people: dict[str, SlackPerson]

    def dm(self, name: str) -> SlackChannel | None:
        places = self.w.slack.workspace.places.values()
        id = self.people[name].id
        return next((p for p in places if p.kind == "im" and id in p.members), None)

    def direct(self, name: str) -> SlackChannel:
        place = self.dm(name)
        assert place is not None
        return place

    def posts_to(self, name: str) -> list[Post]:
        place = self.dm(name)
        return self.w.slack.workspace.by_bot(place.id) if place else []

    async def asks(self, text: str = DELETE, place: SlackChannel | None = None) -> Post:
        """The post with the card."""
        bot = "" if place else f"{self.w.slack.bot} "
        message = self.w.slack.say(self.w.alice, place or self.w.general, f"{bot}{text}")
        return await self.w.slack.wait_for_answer(message)

    async def copies(self, *names: str) -> list[Post]:
        await self.w.slack.wait_until(lambda: all(self.posts_to(name) for name in names))
        return [self.posts_to(name)[0] for name in names]

    async def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.w.bot.engine.changes.lifecycle.on_change()

    async def until(self, true: Any) -> None:
        await self.w.slack.wait_until(true)


def are_decided(*posts: Post) -> bool:
    """Nobody can decide there any more, and what became of it stands there."""
    return all(
        not {"Approve", "Deny"} & {*post.buttons} and "in progress" not in post.visible_text
        for post in posts
    )


@asynccontextmanager
async def team(
    home: Path,
    approvals: int = 1,
    remind_after: float = 4 * 3600.0,
    approvers_only: bool = False,
    **options: Any,
) -> AsyncIterator[Team]:
    table, clock = MemoryTable({"1": {"Name": "Ada"}}), Clock(time.time())
    rules = TableRules(
        {"people": TableRule("ask", frozenset({"slack:S1"}), approvals, approvers_only)}
    )
    rules = replace(rules, remind_after=remind_after)
    policy = allow_list(frozenset({"*"}), frozenset())
    choices = make_choices(EchoModel(), [table], policy, [table], rules=rules)
    choices = replace(choices, clock=clock, **options)
    async with workplace(home, Setting(chosen=choices)) as w:
        slack = w.slack
        people = {name: slack.person(name) for name in ("Carol", "Dora")}
        people |= {"Alice": w.alice, "Bob": w.bob}
        people["Gus"] = slack.person("Gus", guest="multi")
        people["Robo"] = slack.person("Robo", is_bot=True)
        slack.workspace.groups["S1"] = {
            people[name].id for name in ("Bob", "Carol", "Dora", "Gus", "Robo")
        }
        policy.admins = frozenset({f"slack:{w.alice.id}"} if approvers_only else ())
        yield Team(w, table, clock, people)


async def test_who_does_not_read_along_is_asked_in_a_direct_message(tmp_path: Path) -> None:
    async with team(tmp_path) as t:
        card = await t.asks()
        carol, dora = await t.copies("Carol", "Dora")
        assert "Alice requested this in \\#general" in carol.visible_text
        assert list(carol.buttons) == list(card.buttons) == ["Approve", "Deny"]
        await t.w.slack.click(t.people["Carol"], carol, "Approve").acked.wait()
        await t.until(lambda: are_decided(card, carol, dora))
        assert t.table.rows == {}
        for post in (card, carol, dora):
            assert "Approved by Carol" in post.visible_text
        for name in ("Bob", "Gus", "Robo"):
            assert t.posts_to(name) == [], name
        assert len(t.posts_to("Carol")) == len(t.posts_to("Dora")) == 1


async def test_an_administrator_presses_in_vain_where_only_approvers_decide(tmp_path: Path) -> None:
    async with team(tmp_path, approvers_only=True) as t:
        card = await t.asks()
        (carol,) = await t.copies("Carol")
        assert "admin" not in card.visible_text
        slack = t.w.slack
        await slack.click(t.w.alice, card, "Approve").acked.wait()
        await t.until(lambda: slack.ephemeral_posts(t.w.general.id))
        (post,) = slack.ephemeral_posts(t.w.general.id)
        assert "Only a designated approver can decide" in post.visible_text
        await slack.click(t.people["Carol"], carol, "Approve").acked.wait()
        await t.until(lambda: are_decided(card))
        assert "Approved by Carol" in card.visible_text


async def test_two_approve_from_their_direct_messages(tmp_path: Path) -> None:
    async with team(tmp_path, approvals=2) as t:
        card = await t.asks()
        carol, dora = await t.copies("Carol", "Dora")
        await t.w.slack.click(t.people["Carol"], carol, "Approve").acked.wait()
        await t.until(
            lambda: all("1 of 2 approvals, by Carol" in p.visible_text for p in (card, dora))
        )
        assert t.table.applied == []
        await t.w.restart()
        word = f"approve {dora.buttons['Approve']['value']}"
        message = t.w.slack.say(t.people["Dora"], t.direct("Dora"), word)
        await t.until(lambda: are_decided(card, carol, dora))
        assert "Approved by Carol, Dora" in (await t.w.slack.wait_for_answer(message)).visible_text
        assert "Approved by Carol, Dora" in carol.visible_text
    assert t.table.rows == {}


async def test_a_copy_whose_answer_was_lost_is_not_made_twice(tmp_path: Path) -> None:
    async with team(tmp_path) as t:
        t.w.slack.workspace.groups["S1"] = {t.people["Carol"].id}
        gate = t.w.slack.api.hold("conversations.open")
        card = await t.asks()
        t.w.slack.api.faults.add("chat.postMessage", "lost", 1)
        gate.release()
        (carol,) = await t.copies("Carol")
        await t.w.slack.click(t.people["Carol"], carol, "Deny").acked.wait()
        await t.until(lambda: are_decided(card, carol))
        assert len(t.posts_to("Carol")) == 1


async def test_a_crash_before_the_record_does_not_post_twice(tmp_path: Path) -> None:
    async with team(tmp_path) as t:
        await t.asks()
        await t.copies("Carol", "Dora")
        outbox = t.w.bot.engine.conversations.outbox
        id = t.posts_to("Carol")[0].buttons["Approve"]["value"]
        while len(copies := await outbox.list_copies(id)) < 2:
            await t.until(lambda: True)
        # Else this process may find the post before the next one does.
        await cancel_all([one for one in asyncio.all_tasks() if one.get_name() == "redraw"])
        for one in copies:
            await outbox.put(replace(one, state="posting", post="", drawn_version=0))
        assert await outbox.list_copies(id) == []
        await t.w.restart()
        again = t.w.bot.engine.conversations.outbox
        while [each.post for each in await again.list_copies(id)] != [each.post for each in copies]:
            await t.until(lambda: True)
        assert len(t.posts_to("Carol")) == len(t.posts_to("Dora")) == 1


async def test_who_cannot_be_written_to_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with team(tmp_path) as t:
        t.w.slack.api.faults.add("conversations.open", "user_not_visible", 1)
        card = await t.asks()
        await t.until(lambda: t.posts_to("Carol") or t.posts_to("Dora"))
        (copy,) = [*t.posts_to("Carol"), *t.posts_to("Dora")]
        who = t.people["Carol" if t.posts_to("Carol") else "Dora"]
        await t.w.slack.click(who, copy, "Approve").acked.wait()
        await t.until(lambda: are_decided(card, copy))


async def test_without_the_scopes_everybody_is_asked_who_may_be(tmp_path: Path) -> None:
    async with team(tmp_path) as t:
        t.w.slack.api.without = {"channels:read"}
        await t.asks()
        (bob,) = await t.copies("Bob")
        assert "Alice solicitou isto em outra conversa" in bob.visible_text, "in his language"


async def test_a_copy_of_a_card_does_not_reveal_a_direct_message(tmp_path: Path) -> None:
    async with team(tmp_path) as t:
        await t.asks(place=t.w.dm)
        bob, carol = await t.copies("Bob", "Carol")
        assert "Alice requested this in a direct message with me" in carol.visible_text
        assert "Ada" in bob.visible_text, "the card is the same"


async def test_they_are_reminded_once_under_their_copy(tmp_path: Path) -> None:
    async with team(tmp_path) as t:
        card = await t.asks()
        carol, dora = await t.copies("Carol", "Dora")
        await t.passes(4 * 3600 + 1)
        await t.until(lambda: len(t.posts_to("Carol")) == len(t.posts_to("Dora")) == 2)
        for name, copy in (("Carol", carol), ("Dora", dora)):
            reminder = t.posts_to(name)[1]
            assert reminder.thread_ts == copy.ts
            assert "` is waiting for approval:" in reminder.visible_text
            assert "It expires in 20 hours" in reminder.visible_text
        await t.w.restart()
        await t.passes(3600)
        await t.w.slack.click(t.people["Bob"], card, "Deny").acked.wait()
        await t.until(lambda: are_decided(carol, dora))
        assert len(t.posts_to("Carol")) == len(t.posts_to("Dora")) == 2


async def test_where_nobody_is_written_to_the_reminder_stands_where_it_was_asked(
    tmp_path: Path,
) -> None:
    async with team(tmp_path) as t:
        t.w.slack.workspace.groups["S1"] = {t.people["Bob"].id}
        card = await t.asks()
        await t.passes(4 * 3600 + 1)
        there = t.w.slack.workspace
        await t.until(lambda: len(there.by_bot(card.channel)) == 2)
        reminder = there.by_bot(card.channel)[1]
        assert reminder.thread_ts == card.thread_ts
        assert "` is waiting for approval:" in reminder.visible_text


async def test_that_it_expired_is_said_where_it_was_asked(tmp_path: Path) -> None:
    async with team(tmp_path, remind_after=0) as t:
        card = await t.asks()
        carol, dora = await t.copies("Carol", "Dora")
        await t.passes(PROPOSAL_LIFETIME_SECONDS + 1)
        there = t.w.slack.workspace
        await t.until(lambda: len(there.by_bot(card.channel)) == 2)
        line = there.by_bot(card.channel)[1]
        assert (line.thread_ts, "` expired because no one approved it" in line.visible_text) == (
            card.thread_ts,
            True,
        )
        await t.until(lambda: are_decided(card, carol, dora))
        await t.w.restart()
        await t.passes(60)
        message = t.w.slack.say(t.w.alice, t.w.general, f"{t.w.slack.bot} hello")
        await t.w.slack.wait_for_answer(message)
        assert [
            p.visible_text.count("` expired because") for p in there.by_bot(card.channel)
        ].count(1) == 1
        assert len(t.posts_to("Carol")) == 1


async def test_approvals_in_a_direct_message_lists_cards_with_buttons(tmp_path: Path) -> None:
    """Within Slack's limits; a decision there redraws the first card as well."""
    async with team(tmp_path) as t:
        card = await t.asks()
        (copy,) = await t.copies("Carol")
        slack, carol, dm = t.w.slack, t.people["Carol"], t.dm("Carol")
        assert dm is not None
        answer = await slack.wait_for_answer(slack.say(carol, dm, "approvals"))
        assert "1 request is waiting for you." in answer.visible_text
        assert list(answer.buttons) == ["Approve", "Deny"]
        await slack.click(carol, answer, "Deny").acked.wait()
        await t.until(lambda: are_decided(card, copy, answer))
        assert "Denied by Carol" in answer.visible_text
    assert t.table.applied == []


async def test_a_notice_to_a_person_is_a_direct_message_in_their_language(tmp_path: Path) -> None:
    """Once, also when the sender looks again; names in it cannot mention or link."""
    async with team(tmp_path) as t:
        t.people["Carol"].locale = "fr-FR"
        carol = Person("slack", t.people["Carol"].id, t.people["Carol"].team, "Carol")
        await notify(t.w.bot.engine, carol, "api-token-revoked", name="*shop* <!channel>")
        await t.until(lambda: t.posts_to("Carol"))
        await t.passes(1)
        await notify(t.w.bot.engine, carol, "link-renewed")
        await t.until(lambda: len(t.posts_to("Carol")) == 2)
        first, second = t.posts_to("Carol")
        assert "Le propriétaire de Ponte a révoqué" in first.visible_text
        assert "\\*shop\\* \\<\u2060!channel" in first.visible_text
        assert "lien de connexion" in second.visible_text
        assert await t.w.bot.engine.notices.list_waiting(carol) == []


async def test_a_list_of_requests_is_redrawn_when_they_are_decided_elsewhere(
    tmp_path: Path,
) -> None:
    """The newest list at once, an older one when its button is pressed, also after a restart."""
    async with team(tmp_path) as t:
        first, second = await t.asks(), await t.asks()
        await t.copies("Carol")
        place = t.direct("Carol")
        lists = []
        for _ in range(2):
            message = t.w.slack.say(t.people["Carol"], place, "approvals")
            lists.append(await t.w.slack.wait_for_answer(message))
        older, newest = lists
        assert (open_cards(older), open_cards(newest)) == (2, 2)
        await t.w.slack.click(t.people["Bob"], first, "Deny").acked.wait()
        await t.until(lambda: open_cards(newest) == 1)
        assert newest.visible_text.count("Denied by Bob") == 1
        await t.w.restart()
        await t.w.slack.click(t.people["Bob"], second, "Deny").acked.wait()
        await t.until(lambda: open_cards(newest) == 0)
        assert newest.visible_text.count("Denied by Bob") == 2
        assert open_cards(older) == 2
        await t.w.slack.click(t.people["Carol"], older, "Approve").acked.wait()
        await t.until(lambda: open_cards(older) == 1)
        assert "Denied by Bob" in older.visible_text
    assert t.table.applied == []


def open_cards(post: Post) -> int:
    return str(post.blocks).count("'ponte_card_approve'")


async def test_a_change_that_no_post_holds_is_read_and_approved_in_words(tmp_path: Path) -> None:
    name = "word " * 3000 + "END"
    async with team(tmp_path) as t:
        card = await t.asks(f"call table_update {json.dumps({'rows': {'1': {'Name': name}}})}")
        (copy,) = await t.copies("Carol")
        id = card.buttons["Deny"]["value"]
        for post in (card, copy):
            assert list(post.buttons) == ["Deny"]
            assert f"type `approve {id}`" in post.visible_text
        slack, carol = t.w.slack, t.people["Carol"]
        message = slack.say(carol, t.direct("Carol"), f"approve {id}")
        await t.until(
            lambda: "END" in "".join(p.visible_text for p in slack.finished_answers(message))
        )
        text = "".join(post.visible_text for post in slack.finished_answers(message))
        assert text.count("word") == 3000
        (code,) = re.findall(rf"approve ({id}-\d+)", text)
        assert t.table.applied == []
        slack.say(carol, t.direct("Carol"), f"approve {code}")
        await t.until(lambda: are_decided(card, copy))
        assert t.table.rows["1"]["Name"] == name
