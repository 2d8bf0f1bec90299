"""A whole bot for a fake Slack: the embedded engine, the adapter, and a model without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapters.slack.adapter import Credentials, Ports, SlackAdapter
from adapters.slack.intake import Customs
from adapters.slack.markup import Links
from bot.engine import Choices, Engine
from core.ports import Inbox, Model, StatusBoard
from tests.fakes.choices import choices
from tests.fakes.slack import FakeSlack


@dataclass
class Bot:
    engine: Engine
    slack: SlackAdapter


@asynccontextmanager
async def running(
    slack: FakeSlack, home: Path, model: Model | None = None, *, http: bool = False,
    customs: Customs | None = None, links: Links | None = None,
    chosen: Choices | None = None, board: StatusBoard | None = None,
    inbox: Callable[[Inbox], Inbox] = lambda inbox: inbox, grace: float = 1.0,
) -> AsyncIterator[Bot]:  # fmt: skip
    """A bot that is connected and runs turns; drained and closed at the end."""
    chosen = chosen or choices(model)
    if board is not None:
        chosen = replace(chosen, board=board)
    home.mkdir(exist_ok=True)
    engine = await Engine.open(home, chosen)
    adapter = SlackAdapter(
        credentials(slack, http), ports(engine, chosen, inbox), api_url=slack.base_url,
        customs=customs, links=links,
    )  # fmt: skip
    engine.replies["slack"] = adapter.reply
    engine.fetch["slack"] = adapter.fetch
    engine.start()
    try:
        await adapter.start()
        if not http:
            await slack.deliveries.connected()
        yield Bot(engine, adapter)
    finally:
        await adapter.stop_intake()
        await engine.drain(grace)
        await adapter.close()
        await engine.close()


def credentials(slack: FakeSlack, http: bool = False) -> Credentials:
    if http:
        return Credentials(slack.bot_token, signing_secret=slack.deliveries.signing_secret)
    return Credentials(slack.bot_token, slack.app_token)


def ports(engine: Engine, chosen: Choices, inbox: Callable[[Inbox], Inbox]) -> Ports:
    return Ports(
        inbox=inbox(engine.inbox), threads=engine.threads, files=engine.files, board=chosen.board,
        policy=chosen.policy, removed=engine.manager.removed,
    )  # fmt: skip


def calls(slack: FakeSlack, method: str) -> list[dict[str, Any]]:
    """The arguments of every call of a method, in order."""
    return [arguments for name, arguments in slack.api.log if name == method]
