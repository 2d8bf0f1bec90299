"""Files out: into the thread, once (files.getUploadURLExternal, completeUploadExternal).

This is what the SDK's files_upload_v2 does in one call; here each step is told apart, so that an
answer lost after the last one is looked for instead of repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapters.slack.api import Json, SlackApi
from adapters.slack.lookup import Lookup
from adapters.slack.refusals import InDoubt
from core.messages import File
from core.ports import Files


async def upload(
    api: SlackApi, kept: Files, lookup: Lookup, files: Sequence[File], channel: str, thread: str
) -> str:
    """All of an answer's files in one post; its time stamp. Raises as `SlackApi.call`."""
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
        if found := await lookup.with_files(names):
            return found
        raise
    return await lookup.with_files(names) or "0"
