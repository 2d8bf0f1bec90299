"""No text from outside stops the process: what reads it costs in proportion to its length.

Each function that transforms or searches such text is given every class of text that makes patterns
and parsers look again and again. Measured is this thread's own processor time, the best of some
tries, and only what takes long enough to be measured is compared.
"""

from __future__ import annotations

import contextlib
import gc
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from adapters.discord import events as discord_events
from adapters.discord import render as discord
from adapters.discord import render as discord_pages
from adapters.slack import render as slack
from adapters.terminal.chat import _WORD
from adapters.web.render import to_html
from bot.telemetry import Redaction
from core import markdown, quick_commands, text
from core.conversation import grammar
from core.errors import PonteError
from core.http import HttpAnswer, cleaned
from core.markdown import LONGEST, MOST_BRACKETS, MOST_LINES, is_plain, markless
from core.text import redacted
from core.tools.code import hosted
from core.tools.nocodb.bridge_api import worded
from core.tools.stackspot.client import json_of

HALF = 50_000
SLOW = 0.06
"""Seconds: what is quicker than that is not compared."""
HOSTS = slack.Links(frozenset({"example.com"}))
TRUST = markdown.Trust(frozenset({"example.com"}))

UNITS = [
    "[", "]", "[]", "[a](", "![a](", "[[a](b)", "[a", "](", "[a]: b\n", "[a][b]", "[a](b \"",
    "`", " ` a ", "``` ", "a`` `b ", "```\n", "~~~\n", " ```a`", "```a b c", "```", "~~~~",
    "<", "<a", "a>", "<http://a", "<http://a|", "<!here", "<@", "</a", "<a|b", "<br ", "<br>",
    "<@U1> ", "&amp;", "&#", "&", "|", "| a ", "|-", ":-:|", "| a | b |\n|---|---|\n", "|a\n",
    "*", "**a ", "*a", "_", "_a ", "~", "~~a ", "\\", "\\*", "\\[",
    "e\u0301", "\u0301\u0316", "\U0001f1eb", "\U0001f468\u200d", "\u200d", "\ufe0f", "\U000e0061",
    "\U0001f3f4\U000e0061", "\u202e", "\ud83d", "漢", "ا\u200d",
    " ", "\n", "\t", "a ", " \n", "\r", "\r\n", ">", "> ", "> a\n", "- ", "- a\n", "1. ", "1",
    "-", "---\n", "#", "# a\n", " #### a", "=\n", ":", ".", "a,", "/", "@", "a@", "a.",
    "http://", "http://a ", "https://a.b(", "http://a.", "(", "()", '"', "'", '"a ', "a=", 'a="',
    "{", '{"a":', "[1,", "a", "A", "- [ ] ", "a. ", '."', "\x1b[", "\x1b]", "xoxb-", "sk-", "eyJ",
    "Bearer ", "://a:", "aaaaaaaaaaaaaaaaaaaaaaaa.", "@here ", "@everyone", "sandbox:/",
    "[a](sandbox:", "host='", "quick-command ", "400: ",
]  # fmt: skip
RICH = """# Title

Some *emphasis*, **strong** words, `code` and [a link](https://example.com/a?b=c).

- one
- two with ~~gone~~

| Name | Amount |
| --- | ---: |
| Ana | 1,200 |
| João | 3 |

```python
print("hello")
```

> A quote, with an emoji 👩\u200d👩\u200d👧 and é.

See https://example.org/x and mail a@example.com.

"""
Work = Callable[[str], Any]
WHOLE: dict[str, Work] = {
    "clean": text.clean,
    "clip": lambda said: text.clip(said, 1000),
    "one_line": text.one_line,
    "file_name": text.file_name,
    "split": lambda said: text.split(said, 2000),
    "fenced": text.fenced,
    "fences": lambda said: text.after_all(said, None, 16),
    "spans": lambda said: list(text.spans(said)),
    "folded": text.normalised,
    "markless": markless,
    "addresses": markdown.addresses,
    "tamed links": lambda said: TRUST.sanitised(said),
    "csv": lambda said: text.csv_bytes([[said, said]]),
    "typed command": grammar.parse,
    "typed input": lambda said: quick_commands.parse_input(f"a={said}"),
    "withheld": lambda said: redacted({said: [said]}),
    "system's error": cleaned,
    "bridge's error": lambda said: worded(
        HttpAnswer(500, {}, json.dumps({"detail": f"500: {said}"}).encode()), "query"
    ),
    "redaction": Redaction(["a secret of ours"]).of,
    "slack: markdown": lambda said: slack.markdown(said, HOSTS),
    "slack: plain": slack.plain,
    "slack: parts": lambda said: slack.parts(said, HOSTS),
    "slack: content": lambda said: slack.content(said, HOSTS),
    "slack: plainly": slack.plainly,
    "slack: settled": slack.settled,
    "slack: mentioned": slack.mentioned,
    "slack: readable": lambda said: slack.readable(said, {"U2": "Ana"}, "U1"),
    "slack: fit": lambda said: slack.fit(said, 3000),
    "discord: pages": lambda said: discord_pages.pages(said, "en"),
    "discord: render": discord.render,
    "discord: inert": discord.inert,
    "discord: columns": discord.columns_of,
    "discord: emoji": lambda said: discord_events._EMOJI.sub("", said),
    "web: html": to_html.__wrapped__,
    "terminal: files": _WORD.findall,
    "hosted: links": lambda said: hosted._LINK.sub("", said),
    "hosted: failed": hosted._FAILED.search,
    "hosted: fenced": hosted._FENCED.fullmatch,
    "stackspot: json": json_of,
}
OF_A_PART = ("slack: plain", "slack: content", "slack: plainly")
"""They only ever get as much as one post holds."""
READ_AS_MARKDOWN: dict[str, Work] = {
    "tamed links": WHOLE["tamed links"],
    "discord: pages": WHOLE["discord: pages"],
    "web: html": WHOLE["web: html"],
}


