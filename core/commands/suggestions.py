"""Messages that an answer suggests: the page makes buttons of them, which only fill them in."""

from __future__ import annotations

import functools
import re

from core.base.errors import PonteError
from core.base.i18n import LOCALES, say
from core.commands.grammar import parse_command

NEXT_LINE = "Next, try: `{message}`"
MAX_SUGGESTION_CHARACTERS = 200
_ADDRESS_OR_MENTION = re.compile(r"://|www\.|[@#<>]")


def is_suggestion(label: str, message: str) -> bool:
    """Return whether `message`, written as code after `label` in a line as `NEXT_LINE`, is for the
    model: no command, without addresses and mentions. The label may be in any language, because
    answers are shown again in another one."""
    if label.strip() not in _list_labels() or len(message) > MAX_SUGGESTION_CHARACTERS:
        return False
    try:
        return parse_command(message) is None and not _ADDRESS_OR_MENTION.search(message)
    except PonteError:
        return False


@functools.cache
def _list_labels() -> frozenset[str]:
    return frozenset(say(NEXT_LINE, locale, message="").strip("` ") for locale in LOCALES)
