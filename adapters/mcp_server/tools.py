"""The tools that programs are offered over MCP. They read for the person whose token the program
has, and propose changes for them. None of them decides on a change or applies one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from adapters.mcp_server.requests import Caller, ChangeRequests, refuse
from core.base.errors import NotAllowed, NotFound, PonteError, ToolError
from core.base.i18n import use_locale
from core.base.text import to_one_line
from core.changes.card_rows import read_rows
from core.changes.service import ChangeService
from core.chat.people import People
from core.domain.changes import NO_PROPOSAL_SENTENCE, Change, Draft
from core.domain.messages import Address, Message, ReplyTo
from core.domain.ports import Tool
from core.domain.records import Outcome, Thread, ToolCall, ToolContext, TurnControls
from core.domain.rights import RIGHT_OF_EFFECT, PlaceRights, Viewer
from core.domain.rows import Chart
from core.observability import metrics
from core.tools.nocodb.summarize import PLACING_RULE
from core.tools.tool import (
    TURN_END,
    cap_text,
    compact_json,
    decode_json,
    outcome_of_error,
    takes_null,
)
from core.turn.preparation import Assistant

log = structlog.get_logger("mcp")
Json = dict[str, Any]
_READ_TOOLS = (
    "nocodb_tables", "nocodb_query", "nocodb_get", "nocodb_history", "nocodb_summarize",
    "nocodb_read", "saved_question",
)  # fmt: skip
_CHART_TOOL, _SUMMARY_TOOL, _COMMAND_TOOL = "chart", "nocodb_summarize", "stackspot_quick_command"
_WRITE_TOOLS = {
    "create": "nocodb_create", "update": "nocodb_update", "delete": "nocodb_delete",
    "link": "nocodb_link",
}  # fmt: skip
_FILE_PARAMETERS = ("export", "file")
"""Parameters that lead to files, which this server does not send."""
MCP_CALL_SECONDS = 50.0
"""Clients wait for 60 seconds."""
MAX_LISTED_MCP_REQUESTS = 20
_PROPOSAL_NOTE = (
    "Nothing is changed yet. A person decides on the card in Ponte; you cannot. Tell the person "
    "where it waits, and look with change_status later."
)
_SOURCE_RULE = "A second text of the result names the source: tell the person"
_PROPOSE = """\
Propose a change of rows in one table. It changes nothing: a person sees the rows before and after \
on a card in Ponte, and decides there. The same call again while it waits returns the same request.
"""
_COMMAND = """\
Propose to run a quick command. A person decides on it in Ponte; change_status then has the result.
"""
_STATUS = "What became of a request: waiting, done with what was written, or denied with the reason"
_REQUESTS = "The newest requests of the person, what became of them, and how many more there are"
_CHART = """\
A chart of figures, as data: `rows` has the arguments of nocodb_summarize, x and y name columns of \
its result.
"""


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """The description of a tool that a program gets over MCP. `parameters` is the JSON schema of an
    object."""

    name: str
    description: str
    parameters: Json
    is_read_only: bool = True


@dataclass(frozen=True, slots=True)
class McpTools:
    """The tools that programs can call over MCP: those of the model that read, and some that
    propose changes. `locale` is the language of cards in results, `zone` the time zone of dates."""

    assistant: Assistant
    people: People
    changes: ChangeService
    requests: ChangeRequests
    locale: str
    zone: str

    async def list_tools(self, caller: Caller) -> Sequence[OfferedTool]:
        """Return the tools that the caller may use now, always in the same order, so that clients
        can cache the list. Tools that propose changes have other names than the model's."""
        tools = await self._find_tools(caller, caller.own_address)
        offered = [
            OfferedTool(name, _describe_for_program(tools[name]), _describe_parameters(tools[name]))
            for name in _READ_TOOLS
            if name in tools
        ]
        # Over MCP, results have no ids, so a chart gets its rows by a question of its own (`rows`)
        # in place of the parameter `result`.
        if _CHART_TOOL in tools and _SUMMARY_TOOL in tools:
            rows = _describe_parameters(tools[_SUMMARY_TOOL])
            parameters = _describe_parameters(tools[_CHART_TOOL], {"result"}, rows=rows)
            offered.append(OfferedTool(_CHART_TOOL, _CHART, parameters))
        # All tools that write become one, `propose_change`; `a` is its argument `action`.
        if writing := {a: tools[name] for a, name in _WRITE_TOOLS.items() if name in tools}:
            offered.append(_describe_changes(writing))
        if _COMMAND_TOOL in tools:
            description = _COMMAND + _describe_for_program(tools[_COMMAND_TOOL])
            parameters = _describe_parameters(tools[_COMMAND_TOOL])
            # False: the tool does not only read.
            offered.append(OfferedTool("propose_quick_command", description, parameters, False))
        # The last two tools show only the person's own requests, so they need no right.
        request = {"type": "string", "description": "as propose_change returned it"}
        schema = {"type": "object", "properties": {"id": request}, "required": ["id"]}
        offered.append(OfferedTool("change_status", _STATUS, schema))
        offered.append(OfferedTool("my_requests", _REQUESTS, {"type": "object", "properties": {}}))
        return offered

    async def call(self, caller: Caller, name: str, arguments: Json) -> Outcome:
        """Refusals and failures are outcomes too: the program reads them in English, while cards
        and tables are in the language of the installation."""
        # For the log and the metric. A program can name any tool, and each new name in a metric
        # would need memory for ever.
        known = name if name in _CALLS or name in _READ_TOOLS else "unknown"
        try:
            with use_locale(self.locale):
                outcome = await self._run(caller, name, arguments)
        except ToolError as error:
            outcome = outcome_of_error(error)
        except PonteError as error:
            with use_locale("en"):
                outcome = outcome_of_error(refuse(error.code, error.words()))
        except TimeoutError:
            outcome = outcome_of_error(refuse("timeout", "no answer in time"))
        except Exception:
            log.exception("MCP call failed unexpectedly", tool=known)
            outcome = outcome_of_error(
                refuse("internal", "the tool broke; this is a fault of Ponte")
            )
        metrics.mcp_calls.labels(known, outcome.status).inc()
        log.info("MCP call ended", tool=known, status=outcome.status, api_token=caller.token)
        return cap_text(outcome)

    async def _run(self, caller: Caller, name: str, arguments: Json) -> Outcome:
        """The time of reads is limited here; other tools limit their own steps."""
        if name in _READ_TOOLS:
            async with asyncio.timeout(MCP_CALL_SECONDS):
                return await self._read(caller, name, arguments)
        if name not in _CALLS:
            raise _unknown_tool()
        return await _CALLS[name](self, caller, arguments)

    async def _find_tools(self, caller: Caller, address: Address) -> Mapping[str, Tool]:
        rights = await self._find_rights(caller, address)
        return {tool.spec.name: tool for tool in await self.assistant.toolbox.tools(rights)}

    async def _find_tool(self, caller: Caller, address: Address, name: str) -> Tool:
        """Raise ToolError that names the place and the missing right if the caller may not use it
        there, and the errors of `_find_tools`."""
        try:
            tools = await self._find_tools(caller, address)
            if name in tools:
                return tools[name]
            rights = await self.people.policy.rights(caller.person, address)
            right = RIGHT_OF_EFFECT[(await self.assistant.toolbox.find(name)).effect]
            for need in (("tool", name), (right,)):
                rights.may(*need).raise_if_denied()
        except NotAllowed as error:
            # The tool may be in the list, which is of the person's own place.
            why = f"the person lacks the right `{error.values['right']}` in {_name_place(address)}"
            raise refuse("forbidden", why, "tell the person; ponte.toml can allow it") from None
        raise _unknown_tool()

    async def _find_rights(self, caller: Caller, address: Address) -> PlaceRights:
        rights = await self.people.policy.rights(caller.person, address)
        rights.may("chat").raise_if_denied()
        return rights

    async def _read(
        self, caller: Caller, name: str, arguments: Json, result_id: str = "", **results: Outcome
    ) -> Outcome:
        """Call a tool that reads, with the rights that the person has in their own conversation on
        the page, which nobody else reads. Raise ToolError, also if the arguments ask for a file,
        and the errors of `_find_tools`.

        `result_id` names the outcome's rows, so that a chart can refer to them; `results` are the
        outcomes to which a chart may refer.
        """
        _check_files(arguments)  # results over MCP are text
        address = caller.own_address
        tool = await self._find_tool(caller, address, name)
        ctx = await self._make_context(caller, address, tool, arguments)
        ctx = replace(ctx, result_id=result_id, results=results)
        return await tool.run(ctx, ctx.call.arguments)

    async def _draw_chart(self, caller: Caller, arguments: Json) -> Outcome:
        """`rows` has arguments of the tool that computes figures, which runs first.

        In a chat, a chart names an earlier result of its turn. Here each call stands for itself, so
        both tools run in one, and "r1" is the name under which the chart finds the figures.
        """
        rows = decode_json(arguments.pop("rows", None))
        if not isinstance(rows, dict):
            raise refuse("bad_arguments", "`rows` is an object: the arguments of nocodb_summarize")
        # One limit for both, because the client waits for both.
        async with asyncio.timeout(MCP_CALL_SECONDS):
            figures = await self._read(caller, _SUMMARY_TOOL, rows, "r1")
            drawn = {**arguments, "result": "r1"}
            outcome = await self._read(caller, _CHART_TOOL, drawn, "r2", r1=figures)
        chart = outcome.data
        if not isinstance(chart, Chart):  # narrows the type: without a chart, the tool raises
            return outcome
        series = {line.name: line.values for line in chart.series}
        data = {"kind": chart.kind, "title": chart.title, "labels": chart.labels, "series": series}
        return Outcome("ok", compact_json(data), sources=figures.sources)

    async def _propose_change(self, caller: Caller, arguments: Json) -> Outcome:
        action = str(arguments.get("action"))
        if action not in _WRITE_TOOLS:
            raise refuse("bad_arguments", f"`action` is one of {', '.join(_WRITE_TOOLS)}")
        rest = {name: value for name, value in arguments.items() if name != "action"}
        return await self._propose(caller, _WRITE_TOOLS[action], rest)

    async def _propose_command(self, caller: Caller, arguments: Json) -> Outcome:
        return await self._propose(caller, _COMMAND_TOOL, arguments)

    async def _propose(self, caller: Caller, name: str, arguments: Json) -> Outcome:
        """A program that got no answer in time makes the same call again. While its first
        request waits for a decision, an equal one of this token is answered with that. What they
        would write is compared, by the beginning of its hash: arguments can name one row as 7
        and as "7"."""
        # `requests.propose` then waits for the card, up to 10 s (PROPOSAL_SECONDS).
        async with asyncio.timeout(MCP_CALL_SECONDS - 10.0):
            draft = await self._make_draft(caller, name, arguments)
        content = [name, draft.target, [(row.id, row.after) for row in draft.rows]]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
        change = await self.requests.propose(caller, digest, name, draft)
        if change is None:
            with use_locale("en"):
                place = (await self.requests.find_destination(caller)).address
                await self.people.budget.check_turn(caller.person, place)
            raise refuse("not_proposed", "nothing was proposed: the request was withdrawn")
        return await self._describe(caller, change)

    async def _make_draft(self, caller: Caller, name: str, arguments: Json) -> Draft:
        """Run a tool that proposes a change, and return the proposal instead of storing it. Raise
        ToolError, also for a call that would write without a proposal.

        The person's rights are those at the place where the card will be posted, since others may
        read it there.
        """
        address = (await self.requests.find_destination(caller)).address
        tool = await self._find_tool(caller, address, name)
        if not tool.only_proposes(compact_json(arguments)):
            why = "this would run without a person's approval, so it cannot run here"
            raise refuse("not_offered", why, "the person can run it in Ponte")
        drafts = list[Draft]()

        async def keep_draft(draft: Draft) -> Outcome:
            # Refused now, so that the program learns why; it is checked again when the request is
            # stored.
            await self.changes.approval.allow_draft(caller.person, address, draft)
            drafts.append(draft)
            return Outcome("proposed", "")

        ctx = await self._make_context(caller, address, tool, arguments)
        ctx = replace(ctx, turn=replace(ctx.turn, propose=keep_draft))
        try:
            outcome = await tool.run(ctx, ctx.call.arguments)
        except ToolError as error:
            if address != caller.own_address:  # where tools that read show other tables
                error.hint += f" (what counts is the place of the card: {_name_place(address)})"
            raise
        # The tool found nothing to change, or something wrong; the beginning of its text says what.
        if not drafts:
            raise refuse("not_proposed", outcome.text[:500])
        return drafts[0]

    async def _make_context(
        self, caller: Caller, address: Address, tool: Tool, arguments: Json
    ) -> ToolContext:
        """Return what a tool gets when a program calls it: there is no turn (its number is 0), no
        transcript and no progress to show. The message is empty, with the person and the place
        alone."""
        text = compact_json(arguments)
        message = Message("", "", caller.person, address, ReplyTo(address, caller.person, "", ""))
        call = ToolCall("mcp", tool.spec.name, text, tool.effect_of(text))
        # Tools remember things from call to call by the thread's id, here for each token.
        thread = Thread(address.conversation, f"mcp-{caller.token}")
        viewer = Viewer(await self._find_rights(caller, address))
        return ToolContext(
            message,
            0,
            call,
            thread,
            TurnControls(),
            self.zone,
            viewer,
            changes=self.changes.views,
        )

    async def _read_status(self, caller: Caller, arguments: Json) -> Outcome:
        """A request of another person is an unknown one."""
        if not (id := arguments.get("id")):
            raise refuse("bad_arguments", "`id` is missing: it is in the answer to propose_change")
        changes = await self._list_own(caller)
        change = next((candidate for candidate in changes if candidate.id == id), None)
        if change is None:
            raise NotFound(NO_PROPOSAL_SENTENCE, id=to_one_line(str(id), 20))
        return await self._describe(caller, change)

    async def _list_requests(self, caller: Caller, arguments: Json) -> Outcome:
        """The title of a request names tables and commands, so it is shown only if the person may
        read or run them now, in their own conversation on the page."""
        views = self.changes.views
        rights = await self._find_rights(caller, caller.own_address)
        requests = list[Json]()
        changes = await self._list_own(caller)
        for change in changes[:MAX_LISTED_MCP_REQUESTS]:
            entry = {"id": change.id, "state": _name_state(change)}
            if self._may_know(rights, change):
                entry["what"] = views.builder.build_title(change)
            # These sentences contain no values of rows, so they need no right.
            requests.append({**entry, "outcome": await views.describe_outcome(change)})
        hidden_count = len(changes) - len(requests)
        return Outcome("ok", compact_json({"requests": requests, "more": hidden_count}))

    async def _list_own(self, caller: Caller) -> Sequence[Change]:
        return await self.changes.ledger.list_of_person(caller.person.key, 1000)

    def _may_know(self, rights: PlaceRights, change: Change) -> bool:
        title, view = change.draft.title, change.draft.view
        need = ("command", view.slug) if view.slug else ("read", title, view.table_id)
        return self.assistant.contexts.may_know(rights, [need])

    async def _describe(self, caller: Caller, change: Change) -> Outcome:
        """The answer has the whole card and the result only if the person may read that table, or
        run that command, in their own conversation on the page: the request may be of another
        place. Otherwise the program learns how it ended, and nothing of its content."""
        views = self.changes.views
        rights = await self._find_rights(caller, caller.own_address)
        data: Json = {"id": change.id, "state": _name_state(change)}
        if self._may_know(rights, change):
            # Drawn as for a channel (`is_shared`): it names the asker and those who can decide.
            place = replace(change.proposal.address, is_shared=True)
            card = await views.card(change, caller.person, place)
            rows = [": ".join(filter(None, [r.heading, r.text])) for r in read_rows(card.rows)]
            data |= {"what": card.title, "card": card.text, "rows": rows}
            if result := views.builder.kind(change).read_result(change):
                data["result"] = result
        else:
            data["card"] = await views.describe_outcome(change)
        # The decider wrote the reason for the asker, who gets it without the right above, too.
        if change.denial_reason:
            data["reason"] = change.denial_reason
        if change.state == "open":
            data |= {"where": _name_place(change.proposal.address), "next": _PROPOSAL_NOTE}
        return Outcome("ok", compact_json(data))


