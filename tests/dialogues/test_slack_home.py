"""Slack's App Home: what waits for a person, with buttons that work there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.slack.home import MAX_HOME_CARDS, MAX_HOME_LINES
from bot.engine import Engine
from bot.health import HealthBoard, PartHealth
from core.changes.approval import TableRule, TableRules
from core.domain.changes import ChangeForm, Overview
from core.domain.messages import Address, Person, ReplyTo
from core.domain.records import Health
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from core.schedules.schedule import ScheduleDraft, ScheduleRule
from tests.fakes.choices import EmptyStatusBoard, allow_list, make_choices
from tests.fakes.config import fixed_rules
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel
from tests.fakes.schedules import put_schedule
from tests.fakes.slack import Json, Post, SlackPerson
from tests.fakes.slack.records import TEAM
from tests.slack.bot import Setting, Workplace, workplace
from tests.time_limits import Limits


@dataclass
class EngineBoard(EmptyStatusBoard):
    """The board of a real engine, as `bot.ponte` has it."""

    engine: Engine | None = None

    async def health(self) -> list[Health]:
        return [Health("nocodb", "on")]

    async def tables(
        self, person: Person, address: Address, *, to_change: bool = False
    ) -> list[str]:
        return ["People"]

    async def overview(self, person: Person, address: Address, time_zone: str) -> Overview:
        assert self.engine is not None
        board = HealthBoard(PartHealth([]), self.engine)
        return await board.overview(person, address, time_zone)

    async def find_form(self, press_id: str, person: Person, address: Address) -> ChangeForm:
        assert self.engine is not None
        return await self.engine.changes.views.find_form(press_id, person, address)


@dataclass
class Home:
    """Alice asks in #general; Carol approves, and opens her Home tab."""

    w: Workplace
    table: MemoryTable
    carol: SlackPerson
    policy: Policy

    async def ask(self, call: str) -> Post:
        message = self.w.slack.say(self.w.alice, self.w.general, f"{self.w.slack.bot} {call}")
        return await self.w.slack.wait_for_answer(message)

    async def open(self, who: SlackPerson) -> Json:
        """Return the Home tab as it is published after this opening."""
        count = len(self.w.calls("views.publish"))
        self.w.slack.open_home(who)
        await self.w.until(lambda: len(self.w.calls("views.publish")) > count)
        return self.view(who)

    def view(self, who: SlackPerson) -> Json:
        return self.w.slack.workspace.homes[who.id]


def words_of(view: Json) -> str:
    return json.dumps(view["blocks"], ensure_ascii=False)


def call(tool: str, **arguments: Any) -> str:
    return f"call {tool} {json.dumps(arguments)}"


@asynccontextmanager
async def home(folder: Path, rows: int = 1) -> AsyncIterator[Home]:
    table = MemoryTable({str(n): {"Name": f"Ada {n}"} for n in range(1, rows + 1)})
    rules = TableRules({"people": TableRule("ask", frozenset({"slack:S1"}))})
    policy = allow_list(frozenset({"*"}), frozenset())
    board = EngineBoard()
    choices = make_choices(EchoModel(), [table], policy, [table], rules=rules)
    async with workplace(folder, Setting(chosen=choices, board=board)) as w:
        board.engine = w.bot.engine
        carol = w.slack.person("Carol")
        w.slack.workspace.groups["S1"] = {carol.id}
        w.slack.dm(carol)
        yield Home(w, table, carol, policy)


async def test_a_request_is_approved_on_the_home_tab(tmp_path: Path) -> None:
    async with home(tmp_path) as h:
        assert "No requests are waiting for you." in words_of(await h.open(h.carol))
        card = await h.ask(call("table_delete", ids=["1"]))
        own = words_of(await h.open(h.w.alice))
        assert "What you asked for" in own
        assert "Waiting for" in own
        assert "Approve" not in own, "she may not decide"
        waiting = words_of(await h.open(h.carol))
        assert "Requested by Alice." in waiting
        assert "Ada 1" in waiting
        published = len(h.w.calls("views.publish"))
        click = h.w.slack.click_home(h.carol, "Approve")
        await click.acked.wait()
        await h.w.until(lambda: len(h.w.calls("views.publish")) > published)
        assert "No requests are waiting for you." in words_of(h.view(h.carol))
        assert h.table.rows == {}
        await h.w.until(lambda: "Approve" not in card.buttons)
        direct = next(
            place
            for place in h.w.slack.workspace.places.values()
            if place.kind == "im" and h.carol.id in place.members
        )
        answers = [post.visible_text for post in h.w.posts(direct)]
        assert sum("Approved by Carol" in text for text in answers) >= 1, answers


