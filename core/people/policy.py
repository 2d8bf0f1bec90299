"""Access rights: who may do what, and where.

Rules of ponte.toml come first, then PONTE_ADMINS, PONTE_ALLOW and the defaults of each platform.

Rules are read from the top. The first rule that matches the person and the place, and that mentions
the right, decides, as in a firewall. A channel can have its own rule, which can only restrict: a
right needs the person's permission *and* the channel's. This holds for admins too.

Names have the form `platform:ID`. The ID is that of a person, group, role, channel or workspace. A
platform alone means all its people. `EVERYBODY_NAME`, `PEOPLE_SETS` and the groups of ponte.toml
are further names.

Groups, roles and guest status come from the platform (`GroupLookup`, `GuestLookup`). Ponte requests
them only where a decision depends on them. For `RIGHTS_ON_STALE_DATA` (such as `chat` and `read`),
data up to a day old is enough. All other rights need data that the platform confirmed within five
minutes. Unknown status never allows anything. It is not a refusal either: `Verdict.is_unknown` is
set, and Ponte asks the person to try again.

A guest does not count as a member:

- A platform's defaults, and rights given to the name of a platform or workspace, do not apply to
  guests.
- Rights given to the guest by name, to a group of theirs, to the channel or to `everybody` apply.
- What the name of a platform or workspace denies or limits applies to its guests too (see
  `PlaceReading`).
- Guests never have any of `DECISION_RIGHTS`, whatever a rule says.

An author that is no person (`StandIns`), such as a webhook, has only the rights of its kind, and of
these what rules give to its group by name. Rules for everybody, places or PONTE_ALLOW give it
nothing, but what they deny, it lacks too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.base.errors import StatusUnknown
from core.base.tasks import BoundedDict, run_together
from core.domain.messages import Address, Person
from core.domain.ports import ChatPlatform
from core.domain.rights import PlaceRights, Verdict
from core.people import rules
from core.people.rules import BASIC_RIGHTS, DECISION_RIGHTS, NO_RIGHTS, PlaceReading, Rule, RuleBook

GroupLookup = Callable[[Person, float], Awaitable[frozenset[str] | None]]
"""None: the platform does not disclose them. The lookup has no timeout of its own and raises
nothing."""
GuestLookup = Callable[[Person, float], Awaitable[bool | None]]
"""The second argument is the maximum age of the data in seconds. None: the platform does not
disclose it. The lookup has no timeout of its own and raises nothing."""
DepartureLookup = Callable[[Person, Address, float], Awaitable[bool | None]]
"""The arguments are the person, the address where they were active, and the moment (Unix seconds).
None: the platform does not disclose it. Raises nothing."""
WorkspaceLookup = Callable[[], Awaitable[str]]
"""Raises nothing."""


_GROUP_CACHE_SECONDS, _EMPTY_GROUP_CACHE_SECONDS = 60.0, 30.0
"""Seconds that a person's groups are cached, and that an empty list of them is: an empty answer may
mean that the platform has not resolved them yet."""
MAX_CONFIRMED_AGE_SECONDS = 240.0
"""Maximum age in seconds of a platform's own cached groups and guest status.

With the cache of this module (60 seconds) the total is five minutes.
"""
MAX_STALE_SECONDS = 86_340.0
"""Maximum age in seconds of platform data for `RIGHTS_ON_STALE_DATA`.

With the cache of this module (60 seconds) the total is one day.
"""
RIGHTS_ON_STALE_DATA = frozenset({"chat", "read", "model", "tool", "source"})
"""Rights that stay available while the platform does not respond.

`tool` is included because the effect of a tool is checked as a separate right. `model` is
included because the cost of the model is not covered by the `spend` right.
"""
_LOOKUP_TIMEOUT_SECONDS = 5.0
_CONFIRM_TIMEOUT_SECONDS = 0.3
"""Timeout in seconds to confirm cached data when a turn starts.

