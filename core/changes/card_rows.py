"""Builds the rows of a card: the name of each row, and its fields before and after the change.

`build_rows` makes the rows that a card stores. `read_rows` returns them to the platforms, which
only draw: each row as its name and its changed fields, or all rows as one table (`tabulate`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any, Literal

from core.base.i18n import format_date, format_moment, format_size, plural, say
from core.base.redaction import NO_SECRET, is_secret_name, redact
from core.base.text import clean_text, to_one_line, truncate
from core.base.value_formats import format_value
from core.domain.changes import Change, ChangeStep, Row, TargetView
from core.domain.messages import Card

MAX_CHANGE_ROWS_SHOWN = 10
"""Rows on the card of a decided change; an open proposal shows all of them."""
MAX_CARD_FIELDS = 12
MAX_CHANGE_CELL_CHARACTERS = 200
MIN_TABLE_ROWS = 3
"""From this number of rows on, a card shows a table; deleted rows from two on."""
MAX_CARD_TABLE_COLUMNS = 6
"""Wider rows are shown one by one."""
MAX_ROW_NAME_CHARACTERS = 80
NO_VALUE = "–"
INDENT = "\n\u2003"
"""A line break in a value of a new row. After the space no platform reads markup at the beginning
of a line."""
_NAMES = ("title", "Title", "Name", "name", "display_name", "email")
_ENTRY_KEYS = {*_NAMES, "id", "Id", "url", "path", "mimetype", "size", "icon", "width", "height",
               "file", "sha256"}  # fmt: skip
"""Only such an object is shown as its name."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})")

Cells = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a row on a card, with its values before and after the change in words. `before`
    is None for a new row, `after` for a deleted one."""

    field: str
    before: str | None
    after: str | None

    @property
    def value(self) -> str:
        return " → ".join(side for side in (self.before, self.after) if side is not None)

    def list_lines(self, characters: int | None = None) -> list[str]:
        lines = truncate(self.value, characters or len(self.value)).split("\n")
        return [line for line in lines if line.strip()]


@dataclass(frozen=True, slots=True)
class CardRow:
    """`name` is its display value ("" if it has none), `name_field` the title of the field that
    holds it. `details` are further fields that identify it, as they are."""

    name: str
    name_field: str
    changes: tuple[FieldChange, ...]
    details: tuple[FieldChange, ...] = ()

    @property
    def is_new(self) -> bool:
        """A platform then draws each of its fields on a line of its own."""
        return all(change.before is None for change in self.changes)

    @property
    def text(self) -> str:
        return _join_fields(self.changes)

    @property
    def details_text(self) -> str:
        return _join_fields(self.details)

    @property
    def heading(self) -> str:
        """The name, with the details in brackets."""
        details = f"({self.details_text})" if self.details else ""
        return " ".join(filter(None, [self.name, details]))


@dataclass(frozen=True, slots=True)
class CardTable:
    """The first column has the names; None is an empty cell."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[FieldChange | None, ...]], ...]


def _join_fields(fields: Sequence[FieldChange]) -> str:
    return " · ".join(f"{field.field}: {field.value}" for field in fields)


def build_rows(change: Change, card_fields: Collection[str] = ()) -> tuple[dict[str, Any], ...]:
    """Nothing of an open proposal is cut, because people confirm all of it. `card_fields` are those
    fields that may identify its rows for the readers (`TargetView.card_fields`)."""
    is_whole = change.state == "open"
    visible_groups = change.rows if is_whole else change.rows[:MAX_CHANGE_ROWS_SHOWN]
    return tuple(_build_named_rows(visible_groups, change.draft.view, is_whole, card_fields))


def read_rows(rows: Sequence[Mapping[str, Any]]) -> list[CardRow]:
    """A stored card of version 0.3 or earlier has no details."""
    return [
        CardRow(
            row["name"],
            row["name_field"],
            tuple(FieldChange(**c) for c in row["changes"]),
            tuple(FieldChange(**c) for c in row.get("details", ())),
        )
        for row in rows
    ]


def without_details(card: Card) -> Card:
    """Return the card without the fields that only identify its rows: they never make a card too
    long to be approved."""
    return replace(card, rows=tuple({**row, "details": ()} for row in card.rows))


