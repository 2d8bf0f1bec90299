"""The MCP servers of ponte.toml: which of their tools are accepted, and the calls.

Each server is watched by a task of its own, so that one that hangs delays only its own calls.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import mimetypes
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from core.base.errors import NotFound, NotStored, ToolError
from core.base.i18n import plural, say
from core.base.json_text import parse_arguments
from core.base.remote_errors import RemoteError
from core.base.tasks import BoundedDict, cancel_all
from core.base.text import clean_text, truncate_with_note
from core.domain.changes import Draft, RowWrite
from core.domain.messages import File
from core.domain.model_rounds import ToolSpec
from core.domain.ports import Tool
from core.domain.records import Health, Outcome, ToolContext
from core.domain.rights import Effect
from core.integrations import CHECK_TIMEOUT_SECONDS, IntegrationDependencies
from core.tools.mcp import (
    CARRIES_ROWS,
    MCP_CALL_KIND,
    MCP_CALL_TIMEOUT_SECONDS,
    MCP_NO_UNDO,
    MCP_STATE_NAME,
    McpServer,
    hash_definition,
    name_mcp_tool,
)
from core.tools.mcp.schema import decode_texts, fit_schema
from core.tools.tool import FunctionTool, UnfitSchema, cap_text, outcome_of_error

log = structlog.get_logger("mcp_tools")
Definitions = Mapping[str, str]
"""The definitions of a server's tools by their names: JSON with `description` and `schema`, or ""
for a tool that ponte.toml does not name."""
MCP_RETRY_SECONDS = 60.0
"""Pause before a server is asked again that did not answer, or whose connection ended."""
MAX_DESCRIPTION_CHARACTERS = 4_000
MAX_STORED_RESULT_CHARACTERS = 200_000
MAX_RESULT_FILES = 10
ACCEPTED_TOPIC = "mcp_tools"
"""The notice to other processes that a server's tools were accepted."""
_NOT_ACCEPTED = "The server changed its tool {tool}. An admin must accept it first."
_ASKING = "is asking another system…"
_REMOVED = "The tool {tool} is no longer set up."


class McpServerError(RemoteError):
    """An MCP server of ponte.toml did not answer, or not as the protocol demands."""


@dataclass(frozen=True, slots=True)
class McpResult:
    """The answer of an MCP server's tool. `files` are media types and bytes. `is_error`: the tool
    reported an error, which `text` describes."""

    text: str
    files: Sequence[tuple[str, bytes]] = ()
    is_error: bool = False


@dataclass(eq=False, slots=True)
class ServerState:
    """A server as it was asked last.

    - `offered`: the tools that it listed; None before its first list.
    - `fault`: why it cannot be asked; "" if it can.
    - `logged`: the tools whose change is in the log already.
    - `task`: asks the server again whenever its tools change.
    """

    server: McpServer
    offered: Definitions | None = None
    fault: str = ""
    logged: Collection[str] = ()
    task: asyncio.Task[None] | None = None


