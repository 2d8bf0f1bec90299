"""Runs a quick command that a model wanted and a person approved: once, and to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.change_ports import Doing
from core.errors import ToolError
from core.inputs import Inputs
from core.proposal import Change, Draft, Row, RowWrite, Seen
from core.records import QuickCommand, Scene
from core.text import clip
from core.tools.stackspot.client import StackSpot
from core.tools.stackspot.commands import conversation_of, progress_of
from core.tools.stackspot.error import StackSpotError, StillRunning
from core.tools.stackspot.execution import OnProgress
from core.tools.stackspot.status import Status

NAME = "stackspot"
MARGIN = 60.0
"""Seconds beyond a run's own deadline, for the requests before and after it."""
LONGEST = 200_000
"""Characters of a result that the ledger keeps."""
NO_WAY_BACK = "What a quick command does cannot be taken back."
_PLAIN = "input"
"""What free text is called on a card."""


class StackSpotRuns:
    """The `Applier` port. Each draft is one run; the row's id is the execution's."""

    name = NAME

    def __init__(self, stackspot: StackSpot) -> None:
        self._stackspot = stackspot
        self.patience = stackspot.deadline + MARGIN

    def batch(self, draft: Draft) -> int:
        return 1

    async def apply(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[RowWrite]:
        (row,) = rows
        target = draft.target
        try:
            execution = await self._stackspot.create(
                str(target["slug"]), _input(draft, row.after or {}),
                conversation_id=str(target.get("conversation", "")),
            )  # fmt: skip
        except StackSpotError as error:
            raise error.of_write() from None
        return [replace(row, id=execution)]

    async def verify(self, draft: Draft, rows: Sequence[RowWrite]) -> Sequence[Seen]:
        """Waits for the end of what was begun; without an id nothing can be looked for."""
        (row,) = rows
        return [await self._seen(row) if row.id else Seen("before", row)]

    async def watch(
        self, draft: Draft, rows: Sequence[RowWrite], doing: Doing, locale: str
    ) -> Sequence[Seen]:
        """The same; `doing` is told each step and percentage."""

        async def on_progress(status: Status) -> None:
            await doing(progress_of(status, locale))

        (row,) = rows
        return [await self._seen(row, on_progress) if row.id else Seen("before", row)]

    def revert(self, change: Change) -> Draft:
        raise ToolError(NO_WAY_BACK)

    async def _seen(self, row: RowWrite, on_progress: OnProgress | None = None) -> Seen:
        try:
            result = await self._stackspot.wait(row.id, on_progress=on_progress)
        except StillRunning as error:
            return Seen("other", row, words=str(error))
        except StackSpotError as error:
            return Seen("failed" if error.code == "failed" else "other", row, words=str(error))
        return Seen("after", row, {"result": clip(result.text, LONGEST)})


def draft_of(scene: Scene, command: QuickCommand, given: Inputs) -> Draft:
    """The proposal to run `command` in the thread's conversation at StackSpot."""
    plain = isinstance(given, str)
    target = {"slug": command.slug, "effect": command.effect, "plain": plain,
              "conversation": conversation_of(scene), "key": "execution"}  # fmt: skip
    row: Mapping[str, Any] = {_PLAIN: given} if isinstance(given, str) else given
    title, _ = command.told(scene.locale)
    return Draft(NAME, "run", target, title or command.slug, (RowWrite(after=row),), NO_WAY_BACK)


def _input(draft: Draft, row: Row) -> Inputs:
    return str(row[_PLAIN]) if draft.target.get("plain") else dict(row)
