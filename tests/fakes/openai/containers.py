"""`/v1/containers` and their files: each expires when nobody used it for its minutes."""

from __future__ import annotations

import mimetypes
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.fakes.openai.errors import OpenAIErrorResponse
from tests.fakes.openai.items import new_id
from tests.fakes.openai.python import FOLDER, Python
from tests.fakes.openai.state import Json, State

PRICE = 0.03
"""US dollars of one with 1 GB (developers.openai.com/api/docs/pricing, built-in tools)."""


@dataclass(slots=True)
class ContainerFile:
    id: str
    path: str
    data: bytes
    source: str
    created_at: float

    def to_json(self, container: str) -> Json:
        return {
            "id": self.id,
            "object": "container.file",
            "container_id": container,
            "created_at": int(self.created_at),
            "bytes": len(self.data),
            "path": self.path,
            "source": self.source,
        }


@dataclass(slots=True)
class Container:
    """`unreadable` are paths of files that are listed and cannot be got."""

    id: str
    name: str
    created_at: float
    last_active_at: float
    minutes: int = 20
    memory: str = "1g"
    files: dict[str, ContainerFile] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    bytes_of: dict[str, bytes] = field(default_factory=dict)
    python: Python = field(init=False)

    def __post_init__(self) -> None:
        self.python = Python(self.bytes_of, self._store_written_file)

    def is_expired(self, now: float) -> bool:
        return now - self.last_active_at > 60 * self.minutes

    def put(self, path: str, data: bytes, source: str) -> ContainerFile:
        """The file as it now is; one of the same path is replaced."""
        return self._store_file(posixpath.join(FOLDER, path), data, source)

    def _store_written_file(self, path: str, data: bytes) -> None:
        self._store_file(path, data, "assistant")

    def _store_file(self, path: str, data: bytes, source: str) -> ContainerFile:
        files = [file for file in self.files.values() if file.path == path]
        for old in files:
            del self.files[old.id]
        container_file = ContainerFile(new_id("cfile"), path, data, source, self.last_active_at)
        self.files[container_file.id] = container_file
        self.bytes_of[path] = data
        return container_file

    def to_json(self, now: float) -> Json:
        return {
            "id": self.id,
            "object": "container",
            "created_at": int(self.created_at),
            "status": "expired" if self.is_expired(now) else "running",
            "expires_after": {"anchor": "last_active_at", "minutes": self.minutes},
            "last_active_at": int(self.last_active_at),
            "memory_limit": self.memory,
            "name": self.name,
        }


class Containers:
    """Those that are there, by id. `created` counts all that ever were: each was paid for."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.all: dict[str, Container] = {}
        self.created = 0

    @property
    def cost(self) -> float:
        return self.created * PRICE

    def new(self, name: str = "", id: str = "", minutes: int = 20, memory: str = "1g") -> Container:
        now = self._state.now()
        container = Container(id or new_id("cntr"), name, now, now, minutes, memory)
        self.all[container.id] = container
        self.created += 1
        return container

    def find(self, id: str) -> Container:
        """Raises OpenAIErrorResponse where it is not there."""
        if id not in self.all:
            raise OpenAIErrorResponse(404, f"Container with id '{id}' not found.")
        return self.all[id]

    def touch(self, id: str) -> Container:
        """Return the container and restart its expiry. Raise OpenAIErrorResponse if it has
        expired."""
        position, now = self.find(id), self._state.now()
        if position.is_expired(now):
            raise OpenAIErrorResponse(400, "Container is expired.")
        position.last_active_at = now
        return position


def create(state: State, body: Json) -> Json:
    if not body.get("name"):
        raise OpenAIErrorResponse(400, "Missing required parameter: 'name'.", param="name")
    minutes = (body.get("expires_after") or {}).get("minutes", 20)
    if not 1 <= minutes <= 20:
        raise OpenAIErrorResponse(
            400, "Invalid 'expires_after.minutes'.", param="expires_after.minutes"
        )
    new_item = state.containers.new(body["name"], "", minutes, body.get("memory_limit", "1g"))
    return state.emit("container", new_item.to_json(state.now()))


def retrieve(state: State, id: str) -> Json:
    return state.emit("container", state.containers.find(id).to_json(state.now()))


def delete(state: State, id: str) -> Json:
    position = state.containers.find(id)
    del state.containers.all[id]
    if position.is_expired(state.now()):
        raise OpenAIErrorResponse(400, "Container is expired.")
    return {"id": id, "object": "container.deleted", "deleted": True}


def add_file(state: State, id: str, name: str, data: bytes) -> Json:
    if not name:
        raise OpenAIErrorResponse(400, "Missing required parameter: 'file'.", param="file")
    if len(data) > state.upload_limit:
        raise OpenAIErrorResponse(413, "The file is too large.", param="file")
    container = state.containers.touch(id)
    return state.emit("container_file", container.put(name, data, "user").to_json(id))


def list_files(state: State, id: str, query: Mapping[str, str]) -> Json:
    container = state.containers.touch(id)
    files = [file.to_json(id) for file in container.files.values()]
    if query.get("order", "desc") == "desc":
        files.reverse()
    if after := query.get("after"):
        files = files[[file["id"] for file in files].index(after) + 1 :]
    limit = int(query.get("limit", 20))
    if not 1 <= limit <= 100:
        raise OpenAIErrorResponse(400, "Invalid 'limit'.", param="limit")
    page: Json = {"object": "list", "data": files[:limit], "has_more": len(files) > limit}
    for file in page["data"]:
        state.emit("container_file", file)
    page["first_id"] = files[0]["id"] if files else None
    page["last_id"] = page["data"][-1]["id"] if files else None
    return page


def content(state: State, id: str, file: str) -> tuple[bytes, str]:
    """Bytes and type. Issue 2466 of openai/openai-python has the text of the refusal."""
    container = state.containers.touch(id)
    if file not in container.files or container.files[file].path in container.unreadable:
        raise OpenAIErrorResponse(404, f"File {file} not found on container {id}.")
    files = container.files[file]
    return files.data, mimetypes.guess_type(files.path)[0] or "application/octet-stream"
