"""The API behind Python hosted by OpenAI: containers with their files, and one run as a Responses
call.

A run whose stream breaks is polled by its id, so that it is never paid for twice.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import math
import mimetypes
import posixpath
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from core.base.errors import NotFound
from core.base.markdown import without_container_links
from core.base.model_faults import ModelServerFault
from core.base.openai import Json, ModelServerClient, read_id, read_object, read_objects, read_word
from core.base.tasks import Backoff
from core.base.text import safe_file_name
from core.domain.messages import Usage
from core.money.usage import CONTAINER_SESSION_SECONDS, parse_usage
from core.tools.code.port import (
    MAX_OUTPUT_BYTES,
    MAX_OUTPUT_FILE_BYTES,
    MAX_OUTPUT_FILES,
    InputFiles,
    OutputFile,
    detect_type,
)

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
# A traceback as Python prints it, and as IPython does, which also shows errors of syntax bare.
_TRACEBACK = re.compile(
    r"^(?:-{20,}\n[\w.]+ +Traceback \(most recent call last\)|Traceback \(most recent call last\):)"
    r"|^ *(?:Cell In ?\[\d+\]|File \".*\"), line \d+\n(?:.*\n){1,4}(?:Syntax|Indentation|Tab)Error",
    re.MULTILINE,
)


async def ask_for_response(
    client: ModelServerClient, body: Json, on_id: Callable[[str], Awaitable[None]]
) -> Json:
    """`on_id` gets the response's id as soon as it is known, so that it is recorded before anything
    can fail.

    The request is repeated only if it surely was not begun. If the stream breaks later, the
    response is asked for by its id. Raise ModelServerFault; `lost` if it may have run.
    """

    async def open_stream() -> tuple[Json | None, AsyncGenerator[Json, None]]:
        events = client.stream(CODE_RESPONSES_PATH, {**body, "stream": True})
        # With the first event the request has begun. Until then, a failure is tried again.
        return await anext(events, None), events

    event, events = await client.call_with_retries(open_stream)
    name = ""
    try:
        async with aclosing(events):
            while event is not None:
                response = read_object(event.get("response"))
                if not name and (name := read_id(response)):
                    await on_id(name)
                if event.get("type") in FINAL_EVENTS:
                    return _require_final(response)
                if event.get("type") == "error":
                    raise ModelServerFault("broken", body=event)
                event = await anext(events, None)
    except ModelServerFault as fault:
        # With an id, the server still has the response, and is asked for it.
        if fault.kind != "lost" or not name:
            raise
    if not name:
        raise ModelServerFault("lost")
    return await poll_response(client, name)


async def poll_response(client: ModelServerClient, name: str) -> Json:
    """Return a response by its id once it is final, however long that takes: callers limit it.
    Raise ModelServerFault, "lost" if the server no longer has it, so that nobody knows its
    outcome."""
    pauses = iter(POLL_BACKOFF)  # growing ones, without an end
    while True:
        # `include[]` asks for what the code printed and drew, too.
        try:
            answer = await client.get(f"{CODE_RESPONSES_PATH}/{name}", {"include[]": OUTPUTS_FIELD})
        except ModelServerFault as fault:
            if fault.status != 404:
                raise
            raise ModelServerFault("lost") from None
        if answer.get("status") not in ("queued", "in_progress"):
            return _require_final(answer)
        await client.sleep(next(pauses))


@dataclass(frozen=True, slots=True)
class HostedExecution:
    """The parsed response of the model's server to a run. `codes` are what ran, "" where the server
    does not say. `at` is when it began, in the server's seconds. `text` holds the model's own words
    without links into the container. `ended` is the server's reason for a response that ended
    early, or ""."""

    id: str
    at: int
    codes: tuple[str, ...] = ()
    container: str = ""
    printed: str = ""
    """The output before the traceback, or all of it."""
    error: str = ""
    pictures: tuple[str, ...] = ()
    cited: Mapping[str, str] = field(default_factory=dict)
    """Files of the container that the answer names: id to name."""
    text: str = ""
    refusal: str = ""
    ended: str = ""
    broken: bool = False
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    """The name under which the server answered."""


def parse_execution(response: Json) -> HostedExecution:
    """Fields that the server leaves out, or sends in another form, are empty. The output of code
    comes as one text, in which the error is the last traceback. Links into the container, which
    nobody can open, are taken out of the text. `ended`: why the response ended early; "" if it did
    not."""
    # `calls` are the runs of code, `messages` the model's own words. `outputs` of runs are logs and
    # pictures; `notes` in words name files of the container.
    items = read_objects(response.get("output"))
    calls = [item for item in items if item.get("type") == "code_interpreter_call"]
    messages = [item for item in items if item.get("type") == "message"]
    outputs = [out for call in calls for out in read_objects(call.get("outputs"))]
    parts = [part for item in messages for part in read_objects(item.get("content"))]
    notes = [note for part in parts for note in read_objects(part.get("annotations"))]
    texts = [read_word(part.get("text")) for part in parts if part.get("type") == "output_text"]
    reason = read_object(response.get("incomplete_details")).get("reason")
    logs = "".join(read_word(out.get("logs")) for out in outputs if out.get("type") == "logs")
    error_starts = [match.start() for match in _TRACEBACK.finditer(logs)]
    # Of several runs, only the last traceback is the error that ended them.
    output_end = error_starts[-1] if error_starts else len(logs)
    return HostedExecution(
        id=str(response.get("id", "")),
        at=_read_seconds(response.get("created_at")),
        codes=tuple(str(call.get("code") or "") for call in calls),
        container=next((read_word(call.get("container_id")) for call in calls), ""),
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


def _require_final(response: Json) -> Json:
    if response.get("status") in ("failed", "cancelled"):
        raise ModelServerFault(
            "broken", body=read_object(response.get("error")) or {"code": response["status"]}
        )
    return response


log = structlog.get_logger("code")

CONTAINERS_PATH = "/containers"
CONTAINER_IDLE_MINUTES = 20
"""OpenAI deletes a container after so many idle minutes (its guide to the code interpreter)."""

MAX_LISTED_FILES = 10_000
"""Files of a container that are listed, more than one run can give. It bounds time and memory."""

_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,([A-Za-z0-9+/=\s]+)")


class OutputCollection:
    """Collects the output files of one run within the limits.

    A picture can arrive both as a file and as an output; the first one is used.
    """

    def __init__(self) -> None:
        self.files: list[OutputFile] = []
        self.left_out: list[str] = []
        self._total = 0

    def has_room(self, name: str) -> bool:
        """A file that is not allowed is recorded as left out."""
        if len(self.files) < MAX_OUTPUT_FILES:
            return True
        self.leave_out(name, f"one run gives {MAX_OUTPUT_FILES} files at most")
        return False

    def add_file(self, name: str, data: bytes | None) -> None:
        """`data` None means that it is larger than the limit. One with the same bytes as an earlier
        one is the same file, which came in two ways."""
        if data is None or len(data) > MAX_OUTPUT_FILE_BYTES:
            self.leave_out(name, f"a file may have {MAX_OUTPUT_FILE_BYTES >> 20} MiB")
        elif data in [file.data for file in self.files]:
            return
        elif self._total + len(data) > MAX_OUTPUT_BYTES:
            self.leave_out(name, f"the files of one run may have {MAX_OUTPUT_BYTES >> 20} MiB")
        else:
            self._total += len(data)
            self.files.append(OutputFile(name, detect_type(name, data), data))

    def add_picture(self, number: int, url: str) -> None:
        """`url` is a data URL or an address. No address is opened (pydantic-ai issue 2391); one is
        only mentioned if no picture came as a file, because it may be the same one."""
        match = _PICTURE.fullmatch(url)
        name = f"figure-{number}.{match[1] if match else 'png'}"
        if match is None:
            if not any(file.type.startswith("image/") for file in self.files):
                self.leave_out(name, "it is only an address")
        elif self.has_room(name):  # if not, it is listed as left out
            try:
                self.add_file(name, base64.b64decode(match[2]))
            except binascii.Error:
                self.leave_out(name, "it can't be read")

    def leave_out(self, name: str, why: str) -> None:
        self.left_out.append(f"{name[:100]!r} was not taken: {why}")


@dataclass(slots=True)
class Container:
    """`used_at` and `paid_until` are seconds of Ponte's clock.

    `uploads` holds ids and names of files that were uploaded, `output_digests` names and digests of
    files that the code created, `known_files` the server's ids of all files that were listed.
    """

    id: str
    used_at: float
    paid_until: float = 0.0
    holds_state: bool = False
    uploads: set[tuple[str, str]] = field(default_factory=set)
    output_digests: set[tuple[str, bytes]] = field(default_factory=set)
    known_files: set[str] = field(default_factory=set)


class ContainerClient:
    """Creates and deletes the containers in which OpenAI runs Python, puts files into them, and
    takes files out. The creator of `client` closes it."""

    def __init__(
        self, client: ModelServerClient, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self.now = clock
        self._deletions: set[asyncio.Task[None]] = set()

    async def make(self) -> Container:
        """Create an empty container at OpenAI without network access. It expires by itself when it
        was idle. Raise ModelServerFault."""
        body: Json = {
            "name": "ponte",
            "expires_after": {"anchor": "last_active_at", "minutes": CONTAINER_IDLE_MINUTES},
            "memory_limit": "1g",
            "network_policy": {"type": "disabled"},
        }
        answer = await self._client.call_with_retries(
            lambda: self._client.post(CONTAINERS_PATH, body)
        )
        log.info("created a container", container_id=str(answer.get("id")))
        # OpenAI charges by sessions. The first one counts as not paid: a run adds its price.
        return Container(str(answer["id"]), self.now(), paid_until=self.now())

    def assume_alive(self, id: str) -> Container:
        """The server is not asked: the container may have expired. Its session counts as paid for,
        and its variables as alive."""
        return Container(id, self.now(), self.now() + CONTAINER_SESSION_SECONDS, holds_state=True)

    async def find(self, id: str) -> Container | None:
        """Return the container with this id that an earlier process used, or None if it is gone.
        Its files count as known, so that later runs do not send them again. Raise
        ModelServerFault."""
        # Sends nothing: this only makes the object, with its variables counted as alive.
        container = self.assume_alive(id)
        try:
            body = await self._client.get(f"{CONTAINERS_PATH}/{id}")
            if body.get("status") in ("expired", "deleted"):
                return None
            # Remembers its files as known, so that they are not taken for those of the next run.
            await self._list_files(container)
        except ModelServerFault as fault:
            if not fault.is_container_gone:
                raise
            return None
        return container

    async def upload_missing(self, container: Container, files: InputFiles) -> list[str]:
        """Return sentences about files that were deleted meanwhile. Raise ModelServerFault."""
        left_out = []
        for file in files:
            if (file.id, file.name) in container.uploads:
                continue
            try:
                data = await file.read()
            except NotFound:
                left_out.append(f"{file.name!r} is gone and was not put into the work folder")
                continue
            # A file that code in this container made is there already.
            if (file.name, await _digest(data)) not in container.output_digests:
                kind = file.type or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
                await self._client.upload(container.id, file.name, kind, data)
            container.uploads.add((file.id, file.name))
        return left_out

    async def fetch_outputs(
        self, container: Container, execution: HostedExecution, *, since: int = 0
    ) -> OutputCollection:
        """Return every file and picture that the run created. Only files created at `since` (in the
        server's seconds) or later belong to this run, and of these, those that were not listed
        before and that code made ("assistant"; uploads are of the "user"). Files that the answer
        cites are among them even if the list fails."""
        outputs = OutputCollection()
        # "": a citation without an id, so there is nothing to download.
        new = {id: name for id, name in execution.cited.items() if id}
        try:
            # A copy, because listing the files adds them to `known_files`.
            before = set(container.known_files)
            for file in await self._list_files(container):
                made_at = _read_seconds(file.get("created_at"))
                fresh = read_id(file) not in before and made_at >= since
                if fresh and file.get("source") == "assistant":
                    name = posixpath.basename(str(file.get("path") or "").rstrip("/"))
                    new.setdefault(read_id(file), name or "file")
        except ModelServerFault as fault:
            log.warning(
                "could not list the files of a container",
                error=str(fault),
                container_id=container.id,
            )
        for id, name in new.items():
            if outputs.has_room(name):  # if not, it is listed as left out
                try:  # a listed file may be unavailable (openai-python issue 2466)
                    data = await self._client.download(container.id, id, MAX_OUTPUT_FILE_BYTES)
                    outputs.add_file(name, data)
                except ModelServerFault as fault:
                    log.warning(
                        "could not download a file of a container",
                        error=str(fault),
                        container_id=container.id,
                    )
                    outputs.leave_out(name, "OpenAI did not hand it out")
        # They are in the container already, so `upload_missing` does not send them there later.
        for output in outputs.files:
            container.output_digests.add((safe_file_name(output.name), await _digest(output.data)))
        for number, url in enumerate(execution.pictures, 1):
            outputs.add_picture(number, url)
        return outputs

    async def delete(self, id: str) -> None:
        """Delete a container. A failure is only logged: the container expires by itself, and is
        erased with its thread."""
        try:
            await self._client.delete(f"{CONTAINERS_PATH}/{id}")
        except ModelServerFault as fault:
            if not fault.is_container_gone:
                log.warning("could not delete a container", error=str(fault), container_id=id)

    def discard(self, id: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self.delete(id))
        self._deletions.add(task)
        task.add_done_callback(self._deletions.discard)
        return task

    async def close(self) -> None:
        await asyncio.gather(*self._deletions, return_exceptions=True)

    async def _list_files(self, container: Container) -> Sequence[Json]:
        """A server that repeats a page ends the list. Raise ModelServerFault."""
        files: dict[str, Json] = {}
        query: dict[str, object] = {"limit": 100, "order": "asc"}
        # Each page begins after the last file of the one before.
        while len(files) < MAX_LISTED_FILES:
            page = await self._client.get(f"{CONTAINERS_PATH}/{container.id}/files", query)
            new = {id: file for file in read_objects(page.get("data")) if (id := read_id(file))}
            if not page.get("has_more") or new.keys() <= files.keys():
                files |= new
                break
            files |= new
            query["after"] = list(new)[-1]
        container.known_files.update(files)
        return list(files.values())


def _read_seconds(value: object) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


async def _digest(data: bytes) -> bytes:
    return (await asyncio.to_thread(hashlib.sha256, data)).digest()
