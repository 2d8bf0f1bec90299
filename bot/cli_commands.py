"""The work of each command of `ponte`. Each function returns the exit code."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO, TypeVar
from zoneinfo import ZoneInfo

from adapters.web import add_token
from bot.app import start
from bot.client import Json, LocalClient, connect
from bot.reports import parse_day_word
from bot.start import Start
from bot.text_table import COLUMN_GAP, format_table
from core.commands.grammar import TypedCommand, check_slug, parse_command, render_command
from core.commands.quick_commands import Inputs, check_unique_names, parse_input
from core.domain.errors import BadInput, PonteError, SettingsError
from core.integrations.settings import describe_read_error, plain_value
from core.rights.allowances import describe_estimates, describe_server_costs
from core.rights.audit import PERSON_FACTS
from core.text import i18n
from core.text.markdown import to_plain_text
from core.text.text import clean_text, to_one_line

_BLOCK = re.compile(
    r"(?P<mark>`{3,})[^`\n]*\n(?P<code>(?:(?!\n(?P=mark)).)*)\n(?P=mark)", re.DOTALL
)
_PAIR = re.compile(r"([^\W\d][\w.-]*)=(.*)", re.DOTALL)
MAX_PROMPT_BYTES = 1_900_000
"""How much `ponte ask` reads from standard input. The server accepts a message of 2 MB
(MAX_TEXT_BYTES in `adapters/web/http_io.py`), and the argument needs room too."""
Row = Mapping[str, Any]
T = TypeVar("T")


def format_threads(threads: Sequence[Row], zone: datetime.tzinfo) -> Iterator[str]:
    """Yield headings and a line for each conversation: its last use, its number of messages, its
    key."""
    if not threads:
        yield i18n.say("No conversations yet.")
        return
    rows = [
        (
            _format_time(thread.get("used_at"), zone),
            i18n.format_number(thread.get("messages", 0)),
            to_one_line(str(thread.get("conversation", ""))),
        )
        for thread in threads
    ]  # fmt: skip
    headings = (i18n.say("last used"), i18n.say("messages"), i18n.say("conversation"))
    yield from format_table(headings, rows, right={1})


def format_thread(thread: Row, zone: datetime.tzinfo) -> Iterator[str]:
    """Yield each message: time and author in one line, then its text, indented."""
    for message in thread.get("messages", ()):
        who = message.get("name") or message.get("role", "")
        yield f"{_format_time(message.get('at'), zone)}  {to_one_line(str(who))}"
        text = clean_text(str(message.get("text", "")))
        is_answer = message.get("role") == "assistant"
        for line in (to_plain_text(text) if is_answer else text).splitlines():
            yield f"    {line}"


def format_audit_lines(
    lines: Sequence[Row], zone: datetime.tzinfo, names: Mapping[str, str]
) -> Iterator[str]:
    """Yield headings and a line for each entry: its time in `zone`, its event, and the rest as
    `name=value`. `names` replace the keys of people."""
    rows = []
    for line in lines:
        at = datetime.datetime.fromisoformat(str(line.get("at", ""))).astimezone(zone)
        rest = {name: value for name, value in line.items() if name not in ("at", "event")}
        told = []
        for name, value in rest.items():
            shown = names.get(str(value), value) if name in PERSON_FACTS else value
            words = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
            told.append(f"{name}={to_one_line(words)}")
        moment = i18n.format_moment(at, None, "medium")
        rows.append((moment, to_one_line(str(line.get("event", ""))), COLUMN_GAP.join(told)))
    if rows:
        headings = (i18n.say("time"), i18n.say("event"), i18n.say("details"))
        yield from format_table(headings, rows)


def format_turns(
    turns: Sequence[Row], zone: datetime.tzinfo, names: Mapping[str, str]
) -> Iterator[str]:
    """Yield headings and a line for each turn: its time, state, person, conversation and the code
    of its failure. `names` replace the keys of people."""
    if not turns:
        yield i18n.say("No turn is running or has failed.")
        return
    rows = [
        (
            _format_time(turn["created_at"], zone), str(turn["state"]), str(turn["reason"]),
            to_one_line(names.get(turn["person"], turn["person"])),
            to_one_line(turn["conversation"]),
        )
        for turn in turns
    ]  # fmt: skip
    headings = (
        i18n.say("time"), i18n.say("state"), i18n.say("code"), i18n.say("person"),
        i18n.say("conversation"),
    )  # fmt: skip
    yield from format_table(headings, rows)


def format_people(people: Sequence[Row], zone: datetime.tzinfo) -> Iterator[str]:
    """Yield headings and a line for each account: its name, when it was added, the day of the last
    visit."""
    if not people:
        yield i18n.say("Nobody was added yet. Run `ponte people add NAME`.")
        return
    rows = []
    for one in people:
        seen = str(one.get("seen") or "")
        visited = i18n.format_date(datetime.date.fromisoformat(seen)) if seen else i18n.say("never")
        rows.append((str(one.get("name", "")), _format_time(one.get("added"), zone), visited))
    headings = (i18n.say("name"), i18n.say("added"), i18n.say("last visit"))
    yield from format_table(headings, rows)


def format_api_tokens(tokens: Sequence[Row], zone: datetime.tzinfo) -> Iterator[str]:
    """Yield headings and a line for each API token: id, person, name, when it was added, when it
    expires, the day of its last use."""
    if not tokens:
        yield i18n.say("There are no API tokens. Run `ponte people token NAME`.")
        return
    rows = []
    for one in tokens:
        seen, expires = str(one.get("seen") or ""), one.get("expires")
        used = i18n.format_date(datetime.date.fromisoformat(seen)) if seen else i18n.say("never")
        rows.append(
            (
                str(one.get("id", "")), str(one.get("person", "")), str(one.get("name", "")) or "–",
                _format_time(one.get("added"), zone),
                _format_time(expires, zone) if expires else i18n.say("never"), used,
            )
        )  # fmt: skip
    headings = (
        i18n.say("id"), i18n.say("person"), i18n.say("name"), i18n.say("added"),
        i18n.say("expires"), i18n.say("last use"),
    )  # fmt: skip
    yield from format_table(headings, rows)


def run(*, takes: bool = True, works: bool = True) -> int:
    """Run Ponte until a signal. Raise SettingsError, HomeTaken, HomeUnusable."""
    begun = start()
    from bot import app

    work = app.run(begun.settings, begun.config, begun.home, takes=takes, works=works)
    return asyncio.run(work)


def migrate() -> int:
    """Copy the home to the database. Raise SettingsError, HomeTaken, NotStored."""
    begun = start()
    from bot.migrate import migrate as move

    return asyncio.run(move(begun.settings, begun.home))


def backup(file: str, keep: int) -> int:
    """Run `ponte backup`. Return the exit code."""
    from bot.backup import backup as keep_home

    return keep_home(start(quiet=True), file, keep)


def restore(file: str, *, replace: bool, resume: bool) -> int:
    """Run `ponte restore`. Return the exit code."""
    from bot.backup import restore as put_back

    return put_back(start(quiet=True), file, replace=replace, resume=resume)


def chat() -> int:
    """Run `ponte chat`. Return the exit code."""
    begun = start(quiet=True, asks_holder=True)
    from adapters.terminal.chat import chat as converse
    from bot import app

    async def talk() -> int:
        async with app.local(begun, prepares=True) as socket_path:
            return await converse(socket_path, sys.stdin, sys.stdout)

    return asyncio.run(talk())


def ask(text: str, files: Sequence[Path] = ()) -> int:
    """Run `ponte ask`: print the answer to `text` and all of standard input. Return the exit code.

    Stdout gets nothing but the answer. Cards, files, progress and errors go to stderr. `@name` in
    `text` attaches that file, as in `ponte chat`; on standard input it does not, because that may
    be somebody else's text.
    """
    from adapters.terminal.chat import read_attachments
    from adapters.terminal.screen import Screen

    prompt = "\n\n".join(filter(None, (text.strip(), _read_standard_input(sys.stdin).strip())))
    if not prompt and not files:
        raise BadInput("The prompt is empty.")
    attached = read_attachments(text) + [_read_attachment(file) for file in files]
    answer, other = Screen(sys.stdout), Screen(sys.stderr, shows_shell_commands=True)
    body, saved = ask_holder(lambda one: one.ask(prompt, attached, answer, other), prepares=True)
    done = body["status"] == "done"
    (answer if done or answer.live else other).show_answer({**body, "cards": ()})
    other.show_extras(body["cards"], saved)
    return 0 if done else 1


def _read_standard_input(stdin: TextIO | None) -> str:
    """Return all of standard input, "" if it is a terminal or closed. Raise BadInput unless it is
    text of an acceptable size."""
    if stdin is None or stdin.isatty():
        return ""
    source: BinaryIO = stdin.buffer
    data = source.read(MAX_PROMPT_BYTES + 1)
    if len(data) > MAX_PROMPT_BYTES:
        raise BadInput(
            "Standard input is larger than {limit}. Nothing was sent. Send it as a file with "
            "--file, or send a part of it.",
            limit=i18n.format_size(MAX_PROMPT_BYTES),
        )
    try:
        words = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        words = "\0"
    if "\0" in words:
        raise BadInput(
            "Standard input is not UTF-8 text. Nothing was sent. Send it as a file with --file."
        )
    return words


def link() -> int:
    """Run `ponte link`. Return the exit code."""
    begun = start(quiet=True, asks_holder=True)
    settings, home = begun.settings, begun.home
    if settings.ponte_web == "off":
        raise PonteError("The page is turned off. Set PONTE_WEB=on to use it.")
    if home.is_served() and (known := ask_holder(lambda one: one.link())):
        _print_all([known])
        return 0
    token = plain_value(settings.ponte_web_token) or home.kept_web_token()
    if not token or not settings.ponte_web_port:
        raise PonteError("The page is not running yet. Start it with `ponte run`.")
    _print_all([add_token(settings.page_url(settings.page_url()), token)])
    sys.stderr.write("The page is not served now. Start it with `ponte run`.\n")
    return 0


def doctor(try_model: Callable[[], None] | None) -> int:
    """Run `ponte doctor`. `try_model` is called before paid requests are sent to the model; None
    sends none. Return the exit code."""
    from bot import doctor

    begun = start(quiet=True, asks_holder=True)
    code = asyncio.run(doctor.examine(begun, print))
    if try_model is not None:
        code |= asyncio.run(doctor.try_model(begun, print, try_model))
    return code


def sandbox() -> int:
    """Install the sandbox's Python before its first use."""
    begun = start(quiet=True)
    from core.tools.code import CODE_INTEGRATION

    begun.home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    asyncio.run(CODE_INTEGRATION.prepare(begun.home.path, begun.settings.proxies, print))
    return 0


