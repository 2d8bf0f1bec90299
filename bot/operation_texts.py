"""The texts of results of operations: lines for people, and what `--json` prints.

An operation without an entry in `TEXTS` gets a plain table, or a line for each value.
"""

from __future__ import annotations

import datetime
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.base import i18n
from core.base.errors import OverBudget
from core.base.i18n import say, translate_word
from core.base.markdown import to_plain_text
from core.base.text import clean_text, to_one_line
from core.domain.records import TURN_WORDS, ListTable
from core.feedback.votes import RATE_LABELS
from core.money.allowances import describe_usage_notes
from core.people.audit import PERSON_FACTS
from core.schedules.schedule import ScheduleDraft, ScheduleRule
from core.schedules.words import REASON_SENTENCES, STATE_SENTENCES, describe_result, describe_rule

Row = Mapping[str, Any]
RULE_WORDS = ("default", "none")
"""The rules of `policy check` that have no name in a file."""
COLUMN_GAP = "  "
MAX_LISTED_TEXT_CHARACTERS = 40
"""Characters of a schedule's text in the list."""
MAX_FEEDBACK_TEXT = 400
"""Characters of a question or an answer in the page's list of votes."""


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
    """The title and the rows of changes by ID."""


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
    """Yield a line with the headings and a line for each row. The columns whose numbers are in
    `right` are aligned to the right."""
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
"""Returns a value as a cell of a table."""


def _text(value: Any, view: View) -> str:
    return to_one_line(str(value))


def _word(value: Any, view: View) -> str:
    return translate_word(str(value))


def _text_or_dash(value: Any, view: View) -> str:
    return to_one_line(str(value)) or "–"


def _name(key: Any, view: View) -> str:
    return to_one_line(view.names.get(str(key)) or str(key))


def _number(count: Any, view: View) -> str:
    return i18n.format_number(count or 0)


def _time(at: Any, view: View) -> str:
    return i18n.format_moment(datetime.datetime.fromtimestamp(at, view.zone)) if at else "–"


def _day(at: Any, view: View) -> str:
    return i18n.format_date(datetime.datetime.fromtimestamp(at, datetime.UTC).date()) if at else "–"


def _day_or_never(day: Any, view: View) -> str:
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
    """Turns the rows of a list into a table: lines for the shell, or cells for the page /admin. If
    there are no rows, the sentence `empty` stands in its place. `names` are the fields of rows
    whose keys of people the reader gets as names: those of columns of names, and `more_names`."""

    def __init__(self, empty: str, *columns: ListColumn, more_names: Iterable[str] = ()) -> None:
        self._empty = empty
        self._columns = columns
        self.names = {column.field for column in columns if column.cell is _name} | {*more_names}

    def __call__(self, rows: Sequence[Row], view: View) -> Iterable[str]:
        """Return the list as lines for the shell."""
        table = self.table(rows, view)
        if not rows:
            return [table.empty] if table.empty else ()
        return format_table(table.headings, table.rows, table.numbers)

    def table(self, rows: Sequence[Row], view: View) -> ListTable:
        """Return the headings and the cells of each row; `numbers` are the columns to align to the
        right."""
        # A terminal has no room for the wide columns.
        columns = [column for column in self._columns if view.is_page or not column.wide]
        return ListTable(
            [say(column.heading) for column in columns],
            [column.field for column in columns],
            # A column without a field makes its cell from the whole row.
            [
                [
                    each.cell(row.get(each.field, "") if each.field else row, view)
                    for each in columns
                ]
                for row in rows
            ],
            {n for n, one in enumerate(columns) if one.cell in (_number, _tokens, _dollars)},
            say(self._empty) if self._empty else "",
        )


def format_thread(thread: Row, view: View) -> Iterator[str]:
    """Yield each message: time and author in one line, then its text, indented."""
    for message in thread.get("messages", ()):
        who = message.get("name") or message.get("role", "")
        yield f"{_time(message['at'], view)}  {to_one_line(str(who))}"
        text = clean_text(str(message.get("text", "")))
        is_answer = message.get("role") == "assistant"
        for line in (to_plain_text(text) if is_answer else text).splitlines():
            yield f"    {line}"


