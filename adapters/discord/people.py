"""People of Discord: their roles, their names, and who reads a channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

import discord
import structlog

from adapters.discord.client import (
    IN_DOUBT,
    NOBODY_THERE,
    PLATFORM,
    RefusedForNow,
    attempt,
    code_of,
)
from core.chat.directory import (
    ASK_AGAIN_SECONDS,
    EVENT_WRITE_SECONDS,
    MemberDirectory,
    NoMember,
    NoRows,
)
from core.domain.errors import PonteError, Undeliverable
from core.domain.messages import Address, Person
from core.domain.records import MemberKey, PlatformMember
from core.ports.rights import MemberStore
from core.rights.policy import MAX_CONFIRMED_AGE_SECONDS
from core.runtime.retry import retry

log = structlog.get_logger("discord")

MAX_SERVERS = 10
"""Servers that are asked for a person's roles."""
MAX_LOOKUPS_AT_ONCE = 10
"""Members who are asked for at once."""


async def find_people(client: discord.Client, names: Collection[str]) -> Sequence[Person]:
    """Who is named by id. Who has a role is not told without a privileged intent (resources/
    guild.mdx#list-guild-members), so a role names nobody here. Raises PlatformBusy."""
    found = []
    for id in sorted({name.removeprefix(f"{PLATFORM}:") for name in names}):
        if not id.isdecimal() or any(guild.get_role(int(id)) for guild in client.guilds):
            continue
        try:
            user = await attempt(lambda id=int(id): client.fetch_user(id))  # type: ignore[misc]
        except Undeliverable as nobody:
            log.info("an approver is not known", user=id, why=str(nobody))
            continue
        except IN_DOUBT as doubt:
            raise RefusedForNow(reason=type(doubt).__name__) from doubt
        if not user.bot:
            found.append(Person(PLATFORM, id, name=user.display_name))
    return found


async def find_labels(client: discord.Client, names: Collection[str]) -> Mapping[str, str]:
    """What people and roles (`discord:ID`) are called, as far as Discord tells soon."""
    found: dict[str, str] = {}
    for name in names:
        id = name.removeprefix(f"{PLATFORM}:")
        roles = (guild.get_role(int(id)) for guild in client.guilds) if id.isdecimal() else ()
        if role := next(filter(None, roles), None):
            found[name] = role.name
    try:
        unknown = [name for name in names if name not in found]
        found |= {one.key: one.name for one in await find_people(client, unknown)}
    except (PonteError, *IN_DOUBT) as error:
        log.info("what somebody is called is not told", why=type(error).__name__)
    return found


async def can_read_channel(client: discord.Client, person: Person, address: Address) -> bool:
    """Whether a member sees the server's channel; False where that is not told."""
    guild = client.get_guild(int(address.workspace or 0))
    channel = guild.get_channel(int(address.channel)) if guild else None
    if guild is None or channel is None:
        return False
    try:
        member = await attempt(lambda: guild.fetch_member(int(person.id)))
    except (PonteError, *IN_DOUBT) as error:
        log.info("who reads along is not told", why=type(error).__name__)
        return False
    return channel.permissions_for(member).view_channel


class ServersNotTold(Exception):
    """Discord does not answer at present."""


class Roles:
    """Those of a person on the servers where Ponte is: what PONTE_ALLOW may name.

    A message or command from a server carries its author's roles there; where it does not (in a
    direct message), and of other servers, Discord is asked. What it told is kept over restarts.
    """

    def __init__(
        self, client: Callable[[], Awaitable[discord.Client]], rows: MemberStore | None = None, *,
        shared: bool = False, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._client = client
        self._members = MemberDirectory(
            PLATFORM, rows or NoRows(), self, shared=shared, clock=clock
        )
        self._places = asyncio.Semaphore(MAX_LOOKUPS_AT_ONCE)
        self._asked: tuple[float, Sequence[int]] = (0.0, ())

    async def close(self) -> None:
        await self._members.close()

    def forget(self, ids: Collection[str]) -> None:
        self._members.forget(ids)

    async def note_roles(self, user: discord.abc.User) -> None:
        """Take the roles that an event carries of its author, so that nothing needs to be asked."""
        if isinstance(user, discord.Member) and user.guild:
            # Every role but the server's own, which everybody has.
            roles = (str(role.id) for role in user.roles[1:])
            member = _make_member(str(user.guild.id), str(user.id), roles)
            await self._members.take([member], write_again=EVENT_WRITE_SECONDS)

    async def roles_of(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return the ids of a person's roles, as Discord told them within `max_age` seconds; None
        where a server refuses to tell. Waits as long as Discord takes."""
        client = await self._client()
        guilds = await retry(
            lambda: self._guilds(client, max_age), ServersNotTold, lambda *_: ASK_AGAIN_SECONDS
        )
        found = await asyncio.gather(
            *(self._members.resolve(person.id, max_age, str(guild)) for guild in guilds)
        )
        known = [member.belongs_to for member in found if member is not None]
        return frozenset[str]().union(*known) if len(known) == len(found) else None

    async def has_left(self, person: Person, address: Address) -> bool | None:
        """Return whether they are no member of that server any more, where Ponte is a member
        itself; None where Discord does not tell."""
        if not address.workspace:
            return False
        guild, user = int(address.workspace), int(person.id)
        client = await self._client()
        try:
            if guild not in await self._guilds(client, MAX_CONFIRMED_AGE_SECONDS):
                return False
            await attempt(lambda: client.http.get_member(guild, user), repeat=False)
        except (ServersNotTold, PonteError, *IN_DOUBT) as error:
            return True if code_of(error) in NOBODY_THERE else None
        return False

    # The port `core.chat.directory.Lookup`.

    async def wait_for_place(self) -> None:
        """The SDK keeps Discord's pace."""

    async def ask(self, place: MemberKey) -> PlatformMember:
        guild, user = place
        async with self._places:
            client = await self._client()
            try:
                told = await attempt(
                    lambda: client.http.get_member(int(guild), int(user)), repeat=False
                )
            except Undeliverable as refused:
                if code_of(refused) in NOBODY_THERE:
                    return _make_member(guild, user, ())
                log.warning("a member is not told of", guild=guild, why=str(refused))
                raise NoMember from None
        return _make_member(guild, user, map(str, told["roles"]))

    async def _guilds(self, client: discord.Client, max_age: float) -> Sequence[int]:
        """The servers, as the session tells them; where it is another process's, or has just begun,
        Discord is asked (resources/user.mdx#get-current-user-guilds). Raises ServersNotTold."""
        if client.is_ready():
            return sorted(guild.id for guild in client.guilds)[:MAX_SERVERS]
        if not self._asked[0] or time.monotonic() - self._asked[0] > max_age:
            try:
                told = await attempt(lambda: client.http.get_guilds(200), repeat=False)
            except (PonteError, *IN_DOUBT) as error:
                log.info("servers are not told", why=type(error).__name__)
                raise ServersNotTold from error
            self._asked = time.monotonic(), sorted(int(guild["id"]) for guild in told)
        return self._asked[1][:MAX_SERVERS]


def _make_member(guild: str, user: str, roles: Iterable[str]) -> PlatformMember:
    return PlatformMember(user, guild, Person(PLATFORM, user).key, belongs_to=frozenset(roles))