def sample_reset() -> int:
    """Run `ponte sample reset`, also while Ponte is running. Return the exit code."""
    from core.tools.sample import SAMPLE_INTEGRATION, open_sample_base

    begun = start(quiet=True)
    settings, home = begun.settings, begun.home.path
    if not SAMPLE_INTEGRATION.is_used(settings, settings):
        raise PonteError(
            "This Ponte has no sample tables, because NocoDB, a chat platform or Postgres is "
            "configured."
        )
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    open_sample_base(home, settings.ponte_timezone).reset()
    if (home / "ponte.db").exists():  # else nobody has asked for a change yet
        ask_holder(lambda one: one.act("sample/reset"), begun)
    _print_all(
        [
            i18n.say(
                "Restored the sample tables. Earlier changes to them can no longer be approved or "
                "undone."
            )
        ]
    )
    return 0


def slack_manifest(*, link: bool) -> int:
    """Run `ponte slack-manifest`. Return the exit code.

    `link`: print a URL that creates the app instead of the manifest.
    """
    from adapters.slack import setup

    settings = start(quiet=True).settings
    url = f"{settings.ponte_web_url}/slack/events" if settings.slack == "http" else ""
    if settings.slack == "http" and not settings.ponte_web_url:
        raise SettingsError("PONTE_WEB_URL is not set. Slack needs it to send events.")
    made = setup.manifest(request_url=url)
    _print_all([setup.link(made) if link else json.dumps(made, indent=2, ensure_ascii=False)])
    return 0