def _audit_time(at: Any, view: View) -> str:
    moment = datetime.datetime.fromisoformat(at).astimezone(view.zone)
    return i18n.format_moment(moment, None, "medium")


def _audit_details(line: Any, view: View) -> str:
    """Return the facts of a line of the audit log as `name=value`, with names in place of keys of
    people."""
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
_AUDIT_SENTENCES: Mapping[str, str] = {
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
    "action-refused": "{asker} was refused: {right}{reason} {tool}",
    "webhook-received": "An event came from {asker}",
    "mcp-request": "An MCP client of {asker} sent a request",
    "person-added": "{asker} invited {person}",
    "person-link-renewed": "{asker} renewed {person}'s sign-in link",
    "person-removed": "{asker} removed {person}",
    "person-signed-in": "{person} signed in",
    "provider-moved": "{asker} moved the sign-in {provider} to {issuer}",
    "person-sessions-ended": "{person} signed out everywhere",
    "api-token-added": "{asker} created an API token for {person}",
    "api-token-revoked": "{asker} revoked one of {person}'s API tokens",
    "schedule-written": "{asker} saved the schedule {schedule}",
    "schedule-paused": "{asker} paused the schedule {schedule}",
    "schedule-resumed": "{asker} resumed the schedule {schedule}",
    "schedule-run-requested": "{asker} started a run of the schedule {schedule}",
    "schedule-deleted": "{asker} deleted the schedule {schedule}",
    "schedule-refused": "A program's request for the schedule {schedule} was refused",
    "schedule-run-skipped": "A run of the schedule {schedule} was skipped: {reason}",
    "conversation-forgotten": "{asker} deleted a conversation",
    "person-forgotten": "{asker} deleted all data about {person}",
    "config-reloaded": "{asker} reloaded {file}",
    "setup-saved": "{asker} changed {settings} on the set-up page",
    "setup-undone": "{asker} undid the last change to {settings}",
    "setup-applied": "{asker} restarted Ponte with the new settings",
    "sample-reset": "{asker} restored the sample tables",
    "mcp-tools-accepted": "{asker} accepted the tools of the MCP server {server}",
    "data-migrated": "{asker} moved the data to another database",
    "backup-restored": "{asker} restored a backup from {backup_time}",
}
"""What a line of the audit log says, by its event. `{what}` is the title of a change, `{rows}` its
rows."""


def _describe_audit_line(line: Any, view: View) -> str:
    """Return a line of the audit log as a sentence, with names of people and the title of the
    change. An event without a sentence, for example of another version of Ponte, is returned as its
    facts. Facts that a line lacks are empty in the sentence: PERSON_FACTS are those whose values
    are keys of people, _OPTIONAL_FACTS the others. `view` has the names of people by key, and the
    title and rows of changes by id."""
    event = line["event"]
    if event not in _AUDIT_SENTENCES:
        return _audit_details(line, view)
    facts: dict[str, str] = dict.fromkeys((*PERSON_FACTS, *_OPTIONAL_FACTS), "")
    for name, value in line.items():
        facts[name] = _name(value, view) if name in PERSON_FACTS else to_one_line(str(value))
    id = facts.get("change", "")
    title, rows = view.changes.get(id, ("", ""))
    facts |= {"what": f"{title} `{id}`".strip(), "rows": f" ({rows})" if rows else ""}
    return say(_AUDIT_SENTENCES[event], **facts).strip()


_OPTIONAL_FACTS = (
    "right", "reason", "tool", "outcome", "schedule", "file", "backup_time", "settings", "server",
)  # fmt: skip
_AUDIT_PAGE = TextList(
    "",
    ListColumn("time", "at", _audit_time),
    ListColumn("details", "", _describe_audit_line),
    ListColumn("channel", "place", _name),
    ListColumn("rule", "rule", _word),
    ListColumn("event", "event"),
    more_names=PERSON_FACTS,
)
_LIMITS = TextList(
    "No limits are set.",
    ListColumn("limit for", "name", _name),
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
    "person": _usage_rows(ListColumn("person", "name", _name), _MESSAGES),
    "channel": _usage_rows(ListColumn("channel", "name", _name), _MESSAGES),
    "model": _usage_rows(ListColumn("model", "name"), _CALLS),
    "tool": _usage_rows(ListColumn("tool", "name"), _CALLS),
    "day": _usage_rows(ListColumn("day", "name", _day_or_never), _MESSAGES),
}


