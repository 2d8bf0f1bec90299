"""Markdown of ours and of others: names in it, and which links stay links."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.web.page.render import to_html
from core.base import commonmark
from core.base.growing_markdown import ended_blocks_length
from core.base.markdown import MAX_BRACKETS, escape_markdown, free_stress, nest_items
from core.base.trust import Trust


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Deals", "Deals"),
        ("a\nb", "a b"),
        ("[x](y) <b> *c* # d", r"[x\](y) \<b\> \*c\* \# d"),
        ("R$ 5 $x$ &lt;", r"R\$ 5 \$x$ \&lt;"),
        ("see https://evil.example/?q=a_b now", "see `https://evil.example/?q=a_b` now"),
    ],
)
def test_a_foreign_name_is_escaped_in_markdown(name: str, written: str) -> None:
    assert escape_markdown(name) == written


@pytest.mark.parametrize(
    "name",
    [
        "[2026] x",
        "a [b] c [d]",
        "[^1]",
        "[x](https://evil.example)",
        r"\\[x\\]",
        r"\(x\)",
        "$x$",
        "$$x$$",
        "&#36;x$",
        "[",
        "]",
        "![a](b)",
        "[ ] x",
        "[a]: b",
        "<b>",
        "**b**",
    ],
)
@pytest.mark.parametrize("sentence", ["{}", "Source: {}: 1 row. [Open](https://a.example)", "- {}"])
def test_a_name_is_shown_as_it_is_on_the_page(name: str, sentence: str) -> None:
    page = to_html(sentence.format(escape_markdown(name)))
    assert "math" not in page
    text = html.unescape(re.sub("<[^>]*>", "", page)).strip()
    assert text == sentence.format(name).removeprefix("- ").replace(
        "[Open](https://a.example)", "Open"
    )


def test_of_a_text_that_is_shown_unformatted_no_block_has_ended() -> None:
    text = "One.\n\nTwo.\n\n"
    assert ended_blocks_length(text) == len("One.\n\n")
    assert ended_blocks_length("[" * MAX_BRACKETS + "]\n\n" + text) == 0


TRUST = Trust(frozenset({"example.com"}), frozenset())
EVIL = "https://evil.test/?q=secret"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("see https://example.com/a_(b).", "see https://example.com/a_(b)."),
        ("[ours](https://docs.example.com/x)", "[ours](https://docs.example.com/x)"),
        (f"see {EVIL}.", f"see `{EVIL}`."),
        (f"[click me]({EVIL})", f"click me (`{EVIL}`)"),
        (f'[click me]({EVIL} "title")', f"click me (`{EVIL}`)"),
        ("[a [b]]( \thttps://example.com/x)", "[a [b]]( \thttps://example.com/x)"),
        (f"[a [b]]( {EVIL})", f"[a [b]] ( `{EVIL}`)"),
        (
            f"a ` b\n\n```\n` {EVIL}\n```\n",
            "a ` b\n\n```\n` https[:]//evil[.]test/?q=secret\n```\n",
        ),
        (f"![]({EVIL})", f"(`{EVIL}`)"),
        ("![chart](https://example.com/c.png)", "chart (`https://example.com/c.png`)"),
        (f"<{EVIL}>", f"`{EVIL}`"),
        ("www.evil.test/x", "`www.evil.test/x`"),
        ("[x](javascript:alert(1))", "x (`javascript:alert(1)`)"),
        (f"`curl {EVIL}`", f"`curl {EVIL}`"),
        (f"```\n{EVIL}\n```\n", f"```\n{EVIL}\n```\n"),
        (f"[1]: {EVIL}", f"[1] : `{EVIL}`"),
        ("a | b (see note): c", "a | b (see note): c"),
    ],
)
def test_only_allowed_links_stay_links(said: str, shown: str) -> None:
    assert TRUST.sanitize(said) == shown


def test_a_host_that_only_looks_like_ours() -> None:
    hosts = "example.com.evil.test/|evil.test/example.com|example.com@a.test/|notexample.com/|[::1"
    urls = [f"https://{host}" for host in hosts.split("|")]
    for url in (*urls, "javascript:alert(1)", "data:text/html,x"):
        assert not TRUST.allows(url), url


@given(st.text(max_size=200))
def test_text_without_addresses_stays(text: str) -> None:
    if not any(mark in text for mark in (":", ".", "@", "&", "\\", "](", "。", "．", "｡")):
        assert TRUST.sanitize(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "1. **Title**\n  Text below.\n  - b\n2. c",
        "1. Run:\n  ```sh\n  ls\n  ```\n2. c",
        "1. a\n - b\n2. c",
        "> 1. a\n>   - b\n> 2. c",
        "1. a\n  1. b\n    - c\n2. d",
        "10. a\n  - b\n11. c",
    ],
)
def test_lines_that_a_model_indents_by_less_belong_to_the_item(text: str) -> None:
    tokens = commonmark.parser().parse(nest_items(text))
    lists = [one for one in tokens if one.type == "ordered_list_open"]
    assert len([one for one in lists if one.level == lists[0].level]) == 1


@pytest.mark.parametrize("mark", ["*", "**", "***", "~~", "__"])
def test_stress_beside_ideographs_is_seen(mark: str) -> None:
    (paragraph,) = [
        one
        for one in commonmark.parser().parse(free_stress(f"他说{mark}「你好」{mark}然后"))
        if one.type == "inline"
    ]
    assert mark not in "".join(part.content for part in paragraph.children or ())


def test_names_with_underscores_beside_ideographs_stay() -> None:
    for text in ("関数__init__を使う", "価格*数量*税", "a~b~c"):
        assert free_stress(text) == text
