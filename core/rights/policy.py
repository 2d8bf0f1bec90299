"""Who may do what, where: the rules of ponte.toml, then PONTE_ADMINS, PONTE_ALLOW and each
platform's defaults.

Rules are read from the top, and the first that fits who asks, where, and says something about the
right decides, as in a firewall. Beside them each channel has its own: what holds is the asker's
right *and* the channel's, also for an admin.

Names have the form `platform:ID`, the ID of a person, a group or role, a channel or a workspace; a
platform alone is all its people; `EVERYBODY`, `MEANT` and the sets of ponte.toml name more.
Groups and roles, and who is only a guest, are asked of the platform (`Membership`, `Guests`) only
where something depends on it. To chat and to read, what the platform said within a day is enough;
all other rights need what it confirmed within five minutes. What is not known is not allowed, and
that is no refusal: the verdict says so (`Verdict.unknown`), and the person is asked to try again.

A guest is no member: a platform's defaults are not for them, nor what the name of a platform or a
workspace gives; what their own name, that of a group or of the channel, or `everybody` gives is.
What the name of a platform or workspace denies or limits holds for its guests too (see
`PlaceReading`).
Guests have none of `DECISION_RIGHTS`, whatever a rule says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Protocol

from core.domain.errors import StatusUnknown
from core.domain.messages import Address, Person
from core.domain.records import Action, Verdict
from core.runtime.tasks import run_together
from core.text.i18n import say
from core.text.text import fold_case

GroupLookup = Callable[[Person, float], Awaitable[frozenset[str] | None]]
"""A platform's groups and roles of a person, as it told them within so many seconds; None: it
refuses to tell. Waits for the platform, however long that takes; raises nothing."""

GuestLookup = Callable[[Person, float], Awaitable[bool | None]]
"""Whether a person is a guest where they write, as their platform told within so many seconds;
None: it refuses to tell. Waits for the platform, however long that takes; raises nothing."""

DepartureLookup = Callable[[Person, Address, float], Awaitable[bool | None]]
"""Whether a person who did something there at that time (Unix seconds) has been removed since: from
the workspace, the server or the page. None: their platform does not tell. Raises nothing."""


class PlaceRights(Protocol):
    """What one person may do in one place, once all that it depends on was asked."""

    def may(self, right: str, *names: str) -> Verdict:
        """`names`: of the thing that it is about; of a table its title and its id."""

    def depends_on_name(self, right: str) -> bool:
        """Whether it may be given for one thing and not for another."""


EVERYBODY_NAME = "*"
"""Also written `everybody`."""
OWNER_ID = "owner"
"""The person who holds a platform that is `one_name`."""
BASIC_RIGHTS: frozenset[Action] = frozenset({"chat", "read", "propose", "spend", "code"})
"""What can be done without being an admin or an approver."""
DECISION_RIGHTS = ("approve", "administer")
"""Rights that only people and groups can be given: no channel, workspace or surface."""
NAMED_RIGHTS = ("tool", "command", "agent", "model")
"""Rights to one thing by its name, beside the plain one: all are allowed that no rule denies."""
PEOPLE_SETS = ("everybody", "members", "guests", "outsiders", "admins")
"""Whom a rule can name beside people, groups and places. `outsiders` belong to another workspace
than the channel."""
RIGHT_KINDS = ("chat", "read", "propose", "spend", "code", *DECISION_RIGHTS, *NAMED_RIGHTS)
PlaceReading = Literal["people", "members", "all"]
"""How the name of a place is read: it means nobody where a right is for people and groups alone,
its members where something is given, all its people where something is denied or limited."""
_NAMEABLE_RIGHTS = ("read", "propose", "approve", *NAMED_RIGHTS)
"""Those that a name may follow, as in `read:Customers`."""

_GROUP_CACHE_SECONDS = (
    60.0  # seconds that groups are trusted; an empty answer may mean "unresolved"
)
_EMPTY_GROUP_CACHE_SECONDS = 30.0
MAX_CONFIRMED_AGE_SECONDS = 240.0
"""Seconds that a platform may itself keep who is in a group, or a guest: with ours five minutes."""
MAX_STALE_SECONDS = 86_340.0
"""How old what a platform said may be for `RIGHTS_ON_STALE_DATA`: with our own minute a day."""
RIGHTS_ON_STALE_DATA = frozenset({"chat", "read", "model", "tool"})
"""Rights that go on while the platform does not answer. A named tool's effect is a right beside it.
The model's own cost is no spending in this sense."""
_LOOKUP_TIMEOUT_SECONDS = 5.0
_CONFIRM_TIMEOUT_SECONDS = 0.3
"""How long a turn's start waits for a platform to confirm what it said before; `prepare` waits
longer, before the turn."""
_MAX_CACHED_PEOPLE = 10_000
MAX_NAME_CHARACTERS = 1_000
"""Of a table, tool, command, agent or model that a right is asked for. NocoDB's titles have at most
255; people and models can ask for any text."""

