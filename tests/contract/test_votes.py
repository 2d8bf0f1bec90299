"""Votes on answers: one for each person and answer, the last one, and erased with the rest."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from core.base.errors import PlatformBusy
from core.domain.messages import Answer, Message, Person, Usage
from core.domain.records import Outcome, RoundOutput, ToolCall, Turn
from core.erasure import SqlPersonalData
from core.feedback.votes import MAX_FEEDBACK_CHARACTERS, NotRateable, Press, Vote, Votes
from core.observability import metrics
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says
from tests.contract.test_journal import again
from tests.time_limits import Limits

ANA, BOB = Person("web", "ana"), Person("web", "bob")
ANSWER = Answer("It is 42.", parts=("It is 42.",), is_rateable=True)


async def answer_question(
    stores: Embedded, message: Message, answer: Answer = ANSWER, posts: tuple[str, ...] = ("7:1",)
) -> Turn:
    turn = await again(stores, (await stores.inbox.accept(message)).seq)
    journal = stores.journal
    await journal.record_round(turn, RoundOutput(1, (), Usage(), "gpt-5"))
    await journal.record_call_start(turn, ToolCall("c1", "nocodb_query", "{}", "read"))
    failed = Outcome("error", '{"error":{"code":"no_table","message":"Secret table"}}')
    await journal.record_call_end(turn, "c1", failed)
    await journal.record_call_start(turn, ToolCall("c2", "nocodb_query", "{}", "read"))
    await journal.record_call_end(turn, "c2", Outcome("ok", "42"))
    await journal.record_answer(turn, answer)
    for number, post in enumerate(posts, 1):
        await journal.record_posting(turn, number, f"key{number}")
        if post:
            await journal.record_posted(turn, number, post)
    await journal.end_turn(turn, "done")
    return turn


def press(turn: Turn, vote: Vote, at: float, person: Person = ANA, post: str = "7:1") -> Press:
    return Press(turn.id, person, vote, at, post)


async def list_votes(votes: Votes, **places: Any) -> list[dict[str, Any]]:
    return [dict(one) for one in await votes.report(0.0, False, places)]


async def test_the_last_vote_of_each_person_counts(stores: Embedded) -> None:
    """A press that arrives twice, or after a later one, changes nothing."""
    votes = Votes(stores.database)
    turn = await answer_question(stores, says("why?"))
    assert await votes.vote(press(turn, "up", 1.0))
    assert await votes.vote(press(turn, "down", 2.0))
    await votes.explain(press(turn, "down", 2.0), " too\x1b[31m short\n ", False)
    assert not await votes.vote(press(turn, "up", 1.0))
    assert await votes.vote(press(turn, "down", 3.0))  # Slack sends no event when it is taken back
    assert await votes.vote(press(turn, "up", 2.5, BOB))
    rows = {one["person"]: (one["vote"], one["reason"]) for one in await list_votes(votes)}
    assert rows == {"web:ana": ("down", "too short"), "web:bob": ("up", "")}
    assert await votes.vote(press(turn, "up", 4.0))
    assert next(one for one in await list_votes(votes) if one["person"] == ANA.key)["reason"] == ""
    (only,) = await votes.report(3.5, False, {})
    assert only["at"] == 4.0
    assert await votes.report(0.0, True, {}) == []


async def test_the_same_thumb_takes_a_vote_back_where_it_toggles(stores: Embedded) -> None:
    votes = Votes(stores.database)
    turn = await answer_question(stores, says("why?"))
    assert await votes.vote(press(turn, "up", 1.0), toggles=True)
    assert not await votes.vote(press(turn, "up", 2.0), toggles=True)
    assert not await votes.vote(press(turn, "up", 2.0), toggles=True)  # delivered twice
    assert await list_votes(votes) == []
    with pytest.raises(NotRateable):
        await votes.explain(press(turn, "down", 2.0), "why", False)
    assert await votes.vote(press(turn, "up", 3.0), toggles=True)
    assert await votes.list_own(ANA.key, "web:C1") == {turn.id: "up"}
    assert await votes.list_own(BOB.key, "web:C1") == {}


async def test_a_press_counts_before_the_id_of_its_post_is_recorded(stores: Embedded) -> None:
    """People see a post before the platform's answer arrives here."""
    turn = await answer_question(stores, says("why?"), posts=("7:1", ""))
    assert await stores.journal.find_answer(turn.id, "7:2") == ANSWER
    assert await Votes(stores.database).vote(press(turn, "up", 1.0, post="7:2"))
    await stores.journal.record_posted(turn, 2, "7:3")
    assert await stores.journal.find_answer(turn.id, "7:2") is None


