"""What `ponte doctor` says of safety: who can reach what, and what to mend.

Nothing is asked of a service, and nothing is changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bot.config import Config
from bot.home import PSEUDONYMS, WEB, Home
from bot.settings import Settings
from core.integration import Finding, turns_chosen

_KEYS = (WEB, PSEUDONYMS)
_TOPICS = ("home", "settings", "token", "page", "rights", "caps")


def findings(settings: Settings, config: Config, home: Home) -> list[Finding]:
    """By topic, each with its mend."""
    found = [*_home(home), *_files(settings), *_general(settings, config)]
    for face in settings.faces:
        found += face.safety(settings, settings, home)
    found += _without_approval(config)
    return sorted(found, key=lambda one: _TOPICS.index(one.topic))


def _general(settings: Settings, config: Config) -> Iterator[Finding]:
    admins = ", ".join(sorted(settings.ponte_admins))
    yield Finding("rights", f"admins: {admins or 'nobody, so nobody may approve deletes'}")
    limits, chosen = config.limits, settings.ponte_daily_turns
    calls = f"{limits.costly_calls} tool calls that cost and {limits.tool_calls} in all"
    yield Finding("caps", f"a turn makes at most {calls}")
    if chosen is not None and turns_chosen(settings):
        each = f"{chosen.person or 'any number'} for each person"
        yield Finding("caps", f"turns a day: {each}, {chosen.everybody or 'any'} in all")


def _without_approval(config: Config) -> Iterator[Finding]:
    if rows := config.changes.auto_create_rows:
        words = f"creates of up to {rows} rows need nobody's approval (auto_create_rows)"
        yield Finding("rights", words, "note")
    open_tables = [name for name, table in config.tables.items() if table.access == "auto"]
    if open_tables:
        words = f"one new row at a time needs nobody's approval in {', '.join(open_tables)}"
        yield Finding("rights", words, "note")


def _home(home: Home) -> Iterator[Finding]:
    try:
        found = home.path.stat()
    except FileNotFoundError:
        yield Finding("home", f"{home.path} will be made for this user alone")
        return
    except OSError as error:
        yield Finding("home", f"{home.path} cannot be looked at ({error.strerror})", "note")
        return
    if found.st_uid != os.geteuid():
        words = f"{home.path} belongs to another user (uid {found.st_uid}): run Ponte as that user"
        yield Finding("home", f"{words}, or set PONTE_HOME to a folder of your own", "unsafe")
        return
    opened = [home.path] if found.st_mode & 0o077 else []
    opened += [path for name in _KEYS if _mode(path := home.path / name) & 0o077]
    for path in opened:
        mode = "700" if path == home.path else "600"
        yield Finding("home", f"{path} is open to other users: chmod {mode} {path}", "unsafe")
    if not opened:
        yield Finding("home", f"{home.path} is closed to other users")


def _files(settings: Settings) -> Iterator[Finding]:
    """What steers Ponte: whoever may write it is the operator."""
    env = settings.env_file
    if env.path is not None and env.why:
        yield Finding("settings", f"{env.path} is not read: {env.why}", "note")
    read = [env.path] if env.path is not None and not env.why else []
    for path in (*read, settings.ponte_config):
        mode = _mode(path) if _is_reachable(path) else 0
        if mode & 0o002:
            yield Finding(
                "settings", f"{path} can be written by others: chmod o-w {path}", "unsafe"
            )
        elif mode & 0o004 and path == env.path and env.secret:
            words = f"{path} holds secrets and can be read by others: chmod 600 {path}"
            yield Finding("settings", words, "unsafe")
        elif _mode(path):
            yield Finding("settings", f"{path} is not open to others")


def _mode(path: Path) -> int:
    """0 where there is nothing."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0


def _is_reachable(path: Path) -> bool:
    """Whether others can come to it at all: a closed folder above it closes it too."""
    return all(_mode(folder) & 0o001 for folder in path.parents)
