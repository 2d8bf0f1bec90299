"""The team's tables on Discord: questions, and changes that the right person approves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from tests.dialogues import office
from tests.dialogues.test_discord_approvers import button_labels
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.addresses import sdk_addresses
from tests.fakes.discord.interactions import EPHEMERAL
from tests.fakes.discord.world import Payload


class Server:
    """Ana and Bo may write; Bea is an admin. Each question has a thread of its own."""

    def __init__(self, discord: FakeDiscord, team: office.Office) -> None:
        self.discord = discord
        self.team = team
        self.ana, self.bo, self.bea = (discord.user(name) for name in ("Ana", "Bo", "Bea"))
        guild = discord.guild("Bolts", self.ana, self.bo, self.bea)
        self.channel = discord.text_channel(guild, "general")

    async def asks(
        self, text: str, met: Callable[[Payload], object], *files: tuple[str, bytes]
    ) -> Payload:
        """The answer's message, once it is as `met` says."""
        question = await self.ana.mention(text, self.channel, files=files)
        threads = self.discord.world.channels
        await self.discord.wait_until(lambda: int(question["id"]) in threads)
        seen = await self.ana.wait_for_messages(
            lambda seen: any(map(met, seen)), threads[int(question["id"])]
        )
        return next(message for message in seen if met(message))

    async def refused_click(self, someone: DiscordPerson, card: Payload) -> str:
        """What they are told for a click on Approve; nobody else sees it."""
        click = await someone.click(card, "Approve")
        await click.wait_until(lambda click: click.followups)
        (followup,) = click.followups
        assert followup["flags"] & EPHEMERAL
        assert {*button_labels(card)} - {"Change…"} == {"Approve", "Deny"}
        return str(followup["content"])

    async def decides(self, someone: DiscordPerson, card: Payload, label: str, shown: str) -> None:
        await (await someone.click(card, label)).wait_for_ack()
        await self.discord.wait_until(lambda: shown in words(card))


@asynccontextmanager
async def server(home: Path) -> AsyncIterator[Server]:
    async with office.office(home) as team, FakeDiscord() as discord:
        result = Server(discord, team)
        people = (result.ana, result.bo, result.bea)
        file = team.open(
            discord_token=SecretStr(discord.token),
            discord_api_url=discord.api_url,
            discord_gateway_url=discord.gateway_url,
            ponte_web="off",
            ponte_allow=frozenset(f"discord:{one.id}" for one in people),
            ponte_admins=frozenset({f"discord:{result.bea.id}"}),
        )
        with sdk_addresses():
            async with file:
                await discord.wait_until(lambda: discord.rest.commands)
                yield result


def words(card: Payload) -> str:
    return "\n".join(
        f"{embed['title']}\n{embed['description']}\n{embed['author']['name']}"
        for embed in card["embeds"]
    )


async def test_questions_and_changes(tmp_path: Path) -> None:
    """Answers say where the figures come from. A change waits for who asked and can be taken back,
    a delete for an admin. Rows come from a file and as a file."""
    async with server(tmp_path) as here:

        def has_source(post: Payload) -> bool:
            return "Source: " in post["content"]

        text = (await here.asks(office.LEADS, has_source))["content"]
        assert "```\nName\n───────────\nCustomer 03\n```" in text, "Discord has no tables"
        filtered = f'Status is "Lead" and Lead since is {office.this_month()}'
        assert f"Source: Customers, {filtered}: " in text
        assert "(America/Sao_Paulo). NocoDB (<http://127.0.0.1:" in text, "no preview of it"
        text = (await here.asks(office.SALES, has_source))["content"]
        assert text.startswith(f"{office.SALES_FOUND}\n\nSource: Customers: 30 of 30 rows, ")

        both = await here.asks(office.BOTH, lambda post: post["embeds"])
        assert "Customer 05" in both["content"].partition("Source: Customers, Name is ")[0]
        assert words(both).startswith("Change a row in Orders\n")

        orders = here.team.rows("Orders")
        card = await here.asks(office.PAID, lambda post: post["embeds"])
        assert words(card).startswith("Change a row in Orders\nRequested by Ana. Waiting for ")
        assert "\n**Order 12**\nPaid: No → Yes\n" in words(card)
        assert "Expires <t:" in words(card)
        assert "Someone else requested" in await here.refused_click(here.bo, card)
        assert orders[12]["Paid"] is False
        second = await here.ana.click(card, "Approve")
        await here.decides(here.ana, card, "Approve", "✓ done")
        await second.wait_for_ack()
        assert (orders[12]["Paid"], here.team.writes()) == (True, ["PATCH"])
        assert button_labels(card) == ["Undo"]
        await here.decides(here.ana, card, "Undo", "Undone by Ana.")
        assert orders[12]["Paid"] is False

        card = await here.asks(
            office.ATTACHED, lambda post: post["embeds"], ("new.csv", office.CSV)
        )
        assert "Bruno,Lead" in here.team.model_input()
        assert words(card).startswith("Create 3 rows in Customers\n")
        await here.decides(here.ana, card, "Approve", "✓ done")
        assert {31, 32, 33} <= here.team.rows("Customers").keys()
        answer = await here.asks(office.EVERYTHING, lambda post: post["attachments"])
        source = "Source: Readings: 5 of 1,200 rows, "
        assert answer["content"].startswith(f"{office.EXPORTED}\n\n{source}")
        assert [file["filename"] for file in answer["attachments"]] == ["Readings.csv"]

        card = await here.asks(office.DUPLICATES, lambda post: post["embeds"])
        assert words(card).startswith("Delete 2 rows in Customers\n")
        assert "An admin must approve this request." in words(card)
        assert "so an admin must approve it" in await here.refused_click(here.ana, card)
        await here.decides(here.bea, card, "Approve", "✓ done")
        assert not {29, 30} & here.team.rows("Customers").keys()
