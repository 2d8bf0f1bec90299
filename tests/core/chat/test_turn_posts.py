"""What a turn posts: links, commits, removed posts, answers that cannot be split."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from core.base.errors import ModelDown, NotStored, PostRemoved, ToolError
from core.chat.reply import GrowingReply
from core.domain.messages import Progress
from core.domain.model_rounds import (
    ModelEvent,
    ResponseStarted,
    RoundCompleted,
    RoundRequest,
    TextDelta,
)
from core.domain.ports import RenderProgress
from core.domain.records import Remote, Thread, Turn
from core.money.allowances import Allowance
from core.store.database import SqliteDatabase
from core.turn.manager import ManagedRun
from core.turn.rounds import Rounds, ToolCalls
from core.turn.upkeep import Upkeep
from tests.core.turn.test_turn import (
    ALLOWANCES,
    Scripted,
    _answer,
    _bot,
    _call,
    _completed_with,
    _then,
    _tool,
)
from tests.fakes.models import EchoModel
from tests.fakes.recorder import Recorder, RecordingSurface
from tests.time_limits import Limits


@pytest.mark.parametrize("allowed", [(), ALLOWANCES], ids=["unbounded", "bounded"])
async def test_a_plain_turn_is_five_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits, allowed: tuple[Allowance, ...]
) -> None:
    """Accepted, begun, heard with its place in the budget, answered with its first post's key,
    ended with that post's id."""

    class Slow(RecordingSurface):
        interval = 3600.0  # so that the answer is posted whole

    limits(WHOLE_ANSWER_SECONDS=3600.0)
    monkeypatch.setattr(Upkeep, "once", AsyncMock())
    commits, recorder = list[list[str]](), Recorder()
    commit = SqliteDatabase._commit

    def commit_and_record(database: SqliteDatabase, batch: list[Any]) -> None:
        commits.append([str(write.work) for write in batch])
        commit(database, batch)

    async with _bot(tmp_path, EchoModel(), allowances=allowed) as (engine, _):
        engine.platforms.replies["web"] = lambda to, posts: GrowingReply(
            Slow(recorder, to), posts, to.turn
        )
        await _answer(engine)
        monkeypatch.setattr(SqliteDatabase, "_commit", commit_and_record)
        await _answer(engine, "again", "k2")
        monkeypatch.setattr(SqliteDatabase, "_commit", commit)
    assert recorder.visible("k2") == ["You said: again"]
    assert len(commits) == 5, commits
    with closing(sqlite3.connect(tmp_path / "ponte.db")) as database:
        result = database.execute("SELECT * FROM counters WHERE scope NOT LIKE 'cap%'")
        assert len(result.fetchall()) == len(allowed)


async def test_a_post_that_was_removed_while_it_grew_is_not_replaced_by_an_apology(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _bot(tmp_path, EchoModel()) as (engine, reply):

        async def show(progress: Progress, _: RenderProgress | None = None) -> None:
            if progress.text:
                raise PostRemoved

        monkeypatch.setattr(reply, "show", show)
        answer = await _answer(engine)
    assert (answer.status, answer.text) == ("stopped", "")


async def test_no_text_is_shown_before_its_response_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`forget` must know of each response that a person may have seen."""
    script = _then([ResponseStarted("resp_1"), TextDelta("Hello."), _completed_with("Hello.")])
    at_record, event = list[str](), asyncio.Event()
    async with _bot(tmp_path, Scripted(script)) as (engine, reply):
        record = engine.conversations.journal.record_response

        async def record_late(
            turn: Turn, number: int, response: str, others: Sequence[Remote]
        ) -> None:
            for _ in range(50):  # everything else that could go on goes on
                await asyncio.sleep(0)
            at_record.extend(progress.text for progress in reply.shown)
            await record(turn, number, response, others)
            event.set()

        monkeypatch.setattr(engine.conversations.journal, "record_response", record_late)
        assert (await _answer(engine)).text == "Hello."
        await event.wait()
    assert not any(at_record)
    assert [progress.text for progress in reply.shown][-1] == "Hello."


@pytest.mark.parametrize("fails", ["split", "link"])
async def test_what_was_said_is_not_asked_for_again_where_it_could_not_be_split_or_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """The turn breaks between the model's last word and its record: that word was paid for."""
    model, errors = EchoModel(), {"split": RuntimeError(), "link": NotStored()}
    async with _bot(tmp_path, model) as (engine, reply):
        threads = engine.conversations.threads
        link = threads.link

        def fail_once(name: str) -> None:
            if name == fails and (error := errors.pop(name, None)):
                raise error

        def split(text: str) -> tuple[str, ...]:
            fail_once("split")
            return (text,)

        async def remember(thread: Thread) -> None:
            fail_once("link")
            await link(thread)

        monkeypatch.setattr(reply, "split", split)
        monkeypatch.setattr(threads, "link", remember)
        answer = await _answer(engine)
    assert (answer.text, fails in errors) == ("You said: go", False)
    assert len(model.asks) == 1


async def test_a_finished_turn_is_freed_without_a_collection(tmp_path: Path) -> None:
    """Also one that called tools, one whose tool failed, and one whose model did."""

    async def read() -> str:
        """Reads."""
        return "read"

    async def fail() -> str:
        """Fails."""
        raise ToolError("no")

    def answer(ask: RoundRequest) -> Sequence[ModelEvent]:
        if ask.number > 1:
            return [_completed_with("done")]
        if "break" in str(ask.input):
            raise ModelDown
        return [RoundCompleted((_call("read", 1), _call("fail", 2)))]

    def count_alive() -> int:
        return sum(type(one) in (ManagedRun, Rounds, ToolCalls) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before, model = count_alive(), Scripted(answer)
        async with _bot(tmp_path, model, _tool(read), _tool(fail)) as (engine, _):
            assert (await _answer(engine)).text == "done"
            assert (await _answer(engine, "break", "k2")).status == "failed"
        model.asks.clear()
        assert count_alive() <= before
    finally:
        gc.enable()
