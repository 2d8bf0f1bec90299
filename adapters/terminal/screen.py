"""Writes answers, cards and files to a terminal or a pipe."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.cells import cell_len

from core.changes.card_rows import CardRow, CardTable, read_rows, tabulate
from core.text.commonmark import parser
from core.text.i18n import format_moment, say
from core.text.markdown import defang_for_terminal, ended_blocks_length, is_too_complex
from core.text.text import clean_text, to_one_line

_DEEP = re.compile(r"^(?:[ \t]*(?:>|[-*+]|\d{1,9}[.)])){10}", re.MULTILINE)
"""Matches lists and quotes that are nested 10 levels deep. markdown-it reads 20 levels and leaves
out deeper ones."""
MAX_MARKDOWN_COLUMNS = 100
"""Largest width of rendered Markdown, in columns."""
_DIM, _PLAIN, _WIPE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file of an answer.

    `path` is where it was saved ("" if that failed). `code` is its text if it is the code that ran.
    `size` is in bytes.
    """

    name: str
    size: int
    path: str = ""
    code: str = ""


class Screen:
    """Writes answers as they grow, a line of progress, cards and files.

    All text from outside is cleaned first, because a terminal obeys escape sequences in it. If the
    output is not a terminal (a pipe), only the final text is written, without formatting.
    """

    def __init__(self, stdout: TextIO) -> None:
        self.live = stdout.isatty()
        self._stdout = stdout
        self._progress = False
        self._shown = ""
        """The answer so far. Its first `_rendered` characters are on the screen in their final
        form."""
        self._rendered = 0

    def show_prompt(self) -> None:
        """Write the prompt for the next message, on a terminal only."""
        if self.live:
            self._write(say("You: "))

    def write_line(self, text: str) -> None:
        """Write text, ours or from outside, and end the line."""
        self._erase_progress()
        self._write(f"{clean_text(text)}\n")

    def show_progress(self, words: str) -> None:
        """Replace the line of progress. Once text of the answer is on the screen, do nothing."""
        if not self.live or self._shown:
            return
        words = clean_text(words).replace("\n", " ")
        width = shutil.get_terminal_size().columns - 1
        self._write(f"{_WIPE}{_DIM}{words[:width]}{_PLAIN}" if words else _WIPE)
        self._progress = bool(words)

    def show_text(self, text: str) -> None:
        """Write the answer so far.

        Each block of Markdown is rendered once it has ended. Text after the last ended block is
        written unchanged.
        """
        text = clean_text(text)
        if not self.live or self._shown.startswith(text):
            return
        self._erase_progress()
        if not text.startswith(self._shown[: self._rendered]):
            self._write("\n")
            self._shown, self._rendered = "", 0
        if end := ended_blocks_length(text[self._rendered :]):
            self._render_block(text[: self._rendered + end])
        tail, written = text[self._rendered :], self._shown[self._rendered :]
        if not tail.startswith(written):
            self._erase_lines(written)
            written = ""
        self._write(tail[len(written) :])
        self._shown = text

    def _render_block(self, text: str, last: bool = False) -> None:
        """Render the part of `text` that is not rendered yet and will not change any more."""
        raw, written = text[self._rendered :], self._shown[self._rendered :]
        wanted = render_markdown(raw) + ("\n" if last else "\n\n")
        if wanted.startswith(written):
            self._write(wanted[len(written) :])
        elif self._erase_lines(written):
            self._write(wanted)
        elif written.startswith(raw):  # too long to erase: it stays unrendered
            self._rendered = len(text)
            return
        else:
            self._write(raw[len(written) :])
        self._shown, self._rendered = text, len(text)

    def _erase_lines(self, written: str) -> bool:
        """Erase the last lines that hold `written`. Return False if there are more than the screen
        shows."""
        columns, height = shutil.get_terminal_size()
        rows = sum(max(1, -(-cell_len(line) // columns)) for line in written.split("\n"))
        if rows >= height:
            return False
        self._write(f"\r\x1b[{rows - 1}A\x1b[J" if rows > 1 else _WIPE)
        return True

    def show_answer(self, body: Mapping[str, Any], files: Sequence[DownloadedFile] = ()) -> None:
        """Write the complete answer from the event `done`, with its cards and files."""
        text = clean_text(str(body["response"]))
        if self.live:
            self.show_text(text)
            self._erase_progress()
            if self._shown[self._rendered :].strip():
                self._render_block(self._shown, last=True)
        else:
            self._write(f"{text}\n")
        self._shown, self._rendered = "", 0
        for card in body["cards"]:
            self._card(card)
        for file in files:
            self._file(file)

    def _file(self, file: DownloadedFile) -> None:
        """Write where a file was saved. The code that ran is written in full, dim on a terminal."""
        if file.code:
            dim, plain = (_DIM, _PLAIN) if self.live else ("", "")
            lines = "\n".join(f"  | {line}" for line in file.code.splitlines())
            self._write(f"{dim}{lines}{plain}\n")
            return
        size = max(1, round(file.size / 1000))
        where = file.path or say("it could not be saved")
        self.write_line(f"  [{file.name}, {size} kB] {where}")

    def _card(self, card: Mapping[str, Any]) -> None:
        """Write a card: its title, text and changes, when it expires, and the commands to type."""
        self.write_line(self._without_links(f"  # {card['title']} ({say(card['state'])})"))
        if card["text"]:
            self.write_line(self._without_links(f"    {card['text']}"))
        rows = read_rows(card["rows"])
        table = tabulate(rows)
        for line in _table_lines(table) if table else _row_lines(rows):
            self.write_line(self._without_links(f"    {line}"))
        if card["state"] == "open" and (expires := card.get("expires_at")):
            # In the time zone of this machine, which is the reader's.
            when = format_moment(datetime.fromtimestamp(expires, UTC).astimezone())
            self.write_line("    " + say("Expires {when}.", when=when))
        if card["actions"]:
            hints = " · ".join(f"{action} {card['id']}" for action in card["actions"])
            self.write_line("    " + say("Type: {hints}", hints=hints))

    def _without_links(self, text: str) -> str:
        """Return text of a card in which a terminal recognizes no links. For a pipe the text is
        unchanged."""
        return defang_for_terminal(text) if self.live else text

    def _erase_progress(self) -> None:
        if self._progress:
            self._write(_WIPE)
            self._progress = False

    def _write(self, text: str) -> None:
        self._stdout.write(text)
        self._stdout.flush()


def _row_lines(rows: Sequence[CardRow]) -> list[str]:
    """Return a line for each row: its name, then what changes."""
    return [_one_line(": ".join(filter(None, [row.name, row.text]))) for row in rows]


def _table_lines(table: CardTable) -> list[str]:
    """Return the lines of a table, with columns of equal width."""
    lines = [tuple(map(_one_line, table.header))] + [
        (_one_line(name), *(_one_line(cell.value) if cell else "" for cell in cells))
        for name, cells in table.rows
    ]
    widths = [max(cell_len(line[n]) for line in lines) for n in range(len(table.header))]
    padded = (
        [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        for line in lines
    )
    return ["  ".join(cells).rstrip() for cells in padded]


def _one_line(text: str) -> str:
    """Return text without control characters and line breaks, which would shift the columns."""
    return to_one_line(text)


def render_markdown(text: str) -> str:
    """Return Markdown as a terminal shows it: bold, lists, tables, code. Addresses of links are
    written in full. Text that is too complex or nested too deeply is returned unchanged."""
    if is_too_complex(text) or _DEEP.search(text):
        return text.strip("\n")
    from rich.console import Console
    from rich.markdown import Markdown

    out = io.StringIO()
    width = min(shutil.get_terminal_size().columns, MAX_MARKDOWN_COLUMNS)
    console = Console(file=out, force_terminal=True, color_system="standard", width=width)
    drawn = Markdown(text, hyperlinks=False)
    drawn.parsed = parser().parse(text)  # rich's own parser would drop HTML
    console.print(drawn)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n")).strip("\n")
