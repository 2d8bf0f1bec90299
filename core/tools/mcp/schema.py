"""Reduces the JSON Schema of an MCP tool to what model servers accept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.tools.tool import Schema, UnfitSchema

MAX_SCHEMA_BYTES = 20_000
"""Bytes of the fitted schema. A model reads it in each round."""
MAX_SCHEMA_DEPTH = 10
_PLAIN = {
    *("type", "description", "enum", "const", "minimum", "maximum", "required"),
    *("exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"),
}
"""Keywords that stay as they are. The others only narrow what the server checks itself."""


def fit_schema(schema: object) -> Schema:
    """Return the schema of a tool's arguments with references replaced, for a tool that is not
    strict. Raise UnfitSchema with the reason."""
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise UnfitSchema("its inputs are no object")
    fitted = _fit(schema, schema, 0)
    properties = fitted.setdefault("properties", {})
    required = fitted.get("required", [])
    names = [each for each in required if each in properties] if isinstance(required, list) else []
    fitted = {**fitted, "type": "object", "required": names}
    if len(json.dumps(fitted).encode()) > MAX_SCHEMA_BYTES:
        raise UnfitSchema(f"it has more than {MAX_SCHEMA_BYTES:,} bytes")
    return fitted


def _fit(schema: object, root: Mapping[str, Any], depth: int) -> Schema:
    """Return one part of the schema `root` with the keywords that all model servers accept. A
    reference is replaced by what it means; `depth` stops one that contains itself."""
    if depth > MAX_SCHEMA_DEPTH:
        raise UnfitSchema("it is nested too deeply, or contains itself")
    if not isinstance(schema, Mapping):  # True: any value
        return {}
    if "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _fit({**_resolve(str(schema["$ref"]), root), **beside}, root, depth + 1)
    fitted = {key: value for key, value in schema.items() if key in _PLAIN}
    properties, items = schema.get("properties"), schema.get("items")
    if isinstance(properties, Mapping):
        fitted["properties"] = {
            str(name): _fit(each, root, depth + 1) for name, each in properties.items()
        }
    if isinstance(items, Mapping):
        fitted["items"] = _fit(items, root, depth + 1)
    elif schema.get("type") == "array":  # servers refuse an array without items
        fitted["items"] = {}
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping) and extra:
        fitted["additionalProperties"] = _fit(extra, root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list) and depth:  # servers refuse it at the top
            fitted["anyOf"] = [_fit(each, root, depth + 1) for each in schema[key]]
    # Of two values for one keyword, that of the schema itself stays: the server checks both.
    for part in schema.get("allOf", ()) if isinstance(schema.get("allOf"), list) else ():
        fitted = {**_fit(part, root, depth + 1), **fitted}
    return fitted


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the definition inside the schema that a reference means."""
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    if not reference.startswith("#/") or not isinstance(found, Mapping):
        raise UnfitSchema(f"it refers to {reference[:80]}")
    return found
