"""Setting a conversation beside the transcript."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies

from core.domain.messages import Item
from core.models.conversations_api import Reconciliation, reconcile
from core.models.model_input import INTERRUPTED_OUTPUT, TOOL_FILES_NOTE, pair_calls


def user(text: str) -> Item:
    return Item(kind="message", role="user", text=text)


def bot(text: str) -> Item:
    return Item(kind="message", role="assistant", text=text)


CALL = Item(kind="call", call_id="c1", name="f", arguments="{}")
OUTPUT = Item(kind="output", call_id="c1", text="done")


def stored_rows(*items: Item) -> list[dict[str, Any]]:
    """What a server holds of these; a person's words come after the turn's preface."""
    rows: list[dict[str, Any]] = []
    for item in items:
        if item.kind == "call":
            rows.append({"type": "function_call", "call_id": item.call_id})
        elif item.kind == "output":
            rows.append({"type": "function_call_output", "call_id": item.call_id})
        elif item.role == "assistant":
            part = {"type": "output_text", "text": item.text}
            rows.append({"type": "message", "role": "assistant", "content": [part]})
        else:
            parts = [
                {"type": "input_text", "text": "It is Friday."},
                {"type": "input_text", "text": item.text},
            ]
            rows.append({"type": "message", "role": "user", "content": parts})
    return rows


OLD = [user("a"), bot("b")]
FILES = {
    "role": "user",
    "content": [
        {"type": "input_text", "text": "[The file 'a.txt':]"},
        {"type": "input_text", "text": TOOL_FILES_NOTE},
    ],
}
"""The files that a tool read: no item of the transcript."""


@pytest.mark.parametrize(
    ("transcript", "tail", "plan"),
    [
        ([*OLD, user("c")], stored_rows(*OLD), Reconciliation(missing_items=(user("c"),))),
        ([*OLD, user("c")], [], Reconciliation(missing_items=(*OLD, user("c")))),
        ([*OLD, user("c"), bot("d"), user("e")], stored_rows(*OLD),
         Reconciliation(missing_items=(user("c"), bot("d"), user("e")))),
        ([*OLD, CALL, OUTPUT, bot("c"), user("d")],
         [*stored_rows(*OLD, CALL, OUTPUT), FILES, *stored_rows(bot("c"))],
         Reconciliation(missing_items=(user("d"),))),
        ([*OLD, user("c"), CALL, OUTPUT], stored_rows(*OLD, user("c"), CALL),
         Reconciliation(missing_items=(OUTPUT,))),
        ([*OLD, user("c")], stored_rows(*OLD, CALL),
         Reconciliation(missing_items=(
             Item(kind="output", call_id="c1", text=INTERRUPTED_OUTPUT), user("c")
         ))),
        ([*OLD, user("c")], stored_rows(*OLD, bot("who?")), None),
        ([*OLD, user("c")], stored_rows(user("x"), bot("y")), None),
        ([user("a"), bot("b"), user("a")], stored_rows(*OLD),
         Reconciliation(missing_items=(user("a"),))),
        ([*OLD, user("")], stored_rows(*OLD), Reconciliation(missing_items=(user(""),))),
        ([*OLD, bot(""), user("c")], stored_rows(*OLD),
         Reconciliation(missing_items=(user("c"),))),
        ([*OLD, user("c")], [{"type": "reasoning", "id": "rs"}, *stored_rows(*OLD)],
         Reconciliation(missing_items=(user("c"),))),
    ],
)  # fmt: skip
def test_a_tail_becomes_a_plan(
    transcript: list[Item], tail: list[dict[str, Any]], plan: Reconciliation | None
) -> None:
    assert reconcile(transcript, tail, was_asked=False, is_complete=True) == plan


def test_an_answer_that_stands_there_is_taken_only_if_it_was_asked_for() -> None:
    tail = stored_rows(*OLD, user("c"), bot("d"))
    question = reconcile([*OLD, user("c")], tail, was_asked=True, is_complete=True)
    assert question == Reconciliation(answer_items=(bot("d"),))
    assert reconcile([*OLD, user("c")], tail, was_asked=False, is_complete=True) is None


def test_the_same_words_twice_are_two_messages() -> None:
    transcript = [user("hi"), user("hi")]
    tail = stored_rows(user("hi"), bot("hello"))
    assert reconcile(transcript, tail, was_asked=False, is_complete=True) is None


def test_a_tail_of_many_is_enough() -> None:
    """Only the newest items were read: what comes before them is taken on trust."""
    transcript = [item for n in range(80) for item in (user(f"q{n}"), bot(f"a{n}"))]
    tail = stored_rows(*transcript[-100:])
    plan = reconcile([*transcript, user("new")], tail, was_asked=False, is_complete=False)
    assert plan == Reconciliation(missing_items=(user("new"),))
    assert reconcile([user("new")], tail, was_asked=False, is_complete=False) is None


TURNS = strategies.lists(strategies.integers(0, 2), min_size=1, max_size=40)


@given(TURNS, strategies.data())
def test_only_missing_items_are_sent(calls: list[int], data: strategies.DataObject) -> None:
    """Wherever a conversation stops, its rest is told, and nothing of it twice."""
    transcript: list[Item] = []
    for turn, count in enumerate(calls):
        transcript.append(user(f"q{turn}"))
        for number in range(count):
            id = f"c{turn}.{number}"
            transcript.append(Item(kind="call", call_id=id, name="f", arguments="{}"))
            transcript.append(Item(kind="output", call_id=id, text="done"))
        transcript.append(bot(f"a{turn}"))
    transcript.append(user("new"))
    upto = data.draw(strategies.integers(0, len(transcript) - 1))
    tail = stored_rows(*transcript[:upto])[-100:]
    plan = reconcile(transcript, tail, was_asked=False, is_complete=upto <= 100)
    assert plan == Reconciliation(missing_items=tuple(transcript[upto:]))


def test_names_in_company_do_not_matter() -> None:
    item = Item(kind="message", role="user", text="c", name="Ana")
    assert reconcile(
        [*OLD, item, bot("d"), user("e")],
        stored_rows(*OLD, user("Ana: c"), bot("d")),
        was_asked=False,
        is_complete=True,
    ) == Reconciliation(missing_items=(user("e"),))


def test_calls_are_paired_with_outputs() -> None:
    assert pair_calls([user("a"), CALL, user("b"), OUTPUT]) == [
        user("a"),
        CALL,
        Item(kind="output", call_id="c1", text=INTERRUPTED_OUTPUT),
        user("b"),
    ]
    assert pair_calls([CALL, CALL, OUTPUT, OUTPUT]) == [CALL, OUTPUT]
    assert pair_calls([OUTPUT, user("a")]) == [user("a")]
    assert pair_calls([user("a"), CALL])[-1].text == INTERRUPTED_OUTPUT
