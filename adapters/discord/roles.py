"""The roles that a person has on the servers where Ponte is: what PONTE_ALLOW may name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

import discord

from adapters.discord.calls import IN_DOUBT, attempt
from core.errors import PonteError
from core.messages import Person
from core.policy import LONGEST_KEPT

KEPT = LONGEST_KEPT
DEADLINE = 1.5
MOST_SERVERS = 10
MOST = 10_000
_Kept = tuple[float, frozenset[str]]


class Roles:
    def __init__(self, client: Callable[[], Awaitable[discord.Client]]) -> None:
        self._client = client
        self._kept: dict[tuple[int, int], _Kept] = {}

    def saw(self, user: discord.abc.User) -> None:
        """An event carries its author's roles, so that nothing needs to be asked."""
        if isinstance(user, discord.Member) and user.guild:
            # Every role but the server's own, which everybody has.
            self._keep(user.guild.id, user.id, (str(r.id) for r in user.roles[1:]))

    async def of(self, person: Person) -> frozenset[str]:
        """The ids of a person's roles; a server that does not answer in time adds none."""
        client = await self._client()
        guilds = sorted(client.guilds, key=lambda guild: guild.id)[:MOST_SERVERS]
        found = await asyncio.gather(*(self._on(guild, int(person.id)) for guild in guilds))
        return frozenset[str]().union(*found)

    async def _on(self, guild: discord.Guild, user: int) -> frozenset[str]:
        at, roles = self._kept.get((guild.id, user), (0.0, frozenset[str]()))
        if time.monotonic() - at < KEPT and at:
            return roles
        try:
            async with asyncio.timeout(DEADLINE):
                member = await attempt(lambda: guild.fetch_member(user), repeat=False)
        except (PonteError, *IN_DOUBT):
            return self._keep(guild.id, user, ())
        return self._keep(guild.id, user, (str(role.id) for role in member.roles[1:]))

    def _keep(self, guild: int, user: int, roles: Iterable[str]) -> frozenset[str]:
        if len(self._kept) >= MOST:
            self._kept.clear()
        kept = frozenset(roles)
        self._kept[guild, user] = (time.monotonic(), kept)
        return kept
