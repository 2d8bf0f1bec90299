"""Lines that a person types at a terminal, for `ponte chat`: only they may be commands."""

from __future__ import annotations

import io


class Keyboard(io.StringIO):
    """Standard input that says that it is a terminal."""

    def isatty(self) -> bool:
        return True
