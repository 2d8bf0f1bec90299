"""A call that Discord refuses is not made again for each message, and no turn waits for it."""

from __future__ import annotations

import fnmatch
import re

import pytest

from adapters.discord import connection
from core.domain.messages import Person
from core.people import directory
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.choices import allow_list
from tests.fakes.discord import DiscordPerson, FakeDiscord
from tests.fakes.discord.rest import Rest
from tests.time_limits import Limits

HOWS = ((403, 50013), (403, 0), (403, 50001), (404, 0), (400, 40006))


def optional_routes() -> list[tuple[str, str]]:
    """Every route that the double knows, since it knows those that the adapter calls; without those
    that answers need."""
    rest = Rest(None, None, None)  # type: ignore[arg-type]
    routes = [(r.method, r.path.removeprefix("/api/v10")) for r in rest.routes()]
    name = {"channel": "channel_id", "message": "message_id"}

    def key(method: str, path: str) -> str:
        return f"{method} " + re.sub(r"\{(\w+)\}", lambda m: f"{{{name.get(m[1], m[1])}}}", path)

    return [route for route in routes if not connection._NEEDED.fullmatch(key(*route))]


GROUPS = 5


@pytest.mark.parametrize("group", range(GROUPS))
async def test_optional_calls_that_are_refused_are_made_once_and_delay_no_answer(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    limits: Limits,
    monkeypatch: pytest.MonkeyPatch,
    group: int,
) -> None:
    """Some routes at a time, since a refusal may spare another call."""
    limits(RETRY_LATER_SECONDS=3600.0)
    monkeypatch.setattr(directory, "ASK_AGAIN_SECONDS", 3600.0)  # not for Discord's servers
    guild = discord.guild("Bolts", ana, roles={77: "buyers"})
    channel = discord.text_channel(guild, "general")
    ponte.policy = allow_list(frozenset({"discord:77", f"discord:{guild.id}"}))
    routes = optional_routes()[group::GROUPS]
    refusals = [(method, re.sub(r"\{\w+\}", "*", path)) for method, path in routes]
    await ponte.open()
    await ponte.ready()
    for method, pattern in refusals:
        discord.refuse(method, pattern, *HOWS[len(pattern) % 2], times=1000)
    discord.calls.clear()
    for number in range(3):
        await ana.mention(f"server {number}", channel)
        await discord.wait_until(lambda: sum("server" in t for t in bot_texts(discord)) > number)  # noqa: B023
        await ana.say(f"direct {number}")
        await ana.wait_for_text(f"direct {number}")
    for method, pattern in refusals:
        results = [p for m, p in discord.calls if m == method and fnmatch.fnmatchcase(p, pattern)]
        places = {re.sub(r"(/messages)?/\d{15,}/(reactions|threads).*", "", p) for p in results}
        # On a busy machine, the sign of the next message can be under way before the first refusal.
        most = len(places) * (2 if pattern.endswith("/typing") else 1)
        assert len(results) <= most, results
    assert not ponte.adapter.failures._count


def bot_texts(discord: FakeDiscord) -> list[str]:
    return [m["content"] for m in discord.world.messages_by(discord.world.me.id)]


@pytest.mark.parametrize(("status", "code"), HOWS)
async def test_a_refused_look_up_of_roles_is_answered_at_once_and_asked_again_after_minutes(
    discord: FakeDiscord,
    ponte: DiscordPonte,
    ana: DiscordPerson,
    limits: Limits,
    status: int,
    code: int,
) -> None:
    discord.guild("Bolts", ana)
    await ponte.open()
    await (await ponte.adapter.connection.client()).wait_until_ready()
    discord.refuse("GET", "/guilds/*/members/*", status, code, times=1000)

    async def ask(times: int) -> int:
        for _ in range(times):
            assert await ponte.adapter.roles.roles_of(Person("discord", str(ana.id)), 300) is None
        return sum("/members/" in path for _, path in discord.calls)

    assert await ask(3) == 1
    limits(DISCORD_REFUSAL_SECONDS=0.0)
    refusal_memory = (await ponte.adapter.connection.client())._refusals
    refusal_memory.update({place: (0.0, refusal) for place, (_, refusal) in refusal_memory.items()})
    assert await ask(2) == 3
    discord.faults.clear()
    assert await ponte.adapter.roles.roles_of(Person("discord", str(ana.id)), 300) is not None