_ALLOW_HINT = (
    "The operator can allow it by naming you, a group of yours or this channel in PONTE_ALLOW."
)
DEFAULT_REASONS: Mapping[str, str] = {
    "chat": "I only answer members of this workspace here. " + _ALLOW_HINT,
    "read": "You may talk with me here, but not read tables. " + _ALLOW_HINT,
    "propose": "You may not change data here. " + _ALLOW_HINT,
    "spend": "You may talk with me here, but not run quick commands. " + _ALLOW_HINT,
    "code": "You may talk with me here, but not run code. " + _ALLOW_HINT,
    "approve": "Only an admin of this bot, or whom the operator named for it, may decide that.",
    "administer": (
        "Only an admin of this bot may do that. The operator names admins in PONTE_ADMINS."
    ),
}
"""Why, where no rule of the operator's says anything."""
_MISSING_RIGHT = (
    "The right that is missing is `{right}`; the operator gives it in `ponte.toml`. "
    "`why {right}` tells which rule decided."
)
RULE_REASONS: Mapping[str, str] = {
    "chat": "The operator's rules do not let me talk with you here. They stand in `ponte.toml`.",
    "read": "You may not read that here. " + _MISSING_RIGHT,
    "propose": "You may not change that here. " + _MISSING_RIGHT,
    "spend": "You may not run quick commands here. " + _MISSING_RIGHT,
    "code": "You may not run code here. " + _MISSING_RIGHT,
    "approve": "You may not decide that here. " + _MISSING_RIGHT,
    "administer": "You may not do that here. " + _MISSING_RIGHT,
    "tool": "You may not use that tool here. " + _MISSING_RIGHT,
    "command": "You may not run that quick command here. " + _MISSING_RIGHT,
    "agent": "You may not ask that agent here. " + _MISSING_RIGHT,
    "model": "You may not use the model of this place. " + _MISSING_RIGHT,
}
"""Why, where a rule of the operator's decides."""
GUEST_REASON = "I answer members here, and you are a guest. " + _ALLOW_HINT
GUEST_DECISION_REASON = "Guests do not decide on changes, and are no admins: that is for members."
UNKNOWN_STATUS_REASON = StatusUnknown.sentence
NAME_TOO_LONG = "That name is too long: a name has at most 1,000 characters."
ADMINS_RULE, ALLOW_RULE, DEFAULT_RULE = "PONTE_ADMINS", "PONTE_ALLOW", "default"
_ALLOWED_SENTENCES: Mapping[str, str] = {
    ADMINS_RULE: "`{right}`: yes, for who is an admin (PONTE_ADMINS).",
    ALLOW_RULE: "`{right}`: yes, PONTE_ALLOW names the person, a group of theirs or the place.",
    DEFAULT_RULE: "`{right}`: yes, that is the default here.",
}
_DENIED_SENTENCE = "`{right}`: no. {reason}"


@dataclass(frozen=True, slots=True)
class DailyTurns:
    """Turns that a day allows: for one person, and for everybody together; 0 is no cap."""

    person: int = 0
    everybody: int = 0


