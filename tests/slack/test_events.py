"""Whose event it is, and what a message says."""

from __future__ import annotations

import pytest

from adapters.slack.events import author_home, files_of, forwarded_messages, home_of, text_of
from tests.fakes.slack import Json

OURS, OTHER, GRID = "T1", "T9", "E5"
HOMES: list[tuple[list[object], list[object], str]] = [
    ([OURS], [OURS], OURS),
    ([], [OURS], OURS),
    ([OURS], [], OURS),
    ([OTHER], [OURS], OTHER),
    ([OTHER], [OTHER], OTHER),
    ([OURS, OTHER], [OURS], ""),
    ([OURS], [OTHER], ""),
    ([], [OTHER], ""),
    ([], [OURS, OTHER], ""),
    ([], [], ""),
    ([GRID, OURS], [OURS, GRID], OURS),
    ([None, ""], [OURS, None], OURS),
]


@pytest.mark.parametrize(("persons", "places", "expected"), HOMES)
def test_ours_is_only_who_is_ours_by_all_that_is_told(
    persons: list[object], places: list[object], expected: str
) -> None:
    assert home_of(OURS, persons, places) == expected


@pytest.mark.parametrize("external", [True, False])
def test_in_a_shared_channel_the_envelope_may_be_another_companys(external: bool) -> None:
    body = {
        "team_id": OTHER,
        "is_ext_shared_channel": external,
        "authorizations": [{"team_id": OURS}],
    }
    assert author_home(OURS, body, {"team": OURS}) == (OURS if external else "")


SAID: list[tuple[Json, str]] = [
    ({"text": "hello"}, "hello"),
    ({"text": "hello", "blocks": [{"type": "section", "text": {"text": "longer than that"}}]},
     "hello"),
    ({"text": "hi", "bot_id": "B1",
      "blocks": [{"type": "section", "text": {"text": "longer than that"}}]}, "longer than that"),
    ({"text": "", "blocks": [{"type": "context", "elements": [
        {"type": "image", "alt_text": "a plot"}, {"type": "mrkdwn", "text": "by CI"}]}]},
     "a plot\nby CI"),
    ({"blocks": [{"type": "table", "rows": [[{"type": "raw_text", "text": "a"},
                                             {"type": "raw_text", "text": "b"}]]}]}, "a | b"),
    ({"blocks": [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
        {"type": "user", "user_id": "U1"}, {"type": "text", "text": " <b> "},
        {"type": "emoji", "name": "wave"}, {"type": "channel", "channel_id": "C1"},
        {"type": "color", "value": "#F405B3"}]}]}]},
     "<@U1> &lt;b&gt; :wave:<#C1>#F405B3"),
    ({"blocks": [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
        {"type": "link", "url": "https://e.example/?a=1&b=2", "text": "a <b>"},
        {"type": "link", "url": "https://e.example/> <@U1|Bob>"},
        {"type": "emoji", "name": "wave: <@U2>"}]}]}]},
     "<https://e.example/?a=1&amp;b=2|a &lt;b&gt;><https://e.example/&gt; &lt;@U1%7CBob&gt;>"
     ":wave: &lt;@U2&gt;:"),
    ({"attachments": [{"fallback": "only this"}]}, "only this"),
    ({"attachments": [{"blocks": [{"type": "header", "text": {"text": "Alert"}}],
                       "fallback": "no"}]}, "Alert"),
    ({"text": "x", "attachments": [{"from_url": "https://e.example", "title": "preview"}]}, "x"),
    ({"blocks": "nonsense", "attachments": {"a": 1}, "text": None}, ""),
    ({"blocks": [None, {"type": "actions", "elements": [{"text": {"text": "Press"}}]}]}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), SAID)
def test_what_a_message_says(message: Json, expected: str) -> None:
    assert text_of(message) == expected


def test_what_is_forwarded_is_told_apart() -> None:
    message: Json = {
        "text": "see",
        "attachments": [{"is_share": True, "author_id": "U1", "text": "shared"}, {"text": "alert"}],
    }
    assert text_of(message) == "see\nalert"
    assert [(who, what) for who, what, _ in forwarded_messages(message)] == [("U1", "shared")]


def test_files_that_are_gone_are_none() -> None:
    text: Json = {
        "files": [
            {"id": "F1", "mode": "tombstone"},
            {"id": "F2", "mode": "file_access"},
            {"name": "no id"},
        ]
    }
    assert [(file.name, file.reference) for file in files_of(text)] == [("F2", "F2")]
