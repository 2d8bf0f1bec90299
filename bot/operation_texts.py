"""The texts of results of operations: lines for people, and what `--json` prints.

An operation without an entry in `TEXTS` gets a plain table, or a line for each value.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.text_table import COLUMN_GAP, format_table
from core.domain.schedule_words import (
    REASON_SENTENCES,
    STATE_SENTENCES,
    describe_result,
    describe_rule,
)
from core.domain.schedules import ScheduleDraft, ScheduleRule
from core.rights.allowances import describe_estimates, describe_server_costs
from core.rights.audit import PERSON_FACTS
from core.text import i18n
from core.text.i18n import say
from core.text.markdown import to_plain_text
from core.text.text import clean_text, to_one_line

Row = Mapping[str, Any]
_PERSON_COUNTS = ("messages", "files", "changes", "decisions")
MAX_LISTED_TEXT_CHARACTERS = 40
"""Characters of a schedule's text in the list."""


@dataclass(frozen=True, slots=True)
class View:
    """The circumstances of a text: the reader's time zone, names of people by key, the arguments.
    `is_running` is False if no Ponte runs and the settings alone gave the result."""

    zone: datetime.tzinfo
    names: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    is_running: bool = True


def _no_lines(result: Any, view: View) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class ResultText:
    """The text of an operation's result.

    `lines` go to standard output and `notes` to standard error, for `--json` too. `people` are
    fields that hold keys of people, whose names `View.names` then has. `json_values` returns what
    `--json` prints, one value a line. `has_failed`: the exit code is 1.
    """

    lines: Callable[[Any, View], Iterable[str]]
    people: Collection[str] = ()
    notes: Callable[[Any, View], Iterable[str]] = _no_lines
    json_values: Callable[[Any], Iterable[Any]] = lambda result: [result]
    has_failed: Callable[[Any], bool] = lambda result: False


def format_threads(threads: Sequence[Row], view: View) -> Iterator[str]:
    """Yield headings and a line for each conversation: its last use, its number of messages, its
    key."""
    if not threads:
        yield say("No conversations yet.")
        return
    rows = [
        (
            _format_time(thread.get("used_at"), view.zone),
            i18n.format_number(thread.get("messages", 0)),
            to_one_line(str(thread.get("conversation", ""))),
        )
        for thread in threads
    ]  # fmt: skip
    headings = (say("last used"), say("messages"), say("conversation"))
    yield from format_table(headings, rows, right={1})


def format_thread(thread: Row, view: View) -> Iterator[str]:
    """Yield each message: time and author in one line, then its text, indented."""
    for message in thread.get("messages", ()):
        who = message.get("name") or message.get("role", "")
        yield f"{_format_time(message.get('at'), view.zone)}  {to_one_line(str(who))}"
        text = clean_text(str(message.get("text", "")))
        is_answer = message.get("role") == "assistant"
        for line in (to_plain_text(text) if is_answer else text).splitlines():
            yield f"    {line}"


def format_audit_lines(page: Row, view: View) -> Iterator[str]:
    """Yield headings and a line for each entry: its time in `zone`, its event, and the rest as
    `name=value`. `names` replace the keys of people."""
    rows = []
    for line in page["lines"]:
        at = datetime.datetime.fromisoformat(str(line.get("at", ""))).astimezone(view.zone)
        rest = {name: value for name, value in line.items() if name not in ("at", "event")}
        facts = []
        for name, value in rest.items():
            shown = view.names.get(str(value), value) if name in PERSON_FACTS else value
            words = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
            facts.append(f"{name}={to_one_line(words)}")
        moment = i18n.format_moment(at, None, "medium")
        rows.append((moment, to_one_line(str(line.get("event", ""))), COLUMN_GAP.join(facts)))
    if rows:
        headings = (say("time"), say("event"), say("details"))
        yield from format_table(headings, rows)


def format_turns(turns: Sequence[Row], view: View) -> Iterator[str]:
    """Yield headings and a line for each turn: its time, state, person, conversation and the code
    of its failure. `names` replace the keys of people."""
    if not turns:
        yield say("No turn is running or has failed.")
        return
    rows = [
        (
            _format_time(turn["created_at"], view.zone), str(turn["state"]), str(turn["reason"]),
            to_one_line(view.names.get(turn["person"], turn["person"])),
            to_one_line(turn["conversation"]),
        )
        for turn in turns
    ]  # fmt: skip
    headings = (
        say("time"), say("state"), say("code"), say("person"),
        say("conversation"),
    )  # fmt: skip
    yield from format_table(headings, rows)


