"""Ponte with the Discord adapter in a process of its own, to be killed.

`python -m tests.discord.victim HOME TOKEN API GATEWAY [--hold] [--grace S] [--flat]` prints `ready`
when events may come in. With `--hold` the model says "begun" and then nothing more; with `--flat`
everything is answered, and channels have no threads. SIGTERM drains.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

from adapters.discord.adapter import DiscordOptions
from core.domain.messages import Item
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest, TextDelta
from tests.discord.discord_ponte import make_adapter
from tests.fakes.choices import make_choices, open_engine
from tests.fakes.models import EchoModel
from tests.fakes.places import FixedAddressingSettings, FixedPlaces

LONG_ANSWER = "\n\n".join(f"paragraph {n} " + "x" * 900 for n in range(6))


class Model(EchoModel):
    """Echoes; `long` is answered in three parts."""

    def __init__(self, hold: bool) -> None:
        super().__init__()
        self._hold = hold

    async def ask(self, ask: RoundRequest) -> AsyncGenerator[ModelEvent, None]:
        if self._hold:
            yield TextDelta("begun")
            await asyncio.Event().wait()
        if ask.input[-1].text != "long":
            async for event in super().ask(ask):
                yield event
            return
        yield RoundCompleted((Item(kind="message", role="assistant", text=LONG_ANSWER),))


async def main(
    home: Path, token: str, api: str, gateway: str, hold: bool, grace: float, flat: bool
) -> None:
    own = FixedAddressingSettings(answer_everything=True, threads=False)
    end_event = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end_event.set)
    choices = make_choices(Model(hold))
    engine = await open_engine(home, choices)
    adapter = make_adapter(
        engine,
        choices,
        token,
        DiscordOptions(api, gateway, identify_wait=0.0, message_content=flat),
        FixedPlaces(own) if flat else FixedPlaces(),
    )
    engine.platforms.replies["discord"] = adapter.reply
    engine.platforms.look_up["discord"] = adapter.look_up
    engine.platforms.fetch["discord"] = adapter.fetch
    engine.start()
    await adapter.start()
    print("ready", flush=True)
    await end_event.wait()
    await adapter.stop_intake()
    await engine.drain(grace)
    await adapter.close()
    await engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("token")
    parser.add_argument("api")
    parser.add_argument("gateway")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--grace", type=float, default=5.0)
    asyncio.run(main(**vars(parser.parse_args())))
