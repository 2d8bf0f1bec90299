"""Lists of the operator as HTML tables, with a form for each operation that a row offers."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from core.base.i18n import say
from core.domain.records import ListTable

STATES = ("on", "off", "note", "failing", "checking")
_CODE = re.compile(r"`([^`]+)`")
_SETUP_LINK = re.compile(r"\[([^]]+)\]\((/admin/setup[\w?=#-]*)\)")
REQUESTS = (
    '<p id="notice" role="status"></p><p id="trouble" role="alert"></p><ul class="requests">{}</ul>'
    '<script type="module" src="/page/admin.js"></script>'
)
"""The list of requests, and what the scripts of the page need to show their cards."""
SHELL_ICON = (
    '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">'
    '<path d="M5 6l6 6-6 6M13 18h7"/></svg>'
)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class RowAction:
    """An operation that each row of a list on /admin offers as a button, with the row's `field` as
    its argument.

    With a `warning`, its button appears below the warning when somebody opens `label`, so that one
    click changes nothing. Only rows in `states` offer it, if there are any.
    """

    operation: str
    field: str
    label: str
    warning: str = ""
    states: Collection[str] = ()


ROW_ACTIONS: Mapping[str, Sequence[RowAction]] = {
    "people list": (
        RowAction(
            "people renew",
            "name",
            "New link",
            "{name}'s sign-in link and sessions will stop working. API tokens will stay valid.",
            states={"link"},
        ),
        RowAction(
            "people remove",
            "name",
            "Remove",
            "{name} won't be able to sign in, and anything Ponte is doing for them will stop. "
            "Their messages will be kept.",
            states={"link", "provider"},
        ),
        RowAction("people readmit", "name", "Restore access", states={"removed"}),
    ),
    "people tokens": (
        RowAction(
            "people revoke",
            "id",
            "Revoke",
            "Programs that use this token will lose access immediately.",
        ),
    ),
    "schedules list": (
        RowAction("schedules pause", "id", "Pause", states={"active"}),
        RowAction("schedules resume", "id", "Resume", states={"paused"}),
        RowAction("schedules run", "id", "Run now", states={"active", "paused"}),
        RowAction(
            "schedules delete", "id", "Delete", "The schedule and its list of runs will be deleted."
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Forms:
    """Builds the forms of /admin. A hidden field of each has `token`, which proves that this page,
    in the visitor's session, has sent the form, and not another site. Only the owner gets links to
    the setup page."""

    token: str
    is_owner: bool

    def build(
        self, tab: str, operation: str, fields: str, button: str, style: str = "", kind: str = ""
    ) -> str:
        """`fields` is the HTML of the operation's arguments. `style` is the CSS class of the
        button, `kind` that of the form."""
        hidden = hidden_field("do", operation) + hidden_field("form", self.token)
        return (
            f'<form class="{kind}" method="post" action="/admin/{tab}">{hidden}'
            f'{fields}<button class="{style}">{escape(button)}</button></form>'
        )

    def build_table(
        self, table: ListTable, rows: Sequence[Row], actions: Sequence[RowAction]
    ) -> str:
        """Return a list as an HTML table, with the forms of each row's `actions` in the last
        column. `table` has its texts, `rows` the values behind them, in the same order. Each cell
        names its heading in `data-head`, which the style sheet shows on a phone. `table.fields` has
        for each column the key of its value in `rows`, and `table.numbers` the columns of numbers,
        which are aligned to the right."""
        if not rows:
            return f"<p>{to_html(table.empty)}</p>" if table.empty else ""
        headings = [*map(escape, table.headings), *([escape(say("actions"))] if actions else [])]
        head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
        body = ""
        for row, texts in zip(rows, table.rows, strict=True):
            link = r'<a href="\2">\1</a>' if self.is_owner else ""
            cells = [_SETUP_LINK.sub(link, to_html(text)) for text in texts]
            if actions:
                cells.append("".join(self._build_action(action, row) for action in actions))
            body += "<tr>"
            for n, (heading, cell) in enumerate(zip(headings, cells, strict=True)):
                # The style sheet has a color for each of STATES; other states stay text.
                if row.get("state") in STATES and table.fields[n] == "state":
                    cell = f'<span class="state {row["state"]}">{cell}</span>'
                style = ' class="amount"' if n in table.numbers else ""
                body += f'<td{style} data-head="{heading}">{cell}</td>'
            body += "</tr>"
        # tabindex: so the keyboard, too, can scroll a table that is wider than the page.
        return (
            f'<div class="table list" tabindex="0"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def _build_action(self, action: RowAction, row: Row) -> str:
        """The form's tab is the one of the operation's first word: "schedules run" returns to
        the tab "schedules". An operation with a warning is unfolded first, and asks for a second
        click."""
        if action.states and row["state"] not in action.states:
            return ""
        value, tab = row[action.field], action.operation.split()[0]
        fields = hidden_field(f"argument-{action.field}", value)
        # The key of this form: sent twice, it runs the schedule once. No other operation takes one.
        if action.operation == "schedules run":
            fields += hidden_field("argument-once", secrets.token_hex(8))
        label = say(action.label)
        if not action.warning:
            return self.build(tab, action.operation, fields, label)
        fields += f"<p>{escape(say(action.warning, name=value))}</p>"
        form = self.build(tab, action.operation, fields, f"{label} ({value})", "danger")
        return f"<details><summary>{escape(label)}</summary>{form}</details>"


def list_requests(table: ListTable, rows: Sequence[Row]) -> str:
    """Each has a line with its title, and one on who asked for it, where and when. The script of
    the page (admin.js) shows its card below, once it is opened."""
    items = ""
    for row, texts in zip(rows, table.rows, strict=True):
        _, title, *facts = map(escape, texts)
        items += (
            f'<li><details data-request="{row["id"]}"><summary><b>{title}</b>'
            f' <small class="facts">{" · ".join(facts[:3])}</small></summary>'
            "<div></div></details></li>"
        )
    return REQUESTS.format(items)


def section(title: str, body: str, command: str) -> str:
    """The last line of a section names the command in the shell with the same result."""
    sentence = escape(say("In a shell: {command}", command="\0"))
    label, _, _ = sentence.partition("\0")
    return (
        f'<section><h2>{escape(title)}</h2>{body}<p class="hint" title="{label}">{SHELL_ICON}'
        f'<span class="unseen">{label}</span> <code>{escape(command)}</code></p></section>'
    )


def notice(kind: str, *lines: str) -> str:
    """`kind` is `good`, `bad` or `note`, and gives it its color."""
    body = "<br>".join(map(to_html, lines))
    return f'<p class="notice {kind}" role="status">{body}</p>'


def hidden_field(name: str, value: str) -> str:
    return f'<input type="hidden" name="{name}" value="{escape(value)}">'


def field(name: str, label: str, value: str = "", type: str = "text", attributes: str = "") -> str:
    """`attributes` are further attributes of the input."""
    return (
        f'<label>{escape(label)}<input type="{type}" name="{name}"'
        f' value="{escape(value)}" {attributes}></label>'
    )


def filter_form(tab: str, fields: str) -> str:
    button = f"<button>{escape(say('Show'))}</button>"
    return f'<form class="filter" method="get" action="/admin/{tab}">{fields}{button}</form>'


def to_html(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
