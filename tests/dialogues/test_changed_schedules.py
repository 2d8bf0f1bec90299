"""The owner of a proposed schedule changes it, and proposes a denied one again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from core.schedules.schedule import ScheduleFilter, read_row
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import MEMBER, OTHER, RIGHTS, on_slack, proposed_on_slack, says
from tests.dialogues.test_schedule_cards import DAILY as DAILY_POST
from tests.fakes.schedules import LateScheduleSource

DAILY: dict[str, Any] = dict(DAILY_POST)


@asynccontextmanager
async def scheduling(bot_home: BotHome) -> AsyncIterator[RunningBot]:
    source = LateScheduleSource()
    async with bot_home.open(sources=[source], policy=RIGHTS) as ponte:
        source.open(ponte.engine)
        yield ponte


async def draft_of(ponte: RunningBot, id: str) -> Any:
    change = await ponte.engine.changes.ledger.get(id)
    return read_row(change.steps[0].write.after or {})


async def test_its_owner_changes_text_and_time(bot_home: BotHome) -> None:
    async with scheduling(bot_home) as ponte:
        text = "Stand-up https://e.example/asked"
        card = await proposed_on_slack(ponte, "k1", "schedule_propose", **DAILY | {"what": text})
        assert card.actions == ("approve", "change", "deny")
        await says(ponte, f"change {card.id} When = 10:30", "k2", OTHER, thread="tU1")
        assert (await draft_of(ponte, card.id)).rule.cron == "0 9 * * *", "it isn't theirs"
        values = {"Text": f"{text} https://e.example/typed", "When": "10:30"}
        await says(ponte, f"change {card.id} {json.dumps(values)}", "k3")
        draft = await draft_of(ponte, card.id)
        assert (draft.rule.cron, draft.text) == ("30 10 * * *", values["Text"])
        assert draft.addresses == ("https://e.example/asked", "https://e.example/typed")
        wrong = await says(ponte, f"change {card.id} When = 2026-99-99T10:00", "k4")
        assert wrong.text.startswith("Invalid date or time.")
        wrong = await says(ponte, f"change {card.id} Time zone = Mars/Phobos", "kz1")
        assert wrong.text.startswith("Time zone `Mars/Phobos` not found. Use a name such as")
        assert (await draft_of(ponte, card.id)) == draft
        await says(ponte, f"change {card.id} Time zone = Europe/Lisbon", "kz2")
        draft = replace(draft, time_zone="Europe/Lisbon")
        await says(ponte, f"approve {card.id}.3", "k5", clicked=True)
        (entry,) = await ponte.engine.schedules.store.list_matching(ScheduleFilter())
        assert (entry.owner, entry.draft) == (MEMBER, draft)
        edits = DAILY | {"replaces": entry.id, "when": "11:00"}
        edit = await proposed_on_slack(ponte, "k6", "schedule_propose", **edits)
        await says(ponte, f"change {edit.id} Text = Lunch", "k7")
        await says(ponte, f"approve {edit.id}.2", "k8", clicked=True)
        (entry,) = await ponte.engine.schedules.store.list_matching(ScheduleFilter())
        assert (entry.draft.text, entry.draft.rule.cron) == ("Lunch", "0 11 * * *")


async def test_when_is_typed_in_the_form_of_the_reader(bot_home: BotHome) -> None:
    async with scheduling(bot_home) as ponte:
        card = await proposed_on_slack(ponte, "k1", "schedule_propose", **DAILY)
        for number, (locale, text, when) in enumerate(
            [
                ("pt-BR", "Quando = 24/12/2027 às 14h30", "2027-12-24 14:30"),
                (
                    "pt-BR",
                    "quando = sexta-feira, 24 de dezembro de 2027, 08:00",
                    "2027-12-24 08:00",
                ),
                ("fr", "quand = 24 déc. 2027 9 h", "2027-12-24 09:00"),
                ("en", "When = 12/24/2027 2:30 PM", "2027-12-24 14:30"),
            ]
        ):
            message = replace(on_slack(f"change {card.id} {text}", f"w{number}"), locale=locale)
            answer = await ponte.ask_message(message)
            draft = await draft_of(ponte, card.id)
            at = datetime.fromtimestamp(draft.rule.run_at, ZoneInfo(draft.time_zone))
            assert f"{at:%Y-%m-%d %H:%M}" == when, answer.text
        message = replace(on_slack(f"alterar {card.id} quando = logo", "w9"), locale="pt-BR")
        answer = await ponte.ask_message(message)
        assert answer.text == "Data ou hora inválida. Escreva como 2026-11-24 14:00."


async def test_a_denied_one_is_proposed_again(bot_home: BotHome) -> None:
    async with scheduling(bot_home) as ponte:
        card = await proposed_on_slack(ponte, "k1", "schedule_propose", **DAILY)
        await says(ponte, f"deny {card.id}", "k2")
        (new,) = (await says(ponte, f"again {card.id}", "k3")).cards
        assert await draft_of(ponte, new.id) == await draft_of(ponte, card.id)
        await says(ponte, f"approve {new.id}", "k4", clicked=True)
        (entry,) = await ponte.engine.schedules.store.list_matching(ScheduleFilter())
        assert entry.id == new.id
