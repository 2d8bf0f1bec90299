"""A scene with files in memory, in which code is run."""

from __future__ import annotations

from dataclasses import replace

from core.domain.records import ToolContext
from tests.core.tools.scene import Seen, ctx
from tests.fakes.scene_folder import MemoryContextFiles


def set_scene(folder: MemoryContextFiles, said: str = "", seen: Seen | None = None) -> ToolContext:
    scene = ctx(seen)
    return replace(scene, files=folder, message=replace(scene.message, text=said))
