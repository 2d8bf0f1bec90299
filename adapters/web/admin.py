"""The operations of the owner and admins: the routes of the home's socket, and the page `/admin`.

The page shows what runs, who asks for what, who may sign in, what was done. Only the owner and
admins read it, and only the owner changes accounts. It is plain HTML; only the cards of requests
need a script.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from pydantic import Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from adapters.web import http_io
from adapters.web.admin_lists import (
    ROW_ACTIONS,
    Forms,
    field,
    filter_form,
    list_requests,
    notice,
    section,
    to_html,
)
from adapters.web.errors import UnknownPath, status_of
from adapters.web.http_io import RequestBody, RouteGroup, endpoint, visitor_of
from adapters.web.page.chart import draw_chart
from adapters.web.page.routes import PAGE_SECURITY_POLICY
from adapters.web.sign_in import Visitors
from adapters.web.visitor import Visitor
from core.base.errors import BadInput, SettingsError, ToolError
from core.base.i18n import LANGUAGE, format_date, format_money, format_number, say
from core.domain.rows import Chart, Series
from core.integrations import Operator
from core.money.allowances import describe_usage_notes
from core.people.rules import OWNER_ID

DEFAULT_AUDIT_DAYS = 7
MAX_USAGE_ROWS = 50
"""The most expensive come first; `ponte usage` prints all."""
NEARLY_REACHED = 0.8
USAGE_TITLES = {
    "person": "By person",
    "day": "By day",
    "channel": "By channel",
    "model": "By model",
}
IN_OTHER_TABS = {
    *(action.operation for actions in ROW_ACTIONS.values() for action in actions),
    *ROW_ACTIONS,
    *("status", "turns", "usage", "audit", "reload", "people add", "feedback", "tables"),
}
"""The operations that other tabs show. The last tab has a form for each other one."""
PAGE = (Path(__file__).parent / "page" / "admin.html").read_text("utf-8")
CONFIG_EXAMPLE = (Path(__file__).parent / "page" / "ponte.toml.example").read_text("utf-8")
_EXAMPLE = re.compile(r"^((?:# ---.+\n\n)?#(\[+\w+)(?:.+\n)+\n?)", re.MULTILINE)
"""The lines of an example with their comment, and the first part of the heading: `[[rules`."""
_COMMENTED_OUT = re.compile(r"^#(?! )", re.MULTILINE)
"""The `#` before a setting of an example. That of a comment has a blank after it."""
Json = Mapping[str, Any]


@dataclass(frozen=True)
class AdminRoutes(RouteGroup):
    """The HTTP routes of the page `/admin`, for the owner and admins."""

    visitors: Visitors
    operator: Operator

    @endpoint("GET", "/admin", media=("text/html",), refuses=(404,))
    @endpoint("GET", "/admin/{tab}", media=("text/html",), refuses=(404,))
    async def show(self, request: Request) -> Response:
        """Return the operator's page in HTML, for the owner and admins: `checks`, `usage`,
        `people`, `schedules`, `tables`, `feedback`, `audit`, `config`, `operations`."""
        view = await self._open(request)
        return await view.show(request.path_params.get("tab", ""))

    @endpoint("POST", "/admin/{tab}", media=("text/html",), refuses=(404,))
    async def act(self, request: Request) -> Response:
        """Send a form of the operator's page. Accounts are changed by the owner only."""
        view = await self._open(request)
        return await view.submit(request, str(request.path_params["tab"]))

    async def _open(self, request: Request) -> AdminView:
        visitor = visitor_of(request)
        await self.visitors.check_is_operator(visitor.person)
        return AdminView(self.visitors, self.operator, visitor, request.query_params)


class OperatorRequest(RequestBody):
    """The body of a request to run an operation of `ponte`: its arguments by name, and the form of
    the answer. `output` is "" for the result as a value, or what a shell prints: "text" for people,
    "json" for programs."""

    arguments: dict[str, Any] = Field(default_factory=dict)
    output: Literal["", "text", "json"] = ""


