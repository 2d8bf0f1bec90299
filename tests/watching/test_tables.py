"""docs/guides/watching.md says what the code does: its metrics, alerts, spans and lines of log."""

from __future__ import annotations

import re

import pytest

from tests.watching import tables

PAGE = tables.PAGE.read_text()


def test_the_page_is_as_the_code_makes_it() -> None:
    for path, text in tables.updated_pages().items():
        assert path.read_text("utf-8") == text, f"{path.name}: run `make reference`"


def test_every_warning_and_error_has_its_meaning() -> None:
    documented_events = tables.known_events(tables.PAGES["events"].read_text("utf-8"))
    assert len(documented_events) > 60
    assert [name for name, words in documented_events.items() if len(words) < 20] == []


def test_a_new_line_of_log_is_found_and_what_is_said_of_the_others_stays() -> None:
    result = tables.event_rows({"inbox: could not record a turn; retrying": "kept"})
    assert "- `inbox: could not record a turn; retrying`: kept" in result
    assert "- `*: could not download a file`, `*: event failed`, " in result
    for other in ("`process: unhandled exception", "`*: ", "`web: HTTP request"):
        assert other in result


@pytest.mark.parametrize("name", ["core/observability/tracing.py", "core/turn/rounds.py"])
def test_each_span_attribute_is_documented(name: str) -> None:
    code = (tables.ROOT / name).read_text()
    matches = re.findall(r'"((?:gen_ai|ponte)\.[a-z_.]+)"', code)
    assert matches
    assert [each for each in matches if f"`{each}`" not in PAGE] == []


def test_spans_that_are_told_are_made() -> None:
    files = ("observability/tracing.py", "turn/rounds.py", "turn/manager.py")
    code = "".join((tables.ROOT / "core" / each).read_text() for each in files)
    spans = PAGE[PAGE.index("## Traces") : PAGE.index("## Alerts")]
    values = set(re.findall(r"`((?:gen_ai|ponte)\.(?!slack)[a-z_.]+)`", spans))
    assert len(values) > 15
    assert [each for each in values if f'"{each}"' not in code] == []
