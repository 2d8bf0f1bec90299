"""Who Ponte is in the workspace, and the signs of its work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from adapters.slack import client
from adapters.slack.client import Feature, SlackApi
from adapters.slack.errors import FAILURES, InDoubt, SlackRefused
from adapters.slack.events import Source
from adapters.slack.people import SlackPeople
from adapters.slack.render import ANSWER_PART_BYTES, Json, mentioned_ids, to_readable
from core.base.errors import NotStored, PlatformBusy
from core.base.i18n import say
from core.base.tasks import BackgroundTasks, BoundedDict, retry, wait_after_each
from core.chat.incoming import SIGN_AFTER_SECONDS, WaitingMarks
from core.domain.messages import Address, ReplyTo


@dataclass(slots=True)
class Workspace:
    """The Slack workspace that the bot's token belongs to, with what all replies there share.
    `bots` are the ids (B…) of other bots that may talk with Ponte. `team` is the workspace's id and
    `user` the bot's user id; both are "" until `identify` has returned."""

    api: SlackApi
    directory: SlackPeople
    bots: frozenset[str] = frozenset()
    flags: client.FeatureFlags = field(default_factory=client.FeatureFlags, init=False)
    part: int = field(default=ANSWER_PART_BYTES, init=False)
    """The most bytes of an answer's text in one post. It shrinks if Slack refuses that many."""
    team: str = field(default="", init=False)
    user: str = field(default="", init=False)
    scopes: frozenset[str] = field(default=frozenset(), init=False)
    """The token's scopes; empty if Slack does not return them."""
    app: str = field(default="", init=False)
    """The app's ID; "" where Slack did not tell it."""
    direct_messages: set[str] = field(default_factory=set, init=False)
    """Direct messages with Ponte. A click may also come from that of two other people."""
    _identity: Json = field(default_factory=dict, init=False)
    """The response of auth.test; {} until `identify` has returned."""
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    """This lock is held while Slack is asked, so that it is asked once."""
    _post_locks: WeakValueDictionary[str, asyncio.Lock] = field(
        default_factory=WeakValueDictionary, init=False
    )

    def post_lock(self, channel: str, ts: str) -> asyncio.Lock:
        """Each edit of a post sends all of its cards, so two at the same time would undo each
        other."""
        return self._post_locks.setdefault(f"{channel}:{ts}", asyncio.Lock())

    async def identify(self) -> Json:
        """Return the response of auth.test, requested once. Raises as `SlackApi.identify`.

        Resumed turns may call it before the adapter has started.
        """
        async with self._asking:
            if not self.user:
                self._identity, self.scopes = await self.api.identify()
                self.directory.team = self._identity["team_id"]
                self.team, self.user = self._identity["team_id"], self._identity["user_id"]
        return self._identity

    def known_names(self, text: str) -> dict[str, str]:
        """Return the known names of the people that a text from Slack mentions, by their ids."""
        return {
            id: name
            for id in mentioned_ids(text)
            if (name := self.directory.cached_member(id).name)
        }

    def readable(self, text: str) -> str:
        """Return a text from Slack with names in place of ids, as far as known."""
        return to_readable(text, self.known_names(text) | {self.user: "Ponte"}, self.user)


NOTICE_AFTER_SECONDS = 1.0
"""When the sender of a slash command is notified that it is in progress, unless it was answered."""
STATUS_PERIOD_SECONDS = 90.0
"""The status line is set again after this time. Slack shows it for two minutes."""
NO_STOP_WARNING = "missing_agent_session_stopped_event_subscription"
"""A warning of agents.sessions.setStatus: Slack shows no Stop button, because the app is not
subscribed to its event (docs.slack.dev/reference/events/agent_session_stopped)."""
_THINKING = "is thinking…"
_SESSION = "agents.sessions.setStatus"
""""processing" stays visible until the session ends, for up to an hour (NousResearch/hermes-agent
issue 90978)."""
_SIGN_TIMES, _SIGN_PATIENCE, _SIGN_PAUSE = 20, 2.0, 5.0
"""How often a sign is set or retried, the timeout of one call, and the pause between two attempts,
in seconds."""


