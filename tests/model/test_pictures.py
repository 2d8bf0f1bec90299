"""Several pictures in one message: those that fit are sent, in their order, the newest first."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from core.domain.messages import File
from core.domain.model_rounds import RoundCompleted
from core.models.model_input import find_data_urls
from core.models.served_model import Level
from tests.fakes.openai import FakeOpenAI, Script, errors
from tests.fakes.openai.errors import GatewayError
from tests.model.conftest import Make, every_level
from tests.model.files import MemoryFiles
from tests.model.talk import Talk
from tests.model.test_faults import question_bodies
from tests.time_limits import Limits

SMALL = "small-model"
PNG = b"\x89PNG\r\n\x1a\n"
FITTING = "which did not fit into the request"


def add_pictures(files: MemoryFiles, *names: str) -> list[File]:
    return [files.add(f"{name}.png", "image/png", PNG + name.encode()) for name in names]


def pictures(body: Mapping[str, Any]) -> list[str]:
    """The names of the pictures that a request shows: each one's content ends with its name."""
    urls = find_data_urls(body)
    return [base64.b64decode(url.partition(",")[2])[len(PNG) :].decode() for url in urls]


def unseen(talk: Talk) -> tuple[str, ...]:
    """What the person is told about the last answer."""
    return [event for event in talk.heard if isinstance(event, RoundCompleted)][-1].unseen_files


def left_out(body: Mapping[str, Any]) -> list[str]:
    return re.findall(rf"file '(\w+)\.png' \([^)]*\), {FITTING}", json.dumps(body))


@every_level
async def test_pictures_that_fit_into_a_small_context_are_sent(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    fake.models, files = [SMALL], MemoryFiles()
    talk = Talk(await make(level, model=SMALL, context=5_000, files=files), preface="")
    await talk.say("Look.", add_pictures(files, "one", "two", "three"))
    body = question_bodies(fake)[-1]
    assert (pictures(body), left_out(body)) == (["one", "two"], ["three"])
    assert unseen(talk) == ("three.png",)


async def test_pictures_of_the_newest_message_come_first(make: Make, fake: FakeOpenAI) -> None:
    fake.models, files = [SMALL], MemoryFiles()
    talk = Talk(await make("chat", model=SMALL, context=5_000, files=files), preface="")
    await talk.say("Look.", add_pictures(files, "old"))
    await talk.say("And these?", add_pictures(files, "one", "two"))
    body = question_bodies(fake)[-1]
    assert (pictures(body), left_out(body), unseen(talk)) == (["one", "two"], ["old"], ())


async def test_pictures_leave_room_for_a_long_message(make: Make, fake: FakeOpenAI) -> None:
    fake.models, files = [SMALL], MemoryFiles()
    talk = Talk(await make("chat", model=SMALL, context=5_000, files=files), preface="")
    option = add_pictures(files, "one", "two")
    assert await talk.say("word " * 1_500, option)
    assert (pictures(question_bodies(fake)[-1]), unseen(talk)) == ([], ("one.png", "two.png"))


def refuse_pictures(most: int, words: str) -> Any:
    """Count the pictures of a request as a server does."""

    def refuses(body: Mapping[str, Any]) -> GatewayError | None:
        return GatewayError(400, {"error": words}) if len(find_data_urls(body)) > most else None

    return refuses


@every_level
@pytest.mark.parametrize("words", errors.TOO_MANY_PICTURES)
async def test_a_server_that_takes_few_pictures_gets_so_many(
    make: Make, fake: FakeOpenAI, level: Level, words: str
) -> None:
    """It refuses once; then the number is known."""
    files = MemoryFiles()
    talk = Talk(await make(level, files=files), preface="")
    fake.refuses = refuse_pictures(2, words)
    assert await talk.say("Look.", add_pictures(files, "one", "two", "three"))
    bodies = question_bodies(fake)
    assert list(map(pictures, bodies)) == [["one", "two", "three"], ["one", "two"]]
    assert (left_out(bodies[-1]), unseen(talk)) == (["three"], ("three.png",))
    assert await Talk(talk.model).say("Look.", add_pictures(files, "four", "five", "six"))
    assert len(question_bodies(fake)) == 3
    assert pictures(question_bodies(fake)[-1]) == ["four", "five"]


async def test_a_large_picture_does_not_push_out_a_small_one(
    make: Make, fake: FakeOpenAI, limits: Limits
) -> None:
    limits(MAX_REQUEST_FILE_BYTES=5 + 2 * len(PNG))
    files = MemoryFiles()
    talk = Talk(await make("responses", files=files))
    await talk.say("Look.", add_pictures(files, "one", "too_large", "b"))
    assert pictures(question_bodies(fake)[-1]) == ["one", "b"]
    assert unseen(talk) == ("too_large.png",)


HEIC = b"\0\0\0\x24ftypheic" + bytes(64)


@every_level
@pytest.mark.parametrize(
    ("name", "type", "data"),
    [
        ("IMG_0003.jpg", "image/jpeg", HEIC),
        ("plan.png", "image/png", b"II*\0" + bytes(64)),
        ("error.webp", "image/webp", b"<!DOCTYPE html><p>404 Not found"),
        ("empty.gif", "image/gif", b""),
        ("notes.pdf", "application/pdf", b"PK\x03\x04" + bytes(64)),
    ],
)
async def test_a_file_that_is_none_of_its_type_is_not_sent_and_told(
    make: Make, fake: FakeOpenAI, level: Level, name: str, type: str, data: bytes
) -> None:
    """It costs no refused request."""
    files = MemoryFiles()
    talk = Talk(await make(level, official=True, files=files))
    good, odd = files.add("good.png", "image/png", PNG), files.add(name, type, data)
    assert await talk.say("Look.", [good, odd])
    (body,) = question_bodies(fake)
    assert pictures(body) == [""]
    assert unseen(talk) == (name,)
    assert f"file '{name}' ({type}, {len(data)} bytes" in json.dumps(body)


@every_level
async def test_a_picture_of_another_type_than_it_says_is_sent_as_what_it_is(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    files = MemoryFiles()
    talk = Talk(await make(level, files=files))
    assert await talk.say("Look.", [files.add("a.png", "image/png", b"\xff\xd8\xff\xe0 a photo")])
    (url,) = find_data_urls(question_bodies(fake)[-1])
    assert url.startswith("data:image/jpeg;base64,")
    assert unseen(talk) == ()


@every_level
async def test_what_the_server_refuses_is_told(make: Make, fake: FakeOpenAI, level: Level) -> None:
    files = MemoryFiles()
    talk = Talk(await make(level, official=True, files=files))
    first, broken = add_pictures(files, "first", "broken")
    assert await talk.say("Look.", [first])
    fake.say(Script(status=400, code="invalid_image_format", message="Bad image_url."))
    assert await talk.say("And this?", [broken])
    assert unseen(talk) == ("broken.png",)
    assert await talk.say("Thanks.")
    assert unseen(talk) == ()
