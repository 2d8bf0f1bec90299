"""A person at a real terminal: lines are edited, remembered and completed; answers are drawn."""

from __future__ import annotations

import asyncio
import codecs
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from socket import gethostname

from core.domain.messages import Answer, MessageOrigin, Question, turn_id
from core.domain.records import Health
from tests.fakes import forker
from tests.web.web_ponte import Turn, WebPonte

UP, LEFT = "\x1b[A", "\x1b[D"


class Terminal:
    """`written`: all that came to it; `plain` without escape sequences."""

    def __init__(self, ours: int) -> None:
        self._ours = ours
        self._came = asyncio.Event()
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read can end within a character
        self.written = ""
        asyncio.get_running_loop().add_reader(ours, self._read)

    @property
    def plain(self) -> str:
        return self.plain_since(0)

    def plain_since(self, start: int) -> str:
        return re.sub(r"\x1b(\[[0-?]*[ -/]*[@-~]|[=>78])", "", self.written[start:]).replace(
            "\r", ""
        )

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    async def until(self, text: str, times: int = 1) -> None:
        while self.plain.count(text) < times:
            self._came.clear()
            await self._came.wait()

    async def says(self, text: str, shown: str) -> None:
        """Type a line, and wait for what is shown and for the prompt that follows it."""
        start = len(self.written)
        self.type(f"{text}\r")
        while "You:" not in self.plain_since(start).partition(shown)[2]:
            self._came.clear()
            await self._came.wait()

    def _read(self) -> None:
        try:
            data = os.read(self._ours, 65_536)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._ours)
        came = self._decoder.decode(data)
        self.written += came
        if "\x1b[6n" in came:  # where is the cursor?
            os.write(self._ours, b"\x1b[24;1R")
        self._came.set()


