"""Two people approve on the page; one of them is removed before the other approves."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bot.compose import compose
from bot.config.ponte_toml import read_config
from bot.home import Home, Start
from bot.integrations import FACES
from bot.ponte import Ponte
from bot.settings import load
from core.domain.messages import Address, Answer, Message, Person, ReplyTo, turn_id
from core.people.page_accounts import SqlPageAccounts, hash_token
from tests.dialogues.decisions import typed_code
from tests.discord.discord_ponte import Speaker
from tests.toys.shelf import Shelf, ShelfSource
from tests.toys.test_toys import Scripted

FILE = """
[tools.shelf_add]
approvers = ["web:ana", "web:bia", "web:cleo"]
approvals = 2
"""
NAMES = ("ana", "bia", "cleo", "dan")


class Office:
    """The page's people, and a shelf whose changes two of them must approve."""

    def __init__(self, app: Ponte, shelf: ShelfSource) -> None:
        self.engine, self.shelf = app.engine, shelf
        self._numbers = itertools.count()

    async def says(self, name: str, text: str) -> Answer:
        person, address = Person("web", name, name=name), Address("web", "main", person=name)
        key = f"{name} {next(self._numbers)}"
        to = ReplyTo(address, person, key, turn_id(key))
        receipt = await self.engine.conversations.inbox.accept(
            Message(key, text, person, address, to)
        )
        return await self.engine.conversations.inbox.wait_for_answer(receipt.seq)


@pytest.fixture
def set_up(nothing_set: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"SHELF": "on", "PONTE_WEB_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "ponte.toml").write_text(FILE)


@pytest.fixture
async def office(set_up: None, tmp_path: Path) -> AsyncIterator[Office]:
    shelf = ShelfSource()
    others = [face for face in FACES if face.name not in ("model", "code")]
    faces = (Scripted(Speaker()), *others, Shelf(shelf))
    settings = load(faces)
    parts = Start(settings, read_config(settings.ponte_config, faces=faces), Home(tmp_path / "h"))
    with parts.home.take():
        app = await compose(parts.settings, parts.config, parts.home)
        await app.start()
        for name in NAMES:
            await SqlPageAccounts(app.engine.stores.database).add(f"web:{name}", hash_token(name))
        yield Office(app, shelf)
        await app.stop()


async def approve(office: Office, name: str, id: str) -> Answer:
    """Type `approve ID`, read all of the change, and type what the answer says."""
    reply = await office.says(name, f"approve {id}")
    return await office.says(name, f"approve {typed_code(reply)}")


async def proposed_and_approved_by_ana(office: Office) -> str:
    (card,) = (await office.says("dan", 'call shelf_add {"things": [{"Name": "Saw"}]}')).cards
    first = await approve(office, "ana", card.id)
    assert first.text.startswith("1 of 2 approvals, by ana.")
    return card.id


@pytest.mark.parametrize("comes_back", [False, True])
async def test_the_approval_of_somebody_who_was_removed_does_not_count(
    office: Office, comes_back: bool
) -> None:
    """Nor where somebody else has the name now."""
    id = await proposed_and_approved_by_ana(office)
    await SqlPageAccounts(office.engine.stores.database).remove("web:ana")
    if comes_back:
        await SqlPageAccounts(office.engine.stores.database).add("web:ana", hash_token("another"))
    text = await approve(office, "bia", id)
    assert "Some approvals are no longer valid" in text.text
    assert office.shelf.rows == {}
    reply = await approve(office, "cleo", id)
    assert "Done." in reply.text
    assert names(office.shelf) == ["Saw"]


async def test_what_somebody_asked_for_who_was_removed_is_not_done(office: Office) -> None:
    """Also where the process died before it withdrew what they asked for."""
    id = await proposed_and_approved_by_ana(office)
    await SqlPageAccounts(office.engine.stores.database).remove("web:dan")
    reply = await office.says("bia", f"approve {id}")
    assert (reply.code, "no longer" in reply.text) == ("forbidden", True)
    assert office.shelf.rows == {}


def names(shelf: ShelfSource) -> Sequence[str]:
    return [str(row["Name"]) for row in shelf.rows.values()]
