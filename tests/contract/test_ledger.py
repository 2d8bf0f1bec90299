"""What every ledger promises: one decision, one claim, every step on the disk."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from core.base.errors import NotFound, Superseded, TakenOver
from core.changes.ledger import SqlLedger
from core.domain.changes import (
    MAX_AUTO_UPDATES,
    ApprovalNotice,
    Change,
    ChangeState,
    Consent,
    Draft,
    Proposal,
    RowWrite,
    new_change_id,
)
from core.domain.messages import PROGRAM, Address, Person, ReplyTo
from core.domain.records import ConversationArea
from core.people.notices import Outbox
from tests.contract.engines import Embedded
from tests.contract.test_inbox import says
from tests.contract.test_journal_threads import talk
from tests.time_limits import Limits

ANA, BOB = Person("web", "ana", name="Ana"), Person("web", "bob", name="Bob")
HERE = Address("web", "C1")
ROWS = (RowWrite(after={"Name": "Ada"}), RowWrite("7", {"Name": "B"}, {"Name": "Bo"}))


@pytest.fixture
async def ledger(stores: Embedded) -> SqlLedger:
    """Every ledger passes the same suite; a new one is added here."""
    return SqlLedger(stores.database)


@pytest.fixture
async def outbox(stores: Embedded) -> Outbox:
    return Outbox(stores.database)


def draft(*rows: RowWrite) -> Draft:
    return Draft("memory", "update", {"table": "t1"}, "People", rows or ROWS, "Beware.")


def proposal(call: str = "c1", seq: int = 1, conversation: Address = HERE) -> Proposal:
    return Proposal(
        new_change_id(), draft(), ANA, conversation, seq, call, "t1", 0, "pt-BR", 100.0, 200.0
    )


async def open_(ledger: SqlLedger, call: str = "c1") -> Change:
    return await ledger.propose(proposal(call))


async def test_a_proposal_is_kept_whole_and_once(ledger: SqlLedger) -> None:
    variant = replace(proposal(), origin=replace(PROGRAM, is_attended=False, per_minute=3))
    change = await ledger.propose(variant)
    assert change == await ledger.get(variant.id)
    assert (change.proposal, change.state, change.decision_seq) == (variant, "open", 0)
    assert [step.write for step in change.steps] == list(ROWS)
    assert {step.state for step in change.steps} == {"waiting"}
    with pytest.raises(NotFound):
        await ledger.get("zzzzz2")
    assert await ledger.propose(replace(proposal(), draft=draft(ROWS[0]))) == change, "one call"
    second = await ledger.propose(replace(proposal("c2"), id=variant.id))
    assert second.id != variant.id, "an id is never given twice"
    assert (await ledger.get(variant.id)).proposal == variant


async def test_the_policy_updates_no_more_rows_in_a_turn_of_hours(ledger: SqlLedger) -> None:
    by_policy = list[bool]()
    for hour in range(MAX_AUTO_UPDATES + 1):
        update = replace(proposal(f"c{hour}"), draft=draft(ROWS[0]), created_at=hour * 3601.0)
        update = replace(update, is_decided_by_policy=True)
        change = await ledger.propose(update, updates_per_hour=1)
        by_policy.append(change.proposal.is_decided_by_policy)
    assert by_policy == [True] * MAX_AUTO_UPDATES + [False]


async def test_one_event_claims_it(ledger: SqlLedger) -> None:
    id = (await open_(ledger)).id
    claims = await asyncio.gather(
        *(ledger.claim(id, seq, person, 150.0) for seq, person in ((8, ANA), (9, BOB)))
    )
    (winner,) = {(claim.decision_seq, claim.decider) for claim in claims}
    assert winner in ((8, ANA), (9, BOB))
    assert all((c.state, c.decided_at) == ("applying", 150.0) for c in claims)
    with pytest.raises(Superseded):
        await ledger.close(id, "denied", BOB, "", 151.0)
    assert (await ledger.get(id)).state == "applying"


async def test_what_is_denied_or_has_expired_is_not_claimed(ledger: SqlLedger) -> None:
    id, old = (await open_(ledger)).id, (await open_(ledger, "c2")).id
    denial = await ledger.close(id, "denied", BOB, "", 150.0)
    assert (denial.state, denial.decider) == ("denied", BOB)
    assert await ledger.list_overdue(199.0) == []
    assert [change.id for change in await ledger.list_overdue(200.0)] == [old]
    assert await ledger.claim(id, 8, ANA, 151.0) == denial
    with pytest.raises(Superseded):
        await ledger.close(id, "expired", None, "", 152.0)
    assert await ledger.get(id) == denial
    assert (await ledger.claim(old, 8, ANA, 200.0)).state == "expired"
    assert (await ledger.claim(old, 8, ANA, 100.0)).state == "expired"


async def test_a_denial_gets_its_reason_at_once_or_once_later(
    ledger: SqlLedger, outbox: Outbox
) -> None:
    id = (await open_(ledger)).id
    denial = await ledger.close(id, "denied", BOB, "", 150.0, reason="Too early.")
    assert (denial.denial_reason, denial.decider) == ("Too early.", BOB)
    assert await ledger.add_reason(id, "Another.", "") == denial
    (notice,) = [one for one in await outbox.list_unposted() if one.change == id]
    assert (notice.kind, notice.person) == ("denied", ANA)
    later = (await open_(ledger, "c2")).id
    assert (await ledger.add_reason(later, "Still open.", "")).denial_reason == ""
    denial = await ledger.close(later, "denied", ANA, "", 150.0)
    change = await ledger.add_reason(later, "My mistake.", "")
    assert (change.denial_reason, change.decided_at) == ("My mistake.", denial.decided_at)
    assert change.version > denial.version
    assert later not in [one.change for one in await outbox.list_unposted()], "she wrote it"
    await ledger.erase_old_rows(time.time())
    assert {(await ledger.get(each)).denial_reason for each in (id, later)} == {""}
    assert (await ledger.add_reason(id, "Again.", "")).denial_reason == ""


async def test_steps_are_stored_while_a_change_is_applied(ledger: SqlLedger) -> None:
    change = await ledger.claim((await open_(ledger)).id, 8, ANA, 150.0)
    one, two = change.steps
    variant = replace(one, state="writing", write=replace(one.write, applier_data="[3]"))
    await ledger.record(change.id, 8, [variant])
    assert (await ledger.get(change.id)).steps == (variant, two)
    outcome = replace(
        variant, state="done", write=replace(variant.write, id="4"), current={"Name": "Ada"}
    )
    failure = replace(two, state="failed", explanation="It refuses.")
    await ledger.record(change.id, 8, [outcome, failure])
    assert (await ledger.get(change.id)).steps == (outcome, failure)
    with pytest.raises(Superseded):
        await ledger.record(change.id, 9, [one])
    end = await ledger.finish(change.id, 8, "partial", "", 160.0)
    assert (end.state, end.steps) == ("partial", (outcome, failure))
    assert await ledger.finish(change.id, 8, "done", "", 161.0) == end
    with pytest.raises(Superseded):
        await ledger.record(change.id, 8, [one])


async def test_a_released_change_is_open_again(ledger: SqlLedger) -> None:
    change = await ledger.claim((await open_(ledger)).id, 8, ANA, 150.0)
    with pytest.raises(Superseded):
        await ledger.release(change.id, 9)
    await ledger.release(change.id, 8)
    again = await ledger.get(change.id)
    assert (again.state, again.decision_seq, again.decider) == ("open", 0, None)
    assert (await ledger.claim(change.id, 9, BOB, 150.0)).decider == BOB


async def finish_change(ledger: SqlLedger, call: str = "c1") -> Change:
    change = await ledger.claim((await open_(ledger, call)).id, 8, ANA, 150.0)
    await ledger.record(change.id, 8, [replace(step, state="done") for step in change.steps])
    return await ledger.finish(change.id, 8, "done", "", 160.0)


async def test_a_change_is_undone_once(ledger: SqlLedger) -> None:
    change = await finish_change(ledger)
    undo = replace(proposal("undo", seq=9), undone_change=change.id)
    reply = await ledger.undo(undo, BOB, 170.0)
    assert (reply.state, reply.decision_seq, reply.decider) == ("applying", 9, BOB)
    other = await ledger.undo(
        replace(proposal("undo", seq=10), undone_change=change.id), ANA, 171.0
    )
    assert other == reply
    assert (await ledger.get(change.id)).undone_by == reply.id
    await ledger.finish(reply.id, 9, "done", "", 180.0)
    assert (await ledger.get(change.id)).state == "undone"


@pytest.mark.parametrize("state", ["partial", "failed"])
async def test_an_undo_that_did_not_do_all(ledger: SqlLedger, state: ChangeState) -> None:
    change = await finish_change(ledger)
    undo = await ledger.undo(replace(proposal("undo", seq=9), undone_change=change.id), BOB, 170.0)
    await ledger.finish(undo.id, 9, state, "", 180.0)
    after = await ledger.get(change.id)
    assert after.state == "done"
    assert bool(after.undone_by) == (state == "partial"), "one that did nothing may be repeated"
    again = replace(proposal("undo", seq=9), id="other1", undone_change=change.id)
    reply = await ledger.undo(again, BOB, 190.0)
    assert (reply.id, reply.state) == (undo.id, state), "by another event, not by the same one"


async def test_the_newest_first_of_a_conversation_or_of_all(ledger: SqlLedger) -> None:
    ids = [(await open_(ledger, f"c{n}")).id for n in range(3)]
    other = await ledger.propose(proposal("x", conversation=Address("web", "C2")))
    assert [c.id for c in await ledger.list_of_conversation("web:C1", 2)] == [ids[2], ids[1]]
    assert [c.id for c in await ledger.list_of_conversation("", 9)] == [other.id, *reversed(ids)]


async def test_a_card_is_to_be_drawn_when_it_moved(ledger: SqlLedger) -> None:
    change = await open_(ledger)
    assert await ledger.list_undrawn() == [], "the answer itself shows it"
    denial = await ledger.close(change.id, "denied", ANA, "", 150.0)
    assert await ledger.list_undrawn() == [denial]
    await ledger.record_drawn(change)
    assert await ledger.list_undrawn() == [denial], "an older version was drawn"
    await ledger.record_drawn(denial)
    assert await ledger.list_undrawn() == []


async def test_a_card_is_not_drawn_while_its_turn_runs(ledger: SqlLedger, stores: Embedded) -> None:
    """The end of the turn stores a newer card than one that was drawn before."""
    turn = (await stores.inbox.accept(says("change it"))).seq
    change = await ledger.propose(proposal(seq=turn))
    await ledger.claim(change.id, turn, ANA, 150.0)
    assert await ledger.list_undrawn() == []
    await stores.end(turn)
    assert [one.id for one in await ledger.list_undrawn()] == [change.id]


async def test_a_change_whose_event_ended_is_abandoned(ledger: SqlLedger, stores: Embedded) -> None:
    event = (await stores.inbox.accept(says("approve abcde2"))).seq
    change = await ledger.claim((await open_(ledger)).id, event, ANA, 150.0)
    assert await ledger.list_abandoned() == []
    await stores.end(event)
    assert [one.id for one in await ledger.list_abandoned()] == [change.id]


async def test_a_note_waits_for_the_threads_next_turn(ledger: SqlLedger, stores: Embedded) -> None:
    turn = await talk(stores, "hello")
    for number, note in enumerate(("first", "second")):
        variant = replace(proposal(f"c{number}"), thread=turn.thread)
        await ledger.close((await ledger.propose(variant)).id, "denied", ANA, note, 150.0)
    await talk(stores, "and now")
    texts = [e.item.text for e in await stores.journal.transcript(turn.thread)]
    assert texts.index("first") < texts.index("second") < texts.index("and now")
    await talk(stores, "again")
    texts = [e.item.text for e in await stores.journal.transcript(turn.thread)]
    assert texts.count("first") == 1


async def test_forgetting(ledger: SqlLedger, stores: Embedded) -> None:
    turn = await talk(stores, "hello")
    variant = replace(proposal("w"), thread=turn.thread)
    waiting, end = await ledger.propose(variant), await finish_change(ledger)
    applying = await ledger.claim((await open_(ledger, "c3")).id, 9, ANA, 150.0)
    await stores.journal.forget("web:C1")
    assert (await ledger.get(waiting.id)).state == "withdrawn"
    after = await ledger.get(end.id)
    assert (after.state, after.is_forgotten, after.proposal.asker.name) == ("done", True, "")
    assert all(
        step.write.before is step.write.after is step.current is None for step in after.steps
    )
    assert [step.write.id for step in after.steps] == ["", "7"]
    assert (await ledger.get(applying.id)).steps == applying.steps, "it needs them to its end"
    await ledger.finish(applying.id, 9, "failed", "", 160.0)
    assert all(not step.write.after for step in (await ledger.get(applying.id)).steps)
    with pytest.raises(Superseded):
        await ledger.propose(replace(proposal("late"), thread=turn.thread))


async def test_what_can_no_longer_be_undone_keeps_no_rows(ledger: SqlLedger) -> None:
    waiting, end = await open_(ledger), await finish_change(ledger, "c2")
    await ledger.record_drawn(await ledger.get(end.id))
    assert await ledger.erase_old_rows(160.0) == 0
    assert await ledger.erase_old_rows(161.0) == 1
    assert await ledger.erase_old_rows(161.0) == 0, "once"
    after = await ledger.get(end.id)
    assert (after.state, after.has_lapsed, after.is_forgotten) == ("done", True, False)
    assert all(
        step.write.before is step.write.after is step.current is None for step in after.steps
    )
    assert after.proposal.asker == ANA, "who did it stays"
    assert end.id in [one.id for one in await ledger.list_undrawn()], "its button goes"
    assert (await ledger.get(waiting.id)).steps == waiting.steps


async def test_old_changes_go_in_several_transactions(ledger: SqlLedger, limits: Limits) -> None:
    limits(ROWS_PER_TRANSACTION=2)
    for number in range(5):
        await finish_change(ledger, f"c{number}")
    assert await ledger.erase_old_rows(161.0) == 5
    assert await ledger.purge(161.0) == 5
    assert await ledger.purge(161.0) == 0


async def test_closed_changes_are_purged_by_age_and_area(ledger: SqlLedger) -> None:
    open_id = (await open_(ledger)).id
    ended_id = (await finish_change(ledger, "c2")).id
    assert await ledger.purge(160.0) == 0
    assert await ledger.purge(161.0, ConversationArea("", ("web",))) == 0
    assert await ledger.purge(161.0) == 1
    assert [c.id for c in await ledger.list_of_conversation("", 9)] == [open_id]
    with pytest.raises(NotFound):
        await ledger.get(ended_id)


async def test_each_person_approves_once(ledger: SqlLedger) -> None:
    id = (await open_(ledger)).id
    cleo = Person("web", "cleo", name="Cleo")
    await ledger.consent(id, Consent(ANA, HERE, 150.0))
    both = await asyncio.gather(
        *(ledger.consent(id, Consent(who, HERE, 151.0)) for who in (BOB, ANA, BOB))
    )
    assert [one.person for one in both[-1].consents] == [ANA, BOB]
    assert (await ledger.get(id)).consents[0] == Consent(ANA, HERE, 151.0), "the newest counts"
    assert [change.id for change in await ledger.list_waiting_for_people()] == [id]
    assert await ledger.list_undrawn() == [await ledger.get(id)], "people see each of them"
    late = await ledger.consent(id, Consent(cleo, HERE, 200.0))
    assert len(late.consents) == 2, "it has expired by then"
    claim = await ledger.claim(id, 8, BOB, 152.0)
    assert (claim.state, len(claim.consents)) == ("applying", 2)
    assert len((await ledger.consent(id, Consent(cleo, HERE, 153.0))).consents) == 2
    assert await ledger.list_waiting_for_people() == []


async def test_approvals_that_do_not_count_are_withdrawn(ledger: SqlLedger) -> None:
    id, other = (await open_(ledger)).id, (await open_(ledger, "c2")).id
    for change in (id, other):
        for person in (ANA, BOB):
            await ledger.consent(change, Consent(person, HERE, 150.0))
    await ledger.withdraw_consents(id, [ANA.key])
    assert [one.person for one in (await ledger.get(id)).consents] == [BOB]
    assert [one.person for one in (await ledger.get(other)).consents] == [ANA, BOB]


async def test_approvals_are_forgotten_and_go_with_their_change(
    ledger: SqlLedger, stores: Embedded
) -> None:
    change = await open_(ledger)
    await ledger.consent(change.id, Consent(BOB, HERE, 150.0))
    await stores.journal.forget("web:C1")
    (consent,) = (await ledger.get(change.id)).consents
    assert (consent.person.key, consent.person.name) == (BOB.key, "")
    await ledger.purge(9e12)
    with pytest.raises(NotFound):
        await ledger.get(change.id)
    rows = await stores.database.read(
        lambda c: c.execute("SELECT count(*) AS n FROM consents").fetchone()
    )
    assert rows["n"] == 0


def copy(change: Change, person: Person = BOB) -> ApprovalNotice:
    return ApprovalNotice(change.id, "copy", person)


async def test_each_stage_is_told_once_and_in_order(ledger: SqlLedger, outbox: Outbox) -> None:
    change = await open_(ledger)
    silent = await ledger.propose(replace(proposal("s"), is_decided_by_policy=True))
    assert (silent.proposal.is_decided_by_policy, change.proposal.is_decided_by_policy) == (
        True,
        False,
    )
    assert await outbox.list_due("asked", 101.0) == [change.id]
    assert await outbox.list_due("reminded", 101.0) == [], "nobody was asked yet"
    await outbox.record_notices(change.id, "asked", [copy(change)])
    await outbox.record_notices(change.id, "asked", [copy(change, ANA)])
    assert [one.person for one in await outbox.list_unposted()] == [BOB]
    assert await outbox.list_due("asked", 101.0) == []
    assert await outbox.list_due("reminded", 100.0) == [], "it is younger"
    assert await outbox.list_due("reminded", 101.0) == [change.id]
    assert await outbox.list_due("expired", 101.0) == []
    for one in (change, silent):
        await ledger.close(one.id, "expired", None, "", 210.0)
    assert await outbox.list_due("reminded", 101.0) == []
    assert await outbox.list_due("expired", 9e9) == [change.id]
    await outbox.record_notices(change.id, "expired", [])
    assert await outbox.list_due("expired", 9e9) == []


async def test_a_copy_is_known_where_it_stands(ledger: SqlLedger, outbox: Outbox) -> None:
    change = await open_(ledger)
    await outbox.record_notices(change.id, "asked", [copy(change)])
    (one,) = await outbox.list_unposted()
    assert (one, (await ledger.get(change.id)).copy_recipients) == (copy(change), frozenset())
    to = ReplyTo(Address("web", "D1"), BOB, "m1", "t9")
    variant = replace(one, reply_to=to, locale="fr", text="Bonjour", state="posting")
    await outbox.put(variant)
    assert await outbox.list_unposted() == [variant]
    post = replace(variant, state="posted", post="D1:7")
    await outbox.put(post)
    assert (await outbox.list_unposted(), await outbox.list_copies(change.id)) == ([], [post])
    assert (await ledger.get(change.id)).copy_recipients == {BOB.key}
    assert await outbox.list_outdated() == []
    denial = await ledger.close(change.id, "denied", ANA, "", 150.0)
    assert await outbox.list_outdated() == [post]
    await outbox.put(replace(post, drawn_version=denial.version))
    assert await outbox.list_outdated() == []


async def test_what_is_forgotten_keeps_no_words(
    ledger: SqlLedger, outbox: Outbox, stores: Embedded
) -> None:
    change = await open_(ledger)
    await outbox.record_notices(change.id, "asked", [copy(change), copy(change, ANA)])
    one = replace(copy(change), text="Ana asks", state="posted", post="D1:7")
    await outbox.put(one)
    await stores.journal.forget("web:C1")
    assert await outbox.list_unposted() == [], "what was not begun is not posted"
    (entry,) = await outbox.list_outdated()
    assert (entry.text, entry.person.name, entry.post) == ("", "", "D1:7")
    await outbox.put(one)
    assert [each.text for each in await outbox.list_copies(change.id)] == [""]
    await ledger.purge(9e12)
    assert await outbox.list_copies(change.id) == []
    await outbox.put(one)
    assert await outbox.list_copies(change.id) == [], "there is nothing that it is about"


async def test_a_process_that_may_count_as_dead_writes_nothing_more(stores: Embedded) -> None:
    lease = ["held"]
    ledger = SqlLedger(stores.database, is_alive=lambda: bool(lease))
    change = await ledger.claim((await open_(ledger)).id, 8, ANA, 150.0)
    await ledger.record(change.id, 8, change.steps)
    lease.clear()
    with pytest.raises(TakenOver):
        await ledger.record(change.id, 8, change.steps)


async def test_a_change_whose_event_another_process_has_is_not_applied_here(
    stores: Embedded,
) -> None:
    ledger = SqlLedger(stores.database, owner="this")
    seq = (await stores.inbox.accept(says("approve"))).seq
    change = await ledger.claim((await open_(ledger)).id, seq, ANA, 150.0)

    async def give(owner: str) -> None:
        await stores.database.write(
            lambda connection: connection.execute(
                "UPDATE inbox SET owner = ?, state = 'running' WHERE seq = ?", (owner, seq)
            ).close()
        )

    await give("another")
    for write in (
        lambda: ledger.record(change.id, seq, change.steps),
        lambda: ledger.finish(change.id, seq, "done", "", 151.0),
    ):
        with pytest.raises(TakenOver):
            await write()
    await give("this")
    assert (await ledger.finish(change.id, seq, "done", "", 151.0)).state == "done"