class CommandNotices:
    """Notices for slash commands that take long, visible only to the person who typed the command.

    A slash command leaves no message that could carry a reaction. According to published reports, a
    message sent to a `response_url` cannot be deleted (slackapi/bolt-js issue 2287,
    langchain-ai/open-swe pull 2889). Ponte asks for it anyway. At the latest, the message
    disappears when the client restarts, like every ephemeral message
    (docs.slack.dev/reference/methods/chat.postEphemeral).
    """

    def __init__(self, api: SlackApi, tasks: BackgroundTasks) -> None:
        self._api = api
        self._tasks = tasks
        self._waiting: dict[str, asyncio.Event] = {}
        """The event that is set when a command's answer is posted, by turn."""

    def begin(self, turn: str, url: str, words: str) -> None:
        """Show `words` through the `response_url`, unless the answer to `turn` is posted within
        NOTICE_AFTER_SECONDS."""
        if url and turn not in self._waiting:
            self._waiting[turn] = asyncio.Event()
            self._tasks.start(self._show_notice(turn, url, words))

    def end(self, turn: str) -> None:
        if answered := self._waiting.get(turn):
            answered.set()

    async def _show_notice(self, turn: str, url: str, words: str) -> None:
        """Show `words` through the command's `response_url` if no answer comes in time. The notice
        is deleted after the answer, which does not depend on it, so a failure is ignored."""
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


