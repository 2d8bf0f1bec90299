"""The health of this Ponte's parts, and what platforms and the page show of its state, such as the
facts that concern one person (Slack's App Home)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

import structlog

from bot.engine import Engine
from bot.parts import CHECK_FAILED_SENTENCE
from core.base.errors import NotStored
from core.base.i18n import find_zone, say, translate_word
from core.base.tasks import run_together
from core.domain.changes import ChangeForm, Overview, PendingRequests, ScheduleLine
from core.domain.messages import Address, Card, Person
from core.domain.ports import Platform
from core.domain.records import Health, QuickCommand
from core.domain.rights import Viewer
from core.integrations import ListStates, ListTitles
from core.observability import metrics
from core.schedules.schedule import ScheduleFilter
from core.schedules.words import describe_schedule

log = structlog.get_logger("process")
PART_TIMEOUT_SECONDS = 5.0
ReportHealth = Callable[[], Awaitable[Health]]


class PartHealth:
    """Collects the health of all parts, such as the model and Slack. A part that runs in this
    process reports its own (`live`); for others the settings say it (`lineup`). `further` are parts
    of which there may be other ones at any time."""

    def __init__(
        self,
        lineup: Sequence[Health],
        live: Mapping[str, ReportHealth] = MappingProxyType({}),
        list_platforms: Callable[[], Sequence[Platform]] = tuple,
        further: Sequence[ListStates] = (),
    ) -> None:
        # `lineup` has all parts by the settings alone, `further` those that come and go.
        # `list_platforms` returns those that this process serves.
        self._lineup, self._live = lineup, live
        self._list_platforms, self._further = list_platforms, further

    async def list_all(self, patience: float = PART_TIMEOUT_SECONDS) -> Sequence[Health]:
        """Ask all parts at the same time. One that takes longer than `patience` (seconds) has given
        no response."""
        live = {
            **self._live,
            **{platform.name: platform.health for platform in self._list_platforms()},
        }
        parts = await asyncio.gather(
            *(self._ask_part(part, live.get(part.name), patience) for part in self._lineup)
        )
        for list_states in self._further:
            parts.extend(await list_states())
        return parts

    async def _ask_part(self, part: Health, ask: ReportHealth | None, patience: float) -> Health:
        """Return the state of one part now. The start screen has little `patience`: a part that
        does not answer then may only be slow, so it counts as on. Only a long silence is a
        failure."""
        if part.state == "off" or ask is None:
            return replace(part, words=translate_word(part.words))
        try:
            async with asyncio.timeout(patience):
                return await ask()
        except TimeoutError:
            if patience < PART_TIMEOUT_SECONDS:
                words = say("{words} (no response yet)", words=translate_word(part.words))
                return Health(part.name, "on", words)
            words = say("no response within {age} s", age=round(patience))
        except Exception as error:
            log.exception("could not check a part", part=part.name)
            # Its text may hold an address or a key.
            words = say(CHECK_FAILED_SENTENCE, kind=type(error).__name__)
        return Health(part.name, "failing", words)


@dataclass(frozen=True, slots=True)
class HealthBoard:
    """The state of this Ponte, for the platforms, the page and commands: the health of its parts,
    its tables, requests and metrics (the port `OperatorBoard`).

    `optional`: parts without which Ponte is ready too. `titles` returns the titles of the tables
    that a person knows, all or those to change; None if no tables are connected.
    """

    parts: PartHealth
    engine: Engine
    optional: Collection[str] = ()
    titles: ListTitles | None = None

    @property
    def is_demo(self) -> bool:
        return self.engine.assistant.model.level == "demo"

    async def health(self) -> Sequence[Health]:
        return await self.parts.list_all()

    def retry_model(self) -> None:
        """Let the next message try whether a used-up limit of the model's account is over."""
        from core.models.served_model import ServedModel  # not loaded for the demo model

        if isinstance(model := self.engine.assistant.model, ServedModel):
            model.retry_limits()

    async def readiness(self) -> Sequence[Health]:
        """Return the parts that must work so that Ponte is ready, for the route `/readyz`."""
        parts = await self.health()
        return [part for part in parts if part.name.partition(".")[0] not in self.optional]

    async def metrics(self) -> str:
        """Return the metrics as text for Prometheus (`/metrics`). A value that cannot be read now
        keeps its last state."""
        parts = await self.health()
        metrics.set_part_states({p.name: p.state == "on" for p in parts if p.state != "off"})
        with suppress(NotStored):
            metrics.set_proposal_counts(await self.engine.changes.ledger.count_unfinished())
        return metrics.render_metrics()

    async def commands(self, person: Person, address: Address) -> Sequence[QuickCommand]:
        return await self.engine.assistant.quick.list_commands(person, address)

    async def tables(
        self, person: Person, address: Address, *, to_change: bool = False
    ) -> Sequence[str]:
        if self.titles is None:
            return ()
        rights = await self.engine.people.policy.rights(person, address)
        return await self.titles(Viewer(rights), to_change)

    async def saved_names(self, person: Person, address: Address) -> Sequence[str]:
        rights = await self.engine.people.policy.rights(person, address)
        may_know = self.engine.assistant.contexts.may_know
        saved = self.engine.conversations.saved
        return [
            found.name for found in await saved.list_usable(person.key, address, may_know, rights)
        ]

    async def changes(self, conversation: str) -> Sequence[Card]:
        return await self.engine.changes.views.find_latest(conversation)

    async def overview(self, person: Person, address: Address, time_zone: str) -> Overview:
        """Return what concerns the person, as they may read it at the address: requests that they
        can decide on, requests of theirs that wait for others, their schedules, and what is left of
        their allowances. Raises NotStored."""
        views, schedules = self.engine.changes.views, self.engine.schedules
        waiting = await views.list_requests(person, address)
        # A request that they can approve themself is not repeated.
        decidable = {change.id for change in waiting.changes}
        # A person can have several accounts, each with a key.
        keys = schedules.people.list_keys(person.key)
        asked = await run_together(
            *(
                views.card(change, person, address)
                for change in await views.ledger.list_waiting_for_people()
                if change.proposal.asker.key in keys and change.id not in decidable
            )
        )
        lines = [
            ScheduleLine(
                schedule.id,
                describe_schedule(await schedules.withhold(schedule, person, address)),
                schedule.state == "active",
            )
            for key in keys
            for schedule in await schedules.store.list_matching(ScheduleFilter(person=key))
        ]
        budget = self.engine.people.budget
        zone = find_zone(time_zone) or budget.zone
        remaining = await budget.describe_remaining(person, address, zone)
        return Overview(waiting, asked, lines, remaining)

    async def open_plan(self, id: str, person: Person, address: Address) -> bytes:
        return await self.engine.changes.decisions.open_plan(id, person, address)

    async def find_form(self, press_id: str, person: Person, address: Address) -> ChangeForm:
        return await self.engine.changes.views.find_form(press_id, person, address)

    async def requests(self, person: Person, address: Address, id: str = "") -> PendingRequests:
        return await self.engine.changes.views.list_requests(person, address, id)

    def on_requests_change(self, listener: Callable[[], None]) -> None:
        self.engine.card_listeners.append(listener)
