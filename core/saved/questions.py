"""Saved questions: the calls of an answer under a name, of one person or of one channel."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from core.base.errors import BadInput, NotFound, ToolError
from core.base.text import clean_text, compose_letters, fold_to_letters, to_one_line
from core.base.time_spans import TimeSpan
from core.commands.grammar import is_command_name, parse_command
from core.domain.messages import Address
from core.domain.rights import Need, PlaceRights
from core.saved.queries import StoredCall, dump_calls, load_calls
from core.store.database import (
    Database,
    SqlConnection,
    SqlRow,
    SqlStore,
    query,
    select_value,
    transaction,
)
from core.store.tables import Index, TableDeclaration, real, text

MAX_SAVED_NAME = 60
MAX_IN_SCOPE = 50
"""Questions of a person, and of a channel."""
MAX_IN_CHANNEL_OF_ONE = 10
MAX_FOUND = 20
MayKnow = Callable[[PlaceRights | None, Collection[Need]], bool]
SAVED_QUESTIONS_TABLE = TableDeclaration(
    name="saved_questions",
    whose="person",
    section="saved_questions",
    seen_at="created_at",
    contents="questions that were saved under a name, and the channel that may use them",
    kept="until their owner deletes them or is forgotten",
    columns=(
        text("id"),
        text("person"),
        text("scope"),  # the person's key, or that of the channel whose people may use it
        text("name"),
        text("folded"),
        text("calls", json=True),
        real("created_at"),
    ),
    key=("id",),
    unique=("scope", "folded"),
    indexes=(Index("saved_questions_person", "person"),),
    deleted_by=("person",),
)
_NAME = re.compile(r"(?:[^\W\u115f\u1160]|[ .,;()&%€$'’+-])+")
"""What may stand in a name, which others read: no mention, link or markup, and no filler."""
_SHOW = re.compile(
    r"[/!]?(?:show|mostr(?:ar|e|a)|exib(?:ir|a)|affich(?:er|e|ez)|montr(?:er|e|ez))"
    r"(?:[- ](?:me|moi))?\s+(.{1,80})",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"\A(?:the|os?|as?|le|la|les|l')\s*\b(?=\w)")
MOVING_WORDS: Mapping[str, str] = {
    "today": "today",
    "yesterday": "yesterday",
    "this_week": "this week",
    "last_week": "last week",
    "this_month": "this month",
    "last_month": "last month",
    "this_quarter": "this quarter",
    "last_quarter": "last quarter",
    "this_year": "this year",
    "last_year": "last year",
}
_BAD_NAME = (
    "A name has 1 to {most} letters, digits, spaces and simple punctuation. Choose another one."
)
_TAKEN = "There is already a question or a table called `{name}` here. Choose another name."
_COMMAND = "`{name}` is a command. Choose another name."
_FULL = "There are already {most} saved questions. Delete one first: type `saved`."
_FULL_OF_ONE = (
    "You have already saved {most} questions for this channel. Delete one first: type `saved`."
)
NO_SUCH_QUESTION = "Saved question `{name}` not found here. Type `saved` for a list."


class NotSaved(BadInput):
    """Only the person reads why: in a channel, others read along."""


@dataclass(frozen=True, slots=True)
class SavedQuestion:
    """`scope`: the owner's key, or the key of the channel whose people may use it."""

    id: str
    person: str
    scope: str
    name: str
    calls: tuple[StoredCall, ...]

    @property
    def is_shared(self) -> bool:
        return self.scope != self.person


def propose_name(message: str) -> str:
    """Return a name for what a message asked; "" if no letter of it may stand in one."""
    words = find_shown_name(message) or message
    line = to_one_line(" ".join(_NAME.findall(compose_letters(clean_text(words)))))
    return line[:MAX_SAVED_NAME].strip(" .,:;-")


def find_shown_name(message: str) -> str:
    """Return the name after `show`, in any language, if that is the whole message; else ""."""
    match = _SHOW.fullmatch(message.strip(" `").rstrip(".!?"))
    return match[1].strip(' "`“”«»') if match else ""


def fold_name(name: str) -> str:
    letters = fold_to_letters(name).replace("’", "'").rstrip(".!? ")
    return _ARTICLE.sub("", letters, count=1)


def check_name(name: str, titles: Sequence[str]) -> str:
    """Return the name as it is stored. `titles` are those of the tables, which `show` means, too.
    Raise NotSaved."""
    line = compose_letters(to_one_line(name))
    if not _NAME.fullmatch(line) or len(line) > MAX_SAVED_NAME or not fold_name(line).strip():
        raise NotSaved(_BAD_NAME, most=MAX_SAVED_NAME)
    command: object = line
    with suppress(BadInput):  # a command with an error
        command = parse_command(line)
    if command or is_command_name(line):
        raise NotSaved(_COMMAND, name=line)
    if fold_name(line) in map(fold_name, titles):
        raise NotSaved(_TAKEN, name=line)
    return line


