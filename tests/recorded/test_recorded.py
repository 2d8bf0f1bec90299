"""A home that an earlier process left, and the buttons that already stand in channels, go on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine

from bot import operations
from bot.features.schedules import operations as schedules
from bot.features.sign_in import operations as people
from bot.stores import SCHEMA
from core.people.audit import OPERATOR
from core.store.schema import count_rows, read_schema_version
from tests.fakes.card_buttons import on_card
from tests.fakes.discord.interactions import Exchange
from tests.fakes.discord.world import Payload
from tests.fakes.openai import Script
from tests.fakes.slack import Post
from tests.fakes.stackspot import Look, Run
from tests.real.postgres import Postgres
from tests.recorded.record import CHANGES, HANGS, HELD, PNG, TRICKLES, TURNS, states
from tests.recorded.recorded_ponte import (
    NUMBERED,
    Json,
    RecordedPonte,
    new_numbers,
    open_recorded_ponte,
    put,
    put_home,
    read_record,
)
from tests.time_limits import Limits

OPEN = {"new", "running", "answered", "posting"}
FOLDER = Path(__file__).parent
RELEASES = sorted(file.name.removesuffix(".json.gz") for file in FOLDER.glob("*.json.gz"))


@dataclass(repr=False)
class Found(RecordedPonte):
    """The recorded installation with its record, and its objects by the names of the recorder."""

    record: Json = field(default_factory=dict)

    def post(self, name: str) -> Post:
        channel, ts = self.record["names"][f"slack {name}"]
        return self.slack.workspace.posts[channel, ts]

    def message(self, name: str) -> Payload:
        channel, id = self.record["names"][f"discord {name}"]
        return self.discord.world.channels[int(channel)].messages[int(id)]

    def exchange(self, name: str) -> Exchange:
        return self.discord.interactions.exchanges[self.record["names"][f"discord {name}"]]

    def channel_messages(self, name: str) -> list[str]:
        """What the bot's messages say on Discord where that one stands."""
        world = self.discord.world
        channel = int(self.record["names"][f"discord {name}"][0])
        return [message["content"] for message in world.messages_by(world.me.id, channel)]

    def amount(self, order: int) -> object:
        return self.team.rows("Orders")[order]["Amount"]


@pytest.fixture(scope="module", params=["today", *RELEASES])
def record(request: pytest.FixtureRequest) -> Json:
    if request.param != "today":
        return read_record(FOLDER / f"{request.param}.json.gz")
    record: Json = request.getfixturevalue("recorded_today")
    return record


GOES_ON = [("today", "home"), *((one, place) for one in RELEASES for place in ("home", "postgres"))]
STOPS = [("today", "postgres"), *((release, "home") for release in RELEASES)]
"""Records with the databases that they are opened on. tests/bot/backup/test_migrate.py moves a row
of each table of today to Postgres."""


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    if request.param == "home":
        return ""
    server: Postgres = request.getfixturevalue("real_postgres")
    return server.url(server.database())


@pytest.fixture(autouse=True)
def then(record: Json) -> Iterator[None]:
    """Twenty seconds after the power cut; the doubles give ids that nothing recorded has."""
    moment = datetime.fromtimestamp(record["at"] + 20, UTC)
    with time_machine.travel(moment), pytest.MonkeyPatch.context() as patch:
        for name in NUMBERED:
            patch.setattr(name, new_numbers())
        yield


@asynccontextmanager
async def reopen_home(
    record: Json, home: Path, *scripts: Script, database: str = ""
) -> AsyncIterator[Found]:
    """Opened again; two wrote meanwhile. `scripts` are what the model does now."""
    async with open_recorded_ponte(home) as recorded_ponte:
        here = Found(
            recorded_ponte.team,
            recorded_ponte.slack,
            recorded_ponte.discord,
            recorded_ponte.stackspot,
            recorded_ponte.page,
            database,
        )
        here.record = record
        put(record, here)
        here.team.openai.say(*scripts)
        here.stackspot.go(*[Run((Look("COMPLETED"),))] * 3)
        await here.somebody("Ana").say("Anybody there?")
        here.slack.say(here.person("Bea"), here.place, f"{here.slack.bot} Anybody there?")
        async with here.open():
            yield here
        assert here.slack.workspace.pings == []
        assert here.slack.workspace.complaints == []


@pytest.fixture
async def here(record: Json, then: None, tmp_path: Path, database: str) -> AsyncIterator[Found]:
    async with reopen_home(record, tmp_path / "home", database=database) as here:
        yield here


