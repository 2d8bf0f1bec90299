"""Which tests `make test-quick` runs: those that start no process, and so no server or browser, and
look for no program (`shutil.which`).

A server inside the test's own process counts as none: the doubles of Slack, Discord, OpenAI and
NocoDB listen on loopback in the test's own event loop.
"""

from __future__ import annotations

import functools
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
QUICK = (
    "bot/test_board.py", "bot/config/test_config.py", "bot/config/test_names.py",
    "bot/config/test_policy_document.py",
    "bot/config/test_quick.py", "bot/doctor/test_safety.py", "bot/test_settings.py",
    "bot/test_telemetry.py", "bot/config/test_toml_lines.py",
    "contract",
    "core",
    "dialogues/test_approvals.py", "dialogues/test_changes.py", "dialogues/test_language.py",
    "dialogues/test_rights_moments.py", "dialogues/test_slack_channels.py",
    "dialogues/test_slack_commands.py", "dialogues/test_slack_direct.py", "dialogues/test_stop.py",
    "dialogues/test_talk.py",
    "discord/test_cards.py", "discord/test_check.py", "discord/test_interactions.py",
    "discord/test_messages.py",
    "languages",
    "model/test_errors.py", "model/test_money.py", "model/test_odd_answers.py",
    "model/test_thoughts.py",
    "nocodb",
    "slack",
    "stackspot",
    "test_env_example.py", "test_waiting.py",
    "web/test_authentication.py", "web/test_chat.py", "web/test_conversations.py",
)  # fmt: skip
"""Folders and files of `tests`: those that cover most of the product in a minute."""
NOT_QUICK = (
    "contract/test_code_backend.py",
    "contract/test_crowds.py",
    "contract/test_migrations.py",
    "contract/test_postgres.py",
    "contract/test_processes.py",
    "contract/test_tool.py",
    "core/changes/test_changes_machine.py",
    "core/base/test_growing.py",
    "core/base/test_link_shapes.py",
    "slack/test_cards.py",
    "slack/test_kill.py",
    "slack/test_run.py",
)
"""Files in those folders that start processes or take many seconds."""
SERVERS = ("aimock", "postgres", "real")
"""Parts of a parameter's name that say what real server the test needs."""
NEED_A_PROCESS = frozenset(
    {"commands", "migrated_postgres", "on_postgres", "real_nocodb", "real_postgres"}
)
"""Fixtures. A test that has one of them is not quick."""
STARTS = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.system",
        "pty.spawn",
        "subprocess.Popen",
        "tests.look_for_program",
        "tests.start_process",
    }
)
"""Events that Python's audit hooks get when a process starts (docs.python.org: Audit events table).
The last two are the tests' own: `shutil.which` was called, another process was asked to fork."""

_started: list[str] = []


@functools.cache
def place_of(file: Path) -> str:
    """Return where a file with tests is, for example `core/base/test_text.py`."""
    return file.relative_to(TESTS).as_posix()


def is_listed(path: Path) -> bool:
    place = place_of(path)
    return place.startswith(QUICK) and place not in NOT_QUICK


def is_quick(item: pytest.Item) -> bool:
    parameters = item.name.partition("[")[2]
    return (
        is_listed(item.path)
        and item.get_closest_marker("starts_process") is None
        and not NEED_A_PROCESS.intersection(getattr(item, "fixturenames", ()))
        and not any(server in parameters for server in SERVERS)
    )


def watch_processes() -> None:
    """Record every start of a process, and every search for a program, from now on. An audit hook
    cannot be removed again."""
    platform.platform()  # runs `uname` once; the openai package asks for it at its first request
    sys.addaudithook(_record)
    which = shutil.which

    @functools.wraps(which)
    def record_and_look(command: str, *options: Any, **more: Any) -> str | None:
        sys.audit("tests.look_for_program", command)
        return which(command, *options, **more)

    shutil.which = record_and_look  # type: ignore[assignment]


def take_started() -> list[str]:
    """Return what was started since the last call."""
    started = _started.copy()
    _started.clear()
    return started


def _record(event: str, arguments: tuple[object, ...]) -> None:
    if event in STARTS:
        _started.append(f"{event} {arguments[0] if arguments else ''}".strip())
