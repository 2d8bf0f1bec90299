"""Files in: fetched beside the turn as soon as a message is stored, or when the turn needs one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import urlsplit

import structlog

from adapters.slack.client import InDoubt, SlackRefused
from adapters.slack.events import private_url
from adapters.slack.workspace import Workspace
from core.errors import PonteError
from core.messages import Attachment, File, Message
from core.ports import Files

log = structlog.get_logger("slack")
LIMIT = 20 * 1024 * 1024
"""Bytes of one file that are taken; Slack itself takes up to 1 GB."""
_HOSTS = ("slack.com", "slack-edge.com", "slack-files.com")


class Downloads:
    """Each file once: whoever asks while it is under way waits for the same."""

    def __init__(self, workspace: Workspace, files: Files) -> None:
        self._workspace = workspace
        self._files = files
        self._under_way: dict[str, asyncio.Task[File | None]] = {}

    def begin(self, message: Message) -> None:
        for attachment in message.attachments:
            self._task(message, attachment)

    async def fetch(self, message: Message, attachment: Attachment) -> File | None:
        """The `Fetch` port: None where it cannot be had (too large, refused, gone)."""
        return await asyncio.shield(self._task(message, attachment))

    async def close(self) -> None:
        for task in list(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _task(self, message: Message, attachment: Attachment) -> asyncio.Task[File | None]:
        key = f"{message.event_key} {attachment.reference}"
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._get(message, attachment))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def _get(self, message: Message, attachment: Attachment) -> File | None:
        try:
            attachment, url = await self._told(attachment)
            data = await self._bytes(attachment, url)
            if data is None:
                return None
            return await self._files.put(
                message.event_key, attachment.name, attachment.type, data, message.author,
                message.address.conversation,
            )  # fmt: skip
        except (InDoubt, SlackRefused, PonteError) as error:
            log.warning("file not fetched", turn=message.turn, why=repr(error))
            return None

    async def _bytes(self, attachment: Attachment, url: str) -> bytes | None:
        if attachment.size > LIMIT or not self._ours(url):
            return None
        async with self._workspace.api.download(url) as answer:
            page = answer.content_type == "text/html" and attachment.type != "text/html"
            if answer.status != 200 or page:  # without files:read Slack shows its login page
                log.warning("file refused", status=answer.status, login_page=page)
                return None
            data = bytearray()
            async for chunk in answer.content.iter_chunked(65_536):
                data += chunk
                if len(data) > LIMIT:
                    return None
        html = attachment.type == "text/html"
        return None if html and len(data) != attachment.size else bytes(data)

    async def _told(self, attachment: Attachment) -> tuple[Attachment, str]:
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
