"""A new start in the same process: with other settings, and without a connection that is refused.

The process keeps its id, so that systemd, a container and `make run` notice nothing. The page's
listening socket is handed over: requests that arrive meanwhile wait in its queue. No other
descriptor is inherited (PEP 446).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

from adapters.web import LISTENER_VARIABLE
from core.base.errors import SettingsError
from core.base.i18n import say

START_CHECK_SECONDS = 60.0
"""A start reads two files and imports all integrations, which takes a second or two."""
PROBE_FAILED = "Ponte couldn't start with these settings."


class Restart:
    """Starts Ponte again in the same process, with the settings that the setup page has stored and
    the environment with which this process began."""

    def __init__(self) -> None:
        # The environment with which this process began.
        self._environment = {k: v for k, v in os.environ.items() if k != LISTENER_VARIABLE}
        self._stop: asyncio.Event | None = None
        """This event ends the present run. None until `begin`."""
        self._hand_over: Callable[[], Awaitable[int]] | None = None
        """Stops accepting connections to the page, and returns its socket's descriptor."""
        self._listener: int | None = None
        """The descriptor of the page's socket, for the next start."""
        with suppress(OSError, OverflowError, ValueError):
            # A copy: a start that fails closes the descriptor that it took over, and the start
            # after it gets this one.
            self._listener = os.dup(int(os.environ.get(LISTENER_VARIABLE, "")))
        self.is_requested = False
        """Somebody has asked for a new start, which follows the end of this run."""

    def begin(self, stop: asyncio.Event, hand_over: Callable[[], Awaitable[int]]) -> None:
        """Remember the event that ends the run, and the function that hands over the page's socket.
        The page serves by now, so the copy of the socket for a start that fails is closed."""
        self._stop, self._hand_over = stop, hand_over
        if self._listener is not None:
            os.close(self._listener)
            self._listener = None

    async def request(self) -> None:
        """End this run as SIGTERM does; `serve` then starts Ponte again. From now on, new
        connections to the page wait in its socket's queue for the new start. The run also ends if
        the socket cannot be handed over; a second request does nothing."""
        if self._stop and self._hand_over and not self._stop.is_set() and not self.is_requested:
            self.is_requested = True
            try:
                self._listener = await self._hand_over()
            finally:
                self._stop.set()

    def cancel(self) -> bool:
        """Start nothing after this run, because the process got a signal to end. Return whether a
        new start had been requested."""
        was_requested, self.is_requested = self.is_requested, False
        return was_requested

    def execute(self) -> None:
        """Replace the program in this process by a new start, which inherits the page's socket."""
        environment = dict(self._environment)
        if self._listener is not None:
            os.set_inheritable(self._listener, True)
            environment[LISTENER_VARIABLE] = str(self._listener)
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606 - the command itself

    async def probe(self) -> None:
        """Try in a child process whether Ponte can be built with the stored settings, so that this
        one does not end for settings that do not work. Raises SettingsError with what is wrong.

        The child loads all packages anew, as the next start will, and writes nothing.
        """
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bot.setup.probe",
            # `-m` would look for Ponte in the present folder first, whose files anybody may have
            # written. So the child looks where this process has found it.
            env={
                **self._environment,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "PYTHONSAFEPATH": "1",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            output, _ = await asyncio.wait_for(child.communicate(), START_CHECK_SECONDS)
        except TimeoutError:
            child.kill()
            await child.wait()
            output = b""  # a killed child has a return code, too
        if child.returncode:
            words = output.decode(errors="replace").strip()
            raise SettingsError("{words}", words=words or say(PROBE_FAILED))
