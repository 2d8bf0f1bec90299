"""The page docs/reference/limits.md: what each limit means, with its value from the code."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from bot.features.schedules.feature import AlertsConfig
from bot.settings import Settings
from core.schedules.schedule import ScheduleLimits
from core.turn.run import CallLimits

Limit = tuple[str, str]
"""What is limited, and where the value is: `module:CONSTANT`, or a text as it is shown."""
LIMITS: dict[str, list[Limit]] = {
    "Messages and turns": [
        ("turns at once with a data folder", "core.journal.turn_runner:MAX_WORKING_TURNS"),
        ("turns at once of one person in one channel",
         "core.journal.turn_queue:MAX_PERSON_TURNS_IN_CHANNEL"),
        ("model calls in one turn", "core.turn.rounds:MAX_ROUNDS"),
        ("tool calls in one turn (`[limits] tool_calls`)", str(CallLimits().total)),
        ("tool calls that cost money in one turn (`[limits] costly_calls`)",
         str(CallLimits().costly)),
        ("tool calls at once", "core.turn.rounds:MAX_PARALLEL_TOOL_CALLS"),
        ("time for one tool call, unless the tool sets another",
         "core.tools.tool:TOOL_TIMEOUT_SECONDS"),
        ("characters of a tool's result for the model",
         "core.tools.tool:MAX_OUTCOME_CHARACTERS"),
        ("wait for a platform to identify somebody", "core.turn.origins:WAIT_SECONDS"),
        ("seconds for running turns when Ponte stops (`PONTE_GRACE`)",
         f"{Settings.model_fields['ponte_grace'].default:g}"),
        ("attempts to deliver a finished answer", "core.chat.reply:MAX_DELIVERY_SECONDS"),
    ],
    "Files": [
        ("one file from a person", "core.domain.messages:MAX_ATTACHMENT_BYTES"),
        ("characters of a text file for the model",
         "core.domain.messages:MAX_FILE_TEXT_CHARACTERS"),
    ],
    "Changes": [
        ("rows in one request, except in an import", "core.domain.changes:MAX_PROPOSAL_ROWS"),
        ("rows of a spreadsheet to import", "core.imports.sheets:MAX_IMPORT_ROWS"),
        ("rows of the table that it is compared with", "core.imports.tools:MAX_TABLE_ROWS"),
        ("rows that people can approve for themselves", "core.domain.changes:OWN_ROWS"),
        ("rows on the card of a decided change", "core.changes.card_rows:MAX_CHANGE_ROWS_SHOWN"),
        ("time to decide on a request", "core.domain.changes:PROPOSAL_LIFETIME_SECONDS"),
        ("time to undo a change", "core.domain.changes:UNDO_LIFETIME_SECONDS"),
        ("approvers who get a direct message", "core.chat.approval_notices:MAX_COPIES"),
        ("characters of a post in another place",
         "core.tools.posting:MAX_POST_CHARACTERS"),
        ("characters of a reason to deny", "core.domain.changes:MAX_REASON_CHARACTERS"),
    ],
    "Schedules": [
        ("minutes between two runs, at least (`[schedules] shortest_minutes`)",
         str(ScheduleLimits().shortest_minutes)),
        ("schedules of one person (`[schedules] per_person`)", str(ScheduleLimits().per_person)),
        ("alerts of one person (`[alerts] per_person`)", str(AlertsConfig().per_person)),
        ("minutes between two looks of an alert, at least (`[alerts] shortest_minutes`)",
         str(AlertsConfig().shortest_minutes)),
        ("rows that an alert on new rows watches", "core.schedules.looks:MAX_WATCHED_ROWS"),
        ("failed looks in a row that an alert tells", "core.schedules.alerts:MAX_FAILED_LOOKS"),
        ("failed runs in a row that pause a schedule", "core.schedules.schedule:MAX_FAILED_RUNS"),
        ("age of a missed run that still runs, unless its schedule says otherwise",
         "core.schedules.schedule:DEFAULT_CATCH_UP_SECONDS"),
        ("characters of an instruction or text", "core.schedules.schedule:MAX_WHAT_LENGTH"),
        ("runs that are listed", "core.schedules.schedule:KEPT_RUNS"),
    ],
    "Tables (NocoDB)": [
        ("filters in one query", "core.tools.nocodb.filters:MAX_FILTERS"),
        ("rows that Ponte reads to group, export or filter",
         "core.tools.nocodb.row_reader:MAX_ROWS_READ"),
        ("characters of rows in one result",
         "core.tools.nocodb.read:MAX_ROWS_CHARACTERS"),
        ("characters of a cell", "core.tools.nocodb.fieldtypes:MAX_CELL_CHARACTERS"),
        ("tables named in the prompt", "core.tools.nocodb.schema:MAX_OUTLINED_TABLES"),
        ("age of remembered tables and fields",
         "core.tools.nocodb.schema:DESCRIPTION_SECONDS"),
        ("requests at once", "core.tools.nocodb.api:MAX_PARALLEL_NOCODB_CALLS"),
        ("rows in one write request", "core.tools.nocodb.api:MAX_ROWS_PER_WRITE"),
    ],
    "Python on your machine": [
        ("time for one run", "core.tools.code.session:RUN_SECONDS"),
        ("an idle kernel ends after", "core.tools.code.local:KERNEL_IDLE_SECONDS"),
        ("kernels at once", "core.tools.code.local:MAX_KERNELS"),
        ("output before the run is ended", "core.tools.code.session:MAX_PRINTED_BYTES"),
    ],
    "Quick commands (StackSpot)": [
        ("file used as the input", "core.commands.quick_commands:MAX_INPUT_FILE_BYTES"),
        ("characters of a result before it becomes a file",
         "core.commands.quick_commands:MAX_RESULT_CHARACTERS"),
        ("wait for one run (`STACKSPOT_DEADLINE`)",
         "core.tools.stackspot.client:RUN_DEADLINE_SECONDS"),
    ],
    "Slack": [
        ("text in one post", "adapters.slack.render:ANSWER_PART_BYTES"),
        ("one stream, before Ponte starts another message", "adapters.slack.posts:STREAM_SECONDS"),
        ("answers to a slash command where Ponte is not a member",
         "adapters.slack.interactions:RESPONSE_URL_SECONDS"),
    ],
    "Discord": [
        ("characters in one message", "adapters.discord.render:LIMIT"),
        ("messages of one answer", "adapters.discord.render:MAX_POSTS_OF_ANSWER"),
        ("cards under one message", "adapters.discord.card_embeds:MAX_CARDS"),
        ("files in one message", "adapters.discord.posts:MAX_FILES_IN_POST"),
        ("age of missed messages that are answered",
         "adapters.discord.adapter:MAX_ANSWER_AGE_SECONDS"),
    ],
    "The page and the HTTP API": [
        ("text of one message", "adapters.web.http_io:MAX_TEXT_BYTES"),
        ("one file", "adapters.web.http_io:MAX_FILE_BYTES"),
        ("files in one message", "adapters.web.http_io:MAX_FILES"),
        ("one form with files", "adapters.web.http_io:MAX_FORM_BODY_BYTES"),
        ("a session on the page by a link", "adapters.web.visitor:SESSION_SECONDS"),
        ("a session by Slack or a company's provider",
         "adapters.web.visitor:PROVIDER_SESSION_SECONDS"),
        ("such a session without a request", "adapters.web.visitor:IDLE_SECONDS"),
        ("time to sign in at a provider", "adapters.web.oidc.flow:SIGN_IN_SECONDS"),
        ("API tokens and schedules after a company's provider confirmed their person",
         "core.people.sign_ins:ABSENT_SECONDS"),
        ("open event streams", "adapters.web.hub:MAX_OPEN_STREAMS"),
        ("requests of one person over `/v1` at once",
         "adapters.web.api.openai_api:MAX_REQUESTS_OF_PERSON"),
        ("connections without a token", "adapters.web.server:MAX_UNAUTHENTICATED_CONNECTIONS"),
        ("time to send the head of a request", "adapters.web.server:HEAD_TIMEOUT_SECONDS"),
    ],
    "MCP clients": [
        ("one request", "adapters.web.server:MOUNTED_BODY_LIMIT_BYTES"),
        ("values in one request", "adapters.mcp_server.endpoint:MAX_MCP_VALUES"),
        ("levels of values in one request", "adapters.mcp_server.endpoint:MAX_MCP_DEPTH"),
        ("requests with one token that run at once",
         "adapters.mcp_server.endpoint:MAX_RUNNING_OF_TOKEN"),
        ("requests with one token, with those that wait",
         "adapters.mcp_server.endpoint:MAX_MCP_REQUESTS_OF_TOKEN"),
        ("requests with all tokens", "adapters.mcp_server.endpoint:MAX_MCP_REQUESTS"),
        ("changes that one person proposes in a minute",
         "adapters.mcp_server.requests:MAX_MCP_PROPOSALS_PER_MINUTE"),
        ("time for one call", "adapters.mcp_server.tools:MCP_CALL_SECONDS"),
    ],
    "Tools of MCP servers": [
        ("time for one call", "core.tools.mcp:MCP_CALL_TIMEOUT_SECONDS"),
        ("one answer", "core.base.http:MAX_RESPONSE_BYTES"),
        ("lines in one answer", "core.tools.mcp.session:MAX_ANSWER_LINES"),
        ("values in one answer", "core.tools.mcp.session:MAX_ANSWER_VALUES"),
        ("levels of values in one answer", "core.tools.mcp.session:MAX_ANSWER_DEPTH"),
        ("files of one result", "core.tools.mcp.source:MAX_RESULT_FILES"),
        ("schema of one tool", "core.tools.mcp.schema:MAX_SCHEMA_BYTES"),
        ("characters of one description", "core.tools.mcp.source:MAX_DESCRIPTION_CHARACTERS"),
        ("characters of one definition", "core.tools.mcp.session:MAX_DEFINITION_CHARACTERS"),
        ("pause between two lists of tools", "core.tools.mcp.session:RELIST_SECONDS"),
    ],
    "Several processes (Postgres)": [
        ("turns at once in one worker", "core.journal.jobs:MAX_WORKER_TURNS"),
        ("heartbeat of a process", "core.store.processes:BEAT_SECONDS"),
        ("another process takes its turns after", "core.store.processes:LEASE_SECONDS"),
    ],
    "Records": [
        ("snapshots before a migration", "core.store.schema:MAX_SNAPSHOTS"),
        ("age of a snapshot", "core.store.schema:SNAPSHOT_LIFETIME_SECONDS"),
        ("the audit log, in characters", "core.people.audit:MAX_AUDIT_LOG_CHARACTERS"),
        ("age of guest status, groups and roles for chat and reads",
         "core.people.policy:MAX_STALE_SECONDS"),
    ],
}  # fmt: skip


def limits() -> Iterator[str]:
    """Yield the lines of the page after its title."""
    yield "A setting in brackets changes the limit."
    for title, rows in LIMITS.items():
        yield from ("", f"## {title}", "")
        yield from (f"- {what}: **{value(place)}**" for what, place in rows)


def value(place: str) -> str:
    """Return the value at `module:CONSTANT` in words; any other text as it is."""
    module, colon, name = place.partition(":")
    if not colon:
        return place
    number = getattr(importlib.import_module(module), name)
    if name.endswith("SECONDS"):
        return duration(number)
    if name.endswith("BYTES"):
        return f"{number / 2**20:g} MiB" if number % 2**20 == 0 else f"{number:,} bytes"
    return f"{number:,}"


def duration(seconds: float) -> str:
    """Return a time in its largest round unit."""
    step = 3600 if seconds > 43_200 else 60 if seconds > 600 else 1
    rounded = round(seconds / step) * step
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if rounded >= 2 * size and rounded % size == 0:
            return f"{rounded // size:g} {unit}"
    return f"{rounded:g} s" if rounded < 3600 else f"{rounded / 3600:g} hours"
