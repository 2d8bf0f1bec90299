"""`ponte ask` in a shell, beside a running Ponte: an answer, a change that waits, its approval."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from bot.settings import Settings
from core.base.markdown import to_plain_text
from tests.commands import Command
from tests.dialogues.office import LEADS, LEADS_FOUND, PAID, Office, office


async def shell(
    team: Office, commands: str, locale: str, *words: str, typed: str = ""
) -> tuple[int, str, str]:
    """Run `ponte …` beside the office. Return the exit code, stdout and stderr."""
    ours = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    given = {"PONTE_HOME": str(team.home), "PONTE_LOCALE": locale}

    def run() -> tuple[int, str, str]:
        with Command(commands, words, ours | given, team.home) as process:
            out, err = process.communicate(typed)
            return process.wait(), out, err

    return await asyncio.to_thread(run)


@pytest.mark.parametrize(
    ("locale", "state", "approved"),
    [
        ("en", "waiting for approval", "Approved by "),
        ("pt-BR", "aguardando aprovação", "Aprovad"),
        ("fr", "en attente d’approbation", "Approuv"),
    ],
)
async def test_a_question_and_a_change_from_a_shell(
    tmp_path: Path, commands: str, locale: str, state: str, approved: str
) -> None:
    async with office(tmp_path) as team, team.open(ponte_web="off", ponte_locale=locale):
        code, out, err = await shell(team, commands, locale, "ask", typed=LEADS)
        assert (code, err) == (0, "")
        assert out.startswith(to_plain_text(LEADS_FOUND))
        code, out, err = await shell(team, commands, locale, "ask", PAID)
        assert (code, "ponte changes" in out) == (0, False)
        assert f"· {state}" in err
        found = re.search(r"ponte changes approve (\w{6}) · .+ · ponte changes deny \1\n", err)
        assert found is not None, err
        code, out, _ = await shell(team, commands, locale, "changes", "pending")
        assert (code, found[1] in out) == (0, True), out
        assert team.rows("Orders")[12]["Paid"] is False
        code, out, _ = await shell(team, commands, locale, "changes", "approve", found[1])
        assert (code, out.startswith(approved)) == (0, True), out
        assert team.rows("Orders")[12]["Paid"] is True
