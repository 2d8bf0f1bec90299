"""A whole Slack bot to be killed: `python -m tests.slack.victim HOME API_URL [flat]`.

It prints a line when it is connected. Its model tells a story, piece by piece: what it is asked
for as `tell N` has N numbered lines, all else is said back at once. `flat`: everything is answered,
and channels have no threads.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import structlog

from adapters.slack.adapter import Credentials, SlackOptions
from adapters.slack.surface import SlackSurface
from bot.home import Home
from core.domain.messages import Item
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from core.domain.records import Health, Remote
from tests.fakes.choices import make_choices, open_engine
from tests.fakes.places import FixedAddressingSettings, FixedPlaces
from tests.fakes.slack import APP_TOKEN, BOT_TOKEN
from tests.slack.bot import connect_adapter, make_adapter

PAUSE = 0.001
LINE = "line {number} of the story, which is long enough to fill a post before it ends\n"


def story(text: str) -> list[str]:
    """The pieces of the answer to `text`."""
    lines = re.fullmatch(r"tell (\d+)", text)
    if lines is None:
        return [f"You said: {text}"]
    return [LINE.format(number=number) for number in range(1, int(lines[1]) + 1)]


class Storyteller:
    name = "storyteller"
    level = "demo"

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        pieces = story(ask.input[-1].text)
        for piece in pieces:
            yield TextDelta(piece)
            if len(pieces) > 1:
                await asyncio.sleep(PAUSE)
        yield RoundCompleted((Item(kind="message", role="assistant", text="".join(pieces)),))

    async def health(self) -> Health:
        return Health("model", "on", "storyteller")

    async def erase(self, remote: Remote) -> bool:
        return True

    async def close(self) -> None:
        return None


FLAT = FixedPlaces(FixedAddressingSettings(answer_everything=True, threads=False))


async def main(home: Path, api_url: str, *more: str) -> None:
    end_event = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end_event.set)
    SlackSurface.interval = 0.02
    choices = make_choices(Storyteller())
    with Home(home).take():
        engine = await open_engine(home, choices)
        slack = make_adapter(
            engine,
            choices,
            Credentials(BOT_TOKEN, APP_TOKEN),
            SlackOptions(api_url, home=home),
            FLAT if "flat" in more else None,
        )
        connect_adapter(engine, choices, slack)
        engine.start()
        await slack.start()
        print("ready", flush=True)
        await end_event.wait()
        await slack.stop_intake()
        await engine.drain(2.0)
        await slack.close()
        await engine.close()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
