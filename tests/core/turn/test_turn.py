"""The rounds between model and tools: parallel calls, caps, faults, and going on after a crash."""

from __future__ import annotations

import asyncio
import json
import mimetypes
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bot.engine import Engine
from core.base.errors import ModelDown, NoQuota, TakenOver, ToolError
from core.domain.messages import Answer, Attachment, Card, Item, Post, Progress, Usage
from core.domain.model_rounds import (
    ModelEvent,
    RoundCompleted,
    RoundRequest,
    TextDelta,
    TextWithdrawn,
)
from core.domain.ports import Model, RenderProgress, Tool
from core.domain.records import Outcome, RoundOutput, ToolCall, ToolContext, Turn
from core.domain.rights import Effect
from core.money.allowances import MAX_OUTPUT_TOKENS, Allowance
from core.money.budget import SqlReservation
from core.money.usage import NANODOLLARS_PER_DOLLAR, PaidRun, Price, Prices
from core.store.database import SqlConnection
from core.tools.tool import FunctionTool
from core.turn.rounds import MAX_ROUNDS
from core.turn.transcript import MAX_SHOWN_SOURCES
from tests.fakes.choices import make_choices, make_message, make_spending, open_engine
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.models import EchoModel
from tests.time_limits import Limits

Script = Callable[[RoundRequest], Sequence[ModelEvent]]
Fn = Callable[..., Coroutine[Any, Any, Any]]


class Scripted(EchoModel):
    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script

    async def ask(self, ask: RoundRequest) -> Any:
        self.asks.append(ask)
        for event in self._script(ask):
            yield event


class Watched:
    def __init__(self) -> None:
        self.shown: list[Progress] = []

    first_key = ""

    def split(self, text: str) -> tuple[str, ...]:
        return (text,)

    async def show(self, progress: Progress, render: RenderProgress | None = None) -> None:
        self.shown.append(await render() if render else progress)

    async def wait_for_updates(self) -> None:
        return None

    async def settle_posts(self) -> None:
        return None

    async def finish(self, answer: Answer) -> None:
        return None

    async def refresh(self, answer: Answer) -> None:
        return None

    async def correct_late_posts(self, answer: Answer, posts: Sequence[Post]) -> None:
        return None


def _tool(fn: Fn, effect: Effect = "read", name: str = "") -> Tool:
    return FunctionTool(fn, effect=effect, doing="is looking…", name=name or fn.__name__)


def _call(name: str, number: int = 0, **arguments: object) -> Item:
    return Item("call", call_id=f"c{number}", name=name, arguments=json.dumps(arguments))


def _completed_with(text: str) -> RoundCompleted:
    return RoundCompleted((Item("message", role="assistant", text=text),))


def _then(*rounds: Sequence[ModelEvent]) -> Script:
    return lambda ask: rounds[ask.number - 1]


ALLOWANCES = (
    Allowance("each person", tokens=10**9),
    Allowance("each channel", "month", tokens=10**9),
    Allowance("everybody", "month", tokens=10**9),
)


@asynccontextmanager
async def _bot(
    home: Path,
    model: Model,
    *tools: Tool,
    allowances: Sequence[Allowance] = (),
    prices: Prices | None = None,
) -> AsyncIterator[tuple[Engine, Watched]]:
    spending = make_spending(allowances=allowances, prices=prices)
    choices = make_choices(model, [FixedTools(*tools)], spending=spending)
    engine, reply = await open_engine(home, choices), Watched()
    engine.platforms.replies["web"] = lambda to, posts: reply
    engine.start()
    yield engine, reply
    await engine.drain(5)
    await engine.close()


async def _answer(engine: Engine, text: str = "go", key: str = "k1") -> Answer:
    receipt = await engine.conversations.inbox.accept(make_message(text, key))
    return await engine.conversations.inbox.wait_for_answer(receipt.seq)


async def _begin(engine: Engine, text: str = "go") -> Turn:
    """Begin the turn of the message k1 in a process that ends without going on with it."""
    await engine.drain(0)
    receipt = await engine.conversations.inbox.accept(make_message(text, "k1"))
    turn = await engine.conversations.journal.begin(receipt.seq)
    assert turn
    return turn


