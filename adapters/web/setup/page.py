"""The cards of the setup page as HTML, without a script."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from adapters.web.admin_lists import hidden_field, notice, to_html
from core.base.i18n import format_date, say, translate_word

Json = Mapping[str, Any]
MAX_SELECT_VALUES = 40
"""More values are suggestions below a field."""
_LINK = re.compile(r"https://[^\s<&]+(?:&amp;[^\s<&]+)*(?<![.,;)])")
_NAMED_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
STATE_WORDS = {
    "on": "connected", "off": "Connect", "failing": "failing", "note": "note",
    "checking": "checking", "saved": "restart to apply",
}  # fmt: skip
PEOPLE_LISTS = {
    "ponte_allow": "Can change data: {people}",
    "ponte_admins": "Can approve changes and administer Ponte: {people}",
}
OPEN_TO_ALL = {
    "slack": "Once Slack is connected, every member of the workspace can talk to Ponte right "
    "away. Each question costs what your model charges. Limits and rules are in "
    "ponte.toml.",
    "discord": "Once Discord is connected, everyone who shares a server with the bot can talk "
    "to Ponte right away. By default, each person can send up to 50 messages a day. "
    "Each question costs what your model charges. Limits and rules are in "
    "ponte.toml.",
}


@dataclass(frozen=True, slots=True)
class SetupView:
    """Draws the setup page. The fields are what the page shows besides the stored settings.

    The card `open_card` is unfolded, with `result` as HTML above its fields. `draft` is what was
    typed there (`draft_id`), and `values` replaces single values. `asks_token`: the owner's token
    is needed again.
    """

    token: str
    zone: ZoneInfo
    asks_token: bool
    has_sign_in: bool
    open_card: str = ""
    result: str = ""
    draft_id: str = ""
    draft: Json = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    found: Sequence[Json] = ()

    def render(self, setup: Json) -> str:
        """`open_card` comes from the address, so it may name no card; then the result of the last
        step stands above all cards."""
        sentence = say(
            "Connect Ponte to your services here. What you enter is stored on this machine, "
            "in settings.env in the data folder. Only the system user that runs Ponte can "
            "read that file."
        )
        is_card = self.open_card in [card["name"] for card in setup["cards"]]
        view = self if is_card else replace(self, open_card="")
        cards = "".join(view._card(card, setup) for card in setup["cards"])
        last = _render_sign_in(setup["page_url"], "on" if self.has_sign_in else "off")
        return f"<p>{escape(sentence)}</p>{view._state(setup)}{cards}{last}"

    def _state(self, setup: Json) -> str:
        """Return the HTML about the newest settings: whether they wait for the next start, or why a
        start with them failed. The result of the last step comes first, unless it stands on its
        card."""
        # `trial` is about stored settings that the running Ponte does not use; None: there are
        # none. `can_apply`: this Ponte can start itself again.
        trial, above = setup["trial"], "" if self.open_card else self.result
        if trial is None:
            return above
        message = trial["words"]
        if trial["state"] == "failed":  # the previous settings are in effect again: no buttons
            return above + notice("bad", message)
        hint = say("Answers in progress finish first or continue afterwards. No messages are lost.")
        undo = self._button("undo", say("Undo"))
        apply = self._button("apply", say("Restart now"), "approve") * setup["can_apply"]
        # An anchor would make the page scroll to a card after the step.
        form = self._form("", self._token_field() + apply + undo)
        words = f"<p><b>{escape(message)}</b> {escape(hint)}</p>"
        return f'{above}<div class="notice trial" role="status">{words}{form}</div>'

    def _card(self, card: Json, setup: Json) -> str:
        """Return the HTML of one service: a row that unfolds to the steps and the form to connect
        it. Only the card whose form was sent last is unfolded."""
        is_open = card["name"] == self.open_card
        # Saved settings take effect after a restart; until then, the card's own state is the old
        # one.
        state = "saved" if card["is_new"] else card["state"]
        # The state says enough of a service that is off or only saved.
        status = card["words"] if state not in ("off", "saved") else ""
        head = _render_row(card["icon"], say(card["title"]), status or card["purpose"], state)
        body = f"<p>{escape(card['purpose'])}</p>" if status else ""
        body += _render_steps([*map(to_html, card["steps"])])
        # `locked` is a sentence on why the card cannot be changed here; "" if it can.
        if card["locked"]:
            body += notice("note", card["locked"]) + _render_names(card)
        else:
            body += self.result if is_open else ""
            body += self._card_form(card, setup["since"], is_open)
        # Slack or Discord: everybody there can talk to Ponte, so the card gives rights.
        if card["state"] == "on" and card["name"] in OPEN_TO_ALL:
            body += self._people(card, setup["people"])
        elif card["state"] == "on":
            # A conversation of a new name begins with questions about what is connected.
            link = (
                f'<a href="/#{secrets.token_hex(6)}">{escape(say("Try it in a conversation"))}</a>'
            )
            body += f"<p>{link}</p>"
        attributes = f'{" open" if is_open else ""} id="{card["name"]}"'
        return f'<details class="setup"{attributes}>{head}<div>{body}</div></details>'

    def _card_form(self, card: Json, since: float | None, is_open: bool) -> str:
        """The form's hidden field `draft` has the id of what was entered before, so that secrets
        need not be typed, or sent to the browser, again. `since` is when the settings were stored,
        in seconds since the epoch. `is_open`: this card's form was sent last."""
        draft = self.draft if is_open else {}
        fields = "".join(
            self._field(form_field, draft, since, is_open) for form_field in card["fields"]
        )
        name, buttons = card["name"], self._button("check", say("Check"))
        if name == "model":
            buttons += self._button("look", say("Look on this machine"))
        lacks = any(
            (finding["part"], finding["state"]) == (f"{name} app", "failing")
            for finding in draft.get("findings", ())
        )
        if lacks:
            buttons += self._button("update-app", say("Update the app"))
        buttons += self._button("save", say("Save"), "approve")
        if card["stored"]:
            buttons += self._button("remove", say("Remove"), "danger")
        buttons += _render_names(card)
        hidden = hidden_field("draft", self.draft_id if is_open else "")
        note = (
            f'<p class="hint">{escape(say(OPEN_TO_ALL[name]))}</p>' if name in OPEN_TO_ALL else ""
        )
        return self._form(name, hidden + fields + note + self._token_field() + buttons)

    def _people(self, card: Json, people: Json) -> str:
        """Return the HTML of a chat platform's card that shows who may change data and who
        approves, with forms to add and remove people.

        The owner first claims to be somebody on the platform, and proves it by sending a word from
        there. Then they can give rights to that account, and to others that a search finds.
        """
        platform = card["name"]
        lists = "".join(
            f"<li>{escape(say(PEOPLE_LISTS[setting], people=', '.join(people[setting])))}</li>"
            for setting in PEOPLE_LISTS
            if people[setting]
        )
        body = f"<h2>{escape(say('Who can do what'))}</h2><ul>{lists}</ul>"
        if people["locked"]:
            return body + notice("note", people["locked"])
        # Without a claim, only the search is shown.
        if claim := people["claims"].get(platform):
            id = hidden_field("id", claim["id"])
            if claim["is_proven"]:
                sentence = say("You are {name}.", name=claim["name"])
                button = self._button(
                    "grant-me", say("Let me change data and approve changes"), "approve"
                )
                form = self._form(platform, id + self._token_field() + button)
                body += f'<div class="notice good"><p>{escape(sentence)}</p>{form}</div>'
            else:
                sentence = say(
                    (
                        "Within ten minutes, send this to Ponte in a direct message from the "
                        "account {name}:"
                    ),
                    name=claim["name"],
                )
                word = f"<p><code>setup {claim['word']}</code></p>"
                button = self._button("people", say("I've sent it"))
                form = self._form(platform, button)
                body += f'<div class="notice"><p>{escape(sentence)}</p>{word}{form}</div>'
        search = (
            f'<label>{escape(say("Name"))}<input name="name" autocomplete="off" required></label>'
        )
        note = say(
            "Search for your own name first, then for your colleagues. Ponte knows the members "
            "that {title} has reported and everyone who has written to it.",
            title=card["title"],
        )
        button = self._button("people", say("Search"))
        body += f'<p class="hint">{escape(note)}</p>'
        body += self._form(platform, search + button)
        if self.found and self.open_card == platform:
            choices = _render_people({person["id"]: person for person in self.found})
            buttons = (
                self._button("claim", say("This is me"))
                + self._button("grant-change", say("Can change data"))
                + self._button("grant-approve", say("Can also approve changes"), "approve")
            )
            body += self._form(platform, choices + self._token_field() + buttons)
        mine = {
            key: person for key, person in people["granted"].items() if key.startswith(platform)
        }
        if mine:
            button = self._button("revoke", say("Remove permissions"), "danger")
            choices = _render_people(mine) + self._token_field()
            body += self._form(platform, choices + button)
        if people["sample"] != "on" and people["has_sample"]:
            button = self._button("sample", say("Let them use the sample tables"))
            body += self._form(platform, self._token_field() + button)
        return body

    def _field(self, form_field: Json, draft: Json, since: float | None, is_open: bool) -> str:
        """- A setting from the environment or .env has priority over the page, so it is shown and
          cannot be changed here.
        - A secret is never sent to the browser: its placeholder shows the last characters and when
          it was stored (`since`, in seconds since the epoch).
        - A setting with few known choices is a list; with many, a text input with suggestions.

        `is_open`: the person has just sent this card's form, so it shows what they entered. `draft`
        has their entries that were checked and are not saved yet.
        """
        setting = form_field["name"]
        label = form_field["label"]
        name = f"value-{setting}"
        if form_field["source"]:
            place = {"environment": say("in the environment"), "file": say("in .env")}
            note = say("set {place}; change it there", place=place[form_field["source"]])
            value = f"{form_field['value']} ({note})" if form_field["value"] else note
            return f'<label>{escape(label)}<input value="{escape(value)}" disabled></label>'
        if form_field["secret"]:
            # The last characters of a secret, by which a person recognises it.
            ending = draft.get("endings", {}).get(setting) or form_field["ending"]
            hint = form_field["example"]
            if ending:
                hint = say("{ending}, not saved yet", ending=ending)
                if ending == form_field["ending"] and since:
                    day = format_date(datetime.fromtimestamp(since, self.zone).date())
                    hint = say("{ending}, saved on {day}", ending=ending, day=day)
            return (
                f'<label>{escape(label)}<input type="password" name="{name}" autocomplete="off" '
                f'placeholder="{escape(hint)}"></label>'
            )
        # What was just sent counts before a checked entry, and that before the stored value.
        value = draft.get("values", {}).get(setting, form_field["value"])
        value = self.values.get(setting, value) if is_open else value
        choices: Sequence[str] = draft.get("choices", {}).get(setting) or form_field["choices"]
        if choices and len(choices) <= MAX_SELECT_VALUES:
            # A server may not have the default model.
            default = (
                say("{value} (default)", value=form_field["example"])
                if form_field["example"] in choices
                else ""
            )
            # With one choice that is not the default, nothing is left to choose.
            if not value and len(choices) == 1 and form_field["example"] not in choices:
                value = choices[0]
            # An entry that is not (or no longer) among the choices stays possible.
            listed = [*([] if value in choices else [value]), *choices]
            options = "".join(
                f'<option value="{escape(choice)}"{" selected" if choice == value else ""}>'
                f"{escape(choice or default or say('Choose…'))}</option>"
                for choice in listed
            )
            return f'<label>{escape(label)}<select name="{name}">{options}</select></label>'
        options = "".join(f'<option value="{escape(choice)}">' for choice in choices)
        suggestions = f'<datalist id="list-{setting}">{options}</datalist>' if choices else ""
        attributes = f' list="list-{setting}"' if choices else ""
        attributes += f' autocomplete="off" placeholder="{escape(form_field["example"])}"'
        entry = f'<input name="{name}" value="{escape(value)}"{attributes}>'
        return f"<label>{escape(label)}{entry}</label>{suggestions}"

    def _token_field(self) -> str:
        if not self.asks_token:
            return ""
        label = say("Your sign-in link again (`ponte link` prints it)").replace("`", "")
        return (
            f'<label>{escape(label)}<input type="password" name="token" autocomplete="off"></label>'
        )

    def _button(self, do: str, label: str, style: str = "") -> str:
        return f'<button name="do" value="{do}" class="{style}">{escape(label)}</button>'

    def _form(self, card: str, body: str) -> str:
        hidden = hidden_field("form", self.token) + hidden_field("card", card)
        return f'<form method="post" action="/admin/setup#{card}">{hidden}{body}</form>'


