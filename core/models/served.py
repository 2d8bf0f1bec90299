"""The model that a server serves: which level it has is found in the background, and again after
a failure; usable all the while. What a thread left on the server is erased here too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal, Protocol

import structlog

from core.clients.openai import ModelServerClient, ModelServerFault
from core.domain.errors import ModelError, NoKey, PonteError, UnknownModel
from core.domain.records import Health, ModelEvent, Remote, RoundRequest
from core.models.chat import Chat
from core.models.conversations import Conversations
from core.models.input import Read
from core.models.responses import Responses
from core.models.server import Late, NoEndpoint, Options, Server, unknown_model
from core.text.i18n import say

log = structlog.get_logger("model")
Level = Literal["conversations", "responses", "chat"]
LOWER: dict[str, Level] = {"conversations": "responses", "responses": "chat"}
MISSING = (404, 405, 501)
"""HTTP status of what is not there, or has no path at all."""
PATHS = {"response": "responses", "container": "containers", "file": "files"}
"""Where a server keeps what is erased, by the kind of a `Remote`."""
PAGE = 100
"""Items of a conversation that are read at once."""
AGAIN = 30.0
"""Seconds after which `health` asks a failing server anew."""
SOON = 1.0
"""Seconds that `health` waits for a probe under way."""
WORDS = {
    "conversations": "{model} at {host}: conversations are kept there and here",
    "responses": "{model} at {host}: Responses, history kept here only",
    "chat": "{model} at {host}: chat completions, history kept here only",
}
PROBING = "{model} at {host}: not known yet, being asked"


class LevelModel(Protocol):
    def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]: ...


async def probe(client: ModelServerClient, model: str) -> Level:
    """Which level a server has, found out without paying for a token.

    Support is never inferred from a 200 of `/responses`: llama.cpp and others take `conversation`
    there and silently forget. A wrong key, a full quota or a dead server say nothing about levels:
    raises Fault while the server cannot be asked, NoKey without a key.
    """
    if await _keeps_conversations(client):
        return "conversations"
    return "responses" if await _answers_responses(client, model) else "chat"


async def erase(client: ModelServerClient, remote: Remote) -> bool:
    """Erase on the server what a thread left there. False: it may still be there, try again.

    What is not there any more counts as erased, and so does what a server has no path for: it
    cannot have kept it.
    """
    try:
        if remote.kind == "conversation":
            await _erase_conversation(client, remote.id)
        else:
            await _erase(client, f"/{PATHS[remote.kind]}/{remote.id}")
    except (ModelServerFault, PonteError):
        return False
    return True


class ServedModel:
    """`level` None: find out (PONTE_MODEL_API=auto). `read` brings the bytes of files.

    `late`: see `core.models.server.Late`.
    """

    def __init__(
        self,
        client: ModelServerClient,
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

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        level = await self._known_level()
        while True:
            try:
                async with aclosing(self._levels[level].ask(ask)) as events:
                    async for event in events:
                        yield event
                self._trouble = None
                return
            except NoEndpoint as error:
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
            return Health("model", "failing", say(PROBING, **about))
        return Health("model", "on", say(WORDS[self._level], **about))

    async def erase(self, remote: Remote) -> bool:
        if remote.kind == "conversation":
            await self._conversations.given_up(remote.id)
        return await erase(self._client, remote)

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
            raise self._trouble or NoEndpoint()
        return self._level

    async def _probe(self) -> None:
        try:
            if self._level is None:
                self._level = await probe(self._client, self._options.model)
                log.info("model level", api=self._level, host=self._client.place.host)
            self._trouble = await self._unlisted()
        except ModelServerFault as fault:
            self._trouble = await self._server.explain(fault)
        except PonteError as error:
            self._trouble = error

    async def _unlisted(self) -> UnknownModel | None:
        """OpenAI lists every model that a key may use; others may serve what they do not list.

        Raises Fault where the server cannot be asked.
        """
        try:
            models = await self._server.models()
        except ModelServerFault as fault:
            if fault.status not in MISSING:
                raise
            return None
        if not self._client.place.is_official or not models or self.name in models:
            return None
        return unknown_model(self.name, models)

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


async def _keeps_conversations(client: ModelServerClient) -> bool:
    try:
        made = await client.post("/conversations", {})
    except ModelServerFault as fault:
        if fault.status in (*MISSING, 400, 422):
            return False
        raise
    id = str(made.get("id") or "")
    if not id or made.get("object") != "conversation":
        return False
    try:
        await client.delete(f"/conversations/{id}")
    except ModelServerFault as fault:
        # It is empty, so it may stay.
        log.info("probe not deleted", conversation=id, fault=str(fault))
    return True


async def _answers_responses(client: ModelServerClient, model: str) -> bool:
    """A question without `input` is refused by a server that knows the path, at no cost.

    Some refuse it with 500, as they break over it (aimock 1.43).
    """
    try:
        await client.post("/responses", {"model": model})
    except ModelServerFault as fault:
        if fault.status in MISSING:
            return fault.code == "model_not_found"
        if fault.status not in (400, 422, 500) or fault.is_quota_exhausted:
            raise
    return True


async def _erase_conversation(client: ModelServerClient, id: str) -> None:
    """Its items first: deleting a conversation leaves them (docstring of the openai package)."""
    items = f"/conversations/{id}/items"
    while True:
        try:
            page = await client.get(items, {"limit": PAGE})
        except ModelServerFault as fault:
            if fault.status not in MISSING:
                raise
            return
        for item in page.get("data") or ():
            await _erase(client, f"{items}/{item['id']}")
        if not page.get("has_more"):
            break
    await _erase(client, f"/conversations/{id}")


async def _erase(client: ModelServerClient, path: str) -> None:
    try:
        await client.delete(path)
    except ModelServerFault as fault:
        if fault.status not in MISSING and not fault.is_container_gone:
            raise