@pytest.mark.slow
@pytest.mark.parametrize(("record", "database"), GOES_ON, indirect=True)
async def test_turns_cards_and_forms_go_on(here: Found) -> None:
    """One after the other in one home, which takes long to open. The turns count what nobody
    pressed yet, so they are first."""
    await list_everything(here)
    await wait_until_every_turn_ends_once(here)
    await press_the_cards_on_slack(here)
    await submit_the_forms_on_slack(here)
    await press_the_cards_on_discord(here)
    await submit_the_forms_on_discord(here)
    await use_the_page_by_the_cookie_that_a_browser_kept(here)


async def list_everything(here: Found) -> None:
    """The commands of `ponte` show what was stored."""
    ponte = here.ponte
    accounts = {one["name"] for one in await people.list_accounts(ponte)}
    assert accounts - {"oidc:corp:fay-4711"} == {"eva"}, "older records have no sign-ins"
    assert [one["name"] for one in await people.list_api_tokens(ponte)] == ["script"]
    names = here.record["names"]
    kinds = {one["id"]: one["kind"] for one in await schedules.list_schedules(ponte, OPERATOR)}
    assert kinds.pop(names["schedule"]) == "post"
    assert [*kinds.values()] == ["alert"] * ("slack alert" in names), "of 0.3.0 and later"
    assert (await schedules.show_schedule(ponte, names["schedule"], OPERATOR))["runs"]
    listing = await operations.list_threads(ponte)
    threads = {one["conversation"]: one["messages"] for one in listing}
    assert {thread.partition(":")[0] for thread in threads} >= {"slack", "discord", "web"}
    for thread, count in threads.items():
        messages = (await operations.show_thread(ponte, thread))["messages"]
        assert bool(messages) == bool(count), thread
    for person in await operations.list_people(ponte):
        for section, count in (await operations.count_rows(ponte, person["person"])).counts.items():
            rows = await operations.read_rows(ponte, person["person"], section)
            # What is reserved for a call under way ends with it, between these two reads too.
            assert section == "reserved" or bool(rows) == bool(count), section
    entries = (await operations.read_audit_log(ponte))["lines"]
    assert {"change-approved", "change-denied"} <= {one["event"] for one in entries}
    assert await operations.report_usage(ponte)


async def wait_until_every_turn_ends_once(here: Found) -> None:
    slack, discord = here.slack, here.discord
    before = {seq for seq, _ in _turns(here)}
    assert here.states("inbox") >= {"done", "stopped", "failed", "undeliverable", "removed"}
    await slack.wait_until(lambda: not OPEN & here.states("inbox"))
    after = dict(_turns(here))
    assert before <= after.keys()
    hanging = here.post("hanging")
    await slack.wait_for_answers(hanging, f"You said: {HANGS}", "You said: And then?")
    streaming = here.post("streaming")
    assert [
        p.visible_text.count("Words that do not end") for p in slack.finished_answers(streaming)
    ] == [20]
    await discord.wait_until(lambda: len(here.channel_messages("hanging")) > 1)
    assert here.channel_messages("hanging") == [
        f"You said: {HANGS}, Ana",
        "You said: Anybody there?",
    ]
    assert [text.count("Slow words.") for text in here.channel_messages("answered")] == [60]
    assert here.channel_messages("posting") == [f"You said: {HELD}"]
    texts = [text for text in here.channel_messages("streaming") if "requested this" not in text]
    assert texts == [f"You said: {TRICKLES}, Bea"]
    await here.exchange("running").wait_until(lambda e: e.text == "explain: a bridge")
    await slack.wait_until(
        lambda: any("explain: a tunnel" in p.visible_text for p in _visible_posts(here))
    )
    assert here.stackspot.count("create") == 0, "what ran is waited for, and not begun again"
    await slack.wait_until(lambda: "✓ done" in here.post("applying").visible_text)
    assert (here.amount(13), here.team.writes()) == (1013, ["PATCH"])
    assert sum("Anybody there?" in post.visible_text for post in _visible_posts(here)) == 1
    other = (await here.page.get("/conversations/other")).json()["messages"]
    assert [one["text"] for one in other] == [f"{HANGS}, page", f"You said: {HANGS}, page"]