def format_usage(report: Row, view: View) -> Iterator[str]:
    """Yield the first day of the report, headings, and a line for each row: its name, messages or
    calls, tokens, US dollars; then the limits if the report has them. People with the same name are
    shown with their keys."""
    yield say("Usage since {day}:", day=_day_or_never(report["since"], view))
    # The column `name` holds keys of people, whose names the view has.
    names = {key: name for row in report["rows"] if (name := view.names.get(key := row["name"]))}
    counts = Counter(names.values())
    names = {key: f"{name} ({key})" if counts[name] > 1 else name for key, name in names.items()}
    # `by`: what each row counts, such as a person or a model, which decides on the columns.
    yield from _USAGE_ROWS[report["by"]](report["rows"], replace(view, names=names))
    yield from describe_usage_notes(
        report["rows"], report.get("server_costs", ()), report.get("unpriced", ())
    )
    if limits := report.get("limits"):
        yield ""
        yield from _LIMITS(limits, view)


def format_schedule(result: Row, view: View) -> Iterator[str]:
    """Yield all facts of a schedule, its whole text, and a line for each of its last runs. The
    result of `schedules show` has a list of one schedule, as that of `schedules list`."""
    (one,), runs = result["schedules"], result["runs"]
    facts = (
        (say("ID"), one["id"]),
        (say("state"), _describe_schedule_state(one, view)),
        (say("rule"), _describe_schedule(one, view)),
        (say("next run"), _time(one["next_due_at"], view)),
        (say("owner"), _name(one["owner"], view)),
        (say("channel"), to_one_line(one["place"])),
    )
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        yield f"{name:<{width}}  {value}".rstrip()
    for line in clean_text(one["text"]).splitlines():
        yield f"    {line}"
    # A table of the runs, or a sentence if there was none yet.
    yield from _RUNS(runs, view)


_RUNS = TextList(
    "This schedule hasn't run yet.",
    ListColumn("due", "due_at", _time),
    ListColumn(
        "result",
        "",
        lambda run, view: describe_result(
            run["state"], run["missed_count"], is_late=run["is_late"]
        ),
    ),
    ListColumn("reason", "reason"),
)


def _describe_schedule(one: Row, view: View) -> str:
    rule = ScheduleRule(one["cron"], one["run_at"])
    zone = one["time_zone"]
    return f"{describe_rule(ScheduleDraft(one['kind'], one['text'], rule, zone))} ({zone})"


def _describe_schedule_state(one: Row, view: View) -> str:
    state, reason = say(STATE_SENTENCES[one["state"]]), REASON_SENTENCES.get(one["reason"])
    return f"{state}: {say(reason)}" if reason else state


def _describe_run(run: Row | None, view: View) -> str:
    if run is None:
        return "–"
    result = describe_result(run["state"], run["missed_count"], is_late=run["is_late"])
    code = f" ({run['reason']})" if run["reason"] else ""
    return f"{_time(run['due_at'], view)}: {result}{code}"


def _schedule_text(text: str, view: View) -> str:
    return to_one_line(text)[: None if view.is_page else MAX_LISTED_TEXT_CHARACTERS]


def _describe_facts(vote: Row, view: View) -> str:
    tokens = i18n.plural("{count} token", "{count} tokens", vote["tokens"])
    facts = (*vote["models"], *vote["tools"], f"{vote['seconds']} s", tokens, *vote["errors"])
    return " · ".join(map(to_one_line, facts))


def _vote(vote: str, view: View) -> str:
    return say(RATE_LABELS[vote])