@dataclass(frozen=True, slots=True)
class PlatformRights:
    """What a platform's people may do where nobody named them (`default`), and what its names mean.

    `one_name`: it is its `OWNER`'s, whom its name alone means where people are meant, and who
    decides on all that they propose there; the channels are of each one's own making, so that no
    channel's name gives a right. `operator`: its owner sits at the machine, and sees what was
    changed from everywhere. `own_workspace`:
    the defaults are for people of the place's own workspace. `open_workspace`: people belong to no
    workspace, so its name means who writes there. `unnamed`: the daily cap of each whom
    PONTE_ALLOW does not name. `links_code`: addresses within code become links there, too.
    `links_names`: names of hosts and e-mail addresses without a scheme do.
    """

    default_rights: frozenset[Action] = frozenset()
    has_one_owner: bool = False
    owner_is_operator: bool = False
    own_workspace: bool = False
    open_workspace: bool = False
    stranger_cap: DailyTurns = DailyTurns()
    links_code: bool = False
    links_names: bool = True


NO_RIGHTS = PlatformRights()
"""Of a platform that is not known."""


Ruling = Literal["allow", "deny", "silent"]
"""What one rule says about a right."""


@dataclass(frozen=True)
class Rule:
    """`told` says where it stands. `who` and `where` empty: everybody, everywhere. `allow` and
    `deny` are rights, as in `read` or `read:Customers`; a `*` in a name stands for any text."""

    source: str
    who: frozenset[str] = frozenset()
    where: frozenset[str] = frozenset()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def decide(self, right: str, names: Sequence[str]) -> Ruling:
        """Return whether this rule allows or denies the right for one of these names. Without
        names, a rule that allows it for any name allows it."""
        denied = self._deny_patterns.get(right)
        if denied and denied.covers(names):
            return "deny"
        allowed = self._allow_patterns.get(right)
        if allowed and (not names or allowed.covers(names)):
            return "allow"
        return "silent"

    def leaves_right(self, right: str, names: Sequence[str]) -> bool:
        """Whether a place with this rule leaves the right to whoever has it. With `allow` it leaves
        only that; rights to one thing by its name are also left where none of their kind is in it.
        """
        ruling = self.decide(right, names)
        if ruling != "silent":
            return ruling == "allow"
        return right not in self._allow_patterns if right in NAMED_RIGHTS else not self.allow

    @cached_property
    def _allow_patterns(self) -> Mapping[str, _NamePatterns]:
        return _patterns_by_right(self.allow)

    @cached_property
    def _deny_patterns(self) -> Mapping[str, _NamePatterns]:
        return _patterns_by_right(self.deny)


@dataclass(frozen=True, slots=True)
class _NamePatterns:
    """The things that a rule allows or denies one right for; `is_whole`: all of them."""

    is_whole: bool
    patterns: tuple[str, ...]

    def covers(self, names: Sequence[str]) -> bool:
        """Whether one of these names is meant; without names: whether everything is."""
        if self.is_whole:
            return True
        wanted = [fold_case(name) for name in names]
        return any(matches_pattern(pattern, name) for pattern in self.patterns for name in wanted)


@dataclass(frozen=True, slots=True)
class RuleBook:
    """What the operator wrote. `groups`: named sets of people; `channels`: the rules of places, by
    `platform`, `platform:WORKSPACE` or `platform:WORKSPACE:CHANNEL`."""

    rules: tuple[Rule, ...] = ()
    channels: Mapping[str, Rule] = field(default_factory=dict)
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _PersonFacts:
    """What the platform said of a person; None where it was not asked or does not tell."""

    groups: frozenset[str] | None = None
    guest: bool | None = None

    @property
    def is_member(self) -> bool | None:
        return None if self.guest is None else not self.guest

    @property
    def is_whole(self) -> bool:
        return self.groups is not None and self.guest is not None


@dataclass(frozen=True, slots=True)
class _Decision:
    """What the rules say of a right. `others`: what rules before it say (True allows) that may mean
    the person, or not: their platform has not told."""

    verdict: Verdict
    others: frozenset[bool] = frozenset()

    @property
    def is_certain(self) -> bool:
        return self.others <= {self.verdict.allowed}


