"""Start-up and memory of the whole process, beside a bare interpreter in the same run.

`make bench` or `python -m benchmarks.startup`. Seconds are medians of several runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.process import resident

RUNS = 7
PONTE = (sys.executable, "-m", "bot")


def _seconds(command: Sequence[str]) -> float:
    took = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def _ready(environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds until `ponte run` says that it is ready, and its MB then."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [*PONTE, "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout
        while "ready" not in process.stdout.readline():
            assert process.poll() is None
        took = time.perf_counter() - begun
        memory = resident(process.pid) / 1e6
        process.terminate()
    return took, memory


def main() -> None:
    floor = _seconds([sys.executable, "-c", "pass"])
    version = _seconds([*PONTE, "version"])
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PONTE_HOME": str(Path(folder)), "PONTE_WEB_PORT": "0"}
        starts = [_ready(environment) for _ in range(RUNS)]
    ready = statistics.median(took for took, _ in starts)
    memory = statistics.median(used for _, used in starts)
    for what, ours in (("ponte version", version), ("ponte run, ready", ready)):
        sys.stdout.write(
            f"{what:<24} {ours:6.2f} s   floor {floor:.3f} s   ratio {ours / floor:6.1f}\n"
        )
    sys.stdout.write(f"{'idle memory':<24} {memory:6.0f} MB\n")


if __name__ == "__main__":
    main()
