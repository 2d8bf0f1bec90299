"""Each surface changes only what it would make a link, and only where nobody allowed that link."""

from __future__ import annotations

import asyncio
import re

import pytest

from adapters.discord.render import paginate
from adapters.slack.render import PostContent, split_answer
from adapters.terminal.screen import render_markdown
from adapters.web.page.render import render
from core.base.text import clean_text
from core.base.trust import Trust, _address_end, defang_for_discord, defang_for_terminal
from tests.core.base.test_link_shapes import AROUND, CAUTIOUS, EVIL, SHAPES, TRUST, fine
from tests.fakes import linkers

TERMINAL = Trust(TRUST.hosts, TRUST.written, is_code_inert=False)
DISCORD = Trust(TRUST.hosts, TRUST.written, links_bare_names=False)
NAMES = (
    "c01@example.com",
    "report.csv",
    "Mail c01@evil.test about report.csv, please.",
    "ponte.toml",
    "<c01@evil.test>",
    "app.evil.test and 1.2.3.4:80/x",
    "node.js, Next.js; e.g. a.b.c",
    "**report.csv** and *c01@evil.test*",
    "| c01@evil.test | report.csv |",
)
PLAIN = (
    *NAMES,
    '{"email":"c01@evil.test","file":"report.csv","sizes":[1.5,2],"data":{"a.b":"c:d"}}',
    '[\n  {"mail": "c01@evil.test", "path": "C:\\\\Users\\\\report.csv"}\n]',
    "id,mail,file\n1,c01@evil.test,report.csv\n",
    "df.to_csv('report.csv')\nrows[0].name, os.path.join(a.b, 'c.d')",
    "std::vector<std::string> x; List<String> y; a->b.c; default:\n    break",
    "`df['a.b'].sum()` and `c01@evil.test`, `report.csv`, `[x](report.csv)`",
    "    indented.code(c01@evil.test)", "~~~\nreport.csv\n~~~", "```\nan.open(block)",
    "[report](report.csv), [x]: y.z, [a][b], ![plot](/files/abc), <report.csv>, a](b.c)",
    "C:\\Users\\ana\\report.csv, \\\\server\\share.x", "a&b.c &amp; x&#46;y", "10:30, key:value",
    f"```sh\ncurl {EVIL}\n```", "https://example.com/a.b, (https://example.com) `https://example.com`",
    '{"url": "https://example.com/a.b"}', "https://mine.test/a?b=c", "**https://example.com**.",
)  # fmt: skip
CODE = (
    f"`[x]({EVIL})`", f"Use `[x]({EVIL})` or `![y]({EVIL} 'z')`.", f"| `[x]({EVIL})` | b |",
    f"- `a[0](b)` and `[{EVIL}]({EVIL})`", f"`[x]({EVIL}) and [y]({EVIL})`",
)  # fmt: skip
IN_CODE = (  # brackets outside that could close within it, or the other way about
    f"[ `a]({EVIL})`", f"[ `[[a](u)]({EVIL})`", f"[ `\\[x]({EVIL})`", f"[a `b]({EVIL}) c` d",
    f"[`[x]({EVIL})`]({EVIL})", f"`[x]({EVIL}) `` y`", f"``[x]({EVIL})`", f"`[x]\n({EVIL})`",
    f"\\`[x]({EVIL})`", f"`[x]({EVIL})", f"[x]({EVIL})`", f"[ `[x]({EVIL})` ]({EVIL})",
    f"![ `[x]({EVIL})` ](/files/a)", f"[1 `[x][y]({EVIL})` ]", f"[ `[a\\]]({EVIL})`",
    f"<a:`[x]({EVIL})`>", f"[`](x) [x]({EVIL}) `", f"`[x]({EVIL})`{EVIL}`[x]({EVIL})`",
    f"[ `[a]` [x]({EVIL}) `b`", f"`]` [x]({EVIL}) `[`", f"[`]({EVIL})", f"`[` x]({EVIL})",
)  # fmt: skip
HIDDEN = (  # what a terminal shows as an address once its Markdown is drawn
    "https:<b>//evil.test</b>",
    "https&#58;//evil.test",
    "h&#116;tps://evil.test",
    "ht**tp**s://evil.test",
    "https:`//evil.test`",
    "https\\://evil.test",
    "https:/\\/evil.test",
    "`https`://evil.test",
    "https&amp;#58;//evil.test",
    "[x](https&#58;//evil.test)",
    "[a][b]\n\n[b]: https&colon;//evil.test",
    "https://example.com`.evil.test`",
    "https://example.com<!-- -->.evil.test",
    "https://example.com&#46;evil.test",
    "https://example.com**.evil.test**",
    "https:*/*/evil.test",
    "https://a&#58;//evil.test",
    "x https://example.com,ht&#116;ps://evil.test",
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("text", PLAIN)
def test_a_terminal_changes_nothing_that_it_does_not_link(text: str) -> None:
    assert TERMINAL.sanitize(text) == text
    assert TERMINAL.split_sanitized(text, lambda whole: (whole,)) == (text, (text,))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"see {EVIL}, and report.csv", "see https[:]//evil[.]test/?q=secret, and report.csv"),
        (f"`curl {EVIL} -o a.b`", "`curl https[:]//evil[.]test/?q=secret -o a.b`"),
        (f"`[x]({EVIL})`", "`[x](https[:]//evil[.]test/?q=secret)`"),
        (
            '{"url":"https://evil.test/a","mail":"c01@evil.test","x":["ftp://b.c","d.e"]}',
            '{"url":"https[:]//evil[.]test/a","mail":"c01@evil.test","x":["ftp[:]//b[.]c","d.e"]}',
        ),
        ("mailto:c01@evil.test", "mailto[:]c01[@]evil[.]test"),
        ("www.evil.test", "www[.]evil[.]test"),
    ],
)
def test_a_terminal_breaks_just_the_address(text: str, shown: str) -> None:
    assert TERMINAL.sanitize(text) == shown
    assert TERMINAL.sanitize(shown) == shown


