"""What Discord's adapter remembers of a person goes when they are erased."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from core.domain.messages import Person
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import DiscordPerson, FakeDiscord


def read_remembered(home: Path) -> str:
    with closing(sqlite3.connect(home / "ponte.db")) as connection:
        return "\n".join(data for (data,) in connection.execute("SELECT data FROM remembered"))


async def test_who_is_erased_is_no_longer_remembered(
    discord: FakeDiscord, ponte: DiscordPonte, ana: DiscordPerson
) -> None:
    bob = discord.user("Bob")
    guild = discord.guild("Bolts", ana, bob)
    channel = discord.text_channel(guild, "general")
    await ponte.open()
    for person in (ana, bob):
        await person.mention("hello", channel)
        await person.ask("hello")

    async def count_lookups(person: DiscordPerson) -> int:
        """Count the requests that their roles take, if ten minutes old ones will do."""
        discord.calls.clear()
        await ponte.adapter.membership(Person("discord", str(person.id), str(guild.id)), 600.0)
        return sum(path.endswith(f"/members/{person.id}") for _, path in discord.calls)

    await count_lookups(ana)
    await count_lookups(bob)
    await ponte.adapter.state.flush()
    remembered = read_remembered(ponte.home)
    assert (str(ana.id) in remembered, str(bob.id) in remembered) == (True, True)
    await ponte.engine.people.directory.forget("discord", [str(ana.id)])
    await ponte.adapter.forget(frozenset({str(ana.id)}))
    remembered = read_remembered(ponte.home)
    assert (str(ana.id) in remembered, str(bob.id) in remembered) == (False, True)
    assert (await count_lookups(ana), await count_lookups(bob)) == (1, 0)
