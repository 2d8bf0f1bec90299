"""The workspace that the token belongs to: its people, and what all replies in it share.

Names, languages, zones, guests, workspaces and user groups of people: one process lists everybody
(users.list) at its start and now and then; `team_join` and `user_change` events keep that fresh in
between, where the app is subscribed to them. Whoever is not known that way is asked for
(users.info): people who have just joined, people of other workspaces, and those whose status must
be confirmed now. Where these questions have to wait for their pace, everybody is listed again: one
page of users.list confirms 999 people.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog

from adapters.slack.client import (
    FAILURES,
    InDoubt,
    SlackApi,
    SlackRefused,
)
from adapters.slack.render import Json
from core.chat.directory import EVENT_WRITE_SECONDS, MemberDirectory, NoMember, NoRows
from core.domain.errors import PlatformBusy
from core.domain.messages import Person
from core.domain.records import MemberKey, PlatformMember
from core.integrations.integration import Alone, Peers
from core.ports.rights import MemberStore as Rows
from core.rights.policy import MAX_CONFIRMED_AGE_SECONDS, MAX_STALE_SECONDS
from core.runtime.tasks import BackgroundTasks, BoundedDict

log = structlog.get_logger("slack")

PAGE_SIZES = (999, 500, 200)
"""People in one page of users.list: the most that it takes first (docs.slack.dev, node-slack-sdk,
`UsersListArguments`), and 200, which its page recommends, last. Pages of 999 list 10,000 people in
22 s at the pace of tier 2, pages of 200 in minutes."""
LIST_EVERY_SECONDS = 3600.0
LIST_AGAIN_SECONDS, LIST_AGAIN_LONGEST_SECONDS = 2.0, 60.0
"""Before everybody is listed again because many people wait. It doubles with each list that told
of none of them, and is at least a place in the pace of tier 2 for each page."""
LIST_PAGE_SECONDS = 4.5
LIST_RETRY_SECONDS = 30.0
LIST_PATIENCE_SECONDS = 600.0
"""How long a page may have to wait for its place."""
TOO_LARGE_A_PAGE = frozenset({"limit_required", "invalid_arguments"})
"""What users.list says of a page that it does not give (reference/methods/users.list)."""
CURSOR_OVER = frozenset({"invalid_cursor"})
COURTESY_SECONDS = 0.3
"""How long a turn waits for names, languages and zones."""
COURTESIES_AT_ONCE = 10
"""People who are asked for, at most, while somebody is asked for by courtesy alone."""
REFUSED_SECONDS = 30.0
"""How long somebody of whom Slack tells nothing is not asked for again for a courtesy."""
PEOPLE_SECONDS = 5.0
"""How long those are waited for who are to be written to."""
GROUPS_WRITE_SECONDS = 3600.0
GROUPS_RETRY_SECONDS = 2.0
GROUPS_PATIENCE_SECONDS = 60.0
GROUPS = "groups"
"""The scope of user groups."""
LISTS = "slack-people"
"""The role of the process that lists everybody."""
_LIST_SOON = "list-people"
"""Tells that process that many people wait."""
_MOST_REFUSED = 10_000
_NEVER = float("-inf")


class SlackPeople:
    """The people of one workspace. Raises nothing that Slack does."""

    def __init__(
        self, api: SlackApi, rows: Rows | None = None, *, peers: Peers | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """`rows`: where people are kept over restarts."""
        self._api = api
        self._rows = rows or NoRows()
        self._peers = peers or Alone()
        self._clock = clock
        shared = not isinstance(self._peers, Alone)
        self._members = MemberDirectory("slack", self._rows, self, shared=shared, clock=clock)
        self._tasks = BackgroundTasks("slack")
        self._refused: BoundedDict[str, float] = BoundedDict(_MOST_REFUSED)
        self._nobody: BoundedDict[str, bool] = BoundedDict(_MOST_REFUSED)
        """Ids of deactivated accounts, and those that Slack knows nobody by."""
        self._groups: dict[str, frozenset[str]] = {}
        self._group_names: dict[str, str] = {}
        self._groups_at = _NEVER
        self._groups_written_at = _NEVER
        self._groups_refused = False
        self._listing_groups: asyncio.Task[object] | None = None
        self._list_now = asyncio.Event()
        self._list_pause = LIST_AGAIN_SECONDS
        self._lists = False
        self.is_complete = False
        """Whether this process has listed everybody since its start."""
        self.team = ""
        """Our workspace's id."""
        self.trouble = ""
        """Slack's word for why it says nothing of anybody; "" while it does."""
        self._peers.on(_LIST_SOON, self._on_list_soon)

    async def open(self) -> None:
        await self._members.open("")
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
        """List everybody from now on, where no other process does."""
        self._tasks.start(self._peers.lead(LISTS, self._keep_listing))

    def forget(self, ids: frozenset[str]) -> None:
        """Remember nothing more of these people. Who writes again is asked for."""
        self._members.forget(ids)
        self._groups = {group: users - ids for group, users in self._groups.items()}

    def cached_member(self, user: str) -> PlatformMember:
        """Return what is known of a person without asking."""
        return self._members.cached_member(user) or PlatformMember(user)

    def is_known(self, user: str) -> bool:
        """Return whether what is in memory of a person is enough to talk with them."""
        return self._clock() - self.cached_member(user).confirmed_at <= MAX_STALE_SECONDS

    def locale(self, user: str) -> str:
        """Return their language as far as it is known already, else English."""
        return self.cached_member(user).locale or "en"

    async def profiles(
        self, users: Iterable[str], seconds: float = COURTESY_SECONDS
    ) -> dict[str, PlatformMember]:
        """Return what Slack says of people, within `seconds`, else what is known. Names leave most
        of the pace of users.info to rights."""
        wanted = set(users)
        found = await asyncio.gather(*(self._members.find(u, MAX_STALE_SECONDS) for u in wanted))
        missing = [
            user
            for user, member in zip(wanted, found, strict=True)
            if member is None
            and self._clock() - self._refused.get(user, _NEVER) > REFUSED_SECONDS
        ]  # fmt: skip
        room = max(0, COURTESIES_AT_ONCE - self._members.waiting)
        if not await self._api.limiter.spare("users.info"):
            room = 0
        tasks = [
            asyncio.ensure_future(self._members.resolve(user, MAX_STALE_SECONDS))
            for user in missing[:room]
        ]
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=seconds)
            for task in left:
                task.cancel()
        return {user: self.cached_member(user) for user in wanted}

    async def guest(self, person: Person, max_age: float) -> bool | None:
        """Return whether somebody is less than a member of the workspace that they write as one of:
        a guest, or of another one although they write as one of ours. None where Slack does not
        tell. Waits as long as Slack takes."""
        member = await self._members.resolve(person.id, max_age)
        if member is None:
            return None
        outside = person.workspace == self.team and self.team not in member.belongs_to
        return member.is_guest or outside

    async def has_left(self, person: Person) -> bool | None:
        """Return whether their account is deactivated or gone; None where Slack does not tell.
        Waits as long as Slack takes."""
        if await self._members.resolve(person.id, MAX_CONFIRMED_AGE_SECONDS) is not None:
            return False
        return True if person.id in self._nobody else None

    async def membership(self, person: Person, max_age: float) -> frozenset[str] | None:
        """Return the user groups of a person (scope usergroups:read); None where Slack does not
        tell. Waits as long as Slack takes."""
        if not await self._has_groups(max_age):
            return None
        return frozenset(f"slack:{id}" for id, users in self._groups.items() if person.id in users)

    async def labels(self, names: Iterable[str]) -> Mapping[str, str]:
        """Return the names of people and user groups (`slack:ID`), as far as Slack tells soon."""
        ids = {name.removeprefix("slack:") for name in names}
        groups = {id for id in ids if id.startswith("S")}
        if groups - self._group_names.keys():
            if self._listing_groups is None or self._listing_groups.done():
                self._listing_groups = self._tasks.start(self._list_groups())
            if self._listing_groups is not None:
                await asyncio.wait({self._listing_groups}, timeout=PEOPLE_SECONDS)
        known = {id: self._group_names[id] for id in groups if id in self._group_names}
        people = await self.profiles(id for id in ids if id[:1] in ("U", "W"))
        known |= {id: member.name for id, member in people.items() if member.name}
        return {f"slack:{id}": name for id, name in known.items()}

    async def people(self, names: Iterable[str]) -> Sequence[Person]:
        """Return who is named, and who is in a user group, each as a member of our workspace and
        without bots. Raises PlatformBusy where Slack does not tell who they are."""
        ids = {name.removeprefix("slack:") for name in names if name.startswith("slack:")}
        try:
            async with asyncio.timeout(PEOPLE_SECONDS):
                if groups := {id for id in ids if id.startswith("S")}:
                    if not await self._has_groups(MAX_STALE_SECONDS):
                        raise PlatformBusy(REFUSED_SECONDS)
                    users = frozenset[str]().union(*(self._groups.get(g, ()) for g in groups))
                    ids = ids - groups | users
                users_named = sorted(id for id in ids if id[:1] in ("U", "W"))
                found = await asyncio.gather(
                    *(self._members.resolve(user, MAX_STALE_SECONDS) for user in users_named)
                )
        except TimeoutError:
            raise PlatformBusy(REFUSED_SECONDS) from None
        people = []
        for user, member in zip(users_named, found, strict=True):
            if member is None and user not in self._nobody:
                raise PlatformBusy(REFUSED_SECONDS)
            if member is not None and not member.is_robot:
                people.append(Person("slack", user, self.team, member.name))
        return people

    async def take_event(self, user: Any) -> None:
        """Take what a `team_join` or `user_change` event says of a person. One that does not say
        whether they are a guest says nothing."""
        if not isinstance(user, Mapping) or not user.get("id") or "is_restricted" not in user:
            return
        id = str(user["id"])
        if user.get("deleted"):
            await self._members.remove([id])
            return
        member, known = self._member(user), self._members.cached_member(id)
        if known is None and self.team not in member.belongs_to:
            return  # a stranger who never wrote to us
        if known is not None and "locale" not in user:
            member = replace(member, locale=known.locale)
        await self._members.take([member], unasked=True, write_again=EVENT_WRITE_SECONDS)

    # The port `core.chat.directory.Lookup`.

    async def wait_for_place(self) -> None:
        try:
            await self._api.limiter.turn("users.info", "", 0.0)
        except PlatformBusy:
            self._ask_for_a_list()
            await self._api.limiter.turn("users.info", "", sys.float_info.max)

    async def ask(self, place: MemberKey) -> PlatformMember:
        _, user = place
        try:
            told = await self._api.call(
                "users.info", user=user, include_locale=True, patience=0.0, claimed=True
            )
        except SlackRefused as refused:
            self._refused[user] = self._clock()
            if refused.error == "user_not_found":
                self._nobody[user] = True
            else:
                if refused.error != self.trouble:
                    log.warning("users.info refused", why=refused.error)
                self.trouble = refused.error
            raise NoMember from None
        self.trouble = ""
        if told.get("user", {}).get("deleted"):
            self._nobody[user] = True
            await self._members.remove([user])
            raise NoMember
        self._nobody.pop(user, None)
        return self._member(told.get("user", {}))

    def _member(self, user: Mapping[str, Any]) -> PlatformMember:
        """In a Grid organisation a person may be of several workspaces
        (`enterprise_user.teams`)."""
        told = user.get("profile", {})
        name = told.get("display_name") or told.get("real_name") or user.get("real_name") or ""
        others = (user.get("enterprise_user") or {}).get("teams") or ()
        teams = {str(user.get("team_id", "")), *map(str, others)} - {""}
        teams = set() if user.get("is_stranger") else teams
        home = self.team if self.team in teams else str(user.get("team_id", ""))
        id = str(user.get("id", ""))
        return PlatformMember(
            id, person=Person("slack", id, home).key, name=str(name)[:100],
            locale=user.get("locale") or "", zone=user.get("tz") or "",
            is_guest=bool(user.get("is_restricted") or user.get("is_ultra_restricted")),
            is_robot=bool(user.get("is_bot") or user.get("deleted")), belongs_to=frozenset(teams),
        )  # fmt: skip

    def _ask_for_a_list(self) -> None:
        if self._lists:
            self._list_now.set()
        else:
            self._tasks.start(self._peers.notify(_LIST_SOON, ""))

    async def _on_list_soon(self, _: str) -> None:
        self._list_now.set()

    async def _keep_listing(self) -> None:
        self._lists = True
        try:
            while True:
                self._list_now.clear()
                began = time.monotonic()
                try:
                    await self._list_everybody()
                except SlackRefused as refused:
                    log.warning("people not listed", why=str(refused))
                except FAILURES as failure:
                    log.warning("people not listed", why=str(failure))
                    await asyncio.sleep(LIST_RETRY_SECONDS)
                    continue
                await asyncio.sleep(self._list_pause - (time.monotonic() - began))
                with suppress(TimeoutError):
                    async with asyncio.timeout(LIST_EVERY_SECONDS):
                        await self._list_now.wait()
        finally:
            self._lists = False

    async def _list_everybody(self) -> None:
        sizes, cursor, count, pages, began = list(PAGE_SIZES), "", 0, 0, time.monotonic()
        told = self._members.resolved_count
        while True:
            try:
                page = await self._api.call(
                    "users.list", limit=sizes[0], cursor=cursor or None, include_locale=True,
                    patience=LIST_PATIENCE_SECONDS,
                )  # fmt: skip
            except (SlackRefused, InDoubt) as failure:
                error = failure.error if isinstance(failure, SlackRefused) else ""
                if error in CURSOR_OVER and cursor:
                    cursor, count = "", 0
                    continue
                if (error and error not in TOO_LARGE_A_PAGE) or len(sizes) == 1:
                    raise
                del sizes[0]
                log.info("people listed in smaller pages", size=sizes[0], why=str(failure))
                continue
            pages += 1
            count += await self._take_page(page.get("members", []))
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                break
        self.is_complete = True
        useful = self._members.resolved_count > told or not self._members.waiting
        pause = LIST_AGAIN_SECONDS if useful else 2 * self._list_pause
        pause = min(max(pause, LIST_AGAIN_SECONDS), LIST_AGAIN_LONGEST_SECONDS)
        self._list_pause = max(pause, LIST_PAGE_SECONDS * (pages - 1))
        log.info("people listed", people=count, seconds=round(time.monotonic() - began, 1))

    async def _take_page(self, users: Sequence[Json]) -> int:
        """Take our own people; others are asked for when they write."""

        def read() -> tuple[list[PlatformMember], list[str]]:
            members = [self._member(user) for user in users if not user.get("deleted")]
            gone = [str(user.get("id", "")) for user in users if user.get("deleted")]
            return [one for one in members if self.team in one.belongs_to], gone

        members, gone = await asyncio.to_thread(read)
        await self._members.take(members, unasked=True)
        if gone:
            await self._members.remove(gone)
        return len(members)

    async def _has_groups(self, max_age: float) -> bool:
        while self._clock() - self._groups_at > max_age:
            if self._listing_groups is None or self._listing_groups.done():
                self._listing_groups = self._tasks.start(self._list_groups())
            if self._listing_groups is None:
                return False
            await asyncio.wait({self._listing_groups})
            if self._groups_refused:
                return False
        return True

    async def _list_groups(self) -> None:
        self._groups_refused = False
        try:
            listed = await self._api.call(
                "usergroups.list", include_users=True, patience=GROUPS_PATIENCE_SECONDS
            )
        except SlackRefused as refused:
            log.info("usergroups.list refused", why=refused.error)
            self._groups_refused = True
            return
        except FAILURES as failure:
            log.info("usergroups.list failed", why=str(failure))
            await asyncio.sleep(GROUPS_RETRY_SECONDS)
            return
        groups = {
            str(group["id"]): frozenset(sys.intern(str(user)) for user in group.get("users") or ())
            for group in listed.get("usergroups", [])
        }
        named = ((g["id"], g.get("name") or g.get("handle")) for g in listed.get("usergroups", []))
        self._group_names = {str(id): str(name)[:100] for id, name in named if name}
        before, self._groups, self._groups_at = self._groups, groups, self._clock()
        if groups != before or self._clock() - self._groups_written_at > GROUPS_WRITE_SECONDS:
            self._groups_written_at = self._clock()
            await self._keep_groups(before, groups)

    async def _keep_groups(
        self, before: Mapping[str, frozenset[str]], now: Mapping[str, frozenset[str]]
    ) -> None:
        of: dict[str, set[str]] = {user: set() for users in before.values() for user in users}
        for group, users in now.items():
            for user in users:
                of.setdefault(user, set()).add(group)
        members = [
            PlatformMember(
                user, GROUPS, Person("slack", user, self.team).key, belongs_to=frozenset(groups),
                confirmed_at=self._groups_at,
            )
            for user, groups in of.items()
        ]  # fmt: skip
        await self._members.write(members)
