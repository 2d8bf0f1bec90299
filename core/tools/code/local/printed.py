"""What one run prints: kept up to a cap, counted beyond it, ended by the kernel's mark."""

from __future__ import annotations

KEPT = 1 << 20
"""Bytes of one run that are kept."""
FLOOD = 64 << 20
"""Bytes of one run from which it is ended."""


class Printed:
    """`mark` is what the kernel writes after the run; whatever follows it belongs to the next."""

    def __init__(self, mark: bytes, before: bytes = b"") -> None:
        self._mark = mark
        self._kept = bytearray()
        self._pending = before
        self.total = 0
        self.rest = b""

    def feed(self, chunk: bytes) -> bool:
        """Take it; True when the mark has come."""
        data = self._pending + chunk
        before, mark, self.rest = data.partition(self._mark)
        # The end may be the beginning of the mark.
        held = b"" if mark else before[-len(self._mark) :]
        self._pending = held
        self._keep(before[: len(before) - len(held)])
        return bool(mark)

    @property
    def flooded(self) -> bool:
        return self.total > FLOOD

    @property
    def text(self) -> str:
        """What was kept of it so far."""
        room = KEPT - len(self._kept)
        kept = bytes(self._kept) + self._pending[:room]
        return kept.decode(errors="replace")

    @property
    def cut(self) -> int:
        """Bytes that were not kept."""
        return max(0, self.total - len(self._kept))

    def _keep(self, data: bytes) -> None:
        self.total += len(data)
        self._kept += data[: KEPT - len(self._kept)]
