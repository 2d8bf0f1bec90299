"""The asker of a denied, expired or failed request proposes it again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.changes.approval import TableRule, TableRules
from core.domain.changes import PROPOSAL_LIFETIME_SECONDS
from core.domain.messages import Card
from tests.dialogues.bot_home import BotHome, RunningBot, also_on_postgres
from tests.dialogues.decisions import (
    ADA,
    BOSS,
    MEMBER,
    OTHER,
    STRANGER,
    bot,
    proposed_on_slack,
    says,
)
from tests.dialogues.test_approvals import GUEST, rights
from tests.dialogues.test_changed_cards import NEW, editable
from tests.dialogues.test_discord_approvers import Team
from tests.dialogues.test_discord_approvers import are_decided as is_decided_on_discord
from tests.dialogues.test_discord_approvers import team as team
from tests.dialogues.test_slack_approvers import are_decided
from tests.dialogues.test_slack_approvers import team as slack_team
from tests.fakes.discord.people import name_button
from tests.fakes.discord.world import Payload
from tests.fakes.memory_table import MemoryTable


async def denied_card(ponte: RunningBot, tool: str = "table_update", **arguments: Any) -> Card:
    """A request of Mia that Bea denied."""
    card = await proposed_on_slack(ponte, "k1", tool, **arguments or {"rows": {"1": NEW}})
    await says(ponte, f"deny {card.id} Not now.", "k2", BOSS)
    return card


async def test_a_denied_request_is_proposed_with_its_values_and_the_rows_as_they_are(
    bot_home: BotHome,
) -> None:
    table = editable()
    async with bot(bot_home, table, policy=rights()) as ponte:
        old = await denied_card(ponte)
        views = ponte.engine.changes.views
        assert (await views.cards([old.id]))[0].actions == ("again",)
        table.rows["1"]["Status"] = "Elsewhere"
        answer = await says(ponte, f"again {old.id}", "k3")
        (new,) = answer.cards
        assert (new.id != old.id, new.state, new.revision) == (True, "open", 1)
        assert new.rows[0]["before"]["Status"] == "Elsewhere"
        assert new.rows[0]["after"] == NEW
        assert (await views.cards([old.id]))[0].actions == (), "it is proposed again once"
    async with bot(bot_home, table, policy=rights()) as ponte:
        ledger = ponte.engine.changes.ledger
        change = await ledger.get(new.id)
        assert (change.proposal.asker, change.denial_reason) == (MEMBER, "")
        await says(ponte, f"approve {new.id}", "k4", clicked=True)
        assert table.rows["1"] == NEW
        assert (await ledger.get(old.id)).state == "denied"


@also_on_postgres
async def test_it_is_proposed_again_once_also_by_two_presses_at_once(bot_home: BotHome) -> None:
    async with bot(bot_home, editable(), policy=rights()) as ponte:
        old = await denied_card(ponte)
        presses = [says(ponte, f"again {old.id}", f"k{n}", clicked=True) for n in (3, 4)]
        answers = await asyncio.gather(*presses)
        ids = {card.id for answer in answers for card in answer.cards}
        assert len(ids) == 1
        assert sorted("already proposed again" in one.text for one in answers) == [False, True]
        later = await says(ponte, f"again {old.id}", "k5")
        assert later.text.endswith(f"already proposed again as `{ids.pop()}`.")


async def test_an_event_that_is_handled_twice_finds_its_proposal(bot_home: BotHome) -> None:
    table = editable()
    async with bot(bot_home, table, policy=rights()) as ponte:
        old = await denied_card(ponte)
        propose_again = ponte.engine.changes.ledger.propose_again
        crashes = [True]

        async def crash(*values: object, **more: object) -> object:
            change = await propose_again(*values, **more)  # type: ignore[arg-type]
            if crashes:
                crashes.clear()
                raise RuntimeError("a crash before the answer")
            return change

        ponte.engine.changes.ledger.propose_again = crash  # type: ignore[method-assign,assignment]
        decisions, request = ponte.engine.changes.decisions, None
        real = type(decisions).decide

        async def twice(self: object, action: object, decision: object) -> object:
            nonlocal request
            request = decision
            with pytest.raises(RuntimeError):
                await real(self, action, decision)  # type: ignore[arg-type]
            table.rows.clear()  # the second time reads no rows
            return await real(self, action, decision)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(decisions), "decide", twice)
            answer = await says(ponte, f"again {old.id}", "k3")
        (new,) = answer.cards
        assert new.state == "open"
        changes = await ponte.engine.changes.ledger.list_of_conversation("", 20)
        assert {one.id for one in changes} == {old.id, new.id}


async def test_an_expired_request_is_proposed_again(bot_home: BotHome) -> None:
    table = editable()
    async with bot(bot_home, table, policy=rights()) as ponte:
        old = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": NEW})
        bot_home.clock.now += PROPOSAL_LIFETIME_SECONDS + 1
        await ponte.engine.changes.lifecycle.end_overdue()
        (expired,) = await ponte.engine.changes.views.cards([old.id])
        assert (expired.state, expired.actions) == ("expired", ("again",))
        (new,) = (await says(ponte, f"again {old.id}", "k2", clicked=True)).cards
        assert new.expires_at == bot_home.clock.now + PROPOSAL_LIFETIME_SECONDS
        await says(ponte, f"approve {new.id}", "k3", clicked=True)
        assert table.rows["1"] == NEW


async def test_a_request_that_failed_is_proposed_again(bot_home: BotHome) -> None:
    """For example because the table's server refused its token for a moment."""
    table = editable()
    async with bot(bot_home, table, policy=rights()) as ponte:
        old = await proposed_on_slack(ponte, "k1", "table_update", rows={"1": NEW})
        table.rows["1"]["Status"] = "Moved"
        await says(ponte, f"approve {old.id}", "k2", clicked=True)
        (failure,) = await ponte.engine.changes.views.cards([old.id])
        assert (failure.state, failure.actions) == ("failed", ("again",))
        (new,) = (await says(ponte, f"again {old.id}", "k3", clicked=True)).cards
        await says(ponte, f"approve {new.id}", "k4", clicked=True)
        assert table.rows["1"] == NEW
        table.rows["1"]["Status"] = "Moved"
        answer = await says(ponte, f"undo {new.id}", "k5", clicked=True)
        (undo,) = (card for card in answer.cards if card.id != new.id)
        assert (undo.state, undo.actions) == ("failed", ())


