"""Text of a pipe, a file, a program or a webhook is never a command, whatever it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.commands.grammar import is_decision, parse_message
from core.domain.messages import HookDelivery, Message, ScheduledRun
from tests.fakes.choices import make_message

TYPED = make_message("approve abc234", "k1")
PROGRAM = replace(TYPED, author=replace(TYPED.author, is_bot=True))


@pytest.mark.parametrize(
    ("said", "is_command"),
    [
        (TYPED, True),
        (replace(TYPED, is_typed=False), False),
        (replace(TYPED, is_typed=False, is_click=True), True),
        (PROGRAM, False),
        (replace(TYPED, hook=HookDelivery("ci")), False),
        (replace(TYPED, scheduled_run=ScheduledRun("abc234", "ask", 0)), False),
        (replace(TYPED, scheduled_run=ScheduledRun("abc234", "post", 0)), False),
        (replace(TYPED, scheduled_run=ScheduledRun("abc234", "command", 0)), True),
    ],
    ids=["typed", "a pipe", "a click", "a program", "a webhook", "an ask", "a post", "a command"],
)
def test_who_may_give_a_command(said: Message, is_command: bool) -> None:
    assert is_decision(said) is is_command
    assert said.is_authored is (said is TYPED), "only a person's own message gives addresses"
    for text in ("approve abc234", "quick-command deploy", "quick-command", "```python\n1\n```"):
        try:
            command = parse_message(replace(said, text=text))
        except Exception:
            assert is_command, text
        else:
            assert (command is not None) is is_command, text
