"""What a person sees of a change, rendered from the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bot.integrations import KINDS
from core.base.i18n import use_locale
from core.changes import card_rows, cards
from core.changes.card_rows import CardRow, FieldChange, build_rows, read_rows, tabulate
from core.domain.changes import Change, ChangeStep, Draft, Proposal, RowWrite, StepState
from core.domain.messages import Address, Person

CARDS = cards.CardBuilder(KINDS)
ANA = Person("slack", "U1", "T1", "Ana")
BOSS = Person("slack", "U9", "T1", "Bea")


def change(kind: str, *rows: RowWrite, title: str = "People", **more: Any) -> Change:
    draft = Draft("memory", kind, {"key": "Id"}, title, rows)
    address = Address("slack", "C1", "T1")
    proposal = Proposal("abcde2", draft, ANA, address, 1, "c1", "t1", 0, "en", 1.0, 9.0)
    steps = tuple(ChangeStep(number, row) for number, row in enumerate(rows, 1))
    return Change(proposal, steps=steps, **more)


def with_target(made: Change, target: dict[str, Any]) -> Change:
    draft = replace(made.draft, target=target)
    return replace(made, proposal=replace(made.proposal, draft=draft))


def end_change(one: Change, *states: StepState, words: str = "") -> Change:
    steps = (
        replace(step, state=state, explanation=words)
        for step, state in zip(one.steps, states, strict=True)
    )
    return replace(one, state="partial", steps=tuple(steps), decider=BOSS)


UPDATE = [RowWrite(str(n), {"Name": "A"}, {"Name": "B"}) for n in range(1, 4)]


def test_an_update_names_its_row_and_shows_only_what_changes() -> None:
    write = RowWrite("1", {"Name": "A", "Age": 4}, {"Name": "A", "Age": 5})
    card = CARDS.build(change("update", write))
    assert card.rows == (
        {
            "id": "1",
            "name": "A",
            "name_field": "Name",
            "before": {"Name": "A", "Age": 4},
            "after": {"Name": "A", "Age": 5},
            "changes": [{"field": "Age", "before": "4", "after": "5"}],
            "details": [],
        },
    )
    assert (card.title, card.expires_at) == ("Change a row in People", 9.0)
    assert card.text == "Requested by Ana."


def test_rows_with_one_name_are_told_apart_by_their_ids() -> None:
    card = CARDS.build(change("update", *UPDATE))
    assert [row["name"] for row in card.rows] == ["A (1)", "A (2)", "A (3)"]


def test_linked_rows_with_one_name_are_told_apart_by_their_ids() -> None:
    one, two, ada = (
        {"id": id, "title": title} for id, title in (("1", "João"), ("2", "João"), ("3", "Ada"))
    )
    for before, after, text in (
        ({"Owner": [one]}, {"Owner": [two]}, "+ João (2), - João (1)"),
        ({"Owner": [one]}, {"Owner": [ada]}, "+ Ada, - João"),
        ({"Owner": []}, {"Owner": [one, two, ada]}, "+ João (1), + João (2), + Ada"),
        (None, {"Owner": [one, two, ada]}, "João (1), João (2), Ada"),
        ({"Owner": [one, two]}, None, "João (1), João (2)"),
        (None, {"Owner": ["x", "x"]}, "x, x"),
    ):
        made = change("update", RowWrite("7", before, after))
        (row,) = read_rows(build_rows(with_target(made, {"link_fields": ["Owner"]})))
        assert row.text == f"Owner: {text}"


def test_a_proposal_shows_all_rows_and_a_decided_change_the_first() -> None:
    rows = [RowWrite(str(n), before={"Name": f"N{n}"}) for n in range(30)]
    card = CARDS.build(change("delete", *rows))
    assert (card.title, len(card.rows), card.is_whole) == ("Delete 30 rows in People", 30, True)
    card = CARDS.build(change("delete", *rows, state="done", decider=BOSS))
    assert (len(card.rows), card.is_whole) == (card_rows.MAX_CHANGE_ROWS_SHOWN, False)


def test_a_proposal_shows_all_fields_and_all_of_their_values() -> None:
    values = {f"F{n}": f"{'x ' * 400}END{n}" for n in range(20)} | {
        "Name": "N" * 300 + "END",
        "N" * 90 + "A": "a",
        "N" * 90 + "B": "b",
        "Two": "one",
        "Two ": "two",
        "JSON": {"title": "fine", "and": "all of it"},
        "List": ["y" * 300, "END20"],
        "Number": 1.23456789,
    }
    for kind, write in (
        ("create", RowWrite(after=values)),
        ("update", RowWrite("1", dict.fromkeys(values, "before"), values)),
        ("delete", RowWrite("1", before=values)),
    ):
        card = CARDS.build(change(kind, write))
        (row,) = card_rows.read_rows(card.rows)
        shown = f"{row.name}: {row.text}"
        for words in (
            *(f"END{n}" for n in range(21)), f"{'N' * 300}END", f"{'N' * 90}A", f"{'N' * 90}B",
            "one", "two", "all of it", "1.23456789", "y" * 300,
        ):  # fmt: skip
            assert words in shown, (kind, words)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-11-18", "Nov 18, 2026"),
        ("2026-11-20 14:30:00+00:00", "2026-11-20 14:30:59+00:00"),
        ("2026-11-20 14:30:00.1+00:00", "2026-11-20 14:30:00.2+00:00"),
        (0.1234, 0.12345),
        ("–", None),
        (1, "1"),
        ("paid", "paid\U000e0041\U000e0042"),
        ({"token": "a"}, {"token": "b"}),
        ("x" * 5_000, "x" * 5_000 + "y"),
    ],
)
@pytest.mark.parametrize("field", ["F", "Password", "signedUrl"])
def test_values_that_differ_never_look_alike(field: str, before: Any, after: Any) -> None:
    write = RowWrite("1", {"Name": "A", field: before}, {field: after})
    (row,) = card_rows.read_rows(CARDS.build(change("update", write)).rows)
    (told,) = row.changes
    assert told.before != told.after


def test_invisible_characters_of_a_proposal_are_counted() -> None:
    write = RowWrite(after={"Name": "A", "F": "paid\U000e0041\u200b\u202eend\r\nline"})
    (row,) = card_rows.read_rows(CARDS.build(change("create", write)).rows)
    assert row.text == "F: paidend\nline (3 invisible characters)"


def test_cells_have_room_and_hold_no_secrets() -> None:
    row = {
        "Password": "hunter2",
        "Empty": None,
        "Long": "x" * 999,
        "Line": "a\n\x1b[31mb",
        "Linked": {"Id": 3, "Name": "Other"},
        "Files": [{"title": "a.pdf"}, "b"],
        "Deep": [[1]],
        **{f"F{n}": n for n in range(20)},
    }
    decided = change("create", RowWrite(after=row), state="done", decider=BOSS)
    (shown,) = CARDS.build(decided).rows
    after = shown["after"]
    assert after["Password"] == "[withheld]"
    assert len(after["Long"]) == card_rows.MAX_CHANGE_CELL_CHARACTERS
    assert "\x1b" not in after["Line"]
    assert (after["Linked"], after["Files"]) == ("Other", "a.pdf, b")
    assert len(after) == card_rows.MAX_CARD_FIELDS
    assert "Empty" not in after, "what is filled comes first"


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("changed", "Skipped because they changed after the request: A (2), A (3)."),
        ("failed", "Rejected: A (2), A (3). Because."),
        ("unknown", "unknown: A (2), A (3). Because. First check these rows, then ask again."),
        ("differs", "the table shows other values for Because.: A (2), A (3)."),
        ("waiting", "Not tried: A (2), A (3)."),
    ],
)
def test_each_way_to_go_wrong_is_told(state: StepState, told: str) -> None:
    one = end_change(change("update", *UPDATE), "done", state, state, words="Because.")
    text = CARDS.build(one).text
    done = 3 if state == "differs" else 1
    assert text.startswith(f"Approved by Bea. Partly done: {done} of 3 rows.")
    assert told in text


def test_done_without_having_been_seen_is_told_as_that() -> None:
    one = replace(end_change(change("update", UPDATE[0]), "done", words="Unread."), state="done")
    told = "Saved, but couldn't be verified: A."
    assert told in CARDS.build(one).text
    one = replace(end_change(change("update", UPDATE[0]), "done"), state="done")
    assert "couldn't be verified" not in CARDS.build(one).text


def test_what_a_table_is_called_cannot_pretend_to_be_anything() -> None:
    named = change("create", RowWrite(after={"a": 1}), title="x`](http://evil)\n# Approved\u202e")
    card = CARDS.build(named)
    assert "\n" not in card.title
    assert "\u202e" not in card.title
    assert "evil" in CARDS.build_note(named)
    assert "\n" not in CARDS.build_note(named)


def test_the_note_for_the_model_holds_nothing_out_of_the_rows() -> None:
    one = end_change(change("create", RowWrite("7", after={"Name": "Secret"})), "done")
    note = CARDS.build_note(replace(one, state="done"))
    assert "Secret" not in note
    assert "Approved by Bea. Done. Row ids: 7." in note


def test_only_the_card_names_rows_by_their_values() -> None:
    one = end_change(change("update", *UPDATE), "done", "changed", "changed")
    assert "A (2), A (3)" in CARDS.build(one).text
    assert "after the request: ID 2, 3." in CARDS.describe_outcome(one)
    assert "A (2)" not in CARDS.build_note(one)


def link_entries(*names: str) -> list[dict[str, str]]:
    return [{"id": name[-1], "title": name} for name in names]


def test_links_read_as_what_comes_and_what_goes() -> None:
    nine, two = link_entries("Order 9"), link_entries("Order 1", "Order 2")
    rows = [
        RowWrite("7", {"Name": "Ada", "Orders": nine}, {"Orders": []}),
        RowWrite("7", {"Name": "Ada", "Orders": []}, {"Orders": two}),
    ]
    card = CARDS.build(with_target(change("update", *rows), {"link_fields": {"Orders": "c1"}}))
    assert card.title == "Change a row in People", "two writes of one row"
    (row,) = card_rows.read_rows(card.rows)
    assert (row.name, row.text) == ("Ada", "Orders: + Order 1, + Order 2, - Order 9")
    assert card.text == "Requested by Ana."


def test_what_nobody_may_know_of_stands_on_no_card() -> None:
    one = change("delete", RowWrite("7", before={"Name": "Ada", "Salaries": link_entries("9,000")}))
    target = {"link_fields": ["Salaries"], "hidden_fields": ["Salaries"]}
    card = CARDS.build(with_target(one, target))
    (row,) = card.rows
    assert (row["name"], row["before"], row["changes"]) == ("Ada", {"Name": "Ada"}, [])


def test_what_an_undo_could_not_bring_back_is_told() -> None:
    one = change("create", RowWrite("7", after={"Name": "Ada"}))
    draft = replace(
        one.draft, target={"system_fields": ["Id", "Made\x1b[0m at"]}, note="Anew: {names}."
    )
    undo = replace(one.proposal, draft=draft, undone_change="xyz234")
    done = replace(end_change(replace(one, proposal=undo), "done"), state="done")
    assert CARDS.build(done).text.endswith("Requested by Bea. Anew: Id, Made at.")


def test_rows_keep_their_order_after_an_undo() -> None:
    ids = ("1", "2", "3")
    whole = [RowWrite(id, {"Name": f"N{id}", "Age": 4}, {"Name": f"N{id}", "Age": 5}) for id in ids]
    done = end_change(change("update", *whole), "done", "done", "done")
    back = [RowWrite(id, {"Age": 5}, {"Age": 4}) for id in reversed(ids)]  # the last write first
    undo = end_change(change("update", *back), "done", "done", "done")
    rows = card_rows.read_rows(CARDS.build(done, undo=undo).rows)
    assert [(row.name, row.text) for row in rows] == [(f"N{id}", "Age: 5 → 4") for id in ids]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ([0], [0, 1], "Files: + b.pdf (7 B)"),
        ([0, 1], [0], "Files: - b.pdf (7 B)"),
        (None, [0], "Files: + a.pdf (7 B)"),
        ([0], None, "Files: - a.pdf (7 B)"),
    ],
)
def test_of_files_only_those_that_come_or_go_are_shown(
    before: list[int] | None, after: list[int] | None, words: str
) -> None:
    files = [{"title": f"{name}.pdf", "path": f"download/{name}", "size": 7} for name in "ab"]
    old, new = (None if each is None else [files[n] for n in each] for each in (before, after))
    write = RowWrite("7", {"Name": "Ada", "Files": old}, {"Name": "Ada", "Files": new})
    (row,) = card_rows.read_rows(CARDS.build(change("update", write)).rows)
    assert (row.name, row.text) == ("Ada", words)


def test_a_row_is_done_when_all_of_it_is() -> None:
    rows = [RowWrite(id, {"Name": "A"}, {"Name": "B"}) for id in ("1", "1", "2")]
    one = end_change(change("update", *rows), "done", "changed", "done")
    assert "Partly done: 1 of 2 rows." in CARDS.build(one).text


def test_only_writes_that_have_ended_can_be_undone() -> None:
    written = end_change(change("update", *UPDATE), "done", "done", "writing")
    assert CARDS.build(written).actions == ("undo",)
    assert CARDS.build(replace(written, state="applying")).actions == ()
    run = end_change(change("run", UPDATE[0]), "done")
    assert CARDS.build(replace(run, state="done")).actions == ()


@pytest.mark.parametrize("file", [
    {"title": "x", "size": 1, "sha256": "0"}, {"title": "x", "size": 1, "sha256": 5},
    {"title": "x", "size": 10**400, "sha256": "0", "mimetype": 1}, {"title": {}, "size": True},
])  # fmt: skip
def test_any_object_can_be_shown(file: object) -> None:
    """A bridge passes on whatever a model proposes."""
    (row,) = build_rows(change("create", RowWrite(after={"Name": "A", "Files": [file]})))
    assert row["changes"][0]["field"] == "Files"


TARGET = {
    "display_field": "Number",
    "formats": {
        "Number": "",
        "Amount": "number",
        "Share": "percent",
        "Paid on": "date",
        "Seen": "moment",
        "Code": "",
    },
}
BEFORE = {"Number": "2026-0412", "Amount": 1850.75, "Share": 5, "Paid on": None, "Seen": None}
AFTER = {
    "Number": "2026-0412",
    "Amount": 2480,
    "Share": 12.5,
    "Paid on": "2026-11-18",
    "Seen": "2026-11-20 14:30:00+00:00",
    "Code": "2026-01-01",
    "Done": True,
}


@pytest.mark.parametrize(
    ("locale", "told"),
    [
        (
            "en",
            "Amount: 1,850.75 → 2,480 · Share: 5% → 12.5% · Paid on: – → Nov 18, 2026 · "
            "Seen: – → Nov 20, 2026, 2:30\u202fPM UTC · Code: – → 2026-01-01 · Done: – → Yes",
        ),
        (
            "pt-BR",
            "Amount: 1.850,75 → 2.480 · Share: 5% → 12,5% · Paid on: – → 18 de nov. de 2026"
            " · Seen: – → 20 de nov. de 2026, 14:30 UTC · Code: – → 2026-01-01 · Done: – → Sim",
        ),
        (
            "fr",
            "Amount: 1\u202f850,75 → 2\u202f480 · Share: 5\u202f% → 12,5\u202f% · "
            "Paid on: – → 18 nov. 2026 · Seen: – → 20 nov. 2026, 14:30 UTC · "
            "Code: – → 2026-01-01 · Done: – → Oui",
        ),
    ],
)
def test_values_are_in_the_format_of_the_reader(locale: str, told: str) -> None:
    with use_locale(locale):
        made = with_target(change("update", RowWrite("1", BEFORE, AFTER)), TARGET)
        (row,) = read_rows(build_rows(made))
    assert (row.name, row.name_field, row.text) == ("2026-0412", "Number", told)


def test_dates_of_unknown_fields_are_recognised_and_numbers_stay() -> None:
    made = change("update", RowWrite("1", {"Year": 2025}, {"Year": 2026, "Due": "2026-11-18"}))
    (row,) = read_rows(build_rows(made))
    assert row.text == "Year: 2025 → 2026 · Due: – → Nov 18, 2026"


def test_a_row_without_a_name_is_named_by_its_id() -> None:
    (row,) = read_rows(build_rows(change("delete", RowWrite("7", before={"Age": 4}))))
    assert (row.name, row.text) == ("7", "Age: 4")


def rows(
    count: int, fields: int = 1, before: str | None = "a", after: str | None = "b"
) -> list[CardRow]:
    changes = tuple(FieldChange(f"F{n}", before, after) for n in range(fields))
    return [CardRow(f"row {n}", "Name", changes) for n in range(count)]


def test_three_rows_or_two_deleted_ones_become_a_table_that_hides_no_change() -> None:
    assert tabulate(rows(2)) is None
    table = tabulate(rows(3))
    assert table is not None
    assert table.header == ("Name", "F0")
    assert table.rows[2] == ("row 2", (FieldChange("F0", "a", "b"),))
    assert tabulate(rows(3, fields=5)) is not None
    assert tabulate(rows(3, fields=6)) is None
    table = tabulate(rows(2, fields=5, after=None))
    assert table is not None
    assert len(table.header) == 6
    assert tabulate(rows(2, fields=6, after=None)) is None


CHOICE_INPUTS = {
    "Status": ["select", ["Open", "Paid"]],
    "Note": ["text", []],
    "Sent": ["checkbox", []],
}
CHOICES = {"key": "Id", "inputs": CHOICE_INPUTS, "choice_fields": ["Status", "Sent"]}


@pytest.mark.parametrize(
    ("kind", "values", "label"),
    [
        ("update", [{"Status": "Paid"}] * 3, "Mark 3 as Paid"),
        ("update", [{"Status": "Paid"}], "Mark 1 as Paid"),
        ("update", [{"Sent": True}] * 2, "Check Sent in 2 rows"),
        ("update", [{"Sent": False}], "Uncheck Sent in 1 row"),
        ("update", [{"Status": "Paid"}, {"Status": "Open"}], "Approve 2 rows"),
        ("update", [{"Status": "Paid", "Sent": True}], "Approve 1 row"),
        ("update", [{"Note": "Paid"}], "Approve 1 row"),
        ("update", [{"Status": "Denied"}], "Approve 1 row"),  # no option of the schema
        ("create", [{"Status": "Paid"}] * 2, "Add 2 rows"),
        ("delete", [None, None], "Delete 2 rows"),
    ],
)
def test_the_button_names_the_deed(kind: str, values: list[Any], label: str) -> None:
    rows = [
        RowWrite("" if kind == "create" else str(n), None if kind == "create" else {}, value)
        for n, value in enumerate(values)
    ]
    assert CARDS.build(with_target(change(kind, *rows), CHOICES)).label == label


@pytest.mark.parametrize(
    "option", ["x" * 31, "漢" * 11, "Paid\u202e", "a\nb", "\u200b", "\u115f", "\u2800"]
)
def test_an_odd_option_is_not_on_the_button(option: str) -> None:
    target = {**CHOICES, "inputs": {"Status": ["select", [option]]}}
    made = with_target(change("update", RowWrite("1", {}, {"Status": option})), target)
    assert CARDS.build(made).label == "Approve 1 row"


@pytest.mark.parametrize(
    ("title", "label"), [("#sales", "Post to #sales"), ("x" * 31, ""), ("#a\u202eb", "")]
)
def test_a_post_names_its_place_by_name_and_id(title: str, label: str) -> None:
    made = with_target(
        change("post", RowWrite(after={"text": "Hi"}), title=title), {"place": "slack:T1:C9"}
    )
    card = CARDS.build(made)
    assert card.label == label
    assert card.title.endswith("(C9)")
