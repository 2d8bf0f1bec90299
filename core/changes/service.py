"""A write tool only stores a proposal, and its turn ends with a card. A person's decision is an
event of its own: it claims the proposal, which is then applied."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from core.base.errors import (
    BadInput,
    Expired,
    NotAllowed,
    NotFound,
    OverBudget,
    StatusUnknown,
    ToolError,
)
from core.base.i18n import LANGUAGE, nearest_locale, say
from core.base.markdown import escape_markdown
from core.changes import cards
from core.changes.apply import ChangeLifecycle
from core.changes.approval import Approval
from core.changes.card_rows import without_details
from core.changes.cards import MAX_LISTED_CHANGES, ChangeViews
from core.changes.kinds import (
    Applier,
    Changer,
    CheckedApplier,
    EditableApplier,
    PlannedApplier,
)
from core.changes.ledger import SqlLedger
from core.changes.standing import (
    REFUSAL_SENTENCES,
    RULES,
    NotKnown,
    Standing,
    judge_approval,
    judge_change,
    judge_denial,
    judge_reason,
    judge_repeat,
    judge_undo,
    may_see,
    require,
)
from core.changes.typed_fields import match_values, name_field
from core.domain.changes import (
    MAX_PROPOSAL_ROWS,
    POLICY_PERSON,
    PONTE_PERSON,
    PROPOSAL_LIFETIME_SECONDS,
    UNDO_LIFETIME_SECONDS,
    Change,
    Consent,
    DecisionRequest,
    Draft,
    FormField,
    Proposal,
    confirmation_code,
    new_change_id,
)
from core.domain.messages import Address, Answer, ChangeAction, File, Person
from core.domain.records import Outcome, ToolContext
from core.domain.rights import Viewer
from core.people.rules import NO_RIGHTS

_Result = Answer | tuple[Change, str]
_Deed = Callable[[Change, DecisionRequest, Standing], Awaitable[_Result]]
_PROPOSED = (
    "Proposed as {id}: nothing is changed yet. A person sees it as a card and decides; "
    "you are told on their next message."
)
_DONE_BEFORE = "This change was already made, as {id}, so I won't propose it again."
_NOT_ATTENDED = "Only a person can ask for this, not a program, webhook or schedule."
_NO_ROWS = "No row matches, so there is nothing to change."
_TOO_MANY = "That's {count} rows. The maximum is {most} per request."


@dataclass(frozen=True, slots=True)
class Proposals:
    """Stores the changes that tools propose, so that people can decide on them."""

    approval: Approval
    lifecycle: ChangeLifecycle

    async def propose(self, ctx: ToolContext, draft: Draft) -> Outcome:
        """Store the draft of a write tool as a proposal, which waits for a person's approval, and
        return the outcome of the tool's call for the model.

        A change that the operator's policy allows is applied at once. A message that a person asks
        again does not propose a change that its thread has already applied. Raise ToolError,
        Superseded, and what `ChangeLifecycle.apply` raises.
        """
        if not 1 <= draft.row_count <= MAX_PROPOSAL_ROWS:
            sentence = _TOO_MANY if draft.rows else _NO_ROWS  # the model corrects its call
            raise ToolError(sentence, code="rows", count=draft.row_count, most=MAX_PROPOSAL_ROWS)
        origin = ctx.message.origin
        is_attended = origin.is_attended and origin.is_by_person and not ctx.asker.is_bot
        if self.approval.kinds[draft.kind].needs_attended_turn and not is_attended:
            raise ToolError(_NOT_ATTENDED, code="not_allowed", hint="tell the person")
        rule = await self.approval.allow_draft(ctx.asker, ctx.address, draft)
        if ctx.message.replaced_turn:
            # A message that is asked again would make the model do its writes a second time.
            for earlier in await self.lifecycle.ledger.list_of_conversation(
                ctx.address.conversation, MAX_LISTED_CHANGES
            ):
                is_done = earlier.kind == "change" and earlier.state != "undone"
                is_done = is_done and bool(earlier.written_steps)
                same_thread = earlier.proposal.thread == ctx.thread.id
                same_write = _intended_write(earlier.draft) == _intended_write(draft)
                if is_done and same_thread and same_write:
                    hint = "tell the person so; only they can say that it is wanted twice"
                    raise ToolError(_DONE_BEFORE, code="done_before", hint=hint, id=earlier.id)
        proposal = Proposal(
            id=new_change_id(),
            draft=draft,
            asker=ctx.asker,
            address=ctx.address,
            seq=ctx.seq,
            call_id=ctx.call.call_id,
            thread=ctx.thread.id,
            generation=ctx.thread.generation,
            locale=LANGUAGE.get(),
            created_at=self.lifecycle.clock(),
            expires_at=self.lifecycle.clock() + PROPOSAL_LIFETIME_SECONDS,
            tool=ctx.call.name,
            origin=origin,
        )
        policy_rule = await self.approval.find_policy(proposal)
        proposal = replace(proposal, is_decided_by_policy=bool(policy_rule))
        proposal, asks_nobody = self.approval.find_approvers(proposal)
        per_hour = self.approval.rule_for(draft).auto_per_hour
        change = await self.lifecycle.ledger.propose(
            proposal, asks_nobody=asks_nobody, updates_per_hour=per_hour, rule=rule
        )
        # Otherwise this tool call has stored its proposal before a crash.
        if change.proposal.created_at == proposal.created_at:
            self.lifecycle.note_event("proposed", change)
        if not policy_rule or not change.proposal.is_decided_by_policy:
            model_note = _PROPOSED.format(id=change.id)
            keys = tuple(f"{draft.title}/{row.id}" for row in draft.rows)
            return Outcome("proposed", model_note, proposal=change.id, row_keys=keys)
        # The policy decides in place of a person, within this turn (`seq`).
        change = await self.lifecycle.ledger.claim(
            change.id, ctx.seq, POLICY_PERSON, self.lifecycle.clock(), rule=policy_rule
        )
        if change.state == "applying" and change.decision_seq == ctx.seq:
            change = await self.lifecycle.apply(change)
        note = self.lifecycle.builder.build_note(change)
        return Outcome("ok" if change.state == "done" else "error", note, proposal=change.id)

    async def withdraw(self, id: str) -> None:
        change = await self.lifecycle.ledger.get(id)
        if change.state == "open":
            await self.lifecycle.close(change, "withdrawn", None)

    async def withdraw_of(self, person: str, platform: str = "") -> None:
        """Deny the proposals of a person who has left, in the name of Ponte: nobody can approve
        them any more."""
        for change in await self.lifecycle.ledger.list_waiting_for_people():
            proposal = change.proposal
            is_there = platform in ("", proposal.address.platform)
            if proposal.asker.key == person and is_there:
                await self.lifecycle.close(change, "denied", PONTE_PERSON)

    async def withdraw_drafts_of(self, applier: str) -> int:
        """Withdraw the open proposals for a system whose data was replaced, because their rows are
        not there any more. `applier` is the system's name in drafts."""
        count = 0
        for change in await self.lifecycle.ledger.list_waiting_for_people():
            if change.draft.applier == applier:
                await self.lifecycle.close(change, "withdrawn", None)
                count += 1
        return count


