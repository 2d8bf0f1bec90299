"""Record a data folder of this version: `python -m tests.recorded.record FILE.json.gz`. With a
second file, FILE.sql.gz, also the same data in Postgres, which must be installed then.

A team works for two days; then the power goes, with a turn in every state. The tests record this
version once in each run (`recorded_today` in tests/conftest.py). A record of each release stays in
this folder, so that later versions prove that they open it. Never record a release again.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import time_machine
from pydantic import SecretStr

from bot import operations
from bot.features.backup.migrate import migrate
from bot.features.schedules import operations as schedules
from bot.features.sign_in import operations as people
from bot.home import Home
from bot.settings import Settings
from core.domain.messages import Person
from core.journal.kernels import KernelRows
from core.people.audit import OPERATOR
from core.people.sign_ins import Identity
from core.store.schema import count_rows
from tests.dialogues.office import ATTACHED, CSV, DUPLICATES, EVERYTHING, LEADS
from tests.fakes.discord.world import Payload
from tests.fakes.hook_senders import encode_body, from_nocodb
from tests.fakes.openai import Script
from tests.fakes.openai.script import Run as Plot
from tests.fakes.slack import Post
from tests.real.postgres import SPEED, postgres, programs
from tests.recorded.recorded_ponte import (
    TOKEN,
    Json,
    RecordedPonte,
    open_recorded_ponte,
    put_home,
    record_model_server,
    record_state,
)

BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n a plot"
PLOT = "Plot the sales"
HANGS, TRICKLES, FAILS = "Think for ever", "Write for ever", "Break down"
SLOWLY, TWO, HELD = "Write slowly", "Change two orders", "hold this"
STAND_UP, REVIEW, READING = "Post the stand-up daily", "Review it, please", "Correct the reading"
ORDERS = "Give me all orders as a file"
ALERT, IMPORT = "Tell me when order 7 is there twice", "Import the file, please"
TURNS = {
    "new",
    "running",
    "answered",
    "posting",
    "done",
    "stopped",
    "failed",
    "undeliverable",
    "removed",
    "withdrawn",
}
CHANGES = {
    "open",
    "denied",
    "expired",
    "withdrawn",
    "applying",
    "done",
    "partial",
    "failed",
    "undone",
}


def pay_request(order: int) -> str:
    return f"Mark order {order} as paid, please"


def scripts(team_scripts: Callable[..., None]) -> None:
    """What the model does; what is not here it echoes."""
    changes = [
        Script(
            calls=(
                (
                    "nocodb_update",
                    json.dumps(
                        {
                            "table": "Orders",
                            "changes": [{"id": order, "fields": {"Amount": 1000 + order}}],
                        }
                    ),
                ),
            ),
            match=pay_request(order),
            times=0,
        )
        for order in range(1, 61)
    ]
    two = [{"id": order, "fields": {"Amount": 7}} for order in (41, 42)]
    calls = {
        STAND_UP: (
            "schedule_propose",
            {
                "kind": "post",
                "what": "Stand-up",
                "when": "0 9 * * *",
                "zone": "UTC",
                "ends": None,
                "replaces": None,
            },
        ),
        ALERT: (
            "nocodb_query",
            {
                "table": "Orders",
                "filters": [{"field": "Title", "op": "eq", "value": "Order 07"}],
                "fields": ["Title"],
            },
        ),
        '"Title":"Order 07"': (
            "schedule_propose",
            {
                "kind": "alert",
                "what": "r1 count > 1",
                "when": "*/5 * * * *",
                "zone": "UTC",
                "ends": None,
                "replaces": None,
            },
        ),
        ORDERS: ("nocodb_query", {"table": "Orders", "export": "csv", "limit": 5}),
        IMPORT: (
            "nocodb_import",
            {
                "file": "statuses.csv",
                "table": "Customers",
                "columns": {"Name": "Name", "Status": "Status"},
                "key": "Name",
            },
        ),
        REVIEW: ("stackspot_agent", {"agent": "reviewer", "prompt": "Review the plan"}),
        READING: (
            "nocodb_update",
            {"table": "Readings", "changes": [{"id": 5, "fields": {"Value": 6}}]},
        ),
    }
    team_scripts(
        *changes,
        *(
            Script(calls=((tool, json.dumps(call)),), match=text)
            for text, (tool, call) in calls.items()
        ),
        Script(
            calls=(("nocodb_update", json.dumps({"table": "Orders", "changes": two})),), match=TWO
        ),
        Script("Slow words.\n\n" * 60, seconds=3, match=SLOWLY, times=0),
        Script(calls=(("run_python", json.dumps({"code": "x = 20"})),), match=PLOT),
        Script("Here is the plot.", match="sales.png"),
        Script(
            "Words for Bea.\n\n" * 30,
            fail="hang",
            after=30,
            on_disconnect="nothing",
            match=f"{TRICKLES}, Bea",
        ),
        Script("Words that do not end.\n\n" * 20, fail="hang", after=30, match=TRICKLES),
        Script("never", fail="hang", on_disconnect="nothing", match=HANGS, times=0),
        Script(status=400, code="invalid_prompt", match=FAILS, times=0),
    )


class Day:
    """What people do; each waits until it is seen."""

    def __init__(self, here: RecordedPonte) -> None:
        self.here = here
        self.names: Json = {}
        """What the test presses: by name, where it stands."""
        self.asking: asyncio.Task[Json]

    async def asks(self, text: str, *files: tuple[str, str, bytes], who: str = "Alice") -> Post:
        slack = self.here.slack
        message = slack.say(
            self.here.person(who), self.here.place, f"{slack.bot} {text}", files=files
        )
        return await slack.wait_for_answer(message)

    async def slack_card(self, name: str, text: str, *files: tuple[str, str, bytes]) -> Post:
        card = await self.asks(text, *files)
        assert "Approve" in card.buttons, card.visible_text
        self.names[f"slack {name}"] = [card.channel, card.ts]
        return card

    async def decides(self, card: Post, label: str, shown: str, who: str = "Alice") -> None:
        self.here.slack.click(self.here.person(who), card, label)
        await self.here.slack.wait_until(lambda: shown in card.visible_text)

    async def mentions(self, text: str, met: Callable[[Payload], object]) -> Payload:
        discord, ana = self.here.discord, self.here.somebody("Ana")
        question = await ana.mention(text, self.here.channel)
        threads = discord.world.channels
        await discord.wait_until(lambda: int(question["id"]) in threads)
        seen = await ana.wait_for_messages(
            lambda seen: any(map(met, seen)), threads[int(question["id"])]
        )
        return next(message for message in seen if met(message))

    async def discord_card(self, name: str, text: str) -> Payload:
        card = await self.mentions(text, lambda message: message["embeds"])
        self.names[f"discord {name}"] = [card["channel_id"], card["id"]]
        return card

    async def clicks(self, card: Payload, label: str, shown: str) -> None:
        await (await self.here.somebody("Ana").click(card, label)).wait_for_ack()
        await self.here.discord.wait_until(lambda: shown in json.dumps(card["embeds"]))

    async def on_page(self, text: str, conversation: str = "work") -> Json:
        request = {"message": text, "conversation": conversation}
        body: Json = (await self.here.page.post("/chat", json=request)).json()
        return body

    async def page_card(self, name: str, text: str) -> str:
        (card,) = (await self.on_page(text))["cards"]
        self.names[f"page {name}"] = card["id"]
        return str(card["id"])

    async def on_card(self, id: str, action: str) -> None:
        click = {"action": action, "conversation": "work"}
        (await self.here.page.post(f"/cards/{id}", json=click)).raise_for_status()


def states(home: Path, table: str) -> set[str]:
    """Those that rows of that table are in."""
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        return {state for (state,) in connection.execute(f"SELECT DISTINCT state FROM {table}")}


async def first(day: Day) -> None:
    """Proposals that nobody decides within their 24 hours."""
    await day.asks("Good morning")
    await day.slack_card("expired", pay_request(1))
    await day.discord_card("expired", pay_request(2))
    (await day.here.page.post("/login", json={"token": TOKEN})).raise_for_status()
    await day.page_card("expired", pay_request(3))
    response = await day.here.page.get("/conversations/work")
    day.names["page cursor"] = response.json()["cursor"]


async def second(day: Day) -> None:
    """What ended well and badly, and what waits for a click."""
    here = day.here
    await day.asks(LEADS)
    await day.asks(FAILS)
    await files(day)
    for number, name in enumerate(("approve", "deny", "applying"), 11):
        await day.slack_card(name, pay_request(number))
    await day.slack_card("admin", DUPLICATES)
    await day.decides(await day.slack_card("undo", pay_request(14)), "Approve", " done")
    undone = await day.slack_card("undone", pay_request(15))
    await day.decides(undone, "Approve", " done")
    await day.decides(undone, "Undo", "Undone by")
    await day.decides(await day.slack_card("denied", pay_request(16)), "Deny", "Denied")
    for name, text, order in (("failed", pay_request(17), 17), ("partial", TWO, 42)):
        card = await day.slack_card(name, text)
        here.team.table("Orders").update(order, {"Amount": 1})
        here.slack.click(here.person("Alice"), card, "Approve")
        await here.slack.wait_until(lambda card=card: "Approve" not in card.buttons)  # type: ignore[misc]
    await day.on_page(pay_request(18), "gone")
    await day.on_page("forget", "gone")
    for number, name in enumerate(("approve", "deny", "race"), 21):
        await day.discord_card(name, pay_request(number))
    await day.clicks(await day.discord_card("undo", pay_request(24)), "Approve", " done")
    for number, name in enumerate(("approve", "deny"), 31):
        await day.page_card(name, pay_request(number))
    await day.on_card(await day.page_card("undo", pay_request(33)), "approve")
    await forms(day)
    await other_rows(day)


async def other_rows(day: Day) -> None:
    """A schedule and its run, an alert, an import, a webhook, an agent, accounts of the page, an
    approval by one of two, and somebody who is forgotten."""
    here, ponte = day.here, day.here.ponte
    await day.asks(REVIEW)
    await day.decides(await day.slack_card("schedule", STAND_UP), "Approve", "Approved by")
    (schedule,) = await schedules.list_schedules(ponte, OPERATOR)
    day.names["schedule"] = schedule["id"]
    await schedules.run_schedule(ponte, schedule["id"], OPERATOR)
    await day.decides(await day.slack_card("alert", ALERT), "Approve", "Approved by")
    statuses = ("statuses.csv", "text/csv", b"Name,Status\nCustomer 05,Active\nCustomer 06,Lost\n")
    card = await day.slack_card("import", IMPORT, statuses)
    await day.decides(card, "Approve", " done")
    card = await day.slack_card("consented", READING)
    await day.decides(card, "Approve", "1 of 2", who="Bob")
    headers, body = from_nocodb(), encode_body({"id": "b1"})
    hook = await here.page.post("/hooks/builds", content=body, headers=dict(headers))
    assert hook.status_code == 202, hook.text
    owner = Person("web", "owner")
    link = await people.add_person(ponte, "eva", OPERATOR)
    await people.create_api_token(ponte, "eva", "script", actor=owner)
    async with httpx.AsyncClient(base_url=here.page.base_url) as browser:
        (await browser.post("/login", json={"token": link.token})).raise_for_status()
        (await browser.post("/logout", json={})).raise_for_status()
    fay = Identity("corp", Person("oidc", "corp:fay-4711", name="Fay"), ("sales",))
    await ponte.accounts.record_sign_in(fay, time.time())
    await day.asks("Forget me later", who="Dan")
    (dan,) = [p for p in await operations.list_people(ponte) if p["name"] == "Dan"]
    await operations.forget_person(ponte, dan["person"], owner)
    # Python in OpenAI's containers has no kernel, so the row of one is written alone.
    await KernelRows(ponte.engine.stores.database).record_start("web:work")


async def files(day: Day) -> None:
    """One that came, one that went, and one that Python made."""
    here = day.here
    card = await day.asks(ATTACHED, ("new.csv", "text/csv", CSV))
    day.names["slack file"] = [card.channel, card.ts]
    await day.asks(ORDERS)
    await here.slack.wait_until(lambda: _is_shared(here, "Orders.csv"))
    here.team.openai.runs(Script(text="done", runs=(Plot(logs="", files=(("sales.png", PNG),)),)))
    await day.asks(PLOT)
    await here.slack.wait_until(lambda: _is_shared(here, "sales.png"))
    plotted = await day.on_page(EVERYTHING)
    vote = {"vote": "up"}
    (await day.here.page.post(f"/turns/{plotted['turn']}/feedback", json=vote)).raise_for_status()
    await day.on_page(f"save {plotted['turn']} / all readings")
    day.names["page file"] = plotted["files"][0]["url"]


def _is_shared(here: RecordedPonte, name: str) -> bool:
    return any(file.name == name and file.shared for file in here.slack.workspace.files.values())


async def forms(day: Day) -> None:
    """What is open on people's screens, not sent yet."""
    here, alice = day.here, day.here.person("Alice")
    for text in ("", "daily-summary"):
        await here.slack.command(alice, here.place, "/quick-command", text).acked.wait()
    post = here.slack.say(here.person("Bob"), here.place, "The build is red")
    day.names["slack pointed"] = [post.channel, post.ts]
    for callback in ("ponte_ask", "ponte_quick"):
        await here.slack.shortcut(alice, post, callback).acked.wait()
    await here.slack.wait_until(lambda: len(here.slack.workspace.views) == 4)
    day.names["slack forms"] = ["choose", "inputs", "ask", "quick"]
    here.slack.open_home(alice)
    await here.slack.wait_until(lambda: here.slack.workspace.homes)
    ana = here.somebody("Ana")
    modal = await (await ana.slash("quick-command", slug="daily-summary")).wait_for_ack()
    day.names["discord form"] = modal.token
    message = await here.somebody("Bo").say("The build is red", here.channel)
    about = await (await ana.context_menu("Ask Ponte", message)).wait_for_ack()
    day.names["discord about"] = about.token


