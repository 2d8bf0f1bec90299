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
from operator import itemgetter
from typing import Any, Self
from urllib.parse import quote

from core.base.http import HttpClient, HttpUnreadable
from core.base.json_text import in_whole_characters
from core.base.tasks import Backoff
from core.base.text import clean_text, to_one_line
from core.commands.grammar import SLUG_PATTERN
from core.tools.stackspot.api import (
    DEFAULT_REALM,
    STACKSPOT_URLS,
    Clock,
    StackSpotAccount,
    StackSpotApi,
    StackSpotError,
    StackSpotRequest,
    StackSpotUrls,
    StillRunning,
    explain_stackspot_error,
)

_FENCE = re.compile(
    r"(?P<mark>`{3,}(?!`)|~{3,}(?!~))[ \t]*(?P<info>[\w.+-]*)(?![\w.+-])[^\n]*\n(?P<body>.*)",
    re.DOTALL,
)
_JSON = ("", "json", "json5", "jsonc", "text", "txt")
"""The words after a fence that may begin JSON, in lower case. "": none."""
_SUFFIXES = {
    "json": "json", "python": "py", "py": "py", "javascript": "js", "js": "js", "typescript": "ts",
    "ts": "ts", "java": "java", "kotlin": "kt", "go": "go", "sql": "sql", "yaml": "yaml",
    "yml": "yaml", "csv": "csv", "xml": "xml", "bash": "sh", "sh": "sh",
}  # fmt: skip
_AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
NO_WAY_BACK = "Quick commands can't be undone."


@dataclass(frozen=True, slots=True)
class StackSpotAgent:
    """`id` is StackSpot's, `title` is for people."""

    id: str
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """`text` is Markdown, `conversation` is the id for the next question."""

    text: str
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class RunStep:
    """`answer` is what the step returned, empty until it has ended."""

    name: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """`state` is StackSpot's own word in capitals; an unknown one means: keep waiting.

    `share` is the completed part from 0.0 to 1.0, or None if StackSpot does not tell it.
    """

    execution: str
    state: str = ""
    share: float | None = None
    steps: tuple[RunStep, ...] = ()
    result: str = ""
    slug: str = ""
    conversation: str = ""

    @property
    def step(self) -> str:
        waiting = [step.name for step in self.steps if not step.answer]
        return next(iter(waiting), self.steps[-1].name if self.steps else "")

    @property
    def answer(self) -> str:
        spoken = [step.answer for step in self.steps if step.answer]
        return self.result if self.result.strip() else next(reversed(spoken), "")


def parse_status(execution: str, answer: Mapping[str, Any]) -> RunStatus:
    """Missing and malformed parts are left out, because StackSpot publishes no schema: a part that
    is unknown must not stop the wait for a run."""
    progress, raw = answer.get("progress"), answer.get("steps")
    progress = progress if isinstance(progress, Mapping) else {}
    numbered: list[tuple[float, RunStep]] = []
    for step in raw if isinstance(raw, list) else []:
        if not isinstance(step, Mapping):
            continue
        # A model's step has an answer, a web request's the body that came back.
        order, result = step.get("execution_order"), step.get("step_result")
        if isinstance(result, Mapping):
            texts = (_to_text(result.get(key)) for key in ("answer", "json_data", "data"))
            text = next(filter(str.strip, texts), "")
        else:
            text = _to_text(result)
        name = to_one_line(_to_text(step.get("step_name")), 60)
        numbered.append((order if isinstance(order, int | float) else 0, RunStep(name, text)))
    numbered.sort(key=itemgetter(0))  # steps with the same number stay in their order
    share = progress.get("execution_percentage")
    # A share of another form is not known. True is a number to Python.
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:
        share = None
    return RunStatus(
        execution=execution,
        state=_to_text(progress.get("status")).strip().upper(),
        # StackSpot sends a percentage or a fraction.
        share=share / 100 if share is not None and share > 1 else share,
        steps=tuple(step for _, step in numbered),
        result=_to_text(answer.get("result")),
        slug=_to_text(answer.get("quick_command_slug")),
        conversation=_to_text(answer.get("conversation_id")),
    )


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a quick command: `text` is unchanged, `execution` and `conversation` are
    StackSpot's ids."""

    text: str
    execution: str = ""
    conversation: str = ""

    @property
    def data(self) -> Any:
        return parse_json_text(self.text)

    @property
    def without_fence(self) -> str:
        """Code keeps its fence, which names the language."""
        block = _only_block(self.text)
        return block[1].strip() if block and self.data is not None else self.text


@dataclass(frozen=True, slots=True)
class Document:
    """The result of a quick command as a file; `data` is UTF-8."""

    name: str
    type: str
    data: bytes


