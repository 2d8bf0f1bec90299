"""What StackSpot says with a status other than 2xx. Its texts are from outside, and opaque.

Errors are `{"type", "code", "details"}` where they are documented
(https://ai.stackspot.com/docs/quick-commands/create-remote-qc); the token's are OAuth's
`{"error", "error_description"}` (RFC 6749, section 5.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from core.http import HttpAnswer
from core.retry_after import retry_after
from core.text import one_line
from core.tools.remote import cleaned
from core.tools.stackspot.request import Kind

GATEWAY = (502, 504)
"""A gateway lost the answer of the server behind it (RFC 9110, sections 15.6.3 and 15.6.5)."""
LONGEST_WAIT = 60.0
"""Seconds of a Retry-After that are kept to."""
_RATE_CODE = "RATE_LIMIT_EXCEEDED"
_WINDOW = re.compile(r"(?:limit is (\d+) requests )?in the last (\d+) minutes?")
_SOON = 5
"""Minutes: a limit over so short a time is worth a wait."""
_LONGEST = 200

_CREDENTIALS = (
    "StackSpot refuses our credentials. The operator must check STACKSPOT_CLIENT_ID and "
    "STACKSPOT_CLIENT_SECRET, and that they belong to the realm {subject}."
)
_REALM = (
    "StackSpot has no realm {subject}. The operator must set STACKSPOT_REALM to the name that "
    "the portal shows beside the credentials."
)
_NOT_TAKEN = (
    "StackSpot refuses the token that it has just given us. Please try again in a minute; "
    "if it goes on, the operator must check STACKSPOT_REALM and the credentials' roles."
)
_NO_COMMAND = (
    "StackSpot knows no quick command `{subject}` for our account. "
    "Check its name; the operator can see the right one in the portal."
)
_NO_AGENT = "StackSpot knows no agent {subject} for our account. Check its id."
_NO_RUN = "StackSpot no longer knows this run of the quick command."
_NOT_ALLOWED = (
    "StackSpot does not let our account do that ({details}). "
    "The operator must check the roles of the credentials."
)
_BAD_INPUT = "StackSpot does not accept what was sent for {subject} ({details})."
_PROXY = (
    "The proxy does not let us through to StackSpot (status 407). "
    "The operator must check the name and password in HTTPS_PROXY or HTTP_PROXY."
)
_MISPLACED = (
    "There is no StackSpot at the address that is set (status {status}). The operator must check "
    "STACKSPOT_AUTH_URL, STACKSPOT_API_URL and STACKSPOT_AGENT_URL."
)
_DAILY = (
    "StackSpot's limit for our account is reached ({details}). It opens again by itself; "
    "the operator can have it raised."
)
_BUSY = "StackSpot has too many requests from us just now. Please try again in a minute."
_FAILING = "StackSpot is not well (status {status}). Please try again in a minute."

_NOT_FOUND: dict[Kind, tuple[str, str]] = {
    "token": (_REALM, "wrong_realm"),
    "create": (_NO_COMMAND, "unknown_command"),
    "agent": (_NO_AGENT, "unknown_agent"),
    "status": (_NO_RUN, "unknown_run"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """An error's English sentence, its code, and what the sentence needs.

    `after`: seconds that StackSpot asks us to wait.
    """

    sentence: str
    code: str
    unsure: bool = False
    passing: bool = False
    after: float = 0.0
    values: Mapping[str, object] = field(default_factory=dict)


def told_of(answer: HttpAnswer, kind: Kind) -> Told:
    """What this refusal of a request of that kind means."""
    return replace(_told(answer, kind), after=wait_of(answer))


def _told(answer: HttpAnswer, kind: Kind) -> Told:
    status = answer.status
    if status == 429:
        return _too_many(answer)
    if status == 408 or status >= 500:
        values = {"status": status}
        return Told(_FAILING, "down", unsure=status in GATEWAY, passing=True, values=values)
    if kind == "token" and status in (400, 401):
        return Told(_CREDENTIALS, "bad_credentials")
    if status == 401:
        return Told(_NOT_TAKEN, "refused")
    if status == 404:
        return Told(*_NOT_FOUND[kind])
    if status == 403:
        return Told(_NOT_ALLOWED, "not_allowed", values={"details": details_of(answer)})
    if status == 407:
        return Told(_PROXY, "proxy")
    if status < 400 or status == 405:
        return Told(_MISPLACED, "misplaced", values={"status": status})
    return Told(_BAD_INPUT, "bad_input", values={"details": details_of(answer)})


def _too_many(answer: HttpAnswer) -> Told:
    if is_daily(answer):
        return Told(_DAILY, "limit", values={"details": details_of(answer)})
    return Told(_BUSY, "busy", passing=True)


def is_daily(answer: HttpAnswer) -> bool:
    """Whether a 429 is of a limit that no wait of ours outlasts.

    A day's says "Your limit is 100 requests in the last 1440 minutes".
    """
    if window := _WINDOW.search(answer.text):
        return int(window[2]) > _SOON
    return _RATE_CODE in answer.text


def wait_of(answer: HttpAnswer) -> float:
    """Seconds that StackSpot asks us to wait, 0 to 60; 0 where it does not."""
    return min(retry_after(answer.headers) or 0.0, LONGEST_WAIT)


def details_of(answer: HttpAnswer) -> str:
    """Status, code and details in one line: without addresses, and nothing like a token."""
    body = answer.json
    told = [f"status {answer.status}"]
    if isinstance(body, Mapping):
        found = [body.get("code") or body.get("error"), body.get("details") or body.get("message")]
        told += [each for each in found if isinstance(each, str) and each]
    line = one_line(": ".join(told))
    return cleaned(line)[:_LONGEST]
