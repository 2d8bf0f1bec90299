"""The code interpreter of OpenAI: Python in a container there, one for each conversation.

interpreter = CodeInterpreter(Client(Place(key)))
executed = await interpreter.execute_code("print(6 * 7)")
print(executed.text, [file.name for file in executed.ran.made])
await interpreter.close()
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from core.errors import NoKey
from core.messages import Usage
from core.openai import Client, Fault, Json
from core.records import Remote
from core.tools.code.hosted import trouble
from core.tools.code.hosted.containers import Container, Containers
from core.tools.code.hosted.execution import Execution, execution_of
from core.tools.code.hosted.lease import IDLE, STOPPED, Lease
from core.tools.code.hosted.prompt import Prompt
from core.tools.code.hosted.response import OUTPUTS, asked, settled
from core.tools.code.port import Given, Ran

log = structlog.get_logger("code")
HEALS = 2
"""Times that one run takes a new container because the last one is gone."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`effort` "" is "low" at OpenAI. `store`: OpenAI keeps the response, so that a run is found
    again after a crash; False keeps nothing there but the container. `seconds` for one run."""

    model: str = "gpt-6-luna"
    effort: str = ""
    store: bool = True
    seconds: float = 240.0


async def _nobody(_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of a run: what the server keeps now, and its id there.

    `stopped` is asked when the run is cancelled; True gives up the container, so that nothing in
    it goes on. `handle` is the id of a run that an earlier process began; `person` a pseudonym of
    who asks (`safety_identifier`), "" for none.
    """

    kept: Callable[[Remote], Awaitable[None]] = _nobody
    known_as: Callable[[str], Awaitable[None]] = _nobody
    stopped: Callable[[], bool] = lambda: True
    handle: str = ""
    person: str = ""


@dataclass(frozen=True, slots=True)
class Executed:
    """What `execute_code` gives: `text` is what was printed, or the answer to a request."""

    text: str
    ran: Ran