def format_people(people: Sequence[Row], view: View) -> Iterator[str]:
    """Yield headings and a line for each account: its name, when it was added, the day of the last
    visit."""
    if not people:
        yield say("Nobody was added yet. Run `ponte people add NAME`.")
        return
    rows = []
    for one in people:
        seen = str(one.get("seen") or "")
        visited = i18n.format_date(datetime.date.fromisoformat(seen)) if seen else say("never")
        rows.append((str(one.get("name", "")), _format_time(one.get("added"), view.zone), visited))
    headings = (say("name"), say("added"), say("last visit"))
    yield from format_table(headings, rows)


def format_api_tokens(tokens: Sequence[Row], view: View) -> Iterator[str]:
    """Yield headings and a line for each API token: id, person, name, when it was added, when it
    expires, the day of its last use."""
    if not tokens:
        yield say("There are no API tokens. Run `ponte people token NAME`.")
        return
    rows = []
    for one in tokens:
        seen, expires = str(one.get("seen") or ""), one.get("expires")
        used = i18n.format_date(datetime.date.fromisoformat(seen)) if seen else say("never")
        rows.append(
            (
                str(one.get("id", "")), str(one.get("person", "")), str(one.get("name", "")) or "–",
                _format_time(one.get("added"), view.zone),
                _format_time(expires, view.zone) if expires else say("never"), used,
            )
        )  # fmt: skip
    headings = (
        say("id"), say("person"), say("name"), say("added"),
        say("expires"), say("last use"),
    )  # fmt: skip
    yield from format_table(headings, rows)


def _format_limits(limits: Sequence[Row], names: Mapping[str, str]) -> Iterator[str]:
    """Yield headings and a line for each limit: for whom it counts, how much is used, until when.
    `names` replace the keys of people."""
    headings = (say("limit for"), say("limit"), say("used"), say("until"))
    rows = []
    for limit in limits:
        name = names.get(str(limit["name"]), str(limit["name"]))
        cells = (name, *(str(limit[key]) for key in ("limit", "used", "until")))
        rows.append(tuple(map(to_one_line, cells)))
    yield from format_table(headings, rows)


def format_usage(report: Row, view: View) -> Iterator[str]:
    """Yield the first day of the report, headings, and a line for each row: its name, messages or
    calls, tokens, US dollars; then the limits if the report has them."""
    by, rows = str(report["by"]), report["rows"]
    names = view.names if by == "person" else {}
    day = i18n.format_date(datetime.date.fromisoformat(report["since"]))
    yield say("Usage since {day}:", day=day)
    yield from _format_usage_rows(rows, by, names)
    if models := report.get("server_costs"):
        yield describe_server_costs(map(str, models))
    if limits := report.get("limits"):
        yield ""
        yield from _format_limits(limits, names)


def _format_usage_rows(rows: Sequence[Row], by: str, names: Mapping[str, str]) -> Iterator[str]:
    if not rows:
        yield say("Nothing was used yet.")
        return
    labels = _label_rows([str(row.get("name", "")) for row in rows], by, names)
    cells = []
    for row, label in zip(rows, labels, strict=True):
        times = row.get("turns") if row.get("turns") is not None else row.get("calls")
        tokens = int(row.get("input") or 0) + int(row.get("output") or 0)
        cost = row.get("cost")
        dollars = "–" if cost is None else i18n.format_money(float(cost))
        counted = i18n.format_number(int(times or 0))
        cells.append((label, counted, i18n.format_number(tokens), dollars))
    counted = say("calls") if by in ("model", "tool") else say("messages")
    kinds = {
        "person": say("person"), "channel": say("channel"), "model": say("model"),
        "tool": say("tool"), "day": say("day"),
    }  # fmt: skip
    headings = (kinds.get(by, by), counted, say("tokens"), say("US dollars"))
    yield from format_table(headings, cells, right={1, 2, 3})
    if estimated := sum(int(row.get("estimated") or 0) for row in rows):
        yield describe_estimates(estimated)


def _label_rows(keys: Sequence[str], by: str, names: Mapping[str, str]) -> list[str]:
    """Return what the rows are called: dates for days, names for people. Two people of one name
    get their keys too."""
    if by == "day":
        return [i18n.format_date(datetime.date.fromisoformat(key)) for key in keys]
    labels = [to_one_line(names.get(key, key)) for key in keys]
    return [
        f"{name} ({to_one_line(key)})" if labels.count(name) > 1 else name
        for key, name in zip(keys, labels, strict=True)
    ]