async def test_the_policy_never_decides_what_is_proposed_again(bot_home: BotHome) -> None:
    table = editable()
    async with bot(bot_home, table, policy=rights()) as ponte:
        old = await denied_card(ponte, "table_create", rows=[NEW])
    rules = TableRules({"People": TableRule("auto")})
    async with bot(bot_home, table, policy=rights(), rules=rules) as ponte:
        (new,) = (await says(ponte, f"again {old.id}", "k3")).cards
        assert new.state == "open"
        assert table.applied == []


async def test_nobody_but_its_asker_proposes_it_again(bot_home: BotHome) -> None:
    async with bot(bot_home, editable(), policy=rights()) as ponte:
        old = await denied_card(ponte)
        for number, who in enumerate((OTHER, BOSS, STRANGER, GUEST, replace(MEMBER, is_bot=True))):
            word = f"again {old.id}"
            answer = await says(ponte, word, f"w{number}", who, clicked=True, thread="tU1")
            assert answer.cards == (), who
        changes = await ponte.engine.changes.ledger.list_of_conversation("", 20)
        assert [one.id for one in changes] == [old.id]


async def test_what_cannot_be_proposed_again_says_why(bot_home: BotHome) -> None:
    table = editable()
    async with bot(bot_home, table, policy=rights()) as ponte:
        old = await denied_card(ponte)
        elsewhere = await says(ponte, f"again {old.id}", "k3", thread="t9")
        assert "requested in another conversation" in elsewhere.text
        del table.rows["1"]
        removal = await says(ponte, f"again {old.id}", "k4")
        assert removal.text.startswith("There is no row 1.")
        await says(ponte, "forget yes", "k5")
        reply = await says(ponte, f"again {old.id}", "k6")
        assert "can't be proposed again" in reply.text


