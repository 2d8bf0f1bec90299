"""`python -m tests.model.victim BASE_URL TEXT THREAD`: asks, and tells each event as it comes.

It is killed in the middle; what it told is what its journal would have held.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import asdict

import structlog

from core.base.openai import ModelEndpoint, ModelServerClient
from core.domain.model_rounds import RemoteStored, ResponseStarted, TextDelta
from core.domain.records import Remote, Thread
from core.models.model_server import ModelOptions
from core.models.served_model import ServedModel
from tests.model.talk import Talk


async def nobody(thread: str, remote: Remote) -> None:
    raise AssertionError("it listens to the end of its life")


async def main(base_url: str, text: str, thread: str) -> None:
    model = ServedModel(
        ModelServerClient(ModelEndpoint("sk-test", base_url)),
        ModelOptions(),
        level="conversations",
        record_object_to_erase=nobody,
    )
    talk = Talk(model, thread=Thread(**{**json.loads(thread), "participants": ()}))
    talk.begin(text)
    async for event in talk.events():
        if isinstance(event, RemoteStored) and event.thread:
            tell("thread", asdict(event.thread))
        elif isinstance(event, ResponseStarted):
            tell("response", event.response)
        elif isinstance(event, TextDelta):
            tell("delta", event.text)


def tell(what: str, value: object) -> None:
    print(json.dumps({what: value}), flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main(*sys.argv[1:]))
