"""How a file's bytes are got from Slack."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import structlog

from adapters.slack.events import private_url
from adapters.slack.workspace import Workspace
from core.messages import Attachment
from core.unread import LARGEST

log = structlog.get_logger("slack")
_HOSTS = ("slack.com", "slack-edge.com", "slack-files.com")


class SlackFiles:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def read(self, attachment: Attachment) -> tuple[Attachment, bytes] | None:
        attachment, url = await self._told(attachment)
        data = await self._bytes(attachment, url)
        return None if data is None else (attachment, data)

    async def _bytes(self, attachment: Attachment, url: str) -> bytes | None:
        if attachment.size > LARGEST or not self._ours(url):
            return None
        async with self._workspace.api.download(url) as answer:
            page = answer.content_type == "text/html" and attachment.type != "text/html"
            if answer.status != 200 or page:  # without files:read Slack shows its login page
                log.warning("file refused", status=answer.status, login_page=page)
                return None
            data = bytearray()
            async for chunk in answer.content.iter_chunked(65_536):
                data += chunk
                if len(data) > LARGEST:
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