@dataclass(slots=True)
class Rights:
    """The rights of one person in one place, as far as is known now; nothing here waits.

    Each right is decided once, and again after the operator has changed the rules.
    """

    policy: AccessPolicy
    person: Person
    address: Address
    known: _PersonFacts
    confirmed: Rights | None = None
    """By what the platform confirmed within minutes, where that is less than what is `known`: they
    decide all rights but those of `RIGHTS_ON_STALE_DATA`."""
    _book: RuleBook | None = field(default=None, init=False)
    _rules: tuple[Rule, ...] = field(default=(), init=False)
    """The rules that hold here, in their order."""
    _fits: dict[tuple[frozenset[str], PlaceReading], bool | None] = field(
        default_factory=dict, init=False
    )
    """Whether a rule's names mean the person; None: that is not known."""
    _decisions: dict[tuple[str, tuple[str, ...]], _Decision] = field(
        default_factory=dict, init=False
    )

    def may(self, right: str, *names: str) -> Verdict:
        """Return whether they may, and which rule says so. `names`: of a table, its title and its
        id."""
        if self.confirmed is not None and right not in RIGHTS_ON_STALE_DATA:
            return self.confirmed.may(right, *names)
        decision = self.decide(right, *names)
        verdict = decision.verdict
        if False in decision.others or (decision.others and not verdict.allowed):
            return replace(verdict, allowed=False, reason=UNKNOWN_STATUS_REASON, is_unknown=True)
        return verdict

    def decide(self, right: str, *names: str) -> _Decision:
        """Return what the rules say by what is known, and what they may say instead."""
        self.rules()
        decision = self._decisions.get((right, names))
        if decision is None:
            decision = self._decisions[right, names] = self.policy.decide(self, right, names)
        return decision

    def depends_on_name(self, right: str) -> bool:
        """Whether it may be one for this thing and another for that."""
        return self.policy.depends_on_name(right)

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules that hold at the address, in their order. What was decided by older
        rules is dropped."""
        book = self.policy.rule_book()
        if book != self._book:
            self._book = book
            self._rules = self.policy.rules_at(self.address)
            self._fits.clear()
            self._decisions.clear()
        return self._rules

    def fits(self, names: frozenset[str], reading: PlaceReading) -> bool | None:
        """Return whether one of the names means the person; None: that is not known."""
        if (names, reading) not in self._fits:
            self._fits[names, reading] = self.policy.is_one(
                names, self.person, self.address, self.known, reading
            )
        return self._fits[names, reading]


TURN_RIGHTS: ContextVar[PlaceRights | None] = ContextVar("held", default=None)
"""The rights of the turn that runs: which tables there are at all depends on them."""


def turn_may(right: str, *names: str) -> bool:
    """Whether the turn that runs has that right; outside of one whatever is asked for is there."""
    rights = TURN_RIGHTS.get()
    return rights is None or rights.may(right, *names).allowed


@dataclass(slots=True)
class AccessPolicy:
    """The `Policy` port. `rule_book` returns the rules that hold now. `allow` only adds to a
    platform's defaults."""

    platforms: Mapping[str, PlatformRights]
    allow: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    memberships: Mapping[str, GroupLookup] = field(default_factory=dict)
    guests: Mapping[str, GuestLookup] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    rule_book: Callable[[], RuleBook] = RuleBook
    departures: Mapping[str, DepartureLookup] = field(default_factory=dict)
    """By platform; a platform that is not there removes nobody."""
    _groups: dict[str, tuple[float, frozenset[str] | None]] = field(
        default_factory=dict, init=False
    )
    _default_rules: tuple[Rule, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        owners = {name for name, own in self.platforms.items() if own.has_one_owner}
        self.admins = frozenset(f"{n}:{OWNER_ID}" if n in owners else n for n in self.admins if n)
        everything = tuple(sorted(BASIC_RIGHTS))
        last = [Rule(ADMINS_RULE, frozenset({"admins"}), allow=(*everything, *DECISION_RIGHTS))]
        if named := self.allow - {""}:
            last.append(Rule(ALLOW_RULE, named, allow=everything))
        for platform, own in self.platforms.items():
            who = frozenset({"members" if own.own_workspace else platform})
            allow = tuple(sorted(own.default_rights))
            last.append(Rule(DEFAULT_RULE, who, frozenset({platform}), allow=allow))
        self._default_rules = tuple(last)

    async def may(self, person: Person, address: Address, right: str, *names: str) -> Verdict:
        """Whether; and if not, why not and who can change it."""
        known = self.decide_locally(person, address, right, *names)
        if known:
            return known
        max_age = MAX_STALE_SECONDS if right in RIGHTS_ON_STALE_DATA else MAX_CONFIRMED_AGE_SECONDS
        return (await self._look_up_rights(person, address, max_age=max_age)).may(right, *names)

    async def rights(self, person: Person, address: Address) -> Rights:
        """What they may use there. The platform is asked only where something depends on it."""
        rights = Rights(self, person, address, self._cached_facts(person))
        if self._decides_everything(rights):
            return rights
        confirmed, _ = await self._look_up(
            person, MAX_CONFIRMED_AGE_SECONDS, _CONFIRM_TIMEOUT_SECONDS
        )
        if confirmed.is_whole:
            return Rights(self, person, address, confirmed)
        known, _ = await self._look_up(person, MAX_STALE_SECONDS, _LOOKUP_TIMEOUT_SECONDS)
        return Rights(self, person, address, known, Rights(self, person, address, confirmed))

    async def prepare(
        self, person: Person, address: Address, *, confirmed: bool, seconds: float
    ) -> bool:
        """Wait up to `seconds` until the platform has told what their rights there depend on, or
        refuses to tell. Return False where it has done neither yet. `confirmed`: what it said
        before is not enough, but for a few minutes."""
        if self._decides_everything(Rights(self, person, address, self._cached_facts(person))):
            return True
        max_age = MAX_CONFIRMED_AGE_SECONDS if confirmed else MAX_STALE_SECONDS
        _, answered = await self._look_up(person, max_age, seconds)
        return answered

    def decide_locally(
        self, person: Person, address: Address, right: str, *names: str
    ) -> Verdict | None:
        """The same without asking the platform; None where only it can tell."""
        decision = Rights(self, person, address, self._cached_facts(person)).decide(right, *names)
        return decision.verdict if decision.is_certain else None

    def depends_on_name(self, right: str) -> bool:
        """Whether a rule names things of that right, as in `read:Customers`."""
        rules = (*self.rule_book().rules, *self.rule_book().channels.values())
        said = (each for rule in rules for each in (*rule.allow, *rule.deny))
        return any(each.startswith(f"{right}:") for each in said)

    def list_names(self, right: str) -> Sequence[str]:
        """What rules give by its name of that right, as in `model:NAME`; no pattern."""
        given = (each.partition(":") for rule in self.rule_book().rules for each in rule.allow)
        names = (name for kind, _, name in given if kind == right and name and "*" not in name)
        return sorted(set(names))

    async def is_named(self, person: Person, address: Address, names: frozenset[str]) -> bool:
        """Whether these names mean them: the person, a group, role or set of theirs. No place does,
        and a platform alone only its owner. Raises StatusUnknown."""
        known = self._cached_facts(person, names)
        if self.is_one(names, person, address, known, "people") is None:
            known = (
                await self._look_up_rights(
                    person, address, names, max_age=MAX_CONFIRMED_AGE_SECONDS
                )
            ).known
        is_one = self.is_one(names, person, address, known, "people")
        if is_one is None:
            raise StatusUnknown
        return is_one

    async def is_meant(self, person: Person, address: Address, names: frozenset[str]) -> bool:
        """Whether a limit for these names holds for them there: also where nobody can tell."""
        rights = await self._look_up_rights(person, address, names)
        return self.is_one(names, person, address, rights.known, "all") is not False

    async def is_named_anywhere(self, person: Person, address: Address) -> bool:
        """Whether PONTE_ALLOW, PONTE_ADMINS or a rule names them, a group of theirs or this place:
        they are no strangers."""
        rights = await self._look_up_rights(person, address)
        ruled = (rule.who for rule in self.rule_book().rules if rule.allow)
        names = frozenset({"admins"}).union(
            self.allow, frozenset().union(*ruled) - set(PEOPLE_SETS)
        )
        return self.is_one(names, person, address, rights.known) is True

    async def is_guest(self, person: Person) -> bool | None:
        """Whether they are only a guest where they write; None where the platform does not tell."""
        if person.platform not in self.guests:
            return False
        return (
            await self._look_up_guest(person, MAX_CONFIRMED_AGE_SECONDS, _LOOKUP_TIMEOUT_SECONDS)
        )[0]

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Whether a person who did something there `since` then has been removed; None where the
        platform does not tell."""
        ask = self.departures.get(person.platform)
        if ask is None:
            return False
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT_SECONDS):
                return await ask(person, address, since)
        except TimeoutError:
            return None

    def decide(self, rights: Rights, right: str, names: Sequence[str]) -> _Decision:
        """Decide by what is known of the person, with what rules before it may say of them."""
        decision = self._decide_by_rules(rights, right, names)
        if (
            right in DECISION_RIGHTS
            and decision.verdict.allowed
            and rights.known.guest is not False
        ):
            if rights.known.guest:
                return _Decision(
                    Verdict(False, GUEST_DECISION_REASON, right=decision.verdict.right)
                )
            return replace(decision, others=decision.others | {False})
        return decision

    def _decide_by_rules(self, rights: Rights, right: str, names: Sequence[str]) -> _Decision:
        if any(len(name) > MAX_NAME_CHARACTERS for name in names):
            return _Decision(Verdict(False, NAME_TOO_LONG, right=right))
        asked = f"{right}:{names[0]}" if names else right
        channels = self.rule_book().channels
        for place in place_names(rights.address) if channels else ():
            if (rule := channels.get(place)) and not rule.leaves_right(right, names):
                return _Decision(Verdict(False, RULE_REASONS[right], rule.source, asked))
        others: frozenset[bool] = frozenset()
        for rule in rights.rules():
            ruling = rule.decide(right, names)
            if ruling == "silent":
                continue
            allows = ruling == "allow"
            reading: PlaceReading = (
                "all" if not allows else "people" if right in DECISION_RIGHTS else "members"
            )
            fits = rights.fits(rule.who, reading)
            if fits:
                reason = "" if allows else RULE_REASONS[right]
                return _Decision(Verdict(allows, reason, rule.source, asked), others)
            if fits is None:
                others |= {allows}
        if right in NAMED_RIGHTS:
            return _Decision(Verdict(True, rule=DEFAULT_RULE, right=asked), others)
        reason = DEFAULT_REASONS[right]
        if rights.known.guest:
            member = replace(rights, known=replace(rights.known, guest=False))
            reason = GUEST_REASON if member.may(right, *names).allowed else reason
        return _Decision(Verdict(False, reason, right=asked), others)

    def rules_at(self, address: Address) -> tuple[Rule, ...]:
        """Return the rules that hold at the address, in their order."""
        rules = (*self.rule_book().rules, *self._default_rules)
        return tuple(rule for rule in rules if _is_there(rule.where, address))

    def is_one(
        self,
        names: frozenset[str],
        person: Person,
        address: Address,
        known: _PersonFacts,
        reading: PlaceReading = "members",
    ) -> bool | None:
        """Whether one of the names means them; None: that is not known."""
        if not names:
            return reading != "people"
        found: bool | None = False
        for name in names:
            fits = self._matches(name, person, address, known, reading)
            if fits:
                return True
            found = None if fits is None else found
        return found

    def _matches(
        self,
        name: str,
        person: Person,
        address: Address,
        known: _PersonFacts,
        reading: PlaceReading,
    ) -> bool | None:
        platform, _, id = name.partition(":")
        own = self.platforms.get(person.platform, NO_RIGHTS)
        if name == "admins":
            return self.is_one(self.admins, person, address, known, "people")
        if (members := self.rule_book().groups.get(name)) is not None:
            return self.is_one(members, person, address, known, reading)
        if name in PEOPLE_SETS or name == EVERYBODY_NAME:
            return reading != "people" and self._matches_set(name, person, address, known)
        if platform != person.platform:
            return False
        if not id:
            if reading == "people":
                return own.has_one_owner and person.id == OWNER_ID
            return reading == "all" or self._is_home_member(person, address, known)
        if id == person.id:
            return True
        if reading != "people":
            if id == address.channel and not own.has_one_owner:
                return True
            if own.open_workspace and id == address.workspace:
                return True
            if person.workspace and id == person.workspace:
                return reading == "all" or known.is_member
        return None if known.groups is None else name in known.groups

    def _matches_set(
        self, name: str, person: Person, address: Address, known: _PersonFacts
    ) -> bool | None:
        own = self.platforms.get(person.platform, NO_RIGHTS)
        if name == "outsiders":
            return not self._is_home(person, address)
        if name == "guests":
            return known.guest
        if name == "members":
            if own.open_workspace and not address.workspace:
                return False
            return self._is_home_member(person, address, known)
        return True

    def _is_home(self, person: Person, address: Address) -> bool:
        """Whether they are of the place's own workspace, where the platform has workspaces."""
        if not self.platforms.get(person.platform, NO_RIGHTS).own_workspace:
            return True
        return bool(person.workspace) and person.workspace == address.workspace

    def _is_home_member(self, person: Person, address: Address, known: _PersonFacts) -> bool | None:
        return known.is_member if self._is_home(person, address) else False

    def _decides_everything(self, rights: Rights) -> bool:
        """Whether what is known decides on all that a turn uses."""
        person, address, known = rights.person, rights.address, rights.known
        if known.is_whole:
            return True
        if any(self.is_one(r.who, person, address, known) is None for r in self.rule_book().rules):
            return False
        return all(rights.decide(right).is_certain for right in (*BASIC_RIGHTS, "administer"))

    def _cached_facts(self, person: Person, names: frozenset[str] = frozenset()) -> _PersonFacts:
        """What is known without asking; `names` are those that it is asked for."""
        groups: frozenset[str] | None = frozenset()
        if self._groups_matter(person.platform, names):
            expires, kept = self._groups.get(person.key, (0.0, None))
            groups = kept if self.clock() < expires else None
        return _PersonFacts(groups, None if person.platform in self.guests else False)

    async def _look_up_rights(
        self, person: Person, address: Address, names: frozenset[str] = frozenset(), *,
        max_age: float = MAX_STALE_SECONDS,
    ) -> Rights:  # fmt: skip
        known = self._cached_facts(person, names)
        if not known.is_whole:
            known, _ = await self._look_up(person, max_age, _LOOKUP_TIMEOUT_SECONDS, names)
        return Rights(self, person, address, known)

    async def _look_up(
        self, person: Person, max_age: float, seconds: float,
        names: frozenset[str] = frozenset(),
    ) -> tuple[_PersonFacts, bool]:  # fmt: skip
        """What the platform said within `max_age` seconds, waited for so long; and whether it
        answered, be it that it does not tell."""
        if not self._groups_matter(person.platform, names):
            guest, told = await self._look_up_guest(person, max_age, seconds)
            return _PersonFacts(frozenset(), guest), told
        (groups, told), (guest, told_too) = await run_together(
            self._look_up_groups(person, names, max_age, seconds),
            self._look_up_guest(person, max_age, seconds),
        )
        return _PersonFacts(groups, guest), told and told_too

    async def _look_up_guest(
        self, person: Person, max_age: float, seconds: float
    ) -> tuple[bool | None, bool]:
        if person.platform not in self.guests:
            return False, True
        try:
            async with asyncio.timeout(seconds):
                return await self.guests[person.platform](person, max_age), True
        except TimeoutError:
            return None, False

    def _groups_matter(self, platform: str, names: frozenset[str]) -> bool:
        """Whether any name that is written may be a group's of that platform."""
        if platform not in self.memberships:
            return False
        named = [names, self.admins, self.allow, *self.rule_book().groups.values()]
        named += [rule.who for rule in self.rule_book().rules]
        return any(name.startswith(f"{platform}:") for names in named for name in names)

    async def _look_up_groups(
        self, person: Person, names: frozenset[str], max_age: float, seconds: float
    ) -> tuple[frozenset[str] | None, bool]:
        if not self._groups_matter(person.platform, names):
            return frozenset(), True
        now = self.clock()
        expires, groups = self._groups.get(person.key, (0.0, None))
        if now < expires:
            return groups, True
        try:
            async with asyncio.timeout(seconds):
                ids = await self.memberships[person.platform](person, max_age)
        except TimeoutError:
            return None, False
        if ids is None:
            return None, True
        prefix = f"{person.platform}:"
        groups = frozenset(id if id.startswith(prefix) else prefix + id for id in ids)
        if max_age <= MAX_CONFIRMED_AGE_SECONDS:
            if len(self._groups) >= _MAX_CACHED_PEOPLE:
                self._groups.clear()
            self._groups[person.key] = (
                now + (_GROUP_CACHE_SECONDS if groups else _EMPTY_GROUP_CACHE_SECONDS),
                groups,
            )
        return groups, True


@dataclass(frozen=True, slots=True)
class DailyCaps:
    """`chosen` is PONTE_DAILY_TURNS; None takes each platform's default."""

    chosen: DailyTurns | None = None

    async def cap_for(self, person: Person, address: Address, named: AccessPolicy) -> DailyTurns:
        """What `person` may use there: naming one person frees that one alone."""
        if self.chosen is not None:
            return self.chosen
        cap = named.platforms.get(person.platform, NO_RIGHTS).stranger_cap
        capped = cap != DailyTurns() and not await named.is_named_anywhere(person, address)
        return cap if capped else DailyTurns()


def explain(verdict: Verdict, locale: str | None = None) -> str:
    """Which rule decided, for whom it was asked."""
    if verdict.allowed:
        words = _ALLOWED_SENTENCES.get(verdict.rule, "`{right}`: yes, by the rule at `{rule}`.")
    else:
        words = "`{right}`: no, by the rule at `{rule}`." if verdict.rule else _DENIED_SENTENCE
    reason = "" if verdict.allowed else verdict.words(locale)
    return say(words, locale, right=verdict.right, rule=verdict.rule, reason=reason)


def is_right(text: str) -> bool:
    """Whether a rule may say this: a right, with a name where it can have one or must."""
    kind, colon, name = text.partition(":")
    if kind not in RIGHT_KINDS or (colon and not name.strip()):
        return False
    return kind in _NAMEABLE_RIGHTS if colon else kind not in NAMED_RIGHTS


def place_names(address: Address) -> tuple[str, ...]:
    """The names of where it is, the widest first. A thread is in its channel."""
    platform, workspace, channel = address.platform, address.workspace, address.channel
    home = f"{platform}:{workspace}"
    return platform, home, f"{home}:{channel}"


def _is_there(where: frozenset[str], address: Address) -> bool:
    if not where:
        return True
    kind = "shared" if address.shared else "direct"
    return kind in where or not where.isdisjoint(place_names(address))


def _patterns_by_right(written: Sequence[str]) -> Mapping[str, _NamePatterns]:
    """Return what is written of each right, as in `read` and `read:Customers`."""
    names: dict[str, list[str]] = {}
    for each in written:
        right, _, name = each.partition(":")
        names.setdefault(right, []).append(name)
    return {
        right: _NamePatterns("" in of_right, tuple(map(fold_case, filter(None, of_right))))
        for right, of_right in names.items()
    }


def matches_pattern(pattern: str, name: str) -> bool:
    """Whether `name` is as in `pattern`, where each `*` stands for any text.

    The shortest text for each `*` is enough, so `name` is read once and never from the start again.
    """
    first, *others = pattern.split("*")
    if not others:
        return name == first
    *middle, last = others
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
