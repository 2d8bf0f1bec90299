"""How an execution stands, read leniently: no schema of it is published.

Clients in three languages agree on `{"execution_id", "quick_command_slug", "conversation_id",
"progress": {"status", "execution_percentage", …}, "steps": [{"step_name", "execution_order",
"step_result"}], "result"}`, where `result` is a text and a step's result `{"answer", …}` of a
model's step, `{"status_code", "json_data", "data"}` of a web request's.

What a quick command said, read leniently: a text, often JSON, often in a fence.

Remote quick commands over HTTP: begin one, look at it, wait for its end.

Agents: one question, one answer, in a conversation that StackSpot keeps.

https://ai.stackspot.com/docs/agents/agent-api/agents-api
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from core.http import HttpUnreadable
from core.text import clean, in_whole_characters, one_line
from core.tools.stackspot.api import (
    Clock,
    Request,
    StackSpotApi,
    StackSpotError,
    StillRunning,
    quoted_slug,
    worded,
)

_FAILED = ("FAILURE", "FAILED")
_LONGEST_NAME = 60


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
        return self.state in _FAILED

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
    progress = _mapping(answer.get("progress"))
    return Status(
        execution=execution,
        state=_text(progress.get("status")).strip().upper(),
        share=_share(progress.get("execution_percentage")),
        steps=_steps(answer.get("steps")),
        result=_text(answer.get("result")),
        slug=_text(answer.get("quick_command_slug")),
        conversation=_text(answer.get("conversation_id")),
    )


def _steps(told: object) -> tuple[Step, ...]:
    steps = [each for each in told if isinstance(each, Mapping)] if isinstance(told, list) else []
    return tuple(_step(each) for each in sorted(steps, key=_order))


def _step(told: Mapping[str, Any]) -> Step:
    name = one_line(_text(told.get("step_name")), _LONGEST_NAME)
    return Step(name, _step_answer(told.get("step_result")))


def _step_answer(result: object) -> str:
    if not isinstance(result, Mapping):
        return _text(result)
    found = (_text(result.get(name)) for name in ("answer", "json_data", "data"))
    return next(filter(str.strip, found), "")


def _order(step: Mapping[str, Any]) -> float:
    order = step.get("execution_order")
    return order if isinstance(order, int | float) else 0


def _share(told: object) -> float | None:
    """0.0 to 1.0, also where it was written as a percentage."""
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told <= 100:
        return None
    return told / 100 if told > 1 else float(told)


def _text(value: object) -> str:
    """A text as it is, None as nothing, all else as JSON."""
    if value is None or isinstance(value, str):
        return in_whole_characters(value or "")
    return in_whole_characters(json.dumps(value, ensure_ascii=False))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


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
        return Document(f"{stem}.json", "application/json", _bytes(laid_out))
    block = _only_block(text)
    if block is None:
        return Document(f"{stem}.md", "text/markdown", _bytes(text))
    suffix = _SUFFIXES.get(block[0].lower(), "txt")
    return Document(f"{stem}.{suffix}", "text/plain", _bytes(block[1]))


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


def _bytes(text: str) -> bytes:
    return clean(text).encode()


def _refused(constant: str) -> None:
    """JSON has no NaN (RFC 8259, section 6), but Python reads it."""
    raise ValueError(constant)


OnProgress = Callable[[Status], Awaitable[None]]
"""Told of each new state, share or step while a quick command runs."""

FIRST = 1.0
"""Seconds before the first look; each next pause is longer by GROWTH, up to LONGEST."""
GROWTH = 1.5
LONGEST = 8.0
MISSES = 10
"""Looks that may fail in a row, a minute or so, before the waiting is given up."""
PATIENCE = 30.0
"""Seconds that one look may take; the last one before the deadline has LEAST."""
LEAST = 5.0
DEADLINE = 300.0
"""Seconds that a run is waited for, where nothing else is set."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# Answers are cached on the way, as public clients found.
_FRESH = {"Cache-Control": "no-cache", "Pragma": "no-cache"}


