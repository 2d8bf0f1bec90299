"""docs/guides/troubleshooting.md explains every failure that the code can tell, and no other."""

from __future__ import annotations

import functools
import re

from tests.docs.failures import failures, plain
from tests.languages.sentences import ROOT, sentences

TEXT = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text("utf-8")
QUOTED = [" ".join(one.split()) for one in re.findall(r"“([^”]+)”", TEXT)]
GENERAL = {
    "NAME: write …", "ponte.toml:12: …", "The file .env cannot be read (…)",
    "Ponte answered with HTTP …",
    "… is in …/.env, but … is set in the environment",
    "The request took too long to arrive.", "operation_timeout", "This interaction failed",
    "The application did not respond",
}  # fmt: skip
"""Words that are made without a catalogue, or are a platform's own."""


@functools.cache
def pattern(quoted: str) -> re.Pattern[str]:
    """What begins so: `…` stands for what differs, also for some words of a sentence."""
    parts = (re.escape(part) for part in quoted.split("…"))
    return re.compile(".+?".join(parts), re.DOTALL)


def is_explained(sentence: str) -> bool:
    told = plain(sentence)
    return told in QUOTED or any(begins(told, one) for one in QUOTED if enough(one))


def begins(sentence: str, quoted: str) -> bool:
    """Whether the sentence begins with what is quoted."""
    return sentence.startswith(quoted.partition("…")[0]) and bool(pattern(quoted).match(sentence))


@functools.cache
def enough(quoted: str) -> bool:
    """Whether it has so many letters that it means one sentence and not many."""
    return len(re.sub(r"[\W\d]", "", quoted)) >= 7


def test_every_failure_is_explained() -> None:
    """A new one needs a row with its beginning in “ ”, in the part where it is seen."""
    assert sorted(plain(one) for one in failures() if not is_explained(one)) == []


@functools.cache
def all_sentences() -> tuple[str, ...]:
    """All that can be read from Ponte."""
    keys = [(key,) if isinstance(key, str) else key for key in sentences()]
    return tuple(plain(one) for one in (*failures(), *(one for key in keys for one in key)))


def test_what_is_quoted_can_be_said() -> None:
    quoted = sorted(set(QUOTED) - GENERAL)
    assert [one for one in quoted if not any(begins(told, one) for told in all_sentences())] == []
