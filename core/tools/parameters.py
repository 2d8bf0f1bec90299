"""A tool's parameters: from a function's signature to a JSON schema, and back from JSON text."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic_core
from pydantic import TypeAdapter, ValidationError

from core.errors import ToolError
from core.records import Scene
from core.tools.docstring import Docstring
from core.tools.schema import Schema, UnfitSchema, closed, nullable

Function = Callable[..., Awaitable[object]]

_KINDS = {
    dict: "an object", list: "an array", str: "a string", bool: "a boolean",
    int: "a number", float: "a number", type(None): "null",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument. A model may leave an optional one out or give null: then `default` holds."""

    name: str
    adapter: TypeAdapter[Any]
    description: str
    optional: bool
    default: object = None

    def schema(self, *, strict: bool) -> Schema:
        try:
            schema = closed(self.adapter.json_schema(), strict=strict)
        except UnfitSchema as error:
            raise UnfitSchema(f"parameter {self.name!r}: {error}") from None
        if self.description:
            schema["description"] = self.description
        return nullable(schema) if strict and self.optional else schema


@dataclass(frozen=True, slots=True)
class Parameters:
    """`scene` names the parameter that takes the Scene; the model never sees that one."""

    each: tuple[Parameter, ...]
    scene: str = ""

    @classmethod
    def of(cls, function: Function) -> Parameters:
        """Raises TypeError for a parameter without a type, or one that cannot go by name."""
        hints = typing.get_type_hints(function, include_extras=True)
        texts = Docstring.parse(inspect.getdoc(function) or "").arguments
        scene, each = "", []
        for parameter in inspect.signature(function).parameters.values():
            name = parameter.name
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TypeError(f"parameter {name!r} cannot be given by name")
            if name not in hints:
                raise TypeError(f"parameter {name!r} has no type")
            if hints[name] is Scene:
                scene = name
                continue
            optional = parameter.default is not parameter.empty
            default = parameter.default if optional else None
            adapter: TypeAdapter[Any] = TypeAdapter(hints[name])
            each.append(Parameter(name, adapter, texts.pop(name, ""), optional, default))
        if texts:
            raise TypeError(f"the docstring tells of {sorted(texts)}, which are no parameters")
        return cls(tuple(each), scene)

    def schema(self, *, strict: bool) -> Schema:
        """Strict: all are required, optional ones take null. Else optional ones are left out."""
        return {
            "type": "object",
            "properties": {each.name: each.schema(strict=strict) for each in self.each},
            "required": [each.name for each in self.each if strict or not each.optional],
            "additionalProperties": False,
        }

    def read(self, arguments: str) -> dict[str, Any]:
        """Checked values by name. Raises ToolError that names each wrong argument, no value."""
        given = _object(arguments)
        values: dict[str, Any] = {}
        wrong = [
            f"`{name[:64]}`: no such argument" for name in sorted(given.keys() - self._names())
        ]
        for each in self.each:
            if each.optional and given.get(each.name) is None:
                values[each.name] = each.default
            elif each.name not in given:
                wrong.append(f"`{each.name}`: is missing")
            else:
                try:
                    values[each.name] = each.adapter.validate_python(given[each.name])
                except ValidationError as error:
                    wrong.extend(_complaints(each.name, error))
        if wrong:
            raise ToolError(
                "The call has wrong arguments.", code="bad_arguments", hint="; ".join(wrong[:8])
            )
        return values

    def _names(self) -> set[str]:
        return {each.name for each in self.each}


def _object(arguments: str) -> Mapping[str, Any]:
    """The JSON object in `arguments`; some models send nothing where there is nothing to say."""
    try:
        given = pydantic_core.from_json(arguments.strip() or "{}", allow_inf_nan=False)
    except ValueError as error:
        raise ToolError(
            "The call's arguments are not valid JSON.", code="bad_json", hint=str(error)[:200]
        ) from None
    if not isinstance(given, dict):
        raise ToolError(
            "The call's arguments are not a JSON object.",
            code="bad_json",
            hint=f"it is {_KINDS.get(type(given), 'something else')}",
        )
    return given


def _complaints(name: str, error: ValidationError) -> list[str]:
    """One line for each wrong place. pydantic's messages name types and limits, not values."""
    lines = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join([name, *(str(step)[:64] for step in each["loc"])])
        lines.append(f"`{place}`: {each['msg']}")
    return lines
