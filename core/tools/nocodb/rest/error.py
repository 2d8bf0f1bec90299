"""What went wrong at NocoDB, worded for who must act.

NocoDB tells `{"error": CODE, "message": TEXT}`, older parts of it `{"msg": TEXT}`
(https://nocodb.com/docs/apis/errors, and as 0.301.3 answers). Most things that are missing are 422.
Texts are from outside and may hold what stands in cells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from core.http import HttpAnswer, HttpDown, HttpError, HttpTimeout, HttpTooLarge
from core.retry_after import retry_after
from core.tools.remote import AWAY, RemoteError, cleaned

BUSY = 30.0
"""Seconds to wait where NocoDB does not say how long (its cloud asks for 30)."""

DRIFT = frozenset({"ERR_FIELD_NOT_FOUND", "ERR_TABLE_NOT_FOUND", "ERR_INVALID_FILTER"})
"""What NocoDB says where the schema that we know is no longer so."""

_ROLE = re.compile(r"with the roles?: ([\w -]{1,40})")
_RECORD = re.compile(r"[Rr]ecord '([^']{1,64})' not found")


class NocoError(RemoteError):
    """`reason` is NocoDB's own code ("" where it told none).

    Codes: nocodb_token, nocodb_forbidden, not_found, unknown_table, unknown_field, renamed,
    bad_filter, bad_value, bad_page, bad_call, wrong_base, no_base, several_bases, nocodb_missing,
    nocodb_busy, nocodb_down, nocodb_silent, nocodb_failed, nocodb_unreadable, too_large.
    """

    reason = ""

    @property
    def drift(self) -> bool:
        return self.reason in DRIFT


def worded(error: HttpError) -> NocoError:
    """The error of a call, in words, without addresses and without what was sent."""
    if isinstance(error, HttpAnswer):
        return _answered(error)
    if isinstance(error, HttpDown):
        return _down(unsure=error.sent)
    if isinstance(error, HttpTimeout):
        return NocoError(
            "NocoDB did not answer in time. Please try again in a minute.",
            code="nocodb_silent", hint="ask for fewer rows or fields", unsure=error.sent,
        )  # fmt: skip
    if isinstance(error, HttpTooLarge):
        return NocoError(
            "The answer of NocoDB is too large.",
            code="too_large", hint="ask for fewer rows or fields", unsure=True,
        )  # fmt: skip
    return unreadable()


def unreadable() -> NocoError:
    return NocoError(
        "NocoDB answered something that I cannot read. "
        "The operator must check that NOCODB_URL is NocoDB's own address.",
        code="nocodb_unreadable", unsure=True,
    )  # fmt: skip


def wait_of(error: HttpError, pause: float) -> float | None:
    """Seconds until a read may be asked again: `pause`, or as NocoDB says; None for never."""
    if isinstance(error, HttpAnswer):
        if error.status == 429:
            return busy_wait(error, pause)
        return pause if error.status >= 500 else None
    return pause if isinstance(error, HttpDown) else None


def busy_wait(error: HttpError, pause: float) -> float | None:
    """Seconds, where NocoDB has put the call off: nothing was done, a write may be sent again."""
    if not isinstance(error, HttpAnswer) or error.status != 429:
        return None
    seconds = _asked_wait(error)
    return max(pause, seconds) if seconds <= BUSY else None


def _asked_wait(answer: HttpAnswer) -> float:
    """Seconds; `BUSY` where NocoDB does not tell."""
    told = retry_after(answer.headers)
    return BUSY if told is None else told


def _down(*, unsure: bool) -> NocoError:
    return NocoError(
        "NocoDB cannot be reached. Please try again in a minute; "
        "if it goes on, the operator must check NOCODB_URL and that NocoDB runs.",
        code="nocodb_down", unsure=unsure,
    )  # fmt: skip


def _answered(answer: HttpAnswer) -> NocoError:
    reason, text = _told(answer)
    error = _by_status(answer, reason, text)
    error.reason = reason
    return error


def _told(answer: HttpAnswer) -> tuple[str, str]:
    """NocoDB's code and text."""
    body = answer.json
    if not isinstance(body, Mapping):
        return "", ""
    reason = body.get("error")
    texts = (body.get(name) for name in ("message", "msg"))
    text = next((text for text in texts if isinstance(text, str)), "")
    return (reason if isinstance(reason, str) else ""), text


