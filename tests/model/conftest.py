"""A fake OpenAI, and models that ask it; nothing sleeps, waits are written down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from core.clients.openai import ModelEndpoint, ModelServerClient
from core.domain.records import Remote
from core.models.served import Level, ServedModel
from core.models.server import Options
from core.ports.conversations import Files
from tests.fakes.openai import FakeOpenAI
from tests.fakes.openai.types import check, fits

SECRET = b"a secret of the tests"
SILENCE_SECONDS = 60.0
Make = Callable[..., Awaitable[ServedModel]]


class Official(ModelEndpoint):
    """A place that passes for OpenAI's own, so that all of its fields are sent."""

    is_official = True


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    """Strict both ways: all that was sent and all that was said fits the openai package."""
    async with FakeOpenAI() as fake:
        yield fake
    for request in fake.requests:
        fits(request.path, request.body)
    for kind, value in fake.emitted:
        check(kind, value)


@pytest.fixture
def waits() -> list[float]:
    """The pauses that the client made, in seconds."""
    return []


@pytest.fixture
def late() -> list[tuple[str, Remote]]:
    """What a server kept for a turn that did not listen any more."""
    return []


@pytest.fixture
async def make(
    fake: FakeOpenAI, waits: list[float], late: list[tuple[str, Remote]]
) -> AsyncIterator[Make]:
    """Makes models; those of level None find out. They are closed at the end."""
    made: list[ServedModel] = []

    async def write_down(seconds: float) -> None:
        waits.append(seconds)

    async def come_late(thread: str, remote: Remote) -> None:
        late.append((thread, remote))
        await fake.change()

    async def make(
        level: Level | None = "conversations",
        *,
        official: bool = False,
        files: Files | None = None,
        key: str = "sk-test",
        base_url: str = "",
        sleep: Callable[[float], Awaitable[None]] = write_down,
        **options: Any,
    ) -> ServedModel:
        kind = Official if official else ModelEndpoint
        client = ModelServerClient(kind(key, base_url or fake.base_url), sleep=sleep)
        chosen = replace(Options(secret=SECRET, silence=SILENCE_SECONDS), **options)
        model = ServedModel(
            client, chosen, level=level, read=files.get if files else None, late=come_late
        )
        made.append(model)
        return model

    yield make
    for model in made:
        await model.close()
