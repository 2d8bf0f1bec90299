"""Dialogues in a terminal and through a pipe, over a real socket."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shlex
import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from rich.cells import cell_len

from adapters.terminal import chat
from adapters.terminal.screen import (
    CommandCompleter,
    DownloadedFile,
    Screen,
    render_markdown,
    split_rows,
)
from core.base.errors import Forgotten
from core.base.i18n import TIME_ZONE, use_locale
from core.domain.messages import Answer, Card, File
from tests.fakes.card_rows import card_row
from tests.fakes.keyboard import Keyboard
from tests.time_limits import Limits
from tests.web.web_ponte import Turn, WebPonte


class Tty(io.StringIO):
    """A screen that a test can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._written = asyncio.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._written.set()
        return super().write(text)

    async def until(self, text: str, times: int = 1) -> None:
        while self.getvalue().count(text) < times:
            self._written.clear()
            await self._written.wait()


class Hands:
    """What a person types: the writing end of what the terminal reads."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self.stdin = os.fdopen(reading)

    def type(self, text: str) -> None:
        os.write(self._writing, text.encode())

    def end(self) -> None:
        os.close(self._writing)


async def run_piped(ponte: WebPonte, text: str, locale: str = "en") -> tuple[int, str]:
    assert ponte.home is not None
    out = io.StringIO()
    with use_locale(locale):
        code = await chat.chat(ponte.home / "ponte.sock", io.StringIO(text), out)
    return code, out.getvalue()


def talking(ponte: WebPonte, hands: Hands, screen: Tty) -> asyncio.Task[int]:
    assert ponte.home is not None
    path = ponte.home / "ponte.sock"
    return asyncio.create_task(chat.chat(path, hands.stdin, screen))


async def test_a_pipe_asks_line_by_line(ponte: WebPonte) -> None:
    code, out = await run_piped(ponte, "one\n\n  two  \nlast without end")
    assert (code, out) == (0, "You said: one\nYou said: two\nYou said: last without end\n")
    assert [row.message.author.key for row in ponte.rows.values()] == ["terminal:owner"] * 3


async def test_lines_of_a_pipe_are_no_commands_and_those_of_a_person_may_be(
    ponte: WebPonte,
) -> None:
    assert ponte.home is not None
    for stdin in (io.StringIO("approve abc234\n"), Keyboard("approve abc234\n")):
        await chat.chat(ponte.home / "ponte.sock", stdin, io.StringIO())
    assert [row.message.may_be_command for row in ponte.rows.values()] == [False, True]


async def test_a_pipe_whose_message_failed_exits_1(ponte: WebPonte, tmp_path: Path) -> None:
    """The model is down: a script must not take its apology for an answer."""

    async def script(turn: Turn) -> Answer:
        if "down" in turn.message.text:
            return Answer("The model's server isn't responding.", "failed", code="model_down")
        if "stop" in turn.message.text:
            return Answer("_Stopped._", "stopped")
        return Answer("Yes.")

    ponte.script = script
    down = "The model's server isn't responding.\n"
    assert await run_piped(ponte, "down\n") == (1, down)
    assert await run_piped(ponte, "down\nup\n") == (1, f"{down}Yes.\n"), (
        "the rest is asked all the same"
    )
    assert await run_piped(ponte, "up\ndown\nexit\n") == (1, f"Yes.\n{down}")
    assert await run_piped(ponte, "up\nstop it\n") == (0, "Yes.\nStopped.\n")
    (tmp_path / "large.csv").write_bytes(b"x" * (chat.MAX_UPLOAD_BYTES + 1))
    code, out = await run_piped(ponte, f"read @{tmp_path}/large.csv\n")
    assert (code, "too large" in out) == (1, True), "what wasn't sent was not answered"


@pytest.mark.parametrize(
    "data", ["caf\xe9\nthree\n".encode("latin-1"), "one\n".encode("utf-16"), b"a\0b\n"]
)
async def test_bytes_of_a_pipe_that_are_no_utf_8_are_refused(ponte: WebPonte, data: bytes) -> None:
    assert ponte.home is not None
    reading, writing = os.pipe()
    os.write(writing, b"\xef\xbb\xbfone\r\nd\xc3\xa9j\xc3\xa0\n" + data)
    os.close(writing)
    out = io.StringIO()
    with os.fdopen(reading) as stdin:
        code = await chat.chat(ponte.home / "ponte.sock", stdin, out)
    refusal = "Standard input isn't UTF-8 text. The rest wasn't sent."
    assert code == 1
    assert out.getvalue().startswith(f"You said: one\nYou said: déjà\n{refusal}")
    assert [row.message.text for row in ponte.rows.values()] == ["one", "déjà"]


async def test_some_words_end_the_session(ponte: WebPonte) -> None:
    for word in ("sair", "exit", "quit", "EXIT", "/exit", "/quit", "quitter"):
        code, out = await run_piped(ponte, f"one\n{word}\nnever asked\n")
        assert (code, out) == (0, "You said: one\n"), word


async def test_a_file_can_be_read(ponte: WebPonte, tmp_path: Path) -> None:
    (tmp_path / "asked.txt").write_bytes("é\nb\r\n".encode())
    out = io.StringIO()
    with (tmp_path / "asked.txt").open() as stream:
        assert await chat.chat(tmp_path / "ponte.sock", stream, out) == 0
    assert out.getvalue() == "You said: é\nYou said: b\n"


async def test_a_code_block_is_one_message(ponte: WebPonte) -> None:
    code, out = await run_piped(ponte, "```python\nx = 1\n\ny = 2\n```\nnext\n~~~\nnever closed")
    texts = [row.message.text for row in ponte.rows.values()]
    assert texts == ["```python\nx = 1\n\ny = 2\n```", "next", "~~~\nnever closed"]
    assert code == 0
    assert out.count("You said: ") == 3


async def test_a_message_carries_the_time_zone_of_the_machine(
    ponte: WebPonte, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a name the server's own zone counts, as on a machine that nobody has set up."""
    zones = [
        ("America/Sao_Paulo", "", "America/Sao_Paulo"),
        (":Europe/Lisbon", "", "Europe/Lisbon"),
        ("/usr/share/zoneinfo/Asia/Kolkata", "", "Asia/Kolkata"),
        ("", "/var/db/timezone/zoneinfo/Australia/Lord_Howe", "Australia/Lord_Howe"),
        ("", "/usr/share/zoneinfo/America/Argentina/Salta", "America/Argentina/Salta"),
        ("", "/usr/share/zoneinfo/Etc/UTC", ""),
        ("UTC", "/usr/share/zoneinfo/Europe/Paris", ""),
        ("<-03>3", "", ""),
        ("../../etc/passwd", "", ""),
        ("", "/etc/localtime", ""),
    ]
    for set_to, link, _ in zones:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", set_to)
            patch.setattr("os.path.realpath", lambda path, link=link, **_: link)
            await run_piped(ponte, "what day is it?\n")
    matches = [row.message.time_zone for row in ponte.rows.values()]
    assert matches == [zone for _, _, zone in zones]


