"""The state of the fake workspace, and the rules that hold for every message in it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .records import (
    BOT_ID,
    BOT_USER,
    Clock,
    FileRecord,
    Hook,
    Json,
    Post,
    SlackChannel,
    SlackErrorResponse,
    SlackPerson,
    block_text,
    new_id,
)

_PINGS = re.compile(r"<(?:!(?:channel|here|everyone|subteam\^)|@[UW])")
STREAM_SECONDS = 300.0
"""slackapi/node-slack-sdk/issues/2702, slackapi/python-slack-sdk/issues/1859."""


@dataclass
class Workspace:
    """`pings` collects what would have notified somebody, `complaints` what a reviewer of
    the app would object to: tests expect both to be empty."""

    told: Callable[[str, Json], None]
    people: dict[str, SlackPerson] = field(default_factory=dict)
    places: dict[str, SlackChannel] = field(default_factory=dict)
    posts: dict[tuple[str, str], Post] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    groups: dict[str, set[str]] = field(default_factory=dict)
    statuses: list[Json] = field(default_factory=list)
    sessions: dict[tuple[str, str], str] = field(default_factory=dict)
    session_log: list[Json] = field(default_factory=list)
    views: list[Json] = field(default_factory=list)
    homes: dict[str, Json] = field(default_factory=dict)
    prompts: dict[str, list[Json]] = field(default_factory=dict)
    triggers: dict[str, float] = field(default_factory=dict)
    hooks: dict[str, Hook] = field(default_factory=dict)
    pings: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    absences: dict[str, int] = field(default_factory=dict)
    """How many answers of the history lack a message, by its time stamp."""
    clock: Clock = field(default_factory=Clock)
    stream_seconds: float = STREAM_SECONDS
    trigger_seconds: float = 60.0
    """Slack's are 3; a busy machine may need more."""
    origin: str = ""
    agent: bool = True
    """The app is declared as an agent: only then has it sessions."""
    stop_subscribed: bool = True
    """The app is subscribed to `agent_session_stopped`: only then is there a native Stop."""
    largest_page: int = 999
    """The largest `limit` with which Slack lists this workspace's people."""
    hears_of_people: bool = True
    """The app is subscribed to `team_join` and `user_change`."""
    odd_bot: Json | None = None
    """What `bots.info` answers. (A newcomer's answered without `bot`.)"""
    slot: dict[tuple[str, str], str] = field(default_factory=dict)
    """What a thread shows of work. A session's status and an assistant's status line write the
    same place, and the last one wins (agentconnect-md/agentconnect/pull/1483)."""

    def __post_init__(self) -> None:
        self.people[BOT_USER] = SlackPerson(BOT_USER, "Ponte", is_bot=True)

    def place(self, channel: str) -> SlackChannel:
        if channel not in self.places:
            raise SlackErrorResponse("channel_not_found")
        return self.places[channel]

    def writable(
        self, channel: str, absent: str = "not_in_channel", archived: str = "is_archived"
    ) -> SlackChannel:
        """Return a channel that the bot is in, or raise SlackErrorResponse with the method's
        error."""
        place = self.place(channel)
        if BOT_USER not in place.members:
            raise SlackErrorResponse(absent)
        if place.archived and archived:
            raise SlackErrorResponse(archived)
        return place

    def post(self, channel: str, ts: str) -> Post:
        """Return a post, or raise SlackErrorResponse if it does not exist or was deleted."""
        value = self.posts.get((channel, ts))
        if value is None or value.deleted:
            raise SlackErrorResponse("message_not_found")
        return value

    def add(self, post: Post) -> Post:
        self.posts[post.channel, post.ts] = post
        self.note_shown(post)
        return post

    def note_shown(self, post: Post) -> None:
        """Record what a person sees now, and what it would set off."""
        post.versions.append(post.visible_text)
        post.linked += post.links
        if post.user != BOT_USER:
            return
        # A mention in rich text is an element of its own, so its text mentions nobody.
        blocks = [block for block in post.blocks if block["type"] != "rich_text"]
        messages = [post.text, *map(block_text, blocks)]
        self.pings += [text for text in messages if _PINGS.search(text)]
        if post.blocks and not post.text.strip():
            self.complaints.append(f"blocks without text: {post.visible_text[:60]!r}")

    def in_channel(self, channel: str) -> list[Post]:
        return [
            p
            for p in self.posts.values()
            if p.channel == channel and not p.deleted and not p.seen_by
        ]

    def thread(self, channel: str, ts: str) -> list[Post]:
        """The root and its replies, oldest first."""
        return sorted(self._thread(channel, ts), key=lambda post: post.ts)

    def _thread(self, channel: str, ts: str) -> Iterator[Post]:
        for post in self.in_channel(channel):
            if ts in (post.ts, post.thread_ts):
                yield post

    def by_bot(self, channel: str, thread_ts: str = "") -> list[Post]:
        """The bot's standing posts, of a thread or of the whole channel, oldest first."""
        posts = self.thread(channel, thread_ts) if thread_ts else self.in_channel(channel)
        return sorted((p for p in posts if p.user == BOT_USER), key=lambda post: post.ts)

    def show_session(self, channel: str, thread: str, status: str) -> None:
        """`processing` does not go away by itself when the app posts: only after an hour
        (NousResearch/hermes-agent/issues/90978 and pull/110391)."""
        self.sessions[channel, thread] = status
        self.slot[channel, thread] = f"session: {status}" if status == "processing" else ""

    def show_status(self, channel: str, thread: str, status: str) -> None:
        if self.slot.get((channel, thread), "").startswith("session"):
            self.complaints.append(f"a status over a session: {status!r}")
        self.slot[channel, thread] = status

    def open_stream(self, post: Post) -> bool:
        if post.stream is None or post.stream.stopped:
            return False
        if time.monotonic() - post.stream.began > self.stream_seconds:
            post.stream = None
        return post.stream is not None

    def new_bot_post(self, channel: str, thread_ts: str = "") -> Post:
        return Post(channel, self.clock.ts(), BOT_USER, thread_ts=thread_ts, bot_id=BOT_ID)

    def trigger(self) -> str:
        """A trigger id, good for `trigger_seconds`."""
        id = new_id("trigger.")
        self.triggers[id] = time.monotonic()
        return id

    def use_trigger(self, id: str) -> None:
        began = self.triggers.pop(id, None)
        if began is None:
            raise SlackErrorResponse("invalid_trigger_id")
        if time.monotonic() - began > self.trigger_seconds:
            raise SlackErrorResponse("expired_trigger_id")
