"""Schedules: what runs when, for whom and where.

Times are in seconds since the epoch; 0 means none. `core.schedules.rules` computes due times.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from core.base.errors import BadInput
from core.domain.messages import (
    Address,
    Message,
    MessageOrigin,
    Person,
    ReplyTo,
    decode_json,
    encode_json,
    turn_id,
)
from core.turn.origins import PauseReason

ScheduleKind = Literal["ask", "post", "command"]
"""What a run does: ask the model (a turn with tools), post a text, or run a quick command. The last
two call no model."""
ScheduleState = Literal["active", "paused", "ended"]
RunState = Literal["queued", "done", "failed", "stopped", "skipped", "missed"]
"""The state of a run. `done`: its post is confirmed. `skipped`: it did not begin. `missed`: no
process ran when it was due, and it was too old to be caught up."""
HOUR_SECONDS = 3600.0
DEFAULT_CATCH_UP_SECONDS = 6 * HOUR_SECONDS
"""The age up to which a missed run is caught up, unless its schedule has another limit."""
MAX_CATCH_UP_SECONDS = 7 * 24 * HOUR_SECONDS
LATE_SECONDS = 120.0
"""A run that begins this long after its due time is marked as late."""
KEPT_RUNS = 50
"""The number of runs of a schedule that are kept."""
MAX_FAILED_RUNS = 3
"""Failed runs in a row that pause a schedule."""
MAX_WHAT_LENGTH = 4_000
"""Maximum characters of the instruction, text or command of a schedule."""
SCHEDULE_CHANGED = "Nothing was done, because this schedule was changed meanwhile."


class BadSchedule(BadInput):
    """A schedule has a value that the person can correct."""

    code = "bad_schedule"
    sentence = "This schedule is not valid."


@dataclass(frozen=True, slots=True)
class ScheduleRule:
    """The due times of a schedule: one instant (`run_at`), or the five fields of `cron` (minute,
    hour, day, month, weekday) in the schedule's time zone. Exactly one of the two is set."""

    cron: str = ""
    run_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ScheduleDraft:
    """The part of a schedule that its owner chooses and confirms.

    `text` is the instruction for the model, the text to post, or the quick command as a person
    types it (`quick-command SLUG …`). `time_zone` is an IANA time zone. `ends_at`: no run is due
    after it. `max_runs`: the schedule ends after so many runs. 0 is no limit for both.
    """

    kind: ScheduleKind
    text: str
    rule: ScheduleRule
    time_zone: str
    catch_up_seconds: float = DEFAULT_CATCH_UP_SECONDS
    ends_at: float = 0.0
    max_runs: int = 0
    addresses: tuple[str, ...] = ()
    """The addresses in `what` that the owner wrote in the conversation. A model wrote the rest."""


def make_row(draft: ScheduleDraft) -> dict[str, Any]:
    """Return the draft as the row of a change."""
    return dict(json.loads(encode_json(draft)))


def read_row(row: Mapping[str, Any]) -> ScheduleDraft:
    """Return the draft in the row of a change."""
    return decode_json(ScheduleDraft, json.dumps(row))


@dataclass(frozen=True, slots=True)
class Schedule:
    """A stored schedule.

    `reply_to` has the place and everything that a reply there needs, without a token. `locale` is
    the language of its owner. The schedule has the id of the change that created it, and `revision`
    is the id of the change that wrote `draft`.
    """

    id: str
    owner: Person
    reply_to: ReplyTo
    draft: ScheduleDraft
    state: ScheduleState = "active"
    reason: PauseReason = ""
    locale: str = ""
    next_due_at: float = 0.0
    last_due_at: float = 0.0
    runs: int = 0
    failures: int = 0
    revision: str = ""
    created_at: float = 0.0

    @property
    def address(self) -> Address:
        """The place of the schedule."""
        return self.reply_to.address


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """One run of a schedule. `seq` is its turn, 0 if there is none.

    `missed_count` is the number of due times that a row of missed runs stands for; `due_at` is the
    first of them.
    """

    event_key: str
    schedule: str
    due_at: float
    state: RunState
    seq: int = 0
    reason: str = ""
    is_late: bool = False
    missed_count: int = 1
    started_at: float = 0.0
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class DuePlan:
    """The consequences of a due time: the run to start (`due_at`, 0 for none), due times that
    were missed, and the next due time (0: the schedule ends)."""

    due_at: float
    next_due_at: float
    is_late: bool = False
    first_missed_at: float = 0.0
    missed_count: int = 0


@dataclass(frozen=True, slots=True)
class ScheduleLimits:
    """The limits of `[schedules]` in ponte.toml.

    `shortest_minutes` is the shortest time between two runs. `per_person` is the number of active
    and paused schedules of one person.
    """

    shortest_minutes: int = 15
    per_person: int = 20


@dataclass(frozen=True, slots=True)
class ScheduleFilter:
    """A choice of schedules to list: those of a person (a key), of a conversation, or all."""

    person: str = ""
    conversation: str = ""
    states: tuple[ScheduleState, ...] = field(default=("active", "paused"))


def make_run_message(
    schedule: Schedule, to: ReplyTo, due: float, event_key: str, is_late: bool
) -> Message:
    """Return the message that carries out a run: the schedule's text, by its owner, in its place.
    `to` is the destination of its answer."""
    turn, draft = turn_id(event_key), schedule.draft
    reply_to = replace(to, asker=schedule.owner, turn=turn, token="", token_expires_at=0.0)
    return Message(
        event_key, draft.text, schedule.owner, schedule.address, reply_to, locale=schedule.locale,
        time_zone=draft.time_zone, sent_at=due,
        origin=MessageOrigin(
            "schedule", schedule.id, may_be_command=draft.kind == "command", is_authored=False,
            is_attended=False, reads_history=False,
            data={"kind": draft.kind, "due_at": due, "revision": schedule.revision,
                  "is_late": is_late, "addresses": draft.addresses},
        ),
    )  # fmt: skip