async def power_cut(day: Day) -> Json:
    """All that is under way, and stays so; what is found then."""
    here = day.here
    slack, home = here.slack, here.team.home
    alice, ana, bea = here.person("Alice"), here.somebody("Ana"), here.somebody("Bea")
    await _undeliverable(day)
    await bea.say(SLOWLY)
    await bea.delete(await bea.wait_for_text("Slow words."))
    messages = slack.say(alice, here.place, f"{slack.bot} {HANGS}")
    day.names["slack hanging"] = [messages.channel, messages.ts]
    await slack.wait_until(lambda: HANGS in here.team.model_input())
    queue = slack.say(alice, here.place, f"{slack.bot} And then?", thread=messages)
    day.names["slack queued"] = [queue.channel, queue.ts]
    message_of_bob = slack.say(here.person("Bob"), here.place, f"{slack.bot} {HANGS}, Bob")
    await slack.wait_until(lambda: f"{HANGS}, Bob" in here.team.model_input())
    slack.say(here.person("Bob"), here.place, f"{slack.bot} stop", thread=message_of_bob)
    await slack.wait_until(
        lambda: any(
            "Stopped" in post.visible_text for post in slack.finished_answers(message_of_bob)
        )
    )
    stream = slack.say(alice, here.direct, TRICKLES)
    day.names["slack streaming"] = [stream.channel, stream.ts]
    await slack.wait_until(
        lambda: any("Words" in one.text for one in slack.workspace.by_bot(here.direct.id)), 30
    )
    await bea.say(f"{TRICKLES}, Bea")
    stoppable = await bea.wait_for_text("Words for Bea.")
    day.names["discord streaming"] = [stoppable["channel_id"], stoppable["id"]]
    message = await ana.say(f"{HANGS}, Ana")
    day.names["discord hanging"] = [message["channel_id"], message["id"]]
    await slack.wait_until(lambda: f"{HANGS}, Ana" in here.team.model_input())
    day.asking = asyncio.create_task(day.on_page(f"{HANGS}, page", "other"))
    await slack.wait_until(lambda: f"{HANGS}, page" in here.team.model_input())
    await ana.delete(await ana.say("Never mind"))
    await slack.wait_until(lambda: "withdrawn" in states(home, "inbox"))
    await tools_and_posts(day)
    await slack.wait_until(lambda: all(one.acked.is_set() for one in slack.deliveries.all))
    assert states(home, "inbox") == TURNS, TURNS - states(home, "inbox")
    assert states(home, "changes") == CHANGES, CHANGES - states(home, "changes")
    return record_state(here, datetime.now(UTC).timestamp())


