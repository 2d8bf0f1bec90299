"""Files into a container and out of it: each once, within the caps, whatever the server says."""

from __future__ import annotations

import base64

import pytest

from core.base.errors import NotFound
from core.tools.code.port import InputFile, OutputFile
from tests.code.hosted import PNG, Bench
from tests.fakes.openai import Script
from tests.fakes.openai.script import Run
from tests.time_limits import Limits

URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def names(made: tuple[OutputFile, ...]) -> list[str]:
    return [each.name for each in made]


async def test_a_file_is_uploaded_once_a_container(bench: Bench) -> None:
    first, second = bench.file("a.csv", b"1"), bench.file("b.csv", b"22")
    await bench.run("1", [first])
    ran = await bench.run("open('a.csv').read() + open('/mnt/data/b.csv').read()", [first, second])
    assert ran.printed == "'122'\n"
    assert bench.uploads == ["a.csv", "b.csv"]
    assert bench.read == ["a.csv", "b.csv"]


async def test_what_the_code_made_of_a_file_is_not_undone(bench: Bench) -> None:
    file = bench.file("a.csv", b"1")
    await bench.run("open('a.csv', 'w').write('changed')", [file])
    assert (await bench.run("open('a.csv').read()", [file])).printed == "'changed'\n"


async def test_what_a_run_made_is_not_put_back(bench: Bench) -> None:
    """The tool keeps it as a file of the thread, and gives it with the next run."""
    ran = await bench.run("open('out.txt', 'w').write('made'); None")
    file = bench.file("out.txt", ran.output_files[0].data)
    await bench.run("1", [file])
    assert bench.uploads == []


async def test_a_newer_file_of_the_same_name_and_size_takes_its_place(bench: Bench) -> None:
    await bench.run("1", [bench.file("a.csv", b"old")])
    ran = await bench.run("open('a.csv').read()", [bench.file("a.csv", b"new")])
    assert ran.printed == "'new'\n"


async def test_a_file_that_is_gone_is_told(bench: Bench) -> None:
    async def read() -> bytes:
        raise NotFound(what="file")

    ran = await bench.run("1", [InputFile("f1", "gone.csv", "text/csv", 3, read)])
    assert ran.left_out == ("'gone.csv' is gone and was not put into the work folder",)


async def test_files_come_out_whether_cited_or_not(bench: Bench) -> None:
    bench.fake.runs(
        Script(text="done", runs=(Run(logs="ok", files=(("cited.csv", b"1"),)),)),
        Script(text="done", runs=(Run(logs="ok", files=(("quiet.csv", b"2"),), cited=False),)),
    )
    first, second = await bench.run("1"), await bench.run("2")
    assert first.output_files == (OutputFile("cited.csv", "text/csv", b"1"),)
    assert second.output_files == (OutputFile("quiet.csv", "text/csv", b"2"),), (
        "and the first not again"
    )


async def test_a_picture_comes_once_whether_file_or_output(bench: Bench) -> None:
    plot = ("plot.png", PNG)
    bench.fake.runs(
        Script(runs=(Run(logs="", images=(URL,), files=(plot,)),)),
        Script(runs=(Run(logs="", images=(URL,)),)),
    )
    assert (await bench.run("1")).output_files == (OutputFile("plot.png", "image/png", PNG),)
    assert (await bench.run("2")).output_files == (OutputFile("figure-1.png", "image/png", PNG),)


@pytest.mark.parametrize(
    "url",
    ["https://elsewhere.example/p.png", "http://127.0.0.1/", "file:///etc/passwd", "data:x", ""],
)
async def test_an_address_is_never_opened(bench: Bench, url: str) -> None:
    bench.fake.runs(Script(runs=(Run(logs="x", images=(url,)),)))
    ran = await bench.run("1")
    assert ran.output_files == ()
    assert ran.left_out == ("'figure-1.png' was not taken: it is only an address",)


async def test_files_over_the_caps_are_left_out(bench: Bench) -> None:
    many = tuple((f"f{n}.bin", bytes([n])) for n in range(22))
    large = (("large.bin", bytes(8 * 2**20 + 1)), ("small.bin", b"s"))
    bench.fake.runs(
        Script(runs=(Run(logs="", files=many),)), Script(runs=(Run(logs="", files=large),))
    )
    ran = await bench.run("1")
    assert len(ran.output_files) == 20
    assert ran.left_out[0] == "'f20.bin' was not taken: one run gives 20 files at most"
    ran = await bench.run("2")
    assert names(ran.output_files) == ["small.bin"]
    assert ran.left_out == ("'large.bin' was not taken: a file may have 8 MiB",)


async def test_files_beyond_the_total_size_are_left_out(bench: Bench, limits: Limits) -> None:
    limits(MAX_OUTPUT_BYTES=2 << 20)
    files = tuple((f"{n}.bin", bytes([n]) * 2**20) for n in range(3))
    bench.fake.runs(Script(runs=(Run(logs="", files=(*files, ("s.bin", b""))),)))
    ran = await bench.run("1")
    assert names(ran.output_files) == ["0.bin", "1.bin", "s.bin"]
    assert ran.left_out == ("'2.bin' was not taken: the files of one run may have 2 MiB",)


async def test_a_picture_that_is_no_base64_is_left_out(bench: Bench) -> None:
    bench.fake.runs(Script(runs=(Run(logs="x", images=("data:image/png;base64,AAAAA",)),)))
    ran = await bench.run("1")
    assert ran.output_files == ()
    assert ran.left_out == ("'figure-1.png' was not taken: it can't be read",)


async def test_a_file_that_cannot_be_had_spoils_nothing(bench: Bench) -> None:
    """openai-python issue 2466: it is listed, and its content is not found."""
    await bench.run("1")
    bench.fake.runs(Script(runs=(Run(logs="fine", files=(("c.txt", b"c"), ("d.txt", b"d"))),)))
    (container,) = bench.fake.containers.all.values()
    container.unreadable = {"/mnt/data/c.txt"}
    ran = await bench.run("2")
    assert names(ran.output_files) == ["d.txt"]
    assert ran.left_out == ("'c.txt' was not taken: OpenAI did not hand it out",)
    assert ran.printed == "fine"


async def test_more_files_than_a_page_are_seen(bench: Bench) -> None:
    await bench.run("for n in range(130): open(f'{n}.txt', 'w').write(str(n))")
    ran = await bench.run("open('last.txt', 'w').write('x'); None")
    assert names(ran.output_files) == ["last.txt"]