class Executions:
    """`url` is the quick commands' host; `deadline` in seconds."""

    def __init__(self, url: str, api: StackSpotApi, clock: Clock, deadline: float) -> None:
        self._url = f"{url.rstrip('/')}/v1/quick-commands"
        self._api = api
        self._clock = clock
        self._deadline = deadline

    async def create(
        self, slug: str, input: str | Mapping[str, Any], conversation: str = ""
    ) -> str:
        """Start a quick command; gives the execution's id. Raises StackSpotError.

        It is a spend: where the answer is lost, the error's code is "unknown", and nothing is
        started a second time.
        """
        request = Request(
            "create",
            "POST",
            f"{self._url}/create-execution/{quoted_slug(slug)}",
            subject=slug,
            body={"input_data": input if isinstance(input, str) else dict(input)},
            params={"conversation_id": conversation} if conversation else None,
            repeatable=False,
        )
        answer = await self._api.repeat(request)
        id = answer.get("execution_id") if isinstance(answer, Mapping) else answer
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise worded(HttpUnreadable("no id"), request)
        return id

    async def look(self, execution: str, *, timeout: float = PATIENCE) -> Status:
        """How it stands now, from one attempt. Raises StackSpotError."""
        if not _ID.fullmatch(execution):
            raise StackSpotError("That is no id of a quick command's run.", code="unknown_run")
        request = Request(
            "status",
            "GET",
            f"{self._url}/callback/{execution}",
            subject=execution,
            params={"nocache": secrets.token_hex(8)},
            headers=_FRESH,
            timeout=timeout,
        )
        answer = await self._api.once(request)
        if not isinstance(answer, Mapping):
            raise worded(HttpUnreadable("no object"), request)
        return read_status(execution, answer)

    async def wait(self, execution: str, on_progress: OnProgress | None = None) -> Status:
        """Look until it has completed.

        Raises StackSpotError: code "failed" when it failed; a StillRunning where the deadline has
        passed, StackSpot refuses to tell, or is away for too long.
        """
        end = self._clock.now() + self._deadline
        pause, misses, shown = FIRST, 0, Status(execution)
        while (left := end - self._clock.now()) > 0:
            await self._clock.sleep(min(pause * self._clock.jitter(), left))
            pause = min(pause * GROWTH, LONGEST)
            try:
                status = await self.look(execution, timeout=self._patience(end))
            except StackSpotError as error:
                misses += 1
                if not error.passing or misses > MISSES:
                    raise StillRunning(error, execution) from None
                pause = max(pause, error.after)
                continue
            misses = 0
            if status.failed:
                raise _failed(status)
            if status.completed:
                return status
            if on_progress is not None and _told(status) != _told(shown):
                await on_progress(status)
            shown = status
        raise StillRunning(self._too_late(), execution)

    def _patience(self, end: float) -> float:
        return min(PATIENCE, max(end - self._clock.now(), LEAST))

    def _too_late(self) -> StackSpotError:
        return StackSpotError(
            "StackSpot did not finish within {seconds} s, so I stopped waiting.",
            code="deadline",
            seconds=f"{self._deadline:.0f}",
        )


def _told(status: Status) -> tuple[str, float | None, str]:
    return status.state, status.share, status.step


def _failed(status: Status) -> StackSpotError:
    """StackSpot tells no reason; at which step it was helps a little."""
    if not status.step:
        return StackSpotError(
            "StackSpot reports that it failed ({state}), and gives no reason.",
            code="failed",
            state=status.state,
        )
    return StackSpotError(
        'StackSpot reports that it failed ({state}) at the step "{step}", and gives no reason.',
        code="failed",
        state=status.state,
        step=status.step,
    )


_AGENTS_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


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


def is_agent_id(id: str) -> bool:
    return _AGENTS_ID.fullmatch(id) is not None


class Agents:
    """`url` is the agents' host; an answer may take `timeout` seconds."""

    def __init__(self, url: str, api: StackSpotApi, timeout: float) -> None:
        self._url = f"{url.rstrip('/')}/v1/agent"
        self._api = api
        self._timeout = timeout

    async def ask(self, agent: str, prompt: str, conversation: str = "") -> AgentAnswer:
        """The whole answer at once. Raises StackSpotError; it is a spend, as `create` is."""
        if not is_agent_id(agent):
            raise StackSpotError("{agent} is no agent's id.", code="bad_agent", agent=agent[:40])
        request = Request(
            "agent",
            "POST",
            f"{self._url}/{quote(agent, safe='')}/chat",
            subject=agent,
            body=_question(prompt, conversation),
            repeatable=False,
            timeout=self._timeout,
        )
        answer = await self._api.repeat(request)
        message = answer.get("message") if isinstance(answer, Mapping) else None
        if not isinstance(answer, Mapping) or not isinstance(message, str):
            raise worded(HttpUnreadable("no message"), request)
        told = answer.get("conversation_id")
        return AgentAnswer(
            in_whole_characters(message), told if isinstance(told, str) and told else conversation
        )


def _question(prompt: str, conversation: str) -> dict[str, object]:
    """`stackspot_knowledge` is a text there, and the other switches are not."""
    question: dict[str, object] = {
        "user_prompt": prompt,
        "streaming": False,
        "use_conversation": True,
        "stackspot_knowledge": "false",
        "return_ks_in_response": False,
    }
    return {**question, "conversation_id": conversation} if conversation else question
