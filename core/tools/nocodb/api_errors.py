"""Failures of NocoDB's HTTP API, and the pause before a call is tried again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from core.base.fault_bodies import parse_retry_after
from core.base.http import (
    HttpAnswer,
    HttpDown,
    HttpError,
    HttpTimeout,
    HttpTooLarge,
    HttpUnreadable,
)
from core.base.remote_errors import (
    SERVER_ERRORS,
    ErrorTable,
    RemoteError,
    on,
    was_sent,
    withhold_secrets,
)

AWAY_STATUSES = (408, 502, 503, 504)
"""Statuses of a proxy while the server behind it is down, starting or slow."""

NOCODB_DEFAULT_WAIT_SECONDS = 30.0
"""The wait after a 429 without Retry-After (NocoDB's cloud asks for 30)."""

_ROLE = re.compile(r"with the roles?: ([\w -]{1,40})")
_RECORD = re.compile(r"[Rr]ecord '([^']{1,64})' not found")


class NocoError(RemoteError):
    """`reason` is NocoDB's own code, such as ERR_FIELD_NOT_FOUND, or "".

    NocoDB reports errors as `{"error": CODE, "message": TEXT}`, older parts of it `{"msg": TEXT}`
    (https://nocodb.com/docs/apis/errors, and as 0.301.3 answers). Most things that are missing are
    422. Texts are from outside and may hold what stands in cells.

    Codes: nocodb_token, nocodb_forbidden, not_found, unknown_table, unknown_field, renamed,
    bad_filter, bad_value, bad_page, bad_call, wrong_base, no_base, several_bases, nocodb_missing,
    nocodb_busy, nocodb_down, nocodb_silent, nocodb_failed, nocodb_unreadable, too_large.
    """

    reason = ""


NO_RETRY = "tell the person; trying again is of no use"
STORED_ELSEWHERE = "This file isn't stored on NocoDB's own server, so it can't be read."
FILE_GONE = "NocoDB no longer has the content of this file."
_ASK_FOR_LESS = "ask for fewer rows or fields"
_LOOK_AGAIN = "look at nocodb_tables again"


def error_reason(answer: HttpAnswer) -> str:
    return _read_body(answer)[0]


def error_text(answer: HttpAnswer) -> str:
    return withhold_secrets(_read_body(answer)[1])


def seconds_to_wait(answer: HttpAnswer) -> float:
    seconds = parse_retry_after(answer.headers)
    return NOCODB_DEFAULT_WAIT_SECONDS if seconds is None else seconds


def _read_body(answer: HttpAnswer) -> tuple[str, str]:
    body = answer.json if isinstance(answer.json, Mapping) else {}
    texts = {name: text for name, text in body.items() if isinstance(text, str)}
    return texts.get("error", ""), texts.get("message", texts.get("msg", ""))


def _has_reason(*reasons: str) -> Callable[[HttpAnswer], bool]:
    return lambda answer: error_reason(answer) in reasons


def _find_in_text(answer: HttpAnswer, pattern: re.Pattern[str]) -> str:
    match = pattern.search(_read_body(answer)[1])
    return match[1].strip() if match else ""


NOCODB_ERRORS = ErrorTable(
    NocoError,
    on(HttpDown, *AWAY_STATUSES).raises(
        "nocodb_down",
        "Can't reach NocoDB. Try again in a minute. If the problem continues, check NOCODB_URL "
        "and whether NocoDB is running.",
        retry=True,
        outcome_unknown=was_sent,
    ),
    on(HttpTimeout).raises(
        "nocodb_silent",
        "NocoDB didn't respond in time. Try again in a minute.",
        hint=_ASK_FOR_LESS,
        outcome_unknown=was_sent,
    ),
    on(HttpTooLarge).raises(
        "too_large", "NocoDB's response is too large.", hint=_ASK_FOR_LESS, outcome_unknown=True
    ),
    on(401).raises(
        "nocodb_token", "NocoDB rejected the token. Check the NOCODB_TOKEN setting.", hint=NO_RETRY
    ),
    on(403, when=lambda answer: bool(_find_in_text(answer, _ROLE))).raises(
        "nocodb_forbidden",
        "Ponte's NocoDB user has the {role} role, which doesn't allow this. Give it the Editor "
        "role in NocoDB.",
        hint="tell the person; do not look for another way",
        values=lambda answer: {"role": _find_in_text(answer, _ROLE).title()},
    ),
    on(403).raises(
        "nocodb_forbidden",
        "Ponte's NocoDB user doesn't have access to this. Invite that user to the base in NocoDB.",
        hint="tell the person; do not look for another way",
    ),
    on(413).raises(
        "too_large", "NocoDB doesn't accept files or requests of this size.", hint=NO_RETRY
    ),
    on(400, when=lambda answer: "Upload not allowed" in _read_body(answer)[1]).raises(
        "nocodb_forbidden",
        "Ponte's NocoDB user doesn't have permission to upload files. Give it the Editor role in "
        "NocoDB.",
        hint="tell the person; do not look for another way",
    ),
    on(429).raises(
        "nocodb_busy",
        "NocoDB is busy. Try again in {time}.",
        retry=True,
        values=lambda answer: {"seconds": round(seconds_to_wait(answer))},
    ),
    on(SERVER_ERRORS).raises(
        "nocodb_failed",
        "NocoDB failed (status {status}). Try again in a minute. If the problem continues, "
        "contact the person who runs Ponte.",
        hint=error_text,
        retry=True,
        outcome_unknown=True,
        values=lambda answer: {"status": answer.status},
    ),
    # An older NocoDB has no such route (NOT_FOUND). Another server answers without NocoDB's code.
    on(
        HttpAnswer,
        when=lambda answer: error_reason(answer) == "NOT_FOUND" or not any(_read_body(answer)),
    ).raises(
        "nocodb_missing",
        "NocoDB's API v3 wasn't found at this URL. Check NOCODB_URL, and make sure that NocoDB "
        "is version 0.301, 2026.04 or newer.",
    ),
    on(HttpAnswer, when=_has_reason("ERR_RECORD_NOT_FOUND")).raises(
        "not_found",
        "Row {id} not found in this table.",
        values=lambda answer: {
            "id": withhold_secrets(_find_in_text(answer, _RECORD)) or "of that id"
        },
    ),
    on(HttpAnswer, when=_has_reason("ERR_TABLE_NOT_FOUND")).raises(
        "unknown_table", "This table no longer exists in NocoDB.", hint=_LOOK_AGAIN
    ),
    on(HttpAnswer, when=_has_reason("ERR_BASE_NOT_FOUND")).raises(
        "wrong_base",
        "NocoDB has no base with this ID. Check the NOCODB_BASE_ID setting.",
        hint=NO_RETRY,
    ),
    on(HttpAnswer, when=_has_reason("ERR_FIELD_NOT_FOUND")).raises(
        "unknown_field", "This field no longer exists in NocoDB.", hint=_LOOK_AGAIN
    ),
    on(HttpAnswer, when=_has_reason("ERR_INVALID_FILTER", "ERR_FILTER_VERIFICATION_FAILED")).raises(
        "bad_filter", "NocoDB rejected the filter.", hint=error_text
    ),
    on(HttpAnswer, when=_has_reason("ERR_INVALID_VALUE_FOR_FIELD")).raises(
        "bad_value", "NocoDB rejected a value.", hint=error_text
    ),
    on(HttpAnswer, when=_has_reason("ERR_INVALID_PK_VALUE")).raises(
        "not_found", "That isn't a valid row ID for this table.", hint=error_text
    ),
    on(HttpAnswer, when=_has_reason("ERR_INVALID_OFFSET_VALUE")).raises(
        "bad_page", "Page not found.", hint="ask for an earlier page"
    ),
    on(HttpAnswer).raises("bad_call", "NocoDB rejected the request.", hint=error_text),
    on().raises(
        "nocodb_unreadable",
        "NocoDB sent an unreadable response. Check that NOCODB_URL is the URL of NocoDB itself.",
        outcome_unknown=True,
    ),
)


def explain_nocodb_error(error: HttpError) -> NocoError:
    problem = NOCODB_ERRORS.explain(error)
    # A proxy answers with these statuses, so the body has no code of NocoDB.
    if isinstance(error, HttpAnswer) and error.status not in AWAY_STATUSES:
        problem.reason = error_reason(error)
    return problem


def unreadable_answer() -> NocoError:
    return explain_nocodb_error(HttpUnreadable("not as documented"))


def seconds_before_read_retry(error: HttpError, pause: float) -> float | None:
    """NocoDB's own Retry-After counts, and `pause` otherwise."""
    if isinstance(error, HttpAnswer) and error.status == 429:
        return seconds_before_write_retry(error, pause)
    return pause if NOCODB_ERRORS.find(error).retry else None


def seconds_before_write_retry(error: HttpError, pause: float) -> float | None:
    """A write is repeated only after a 429: then NocoDB did nothing. After any other failure it
    may have written the rows. If NocoDB asks for more than `NOCODB_DEFAULT_WAIT_SECONDS`, nobody
    waits."""
    if not isinstance(error, HttpAnswer) or error.status != 429:
        return None
    seconds = seconds_to_wait(error)
    return max(pause, seconds) if seconds <= NOCODB_DEFAULT_WAIT_SECONDS else None
