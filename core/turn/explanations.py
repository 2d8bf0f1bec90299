"""Addresses, causes of failures and names of packages are for administrators only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.base.errors import NotFound, ToolError
from core.base.i18n import say
from core.base.markdown import escape_markdown
from core.base.text import fold_case, to_one_line
from core.changes.approval import ASKER, Approval, TableRules
from core.changes.cards import describe_revision
from core.changes.service import ChangeService
from core.changes.standing import may_see, require
from core.domain.messages import Message
from core.domain.records import Health, Turn
from core.domain.rights import RIGHT_OF_EFFECT, Action, PlaceRights, Verdict
from core.people.rules import check_right_name, explain_denial, explain_verdict, is_right
from core.turn.preparation import Assistant
from core.turn.suggestions import StartingPoints

_NOTHING = (
    "Not found. Specify the ID of a change, the name of a tool, or a permission such as `read`, "
    "`propose:TABLE` or `command:SLUG`."
)
_ASKED = "Rule for the request:"
_DECIDED = "Rule for the decision:"
_BY_POLICY = "The request was approved automatically, as set in ponte.toml."
_APPROVES_NAMED = "An admin or a designated approver can decide."
_APPROVES_ONLY = "Only a designated approver can decide."
_APPROVES_ADMIN = "An admin decides, because the change deletes rows or changes a lot of them."
_CLOSED = '`[tables]` in ponte.toml sets `access = "{access}"` for this table.'
_CLOSED_BY = {"read": ("hidden",), "propose": ("hidden", "read")}
_DIFFERENT = "{count} different people must approve this request."
_APPROVES_ASKER = "The person who requested it or an admin can decide."


async def explain_right(
    changes: ChangeService, assistant: Assistant, turn: Turn, subject: str
) -> str:
    """`subject` is the id of a change, the name of a tool, or a right, as in "read:Customers".

    Raise NotFound, StatusUnknown, and BadInput for a right that has no names but is given one.
    """
    person, address = turn.message.author, turn.message.address
    approval, policy = changes.approval, changes.approval.policy
    # Rules may name groups. Until the platform tells the person's groups, a verdict may name a
    # later rule than the one that decides. `confirmed`: as told in the last few minutes. `seconds`:
    # the longest wait for it.
    await policy.prepare(person, address, confirmed=True, seconds=1)
    if is_right(subject):
        right, _, name = subject.partition(":")
        if name and right == "approve":
            return explain_verdict(await approval.judge_approver(person, address, name))
        # ponte.toml can limit a quick command to places and people.
        if right == "command" and (refusal := await assistant.quick.refuse(person, address, name)):
            return explain_denial(subject, refusal.words())
        verdict = await policy.may(person, address, right, *((name,) if name else ()))
        return _explain_right_to_table(verdict, approval.config.table_rules)
    # A name after a right that takes none, as in `code:Orders`, gets an error of its own.
    check_right_name(subject)
    try:
        tool = await assistant.toolbox.find(subject)
    # No tool has that name, so it is the id of a change.
    except ToolError:
        return await _explain_change(changes, turn, subject)
    # A tool needs two rights: the right to what it does, such as `read`, and the one to itself.
    verdicts = [
        await policy.may(person, address, RIGHT_OF_EFFECT[tool.effect]),
        await policy.may(person, address, "tool", subject),
    ]
    return "\n".join(f"- {explain_verdict(verdict)}" for verdict in verdicts)


async def _explain_change(changes: ChangeService, turn: Turn, id: str) -> str:
    """Return an answer to `why ID`: the rules for the asker's request, who may decide on it, and
    the rule for the decision, each by the rules of now. Raise NotFound if no change has this id, or
    the turn's author may not see it."""
    message, approval = turn.message, changes.approval
    try:
        change = await changes.ledger.get(id)
        # What the author is to the change here (asker, admin, approver), and what the change needs.
        standing = await approval.find_standing(change, message.author, message.address)
        require(may_see(standing))
    except NotFound:
        # One sentence for both, so that nobody learns which ids exist.
        raise NotFound(_NOTHING) from None
    proposal = change.proposal
    lines = [describe_revision(change)] if proposal.revision > 1 else []
    lines.append(say(_ASKED))
    asker_rights = await approval.find_asker_rights(change)
    for verdict in asker_rights:
        if not verdict.right.startswith("source:"):
            lines.append(f"- {_explain_right_to_table(verdict, approval.config.table_rules)}")
        # The right to the sample tables is none of ponte.toml, so it is told only if it is missing.
        elif not verdict.allowed:
            words = explain_verdict(verdict) if verdict.is_unknown else verdict.words()
            lines.append(f"- {words}")
    # Approvers whom the operator named replace the asker, and if they are exclusive, the admins
    # too. By default the asker or an admin decides, unless an admin must (`admin_sentence`).
    sentence = _APPROVES_ADMIN if standing.admin_sentence else _APPROVES_ASKER
    sentence = _APPROVES_NAMED if approval.names_approvers(proposal) else sentence
    lines.append(say(_APPROVES_ONLY if standing.is_exclusive else sentence))
    if standing.needed_approvals > 1:
        lines.append(say(_DIFFERENT, count=standing.needed_approvals))
    # A rule of ponte.toml that approves by itself is stored as a decider of the platform "policy".
    # `rule` is "" if the operator has removed or changed that rule since.
    if change.decider and change.decider.platform == "policy":
        if rule := await approval.find_policy(proposal):
            lines += [say(_DECIDED), f"- {rule}"]
        lines.append(say(_BY_POLICY))
    # None: whoever asked for it decided on it, which the sentence above allows.
    elif change.decider and (decision := await approval.judge_decider(change, change.decider)):
        lines += [say(_DECIDED), f"- {explain_verdict(decision)}"]
    return "\n".join(lines)