def _intended_write(draft: Draft) -> object:
    rows = [(row.id if row.before else "", row.after) for row in draft.rows]
    return draft.applier, draft.kind, draft.title, draft.view.place, rows


_UNDONE = "Undone (`{id}`)."
_NOT_UNDONE = "Not undone: `{id}` is unchanged."
_UNDONE_ALREADY = "`{id}` was already undone (`{undo}`)."
_REDONE = "Undone (`{id}`). The change `{change}` is in effect again."
_NOTHING_DONE = "There is nothing to undo."
_READ_FIRST = "This is the full request `{id}`. To approve it as shown, type `{hint}`."
_READ_PLAN = (
    "The attached file is the whole plan of `{id}`. To approve it, type `{hint}`, but replace "
    "0000 with the four digits in the file's name."
)
_READ_ELSEWHERE = (
    "Not everyone here is allowed to read all of `{id}`. Type `approve {id}` where it was "
    "requested, or in a direct message."
)
_EARLIER = "This request was already decided, so nothing was done."
_REVISED = "Saved the new values of `{id}`."
_REVISED_ROWS = "Saved the new values of `{id}` in {rows} rows."
_REVISED_NOTE = "Someone changed the values. The request is waiting for approval."
_NOT_AGAIN = (
    "`{id}` can't be proposed again. This only works for changes that weren't made and whose "
    "values can be edited, not for tool calls. Ask for it in a message."
)
_REPEATED = "`{id}` was already proposed again as `{new}`."
_NOT_AS_SHOWN = (
    "Nothing was approved, because these requests were changed or decided, or have expired: "
    "{ids}. See the newest cards."
)
_NOT_REACHED = "Not approved yet: {ids}."
_APPROVE = "approve {id}-{code}"
_ONE_MORE = "You've already approved this request. Someone else must approve it too."
_UNCOUNTED = (
    "Some approvals are no longer valid. Each one must come from a different person who can "
    "still approve."
)


