"""Commands, shortcuts, modals and clicks: each becomes a message, stored before it is answered.

Slack sends these once, and shows the person an error where no answer comes within three seconds; so
what could not be stored is told in the answer itself. Nothing is asked of Slack before the store,
but for opening a form, which is the answer then: it is shown to nobody who may not talk with us.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from adapters.slack import events, render
from adapters.slack.client import FAILURES, InDoubt
from adapters.slack.events import Payload, Said, Source, is_direct, reply_to
from adapters.slack.render import mentioned, readable
from adapters.slack.workspace import Directs, Workspace
from core.conversation.grammar import Command, parse, typed
from core.errors import BadInput, NotStored, UnknownCommand
from core.i18n import nearest, say
from core.messages import Address, Attachment, Message, Person, Quote
from core.ports import Inbox, Policy, StatusBoard
from core.quick_commands import check_inputs
from core.records import QuickCommand
from core.tasks import together

log = structlog.get_logger("slack")

HOOK_SECONDS = 1700.0
"""A response_url lives for 30 minutes (docs.slack.dev/interactivity/handling-user-interaction,
"response_url"); the last ones are not counted on."""
PROMPT = 1.0
"""Seconds that a form waits for who may see it and for what can be chosen in it: its trigger lives
for three (docs.slack.dev/interactivity, "trigger_id")."""
_TYPE_IT = "Write `/quick-command SLUG` and its text or key=value."
_ON_IT = "I am on it: `/quick-command {given}`"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where somebody acted: `thread` "" is the top level; `url` is the response_url, if any;
    `home` the workspace that the person writes from, "" where Slack contradicts itself."""

    user: str
    home: str
    channel: str
    thread: str = ""
    url: str = ""


