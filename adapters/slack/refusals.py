"""What Slack's answers mean: for good, for now, or not known.

Error names are from docs.slack.dev/reference/methods, each method's page.
"""

from __future__ import annotations

PLACE_REFUSES = frozenset({
    "channel_not_found", "not_in_channel", "is_archived", "cannot_dm_bot", "user_not_in_channel",
    "restricted_action", "restricted_action_read_only_channel", "restricted_action_thread_locked",
    "restricted_action_non_threadable_channel", "restricted_action_thread_only_channel",
    "messages_tab_disabled", "user_disabled", "user_not_found", "no_permission", "access_denied",
    "ekm_access_denied", "team_access_not_granted", "message_limit_exceeded", "thread_not_found",
    "posting_to_general_channel_denied", "posting_to_channel_denied", "team_not_found",
    "cant_update_message", "edit_window_closed", "as_user_not_supported", "thread_locked",
})  # fmt: skip
"""The place takes no post of ours: trying again changes nothing."""

GONE = frozenset({"message_not_found", "cant_delete_message"})
"""Somebody deleted the post."""

STREAM_OVER = frozenset({
    "message_not_in_streaming_state", "streaming_state_conflict", "stream_not_found",
    "invalid_stream", "streaming_mode_mismatch",
})  # fmt: skip
"""The stream ended, by itself or by a person; the post stands and can be edited."""

FEATURE_OFF = frozenset({
    "unknown_method", "feature_not_enabled", "method_not_supported_for_channel_type",
    "not_allowed_token_type", "missing_scope", "not_an_agent", "app_not_agent", "agent_not_enabled",
    "method_deprecated", "deprecated_endpoint",
})  # fmt: skip
"""This workspace, plan or app does not have it, and will not within this process."""

SHAPE_REFUSED = frozenset({
    "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "invalid_attachments",
    "invalid_block_type", "block_mismatch",
})  # fmt: skip
"""The blocks do not please: the same text without them may."""

WRONG_TOKEN = frozenset({
    "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired",
    "not_allowed_token_type", "org_login_required", "invalid_token",
})  # fmt: skip

UNSURE = frozenset({
    "internal_error", "fatal_error", "service_unavailable", "request_timeout", "backend_error",
})  # fmt: skip
"""Slack broke on the way: the call may have had its effect."""


class SlackRefused(Exception):
    """Slack answered `{"ok": false}`; nothing was done. `error` is its word for why."""

    def __init__(self, method: str, error: str) -> None:
        super().__init__(f"{method}: {error}")
        self.method = method
        self.error = error


class InDoubt(Exception):
    """No answer came to a call that must not simply be repeated: it may have had its effect."""


class Unsent(InDoubt):
    """No connection was made, so nothing was done: the call may be repeated."""