@pytest.mark.parametrize(
    ("answer", "turn_id", "post"),
    [
        (ANSWER, "", "7:2"),
        (ANSWER, "", ""),
        (ANSWER, "aaaaaaaaaaaaaaaa", "7:1"),
        (replace(ANSWER, is_rateable=False), "", "7:1"),
    ],
    ids=["another-post", "no-post", "no-such-turn", "a-command"],
)
async def test_only_an_answer_of_the_model_can_be_rated(
    stores: Embedded, answer: Answer, turn_id: str, post: str
) -> None:
    votes = Votes(stores.database)
    turn = await answer_question(stores, says("why?"), answer)
    with pytest.raises(NotRateable):
        await votes.vote(Press(turn_id or turn.id, ANA, "up", 1.0, post))
    assert await list_votes(votes) == []


class Places:
    """A platform on which one channel is public."""

    async def is_public(self, address: Any) -> bool:
        if address.channel == "busy":
            raise PlatformBusy(1.0)
        if address.channel == "silent":
            await asyncio.Event().wait()
        return bool(address.channel == "C1")


async def test_texts_are_only_read_where_operators_may(stores: Embedded, limits: Limits) -> None:
    """Shared by the person, or in a public channel; else only the facts are. Nobody can share what
    is said in a private channel, also with a forged form."""
    limits(PLACE_TIMEOUT_SECONDS=0.1)
    votes = Votes(stores.database)
    readable: dict[str, bool] = {}
    places = (("C1", True), ("C2", True), ("busy", True), ("silent", True), ("D1", False))
    for channel, is_shared in places:
        message = says(f"about {channel}", channel)
        address = replace(message.address, is_shared=is_shared)
        turn = await answer_question(
            stores, replace(message, address=address), posts=(f"{channel}:1",)
        )
        await votes.vote(press(turn, "down", 1.0, post=f"{channel}:1"))
        if is_shared:
            await votes.explain(press(turn, "down", 1.0, post=f"{channel}:1"), "forged", True)
    for one in await list_votes(votes, web=Places()):
        readable[one["place"]] = one["question"] is not None
        assert (one["models"], one["tools"]) == (["gpt-5"], ["nocodb_query"])
        assert one["errors"] == ["nocodb_query: no_table"]
        if one["place"].endswith(":D1"):
            assert "about" not in str(one)
            assert "42" not in str(one["answer"])
    assert [place.rpartition(":")[2] for place, may in readable.items() if may] == ["C1"]
    await votes.explain(press(turn, "down", 1.0, post="D1:1"), "x" * 5000, True)
    (shared,) = [one for one in await list_votes(votes, web=Places()) if one["shared"]]
    assert (shared["question"], shared["answer"]) == ("about D1", "It is 42.")
    assert len(shared["reason"]) == MAX_FEEDBACK_CHARACTERS
    assert sum(one["question"] is not None for one in await list_votes(votes)) == 1


async def test_votes_end_with_the_conversation(stores: Embedded) -> None:
    votes = Votes(stores.database)
    turn = await answer_question(stores, says("why?"))
    await votes.vote(press(turn, "down", 1.0))
    await votes.explain(press(turn, "down", 1.0), "wrong-sum", True)
    await stores.journal.forget("web:C1")
    assert await votes.list_own(ANA.key, "web:C1") == {}
    with pytest.raises(NotRateable):
        await votes.vote(press(turn, "down", 2.0))
    assert not await stores.holds("wrong-sum")


async def test_votes_belong_to_the_person(stores: Embedded) -> None:
    """An export has them. With the person go their votes, and those on their answers."""
    votes, data = Votes(stores.database), SqlPersonalData(stores.database)
    own = replace(says("mine"), author=BOB)
    turn, theirs = await answer_question(stores, says("why?")), await answer_question(stores, own)
    for rated in (turn, theirs):
        await votes.vote(press(rated, "down", 1.0))
        await votes.vote(press(rated, "up", 1.0, BOB))
    await votes.explain(press(turn, "down", 1.0), "wrong sum", False)
    (first, _) = await data.read_rows(data.by_key(ANA.key), "feedback")
    assert (first["vote"], first["reason"]) == ("down", "wrong sum")
    author = turn.message.author
    await data.erase(await data.find(author.key))
    left = {(one["person"], one["turn"]) for one in await list_votes(votes)}
    assert turn.id not in {id for _, id in left}
    await data.erase(await data.find(BOB.key))
    assert await list_votes(votes) == []


async def test_fifty_people_at_once_are_fifty_votes(stores: Embedded) -> None:
    """Over two processes, each press delivered twice, and each counted once."""
    both = [Votes(stores.database), Votes((await stores.beside()).database)]
    turn = await answer_question(stores, says("why?"))
    counted = metrics.feedback.labels("up", "web")._value
    before = counted.get()
    crowd = [press(turn, "up", time.time(), Person("web", f"p{n}")) for n in range(50)]
    await asyncio.gather(*(votes.vote(one) for one in crowd for votes in both))
    assert len(await list_votes(both[0])) == 50
    assert counted.get() - before == 50
