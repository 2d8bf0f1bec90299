"""The operations of the owner and admins: the routes of the home's socket, and the page `/admin`.

The page shows what runs, who asks for what, who may sign in, what was done.

Only the owner and admins read it, and only the owner changes accounts. It is plain HTML without a
script.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from html import escape
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode
from zoneinfo import ZoneInfo

from pydantic import Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from adapters.web import http_io
from adapters.web.errors import BadRequest, UnknownPath, status_of
from adapters.web.http_io import RequestBody, RouteGroup, endpoint, visitor_of
from adapters.web.page.chart import draw_chart
from adapters.web.sign_in import Visitor, Visitors
from core.base.errors import BadInput, Refusal, SettingsError
from core.base.i18n import (
    LANGUAGE,
    format_date,
    format_moment,
    format_money,
    format_number,
    say,
    translate_word,
)
from core.base.text import to_one_line
from core.domain.ports import StatusBoard
from core.domain.records import TURN_WORDS
from core.domain.rows import Chart, Series
from core.integrations import Operator, OperatorBoard
from core.money.allowances import describe_estimates, describe_server_costs
from core.people.audit import PERSON_FACTS
from core.people.rules import OWNER_ID

MAX_FORM_BYTES = 10_000
DEFAULT_AUDIT_DAYS = 7
"""Days of the audit log that are shown unless somebody asks for others."""
MAX_USAGE_ROWS = 50
"""Rows of each usage report. The most expensive come first; `ponte usage` prints all."""
USAGE_GROUPS = ("person", "day", "channel", "model")
FORM_OPERATIONS = {
    "reload": "", "people add": "name", "people renew": "name", "people remove": "name",
    "people revoke": "id", "schedules pause": "id", "schedules resume": "id",
    "schedules run": "id", "schedules delete": "id",
}  # fmt: skip
"""The operations behind the buttons, and the argument that a form's `name` is."""
SHOWN_OPERATIONS = {
    *FORM_OPERATIONS, "turns", "usage", "audit", "people list", "people tokens", "schedules list",
}  # fmt: skip
"""The operations that tabs show. The last tab has a form for each other one."""
TAB_TITLES = {
    "": "Overview", "checks": "Checks", "usage": "Usage", "people": "People",
    "schedules": "Schedules", "audit": "Audit log", "config": "ponte.toml",
    "operations": "Operations",
}  # fmt: skip
STATE_WORDS = {"on": "on", "off": "off", "note": "note", "failing": "failing"}
CHECK_WORDS = {"on": "ok", "off": "off", "note": "note", "failing": "failing"}
_CODE = re.compile(r"`([^`]+)`")
Json = Mapping[str, Any]


class Html(str):
    """Text that is HTML already. All other text is escaped."""


@dataclass(frozen=True)
class AdminRoutes(RouteGroup):
    """The routes of the operator's page."""

    visitors: Visitors
    board: OperatorBoard
    operator: Operator

    @endpoint("GET", "/admin", media=("text/html",), refuses=(404,))
    @endpoint("GET", "/admin/{tab}", media=("text/html",), refuses=(404,))
    async def show(self, request: Request) -> Response:
        """Return the operator's page in HTML, for the owner and admins: `checks`, `usage`,
        `people`, `schedules`, `audit`, `config`, `operations`."""
        view = await self._open(request)
        return await view.show(request.path_params.get("tab", ""))

    @endpoint("POST", "/admin/{tab}", media=("text/html",), refuses=(404,))
    async def act(self, request: Request) -> Response:
        """Send a form of the operator's page. Accounts are changed by the owner only."""
        view = await self._open(request)
        return await view.submit(request, str(request.path_params["tab"]))

    async def _open(self, request: Request) -> AdminView:
        """Return the page for this visitor. Raise NotAllowed unless they are the owner or an
        admin."""
        visitor = visitor_of(request)
        await self.visitors.check_is_operator(visitor.person)
        return AdminView(self.visitors, self.board, self.operator, visitor, request.query_params)


class OperatorRequest(RequestBody):
    """The body of an operation. With an `output`, the answer is what the shell prints."""

    arguments: dict[str, Any] = Field(default_factory=dict)
    output: Literal["", "text", "json"] = ""