async def press_the_cards_on_slack(here: Found) -> None:
    slack, alice, bob, bea = here.slack, *map(here.person, ("Alice", "Bob", "Bea"))
    card, denial, undo = map(here.post, ("approve", "deny", "undo"))
    slack.click(bob, card, "Approve")
    await slack.wait_until(
        lambda: any("Someone else requested" in p.visible_text for p in _private(here))
    )
    slack.click(alice, card, "Approve")
    slack.click(alice, denial, "Deny")
    slack.click(alice, undo, "Undo")
    admins, file = map(here.post, ("admin", "file"))
    slack.click(alice, file, "Approve")
    await slack.wait_until(lambda: "✓ done" in card.visible_text)
    await slack.wait_until(lambda: "Denied" in denial.visible_text)
    await slack.wait_until(lambda: "Undone by" in undo.visible_text)
    await slack.wait_until(lambda: "✓ done" in file.visible_text)
    assert {31, 32, 33} <= here.team.rows("Customers").keys()
    slack.click(bea, admins, "Approve")
    await slack.wait_until(lambda: "✓ done" in admins.visible_text)
    await slack.wait_until(lambda: card.card_buttons == ["Undo"])
    await slack.wait_until(lambda: "Deny" not in denial.buttons)
    if "slack import" in here.record["names"]:  # 0.3.0 and later
        imported = here.post("import")
        assert here.team.rows("Customers")[5]["Status"] == "Active"
        slack.click(alice, imported, "Undo")
        await slack.wait_until(lambda: "Undone by" in imported.visible_text)
        assert here.team.rows("Customers")[5]["Status"] == "Lost"
    assert here.amount(11) == 1011
    for order in (1, 12, 14):
        assert here.amount(order) != 1000 + order, "expired, denied, taken back"
    assert not {29, 30} & here.team.rows("Customers").keys()
    for name in ("failed", "undone", "denied", "expired"):
        assert not {"Approve", "Deny", "Undo"} & here.post(name).buttons.keys()


async def submit_the_forms_on_slack(here: Found) -> None:
    slack, alice = here.slack, here.person("Alice")
    choose, inputs, ask, quick = list(slack.workspace.views)
    slack.submit(alice, choose, {"slug": "explain", "input": "a form"})
    slack.submit(alice, inputs, {"field:day": "20 May", "field:tone": "dry"})
    slack.submit(alice, ask, {"question": "What does that mean?"})
    slack.submit(
        alice, quick, {"slug": "explain", "input": quick["blocks"][1]["element"]["initial_value"]}
    )
    await slack.wait_until(
        lambda: any("explain: a form" in p.visible_text for p in _visible_posts(here))
    )
    await slack.wait_until(
        lambda: any("daily-summary: {" in p.visible_text for p in _visible_posts(here))
    )
    assert here.stackspot.count_executions({"day": "20 May", "tone": "dry"}) == 1
    pointed = here.post("pointed")
    await slack.wait_until(lambda: len(slack.finished_answers(pointed)) == 2)
    assert {post.visible_text for post in slack.finished_answers(pointed)} == {
        "You said: What does that mean?",
        "explain: The build is red",
    }
    assert "The build is red" in here.team.model_input()


async def press_the_cards_on_discord(here: Found) -> None:
    ana, bo = here.somebody("Ana"), here.somebody("Bo")
    card, denial, undo = map(here.message, ("approve", "deny", "undo"))
    click = await bo.click(card, "Approve")
    await click.wait_until(
        lambda e: e.followups and "Someone else requested" in e.followups[0]["content"]
    )
    for press, label in ((card, "Approve"), (denial, "Deny"), (undo, "Undo")):
        await (await ana.click(press, label)).wait_for_ack()
    race = here.message("race")
    first, second = await ana.click(race, "Approve"), await ana.click(race, "Approve")
    await first.wait_for_ack()
    await second.wait_for_ack()
    for view, words in (
        (card, " done"),
        (denial, "Denied"),
        (undo, "Undone by"),
        (race, " done"),
    ):
        await here.discord.wait_until(lambda m=view, words=words: words in json.dumps(m["embeds"]))  # type: ignore[misc]
    await here.discord.wait_until(lambda: _labels(card) == _labels(race) == ["Undo"])
    await here.discord.wait_until(lambda: _labels(undo) == [])  # the card says that it was undone
    await here.discord.wait_until(lambda: "Deny" not in _labels(denial))
    assert _labels(here.message("expired")) == ["Propose again"]
    assert (here.amount(21), here.amount(23), here.amount(2) == 1002) == (1021, 1023, False)
    assert here.amount(24) != 1024


async def submit_the_forms_on_discord(here: Found) -> None:
    ana = here.somebody("Ana")
    form = await ana.submit(here.exchange("form"), day="21 May", tone="dry")
    await form.wait_until(lambda e: "daily-summary: {" in e.text)
    assert here.stackspot.count_executions({"day": "21 May", "tone": "dry"}) == 1
    submission = await ana.submit(here.exchange("about"), prompt="What does that mean?")
    await submission.wait_until(lambda e: "You said: What does that mean?" in e.text)
    assert "The build is red" in here.team.model_input()


