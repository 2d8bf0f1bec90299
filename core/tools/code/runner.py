"""One run from a person's files to what it made, whoever asked for it and wherever it runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from core.errors import ToolError
from core.messages import File
from core.records import Scene
from core.tools.code.block import bare, block
from core.tools.code.given import CODE_TYPE, code_name, given
from core.tools.code.port import CodeBackend, Ran
from core.tools.code.report import SHOWN

NO_CODE = "There is no code to run. Write Python code, or put it into a code block."


@dataclass(frozen=True, slots=True)
class Run:
    """`files` are what it made, kept; `code` is the code itself as a file to unfold."""

    ran: Ran
    files: tuple[File, ...]
    code: File | None = None


class Runner:
    """The one caller of a backend."""

    def __init__(self, backend: CodeBackend) -> None:
        self.backend = backend

    async def run(self, scene: Scene, code: str, said: str = "") -> Run:
        """Run `code`; where there is none, the code block that the person `said`.

        Raises ToolError, worded; NotStored where what it made cannot be kept.
        """
        source = bare(code)
        source = source if source.strip() else block(said)
        if not source.strip():
            raise ToolError(NO_CODE, code="bad_arguments", hint="pass the code as `code`")
        ran = await self.backend.run(scene, source, await given(scene))
        return await _kept(scene, source, ran)


async def _kept(scene: Scene, source: str, ran: Ran) -> Run:
    if scene.files is None:
        return Run(ran, ())
    keep = scene.files.keep
    files = [await keep(made.name, made.type, made.data) for made in ran.made]
    if len(ran.printed) > SHOWN:
        files.append(await keep("output.txt", "text/plain", ran.printed.encode()))
    source = (ran.changed or source).strip("\n") + "\n"
    name = code_name(hashlib.sha256(source.encode(errors="replace")).hexdigest())
    return Run(ran, tuple(files), await keep(name, CODE_TYPE, source.encode(errors="replace")))
