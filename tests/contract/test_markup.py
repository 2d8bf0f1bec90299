"""What a model writes reads alike on every surface: the page, the terminal, a pipe, Slack, Discord
and the files of a table."""

from __future__ import annotations

import re

import pytest

from adapters.discord.render import to_discord
from adapters.slack.render import safe_markdown, settled_length
from adapters.slack.render import to_plain_text as to_notification
from adapters.terminal.screen import render_markdown
from adapters.web.page.render import find_tables, to_html
from core.base.markdown import to_plain_text

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def draw(text: str) -> str:
    """What a terminal shows, without colours."""
    return ANSI.sub("", render_markdown(text))


def convert_markdown(text: str) -> str:
    return to_discord(text).text


CELL = "| a | b |\n|---|---|\n| Line one{}Line two | `x<br>y` |\n| last | row |"


@pytest.mark.parametrize("tag", ["<br>", "<br/>", "<BR />"])
def test_a_break_in_a_cell_is_no_tag(tag: str) -> None:
    table = CELL.format(tag)
    assert "Line one<br>Line two</td>" in re.sub(r"<br>\n", "<br>", to_html(table))
    assert "x&lt;br&gt;y" in to_html(table)
    ((columns, rows, _),) = find_tables(table)
    assert ([each.title for each in columns], rows[0]) == (
        ["a", "b"],
        ["Line one\nLine two", "x<br>y"],
    )
    lines = [line.split() for line in draw(table).split("\n")]
    assert any(line[:2] == ["Line", "one"] for line in lines)
    assert any(line[:2] == ["Line", "two"] for line in lines)
    for words in (
        safe_markdown(table),
        to_notification(table),
        convert_markdown(table),
        to_plain_text(table),
    ):
        assert "Line one Line two" in words
        assert tag not in words.replace("x<br>y", "")


@pytest.mark.parametrize("tag", ["<br>", "<br/>", "<BR />"])
def test_a_break_in_prose_is_a_line(tag: str) -> None:
    text = f"Line one{tag}Line two, `a{tag}b`"
    assert re.sub("<br>\n?", "\n", to_html(text)).startswith('<p dir="auto">Line one\nLine two')
    assert to_plain_text(text).startswith("Line one Line two, a<")
    for words in (safe_markdown(text), convert_markdown(text), draw(text)):
        assert words.split("\n")[0].rstrip() == "Line one"
        assert f"a{tag}b" in words
    block = f"```html\n{text}\n```"
    for words in (safe_markdown(block), convert_markdown(block), draw(block)):
        assert f"Line one{tag}Line two" in words


@pytest.mark.parametrize(
    ("text", "lists"),
    [
        ("1. a\n  - b\n    - c\n  - d\n2. e", "<ol><ul><ul></ul></ul></ol>"),
        ("1. a\n  - b\n\n  more\n2. e", "<ol><ul></ul></ol>"),
        ("9. a\n  1. b\n    - c\n10. e", '<ol start="9"><ol><ul></ul></ol></ol>'),
        ("10. a\n   - b\n11. e", '<ol start="10"><ul></ul></ol>'),
        ("- a\n  - b\n- c", "<ul><ul></ul></ul>"),
    ],
)
def test_items_below_a_numbered_one_are_part_of_one_list(text: str, lists: str) -> None:
    assert "".join(re.findall(r"</?[ou]l[^>]*>", to_html(text))) == lists
    views = [line.split() for line in draw(text).split("\n") if line.split()]
    if not text.startswith("-"):
        first = int(text.partition(".")[0])
        assert next(line[0] for line in views if line[0].isdigit()) == str(first)
        assert str(first + 1) in [line[0] for line in views]


def test_lists_in_code_stay() -> None:
    text = "```\n1. a\n  - b **「x」**で\n```\n`**「x」**で`"
    assert safe_markdown(text) == text
    assert "  - b **「x」**で" in to_html(text)
    assert "<code>**「x」**で</code>" in to_html(text)


@pytest.mark.parametrize("end", range(len("1. one\n  - two three\n  - four")))
def test_a_growing_list_on_slack_only_grows(end: int) -> None:
    text = "1. one\n  - two three\n  - four"
    assert safe_markdown(text).startswith(safe_markdown(text[: settled_length(text[:end])]))


@pytest.mark.parametrize(
    ("text", "bold"),
    [
        ("これは**「重要」**です", "「重要」"),
        ("**「重要」**です", "「重要」"),
        ("한**(국)**어", "(국)"),
        ("请**“注意”**安全", "“注意”"),
        ("**a**「b」**重要**。", "重要"),
        ("*x* **重要。**次", "重要。"),
    ],
)
def test_stress_beside_ideographs(text: str, bold: str) -> None:
    assert f"<strong>{bold}</strong>" in to_html(text)
    assert "*" not in draw(text)
    assert "\u200a" not in draw(text) + to_html(text)
    assert re.search(rf"(^|[\s\W])\*\*{re.escape(bold)}\*\*($|[\s\W])", safe_markdown(text))
    assert f"**{bold}**" in convert_markdown(text)