@pytest.mark.parametrize("around", AROUND)
def test_no_link_shape_becomes_a_link_in_a_terminal(around: str) -> None:
    """Neither as it is written nor as it is drawn."""
    alive = []
    for shape in (*SHAPES, *CAUTIOUS, *HIDDEN, *IN_CODE):
        part = TERMINAL.split_sanitized(clean_text(around.format(shape)), lambda whole: (whole,))[0]
        drawing = "" if "```" in part else _ANSI.sub("", render_markdown(part))
        links = [*linkers.terminal(part), *linkers.terminal(drawing)]
        alive += [(shape, link) for link in links if not fine(link)]
    assert alive == []


def test_a_terminal_shows_what_stands_between_angles() -> None:
    """HTML is no HTML there, and nothing of it is left out."""
    text = "A List<String> and <div>x</div>"
    assert _ANSI.sub("", render_markdown(text)) == text


def live(text: str, trust: Trust) -> list[str]:
    """What Slack, Discord, the page or a script would link of an answer."""
    message, pieces = trust.split_sanitized(text, lambda whole: split_answer(whole))
    links = [*linkers.page(asyncio.run(render(message))), *linkers.piece(message)]
    for part in pieces:
        body = PostContent(part).build_whole()
        links += linkers.slack_post(body["text"], body["blocks"])
    for part in trust.split_sanitized(text, lambda whole: paginate(whole).parts)[1]:
        links += linkers.discord(part)
    return [link for link in links if not fine(link)]


@pytest.mark.parametrize("text", CODE)
def test_a_link_within_inline_code_stays_as_it_is(text: str) -> None:
    assert live(text, TRUST) == []
    for trust in (TRUST, DISCORD):
        assert trust.sanitize(text) == text


@pytest.mark.parametrize("around", [*AROUND, "[ {}", "{} ](https://example.com)", "[a `b {}"])
def test_code_that_is_none_everywhere_brings_no_link_to_life(around: str) -> None:
    matches = {shape: live(clean_text(around.format(shape)), TRUST) for shape in (*CODE, *IN_CODE)}
    assert {shape: links for shape, links in matches.items() if links} == {}


@pytest.mark.parametrize("text", NAMES)
def test_discord_changes_no_name(text: str) -> None:
    if not text.startswith("<"):
        assert DISCORD.sanitize(text) == text


@pytest.mark.parametrize("around", AROUND)
def test_no_link_shape_becomes_a_link_on_discord(around: str) -> None:
    alive = []
    for shape in (*SHAPES, *CAUTIOUS, *IN_CODE, *HIDDEN):
        text = clean_text(around.format(shape))
        for part in DISCORD.split_sanitized(text, lambda whole: paginate(whole).parts)[1]:
            alive += [(shape, link) for link in linkers.discord(part) if not fine(link)]
    assert alive == []


def test_a_bracket_that_the_address_opened_belongs_to_it() -> None:
    address = "https://mine.test/a(b)"
    assert [_address_end(address + end, 0) for end in ("", ")", "),")] == [len(address)] * 3


def test_the_last_check_allows_a_written_address_and_no_other() -> None:
    """It finds what the rules for single lines miss; no known shape of a link gets that far."""
    trust = Trust(written=frozenset({"https://mine.test/a"}))
    assert trust._has_only_allowed_targets("[a](https://mine.test/a)")
    assert not trust._has_only_allowed_targets(f"[a]({EVIL})")


def test_a_card_s_values_are_changed_only_where_they_would_be_links() -> None:
    value = f"c01@evil.test, report.csv, see {EVIL}"
    text = "c01@evil.test, report.csv, see https[:]//evil[.]test/?q=secret"
    assert defang_for_terminal(value) == text
    assert defang_for_discord(value) == defang_for_terminal(value)
    assert defang_for_terminal("[x](report.csv) discord.gg/x") == "[x](report.csv) discord.gg/x"
    for shape in SHAPES:
        assert [link for link in linkers.discord(defang_for_discord(shape)) if not fine(link)] == []
        assert linkers.terminal(defang_for_terminal(shape)) == []
