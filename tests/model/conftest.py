"""A fake OpenAI, and models that ask it; nothing sleeps, waits are written down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from core.base.openai import ModelEndpoint, ModelServerClient
from core.domain.ports import Files
from core.domain.records import Remote
from core.models.model_server import ModelOptions
from core.models.served_model import Level, ServedModel
from tests.fakes.openai import FakeOpenAI
from tests.fakes.openai.types import check, fits

SECRET = b"a secret of the tests"
SILENCE_SECONDS = 60.0
NOT_ODD = ("conversations", None)
"""Levels that only OpenAI itself has."""
Make = Callable[..., Awaitable[ServedModel]]


class Official(ModelEndpoint):
    """A place that passes for OpenAI's own, so that all of its fields are sent."""

    is_official = True


LEVELS: tuple[Level, ...] = ("conversations", "responses", "chat")
every_level = pytest.mark.parametrize("level", LEVELS)
HAVE_ODD_ANSWERS = ("test_input", "test_streaming", "test_stop", "test_crash", "test_money")
"""Modules whose subject is what a server answers. An error, a limit or a file that is sent does
not depend on the habits of its answers."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of several levels a second time, against a server that resembles OpenAI's."""
    is_subject = metafunc.module.__name__.rpartition(".")[2] in HAVE_ODD_ANSWERS
    if is_subject and {"fake", "level"} <= set(metafunc.fixturenames):
        metafunc.parametrize("odd", [False, True], ids=["", "odd"], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only OpenAI itself has conversations."""
    params = {item: getattr(getattr(item, "callspec", None), "params", {}) for item in items}
    left_out = [i for i in items if params[i].get("odd") and params[i].get("level") in NOT_ODD]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def odd(request: pytest.FixtureRequest) -> bool:
    """Whether the server has all the habits of other servers (`tests.fakes.openai.odd`)."""
    return bool(getattr(request, "param", False))


@pytest.fixture
async def fake(odd: bool) -> AsyncIterator[FakeOpenAI]:
    """Strict both ways: all that was sent and all that was said fits the openai package."""
    async with FakeOpenAI() as fake:
        fake.odd = {"all"} if odd else set()
        yield fake
    for request in fake.requests:
        if not fake.odd:  # then fields of other servers are sent back
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
    results: list[ServedModel] = []

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
        variant = replace(ModelOptions(secret=SECRET, silence_seconds=SILENCE_SECONDS), **options)
        model = ServedModel(
            client,
            variant,
            level=level,
            read=files.get if files else None,
            record_object_to_erase=come_late,
        )
        results.append(model)
        return model

    yield make
    for model in results:
        await model.close()