def format_feedback(votes: Sequence[Row], view: View) -> Iterator[str]:
    """Yield each vote in one line, then the facts of its turn and the texts that may be read,
    indented."""
    if not votes:
        yield say(NO_FEEDBACK)
    for vote in votes:
        where = (_name(vote["person"], view), to_one_line(vote["place"]), vote["turn"])
        head = (_time(vote["at"], view), _vote(vote["vote"], view), *where)
        yield COLUMN_GAP.join(head)
        yield f"    {_describe_facts(vote, view)}"
        # Question and answer are None unless the person shared them or anybody can read the place.
        for label, text in (
            ("reason", vote["reason"]),
            ("question", vote["question"]),
            ("response", vote["answer"]),
        ):
            for n, line in enumerate(clean_text(text or "").splitlines()):
                yield f"    {say(label) if n == 0 else '':<10} {line}".rstrip()


def format_parts(parts: Sequence[Row], view: View) -> Iterator[str]:
    """Yield a line for each part of Ponte: its state, its name and what it says about itself."""
    rows = [(translate_word(part["state"]), translate_word(part["name"])) for part in parts]
    width = max([7, *(len(state) for state, _ in rows)])
    for (state, name), part in zip(rows, parts, strict=True):
        yield f"{state:<{width}}  {name:<10} {part['words']}".rstrip()


def describe_reload(result: Row, view: View) -> Iterator[str]:
    """Yield which file was read, what needs a restart, and misspelt names in it."""
    yield say("Reloaded {file}.", file=result["file"])
    if later := result["later"]:
        names = ", ".join(f"[{name}]" for name in later)
        yield say("Restart Ponte to apply: {names}.", names=names)
    yield from map(str, result["misspelt"])


def format_policy(result: Row, view: View) -> Iterator[str]:
    """Yield what `ponte policy check` shows: whose rules were used, and for each right whether the
    person has it and why."""
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


def format_delivery(result: Row, view: View) -> Iterator[str]:
    """Yield what `ponte hooks test` shows of a webhook's delivery: the place, the permissions with
    their rules, and the post or the request to the model, or why nothing would be posted."""
    yield say("channel: {place}", place=result["post_to"])
    rights = ", ".join(f"{right} ({rule})" for right, rule in result["rights"].items())
    yield say("permissions: {rights}", rights=rights or "–")
    if result["is_off"]:
        off = "Ponte can't post now, because {platform} isn't connected. A sender gets 503."
        yield say(off, platform=result["post_to"].partition(":")[0].title())
    if result["why"] == "ignored":
        yield say("Ponte would ignore this delivery, because of `only` in ponte.toml.")
        return
    if result["why"]:  # "no_fields"
        yield say("Ponte would post nothing: the body has none of the template's fields.")
        return
    yield say("Ponte would post:") if result["is_post"] else say("Ponte would ask the model:")
    # The post and "", or the instruction for the model and the body that it reads.
    for text in (result["text"], result["body"]):
        yield from (f"    {line}" for line in clean_text(text).splitlines())


def describe_deleted_thread(result: Row, view: View) -> Iterator[str]:
    """Yield how many messages were deleted, and what remains on the model's server."""
    count, remains = int(result["messages"]), str(result["remains"])
    deleted = i18n.plural("Deleted {count} message.", "Deleted {count} messages.", count)
    yield f"{deleted} {say(remains) if remains else ''}".strip()


def describe_sign_in_link(result: Row, view: View) -> Iterator[str]:
    """Yield what to know about a new sign-in link, which is printed above it. `conversations` is
    the number of conversations of an earlier person with the same name and so the same key."""
    name = result["name"]
    yield say(
        "Send this link to {name} privately. Anyone who has it can sign in as {name}. It "
        "won't be shown again; `ponte people renew {name}` creates a new one.",
        name=name,
    )
    if result.get("conversations"):
        yield say(
            "{name} will be able to read the messages of an earlier person with this name. "
            "To delete them first, run `ponte person forget web:{name}` and add {name} again.",
            name=name,
        )


