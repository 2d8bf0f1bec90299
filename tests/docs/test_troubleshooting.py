"""docs/guides/troubleshooting.md quotes only what Ponte can say, and what its setup says is clear.

A failure that a command or `ponte doctor` reports says what to do, or the page has a row for it.
"""

from __future__ import annotations

import functools
import re

from tests.docs.failures import failures, plain
from tests.languages.sentences import ROOT, sentences

TEXT = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text("utf-8")
QUOTED = [" ".join(one.split()) for one in re.findall(r"“([^”]+)”", TEXT)]
GENERAL = {
    "NAME: write …",
    "ponte.toml:12: …",
    "Can't read the file …/.env (…)",
    "Ponte answered with HTTP …",
    "… is in …/.env, but … is set elsewhere",
    "The request took too long to arrive.",
    "operation_timeout",
    "This interaction failed",
    "The application did not respond",
}
"""Words that are made without a catalogue, or are a platform's own."""


_VERBS = (
    "add|allow|approve|ask|change|check|choose|connect|copy|correct|create|delete|do|don't|enter|give|install|let|make|"
    "mention|move|name|open|paste|put|remove|rename|repeat|restart|restore|revoke|run|see|send|set|specify|start|"
    "stop|try|turn|type|use|wait|write"
)
_INSTRUCTION = re.compile(
    rf"(?:^|[.;:,] |\) )(?:then |or |and )?(?:{_VERBS})\b|`ponte [a-z]+ ", re.IGNORECASE
)
"""A clause that begins with a verb, or names a command."""
_SET_UP_FILES = (
    "setup.py",
    "adapters/slack/__init__.py",
    "adapters/discord/__init__.py",
    "adapters/web/__init__.py",
)


@functools.cache
def pattern(quoted: str) -> re.Pattern[str]:
    """What begins so: `…` stands for what differs, also for some words of a sentence."""
    parts = (re.escape(part) for part in quoted.split("…"))
    return re.compile(".+?".join(parts), re.DOTALL)


def is_explained(sentence: str) -> bool:
    text = plain(sentence)
    return text in QUOTED or any(begins(text, one) for one in QUOTED if enough(one))


def begins(sentence: str, quoted: str) -> bool:
    """Whether the sentence begins with what is quoted."""
    return sentence.startswith(quoted.partition("…")[0]) and bool(pattern(quoted).match(sentence))


@functools.cache
def enough(quoted: str) -> bool:
    """Whether it has so many letters that it means one sentence and not many."""
    return len(re.sub(r"[\W\d]", "", quoted)) >= 7


def tells_what_to_do(sentence: str) -> bool:
    return bool(_INSTRUCTION.search(plain(sentence)))


def is_of_set_up(files: set[str]) -> bool:
    return any(name.startswith("bot/") or name.endswith(_SET_UP_FILES) for name in files)


def test_every_failure_of_the_set_up_says_what_to_do_or_is_explained() -> None:
    """A new one needs an instruction ("Check NAME.") or a row with its beginning in “ ”."""
    unclear = [
        plain(one)
        for one, files in failures().items()
        if is_of_set_up(files) and not tells_what_to_do(one) and not is_explained(one)
    ]
    assert sorted(unclear) == []


@functools.cache
def all_sentences() -> tuple[str, ...]:
    """All that can be read from Ponte."""
    keys = [(key,) if isinstance(key, str) else key for key in sentences()]
    return tuple(plain(one) for one in (*failures(), *(one for key in keys for one in key)))


def test_what_is_quoted_can_be_said() -> None:
    values = sorted(set(QUOTED) - GENERAL)
    assert [one for one in values if not any(begins(text, one) for text in all_sentences())] == []