@dataclass(frozen=True, slots=True)
class Decisions:
    """Carries out what people decide about changes: approve, change the values, deny, undo, or
    propose again."""

    ledger: SqlLedger
    approval: Approval
    views: ChangeViews
    lifecycle: ChangeLifecycle
    appliers: Mapping[str, Applier]

    async def decide(self, action: ChangeAction, decision: DecisionRequest) -> Answer:
        """Approve, change, deny or undo a change, or propose it again, for a person who typed the
        command or clicked the button. Return the answer for the person.

        The same event can come here again after a crash (`ours`): it continues what it began. If
        the person saw another revision than the present one, nothing is done.

        Raise NotFound (also if the person may not see the card), NotAllowed, Expired, ToolError,
        Draining or NotStored.
        """
        if action == "approve":  # before the change is read, so that the answer reveals nothing
            _refuse_program(decision)
        change = await self.ledger.get(decision.id)
        standing, version = await self._find_standing(action, change, decision), change.version
        # An event that continues after a crash passed this check before.
        ours = change.decision_seq == decision.seq
        if not ours:
            require(may_see(standing))
        ours |= change.proposal.is_revised_by(decision.seq)  # it changed the values before a crash
        # Another event is applying the change. If that event has ended, the change is ended first.
        is_others = change.state == "applying" and change.decision_seq != decision.seq
        if is_others and change.id in [
            abandoned_change.id for abandoned_change in await self.ledger.list_abandoned()
        ]:
            change = await self.lifecycle.end_abandoned(change)
        # Expiry is checked here, too, because the periodic check may not have run yet.
        if change.state == "open" and change.proposal.expires_at <= self.lifecycle.clock():
            change = await self.lifecycle.close(change, "expired", None)
        if change.version != version:  # the change was ended or has expired just now
            standing = await self._find_standing(action, change, decision)
        # Only the last version can have been decided, so `undo` and `again` need no revision.
        is_final = action in ("undo", "again")
        revision = change.proposal.revision
        is_shown = is_final or ours or decision.revision in (0, revision)
        if is_shown and change.state == "expired" and not is_final:
            raise Expired(id=change.id)
        deeds: Mapping[ChangeAction, _Deed] = {
            "approve": self._approve,
            "change": self._change,
            "deny": self._deny,
            "reason": self._deny,  # its form is sent as a denial
            "undo": self._undo,
            "again": self._propose_again,
        }
        # A deed returns the answer, or the change as it is then and a sentence for the answer.
        result: _Result = change, ""
        if is_shown:
            result = await deeds[action](change, decision, standing)
        if isinstance(result, Answer):
            return result
        change, note = result
        # Somebody may have changed the values while the decision was carried out.
        is_shown &= change.proposal.revision == revision
        if is_shown or change.proposal.is_revised_by(decision.seq):
            answer = await self.views.describe_state(change, decision, note)
            files: tuple[File, ...] = ()
            if change.state in ("partial", "failed"):  # it says which rows were left out
                files = await self._store_plan(change, decision, change.id)
            if not files:
                return answer
            # A click's card is redrawn in its own post, which has no room for a file.
            new_cards = () if decision.is_click else answer.cards
            return replace(answer, files=files, cards=new_cards, has_own_post=True)
        return await self._describe_replaced(change, decision)

    async def _describe_replaced(self, change: Change, decision: DecisionRequest) -> Answer:
        answer = await self.views.build_answer([say(cards.REPLACED)], [change], decision)
        return replace(answer, status="failed")

    async def _find_standing(
        self, action: ChangeAction, change: Change, decision: DecisionRequest
    ) -> Standing:
        """The person's platform is asked only if what is known of them does not suffice, and once
        more if it does not tell."""
        if action not in ("deny", "reason"):  # these protect, and do not wait
            await self.approval.config.learn_tables()
        # First by what is known, without a request; then twice with one. `actions` lets
        # `find_standing` look up more, so the first time has none.
        for waits in (False, True, True):
            standing = await self.approval.find_standing(
                change,
                decision.person,
                decision.address,
                is_click=decision.is_click,
                actions=[action] if waits else [],
                waits=waits,
            )
            judgments = may_see(standing), RULES[action](standing)
            if not any(isinstance(judgment, NotKnown) for judgment in judgments):
                break
        return standing

    async def approve_all(self, requests: Sequence[DecisionRequest]) -> Answer:
        """Approve changes of one message in their order, each as `decide` does, up to the first
        that fails.

        Nothing is approved if one of them was replaced, decided or has expired, or if the person
        may not approve each. Raise BadInput for the former, NotAllowed for a bot or a program, else
        as `decide`.
        """
        _refuse_program(requests[0])
        changes = [await self.ledger.get(request.id) for request in requests]
        # An event that continues after a crash has passed these checks before.
        is_new = all(change.decision_seq != requests[0].seq for change in changes)
        if is_new and (refusal := await self._prepare_all(changes, requests)):
            return refusal
        lines, rest = list[str](), list(requests)
        while rest:
            request = rest.pop(0)
            outcome = ""
            try:
                await self.decide("approve", request)
            except (Expired, NotAllowed, NotFound, OverBudget, StatusUnknown, ToolError) as error:
                outcome = error.words()
            change = await self.ledger.get(request.id)
            outcome = outcome or await self.views.describe_outcome(change)
            lines.append(f"- `{change.id}`: {outcome}")
            is_ours = change.decision_seq == request.seq
            # The readers of another conversation may not see the rows.
            if is_ours and change.proposal.address.conversation == request.address.conversation:
                lines += [f"  {line}" for line in self.views.builder.list_written(change)]
            # Where several people must approve, this approval may only be one of them.
            is_ours |= request.person.key in change.approver_keys
            # Another person decided on this one, or it failed: the rest waits for a look at it. An
            # event that continues after a crash may find its change undone already.
            if not is_ours or change.state not in ("open", "done", "undone"):
                break
        if rest:
            ids = ", ".join(f"`{request.id}`" for request in rest)
            lines.append(f"- {say(_NOT_REACHED, ids=ids)}")
        # Posted as a text, because no card shows the results of several changes.
        return Answer("\n".join(lines), has_own_post=True)

    async def _prepare_all(
        self, changes: Sequence[Change], requests: Sequence[DecisionRequest]
    ) -> Answer | None:
        """Check, before any of the changes is approved, that each is as it was shown and that the
        person may approve it.

        Return None if all can be approved, or else the answer that shows a change in full of which
        the person cannot have seen all.
        """
        replaced, now = list[str](), self.lifecycle.clock()
        checked = list[tuple[Change, DecisionRequest, Standing]]()
        for change, request in zip(changes, requests, strict=True):
            standing = await self._find_standing("approve", change, request)
            require(may_see(standing))
            checked.append((change, request, standing))
            # 0: the person typed the ids, so no card tells which revision they saw.
            is_shown = request.revision in (0, change.proposal.revision)
            if change.state != "open" or not is_shown or change.proposal.expires_at <= now:
                replaced.append(f"`{change.id}`")
        if replaced:
            raise BadInput(_NOT_AS_SHOWN, ids=", ".join(replaced))
        for change, request, standing in checked:
            require(judge_approval(standing))
            if (answer := await self._ask_to_read(change, request, standing)) is not None:
                return answer
        return None

    async def _ask_to_read(
        self, change: Change, decision: DecisionRequest, standing: Standing
    ) -> Answer | None:
        """Return the answer that shows the change in full, if the person typed `approve` and cannot
        have seen all of it; they can then type it with a code. Return None if nothing keeps them
        from approving. Raise NotAllowed if its asker may not have it applied in the other
        system. A click needs no such check: a button is only under a card that shows
        everything."""
        here, has_plan = decision.address, self.views.builder.kind(change).has_plan
        can_click = decision.is_click and not has_plan
        if not can_click and not await self._is_seen(change, decision, standing):
            # Values are not shown to the readers of another place.
            if here.is_shared and (has_plan or not here.is_same_channel(change.proposal.address)):
                sentence = cards.OPEN_ELSEWHERE if has_plan else _READ_ELSEWHERE
                return Answer(say(sentence, id=change.id), "failed", is_private=True)
            card = await self.views.card(change, decision.person, here, is_opened=True)
            code = _code(change, decision)
            files = await self._store_plan(change, decision, f"{change.id}-{code}")
            # If the upload of the plan fails, its reader has no code.
            hint = say(_APPROVE, id=change.id, code="0000" if files else code)
            sentence = say(_READ_PLAN if files else _READ_FIRST, id=change.id, hint=hint)
            return Answer(f"{sentence}\n\n{cards.describe_whole(card)}", "failed", files=files)
        applier = self.appliers.get(change.draft.applier)
        if isinstance(applier, CheckedApplier):
            await applier.check_asker(change.draft)
        return None

    async def open_plan(self, id: str, person: Person, address: Address) -> bytes:
        """Return the plan of a change as a file. Raise NotFound, also if the person may not see the
        card, NotKnown and ToolError."""
        change = await self.ledger.get(id)
        require(may_see(await self.approval.find_standing(change, person, address)))
        applier = self.appliers.get(change.draft.applier)
        if change.is_erased or not isinstance(applier, PlannedApplier):
            raise NotFound(what="file")
        return await applier.encode_plan(change)

    async def _store_plan(
        self, change: Change, decision: DecisionRequest, name: str
    ) -> tuple[File, ...]:
        applier, here = self.appliers.get(change.draft.applier), decision.address
        is_linked = self.approval.policy.platforms.get(here.platform, NO_RIGHTS).links_plans
        if not isinstance(applier, PlannedApplier) or change.is_erased:
            return ()
        if not (here.is_shared or is_linked):
            try:
                return (await applier.store_plan(change, decision.person, here, name),)
            except ToolError:  # the plan was deleted
                if change.state == "open":
                    raise
        return ()

    async def _deny(self, change: Change, decision: DecisionRequest, standing: Standing) -> _Result:
        """Deny an open proposal, or store the reason of a denial that has none. Return the change,
        with no sentence for the answer."""
        person, reason = decision.person, decision.reason
        if change.state == "open":
            rule = require(judge_denial(standing))
            change = await self.lifecycle.close(change, "denied", person, rule, reason)
        elif change.state == "denied" and reason and not change.denial_reason:
            require(judge_reason(standing))
            change = await self.lifecycle.add_reason(change, reason)
        return change, ""

    async def _approve(
        self, change: Change, decision: DecisionRequest, standing: Standing
    ) -> _Result:
        """Record the approval. Claim and apply the change once enough people have approved it.
        Return the change as it is then and a sentence for the answer, or an answer that shows the
        change in full first.

        The same event may run this again after a crash: a change that it has claimed
        (`decision_seq`) is then applied to its end.
        """
        count = standing.needed_approvals
        # An earlier process claimed the change and wrote nothing yet. The person may have lost the
        # right since.
        if change.is_untouched and change.decision_seq == decision.seq:
            await self._release_unless_allowed(change, decision, standing)
        if change.state == "open":
            rule = require(judge_approval(standing))
            if (answer := await self._ask_to_read(change, decision, standing)) is not None:
                return answer
            if count > 1 or change.consents:
                # Approvals of people who may no longer approve do not count.
                before = await self.views.without_void(change)
                consent = Consent(decision.person, decision.address, self.lifecycle.clock())
                revision = change.proposal.revision
                change = await self.ledger.consent(change.id, consent, revision, rule)
                self.lifecycle.on_change()
                if change.proposal.revision != revision:  # somebody changed the values meanwhile
                    return change, ""
                if change.state == "open":
                    counted = await self.views.list_consents(change, decision.person)
                    if len(counted) < count:
                        # Explain why the change still waits: the person had approved before, or
                        # approvals of others no longer count.
                        sentence = _ONE_MORE if decision.person.key in before.approver_keys else ""
                        sentence = sentence if len(counted) == len(change.consents) else _UNCOUNTED
                        return change, say(sentence) if sentence else ""
                    await self._withdraw_others(change, counted)
        if change.state == "open":
            # Reserve before the claim: if the budget refuses, the proposal stays open.
            await self.lifecycle.reserve_payment(change, decision.seq)
            revision = change.proposal.revision
            change = await self.ledger.claim(
                change.id, decision.seq, decision.person, self.lifecycle.clock(), revision, rule
            )
            if change.decision_seq != decision.seq:  # another event claimed it first
                await self.lifecycle.settle_payment(change, decision.seq)
        if change.state == "applying" and change.decision_seq == decision.seq:
            change = await self.lifecycle.apply(change, decision.show_progress)
            await self.lifecycle.settle_payment(change, decision.seq)
        # A change that undoes another one was never open, so this event cannot have decided on it.
        is_undo = change.proposal.undone_change and change.decision_seq != decision.seq
        return change, say(_EARLIER) if change.state == "denied" or is_undo else ""

    async def _change(
        self, change: Change, decision: DecisionRequest, standing: Standing
    ) -> _Result:
        """Store an open proposal with the values that the person typed, as a new revision, and
        return it with a sentence for the answer. From then on, the person counts as its asker, and
        earlier approvals do not count."""
        person, proposal = decision.person, change.proposal
        sentence = say(_REVISED, id=change.id)
        if change.state != "open" or proposal.is_revised_by(decision.seq):  # before a crash
            # Stored by an earlier attempt of this event, or decided meanwhile.
            return change, sentence if change.state == "open" else ""
        fields = self.views.builder.kind(change).form_fields(change)
        # The turn that proposed a change which the policy decides is about to apply it.
        if not fields or proposal.is_decided_by_policy:
            raise BadInput(cards.NOT_CHANGEABLE, id=change.id)
        require(judge_change(standing))
        now = self.lifecycle.clock()
        # A form is in the language of its reader, but they type beside a card in the asker's. Of
        # two locales of one language, the reader's counts, which comes last.
        locales = [LANGUAGE.get()] if decision.is_click else [proposal.locale, LANGUAGE.get()]
        by_language = {nearest_locale(locale): locale for locale in locales}
        typed_at = datetime.fromtimestamp(now, decision.zone)
        values = match_values(fields, decision.values, typed_at, by_language.values())
        # `rule` lets the person propose these values. The audit log names it.
        draft, rule = await self._revise(change, values, decision, fields)
        count = len({field.row for field in fields if field.key in values})
        if count > 1:
            sentence = say(_REVISED_ROWS, id=change.id, rows=count)
        revised = replace(
            proposal,
            draft=draft,
            asker=person,
            revision=proposal.revision + 1,
            # A space on both sides of each number: searched as text, 12 is not found in 123.
            revision_seqs=f"{proposal.revision_seqs} {decision.seq} ",
            created_at=now,
            expires_at=now + PROPOSAL_LIFETIME_SECONDS,
        )
        revised, asks_nobody = self.approval.find_approvers(revised)
        after = Change(revised, steps=draft.steps)
        note = self.views.builder.kind(after).build_note(after, _REVISED_NOTE)
        change = await self.ledger.revise(revised, note, asks_nobody=asks_nobody, rule=rule)
        self.lifecycle.on_change()
        if not change.proposal.is_revised_by(decision.seq):  # somebody else was faster
            return await self._describe_replaced(change, decision)
        return change, sentence

    async def _revise(
        self,
        change: Change,
        values: Mapping[str, str],
        decision: DecisionRequest,
        fields: Sequence[FormField] = (),
    ) -> tuple[Draft, str]:
        """Return the draft of a proposal with other values, and the rule that allows `decision`'s
        person to propose it. The applier reads table and rows again with the rights of that
        person, who may see less than the one who asked for the change. Raise BadInput, ToolError,
        NotAllowed."""
        applier, person = self.appliers.get(change.draft.applier), decision.person
        if not isinstance(applier, EditableApplier):
            raise BadInput(cards.NOT_CHANGEABLE, id=change.id)
        address = change.proposal.address
        viewer = Viewer(await self.approval.policy.rights(person, address))
        changer = Changer(person, address, viewer, decision.zone)
        try:
            draft = await applier.revise(change, values, changer)
        except ToolError as error:
            # Its words name fields, options and rows of the table, which are untrusted. A field of
            # the form gets the name that the person sees there.
            for field in fields:
                if field.key == error.values.get("key"):
                    error.values["field"] = name_field(field)
            problem = escape_markdown(error.words())
            raise ToolError("{words}", code=error.code, words=problem) from error
        return draft, await self.approval.allow_draft(person, address, draft)

    async def _undo(self, change: Change, decision: DecisionRequest, standing: Standing) -> _Result:
        """Take an applied change back by a new change, which is applied at once, and return the
        answer. If it cannot be taken back, the answer says why.

        The same event may run this again after a crash: it continues the undo that it began.
        """
        if change.state == "applying":  # it cannot be undone before it has ended
            return change, ""
        undo = await self.ledger.get(change.undone_by) if change.undone_by else None
        if undo is None and self.views.builder.is_undoable(change):
            if change.decided_at + UNDO_LIFETIME_SECONDS <= self.lifecycle.clock():
                return await self.views.build_answer([cards.describe_lapse()], [change], decision)
            rule = require(judge_undo(standing))
            applier = self.appliers.get(change.draft.applier)
            if applier is None:
                raise ToolError("The system where the change was made is no longer connected.")
            draft = applier.revert(change)
            now = self.lifecycle.clock()
            proposal = replace(
                change.proposal,
                id=new_change_id(),
                draft=draft,
                asker=decision.person,
                seq=decision.seq,
                call_id="undo",
                locale=LANGUAGE.get(),
                created_at=now,
                # It is applied at once, so it never waits for a decision.
                expires_at=now,
                undone_change=change.id,
                # The undo is a proposal of its own, whatever the revision of the change was.
                revision=1,
            )
            undo = await self.ledger.undo(proposal, decision.person, now, rule)
        # Another event undoes it, or this one cannot. An undo of this very event goes on: it was
        # delivered again, or its process crashed.
        if undo is None or undo.decision_seq != decision.seq:
            return await self._not_undone(change, undo, decision)
        if undo.state == "applying":
            undo = await self.lifecycle.apply(undo)
        change, changes = await self.ledger.get(change.id), [undo]
        has_failed = undo.state == "failed"
        first = change.proposal.undone_change  # this is the undo of an undo
        sentence = _NOT_UNDONE if has_failed else _REDONE if first else _UNDONE
        sentences = [say(sentence, id=(change if has_failed else undo).id, change=first)]
        if undo.state == "done":  # the card of `change` says the rest
            changes = []
        sentences += map(self.views.builder.describe_outcome, changes)
        answer = await self.views.build_answer(sentences, [*changes, change], decision)
        if undo.state == "partial":
            answer = replace(answer, files=await self._store_plan(undo, decision, undo.id))
        return self.views.add_written(answer, change, undo)

    async def _not_undone(
        self, change: Change, undo: Change | None, decision: DecisionRequest
    ) -> Answer:
        """Return the answer if the request to undo `change` took nothing back: somebody else has
        undone it (`undo`), its rows were erased, its kind cannot be undone, or nothing was
        written."""
        builder, changes = self.views.builder, [change]
        if undo is not None:
            sentences = [say(_UNDONE_ALREADY, id=change.id, undo=undo.id)]
            sentences.append(builder.describe_outcome(undo))
            changes = [undo, change]
        elif change.written_steps and change.is_erased:
            # Its stored rows were erased by `forget`, or because of their age.
            sentences = [say(cards.ERASED) if change.is_forgotten else cards.describe_lapse()]
        else:
            kind = builder.kind(change)
            is_final = change.written_steps and not kind.can_be_undone
            sentence = kind.no_undo if is_final else _NOTHING_DONE
            sentences = [say(sentence), builder.describe_outcome(change)]
        return await self.views.build_answer(sentences, changes, decision)

    async def _propose_again(
        self, change: Change, decision: DecisionRequest, standing: Standing
    ) -> _Result:
        """Store a new proposal with the values of a denied, expired or failed one, whose asker
        wants it again, and return an answer with its card. A person decides on it, even if the
        operator's policy would approve it."""
        person = decision.person
        is_offered = "again" in self.views.builder.possible_actions(change)
        # `repeated_by`: the proposal that was already made of this one; the answer names it.
        if not is_offered and not change.repeated_by:
            raise BadInput(_NOT_AGAIN, id=change.id)
        require(judge_repeat(standing))
        # Else it was repeated already, by an earlier delivery of this event or by somebody else.
        if is_offered:
            # `rule` lets the person propose these values. The audit log names it.
            draft, rule = await self._revise(change, {}, decision)
            now = self.lifecycle.clock()
            proposal = replace(
                change.proposal,
                id=new_change_id(),
                draft=draft,
                asker=person,
                seq=decision.seq,
                call_id="again",  # no tool call, but a second delivery of this event finds it
                locale=LANGUAGE.get(),
                created_at=now,
                revision=1,
                expires_at=now + PROPOSAL_LIFETIME_SECONDS,
                revision_seqs="",
                is_decided_by_policy=False,
            )
            proposal, asks_nobody = self.approval.find_approvers(proposal)
            new = await self.ledger.propose_again(
                proposal, change.id, asks_nobody=asks_nobody, rule=rule
            )
            if new.proposal.seq == decision.seq:
                self.lifecycle.note_event("proposed", new)
        else:
            new = await self.ledger.get(change.repeated_by)
        if new.proposal.seq != decision.seq:  # another event did
            sentences = [say(_REPEATED, id=change.id, new=new.id)]
            return await self.views.build_answer(sentences, [new], decision)
        # Posted as a message of its own, because the card of the old proposal stays.
        card = await self.views.card(new, person, decision.address)
        sentence = cards.describe_proposals(1)
        return Answer("", cards=(card,), has_own_post=True, card_sentence=sentence)

    async def _is_seen(self, change: Change, decision: DecisionRequest, standing: Standing) -> bool:
        """Return whether the person who typed `approve` can have seen all of the change where they
        typed it. A button is only under a card that shows everything."""
        proposal, here, origin_address = change.proposal, decision.address, change.proposal.address
        if decision.code:  # digits that Ponte showed to them below the full text
            return decision.code == _code(change, decision)
        if self.views.builder.kind(change).has_plan:
            return self.approval.can_open(
                change, decision.person, here, is_beside_file=decision.is_click
            )
        # If a program asked for it with the person's token, the person need not have seen it.
        is_asker = not proposal.asker.is_bot and proposal.asker.key == decision.person.key
        if proposal.revision > 1 and not is_asker:  # they may have seen an earlier version
            return False
        # The asker got the card as an answer. `has_copy`: a copy was posted to this person.
        # `sees_card`: the card is in the conversation in which they typed.
        is_here = origin_address.is_shared and origin_address.is_same_channel(here)
        if not (is_asker or is_here or standing.has_copy or standing.sees_card):
            return False
        # The page shows cards of any length. Other platforms cut long ones, so the cards of one
        # turn, which are in one message, must be short together.
        if self.approval.policy.platforms.get(here.platform, NO_RIGHTS).has_room:
            return True
        changes = await self.ledger.list_of_conversation(
            origin_address.conversation, MAX_LISTED_CHANGES
        )
        beside = {
            sibling.id: sibling
            for sibling in [*changes, change]
            if sibling.proposal.seq == proposal.seq
        }
        visible_cards = [await self.views.card(sibling) for sibling in beside.values()]
        texts = [cards.describe_whole(without_details(card)) for card in visible_cards]
        return cards.is_short(texts)

    async def _withdraw_others(self, change: Change, counted: Sequence[Consent]) -> None:
        others = {*change.approver_keys} - {consent.person.key for consent in counted}
        if others:
            await self.ledger.withdraw_consents(change.id, others)

    async def _release_unless_allowed(
        self, change: Change, decision: DecisionRequest, standing: Standing
    ) -> None:
        """Judge again a claimed change of which nothing was written before a crash, because rights
        may have changed since the claim. If they no longer suffice, reopen the change and raise
        NotAllowed or StatusUnknown."""
        try:
            require(judge_approval(standing))
            # `counted` are the approvals of people who may still approve. The card names no others.
            if standing.needed_approvals > 1:
                counted = await self.views.list_consents(change, decision.person)
                if len(counted) < standing.needed_approvals:
                    raise NotAllowed(_UNCOUNTED)
                await self._withdraw_others(change, counted)
        except (NotAllowed, StatusUnknown):
            await self.ledger.release(change.id, change.decision_seq)
            # Gives back the money that was reserved, because no run has begun.
            await self.lifecycle.settle_payment(await self.ledger.get(change.id), decision.seq)
            self.lifecycle.on_change()
            raise

    async def result(self, id: str, seq: int) -> tuple[str, Change]:
        change = await self.ledger.get(id)
        is_ours = change.decision_seq == seq
        return self.views.builder.kind(change).read_result(change) if is_ours else "", change


def _refuse_program(decision: DecisionRequest) -> None:
    if decision.person.is_bot:
        raise NotAllowed(REFUSAL_SENTENCES["bot"], id=decision.id)


def _code(change: Change, decision: DecisionRequest) -> str:
    return confirmation_code(
        change.id, decision.person, change.proposal.created_at, change.proposal.revision
    )


@dataclass(frozen=True, slots=True)
class ChangeService:
    """The objects that deal with changes."""

    ledger: SqlLedger
    approval: Approval
    views: ChangeViews
    lifecycle: ChangeLifecycle
    proposals: Proposals
    decisions: Decisions
