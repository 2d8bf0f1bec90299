"""How a command tells that it failed: one line each thing, the exit code, no secret."""

from __future__ import annotations

import logging
import traceback
from typing import TextIO

from bot.redaction import Redaction
from bot.settings import load
from core.errors import PonteError, SettingsError


def tell(error: Exception, stream: TextIO) -> int:
    """Write what went wrong; returns 2 for wrong settings, else 1.

    A traceback is for PONTE_LOG_LEVEL=debug; that level stands once logging is set up.
    """
    redaction = _redaction()
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        trace = "".join(traceback.format_exception(error))
        stream.write(redaction.of(trace))
    for line in _words(error).splitlines():
        stream.write(redaction.of(line) + "\n")
    return 2 if isinstance(error, SettingsError) else 1


def _words(error: Exception) -> str:
    if isinstance(error, PonteError):
        return str(error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return (
        f"Ponte stopped because of a fault of its own ({what}). "
        "Run it again with PONTE_LOG_LEVEL=debug to see where."
    )


def _redaction() -> Redaction:
    try:
        return Redaction(load().secrets)
    except SettingsError:
        return Redaction(())
