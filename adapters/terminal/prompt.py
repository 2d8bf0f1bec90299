"""Lines that a person types at a terminal: editing, history and completion (prompt_toolkit)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.shortcuts import CompleteStyle

from core.commands.grammar import COMMAND_NAMES, TRANSLATED
from core.text.i18n import nearest, say

REMEMBERED = 200
"""Former messages that the arrow keys bring back; they stand nowhere else than in the home."""
_FILE = re.compile(r"(?:^|\s)@(?P<path>[^\s\"]*)$")


class Prompt:
    """The `Lines` of a terminal. Ctrl-C and Ctrl-D end them."""

    prompts = True

    def __init__(self, locale: str, said: Sequence[str], slugs: Sequence[str]) -> None:
        history = InMemoryHistory()
        for text in said[-REMEMBERED:]:
            history.append_string(text)
        self._message = say("You: ", locale)
        self._session: PromptSession[str] = PromptSession(
            history=history, completer=Words(locale, slugs), complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE, reserve_space_for_menu=0,
        )  # fmt: skip

    async def line(self) -> str | None:
        try:
            return await self._session.prompt_async(self._message, handle_sigint=False)
        except (EOFError, KeyboardInterrupt):
            return None


class Words(Completer):
    """The commands, after `quick-command` the names of those, and after @ the files here."""

    def __init__(self, locale: str, slugs: Sequence[str]) -> None:
        self._names = sorted({*COMMAND_NAMES, *TRANSLATED.get(nearest(locale), ())})
        self._slugs = slugs
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        text = document.text_before_cursor
        if found := _FILE.search(text):
            yield from self._paths.get_completions(Document(found["path"]), complete_event)
            return
        head, space, rest = text.lstrip("/!").partition(" ")
        known = self._slugs if space and head == "quick-command" else () if space else self._names
        typed = rest if space else head
        yield from (
            Completion(name, -len(typed)) for name in known if name.startswith(typed.lower())
        )
