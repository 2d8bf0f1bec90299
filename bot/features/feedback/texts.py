"""The texts of votes on answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bot.operation_texts import (
    COLUMN_GAP,
    TEXT_LISTS,
    TEXTS,
    ListColumn,
    ResultText,
    Row,
    TextList,
    View,
    format_name,
    format_place,
    format_reason,
    format_time,
)
from core.base import i18n
from core.base.i18n import say
from core.base.text import clean_text, to_one_line
from core.feedback.votes import RATE_LABELS

NO_FEEDBACK = "No feedback yet."
_UNCHECKED = "Not checked yet whether this channel is public. Look again in a minute."
MAX_FEEDBACK_TEXT = 400
"""The limit of a question or an answer in the page's list of votes."""


def _describe_facts(vote: Row, view: View) -> str:
    tokens = i18n.plural("{count} token", "{count} tokens", vote["tokens"])
    facts = (*vote["models"], *vote["tools"], f"{vote['seconds']} s", tokens)
    errors = (format_reason(code, view) for code in vote["errors"])
    return " · ".join(map(to_one_line, (*facts, *errors)))


def _describe_text(vote: Row, key: str) -> str:
    if vote["is_public"] is None and not vote["shared"]:
        return say(_UNCHECKED)
    return to_one_line(vote[key] or "–", MAX_FEEDBACK_TEXT)


def _vote(vote: str, view: View) -> str:
    return say(RATE_LABELS[vote])


def format_feedback(votes: Sequence[Row], view: View) -> Iterator[str]:
    """Yield each vote in one line, then indented the facts of its turn and the texts that may be
    read."""
    if not votes:
        yield say(NO_FEEDBACK)
    for vote in votes:
        where = (format_name(vote["person"], view), to_one_line(vote["place"]), vote["turn"])
        head = (format_time(vote["at"], view), _vote(vote["vote"], view), *where)
        yield COLUMN_GAP.join(head)
        yield f"    {_describe_facts(vote, view)}"
        if vote["is_public"] is None and not vote["shared"]:
            yield f"    {say(_UNCHECKED)}"
        # None unless the person shared them or anybody can read the place.
        for label, text in (
            ("reason", vote["reason"]),
            ("question", vote["question"]),
            ("response", vote["answer"]),
        ):
            for n, line in enumerate(clean_text(text or "").splitlines()):
                yield f"    {say(label) if n == 0 else '':<10} {line}".rstrip()


TEXT_LISTS.update(
    {
        "feedback": TextList(
            NO_FEEDBACK,
            ListColumn("time", "at", format_time),
            ListColumn("vote", "vote", _vote),
            ListColumn("person", "person", format_name),
            ListColumn("channel", "place", format_place),
            ListColumn("reason", "reason"),
            ListColumn("question", "", lambda vote, view: _describe_text(vote, "question")),
            ListColumn("response", "", lambda vote, view: _describe_text(vote, "answer")),
            ListColumn("details", "", _describe_facts),
        )
    }
)
TEXTS.update({"feedback": ResultText(format_feedback, people=("person",), json_values=list)})
