"""A scene with files in memory, in which code is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.errors import NotFound
from core.messages import File
from core.records import Scene
from tests.core.tools.scene import Seen, scene


class SceneFolder:
    """What was attached, and what was kept; each has its own id."""

    def __init__(self, **attached: bytes) -> None:
        self.files: list[File] = []
        self.data: dict[str, bytes] = {}
        for name, data in attached.items():
            self.add(name.replace("_", "."), data)

    def add(self, name: str, data: bytes, type: str = "text/csv") -> File:
        file = File(f"f{len(self.files)}", name, type, len(data))
        self.files.append(file)
        self.data[file.id] = data
        return file

    async def given(self) -> Sequence[File]:
        return tuple(self.files)

    async def read(self, file: File) -> bytes:
        try:
            return self.data[file.id]
        except KeyError:
            raise NotFound(what="file") from None

    async def keep(self, name: str, type: str, data: bytes) -> File:
        return self.add(name, data, type)


def set_scene(folder: SceneFolder, said: str = "", seen: Seen | None = None) -> Scene:
    return replace(scene(seen), files=folder, said=said)
