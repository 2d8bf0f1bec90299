"""The form of JSON schema that model servers take, made from pydantic's.

Strict function schemas know a part of JSON schema only: each object closed, each of its
properties required, what is optional a union with null
(https://platform.openai.com/docs/guides/structured-outputs#supported-schemas). References are
written out in place: they may have no neighbours there, and small servers do not follow them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

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


class UnfitSchema(TypeError):
    """The types of a tool cannot be said to a model; raised when the tool is made."""


def closed(schema: Mapping[str, Any], *, strict: bool) -> Schema:
    """`schema` with references written out and objects closed.

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


def _takes_null(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    return (
        not schema
        or kinds == "null"
        or (isinstance(kinds, list) and "null" in kinds)
        or any(_takes_null(each) for each in schema.get("anyOf", ()))
    )


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
