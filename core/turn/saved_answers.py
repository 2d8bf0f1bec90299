"""Questions that run again: below an answer, by a saved name, or in a schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from core.base.errors import NotAllowed
from core.base.i18n import format_date, format_moment, say
from core.chat.people import People
from core.commands.grammar import TypedCommand
from core.domain.messages import Answer, Message
from core.domain.ports import StatusBoard
from core.domain.records import Turn
from core.domain.rights import PlaceRights
from core.saved.buttons import read_alert_form
from core.saved.queries import (
    QUESTION_GONE,
    NotRunAgain,
    ProposalScript,
    QueryScript,
    StoredCall,
    find_former,
    load_calls,
    plan_calls,
)
from core.saved.questions import (
    SavedQuestion,
    check_name,
    find_named,
    find_shown_name,
    let_days_move,
    require_named,
)
from core.turn.context import ToolContexts
from core.turn.preface import zone_of

RERUN_PAUSE_SECONDS = 60.0
"""A second press within so many seconds reads nothing again."""
_RAN_JUST_NOW = "I ran this again just now ({moment}). To run it once more, wait a minute."
_SAVED = (
    "Saved. To see it again, type `show {name}`. To list all your saved questions, type `saved`."
)
_SAVED_FOR_ALL = (
    "Saved for everyone here. To see it again, type `show {name}`. To list all saved "
    "questions, type `saved`."
)
_DELETED = "Deleted the saved question `{name}`."
_ONLY_SAVER = "Only the person who saved this question or an admin can delete it."
_NONE_SAVED = (
    "No saved questions yet. To save one, click **Save…** below an answer that shows rows or "
    "figures."
)
_HOW_TO_DELETE = "To delete one, type `saved NAME delete`."


@dataclass(frozen=True, slots=True)
class SavedAnswers:
    """Answers the commands about saved questions, and finds what runs in the place of the model."""

    people: People
    contexts: ToolContexts
    find_board: Callable[[], StatusBoard]

    async def find_script(
        self, turn: Turn, command: TypedCommand | None, rights: PlaceRights
    ) -> QueryScript | None:
        """Return what answers `rerun`, `watch`, `show NAME` or the run of a schedule in the place
        of the model; None for any other message, also if the person can use no question of this
        name here. Raise BadInput and NotAllowed, and NotRunAgain if the answer is not stored any
        more, or ran again within the last minute."""
        message = turn.message
        if command and command.name == "watch":
            what, rule = read_alert_form(command.id, command.reason)
            arguments = {
                "kind": "alert",
                "what": what,
                "when": rule,
                "zone": None,
                "ends": None,
                "replaces": None,
            }
            return ProposalScript([StoredCall("schedule_propose", arguments, {})])
        if command:
            return (
                await self._run_again(turn, command.id, rights) if command.name == "rerun" else None
            )
        name = find_shown_name(message.text) if message.may_be_command else ""
        if queries := message.origin.data.get("queries"):  # of a schedule
            calls: Sequence[StoredCall] = load_calls(queries)
        elif name and (found := find_named(name, await self._list_usable(message, rights))):
            calls = found.calls
        else:
            return None
        _check_rights(calls, rights)
        return QueryScript(calls, is_attended=message.origin.is_attended)

    async def _run_again(self, turn: Turn, former_id: str, rights: PlaceRights) -> QueryScript:
        message, zone = turn.message, self._find_zone(turn.message)
        conversation, since = message.address.conversation, turn.accepted_at - RERUN_PAUSE_SECONDS
        journal = self.contexts.stores.journal
        former = await find_former(journal, former_id, conversation)
        # Without an ID, an answer to another question may stand between two equal messages.
        is_repeated = former_id or former.message.text == message.text
        at = await journal.find_message_time(conversation, message.text, since)
        if is_repeated and at:
            moment = format_moment(datetime.fromtimestamp(at, zone))
            raise NotRunAgain(_RAN_JUST_NOW, moment=moment)
        calls = plan_calls(former)
        _check_rights(calls, rights)
        then, now = (datetime.fromtimestamp(t.accepted_at, zone) for t in (former, turn))
        form = format_moment if then.date() == now.date() else format_date
        return QueryScript(calls, form(then, this_year=now.year), former)

    async def save(self, turn: Turn, command: TypedCommand, rights: PlaceRights | None) -> Answer:
        """Answer the command that the form sends. Raise NotAllowed, NotRunAgain, NotSaved."""
        message = turn.message
        journal = self.contexts.stores.journal
        former = await find_former(journal, command.id, message.address.conversation)
        calls = [replace(call, before="", figure="") for call in plan_calls(former)]
        if not all(self.contexts.may_know(rights, call.needs) for call in calls):
            raise NotAllowed
        is_shared, moves = (word == "true" for word in command.slug.split("/"))
        if moves:
            asked_at = datetime.fromtimestamp(former.accepted_at, self._find_zone(former.message))
            calls = let_days_move(calls, asked_at)
        titles = [
            *await self.find_board().tables(message.author, message.address),
            *(call.titles.get(call.arguments.get("table", ""), "") for call in calls),
        ]
        name, person = check_name(command.reason, titles), message.author.key
        is_shared = is_shared and message.address.is_shared
        scope = message.address.channel_key if is_shared else person
        await self.contexts.stores.saved.add(name, person, scope, calls)
        words = say(_SAVED_FOR_ALL if is_shared else _SAVED, name=name)
        return Answer(words, is_private=not is_shared, has_own_post=is_shared)

    async def list(self, turn: Turn, command: TypedCommand, rights: PlaceRights | None) -> Answer:
        """Answer `saved` and `saved NAME delete`. Raise NotAllowed and NotFound."""
        message = turn.message
        questions = await self._list_usable(message, rights)
        if command.slug:
            found = require_named(command.reason, questions)
            if found.person not in self.people.list_keys(message.author.key):
                policy = self.people.policy
                if not (await policy.may(message.author, message.address, "administer")).allowed:
                    raise NotAllowed(_ONLY_SAVER)
            await self.contexts.stores.saved.delete(found.id)
            return Answer(say(_DELETED, name=found.name))
        lines = [
            f"- `show {question.name}`"
            + (f" · {say('everyone here')}" if question.is_shared else "")
            for question in questions
        ]
        words = say(_HOW_TO_DELETE if lines else _NONE_SAVED)
        return Answer("\n".join([*lines, "", words]).strip(), is_private=True)

    async def _list_usable(
        self, message: Message, rights: PlaceRights | None
    ) -> Sequence[SavedQuestion]:
        return await self.contexts.stores.saved.list_usable(
            message.author.key, message.address, self.contexts.may_know, rights
        )

    def _find_zone(self, message: Message) -> ZoneInfo:
        return ZoneInfo(zone_of(message, self.contexts.zone))


def _check_rights(calls: Sequence[StoredCall], rights: PlaceRights) -> None:
    rights.may("read").raise_if_denied()
    if not calls:  # of a schedule whose copy is damaged
        raise NotRunAgain(QUESTION_GONE)
    for call in calls:
        rights.may("tool", call.tool).raise_if_denied()
