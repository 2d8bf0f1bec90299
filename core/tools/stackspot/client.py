"""StackSpot AI as a small library, which also stands alone.

async with StackSpot(client_id, client_secret, realm="my-company") as stackspot:
    result = await stackspot.run("explain-code", {"language": "python", "code": source})
    print(result.text)

Agents: https://ai.stackspot.com/docs/agents/agent-api/agents-api

What StackSpot answers is read leniently, as no schema of it is published. Clients in three
languages agree on `{"execution_id", "quick_command_slug", "conversation_id", "progress":
{"status", "execution_percentage", …}, "steps": [{"step_name", "execution_order", "step_result"}],
"result"}`, where `result` is a text, often JSON, often in a fence, and a step's result `{"answer",
…}` of a model's step, `{"status_code", "json_data", "data"}` of a web request's.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from core.clients.http import HttpClient, HttpUnreadable, Proxies
from core.commands.grammar import SLUG_PATTERN
from core.runtime.retry import Backoff
from core.text.text import clean_text, in_whole_characters, to_one_line
from core.tools.stackspot.api import (
    AGENT_URL,
    API_URL,
    AUTH_URL,
    REALM,
    Account,
    Clock,
    MachineClock,
    Request,
    StackSpotApi,
    StackSpotError,
    StillRunning,
    explain,
)

_FENCE = re.compile(
    r"(?P<mark>`{3,}(?!`)|~{3,}(?!~))[ \t]*(?P<info>[\w.+-]*)(?![\w.+-])[^\n]*\n(?P<body>.*)",
    re.DOTALL,
)
_JSON = ("", "json", "json5", "jsonc", "text", "txt")
_SUFFIXES = {
    "json": "json", "python": "py", "py": "py", "javascript": "js", "js": "js", "typescript": "ts",
    "ts": "ts", "java": "java", "kotlin": "kt", "go": "go", "sql": "sql", "yaml": "yaml",
    "yml": "yaml", "csv": "csv", "xml": "xml", "bash": "sh", "sh": "sh",
}  # fmt: skip
_AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True)
class Agent:
    """One that an operator named: `id` is StackSpot's, `title` for people."""

    id: str
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """`text` is Markdown, as an agent writes it; `conversation` is the id to go on with."""

    text: str
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """`answer` is empty while there is none."""

    name: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """`state` is StackSpot's own word, in capitals; one that is not known means: go on waiting.

    `share` is how much is done, 0.0 to 1.0, None where that is not told.
    """

    execution: str
    state: str = ""
    share: float | None = None
    steps: tuple[Step, ...] = ()
    result: str = ""
    slug: str = ""
    conversation: str = ""

    @property
    def completed(self) -> bool:
        return self.state == "COMPLETED"

    @property
    def failed(self) -> bool:
        """No reason is told with it."""
        return self.state in ("FAILURE", "FAILED")

    @property
    def step(self) -> str:
        """The name of the step that runs: the first without an answer, else the last."""
        waiting = [step.name for step in self.steps if not step.answer]
        return next(iter(waiting), self.steps[-1].name if self.steps else "")

    @property
    def answer(self) -> str:
        """The result, else what the last step that answered said."""
        spoken = [step.answer for step in self.steps if step.answer]
        return self.result if self.result.strip() else next(reversed(spoken), "")


def read_status(execution: str, answer: Mapping[str, Any]) -> Status:
    """`answer` as a Status; what is missing or odd in it is left out."""
    progress, told = answer.get("progress"), answer.get("steps")
    progress = progress if isinstance(progress, Mapping) else {}
    steps = [each for each in told if isinstance(each, Mapping)] if isinstance(told, list) else []
    share = progress.get("execution_percentage")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:
        share = None
    return Status(
        execution=execution,
        state=_text(progress.get("status")).strip().upper(),
        share=share / 100 if share is not None and share > 1 else share,
        steps=tuple(_step(each) for each in sorted(steps, key=_order)),
        result=_text(answer.get("result")),
        slug=_text(answer.get("quick_command_slug")),
        conversation=_text(answer.get("conversation_id")),
    )


@dataclass(frozen=True, slots=True)
class Result:
    """`text` is as StackSpot gave it; `execution` and `conversation` are its ids."""

    text: str
    execution: str = ""
    conversation: str = ""

    @property
    def data(self) -> Any:
        """The JSON that the whole text is, bare or in a fence; None where it is none."""
        return json_of(self.text)

    @property
    def bare(self) -> str:
        """The text without a fence around JSON; code keeps its fence, for it tells the language."""
        block = _only_block(self.text)
        return block[1].strip() if block and self.data is not None else self.text


@dataclass(frozen=True, slots=True)
class Document:
    """A result as a file: `data` in UTF-8."""

    name: str
    type: str
    data: bytes


