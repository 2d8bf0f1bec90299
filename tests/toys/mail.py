"""An origin of turns that nobody has: a mail that arrived. All that Ponte needs of it is here, and
one line in `bot.engine.ORIGINS`.

A mail has its sender as its author. What a sender may do is a `StandIns` of the rule book.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.domain.messages import Message, MessageOrigin, Person, ReplyTo, turn_id
from core.domain.ports import Tool
from core.domain.records import Turn
from core.people.rules import StandIns
from core.turn.origins import Origin, RunSkipped

MAIL_PLATFORM = "mail"
MAIL_RIGHTS = ("chat", "read", "propose", "model", "tool")
PREFACE = "This message is a mail from outside."


class MailOrigin(Origin):
    """The turns of mails. `skipped` and `ended` record what became of them."""

    preface = PREFACE
    has_profile = False
    refers_to_others = False
    is_refusal_private = False

    def __init__(self) -> None:
        self.skipped: list[str] = []
        self.ended = 0

    async def check_start(self, turn: Turn) -> str:
        if turn.message.origin.data["is_spam"]:
            raise RunSkipped("rights")
        return ""

    def offer(self, tools: Sequence[Tool]) -> Sequence[Tool]:
        return [tool for tool in tools if tool.effect in ("read", "write")]

    def notes(self, message: Message) -> Sequence[str]:
        return [f"Mail {message.origin.id} from {message.author.name}"]

    async def on_skip(self, turn: Turn, skipped: RunSkipped) -> None:
        self.skipped.append(f"{turn.message.author.id}: {skipped.reason}")

    def on_end(self) -> None:
        self.ended += 1


def make_mail(id: str, sender: str, text: str, to: ReplyTo, *, is_spam: bool = False) -> Message:
    """Return the message of a mail. Its answer is posted at `to`."""
    key = f"mail:{id}"
    author = Person(MAIL_PLATFORM, sender, name=sender)
    origin = MessageOrigin(
        "mail",
        id,
        may_be_command=False,
        is_authored=False,
        reads_history=False,
        is_by_person=False,
        is_attended=False,
        data={"is_spam": is_spam},
    )
    to = replace(to, asker=author, turn=turn_id(key))
    return Message(key, text, author, to.address, to, origin=origin)


def allow_senders(groups: dict[str, str]) -> dict[str, StandIns]:
    """Return the stand-ins of a rule book for these senders, each with its group."""
    return {MAIL_PLATFORM: StandIns(MAIL_RIGHTS, groups)}
