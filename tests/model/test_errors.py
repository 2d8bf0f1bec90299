"""What a person reads when the model cannot answer, and what is not asked again."""

from __future__ import annotations

import pytest

from core.base.errors import (
    NoKey,
    NoQuota,
    PersonRefused,
    UnknownModel,
    WrongKey,
)
from core.models.served_model import Level
from tests.fakes.openai import FakeOpenAI, Script
from tests.model.conftest import Make, every_level
from tests.model.talk import Talk

KEY = "sk-" + "secret" * 4


def refusals(fake: FakeOpenAI) -> int:
    return sum(request.path in ("/responses", "/chat/completions") for request in fake.requests)


@every_level
async def test_no_quota_is_told_at_once(
    make: Make, fake: FakeOpenAI, waits: list[float], level: Level
) -> None:
    headers = {"retry-after": "1"}
    fake.say(Script(status=429, code="insufficient_quota", headers=headers, times=0))
    with pytest.raises(NoQuota, match="no credit left"):
        await Talk(await make(level)).say("hello")
    assert refusals(fake) == 1
    assert waits == []


@every_level
async def test_a_wrong_key_is_never_shown(make: Make, fake: FakeOpenAI, level: Level) -> None:
    fake.key = "another"
    model = await make(level, key=KEY)
    with pytest.raises(WrongKey) as error:
        await Talk(model).say("hello")
    assert KEY not in repr(error.getrepr(chain=True))
    assert "OPENAI_API_KEY" in error.value.words()


@every_level
async def test_an_unknown_model_names_the_setting_and_the_nearest(
    make: Make, fake: FakeOpenAI, level: Level
) -> None:
    with pytest.raises(UnknownModel) as error:
        await Talk(await make(level, model="gpt-6-lunar")).say("hello")
    words = error.value.words()
    assert "`gpt-6-lunar`" in words
    assert "PONTE_MODEL" in words
    assert "`gpt-6-luna`" in words


async def test_no_key_at_openai(make: Make) -> None:
    with pytest.raises(NoKey, match="OPENAI_API_KEY"):
        await Talk(await make(official=True, key="")).say("hello")
    assert await Talk(await make("chat", key="")).say("hello"), "other servers may need none"


@every_level
async def test_a_blocked_person_is_told_alone(make: Make, fake: FakeOpenAI, level: Level) -> None:
    """The refusal is of this person's identifier: it does not go out without it, nobody else
    is answered differently, and the server is not called ill."""
    blocked = Script(
        status=400,
        code="identifier_blocked",
        param="safety_identifier",
        message="This safety identifier was blocked.",
    )
    fake.say(blocked)
    model = await make(level, official=True)
    with pytest.raises(PersonRefused, match="won't answer you"):
        await Talk(model).say("hello")
    assert refusals(fake) == 1
    assert await Talk(model).say("hello")
    assert "safety_identifier" in fake.requests[-1].body
    assert (await model.health()).state == "on"


async def test_openai_is_asked_to_cut_by_itself(make: Make, fake: FakeOpenAI) -> None:
    fake.context = 3_000
    talk = Talk(await make(official=True))
    for number in range(12):
        assert await talk.say(f"words {number} " * 30)
    body = fake.request_bodies("/responses")[-1]
    assert body["truncation"] == "auto"
    assert body["context_management"] == [{"type": "compaction", "compact_threshold": 100_000}]
    assert len(fake.conversations) == 1
