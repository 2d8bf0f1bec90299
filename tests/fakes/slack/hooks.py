"""The address that answers a command or a click without a token (response_url)."""

from __future__ import annotations

import time

from aiohttp import web

from .blocks import TEXT, check_message, size
from .records import BOT_ID, BOT_USER, Hook, Json, Post, SlackErrorResponse
from .workspace import Workspace

USES, SECONDS = 5, 1800
"""docs.slack.dev/interactivity/handling-user-interaction, "response_url"."""


def respond(workspace: Workspace, hook: Hook, body: Json) -> web.Response:
    if hook.uses >= USES or time.monotonic() - hook.began > SECONDS:
        return web.Response(status=404)
    if not body.get("text") and not body.get("blocks") and not body.get("delete_original"):
        return web.Response(status=400, text="no_text")
    try:
        check_message(body.get("blocks") or [], "chat.postMessage")
    except SlackErrorResponse as refused:
        return web.Response(status=400, text=refused.error)
    if size(body.get("text", "")) > TEXT:
        return web.Response(status=400, text="msg_too_long")
    hook.uses += 1
    hook.heard.append(body)
    if body.get("text"):
        post = Post(hook.channel, workspace.clock.ts(), BOT_USER, body["text"], bot_id=BOT_ID)
        post.blocks = body.get("blocks") or []
        post.thread_ts = body.get("thread_ts", "")
        if body.get("response_type", "ephemeral") == "ephemeral":
            post.seen_by = hook.user
        workspace.add(post)
    return web.Response(text="ok")
