"""A whole talk in each language: the commands, a card, a decision, and what goes wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.domain.messages import Answer
from tests.dialogues.decisions import bot
from tests.dialogues.stage import BotHome, RunningBot
from tests.fakes.choices import make_message
from tests.fakes.memory_table import MemoryTable

EXPECTED = {
    "en": (
        "Ask me anything", "Connections:", "Create a row in People", "Asked by Ana.",
        "Approved by Ana. Done. New rows: 1.", "Used today:\n- you: 1 turn, ",
        "Request zzzzz2 not found.", "Deleted this conversation (6 messages).",
    ),
    "pt-BR": (
        "Pergunte o que quiser", "Conexões:", "Criar uma linha em People",
        "Pedido de Ana.", "Aprovada por Ana. Feito. Linhas novas: 1.",
        "Usado hoje:\n- você: 1 pedido, ", "Não encontrei a solicitação zzzzz2.",
        "Conversa excluída (6 mensagens).",
    ),
    "fr": (
        "Demandez ce que vous voulez", "Connexions :", "Créer une ligne dans People",
        "Demande faite par Ana.", "Approuvée par Ana. Fait. Nouvelles lignes\u00a0: 1.",
        "Utilisation du jour :\n- vous : 1 demande, ",
        "Demande zzzzz2 introuvable.",
        "Conversation supprimée (6 messages).",
    ),
}  # fmt: skip
COMMANDS = {
    "en": ("help", "status", "usage", "approve", "forget yes"),
    "pt-BR": ("ajuda", "estado", "uso", "aprovar", "esquecer sim"),
    "fr": ("aide", "état", "utilisation", "approuver", "oublier oui"),
}


@pytest.mark.parametrize("locale", EXPECTED)
async def test_a_conversation_in_each_language(theatre: BotHome, locale: str) -> None:
    help, status, usage, approve, forget = COMMANDS[locale]
    hello, connected, title, asked, done, used, missing, forgotten = EXPECTED[locale]

    async def ask_in_language(stage: RunningBot, text: str) -> Answer:
        return await stage.ask_message(replace(make_message(text, f"k-{text[:40]}"), locale=locale))

    async with bot(theatre, MemoryTable()) as stage:
        assert (await ask_in_language(stage, help)).text.startswith(hello)
        assert (await ask_in_language(stage, status)).text.startswith(connected)
        proposed = await ask_in_language(stage, 'call table_create {"rows": [{"Name": "Ada"}]}')
        card = proposed.cards[0]
        assert (card.title, card.text.startswith(asked)) == (title, True)
        assert (await ask_in_language(stage, f"{approve} {card.id}")).text.startswith(done)
        assert (await ask_in_language(stage, usage)).text.startswith(used)
        assert (await ask_in_language(stage, f"{approve} zzzzz2")).text == missing
        assert (await ask_in_language(stage, forget)).text.startswith(forgotten)
        again = await stage.ask_message(replace(make_message("forget yes", "k-again"), locale="en"))
        assert again.text.startswith("Forgotten: 1 message of"), "what was not forgotten before"
