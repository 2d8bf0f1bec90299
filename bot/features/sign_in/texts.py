"""The texts of sign-in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bot.operation_texts import (
    TEXT_LISTS,
    TEXTS,
    ListColumn,
    ResultText,
    Row,
    TextList,
    View,
    format_day_or_never,
    format_text_or_dash,
    format_time,
)
from core.base.i18n import say
from core.base.text import to_one_line


def describe_sign_in_link(result: Row, view: View) -> Iterator[str]:
    """Yield what to know about a new sign-in link, which is printed above it. `conversations`
    counts those of an earlier person with the same name and so the same key."""
    name = result["name"]
    yield say(
        "Send this link to {name} privately. Anyone who has it can sign in as {name}. It "
        "won't be shown again; `ponte people renew {name}` creates a new one.",
        name=name,
    )
    if result.get("conversations"):
        yield say(
            "{name} will be able to read the messages of an earlier person with this name. "
            "To delete them first, run `ponte person forget web:{name}` and add {name} again.",
            name=name,
        )


def describe_api_token(result: Row, view: View) -> Iterator[str]:
    """Yield what a program with a new API token can do, by its kind, and that it is shown once."""
    # "api", the default.
    words = (
        "A program with this token acts as {name} over `/v1`. It can't sign in, approve changes "
        "or use Administration. The token won't be shown again. To revoke it, run `ponte people "
        "revoke {id}`."
    )
    if result["kind"] == "metrics":
        words = (
            "A program with this token can read `/metrics` and nothing else. The token won't be "
            "shown again. To revoke it, run `ponte people revoke {id}`."
        )
    if result["kind"] == "mcp":
        words = (
            "An MCP client with this token reads tables and proposes changes as {name}. It can't "
            "approve, change or undo anything. The token won't be shown again. To revoke it, run "
            "`ponte people revoke {id}`."
        )
    yield say(words, name=result["name"], id=result["id"])
    if result["url"]:
        yield say("The API's address is {url}.", url=result["url"])


_LINK = ResultText(
    lambda result, view: [result["link"] or result["token"]],
    notes=describe_sign_in_link,
    json_values=lambda result: [{key: result[key] for key in ("name", "token", "link")}],
)


def _sign_in(row: Any, view: View) -> str:
    """A person signs in with a link, or with a provider, which gives the name."""
    provider = "Slack" if row["provider"] == "slack" else row["provider"]
    words = to_one_line(f"{provider}: {row['person']}") if provider else say("link")
    return f"{words} ({say('removed')})" if row["state"] == "removed" else words


_ACCOUNTS = TextList(
    "No one besides the owner has a sign-in link. To invite someone, run `ponte people add NAME`.",
    ListColumn("name", "name"),
    ListColumn("sign-in", "", _sign_in),
    ListColumn("added", "added", format_time),
    ListColumn("last visit", "seen", format_day_or_never),
)
_API_TOKENS = TextList(
    "No API tokens yet. Run `ponte people token NAME`.",
    ListColumn("ID", "id"),
    ListColumn("person", "person"),
    ListColumn("kind", "kind"),
    ListColumn("name", "name", format_text_or_dash),
    ListColumn("added", "added", format_time),
    ListColumn(
        "expires", "expires", lambda at, view: format_time(at, view) if at else say("never")
    ),
    ListColumn("last use", "seen", format_day_or_never),
)
TEXT_LISTS.update({"people list": _ACCOUNTS, "people tokens": _API_TOKENS})
TEXTS.update(
    {
        "people add": _LINK,
        "people renew": _LINK,
        "people token": ResultText(
            lambda result, view: [result["token"]], notes=describe_api_token
        ),
    }
)
