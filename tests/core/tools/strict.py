"""The documented rules for a strict function, as a checker.

https://platform.openai.com/docs/guides/structured-outputs#supported-schemas and
https://platform.openai.com/docs/guides/function-calling#strict-mode, read in November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.domain.model_rounds import ToolSpec

_KEYWORDS = {
    "string": {"pattern", "format"},
    "number": {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"},
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties"},
}
_KEYWORDS["integer"] = _KEYWORDS["number"]
_ANYWHERE = {"type", "description", "enum", "const", "anyOf"}
_MAX_NESTING = 10


def breaches(spec: ToolSpec) -> list[str]:
    """Every rule that the tool breaks; a server would answer 400 for one."""
    matches = []
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", spec.name):
        matches.append(f"name {spec.name!r}")
    if not spec.description:
        matches.append("no description")
    if spec.parameters.get("type") != "object" or "anyOf" in spec.parameters:
        matches.append("the root is not an object")
    if not spec.strict:
        return matches
    return matches + list(_walk(spec.parameters, "$", 0))


def _walk(schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
    if depth > _MAX_NESTING:
        yield f"{at}: nested deeper than {_MAX_NESTING}"
    kinds = schema.get("type", [])
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if not kinds and not schema.keys() & {"anyOf", "enum", "const"}:
        yield f"{at}: says nothing of the type"
    keywords = _ANYWHERE.union(*(_KEYWORDS.get(kind, set()) for kind in kinds))
    if strange := sorted(schema.keys() - keywords):
        yield f"{at}: {strange}"
    if "object" in kinds:
        yield from _object(schema, at, depth)
    if "array" in kinds and "items" not in schema:
        yield f"{at}: array of what?"
    if "items" in schema:
        yield from _walk(schema["items"], f"{at}[]", depth + 1)
    for number, each in enumerate(schema.get("anyOf", ())):
        yield from _walk(each, f"{at}|{number}", depth)


def _object(schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
    properties = schema.get("properties", {})
    if schema.get("additionalProperties") is not False:
        yield f"{at}: additionalProperties is not false"
    if sorted(schema.get("required", ())) != sorted(properties):
        yield f"{at}: not every property is required"
    for name, each in properties.items():
        yield from _walk(each, f"{at}.{name}", depth + 1)