def _explain_right_to_table(verdict: Verdict, rules: TableRules) -> str:
    """Nobody has a right to a table whose `access` in `[tables]` excludes it."""
    kind, _, name = verdict.right.partition(":")
    access = rules.find_rule(name).access
    if name and verdict.allowed and access in _CLOSED_BY.get(kind, ()):
        return explain_denial(verdict.right, say(_CLOSED, access=access))
    return explain_verdict(verdict)


_MAY: Mapping[Action, str] = {
    "chat": "chat with me",
    "read": "read tables",
    "propose": "change data, after someone approves it",
    "spend": "run quick commands",
    "code": "run code",
    "administer": "decide on changes as an admin",
}
_MAY_BY_TABLE: Mapping[Action, str] = {
    "read": "read these tables: {names}",
    "propose": "change these tables, after someone approves them: {names}",
}
_DECIDES = "decide on changes in these tables: {names}"
_MAX_LISTED_TABLES = 20


async def list_decided_tables(
    approval: Approval, message: Message
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the tables with named approvers on whose changes the author may decide, and those on
    which they may not. Tables that nobody may change or that do not exist are left out."""
    rules = approval.config.table_rules
    decidable, closed = list[str](), list[str]()
    for name, rule in rules.tables.items():
        title = rules.find_title(name)
        if title and rule.approvers - {ASKER} and not rules.is_read_only(name):
            verdict = await approval.judge_approver(message.author, message.address, name)
            (decidable if verdict.allowed else closed).append(title)
    return list(dict.fromkeys(decidable)), [*dict.fromkeys(closed)]


def describe_rights(
    rights: PlaceRights, start: StartingPoints, decidable: Sequence[str], closed: Sequence[str]
) -> list[str]:
    """Return a line for each right of a person at a place. It names the tables if the right differs
    by table; a table that the person may not read is named only if they decide on its changes."""
    lines = list[str]()
    for right in _MAY:
        is_allowed, names = rights.may(right).allowed, list[str]()
        if right == "read" and rights.depends_on_name("read"):
            names = [*start.tables]
        elif right == "propose" and start.changeable_tables != start.tables:
            names = [*start.changeable_tables]
            is_allowed &= bool(names)
        words = say(_MAY[right])
        if names and is_allowed:
            words = say(_MAY_BY_TABLE[right], names=_join_titles(names))
        lines.append(f"{'✅' if is_allowed else '🚫'} {words}")
    readable = {fold_case(title) for title in start.tables}
    closed = [name for name in closed if fold_case(name) in readable]
    if decidable:
        lines.append(f"✅ {say(_DECIDES, names=_join_titles(decidable))}")
    if closed and rights.may("administer").allowed:
        lines.append(f"🚫 {say(_DECIDES, names=_join_titles(closed))}")
    return lines


def _join_titles(titles: Sequence[str]) -> str:
    shown = [escape_markdown(to_one_line(title, 60)) for title in titles[:_MAX_LISTED_TABLES]]
    hidden = len(titles) - len(shown)
    return ", ".join(shown) + (f" … (+{hidden})" if hidden else "")


PART_NAMES = {
    "model": "Answers",
    "nocodb": "Tables",
    "stackspot": "Quick commands and agents",
    "code": "Code",
}


def describe_parts(parts: Sequence[Health]) -> list[str]:
    """Only administrators may read the causes of failures, so a part that fails is only not
    available. The part `sample` has the sample tables, which are there as long as NocoDB is not
    connected."""
    states = {part.name: part.state for part in parts}
    lines = []
    for name, label in PART_NAMES.items():
        if name in states:
            line = "{name}: available" if states[name] == "on" else "{name}: not available"
            if states[name] == "checking":
                line = "{name}: checking"
            elif name == "nocodb" and states[name] == "off":
                has_sample = states.get("sample") == "on"
                line = "{name}: only sample tables" if has_sample else "{name}: none connected"
            lines.append(say(line, name=say(label)))
    return lines
