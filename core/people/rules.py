"""The rules of access: the rights that exist, what a rule says, which places it names, and the
sentences that tell a person why they have a right or lack it.

`core.people.policy` decides with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from core.base.errors import WrongUsage
from core.base.i18n import say
from core.base.text import fold_case
from core.domain.messages import Address
from core.domain.rights import Action, Verdict

EVERYBODY_NAME = "*"
"""The name that matches every person. `everybody` has the same meaning."""
OWNER_ID = "owner"
OIDC_PLATFORM = "oidc"
"""The platform of people who sign in to the page with a `[sign_in.NAME]` of ponte.toml. A person's
id is `NAME:SUB`, and a group is named as `oidc:NAME:group:GROUP`."""
BASIC_RIGHTS: frozenset[Action] = frozenset({"chat", "read", "propose", "spend", "code"})
DECISION_RIGHTS = ("approve", "administer")
"""Rights that only the names of people and groups can give.

The name of a channel, workspace or platform gives none of them.
"""
NAMED_RIGHTS = ("tool", "command", "agent", "model", "post")
"""Rights to one thing by its name, in addition to the plain right. Allowed unless a rule denies."""
PEOPLE_SETS = ("everybody", "members", "guests", "outsiders", "admins")
"""Predefined sets of people that a rule can name.

`outsiders` belong to another workspace than the channel.
"""
RIGHT_KINDS = ("chat", "read", "propose", "spend", "code", *DECISION_RIGHTS, *NAMED_RIGHTS)
PlaceReading = Literal["people", "members", "all"]
"""Which people the name of a platform or workspace matches.