@dataclass(frozen=True)
class OperatorRoutes(RouteGroup):
    """The routes for commands of the shell. Only the data folder's Unix socket serves them."""

    operator: Operator

    @endpoint("POST", "/operator/{operation:path}", refuses=(404,))
    async def run(self, request: Request, body: OperatorRequest) -> Any:
        """Run an operation of `ponte`: `reload`, `usage`, `people/add` and others."""
        name = str(request.path_params["operation"]).replace("/", " ")
        if not body.output:
            return await self.operator.run(name, body.arguments)
        return await self.operator.describe(name, body.arguments, as_json=body.output == "json")


class AdminView:
    """The page /admin as one visitor may see it, for one request. Each method `_overview` and so on
    draws a tab (TABS)."""

    def __init__(
        self, visitors: Visitors, operator: Operator, visitor: Visitor, query: Json
    ) -> None:
        self._operator = operator
        self._person = visitor.person
        self._query = query  # the parameters of the address
        self._zone = ZoneInfo(visitors.time_zone)
        self._is_owner = visitor.person.id == OWNER_ID
        self._forms = Forms(visitors.auth.form_token(visitor), self._is_owner)

    async def show(self, tab: str, result: str = "", status: int = 200) -> Response:
        """`result` is HTML that says what a form did. If a field of a filter cannot be read, a
        notice says so above the tab without a filter. Raise UnknownPath."""
        if tab not in TABS:
            raise UnknownPath
        _, draw = TABS[tab]
        try:
            body = await draw(self)
        except BadInput as error:
            self._query = {}
            body = notice("bad", error.words()) + await draw(self)
        return self.frame(tab, result + body, status)

    def frame(self, tab: str, body: str, status: int = 200, refresh_seconds: int = 0) -> Response:
        """With `refresh_seconds`, the browser reopens the tab after that time: Ponte restarts."""
        links = ""
        titles = {name: sentence for name, (sentence, _) in TABS.items()}
        # The setup page uses this frame, too; only the owner may open it.
        if self._is_owner:
            titles["setup"] = SETUP_TITLE
        for name, sentence in titles.items():
            path = f"/admin/{name}" if name else "/admin"
            here = ' aria-current="page"' if name == tab else ""
            links += f'<li><a href="{path}"{here}>{escape(say(sentence))}</a></li>'
        times = say("Times are in {zone} (PONTE_TIMEZONE).", zone=self._zone)
        page = PAGE.format(
            language=LANGUAGE.get(),
            heading=escape(say("Administration")),
            title=escape(say(titles.get(tab, SETUP_TITLE))),
            links=links,
            body=body,
            times=escape(times),
        )
        # With `no-referrer`, browsers send the forms of this page with `Origin: null` (Fetch
        # standard, "append a request `Origin` header"), which is refused as another site's.
        headers = {
            # Only the overview has a script.
            "Content-Security-Policy": http_io.HTML_SECURITY_POLICY
            if tab
            else PAGE_SECURITY_POLICY,
            "Referrer-Policy": "same-origin",
        }
        if refresh_seconds:
            headers["Refresh"] = f"{refresh_seconds}; url=/admin/{tab}"
            # Over this connection, the next request would reach the process that stops.
            headers["Connection"] = "close"
        return HTMLResponse(page, status, headers=headers)

    async def submit(self, request: Request, tab: str) -> Response:
        """Raise NotAllowed, UnknownPath, and as `read_form`."""
        form = await http_io.read_form(request, self._forms.token)
        try:
            return await self.show(tab, await self._run_action(form))
        except (BadInput, SettingsError) as error:
            failure = notice("bad", *error.words().splitlines())
            return await self.show(tab, failure, status_of(error))

    async def _run_action(self, form: Mapping[str, str]) -> str:
        """Run the operation of a form (`do`) with the fields `argument-…` as its arguments, and
        return HTML about the result. Raise NotAllowed, UnknownPath, BadInput, SettingsError."""
        do, prefix = form.get("do", ""), "argument-"
        if do not in {operation["name"] for operation in self._operator.list_forms()}:
            raise UnknownPath
        arguments = {
            name.removeprefix(prefix): value
            for name, value in form.items()
            if name.startswith(prefix) and value
        }
        # The operator checks whether this person may run it.
        result = await self._operator.describe(do, arguments, self._person)
        # These two return a link to pass on, which is shown in a field to copy.
        if do not in ("people add", "people renew"):
            lines = "\n".join([*result["notes"], *result["lines"]])
            return f'<pre class="notice good" role="status">{to_html(lines)}</pre>'
        label = escape(say("Link for {name}", name=arguments["name"]))
        notes = "<br>".join(map(to_html, result["notes"]))
        return (
            f'<div class="notice good" role="status"><p>{notes}</p><label>{label}'
            f'<input class="link" readonly value="{escape(result["lines"][0])}"></label></div>'
        )

    async def _run(self, operation: str, **arguments: Any) -> Any:
        return await self._operator.run(operation, arguments, self._person)

    async def _list(self, name: str, rows: Sequence[Json] | None = None) -> str:
        rows = await self._run(name) if rows is None else rows
        may_change = self._is_owner or not name.startswith("people ")
        actions = ROW_ACTIONS.get(name, ()) if may_change else ()
        table = await self._operator.tabulate(name, rows, self._person)
        if name == "pending" and rows:
            return list_requests(table, rows)
        return self._forms.build_table(table, rows, actions)

    async def _section(self, title: str, name: str, command: str = "") -> str:
        return section(say(title), await self._list(name), f"ponte {command or name}")

    async def _overview(self) -> str:
        warning = limits = ""
        check = await self._run("config check")
        if check["faults"]:
            sentence = say("ponte.toml has errors. Ponte is still using the last valid version.")
            if check["is_in_force"]:
                sentence = say(
                    "Ponte is using ponte.toml, but some of its lines have errors or couldn't "
                    "be checked."
                )
            link = f'<a href="/admin/config">{escape(say("Show the errors"))}</a>'
            warning = f'<p class="notice bad">{escape(sentence)} {link}</p>'
        parts = sorted(await self._run("status"), key=lambda part: part["state"] != "failing")
        connections = section(say("Connections"), await self._list("status", parts), "ponte status")
        requests = await self._section(
            "Requests waiting for approval", "pending", "changes pending"
        )
        used = [limit for limit in await self._run("limits") if limit["share"] >= NEARLY_REACHED]
        if used:
            table = await self._list("limits", used)
            limits = section(say("Limits almost reached"), table, "ponte usage")
        turns = await self._section("Running, queued and failed messages", "turns")
        return warning + requests + turns + limits + connections

    async def _checks(self) -> str:
        order = ("failing", "note", "on", "off")
        findings = sorted(await self._run("doctor"), key=lambda part: order.index(part["state"]))
        return section(say("Checks"), await self._list("doctor", findings), "ponte doctor")

    async def _usage(self) -> str:
        since = self._query.get("since", "")
        reports = [await self._run("usage", by=by, since=since) for by in USAGE_TITLES]
        first = str(reports[0]["since"])
        days = filter_form("usage", field("since", say("First day"), first, "date"))
        limits = await self._list("limits", (await self._run("limits"))[:MAX_USAGE_ROWS])
        sections = [days, section(say("Limits"), limits, "ponte usage")]
        for report in reports:
            by, rows = str(report["by"]), report["rows"]
            newest_first = rows[::-1] if by == "day" else rows
            table = await self._list(f"usage {by}", newest_first[:MAX_USAGE_ROWS])
            table = _draw_days(rows, table) if by == "day" and rows else table
            # Each report lists all models without a price (`server_costs`: the server told their
            # costs), so only the one by model names them.
            names = ("server_costs", "unpriced") if by == "model" else ()
            sentences = describe_usage_notes(rows, *(report[name] for name in names))
            notes = "".join(f"<p>{to_html(note)}</p>" for note in sentences)
            command = f"ponte usage --by {by} --since {first}"
            sections.append(section(say(USAGE_TITLES[by]), table + notes, command))
        return "".join(sections)

    async def _people(self) -> str:
        people = await self._section("People", "people list")
        tokens = await self._section("API tokens", "people tokens")
        if not self._is_owner:
            return people + tokens
        # 32 characters are the most that a name may have (`WebIntegration.ids`).
        attributes = 'required maxlength="32" autocomplete="off"'
        name = field("argument-name", say("Name"), attributes=attributes)
        # "approve" is the CSS class of the button, "filter" that of the form.
        form = self._forms.build("people", "people add", name, say("Invite"), "approve", "filter")
        note = escape(say("Lowercase letters, digits, dots, hyphens and underscores."))
        invite = section(say("Invite someone"), f"<p>{note}</p>{form}", "ponte people add NAME")
        return invite + people + tokens

    async def _schedules(self) -> str:
        return f'<div class="wide">{await self._section("Schedules", "schedules list")}</div>'

    async def _tables(self) -> str:
        try:
            return await self._section("What the model knows about tables", "tables")
        except ToolError as error:  # NocoDB does not answer
            return notice("bad", error.words())

    async def _feedback(self) -> str:
        since, only_down = self._query.get("since", ""), bool(self._query.get("down"))
        votes = await self._run("feedback", since=since, down=only_down)
        tick = "checked" if only_down else ""
        fields = field("since", say("First day"), since, "date")
        fields += field("down", say("Only thumbs down."), "1", "checkbox", tick)
        command = f"ponte feedback{f' --since {since}' if since else ''}{' --down' * only_down}"
        table = await self._list("feedback", votes)
        listed = section(say("Feedback"), table, command)
        return f'{filter_form("feedback", fields)}<div class="wide">{listed}</div>'

    async def _audit(self) -> str:
        """Without a first or last day, the page begins some days ago, because the log can be very
        long. `after` in the address is where the next page begins."""
        names = ("since", "until", "person", "event", "after")
        # An address can contain a text of any length.
        query = {name: str(self._query.get(name, "")).strip()[:100] for name in names}
        if not (query["since"] or query["until"]):
            first = datetime.now(self._zone).date() - timedelta(days=DEFAULT_AUDIT_DAYS - 1)
            query["since"] = first.isoformat()
        page, next_link = await self._run("audit", **query), ""
        form = filter_form(
            "audit",
            field("since", say("First day"), query["since"], "date")
            + field("until", say("Last day"), query["until"], "date")
            + field("person", say("Person, for example slack:U1"), query["person"])
            + field("event", say("Event, for example change-approved"), query["event"]),
        )
        if page["next"]:
            rest = escape(urlencode({**query, "after": page["next"]}))
            next_link = f'<p><a href="/admin/audit?{rest}">{escape(say("Next page"))}</a></p>'
        table = await self._list("audit", page["lines"]) or f"<p>{escape(say('No entries.'))}</p>"
        command = f"ponte audit --since {query['since']}" if query["since"] else "ponte audit"
        return form + section(say("Audit log"), table + next_link, command)

    async def _config(self) -> str:
        """The file itself can be edited only on the machine."""
        faults = (await self._run("config check"))["faults"]
        listed = "".join(f"<li>{to_html(fault)}</li>" for fault in faults)
        sentence = say("The file has no errors.")
        for part in await self._run("status"):
            if (part["name"], part["state"]) == ("config", "off"):
                sentence = part["words"]  # there is no file
        state = f'<ul class="faults">{listed}</ul>' if faults else f"<p>{to_html(sentence)}</p>"
        sentence = say(
            "Rules, limits and prices can only be edited in the file. Reload to apply your "
            "changes. If the file has errors, nothing changes."
        )
        # The CSS class "approve" gives the button the color of the page's main buttons.
        form = self._forms.build("config", "reload", "", say("Reload"), "approve")
        body = f"{state}<p>{escape(sentence)}</p>{form}{_render_examples()}"
        return section("ponte.toml", body, "ponte reload")

    async def _operations(self) -> str:
        """Return a form for each operation that no other tab shows (IN_OTHER_TABS). The operation
        describes its fields: one with options is a menu, a long one a text area."""
        sections = []
        for operation in self._operator.list_forms():
            if operation["name"] in IN_OTHER_TABS:
                continue
            fields, help_html = "", f"<p>{to_html(operation['help'])}</p>"
            for argument in operation["fields"]:
                name, label = f"argument-{argument['name']}", argument["help"]
                if argument["options"]:
                    options = "".join(
                        f"<option>{escape(option)}</option>" for option in argument["options"]
                    )
                    fields += (
                        f'<label>{to_html(label)}<select name="{name}">{options}</select></label>'
                    )
                elif argument["long"]:
                    # The help of the field names a file, which only the shell takes.
                    label = say("The body of a request")
                    area = f'<textarea name="{name}" rows="6"></textarea>'
                    fields += f"<label>{escape(label)}{area}</label>"
                else:
                    fields += field(
                        name, label, attributes="required" if argument["required"] else ""
                    )
            # The CSS class "filter" puts the fields and the button side by side.
            form = self._forms.build(
                "operations", operation["name"], fields, say("Run"), kind="filter"
            )
            title = say("Test a webhook")  # of `hooks test`, the only operation here
            sections.append(section(title, help_html + form, f"ponte {operation['name']}"))
        return "".join(sections)


