"""The facts that concern one person, for places that show it unasked, such as Slack's App Home."""

from __future__ import annotations

from core.base.i18n import find_zone
from core.changes.cards import ChangeViews
from core.domain.changes import Overview, ScheduleLine
from core.domain.messages import Address, Person
from core.money.budget import Budget
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
    theirs = {request.change.id for request in waiting}
    keys = scheduling.people.list_keys(person.key)
    asked = [
        await views.card(change, person, address)
        for change in await views.ledger.list_waiting_for_people()
        if change.proposal.asker.key in keys and change.id not in theirs
    ]
    # Page 1, which begins with the active ones; later pages are left out. It also has other
    # people's schedules of this place: `is_owner` drops them.
    schedules, _ = await scheduling.service.list_page(person, address, 1)
    return Overview(
        waiting,
        asked,
        [
            ScheduleLine(one.id, describe_schedule(one), one.state == "active")
            for one in schedules
            if scheduling.service.is_owner(one, person) and one.state in ("active", "paused")
        ],
        await budget.describe_remaining(person, address, find_zone(time_zone) or budget.zone),
    )
