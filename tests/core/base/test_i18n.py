"""In which language a sentence is said."""

from __future__ import annotations

import asyncio
import gettext

import pytest

from core.base import i18n
from core.base.i18n import LANGUAGE, say
from core.base.tasks import run_together


class Tagged(gettext.NullTranslations):
    def __init__(self, locale: str) -> None:
        super().__init__()
        self._locale = locale

    def gettext(self, message: str) -> str:
        return f"{self._locale or 'none'}: {message}"


@pytest.fixture(autouse=True)
def _tag_translations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i18n, "catalogue", Tagged)


async def test_a_turn_s_language_is_its_own_and_goes_with_what_it_awaits() -> None:
    async def say_in_language(locale: str) -> tuple[str, ...]:
        LANGUAGE.set(locale)
        await asyncio.sleep(0)  # the other one has set its own now
        return await run_together(aside(), asyncio.to_thread(say, "Done."))

    async def aside() -> str:
        return say("Done.")

    french, brazilian = await asyncio.gather(say_in_language("fr"), say_in_language("pt-BR"))
    assert set(french) == {"fr: Done."}
    assert set(brazilian) == {"pt-BR: Done."}
    assert say("Done.") == "en: Done."


async def test_a_named_locale_comes_first() -> None:
    LANGUAGE.set("fr")
    assert say("Done.", "en") == "en: Done."
    assert say("Done.", "") == "en: Done.", "a platform that does not tell is no turn"
