"""Data of the fake workspace: people, channels, posts, files."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes import linkers
from tests.fakes.card_buttons import on_card

Json = dict[str, Any]

TEAM = "T0PONTE"
BOT_USER, BOT_ID, APP_ID = "U0BOT", "B0BOT", "A0APP"
BOT_TOKEN, APP_TOKEN, SIGNING_SECRET = "xoxb-fake-bot", "xapp-1-fake-app", "fake-signing-secret"
MENTION = f"<@{BOT_USER}>"


class SlackErrorResponse(Exception):
    """A Web API call that answers `{"ok": false, "error": …}`, or another HTTP status."""

    def __init__(self, error: str, status: int = 200, retry_after: int = 0) -> None:
        super().__init__(error)
        self.error = error
        self.status = status
        self.retry_after = retry_after


@dataclass
class SlackPerson:
    """A member. `name` is their display name, and their full name unless `full_name` is another.
    `team` differs from ours for people who come through Slack Connect; `guest` is what Slack calls
    a multi-channel or a single-channel guest."""

    id: str
    name: str
    tz: str = "Europe/Paris"
    locale: str = "en-US"
    team: str = TEAM
    is_bot: bool = False
    guest: Literal["", "multi", "single"] = ""
    deactivated: bool = False
    status: str = ""
    full_name: str = ""
    handle: str = ""

    @property
    def mention(self) -> str:
        return f"<@{self.id}>"


@dataclass
class SlackChannel:
    """A channel, private channel, direct message or group DM, with its members' ids."""

    id: str
    name: str
    kind: Literal["channel", "group", "im", "mpim"]
    members: set[str]
    archived: bool = False
    shared_with_strangers: bool = False


@dataclass
class Stream:
    """A streamed message that is still open. Times are of the monotonic clock."""

    began: float
    text: str = ""
    stopped: bool = False
    """A person pressed Slack's own Stop."""


@dataclass
class FileRecord:
    id: str
    name: str
    mimetype: str
    data: bytes
    user: str
    shared: bool = False
    clip_seconds: float = 0.0
    """The length of a clip that was recorded in Slack; 0 for any other file."""


@dataclass
class Post:
    """A message in a channel. `versions` are the texts that a person saw, oldest first."""

    channel: str
    ts: str
    user: str
    text: str = ""
    thread_ts: str = ""
    bot_id: str = ""
    blocks: list[Json] = field(default_factory=list)
    attachments: list[Json] = field(default_factory=list)
    metadata: Json = field(default_factory=dict)
    files: list[FileRecord] = field(default_factory=list)
    edited: str = ""
    deleted: bool = False
    stream: Stream | None = None
    streamed: bool = False
    seen_by: str = ""
    votes: dict[str, str] = field(default_factory=dict)
    """The thumb that each person sees as pressed: positive_button or negative_button."""
    reactions: set[str] = field(default_factory=set)
    versions: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    """The links of all its versions, oldest first."""
    arguments: Json = field(default_factory=dict)
    odd_fields: Json = field(default_factory=dict)
    """What history has in place of the post's own fields."""

    @property
    def visible_text(self) -> str:
        """The text as a person reads it: what blocks say where there are any."""
        texts = [text for block in self.blocks if (text := block_text(block))]
        return "\n".join(texts) if texts else self.text

    @property
    def links(self) -> list[str]:
        """What Slack would make a link of it, or unfurl."""
        return linkers.slack_post(self.text, self.blocks)

    @property
    def card_buttons(self) -> list[str]:
        """The labels of the buttons that are a card's, or stop a turn."""
        return on_card(self.buttons)

    @property
    def buttons(self) -> dict[str, Json]:
        """By label, the buttons with their block. The one that approves is *Approve*, whatever it
        says."""
        return {
            name_button(element): {**element, "block_id": block.get("block_id", "")}
            for block in self.blocks
            if block["type"] == "actions"
            for element in block["elements"]
            if element["type"] == "button"
        }

    @property
    def thumbs(self) -> Json:
        """The feedback buttons under the message; {} if there are none."""
        elements = [
            element
            for block in self.blocks
            if block["type"] == "context_actions"
            for element in block["elements"]
        ]
        return elements[0] if elements else {}

    def event(self) -> Json:
        """The message as Slack describes it in events and in history."""
        text: Json = {"type": "message", "user": self.user, "text": self.text, "ts": self.ts}
        text |= {"team": TEAM}
        if self.thread_ts:
            text["thread_ts"] = self.thread_ts
        if self.bot_id:
            text |= {"bot_id": self.bot_id, "app_id": APP_ID}
        if self.blocks:
            text["blocks"] = [to_rich_text(block) for block in self.blocks]
        if self.attachments:
            text["attachments"] = self.attachments
        if self.edited:
            text["edited"] = {"user": self.user, "ts": self.edited}
        if self.files:
            text |= {"files": [file_json(file) for file in self.files], "upload": True}
        return text


