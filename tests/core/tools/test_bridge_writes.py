"""What the model may propose through the bridge, and what is told before a person is asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from core.base.errors import ToolError, WriteUnsure
from core.base.http import HttpClient
from core.changes.kinds import Changer
from core.domain.changes import MAX_PROPOSAL_ROWS, Change, ChangeStep, Draft, Proposal
from core.domain.messages import Address
from core.domain.records import Outcome, ToolContext
from core.domain.rights import Viewer
from core.tools.nocodb import ROW_KINDS
from core.tools.nocodb.bridge import BridgeSource
from core.tools.nocodb.bridge_api import BridgeError
from tests.core.tools.scene import ADA, ctx, with_controls
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import CUSTOMERS, ORDERS
from tests.fakes.faulty import Trouble

BAD = "bad_arguments"


class Asking:
    """A model's calls of `nocodb_execute`, and the drafts that came of them."""

    def __init__(self, source: BridgeSource, bridge: FakeBridge) -> None:
        self.source = source
        self.bridge = bridge
        self.drafts: list[Draft] = []

    async def __call__(self, tool: str, **args: Any) -> Draft:
        (result,) = await self.source.tools(Viewer())
        call = {"tool": tool, "args": {"table_id": CUSTOMERS, **args}}
        outcome = await result.run(self._ctx(), json.dumps(call))
        assert outcome.status == "proposed"
        assert not set(self.bridge.executed_tools) - {"get_table", "get_record", "list_records"}
        return self.drafts[-1]

    async def error_of_call(self, tool: str, **args: Any) -> ToolError:
        with pytest.raises(ToolError) as error:
            await self(tool, **args)
        return error.value

    def _ctx(self) -> ToolContext:
        async def propose(draft: Draft) -> Outcome:
            self.drafts.append(draft)
            return Outcome("proposed", "waits", proposal="abcde2")

        return with_controls(ctx(), propose=propose)


ADDRESS = {"title": "contract.pdf", "size": 5, "url": "http://evil.example/x"}
"""A card would show its name alone."""


@contextlib.asynccontextmanager
async def asking(patched: bool = True) -> AsyncIterator[Asking]:
    async with FakeBridge(patched=patched) as bridge, HttpClient() as http:
        yield Asking(BridgeSource(bridge.url, "", http, pauses=(0, 0)), bridge)


async def test_creating_rows_makes_a_draft() -> None:
    async with asking() as ask:
        one = await ask("create_record", record_data={"Name": "Ada", "Status": "Lead"})
        assert (one.applier, one.kind, one.title) == ("nocodb-bridge", "create", "Customers")
        inputs = {"Name": ["text", ()], "Status": ["text", ()]}
        assert one.target == {
            "table_id": CUSTOMERS,
            "key": "Id",
            "computed": ["Id"],
            "inputs": inputs,
        }
        assert [row.after for row in one.rows] == [{"Name": "Ada", "Status": "Lead"}]
        draft = await ask("create_record", record_data=[{"Name": "A"}] * MAX_PROPOSAL_ROWS)
        assert len(draft.rows) == MAX_PROPOSAL_ROWS == 100
        for tool, name in (("create_record", "record_data"), ("bulk_create_records", "records")):
            many = await ask(tool, **{name: [{"Name": "A"}, {"Name": "B"}]})
            assert [row.after for row in many.rows] == [{"Name": "A"}, {"Name": "B"}]


async def test_an_update_draft_holds_the_values_before() -> None:
    async with asking() as ask:
        one = await ask("update_record", record_id=3, record_data={"Status": "Lost", "Value": 9})
        (row,) = one.rows
        assert (row.id, row.before) == ("3", {"Status": "Lead", "Value": 300})
        assert row.after == {"Status": "Lost", "Value": 9}
        many = await ask(
            "bulk_update_records",
            records=[{"id": 1, "Name": "X"}, {"Id": "2", "Name": "Bruno Almeida", "Value": "200"}],
        )
        assert [(row.id, row.after) for row in many.rows] == [("1", {"Name": "X"})], (
            "what stands there already is left out"
        )


