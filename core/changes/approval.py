"""Decides who may approve a proposal and where, and applies the operator's rules for tables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol, get_args

from core.base.errors import ToolError
from core.base.text import fold_case
from core.changes.kinds import Kinds
from core.changes.standing import REFUSAL_SENTENCES, Standing, lacks
from core.domain.changes import Change, Draft, Proposal
from core.domain.messages import Address, ChangeAction, Person
from core.domain.rights import PlaceRights, Verdict, Viewer
from core.people.policy import MAX_CONFIRMED_AGE_SECONDS, Policy, find_max_age
from core.people.rules import NO_RIGHTS, OWNER_ID, place_names

_ADMIN = "An admin must approve {id}."

Access = Literal["hidden", "read", "ask", "auto"]
"""`hidden`: not even read. `read`: never changed. `ask`: a person approves each change. `auto`:
like `ask`, but a create of one row needs no approval, and neither do the updates that
`TableRule.auto_fields` and `auto_people` name."""
AUTO_PER_HOUR = 20
ASKER = "asker"


@dataclass(frozen=True, slots=True)
class Approvers:
    """`names` are names of people, groups and sets, and `ASKER`. If there are any, only they and
    admins decide; with `is_exclusive`, only they. `count`: how many different people must
    approve."""

    names: frozenset[str] = frozenset()
    count: int = 1
    is_exclusive: bool = False


ANYBODY = Approvers()
_ASKER_ALONE = Approvers(is_exclusive=True)


@dataclass(frozen=True, slots=True)
class TableRule:
    """For `approvers`, `approvals` and `approvers_only` see `Approvers`. `about` and `fields`
    (by title) are what the model is told of the table. `card_fields` identify a row on cards.

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
    about: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    card_fields: tuple[str, ...] = ()


_DEFAULT = TableRule()
Names = tuple[str, ...]
"""The names by which rules know a table: its id and its title."""


def join_rules(first: TableRule, other: TableRule) -> TableRule:
    """Return the rule for a change of the table of `one` that also changes rows of a linked table,
    that of `other`: it allows only what both allow. If both name approvers and have none in common,
    admins approve."""
    # `auto_fields` and `auto_people` stay those of `first`: updates of such fields change no links.
    # `Access` lists its values from the strictest to the most permissive one.
    return replace(
        first,
        access=min(first.access, other.access, key=get_args(Access).index),
        approvers=_find_common(first.approvers, other.approvers),
        approvals=max(first.approvals, other.approvals),
        approvers_only=first.approvers_only or other.approvers_only,
    )


def join_approvers(first: Approvers, other: Approvers) -> Approvers:
    """Return the approvers of a change for which the rules of two tools hold, as `join_rules`."""
    names = _find_common(first.names, other.names)
    return Approvers(names, max(first.count, other.count), first.is_exclusive or other.is_exclusive)


