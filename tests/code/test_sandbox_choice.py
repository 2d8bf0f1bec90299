"""Which sandbox is chosen, and the words for what this machine lacks."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Literal

import pytest

from core.base.i18n import say, use_locale
from core.base.proxies import Proxies
from core.journal.kernels import KernelRows
from core.tools.code import environment
from core.tools.code.environment import PythonEnvironment
from core.tools.code.local import Kernels, LocalBackend
from core.tools.code.sandbox import barriers as probe
from core.tools.code.sandbox import checks
from core.tools.code.sandbox.barriers import NEITHER, choose_sandbox
from core.tools.code.sandbox.inside import ruleset
from core.tools.code.sandbox.process import RunningProgram, Sandbox
from core.tools.code.sandbox.sandbox import (
    NO_BWRAP,
    NO_LANDLOCK,
    PROBE_ESCAPED,
    PROBE_SILENT,
    RuntimeFolder,
    SandboxFailed,
    SandboxLimits,
    explain_start_failure,
)
from tests.code.sandboxed import skip_blocked

PYTHON = Path("python")


@pytest.fixture
def proof_results(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """By a sandbox's name: why it does not hold, "" where it does."""
    reasons = {"bubblewrap": "", "landlock": ""}

    async def prove(sandbox: Sandbox, python: Path, limits: SandboxLimits | None) -> str:
        return reasons[sandbox.name]

    monkeypatch.setattr(probe, "prove_sandbox", prove)
    monkeypatch.setattr(ruleset, "version", lambda: 7)
    monkeypatch.setattr(sys, "platform", "linux")
    return reasons


async def test_bubblewrap_first(proof_results: dict[str, str]) -> None:
    choice = await choose_sandbox(PYTHON, RuntimeFolder())
    assert (choice.sandbox and choice.sandbox.name) == "bubblewrap"
    assert str(choice.reason) == "bubblewrap: all checks passed"


async def test_landlock_next_and_why(proof_results: dict[str, str]) -> None:
    proof_results["bubblewrap"] = NO_BWRAP
    choice = await choose_sandbox(PYTHON, RuntimeFolder())
    assert (choice.sandbox and choice.sandbox.name) == "landlock"
    passed = "Landlock 7: all checks passed. bubblewrap isn't used: "
    assert str(choice.reason) == f"{passed}{NO_BWRAP}"
    with use_locale("fr"):
        words = choice.reason.words()
    assert words.startswith(
        "Landlock 7\u00a0: toutes les vérifications ont réussi. bubblewrap n’est"
    )
    assert "bubblewrap n’est pas installé" in words


@pytest.mark.usefixtures("searches_for_python")
async def test_a_root_that_cannot_become_another_user_reads_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def refuse_start(path: str, *command: str, **options: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)

    monkeypatch.setattr(environment, "start_program", refuse_start)
    kernels = Kernels(KernelRows(None), SandboxLimits(), 1)
    backend = LocalBackend(PythonEnvironment(tmp_path, Proxies()), kernels, SandboxLimits())
    assert not await backend.is_available()
    health = await backend.health()
    assert "Ponte runs as root and isn't allowed to switch to another user:" in health.words
    await backend.close()


async def test_no_sandbox_is_chosen_if_each_proof_fails(
    proof_results: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proof_results |= {"bubblewrap": "not installed", "landlock": "a check failed"}
    choice = await choose_sandbox(PYTHON, RuntimeFolder())
    assert choice.sandbox is None
    assert str(choice.reason) == (
        "no sandbox is available; bubblewrap: not installed; Landlock: a check failed"
    )
    monkeypatch.setattr(ruleset, "version", lambda: 0)
    assert "this Linux has no Landlock" in str(
        (await choose_sandbox(PYTHON, RuntimeFolder())).reason
    )


async def test_none_on_another_system(
    proof_results: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    choice = await choose_sandbox(PYTHON, RuntimeFolder())
    assert (choice.sandbox, str(choice.reason)) == (None, "the sandbox needs Linux; this is darwin")


async def test_none_on_an_unknown_processor(
    proof_results: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Uname:
        machine = "riscv64"

    monkeypatch.setattr(os, "uname", Uname)
    choice = await choose_sandbox(PYTHON, RuntimeFolder())
    assert choice.sandbox is None
    assert "riscv64" in str(choice.reason)


class Broken:
    name: Literal["bubblewrap"] = "bubblewrap"

    def __init__(self, cause: str) -> None:
        self.cause = cause

    async def start(
        self, kernel: Path, python: Path, limits: SandboxLimits | None = None
    ) -> RunningProgram:
        raise SandboxFailed(self.cause)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("[Errno 2] No such file or directory: 'bwrap'", "apt install bubblewrap"),
        (
            "bwrap: No permissions to create new namespace, likely because the kernel does not "
            "allow non-privileged user namespaces. See <https://deb.li/bubblewrap>",
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            "bwrap: Creating new namespace failed: nesting depth or "
            "/proc/sys/user/max_*_namespaces exceeded (ENOSPC)",
            "user.max_user_namespaces",
        ),
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns=0"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "AppArmor"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "parts of /proc"),
        ("bwrap: Can't set hostname to sandbox: Operation not permitted", "what bubblewrap needs"),
        ("bwrap: Unknown option --disable-userns", "0.8 or later"),
        (
            "bwrap: Can't find source path /root/env: Permission denied",
            "other users can't read the sandbox's Python: bwrap: Can't",
        ),
        (
            "Traceback …\nPermissionError: [Errno 1] Operation not permitted",
            "Ponte runs as root and isn't allowed to switch to another user:",
        ),
        ("something\nnobody has seen", "nobody has seen"),
        ("", ""),
    ],
)
async def test_what_it_said_is_worded_with_the_remedy(said: str, words: str) -> None:
    assert words in explain_start_failure(said)
    assert await probe.prove_sandbox(Broken(said), PYTHON) == explain_start_failure(said)


def test_only_a_refusal_of_the_machine_skips_a_test() -> None:
    """A sandbox that ours broke must not count as one that this machine lacks."""
    for ours in (
        say(PROBE_ESCAPED, "en", what="made a process"),
        PROBE_SILENT,
        "NameError: name 'x'",
        say(NEITHER, "en", what="not installed", why=PROBE_SILENT),
    ):
        with pytest.raises(pytest.fail.Exception):
            skip_blocked(ours)
    for refusals in ("PermissionError: [Errno 1] mount", "bwrap: No such device", NO_LANDLOCK):
        with pytest.raises(pytest.skip.Exception, match="blocked: "):
            skip_blocked(refusals)


def test_the_probe_leaves_no_file_where_it_could_write(tmp_path: Path) -> None:
    outside = checks.Outside(file="", folder=str(tmp_path), bot=0, memory=0)
    assert checks.writing(outside) == f"wrote into {tmp_path}"
    assert list(tmp_path.iterdir()) == []
