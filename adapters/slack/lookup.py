"""Our own posts, found again: by their key, else as the one that must be it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from adapters.slack.api import PATIENCE, Json, SlackApi
from adapters.slack.refusals import SlackRefused
from adapters.slack.stream import post_metadata
from adapters.slack.workspace import Workspace

_PAGE, _PAGES = 200, 5


class Lookup:
    """Posts of ours in one place since a source message."""

    def __init__(self, workspace: Workspace, channel: str, thread: str, since: str) -> None:
        self._workspace = workspace
        self._channel = channel
        self._thread = thread
        self._since = since

    async def keyed(self, key: str) -> str | None:
        """The time stamp of the post with that key."""
        async for post in self._ours():
            if key_of(post) == key:
                return str(post["ts"])
        return None

    async def keys(self) -> frozenset[str]:
        """Of all our posts."""
        return frozenset([key_of(post) async for post in self._ours()])

    async def keyless(self, key: str) -> str | None:
        """A stream that was begun and not yet stopped carries no key: ours, then, is the one
        without. It is stopped, so that it can be edited, and marked with `key`."""
        async for post in self._ours():
            if not key_of(post) and not post.get("files") and "metadata" not in post:
                ts = str(post["ts"])
                await stop(self._workspace.api, self._channel, ts, key)
                return ts
        return None

    async def with_files(self, names: frozenset[str] = frozenset()) -> str | None:
        """The post that holds files of ours (all of `names`, where they are given)."""
        async for post in self._ours():
            held = {file.get("name") for file in post.get("files", [])}
            if held and names <= held:
                return str(post["ts"])
        return None

    async def _ours(self) -> AsyncIterator[Json]:
        """Oldest first; nothing where the place does not let us read."""
        await self._workspace.identify()
        try:
            async for post in read(self._workspace.api, self._channel, self._thread, self._since):
                if post.get("user") == self._workspace.user and post["ts"] > self._since:
                    yield post
        except SlackRefused:
            return


async def read(
    api: SlackApi, channel: str, thread: str, since: str, patience: float = PATIENCE
) -> AsyncIterator[Json]:
    """The messages of a thread, or of a channel's top level, after `since`, oldest first."""
    method = "conversations.replies" if thread else "conversations.history"
    pages: list[Json] = []
    cursor = None
    for _ in range(_PAGES):
        told = await api.call(
            method, channel=channel, ts=thread or None, oldest=since, limit=_PAGE,
            include_all_metadata=True, cursor=cursor, patience=patience,
        )  # fmt: skip
        pages += told.get("messages", [])
        cursor = told.get("response_metadata", {}).get("next_cursor") or None
        if not cursor:
            break
    for message in sorted(pages, key=lambda message: str(message["ts"])):
        yield message


async def stop(api: SlackApi, channel: str, ts: str, key: str = "") -> None:
    """Close a stream that another process left open; one that is closed already is fine."""
    try:
        metadata = post_metadata(key) if key else None
        await api.call("chat.stopStream", channel=channel, ts=ts, metadata=metadata)
    except SlackRefused:
        return


def key_of(post: Json) -> str:
    metadata = post.get("metadata") or {}
    return str(metadata.get("event_payload", {}).get("key", ""))