TEXT_KINDS = "text (such as CSV, JSON, Markdown, code)"
UNREAD_FILES: Sequence[tuple[str, str, str]] = (
    ("text", "a.pdf", f"I can't read `a.pdf`. I can read {TEXT_KINDS}."),
    ("text picture", "b.xlsx c.png d.ogg",
     f"I can't read `b.xlsx`, `d.ogg`. I can read {TEXT_KINDS}, pictures (PNG, JPEG, WebP, GIF)."),
    ("text picture pdf", "a.pdf c.png e.csv", ""),
    ("text pdf", "c.png f.zip g.heic",
     f"I can't read `c.png`, `f.zip`, `g.heic`. I can read {TEXT_KINDS}, PDF."),
    ("text", "latin.csv",
     "`latin.csv` isn't UTF-8. I read it as Windows-1252. If letters are wrong, send it as UTF-8."),
    ("text", "zip.txt", "I couldn't read `zip.txt`, so I answered without this file."),
    ("", "a.pdf", ""),
    ("text picture", "c.png full.png",
     "I answered without reading `full.png`. Send fewer files in one message, or "
     "files of another type."),
)  # fmt: skip
"""What the model reads ("": unknown), the files of a message, and the note under the answer. The
file `full.png` does not fit."""


async def test_a_file_that_is_not_read_is_told(tmp_path: Path) -> None:
    content = {"latin.csv": "Ação;Ł".encode("cp1250", "replace"), "zip.txt": b"PK\x03\x04\0\0"}

    def script(ask: RoundRequest) -> Sequence[ModelEvent]:
        kinds, names, _ = UNREAD_FILES[len(model.asks) - 1]
        unseen = tuple(name for name in names.split() if name == "full.png")
        kinds_read = frozenset(kinds.split()) or None
        completion = _completed_with("done")
        return [replace(completion, file_kinds=kinds_read, unseen_files=unseen)]

    model = Scripted(script)
    async with _bot(tmp_path, model) as (engine, _):
        for number, (_kinds, names, note) in enumerate(UNREAD_FILES):
            message, options = make_message("look", f"k{number}", f"C{number}"), []
            for name in names.split():
                kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
                file = await engine.conversations.files.put(
                    message.event_key, name, kind, content.get(name, b"x"), message.author, "c"
                )
                options.append(Attachment(name, kind, file.size, file.id))
            receipt = await engine.conversations.inbox.accept(
                replace(message, attachments=tuple(options))
            )
            answer = await engine.conversations.inbox.wait_for_answer(receipt.seq)
            assert answer.text == (f"done\n\n_{note}_" if note else "done")


@pytest.mark.usefixtures("durable_sqlite")
@pytest.mark.parametrize(
    ("allowances", "least"), [([Allowance("each person", turns=9)], 1), (ALLOWANCES, 2)]
)
async def test_only_reserved_money_waits_for_the_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    allowances: Sequence[Allowance],
    least: int,
) -> None:
    """In SQLite's mode 1 (NORMAL), a power failure may undo what was stored before the request."""
    reserve, modes = SqlReservation.__call__, list[int]()

    def note_mode(self: SqlReservation, connection: SqlConnection, is_new: bool) -> None:
        reserve(self, connection, is_new)
        modes.append(connection.execute("PRAGMA synchronous").fetchone()[0])

    monkeypatch.setattr(SqlReservation, "__call__", note_mode)
    model = Scripted(lambda ask: [_completed_with("done")])
    model.level = "chat"  # the demo model costs nothing
    async with _bot(tmp_path, model, allowances=allowances) as (engine, _):
        for key in ("k1", "k2", "k3"):  # another write may share the transaction of one
            await _answer(engine, key=key)
    assert len(modes) == 3
    assert min(modes) == least


async def test_the_calls_of_a_round_run_side_by_side(tmp_path: Path) -> None:
    together = asyncio.Barrier(3)

    async def meet() -> str:
        """Waits for the others."""
        await together.wait()
        return "met"

    calls = tuple(_call("meet", number) for number in range(3))
    model = Scripted(_then([RoundCompleted(calls)], [_completed_with("done")]))
    async with _bot(tmp_path, model, _tool(meet)) as (engine, reply):
        assert (await _answer(engine)).text == "done"
    assert [item.call_id for item in model.asks[1].input] == ["c0", "c1", "c2"]
    assert {item.text for item in model.asks[1].input} == {"met"}
    assert "is looking…" in {progress.current_step for progress in reply.shown}


