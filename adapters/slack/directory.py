"""Who people are: their names, languages and zones, whether they are guests, and their groups.

A name is a courtesy, waited for no longer than a blink and kept over restarts. Who is a guest, and
in which groups, is a right: kept for minutes, and not known means not allowed (`core.policy`).
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from adapters.slack.api import Json, SlackApi
from adapters.slack.refusals import InDoubt, SlackRefused
from core.bounded import Bounded
from core.errors import PlatformBusy
from core.messages import Person
from core.policy import LONGEST_KEPT

log = structlog.get_logger("slack")
COURTESY = 0.3
"""Seconds that a turn waits for names, languages and zones."""
FRESH, KEPT, UNKNOWN = 3600.0, 30 * 86_400.0, 30.0
"""Seconds that a profile is not asked for again, that it is kept on disk, and that a failed look-up
is not repeated for a courtesy."""
_WRITTEN_AFTER, _MOST = 1.0, 5000
NEVER = float("-inf")
_FAILURES = (SlackRefused, InDoubt, PlatformBusy)


@dataclass(frozen=True, slots=True)
class Profile:
    """Empty fields where Slack did not tell."""

    id: str
    name: str = ""
    locale: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What users.info says of a person's place in the workspace, and when: `teams` are those that
    they are a member of; guests are marked (is_restricted, is_ultra_restricted)."""

    at: float
    guest: bool
    teams: frozenset[str]