def parse_json_text(text: str) -> Any:
    """The JSON may be in a fence, also an unclosed one: the result of a command is a model's text.
    None for anything else."""
    block = _only_block(text)
    if block is not None and block[0].lower() not in _JSON:
        return None
    try:
        return json.loads(block[1] if block else text.strip(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def build_document(text: str, stem: str) -> Document:
    """JSON is laid out in lines, the code of a fence has the ending of its language, and anything
    else is Markdown."""
    data = parse_json_text(text)
    # A bare number or text is JSON, too, but no document.
    if isinstance(data, dict | list):
        laid_out = json.dumps(data, ensure_ascii=False, indent=2)
        return Document(f"{stem}.json", "application/json", clean_text(laid_out).encode())
    block = _only_block(text)
    if block is None:
        return Document(f"{stem}.md", "text/markdown", clean_text(text).encode())
    suffix = _SUFFIXES.get(block[0].lower(), "txt")
    return Document(f"{stem}.{suffix}", "text/plain", clean_text(block[1]).encode())


def _to_text(value: object) -> str:
    if value is None or isinstance(value, str):
        return in_whole_characters(value or "")
    return in_whole_characters(json.dumps(value, ensure_ascii=False))


def _only_block(text: str) -> tuple[str, str] | None:
    """The info is the word after the fence, such as json. None unless the whole text is one fenced
    block, closed or not."""
    match = _FENCE.fullmatch(text.strip())
    if match is None:
        return None
    *inner, last = match["body"].split("\n")
    mark = match["mark"]
    lines = inner if last.strip().startswith(mark) else [*inner, last]
    if any(line.lstrip().startswith(mark) for line in lines):
        return None  # there is more than one
    return match["info"], "\n".join(lines)


def _refuse_constant(constant: str) -> None:
    # JSON has no NaN (RFC 8259, section 6), but Python parses it.
    raise ValueError(constant)


STACKSPOT_POLL_BACKOFF = Backoff(1.0, max_seconds=8.0, factor=1.5)
MAX_FAILED_POLLS = 10
"""Requests for the status that may fail in a row, for about a minute."""
POLL_TIMEOUT_SECONDS = 30.0
"""Timeout of one status request; the last one before the deadline gets at least the minimum."""
MIN_POLL_TIMEOUT_SECONDS = 5.0
RUN_DEADLINE_SECONDS = 300.0

_FAILED_STATES = ("FAILURE", "FAILED", "CANCELLED", "CANCELED")
_RUN_FAILED = "StackSpot reports a failure ({state}), without a reason."
_RUN_FAILED_IN_STEP = (
    "StackSpot reports a failure ({state}) in the step “{step}”, without a reason."
)
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

OnProgress = Callable[[RunStatus], Awaitable[None]]


class StackSpot:
    """A client of StackSpot AI. All runs share its connections and its token.

    A run is asked for every `poll_seconds`; with 0, after one second and then less often. The
    caller owns `http`. Without one, the client makes its own and closes it. Every method raises
    `StackSpotError`.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        realm: str = DEFAULT_REALM,
        urls: StackSpotUrls = STACKSPOT_URLS,
        deadline: float = RUN_DEADLINE_SECONDS,
        poll_seconds: float = 0.0,
        http: HttpClient | None = None,
        clock: Clock | None = None,
    ) -> None:
        # A client that was made here is closed here.
        self._own_http = http is None
        self._http = http or HttpClient()
        self._clock = clock or Clock()
        # Sends requests with the account's token, and repeats those that may be repeated.
        account = StackSpotAccount(client_id, client_secret, realm, urls)
        self._api = StackSpotApi(account, self._http, self._clock)
        self._commands = f"{urls.api.rstrip('/')}/v1/quick-commands"
        self._agents = f"{urls.agent.rstrip('/')}/v1/agent"
        self._pauses = Backoff(poll_seconds, factor=1.0) if poll_seconds else STACKSPOT_POLL_BACKOFF
        self.deadline = deadline  # seconds for one run, or for one agent's answer

    async def check(self) -> None:
        """A token that is still valid is not asked for again. Raise StackSpotError."""
        await self._api.token()

    async def run(
        self,
        slug: str,
        input: str | Mapping[str, Any] = "",
        *,
        conversation_id: str = "",
        on_progress: OnProgress | None = None,
    ) -> Result:
        """`conversation_id` is a ULID, or "" for no conversation."""
        execution = await self.create(slug, input, conversation_id=conversation_id)
        return await self.wait(execution, on_progress=on_progress)

    async def create(
        self, slug: str, input: str | Mapping[str, Any] = "", *, conversation_id: str = ""
    ) -> str:
        """Start a quick command and return the execution's id, by which its state is asked for. It
        costs money: if the answer is lost, the error's code is "unknown", and nothing is started
        again."""
        if not re.fullmatch(SLUG_PATTERN, slug):
            raise StackSpotError(
                "`{slug}` isn't a valid quick command name. Names have up to 100 characters: "
                "lowercase letters, digits, - and _. They start with a letter or digit.",
                code="bad_slug",
                slug=slug[:40],
            )
        request = StackSpotRequest(
            "create",
            "POST",
            f"{self._commands}/create-execution/{quote(slug, safe='')}",
            subject=slug,
            # The service's own clients leave an empty input out.
            body={"input_data": input if isinstance(input, str) else dict(input)} if input else {},
            params={"conversation_id": conversation_id} if conversation_id else None,
        )
        # Sent again only if StackSpot surely did not start the command.
        answer = await self._api.send_with_retries(request)
        # The answer is the id alone, or an object with it.
        id = answer.get("execution_id") if isinstance(answer, Mapping) else answer
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise explain_stackspot_error(HttpUnreadable("no id"), request)
        return id

    async def status(self, execution: str, *, timeout: float = POLL_TIMEOUT_SECONDS) -> RunStatus:
        """Raise StackSpotError."""
        if not _ID.fullmatch(execution):
            raise StackSpotError("This isn't the ID of a quick command's run.", code="unknown_run")
        request = StackSpotRequest(
            "status",
            "GET",
            f"{self._commands}/callback/{execution}",
            subject=execution,
            # Answers are cached on the way, as public clients found.
            params={"nocache": secrets.token_hex(8)},
            headers={"Cache-Control": "no-cache", "Pragma": "no-cache"},
            timeout=timeout,
        )
        answer = await self._api.send_once(request)
        if not isinstance(answer, Mapping):
            raise explain_stackspot_error(HttpUnreadable("no object"), request)
        return parse_status(execution, answer)

    async def wait(self, execution: str, *, on_progress: OnProgress | None = None) -> Result:
        """`on_progress` is called when the state, the completed share or the step has changed.

        Raise StackSpotError "failed" if it failed, and StillRunning after the deadline, a refusal,
        or too many failed requests in a row: StackSpot may still finish the run then.
        """
        end = self._clock.now() + self.deadline
        pauses, least_pause, misses = iter(self._pauses), 0.0, 0
        last_progress: tuple[str, float | None, str] = ("", None, "")
        while (seconds := end - self._clock.now()) > 0:
            pause = max(next(pauses), least_pause)
            await self._clock.sleep(min(pause * self._clock.jitter(), seconds))
            least_pause = 0.0
            # The last request gets enough time for an answer, even beyond the deadline.
            patience = max(end - self._clock.now(), MIN_POLL_TIMEOUT_SECONDS)
            try:
                status = await self.status(execution, timeout=min(POLL_TIMEOUT_SECONDS, patience))
            except StackSpotError as error:
                misses += 1
                if not error.passing or misses > MAX_FAILED_POLLS:
                    # The run goes on at StackSpot; its id lets a later attempt ask again.
                    raise StillRunning(error, execution) from None
                # A rate limit says how long to wait.
                least_pause = error.after
                continue
            misses = 0
            if status.state in _FAILED_STATES:  # StackSpot gives no reason
                raise StackSpotError(
                    _RUN_FAILED_IN_STEP if status.step else _RUN_FAILED,
                    code="failed",
                    state=status.state,
                    step=status.step,
                )
            if status.state == "COMPLETED":
                return Result(status.answer, execution, status.conversation)
            progress = (status.state, status.share, status.step)
            if on_progress is not None and progress != last_progress:
                await on_progress(status)
            last_progress = progress
        late = StackSpotError(
            "StackSpot didn't finish within {time}, so I stopped waiting.",
            code="deadline",
            seconds=self.deadline,
        )
        raise StillRunning(late, execution)

    async def ask_agent(self, agent: str, prompt: str, *, conversation_id: str = "") -> AgentAnswer:
        """With `conversation_id`, the agent remembers what it was asked before. A question costs
        money, so it is not asked again if its answer was lost. Raise StackSpotError."""
        if not _AGENT_ID.fullmatch(agent):
            raise StackSpotError(
                "`{agent}` isn't an agent's ID.", code="bad_agent", agent=agent[:40]
            )
        body = {
            "user_prompt": prompt,
            "streaming": False,
            "use_conversation": True,  # without an id, StackSpot begins one and returns its id
            "stackspot_knowledge": "false",  # the API takes this switch as a text
            "return_ks_in_response": False,  # "ks": knowledge sources
            **({"conversation_id": conversation_id} if conversation_id else {}),
        }
        request = StackSpotRequest(
            "agent",
            "POST",
            f"{self._agents}/{quote(agent, safe='')}/chat",
            subject=agent,
            body=body,
            timeout=self.deadline,
        )
        # Sent again only if StackSpot surely did not accept the question.
        answer = await self._api.send_with_retries(request)
        message = answer.get("message") if isinstance(answer, Mapping) else None
        if not isinstance(answer, Mapping) or not isinstance(message, str):
            raise explain_stackspot_error(HttpUnreadable("no message"), request)
        new_id = answer.get("conversation_id")
        conversation = new_id if isinstance(new_id, str) and new_id else conversation_id
        # JSON can hold halves of surrogate pairs, which UTF-8 cannot encode.
        return AgentAnswer(in_whole_characters(message), conversation)

    async def close(self) -> None:
        await self._api.close()
        if self._own_http:
            await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
