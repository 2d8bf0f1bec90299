"""Slash commands whose answer takes its time: who typed one is told so, and nobody else.

A slash command leaves no message that could wear a sign. What its `response_url` showed can, by
what was published, not be taken back (slackapi/bolt-js issue 2287, langchain-ai/open-swe pull
2889); the deletion is asked for all the same, and at the latest the client's next start takes it
away, as it does with all that is shown to one person alone
(docs.slack.dev/reference/methods/chat.postEphemeral).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from adapters.slack.api import SlackApi
from adapters.slack.refusals import InDoubt
from adapters.slack.tasks import Tasks

SECONDS = 1.0
"""After which it is said; a quicker answer comes alone."""


class Pending:
    def __init__(self, api: SlackApi, tasks: Tasks) -> None:
        self._api = api
        self._tasks = tasks
        self._waiting: dict[str, asyncio.Event] = {}

    def begin(self, turn: str, url: str, words: str) -> None:
        """`turn` was accepted; `words` are shown at `url` while its answer takes its time."""
        if url and turn not in self._waiting:
            self._waiting[turn] = asyncio.Event()
            self._tasks.start(self._watch(turn, url, words))

    def end(self, turn: str) -> None:
        """Its answer is there."""
        if answered := self._waiting.get(turn):
            answered.set()

    async def _watch(self, turn: str, url: str, words: str) -> None:
        answered = self._waiting[turn]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(SECONDS):
                    await answered.wait()
                    return
            await self._api.respond(url, {"text": words, "response_type": "ephemeral"})
            await answered.wait()
            await self._api.respond(url, {"delete_original": True})
        except InDoubt:
            return
        finally:
            self._waiting.pop(turn, None)
