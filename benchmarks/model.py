"""Our model beside the bare openai client: the same streamed calls, in the same run.

`make bench` or `python -m benchmarks.model`. The server is the strict fake in a process of its
own. First 100 calls at once, of a second each; then one after the other, at once answered, by
their CPU time. The machine is shared: so ratios, and the median of several runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import structlog
from openai import AsyncOpenAI, omit

from core.base.openai import ModelEndpoint, ModelServerClient
from core.domain.messages import Item, Person
from core.domain.model_rounds import RoundCompleted, RoundRequest, TextDelta
from core.domain.records import Remote, Thread
from core.models.model_server import ModelOptions
from core.models.served_model import Level, ServedModel

PARALLEL_CALLS = 100
MODEL_SECONDS = 1.0
RUNS = 3
MAX_RATIO = 1.5
"""Times the bare client's time that ours may take."""
IN_TURN = 100
LEVELS: tuple[Level, ...] = ("conversations", "responses", "chat")
Call = Callable[[int], Awaitable[int]]


@contextlib.asynccontextmanager
async def fake(seconds: float) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fakes.openai", "--seconds", str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.communicate()


async def most_at_once(base_url: str) -> int:
    """Answers under way at once, as the server saw them."""
    async with aiohttp.ClientSession() as web:
        seen = await web.get(base_url.replace("/v1", "/_fake/seen"))
        return int((await seen.json())["most"])


def bare(client: AsyncOpenAI, level: Level, conversations: list[str]) -> Call:
    """The call as one writes it by hand: counts the pieces of text."""

    async def respond(number: int) -> int:
        pieces = 0
        kept = level == "conversations"
        async for event in await client.responses.create(
            model="gpt-6-luna",
            instructions="Be brief.",
            input="hello",
            stream=True,
            store=kept,
            conversation=conversations[number] if kept else omit,
        ):
            pieces += event.type == "response.output_text.delta"
        return pieces

    async def chat(_: int) -> int:
        pieces = 0
        async for chunk in await client.chat.completions.create(
            model="gpt-6-luna",
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "hello"},
            ],
            stream=True,
            stream_options={"include_usage": True},
        ):
            pieces += bool(chunk.choices and chunk.choices[0].delta.content)
        return pieces

    return chat if level == "chat" else respond


def ours(model: ServedModel, conversations: list[str]) -> Call:
    async def none() -> list[Item]:
        return []

    async def call(number: int) -> int:
        pieces = 0
        ask = RoundRequest(
            thread=Thread("web:c", f"T{number}", remote=conversations[number]),
            turn="turn",
            number=1,
            input=(Item(kind="message", role="user", text="hello"),),
            history=none,
            instructions="Be brief.",
            preface="",
            asker=Person("web", "ana"),
        )
        async for event in model.ask(ask):
            pieces += isinstance(event, TextDelta)
        assert isinstance(event, RoundCompleted)
        return pieces

    return call


async def together(call: Call) -> float:
    """Seconds until all calls at once are answered."""
    begun = time.perf_counter()
    counted = await asyncio.gather(*(call(number) for number in range(PARALLEL_CALLS)))
    took = time.perf_counter() - begun
    assert min(counted) == max(counted) > 1
    return took


async def in_turn(call: Call) -> float:
    """Milliseconds of this process's CPU for one call."""
    begun = time.process_time()
    for number in range(IN_TURN):
        await call(number % PARALLEL_CALLS)
    return (time.process_time() - begun) / IN_TURN * 1000


async def measure(level: Level, seconds: float, how: Callable[[Call], Awaitable[float]]) -> str:
    async with fake(seconds) as url, AsyncOpenAI(api_key="k", base_url=url) as client:
        conversations = [(await client.conversations.create()).id for _ in range(PARALLEL_CALLS)]
        model = ServedModel(
            ModelServerClient(ModelEndpoint("k", url)),
            ModelOptions(),
            level=level,
            record_object_to_erase=nobody,
        )
        sides = (bare(client, level, conversations), ours(model, conversations))
        for side in sides:
            await side(0)
        rows = [[await how(side) for side in sides] for _ in range(RUNS)]
        theirs, mine = (statistics.median(column) for column in zip(*rows, strict=True))
        await model.close()
        most = await most_at_once(url)
    if how is together:
        assert mine <= MAX_RATIO * theirs, (level, mine, theirs)
        assert most == PARALLEL_CALLS
        return f"{theirs:8.2f} s {mine:8.2f} s {mine / theirs:6.2f}   {most} in flight"
    return f"{theirs:7.2f} ms {mine:7.2f} ms {mine / theirs:6.2f}   CPU for one call"


async def nobody(thread: str, remote: Remote) -> None:
    return None


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    sys.stdout.write(f"{'':15}{'bare SDK':>10}{'Ponte':>11}  ratio\n")
    for level in LEVELS:
        sys.stdout.write(f"{level:15}{await measure(level, MODEL_SECONDS, together)}\n")
    for level in LEVELS:
        sys.stdout.write(f"{level:15}{await measure(level, 0.0, in_turn)}\n")


if __name__ == "__main__":
    asyncio.run(main())
