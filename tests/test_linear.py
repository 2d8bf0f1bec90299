"""No text from outside stops the process: the cost of reading it grows with its length alone.

Each function that transforms or searches such text reads every kind of text that makes patterns and
parsers look again and again. The steps of a regular expression cannot be counted from Python, so
the tests compare costs within one process: the processor time of this thread for a short text and
for one that is sixteen times longer. A linear function takes 16 times as long, a quadratic one 256
times; the limit is 64. A text that costs at most half as much as ordinary Markdown of its length
is always allowed, because such small costs vary by a factor of two or more on a busy machine. All
three are measured again, in turn, before a test fails.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from typing import Any

import pytest

from adapters.discord import events as discord_events
from adapters.discord import render as discord
from adapters.slack import render as slack
from adapters.terminal.chat import _WORD
from adapters.web.page.render import to_html
from bot.logs import Redaction
from bot.operation_texts import View, format_usage
from core import voice
from core.base import markdown, splitting, text, trust
from core.base.errors import PonteError
from core.base.http import HttpAnswer
from core.base.markdown import (
    MAX_BRACKETS,
    MAX_LINES,
    MAX_MARKDOWN_CHARACTERS,
    escape_markdown,
    is_too_complex,
)
from core.base.redaction import redact
from core.base.remote_errors import withhold_secrets
from core.base.spreadsheets import ExportColumn, encode_table
from core.commands import grammar, quick_commands
from core.models.thoughts import GrowingAnswer, remove_thoughts
from core.people.rules import matches_pattern
from core.tools.code import hosted
from core.tools.code import hosted_api as hosted_response
from core.tools.nocodb.bridge_api import explain_bridge_error
from core.tools.stackspot.client import parse_json_text
from tests.time_limits import Limits

LONG_TEXT_CHARACTERS = 16_800
TIMES_LONGER = 16
MAX_COST_RATIO = 4 * TIMES_LONGER
MAX_COST_IN_RICH_TEXTS = 5
"""No text costs more than so many texts of ordinary Markdown of the same length, sanitised."""
SMALL_COST_IN_RICH_TEXTS = 0.5
MEASUREMENTS = 4
PIECE_CHARACTERS = 20
TRUST = trust.Trust(frozenset({"example.com"}))

UNITS = [
    "[", "]", "[]", "![", "[a](", "![a](", "[[a](b)", "[a", "](", "[a]: b\n", "[a][b]", "[a](b \"",
    "`", " ` a ", "``` ", "a`` `b ", "```\n", "~~~\n", " ```a`", "```a b c", "```", "~~~~",
    "<", "<a", "a>", "<http://a", "<http://a|", "<!here", "<@", "</a", "<a|b", "<br ", "<br>",
    "<@U1> ", "&amp;", "&#", "&", "|", "| a ", "|-", ":-:|", "| a | b |\n|---|---|\n", "|a\n",
    "*", "**a ", "*a", "_", "_a ", "~", "~~a ", "\\", "\\*", "\\[", "\\[x](", "*a _",
    "e\u0301", "\u0301\u0316", "\U0001f1eb", "\U0001f468\u200d", "\u200d", "\ufe0f", "\U000e0061",
    "\U0001f3f4\U000e0061", "\u202e", "\ud83d", "漢", "ا\u200d",
    " ", "\n", "\t", "a ", " \n", "\r", "\r\n", ">", "> ", "> a\n", "- ", "- a\n", "1. ", "1",
    "-", "---\n", "#", "# a\n", " #### a", "=\n", ":", ".", "a,", "/", "@", "a@", "a.",
    "http://", "http://a ", "https://a.b(", "http://a.", "(", "()", '"', "'", '"a ', "a=", 'a="',
    "{", '{"a":', "[1,", "a", "A", "- [ ] ", "a. ", '."', "\x1b[", "\x1b]", "xoxb-", "sk-", "eyJ",
    "Bearer ", "://a:", "aaaaaaaaaaaaaaaaaaaaaaaa.", "@here ", "@everyone", "sandbox:/",
    "[a](sandbox:", "host='", "quick-command ", "400: ",
    "<think>", "\n<think>", "</think>", "<think>x</think>\n", "`<think>", "` `` <tool_call> ",
    "    <think>\n", "<code><think>", '{"name": ', "[a(", "to=functions.",
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
PATTERNS = ("*a*a*a*a*b*", "*1*1*1*1*x", "*a.*2025", "a*r")


def grow(said: str) -> str:
    """Read an answer in pieces. Each one costs something for itself, so that very small ones cost
    nearly as much as `MAX_COST_IN_RICH_TEXTS`, which is about the text."""
    growing = GrowingAnswer()
    for at in range(0, len(said), PIECE_CHARACTERS):
        growing.add(said[at : at + PIECE_CHARACTERS])
    growing.end()
    return growing.text


def read_logs(said: str) -> hosted_response.HostedExecution:
    call = {"type": "code_interpreter_call", "outputs": [{"type": "logs", "logs": said}]}
    return hosted_response.parse_execution({"output": [call]})


def report_usage(said: str) -> list[str]:
    """A report on many people of one name."""
    row = {"turns": 1, "input": 2, "cost": None, "estimated": 0}
    rows = [row | {"name": f"slack:U{n}"} for n in range(len(said) // 20)]
    names = {str(each["name"]): "Ana" for each in rows}
    return list(format_usage({"by": "person", "since": "", "rows": rows}, View(UTC, names)))


FUNCTIONS: dict[str, Work] = {
    "clean": text.clean_text,
    "spoken": lambda said: voice._SOUNDS.sub("", said),
    "clip": lambda said: text.truncate_with_note(said, 500),
    "one_line": text.to_one_line,
    "file_name": text.safe_file_name,
    "split": lambda said: splitting.split_text(said, 500),
    "fenced": splitting.make_code_block,
    "fences": lambda said: splitting.fence_after_text(said, None, 16),
    "spans": lambda said: list(splitting.find_code_spans(said)),
    "folded": text.fold_case,
    "markless": escape_markdown,
    "addresses": trust.find_addresses,
    "tamed links": lambda said: TRUST.sanitize(said),
    "csv": lambda said: encode_table([ExportColumn(said)], [[said]], "csv"),
    "typed command": grammar.parse_command,
    "new value": lambda said: grammar.parse_command(f"change abc234 a{said}b"),
    "typed input": lambda said: quick_commands.parse_input(f"a={said}"),
    "withheld": lambda said: redact({said: [said]}),
    "system's error": withhold_secrets,
    "bridge's error": lambda said: explain_bridge_error(
        HttpAnswer(500, {}, json.dumps({"detail": f"500: {said}"}).encode()), "query"
    ),
    "redaction": Redaction(["a secret of ours"]).of,
    "slack: markdown": slack.safe_markdown,
    "slack: parts": lambda said: slack.split_answer(said, 500),
    "slack: content": lambda said: slack.PostContent(said).build_whole(),
    "slack: plainly": lambda said: slack.PostContent(said).build_plain(),
    "slack: settled_length": slack.settled_length,
    "slack: mentioned": slack.mentioned_ids,
    "slack: readable": lambda said: slack.to_readable(said, {"U2": "Ana"}, "U1"),
    "slack: fit": lambda said: slack.cut_unescaped(said, 500),
    "discord: pages": lambda said: discord.paginate(said),
    "discord: inert": discord.disable_markup,
    "discord: columns": discord.count_columns,
    "discord: names": discord_events.ReferencedNames(None, {}).write,
    "web: html": to_html.__wrapped__,
    "terminal: files": _WORD.findall,
    "hosted: links": markdown.without_container_links,
    "hosted: failed": read_logs,
    "hosted: fenced": hosted.CodePrompt.of,
    "stackspot: json": parse_json_text,
    "a rule's pattern": lambda said: [matches_pattern(one, said) for one in PATTERNS],
    "thoughts": remove_thoughts,
    "thoughts, as they stream in": grow,
    "usage of people": report_usage,
}
AT_MOST_ONE_POST = ("slack: content", "slack: plainly")
"""Functions that never get more than one post of Slack's holds."""
MARKDOWN_READERS = ("tamed links", "discord: pages", "web: html")