def send_command(message: str) -> int:
    """Send a typed command to the process that holds the home, and print the answer."""
    from adapters.terminal.screen import Screen

    body = ask_holder(lambda one: one.say(message))
    Screen(sys.stdout, shows_shell_commands=True).show_answer({"cards": (), **body})
    return 0 if body.get("status") == "done" else 1


def status(*, as_json: bool = False) -> int:
    """Print the state of each part. The exit code is 1 if a part fails."""
    parts = ask_holder(lambda one: one.status(), prepares=True)
    lines = [f"{part['state']:<8} {part['name']:<10} {part['words']}".rstrip() for part in parts]
    _print_all([json.dumps(parts, ensure_ascii=False)] if as_json else lines)
    return int(any(part["state"] == "failing" for part in parts))


def decide(action: Literal["approve", "deny", "undo"], id: str) -> int:
    """Approve, deny or undo a change. Raise BadInput for a malformed id, which would otherwise be a
    message for the model."""
    wanted = parse_command(f"{action} {id}")
    if wanted is None or wanted.id != id.lower():
        raise BadInput(
            "Change {id} not found. `ponte changes list` shows the IDs.", id=repr(id[:40])
        )
    return send_command(render_command(wanted))


def quick_command(
    slug: str, words: Sequence[str], file: Path | None, *, as_json: bool = False
) -> int:
    """Run `ponte quick-command` with its input as `words`. Return the exit code."""
    typed = _format_command(slug, words)
    attached = _read_attachment(file) if file else None

    async def ask(one: LocalClient) -> tuple[Json, str]:
        body = await one.run(typed, attached)
        return body, await one.result(body)

    body, result = ask_holder(ask)
    done = body.get("status") == "done"
    if as_json:
        _print_all([json.dumps(body, ensure_ascii=False)])
        return 0 if done else 1
    (sys.stdout if done else sys.stderr).write(
        (clean_text(_without_fence(result)) if done else to_one_line(to_plain_text(result))) + "\n"
    )
    return 0 if done else 1


