"""Another user for each kernel, where the bot is root and could be anyone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from core.tools.code.local.sandbox.sandbox import SandboxFailed

# https://systemd.io/UIDS-GIDS/: 60706 to 61183 are unused by systemd and distributions.
FIRST, COUNT = 60800, 128
TAKEN = "128 kernels run already"


@dataclass(slots=True)
class Users:
    """Numbers that belong to nobody else on this machine; `take` and `give_back` one a kernel."""

    _taken: set[int] = field(default_factory=set)

    def take(self) -> int | None:
        """None where the bot is no root: then the kernel is the bot's own user."""
        if os.geteuid() != 0:
            return None
        for number in range(FIRST, FIRST + COUNT):
            if number not in self._taken:
                self._taken.add(number)
                return number
        raise SandboxFailed(TAKEN)

    def give_back(self, number: int | None) -> None:
        self._taken.discard(number or 0)


USERS = Users()
"""One for the process: two kernels of different sandboxes are different users too."""
