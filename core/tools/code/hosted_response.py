"""One run as a Responses call: it is sent, followed to its last state, and parsed.

A run whose stream breaks is polled by its id, so that it is never paid for twice.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from core.base.openai import Json, ModelServerClient, ModelServerFault
from core.base.retry import Backoff
from core.domain.messages import Usage
from core.money.usage import parse_usage

CODE_RESPONSES_PATH = "/responses"
OUTPUTS_FIELD = "code_interpreter_call.outputs"
FINAL_EVENTS = (
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
)
POLL_BACKOFF = Backoff(1.0, max_seconds=5.0)
"""Pauses between requests for a response that is not finished."""
_LINK = re.compile(r"!?\[(?P<label>[^\[\]\n]*)\]\(\s*<?sandbox:[^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)")
_BARE_LINK = re.compile(r"sandbox:(?P<path>/[^\s)\]>\"'`]*)")
# A traceback as Python prints it, and as IPython does, which also shows errors of syntax bare.
_TRACEBACK = re.compile(
    r"^(?:-{20,}\n[\w.]+ +Traceback \(most recent call last\)|Traceback \(most recent call last\):)"
    r"|^ *(?:Cell In ?\[\d+\]|File \".*\"), line \d+\n(?:.*\n){1,4}(?:Syntax|Indentation|Tab)Error",
    re.MULTILINE,
)


async def ask_for_response(
    client: ModelServerClient, body: Json, on_id: Callable[[str], Awaitable[None]]
) -> Json:
    """Send `body` and return its final response. `on_id` gets the id before anything else.

    The request is repeated only if it surely was not begun. Raise ModelServerFault; `lost` if it
    may have run.
    """

    async def open_stream() -> tuple[Json | None, AsyncGenerator[Json, None]]:
        events = client.stream(CODE_RESPONSES_PATH, {**body, "stream": True})
        return await anext(events, None), events

    event, events = await client.call_with_retries(open_stream)
    name = ""
    try:
        async with aclosing(events):
            while event is not None:
                response = event.get("response")
                if not name and isinstance(response, dict) and response.get("id"):
                    name = str(response["id"])
                    await on_id(name)
                if event.get("type") in FINAL_EVENTS:
                    return _check_final(response or {})
                if event.get("type") == "error":
                    raise ModelServerFault("broken", body=event)
                event = await anext(events, None)
    except ModelServerFault as fault:
        if fault.kind != "lost" or not name:
            raise
    if not name:
        raise ModelServerFault("lost")
    return await poll_response(client, name)


async def poll_response(client: ModelServerClient, name: str) -> Json:
    """Return a response by its id once it is final, however long that takes. Raise
    ModelServerFault."""
    pauses = iter(POLL_BACKOFF)
    while True:
        try:
            answer = await client.get(f"{CODE_RESPONSES_PATH}/{name}", {"include[]": OUTPUTS_FIELD})
        except ModelServerFault as fault:
            if fault.status != 404:
                raise
            raise ModelServerFault("lost") from None
        if answer.get("status") not in ("queued", "in_progress"):
            return _check_final(answer)
        await client.sleep(next(pauses))


@dataclass(frozen=True, slots=True)
class HostedExecution:
    """One parsed response. `codes` are what ran, "" where the server does not say.

    `at` is when it began, in the server's seconds. `text` holds the model's own words without links
    into the container. `ended` says why they end early.
    """

    id: str
    at: int
    codes: tuple[str, ...] = ()
    container: str = ""
    printed: str = ""
    """The output before the traceback, or all of it."""
    error: str = ""
    """The traceback, or ""."""
    pictures: tuple[str, ...] = ()
    cited: Mapping[str, str] = field(default_factory=dict)
    """Files of the container that the answer names: id to name."""
    text: str = ""
    refusal: str = ""
    ended: str = ""
    broken: bool = False
    """Whether a run did not finish."""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    """The name under which the server answered."""


def parse_execution(response: Json) -> HostedExecution:
    """Return a final response, parsed."""
    items = [item for item in response.get("output") or () if isinstance(item, dict)]
    calls = [item for item in items if item.get("type") == "code_interpreter_call"]
    messages = [item for item in items if item.get("type") == "message"]
    outputs = [out for call in calls for out in call.get("outputs") or ()]
    told = [part for item in messages for part in item.get("content") or ()]
    parts = [part for part in told if isinstance(part, dict)]
    notes = [note for part in parts for note in part.get("annotations") or ()]
    texts = [str(part["text"]) for part in parts if part.get("type") == "output_text"]
    reason = (response.get("incomplete_details") or {}).get("reason")
    logs = "".join(str(out.get("logs") or "") for out in outputs if out.get("type") == "logs")
    error_starts = [found.start() for found in _TRACEBACK.finditer(logs)]
    output_end = error_starts[-1] if error_starts else len(logs)
    return HostedExecution(
        id=str(response.get("id", "")),
        at=int(response.get("created_at") or 0),
        codes=tuple(str(call.get("code") or "") for call in calls),
        container=next((str(call.get("container_id") or "") for call in calls), ""),
        printed=logs[:output_end],
        error=logs[output_end:],
        pictures=tuple(str(out.get("url")) for out in outputs if out.get("type") == "image"),
        cited={
            str(note.get("file_id", "")): str(note.get("filename", ""))
            for note in notes
            if note.get("type") == "container_file_citation"
        },
        text=without_container_links("\n\n".join(texts)).strip(),
        refusal="".join(str(part.get("refusal") or "") for part in parts),
        ended=str(reason or "") if response.get("status") == "incomplete" else "",
        broken=any(call.get("status") in ("failed", "incomplete") for call in calls),
        usage=parse_usage(response),
        model=str(response.get("model") or ""),
    )


def without_container_links(text: str) -> str:
    """Return `text` without links into a container, which nobody can open; their labels stay."""
    text = _LINK.sub(lambda found: found["label"], text)
    return _BARE_LINK.sub(lambda found: posixpath.basename(found["path"]), text)


def _check_final(response: Json) -> Json:
    if response.get("status") in ("failed", "cancelled"):
        raise ModelServerFault("broken", body=response.get("error") or {"code": response["status"]})
    return response
