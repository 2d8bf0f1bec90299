"""An operator erases a person of Slack; what they shared with others stays without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bot.personal_data import PersonalDataService
from core.store.remembered import FORGOTTEN_ID
from tests.fakes.models import EchoModel
from tests.slack.bot import Setting, Workplace, workplace

CSV = ("orders.csv", "text/csv", b"id,paid\n1,no\n")


class NoAccounts:
    """Nobody has an account of the page."""

    async def find(self, person: str) -> None:
        return None


async def act(w: Workplace, name: str, person: str) -> Any:
    """Do what `ponte person` asks for."""
    accounts: Any = NoAccounts()
    service = PersonalDataService(w.bot.engine, accounts, [w.bot.slack], ["slack"])
    return await service.acts()[name]({"person": person})


def files_holding(home: Path, words: bytes) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and words in path.read_bytes()]


async def test_of_a_shared_thread_only_what_is_theirs_goes(tmp_path: Path) -> None:
    async with workplace(tmp_path, Setting(EchoModel())) as w:
        records = w.bot.engine.records
        alice, bob = (f"slack:T0PONTE:{person.id}" for person in (w.alice, w.bob))
        asked = w.slack.say(w.alice, w.general, f"{w.slack.bot} orders of a client", files=[CSV])
        await w.slack.wait_for_answer(asked)
        more = w.slack.say(w.bob, w.general, f"{w.slack.bot} only those of May", thread=asked)
        await w.slack.wait_for_answer(more)
        (shared,) = (await act(w, "person/counts", alice))["shared"]
        thread = await records.threads.get(shared)
        assert thread is not None
        assert alice in thread.participants
        assert files_holding(tmp_path, CSV[2])

        told = await act(w, "person/forget", alice)
        assert (told["person"], told["shared"], told["left"]) == (alice, [shared], {})
        thread = await records.threads.get(shared)
        assert thread is not None
        assert thread.participants == (FORGOTTEN_ID, bob)
        assert files_holding(tmp_path, CSV[2]) == []
        left = (await act(w, "person/counts", bob))["counts"]
        assert (left["messages"], left["transcript"]) == (1, 2)
