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
    """Numbers that belong to nobody else on this machine; `take` and `give_back` one a kernel.

    Which comes `first` depends on the process, as limits that count by user (RLIMIT_NPROC) should
    not be shared with the kernels of another Ponte on this machine.
    """

    first: int = field(default_factory=os.getpid)
    _taken: set[int] = field(default_factory=set)

    def take(self) -> int | None:
        """None where the bot is no root: then the kernel is the bot's own user."""
        if os.geteuid() != 0:
            return None
        for turn in range(COUNT):
            number = FIRST + (self.first + turn) % COUNT
            if number not in self._taken:
                self._taken.add(number)
                return number
        raise SandboxFailed(TAKEN)

    def give_back(self, number: int | None) -> None:
        self._taken.discard(number or 0)


USERS = Users()
"""One for the process: two kernels of different sandboxes are different users too."""