def _by_status(answer: HttpAnswer, reason: str, text: str) -> NocoError:
    if answer.status == 401:
        return NocoError(
            "NocoDB does not accept the token. The operator must check NOCODB_TOKEN.",
            code="nocodb_token", hint="tell the person; trying again is of no use",
        )  # fmt: skip
    if answer.status == 403:
        return _forbidden(text)
    if answer.status == 429:
        return NocoError(
            "NocoDB has too much to do. Please try again in {seconds} s.",
            code="nocodb_busy", seconds=round(_asked_wait(answer)),
        )  # fmt: skip
    if answer.status in AWAY:
        return _down(unsure=True)
    if answer.status >= 500:
        return NocoError(
            "NocoDB failed on its own side (status {status}). Please try again in a minute; "
            "if it goes on, tell the operator.",
            code="nocodb_failed", hint=cleaned(text), unsure=True, status=answer.status,
        )  # fmt: skip
    if reason == "NOT_FOUND" or not (reason or text):
        return NocoError(
            "There is no NocoDB with the API that I speak (v3) at the address that is set. "
            "The operator must check NOCODB_URL, and that NocoDB is 0.301 or newer.",
            code="nocodb_missing",
        )  # fmt: skip
    return _refused(reason, text)


def _forbidden(text: str) -> NocoError:
    role = _ROLE.search(text)
    if role is None:
        return NocoError(
            "NocoDB's user for me may not see that. "
            "The operator must invite that user to the base.",
            code="nocodb_forbidden", hint="tell the person; do not look for another way",
        )  # fmt: skip
    return NocoError(
        "NocoDB's user for me has the role {role}, which may not do that. "
        "The operator can give it the role Editor in NocoDB.",
        code="nocodb_forbidden", hint="tell the person; do not look for another way",
        role=role[1].strip().title(),
    )  # fmt: skip


_REFUSALS: Mapping[str, tuple[str, str, str]] = {
    "ERR_TABLE_NOT_FOUND": (
        "unknown_table", "NocoDB has that table no longer.", "look at nocodb_tables again",
    ),
    "ERR_BASE_NOT_FOUND": (
        "wrong_base",
        "NocoDB has no base with the id that is set. The operator must check NOCODB_BASE_ID.",
        "tell the person; trying again is of no use",
    ),
    "ERR_FIELD_NOT_FOUND": (
        "unknown_field", "NocoDB has that field no longer.", "look at nocodb_tables again",
    ),
    "ERR_INVALID_FILTER": ("bad_filter", "NocoDB does not accept that filter.", ""),
    "ERR_FILTER_VERIFICATION_FAILED": ("bad_filter", "NocoDB does not accept that filter.", ""),
    "ERR_INVALID_VALUE_FOR_FIELD": ("bad_value", "NocoDB does not accept a value.", ""),
    "ERR_INVALID_PK_VALUE": ("not_found", "A row of that table cannot have such an id.", ""),
    "ERR_INVALID_OFFSET_VALUE": ("bad_page", "There is no such page.", "ask for an earlier page"),
}  # fmt: skip
"""NocoDB's code → ours, the sentence, the hint ("": NocoDB's own words)."""


def _refused(reason: str, text: str) -> NocoError:
    if reason == "ERR_RECORD_NOT_FOUND":
        record = _RECORD.search(text)
        return NocoError(
            "There is no row {id} in that table.",
            code="not_found", id=cleaned(record[1]) if record else "of that id",
        )  # fmt: skip
    code, sentence, hint = _REFUSALS.get(
        reason, ("bad_call", "NocoDB does not accept that call.", "")
    )
    return NocoError(sentence, code=code, hint=hint or cleaned(text))