def of(unit: str, length: int) -> str:
    return (unit * (length // len(unit) + 1))[:length]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def cost(work: Work, said: str, tries: int = 1) -> float:
    """Seconds of this thread's processor time. What is refused in words is done, too."""
    best = float("inf")
    for _ in range(tries):
        began = time.thread_time()
        with contextlib.suppress(ValueError, PonteError):
            work(said)
        best = min(best, time.thread_time() - began)
    return best


def too_slow(work: Work, unit: str, half: int, rich: float) -> str:
    """Why, or "". The letter at the end is what no pattern looks for."""
    if cost(work, f"{of(unit, half // 2)}x") < SLOW / 8:
        return ""  # if it were quadratic, all of it would still take no more than two of these
    whole, before = float("inf"), float("inf")
    for _ in range(10):  # the machine may have had other things to do; four times is quadratic
        whole = min(whole, cost(work, f"{of(unit, 2 * half)}x"))
        before = min(before, cost(work, f"{of(unit, half)}x", 2))
        if whole <= max(3.6 * before, SLOW) and whole <= 5 * max(rich, SLOW):
            return ""
    return f"{unit!r}: {before:.3f} s → {whole:.3f} s, rich Markdown {rich:.3f} s"


@pytest.mark.parametrize("name", WHOLE)
def test_cost_grows_with_the_length_alone(name: str) -> None:
    work, half = WHOLE[name], slack.PART // 2 if name in OF_A_PART else HALF
    rich = cost(work, of(RICH, 2 * half), 3)
    assert [why for unit in UNITS if (why := too_slow(work, unit, half, rich))] == []


@pytest.mark.parametrize("name", READ_AS_MARKDOWN)
def test_also_where_it_is_just_short_enough_to_be_read_as_markdown(name: str) -> None:
    work = READ_AS_MARKDOWN[name]
    half = LONGEST // 2 - 1
    rich = cost(work, of(RICH, 2 * half), 3)
    assert [why for unit in UNITS if (why := too_slow(work, unit, half, rich))] == []


def test_longer_text_and_too_many_brackets_are_shown_plain() -> None:
    assert not is_plain("a" * LONGEST)
    assert is_plain("a" * (LONGEST + 1))
    assert not is_plain("[]" * (MOST_BRACKETS // 2))
    assert is_plain("[]" * (MOST_BRACKETS // 2) + "[")
    assert is_plain("-\n" * MOST_LINES)
    long = "**a** " * LONGEST
    assert to_html(long) == f'<pre tabindex="0" dir="auto">{long}</pre>'
    assert discord.render(long).text == long