async def test_where_nothing_can_be_read_again_it_is_not_offered(bot_home: BotHome) -> None:
    table = MemoryTable({"1": dict(NEW)})
    async with bot(bot_home, table, policy=rights()) as ponte:
        old = await denied_card(ponte, rows={"1": {"Name": "A"}})
        assert (await ponte.engine.changes.views.cards([old.id]))[0].actions == ()
        answer = await says(ponte, f"again {old.id}", "k3")
        assert "can't be proposed again" in answer.text


UPDATE = f"call table_update {json.dumps({'rows': {'1': NEW}})}"


def put_into(table: MemoryTable) -> None:
    """Fill the team's table with a row that a proposal can change."""
    table.rows["1"] = {**ADA, "Value": "1"}
    table.is_editable = True


async def test_on_slack_the_asker_presses_it_on_a_denied_request(tmp_path: Path) -> None:
    async with slack_team(tmp_path) as t:
        put_into(t.table)
        slack, card = t.w.slack, await t.asks(UPDATE)
        (copy,) = await t.copies("Carol")
        await slack.click(t.people["Carol"], copy, "Deny").acked.wait()
        await t.until(lambda: "Propose again" in card.buttons)
        await slack.click(t.w.bob, card, "Propose again").acked.wait()
        there = slack.workspace
        await t.until(lambda: slack.ephemeral_posts(card.channel))
        (refusal,) = slack.ephemeral_posts(card.channel)
        assert "Só essa pessoa pode propor a alteração de novo" in refusal.visible_text
        await t.w.restart()
        await slack.click(t.w.alice, card, "Propose again").acked.wait()
        await t.until(lambda: "Propose again" not in card.buttons)
        await t.until(lambda: len(t.posts_to("Carol")) == 2)
        (new,) = (post for post in there.by_bot(card.channel) if "Approve" in post.buttons)
        assert new.thread_ts == card.thread_ts
        await slack.click(t.people["Carol"], t.posts_to("Carol")[1], "Approve").acked.wait()
        await t.until(lambda: are_decided(new))
    assert t.table.rows["1"] == NEW


@pytest.mark.slow
async def test_on_discord_the_asker_presses_it_on_an_expired_request(team: Team) -> None:
    put_into(team.table)
    await team.ana.mention(UPDATE, team.channel)
    await team.discord.wait_until(lambda: team.cards(team.channel))
    (card,), _ = team.cards(team.channel), await team.copy()
    team.clock.now += PROPOSAL_LIFETIME_SECONDS + 1
    team.ponte.engine.changes.lifecycle.on_change()
    await team.discord.wait_until(lambda: "Propose again" in labels(card))
    ack = await (await team.cleo.click(card, "Propose again")).wait_for_ack()
    await ack.wait_until(lambda exchange: "Only they can" in repr(exchange.followups))
    await team.restart()
    await (await team.ana.click(card, "Propose again")).wait_for_ack()
    await team.discord.wait_until(
        lambda: "Propose again" not in labels(card) and len(team.cards(team.channel)) == 2
    )
    new = team.cards(team.channel)[1]
    await team.discord.wait_until(lambda: len(team.cards(team.cleo.dm)) == 2)
    await (await team.cleo.click(team.cards(team.cleo.dm)[1], "Approve")).wait_for_ack()
    await team.discord.wait_until(lambda: is_decided_on_discord(new))
    assert team.table.rows["1"] == NEW


def labels(message: Payload) -> list[str]:
    return [name_button(item) for row in message["components"] for item in row["components"]]
