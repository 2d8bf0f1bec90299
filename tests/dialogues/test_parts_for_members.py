"""Facts for administrators are not shown to members: in `status` and on Slack's Home tab."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adapters.slack.render import home_view
from core.base.i18n import use_locale
from core.base.markdown import defang
from core.domain.messages import Address, Person
from core.domain.records import Health
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import bot, on_slack
from tests.fakes.choices import allow_list
from tests.fakes.memory import MemoryBoard
from tests.fakes.memory_table import MemoryTable

LINES = {
    "en": ("Answers: available", "Tables: not available"),
    "pt-BR": ("Respostas: funcionando", "Tabelas: fora do ar"),
    "fr": ("Réponses\u00a0: en service", "Tables\u00a0: hors service"),
}
FACTS = [
    Health("model", "on", "http://10.0.0.1:11434"), Health("nocodb", "failing", "ECONNREFUSED"),
    Health("code", "off", "Landlock is missing; install bubblewrap"),
    Health("web", "on", "http://127.0.0.1:8080"),
]  # fmt: skip
MEMBER, ADMIN = Person("slack", "U1", "T1", "Bia"), Person("slack", "U9", "T1", "Eva")


@pytest.mark.parametrize("locale", LINES)
async def test_a_member_reads_only_what_works(bot_home: BotHome, locale: str) -> None:
    async with bot(bot_home, MemoryTable(), policy=allow_list(frozenset({"*"}))) as ponte:
        members = await ponte.ask_message(replace(on_slack("status", "k1"), locale=locale))
        for line in LINES[locale]:
            assert line in members.text
        assert "echo" not in members.text
        assert "NOCODB_URL" not in members.text
        owners = await ponte.ask("status")
        assert "echo" in owners.text
        assert "NOCODB_URL" in owners.text


@pytest.mark.parametrize("locale", LINES)
async def test_a_members_home_on_slack_has_no_addresses_or_causes(locale: str) -> None:
    board, where = MemoryBoard(), Address("slack", "D1", "T1")
    board.parts = FACTS
    policy = allow_list(frozenset({"*"}), frozenset({"slack:U9"}))
    with use_locale(locale):
        members = json.dumps(await home_view(board, policy, MEMBER, where), ensure_ascii=False)
        admins = json.dumps(await home_view(board, policy, ADMIN, where), ensure_ascii=False)
    for line in LINES[locale]:
        assert line in members
    for fact in FACTS:
        assert fact.words not in members
        assert defang(fact.words) in admins
