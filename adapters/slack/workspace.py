"""The state that all replies in a workspace share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from adapters.slack.client import (
    SLACK_PLACE_SECONDS,
    WAITING_REACTION,
    FeatureFlags,
    InDoubt,
    SlackApi,
    SlackRefused,
    identity,
)
from adapters.slack.people import SlackPeople
from adapters.slack.render import ANSWER_PART_BYTES, Json
from core.chat.presence import WaitingMarks
from core.domain.errors import PlatformBusy
from core.domain.messages import ReplyTo
from core.runtime.tasks import BackgroundTasks, BoundedDict

NOTICE_AFTER_SECONDS = 1.0
"""Seconds after which the sender of a slash command is notified that it is in progress. A faster
answer arrives without that notice."""


async def _nobody(to: ReplyTo, ts: str) -> None:
    return None


class Pending:
    """Notices for slash commands that take long, visible only to the person who typed the command.

    A slash command leaves no message that could carry a reaction. According to published reports, a
    message sent to a `response_url` cannot be deleted (slackapi/bolt-js issue 2287,
    langchain-ai/open-swe pull 2889). Ponte asks for the deletion anyway. At the latest, the message
    disappears when the client restarts, like every ephemeral message
    (docs.slack.dev/reference/methods/chat.postEphemeral).
    """

    def __init__(self, api: SlackApi, tasks: BackgroundTasks) -> None:
        self._api = api
        self._tasks = tasks
        self._waiting: dict[str, asyncio.Event] = {}

    def begin(self, turn: str, url: str, words: str) -> None:
        """Schedule `words` at the `response_url` `url`, in case the answer to `turn` is not posted
        within NOTICE_AFTER_SECONDS."""
        if url and turn not in self._waiting:
            self._waiting[turn] = asyncio.Event()
            self._tasks.start(self._watch(turn, url, words))

    def end(self, turn: str) -> None:
        """Withdraw the notice of `turn`, because its answer is posted."""
        if answered := self._waiting.get(turn):
            answered.set()

    async def _watch(self, turn: str, url: str, words: str) -> None:
        """Show the notice if no answer arrives in time, and delete it after the answer."""
        answered = self._waiting[turn]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTICE_AFTER_SECONDS):
                    await answered.wait()
                    return
            await self._api.respond(url, {"text": words, "response_type": "ephemeral"})
            await answered.wait()
            await self._api.respond(url, {"delete_original": True})
        except InDoubt:
            return
        finally:
            self._waiting.pop(turn, None)


@dataclass(slots=True)
class Workspace:
    """The workspace of the token, and the state that all replies in it share.

    `team` is its id and `user` the bot's user id; both are "" until `identify` has returned.
    """

    api: SlackApi
    directory: SlackPeople
    flags: FeatureFlags = field(default_factory=FeatureFlags)
    tasks: BackgroundTasks = field(default_factory=lambda: BackgroundTasks("slack"))
    team: str = ""
    user: str = ""
    scopes: frozenset[str] = frozenset()
    """The scopes of the token; empty if Slack does not return them."""
    started: float = field(default_factory=time.time)
    """The start of this process, in Unix seconds."""
    part: int = ANSWER_PART_BYTES
    """The maximum bytes of an answer's text in one post. It shrinks if Slack refuses that many."""
    working: BoundedDict[str, str] = field(default_factory=BoundedDict)
    """For each thread (`CHANNEL:THREAD`), the turn that last set its session to "processing"."""
    titles: BoundedDict[str, str] = field(default_factory=BoundedDict)
    """For each turn, the title of a session that it starts: the first words of its message."""
    stopped: Callable[[ReplyTo, str], Awaitable[None]] = _nobody
    """Called with a reply and a stream's time stamp if a call shows that a person stopped the
    stream."""
    pending: Pending = field(init=False)
    marks: WaitingMarks = field(init=False)
    _told: Json = field(default_factory=dict)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.pending = Pending(self.api, self.tasks)
        self.marks = WaitingMarks(self.tasks, self.mark, self.unmark, BoundedDict())

    async def mark(self, place: str) -> None:
        """Add the reaction for waiting to the message at CHANNEL:TS. Raises nothing that Slack
        causes."""
        await self._react("reactions.add", place, 2.0)

    async def unmark(self, place: str) -> None:
        """Remove the reaction for waiting from the message at CHANNEL:TS."""
        await self._react("reactions.remove", place, SLACK_PLACE_SECONDS)

    async def _react(self, method: str, place: str, patience: float) -> None:
        if not self.flags.is_on("reactions"):
            return
        channel, _, ts = place.rpartition(":")
        try:
            await self.api.call(
                method, channel=channel, timestamp=ts, name=WAITING_REACTION, patience=patience
            )
            self.flags.note_success("reactions")
        except SlackRefused as refused:
            self.flags.note_refusal("reactions", refused.error)
        except (InDoubt, PlatformBusy):
            return

    async def identify(self) -> Json:
        """Return the response of auth.test, requested once. Raises the errors of `client.identity`.

        Resumed turns may call it before the adapter has started.
        """
        async with self._asking:
            if not self.user:
                self._told, self.scopes = await identity(self.api)
                self.directory.team = self._told["team_id"]
                self.team, self.user = self._told["team_id"], self._told["user_id"]
        return self._told
