"""A process that stores the delivery of a webhook and is killed before it can answer the sender:
`python -m tests.real.hook_machine HOME URL`. URL is a Postgres, "" for the home's own database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from bot.engine import Engine
from bot.stores import Stores
from core.chat.destinations import Destinations
from core.domain.messages import Address, Message, Person, ReplyTo
from core.domain.ports import TransactionStep
from core.domain.records import Receipt
from core.webhooks.hook import Hook
from core.webhooks.intake import HookIntake
from tests.fakes.choices import make_choices, open_engine
from tests.fakes.hook_senders import PLAIN_SECRET, encode_body, from_github

HOOK = Hook("git", "github", PLAIN_SECRET, "web::C1", template="Pushed: {ref}")
BODY = encode_body({"ref": "main"})


class Platform:
    """The part of a chat platform that says where to post."""

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        return ReplyTo(address, person, "since", "")


async def deliver(engine: Engine) -> tuple[int, dict[str, str]]:
    """Send the delivery, as GitHub does again and again. Return status and body of the answer."""
    platform: Any = {"web": Platform()}
    intake = HookIntake({HOOK.name: HOOK}.get, Destinations(platform), engine.conversations.inbox)
    status, _, body = await intake.receive(HOOK.name, from_github(BODY, "delivery 1"), BODY)
    return status, json.loads(body)


async def die_after_storing(home: Path, url: str) -> None:
    """Receive the delivery, and be killed once it is stored."""
    stores = await (Stores.open_shared(url) if url else Stores.open_in_home(home))
    engine = await open_engine(home, make_choices(), stores)
    accept = engine.conversations.inbox.accept

    async def accept_and_die(message: Message, also: TransactionStep) -> Receipt:
        await accept(message, also)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    setattr(engine.conversations.inbox, "accept", accept_and_die)  # noqa: B010 - mypy: a method
    await deliver(engine)


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir()
    asyncio.run(die_after_storing(Path(sys.argv[1]), sys.argv[2]))
