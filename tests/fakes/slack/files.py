"""Files: the three steps of an upload (getUploadURLExternal, the bytes, completeUploadExternal)."""

from __future__ import annotations

from .records import BOT_USER, FileRecord, Json, SlackErrorResponse, file_json, new_id
from .workspace import Workspace

_TYPES = {
    "csv": "text/csv",
    "png": "image/png",
    "txt": "text/plain",
    "html": "text/html",
    "pdf": "application/pdf",
}


def get_upload_url(workspace: Workspace, args: Json) -> Json:
    name = args["filename"]
    file = FileRecord(new_id("F"), name, _type(name), b"", BOT_USER)
    workspace.files[file.id] = file
    return {"upload_url": f"{workspace.origin}/upload/{file.id}", "file_id": file.id}


def complete_upload(workspace: Workspace, args: Json) -> Json:
    files = [workspace.files.get(entry["id"]) for entry in args["files"]]
    if not all(file and file.data for file in files):
        raise SlackErrorResponse("file_not_found")
    files_found = [file for file in files if file]
    channel = args.get("channel_id", "")
    if channel:
        workspace.writable(channel)
        post = workspace.new_bot_post(channel, args.get("thread_ts", ""))
        post.files = files_found
        workspace.add(post)
        text = post.event() | {"subtype": "file_share", "channel": channel, "event_ts": post.ts}
        workspace.told("events_api", text)
    for file in files_found:
        file.shared = True
        workspace.told(
            "events_api", {"type": "file_shared", "file_id": file.id, "channel_id": channel}
        )
    return {"files": [file_json(file, workspace.origin) for file in files_found]}


def _type(name: str) -> str:
    return _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