`prepare` waits longer, before the turn starts.
"""
_MAX_CACHED_PEOPLE = 10_000
_MAX_CACHED_RIGHTS, _MAX_CACHED_DECISIONS = 200, 500
MAX_RIGHT_NAME_CHARACTERS = 1_000
"""Titles in NocoDB have at most 255 characters, but people and models can send any text."""


def find_max_age(person: Person, right: str = "") -> float:
    """Without a right, the age is for what the person did earlier. An OIDC provider confirms people
    only in their browser. The page, tokens and schedules ask for that, so only decisions need newer
    data."""
    is_oidc = person.platform == rules.OIDC_PLATFORM
    takes_stale = right not in DECISION_RIGHTS if is_oidc else right in RIGHTS_ON_STALE_DATA
    return MAX_STALE_SECONDS if takes_stale else MAX_CONFIRMED_AGE_SECONDS


@dataclass(slots=True)
class PlatformPeople:
    """The functions that ask platforms about people (groups, guest status, departures), by the
    platform's name.

    On a platform without such a function nobody is in a group, a guest, or removed.
    """

    memberships: dict[str, GroupLookup] = field(default_factory=dict)
    guests: dict[str, GuestLookup] = field(default_factory=dict)
    departures: dict[str, DepartureLookup] = field(default_factory=dict)
    withdrawals: dict[str, DepartureLookup] = field(default_factory=dict)
    """In place of `departures`, for a moment at which somebody asked for a change or approved it.
    """
    workspaces: dict[str, WorkspaceLookup] = field(default_factory=dict)

    def add(self, chat: ChatPlatform) -> None:
        """Register the functions that ask a chat platform about people."""
        self.memberships[chat.name] = chat.membership
        self.departures[chat.name] = chat.has_left
        if chat.guest:
            self.guests[chat.name] = chat.guest
        if chat.find_workspace:
            self.workspaces[chat.name] = chat.find_workspace


@dataclass(frozen=True, slots=True)
class _PersonFacts:
    """The groups of a person and their guest status, as a platform told them.

    None: not requested yet, or the platform does not disclose it.
    """

    groups: frozenset[str] | None = None
    guest: bool | None = None

    @property
    def is_member(self) -> bool | None:
        """None: not known."""
        return None if self.guest is None else not self.guest

    @property
    def is_whole(self) -> bool:
        return self.groups is not None and self.guest is not None


@dataclass(frozen=True, slots=True)
class _Decision:
    """Of some earlier rules it is not known yet whether they match the person. `others` holds what
    these would decide (True: allow)."""

    verdict: Verdict
    others: frozenset[bool] = frozenset()

    @property
    def is_certain(self) -> bool:
        return self.others <= {self.verdict.allowed}


@dataclass(slots=True)
class Rights:
    """The rights of one person in one place, by the data that is known now. It asks no platform.

    Each right is decided once, and again after the rules of ponte.toml have changed.
    """

    policy: Policy
    person: Person
    address: Address
    known: _PersonFacts
    confirmed: Rights | None = None
    """The rights by data that the platform confirmed within minutes.

    Set only if that is less than `known`. It then decides the rights that need it
    (`find_max_age`).
    """
    _book: RuleBook | None = field(default=None, init=False)
    rules: tuple[Rule, ...] = field(default=(), init=False)
    """Rules that apply at the address, in order."""
    _fits: dict[tuple[frozenset[str], PlaceReading], bool | None] = field(
        default_factory=dict, init=False
    )
    """None: not known."""
    _decisions: BoundedDict[tuple[str, tuple[str, ...]], _Decision] = field(
        default_factory=lambda: BoundedDict(_MAX_CACHED_DECISIONS), init=False
    )
    _is_complete: bool | None = field(default=None, init=False)

    def may(self, right: str, *names: str) -> Verdict:
        """`names` of a table are its title and its id. A verdict that depends on unknown data is a
        denial with `is_unknown` set."""
        confirmed, max_age = self.confirmed, MAX_CONFIRMED_AGE_SECONDS
        if confirmed is not None and find_max_age(self.person, right) == max_age:
            return confirmed.may(right, *names)
        decision = self.decide(right, *names)
        verdict = decision.verdict
        if not decision.is_certain:
            return replace(verdict, allowed=False, reason=StatusUnknown.sentence, is_unknown=True)
        return verdict

    def decide(self, right: str, *names: str) -> _Decision:
        """Return the decision on a right by the data that is known, with what unknown data could
        change. It is cached until a reload changes the rules of ponte.toml."""
        if (book := self.policy.read_rules()) is not self._book:
            self._use_rules(book)
        decision = self._decisions.get((right, names))
        if decision is None:
            decision = self._decisions[right, names] = self.policy.decide(self, book, right, names)
        return decision

    def depends_on_name(self, right: str) -> bool:
        book = self.policy.read_rules()
        entries = (e for r in (*book.rules, *book.channels.values()) for e in (*r.allow, *r.deny))
        return any(entry.startswith(f"{right}:") for entry in entries)

    @property
    def is_owner(self) -> bool:
        rights = self.policy.platforms.get(self.person.platform, NO_RIGHTS)
        return rights.has_one_owner and self.person.id == rules.OWNER_ID

    @property
    def is_invited(self) -> bool:
        """Somebody let them in on purpose: they have an account on the page or of an OIDC provider,
        or are people of chat platforms that PONTE_ADMINS or PONTE_ALLOW names."""
        rights = self.policy.platforms.get(self.person.platform)
        names = self.policy.admins | self.policy.allow
        return rights is not None and (
            rights.has_one_owner
            or self.person.platform == rules.OIDC_PLATFORM
            or bool(names and self.fits(names, "members"))
        )

    def may_know(self, right: str, *names: str) -> bool:
        """Return True if the person may read something that somebody got with this right, such as
        rows that were read with `read:Customers`. This is reading, so data of the platform that is
        up to a day old is enough for all rights."""
        decision = self.decide(right, *names)
        return decision.verdict.allowed and decision.is_certain

    def _use_rules(self, book: RuleBook) -> None:
        self._book = book
        defaults = self.policy.platform_rules.get(self.person.platform, ())
        all_rules = (*book.rules, *self.policy.last_rules, *defaults)
        self.rules = tuple(rule for rule in all_rules if rules.is_there(rule.where, self.address))
        self._fits.clear()
        self._decisions.clear()
        self._is_complete = None

    @property
    def is_complete(self) -> bool:
        """True if the known data decides every right that a turn can use, so that the platform need
        not be asked. Commands of admins use `administer`. A decision on a change looks up rights of
        its own, so `approve` does not count here."""
        if (book := self.policy.read_rules()) is not self._book:
            self._use_rules(book)  # also sets `_is_complete` to None
        if self._is_complete is None:
            # Either the person's groups and guest status are known, or no rule of ponte.toml needs
            # them to know whether it matches, and no default does for the rights below.
            self._is_complete = self.known.is_whole or (
                all(self.fits(rule.who, "members") is not None for rule in book.rules)
                and all(self.decide(right).is_certain for right in (*BASIC_RIGHTS, "administer"))
            )
        return self._is_complete

    def fits(self, names: frozenset[str], reading: PlaceReading) -> bool | None:
        """Return None if it is not known. `reading` says whom the name of a platform or workspace
        means. The result is cached, because many rules have the same names."""
        if (names, reading) not in self._fits:
            self._fits[names, reading] = self.policy.is_one(
                names, self.person, self.address, self.known, reading
            )
        return self._fits[names, reading]


ANY_TABLE = "*"
"""The name of a table that is not known in the rights that a result needs. Only people who
may read every table may read such a result."""


@dataclass(slots=True)
class Policy:
    """Decides what each person may do in a place: run tools, read and change tables, approve.

    The first of these that names the person and the right decides: a rule of ponte.toml
    (`read_rules`), `admins` (PONTE_ADMINS), `allow` (PONTE_ALLOW), the platform's own defaults.
    `people` looks up groups and guests.
    """

    platforms: Mapping[str, rules.PlatformRights]
    read_rules: Callable[[], RuleBook]
    allow: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    people: PlatformPeople = field(default_factory=PlatformPeople)
    clock: Callable[[], float] = time.monotonic
    sources: dict[str, Callable[[PlaceRights], bool]] = field(default_factory=dict, init=False)
    """Whether a person may use a source of data at all, by the source's name, in addition to the
    rules. A source without an entry is open to the owner alone."""
    _groups: dict[str, tuple[float, frozenset[str] | None]] = field(
        default_factory=dict, init=False
    )
    _lookups: dict[str, asyncio.Task[object]] = field(default_factory=dict, init=False)
    last_rules: list[Rule] = field(default_factory=list, init=False)
    platform_rules: dict[str, list[Rule]] = field(default_factory=dict, init=False)
    _rights: BoundedDict[tuple[Person, Address, _PersonFacts], Rights] = field(
        default_factory=lambda: BoundedDict(_MAX_CACHED_RIGHTS), init=False
    )

    def __post_init__(self) -> None:
        """These rules come after all those of ponte.toml: admins may do everything, PONTE_ALLOW
        gives everything but decisions, and each platform gives its people some rights."""
        owners = {name for name, rights in self.platforms.items() if rights.has_one_owner}
        # In PONTE_ADMINS, the name of the page or the terminal means its owner.
        self.admins = frozenset(
            f"{n}:{rules.OWNER_ID}" if n in owners else n for n in self.admins if n
        )
        everything = tuple(sorted(BASIC_RIGHTS))
        all_rights = (*everything, *DECISION_RIGHTS)
        self.last_rules = [Rule(rules.ADMINS_RULE, frozenset({"admins"}), allow=all_rights)]
        if named := self.allow - {""}:
            self.last_rules.append(Rule(rules.ALLOW_RULE, named, allow=everything))
        for platform, platform_rights in self.platforms.items():
            # Who signs in to the page with another platform's account has the same rights there.
            who, where = frozenset({platform}), frozenset({platform, *owners})
            # Platforms with all basic rights: the page, the terminal and OIDC accounts.
            if platform_rights.default_rights >= BASIC_RIGHTS:
                # Elsewhere, people of the page have only the place where the operator has the
                # requests of their programs posted. Its own rule can only take rights away.
                where = frozenset()  # every place
            allow = tuple(sorted(platform_rights.default_rights))
            self.platform_rules[platform] = [Rule(rules.DEFAULT_RULE, who, where, allow)]

    def may_all(self, address: Address, right: str, *names: str) -> bool:
        """Return whether all members of a place surely have the right there, whoever they are: no
        rule for that place denies it to anybody before one gives it to all. Guests are left out."""
        book, places = self.read_rules(), rules.place_names(address)
        channels = (book.channels.get(place) for place in places)
        if any(rule and not rule.leaves_right(right, names) for rule in channels):
            return False
        all_members = {*places, f"{address.platform}:{address.channel}", "everybody", "members"}
        all_members.add(rules.EVERYBODY_NAME)
        defaults = self.platform_rules.get(address.platform, ())
        for rule in (*book.rules, *self.last_rules, *defaults):
            ruling = rule.decide(right, names)
            if ruling == "silent" or not rules.is_there(rule.where, address):
                continue
            if ruling == "deny" and not (rule.who and rule.who <= {"guests", "outsiders"}):
                return False
            if ruling == "allow" and (not rule.who or rule.who & all_members):
                return True
        return False

    async def may(self, person: Person, address: Address, right: str, *names: str) -> Verdict:
        """A denial has a reason that says who can change it. `names` are those of the thing that
        the right is about, such as a table's title and id.

        Waits for the platform up to `_LOOKUP_TIMEOUT_SECONDS` if the decision depends on its data:
        if data that is not known yet could allow the right, or could make it one that a rule denies
        (`Verdict.may_be_denied`).
        """
        max_age = find_max_age(person, right)
        for waits in (False, True):  # first with the cached data alone
            rights = await self.look_up_rights(person, address, max_age=max_age, waits=waits)
            verdict = rights.may(right, *names)
            if not (verdict.is_unknown or verdict.may_be_denied):
                break
        return verdict

    async def rights(self, person: Person, address: Address) -> Rights:
        """Requests data from the platform only where a decision depends on it. Waits up to
        `_CONFIRM_TIMEOUT_SECONDS` for confirmed data. Then it also requests older data, which
        counts for some rights (`find_max_age`)."""
        rights = self.rights_by(person, address, self._cached_facts(person))
        if rights.is_complete:  # no right depends on data that is missing
            return rights
        confirmed, _ = await self._look_up(
            person, MAX_CONFIRMED_AGE_SECONDS, _CONFIRM_TIMEOUT_SECONDS
        )
        if confirmed.is_whole:  # the groups and the guest status are known
            return self.rights_by(person, address, confirmed)
        facts, _ = await self._look_up(person, MAX_STALE_SECONDS, _LOOKUP_TIMEOUT_SECONDS)
        # The inner `Rights`, by confirmed data alone, decide on every right that older data is not
        # enough for.
        return Rights(self, person, address, facts, Rights(self, person, address, confirmed))

    async def prepare(
        self, person: Person, address: Address, *, confirmed: bool, seconds: float
    ) -> bool:
        """Wait until the platform has answered the lookups that the person's rights depend on.

        Wait up to `seconds`; with 0, take only an answer that is there at once, and otherwise start
        a lookup in the background. An answer without the groups or the guest status counts. Return
        False if an answer is missing. `confirmed`: require data of the last few minutes instead of
        the last day.
        """
        # Only confirmed answers are cached: they are enough with and without `confirmed`.
        if self.is_prepared(person, address):
            return True
        # `_lookups` are the look-ups in the background, by person.
        max_age = MAX_CONFIRMED_AGE_SECONDS if confirmed else MAX_STALE_SECONDS
        _, answered = await self._look_up(person, max_age, seconds)
        if not answered and not seconds and person.key not in self._lookups:
            # No time to wait: the look-up goes on in the background, and a later call finds its
            # answer in the cache.
            task = asyncio.create_task(
                self._look_up(person, MAX_CONFIRMED_AGE_SECONDS, _LOOKUP_TIMEOUT_SECONDS)
            )
            self._lookups[person.key] = task
            task.add_done_callback(lambda _: self._lookups.pop(person.key))
        return answered

    def is_prepared(self, person: Person, address: Address) -> bool:
        return self.rights_by(person, address, self._cached_facts(person)).is_complete

    def rights_by(self, person: Person, address: Address, known: _PersonFacts) -> Rights:
        """The latest rights are cached with their decisions, because one event asks for the same
        rights several times."""
        place = replace(address, thread="", person="")  # no right depends on these
        rights = self._rights.get((person, place, known))
        if rights is None:
            rights = self._rights[person, place, known] = Rights(self, person, place, known)
        return rights

    def rights_of_member(self, person: Person, address: Address, groups: frozenset[str]) -> Rights:
        """Return the rights of somebody in these groups who is no guest, without asking the
        platform."""
        return self.rights_by(person, address, _PersonFacts(groups, guest=False))

    def list_names(self, right: str) -> Sequence[str]:
        """Return sorted names, as NAME in `model:NAME`. Patterns with `*` are left out."""
        rights = (right.partition(":") for rule in self.read_rules().rules for right in rule.allow)
        names = (name for kind, _, name in rights if kind == right and name and "*" not in name)
        return sorted(set(names))

    async def is_named(self, person: Person, address: Address, names: frozenset[str]) -> bool:
        """Return True if one of the names is the person, or a group, role or set of people that
        includes the person.

        Names of places do not match. The name of a platform matches only its owner. Raises
        StatusUnknown if the platform does not tell the person's groups now.
        """
        for waits in (False, True):  # first with the cached data alone
            rights = await self.look_up_rights(
                person, address, names, max_age=find_max_age(person), waits=waits
            )
            if (is_one := rights.fits(names, "people")) is not None:
                return is_one
        raise StatusUnknown

    async def is_meant(self, person: Person, address: Address, names: frozenset[str]) -> bool:
        """A limit also applies if the person's status is not known: `fits` then returns None."""
        rights = await self.look_up_rights(person, address, names)
        return rights.fits(names, "all") is not False

    async def is_named_anywhere(self, person: Person, address: Address) -> bool | None:
        """Return True if PONTE_ALLOW, PONTE_ADMINS or a rule that allows something names the
        person; None if the platform does not report their groups now.

        The name of a group of the person, or of this place, counts too. `PEOPLE_SETS` such as
        `everybody` in rules do not.
        """
        rights = await self.look_up_rights(person, address)
        ruled = (rule.who for rule in self.read_rules().rules if rule.allow)
        names = frozenset({"admins"}).union(
            self.allow, frozenset().union(*ruled) - set(rules.PEOPLE_SETS)
        )
        return rights.fits(names, "members")

    async def is_stranger(self, person: Person, address: Address) -> bool | None:
        """Return None if the platform does not report the person's groups now."""
        # Only a platform that is open to everybody has a cap for strangers.
        if self.platforms.get(person.platform, NO_RIGHTS).stranger_cap == rules.DailyTurns():
            return False
        named = await self.is_named_anywhere(person, address)
        return None if named is None else not named

    async def is_colleague(self, person: Person, address: Address) -> bool | None:
        """None if the platform does not report that now."""
        rights = await self.look_up_rights(person, address, max_age=MAX_CONFIRMED_AGE_SECONDS)
        return self._is_home_member(person, address, rights.known)

    async def has_left(
        self, person: Person, address: Address, since: float, *, is_deed: bool = False
    ) -> bool | None:
        """Return True if a person who was a member of the place `address` at the time `since` (in
        Unix seconds) is a member no longer, False if they still are. `is_deed`: True also if they
        have withdrawn what they asked for or approved then (`withdrawals`).

        Return None if the platform does not answer in time, or does not tell. On a platform without
        such a look-up, nobody leaves.
        """
        ask = self.people.departures.get(person.platform)
        ask = self.people.withdrawals.get(person.platform, ask) if is_deed else ask
        if ask is None:
            return False
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT_SECONDS):
                return await ask(person, address, since)
        except TimeoutError:
            return None

    def decide(self, rights: Rights, book: RuleBook, right: str, names: Sequence[str]) -> _Decision:
        """Return the decision for the right by known data and the rules of `book`.

        A configured program that writes messages itself, such as a webhook (`StandIns`), has at
        most the rights of its kind. For `DECISION_RIGHTS`, deny programs and guests. If the guest
        status is not known, add a denial to `others`, what the decision may be once more is known:
        it is then not certain.
        """
        person = rights.person
        is_account = person.platform in self.platforms
        # None: the person is no such program.
        programs = None if is_account else book.stand_ins.get(person.platform)
        if programs and (right not in programs.rights or person.id not in programs.groups):
            return _Decision(Verdict(False, rules.STAND_IN_REASON, right=right))
        if right == "source":
            admits = self.sources.get(names[0])
            may_use = admits(rights) if admits else rights.is_owner
            reason = "" if may_use else rules.SOURCE_REASON
            # People can be invited as a group, which their platform may not have told yet.
            others = frozenset({True}) if rights.known.groups is None else frozenset[bool]()
            return _Decision(Verdict(may_use, reason, right=f"source:{names[0]}"), others)
        decision = self._decide_by_rules(rights, book, right, names)
        # `right_name` is the right as people read it, such as "approve:TABLE" for one table.
        guest, right_name = rights.known.guest, decision.verdict.right
        # What follows only denies, so a denial by the rules needs no further test.
        if right not in DECISION_RIGHTS or not decision.verdict.allowed:
            return decision
        if person.is_bot:
            return _Decision(Verdict(False, rules.PROGRAM_DECISION_REASON, right=right_name))
        if guest:
            return _Decision(Verdict(False, rules.GUEST_DECISION_REASON, right=right_name))
        return replace(decision, others=decision.others | {False}) if guest is None else decision

    def _decide_by_rules(
        self, rights: Rights, book: RuleBook, right: str, names: Sequence[str]
    ) -> _Decision:
        """The first rule decides that matches the person and says something about the right. Of
        some rules it is not known whether they match, because the platform has not told the
        person's groups yet. Such a rule is passed over, and `others` has what it would say (True:
        allow). `names` of a table are its title and its id; the first one is shown to people."""
        if any(len(name) > MAX_RIGHT_NAME_CHARACTERS for name in names):
            return _Decision(Verdict(False, rules.NAME_TOO_LONG, right=right))
        right_name = f"{right}:{names[0]}" if any(names) else right
        # A channel's own rule can only restrict, so it comes before all others.
        for place in rules.place_names(rights.address) if book.channels else ():
            if (rule := book.channels.get(place)) and not rule.leaves_right(right, names):
                return _Decision(Verdict(False, rules.RULE_REASONS[right], rule.source, right_name))
        others: frozenset[bool] = frozenset()
        for rule in rights.rules:
            ruling = rule.decide(right, names)
            if ruling == "silent":
                continue
            # What the name of a place denies concerns its guests, too. What it allows concerns its
            # members, and it makes nobody an approver or an admin.
            allows = ruling == "allow"
            reading: PlaceReading = (
                "all" if not allows else "people" if right in DECISION_RIGHTS else "members"
            )
            fits = rights.fits(rule.who, reading)
            if fits:
                reason = "" if allows else rules.RULE_REASONS[right]
                return _Decision(Verdict(allows, reason, rule.source, right_name), others)
            if fits is None:  # the rule may or may not match, so a later one decides for now
                others |= {allows}
        # A webhook may chat, and things with a name of their own may be used, unless a rule denies
        # it.
        may_chat = right == "chat" and rights.person.platform in book.stand_ins
        if right in rules.NAMED_RIGHTS or may_chat:
            return _Decision(Verdict(True, rule=rules.DEFAULT_RULE, right=right_name), others)
        reason = rules.DEFAULT_REASONS[right]
        if rights.known.guest:  # say so if that is the only reason
            member = replace(rights, known=replace(rights.known, guest=False))
            reason = rules.GUEST_REASON if member.may(right, *names).allowed else reason
        # Who lacks `approve` may still approve their own changes, unless a rule denies it to them.
        may_be_denied = right == "approve" and False in others
        verdict = Verdict(False, reason, right=right_name, may_be_denied=may_be_denied)
        return _Decision(verdict, others)

    def is_one(
        self,
        names: frozenset[str],
        person: Person,
        address: Address,
        known: _PersonFacts,
        reading: PlaceReading = "members",
    ) -> bool | None:
        """Return None if it is not known. `reading` says which people the name of a place means:
        "members" where a rule gives something, "all" where it denies or limits.

        An empty set of names is that of a rule without `who`, and matches everybody, except if
        `reading` is "people": then only a name can match.
        """
        # `stand_ins`: configured programs such as webhooks; `groups` has the group of each by id.
        is_account = person.platform in self.platforms
        if not is_account and (programs := self.read_rules().stand_ins.get(person.platform)):
            if not names.isdisjoint({person.key, programs.groups.get(person.id, "")}):
                return True
            # `*` of PONTE_ALLOW, and two sets of people that rules can name.
            everybody = {rules.EVERYBODY_NAME, "everybody", "members"}
            # A rule for everybody gives a program nothing, but what it denies or limits (the
            # reading "all"), it denies and limits for programs too.
            return reading == "all" and (not names or not names.isdisjoint(everybody))
        if not names:
            return reading != "people"
        verdict: bool | None = False
        for name in names:
            fits = self._matches(name, person, address, known, reading)
            if fits:
                return True
            verdict = None if fits is None else verdict
        return verdict

    def _matches(
        self,
        name: str,
        person: Person,
        address: Address,
        known: _PersonFacts,
        reading: PlaceReading,
    ) -> bool | None:
        """Return whether a name in a rule means this person in this place; None if their groups are
        not known. The name is a set ("guests"), a group of ponte.toml, a platform, a person, a
        channel, a workspace or a role.

        `reading`: with "people", only names of people, groups and roles count, so that nobody
        becomes an admin by being in a channel. With "members", a place means its members, not its
        guests.
        """
        # `own` says how the names of the person's platform are read (`PlatformRights`).
        platform, _, id = name.partition(":")
        platform_rights = self.platforms.get(person.platform, NO_RIGHTS)
        if name == "admins":
            return self.is_one(self.admins, person, address, known, "people")
        if (members := self.read_rules().groups.get(name)) is not None:
            return self.is_one(members, person, address, known, reading)
        if name in rules.PEOPLE_SETS or name == rules.EVERYBODY_NAME:
            if reading == "people":
                return False
            if name == "outsiders":
                return not self._is_home(person, address)
            if name == "guests":
                return known.guest
            if name != "members":
                return True
            # A direct message on an open platform belongs to no workspace, so nobody is a member.
            if platform_rights.open_workspace and not address.workspace:
                return False
            return self._is_home_member(person, address, known)
        if platform != person.platform:
            return False
        if not id:
            if reading == "people":
                return platform_rights.has_one_owner and person.id == rules.OWNER_ID
            return reading == "all" or self._is_home_member(person, address, known)
        if id == person.id:
            return True
        if reading != "people":
            # On the page, people choose the names of their conversations, so such a name gives
            # nothing.
            is_place = address.platform == platform and not platform_rights.has_one_owner
            if is_place and id == address.channel:
                return True
            if platform_rights.open_workspace and id == address.workspace:
                return True
            if person.workspace and id == person.workspace:
                return reading == "all" or known.is_member
        # The id of another person or place: no group can change that, so it is False and not None.
        if not id.startswith(platform_rights.group_prefix):
            return False
        return None if known.groups is None else name in known.groups

    def _is_home(self, person: Person, address: Address) -> bool:
        # Also True on platforms without workspaces, and for a person of another platform than the
        # place: they signed in to the page, which only Ponte's own workspace can.
        platform_rights = self.platforms.get(person.platform, NO_RIGHTS)
        if not platform_rights.own_workspace or address.platform != person.platform:
            return True
        return bool(person.workspace) and person.workspace == address.workspace

    def _is_home_member(self, person: Person, address: Address, known: _PersonFacts) -> bool | None:
        return known.is_member if self._is_home(person, address) else False

    def _cached_facts(self, person: Person, names: frozenset[str] = frozenset()) -> _PersonFacts:
        # Groups count as an empty set if neither a rule nor `names` refers to a group of the
        # platform. Guest status is not cached here: it is known only for platforms without guests.
        groups: frozenset[str] | None = frozenset()
        if self.groups_matter(person.platform, names):
            expires, cached_groups = self._groups.get(person.key, (0.0, None))
            groups = cached_groups if self.clock() < expires else None
        return _PersonFacts(groups, None if person.platform in self.people.guests else False)

    async def look_up_rights(
        self,
        person: Person,
        address: Address,
        names: frozenset[str] = frozenset(),
        *,
        max_age: float = MAX_STALE_SECONDS,
        waits: bool = True,
    ) -> Rights:
        """With `waits`, ask the platform once if the cache does not suffice. `names` are those for
        which `Rights.fits` is asked later, so that groups among them are looked up."""
        # The cache has only data that the platform confirmed lately, enough for every `max_age`.
        facts = self._cached_facts(person, names)
        if waits and not facts.is_whole:
            facts, _ = await self._look_up(person, max_age, _LOOKUP_TIMEOUT_SECONDS, names)
        return self.rights_by(person, address, facts)

    async def _look_up(
        self, person: Person, max_age: float, seconds: float, names: frozenset[str] = frozenset()
    ) -> tuple[_PersonFacts, bool]:
        """Look up the person's groups and guest status, waiting up to `seconds`.

        `max_age` is the maximum age of the data in seconds. Return the facts, and True if the
        platform answered. An answer that discloses nothing counts.
        """
        # No group changes a decision, so an empty set stands for the person's groups.
        if not self.groups_matter(person.platform, names):
            guest, has_answered = await self._look_up_guest(person, max_age, seconds)
            return _PersonFacts(frozenset(), guest), has_answered
        (groups, has_answered), (guest, guest_has_answered) = await run_together(
            self._look_up_groups(person, max_age, seconds),
            self._look_up_guest(person, max_age, seconds),
        )
        return _PersonFacts(groups, guest), has_answered and guest_has_answered

    async def _look_up_guest(
        self, person: Person, max_age: float, seconds: float
    ) -> tuple[bool | None, bool]:
        """Return whether a person is a guest, None if the platform does not disclose it or did not
        answer, and whether it answered within `seconds`. On platforms without guests nobody is
        one. `max_age` is the maximum age in seconds of data from the platform's own cache."""
        if person.platform not in self.people.guests:
            return False, True
        try:
            async with asyncio.timeout(seconds):
                return await self.people.guests[person.platform](person, max_age), True
        except TimeoutError:
            return None, False

    def groups_matter(self, platform: str, names: frozenset[str]) -> bool:
        """Return True if any name in the rules, the settings or `names` may be that of a group
        of the platform. Otherwise no group can change a decision, and the platform need not be
        asked."""
        if platform not in self.people.memberships:
            return False
        named = [names, self.admins, self.allow, *self.read_rules().groups.values()]
        named += [rule.who for rule in self.read_rules().rules]
        group = f"{platform}:{self.platforms.get(platform, NO_RIGHTS).group_prefix}"
        return any(name.startswith(group) for names in named for name in names)

    async def _look_up_groups(
        self, person: Person, max_age: float, seconds: float
    ) -> tuple[frozenset[str] | None, bool]:
        """Return the groups or roles of a person, None if the platform does not disclose them or
        did not answer, and whether it answered in time. They are cached for a short time, because
        each decision asks for them; not those of OIDC people, which every process reads from the
        database, so that the latest ones count at once. In the result, each id begins with the
        platform's name, as in rules; some platforms add it themselves. `max_age` is the maximum age
        in seconds of data from the adapter's own cache, and `seconds` the maximum wait."""
        now = self.clock()
        expires, groups = self._groups.get(person.key, (0.0, None))
        if now < expires:
            return groups, True
        is_stored = person.platform == rules.OIDC_PLATFORM
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT_SECONDS if is_stored else seconds):
                ids = await self.people.memberships[person.platform](person, max_age)
        except TimeoutError:
            return None, False
        if ids is None:
            return None, True
        prefix = f"{person.platform}:"
        groups = frozenset(id if id.startswith(prefix) else prefix + id for id in ids)
        # Only such data suffices for every right.
        if max_age <= MAX_CONFIRMED_AGE_SECONDS and not is_stored:
            if len(self._groups) >= _MAX_CACHED_PEOPLE:
                # The cache holds for seconds, so losing it costs only some look-ups.
                self._groups.clear()
            # An empty answer may mean that the platform knows no groups yet: ask again sooner.
            self._groups[person.key] = (
                now + (_GROUP_CACHE_SECONDS if groups else _EMPTY_GROUP_CACHE_SECONDS),
                groups,
            )
        return groups, True


@dataclass(frozen=True, slots=True)
class DailyCaps:
    """The daily caps of turns for each person and for everybody. `chosen` is PONTE_DAILY_TURNS;
    None uses each platform's default."""

    chosen: rules.DailyTurns | None = None

    async def cap_for(self, person: Person, address: Address, named: Policy) -> rules.DailyTurns:
        """`named` is the policy that knows which people rules name. A platform's default cap does
        not apply to people that `is_named_anywhere` finds, who are no strangers. It does apply
        while the platform does not tell who they are (`is_stranger` is None)."""
        if self.chosen is not None:  # by the operator
            return self.chosen
        if await named.is_stranger(person, address) is False:
            return rules.DailyTurns()  # no cap
        return named.platforms[person.platform].stranger_cap