@dataclass(frozen=True)
class OperatorRoutes(RouteGroup):
    """The routes that only the home's Unix socket serves."""

    operator: Operator

    @endpoint("POST", "/operator/{operation:path}", refuses=(404,))
    async def run(self, request: Request, body: OperatorRequest) -> Any:
        """Run an operation of `ponte`: `reload`, `usage`, `people/add` and others."""
        name = str(request.path_params["operation"]).replace("/", " ")
        if not body.output:
            return await self.operator.run(name, body.arguments)
        return await self.operator.describe(name, body.arguments, as_json=body.output == "json")


class AdminView:
    """The page for one visitor. `_form_token` stands in each form and proves that this page, in the
    visitor's session, has sent it."""

    def __init__(
        self,
        visitors: Visitors,
        board: StatusBoard,
        operator: Operator,
        visitor: Visitor,
        query: Json,
    ) -> None:
        self._board = board
        self._operator = operator
        self._visitor = visitor
        self._query = query
        self._zone = ZoneInfo(visitors.time_zone)
        self._is_owner = visitor.person.id == OWNER_ID
        self._form_token = visitors.auth.form_token(visitor)

    async def show(self, tab: str, notice: str = "", status: int = 200) -> Response:
        """Return a tab as HTML, below a notice. Raise UnknownPath, BadInput."""
        tabs = {
            "": self._overview,
            "checks": self._checks,
            "usage": self._usage,
            "people": self._people,
            "schedules": self._schedules,
            "audit": self._audit,
            "config": self._config,
            "operations": self._operations,
        }
        if tab not in tabs:
            raise UnknownPath
        body = await tabs[tab]()
        title = f"{say('Administration')} – {say(TAB_TITLES[tab])}"
        times = say("Times are in {zone} (PONTE_TIMEZONE).", zone=self._zone)
        links = ""
        for name, words in TAB_TITLES.items():
            path = f"/admin/{name}" if name else "/admin"
            here = ' aria-current="page"' if name == tab else ""
            links += f'<li><a href="{path}"{here}>{escape(say(words))}</a></li>'
        page = (
            f'<!doctype html><html lang="{LANGUAGE.get()}"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>{escape(title)}</title><link rel="icon" href="/page/ponte.svg"'
            ' type="image/svg+xml"><link rel="stylesheet" href="/page/ponte.css">'
            '<link rel="stylesheet" href="/page/data.css">'
            '<link rel="stylesheet" href="/page/admin.css"><body class="admin">'
            f'<header><h1>{escape(say("Administration"))}</h1><a href="/">Ponte</a></header>'
            f'<nav aria-label="{escape(say("Administration"))}"><ul>{links}</ul></nav>'
            f'<main>{notice}{body}<p class="hint">{escape(times)}</p></main></body></html>'
        )
        # With `no-referrer`, browsers send the forms of this page with `Origin: null` (Fetch
        # standard, "append a request `Origin` header"), which is refused as another site's.
        headers = {
            "Content-Security-Policy": http_io.HTML_SECURITY_POLICY,
            "Referrer-Policy": "same-origin",
        }
        return HTMLResponse(page, status, headers=headers)

    async def submit(self, request: Request, tab: str) -> Response:
        """Do what a form asks for, and return its tab with the result.

        Raise NotAllowed, Refusal for a form that is not of this visitor's session,
        UnknownPath, TooLarge, BadRequest.
        """
        body = await http_io.limit_body(request, MAX_FORM_BYTES).body()
        try:
            fields = parse_qs(body.decode(errors="replace"), max_num_fields=20)
        except ValueError:
            raise BadRequest(why="it has too many fields") from None
        form = {name: values[0] for name, values in fields.items()}
        if not hmac.compare_digest(form.get("form", "").encode(), self._form_token.encode()):
            raise Refusal("This form is no longer valid. Open the page again and repeat the step.")
        status = 200
        try:
            notice = await self._run_action(tab, form)
        except (BadInput, SettingsError) as error:
            notice = _notice("bad", *error.words().splitlines())
            status = status_of(error) if isinstance(error, BadInput) else 400
        return await self.show(tab, notice, status)

    async def _run_action(self, tab: str, form: Mapping[str, str]) -> str:
        """Do what a form asks for and return HTML about the result. Raise NotAllowed,
        UnknownPath, BadInput, SettingsError."""
        name, do = form.get("name", "").strip(), form.get("do", "")
        words = f"{tab} {do}" if tab != "config" else do
        if tab == "operations":
            operations = [one for one in self._forms() if one["name"] == do]
            if not operations:
                raise UnknownPath
            fields = [each["name"] for each in operations[0]["fields"]]
            values = {field: form.get(f"argument-{field}") for field in fields}
            arguments = {key: value for key, value in values.items() if value}
            described = await self._operator.describe(do, arguments, self._visitor.person)
            lines = "\n".join([*described["notes"], *described["lines"]])
            return f'<pre class="notice good" role="status">{escape(lines)}</pre>'
        if words not in FORM_OPERATIONS:
            raise UnknownPath
        arguments = {} if words == "reload" else {FORM_OPERATIONS[words]: name}
        if words == "schedules run":
            arguments["once"] = form.get("once", "")
        actor = self._visitor.person
        result = await self._operator.describe(words, arguments, actor)
        if words in ("people add", "people renew"):
            label = escape(say("Link for {name}", name=name))
            link = escape(result["lines"][0])
            notes = "<br>".join(map(_to_html, result["notes"]))
            return (
                f'<div class="notice good" role="status"><p>{notes}</p><label>{label}'
                f'<input class="link" readonly value="{link}"></label></div>'
            )
        return _notice("good", *result["lines"])

    async def _run(self, operation: str, **arguments: Any) -> Any:
        return await self._operator.run(operation, arguments, self._visitor.person)

    async def _overview(self) -> str:
        parts = await self._board.health()
        rows = [
            (translate_word(part.name), _state(part.state), _to_html(translate_word(part.words)))
            for part in parts
        ]
        pending, turns = await self._run("pending"), await self._run("turns")
        limits = [limit for limit in await self._run("limits") if limit["share"] >= 0.8]
        names = await self._names(
            [one[fact] for one in pending for fact in ("asker", "place")]
            + [one[fact] for one in turns for fact in ("person", "conversation")]
            + [one["person"] for one in limits]
        )
        waiting = [
            (
                one["id"],
                one["title"],
                names(one["asker"]),
                names(one["place"]),
                self._moment(one["created_at"]),
                self._moment(one["expires_at"]),
            )
            for one in pending
        ]
        listed = {
            failed: [
                (
                    self._moment(one["created_at"]),
                    names(one["person"]),
                    names(one["conversation"]),
                    say(TURN_WORDS.get(one["state"], one["state"])),
                    one["reason"],
                )
                for one in turns
                if one["failed"] is failed
            ]
            for failed in (False, True)
        }
        turn_heads = (say("time"), say("person"), say("conversation"), say("state"), say("code"))
        warning = ""
        if await self._run("config check"):
            words = say("ponte.toml has errors. Ponte is still using the last valid version.")
            link = f'<a href="/admin/config">{escape(say("Show the errors"))}</a>'
            warning = f'<p class="notice bad">{escape(words)} {link}</p>'
        connections = _table((say("part"), say("state"), say("details")), rows)
        request_heads = (
            say("ID"),
            say("request"),
            say("requested by"),
            say("channel"),
            say("time"),
            say("expires"),
        )
        requests = _table(request_heads, waiting, empty=say("No requests are waiting."))
        running_rows, no_turn = (
            [row[:4] for row in listed[False]],
            say("No messages are being processed."),
        )
        running = _table(turn_heads[:4], running_rows, empty=no_turn)
        failed_turns = _table(
            turn_heads, listed[True], empty=say("No messages have failed recently.")
        )
        used = _limits_table(limits, names)
        return "".join(
            [
                warning,
                _section(say("Connections"), connections, "ponte status"),
                _section(say("Requests waiting for approval"), requests, "ponte changes pending"),
                _section(say("Limits that are nearly reached"), used, "ponte usage")
                if limits
                else "",
                _section(say("Running and queued messages"), running, "ponte turns"),
                _section(say("Failed messages"), failed_turns, "ponte turns --failed"),
            ]
        )

    async def _checks(self) -> str:
        findings = await self._run("doctor")
        order = {"failing": 0, "note": 1, "on": 2, "off": 3}
        rows = [
            (_state(one["state"], CHECK_WORDS), translate_word(one["part"]), _to_html(one["words"]))
            for one in sorted(findings, key=lambda one: order[one["state"]])
        ]
        heads = (say("state"), say("part"), say("details"))
        return _section(say("Checks"), _table(heads, rows), "ponte doctor")

    async def _usage(self) -> str:
        since, problem = self._query.get("since", ""), ""
        try:
            reports = [await self._run("usage", by=by, since=since) for by in USAGE_GROUPS]
        except BadInput as error:
            problem = _notice("bad", error.words())
            since, reports = "", [await self._run("usage", by=by) for by in USAGE_GROUPS]
        limits = await self._run("limits")
        names = await self._names(
            [str(row["name"]) for report in (reports[0], reports[2]) for row in report["rows"]]
            + [one[fact] for one in limits for fact in ("person", "name")]
        )
        first = str(reports[0]["since"])
        sections = [
            problem,
            '<form class="filter" method="get" action="/admin/usage">'
            + _field("since", say("First day"), first, "date")
            + f"<button>{escape(say('Show'))}</button></form>",
            _section(say("Limits"), _limits_table(limits, names), "ponte usage"),
        ]
        labels = {
            "person": say("By person"),
            "day": say("By day"),
            "channel": say("By channel"),
            "model": say("By model"),
        }
        name_of: Mapping[str, Callable[[str], str]] = {
            "person": names,
            "channel": names,
            "day": lambda day: format_date(date.fromisoformat(day)),
        }
        for report in reports:
            by, rows = str(report["by"]), report["rows"]
            if by == "day":  # the newest first
                rows = rows[::-1]
            times = say("calls") if by == "model" else say("messages")
            cells = [
                (
                    name_of.get(by, str)(row["name"]),
                    format_number(int(row.get("turns") or row.get("calls") or 0)),
                    format_number(int(row.get("input") or 0) + int(row.get("output") or 0)),
                    "–" if row.get("cost") is None else format_money(float(row["cost"])),
                )
                for row in rows[:MAX_USAGE_ROWS]
            ]
            name = say("day") if by == "day" else say("name")
            heads = (name, times, say("tokens"), say("US dollars"))
            estimated = sum(int(row.get("estimated") or 0) for row in rows)
            note = f"<p>{escape(describe_estimates(estimated))}</p>" if estimated else ""
            if by == "model" and (models := report.get("server_costs")):
                note += f"<p>{escape(describe_server_costs(map(str, models)))}</p>"
            table = _table(heads, cells, numbers={1, 2, 3}, empty=say("Nothing has been used yet."))
            table = _draw_days(rows[::-1], table) if by == "day" and rows else table
            command = f"ponte usage --by {by} --since {first}"
            sections.append(_section(labels[by], table + note, command))
        return "".join(sections)

    async def _people(self) -> str:
        rows, tokens = [], await self._run("people tokens")
        for one in await self._run("people list"):
            name = str(one["name"])
            count = format_number(sum(token["person"] == name for token in tokens))
            cells = [name, self._moment(one["added"]), _day_or_never(one["seen"]), count]
            if self._is_owner:
                renew = self._form("renew", name, say("Create a new link"), say("New link"))
                remove = self._form("remove", name, say("Remove {name}", name=name), say("Remove"))
                cells.append(Html(renew + remove))
            rows.append(cells)
        heads = [say("name"), say("added"), say("last visit"), say("API tokens")]
        heads += [say("actions")] if self._is_owner else []
        nobody = say("No one has been added yet, besides the owner.")
        table = _table(heads, rows, numbers={3}, empty=nobody)
        token_rows = []
        for one in tokens:
            token_name, id = to_one_line(str(one["name"])) or "–", str(one["id"])
            expires = self._moment(one["expires"]) if one["expires"] else say("never")
            cells = [
                str(one["person"]),
                token_name,
                id,
                self._moment(one["added"]),
                _day_or_never(one["seen"]),
                expires,
            ]
            if self._is_owner:
                button = say("Revoke {name}", name=id)
                cells.append(Html(self._form("revoke", id, button, say("Revoke"))))
            token_rows.append(cells)
        token_heads = [
            say("person"),
            say("name"),
            say("ID"),
            say("added"),
            say("last use"),
            say("expires"),
        ]
        token_heads += [say("actions")] if self._is_owner else []
        token_table = _table(token_heads, token_rows, empty=say("No one has an API token."))
        api_tokens = _section(say("API tokens"), token_table, "ponte people tokens")
        if not self._is_owner:
            return _section(say("People"), table, "ponte people list") + api_tokens
        name = _field("name", say("Name"), "", "text", 'required maxlength="32" autocomplete="off"')
        invite = self._post_form("people", "add", name, say("Invite"), "approve", "filter")
        note = say("Lowercase letters, digits, dots, hyphens and underscores.")
        return (
            _section(
                say("Invite a person"), f"<p>{escape(note)}</p>{invite}", "ponte people add NAME"
            )
            + _section(say("People"), table, "ponte people list")
            + api_tokens
        )

    async def _schedules(self) -> str:
        """Return the list of everybody's schedules."""
        from core.schedules.schedule import ScheduleDraft, ScheduleRule
        from core.schedules.words import (
            REASON_SENTENCES,
            STATE_SENTENCES,
            describe_result,
            describe_rule,
        )

        schedules = await self._run("schedules list")
        names, rows = (
            await self._names([one[fact] for one in schedules for fact in ("owner", "place")]),
            [],
        )
        for one in schedules:
            rule = ScheduleRule(one["cron"], one["run_at"])
            draft = ScheduleDraft(one["kind"], one["text"], rule, one["time_zone"])
            state, reason = say(STATE_SENTENCES[one["state"]]), REASON_SENTENCES.get(one["reason"])
            last_run = "–"
            if run := one["last_run"]:
                result = describe_result(run["state"], run["missed_count"], is_late=run["is_late"])
                code = f" ({run['reason']})" if run["reason"] else ""
                last_run = f"{self._moment(run['due_at'])}: {result}{code}"
            words = {"pause": say("Pause"), "resume": say("Resume"), "run": say("Run now")}
            actions = {"active": ("pause", "run"), "paused": ("resume", "run")}
            # A form that is sent twice, as by a double click, runs the schedule once.
            once = f'<input type="hidden" name="once" value="{secrets.token_hex(8)}">'
            forms = ""
            for action in actions.get(one["state"], ()):
                fields = f'<input type="hidden" name="name" value="{one["id"]}">{once}'
                forms += self._post_form("schedules", action, fields, words[action])
            button = say("Delete {id}", id=one["id"])
            forms += self._form("delete", one["id"], button, say("Delete"), "schedules")
            rows.append(
                (
                    one["id"],
                    f"{state}: {say(reason)}" if reason else state,
                    f"{describe_rule(draft)} ({one['time_zone']})",
                    self._moment(one["next_due_at"]) if one["next_due_at"] else "–",
                    last_run,
                    names(one["owner"]),
                    names(one["place"]),
                    one["text"],
                    Html(forms),
                )
            )
        heads = (
            say("ID"),
            say("state"),
            say("rule"),
            say("next run"),
            say("last run"),
            say("owner"),
            say("channel"),
            say("text"),
            say("actions"),
        )
        table = _table(heads, rows, empty=say("No schedules yet."))
        section = _section(say("Schedules"), table, "ponte schedules list")
        return f'<div class="wide">{section}</div>'

    def _form(self, action: str, name: str, button: str, summary: str, tab: str = "people") -> str:
        """Return a form that opens when somebody clicks on its summary, so that one click changes
        nothing."""
        style = "approve" if action == "renew" else "danger"
        words = {
            "renew": say(
                "{name}'s sign-in link and sessions will end. API tokens will stay valid.",
                name=name,
            ),
            "remove": say(
                "{name} won't be able to sign in, and anything Ponte is doing for them will stop. "
                "Their messages will be kept.",
                name=name,
            ),
            "revoke": say("Programs that use this token will lose access immediately."),
            "delete": say("The schedule will be deleted with the list of its runs."),
        }
        fields = f'<input type="hidden" name="name" value="{escape(name)}">'
        fields += f"<p>{escape(words[action])}</p>"
        form = self._post_form(tab, action, fields, button, style)
        return f"<details><summary>{escape(summary)}</summary>{form}</details>"

    def _post_form(
        self, tab: str, action: str, fields: str, button: str, style: str = "", kind: str = ""
    ) -> str:
        """Return a form whose button has the class `style`. `kind` is the class of the form."""
        return (
            f'<form class="{kind}" method="post" action="/admin/{tab}">'
            f'<input type="hidden" name="do" value="{action}">'
            f'<input type="hidden" name="form" value="{escape(self._form_token)}">'
            f'{fields}<button class="{style}">{escape(button)}</button></form>'
        )

    async def _audit(self) -> str:
        filters = {
            key: str(self._query.get(key, "")).strip()[:100]
            for key in ("since", "until", "person", "event", "after")
        }
        if not (filters["since"] or filters["until"]):
            first = datetime.now(self._zone).date() - timedelta(days=DEFAULT_AUDIT_DAYS - 1)
            filters["since"] = first.isoformat()
        problem = ""
        try:
            page = await self._run("audit", **filters)
        except BadInput as error:
            problem = _notice("bad", error.words())
            page = {"lines": [], "next": ""}
        lines = page["lines"]
        keys = [str(line[fact]) for line in lines for fact in PERSON_FACTS if line.get(fact)]
        names = await self._names(keys)
        rows = []
        for line in lines:
            facts = [
                f"{key}={names(value) if key in PERSON_FACTS else value}"
                for key, value in line.items()
                if key not in ("at", "event") and value != ""
            ]
            at = datetime.fromisoformat(str(line["at"])).astimezone(self._zone)
            rows.append((format_moment(at, None, "medium"), str(line["event"]), "  ".join(facts)))
        form = (
            '<form class="filter" method="get" action="/admin/audit">'
            + _field("since", say("First day"), filters["since"], "date")
            + _field("until", say("Last day"), filters["until"], "date")
            + _field("person", say("Person, for example slack:U1"), filters["person"])
            + _field("event", say("Event, for example change-approved"), filters["event"])
            + f"<button>{escape(say('Show'))}</button></form>"
        )
        more = ""
        if page.get("next"):
            query = urlencode({**filters, "after": page["next"]})
            more = f'<p><a href="/admin/audit?{escape(query)}">{escape(say("Next page"))}</a></p>'
        heads = (say("time"), say("event"), say("details"))
        table = _table(heads, rows, empty=say("No entries."))
        command = f"ponte audit --since {filters['since']}" if filters["since"] else "ponte audit"
        return problem + form + _section(say("Audit log"), table + more, command)

    async def _config(self) -> str:
        faults = await self._run("config check")
        listed = "".join(f"<li><code>{escape(fault)}</code></li>" for fault in faults)
        words = say("The file has no errors.")
        for part in await self._board.health():
            if (part.name, part.state) == ("config", "off"):
                words = part.words  # there is no file
        state = f'<ul class="faults">{listed}</ul>' if faults else f"<p>{escape(words)}</p>"
        words = say(
            "Rules, limits and prices can only be edited in the file. Reload to apply your "
            "changes. If the file has errors, nothing changes."
        )
        form = self._post_form("config", "reload", "", say("Reload"), "approve")
        return _section("ponte.toml", f"{state}<p>{escape(words)}</p>{form}", "ponte reload")

    async def _operations(self) -> str:
        """Return a form for each operation that no other tab shows."""
        sections = []
        for one in self._forms():
            fields = ""
            for field in one["fields"]:
                name, label = f"argument-{field['name']}", escape(field["help"])
                if field["long"]:
                    fields += f'<label>{label}<textarea name="{name}" rows="6"></textarea></label>'
                else:
                    more = "required" if field["required"] else ""
                    fields += _field(name, field["help"], "", "text", more)
            form = self._post_form("operations", one["name"], fields, say("Run"), kind="filter")
            words = f"<p>{escape(one['help'])}</p>"
            sections.append(_section(one["name"], words + form, f"ponte {one['name']}"))
        return "".join(sections)

    def _forms(self) -> Sequence[Json]:
        forms = self._operator.list_forms()
        return [one for one in forms if one["name"] not in SHOWN_OPERATIONS]

    async def _names(self, keys: Iterable[str]) -> Callable[[object], str]:
        """Return a function that says what to call the person or channel with one of these keys: a
        person's name and key, a channel's name, or the key alone."""
        sorted_keys = sorted({key for key in keys if key})
        names = await self._run("names", keys=sorted_keys) if sorted_keys else {}

        def describe(key: object) -> str:
            name = to_one_line(names.get(str(key), ""))
            if str(key).count(":") > 1:
                return name or (translate_word("page") if str(key).startswith("web:") else str(key))
            return f"{name} ({key})" if name and name != key else str(key)

        return describe

    def _moment(self, at: float) -> str:
        return format_moment(datetime.fromtimestamp(at, self._zone))