def _find_common(first: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    if not first or not other:
        return first | other
    return first & other or frozenset({"admins"})


@dataclass(frozen=True)
class TableRules:
    """The operator's rules for tables, by a table's id or title; case does not matter.

    - `named`: tables that a right elsewhere in ponte.toml mentions.
    - `tools`: the approvers of proposals that a tool makes, by the tool's name.
    - `remind_after`: seconds until approvers are reminded once; 0 for never.
    - `escalate_after`: seconds until others are asked, too; 0 for never.
    - `titles`: of all tables that there are, by id; None: not known.
    """

    tables: Mapping[str, TableRule] = field(default_factory=dict)
    named: Collection[str] = ()
    tools: Mapping[str, Approvers] = field(default_factory=dict)
    remind_after: float = 0.0
    escalate_after: float = 0.0
    titles: Mapping[str, str] | None = None

    def find_rule(self, *names: str) -> TableRule:
        """The first name with a rule counts; without one, return the default rule."""
        rules = (self._by_folded_name.get(fold_case(name)) for name in names if self.tables)
        return next((rule for rule in rules if rule), _DEFAULT)

    @cached_property
    def _by_folded_name(self) -> Mapping[str, TableRule]:
        return {fold_case(name): rule for name, rule in self.tables.items()}

    def is_hidden(self, *names: str) -> bool:
        return self.find_rule(*names).access == "hidden"

    def is_read_only(self, *names: str) -> bool:
        """True for hidden tables, too."""
        return self.find_rule(*names).access in ("hidden", "read")

    def is_visible(self, viewer: Viewer, *names: str) -> bool:
        return not self.is_hidden(*names) and viewer.may("read", *names)

    def is_closed(self, viewer: Viewer, *names: str) -> bool:
        """False if they may change no table at all: that needs no mention at each table."""
        return self.is_read_only(*names) or (
            viewer.may("propose") and not viewer.may("propose", *names)
        )

    def hides_some(self, rights: PlaceRights | None) -> bool:
        """`rights` None: only hidden tables count."""
        hidden = any(rule.access == "hidden" for rule in self.tables.values())
        return hidden or (rights is not None and rights.depends_on_name("read"))

    @property
    def names_tables(self) -> bool:
        return bool(self.tables or self.named)

    def find_title(self, name: str) -> str:
        """Return the title of the table that has this title or id; "" if none has. The name stands
        for it as long as the tables are not known."""
        return name if self.titles is None else self._by_folded_text.get(fold_case(name), "")

    @cached_property
    def _by_folded_text(self) -> Mapping[str, str]:
        pairs = (self.titles or {}).items()
        return {fold_case(text): title for id, title in pairs for text in (id, title)}

    def restrict_also(self, near: Mapping[str, Names]) -> TableRules:
        """Return the rules with the restrictions of each name in `near` also for the table that has
        these names. What a rule permits, such as `auto`, holds only for its own name."""
        rules = self
        for name, names in near.items():
            if rule := self.tables.get(name):
                access: Access = rule.access if rule.access in ("hidden", "read") else "ask"
                limits = TableRule(access, rule.approvers, rule.approvals, rule.approvers_only)
                own = rules.find_rule(*names)  # also as another misspelt name restricts it
                joined = limits if own is _DEFAULT else join_rules(own, limits)
                rules = replace(rules, tables={**rules.tables, **dict.fromkeys(names, joined)})
        return rules

    def find_unknown(self, known: set[str]) -> list[str]:
        """Return the names in rules that no table has."""
        there = {fold_case(name) for name in known}
        every = dict.fromkeys((*self.tables, *self.named))
        return [name for name in every if fold_case(name) not in there]


def find_near_table(name: str, tables: Mapping[str, str]) -> Names | None:
    """Return the id and the title of the only table whose title differs from `name` by one letter;
    None if there is none. A digit is no letter: `Sales 2025` is not `Sales 2026`. `tables` are
    titles by id."""
    alike = [pair for pair in tables.items() if _differs_by_letter(name, pair[1])]
    return alike[0] if len(alike) == 1 else None


def _differs_by_letter(first: str, second: str) -> bool:
    first, second = fold_case(first), fold_case(second)
    pairs = enumerate(zip(first, second, strict=False))
    at = next((at for at, (a, b) in pairs if a != b), min(len(first), len(second)))
    return any(
        first[at + a :] == second[at + b :] and (first[at : at + a] + second[at : at + b]).isalpha()
        for a, b in ((1, 1), (1, 0), (0, 1))
    )


class TableRulesConfig(Protocol):
    """The rules for tables. They are read each time that they are needed, because the operator can
    reload them while Ponte runs."""

    @property
    def table_rules(self) -> TableRules: ...

    def note_tables(self, tables: Mapping[str, str]) -> None:
        """Take notice of all tables that there are: titles by id. It is called whenever they were
        looked up, before a rule for one of them is read."""


class ApprovalConfig(TableRulesConfig, Protocol):
    """The rules on who approves changes. They are read each time that they are needed."""

    def channel(self, address: Address) -> Any:
        """The `approvers` of the settings are those for changes that are asked for there."""

    async def learn_tables(self) -> None:
        """Look up the tables if rules name some and no look-up has worked yet: a decision can come
        before the first question about a table."""


class NoTableRules(TableRulesConfig):
    """The operator has no rules for tables: people with the right to do so may read and change
    all."""

    table_rules = TableRules()

    def note_tables(self, tables: Mapping[str, str]) -> None:
        """No rule depends on them."""


NO_TABLE_RULES = NoTableRules()


@dataclass(frozen=True, slots=True)
class Approval:
    """Decides who may approve, deny, see or undo a change. `kinds` has each kind of change by its
    name. `canonical_person` maps a person's key to the key that all their accounts share, so that
    nobody counts as two people."""

    policy: Policy
    kinds: Kinds
    config: ApprovalConfig
    canonical_person: Callable[[str], str] = str

    def rule_for(self, draft: Draft) -> TableRule:
        return functools.reduce(join_rules, (rule for _, rule in self._find_table_rules(draft)))

    def _find_table_rules(self, draft: Draft) -> Iterator[tuple[str, TableRule]]:
        for names in (self.kinds[draft.kind].rule_names(draft), *draft.view.linked_tables):
            # A rule by the table's id comes before one by its title.
            title = next(iter(names), "")
            yield title, self.config.table_rules.find_rule(*reversed(names))

    def find_tool_rule(self, tool: str) -> Approvers | None:
        return self.config.table_rules.tools.get(tool)

    def _find_tool_rules(self, proposal: Proposal) -> Iterator[tuple[str, Approvers]]:
        draft, rules = proposal.draft, self.config.table_rules.tools
        names = proposal.tool, *self.kinds[draft.kind].tool_names(draft)
        return ((name, rules[name]) for name in dict.fromkeys(names) if name in rules)

    def sees_all(self, person: Person) -> bool:
        """True for the owner of a page or a terminal who is also the operator."""
        operator = self.policy.platforms.get(person.platform, NO_RIGHTS).owner_is_operator
        return operator and self.is_owner(person)

    def can_open(
        self, change: Change, person: Person, address: Address, *, is_beside_file: bool
    ) -> bool:
        """Return whether the person can open the plan of a change at this address: on a platform
        whose cards link to it, or in their own conversation. There, `is_beside_file` says that they
        see the answer with its file, which a terminal keeps."""
        proposal = change.proposal
        rights = self.policy.platforms.get(address.platform, NO_RIGHTS)
        is_own = proposal.asker.key == person.key and not address.is_shared
        is_own = is_own and address.is_same_channel(proposal.address)
        return rights.links_plans or (is_own and (is_beside_file or rights.has_room))

    def list_needed_rights(self, draft: Draft, tool: str = "") -> Sequence[tuple[str, ...]]:
        """Return the rights that whoever asks for the draft needs, by whatever way they ask. `tool`
        is the tool that they asked by, if any."""
        kind = self.kinds[draft.kind]
        tools = dict.fromkeys(filter(None, (tool, *kind.tool_names(draft))))
        return [*kind.rights_to_propose(draft), *(("tool", name) for name in tools)]

    async def find_card_fields(
        self, change: Change, reader: Person, address: Address
    ) -> Collection[str]:
        """Return the fields that may identify the rows of a change on its card for the reader.

        In a shared place, all its members must have the right to read the table, and the one that a
        field links to. Elsewhere the reader must have it, or be a named approver of the table. Of a
        source that is not open to all, only those admitted see any, and no shared place does.
        """
        fields, rules = change.draft.view.card_fields, self.config.table_rules
        table = self.kinds[change.draft.kind].rule_names(change.draft)
        needs = {table, *(tuple(linked) for linked in fields.values() if linked)} if fields else ()
        readable = {names for names in needs if not rules.is_hidden(*names)}
        if address.is_shared:
            may_all = not self._list_sources(change.draft)
            readable = {n for n in readable if may_all and self.policy.may_all(address, "read", *n)}
        elif readable:
            readable = await self._find_readable(change, reader, address, table, readable)
        return [
            title for title, linked in fields.items() if {table, tuple(linked) or table} <= readable
        ]

    def _list_sources(self, draft: Draft) -> Sequence[tuple[str, ...]]:
        needs = self.kinds[draft.kind].rights_to_propose(draft)
        return [need for need in needs if need[0] == "source"]

    async def _find_readable(
        self,
        change: Change,
        reader: Person,
        address: Address,
        table: tuple[str, ...],
        needs: Collection[tuple[str, ...]],
    ) -> set[tuple[str, ...]]:
        """Return those tables of `needs` whose values the reader may see on the change's card."""
        names, readable = self.approvers(change.proposal).names - {ASKER}, set[tuple[str, ...]]()
        sources = self._list_sources(change.draft)
        for waits in (False, True):  # their platform is asked only if that can show more
            rights = await self.policy.look_up_rights(reader, address, names, waits=waits)
            is_member = not reader.is_bot and rights.known.guest is False
            is_approver = is_member and rights.fits(names, "people") is True
            is_admitted = all(rights.may_know(*source) for source in sources)
            readable = {n for n in needs if is_admitted and rights.may_know("read", *n)}
            readable |= {table} & {*needs} if is_approver else set()
            if len(readable) == len(needs):
                break
        return readable

    async def allow_draft(self, person: Person, address: Address, draft: Draft) -> str:
        """Return the rule that allows the person to propose this draft here, for the audit log.
        Raise ToolError if the person lacks a right to it, or if nobody may change its table.

        The model reads the error. The hint keeps it from trying other tools to the same end.
        """
        hint = "tell the person; do not look for another way"
        if self.rule_for(draft).access in ("hidden", "read"):
            raise ToolError(REFUSAL_SENTENCES["read_only"], code="read_only", hint=hint)
        verdicts = [
            await self.policy.may(person, address, *needed)
            for needed in self.list_needed_rights(draft)
        ]
        for verdict in verdicts:
            if not verdict.allowed:
                raise ToolError(
                    verdict.reason,
                    code="not_allowed",
                    hint=hint,
                    right=verdict.right,
                    rule=verdict.rule,
                )
        return verdicts[0].rule  # the first right is the general one, as to propose

    def approvers(self, proposal: Proposal) -> Approvers:
        """Return the approvers that the operator named for the proposal's table, else for its tool,
        else for the channel in which it was asked for. The required number of approvals is the
        larger one of table and tool."""
        if self.kinds[proposal.draft.kind].is_personal:  # such as a person's own schedule
            return _ASKER_ALONE
        table = self.rule_for(proposal.draft)
        tools = [approvers for _, approvers in self._find_tool_rules(proposal)]
        tool = functools.reduce(join_approvers, tools, ANYBODY)
        channel = frozenset(self.config.channel(proposal.address).approvers)
        names = table.approvers or tool.names or channel
        return Approvers(names, max(table.approvals, tool.count), table.approvers_only)

    async def judge_approver(self, person: Person, address: Address, table: str) -> Verdict:
        """Return whether the person may decide on what others propose for this table: by a right,
        or as one of its named approvers. `own` below is the operator's rule for the table; with
        `approvers_only`, only its named approvers may.

        Bots and guests never decide.
        """
        table_rule = self.config.table_rules.find_rule(table)
        # ASKER stands for whoever proposed a change, and this is about what others propose.
        # `max_age`: how old the platform's facts about the person may be.
        names, max_age = table_rule.approvers - {ASKER}, MAX_CONFIRMED_AGE_SECONDS
        rights = await self.policy.look_up_rights(person, address, names, max_age=max_age)
        # "people": only the names of people, groups and roles make somebody an approver.
        verdict, is_named = rights.may("approve", table), rights.fits(names, "people")
        # A rule surely denies it, or gives it: then it does not matter whether they are named.
        # `may_be_denied`: no rule gives it, and one may deny it to a group of the person.
        is_denied = verdict.is_denied and not verdict.may_be_denied
        if is_denied or (verdict.allowed and not table_rule.approvers_only):
            return verdict
        # `None` stands for a fact that the platform has not told yet: the verdict is then unknown.
        if is_named is not False and not person.is_bot and not rights.known.guest:
            if verdict.may_be_denied or is_named is None or rights.known.guest is None:
                return replace(verdict, is_unknown=True)
            return Verdict(True, rule=f"tables.{table}.approvers", right=verdict.right)
        only = Verdict(False, rule=f"tables.{table}.approvers_only", right=verdict.right)
        return only if table_rule.approvers_only else verdict

    async def judge_decider(self, change: Change, person: Person) -> Verdict | None:
        """Return whether the person who decided on the change may do so by the rules of now: as a
        named approver, or by a right to approve. None: only because they asked for it."""
        proposal, kind = change.proposal, self.kinds[change.draft.kind]
        approvers = self.approvers(proposal)
        names = approvers.names - {ASKER}
        # "asker" in `approvers` stands for whoever asked for the change.
        asker_key = self.canonical_person(proposal.asker.key)
        is_asker = self.canonical_person(person.key) == asker_key
        rights = await self.policy.look_up_rights(
            person, proposal.address, names, max_age=find_max_age(person)
        )
        right = rights.may(*kind.right_to_approve(change.draft))
        is_named = (is_asker and ASKER in approvers.names) or rights.fits(names, "people")
        # Without approvers the asker decides, and everybody may deny what they asked for.
        if is_asker and (kind.is_personal or not approvers.names or change.state == "denied"):
            return None
        if right.is_denied or (right.allowed and not approvers.is_exclusive):
            return right
        if is_named:
            rule = self._find_named_rule(proposal, approvers)
            return Verdict(True, rule=rule, right=right.right)
        return right

    def find_approvers(self, proposal: Proposal) -> tuple[Proposal, bool]:
        """If the asker can decide alone, nobody else gets a notice that a decision is wanted."""
        proposal = replace(proposal, has_named_approvers=self.names_approvers(proposal))
        return proposal, not self.to_be_asked(Change(proposal))

    def names_approvers(self, proposal: Proposal) -> bool:
        return bool(self.approvers(proposal).names - {ASKER})

    def named_deciders(self, change: Change) -> frozenset[str]:
        """Return the names of people, groups and sets that the operator named to decide on the
        change: as approvers, or in a rule that allows them to approve."""
        proposal, named = change.proposal, self.approvers(change.proposal)
        # A set is a fixed name such as "members" or "admins".
        names = named.names - {ASKER}
        if named.is_exclusive:  # a rule lets nobody else decide then, not even admins
            return names
        # `things`: what the right is about, for a table its title and id.
        right, *things = self.kinds[change.draft.kind].right_to_approve(change.draft)
        for rule in self.policy.read_rules().rules:
            if rule.where and rule.where.isdisjoint(place_names(proposal.address)):
                continue  # the rule is for other places
            names |= rule.who if rule.decide(right, things) == "allow" else frozenset()
        return names

    def to_be_asked(self, change: Change) -> frozenset[str]:
        """Return the names (`platform:ID`) of people and groups to ask for a decision; empty if the
        asker can decide alone. These are the deciders that the operator named, or else the admins.
        """
        proposal, book = change.proposal, self.policy.read_rules()  # `book` has groups of people
        # `names`: named as approvers, or allowed to approve by a rule. `named`: only the approvers,
        # with the number of them that must approve.
        names, named = self.named_deciders(change), self.approvers(proposal)
        # Where several people must approve, the asker alone is not enough, so admins are asked,
        # unless only the people that the operator named may decide (`is_exclusive`).
        needs_admin = self.needs_admin(change)
        needs_admin |= named.count > 1 and not named.is_exclusive
        if not names and needs_admin:
            names = frozenset({"admins"})
        members: frozenset[str] = frozenset()
        for name in names:
            members |= (
                self.policy.admins if name == "admins" else book.groups.get(name, frozenset({name}))
            )
        # A name without a platform is a group without members, which nobody can be asked for.
        return frozenset(name for name in members if ":" in name)

    async def find_standing(
        self,
        change: Change,
        person: Person,
        here: Address,
        *,
        is_click: bool = False,
        actions: Collection[ChangeAction] = (),
        since: float = 0.0,
        waits: bool = True,
    ) -> Standing:
        """Return all facts about the person and the change on which it depends what the person may
        do with it: their rights, whether they asked for it, whether they can see its card. The
        fields of `Standing` say what each fact is; the functions in RULES judge by them.

        - `here`: the place in which they decide or read.
        - `is_click`: they clicked a button or open a form. The platform guarantees that a click
          comes from a place that shows the card.
        - `actions`: what is to be judged. Only if the rules of these actions need it, find out
          whether the change's asker may still ask for it, which can take a request.
        - `since`: find out whether the person has left since this moment (seconds since 1970).
        - `waits`: False to go by what is known of the person, without asking their platform.
        """
        policy, proposal, draft = self.policy, change.proposal, change.draft
        there = proposal.address
        approvers, kind = self.approvers(proposal), self.kinds[draft.kind]
        # `there` is the place where the change was asked for. "asker" is no name of a person or
        # group; `is_asker` below stands for it.
        names, needed = approvers.names - {ASKER}, self.list_needed_rights(draft, proposal.tool)
        linked = (("approve", *titles) for titles in draft.view.linked_tables)
        admin_sentence = ""
        if self.needs_admin(change):
            admin_sentence = kind.needs_admin(draft) or _ADMIN
        key = self.canonical_person(person.key)
        is_asker = key == self.canonical_person(proposal.asker.key)
        has_copy = person.key in change.copy_recipients
        max_age = find_max_age(person) if since else MAX_CONFIRMED_AGE_SECONDS
        at_here = await policy.look_up_rights(person, here, names, max_age=max_age, waits=waits)
        # `known` is what the platform has told of the person; it is not asked a second time.
        at_there = policy.rights_by(person, there, at_here.known)
        # Whoever reads the card in a copy or on the page approves with their rights in the place
        # where the change was asked for. On the page, people count as in the workspace of the
        # account with which they signed in (`find_workspace`).
        reads_card = has_copy or here.platform != person.platform
        at_card = at_there if reads_card and there.platform == person.platform else at_here
        is_same_workspace = (here.platform, here.workspace) == (
            there.platform,
            there.workspace,
        ) or find_workspace(person, here) == find_workspace(person, there)
        in_conversation = here.conversation == there.conversation
        is_same_channel = here.is_same_channel(there)
        # For `sees_card` after a click. Where no person began the conversation, as for a schedule,
        # the change has no thread to compare: there was none before its answer was posted.
        began_alone = not proposal.origin.is_by_person
        is_same_thread = began_alone or here.thread == there.thread
        standing = Standing(
            id=change.id,
            is_read_only=self.rule_for(draft).access in ("hidden", "read"),
            is_personal=kind.is_personal,
            needed_approvals=approvers.count,
            named_rule=self._find_named_rule(proposal, approvers),
            is_exclusive=approvers.is_exclusive,
            admin_sentence=admin_sentence,
            is_bot=person.is_bot,
            is_guest=at_here.known.guest,
            is_asker=is_asker,
            has_asked=is_asker or key == self.canonical_person(proposal.first_asker),
            is_named=(is_asker and ASKER in approvers.names) or at_here.fits(names, "people"),
            is_decider=key == self.canonical_person(change.decider.key if change.decider else ""),
            has_approved=person.key in change.approver_keys,
            has_left=since > 0 and await policy.has_left(person, here, since, is_deed=True),
            is_same_workspace=is_same_workspace,
            # From where its asker may propose it again: from its conversation, or from the channel
            # if a schedule or webhook began it. Each `ponte ask` has a conversation of its own, and
            # only the owner reads it, so the owner may from anywhere in the workspace.
            repeats_here=in_conversation
            or (is_same_channel and began_alone)
            or (is_same_workspace and self.is_owner(person)),
            # The conversations can differ in one channel, because each person may have their own.
            sees_card=in_conversation or (is_click and is_same_channel and is_same_thread),
            has_copy=has_copy,
            admin=at_here.may("administer"),
            approve=tuple(at_card.may(*right) for right in (kind.right_to_approve(draft), *linked)),
            propose_here=tuple(at_here.may(*right) for right in needed),
            propose_there=tuple(at_there.may(*right) for right in needed),
        )
        # These two are asked last and only if needed, because the asker's platform may have to
        # tell.
        if lacks("asker_propose", actions, standing):
            standing = replace(standing, asker_propose=await self.find_asker_rights(change))
        if lacks("asker_has_left", actions, standing):
            asked_at = proposal.created_at
            has_left = await policy.has_left(proposal.asker, there, asked_at, is_deed=True)
            standing = replace(standing, asker_has_left=has_left)
        return standing

    async def find_asker_rights(self, change: Change) -> tuple[Verdict, ...]:
        """An approval counts only while the asker has all of these rights."""
        asker, there = change.proposal.asker, change.proposal.address
        rights = await self.policy.look_up_rights(asker, there, max_age=find_max_age(asker))
        needed = self.list_needed_rights(change.draft, change.proposal.tool)
        # A refusal names the right as ponte.toml does, as in `propose:Invoices`.
        return tuple(replace(rights.may(*right), right=":".join(right[:2])) for right in needed)

    def _find_named_rule(self, proposal: Proposal, approvers: Approvers) -> str:
        """Return the place in ponte.toml that names the approvers; "" if none does. The audit log
        shows it."""
        if not approvers.names:
            return ""
        for title, rule in self._find_table_rules(proposal.draft):
            if rule.approvers:
                return f"tables.{title}.approvers"
        for name, tool in self._find_tool_rules(proposal):
            if tool.names:
                return f"tools.{name}.approvers"
        return "channels.approvers"

    async def find_policy(self, proposal: Proposal) -> str:
        """Return the place in ponte.toml with the rule that approves this proposal without a
        person; "" if there is none. The rule's limit of rows is checked later, when the proposal is
        stored."""
        draft, kind = proposal.draft, self.kinds[proposal.draft.kind]
        rule = self.rule_for(draft)
        # If nobody waits for the answer (a schedule, a webhook), a person approves each change. A
        # proposal whose values a person has changed is also approved by a person.
        if rule.access != "auto" or not proposal.origin.is_attended or proposal.revision > 1:
            return ""
        if kind.may_be_automatic(draft):  # a new row
            return f"tables.{draft.title}.access"
        # Updates need a message that an account sent (`is_by_person`) and that its author typed
        # (`is_authored`): the text of a pipe, a program or a webhook may come from anybody.
        is_typed = proposal.origin.is_by_person and proposal.origin.is_authored
        if proposal.asker.is_bot or not is_typed or not kind.changes_only(draft, rule.auto_fields):
            return ""
        right = kind.right_to_approve(draft)
        is_named = await self.updates_alone(proposal.asker, proposal.address, rule, right)
        return f"tables.{draft.title}.auto_people" if is_named else ""

    async def updates_alone(
        self, person: Person, address: Address, rule: TableRule, right: tuple[str, ...]
    ) -> bool:
        """Return whether the person may update some fields of a table (`rule.auto_fields`) without
        an approval: the table's rule names them in `auto_people`, they are known to be no guest,
        and no other rule denies them `right`, the right to approve."""
        if rule.access != "auto" or not rule.auto_fields or not rule.auto_people:
            return False
        names = rule.auto_people
        max_age = MAX_CONFIRMED_AGE_SECONDS  # of the platform's facts about the person
        rights = await self.policy.look_up_rights(person, address, names, max_age=max_age)
        verdict = rights.may(*right)
        is_named = rights.fits(names, "people") is True
        return is_named and not verdict.is_denied and rights.known.guest is False

    def needs_admin(self, change: Change) -> bool:
        """Return whether an admin must approve the change, because its asker cannot. False if the
        operator named approvers, and for changes that only concern their asker."""
        proposal, kind = change.proposal, self.kinds[change.draft.kind]
        has_others = self.approvers(proposal).names or self.is_owner(proposal.asker)
        if has_others or kind.is_personal:
            return False
        # For example, it has too many rows for its asker to approve.
        return not proposal.origin.is_by_person or bool(kind.needs_admin(change.draft))

    def is_owner(self, person: Person) -> bool:
        """Platforms such as the terminal and the page have exactly one owner, who runs this
        Ponte."""
        has_owner = self.policy.platforms.get(person.platform, NO_RIGHTS).has_one_owner
        return has_owner and person.id == OWNER_ID


def find_workspace(person: Person, address: Address) -> tuple[str, str]:
    """For the person's own conversation on the page, return those of the account with which they
    signed in there: somebody from Slack who reads the page counts as in their Slack workspace."""
    if address.person == person.key:
        return person.platform, person.workspace
    return address.platform, address.workspace