@asynccontextmanager
async def at_a_terminal(ponte: WebPonte, folder: Path, *more: str) -> AsyncIterator[Terminal]:
    assert ponte.home is not None
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = await forker.start(
        "tests.terminal.talk",
        str(ponte.home / "ponte.sock"),
        *more,
        cwd=folder,
        env={**os.environ, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    terminal = Terminal(ours)
    try:
        await terminal.until("You:")
        yield terminal
        terminal.type("/exit\r")
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)


async def test_a_line_can_be_edited_and_brought_back(ponte: WebPonte, tmp_path: Path) -> None:
    ponte.board.parts, ponte.board.titles = [Health("sample", "on")], ["Invoices"]
    async with at_a_terminal(ponte, tmp_path) as terminal:
        assert "Try one of these\n  Which invoices are overdue?\n" in terminal.plain
        terminal.type(f"helo{LEFT}l\r")
        await terminal.until("You said: hello")
        terminal.type(f"{UP} again\r")
        await terminal.until("You said: hello again")
    async with at_a_terminal(ponte, tmp_path) as terminal:
        assert "Try one of these" not in terminal.plain, "it is no new conversation"
        terminal.type(f"{UP}{UP}\r")
        await terminal.until("You said: hello\n")
    assert [row.message.text for row in ponte.rows.values()] == ["hello", "hello again", "hello"]


async def test_lines_are_completed_and_alt_enter_makes_a_new_one(
    ponte: WebPonte, tmp_path: Path
) -> None:
    (tmp_path / "sales-of-may.csv").write_text("a,b\n1,2\n")
    async with at_a_terminal(ponte, tmp_path) as terminal:
        assert "Alt-Enter: new line" in terminal.plain
        await terminal.says("usa\t", "You said: usage")
        await terminal.says("look at @sal\t", "You said: look at @sales-of-may.csv")
        await terminal.says("and @nothing-here.csv", "nothing-here.csv not found. Nothing was sent")
        await terminal.says("first\x1b\rsecond", "You said: first")
        await terminal.says("\x1b[200~pasted\nlines\x1b[201~", "You said: pasted")
    messages = [row.message for row in ponte.rows.values()]
    assert [(one.text, len(one.attachments)) for one in messages] == [
        ("usage", 0),
        ("look at @sales-of-may.csv", 1),
        ("first\nsecond", 0),
        ("pasted\nlines", 0),
    ]


async def test_reminders_are_shown_above_the_prompt_or_when_a_chat_begins(
    ponte: WebPonte, tmp_path: Path
) -> None:
    async def remind(text: str) -> None:
        first = ponte.rows[min(ponte.rows)].message
        origin = MessageOrigin("schedule", "abc234", is_authored=False)
        to = replace(first.reply_to, turn=turn_id(text))
        run = replace(first, text=text, origin=origin, event_key=f"schedule:{text}", reply_to=to)
        await ponte.inbox.wait_for_answer((await ponte.inbox.accept(run)).seq)

    ponte.answers(lambda turn: Answer(f"re: {turn.message.text}"))
    async with at_a_terminal(ponte, tmp_path) as terminal:
        await terminal.says("hello", "re: hello")
        terminal.type("half a me")
        await remind("stand up")
        await terminal.until("re: stand up")
        await terminal.says("ssage", "re: half a message")
        assert terminal.plain.count("re: hello") == 1
        ponte.answers(lambda turn: Answer("No tea.", status="failed", code="model_down"))
        await remind("make tea")
        await terminal.until("No tea.")
    ponte.answers(lambda turn: Answer(f"re: {turn.message.text}"))
    await remind("drink")
    async with at_a_terminal(ponte, tmp_path) as terminal:
        await terminal.until("re: drink")
        assert "re: stand up" not in terminal.plain, "it came before the last message"


async def test_a_saved_file_is_a_link(ponte: WebPonte, tmp_path: Path) -> None:
    async def script(turn: Turn) -> Answer:
        message = turn.message
        file = await ponte.files.put(
            message.event_key,
            "my plot.png",
            "image/png",
            b"a plot",
            message.author,
            message.address.conversation,
        )
        return Answer("A plot.", files=(file,))

    ponte.script = script
    async with at_a_terminal(ponte, tmp_path) as terminal:
        terminal.type("plot\r")
        await terminal.until("\x1b]8;;\x1b\\")
    saved = tmp_path / "ponte-files" / "my plot.png"
    address = saved.as_uri().replace("file://", f"file://{gethostname()}")
    link = f"\x1b]8;;{address}\x1b\\ponte-files/my plot.png\x1b]8;;\x1b\\"
    assert f"  [my plot.png, 1 kB] {link}\r\n" in terminal.written
    assert saved.read_bytes() == b"a plot"


async def test_markdown_is_drawn_when_its_block_has_ended(ponte: WebPonte, tmp_path: Path) -> None:
    half = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        whole = "Some **bold** words.\n\n- one\n- two\n\n| A | B |\n| --- | --: |\n| x | 1 |\n"
        await turn.show(whole[:10])
        await half.wait()
        return Answer(whole)

    ponte.script = script
    async with at_a_terminal(ponte, tmp_path) as terminal:
        terminal.type("tell me\r")
        await terminal.until("Some **bo")
        half.set()
        await terminal.until("────")
        assert "• two" in terminal.plain
        assert "\x1b[1mbold\x1b[0m" in terminal.written
        assert re.search(r"A\s+B", terminal.plain)


async def test_what_is_typed_meanwhile_comes_with_the_next_prompt(
    ponte: WebPonte, tmp_path: Path
) -> None:
    event, go_on = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if turn.message.text == "first":
            await turn.show("I am")
            event.set()
            await go_on.wait()
            return Answer("I am done.")
        return Answer(f"You said: {turn.message.text}")

    ponte.script = script
    async with at_a_terminal(ponte, tmp_path) as terminal:
        terminal.type("first\r")
        await event.wait()
        await terminal.until("I am")
        terminal.type("second")
        go_on.set()
        await terminal.until("I am done.")
        await terminal.until("second")
        assert "I amsecond" not in terminal.plain
        terminal.type("\r")
        await terminal.until("You said: second")


async def test_it_says_for_how_long_it_works_and_ends_with_0_after_a_failure(
    ponte: WebPonte, tmp_path: Path
) -> None:
    event = asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if event.is_set():
            return Answer("The model's server isn't responding.", "failed", code="model_down")
        await turn.show(doing="is reading the tables…")
        await event.wait()
        return Answer("There.")

    ponte.script = script
    async with at_a_terminal(ponte, tmp_path, "1") as terminal:  # looks at the exit code
        terminal.type("tables?\r")
        await terminal.until(" s · Ponte is reading the tables…")
        event.set()
        await terminal.until("There.")
        terminal.type("hello\r")
        await terminal.until("isn't responding")


async def test_an_open_code_block_is_seen_and_can_be_left(ponte: WebPonte, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("a,b\n1,2\n")
    async with at_a_terminal(ponte, tmp_path) as terminal:
        terminal.type("```python\r")
        await terminal.until("Close the code with ```, or press Ctrl-C to discard it.")
        await terminal.until("… ")
        await terminal.says("x = 1\r\x03", "x = 1")
        await terminal.says("hello", "You said: hello")
        terminal.type("@sales.csv\x1b\r```python\x1b\rprint(1)\r```\r")
        await terminal.until("You said: ```python")
    texts = [row.message.text for row in ponte.rows.values()]
    assert texts == ["hello", "```python\nprint(1)\n```"]
    *_, last = ponte.rows.values()
    assert [one.name for one in last.message.attachments] == ["sales.csv"]


async def test_a_number_chooses_while_the_question_is_open(ponte: WebPonte, tmp_path: Path) -> None:
    def answer(turn: Turn) -> Answer:
        text = turn.message.text
        question = Question("Which one?", ("**This** month", "stop"))
        if text == "How many?":
            return Answer("Which one?", question=question)
        return Answer(f"You said: {text}")

    ponte.answers(answer)
    async with at_a_terminal(ponte, tmp_path) as terminal:
        await terminal.says("How many?", " 1 **This** month\n 2 stop\n")
        await terminal.says("2", "You said: stop")
        await terminal.says("2", "You said: 2")
    origins = [row.message.origin.name for row in ponte.rows.values()]
    assert origins == ["person", "choice", "person"]