async def test_a_round_cap_ends_a_loop_with_words(tmp_path: Path) -> None:
    async def again() -> str:
        """Never enough."""
        return "more"

    model = Scripted(lambda ask: [RoundCompleted((_call("again", ask.number),))])
    async with _bot(tmp_path, model, _tool(again)) as (engine, _):
        answer = await _answer(engine)
    assert answer.code == "too_many_rounds"
    assert len(model.asks) == MAX_ROUNDS


def _make_spend(ran: list[int]) -> Fn:
    async def spend(n: int) -> str:
        """Costs."""
        ran.append(n)
        return "spent"

    return spend


@pytest.mark.parametrize(
    ("effect", "most", "costly"), [("spend", 20, True), ("code", 20, True), ("read", 60, False)]
)
async def test_a_turn_cannot_spend_without_end(
    tmp_path: Path, effect: Effect, most: int, costly: bool
) -> None:
    """More calls are not run, however many rounds ask for them; model and person are told."""
    ran: list[int] = []
    rounds = [
        [RoundCompleted(tuple(_call("spend", n, n=n) for n in range(begin, begin + 35)))]
        for begin in (0, 35)
    ]
    model = Scripted(_then(*rounds, [_completed_with("I did what I could.")]))
    async with _bot(tmp_path, model, _tool(_make_spend(ran), effect)) as (engine, _):
        answer = await _answer(engine)
    assert sorted(ran) == list(range(most))
    texts = [item.text for one in model.asks[1:] for item in one.input]
    assert texts[:most] == ["spent"] * most
    assert all("Not run. This turn has used up its" in text for text in texts[most:])
    assert answer.text.startswith("I did what I could.\n\n_I stopped after ")
    payment = "paid " if costly else ""
    assert f"after {most} {payment}tool calls" in answer.text


async def test_calls_that_only_propose_cost_nothing(tmp_path: Path) -> None:
    class Proposing(FunctionTool):
        def only_proposes(self, arguments: str) -> bool:
            return True

    tool = Proposing(_make_spend([]), effect="spend", doing="", name="propose")
    calls = tuple(_call("propose", n, n=n) for n in range(25))
    model = Scripted(_then([RoundCompleted(calls)], [_completed_with("Done.")]))
    async with _bot(tmp_path, model, tool) as (engine, _):
        assert (await _answer(engine)).text == "Done."


async def test_a_turn_that_resumes_has_spent_what_it_spent(tmp_path: Path) -> None:
    ran: list[int] = []
    target_event, never = asyncio.Event(), asyncio.Event()
    tool = _tool(_make_spend(ran), "spend")

    def script(ask: RoundRequest) -> Sequence[ModelEvent]:
        if ask.number == 3:
            return [_completed_with("So far.")]
        first = 15 * (ask.number - 1)
        return [RoundCompleted(tuple(_call("spend", n, n=n) for n in range(first, first + 15)))]

    class Gated(Scripted):
        async def ask(self, ask: RoundRequest) -> Any:
            if ask.number == 2:
                target_event.set()
                await never.wait()
            async for event in super().ask(ask):
                yield event

    async with _bot(tmp_path, Gated(script), tool) as (engine, _):
        await engine.conversations.inbox.accept(make_message("go", "k1"))
        await target_event.wait()
        await engine.drain(0)
        states = await engine.stores.database.read(
            lambda c: [tuple(row) for row in c.execute("SELECT state, attempt FROM inbox")]
        )
        assert states == [("new", 0)], "a drain counts no attempt"
    async with _bot(tmp_path, Scripted(script), tool) as (engine, _):
        answer = await _answer(engine)
    assert sorted(ran) == list(range(20))
    assert "after 20 paid tool calls" in answer.text


async def test_the_model_is_told_of_a_tools_fault_and_goes_on(tmp_path: Path) -> None:
    async def refuse() -> str:
        """Fails."""
        raise ToolError("No such table.", code="no_table", hint="try Customers")

    async def fail() -> str:
        """Fails."""
        raise RuntimeError("secret inside")

    calls = RoundCompleted((_call("refuse", 1), _call("fail", 2)))
    model = Scripted(_then([calls], [_completed_with("I could not.")]))
    async with _bot(tmp_path, model, _tool(refuse), _tool(fail)) as (engine, _):
        assert (await _answer(engine)).text == "I could not."
    first, second = (item.text for item in model.asks[1].input)
    assert "try Customers" in first
    assert "The tool broke" in second
    assert "secret inside" not in second


