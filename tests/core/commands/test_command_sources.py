"""Text of a pipe, a file, a program or a webhook is never a command, whatever it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.commands.grammar import is_decision, parse_message
from core.domain.messages import PROGRAM, Message, MessageOrigin
from tests.fakes.choices import make_message

TYPED = make_message("approve abc234", "k1")
BOT = replace(TYPED, author=replace(TYPED.author, is_bot=True))
NO_COMMAND = MessageOrigin("webhook", may_be_command=False)


@pytest.mark.parametrize(
    ("said", "is_command"),
    [
        (TYPED, True),
        (replace(TYPED, origin=PROGRAM), False),
        (replace(TYPED, origin=PROGRAM, is_click=True), True),
        (BOT, False),
        (replace(TYPED, origin=NO_COMMAND), False),
        (replace(TYPED, origin=MessageOrigin("schedule", may_be_command=True)), True),
    ],
    ids=["typed", "a pipe", "a click", "a bot", "a webhook", "a command"],
)
def test_who_may_give_a_command(said: Message, is_command: bool) -> None:
    assert is_decision(said) is is_command
    for text in ("approve abc234", "quick-command deploy", "quick-command", "```python\n1\n```"):
        try:
            command = parse_message(replace(said, text=text))
        except Exception:
            assert is_command, text
        else:
            assert (command is not None) is is_command, text
