"""The facts that concern one person, for places that show it unasked, such as Slack's App Home."""

from __future__ import annotations

from core.base.i18n import find_zone
from core.base.tasks import run_together
from core.changes.cards import ChangeViews
from core.domain.changes import Overview, ScheduleLine
from core.domain.messages import Address, Person
from core.money.budget import Budget
from core.schedules.schedule import ScheduleFilter
from core.schedules.service import Scheduling
from core.schedules.words import describe_schedule


async def find_overview(
    views: ChangeViews,
    scheduling: Scheduling,
    budget: Budget,
    person: Person,
    address: Address,
    time_zone: str,
) -> Overview:
    """Return what concerns the person, as they may read it at the address: requests that they can
    decide on, requests of theirs that wait for others, their schedules, and what is left of their
    allowances. Raise NotStored."""
    waiting = await views.list_requests(person, address)
    # A request that they can approve themself is in the first list and is not repeated. A person
    # can have several accounts, each with a key.
    theirs = {change.id for change in waiting.changes}
    keys = scheduling.people.list_keys(person.key)
    asked = await run_together(
        *(
            views.card(change, person, address)
            for change in await views.ledger.list_waiting_for_people()
            if change.proposal.asker.key in keys and change.id not in theirs
        )
    )
    filters = [ScheduleFilter(person=key) for key in keys]
    return Overview(
        waiting,
        asked,
        [
            ScheduleLine(one.id, describe_schedule(one), one.state == "active")
            for filter in filters
            for one in await scheduling.store.list_matching(filter)
        ],
        await budget.describe_remaining(person, address, find_zone(time_zone) or budget.zone),
    )
