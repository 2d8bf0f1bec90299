"""On Discord, too, who approves is asked in a direct message, where they are named by their id."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from core.changes.approval import TableRule, TableRules
from core.domain.changes import PROPOSAL_LIFETIME_SECONDS
from core.domain.messages import Person
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.card_buttons import on_card
from tests.fakes.change_form import FormBoard
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.clock import Clock
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.people import fields, name_button
from tests.fakes.discord.world import Channel, Payload
from tests.fakes.memory_table import MemoryTable
from tests.fakes.notices import notify

DELETE = f"call table_delete {json.dumps({'ids': ['1']})}"


@dataclass
class Team:
    """Ana asks on a server; Cleo, who approves, is elsewhere on it. A role approves as well."""

    discord: FakeDiscord
    ponte: DiscordPonte
    table: MemoryTable
    clock: Clock
    ana: DiscordPerson
    cleo: DiscordPerson
    channel: Channel

    async def asks(self) -> Payload:
        await self.ana.mention(DELETE, self.channel)
        await self.discord.wait_until(lambda: self.cards(self.channel))
        return self.cards(self.channel)[0]

    def cards(self, place: Channel) -> list[Payload]:
        return [m for m in self.own(place) if m["components"] or m["embeds"]]

    def own(self, place: Channel) -> list[Payload]:
        return self.discord.world.messages_by(self.discord.world.me.id, place.id)

    async def copy(self) -> Payload:
        await self.discord.wait_until(lambda: self.cards(self.cleo.dm))
        return self.cards(self.cleo.dm)[0]

    async def decide(self, label: str, card: Payload, *redrawn: Payload) -> None:
        """Cleo presses a button; all of these are redrawn."""
        await (await self.cleo.click(card, label)).wait_for_ack()
        await self.discord.wait_until(lambda: are_decided(*(redrawn or (card,))))

    async def restart(self) -> None:
        await self.ponte.close()
        await self.ponte.open()


@pytest.fixture
async def team(discord: FakeDiscord, tmp_path: Path) -> AsyncIterator[Team]:
    ponte = DiscordPonte(discord, tmp_path)
    table, clock = MemoryTable({"1": {"Name": "Ada"}}), Clock(time.time())
    ana, cleo = discord.user("Ana"), discord.user("Cleo")
    guild = discord.guild("Bolts", ana)
    role = discord.clock.snowflake()
    guild.roles[role] = "finance"
    channel = discord.text_channel(guild, "general")
    names = frozenset({f"discord:{cleo.id}", f"discord:{role}"})
    ponte.policy = allow_list(frozenset({"*"}), frozenset())
    rules = TableRules({"people": TableRule("ask", names)}, remind_after=4 * 3600.0)
    choices = make_choices(ponte.model, [table], ponte.policy, [table], rules=rules)
    ponte.choices = replace(choices, clock=clock)
    await ponte.open(threads=False)
    yield Team(discord, ponte, table, clock, ana, cleo, channel)
    await ponte.close()


def button_labels(card: Payload) -> list[str]:
    labels = [name_button(button) for row in card["components"] for button in row["components"]]
    return on_card(labels)


def are_decided(*cards: Payload) -> bool:
    return not any(
        {"Approve", "Deny"} & {*button_labels(card)}
        or "in progress" in card["embeds"][0]["author"]["name"]
        for card in cards
    )


@pytest.mark.slow
async def test_who_is_named_is_asked_in_a_direct_message(team: Team) -> None:
    card, copy = await team.asks(), await team.copy()
    assert "Ana requested this in" in copy["content"]
    assert "general (Bolts)" in copy["content"]
    assert copy["embeds"][0]["title"] == card["embeds"][0]["title"]
    await team.restart()
    await team.decide("Approve", copy, card, copy)
    assert "Approved by Cleo" in card["embeds"][0]["description"]
    assert team.table.rows == {}
    assert len(team.own(team.cleo.dm)) == 1


async def test_a_copy_whose_answer_was_lost_is_not_made_twice(team: Team) -> None:
    team.discord.lose("POST", f"/channels/{team.cleo.dm.id}/messages", times=3)
    await team.asks()
    await team.decide("Deny", await team.copy())
    assert len(team.own(team.cleo.dm)) == 1
    assert team.table.applied == []


async def test_who_takes_no_direct_messages_keeps_nobody_waiting(team: Team) -> None:
    team.cleo.user.refuses_dms = True
    card = await team.asks()
    await team.discord.wait_until(
        lambda: ("POST", f"/channels/{team.cleo.dm.id}/messages") in team.discord.calls
    )
    await team.ana.click(card, "Deny")
    await team.discord.wait_until(lambda: are_decided(card))
    assert team.discord.calls.count(("POST", f"/channels/{team.cleo.dm.id}/messages")) == 1


@pytest.mark.slow
async def test_they_are_reminded_and_it_expires(team: Team) -> None:
    card, copy = await team.asks(), await team.copy()
    team.clock.now += 4 * 3600 + 1
    team.ponte.engine.changes.lifecycle.on_change()
    await team.discord.wait_until(lambda: len(team.own(team.cleo.dm)) == 2)
    reminder = team.own(team.cleo.dm)[1]
    assert "` is waiting for approval:" in reminder["content"]
    assert reminder["message_reference"]["message_id"] == copy["id"]
    await team.restart()
    team.clock.now += PROPOSAL_LIFETIME_SECONDS
    team.ponte.engine.changes.lifecycle.on_change()
    await team.discord.wait_until(lambda: are_decided(card, copy))
    await team.discord.wait_until(
        lambda: any(
            "` expired because no one approved it" in m["content"] for m in team.own(team.channel)
        )
    )
    assert len(team.own(team.cleo.dm)) == 2


async def test_an_administrator_presses_in_vain_where_only_approvers_decide(team: Team) -> None:
    assert team.ponte.choices is not None
    tables = cast(dict[str, TableRule], team.ponte.choices.approval.config.table_rules.tables)
    tables["people"] = replace(tables["people"], approvers_only=True)
    team.ponte.policy.admins = frozenset({f"discord:{team.ana.id}"})
    card, copy = await team.asks(), await team.copy()
    click = await team.ana.click(card, "Approve")
    await click.wait_until(lambda e: "Only a designated approver" in str(e.followups))
    await team.decide("Approve", copy, card)
    assert "Approved by Cleo" in card["embeds"][0]["description"]


async def test_an_approver_in_the_channel_gets_no_direct_message(team: Team) -> None:
    assert team.channel.guild is not None
    team.channel.guild.members.add(team.cleo.id)
    card = await team.asks()
    await team.discord.wait_until(
        lambda: any(path.endswith(f"/members/{team.cleo.id}") for _, path in team.discord.calls)
    )
    await team.decide("Approve", card)
    assert team.own(team.cleo.dm) == []


async def test_approvals_in_a_direct_message_lists_cards_with_buttons(team: Team) -> None:
    """At most five under one message, as Discord has it; the rest are lines."""
    cards = []
    for number in range(1, 8):
        team.table.rows[str(number)] = {"Name": "Ada @everyone"}
        call = f"call table_delete {json.dumps({'ids': [str(number)]})}"
        await team.ana.mention(call, team.channel)
        await team.discord.wait_until(lambda: len(team.cards(team.channel)) == number)  # noqa: B023
        await team.discord.wait_until(lambda: len(team.cards(team.cleo.dm)) == number)  # noqa: B023
        cards = team.cards(team.channel)
    await team.cleo.say("approvals", team.cleo.dm)
    await team.discord.wait_until(lambda: len(team.own(team.cleo.dm)) > 7)
    listing = team.own(team.cleo.dm)[-1]
    assert listing["content"].startswith("7 requests are waiting for you.")
    assert listing["content"].count("requested by Ana") == 2
    assert button_labels(listing) == ["Approve", "Deny"] * 5
    assert "@everyone" not in json.dumps([listing["content"], listing["embeds"]])
    await team.decide("Deny", listing, cards[0])
    await team.discord.wait_until(lambda: "Denied by Cleo" in json.dumps(listing["embeds"][0]))
    copies = team.cards(team.cleo.dm)
    await (await team.cleo.click(copies[1], "Deny")).wait_for_ack()
    await team.discord.wait_until(lambda: "Denied by Cleo" in json.dumps(listing["embeds"][1]))
    assert button_labels(listing).count("Approve") == button_labels(listing).count("Deny") == 3
    assert team.table.applied == []


async def test_a_notice_to_a_person_is_one_direct_message(team: Team) -> None:
    """Also after a restart, and without a change that it is about."""
    person = Person("discord", str(team.cleo.id), name="Cleo")
    await notify(team.ponte.engine, person, "link-renewed")
    await team.discord.wait_until(lambda: team.own(team.cleo.dm))
    await team.restart()
    await notify(team.ponte.engine, person, "api-token-revoked", name="*shop*")
    await team.discord.wait_until(lambda: len(team.own(team.cleo.dm)) > 1)
    first, second = (post["content"] for post in team.own(team.cleo.dm))
    assert first.startswith("Ponte's owner replaced your sign-in link.")
    assert "revoked one of your API tokens: \\*shop\\*" in second


async def test_a_change_that_no_post_holds_is_read_and_approved_in_words(team: Team) -> None:
    ids = [str(number) for number in range(1, 21)]
    team.table.rows |= {id: {"Name": f"END{id} {'word ' * 60}"} for id in ids}
    await team.ana.mention(f"call table_delete {json.dumps({'ids': ids})}", team.channel)
    await team.discord.wait_until(lambda: team.cards(team.channel))
    (card,), copy = team.cards(team.channel), await team.copy()
    (id,) = re.findall(r"type `approve (\w+)`", card["embeds"][0]["description"])
    assert button_labels(card) == button_labels(copy) == ["Deny"]
    await team.cleo.say(f"approve {id}", team.cleo.dm)
    await team.discord.wait_until(lambda: "END20 " in str(team.own(team.cleo.dm)))
    text = "".join(message["content"] for message in team.own(team.cleo.dm))
    assert all(f"END{id} " in text for id in ids)
    (code,) = re.findall(rf"approve ({id}-\d+)", text)
    assert team.table.applied == []
    await team.cleo.say(f"approve {code}", team.cleo.dm)
    await team.discord.wait_until(lambda: are_decided(card, copy))
    assert team.table.rows == {}


async def test_a_changed_card_is_redrawn_in_place_and_somebody_else_approves(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the button over the form to the approval."""
    board = FormBoard()
    assert team.ponte.choices is not None
    team.ponte.choices = replace(team.ponte.choices, board=board)
    await team.restart()
    monkeypatch.setattr(board, "find_form", team.ponte.engine.changes.views.find_form)
    team.table.is_editable = True
    values = {"Name": "Ada L.", "Status": "Won", "Value": "7"}
    await team.ana.mention(f"call table_update {json.dumps({'rows': {'1': values}})}", team.channel)
    await team.discord.wait_until(lambda: team.cards(team.channel))
    (card,) = team.cards(team.channel)
    ack = await (await team.ana.click(card, "Change…")).wait_for_ack()
    inputs = ack.data["components"]
    status = next(
        item["custom_id"]
        for label, item in zip(inputs, fields(inputs), strict=True)
        if label["label"] == "Status"
    )

    async def submit(value: str) -> Any:
        return await (await team.ana.submit(ack, **{status: value})).wait_for_ack()

    await submit("Lost")
    await team.discord.wait_until(
        lambda: "Version 2, changed by Ana." in card["embeds"][0]["description"]
    )
    assert "Lost" in card["embeds"][0]["description"]
    assert len(team.cards(team.channel)) == 1
    assert "This version was replaced" in (await submit("Open")).data["content"]
    await (await team.cleo.click(card, "Approve")).wait_for_ack()
    await team.discord.wait_until(lambda: team.table.applied)
    await team.discord.wait_until(lambda: "✓ done" in card["embeds"][0]["author"]["name"])
    assert team.table.rows["1"]["Status"] == "Lost"
    assert (await submit("Open")).ephemeral
