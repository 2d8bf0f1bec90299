"""Markdown from a model is HTML that can do nothing but be read."""

from __future__ import annotations

import re
from html import unescape as html_of

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.web.page.render import GrowingHtml, render, to_html
from core.base.markdown import MAX_MARKDOWN_CHARACTERS
from core.base.trust import Trust
from core.domain.rows import Placed


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**bold** ~~gone~~", '<p dir="auto"><strong>bold</strong> <s>gone</s></p>'),
        ("# Title", '<h3 dir="auto">Title</h3>'),
        ("one\ntwo", '<p dir="auto">one<br>\ntwo</p>'),
        ("![plot](/files/abc123)", '<img src="/files/abc123" alt="plot" loading="lazy">'),
        ("|a|\n|-:|\n|1|", '<td class="right" dir="auto">1</td>'),
        ("```python\nx\n```", '<code class="language-python">x\n</code>'),
    ],
)
def test_markdown_becomes_html(text: str, html: str) -> None:
    assert html in to_html(text)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<iframe src=//evil.example>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>)",
        "[x](vbscript:x)",
        "[x](//evil.example)",
        "[x](/login)",
        "[x](\\\\evil)",
        "<javascript:alert(1)>",
        "![x](https://evil.example/?q=secret)",
        "![x](//evil.example/x.png)",
        "![x](/files/../metrics)",
        "![x](data:image/png;base64,AAAA)",
        "[![x](https://evil.example/a.png)](https://b.example)",
        '```" onclick=alert(1)\nx\n```',
        '<button data-card="abc234">Approve</button>',
        '<form action="/cards/abc234"><input></form>',
        '|a|\n|:-:" onclick=x|\n|1|',
    ],
)
def test_active_html_is_removed(text: str) -> None:
    html = to_html(text).lower()
    for bad in (
        "<script",
        "<iframe",
        "<button",
        "<form",
        "<input",
        'src="http',
        'src="//',
        'src="data',
        'href="java',
        'href="data',
        'href="vb',
        'href="/login',
        'href="//',
        'href="\\',
        " onclick=alert(1)>",
        'src="/files/..',
        "<img src=x",
    ):
        assert bad not in html


def test_a_link_says_where_it_leads() -> None:
    html = to_html("[https://bank.example](https://evil.example/?a=1&b=2)")
    assert 'title="https://evil.example/?a=1&amp;b=2"' in html
    assert 'rel="noopener nofollow noreferrer"' in html


def test_a_picture_from_elsewhere_becomes_a_link() -> None:
    assert to_html("![cat](https://cats.example/1.png)") == (
        '<p dir="auto"><a href="https://cats.example/1.png" title="https://cats.example/1.png" '
        'target="_blank" rel="noopener nofollow noreferrer">cat</a></p>\n'
    )


@given(st.text(alphabet="<>&\"'`*_[]()!|-#:/\\ \nax1=", max_size=60))
def test_no_attribute_is_ever_forged(text: str) -> None:
    for piece in to_html(text).lower().split("<")[1:]:
        tag = piece.split(">")[0]
        assert not any(f" on{name}=" in tag for name in ("a", "x"))
        assert not tag.startswith(("script", "x", "a1"))


async def test_a_hostile_length_is_shown_as_it_is() -> None:
    html = await render("[" * (MAX_MARKDOWN_CHARACTERS + 1))
    assert html.startswith("<pre")


async def test_what_has_ended_of_a_growing_text_is_not_rendered_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "\n\n".join(
        [*(f"Paragraph {n} with *words* and `code`." for n in range(30)), "- a\n- b"]
    )
    rendered = 0

    async def render_and_count(piece: str, placed: tuple[Placed, ...] = ()) -> str:
        nonlocal rendered
        rendered += len(piece)
        return to_html(piece, placed)

    monkeypatch.setattr("adapters.web.page.render.render", render_and_count)
    growing = GrowingHtml()
    for end in range(10, len(text), 10):
        assert await growing.render(text[:end]) == to_html(text[:end])
    assert rendered < 12 * len(text)
    assert await growing.render("Anew.") == to_html("Anew.")
    assert await growing.render("[a]\n\n[a]: https://example.com\n\nb") == to_html(
        "[a]\n\n[a]: https://example.com\n\nb"
    )


