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
What the name of a platform or workspace denies or limits holds for its guests, too (`Reading`).
Guests have none of `DECIDES`, whatever a rule says.
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
from core.runtime.tasks import together
from core.text.i18n import say
from core.text.text import normalised

Membership = Callable[[Person, float], Awaitable[frozenset[str] | None]]
"""A platform's groups and roles of a person, as it told them within so many seconds; None: it
refuses to tell. Waits for the platform, however long that takes; raises nothing."""

Guests = Callable[[Person, float], Awaitable[bool | None]]
"""Whether a person is a guest where they write, as their platform told within so many seconds;
None: it refuses to tell. Waits for the platform, however long that takes; raises nothing."""

HasLeft = Callable[[Person, Address, float], Awaitable[bool | None]]
"""Whether a person who did something there at that time (Unix seconds) has been removed since: from
the workspace, the server or the page. None: their platform does not tell. Raises nothing."""


class Holds(Protocol):
    """What one person may do in one place, once all that it depends on was asked."""

    def may(self, right: str, *names: str) -> Verdict:
        """`names`: of the thing that it is about; of a table its title and its id."""

    def depends(self, right: str) -> bool:
        """Whether it may be given for one thing and not for another."""


EVERYBODY = "*"
"""Also written `everybody`."""
OWNER = "owner"
"""The person who holds a platform that is `one_name`."""
EVERYTHING: frozenset[Action] = frozenset({"chat", "read", "propose", "spend", "code"})
"""What can be done without being an admin or an approver."""
DECIDES = ("approve", "administer")
"""Rights that only people and groups can be given: no channel, workspace or surface."""
REFINED = ("tool", "command", "agent", "model")
"""Rights to one thing by its name, beside the plain one: all are allowed that no rule denies."""
MEANT = ("everybody", "members", "guests", "outsiders", "admins")
"""Whom a rule can name beside people, groups and places. `outsiders` belong to another workspace
than the channel."""
KINDS = ("chat", "read", "propose", "spend", "code", *DECIDES, *REFINED)
Reading = Literal["people", "members", "all"]
"""How the name of a place is read: it means nobody where a right is for people and groups alone,
its members where something is given, all its people where something is denied or limited."""
_SCOPED = ("read", "propose", "approve", *REFINED)
"""Those that a name may follow, as in `read:Customers`."""

_KEPT = 60.0  # seconds that groups are trusted; an empty answer may mean "unresolved"
_KEPT_EMPTY = 30.0
LONGEST_KEPT = 240.0
"""Seconds that a platform may itself keep who is in a group, or a guest: with ours five minutes."""
MAX_STALE_SECONDS = 86_340.0
"""How old what a platform said may be for `STALE_IS_ENOUGH`: with our own minute a day."""
STALE_IS_ENOUGH = frozenset({"chat", "read", "model", "tool"})
"""Rights that go on while the platform does not answer. A named tool's effect is a right beside it.
The model's own cost is no spending in this sense."""
_DEADLINE = 5.0
_CONFIRM_SECONDS = 0.3
"""How long a turn's start waits for a platform to confirm what it said before; `prepare` waits
longer, before the turn."""
_MOST_PEOPLE = 10_000
MAX_NAME_CHARACTERS = 1_000
"""Of a table, tool, command, agent or model that a right is asked for. NocoDB's titles have at most
255; people and models can ask for any text."""

