"""What the terminal shows: answers as they grow, one live line of progress, cards, files.

Everything that came from outside is cleaned first: escape sequences in it would obey their author.
Without a terminal (a pipe) it is plain text, and only what is final.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from adapters.terminal_files import Fetched
from core.links import unlinked
from core.text import clean
from core.words import say

_DIM, _PLAIN, _WIPE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


class Screen:
    def __init__(self, stdout: TextIO, locale: str) -> None:
        self.live = stdout.isatty()
        self._stdout = stdout
        self._locale = locale
        self._progress = False
        self._shown = ""

    def prompt(self) -> None:
        if self.live:
            self._write(say("You: ", self._locale))

    def line(self, text: str) -> None:
        """A line of its own, from us or from outside."""
        self._wipe()
        self._write(f"{clean(text)}\n")

    def progress(self, words: str) -> None:
        """Over the line that was there before, until text comes."""
        if not self.live or self._shown:
            return
        words = clean(words).replace("\n", " ")
        width = shutil.get_terminal_size().columns - 1
        self._write(f"{_WIPE}{_DIM}{words[:width]}{_PLAIN}" if words else _WIPE)
        self._progress = bool(words)

    def grow(self, text: str) -> None:
        """The answer so far; what was shown of it stays."""
        text = clean(text)
        if not self.live or self._shown.startswith(text):
            return
        self._wipe()
        if text.startswith(self._shown):
            self._write(text[len(self._shown) :])
        else:
            self._write(f"\n{text}")
        self._shown = text

    def answer(self, body: Mapping[str, Any], files: Sequence[Fetched] = ()) -> None:
        """The whole answer: what `done` says, and its files."""
        text = clean(str(body["response"]))
        if self.live:
            self.grow(text)
            self._wipe()
            self._write("\n" if self._shown else "")
        else:
            self._write(f"{text}\n")
        self._shown = ""
        for card in body["cards"]:
            self._card(card)
        for file in files:
            self._file(file)

    def _file(self, file: Fetched) -> None:
        """What was saved is told by its path; the code that ran is shown, dim where that works."""
        if file.code:
            dim, plain = (_DIM, _PLAIN) if self.live else ("", "")
            lines = "\n".join(f"  | {line}" for line in file.code.splitlines())
            self._write(f"{dim}{lines}{plain}\n")
            return
        size = max(1, round(file.size / 1000))
        where = file.path or say("it could not be saved", self._locale)
        self.line(f"  [{file.name}, {size} kB] {where}")

    def _card(self, card: Mapping[str, Any]) -> None:
        self.line(unlinked(f"  # {card['title']} ({card['state']})"))
        if card["text"]:
            self.line(unlinked(f"    {card['text']}"))
        for row in card["rows"]:
            for change in _changes(row.get("before") or {}, row.get("after") or {}):
                self.line(unlinked(f"    {change}"))
        if card["state"] == "open" and (expires := card.get("expires_at")):
            # In the zone of this machine, at which the reader sits.
            when = f"{datetime.fromtimestamp(expires, UTC).astimezone():%Y-%m-%d %H:%M}"
            self.line("    " + say("Expires {when}.", self._locale, when=when))
        if card["actions"]:
            hints = " · ".join(f"{action} {card['id']}" for action in card["actions"])
            self.line("    " + say("Type: {hints}", self._locale, hints=hints))

    def _wipe(self) -> None:
        if self._progress:
            self._write(_WIPE)
            self._progress = False

    def _write(self, text: str) -> None:
        self._stdout.write(text)
        self._stdout.flush()


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line for each field that differs (`Name: old → new`), after two that name the row."""
    same = [name for name in before if name in after and before[name] == after[name]]
    lines = [f"{name}: {_words(before[name])}" for name in same[:2]]
    changed = [name for name in dict.fromkeys([*before, *after]) if name not in same]
    moved = [f"{name}: {_words(before.get(name))} → {_words(after.get(name))}" for name in changed]
    return lines + moved


def _words(value: object) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