EFFECTS: tuple[Effect, ...] = ("read", "write", "spend", "code")


async def test_a_call_that_takes_too_long_may_have_happened_unless_it_only_reads(
    tmp_path: Path,
) -> None:
    async def hang() -> str:
        """Never ends."""
        await asyncio.Event().wait()
        return ""

    tools = [FunctionTool(hang, effect=e, doing="", patience=0.0, name=e) for e in EFFECTS]
    calls = tuple(_call(effect, number) for number, effect in enumerate(EFFECTS))
    model = Scripted(_then([RoundCompleted(calls)], [_completed_with("sorry")]))
    with capture_logs() as logs:
        async with _bot(tmp_path, model, *tools) as (engine, _):
            assert (await _answer(engine)).text == "sorry"
    for item in model.asks[1].input:
        assert '"code":"timeout","message":"No answer within 0 s."' in item.text
    ends = {log["tool"]: log["status"] for log in logs if log["event"] == "tool call ended"}
    assert ends == {"read": "error", "write": "unknown", "spend": "unknown", "code": "unknown"}


async def test_the_log_has_the_end_of_each_turn_with_its_facts(tmp_path: Path) -> None:
    def fail(request: RoundRequest) -> Sequence[ModelEvent]:
        if request.seq > 1:
            raise ModelDown
        return [replace(_completed_with("hi"), usage=Usage(20, output=3))]

    with capture_logs() as logs:
        async with _bot(tmp_path, Scripted(fail)) as (engine, _):
            await _answer(engine)
            await _answer(engine, key="k2")
    ends = [log for log in logs if log["event"].startswith("turn ")]
    assert all(log.pop("seconds") >= 0 for log in ends)
    facts = {"log_level": "info", "platform": "web", "place": "web:C1", "person": "web:owner"}
    assert ends == [
        {"event": "turn answered", "tokens": 23, **facts},
        {"event": "turn failed", "tokens": 0, "code": ModelDown.code, **facts},
    ]


@pytest.mark.parametrize("fault", ["hangs", "breaks", ""])
async def test_a_container_run_without_a_known_end_costs_what_was_reserved(
    tmp_path: Path, fault: str
) -> None:
    async def compute() -> str:
        """Computes."""
        if fault == "breaks":
            raise RuntimeError("a bug")
        if fault == "hangs":
            await asyncio.Event().wait()
        return "42"

    patience = 0.0 if fault == "hangs" else 60.0
    tool = FunctionTool(compute, effect="code", doing="", patience=patience)
    tool.costs = lambda arguments: PaidRun("container", "", "echo", 1000, 500)
    model = Scripted(_then([RoundCompleted((_call("compute"),))], [_completed_with("done")]))
    allowances = [Allowance("each person", money=NANODOLLARS_PER_DOLLAR)]
    prices = Prices({"echo": Price(1.0, 1.0, 1.0, 2.0)}, container=0.03)
    bot = _bot(tmp_path, model, tool, allowances=allowances, prices=prices)
    async with bot as (engine, _):
        assert (await _answer(engine)).text == "done"
        usage = (await engine.people.budget.usage_today()).usage
    assert (usage.cost or 0.0) == pytest.approx(0.032 if fault else 0.0)


async def test_an_answer_that_was_broken_off_says_why_and_is_kept(tmp_path: Path) -> None:
    """Its note is not part of the transcript, so that the model can go on."""
    item = Item("message", role="assistant", text="So far")
    model = Scripted(_then([TextDelta("So far"), RoundCompleted((item,), broken=NoQuota())]))
    async with _bot(tmp_path, model) as (engine, _):
        answer = await _answer(engine)
        thread = await engine.conversations.journal.current_thread("web:C1")
        transcript = await engine.conversations.journal.transcript(thread.id)
    assert answer.text == f"So far\n\n_I stopped here. {NoQuota().words()}_"
    assert (answer.status, answer.is_cut) == ("done", True)
    assert transcript[-1].item.text == "So far"


async def test_text_that_a_model_withdraws_is_shown_no_more(tmp_path: Path) -> None:
    script: Sequence[ModelEvent]
    script = [TextDelta("A thought."), TextWithdrawn(), TextDelta("Hel"), _completed_with("Hello")]
    async with _bot(tmp_path, Scripted(_then(script))) as (engine, reply):
        assert (await _answer(engine)).text == "Hello"
    assert [each.text for each in reply.shown if each.text] == ["A thought.", "Hel"]


