"""The Web API: tokens, content types, limits, faults, then the method itself."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from tests.fakes.faulty import drop_connection
from tests.fakes.gate import Gate

from . import app_settings, chat, files, reads, reference, streams, views
from .faults import Fault, Faults
from .limits import Limits
from .records import APP_TOKEN, BOT_TOKEN, Json, SlackErrorResponse
from .workspace import Workspace

Method = Callable[[Workspace, Json], Json]
WRITES: dict[str, tuple[Method, tuple[str, ...]]] = {
    "chat.postMessage": (chat.post_message, ("channel",)),
    "chat.postEphemeral": (chat.post_ephemeral, ("channel", "user")),
    "chat.update": (chat.update, ("channel", "ts")),
    "chat.delete": (chat.delete, ("channel", "ts")),
    "chat.startStream": (streams.start_stream, ("channel",)),
    "chat.appendStream": (streams.append_stream, ("channel", "ts")),
    "chat.stopStream": (streams.stop_stream, ("channel", "ts")),
    "assistant.threads.setSuggestedPrompts": (
        streams.set_suggested_prompts,
        ("channel_id", "prompts"),
    ),
    "assistant.threads.setStatus": (streams.set_status, ("channel_id", "thread_ts", "status")),
    "agents.sessions.setStatus": (streams.set_session_status, ("channel_id", "status")),
    "conversations.open": (reads.open_direct, ()),
    "views.open": (views.views_open, ("trigger_id", "view")),
    "views.publish": (views.views_publish, ("user_id", "view")),
    "files.completeUploadExternal": (files.complete_upload, ("files",)),
}
REACTIONS: dict[str, tuple[Method, tuple[str, ...]]] = {
    "reactions.add": (chat.add_reaction, ("channel", "timestamp", "name")),
    "reactions.remove": (chat.remove_reaction, ("channel", "timestamp", "name")),
}
READS: dict[str, tuple[Method, tuple[str, ...]]] = {
    "auth.test": (reads.auth_test, ()),
    "bots.info": (reads.bots_info, ("bot",)),
    "users.info": (reads.users_info, ("user",)),
    "users.list": (reads.users_list, ()),
    "usergroups.list": (reads.usergroups_list, ()),
    "conversations.replies": (reads.replies, ("channel", "ts")),
    "conversations.history": (reads.history, ("channel",)),
    "conversations.info": (reads.channel_info, ("channel",)),
    "conversations.members": (reads.members, ("channel",)),
    "users.conversations": (reads.users_conversations, ()),
    "files.info": (reads.files_info, ("file",)),
    "files.getUploadURLExternal": (files.get_upload_url, ("filename", "length")),
}
_JSON_FIELDS = ("blocks", "view", "files", "metadata", "chunks")


class WebApi:
    """`calls`, `refusals` and `early` count by method, the last those before a Retry-After ended;
    `log` keeps every call in order. While `revoked` is set, the token is."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.limits = Limits()
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.early: Counter[str] = Counter()
        self.log: list[tuple[str, Json]] = []
        self.scopes: list[str] = []
        self.without: set[str] = set()
        """Scopes that the app was not given."""
        self.app_settings = app_settings.AppSettings()
        self.token = BOT_TOKEN
        self.revoked = False
        self._held: dict[str, Gate] = {}
        self._closed: dict[str, Gate] = {}
        self._busy_until: dict[str, float] = {}
        """When the Retry-After of a refused method ends."""
        self.waiting: Counter[str] = Counter()
        """The calls that wait for the release of `close`, by method."""
        self.connect: Callable[[], str] = lambda: ""

    def hold(self, method: str) -> Gate:
        """The next call of it has no effect before it is released."""
        self._held[method] = Gate()
        return self._held[method]

    def close(self, *methods: str) -> Gate:
        """No call of these is answered before the gate is released."""
        gate = Gate()
        self._closed |= dict.fromkeys(methods, gate)
        return gate

    async def pass_gate(self, method: str) -> None:
        """Wait while calls of `method` are not answered."""
        if gate := self._closed.get(method):
            self.waiting[method] += 1
            await gate.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        self.calls[method] += 1
        await self.pass_gate(method)
        if hold := self._held.pop(method, None):
            await request.read()  # all of it has come, whatever becomes of who sent it
            await hold.wait()
        fault = self.faults.take(method)
        if fault and fault.how == "cut":
            return drop_connection(request)
        try:
            left = self._busy_until.get(method, 0.0) - asyncio.get_running_loop().time()
            if left > 0:
                self.early[method] += 1
                raise SlackErrorResponse("ratelimited", 429, math.ceil(left))
            if fault and fault.how == "429":
                self._busy_until[method] = asyncio.get_running_loop().time() + fault.retry_after
            if fault and fault.how != "lost":
                raise _refusal(fault)
            body = self._run(method, await _arguments(request), _token(request))
        except SlackErrorResponse as refused:
            if refused.status == 429:
                self.refusals[method] += 1
            if refused.status < 500 and refused.status != 403:
                self._check_name(method, refused.error, fault)
            return _error_response(refused)
        if fault:
            return drop_connection(request)
        headers = {"x-oauth-scopes": ",".join(self.scopes)}
        return web.json_response({"ok": True, **body}, headers=headers)

    def _run(self, method: str, args: Json, token: str) -> Json:
        self.log.append((method, args))
        if method == "apps.connections.open":
            if token != APP_TOKEN:
                raise SlackErrorResponse("invalid_auth")
            return {"url": self.connect()}
        if method in app_settings.METHODS:
            return self.app_settings.run(method, args, token)
        if token != self.token:
            raise SlackErrorResponse("invalid_auth")
        if self.revoked:
            raise SlackErrorResponse("token_revoked")
        run, required = {**WRITES, **READS, **REACTIONS}.get(method, (None, ()))
        if run is None:
            raise SlackErrorResponse("unknown_method")
        if args.pop("_json", False) and method in READS:
            raise SlackErrorResponse("invalid_arguments")
        if required_scope(method, str(args.get("channel", args.get("types", "")))) in self.without:
            raise SlackErrorResponse("missing_scope")
        if any(args.get(name) in (None, "") for name in required if name != "status"):
            raise SlackErrorResponse("invalid_arguments")
        self.limits.check(method, str(args.get("channel", "")))
        return run(self.workspace, args)

    def _check_name(self, method: str, error: str, fault: Fault | None) -> None:
        """A refusal that no page and nobody knows is a fault of the double, or meant as that."""
        if not reference.stands(method, error) and not (fault and fault.unheard_of):
            self.workspace.complaints.append(f"{method} never says {error}")


