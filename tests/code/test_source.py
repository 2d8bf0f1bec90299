"""The tool `run_python`, as a model calls it: what goes in, what it reads, what people get."""

from __future__ import annotations

import json
import unicodedata
from typing import Literal

import pytest

from core.base.errors import ToolError
from core.domain.messages import Usage
from core.domain.records import Outcome
from core.domain.rights import Viewer
from core.tools.code.port import OutputFile, RunResult, find_python_block, strip_fence
from core.tools.code.source import NOTHING_PRINTED, CodeSource
from core.tools.tool import MAX_OUTCOME_CHARACTERS
from tests.code.scenes import set_scene
from tests.core.tools.strict import breaches
from tests.fakes.code import FakeBackend
from tests.fakes.scene_folder import MemoryContextFiles

PNG = b"\x89PNG\r\n\x1a\n"


async def call(
    backend: FakeBackend, code: str | None, folder: MemoryContextFiles | None = None, said: str = ""
) -> Outcome:
    (tool,) = await CodeSource(backend).tools(Viewer())
    ctx = set_scene(folder or MemoryContextFiles(), said)
    return await tool.run(ctx, json.dumps({} if code is None else {"code": code}))


async def test_it_is_strict_and_its_description_can_be_replaced() -> None:
    backend = FakeBackend()
    (tool,) = await CodeSource(backend).tools(Viewer())
    assert (tool.spec.name, tool.effect, tool.spec.strict) == ("run_python", "code", True)
    assert breaches(tool.spec) == []
    assert list(tool.spec.parameters["properties"]) == ["code"]
    assert tool.spec.description == "Run Python somewhere."
    (other,) = await CodeSource(backend, "Só Python.").tools(Viewer())
    assert other.spec.description == "Só Python."


async def test_it_is_not_offered_where_nothing_holds() -> None:
    assert await CodeSource(FakeBackend(offered=False)).tools(Viewer()) == ()


async def test_files_go_in_under_names_of_their_own() -> None:
    folder = MemoryContextFiles()
    names = ("a.csv", "../b.csv", "a-2.csv", "a.csv", "a.csv", "notes", "notes")
    for number, name in enumerate(names, 1):
        folder.add(name, str(number).encode())
    folder.add("code-0a1b2c.py", b"ours")
    backend = FakeBackend()
    await call(backend, "1", folder)
    assert {name: int(data) for name, data in backend.given.items()} == {
        "a-1.csv": 1,
        "b.csv": 2,
        "a-2.csv": 3,
        "a-3.csv": 4,
        "a.csv": 5,
        "notes-1": 6,
        "notes": 7,
    }


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("code_form", ["NFC", "NFD"])
async def test_a_name_with_accents_is_opened_in_either_form(
    form: Literal["NFC", "NFD"], code_form: Literal["NFC", "NFD"]
) -> None:
    folder, backend = MemoryContextFiles(), FakeBackend()
    folder.add(unicodedata.normalize(form, "rapport été.csv"), b"1")
    await call(backend, unicodedata.normalize(code_form, "open('rapport été.csv')"), folder)
    assert list(backend.given) == ["rapport été.csv"]
    assert backend.ran == ["open('rapport été.csv')"]


async def test_what_it_made_goes_to_the_person_with_the_code_to_unfold() -> None:
    results = (OutputFile("plot.png", "image/png", PNG), OutputFile("t.csv", "text/csv", b"1"))
    backend = FakeBackend(
        lambda code: RunResult(printed="ok\n", output_files=results, usage=Usage(input=3))
    )
    folder = MemoryContextFiles()
    outcome = await call(backend, "draw()", folder)
    assert [file.type for file in outcome.files] == ["image/png", "text/csv", "text/x-python"]
    assert folder.data[outcome.files[-1].id] == b"draw()\n"
    assert (outcome.status, outcome.usage.input) == ("ok", 3)
    assert outcome.text == "ok\n\n[The person has: plot.png, t.csv]"


async def test_the_model_reads_the_value_the_error_and_what_was_left_out() -> None:
    ran = RunResult(printed="p\n", value="4", error="ZeroDivisionError", left_out=("x was cut",))
    outcome = await call(FakeBackend(lambda code: ran), "1/0")
    assert outcome == Outcome("error", "p\n\n4\n\nZeroDivisionError\n\n[x was cut]")
    assert (await call(FakeBackend(lambda code: RunResult()), "x = 1")).text == NOTHING_PRINTED


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("timeout", "too long"),
        ("memory", "memory"),
        ("flooded", "printed too much"),
        ("died", "ended"),
    ],
)
async def test_a_run_that_was_ended_says_so(fault: str, word: str) -> None:
    ran = RunResult(fault=fault, is_state_lost=True)  # type: ignore[arg-type]  # each of them is a Fault
    outcome = await call(FakeBackend(lambda code: ran), "f()")
    assert outcome.status == "error"
    assert word in outcome.text
    assert "All earlier variables were lost." in outcome.text


async def test_a_lost_state_is_told_to_the_model_and_to_the_person() -> None:
    ran = RunResult(value="1", reset=True, why_reset="it was idle for 20 minutes")
    outcome = await call(FakeBackend(lambda code: ran), "1")
    assert outcome.text.startswith("[Python was restarted because it was idle for 20 minutes")
    (notice,) = outcome.sources
    assert "Earlier variables are lost" in notice


