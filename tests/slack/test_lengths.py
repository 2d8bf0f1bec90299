"""How long what we post may be: never longer than Slack takes, and nothing torn."""

from __future__ import annotations

import html

from hypothesis import given
from hypothesis import strategies as st

from adapters.slack.render import blocks_size, cut_escaped, cut_unescaped, escaped_size
from tests.fakes.slack import Json, blocks

TEXT = st.text(st.sampled_from("ab <>&;漢é👩\u200d🔧🇧🇷\n"), max_size=300)


@given(TEXT, st.integers(8, 400))
def test_what_is_cut_fits_and_tears_no_entity(text: str, limit: int) -> None:
    escape = html.escape(text, quote=False)
    short = cut_escaped(escape, limit)
    assert len(short.encode()) <= limit
    assert html.escape(html.unescape(short), quote=False) == short
    assert short == escape or short.endswith("…")


@given(TEXT, st.integers(8, 400))
def test_what_is_fitted_fits_once_it_is_escaped(text: str, limit: int) -> None:
    short = cut_unescaped(text, limit)
    assert escaped_size(short) <= limit
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


@given(TEXT)
def test_the_double_counts_no_more_than_we_do(text: str) -> None:
    assert blocks.size(text) <= escaped_size(text)
    section = {"type": "section", "text": {"type": "mrkdwn", "text": html.escape(text)}}
    both: list[Json] = [{"type": "markdown", "text": text}, section]
    assert blocks.weight(both) <= blocks_size(both)
