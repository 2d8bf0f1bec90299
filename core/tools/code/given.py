"""The files of a thread as code finds them: each under a name that is its own."""

from __future__ import annotations

import re
from collections import Counter

from core.messages import File
from core.records import Scene, SceneFiles
from core.text import file_name
from core.tools.code.port import Given

CODE_TYPE = "text/x-python"
_OUR_CODE = re.compile(r"code-[0-9a-f]{6}\.py")
"""What we attach ourselves, for people to read."""


async def given(scene: Scene) -> tuple[Given, ...]:
    """Oldest first. Of several with one name the newest has it; `a.csv` before it is `a-1.csv`."""
    files = scene.files
    if files is None:
        return ()
    found = [file for file in await files.given() if not _OUR_CODE.fullmatch(file.name)]
    left = Counter(file_name(file.name) for file in found)
    older: Counter[str] = Counter()
    named = []
    for file in found:
        name = file_name(file.name)
        left[name] -= 1
        if left[name]:
            older[name] += 1
            name = _numbered(name, older[name])
        named.append(_given(file, name, files))
    return tuple(named)


def code_name(digest: str) -> str:
    """A file's name that `given` knows as one of ours."""
    return f"code-{digest[:6]}.py"


def _given(file: File, name: str, files: SceneFiles) -> Given:
    return Given(file.id, name, file.type, file.size, lambda: files.read(file))


def _numbered(name: str, number: int) -> str:
    stem, dot, extension = name.rpartition(".")
    return f"{stem}-{number}.{extension}" if dot else f"{name}-{number}"
