"""Python in the sandbox, as the person in the terminal sees it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from adapters.terminal import chat
from tests.dialogues.plotting import PLOT, PNG, SALES, calls, sandboxed_ponte
from tests.fakes.keyboard import Keyboard
from tests.fakes.openai import FakeOpenAI

pytestmark = pytest.mark.slow


async def test_a_table_goes_in_and_a_plot_is_saved(fake: FakeOpenAI, tmp_path: Path) -> None:
    home, saved, table = tmp_path / "home", tmp_path / "saved", tmp_path / "sales.csv"
    table.write_bytes(SALES)

    async def show_chat(text: str, code: int = 0) -> str:
        out = io.StringIO()
        assert await chat.chat(home / "ponte.sock", Keyboard(text), out, saved) == code
        return out.getvalue()

    async with sandboxed_ponte(home, fake):
        fake.say(calls(PLOT), "Sales went up.")
        lines = (await show_chat(f"plot @{table} by month\n")).splitlines()
        (plot,) = saved.iterdir()
        assert plot.read_bytes().startswith(PNG)
        assert lines[0] == "Sales went up."
        assert lines[1].endswith(str(plot))
        assert lines[2:] == [f"  | {line}" for line in PLOT.splitlines()]

        block = "```python\nfor n in range(3):\n\n    print('line', n)\n```\n"
        shown_blocks = await show_chat(f"{block}```python\nn\n```\n")
        assert shown_blocks == "```\nline 0\nline 1\nline 2\n```\n```\n2\n```\n"

        for words in ("one", "two", "two"):
            await show_chat(f"```python\nopen('a.txt', 'w').write('{words}')\n```\n")
        texts = {path.name: path.read_text() for path in saved.glob("a*")}
        assert texts == {"a.txt": "one", "a-1.txt": "two"}, "a name is never written over"

        large = tmp_path / "large.bin"
        with large.open("wb") as file:
            file.truncate(21 << 20)
        new_chat = await show_chat(f"look at @{large}\nhello @ana\n", 1)
        assert new_chat.startswith("That's too large: 21 MiB. The limit is 20 MiB. Send a smaller")
        assert "You said: hello @ana" in new_chat
