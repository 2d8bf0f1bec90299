"""Several pictures in one message: those that fit are sent, in their order, the newest first."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from core.domain.messages import File
from core.domain.records import RoundCompleted
from core.models.model_input import find_data_urls
from core.models.served_model import Level
from tests.fakes.openai import FakeOpenAI, errors
from tests.fakes.openai.errors import GatewayError
from tests.model.conftest import Make, every_level
from tests.model.files import MemoryFiles
from tests.model.talk import Talk
from tests.model.test_faults import question_bodies

SMALL = "small-model"
FITTING = "which did not fit into the request"


def add_pictures(files: MemoryFiles, *names: str) -> list[File]:
    return [files.add(f"{name}.png", "image/png", name.encode()) for name in names]


def pictures(body: Mapping[str, Any]) -> list[str]:
    """The names of the pictures that a request shows: each one's content is its name."""
    return [base64.b64decode(url.partition(",")[2]).decode() for url in find_data_urls(body)]


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
    make: Make, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.models.model_input.MAX_REQUEST_FILE_BYTES", 5)
    files = MemoryFiles()
    talk = Talk(await make("responses", files=files))
    await talk.say("Look.", add_pictures(files, "one", "too_large", "b"))
    assert pictures(question_bodies(fake)[-1]) == ["one", "b"]
    assert unseen(talk) == ("too_large.png",)
