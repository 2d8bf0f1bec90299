"""The tests' doubles of Slack, Discord and the rest, which note each request of Ponte."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from aiohttp import web

from tests.fakes.discord import FakeDiscord
from tests.fakes.discord import interactions as discord_interactions
from tests.fakes.discord import rest as discord_rest
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.openai import FakeOpenAI
from tests.fakes.slack import FakeSlack
from tests.fakes.stackspot import FakeStackSpot

Json = dict[str, Any]
_MADE = "made"
_BESIDE = re.compile(
    r"agents\.sessions|assistant\.threads\.setStatus|reactions\.|users\.list|usergroups\.|auth\.|apps\."
)
"""Calls of Slack that show progress or read who is there. When they are made depends on the
machine."""


_OF_START = re.compile(r"/typing$|/users/@me/guilds|/gateway|/applications/|/reactions/")
"""Calls of Discord at the start, and those that show progress."""


def _is_check(method: str, path: str, body: Json) -> bool:
    """Return whether a request checks the server, or makes a conversation in advance."""
    return path.startswith("/models") or (method, path, body) == ("POST", "/conversations", {})


def _short_request(body: Json) -> Json:
    """Return a request of a round with the names of its tools alone."""
    tools = body.get("tools")
    if not tools:
        return body
    return {**body, "tools": [one.get("name") or one.get("function", {}).get("name") or
                              one.get("type") for one in tools]}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NotedRequest:
    """A request of Ponte: where to, what, and with which body."""

    service: str
    what: str
    body: Any = None


class NotingSlack(FakeSlack):
    """Notes also what comes to response URLs."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Json] = []

    async def _response(self, request: web.Request) -> web.StreamResponse:
        self.answers.append(await request.json())
        return await super()._response(request)


class NotingDiscord(FakeDiscord):
    """Notes method, path and body of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Json] = []

    @web.middleware
    async def _meet(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/api/"):
            made: Json = {"what": f"{request.method} {request.path.removeprefix('/api/v10')}"}
            self.made.append(made)
            request[_MADE] = made
        return await super()._meet(request, handler)


async def _note_body(request: web.Request) -> tuple[Json, list[tuple[str, bytes]]]:
    payload, files = await _read_body(request)
    if (made := request.get(_MADE)) is not None:
        made["body"] = {key: value for key, value in payload.items() if key != "nonce"}
        if files:
            made["files"] = [[name, len(data)] for name, data in files]
    return payload, files


_read_body = discord_rest.body


@contextmanager
def note_bodies() -> Iterator[None]:
    """Note the bodies of Discord's calls, and number the doubles' ids from the same number."""
    with (
        mock.patch.object(discord_rest, "body", _note_body),
        mock.patch.object(discord_interactions, "body", _note_body),
        mock.patch("tests.fakes.slack.records._numbers", itertools.count(100_001)),
        mock.patch("tests.fakes.openai.items._numbers", itertools.count(1)),
    ):
        yield


@dataclass
class Services:
    """The doubles of one dialogue. `slack` or `discord` is None where it is not on."""

    openai: FakeOpenAI
    nocodb: FakeNocoDB
    stackspot: FakeStackSpot
    slack: NotingSlack | None = None
    discord: NotingDiscord | None = None

    def list_requests(self) -> Iterator[NotedRequest]:
        """All requests so far, in order for each service."""
        for asked in self.openai.requests:
            if not _is_check(asked.method, asked.path, asked.body):
                yield NotedRequest(
                    "openai", f"{asked.method} {asked.path}", _short_request(asked.body)
                )
        for call in self.nocodb.calls:
            yield NotedRequest(
                "nocodb", f"{call.method} {call.path}", {"?": call.query, "": call.body}
            )
        for each in self.stackspot.requests:
            yield NotedRequest(
                "stackspot", f"{each.kind} {each.path}", {"?": each.query, "": each.body}
            )
        if self.slack:
            for method, arguments in self.slack.api.log:
                if not _BESIDE.match(method):
                    yield NotedRequest("slack", method, arguments)
            for answer in self.slack.answers:
                yield NotedRequest("slack", "response_url", answer)
        if self.discord:
            threads = set[str]()  # after a restart, a thread is sometimes asked for again
            for made in self.discord.made:
                is_repeated = made["what"] in threads
                threads |= {made["what"]} if made["what"].endswith("/threads") else set()
                if not is_repeated and not _OF_START.search(made["what"]):
                    yield NotedRequest("discord", made["what"], {k: v for k, v in made.items()
                                                         if k != "what"})  # fmt: skip

    def addresses(self) -> dict[str, str]:
        """Where each listens, and its name."""
        found = {self.openai.base_url.removesuffix("/v1"): "OPENAI", self.nocodb.origin: "NOCODB",
                 self.stackspot.url: "STACKSPOT"}  # fmt: skip
        if self.slack:
            found[self.slack.origin] = "SLACK"
        if self.discord:
            found[self.discord.rest.base] = "DISCORD"
        return found