def describe_api_token(result: Row, view: View) -> Iterator[str]:
    """Yield what to know about a new API token: what a program with it can do, by its kind, and
    that it is shown once."""
    # The kind "api", which is the default.
    words = (
        "A program with this token acts as {name} over `/v1`. It can't sign in, approve changes "
        "or use Administration. The token won't be shown again. To revoke it, run `ponte people "
        "revoke {id}`."
    )
    if result["kind"] == "metrics":
        words = (
            "A program with this token can read `/metrics` and nothing else. The token won't be "
            "shown again. To revoke it, run `ponte people revoke {id}`."
        )
    if result["kind"] == "mcp":
        words = (
            "An MCP client with this token reads tables and proposes changes as {name}. It can't "
            "approve, change or undo anything. The token won't be shown again. To revoke it, run "
            "`ponte people revoke {id}`."
        )
    yield say(words, name=result["name"], id=result["id"])
    if result["url"]:  # "" if the page has no fixed address
        yield say("The API's address is {url}.", url=result["url"])


def describe_resumed(result: Row, view: View) -> Iterator[str]:
    """Yield a sentence that says when the resumed schedule runs next."""
    when = _time(result["next_due_at"], view)
    yield say("Resumed {id}. Its next run is on {when}.", id=result["id"], when=when)


def format_person_counts(result: Row, view: View) -> Iterator[str]:
    """Yield the person with their names, and a line for each section of an export."""
    names = ", ".join(map(str, result["names"]))
    yield to_one_line(f"{result['person']} {names}".strip())
    yield from _format_counts(result["counts"])


def _format_counts(counts: Mapping[str, int]) -> Iterator[str]:
    for section, count in counts.items():
        yield f"{count:>8}  {section}"


def describe_forgotten_person(result: Row, view: View) -> Iterator[str]:
    """Yield what was deleted about a person, what is not erased yet, and what Ponte does not
    control, such as posts on the platforms."""
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
            "Other people also took part in these conversations. Their messages and answers "
            "are kept and may mention this person. To delete a whole conversation, run "
            "`ponte threads forget`:"
        )
        yield from (f"    {to_one_line(str(conversation))}" for conversation in shared)
    yield say(
        "Not deleted: posts on the platforms, rows in your tables, runs at StackSpot, earlier "
        "backups, logs, and IDs that you wrote into ponte.toml or .env. Audit log entries and "
        "usage totals are kept but no longer identify the person."
    )
    # Where the database may still have the deleted data, such as in backups; "" for nowhere.
    if result["remains"]:
        yield str(result["remains"])


def _sentence(text: str) -> ResultText:
    return ResultText(lambda result, view: [say(text, **result)])


def format_plainly(result: Any, view: View) -> Iterator[str]:
    """Yield the text of a result that has no function of its own for it (ResultText): rows as a
    table, the fields of a mapping as `name: value`, other values as they are, None as nothing.
    `view` is not used; all functions of a ResultText get it."""
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


_LINK = ResultText(
    lambda result, view: [result["link"] or result["token"]],
    notes=describe_sign_in_link,
    json_values=lambda result: [{key: result[key] for key in ("name", "token", "link")}],
)


def _turn_state(row: Any, view: View) -> str:
    """Return the state of a message. One that a limit refused is no fault of Ponte."""
    state = "refused" if row["reason"] == OverBudget.code else row["state"]
    return say(TURN_WORDS.get(state) or state)


_TURNS = TextList(
    "No messages are being processed or have failed.",
    ListColumn("time", "created_at", _time),
    ListColumn("state", "", _turn_state),
    ListColumn("code", "reason"),
    ListColumn("person", "person", _name),
    ListColumn("conversation", "conversation", _name),
)
_PENDING = TextList(
    "No requests are waiting.",
    ListColumn("ID", "id"),
    ListColumn("request", "title"),
    ListColumn("requested by", "asker", _name),
    ListColumn("channel", "place", _name),
    ListColumn("time", "created_at", _time),
    ListColumn("expires", "expires_at", _time),
)
_PARTS = TextList(
    "",
    ListColumn("part", "name", _word),
    ListColumn("state", "state", _word),
    ListColumn("details", "words", _word),
)
_CHECKS = TextList(
    "",
    ListColumn(
        "state", "state", lambda state, view: say("ok") if state == "on" else _word(state, view)
    ),
    ListColumn("part", "part", _word),
    ListColumn("details", "words"),
)
_THREADS = TextList(
    "No conversations yet.",
    ListColumn("last used", "used_at", _time),
    ListColumn("messages", "messages", _number),
    ListColumn("conversation", "conversation"),
)