def turns(*, failed: bool, as_json: bool = False) -> int:
    """Run `ponte turns`. Return the exit code."""
    begun = start(quiet=True, asks_holder=True)

    async def ask(one: LocalClient) -> tuple[Sequence[Row], Mapping[str, str]]:
        found = [turn for turn in (await one.act("turns"))["turns"] if turn["failed"] or not failed]
        return found, await _find_names(one, sorted({turn["person"] for turn in found}))

    found, names = ask_holder(ask, begun)
    shown = format_turns(found, ZoneInfo(begun.settings.ponte_timezone), names)
    _print_all([json.dumps(found, ensure_ascii=False)] if as_json else shown)
    return 0


def reload() -> int:
    """Run `ponte reload`. Return the exit code."""
    begun = start(quiet=True, asks_holder=True)
    if not begun.home.is_served() and begun.settings.database_url is None:
        raise PonteError(
            "Ponte is not running with {home}, so there is nothing to reload.", home=begun.home.path
        )
    done = ask_holder(lambda one: one.act("reload"), begun)
    told = [i18n.say("Reloaded {file}.", file=done.get("file", ""))]
    if later := done.get("later"):
        names = ", ".join(f"[{name}]" for name in later)
        told.append(i18n.say("Restart Ponte to apply: {names}.", names=names))
    _print_all([*told, *map(str, done.get("misspelt", ()))])
    return 0


