"""Variants of answers of servers that resemble OpenAI's: are all read as they were sent?

`python -m benchmarks.answers [VARIANTS] [SEED]`. Prints how many there were of each kind. A variant
that is read in another way is an error, with its seed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time

import structlog

from tests.model.fuzz import check_turn, check_variants

VARIANTS, TURNS_SHARE = 20_000, 100
FIRST_SEED = 1_000
"""The tests read the seeds below it."""


async def main(variants: int = VARIANTS, seed: int = FIRST_SEED) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    begun = time.perf_counter()
    counts = await check_variants(range(seed, seed + variants))
    conversations = variants // TURNS_SHARE
    for number in range(seed, seed + conversations):
        await check_turn(number)
    whole, cut = counts["whole"], counts["cut clean"] + counts["cut broken"]
    print(
        f"answers: {variants:,} variants ({whole:,} whole, {cut:,} cut) and {conversations} "
        f"conversations, {time.perf_counter() - begun:.0f} s"
    )
    print("  " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
