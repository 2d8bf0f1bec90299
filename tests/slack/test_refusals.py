"""A call that Slack refuses is not made again for each message, and no turn waits for it."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import Any

import pytest

from adapters.slack import people
from adapters.slack.client import REFUSAL_SECONDS, SlackApi
from adapters.slack.errors import NEEDED_METHODS, SlackRefused
from adapters.slack.rate_limits import RateLimit
from core.base.proxies import Proxies
from core.domain.messages import Person
from tests.fakes.choices import allow_list, make_choices
from tests.fakes.memory import NoRows
from tests.fakes.places import FixedAddressingSettings, FixedPlaces
from tests.fakes.slack import TEAM, FakeSlack, reference
from tests.slack.bot import Setting, workplace
from tests.sources import ROOT
from tests.time_limits import Limits

HOWS = ("missing_scope", "unknown_method", "403")


def optional_methods() -> list[str]:
    """Every method that the adapter names in its code, without those that answers need."""
    names = set()
    for path in (ROOT / "adapters" / "slack").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names |= {node.value} & set(reference.METHODS)
    return sorted(names - NEEDED_METHODS - {""})


GROUPS = 7


@pytest.mark.parametrize("group", range(GROUPS))
async def test_optional_calls_that_are_refused_are_made_once_and_delay_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits, group: int
) -> None:
    """Some methods at a time, since a refusal may spare another call. HOWS take turns: the next
    test checks each of them with each method."""
    values = dict(list(zip(optional_methods(), itertools.cycle(HOWS)))[group::GROUPS])
    waits: list[float] = []
    measure = RateLimit.delay

    def delay(line: RateLimit, now: float) -> float:
        waits.append(measure(line, now))
        return waits[-1]

    monkeypatch.setattr(RateLimit, "delay", delay)
    limits(GROUPS_RETRY_SECONDS=3600.0)
    policy = allow_list(frozenset({"slack:S1", f"slack:{TEAM}"}))
    choices = make_choices(policy=policy)
    places = FixedPlaces(FixedAddressingSettings(answer_everything=True))
    async with workplace(tmp_path, Setting(chosen=choices, places=places)) as w:
        for method, how in values.items():
            w.slack.api.faults.add(method, how, 0)
        people_known = "users.list" in values or None
        await w.slack.wait_until(
            lambda: people_known or w.bot.slack.workspace.directory.is_complete
        )
        place = w.slack.channel("asked", w.alice)
        w.slack.api.calls.clear()
        for number in range(3):
            w.slack.open_home(w.alice)
            message = w.slack.say(w.alice, place, f"{w.slack.bot} {number}")
            await w.slack.wait_for_answer(message)
            direct = w.slack.say(w.alice, w.dm, f"direct {number}")
            await w.slack.wait_for_answer(direct)
        for method in values:
            assert w.slack.api.calls[method] <= (2 if method.startswith("chat.") else 1), method
        assert [wait for wait in waits if wait > 0] == []


@pytest.mark.parametrize("how", HOWS)
async def test_a_refusal_of_any_optional_method_is_remembered_for_minutes(how: str) -> None:
    async with FakeSlack() as slack:
        now = [0.0]
        api = SlackApi(slack.bot_token, slack.base_url, Proxies(), clock=lambda: now[0])

        async def call(method: str, **more: Any) -> None:
            with pytest.raises(SlackRefused):
                await api.call(method, patience=0.0, **more)

        for method in optional_methods():
            slack.api.faults.add(method, how, 0)
            for _ in range(3):
                await call(method)
                await call(method, channel="C1")
            # A scope may be missing for one kind of channel only.
            assert slack.api.calls[method] == 2, method
            now[0] += REFUSAL_SECONDS + 1
            await call(method)
            assert slack.api.calls[method] == 3, method
            slack.api.faults.end(method)
        await api.close()


async def test_without_the_scope_for_user_groups_a_person_belongs_to_none_at_once() -> None:
    async with FakeSlack() as slack:
        alice = slack.person("Alice")
        slack.api.without.add("usergroups:read")
        api = SlackApi(slack.bot_token, slack.base_url, Proxies())
        directory = people.SlackPeople(api, NoRows())
        for _ in range(20):  # more than Slack's limit for this method lets through at once
            assert await directory.membership(Person("slack", alice.id, TEAM), 300.0) is None
        assert slack.api.calls["usergroups.list"] == 1
        await directory.close()
        await api.close()