def required_scope(method: str, channel: str) -> str:
    """The scope of a method that not every app has (each method's page). `channel` may be types of
    channels."""
    if method == "conversations.open":
        return "im:write"
    if method in ("bots.info", "users.info", "users.list"):
        return "users:read"
    if method == "usergroups.list":
        return "usergroups:read"
    if method == "users.conversations":
        return "groups:read" if "private_channel" in channel else "channels:read"
    if method in ("conversations.info", "conversations.members"):
        return "groups:read" if channel.startswith("G") else "channels:read"
    return ""


def _token(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


async def _arguments(request: web.Request) -> Json:
    if request.content_type == "application/json":
        args: Json = await request.json()
        return {**args, "_json": True}
    form = {name: str(value) for name, value in (await request.post()).items()}
    form |= dict(request.query)
    return {k: json.loads(v) if k in _JSON_FIELDS else v for k, v in form.items()}


def _refusal(fault: Fault) -> SlackErrorResponse:
    if fault.how == "429":
        return SlackErrorResponse("ratelimited", 429, fault.retry_after)
    if fault.how.isdigit():
        return SlackErrorResponse("internal_error", int(fault.how))
    return SlackErrorResponse(fault.error)


def _error_response(refused: SlackErrorResponse) -> web.Response:
    if refused.status >= 500 or refused.status == 403:
        # A proxy or firewall in front of Slack refuses without Slack's JSON.
        return web.Response(status=refused.status, text="upstream error")
    headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after else {}
    body = {"ok": False, "error": refused.error}
    return web.json_response(body, status=refused.status, headers=headers)