@pytest.mark.slow
@pytest.mark.parametrize(("record", "database"), STOPS, indirect=True)
async def test_the_stop_buttons(
    record: Json, tmp_path: Path, database: str, limits: Limits
) -> None:
    # The sign comes before the first word: after it, Slack gets a post and no session.
    limits(SIGN_AFTER_SECONDS=0.0)
    words = Script("More words.\n\n" * 30, fail="hang", after=30, match=TRICKLES, times=0)
    thinks = Script("never", fail="hang", match=HANGS, times=0)
    async with reopen_home(record, tmp_path / "home", words, thinks, database=database) as here:
        await here.slack.wait_until(lambda: f"{TRICKLES}, Bea" in here.team.model_input())
        growing = here.message("streaming")
        await (await here.somebody("Bea").click(growing, "Stop")).wait_for_ack()
        await here.discord.wait_until(lambda: "Stopped" in growing["content"])
        assert _labels(growing) == []
        hanging = here.post("hanging")
        sessions, session = here.slack.workspace.sessions, (here.place.id, hanging.ts)
        await here.slack.wait_until(lambda: f'{HANGS}"' in here.team.model_input())
        await here.slack.wait_until(lambda: sessions.get(session) == "processing")
        here.slack.stop(here.person("Alice"), here.place, hanging.ts)
        await here.slack.wait_until(lambda: len(here.slack.finished_answers(hanging)) == 2)
        stopped_text, following = (p.visible_text for p in here.slack.finished_answers(hanging))
        # The recorded session is in progress from the start: it does not tell that a turn runs.
        assert stopped_text.removeprefix("never\n\n") == "_Stopped._"
        assert following == "You said: And then?"


async def use_the_page_by_the_cookie_that_a_browser_kept(here: Found) -> None:
    page, names = here.page, here.record["names"]
    assert "authorization" not in page.headers
    talked = (await page.get("/conversations/work")).json()
    cards = {card["id"]: card for card in talked["cards"]}
    assert {cards[names[f"page {name}"]]["state"] for name in ("approve", "deny")} == {"open"}
    late = {"action": "approve", "conversation": "work"}
    text = (await page.post(f"/cards/{names['page expired']}", json=late)).json()
    assert "expired because no one approved it" in text["text"]
    for name, action, state in (
        ("approve", "approve", "done"),
        ("deny", "deny", "denied"),
        ("undo", "undo", "undone"),
    ):
        click = {"action": action, "conversation": "work"}
        body = (await page.post(f"/cards/{names[f'page {name}']}", json=click)).json()
        assert body["state"] == state, (name, body)
    assert (here.amount(31), here.amount(3) == 1003) == (1031, False)
    assert here.amount(33) != 1033
    lines = (await page.get(names["page file"])).text.splitlines()
    assert (len(lines), lines[-1]) == (1_201, "1200,r1200,1200")
    since = f"/conversations/work/events?after={names['page cursor']}"
    async with page.stream("GET", since) as stream:
        async for line in stream.aiter_lines():
            if "Order 33" in line:
                break
    plots = [file for file in here.slack.workspace.files.values() if file.name == "sales.png"]
    assert [plot.data for plot in plots] == [PNG]


def test_the_record_has_every_state_and_a_row_in_each_table(record: Json, tmp_path: Path) -> None:
    """A table that came after the newest release needs its row when the next one is recorded."""
    newest = tmp_path / "newest"
    put_home(read_record(FOLDER / f"{RELEASES[-1]}.json.gz")["home"], newest)
    put_home(record["home"], tmp_path)
    empty = {table for table, rows in count_rows(tmp_path / "ponte.db").items() if not rows}
    assert empty & count_rows(newest / "ponte.db").keys() == set()
    assert states(tmp_path, "inbox") == TURNS
    assert states(tmp_path, "changes") == CHANGES


def test_a_schema_changes_only_by_appending_a_migration(record: Json, tmp_path: Path) -> None:
    """Ponte opens the database of each release. Never edit a released schema or migration."""
    put_home(record["home"], tmp_path)
    with closing(sqlite3.connect(tmp_path / "ponte.db")) as connection:
        version, fingerprint = read_schema_version(connection)
    assert SCHEMA.find_pending(version, fingerprint) is not None, (
        "append a Migration to MIGRATIONS in bot/stores.py (docs/dev/extend.md)"
    )


def _turns(here: RecordedPonte) -> list[tuple[int, str]]:
    return here.rows("SELECT seq, state FROM inbox")


def _visible_posts(here: RecordedPonte) -> list[Post]:
    return here.slack.workspace.by_bot(here.place.id) + _private(here)


def _private(here: RecordedPonte) -> list[Post]:
    return here.slack.ephemeral_posts(here.place.id)


def _labels(message: Payload) -> list[str]:
    buttons = [button for row in message["components"] for button in row["components"]]
    return on_card(button.get("label", "") for button in buttons)
