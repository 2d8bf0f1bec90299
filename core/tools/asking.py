"""`ask_person`: the model asks, and the person answers by a button."""

from __future__ import annotations

import re
from dataclasses import replace

from core.base.errors import ToolError
from core.base.text import fold_to_letters, to_one_line
from core.base.trust import make_inert
from core.domain.messages import PROGRAM, Message, Question
from core.domain.records import Outcome, ToolContext
from core.tools.tool import FixedToolSource, FunctionTool

MAX_QUESTIONS_IN_A_ROW = 2
MAX_ASKED_CHOICES, MAX_CHOICE_LABEL_CHARACTERS = 5, 75
WHOLE_LABEL_CHARACTERS = 30
"""Slack may cut longer labels of buttons, and takes 75 characters (docs.slack.dev, Button
element)."""
_OTHER = re.compile(
    r"(an)?other( (one|option|answer|choice))?|(some|any)thing else"
    r"|(um |uma )?outr[oa]( (coisa|opcao|resposta))?"
    r"|(une? )?autre( (chose|option|reponse|choix))?"
)
"""A choice that is Ponte's own button for typing."""
_UNFIT = "Give a question and 2 to 5 different choices of at most 75 characters each."


class _AskingTool(FunctionTool):
    def is_offered(self, message: Message) -> bool:
        return message.origin.is_attended


class AskingSource(FixedToolSource):
    """Offers `ask_person` where a person waits for the answer."""

    name = "asking"

    def __init__(self) -> None:
        self._tools = (_AskingTool(self.ask_person, effect="chat", doing=""),)

    async def ask_person(self, ctx: ToolContext, question: str, choices: list[str]) -> Outcome:
        """Ask with buttons, only if the answer changes your next step. Ends your turn.

        Args:
            question: one sentence
            choices: 2 to 5, each at most 75 characters
        """
        asked = ctx.question.number if ctx.question else 0
        if asked >= MAX_QUESTIONS_IN_A_ROW:
            raise ToolError(
                "You have asked twice in a row.",
                hint="answer with what you know, and say what you assume",
            )
        lines = [to_one_line(choice) for choice in choices]
        labels = tuple(dict.fromkeys(make_inert(line) for line in lines if not _is_other(line)))
        text = to_one_line(question, 300)
        is_short = all(0 < len(label) <= MAX_CHOICE_LABEL_CHARACTERS for label in labels)
        if not (text and is_short and 1 < len(labels) <= MAX_ASKED_CHOICES):
            raise ToolError(_UNFIT, hint="a button for another answer is added")
        shown = Question(text, labels, asked + 1)
        if ctx.message.origin == PROGRAM or max(map(len, labels)) > WHOLE_LABEL_CHARACTERS:
            shown = replace(shown, text=f"{text}\n\n{shown.lines}")
        return Outcome("ok", f"Asked: {text}", question=shown)


def _is_other(choice: str) -> bool:
    words = re.sub(r"\(.*\)|[^\w\s]", "", fold_to_letters(choice)).strip()
    return _OTHER.fullmatch(words) is not None
