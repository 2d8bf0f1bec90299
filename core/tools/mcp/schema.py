"""Reduces the JSON Schema of an MCP tool to what model servers accept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from core.tools.tool import Schema, UnfitSchema, compact_json, decode_value

MAX_SCHEMA_BYTES = 20_000
"""Bytes of the fitted schema. A model reads it in each round."""
MAX_SCHEMA_DEPTH = 10
_Type = Literal["string", "number", "integer", "boolean", "object", "array", "null"]


class _Keywords(BaseModel, strict=True):
    """The keywords of a tool's JSON Schema that Ponte passes on to models. The others only narrow
    what the server checks itself."""

    type: _Type | Annotated[list[_Type], Field(min_length=1)] = "object"
    description: str = ""
    enum: Annotated[list[Any], Field(min_length=1)] = [None]
    const: Any = None
    minimum: int | float = 0
    maximum: int | float = 0
    exclusiveMinimum: int | float = 0
    exclusiveMaximum: int | float = 0
    minItems: int = 0
    maxItems: int = 0
    required: list[str] = []


def fit_schema(schema: object) -> Schema:
    """Return the schema in the form that model servers accept for a tool that is not strict: with
    references replaced, and only with keywords that they know. Raise UnfitSchema with the reason if
    that is impossible."""
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise UnfitSchema("its inputs are no object")
    fitted = _Fitting(schema).fit(schema, 0)
    fitted.pop("anyOf", None)  # servers refuse it at the top
    properties = fitted.setdefault("properties", {})
    names = [name for name in fitted.get("required", []) if name in properties]
    return {**fitted, "type": "object", "required": names}


def decode_texts(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a value with lists and objects in place of the texts that contain them as JSON, as
    vLLM and some gateways send them, wherever the schema allows no text. It takes 0.3 s at first,
    to import the library."""
    from jsonschema import Draft202012Validator

    decoded = value
    for error in _list_causes(Draft202012Validator(schema).iter_errors(value)):
        if error.validator == "type":
            decoded = decode_value(decoded, error.absolute_path, is_list=False)
    # An inner text shows only after its outer one is decoded.
    return value if decoded == value else decode_texts(decoded, schema)


def _list_causes(errors: Iterable[Any]) -> Iterator[Any]:
    for error in errors:
        yield error
        yield from _list_causes(error.context)  # for `anyOf`, those of each branch


class _Fitting:
    """One run of `fit_schema` over a schema (`root`). References are replaced by copies, so a small
    schema can mean one without end: `_bytes` counts the result while it grows, to stop in time."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root, self._bytes = root, 0

    def fit(self, schema: object, depth: int) -> Schema:
        """A reference is replaced by what it means; `depth` stops one that contains itself. Raise
        UnfitSchema. `_Keywords` are those that all model servers accept."""
        if depth > MAX_SCHEMA_DEPTH:
            raise UnfitSchema("it is nested too deeply, or contains itself")
        # A schema can be True, which allows any value, as {} does.
        if not isinstance(schema, Mapping):
            schema = {}
        if "$ref" in schema:
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            return self.fit({**self._resolve(str(schema["$ref"])), **beside}, depth + 1)
        try:
            given = {key: value for key, value in schema.items() if value is not None}
            fitted = _Keywords.model_validate(given).model_dump(exclude_unset=True)
        except ValidationError:  # model servers refuse each request that contains it
            raise UnfitSchema("it is no valid schema") from None
        # Counted before the parts are fitted, so that it stops while the schema grows.
        properties, items = schema.get("properties"), schema.get("items")
        names = [*properties] if isinstance(properties, Mapping) else []
        self._bytes += len(compact_json([fitted, names]).encode())
        if self._bytes > MAX_SCHEMA_BYTES:
            raise UnfitSchema(f"it has more than {MAX_SCHEMA_BYTES:,} bytes")
        if isinstance(properties, Mapping):
            fitted["properties"] = {name: self.fit(properties[name], depth + 1) for name in names}
        if isinstance(items, Mapping):
            fitted["items"] = self.fit(items, depth + 1)
        elif schema.get("type") == "array":  # servers refuse an array without items
            fitted["items"] = {}
        extra = schema.get("additionalProperties")
        if isinstance(extra, Mapping) and extra:
            fitted["additionalProperties"] = self.fit(extra, depth + 1)
        for key in ("anyOf", "oneOf"):
            # At the top, it is not even read: `fit_schema` drops what a reference brings there.
            # `oneOf` becomes the wider `anyOf`: the MCP server checks the values itself.
            if isinstance(schema.get(key), list) and depth:
                fitted["anyOf"] = [self.fit(branch, depth + 1) for branch in schema[key]]
        # Of two values for one keyword, that of the schema itself stays: the MCP server checks
        # both.
        for part in schema.get("allOf", ()) if isinstance(schema.get("allOf"), list) else ():
            fitted = {**self.fit(part, depth + 1), **fitted}
        return fitted

    def _resolve(self, reference: str) -> Mapping[str, Any]:
        """Return the definition inside the schema that a reference (`#/$defs/Name`) means. Raise
        UnfitSchema for one that leads nowhere, or out of the schema: nothing is fetched."""
        found: Any = self._root
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, Mapping) else None
        if not reference.startswith("#/") or not isinstance(found, Mapping):
            raise UnfitSchema(f"it refers to {reference[:80]}")
        return found