async def tools_and_posts(day: Day) -> None:
    """Quick commands that run, a change half applied, posts that nobody confirmed."""
    here = day.here
    slack, discord, home = here.slack, here.discord, here.team.home
    ana, bo = here.somebody("Ana"), here.somebody("Bo")
    here.stackspot.held = True
    running = await ana.slash("quick-command", here.channel, slug="explain", input="a bridge")
    day.names["discord running"] = running.token
    slack.command(here.person("Bob"), here.place, "/quick-command", "explain a tunnel")
    await here.stackspot.wait_for_requests("status", 4)
    here.team.nocodb.hang("PATCH")
    channel, ts = day.names["slack applying"]
    slack.click(here.person("Alice"), slack.workspace.posts[channel, ts], "Approve")
    await here.team.nocodb.wait_for_held_call()
    discord.hold("PATCH", f"/channels/{bo.dm.id}/messages/*")
    slow = await bo.say(SLOWLY)
    day.names["discord answered"] = [slow["channel_id"], slow["id"]]
    await slack.wait_until(lambda: "answered" in states(home, "inbox"))
    cy = here.somebody("Cy")
    discord.hold("POST", f"/channels/{cy.dm.id}/messages")
    unsure = await cy.say(HELD)
    day.names["discord posting"] = [unsure["channel_id"], unsure["id"]]
    await slack.wait_until(lambda: "posting" in states(home, "inbox"))
    await discord.wait_until(lambda: here.somebody("Cy").dm.messages)


