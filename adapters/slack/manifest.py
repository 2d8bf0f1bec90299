"""The app manifest: what to paste into Slack to have the app as Ponte needs it.

docs.slack.dev/reference/app-manifest
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from adapters.slack import modals

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


def manifest(name: str = "Ponte", request_url: str = "") -> dict[str, Any]:
    """For Socket Mode, or with a `request_url` (https://…/slack/events) for HTTP."""
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
                _shortcut("Ask Ponte", modals.ASK, "Ask about this message"),
                _shortcut("Quick command", modals.QUICK, "Run a quick command on this message"),
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


def _shortcut(name: str, callback: str, description: str) -> dict[str, str]:
    return {"name": name, "type": "message", "callback_id": callback, "description": description}
