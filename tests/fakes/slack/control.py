"""The fake's remote control, for tests that run it as a process: `POST /control/VERB` with JSON.

People and places are made when they are first named. Posts are named by `CHANNEL:TS`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from .records import Json, Post, SlackChannel, SlackPerson

if TYPE_CHECKING:
    from .server import FakeSlack


class Control:
    def __init__(self, slack: FakeSlack) -> None:
        self._slack = slack
        self._people: dict[str, SlackPerson] = {}
        self._places: dict[str, SlackChannel] = {}

    async def handle(self, request: web.Request) -> web.Response:
        body: Json = json.loads(await request.text() or "{}")
        act = getattr(self, f"_{request.match_info['verb']}", None)
        if act is None:
            return web.Response(status=404)
        return web.json_response(act(body))

    def _say(self, body: Json) -> Json:
        """`person`, `text`; `channel` (else their direct message), `thread` (a post)."""
        someone = self._someone(body["person"])
        place = self._place(body.get("channel", ""), someone)
        thread = self._post(body["thread"]) if body.get("thread") else None
        return _post_json(self._slack.say(someone, place, body["text"], thread))

    def _edit(self, body: Json) -> Json:
        self._slack.edit(self._post(body["post"]), body["text"])
        return {}

    def _remove(self, body: Json) -> Json:
        self._slack.remove(self._post(body["post"]))
        return {}

    def _click(self, body: Json) -> Json:
        post = self._post(body["post"])
        self._slack.click(self._someone(body["person"]), post, body["label"])
        return {}

    def _command(self, body: Json) -> Json:
        someone = self._someone(body["person"])
        place = self._place(body.get("channel", ""), someone)
        self._slack.command(someone, place, "/quick-command", body["text"])
        return {}

    def _answers(self, body: Json) -> Json:
        """The finished answers to `post`."""
        return {
            "posts": [
                _post_json(post) for post in self._slack.finished_answers(self._post(body["post"]))
            ]
        }

    def _posts(self, body: Json) -> Json:
        """Everything that the bot posted and that stands."""
        return {"posts": [
            _post_json(post) for place in self._slack.workspace.places
            for post in self._slack.workspace.by_bot(place)
        ]}  # fmt: skip

    def _fail(self, body: Json) -> Json:
        """`method`, `how`, `times`."""
        self._slack.api.faults.add(body["method"], body["how"], body.get("times", 1))
        return {}

    def _drop(self, body: Json) -> Json:
        self._slack.deliveries.drop()
        return {}

    def _someone(self, name: str) -> SlackPerson:
        if name not in self._people:
            self._people[name] = self._slack.person(name)
        return self._people[name]

    def _place(self, name: str, someone: SlackPerson) -> SlackChannel:
        key = name or f"@{someone.name}"
        if key not in self._places:
            made = self._slack.channel(name, someone) if name else self._slack.dm(someone)
            self._places[key] = made
        self._places[key].members.add(someone.id)
        return self._places[key]

    def _post(self, id: str) -> Post:
        channel, _, ts = id.partition(":")
        return self._slack.workspace.posts[channel, ts]


def _post_json(post: Post) -> Json:
    return {"post": f"{post.channel}:{post.ts}", "thread": post.thread_ts,
            "text": post.visible_text,
            "buttons": list(post.buttons), "files": [file.name for file in post.files]}  # fmt: skip