async def test_a_message_that_is_forgotten_before_its_answer_is_not_answered(
    ponte: WebPonte,
) -> None:
    async def script(turn: Turn) -> Answer:
        if turn.message.text == "forget this":
            await ponte.forget(turn.message.address.conversation)
        return Answer(f"You said: {turn.message.text}")

    ponte.script = script
    code, out = await run_piped(ponte, "forget this\nnext\n")
    assert (code, out.splitlines()) == (1, [Forgotten().words(), "You said: next"])


async def test_a_person_sees_the_answer_grow_and_leaves_with_ctrl_c(ponte: WebPonte) -> None:
    looked, half = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> Answer:
        await turn.show(doing="is reading the tables…")
        await looked.wait()
        await turn.show("There are ")
        await half.wait()
        return Answer("There are 3 tables.")

    ponte.script = script
    hands, screen = Hands(), Tty()
    task = talking(ponte, hands, screen)
    await screen.until("You: ")
    hands.type("tables?\n")
    await screen.until("is reading the tables…")
    looked.set()
    await screen.until("There are ")
    assert "tables." not in screen.getvalue()
    half.set()
    await screen.until("There are 3 tables.\n\nYou: ")
    os.kill(os.getpid(), signal.SIGINT)
    assert await task == 0
    hands.end()
    hands.stdin.close()