async def test_a_click_on_an_old_home_tab_decides_nothing(tmp_path: Path) -> None:
    """Somebody has decided meanwhile, or the click came twice."""
    async with home(tmp_path) as h:
        await h.ask(call("table_delete", ids=["1"]))
        await h.open(h.carol)
        old = h.view(h.carol)
        await h.w.slack.click_home(h.carol, "Deny").acked.wait()
        await h.w.until(lambda: "No requests" in words_of(h.view(h.carol)))
        h.w.slack.workspace.homes[h.carol.id] = old
        published = len(h.w.calls("views.publish"))
        await h.w.slack.click_home(h.carol, "Approve").acked.wait()
        await h.w.until(lambda: len(h.w.calls("views.publish")) > published)
        assert set(h.table.rows) == {"1"}


async def test_a_request_is_changed_on_the_home_tab(tmp_path: Path) -> None:
    async with home(tmp_path) as h:
        h.table.is_editable = True
        await h.ask(call("table_update", rows={"1": {"Name": "Eva"}}))
        await h.open(h.w.alice)
        await h.w.slack.click_home(h.w.alice, "Change…").acked.wait()
        (form,) = h.w.slack.workspace.views
        published = len(h.w.calls("views.publish"))
        field = next(block["block_id"] for block in form["blocks"] if block["type"] == "input")
        await h.w.slack.submit(h.w.alice, form, {field: "Zoe"}).acked.wait()
        await h.w.until(lambda: len(h.w.calls("views.publish")) > published)
        view = words_of(h.view(h.w.alice))
        assert "Zoe" in view
        assert "Version 2, changed by" in view


async def test_a_form_that_cannot_be_opened_on_the_home_tab_is_told(tmp_path: Path) -> None:
    """In the direct message: a press on the Home tab has no other place for a sentence."""
    async with home(tmp_path) as h:
        h.table.is_editable = True
        await h.ask(call("table_update", rows={"1": {"Name": "Eva"}}))
        old = await h.open(h.w.alice)
        await h.w.slack.click_home(h.w.alice, "Deny").acked.wait()
        await h.w.until(lambda: "Deny" not in words_of(h.view(h.w.alice)))
        h.w.slack.workspace.homes[h.w.alice.id] = old
        await h.w.slack.click_home(h.w.alice, "Change…").acked.wait()
        assert "already decided" in (await h.w.first_whisper(h.w.dm)).visible_text
        assert h.w.slack.workspace.views == []


async def test_someone_else_s_click_decides_nothing(tmp_path: Path) -> None:
    """A view that is made up does not give a right."""
    async with home(tmp_path) as h:
        await h.ask(call("table_delete", ids=["1"]))
        h.w.slack.workspace.homes[h.w.bob.id] = await h.open(h.carol)
        published = len(h.w.calls("views.publish"))
        await h.w.slack.click_home(h.w.bob, "Approve").acked.wait()
        await h.w.until(lambda: len(h.w.calls("views.publish")) > published)
        assert set(h.table.rows) == {"1"}
        assert "Approve" not in words_of(h.view(h.w.bob))


async def test_many_requests_fit_and_the_rest_is_counted(tmp_path: Path, limits: Limits) -> None:
    limits(MAX_LISTED_CHANGES=MAX_HOME_CARDS + 1)
    async with home(tmp_path, rows=MAX_HOME_CARDS + 2) as h:
        h.w.slack.workspace.groups["S1"].add(h.w.alice.id)
        for id in h.table.rows.copy():
            await h.ask(call("table_delete", ids=[id]))
        view = await h.open(h.carol)
        assert words_of(view).count('"text": "Delete 1 row"') == MAX_HOME_CARDS
        kinds = [block["type"] for block in view["blocks"]]
        card = kinds[1 : kinds.index("divider")]
        assert kinds[1:].count("divider") == MAX_HOME_CARDS - 1, "a line between two cards"
        assert kinds[: 1 + 2 * len(card) + 1] == ["header", *card, "divider", *card]
        assert "2 more requests are waiting for you." in words_of(view)
        own = words_of(await h.open(h.w.alice))
        assert "2 more requests are waiting for you." in own
        assert "What you asked for" not in own, "what she may decide is listed once"


@pytest.mark.parametrize("locale", ["en-US", "pt-BR", "fr-FR"])
async def test_the_messages_tab_suggests_prompts(tmp_path: Path, locale: str) -> None:
    """In the person's language, and without `thread_ts`, with which Slack shows nothing."""
    async with home(tmp_path) as h:
        person = h.w.slack.person("Dora", locale=locale)
        place = h.w.slack.dm(person)
        h.w.slack.open_home(person, "messages")
        await h.w.until(lambda: place.id in h.w.slack.workspace.prompts)
        prompts = h.w.slack.workspace.prompts[place.id]
        assert len(prompts) == 3
        assert "People" in prompts[0]["message"]
        assert h.w.calls("views.publish") == []


