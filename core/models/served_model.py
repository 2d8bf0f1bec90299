"""The requests of `ponte doctor` take the way of a turn's rounds, so that each works or fails as it
would in a turn.

The level is probed again after a failure. This module also erases what a thread left on the server.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Literal

import structlog

from core.base.errors import ModelDown, ModelError, NoKey, PonteError, UnknownModel
from core.base.i18n import format_number, say
from core.base.model_faults import ModelServerFault
from core.base.openai import ModelServerClient, read_id, read_objects
from core.base.tasks import cancel_all
from core.domain.messages import Item, Person, Usage
from core.domain.model_rounds import (
    ModelEvent,
    RemoteStored,
    RoundCompleted,
    RoundRequest,
    TextDelta,
    ToolSpec,
)
from core.domain.ports import ListTools, Model, ReadFile
from core.domain.records import DoctorFinding, Health, Remote, Thread
from core.models.context_size import TOOLS_CONTEXT_TOKENS, ContextSize, describe_size
from core.models.conversations_api import ConversationsApi
from core.models.model_server import (
    LimitReached,
    ModelOptions,
    ModelServer,
    NoEndpoint,
    RecordObjectToErase,
    judge_voice,
    lacks_endpoint,
    unknown_model_error,
)
from core.models.own_history import ChatCompletionsApi, OwnHistoryApi, ResponsesApi

TRIAL_INSTRUCTIONS = "You take part in a test. Answer in English and as briefly as possible."
TEXT_QUESTION = "Count from 1 to 20 in digits, with a space between two numbers."
TOOL_QUESTION = "What is the code word of Lisbon? Look it up with the tool."
CODE_WORD = "marmalade"
"""Occurs in no question, so an answer with it has read the tool's result."""
TOOL_RESULT = f"The code word of Lisbon is {CODE_WORD}."
TRIAL_TOOL = ToolSpec(
    "look_up_code_word",
    "Returns the code word of a city.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
ONE_PIECE = "the text arrives in one piece, so people see an answer only when it's complete"
CONTEXT_QUESTION = "What is the code word of Lisbon? It is at the beginning of this message"
FILLER = "Nothing else is decided yet. "
MAX_TRIAL_TEXT_TOKENS = 9_000
"""Estimated tokens of the longest test text: more than the context with which Ollama and LM Studio
load a model, unless somebody chose another one."""
CONTEXT = "model context"
BEGINNING_UNREAD = (
    "The model didn't see the beginning of a text of about {tokens} tokens, so its context is "
    "probably smaller. Load the model with a larger context, or set PONTE_MODEL_CONTEXT."
)
STREAM, CALL, RESULT, USAGE = "model stream", "model tool call", "model tool result", "model usage"


class OnePayment:
    """The payment for one round of the test by `ponte doctor`: it allows one request that costs
    money. A request that the server rejected unprocessed costs nothing and does not count."""

    def __init__(self) -> None:
        self._is_spent = False

    async def __call__(self, tokens: int) -> int | None:
        # Ponte repeats a paid request only if the server failed, or ended the stream too early.
        if self._is_spent:
            raise ModelDown
        self._is_spent = True
        return None  # an answer of any length

    def on_refused_request(self) -> None:
        self._is_spent = False


@dataclass
class Trial:
    """A test of the model for `ponte doctor`, in a thread that exists only for that. `remotes` are
    what the server stores for it, to be erased at the end."""

    model: ServedModel
    thread: Thread = field(default_factory=lambda: Thread("doctor", "doctor"))
    transcript: tuple[Item, ...] = ()
    remotes: list[Remote] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)

    async def check(self) -> AsyncIterator[DoctorFinding]:
        """After the first failure, no further request is sent; `failing` is the part that an error
        then concerns.

        A question for a text comes first, then one for a tool call (turn 2), its result (round 2 of
        that turn), and a long text (turn 3). `turn` and `number` count as in a real thread, so that
        each level sends the requests as it does there.
        """
        failing = STREAM
        # Finds out the API and the context's size, which the first question waits for.
        self.model.start()
        try:
            _, pieces = await self._ask(Item("message", "user", TEXT_QUESTION), turn=1)
            if pieces > 1:
                sentence = say("the text arrives in {count} pieces", count=pieces)
                yield DoctorFinding(STREAM, "on", sentence)
            else:
                yield DoctorFinding(STREAM, "note", say(ONE_PIECE))
            yield DoctorFinding("model level", "on", (await self.model.health()).words)
            failing = CALL
            question = Item("message", "user", TOOL_QUESTION)
            # The first two questions are turns of one thread, as when a person writes twice.
            items, _ = await self._ask(question, turn=2, tools=(TRIAL_TOOL,))
            calls = [item for item in items if item.kind == "call"]
            yield (called := _judge_calls(calls))
            if called.state == "on":
                failing = RESULT
                outputs = [Item("output", call_id=call.call_id, text=TOOL_RESULT) for call in calls]
                # Results of tools go back in the next round of the turn that called them.
                items, _ = await self._ask(*outputs, turn=2, number=2, tools=(TRIAL_TOOL,))
                if CODE_WORD in " ".join(item.text for item in items).lower():
                    sentence = say("the answer contains the test tool's result")
                    yield DoctorFinding(RESULT, "on", sentence)
                else:
                    sentence = say("the answer doesn't contain the test tool's result")
                    yield DoctorFinding(RESULT, "failing", sentence)
            # The table has sizes of models that their makers publish; other sizes may be more than
            # the server really reads.
            if self.model.context_size.source != "table":
                failing = CONTEXT
                yield await self._check_context(self.model.context_size)
        except PonteError as error:
            yield DoctorFinding(failing, "failing", error.words())
        if any(usage.is_estimated for usage in self.usages):
            sentence = "the server doesn't report token counts, so costs are upper estimates"
            yield DoctorFinding(USAGE, "note", say(sentence))
        elif self.usages:
            sentence = say(
                "the server counted {input} input tokens and {output} output tokens",
                input=sum(usage.input for usage in self.usages),
                output=sum(usage.output for usage in self.usages),
            )
            yield DoctorFinding(USAGE, "on", sentence)

    async def _check_context(self, size: ContextSize) -> DoctorFinding:
        """Ask a question whose answer is at the beginning of a long text, and return whether the
        model read it. Some servers drop what does not fit without an error. The text has three
        quarters of what Ponte would send at most: its tokens are only estimated (three bytes
        each)."""
        most = min(size.room, MAX_TRIAL_TEXT_TOKENS) * 3 // 4
        filler, tokens = FILLER * (most * 3 // len(FILLER)), format_number(most)
        # The text begins with the word that is asked for (`TOOL_RESULT`). The earlier turns are
        # dropped, because the result of the test tool has that word, too.
        self.transcript = ()
        question = Item("message", "user", f"{TOOL_RESULT}\n{filler}\n{CONTEXT_QUESTION}")
        items, _ = await self._ask(question, turn=3)
        if CODE_WORD in " ".join(item.text for item in items).lower():
            sentence = say(
                "the model can read a text of about {tokens} tokens in full", tokens=tokens
            )
            return DoctorFinding(CONTEXT, "on", sentence)
        return DoctorFinding(CONTEXT, "failing", say(BEGINNING_UNREAD, tokens=tokens))

    async def erase(self) -> None:
        for remote in self.remotes:
            await self.model.erase(remote)

    async def _ask(
        self, *items: Item, turn: int, number: int = 1, tools: tuple[ToolSpec, ...] = ()
    ) -> tuple[Sequence[Item], int]:
        """Return the items of the answer, and in how many pieces its text came (more than one: the
        server streams)."""
        before, pieces = self.transcript, 0

        async def history() -> Sequence[Item]:
            return before

        # the turns of the test thread are 1, 2, 3; 0 is none
        request = RoundRequest(
            self.thread,
            f"doctor{turn}",
            TRIAL_INSTRUCTIONS,
            Person("doctor", "doctor"),
            number,
            items,
            history,
            tools=tools,
            seq=turn,
            previous_seq=turn - 1,
            payment=OnePayment(),
        )
        async with aclosing(self.model.ask(request)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    pieces += 1
                elif isinstance(event, RemoteStored):
                    self.remotes.append(event.remote)  # the server stores it; `erase` erases it
                    self.thread = event.thread or self.thread
                elif isinstance(event, RoundCompleted):
                    self.thread = event.thread or self.thread
                    self.transcript = (*before, *items, *event.items)
                    self.usages.append(event.usage)
                    return event.items, pieces
        raise ModelDown  # the answer ended before its round was completed


def _judge_calls(calls: Sequence[Item]) -> DoctorFinding:
    if not calls:
        sentence = (
            "the model answered without calling the test tool; without tool calls it can't use "
            "tables, quick commands or Python"
        )
        return DoctorFinding(CALL, "failing", say(sentence))
    # A call without a city, or with arguments that are no JSON, is one of the wrong kind.
    try:
        mine = [call for call in calls if call.name == TRIAL_TOOL.name]
        cities = [json.loads(call.arguments)["city"] for call in mine]
    except (ValueError, KeyError, TypeError):
        cities = []
    if not cities:
        sentence = "the model called a tool that doesn't exist, or used wrong arguments"
        return DoctorFinding(CALL, "failing", say(sentence))
    return DoctorFinding(CALL, "on", say("the model called the test tool"))


log = structlog.get_logger("model")
Level = Literal["conversations", "responses", "chat"]
LOWER_LEVEL: dict[str, Level] = {"conversations": "responses", "responses": "chat"}
NOT_FOUND_STATUSES = (404, 405, 501)
ERASE_PATHS = {"response": "responses", "container": "containers", "file": "files"}
ERASE_PAGE_ITEMS = 100
MAX_LIMIT_SECONDS = 86_400.0
PROBE_INTERVAL_SECONDS = 30.0
LIMIT_RETRY_SECONDS = 600.0
"""A used-up limit may end before its time, as after credit was bought: so often, one request tries
it."""
HEALTH_WAIT_SECONDS = 1.0
LEVEL_DESCRIPTIONS = {
    "conversations": "{model} at {host}: conversations stored there and here",
    "responses": "{model} at {host}: Responses API, history stored only here",
    "chat": "{model} at {host}: Chat Completions API, history stored only here",
}


async def probe_level(client: ModelServerClient, model: str) -> Level:
    """Find out the best API that the server has, without paying for tokens. A 200 of `/responses`
    does not show that a server has conversations: llama.cpp and others accept the field
    `conversation` there and ignore it. A wrong key, an empty quota or a dead server say nothing
    about levels. Raise ModelServerFault while the server cannot be asked, NoKey without a key."""
    if await _supports_conversations(client):
        return "conversations"
    return "responses" if await _supports_responses(client, model) else "chat"


class ServedModel(Model):
    """`level` is the API that requests use. None (PONTE_MODEL_API=auto): requests to the server
    find out which one it has. `record_object_to_erase` records objects that the server stores
    outside a turn, or after a turn has stopped reading, so that Ponte can erase them later."""

    def __init__(
        self,
        client: ModelServerClient,
        options: ModelOptions,
        *,
        level: Level | None = None,
        read: ReadFile | None = None,
        record_object_to_erase: RecordObjectToErase,
        list_tools: ListTools | None = None,
    ) -> None:
        self._client = client
        self._options = options
        # `read` returns the bytes of a file. `record_object_to_erase` records what the server
        # stores when no turn listens any more, to erase it later.
        self._server = ModelServer(client, options, read, record_object_to_erase)
        self._conversations = ConversationsApi(self._server)
        self._levels: dict[str, ConversationsApi | OwnHistoryApi] = {
            "conversations": self._conversations,
            "responses": ResponsesApi(self._server),
            "chat": ChatCompletionsApi(self._server),
        }
        # Returns the tools that are on, so that `health` can tell whether they fit.
        self.list_tools = list_tools
        self._fixed_level = level
        # The API in use; None until it is found out which one the server has.
        self._level = level
        self._limits: dict[str, tuple[float, float, object]] = {}
        """When a used-up limit of a model ends and when it is tried again (loop time), and the
        prices in ponte.toml that applied then: a reload makes new ones."""
        self._trouble: PonteError | None = None
        self._probed_at = 0.0
        """While it is in trouble, it is asked again after PROBE_INTERVAL_SECONDS."""
        self._probing: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self._options.model

    @property
    def level(self) -> str:
        """Until it is known, the one that OpenAI itself offers."""
        return self._level or "conversations"

    @property
    def context_size(self) -> ContextSize:
        return self._server.sizes.of(self.name)

    def start(self) -> None:
        if self._probing is None or self._probing.done():
            self._probed_at = time.monotonic()
            self._probing = asyncio.create_task(self._probe(Counter()))

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        """Raise ModelError.

        A server that turns out to lack the API of its level is asked at the next lower one. A limit
        of a day that is used up refuses further rounds here, without a request but for one every
        ten minutes. An error that concerns the server is remembered for `health`.
        """
        clock, name = asyncio.get_running_loop().time, ask.model or self.name
        prices = self._options.config.price_list
        end, retry_at, old_prices = self._limits.get(name, (0.0, 0.0, prices))
        # A used-up limit would refuse the request, and servers count refused ones, too. A round
        # that was asked before a crash is only looked up.
        # After a reload of the settings the limit may be another, so it is tried again.
        if end > (now := clock()) and prices is old_prices and not ask.response:
            if now < retry_at:
                raise LimitReached(seconds=math.ceil(end - now))
            self._limits[name] = end, now + LIMIT_RETRY_SECONDS, prices  # for the others
        # Not asked yet, or the server was down: ask now what it can do.
        if self._level is None:
            self.start()
            if self._probing is not None:
                # Other rounds may wait for the same question when one of them is cancelled.
                await asyncio.shield(self._probing)
        if self._level is None:
            raise self._trouble or NoEndpoint()
        # So that the request fits the context; a model chosen for this round was not asked for yet.
        if self._probing is not None or ask.model:
            await self._server.sizes.wait(name)
        level = self._level
        # The request for a title belongs to no conversation on the server.
        if ask.for_title and level == "conversations":
            level = "responses"
        while True:
            try:
                async with aclosing(self._levels[level].ask(ask)) as events:
                    async for event in events:
                        yield event
                self._trouble = None
                self._limits.pop(name, None)
                return
            except NoEndpoint as error:  # the server has changed since it was asked what it can do
                # PONTE_MODEL_API sets the level, or there is no lower one.
                if self._fixed_level or level not in LOWER_LEVEL:
                    self._record_trouble(error)
                    raise
                level = self._level = LOWER_LEVEL[level]
                log.info("switched to another model API", api=level)
            except ModelError as error:
                if isinstance(error, LimitReached):
                    seconds = min(float(str(error.values["seconds"])), MAX_LIMIT_SECONDS)
                    self._limits[name] = clock() + seconds, clock() + LIMIT_RETRY_SECONDS, prices
                self._record_trouble(error)
                raise

    def retry_limits(self) -> None:
        """Let the next message try whether a used-up limit is over."""
        self._limits.clear()

    async def check_voice(self, name: str) -> Health:
        await self.health()  # so that the server was asked
        return judge_voice(name, self.name, self._server.model_names)

    async def health(self) -> Health:
        """Waits at most a second, because readiness probes call it. The tools that are on are only
        compared with the context if that is small, because listing them takes time."""
        stale = self._trouble and time.monotonic() - self._probed_at > PROBE_INTERVAL_SECONDS
        # `start` asks the server in the background; again after a while, as the fault may be over.
        if self._probing is None or stale:
            self.start()
        if self._probing is not None:
            await asyncio.wait({self._probing}, timeout=HEALTH_WAIT_SECONDS)
        if isinstance(self._trouble, NoKey):
            return Health("model", "off", self._trouble.words())
        if self._trouble is not None:
            return Health("model", "failing", self._trouble.words())
        about = {"model": self.name, "host": self._client.place.host}
        if self._level is None:
            return Health("model", "checking", say("{model} at {host}", **about))
        sentence, size = say(LEVEL_DESCRIPTIONS[self._level], **about), self.context_size
        # TOOLS_CONTEXT_TOKENS is a context with room for all tools; twice that counts as large.
        tools = list[ToolSpec]()
        if self.list_tools and size.tokens < 2 * TOOLS_CONTEXT_TOKENS:
            with suppress(PonteError):
                tools.extend(await self.list_tools())
        note = describe_size(size, tools)
        return Health("model", "on", f"{sentence}; {note}" if note else sentence)

    async def erase(self, remote: Remote) -> bool:
        """Return False if the object may still exist, so that the caller tries again.

        An object that no longer exists counts as erased. So does one that the server has no path
        for, because it cannot have stored it.
        """
        try:
            if remote.kind == "conversation":
                # Waits for answers that are still read in the background: they would add items.
                await self._conversations.prepare_erasure(remote.id)
                await _erase_conversation(self._client, remote.id)
            else:
                client = self._client.containers if remote.kind == "container" else self._client
                await _delete_if_present(client, f"/{ERASE_PATHS[remote.kind]}/{remote.id}")
        except (ModelServerFault, PonteError):
            return False
        return True

    async def close(self) -> None:
        await cancel_all([self._probing])
        await self._server.sizes.close()
        await self._conversations.close()
        await self._client.close()

    async def _probe(self, tries: Counter[str]) -> None:
        """Find out which API the server has (`_level`), whether it lists the model, and the model's
        size. `_trouble` gets the reason if the server cannot be used, which the health line shows.
        A server that still loads the model is asked again; `tries` counts that."""
        try:
            if self._level is None:
                self._level = await probe_level(self._client, self._options.model)
                log.info("selected the model API", api=self._level, host=self._client.place.host)
            self._trouble = await self._find_unlisted_model()
            await self._server.sizes.wait(self.name)  # requests are fitted to this size
        except ModelServerFault as fault:
            if fault.is_loading and await self._server.wait_before_retry(fault, tries):
                await self._probe(tries)
            else:
                self._trouble = await self._server.explain_fault(fault)
        except PonteError as error:
            self._trouble = error

    async def _find_unlisted_model(self) -> UnknownModel | None:
        """Raise ModelServerFault if the server fails; one without a list of models ("foreign": no
        JSON there) is no failure.

        OpenAI lists every model that a key may use. Other servers may offer models that they do not
        list.
        """
        try:
            models = await self._server.list_models()
        except ModelServerFault as fault:
            if fault.kind != "foreign" and fault.status not in NOT_FOUND_STATUSES:
                raise
            return None
        if not self._client.place.is_official or not models or self.name in models:
            return None
        return unknown_model_error(self.name, models)

    def _record_trouble(self, error: ModelError) -> None:
        """Store an error that concerns the server, such as a wrong key, and not one question alone,
        so that `health` shows it."""
        if error.code in ("wrong_key", "unknown_model", "no_quota", "model_down", "no_key"):
            self._trouble = error
            self._probed_at = time.monotonic()


async def _supports_conversations(client: ModelServerClient) -> bool:
    """Return whether the server has OpenAI's Conversations, by creating an empty one, which costs
    nothing, and deleting it. Raise NoEndpoint if there is no API at this address, and
    ModelServerFault if the failure says nothing about that (a wrong key, a dead server)."""
    try:
        body = await client.post("/conversations", {})
    except ModelServerFault as fault:
        # HTML shows a web server and no API. Any other 400 counts as an API without this path.
        if fault.status == 400 and fault.is_page:
            raise NoEndpoint from None
        if fault.status in (*NOT_FOUND_STATUSES, 400, 422):
            return False
        raise
    id = str(body.get("id") or "")
    if not id or body.get("object") != "conversation":
        return False
    try:
        await client.delete(f"/conversations/{id}")
    except ModelServerFault as fault:
        # It is empty, so it may stay.
        log.info("could not delete a test conversation", conversation=id, error=str(fault))
    return True


async def _supports_responses(client: ModelServerClient, model: str) -> bool:
    """A server that knows the path refuses a question without `input`. aimock 1.43 answers 500 to
    it. Raise ModelServerFault if the failure says nothing about the path."""
    try:
        await client.post("/responses", {"model": model})
    except ModelServerFault as fault:
        if lacks_endpoint(fault):
            return False
        # A 404 that is not about the path is about the model or the question, so the path
        # exists. "foreign": no API of OpenAI's kind answered, but for example a web page.
        is_known = fault.status in (*NOT_FOUND_STATUSES, 400, 422, 500)
        if fault.kind == "foreign" or not is_known or fault.is_quota_exhausted:
            raise
    return True


async def _erase_conversation(client: ModelServerClient, id: str) -> None:
    """Deleting a conversation alone leaves its items (docstring of the openai package)."""
    items, seen_ids = f"/conversations/{id}/items", set[str]()
    while True:
        try:
            page = await client.get(items, {"limit": ERASE_PAGE_ITEMS})
        except ModelServerFault as fault:
            if fault.status not in NOT_FOUND_STATUSES:
                raise
            # The conversation does not exist (any more).
            return
        new_ids = {read_id(item) for item in read_objects(page.get("data"))} - {"", *seen_ids}
        for item in new_ids:
            await _delete_if_present(client, f"{items}/{item}")
        # A server that does not delete them returns the same page for ever.
        if not page.get("has_more") or not new_ids:
            break
        seen_ids |= new_ids
    await _delete_if_present(client, f"/conversations/{id}")


async def _delete_if_present(client: ModelServerClient, path: str) -> None:
    try:
        await client.delete(path)
    except ModelServerFault as fault:
        if fault.status not in NOT_FOUND_STATUSES and not fault.is_container_gone:
            raise
