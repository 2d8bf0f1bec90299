"""The one catalogue: every sentence that a person can read from Ponte goes through `say`.

The English text is the source and the key. Catalogues are gettext files under `core/locale`;
a locale without one reads English. Within a turn, and all that it awaits, `LANGUAGE` is that of
whoever asked; what others read, or is drawn later, names its locale.
"""

from __future__ import annotations

import functools
import gettext
from contextvars import ContextVar
from pathlib import Path

LOCALES = ("en", "pt-BR", "fr")
LANGUAGE: ContextVar[str] = ContextVar("language", default="en")
_FOLDER = Path(__file__).parent / "locale"


def say(text: str, locale: str | None = None, /, **values: object) -> str:
    """`text` in `locale` (None: in `LANGUAGE`), with `{name}` replaced by `values["name"]`."""
    sentence = _catalogue(LANGUAGE.get() if locale is None else locale).gettext(text)
    return sentence.format(**values) if values else sentence


def nearest(locale: str) -> str:
    """The locale of ours that serves a platform's `locale` (`pt_PT`, `fr-CA`) best."""
    language = locale.replace("_", "-").split("-")[0].lower()
    return next((ours for ours in LOCALES if ours.split("-")[0] == language), "en")


@functools.cache
def _catalogue(locale: str) -> gettext.NullTranslations:
    return gettext.translation("ponte", _FOLDER, [nearest(locale).replace("-", "_")], fallback=True)
