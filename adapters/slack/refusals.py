"""What Slack's answers mean: for good, for now, or not known.

Each name stands with the methods whose page has it (docs.slack.dev/reference/methods/METHOD, "every
page" for those that all have), or with who published that Slack says it. A name that is in no list
here ends that call, worded: it is SlackRefused, and not tried again.
"""

from __future__ import annotations

GONE = frozenset({"message_not_found"})
"""Somebody deleted the post (chat.update, chat.delete, chat.appendStream, chat.stopStream)."""

STREAM_OVER = frozenset({
    "message_not_in_streaming_state",  # chat.appendStream, chat.stopStream
    "streaming_state_conflict",  # chat.update: the message is still streaming
})  # fmt: skip
"""The message streams no more, or still does: it is stopped, and then edited."""

STOPPED = frozenset({"stopped_by_user"})
"""A person pressed Slack's own Stop (chat.appendStream)."""

TOO_LONG = frozenset({
    "msg_too_long",  # chat.update, chat.postEphemeral; of posts seratch/ChatGPT-in-Slack issue 102,
    #                  of streams CopilotKit/CopilotKit pull 6064 and openclaw/openclaw pull 143882
    "msg_blocks_too_long",  # chat.postMessage, chat.startStream, .appendStream, .stopStream
    "msg_blocks_too_many",  # chat.startStream, .appendStream, .stopStream
})  # fmt: skip
"""The same answer fits in a shorter dress, or in one more post."""

SHAPE_REFUSED = frozenset({
    "invalid_blocks",  # chat.postMessage, .postEphemeral, .update, .startStream and so on
    "invalid_blocks_format",  # chat.postMessage, .postEphemeral, .update, .startStream
    "invalid_chunks",  # chat.startStream, .appendStream, .stopStream
    "block_mismatch",  # chat.update
})  # fmt: skip
"""The blocks do not please: the same text without them may."""

FEATURE_OFF = frozenset({
    "unknown_method", "method_deprecated", "deprecated_endpoint", "missing_scope",  # every page
    "not_allowed_token_type", "enterprise_is_restricted", "no_permission",  # every page
    "feature_disabled",  # agents.sessions.setStatus
    "not_authorized",  # agents.sessions.setStatus; so for every app that is declared no agent
    #                    (kirodotdev/KiroCrew issue 9822)
    "channel_type_not_supported",  # chat.startStream, .appendStream, .stopStream
})  # fmt: skip
"""This workspace, plan or app does not have it, and will not within this process."""

OF_THE_MESSAGE = frozenset({
    "message_not_found", "no_reaction", "already_reacted", "thread_locked", "not_reactable",
    "too_many_reactions", "too_many_emoji", "no_access", "is_archived",  # reactions.*
    "channel_not_found",  # all of these methods
    "invalid_thread_ts",  # assistant.threads.setStatus
    "thread_ts_required", "thread_ts_not_allowed",  # agents.sessions.setStatus
})  # fmt: skip
"""They say nothing about a feature, only about where it was tried."""

TOKEN_REFUSED = frozenset({
    "token_revoked", "token_expired", "account_inactive", "not_authed",  # every page
    "invalid_auth",  # auth.test, apps.connections.open; elsewhere the example answers have it
})  # fmt: skip
"""The app was removed, or its token is being replaced: it may come back (slackapi/bolt-python issue
1029, microsoft/botframework-sdk issue 2537)."""

NOT_NOW = frozenset({
    "update_failed",  # chat.update
    "external_channel_migrating",  # chat.update, reactions.add, reactions.remove
    "messaging_processing_failed",  # chat.startStream, chat.appendStream
    "team_added_to_org", "org_login_required",  # every page: "until migration is complete"
    "request_timeout",  # every page: "the POST data was either missing or truncated"
})  # fmt: skip
"""Nothing was done, and later it may be."""

UNSURE = frozenset({
    "fatal_error",  # every page: "it's possible some aspect of the operation succeeded"
    "service_unavailable",  # every page
    "internal_error",  # agents.sessions.setStatus, auth.test, apps.connections.open; elsewhere
    #                    slackapi/python-slack-sdk issue 1403, slackapi/node-slack-sdk issue 1305
})  # fmt: skip
"""Slack broke on the way: the call may have had its effect."""

RATE_LIMITED = frozenset({
    "ratelimited",  # every page
    "rate_limited",  # chat.postMessage, chat.startStream, .appendStream, .stopStream
})  # fmt: skip


class SlackRefused(Exception):
    """Slack answered `{"ok": false}`; nothing was done. `error` is its word for why."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"{method}: {error}")
        self.method = method
        self.error = error


class InDoubt(Exception):
    """No answer came to a call that must not simply be repeated: it may have had its effect."""

    @property
    def reason(self) -> str:
        """In Slack's word, where it said one."""
        return str(self)


class Unsent(InDoubt):
    """No connection was made, so nothing was done: the call may be repeated."""


class NotNow(Unsent):
    """Slack did nothing, for a reason that passes: who called waits, and calls again."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"{method}: {error}")
        self.error = error

    @property
    def reason(self) -> str:
        return self.error


class TokenRefused(NotNow):
    """The token is not taken. A start does not wait for that; an answer does."""


def meaning(method: str, error: str) -> Exception:
    """A refusal, by its name, as one of these."""
    if error in TOKEN_REFUSED:
        return TokenRefused(method, error)
    if error in NOT_NOW:
        return NotNow(method, error)
    if error in UNSURE:
        return InDoubt(f"{method}: {error}")
    return SlackRefused(method, error)
