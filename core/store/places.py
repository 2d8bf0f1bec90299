"""Who works next: a process has so many places, which channels and people get in turn.

The order stands in one number, the `position` of a waiting turn, smallest first. Its round is
`position // ROUND`: the first message that somebody has waiting in a channel is in the present
round, their second one there in the next, and so on. Within a round, a turn comes after those that
its person or its channel has there already. So a person who sends 300 messages delays each other
person by one. Where new people keep coming, a turn that waits while OVERTAKEN later messages come
in makes its round the present one.

`Line` keeps that order in memory, for a process that has a database of its own. Where processes
share one, `ponte_line_up` and `ponte_next` do the same in SQL (core/store/schema.py).
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Hashable
from typing import NamedTuple

POSITIONS_PER_ROUND = 1000
"""Positions in one round; the last one is shared by all that follow."""
MAX_PERSON_TURNS_IN_CHANNEL = 10
"""Turns of one person in one channel that may be under way at once. Slack takes one post a second
in a channel, so more of them would only wait for its pace."""

CRASHES_BEFORE_ALONE = 2
"""Deaths of its process after which a turn runs alone."""
MAX_OVERTAKING_MESSAGES = 300
"""Later messages after which no further one may come before a turn that waits for a place."""


class Sender(NamedTuple):
    """Where a turn waits: by keys of its conversation, its channel and its person."""

    conversation: str
    channel: str
    person: str


class Places:
    """The places of one process. A turn holds one while it works, and none while it waits for its
    platform; it is under way from `begin` to `end`."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.under_way: set[int] = set()
        self._holders: set[int] = set()
        self._returning: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._is_shut = False
        self._changed = asyncio.Event()

    @property
    def is_free(self) -> bool:
        """Whether a further turn may begin."""
        return not (self._is_shut or self._returning) and len(self._holders) < self.total

    def begin(self, seq: int) -> None:
        self.under_way.add(seq)
        self._holders.add(seq)

    def leave(self, seq: int) -> None:
        """Give the place to another turn; this one stays under way."""
        self._holders.discard(seq)
        self._hand_on()

    async def come_back(self, seq: int) -> None:
        """Take a place again, before any turn that has not begun."""
        if seq not in self.under_way or seq in self._holders:
            return
        free = asyncio.get_running_loop().create_future()
        self._returning.append((seq, free))
        self._hand_on()
        try:
            await free
        except asyncio.CancelledError:
            if (seq, free) in self._returning:
                self._returning.remove((seq, free))
            self._hand_on()
            raise

    def end(self, seq: int) -> None:
        self.under_way.discard(seq)
        self._holders.discard(seq)
        self._hand_on()

    def shut(self) -> None:
        """Let no further turn begin; those under way go on."""
        self._is_shut = True

    def open(self) -> None:
        self._is_shut = False
        self._hand_on()

    async def wait_until_free(self) -> None:
        while not self.is_free:
            await self._wait_for_change()

    async def wait_until_quiet(self) -> None:
        """Wait until no turn is under way."""
        while self.under_way:
            await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _hand_on(self) -> None:
        while self._returning and len(self._holders) < self.total:
            seq, free = self._returning.popleft()
            if not free.done():
                self._holders.add(seq)
                free.set_result(None)
        self._changed.set()


class _WaitingTurn(NamedTuple):
    position: int
    seq: int
    sender: Sender

    @property
    def flow(self) -> tuple[str, str]:
        return self.sender.channel, self.sender.person


class TurnQueue:
    """Turns that wait in this process, each conversation's one after the other."""

    def __init__(self) -> None:
        self._conversations: dict[str, deque[_WaitingTurn]] = {}
        """By conversation: the turn that is ready, held back or under way, and those after it."""
        self._open: dict[int, _WaitingTurn] = {}
        self._ready: list[_WaitingTurn] = []
        self._oldest: dict[int, _WaitingTurn] = {}
        """By seq: what is ready, in the order in which it became so."""
        self._held: defaultdict[tuple[str, str], list[_WaitingTurn]] = defaultdict(list)
        """By channel and person: what waits for one of their PERSON_TURNS."""
        self._active: Counter[tuple[str, str]] = Counter()
        """By channel and person: how many are ready or under way."""
        self._present = 0
        """The round of the turn that began last."""
        self._last: dict[Hashable, tuple[int, int]] = {}
        """By flow, and by round with person or channel: the last position given, and how many
        are open."""

    def add(self, seq: int, sender: Sender) -> int:
        """Line the turn up; return how many are before it in its conversation."""
        one = _WaitingTurn(self._position(seq, sender), seq, sender)
        self._open[seq] = one
        for key in self._keys(one):
            self._last[key] = (one.position, self._last.get(key, (0, 0))[1] + 1)
        queue = self._conversations.setdefault(sender.conversation, deque())
        queue.append(one)
        if len(queue) == 1:
            self._make_ready(one)
        return len(queue) - 1

    def next(self) -> int | None:
        """The turn that begins now; None where none may."""
        if not self._ready:
            return None
        one = heapq.heappop(self._ready)
        del self._oldest[one.seq]
        self._present = one.position // POSITIONS_PER_ROUND
        return one.seq

    def end(self, seq: int) -> None:
        """The turn, which had begun, is over."""
        one = self._open.pop(seq)
        for key in self._keys(one):
            position, count = self._last.pop(key)
            if count > 1:
                self._last[key] = (position, count - 1)
        self._active[one.flow] -= 1
        queue = self._conversations[one.sender.conversation]
        queue.popleft()
        if queue:
            self._make_ready(queue[0])
        else:
            del self._conversations[one.sender.conversation]
        self._release(one.flow)

    def _make_ready(self, one: _WaitingTurn) -> None:
        """It is the first of its conversation."""
        heapq.heappush(self._held[one.flow], one)
        self._release(one.flow)

    def _release(self, flow: tuple[str, str]) -> None:
        held = self._held[flow]
        while held and self._active[flow] < MAX_PERSON_TURNS_IN_CHANNEL:
            self._active[flow] += 1
            one = heapq.heappop(held)
            self._oldest[one.seq] = one
            heapq.heappush(self._ready, one)
        if not held:
            del self._held[flow]
        if not self._active[flow]:
            del self._active[flow]

    def _position(self, seq: int, sender: Sender) -> int:
        number = self._present if self._open else 0
        oldest = next(iter(self._oldest.values()), None)
        if oldest and seq - oldest.seq > MAX_OVERTAKING_MESSAGES:
            number = max(number, oldest.position // POSITIONS_PER_ROUND)
        if last := self._last.get((sender.channel, sender.person)):
            number = max(number, last[0] // POSITIONS_PER_ROUND + 1)
        in_round = [
            self._last.get((number, "person", sender.person)),
            self._last.get((number, "channel", sender.channel)),
        ]
        position = max([number * POSITIONS_PER_ROUND, *(last[0] + 1 for last in in_round if last)])
        position = min(position, number * POSITIONS_PER_ROUND + POSITIONS_PER_ROUND - 1)
        queue = self._conversations.get(sender.conversation)
        return max(position, queue[-1].position) if queue else position

    def _keys(self, one: _WaitingTurn) -> tuple[Hashable, ...]:
        number = one.position // POSITIONS_PER_ROUND
        person, channel = one.sender.person, one.sender.channel
        return one.flow, (number, "person", person), (number, "channel", channel)
