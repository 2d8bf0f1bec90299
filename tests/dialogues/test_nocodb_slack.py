"""The team's tables on Slack: questions, and changes that the right person approves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bot.config.ponte_toml import read_config
from bot.ponte import Ponte
from tests.dialogues import office
from tests.fakes.slack import FakeSlack, Post, SlackChannel, SlackPerson

SOURCE = re.compile(
    r"\n\nSource: (.+): ([\d,]+) of ([\d,]+) rows?, \w{3} \d+, \d{4}, [\d:]+\u202f[AP]M \((.+)\)\. "
    r"\[NocoDB\]\(http://127\.0\.0\.1:\d+/dashboard/#/nc/pcrmfake/m\w+\)$"
)


class Channel:
    """Alice may write, Bob and Bea too; Bea is an admin."""

    ponte: Ponte

    def __init__(self, slack: FakeSlack, team: office.Office) -> None:
        self.slack = slack
        self.team = team
        self.alice, self.bob, self.bea = (
            slack.person(name, tz=office.ZONE.key) for name in ("Alice", "Bob", "Bea")
        )
        self.place: SlackChannel = slack.channel("general", self.alice, self.bob, self.bea)

    async def asks(self, text: str, *files: tuple[str, str, bytes]) -> Post:
        message = self.slack.say(self.alice, self.place, f"{self.slack.bot} {text}", files=files)
        return await self.slack.wait_for_answer(message)

    async def refused_click(self, someone: SlackPerson, post: Post) -> str:
        """What they are told for a click on Approve; nobody else sees it."""
        before = len(self.slack.ephemeral_posts(self.place.id))
        self.slack.click(someone, post, "Approve")
        await self.slack.wait_until(lambda: len(self.slack.ephemeral_posts(self.place.id)) > before)
        refusal = self.slack.ephemeral_posts(self.place.id)[-1]
        assert refusal.seen_by == someone.id
        assert {*post.card_buttons} - {"Change…"} == {"Approve", "Deny"}
        return refusal.visible_text

    def shared_files(self) -> list[str]:
        return [file.name for file in self.slack.workspace.files.values() if file.shared]

    def plans(self) -> list[str]:
        return [name for name in self.shared_files() if name.endswith(".xlsx")]

    async def copy(self, approver: SlackPerson) -> tuple[Post, SlackChannel]:
        """The first post to somebody in a direct message, and that place."""
        workspace = self.slack.workspace

        def posts() -> list[tuple[Post, SlackChannel]]:
            places = [p for p in workspace.places.values() if p.kind == "im"]
            places = [place for place in places if approver.id in place.members]
            return [(post, place) for place in places for post in workspace.by_bot(place.id)]

        await self.slack.wait_until(posts)
        return posts()[0]

    async def decides(self, someone: SlackPerson, post: Post, label: str, shown: str) -> None:
        self.slack.click(someone, post, label)
        await self.slack.wait_until(lambda: shown in post.visible_text)


@asynccontextmanager
async def channel(home: Path, rules: str = "") -> AsyncIterator[Channel]:
    """`rules` is the ponte.toml, in which `{bob}` stands for the name of Bob and so on."""
    async with office.office(home) as team, FakeSlack() as slack:
        result = Channel(slack, team)
        people = (result.alice, result.bob, result.bea)
        settings: dict[str, Any] = {
            "slack_bot_token": SecretStr(slack.bot_token),
            "slack_api_url": slack.base_url,
            "slack_app_token": SecretStr(slack.app_token),
            "ponte_web": "off",
            "ponte_allow": frozenset(f"slack:{one.id}" for one in people),
            "ponte_admins": frozenset({f"slack:{result.bea.id}"}),
        }
        for name, person in (("alice", result.alice), ("bob", result.bob), ("bea", result.bea)):
            rules = rules.replace(f"{{{name}}}", f"slack:{person.id}")
        (home / "ponte.toml").write_text(rules)
        async with team.open(read_config(home / "ponte.toml"), **settings) as result.ponte:
            await slack.deliveries.wait_until_connected()
            yield result
        assert slack.workspace.pings == []
        assert slack.workspace.complaints == []


async def test_questions_are_answered_with_where_the_figures_come_from(tmp_path: Path) -> None:
    """Rows come from a file and as a file."""
    async with channel(tmp_path) as here:
        answer = await here.asks(office.LEADS)
        text, source = (
            answer.visible_text[: len(office.LEADS_FOUND)],
            SOURCE.search(answer.visible_text),
        )
        assert text == office.LEADS_FOUND
        assert source is not None, answer.visible_text
        filtered = f'Customers, Status is "Lead" and Lead since is {office.this_month()}'
        assert source.groups() == (filtered, "1", "1", office.ZONE.key)
        answer = await here.asks(office.SALES)
        expected = f"{office.SALES_FOUND}\n\nSource: Customers: 30 of 30 rows, "
        assert answer.visible_text.startswith(expected)

        card = await here.asks(office.ATTACHED, ("new.csv", "text/csv", office.CSV))
        assert "Bruno,Lead" in here.team.model_input()
        assert "*Create 3 rows in Customers*" in card.visible_text
        await here.decides(here.alice, card, "Approve", "✓ done")
        assert {31, 32, 33} <= here.team.rows("Customers").keys()
        answer = await here.asks(office.EVERYTHING)
        assert answer.visible_text.startswith(
            f"{office.EXPORTED}\n\nSource: Readings: 5 of 1,200 rows, "
        )
        await here.slack.wait_until(lambda: "Readings.csv" in here.shared_files())


async def test_a_change_waits_for_who_asked_and_can_be_taken_back(tmp_path: Path) -> None:
    async with channel(tmp_path) as here:
        orders = here.team.rows("Orders")
        both = await here.asks(office.BOTH)
        rows, _, card_text = both.visible_text.partition("*Change a row in Orders*")
        assert "Customer 05" in rows.partition("Source: Customers, Name is ")[0]
        assert "Paid: No → Yes" in card_text
        card = await here.asks(office.PAID)
        assert "*Change a row in Orders*\nRequested by Alice. " in card.visible_text
        assert "\nOrder 12 · Amount: 18 · Due: Jan 15, 2026\nPaid: No → Yes" in card.visible_text
        assert "Decide by <!date^" in card.visible_text
        assert "Someone else requested" in await here.refused_click(here.bob, card)
        assert orders[12]["Paid"] is False
        approve = f"approve {card.buttons['Approve']['value']}"
        here.slack.click(here.alice, card, "Approve")
        await here.decides(here.alice, card, "Approve", "✓ done")
        assert orders[12]["Paid"] is True
        assert list(card.buttons) == ["Undo"]
        assert (await here.asks(approve)).visible_text.startswith("Approved by Alice. Done.")
        assert here.team.writes() == ["PATCH"], "whoever clicks again writes nothing"
        await here.decides(here.alice, card, "Undo", "Undone by Alice.")
        assert "\nOrder 12 · Amount: 18 · Due: Jan 15, 2026\nPaid: Yes → No" in card.visible_text, (
            "the values as they are now"
        )
        assert "↶ undone · <!date^" in card.visible_text.partition("*Change a row in Orders*")[0]
        assert orders[12]["Paid"] is False
