"""People on Discord: their roles, their names, and who can read a channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

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
from core.base.errors import PlatformBusy, PonteError, Undeliverable
from core.base.tasks import SharedAnswers, retry
from core.domain.changes import DisplayName
from core.domain.messages import Address, Person
from core.domain.rights import MemberKey, PlatformMember
from core.people.directory import (
    ASK_AGAIN_SECONDS,
    EVENT_WRITE_SECONDS,
    MemberDirectory,
    NoMember,
    SqlDirectory,
)
from core.people.policy import MAX_CONFIRMED_AGE_SECONDS

log = structlog.get_logger("discord")

MAX_SERVERS = 10
"""How many servers are asked for a person's roles."""
MAX_LOOKUPS_AT_ONCE = 10
"""How many members are looked up at the same time."""


async def find_people(client: discord.Client, names: Collection[str]) -> Sequence[Person]:
    """Return the people `discord:ID`, without bots, unknown ids and roles.

    Discord lists the members of a role only with a privileged intent
    (resources/guild.mdx#list-guild-members). Raises PlatformBusy if Discord does not answer now.
    """
    people = []
    for id in sorted({name.removeprefix(f"{PLATFORM}:") for name in names}):
        # No id, or that of a role, whose members Discord does not list.
        if not id.isdecimal() or any(guild.get_role(int(id)) for guild in client.guilds):
            continue
        try:
            user = await attempt(lambda id=int(id): client.fetch_user(id))  # type: ignore[misc]
        except Undeliverable as nobody:
            # The names may also be those of admins, or of a person who gets a post.
            log.info("could not find an approver", user=id, error=str(nobody))
            continue
        except IN_DOUBT as doubt:
            raise RefusedForNow(reason=type(doubt).__name__) from doubt
        if not user.bot:
            people.append(Person(PLATFORM, id, name=user.display_name))
    return people


async def find_labels(client: discord.Client, names: Collection[str]) -> Mapping[str, DisplayName]:
    """Return the display names of people and roles (`discord:ID`), without those that cannot be
    found now. Raises nothing."""
    labels: dict[str, DisplayName] = {}
    for name in names:
        id = name.removeprefix(f"{PLATFORM}:")
        roles = (guild.get_role(int(id)) for guild in client.guilds) if id.isdecimal() else ()
        if role := next(filter(None, roles), None):
            labels[name] = DisplayName(role.name, is_group=True)
    try:
        people = await find_people(client, [name for name in names if name not in labels])
        labels |= {person.key: DisplayName(person.name) for person in people if person.name}
    except (PonteError, *IN_DOUBT) as error:
        log.info("could not look up the names of users", error=type(error).__name__)
    return labels


async def can_read_channel(
    client: discord.Client,
    person: Person,
    address: Address,
    *,
    posts: bool = False,
    history: bool = False,
) -> bool | None:
    """Return whether a person can see a server's channel: with `posts` also write there, with
    `history` also read its earlier messages. None if Discord refuses to tell. For a thread, None,
    or False with `posts`. Raises PlatformBusy if Discord does not answer now."""
    guild_id, channel_id = int(address.workspace or 0), int(address.channel)
    guild = client.get_guild(guild_id)
    channel: Any = guild.get_channel(channel_id) if guild else None
    # The gateway lists all channels of a server, but no threads, so this may be one. Whether the
    # person is in a private one is not looked up; to post there is then not allowed.
    if guild and channel is None:
        return False if posts else None
    try:
        if guild is None:  # another process may have the gateway's session
            guild = await attempt(lambda: client.fetch_guild(guild_id))
            channel = await attempt(partial(guild.fetch_channel, channel_id))
        member = await attempt(partial(guild.fetch_member, int(person.id)))
    except PlatformBusy:
        raise
    # InvalidData: a channel of an unknown type, or in another server.
    except (PonteError, discord.InvalidData) as error:
        log.info("could not check access to a channel", error=type(error).__name__)
        return False if code_of(error) in NOBODY_THERE else None
    except IN_DOUBT as doubt:
        # It is a PlatformBusy.
        raise RefusedForNow(reason=type(doubt).__name__) from doubt
    if isinstance(channel, discord.Thread):
        return False if posts else None
    may = channel.permissions_for(member)
    can_see = lists_messages(channel, may) if history else may.view_channel
    return can_see and (may.send_messages or not posts)


def lists_messages(channel: Any, may: discord.Permissions) -> bool:
    """Return whether these permissions suffice to read a channel's earlier messages
    (resources/message.mdx#get-channel-messages)."""
    is_voice = isinstance(channel, discord.channel.VocalGuildChannel)
    return may.view_channel and may.read_message_history and (may.connect or not is_voice)


def is_public(client: discord.Client, address: Address) -> bool:
    """Return whether everyone in the server can read the channel and the thread; False if the
    gateway does not list them."""
    if not (channel := _find_channel(client, address)):
        return False
    guild = channel.guild
    thread = guild.get_thread(int(address.thread)) if address.thread else None
    if address.thread and (thread is None or thread.is_private()):
        return False
    return lists_messages(channel, channel.permissions_for(guild.default_role))


async def can_post(client: discord.Client, address: Address) -> bool:
    """Return whether Ponte can post at `address` without an interaction's token. Raises
    PlatformBusy if Discord does not answer now."""
    if channel := _find_channel(client, address):
        may = channel.permissions_for(channel.guild.me)
        # Either may suffice: the post may go into a thread of the channel.
        return may.send_messages or may.send_messages_in_threads
    # A direct message, a thread, or a server that this process does not list: Discord returns only
    # channels that the bot has access to.
    try:
        await attempt(lambda: client.http.get_channel(int(address.channel)))
    except Undeliverable:
        return False
    except IN_DOUBT as doubt:
        raise RefusedForNow(reason=type(doubt).__name__) from doubt
    return True