_ASK = "The operator can allow it by naming you, a group of yours or this channel in PONTE_ALLOW."
REASONS: Mapping[str, str] = {
    "chat": "I only answer members of this workspace here. " + _ASK,
    "read": "You may talk with me here, but not read tables. " + _ASK,
    "propose": "You may not change data here. " + _ASK,
    "spend": "You may talk with me here, but not run quick commands. " + _ASK,
    "code": "You may talk with me here, but not run code. " + _ASK,
    "approve": "Only an admin of this bot, or whom the operator named for it, may decide that.",
    "administer": (
        "Only an admin of this bot may do that. The operator names admins in PONTE_ADMINS."
    ),
}
"""Why, where no rule of the operator's says anything."""
_MISSING = (
    "The right that is missing is `{right}`; the operator gives it in `ponte.toml`. "
    "`why {right}` tells which rule decided."
)
RULED: Mapping[str, str] = {
    "chat": "The operator's rules do not let me talk with you here. They stand in `ponte.toml`.",
    "read": "You may not read that here. " + _MISSING,
    "propose": "You may not change that here. " + _MISSING,
    "spend": "You may not run quick commands here. " + _MISSING,
    "code": "You may not run code here. " + _MISSING,
    "approve": "You may not decide that here. " + _MISSING,
    "administer": "You may not do that here. " + _MISSING,
    "tool": "You may not use that tool here. " + _MISSING,
    "command": "You may not run that quick command here. " + _MISSING,
    "agent": "You may not ask that agent here. " + _MISSING,
    "model": "You may not use the model of this place. " + _MISSING,
}
"""Why, where a rule of the operator's decides."""
GUEST = "I answer members here, and you are a guest. " + _ASK
GUEST_DECIDES = "Guests do not decide on changes, and are no admins: that is for members."
UNKNOWN = StatusUnknown.sentence
NAME_TOO_LONG = "That name is too long: a name has at most 1,000 characters."
ADMINS_RULE, ALLOW_RULE, DEFAULT_RULE = "PONTE_ADMINS", "PONTE_ALLOW", "default"
_YES: Mapping[str, str] = {
    ADMINS_RULE: "`{right}`: yes, for who is an admin (PONTE_ADMINS).",
    ALLOW_RULE: "`{right}`: yes, PONTE_ALLOW names the person, a group of theirs or the place.",
    DEFAULT_RULE: "`{right}`: yes, that is the default here.",
}
_NO = "`{right}`: no. {reason}"


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

    default: frozenset[Action] = frozenset()
    one_name: bool = False
    operator: bool = False
    own_workspace: bool = False
    open_workspace: bool = False
    unnamed: DailyTurns = DailyTurns()
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

    told: str
    who: frozenset[str] = frozenset()
    where: frozenset[str] = frozenset()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def says(self, right: str, names: Sequence[str]) -> Ruling:
        """Return whether this rule allows or denies the right for one of these names. Without
        names, a rule that allows it for any name allows it."""
        denied = self._denied.get(right)
        if denied and denied.covers(names):
            return "deny"
        allowed = self._allowed.get(right)
        if allowed and (not names or allowed.covers(names)):
            return "allow"
        return "silent"

    def leaves(self, right: str, names: Sequence[str]) -> bool:
        """Whether a place with this rule leaves the right to whoever has it. With `allow` it leaves
        only that; rights to one thing by its name are also left where none of their kind is in it.
        """
        ruling = self.says(right, names)
        if ruling != "silent":
            return ruling == "allow"
        return right not in self._allowed if right in REFINED else not self.allow

    @cached_property
    def _allowed(self) -> Mapping[str, _NamePatterns]:
        return _patterns_by_right(self.allow)

    @cached_property
    def _denied(self) -> Mapping[str, _NamePatterns]:
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
        wanted = [normalised(name) for name in names]
        return any(matches_pattern(pattern, name) for pattern in self.patterns for name in wanted)