def _sign_in(row: Any, view: View) -> str:
    """Return how a person signs in to the page: with a link, or a provider and the name that it
    gives the person."""
    provider = "Slack" if row["provider"] == "slack" else row["provider"]
    words = to_one_line(f"{provider}: {row['person']}") if provider else say("link")
    return f"{words} ({say('removed')})" if row["state"] == "removed" else words


_ACCOUNTS = TextList(
    "No one has a sign-in link. Run `ponte people add NAME`.",
    ListColumn("name", "name"),
    ListColumn("sign-in", "", _sign_in),
    ListColumn("added", "added", _time),
    ListColumn("last visit", "seen", _day_or_never),
)
_API_TOKENS = TextList(
    "No API tokens yet. Run `ponte people token NAME`.",
    ListColumn("ID", "id"),
    ListColumn("person", "person"),
    ListColumn("kind", "kind"),
    ListColumn("name", "name", _text_or_dash),
    ListColumn("added", "added", _time),
    ListColumn("expires", "expires", lambda at, view: _time(at, view) if at else say("never")),
    ListColumn("last use", "seen", _day_or_never),
)
_SCHEDULES = TextList(
    "No schedules yet.",
    ListColumn("ID", "id"),
    ListColumn("state", "", _describe_schedule_state),
    ListColumn("rule", "", _describe_schedule),
    ListColumn("next run", "next_due_at", _time),
    ListColumn("last run", "last_run", _describe_run, wide=True),
    ListColumn("owner", "owner", _name),
    ListColumn("channel", "place", _name),
    ListColumn("text", "text", _schedule_text),
)
NO_FEEDBACK = "No feedback yet."
_FEEDBACK = TextList(
    NO_FEEDBACK,
    ListColumn("time", "at", _time),
    ListColumn("vote", "vote", _vote),
    ListColumn("person", "person", _name),
    ListColumn("channel", "place", _name),
    ListColumn("reason", "reason"),
    ListColumn(
        "question", "question", lambda text, view: to_one_line(text or "–", MAX_FEEDBACK_TEXT)
    ),
    ListColumn(
        "response", "answer", lambda text, view: to_one_line(text or "–", MAX_FEEDBACK_TEXT)
    ),
    ListColumn("details", "", _describe_facts),
)
_PEOPLE = TextList(
    "No one has written to Ponte yet.",
    ListColumn("name", "name", _text_or_dash),
    ListColumn("first seen", "first", _day),
    ListColumn("last seen", "last", _day),
    ListColumn("messages", "messages", _number),
    ListColumn("files", "files", _number),
    ListColumn("requests", "changes", _number),
    ListColumn("decisions", "decisions", _number),
    ListColumn("person", "person"),
)
TEXT_LISTS: Mapping[str, TextList] = {
    "audit": _AUDIT_PAGE,
    "doctor": _CHECKS,
    "feedback": _FEEDBACK,
    "limits": _LIMITS,
    "pending": _PENDING,
    "people list": _ACCOUNTS,
    "people tokens": _API_TOKENS,
    "person list": _PEOPLE,
    "schedules list": _SCHEDULES,
    "status": _PARTS,
    "threads list": _THREADS,
    "turns": _TURNS,
    **{f"usage {by}": rows for by, rows in _USAGE_ROWS.items()},
}
"""The lists that the operator's page shows, too."""
_SETUP = TextList(
    "",
    ListColumn("card", "title", _word),
    ListColumn("state", "state", _word),
    ListColumn("setting", "name"),
    ListColumn("value", "shown", _text_or_dash),
)


def format_setup(setup: Row, view: View) -> Iterable[str]:
    """Return a line for each setting of the set-up page, and a sentence on the newest ones if they
    are not in force: saved only, or failed."""
    rows = []
    # A card is a group of settings on the page, such as those of Slack.
    for card in setup["cards"]:
        for each in card["fields"]:
            # Of a secret, only the last characters are there (`ending`). The source is "" for a
            # value from the page or the default.
            shown = each["value"] or each["ending"]
            if each["source"]:
                is_file = each["source"] == "file"
                where = say("set in .env") if is_file else say("set in the environment")
                shown = f"{shown} ({where})" if shown else where
            rows.append({**card, **each, "name": each["name"].upper(), "shown": shown})
    trial = [setup["trial"]["words"]] if setup["trial"] else []
    return [*_SETUP(rows, view), *trial]


