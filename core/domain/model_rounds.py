"""One round of a turn: the request to the model, and the events of its answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from core.base.errors import ModelError
from core.domain.messages import Item, Person, Usage
from core.domain.records import Remote, Thread


@dataclass(frozen=True)
class ToolSpec:
    """`parameters` is the JSON schema of an object. `names`: other names by which people know it,
    or what it runs."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool = True
    names: tuple[str, ...] = ()

    @cached_property
    def size(self) -> int:
        text = self.name + self.description + json.dumps(dict(self.parameters))
        return len(text.encode(errors="replace"))


class RequestPayment(Protocol):
    """Reserves the cost of each request of a round before the request is sent."""

    async def __call__(self, tokens: int) -> int | None:
        """Return how many tokens the answer may have, None for any number. Raise OverBudget."""

    def on_refused_request(self) -> None:
        """Keep the reserved money for the next request: the server rejected the last one without
        processing it, so that it cost nothing."""


async def _load_nothing() -> Sequence[Item]:
    return ()


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """`input` is the items that the thread has not received yet.

    - `history` returns the transcript before `input`, for servers that store none and for repairs.
    - `response` is the id of this round's response from before a crash, if one was journalled.
    - `preface` (date, zone, name, language) belongs to the turn's input, never to the cached
      prefix.
    - `seq` is the turn, `previous_seq` the last earlier turn with items in the transcript. A remote
      conversation with a smaller `remote_upto` lacks something, or contains too much.
    - `model` is that of the place; "" for the default.
    - `payment` is None if nothing limits the cost.
    """

    thread: Thread
    turn: str
    instructions: str
    asker: Person
    number: int = 0
    input: tuple[Item, ...] = ()
    history: Callable[[], Awaitable[Sequence[Item]]] = _load_nothing
    preface: str = ""
    tools: tuple[ToolSpec, ...] = ()
    response: str = ""
    seq: int = 0
    previous_seq: int = 0
    model: str = ""
    payment: RequestPayment | None = None
    for_title: bool = False
    """True if the answer is the title of a conversation. The request belongs to no conversation of
    the server, and the server stores nothing of it."""


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    """The server assigned an id to its response. It is journalled at once, to find the response
    after a crash.

    A second event in the same round means that the first response was lost: discard its text.
    """

    response: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class TextWithdrawn:
    """The text of this round so far does not count, and must not be shown any more: it was a
    thought of the model, or the server is asked again."""


@dataclass(frozen=True, slots=True)
class RemoteStored:
    """The server now stores an object for this thread (`Remote`). The object must be journalled at
    once.

    `thread` is the thread's record with the object, if the object is its current one. `is_listed`:
    the object was created in advance as a spare one, so the code that erases objects already knows
    its id.
    """

    remote: Remote
    thread: Thread | None = None
    is_listed: bool = False


@dataclass(frozen=True, slots=True)
class RoundCompleted:
    """The last event of a round (a request to the model). `items` are the whole answer, and their
    tool calls may now run."""

    items: tuple[Item, ...]
    usage: Usage = field(default_factory=Usage)
    thread: Thread | None = None
    is_truncated: bool = False
    broken: ModelError | None = None
    """Why the answer ends in the middle; None if it does not. Its text so far counts."""
    file_kinds: frozenset[str] | None = None
    """The kinds of files that the server is sent; None if the model does not say."""
    unseen_files: tuple[str, ...] = ()


ModelEvent = ResponseStarted | TextDelta | TextWithdrawn | RemoteStored | RoundCompleted
