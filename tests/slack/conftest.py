"""Fixtures of the Slack tests; the dialogues use them too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.slack import FakeSlack


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    """A fake Slack that, at the end, nobody was notified by and no reviewer would object to."""
    async with FakeSlack() as fake:
        yield fake
        assert fake.workspace.pings == []
        assert fake.workspace.complaints == []
