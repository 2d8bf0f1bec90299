"""The texts of results of operations: lines for people, and what `--json` prints. An operation
without an entry in `TEXTS` gets a plain table, or a line for each value.
"""

from __future__ import annotations

import datetime
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bot.features import load_modules
from bot.features.base import find_features
from bot.integrations import CARDS
from bot.operations import Operation
from core.base import i18n
from core.base.errors import OverBudget
from core.base.i18n import say, translate_word
from core.base.markdown import to_plain_text
from core.base.text import clean_text, to_one_line
from core.domain.records import TURN_WORDS, ListTable
from core.money.allowances import describe_usage_notes
from core.people.audit import PERSON_FACTS

Row = Mapping[str, Any]
RULE_WORDS = ("default", "none")
"""Rules of `policy check` that have no name in a file."""
COLUMN_GAP = "  "
_FACT = re.compile(r"{(\w+)}")


@dataclass(frozen=True, slots=True)
class View:
    """The circumstances in which a result is shown as text: the reader's time zone, names of people
    by key, the arguments of the operation.

    `is_running` is False if no Ponte runs and the settings alone gave the result. `is_page`: the
    text is for the page /admin, which has room for `wide` columns.
    """

    zone: datetime.tzinfo
    names: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    is_running: bool = True
    is_page: bool = False
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Title and rows by the change's ID."""


@dataclass(frozen=True, slots=True)
class ResultText:
    """The text of an operation's result.

    `lines` go to standard output and `notes` to standard error, for `--json` too. `people` are
    fields that hold keys of people, whose names `View.names` then has. `json_values` returns what
    `--json` prints, one value a line. `has_failed`: the exit code is 1.
    """

    lines: Callable[[Any, View], Iterable[str]]
    people: Collection[str] = ()
    notes: Callable[[Any, View], Iterable[str]] = lambda result, view: ()
    json_values: Callable[[Any], Iterable[Any]] = lambda result: [result]
    has_failed: Callable[[Any], bool] = lambda result: False


def format_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()
) -> Iterator[str]:
    """Yield the headings and a line for each row. Columns whose numbers are in `right` are aligned
    to the right."""
    lines = [list(headings), *(list(row) for row in rows)]
    # `len` would be wrong: East Asian characters take two columns of a terminal, accents none.
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            " " * (width - _width(cell)) + cell
            if n in right
            else cell + " " * (width - _width(cell))
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield COLUMN_GAP.join(cells).rstrip()


def _width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


Cell = Callable[[Any, View], str]


def _text(value: Any, view: View) -> str:
    return to_one_line(str(value))


def _word(value: Any, view: View) -> str:
    return translate_word(str(value))


def format_text_or_dash(value: Any, view: View) -> str:
    return to_one_line(str(value)) or "–"


def format_name(key: Any, view: View) -> str:
    return to_one_line(view.names.get(str(key)) or str(key))


def format_place(key: Any, view: View) -> str:
    """The owner's conversations on the page and in the terminal have keys like those of people."""
    platform = str(key).partition(":")[0]
    if view.is_page and platform in ("web", "terminal"):
        return translate_word("page" if platform == "web" else platform)
    return format_name(key, view)


def _number(count: Any, view: View) -> str:
    return i18n.format_number(count or 0)


def format_time(at: Any, view: View) -> str:
    return i18n.format_moment(datetime.datetime.fromtimestamp(at, view.zone)) if at else "–"


def _day(at: Any, view: View) -> str:
    return i18n.format_date(datetime.datetime.fromtimestamp(at, datetime.UTC).date()) if at else "–"


def format_day_or_never(day: Any, view: View) -> str:
    return i18n.format_date(datetime.date.fromisoformat(day)) if day else say("never")


@dataclass(frozen=True, slots=True)
class ListColumn:
    """A column of a list: its heading, the field of a row that it shows ("" is the whole row), and
    the function that makes a cell of the value. Only the page /admin has room for `wide` ones."""

    heading: str
    field: str
    cell: Cell = _text
    wide: bool = False


