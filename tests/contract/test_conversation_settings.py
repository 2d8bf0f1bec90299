"""The model's titles and people's instructions of conversations, over both databases."""

from __future__ import annotations

import time

import pytest
import time_machine

from core.store.conversation_settings import UNUSED_INSTRUCTIONS_SECONDS, SqlConversationSettings
from core.store.personal_data import SqlPersonalData
from tests.contract.engines import Embedded
from tests.contract.test_journal_threads import talk
from tests.fakes.choices import ANA


@pytest.fixture
def settings(database_engine: Embedded) -> SqlConversationSettings:
    return SqlConversationSettings(database_engine.database)


async def test_a_title_is_made_once_and_never_over_a_person_s(
    database_engine: Embedded, settings: SqlConversationSettings
) -> None:
    journal = database_engine.journal

    async def titles() -> list[str]:
        return [one.title for one in await journal.list_conversations("web")]

    await talk(database_engine, "hello", "C1")
    thread = (await journal.current_thread("web:C1")).id
    assert [await settings.claim_title(thread) for _ in range(2)] == [True, False]
    assert await titles() == [""], "a process that dies now leaves the first words"
    await settings.set_title(thread, "Greetings")
    assert (await titles(), await settings.claim_title(thread)) == (["Greetings"], False)
    await journal.set_listing("web:C1", "Mine", None)
    await settings.set_title(thread, "Late")
    assert await titles() == ["Mine"]
    await journal.set_listing("web:C1", "", None)
    assert await titles() == ["Late"]
    newer = (await journal.new_thread("web:C1")).id
    await talk(database_engine, "anew", "C1")
    assert await titles() == [""], "each thread has its own"
    await journal.set_listing("web:C1", "Mine", None)
    assert await settings.claim_title(newer) is False
    await journal.forget("web:C1")
    await settings.set_title(newer, "Late")
    assert (await settings.claim_title(thread), await titles()) == (False, [])


async def test_instructions_are_exported_and_end_with_the_conversation(
    database_engine: Embedded, settings: SqlConversationSettings
) -> None:
    personal = SqlPersonalData(database_engine.database)
    who = personal.by_key(ANA.key)
    for channel in ("C1", "C2", "C3"):
        await talk(database_engine, "hello", channel)
        await settings.set_instructions(f"web:{channel}", ANA.key, f"Be brief in {channel}.")
    await settings.set_instructions("web:C1", ANA.key, "Be kind.")
    await settings.set_instructions("web:C2", ANA.key, "")
    assert await settings.read_instructions("web:C1") == "Be kind."
    exported = await personal.read_rows(who, "instructions")
    assert [row["text"] for row in exported] == ["Be kind.", "Be brief in C3."]
    await database_engine.journal.forget("web:C1")
    assert await settings.read_instructions("web:C1") == ""
    # Those of a conversation that never began go with the next ones.
    await settings.set_instructions("web:unused", ANA.key, "Unused.")
    with time_machine.travel(time.time() + UNUSED_INSTRUCTIONS_SECONDS + 1):
        await settings.set_instructions("web:C2", ANA.key, "Back again.")
    left = [await settings.read_instructions(f"web:{c}") for c in ("unused", "C2", "C3")]
    assert left == ["", "Back again.", "Be brief in C3."]
    await personal.erase(who)
    assert await settings.read_instructions("web:C3") == ""
