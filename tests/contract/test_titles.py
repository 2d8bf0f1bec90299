"""The model's titles of conversations, over both databases."""

from __future__ import annotations

from tests.contract.engines import Embedded
from tests.contract.test_journal_threads import talk


async def test_a_title_is_made_once_and_never_over_a_person_s(stores: Embedded) -> None:
    journal = stores.journal

    async def titles() -> list[str]:
        return [one.title for one in await journal.list_conversations("web")]

    await talk(stores, "hello", "C1")
    thread = (await journal.current_thread("web:C1")).id
    assert [await journal.claim_title(thread) for _ in range(2)] == [True, False]
    assert await titles() == [""], "a process that dies now leaves the first words"
    await journal.set_title(thread, "Greetings")
    assert (await titles(), await journal.claim_title(thread)) == (["Greetings"], False)
    await journal.set_listing("web:C1", "Mine", None)
    await journal.set_title(thread, "Late")
    assert await titles() == ["Mine"]
    await journal.set_listing("web:C1", "", None)
    assert await titles() == ["Late"]
    newer = (await journal.new_thread("web:C1")).id
    await talk(stores, "anew", "C1")
    assert await titles() == [""], "each thread has its own"
    await journal.set_listing("web:C1", "Mine", None)
    assert await journal.claim_title(newer) is False
    await journal.forget("web:C1")
    await journal.set_title(newer, "Late")
    assert (await journal.claim_title(thread), await titles()) == (False, [])
