"""Who people are: courtesies that are kept, rights that are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from adapters.slack.client import Directory, SlackApi
from core.http import Proxies
from core.messages import Person
from tests.fakes.slack import TEAM, FakeSlack, Someone


class Town:
    """A directory over the fake Slack, and its clock."""

    def __init__(self, slack: FakeSlack, path: Path) -> None:
        self.slack, self.now = slack, 1000.0
        self.alice = slack.person("Alice")
        self.api = SlackApi(slack.bot_token, slack.base_url, Proxies())
        self.directory = Directory(self.api, path, lambda: self.now)

    async def guest(self, who: Someone, workspace: str = TEAM) -> bool | None:
        return await self.directory.guest(Person("slack", who.id, workspace), TEAM)

    async def groups(self, who: Someone) -> frozenset[str] | None:
        return await self.directory.membership(Person("slack", who.id, TEAM))


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with FakeSlack() as slack:
        town = Town(slack, tmp_path / "people.json")
        await town.directory.open()
        yield town
        await town.directory.close()
        await town.api.close()


async def test_a_member_a_guest_and_a_stranger(town: Town) -> None:
    assert await town.guest(town.alice) is False
    for kind in ("multi", "single"):
        assert await town.guest(town.slack.person("Eve", guest=kind)) is True
    stranger = town.slack.person("Eve", team="T0OTHER")
    assert await town.guest(stranger) is True
    assert await town.guest(stranger, "T0OTHER") is False


async def test_many_who_ask_at_once_are_one_question(town: Town) -> None:
    told = await asyncio.gather(*(town.guest(town.alice) for _ in range(20)))
    assert set(told) == {False}
    assert town.slack.api.calls["users.info"] == 1


async def test_a_right_is_not_kept_longer_than_minutes_whatever_slack_does(town: Town) -> None:
    town.slack.workspace.groups["S1"] = {town.alice.id}
    assert await town.guest(town.alice) is False
    assert await town.groups(town.alice) == frozenset({"slack:S1"})
    for method in ("users.info", "usergroups.list"):
        town.slack.api.faults.add(method, "missing_scope", 0)
    town.now += 239
    assert await town.guest(town.alice) is False
    assert await town.groups(town.alice) == frozenset({"slack:S1"})
    town.now += 2
    assert await town.guest(town.alice) is None
    assert await town.groups(town.alice) is None, "not known, which is not the same as none"
    assert town.directory.trouble == "missing_scope"


async def test_a_name_is_kept_for_a_month(town: Town, tmp_path: Path) -> None:
    await town.directory.profiles([town.alice.id])
    await town.directory.close()
    for days, name in ((29, "Alice"), (31, "")):
        later = partial(float, 1000 + days * 86_400)
        other = Directory(town.api, tmp_path / "people.json", later)
        await other.open()
        assert other.known(town.alice.id).name == name


async def test_a_broken_file_costs_only_the_names(town: Town, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    for text in ("", "[]", '{"U1": [1]}', '{"U1": null}', "\x00"):
        path.write_text(text)
        other = Directory(town.api, path)
        await other.open()
        assert other.known("U1").name == ""


async def test_the_names_of_many_leave_room_for_a_right(town: Town) -> None:
    crowd = [town.slack.person(f"Person {n}") for n in range(60)]
    named = await town.directory.profiles(someone.id for someone in crowd)
    assert 10 < sum(bool(profile.name) for profile in named.values()) < 25
    async with asyncio.timeout(1.0):
        assert await town.guest(town.slack.person("Newcomer")) is False
