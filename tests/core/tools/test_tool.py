"""A typed function with a docstring becomes a tool that a strict server takes."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from core.base.errors import ToolError
from core.domain.records import Outcome, ToolContext
from core.tools.tool import MAX_OUTCOME_CHARACTERS, FunctionTool, outcome_of_error, tool
from tests.core.tools.scene import Seen, ctx
from tests.core.tools.strict import breaches


@dataclass
class Sort:
    field: str
    direction: Literal["asc", "desc"]


@dataclass
class Filter:
    field: str
    value: str | int | None = None


@tool(effect="read", doing="is looking…")
async def query(
    ctx: ToolContext,
    table: str,
    filters: list[Filter],
    match: Literal["all", "any"] = "all",
    sort: Sort | None = None,
    limit: Annotated[int, Field(ge=1, le=50)] = 25,
    fields: list[str] | None = None,
) -> dict[str, Any]:
    """Read rows of a table.

    Rows come in pages.

    Args:
        table: title or id of the table,
            as the list of tables tells it
        limit: rows in a page

    Raises:
        ToolError: never shown to a model
    """
    await ctx.turn.show_progress(f"is reading {table}…")
    return {"table": table, "limit": limit, "match": match, "filters": filters, "fields": fields}


def test_the_model_reads_name_description_and_arguments() -> None:
    properties = query.spec.parameters["properties"]
    assert query.spec.name == "query"
    assert query.spec.description == "Read rows of a table.\n\nRows come in pages."
    assert list(properties) == ["table", "filters", "match", "sort", "limit", "fields"]
    words = "title or id of the table, as the list of tables tells it"
    assert properties["table"] == {"type": "string", "description": words}
    limit = {"type": ["integer", "null"], "description": "rows in a page"}
    assert properties["limit"] == {**limit, "minimum": 1, "maximum": 50}
    texts = {"enum": ["all", "any"], "type": "string"}
    assert properties["match"] == {"anyOf": [texts, {"type": "null"}]}
    assert breaches(query.spec) == [], "the strict rules"
    assert json.loads(json.dumps(query.spec.parameters)) == query.spec.parameters


def test_the_checker_itself_sees_breaches() -> None:
    async def loose(rows: dict[str, int], limit: int = 3) -> None:
        """Open."""

    function_tool = FunctionTool(loose, effect="write", doing="…", strict=False)
    assert breaches(function_tool.spec) == []
    assert function_tool.spec.parameters["properties"]["limit"] == {"type": "integer"}
    function_tool.spec = dataclasses.replace(function_tool.spec, strict=True)
    assert breaches(function_tool.spec) == [
        "$: not every property is required",
        "$.rows: additionalProperties is not false",
    ]


@pytest.mark.parametrize(
    ("filters", "fields"),
    [
        ('"[{\\"field\\": \\"Name\\", \\"value\\": \\"[a]\\"}]"', '"[\\"Name\\"]"'),
        ('["{\\"field\\": \\"Name\\", \\"value\\": \\"[a]\\"}"]', '["Name"]'),
        ('[{"field":"Name","value":"[a]"}]', '["Name"]'),
    ],
)
async def test_json_in_a_text_is_read_as_what_it_stands_for(filters: str, fields: str) -> None:
    """Also inside lists. A text that is one stays as it is."""
    outcome = await query.run(
        ctx(), f'{{"table":"[1]","filters":{filters},"limit":"3","fields":{fields}}}'
    )
    data = json.loads(outcome.text)
    assert (data["table"], data["limit"], data["fields"]) == ("[1]", 3, ["Name"])
    assert data["filters"] == [{"field": "Name", "value": "[a]"}]


FILTER = {"field": "Name", "value": "a\nb"}


@pytest.mark.parametrize(
    "filters",
    [
        json.dumps([FILTER]),
        json.dumps(json.dumps([FILTER])),
        json.dumps([FILTER]).replace("\\n", "\n"),
        "\ufeff" + json.dumps([FILTER]),
        FILTER,
        json.dumps(FILTER),
        [json.dumps(FILTER)],
    ],
)
async def test_a_list_is_read_in_other_forms(filters: object) -> None:
    arguments = {"table": "a", "filters": filters, "match": "null", "limit": "", "fields": "None"}
    outcome = await query.run(ctx(Seen()), json.dumps(arguments))
    defaults = {"limit": 25, "match": "all", "fields": None}
    assert json.loads(outcome.text) == {"table": "a", "filters": [FILTER], **defaults}


async def test_an_error_says_what_to_send() -> None:
    for filters in (3, "Name"):
        with pytest.raises(ToolError) as error:
            await query.run(ctx(Seen()), json.dumps({"table": "a", "filters": filters}))
        assert error.value.hint == "`filters`: Send an array"


async def test_arguments_come_typed_and_nulls_mean_the_default() -> None:
    observer = Seen()
    outcome = await query.run(
        ctx(observer),
        '{"table":"Customers","filters":[{"field":"Name","value":null}],'
        '"match":null,"sort":null,"limit":null,"fields":["Name"]}',
    )
    assert outcome == Outcome(
        "ok",
        '{"table":"Customers","limit":25,"match":"all",'
        '"filters":[{"field":"Name","value":null}],"fields":["Name"]}',
    )
    assert observer.texts == ["is reading Customers…"]


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        ("{", "bad_json", "EOF"),
        ("[1]", "bad_json", "it is an array"),
        ('{"table":NaN}', "bad_json", "expected"),
        ('{"table":"T","filters":[{"field":"a","value":1e999}]}', "bad_json", "range"),
        ('{"table":"T","filters":[],"scene":1}', "bad_arguments", "`scene`: no such argument"),
        ('{"filters":[]}', "bad_arguments", "`table`: is missing"),
        ('{"table":"T","filters":[{"field":7}]}', "bad_arguments", "`filters.0.field`: "),
        ('{"table":"T","filters":[],"limit":99}', "bad_arguments", "`limit`: Input should be less"),
        ('{"table":"T","filters":[],"match":"hunter2"}', "bad_arguments", "`match`: "),
        ('{"table":"T","filters":"a"}', "bad_arguments", "`filters`: "),
        ('{"table":"T","filters":"[1"}', "bad_arguments", "`filters`: "),
        ("[" * 100_000, "bad_json", "recursion"),
        ('{"table":"\\ud800","filters":[]}', "bad_json", ""),
        ('{"table":"\ud800","filters":[]}', "bad_json", ""),
    ],
)
async def test_a_wrong_call_is_told_where_and_never_what(
    arguments: str, code: str, hint: str
) -> None:
    with pytest.raises(ToolError) as error:
        await query.run(ctx(), arguments)
    assert error.value.code == code
    assert hint in error.value.hint
    data = json.loads(outcome_of_error(error.value).text)["error"]
    assert data["code"] == code
    assert "hunter2" not in outcome_of_error(error.value).text


async def test_a_method_keeps_its_object_and_nothing_may_stand_for_no_arguments() -> None:
    class Shelf:
        async def books(self) -> str:
            """List the books."""
            return "Emma"

    function_tool = FunctionTool(Shelf().books, effect="read", doing="…")
    assert function_tool.spec.parameters["properties"] == {}
    assert (await function_tool.run(ctx(), "")).text == "Emma"


async def test_a_long_outcome_is_cut_and_says_so() -> None:
    @tool(effect="read", doing="…")
    async def much() -> Outcome:
        """Say much."""
        return Outcome("error", "x" * 20_000, proposal="p")

    outcome = await much.run(ctx(), "{}")
    assert len(outcome.text) == MAX_OUTCOME_CHARACTERS
    assert outcome.text.endswith(
        "x\n[Cut: this is the beginning, 16,000 of 20,000 characters. Ask for less at a time.]"
    )
    assert (outcome.status, outcome.proposal) == ("error", "p")


async def test_an_outcome_can_always_be_stored() -> None:
    @tool(effect="read", doing="")
    async def look() -> str:
        """Looks."""
        return "half \ud83d of a pair"

    outcome = await look.run(ctx(), "{}")
    assert outcome.text.encode() == "half \ufffd of a pair".encode()


async def test_what_a_function_raises_is_not_swallowed() -> None:
    @tool(effect="read", doing="…")
    async def raise_lookup_error() -> None:
        """Break."""
        raise LookupError

    with pytest.raises(LookupError):
        await raise_lookup_error.run(ctx(), "{}")


def test_a_function_that_cannot_be_a_tool_is_refused_when_it_is_made() -> None:
    async def without_docstring() -> None: ...

    async def without_types(a) -> None:  # type: ignore[no-untyped-def] # the mistake to be found
        """A."""

    async def star(*rows: str) -> None:
        """A."""

    async def open_map(rows: dict[str, Any]) -> None:
        """A."""

    async def anything(value: Any) -> None:
        """A."""

    async def recursive(node: Node) -> None:
        """A."""

    async def with_renamed_parameter(b: str) -> None:
        """A.

        Args:
            a: was renamed
        """

    async def with_default(page: Page) -> None:
        """A."""

    def not_async(a: str) -> None:
        """A."""

    wrong: tuple[tuple[Any, str], ...] = (
        (with_default, "must admit None"),
        (not_async, "not an async function"),
        (without_docstring, "no docstring"),
        (without_types, "'a' has no type"),
        (star, "by name"),
        (open_map, "strict=False"),
        (anything, "any value"),
        (recursive, "contains itself"),
        (with_renamed_parameter, "no parameters"),
    )
    for function, why in wrong:
        with pytest.raises(TypeError, match=why):
            FunctionTool(function, effect="read", doing="…")
    with pytest.raises(TypeError, match="cannot be a tool's name"):
        FunctionTool(star, effect="read", doing="…", name="two words")


@dataclass
class Page:
    rows: int = 5


@dataclass
class Node:
    below: list[Node]
