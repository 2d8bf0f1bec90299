"""What went wrong at the bridge, worded for who must act.

The bridge tells every failure of its own as status 500 with `{"detail": text}`, whatever it was:
"404: 404 Client Error: Not Found for url: …", "400: Unknown tool: x", or a Python TypeError's text.
A malformed body is 422 with a list. Texts are from outside and may hold addresses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.http import HttpAnswer, HttpDown, HttpError, HttpTimeout, HttpTooLarge
from core.tools.bridge.catalogue import CATALOGUE
from core.tools.remote import AWAY, RemoteError, cleaned

_STATUS = re.compile(r"(?P<status>\d{3}): ")
_SIGNATURE = re.compile(
    r"\b\w+\(\) ((?:got an unexpected|missing \d+ required|takes \d+ positional).*)"
)


class BridgeError(RemoteError):
    """The bridge, or the NocoDB behind it, did not do it."""


def worded(error: HttpError, tool: str) -> BridgeError:
    """The error of a call of `tool`, in words and without addresses."""
    if isinstance(error, HttpAnswer):
        return _refused(error, tool)
    if isinstance(error, HttpDown):
        return BridgeError(
            "The NocoDB bridge cannot be reached. Please try again in a minute; "
            "if it goes on, the operator must check NOCODB_URL and that the bridge runs.",
            code="bridge_down",
            unsure=error.sent,
        )
    if isinstance(error, HttpTimeout):
        return BridgeError(
            "The NocoDB bridge did not answer in time. Please try again in a minute.",
            code="bridge_silent",
            hint="ask for fewer rows or fields",
            unsure=error.sent,
        )
    if isinstance(error, HttpTooLarge):
        return BridgeError(
            "The answer of the NocoDB bridge is too large.",
            code="too_large",
            hint="ask for fewer rows or fields",
            unsure=True,
        )
    return BridgeError(
        "The NocoDB bridge answered something that I cannot read. "
        "The operator must check that NOCODB_URL is a bridge's address.",
        code="bridge_unreadable",
        unsure=True,
    )


def _refused(answer: HttpAnswer, tool: str) -> BridgeError:
    if answer.status in (401, 403):
        return BridgeError(
            "The NocoDB bridge refuses us (status {status}). The operator must check NOCODB_TOKEN.",
            code="bridge_refused",
            status=answer.status,
        )
    if answer.status in (301, 302, 307, 308, 404, 405):
        return BridgeError(
            "There is no NocoDB bridge at the address that is set. "
            "The operator must check NOCODB_URL: it ends in /execute.",
            code="bridge_missing",
        )
    if answer.status == 429:
        return BridgeError(
            "The NocoDB bridge has too much to do. Please try again in a minute.",
            code="bridge_busy",
        )
    if answer.status in AWAY:
        return worded(HttpDown("status"), tool)
    body = answer.json
    detail = body.get("detail") if isinstance(body, Mapping) else None
    if answer.status == 422:
        return _malformed(detail, tool)
    return _failed(detail if isinstance(detail, str) else "", tool)


def _malformed(detail: Any, tool: str) -> BridgeError:
    """FastAPI's list of {"loc", "msg"}."""
    told = detail if isinstance(detail, list) else []
    lines = [f"{each.get('loc')}: {each.get('msg')}" for each in told if isinstance(each, Mapping)]
    return BridgeError(
        "The NocoDB bridge found the call of {tool} malformed.",
        code="malformed",
        hint=cleaned("; ".join(lines)),
        tool=tool,
    )


def _failed(detail: str, tool: str) -> BridgeError:
    if signature := _SIGNATURE.search(detail):
        return BridgeError(
            "The arguments do not fit {tool}.",
            code="bad_arguments",
            hint=f"{CATALOGUE.get(tool, tool)}: {cleaned(signature[1])}",
            tool=tool,
        )
    if "Unknown tool" in detail:
        return BridgeError("This bridge does not know {tool}.", code="unknown_tool", tool=tool)
    if "Max retries exceeded" in detail or "ConnectionPool" in detail:
        return BridgeError(
            "The bridge does not reach its NocoDB. Please try again in a minute; "
            "if it goes on, tell the operator.",
            code="nocodb_down",
            unsure=True,
        )
    status = _STATUS.match(detail)
    return _by_nocodb(int(status["status"]) if status else 0, detail, tool)


def _by_nocodb(status: int, detail: str, tool: str) -> BridgeError:
    """NocoDB answered the bridge with `status`, 0 where the text does not tell."""
    if status == 404:
        return BridgeError(
            "This bridge cannot do {tool}: its NocoDB answers 404 (not found).",
            code="not_found",
            hint=f"check the ids; if they are right, this copy of the bridge lacks {tool}: "
            "use another tool, or say that the operator can set NOCODB_URL to NocoDB itself",
            tool=tool,
        )
    if status in (401, 403):
        return BridgeError(
            "NocoDB does not let the bridge do {tool} (status {status}). "
            "The operator must check the bridge's own token.",
            code="nocodb_refused",
            tool=tool,
            status=status,
        )
    if status in (400, 422):
        return BridgeError(
            "NocoDB does not accept the arguments of {tool}.",
            code="bad_arguments",
            hint=f"{CATALOGUE.get(tool, tool)}: {cleaned(detail)}",
            tool=tool,
        )
    if status == 429:
        return BridgeError(
            "NocoDB has too much to do. Please try again in half a minute.", code="nocodb_busy"
        )
    return BridgeError(
        "The bridge could not do {tool}.",
        code="bridge_failed",
        hint=cleaned(detail),
        unsure=True,
        tool=tool,
    )