def name_button(element: Json) -> str:
    if element["action_id"] == "ponte_card_approve":
        return "Approve"
    return str(element["text"]["text"])


def block_text(block: Json) -> str:
    """What a person reads in a block, without its buttons."""
    match block["type"]:
        case "markdown":
            return str(block["text"])
        case "section":
            fields = [field["text"] for field in block.get("fields", [])]
            return "\n".join([block["text"]["text"]] if "text" in block else fields)
        case "context":
            return " ".join(element.get("text", "") for element in block["elements"])
        case "header":
            return str(block["text"]["text"])
        case "rich_text":
            return "".join(
                str(part.get("text", "")) for each in block["elements"] for part in each["elements"]
            )
        case "table":
            return "\n".join(" | ".join(map(block_text, row)) for row in block["rows"])
        case "raw_text":
            return str(block["text"])
        case _:
            return ""


def to_rich_text(block: Json) -> Json:
    """Return a block as Slack returns it later: Slack turns Markdown into rich text, whose
    `block_id` is its own
    (docs.slack.dev/reference/block-kit/blocks/markdown-block)."""
    if block["type"] != "markdown":
        return block
    text = {"type": "text", "text": block["text"]}
    return {
        "type": "rich_text",
        "block_id": new_id("b"),
        "elements": [{"type": "rich_text_section", "elements": [text]}],
    }


def file_json(file: FileRecord, origin: str = "") -> Json:
    """Return a file as events show it. A clip has its subtype and Slack's own transcription, which
    is not ready when the message arrives (hermes-agent pull request 51176)."""
    clip = {
        "subtype": "slack_audio",
        "duration_ms": round(file.clip_seconds * 1000),
        "media_display_type": "audio",
        "transcription": {"status": "processing"},
    }
    return {
        **(clip if file.clip_seconds else {}),
        "id": file.id,
        "name": file.name,
        "title": file.name,
        "mimetype": file.mimetype,
        "size": len(file.data),
        "user": file.user,
        "mode": "hosted",
        "url_private": f"{origin}/files-pri/{file.id}/{file.name}",
        "url_private_download": f"{origin}/files-pri/{file.id}/download/{file.name}",
    }


def redact_file(file: FileRecord) -> Json:
    """Return a file as events show it in a channel shared with another company; files.info has
    the rest
    (docs.slack.dev/reference/events/message/file_share, "Slack Connect files")."""
    return {"id": file.id, "mode": "file_access", "file_access": "check_file_info", "user": ""}


@dataclass
class Hook:
    """A `response_url`: five uses within thirty minutes, no membership needed. Of a slash
    `command`, it can neither replace nor delete what it showed before
    (slackapi/bolt-js/issues/2287, slackapi/bolt-python/issues/1268,
    langchain-ai/open-swe/pull/2889)."""

    channel: str
    user: str
    command: bool = False
    uses: int = 0
    began: float = field(default_factory=time.monotonic)
    heard: list[Json] = field(default_factory=list)


class Clock:
    """Slack's time stamps: seconds, a dot, six digits; each is used once."""

    def __init__(self) -> None:
        self._last = 0
        self.seconds_behind = 0.0

    def ts(self) -> str:
        now = max(self._last + 1, int((time.time() - self.seconds_behind) * 1_000_000))
        self._last = now
        return f"{now // 1_000_000}.{now % 1_000_000:06d}"


_numbers = itertools.count(1)


def new_id(prefix: str) -> str:
    return f"{prefix}{next(_numbers):06d}"
