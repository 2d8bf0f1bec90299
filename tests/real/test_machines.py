"""Several processes on one Postgres: killed, frozen, cut off, with a full disk; one answer each.

`make storm ENGINE=postgres` causes hundreds of faults, and kills at every border of a turn
(`PONTE_STORM`).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp
import psycopg
import pytest

from core.base.errors import NotStored
from core.base.tasks import Backoff
from core.journal.jobs import Jobs
from core.journal.turn_runner import get_row
from core.store import processes
from core.store.postgres import PostgresDatabase
from tests.contract.engines import Shared
from tests.contract.test_inbox import says
from tests.fakes.openai import Script
from tests.fakes.slack import Post
from tests.real.cluster_storm import ClusterStorm, small_disk
from tests.real.machine import LEASE
from tests.real.machines import BOOKS, CLICK_REPEAT_SECONDS, Cluster, Machine, cluster
from tests.real.postgres import SPEED, Postgres, memory_folder, missing, postgres
from tests.real.test_whole import bearer_of
from tests.time_limits import Limits

FAULTS = ("kill a worker", "freeze", "crash Postgres", "kill a server")
MOMENTS = ("before", "inside", "after")
STORM = [(border, moment) for border in range(1, 5) for moment in MOMENTS]
BORDERS = STORM if "PONTE_STORM" in os.environ else [(1, "after"), (4, "inside"), (4, "after")]
"""Borders of a turn: `test_kill_model.py` has the others, of a process alone."""


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """One that may be stopped, crashed and started again."""
    if why := missing():
        pytest.skip(why)
    with postgres({**SPEED, "synchronous_commit": "on"}, memory_folder()) as running:
        yield running


@pytest.mark.timeout(0 if "PONTE_STORM" in os.environ else 240)
async def test_random_faults_of_machines_lose_and_repeat_no_answer(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    async with cluster(own_postgres, tmp_path, "serve", "serve", "work", "work") as machines:
        storm = ClusterStorm(machines, seed=20261121)
        await storm.begin(talks=2)
        await storm.blow(FAULTS)
        late = sum(machine.count_lines("removed a duplicate post") for machine in machines.machines)
        over = sum(
            machine.count_lines("took over a turn of a dead process")
            for machine in machines.machines
        )
        print(
            f"\n{machines.describe_posts()}, {len(machines.rows)} writes; {dict(storm.happened)}; "
            f"{over} turns taken over, {late} late posts taken away"
        )
        assert machines.wrong() == [], machines.last_lines()
        assert machines.open() == 0
        for machine in machines.machines:
            assert await machine.terminate() == 0


async def test_a_restart_of_postgres_is_worded_and_wakes_who_waits(
    own_postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    """The turn ends while nobody listens, so its notification is lost, and nothing polls for it."""
    limits(RECONNECT_SECONDS=0.01)
    limits(RECONNECT_BACKOFF=Backoff(0.01, max_seconds=0.05))
    monkeypatch.setattr(Jobs, "recheck", None)
    with own_postgres.migrated_database() as url:
        engine = await Shared.on(url, tmp_path, works=False)
        listener, may_connect = engine.jobs.notifications, asyncio.Event()
        looked, event = asyncio.Event(), asyncio.Event()
        connect = listener._connect

        async def connect_later() -> Any:
            event.set()
            await may_connect.wait()
            return await connect()

        receipt = await engine.inbox.accept(says("hello"))

        async def look() -> bool | None:
            row = await engine.database.read(partial(get_row, seq=receipt.seq))
            looked.set()
            return row["state"] == "done" or None if row else None

        waiting = asyncio.create_task(engine.jobs.wait_until_ended(receipt.seq, look))
        await looked.wait()
        monkeypatch.setattr(listener, "_connect", connect_later)
        own_postgres.stop()
        await event.wait()
        pool = cast("PostgresDatabase", engine.database)._pool
        pool.timeout = 0.2
        with pytest.raises(NotStored, match="didn't accept a connection within"):
            await engine.inbox.accept(says("hello again"))
        pool.timeout = 30.0
        own_postgres.start()
        with psycopg.connect(url, options="-c search_path=ponte") as connection:
            connection.execute("UPDATE inbox SET state = 'done' WHERE seq = %s", [receipt.seq])
        may_connect.set()
        assert await waiting
        await engine.close()


@pytest.fixture
async def pair(own_postgres: Postgres, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A server and a worker, not started yet."""
    async with cluster(own_postgres, tmp_path, "serve", "work", platforms=["slack"]) as machines:
        yield machines


async def test_a_worker_dies_at_a_border_of_a_turn(pair: Cluster) -> None:
    server, worker = pair.machines
    await server.start()
    talk = pair.slack_talk("border")
    for number, (border, moment) in enumerate(BORDERS):
        await worker.start(PONTE_DIES=f"{border}:{moment}")
        await talk.say(f"word{number}x")
        await worker.wait_for_exit()
        await worker.start()
        await pair.settle()
        assert pair.wrong() == [], (border, moment, pair.last_lines())
        await worker.kill()