@pytest.fixture(autouse=True)
def small_parts_and_no_collector(limits: Limits) -> Iterator[None]:
    """Also the short text is cut into parts: else a longer one costs more for that reason."""
    limits(SECTION_BYTES=400)
    limits(LIMIT=500)
    gc.disable()
    yield
    gc.enable()


def repeat(unit: str, length: int) -> str:
    return (unit * (length // len(unit) + 1))[:length]


def measure(work: Work, said: str) -> float:
    """The processor time of this thread. A refusal in words is a result, too."""
    began = time.thread_time()
    with contextlib.suppress(ValueError, PonteError):
        work(said)
    return time.thread_time() - began


@functools.cache
def measure_rich_text(length: int, attempt: int) -> float:
    """It is read as Markdown also where a test has lowered the limit for that."""
    rich = repeat(RICH, length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markdown, "MAX_MARKDOWN_CHARACTERS", MAX_MARKDOWN_CHARACTERS)
        return min(measure(TRUST.sanitize, rich) for _ in range(3))


def find_excess(work: Work, unit: str, length: int) -> str:
    """Say why a text costs too much for its length; return "" where it does not.

    Other programs can only add to a measured time, so the lowest one of each kind counts. The
    number at the end of each text keeps caches out; no pattern looks for the letter before it.
    """
    short = long = rich = float("inf")
    for attempt in range(MEASUREMENTS):
        long = min(long, measure(work, f"{repeat(unit, length)}x{attempt}"))
        rich = min(rich, measure_rich_text(length, attempt))
        if long <= SMALL_COST_IN_RICH_TEXTS * rich:
            return ""
        for number in (2 * attempt, 2 * attempt + 1):
            message = f"{repeat(unit, length // TIMES_LONGER)}x{number}"
            short = min(short, measure(work, message))
        if long <= min(MAX_COST_RATIO * short, MAX_COST_IN_RICH_TEXTS * rich):
            return ""
    return f"{unit!r}: {long / short:.0f} times a shorter text, {long / rich:.1f} rich texts"


def find_all_excess(work: Work, length: int) -> list[str]:
    measure(work, RICH)  # compiles patterns and imports parsers
    return [why for unit in UNITS if (why := find_excess(work, unit, length))]


def test_a_cost_that_grows_with_the_square_of_the_length_is_found() -> None:
    quadratic, length = re.compile("[^y]*y"), LONG_TEXT_CHARACTERS // 3
    assert "times a shorter text" in find_excess(quadratic.search, "a", length)
    assert find_excess(str.split, "a ", length) == ""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_cost_grows_with_the_length_alone(name: str) -> None:
    length = slack.ANSWER_PART_BYTES if name in AT_MOST_ONE_POST else LONG_TEXT_CHARACTERS
    assert find_all_excess(FUNCTIONS[name], length) == []


@pytest.mark.parametrize("name", MARKDOWN_READERS)
def test_cost_grows_with_the_length_of_what_is_too_long_to_be_read_as_markdown(
    name: str, limits: Limits
) -> None:
    limits(MAX_MARKDOWN_CHARACTERS=LONG_TEXT_CHARACTERS // TIMES_LONGER)
    assert find_all_excess(FUNCTIONS[name], LONG_TEXT_CHARACTERS) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MARKDOWN_READERS)
def test_all_brackets_and_lines_that_are_read_as_markdown_cost_little(name: str) -> None:
    """A text has as many of a unit as `is_plain` allows, whose limits stand in no other test."""
    wrong = []
    for unit in UNITS:
        brackets, lines = unit.count("[") + unit.count("]"), unit.count("\n")
        if brackets or lines:
            times = min(
                MAX_MARKDOWN_CHARACTERS // len(unit),
                MAX_BRACKETS // brackets if brackets else MAX_MARKDOWN_CHARACTERS,
                (MAX_LINES - 1) // lines if lines else MAX_MARKDOWN_CHARACTERS,
            )
            message = unit * times
            assert not is_too_complex(message)
            costs = (
                measure(FUNCTIONS[name], message)
                / measure_rich_text(MAX_MARKDOWN_CHARACTERS, attempt)
                for attempt in range(MEASUREMENTS)
            )
            if all(cost > MAX_COST_IN_RICH_TEXTS for cost in costs):
                wrong.append(unit)
    assert wrong == []


def test_longer_text_and_too_many_brackets_are_shown_plain() -> None:
    assert not is_too_complex("a" * MAX_MARKDOWN_CHARACTERS)
    assert is_too_complex("a" * (MAX_MARKDOWN_CHARACTERS + 1))
    assert not is_too_complex("[]" * (MAX_BRACKETS // 2))
    assert is_too_complex("[]" * (MAX_BRACKETS // 2) + "[")
    assert is_too_complex("-\n" * MAX_LINES)
    long = "**a** " * MAX_MARKDOWN_CHARACTERS
    assert to_html(long) == f'<pre tabindex="0" dir="auto">{long}</pre>'
    assert discord.to_discord(long).text == long
