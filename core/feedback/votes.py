"""Votes on answers: their table, who may vote on what, and what operators read of them.

A person has one vote on an answer, the last one counts. The text of the question and of the answer
is never copied: it is read from the turn when votes are listed, so it ends with the conversation.
No model reads votes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.base.errors import NotFound
from core.base.text import clean_text
from core.domain.messages import Address, Answer, Message, Person, decode_json
from core.domain.ports import Messenger
from core.domain.records import Outcome
from core.feedback.places import PublicPlaces
from core.observability import metrics
from core.people.rules import place_names
from core.store.database import (
    Database,
    SqlConnection,
    SqlRow,
    SqlStore,
    query,
    select_value,
    select_values,
    transaction,
)
from core.store.tables import Index, TableDeclaration, count, integer, real, text

VOTES_TABLE = TableDeclaration(
    name="votes",
    whose="person",
    section="feedback",
    seen_at="pressed_at",
    contents="a thumb up or down on an answer, the reason, and whether its text may be read",
    kept="as `inbox`",
    columns=(
        integer("seq"),
        text("person"),
        text("vote"),  # up, down, or "" once it was taken back
        text("reason", default=""),
        count("is_shared"),
        real("pressed_at"),
    ),
    key=("seq", "person"),
    indexes=(Index("votes_person", "person"), Index("votes_pressed", "pressed_at")),
    deleted_by=("person", "seq"),
    purged_with="inbox",
)
Vote = Literal["up", "down", ""]
MAX_FEEDBACK_CHARACTERS = 1000
"""The limit of a reason."""
MAX_LISTED_VOTES = 200
"""How many votes a report lists."""
SHARE_HINT = "The people who run Ponte can read both."
_CODE = re.compile(r'\{"error":\{"code":"(\w+)"')
RATE_LABELS: Mapping[str, str] = {"up": "Good answer", "down": "Bad answer"}


class NotRateable(NotFound):
    """A person pressed a thumb below a post that is no answer to vote on: the answer does not exist
    any more, has other posts by now, or is not a text of the model."""

    sentence = "This answer can't be rated. It may have been deleted."


@dataclass(frozen=True, slots=True)
class Press:
    """A person's press on a thumb (up or down) below an answer. `at` is when it was pressed, in
    seconds since the epoch. `turn` is the one that gave the answer. `post` is the platform's id of
    the post, "" on the page, whose answers have none."""

    turn: str
    person: Person
    vote: Vote
    at: float
    post: str = ""


class Votes(SqlStore):
    """Methods raise NotStored."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.places = PublicPlaces()

    async def vote(self, press: Press, *, toggles: bool = False) -> bool:
        """Store a press and return whether the person has that vote now. With `toggles`, a second
        press of the same thumb takes the vote back. A press that arrives twice counts once. Raises
        NotRateable."""
        old, vote = await self._store_press(press, toggles)
        if vote != old:
            metrics.feedback.labels(vote or "removed", press.person.platform).inc()
        return vote == press.vote

    @transaction
    def _store_press(
        self, connection: SqlConnection, press: Press, toggles: bool
    ) -> tuple[Vote, Vote]:
        """Store a press, and return the person's vote before and after it.

        Platforms may deliver a press late or twice: one that is not newer than the stored press
        changes nothing. A new vote drops the reason of the old one, and the person's permission for
        operators to read the question and the answer (`is_shared`).
        """
        key = (_find_answer(connection, press), press.person.key)
        sql = "SELECT vote, pressed_at FROM votes WHERE seq = ? AND person = ?"
        row = connection.execute(sql, key).fetchone()
        old: Vote = row["vote"] if row else ""
        if row and row["pressed_at"] >= press.at:
            return old, old
        # A second press of the same thumb takes the vote back.
        vote: Vote = "" if toggles and press.vote == old else press.vote
        connection.execute(
            "INSERT INTO votes (seq, person, vote, pressed_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (seq, person) DO UPDATE SET pressed_at = excluded.pressed_at,"
            " vote = excluded.vote,"
            " reason = CASE WHEN votes.vote = excluded.vote THEN votes.reason ELSE '' END,"
            " is_shared = CASE WHEN votes.vote = excluded.vote THEN votes.is_shared ELSE 0 END",
            (*key, vote, press.at),
        ).close()
        return old, vote

    @transaction
    def explain(self, connection: SqlConnection, press: Press, reason: str, shares: bool) -> None:
        """Store the reason of a vote against an answer. `shares`: operators may read the question
        and the answer. For a place that others read, too, the person cannot allow that. Raises
        NotRateable, also if the person has another vote by now."""
        words = clean_text(reason).strip()[:MAX_FEEDBACK_CHARACTERS]
        seq = _find_answer(connection, press)
        content = select_value(connection, "SELECT message FROM inbox WHERE seq = ?", seq)
        shares = shares and not decode_json(Message, content).address.is_shared
        done = connection.execute(
            "UPDATE votes SET reason = ?, is_shared = ?"
            " WHERE seq = ? AND person = ? AND vote = 'down'",
            (words, int(shares), seq, press.person.key),
        )
        if not done.rowcount:
            raise NotRateable

    @query
    def list_own(self, connection: SqlConnection, person: str, conversation: str) -> dict[str, str]:
        """Return a person's votes (a key) on answers of a conversation, by turn."""
        rows = connection.execute(
            "SELECT turn, vote FROM votes JOIN inbox ON inbox.seq = votes.seq"
            " WHERE votes.person = ? AND inbox.conversation = ?",
            (person, conversation),
        )
        return {row["turn"]: row["vote"] for row in rows}

    async def report(
        self, since: float, down: bool, messengers: Mapping[str, Messenger]
    ) -> Sequence[Mapping[str, Any]]:
        """Return the newest votes since that time (seconds since the epoch), with the facts of
        their turns, for the operator. With `down`, only votes against answers.

        `question` and `answer` are None unless the person shared them, or everybody in the
        workspace can read the channel (`is_public`; None if that is not known yet). `messengers`
        can tell that, by platform.
        """
        entries = await self._read(since, down)
        public = await self.places.find({at for at, _ in entries}, messengers)
        hidden = {"question": None, "answer": None}
        return [
            {**entry, "is_public": public[at], **({} if entry["shared"] or public[at] else hidden)}
            for at, entry in entries
        ]

    @query
    def _read(
        self, connection: SqlConnection, since: float, down: bool
    ) -> Sequence[tuple[Address, Mapping[str, Any]]]:
        """Return the newest votes with the place of the answer and the facts of its turn. Votes
        that were taken back, stored as "", and rows without an answer, which `_describe` reads, are
        left out."""
        rows = connection.execute(
            "SELECT votes.*, turn, message, answer, created_at, updated_at FROM votes"
            " JOIN inbox ON inbox.seq = votes.seq WHERE pressed_at >= ? AND answer IS NOT NULL"
            " AND vote IN ('down', ?) ORDER BY pressed_at DESC LIMIT ?",
            (since, "down" if down else "up", MAX_LISTED_VOTES),
        ).fetchall()
        return [_describe(connection, row) for row in rows]


