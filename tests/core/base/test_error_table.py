"""A failed request is looked up in its service's table of errors."""

from __future__ import annotations

from typing import Any

import pytest

from core.base.errors import NoQuota, PlatformBusy
from core.base.http import HttpAnswer, HttpDown, HttpError, HttpTimeout
from core.base.model_faults import ModelServerFault
from core.base.remote_errors import SERVER_ERRORS, ErrorTable, RemoteError, on, was_sent
from core.models import model_server as server
from core.tools.code.hosted import HOSTED_ERRORS
from core.tools.nocodb import api_errors, bridge_api
from core.tools.stackspot import api as stackspot

TABLES: list[ErrorTable[Any]] = [*stackspot.STACKSPOT_ERRORS.values(), api_errors.NOCODB_ERRORS]
TABLES += [bridge_api.BRIDGE_ERRORS]
TABLES_OF_FAULTS: list[ErrorTable[Any]] = [HOSTED_ERRORS, server.MODEL_ERRORS]


def answer(status: int, body: str = "") -> HttpAnswer:
    return HttpAnswer(status, {}, body.encode())


ERRORS = ErrorTable(
    RemoteError,
    on(429, when=lambda error: "a day" in error.text).raises("limit", "No more of {what} today."),
    on(429).raises("busy", "Busy.", retry=True, hint="ask for less of {what}"),
    on(401, 403).raises("refused", "Refused ({status}).", values=lambda e: {"status": e.status}),
    on(402).raises(NoQuota),
    on(SERVER_ERRORS).raises("down", "Down.", outcome_unknown=True, hint=lambda e: e.text),
    on(HttpDown, HttpTimeout).raises("down", "Away.", outcome_unknown=was_sent),
    on("lost").raises("lost", "Lost."),
    on().raises("other", "Something else."),
)


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (answer(429, "5 a day"), "limit", "No more of rows today."),
        (answer(429), "busy", "Busy."),
        (answer(403), "refused", "Refused (403)."),
        (answer(402), "no_quota", NoQuota.sentence),
        (answer(503), "down", "Down."),
        (HttpTimeout("ReadTimeout"), "down", "Away."),
        (ModelServerFault("lost"), "lost", "Lost."),
        (ModelServerFault("broken"), "other", "Something else."),
        (answer(404), "other", "Something else."),
    ],
)
def test_the_first_row_that_matches_counts(failure: Exception, code: str, words: str) -> None:
    error = ERRORS.explain(failure, what="rows")
    assert (error.code, error.sentence.format(**error.values)) == (code, words)


def test_a_row_sets_whether_a_failure_passes_is_unsure_and_its_hint() -> None:
    busy, down = ERRORS.explain(answer(429), what="rows"), ERRORS.explain(answer(500, "it broke"))
    assert (busy.passing, busy.unsure, busy.hint) == (True, False, "ask for less of rows")
    assert (down.passing, down.unsure, down.hint) == (False, True, "it broke")
    assert ERRORS.explain(HttpDown("ReadError")).unsure
    assert not ERRORS.explain(HttpDown("ConnectError", sent=False)).unsure


def test_every_table_has_a_row_for_what_nobody_foresaw() -> None:
    assert all(table.find(HttpError("odd")) for table in TABLES)
    assert all(table.find(ModelServerFault("broken")) for table in TABLES_OF_FAULTS)


def test_a_log_has_the_values_of_an_error() -> None:
    assert repr(PlatformBusy(5)) == "PlatformBusy('The platform asks me to wait 5 s.')"