async def _undeliverable(day: Day) -> None:
    """An answer to a channel that was archived meanwhile."""
    slack, alice = day.here.slack, day.here.person("Alice")
    old = slack.channel("old", alice)
    slack.say(alice, old, f"{slack.bot} {SLOWLY}")
    await slack.wait_until(lambda: SLOWLY in day.here.team.model_input())
    old.archived = True
    await slack.wait_until(lambda: "undeliverable" in states(day.here.team.home, "inbox"))
    old.archived = False


async def record(folder: Path) -> Json:
    with time_machine.travel(BEGIN) as clock:
        async with open_recorded_ponte(folder) as here:
            here.invent()
            scripts(here.team.openai.say)
            day = Day(here)
            async with here.open():
                await first(day)
            clock.shift(25 * 3600)
            async with here.open():
                await second(day)
                match = await power_cut(day)
                here.team.nocodb.release()  # else the end waits for the write's timeout
            with suppress(httpx.HTTPError, json.JSONDecodeError):  # no answer, or one cut off
                await day.asking
            # The model's server sees that Ponte is gone only now.
            return match | {"names": day.names, "openai": record_model_server(here.team)}


def dump_as_postgres(record: Json, folder: Path) -> bytes:
    """Return the SQL that makes a database with what `ponte migrate` copies into it."""
    put_home(record["home"], folder)
    with postgres(SPEED) as server:
        url = server.url(server.database())
        settings = Settings(ponte_home=folder, database_url=SecretStr(url))
        if asyncio.run(migrate(settings, Home(folder))):
            sys.exit("the data was not copied into Postgres")
        binaries = programs()
        assert binaries
        command = [
            str(binaries / "pg_dump"),
            "-d",
            url,
            "--inserts",
            "--no-owner",
            "--no-privileges",
        ]
        dump = subprocess.run(command, check=True, capture_output=True).stdout
    # psql's own commands, comments and empty lines
    lines = [line for line in dump.splitlines() if line and not line.startswith((b"\\", b"--"))]
    return b"\n".join(lines)


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    file = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        result = asyncio.run(record(home))
        if sys.argv[2:]:  # of a release
            rows = count_rows(home / "ponte.db")
            if empty := [table for table, count in rows.items() if not count]:
                sys.exit(f"Store a row in each table while recording. Empty: {', '.join(empty)}")
            dump = dump_as_postgres(result, Path(folder) / "copied")
            Path(sys.argv[2]).write_bytes(gzip.compress(dump, 9, mtime=0))
    text = json.dumps(result, ensure_ascii=False, sort_keys=True)
    part = file.with_suffix(".part")
    part.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    part.replace(file)


if __name__ == "__main__":
    main()
