"""Each turn is answered in its asker's language, whatever is said beside it."""

from __future__ import annotations

import gettext
from collections.abc import Sequence
from dataclasses import replace

import pytest

from core.base import i18n
from core.domain.messages import Message
from core.turn.run import LinkRules, TurnConfig
from tests.dialogues.bot_home import BotHome


class Tagged(gettext.NullTranslations):
    def __init__(self, locale: str) -> None:
        super().__init__()
        self._locale = locale

    def gettext(self, message: str) -> str:
        return f"[{self._locale}] {message}"

    def ngettext(self, one: str, many: str, n: int) -> str:
        return self.gettext(one if n == 1 else many)


@pytest.fixture(autouse=True)
def _tag_translations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i18n, "catalogue", Tagged)


async def test_commands_errors_and_stops_are_in_the_asker_s_language(bot_home: BotHome) -> None:
    """The platform tells it when the turn starts; where it does not, the operator's setting is."""

    async def look_up(message: Message, pointed: bool) -> tuple[Message, Sequence[str]]:
        texts = "pt_BR" if message.author.id == "owner" else ""
        return replace(message, locale=texts), ()

    async with bot_home.open(profile=TurnConfig(locale="fr")) as ponte:
        assert (await ponte.ask("help")).text.startswith("[fr] Ask me anything")
        ponte.engine.platforms.look_up["web"] = look_up
        for text in ("help", "status", "usage", "new", "stop", "changes", "forget"):
            messages = (await ponte.ask(text)).text
            assert messages.startswith("[pt-BR] "), text
            assert "[fr]" not in messages
        assert (await ponte.ask("quick-command none")).text.startswith("[pt-BR] ")
        assert (await ponte.ask("approve abcde2")).text.startswith("[pt-BR] ")
        assert (await ponte.ask("```python\n1\n```")).text.startswith("[pt-BR] ")


async def test_help_names_the_guide_if_people_can_open_it(bot_home: BotHome) -> None:
    for url in ("", "https://ponte.example.com/guide"):
        profile = TurnConfig(guide_url=url, links=LinkRules(own_addresses=frozenset({url}) - {""}))
        async with bot_home.open(profile=profile) as ponte:
            text = (await ponte.ask("help")).text
            assert text.endswith(f"\n\n[en] How to chat with me: {url}") == bool(url)