def json_of(text: str) -> Any:
    """Also where a model put a fence around it, or did not close that."""
    block = _only_block(text)
    if block is not None and block[0].lower() not in _JSON:
        return None
    try:
        return json.loads(block[1] if block else text.strip(), parse_constant=_refused)
    except (ValueError, RecursionError):
        return None


def document_of(text: str, stem: str) -> Document:
    """`text` as a file named for `stem`, of the kind that it is; a fence around it is left out."""
    data = json_of(text)
    if isinstance(data, dict | list):
        laid_out = json.dumps(data, ensure_ascii=False, indent=2)
        return Document(f"{stem}.json", "application/json", clean_text(laid_out).encode())
    block = _only_block(text)
    if block is None:
        return Document(f"{stem}.md", "text/markdown", clean_text(text).encode())
    suffix = _SUFFIXES.get(block[0].lower(), "txt")
    return Document(f"{stem}.{suffix}", "text/plain", clean_text(block[1]).encode())


def is_agent_id(id: str) -> bool:
    return _AGENT_ID.fullmatch(id) is not None


def _order(step: Mapping[str, Any]) -> float:
    order = step.get("execution_order")
    return order if isinstance(order, int | float) else 0


def _step(told: Mapping[str, Any]) -> Step:
    result = told.get("step_result")
    if isinstance(result, Mapping):
        found = (_text(result.get(name)) for name in ("answer", "json_data", "data"))
        answer = next(filter(str.strip, found), "")
    else:
        answer = _text(result)
    return Step(to_one_line(_text(told.get("step_name")), 60), answer)


def _text(value: object) -> str:
    """A text as it is, None as nothing, all else as JSON."""
    if value is None or isinstance(value, str):
        return in_whole_characters(value or "")
    return in_whole_characters(json.dumps(value, ensure_ascii=False))


def _only_block(text: str) -> tuple[str, str] | None:
    """Info and body where the whole text is one fenced block, closed or not."""
    match = _FENCE.fullmatch(text.strip())
    if match is None:
        return None
    *inner, last = match["body"].split("\n")
    mark = match["mark"]
    lines = inner if last.strip().startswith(mark) else [*inner, last]
    if any(line.lstrip().startswith(mark) for line in lines):
        return None  # there is more than one
    return match["info"], "\n".join(lines)


def _refused(constant: str) -> None:
    """JSON has no NaN (RFC 8259, section 6), but Python reads it."""
    raise ValueError(constant)


