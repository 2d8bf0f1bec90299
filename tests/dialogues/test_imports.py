"""A spreadsheet into a table: a dry run, one card, one approval, one undo."""

from __future__ import annotations

import io
import json
import re
from functools import partial
from pathlib import Path

import pytest

from adapters.terminal import chat
from tests.dialogues import office
from tests.dialogues.test_ask import shell
from tests.dialogues.test_discord_approvers import button_labels
from tests.dialogues.test_nocodb_discord import server, words
from tests.dialogues.test_nocodb_slack import Channel, channel
from tests.dialogues.test_nocodb_web import page
from tests.fakes.discord.world import Payload
from tests.fakes.keyboard import Keyboard
from tests.fakes.openai import Script
from tests.fakes.slack import Post

IMPORT = "Import these customers"
COLUMNS = {"Name": "Nome", "Status": "Estado"}

pytestmark = pytest.mark.slow


def importing(file: str, **arguments: object) -> Script:
    call = {"file": file, "table": "Customers", "columns": COLUMNS, **arguments}
    return Script(calls=(("nocodb_import", json.dumps(call)),), match=IMPORT, times=0)


def has_plan_after(here: Channel, count: int) -> bool:
    return len(here.plans()) > count


def shows(post: Post, text: str) -> bool:
    return text in post.visible_text


def offers_approval(post: Payload) -> bool:
    return "Approve" in button_labels(post)


def says_refusal(post: Payload) -> bool:
    return "I couldn't post" in post["content"]


MIXED = b"Nome;Estado\nCustomer 02;Active\nAda;Lead\n"


def build_csv(*rows: str) -> bytes:
    return "\n".join(["Nome;Estado", *rows]).encode("cp1252")


async def test_new_rows_are_added_after_one_approval_and_taken_back(tmp_path: Path) -> None:
    async with page(tmp_path) as here:
        here.team.openai.say(importing("new.csv"))
        customers = here.team.rows("Customers")
        before = dict(customers)
        rows = [f"João {n};Lead" for n in range(250)]
        answer = await here.asks(IMPORT, ("new.csv", build_csv(*rows, "Ana;Unheard")))
        (card,) = answer["cards"]
        assert card["title"] == "Import 250 rows into Customers"
        assert card["label"] == "Approve 250 rows"
        assert "251 rows in the file: 250 new, 1 rejected." in card["text"]
        assert len(card["rows"]) == 8
        assert [file["name"] for file in answer["files"]] == [f"{card['id']}.xlsx"]
        assert customers == before
        result = await here.clicks("approve", card["id"])
        assert "Written: 250." in result["text"]
        assert len(customers) == len(before) + 250
        assert {row["Status"] for id, row in customers.items() if id not in before} == {"Lead"}
        await here.clicks("undo", card["id"])
        assert customers == before


async def test_rows_of_the_table_are_found_by_their_key(tmp_path: Path) -> None:
    async with page(tmp_path) as here:
        here.team.openai.say(importing("new.csv", key="Name", missing="refuse"))
        customers = here.team.rows("Customers")
        before = {id: dict(row) for id, row in customers.items()}
        data = build_csv(
            "customer 02;Active", "Customer 03;", "Customer 99;Lead", "Customer 04;lead"
        )
        card = await here.card(IMPORT, ("new.csv", data))
        await here.clicks("approve", card["id"])
        changed = {id: row["Status"] for id, row in customers.items() if row != before[id]}
        assert changed == {2: "Active", 4: "Lead"}


async def test_in_a_channel_the_plan_is_opened_in_a_direct_message_first(tmp_path: Path) -> None:
    """In a direct message, the last digits to type are in the name of the file."""
    async with channel(tmp_path) as here:
        here.team.openai.say(importing("new.csv", key="Name"))
        customers = here.team.rows("Customers")
        before = dict(customers)
        card = await here.asks(IMPORT, ("new.csv", "text/csv", MIXED))
        assert list(card.buttons) == ["Deny"]
        assert here.plans() == []
        id = card.buttons["Deny"]["value"].partition(".")[0]
        assert (
            f"To open the plan of `{id}` and approve it, type `approve {id}`" in card.visible_text
        )
        here.slack.say(here.bea, here.place, f"{here.slack.bot} approve {id}")
        await here.slack.wait_until(lambda: here.slack.ephemeral_posts(here.place.id))
        (refused,) = here.slack.ephemeral_posts(here.place.id)
        assert "in a direct message with me" in refused.visible_text

        dm = here.slack.dm(here.bea)
        reading = await here.slack.wait_for_answer(here.slack.say(here.bea, dm, f"approve {id}"))
        assert f"`approve {id}-0000`, but replace 0000" in reading.visible_text
        await here.slack.wait_until(here.plans)
        (name,) = here.plans()
        here.slack.say(here.bea, dm, f"approve {id}-0000")
        await here.slack.wait_until(lambda: len(here.plans()) == 2)
        assert customers == before
        customers[2]["Status"] = "Lead"  # since the dry run
        here.slack.say(here.bea, dm, f"approve {name.removesuffix('.xlsx')}")
        await here.slack.wait_until(lambda: "! partly done" in card.visible_text)
        assert (
            "Written: 1 · Skipped because they changed after the request: 1." in card.visible_text
        )
        assert f"rows that weren't written, type `approve {id}` in a direct" in card.visible_text
        await here.slack.wait_until(lambda: f"{id}.xlsx" in here.plans())
        assert (len(customers), customers[2]["Status"]) == (len(before) + 1, "Lead")


