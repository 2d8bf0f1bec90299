"""Reads lines that a person types, with editing, history and completion (prompt_toolkit)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.utils import get_cwidth

from core.base.i18n import LANGUAGE, say
from core.commands.grammar import COMMAND_NAMES, TRANSLATED

HISTORY_SIZE = 200
"""Number of earlier messages that the arrow keys bring back. They are read from Ponte and not
stored anywhere else."""
_FILE = re.compile(r"(?:^|\s)@(?P<path>[^\s\"]*)$")


class LineEditor:
    """The `LineSource` of a terminal. Ctrl-C and Ctrl-D end the input."""

    shows_prompt = True

    def __init__(self, past: Sequence[str], slugs: Sequence[str]) -> None:
        history = InMemoryHistory()
        for text in past[-HISTORY_SIZE:]:
            history.append_string(text)
        self._message = say("You: ")
        self._session: PromptSession[str] = PromptSession(
            history=history, completer=CommandCompleter(slugs), complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE, reserve_space_for_menu=0,
            multiline=True, key_bindings=_make_key_bindings(),
            placeholder=FormattedText([("fg:ansibrightblack", say("Alt-Enter: new line"))]),
            prompt_continuation=" " * get_cwidth(self._message),
        )  # fmt: skip

    async def read_line(self) -> str | None:
        """Return the next message, or None after Ctrl-C or Ctrl-D. It may have several lines."""
        try:
            return await self._session.prompt_async(self._message, handle_sigint=False)
        except (EOFError, KeyboardInterrupt):
            return None


def _make_key_bindings() -> KeyBindings:
    """Return the keys of a message: Enter sends it, and Alt-Enter makes a new line."""
    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _add_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    return keys


class CommandCompleter(Completer):
    """Completes commands, the names of quick commands after `quick-command`, and file names after
    @."""

    def __init__(self, slugs: Sequence[str]) -> None:
        self._names = sorted({*COMMAND_NAMES, *TRANSLATED.get(LANGUAGE.get(), ())})
        self._slugs = slugs
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Yield the completions of the text before the cursor."""
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
