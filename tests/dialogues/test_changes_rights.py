"""Who may decide, and where."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from core.base.errors import StatusUnknown
from core.changes.approval import TableRule, TableRules
from core.domain.changes import PROPOSAL_LIFETIME_SECONDS, DecisionRequest, confirmation_code
from core.domain.messages import PROGRAM, ChangeAction, Person, turn_id
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import (
    ADA,
    BOSS,
    MEMBER,
    OTHER,
    RIGHTS,
    STRANGER,
    approve_after_reading,
    bot,
    end_no_changes,
    on_slack,
    proposed_on_slack,
    says,
)
from tests.fakes.choices import ANA, allow_list, make_message
from tests.fakes.clock import Clock
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel


async def test_deletes_and_many_rows_need_an_admin(bot_home: BotHome) -> None:
    """The asker may always think better of it."""
    table = MemoryTable({"1": dict(ADA)})
    many = [{"Name": f"N{n}"} for n in range(11)]
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        for tool, arguments, why in (
            ("table_create", {"rows": many}, "more than 10 rows"),
            ("table_delete", {"ids": ["1"]}, "deletes rows"),
        ):
            table.applied.clear()
            denial = await proposed_on_slack(ponte, f"{tool} 0", tool, **arguments)
            text = (await says(ponte, f"deny {denial.id}", f"{tool} 1")).text
            assert text == "Denied by Mia."
            card = await proposed_on_slack(ponte, f"{tool} 2", tool, **arguments)
            assert card.text.endswith("An admin must approve this request.")
            refusal = await says(ponte, f"approve {card.id}", f"{tool} 3")
            assert (refusal.code, refusal.is_private) == ("forbidden", True)
            assert why in refusal.text
            assert table.applied == []
            reply = await says(ponte, f"approve {card.id}", f"{tool} 4", BOSS)
            assert "Approved by Bea" in reply.text
            assert table.applied


async def test_another_person_decides_nothing_for_you(bot_home: BotHome) -> None:
    """Who clicks where the card stands is told why not, also in a channel without threads, where
    each person has a conversation of their own."""
    async with bot(bot_home, MemoryTable(), policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_create", rows=[ADA])
        for word in ("approve", "deny"):
            refusal = await says(ponte, f"{word} {card.id}", f"k-{word}", OTHER, thread="tU1")
            assert (refusal.code, "Someone else requested" in refusal.text) == ("forbidden", True)
        assert (await says(ponte, f"deny {card.id}", "k3")).text == "Denied by Mia."
        text = await says(ponte, f"approve {card.id}", "k4", OTHER, thread="tU1")
        assert text.text.startswith("Denied by Mia."), "it stands there for all to read"
        reply = await says(ponte, 'call table_create {"rows": [{"Name": "A"}]}', "k5", thread="")
        (card,) = reply.cards
        click = await says(ponte, f"approve {card.id}", "k6", OTHER, thread="", clicked=True)
        assert "Someone else requested" in click.text


@pytest.mark.parametrize("state", ["open", "done", "undone", "denied", "expired"])
async def test_a_card_that_is_not_yours_to_see_is_unknown(bot_home: BotHome, state: str) -> None:
    """Elsewhere its id opens nothing: not its values, not that there is such a card."""
    table = MemoryTable()
    words = {"done": ["approve"], "undone": ["approve", "undo"], "denied": ["deny"]}
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_create", rows=[ADA])
        for word in words.get(state, []):
            await says(ponte, f"{word} {card.id}", f"brought {word}")
        if state == "expired":
            bot_home.clock.now += PROPOSAL_LIFETIME_SECONDS + 1
        before = dict(table.rows)
        for word, click, (who, channel) in itertools.product(
            ("approve", "deny", "undo"), (False, True), ((OTHER, "C1"), (STRANGER, "C9"))
        ):
            key, text = f"{word}{click}{channel}", f"{word} {card.id}"
            reply = await says(ponte, text, key, who, clicked=click, channel=channel, thread="t9")
            no_such = await says(ponte, f"{word} aaaaa2", f"{key}n", who, clicked=click)
            unknown = no_such.text.replace("aaaaa2", card.id)
            assert (reply.code, reply.text, reply.cards) == ("not_found", unknown, ())
        assert table.rows == before


async def test_asker_approvers_and_admins_see_a_card_from_anywhere(bot_home: BotHome) -> None:
    table_rules = TableRules({"People": TableRule("ask", frozenset({"slack:U2"}))})
    async with bot(bot_home, MemoryTable(), policy=RIGHTS, rules=table_rules) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_create", rows=[ADA])
        assert (await says(ponte, f"approve {card.id}", "k2", OTHER)).status == "done"
        for number, who in enumerate((MEMBER, OTHER, BOSS)):
            direct = on_slack(f"approve {card.id}", f"d{number}", who, channel="D1", shared=False)
            answer = await ponte.ask_message(direct)
            assert (answer.code, [c.id for c in answer.cards]) == ("", [card.id])
            message = on_slack(f"approve {card.id}", f"c{number}", who, channel="C9")
            answer = await ponte.ask_message(message)
            assert (answer.is_private, answer.cards) == (True, ()), "others read along there"
            assert "Approved by Otto" in answer.text


async def test_who_may_not_write_is_not_even_offered_to_propose(bot_home: BotHome) -> None:
    """Who may and has no name stands on a shared card by their id."""
    async with bot(bot_home, MemoryTable({"1": dict(ADA)}), policy=RIGHTS) as ponte:
        answer = await says(ponte, 'call table_create {"rows": [{"Name": "S"}]}', "k1", STRANGER)
        assert "there is no tool 'table_create'" in answer.text
        assert answer.cards == ()
        nameless, rows = replace(OTHER, name=""), {"1": {"Name": "A"}}
        card = await proposed_on_slack(ponte, "k2", "table_update", nameless, rows=rows)
        assert card.text.endswith("Waiting for U2 or an admin."), card.text


async def test_from_another_workspace_or_surface_only_an_admin(bot_home: BotHome) -> None:
    table = MemoryTable()
    rights = allow_list(frozenset("*"), frozenset({"slack:U9", "terminal"}))
    async with bot(bot_home, table, policy=rights) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_create", rows=[ADA])
        away = on_slack(f"approve {card.id}", "k2", workspace="T2")
        assert "was requested in another conversation" in (await ponte.ask_message(away)).text
        assert (await ponte.ask(f"approve {card.id}", person=ANA)).code == "not_found"
        assert table.applied == []
        boss = on_slack(f"approve {card.id}", "k3", BOSS, "T2", channel="D9", shared=False)
        assert "Approved by Bea" in (await approve_after_reading(ponte, boss)).text


async def test_a_right_that_was_taken_away_meanwhile(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_create", rows=[ADA])
    async with bot(bot_home, table, policy=allow_list()) as ponte:
        reply = await says(ponte, f"approve {card.id}", "k2")
        assert reply.code == "forbidden"
        assert "You don't have permission to change data here" in reply.text
    assert table.applied == []


async def test_the_owner_of_the_page_may_decide_on_the_web(bot_home: BotHome) -> None:
    """Also where PONTE_ADMINS names somebody else."""
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=allow_list(admins=frozenset({"slack:U9"}))) as ponte:
        answer = await ponte.ask('call table_delete {"ids": ["1"]}')
        await ponte.ask(f"approve {answer.cards[0].id}")
    assert table.rows == {}


async def test_who_could_approve_it_may_undo_it(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table, policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_create", rows=[ADA])
        await says(ponte, f"approve {card.id}", "k2")
        beside = on_slack(f"undo {card.id}", "k3", OTHER, thread="tU1")
        assert (await ponte.ask_message(beside)).code == "forbidden"
        assert "Undone (`" in (await says(ponte, f"undo {card.id}", "k4")).text
        assert table.rows == {}


async def test_a_click_is_answered_with_the_card(bot_home: BotHome) -> None:
    async with bot(bot_home, MemoryTable(), policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_create", rows=[ADA])
        click = on_slack(f"approve {card.id}", "k2", clicked=True)
        answer = await ponte.ask_message(click)
        assert [(c.id, c.kind, c.state) for c in answer.cards] == [(card.id, "change", "done")]
        reply = await says(ponte, f"approve {card.id}", "k3")
        # A clicked card shows both.
        hint = f" To undo this change, type `undo {card.id}`.\n- Added: Ada"
        assert (reply.text, reply.cards) == (answer.text + hint, ())
        assert await ponte.ask_message(click) == answer, "the same event again"
        undone = await says(ponte, f"undo {card.id}", "k4", clicked=True)
        (old,) = undone.cards
        assert (old.id, old.state, old.actions) == (card.id, "undone", ())
        ledger = ponte.engine.changes.ledger
        undo = await ledger.get((await ledger.get(card.id)).undone_by)
        assert undone.text == f"Undone (`{undo.id}`).", "one sentence; the card says the rest"
        texts = (undo.state, undo.draft.kind, undo.proposal.undone_change)
        assert texts == ("done", "delete", card.id)


"""The group whose members are admins."""


async def test_while_it_is_unknown_who_is_an_admin_they_decide_nothing(bot_home: BotHome) -> None:
    """Nor does Ponte answer that there is no such card, in its thread or elsewhere."""
    groups: list[frozenset[str] | None] = [None]

    async def find_groups(person: Person, max_age: float) -> frozenset[str] | None:
        return groups[0] if person == BOSS else frozenset()

    clock, writers = Clock(1.0), frozenset({"slack:U1", "slack:U9"})
    lookups = {"slack": find_groups}
    policy = allow_list(writers, frozenset({"slack:S9"}), lookups, clock=clock)
    ends: tuple[tuple[ChangeAction, str], ...] = (
        ("approve", "done"),
        ("deny", "denied"),
        ("undo", "undone"),
    )
    async with bot(bot_home, MemoryTable({"1": dict(ADA)}), policy=policy) as ponte:
        end_no_changes(ponte)
        ledger, decide = ponte.engine.changes.ledger, ponte.engine.changes.decisions.decide
        for number, ((action, end), is_elsewhere) in enumerate(
            itertools.product(ends, (False, True))
        ):
            groups[0] = None
            clock.now += 300
            key, rows = f"k{number}", {"1": {"Name": f"A{number}"}}
            id = (await proposed_on_slack(ponte, key, "table_update", rows=rows)).id
            if action == "undo":
                await says(ponte, f"approve {id}", f"{key} approved")
            change = await ledger.get(id)
            here = on_slack("", "x", BOSS, thread="tU1")
            place = on_slack("", "x", BOSS, channel="C9") if is_elsewhere else here
            code = confirmation_code(id, BOSS, change.proposal.created_at)
            decision = DecisionRequest(id, 4711 + number, BOSS, place.address, code=code)
            with pytest.raises(StatusUnknown):
                await decide(action, decision)
            assert (await ledger.get(id)).state == change.state
            groups[0] = frozenset({"S9"})
            clock.now += 300
            assert (await decide(action, decision)).text
            assert (await ledger.get(id)).state == end, (action, is_elsewhere)


async def test_nothing_is_done_while_the_askers_right_is_unknown(bot_home: BotHome) -> None:
    is_guest: list[bool | None] = [False]

    async def find_guest(person: Person, max_age: float) -> bool | None:
        return is_guest[0] if person == MEMBER else False

    clock = Clock(1.0)
    policy = allow_list(
        frozenset({"members"}), frozenset({"slack:U9"}), {}, {"slack": find_guest}, clock
    )
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, policy=policy) as ponte:
        id = (await proposed_on_slack(ponte, "k1", "table_update", rows={"1": {"Name": "A"}})).id
        end_no_changes(ponte)
        decision = DecisionRequest(id, 4711, BOSS, on_slack("", "x", BOSS, thread="tU1").address)
        is_guest[0] = None
        clock.now += 300
        with pytest.raises(StatusUnknown):
            await ponte.engine.changes.decisions.decide("approve", decision)
        assert table.applied == []
        is_guest[0] = False
        clock.now += 300
        assert "Done." in (await ponte.engine.changes.decisions.decide("approve", decision)).text


async def test_text_that_nobody_typed_approves_nothing(bot_home: BotHome) -> None:
    """A pipe, a program or a bot sends what a person could have typed."""
    owners = [
        Person(platform, id, "T1", "Bea")
        for platform, id in (
            ("web", "owner"),
            ("terminal", "owner"),
            ("slack", "U9"),
            ("discord", "U9"),
        )
    ]
    admins = frozenset(name for one in owners for name in (one.key, f"{one.platform}:{one.id}"))
    table = MemoryTable()
    async with bot(bot_home, table, policy=allow_list(frozenset({"*"}), admins)) as ponte:
        for owner in owners:
            table.rows["1"] = dict(ADA)
            platform = owner.platform
            message = make_message('call table_delete {"ids": ["1"]}', platform, "C1", owner)
            address = replace(message.address, platform=platform, workspace="T1")
            message = replace(message, address=address)
            (card,) = (await ponte.ask_message(message)).cards
            program = replace(message, origin=PROGRAM)
            robot = replace(message, author=replace(owner, is_bot=True))
            for number, messages in enumerate((program, robot, message)):
                key = f"{platform}{number}"
                reply_to = replace(messages.reply_to, source=key, turn=turn_id(key))
                messages = replace(
                    messages, event_key=key, text=f"approve {card.id}", reply_to=reply_to
                )
                answer = await ponte.ask_message(messages)
                if number < 2:
                    assert answer.text == f"You said: approve {card.id}", "the model answers"
                    assert table.rows == {"1": ADA}
            assert "Done." in answer.text
            assert table.rows == {}


async def test_an_id_one_letter_off_is_a_command_for_who_may_see_the_request(
    bot_home: BotHome,
) -> None:
    model, table = EchoModel(), MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table, model=model, policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k0", "table_create", rows=[ADA])
        asked, near = len(model.asks), f"Did you mean: approve {card.id}"
        letter = "b" if card.id[3] == "a" else "a"
        wrong_ids = (
            f"{card.id[:3]}0{card.id[4:]}",
            f"{card.id[:3]}{letter}{card.id[4:]}",
            card.id[:-1],
            f"{card.id}x",
        )
        forms = (
            *(f"approve {wrong_id}" for wrong_id in wrong_ids),
            f"`approve {wrong_ids[2]}`",
            f"👍 approve `{wrong_ids[2]}`",
            *(f"approve {wrong_id}-1234" for wrong_id in wrong_ids[1:3]),
        )
        for number, form in enumerate(forms):
            answer = await says(ponte, form, f"near {number}")
            assert answer.text == f"Request not found. {near}"
            assert answer.is_private
        for number, wrong_id in enumerate(wrong_ids[1:3]):
            answer = await says(ponte, f"deny {wrong_id} too <!channel>", f"why {number}")
            assert answer.text == f"Request not found. Did you mean: deny {card.id}"
        refusal = await says(ponte, f"`approve {card.id}`", "marks")
        assert "without the backticks" in refusal.text
        assert (len(model.asks), table.applied) == (asked, [])
        stranger = on_slack(f"approve {wrong_ids[0]}", "far", OTHER, channel="C9")
        assert near not in (await ponte.ask_message(stranger)).text
        assert len(model.asks) == asked + 1
