"""The tool `run_python`, offered where the backend holds."""

from __future__ import annotations

from collections.abc import Sequence

from core import text
from core.ports import Tool
from core.records import Health, Outcome, Scene
from core.tools.code.port import CodeBackend
from core.tools.code.report import for_model, notices
from core.tools.code.runner import Runner
from core.tools.tool import FunctionTool

NAME = "run_python"
DOING = "is running Python…"


class CodeSource:
    """A ToolSource. `description` replaces what the backend says of the tool, where it is set."""

    name = "code"

    def __init__(self, backend: CodeBackend, description: str = "") -> None:
        self.runner = Runner(backend)
        self.backend = backend
        self._tool = FunctionTool.of(
            self._run,
            name=NAME,
            effect="code",
            doing=DOING,
            description=description or backend.description,
        )

    async def tools(self) -> Sequence[Tool]:
        return (self._tool,) if await self.backend.offered() else ()

    async def health(self) -> Health:
        return await self.backend.health()

    async def close(self) -> None:
        await self.backend.close()

    async def _run(self, scene: Scene, code: str = "") -> Outcome:
        """Run Python.

        Args:
            code: the Python code; null runs the code block in the person's own message
        """
        run = await self.runner.run(scene, code, scene.said)
        ran = run.ran
        failed = bool(ran.error or ran.fault)
        files = run.files if run.code is None or failed else (*run.files, run.code)
        told = await text.aside(lambda printed: for_model(ran, run.files), ran.printed)
        return Outcome(
            "error" if failed else "ok",
            told,
            files=files,
            sources=notices(ran, scene.locale),
            usage=ran.usage,
        )