class TextList:
    """Turns rows into lines for the shell, or cells for the page /admin. The sentence `empty`
    stands for no rows. `names` are the fields whose keys of people the reader gets as names: those
    of columns of names, and `more_names`."""

    def __init__(self, empty: str, *columns: ListColumn, more_names: Iterable[str] = ()) -> None:
        self._empty = empty
        self._columns = columns
        self.names = {
            column.field for column in columns if column.cell in (format_name, format_place)
        } | {*more_names}

    def __call__(self, rows: Sequence[Row], view: View) -> Iterable[str]:
        table = self.table(rows, view)
        if not rows:
            return [table.empty] if table.empty else ()
        return format_table(table.headings, table.rows, table.numbers)

    def table(self, rows: Sequence[Row], view: View) -> ListTable:
        """`numbers` of the result are the columns to align to the right."""
        columns = [column for column in self._columns if view.is_page or not column.wide]
        return ListTable(
            [say(column.heading) for column in columns],
            [column.field for column in columns],
            # A column without a field shows the whole row.
            [
                [
                    column.cell(row.get(column.field, "") if column.field else row, view)
                    for column in columns
                ]
                for row in rows
            ],
            {n for n, column in enumerate(columns) if column.cell in (_number, _tokens, _dollars)},
            say(self._empty) if self._empty else "",
        )


def format_thread(thread: Row, view: View) -> Iterator[str]:
    """Yield each message: time and author in one line, then its text, indented."""
    for message in thread.get("messages", ()):
        who = message.get("name") or message.get("role", "")
        yield f"{format_time(message['at'], view)}  {to_one_line(str(who))}"
        text = clean_text(str(message.get("text", "")))
        is_answer = message.get("role") == "assistant"
        for line in (to_plain_text(text) if is_answer else text).splitlines():
            yield f"    {line}"


def _audit_time(at: Any, view: View) -> str:
    moment = datetime.datetime.fromisoformat(at).astimezone(view.zone)
    return i18n.format_moment(moment, None, "medium")


def _audit_details(line: Any, view: View) -> str:
    """Return the facts as `name=value`, with names in place of keys of people."""
    facts = []
    for name, value in line.items():
        if name not in ("at", "event"):
            label = view.names.get(str(value), value) if name in PERSON_FACTS else value
            words = label if isinstance(label, str) else json.dumps(label, ensure_ascii=False)
            facts.append(f"{name}={to_one_line(words)}")
    return COLUMN_GAP.join(facts)


_AUDIT = TextList(
    "",
    ListColumn("time", "at", _audit_time),
    ListColumn("event", "event"),
    ListColumn("details", "", _audit_details),
    more_names=PERSON_FACTS,
)
AUDIT_SENTENCES: dict[str, str] = {
    "change-proposed": "{asker} requested: {what}",
    "change-revised": "{asker} changed a request: {what}",
    "change-consent-added": "{decider} gave one of several approvals: {what}",
    "change-approved": "{decider} approved: {what}{rows}",
    "change-denied": "{decider} denied: {what}",
    "change-expired": "Expired: {what}",
    "change-withdrawn": "Withdrawn: {what}",
    "change-done": "Done: {what}",
    "change-partial": "Partly done: {what}",
    "change-failed": "Failed: {what}",
    "change-undo-started": "{undo_asker} undid: {what}{rows}",
    "tool-run": "{asker} used {tool}: {outcome}",
    "action-refused": "Permission denied to {asker}: {right}{reason} {tool}",
    "conversation-forgotten": "{asker} deleted a conversation",
    "person-forgotten": "{asker} deleted all data about {person}",
    "config-reloaded": "{asker} reloaded {file}",
    "setup-saved": "{asker} changed {settings} on the setup page",
    "setup-undone": "{asker} undid the last change to {settings}",
    "setup-app-updated": "{asker} updated the app at {service}",
    "setup-applied": "{asker} restarted Ponte with the new settings",
    "data-migrated": "{asker} moved the data to another database",
}
"""Sentences by event. `{what}` is the title of a change, `{rows}` its rows."""