def _section(title: str, body: str, command: str) -> str:
    """Return a section. Its last line names the command in the shell with the same result."""
    words = escape(say("In a shell: {command}", command="\0"))
    hint = words.replace("\0", f"<code>{escape(command)}</code>")
    return f'<section><h2>{escape(title)}</h2>{body}<p class="hint">{hint}</p></section>'


def _notice(kind: str, *lines: str) -> str:
    words = "<br>".join(map(_to_html, lines))
    return f'<p class="notice {kind}" role="status">{words}</p>'


def _day_or_never(day: str) -> str:
    return format_date(date.fromisoformat(day)) if day else say("never")


def _field(name: str, label: str, value: str, type: str = "text", more: str = "") -> str:
    return (
        f'<label>{escape(label)}<input type="{type}" name="{name}" value="{escape(value)}" {more}>'
        "</label>"
    )


def _state(state: str, words: Mapping[str, str] = STATE_WORDS) -> Html:
    return Html(f'<span class="state {state}">{escape(say(words[state]))}</span>')


def _to_html(words: str) -> Html:
    """Return a sentence as HTML, with commands between backticks as code."""
    return Html(_CODE.sub(r"<code>\1</code>", escape(words)))


def _limits_table(limits: Sequence[Json], names: Callable[[object], str]) -> str:
    rows = [
        (
            names(one["name"]),
            one["limit"],
            one["used"],
            f"{min(one['share'], 9.99):.0%}",
            one["until"],
            one["source"],
        )
        for one in limits
    ]
    heads = (
        say("limit for"),
        say("limit"),
        say("used"),
        say("used (%)"),
        say("until"),
        say("set in"),
    )
    return _table(heads, rows, numbers={3}, empty=say("No limits are set."))


