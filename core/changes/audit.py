"""The audit log: a JSON line for each proposal, decision and change, only ever appended to.

Who asked, who decided, what was done: ids and counts, nothing out of the rows. A line may stand
twice where a crash came between the line and the ledger. One thread writes it, not the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from core.changes.model import WRITTEN, Change
from core.errors import AuditRefused

LARGEST = 10_000_000
"""Bytes of one file before it is rotated."""
KEPT = 9
"""Rotated files beside the current one: `audit.log.1` is the newest of them."""


class AuditLog:
    def __init__(
        self,
        path: Path,
        *,
        largest: int = LARGEST,
        kept: int = KEPT,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._path = path
        self._largest = largest
        self._kept = kept
        self._now = now
        self._owner = ThreadPoolExecutor(1, thread_name_prefix="audit")

    async def write(self, event: str, change: Change) -> None:
        """Durable on return. Raises AuditRefused."""
        at = self._now().isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "event": event, **_facts(change)}, ensure_ascii=False)
        try:
            await asyncio.get_running_loop().run_in_executor(self._owner, self._append, line)
        except OSError as error:
            cause = error.strerror or type(error).__name__
            raise AuditRefused(path=self._path, cause=cause) from None

    async def close(self) -> None:
        await asyncio.to_thread(self._owner.shutdown)

    def _append(self, line: str) -> None:
        data = f"{line}\n".encode(errors="replace")
        size = self._path.stat().st_size if self._path.is_file() else 0
        if size and size + len(data) > self._largest:
            self._rotate()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _write_whole(file, data)
        finally:
            os.close(file)

    def _rotate(self) -> None:
        names = [self._path, *(_numbered(self._path, n) for n in range(1, self._kept + 1))]
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.exists():
                newer.replace(older)


def _write_whole(file: int, data: bytes) -> None:
    """All of it and onto the disk, or nothing: a torn line would spoil the next one."""
    size = os.fstat(file).st_size
    try:
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _facts(change: Change) -> Mapping[str, object]:
    proposal, draft = change.proposal, change.draft
    facts: dict[str, object] = {
        "id": change.id, "undoes": proposal.undoes, "state": change.state,
        "asker": proposal.asker.key, "decider": change.decider.key if change.decider else "",
        "conversation": proposal.address.conversation, "turn_seq": proposal.seq,
        "decision_seq": change.claim, "system": draft.applier, "kind": draft.kind,
        "target": dict(draft.target), "rows": len(change.steps),
        "written": [step.write.id for step in change.steps if step.state in WRITTEN],
        "unknown": [step.number for step in change.steps if step.state == "unknown"],
    }  # fmt: skip
    return {name: value for name, value in facts.items() if value not in ("", 0, [])}