def usage(by: str, since: str, *, as_json: bool = False, with_limits: bool = False) -> int:
    """Print a usage report, and what is used of each limit if `with_limits`. Raise BadInput for a
    malformed day or an unknown kind of rows."""

    async def ask(one: LocalClient) -> tuple[Json, Sequence[Row], Mapping[str, str]]:
        told = await one.act("usage", by=by, since=since)
        limits = (await one.act("limits")).get("limits", ()) if with_limits else ()
        keys = {str(row.get("name", "")) for row in told.get("rows", ())}
        keys |= {str(limit["person"]) for limit in limits if limit["person"]}
        plain = by == "person" and not as_json
        return told, limits, await _find_names(one, sorted(keys)) if plain else {}

    told, limits, names = ask_holder(ask)
    rows: list[Row] = list(told.get("rows", ()))
    if as_json:
        _print_all([json.dumps(told, ensure_ascii=False)])
    else:
        _print_all(format_usage(rows, by, str(told.get("since", "")), names))
        if models := told.get("server_costs"):
            _print_all([describe_server_costs(map(str, models))])
        if limits:
            _print_all(["", *format_limits(limits, names)])
    return 0


def format_limits(limits: Sequence[Row], names: Mapping[str, str]) -> Iterator[str]:
    """Yield headings and a line for each limit: for whom it counts, how much is used, until when.
    `names` replace the keys of people."""
    headings = (i18n.say("limit for"), i18n.say("limit"), i18n.say("used"), i18n.say("until"))
    rows = []
    for limit in limits:
        name = names.get(str(limit["name"]), str(limit["name"]))
        told = (name, *(str(limit[key]) for key in ("limit", "used", "until")))
        rows.append(tuple(map(to_one_line, told)))
    yield from format_table(headings, rows)