class CodeInterpreter:
    """Runs of one conversation, one after the other, in one container.

    The container is made by the first run, used again until it was idle for 19 minutes, and
    replaced where it expired; `container` is the id of one from before. `containers` are shared
    by many interpreters, the client belongs to whoever gave it.
    """

    def __init__(
        self,
        client: Client,
        choice: Choice | None = None,
        *,
        container: str = "",
        containers: Containers | None = None,
    ) -> None:
        self._client = client
        self._choice = choice or Choice()
        self._containers = containers or Containers(client)
        self._lease = Lease(self._containers, container)
        self._lock = asyncio.Lock()
        self._forgotten = False

    @property
    def container(self) -> str:
        """The id of the one that the next run would use, "" for none."""
        return self._lease.id

    @property
    def busy(self) -> bool:
        return self._lock.locked()

    async def execute_code(self, prompt: str, given: Sequence[Given] = ()) -> Executed:
        """`prompt` is Python code, bare or fenced, which runs as it stands, or a request in words.

        Raises ToolError, worded: no prompt, code refused, server away.
        """
        wanted = Prompt.of(prompt, words=True)
        ran, said = await self._execute(wanted, given, Watch())
        printed = "\n".join(filter(None, (ran.printed, ran.error))).strip()
        return Executed(printed if wanted.verbatim else said or printed, ran)

    async def run(self, code: str, given: Sequence[Given] = (), watch: Watch | None = None) -> Ran:
        """Run `code` as it stands. Raises ToolError, worded."""
        ran, _ = await self._execute(Prompt.of(code), given, watch or Watch())
        return ran

    async def forget(self) -> None:
        """Delete the container, with all that is in it; a run that is under way ends with it."""
        self._forgotten = True
        await self._lease.forget()

    async def close(self) -> None:
        """The end of a single one: its container is deleted."""
        await self.forget()
        await self._containers.close()

    async def _execute(
        self, prompt: Prompt, given: Sequence[Given], watch: Watch
    ) -> tuple[Ran, str]:
        """What came of it, and the model's own words. Raises ToolError."""
        async with self._lock:
            self._forgotten = False
            try:
                async with asyncio.timeout(self._choice.seconds):
                    if watch.handle:
                        return await self._resumed(prompt, watch)
                    return await self._asked(prompt, given, watch)
            except TimeoutError:
                return self._timed_out(), ""
            except asyncio.CancelledError:
                if watch.stopped():
                    self._lease.give_up(STOPPED)
                else:
                    self._lease.leave()
                raise
            except Fault as fault:
                raise trouble.worded(fault, self._choice.model) from None
            except NoKey:
                raise trouble.no_key() from None

    async def _asked(self, prompt: Prompt, given: Sequence[Given], watch: Watch) -> tuple[Ran, str]:
        async def known(response: str) -> None:
            if self._choice.store:
                await watch.kept(Remote("response", response))
                await watch.known_as(response)

        healed = 0
        while True:
            try:
                container = await self._lease.held(watch.kept)
                gone = await self._containers.put(container, given)
                body = self._body(container.id, prompt, watch.person)
                response = await asked(self._client, body, known)
                break
            except Fault as fault:
                if not fault.container_gone or healed == HEALS or self._forgotten:
                    raise
                healed += 1
                self._lease.lose(IDLE)
        execution = execution_of(response)
        ran = await self._ran(container, execution, prompt)
        return replace(ran, left_out=(*gone, *ran.left_out)), execution.text

    async def _resumed(self, prompt: Prompt, watch: Watch) -> tuple[Ran, str]:
        """The run that an earlier process began, once it is over; nothing is begun anew."""
        execution = execution_of(await settled(self._client, watch.handle))
        container = self._lease.resume(execution.container)
        return await self._ran(container, execution, prompt, since=execution.at), execution.text

    async def _ran(
        self, container: Container, execution: Execution, prompt: Prompt, since: int = 0
    ) -> Ran:
        """Raises ToolError where no code ran."""
        if why := trouble.unexecuted(execution):
            raise why
        taken = await self._containers.taken(container, execution, since=since)
        lost = self._lease.renew(container)
        ran = Ran(
            printed=execution.printed,
            error=execution.error,
            made=tuple(taken.made),
            left_out=(*taken.left_out, *trouble.missing(execution)),
            reset=bool(lost),
            why_reset=lost,
            changed=prompt.changed(execution.codes),
            usage=self._usage(execution.usage, container),
        )
        log.info("code ran", response=execution.id, container=container.id, files=len(ran.made),
                 failed=bool(ran.error), changed=bool(ran.changed), reset=ran.reset,
                 input=ran.usage.input, output=ran.usage.output, cost=ran.usage.cost)  # fmt: skip
        return ran

    def _timed_out(self) -> Ran:
        """Nothing of it goes on; what its tokens cost is not known."""
        container = self._lease.container
        self._lease.give_up("")
        return Ran(fault="timeout", lost=True, usage=self._usage(Usage(), container))

    def _usage(self, usage: Usage, container: Container | None) -> Usage:
        """Only OpenAI's own prices are known; the same name may cost anything elsewhere."""
        if not self._client.place.official:
            return replace(usage, cost=None)
        rent = container.charged(self._containers.now()) if container else 0.0
        return replace(usage, cost=(usage.cost or 0.0) + rent)

    def _body(self, container: str, prompt: Prompt, person: str) -> Json:
        choice, official = self._choice, self._client.place.official
        body: Json = {
            "model": choice.model,
            "instructions": prompt.instructions,
            "input": prompt.text,
            "tools": [{"type": "code_interpreter", "container": container}],
            "tool_choice": {"type": "code_interpreter"},
            "max_tool_calls": 1,
            "include": [OUTPUTS],
            "store": choice.store,
        }
        if effort := choice.effort or ("low" if official else ""):
            body["reasoning"] = {"effort": effort}
        if official:
            body["stream_options"] = {"include_obfuscation": False}
            body |= {"safety_identifier": person} if person else {}
        return body
