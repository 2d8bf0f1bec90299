"""The order of waiting turns, and their places.

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
"""All turns beyond that share the round's last position."""
MAX_PERSON_TURNS_IN_CHANNEL = 10
"""Maximum turns of one person in one channel at the same time. Slack accepts one post a second in a
channel, so more turns would only wait for that rate limit."""
MAX_OVERTAKING_MESSAGES = 300


class Sender(NamedTuple):
    """The keys by which a turn is ordered in the queue."""

    conversation: str
    channel: str
    person: str


class Places:
    """The places of one process, which limit how many turns work at the same time. A turn holds a
    place while it works, and none while it waits for its platform. It is under way from `begin` to
    `end`."""

    def __init__(self, total: int) -> None:
        self.total = total  # turns that may work at the same time
        self.under_way: set[int] = set()
        """The turns (`seq`) that have begun and not ended, with or without a place."""
        self._holders: set[int] = set()
        self._returning: deque[tuple[int, asyncio.Future[None]]] = deque()
        """Turns under way that wait for a place again, each with a future that gives it one."""
        self._is_shut = False
        self._changed = asyncio.Event()

    @property
    def is_free(self) -> bool:
        """Turns under way that wait for a place again come before it."""
        return not (self._is_shut or self._returning) and len(self._holders) < self.total

    def begin(self, seq: int) -> None:
        """The caller has checked `is_free`."""
        self.under_way.add(seq)
        self._holders.add(seq)

    def leave(self, seq: int) -> None:
        """The turn stays under way."""
        self._holders.discard(seq)
        self._hand_on()

    async def come_back(self, seq: int) -> None:
        """Wait for a place after `leave`. The turn comes before turns that have not begun. Return
        at once if it has its place, or is not under way."""
        if seq not in self.under_way or seq in self._holders:
            return
        free = asyncio.get_running_loop().create_future()
        self._returning.append((seq, free))
        self._hand_on()  # at once, if a place is free
        try:
            await free
        except asyncio.CancelledError:
            # A place that it just got stays its own until `end`.
            if (seq, free) in self._returning:
                self._returning.remove((seq, free))
            self._hand_on()  # no turn may begin while one waits here, so others may begin now
            raise

    def end(self, seq: int) -> None:
        self.under_way.discard(seq)
        self._holders.discard(seq)
        self._hand_on()

    def shut(self) -> None:
        self._is_shut = True

    def open(self) -> None:
        self._is_shut = False
        self._hand_on()

    async def wait_until_free(self) -> None:
        while not self.is_free:
            await self._wait_for_change()

    async def wait_until_quiet(self) -> None:
        while self.under_way:
            await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _hand_on(self) -> None:
        """Give free places to turns that gave theirs up for a while and want one again, and wake
        the callers that wait until a place is free or a turn has ended."""
        while self._returning and len(self._holders) < self.total:
            seq, free = self._returning.popleft()
            if not free.done():  # else the wait was cancelled
                self._holders.add(seq)
                free.set_result(None)
        self._changed.set()


class _WaitingTurn(NamedTuple):
    """Such turns compare by `position`, then by `seq`, so that a heap yields the next one."""

    position: int
    seq: int
    sender: Sender

    @property
    def flow(self) -> tuple[str, str]:
        """MAX_PERSON_TURNS_IN_CHANNEL limits how many of their turns are ready or under way."""
        return self.sender.channel, self.sender.person