class Interactions:
    """Each method takes Slack's payload and gives the body of the acknowledgement, or None for
    an empty one."""

    def __init__(
        self, workspace: Workspace, directs: Directs, inbox: Inbox, board: StatusBoard,
        policy: Policy,
    ) -> None:  # fmt: skip
        self._workspace = workspace
        self._directs = directs
        self._inbox = inbox
        self._board = board
        self._policy = policy

    async def command(self, payload: Payload) -> Payload:
        """`/quick-command SLUG …`; a modal asks for what is missing."""
        home = events.home(self._workspace.team, [payload.get("team_id")])
        spot = Spot(payload["user_id"], home, payload["channel_id"], "", payload["response_url"])
        locale = self._locale(spot)
        given = self._readable(payload.get("text", ""))
        wanted = self._read(given)
        known = {command.slug: command for command in await self._known(spot)}
        lacks = wanted and self._missing(known.get(wanted.slug), wanted, locale)
        if lacks or (wanted is None and not given):
            told = await self._refused(spot)
            locale = self._locale(spot)
            if wanted:
                lacks = self._missing(known[wanted.slug], wanted, locale)
                form = render.inputs(known[wanted.slug], _memory(spot), locale, lacks)
            else:
                form = render.quick(list(known.values()), "", _memory(spot), locale)
            told = told or await self._opened(payload["trigger_id"], form, locale)
            return {"text": told} if told else {}
        key = f"slack:{self._workspace.team}:{spot.channel}:command:{payload['trigger_id']}"
        try:
            await self._accept(spot, key, f"quick-command {given}", on_it=given)
        except NotStored as error:
            return {"text": error.words(locale)}
        return {}

    async def shortcut(self, payload: Payload) -> None:
        """A message shortcut: opens its modal."""
        about = payload.get("message") or {}
        thread = str(about.get("thread_ts") or about.get("ts") or payload.get("message_ts", ""))
        spot = Spot(payload["user"]["id"], self._home(payload), payload["channel"]["id"], thread,
                    payload.get("response_url", ""))  # fmt: skip
        if refused := await self._refused(spot):
            await self._tell(spot, refused)
            return
        locale = self._locale(spot)
        text = self._readable(events.words_of(about))
        kept = _memory(spot) | {
            "by": str(about.get("user") or about.get("username") or ""), "about": text,
            "ts": str(about.get("ts") or ""), "files": _remembered(events.files(about)),
        }  # fmt: skip
        if payload["callback_id"] == render.ASK:
            view = render.ask(kept, locale)
        else:
            view = render.quick(await self._known(spot), text, kept | {"about": ""}, locale)
        if told := await self._opened(payload["trigger_id"], view, locale):
            await self._tell(spot, told)

    async def submitted(self, payload: Payload) -> Payload | None:
        """A modal was filled."""
        view, filled = payload["view"], render.filled(payload["view"])
        kept = render.memory(view)
        spot = Spot(payload["user"]["id"], self._home(payload), kept["channel"], kept["thread"],
                    kept["url"])  # fmt: skip
        locale = self._locale(spot)
        key = f"slack:{self._workspace.team}:{spot.channel}:view:{view['id']}"
        context: tuple[Quote, ...] = ()
        files: tuple[Attachment, ...] = ()
        if view["callback_id"] == render.ASK:
            text, block = filled.get(render.QUESTION, ""), render.QUESTION
            by = str(kept.get("by") or "?")
            about = str(kept.get("about", ""))
            context = (Quote(self._name(by) or by, about, replied=True,
                             reference=str(kept.get("ts", ""))),)  # fmt: skip
            files = _recalled(kept.get("files"))
        else:
            command, update, block = await self._wanted(spot, view, filled, locale)
            if update is not None:
                return update
            text = typed(command)
        try:
            await self._accept(spot, key, text, context, files, on_it=text)
        except NotStored as error:
            return _errors(block, error.words(locale))
        return None

    async def clicked(self, payload: Payload, action: Payload) -> None:
        """A button under a post of ours. Raises NotStored, after having told the person."""
        channel, post = payload["channel"]["id"], payload.get("message") or {}
        ts = str(post.get("ts", ""))
        thread = str(post.get("thread_ts") or "")
        spot = Spot(payload["user"]["id"], self._home(payload), channel, thread,
                    payload.get("response_url", ""))  # fmt: skip
        team = self._workspace.team
        key = f"slack:{team}:{channel}:{ts}:{action['action_id']}:{action['action_ts']}:{spot.user}"
        stop = action["action_id"] == render.STOP
        word = "stop" if stop else action["action_id"].removeprefix(render.ACTION)
        text = word if stop else f"{word} {action.get('value', '')}"
        source = Source(ts, thread, "quiet" if stop else "card")
        try:
            await self._accept(spot, key, text, source=source)
        except NotStored as error:
            await self._tell(spot, error.words(self._locale(spot)))
            raise

    async def _wanted(
        self, spot: Spot, view: Payload, filled: Mapping[str, str], locale: str
    ) -> tuple[Command, Payload | None, str]:
        """The quick command that a modal stands for; or the modal that asks on; or an error."""
        kept = render.memory(view)
        known = {command.slug: command for command in await self._known(spot)}
        slug = str(kept.get("slug") or filled.get(render.SLUG, "")).strip().lower()
        if view["callback_id"] == render.INPUTS:
            given: Any = {name.removeprefix(render.FIELD): value for name, value in filled.items()}
            block = next(iter(filled), render.FIELD)
        else:
            given, block = filled.get(render.INPUT, ""), render.INPUT
        wanted = self._read(typed(Command("quick-command", slug=slug, input=given)), whole=True)
        if wanted is None or wanted.slug != slug:
            wrong = UnknownCommand("There is no quick command {slug!r}.", slug=slug).words(locale)
            return Command("quick-command"), _errors(render.SLUG, wrong), render.SLUG
        command = known.get(wanted.slug)
        if missing := self._missing(command, wanted, locale):
            if command is None or view["callback_id"] == render.INPUTS:
                return wanted, _errors(block, missing), block
            asks = render.inputs(command, kept, locale, "" if not given else missing)
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
        files: tuple[Attachment, ...] = (), source: Source | None = None, on_it: str = "",
    ) -> None:  # fmt: skip
        """`on_it`: what the person is told to be under way, where it leaves no other sign."""
        message = await self._message(spot, key, text, context, files, source)
        receipt = await self._inbox.accept(message)
        if receipt.fresh and on_it and not spot.thread:
            words = say(
                _ON_IT, self._locale(spot), given=on_it.removeprefix("quick-command ")[:200]
            )
            self._workspace.pending.begin(receipt.turn, spot.url, words)

    async def _message(
        self, spot: Spot, key: str, text: str, context: tuple[Quote, ...],
        files: tuple[Attachment, ...], source: Source | None,
    ) -> Message:  # fmt: skip
        """As far as it is known without asking; the rest is looked up when the turn starts."""
        profile = self._workspace.directory.known(spot.user)
        author = Person("slack", spot.user, spot.home, profile.name)
        now = f"{time.time():.6f}"
        where = await self._address(spot, now)
        at = source or Source(now, spot.thread, "command")
        expires = time.time() + HOOK_SECONDS if spot.url else 0.0
        return Message(
            event_key=key, text=text, author=author, address=where,
            reply_to=reply_to(where, author, str(at), key, spot.url, expires), context=context,
            attachments=files, locale=profile.locale.replace("_", "-"), time_zone=profile.zone,
            sent_at=float(now), clicked=True,
        )  # fmt: skip

    async def _address(self, spot: Spot, now: str) -> Address:
        """A thread's conversation; without one, a channel's is the person's own in it."""
        team, direct = self._workspace.team, is_direct(spot.channel, {})
        if not spot.thread:
            person = "" if direct else spot.user
            return Address("slack", spot.channel, team, person=person, shared=not direct)
        said = Said(team, spot.channel, now, spot.user, "", spot.thread, direct=direct)
        return events.address(said, await self._directs.belongs_to_dm(said))

    async def _known(self, spot: Spot) -> list[QuickCommand]:
        """Those that can be chosen; none where that is not known at once."""
        try:
            async with asyncio.timeout(PROMPT):
                return list(await self._board.commands(*self._who_and_where(spot)))
        except TimeoutError:
            return []

    async def _refused(self, spot: Spot) -> str:
        """Why this person sees no form; "" where they do. Their language is known then, if it is
        told in time."""
        try:
            async with asyncio.timeout(PROMPT):
                verdict, _ = await together(
                    self._policy.may(*self._who_and_where(spot), "chat"),
                    self._workspace.directory.profiles([spot.user]),
                )
        except TimeoutError:
            return say(_TYPE_IT, self._locale(spot))
        return "" if verdict.allowed else say(verdict.reason, self._locale(spot))

    def _who_and_where(self, spot: Spot) -> tuple[Person, Address]:
        where = Address("slack", spot.channel, self._workspace.team, spot.thread,
                        shared=not is_direct(spot.channel, {}))  # fmt: skip
        return Person("slack", spot.user, spot.home), where

    async def _opened(self, trigger: str, view: Payload, locale: str) -> str:
        """A trigger lives for three seconds; where it was too late, what to type."""
        try:
            await self._workspace.api.call("views.open", trigger_id=trigger, view=view, patience=1)
        except FAILURES as error:
            log.warning("modal not opened", why=str(error))
            return say(_TYPE_IT, locale)
        return ""

    async def _tell(self, spot: Spot, words: str) -> None:
        if not spot.url:
            return
        body = {"text": words, "response_type": "ephemeral", "replace_original": False}
        try:
            await self._workspace.api.respond(spot.url, body)
        except InDoubt:
            return

    def _home(self, payload: Payload) -> str:
        """Of who filled a form or pressed a button: their own workspace and the place's."""
        places = [(payload.get("team") or {}).get("id"), (payload.get("view") or {}).get("team_id")]
        return events.home(self._workspace.team, [payload["user"].get("team_id")], places)

    def _name(self, user: str) -> str:
        return self._workspace.directory.known(user).name

    def _readable(self, text: str) -> str:
        names = {id: name for id in mentioned(text) if (name := self._name(id))}
        return readable(text, names, self._workspace.user)

    def _locale(self, spot: Spot) -> str:
        return nearest(self._workspace.directory.locale(spot.user))


def _memory(spot: Spot) -> dict[str, Any]:
    return {"channel": spot.channel, "thread": spot.thread, "url": spot.url}


def _remembered(files: tuple[Attachment, ...]) -> list[list[Any]]:
    """Files by their ids alone, since a modal keeps few words."""
    return [[f.reference.partition(" ")[0], f.name[:60], f.type, f.size] for f in files[:5]]


def _recalled(kept: Any) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(name=str(name), type=str(type), size=int(size), reference=str(id))
        for id, name, type, size in kept or ()
    )


def _errors(block: str, words: str) -> Payload:
    return {"response_action": "errors", "errors": {block: words}}
