"""The people, user groups and channels of a workspace: names, languages, time zones, guests and
memberships.

One process lists everybody with users.list at its start and then every hour. `team_join` and
`user_change` events, if the app is subscribed to them, report changes in between.

The list does not cover people who have just joined, people of other workspaces, and people whose
status must be confirmed now. Ponte calls users.info for them. If these calls have to wait for their
rate limit, everybody is listed again: one page of users.list confirms 999 people.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from adapters.slack.client import SlackApi
from adapters.slack.errors import FAILURES, HTTP_ERROR, InDoubt, SlackRefused
from core.base.errors import PlatformBusy
from core.base.tasks import BackgroundTasks, BoundedDict
from core.domain.changes import DisplayName
from core.domain.messages import Person
from core.domain.rights import MemberKey, PlatformMember
from core.journal.jobs import Alone, Peers
from core.people.directory import EVENT_WRITE_SECONDS, MemberDirectory, NoMember, SqlDirectory
from core.people.policy import MAX_CONFIRMED_AGE_SECONDS, MAX_STALE_SECONDS

log = structlog.get_logger("slack")

PAGE_SIZES = (999, 500, 200)
"""People per page of users.list, in the order of the attempts.

999 is the largest size that Slack accepts (docs.slack.dev, node-slack-sdk, `UsersListArguments`).
The method's page recommends 200. Pages of 999 list 10,000 people in 22 s at the rate of tier 2;
pages of 200 take minutes.
"""
LIST_EVERY_SECONDS = 3600.0
LIST_AGAIN_SECONDS, LIST_AGAIN_LONGEST_SECONDS = 2.0, 60.0
"""The pause before everybody is listed again because many people wait, and the longest one. It
doubles with each list that contained none of the waiting people. It is at least as long as the rate
of tier 2 requires for the pages."""
LIST_PAGE_SECONDS = 4.5
"""Each page adds it to the pause before the next list, because of the rate limit of tier 2."""
LIST_RETRY_SECONDS = 30.0
LIST_PATIENCE_SECONDS = 600.0
"""How long one page may wait for its turn under the rate limit."""
TOO_LARGE_A_PAGE = frozenset({"limit_required", "invalid_arguments"})
"""Errors of users.list for a too large page size (reference/methods/users.list)."""
CURSOR_OVER = frozenset({"invalid_cursor"})
"""Slack no longer accepts the cursor of users.list, which then starts from the beginning."""
COURTESY_SECONDS = 0.3
"""How long a turn waits for names, languages and time zones."""
COURTESIES_AT_ONCE = 10
"""How many people may wait for users.info while Ponte looks up others for their names only."""
REFUSED_SECONDS = 30.0
"""Ponte does not ask sooner again for a person that Slack refused to describe."""
PEOPLE_SECONDS = 5.0
"""How long Ponte waits for the description of people that it is about to write to."""
GROUPS_WRITE_SECONDS = 3600.0
"""The age after which unchanged user groups are stored again."""
GROUPS_RETRY_SECONDS = 2.0
GROUPS_PATIENCE_SECONDS = 60.0
"""How long usergroups.list may wait for its turn under the rate limit."""
GROUPS = "groups"
"""The scope of each person's stored user groups."""
LISTS = "slack-people"
"""The leader role of the process that lists everybody."""
_LIST_SOON = "list-people"
"""The notification that asks that process for a new list, because many people wait."""
_MOST_REFUSED = 10_000
"""How many ids are remembered, of refused people and of unknown or deactivated ones."""
_NEVER = float("-inf")