- "people": nobody. Used for rights that only people and groups can be given.
- "members": its members. Used where a rule gives something.
- "all": its members and guests. Used where a rule denies or limits something.
"""
_NAMEABLE_RIGHTS = ("read", "propose", "approve", *NAMED_RIGHTS)
_NO_NAME = "{right}: write {kind}, because this permission can't be limited to one item."
ADMINS_RULE, ALLOW_RULE, DEFAULT_RULE = "PONTE_ADMINS", "PONTE_ALLOW", "default"


@dataclass(frozen=True, slots=True)
class DailyTurns:
    """A daily cap of turns, for one person and for everybody together. 0 means no cap."""

    person: int = 0
    everybody: int = 0


@dataclass(frozen=True, slots=True)
class PlatformRights:
    """The default rights of a platform's people, and the meaning of its names.

    `default_rights` apply to people that no rule names. `own_workspace` limits them to people of
    the workspace that the place belongs to.

    `has_one_owner`: the platform belongs to one person (`OWNER_ID`). Its name means that owner
    where a rule needs people. The owner decides on all proposals there. Each person creates their
    own channels, so the name of a channel gives no right. `owner_is_operator`: the owner also runs
    Ponte and sees changes from all platforms.

    `open_workspace`: people do not belong to a workspace, so its name matches everyone who writes
    there. `stranger_cap` is the daily cap of each person that PONTE_ALLOW does not name.
    `links_code`: the platform turns addresses inside code into links. `links_names`: the platform
    links host names and e-mail addresses that have no scheme. `has_room`: a card has room for
    any number of rows and characters. `links_plans`: a card links to the file of all that it
    writes. `group_prefix`: the beginning of the id of every group; a
    name with another one means no group.
    """

    default_rights: frozenset[Action] = frozenset()
    has_one_owner: bool = False
    owner_is_operator: bool = False
    own_workspace: bool = False
    open_workspace: bool = False
    stranger_cap: DailyTurns = DailyTurns()
    links_code: bool = False
    links_names: bool = True
    has_room: bool = False
    links_plans: bool = False
    group_prefix: str = ""


@dataclass(frozen=True, slots=True)
class StandIns:
    """Programs that ponte.toml configures and that are the authors of their own messages, such as
    webhooks.

    They have only `rights`, and of these what rules give to their own name or group. `groups` has
    the group of each by its id. One that is not in `groups` may do nothing; the others may chat.
    """

    rights: tuple[str, ...]
    groups: Mapping[str, str]


OIDC_RIGHTS = PlatformRights(BASIC_RIGHTS, has_room=True, links_plans=True)
"""The rights of people of an OIDC provider: those of people with an account of the page."""
NO_RIGHTS = PlatformRights()
Ruling = Literal["allow", "deny", "silent"]


@dataclass(frozen=True)
class Rule:
    """One rule about rights: of ponte.toml, PONTE_ADMINS, PONTE_ALLOW or a platform's defaults.

    `source` describes where the rule is written. Empty `who` and `where` match everybody and every
    place. `allow` and `deny` list rights such as `read` or `read:Customers`. A `*` in a name
    matches any text.
    """

    source: str
    who: frozenset[str] = frozenset()
    where: frozenset[str] = frozenset()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def decide(self, right: str, names: Sequence[str]) -> Ruling:
        """Return "allow" or "deny" if this rule says that about the right for one of these names
        of a thing (a table has its title and its id), else "silent".

        A denial takes precedence. Without names, a rule that allows the right for any name allows
        it: the question is then whether the person has the right at all.
        """
        # Without names, only a denial of the whole right counts, as `read`, not `read:Orders`.
        denied = self._deny_patterns.get(right)
        if denied and denied.covers(names):
            return "deny"
        allowed = self._allow_patterns.get(right)
        if allowed and (not names or allowed.covers(names)):
            return "allow"
        return "silent"

    def leaves_right(self, right: str, names: Sequence[str]) -> bool:
        """A place with an `allow` list leaves only the listed rights. It also leaves a right in
        `NAMED_RIGHTS`, such as `tool`, if the list contains no entry of its kind: people have these
        rights unless a rule says otherwise."""
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
    """The names for which a rule allows or denies one right, in which `*` stands for any text. With
    `is_whole`, the rule names the right alone, as in `read`, which means all names."""

    is_whole: bool
    patterns: tuple[str, ...]

    def covers(self, names: Sequence[str]) -> bool:
        """Without names, require `is_whole`."""
        if self.is_whole:
            return True
        folded_names = [fold_case(name) for name in names]
        return any(
            matches_pattern(pattern, name) for pattern in self.patterns for name in folded_names
        )


@dataclass(frozen=True, slots=True)
class RuleBook:
    """All rules of ponte.toml about rights.

    `groups` are named sets of people. `channels` are the rules of places, keyed by `platform`,
    `platform:WORKSPACE` or `platform:WORKSPACE:CHANNEL`.
    """

    rules: tuple[Rule, ...] = ()
    channels: Mapping[str, Rule] = field(default_factory=dict)
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    stand_ins: Mapping[str, StandIns] = field(default_factory=dict)
    """The rights of authors that are no people, by their platform (`Person.platform`)."""

    def deny_also(self, near: Mapping[str, tuple[str, ...]]) -> RuleBook:
        """Return the rules with each denial for a table's name in `near` also for the table that
        has these names. What a rule allows holds only for its own name."""

        def extend(rule: Rule) -> Rule:
            denied = [
                f"{right}:{other}"
                for right, _, name in (text.partition(":") for text in rule.deny)
                if right in ("read", "propose", "approve")
                for other in near.get(name, ())
            ]
            return replace(rule, deny=(*rule.deny, *denied)) if denied else rule

        channels = {place: extend(rule) for place, rule in self.channels.items()}
        return replace(self, rules=tuple(map(extend, self.rules)), channels=channels)


def is_right(text: str) -> bool:
    """`NAMED_RIGHTS` need a name, `_NAMEABLE_RIGHTS` may have one, other rights must not."""
    kind, colon, name = text.partition(":")
    if kind not in RIGHT_KINDS or (colon and not name.strip()):
        return False
    return kind in _NAMEABLE_RIGHTS if colon else kind not in NAMED_RIGHTS


def check_right_name(text: str) -> None:
    kind, colon, _ = text.partition(":")
    if colon and kind in RIGHT_KINDS and kind not in _NAMEABLE_RIGHTS:
        raise WrongUsage(_NO_NAME, right=text[:80], kind=kind)


def place_names(address: Address) -> tuple[str, ...]:
    """The widest first. A thread has the names of its channel."""
    home = f"{address.platform}:{address.workspace}"
    return address.platform, home, f"{home}:{address.channel}"


def is_there(where: frozenset[str], address: Address) -> bool:
    """`where` has names of channels, workspaces and platforms, or the kind of place ("shared" or
    "direct")."""
    if not where:
        return True
    kind = "shared" if address.is_shared else "direct"
    return kind in where or not where.isdisjoint(place_names(address))


def _patterns_by_right(written: Sequence[str]) -> Mapping[str, _NamePatterns]:
    names: dict[str, list[str]] = {}
    for text in written:
        right, _, name = text.partition(":")
        names.setdefault(right, []).append(name)
    # A right without a name ("") covers all names.
    return {
        right: _NamePatterns("" in of_right, tuple(map(fold_case, filter(None, of_right))))
        for right, of_right in names.items()
    }


def matches_pattern(pattern: str, name: str) -> bool:
    """Each `*` takes the shortest text that works. The search never goes back, so it takes linear
    time: people and models send the names, and could make a regular expression take very long."""
    first, *others = pattern.split("*")
    if not others:
        return name == first
    *middle, last = others
    at, end = len(first), len(name) - len(last)
    # `at > end`: the beginning and the end would overlap, as of `ab*ba` in "aba".
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        position = name.find(part, at, end)
        if position < 0:
            return False
        at = position + len(part)
    return True


_ALLOW_HINT = "Ask an admin to add you, one of your groups or this channel to PONTE_ALLOW."
DEFAULT_REASONS: Mapping[str, str] = {
    "chat": "I only answer members of this workspace here. " + _ALLOW_HINT,
    "read": "You don't have permission to read tables here. " + _ALLOW_HINT,
    "propose": "You don't have permission to change data here. " + _ALLOW_HINT,
    "spend": "You don't have permission to run quick commands here. " + _ALLOW_HINT,
    "code": "You don't have permission to run code here. " + _ALLOW_HINT,
    "approve": "Only an admin or a designated approver can decide on that.",
    "administer": "Only an admin can do that. Admins are set in PONTE_ADMINS.",
}
"""Reasons for a denial by right, when no rule of ponte.toml decided."""
_MISSING_RIGHT = (
    " (`{right}`). An admin can change that in `ponte.toml`. To see which rule applies, "
    "type `why {right}`."
)
RULE_REASONS: Mapping[str, str] = {
    "chat": "I can't chat with you here. An admin can change the rules in `ponte.toml`.",
    "read": "You don't have permission to read that here" + _MISSING_RIGHT,
    "propose": "You don't have permission to change that here" + _MISSING_RIGHT,
    "spend": "You don't have permission to run quick commands here" + _MISSING_RIGHT,
    "code": "You don't have permission to run code here" + _MISSING_RIGHT,
    "approve": "You don't have permission to decide on that here" + _MISSING_RIGHT,
    "administer": "You don't have permission to do that here" + _MISSING_RIGHT,
    "tool": "You don't have permission to use that tool here" + _MISSING_RIGHT,
    "command": "You don't have permission to run that quick command here" + _MISSING_RIGHT,
    "agent": "You don't have permission to ask that agent here" + _MISSING_RIGHT,
    "model": "You don't have permission to use this channel's model" + _MISSING_RIGHT,
    "post": "You don't have permission to post there" + _MISSING_RIGHT,
}
"""Reasons for a denial by right, when a rule of ponte.toml decided."""
GUEST_REASON = "You're a guest, and I only answer members here. " + _ALLOW_HINT
GUEST_DECISION_REASON = (
    "Guests can't decide on changes and can't be admins. Only members can do this."
)
SOURCE_REASON = (
    "The sample tables are only for the owner and, with PONTE_SAMPLE=on, for people who are "
    "invited."
)
STAND_IN_REASON = "Programs can't do this. A person must ask for it."
"""The reason for a denial to one of the `StandIns`, whatever rules say."""
PROGRAM_DECISION_REASON = (
    "Programs can't decide on changes and can't be admins. A person must do this themselves."
)
NAME_TOO_LONG = "That name is too long. Names can have up to 1,000 characters."
_ALLOWED_SENTENCES: Mapping[str, str] = {
    ADMINS_RULE: "`{right}`: allowed, because the person is an admin (PONTE_ADMINS).",
    ALLOW_RULE: (
        "`{right}`: allowed, because PONTE_ALLOW names the person, one of their groups or the "
        "channel."
    ),
    DEFAULT_RULE: "`{right}`: allowed by default here.",
}
_DENIED_SENTENCE = "`{right}`: denied. {reason}"


def explain_verdict(verdict: Verdict) -> str:
    """Return a sentence for the reply to `why`."""
    if verdict.allowed:
        # PONTE_ADMINS, PONTE_ALLOW and the defaults have sentences of their own.
        sentence = _ALLOWED_SENTENCES.get(verdict.rule, "`{right}`: allowed by the rule `{rule}`.")
        return say(sentence, right=verdict.right, rule=verdict.rule)
    if verdict.is_unknown:
        sentence = "`{right}`: couldn't be checked in time. Try again in a minute."
        return say(sentence, right=verdict.right)
    if verdict.rule:
        sentence = "`{right}`: denied by the rule `{rule}`."
        return say(sentence, right=verdict.right, rule=verdict.rule)
    # No rule of ponte.toml decided: the verdict's own reason explains the denial.
    return explain_denial(verdict.right, verdict.words())


def explain_denial(right: str, reason: str) -> str:
    return say(_DENIED_SENTENCE, right=right, reason=reason)