def _render_sign_in(page_url: str, state: str) -> str:
    """The page does not store these settings; the card shows the lines to add to the files."""
    purpose = say("People sign in to the page with Slack or their company account.")
    origin = page_url or "https://ponte.example.com"
    steps = [
        (say("Add this line to .env:"), f"PONTE_WEB_URL={origin}"),
        (
            say(
                "For Slack, add these lines to .env too, with the values from your Slack "
                "app's Basic Information:"
            ),
            "PONTE_SIGN_IN_SLACK_ID=…\nPONTE_SIGN_IN_SLACK_SECRET=…",
        ),
        (
            say("For another provider, add these lines to ponte.toml, and the secret to .env:"),
            f"# {origin}/sign-in/acme/done\n[sign_in.acme]\n"
            'issuer = "https://login.example.com"\nclient_id = "…"\n'
            'secret = "ACME_SIGN_IN_SECRET"\ngroups = ["…"]',
        ),
    ]
    body = _render_steps([f"{escape(words)}<pre>{escape(lines)}</pre>" for words, lines in steps])
    hint = say("The first line is the redirect URL that the provider asks for.")
    head = _render_row("M12 4a4 4 0 1 0 .01 0M4 20c0-6 16-6 16 0", say("Sign-in"), purpose, state)
    note = f'<p class="hint">{escape(hint)}</p>'
    return f'<details class="setup" id="sign-in">{head}<div>{body}{note}</div></details>'