def _find_answer(connection: SqlConnection, press: Press) -> int:
    """Return the `seq` of the turn whose answer was rated, with its row locked until the
    transaction ends: a person may forget the conversation at the same time. Raises NotRateable.

    An answer that is edited or repeated gets new posts. A press below an old one does not count.
    """
    seq = select_value(connection, "SELECT seq FROM inbox WHERE turn = ?", press.turn)
    row = connection.read_locked_message(seq) if seq else None
    if row is None or not row["answer"] or not decode_json(Answer, row["answer"]).is_rateable:
        raise NotRateable
    # People see a post before its id is recorded.
    sql = "SELECT CASE state WHEN 'posting' THEN ? ELSE post END FROM posts WHERE seq = ?"
    posts = select_values(connection, sql, press.post, seq)
    if press.post not in (posts or [""]):  # an answer on the page has no posts
        raise NotRateable
    return int(seq)


def _describe(connection: SqlConnection, row: SqlRow) -> tuple[Address, Mapping[str, Any]]:
    """Return the place of a rated answer, and what operators learn about it: the vote, and the
    models, tools, errors, seconds and tokens of its turn. The caller removes question and answer
    unless they may be shown. `row` is of the vote and its turn."""
    seq, message = row["seq"], decode_json(Message, row["message"])
    # An incomplete round has no model yet.
    sql = "SELECT model FROM rounds WHERE seq = ? AND model <> '' ORDER BY number"
    models = select_values(connection, sql, seq)
    sql = "SELECT name, outcome FROM calls WHERE seq = ? ORDER BY started_at"
    calls = connection.execute(sql, (seq,)).fetchall()
    sql = "SELECT input + output FROM usage WHERE seq = ?"
    return message.address, {
        "at": row["pressed_at"],
        "vote": row["vote"],
        "person": row["person"],
        "place": place_names(message.address)[-1],  # the channel, the narrowest of the names
        "platform": message.address.platform,
        "turn": row["turn"],
        "reason": row["reason"],
        "shared": bool(row["is_shared"]),
        "models": list(dict.fromkeys(models)),
        "tools": list(dict.fromkeys(call["name"] for call in calls)),
        # The output of a failed call is JSON with the error's code. It counts also if a later call
        # of the tool succeeds: that one may have another purpose.
        "errors": list(
            dict.fromkeys(
                f"{call['name']}: {found[1]}"
                for call in calls
                if call["outcome"]
                if (found := _CODE.match(decode_json(Outcome, call["outcome"]).text))
            )
        ),
        "seconds": round(max(0.0, row["updated_at"] - row["created_at"]), 1),
        "tokens": select_value(connection, sql, seq) or 0,  # no row: no usage was recorded
        "question": message.text,
        "answer": decode_json(Answer, row["answer"]).text,
    }
