"""The command `why`: explains which rule allows or denies something."""

from __future__ import annotations

from dataclasses import dataclass

from core.changes.approval import Approval
from core.conversation.run import TurnServices
from core.domain.changes import Change, DecisionRequest
from core.domain.errors import NotFound, ToolError
from core.domain.records import RIGHT_OF_EFFECT, Turn
from core.rights.reasons import explain
from core.rights.rules import check_right_name, is_right
from core.text.i18n import say

_NOTHING = (
    "Not found. Give the ID of a change, the name of a tool, or a permission such as `read`, "
    "`propose:TABLE` or `command:SLUG`."
)
_ASKED = "Requested by:"
_DECIDED = "Decided by:"
_BY_POLICY = "The policy approved it automatically."
_APPROVES_NAMED = "An admin or a designated approver can decide."
_APPROVES_ONLY = "Only a designated approver can decide."
_APPROVES_ADMIN = "An admin decides, because it deletes rows or changes many."
_DIFFERENT = "{count} different people must approve it."
_APPROVES_ASKER = "The person who requested it or an admin can decide."


@dataclass(frozen=True, slots=True)
class Why:
    """Answers the command `why`."""

    services: TurnServices

    async def answer(self, turn: Turn, asked: str) -> str:
        """Return the explanation for `asked`: the id of a change, the name of a tool, or a right.
        Raise NotFound, and BadInput for a right to one thing that is not given for one thing."""
        person, address = turn.message.author, turn.message.address
        if is_right(asked):
            right, _, name = asked.partition(":")
            names = (name,) if name else ()
            if name and right == "approve":
                approval = self.services.changes.approval
                return explain(await approval.judge_approver(person, address, name))
            return explain(await self.services.policy.may(person, address, right, *names))
        check_right_name(asked)
        try:
            tool = await self.services.toolbox.find(asked)
        except ToolError:
            return await self._of_change(turn, asked)
        verdicts = [
            await self.services.policy.may(person, address, RIGHT_OF_EFFECT[tool.effect]),
            await self.services.policy.may(person, address, "tool", asked),
        ]
        return "\n".join(f"- {explain(verdict)}" for verdict in verdicts)

    async def _of_change(self, turn: Turn, id: str) -> str:
        """Explain who may decide on a change. Raise NotFound if there is none that the person may
        see."""
        message = turn.message
        try:
            change = await self.services.changes.ledger.get(id)
        except NotFound:
            raise NotFound(_NOTHING) from None
        decision = DecisionRequest(id, turn.seq, message.author, message.address)
        reached = await self.services.changes.views.reached(change.id, message.author.key)
        if not await self.services.changes.approval.may_see(decision, change, reached):
            raise NotFound(_NOTHING)
        asked = change.proposal
        lines = [say(_ASKED)]
        for needed in self.services.changes.approval.rights_to_propose(change.draft):
            verdict = await self.services.policy.may(asked.asker, asked.address, *needed)
            lines.append(f"- {explain(verdict)}")
        lines.append(say(_who_decides(self.services.changes.approval, change)))
        if (count := self.services.changes.approval.approvers(asked).count) > 1:
            lines.append(say(_DIFFERENT, count=count))
        if change.decider and change.decider.platform == "policy":
            lines.append(say(_BY_POLICY))
        elif change.decider:
            verdict = await self.services.policy.may(
                change.decider,
                asked.address,
                *self.services.changes.approval.right_to_approve(change.draft),
            )
            lines += [say(_DECIDED), f"- {explain(verdict)}"]
        return "\n".join(lines)


def _who_decides(approval: Approval, change: Change) -> str:
    """Return the sentence about who may approve the change."""
    if approval.approvers(change.proposal).is_exclusive:
        return _APPROVES_ONLY
    if approval.names_approvers(change.proposal):
        return _APPROVES_NAMED
    return _APPROVES_ADMIN if approval.needs_admin(change) else _APPROVES_ASKER
