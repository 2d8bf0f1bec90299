"""Writes `home-N.json.gz`: `python -m tests.recorded.record`, once for each schema N.

A team works for two days; then the power goes, with a turn in every state.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import time_machine

from tests.dialogues.office import ATTACHED, CSV, DUPLICATES, EVERYTHING, LEADS
from tests.fakes.discord.world import Payload
from tests.fakes.openai import Script
from tests.fakes.openai.script import Run as Plot
from tests.fakes.slack import Post
from tests.recorded.house import TOKEN, House, Json, answered, house, kept, taken

BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n a plot"
PLOT = "Plot the sales"
HANGS, TRICKLES, FAILS = "Think for ever", "Write for ever", "Break down"


def paid(order: int) -> str:
    return f"Mark order {order} as paid, please"


def scripts(team_scripts: Callable[..., None]) -> None:
    """What the model does; what is not here it echoes."""
    changes = [
        Script(calls=(("nocodb_update", json.dumps(
            {"table": "Orders", "changes": [{"id": order, "fields": {"Amount": 1000 + order}}]}
        )),), match=paid(order), times=0)
        for order in range(1, 61)
    ]  # fmt: skip
    team_scripts(
        *changes,
        Script(calls=(("run_python", json.dumps({"code": "x = 20"})),), match=PLOT),
        Script("Here is the plot.", match='sales.png'),
        Script("Words that do not end.\n\n" * 20, fail="hang", after=30, match=TRICKLES),
        Script("never", fail="hang", on_disconnect="nothing", match=HANGS),
        Script(status=400, code="invalid_prompt", match=FAILS, times=0),
    )


class Day:
    """What people do; each waits until it is seen."""

    def __init__(self, here: House) -> None:
        self.here = here
        self.names: Json = {}
        """What the test presses: by name, where it stands."""

    async def asks(self, text: str, *files: tuple[str, str, bytes], who: str = "Alice") -> Post:
        slack = self.here.slack
        said = slack.say(
            self.here.person(who), self.here.place, f"{slack.bot} {text}", files=files
        )
        return await slack.answer(said)

    async def slack_card(self, name: str, text: str) -> Post:
        card = await self.asks(text)
        assert "Approve" in card.buttons, card.shown
        self.names[f"slack {name}"] = [card.channel, card.ts]
        return card

    async def decides(self, card: Post, label: str, shown: str, who: str = "Alice") -> None:
        self.here.slack.click(self.here.person(who), card, label)
        await self.here.slack.until(lambda: shown in card.shown)

    async def mentions(self, text: str, met: Callable[[Payload], object]) -> Payload:
        discord, ana = self.here.discord, self.here.somebody("Ana")
        asked = await ana.mention(text, self.here.channel)
        threads = discord.world.channels
        await discord.until(lambda: int(asked["id"]) in threads)
        seen = await ana.sees(lambda seen: any(map(met, seen)), threads[int(asked["id"])])
        return next(message for message in seen if met(message))

    async def discord_card(self, name: str, text: str) -> Payload:
        card = await self.mentions(text, lambda message: message["embeds"])
        self.names[f"discord {name}"] = [card["channel_id"], card["id"]]
        return card

    async def clicks(self, card: Payload, label: str, shown: str) -> None:
        await (await self.here.somebody("Ana").click(card, label)).acked()
        await self.here.discord.until(lambda: shown in json.dumps(card["embeds"]))

    async def on_page(self, text: str) -> Json:
        asked = {"message": text, "conversation": "work"}
        body: Json = (await self.here.page.post("/chat", json=asked)).json()
        return body

    async def page_card(self, name: str, text: str) -> str:
        (card,) = (await self.on_page(text))["cards"]
        self.names[f"page {name}"] = card["id"]
        return str(card["id"])

    async def on_card(self, id: str, action: str) -> None:
        click = {"action": action, "conversation": "work"}
        (await self.here.page.post(f"/cards/{id}", json=click)).raise_for_status()


async def first(day: Day) -> None:
    """Proposals that nobody decides within their 24 hours."""
    await day.asks("Good morning")
    await day.slack_card("expired", paid(1))
    await day.discord_card("expired", paid(2))
    (await day.here.page.post("/login", json={"token": TOKEN})).raise_for_status()
    await day.page_card("expired", paid(3))


async def second(day: Day) -> None:
    """What ended well and badly, and what waits for a click."""
    await day.asks(LEADS)
    for number, name in enumerate(("approve", "deny", "applying"), 11):
        await day.slack_card(name, paid(number))
    await day.slack_card("admin", DUPLICATES)
    await day.decides(await day.slack_card("undo", paid(14)), "Approve", "Done.")
    undone = await day.slack_card("undone", paid(15))
    await day.decides(undone, "Approve", "Done.")
    await day.decides(undone, "Undo", "taken back")
    await day.decides(await day.slack_card("denied", paid(16)), "Deny", "Denied")
    failed = await day.slack_card("failed", paid(17))
    day.here.team.table("Orders").update(17, {"Amount": 1})
    day.here.slack.click(day.here.person("Alice"), failed, "Approve")
    await day.here.slack.until(lambda: "Approve" not in failed.buttons)
    for number, name in enumerate(("approve", "deny"), 21):
        await day.discord_card(name, paid(number))
    await day.clicks(await day.discord_card("undo", paid(23)), "Approve", "Done.")
    for number, name in enumerate(("approve", "deny"), 31):
        await day.page_card(name, paid(number))
    await day.on_card(await day.page_card("undo", paid(33)), "approve")


async def power_cut(day: Day) -> None:
    """All that is under way, and stays so."""
    here = day.here
    alice, slack = here.person("Alice"), here.slack
    said = slack.say(alice, here.place, f"{slack.bot} {HANGS}")
    day.names["slack hanging"] = [said.channel, said.ts]
    await slack.until(lambda: HANGS in here.team.heard())
    queued = slack.say(alice, here.place, f"{slack.bot} And then?", thread=said)
    day.names["slack queued"] = [queued.channel, queued.ts]
    direct = here.direct
    streamed = slack.say(alice, direct, TRICKLES)
    day.names["slack streaming"] = [streamed.channel, streamed.ts]
    await slack.until(
        lambda: any("Words" in one.text for one in slack.workspace.by_bot(direct.id)), 30
    )
    delivered = here.slack.deliveries.all
    await slack.until(lambda: all(one.acked.is_set() for one in delivered))


async def record(folder: Path) -> Json:
    with time_machine.travel(BEGIN) as clock:
        async with house(folder) as here:
            here.invent()
            scripts(here.team.openai.say)
            day = Day(here)
            async with here.open():
                await first(day)
            clock.shift(25 * 3600)
            async with here.open():
                await second(day)
                await power_cut(day)
                found = taken(here, datetime.now(UTC).timestamp())
            return found | {"names": day.names, "openai": answered(here.team)}


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(record(Path(folder) / "home"))
    (version,) = {
        each["version"] for name, each in found["home"]["databases"].items() if name == "ponte.db"
    }
    text = json.dumps(found, ensure_ascii=False, sort_keys=True)
    kept(version).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(kept(version), kept(version).stat().st_size)


if __name__ == "__main__":
    main()