def format_schedules(schedules: Sequence[Row], view: View) -> Iterator[str]:
    """Yield headings and a line for each schedule: its id, state, rule, next run, owner, place and
    text. `names` replace the keys of people."""
    if not schedules:
        yield say("There are no schedules.")
        return
    rows = [
        (
            str(one["id"]), say(STATE_SENTENCES[one["state"]]), _describe_rule(one),
            _format_time(one["next_due_at"], view.zone) or "–",
            to_one_line(view.names.get(one["owner"], one["owner"])), to_one_line(one["place"]),
            to_one_line(one["text"])[:MAX_LISTED_TEXT_CHARACTERS],
        )
        for one in schedules
    ]  # fmt: skip
    headings = (
        say("ID"), say("state"), say("rule"), say("next run"), say("owner"), say("place"),
        say("text"),
    )  # fmt: skip
    yield from format_table(headings, rows)


def format_schedule(result: Row, view: View) -> Iterator[str]:
    """Yield all facts of a schedule, its whole text, and a line for each of its last runs."""
    (one,), runs = result["schedules"], result["runs"]
    reason = REASON_SENTENCES.get(one["reason"], "")
    facts = (
        (say("ID"), one["id"]),
        (say("state"), say(STATE_SENTENCES[one["state"]]) + (f": {say(reason)}" if reason else "")),
        (say("rule"), f"{_describe_rule(one)} ({one['time_zone']})"),
        (say("next run"), _format_time(one["next_due_at"], view.zone) or "–"),
        (say("owner"), to_one_line(view.names.get(one["owner"], one["owner"]))),
        (say("place"), to_one_line(one["place"])),
    )
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        yield f"{name:<{width}}  {value}".rstrip()
    for line in clean_text(one["text"]).splitlines():
        yield f"    {line}"
    if not runs:
        yield say("It has not run yet.")
        return
    rows = [
        (
            _format_time(run["due_at"], view.zone) or "–",
            describe_result(run["state"], run["missed_count"], is_late=run["is_late"]),
            str(run["reason"]),
        )
        for run in runs
    ]
    yield from format_table((say("due"), say("result"), say("reason")), rows)


def _describe_rule(one: Row) -> str:
    rule = ScheduleRule(one["cron"], one["run_at"])
    return describe_rule(ScheduleDraft(one["kind"], one["text"], rule, one["time_zone"]))


def format_person_list(people: Sequence[Row], view: View) -> Iterator[str]:
    """Yield headings and a line for each person: name, first and last seen (days, UTC), messages,
    files, changes requested and decided, key."""
    if not people:
        yield say("Nobody has written to Ponte yet.")
        return
    rows = [
        (
            to_one_line(str(one["name"])) or "–", _format_day(one["first"]),
            _format_day(one["last"]),
            *(i18n.format_number(one[key]) for key in _PERSON_COUNTS),
            to_one_line(str(one["person"])),
        )
        for one in people
    ]  # fmt: skip
    headings = (
        say("name"), say("first seen"), say("last seen"), say("messages"), say("files"),
        say("requests"), say("decisions"), say("person"),
    )  # fmt: skip
    yield from format_table(headings, rows, right={3, 4, 5, 6})


def _format_day(at: float) -> str:
    return i18n.format_date(datetime.datetime.fromtimestamp(at, datetime.UTC).date()) if at else "–"


def _format_time(at: object, zone: datetime.tzinfo) -> str:
    """Return a date and time in `zone`; "" for none. `at` is in seconds since the epoch."""
    if not isinstance(at, int | float) or not at:
        return ""
    return i18n.format_moment(datetime.datetime.fromtimestamp(at, zone))


def format_parts(parts: Sequence[Row], view: View) -> Iterator[str]:
    """Yield the state, the name and the words of each part."""
    for part in parts:
        yield f"{part['state']:<8} {part['name']:<10} {part['words']}".rstrip()


def describe_reload(result: Row, view: View) -> Iterator[str]:
    """Yield which file was read, what needs a restart, and misspelt names in it."""
    yield say("Reloaded {file}.", file=result["file"])
    if later := result["later"]:
        names = ", ".join(f"[{name}]" for name in later)
        yield say("Restart Ponte to apply: {names}.", names=names)
    yield from map(str, result["misspelt"])


