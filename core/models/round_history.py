"""The part of a thread's transcript that one round sends, and what it leaves out after a refusal.

A model's server can refuse a request for something in it: its length, a file, calls in a shape that
the server does not take back, or a text. Each refusal leaves more out, and the model reads a note
about it. So the number of requests is bounded, and the next message is answered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.base.openai import Json, ModelServerFault
from core.domain.messages import Item
from core.models.model_input import (
    LEFT_OUT_NOTE,
    describe_calls,
    drop_unanswered_turns,
    estimate_tokens,
    find_turn_starts,
    keep_newest_turns,
    pair_calls,
    shorten_outputs,
)
from core.models.model_server import (
    OUTPUT_LIMIT_FIELDS,
    ModelServer,
    is_against_policy,
    is_too_long,
    is_unexplained,
)

CALLS, FAILED_TURNS, FILES, EARLIER_TURNS = 1, 2, 3, 4
"""What is left out, the least loss first. `CALLS`: calls and outputs are told in words."""
MAX_HALVINGS = 4
"""Times that a round halves a history that is too long, before it sends the last turn alone."""
MAX_SHORTENINGS = 9
"""Requests that one round makes because the one before was too long."""
MIN_OUTPUT_CHARACTERS = 2_000
"""Characters of an output that are not shortened further."""
ANSWER_LIMIT_PATTERN = re.compile(r"completion|output tokens|max_\w*tokens|to generate", re.I)
"""How servers say that the answer's limit counts as part of what is too long."""


class RoundHistory:
    """Chooses what one round sends of a transcript. `limit` is in tokens."""

    def __init__(self, server: ModelServer, thread: str, limit: int) -> None:
        self.limit = limit
        self._server = server
        self._thread = thread
        self.omission = server.omissions.get(thread, 0)
        """What else than old turns is left out: 0, or the last of the steps above."""
        self._output_characters = 0
        self._shortenings = 0
        self._refused_files: set[int] = set()

    def choose(self, transcript: Sequence[Item]) -> Sequence[Item]:
        """Return the items to send."""
        items: Sequence[Item] = pair_calls(transcript)
        if self.omission >= EARLIER_TURNS:
            last = keep_newest_turns(items, 0)
            items = [LEFT_OUT_NOTE, *last] if len(last) < len(items) else items
        elif self.omission >= FAILED_TURNS:
            items = drop_unanswered_turns(items)
        if self.omission:
            items = describe_calls(items)
        if self._output_characters:
            items = shorten_outputs(items, self._output_characters)
        return keep_newest_turns(items, self.limit)

    def leave_out(self, fault: ModelServerFault, transcript: Sequence[Item], body: Json) -> bool:
        """Leave more out after a refusal. Return whether that changes the request."""
        if is_too_long(fault):
            return self._shorten(fault, self.choose(transcript), body)
        steps: Sequence[int] = range(CALLS, EARLIER_TURNS + 1) if is_unexplained(fault) else ()
        if is_against_policy(fault):
            steps = (FAILED_TURNS,)
        before = list(self.choose(transcript))
        for step in [step for step in steps if step > self.omission]:
            self.omission = step
            if step == FILES and self._refuse_files(body):
                return True
            if list(self.choose(transcript)) != before:
                return True
        # Leaving these files out did not help.
        self._server.input.refused_files -= self._refused_files
        return False

    def on_answer(self) -> None:
        """Remember what helped, for the thread's next requests."""
        if self.omission:
            self._server.omissions[self._thread] = min(self.omission, FAILED_TURNS)

    def _shorten(self, fault: ModelServerFault, kept: Sequence[Item], body: Json) -> bool:
        self._shortenings += 1
        longest = max((len(item.text) for item in kept if item.kind == "output"), default=0)
        answer = max(body.get(field, 0) for field in OUTPUT_LIMIT_FIELDS)
        if self._shortenings > MAX_SHORTENINGS:
            return False
        if answer > MIN_OUTPUT_CHARACTERS and ANSWER_LIMIT_PATTERN.search(fault.message):
            self._server.max_output_tokens = answer // 4
        elif len(find_turn_starts(kept)) > 1:
            half = min(self.limit, estimate_tokens(kept)) // 2
            self.limit = half if self._shortenings <= MAX_HALVINGS else 0
        elif longest > MIN_OUTPUT_CHARACTERS:
            self._output_characters = max(longest // 4, MIN_OUTPUT_CHARACTERS)
        else:
            return self._refuse_files(body)
        return True

    def _refuse_files(self, body: Json) -> bool:
        refused = self._server.input.refuse_files(body)
        self._refused_files |= refused
        return bool(refused)
