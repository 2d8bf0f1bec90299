"""Conversations with a small context, behind a server that drops what does not fit."""

from __future__ import annotations

import pytest

from tests.evals.case import Case
from tests.evals.sizes import SMALL, chat_of, run_at, work_of


@pytest.mark.parametrize(
    ("case", "size"),
    [(SMALL, 4_096), (chat_of(50), 4_096), (work_of(20), 4_096), (work_of(20), 8_192),
     (work_of(20), 128_000)],
    ids=lambda one: one.name if isinstance(one, Case) else str(one),
)  # fmt: skip
async def test_a_conversation_goes_on(case: Case, size: int) -> None:
    result = await run_at(case, size)
    assert result.faults == []
    assert result.largest <= size


@pytest.mark.parametrize("kind", ["llama.cpp", "vLLM", "LM Studio", "LiteLLM"])
async def test_a_server_that_refuses_what_does_not_fit(kind: str) -> None:
    result = await run_at(work_of(8), 8_192, kind=kind, characters=3)
    assert result.faults == []


async def test_a_server_that_does_not_tell_its_size() -> None:
    """It is told by a refusal, or found by halving."""
    result = await run_at(chat_of(30), 4_096, kind="MiniMax, event")
    assert result.faults == []
