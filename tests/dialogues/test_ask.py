"""`ponte ask` in a shell, beside a running Ponte: an answer, a change that waits, its approval."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import openpyxl

from bot.settings import Settings
from core.base.markdown import to_plain_text
from tests.commands import Command
from tests.dialogues.office import LEADS, LEADS_FOUND, PAID, SALES, SALES_FOUND, Office, office


async def shell(
    team: Office, commands: str, locale: str, *words: str, typed: str = ""
) -> tuple[int, str, str]:
    """Run `ponte …` beside the office. Return the exit code, stdout and stderr."""
    ours = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    options = {"PONTE_HOME": str(team.home), "PONTE_LOCALE": locale}

    def run() -> tuple[int, str, str]:
        with Command(commands, words, ours | options, team.home) as process:
            out, err = process.communicate(typed)
            return process.wait(), out, err

    return await asyncio.to_thread(run)


async def test_the_rows_of_an_answer_for_a_program(tmp_path: Path, commands: str) -> None:
    async with office(tmp_path) as team, team.open(ponte_web="off", ponte_locale="pt-BR"):
        code, out, err = await shell(team, commands, "pt-BR", "ask", LEADS, "--format", "csv")
        assert (code, out) == (0, "\ufeffName\nCustomer 03\n")
        assert "| Name" not in err
        assert ": 1 de 1 linha, " in err, "how many rows of how many these are"
        code, out, err = await shell(team, commands, "en", "ask", LEADS, "--format", "json")
        assert (code, json.loads(out)) == (0, [{"Name": "Customer 03"}])
        words = ("ask", LEADS, "--format", "xlsx", "--output", "leads.xlsx")
        code, out, err = await shell(team, commands, "en", *words)
        assert (code, out, err.count("\n")) == (0, "", 3)
        assert (team.home / "leads.xlsx").stat().st_mode & 0o077 == 0, "rows are for who may read"
        sheet: Any = openpyxl.load_workbook(team.home / "leads.xlsx").active
        assert [[cell.value for cell in row] for row in sheet] == [["Name"], ["Customer 03"]]
        missing = "The answer has no such table. Ask for a list of rows.\n"
        code, out, err = await shell(team, commands, "en", "ask", SALES, "--format", "csv")
        assert (code, out, err.startswith(to_plain_text(SALES_FOUND))) == (1, "", True)
        assert err.endswith(missing)
        second = await shell(team, commands, "en", "ask", LEADS, "--format", "csv", "--table", "2")
        assert (second[0], second[1], second[2].endswith(missing)) == (1, "", True)
        words = ("ask", LEADS, "--format", "csv", "--output", "a/b")
        answer = await shell(team, commands, "en", *words)
        text = "Can't write to the file a/b (No such file or directory). Check the path.\n"
        assert answer == (1, "", text)
        for wrong in ("--format pdf", "--output x.csv", "--format csv --table 0"):
            code, out, _ = await shell(team, commands, "en", "ask", LEADS, *wrong.split())
            assert (code, out) == (2, ""), wrong


async def test_a_question_and_a_change_from_a_shell(tmp_path: Path, commands: str) -> None:
    locale = "pt-BR"
    async with office(tmp_path) as team, team.open(ponte_web="off", ponte_locale=locale):
        code, out, err = await shell(team, commands, locale, "ask", typed=LEADS)
        assert (code, err) == (0, "")
        assert out.startswith(to_plain_text(LEADS_FOUND))
        code, out, err = await shell(team, commands, locale, "ask", PAID)
        assert (code, "ponte changes" in out) == (0, False)
        assert "· ● aguardando aprovação" in err
        match = re.search(r"ponte changes approve (\w{6}) · .+ · ponte changes deny \1\n", err)
        assert match is not None, err
        code, out, _ = await shell(team, commands, locale, "changes", "pending")
        assert (code, match[1] in out) == (0, True), out
        assert team.rows("Orders")[12]["Paid"] is False
        code, out, _ = await shell(team, commands, locale, "changes", "change", match[1])
        assert (code, "Paid" in out) == (0, True), out
        deny = ("changes", "deny", match[1], "not", "yet")
        code, out, _ = await shell(team, commands, locale, *deny)
        assert (code, "not yet" in out) == (0, True), out
        code, out, _ = await shell(team, commands, locale, "changes", "change", match[1])
        assert code == 1, "it is decided"
        code, out, _ = await shell(team, commands, locale, "changes", "again", match[1])
        new = re.search(r"ponte changes approve (\w{6})", out)
        assert (code, new is not None) == (0, True), out
        assert new is not None
        code, out, _ = await shell(team, commands, locale, "changes", "approve", new[1])
        assert (code, out.startswith("Solicitação aprovad")) == (0, True), out
        assert team.rows("Orders")[12]["Paid"] is True