def _render_row(icon: str, title: str, sentence: str, state: str) -> str:
    return (
        '<summary><svg class="icon" viewBox="0 0 24 24" aria-hidden="true">'
        f'<path d="{icon}"/></svg>'
        f"<span><b>{escape(title)}</b> {to_html(sentence)}</span>"
        f'<span class="state {state}">{escape(say(STATE_WORDS[state]))}</span></summary>'
    )


def _render_steps(steps: Sequence[str]) -> str:
    """`steps` are HTML with links as in Markdown; they have numbers if there are several."""
    items = "".join(f"<li>{step}</li>" for step in steps)
    body = f"<ol>{items}</ol>" if len(steps) > 1 else f"<p>{steps[0]}</p>"
    return _NAMED_LINK.sub(r'<a href="\2" target="_blank" rel="noreferrer">\1</a>', body)


def _render_names(card: Json) -> str:
    """Return the HTML of a button that shows the variable of each field."""
    rows = "".join(
        f"<dt>{escape(form_field['label'])}</dt><dd><code>{form_field['name'].upper()}</code></dd>"
        for form_field in card["fields"]
    )
    id, label = f"names-{card['name']}", escape(say("Names in .env"))
    return (
        f'<button type="button" class="info" popovertarget="{id}" aria-label="{label}" '
        f'title="{label}">i</button>'
        f'<div id="{id}" popover><b>{label}</b><dl>{rows}</dl></div>'
    )


