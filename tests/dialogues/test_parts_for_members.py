"""Facts for administrators are not shown to members: in `status` and on Slack's Home tab."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.base.i18n import use_locale
from core.domain.messages import Person
from core.domain.records import Health
from core.tools.sample import open_sample_base
from core.tools.sample.base import SampleSource
from core.turn.explanations import describe_parts
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import bot, on_slack
from tests.fakes.choices import allow_list
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel

LINES = {
    "en": ("Answers: available", "Tables: not available"),
    "pt-BR": ("Respostas: funcionando", "Tabelas: fora do ar"),
    "fr": ("Réponses\u00a0: disponible", "Tables\u00a0: non disponible"),
}
WITHOUT_A_BASE = {
    "en": ("Tables: none connected", "Tables: only sample tables"),
    "pt-BR": ("Tabelas: nenhuma conectada", "Tabelas: só tabelas de exemplo"),
    "fr": ("Tables\u00a0: aucune connectée", "Tables\u00a0: seulement des tables d’exemple"),
}
FACTS = [
    Health("model", "on", "http://10.0.0.1:11434"),
    Health("nocodb", "failing", "ECONNREFUSED"),
    Health("code", "off", "Landlock is missing; install bubblewrap"),
    Health("web", "on", "http://127.0.0.1:8080"),
]
MEMBER, ADMIN = Person("slack", "U1", "T1", "Bia"), Person("slack", "U9", "T1", "Eva")


async def test_a_member_reads_only_what_works(bot_home: BotHome) -> None:
    async with bot(bot_home, MemoryTable(), policy=allow_list(frozenset({"*"}))) as ponte:
        for locale in LINES:
            members = await ponte.ask_message(replace(on_slack("status", locale), locale=locale))
            for line in (LINES[locale][0], WITHOUT_A_BASE[locale][0]):
                assert line in members.text
            assert "echo" not in members.text
            assert "NOCODB_URL" not in members.text
        owners = await ponte.ask("status")
        assert "echo" in owners.text
        assert "NOCODB_URL" in owners.text


@pytest.mark.parametrize("locale", LINES)
def test_no_base_and_sample_tables_are_told_apart(locale: str) -> None:
    off, sample = Health("nocodb", "off", "set NOCODB_URL"), Health("sample", "on")
    with use_locale(locale):
        matches = (describe_parts([off]), describe_parts([off, sample]))
    assert matches == tuple([line] for line in WITHOUT_A_BASE[locale])


NO_TABLES = {
    "en": "No tables that you can ask about are connected.",
    "pt-BR": "Nenhuma tabela que você possa consultar está conectada.",
    "fr": "Aucune table que vous puissiez consulter n’est connectée.",
}


async def test_help_and_the_model_say_that_no_tables_are_connected(bot_home: BotHome) -> None:
    model, everybody = EchoModel(), allow_list(frozenset({"*"}))
    tables = SampleSource(open_sample_base(bot_home.home, "UTC"), "Shop")
    async with bot_home.open(model, policy=everybody) as ponte:
        for locale, words in NO_TABLES.items():
            answer = await ponte.ask_message(replace(on_slack("help", locale), locale=locale))
            assert answer.text.endswith(words)
        await ponte.ask_message(on_slack("how many orders?", "k2"))
    everybody.sources["sample"] = lambda rights: rights.is_invited
    async with bot_home.open(model, [tables], policy=everybody) as ponte:
        answer = await ponte.ask_message(on_slack("help", "k3"))
        assert NO_TABLES["en"] not in answer.text
        await ponte.ask_message(on_slack("how many orders?", "k4"))
    without, with_tables = (request.preface for request in model.asks)
    assert "No tables are connected for the asker" in without
    assert "No tables" not in with_tables
