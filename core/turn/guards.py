"""The guards of a tool call: what may stop it before it runs, in the order of `GUARDS`.

docs/explanation/security.md describes them to users by the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.base import text
from core.base.errors import OverBudget, ToolError
from core.base.i18n import say, use_locale
from core.chat.people import People
from core.domain.messages import Item
from core.domain.ports import Tool
from core.domain.records import Outcome, ToolCall
from core.domain.rights import RIGHT_OF_EFFECT, Effect
from core.observability import metrics
from core.tools.tool import outcome_of_error, price_of_call
from core.turn.run import TurnRun

COSTLY_EFFECTS: tuple[Effect, ...] = ("spend", "code")
CALLS_USED_UP_NOTE = "I stopped after {count} tool calls, the limit per answer."
COSTLY_CALLS_USED_UP_NOTE = (
    "I stopped after {count} paid tool calls (quick commands, agents, code), the limit per answer."
)


@dataclass(frozen=True, slots=True)
class Guards:
    """Decides before each tool call of one turn whether it may run. Each check returns None if the
    call may run, else its outcome, which the model reads in place of a result.

    `tools` are those that the turn was offered, by name, and `items` its transcript, which grows.
    `rules` has an entry for each call that may run and can cost money: by the call's id, the rule
    in ponte.toml that allows it, "" if it needs none.
    """

    run: TurnRun
    tools: Mapping[str, Tool]
    people: People
    items: Sequence[Item]
    rules: dict[str, str] = field(default_factory=dict)

    @property
    def used_up(self) -> str:
        """The sentence for the person if the model wanted more calls than the turn may make; else
        ""."""
        limits, calls = self.run.config.limits, self._list_calls()
        # The slices have the calls beyond the limit.
        if calls and self._list_calls(is_costly=True)[limits.costly :]:
            return say(COSTLY_CALLS_USED_UP_NOTE, count=limits.costly)
        if calls[limits.total :]:
            return say(CALLS_USED_UP_NOTE, count=limits.total)
        return ""

    def _list_calls(self, *, is_costly: bool = False) -> list[str]:
        ids = (
            item.call_id
            for item in self.items
            if item.kind == "call" and (not is_costly or self._can_cost(item))
        )
        return list(dict.fromkeys(ids))

    def _can_cost(self, call: Item) -> bool:
        tool, arguments = self.tools.get(call.name), call.arguments
        return (
            tool is not None
            and tool.effect_of(arguments) in COSTLY_EFFECTS
            and not tool.only_proposes(arguments)
        )

    async def stop(self, call: ToolCall) -> Outcome | None:
        for check in GUARDS.values():
            if outcome := await check(self, call):
                self.rules.pop(call.call_id, None)
                return outcome
        return None

    async def check_limit(self, call: ToolCall) -> Outcome | None:
        """Stop a call beyond the numbers of calls that one turn may make. They count in the order
        of the transcript, so a resumed turn stops the same calls."""
        limits = self.run.config.limits
        if call.call_id in self._list_calls(is_costly=True)[limits.costly :]:
            metrics.limits.labels("costly_calls").inc()
            count = f"{limits.costly} tool calls that cost"
        elif call.call_id in self._list_calls()[limits.total :]:
            metrics.limits.labels("tool_calls").inc()
            count = f"{limits.total} tool calls"
        else:
            return None
        return _refuse(
            "used_up",
            f"Not run. This turn has used up its {count}; none of them runs any more in it.",
            "answer now with what you have, and tell the person what is still to be done",
            self.used_up,
        )

    async def check_provenance(self, call: ToolCall) -> Outcome | None:
        """A model can call any name, also that of a tool that is not offered in this turn, for
        example because a webhook sent its message."""
        if call.name in self.tools:
            return None
        return _refuse(
            "not_offered",
            f"Not run: there is no tool {text.truncate_with_note(call.name, 64)!r} here.",
            "use the tools that you have, or tell the person what is not possible here",
            say("Tool not found."),
        )

    async def check_right(self, call: ToolCall) -> Outcome | None:
        """Rights may change during a turn. For a call that can cost money, note in `rules` the
        first rule that allowed it. Needed are the right to its effect, such as `read`, and to the
        tool by its name."""
        author, address = self.run.turn.message.author, self.run.turn.message.address
        rule = ""
        for need in ((RIGHT_OF_EFFECT[call.effect],), ("tool", call.name)):
            verdict = await self.people.policy.may(author, address, *need)
            rule = rule or verdict.rule
            if verdict.is_unknown:
                code = "status_unknown"
            elif verdict.allowed:
                continue
            else:
                code = "not_allowed"
                self.people.note_refusal(author, address, verdict)
            # The model reads this sentence, and its instructions are English.
            with use_locale("en"):
                why = verdict.words()
            return _refuse(code, why, "tell the person", verdict.words())
        if call.effect in COSTLY_EFFECTS:  # for the line of the audit log about the call
            self.rules[call.call_id] = rule
        return None

    async def check_earlier_proposal(self, call: ToolCall) -> Outcome | None:
        """Stop a call that only proposes, while a proposal of an earlier run of the same schedule
        is undecided: a daily schedule would add one each day."""
        only_proposes = self.tools[call.name].only_proposes(call.arguments)
        return self.refuse_proposal(call) if only_proposes else None

    def refuse_proposal(self, call: ToolCall) -> Outcome | None:
        """Return the outcome if the call may propose nothing now. This is asked again when a tool
        proposes: a tool that reads may find out only while it runs that it has to propose."""
        id = self.run.earlier_proposal  # an undecided proposal of the same schedule; "" for none
        # `handle` is the id of a run in another system, which an attempt before a crash has begun.
        # The tool then only waits for the end of that run.
        if not id or call.handle:
            return None
        return _refuse(
            "undecided",
            f"Not proposed. The proposal {id} of an earlier run of this schedule waits for a "
            "person's decision.",
            "do not propose it again, tell the person that it still waits",
        )

    async def check_allowance(self, call: ToolCall) -> Outcome | None:
        """Reserve the price of a call; stop it if an allowance has less left. A call without a
        price, or one that only reads or proposes, needs no reservation."""
        paid = price_of_call(self.tools[call.name], call.arguments)
        if not paid or call.effect not in COSTLY_EFFECTS:
            return None
        turn = self.run.turn
        try:
            await self.people.budget.reserve_run(turn, call.call_id, paid)
        except OverBudget as error:
            metrics.limits.labels(error.limit).inc()
            self.people.note_refused_turn(turn.message, error, tool=call.name)
            hint = "answer now with what you have, and tell the person"
            return _refuse(error.code, f"Not run. {error}", hint, error.words())
        return None


def _refuse(code: str, why: str, hint: str, problem: str = "") -> Outcome:
    outcome = outcome_of_error(ToolError("{why}", code=code, hint=hint, why=why))
    return replace(outcome, problem=problem or outcome.problem)


GUARDS = {
    "limit": Guards.check_limit,
    "provenance": Guards.check_provenance,
    "right": Guards.check_right,
    "earlier proposal": Guards.check_earlier_proposal,
    "allowance": Guards.check_allowance,
}
"""The guards by their names in docs/explanation/security.md, in the order in which they are asked.
"""
