"""Who people are: their names, languages and zones, and the user groups that they are in."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from adapters.slack.api import Json, SlackApi
from adapters.slack.refusals import InDoubt, SlackRefused
from core.errors import PlatformBusy
from core.messages import Person

KEPT, KEPT_UNKNOWN = 3600.0, 30.0
"""Seconds that a profile is trusted, and that a failed look-up is not repeated."""
GROUPS_KEPT = 300.0
_MOST = 10_000
_FAILURES = (SlackRefused, InDoubt, PlatformBusy, TimeoutError)


@dataclass(frozen=True, slots=True)
class Profile:
    """Empty fields where Slack did not tell. `team` is the workspace that the person is of."""

    id: str
    name: str = ""
    locale: str = ""
    zone: str = ""
    team: str = ""
    organisation: str = ""


class Directory:
    """Looked up once an hour for each person; never raises, never keeps an event waiting long."""

    def __init__(self, api: SlackApi, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Profile]] = OrderedDict()
        self._asked: dict[str, asyncio.Task[Profile]] = {}
        self._groups: dict[str, frozenset[str]] = {}
        self._groups_until = 0.0

    async def profile(self, user: str, seconds: float = 1.0) -> Profile:
        """What Slack says of a person, within `seconds`; an empty profile otherwise."""
        known = self._known.get(user)
        if known and known[0] > self._clock():
            return known[1]
        if user not in self._asked:
            task = self._asked[user] = asyncio.create_task(self._ask(user))
            task.add_done_callback(lambda _: self._asked.pop(user, None))
        try:
            return await asyncio.wait_for(asyncio.shield(self._asked[user]), seconds)
        except TimeoutError:
            return known[1] if known else Profile(user)

    async def names(self, users: Iterable[str]) -> dict[str, str]:
        profiles = await asyncio.gather(*(self.profile(user) for user in set(users)))
        return {profile.id: profile.name for profile in profiles if profile.name}

    def locale(self, user: str) -> str:
        """As far as it is known already; English otherwise."""
        known = self._known.get(user)
        return (known[1].locale if known else "") or "en"

    async def membership(self, person: Person) -> frozenset[str]:
        """The user groups of a person (scope usergroups:read); empty where it cannot be told."""
        if self._groups_until < self._clock():
            self._groups_until = self._clock() + GROUPS_KEPT
            try:
                listed = await self._api.call("usergroups.list", include_users=True, patience=2.0)
            except _FAILURES:
                self._groups_until = self._clock() + KEPT_UNKNOWN
            else:
                self._groups = {g["id"]: frozenset(g.get("users") or ())
                                for g in listed.get("usergroups", [])}  # fmt: skip
        return frozenset(f"slack:{id}" for id, users in self._groups.items() if person.id in users)

    async def close(self) -> None:
        for task in list(self._asked.values()):
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def _ask(self, user: str) -> Profile:
        try:
            told = await self._api.call("users.info", user=user, include_locale=True, patience=2.0)
        except _FAILURES:
            profile, kept = Profile(user), KEPT_UNKNOWN
        else:
            profile, kept = _profile(user, told.get("user", {})), KEPT
        self._known[user] = (self._clock() + kept, profile)
        self._known.move_to_end(user)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return profile


def _profile(id: str, user: Json) -> Profile:
    told = user.get("profile", {})
    name = told.get("display_name") or told.get("real_name") or user.get("real_name") or ""
    organisation = (user.get("enterprise_user") or {}).get("enterprise_id", "")
    return Profile(id, str(name)[:100], user.get("locale", ""), user.get("tz") or "",
                   user.get("team_id", ""), organisation)  # fmt: skip