async def test_addresses_that_the_server_names_as_sources_are_links(
    tmp_path: Path,
) -> None:
    sources = [["https://evil.test/?q=secret", "A [title](https://b.test)"]]
    sources += [[f"https://evil.test/{n}", ""] for n in range(20)]
    other = "`https://evil.test/x`"
    text = (
        "Two [1], see https://evil.test/x or [this](https://evil.test/3) or https://evil.test/30."
    )
    item = Item("message", role="assistant", text=text, raw={"sources": sources})
    async with _bot(tmp_path, Scripted(_then([RoundCompleted((item,))]))) as (engine, _):
        answer = await _answer(engine)
    message, _, heading, _, first, *others = answer.text.split("\n")
    assert message == (
        f"Two [1], see {other} or [this](https://evil.test/3) or `https://evil.test/30`."
    )
    assert heading == "Sources:"
    assert "](" not in first.replace("\\](", "")
    assert first.endswith(" https://evil.test/?q=secret")
    assert others[0] == "2. https://evil.test/0"
    assert len(others) == MAX_SHOWN_SOURCES - 1


class Paying(Scripted):
    """A model whose requests cost something; each has `tokens` input tokens."""

    level = "chat"

    def __init__(self, script: Script, tokens: int) -> None:
        super().__init__(script)
        self.tokens = tokens
        self.holds: list[list[int]] = []
        """The tokens of the reservations that each request finds."""
        self.read_holds: Callable[[], Coroutine[Any, Any, list[int]]] | None = None

    async def ask(self, ask: RoundRequest) -> Any:
        assert ask.payment
        await ask.payment(self.tokens)
        if self.read_holds:
            self.holds.append(await self.read_holds())
        async for event in super().ask(ask):
            yield event


async def test_without_any_text_a_used_up_allowance_is_the_answer(tmp_path: Path) -> None:
    """It was used up between two rounds of one turn."""

    async def look() -> str:
        """Looks."""
        return "nothing"

    round_completed = RoundCompleted((_call("look"),), Usage(input=49_000, output=900))
    model = Paying(_then([round_completed]), 1000)
    allowances = [Allowance("each person", tokens=50_000)]
    async with _bot(tmp_path, model, _tool(look), allowances=allowances) as (engine, _):
        answer = await _answer(engine)
    assert (answer.status, answer.code) == ("failed", "too_many")
    assert "50,000" in answer.text, answer.text
    assert len(model.asks) == 1


async def test_a_request_that_is_longer_than_was_reserved_gets_another_reservation(
    tmp_path: Path,
) -> None:
    model = Paying(_then([_completed_with("hello")]), 60_000)
    allowances = [Allowance("each person", tokens=200_000)]
    async with _bot(tmp_path, model, allowances=allowances) as (engine, _):

        def read(connection: Any) -> list[int]:
            return [row["tokens"] for row in connection.execute("SELECT * FROM holds").fetchall()]

        model.read_holds = lambda: engine.stores.database.read(read)
        assert (await _answer(engine)).text == "hello"
    assert model.holds == [[60_000 + MAX_OUTPUT_TOKENS]], "the first one was released"


async def test_a_tool_that_is_not_there_and_arguments_that_are_wrong(tmp_path: Path) -> None:
    async def look(table: str) -> str:
        """Looks."""
        return table

    calls = (_call("drop_all", 1), _call("look", 2, tble="x"))
    model = Scripted(_then([RoundCompleted(calls)], [_completed_with("sorry")]))
    async with _bot(tmp_path, model, _tool(look)) as (engine, _):
        await _answer(engine)
    unknown, wrong = model.asks[1].input
    assert "no tool 'drop_all'" in unknown.text
    assert "table" in wrong.text


async def test_a_fault_in_mid_answer_or_a_missing_end_keeps_what_was_said(tmp_path: Path) -> None:
    item = Item("message", role="assistant", text="So far")

    def script(ask: RoundRequest) -> Sequence[ModelEvent]:
        if ask.seq == 1:
            return [TextDelta("So far")]
        if ask.number == 1:
            return [TextDelta("So far"), RoundCompleted((item, _call("nope")))]
        raise ModelDown

    async with _bot(tmp_path, Scripted(script)) as (engine, _):
        for answer in (await _answer(engine), await _answer(engine, key="k2")):
            assert answer.text == f"So far\n\n{ModelDown().words()}"
            assert (answer.status, answer.code) == ("failed", "model_down")


