"""Queries about Slack's channels: their names, their members, and direct messages."""

from __future__ import annotations

import structlog

from adapters.slack.client import FAILURES, SlackApi, SlackRefused
from core.base.errors import Undeliverable

log = structlog.get_logger("slack")

_PAGE, _PAGES = 1000, 10
"""Members per page, and the maximum number of pages, when Ponte lists a channel's members."""


async def direct_channel(api: SlackApi, user: str) -> str:
    """Return the id of the direct message with a person, and open it if there is none.

    Raises Undeliverable for a person that Slack refuses, else the errors of `SlackApi.call`.
    """
    try:
        opened = await api.call("conversations.open", users=user)
    except SlackRefused as refused:
        raise Undeliverable(reason=refused.error) from refused
    return str((opened.get("channel") or {}).get("id", ""))


async def is_member(api: SlackApi, channel: str, user: str) -> bool | None:
    """Return whether a person is a member of a channel. None if Slack does not tell, or if the
    first 10,000 members of a larger channel do not include them."""
    try:
        return await find_member(api, channel, user)
    except FAILURES as failure:
        log.info("could not check membership of a channel", error=str(failure))
    return None


async def find_member(api: SlackApi, channel: str, user: str) -> bool | None:
    """Return whether a person is a member of a channel; None as `is_member` does for a larger
    channel. Raises the errors of `SlackApi.call`."""
    cursor = None
    for _ in range(_PAGES):
        told = await api.call(
            "conversations.members", channel=channel, limit=_PAGE, cursor=cursor, patience=5.0
        )
        if user in told.get("members", []):
            return True
        cursor = told.get("response_metadata", {}).get("next_cursor") or None
        if not cursor:
            return False
    return None


async def channel_name(api: SlackApi, channel: str) -> str:
    """Return a channel's name, as in `#general`; "" if Slack does not tell."""
    try:
        told = await api.call("conversations.info", channel=channel, patience=5.0)
    except FAILURES as failure:
        log.info("could not look up a channel name", error=str(failure))
        return ""
    name = str((told.get("channel") or {}).get("name") or "")
    return f"#{name}" if name else ""
