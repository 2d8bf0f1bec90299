"""What is known of one run while it lasts, as the kernel tells it, within the caps."""

from __future__ import annotations

from core.errors import PonteError
from core.tools.code.content import type_of
from core.tools.code.local import frame
from core.tools.code.local.printed import Printed
from core.tools.code.port import MADE_BYTES, MADE_COUNT, MADE_TOTAL, Fault, Made, Ran

LEFT_MOST = 20_000
"""Files that were not taken; no honest kernel goes beyond it, as it looks at 10,000."""
_LEFT_COUNT = 10

_WHY_LEFT = {
    "large": f"{{name!r}} was not taken: a file may have {MADE_BYTES >> 20} MiB",
    "many": f"{{name!r}} was not taken: one run gives {MADE_COUNT} files at most",
    "full": f"{{name!r}} was not taken: the files of one run may have {MADE_TOTAL >> 20} MiB",
    "unput": "{name!r} could not be put into the work folder",
}


class FloodedOut(PonteError):
    """It prints without end (never shown)."""

    code = "flooded"
    sentence = "The code prints without end."


class Run:
    """`name` is a random one, so that what an earlier run left cannot end this one."""

    def __init__(self, name: str, printed_before: bytes = b"") -> None:
        self.name = name
        self.printed = Printed(f"\0{name}\0".encode(), printed_before)
        self.made: list[Made] = []
        self.left_out: list[str] = []
        self.done: frame.Done | None = None
        self._left = 0

    def take(self, came: frame.Frame) -> None:
        """Raises BrokenFrame for one that no honest kernel sends now."""
        match came:
            case frame.FileMade(file=name, data=data):
                self._take_file(name, data)
            case frame.LeftOut(left=name, why=why) if why in _WHY_LEFT and self._left < LEFT_MOST:
                self._left += 1
                if self._left <= _LEFT_COUNT:
                    self.left_out.append(_WHY_LEFT[why].format(name=name[:100]))
            case frame.Done(done=name) if name == self.name:
                self.done = came
            case _:
                raise frame.BrokenFrame

    def hear(self, chunk: bytes) -> bool:
        """True when all that it printed has come. Raises FloodedOut."""
        ended = self.printed.feed(chunk)
        if self.printed.flooded:
            raise FloodedOut
        return ended

    def ran(self, fault: Fault, *, lost: bool) -> Ran:
        left_out = list(self.left_out)
        if self._left > _LEFT_COUNT:
            left_out.append(f"{self._left - _LEFT_COUNT} more files were not taken")
        if self.printed.cut:
            left_out.append(f"{self.printed.cut:,} bytes of what it printed were not kept")
        return Ran(
            printed=self.printed.text,
            value=self.done.value if self.done else "",
            error=self.done.error if self.done else "",
            made=tuple(self.made),
            left_out=tuple(left_out),
            fault=fault,
            lost=lost,
        )

    def _take_file(self, name: str, data: bytes) -> None:
        total = len(data) + sum(len(made.data) for made in self.made)
        if len(self.made) >= MADE_COUNT or total > MADE_TOTAL:
            raise frame.BrokenFrame
        self.made.append(Made(name, type_of(name, data), data))
