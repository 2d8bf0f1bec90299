"""The way of one message through the code: `python -m benchmarks.flows [--list FLOW]`.

Four flows run in a whole Ponte beside the tests' doubles of Slack, OpenAI and NocoDB: a mention
without tools, a proposed write, its approval, and a code run. `turn` is the mention alone, without
the clients of Slack and OpenAI. A profiler sees every call of a function of Ponte, in every thread,
from the event until its last record. Each flow runs once before it is counted, so that imports,
catalogues and people are known.

- files: files of `bot`, `adapters` and `core` in which a function was called.
- calls: calls of their functions, without comprehensions and methods that dataclasses generate.
- returns: how often the next call is in another file which a call was in before. A reader who
  follows the flow goes back to a file so often.
- commits: commits of `ponte.db` and `threads.db`.
- fsyncs: lines of the audit log and files that were written to the disk.

The second table counts decisions that a turn makes once: the text parsed as a command, the rules
walked for a right, the settings of a channel, the language of a person.

Counts differ a little between runs: writes that arrive together share a commit, and a stream shows
its progress when there is time.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import logging
import os
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest import mock

import structlog
from pydantic import SecretStr

from bot.config.ponte_toml import Config
from core.base import i18n
from core.commands import grammar
from core.people.policy import Policy
from core.people.rules import Rule
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import on_slack
from tests.dialogues.office import PAID, ZONE, Office, office
from tests.fakes.openai import Script
from tests.fakes.openai.script import Run
from tests.fakes.slack import FakeSlack, Post, SlackChannel, SlackPerson

ROOT = Path(__file__).parents[1]
FOLDERS = tuple(f"{ROOT / name}{os.sep}" for name in ("bot", "adapters", "core"))
SETTLE_SECONDS = 0.5
"""How long records and redrawn cards are waited for, before a flow and once its answer is seen."""
LANGUAGE_CHOSEN = "language chosen"
"""Sentences that are written in the language that is set already do not count."""
DECISIONS: dict[str, Callable[..., object]] = {
    "text parsed": grammar.parse_command,
    "verdicts": Policy.decide,
    "rules compared": Rule.decide,
    "channel settings": Config._merge_channels,
    LANGUAGE_CHOSEN: i18n.nearest_locale,
}
CSV = ("sales.csv", "text/csv", b"month,total\nJan,20\nFeb,22\n")
PNG = b"\x89PNG\r\n\x1a\n a plot"
CODE = "plot('sales.csv')"


@dataclass
class Trace:
    """What one flow did: the file and name of each call, and its writes."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    decisions: Counter[str] = field(default_factory=Counter)
    commits: int = 0
    fsyncs: int = 0

    @property
    def files(self) -> int:
        return len({file for file, _ in self.calls})

    @property
    def returns(self) -> int:
        visits = [
            file
            for number, (file, _) in enumerate(self.calls)
            if not number or self.calls[number - 1][0] != file
        ]
        return len(visits) - self.files


class Recorder:
    """Counts into `trace` while there is one."""

    def __init__(self) -> None:
        self.trace: Trace | None = None
        self._bytecode: dict[CodeType, bytes] = {}
        self._decisions = {inspect.unwrap(f).__code__: name for name, f in DECISIONS.items()}

    def on_event(self, frame: FrameType, event: str, _: object) -> None:
        """See a call, and not that a coroutine or generator goes on."""
        if self.trace is None or event != "call":
            return
        code = frame.f_code
        if not code.co_filename.startswith(FOLDERS) or not self._is_first_entry(frame):
            return
        decision = self._decisions.get(code)
        if decision and not (decision == LANGUAGE_CHOSEN and _is_same_file(frame.f_back, code)):
            self.trace.decisions[decision] += 1
        if not code.co_name.startswith("<") or code.co_name == "<lambda>":
            file = str(Path(code.co_filename).relative_to(ROOT))
            self.trace.calls.append((file, code.co_qualname))

    def _is_first_entry(self, frame: FrameType) -> bool:
        """CPython's RESUME says by its argument where a function goes on: 0 is its beginning."""
        code = frame.f_code
        if code not in self._bytecode:
            self._bytecode[code] = code.co_code
        return self._bytecode[code][frame.f_lasti + 1] == 0

    def on_statement(self, sql: str) -> None:
        if self.trace is not None and sql.strip().upper() == "COMMIT":
            self.trace.commits += 1

    def on_fsync(self) -> None:
        if self.trace is not None:
            self.trace.fsyncs += 1

    @contextmanager
    def record_everything(self) -> Iterator[None]:
        """See all threads and connections that begin from now on."""
        connect, fsync = sqlite3.connect, os.fsync

        def watched_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            connection.set_trace_callback(self.on_statement)
            return connection

        def counted_fsync(file: int) -> None:
            self.on_fsync()
            fsync(file)

        threading.setprofile(self.on_event)
        sys.setprofile(self.on_event)
        try:
            with (
                mock.patch.object(sqlite3, "connect", watched_connect),
                mock.patch.object(os, "fsync", counted_fsync),
            ):
                yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    async def measure(self, flow: Awaitable[object]) -> Trace:
        await asyncio.sleep(SETTLE_SECONDS)
        grammar._parse.cache_clear()  # as for a text that is new
        self.trace = trace = Trace()
        await flow
        await asyncio.sleep(SETTLE_SECONDS)
        self.trace = None
        return trace


