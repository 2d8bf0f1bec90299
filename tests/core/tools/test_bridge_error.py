"""What the bridge answers, in words that say who must act, and whether it may have happened."""

from __future__ import annotations

import json

import pytest

from core.base.http import (
    HttpAnswer,
    HttpDown,
    HttpError,
    HttpTimeout,
    HttpTooLarge,
    HttpUnreadable,
)
from core.tools.nocodb.bridge_api import explain_bridge_error

NOT_FOUND = "404: 404 Client Error: Not Found for url: https://db.example/api/v2/tables/t/records"
DOWN = "500: HTTPConnectionPool(host='db.example', port=80): Max retries exceeded with url: /x"
FASTAPI = [{"type": "missing", "loc": ["body", "args"], "msg": "Field required"}]


def answer(status: int, detail: object = None) -> HttpAnswer:
    return HttpAnswer(status, {}, json.dumps({"detail": detail}).encode())


@pytest.mark.parametrize(
    ("error", "code", "unsure"),
    [
        (HttpDown("ConnectError", sent=False), "bridge_down", False),
        (HttpDown("ReadError"), "bridge_down", True),
        (HttpTimeout("ReadTimeout"), "bridge_silent", True),
        (HttpTooLarge("more"), "too_large", True),
        (HttpUnreadable("not JSON"), "bridge_unreadable", True),
        (answer(401), "bridge_refused", False),
        (answer(404, "Not Found"), "bridge_missing", False),
        (answer(429), "bridge_busy", False),
        (answer(502), "bridge_down", True),
        (answer(422, FASTAPI), "malformed", False),
        (answer(422, "odd"), "malformed", False),
        (answer(500, "400: Unknown tool: x"), "unknown_tool", False),
        (answer(500, NOT_FOUND), "not_found", False),
        (answer(500, DOWN), "nocodb_down", True),
        (answer(500, "403: 403 Client Error: Forbidden"), "nocodb_refused", False),
        (answer(500, "422: 422 Client Error: Unprocessable"), "bad_arguments", False),
        (answer(500, "429: 429 Client Error"), "nocodb_busy", False),
        (answer(500, "503: 503 Server Error"), "bridge_failed", True),
        (answer(500, "N.get_base() missing 1 required positional argument: 'base_id'"),
         "bad_arguments", False),
        (answer(500, ["odd"]), "bridge_failed", True),
        (HttpAnswer(500, {}, b"<html>"), "bridge_failed", True),
    ],
)  # fmt: skip
def test_each_answer_has_its_words(error: HttpError, code: str, unsure: bool) -> None:
    told = explain_bridge_error(error, "get_base")
    assert (told.code, told.unsure) == (code, unsure)
    assert str(told).endswith(".")
    assert "{" not in str(told)
    assert "db.example" not in str(told) + told.hint


def test_a_malformed_call_says_where() -> None:
    assert (
        explain_bridge_error(answer(422, FASTAPI), "get_base").hint
        == "['body', 'args']: Field required"
    )


def test_long_texts_and_tokens_do_not_pass() -> None:
    told = explain_bridge_error(
        answer(500, "boom " + "a1" * 20 + " at https://db.example/x " + "b " * 900), "x"
    )
    assert told.hint.startswith("boom (withheld) at (address) b b")
    assert len(told.hint) == 300