def _describe_audit_line(line: Any, view: View) -> str:
    """Return a sentence with names of people and the title of the change. An event without one, for
    example of another version of Ponte, is returned as its facts. Facts that a line lacks are empty
    in the sentence."""
    sentence = AUDIT_SENTENCES.get(line["event"])
    if sentence is None:
        return _audit_details(line, view)
    facts = dict.fromkeys(_FACT.findall(sentence), "")
    for name, value in line.items():
        facts[name] = format_name(value, view) if name in PERSON_FACTS else to_one_line(str(value))
    facts["reason"] = format_reason(facts.get("reason", ""), view)
    id = facts.get("change", "")
    title, rows = view.changes.get(id, ("", ""))
    facts |= {"what": f"{title} `{id}`".strip(), "rows": f" ({rows})" if rows else ""}
    return say(sentence, **facts).strip()


_AUDIT_PAGE = TextList(
    "",
    ListColumn("time", "at", _audit_time),
    ListColumn("details", "", _describe_audit_line),
    ListColumn("channel", "place", format_place),
    ListColumn("rule", "rule", _word),
    ListColumn("event", "event"),
    more_names=PERSON_FACTS,
)
_LIMITS = TextList(
    "No limits are set.",
    ListColumn("limit for", "name", format_name),
    ListColumn("limit", "limit"),
    ListColumn("used", "used"),
    ListColumn("used (%)", "share", lambda share, view: f"{min(share, 9.99):.0%}", wide=True),
    ListColumn("until", "until"),
    ListColumn("set in", "source", wide=True),
)


def _tokens(row: Any, view: View) -> str:
    return i18n.format_number(int(row.get("input") or 0) + int(row.get("output") or 0))


def _dollars(cost: Any, view: View) -> str:
    return "–" if cost is None else i18n.format_money(float(cost))


def _usage_rows(name: ListColumn, times: ListColumn) -> TextList:
    return TextList(
        "Nothing has been used yet.",
        name,
        times,
        ListColumn("tokens", "", _tokens),
        ListColumn("US dollars", "cost", _dollars),
    )


_MESSAGES, _CALLS = ListColumn("messages", "turns", _number), ListColumn("calls", "calls", _number)
_USAGE_ROWS = {
    "person": _usage_rows(ListColumn("person", "name", format_name), _MESSAGES),
    "channel": _usage_rows(ListColumn("channel", "name", format_place), _MESSAGES),
    "model": _usage_rows(ListColumn("model", "name"), _CALLS),
    "tool": _usage_rows(ListColumn("tool", "name"), _CALLS),
    "day": _usage_rows(ListColumn("day", "name", format_day_or_never), _MESSAGES),
}


def format_usage(report: Row, view: View) -> Iterator[str]:
    """Yield the report's first day, headings, and a line for each row: its name, messages or calls,
    tokens, US dollars; then the limits if there are any. People with the same name are shown with
    their keys."""
    yield say("Usage since {day}:", day=format_day_or_never(report["since"], view))
    # The column `name` holds keys of people.
    names = {key: name for row in report["rows"] if (name := view.names.get(key := row["name"]))}
    counts = Counter(names.values())
    names = {key: f"{name} ({key})" if counts[name] > 1 else name for key, name in names.items()}
    # What each row counts, such as a person or a model, decides on the columns.
    yield from _USAGE_ROWS[report["by"]](report["rows"], replace(view, names=names))
    yield from describe_usage_notes(
        report["rows"], report.get("server_costs", ()), report.get("unpriced", ())
    )
    if limits := report.get("limits"):
        yield ""
        yield from _LIMITS(limits, view)


def format_parts(parts: Sequence[Row], view: View) -> Iterator[str]:
    rows = [(translate_word(part["state"]), translate_word(part["name"])) for part in parts]
    width = max([7, *(len(state) for state, _ in rows)])
    for (state, name), part in zip(rows, parts, strict=True):
        yield f"{state:<{width}}  {name:<10} {part['words']}".rstrip()