async def test_a_server_dies_while_it_stores(pair: Cluster) -> None:
    """What was not acknowledged is delivered again, and stored once."""
    server, worker = pair.machines
    await worker.start()
    talk = pair.slack_talk("border")
    for number, moment in enumerate(MOMENTS):
        await server.start(PONTE_DIES=f"1:{moment}")
        assert server.alive
        await talk.say(f"word{number}x")
        await server.wait_for_exit()
        await server.start()
        await pair.settle()
        assert pair.wrong() == [], (moment, pair.last_lines())
        await server.kill()


async def test_who_is_frozen_in_a_post_takes_it_back(pair: Cluster) -> None:
    """Slack takes its post (an answer's first words, or all of it) when another has answered."""
    server, frozen = pair.machines
    other = Machine("other", "work", Path(frozen.home).parent, frozen.settings)
    pair.machines.append(other)
    await server.start()
    await frozen.start()
    talk = pair.slack_talk("frozen")
    gate = pair.slack.api.hold("chat.postMessage")
    await talk.say("word1x")
    await gate.wait_until_reached()
    frozen.freeze()
    await other.start()
    await pair.settle()
    assert list(talk.answers()) == ["You said: word1x"]
    gate.release()
    posts = partial(pair.slack.workspace.by_bot, talk.place.id)
    await pair.slack.wait_until(lambda: len(posts()) == 2)
    frozen.wake()
    await pair.slack.wait_until(lambda: len(posts()) == 1, 20)
    assert pair.wrong() == []
    assert frozen.count_lines("removed a duplicate post") == 1
    await talk.say("word2x")
    await pair.settle()
    assert pair.wrong() == [], pair.last_lines()


