"""Questions about Slack's channels: their names, their members, and direct messages."""

from __future__ import annotations

import structlog

from adapters.slack.client import (
    FAILURES,
    SlackApi,
    SlackRefused,
)
from core.domain.errors import Undeliverable

log = structlog.get_logger("slack")

_PAGE, _PAGES = 1000, 10
"""Members of a channel that are asked for at once, and how often."""


async def direct_channel(api: SlackApi, user: str) -> str:
    """The direct message with a person, opened where there is none. Raises Undeliverable for who
    cannot be written to, else as `SlackApi.call`."""
    try:
        opened = await api.call("conversations.open", users=user)
    except SlackRefused as refused:
        raise Undeliverable(reason=refused.error) from refused
    return str((opened.get("channel") or {}).get("id", ""))


async def is_member(api: SlackApi, channel: str, user: str) -> bool:
    """False where that is not told, or not within so many pages."""
    cursor = None
    try:
        for _ in range(_PAGES):
            told = await api.call(
                "conversations.members", channel=channel, limit=_PAGE, cursor=cursor, patience=5.0
            )
            if user in told.get("members", []):
                return True
            cursor = told.get("response_metadata", {}).get("next_cursor") or None
            if not cursor:
                break
    except FAILURES as failure:
        log.info("who reads along is not told", why=str(failure))
    return False


async def channel_name(api: SlackApi, channel: str) -> str:
    """With its mark, as in `#general`; "" where that is not told."""
    try:
        told = await api.call("conversations.info", channel=channel, patience=5.0)
    except FAILURES as failure:
        log.info("a channel's name is not told", why=str(failure))
        return ""
    name = str((told.get("channel") or {}).get("name") or "")
    return f"#{name}" if name else ""
