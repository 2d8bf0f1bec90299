"""Decides who may approve a proposal and where, and applies the operator's rules for tables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol, get_args

from core.base.errors import NotAllowed, PlatformBusy, StatusUnknown, ToolError
from core.base.text import fold_case
from core.changes.kinds import Kinds
from core.domain.changes import OWN_ROWS, Change, Consent, DecisionRequest, Draft, Proposal
from core.domain.messages import Address, Person
from core.domain.records import PlaceRights, Verdict, Viewer
from core.people.policy import Policy
from core.people.rules import NO_RIGHTS, OWNER_ID, place_names

_ELSEWHERE = "{id} was requested in another conversation. Decide on it there, or ask an admin."
_ADMIN = "An admin must approve {id}."
_NOT_DECIDER = "Someone else denied {id}. Only they can say why."
_NOT_ASKER = "Someone else requested {id}. Only they can propose it again."
_AGAIN_ELSEWHERE = "{id} was requested in another conversation. Propose it again there."
_NOT_YOURS = "Someone else requested {id}. They or an admin can approve it."
_NOT_NAMED = "Only an admin or a designated approver can decide on {id}."
_ONLY_NAMED = "Only a designated approver can decide on {id}."
_TWO_OTHERS = "{id} needs {count} approvals. The person who requested it can't approve it."
_GUESTS = "Guests can't decide on changes. A member must decide on {id}."
_BOTS = "Bots can't decide on changes. A person must decide on {id}."
_NOT_ANY_MORE = (
    "{id} can no longer be applied: the person who requested it has lost the permission "
    "there (`{right}`)."
)
_ONLY_ASKER = "Only the person who requested {id} can approve it or undo it. Admins can deny it."
_ASKER_LEFT = "{id} can no longer be applied: the person who requested it is no longer a member."
ASKER_UNKNOWN = (
    "I couldn't check in time whether the person who requested {id} is still a member, so "
    "nothing was changed. Try again in a minute."
)
_READ_ONLY = "This table is read-only in Ponte, as set in ponte.toml."

Access = Literal["hidden", "read", "ask", "auto"]
"""The ways in which a table may be used. `hidden`: not even read. `read`: never changed. `ask`: a
person approves each change. `auto`: like `ask`, but a create of one row needs no approval, and
neither do the updates that `TableRule.auto_fields` and `auto_people` name."""
AUTO_PER_HOUR = 20
"""The default number of rows of a table that the policy updates in an hour."""
_SOON = 20.0
"""Seconds after which an unknown status of a person is looked up again."""
ASKER = "asker"
"""The name among approvers that means the person who asked for the change."""


@dataclass(frozen=True, slots=True)
class Approvers:
    """The approvers that the operator named. `names` are names of people, groups and sets, and
    `ASKER`. If there are any, only they and admins decide; with `is_exclusive`, only they. `count`:
    how many different people must approve."""

    names: frozenset[str] = frozenset()
    count: int = 1
    is_exclusive: bool = False


ANYBODY = Approvers()
"""The value for proposals without named approvers."""
_ASKER_ALONE = Approvers(is_exclusive=True)
"""The value for a kind of change that only its asker approves."""


@dataclass(frozen=True, slots=True)
class TableRule:
    """The operator's rule for one table. For `approvers`, `approvals` and `approvers_only` see
    `Approvers`.

    With access `auto`, the people and groups in `auto_people` update the fields in `auto_fields`
    without an approval: at most `auto_per_hour` rows of the table an hour, all people together.
    """

    access: Access = "ask"
    approvers: frozenset[str] = frozenset()
    approvals: int = 1
    approvers_only: bool = False
    auto_fields: frozenset[str] = frozenset()
    auto_people: frozenset[str] = frozenset()
    auto_per_hour: int = AUTO_PER_HOUR


_DEFAULT = TableRule()


def join_rules(one: TableRule, other: TableRule) -> TableRule:
    """Return the rule of `one` for a change that also changes rows of the table of `other`: what
    both allow. Where both name approvers and have none in common, admins approve."""
    common = one.approvers & other.approvers or frozenset({"admins"})
    return replace(
        one,
        access=min(one.access, other.access, key=get_args(Access).index),
        approvers=common if one.approvers and other.approvers else one.approvers | other.approvers,
        approvals=max(one.approvals, other.approvals),
        approvers_only=one.approvers_only or other.approvers_only,
    )


@dataclass(frozen=True)
class TableRules:
    """The operator's rules for tables, by a table's id or title; case does not matter.

    - `named`: tables that a right elsewhere in ponte.toml mentions.
    - `tools`: the approvers of proposals that a tool makes, by the tool's name.
    - `remind_after`: seconds until approvers are reminded once; 0 for never.
    """

    tables: Mapping[str, TableRule] = field(default_factory=dict)
    named: Collection[str] = ()
    tools: Mapping[str, Approvers] = field(default_factory=dict)
    remind_after: float = 0.0

    def find_rule(self, *names: str) -> TableRule:
        """Return the rule of the table with one of these names; the default rule if there is
        none."""
        rules = (self._by_folded_name.get(fold_case(name)) for name in names if self.tables)
        return next((rule for rule in rules if rule), _DEFAULT)

    @cached_property
    def _by_folded_name(self) -> Mapping[str, TableRule]:
        return {fold_case(name): rule for name, rule in self.tables.items()}

    def is_hidden(self, *names: str) -> bool:
        """Return whether nobody may know of this table."""
        return self.find_rule(*names).access == "hidden"

    def is_read_only(self, *names: str) -> bool:
        """Return whether this table is never changed. That includes hidden tables."""
        return self.find_rule(*names).access in ("hidden", "read")

    def is_visible(self, viewer: Viewer, *names: str) -> bool:
        """Return whether the person may know of this table."""
        return not self.is_hidden(*names) and viewer.may("read", *names)

    def is_closed(self, viewer: Viewer, *names: str) -> bool:
        """Return whether the person may not change this table, for a reason that concerns this
        table. It is False if the person may change no table at all and the table itself is not
        read-only."""
        return self.is_read_only(*names) or (
            viewer.may("propose") and not viewer.may("propose", *names)
        )

    def hides_some(self, rights: PlaceRights | None) -> bool:
        """Return whether there may be tables that a person with these rights must not know of."""
        hidden = any(rule.access == "hidden" for rule in self.tables.values())
        return hidden or (rights is not None and rights.depends_on_name("read"))

    @property
    def names_tables(self) -> bool:
        """True if ponte.toml names any table."""
        return bool(self.tables or self.named)

    def find_unknown(self, known: set[str]) -> list[str]:
        """Return the table names in ponte.toml that no known table has. A misspelled name hides
        nothing, so these names are worth a warning."""
        there = {fold_case(name) for name in known}
        every = dict.fromkeys((*self.tables, *self.named))
        return [name for name in every if fold_case(name) not in there]


class TableRulesConfig(Protocol):
    """The configuration of tables. It may change at any time."""

    @property
    def table_rules(self) -> TableRules:
        """The rules about which tables may be read and changed, as they are now."""


class ApprovalConfig(TableRulesConfig, Protocol):
    """The configuration of who approves changes. It may change at any time."""

    def channel(self, address: Address) -> Any:
        """Return the settings of a place. `approvers` are those that it names."""


class NoTableRules:
    """The configuration without rules for tables."""

    table_rules = TableRules()


NO_TABLE_RULES = NoTableRules()


@dataclass(frozen=True, slots=True)
class Approval:
    """Decides who may approve, deny, see or undo a change.

    `kinds` has each kind of change by its name. `canonical_person` maps a person's key to the key
    that all their accounts share, so that nobody counts as two people.
    """

    policy: Policy
    kinds: Kinds
    config: ApprovalConfig
    canonical_person: Callable[[str], str] = str

    def rule_for(self, draft: Draft) -> TableRule:
        """Return the rule of the draft's tables; the default rule for a draft that concerns no
        table."""
        return functools.reduce(join_rules, (rule for _, rule in self._find_table_rules(draft)))

    def _find_table_rules(self, draft: Draft) -> Iterator[tuple[str, TableRule]]:
        """Yield the title and the rule of the draft's table, then of the tables that it links."""
        for names in (self.kinds[draft.kind].rule_names(draft), *draft.view.linked_tables):
            # A rule by the table's id comes before one by its title.
            title = next(iter(names), "")
            yield title, self.config.table_rules.find_rule(*reversed(names))

    def rights_to_propose(self, draft: Draft) -> Sequence[tuple[str, ...]]:
        """Return the rights that the asker needs for this draft."""
        return self.kinds[draft.kind].rights_to_propose(draft)

    def right_to_approve(self, draft: Draft) -> tuple[str, ...]:
        """Return the right to decide on this draft for others."""
        return self.kinds[draft.kind].right_to_approve(draft)

    def sees_all(self, person: Person) -> bool:
        """Return whether the person may see changes from all conversations."""
        operator = self.policy.platforms.get(person.platform, NO_RIGHTS).owner_is_operator
        return operator and self.is_owner(person)

    async def check_draft(self, person: Person, address: Address, draft: Draft) -> None:
        """Check that the person may propose this draft here and that its table can be changed.
        Raise ToolError."""
        hint = "tell the person; do not look for another way"
        if self.rule_for(draft).access in ("hidden", "read"):
            raise ToolError(_READ_ONLY, code="read_only", hint=hint)
        for needed in self.rights_to_propose(draft):
            verdict = await self.policy.may(person, address, *needed)
            if not verdict.allowed:
                raise ToolError(
                    verdict.reason,
                    code="not_allowed",
                    hint=hint,
                    right=verdict.right,
                    rule=verdict.rule,
                )

    async def rule_of_draft(self, person: Person, address: Address, draft: Draft) -> str:
        """Return the rule that allows the person to propose this draft here."""
        return (await self.policy.may(person, address, *self.rights_to_propose(draft)[0])).rule

    async def rule_of(self, person: Person, address: Address, change: Change) -> str:
        """Return the rule that allows the person to decide on the change."""
        named = self.approvers(change.proposal)
        for needed in (
            () if named.is_exclusive else (("administer",), self.right_to_approve(change.draft))
        ):
            if (verdict := await self.policy.may(person, address, *needed)).allowed:
                return verdict.rule
        proposal = change.proposal
        if named.names:
            for title, rule in self._find_table_rules(proposal.draft):
                if rule.approvers:
                    return f"tables.{title}.approvers"
            if self.config.table_rules.tools.get(proposal.tool, ANYBODY).names:
                return f"tools.{proposal.tool}.approvers"
            return "channels.approvers"
        return await self.rule_of_draft(person, address, change.draft)

    def approvers(self, proposal: Proposal) -> Approvers:
        """Return the approvers that the operator named for the proposal's table, else for its tool,
        else for the channel in which it was asked for. The required number of approvals is the
        larger one of table and tool."""
        if self.kinds[proposal.draft.kind].is_personal:
            return _ASKER_ALONE
        table = self.rule_for(proposal.draft)
        tool = self.config.table_rules.tools.get(proposal.tool, ANYBODY)
        channel = frozenset(self.config.channel(proposal.address).approvers)
        names = table.approvers or tool.names or channel
        return Approvers(names, max(table.approvals, tool.count), table.approvers_only)

    async def judge_approver(self, person: Person, address: Address, table: str) -> Verdict:
        """Return whether the person may decide on what others propose for this table: by a right,
        or as one of its named approvers. Raise StatusUnknown."""
        verdict = await self.policy.may(person, address, "approve", table)
        own = self.config.table_rules.find_rule(table)
        names = own.approvers - {ASKER}
        if verdict.allowed and not own.approvers_only:
            return verdict
        if verdict.is_unknown or (verdict.rule and not verdict.allowed):
            return verdict
        is_approver = bool(names) and await self.policy.is_named(person, address, names)
        right = f"approve:{table}"
        if is_approver and not person.is_bot and await self.policy.is_guest(person) is False:
            return Verdict(True, rule=f"tables.{table}.approvers", right=right)
        only = Verdict(False, rule=f"tables.{table}.approvers_only", right=right)
        return only if own.approvers_only else verdict

    def names_approvers(self, proposal: Proposal) -> bool:
        """Return whether approvers other than the asker are named."""
        return bool(self.approvers(proposal).names - {ASKER})

    def named_deciders(self, change: Change) -> frozenset[str]:
        """Return the names of people, groups and sets that the operator named to decide on the
        change: as approvers, or in a rule that allows them to approve."""
        proposal, named = change.proposal, self.approvers(change.proposal)
        names = named.names - {ASKER}
        if named.is_exclusive:
            return names
        right, *things = self.right_to_approve(change.draft)
        for rule in self.policy.config.rule_book.rules:
            if rule.where and rule.where.isdisjoint(place_names(proposal.address)):
                continue
            names |= rule.who if rule.decide(right, things) == "allow" else frozenset()
        return names

    def to_be_asked(self, change: Change) -> frozenset[str]:
        """Return the names (`platform:ID`) of people and groups to ask for a decision; empty if the
        asker can decide alone. These are the deciders that the operator named, or else the admins.
        """
        proposal, book = change.proposal, self.policy.config.rule_book
        names, named = self.named_deciders(change), self.approvers(proposal)
        # Where several people must approve, the asker alone is not enough, so admins are asked,
        # unless only the people that the operator named may decide.
        needs_admin = self.needs_admin(change, named)
        needs_admin |= named.count > 1 and not named.is_exclusive
        if not names and needs_admin:
            names = frozenset({"admins"})
        members: frozenset[str] = frozenset()
        for name in names:
            members |= (
                self.policy.admins if name == "admins" else book.groups.get(name, frozenset({name}))
            )
        return frozenset(name for name in members if ":" in name)

    async def may_be_asked(self, person: Person, change: Change) -> bool:
        """Return whether this person may be asked to decide: not a guest, not a program, and not
        denied by a rule. Raise PlatformBusy if that is not known now."""
        guest = await self.policy.is_guest(person)
        address = change.proposal.address
        verdict = await self.policy.may(person, address, *self.right_to_approve(change.draft))
        if guest is None or verdict.is_unknown:
            raise PlatformBusy(_SOON)
        return not guest and not person.is_bot and (verdict.allowed or not verdict.rule)

    async def may_see(
        self, decision: DecisionRequest, change: Change, reached: bool = False
    ) -> bool:
        """Return whether the person may see the card of the change.

        They may if one of these is true:

        - The card is in their conversation or, if `reached`, in a direct message with them.
        - They asked for the change.
        - They are an admin, or may approve it, or are among its named approvers.

        Everybody else gets the same answer as for an unknown id, because ids are not secret. Raise
        StatusUnknown if the decision depends on facts that the platform does not report now.
        """
        person, address = decision.person, decision.address
        there = change.proposal.address
        if address.conversation == there.conversation or self._has_asked(person, change):
            return True
        # The platform guarantees that a click comes from a place that shows the card. The
        # conversations can differ in one channel, because each person may have one of their own.
        # Where no person began the conversation, it has no thread before its answer is posted.
        same_thread = not change.proposal.origin.is_by_person or address.thread == there.thread
        if decision.is_click and address.is_same_channel(there) and same_thread:
            return True
        if reached:
            return True
        verdicts = [await self.policy.may(person, address, "administer")]
        if not self._is_personal(change):
            right = self.right_to_approve(change.draft)
            verdicts.append(await self.policy.may(person, address, *right))
        if any(verdict.allowed for verdict in verdicts):
            return True
        if await self._is_named(person, address, change, self.approvers(change.proposal).names):
            return True
        if any(verdict.is_unknown for verdict in verdicts):
            raise StatusUnknown
        return False

    async def check_approval(
        self, person: Person, address: Address, change: Change, reached: bool = False
    ) -> None:
        """Check that the person may approve the change, and that its asker is still here and may
        still ask for it. `reached`: the card was sent to the person. Raise NotAllowed or
        StatusUnknown."""
        await self.check(person, address, change, reached)
        proposal = change.proposal
        has_left = await self.policy.has_left(proposal.asker, proposal.address, proposal.created_at)
        if has_left is not False:
            raise NotAllowed(ASKER_UNKNOWN if has_left is None else _ASKER_LEFT, id=change.id)

    async def still_counts(self, consent: Consent, change: Change, reached: bool) -> bool | None:
        """Return whether an approval still counts: its person is still here and may approve the
        change now. None if their platform does not report that now."""
        person, address = consent.person, consent.address
        has_left = await self.policy.has_left(person, address, consent.approved_at)
        if has_left is not False:
            return None if has_left is None else False
        try:
            await self.check(person, address, change, reached)
        except StatusUnknown:
            return None
        except NotAllowed:
            return False
        return True

    async def check(
        self, person: Person, address: Address, change: Change, reached: bool = False
    ) -> None:
        """Check that the person may approve or undo the change, and that its asker may still ask
        for it. `reached`: the card was sent to the person. Raise NotAllowed or StatusUnknown."""
        if self.rule_for(change.draft).access in ("hidden", "read"):
            raise NotAllowed(_READ_ONLY)
        await self._check_person(person, address, change, reached)
        proposal = change.proposal
        for needed in self.rights_to_propose(change.draft):
            verdict = await self.policy.may(proposal.asker, proposal.address, *needed)
            if verdict.is_unknown:
                raise StatusUnknown
            if not verdict.allowed:
                raise NotAllowed(_NOT_ANY_MORE, id=change.id, right=":".join(needed[:2]))

    async def _check_person(
        self, person: Person, address: Address, change: Change, reached: bool
    ) -> None:
        """Check that the person may decide on the change. Raise NotAllowed or StatusUnknown."""
        if self._is_personal(change):
            if person.is_bot:
                raise NotAllowed(_BOTS, id=change.id)
            if not self._is_asker(person, change):
                raise NotAllowed(_ONLY_ASKER, id=change.id)
            return
        await self._check_member(person, change)
        named = self.approvers(change.proposal)
        is_named = await self._is_named(person, address, change, named.names)
        if named.is_exclusive and not is_named:
            raise NotAllowed(_ONLY_NAMED, id=change.id)
        # If several people must approve, the asker counts only if the operator named them.
        if named.count > 1 and self._is_asker(person, change) and not is_named:
            raise NotAllowed(_TWO_OTHERS, id=change.id, count=named.count)
        admin = await self.policy.may(person, address, "administer")
        if admin.allowed:
            return
        if admin.is_unknown:
            raise StatusUnknown
        if not reached and not _same_place(address, change):
            raise NotAllowed(_ELSEWHERE, id=change.id)
        # A person who got a copy of the card has the rights of the place where it was asked for.
        there = change.proposal.address
        here = there if reached and there.platform == person.platform else address
        linked = (("approve", *names) for names in change.draft.view.linked_tables)
        rights = [self.right_to_approve(change.draft), *linked]
        verdicts = [await self.policy.may(person, here, *needed) for needed in rights]
        if all(verdict.allowed for verdict in verdicts):
            return
        for verdict in verdicts:
            if verdict.rule:  # a denial by a rule also applies to the person's own changes
                verdict.raise_if_denied()
        if named.names or named.count > 1:
            if not is_named:
                raise NotAllowed(_NOT_NAMED, id=change.id)
            return
        for needed in self.rights_to_propose(change.draft):
            (await self.policy.may(person, address, *needed)).raise_if_denied()
        if not self._is_asker(person, change):
            raise NotAllowed(_NOT_YOURS, id=change.id)
        if self.needs_admin(change, named):
            raise NotAllowed(
                self.kinds[change.draft.kind].needs_admin(change.draft) or _ADMIN,
                id=change.id,
                rows=OWN_ROWS,
            )

    def check_no_program(self, decision: DecisionRequest) -> None:
        """Raise NotAllowed if a bot or a request with an API token decides."""
        if decision.person.is_bot:
            raise NotAllowed(_BOTS, id=decision.id)

    async def _check_member(self, person: Person, change: Change) -> None:
        """Check that the person is neither a program nor a guest. Raise NotAllowed or
        StatusUnknown."""
        if person.is_bot:
            raise NotAllowed(_BOTS, id=change.id)
        guest = await self.policy.is_guest(person)
        if guest is None:
            raise StatusUnknown
        if guest:
            raise NotAllowed(_GUESTS, id=change.id)

    async def _is_named(
        self, person: Person, address: Address, change: Change, names: frozenset[str]
    ) -> bool:
        """Return whether the person is among `names`, the named approvers of the change."""
        if ASKER in names and self._is_asker(person, change):
            return True
        return bool(names - {ASKER}) and await self.policy.is_named(
            person, address, names - {ASKER}
        )

    def _is_personal(self, change: Change) -> bool:
        """Return whether only the asker approves the change."""
        return self.kinds[change.draft.kind].is_personal

    def _is_asker(self, person: Person, change: Change) -> bool:
        """Return whether the person asked for the change, with any of their accounts."""
        return self.canonical_person(person.key) == self.canonical_person(change.proposal.asker.key)

    def _has_asked(self, person: Person, change: Change) -> bool:
        """Return whether the person asked for the change, or asked for it before somebody else
        changed it."""
        first = self.canonical_person(change.proposal.first_asker)
        return self._is_asker(person, change) or self.canonical_person(person.key) == first

    async def check_denial(
        self, person: Person, address: Address, change: Change, reached: bool = False
    ) -> None:
        """Check that the person may deny the change. Its asker always may, on the platform and in
        the workspace where they asked, also after somebody else changed it. Raise NotAllowed or
        StatusUnknown."""
        if self._is_personal(change) and not self._is_asker(person, change):
            await self._check_member(person, change)
            verdict = await self.policy.may(person, address, "administer")
            if not verdict.allowed and not verdict.is_unknown:
                raise NotAllowed(_ONLY_ASKER, id=change.id)
            verdict.raise_if_denied()
        elif not self._has_asked(person, change) or not _same_place(address, change):
            await self._check_person(person, address, change, reached)

    async def check_change(
        self, person: Person, address: Address, change: Change, reached: bool = False
    ) -> None:
        """Check that the person may change the open proposal: who changes it becomes its asker.
        Raise NotAllowed or StatusUnknown."""
        await self._check_member(person, change)
        if self._is_personal(change) and not self._is_asker(person, change):
            raise NotAllowed(_ONLY_ASKER, id=change.id)
        if not _same_place(address, change):
            admin = await self.policy.may(person, address, "administer")
            if admin.is_unknown:
                raise StatusUnknown
            if not admin.allowed:
                raise NotAllowed(_ELSEWHERE, id=change.id)
        there = change.proposal.address
        for place in (there,) if reached or address == there else (there, address):
            for needed in self.rights_to_propose(change.draft):
                (await self.policy.may(person, place, *needed)).raise_if_denied()

    async def check_repeat(
        self, person: Person, address: Address, change: Change, reached: bool = False
    ) -> None:
        """Check that the person asked for the change, in this place, so that they may propose it
        again. Raise NotAllowed or StatusUnknown."""
        proposal = change.proposal
        if not self._is_asker(person, change):
            raise NotAllowed(_NOT_ASKER, id=change.id)
        # Where no person began the conversation, it has no thread before its answer is posted.
        is_here = not proposal.origin.is_by_person and address.is_same_channel(proposal.address)
        # Each `ponte ask` has a conversation of its own, and only the owner reads it.
        is_here |= self.is_owner(person) and _same_place(address, change)
        if not is_here and address.conversation != proposal.address.conversation:
            raise NotAllowed(_AGAIN_ELSEWHERE, id=change.id)
        await self.check_change(person, address, change, reached)

    async def check_reason(
        self, person: Person, address: Address, change: Change, reached: bool = False
    ) -> None:
        """Check that the person denied the change, so that they may say why. Raise NotAllowed."""
        decider = change.decider.key if change.decider else ""
        if self.canonical_person(person.key) != self.canonical_person(decider):
            raise NotAllowed(_NOT_DECIDER, id=change.id)

    async def find_policy(self, proposal: Proposal) -> str:
        """Return the operator's rule that approves this proposal without a person, unless its limit
        is reached; "" if there is none."""
        draft, kind = proposal.draft, self.kinds[proposal.draft.kind]
        rule = self.rule_for(draft)
        if rule.access != "auto" or not proposal.origin.is_attended or proposal.revision > 1:
            return ""
        if kind.may_be_automatic(draft):
            return f"tables.{draft.title}.access"
        is_typed = proposal.origin.is_by_person and proposal.origin.is_authored
        if proposal.asker.is_bot or not is_typed or not kind.changes_only(draft, rule.auto_fields):
            return ""
        right = self.right_to_approve(draft)
        is_named = await self.updates_alone(proposal.asker, proposal.address, rule, right)
        return f"tables.{draft.title}.auto_people" if is_named else ""

    async def updates_alone(
        self, person: Person, address: Address, rule: TableRule, right: tuple[str, ...]
    ) -> bool:
        """Return whether the rule lets the person update its `auto_fields` without an approval.
        Nobody may whose status is unknown, or whom another rule denies `right`, the right to
        approve."""
        if rule.access != "auto" or not rule.auto_fields or not rule.auto_people:
            return False
        verdict = await self.policy.may(person, address, *right)
        if verdict.is_unknown or (verdict.rule and not verdict.allowed):
            return False
        try:
            is_named = await self.policy.is_named(person, address, rule.auto_people)
        except StatusUnknown:
            return False
        return is_named and await self.policy.is_guest(person) is False

    def needs_admin(self, change: Change, named: Approvers | None = None) -> bool:
        """Return whether an admin must approve the change, because the asker cannot. `named` are
        its approvers, if the caller has them."""
        asker, named = change.proposal.asker, named or self.approvers(change.proposal)
        if named.names or self.is_owner(asker) or self._is_personal(change):
            return False
        if not change.proposal.origin.is_by_person:
            return True
        return bool(self.kinds[change.draft.kind].needs_admin(change.draft))

    def is_owner(self, person: Person) -> bool:
        """Return whether the person owns a platform that has exactly one owner."""
        has_owner = self.policy.platforms.get(person.platform, NO_RIGHTS).has_one_owner
        return has_owner and person.id == OWNER_ID


def _same_place(address: Address, change: Change) -> bool:
    """Return whether the address has the platform and the workspace of the change."""
    there = change.proposal.address
    return (address.platform, address.workspace) == (there.platform, there.workspace)
