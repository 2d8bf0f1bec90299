"""A typed async function with a docstring becomes a tool that a model can call; the tools of all
sources, as one turn may use them, and what a model reads of their outcomes.

A function's signature becomes a JSON schema, and the JSON text of a call checked arguments.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import functools
import inspect
import itertools
import re
import typing
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pydantic_core
from pydantic import TypeAdapter, ValidationError

from core.domain.errors import SettingsError, ToolError
from core.domain.messages import Usage
from core.domain.records import (
    RIGHT_OF_EFFECT,
    Action,
    Effect,
    Health,
    Outcome,
    ToolContext,
    ToolSpec,
)
from core.ports.tools import Tool, ToolSource
from core.rights.policy import PlaceRights
from core.rights.usage import PaidRun
from core.text.i18n import say
from core.text.text import in_whole_characters, make_storable

_ENTRY = re.compile(r"(?P<name>\w+)\s*(?:\([^)]*\))?:\s+(?P<text>\S.*)")
_HEADING = re.compile(r"(?:Args|Arguments|Returns|Raises|Yields|Note|Example|Examples):\s*$")

_KEPT = {
    *("type", "description", "enum", "const", "pattern", "multipleOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"),
}
_DROPPED = {
    *("title", "default", "examples", "deprecated", "discriminator", "$defs"),
    *("minLength", "maxLength", "uniqueItems"),  # our own validation holds them
}
_NESTED = {"properties", "required", "additionalProperties", "items", "anyOf", "oneOf", "format"}
_FORMATS = {
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
}

_KINDS = {
    dict: "an object", list: "an array", str: "a string", bool: "a boolean",
    int: "a number", float: "a number", type(None): "null",
}  # fmt: skip

TOOL_TIMEOUT_SECONDS = 300.0
"""Seconds that one call may take, where the tool says nothing else."""

# https://platform.openai.com/docs/api-reference/responses/create: a function's name.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

Schema = dict[str, Any]

Function = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Docstring:
    """`description` is all that stands before the first section; `arguments` by name.

    Sections are those of the Google style; all but the arguments are for programmers only.
    """

    description: str
    arguments: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Docstring:
        lines = inspect.cleandoc(text).splitlines()
        headings = [number for number, line in enumerate(lines) if _HEADING.match(line)]
        edges = [*headings, len(lines)]
        arguments: dict[str, str] = {}
        for start, end in itertools.pairwise(edges):
            if lines[start].startswith("Arg"):
                arguments = _entries(lines[start + 1 : end])
        return cls("\n".join(lines[: edges[0]]).strip(), arguments)


class UnfitSchema(TypeError):
    """The types of a tool cannot be said to a model; raised when the tool is made."""


def close_schema(schema: Mapping[str, Any], *, strict: bool) -> Schema:
    """`schema` of pydantic's in the form that model servers take.

    Each object is closed and requires each of its properties
    (https://platform.openai.com/docs/guides/structured-outputs#supported-schemas). References are
    written out in place: they may have no neighbours there, and small servers do not follow them.
    With `strict`, raises UnfitSchema for what the strict form cannot say: open maps, `Any`,
    defaults other than None inside nested objects, types that contain themselves.
    """
    return _Closing(dict(schema.get("$defs", {})), strict).node(schema, ())


def nullable(schema: Schema) -> Schema:
    """`schema` or null; its description stays outside."""
    if _takes_null(schema):
        return schema
    inner = {key: value for key, value in schema.items() if key != "description"}
    outer = {key: value for key, value in schema.items() if key == "description"}
    if isinstance(inner.get("type"), str) and not {"enum", "const"} & inner.keys():
        return {**inner, "type": [inner["type"], "null"], **outer}
    return {"anyOf": [*inner.pop("anyOf", [inner]), {"type": "null"}], **outer}


class _Closing:
    def __init__(self, definitions: Mapping[str, Any], strict: bool) -> None:
        self._definitions = definitions
        self._strict = strict

    def node(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> Schema:
        if "$ref" in schema:
            return self._reference(schema, inside)
        unknown = schema.keys() - _KEPT - _DROPPED - _NESTED
        if unknown or (self._strict and not schema.keys() & {"type", "anyOf", "oneOf", "enum"}):
            raise UnfitSchema(f"not a strict schema: {sorted(unknown) or 'any value'}")
        result = {key: value for key, value in schema.items() if key in _KEPT}
        if schema.get("format") in _FORMATS:
            result["format"] = schema["format"]
        if "items" in schema:
            result["items"] = self.node(schema["items"], inside)
        # A union whose members are told apart by a field is `oneOf` in pydantic; the strict form
        # has `anyOf` alone.
        if union := schema.get("anyOf") or schema.get("oneOf"):
            result["anyOf"] = [self.node(each, inside) for each in union]
        if schema.get("type") == "object":
            result.update(self._object(schema, inside))
        return result

    def _reference(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> Schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        if name in inside:
            raise UnfitSchema(f"{name} contains itself")
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return self.node({**self._definitions[name], **beside}, (*inside, name))

    def _object(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> Schema:
        if "properties" not in schema and schema.get("additionalProperties", False) is not False:
            return self._open(schema["additionalProperties"], inside)
        properties: Schema = {}
        for name, each in schema.get("properties", {}).items():
            properties[name] = self.node(each, inside)
            if name not in schema.get("required", ()) and not _takes_null(properties[name]):
                raise UnfitSchema(f"{name!r} has a default, so its type must admit None")
        return {
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def _open(self, values: Any, inside: tuple[str, ...]) -> Schema:
        if self._strict:
            raise UnfitSchema("an open map needs strict=False")
        if isinstance(values, Mapping) and values:
            return {"additionalProperties": self.node(values, inside)}
        return {"additionalProperties": True}


def _find_adapter(hint: Any) -> TypeAdapter[Any]:
    """Return the adapter of a type hint. Most hints occur often, and each takes a millisecond."""
    try:
        # `Literal["a", "b"]` equals `Literal["b", "a"]`, but a model reads the values in order.
        return _make_adapter(hint, repr(hint))
    except TypeError:  # the hint cannot be hashed, or is none
        return TypeAdapter(hint)


@functools.lru_cache(maxsize=512)
def _make_adapter(hint: Any, words: str) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


@functools.lru_cache(maxsize=512)
def _json_schema(adapter: TypeAdapter[Any]) -> Schema:
    """Return pydantic's schema, which nobody changes."""
    return adapter.json_schema()


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
            schema = close_schema(_json_schema(self.adapter), strict=strict)
        except UnfitSchema as error:
            raise UnfitSchema(f"parameter {self.name!r}: {error}") from None
        if self.description:
            schema["description"] = self.description
        return nullable(schema) if strict and self.optional else schema


@dataclass(frozen=True, slots=True)
class Parameters:
    """`ctx` names the parameter that takes the ToolContext; the model never sees that one."""

    each: tuple[Parameter, ...]
    ctx: str = ""

    @classmethod
    def of(cls, function: Function) -> Parameters:
        """Raises TypeError for a parameter without a type, or one that cannot go by name."""
        hints = typing.get_type_hints(function, include_extras=True)
        texts = Docstring.parse(inspect.getdoc(function) or "").arguments
        ctx, each = "", []
        for parameter in inspect.signature(function).parameters.values():
            name = parameter.name
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TypeError(f"parameter {name!r} cannot be given by name")
            if name not in hints:
                raise TypeError(f"parameter {name!r} has no type")
            if hints[name] is ToolContext:
                ctx = name
                continue
            optional = parameter.default is not parameter.empty
            default = parameter.default if optional else None
            adapter = _find_adapter(hints[name])
            each.append(Parameter(name, adapter, texts.pop(name, ""), optional, default))
        if texts:
            raise TypeError(f"the docstring tells of {sorted(texts)}, which are no parameters")
        return cls(tuple(each), ctx)

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


class FunctionTool:
    """A `core.ports.Tool` around an async function.

    Its name is the function's, its description the docstring, its schema the type hints. A
    parameter of type `ToolContext` is given by us and never shown to the model.
    """

    def __init__(
        self,
        function: Function,
        spec: ToolSpec,
        parameters: Parameters,
        effect: Effect,
        doing: str,
        patience: float = TOOL_TIMEOUT_SECONDS,
    ) -> None:
        self.spec = spec
        self.effect = effect
        self.progress_text = doing
        self.timeout_seconds = patience
        self.costs: Callable[[str], PaidRun | None] | None = None
        """What a call with these arguments pays for by the run; None: nothing ever."""
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
        patience: float = TOOL_TIMEOUT_SECONDS,
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

    def restrict_to(self, allowed: Collection[Action]) -> Tool | None:
        return self if RIGHT_OF_EFFECT[self.effect] in allowed else None

    async def run(self, ctx: ToolContext, arguments: str) -> Outcome:
        """Check the arguments, call the function, cap what it gives. Raises ToolError."""
        values = self._parameters.read(arguments)
        if self._parameters.ctx:
            values[self._parameters.ctx] = ctx
        return cap_text(outcome_of(await self._function(**values)))


def price_of_call(tool: Tool | None, arguments: str) -> PaidRun | None:
    """What this call pays for by the run, None where nothing."""
    costs: Callable[[str], PaidRun | None] | None = getattr(tool, "costs", None)
    return costs(arguments) if costs else None


def tool(*, effect: Effect, doing: str, strict: bool = True) -> Callable[[Function], FunctionTool]:
    """Make a tool of the function below. `doing` is what a person sees while it runs."""

    def make_tool(function: Function) -> FunctionTool:
        return FunctionTool.of(function, effect=effect, doing=doing, strict=strict)

    return make_tool


def _entries(lines: list[str]) -> dict[str, str]:
    """`name: text` at the section's indent; what is indented further goes on with it."""
    filled = [line for line in lines if line.strip()]
    indent = min((_indent(line) for line in filled), default=0)
    found: dict[str, list[str]] = {}
    name = ""
    for line in filled:
        entry = _ENTRY.match(line.strip())
        if entry and _indent(line) == indent:
            name = entry["name"]
            found[name] = [entry["text"]]
        elif name:
            found[name].append(line.strip())
    return {name: " ".join(texts) for name, texts in found.items()}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _takes_null(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    return (
        not schema
        or kinds == "null"
        or (isinstance(kinds, list) and "null" in kinds)
        or any(_takes_null(each) for each in schema.get("anyOf", ()))
    )


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


MAX_OUTCOME_CHARACTERS = 16_000
"""Characters of one outcome, some 4,000 tokens of English."""

SOURCE_HEALTH_TIMEOUT_SECONDS = 10.0
"""Seconds that a source's health check may take."""


def outcome_of(value: object) -> Outcome:
    """An Outcome as it is, text as text, all else as compact JSON."""
    if isinstance(value, Outcome):
        return value
    if value is None:
        return Outcome("ok", "Done.")
    return Outcome("ok", value if isinstance(value, str) else compact_json(value))


def outcome_of_error(error: ToolError) -> Outcome:
    """The one line that the model is told when a tool could not do it."""
    told = {"code": error.code, "message": str(error), "hint": error.hint}
    words = compact_json({"error": {key: text for key, text in told.items() if text}})
    return Outcome("error", words, usage=error.usage or Usage())


def cap_text(outcome: Outcome, cap: int = MAX_OUTCOME_CHARACTERS) -> Outcome:
    """`outcome` with at most `cap` characters of text, all of which can be stored."""
    outcome = dataclasses.replace(outcome, text=in_whole_characters(outcome.text))
    if len(outcome.text) <= cap:
        return outcome
    cut = (
        f"\n[Cut: this is the beginning, {cap:,} of {len(outcome.text):,} characters. "
        "Ask for less at a time.]"
    )
    return dataclasses.replace(outcome, text=outcome.text[: max(0, cap - len(cut))] + cut)


def rows_that_fit(rows: list[Any], cap: int) -> list[Any]:
    """As many of the first rows as fit whole into `cap` characters of JSON."""
    room = cap - len("[]")
    for number, row in enumerate(rows):
        room -= len(compact_json(row)) + len(",")
        if room < 0:
            return rows[:number]
    return rows


def compact_json(value: object) -> str:
    """JSON without blanks; takes whatever pydantic knows (dates, dataclasses, models)."""
    try:
        return pydantic_core.to_json(value, inf_nan_mode="null").decode()
    except pydantic_core.PydanticSerializationError:  # half of a surrogate pair
        return pydantic_core.to_json(make_storable(value), inf_nan_mode="null").decode()


class Toolbox:
    """Sources may change what they offer, so tools are gathered anew for each turn."""

    def __init__(self, sources: Sequence[ToolSource] = ()) -> None:
        self._sources = tuple(sources)

    async def tools(self, rights: PlaceRights) -> Sequence[Tool]:
        """Those that may be used with these rights, as they then are, ordered by source.

        Raises SettingsError where two sources bring one name.
        """
        every = await self._all()
        allowed = {action for action in RIGHT_OF_EFFECT.values() if rights.may(action).allowed}
        named = (tool for name, tool in every.items() if rights.may("tool", name).allowed)
        offered = (tool.restrict_to(allowed) for tool in named)
        return [tool for tool in offered if tool is not None]

    async def find(self, name: str) -> Tool:
        """The tool of that name, whoever may use it. Raises ToolError with the nearest name."""
        tools = await self._all()
        if name in tools:
            return tools[name]
        near = difflib.get_close_matches(name, tools, 1)
        raise ToolError(
            "There is no tool of that name.",
            code="unknown_tool",
            hint=f"did you mean `{near[0]}`?" if near else "",
        )

    async def health(self) -> Sequence[Health]:
        """One for each source; one that breaks or hangs is failing, the others still tell."""
        return await asyncio.gather(*(_health(source) for source in self._sources))

    async def close(self) -> None:
        await asyncio.gather(*(source.close() for source in self._sources))

    async def _all(self) -> dict[str, Tool]:
        found: dict[str, Tool] = {}
        for offered in await asyncio.gather(*(source.tools() for source in self._sources)):
            for tool in offered:
                if found.setdefault(tool.spec.name, tool) is not tool:
                    raise SettingsError("Two tools have the name {name!r}.", name=tool.spec.name)
        return found


async def _health(source: ToolSource) -> Health:
    try:
        async with asyncio.timeout(SOURCE_HEALTH_TIMEOUT_SECONDS):
            return await source.health()
    except TimeoutError:
        words = say("no answer within {age} s", age=round(SOURCE_HEALTH_TIMEOUT_SECONDS))
        return Health(source.name, "failing", words)
    except Exception as error:
        # Its text may hold an address or a key, so only its kind is told.
        return Health(source.name, "failing", type(error).__name__)
