"""The tools with which a model lists schedules and proposes to create, change or delete them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal, cast

from core.base.errors import BadInput, NotAllowed, NotFound, Refusal, StatusUnknown, ToolError
from core.base.i18n import LANGUAGE, find_zone, use_locale
from core.base.trust import find_addresses
from core.changes.service import Proposals
from core.domain.changes import Draft, RowWrite
from core.domain.messages import ReplyTo, decode_json, encode_json
from core.domain.records import Outcome, ToolContext
from core.saved.buttons import ALERT
from core.saved.queries import StoredCall, dump_calls, find_former, find_watchable, plan_query
from core.saved.questions import MayKnow, require_named
from core.schedules.alerts import AlertCondition, AlertValue, Comparison
from core.schedules.kind import SCHEDULE_APPLIER, SCHEDULE_KIND
from core.schedules.schedule import (
    ScheduleDraft,
    ScheduleRule,
    make_row,
    read_row,
    read_rule,
    read_time,
)
from core.schedules.service import Scheduling
from core.schedules.words import describe_schedule
from core.tools.tool import FixedToolSource, FunctionTool

_ALERT_HINT = "read rows or figures without groups, then write as r1 count > 20 or r1 new"
_MANAGED_BY = "The person manages one by typing `schedule ID pause`, `resume`, `run` or `delete`."


class _ProposingTool(FunctionTool):
    """Each call only proposes a change, which a person decides on, so a call may run again after a
    crash."""

    def only_proposes(self, arguments: str) -> bool:
        return True


class ScheduleSource(FixedToolSource):
    """The tools with which the model proposes and lists schedules (the port `ToolSource`).
    `proposals` withdraws a proposal that a new one replaces."""

    name = "schedules"

    def __init__(self, schedules: Scheduling, proposals: Proposals, may_know: MayKnow) -> None:
        self._schedules = schedules
        self._proposals = proposals
        self._may_know = may_know
        self._tools = (
            _ProposingTool(self.schedule_propose, effect="chat", doing="is preparing a schedule…"),
            FunctionTool(self.schedule_list, effect="chat", doing="is looking at the schedules…"),
        )

    async def schedule_propose(
        self,
        ctx: ToolContext,
        kind: Literal["post", "ask", "command", "saved", "alert", "delete"],
        what: str,
        when: str,
        zone: str | None,
        ends: str | None,
        replaces: str | None,
    ) -> Outcome:
        """Propose a reminder or repeated task here, which the person approves on its card.

        Args:
            what: text to post, full instruction to yourself, `quick-command SLUG input`, name
                of a saved question; alert, without you, on rows or figures just read: r1 count >
                20, r1 sum Amount < 5, r1 max Amount changes 10%, r1 new; ending in now: at once
                if true
            when: 2026-11-24T14:00, or cron 0 9 * * MON (day L: last, LW: last workday; weekday 5L:
                last Friday, 1#1: first Monday)
            zone: IANA; null: theirs
            ends: last date, or number of runs; 0: never
            replaces: ID of one to change or delete; empty values stay, when may be 10:00
        """
        service, id = self._schedules.service, (replaces or "").strip().lower()
        place = ctx.address
        if place.is_shared and ctx.message.event_key.split(":")[-2:] == [
            place.channel,
            place.thread,
        ]:
            # The message stands in the channel, and its thread holds the answer alone. The first
            # message of a post in a forum of Discord stands in the thread.
            place = replace(place, thread="")
        to = ReplyTo(place, ctx.asker, ctx.message.reply_to.source, "")
        try:
            # A new schedule has a row without a former draft; `applier_data` is where it posts.
            base = Draft(
                SCHEDULE_APPLIER,
                SCHEDULE_KIND,
                {"locale": LANGUAGE.get()},
                kind,
                (RowWrite(applier_data=encode_json(to)),),
            )
            if id or kind == "delete":
                # The schedule as it is, or what a proposal that still waits wants.
                base = await service.find_base(id, ctx.asker, ctx.address)
            (row,) = base.rows
            after = None
            if kind != "delete":
                former = read_row(row.after) if row.after else None
                draft = former or ScheduleDraft(kind, what, ScheduleRule(), ctx.zone)
                if what.strip():
                    draft = replace(draft, kind=kind, text=what)
                    queries = await self._find_queries(ctx, what) if kind == "saved" else ""
                    draft = replace(draft, queries=queries, condition="")
                    if kind == "alert":
                        draft = await self._draft_alert(ctx, what, draft)
                draft = replace(draft, time_zone=zone or draft.time_zone)
                if (tz := find_zone(draft.time_zone)) is None:
                    raise ToolError("Time zone not found.", hint="use an IANA name")
                if when.strip() or not former:
                    draft = replace(draft, rule=read_rule(when.strip(), draft.rule, tz))
                if ends and ends.isdecimal():  # a number of runs; "0" removes the end
                    draft = replace(draft, ends_at=0.0, max_runs=int(ends[:9]))
                elif ends:  # the last day, all of which counts
                    end = read_time(f"{ends[:10]}T23:59:59", tz)
                    draft = replace(draft, ends_at=end, max_runs=0)
                # The model wrote the text: only addresses that the person wrote may be links.
                addresses = ctx.written_addresses.union(draft.addresses) & find_addresses(
                    draft.text
                )
                draft = replace(draft, addresses=tuple(sorted(addresses)))
                to = decode_json(ReplyTo, row.applier_data)
                after = make_row(
                    await service.check(draft, to.asker, to.address, is_new=row.before is None)
                )
            elif row.before is None:
                raise NotFound("Schedule {id} not found.", id=id)
        except (BadInput, NotFound, Refusal, StatusUnknown) as error:
            raise ToolError("{why}", code=error.code, why=error) from error
        outcome = await ctx.turn.propose(
            replace(base, title=kind, rows=(replace(row, after=after),))
        )
        if base.change_id:  # a proposal of the person that this one replaces
            await self._proposals.withdraw(base.change_id)
        return outcome

    async def _draft_alert(
        self, ctx: ToolContext, what: str, draft: ScheduleDraft
    ) -> ScheduleDraft:
        match = ALERT.fullmatch(" ".join(what.split()))
        source = await self._find_result(ctx, match["result"]) if match else None
        query = source.query if source else None
        known = json.loads(query.arguments) if query else {}
        if not match or not source or not query or "filters" not in known:
            raise ToolError("Unknown alert.", hint=_ALERT_HINT)
        kept = ("table", "filters", "match", "fields")
        arguments = {key: known[key] for key in kept if key in known}
        call = StoredCall("nocodb_query", arguments, query.titles, needs=plan_query(source).needs)
        value, field, sign, limit, change, now, title = match.groups("")[1:]
        comparison = "changes" if change else "under" if sign == "<" else "over"
        limit = limit or change
        value = value or ("count" if limit else "row")
        condition = AlertCondition(
            cast(AlertValue, value), field, cast(Comparison, comparison), limit, tells_now=bool(now)
        )
        draft = await self._schedules.watch.draft(ctx, call, condition, draft)
        return replace(draft, text=" · ".join(filter(None, [title, draft.text])))

    async def _find_result(self, ctx: ToolContext, id: str) -> Outcome | None:
        """`id` is that of a result of this turn, or of an earlier turn of this conversation, for
        which a button asks."""
        if len(id) < 16:
            return ctx.results.get(id)
        journal = self._schedules.conversations.journal
        found = find_watchable(await find_former(journal, id, ctx.address.conversation))
        needs = plan_query(found).needs
        if not self._may_know(ctx.viewer.rights, needs):
            raise NotAllowed
        ctx.viewer.needs.update(needs)
        return found

    async def _find_queries(self, ctx: ToolContext, name: str) -> str:
        saved = self._schedules.conversations.saved
        usable = await saved.list_usable(
            ctx.asker.key, ctx.address, self._may_know, ctx.viewer.rights
        )
        return dump_calls(require_named(name, usable).calls)

    async def schedule_list(self, ctx: ToolContext, page: int) -> str:
        """List the person's schedules and this place's, 20 a page."""
        with use_locale("en"):
            schedules, pages = await self._schedules.service.list_page(ctx.asker, ctx.address, page)
            if not schedules:
                return f"There are no schedules on page {page}."
            last = f"Page {page} of {pages}. " if pages > 1 else ""
            reader = ctx.asker, ctx.address, ctx.viewer
            shown = [await self._schedules.withhold(schedule, *reader) for schedule in schedules]
            return "\n".join([*map(describe_schedule, shown), f"{last}{_MANAGED_BY}"])
