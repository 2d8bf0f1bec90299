"""What a person sees at a real terminal, drawn: the screen that a pseudo-terminal's bytes leave."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len

Json = dict[str, Any]

_PART = re.compile(
    r"\x1b\[(?P<args>[0-?]*)[ -/]*(?P<end>[@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|"
    r"\x1b[=>78]|[\r\n\b]|[^\x1b\r\n\b]"
)
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_STYLES = {1: "bold", 2: "dim", 3: "italic", 4: "under"}


class Screen:
    """Lines of cells, each a character with its styles. Knows what our own programs write, and no
    more: a sequence that it does not know is an error, not a picture that is a little wrong."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines: list[list[tuple[str, str]]] = [[]]
        self._row = self._column = 0
        self._styles: set[str] = set()

    def write(self, text: str) -> None:
        for part in _PART.finditer(text):
            if end := part["end"]:
                self._control(part["args"], end)
            elif (char := part[0]) == "\r":
                self._column = 0
            elif char == "\n":
                self._move(1, 0)
            elif char == "\b":
                self._column = max(0, self._column - 1)
            elif not char.startswith("\x1b"):
                self._put(char)

    def styled_lines(self) -> list[list[Json]]:
        """Runs of one style, line by line, without what is blank at the ends."""
        lines = []
        for line in self.lines:
            runs: list[Json] = []
            for char, style in line:
                if runs and runs[-1]["style"] == style:
                    runs[-1]["text"] += char
                else:
                    runs.append({"style": style, "text": char})
            while runs and "under" not in runs[-1]["style"]:
                runs[-1]["text"] = runs[-1]["text"].rstrip()
                if runs[-1]["text"]:
                    break
                runs.pop()
            lines.append(runs)
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _put(self, char: str) -> None:
        if self._column >= self.columns:
            self._move(1, 0)
            self._column = 0
        line = self.lines[self._row]
        line += [(" ", "")] * (self._column + 1 - len(line))
        line[self._column] = (char, " ".join(sorted(self._styles)))
        self._column += cell_len(char)

    def _move(self, rows: int, columns: int) -> None:
        self._row = max(0, self._row + rows)
        self._column = max(0, self._column + columns)
        while len(self.lines) <= self._row:
            self.lines.append([])

    def _control(self, args: str, end: str) -> None:
        if args.startswith(("?", ">", "<", "=")) or end in "nqu":
            return  # modes, and questions that are answered elsewhere
        numbers = [int(number or 0) for number in args.split(";")]
        first = numbers[0]
        line = self.lines[self._row]
        match end:
            case "A" | "B":
                self._move((first or 1) * (1 if end == "B" else -1), 0)
            case "C" | "D":
                self._move(0, (first or 1) * (1 if end == "C" else -1))
            case "G":
                self._column = max(0, first - 1)
            case "K" if first == 2:
                line.clear()
            case "K" if first == 0:
                del line[self._column :]
            case "J" if first == 0:
                del line[self._column :]
                del self.lines[self._row + 1 :]
            case "m":
                self._style(numbers)
            case _:
                raise NotImplementedError(f"a picture of the control sequence {args}{end}")

    def _style(self, numbers: list[int]) -> None:
        values = list(numbers)
        while values:
            number = values.pop(0)
            if number in (0, 39) or 30 <= number <= 37 or 90 <= number <= 97:
                styles = set() if number == 0 else set(_STYLES.values())
                self._styles &= styles
            if number in _STYLES:
                self._styles.add(_STYLES[number])
            elif 30 <= number <= 37 or 90 <= number <= 97:
                self._styles.add(_COLOURS[number % 10])
            elif number == 22:
                self._styles -= {"bold", "dim"}
            elif number in (23, 24):
                self._styles.discard(_STYLES[number - 20])
            elif number in (38, 48) and values:
                del values[: 2 if values[0] == 5 else 4]


def screen(drawing: Json, _: Mapping[str, str]) -> str:
    lines = "\n".join("".join(map(_run, line)) for line in drawing["lines"])
    title = html.escape(drawing["title"])
    return (
        f'<main class="terminal"><header><i></i><i></i><i></i><span>{title}</span></header>'
        f"<pre>{lines}</pre></main>"
    )


def _run(run: Json) -> str:
    text = html.escape(run["text"])
    return f'<span class="{run["style"]}">{text}</span>' if run["style"] else text
