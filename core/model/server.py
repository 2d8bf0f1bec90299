"""A model's server as we know it: where it is, which model, what it takes; learned as we go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from core.errors import ModelError, ModelRefused, TooLong
from core.model import faults
from core.model.input import Input, Read
from core.model.options import Options
from core.model.said import Said
from core.openai import PATIENT, Client, Fault, Json, pause
from core.records import Ask, Completed, Remote, Thread, ToolSpec

log = structlog.get_logger("model")
TRIES = 3
"""Times that one round is asked when what stood in the way may pass."""
NOTHING = "The model gave an empty answer. Please ask again."
NO_ROOM = "The model used up its room before it came to an answer. Please ask for less at once."
Late = Callable[[str, Remote], Awaitable[None]]
"""Takes a thread's id and what a server keeps for it, when no turn listens any more."""


class Server:
    """What every level shares: the client, the options, and what this server was found to take."""

    def __init__(self, client: Client, options: Options, read: Read | None, late: Late) -> None:
        self.client = client
        self.options = options
        self.late = late
        self.official = client.place.official
        self.input = Input(read, client.place.host, self.official)
        self.window = options.window
        self._unfit: set[str] = set()
        self._loose: set[str] = set()

    def fitting(self, body: Json) -> Json:
        """`body` without the fields that this server refused before."""
        return {k: v for k, v in body.items() if k not in self._unfit}

    def names(self, ask: Ask) -> Json:
        """Who asks, as OpenAI may know it: a pseudonym of the person, one of the thread."""
        if not self.official:
            return {}
        pseudonym = self.options.pseudonym
        return {
            "safety_identifier": pseudonym(f"person {ask.asker.key}"),
            "prompt_cache_key": pseudonym(f"thread {ask.thread.id}"),
        }

    def strict(self, tool: ToolSpec) -> bool:
        return tool.strict and tool.name not in self._loose

    def learn(self, fault: Fault, body: Json) -> bool:
        """Whether the same question, asked a little differently now, may be taken."""
        if faults.blocked(fault) or faults.too_long(fault):
            return False
        if name := faults.misfit(fault, list(body)):
            log.info("field refused by the model's server", field=name)
            self._unfit.add(name)
            return True
        if fault.code == "invalid_encrypted_content" and self.input.opaque:
            self.input.opaque = False
            return True
        if fault.code == "invalid_function_parameters":
            return self._loosen(fault, body)
        if not faults.picture(fault) and not faults.bad_picture(fault):
            return False
        if self.official or faults.bad_picture(fault):
            return self.input.refuse(body)
        return self.input.blind()

    async def rest(self, fault: Fault, tries: Counter[str]) -> bool:
        """Whether to ask once more, after the pause that the server wants."""
        tries["passing"] += 1
        if not fault.passing or tries["passing"] >= TRIES or (fault.wait or 0) > PATIENT:
            return False
        await self.client.sleep(pause(tries["passing"], fault))
        return True

    async def worded(self, fault: Fault) -> ModelError:
        """The error for a person; for an unknown model with the nearest that there is."""
        log.warning("model call failed", fault=str(fault), request=fault.request)
        models: Sequence[str] = ()
        if fault.no_model:
            with suppress(Fault):
                models = await self.models()
        return faults.worded(fault, self.options, models)

    async def models(self) -> Sequence[str]:
        """The names that the server lists. Raises Fault."""
        listed = (await self.client.get("/models")).get("data") or ()
        return [str(one["id"]) for one in listed if isinstance(one, dict) and "id" in one]

    def completed(self, response: str, said: Said, thread: Thread | None = None) -> Completed:
        """The end of a round. Raises a ModelError where nothing was said that may be shown."""
        log.info("model answered", response=response, input=said.usage.input,
                 output=said.usage.output, calls=said.calls, cut=said.cut)  # fmt: skip
        if said.cut == "filter":
            raise ModelRefused
        if not said.items:
            raise TooLong(NO_ROOM) if said.cut else ModelError(NOTHING)
        items = tuple(self.input.own(i) if i.kind == "opaque" else i for i in said.items)
        # Only OpenAI's own prices are known; the same name may cost anything elsewhere.
        usage = said.usage if self.official else replace(said.usage, cost=None)
        return Completed(items, usage, thread, cut=said.cut == "length")

    def _loosen(self, fault: Fault, body: Json) -> bool:
        """A strict schema was refused: that tool goes out as an ordinary one from now on."""
        for tool in body.get("tools", ()):
            function = tool.get("function", tool)
            if f"'{function['name']}'" in fault.message and function.get("strict"):
                log.warning("tool schema is not strict", tool=function["name"])
                self._loose.add(function["name"])
                return True
        return False
