"""Reads what a program asks of an answer: `tools`, `tool_choice`, `stop` and the answer's format.

Both of OpenAI's APIs are read into `ClientOptions`. Source: developers.openai.com/api/reference
(Chat Completions: "Create chat completion"; Responses: "Create a model response").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.web.errors import BadRequest, UnsupportedParameter
from core.domain.messages import ClientOptions, ClientTool
from core.text.text import clean_text, is_deeper

MAX_TOOLS = 64
"""Tools in one request. OpenAI accepts 128, but Ponte's own tools come with them."""
MAX_TOOL_NAME_CHARACTERS = 56
"""OpenAI's limit is 64. Ponte puts a prefix before the names that the model sees."""
MAX_DESCRIPTION_BYTES, MAX_SCHEMA_BYTES, MAX_TOOLS_BYTES = 4_096, 16_384, 131_072
"""Bytes of one description, of one schema as JSON, and of all tools of a request."""
MAX_SCHEMA_DEPTH = 12
"""Levels of nesting in a schema. OpenAI accepts 10 levels of objects in a strict schema."""
MAX_STOPS, MAX_STOP_CHARACTERS = 4, 256
"""Stop sequences in one request (OpenAI's limit), and characters of one."""
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_TOOL_NAME_CHARACTERS}}}")
_FORMAT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Json = Mapping[str, Any]


def read_options(body: Mapping[str, Any], format_param: str) -> ClientOptions | None:
    """Return the options in the extra fields of a request; None if it has none of them.

    `format_param` is `response_format` or `text`. Raise UnsupportedParameter, BadRequest.
    """
    tools = _read_tools(body.get("tools"))
    choice = _read_choice(body.get("tool_choice"), tools)
    parallel = body.get("parallel_tool_calls")
    if not (parallel is None or isinstance(parallel, bool)):
        raise _wrong("parallel_tool_calls", "it is not true or false")
    options = ClientOptions(
        () if choice == "none" else tools, "" if choice in ("none", "auto") else choice,
        parallel is not False, _read_stop(body.get("stop")),
        _read_format(body.get(format_param), format_param),
    )  # fmt: skip
    return None if options == ClientOptions() else options


