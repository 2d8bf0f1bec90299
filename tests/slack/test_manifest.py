"""What `ponte slack-manifest` prints is what the adapter needs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from adapters.slack import SLACK, client
from adapters.slack.forms import ASK_FORM, QUICK_COMMAND_FORM
from adapters.slack.interactions import ASK_COMMAND, QUICK_COMMAND
from adapters.slack.setup import EVENTS, SCOPE_PURPOSES, link, manifest

FOLDER = Path(client.__file__).parent
NEEDS = {
    "chat.": "chat:write", "agents.sessions.": "chat:write", "assistant.": "assistant:write",
    "users.": "users:read", "usergroups.": "usergroups:read", "reactions.": "reactions:write",
    "conversations.open": "im:write", "conversations.info": "channels:read",
    "conversations.members": "groups:read", "conversations.": "im:history",
    "files.get": "files:write", "files.complete": "files:write",
    "files.info": "files:read",
}  # fmt: skip
EVENT_SCOPES = {
    "app_mention": "app_mentions:read",
    "message.channels": "channels:history",
    "message.groups": "groups:history",
    "message.im": "im:history",
    "message.mpim": "mpim:history",
    "agent_session_stopped": "assistant:write",
}


def called_methods() -> set[str]:
    """Every Web API method that stands as a text in the adapter's code."""
    texts = {
        node.value
        for path in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {text for text in texts if any(text.startswith(p) for p in NEEDS) and " " not in text}


def test_every_call_and_event_has_its_scope() -> None:
    for method in called_methods():
        scope = next(scope for prefix, scope in NEEDS.items() if method.startswith(prefix))
        assert scope in SCOPE_PURPOSES, method
    for event in EVENTS:
        assert EVENT_SCOPES.get(event, "chat:write") in SCOPE_PURPOSES, event


def test_over_a_socket_it_names_no_address() -> None:
    result = manifest(name="Bridge")
    assert result["settings"]["socket_mode_enabled"] is True
    assert "request_url" not in json.dumps(result)
    assert result["display_information"]["name"] == "Bridge"
    assert result["features"]["agent_view"]["agent_description"]


def test_over_http_it_names_the_address_everywhere() -> None:
    url = "https://ponte.example/slack/events"
    result = manifest(request_url=url)
    assert result["settings"]["socket_mode_enabled"] is False
    assert result["settings"]["event_subscriptions"]["request_url"] == url
    assert result["settings"]["interactivity"]["request_url"] == url
    assert result["features"]["slash_commands"][0]["url"] == url


def test_commands_and_shortcuts_are_those_that_are_listened_to() -> None:
    features = manifest()["features"]
    commands = [command["command"] for command in features["slash_commands"]]
    assert commands == [ASK_COMMAND, QUICK_COMMAND]
    assert {shortcut["callback_id"] for shortcut in features["shortcuts"]} == {
        ASK_FORM,
        QUICK_COMMAND_FORM,
    }
    for text in (result["description"] for result in features["shortcuts"]):
        assert len(text) <= 150


def test_the_link_begins_a_new_app_with_it() -> None:
    query = parse_qs(urlsplit(link(manifest())).query)
    assert json.loads(query["manifest_json"][0]) == manifest()


def test_the_document_tells_an_admin_what_the_manifest_asks_for() -> None:
    text = (Path(__file__).parents[2] / "docs" / "guides" / "slack.md").read_text("utf-8")
    table = text.partition("## What each scope is for")[2].partition("\n## ")[0]
    values = set(re.findall(r"`([a-z_]+:[a-z]+)`", table.partition("\n\nWithout")[0]))
    assert "`commands`" in table
    assert values | {"commands"} == {*SCOPE_PURPOSES, "connections:write"}
    counts = f"{len(SCOPE_PURPOSES)} bot scopes, {len(EVENTS)} events"
    summary = f"({counts}, two slash commands, two shortcuts)"
    assert summary in " ".join(text.split())


def test_people_sign_in_where_the_page_has_a_public_address() -> None:
    oauth = manifest(page_url="https://ponte.example")["oauth_config"]
    assert oauth["redirect_urls"] == ["https://ponte.example/sign-in/slack/done"]
    assert list(oauth["scopes"]["user"]) == ["openid", "profile", "email"]
    for url in ("", "http://ponte.example"):
        assert "redirect_urls" not in manifest(page_url=url)["oauth_config"]
    settings: Any = SimpleNamespace(ponte_web_url="https://ponte.example")
    assert "redirect_urls" in unquote(SLACK.creation_link(settings))
