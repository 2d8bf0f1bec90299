"""What all replies in a workspace share: its tasks, its people, its threads."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from adapters.slack.client import FAILURES, PART, InDoubt, Json, Latches, SlackApi, SlackRefused
from adapters.slack.events import Said, event_key
from adapters.slack.render import Links
from adapters.slack.setup import identity
from core.errors import NotFound
from core.messages import Person, ReplyTo, turn_id
from core.policy import LONGEST_KEPT
from core.ports import Journal
from core.tasks import Bounded

log = structlog.get_logger("slack")

ON_IT_AFTER = 1.0
"""Seconds after which a command's asker is told that it is under way; a quicker answer comes
alone."""
COURTESY = 0.3
"""Seconds that a turn waits for names, languages and zones."""
FRESH, KEPT, UNKNOWN = 3600.0, 30 * 86_400.0, 30.0
"""Seconds that a profile is not asked for again, that it is kept on disk, and that a failed look-up
is not repeated for a courtesy."""
_WRITTEN_AFTER, _MOST = 1.0, 5000
"""Seconds until what changed is written to disk, and people who are remembered."""
_NEVER = float("-inf")


class Tasks:
    """What runs beside the events: every task is held here, and ended here."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Run it beside all else; after `close` it is not begun."""
        if self._closed:
            work.close()
            return None
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        self._closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("slack task failed", why=repr(error))


class Pending:
    """Slash commands whose answer takes its time: who typed one is told so, and nobody else.

    A slash command leaves no message that could wear a sign. What its `response_url` showed can, by
    what was published, not be taken back (slackapi/bolt-js issue 2287, langchain-ai/open-swe pull
    2889); the deletion is asked for all the same, and at the latest the client's next start takes
    it away, as all that is shown to one person alone (docs.slack.dev/reference/methods/
    chat.postEphemeral).
    """

    def __init__(self, api: SlackApi, tasks: Tasks) -> None:
        self._api = api
        self._tasks = tasks
        self._waiting: dict[str, asyncio.Event] = {}

    def begin(self, turn: str, url: str, words: str) -> None:
        """`turn` was accepted; `words` are shown at `url` while its answer takes its time."""
        if url and turn not in self._waiting:
            self._waiting[turn] = asyncio.Event()
            self._tasks.start(self._watch(turn, url, words))

    def end(self, turn: str) -> None:
        """Its answer is there."""
        if answered := self._waiting.get(turn):
            answered.set()

    async def _watch(self, turn: str, url: str, words: str) -> None:
        answered = self._waiting[turn]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(ON_IT_AFTER):
                    await answered.wait()
                    return
            await self._api.respond(url, {"text": words, "response_type": "ephemeral"})
            await answered.wait()
            await self._api.respond(url, {"delete_original": True})
        except InDoubt:
            return
        finally:
            self._waiting.pop(turn, None)


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
    """Who people are: names, languages and zones, whether they are guests, and their groups.

    A name is a courtesy, waited for no longer than a blink and kept over restarts. Who is a guest,
    and in which groups, is a right: kept for minutes, and not known means not allowed
    (`core.policy`). Asks for each person once at a time, and raises nothing that Slack does.
    """

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
        self._groups: tuple[float, dict[str, frozenset[str]]] = (_NEVER, {})
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
        return self._profiles.get(user, (_NEVER, Profile(user)))[1]

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
        at, _ = self._profiles.get(user, (_NEVER, Profile(user)))
        now = self._clock()
        return now - at > FRESH and now - self._failed.get(user, _NEVER) > UNKNOWN

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
        except FAILURES as failure:
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
        except FAILURES as failure:
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


async def _nobody(to: ReplyTo, ts: str) -> None:
    return None


@dataclass(slots=True)
class Workspace:
    """The workspace that the token belongs to, and what all replies in it share. `team` and `user`
    are our own ids, "" until `identify` has asked for them."""

    api: SlackApi
    directory: Directory
    links: Links = field(default_factory=Links)
    latches: Latches = field(default_factory=Latches)
    tasks: Tasks = field(default_factory=Tasks)
    team: str = ""
    user: str = ""
    started: float = field(default_factory=time.time)
    waiting: set[str] = field(default_factory=set)
    """Source messages that carry our sign that they wait their turn."""
    part: int = PART
    """Bytes of an answer's text in one post; less, once Slack was found to take less."""
    working: Bounded[str, str] = field(default_factory=Bounded)
    """The turn that a thread's session was last set to "processing" for."""
    titles: Bounded[str, str] = field(default_factory=Bounded)
    """What a session is called that a turn begins: the first words of its message."""
    stopped: Callable[[ReplyTo, str], Awaitable[None]] = _nobody
    """Told of a stream (its time stamp) that its reader stopped, where no event tells of it."""
    pending: Pending = field(init=False)
    _told: Json = field(default_factory=dict)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.pending = Pending(self.api, self.tasks)

    async def identify(self) -> Json:
        """What auth.test says, asked once: turns that are taken up again may come before the
        adapter's start. Raises as `setup.identity`."""
        async with self._asking:
            if not self.user:
                self._told, _ = await identity(self.api)
                self.team, self.user = self._told["team_id"], self._told["user_id"]
        return self._told


class Directs:
    """Threads in direct messages: most hold our answers, some are conversations of their own.

    Our answer to a top-level message stands in a thread under it, and that thread belongs to
    the direct message's conversation: where the journal knows a turn of the thread's root.
    """

    def __init__(self, workspace: Workspace, journal: Journal) -> None:
        self._workspace = workspace
        self._journal = journal
        self._known: Bounded[str, bool] = Bounded()

    def took(self, said: Said) -> None:
        """A top-level message was accepted: its thread will hold our answer."""
        if said.direct and not said.thread:
            self._known[said.event_key] = True

    async def belongs_to_dm(self, said: Said) -> bool:
        if not said.direct or not said.thread or said.parent == self._workspace.user:
            return not said.thread
        root = event_key(said.team, said.channel, said.thread)
        if root not in self._known:
            try:
                await self._journal.turn_of(turn_id(root))
                self._known[root] = True
            except NotFound:
                self._known[root] = False
        return self._known[root]


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