def describe_reload(result: Row, view: View) -> Iterator[str]:
    """Yield which file was read, what needs a restart, and misspelt names."""
    yield say("Reloaded {file}.", file=result["file"])
    if later := result["later"]:
        names = ", ".join(f"[{name}]" for name in later)
        yield say("Restart Ponte to apply: {names}.", names=names)
    yield from map(str, (*result["misspelt"], *result["unchecked"]))


def format_policy(result: Row, view: View) -> Iterator[str]:
    """Yield whose rules were used, and whether the person has each right and why."""
    channel = result["channel"]
    place = say("in {channel}", channel=channel) if channel else say("in a direct message")
    running, alone = say("the running Ponte"), say("this folder (Ponte isn't running)")
    yield say(
        "{person}, {place}. Rules: {file}. Settings of {whose}:",
        person=view.arguments["person"],
        place=place,
        file=result["file"] or say("no ponte.toml"),
        whose=running if view.is_running else alone,
    )
    width = max(len(line["right"]) for line in result["lines"])
    for line in result["lines"]:
        answer = say("yes") if line["allowed"] else say("no")
        row = f"{line['right']:<{width}}  {answer:<3}  {translate_word(line['rule'])}"
        # A longer reason is cut after 400 characters.
        yield f"{row}  {to_one_line(line['why'], 400)}".rstrip()


def describe_deleted_thread(result: Row, view: View) -> Iterator[str]:
    count, remains = int(result["messages"]), str(result["remains"])
    deleted = i18n.plural("Deleted {count} message.", "Deleted {count} messages.", count)
    yield f"{deleted} {say(remains) if remains else ''}".strip()


def format_person_counts(result: Row, view: View) -> Iterator[str]:
    names = ", ".join(map(str, result["names"]))
    yield to_one_line(f"{result['person']} {names}".strip())
    yield from _format_counts(result["counts"])


def _format_counts(counts: Mapping[str, int]) -> Iterator[str]:
    for section, count in counts.items():
        yield f"{count:>8}  {section}"


def describe_forgotten_person(result: Row, view: View) -> Iterator[str]:
    """Yield what was deleted, what is not erased yet, and what Ponte does not control, such as
    posts on the platforms."""
    yield say("Deleted: {person}.", person=result["person"])
    yield from _format_counts(result["counts"])
    if waiting := int(result["waiting"]):
        yield i18n.plural(
            "{count} deleted item is still on the model's server. Ponte tries to delete it "
            "every hour.",
            "{count} deleted items are still on the model's server. Ponte tries to delete "
            "them every hour.",
            waiting,
        )
    if shared := result["shared"]:
        yield say(
            "Other people also took part in the conversations below. Their messages and the "
            "answers to them are kept and may mention this person. To delete a whole "
            "conversation, run `ponte threads forget`:"
        )
        yield from (f"    {to_one_line(str(conversation))}" for conversation in shared)
    yield say(
        "Not deleted: posts on the platforms, rows in your tables, runs at StackSpot, earlier "
        "backups, logs, and IDs that you wrote in ponte.toml or .env. Audit log entries and "
        "usage totals are kept but no longer identify the person."
    )
    # Where deleted data may remain, such as in backups; "" for nowhere.
    if result["remains"]:
        yield str(result["remains"])


def format_plainly(result: Any, view: View) -> Iterator[str]:
    """Yield the text of a result that has none of its own: rows as a table, the fields of a mapping
    as `name: value`, other values as they are, None as nothing. All functions of a ResultText get a
    `view`."""
    if isinstance(result, Mapping):
        for name, value in result.items():
            yield f"{name}: {_plain(value)}"
    elif isinstance(result, Sequence) and result and isinstance(result[0], Mapping):
        heads = tuple(result[0])
        rows = [tuple(_plain(row.get(head, "")) for head in heads) for row in result]
        yield from format_table(heads, rows)
    elif isinstance(result, Sequence) and not isinstance(result, str):
        yield from map(_plain, result)
    elif result is not None:
        yield _plain(result)