class SlackPeople:
    """The directory of one workspace: its people, its user groups, and others who write there. Only
    `people` and `ask` raise errors of Slack's."""

    def __init__(
        self,
        api: SlackApi,
        rows: SqlDirectory,
        *,
        peers: Peers | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._rows = rows
        self._peers = peers or Alone()  # of all processes, one lists everybody
        self._clock = clock
        self._members = MemberDirectory(
            "slack", self._rows, self, shared=self._peers.is_shared, clock=clock
        )
        self._tasks = BackgroundTasks("slack")
        self._refusal_times: BoundedDict[str, float] = BoundedDict(_MOST_REFUSED)
        """When Slack refused to describe a person, by id. They are not asked for again for
        REFUSED_SECONDS."""
        self._unknown_ids: BoundedDict[str, bool] = BoundedDict(_MOST_REFUSED)
        """Ids of deactivated accounts, and ids that Slack does not know."""
        self._groups: dict[str, frozenset[str]] = {}  # the members of each user group
        self._group_names: dict[str, str] = {}
        self._groups_at = _NEVER
        """When the user groups were listed last, by `clock`."""
        self._groups_written_at = _NEVER
        self._groups_refused = False
        """Slack refused to list the user groups, and the log says so already."""
        self._listing_groups: asyncio.Task[object] | None = None
        """The listing that is under way, for all who wait for the user groups."""
        self._list_now = asyncio.Event()
        """This event is set to list everybody early."""
        self._list_pause = LIST_AGAIN_SECONDS
        """Seconds before the next list, even if many people wait."""
        self._lists = False
        """This process lists everybody."""
        self.is_complete = False
        """This process has listed everybody since its start."""
        self.team = ""
        self.trouble = ""
        """Slack's error name while users.info is refused, else ""."""
        self._peers.on(_LIST_SOON, self._on_list_soon)

    async def open(self) -> None:
        """Load the stored people and user groups. The rows have each person's groups; this process
        needs each group's people."""
        await self._members.open("")  # "" is the scope of people themselves
        groups: dict[str, set[str]] = {}
        for member in await self._members.newest(GROUPS):
            self._groups_at = max(self._groups_at, member.confirmed_at)
            for group in member.belongs_to:
                groups.setdefault(group, set()).add(member.id)
        self._groups = {group: frozenset(users) for group, users in groups.items()}

    async def close(self) -> None:
        await self._tasks.close()
        await self._members.close()

    def start(self) -> None:
        """Another process may list everybody already."""
        self._tasks.start(self._peers.lead(LISTS, self._keep_listing))

    def forget(self, ids: frozenset[str]) -> None:
        """Forget people. One who writes again is looked up again."""
        self._members.forget(ids)
        self._groups = {group: users - ids for group, users in self._groups.items()}

    def cached_member(self, user: str) -> PlatformMember:
        """Return an empty record for a person who is not in memory."""
        return self._members.cached_member(user) or PlatformMember(user)

    def is_known(self, user: str) -> bool:
        """The record in memory is recent enough to chat with the person (a day)."""
        return self._clock() - self.cached_member(user).confirmed_at <= MAX_STALE_SECONDS

    def locale(self, user: str) -> str:
        """Return a person's language as Slack writes it (`pt-BR`); "en" until it is known."""
        return self.cached_member(user).locale or "en"

    async def profiles(
        self, users: Iterable[str], seconds: float = COURTESY_SECONDS
    ) -> dict[str, PlatformMember]:
        """Return the records of these people. Ponte waits at most `seconds` for missing ones, and
        then returns older records, or empty ones for people who are not in memory.

        These lookups leave most of the rate limit of users.info to questions of rights.
        """
        user_ids = set(users)
        # A person whom Slack refused to describe a moment ago is not asked for again yet.
        missing = [
            user
            for user in user_ids
            if await self._members.find(user, MAX_STALE_SECONDS) is None
            and self._clock() - self._refusal_times.get(user, _NEVER) > REFUSED_SECONDS
        ]
        # At most so many people are looked up for their names only. The rest of the rate limit is
        # for `guest` and `has_left`, which decide on rights.
        room = 0
        if missing and await self._api.limiter.has_spare("users.info"):
            room = max(0, COURTESIES_AT_ONCE - self._members.waiting)
        tasks = [
            asyncio.ensure_future(self._members.resolve(user, MAX_STALE_SECONDS))
            for user in missing[:room]
        ]
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=seconds)
            # This ends the wait, not a look-up under way, whose result still comes into memory.
            for task in pending:
                task.cancel()
        return {user: self.cached_member(user) for user in user_ids}

    async def guest(self, person: Person, max_age: float) -> bool | None:
        """Return whether a person is a guest, or writes as a member of ours but belongs to another
        workspace; None if Slack does not tell. It waits as long as Slack takes."""
        member = await self._members.resolve(person.id, max_age)
        if member is None:
            return None
        outside = person.workspace == self.team and self.team not in member.belongs_to
        return member.is_guest or outside

    async def is_stranger(self, user: str) -> bool | None:
        """Return None if Slack does not tell. The call waits as long as Slack takes."""
        member = await self._members.resolve(user, MAX_STALE_SECONDS)
        return None if member is None else self.team not in member.belongs_to

    async def has_left(self, person: Person) -> bool | None:
        """Return whether the account is deactivated or gone, or a member of our workspace belongs
        to others only; None if Slack does not tell. It waits as long as Slack takes."""
        member = await self._members.resolve(person.id, MAX_CONFIRMED_AGE_SECONDS)
        if member is not None:
            return person.workspace == self.team and self.team not in member.belongs_to
        return True if person.id in self._unknown_ids else None

    async def membership(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return a person's user groups as `slack:ID` (scope usergroups:read); None if Slack does
        not tell. It waits as long as Slack takes."""
        if not await self._has_groups(max_age):
            return None
        return frozenset(f"slack:{id}" for id, users in self._groups.items() if person.id in users)

    async def labels(self, names: Iterable[str]) -> Mapping[str, DisplayName]:
        """Return the display names of people and user groups (`slack:ID`) that Slack returns
        soon."""
        ids = {name.removeprefix("slack:") for name in names}
        # Ids of user groups begin with S, those of people with U or W.
        groups = {id for id in ids if id.startswith("S")}
        # The database holds no names of groups, so a restart needs a listing for them.
        if groups - self._group_names.keys():
            with suppress(TimeoutError):
                async with asyncio.timeout(PEOPLE_SECONDS):
                    await self._wait_for_groups()
        labels = {
            id: DisplayName(self._group_names[id], is_group=True)
            for id in groups
            if id in self._group_names
        }
        people = await self.profiles(id for id in ids if id[:1] in ("U", "W"))
        labels |= {id: DisplayName(member.name) for id, member in people.items() if member.name}
        return {f"slack:{id}": name for id, name in labels.items()}

    async def people(self, names: Iterable[str]) -> Sequence[Person]:
        """Return the named people and the members of the named user groups (`slack:ID`), without
        bots.

        All count as members of our workspace. Raises PlatformBusy if Slack does not say within 5
        seconds who they are.
        """
        ids = {name.removeprefix("slack:") for name in names if name.startswith("slack:")}
        try:
            async with asyncio.timeout(PEOPLE_SECONDS):
                # Slack's ids of user groups begin with S. Each group is replaced by its members.
                # `_has_groups` lists them again if they are older; False: Slack refused that.
                if groups := {id for id in ids if id.startswith("S")}:
                    if not await self._has_groups(MAX_STALE_SECONDS):
                        raise PlatformBusy(REFUSED_SECONDS)
                    users = frozenset[str]().union(*(self._groups.get(g, ()) for g in groups))
                    ids = ids - groups | users
                # U and W begin ids of people.
                users_named = sorted(id for id in ids if id[:1] in ("U", "W"))
                members = await asyncio.gather(
                    *(self._members.resolve(user, MAX_STALE_SECONDS) for user in users_named)
                )
        except TimeoutError:
            raise PlatformBusy(REFUSED_SECONDS) from None
        people = []
        for user, member in zip(users_named, members, strict=True):
            # Left out are only those who are gone, or whom Slack does not know: `_unknown_ids`.
            if member is None and user not in self._unknown_ids:
                raise PlatformBusy(REFUSED_SECONDS)
            if member is not None and not member.is_bot:
                # `guest` and `has_left` find those who belong to another workspace.
                people.append(Person("slack", user, self.team, member.name))
        return people

    async def take_event(self, user: Any) -> None:
        """Store the person of a `team_join` or `user_change` event. An event that does not tell
        whether they are a guest is ignored, because the record decides on rights."""
        if not isinstance(user, Mapping) or not user.get("id"):
            return
        id = str(user["id"])
        # A deactivated account has no fields about rights.
        if user.get("deleted") is True:
            await self._members.remove([id])
            return
        if "is_restricted" not in user:
            return
        member, previous = self._read_member(user), self._members.cached_member(id)
        if previous is None and self.team not in member.belongs_to:
            return  # somebody of another workspace who has never written to us
        if previous is not None and "locale" not in user:  # events may lack it
            member = replace(member, locale=previous.locale)
        # `unasked`: the event does not bring back somebody who was forgotten. An event without a
        # change writes the row at most once an hour, to show that it is confirmed.
        await self._members.take([member], unasked=True, write_again=EVENT_WRITE_SECONDS)

    # Methods of the port `core.people.directory.Lookup`.

    async def wait_for_place(self) -> None:
        """Wait until users.info may be called. If that takes time, ask for a new list of everybody,
        which confirms more people at once. A refused method needs no wait."""
        if self._api.refusal("users.info"):
            return
        try:
            # Only posts have a channel.
            await self._api.limiter.turn("users.info", "", 0.0)  # PlatformBusy if it has to wait
        except PlatformBusy:
            # One process lists everybody (`_lists`); another one has to ask it for that.
            if self._lists:
                self._list_now.set()
            else:
                self._tasks.start(self._peers.notify(_LIST_SOON, ""))
            # Those whom the new list confirms are not asked for any more; the rest wait here,
            # however long it takes.
            await self._api.limiter.turn("users.info", "", sys.float_info.max)

    async def ask(self, key: MemberKey) -> PlatformMember:
        """Call users.info for one person. Raises NoMember for an unknown or deactivated person and
        after a refused call, else the errors of `SlackApi.call`."""
        _, user = key  # the scope comes first; it is "" for every person
        try:
            # `claimed`: `wait_for_place` has counted the call.
            response = await self._api.call(
                "users.info", user=user, include_locale=True, patience=0.0, claimed=True
            )
        except SlackRefused as refused:
            self._refusal_times[user] = self._clock()  # not asked again for REFUSED_SECONDS
            # `people` may leave out somebody whom Slack does not know.
            if refused.error == "user_not_found":
                self._unknown_ids[user] = True
            else:
                if refused.error != self.trouble:
                    log.warning("Slack refused to look up users", error=refused.error)
                self.trouble = refused.error  # it is about the app, and `health` reports it
            raise NoMember from None
        self.trouble = ""
        if response.get("user", {}).get("deleted"):
            self._unknown_ids[user] = True
            await self._members.remove([user])
            raise NoMember
        self._unknown_ids.pop(user, None)
        return self._read_member(response.get("user", {}))

    def _read_member(self, user: Mapping[str, Any]) -> PlatformMember:
        """Read a user object of Slack's API. In a Grid organisation a person may belong to several
        workspaces (`enterprise_user.teams`)."""
        profile = user.get("profile", {})
        full_name = profile.get("real_name") or user.get("real_name") or ""
        name = profile.get("display_name") or full_name
        # Slack sends the address only with users:read.email, which Ponte does not ask for.
        aliases = full_name, f"@{user.get('name', '')}", profile.get("email")
        others = (user.get("enterprise_user") or {}).get("teams") or ()
        teams = {str(user.get("team_id", "")), *map(str, others)} - {""}
        # Strangers are people of other workspaces who share no channel with us.
        teams = set() if user.get("is_stranger") else teams
        # Our own workspace, if they belong to several.
        home = self.team if self.team in teams else str(user.get("team_id", ""))
        id = str(user.get("id", ""))
        return PlatformMember(
            id,
            person=Person("slack", id, home).key,
            name=str(name)[:100],
            locale=user.get("locale") or "",
            time_zone=user.get("tz") or "",
            is_guest=bool(user.get("is_restricted") or user.get("is_ultra_restricted")),
            # A deactivated account counts like a bot, so that it approves nothing.
            is_bot=bool(user.get("is_bot") or user.get("deleted")),
            belongs_to=frozenset(teams),
            aliases=" · ".join(alias for alias in aliases if alias not in (None, "@", name)),
        )

    async def _on_list_soon(self, _: str) -> None:
        self._list_now.set()

    async def _keep_listing(self) -> None:
        """List everybody every LIST_EVERY_SECONDS, or earlier if many people wait. A refused list
        is tried again only after that time, a failed one after a short pause.

        Among several processes one does this, and `_lists` says that it is this one: whoever finds
        no place for a look-up then sets `_list_now` here, and otherwise asks the other process.
        """
        self._lists = True
        try:
            while True:
                self._list_now.clear()
                began = time.monotonic()
                try:
                    await self._list_everybody()
                except SlackRefused as refused:  # an immediate retry would be refused, too
                    log.warning("could not list the workspace's users", error=str(refused))
                except FAILURES as failure:
                    log.warning("could not list the workspace's users", error=str(failure))
                    await asyncio.sleep(LIST_RETRY_SECONDS)
                    continue
                # The least time between two lists, whoever waits.
                await asyncio.sleep(self._list_pause - (time.monotonic() - began))
                # `_list_now` ends this pause early if many people wait to be looked up.
                with suppress(TimeoutError):
                    async with asyncio.timeout(LIST_EVERY_SECONDS):
                        await self._list_now.wait()
        finally:
            self._lists = False

    async def _list_everybody(self) -> None:
        """List everybody once, and set the pause before the next list. A refused page is requested
        again in a smaller size."""
        sizes, cursor, count, pages, began = list(PAGE_SIZES), "", 0, 0, time.monotonic()
        resolved_before = self._members.resolved_count

        def read_page() -> tuple[list[PlatformMember], list[str]]:
            """Return the page's members of our workspace, and the ids of deactivated accounts. A
            page is long, so this runs in a thread."""
            users = page.get("members", [])
            members = [self._read_member(user) for user in users if not user.get("deleted")]
            deleted_ids = [str(user.get("id", "")) for user in users if user.get("deleted")]
            # People of other workspaces are looked up only when they write.
            return [member for member in members if self.team in member.belongs_to], deleted_ids

        while True:
            try:
                page = await self._api.call(
                    "users.list",
                    limit=sizes[0],
                    cursor=cursor or None,
                    include_locale=True,
                    patience=LIST_PATIENCE_SECONDS,
                )
            except (SlackRefused, InDoubt) as failure:
                error = failure.error if isinstance(failure, SlackRefused) else ""
                # The list begins again. The first page has no cursor: to begin again because of
                # such an error there would never end.
                if error in CURSOR_OVER and cursor:
                    cursor, count = "", 0
                    continue
                # A lost response ("") may mean that Slack took too long for so many people.
                if (error and error not in TOO_LARGE_A_PAGE) or len(sizes) == 1:
                    raise
                del sizes[0]
                log.info("listing users in smaller pages", page_size=sizes[0], error=str(failure))
                continue
            members, deleted_ids = await asyncio.to_thread(read_page)
            await self._members.take(members, unasked=True)
            if deleted_ids:
                await self._members.remove(deleted_ids)
            pages, count = pages + 1, count + len(members)
            # Slack sends "" or nothing with the last page.
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                break
        self.is_complete = True
        # A list that answered none of the waiting questions, about people whom no list contains, is
        # repeated less and less often.
        useful = self._members.resolved_count > resolved_before or not self._members.waiting
        pause = LIST_AGAIN_SECONDS if useful else 2 * self._list_pause
        pause = min(max(pause, LIST_AGAIN_SECONDS), LIST_AGAIN_LONGEST_SECONDS)
        self._list_pause = max(pause, LIST_PAGE_SECONDS * (pages - 1))
        log.info(
            "listed the workspace's users", users=count, seconds=round(time.monotonic() - began, 1)
        )

    async def _has_groups(self, max_age: float) -> bool:
        """Make sure that the user groups in memory are at most `max_age` seconds old: list them
        until Slack answers. False if Slack refuses that."""
        while self._clock() - self._groups_at > max_age:
            if not await self._wait_for_groups() or self._groups_refused:
                return False
        return True

    async def _wait_for_groups(self) -> bool:
        """Wait until the user groups were listed, once for all who wait. A failed listing pauses
        before it ends. False if Ponte stops."""
        if self._listing_groups is None or self._listing_groups.done():
            self._listing_groups = self._tasks.start(self._list_groups())
        if self._listing_groups is None:
            return False
        await asyncio.wait({self._listing_groups})
        return True

    async def _list_groups(self) -> None:
        """Load all user groups and their members, and store them if they have changed, or from time
        to time so that the rows stay confirmed."""
        try:
            listed = await self._api.call(
                "usergroups.list", include_users=True, patience=GROUPS_PATIENCE_SECONDS
            )
        except SlackRefused as refused:
            if not self._groups_refused:
                log.info("Slack refused to list user groups", error=refused.error)
            self._groups_refused = True
            return
        except FAILURES as failure:
            self._groups_refused = False
            log.info("could not list user groups", error=str(failure))
            await asyncio.sleep(GROUPS_RETRY_SECONDS)  # `_has_groups` tries again after this task
            return
        self._groups_refused = False
        # `intern` keeps each id of a person in many groups once in memory.
        groups = {
            str(group["id"]): frozenset(sys.intern(str(user)) for user in group.get("users") or ())
            for group in listed.get("usergroups", [])
        }
        named = ((g["id"], g.get("name") or g.get("handle")) for g in listed.get("usergroups", []))
        self._group_names = {str(id): str(name)[:100] for id, name in named if name}
        before, self._groups, self._groups_at = self._groups, groups, self._clock()
        if groups != before or self._clock() - self._groups_written_at > GROUPS_WRITE_SECONDS:
            self._groups_written_at = self._clock()
            # Those who have left all groups get an empty set, which replaces their row.
            groups_of: dict[str, set[str]] = {id: set() for ids in before.values() for id in ids}
            for group, ids in groups.items():
                for id in ids:
                    groups_of.setdefault(id, set()).add(group)
            members = []  # `belongs_to` has ids of user groups in this scope
            for id, own_groups in groups_of.items():
                key, belongs_to = Person("slack", id, self.team).key, frozenset(own_groups)
                members.append(
                    PlatformMember(
                        id, GROUPS, key, belongs_to=belongs_to, confirmed_at=self._groups_at
                    )
                )
            await self._members.write(members)


MEMBERS_SECONDS = 60.0
"""How long a page of a channel's members is used."""
MEMBERSHIP_PATIENCE_SECONDS = 5.0
"""How long a person waits for the rate limits when Ponte asks for a channel's members."""
_PAGE, _PAGES = 999, 10
"""Members or channels per page, the largest size that Slack accepts (docs.slack.dev,
node-slack-sdk, arguments of conversations.members), and most pages."""


async def check_membership(
    api: SlackApi, channel: str, user: str, max_age: float = MEMBERS_SECONDS
) -> bool | None:
    """Return whether a person is a member of a channel, as of the last `max_age` seconds. None if
    the channel is too large to be listed and Slack does not list the person's channels either.

    Raises SlackRefused if Slack refuses to list the members, PlatformBusy if it does not answer
    now.
    """

    async def find(
        id: str, field: str, method: str, max_age: float = max_age, **of: Any
    ) -> bool | None:
        """Return whether `id` is in a paged list; None if it is too long to be read to its end."""
        cursor, is_kept = None, False
        for _ in range(_PAGES):
            patience = MEMBERSHIP_PATIENCE_SECONDS
            call = partial(api.call, method, limit=_PAGE, cursor=cursor, patience=patience, **of)
            key = (method, cursor, *of.values())
            is_kept |= key in api.shared_answers
            page = await api.shared_answers.ask(key, call, max_age)
            if id in (one if isinstance(one, str) else one["id"] for one in page.get(field, ())):
                return True
            # Slack sends "" or nothing with the last page.
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or None
            if not cursor:
                # They may have joined meanwhile: only a yes is kept for others.
                return await find(id, field, method, 0.0, **of) if is_kept and max_age else False
        return None

    try:
        is_member = await find(user, "members", "conversations.members", channel=channel)
        # A person's own channels are fewer than such a channel's members.
        if is_member is None:
            with suppress(SlackRefused):
                types = "public_channel,private_channel"
                is_member = await find(
                    channel, "channels", "users.conversations", user=user, types=types
                )
        return is_member
    except (InDoubt, SlackRefused) as failure:
        # Neither an unknown outcome nor an HTTP error that is not Slack's own (HTTP_ERROR), such as
        # a proxy's, tells anything about the channel.
        if isinstance(failure, SlackRefused) and not failure.error.startswith(HTTP_ERROR):
            raise
        raise PlatformBusy(REFUSED_SECONDS) from None