class SavedQuestions(SqlStore):
    """Raises NotStored. `list_keys` returns all keys of a person."""

    def __init__(self, database: Database, list_keys: Callable[[str], Sequence[str]]) -> None:
        super().__init__(database)
        self._list_keys = list_keys

    @transaction
    def add(
        self, connection: SqlConnection, name: str, person: str, scope: str, calls: Sequence[Any]
    ) -> None:
        """Raise NotSaved if another question has the name, or if there are too many."""
        columns = person, scope, name, fold_name(name), dump_calls(calls)
        row = connection.execute(
            "INSERT INTO saved_questions (id, person, scope, name, folded, calls, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scope, folded) DO NOTHING",
            (secrets.token_hex(8), *columns, time.time()),
        )
        sql = "SELECT %s FROM saved_questions WHERE scope = ?"
        if not row.rowcount:
            same = select_value(
                connection, f"{sql % 'calls'} AND person = ? AND name = ?", scope, person, name
            )
            # A turn that goes on after a crash, or a form sent twice. Another process may write a
            # set in another order.
            if same and load_calls(same) == tuple(calls):
                return
            raise NotSaved(_TAKEN, name=name)
        if select_value(connection, sql % "count(*)", scope) > MAX_IN_SCOPE:
            raise NotSaved(_FULL, most=MAX_IN_SCOPE)
        own = select_value(connection, f"{sql % 'count(*)'} AND person = ?", scope, person)
        if own > MAX_IN_CHANNEL_OF_ONE and scope != person:
            raise NotSaved(_FULL_OF_ONE, most=MAX_IN_CHANNEL_OF_ONE)

    @query
    def list_for(
        self, connection: SqlConnection, person: str, address: Address
    ) -> Sequence[SavedQuestion]:
        """Return the questions of the person and of the place, by name."""
        sql = "SELECT * FROM saved_questions WHERE scope = ?"
        # A place of one person has none: on the page, people choose how theirs is called.
        channels = [address.channel_key] if address.is_shared else []
        scopes = (*self._list_keys(person), *channels)
        rows = [row for scope in scopes for row in connection.execute(sql, (scope,))]
        found = [_read(row) for row in sorted(rows, key=lambda row: str(row["folded"]))]
        return [question for question in found if question.calls]

    async def list_usable(
        self, person: str, address: Address, may_know: MayKnow, rights: PlaceRights | None
    ) -> Sequence[SavedQuestion]:
        """Return those of `list_for` whose tables the reader may read there: nobody learns the name
        of another one."""
        return [
            question
            for question in await self.list_for(person, address)
            if all(may_know(rights, call.needs) for call in question.calls)
        ]

    @transaction
    def delete(self, connection: SqlConnection, id: str) -> None:
        connection.execute("DELETE FROM saved_questions WHERE id = ?", (id,))


def _read(row: SqlRow) -> SavedQuestion:
    calls = load_calls(row["calls"])
    return SavedQuestion(row["id"], row["person"], row["scope"], row["name"], calls)


def find_named(name: str, questions: Sequence[SavedQuestion]) -> SavedQuestion | None:
    """Return the question whose whole name this is; the person's own before the channel's."""
    key = fold_name(name)
    found = [question for question in questions if fold_name(question.name) == key]
    return min(found, key=lambda question: question.is_shared, default=None)


def require_named(name: str, questions: Sequence[SavedQuestion]) -> SavedQuestion:
    """Raise NotFound."""
    if (found := find_named(name, questions)) is None:
        raise NotFound(NO_SUCH_QUESTION, name=to_one_line(name, MAX_SAVED_NAME))
    return found


def find_fixed_days(calls: Sequence[StoredCall], now: datetime) -> Mapping[str, str]:
    """Return the days that the calls hold as days and that a word means now, each with the word."""
    filters = (part for call in calls for part in call.arguments.get("filters") or ())
    found = (_find_moving(part.get("value"), now) for part in filters)
    return {days: word for days, word in found if word}


def let_days_move(calls: Sequence[StoredCall], now: datetime) -> list[StoredCall]:
    """Return the calls with words in the place of days that they mean now."""

    def move(criterion: Mapping[str, Any]) -> Mapping[str, Any]:
        value = criterion.get("value")
        _, word = _find_moving(value, now)
        moved = [word, word] if isinstance(value, list) else word
        return {**criterion, "value": moved} if word else criterion

    return [
        replace(call, arguments={**call.arguments, "filters": [move(part) for part in filters]})
        if (filters := call.arguments.get("filters"))
        else call
        for call in calls
    ]


def _find_moving(value: object, now: datetime) -> tuple[str, str]:
    """Return the days and the word that means them now; "" if there is none."""
    ends = value if isinstance(value, list) else [value]
    if not 1 <= len(ends) <= 2 or not all(re.match(r"\d{4}(-|$)", str(end)) for end in ends):
        return "", ""
    with suppress(ToolError):
        spans = [TimeSpan.of(str(end), now) for end in ends]
        span = TimeSpan(spans[0].start, spans[-1].end)
        words = (word for word in MOVING_WORDS if TimeSpan.of(word, now) == span)
        return str(span), next(words, "")
    return "", ""