def format_usage(
    rows: Sequence[Row], by: str, since: str = "", names: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield the first day of the report, headings, and a line for each row: its name, messages or
    calls, tokens, US dollars. `names` replace the keys of people."""
    if since:
        first = i18n.format_date(datetime.date.fromisoformat(since))
        yield i18n.say("Usage since {day}:", day=first)
    if not rows:
        yield i18n.say("Nothing was used yet.")
        return
    labels = _label_rows([str(row.get("name", "")) for row in rows], by, names or {})
    cells = []
    for row, label in zip(rows, labels, strict=True):
        times = row.get("turns") if row.get("turns") is not None else row.get("calls")
        tokens = int(row.get("input") or 0) + int(row.get("output") or 0)
        cost = row.get("cost")
        dollars = "–" if cost is None else i18n.format_money(float(cost))
        counted = i18n.format_number(int(times or 0))
        cells.append((label, counted, i18n.format_number(tokens), dollars))
    counted = i18n.say("calls") if by in ("model", "tool") else i18n.say("messages")
    kinds = {
        "person": i18n.say("person"), "channel": i18n.say("channel"), "model": i18n.say("model"),
        "tool": i18n.say("tool"), "day": i18n.say("day"),
    }  # fmt: skip
    headings = (kinds.get(by, by), counted, i18n.say("tokens"), i18n.say("US dollars"))
    yield from format_table(headings, cells, right={1, 2, 3})
    if estimated := sum(int(row.get("estimated") or 0) for row in rows):
        yield describe_estimates(estimated)


def _label_rows(keys: Sequence[str], by: str, names: Mapping[str, str]) -> list[str]:
    """Return what the rows are called: dates for days, names for people. Two people of one name
    get their keys too."""
    if by == "day":
        return [i18n.format_date(datetime.date.fromisoformat(key)) for key in keys]
    known = [to_one_line(names.get(key, key)) for key in keys]
    return [
        f"{name} ({to_one_line(key)})" if known.count(name) > 1 else name
        for key, name in zip(keys, known, strict=True)
    ]


def audit(asked: Mapping[str, str], *, as_json: bool = False) -> int:
    """Print lines of the audit log from `since` up to `until`, of a `person` and an `event`; ""
    means any.

    If `until` is a day, all of it is included.
    """
    begun = start(quiet=True, asks_holder=True)
    zone = ZoneInfo(begun.settings.ponte_timezone)
    since, until = (
        _parse_moment(asked["since"], zone),
        _parse_moment(asked["until"], zone, end=True),
    )
    wanted = {**asked, "since": since, "until": until}

    async def read(one: LocalClient) -> None:
        after, more = "", True
        while more:
            page = await one.act("audit", after=after, **wanted)
            lines = page.get("lines", ())
            if as_json:
                _print_all(json.dumps(line, ensure_ascii=False) for line in lines)
            else:
                keys = {str(line[fact]) for line in lines for fact in PERSON_FACTS if fact in line}
                _print_all(format_audit_lines(lines, zone, await _find_names(one, sorted(keys))))
            after = str(page.get("next", ""))
            more = bool(after)

    ask_holder(read, begun)
    return 0


def people_add(name: str, *, as_json: bool = False) -> int:
    """Run `ponte people add`. Return the exit code."""
    return _print_sign_in_link("people/add", name, as_json=as_json)


def people_renew(name: str, *, as_json: bool = False) -> int:
    """Run `ponte people renew`. Return the exit code."""
    return _print_sign_in_link("people/renew", name, as_json=as_json)


def people_list(*, as_json: bool = False) -> int:
    """Run `ponte people list`. Return the exit code."""
    begun = start(quiet=True, asks_holder=True)
    people = list(ask_holder(lambda one: one.act("people"), begun).get("people", ()))
    shown = format_people(people, ZoneInfo(begun.settings.ponte_timezone))
    _print_all([json.dumps(people, ensure_ascii=False)] if as_json else shown)
    return 0


def people_token(name: str, label: str, days: int, *, as_json: bool = False) -> int:
    """Run `ponte people token`. Print the token once to stdout, and what to know about it to
    stderr. Return the exit code."""
    settings = start(quiet=True, asks_holder=True).settings
    if settings.ponte_web == "off":
        raise PonteError("The page is turned off. Set PONTE_WEB=on to use it.")
    made = ask_holder(lambda one: one.act("people/token", person=name, label=label, days=days))
    page = str(made.get("page", "")) or (settings.page_url() if settings.ponte_web_port else "")
    token, url = str(made.get("token", "")), f"{page}/v1" if page else ""
    told = {"id": made.get("id"), "name": name, "token": token, "url": url}
    _print_all([json.dumps(told) if as_json else token])
    words = [
        i18n.say(
            "A program with this token acts for {name} over `/v1`. It cannot sign in, approve or "
            "administer. It won't be shown again; `ponte people revoke {id}` ends it.",
            name=name, id=made.get("id", ""),
        )
    ]  # fmt: skip
    if url:
        words.append(i18n.say("The API's address is {url}.", url=url))
    sys.stderr.write("".join(f"{line}\n" for line in words))
    return 0


def people_tokens(name: str = "", *, as_json: bool = False) -> int:
    """Run `ponte people tokens`. Return the exit code."""
    begun = start(quiet=True, asks_holder=True)
    told = ask_holder(lambda one: one.act("people/tokens", person=name), begun)
    tokens = list(told.get("tokens", ()))
    shown = format_api_tokens(tokens, ZoneInfo(begun.settings.ponte_timezone))
    _print_all([json.dumps(tokens, ensure_ascii=False)] if as_json else shown)
    return 0


def people_revoke(id: str) -> int:
    """Run `ponte people revoke`. Return the exit code."""
    told = ask_holder(lambda one: one.act("people/revoke", id=id))
    words = "Revoked the API token {id} of {name}."
    _print_all([i18n.say(words, id=id, name=told.get("person", ""))])
    return 0


def people_remove(name: str) -> int:
    """Run `ponte people remove`. Return the exit code."""
    person = ask_holder(lambda one: one.act("people/remove", person=name)).get("person", "")
    words = (
        "{name} can no longer sign in. Their messages are kept. To delete them, run `ponte "
        "person forget {person}`."
    )
    _print_all([i18n.say(words, name=name, person=person)])
    return 0


def _print_sign_in_link(act: str, name: str, *, as_json: bool) -> int:
    """Print the sign-in link once to stdout, and what to know about it to stderr."""
    settings = start(quiet=True, asks_holder=True).settings
    if settings.ponte_web == "off":
        raise PonteError("The page is turned off. Set PONTE_WEB=on to use it.")
    made = ask_holder(lambda one: one.act(act, person=name))
    token = str(made.get("token", ""))
    page = str(made.get("page", "")) or (settings.page_url() if settings.ponte_web_port else "")
    link = add_token(page, token) if page else ""
    told = {"name": name, "token": token, "link": link}
    _print_all([json.dumps(told) if as_json else link or token])
    words = [
        i18n.say(
            "Send this link to {name} privately. Anyone who has it can sign in as {name}. It "
            "won't be shown again; `ponte people renew {name}` creates a new one.",
            name=name,
        )
    ]
    if made.get("conversations"):
        before = (
            "{name} will be able to read the messages of an earlier person with this name. "
            "To delete them first, run `ponte person forget web:{name}` and add {name} again."
        )
        words.append(i18n.say(before, name=name))
    sys.stderr.write("".join(f"{line}\n" for line in words))
    return 0


def policy_check(
    person: str, channel: str, groups: Sequence[str], rights: Sequence[str], *,
    guest: bool, as_json: bool = False,
) -> int:  # fmt: skip
    """Run `ponte policy check`. Return the exit code."""
    from bot.policy_check import check_rights

    begun = start(quiet=True, asks_holder=True)
    asked: dict[str, Any] = {
        "person": person, "channel": channel, "groups": groups, "guest": guest, "rights": rights
    }  # fmt: skip
    if is_running := begun.home.is_served():
        told = ask_holder(lambda one: one.act("policy/check", **asked), begun)
    elif begun.fault:
        raise begun.fault
    else:
        told = asyncio.run(check_rights(begun, **asked))
    sys.stderr.writelines(f"{line}\n" for line in told["misspelt"])
    lines = told["lines"]
    if as_json:
        _print_all([json.dumps(lines, ensure_ascii=False)])
        return 0
    place = f"in {told['channel']}" if told["channel"] else "in a direct message"
    whose = "the running Ponte" if is_running else "this folder, because no Ponte is running"
    _print_all([f"{person} {place}, by {told['file'] or 'no ponte.toml'}, settings of {whose}:"])
    width = max(len(line["right"]) for line in lines)
    for line in lines:
        shown = f"{line['right']:<{width}}  {'yes' if line['allowed'] else 'no':<3}  {line['rule']}"
        _print_all([f"{shown}  {to_one_line(line['why'], 400)}".rstrip()])
    return 0


def threads_list(*, as_json: bool = False) -> int:
    """Run `ponte threads list`. Return the exit code."""
    begun = start(quiet=True, asks_holder=True)
    threads = ask_holder(lambda one: one.threads(), begun)
    shown = format_threads(threads, ZoneInfo(begun.settings.ponte_timezone))
    _print_all([json.dumps(threads, ensure_ascii=False)] if as_json else shown)
    return 0


def threads_show(conversation: str, *, as_json: bool = False) -> int:
    """Run `ponte threads show`. Return the exit code."""
    begun = start(quiet=True, asks_holder=True)
    thread = ask_holder(lambda one: one.thread(conversation), begun)
    whole = json.dumps(thread, ensure_ascii=False)
    zone = ZoneInfo(begun.settings.ponte_timezone)
    _print_all([whole] if as_json else format_thread(thread, zone))
    return 0


def threads_forget(conversation: str) -> int:
    """Run `ponte threads forget`. Return the exit code."""
    done = ask_holder(lambda one: one.forget(conversation))
    count = int(done.get("messages", 0))
    deleted = i18n.plural("Deleted {count} message.", "Deleted {count} messages.", count)
    remains = str(done.get("remains", ""))
    _print_all([f"{deleted} {i18n.say(remains) if remains else ''}".strip()])
    return 0


def ask_holder(
    work: Callable[[LocalClient], Awaitable[T]],
    begun: Start | None = None,
    *,
    prepares: bool = False,
) -> T:
    """Return what `work` gets from the process that holds the home. If none does, this process
    holds it for now; `prepares` as in `Application.start`."""
    from bot import app

    async def ask(begun: Start) -> T:
        async with (
            app.local(begun, prepares=prepares) as socket_path,
            connect(str(socket_path), begun) as one,
        ):
            return await work(one)

    return asyncio.run(ask(begun or start(quiet=True, asks_holder=True)))


async def _find_names(one: LocalClient, keys: Sequence[str]) -> Mapping[str, str]:
    """Return the names of people by key, as far as the holder knows them."""
    try:
        return dict((await one.act("names", keys=keys)).get("names", {})) if keys else {}
    except PonteError:  # the report is more important than the names in it
        return {}


def _format_time(at: object, zone: datetime.tzinfo) -> str:
    """Return a date and time in `zone`; "" for none. `at` is in seconds since the epoch."""
    if not isinstance(at, int | float) or not at:
        return ""
    return i18n.format_moment(datetime.datetime.fromtimestamp(at, zone))


def _parse_moment(written: str, zone: datetime.tzinfo, *, end: bool = False) -> str:
    """Return the moment in UTC as in the audit log. A day means its beginning, or its `end`.

    Raise BadInput.
    """
    if not written:
        return ""
    try:
        day = parse_day_word(written, datetime.datetime.now(zone).date())
        written = day.isoformat() if day else written
        moment = datetime.datetime.fromisoformat(written)
        if end and len(written) <= len("2026-11-01"):
            moment += datetime.timedelta(days=1)
        known = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return known.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        raise BadInput(
            "{word} is not a date. Write it as 2026-11-01 or 2026-11-01T14:30, or write yesterday.",
            word=repr(written[:40]),
        ) from None


def _format_command(slug: str, words: Sequence[str]) -> str:
    """Return the line that a person would type in a chat. Raise BadInput, UnknownCommand.

    The shell has already removed the quotes, so each argument is one value. If the first has the
    form KEY=VALUE, each is one input, whatever spaces are in its value.
    """
    check_slug(slug)
    pairs = [_PAIR.fullmatch(word) for word in words]
    if not pairs or pairs[0] is None:
        given: Inputs = parse_input(" ".join(words))
    elif None in pairs:
        stray = words[pairs.index(None)]
        raise BadInput("{word} is not in the form KEY=VALUE.", word=repr(stray[:40]))
    else:
        given = check_unique_names((pair[1], clean_text(pair[2])) for pair in pairs if pair)
    return render_command(TypedCommand("quick-command", slug=slug, input=given))


def _without_fence(result: str) -> str:
    """Return code or JSON without the fence around it, for programs that read it."""
    block = _BLOCK.fullmatch(result.strip())
    return block["code"] if block else result


def _read_attachment(file: Path) -> tuple[str, bytes]:
    try:
        return file.name, file.read_bytes()
    except OSError as error:
        raise BadInput(
            "Cannot read the file {file} ({cause}).", file=file, cause=describe_read_error(error)
        ) from None


def _print_all(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
