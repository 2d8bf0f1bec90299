"""The operations of the owner and admins: the routes of the home's socket, and the page `/admin`.

The page shows what runs, who asks for what, who may sign in, what was done.

Only the owner and admins read it, and only the owner changes accounts. It is plain HTML without a
script.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
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
from core.base.i18n import LANGUAGE, format_date, format_number, say
from core.domain.records import ListTable
from core.domain.rows import Chart, Series
from core.integrations import Operator
from core.money.allowances import describe_usage_notes
from core.people.rules import OWNER_ID

MAX_FORM_BYTES = 10_000
DEFAULT_AUDIT_DAYS = 7
"""Days of the audit log that are shown unless somebody asks for others."""
MAX_USAGE_ROWS = 50
"""Rows of each usage report. The most expensive come first; `ponte usage` prints all."""
USAGE_TITLES = {
    "person": "By person",
    "day": "By day",
    "channel": "By channel",
    "model": "By model",
}
TAB_TITLES = {
    "": "Overview",
    "checks": "Checks",
    "usage": "Usage",
    "people": "People",
    "schedules": "Schedules",
    "audit": "Audit log",
    "config": "ponte.toml",
    "operations": "Operations",
}
STATES = ("on", "off", "note", "failing")
"""States that have a color."""
_CODE = re.compile(r"`([^`]+)`")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class RowAction:
    """An operation that a row of a list offers, with the row's `field` as its argument.

    With a `warning`, the button `confirm` appears below the warning when somebody opens `label`, so
    that one click changes nothing. Only rows in `states` offer it, if there are any.
    """

    operation: str
    field: str
    label: str
    warning: str = ""
    confirm: str = ""
    states: Collection[str] = ()


ROW_ACTIONS: Mapping[str, Sequence[RowAction]] = {
    "people list": (
        RowAction(
            "people renew",
            "name",
            "New link",
            "{name}'s sign-in link and sessions will end. API tokens will stay valid.",
            confirm="Create a new link",
        ),
        RowAction(
            "people remove",
            "name",
            "Remove",
            "{name} won't be able to sign in, and anything Ponte is doing for them will stop. "
            "Their messages will be kept.",
            confirm="Remove {name}",
        ),
    ),
    "people tokens": (
        RowAction(
            "people revoke",
            "id",
            "Revoke",
            "Programs that use this token will lose access immediately.",
            confirm="Revoke {id}",
        ),
    ),
    "schedules list": (
        RowAction("schedules pause", "id", "Pause", states={"active"}),
        RowAction("schedules resume", "id", "Resume", states={"paused"}),
        RowAction("schedules run", "id", "Run now", states={"active", "paused"}),
        RowAction(
            "schedules delete",
            "id",
            "Delete",
            "The schedule will be deleted with the list of its runs.",
            confirm="Delete {id}",
        ),
    ),
}
"""The operations that the rows of a list offer."""
IN_OTHER_TABS = {
    *(action.operation for actions in ROW_ACTIONS.values() for action in actions),
    *ROW_ACTIONS,
    *("status", "turns", "usage", "audit", "reload", "people add"),
}
"""The operations that other tabs show. The last tab has a form for each other one."""


@dataclass(frozen=True)
class AdminRoutes(RouteGroup):
    """The routes of the operator's page."""

    visitors: Visitors
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
        return AdminView(self.visitors, self.operator, visitor, request.query_params)


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
        self, visitors: Visitors, operator: Operator, visitor: Visitor, query: Json
    ) -> None:
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
            notice = await self._run_action(form)
        except (BadInput, SettingsError) as error:
            notice = _notice("bad", *error.words().splitlines())
            status = status_of(error) if isinstance(error, BadInput) else 400
        return await self.show(tab, notice, status)

    async def _run_action(self, form: Mapping[str, str]) -> str:
        """Do what a form asks for and return HTML about the result. Raise NotAllowed,
        UnknownPath, BadInput, SettingsError."""
        do = form.get("do", "")
        if do not in {one["name"] for one in self._operator.list_forms()}:
            raise UnknownPath
        given = {
            name.removeprefix("argument-"): value.strip()
            for name, value in form.items()
            if name.startswith("argument-") and value.strip()
        }
        result = await self._operator.describe(do, given, self._visitor.person)
        if do not in ("people add", "people renew"):
            lines = "\n".join([*result["notes"], *result["lines"]])
            return f'<pre class="notice good" role="status">{_to_html(lines)}</pre>'
        label = escape(say("Link for {name}", name=given["name"]))
        notes = "<br>".join(map(_to_html, result["notes"]))
        return (
            f'<div class="notice good" role="status"><p>{notes}</p><label>{label}'
            f'<input class="link" readonly value="{escape(result["lines"][0])}"></label></div>'
        )

    async def _run(self, operation: str, **arguments: Any) -> Any:
        return await self._operator.run(operation, arguments, self._visitor.person)

    async def _list(self, name: str, rows: Sequence[Json] | None = None) -> str:
        """Return a list of the operator as a table, with the operations that its rows offer."""
        rows = await self._run(name) if rows is None else rows
        table, actions = await self._operator.tabulate(name, rows), ROW_ACTIONS.get(name, ())
        if name.startswith("people ") and not self._is_owner:
            actions = ()
        return _table(table, rows, self._offer(actions) if actions else None)

    def _offer(self, actions: Sequence[RowAction]) -> Callable[[Json], str]:
        """Return a function that returns the forms of a row."""

        def forms(row: Json) -> str:
            return "".join(
                self._action_form(action, row)
                for action in actions
                if not action.states or row["state"] in action.states
            )

        return forms

    def _action_form(self, action: RowAction, row: Json) -> str:
        names = {"name": row.get("name", ""), "id": row.get("id", "")}
        fields = _hidden_field(f"argument-{action.field}", row[action.field])
        if action.operation == "schedules run":  # a form that is sent twice runs it once
            fields += _hidden_field("argument-once", secrets.token_hex(8))
        label = say(action.label)
        if not action.warning:
            return self._form("schedules", action.operation, fields, label)
        fields += f"<p>{escape(say(action.warning, **names))}</p>"
        tab = action.operation.split()[0]
        form = self._form(tab, action.operation, fields, say(action.confirm, **names), "danger")
        return f"<details><summary>{escape(label)}</summary>{form}</details>"

    def _form(
        self, tab: str, operation: str, fields: str, button: str, style: str = "", kind: str = ""
    ) -> str:
        """Return a form whose button has the class `style`. `kind` is the class of the form."""
        hidden = _hidden_field("do", operation) + _hidden_field("form", self._form_token)
        return (
            f'<form class="{kind}" method="post" action="/admin/{tab}">{hidden}'
            f'{fields}<button class="{style}">{escape(button)}</button></form>'
        )

    async def _overview(self) -> str:
        warning = ""
        if await self._run("config check"):
            words = say("ponte.toml has errors. Ponte is still using the last valid version.")
            link = f'<a href="/admin/config">{escape(say("Show the errors"))}</a>'
            warning = f'<p class="notice bad">{escape(words)} {link}</p>'
        parts, pending = await self._list("status"), await self._list("pending")
        limits = [limit for limit in await self._run("limits") if limit["share"] >= 0.8]
        used = await self._list("limits", limits)
        turns = await self._list("turns")
        return "".join(
            [
                warning,
                _section(say("Connections"), parts, "ponte status"),
                _section(say("Requests waiting for approval"), pending, "ponte changes pending"),
                _section(say("Limits that are nearly reached"), used, "ponte usage")
                if limits
                else "",
                _section(say("Running, queued and failed messages"), turns, "ponte turns"),
            ]
        )

    async def _checks(self) -> str:
        order = {"failing": 0, "note": 1, "on": 2, "off": 3}
        findings = sorted(await self._run("doctor"), key=lambda one: order[one["state"]])
        return _section(say("Checks"), await self._list("doctor", findings), "ponte doctor")

    async def _usage(self) -> str:
        since, problem = self._query.get("since", ""), ""
        try:
            reports = [await self._run("usage", by=by, since=since) for by in USAGE_TITLES]
        except BadInput as error:
            problem = _notice("bad", error.words())
            reports = [await self._run("usage", by=by) for by in USAGE_TITLES]
        first = str(reports[0]["since"])
        day = _field("since", say("First day"), first, "date")
        limits = await self._list("limits")
        sections = [
            problem,
            f'<form class="filter" method="get" action="/admin/usage">{day}'
            f"<button>{escape(say('Show'))}</button></form>",
            _section(say("Limits"), limits, "ponte usage"),
        ]
        for report in reports:
            by, rows = str(report["by"]), report["rows"]
            newest_first = rows[::-1] if by == "day" else rows
            table = await self._list(f"usage {by}", newest_first[:MAX_USAGE_ROWS])
            table = _draw_days(rows, table) if by == "day" and rows else table
            models = report["server_costs"] if by == "model" else ()
            notes = "".join(f"<p>{escape(note)}</p>" for note in describe_usage_notes(rows, models))
            command = f"ponte usage --by {by} --since {first}"
            sections.append(_section(say(USAGE_TITLES[by]), table + notes, command))
        return "".join(sections)

    async def _people(self) -> str:
        people = _section(say("People"), await self._list("people list"), "ponte people list")
        tokens = await self._list("people tokens")
        tokens = _section(say("API tokens"), tokens, "ponte people tokens")
        if not self._is_owner:
            return people + tokens
        more = 'required maxlength="32" autocomplete="off"'
        name = _field("argument-name", say("Name"), "", "text", more)
        form = self._form("people", "people add", name, say("Invite"), "approve", "filter")
        note = escape(say("Lowercase letters, digits, dots, hyphens and underscores."))
        invite = _section(say("Invite a person"), f"<p>{note}</p>{form}", "ponte people add NAME")
        return invite + people + tokens

    async def _schedules(self) -> str:
        """Return the list of everybody's schedules."""
        table = await self._list("schedules list")
        section = _section(say("Schedules"), table, "ponte schedules list")
        return f'<div class="wide">{section}</div>'

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
        form = (
            '<form class="filter" method="get" action="/admin/audit">'
            + _field("since", say("First day"), filters["since"], "date")
            + _field("until", say("Last day"), filters["until"], "date")
            + _field("person", say("Person, for example slack:U1"), filters["person"])
            + _field("event", say("Event, for example change-approved"), filters["event"])
            + f"<button>{escape(say('Show'))}</button></form>"
        )
        more = ""
        if page["next"]:
            query = urlencode({**filters, "after": page["next"]})
            more = f'<p><a href="/admin/audit?{escape(query)}">{escape(say("Next page"))}</a></p>'
        table = await self._list("audit", page["lines"]) or f"<p>{escape(say('No entries.'))}</p>"
        command = f"ponte audit --since {filters['since']}" if filters["since"] else "ponte audit"
        return problem + form + _section(say("Audit log"), table + more, command)

    async def _config(self) -> str:
        faults = await self._run("config check")
        listed = "".join(f"<li><code>{escape(fault)}</code></li>" for fault in faults)
        words = say("The file has no errors.")
        for part in await self._run("status"):
            if (part["name"], part["state"]) == ("config", "off"):
                words = part["words"]  # there is no file
        state = f'<ul class="faults">{listed}</ul>' if faults else f"<p>{escape(words)}</p>"
        words = say(
            "Rules, limits and prices can only be edited in the file. Reload to apply your "
            "changes. If the file has errors, nothing changes."
        )
        form = self._form("config", "reload", "", say("Reload"), "approve")
        return _section("ponte.toml", f"{state}<p>{escape(words)}</p>{form}", "ponte reload")

    async def _operations(self) -> str:
        """Return a form for each operation that no other tab shows."""
        sections = []
        for one in self._operator.list_forms():
            if one["name"] in IN_OTHER_TABS:
                continue
            fields = ""
            for field in one["fields"]:
                name, label = f"argument-{field['name']}", escape(field["help"])
                if field["long"]:
                    fields += f'<label>{label}<textarea name="{name}" rows="6"></textarea></label>'
                else:
                    more = "required" if field["required"] else ""
                    fields += _field(name, field["help"], "", "text", more)
            form = self._form("operations", one["name"], fields, say("Run"), kind="filter")
            words = f"<p>{escape(one['help'])}</p>"
            sections.append(_section(one["name"], words + form, f"ponte {one['name']}"))
        return "".join(sections)


