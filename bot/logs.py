"""Logs on stderr: one line for each event, with the turn's id and without secrets; and error
messages of commands.

All other modules log through `structlog.get_logger()`. What libraries log through `logging` gets
the same form.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bot.settings import Settings, load
from core.base.errors import PonteError, SettingsError, WrongUsage
from core.base.i18n import say
from core.base.json_text import to_json_line
from core.base.tasks import BoundedDict
from core.base.text import clean_text

MASK = "[secret]"
_MIN_SECRET_CHARS = 4
"""Shorter secrets would mask parts of ordinary words. No service issues such."""
_TOKENS = re.compile(
    r"""
    xox[a-z](?:\.xox[a-z])?-[\w-]{8,}          # Slack: bot, user, refresh tokens
    | xapp-[\w-]{8,}                           # Slack: app-level token
    | sk-[\w-]{16,}                            # OpenAI and those that speak its API
    | ponte-api-[\w-]{8,}                      # Ponte's own API tokens
    | [\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}     # Discord: bot token
    | eyJ[\w-]{8,}(?:\.[\w-]+){0,4}              # a JSON web token (StackSpot, NocoDB)
    | (?<=Bearer[ ])[\w.~+/=-]{8,}
    | (?<=Authorization':[ ]'Basic[ ])[\w+/=]+  # a proxy's user and password, in base64
    | (?<=://)[^\s/@:"]+:[^\s/@"]+(?=@)        # user:password in a URL
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LEVEL_ABOVE_ALL = logging.CRITICAL + 10
"""A level above everything that is logged."""
_LIBRARY_LEVELS = {
    logging.INFO: "discord discord.http slack_bolt slack_sdk openai asyncio markdown_it",
    logging.WARNING: "aiohttp httpx httpcore httpx2 httpcore2 mcp uvicorn sqlitedict",
    _LEVEL_ABOVE_ALL: "opentelemetry mcp.client mcp.shared",
}
"""Libraries by the lowest level that is logged of them. Below it they log message texts, tokens or
whole addresses. `core.observability.tracing` logs once what OpenTelemetry would log for each batch
that it cannot export; `core.tools.mcp` logs what a server does, which could else write any number
of lines."""


_is_json = False
"""A failure is reported as a line of JSON."""
named_secrets: set[str] = set()
"""Secrets in variables that ponte.toml names."""
typed_secrets = BoundedDict[str, None](1_000)
"""Secrets that were typed on the setup page. A saved one is a setting from the next start on."""


def mask_also(secret: str, *, is_typed: bool = False) -> None:
    """Mask this secret in every `Redaction` from now on. Of secrets that were typed on the setup
    page (`is_typed`), only the last thousand are masked, because anybody could type any number."""
    forms = _written_forms(secret) if len(secret) >= _MIN_SECRET_CHARS else ()
    if is_typed:
        typed_secrets.update(dict.fromkeys(forms))
    else:
        named_secrets.update(forms)


class Redaction:
    """Replaces secrets in a text by MASK: the given ones, those of `mask_also`, and everything that
    looks like a token."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _written_forms(secret)}
        values = (form for form in forms if len(form) >= _MIN_SECRET_CHARS)
        longest_first = sorted(values, key=len, reverse=True)
        # Without a secret, a pattern that matches nothing.
        self._secrets = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def of(self, text: str) -> str:
        for secret in sorted({*named_secrets, *typed_secrets}, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return _TOKENS.sub(MASK, self._secrets.sub(MASK, text))


class ExceptionFields:
    """A structlog processor that adds what an exception is and where it was raised."""

    def __init__(self, *, traces: bool) -> None:
        self._traces = traces

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Replace the exception of a log line by its type and text, and the file and line where it
        was raised. Its whole traceback, which can contain text of people, is added only at the
        level `debug`."""
        # An exception, the tuple of `sys.exc_info`, or True for the one handled now.
        fault = event.pop("exc_info", None)
        event.pop("stack_info", None)  # the stack of the logging call, which no line shows
        if isinstance(fault, tuple):
            fault = fault[1]
        elif fault and not isinstance(fault, BaseException):
            fault = sys.exc_info()[1]
        if isinstance(fault, BaseException):
            event["exception"] = f"{type(fault).__name__}: {fault}"
            frames = traceback.extract_tb(fault.__traceback__, limit=-1)
            place = f"{Path(frames[0].filename).name}:{frames[0].lineno}" if frames else ""
            event["location"] = place
            if self._traces:
                event["traceback"] = _format_traceback(fault)
        return event


class LogLineRenderer:
    """A structlog processor that renders an event as one masked line of text or JSON. Control
    characters are escaped, so that no text can forge a line or a colour.
    """

    def __init__(self, form: str, redaction: Redaction) -> None:
        self._json = form == "json"
        self._redaction = redaction

    def __call__(self, logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> str:
        """A line of text begins with the time, the level, the logger and the event; the other
        fields follow as `name=value`. Line breaks in texts are escaped, so that no text can forge a
        line; a traceback keeps its own."""
        if self._json:
            return self._redaction.of(to_json_line(dict(event)))
        fields = dict(event)
        trace = fields.pop("traceback", "")
        # Seven characters are the length of "warning".
        words = [fields.pop("timestamp", ""), f"{fields.pop('level', ''):<7}"]
        words.append(f"{fields.pop('logger', '')}: {_escape(str(fields.pop('event', '')))}")
        for key, value in fields.items():
            words.append(f"{key}={_escape(value) if isinstance(value, str) else repr(value)}")
        if trace:
            words.append("\n" + trace.rstrip())
        return self._redaction.of(" ".join(words))


def set_up_logging(
    settings: Settings, *, quiet: bool = False, stream: TextIO | None = None
) -> None:
    """Log from now on as PONTE_LOG and PONTE_LOG_LEVEL say, to `stream` or stderr, with secrets
    masked.

    `quiet` logs nothing unless a level was set: for commands whose output a person reads and which
    report failures in words. Tracebacks are logged at level debug only.
    """
    level = logging.getLevelNamesMapping()[settings.ponte_log_level.upper()]
    if quiet and "ponte_log_level" not in settings.model_fields_set:
        level = _LEVEL_ABOVE_ALL
    # `report_error` also writes the failure that ends a command as JSON. With `quiet`, a person
    # reads it, so it stays in words.
    global _is_json
    _is_json = settings.ponte_log == "json" and not quiet
    # structlog knows no level above CRITICAL.
    structlog.configure(
        processors=[*_common_processors(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(min(level, logging.CRITICAL)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            # For what libraries log without structlog.
            foreign_pre_chain=_common_processors(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                ExceptionFields(traces=level <= logging.DEBUG),
                LogLineRenderer(settings.ponte_log, Redaction(settings.secrets)),
            ],
        )
    )
    # `force`: a library may have set up logging of its own.
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for least, names in _LIBRARY_LEVELS.items():
        for name in names.split():
            logging.getLogger(name).setLevel(max(level, least))
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_exception


def report_error(error: Exception, stream: TextIO) -> int:
    """Write why a command of the shell failed, without secrets, to `stream` or as a line of a JSON
    log. Return the exit code: 2 for wrong usage or settings, else 1. A traceback is written at
    PONTE_LOG_LEVEL=debug once logging is set up.
    """
    code = 2 if getattr(error, "code", "") in (SettingsError.code, WrongUsage.code) else 1
    if _is_json:
        structlog.get_logger("process").error(
            "failed", words=_describe_error(error), exc_info=error
        )
        return code
    try:
        # The error may have come before the settings were loaded.
        redaction = Redaction(load().secrets)
    except SettingsError:
        redaction = Redaction(())
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        stream.write(redaction.of(_format_traceback(error)))
    for line in clean_text(_describe_error(error)).splitlines():  # it may quote a server
        stream.write(redaction.of(line) + "\n")
    return code


def _written_forms(secret: str) -> set[str]:
    """In a log line, a secret can appear as it is, and as JSON and Python's repr write it."""
    return {secret, to_json_line(secret)[1:-1], repr(secret)[1:-1]}


def _common_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _escape(text: str) -> str:
    quoted = repr(text)[1:-1].replace("\\'", "'")
    return quoted if text.isprintable() and " " not in text else f'"{quoted}"'


def _format_traceback(fault: BaseException) -> str:
    return "".join(traceback.format_exception(fault))


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    fault = args.exc_value or args.exc_type()
    structlog.get_logger("process").error(
        "unhandled exception in a thread of Python", exc_info=fault
    )


def _describe_error(error: Exception) -> str:
    """Return the sentence of a failed start. An error that Ponte does not know is a fault of Ponte,
    so the sentence tells how to see its cause."""
    if isinstance(error, PonteError):
        return error.words()
    return say(
        "Ponte stopped because of an internal error ({what}). Run it again with "
        "PONTE_LOG_LEVEL=debug to see the cause.",
        what=" ".join(f"{type(error).__name__}: {error}".split()),
    )
