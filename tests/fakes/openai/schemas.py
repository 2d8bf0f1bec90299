"""Which tools the API takes: functions' names, the rules of strict schemas, a code container."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.fakes.openai.errors import OpenAIErrorResponse, bad_schema

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_tools(tools: Sequence[Mapping[str, Any]]) -> None:
    """Raises OpenAIErrorResponse for the first tool that the API would refuse."""
    for index, tool in enumerate(tools):
        if tool.get("type") == "code_interpreter":
            _code_interpreter(tool, index)
            continue
        function = tool.get("function", tool)
        name = str(function.get("name", ""))
        if tool.get("type") != "function":
            raise OpenAIErrorResponse(
                400, f"Unknown tool type {tool.get('type')!r}.", param=f"tools[{index}]"
            )
        if not NAME.fullmatch(name):
            raise OpenAIErrorResponse(400, f"Invalid name {name!r}.", param=f"tools[{index}].name")
        schema = function.get("parameters")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise bad_schema(name, "schema must be a JSON Schema of 'type: \"object\"'.", index)
        if function.get("strict"):
            _strict(name, schema, index)


def check_choice(choice: object, tools: Sequence[Mapping[str, Any]]) -> None:
    """A forced tool must be among the tools. Raises OpenAIErrorResponse."""
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        names = [t.get("function", t).get("name") for t in tools]
        if choice.get("function", choice).get("name") not in names:
            raise OpenAIErrorResponse(
                400, "Tool choice 'function' not found in 'tools' parameter.", param="tool_choice"
            )
    if isinstance(choice, Mapping) and choice.get("type") not in {t.get("type") for t in tools}:
        raise OpenAIErrorResponse(
            400,
            f"Tool choice {choice.get('type')!r} not found in 'tools' parameter.",
            param="tool_choice",
        )


def _code_interpreter(tool: Mapping[str, Any], index: int) -> None:
    container = tool.get("container")
    if isinstance(container, Mapping) and container.get("type") == "auto":
        return
    if not isinstance(container, str) or not container:
        raise OpenAIErrorResponse(
            400,
            f"Missing required parameter: 'tools[{index}].container'.",
            code="missing_required_parameter",
            param=f"tools[{index}].container",
        )


def _strict(name: str, schema: Mapping[str, Any], index: int) -> None:
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False:
            raise bad_schema(name, "'additionalProperties' is required to be false.", index)
        if set(schema.get("required", ())) != set(properties):
            raise bad_schema(name, "'required' is required to include every key.", index)
    for part in _parts(schema):
        _strict(name, part, index)


def _parts(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parts = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [schema["items"]] if isinstance(schema.get("items"), dict) else []
    parts += schema.get("anyOf", [])
    return [part for part in parts if isinstance(part, dict)]
