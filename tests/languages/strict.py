"""While tests run, the catalogue is stricter: what is said must be in it."""

from __future__ import annotations

import ast
import errno
import functools
import os
from collections.abc import Callable
from gettext import NullTranslations

from core import i18n
from tests.languages.sentences import NO_WORDS, parsed, sentences

SYSTEM = frozenset(map(os.strerror, errno.errorcode))
"""What an operating system says of an error stands in ours as it is."""
unknown: set[str] = set()
"""Sentences of the product that were said, and that `make languages` does not find."""


class Strict:
    """A catalogue that notes what is not in any."""

    def __init__(self, inner: NullTranslations) -> None:
        self._inner = inner

    def gettext(self, text: str) -> str:
        check(text)
        return self._inner.gettext(text)

    def ngettext(self, one: str, many: str, count: int) -> str:
        check(one)
        return self._inner.ngettext(one, many, count)


def check(text: str) -> None:
    if text in written() - known() - SYSTEM and not NO_WORDS.match(text):
        unknown.add(text)


@functools.cache
def known() -> frozenset[str]:
    return frozenset(key if isinstance(key, str) else key[0] for key in sentences())


@functools.cache
def written() -> frozenset[str]:
    """Every text in the product's code: what a test makes up is no sentence of ours."""
    return frozenset(
        node.value
        for tree in parsed().trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    )


def install() -> None:
    """Reading the code takes seconds, in which no test should stand still."""
    known(), written()
    found: Callable[[str], NullTranslations] = i18n.catalogue
    i18n.catalogue = lambda locale: Strict(found(locale))  # type: ignore[assignment]
