"""Setting Slack up: the app manifest, and the trial of the tokens, with what mends each failure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from adapters.slack import render
from adapters.slack.client import InDoubt, SlackApi, SlackRefused, TokenRefused, identity
from core.errors import PlatformBusy, SettingsError
from core.http import Proxies
from core.records import Health

SCOPES: Mapping[str, str] = {
    "app_mentions:read": "hear when it is mentioned",
    "assistant:write": "show that it works, and Slack's stop button",
    "channels:history": "follow a thread in public channels that it is in",
    "chat:write": "answer",
    "commands": "/quick-command and the message shortcuts",
    "files:read": "read files that people give it",
    "files:write": "give files back",
    "groups:history": "follow a thread in private channels that it is in",
    "im:history": "hear direct messages",
    "mpim:history": "follow a thread in group direct messages that it is in",
    "reactions:write": "mark a message that waits its turn",
    "usergroups:read": "allow user groups in PONTE_ALLOW",
    "users:read": "tell members from guests; people's names, languages, time zones",
}
"""Bot scopes, and what each is for."""
SOCKET_SCOPE = "connections:write"
"""The scope of the app-level token for Socket Mode."""
EVENTS = (
    "agent_session_stopped", "app_home_opened", "app_mention", "message.channels",
    "message.groups", "message.im", "message.mpim",
)  # fmt: skip
_DESCRIPTION = "Connects people with their tables, quick commands and a Python sandbox."
REFUSED_APP = (
    "SLACK_APP_TOKEN: Slack refuses it ({error}). Under Basic Information, generate an "
    "app-level token (xapp-…) with the scope connections:write."
)
NO_SOCKET_MODE = (
    "SLACK_APP_TOKEN: the app has no Socket Mode ({error}). Turn it on under Socket Mode, "
    "or unset it and set SLACK_SIGNING_SECRET for HTTP."
)
NO_ANSWER = "Slack does not answer at {url} ({error}). Check the network and SLACK_API_URL."
MISSING = (
    "missing: {scope} ({what}). Add it under OAuth & Permissions and install the app again, "
    "or paste the manifest of `ponte slack-manifest`."
)
_SOCKET_OFF = frozenset({"not_allowed_token_type", "forbidden_team"})
"""What says that the app has no Socket Mode (docs.slack.dev/reference/methods/
apps.connections.open)."""


def manifest(name: str = "Ponte", request_url: str = "") -> dict[str, Any]:
    """The app as Ponte needs it (docs.slack.dev/reference/app-manifest): for Socket Mode, or
    with a `request_url` (https://…/slack/events) for HTTP."""
    at = {"url": request_url} if request_url else {}
    request = {"request_url": request_url} if request_url else {}
    return {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {"name": name, "description": _DESCRIPTION},
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": name, "always_online": True},
            "agent_view": {"agent_description": _DESCRIPTION},
            "slash_commands": [
                {
                    "command": "/quick-command",
                    "description": "Run a quick command",
                    "usage_hint": "SLUG [text | key=value …]",
                    "should_escape": True,
                    **at,
                }
            ],
            "shortcuts": [
                _shortcut("Ask Ponte", render.ASK, "Ask about this message"),
                _shortcut("Quick command", render.QUICK, "Run a quick command on this message"),
            ],
        },
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "event_subscriptions": {"bot_events": list(EVENTS), **request},
            "interactivity": {"is_enabled": True, **request},
            "org_deploy_enabled": False,
            "socket_mode_enabled": not request_url,
            "token_rotation_enabled": False,
        },
    }


def link(made: Mapping[str, Any]) -> str:
    """The address that begins a new app from it (docs.slack.dev/app-manifests)."""
    return f"https://api.slack.com/apps?new_app=1&manifest_json={quote(json.dumps(made))}"


async def socket_url(app_api: SlackApi) -> str:
    """Where a socket may be opened (apps.connections.open). Raises SettingsError or InDoubt."""
    try:
        return str((await app_api.call("apps.connections.open"))["url"])
    except (SlackRefused, TokenRefused) as refused:
        sentence = NO_SOCKET_MODE if refused.error in _SOCKET_OFF else REFUSED_APP
        raise SettingsError(sentence, error=refused.error) from None


async def check(
    bot_token: str, app_token: str, signing_secret: str, base_url: str, proxies: Proxies
) -> Sequence[Health]:
    """Each setting against the live service, for the operator."""
    found: list[Health] = []
    api, app_api = SlackApi(bot_token, base_url, proxies), SlackApi(app_token, base_url, proxies)
    try:
        found += await _bot(api)
        if app_token:
            await socket_url(app_api)
            found.append(Health("slack socket", "on", f"Socket Mode, scope {SOCKET_SCOPE}"))
        elif signing_secret:
            found.append(Health("slack http", "on", "requests are verified at /slack/events"))
        else:
            found.append(Health("slack socket", "failing", "set SLACK_APP_TOKEN (Socket Mode) "
                                "or SLACK_SIGNING_SECRET (HTTP)"))  # fmt: skip
    except SettingsError as error:
        found.append(Health("slack", "failing", error.words()))
    except (InDoubt, PlatformBusy) as error:
        words = NO_ANSWER.format(url=base_url, error=error)
        found.append(Health("slack", "failing", words))
    finally:
        await api.close()
        await app_api.close()
    return found


def _shortcut(name: str, callback: str, description: str) -> dict[str, str]:
    return {"name": name, "type": "message", "callback_id": callback, "description": description}


async def _bot(api: SlackApi) -> Sequence[Health]:
    told, scopes = await identity(api)
    name = f"{told.get('user')} in {told.get('team')} ({told.get('team_id')})"
    missing = [
        Health("slack scope", "failing", MISSING.format(scope=scope, what=what))
        for scope, what in SCOPES.items()
        if scope not in scopes
    ]
    return [Health("slack token", "on", name), *missing]