async def test_a_right_guess_of_a_secret_is_proposed_as_a_wrong_one() -> None:
    async with asking() as ask:
        ask.bridge.api.fields[CUSTOMERS] += ("Password",)
        ask.bridge.api.rows[CUSTOMERS][2]["Password"] = "79"
        for guess in ("79", 79, "78"):
            values = {"Name": "Chloé Almeida", "Password": guess}
            draft = await ask("update_record", record_id=3, record_data=values)
            assert draft.rows[0].after == {"Password": guess}
            batch = ask.source.rows.open(draft)
            assert [check.state for check in await batch.check(draft.rows)] == ["before"]
            draft = await ask("update_record", record_id=3, record_data={**values, "Status": "Won"})
            batch = ask.source.rows.open(draft)
            assert [check.state for check in await batch.check(draft.rows)] == ["before"]


async def test_a_person_changes_the_proposed_values_of_a_bridge() -> None:
    async with asking() as ask:
        draft = await ask("update_record", record_id=3, record_data={"Status": "Lost", "Value": 9})
        draft = replace(draft, target=json.loads(json.dumps(draft.target)))  # as it is stored
        here = Address("slack", "C1")
        proposal = Proposal("abcde2", draft, ADA, here, 1, "c1", "t1", 0, "en", 0, 9)
        steps = tuple(ChangeStep(number, row) for number, row in enumerate(draft.rows, 1))
        change = Change(proposal, steps=steps)
        fields = ROW_KINDS["update"].form_fields(change)
        assert [(one.key, one.type, one.value) for one in fields] == [
            ("Status", "text", "Lost"),
            ("Value", "number", "9"),
        ]
        changer = Changer(ADA, proposal.address, Viewer(), UTC)
        revision = await ask.source.rows.revise(change, {"Value": "12.5"}, changer)
        assert revision.rows[0].after == {"Status": "Lost", "Value": 12.5}
        assert revision.rows[0].before == {"Status": "Lead", "Value": 300}
        for text in ("NaN", "1e999"):
            revision = await ask.source.rows.revise(change, {"Value": text}, changer)
            assert (revision.rows[0].after or {})["Value"] == text, "it is no number of JSON"
        answer = await ask("create_record", record_data=[{"Name": "A"}, {"Name": "B", "Value": 5}])
        two = replace(change, proposal=replace(proposal, draft=answer))
        revision = await ask.source.rows.revise(two, {"2.Value": "7"}, changer)
        assert [row.after for row in revision.rows] == [{"Name": "A"}, {"Name": "B", "Value": 7}]


async def test_deletes_hold_the_whole_row_without_signed_addresses() -> None:
    async with asking() as ask:
        draft = await ask("bulk_delete_records", record_ids=[1, {"Id": 2}])
        assert [row.id for row in draft.rows] == ["1", "2"]
        before = draft.rows[0].before
        assert before
        assert before["Name"] == "Ada Almeida"
        assert "signed" not in json.dumps(before)
        assert before["Contract"][0]["title"] == "contract.pdf"
        assert "new IDs" in draft.note