POLL_BACKOFF = Backoff(1.0, max_seconds=8.0, factor=1.5)
"""Pauses between looks at a run."""
MISSES = 10
"""Looks that may fail in a row, a minute or so, before the waiting is given up."""
PATIENCE = 30.0
"""Seconds that one look may take; the last one before the deadline has LEAST."""
LEAST = 5.0
DEADLINE = 300.0
"""Seconds that a run is waited for, where nothing else is set."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

OnProgress = Callable[[Status], Awaitable[None]]
"""Told of each new state, share or step while a quick command runs."""


class StackSpot:
    """Any number of runs at once share its connections and its token.

    `http` belongs to whoever gave it; without one it makes its own, through `proxies`, and closes
    it. `deadline` is in seconds, for one run and for one agent's answer. Every method raises
    `StackSpotError`.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        realm: str = REALM,
        auth_url: str = AUTH_URL,
        api_url: str = API_URL,
        agent_url: str = AGENT_URL,
        deadline: float = DEADLINE,
        http: HttpClient | None = None,
        proxies: Proxies | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._own_http = http is None
        self._http = http or HttpClient(proxies=proxies)
        self._clock = clock or MachineClock()
        account = Account(client_id, client_secret, realm, auth_url)
        self._api = StackSpotApi(account, self._http, self._clock)
        self._commands = f"{api_url.rstrip('/')}/v1/quick-commands"
        self._agents = f"{agent_url.rstrip('/')}/v1/agent"
        self.deadline = deadline

    async def check(self) -> None:
        """Get a token, or find that the one at hand is still good."""
        await self._api.token()

    async def run(
        self,
        slug: str,
        input: str | Mapping[str, Any] = "",
        *,
        conversation_id: str = "",
        on_progress: OnProgress | None = None,
    ) -> Result:
        """Start a quick command and wait for what it says; `conversation_id` is a ULID."""
        execution = await self.create(slug, input, conversation_id=conversation_id)
        return await self.wait(execution, on_progress=on_progress)

    async def create(
        self, slug: str, input: str | Mapping[str, Any] = "", *, conversation_id: str = ""
    ) -> str:
        """Start a quick command; gives the execution's id.

        It is a spend: where the answer is lost, the error's code is "unknown", and nothing is
        started a second time.
        """
        if not re.fullmatch(SLUG_PATTERN, slug):
            raise StackSpotError(
                "{slug} is no name of a quick command: a name has up to 100 lower-case letters, "
                "digits, - and _, and begins with a letter or digit.",
                code="bad_slug", slug=repr(slug[:40]),
            )  # fmt: skip
        request = Request(
            "create", "POST", f"{self._commands}/create-execution/{quote(slug, safe='')}",
            subject=slug, body={"input_data": input if isinstance(input, str) else dict(input)},
            params={"conversation_id": conversation_id} if conversation_id else None,
        )  # fmt: skip
        answer = await self._api.repeat(request)
        id = answer.get("execution_id") if isinstance(answer, Mapping) else answer
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise explain(HttpUnreadable("no id"), request)
        return id

    async def status(self, execution: str, *, timeout: float = PATIENCE) -> Status:
        """How it stands now, from one look."""
        if not _ID.fullmatch(execution):
            raise StackSpotError("That is no id of a quick command's run.", code="unknown_run")
        request = Request(
            "status", "GET", f"{self._commands}/callback/{execution}", subject=execution,
            # Answers are cached on the way, as public clients found.
            params={"nocache": secrets.token_hex(8)},
            headers={"Cache-Control": "no-cache", "Pragma": "no-cache"}, timeout=timeout,
        )  # fmt: skip
        answer = await self._api.once(request)
        if not isinstance(answer, Mapping):
            raise explain(HttpUnreadable("no object"), request)
        return read_status(execution, answer)

    async def wait(self, execution: str, *, on_progress: OnProgress | None = None) -> Result:
        """Look at what was started until it has completed.

        Raises code "failed" when it failed; a StillRunning where the deadline has passed,
        StackSpot refuses to tell, or is away for too long.
        """
        end = self._clock.now() + self.deadline
        pauses, least_pause, misses = iter(POLL_BACKOFF), 0.0, 0
        shown: tuple[str, float | None, str] = ("", None, "")
        while (left := end - self._clock.now()) > 0:
            pause = max(next(pauses), least_pause)
            await self._clock.sleep(min(pause * self._clock.jitter(), left))
            least_pause = 0.0
            patience = min(PATIENCE, max(end - self._clock.now(), LEAST))
            try:
                status = await self.status(execution, timeout=patience)
            except StackSpotError as error:
                misses += 1
                if not error.passing or misses > MISSES:
                    raise StillRunning(error, execution) from None
                least_pause = error.after
                continue
            misses = 0
            if status.failed:
                raise _failed(status)
            if status.completed:
                return Result(status.answer, execution, status.conversation)
            told = (status.state, status.share, status.step)
            if on_progress is not None and told != shown:
                await on_progress(status)
            shown = told
        late = StackSpotError(
            "StackSpot did not finish within {seconds} s, so I stopped waiting.",
            code="deadline", seconds=f"{self.deadline:.0f}",
        )  # fmt: skip
        raise StillRunning(late, execution)

    async def ask_agent(self, agent: str, prompt: str, *, conversation_id: str = "") -> AgentAnswer:
        """One question to an agent, in a conversation that goes on; it is a spend, as `create`."""
        if not is_agent_id(agent):
            raise StackSpotError("{agent} is no agent's id.", code="bad_agent", agent=agent[:40])
        body = {
            "user_prompt": prompt,
            "streaming": False,
            "use_conversation": True,
            "stackspot_knowledge": "false",  # a text there, which the other switches are not
            "return_ks_in_response": False,
            **({"conversation_id": conversation_id} if conversation_id else {}),
        }
        request = Request(
            "agent", "POST", f"{self._agents}/{quote(agent, safe='')}/chat", subject=agent,
            body=body, timeout=self.deadline,
        )  # fmt: skip
        answer = await self._api.repeat(request)
        message = answer.get("message") if isinstance(answer, Mapping) else None
        if not isinstance(answer, Mapping) or not isinstance(message, str):
            raise explain(HttpUnreadable("no message"), request)
        told = answer.get("conversation_id")
        conversation = told if isinstance(told, str) and told else conversation_id
        return AgentAnswer(in_whole_characters(message), conversation)

    async def close(self) -> None:
        await self._api.close()
        if self._own_http:
            await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()


def _failed(status: Status) -> StackSpotError:
    """StackSpot tells no reason; at which step it was helps a little."""
    sentence = "StackSpot reports that it failed ({state}), and gives no reason."
    if status.step:
        sentence = (
            'StackSpot reports that it failed ({state}) at the step "{step}", and gives no reason.'
        )
    return StackSpotError(sentence, code="failed", state=status.state, step=status.step)
