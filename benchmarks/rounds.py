"""What the platforms' benchmarks share: rounds that interleave, and the table of their ratios."""

from __future__ import annotations

import os
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence

ROUNDS = 3
PONTE = "bot"
"""The module that is Ponte; a bare bot has another."""
Measured = Callable[[str], Awaitable[Mapping[str, float]]]


def environment(home: str, model: str, **more: str) -> Mapping[str, str]:
    """Of a Ponte with one platform and this model, and nothing else."""
    return {
        **os.environ, "PONTE_HOME": home, "PONTE_WEB": "off", "PONTE_CODE": "off",
        "PONTE_LOG_LEVEL": "warning", "OPENAI_API_KEY": "key", "OPENAI_BASE_URL": model, **more,
    }  # fmt: skip


async def compare_bots(
    bare: str, measured: Measured, aims: Mapping[str, float], rounds: int
) -> dict[str, float]:
    """Print a row for each figure of `aims`: medians, the ratio and its spread over the rounds, and
    how many times the bare bot's figure ours may be. The ratios."""
    theirs: list[Mapping[str, float]] = []
    ours: list[Mapping[str, float]] = []
    for _ in range(rounds):
        theirs.append(await measured(bare))
        ours.append(await measured(PONTE))
    print(f"{'':14}{'bare':>10}{'Ponte':>10}{'ratio':>8}{'spread':>14}  aim")
    found = {}
    for name, aim in aims.items():
        ratios = sorted(mine[name] / one[name] for mine, one in zip(ours, theirs, strict=True))
        found[name] = statistics.median(ratios)
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        figures = "".join(f"{_median(name, of):10.2f}" for of in (theirs, ours))
        print(f"{name:14}{figures}{found[name]:8.2f}{spread:>14}  ≤ {aim:.2f}")
    return found


def _median(name: str, of: Sequence[Mapping[str, float]]) -> float:
    return statistics.median(one[name] for one in of)