@dataclass(frozen=True, slots=True)
class RuleBook:
    """What the operator wrote. `groups`: named sets of people; `channels`: the rules of places, by
    `platform`, `platform:WORKSPACE` or `platform:WORKSPACE:CHANNEL`."""

    rules: tuple[Rule, ...] = ()
    channels: Mapping[str, Rule] = field(default_factory=dict)
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Known:
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
    known: _Known
    confirmed: Rights | None = None
    """By what the platform confirmed within minutes, where that is less than what is `known`: they
    decide all rights but those of `STALE_IS_ENOUGH`."""
    _book: RuleBook | None = field(default=None, init=False)
    _rules: tuple[Rule, ...] = field(default=(), init=False)
    """The rules that hold here, in their order."""
    _fits: dict[tuple[frozenset[str], Reading], bool | None] = field(
        default_factory=dict, init=False
    )
    """Whether a rule's names mean the person; None: that is not known."""
    _decisions: dict[tuple[str, tuple[str, ...]], _Decision] = field(
        default_factory=dict, init=False
    )

    def may(self, right: str, *names: str) -> Verdict:
        """Return whether they may, and which rule says so. `names`: of a table, its title and its
        id."""
        if self.confirmed is not None and right not in STALE_IS_ENOUGH:
            return self.confirmed.may(right, *names)
        decision = self.decide(right, *names)
        verdict = decision.verdict
        if False in decision.others or (decision.others and not verdict.allowed):
            return replace(verdict, allowed=False, reason=UNKNOWN, unknown=True)
        return verdict

    def decide(self, right: str, *names: str) -> _Decision:
        """Return what the rules say by what is known, and what they may say instead."""
        self.rules()
        decision = self._decisions.get((right, names))
        if decision is None:
            decision = self._decisions[right, names] = self.policy.decide(self, right, names)
        return decision

    def depends(self, right: str) -> bool:
        """Whether it may be one for this thing and another for that."""
        return self.policy.depends(right)

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

    def fits(self, names: frozenset[str], reading: Reading) -> bool | None:
        """Return whether one of the names means the person; None: that is not known."""
        if (names, reading) not in self._fits:
            self._fits[names, reading] = self.policy.is_one(
                names, self.person, self.address, self.known, reading
            )
        return self._fits[names, reading]


HELD: ContextVar[Holds | None] = ContextVar("held", default=None)
"""The rights of the turn that runs: which tables there are at all depends on them."""


def held(right: str, *names: str) -> bool:
    """Whether the turn that runs has that right; outside of one whatever is asked for is there."""
    rights = HELD.get()
    return rights is None or rights.may(right, *names).allowed


