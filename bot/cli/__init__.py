"""The command line: what all of it needs before anything else is loaded."""

from __future__ import annotations

import sys
from typing import Any


def run_process(takes: bool = True, works: bool = True) -> int:
    """Load the code of a running Ponte, start it here, and return the exit code. `takes`: it
    receives messages; `works`: it runs their turns."""
    # structlog loads rich where it finds it, for tracebacks in color; httpx does for a command of
    # its own. Nothing that runs needs it before somebody calls doctor, and it takes 5 MB and 60 ms.
    # A module that is None in `sys.modules` cannot be imported, which both libraries allow for.
    modules: Any = sys.modules
    modules["httpx._main"] = None  # also later: nothing in Ponte uses httpx's command
    # False if rich is loaded already.
    is_hidden = modules.setdefault("rich", None) is None
    try:
        from bot.app import serve
    finally:
        if is_hidden:
            del modules["rich"]
    return serve(takes=takes, works=works)


def say(sentence: str, **values: object) -> str:
    """Return a sentence in the reader's language, or in English if `core` is not Ponte's."""
    try:
        from core.base import i18n
    except ImportError:
        return sentence.format(**values)
    return i18n.say(sentence, **values)
