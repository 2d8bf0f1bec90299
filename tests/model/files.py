"""Files that are kept in memory, as far as a model reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from core.base.errors import NotFound
from core.domain.messages import File, Person


@dataclass
class MemoryFiles:
    kept: dict[str, tuple[File, bytes]] = field(default_factory=dict)

    def add(self, name: str, type: str, data: bytes) -> File:
        file = File(f"file{len(self.kept)}", name, type, len(data))
        self.kept[file.id] = (file, data)
        return file

    async def put(
        self, event_key: str, name: str, type: str, data: bytes, owner: Person, conversation: str
    ) -> File:
        return self.add(name, type, data)

    async def get(self, file: str) -> tuple[File, bytes]:
        if file not in self.kept:
            raise NotFound(what="file")
        return self.kept[file]

    async def list_of_events(self, *event_keys: str) -> Sequence[File]:
        return [file for file, _ in self.kept.values()]

    async def delete(self, file: str) -> None:
        self.kept.pop(file, None)

    async def conversation_of(self, file: str) -> str:
        return ""

    async def sweep(self, before: float) -> int:
        return 0
