"""The owner's name: from the page or from the system user."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import Any

import pytest

from adapters.web.oidc.provider import SIGN_IN_SENTENCES
from bot.people import system_user_name
from bot.stores import SCHEMA
from core.base.i18n import OWNER_SENTENCES, READER_IS_OWNER, say, use_locale
from core.journal.jobs import Alone
from core.people.page_accounts import OWNER_RENAMED_TOPIC, OwnerName
from core.store.database import SqliteDatabase
from tests.fakes.peers import ConnectedPeers
from tests.languages.sentences import sentences


def user(login: str, full: str) -> pwd.struct_passwd:
    return pwd.struct_passwd((login, "x", 1000, 1000, full, "/home", "/bin/sh"))


@pytest.mark.parametrize(
    ("login", "full", "name"),
    [
        ("maya", "Maya Lima,,,", "Maya Lima"),
        ("maya", "", "maya"),
        ("maya", ",,,", "maya"),
        ("maya", "& Lima", "Maya Lima"),
    ],
)
def test_the_system_user_has_a_full_name_or_a_login_name(
    monkeypatch: pytest.MonkeyPatch, login: str, full: str, name: str
) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _: user(login, full))
    assert system_user_name() == name


def test_a_container_without_an_entry_for_its_user_gives_no_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(_: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert system_user_name() == ""


def make_name(database: SqliteDatabase, peers: Any) -> OwnerName:
    """Return the owner's name as a process of these peers has it."""
    name = OwnerName(database, system_user_name(), lambda: peers.notify(OWNER_RENAMED_TOPIC, ""))
    peers.on(OWNER_RENAMED_TOPIC, name.on_renamed)
    return name


async def test_the_page_wins_over_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _: user("maya", "Maya Lima"))
    database = await SqliteDatabase.open(tmp_path / "ponte.db", SCHEMA)
    name = make_name(database, Alone(database))
    await name.load()
    assert name.current == "Maya Lima"
    await name.change("  May\na ")
    assert name.current == "May a"
    again = make_name(database, Alone(database))
    await again.load()
    assert again.current == "May a"
    await again.change("")
    assert again.current == "Maya Lima"
    await database.close()


@pytest.mark.slow
def test_the_owner_is_not_sent_to_the_person_who_runs_ponte() -> None:
    everyones = {
        key for key in sentences() if isinstance(key, str) and "person who runs Ponte" in key
    }
    everyones -= {*SIGN_IN_SENTENCES.values()}  # read by somebody who is not signed in
    assert everyones
    for sentence in everyones:
        assert sentence in OWNER_SENTENCES, sentence
        assert sentences()[sentence] - {"core/base/i18n.py"}, sentence
    token = READER_IS_OWNER.set(True)
    try:
        for locale, word in (("en", "who runs"), ("pt-BR", "responsável"), ("fr", "responsable")):
            with use_locale(locale):
                for sentence in OWNER_SENTENCES:
                    assert word not in say(sentence), sentence
    finally:
        READER_IS_OWNER.reset(token)


async def test_a_new_name_is_used_by_the_other_processes_too(tmp_path: Path) -> None:
    database = await SqliteDatabase.open(tmp_path / "ponte.db", SCHEMA)
    peers = ConnectedPeers.make(2)
    here, there = (make_name(database, each) for each in peers)
    await here.change("May")
    assert (here.current, there.current) == ("May", "May")
    await database.close()
