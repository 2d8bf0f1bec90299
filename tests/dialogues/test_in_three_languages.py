"""A whole talk in each language: the commands, a card, a decision, and what goes wrong."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from core.changes.card_rows import read_rows
from core.domain.messages import Answer
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import bot
from tests.fakes.choices import make_message
from tests.fakes.memory_table import MemoryTable

EXPECTED = {
    "en": (
        "Ask me anything. You can also type one of these commands:\n- `help`: show this help",
        "Connections:", "Create a row in People", "Requested by you.",
        "Approved by Ana. Done. To undo this change, type `undo ",
        "Usage today:\n- you: 1 message, ",
        "Request zzzzz2 not found.", "Deleted this conversation (7 messages).",
    ),
    "pt-BR": (
        "Pergunte o que quiser. Você também pode digitar um destes comandos (os comandos "
        "em inglês também funcionam):\n- `ajuda`: mostrar esta ajuda",
        "Conexões:", "Criar uma linha em People", "Solicitação sua.",
        "Solicitação aprovada por Ana. Concluída. Para desfazer esta alteração, digite `desfazer ",
        "Uso de hoje:\n- você: 1 mensagem, ",
        "Não encontrei a solicitação zzzzz2.", "Conversa excluída (7 mensagens).",
    ),
    "fr": (
        "Demandez-moi ce que vous voulez. Vous pouvez aussi taper une de ces commandes (les "
        "commandes en anglais fonctionnent aussi)\u00a0:\n- `aide`\u00a0: afficher cette aide",
        "Connexions\u00a0:", "Créer une ligne dans People", "Demande faite par vous.",
        "Demande approuvée par Ana. Effectuée. Pour annuler cette modification, tapez `annuler ",
        "Utilisation du jour\u00a0:\n- vous\u00a0: 1 message, ",
        "Demande zzzzz2 introuvable.", "Conversation supprimée (7 messages).",
    ),
}  # fmt: skip
UNDO = {
    "en": ("undo", r"Undone \(`\w{6}`\)\.\n- Deleted: Ada"),
    "pt-BR": ("desfazer", r"Alteração desfeita \(`\w{6}`\)\.\n- Exclusão: Ada"),
    "fr": ("annuler", r"Modification annulée \(`\w{6}`\)\.\n- Suppression\u00a0: Ada"),
}
CHANGED = {
    "en": "Value: – → Nov 18, 2026 · Status: Lead → Won",
    "pt-BR": "Value: – → 18 de nov. de 2026 · Status: Lead → Won",
    "fr": "Value: – → 18 nov. 2026 · Status: Lead → Won",
}
COMMANDS = {
    "en": ("help", "status", "usage", "approve", "forget yes"),
    "pt-BR": ("ajuda", "estado", "uso", "aprovar", "esquecer sim"),
    "fr": ("aide", "état", "utilisation", "approuver", "oublier oui"),
}


@pytest.mark.parametrize("locale", EXPECTED)
async def test_a_conversation_in_each_language(bot_home: BotHome, locale: str) -> None:
    help, status, usage, approve, forget = COMMANDS[locale]
    hello, connected, title, question, outcome, usages, missing, memory = EXPECTED[locale]

    async def ask_in_language(ponte: RunningBot, text: str) -> Answer:
        return await ponte.ask_message(replace(make_message(text, f"k-{text[:40]}"), locale=locale))

    async with bot(bot_home, MemoryTable()) as ponte:
        assert (await ask_in_language(ponte, help)).text.startswith(hello)
        assert (await ask_in_language(ponte, status)).text.startswith(connected)
        proposal = await ask_in_language(ponte, 'call table_create {"rows": [{"Name": "Ada"}]}')
        card = proposal.cards[0]
        assert (card.title, card.text.startswith(question)) == (title, True)
        assert (await ask_in_language(ponte, f"{approve} {card.id}")).text.startswith(outcome)
        assert (await ask_in_language(ponte, usage)).text.startswith(usages)
        undone = await ask_in_language(ponte, f"{UNDO[locale][0]} {card.id}")
        assert re.fullmatch(UNDO[locale][1], undone.text), "one sentence and the row"
        assert (await ask_in_language(ponte, f"{approve} zzzzz2")).text == missing
        assert (await ask_in_language(ponte, forget)).text.startswith(memory)
        again = await ponte.ask_message(replace(make_message("forget yes", "k-again"), locale="en"))
        assert again.text.startswith("Deleted this conversation (1 message)."), "not the rest"


async def test_a_card_has_dates_in_the_language_of_its_reader(bot_home: BotHome) -> None:
    table = MemoryTable({"1": {"Name": "Ada", "Status": "Lead", "Value": None}})
    after = '{"Name": "Ada", "Status": "Won", "Value": "2026-11-18"}'
    call = f'call table_update {{"rows": {{"1": {after}}}}}'
    async with bot(bot_home, table) as ponte:
        for locale, change in CHANGED.items():
            variant = replace(make_message(call, locale), locale=locale)
            (card,) = (await ponte.ask_message(variant)).cards
            (row,) = read_rows(card.rows)
            values = (row.name, sorted(row.text.split(" · ")))
            assert values == ("Ada", sorted(change.split(" · ")))