class TurnQueue:
    """The order of the turns that wait in this process. Turns of one conversation run one after the
    other, and nobody's many messages delay those of others."""

    def __init__(self) -> None:
        self._conversations: dict[str, deque[_WaitingTurn]] = {}
        """By conversation, its turns in order. The first one is ready, held back or under way."""
        self._open: dict[int, _WaitingTurn] = {}
        self._ready: list[_WaitingTurn] = []
        self._oldest: dict[int, _WaitingTurn] = {}
        """The ready turns by `seq`, in the order in which they became ready: the first one shows
        whether too many later messages have come before it."""
        self._held: defaultdict[tuple[str, str], list[_WaitingTurn]] = defaultdict(list)
        """By channel and person, a heap of the turns that are held back: the first of their
        conversation, but MAX_PERSON_TURNS_IN_CHANNEL is reached."""
        self._active: Counter[tuple[str, str]] = Counter()
        """By channel and person, the number of turns that are ready or under way."""
        self._present = 0
        """The present round: that of the turn that began last. The first waiting message of a
        person in a channel gets it, so that each other person delays it by one message at most."""
        self._last: dict[Hashable, tuple[int, int]] = {}
        """The highest position that was assigned, after which the next one comes, and the number of
        unfinished turns: without any, the entry is removed. The keys are
        (channel, person), (round, "person", person) and (round, "channel", channel)."""

    def add(self, seq: int, sender: Sender) -> int:
        """Add a turn and return how many turns are before it in its conversation.

        Its position puts it into a round, so that nobody's many messages delay those of others.
        `_last` has the highest positions so far; the first element of its values is one. Its keys
        (`_keys`) are the person in the channel, and the person and the channel in each round.
        """
        number = self._present if self._open else 0  # the turn's round; an empty queue begins at 0
        # A ready turn that too many later messages may overtake makes its round the present one.
        oldest = next(iter(self._oldest.values()), None)
        if oldest and seq - oldest.seq > MAX_OVERTAKING_MESSAGES:
            number = max(number, oldest.position // POSITIONS_PER_ROUND)
        # The first message of a person in a channel is in the present round, the second one in the
        # next round, and so on.
        if last := self._last.get((sender.channel, sender.person)):
            number = max(number, last[0] // POSITIONS_PER_ROUND + 1)
        # Within a round, a turn comes after those of the same person and of the same channel.
        in_round = [
            self._last.get((number, "person", sender.person)),
            self._last.get((number, "channel", sender.channel)),
        ]
        first = number * POSITIONS_PER_ROUND
        position = max([first, *(last[0] + 1 for last in in_round if last)])
        # A full round: more turns share its last position.
        position = min(position, first + POSITIONS_PER_ROUND - 1)
        queue = self._conversations.setdefault(sender.conversation, deque())
        if queue:  # never before an earlier turn of its conversation
            position = max(position, queue[-1].position)
        turn = self._open[seq] = _WaitingTurn(position, seq, sender)
        for key in self._keys(turn):
            highest, count = self._last.get(key, (0, 0))
            self._last[key] = max(highest, position), count + 1
        queue.append(turn)
        if len(queue) == 1:
            self._make_ready(turn)
        return len(queue) - 1

    def next(self) -> int | None:
        """Remove the ready turn with the smallest position; None if no turn is ready."""
        if not self._ready:
            return None
        turn = heapq.heappop(self._ready)
        del self._oldest[turn.seq]
        self._present = turn.position // POSITIONS_PER_ROUND
        return turn.seq

    def end(self, seq: int) -> None:
        """The next turn of its conversation, and one of its sender in its channel, may become
        ready."""
        turn = self._open.pop(seq)
        # Without unfinished turns under a key, its last position is forgotten.
        for key in self._keys(turn):
            position, count = self._last.pop(key)
            if count > 1:
                self._last[key] = (position, count - 1)
        self._active[turn.flow] -= 1
        queue = self._conversations[turn.sender.conversation]
        # `one`: only the first turn of a conversation can run
        queue.popleft()  # `turn`: only the first turn of a conversation can run
        if queue:
            self._make_ready(queue[0])
        else:
            del self._conversations[turn.sender.conversation]
        self._release(turn.flow)

    def _make_ready(self, turn: _WaitingTurn) -> None:
        heapq.heappush(self._held[turn.flow], turn)
        self._release(turn.flow)

    def _release(self, flow: tuple[str, str]) -> None:
        """Make turns ready that were held back, in the order of their positions, up to
        MAX_PERSON_TURNS_IN_CHANNEL. `flow` is their channel and person."""
        heap = self._held[flow]
        while heap and self._active[flow] < MAX_PERSON_TURNS_IN_CHANNEL:
            self._active[flow] += 1
            turn = heapq.heappop(heap)
            self._oldest[turn.seq] = turn
            heapq.heappush(self._ready, turn)
        # A look at these two dicts creates an entry. Empty ones would pile up.
        if not heap:
            del self._held[flow]
        if not self._active[flow]:
            del self._active[flow]

    def _keys(self, turn: _WaitingTurn) -> tuple[Hashable, ...]:
        number = turn.position // POSITIONS_PER_ROUND
        person, channel = turn.sender.person, turn.sender.channel
        return turn.flow, (number, "person", person), (number, "channel", channel)
