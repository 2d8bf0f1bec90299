"""Every button of `/admin` and of its setup page, as the pages draw them, is pressed and works."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from adapters.web import admin
from adapters.web.admin_lists import ROW_ACTIONS
from adapters.web.setup import page as setup_page
from bot.doctor import checks
from core.domain.messages import Person
from core.domain.records import DoctorFinding
from core.people.audit import OPERATOR
from core.people.sign_ins import Identity
from tests.fakes.nocodb import filled
from tests.fakes.schedules import add_schedule
from tests.fakes.slack import FakeSlack
from tests.time_limits import Limits
from tests.web.test_admin import Desk, open_desk

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOOK = """
[groups]
shipping = []
[hooks.deploys]
kind = "github"
secret = "DEPLOYS_HOOK_SECRET"
post_to = "slack:T0PONTE:C1"
as = "shipping"
template = "{sender.login}"
"""
TYPED = {
    "name": "ana",
    "argument-name": "eve",
    "argument-payload": '{"sender": {"login": "ana"}}',
    "value-nocodb_token": filled.EDITOR,
    "value-nocodb_url": "https://nocodb.example.com",
    "value-openai_api_key": "sk-typed",
    "value-slack_bot_token": "xoxb-typed",
    "value-slack_app_token": "xapp-typed",
    "value-discord_token": "typed",
    "value-stackspot_client_id": "typed",
    "value-stackspot_client_secret": "typed",
    "value-stackspot_realm": "typed",
    "value-ponte_transcribe_model": "typed",
    "value-ponte_code": "off",
}
"""What a person types into fields, by their names. Other fields stay as the page has them."""


@dataclass
class Form:
    """A form of a page, with the values that its fields have, and its buttons: what each sends
    besides, and its style."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[dict[str, str], str]] = field(default_factory=list)


class FormReader(HTMLParser):
    """Reads the forms of a page as a browser does."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms = list[Form]()
        self._select = ""
        self._has_no_value = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        name, value = values.get("name", ""), values.get("value", "")
        if tag == "form":
            self.forms.append(Form(values.get("method", "get"), values["action"]))
        elif tag == "button" and values.get("type") != "button":
            sent = {name: value} if name else {}
            self.forms[-1].buttons.append((sent, values.get("class", "")))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            if "selected" in values or self._select not in self.forms[-1].fields:
                self.forms[-1].fields[self._select] = value
                self._has_no_value = "value" not in values
        elif tag in ("input", "textarea") and name and self.forms:
            # Of radio buttons, the first is chosen.
            self.forms[-1].fields.setdefault(name, value)

    def handle_data(self, data: str) -> None:
        if self._has_no_value:  # an option then sends its text
            self.forms[-1].fields[self._select], self._has_no_value = data, False

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""


Button = tuple[str, str]
"""Where a form is sent, with the card, and what it asks for: `do`, or "" for a filter."""


class Visitor:
    """The owner, who presses each button once that a page shows. Those that delete something come
    last, and so does *Undo*, after which nothing is stored that could be removed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: dict[Button, tuple[bool, Form, Mapping[str, str]]] = {}
        self.pressed = set[Button]()
        self.refused = dict[Button, str]()

    def see(self, text: str) -> None:
        for form in FormReader(text).forms:
            for sent, style in form.buttons:
                values = {**form.fields, **sent}
                button = (form.action, values.get("do", ""))
                if button not in self.pressed:
                    is_late = "danger" in style or button[1] == "undo"
                    self._waiting[button] = (is_late, form, values)

    async def press_next(self) -> str | None:
        """Press one button and return the page that it shows; None if no button is left."""
        if not self._waiting:
            return None
        button = min(self._waiting, key=lambda name: self._waiting[name][0])
        _, form, values = self._waiting.pop(button)
        self.pressed.add(button)
        sent = {name: value or TYPED.get(name, "") for name, value in values.items()}
        client, path = self._desk["owner"], form.action.partition("#")[0]
        if form.method == "get":
            page = await client.get(path, params=sent)
        else:
            page = await client.post(path, data=sent)
        if page.status_code != 200:
            found = re.search(r'class="notice bad"[^>]*>(.*?)</p>', page.text)
            self.refused[button] = f"{page.status_code} {found[1] if found else page.text[:200]}"
        return page.text


class RestartDouble:
    requests = 0

    async def probe(self) -> None: ...

    async def request(self) -> None:
        self.requests += 1


def list_buttons_in_code() -> set[str]:
    """Return what the buttons ask for that the code can draw at all: a state of a page that the
    test does not reach would hide one."""
    names = {action.operation for actions in ROW_ACTIONS.values() for action in actions}
    for module, method, index in ((setup_page, "_button", 0), (admin, "build", 1)):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            match node:
                case ast.Call(func=ast.Attribute(attr=str(name)), args=arguments):
                    operation = arguments[index] if name == method else None
                    if isinstance(operation, ast.Constant):
                        names.add(str(operation.value))
    return names


async def check_nothing(*_: Any) -> tuple[Sequence[DoctorFinding], Mapping[str, Sequence[str]]]:
    """The check of a service, which has tests of its own."""
    return [DoctorFinding("service", "on", "It responds.")], {}


@pytest.mark.slow
async def test_each_button_of_the_administration_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    monkeypatch.setattr(checks, "check_integration", check_nothing)
    limits(LOCAL_SERVERS=())
    async with FakeSlack() as slack:
        ana = slack.person("Ana")
        slack.channel("general", ana)
        settings = {
            "slack_bot_token": SecretStr(slack.bot_token),
            "slack_app_token": SecretStr(slack.app_token),
            "slack_api_url": slack.base_url,
            "nocodb_url": None,
            "nocodb_token": None,
        }
        async with open_desk(tmp_path / "home", **settings) as desk:
            await slack.deliveries.wait_until_connected()
            await slack.wait_for_answer(slack.say(ana, slack.dm(ana), "help"))
            monkeypatch.setattr(desk.ponte.setup, "_restart", RestartDouble())
            desk.config.write_text(HOOK)
            await desk.act("reload")
            await desk.act("people/token", name="bob", label="script")
            add_schedule(desk.team.home)
            cora = Person("oidc", "corp:cora", name="Cora")
            await desk.ponte.accounts.record_sign_in(Identity("corp", cora), 1.0)
            await desk.ponte.accounts.remove_sign_in(cora.key, 2.0, OPERATOR)
            visitor, sent = Visitor(desk), set[str]()
            tabs = [f"/admin/{name}" for name in admin.TABS if name] + ["/admin", "/admin/setup"]
            is_new = True
            while is_new:
                is_new = False
                for tab in tabs:
                    visitor.see((await desk["owner"].get(tab)).text)
                while (text := await visitor.press_next()) is not None:
                    is_new = True
                    visitor.see(text)
                    # The page asks for a word from Slack, as its owner does there.
                    for word in set(re.findall(r"<code>(setup \S+)</code>", text)) - sent:
                        sent.add(word)
                        await slack.wait_for_answer(slack.say(ana, slack.dm(ana), word))
    assert visitor.refused == {}
    # It needs a token of Slack's app settings, which test_setup_page.py has.
    operations = {"update-app", *(do for _, do in visitor.pressed)}
    assert list_buttons_in_code() - operations == set()