@pytest.mark.parametrize(
    ("machine", "expires"),
    [
        ("America/Sao_Paulo", "Nov 21, 2026, 2:05\u202fPM."),
        ("UTC", "Nov 21, 2026, 6:05\u202fPM (Europe/Paris)."),  # PONTE_TIMEZONE
    ],
)
async def test_cards_say_what_to_type(
    ponte: WebPonte, machine: str, expires: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", machine)
    TIME_ZONE.set("Europe/Paris")
    card = Card(
        "abc234",
        "proposal",
        "Update 1 row",
        "In Customers\nof Sales",
        actions=("approve", "deny"),
        rows=(card_row({"Name": "Ann", "Age": 3}, {"Name": "Ann", "Age": 4}),),
        expires_at=datetime.fromisoformat("2026-11-21T17:05Z").timestamp(),
    )
    plot = File("f", "plot.png", "image/png", 5_000)
    ponte.answers(Answer("Shall I?", cards=(card,), files=(plot,)))
    _, out = await run_piped(ponte, "rename\n")
    assert out.splitlines() == [
        "Shall I?",
        "  # Update 1 row · ● waiting for approval",
        "    In Customers",
        "    of Sales",
        "    Ann: Age: 3 → 4",
        f"    Expires on {expires} (abc234)",
        "    Type: ponte changes approve abc234 · ponte changes deny abc234",
        "  [plot.png, 5 kB] the file couldn't be saved",
    ]
    new = card_row(None, {"Name": "Bo", "Note": "first\nStatus: Paid", "Status": "Open"})
    card = Card("abc234", "change", "Create a row", "Done.", (new,), state="done")
    ponte.answers(Answer("Look.", cards=(card,)))
    _, out = await run_piped(ponte, "rename\n")
    assert out.splitlines()[3:7] == [
        "    Bo",
        "    Note: first",
        "      Status: Paid",
        "    Status: Open",
    ]
    names = ("Ann", "Bo\x1b", "Cléo")
    rows = tuple(
        card_row({"Name": n, "Age": 3, "Due": None}, {"Name": n, "Age": 4, "Due": "2026-11-18"})
        for n in names
    )
    card = Card("abc234", "change", "Update 3 rows", "Done.", rows, state="done")
    ponte.answers(Answer("Look.", cards=(card,)))
    _, out = await run_piped(ponte, "rename\n")
    assert out.splitlines()[3:7] == [
        "    Name                        Age    Due",
        "    Ann                         3 → 4  – → Nov 18, 2026",
        "    Bo (1 invisible character)  3 → 4  – → Nov 18, 2026",
        "    Cléo                        3 → 4  – → Nov 18, 2026",
    ]


async def test_a_card_that_can_be_changed_shows_how(ponte: WebPonte) -> None:
    """The example has the card's first field; in the shell it is one word."""
    for names, field in ((("Ann",), "It's"), (("Ann", "Bo"), "1.It's")):
        rows = tuple(
            card_row({"Name": n, "It's\x1b[2J": 3}, {"Name": n, "It's\x1b[2J": 4}) for n in names
        )
        card = Card("abc234", "proposal", "Update", "", rows, ("change",))
        ponte.answers(Answer("Shall I?", cards=(card,)))
        _, out = await run_piped(ponte, "rename\n")
        hint = out.splitlines()[-1].partition(": ")[2]
        assert shlex.split(hint) == ["ponte", "changes", "change", "abc234", f"{field} = …"]
        here = io.StringIO()
        Screen(here).show_extras([card_json(card)], [])
        assert here.getvalue().splitlines()[-1] == f"    Type: change abc234 {field} = …"
    card = Card("abc234", "proposal", "Post", "> Hello", (), ("approve", "change"))
    ponte.answers(Answer("Shall I?", cards=(card,)))
    _, out = await run_piped(ponte, "post\n")
    assert out.endswith("Type: ponte changes approve abc234 · ponte changes change abc234\n")


@pytest.mark.parametrize("live", [True, False])
async def test_code_that_ran_is_written_in_full(ponte: WebPonte, live: bool) -> None:
    async def script(turn: Turn) -> Answer:
        message = turn.message
        file = await ponte.files.put(
            message.event_key,
            "code.py",
            chat.CODE_FILE_TYPE,
            b"x = 1\x1b[2J\n\nx + 1\n",
            message.author,
            message.address.conversation,
        )
        return Answer("2", files=(file,))

    assert ponte.home is not None
    ponte.script = script
    out = Tty() if live else io.StringIO()
    assert await chat.chat(ponte.home / "ponte.sock", io.StringIO("run\n"), out) == 0
    code = "  | x = 1\n  | \n  | x + 1"
    assert (f"\x1b[2m{code}\x1b[0m\n" if live else f"2\n{code}\n") in out.getvalue()
    assert not (ponte.home / "ponte-files").exists()


@pytest.mark.parametrize("live", [True, False])
def test_a_file_name_does_not_control_the_terminal(live: bool) -> None:
    evil = "a\x1b]8;;mailto:evil\x07b\x1b[2J\nc\u202egnp.png"
    out = Tty() if live else io.StringIO()
    Screen(out).show_extras((), [DownloadedFile(evil, 5_000, f"saved/{evil}")])
    text = re.sub(r"\x1b\]8;;(file://[!-~]*)?\x1b\\", "", out.getvalue())
    assert text == "  [ab cgnp.png, 5 kB] saved/ab cgnp.png\n"
    path = "saved/a%1B%5D8%3B%3Bmailto%3Aevil%07b%1B%5B2J%0Ac%E2%80%AEgnp.png\x1b\\"
    assert (path in out.getvalue()) is live


def on_a_screen(
    text: str, cards: Sequence[Card], columns: int, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The lines of an answer that has grown on a screen of that width."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "60")
    tty = Tty()
    screen = Screen(tty)
    for end in range(3, len(text), 7):
        screen.show_text(text[:end])
    body = {"response": text, "cards": [card_json(card) for card in cards]}
    screen.show_answer(body)
    return screen_lines(tty.getvalue(), columns)


def card_json(card: Card) -> dict[str, object]:
    return {
        "id": card.id,
        "title": card.title,
        "state": card.state,
        "text": card.text,
        "rows": list(card.rows),
        "actions": list(card.actions),
        "expires_at": None,
    }


TABLE = """Our **tables**:

| Customer | Status | Amount | Due date | Notes |
| --- | --- | --: | --- | --- |
| 株式会社サンプル | Lead 🎉 | 12.00 | Nov 22, 2026 | A long note about this customer that wraps |
| Cléo Ñandú | Won | 1.00 | Nov 23, 2026 | – |

The end.
"""


def test_tables_and_cards_fit_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(
        card_row(
            {"Name": name, "Status": "Lead", "Due": None},
            {"Name": name, "Status": "Won by the team", "Due": "2026-11-18"},
        )
        for name in ("株式会社サンプル", "Cléo", "Bo")
    )
    title = "Update 3 rows in the table of all our customers"
    card = Card("abc234", "proposal", title, "", rows, actions=("approve", "deny"))
    for columns in (200, 80, 60, 41, 40, 24):
        lines = on_a_screen(TABLE, [card], columns, monkeypatch)
        assert max(map(cell_len, lines)) <= columns, columns
        together = "".join("".join(lines).split())
        for character in "株式会社サンプル":  # a long word may continue in the next line
            assert together.count(character) == 2, "nothing is shown twice, nothing is cut"
        for words in ("2026", "Theend.", "approveabc234·denyabc234"):
            assert words in together, (columns, words)
    lines = on_a_screen(TABLE, [card], 80, monkeypatch)
    heading, first = (
        next(n for n, line in enumerate(lines) if line.startswith(f"    {word}"))
        for word in ("Name", "株式")
    )
    at = cell_len(lines[heading][: lines[heading].index("Status")])
    assert cell_len(lines[first][: lines[first].index("Lead →")]) == at, "columns are aligned"
    narrow = on_a_screen(TABLE, [card], 40, monkeypatch)
    assert " Customer" not in narrow
    assert "Due date: Nov 22, 2026" in narrow


def test_text_is_split_into_rows_that_fit_however_a_terminal_draws_emoji() -> None:
    for text, columns, rows in (
        ("", 80, 1), ("a" * 80, 80, 1), ("a" * 81, 80, 2), ("a\n\nb", 80, 3),
        ("日" * 40, 81, 1), ("日" * 81, 81, 3), ("e\u0301" * 80, 80, 1), ("👩\u200d👩" * 2, 80, 1),
        ("👩\u200d👩" * 30, 80, 2), ("❤\ufe0f" * 41, 80, 2),
    ):  # fmt: skip
        match = split_rows(text, columns)
        assert (len(match), "".join(match)) == (rows, text.replace("\n", "")), text


async def test_an_answer_cannot_drive_the_terminal(ponte: WebPonte) -> None:
    async def script(turn: Turn) -> Answer:
        await turn.show("\x1b[2Jgone\x1b]0;title\x07")
        return Answer("\x1b[2Jgone\x1b]0;title\x07 \x9b31m\u202eback")

    ponte.script = script
    _, out = await run_piped(ponte, "x\n")
    assert out == "gone back\n"


async def test_ctrl_c_stops_the_answer_and_a_second_one_leaves(ponte: WebPonte) -> None:
    event, again = asyncio.Event(), asyncio.Event()

    async def script(turn: Turn) -> Answer:
        if turn.message.text == "stop":
            (again if event.is_set() else event).set()
            return Answer("Stopped.")
        await turn.show("Working")
        await (event if turn.message.text == "work" else asyncio.Event()).wait()
        return Answer("Working", "stopped")

    ponte.script = script
    hands, screen = Hands(), Tty()
    task = talking(ponte, hands, screen)
    await screen.until("You: ")
    hands.type("work\n")
    await screen.until("Working")
    os.kill(os.getpid(), signal.SIGINT)
    await screen.until("Working\n\nYou: ")
    hands.type("for ever\n")
    await screen.until("Working", times=2)
    os.kill(os.getpid(), signal.SIGINT)
    await again.wait()
    os.kill(os.getpid(), signal.SIGINT)
    assert await task == 0
    hands.end()
    hands.stdin.close()


async def test_a_restart_in_mid_answer_asks_nothing_twice(ponte: WebPonte) -> None:
    start_event = asyncio.Event()

    async def cut_off(turn: Turn) -> Answer:
        await turn.show("Half of it")
        start_event.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def whole(turn: Turn) -> Answer:
        return Answer("Half of it, and the rest.")

    ponte.script = cut_off
    hands, screen = Hands(), Tty()
    task = talking(ponte, hands, screen)
    hands.type("work\n")
    await start_event.wait()
    await screen.until("Half of it")
    ponte.script = whole
    await ponte.restart()
    await screen.until("Half of it, and the rest.\n")
    hands.end()
    assert await task == 0
    hands.stdin.close()
    assert len(ponte.rows) == 1
    assert screen.getvalue().count("Half of it") == 1


async def test_what_cannot_be_sent_is_told_and_the_talk_goes_on(ponte: WebPonte) -> None:
    code, out = await run_piped(ponte, f"{'x' * 2_000_000}\nlook at @/proc/self/mem\nnext\n")
    assert code == 1, "a message was refused"
    assert out.splitlines() == [
        "That's too large: 1.9 MiB. The limit is 1.9 MiB. "
        "Send a smaller file, or send long text as a file.",
        "Couldn't read the file mem (Input/output error). Nothing was sent.",
        "You said: next",
    ]
    assert [row.message.text for row in ponte.rows.values()] == ["next"]


async def test_without_a_ponte_it_says_so(tmp_path: Path, limits: Limits) -> None:
    limits(RECONNECT_PAUSES_SECONDS=(0.0, 0.0))
    out = io.StringIO()
    code = await chat.chat(tmp_path / "no.sock", io.StringIO("hello\n"), out)
    assert (code, out.getvalue()) == (1, f"{chat.Unreachable.sentence}\n")


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_however_it_grows_it_stands_there_once(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a screen of 80 columns shows in the end, whatever the pieces were."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    text = "Some **bold** words.\n\nSecond, plain.\n\n- one\n- two\n\n```\ncode\n```\n\nThe end."
    tty = Tty()
    screen = Screen(tty)
    for end in range(step, len(text), step):
        screen.show_text(text[:end])
    screen.show_answer({"response": text, "cards": [], "files": []})
    lines = screen_lines(tty.getvalue())
    assert lines[:4] == ["Some bold words.", "", "Second, plain.", ""]
    assert [line for line in lines[4:] if line] == [" • one", " • two", " code", "The end."]


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (["One two thr", "One two, no, four"], ["One two, no, four"]),
        (["One two thr", "One"], ["One two thr"]),
        (["**One.**\n\nTwo\n", "Other.\n\nTwo"], ["One.", "", "Two", "", "Other.", "", "Two"]),
    ],
)
def test_text_that_changed_is_written_again(
    texts: Sequence[str], lines: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    tty = Tty()
    screen = Screen(tty)
    for text in texts:
        screen.show_text(text)
    assert screen_lines(tty.getvalue()) == lines


ROWS = [f"| {n} | **{word}** |" for n, word in enumerate(["one", "two", "three"] * 12)]
LONG_BLOCKS = {
    "table": ["| No. | Word |", "| --- | --- |", *ROWS],
    "list": [f"- **{n}** {'word ' * 30}" for n in range(30)],
    "code": ["```python", *(f"value_{n} = {n}" for n in range(40)), "```"],
    "paragraph": ["**Long** " + "word " * 200],
    "joined emoji": ["| a | b |", "| - | - |", *["| " + "👩\u200d👩🇫🇷" * 9 + " | **x** |"] * 20],
}


@pytest.mark.parametrize(
    ("block", "columns"),
    [
        ("table", 80),
        ("list", 40),
        ("code", 80),
        ("paragraph", 40),
        ("joined emoji", 40),
        ("joined emoji", 80),
    ],
)
def test_a_block_that_is_longer_than_the_window_is_drawn_once_it_has_ended(
    block: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "12")
    source = "\n".join(LONG_BLOCKS[block])
    text = f"Before.\n\n{source}\n\nThe end."
    tty = Tty()
    screen = Screen(tty)
    for end in range(5, len(text), 67):
        screen.show_text(text[:end])
        assert all(int(rows) < 12 for rows in re.findall(r"\x1b\[(\d+)A", tty.getvalue()))
    screen.show_answer({"response": text, "cards": []})
    lines = screen_lines(tty.getvalue(), columns)
    targets = ["Before.", *screen_lines(render_markdown(source), columns), "The end."]
    assert list(filter(None, lines)) == list(filter(None, targets))
    assert not any(mark in "".join(lines) for mark in ("**", "```", "| -"))


WRITTEN = [
    ("Name: X\nPhone: 1", ["Name: X", "Phone: 1"]),
    ("- item\n  more\n- two", [" • item", "   more", " • two"]),
    ("> one\n> two", ["▌ one", "▌ two"]),
    ("a  \nb\\\nc", ["a", "b", "c"]),
    ("[two\nlines](https://example.com)", ["two", "lines (https://example.com)"]),
    (r"So \(a_1 \cdot b_1\), \[x\,dx\] and $\{a*b*c\}$.",
     [r"So \(a_1 \cdot b_1\), \[x\,dx\] and $\{a*b*c\}$."]),
    ("$$\n\\begin{aligned}\na &= b \\\\\nc\n\\end{aligned}\n$$",
     [" $$", " \\begin{aligned}", " a &= b \\\\", " c", " \\end{aligned}", " $$"]),
    ("$$\na\n- b\n$$\n\nx", [" $$", " a", " - b", " $$", "x"]),
    ("| f |\n| - |\n| $a_1 \\ne b_1$ |", ["f", "─────────────", r"$a_1 \ne b_1$"]),
    ("![A cat](https://example.com/cat.png)", ["A cat (https://example.com/cat.png)"]),
    ("![](https://example.com/c.png)", ["(https://example.com/c.png)"]),
    ("[![b](https://e.com/b.png)](https://e.com)", ["b (https://e.com/b.png) (https://e.com)"]),
    ("| a |\n| - |\n| ![p](https://e.com/p) |", ["a", "─" * 19, "p (https://e.com/p)"]),
    ("See [it][1].\n\n[1]: https://example.com", ["See [it][1].", "", "[1]: https://example.com"]),
    ("At https://e.com/a, www.e.com or a@e.com.", ["At https://e.com/a, www.e.com or a@e.com."]),
    ("<https://e.com> [https://e.com/*a*](https://e.com/*a*)",
     ["https://e.com https://e.com/a (https://e.com/*a*)"]),
    ("[https://e.com](https://e.com) [e.com](https://e.com)",
     ["https://e.com e.com (https://e.com)"]),
    ("So[^1].\n\n[^1]: A note.", ["So[^1].", "", "[^1]: A note."]),
    ("- [ ] open\n- [x] done", [" • ☐ open", " • ☑ done"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), WRITTEN)
def test_nothing_that_the_model_wrote_is_lost(
    text: str, lines: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line breaks, the backslashes of formulas, and the addresses of pictures."""
    view = on_a_screen(text, [], 80, monkeypatch)
    assert list(filter(None, view)) == list(filter(None, lines))


def test_the_line_of_progress_fits_the_window_and_can_be_erased(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    tty = Tty()
    screen = Screen(tty)
    screen.show_progress("is reading the tables " * 3)
    (line,) = screen_lines(tty.getvalue(), 40)
    assert line.startswith("is reading")
    screen.show_progress("")
    assert screen_lines(tty.getvalue(), 40) == []


def test_names_of_quick_commands_are_completed_after_their_command_alone() -> None:
    completer, event = CommandCompleter(["usual-report"]), CompleteEvent()
    for text, names in (
        ("usa", ["usage"]),
        ("usage us", []),
        ("quick-command us", ["usual-report"]),
    ):
        completions = completer.get_completions(Document(text), event)
        assert [completion.text for completion in completions] == names, text


@pytest.mark.parametrize("text", ["> " * 4000, "- " * 4000 + "x", "[" * 9000, "x" * 40_000])
def test_what_is_too_much_for_markdown_stands_as_it_is_written(text: str) -> None:
    assert render_markdown(text) == text


def screen_lines(written: str, columns: int = 80) -> list[str]:
    """A screen that knows what `Screen` writes: lines, colours, going up, wiping. A line that is
    wider than the screen continues in the next row."""
    rows: list[list[str]] = [[]]
    row, column = 0, 0
    for piece in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]", written):
        if piece == "\n":
            row, column = row + 1, 0
        elif piece == "\r":
            column = 0
        elif piece.endswith("A") and piece != "A":
            row -= int(piece[2:-1])
        elif piece == "\x1b[K":
            rows[row] = rows[row][:column]
        elif piece == "\x1b[J":
            rows[row:] = [rows[row][:column]]
        elif not piece.startswith("\x1b"):
            width = cell_len(piece)
            if column + width > columns:
                row, column = row + 1, 0
            rows += [[] for _ in range(row + 1 - len(rows))]
            if width:
                rows[row][column : column + width] = [piece, *[""] * (width - 1)]
            elif column:  # it joins the character before it
                rows[row][column - 1] += piece
            column += width
        rows += [[] for _ in range(row + 1 - len(rows))]
    lines = ["".join(cells).rstrip() for cells in rows]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def test_one_blank_line_is_around_a_table() -> None:
    drawing = render_markdown("Here:\n\n| A | B |\n|---|---|\n| 1 | x |\n\nThat is all.")
    lines = [line.strip() for line in re.sub("\x1b[^m]*m", "", drawing).split("\n")]
    assert lines == ["Here:", "", "A  B", "────", "1  x", "", "That is all."]
