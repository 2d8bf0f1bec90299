"""The order in which waiting turns get the limited places of a process, fair to all people.

Each waiting turn has a number, its `position`; the smallest one runs first. Its round is
`position // POSITIONS_PER_ROUND`.

- The first waiting message of a person in a channel is in the present round, their second one in
  the next round, and so on.
- Within a round, a turn comes after the turns of the same person and of the same channel.
- So a person who sends 300 messages delays each other person by one message.
- New people could delay a waiting turn without end. So once more than MAX_OVERTAKING_MESSAGES later
  messages have arrived, the turn's round becomes the present one.

`TurnQueue` keeps this order in memory, for a process with a database of its own. If processes share
a database, `ponte_line_up` and `ponte_next` implement it in SQL (core/journal/shared_functions.py).
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Hashable
from typing import NamedTuple

POSITIONS_PER_ROUND = 1000
"""Number of positions in one round. All turns beyond that share the round's last position."""
MAX_PERSON_TURNS_IN_CHANNEL = 10
"""Maximum turns of one person in one channel at the same time. Slack accepts one post a second in a
channel, so more turns would only wait for that rate limit."""

CRASHES_BEFORE_ALONE = 2
"""Number of crashes of the process during a turn, after which the turn runs alone."""
MAX_OVERTAKING_MESSAGES = 300
"""Number of later messages that may come before a turn that waits for a place."""


class Sender(NamedTuple):
    """The keys of a message's conversation, channel and person."""

    conversation: str
    channel: str
    person: str


class Places:
    """The places of one process, which limit how many turns work at the same time.

    A turn holds a place while it works, and none while it waits for its platform. It is under way
    from `begin` to `end`.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.under_way: set[int] = set()
        self._holders: set[int] = set()
        self._returning: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._is_shut = False
        self._changed = asyncio.Event()

    @property
    def is_free(self) -> bool:
        """Return whether another turn may begin. Turns that come back have priority."""
        return not (self._is_shut or self._returning) and len(self._holders) < self.total

    def begin(self, seq: int) -> None:
        """Give the turn a place. The caller has checked `is_free`."""
        self.under_way.add(seq)
        self._holders.add(seq)

    def leave(self, seq: int) -> None:
        """Release the turn's place; the turn stays under way."""
        self._holders.discard(seq)
        self._hand_on()

    async def come_back(self, seq: int) -> None:
        """Wait for a place again after `leave`. The turn comes before turns that have not begun."""
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
        """Release the turn's place if it holds one; the turn is no longer under way."""
        self.under_way.discard(seq)
        self._holders.discard(seq)
        self._hand_on()

    def shut(self) -> None:
        """Let no other turn begin. Turns under way continue."""
        self._is_shut = True

    def open(self) -> None:
        """Let turns begin again after `shut`."""
        self._is_shut = False
        self._hand_on()

    async def wait_until_free(self) -> None:
        """Wait until another turn may begin."""
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
        """Give free places to turns that come back, and wake everything that waits for a change."""
        while self._returning and len(self._holders) < self.total:
            seq, free = self._returning.popleft()
            if not free.done():
                self._holders.add(seq)
                free.set_result(None)
        self._changed.set()


class _WaitingTurn(NamedTuple):
    """A turn in the queue. It compares by `position`, then by `seq`."""

    position: int
    seq: int
    sender: Sender

    @property
    def flow(self) -> tuple[str, str]:
        """Return the channel and the person."""
        return self.sender.channel, self.sender.person


class TurnQueue:
    """The order of the turns that wait in this process. Turns of one conversation run one after the
    other."""

    def __init__(self) -> None:
        self._conversations: dict[str, deque[_WaitingTurn]] = {}
        """By conversation, its turns in order. The first one is ready, held back or under way."""
        self._open: dict[int, _WaitingTurn] = {}
        self._ready: list[_WaitingTurn] = []
        self._oldest: dict[int, _WaitingTurn] = {}
        """The ready turns by `seq`, in the order in which they became ready."""
        self._held: defaultdict[tuple[str, str], list[_WaitingTurn]] = defaultdict(list)
        """By channel and person, a heap of the turns that are held back: the first of their
        conversation, but MAX_PERSON_TURNS_IN_CHANNEL is reached."""
        self._active: Counter[tuple[str, str]] = Counter()
        """By channel and person, the number of turns that are ready or under way."""
        self._present = 0
        """The present round: that of the turn that began last."""
        self._last: dict[Hashable, tuple[int, int]] = {}
        """The last position that was assigned, and the number of unfinished turns. The keys are
        (channel, person), (round, "person", person) and (round, "channel", channel)."""

    def add(self, seq: int, sender: Sender) -> int:
        """Add a turn and return how many turns are before it in its conversation."""
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
        """Remove the ready turn with the smallest position and return its `seq`, None if no turn is
        ready."""
        if not self._ready:
            return None
        one = heapq.heappop(self._ready)
        del self._oldest[one.seq]
        self._present = one.position // POSITIONS_PER_ROUND
        return one.seq

    def end(self, seq: int) -> None:
        """Remove a turn that had begun. The next turns of its conversation and sender may become
        ready."""
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
        """Make the first turn of a conversation ready, or hold it back if its person has the
        maximum of turns in the channel."""
        heapq.heappush(self._held[one.flow], one)
        self._release(one.flow)

    def _release(self, flow: tuple[str, str]) -> None:
        """Make turns ready that were held back, up to the maximum of this channel and person."""
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
        """Return the position of a new turn. Never before an earlier turn of its conversation."""
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
        """Return the keys of `_last` under which the turn is counted."""
        number = one.position // POSITIONS_PER_ROUND
        person, channel = one.sender.person, one.sender.channel
        return one.flow, (number, "person", person), (number, "channel", channel)