SETUP_TITLE = "Setup"
"""The title of the owner's tab, which adapters/web/setup draws."""
TABS = {
    "": ("Overview", AdminView._overview),
    "checks": ("Checks", AdminView._checks),
    "usage": ("Usage", AdminView._usage),
    "people": ("People", AdminView._people),
    "schedules": ("Schedules", AdminView._schedules),
    "tables": ("Tables", AdminView._tables),
    "feedback": ("Feedback", AdminView._feedback),
    "audit": ("Audit log", AdminView._audit),
    "config": ("ponte.toml", AdminView._config),
    "operations": ("Webhooks", AdminView._operations),
}


def _render_examples() -> str:
    """Return an HTML list of the headings of ponte.toml. Each opens to an example in a text area,
    so that it can be copied as text, by keyboard too."""
    # The examples of one heading are joined; `start` is its beginning, as `[[rules`. The example
    # file has its settings commented out, so the `#` before each of them is removed.
    examples: dict[str, str] = {}
    for lines, start in _EXAMPLE.findall(CONFIG_EXAMPLE):
        examples[start] = examples.get(start, "") + _COMMENTED_OUT.sub("", lines)
    sentence = say("Open a section to see an example that you can copy into the file:")
    listed = ""
    for start, text in examples.items():
        heading = start + "]" * start.count("[")
        area = f'<textarea readonly rows="12" aria-label="{heading}">{escape(text)}</textarea>'
        listed += (
            f'<details name="example"><summary><code>{heading}</code></summary>{area}</details>'
        )
    return f'<p>{escape(sentence)}</p><div class="examples">{listed}</div>'


def _draw_days(rows: Sequence[Json], table: str) -> str:
    """Return a chart of the cost of each day, or of the messages if no cost is known, above
    `table`. Days without any message are shown too, so that the axis has no gaps."""
    has_cost = any(row.get("cost") for row in rows)
    title = say("US dollars") if has_cost else say("messages")
    by_day = {date.fromisoformat(str(row["name"])): row for row in rows}
    days = [min(by_day) + timedelta(n) for n in range((max(by_day) - min(by_day)).days + 1)]
    values = [float(by_day.get(day, {}).get("cost" if has_cost else "turns") or 0) for day in days]
    format_value, form = (format_money, "currency USD 2") if has_cost else (format_number, "")
    series = Series(title, tuple(values), tuple(map(format_value, values)), form)
    labels = tuple(format_date(day, length="MMMd") for day in days)
    return draw_chart(Chart("bar", title, labels, (series,)), table)
