"""A table that somebody attached reaches the model, whoever saved it."""

from __future__ import annotations

import codecs
import json

import pytest

from core.domain.messages import decode_file_text, find_encoding, is_text
from tests.fakes.openai import FakeOpenAI
from tests.model.conftest import Make
from tests.model.files import MemoryFiles
from tests.model.talk import Talk
from tests.model.test_input import last

CSV = "Nome;Situação\nAna;Lead\nJosé;Ganho\n"


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("new.csv", "text/csv"),
        ("new.csv", "text/csv; charset=utf-8"),
        ("NEW.CSV", "application/vnd.ms-excel"),
        ("new.csv", "application/octet-stream"),
        ("new.tsv", "text/tab-separated-values"),
        ("new.json", "application/json"),
        ("list.txt", "text/plain"),
    ],
)
async def test_a_table_reaches_the_model(
    make: Make, fake: FakeOpenAI, name: str, type: str
) -> None:
    files = MemoryFiles()
    talk = Talk(await make("responses", files=files))
    await talk.say("Add these from the file.", [files.add(name, type, CSV.encode())])
    assert "Nome;Situação\\nAna;Lead\\nJosé;Ganho" in json.dumps(last(fake), ensure_ascii=False)


@pytest.mark.parametrize(
    "data",
    [
        CSV.encode(),
        codecs.BOM_UTF8 + CSV.encode(),
        CSV.encode("cp1252"),
        CSV.encode("utf-16"),
        codecs.BOM_UTF16_BE + CSV.encode("utf-16-be"),
        CSV.encode("utf-16-le"),
        CSV.encode("utf-16-be"),
        CSV.encode("utf-32"),
    ],
)
def test_text_is_decoded_from_each_encoding(data: bytes) -> None:
    assert decode_file_text(data) == CSV


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("Ana;Łódź".encode("cp1250"), "cp1252"),
        ("Привет".encode("cp1251"), "cp1252"),
        ("Привет".encode("koi8-r"), "cp1252"),
        ("名前".encode("shift-jis"), "cp1252"),
        ("名前".encode("gbk"), "cp1252"),
        ("名前".encode("iso-2022-jp"), "iso2022_jp"),
        (b"\x1b[31mred\x1b[0m", "utf-8-sig"),
        ("Ação".encode("mac-roman"), "cp1252"),
        ("Ação".encode()[:-1], "utf-8-sig"),
        (b"plain", "utf-8-sig"),
        ("Ação, não, é, já, à, até\n".encode() + b"\xe9\n", "utf-8-sig"),
        ("价格和数量，请参考下面的表格。公司名称、地址、电话".encode("gbk"), "cp1252"),
        (b"", "utf-8-sig"),
        (b"PK\x03\x04\x14\0\x06\0", ""),
        (b"SQLite format 3\0", ""),
    ],
)
def test_an_encoding_that_cannot_be_told_is_known_as_such(data: bytes, encoding: str) -> None:
    assert find_encoding(data) == encoding


def test_the_beginning_of_a_longer_one() -> None:
    assert decode_file_text("José".encode()[:4]) == "Jos"


def test_binary_files_are_not_text() -> None:
    assert not is_text("application/vnd.ms-excel", "old.xls")
    assert not is_text("application/zip", "new.csv.zip")
    workbook = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    assert not is_text(workbook, "new.xlsx")


@pytest.mark.parametrize(
    ("data", "is_unsure"),
    [
        ("名前;価格".encode("shift-jis"), True),
        ("Привет".encode("cp1251"), True),
        (CSV.encode("cp1252"), True),
        (CSV.encode(), False),
        (b"plain", False),
    ],
)
async def test_the_model_is_told_that_a_text_may_be_misread(
    make: Make, fake: FakeOpenAI, data: bytes, is_unsure: bool
) -> None:
    files = MemoryFiles()
    talk = Talk(await make("responses", files=files))
    await talk.say("What does it say?", [files.add("a.csv", "text/csv", data)])
    assert ("whose encoding is not known" in json.dumps(last(fake))) is is_unsure