_CALLS = {
    _CHART_TOOL: McpTools._draw_chart,
    "propose_change": McpTools._propose_change,
    "propose_quick_command": McpTools._propose_command,
    "change_status": McpTools._read_status,
    "my_requests": McpTools._list_requests,
}


def _unknown_tool() -> ToolError:
    return refuse("unknown_tool", "there is no such tool", "use only the tools of the list")


def _check_files(arguments: Json) -> None:
    if any(arguments.get(name) for name in _FILE_PARAMETERS):
        raise refuse("bad_arguments", "files are not sent here", "the person can ask in Ponte")


def _name_state(change: Change) -> str:
    return "waiting" if change.state == "open" else change.state


def _name_place(address: Address) -> str:
    platform = address.platform.title()
    if address.platform == "web":
        return "Ponte's page"
    return f"{platform}, in a channel" if address.is_shared else f"{platform}, in a direct message"


def _describe_for_program(tool: Tool) -> str:
    # A program has no turn, and no chat in which an answer places rows. It gets a text that names
    # their source.
    return tool.spec.description.replace(PLACING_RULE, _SOURCE_RULE).replace(TURN_END, "")


def _describe_parameters(
    tool: Tool, hidden: Collection[str] = (), **extra_properties: Json
) -> Json:
    """Models must send null for what they leave out; programs can leave it out."""
    schema = tool.spec.parameters
    hidden = {*hidden, *_FILE_PARAMETERS}
    properties = extra_properties | {
        n: p for n, p in schema["properties"].items() if n not in hidden
    }
    required = [n for n in schema["required"] if n in properties and not takes_null(properties[n])]
    return {**schema, "properties": properties, "required": [*extra_properties, *required]}


def _describe_changes(tools: Mapping[str, Tool]) -> OfferedTool:
    """`tools` are those that write, by their `action`. The tool takes the arguments of all of them;
    which ones an action needs is in the text."""
    lines = [f"- {action}: {tool.spec.description}" for action, tool in tools.items()]
    properties: Json = {"action": {"type": "string", "enum": list(tools)}}
    for tool in tools.values():
        properties |= _describe_parameters(tool)["properties"]
    schema = {"type": "object", "properties": properties, "required": ["action", "table"]}
    return OfferedTool("propose_change", _PROPOSE + "\n".join(lines), schema, False)