def test_formulas_are_kept_as_they_were_written_and_prices_are_none() -> None:
    formulas = {
        r"\(a^2\)": r"\(a^2\)",
        r"so $\pi r^2$.": r"$\pi r^2$",
        "$x$": "$x$",
        "$5$": "$5$",
        r"$2 \times 3$ is": r"$2 \times 3$",
        "($a_1$, b)": "$a_1$",
        r"\[x*y*z\]": r"\[x*y*z\]",
        r"$a < b$": "$a &lt; b$",
        "$$x$$ here": "$$x$$",
    }
    for text, formula in formulas.items():
        kind = "div" if text.startswith("\\[") else "span"
        assert f'<{kind} class="math"' in to_html(text), text
        assert f">{formula}</{kind}>" in to_html(text), text
    block = "Before\n$$\n\\frac{1}{2}\n= x * y * z\n$$\nafter"
    assert re.search(r'<div class="math"[^>]*>\$\$\n\\frac\{1\}\{2\}\n= x \* y', to_html(block))
    plain = (
        "$5 and $10",
        "from $5 to $10.",
        "US$5 or US$6",
        "R$ 5 e R$ 10",
        "R$5 e R$ 10",
        "$5/$7",
        "$1,000–$2,000",
        "**$5** and **$6**",
        "($5) or ($6)",
        "it costs 5$ and 6$",
        "$5 or 10$ each",
        "$HOME/bin:$PATH",
        "`$x$`",
        "$ x $",
        "$$",
        "$",
        "\\(",
        "a \\( b",
        "$" * 3000,
        "\\[" * 3000,
        "```\n$x$\n```",
        "$$\na\n\nb\n$$",
        "\\[\\]\na\\]",
    )
    for text in plain:
        assert 'class="math"' not in to_html(text), text
    assert "$5 and $10" in to_html("$5 and $10")


def test_a_formula_cannot_become_markup() -> None:
    html = to_html('$<img src=x onerror="alert(1)">$ and \\(<script>alert(1)</script>\\)')
    assert "<img" not in html
    assert "<script" not in html


def test_task_lists_and_footnotes() -> None:
    html = to_html("- [x] one\n- [ ] **two**\n- [y] three\n\n[ ] four")
    assert html.count('class="task"') == 2
    assert "☑ one" in html
    assert "☐ <strong>two</strong>" in html
    html = to_html("See[^b] and[^a] and[^c].\n\n[^a]: The *first*\n[^b]: The second <b>\n\nMore")
    assert "See<sup>2</sup> and<sup>1</sup> and[^c]." in html
    assert '<ol class="footnotes">' in html
    assert "The <em>first</em>" in html
    assert "The second &lt;b&gt;" in html
    assert html.index("More") < html.index("footnotes")


LINKED = [
    ("Read https://example.com/a", "https://example.com/a"),
    ("Read https://example.com/a.", "https://example.com/a"),
    ("(https://example.com/a)", "https://example.com/a"),
    ("**https://example.com/a**", "https://example.com/a"),
    ("see http://example.com:8080/a?b=1&c=2#d, and", "http://example.com:8080/a?b=1&c=2#d"),
    ("https://example.com/wiki/Ponte_(bridge)", "https://example.com/wiki/Ponte_(bridge)"),
    ("HTTPS://EXAMPLE.COM/A", "HTTPS://EXAMPLE.COM/A"),
    ("- https://example.com/a_b_c", "https://example.com/a_b_c"),
    ("|a|\n|-|\n|https://example.com/a|", "https://example.com/a"),
    ("www.example.com/a", "https://www.example.com/a"),
    ("# https://example.com/a", "https://example.com/a"),
]


@pytest.mark.parametrize(("text", "address"), LINKED)
def test_a_plain_address_is_a_link(text: str, address: str) -> None:
    html = to_html(text)
    assert re.findall(r'href="([^"]*)"', html) == [address.replace("&", "&amp;")]
    assert f'title="{address.replace("&", "&amp;")}"' in html
    assert 'rel="noopener nofollow noreferrer"' in html


@pytest.mark.parametrize(
    "text",
    [
        "`https://example.com/a`",
        "```\nhttps://example.com/a\n```",
        "https[:]//example[.]com/a",
        "javascript:alert(1)",
        "ftp://example.com",
        "file:///etc/passwd",
        "example.com",
        "https://",
        "ana@example.com",
        "$https://example.com$",
        "http:example.com",
        "x.https",
        "data:text/html,x",
        "/files/abc",
        "https\\://example.com/a",
        "slack://open",
    ],
)
def test_other_text_is_no_link(text: str) -> None:
    assert "<a " not in to_html(text)


def test_an_address_in_a_link_s_text_stays_text() -> None:
    html = to_html("[https://a.example](https://b.example) and ![https://c.example](/files/abc)")
    assert re.findall(r'href="([^"]*)"', html) == ["https://b.example"]


HOSTILE_PIECES = (
    "https://",
    "http://",
    "www.",
    "ok.test",
    "evil.test",
    "/a",
    "?q=",
    "&amp;",
    "&#46;",
    "%2e",
    *"#@:\\*_`[]()<> \n.,|~\"'",
)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(HOSTILE_PIECES), max_size=14).map("".join))
def test_a_sanitized_text_links_only_to_trusted_hosts(text: str) -> None:
    """Plain addresses follow the rules of all other links."""
    trust = Trust(frozenset({"ok.test"}), frozenset({"https://evil.test/a"}))
    for address in re.findall(r'href="([^"]*)"', to_html(trust.sanitize(text))):
        assert trust.allows(html_of(address)) or address.startswith("/files/"), (text, address)
