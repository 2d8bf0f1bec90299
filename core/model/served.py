"""The model that a server serves: which level it has is found in the background, and again after
a failure; usable all the while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import structlog

from core.errors import ModelError, NoKey, PonteError, UnknownModel
from core.model import erasure, faults
from core.model.chat import Chat
from core.model.conversations import Conversations
from core.model.input import Read
from core.model.options import Options
from core.model.probe import MISSING, Level, probe
from core.model.responses import Responses
from core.model.server import Late, Server
from core.openai import Client, Fault
from core.records import Ask, Health, ModelEvent, Remote
from core.words import say

log = structlog.get_logger("model")
LOWER: dict[str, Level] = {"conversations": "responses", "responses": "chat"}
WORDS = {
    "conversations": "{model} at {host}: conversations are kept there and here",
    "responses": "{model} at {host}: Responses, history kept here only",
    "chat": "{model} at {host}: chat completions, history kept here only",
}
PROBING = "{model} at {host}: not known yet, being asked"
AGAIN = 30.0
"""Seconds after which `health` asks a failing server anew."""
SOON = 1.0
"""Seconds that `health` waits for a probe under way."""


class LevelModel(Protocol):
    def ask(self, ask: Ask) -> AsyncGenerator[ModelEvent, None]: ...


class ServedModel:
    """`level` None: find out (PONTE_MODEL_API=auto). `read` brings the bytes of files.

    `late`: see `core.model.server.Late`.
    """

    def __init__(
        self,
        client: Client,
        options: Options,
        *,
        level: Level | None = None,
        read: Read | None = None,
        late: Late,
    ) -> None:
        self._client = client
        self._options = options
        self._server = Server(client, options, read, late)
        self._conversations = Conversations(self._server)
        self._levels: dict[str, LevelModel] = {
            "conversations": self._conversations,
            "responses": Responses(self._server),
            "chat": Chat(self._server),
        }
        self._fixed = level
        self._level = level
        self._trouble: PonteError | None = None
        self._asked_at = 0.0
        self._probing: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self._options.model

    @property
    def level(self) -> str:
        """Until it is known: what OpenAI itself would have."""
        return self._level or "conversations"

    def start(self) -> None:
        """Begin to find out, in the background."""
        if self._probing is None or self._probing.done():
            self._asked_at = time.monotonic()
            self._probing = asyncio.create_task(self._probe())

    async def ask(self, ask: Ask) -> AsyncGenerator[ModelEvent, None]:
        level = await self._known_level()
        while True:
            try:
                async with aclosing(self._levels[level].ask(ask)) as events:
                    async for event in events:
                        yield event
                self._trouble = None
                return
            except faults.NoEndpoint as error:
                level = self._lower(level, error)
            except ModelError as error:
                self._note(error)
                raise

    async def health(self) -> Health:
        """Never waits long: a readiness probe asks for it."""
        stale = self._trouble and time.monotonic() - self._asked_at > AGAIN
        if self._probing is None or stale:
            self.start()
        if self._probing is not None:
            await asyncio.wait({self._probing}, timeout=SOON)
        if isinstance(self._trouble, NoKey):
            return Health("model", "off", self._trouble.words())
        if self._trouble is not None:
            return Health("model", "failing", self._trouble.words())
        about = {"model": self.name, "host": self._client.place.host}
        if self._level is None:
            return Health("model", "failing", say(PROBING, "en", **about))
        return Health("model", "on", say(WORDS[self._level], "en", **about))

    async def erase(self, remote: Remote) -> bool:
        if remote.kind == "conversation":
            await self._conversations.given_up(remote.id)
        return await erasure.erase(self._client, remote)

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._conversations.close()
        await self._client.close()

    async def _known_level(self) -> str:
        """Raises a ModelError while the server cannot be asked."""
        if self._level is None:
            self.start()
            if self._probing is not None:
                await asyncio.shield(self._probing)
        if self._level is None:
            raise self._trouble or faults.NoEndpoint()
        return self._level

    async def _probe(self) -> None:
        try:
            if self._level is None:
                self._level = await probe(self._client, self._options.model)
                log.info("model level", api=self._level, host=self._client.place.host)
            self._trouble = await self._unlisted()
        except Fault as fault:
            self._trouble = await self._server.worded(fault)
        except PonteError as error:
            self._trouble = error

    async def _unlisted(self) -> UnknownModel | None:
        """OpenAI lists every model that a key may use; others may serve what they do not list.

        Raises Fault where the server cannot be asked.
        """
        try:
            models = await self._server.models()
        except Fault as fault:
            if fault.status not in MISSING:
                raise
            return None
        if not self._client.place.official or not models or self.name in models:
            return None
        return faults.unknown_model(self.name, models)

    def _lower(self, level: str, error: ModelError) -> str:
        """A server without this level's API; where the operator fixed the level, that is final."""
        if self._fixed or level not in LOWER:
            self._note(error)
            raise error
        self._level = LOWER[level]
        log.info("model level lowered", api=self._level)
        return self._level

    def _note(self, error: ModelError) -> None:
        """What says something of the server, not of one question, is what `health` tells."""
        if error.code in ("wrong_key", "unknown_model", "no_quota", "model_down", "no_key"):
            self._trouble = error
            self._asked_at = time.monotonic()
