"""The app manifest, and the check of the tokens for `ponte doctor`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from adapters.slack import forms
from adapters.slack.client import HISTORY, SlackApi
from adapters.slack.errors import InDoubt, SlackRefused, TokenRefused
from core.base.errors import PlatformBusy, SettingsError
from core.base.i18n import say
from core.base.proxies import Proxies
from core.domain.records import Health
from core.turn.suggestions import INTRODUCE

SCOPE_PURPOSES: Mapping[str, str] = {
    "app_mentions:read": "receive mentions",
    "assistant:write": "show progress and Slack's stop button",
    "channels:history": "follow threads in public channels that Ponte is in",
    "channels:read": "list the members and names of public channels",
    "chat:write": "answer",
    "commands": "run /ponte, /quick-command and the message shortcuts",
    "files:read": "read attached files",
    "files:write": "post files",
    "groups:history": "follow threads in private channels that Ponte is in",
    "groups:read": "list the members and names of private channels",
    "im:history": "receive direct messages",
    "im:write": "send approvers the requests that wait for them by direct message",
    "mpim:history": "follow threads in group direct messages that Ponte is in",
    "reactions:write": "mark messages that are queued",
    "usergroups:read": "allow user groups in PONTE_ALLOW",
    "users:read": "tell members from guests; read names, languages and time zones",
}
SIGN_IN_SCOPES = ("openid", "profile", "email")
SOCKET_SCOPE = "connections:write"
"""The scope of the app-level token for Socket Mode."""
MEMBER_EVENTS = ("team_join", "user_change")
"""Without these events, Ponte learns of changes of people from users.list, up to an hour later."""
DEPARTURE_EVENT = "member_left_channel"
"""Somebody left a channel or was removed. Without the event, Ponte learns of it within a minute."""
DEPARTURE_TOPIC = "slack-departure"
"""The name of the notification by which all processes hear of that."""
EVENTS_MARK = "slack-events"
"""An empty file in the home folder, created when the first of these events arrives. An app cannot
ask with its bot token which events it is subscribed to (apps.manifest.export takes another
token)."""
NO_EVENTS_YET = (
    "No team_join or user_change event has arrived yet. Until one does, Ponte may notice new "
    "members and guests up to an hour late. If none arrives after a member changes their profile, "
    "paste the manifest from `ponte slack-manifest` into App Manifest and reinstall the app."
)
EVENTS = (
    "agent_session_stopped", "app_home_opened", "app_mention", "message.channels",
    "message.groups", "message.im", "message.mpim", DEPARTURE_EVENT, *MEMBER_EVENTS,
)  # fmt: skip
_DESCRIPTION = "Connects your team with its tables, quick commands and a Python sandbox."
REFUSED_APP = (
    "Slack rejected SLACK_APP_TOKEN ({error}). Under Basic Information, generate an app-level "
    "token (xapp-…) with the connections:write scope."
)
NO_SOCKET_MODE = (
    "Socket Mode is off for the app that SLACK_APP_TOKEN belongs to ({error}). Turn it on under "
    "Socket Mode. Or remove SLACK_APP_TOKEN and set SLACK_SIGNING_SECRET to use HTTP."
)
TWO_APPS = (
    "SLACK_BOT_TOKEN belongs to the Slack app {own}, and SLACK_APP_TOKEN to the app {other}. Copy "
    "both tokens from one app."
)
SLACK_NO_ANSWER = (
    "Slack didn't respond at {url} ({error}). Check your network connection and SLACK_API_URL."
)
SCOPES_MISSING = (
    "Missing scopes: {scopes}. Paste the manifest from `ponte slack-manifest` at {link} and "
    "reinstall the app."
)
ONLY_MENTIONS = (
    "answer_everything: Ponte only sees messages that mention it, because {scopes} is missing"
)
EVENTS_NEEDED = (
    "answer_everything in {places}: subscribe the app to the message.channels event (public "
    "channels) or the message.groups event (private channels)"
)
_SOCKET_OFF = frozenset({"not_allowed_token_type", "forbidden_team"})
"""Errors for an app without Socket Mode
(docs.slack.dev/reference/methods/apps.connections.open)."""


def manifest(request_url: str = "", page_url: str = "", name: str = "Ponte") -> dict[str, Any]:
    """Return the app manifest that Ponte needs (docs.slack.dev/reference/app-manifest).

    It is for Socket Mode, or for HTTP with a `request_url` (https://…/slack/events). People sign in
    with Slack at a `page_url` with https; Slack accepts no other address for that.
    """
    scopes: dict[str, Sequence[str]] = {"bot": list(SCOPE_PURPOSES)}
    oauth: dict[str, Any] = {"scopes": scopes}
    if page_url.startswith("https://"):
        oauth["redirect_urls"] = [f"{page_url}/sign-in/slack/done"]
        scopes["user"] = SIGN_IN_SCOPES
    # Slack has two names for the address: one for commands, one for events and interactions.
    at = {"url": request_url} if request_url else {}
    request = {"request_url": request_url} if request_url else {}
    return {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {"name": name, "description": say(_DESCRIPTION)},
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": name, "always_online": True},
            "agent_view": {
                "agent_description": say(_DESCRIPTION),
                "suggested_prompts": [{"title": say(INTRODUCE), "message": say(INTRODUCE)}],
            },
            "slash_commands": [
                {
                    "command": "/ponte",
                    "description": say("Ask Ponte. Only you see the answer."),
                    "usage_hint": say("QUESTION, text only, outside threads"),
                    "should_escape": True,
                    **at,
                },
                {
                    "command": "/quick-command",
                    "description": say("Run a quick command"),
                    "usage_hint": say("SLUG [text | key=value …]"),
                    "should_escape": True,
                    **at,
                },
            ],
            "shortcuts": [
                _build_shortcut(say("Ask Ponte"), forms.ASK_FORM, say("Ask about this message")),
                _build_shortcut(
                    say("Quick command"),
                    forms.QUICK_COMMAND_FORM,
                    say("Run a quick command on this message"),
                ),
            ],
        },
        "oauth_config": oauth,
        "settings": {
            "event_subscriptions": {"bot_events": list(EVENTS), **request},
            "interactivity": {"is_enabled": True, **request},
            "org_deploy_enabled": False,
            "socket_mode_enabled": not request_url,
            "token_rotation_enabled": False,
        },
    }


def link(app_manifest: Mapping[str, Any]) -> str:
    """Return the address of Slack's page for a new app with this manifest
    (docs.slack.dev/app-manifests)."""
    return f"https://api.slack.com/apps?new_app=1&manifest_json={quote(json.dumps(app_manifest))}"


async def find_app(api: SlackApi, identity: Mapping[str, Any], app_token: str) -> str:
    """Return the ID of the app; "" if it is not known. Raise SettingsError if the app-level token,
    which names its app, is of another app than the bot token, whose `auth.test` answered with
    `identity`. Raises PlatformBusy or InDoubt."""
    # A token of another form one day is not checked.
    named = re.match(r"xapp-\d+-(A[A-Z0-9]+)-", app_token)
    try:  # auth.test names the app of an app-level token only (slack-go/slack issue 777)
        answer = await api.call("bots.info", bot=identity.get("bot_id", ""))
    except SlackRefused:  # without users:read it is not known
        return named[1] if named else ""
    bot = answer.get("bot")
    own = str(bot.get("app_id") or "") if isinstance(bot, dict) else ""
    if named and own and named[1] != own:
        raise SettingsError(TWO_APPS, other=named[1], own=own)
    return own or (named[1] if named else "")


def settings_link(team: str, app: str) -> str:
    """Return the address at which the app's manifest is edited."""
    if not app:
        return "https://api.slack.com/apps"
    return f"https://app.slack.com/app-settings/{team}/{app}/app-manifest"


def describe_missing(scopes: Collection[str], team: str, app: str) -> str:
    """Return a sentence on the scopes that the app lacks; "" if it has all of them."""
    missing = [scope for scope in SCOPE_PURPOSES if scope not in scopes]
    if not missing:
        return ""
    names = ", ".join(f"{scope} ({say(SCOPE_PURPOSES[scope])})" for scope in missing)
    return say(SCOPES_MISSING, scopes=names, link=settings_link(team, app))


async def socket_url(app_api: SlackApi) -> str:
    """Return the address for a new WebSocket. Raises SettingsError, PlatformBusy or InDoubt."""
    try:
        url = (await app_api.call("apps.connections.open")).get("url")
    except (SlackRefused, TokenRefused) as refused:
        sentence = NO_SOCKET_MODE if refused.error in _SOCKET_OFF else REFUSED_APP
        raise SettingsError(sentence, error=refused.error) from None
    if not isinstance(url, str):
        raise InDoubt("apps.connections.open: no address")
    return url


async def check(
    bot_token: str,
    app_token: str,
    signing_secret: str,
    base_url: str,
    proxies: Proxies,
    everything: Sequence[str] = (),
    home: Path | None = None,
) -> Sequence[Health]:
    """Try each setting against Slack, and return the results for the operator.

    `everything` lists the places in which every message is for Ponte. A refused token, or no
    answer, ends the checks: its result is then the last one.
    """
    results: list[Health] = []
    api, app_api = SlackApi(bot_token, base_url, proxies), SlackApi(app_token, base_url, proxies)
    try:
        account, scopes = await api.identify()
        name = f"{account.get('user')}: {account.get('team')} ({account.get('team_id')})"
        results.append(Health("slack token", "on", name))
        app = await find_app(api, account, app_token)
        if words := describe_missing(scopes, str(account.get("team_id")), app):
            results.append(Health("slack scope", "failing", words))
        # Without these scopes Slack sends only mentions. With them, events are still needed.
        unread = [scope for scope in HISTORY if scope not in scopes]
        if everything and unread:
            words = say(ONLY_MENTIONS, scopes=", ".join(unread))
            results.append(Health("slack channels", "failing", words))
        elif everything:  # no method tells which events the app is subscribed to
            words = say(EVENTS_NEEDED, places=", ".join(everything))
            results.append(Health("slack channels", "on", words))
        # Nor does a method tell it of events about members. A running Ponte creates this file when
        # the first of them arrives.
        if home is not None:
            has_events = await asyncio.to_thread((home / EVENTS_MARK).exists)
            if has_events:
                arriving = say("team_join and user_change events are arriving")
                results.append(Health("slack events", "on", arriving))
            else:
                results.append(Health("slack events", "off", say(NO_EVENTS_YET)))
        if app_token:
            await socket_url(app_api)
            results.append(
                Health("slack socket", "on", say("Socket Mode, scope {scope}", scope=SOCKET_SCOPE))
            )
        elif signing_secret:
            results.append(
                Health(
                    "slack http",
                    "on",
                    say(
                        "expects requests from Slack at `/slack/events`; `ponte doctor` can't "
                        "test whether they arrive"
                    ),
                )
            )
        else:
            words = say("set SLACK_APP_TOKEN (Socket Mode) or SLACK_SIGNING_SECRET (HTTP)")
            results.append(Health("slack socket", "failing", words))
    except SettingsError as error:
        results.append(Health("slack", "failing", error.words()))
    except (InDoubt, PlatformBusy) as error:
        words = say(SLACK_NO_ANSWER, url=base_url, error=error)
        results.append(Health("slack", "failing", words))
    finally:
        await api.close()
        await app_api.close()
    return results


def _build_shortcut(name: str, callback: str, description: str) -> dict[str, str]:
    return {"name": name, "type": "message", "callback_id": callback, "description": description}
