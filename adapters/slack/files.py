"""Downloads files from Slack, and uploads files to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import structlog

from adapters.slack.client import InDoubt, SlackApi
from adapters.slack.events import private_url
from adapters.slack.render import Json
from core.domain.messages import MAX_ATTACHMENT_BYTES, Attachment, File
from core.domain.ports import Files

log = structlog.get_logger("slack")
Find = Callable[[frozenset[str]], Awaitable[str | None]]
"""Returns the time stamp of a post of the bot with files of these names; None if there is none."""
_HOSTS = ("slack.com", "slack-edge.com", "slack-files.com")
"""The domains that may receive our token."""


class SlackFiles:
    """Downloads the files that people attach."""

    def __init__(self, api: SlackApi) -> None:
        self._api = api

    async def read(self, attachment: Attachment) -> tuple[Attachment, bytes] | None:
        """Return a file's description and bytes. Return None if it is larger than
        MAX_ATTACHMENT_BYTES, not on one of Slack's hosts, or refused. Raises the errors of
        `SlackApi.call`."""
        attachment, url = await self._complete(attachment)
        if attachment.size > MAX_ATTACHMENT_BYTES or not self._is_slack_file(url):
            return None
        async with self._api.download(url) as answer:
            page = answer.content_type == "text/html" and attachment.type != "text/html"
            if answer.status != 200 or page:  # without files:read Slack sends a login page
                log.warning(
                    "Slack refused a file download", http_status=answer.status, is_login_page=page
                )
                return None
            data = bytearray()
            async for chunk in answer.content.iter_chunked(65_536):
                data += chunk
                if len(data) > MAX_ATTACHMENT_BYTES:
                    return None
        # A login page is HTML as well. Only its length distinguishes it from an HTML file.
        html = attachment.type == "text/html"
        return None if html and len(data) != attachment.size else (attachment, bytes(data))

    async def _complete(self, attachment: Attachment) -> tuple[Attachment, str]:
        """Return the file's description and its private address.

        Forms, and events from channels shared with other companies, contain only the file's id.
        Then files.info supplies the rest.
        """
        id, _, url = attachment.reference.partition(" ")
        if url:
            return attachment, url
        info = (await self._api.call("files.info", file=id)).get("file", {})
        complete = replace(
            attachment, name=str(info.get("name") or attachment.name),
            type=str(info.get("mimetype") or attachment.type),
            size=int(info.get("size") or attachment.size),
        )  # fmt: skip
        return complete, private_url(info)

    def _is_slack_file(self, url: str) -> bool:
        """Return whether an address may receive our token. Only Slack's hosts and the configured
        API may, whatever address an event contains."""
        parts, api = urlsplit(url), urlsplit(self._api.base_url)
        if (parts.scheme, parts.netloc) == (api.scheme, api.netloc):
            return True
        host = parts.hostname or ""
        is_of_slack = any(host == name or host.endswith("." + name) for name in _HOSTS)
        return parts.scheme == "https" and is_of_slack


async def upload(
    api: SlackApi, stored_files: Files, find: Find, files: Sequence[File], channel: str, thread: str
) -> str:
    """Upload all files of an answer in one post, and return its time stamp ("0" if it is not
    found).

    Raises the errors of `SlackApi.call`. The SDK's files_upload_v2 does it in one call. Separate
    steps let Ponte look for the post if the last response was lost, instead of posting twice.
    """
    names = frozenset(file.name for file in files)
    entries: list[Json] = []
    for file in files:
        _, data = await stored_files.get(file.id)
        to = await api.call("files.getUploadURLExternal", filename=file.name, length=len(data))
        await api.send_file(str(to["upload_url"]), data)
        entries.append({"id": to["file_id"], "title": file.name})
    try:
        await api.call(
            "files.completeUploadExternal", files=entries, channel_id=channel,
            thread_ts=thread or None,
        )  # fmt: skip
    except InDoubt:
        if post_ts := await find(names):
            return post_ts
        raise
    return await find(names) or "0"
