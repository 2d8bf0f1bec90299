"""Time limits of the product that a slow machine could reach: in tests each is a minute.

They cut off an answer that takes too long, such as Slack's about a name: a turn goes on without it,
or a person is asked to try again. What a test expects must not depend on whether its machine was
quick enough. A test that is about such a limit sets it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from functools import reduce
from inspect import signature
from types import FunctionType
from typing import Any

import pytest

SECONDS = 60.0
LIMITS: dict[str, tuple[str, ...]] = {
    "adapters.discord.intake": ("THREAD_CREATION_SECONDS",),
    "adapters.discord.interactions": (
        "AUTOCOMPLETE_SECONDS",
        "CHANGE_FORM_SECONDS",
        "DISCORD_RIGHTS_SECONDS",
        "DISCORD_STORE_SECONDS",
        "NAME_LOOKUP_SECONDS",
        "QUICK_COMMAND_LOOKUP_SECONDS",
    ),
    "adapters.slack.intake": ("THREAD_SECONDS",),
    "adapters.slack.interactions": ("SLACK_FORM_SECONDS", "SLACK_OPEN_SECONDS"),
    "adapters.slack.people": ("PEOPLE_SECONDS", "SlackPeople.profiles.seconds"),
    "adapters.web.api.openai_api": ("EARLY_FAILURE_SECONDS",),
    "adapters.web.oidc.client": ("ANSWER_TIMEOUT_SECONDS",),
    "core.domain.ports": ("LABELS_TIMEOUT_SECONDS",),
    "core.journal.turn_runner": ("DECISIONS_FIRST_SECONDS",),
    "core.models.context_size": ("ContextSizes.wait.seconds",),
    "core.models.served_model": ("HEALTH_WAIT_SECONDS",),
    "core.people.policy": ("_CONFIRM_TIMEOUT_SECONDS", "_LOOKUP_TIMEOUT_SECONDS"),
    "core.tools.code.local": ("PROOF_WAIT_SECONDS",),
    "core.tools.code.sandbox.process": ("FOLLOW_SECONDS", "LAST_OUTPUT_SECONDS"),
    "core.tools.mcp.session": ("CONNECT_TIMEOUT_SECONDS", "HANDSHAKE_SECONDS"),
    "core.tools.mcp.source": ("CHECK_TIMEOUT_SECONDS",),
    "core.tools.nocodb.bridge": ("list_table_names.timeout",),
    "core.tools.nocodb.source": ("NOCODB_LOOK_TIMEOUT_SECONDS",),
    "core.turn.manager": ("PLATFORM_SECONDS",),
    "core.turn.origins": ("CONFIRM_SECONDS",),
    "core.webhooks.intake": ("STORE_SECONDS",),
}
"""Module → its constants, and parameters whose default is such a limit."""
CHANGED: dict[str, tuple[str, ...]] = {
    "adapters.discord.client": (
        "CALL_PAUSES_SECONDS",
        "RETRY_LATER_SECONDS",
    ),
    "adapters.discord.connection": (
        "DISCORD_CONNECT_BACKOFF",
        "DISCORD_REFUSAL_SECONDS",
        "DISCORD_SILENCE_SECONDS",
        "DISCORD_START_SECONDS",
    ),
    "adapters.discord.context": ("MAX_THREAD_MESSAGES",),
    "adapters.discord.people": ("ASK_AGAIN_SECONDS",),
    "adapters.discord.posts": (
        "MAX_REQUEST_BYTES",
        "MAX_UPLOAD_TRIES",
    ),
    "adapters.discord.presence": (
        "HOURGLASS_AFTER_SECONDS",
        "SIGN_AFTER_SECONDS",
        "STILL_TEXT_SECONDS",
        "TYPING_PERIOD_SECONDS",
    ),
    "adapters.discord.render": ("LIMIT",),
    "adapters.discord.state": (
        "MAX_REMEMBERED",
        "MAX_REMEMBERED_ACKS",
    ),
    "adapters.mcp_server.requests": (
        "MAX_MCP_PROPOSALS_PER_MINUTE",
        "MAX_SEARCHED_CHANGES",
    ),
    "adapters.mcp_server.tools": (
        "MAX_LISTED_MCP_REQUESTS",
        "MCP_CALL_SECONDS",
    ),
    "adapters.slack.adapter": ("SLACK_START_SECONDS",),
    "adapters.slack.client": (
        "CALL_BACKOFF",
        "REFUSAL_SECONDS",
        "_TRIES",
    ),
    "adapters.slack.home": ("_IDENTIFY_PAUSES_SECONDS",),
    "adapters.slack.rate_limits": ("CHANNEL_INTERVAL",),
    "adapters.slack.people": (
        "GROUPS_RETRY_SECONDS",
        "LIST_AGAIN_SECONDS",
        "PAGE_SIZES",
        "_PAGES",
    ),
    "adapters.slack.posts": ("STREAM_SECONDS",),
    "adapters.slack.presence": (
        "NOTICE_AFTER_SECONDS",
        "SIGN_AFTER_SECONDS",
    ),
    "adapters.slack.render": ("SECTION_BYTES",),
    "adapters.terminal.chat": ("RECONNECT_PAUSES_SECONDS",),
    "adapters.web.api.stream": ("KEEP_ALIVE_SECONDS",),
    "adapters.web.http_io": (
        "MAX_FILE_BYTES",
        "MAX_JSON_VALUES",
        "MAX_TEXT_BYTES",
        "SLOW_BODY_SECONDS",
    ),
    "adapters.web.hub": (
        "MAX_OPEN_STREAMS",
        "SERVER_RETRY_SECONDS",
        "VISITOR_CHECK_INTERVAL_SECONDS",
    ),
    "adapters.web.server": (
        "HAND_OVER_CHECKS",
        "MAX_UNAUTHENTICATED_CONNECTIONS",
        "MIN_BODY_BYTES_PER_SECOND",
        "SHUTDOWN_GRACE_SECONDS",
    ),
    "adapters.web.setup.routes": ("FRESH_SECONDS",),
    "adapters.web.sign_in": ("RENEWAL_SECONDS",),
    "adapters.web.visitor": ("CONFIRMATION_TIMEOUT_SECONDS",),
    "bot.cli.doctor": ("SILENCE_SECONDS",),
    "bot.doctor": ("INSTALL_FOLDER",),
    "bot.home": ("_SYSTEM_FOLDERS",),
    "bot.setup.service": (
        "LOCAL_SERVERS",
        "MAX_DRAFTS",
    ),
    "bot.stores": ("SCHEMA",),
    "core.base.markdown": ("MAX_MARKDOWN_CHARACTERS",),
    "core.base.openai": ("MAX_STREAM_BYTES",),
    "core.base.tasks": ("RECANCEL_SECONDS",),
    "core.changes.apply": ("REST_FACTOR",),
    "core.changes.cards": ("MAX_LISTED_CHANGES",),
    "core.changes.ledger": ("ROWS_PER_TRANSACTION",),
    "core.chat.approval_notices": (
        "MAX_COPY_REDRAWS",
        "MAX_REDRAW_TRIES",
        "REDRAW_PERIOD_SECONDS",
    ),
    "core.chat.file_downloads": ("MAX_ATTACHMENT_BYTES",),
    "core.chat.incoming": (
        "CONTEXT_SECONDS",
        "UNKNOWN_MARK_SECONDS",
    ),
    "core.chat.message_links": ("CONTEXT_SECONDS",),
    "core.chat.reply": (
        "MAX_DELIVERY_SECONDS",
        "POST_BACKOFF",
        "SETTLE_SECONDS",
        "WHOLE_ANSWER_SECONDS",
    ),
    "core.erasure": ("EXPORT_PAGE_ROWS",),
    "core.feedback.places": (
        "PLACE_PAUSE_SECONDS",
        "PLACE_REFRESH_SECONDS",
        "PLACE_TIMEOUT_SECONDS",
    ),
    "core.journal.inbox": ("PURGED_MESSAGES_PER_TRANSACTION",),
    "core.journal.jobs": (
        "ADMISSION_WAIT_SECONDS",
        "MAX_WORKER_TURNS",
        "RECANCEL_SECONDS",
        "RECHECK_SECONDS",
    ),
    "core.journal.procrastinate_adapter": ("QUEUE_POLL_SECONDS",),
    "core.journal.queue_manager": ("RELISTEN_SECONDS",),
    "core.journal.thread_map": ("ROWS_PER_TRANSACTION",),
    "core.journal.takeover": ("FIRST_POSTPONED_SECONDS", "MAX_POSTPONED_SECONDS"),
    "core.journal.turn_queue": ("POSITIONS_PER_ROUND",),
    "core.journal.turn_runner": (
        "CANCELLED_TURN_SECONDS",
        "CRASHES_BEFORE_ALONE",
        "LONG_WAIT_SECONDS",
        "RUN_ALONE_SECONDS",
        "TURN_BACKOFF",
    ),
    "core.models": ("AZURE_DOMAINS",),
    "core.models.context_size": ("CONTEXT_KNOWN_SECONDS",),
    "core.models.model_input": ("MAX_REQUEST_FILE_BYTES",),
    "core.models.served_model": ("PROBE_INTERVAL_SECONDS",),
    "core.people.audit": (
        "MAX_AUDIT_LOG_CHARACTERS",
        "MAX_PAGE_LINES",
        "MAX_SCANNED_LINES",
        "ROWS_PER_TRANSACTION",
    ),
    "core.people.directory": (
        "ASK_AGAIN_SECONDS",
        "MAX_MEMBERS_IN_MEMORY",
    ),
    "core.people.policy": ("_MAX_CACHED_PEOPLE",),
    "core.schedules.runs": (
        "MAX_STATUS_WAIT_SECONDS",
        "UNKNOWN_STATUS_BACKOFF",
    ),
    "core.store.database": (
        "BUSY_TIMEOUT_MS",
        "SYNCHRONOUS_MODE",
    ),
    "core.store.postgres": ("MIN_SERVER_VERSION",),
    "core.store.processes": (
        "BEAT_SECONDS",
        "HANDLER_TIMEOUT_SECONDS",
        "LEASE_SECONDS",
        "RECONNECT_BACKOFF",
        "RECONNECT_SECONDS",
        "ROLE_LEASE_SECONDS",
        "ROLE_MARGIN_SECONDS",
    ),
    "core.tools.code.environment": (
        "INSTALL_WAIT_SECONDS",
        "REQUIREMENTS_FILE",
        "SHARED_FOLDER",
    ),
    "core.tools.code.hosted": ("CONTAINER_FORGET_TIMEOUT_SECONDS",),
    "core.tools.code.hosted_api": ("MAX_OUTPUT_BYTES",),
    "core.tools.code.local": ("_CGROUP",),
    "core.tools.code.session": ("INTERRUPT_GRACE_SECONDS",),
    "core.tools.mcp.session": (
        "CLOSE_SECONDS",
        "RELIST_SECONDS",
    ),
    "core.tools.mcp.source": ("MCP_RETRY_SECONDS",),
    "core.tools.nocodb.fieldtypes": ("FIELD_TYPES",),
    "core.tools.nocodb.schema": ("RECENT_DESCRIPTION_SECONDS",),
    "core.tools.nocodb.source": ("APPLYING_PAUSES_SECONDS",),
    "core.tools.posting": (
        "ARRIVAL_SECONDS",
        "BUSY_POST_SECONDS",
    ),
    "core.tools.stackspot.source": ("NAMING_TIMEOUT_SECONDS",),
    "core.tools.tool": ("SOURCE_HEALTH_TIMEOUT_SECONDS",),
    "core.turn.commands": ("MAX_LISTED_CHANGES",),
    "core.turn.context": ("FETCH_TIMEOUT_SECONDS",),
    "core.turn.manager": ("TAKEOVER_POLL_SECONDS",),
    "core.turn.origins": ("WAIT_SECONDS",),
    "core.turn.run": ("STORE_BACKOFF",),
}
"""Module → its further constants that tests change with `limits`, such as waits and sizes."""


def lengthen(patch: pytest.MonkeyPatch) -> None:
    """Set the limits of the modules that the tests have imported."""
    for module, names in LIMITS.items():
        for owner, name in find_owners(module, names) if module in sys.modules else ():
            if not isinstance(owner, FunctionType):
                patch.setattr(owner, name, SECONDS)
            elif owner.__kwdefaults__:
                patch.setitem(owner.__kwdefaults__, name, SECONDS)
            else:
                patch.setattr(owner, "__defaults__", (SECONDS,))


def read(module: str) -> Iterator[float]:
    """Return the present values of a module's limits."""
    for owner, name in find_owners(module, LIMITS[module]):
        is_function = isinstance(owner, FunctionType)
        yield signature(owner).parameters[name].default if is_function else getattr(owner, name)


def find_owners(module: str, names: Iterable[str]) -> Iterator[tuple[Any, str]]:
    for name in names:
        *owners, last = name.split(".")
        yield reduce(getattr, owners, sys.modules[module]), last


class Limits:
    """Sets constants of the product for one test, by name and in every module that is listed here
    with it: `limits(LEASE_SECONDS=1.0)`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def __call__(self, **values: Any) -> None:
        for name, value in values.items():
            modules = [module for module in {**LIMITS, **CHANGED} if name in _names_of(module)]
            assert modules, f"List {name} with its module in tests/time_limits.py."
            for module in modules:
                self._patch.setattr(importlib.import_module(module), name, value)


def _names_of(module: str) -> tuple[str, ...]:
    return (*LIMITS.get(module, ()), *CHANGED.get(module, ()))