def tabulate(rows: Sequence[CardRow]) -> CardTable | None:
    """Return None if the rows are few, or if the table would be too wide for a chat: then each row
    is drawn by itself. Deleted rows need no columns before and after, so that a table pays from two
    rows on."""
    is_deletion = all(change.after is None for row in rows for change in row.changes)
    if len(rows) < (2 if is_deletion else MIN_TABLE_ROWS):
        return None
    cells_by_row = [(*row.details, *row.changes) for row in rows]
    fields = list(dict.fromkeys(row_cell.field for row in rows for row_cell in row.details))
    fields += list(dict.fromkeys(change.field for row in rows for change in row.changes))
    if len(fields) >= MAX_CARD_TABLE_COLUMNS:
        return None
    changes_by_field = [{cell.field: cell for cell in cells} for cells in cells_by_row]
    # The first column has each row's name, or its number in the card.
    return CardTable(
        (rows[0].name_field or say("Row"), *fields),
        tuple(
            (row.name or str(number), tuple(by_field.get(field) for field in fields))
            for number, (row, by_field) in enumerate(zip(rows, changes_by_field, strict=True), 1)
        ),
    )


def name_rows(change: Change, steps: Sequence[ChangeStep]) -> list[str]:
    """All rows of the change are named, because two with the same name get their ids added."""
    groups = change.rows
    rows = zip(groups, _build_named_rows(groups, change.draft.view), strict=True)
    names = [row["name"] for group, row in rows if any(step in steps for step in group)]
    return list(dict.fromkeys(name for name in names if name))