INVALID_WRITES: Sequence[tuple[str, dict[str, Any], str, str]] = (
    ("create_record", {"record_data": {}}, BAD, "at least one field"),
    ("create_record", {"record_data": []}, BAD, "no row is given"),
    ("create_record", {"record_data": "x"}, BAD, "at least one field"),
    ("create_record", {"data": {"Name": "A"}}, BAD, "missing or unknown"),
    ("create_record", {"record_data": {"Nmae": "A"}}, "unknown_field", "mean 'Name'?"),
    ("create_record", {"record_data": {"name": "A"}}, "unknown_field", "`name`"),
    ("create_record", {"record_data": {"Id": 9, "Name": "A"}}, "computed_field", "Id"),
    ("create_record", {"record_data": [{"Name": "A"}] * 101}, "too_many_rows", "is 100 per"),
    ("update_record", {"record_id": 99, "record_data": {"Name": "A"}}, "not_found", "99"),
    ("update_record", {"record_id": 1, "record_data": {"Value": "100"}}, "no_change",
     "already have"),
    ("update_record", {"record_id": 1, "record_data": {"Contract": ["a.pdf"]}}, "not_offered",
     "The bridge can't attach files to rows."),
    ("update_record", {"record_id": 1, "record_data": {"Status": ADDRESS}}, "not_offered",
     "The bridge can't attach files to rows."),
    ("create_record", {"record_data": {"Status": [[ADDRESS]]}}, "not_offered",
     "The bridge can't attach files to rows."),
    ("update_record", {"record_id": "../x", "record_data": {"Name": "A"}}, BAD, "id"),
    ("update_record", {"record_id": True, "record_data": {"Name": "A"}}, BAD, "id"),
    ("bulk_update_records", {"records": []}, BAD, "no row is given"),
    ("bulk_update_records", {"records": [{"Name": "A"}]}, BAD, "no valid ID"),
    ("bulk_update_records", {"records": [{"id": 1}]}, BAD, "at least one field"),
    ("bulk_update_records", {"records": [{"id": 1, "Name": "A"}, {"id": 1, "Name": "B"}]},
     BAD, "twice"),
    ("bulk_delete_records", {"record_ids": []}, BAD, "no row is given"),
    ("bulk_delete_records", {"record_ids": 7}, BAD, "must be a list"),
    ("bulk_delete_records", {"record_ids": list(range(101))}, "too_many_rows", "101"),
    ("bulk_delete_records", {}, BAD, "missing or unknown"),
    ("delete_record", {"record_id": ""}, BAD, "no valid ID"),
    ("delete_record", {"record_id": 1, "table_id": "a/b"}, BAD, "table_id"),
    ("delete_record", {"record_id": 1, "where": ""}, BAD, "missing or unknown"),
)  # fmt: skip


async def test_invalid_writes_are_refused_without_a_draft() -> None:
    async with asking() as ask:
        for tool, args, code, words in INVALID_WRITES:
            error = await ask.error_of_call(tool, **args)
            text = f"{error} {error.hint}"
            assert (error.code, words in text) == (code, True), (tool, args, text)
        assert ask.drafts == []
        assert not set(ask.bridge.executed_tools) - {"get_table", "get_record", "list_records"}


async def test_an_update_cannot_name_another_row_in_its_values() -> None:
    """A bridge may change the row that the values name, and not the one on the card."""
    async with asking() as ask:
        ask.bridge.api.key = "Name"
        for data in ({"Name": "Bruno Almeida", "Status": "Lost"}, {"Id": 2, "Status": "Lost"}):
            error = await ask.error_of_call("update_record", record_id=1, record_data=data)
            assert error.code == "computed_field"
        assert await ask("create_record", record_data={"Name": "Eve"})


async def test_the_public_bridge_describes_no_table_so_its_rows_do() -> None:
    async with asking(patched=False) as ask:
        draft = await ask("create_record", record_data={"Name": "Ada"})
        assert draft.title == CUSTOMERS
        assert (
            await ask.error_of_call("create_record", record_data={"Nope": 1})
        ).code == "unknown_field"
        draft = await ask("delete_record", record_id=1)
        with pytest.raises(ToolError, match="NocoDB responded with 404"):
            await ask.source.rows.open(draft).write(draft.rows)


async def test_a_new_row_takes_no_rows_from_others_without_a_word() -> None:
    """Where nobody describes the table, a field of links looks like one of numbers."""
    async with asking(patched=False) as ask:
        api = ask.bridge.api
        api.fields[CUSTOMERS] += ("Orders",)
        api.counts["Orders"] = (ORDERS, "Customer")
        api.rows[CUSTOMERS] = [{**row, "Orders": 1} for row in api.rows[CUSTOMERS]]
        values: list[Any] = [[5], ["5"], '["5"]', '[{"Id": 5}]', [{"Id": 5}], {"Id": 5}]
        for value in values:
            data = {"Name": "Eve", "Orders": value}
            error = await ask.error_of_call("create_record", record_data=data)
            assert error.code == "computed_field"
        data = {"Title": "New", "Customer": 3}
        error = await ask.error_of_call("create_record", table_id=ORDERS, record_data=data)
        assert error.code == "computed_field"
        draft = await ask("create_record", record_data={"Name": "[5]", "Status": '["Lead"]'})
        await ask.source.rows.open(draft).write(draft.rows)
        assert api.rows[CUSTOMERS][-1]["Orders"] == 0