async def test_an_allowance_holds_over_workers_that_die(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    """Twelve ask at once where six may; a worker dies at what it reserves, another in the midst.

    The first is the only one then: another could take all twelve before it, and it would live.
    """
    config = '[[allowances]]\nof = "everybody"\nturns = 6\n'
    async with cluster(
        own_postgres, tmp_path, "serve", "work", "work", platforms=["slack"], config=config
    ) as machines:
        server, one, two = machines.machines
        await server.start()
        await two.start(PONTE_DIES="1:after")
        talks = [machines.slack_talk(f"a{number}") for number in range(12)]
        for number, talk in enumerate(talks):
            await talk.say(f"word{number}x")
        await two.wait_for_exit()
        await one.start()
        await machines.slack.wait_until(lambda: any(talk.whole for talk in talks), 60)
        await one.kill()
        await one.start()
        await two.start()
        await machines.settle()
        answers = [answer for talk in talks for answer in talk.answers()]
        refusals = [answer for answer in answers if "limit" in answer]
        assert len(answers) == 12, machines.last_lines()
        assert len(refusals) == 6, answers
        assert machines.query("SELECT turns FROM counters WHERE scope NOT LIKE 'cap%'") == [(6,)]


async def test_a_request_to_an_approver_outlives_who_sends_it(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    """Each dies as soon as her copy stands, and again as soon as she has clicked."""
    config = f'{BOOKS}\n[tables.Customers]\napprovers = ["slack:S1"]\n'
    async with cluster(
        own_postgres, tmp_path, "serve", "work", platforms=["slack"], config=config
    ) as machines:
        carol = machines.slack.person("Carol")
        machines.slack.workspace.groups["S1"] = {carol.id}
        direct = machines.slack.dm(carol)

        def copies() -> list[Post]:
            return machines.slack.workspace.by_bot(direct.id)

        async def all_die() -> None:
            for machine in machines.machines:
                await machine.kill()
            for machine in machines.machines:
                await machine.start()

        for machine in machines.machines:
            await machine.start()
        talk = machines.slack_talk("asks")
        await machines.propose(talk, "word1x")
        await machines.slack.wait_until(copies, 30)
        await all_die()
        await machines.slack.wait_until(lambda: talk.whole and not machines.open(), 30)
        (copy,) = copies()
        machines.slack.click(carol, copy, "Approve")
        await machines.slack.wait_until(lambda: machines.created_rows()["word1x"], 30)
        await all_die()
        text = "Approved by Carol"
        await machines.slack.wait_until(
            lambda: text in copy.visible_text and text in talk.answers()[0], 60
        )
        assert (len(copies()), machines.created_rows()["word1x"]) == (1, 1)
        await machines.slack.wait_until(lambda: not machines.open(), 30)
        assert machines.wrong() == [], machines.last_lines()


async def test_discords_gateway_is_held_by_one_and_taken_over(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    async with cluster(
        own_postgres, tmp_path, "serve", "serve", "work", platforms=["discord"]
    ) as machines:
        for machine in machines.machines:
            await machine.start()
        talk = machines.discord_talk("ana")
        await talk.say("word1x")
        await machines.settle()
        holder = machines.holder()
        assert holder
        assert machines.discord.gateway.connection_count == 1
        await holder.kill()
        await talk.say("word2x")  # nobody hears it; the next one reads it back
        await machines.settle()
        assert machines.wrong() == [], machines.last_lines()
        heir = machines.holder()
        assert heir
        assert heir is not holder
        await holder.start()
        await talk.say("word3x")
        await machines.settle()
        assert machines.wrong() == [], machines.last_lines()
        assert machines.discord.gateway.connection_count == 1
        assert await heir.terminate() == 0
        await talk.say("word4x")
        await machines.settle()
        assert machines.wrong() == [], machines.last_lines()


async def test_a_page_is_followed_on_another_server_than_runs_the_turn(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    """Asked at one, told of by the other, answered by a worker; both know the same token."""
    async with cluster(own_postgres, tmp_path, "serve", "serve", "work", platforms=[]) as machines:
        for machine in machines.machines:
            await machine.start()
        one, two, _ = machines.machines
        assert bearer_of(one.home) == bearer_of(two.home)
        async with aiohttp.ClientSession(headers=bearer_of(one.home)) as session:
            payload = {"message": "word1x", "conversation": "c1"}
            async with session.post(f"{one.page}/chat", json=payload) as answer:
                assert (await answer.json())["response"] == "You said: word1x"
            async with session.get(f"{two.page}/conversations/c1") as there:
                texts = [line["text"] for line in (await there.json())["messages"]]
                assert texts == ["word1x", "You said: word1x"]
            async with session.get(f"{two.page}/status") as status:
                (database, *_) = (await status.json())["parts"]
            assert database["words"].startswith("Postgres; processes that receive events: 2;")


@pytest.mark.slow
async def test_a_worker_hears_from_the_server_who_left_a_channel(pair: Cluster) -> None:
    """The worker has asked Slack for the members, and would trust the answer for a minute."""
    for machine in pair.machines:
        await machine.start()
    talk = pair.slack_talk("leaver")
    talk.root = pair.slack.say(pair.slack.person("Bob"), talk.place, "The offer is out")
    read = ("read_messages", json.dumps({"since": None}))

    async def ask() -> str:
        pair.model.say(Script(calls=(read,)))
        await talk.say("catch up")
        await pair.slack.wait_until(lambda: talk.whole, 30)
        return talk.answers()[-1]

    assert "The offer is out" in await ask()
    departure = pair.slack.leave(talk.person.id, talk.place)
    await departure.acked.wait()
    # The notification of Postgres comes at its own time, and the fake delivers more messages of
    # who left, so the question can be repeated.
    answers = [await ask() for _ in range(5)]
    assert "The offer is out" not in answers[-1], answers
    assert "can't read the messages here" in answers[-1]


@pytest.fixture
def disk() -> Iterator[Path]:
    try:
        with small_disk("96m") as folder:
            yield folder
    except PermissionError as refused:
        pytest.skip(f"blocked: {refused}")


@pytest.fixture
def small_postgres(disk: Path) -> Iterator[Postgres]:
    if why := missing():
        pytest.skip(why)
    with postgres({**SPEED, "max_wal_size": "32MB", "min_wal_size": "32MB"}, disk) as running:
        yield running


@pytest.mark.slow
async def test_a_disk_that_is_full(small_postgres: Postgres, disk: Path, tmp_path: Path) -> None:
    """Postgres takes nothing, so nothing is acknowledged; with room again all is answered."""
    async with cluster(small_postgres, tmp_path, "serve", "work", platforms=["slack"]) as machines:
        for machine in machines.machines:
            await machine.start()
        talks = [machines.slack_talk(f"t{number}") for number in range(4)]
        for number, talk in enumerate(talks):
            await talk.say(f"word{number}x")
        await machines.settle()
        filler = disk / "filler"
        with filler.open("wb") as out:
            out.write(b"\0" * max(0, shutil.disk_usage(disk).free - (64 << 10)))
        for round_ in range(1, 40):
            if machines.count_refusals():
                break
            for number, talk in enumerate(talks):
                await talk.say(f"word{round_ * 10 + number}x")
            with suppress(TimeoutError):
                await machines.slack.wait_until(machines.count_refusals, 1)
        assert machines.count_refusals()
        filler.unlink()
        if not machines.postgres.running:  # it gives up where its log cannot be written
            machines.postgres.start()
        await machines.settle(90)
        assert machines.wrong() == [], machines.last_lines()


def test_leases_are_short_enough_for_a_takeover() -> None:
    """As in production: the gateway within 15 s, a turn soon after its process is silent."""
    assert processes.ROLE_LEASE_SECONDS + processes.BEAT_SECONDS <= 15
    assert processes.LEASE_SECONDS >= 3 * processes.BEAT_SECONDS
    assert CLICK_REPEAT_SECONDS > LEASE