def format_mcp_tools(rows: Sequence[Row], view: View) -> Iterator[str]:
    """Yield, for each tool of an MCP server that is not as the owner accepted it, what changed, and
    the lines of its description and inputs before (-) and now (+)."""
    if not rows:
        yield say("All tools match what was accepted.")
    for row in rows:
        yield f"{to_one_line(row['tool'])}: {translate_word(row['change'])}"
        for sign, definition in (("-", row["before"]), ("+", row["now"])):
            own = json.loads(definition) if definition else {}
            for text in own.values():
                words = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
                yield from (f"  {sign} {line}" for line in clean_text(words).splitlines())


def describe_setup_undo(result: Row, view: View) -> Iterator[str]:
    """Yield a sentence with the settings that have their earlier values again."""
    if not result["names"]:
        yield say("There is nothing to undo.")
        return
    words = (
        "Took back all changes that one restart applies together: {names}. The earlier values take "
        "effect when Ponte restarts."
    )
    yield say(words, names=", ".join(result["names"]))


PLAIN_TEXT = ResultText(format_plainly)
"""For operations that are not in TEXTS."""
TEXTS: Mapping[str, ResultText] = {
    "status": ResultText(
        format_parts, has_failed=lambda parts: any(one["state"] == "failing" for one in parts)
    ),
    "turns": ResultText(_TURNS, people=("person",)),
    "reload": ResultText(describe_reload),
    "usage": ResultText(format_usage, people=("name", "person")),
    "audit": ResultText(
        lambda page, view: _AUDIT(page["lines"], view),
        people=PERSON_FACTS,
        json_values=lambda page: page["lines"],
    ),
    "feedback": ResultText(format_feedback, people=("person",), json_values=list),
    "policy check": ResultText(
        format_policy,
        notes=lambda result, view: result["notes"],
        json_values=lambda result: [result["lines"]],
    ),
    "hooks test": ResultText(format_delivery),
    "mcp show": ResultText(format_mcp_tools, json_values=lambda rows: rows),
    "mcp accept": ResultText(
        lambda result, view: [
            say("Accepted: {names}", names=", ".join(result["tools"]))
            if result["tools"]
            else say("All tools match what was accepted.")
        ]
    ),
    "sample reset": _sentence(
        "Restored the sample tables. Earlier changes to them can no longer be approved or undone."
    ),
    "setup show": ResultText(format_setup),
    "setup undo": ResultText(describe_setup_undo),
    "threads list": ResultText(_THREADS),
    "threads show": ResultText(format_thread),
    "threads forget": ResultText(describe_deleted_thread),
    "people add": _LINK,
    "people list": ResultText(_ACCOUNTS),
    "people renew": _LINK,
    "people token": ResultText(lambda result, view: [result["token"]], notes=describe_api_token),
    "people tokens": ResultText(_API_TOKENS),
    "people revoke": _sentence("Revoked API token {id} ({person})."),
    "people move-provider": _sentence("People of {name} now sign in with {issuer}."),
    "people readmit": _sentence("{name} can sign in again."),
    "people remove": _sentence(
        "{name} can no longer sign in. Their messages are kept. To delete them, run `ponte "
        "person forget {person}`."
    ),
    "schedules list": ResultText(_SCHEDULES, people=("owner",)),
    "schedules show": ResultText(format_schedule, people=("owner",)),
    "schedules pause": _sentence("Paused {id}."),
    "schedules resume": ResultText(describe_resumed),
    "schedules run": _sentence(
        "Started a run of {id}. The answer will be posted in the schedule's channel."
    ),
    "schedules delete": _sentence("Deleted {id}."),
    "person list": ResultText(_PEOPLE),
    "person counts": ResultText(format_person_counts),
    "person forget": ResultText(describe_forgotten_person),
}
"""The texts of each operation by name."""