async def test_an_interrupted_call_is_repeated_only_where_nothing_is_done_twice(
    tmp_path: Path,
) -> None:
    """A crash after the calls' start: their outcome is unknown. A write only proposes, once."""
    ran: list[str] = []

    async def act(ctx: ToolContext) -> str:
        """Acts."""
        ran.append(ctx.call.name)
        return "acted"

    tools = [_tool(act, effect, effect) for effect in EFFECTS]
    calls = tuple(_call(effect, number) for number, effect in enumerate(EFFECTS))
    async with _bot(tmp_path, EchoModel(), *tools) as (engine, _):
        turn, journal = await _begin(engine), engine.conversations.journal
        await journal.record_user_message(turn, [Item("message", role="user", text="go")])
        await journal.record_round(turn, RoundOutput(1, calls, Usage(), "m"))
        for call, effect in zip(calls, EFFECTS, strict=True):
            await journal.record_call_start(turn, ToolCall(call.call_id, effect, "{}", effect))
    model = Scripted(lambda ask: [_completed_with("done")])
    async with _bot(tmp_path, model, *tools) as (engine, _):
        await _answer(engine)
    assert sorted(ran) == ["read", "write"]
    (ask,) = model.asks
    assert ask.number == 2, "the finished round is not asked again"
    outputs = {item.call_id: item.text for item in ask.input if item.kind == "output"}
    assert [outputs["c0"], outputs["c1"]] == ["acted", "acted"]
    assert "unknown" in outputs["c2"]
    assert "unknown" in outputs["c3"]


class Corrected(Watched):
    def __init__(self) -> None:
        super().__init__()
        self.answers: list[str] = []
        self.was_corrected = asyncio.Event()

    async def correct_late_posts(self, answer: Answer, posts: Sequence[Post]) -> None:
        self.answers.append(answer.text)
        self.was_corrected.set()


async def test_a_turn_that_another_process_has_waits_for_its_answer_to_correct_late_posts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    limits(TAKEOVER_POLL_SECONDS=0.0)
    model, reply, polled = EchoModel(), Corrected(), asyncio.Event()
    async with _bot(tmp_path, model) as (engine, _):
        engine.platforms.replies["web"] = lambda to, posts: reply
        journal = engine.conversations.journal
        replace_cards = journal.replace_cards

        async def poll(seq: int, cards: Sequence[Card] = ()) -> Turn | None:
            polled.set()
            return await replace_cards(seq, cards)

        def lose_ownership() -> None:
            raise TakenOver

        with monkeypatch.context() as patch:
            patch.setattr(journal, "check_ownership", lose_ownership)
            patch.setattr(journal, "replace_cards", poll)
            receipt = await engine.conversations.inbox.accept(make_message("go", "k1"))
            await polled.wait()
        assert (model.asks, reply.answers) == ([], []), "the other process asks the model"
        turn = await journal.begin(receipt.seq)
        assert turn
        await journal.record_answer(turn, Answer("from the other process"))
        await journal.end_turn(turn, "done")
        await reply.was_corrected.wait()
    assert reply.answers == ["from the other process"]


async def test_a_write_runs_to_its_record_when_the_turn_is_stopped(tmp_path: Path) -> None:
    begin, go_on = asyncio.Event(), asyncio.Event()

    async def write() -> Outcome:
        """Writes."""
        begin.set()
        await go_on.wait()
        return Outcome("ok", "written")

    model = Scripted(_then([RoundCompleted((_call("write"),))], [_completed_with("unreachable")]))
    async with _bot(tmp_path, model, _tool(write, "write")) as (engine, _):
        receipt = await engine.conversations.inbox.accept(make_message("go", "k1"))
        await begin.wait()
        await engine.conversations.inbox.cancel(receipt.seq)
        go_on.set()
        assert (await engine.conversations.inbox.wait_for_answer(receipt.seq)).status == "stopped"
        current_thread = await engine.conversations.journal.current_thread("web:C1")
        journal = engine.conversations.journal
        items = [entry.item for entry in await journal.transcript(current_thread.id)]
    assert [item.text for item in items if item.kind == "output"] == ["written"]
