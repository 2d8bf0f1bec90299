"""Commands, shortcuts, modals and clicks: each becomes a message, stored before it is answered.

Slack sends these once, and shows the person an error where no answer comes within three seconds;
so what could not be stored is told in the answer itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from adapters.slack import cards, events, modals
from adapters.slack.directs import Directs
from adapters.slack.events import Said, is_direct, reply_to
from adapters.slack.markup import mentioned, readable
from adapters.slack.refusals import InDoubt, SlackRefused
from adapters.slack.source import Source
from adapters.slack.workspace import Workspace
from core.commands import Command, check_inputs, parse, render
from core.errors import BadInput, NotStored, PlatformBusy, UnknownCommand
from core.messages import Address, Message, Person, Quote
from core.ports import Inbox, StatusBoard
from core.records import QuickCommand
from core.words import nearest, say

Json = Mapping[str, Any]
log = structlog.get_logger("slack")

HOOK_SECONDS = 1700.0
"""A response_url lives for 30 minutes; the last ones are not counted on."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where somebody acted: `thread` "" is the top level; `url` is the response_url, if any;
    `home` the person's own workspace, where it is another one than the app's."""

    team: str
    user: str
    channel: str
    thread: str = ""
    url: str = ""
    home: str = ""


class Interactions:
    """Each method takes Slack's payload and gives the body of the acknowledgement, or None for
    an empty one."""

    def __init__(
        self, workspace: Workspace, directs: Directs, inbox: Inbox, board: StatusBoard
    ) -> None:
        self._workspace = workspace
        self._directs = directs
        self._inbox = inbox
        self._board = board

    async def command(self, team: str, payload: Json) -> Json:
        """`/quick-command SLUG …`; a modal asks for what is missing."""
        spot = Spot(team, payload["user_id"], payload["channel_id"], "", payload["response_url"])
        locale = await self._locale(spot.user)
        names = await self._workspace.directory.names(mentioned(payload.get("text", "")))
        given = readable(payload.get("text", ""), names, self._workspace.user)
        known = {command.slug: command for command in await self._known(spot)}
        wanted = self._read(given)
        if wanted is None and not given:
            view = modals.quick(list(known.values()), "", _memory(spot), locale)
            return await self._opened(payload["trigger_id"], view, locale)
        if wanted and (missing := self._missing(known.get(wanted.slug), wanted, locale)):
            view = modals.inputs(known[wanted.slug], _memory(spot), locale, missing)
            return await self._opened(payload["trigger_id"], view, locale)
        key = f"slack:{team}:{spot.channel}:command:{payload['trigger_id']}"
        try:
            await self._accept(spot, key, f"quick-command {given}")
        except NotStored as error:
            return {"text": error.words(locale)}
        return {"text": say("I am on it: `/quick-command {given}`", locale, given=given[:200])}

    async def shortcut(self, team: str, payload: Json) -> None:
        """A message shortcut: opens its modal."""
        about = payload.get("message") or {}
        thread = str(about.get("thread_ts") or about.get("ts") or payload.get("message_ts", ""))
        spot = Spot(team, payload["user"]["id"], payload["channel"]["id"], thread,
                    payload.get("response_url", ""))  # fmt: skip
        locale = await self._locale(spot.user)
        text = readable(str(about.get("text", "")), {}, self._workspace.user)
        kept = _memory(spot) | {"by": str(about.get("user") or ""), "about": text}
        if payload["callback_id"] == modals.ASK:
            view = modals.ask(kept, locale)
        else:
            view = modals.quick(await self._known(spot), text, kept | {"about": ""}, locale)
        await self._opened(payload["trigger_id"], view, locale)

    async def submitted(self, team: str, payload: Json) -> Json | None:
        """A modal was filled."""
        view, filled = payload["view"], modals.filled(payload["view"])
        kept = modals.memory(view)
        spot = Spot(team, payload["user"]["id"], kept["channel"], kept["thread"], kept["url"],
                    _home(payload))  # fmt: skip
        locale = await self._locale(spot.user)
        key = f"slack:{team}:{spot.channel}:view:{view['id']}"
        context: tuple[Quote, ...] = ()
        if view["callback_id"] == modals.ASK:
            text, block = filled.get(modals.QUESTION, ""), modals.QUESTION
            names = await self._workspace.directory.names([kept.get("by", "")])
            context = (Quote(names.get(kept.get("by", ""), "?"), kept.get("about", "")),)
        else:
            command, update, block = await self._wanted(spot, view, filled, locale)
            if update is not None:
                return update
            text = render(command)
        try:
            await self._accept(spot, key, text, context)
        except NotStored as error:
            return {"response_action": "errors", "errors": {block: error.words(locale)}}
        return None

    async def clicked(self, team: str, payload: Json, action: Json) -> None:
        """A button under a post of ours. Raises NotStored, after having told the person."""
        channel, post = payload["channel"]["id"], payload.get("message") or {}
        ts = str(post.get("ts", ""))
        thread = str(post.get("thread_ts") or "")
        spot = Spot(team, payload["user"]["id"], channel, thread,
                    payload.get("response_url", ""), _home(payload))  # fmt: skip
        key = f"slack:{team}:{channel}:{ts}:{action['action_id']}:{action['action_ts']}:{spot.user}"
        stop = action["action_id"] == cards.STOP
        word = "stop" if stop else action["action_id"].removeprefix(cards.ACTION)
        text = word if stop else f"{word} {action.get('value', '')}"
        source = Source(ts, thread, "quiet" if stop else "card")
        try:
            await self._accept(spot, key, text, source=source)
        except NotStored as error:
            await self._tell(spot, error.words(await self._locale(spot.user)))
            raise

    async def _wanted(
        self, spot: Spot, view: Json, filled: Mapping[str, str], locale: str
    ) -> tuple[Command, Json | None, str]:
        """The quick command that a modal stands for; or the modal that asks on; or an error."""
        kept = modals.memory(view)
        known = {command.slug: command for command in await self._known(spot)}
        slug = str(kept.get("slug") or filled.get(modals.SLUG, "")).strip().lower()
        if view["callback_id"] == modals.INPUTS:
            given: Any = {name.removeprefix(modals.FIELD): value for name, value in filled.items()}
            block = next(iter(filled), modals.FIELD)
        else:
            given, block = filled.get(modals.INPUT, ""), modals.INPUT
        wanted = self._read(render(Command("quick-command", slug=slug, input=given)), whole=True)
        if wanted is None or wanted.slug != slug:
            wrong = UnknownCommand("There is no quick command {slug!r}.", slug=slug).words(locale)
            return Command("quick-command"), _errors(modals.SLUG, wrong), modals.SLUG
        command = known.get(wanted.slug)
        if missing := self._missing(command, wanted, locale):
            if command is None or view["callback_id"] == modals.INPUTS:
                return wanted, _errors(block, missing), block
            asks = modals.inputs(command, kept, locale, "" if not given else missing)
            return wanted, {"response_action": "update", "view": asks}, block
        return wanted, None, block

    def _read(self, given: str, whole: bool = False) -> Command | None:
        """The command in these words; None where they are none yet."""
        try:
            return parse(given if whole else f"quick-command {given}")
        except BadInput:
            return None

    def _missing(self, known: QuickCommand | None, wanted: Command, locale: str) -> str:
        """What the registry wants and was not given, in words; "" where all is there."""
        if known is None:
            return ""
        try:
            check_inputs(known, wanted.input)
        except BadInput as error:
            return error.words(locale)
        return ""

    async def _accept(
        self, spot: Spot, key: str, text: str, context: tuple[Quote, ...] = (),
        source: Source | None = None,
    ) -> None:  # fmt: skip
        await self._inbox.accept(await self._message(spot, key, text, context, source))

    async def _message(
        self, spot: Spot, key: str, text: str, context: tuple[Quote, ...], source: Source | None
    ) -> Message:
        profile = await self._workspace.directory.profile(spot.user)
        author = Person("slack", spot.user, spot.home or spot.team, profile.name)
        now = f"{time.time():.6f}"
        where = await self._address(spot, now)
        at = source or Source(now, spot.thread, "command")
        expires = time.time() + HOOK_SECONDS if spot.url else 0.0
        return Message(
            event_key=key, text=text, author=author, address=where,
            reply_to=reply_to(where, author, str(at), key, spot.url, expires), context=context,
            locale=profile.locale, time_zone=profile.zone, sent_at=float(now), clicked=True,
        )  # fmt: skip

    async def _address(self, spot: Spot, now: str) -> Address:
        """A thread's conversation; without one, a channel's is the person's own in it."""
        direct = is_direct(spot.channel, {})
        if not spot.thread:
            person = "" if direct else spot.user
            return Address("slack", spot.channel, spot.team, person=person, shared=not direct)
        said = Said(spot.team, spot.channel, now, spot.user, "", spot.thread, direct=direct)
        return events.address(said, await self._directs.belongs_to_dm(said))

    async def _known(self, spot: Spot) -> list[QuickCommand]:
        direct = is_direct(spot.channel, {})
        where = Address("slack", spot.channel, spot.team, spot.thread, shared=not direct)
        person = Person("slack", spot.user, spot.team)
        return list(await self._board.commands(person, where))

    async def _opened(self, trigger: str, view: Json, locale: str) -> Json:
        """A trigger lives for three seconds; where it was too late, say what to type."""
        try:
            await self._workspace.api.call("views.open", trigger_id=trigger, view=view, patience=1)
        except (SlackRefused, InDoubt, PlatformBusy) as error:
            log.warning("modal not opened", why=str(error))
            return {"text": say("Write `/quick-command SLUG` and its text or key=value.", locale)}
        return {}

    async def _tell(self, spot: Spot, words: str) -> None:
        if not spot.url:
            return
        body = {"text": words, "response_type": "ephemeral", "replace_original": False}
        try:
            await self._workspace.api.respond(spot.url, body)
        except InDoubt:
            return

    async def _locale(self, user: str) -> str:
        return nearest((await self._workspace.directory.profile(user)).locale)


def _memory(spot: Spot) -> dict[str, Any]:
    return {"channel": spot.channel, "thread": spot.thread, "url": spot.url}


def _home(payload: Json) -> str:
    return str(payload["user"].get("team_id") or "")


def _errors(block: str, words: str) -> Json:
    return {"response_action": "errors", "errors": {block: words}}
