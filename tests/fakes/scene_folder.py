"""The port `ContextFiles` in memory: attached files, and files that tools made."""

from __future__ import annotations

from collections.abc import Sequence

from core.base.errors import NotFound
from core.domain.messages import File


class MemoryContextFiles:
    """`files` in their order, each with an id of its own; `made` lists those that tools stored."""

    def __init__(self, **attached: bytes) -> None:
        self.files: list[File] = []
        self.data: dict[str, bytes] = {}
        self.made: dict[str, bytes] = {}
        for name, data in attached.items():
            self.add(name.replace("_", "."), data)

    def add(self, name: str, data: bytes, type: str = "text/csv") -> File:
        file = File(f"f{len(self.files)}", name, type, len(data))
        self.files.append(file)
        self.data[file.id] = data
        return file

    async def list_files(self) -> Sequence[File]:
        return tuple(self.files)

    async def read(self, file: File) -> bytes:
        try:
            return self.data[file.id]
        except KeyError:
            raise NotFound(what="file") from None

    async def save(self, name: str, type: str, data: bytes) -> File:
        self.made[name] = data
        return self.add(name, data, type)