def may_read_history(client: discord.Client, address: Address) -> bool:
    """Without this permission Discord lists no messages
    (resources/message.mdx#get-channel-messages). Return True where it is not known: outside
    servers, in threads, and without a gateway session."""
    channel = _find_channel(client, address)
    return not channel or channel.permissions_for(channel.guild.me).read_message_history


def _find_channel(client: discord.Client, address: Address) -> discord.abc.GuildChannel | None:
    guild = client.get_guild(int(address.workspace or 0))
    return guild.get_channel(int(address.channel)) if guild else None


class ServersNotTold(Exception):
    """Discord does not list the bot's servers at present."""


class Roles:
    """The roles that people have on the servers where Ponte is a member. PONTE_ALLOW may name them.

    A message or command from a server contains its author's roles there. Discord is asked for those
    on other servers, and of people in direct messages. Roles are stored across restarts.
    """

    def __init__(
        self,
        client: Callable[[], Awaitable[discord.Client]],
        rows: SqlDirectory,
        *,
        shared: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`client` waits for the login. `shared`: other processes write the same `rows`. `clock`
        returns Unix seconds."""
        self._client = client
        self._members = MemberDirectory(PLATFORM, rows, self, shared=shared, clock=clock)
        self._places = asyncio.Semaphore(MAX_LOOKUPS_AT_ONCE)
        self._guild_lists = SharedAnswers[str, Sequence[int]]()
        """The ids of our servers, under one key."""

    async def close(self) -> None:
        await self._members.close()
        await self._guild_lists.close()

    def forget(self, ids: Collection[str]) -> None:
        self._members.forget(ids)

    async def note_roles(self, user: discord.abc.User) -> None:
        """Store the roles in an event of its author, so that Discord need not be asked."""
        if isinstance(user, discord.Member) and user.guild:
            # Every member has the first role, the server's own.
            roles = (str(role.id) for role in user.roles[1:])
            member = _make_member(str(user.guild.id), str(user.id), roles)
            await self._members.take([member], write_again=EVENT_WRITE_SECONDS)

    async def roles_of(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return the ids of a person's roles on all our servers, confirmed within `max_age`
        seconds. None if a server refuses to report them. It waits as long as Discord takes."""
        client = await self._client()
        # Asked until Discord lists our servers.
        guilds = await retry(
            lambda: self._list_guilds(client, max_age), ServersNotTold, lambda *_: ASK_AGAIN_SECONDS
        )
        lookups = (
            self._members.resolve(person.id, max_age, str(guild)) for guild in guilds[:MAX_SERVERS]
        )
        members = await asyncio.gather(*lookups)
        roles = [member.belongs_to for member in members if member is not None]
        return frozenset[str]().union(*roles) if len(roles) == len(members) else None

    async def has_left(self, person: Person, address: Address) -> bool | None:
        """Return whether the person has left the server of `address`. False outside servers, and
        for a server where Ponte is not a member. None if Discord does not answer."""
        if not address.workspace:
            return False
        guild, user = int(address.workspace), int(person.id)
        client = await self._client()
        try:
            # Ponte itself has left the server, and sees nobody's absence.
            if guild not in await self._list_guilds(client, MAX_CONFIRMED_AGE_SECONDS):
                return False
            # One try: without an answer, the result is None.
            await attempt(lambda: client.http.get_member(guild, user), repeat=False)
        except (ServersNotTold, PonteError, *IN_DOUBT) as error:
            return True if code_of(error) in NOBODY_THERE else None
        return False

    # The port `core.people.directory.Lookup`.

    async def wait_for_place(self) -> None:
        """The SDK obeys Discord's rate limits."""

    async def ask(self, place: MemberKey) -> PlatformMember:
        """Ask Discord for a member; `place` is the ids of the server and the person. A person who
        is not there has no roles. Raises NoMember if Discord refuses the request. After any other
        error, the directory asks again."""
        guild, user = place
        async with self._places:
            client = await self._client()
            try:
                get_member = client.http.get_member
                # One try: the directory repeats failed look-ups.
                response = await attempt(lambda: get_member(int(guild), int(user)), repeat=False)
            except Undeliverable as refused:
                if code_of(refused) in NOBODY_THERE:
                    return _make_member(guild, user, ())
                log.warning("could not look up a server member", server=guild, error=str(refused))
                raise NoMember from None
        return _make_member(guild, user, map(str, response["roles"]))

    async def _list_guilds(self, client: discord.Client, max_age: float) -> Sequence[int]:
        """Return the ids of our servers.

        They are known from the gateway session. If another process holds it, or it has just begun,
        Discord is asked (resources/user.mdx#get-current-user-guilds). Raises ServersNotTold if
        Discord does not answer.
        """
        if client.is_ready():
            return sorted(guild.id for guild in client.guilds)
        # A caller that gives up does not cancel the request for the others.
        return await self._guild_lists.ask("", lambda: self._ask_for_guilds(client), max_age)

    async def _ask_for_guilds(self, client: discord.Client) -> Sequence[int]:
        try:
            response = await attempt(lambda: client.http.get_guilds(200), repeat=False)
        except (PonteError, *IN_DOUBT) as error:
            log.info("could not list servers", error=type(error).__name__)
            raise ServersNotTold from error
        return sorted(int(guild["id"]) for guild in response)


def _make_member(guild: str, user: str, roles: Iterable[str]) -> PlatformMember:
    return PlatformMember(user, guild, Person(PLATFORM, user).key, belongs_to=frozenset(roles))
