"""Thoughts between tags in the text of an answer, whole and as it streams in."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from core.models.thoughts import GrowingAnswer, remove_thoughts

CASES = [
    ("<think>x</think>Hello", "Hello"),
    ("\n<think>\nx\n</think>\n\nHello", "Hello"),
    ("<THINK>x</THINK>y", "y"),
    ("<think></think>\n\nHello", "Hello"),
    ("<think>a</think>\n<think>b</think>c", "c"),
    ("<think>a <think> b</think>c", "c"),
    ("x y\n</think>\n\nHello", "Hello"),
    ("x</think>Hello", "Hello"),
    ("x</think>", ""),
    ("<think>x</think>Use </think> now", "Use </think> now"),
    ("<think>x</think>\n```\n</think>\n```", "```\n</think>\n```"),
    ("<think>never closed", ""),
    ("A\n<think>never", "A\n<think>never"),
    ("A\n\n<think>hm</think>\n\nB", "A\n\nB"),
    ("Use `<think>` here", "Use `<think>` here"),
    ("Use `</think>` now", "Use `</think>` now"),
    ("```\n<think>\nabc</think>\n```\nok", "```\n<think>\nabc</think>\n```\nok"),
    ("The tag <think> is", "The tag <think> is"),
    ("The tag </think> closes", "The tag </think> closes"),
    ("[THINK]x[/THINK]y", "y"),
    ("◁think▷x◁/think▷y", "y"),
    ("  hi", "  hi"), ("a < b [x](y)", "a < b [x](y)"), ("end <", "end <"), ("   ", "   "),
    ("xassistantcommentary to=functions.f {}", "xassistantcommentary "),  # a call within a word
    ("a <function=.<b", "a "), ("x<|end_of_thought|>[/think]y", "y"),
    ("<thin", "<thin"), ("Hello</think", "Hello</think"), ("İ<think>", "İ<think>"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), CASES)
def test_thoughts_are_removed(text: str, answer: str) -> None:
    assert remove_thoughts(text) == answer


@given(strategies.sampled_from(CASES), strategies.lists(strategies.integers(1, 9), min_size=1))
def test_a_growing_text_is_the_whole_one(case: tuple[str, str], sizes: list[int]) -> None:
    text, answer = case
    growing, view, at = GrowingAnswer(), "", 0
    for size in sizes * len(text):
        was_unopened = growing.is_unopened
        piece = growing.add(text[at : at + size])
        view = piece if growing.is_unopened and not was_unopened else view + piece
        at += size
    assert view == growing.text
    growing.end()
    assert growing.text == answer
