"""Whatever stands in a file, it becomes an input or words, and never anything else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from core.base.errors import BadInput
from core.commands import quick_commands
from core.commands.quick_commands import Inputs
from core.domain.messages import File, Quote
from core.domain.records import QuickCommand
from tests.fakes.choices import make_message

PLAIN = QuickCommand("plain", "Plain")
TWO = QuickCommand("two", "Two", inputs={"a": {"required": True}, "b": {"required": True}})
SAID = make_message("quick-command x", "k1")


async def fill_inputs(command: QuickCommand, typed: Inputs, *files: bytes) -> Inputs:
    kept = {f"f{n}": data for n, data in enumerate(files)}
    attached = [File(name, f"{name}.txt", "text/plain", len(kept[name])) for name in kept]

    async def read(file: File) -> bytes:
        return kept[file.id]

    return await quick_commands.collect_inputs(command, typed, SAID, (attached, ()), read)


async def nothing(file: File) -> bytes:
    raise AssertionError("there is no file to read")


@drawn(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
async def test_any_bytes_are_an_input_or_told(data: bytes) -> None:
    told = ""
    try:
        whole = await fill_inputs(PLAIN, "", data)
    except BadInput as error:
        whole, told = "", str(error)
    assert "\0" not in json.dumps(whole)
    assert not told or "f0.txt" in told


@drawn(st.dictionaries(st.sampled_from("abc"), st.text(max_size=20), max_size=3))
async def test_json_is_inputs_where_their_names_are_the_commands(named: dict[str, str]) -> None:
    text = json.dumps(named)
    whole = await fill_inputs(TWO, "", text.encode())
    assert isinstance(whole, str) == bool(named.keys() - TWO.inputs.keys())


async def test_the_one_that_is_missing_is_the_file() -> None:
    assert await fill_inputs(TWO, {"b": "1"}, b"text") == {"b": "1", "a": "text"}
    for typed in ({"c": "3"}, {"a": "1", "b": "2"}, "words"):
        with pytest.raises(BadInput, match=r"file `f0\.txt`, so I can't tell which is the input"):
            await fill_inputs(TWO, typed, b"text")


async def test_two_files_and_one_that_could_not_be_fetched() -> None:
    with pytest.raises(BadInput, match="you sent 2"):
        await fill_inputs(PLAIN, "", b"a", b"b")
    with pytest.raises(BadInput, match=r"couldn't download the file `gone\.txt`"):
        await quick_commands.collect_inputs(PLAIN, "", SAID, ((), ("gone.txt",)), nothing)


async def test_a_reply_without_words_takes_what_it_replies_to() -> None:
    said = replace(SAID, context=(Quote("Bob", "around"), Quote("Bob", "this", is_replied_to=True)))
    assert await quick_commands.collect_inputs(PLAIN, "", said, ((), ()), nothing) == "this"
    assert (
        await quick_commands.collect_inputs(PLAIN, "own words", said, ((), ()), nothing)
        == "own words"
    )