@dataclass(eq=False)
class McpServers:
    """Watches the MCP servers that ponte.toml names now, and calls their tools, of which an
    operator has accepted the definitions."""

    deps: IntegrationDependencies[Any]
    _accepted: dict[str, dict[str, str]] = field(default_factory=dict)
    _states: dict[str, ServerState] = field(default_factory=dict)
    _tools: BoundedDict[tuple[McpServer, str, str], McpTool | None] = field(
        default_factory=lambda: BoundedDict(1_000)
    )
    _shown: dict[str, Definitions] = field(default_factory=dict)
    """By server: the definitions that an operator was shown last, which are those to accept."""
    _is_loaded: bool = False
    """`_accepted` was read from the database."""
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        peers = self.deps.peers
        self._remembered = peers.remembered_state(MCP_STATE_NAME, lambda: self._accepted)
        peers.on(ACCEPTED_TOPIC, self._on_accepted)

    def watch(self) -> None:
        """Begin to watch the servers of ponte.toml, which may have been loaded again since the last
        call, and stop watching others."""
        # `variable` reads the environment variables that hold the servers' tokens.
        variable = self.deps.shared.variable
        sections = self.deps.config.section("mcp").items()
        servers = {name: section.server(name, variable) for name, section in sections}
        for name, state in list(self._states.items()):
            if servers.get(name) != state.server and (state := self._states.pop(name)).task:
                state.task.cancel()
        for name, server in servers.items():
            if name not in self._states:
                self._states[name] = ServerState(server)
                self._start_watch(self._states[name])

    def _start_watch(self, state: ServerState) -> None:
        state.task = asyncio.create_task(self._watch(state), name=f"mcp {state.server.name}")

    async def list_tools(self) -> Sequence[Tool]:
        """Return the tools that an operator has accepted and that no server is known to have
        changed since. A server could otherwise give the model new instructions in a tool's
        description. A server that has not listed its tools yet (`offered` None) counts as
        unchanged, because a turn waits for no server. `effects` are pairs from ponte.toml: a tool,
        and "read", "write" or "spend"."""
        self.watch()  # ponte.toml may name other servers since the last call
        await self._load()
        tools = list[Tool]()
        for name, state in self._states.items():
            for tool, effect in state.server.effects:
                definition = self._accepted.get(name, {}).get(tool)
                if definition and not (
                    state.offered is not None and state.offered.get(tool) != definition
                ):
                    built = self._build_tool(state.server, tool, effect, definition)
                    tools += [built] if built else []
        return tools

    def _build_tool(
        self, server: McpServer, tool: str, effect: Effect, definition: str
    ) -> McpTool | None:
        """Return None if models cannot be told the tool's schema. For an equal definition it is the
        same object, so that the prompt stays the same and the model's server can cache it."""
        # `server` has the effects of its tools, so a tool with another effect has another key.
        key = server, tool, definition
        if key not in self._tools:
            parts = json.loads(definition)
            try:
                schema = fit_schema(parts["schema"])
            except UnfitSchema as unfit:
                log.warning("MCP tool left out", server=server.name, tool=tool, reason=str(unfit))
                # Noted too, so that it is logged once.
                self._tools[key] = None
            else:
                description = clean_text(str(parts["description"])).strip()
                text = truncate_with_note(description, MAX_DESCRIPTION_CHARACTERS) or tool
                # False: the schema is not strict. `fit_schema` makes none for strict tools.
                name = name_mcp_tool(server.name, tool)
                spec = ToolSpec(name, text, schema, False, (tool,))
                self._tools[key] = McpTool(self, server, tool, effect, spec, definition)
        return self._tools[key]

    async def list_states(self) -> Sequence[Health]:
        """No server is waited for."""
        self.watch()
        await self._load()
        return [self._describe(state) for state in self._states.values()]

    async def check_all(self, accepted: dict[str, dict[str, str]]) -> Sequence[Health]:
        """`accepted` are the definitions that an operator accepted, by server and tool; doctor has
        read them itself."""
        self._accepted, self._is_loaded = accepted, True
        variable = self.deps.shared.variable
        sections = self.deps.config.section("mcp").items()
        servers = [section.server(name, variable) for name, section in sections]
        return await asyncio.gather(*map(self._check, servers))

    async def _check(self, server: McpServer) -> Health:
        """Ask a server for its tools now, and return its state in words. A server that does not
        answer is "failing"."""
        state = ServerState(server)
        try:
            state.offered = await self._ask(server, CHECK_TIMEOUT_SECONDS)
        except McpServerError as error:
            state.fault = error.words()
        return self._describe(state)

    def _describe(self, state: ServerState) -> Health:
        """Return the state of a server in words, for `ponte status`: anything that keeps one of its
        tools from being used is a failure that names the tool."""
        server, offered, name = state.server, state.offered or {}, state.server.name
        part = f"{MCP_STATE_NAME}.{name}"
        if state.fault:
            return Health(part, "failing", state.fault)
        if state.offered is None:
            return Health(part, "on", say("the server hasn't listed its tools yet"))
        faults = list[str]()
        if missing := [tool for tool, _ in server.effects if tool not in offered]:
            sentence = "the server has no tool called {names}. It has: {others}"
            others = ", ".join(tool for tool in offered if tool not in missing) or "–"
            faults.append(say(sentence, names=", ".join(missing), others=others))
        # Built as for a turn, to see whether models can be told its inputs (None: they cannot).
        unfit = [
            tool
            for tool, effect in server.effects
            if tool in offered and not self._build_tool(server, tool, effect, offered[tool])
        ]
        if off := [tool for tool in self._find_unaccepted(state) if tool not in unfit]:
            sentence = "off until accepted (`ponte mcp accept {server}`): {names}"
            faults.append(say(sentence, names=", ".join(off), server=name))
        if unfit:
            sentence = "left out, because their inputs can't be described to models: {names}"
            faults.append(say(sentence, names=", ".join(unfit)))
        if faults:
            return Health(part, "failing", "; ".join(faults))
        return Health(part, "on", plural("{count} tool", "{count} tools", len(server.effects)))

    def _find_unaccepted(self, state: ServerState) -> Sequence[str]:
        """Return those tools of ponte.toml that the server offers with another definition than the
        accepted one. They are off until an operator accepts them."""
        accepted, offered = self._accepted.get(state.server.name, {}), state.offered or {}
        return [
            tool
            for tool, _ in state.server.effects
            if tool in offered and offered[tool] != accepted.get(tool)
        ]

    async def compare(self, name: str) -> Sequence[Mapping[str, str]]:
        """The returned definitions are remembered: that is what the operator then accepts. Raise
        NotFound, and McpServerError."""
        self._shown[name] = offered = await self._list_offered(name)
        return self._list_differences(name, offered)

    def _list_differences(self, name: str, offered: Definitions) -> Sequence[Mapping[str, str]]:
        """Return the tools of a server whose definition now is not the accepted one: their name,
        what changed, and both definitions, "" for none. A tool that ponte.toml does not name has
        the definition "", so it is listed only if it was accepted before."""
        accepted = self._accepted.get(name, {})
        return [
            {
                "tool": tool,
                "change": "changed" if before and now else "new" if now else "removed",
                "before": before,
                "now": now,
            }
            for tool in sorted({*accepted, *offered})
            if (before := accepted.get(tool, "")) != (now := offered.get(tool, ""))
        ]

    async def accept(self, name: str) -> Sequence[str]:
        """Store the tools that `compare` showed last (`_shown`), else those that the server has
        now. Return the names of those that changed. Raise NotFound, and McpServerError.

        What the operator has seen counts, even if the server has changed its tools in between.
        """
        offered = self._shown.pop(name, None) or await self._list_offered(name)
        # The definition of each tool as JSON, by the tool's name. "" stands for a tool that
        # ponte.toml does not name, which nobody accepts.
        changed = [difference["tool"] for difference in self._list_differences(name, offered)]
        self._accepted[name] = {tool: text for tool, text in offered.items() if text}
        # `_remembered` writes `_accepted` into the database. The notice makes the other processes
        # read it again.
        await self._remembered.flush()
        await self.deps.peers.notify(ACCEPTED_TOPIC, "")
        log.info("MCP tools accepted", server=name, tools=changed)
        return changed

    async def _list_offered(self, name: str) -> Definitions:
        """Raise NotFound if ponte.toml does not name the server, and McpServerError."""
        self.watch()  # ponte.toml may name other servers since the last call
        await self._load()
        if (state := self._states.get(name)) is None:
            raise NotFound("MCP server {name} not found in ponte.toml.", name=name[:40])
        offered = await self._ask(state.server, CHECK_TIMEOUT_SECONDS)
        self._note_listing(state, offered)  # `list_tools` compares with it
        return offered

    async def call_approved(
        self, target: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> tuple[bool, str]:
        """Return whether the tool reported an error, and its text. Raise ToolError if it was not
        called: the tool is no longer set up, or is not the one that was approved. Raise WriteUnsure
        if the server may or may not have made the call."""
        # ponte.toml or the accepted definitions may have changed since the proposal.
        self.watch()
        await self._load()
        state, tool = self._states.get(str(target["server"])), str(target["tool"])
        # The operator has removed the tool or changed its effect since.
        if state is None or (tool, target["effect"]) not in state.server.effects:
            raise ToolError(_REMOVED, tool=tool)
        # An operator may have accepted another definition than the one that people approved.
        definition = self._accepted.get(state.server.name, {}).get(tool, "")
        if hash_definition(definition) != target["definition"]:
            raise ToolError(_NOT_ACCEPTED, tool=tool)
        try:
            # The server may have changed the tool without a notice since the approval. `lists`: it
            # is asked for its tools now, and called only if this definition is among them.
            result = await self.call(state.server, tool, arguments, definition, lists=True)
        except McpServerError as error:
            raise error.as_write_error() from None
        # A change stores only the text of a result, so files are named by their types.
        texts = [result.text, *(f"[A file of the type {type}.]" for type, _ in result.files)]
        text = truncate_with_note("\n".join(filter(None, texts)), MAX_STORED_RESULT_CHARACTERS)
        return result.is_error, text

    async def call(
        self,
        server: McpServer,
        tool: str,
        arguments: Mapping[str, Any],
        definition: str,
        *,
        lists: bool = False,
    ) -> McpResult:
        """Call a tool once, in a session of its own. Raise McpServerError, and ToolError if the
        server does not offer the tool with this definition (`definition`: the one that an operator
        accepted).

        A background task watches each server, and reads its list of tools again after each notice
        of a change. The last list that it read decides whether the tool is offered. With `lists`,
        or if it has read none yet, the server is asked for its tools just before the call.
        """
        state = self._states.get(server.name)
        session: Any = await _load_session()  # the module with the SDK
        # A reload of ponte.toml may have changed the server's address. The list is of another
        # server then, and does not count.
        offered = state.offered if state and state.server == server else None
        asks = lists or offered is None
        result: McpResult | None = None
        if asks or (offered or {}).get(tool) == definition:
            try:
                # With a definition, it first compares the listed one: None if they differ.
                listing, result = await session.call_tool(
                    server, self.deps.shared.proxies, tool, arguments, definition if asks else None
                )
            except McpServerError as error:
                log.warning("MCP call failed", server=server.name, tool=tool, error=str(error))
                if state and state.server == server and state.task and not state.fault:
                    # Ask the server at once whether it works, for the status. One with a fault is
                    # known not to work, and is asked again soon anyway.
                    state.task.cancel()
                    self._start_watch(state)
                raise
            # The list that was read just now is what the server offers from now on.
            if asks and state and state.server == server:
                self._note_listing(state, listing)
        if result is None:
            raise ToolError(_NOT_ACCEPTED, code="not_accepted", tool=tool)
        return result

    async def close(self) -> None:
        await cancel_all(state.task for state in self._states.values())
        self._states.clear()

    async def _ask(self, server: McpServer, seconds: float) -> Definitions:
        session: Any = await _load_session()
        offered: Definitions = await session.list_definitions(
            server, self.deps.shared.proxies, seconds
        )
        return offered

    async def _watch(self, state: ServerState) -> None:
        """A server that fails, or ends its stream for notices, is asked again after
        `MCP_RETRY_SECONDS`; an error is logged once until it changes. `watch_definitions` lists the
        tools, and again when the server says that they changed."""
        session: Any = await _load_session()  # the module with the SDK, imported in a thread
        while True:
            try:
                await session.watch_definitions(
                    state.server,
                    self.deps.shared.proxies,
                    lambda offered: self._note_listing(state, offered),
                )
            except McpServerError as error:
                if state.fault != str(error):
                    log.warning("MCP server failed", server=state.server.name, error=str(error))
                state.fault = str(error)  # until `_note_listing` clears it
            await asyncio.sleep(MCP_RETRY_SECONDS)

    def _note_listing(self, state: ServerState, offered: Definitions) -> None:
        """Note what a server offers now, and log which tools are off until they are accepted, once
        for each set of tools. Before the accepted definitions are loaded, nobody knows; `_load`
        notes the lists again then."""
        state.offered, state.fault = offered, ""
        off = self._find_unaccepted(state) if self._is_loaded else ()
        if off and off != state.logged:
            name = state.server.name
            log.warning("MCP tools are off until they are accepted", server=name, tools=off)
        state.logged = off

    async def _load(self) -> None:
        """Read from the database which definitions were accepted, once for a process and again
        after a notice. If the database fails, what was read before still counts, and the next call
        reads again."""
        async with self._loading:
            if not self._is_loaded:
                try:
                    self._accepted = await self._remembered.load()
                except (NotStored, ValueError) as error:  # the next call reads again
                    log.warning("could not read accepted MCP tools", error=repr(error))
                    return
                self._is_loaded = True
                # Servers that answered earlier: only now is it known which of their tools are off.
                for state in self._states.values():
                    if state.offered is not None:
                        self._note_listing(state, state.offered)

    async def _on_accepted(self, _: str) -> None:
        self._is_loaded = False
        await self._load()


async def _load_session() -> Any:
    # In a thread: the SDK takes 0.4 s to import.
    return await asyncio.to_thread(importlib.import_module, "core.tools.mcp.session")


class McpTool(FunctionTool):
    """A tool of an MCP server for the model, with the definition that an operator accepted. Its
    schema comes from the server, so it has no Python function."""

    def __init__(
        self,
        servers: McpServers,
        server: McpServer,
        tool: str,
        effect: Effect,
        spec: ToolSpec,
        definition: str,
    ) -> None:
        self.spec, self.effect = spec, effect
        self.progress_text = _ASKING
        # The call's own limit ends it before this one.
        self.timeout_seconds = MCP_CALL_TIMEOUT_SECONDS + 10.0
        # What makes the calls, the server, and the tool's name there.
        self._servers, self._server, self._tool = servers, server, tool
        # What an operator has accepted. A call is refused if the server's definition differs.
        self._definition = definition

    def only_proposes(self, arguments: str) -> bool:
        """A tool that reads needs a proposal only in some conversations (see `run`)."""
        return self.effect != "read"

    async def run(self, ctx: ToolContext, arguments: str) -> Outcome:
        """Call a tool that reads, and propose any other call. Raise ToolError.

        If the model has read rows of tables in this conversation, a call that reads is proposed
        too: its arguments could carry rows to the server (CARRIES_ROWS).
        """
        values = await asyncio.to_thread(self._read_arguments, arguments)
        if self.effect != "read" or ctx.has_read_rows:
            return await ctx.turn.propose(self._draft(values))
        try:
            result = await self._servers.call(self._server, self._tool, values, self._definition)
        except McpServerError as error:
            return outcome_of_error(error)
        if result.is_error:
            raise ToolError("The tool reported an error.", code="failed", hint=result.text[:2_000])
        files = await _save_files(ctx, result)
        names = "".join(f"\n[The person gets the file {file.name}.]" for file in files)
        return cap_text(Outcome("ok", f"{result.text}{names}" or "Done.", files))

    def _draft(self, values: Mapping[str, Any]) -> Draft:
        """Return the draft of this call, which people approve: the server and the tool by name, the
        hash of its accepted definition, its price in ponte.toml, and the arguments as its row."""
        server, tool = self._server, self._tool
        # the model's name for it, by which rights name the tool
        target = {
            "server": server.name,
            "tool": tool,
            "effect": self.effect,
            "slug": self.spec.name,
            "definition": hash_definition(self._definition),
            "price": dict(server.prices).get(tool),
        }
        # A tool that reads needs an approval only if the model has read rows of tables: its
        # arguments could carry them to the server.
        note = CARRIES_ROWS if self.effect == "read" else MCP_NO_UNDO
        title = f"{server.name}: {tool}"
        # The applier and the kind of change have the same name.
        return Draft(MCP_CALL_KIND, MCP_CALL_KIND, target, title, (RowWrite(after=values),), note)

    def _read_arguments(self, arguments: str) -> dict[str, Any]:
        """The server checks them; only missing ones are refused here, so that no person is asked to
        approve a call that must fail."""
        values: Any = None
        with suppress(ValueError):
            values = parse_arguments(arguments)
            # Some models send lists and objects as texts of JSON. If one holds NaN, it stays a
            # text.
            decoded = decode_texts(values, self.spec.parameters)
            values = parse_arguments(json.dumps(decoded))  # refuses NaN in a text
        if not isinstance(values, dict):
            raise ToolError("The call's arguments aren't a JSON object.", code="bad_json")
        if missing := [name for name in self.spec.parameters["required"] if name not in values]:
            hint = f"missing: {', '.join(missing)[:200]}"
            raise ToolError("The call has invalid arguments.", code="bad_arguments", hint=hint)
        return values


async def _save_files(ctx: ToolContext, result: McpResult) -> tuple[File, ...]:
    """Store the pictures and other files of a result in the conversation, and return them: the
    person gets them with the answer. At most `MAX_RESULT_FILES`, and none where no files can be
    sent."""
    if ctx.files is None:
        return ()
    saved = list[File]()
    for number, (type, data) in enumerate(result.files[:MAX_RESULT_FILES], 1):
        ending = mimetypes.guess_extension(type) or ".bin"
        saved.append(await ctx.files.save(f"result-{number}{ending}", type, data))
    return tuple(saved)
