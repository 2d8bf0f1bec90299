"""Slack's names of errors, and the exceptions that they become.

The comment beside a name lists the methods whose page documents it
(docs.slack.dev/reference/methods/METHOD; "every page" means all). For undocumented names it cites
who published that Slack returns it.
"""

from __future__ import annotations

from typing import Any

from core.base.errors import NotSent, PlatformBusy
from core.base.fault_bodies import parse_retry_after

GONE = frozenset({"message_not_found"})
"""Somebody deleted the post (chat.update, chat.delete, chat.appendStream, chat.stopStream)."""

STREAM_OVER = frozenset(
    {
        "message_not_in_streaming_state",  # chat.appendStream, chat.stopStream
        "streaming_state_conflict",  # chat.update: the message is still streaming
    }
)
"""The stream has already ended, or not yet. Ponte stops it and then edits the message."""

STREAM_STOPPED = frozenset({"stopped_by_user"})
"""A person ended the stream with Slack's own Stop button (chat.appendStream)."""

MESSAGE_TOO_LONG = frozenset(
    {
        # chat.update, chat.postEphemeral; posts: seratch/ChatGPT-in-Slack issue 102, streams:
        # CopilotKit/CopilotKit pull 6064 and openclaw/openclaw pull 143882
        "msg_too_long",
        "msg_blocks_too_long",  # chat.postMessage, chat.startStream, .appendStream, .stopStream
        "msg_blocks_too_many",  # chat.startStream, .appendStream, .stopStream
    }
)
"""Ponte tries a shorter form of the message, or splits it into more posts."""

SHAPE_REFUSED = frozenset(
    {
        "invalid_blocks",  # chat.postMessage, .postEphemeral, .update, .startStream and so on
        "invalid_blocks_format",  # chat.postMessage, .postEphemeral, .update, .startStream
        "invalid_chunks",  # chat.startStream, .appendStream, .stopStream
        "block_mismatch",  # chat.update
        # More than one table in a message, counting those of Markdown: "invalid_attachments error
        # with an only_one_table_allowed message"
        # (docs.slack.dev/reference/block-kit/blocks/table-block)
        "invalid_attachments",
        "only_one_table_allowed",
    }
)
"""Slack rejects the blocks. It may accept the same text without them."""

FEATURE_OFF = frozenset({
    "unknown_method", "method_deprecated", "deprecated_endpoint", "missing_scope",  # every page
    "not_allowed_token_type", "enterprise_is_restricted", "no_permission",  # every page
    "feature_disabled",  # agents.sessions.setStatus
    "not_authorized",  # agents.sessions.setStatus; for every app not declared as an agent
    #                    (kirodotdev/KiroCrew issue 9822)
    "channel_type_not_supported",  # chat.startStream, .appendStream, .stopStream
})  # fmt: skip
"""This workspace, plan or app does not have the feature or method. Ponte does not try it again for
REFUSAL_SECONDS."""
HTTP_ERROR = "http_"
"""Our name for an HTTP status without an error of Slack's begins with this. begins our name for an
HTTP status that came without an error of Slack's."""

NEEDED_METHODS = frozenset(
    {"auth.test", "apps.connections.open", "chat.postMessage", "chat.postEphemeral", "chat.update"}
)
"""There is no answer without these. They are called even if Slack just refused them."""

OF_THE_MESSAGE = frozenset({
    "message_not_found", "no_reaction", "already_reacted", "thread_locked", "not_reactable",
    "too_many_reactions", "too_many_emoji", "no_access", "is_archived",  # reactions.*
    "channel_not_found",  # all of these methods
    "invalid_thread_ts",  # assistant.threads.setStatus
    "thread_ts_required", "thread_ts_not_allowed",  # agents.sessions.setStatus
    "invalid_attachments", "only_one_table_allowed",  # see SHAPE_REFUSED
})  # fmt: skip
"""These errors are about one message or channel, so they are no refusals of a feature."""

