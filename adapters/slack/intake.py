"""What comes in by the Events API: decided, stored, and only then acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

from adapters.slack import events
from adapters.slack.company import NOTICE, Company
from adapters.slack.directs import Directs
from adapters.slack.downloads import Downloads
from adapters.slack.events import Said
from adapters.slack.markup import mentioned, readable
from adapters.slack.refusals import InDoubt, SlackRefused
from adapters.slack.signs import WAITS
from adapters.slack.source import Source
from adapters.slack.workspace import Workspace
from core.errors import PlatformBusy
from core.messages import Address, Message, Person
from core.ports import Inbox, ThreadMap
from core.words import nearest, say

Json = Mapping[str, Any]
Removed = Callable[[str], Awaitable[None]]
"""Called with the id of a post of ours that a person deleted."""

ALONE = "There are several of you here now, so I answer only when I am mentioned."
LIMITED = (
    "I could not read what was said before in this thread: Slack lets this app read history "
    "only once a minute. I answer without it."
)


@dataclass(frozen=True, slots=True)
class Customs:
    """What the operator chose. `strict_mention`: channels (by `Address`) where only a mention
    counts; `bots`: ids of other bots (B…) that may talk with us."""

    strict_mention: Callable[[Address], bool] = lambda address: False
    bots: frozenset[str] = frozenset()


class Intake:
    def __init__(
        self, workspace: Workspace, inbox: Inbox, threads: ThreadMap, directs: Directs,
        downloads: Downloads, customs: Customs, removed: Removed,
    ) -> None:  # fmt: skip
        self._workspace = workspace
        self._inbox = inbox
        self._downloads = downloads
        self._customs = customs
        self._removed = removed
        self._company = Company(workspace, threads, self._say_that_we_wait)
        self._directs = directs
        self._places: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(self, team: str, body: Json) -> None:
        """Raises NotStored: then the event must not be acknowledged, and Slack sends it again."""
        event = body.get("event") or {}
        external = bool(body.get("is_ext_shared_channel"))
        match event.get("type"), event.get("subtype"):
            case "message", "message_changed":
                async with self._in_order(event, event.get("message") or {}):
                    await self._changed(team, event, external)
            case "message", "message_deleted":
                async with self._in_order(event, event.get("previous_message") or {}):
                    await self._deleted(team, event, str(event.get("deleted_ts") or ""))
            case (("message" | "app_mention"), _):
                if heard := events.said(team, event, external, self._customs.bots):
                    async with self._in_order(event, event):
                        await self._heard(heard)
            case "agent_session_stopped", _:
                await self._stopped(team, event)

    def _in_order(self, event: Json, message: Json) -> asyncio.Lock:
        """What is said in one place is stored in the order in which it came, though some of it
        waits for Slack to tell more; an edit comes after what it edits."""
        channel = str(event.get("channel", ""))
        root = str(message.get("thread_ts") or message.get("ts") or "")
        place = channel if events.is_direct(channel, event) else f"{channel}:{root}"
        return self._places.setdefault(place, asyncio.Lock())

    async def _heard(self, said: Said) -> None:
        if said.user == self._workspace.user:
            return
        where = events.address(said, await self._directs.belongs_to_dm(said))
        if not await self._for_us(said, where):
            return
        await self._accept(said, where)

    async def _for_us(self, said: Said, where: Address) -> bool:
        """What is not is neither stored nor logged."""
        if said.direct or said.mentions(self._workspace.user):
            return True
        if not said.thread or self._customs.strict_mention(where):
            return False
        return await self._company.follows(said, where.conversation)

    async def _accept(self, said: Said, where: Address) -> None:
        message = await self._message(said, where)
        receipt = await self._inbox.accept(message)
        self._directs.took(said)
        if not receipt.fresh and said.files:
            # app_mention may have come first, and it need not tell of files.
            await self._inbox.amend(message.event_key, message)
        self._downloads.begin(message)
        if receipt.fresh and receipt.waiting:
            self._workspace.tasks.start(self._show_that_it_waits(said))

    async def _message(self, said: Said, where: Address) -> Message:
        """Slack is asked for what the event does not tell, all at once and not for long."""
        directory = self._workspace.directory
        heard, profile, names = await asyncio.gather(
            self._company.mentioned(said, where.conversation),
            directory.profile(said.user),
            directory.names(mentioned(said.text) - {self._workspace.user}),
        )
        if heard.limited:
            self._workspace.tasks.start(self._whisper(said, LIMITED))
        names[self._workspace.user] = "Ponte"
        author = Person("slack", said.user, self._home(said, profile.team), profile.name)
        text = readable(said.text, names, self._workspace.user)
        return events.message(said, where, author, text, heard.quotes, profile.locale, profile.zone)

    def _home(self, said: Said, told: str) -> str:
        """The workspace that a person is of: in a channel shared with other companies it may not
        be ours, and then (or where it is not known) the policy takes them for an outsider."""
        if not said.external or said.team in said.teams:
            return said.team
        return told or next((team for team in said.teams if team.startswith("T")), "")

    async def _changed(self, team: str, event: Json, external: bool) -> None:
        """A person's edit counts until the turn starts; unfurled links are no edits."""
        now, before = event.get("message") or {}, event.get("previous_message") or {}
        if now.get("subtype") == "tombstone":  # what is left of a thread's deleted root
            await self._deleted(team, event, str(now.get("ts", "")))
            return
        if now.get("text") == before.get("text") or not now.get("edited"):
            return
        told = {**now, "channel": event.get("channel"), "channel_type": event.get("channel_type")}
        said = events.said(team, told, external, self._customs.bots)
        if said is None or said.user == self._workspace.user:
            return
        where = events.address(said, await self._directs.belongs_to_dm(said))
        message = await self._message_again(said, where)
        await self._inbox.amend(said.event_key, message)

    async def _message_again(self, said: Said, where: Address) -> Message:
        names = await self._workspace.directory.names(mentioned(said.text))
        text = readable(said.text, names, self._workspace.user)
        return events.message(said, where, Person("slack", said.user, said.team), text)

    async def _deleted(self, team: str, event: Json, ts: str) -> None:
        channel = str(event.get("channel", ""))
        previous = event.get("previous_message") or {}
        if previous.get("user") == self._workspace.user:
            await self._removed(f"{channel}:{ts}")
        elif ts:
            await self._inbox.amend(events.event_key(team, channel, ts), None)

    async def _stopped(self, team: str, event: Json) -> None:
        """Slack's own stop button: the word `stop`, said by who pressed it."""
        channel, thread = str(event.get("channel", "")), str(event.get("thread_ts") or "")
        at, user = str(event.get("event_ts", "")), str(event.get("user", ""))
        direct = events.is_direct(channel, event)
        pressed = Said(team, channel, at, user, "stop", thread, direct=direct)
        where = events.address(pressed, await self._directs.belongs_to_dm(pressed))
        message = events.message(pressed, where, Person("slack", user, team), "stop")
        source = str(Source(at, thread, "quiet"))
        quiet = replace(message, reply_to=replace(message.reply_to, source=source), clicked=True)
        await self._inbox.accept(quiet)

    def _say_that_we_wait(self, said: Said) -> None:
        self._workspace.tasks.start(self._notice(said))

    async def _notice(self, said: Said) -> None:
        words = say(ALONE, nearest(self._workspace.directory.locale(said.user)))
        metadata = {"event_type": NOTICE, "event_payload": {"kind": "company"}}
        await self._quietly(
            "chat.postMessage", channel=said.channel, thread_ts=said.thread, text=words,
            metadata=metadata, unfurl_links=False, unfurl_media=False,
        )  # fmt: skip

    async def _whisper(self, said: Said, sentence: str) -> None:
        words = say(sentence, nearest(self._workspace.directory.locale(said.user)))
        await self._quietly("chat.postEphemeral", channel=said.channel, user=said.user,
                            thread_ts=said.thread or None, text=words)  # fmt: skip

    async def _show_that_it_waits(self, said: Said) -> None:
        if not self._workspace.latches.on("reactions"):
            return
        self._workspace.waiting.add(f"{said.channel}:{said.ts}")
        await self._quietly("reactions.add", channel=said.channel, timestamp=said.ts,
                            name=WAITS)  # fmt: skip

    async def _quietly(self, method: str, **arguments: Any) -> None:
        """A courtesy: the answer does not depend on it."""
        try:
            await self._workspace.api.call(method, **arguments)
        except SlackRefused as refused:
            if method.startswith("reactions."):
                self._workspace.latches.refused("reactions", refused.error)
        except (InDoubt, PlatformBusy):
            return
