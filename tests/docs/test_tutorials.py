"""Everything that a document asks a reader to type into a chat is typed here.

`tests/docs/test_documents.py` runs the blocks of the shell and loads those of `.env` and
`ponte.toml`. A block of the language `chat` is run by the test of its document below.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from bot.config.ponte_toml import read_config
from core.base.errors import BadInput
from core.commands.grammar import parse_command
from tests.commands import Command
from tests.dialogues.plotting import PNG, sandboxed_ponte
from tests.docs.conftest import Machine, running_machine
from tests.docs.test_documents import blocks
from tests.fakes.forker import fork_server
from tests.fakes.openai import FakeOpenAI
from tests.fakes.stackspot import FakeStackSpot, Look, Run
from tests.fakes.stackspot.state import CLIENT, REALM, SECRET
from tests.slack.bot import workplace

PYTHON = "docs/tutorials/python.md"
SLACK = "docs/guides/slack.md"
STACKSPOT = "docs/guides/stackspot.md"
TABLES = "docs/tutorials/tables.md"
TESTED = {PYTHON, SLACK, STACKSPOT, TABLES}
"""Documents with blocks to type into a chat; each has its test here."""


def read_texts(document: str, language: str) -> list[str]:
    """Return the texts of a document's blocks in this language."""
    return [one.text for one in blocks() if (one.document, one.language) == (document, language)]


def read_lines(document: str) -> list[str]:
    """Return each line that the document asks a reader to type into a chat."""
    return "".join(read_texts(document, "chat")).splitlines()


def type_lines(machine: Machine, *lines: str) -> str:
    command = Command(
        fork_server().address,
        ["chat"],
        machine.environment,
        machine.folder,
        module="tests.docs.keyboard",
    )
    with command:
        out, err = command.communicate("".join(f"{line}\n" for line in lines))
    assert command.returncode == 0, err
    return out


def test_each_document_with_something_to_type_has_a_test() -> None:
    inputs = {one.document for one in blocks() if one.language == "chat"}
    assert inputs == TESTED


def test_a_block_that_shows_output_has_nothing_to_type() -> None:
    views = [one for one in blocks() if one.language == "text" and one.document in TESTED]
    assert views
    assert [
        f"{one}: {line}" for one in views for line in one.text.splitlines() if is_typed(line)
    ] == []


def is_typed(line: str) -> bool:
    try:
        command = parse_command(line)
    except BadInput:
        return True
    return command is not None or bool(re.match(r"(ponte|run python|show|make|@Ponte) ", line))


def test_the_first_change_is_requested_approved_and_undone(machine: Machine) -> None:
    asks, shows, proposes, approves, looks, undoes = read_lines(TABLES)
    text = type_lines(machine, asks, shows, proposes)
    assert 'Source: Invoices, Status is "Overdue"' in text
    assert "Source: Invoices: 20 of 88 rows" in text
    assert "INV-2003 (Customer: Davi Oliveira · Amount: €276.00 · " in text
    assert "): Status: Overdue → Paid · Paid on: – → " in text
    match = re.search(r"Type: approve (\w{6}) ", text)
    assert match
    mine = [re.sub(r"\b[a-z2-7]{6}$", match[1], line) for line in (approves, undoes)]
    text = type_lines(machine, mine[0], looks, mine[1])
    assert re.search(r"Done\..*INV-2003 .*\| Paid \|.*Undone", text, re.DOTALL)


@pytest.mark.slow
async def test_python_draws_a_file_that_was_sent(tmp_path: Path) -> None:
    multiplies, plots, describes = read_texts(PYTHON, "chat")
    *_, makes_file = read_texts(PYTHON, "sh")
    subprocess_exec = await asyncio.create_subprocess_exec("bash", "-euc", makes_file, cwd=tmp_path)
    assert await subprocess_exec.wait() == 0
    sales = (tmp_path / "sales.csv").read_bytes()
    async with (
        FakeOpenAI() as fake,
        sandboxed_ponte(tmp_path / "home", fake, ponte_model_api="demo") as ponte,
    ):
        assert "42" in (await ponte.ask(multiplies))["response"]
        answer = await ponte.ask(plots, sales_csv=sales)
        assert "345" in answer["response"]
        (chart,) = answer["files"]
        assert (await ponte.file(chart)).startswith(PNG)
        assert re.search(r"mean +115", (await ponte.ask(describes))["response"])


@pytest.mark.slow
async def test_a_quick_command_runs_from_a_chat_and_from_a_script(tmp_path: Path) -> None:
    checks, reloads, runs = read_texts(STACKSPOT, "sh")
    (settings,) = read_texts(STACKSPOT, "env")
    registry, *_ = registries = read_texts(STACKSPOT, "toml")
    (lines,) = read_lines(STACKSPOT)
    for view, own in (("your-client-id", CLIENT), ("your-client-key", SECRET)):
        settings = settings.replace(view, own)
    path = tmp_path / "ponte.toml"
    for each in registries:
        path.write_text(each)
        assert read_config(path)
    path.unlink()
    (tmp_path / ".env").write_text(settings.replace("your-realm", REALM))
    (tmp_path / ".env").chmod(0o600)

    def follow(urls: dict[str, str]) -> list[str]:
        with running_machine(tmp_path, **urls) as machine:
            outcomes = [machine.run(checks)]
            path.write_text(registry)
            outcomes.append(machine.run(reloads))
            assert outcomes[-1].returncode == 0, outcomes[-1].stderr
            outputs = [each.stdout for each in outcomes]
            outputs += [type_lines(machine, lines), machine.run(runs).stdout]
            return outputs

    async with FakeStackSpot() as stackspot:
        stackspot.go(*[Run((Look("COMPLETED", 1.0),))] * 2)
        hosts = ("AUTH", "API", "AGENT", "FILES")
        urls = {f"STACKSPOT_{host}_URL": stackspot.url for host in hosts}
        finding, reloaded, answer, output = await asyncio.to_thread(follow, urls)
        assert f"ok    stackspot: it returns a token for the realm {REALM}" in finding
        assert reloaded == f"Reloaded {path}.\n"
        assert "release-notes" in answer
        assert "Faster start, new page" in answer
        assert "Faster start" in output
        assert stackspot.refused == []


async def test_ponte_answers_a_mention_and_a_reply_in_its_thread(tmp_path: Path) -> None:
    invites, mentions, *_ = read_lines(SLACK)
    assert invites == "/invite @Ponte", "a command of Slack's own"
    async with workplace(tmp_path) as w:
        message = w.slack.say(w.alice, w.general, mentions.replace("@Ponte", str(w.slack.bot)))
        await w.slack.wait_for_answer(message)
        replied = w.slack.say(w.alice, w.general, "and again", thread=message)
        assert "and again" in (await w.slack.wait_for_answer(replied)).visible_text