TOKEN_REFUSED = frozenset(
    {
        "token_revoked",
        "token_expired",
        "account_inactive",
        "not_authed",  # every page
        "invalid_auth",  # auth.test, apps.connections.open; other pages only in examples
    }
)
"""Slack rejects the token: the app was removed, or its token is being replaced. It may become valid
again (slackapi/bolt-python issue 1029, microsoft/botframework-sdk issue 2537)."""

NOT_NOW = frozenset({
    "update_failed",  # chat.update
    "fetch_members_failed",  # conversations.members; under load (wee-slack issue 775)
    "external_channel_migrating",  # chat.update, reactions.add, reactions.remove
    "messaging_processing_failed",  # chat.startStream, chat.appendStream
    "team_added_to_org", "org_login_required",  # every page: "until migration is complete"
    "request_timeout",  # every page: "the POST data was either missing or truncated"
})  # fmt: skip
"""Slack did nothing. A later call may succeed."""

UNSURE = frozenset(
    {
        "fatal_error",  # every page: "it's possible some aspect of the operation succeeded"
        "service_unavailable",  # every page
        # agents.sessions.setStatus, auth.test, apps.connections.open; elsewhere
        # slackapi/python-slack-sdk issue 1403, slackapi/node-slack-sdk issue 1305
        "internal_error",
    }
)
"""Slack itself failed. The call may or may not have taken effect."""

RATE_LIMITED = frozenset(
    {
        "ratelimited",  # every page
        "rate_limited",  # chat.postMessage, chat.startStream, .appendStream, .stopStream
    }
)
"""The call is over a rate limit, with any HTTP status."""


class SlackRefused(Exception):
    """Slack answered `{"ok": false}` and did nothing. `error` is Slack's name for the reason."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"{method}: {error}")
        self.method = method
        self.error = error


class InDoubt(Exception):
    """A call may have taken effect. Callers must not simply repeat it."""

    @property
    def reason(self) -> str:
        """Slack's error name if there is one, else the exception's message."""
        return str(self)


class Unsent(InDoubt, NotSent):
    """No connection was made, so the call did nothing and may be repeated."""


class NotNow(Unsent):
    """Slack did nothing, for a temporary reason. The caller calls again later."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"{method}: {error}")
        self.error = error

    @property
    def reason(self) -> str:
        return self.error


class TokenRefused(NotNow):
    """Slack does not accept the token. At startup, Ponte fails. Later, an answer waits until the
    token is accepted again."""


FAILURES = (SlackRefused, InDoubt, PlatformBusy)
"""The exceptions that `SlackApi.call` raises."""


def explain_failure(method: str, response: Any) -> Exception:
    """Return the exception for a failed response.

    - PlatformBusy: over a rate limit; it says after how many seconds to try again.
    - NotNow and TokenRefused: Slack did nothing, and a later call may succeed.
    - InDoubt: the call may have taken effect, as after an error inside Slack.
    - SlackRefused: Slack refused for good. Error names in none of the lists count here.
    """
    # The SDK raises with its own response, or with that of aiohttp if the body is no JSON.
    status = getattr(response, "status_code", getattr(response, "status", 0))
    data = getattr(response, "data", None)
    error = data.get("error", "") if isinstance(data, dict) else ""
    if status == 429 or error in RATE_LIMITED:
        headers = {name.lower(): str(value) for name, value in response.headers.items()}
        seconds = parse_retry_after(headers)
        # Slack says how long; a proxy may not.
        return PlatformBusy(1.0 if seconds is None else seconds)
    if 400 <= status < 500 and not error:
        # A proxy or firewall in front of Slack refused it, without Slack's JSON. A method that no
        # answer can do without is tried again later; any other one counts as refused.
        error = f"{HTTP_ERROR}{status}"
        return NotNow(method, error) if method in NEEDED_METHODS else SlackRefused(method, error)
    if status >= 500 or not error:
        return InDoubt(f"{method}: {status} {error}".strip())
    if error in TOKEN_REFUSED:
        return TokenRefused(method, error)
    if error in NOT_NOW:
        return NotNow(method, error)
    return InDoubt(f"{method}: {error}") if error in UNSURE else SlackRefused(method, error)
