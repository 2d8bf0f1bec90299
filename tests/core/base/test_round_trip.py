"""Every character that a model writes arrives on every platform.

What may differ, and nothing else: Markdown's own marks are drawn (emphasis, headings, rules,
fences, the line under a table's head, escapes); a task's box is a character on Discord; mentions
are disabled; links say where they lead (`test_markup.py` of each platform).
"""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.discord.render import paginate, to_discord
from adapters.slack.render import safe_markdown
from adapters.terminal.screen import render_markdown
from adapters.web.page.render import to_html

JOINER, SPACE = "\u2060", "\u200b"
WORDS = (
    "word", "a||b", "||", "|||", "C#", "x<y", "a&b", "50%", "2*3", "snake_case", "é日", "~5", "a|b",
    "#1", "(c)", "1.", "$5", "@name", "-#", "+1", "=", "'q'", '"', "!", "a\\\\b", ":x:", "*", "_",
)  # fmt: skip
CODES = (
    "x",
    "a|b",
    "a||b",
    "@here/maps",
    "List<@NonNull",
    "__init__",
    "2**3",
    "~~",
    "<b>",
    "&amp;",
    "#",
    "\\d",
    "-#",
    "[a]",
    "@everyone",
)
word, code = st.sampled_from(WORDS), st.sampled_from(CODES)
span = code.map(lambda text: (f"`{text}`", [text]))
prose = st.lists(
    st.one_of(word.map(lambda text: (escape(text), [text])), span), min_size=1, max_size=5
).map(lambda parts: (" ".join(each for each, _ in parts), [a for _, atoms in parts for a in atoms]))


def escape(text: str) -> str:
    """Write what CommonMark would read as a mark with a backslash, as models do."""
    if text == "a\\\\b":
        return text
    return re.sub(r"([*_<&~]|^[#+=-]|^1(?=\.))", r"\\\1", text)


def lines_of(mark: str, info: str, lines: list[str]) -> tuple[str, list[str]]:
    return "\n".join([f"{mark}{info}", *lines, mark]), lines


def table_of(rows: list[list[tuple[str, list[str]]]]) -> tuple[str, list[str]]:
    """A table of three columns; pipes outside code are escaped, as GitHub's Markdown wants it."""

    def cell(part: tuple[str, list[str]]) -> str:
        return part[0].replace("|", "\\|")

    drawings = ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return "\n".join([drawings[0], "|---|---|---|", *drawings[1:]]), [
        atom for row in rows for _, atoms in row for atom in atoms
    ]


blocks = st.one_of(
    prose,
    prose.map(lambda part: (f"## {part[0]}", part[1])),
    prose.map(lambda part: (f"##### {part[0]}", part[1])),
    prose.map(lambda part: (f"- {part[0]}", part[1])),
    prose.map(lambda part: (f"> {part[0]}", part[1])),
    st.builds(
        lines_of,
        st.sampled_from(["```", "~~~"]),
        st.sampled_from(["", "py", "java"]),
        st.lists(code, min_size=1, max_size=3),
    ),
    st.builds(
        lines_of,
        st.just("````"),
        st.sampled_from(["", "md"]),
        st.lists(st.one_of(code, st.just("```"), st.just("```py")), min_size=1, max_size=4),
    ),
    st.lists(st.lists(prose, min_size=3, max_size=3), min_size=2, max_size=4).map(table_of),
)
documents = st.lists(blocks, min_size=1, max_size=4).map(
    lambda parts: ("\n\n".join(text for text, _ in parts), [a for _, atoms in parts for a in atoms])
)


def check(shown: str, atoms: list[str], document: str) -> None:
    """Each visible piece is there as often as it was written."""
    shown = re.sub(r"\s+", "", shown)
    for atom in set(atoms):
        target = atom.replace("\\\\", "\\")
        assert shown.count(target) >= atoms.count(atom), (atom, document, shown)


def seen_on_discord(document: str) -> str:
    result = to_discord(document)
    text = "".join([result.text, *(sheet.data.decode() for sheet in result.sheets)])
    pieces = re.split(r"(```.*?```|(?<!\\)`[^`\n]+`)", text, flags=re.DOTALL)
    event = "".join(
        piece if n % 2 else re.sub(r"\\([^A-Za-z0-9\s])", r"\1", piece)
        for n, piece in enumerate(pieces)
    )
    return event.replace(SPACE, "")