async def test_other_code_than_asked_for_is_told_and_attached() -> None:
    folder = MemoryContextFiles()
    outcome = await call(
        FakeBackend(lambda code: RunResult("2\n", changed_code="print(2)")), "print(1)", folder
    )
    assert folder.data[outcome.files[-1].id] == b"print(2)\n"
    assert "[Different code ran instead of yours:]\nprint(2)" in outcome.text
    assert "The code that ran differs from the code that was requested" in outcome.sources[0]


async def test_long_output_is_cut_in_its_middle_and_comes_whole_as_a_file() -> None:
    output = "begin " + "x" * 50_000 + " end"
    folder = MemoryContextFiles()
    outcome = await call(
        FakeBackend(lambda code: RunResult(output, error="E: last")), "f()", folder
    )
    assert len(outcome.text) <= MAX_OUTCOME_CHARACTERS
    assert outcome.text.startswith("begin ")
    assert " end\n\nE: last" in outcome.text
    assert "characters …]" in outcome.text
    (whole,) = [file for file in folder.files if file.name == "output.txt"]
    assert folder.data[whole.id].decode() == output


FONT = "findfont: Font family 'Arial' not found."


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (f"{FONT}\n" * 161, f"{FONT} (×161)"),
        (f"a\n{FONT}\n{FONT}\nb\n", f"a\n{FONT}\n{FONT}\nb"),
        ("".join(f"w.py:1: UserWarning: {FONT}\n  plot()\nstep {n}\n" for n in range(30)),
         f"w.py:1: UserWarning: {FONT} (×30)\n  plot() (×30)\n"
         + "\n".join(f"step {n}" for n in range(30))),
        ("".join(f"\r{n:3}%|{'#' * 60}" for n in range(101)) + "\ndone", f"100%|{'#' * 60}\ndone"),
        ("10%\r20%\r", "20%"), ("a\r\nb\r\n", "a\nb"), ("0\n" * 5_000, "0 (×5000)"),
        ("".join(f"{n}%\n\x1b[1A\x1b[2K" for n in range(101)) + "done", "done"),
        ("".join(f"{n}%\n\x1b[F" for n in range(101)) + "\n", "100%"),
        ("".join(f"{n:3}%\b\b\b\b" for n in range(101)) + "\n", "100%"),
        ("x\n\n\n\n\ny", "x\n\n\n\n\ny"), ("x" * 400_000 + "\r9", "9"),
        ("".join(f"{n}\n\n" for n in range(30)), "\n\n".join(map(str, range(30)))),
        ("name  value\n a 1\n" * 5 + "end", "name  value\n a 1\n" * 5 + "end"),
    ],
)  # fmt: skip
async def test_equal_lines_and_progress_are_shown_once(printed: str, shown: str) -> None:
    folder = MemoryContextFiles()
    outcome = await call(FakeBackend(lambda code: RunResult(printed)), "f()", folder)
    assert outcome.text == shown
    assert "output.txt" not in [file.name for file in folder.files]


@pytest.mark.parametrize("code", ["```python\nprint(1)\n```", "\n```\nprint(1)\n```\n", "print(1)"])
async def test_a_fence_around_the_code_is_taken_off(code: str) -> None:
    backend = FakeBackend()
    await call(backend, code)
    assert backend.ran == ["print(1)"]


@pytest.mark.parametrize("code", [None, "", "  \n", "```python\n```"])
async def test_without_code_the_block_of_the_message_runs(code: str | None) -> None:
    backend = FakeBackend()
    await call(backend, code, said="Please:\n```python\nprint(2)\n```\nthanks")
    assert backend.ran == ["print(2)"]


async def test_without_any_code_nothing_runs() -> None:
    backend = FakeBackend()
    with pytest.raises(ToolError, match="no code to run"):
        await call(backend, "", said="draw something")
    assert backend.ran == []


@pytest.mark.parametrize("arguments", ['{"code": 5}', '{"code": ["x"]}', '{"prompt": "x"}', "["])
async def test_wrong_arguments_are_told_and_run_nothing(arguments: str) -> None:
    backend = FakeBackend()
    (tool,) = await CodeSource(backend).tools(Viewer())
    with pytest.raises(ToolError):
        await tool.run(set_scene(MemoryContextFiles()), arguments)
    assert backend.ran == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx\n```", "x"),
        ("say\n~~~py\nx\ny\n~~~\nmore", "x\ny"),
        ("```json\n{}\n```\n```\nx\n```", "x"),
        ("````python\n```\nx\n````", "```\nx"),
        ("```python\n\n```\n```python\nx\n```", "x"),
        ("no code", ""),
        ("```python\nnot closed", ""),
        ("", ""),
    ],
)
def test_the_first_block_of_python(text: str, code: str) -> None:
    assert find_python_block(text) == code


@pytest.mark.parametrize(
    "code", ["x", "  x", 's = """\n```\n"""', "```python\nx\n```\nprint(1)", "```\nnot closed"]
)
def test_code_that_is_not_all_fenced_stays_as_it_is(code: str) -> None:
    assert strip_fence(code) == code
