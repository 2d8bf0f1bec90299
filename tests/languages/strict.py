"""Report a test in which the product says a sentence that no catalogue has.

A sentence counts when its text is a string of the product's code; texts that a test makes up do
not. Hypothesis makes some up from the strings of the code, so nothing counts that is said in a test
of its own. `Strict` only records what is said; `take_unknown` looks it up after each test. A text
that is missing from the catalogues is looked for in the few source files that contain all of its
words, in what Python compiled from them.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from gettext import NullTranslations
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import cast

from core.base import i18n
from tests.languages.sentences import NO_WORDS, is_translated, read

ROOT = Path(__file__).parents[2]
SYSTEM_MESSAGES = frozenset(map(os.strerror, errno.errorcode))
"""The operating system's words for an error are shown as they are."""
_said: set[str] = set()
_said_in_english: set[str] = set()
_found_known: set[str] = set()
"""Texts that an earlier test said and that were found to be known or not ours."""


class Strict:
    """A gettext catalogue that records each text it is asked for, and those that it leaves in
    English."""

    def __init__(self, inner: NullTranslations, locale: str) -> None:
        self._inner, self._locale = inner, locale

    def gettext(self, text: str) -> str:
        self._note(text)
        return self._inner.gettext(text)

    def ngettext(self, one: str, many: str, count: int) -> str:
        self._note(one)
        return self._inner.ngettext(one, many, count)

    def _note(self, text: str) -> None:
        note_said(text)
        if text in _list_untranslated(self._locale):
            _said_in_english.add(text)


@functools.cache
def _list_untranslated(locale: str) -> frozenset[str]:
    if locale == "en":
        return frozenset()
    messages = [each for each in read(locale.replace("-", "_")) if not is_translated(each)]
    return frozenset(each.id if isinstance(each.id, str) else each.id[0] for each in messages)


def take_said_in_english() -> list[str]:
    """Return what was said without its translation since the last call."""
    texts = sorted(_said_in_english)
    _said_in_english.clear()
    return texts


def note_said(text: str) -> None:
    hypothesis = sys.modules.get("hypothesis")
    if hypothesis is None or not hypothesis.currently_in_test_context():
        _said.add(text)


def install() -> None:
    """Replace the product's catalogues by recording ones."""
    find: Callable[[str], NullTranslations] = i18n.catalogue
    i18n.catalogue = lambda locale: cast(NullTranslations, Strict(find(locale), locale))


def report_untranslated(sentences: Iterable[object], problem: str) -> str:
    """Warn of sentences without a translation, which people read in English. With `CI=true`, return
    the failure instead, "" if there is none."""
    listed = sorted(map(repr, sentences))
    if not listed:
        return ""
    text = f"Untranslated: {problem}: {', '.join(listed)}"
    if os.environ.get("CI") == "true":
        return text
    warnings.warn(text, stacklevel=2)
    return ""


def take_unknown() -> list[str]:
    """Return the product's sentences said since the last call that no catalogue has."""
    if not _said:
        return []
    fresh = _said - _found_known
    _said.clear()
    unknown = sorted(text for text in fresh if not is_known(text))
    _found_known.update(fresh.difference(unknown))
    return unknown


def is_known(text: str) -> bool:
    """Return whether a catalogue has `text`, or the product's code does not have it."""
    if text in _catalogue_texts() or text in SYSTEM_MESSAGES or " " not in text:
        return True
    if NO_WORDS.match(text):
        return True
    words = set(re.findall(r"\w+", text))
    return not any(
        text in _strings(path) for path, source in _sources().items() if words <= _words(source)
    )


@functools.cache
def _catalogue_texts() -> frozenset[str]:
    from babel.messages.pofile import read_po

    with (ROOT / "core/locale/fr/LC_MESSAGES/ponte.po").open("rb") as file:
        ids = [message.id for message in read_po(file, locale="fr")]
    return frozenset(one if isinstance(one, str) else one[0] for one in ids)


@functools.cache
def _sources() -> dict[Path, str]:
    paths = [path for top in ("adapters", "bot", "core") for path in (ROOT / top).rglob("*.py")]
    return {path: path.read_text("utf-8") for path in paths}


@functools.cache
def _words(source: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", source))


@functools.cache
def _strings(path: Path) -> frozenset[str]:
    """Every string constant of a source file."""
    return frozenset(_strings_in(SourceFileLoader(path.stem, str(path)).get_code(path.stem)))


def _strings_in(constant: object) -> Iterator[str]:
    if isinstance(constant, str):
        yield constant
    elif isinstance(constant, CodeType | tuple | frozenset):
        for each in constant.co_consts if isinstance(constant, CodeType) else constant:
            yield from _strings_in(each)