class SlackSigns:
    """Shows in Slack that Ponte works on messages: sessions, reactions, and notices for slash
    commands, for all turns of a workspace.

    A session is Slack's record of an assistant's work in a thread. While its status is
    "processing", Slack shows that and a Stop button.
    """

    def __init__(
        self,
        workspace: Workspace,
        tasks: BackgroundTasks,
        has_open: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`has_open` returns whether a request for approval waits in a conversation, given by its
        key. `marks` has the reactions of waiting messages: their places by turn."""
        self.workspace = workspace
        self._has_open = has_open
        self.tasks = tasks
        self.started = time.time()
        """The start of this process, in Unix seconds. A former process may have left signs for
        older messages."""
        self.working: BoundedDict[str, str] = BoundedDict()
        """By thread (`CHANNEL:THREAD`), the turn that last set its session to "processing"."""
        self.titles: BoundedDict[str, str] = BoundedDict()
        """The title of the session that a turn starts, by turn: the first words of its message."""
        self.suspended: BoundedDict[str, bool] = BoundedDict()
        """The threads whose session this process has set to "suspended"."""
        self.notices = CommandNotices(workspace.api, tasks)
        self.marks = WaitingMarks(tasks, self.mark, self.unmark, BoundedDict())

    async def mark(self, place: str) -> None:
        """`place` is CHANNEL:TS. Raises nothing that Slack causes."""
        await self._call_reactions("reactions.add", place, _SIGN_PATIENCE)

    async def unmark(self, place: str) -> None:
        await self._call_reactions("reactions.remove", place, client.SLACK_PLACE_SECONDS)

    async def _call_reactions(self, method: str, place: str, patience: float) -> None:
        """`place` is CHANNEL:TS, `patience` the most seconds to wait for the rate limit."""
        channel, _, ts = place.rpartition(":")
        await self.call(
            "reactions",
            method,
            channel=channel,
            timestamp=ts,
            name=client.WAITING_REACTION,
            patience=patience,
        )

    async def call(
        self, feature: Feature, method: str, *, is_counted: bool = True, **arguments: Any
    ) -> dict[str, Any] | None:
        """Call a method of an optional feature, whose failure never affects the answer.

        `is_counted`: a refusal says something about the feature, and several switch it off for a
        while. Return the response; None if Slack refused or the feature is off; {} if the outcome
        is unknown or the rate limit left no place for the call.
        """
        flags = self.workspace.flags
        if not flags.is_on(feature):
            return None
        try:
            response = await self.workspace.api.call(method, **arguments)
        except SlackRefused as refused:
            if is_counted:
                flags.note_refusal(feature, refused.error)
            return None
        except (InDoubt, PlatformBusy):
            return {}
        flags.note_success(feature)
        return response

    async def resting_status(self, address: Address, thread: str) -> str:
        """Return the status of a thread's session without a turn: "suspended" while a request in
        the conversation waits for a decision, else "active". The turn that decides such a request
        sets the status again, by `suspended`."""
        where = f"{address.channel}:{thread}"
        try:
            is_suspended = await self._has_open(address.conversation)
        except NotStored:  # the database cannot tell now: as it was
            is_suspended = where in self.suspended
        if is_suspended:
            self.suspended[where] = True
        else:
            self.suspended.pop(where, None)
        return "suspended" if is_suspended else "active"

    async def end_session(self, address: Address, thread: str) -> None:
        """Set the session to its resting status. A failure of Slack is ignored."""
        status = await self.resting_status(address, thread)
        with suppress(*FAILURES):
            await self.workspace.api.call(
                _SESSION, channel_id=address.channel, thread_ts=thread, status=status
            )


class Presence:
    """The signs of one turn in one thread. A message outside a thread gets a reaction, because
    Slack has no other place for signs there.

    Slack shows a session that is "processing" with its own Stop button
    (docs.slack.dev/ai/agent-sessions). The status line stays for two minutes or until the app
    posts. Both use the same place in the client, and the last call replaces the other one
    (agentconnect-md/agentconnect pull 1483).
    """

    def __init__(
        self, workspace: Workspace, signs: SlackSigns, to: ReplyTo, source: Source, resumed: bool
    ) -> None:
        """The turn answers `to` and `source`. `resumed`: a former process may have begun it."""
        self._workspace = workspace
        self._signs = signs
        self._to = to
        self._channel = to.address.channel
        self._source = source
        self._thread = source.thread
        self._there: dict[str, Any] = {"channel_id": self._channel, "thread_ts": self._thread}
        """These arguments name the thread in a call."""
        self._where = f"{self._channel}:{self._thread}"
        """The key of the thread in `SlackSigns.working`."""
        self._place = f"{self._channel}:{self._source.ts}"
        """The place of the message that carries the reaction."""
        self._may_have_old_signs = self._source.kind == "message" and (
            resumed or float(self._source.ts) < signs.started
        )
        """A former process may have left signs: the turn was resumed, or its message is older than
        this process."""
        self._doing = ""
        """What the turn is doing, as the status line says it."""
        self._timer: asyncio.TimerHandle | None = None
        """Shows the signs after SIGN_AFTER_SECONDS."""
        self._session: asyncio.Task[object] | None = None
        """The call that sets the thread's session to "processing"."""
        self._line: asyncio.Task[object] | None = None
        """Repeats the status line, which Slack removes after two minutes."""
        self._posts = True
        """The turn's outcome will be a post, which removes the status line."""
        self._begun = False
        """`show_soon` was called."""
        self._is_answered = False
        """The answer is being posted, so no waiting sign may appear any more."""
        self._setting_status = asyncio.Lock()
        """This lock is held while the status line is set, so that no such call reaches Slack after
        the answer."""
        self._ended = False
        """The turn has ended, so no sign may appear any more."""
        self._released = False
        """This turn has ended the session, or begun to."""
        self._reserved = False
        """The call that ends the session has a place under the rate limit."""
        self.native_stop = False
        """Whether Slack shows its own Stop button for this turn."""

    def show_soon(self, posts: bool = True) -> None:
        """Show that Ponte works on the turn (a reaction, status line or session) after
        SIGN_AFTER_SECONDS, unless it has ended by then. Further calls do nothing.

        `posts`: the outcome will be a post, at which Slack clears the status line. A click may
        change only its card; then `end` clears it.
        """
        if self._begun:
            return
        self._begun, self._posts = True, posts
        # A former process may have left its reaction at the message. It is removed in the
        # background, so that the turn begins at once.
        if self._may_have_old_signs:
            self._signs.tasks.start(self._signs.unmark(self._place))
        # The message no longer waits for its turn, so the reaction that says so is removed.
        self._signs.marks.clear(self._to.turn)
        # A session and the status line need a thread, a reaction needs a message.
        has_place = bool(self._thread) or self._source.kind == "message"
        if has_place and not self._ended:
            self._timer = asyncio.get_running_loop().call_later(SIGN_AFTER_SECONDS, self._show_sign)

    async def show(self, doing: str) -> None:
        """The status line, if there is one, shows what the turn is doing."""
        if not doing or doing == self._doing:
            return
        self._doing = doing
        if self._line is not None and not self._is_answered:
            await self._set_status(doing)

    def note_stream(self) -> None:
        """Slack sets the thread's session to "processing" when a stream starts."""
        self._signs.working[self._where] = self._to.turn

    async def clear_waiting_signs(self) -> None:
        """An answer is posted: stop the status line and remove the reaction. The session and its
        Stop button stay."""
        self._is_answered = True
        if self._timer is not None:
            self._timer.cancel()
        if self._line is not None:
            # A status that reaches Slack after the answer's stream would replace its session.
            async with self._setting_status:
                self._line.cancel()
        self._signs.marks.clear(self._to.turn)

    async def end(self, released: bool = False, has_cards: bool = False) -> None:
        """Remove all signs at the end of the turn. Further calls only withdraw the notice of a
        slash command.

        `released`: its stream ended, which also ended the session. `has_cards`: the answer has
        cards, so the session may be suspended. A session is Slack's record of work in a thread,
        with a Stop button while it is "processing". `working` has the turn that began each.
        `suspended` has the threads whose session waits for a decision. `_line` repeats the status
        line; `_posts`: the outcome is a post.
        """
        self._signs.notices.end(self._to.turn)
        if self._ended:
            return
        await self.clear_waiting_signs()
        if self._line is not None and not self._posts:  # Slack clears it only at a post
            await self._set_status("")
        # The call that starts the session may be under way; one that ends it must come later.
        if self._session is not None:
            # The end of a stream does not end a session that begins later.
            released = released and self._session.done()
            await asyncio.wait({self._session}, timeout=_SIGN_PATIENCE)
        # A later turn in the thread may have started a session, which is still needed. True also
        # tells `remove_old_signs` to do nothing.
        self._released = self._signs.working.get(self._where) == self._to.turn
        if self._released and released:
            del self._signs.working[self._where]
        # A turn without a session of its own sets the status all the same: its cards now wait for a
        # decision, or it may have decided those that suspended the session.
        elif self._released or (
            self._thread and not released and (has_cards or self._where in self._signs.suspended)
        ):
            await self._start_release()
        # Only now: a person's stop may cancel the turn above, which then ends its answer again.
        self._ended = True

    async def remove_old_signs(self) -> None:
        """Remove the signs that a former process left, also if the answer was already posted and
        this process has shown nothing."""
        if not self._may_have_old_signs or self._released:
            return
        self._released = True
        if not self._begun:  # else `show_soon` has removed the reaction
            self._signs.tasks.start(self._signs.unmark(self._place))
        if self._thread:
            await self._start_release()

    def _show_sign(self) -> None:
        if not self._thread:
            self._signs.tasks.start(self._mark())
            return
        if not self._workspace.flags.is_on("sessions"):
            self._line = self._signs.tasks.start(self._keep_line())
            return
        self._session = self._signs.tasks.start(self._start_session())

    async def _mark(self) -> None:
        """Mark the message, unless the rate limit leaves no call to unmark it later, or the answer
        is being posted."""
        spare = await self._workspace.api.limiter.has_spare("reactions.remove")
        if spare and not self._is_answered:  # posted during the question
            self._signs.marks.put(self._to.turn, self._place)

    async def _start_session(self) -> None:
        """Set the session to "processing". If Slack refuses, show the status line instead. Without
        two free calls under the rate limit, one to start the session and one to end it, show
        nothing."""
        if not await self._workspace.api.limiter.reserve(_SESSION, 2):
            return
        self._reserved = True
        # `working` has the turn that last started a session in this thread (`_where`).
        self._signs.working[self._where] = self._to.turn
        title = self._signs.titles.get(self._to.turn) or None
        # `claimed`: `reserve` has counted this call.
        response = await self._try_call(
            "sessions", _SESSION, status="processing", title=title, claimed=True, **self._there
        )
        if response:
            # Whether Slack shows its own Stop button.
            self.native_stop = response.get("warning") != NO_STOP_WARNING
        # None: Slack refused. After {}, an unknown outcome, the session may have begun.
        elif response is None:
            self._signs.working.pop(self._where, None)
            if not self._is_answered:
                self._line = self._signs.tasks.start(self._keep_line())

    async def _start_release(self) -> None:
        """Tell Slack, in the background, that the assistant no longer works in this thread. Wait up
        to 2 seconds, so that the sign is usually gone when the answer comes. The retries go on."""
        if release := self._signs.tasks.start(self._release()):
            await asyncio.wait({release}, timeout=_SIGN_PATIENCE)

    async def _release(self) -> None:
        """Set the session to its resting status, with retries. Otherwise Slack would show the turn
        as in progress for up to an hour. The resting status is "suspended" while a request waits
        for a decision, else "active". `_reserved`: the rate limit has a place for this call.
        `_there` names the thread."""
        flags = self._workspace.flags

        async def release() -> None:
            """End the thread's session, unless another turn has taken it over. A refusal is not
            retried, an unknown outcome is."""
            if not flags.is_on("sessions"):
                return
            # Another turn works in this thread now. No entry: the session is this turn's, or a
            # former process left it.
            if self._signs.working.get(self._where, self._to.turn) != self._to.turn:
                return
            status = await self._signs.resting_status(self._to.address, self._thread)
            try:
                await self._workspace.api.call(
                    _SESSION, status=status, claimed=self._reserved, **self._there
                )
            except SlackRefused as refused:
                flags.note_refusal("sessions", refused.error)
            except (InDoubt, PlatformBusy):
                self._reserved = False  # the first attempt has used the place up
                raise
            self._signs.working.pop(self._where, None)

        with suppress(InDoubt, PlatformBusy):
            pauses = [_SIGN_PAUSE] * (_SIGN_TIMES - 1)
            await retry(release, (InDoubt, PlatformBusy), wait_after_each(pauses))

    async def _keep_line(self) -> None:
        """Slack shows the status line for two minutes only. The task is cancelled when an answer is
        posted; without one it ends after half an hour."""
        for _ in range(_SIGN_TIMES):
            await self._set_status(self._doing or say(_THINKING))
            await asyncio.sleep(STATUS_PERIOD_SECONDS)

    async def _set_status(self, words: str) -> None:
        method = "assistant.threads.setStatus"
        async with self._setting_status:
            await self._try_call("status", method, status=words[:50], **self._there)

    async def _try_call(
        self, feature: Feature, method: str, **arguments: Any
    ) -> dict[str, Any] | None:
        # A command can be typed where the app is not a member. A refusal there says nothing about
        # the feature.
        is_counted = self._source.kind == "message"
        return await self._signs.call(
            feature, method, is_counted=is_counted, patience=_SIGN_PATIENCE, **arguments
        )