def _plain(value: Any) -> str:
    return to_one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


TURN_REASONS = {
    "forbidden": "The person doesn't have permission.",
    "internal": "Something went wrong in Ponte. The details are in its log.",
    "interrupted": "Ponte was interrupted several times.",
    "model": "The model's server rejected the request.",
    "model_down": "The model's server didn't respond.",
    "model_silent": "The model didn't respond in time.",
    "no_key": "No model is set up. [Setup](/admin/setup?card=model)",
    "no_quota": "The account at the model's provider has no credit left.",
    "person_refused": "The model's server refused this person.",
    "rate_limited": "The model's server was busy.",
    "refused": "The model declined to answer.",
    "restored": "The answer may have been posted before the restore.",
    "skipped:no_fields": "The request had none of the fields in the webhook's template.",
    "too_long": "The conversation is too long for the model.",
    "too_many": "A limit was reached.",
    "too_many_rounds": "The model used tools many times without finishing.",
    "unknown_model": "The server doesn't have this model. [Setup](/admin/setup?card=model)",
    "unstorable": "The database rejected the values.",
    "wrong_key": "The model's server rejected the API key. [Setup](/admin/setup?card=model)",
    "bad_request": "Ponte told the person what was wrong with the request.",
}
TURN_REASONS |= dict.fromkeys(
    ("bad_value", "expired", "no_change", "not_found", "unknown_field", "unknown_option"),
    TURN_REASONS["bad_request"],
)
"""By the code of the error. Other codes are a platform's own."""


def format_reason(code: Any, view: View) -> str:
    return translate_word(TURN_REASONS.get(code, code) if view.is_page else code)


def _part_details(row: Any, view: View) -> str:
    """On /admin, a link to the setup page stands for the settings that one would have to set."""
    words = translate_word(row["words"])
    for name, card in CARDS.items() if view.is_page else ():
        if any(setting in words for setting in card.names):
            if row["state"] == "off" and not row["words"].endswith(" is off"):
                words = say("Not connected.")
            elif row["state"] == "on":  # "the demo model (to use a real one, set …)", "…; set …"
                words = re.split(r"\s*[;(]", words)[0]
            return f"{words} [{say('Setup')}](/admin/setup?card={name}#{name})"
    return words


def _turn_state(row: Any, view: View) -> str:
    state = "refused" if row["reason"] == OverBudget.code else row["state"]
    return say(TURN_WORDS.get(state) or state)


_TURNS = TextList(
    "No messages are in progress, and none have failed.",
    ListColumn("time", "created_at", format_time),
    ListColumn("state", "", _turn_state),
    ListColumn("reason", "reason", format_reason),
    ListColumn("person", "person", format_name),
    ListColumn("conversation", "conversation", format_place),
)
_PENDING = TextList(
    "No requests are waiting.",
    ListColumn("ID", "id"),
    ListColumn("request", "title"),
    ListColumn("requested by", "asker", format_name),
    ListColumn("channel", "place", format_place),
    ListColumn("time", "created_at", format_time),
    ListColumn("expires", "expires_at", format_time),
)
_PARTS = TextList(
    "",
    ListColumn("part", "name", _word),
    ListColumn("state", "state", _word),
    ListColumn("details", "", _part_details),
)
_CHECKS = TextList(
    "",
    ListColumn(
        "state", "state", lambda state, view: say("ok") if state == "on" else _word(state, view)
    ),
    ListColumn("part", "part", _word),
    ListColumn("details", "", _part_details),
)
_THREADS = TextList(
    "No conversations yet.",
    ListColumn("last used", "used_at", format_time),
    ListColumn("messages", "messages", _number),
    ListColumn("conversation", "conversation"),
)