def _is_same_file(frame: FrameType | None, code: CodeType) -> bool:
    return frame is not None and frame.f_code.co_filename == code.co_filename


@dataclass
class Stage:
    """Alice may propose and approve her own changes of one row, and run code."""

    slack: FakeSlack
    team: Office
    alice: SlackPerson
    place: SlackChannel
    card: Post | None = None
    """The newest proposal's."""

    async def mention(self, text: str, *files: tuple[str, str, bytes]) -> Post:
        said = self.slack.say(self.alice, self.place, f"{self.slack.bot} {text}", files=files)
        return await self.slack.wait_for_answer(said)

    async def propose(self) -> None:
        self.card = await self.mention(PAID)

    async def approve(self) -> None:
        card = self.card
        assert card
        assert "Approve" in card.buttons, card.visible_text
        self.slack.click(self.alice, card, "Approve")
        await self.slack.wait_until(lambda: "Done." in card.visible_text)

    async def run_code(self) -> None:
        await self.mention("plot this by month", CSV)
        shared = self.slack.workspace.files.values
        await self.slack.wait_until(lambda: any(file.name == "sales.png" for file in shared()))

    def script_code(self) -> None:
        call = Script(calls=(("run_python", json.dumps({"code": CODE})),), match="plot this")
        self.team.openai.say(call, "Here is the plot.")
        self.team.openai.runs(
            Script(text="done", runs=(Run(logs="", files=(("sales.png", PNG),)),))
        )


@asynccontextmanager
async def running_bot(home: Path, *, tools: bool) -> AsyncIterator[Stage]:
    """`tools`: with NocoDB and code."""
    async with office(home) as team, FakeSlack() as slack:
        alice = slack.person("Alice", tz=ZONE.key)
        settings: dict[str, Any] = {
            "slack_bot_token": SecretStr(slack.bot_token),
            "slack_api_url": slack.base_url,
            "slack_app_token": SecretStr(slack.app_token),
            "ponte_web": "off",
            "ponte_allow": frozenset({f"slack:{alice.id}"}),
        }
        settings |= (
            {"ponte_code": "hosted"} if tools else {"nocodb_url": None, "nocodb_token": None}
        )
        async with team.open(**settings):
            await slack.deliveries.wait_until_connected()
            yield Stage(slack, team, alice, slack.channel("general", alice))


async def measure() -> dict[str, Trace]:
    """Run each flow once, then count it."""
    recorder = Recorder()
    traces: dict[str, Trace] = {}
    with recorder.record_everything(), tempfile.TemporaryDirectory() as folder:
        async with BotHome(Path(folder) / "turn").open() as bot:
            for key in ("first", "second"):
                asked = bot.ask_message(on_slack("hello", key))
                traces["turn"] = await recorder.measure(asked)
        async with running_bot(Path(folder) / "plain", tools=False) as here:
            for _ in range(2):
                traces["mention"] = await recorder.measure(here.mention("hello"))
        async with running_bot(Path(folder) / "tools", tools=True) as here:
            calls = here.team.nocodb.calls
            for _ in range(2):
                here.team.table("Orders").update(12, {"Paid": False})
                traces["proposal"] = await recorder.measure(here.propose())
                before = len(calls)
                traces["approval"] = await recorder.measure(here.approve())
                nocodb_calls = len(calls) - before
            for _ in range(2):
                here.script_code()
                traces["code"] = await recorder.measure(here.run_code())
    sys.stdout.write(f"NocoDB calls of the approval: {nocodb_calls}\n\n")
    return traces


def print_tables(traces: dict[str, Trace]) -> None:
    sys.stdout.write("| flow | files | calls | returns | commits | fsyncs |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- |\n")
    for name, trace in traces.items():
        sys.stdout.write(
            f"| {name} | {trace.files} | {len(trace.calls):,} | {trace.returns:,} |"
            f" {trace.commits} | {trace.fsyncs} |\n"
        )
    sys.stdout.write(f"\n| flow | {' | '.join(DECISIONS)} |\n{'| --- ' * (len(DECISIONS) + 1)}|\n")
    for name, trace in traces.items():
        counts = (str(trace.decisions[decision]) for decision in DECISIONS)
        sys.stdout.write(f"| {name} | {' | '.join(counts)} |\n")


def print_calls(trace: Trace) -> None:
    """Print the calls in their order, one line for each stay in a file."""
    last = ""
    for file, name in trace.calls:
        sys.stdout.write(f" {name}" if file == last else f"\n{file}: {name}")
        last = file
    sys.stdout.write("\n\n")
    for (file, name), count in Counter(trace.calls).most_common():
        sys.stdout.write(f"{count:5} {file} {name}\n")


async def main(listed: str = "") -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    traces = await measure()
    if listed:
        print_calls(traces[listed])
    print_tables(traces)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--list", default="", choices=["turn", "mention", "proposal", "approval", "code"]
    )
    asyncio.run(main(parser.parse_args().list))
