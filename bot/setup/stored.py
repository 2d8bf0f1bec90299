"""The file `settings.env` of the data folder: written whole, and tried before it is trusted.

`settings.env.last` has the settings before the present ones. `settings.env.trial` exists from a
save until a start with the new settings has served the page; a start that fails or dies in between
leaves it, and then the next one takes the last settings.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from dotenv.parser import parse_stream

from bot.home import LOCK_FILE, Home, HomeUnusable
from bot.integrations import SETUP_NAMES
from bot.settings import STORED_FILE, check_is_file
from core.base.errors import BadInput
from core.integrations import describe_read_error

LAST_FILE = f"{STORED_FILE}.last"
"""The file with the settings before the last change, to go back to."""
TRIAL_FILE = f"{STORED_FILE}.trial"
"""The file with the `StartTrial` of new settings."""
UNDO_SECONDS = 86_400.0
"""So long, the settings before are kept after the restart that put others in force."""
HEADER = (
    "# Written by Ponte's setup page. Change it there; .env and the environment have priority.\n"
)
MAX_SETTING_CHARACTERS = 4_000
DIED_REASON = "Ponte ended while it was starting with them"


@dataclass(frozen=True, slots=True)
class StartTrial:
    """The state of the newest settings.

    `saved`: the settings wait for the next start. `starting`: a start with them has begun.
    `failed`: that start did not work for the reason `why`, and the settings before them are in
    force again.
    """

    state: Literal["saved", "starting", "failed"]
    why: str = ""
    names: tuple[str, ...] = ()
    """The names of the settings that they changed."""
    is_undo: bool = False
    """They are earlier settings, which `undo` has stored again."""


class StoredSettings:
    """The settings that the setup page stores in the data folder, and their trial by the next
    start. Methods raise HomeUnusable."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def read(self) -> dict[str, str]:
        return _parse(self._read(STORED_FILE))

    @property
    def since(self) -> datetime | None:
        """The time when settings were stored last; None if none are."""
        with suppress(FileNotFoundError):
            return datetime.fromtimestamp((self._home.path / STORED_FILE).stat().st_mtime, UTC)
        return None

    @property
    def trial(self) -> StartTrial | None:
        """The trial of the newest settings; None if they are in force. A damaged file counts as
        none."""
        with suppress(KeyError, TypeError, ValueError):  # a damaged file counts as none
            values = json.loads(self._read(TRIAL_FILE))
            state, why, names = values["state"], values["why"], tuple(values["names"])
            return StartTrial(state, why, names, values.get("is_undo", False))
        return None

    def write(self, values: Mapping[str, str], *, is_undo: bool = False) -> Sequence[str]:
        """Store these settings in place of the earlier ones, to be tried by the next start. Return
        the names of those that change; without any, nothing is written, so that an undo still has
        what the last change replaced. Raises BadInput for a name or a value that the file cannot
        contain; then nothing is changed.

        The trial is the state of the newest settings: "saved" until the next start, "starting"
        during it, "failed", or None once they are in force. LAST_FILE, those before the last
        change, must have settings with which a start has worked. So the stored ones are copied
        there only if they are in force now, not if they still wait to be tried themselves.
        `is_undo`: these values are the earlier ones, so a further undo has nothing to take back.
        """
        before, trial = self.read(), self.trial
        changed = tuple(sorted(k for k in before.keys() | values if before.get(k) != values.get(k)))
        if not changed:
            return ()
        text = HEADER + "".join(_line(name, value) for name, value in sorted(values.items()))
        # Read back by the parser of the next start, which knows escapes that `_line` does not.
        if _parse(text) != values:
            raise BadInput("These values can't be stored. Remove unusual characters.")
        names = set(changed)
        # While a start tries settings ("starting"), LAST_FILE stays, too.
        if trial is None or trial.state == "failed":  # the stored settings are in force
            self._copy_to_last()
        elif trial.state == "saved":  # saved twice without a start: the next one tries both
            names.update(trial.names)
        # First, so that new settings are never stored without a trial.
        self._set_trial(StartTrial("saved", names=tuple(sorted(names)), is_undo=is_undo))
        self._home.write_secret(STORED_FILE, text.encode())
        if trial and trial.state == "saved" and values == _parse(self._read(LAST_FILE)):
            self._end_trial()  # the settings in force again, before a start tried others
        return changed

    def undo(self) -> Sequence[str]:
        """Store the settings from before the last changes again, to be tried by the next start.
        Return the names of those that change: none after another undo."""
        # Another undo before the restart must not store what the first one took back.
        if self.trial and self.trial.is_undo and self.trial.state != "failed":
            return ()
        return self.write(_parse(self._read(LAST_FILE)), is_undo=True)

    def begin_trial(self) -> bool:
        """Return whether this start of Ponte tries new settings. Call it before they are read.

        If the last start with them died before it served the page, restore the settings before them
        first. If another process holds the data folder, this start will fail anyway, so nothing is
        changed. A failed trial is kept for the page. `trial` is None if the stored settings are in
        force, "saved" if no start has tried them.
        """
        if self.trial is None or not self._is_free():
            return False
        if self.trial.state == "starting":
            # This restores the earlier settings, and the state becomes "failed".
            self.fail(DIED_REASON)
        if self.trial.state == "failed":
            return False
        # If this start dies, the next one takes the settings for bad by this state.
        self._set_trial(replace(self.trial, state="starting"))
        return True

    def confirm(self) -> None:
        """A start with the new settings serves the page, so they stay in force."""
        with suppress(OSError, HomeUnusable):
            os.utime(self._home.path / LAST_FILE)  # the day of `drop_last` begins now
            if self.trial and self.trial.is_undo:  # nothing is left to undo
                self._copy_to_last()
        with suppress(OSError):
            self._end_trial()

    def drop_last(self) -> None:
        """Forget the settings before, which may have secrets that are no longer used, once the
        present ones have been in force for UNDO_SECONDS."""
        with suppress(OSError, HomeUnusable):
            saved_at = (self._home.path / LAST_FILE).stat().st_mtime
            if self.trial is None and time.time() - saved_at >= UNDO_SECONDS:
                self._copy_to_last()

    def postpone(self) -> None:
        """Let the next start try the new settings again: a person or the system ended this start
        before it was complete, so it says nothing about them."""
        if self.trial and self.trial.state == "starting":
            self._set_trial(replace(self.trial, state="saved"))

    def fail(self, why: str) -> None:
        """Restore the settings from before, because a start with the new ones failed for the reason
        `why`, which the page shows."""
        names = self.trial.names if self.trial else ()
        self._home.write_secret(STORED_FILE, self._read(LAST_FILE).encode())
        self._set_trial(StartTrial("failed", why, names))

    def _copy_to_last(self) -> None:
        self._home.write_secret(LAST_FILE, self._read(STORED_FILE).encode())

    def _set_trial(self, trial: StartTrial) -> None:
        self._home.write_secret(TRIAL_FILE, json.dumps(asdict(trial)).encode())

    def _end_trial(self) -> None:
        (self._home.path / TRIAL_FILE).unlink()

    def _read(self, name: str) -> str:
        path = self._home.path / name
        try:
            check_is_file(path)
            return path.read_text("utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            cause = f"{name}: {describe_read_error(error)}"
            raise HomeUnusable(home=self._home.path, cause=cause) from None

    def _is_free(self) -> bool:
        """No process of Ponte has locked the data folder."""
        with suppress(OSError), (self._home.path / LOCK_FILE).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True


def check_value(name: str, value: str) -> str:
    """Return a typed value without spaces around it. Raises BadInput, with what to do, for a
    setting that the page may not store, and for a value with another meaning in settings: `@FILE`
    reads the value from a file."""
    value = value.strip()
    if name.lower() not in SETUP_NAMES:
        raise BadInput("{name} can't be set here. Set it in .env.", name=name[:60])
    if not value.isprintable():
        raise BadInput("Remove the line break or control character from {name}.", name=name)
    if value.startswith("@"):
        raise BadInput("{name} can't start with @ here. Set it in .env.", name=name)
    if len(value) > MAX_SETTING_CHARACTERS:
        raise BadInput("Enter a shorter value for {name}.", name=name)
    return value


def _line(name: str, value: str) -> str:
    value = check_value(name, value).replace("\\", "\\\\").replace("'", "\\'")
    return f"{name.upper()}='{value}'\n"


def _parse(text: str) -> dict[str, str]:
    bindings = parse_stream(io.StringIO(text))
    return {
        binding.key: binding.value or ""
        for binding in bindings
        if binding.key and not binding.error
    }