def cut_at_stop(text: str, stops: Sequence[str]) -> str:
    """Return the text up to the first stop sequence in it."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(found)] if found else text


def without_begun_stop(text: str, stops: Sequence[str]) -> str:
    """Return the text that can be shown while it grows: without an end that may become a stop
    sequence."""
    cut = cut_at_stop(text, stops)
    longest = max((len(stop) for stop in stops), default=1) - 1
    for size in range(min(longest, len(cut)), 0, -1):
        if any(stop.startswith(cut[-size:]) for stop in stops):
            return cut[:-size]
    return cut


def _read_tools(given: object) -> tuple[ClientTool, ...]:
    if not given:
        return ()
    if not isinstance(given, list):
        raise _wrong("tools", "it is not a list")
    if len(given) > MAX_TOOLS:
        raise _wrong("tools", f"a request can have at most {MAX_TOOLS}")
    tools = tuple(_read_tool(tool, f"tools[{n}]") for n, tool in enumerate(given))
    if len({tool.name for tool in tools}) < len(tools):
        raise _wrong("tools", "two have one name")
    size = sum(len(f"{t.name}{t.description}{t.parameters}".encode()) for t in tools)
    if size > MAX_TOOLS_BYTES:
        raise _wrong("tools", f"together they have more than {MAX_TOOLS_BYTES} bytes")
    return tools


def _read_tool(tool: object, where: str) -> ClientTool:
    if not isinstance(tool, Mapping):
        raise _wrong(where, "it is not an object")
    if tool.get("type") != "function":
        raise UnsupportedParameter(param=f"{where}.type: {clean_text(str(tool.get('type')))[:40]}")
    # Chat Completions has the function in an object of its own, Responses has it in the tool.
    function = tool.get("function", tool)
    if not isinstance(function, Mapping):
        raise _wrong(where, "its function is not an object")
    name, about = function.get("name"), function.get("description")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(f"{where}.name", f"use 1 to {MAX_TOOL_NAME_CHARACTERS} of A-Z a-z 0-9 _ -")
    if not (about is None or isinstance(about, str)):
        raise _wrong(f"{where}.description", "it is not a text")
    about = clean_text(about or "")
    if len(about.encode()) > MAX_DESCRIPTION_BYTES:
        raise _wrong(f"{where}.description", f"it has more than {MAX_DESCRIPTION_BYTES} bytes")
    strict = function.get("strict")
    if not (strict is None or isinstance(strict, bool)):
        raise _wrong(f"{where}.strict", "it is not true or false")
    schema = function.get("parameters")
    schema = schema or {"type": "object", "properties": {}}
    text = _encode_schema(schema, f"{where}.parameters")
    if schema.get("type", "object") != "object":
        raise _wrong(f"{where}.parameters", 'its type is not "object"')
    if not isinstance(schema.get("properties", {}), Mapping):
        raise _wrong(f"{where}.parameters", "its properties are not an object")
    return ClientTool(name, about, text, bool(strict))


def _encode_schema(schema: object, where: str) -> str:
    """Return the JSON text of a schema of limited size and depth."""
    if not isinstance(schema, Mapping):
        raise _wrong(where, "it is not a JSON schema")
    text = json.dumps(schema)
    if len(text) > MAX_SCHEMA_BYTES:
        raise _wrong(where, f"it has more than {MAX_SCHEMA_BYTES} bytes")
    if is_deeper(text.encode(), MAX_SCHEMA_DEPTH):
        raise _wrong(where, f"it is nested more than {MAX_SCHEMA_DEPTH} levels")
    return text


def _read_choice(choice: object, tools: Sequence[ClientTool]) -> str:
    """Return "auto", "none", "required" or the name of a tool."""
    if choice is None:
        return "auto"
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        function = choice.get("function", choice)
        choice = function.get("name") if isinstance(function, Mapping) else None
        if choice not in [tool.name for tool in tools]:
            raise _wrong("tool_choice", "it names no tool of the request")
        return str(choice)
    if choice not in ("auto", "none", "required"):
        raise UnsupportedParameter(param="tool_choice")
    if choice == "required" and not tools:
        raise _wrong("tool_choice", "the request has no tools")
    return str(choice)


def _read_stop(stop: object) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise _wrong("stop", f"give a text or a list of at most {MAX_STOPS}")
    for each in stops:
        if not isinstance(each, str) or not 0 < len(each) <= MAX_STOP_CHARACTERS:
            raise _wrong("stop", f"each has 1 to {MAX_STOP_CHARACTERS} characters")
    return tuple(stops)


def _read_format(given: object, param: str) -> str:
    """Return the format as `ClientOptions` stores it; "" for text."""
    if param == "text" and isinstance(given, Mapping):
        given = given.get("format")
    if given is None:
        return ""
    kind = given.get("type") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or kind not in ("text", "json_object", "json_schema"):
        raise UnsupportedParameter(param=param)
    if kind == "text":
        return ""
    if kind == "json_object":
        return json.dumps({"type": kind})
    # Chat Completions has the schema in an object of its own.
    about = given.get("json_schema", given) if param == "response_format" else given
    name = about.get("name") if isinstance(about, Mapping) else None
    is_named = isinstance(name, str) and _FORMAT_NAME.fullmatch(name)
    if not isinstance(about, Mapping) or not is_named:
        raise _wrong(param, "its name must have 1 to 64 of A-Z a-z 0-9 _ -")
    read = {"type": kind, "name": name}
    _encode_schema(about.get("schema", {}), param)
    strict, words = about.get("strict"), about.get("description")
    if not (strict is None or isinstance(strict, bool)) or not isinstance(words, str | None):
        raise _wrong(param, "its strict is not true or false, or its description is not a text")
    read |= {"schema": about.get("schema", {})}
    read |= {} if strict is None else {"strict": strict}
    return json.dumps(read | ({"description": words[:1000]} if words else {}))


def _wrong(param: str, why: str) -> BadRequest:
    return BadRequest(why=f"`{param}`: {why}", param=param)
