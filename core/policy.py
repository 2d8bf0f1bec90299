"""Who may do what, where: PONTE_ALLOW and PONTE_ADMINS, in one place.

Names have the form `platform:ID`, the ID of a person, a group or role, a channel or a workspace;
`*` is everybody; a platform that is `one_name` goes by its own. Groups and roles, and who is only a
guest, are asked of the platform (`Membership`, `Guests`) only when nothing else decides, and kept
for minutes. What is not known is not allowed.

A guest is no member: neither a platform's defaults nor the name of a workspace mean them, but their
own name, that of a group or of the channel, and `*` do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from core.messages import Address, Person
from core.ports import Guests, Membership
from core.records import Action, Verdict
from core.tasks import together

EVERYBODY = "*"
EVERYTHING: frozenset[Action] = frozenset({"chat", "read", "write", "spend", "code"})
"""What can be done without being an admin."""

_KEPT = 60.0  # seconds that groups are trusted; an empty answer may mean "unresolved"
_KEPT_EMPTY = 30.0
LONGEST_KEPT = 240.0
"""Seconds that a platform may itself keep who is in a group, or a guest: with ours five minutes."""
_DEADLINE = 5.0
_MOST_PEOPLE = 10_000

_ASK = "The operator can allow it by naming you, a group of yours or this channel in PONTE_ALLOW."
REASONS: Mapping[Action, str] = {
    "chat": "I only answer members of this workspace here. " + _ASK,
    "read": "You may talk with me here, but not read tables. " + _ASK,
    "write": "You may not change data here. " + _ASK,
    "spend": "You may talk with me here, but not run quick commands. " + _ASK,
    "code": "You may talk with me here, but not run code. " + _ASK,
    "admin": "Only an admin of this bot may do that. The operator names admins in PONTE_ADMINS.",
}
GUEST = "I answer members here, and you are a guest. " + _ASK
UNKNOWN = (
    "I could not find out in time whether you are a member here, so I did nothing. "
    "Please try again in a minute; if it goes on, tell the operator."
)


@dataclass(frozen=True, slots=True)
class DailyTurns:
    """Turns that a day allows: for one person, and for everybody together; 0 is no cap."""

    person: int = 0
    everybody: int = 0


@dataclass(frozen=True, slots=True)
class PlatformRights:
    """What a platform's people may do where nobody named them (`default`), and what its names mean.

    `one_name`: whoever is there goes by the platform's name, and decides for all of them.
    `operator`: they sit at the machine, and see what was changed from everywhere. `own_workspace`:
    the defaults are for people of the place's own workspace. `open_workspace`: people belong to no
    workspace, so its name means who writes there. `unnamed`: the daily cap of each whom
    PONTE_ALLOW does not name. `links_code`: addresses within code become links there, too.
    """

    default: frozenset[Action] = frozenset()
    one_name: bool = False
    operator: bool = False
    own_workspace: bool = False
    open_workspace: bool = False
    unnamed: DailyTurns = DailyTurns()
    links_code: bool = False


NO_RIGHTS = PlatformRights()
"""Of a platform that is not known."""


@dataclass(slots=True)
class AllowList:
    """The `Policy` port over two lists of names. `allow` only adds to a platform's defaults."""

    platforms: Mapping[str, PlatformRights]
    allow: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    memberships: Mapping[str, Membership] = field(default_factory=dict)
    guests: Mapping[str, Guests] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _groups: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict, init=False)

    async def may(self, person: Person, address: Address, action: Action) -> Verdict:
        """Whether, and if not, why not and who can change it."""
        known = self.local(person, address, action)
        if known is not None:
            return known
        if self._groups_matter(person.platform, action):
            member, groups = await together(
                self._member(person, address, action), self._groups_of(person)
            )
        else:
            member, groups = await self._member(person, address, action), frozenset[str]()
        if member or groups & self._lists(action):
            return Verdict(True)
        if not self._as_member(person, address, action):
            return _verdict(action, False)
        return Verdict(False, UNKNOWN if member is None else GUEST)

    async def is_named(self, person: Person, address: Address, names: frozenset[str]) -> bool:
        """Whether these names mean them: the person, a group or role of theirs, their surface."""
        platform = person.platform
        if names & {platform, f"{platform}:{person.id}"}:
            return True
        if platform not in self.memberships or not any(n.startswith(f"{platform}:") for n in names):
            return False
        return bool(await self._groups_of(person) & names)

    async def names(self, person: Person, address: Address) -> bool:
        """Whether PONTE_ALLOW or PONTE_ADMINS name them, a group of theirs or this place."""
        if self._named(person, address, "chat"):
            return True
        if not self._groups_matter(person.platform, "chat"):
            return False
        return bool(await self._groups_of(person) & self._lists("chat"))

    def local(self, person: Person, address: Address, action: Action) -> Verdict | None:
        """The same without asking the platform; None where only it can tell."""
        if self._named(person, address, action):
            return Verdict(True)
        asks = self._groups_matter(person.platform, action)
        if self._as_member(person, address, action):
            return None if person.platform in self.guests else Verdict(True)
        return None if asks else _verdict(action, False)

    def _as_member(self, person: Person, address: Address, action: Action) -> bool:
        """Whether a member of that workspace might, by default or because it is named."""
        if action == "admin":
            return False
        home = f"{person.platform}:{person.workspace}"
        if person.workspace and home in self.allow:
            return True
        rights = self.platforms.get(person.platform, NO_RIGHTS)
        # A channel that workspaces share brings people of other ones.
        member = bool(person.workspace) and person.workspace == address.workspace
        return action in rights.default and (member or not rights.own_workspace)

    async def _member(self, person: Person, address: Address, action: Action) -> bool | None:
        """None where the platform does not tell in time."""
        if not self._as_member(person, address, action):
            return False
        if person.platform not in self.guests:
            return True
        try:
            async with asyncio.timeout(_DEADLINE):
                guest = await self.guests[person.platform](person)
        except TimeoutError:
            return None
        return None if guest is None else not guest

    def _named(self, person: Person, address: Address, action: Action) -> bool:
        platform = person.platform
        if platform in self.admins or f"{platform}:{person.id}" in self.admins:
            return True
        if action == "admin":
            return False
        # Where a person has a workspace of their own, its name means its members.
        home = address.workspace if self.platforms.get(platform, NO_RIGHTS).open_workspace else ""
        names = {f"{platform}:{name}" for name in (person.id, home, address.channel) if name}
        return EVERYBODY in self.allow or bool(names & self.allow)

    def _lists(self, action: Action) -> frozenset[str]:
        return self.admins if action == "admin" else self.allow | self.admins

    def _groups_matter(self, platform: str, action: Action) -> bool:
        if platform not in self.memberships:
            return False
        return any(name.startswith(f"{platform}:") for name in self._lists(action))

    async def _groups_of(self, person: Person) -> frozenset[str]:
        now = self.clock()
        expires, groups = self._groups.get(person.key, (0.0, frozenset[str]()))
        if now < expires:
            return groups
        try:
            async with asyncio.timeout(_DEADLINE):
                ids = await self.memberships[person.platform](person)
        except TimeoutError:
            ids = frozenset()
        prefix = f"{person.platform}:"
        groups = frozenset(id if id.startswith(prefix) else prefix + id for id in ids)
        if len(self._groups) >= _MOST_PEOPLE:
            self._groups.clear()
        self._groups[person.key] = (now + (_KEPT if groups else _KEPT_EMPTY), groups)
        return groups


@dataclass(frozen=True, slots=True)
class DailyCaps:
    """`chosen` is PONTE_DAILY_TURNS; None takes each platform's default."""

    chosen: DailyTurns | None = None

    async def of(self, person: Person, address: Address, named: AllowList) -> DailyTurns:
        """What `person` may use there: naming one person frees that one alone."""
        if self.chosen is not None:
            return self.chosen
        cap = named.platforms.get(person.platform, NO_RIGHTS).unnamed
        capped = cap != DailyTurns() and not await named.names(person, address)
        return cap if capped else DailyTurns()


def _verdict(action: Action, allowed: bool) -> Verdict:
    return Verdict(allowed, "" if allowed else REASONS[action])