@dataclass(slots=True)
class AccessPolicy:
    """The `Policy` port. `rule_book` returns the rules that hold now. `allow` only adds to a
    platform's defaults."""

    platforms: Mapping[str, PlatformRights]
    allow: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    memberships: Mapping[str, Membership] = field(default_factory=dict)
    guests: Mapping[str, Guests] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    rule_book: Callable[[], RuleBook] = RuleBook
    departures: Mapping[str, HasLeft] = field(default_factory=dict)
    """By platform; a platform that is not there removes nobody."""
    _groups: dict[str, tuple[float, frozenset[str] | None]] = field(
        default_factory=dict, init=False
    )
    _last: tuple[Rule, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        owners = {name for name, own in self.platforms.items() if own.one_name}
        self.admins = frozenset(f"{n}:{OWNER}" if n in owners else n for n in self.admins if n)
        everything = tuple(sorted(EVERYTHING))
        last = [Rule(ADMINS_RULE, frozenset({"admins"}), allow=(*everything, *DECIDES))]
        if named := self.allow - {""}:
            last.append(Rule(ALLOW_RULE, named, allow=everything))
        for platform, own in self.platforms.items():
            who = frozenset({"members" if own.own_workspace else platform})
            allow = tuple(sorted(own.default))
            last.append(Rule(DEFAULT_RULE, who, frozenset({platform}), allow=allow))
        self._last = tuple(last)

    async def may(self, person: Person, address: Address, right: str, *names: str) -> Verdict:
        """Whether; and if not, why not and who can change it."""
        known = self.local(person, address, right, *names)
        if known:
            return known
        max_age = MAX_STALE_SECONDS if right in STALE_IS_ENOUGH else LONGEST_KEPT
        return (await self._asked(person, address, max_age=max_age)).may(right, *names)

    async def rights(self, person: Person, address: Address) -> Rights:
        """What they may use there. The platform is asked only where something depends on it."""
        rights = Rights(self, person, address, self._unasked(person))
        if self._suffices(rights):
            return rights
        confirmed, _ = await self._ask(person, LONGEST_KEPT, _CONFIRM_SECONDS)
        if confirmed.is_whole:
            return Rights(self, person, address, confirmed)
        known, _ = await self._ask(person, MAX_STALE_SECONDS, _DEADLINE)
        return Rights(self, person, address, known, Rights(self, person, address, confirmed))

    async def prepare(
        self, person: Person, address: Address, *, confirmed: bool, seconds: float
    ) -> bool:
        """Wait up to `seconds` until the platform has told what their rights there depend on, or
        refuses to tell. Return False where it has done neither yet. `confirmed`: what it said
        before is not enough, but for a few minutes."""
        if self._suffices(Rights(self, person, address, self._unasked(person))):
            return True
        max_age = LONGEST_KEPT if confirmed else MAX_STALE_SECONDS
        _, answered = await self._ask(person, max_age, seconds)
        return answered

    def local(self, person: Person, address: Address, right: str, *names: str) -> Verdict | None:
        """The same without asking the platform; None where only it can tell."""
        decision = Rights(self, person, address, self._unasked(person)).decide(right, *names)
        return decision.verdict if decision.is_certain else None

    def depends(self, right: str) -> bool:
        """Whether a rule names things of that right, as in `read:Customers`."""
        rules = (*self.rule_book().rules, *self.rule_book().channels.values())
        said = (each for rule in rules for each in (*rule.allow, *rule.deny))
        return any(each.startswith(f"{right}:") for each in said)

    def named(self, right: str) -> Sequence[str]:
        """What rules give by its name of that right, as in `model:NAME`; no pattern."""
        given = (each.partition(":") for rule in self.rule_book().rules for each in rule.allow)
        names = (name for kind, _, name in given if kind == right and name and "*" not in name)
        return sorted(set(names))

    async def is_named(self, person: Person, address: Address, names: frozenset[str]) -> bool:
        """Whether these names mean them: the person, a group, role or set of theirs. No place does,
        and a platform alone only its owner. Raises StatusUnknown."""
        known = self._unasked(person, names)
        if self.is_one(names, person, address, known, "people") is None:
            known = (await self._asked(person, address, names, max_age=LONGEST_KEPT)).known
        is_one = self.is_one(names, person, address, known, "people")
        if is_one is None:
            raise StatusUnknown
        return is_one

    async def is_meant(self, person: Person, address: Address, names: frozenset[str]) -> bool:
        """Whether a limit for these names holds for them there: also where nobody can tell."""
        rights = await self._asked(person, address, names)
        return self.is_one(names, person, address, rights.known, "all") is not False

    async def names(self, person: Person, address: Address) -> bool:
        """Whether PONTE_ALLOW, PONTE_ADMINS or a rule names them, a group of theirs or this place:
        they are no strangers."""
        rights = await self._asked(person, address)
        ruled = (rule.who for rule in self.rule_book().rules if rule.allow)
        names = frozenset({"admins"}).union(self.allow, frozenset().union(*ruled) - set(MEANT))
        return self.is_one(names, person, address, rights.known) is True

    async def is_guest(self, person: Person) -> bool | None:
        """Whether they are only a guest where they write; None where the platform does not tell."""
        if person.platform not in self.guests:
            return False
        return (await self._guest_of(person, LONGEST_KEPT, _DEADLINE))[0]

    async def has_left(self, person: Person, address: Address, since: float) -> bool | None:
        """Whether a person who did something there `since` then has been removed; None where the
        platform does not tell."""
        ask = self.departures.get(person.platform)
        if ask is None:
            return False
        try:
            async with asyncio.timeout(_DEADLINE):
                return await ask(person, address, since)
        except TimeoutError:
            return None

    def decide(self, rights: Rights, right: str, names: Sequence[str]) -> _Decision:
        """Decide by what is known of the person, with what rules before it may say of them."""
        decision = self._decide_by_rules(rights, right, names)
        if right in DECIDES and decision.verdict.allowed and rights.known.guest is not False:
            if rights.known.guest:
                return _Decision(Verdict(False, GUEST_DECIDES, right=decision.verdict.right))
            return replace(decision, others=decision.others | {False})
        return decision

    def _decide_by_rules(self, rights: Rights, right: str, names: Sequence[str]) -> _Decision:
        if any(len(name) > MAX_NAME_CHARACTERS for name in names):
            return _Decision(Verdict(False, NAME_TOO_LONG, right=right))
        asked = f"{right}:{names[0]}" if names else right
        channels = self.rule_book().channels
        for place in places(rights.address) if channels else ():
            if (rule := channels.get(place)) and not rule.leaves(right, names):
                return _Decision(Verdict(False, RULED[right], rule.told, asked))
        others: frozenset[bool] = frozenset()
        for rule in rights.rules():
            ruling = rule.says(right, names)
            if ruling == "silent":
                continue
            allows = ruling == "allow"
            reading: Reading = "all" if not allows else "people" if right in DECIDES else "members"
            fits = rights.fits(rule.who, reading)
            if fits:
                reason = "" if allows else RULED[right]
                return _Decision(Verdict(allows, reason, rule.told, asked), others)
            if fits is None:
                others |= {allows}
        if right in REFINED:
            return _Decision(Verdict(True, rule=DEFAULT_RULE, right=asked), others)
        reason = REASONS[right]
        if rights.known.guest:
            member = replace(rights, known=replace(rights.known, guest=False))
            reason = GUEST if member.may(right, *names).allowed else reason
        return _Decision(Verdict(False, reason, right=asked), others)

    def rules_at(self, address: Address) -> tuple[Rule, ...]:
        """Return the rules that hold at the address, in their order."""
        rules = (*self.rule_book().rules, *self._last)
        return tuple(rule for rule in rules if _is_there(rule.where, address))

    def is_one(
        self,
        names: frozenset[str],
        person: Person,
        address: Address,
        known: _Known,
        reading: Reading = "members",
    ) -> bool | None:
        """Whether one of the names means them; None: that is not known."""
        if not names:
            return reading != "people"
        found: bool | None = False
        for name in names:
            fits = self._is(name, person, address, known, reading)
            if fits:
                return True
            found = None if fits is None else found
        return found

    def _is(
        self, name: str, person: Person, address: Address, known: _Known, reading: Reading
    ) -> bool | None:
        platform, _, id = name.partition(":")
        own = self.platforms.get(person.platform, NO_RIGHTS)
        if name == "admins":
            return self.is_one(self.admins, person, address, known, "people")
        if (members := self.rule_book().groups.get(name)) is not None:
            return self.is_one(members, person, address, known, reading)
        if name in MEANT or name == EVERYBODY:
            return reading != "people" and self._is_word(name, person, address, known)
        if platform != person.platform:
            return False
        if not id:
            if reading == "people":
                return own.one_name and person.id == OWNER
            return reading == "all" or self._is_home_member(person, address, known)
        if id == person.id:
            return True
        if reading != "people":
            if id == address.channel and not own.one_name:
                return True
            if own.open_workspace and id == address.workspace:
                return True
            if person.workspace and id == person.workspace:
                return reading == "all" or known.is_member
        return None if known.groups is None else name in known.groups

    def _is_word(self, name: str, person: Person, address: Address, known: _Known) -> bool | None:
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

    def _is_home_member(self, person: Person, address: Address, known: _Known) -> bool | None:
        return known.is_member if self._is_home(person, address) else False

    def _suffices(self, rights: Rights) -> bool:
        """Whether what is known decides on all that a turn uses."""
        person, address, known = rights.person, rights.address, rights.known
        if known.is_whole:
            return True
        if any(self.is_one(r.who, person, address, known) is None for r in self.rule_book().rules):
            return False
        return all(rights.decide(right).is_certain for right in (*EVERYTHING, "administer"))

    def _unasked(self, person: Person, names: frozenset[str] = frozenset()) -> _Known:
        """What is known without asking; `names` are those that it is asked for."""
        groups: frozenset[str] | None = frozenset()
        if self._groups_matter(person.platform, names):
            expires, kept = self._groups.get(person.key, (0.0, None))
            groups = kept if self.clock() < expires else None
        return _Known(groups, None if person.platform in self.guests else False)

    async def _asked(
        self, person: Person, address: Address, names: frozenset[str] = frozenset(), *,
        max_age: float = MAX_STALE_SECONDS,
    ) -> Rights:  # fmt: skip
        known = self._unasked(person, names)
        if not known.is_whole:
            known, _ = await self._ask(person, max_age, _DEADLINE, names)
        return Rights(self, person, address, known)

    async def _ask(
        self, person: Person, max_age: float, seconds: float,
        names: frozenset[str] = frozenset(),
    ) -> tuple[_Known, bool]:  # fmt: skip
        """What the platform said within `max_age` seconds, waited for so long; and whether it
        answered, be it that it does not tell."""
        if not self._groups_matter(person.platform, names):
            guest, told = await self._guest_of(person, max_age, seconds)
            return _Known(frozenset(), guest), told
        (groups, told), (guest, told_too) = await together(
            self._groups_of(person, names, max_age, seconds),
            self._guest_of(person, max_age, seconds),
        )
        return _Known(groups, guest), told and told_too

    async def _guest_of(
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

    async def _groups_of(
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
        if max_age <= LONGEST_KEPT:
            if len(self._groups) >= _MOST_PEOPLE:
                self._groups.clear()
            self._groups[person.key] = (now + (_KEPT if groups else _KEPT_EMPTY), groups)
        return groups, True


@dataclass(frozen=True, slots=True)
class DailyCaps:
    """`chosen` is PONTE_DAILY_TURNS; None takes each platform's default."""

    chosen: DailyTurns | None = None

    async def of(self, person: Person, address: Address, named: AccessPolicy) -> DailyTurns:
        """What `person` may use there: naming one person frees that one alone."""
        if self.chosen is not None:
            return self.chosen
        cap = named.platforms.get(person.platform, NO_RIGHTS).unnamed
        capped = cap != DailyTurns() and not await named.names(person, address)
        return cap if capped else DailyTurns()


def explained(verdict: Verdict, locale: str | None = None) -> str:
    """Which rule decided, for whom it was asked."""
    if verdict.allowed:
        words = _YES.get(verdict.rule, "`{right}`: yes, by the rule at `{rule}`.")
    else:
        words = "`{right}`: no, by the rule at `{rule}`." if verdict.rule else _NO
    reason = "" if verdict.allowed else verdict.words(locale)
    return say(words, locale, right=verdict.right, rule=verdict.rule, reason=reason)


def is_right(text: str) -> bool:
    """Whether a rule may say this: a right, with a name where it can have one or must."""
    kind, colon, name = text.partition(":")
    if kind not in KINDS or (colon and not name.strip()):
        return False
    return kind in _SCOPED if colon else kind not in REFINED


def places(address: Address) -> tuple[str, ...]:
    """The names of where it is, the widest first. A thread is in its channel."""
    platform, workspace, channel = address.platform, address.workspace, address.channel
    home = f"{platform}:{workspace}"
    return platform, home, f"{home}:{channel}"


def _is_there(where: frozenset[str], address: Address) -> bool:
    if not where:
        return True
    kind = "shared" if address.shared else "direct"
    return kind in where or not where.isdisjoint(places(address))


def _patterns_by_right(written: Sequence[str]) -> Mapping[str, _NamePatterns]:
    """Return what is written of each right, as in `read` and `read:Customers`."""
    names: dict[str, list[str]] = {}
    for each in written:
        right, _, name = each.partition(":")
        names.setdefault(right, []).append(name)
    return {
        right: _NamePatterns("" in of_right, tuple(map(normalised, filter(None, of_right))))
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