async def test_a_deleted_row_comes_back_without_its_links() -> None:
    async with asking() as ask:
        draft = await ask("delete_record", table_id=ORDERS, record_id=1)
        assert draft.rows[0].before == {
            "Id": 1,
            "Title": "Order 1",
            "Amount": 7,
            "Customer": {"Id": 2},
        }
        proposal = Proposal(
            "abcde2", draft, ADA, Address("web", "C1"), 1, "c1", "t1", 0, "en", 0.0, 1.0
        )
        steps = (ChangeStep(1, draft.rows[0], "done"),)
        undo = ask.source.rows.revert(Change(proposal, "done", steps))
        assert (undo.kind, [row.after for row in undo.rows]) == (
            "create",
            [{"Title": "Order 1", "Amount": 7}],
        )
        erasures = (ChangeStep(1, replace(draft.rows[0], before=None), "done"),)
        with pytest.raises(ToolError, match="are unknown"):
            ask.source.rows.revert(Change(proposal, "done", erasures))


async def test_a_refusal_after_some_rows_were_written_is_not_believed() -> None:
    """Bridges write row by row, and a refusal reports only the row that failed."""
    async with asking() as ask:
        rows = ask.bridge.api.rows[CUSTOMERS]
        update = [{"id": 1, "Status": "Lost"}, {"id": 2, "Status": "Active"}]
        for tool, args in (
            ("bulk_update_records", {"records": update}),
            ("bulk_delete_records", {"record_ids": [3, 4]}),
        ):
            draft = await ask(tool, **args)
            batch = ask.source.rows.open(draft)
            await batch.check(draft.rows)
            rows.remove(next(row for row in rows if str(row["Id"]) == draft.rows[1].id))
            with pytest.raises(WriteUnsure, match="404"):
                await batch.write(draft.rows)
        draft = await ask("update_record", record_id=5, record_data={"Status": "Nope"})
        ask.bridge.fail(1, 500, "422: 422 Client Error")
        with pytest.raises(BridgeError):
            await ask.source.rows.open(draft).write(draft.rows)
        ask.bridge.fail(1, 408, "Request Timeout")
        with pytest.raises(WriteUnsure):
            await ask.source.rows.open(draft).write(draft.rows)


async def test_a_create_that_does_not_report_its_rows_is_unsure() -> None:
    async with asking() as ask:
        draft = await ask("create_record", record_data=[{"Name": "A"}, {"Name": "B"}])
        answers: Sequence[object] = ({}, {"result": {}}, {"result": [{"Id": 8}]}, {"result": None})
        for answer in answers:
            ask.bridge.trouble(Trouble("status", 200, answer))
            with pytest.raises(WriteUnsure):
                await ask.source.rows.open(draft).write(draft.rows)


async def test_a_row_that_could_not_be_read_does_not_count_as_deleted() -> None:
    async with asking() as ask:
        draft = await ask("delete_record", record_id=1)
        ask.bridge.fail(1, 500, "403: 403 Client Error: Forbidden")
        with pytest.raises(BridgeError) as error:
            await ask.source.rows.open(draft).check(draft.rows)
        assert error.value.code == "nocodb_refused"
        (finding,) = await ask.source.rows.open(draft).check(draft.rows)
        assert finding.state == "before"


async def test_a_write_is_proposed_while_it_is_unknown_what_the_bridge_can_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its list came too late, for example because the machine was busy."""
    async with asking() as ask:

        async def come_too_late() -> None:
            raise BridgeError("It didn't respond in time.", code="bridge_away")

        monkeypatch.setattr(ask.source.api, "list_tools", come_too_late)
        draft = await ask("update_record", record_id=3, record_data={"Status": "Lost"})
        assert [row.after for row in draft.rows] == [{"Status": "Lost"}]
        assert ask.source.rows.batch(draft) == 1, "a bulk tool is used only where it is known"


async def test_a_write_is_refused_where_nothing_can_be_proposed() -> None:
    async with FakeBridge() as bridge, HttpClient() as http:
        (tool,) = await BridgeSource(bridge.url, "", http).tools(Viewer())
        call = {"tool": "delete_record", "args": {"table_id": CUSTOMERS, "record_id": 1}}
        with pytest.raises(ToolError) as error:
            await tool.run(ctx(), json.dumps(call))
    assert error.value.code == "not_offered"