def hidden_on_discord(document: str) -> list[str]:
    outside = re.sub(r"```.*?```|`[^`\n]+`", "", to_discord(document).text, flags=re.DOTALL)
    return re.findall(r"(?<!\\)\|\|.+?\|\|", re.sub(r"\\.", "", outside), re.DOTALL)


@settings(max_examples=60, deadline=None)
@given(documents)
def test_every_character_arrives_on_discord(document: tuple[str, list[str]]) -> None:
    text, atoms = document
    check(seen_on_discord(text), atoms, text)
    assert hidden_on_discord(text) == []
    assert all(len(part) <= 2000 for part in paginate(text).parts)


@settings(max_examples=60, deadline=None)
@given(documents)
def test_slack_gets_the_markdown_itself_and_nothing_invisible_in_code(
    document: tuple[str, list[str]],
) -> None:
    text, _ = document
    post = safe_markdown(text)
    assert post.replace(JOINER, "") == text
    for piece in re.findall(r"^(`{3,}|~{3})[^\n]*\n(.*?)^\1$|`[^`\n|]+`", post, re.M | re.S):
        assert JOINER not in "".join(piece), text


@settings(max_examples=40, deadline=None)
@given(documents)
def test_every_character_arrives_on_the_page(document: tuple[str, list[str]]) -> None:
    text, atoms = document
    check(html.unescape(re.sub(r"<[^>]*>", "", to_html(text))), atoms, text)


@settings(max_examples=60, deadline=None)
@given(documents)
def test_every_character_arrives_in_the_terminal(document: tuple[str, list[str]]) -> None:
    text, atoms = document
    check(re.sub(r"\x1b\[[\d;]*m", "", render_markdown(text)), atoms, text)


@pytest.mark.parametrize(("text", "posted"), [
    ("a || b || c", "a \\|| b \\|| c"), ("`a || b`", "`a || b`"), ("\\|| x ||", "\\|| x \\||"),
    ("-# small", "\\-# small"), ("#### C#", "**C#**"), ("#### A ##", "**A**"),
    ("````md\n```py\nx\n```\n````", "```md\n`\u200b``py\nx\n`\u200b``\n```"),
    ("~~~\n||\n~~~", "```\n||\n```"), ("```js {1,3}\nx\n```", "```js\nx\n```"),
    ("<t:1700000000:R>", "<\u200bt:1700000000:R>"),
    ("| a | b |\n|---|---|\n| `x | y` | 2 |", "```\na      b\n─────  ─\nx | y  2\n```"),
    ("| a | b |\n|---|---|\n| `__init__` | **2** |",
     "```\na         b\n────────  ─\n__init__  2\n```"),
    ("| a | b |\n|---|---|\n| 1 | 2 | 3 |", "```\na  b\n─  ─────\n1  2 | 3\n```"),
])  # fmt: skip
def test_what_only_discord_reads_as_markup_is_shown(text: str, posted: str) -> None:
    assert to_discord(text).text == posted


@pytest.mark.parametrize(
    "text",
    [
        "```\nnpm install @here/maps-api\n```",
        "`List<@NonNull String>`",
        "````\n@channel\n```\n````",
        "~~~\n@everyone\n~~~",
        "- a\n  ```\n  @here\n  ```",
        "``@here ` x``",
    ],
)
def test_code_arrives_on_slack_as_it_was_written(text: str) -> None:
    assert safe_markdown(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "`a\n\n@here `",
        "\\`@here\\`",
        "```\nx\n````\n@here",
        "- `a\n- @here `b",
        "<https://x.y/`> @here `",
        "| `a | @here ` |",
        "`<!here>`",
        "```\n<!channel>\n<@U0123456>\n```",
        "<!subteam^S1|@x>",
        "``` a`b\n@here",
    ],
)
def test_outside_code_nobody_is_notified_on_slack(text: str) -> None:
    post = safe_markdown(text)
    for mark in ("<!", "<@", "@channel", "@here"):
        assert mark not in post
