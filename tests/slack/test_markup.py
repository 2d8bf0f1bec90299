"""Text to Slack and back."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.slack.render import (
    ANSWER_PART_BYTES,
    card_text,
    escape_text,
    safe_markdown,
    settled_length,
    split_answer,
    to_plain_text,
    to_readable,
)
from core.base.markdown import escape_cell, escape_markdown
from core.domain.messages import Card

PIECES = st.lists(
    st.sampled_from(
        [
            "word",
            " ",
            "\n",
            "`",
            "```",
            "\n```\n",
            "[a](https://x.y/z)",
            "![i](https://e.v)",
            "<!channel>",
            "<@U1>",
            "<https://a.b|c>",
            "[",
            "]",
            "(",
            ")",
            "!",
            "@here",
            "**",
            "&",
            "<",
            "| a | b |\n|---|---|\n",
            "https://q.r/s",
        ]
    ),
    max_size=30,
)


@pytest.mark.parametrize(
    "text",
    [
        "<!channel>",
        "<!here>",
        "<!everyone>",
        "<!subteam^S1>",
        "<@U1>",
        "<@W1|x>",
        "`<!here>`",
        "```\n<!channel>\n```",
        "[<@U1>](https://x.y)",
        "@channel",
        "@here!",
        "<!HERE>",
    ],
)
def test_nobody_is_notified(text: str) -> None:
    for posts in (safe_markdown(text), escape_text(text), to_plain_text(text)):
        for mark in ("<!", "<@", "@channel", "@here"):
            assert mark not in posts


@pytest.mark.parametrize(
    ("text", "posted"),
    [
        ("**b** _i_ `c` # h", "**b** _i_ `c` # h"),
        ("| a |\n|---|\n| 1 |", "| a |\n|---|\n| 1 |"),
        ("[a](https://x.y/z)", "[a](https://x.y/z)"),
        ("![logo](https://e.v/p.png?d=secret)", "[logo](https://e.v/p.png?d=secret)"),
        ("[a](javascript:alert)", "a (`javascript:alert`)"),
        ("[a](https://[x.y/z)", "a (`https://[x.y/z`)"),
        ("<https://x.y|Your bank>", "<https://x.y>"),
        ("`[a](javascript:b)`", "`[a](javascript:b)`"),
        ("```\n<b>&</b>\n```", "```\n<b>&</b>\n```"),
        ("a < b && c > d", "a < b && c > d"),
        (
            "[a](https://x.y/@here/z) https://x.y/@here",
            "[a](https://x.y/%40here/z) https://x.y/%40here",
        ),
        ("to ana@here.com", "to ana@here.com"),
    ],
)
def test_markdown_stays_and_forgeries_go(text: str, posted: str) -> None:
    assert safe_markdown(text) == posted


@given(PIECES)
def test_what_was_streamed_stays_as_it_is(pieces: list[str]) -> None:
    """Each prefix that is shown is a prefix of what is shown later; outside code at least."""
    text = "".join(pieces)
    if "`" in text:
        return
    for end in range(len(text) + 1):
        view = safe_markdown(text[:end][: settled_length(text[:end])])
        assert safe_markdown(text).startswith(view)


@given(st.text(max_size=200))
def test_settled_is_within_the_text(text: str) -> None:
    assert 0 <= settled_length(text) <= len(text)


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("<@U0BOT> hi", "hi"),
        ("<@U0BOT>: <@U0BOT|ponte> hi <@U0BOT>", "hi"),
        ("ask <@U1> in <#C1|general>", "ask @Ann in #general"),
        ("<https://x.y/z|docs> <https://x.y>", "docs (https://x.y/z) https://x.y"),
        ("<mailto:a@b.c|a@b.c>", "a@b.c"),
        ("<!here> <!subteam^S1|@team> &lt;b&gt; &amp;", "@here @team <b> &"),
    ],
)
def test_a_message_is_read_as_people_read_it(said: str, read: str) -> None:
    assert to_readable(said, {"U1": "Ann"}, "U0BOT") == read


def test_a_row_with_breaks_between_code_stays_one_line() -> None:
    row = "| a |\n|---|\n| `x`<br>`y` |\n\nb<br>c"
    assert safe_markdown(row) == "| a |\n|---|\n| `x` `y` |\n\nb\nc"


def test_plain_text_has_no_marks_and_fits() -> None:
    text = "# Title\n\n**bold** and _it_ `code` snake_case [docs](https://x.y)\n\n```py\nx = 1\n```"
    assert to_plain_text(text) == ("Title\n\nbold and it `code` snake_case docs\n\n```\nx = 1\n```")
    assert to_plain_text("use `pd.DataFrame`") == "use `pd.DataFrame`"
    assert "evil.example" not in to_plain_text(f"`evil.example/?d=1` {'a' * 300}", 300), (
        "may be cut"
    )
    assert len(to_plain_text("word " * 5000)) <= 3000
    name = "line_items #7 [x]*y* `z` ~a~ \\b | c"
    assert to_plain_text(f"Paid: {escape_markdown(name)}") == f"Paid: {name}"
    assert to_plain_text(f"Paid: {escape_cell(name)}") == f"Paid: {name}"
    for name in ("__init__.py", "[a](b)", "a*b*c", "*"):
        assert to_plain_text(f"Paid: {escape_markdown(name)}") == f"Paid: {name}"
    joined = html.unescape(to_plain_text("http\\://evil.example and http:/*/*evil.example"))
    assert "http://evil.example" not in joined
    name = "line_items #7 [x]*y* `z` ~a~ \\b | c"
    assert card_text(Card("abc234", "proposal", name, f"For {name}.")) == f"{name}\nFor {name}."
    assert to_plain_text("") == "…"


def test_a_part_that_grows_a_little_when_it_is_rendered_becomes_two() -> None:
    text = "@here " * (ANSWER_PART_BYTES // 6)
    assert len(split_answer(text)) == 2


def test_a_number_of_thousands_of_digits_is_no_entity() -> None:
    assert to_readable("&#" + "1" * 5000 + "; &amp;", {}, "U1") == "&#" + "1" * 5000 + "; &"