class Directory:
    """Asks for each person once at a time. Nothing here raises what Slack does."""

    def __init__(
        self, api: SlackApi, path: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """`path`: where profiles are kept over restarts."""
        self._api = api
        self._path = path
        self._clock = clock
        self._profiles: Bounded[str, tuple[float, Profile]] = Bounded(_MOST)
        self._standings: Bounded[str, Standing] = Bounded(_MOST)
        self._failed: Bounded[str, float] = Bounded(_MOST)
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._groups: tuple[float, dict[str, frozenset[str]]] = (NEVER, {})
        self._listing: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self.trouble = ""
        """Slack's word for why it says nothing of anybody; "" while it does."""

    async def open(self) -> None:
        if self._path is None:
            return
        kept = await asyncio.to_thread(_read, self._path)
        for id, (at, name, locale, zone) in kept.items():
            if self._clock() - at < KEPT:
                self._profiles[id] = (at, Profile(id, name, locale, zone))

    async def close(self) -> None:
        tasks = [*self._asked.values(), *filter(None, [self._listing, self._writer])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._writer is not None:
            await self._write()

    def known(self, user: str) -> Profile:
        """What is known of a person without asking."""
        return self._profiles.get(user, (NEVER, Profile(user)))[1]

    def locale(self, user: str) -> str:
        """As far as it is known already; English otherwise."""
        return self.known(user).locale or "en"

    async def profiles(self, users: Iterable[str], seconds: float = COURTESY) -> dict[str, Profile]:
        """What Slack says of people, within `seconds`; else what is known. Names leave half of the
        burst of users.info to rights."""
        wanted, tasks = set(users), []
        for user in filter(self._is_stale, wanted):
            if user in self._asked:
                tasks.append(self._asked[user])
            elif self._api.pace.claim("users.info"):
                tasks.append(self._ask(user, claimed=True))
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        return {user: self.known(user) for user in wanted}

    async def guest(self, person: Person, ours: str) -> bool | None:
        """Whether somebody is less than a member of the workspace that they write as one of: a
        guest, or of another one although they write as one of `ours`. None where Slack does not
        tell. Waits as long as Slack takes."""
        standing = self._standings.get(person.id)
        if standing is None or self._clock() - standing.at > LONGEST_KEPT:
            await asyncio.wait({self._ask(person.id)})
            standing = self._standings.get(person.id)
        if standing is None or self._clock() - standing.at > LONGEST_KEPT:
            return None
        return standing.guest or (person.workspace == ours and ours not in standing.teams)

    async def membership(self, person: Person) -> frozenset[str]:
        """The user groups of a person (scope usergroups:read); empty where it cannot be told."""
        if self._clock() - self._groups[0] > LONGEST_KEPT:
            self._listing = self._listing or asyncio.create_task(self._list_groups())
            await asyncio.wait({self._listing})
            self._listing = None
        at, groups = self._groups
        if self._clock() - at > LONGEST_KEPT:
            return frozenset()
        return frozenset(f"slack:{id}" for id, users in groups.items() if person.id in users)

    def _is_stale(self, user: str) -> bool:
        at, _ = self._profiles.get(user, (NEVER, Profile(user)))
        now = self._clock()
        return now - at > FRESH and now - self._failed.get(user, NEVER) > UNKNOWN

    def _ask(self, user: str, claimed: bool = False) -> asyncio.Task[None]:
        """One question at a time for each person, which outlives who waits for it."""
        if user not in self._asked:
            self._asked[user] = task = asyncio.create_task(self._look_up(user, claimed))
            task.add_done_callback(lambda _: self._asked.pop(user, None))
        return self._asked[user]

    async def _look_up(self, user: str, claimed: bool) -> None:
        try:
            told = await self._api.call(
                "users.info", user=user, include_locale=True, patience=5.0, claimed=claimed
            )
        except _FAILURES as failure:
            self._failed[user] = self._clock()
            if isinstance(failure, SlackRefused) and failure.error != "user_not_found":
                if failure.error != self.trouble:
                    log.warning("users.info refused", why=failure.error)
                self.trouble = failure.error
            return
        self.trouble = ""
        user_told, now = told.get("user", {}), self._clock()
        self._standings[user] = _standing(now, user_told)
        profile = _profile(user, user_told)
        changed = self.known(user) != profile
        self._profiles[user] = (now, profile)
        if changed and self._path is not None and (self._writer is None or self._writer.done()):
            self._writer = asyncio.create_task(self._write_soon())

    async def _list_groups(self) -> None:
        try:
            listed = await self._api.call("usergroups.list", include_users=True, patience=5.0)
        except _FAILURES as failure:
            log.info("usergroups.list failed", why=str(failure))
            return
        groups = {g["id"]: frozenset(g.get("users") or ()) for g in listed.get("usergroups", [])}
        self._groups = (self._clock(), groups)

    async def _write_soon(self) -> None:
        await asyncio.sleep(_WRITTEN_AFTER)
        await self._write()

    async def _write(self) -> None:
        if self._path is None:
            return
        kept = {id: (at, p.name, p.locale, p.zone) for id, (at, p) in self._profiles.items()
                if self._clock() - at < KEPT}  # fmt: skip
        try:
            await asyncio.to_thread(_replace, self._path, json.dumps(kept))
        except OSError as error:
            log.warning("names not kept", why=repr(error))


def _profile(id: str, user: Json) -> Profile:
    told = user.get("profile", {})
    name = told.get("display_name") or told.get("real_name") or user.get("real_name") or ""
    return Profile(id, str(name)[:100], user.get("locale") or "", user.get("tz") or "")


def _standing(at: float, user: Json) -> Standing:
    """In a Grid organisation a person may be of several workspaces (`enterprise_user.teams`)."""
    others = (user.get("enterprise_user") or {}).get("teams") or ()
    guest = bool(user.get("is_restricted") or user.get("is_ultra_restricted"))
    teams = {str(user.get("team_id", "")), *map(str, others)}
    return Standing(at, guest, frozenset() if user.get("is_stranger") else frozenset(teams))


def _read(path: Path) -> dict[str, tuple[float, str, str, str]]:
    try:
        kept = json.loads(path.read_text())
        return {str(id): (float(v[0]), str(v[1]), str(v[2]), str(v[3])) for id, v in kept.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, IndexError, TypeError, AttributeError) as error:
        log.warning("names not read; starting without", why=repr(error))
        return {}


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(text)
    os.replace(partial, path)
