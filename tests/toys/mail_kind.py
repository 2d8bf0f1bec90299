"""A kind of change that nobody has: a mail that is sent. All that Ponte needs of it is here, and
a feature's `kinds`. The mail server takes a mail back until it has been read."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core.base.errors import ToolError, WriteUnsure
from core.changes.kinds import Kind
from core.domain.changes import Change, Draft, RowCheck, RowWrite
from core.domain.ports import Tool
from core.domain.records import Health, Outcome, ToolContext
from core.domain.rights import Viewer
from core.money.usage import PaidRun
from core.tools.tool import FunctionTool

READ_ALREADY = "Somebody has read this mail."
REFUSED = "The mail server refuses this mail."


class MailSending(Kind):
    """One mail. Rules know it by its recipient."""

    can_be_undone = True
    is_repeatable = False

    def rule_names(self, draft: Draft) -> tuple[str, ...]:
        return (draft.title,)

    def paid_run(self, draft: Draft) -> PaidRun:
        return PaidRun("quick_commands", "mail")

    def build_title(self, change: Change) -> str:
        return f"Send a mail to {change.draft.title}"

    def describe(self, change: Change) -> str:
        write = change.steps[0].write
        return str((write.after or write.before or {})["text"])

    def build_rows(self, change: Change) -> tuple[()]:
        return ()


@dataclass
class MailServer:
    """The service. `fault` is how its next call fails: "refused", "lost" (the answer, with the
    effect) or "never came" (the request)."""

    sent: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Recipient and text of each mail by its id. A mail that is taken back is not in it."""
    read: set[str] = field(default_factory=set)
    fault: str = ""
    calls: int = 0


class MailOffice:
    """The tool `mail_send`, and the applier that sends."""

    name = "mail"
    patience = 5.0

    def __init__(self) -> None:
        self.server = MailServer()
        self._ids = itertools.count(1)

    async def tools(self, viewer: Viewer) -> Sequence[Tool]:
        return [FunctionTool(self.mail_send, effect="write", doing="is writing a mail…")]

    async def health(self) -> Health:
        return Health(self.name, "on")

    async def close(self) -> None:
        return None

    async def mail_send(self, ctx: ToolContext, to: str, text: str) -> Outcome:
        """Propose to send a mail.

        Args:
            to: its recipient
            text: its text
        """
        return await ctx.turn.propose(
            Draft(self.name, "mail", {}, to, (RowWrite(after={"text": text}),))
        )

    def batch(self, draft: Draft) -> int:
        return 1

    def open(self, draft: Draft) -> MailBatch:
        return MailBatch(self.server, draft, self._ids)

    def revert(self, change: Change) -> Draft:
        (written_step,) = change.written_steps
        return replace(
            change.draft, rows=(RowWrite(written_step.write.id, before=written_step.write.after),)
        )


@dataclass
class MailBatch:
    server: MailServer
    draft: Draft
    ids: itertools.count[int]

    async def check(self, rows: Sequence[RowWrite]) -> Sequence[RowCheck]:
        """The id of a mail is chosen, and stored, before it is sent."""
        (row,) = rows
        if row.before:
            return [RowCheck("before" if row.id in self.server.sent else "after", row, row.before)]
        id = row.applier_data or f"m{next(self.ids)}"
        if id in self.server.sent:
            return [RowCheck("after", replace(row, id=id), row.after)]
        return [RowCheck("before", replace(row, applier_data=id))]

    async def write(self, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        (row,) = rows
        self.server.calls += 1
        fault, self.server.fault = self.server.fault, ""
        if fault == "refused":
            raise ToolError(REFUSED)
        if fault == "never came":
            raise WriteUnsure("The connection broke.")
        if row.before and row.id in self.server.read:
            raise ToolError(READ_ALREADY)
        if row.before:
            self.server.sent.pop(row.id)
        else:
            row = replace(row, id=row.applier_data)
            self.server.sent[row.id] = (self.draft.title, str((row.after or {})["text"]))
        if fault == "lost":
            raise WriteUnsure("The connection broke.")
        return [row]
