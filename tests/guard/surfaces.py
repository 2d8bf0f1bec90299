"""The same acts of people on Slack, on Discord and on the page, and what stands there afterwards.

`alice` and `bob` may write, `bea` is an admin, `stan` may nothing, `gus` is a guest of Slack.
`talk` names a thread or conversation; a name that is new begins one. People press the newest button
with a label, and edit or delete the newest message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
from pydantic import SecretStr

from tests.dialogues.office import ZONE
from tests.fakes.discord import DiscordPerson
from tests.fakes.discord.world import Channel, Payload
from tests.fakes.slack import TEAM, Post
from tests.guard.services import Json, NotedRequest, NotingDiscord, NotingSlack

FileBytes = tuple[str, bytes]
NAMES = ("alice", "bob", "bea", "stan")


class SlackSurface:
    name = "slack"

    def __init__(self, slack: NotingSlack) -> None:
        self.slack = slack
        self.people = {name: slack.person(name.title(), tz=ZONE.key) for name in NAMES}
        self.people["gus"] = slack.person("Gus", tz=ZONE.key, guest="multi")
        self.general = slack.channel("general", *self.people.values())
        self.sales = slack.channel("sales", *self.people.values())
        self.place = f"slack:{TEAM}:{self.general.id}"
        self._roots: dict[str, Post] = {}
        self.newest: Post | None = None

    def key(self, who: str) -> str:
        return f"slack:{self.people[who].id}"

    def settings(self) -> Json:
        return {"slack_bot_token": SecretStr(self.slack.bot_token),
                "slack_app_token": SecretStr(self.slack.app_token),
                "slack_api_url": self.slack.base_url}  # fmt: skip

    async def wait_until_connected(self) -> None:
        await self.slack.deliveries.wait_until_connected()

    async def say(
        self, who: str, text: str, *, dm: bool = False, files: Sequence[FileBytes] = (),
        talk: str = "", waits: bool = True,
    ) -> None:  # fmt: skip
        someone, slack = self.people[who], self.slack
        place = slack.dm(someone) if dm else self.general
        words = text if dm else f"{slack.bot} {text}"
        root = None if dm else self._roots.get(talk)
        sent = [(name, "text/csv", data) for name, data in files]
        self.newest = slack.say(someone, place, words, root, files=sent)
        if not dm:
            self._roots.setdefault(talk, self.newest)

    async def press(self, who: str, label: str) -> None:
        posts = self.slack.workspace.posts.values()
        post = max((p for p in posts if label in p.buttons and not p.deleted), key=lambda p: p.ts)
        self.slack.click(self.people[who], post, label)

    async def edit(self, text: str) -> None:
        assert self.newest
        mention = f"{self.slack.bot} " if self.newest.text.startswith(self.slack.bot) else ""
        self.slack.edit(self.newest, f"{mention}{text}")

    async def delete(self) -> None:
        assert self.newest
        self.slack.remove(self.newest)

    async def wait_for_acknowledgements(self) -> None:
        await self.slack.deliveries.wait_for_deliveries()

    def list_requests(self) -> list[NotedRequest]:
        return []

    async def list_visible(self) -> list[Any]:
        world, found = self.slack.workspace, []
        for post in sorted(world.posts.values(), key=lambda post: post.ts):
            place = world.places[post.channel]
            found.append({
                "place": place.name or place.kind, "by": world.people[post.user].name,
                "thread": post.thread_ts, "ts": post.ts, "text": post.visible_text,
                "buttons": list(post.buttons), "files": [file.name for file in post.files],
                "seen_by": post.seen_by, "deleted": post.deleted, "links": sorted(set(post.links)),
            })  # fmt: skip
        return [*found, {"views": world.views, "complaints": world.complaints}]


class DiscordSurface:
    name = "discord"

    def __init__(self, discord: NotingDiscord) -> None:
        self.discord = discord
        self.people: dict[str, DiscordPerson] = {n: discord.user(n.title()) for n in NAMES}
        guild = discord.guild("Bolts", *self.people.values())
        self.general = discord.text_channel(guild, "general")
        self.sales = discord.text_channel(guild, "sales")
        self.place = f"discord:{guild.id}:{self.general.id}"
        self._threads: dict[str, int] = {}
        self.newest: Payload | None = None

    def key(self, who: str) -> str:
        return f"discord:{self.people[who].id}"

    def settings(self) -> Json:
        return {"discord_token": SecretStr(self.discord.token),
                "discord_api_url": self.discord.api_url,
                "discord_gateway_url": self.discord.gateway_url}  # fmt: skip

    async def wait_until_connected(self) -> None:
        await self.discord.wait_until(
            lambda: self.discord.gateway.is_connected and self.discord.rest.commands
        )

    async def say(
        self, who: str, text: str, *, dm: bool = False, files: Sequence[FileBytes] = (),
        talk: str = "", waits: bool = True,
    ) -> None:  # fmt: skip
        person = self.people[who]
        if dm:
            self.newest = await person.say(text, files=files)
            return
        thread = self.discord.world.channels.get(self._threads.get(talk, 0))
        self.newest = await person.mention(text, thread or self.general, files=files)
        self._threads.setdefault(talk, int(self.newest["id"]))

    def _messages(self) -> list[tuple[Channel, Payload]]:
        channels = self.discord.world.channels.values()
        found = [(channel, each) for channel in channels for each in channel.messages.values()]
        return sorted(found, key=lambda pair: int(pair[1]["id"]))

    async def press(self, who: str, label: str) -> None:
        shown = [message for _, message in self._messages() if label in _labels(message)]
        await self.people[who].click(shown[-1], label)

    async def edit(self, text: str) -> None:
        assert self.newest
        start = self.newest["content"].partition("> ")
        mention = f"{start[0]}> " if start[0].startswith("<@") else ""
        await self.people["alice"].edit(self.newest, f"{mention}{text}")

    async def delete(self) -> None:
        assert self.newest
        await self.people["alice"].delete(self.newest)

    async def wait_for_acknowledgements(self) -> None: ...

    def list_requests(self) -> list[NotedRequest]:
        return []

    async def list_visible(self) -> list[Any]:
        found = [
            {"place": channel.name or str(channel.type), "by": message["author"]["username"],
             "id": message["id"], "text": message["content"], "buttons": _labels(message),
             "embeds": message["embeds"], "files": [f["filename"] for f in message["attachments"]],
             "channel": str(channel.id)}
            for channel, message in self._messages()
        ]  # fmt: skip
        for one in sorted(self.discord.interactions.exchanges.values(), key=lambda one: one.id):
            private = [one.original] if one.ephemeral and one.original else []
            found += [
                {"to": one.user.name, "text": message["content"], "buttons": _labels(message),
                 "embeds": message["embeds"]}
                for message in [*private, *one.followups]
            ]  # fmt: skip
        return found


def _labels(message: Payload) -> list[str]:
    rows = message["components"]
    return [item["label"] for row in rows for item in row.get("components", ()) if "label" in item]


class PageSurface:
    """`bea` is the owner; the others have accounts. Every person has conversations of their own."""

    name, place = "page", "web"

    def __init__(self) -> None:
        self.clients: dict[str, httpx.AsyncClient] = {}
        self.cards: Callable[[], Sequence[tuple[str, Sequence[str]]]] = tuple
        """Returns the id and the actions of each card, the newest last."""
        self._made: list[NotedRequest] = []
        self._talks: dict[str, str] = {}
        self.newest: Json = {}

    def key(self, who: str) -> str:
        return "web:owner" if who == "bea" else f"web:{who}"

    def settings(self) -> Json:
        return {}

    async def wait_until_connected(self) -> None: ...

    async def say(
        self, who: str, text: str, *, dm: bool = False, files: Sequence[FileBytes] = (),
        talk: str = "", waits: bool = True,
    ) -> None:  # fmt: skip
        asked = {"message": text, "conversation": talk or "work", "time_zone": ZONE.key}
        self._talks.setdefault(who, talk or "work")
        self.newest = {"who": who, "body": asked}
        headers = {} if waits else {"Prefer": "respond-async"}
        sent: Json = {"json": asked}
        if files:
            sent = {"data": asked, "files": [("file", (n, d, "text/csv")) for n, d in files]}
        await self.post(who, "/chat", headers=headers, **sent)

    async def post(self, who: str, path: str, **more: Any) -> Json:
        """Send a request and note its answer."""
        answer = await self.clients[who].post(path, **more)
        body: Json = answer.json()
        self._made.append(NotedRequest("page", f"POST {path} by {who}: {answer.status_code}", body))
        return body

    async def press(self, who: str, label: str) -> None:
        action = label.lower()
        id = [id for id, actions in self.cards() if action in actions][-1]
        click = {"action": action, "conversation": self._talks.get(who, "work")}
        await self.post(who, f"/cards/{id}", json=click)

    async def edit(self, text: str) -> None:
        raise NotImplementedError

    async def delete(self) -> None:
        raise NotImplementedError

    async def wait_for_acknowledgements(self) -> None: ...

    def list_requests(self) -> list[NotedRequest]:
        return self._made

    async def list_visible(self) -> list[Any]:
        found: list[Any] = []
        for who in sorted(self.clients):
            listed = (await self.clients[who].get("/conversations")).json()
            for one in listed.get("conversations", ()):
                shown = (await self.clients[who].get(f"/conversations/{one['id']}")).json()
                shown.pop("cursor", None)
                found.append({"who": who, **shown})
            waiting = (await self.clients[who].get("/approvals")).json()
            me = (await self.clients[who].get("/me")).json()
            found.append({"who": who, "approvals": waiting, "notices": me.get("notices")})
        return found


def cards_of(answers: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the id and actions of each card in stored answers."""
    for answer in answers:
        for card in json.loads(answer).get("cards", ()):
            yield card["id"], card.get("actions", ())