def _render_people(people: Mapping[str, Json]) -> str:
    """Return the HTML of radio buttons by which one of these people is chosen. `people` maps their
    keys to their `name` and `details`."""
    choices = ""
    for id, person in people.items():
        choices += (
            f'<label class="choice"><input type="radio" name="id" value="{escape(id)}" required>'
            f'<span class="initial" aria-hidden="true">{escape(person["name"][:1].upper())}</span>'
            f"<span><bdi>{escape(person['name'])}</bdi>"
            f"<small>{escape(person['details'])}</small></span></label>"
        )
    return choices


def render_findings(findings: Sequence[Json]) -> str:
    """The notice as a whole is bad if one finding fails, and a note if one is off."""
    lines = []
    for finding in findings:
        sentence = _LINK.sub(
            lambda match: f'<a href="{match[0]}" target="_blank" rel="noreferrer">{match[0]}</a>',
            to_html(finding["words"]),
        )
        # "on" means here that the check has passed.
        state = escape(translate_word("ok" if finding["state"] == "on" else finding["state"]))
        lines.append(f'<li><span class="state {finding["state"]}">{state}</span> {sentence}</li>')
    states = {finding["state"] for finding in findings}
    # A "note" is no fault, so it leaves the notice good.
    kind = "bad" if "failing" in states else "note" if "off" in states else "good"
    return f'<div class="notice {kind}" role="status"><ul>{"".join(lines)}</ul></div>'


def render_servers(servers: Sequence[Json]) -> str:
    if not servers:
        return notice("note", say("No model server responds on the usual ports of this machine."))
    lines = [f"{server['name']}: {server['address']}" for server in servers]
    return notice("good", say("Found. The first address is filled in below."), *lines)