def _section(title: str, body: str, command: str) -> str:
    """Return a section. Its last line names the command in the shell with the same result."""
    words = escape(say("In a shell: {command}", command="\0"))
    hint = words.replace("\0", f"<code>{escape(command)}</code>")
    return f'<section><h2>{escape(title)}</h2>{body}<p class="hint">{hint}</p></section>'


def _notice(kind: str, *lines: str) -> str:
    words = "<br>".join(map(_to_html, lines))
    return f'<p class="notice {kind}" role="status">{words}</p>'


def _hidden_field(name: str, value: str) -> str:
    return f'<input type="hidden" name="{name}" value="{escape(value)}">'


def _field(name: str, label: str, value: str, type: str = "text", more: str = "") -> str:
    return (
        f'<label>{escape(label)}<input type="{type}" name="{name}" value="{escape(value)}" {more}>'
        "</label>"
    )


def _to_html(words: str) -> str:
    """Return a text as HTML, with commands between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(words))


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


def _table(table: ListTable, rows: Sequence[Json], forms: Callable[[Json], str] | None) -> str:
    """Return a list as a table, with the forms of each row in the last column. On a phone each cell
    shows its heading."""
    if not rows:
        return f"<p>{escape(table.empty)}</p>" if table.empty else ""
    headings = [*map(escape, table.headings), *([escape(say("actions"))] if forms else [])]
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = ""
    for row, texts in zip(rows, table.rows, strict=True):
        cells = [*map(_to_html, texts), *([forms(row)] if forms else [])]
        body += "<tr>"
        for n, (heading, cell) in enumerate(zip(headings, cells, strict=True)):
            if row.get("state") in STATES and table.fields[n] == "state":
                cell = f'<span class="state {row["state"]}">{cell}</span>'
            style = ' class="amount"' if n in table.numbers else ""
            body += f'<td{style} data-head="{heading}">{cell}</td>'
        body += "</tr>"
    return (
        f'<div class="table" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