def _draw_days(rows: Sequence[Json], table: str) -> str:
    """Return a chart of the cost of each day, or of the messages if no cost is known. Days without
    any are shown too."""
    has_cost = any(row.get("cost") for row in rows)
    title = say("US dollars") if has_cost else say("messages")
    by_day = {date.fromisoformat(str(row["name"])): row for row in rows}
    days = [min(by_day) + timedelta(n) for n in range((max(by_day) - min(by_day)).days + 1)]
    values = [float(by_day.get(day, {}).get("cost" if has_cost else "turns") or 0) for day in days]
    series = Series(title, tuple(values), tuple(map(format_number, values)))
    labels = tuple(format_date(day, length="MMMd") for day in days)
    return draw_chart(Chart("bar", title, labels, (series,)), table)


def _table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Iterable[int] = (),
    empty: str = "",
) -> str:
    """Return a table. Cells of type Html are used as they are. On a phone each cell shows its
    heading."""
    if not rows:
        return f"<p>{escape(empty)}</p>"
    right = frozenset(numbers)
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    body = ""
    for row in rows:
        cells = ""
        for n, cell in enumerate(row):
            style = ' class="amount"' if n in right else ""
            inner = cell if isinstance(cell, Html) else escape(str(cell))
            cells += f'<td{style} data-head="{escape(heads[n])}">{inner}</td>'
        body += f"<tr>{cells}</tr>"
    return (
        f'<div class="table" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