def format_policy(result: Row, view: View) -> Iterator[str]:
    """Yield whose rules were used, and for each right whether the person has it and why."""
    place = f"in {result['channel']}" if result["channel"] else "in a direct message"
    whose = "the running Ponte" if view.is_running else "this folder, because no Ponte is running"
    file = result["file"] or "no ponte.toml"
    yield f"{view.arguments['person']} {place}, by {file}, settings of {whose}:"
    width = max(len(line["right"]) for line in result["lines"])
    for line in result["lines"]:
        answer = "yes" if line["allowed"] else "no"
        shown = f"{line['right']:<{width}}  {answer:<3}  {line['rule']}"
        yield f"{shown}  {to_one_line(line['why'], 400)}".rstrip()


def format_delivery(result: Row, view: View) -> Iterator[str]:
    """Yield the place, the permissions with their rules, and the post or the request to the
    model."""
    yield say("place: {place}", place=result["post_to"])
    rights = ", ".join(f"{right} ({rule})" for right, rule in result["rights"].items())
    yield say("permissions: {rights}", rights=rights or "–")
    yield say("Ponte would post:") if result["is_post"] else say("Ponte would ask the model:")
    for text in (result["text"], result["body"]):
        yield from (f"    {line}" for line in clean_text(text).splitlines())


def describe_deleted_thread(result: Row, view: View) -> Iterator[str]:
    """Yield how many messages were deleted, and what remains on the model's server."""
    count, remains = int(result["messages"]), str(result["remains"])
    deleted = i18n.plural("Deleted {count} message.", "Deleted {count} messages.", count)
    yield f"{deleted} {say(remains) if remains else ''}".strip()


def describe_sign_in_link(result: Row, view: View) -> Iterator[str]:
    """Yield what to know about a new sign-in link."""
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
    """Yield what to know about a new API token."""
    yield say(
        "A program with this token acts for {name} over `/v1`. It cannot sign in, approve or "
        "administer. It won't be shown again; `ponte people revoke {id}` ends it.",
        name=result["name"], id=result["id"],
    )  # fmt: skip
    if result["url"]:
        yield say("The API's address is {url}.", url=result["url"])


def describe_resumed(result: Row, view: View) -> Iterator[str]:
    """Yield when the schedule runs next."""
    when = _format_time(result["next_due_at"], view.zone) or "–"
    yield say("Resumed {id}. Its next run is on {when}.", id=result["id"], when=when)


def _sentence(text: str) -> ResultText:
    """Return a text with the result's fields in it."""
    return ResultText(lambda result, view: [say(text, **result)])


def format_plainly(result: Any, view: View) -> Iterator[str]:
    """Yield rows as a table, other values as `name: value`."""
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
TEXTS: Mapping[str, ResultText] = {
    "status": ResultText(
        format_parts, has_failed=lambda parts: any(one["state"] == "failing" for one in parts)
    ),
    "turns": ResultText(format_turns, people=("person",)),
    "reload": ResultText(describe_reload),
    "usage": ResultText(format_usage, people=("name", "person")),
    "audit": ResultText(
        format_audit_lines, people=PERSON_FACTS, json_values=lambda page: page["lines"]
    ),
    "policy check": ResultText(
        format_policy,
        notes=lambda result, view: result["misspelt"],
        json_values=lambda result: [result["lines"]],
    ),
    "hooks test": ResultText(format_delivery),
    "sample reset": _sentence(
        "Restored the sample tables. Earlier changes to them can no longer be approved or undone."
    ),
    "threads list": ResultText(format_threads),
    "threads show": ResultText(format_thread),
    "threads forget": ResultText(describe_deleted_thread),
    "people add": _LINK,
    "people list": ResultText(format_people),
    "people renew": _LINK,
    "people token": ResultText(lambda result, view: [result["token"]], notes=describe_api_token),
    "people tokens": ResultText(format_api_tokens),
    "people revoke": ResultText(
        lambda result, view: [
            say("Revoked the API token {id} of {name}.", id=result["id"], name=result["person"])
        ]
    ),
    "people remove": _sentence(
        "{name} can no longer sign in. Their messages are kept. To delete them, run `ponte "
        "person forget {person}`."
    ),
    "schedules list": ResultText(format_schedules, people=("owner",)),
    "schedules show": ResultText(format_schedule, people=("owner",)),
    "schedules pause": _sentence("Paused {id}."),
    "schedules resume": ResultText(describe_resumed),
    "schedules run": _sentence("Started a run of {id}. It answers in its place."),
    "schedules delete": _sentence("Deleted {id}."),
    "person list": ResultText(format_person_list),
}
"""The texts of each operation by name."""
