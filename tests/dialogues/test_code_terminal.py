"""Python in the sandbox, as the person in the terminal sees it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.terminal import chat
from tests.dialogues.plotting import PLOT, PNG, SALES, calls, sandboxed_ponte
from tests.fakes.keyboard import Keyboard
from tests.fakes.openai import FakeOpenAI


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeOpenAI]:
    """The model's server, of a bot that runs."""
    async with FakeOpenAI() as fake, sandboxed_ponte(tmp_path / "home", fake):
        yield fake


async def run_terminal(home: Path, text: str, code: int = 0) -> str:
    out = io.StringIO()
    stdin = Keyboard(text)
    assert await chat.chat(home / "ponte.sock", stdin, out, home.parent / "saved") == code
    return out.getvalue()


async def test_a_table_goes_in_and_a_plot_is_saved(fake: FakeOpenAI, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_bytes(SALES)
    fake.say(calls(PLOT), "Sales went up.")
    shown = (
        await run_terminal(tmp_path / "home", f"plot @{tmp_path / 'sales.csv'} by month\n")
    ).splitlines()
    (plot,) = (tmp_path / "saved").iterdir()
    assert plot.read_bytes().startswith(PNG)
    assert shown[0] == "Sales went up."
    assert shown[1].endswith(str(plot))
    assert shown[2:] == [f"  | {line}" for line in PLOT.splitlines()]


async def test_a_code_block_of_several_lines_just_runs(fake: FakeOpenAI, tmp_path: Path) -> None:
    block = "```python\nfor n in range(3):\n\n    print('line', n)\n```\n"
    shown = await run_terminal(tmp_path / "home", f"{block}```python\nn\n```\n")
    assert shown == "```\nline 0\nline 1\nline 2\n```\n```\n2\n```\n"


async def test_the_same_name_is_never_written_over(fake: FakeOpenAI, tmp_path: Path) -> None:
    code = "```python\nopen('a.txt', 'w').write('{}')\n```\n"
    for words in ("one", "two", "two"):
        await run_terminal(tmp_path / "home", code.format(words))
    saved = {path.name: path.read_text() for path in (tmp_path / "saved").iterdir()}
    assert saved == {"a.txt": "one", "a-1.txt": "two"}


async def test_a_file_that_cannot_be_sent_is_told(fake: FakeOpenAI, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(21 << 20)
    shown = await run_terminal(tmp_path / "home", f"look at @{large}\nhello @ana\n", 1)
    assert shown.startswith("That is too large: 21 MiB. The limit is 20 MiB. Send a smaller file")
    assert "You said: hello @ana" in shown