def _build_named_rows(
    groups: Sequence[Sequence[ChangeStep]],
    view: TargetView,
    is_whole: bool = False,
    card_fields: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return the rows of a card. Each group has all writes to one row. Long values are cut unless
    `is_whole`. If several rows have the same name, their ids are added to tell them apart."""
    rows = [
        _build_row(steps, view, is_whole) | {"details": _build_details(steps, view, card_fields)}
        for steps in groups
    ]
    count = Counter(row["name"] for row in rows)
    for row in rows:
        if count[row["name"]] > 1 and row["id"]:
            row["name"] = f"{row['name']} ({row['id']})"
    return rows


def _build_details(
    steps: Sequence[ChangeStep], view: TargetView, card_fields: Collection[str]
) -> list[dict[str, Any]]:
    """Return the fields that identify a row beside its name, except empty and secret ones."""
    before, details = steps[0].write.before or {}, list[dict[str, Any]]()
    for title in view.card_fields:
        value = before.get(title)
        if title not in card_fields or value in (None, "", []) or is_secret_name(title):
            continue
        text = _format(_cell(value, MAX_CHANGE_CELL_CHARACTERS), view.formats.get(title))
        field = to_one_line(title, MAX_ROW_NAME_CHARACTERS)
        details.append(asdict(FieldChange(field, None, to_one_line(text))))
    return details


def _build_row(
    steps: Sequence[ChangeStep], view: TargetView, is_whole: bool = False
) -> dict[str, Any]:
    """Return one row of the card. `steps` are all writes to this row, `view` what is known of its
    table. Long values are cut unless `is_whole`.

    An update of links or files shows which ones it adds (`+`) and removes (`-`). `listed` are the
    fields with such lists. A secret is never shown, only that it changes.
    """
    id, listed = steps[0].write.id, view.link_fields
    longest = None if is_whole else MAX_CHANGE_CELL_CHARACTERS
    # What only identifies the row is in its details.
    concealed = view.hidden_fields | view.card_fields.keys()
    before, after = (_merge_side(steps, side, concealed) for side in ("before", "after"))
    written = (after or {}).keys()
    if before is not None and after is not None:  # an update
        changed = {}
        listed |= {name for name in before.keys() & after if _hold_files(before[name], after[name])}
        for name in listed & (before.keys() | after):
            # Links and files can be many, so only the added and the removed ones are shown.
            # Linked rows are compared by id, because their names may change meanwhile.
            key = _id if name in view.link_fields else repr
            old = {key(element): element for element in before.get(name) or ()}
            new = {
                key(element): element for element in after.get(name) or ()
            }  # None: an empty cell
            added = [new[linked] for linked in new if linked not in old]
            removed = [old[linked] for linked in old if linked not in new]
            signs = ["+"] * len(added) + ["-"] * len(removed)
            pairs = zip(signs, _name_entries([*added, *removed]), strict=True)
            changed[name] = _cell(", ".join(map(" ".join, pairs)), longest)
        before = {name: value for name, value in before.items() if name not in listed}
        after = {**before, **after, **changed}
    # From here on, `before` and `after` have the values as the card shows them.
    raw = before, after
    before, after = (None if side is None else _cells(side, longest) for side in raw)
    if raw[0] and raw[1] and before and after:
        new_names = {name for name, value in raw[1].items() if value != raw[0].get(name)}
        # A secret that is written counts as changed, even if it is the same: whether it is must not
        # be revealed.
        secrets = {n for n in written if raw[1][n] not in NO_SECRET and is_secret_name(n)}
        for name in map(to_one_line, new_names | secrets):
            # The card shows no difference, because the value is withheld as a secret, or was cut.
            if name in after and before.get(name) == after[name]:
                after[name] = f"{after[name]} {say('(changed)')}"
    # The row is named by the table's display field, else by a field with a usual name, else by
    # the first field that stays as it is.
    row, field = before or after or {}, view.display_field
    if field not in row:
        same = [name for name in row if before and after and before.get(name) == after.get(name)]
        field = next((name for name in (*_NAMES, *same) if row.get(name) not in (None, "")), "")
    name = _format(row.get(field), view.formats.get(field)) if field else ""
    if not name or name == NO_VALUE:
        # The id of a quick command's run is no row's id.
        field, name = (view.key, id) if id and not view.slug else ("", "")
    return {
        "id": to_one_line(id, MAX_ROW_NAME_CHARACTERS),
        "name": to_one_line(name, None if is_whole else MAX_ROW_NAME_CHARACTERS),
        "name_field": field,
        "before": before,
        "after": after,
        "changes": [asdict(change) for change in _compare(before, after, field, view, listed)],
    }


def _compare(
    before: Cells | None,
    after: Cells | None,
    name_field: str,
    view: TargetView,
    listed: frozenset[str],
) -> list[FieldChange]:
    """`before` is None for a new row and `after` for a deleted one: then return all fields with a
    value, except `name_field`, which names the row. For a field in `listed` (links or files),
    `after` already says what is added and removed, so that there is no value before."""
    formats = view.formats
    if before is None or after is None:
        row, is_new = (after, True) if before is None else (before, False)
        changes = []
        for field, value in (row or {}).items():
            if field == name_field or value in (None, "", []):
                continue
            value_text = _format(value, formats.get(field))
            changes.append(
                FieldChange(field, None if is_new else value_text, value_text if is_new else None)
            )
        return changes
    changes = []
    for field in dict.fromkeys([*before, *after]):
        old, new = before.get(field), after.get(field)
        if old == new:
            continue
        old_text, new_text = _format(old, formats.get(field)), _format(new, formats.get(field))
        if old_text == new_text:
            # Two values can look alike, such as a date and the text "Nov 18, 2026". The raw values
            # show the person that something changes.
            old_text, new_text = repr(old), repr(new)
        changes.append(FieldChange(field, None if field in listed else old_text, new_text))
    return changes


def _format(value: Any, format: str | None) -> str:
    """`format` is the kind of the column and its settings, such as `currency BRL 2`, "" for values
    as they are. None means that the table's fields are not known: dates are then recognised by
    their form, and numbers stay as they are."""
    if value is None or value in ("", []):
        return NO_VALUE
    if isinstance(value, bool):
        return say("Yes") if value else say("No")
    if isinstance(value, int | float):
        return format_value(value, format or "")
    text = str(value)
    if format in (None, "date", "moment"):
        try:
            if _DATE.fullmatch(text):
                return format_date(date.fromisoformat(text))
            if _MOMENT.fullmatch(text):
                moment = datetime.fromisoformat(text)
                # Without seconds, the time is shown without them. `_MOMENT` requires a time zone.
                length: Literal["short", "medium"] = "medium" if moment.second else "short"
                date_and_time = f"{format_moment(moment, length=length)} {moment.tzname()}"
                # The formatted time has no fractions of a second, so it could hide a difference.
                return text if moment.microsecond else date_and_time
        except ValueError:  # it looks like a date and is none, as "2026-02-31"
            return text
    return text


def _hold_files(*cells: Any) -> bool:
    # Files that are stored or new. One of the cells may be empty (None).
    files = [file for cell in cells for file in (cell if isinstance(cell, list) else ())]
    is_list = all(cell is None or isinstance(cell, list) for cell in cells)
    return is_list and any(
        isinstance(file, dict) and {"path", "url", "sha256"} & file.keys() for file in files
    )


def guess_input_type(value: Any) -> str:
    """The type is guessed from the value, for a field whose type is not known."""
    if isinstance(value, str):
        return (
            "date" if _DATE.fullmatch(value) else "moment" if _MOMENT.fullmatch(value) else "text"
        )
    return {bool: "checkbox", int: "number", float: "number"}.get(type(value), "text")


def _merge_side(steps: Sequence[ChangeStep], side: str, concealed: frozenset[str]) -> Cells | None:
    """Return the values of a row before or after all its steps (`side` is "before" or "after");
    None if the row does not exist then. Fields in `concealed` are left out, because the readers may
    not know of them. If several steps write links of one field, their lists are concatenated."""
    joined: Cells = {}
    sides: list[Row | None] = [getattr(step.write, side) for step in steps]
    for values in sides:
        for name, value in (values or {}).items():
            if name in concealed:
                continue
            # Only lists are joined. The row's name is the only other field that several steps of
            # a row have, and it is the same in each.
            lists = isinstance(value, list) and isinstance(joined.get(name), list)
            joined[name] = [*joined[name], *value] if lists else value
    return None if all(values is None for values in sides) else joined


def _name_entries(entries: Sequence[Any]) -> list[str]:
    """Return each entry of a cell with a list (linked rows, files, people) as text. If several
    linked rows have the same name, their ids are added to tell them apart."""
    labels = [str(_cell(element)) for element in entries]
    is_row = [
        isinstance(element, dict) and element.keys() == {"id", "title"} for element in entries
    ]
    counts = Counter(labels)
    return [
        f"{label} ({_id(element)})" if is_linked and counts[label] > 1 else label
        for label, element, is_linked in zip(labels, entries, is_row, strict=True)
    ]


def _id(linked: Any) -> str:
    return str(linked.get("id") if isinstance(linked, dict) else linked)


def _cells(row: Mapping[str, Any], longest: int | None) -> Cells:
    """Return a row's values as a card shows them: without secrets, empty fields last. With
    `longest`, long texts and many fields are cut."""
    # `redact` masks secrets, and leaves out fields with names such as `signedUrl`. The latter keep
    # their value here, because a card must not hide a field.
    values = {**row, **redact(dict(row))}
    filled = sorted(values.items(), key=lambda item: item[1] in (None, "", []))
    cells: Cells = {}
    for name, value in filled[: MAX_CARD_FIELDS if longest else None]:
        label = to_one_line(name, MAX_ROW_NAME_CHARACTERS if longest else None)
        while label in cells:  # two names that look alike
            label += "′"
        cells[label] = _cell(value, longest)
    return cells


def hides_address(value: Any) -> bool:
    """True if the value has a file of which a card shows the name, but not the address: people who
    approve cannot see where the file comes from."""
    if isinstance(value, list):
        return any(map(hides_address, value))
    is_address = isinstance(value, dict) and bool({"path", "url"} & value.keys())
    return is_address and value.keys() <= _ENTRY_KEYS and any(map(value.get, _NAMES))


def _cell(value: Any, longest: int | None = None) -> Any:
    """Return a value of a table as a card shows it: numbers and truth values as they are, all else
    as plain text, cut to `longest` characters (None: not cut). A file or a linked row is shown by
    its name."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        text = ", ".join(_name_entries(value))
    elif isinstance(value, dict):
        # Only an object with no other fields than those of files, linked rows and users
        # (`_ENTRY_KEYS`) is shown by its name: the name would hide any other field.
        names = [value[key] for key in _NAMES if value.get(key) is not None]
        if names and isinstance(value.get("size"), int) and value.keys() <= _ENTRY_KEYS:
            facts = [format_size(value["size"])]
            if digest := value.get("sha256"):  # a new file: these bytes are uploaded
                facts += [to_one_line(str(value.get("mimetype"))), f"SHA-256 {str(digest)[:16]}"]
            text = f"{_cell(names[0])} ({', '.join(facts)})"
        elif names and value.keys() <= _ENTRY_KEYS:
            return _cell(names[0], longest)
        else:
            text = clean_text(", ".join(f"{k}: {v}" for k, v in value.items()))
    else:
        text = clean_text(str(value))
        # `clean_text` removed characters that no screen shows. Whoever approves should know that
        # the value has them. Values are uncut while the proposal is open. A "\r\n" became "\n",
        # which hides nothing.
        hidden = len(str(value).replace("\r\n", "\n")) - len(text)
        if hidden > 0 and longest is None:
            text += " " + plural(
                "({count} invisible character)", "({count} invisible characters)", hidden
            )
    return text if longest is None else truncate(text, longest)