async def test_help_lists_what_works_and_what_one_can_send(tmp_path: Path) -> None:
    """By the rights of the person, in their language."""
    async with home(tmp_path) as h:
        words = (await h.w.ask("help", h.w.dm)).visible_text
        assert "✅ chat with me" in words
        assert "🚫 decide on changes as an admin" in words
        assert "Tables: available" in words
        assert "Try one of these:" in words
        assert "Show me the newest rows of People." in words
        assert "Help me change a row of People." in words
        words = (await h.w.ask("ajuda", h.w.slack.dm(h.w.bob), h.w.bob)).visible_text
        assert "Experimente uma destas mensagens:" in words
        assert "Mostre as linhas mais recentes de People." in words
        rule = Rule("1", frozenset({f"slack:{h.w.alice.id}"}), deny=("propose",))
        h.policy.read_rules = fixed_rules(RuleBook((rule,)))
        words = (await h.w.ask("help", h.w.dm)).visible_text
        assert "🚫 change data" in words
        assert "Show me the newest rows of People." in words
        assert "Help me change" not in words


async def test_a_schedule_is_paused_and_resumed_on_the_home_tab(tmp_path: Path) -> None:
    async with home(tmp_path) as h:
        alice = Person("slack", h.w.alice.id, TEAM, "Alice")
        to = ReplyTo(Address("slack", h.w.dm.id, TEAM), alice, "1.0  message", "")
        draft = ScheduleDraft("post", "Call Ada", ScheduleRule("0 9 * * 1"), "UTC")
        await put_schedule(h.w.bot.engine.schedules.store, to, draft)
        view = words_of(await h.open(h.w.alice))
        assert "Call Ada" in view
        assert "Next: " in view
        for label, following in (("Pause", "Resume"), ("Resume", "Pause")):
            await h.w.slack.click_home(h.w.alice, label).acked.wait()
            await h.w.until(partial(is_offered, h, following))
        assert "Next: " in words_of(h.view(h.w.alice))


async def test_own_schedules_are_shown_as_they_were_written(tmp_path: Path) -> None:
    """Without the escapes of Markdown, which Slack would show; those left out are not hidden."""
    async with home(tmp_path) as h:
        alice = Person("slack", h.w.alice.id, TEAM, "Alice")
        to = ReplyTo(Address("slack", h.w.dm.id, TEAM), alice, "1.0  message", "")
        rule = ScheduleRule("0 9 * * 1")
        title = "#sales: Q1_plan [draft] <!channel> https://evil.test"
        await put_schedule(
            h.w.bot.engine.schedules.store, to, ScheduleDraft("post", title, rule, "UTC")
        )
        view = words_of(await h.open(h.w.alice))
        assert "#sales: Q1_plan [draft] &lt;" in view
        assert "https://evil.test" not in view
        assert "To list all your schedules" not in view
        for number in range(MAX_HOME_LINES):
            draft = ScheduleDraft("post", f"Call {number}", rule, "UTC")
            await put_schedule(h.w.bot.engine.schedules.store, to, draft)
        assert "To list all your schedules, type `schedules`." in words_of(await h.open(h.w.alice))


async def test_own_requests_that_are_left_out_are_counted(tmp_path: Path) -> None:
    async with home(tmp_path, rows=MAX_HOME_CARDS + 2) as h:
        for id in h.table.rows.copy():
            await h.ask(call("table_delete", ids=[id]))
        view = await h.open(h.w.alice)
        assert "… +2" in words_of(view)
        kinds = [block["type"] for block in view["blocks"]]
        assert kinds.count("divider") == MAX_HOME_CARDS - 1


async def test_a_home_tab_without_its_channel(tmp_path: Path) -> None:
    """The click is handled, though its answer has no place but the tab."""
    async with home(tmp_path) as h:
        await h.ask(call("table_delete", ids=["1"]))
        h.w.slack.workspace.homes[h.carol.id] = {**await h.open(h.carol)}
        del h.w.slack.workspace.homes[h.carol.id]["private_metadata"]
        published = len(h.w.calls("views.publish"))
        await h.w.slack.click_home(h.carol, "Approve").acked.wait()
        await h.w.until(lambda: len(h.w.calls("views.publish")) > published)
        assert h.table.rows == {}


def is_offered(h: Home, label: str) -> bool:
    return f'"text": "{label}"' in words_of(h.view(h.w.alice))


async def test_names_mention_nobody_and_link_nothing(tmp_path: Path) -> None:
    title = "<!channel> said <https://evil.test|here> or https://evil.test *Approve* x.test"
    async with home(tmp_path) as h:
        h.table.rows["1"]["Name"] = title
        await h.ask(call("table_delete", ids=["1"]))
        await h.ask(call("table_update", rows={"1": {"Name": f"{title}!"}}))
        for who in (h.carol, h.w.alice):
            text = words_of(await h.open(who))
            assert "said" in text
            for live in ("https://evil", " x.test", "<!channel>", "<https"):
                assert live not in text, live
