"""Scripts: the answers that a test prepares for the fake."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.fakes.openai.errors import OpenAIErrorResponse
from tests.fakes.openai.items import tokens

LONG_ANSWER = "A long answer in many pieces, one after the other."
LEAST_OUTPUT = 16
"""Below it OpenAI answers 400 (docstring of the openai package's Responses)."""
Failure = Literal[
    "", "drop", "lost", "hang", "error_event", "raised_error", "no_terminal", "failed", "garbage"
]
Disconnect = Literal["commit", "response", "nothing"]


@dataclass(frozen=True, slots=True)
class Run:
    """One call of the code interpreter.

    `code` None: what the request says. `logs` None: what the fake's own Python prints. `images` are
    URLs among its outputs; `files` (path, bytes) are left in the container, and named in the answer
    where `cited`.
    """

    code: str | None = None
    logs: str | None = None
    images: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    cited: bool = True
    status: Literal["completed", "failed", "incomplete"] = "completed"


@dataclass(frozen=True, slots=True)
class Script:
    """One answer. `match` is found in the last user's text, or in the last tool output.

    `calls` are (name, JSON arguments). `status` refuses with that HTTP status, `code`, `param`,
    `message` and `headers`. `fail` happens after `after` pieces: `drop` cuts the socket, `lost`
    cuts it before the first byte, `hang` waits for the fake's release or a disconnect. What a cut
    leaves on the server: everything (`commit`), a `response` that the conversation does not
    have, or `nothing`. `held`: no event comes before the
    fake's release. `runs` None: one, where the request forces the code interpreter.

    `usage` replaces counts by name (input, cached, written, output, reasoning, cost); any value is
    sent as it is. `counted` "null" sends `usage: null`, and "no" sends no `usage`. `model` is the
    name that the server reports where it is another one than the requested. `id` is the response's.
    `text`, `calls` and `message` may hold halves of surrogate pairs, which JSON can escape.
    """

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    runs: tuple[Run, ...] | None = None
    match: str = ""
    times: int = 1
    refusal: str = ""
    reasoning: bool = False
    compaction: bool = False
    phase: str = ""
    piece: int = 8
    seconds: float = 0.0
    held: bool = False
    incomplete: Literal["", "max_output_tokens", "content_filter"] = ""
    fail: Failure = ""
    after: int = 1
    on_disconnect: Disconnect = "commit"
    code: str = ""
    status: int = 0
    param: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    counted: Literal["yes", "null", "no"] = "yes"
    model: str = ""
    id: str = ""

    def within(self, most: object) -> Script:
        """Cut where it would say more tokens than the request allows."""
        if most is None:
            return self
        if not isinstance(most, int) or isinstance(most, bool) or most < LEAST_OUTPUT:
            raise OpenAIErrorResponse(
                400,
                "Invalid 'max_output_tokens': integer below minimum value.",
                code="integer_below_min_value",
                param="max_output_tokens",
            )
        value = self.usage.get("output")
        if not isinstance(value, int) or not 0 <= value < 10**7:  # it lies, or says nothing
            value = tokens([self.text, self.refusal, self.calls])
        if value <= most:
            return replace(self, usage={"output": value, **self.usage})
        usage = {**self.usage, "output": most}
        cut = self.text[: most * 4]
        return replace(self, text=cut, incomplete="max_output_tokens", usage=usage)


class Scripts:
    """The scripts in the order in which they are tried; without one the fake echoes."""

    def __init__(self) -> None:
        self._left: list[tuple[Script, int]] = []

    def add(self, *scripts: Script) -> None:
        self._left.extend((script, script.times) for script in scripts)

    def choose(self, heard: str, otherwise: Script | None = None) -> Script:
        """The first that matches what was `heard`; `times` 0 stays for ever."""
        for index, (script, times) in enumerate(self._left):
            if script.match.lower() in heard.lower():
                if times == 1:
                    del self._left[index]
                else:
                    self._left[index] = (script, times - 1 if times else 0)
                return script
        return otherwise or Script(text=f"You said: {heard}")
