"""A tool is a typed async function with a docstring; this makes it one that a model can call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection
from typing import Self

from core.ports import Tool
from core.records import Action, Effect, Outcome, Scene, ToolSpec
from core.tools.docstring import Docstring
from core.tools.outcome import capped, outcome_of
from core.tools.parameters import Function, Parameters

PATIENCE = 300.0
"""Seconds that one call may take, where the tool says nothing else."""

# https://platform.openai.com/docs/api-reference/responses/create: a function's name.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class FunctionTool:
    """A `core.ports.Tool` around an async function.

    Its name is the function's, its description the docstring, its schema the type hints. A
    parameter of type `Scene` is given by us and never shown to the model.
    """

    def __init__(
        self,
        function: Function,
        spec: ToolSpec,
        parameters: Parameters,
        effect: Effect,
        doing: str,
        patience: float = PATIENCE,
    ) -> None:
        self.spec = spec
        self.effect = effect
        self.doing = doing
        self.patience = patience
        self._function = function
        self._parameters = parameters

    @classmethod
    def of(
        cls,
        function: Function,
        *,
        effect: Effect,
        doing: str,
        strict: bool = True,
        name: str = "",
        description: str = "",
        patience: float = PATIENCE,
    ) -> Self:
        """`name` and `description` replace what the function says of itself.

        Raises TypeError where the function cannot be a tool: not async, untyped, undescribed, or
        with types that a strict schema cannot say (`strict=False` allows open maps).
        """
        name = name or getattr(function, "__name__", "")
        description = description or Docstring.parse(inspect.getdoc(function) or "").description
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{name!r} is not an async function")
        if not _NAME.fullmatch(name):
            raise TypeError(f"{name!r} cannot be a tool's name")
        if not description:
            raise TypeError(f"{name!r} has no docstring")
        try:
            parameters = Parameters.of(function)
            schema = parameters.schema(strict=strict)
        except TypeError as error:
            raise TypeError(f"{name!r}: {error}") from error
        spec = ToolSpec(name, description, schema, strict)
        return cls(function, spec, parameters, effect, doing, patience)

    def effect_of(self, arguments: str) -> Effect:
        return self.effect

    def only_proposes(self, arguments: str) -> bool:
        return self.effect_of(arguments) == "write"

    def within(self, allowed: Collection[Action]) -> Tool | None:
        return self if self.effect in allowed else None

    async def run(self, scene: Scene, arguments: str) -> Outcome:
        """Check the arguments, call the function, cap what it gives. Raises ToolError."""
        values = self._parameters.read(arguments)
        if self._parameters.scene:
            values[self._parameters.scene] = scene
        return capped(outcome_of(await self._function(**values)))


def tool(*, effect: Effect, doing: str, strict: bool = True) -> Callable[[Function], FunctionTool]:
    """Make a tool of the function below. `doing` is what a person sees while it runs."""

    def made(function: Function) -> FunctionTool:
        return FunctionTool.of(function, effect=effect, doing=doing, strict=strict)

    return made