async def test_a_direct_message_has_the_plan_and_the_button(tmp_path: Path) -> None:
    """After a click, the rows that were left out come in a file."""
    async with channel(tmp_path) as here:
        here.team.openai.say(importing("new.csv", key="Name"))
        customers, dm = here.team.rows("Customers"), here.slack.dm(here.alice)
        files = [("new.csv", "text/csv", MIXED)]
        asked = here.slack.say(here.alice, dm, IMPORT, files=files)
        card = await here.slack.wait_for_answer(asked)
        await here.slack.wait_until(lambda: "Approve" in card.buttons)
        (name,) = here.plans()
        customers[2]["Status"] = "Lead"
        here.slack.click(here.alice, card, "Approve")
        await here.slack.wait_until(lambda: "! partly done" in card.visible_text)
        await here.slack.wait_until(lambda: here.plans() == [name, name])
        texts = [post.visible_text for post in here.slack.workspace.by_bot(dm.id)]
        assert [text.startswith("Approved by Alice. Written: 1 ") for text in texts].count(
            True
        ) == 1


async def test_who_does_not_get_the_plan_cannot_approve_it(tmp_path: Path) -> None:
    async with channel(tmp_path) as here:
        here.team.openai.say(importing("new.csv", key="Name"))
        dm = here.slack.dm(here.alice)
        here.slack.api.faults.add(
            "files.completeUploadExternal", "posting_to_channel_denied", times=99
        )
        files = [("new.csv", "text/csv", MIXED)]
        asked = here.slack.say(here.alice, dm, IMPORT, files=files)
        card = await here.slack.wait_for_answer(asked)
        (id,) = re.findall(r"type `approve (\w{6})`", card.visible_text)
        shown = await here.slack.wait_for_answer(here.slack.say(here.alice, dm, f"approve {id}"))
        assert f"`approve {id}-0000`" in shown.visible_text
        assert list(card.buttons) == ["Deny"]
        assert here.plans() == []
        assert here.team.writes() == []


APPROVERS = """[tables.Customers]
approvers = ["{bob}", "{bea}"]
approvals = 2
"""


async def test_two_approvers_open_the_plan_each_in_their_direct_message(tmp_path: Path) -> None:
    async with channel(tmp_path, APPROVERS) as here:
        here.team.openai.say(importing("new.csv", key="Name"))
        files = [("new.csv", "text/csv", MIXED)]
        await here.slack.wait_for_answer(
            here.slack.say(here.alice, here.slack.dm(here.alice), IMPORT, files=files)
        )
        await here.slack.wait_until(here.plans)
        for person in (here.bob, here.bea):
            copy, dm = await here.copy(person)
            assert "Alice requested this in a direct message with me." in copy.visible_text
            assert list(copy.buttons) == ["Deny"]
            id = copy.buttons["Deny"]["value"].partition(".")[0]
            known = len(here.plans())
            here.slack.say(person, dm, f"approve {id}")
            await here.slack.wait_until(partial(has_plan_after, here, known))
            name = here.plans()[-1]
            assert here.team.writes() == []
            here.slack.say(person, dm, f"approve {name.removesuffix('.xlsx')}")
            sign = "✓ done" if person is here.bea else "1 of 2 approvals, by Bob"
            await here.slack.wait_until(partial(shows, copy, sign))


async def test_on_discord_the_plan_stays_beside_its_card(tmp_path: Path) -> None:
    async with server(tmp_path) as here:
        here.team.openai.say(importing("new.csv", key="Name"))
        await here.ana.say(IMPORT, files=[("new.csv", MIXED)])
        (card,) = await here.ana.wait_for_messages(lambda seen: any(map(offers_approval, seen)))
        plan = f"{card['embeds'][0]['footer']['text']}.xlsx"
        assert [file["filename"] for file in card["attachments"]] == [plan]
        await here.decides(here.ana, card, "Approve", "✓ done")
        assert "Written: 2." in words(card)
        assert [file["filename"] for file in card["attachments"]] == [plan]


async def test_on_discord_a_plan_that_is_refused_is_not_approved(tmp_path: Path) -> None:
    async with server(tmp_path) as here:
        here.team.openai.say(importing("new.csv", key="Name"))
        here.discord.refuse("PATCH", f"/channels/{here.ana.dm.id}/messages/*", 403, 50013)
        await here.ana.say(IMPORT, files=[("new.csv", MIXED)])
        (card,) = await here.ana.wait_for_messages(lambda seen: any(map(says_refusal, seen)))
        assert (button_labels(card), card["attachments"]) == (["Deny"], [])
        assert "To read and confirm it, type `approve" in words(card)


async def test_the_terminal_keeps_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: str
) -> None:
    """A command of the shell gets the file first, and approves it by the digits of its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.csv").write_bytes(MIXED)
    async with office.office(tmp_path) as team, team.open(ponte_web="off"):
        team.openai.say(importing("new.csv", key="Name"))
        output, keyboard = io.StringIO(), Keyboard(f"{IMPORT} @new.csv\n")
        await chat.chat(team.home / "ponte.sock", keyboard, output)
        (path,) = re.findall(r"\[\w{6}\.xlsx, .+\] (\S+)\n", output.getvalue())
        id = Path(path).stem
        assert f"Type: approve {id} · deny {id}" in output.getvalue()
        assert (tmp_path / path).read_bytes()[:2] == b"PK"
        code, out, _ = await shell(team, commands, "en", "changes", "approve", id)
        assert (code, f"ponte changes approve {id}-0000" in out) == (1, True), out
        (path,) = re.findall(r"\.xlsx, .+\] (\S+)\n", out)
        assert (team.home / path).read_bytes()[:2] == b"PK"
        assert team.writes() == []
        code, out, _ = await shell(team, commands, "en", "changes", "approve", Path(path).stem)
        assert (code, "Written: 2." in out) == (0, True), out
