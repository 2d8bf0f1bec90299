"""A person decides, and sees what was done."""

from __future__ import annotations

import asyncio
import json

from core.base.tasks import cancel_all
from core.changes.approval import TableRule, TableRules
from core.domain.changes import PROPOSAL_LIFETIME_SECONDS
from core.tools.tool import tool
from tests.dialogues.bot_home import BotHome, also_on_postgres
from tests.dialogues.decisions import (
    ADA,
    BOSS,
    BRUNO,
    RIGHTS,
    bot,
    propose,
    proposed_on_slack,
    says,
    summary,
)
from tests.fakes.fixed_tools import FixedTools
from tests.fakes.memory_table import MemoryTable
from tests.fakes.models import EchoModel


@also_on_postgres
async def test_nothing_is_changed_before_a_person_approves(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        assert (card.title, card.kind) == ("Create a row in People", "proposal")
        (row,) = card.rows
        assert (row["name"], row["before"], row["after"]) == ("Ada", None, ADA)
        assert row["changes"] == [{"field": "Status", "before": None, "after": "Lead"}]
        assert card.actions == ("approve", "deny")
        assert table.rows == {}
        answer = await ponte.ask(f"approve {card.id}")
        assert summary(answer).startswith("done: Approved by Ana. Done.")
        assert f"`undo {card.id}`" in answer.text
        assert table.rows == {"1": ADA}


async def test_the_answer_is_the_card_and_not_the_models_words(bot_home: BotHome) -> None:
    """Nobody need click for it to expire."""
    async with bot(bot_home, MemoryTable()) as ponte:
        answer = await ponte.ask('call table_create {"rows": [{"Name": "Ada"}]}')
        assert answer.text == "", "the card says it"
        assert answer.text_without_cards == "I've prepared this change for approval."
        (post,) = ponte.recorder.posts
        assert f"⟦{answer.cards[0].id} open approve/deny⟧" in post.text
        bot_home.clock.now += PROPOSAL_LIFETIME_SECONDS + 1
        await ponte.engine.redraw.once()
        assert f"⟦{answer.cards[0].id} expired ⟧" in post.text


async def test_cards_of_one_message_are_redrawn_together(bot_home: BotHome) -> None:
    """One edit shows all of them, and none has its buttons again meanwhile."""
    async with bot(bot_home, MemoryTable()) as ponte:
        call = 'call table_create {"rows": [{"Name": "Ada"}]}'
        answer = await ponte.ask("\n".join([call] * 3))
        (post,) = ponte.recorder.posts
        before = len(post.texts)
        await cancel_all([t for t in asyncio.all_tasks() if t.get_name() == "redraw"])
        bot_home.clock.now += PROPOSAL_LIFETIME_SECONDS + 1
        await ponte.engine.redraw.once()
        assert len(post.texts) == before + 1
        assert all(f"⟦{card.id} expired ⟧" in post.text for card in answer.cards)


async def test_several_proposals_of_one_round_are_decided_one_by_one(bot_home: BotHome) -> None:
    """Reads of the same round still run."""
    table, model = MemoryTable({"1": ADA}), EchoModel()
    async with bot(bot_home, table, model=model) as ponte:
        answer = await ponte.ask(
            'call table_create {"rows": [{"Name": "Bo"}]}\ncall table_delete {"ids": ["1"]}\n'
            "call table_read {}"
        )
        assert len(model.asks) == 1, "the turn ends there"
        journal = ponte.engine.conversations.journal
        thread = await journal.current_thread("web:C1")
        items = [entry.item for entry in await journal.transcript(thread.id)]
        assert any(item.kind == "output" and "Ada" in item.text for item in items)
        create, delete = answer.cards
        await ponte.ask(f"deny {create.id}")
        assert table.rows == {"1": ADA}
        await ponte.ask(f"approve {delete.id}")
        assert table.rows == {}


async def test_a_denied_change_stays_denied(bot_home: BotHome) -> None:
    """The model's next turn reads of it."""
    table, model = MemoryTable(), EchoModel()
    async with bot(bot_home, table, model=model) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        assert summary(await ponte.ask(f"deny {card.id}")) == "done: Denied by Ana."
        later = await ponte.ask(f"approve {card.id}")
        earlier = "This request was already decided, so nothing was done."
        assert summary(later) == f"done: Denied by Ana. {earlier}"
        assert table.rows == {}
        await ponte.ask("and?")
        assert "Denied by Ana" in model.asks[-1].input[0].text


@also_on_postgres
async def test_a_second_click_while_it_is_being_done(bot_home: BotHome) -> None:
    """Afterwards it says what the first one did."""
    table = MemoryTable()
    table.gate = asyncio.Event()
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        _, first = await ponte.send(f"approve {card.id}")
        await table.reached.wait()
        for word in ("approve", "undo"):
            answer = await ponte.ask(f"{word} {card.id}")
            assert "` was already approved and is in progress." in answer.text
        table.gate.set()
        text = (await ponte.wait_for_answer(first)).text
        assert "Done." in text
        for again in ("approve", "deny", "approve"):
            assert (await ponte.ask(f"{again} {card.id}")).text == text
    assert table.applied == [("create", 1)]


async def test_it_expires_after_a_day(bot_home: BotHome) -> None:
    table = MemoryTable()
    async with bot(bot_home, table) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        assert card.expires_at is not None
        bot_home.clock.now = card.expires_at - 1
        await ponte.engine.changes.lifecycle.end_overdue()
        bot_home.clock.now = card.expires_at
        late = await ponte.ask(f"approve {card.id}")
        assert (late.status, late.code) == ("failed", "expired")
        for word in ("approve", "deny"):
            assert (await ponte.ask(f"{word} {card.id}")).code == "expired", "each time"
        assert "There is nothing to undo." in (await ponte.ask(f"undo {card.id}")).text
        assert table.rows == {}
        (latest,) = await ponte.engine.changes.views.find_latest("web:C1")
        assert (latest.state, latest.actions) == ("expired", ())
    assert PROPOSAL_LIFETIME_SECONDS == 24 * 3600


async def test_the_command_changes_lists_the_changes_of_the_channel(bot_home: BotHome) -> None:
    async with bot(bot_home, MemoryTable()) as ponte:
        assert (await ponte.ask("changes")).text == "No changes yet."
        card = await propose(ponte, "table_create", rows=[ADA, BRUNO])
        text = (await ponte.ask("changes")).text
        heading, line = text.splitlines()
        assert heading == "Latest changes:"
        message = f"- `{card.id}` Create 2 rows in People: waiting for approval. Requested by Ana, "
        assert line.startswith(message)
        assert (await ponte.ask("changes", channel="C2")).text == "No changes yet."
        for word in ("approve", "deny", "undo"):
            assert (await ponte.ask(f"{word} aaaaa2")).code == "not_found"


@also_on_postgres
async def test_the_model_hears_of_it_in_its_next_turn(bot_home: BotHome) -> None:
    table, model = MemoryTable(), EchoModel()
    async with bot(bot_home, table, model=model) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        await ponte.ask(f"approve {card.id}")
        await ponte.ask("what now?")
        texts = [item.text for item in model.asks[-1].input]
        assert texts[-1] == "what now?"
        assert (
            f"Proposal {card.id} (create 1 row(s) in 'People'): Approved by Ana. Done." in texts[0]
        )
        assert "Ada" not in texts[0], "ids, and nothing out of the rows"
        await ponte.ask("and now?")
        assert len(model.asks[-1].input) == 1, "told once"
        assert texts[0] in [item.text for item in await model.asks[-1].history()]


async def test_a_small_create_that_policy_allows(bot_home: BotHome) -> None:
    """With `access = "auto"`, one row at a time is created and the decider is the policy."""
    table = MemoryTable()
    async with bot(bot_home, table, rules=TableRules({"people": TableRule("auto")})) as ponte:
        answer = await ponte.ask('call table_create {"rows": [{"Name": "Ada"}]}')
        assert table.rows == {"1": {"Name": "Ada"}}
        assert "Approved automatically, as set in `ponte.toml`. Done." in answer.text
        (card,) = answer.cards
        assert (card.state, card.actions) == ("done", ("undo",))
        why = (await ponte.ask(f"why {card.id}")).text
        assert why.endswith("The request was approved automatically, as set in `ponte.toml`.")
        assert "Undone (`" in (await ponte.ask(f"undo {card.id}")).text
        assert table.rows == {}
        await propose(ponte, "table_create", rows=[ADA, BRUNO])
        assert table.rows == {}


async def test_what_the_audit_log_keeps_of_it(bot_home: BotHome) -> None:
    async with bot(bot_home, MemoryTable()) as ponte:
        card = await propose(ponte, "table_create", rows=[ADA])
        await ponte.ask(f"approve {card.id}")
        await ponte.ask(f"undo {card.id}")
        other = await propose(ponte, "table_create", rows=[ADA])
        await ponte.ask(f"deny {other.id}")
    lines = bot_home.read_audit_lines()
    assert [(line["event"], line["change"] == card.id) for line in lines] == [
        ("change-proposed", True),
        ("change-approved", True),
        ("change-done", True),
        ("change-undo-started", True),
        ("change-done", False),
        ("change-proposed", False),
        ("change-denied", False),
    ]
    assert lines[2]["written_row_ids"] == ["1"]
    assert lines[4]["undone_change"] == card.id
    assert len({line["asker"] for line in lines}) == 1
    assert lines[1]["decider"] == lines[3]["undo_asker"] == lines[0]["asker"]
    assert [line.get("rule", "") for line in lines] == [
        "PONTE_ADMINS",
        "PONTE_ADMINS",
        "",
        "PONTE_ADMINS",
        "",
        "PONTE_ADMINS",
        "PONTE_ADMINS",
    ]
    text = json.dumps(lines)
    assert ("Ada" in text, "web:owner" in text) == (False, False)


async def test_a_stopped_turn_shows_what_it_had_proposed(bot_home: BotHome) -> None:
    start_event = asyncio.Event()

    @tool(effect="read", doing="waits…")
    async def wait() -> str:
        """Waits."""
        start_event.set()
        await asyncio.Event().wait()
        return ""

    table = MemoryTable()
    async with bot_home.open(sources=[table, FixedTools(wait)], appliers=[table]) as ponte:
        _, receipt = await ponte.send('call table_create {"rows": [{"Name": "Bo"}]}\ncall wait {}')
        await start_event.wait()
        await ponte.ask("stop")
        answer = await ponte.wait_for_answer(receipt)
        assert answer.status == "stopped"
        await ponte.ask(f"approve {answer.cards[0].id}")
        assert [row["Name"] for row in table.rows.values()] == ["Bo"]


async def test_the_answer_to_a_typed_decision_names_what_was_written(bot_home: BotHome) -> None:
    """The values are escaped, cut, and only for people: the model reads ids and counts."""
    table, model = MemoryTable({str(n): {"Name": f"Row {n}"} for n in range(1, 8)}), EchoModel()
    evil = "[see](https://evil.test/?q=1) @everyone <@U1> " + "x" * 300
    async with bot(bot_home, table, model=model) as ponte:
        card = await propose(ponte, "table_update", rows={"1": {"Name": "Row 1", "Status": evil}})
        line = (await ponte.ask(f"approve {card.id}")).text.splitlines()[-1]
        assert line.startswith("- Row 1: Status see (https")
        assert line.endswith("xx…")
        assert len(line) < 240
        for part in ("https://", "evil.test", "@everyone", "<@"):
            assert part not in line
        rows = {str(n): {"Name": f"Row {n}", "Status": "Paid"} for n in range(1, 8)}
        card = await propose(ponte, "table_update", rows=rows)
        expected = [f"- Row {n}: Status Paid" for n in (1, 2, 3)] + ["- …and 4 more rows."]
        assert (await ponte.ask(f"approve {card.id}")).text.splitlines()[1:] == expected
        card = await propose(ponte, "table_delete", ids=["7"])
        assert (await ponte.ask(f"approve {card.id}")).text.endswith("\n- Deleted: Row 7")
        assert (await ponte.ask(f"undo {card.id}")).text.endswith("\n- Added: Row 7")
        await ponte.ask("what now?")
        heard = [item.text for ask in model.asks for item in ask.input if item.kind != "call"]
        assert "Done." in "".join(heard)
        assert "Paid" not in "".join(text for text in heard if not text.startswith("call "))


async def test_an_answer_in_another_place_names_no_rows(bot_home: BotHome) -> None:
    async with bot(bot_home, MemoryTable(), policy=RIGHTS) as ponte:
        card = await proposed_on_slack(ponte, "k1", "table_create", rows=[ADA])
        away = await says(ponte, f"approve {card.id}", "k2", BOSS, channel="C9")
        assert "Ada" not in away.text