_PEOPLE = TextList(
    "No one has written to Ponte yet.",
    ListColumn("name", "name", format_text_or_dash),
    ListColumn("first seen", "first", _day),
    ListColumn("last seen", "last", _day),
    ListColumn("messages", "messages", _number),
    ListColumn("files", "files", _number),
    ListColumn("requests", "changes", _number),
    ListColumn("decisions", "decisions", _number),
    ListColumn("person", "person"),
)
_MEANINGS = TextList(
    "No table or field has a description.",
    ListColumn("table", "table"),
    ListColumn("field", "field", format_text_or_dash),
    ListColumn("description", "text"),
    ListColumn("written in", "source"),
)
TEXT_LISTS: dict[str, TextList] = {
    "audit": _AUDIT_PAGE,
    "doctor": _CHECKS,
    "limits": _LIMITS,
    "pending": _PENDING,
    "person list": _PEOPLE,
    "status": _PARTS,
    "tables": _MEANINGS,
    "threads list": _THREADS,
    "turns": _TURNS,
    **{f"usage {by}": rows for by, rows in _USAGE_ROWS.items()},
}
"""The operator's page shows these, too."""
_SETUP = TextList(
    "",
    ListColumn("card", "title", _word),
    ListColumn("state", "state", _word),
    ListColumn("setting", "name"),
    ListColumn("value", "shown", format_text_or_dash),
)


def format_setup(setup: Row, view: View) -> Iterable[str]:
    """Return a line for each setting, and a sentence on the newest ones if they are not in force:
    saved only, or failed."""
    rows = []
    # A card is a group of settings, such as Slack's.
    for card in setup["cards"]:
        for each in card["fields"]:
            # Of a secret, only the last characters (`ending`) are there. The source is "" for a
            # value from the page or the default.
            shown = each["value"] or each["ending"]
            if each["source"]:
                is_file = each["source"] == "file"
                where = say("set in .env") if is_file else say("set in the environment")
                shown = f"{shown} ({where})" if shown else where
            rows.append({**card, **each, "name": each["name"].upper(), "shown": shown})
    trial = [setup["trial"]["words"]] if setup["trial"] else []
    return [*_SETUP(rows, view), *trial]


def describe_setup_undo(result: Row, view: View) -> Iterator[str]:
    """Yield a sentence with the settings that have their earlier values again."""
    if not result["names"]:
        yield say("There is nothing to undo.")
        return
    words = (
        "Undid these changes, which belong to the same restart: {names}. The earlier values "
        "take effect when Ponte restarts."
    )
    yield say(words, names=", ".join(result["names"]))


TEXTS: dict[str, ResultText] = {
    "status": ResultText(
        format_parts, has_failed=lambda parts: any(part["state"] == "failing" for part in parts)
    ),
    "reload": ResultText(describe_reload),
    "usage": ResultText(format_usage, people=("name", "person")),
    "audit": ResultText(
        lambda page, view: _AUDIT(page["lines"], view),
        people=PERSON_FACTS,
        json_values=lambda page: page["lines"],
    ),
    "policy check": ResultText(
        format_policy,
        notes=lambda result, view: result["notes"],
        json_values=lambda result: [result["lines"]],
        has_failed=lambda result: result["has_unknown_names"],
    ),
    "setup show": ResultText(format_setup),
    "setup undo": ResultText(describe_setup_undo),
    "threads show": ResultText(format_thread),
    "threads forget": ResultText(describe_deleted_thread),
    "person counts": ResultText(format_person_counts),
    "person forget": ResultText(describe_forgotten_person),
}
for _feature in find_features():
    AUDIT_SENTENCES |= _feature.audit_sentences
# At the end, because they import this module.
load_modules("texts")


def find_text(operation: Operation) -> ResultText:
    """Return its own text, its list, its sentence, or a plain one."""
    if text := TEXTS.get(operation.name):
        return text
    if rows := TEXT_LISTS.get(operation.name):
        return ResultText(rows, people=rows.names)
    if operation.sentence:
        return ResultText(lambda result, view: [say(operation.sentence, **result)])
    return ResultText(format_plainly)
