"""Where `ponte` begins: its standard streams, its language and its exit codes.

0: done. 1: a failure with a message. 2: wrong usage or settings. A process that runs for long keeps
what it loaded, so it loads no command line (`command_line.py`).
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence

from bot.cli import run_process, say

_PROCESSES = {"run": (True, True), "serve": (True, False), "work": (False, True)}
"""Commands that run until they are ended → what `run_process` takes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Errors go to stderr, one line each."""
    _open_standard_streams()
    typed = sys.argv[1:] if arguments is None else arguments
    if typed and typed[0] in _PROCESSES:
        # Loading takes a second. A signal then ends the process with code 0, as a later one does.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
    try:
        is_english = _choose_language()
        # Without options, such a process does not load the parser of command lines.
        if len(typed) == 1 and typed[0] in _PROCESSES:
            return run_process(*_PROCESSES[typed[0]])
        from bot.cli.command_line import run_command

        code = run_command(typed, is_english)
        sys.stdout.flush()  # here it can still be told that nobody reads
        return code
    except KeyboardInterrupt:
        sys.stderr.write(say("Interrupted.") + "\n")
    except BrokenPipeError:
        # Who read our output has gone (`ponte threads list | head`). Python flushes stdout once
        # more at its end and would complain (docs of the signal module).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ImportError as error:  # a package is missing, too old or of another distribution
        from bot import doctor as installation

        report = installation.inspect_installation()
        words = str(error) if report.is_complete else installation.describe(report, say)
        sys.stderr.write(f"ponte: {words}\n")
    except Exception as error:
        from bot.logs import report_error

        return report_error(error, sys.stderr)
    return 1


def _choose_language() -> bool:
    """Set the language of help and errors, and return whether it is English. PONTE_LOCALE is read
    here, besides POSIX's variables: help and errors are printed without the settings, whose loading
    takes long and may fail."""
    names = ("PONTE_LOCALE", "LC_ALL", "LC_MESSAGES", "LANG")
    chosen = next(filter(None, map(os.environ.get, names)), "")
    # "C", "C.UTF-8" and "POSIX" are English, too.
    if chosen[:2].lower() in ("en", "c", "c.", "po", ""):
        return True
    from core.base.i18n import LANGUAGE, nearest_locale

    LANGUAGE.set(nearest_locale(chosen))
    return LANGUAGE.get() == "en"


def _open_standard_streams() -> None:
    """Open /dev/null for each standard stream that is closed (`ponte run >&-`), and write "?" for
    characters that the locale's encoding lacks.

    The next file that is opened, such as the database, would get a closed descriptor, and a library
    that writes an error to it would write into that file.
    """
    # Each call gives the lowest free number. Programs that Ponte starts inherit these streams.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    # Python has set closed streams to None.
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):  # stderr escapes such characters by itself
        sys.stdout.reconfigure(errors="replace")
