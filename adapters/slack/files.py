"""How a file's bytes are got from Slack, and how files go there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import structlog

from adapters.slack.client import (
    InDoubt,
    SlackApi,
)
from adapters.slack.events import private_url
from adapters.slack.render import Json
from adapters.slack.workspace import Workspace
from core.chat.files import MAX_ATTACHMENT_BYTES
from core.domain.messages import Attachment, File
from core.ports.conversations import Files

log = structlog.get_logger("slack")
Find = Callable[[frozenset[str]], Awaitable[str | None]]
"""The time stamp of a post of ours that holds these files."""
_HOSTS = ("slack.com", "slack-edge.com", "slack-files.com")


class SlackFiles:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def read(self, attachment: Attachment) -> tuple[Attachment, bytes] | None:
        attachment, url = await self._complete(attachment)
        data = await self._bytes(attachment, url)
        return None if data is None else (attachment, data)

    async def _bytes(self, attachment: Attachment, url: str) -> bytes | None:
        if attachment.size > MAX_ATTACHMENT_BYTES or not self._ours(url):
            return None
        async with self._workspace.api.download(url) as answer:
            page = answer.content_type == "text/html" and attachment.type != "text/html"
            if answer.status != 200 or page:  # without files:read Slack shows its login page
                log.warning("file refused", status=answer.status, login_page=page)
                return None
            data = bytearray()
            async for chunk in answer.content.iter_chunked(65_536):
                data += chunk
                if len(data) > MAX_ATTACHMENT_BYTES:
                    return None
        html = attachment.type == "text/html"
        return None if html and len(data) != attachment.size else bytes(data)

    async def _complete(self, attachment: Attachment) -> tuple[Attachment, str]:
        """With its address. Events from channels that are shared with other companies tell only
        the file's id, and so do forms."""
        id, _, url = attachment.reference.partition(" ")
        if url:
            return attachment, url
        told = (await self._workspace.api.call("files.info", file=id)).get("file", {})
        found = replace(
            attachment, name=str(told.get("name") or attachment.name),
            type=str(told.get("mimetype") or attachment.type),
            size=int(told.get("size") or attachment.size),
        )  # fmt: skip
        return found, private_url(told)

    def _ours(self, url: str) -> bool:
        """Our token goes to Slack alone, whatever address an event carries."""
        parts, api = urlsplit(url), urlsplit(self._workspace.api.base_url)
        if (parts.scheme, parts.netloc) == (api.scheme, api.netloc):
            return True
        host = parts.hostname or ""
        known = any(host == name or host.endswith("." + name) for name in _HOSTS)
        return parts.scheme == "https" and known


async def upload(
    api: SlackApi, kept: Files, find: Find, files: Sequence[File], channel: str, thread: str
) -> str:
    """All of an answer's files in one post; its time stamp. Raises as `SlackApi.call`.

    The SDK's files_upload_v2 does it in one call; here each step is told apart, so that an answer
    lost after the last one is looked for instead of repeated.
    """
    names = frozenset(file.name for file in files)
    entries: list[Json] = []
    for file in files:
        _, data = await kept.get(file.id)
        to = await api.call("files.getUploadURLExternal", filename=file.name, length=len(data))
        await api.send_file(str(to["upload_url"]), data)
        entries.append({"id": to["file_id"], "title": file.name})
    try:
        await api.call(
            "files.completeUploadExternal", files=entries, channel_id=channel,
            thread_ts=thread or None,
        )  # fmt: skip
    except InDoubt:
        if found := await find(names):
            return found
        raise
    return await find(names) or "0"
