"""Schedules in a conversation: proposals of the model, their cards, and typed commands."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from core.changes.cards import is_short
from core.commands.grammar import TypedCommand
from core.conversation.schedule_cards import (
    build_closed_card,
    build_schedule_card,
    build_schedule_title,
    card_id,
    coded_id,
    describe_schedule,
    describe_whole,
    parse_card_id,
)
from core.conversation.schedules import ScheduleService
from core.domain.errors import BadInput, NotAllowed, NotFound, StatusUnknown
from core.domain.messages import Answer, Card, Status
from core.domain.records import MakeDraft, Outcome, Turn
from core.domain.schedule_words import describe_date, describe_result, local_time
from core.domain.schedules import Schedule, ScheduleRun, VersionChanged
from core.store.turns import Journal
from core.text.i18n import plural, say, use_locale

SCHEDULES_PER_PAGE = 20
_PROPOSED = (
    "Schedule {id} is prepared and not started. The person sees its card with the next dates, and "
    "must press Start."
)
_MANAGED_BY = "The person manages one by typing `schedule ID pause`, `resume`, `run` or `delete`."


@dataclass(frozen=True, slots=True)
class ScheduleCommands:
    """Schedules as a turn uses them. `redraw_card` draws a card again in the answer of the turn
    with this `seq`."""

    service: ScheduleService
    journal: Journal
    redraw_card: Callable[[int, Card], Awaitable[None]]
    clock: Callable[[], float] = time.time

    async def propose(
        self, turn: Turn, call_id: str, make_draft: MakeDraft, replaces: str
    ) -> Outcome:
        """Store a schedule that waits for its owner, or a new version of one. Return the outcome
        for the model; its `proposal` is the id of the card. Raise ToolError."""
        message, service = turn.message, self.service
        author, here = message.author, message.address
        try:
            if replaces:
                id, _ = parse_card_id(replaces)
                before = (await service.get(id, author, here)).newest
                draft = make_draft(before.draft)
                schedule = (await service.edit(id, draft, author, here, turn.seq)).newest
                if before.state == "proposed":
                    await self._close_card(before, turn.seq)
            else:
                origin = f"{turn.id}:{call_id}"
                schedule = await service.propose(
                    origin, author, message.reply_to, make_draft(None), message.locale
                )
                await service.schedules.set_card(schedule.id, turn.seq)
        except (BadInput, NotAllowed, NotFound, StatusUnknown) as error:
            with use_locale("en"):
                return Outcome("error", f"error: {error.words()}")
        return Outcome("proposed", _PROPOSED.format(id=schedule.id), proposal=card_id(schedule))

    async def cards(self, ids: Sequence[str]) -> Sequence[Card]:
        """Return the cards with these ids in their present state. Deleted ones are left out."""
        found = []
        for id in ids:
            try:
                schedule = await self.service.schedules.get(parse_card_id(id)[0])
            except NotFound:
                continue
            versions = {card_id(version): version for version in (schedule, schedule.newest)}
            if id in versions:
                found.append(build_schedule_card(versions[id], self.clock()))
            else:
                title = build_schedule_title(schedule)
                found.append(build_closed_card(id, title, is_deleted=False))
        return found

    async def list_for_model(self, turn: Turn, page: int) -> str:
        """Return a page of the schedules that the author may see, one in each line, in English."""
        with use_locale("en"):
            found, pages = await self._list_page(turn, page)
            if not found:
                return f"There are no schedules on page {page}."
            last = f"Page {page} of {pages}. " if pages > 1 else ""
            return "\n".join([*found, f"{last}{_MANAGED_BY}"])

    async def list_schedules(self, turn: Turn, page: int, is_demo: bool) -> Answer:
        """Return a page of the author's schedules and those of this place. `is_demo`: the demo
        model answers. Raise NotAllowed."""
        found, pages = await self._list_page(turn, page)
        if found:
            lines = [say("Schedules:"), "", *(f"- {line}" for line in found)]
            if pages > 1:
                lines += ["", say("Page {page} of {pages}.", page=page, pages=pages)]
            if page < pages:
                lines[-1] += " " + say("For the next one, type `schedules {page}`.", page=page + 1)
            words = "\n".join(lines)
        elif pages:
            words = plural(
                "There is only {count} page of schedules.",
                "There are only {count} pages of schedules.",
                pages,
            )
        elif is_demo:
            words = say("There are no schedules. The demo model can't make one: connect a model.")
        else:
            words = say(
                "There are no schedules. To make one, ask me, for example: remind me tomorrow "
                "at 14:00 to call Ana."
            )
        return Answer(words, is_private=turn.message.address.is_shared)

    async def _list_page(self, turn: Turn, page: int) -> tuple[Sequence[str], int]:
        """Return the lines of one page of schedules, and the number of pages."""
        message = turn.message
        found = await self.service.list_for(message.author, message.address)
        first = (page - 1) * SCHEDULES_PER_PAGE
        shown = found[first : first + SCHEDULES_PER_PAGE] if page > 0 else ()
        return [describe_schedule(one) for one in shown], -(-len(found) // SCHEDULES_PER_PAGE)

    async def answer(self, turn: Turn, command: TypedCommand) -> Answer:
        """Carry out `schedule ID ACTION` and return the answer. Raise NotFound, NotAllowed,
        StatusUnknown, BadSchedule."""
        message, service = turn.message, self.service
        id, revision = parse_card_id(command.id)
        who = message.author, message.address
        match command.slug:
            case "show":
                return await self._show(turn, id)
            case "edit":
                return await self._explain_edit(turn, id)
            case "start" | "cancel" as action:
                before = await service.get(id, *who)
                newest = before.newest
                is_read = is_short([newest.draft.text]) or command.id == coded_id(newest)
                if action == "start" and not (message.is_click or is_read):
                    return await self._show(turn, id, "failed")
                decide = service.start if action == "start" else service.cancel
                try:
                    schedule = await decide(id, revision, *who)
                except VersionChanged as error:
                    return await self._show_newest(turn, id, error)
                if action == "start" and before.seq != schedule.seq:
                    await self._close_card(before, schedule.seq)
            case "delete":
                schedule = await service.delete(id, *who)
                if schedule.edit:
                    await self._close_card(schedule.newest, schedule.seq)
            case "pause":
                schedule = await service.pause(id, *who)
            case "run":
                await service.run_now(id, *who, once=message.event_key)
                return Answer(say("It runs now."), is_private=message.address.is_shared)
            case _:
                schedule = await service.resume(id, *who)
        if command.slug in ("cancel", "delete"):
            card = build_closed_card(
                card_id(schedule), build_schedule_title(schedule), is_deleted=True
            )
        else:
            card = build_schedule_card(schedule, self.clock())
        return await self._redraw(turn, schedule, card)

    async def _redraw(self, turn: Turn, schedule: Schedule, card: Card) -> Answer:
        """Draw the card of a schedule again, and return the answer to who changed it."""
        if turn.message.is_click:  # the answer redraws the card under which the button was
            await self.journal.replace_cards(schedule.seq, [card])
            return Answer(card.text, cards=(card,))
        await self.redraw_card(schedule.seq, card)
        return Answer(f"**{card.title}**\n\n{card.text}")

    async def _show(self, turn: Turn, id: str, status: Status = "done") -> Answer:
        """Return a schedule with its last runs."""
        who = turn.message.author, turn.message.address
        schedule = await self.service.get(id, *who)
        runs = await self.service.list_runs(id, *who)
        lines = "\n".join(f"- {_describe_run(schedule, run)}" for run in runs)
        parts = [describe_whole(schedule, self.clock()), lines]
        if schedule.edit:
            parts.append(describe_whole(schedule.newest, self.clock()))
        words = "\n\n".join(filter(None, parts))
        return Answer(words, status, is_private=turn.message.address.is_shared)

    async def _show_newest(self, turn: Turn, id: str, error: VersionChanged) -> Answer:
        """Return the answer to a button or word that names an older version: the newest one."""
        address = turn.message.address
        schedule = await self.service.get(id, turn.message.author, address)
        words = f"{error.words()}\n\n{describe_whole(schedule.newest, self.clock())}"
        return Answer(words, "failed", code=error.code, is_private=address.is_shared)

    async def _explain_edit(self, turn: Turn, id: str) -> Answer:
        """Return how the owner changes the schedule."""
        message = turn.message
        schedule = await self.service.get(id, message.author, message.address)
        if not self.service.is_owner(schedule, message.author):
            name = schedule.owner.name or schedule.owner.id
            raise NotAllowed("Only {name}, who owns this schedule, can change it.", name=name)
        words = say(
            "Tell me what should be different, for example: change schedule {id} to 10:00. I will "
            "show a new card, and it runs only after you start that.",
            id=id,
        )
        return Answer(words, is_private=message.address.is_shared)

    async def _close_card(self, before: Schedule, seq: int) -> None:
        """Mark the card of the former version as replaced, unless the turn `seq` shows both."""
        if before.seq and before.seq != seq:
            with use_locale(before.locale):
                title = build_schedule_title(before)
                card = build_closed_card(card_id(before), title, is_deleted=False)
            await self.redraw_card(before.seq, card)


def _describe_run(schedule: Schedule, run: ScheduleRun) -> str:
    """Return one line about a run."""
    when = local_time(run.due_at, schedule.draft.time_zone)
    result = describe_result(run.state, run.missed_count, is_late=run.is_late)
    return f"{describe_date(when)}: {result}"
