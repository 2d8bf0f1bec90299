"""What a tool is given to run with: files, a time zone, and a handle to go on by after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bot.engine import Engine
from core.domain.messages import Answer, Attachment, Item, Message, Usage
from core.domain.model_rounds import ModelEvent, RoundCompleted, RoundRequest
from core.domain.records import Outcome, Remote, RoundOutput, ToolCall, ToolContext
from core.tools.tool import FunctionTool
from core.turn.preface import zone_of
from tests.core.turn.test_turn import Scripted, _begin, _bot, _call, _completed_with
from tests.fakes.choices import ANA, make_message

Act = Callable[[ToolContext], Awaitable[Outcome]]


def _spending(act: Act) -> FunctionTool:
    async def order(ctx: ToolContext) -> Outcome:
        """Orders."""
        return await act(ctx)

    return FunctionTool(order, effect="spend", doing="", name="order")


def _once(name: str = "order") -> Scripted:
    def script(ask: RoundRequest) -> Sequence[ModelEvent]:
        last = ask.input[-1]
        return (
            [_completed_with(last.text)]
            if last.kind == "output"
            else [RoundCompleted((_call(name),))]
        )

    return Scripted(script)


async def _ask(engine: Engine, one: Message) -> Answer:
    receipt = await engine.conversations.inbox.accept(one)
    return await engine.conversations.inbox.wait_for_answer(receipt.seq)


async def _with_file(engine: Engine, one: Message, name: str, data: bytes) -> Message:
    conversation = one.address.conversation
    file = await engine.conversations.files.put(
        one.event_key, name, "text/csv", data, ANA, conversation
    )
    return replace(one, attachments=(Attachment(name, "text/csv", len(data), file.id),))


async def test_a_tool_reads_what_was_attached_and_what_was_made(tmp_path: Path) -> None:
    options: list[list[tuple[str, bytes]]] = []

    async def act(ctx: ToolContext) -> Outcome:
        assert ctx.files
        files = await ctx.files.list_files()
        options.append([(file.name, await ctx.files.read(file)) for file in files])
        saved_change = await ctx.files.save(f"made-{len(options)}.txt", "text/plain", b"made")
        return Outcome("ok", "done", files=(saved_change,))

    async with _bot(tmp_path, _once(), _spending(act)) as (engine, _):
        one = await _with_file(engine, make_message("go", "k1"), "a.csv", b"1")
        answer = await _ask(engine, one)
        assert [file.name for file in answer.files] == ["made-1.txt"]
        await _ask(engine, await _with_file(engine, make_message("go", "k2"), "b.csv", b"2"))
        await _ask(engine, make_message("new", "k3"))
        await _ask(engine, make_message("go", "k4"))
    first, second, fresh = options
    assert first == [("a.csv", b"1")]
    assert second == [("a.csv", b"1"), ("made-1.txt", b"made"), ("b.csv", b"2")]
    assert fresh == []


async def test_sources_stand_once_under_the_answer_and_are_no_answer(tmp_path: Path) -> None:
    lines = iter([("_Orders_",), ("_Orders_", "_Customers_"), ("_Orders_",)])

    async def look() -> Outcome:
        """Looks."""
        return Outcome("ok", "rows", sources=next(lines))

    def script(ask: RoundRequest) -> Sequence[ModelEvent]:
        is_first = len(model.asks) <= 2
        calls = (_call("look", 1), _call("look", 2)) if is_first else (_call("look", 1),)
        message = _completed_with("12 rows" if is_first else "")
        return [RoundCompleted(calls) if ask.number == 1 else message]

    model = Scripted(script)
    tool = FunctionTool(look, effect="read", doing="")
    async with _bot(tmp_path, model, tool) as (engine, _):
        answer = await _ask(engine, make_message("go", "k1"))
        assert answer.text == "12 rows\n\n_Orders_\n\n_Customers_"
        answer = await _ask(engine, make_message("go", "k2"))
    assert answer.text == "The model returned an empty answer. Ask again."


async def test_a_run_that_goes_on_elsewhere_is_taken_up_after_a_restart(tmp_path: Path) -> None:
    waiting, handles = asyncio.Event(), list[str]()

    async def act(ctx: ToolContext) -> Outcome:
        handles.append(ctx.call.handle)
        if ctx.call.handle:
            return Outcome("ok", f"{ctx.call.handle} has ended")
        await ctx.turn.record_handle("run-7")
        waiting.set()
        await asyncio.Event().wait()
        return Outcome("ok", "unreachable")

    async with _bot(tmp_path, _once(), _spending(act)) as (engine, _):
        await engine.conversations.inbox.accept(make_message("go", "k1"))
        await waiting.wait()
        await engine.drain(0)  # does not wait for what goes on elsewhere
    async with _bot(tmp_path, _once(), _spending(act)) as (engine, _):
        answer = await _ask(engine, make_message("go", "k1"))
    assert answer.text == "run-7 has ended"
    assert handles == ["", "run-7"]


async def test_a_stop_comes_through_as_soon_as_the_handle_is_kept(tmp_path: Path) -> None:
    start_event, event = asyncio.Event(), asyncio.Event()

    async def act(ctx: ToolContext) -> Outcome:
        start_event.set()
        await event.wait()
        await ctx.turn.record_handle("run-7")
        await asyncio.Event().wait()
        return Outcome("ok", "unreachable")

    async with _bot(tmp_path, _once(), _spending(act)) as (engine, _):
        receipt = await engine.conversations.inbox.accept(make_message("go", "k1"))
        await start_event.wait()
        await engine.conversations.inbox.cancel(receipt.seq)
        event.set()
        assert (await engine.conversations.inbox.wait_for_answer(receipt.seq)).status == "stopped"


class _Eraser(Scripted):
    """Calls the tool each time; `erased` is what it was told to erase."""

    def __init__(self) -> None:
        super().__init__(_once()._script)
        self.erased = asyncio.Queue[Remote]()

    async def erase(self, remote: Remote) -> bool:
        self.erased.put_nowait(remote)
        return True


async def test_a_container_is_the_threads_and_is_erased_with_it(tmp_path: Path) -> None:
    """The thread has it before the call ends, so that a process that takes over goes on in it."""
    events: list[str] = []

    async def act(ctx: ToolContext) -> Outcome:
        events.append(ctx.thread.container)
        await ctx.turn.record_object_to_erase(Remote("container", "cntr_1"))
        thread = await engine.conversations.threads.get("web:C1")
        assert thread
        assert thread.container == "cntr_1"
        return Outcome("ok", "done")

    model = _Eraser()
    async with _bot(tmp_path, model, _spending(act)) as (engine, _):
        await _ask(engine, make_message("go", "k1"))
        assert (await _ask(engine, make_message("go", "k2"))).text == "done"
        assert await engine.conversations.journal.list_remotes_to_erase() == []
        await _ask(engine, make_message("forget", "k3"))
        assert await model.erased.get() == Remote("container", "cntr_1")
    assert events == ["", "cntr_1"]


async def test_a_second_call_keeps_the_first_ones_handle(tmp_path: Path) -> None:
    async with _bot(tmp_path, Scripted(lambda ask: [_completed_with("ok")])) as (engine, _):
        turn, journal = await _begin(engine), engine.conversations.journal
        call = ToolCall("c0", "order", "{}", "spend")
        item = Item("call", call_id="c0")
        await journal.record_round(turn, RoundOutput(1, (item,), Usage(), "m"))
        await journal.record_call_start(turn, call)
        await journal.record_call_handle(turn, "c0", "run-7")
        await journal.record_call_start(turn, call)
        await journal.put_back(turn)
        again = await journal.begin(turn.seq)
        assert again
        assert again.calls == (replace(call, handle="run-7"),)


@pytest.mark.parametrize(
    ("told", "default", "zone"),
    [
        ("America/Sao_Paulo", "Europe/Paris", "America/Sao_Paulo"),
        ("", "Europe/Paris", "Europe/Paris"),
        ("No/Where", "Europe/Paris", "Europe/Paris"),
        ("Europe", "Europe/Paris", "Europe/Paris"),
        ("../etc/passwd", "No/Where", "UTC"),
    ],
)
def test_the_time_zone_is_the_askers(told: str, default: str, zone: str) -> None:
    assert zone_of(replace(make_message("x", "k"), time_zone=told), default) == zone
