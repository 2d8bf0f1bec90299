"""`CodeInterpreter` by itself, as a library uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.base.errors import ToolError
from core.base.markdown import without_container_links
from core.base.openai import ModelEndpoint, ModelServerClient
from core.tools.code.hosted import REQUEST_INSTRUCTIONS, VERBATIM_INSTRUCTIONS, CodeInterpreter
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.script import Run


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def interpreter(fake: FakeOpenAI) -> AsyncIterator[CodeInterpreter]:
    client = ModelServerClient(ModelEndpoint("sk-test", fake.base_url))
    interpreter = CodeInterpreter(client)
    yield interpreter
    await interpreter.close()
    await client.close()
    assert fake.containers.all == {}, "nothing of it is left"


async def test_code_gives_what_it_printed(fake: FakeOpenAI, interpreter: CodeInterpreter) -> None:
    fake.runs(Script(text="Done! It is 42.", runs=(Run(),)))
    executed = await interpreter.execute_code("print(6 * 7)")
    assert executed.text == "42"
    assert executed.ran.printed == "42\n"
    assert (await interpreter.execute_code("1 / 0")).text.endswith(
        "ZeroDivisionError: division by zero"
    )


async def test_a_request_in_words_is_answered_in_words(
    fake: FakeOpenAI, interpreter: CodeInterpreter
) -> None:
    chart = Run(code="plot()", logs="", files=(("chart.png", b"\x89PNG\r\n\x1a\n"),))
    fake.runs(Script(text="Sales grow.", runs=(chart,)))
    executed = await interpreter.execute_code("Plot my sales by month, please.")
    assert executed.text == "Download chart.png\n\nSales grow."
    assert "sandbox:" not in executed.text
    assert [file.name for file in executed.ran.output_files] == ["chart.png"]
    assert executed.ran.changed_code == "", "what it wrote was not given to it"
    (body,) = fake.request_bodies("/responses")
    assert body["instructions"] == REQUEST_INSTRUCTIONS


@pytest.mark.parametrize("prompt", ["x = 1", "```python\nthis is odd\n```"])
async def test_code_is_not_to_be_improved(
    fake: FakeOpenAI, interpreter: CodeInterpreter, prompt: str
) -> None:
    await interpreter.execute_code(prompt)
    assert fake.request_bodies("/responses")[0]["instructions"] == VERBATIM_INSTRUCTIONS


async def test_a_name_with_many_combining_marks_is_not_parsed(
    fake: FakeOpenAI, interpreter: CodeInterpreter
) -> None:
    """The parser sorts them, which takes seconds for a long row."""
    await interpreter.execute_code("x" + "\u0301" * 200)
    assert fake.request_bodies("/responses")[0]["instructions"] == REQUEST_INSTRUCTIONS


@pytest.mark.parametrize("prompt", ["", "  ", None, 7])
async def test_an_invalid_prompt_is_worded(interpreter: CodeInterpreter, prompt: object) -> None:
    with pytest.raises(ToolError, match="There is no code to run"):
        await interpreter.execute_code(prompt)  # type: ignore[arg-type]  # as a model may send it


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("See [the chart](sandbox:/mnt/data/a.png).", "See the chart."),
        ("![chart](sandbox:/mnt/data/a b.png) done", "chart done"),
        ("It is at sandbox:/mnt/data/x/out.csv now", "It is at out.csv now"),
        ("[site](https://example.org)", "[site](https://example.org)"),
    ],
)
def test_links_into_a_container_are_taken_out(text: str, read: str) -> None:
    assert without_container_links(text) == read
