"""The operator's page: who reads it, who changes what, and what it never shows."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import pytest_asyncio

from bot.config.ponte_toml import Config, read_config
from bot.config.reload import describe_config_file
from bot.doctor.checks import check_everything
from bot.home import Home, Start
from bot.operation_texts import TEXT_LISTS, View
from bot.ponte import Ponte
from core.base import i18n
from core.models.demo_model import DemoModel
from core.money.budget import Budget
from tests.dialogues.office import PAID, Office, office
from tests.fakes.openai import Script
from tests.fakes.schedules import add_schedule

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABS = ("", "/checks", "/usage", "/people", "/schedules", "/tables", "/audit", "/config")
ADMINS = "web:owner,terminal:owner,web:ana"


@dataclass
class Desk:
    """A running Ponte with an owner, an admin (ana), a member (bob), a program and a stranger.
    `ana` and `bob` have the browser's session of those people."""

    team: Office
    config: Path
    address: str
    tokens: dict[str, str]
    clients: Mapping[str, httpx.AsyncClient]
    ponte: Ponte

    def __getitem__(self, name: str) -> httpx.AsyncClient:
        return self.clients[name]

    async def form(self, who: str, tab: str = "people") -> str:
        """Return the value that stands in the forms of this person's page."""
        page = await self[who].get(f"/admin/{tab}")
        match = re.search(r'name="form" value="([^"]+)"', page.text)
        assert match is not None, page.text
        return html.unescape(match[1])

    async def send(
        self, who: str, do: str, tab: str = "people", form: str = "-", **arguments: str
    ) -> httpx.Response:
        """Send a form of the page as a browser does, by default with the value of their own."""
        fields = {f"argument-{name}": value for name, value in arguments.items()}
        form = await self.form(who, "config") if form == "-" else form
        return await self[who].post(f"/admin/{tab}", data={"do": do, "form": form, **fields})

    async def act(self, path: str, **arguments: Any) -> Any:
        answer = await self["socket"].post(f"/operator/{path}", json={"arguments": arguments})
        return answer.json()


def _new_file(home: Path) -> Path:
    home.mkdir(exist_ok=True)
    (home / "ponte.toml").write_text("")
    return home / "ponte.toml"


@asynccontextmanager
async def open_desk(home: Path, **settings: Any) -> AsyncIterator[Desk]:
    config = _new_file(home)
    options = {"ponte_web": "on", "ponte_admins": ADMINS, "ponte_config": config, **settings}
    async with AsyncExitStack() as stack:
        team = await stack.enter_async_context(office(home))
        ponte = await stack.enter_async_context(team.open(**options))
        transport = httpx.AsyncHTTPTransport(uds=str(home / "ponte.sock"))
        socket = httpx.AsyncClient(base_url="http://ponte", transport=transport, timeout=60)
        await stack.enter_async_context(socket)
        link = (await socket.post("/operator/link", json={})).json()["link"]
        address, _, token = link.partition("/#token=")
        desk = Desk(team, config, address, {"owner": token}, {"socket": socket}, ponte)
        for name in ("ana", "bob"):
            desk.tokens[name] = (await desk.act("people/add", name=name))["token"]
        program = await desk.act("people/token", name="owner", label="script")
        clients = {"socket": socket}
        for name in ("stranger", "program", *desk.tokens):
            client = httpx.AsyncClient(base_url=address, timeout=60)
            clients[name] = await stack.enter_async_context(client)
        clients["program"].headers["Authorization"] = f"Bearer {program['token']}"
        for name, one in desk.tokens.items():
            assert (await clients[name].post("/login", json={"token": one})).status_code == 200
        desk.clients = clients
        yield desk


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("desk") / "home") as desk:
        yield desk


@pytest_asyncio.fixture(loop_scope="module")
async def own_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """For a test that counts messages, or compares with a file that was not reloaded."""
    async with open_desk(tmp_path / "home") as desk:
        yield desk


async def test_only_the_owner_and_admins_read_it(desk: Desk) -> None:
    expected = {
        "owner": 200,
        "ana": 200,
        "bob": 403,
        "program": 403,
        "stranger": 401,
        "socket": 404,
    }
    for tab in (*TABS, "/none"):
        for name, status in expected.items():
            if tab == "/none" and status == 200:
                status = 404
            page = await desk[name].get(f"/admin{tab}")
            assert page.status_code == status, (tab, name)
            if status == 200:
                policy = page.headers["content-security-policy"]
                script = "" if tab else "script-src 'self'; "
                assert policy.startswith(f"default-src 'none'; {script}style-src 'self'; "), tab
                assert "Times are in America/Sao_Paulo (PONTE_TIMEZONE)." in page.text, tab
                assert "<script" not in page.text, tab
                assert "style=" not in page.text, tab
                assert page.headers["cache-control"] == "no-store", tab
                for secret in (*desk.tokens.values(), "sk-test"):
                    assert secret not in page.text, (tab, name)


async def test_only_who_may_changes_anything(desk: Desk) -> None:
    """Each action by each identity, with a form that is right as far as they can have one."""
    form = await desk.form("ana", "config")
    strangers = {"bob": 403, "program": 403, "stranger": 401, "socket": 404}
    for do, tab, expected in [
        ("people add", "people", {"ana": 403, **strangers}),
        ("people renew", "people", {"ana": 403, **strangers}),
        ("people remove", "people", {"ana": 403, **strangers}),
        ("people revoke", "people", {"ana": 403, **strangers}),
        ("reload", "config", strangers),
        ("people add", "audit", {"ana": 403, "bob": 403}),
        ("schedules delete", "schedules", strangers),
        ("schedules show", "schedules", {"owner": 404, "ana": 404}),
        ("people token", "people", {"owner": 404, "ana": 404}),
        ("doctor", "checks", {"owner": 404, "ana": 404}),
        ("sample reset", "operations", {"owner": 404, "ana": 404}),
    ]:
        for name, status in expected.items():
            own = await desk.form(name, "config") if name in ("owner", "ana") else form
            answer = await desk.send(name, do, tab, name="eve", form=own)
            assert answer.status_code == status, (do, tab, name)
    assert [one["name"] for one in await desk.act("people/list")] == ["ana", "bob"]
    assert (await desk.send("ana", "reload", "config")).status_code == 200


async def test_a_form_of_another_site_or_session_does_nothing(desk: Desk) -> None:
    async with httpx.AsyncClient(base_url=desk.address) as elsewhere:
        await elsewhere.post("/login", json={"token": desk.tokens["owner"]})
        page = await elsewhere.get("/admin/people")
    other_session = re.findall(r'name="form" value="([^"]+)"', page.text)[0]
    for form in ("", "x", "é", other_session, await desk.form("ana", "config")):
        answer = await desk.send("owner", "people add", name="eve", form=form)
        assert (answer.status_code, "no longer valid" in answer.text) == (403, True), form
    good = {"do": "people add", "argument-name": "eve", "form": await desk.form("owner")}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ):
        answer = await desk["owner"].post("/admin/people", data=good, headers=headers)
        assert answer.status_code == 403, headers
    assert (await desk["owner"].get("/admin/people", params=good)).status_code == 200
    large = await desk["owner"].post("/admin/people", data={**good, "x": "y" * 20_000})
    assert large.status_code == 413
    many = {**good, **{f"x{number}": "y" for number in range(30)}}
    assert (await desk["owner"].post("/admin/people", data=many)).status_code == 400
    assert [one["name"] for one in await desk.act("people/list")] == ["ana", "bob"]


async def test_a_person_is_invited_renewed_and_removed(desk: Desk) -> None:
    links = []
    eve = httpx.AsyncClient(base_url=desk.address)
    for do in ("add", "renew"):
        page = await desk.send("owner", f"people {do}", name="eve")
        assert page.status_code == 200
        (link,) = re.findall(r'value="([^"]+#token=[^"]+)"', page.text)
        assert link.startswith(f"{desk.address}/#token=")
        links.append(link.partition("#token=")[2])
        again = await desk["owner"].get("/admin/people")
        assert "eve" in again.text
        assert links[-1] not in again.text, "it is shown once"
        if do == "add":
            assert (await eve.post("/login", json={"token": links[0]})).status_code == 200
            assert (await eve.get("/me")).json()["name"] == "eve"
    response = await eve.get("/me")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "session_ended")
    assert "Your sign-in link was replaced" in response.json()["error"]["message"]
    assert (await eve.post("/login", json={"token": links[0]})).status_code == 401
    assert (await eve.post("/login", json={"token": links[1]})).status_code == 200
    removal = await desk.send("owner", "people remove", name="eve")
    assert (removal.status_code, "eve can no longer sign in" in removal.text) == (200, True)
    assert (await eve.get("/me")).status_code == 401
    await eve.aclose()
    lines = (await desk.act("audit"))["lines"][::-1]
    outcomes = [(one["event"], one["asker"]) for one in lines if one.get("person") == "web:eve"]
    assert outcomes == [
        ("person-added", "web:owner"),
        ("person-link-renewed", "web:owner"),
        ("person-removed", "web:owner"),
    ]
    page = await desk["ana"].get("/admin/audit")
    assert all(event in page.text for event, _ in outcomes)


async def test_api_tokens_are_listed_and_revoked(desk: Desk) -> None:
    """Each with its person and age, for admins too; only the owner revokes. Its person reads it."""
    result = await desk.act("people/token", name="bob", label="<b>shop", days=30)
    for name in ("owner", "ana"):
        page = (await desk[name].get("/admin/people")).text
        row = page[page.index(result["id"]) - 200 : page.index(result["id"]) + 300]
        assert (result["token"] in page, "&lt;b&gt;shop" in row, "never" in row, "bob" in row) == (
            False,
            True,
            True,
            True,
        ), name
        assert ('value="people revoke"' in page) is (name == "owner")
    assert (await desk.send("ana", "people revoke", id=result["id"])).status_code == 403
    assert (await desk.send("owner", "people revoke", id="0")).status_code == 404
    answer = await desk.send("owner", "people revoke", id=result["id"])
    assert answer.status_code == 200
    assert f"Revoked API token {result['id']} (bob)." in answer.text
    assert [one["person"] for one in await desk.act("people/tokens")] == ["owner"]
    notices = (await desk["bob"].get("/me", headers={"Accept-Language": "fr"})).json()["notices"]
    for one, verb in zip(notices, ("a créé", "a révoqué"), strict=True):
        assert (verb in one["text"], "<b>shop." in one["text"]) == (True, True), one
    for one in notices:
        assert (await desk["ana"].delete(f"/me/notices/{one['id']}")).status_code == 404
        assert (await desk["bob"].delete(f"/me/notices/{one['id']}")).status_code == 200
    assert (await desk["bob"].get("/me")).json()["notices"] == []
    (line,) = [
        one for one in (await desk.act("audit"))["lines"] if one["event"] == "api-token-revoked"
    ]
    assert (line["asker"], line["person"]) == ("web:owner", "web:bob")


async def test_a_wrong_name_is_explained_and_escaped(desk: Desk) -> None:
    before = await desk.act("people/list")
    for do, name, why in [
        ("add", "Ana Maria", "t a valid name"), ("add", "", "<code>name</code> is missing"),
        ("add", "<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"), ("add", "ana", "ana"),
        ("add", "owner", "is reserved for the person who signs in"),
        ("renew", "owner", "is reserved for"), ("remove", "owner", "is reserved for"),
        ("renew", "nobody", "No one called nobody is invited"),
        ("remove", "../ana", "t a valid name"),
    ]:  # fmt: skip
        answer = await desk.send("owner", f"people {do}", name=name)
        assert answer.status_code in (400, 404, 409), (do, name, answer.status_code)
        assert why in answer.text, (do, name)
        assert "<b>x" not in answer.text
    after = await desk.act("people/list")
    assert [one["name"] for one in after] == [one["name"] for one in before]


async def test_it_shows_requests_and_failures_without_their_texts(desk: Desk) -> None:
    ask = {"message": PAID, "conversation": "work"}
    card = (await desk["bob"].post("/chat", json=ask)).json()["cards"][0]
    desk.team.openai.say(Script(status=400, message="no", match="unlucky words", times=0))
    ask = {"message": "unlucky words", "conversation": "other"}
    assert (await desk["bob"].post("/chat", json=ask)).json()["status"] == "failed"
    page = await desk["ana"].get("/admin")
    assert f'<details data-request="{card["id"]}">' in page.text
    assert "Change a row in Orders</b>" in page.text
    assert "bob</td>" in page.text
    assert "unlucky" not in page.text
    assert PAID not in page.text
    (turn,) = [one for one in await desk.act("turns") if one["failed"]]
    assert turn["reason"] == "model"
    assert '<td data-head="reason">The model&#x27;s server rejected the request.</td>' in page.text


async def test_it_shows_what_the_model_knows_about_tables(own_desk: Desk) -> None:
    desk = own_desk
    desk.team.nocodb.fail(1, 401)
    failed = await desk["ana"].get("/admin/tables")
    assert (failed.status_code, "NocoDB rejected the token." in failed.text) == (200, True)
    assert "No table or field has a description." in (await desk["ana"].get("/admin/tables")).text
    desk.config.write_text(
        '[tables.Orders]\nabout = "<b>paid"\nfields = { amount = "in euros", None = "x" }\n'
    )
    await desk.send("owner", "reload", "config")
    page = (await desk["ana"].get("/admin/tables", headers={"Accept-Language": "pt-BR"})).text
    cells = re.findall(r'<td data-head="([^"]+)">([^<]*)</td>', page)
    assert cells[:4] == [
        ("tabela", "Orders"),
        ("campo", "–"),
        ("descrição", "&lt;b&gt;paid"),
        ("escrito em", "ponte.toml"),
    ]
    assert len(cells) == 8, "no field is called None"
    with desk.config.open("a") as file:
        file.write('[[rules]]\nwho = ["web:ana"]\ndeny = ["read:Orders"]\n')
    await desk.send("owner", "reload", "config")
    assert "Orders" not in (await desk["ana"].get("/admin/tables")).text
    assert "Orders" in (await desk["owner"].get("/admin/tables")).text


async def test_the_file_is_checked_line_by_line_and_reloaded(own_desk: Desk) -> None:
    desk = own_desk

    async def show() -> str:
        return (await desk["owner"].get("/admin/config")).text

    assert describe_config_file(Config(), desk.config.with_name("x.toml")).words.startswith(
        "no file "
    )
    assert (
        "is newer than the version in use. Run <code>ponte reload</code> to apply it."
        in await show()
    )
    await desk.send("owner", "reload", "config")
    assert "The file has no errors." in await show()
    desk.config.write_text('[[allowances]]\nof = "nobody"\n[limits]\ntool_calls = "<i>"\n')
    for page in (
        await desk["owner"].get("/admin/config"),
        await desk.send("owner", "reload", "config"),
    ):
        assert "ponte.toml:2: &#x27;of&#x27;: write one of" in page.text
        assert "ponte.toml:4: " in page.text
        assert "<i>" not in page.text
    assert page.status_code == 400
    assert "ponte.toml has errors." in (await desk["ana"].get("/admin")).text
    desk.config.write_text(
        '[groups]\ncrew = []\n[hooks.x]\nkind = "github"\nsecret = "HOOK_OF_TESTS"\n'
        'post_to = "slack:T1:C1"\nas = "crew"\ntemplate = "t"\n'
    )
    await desk.send("owner", "reload", "config")
    overview = (await desk["ana"].get("/admin")).text
    assert "ponte.toml has errors." not in overview
    assert "Ponte is using ponte.toml, but some of its lines have errors or" in overview
    desk.config.write_text('[[allowances]]\nof = "nobody"\n')
    for language, words in (("pt-BR", "escreva um destes valores"), ("fr", "l’une de ces valeurs")):
        page = await desk["owner"].get("/admin/config", headers={"Accept-Language": language})
        assert "ponte.toml:2: &#x27;of&#x27;: " in page.text
        assert words in page.text
    allowances = "".join(
        f'[[allowances]]\nof = "{of}"\nturns = {turns}\n'
        for of, turns in (("each person", 9), ("everybody", 2))
    )
    desk.config.write_text(f'{allowances}[slack]\nbots = ["B0123456789"]\n')
    page = await desk.send("owner", "reload", "config")
    assert (page.status_code, f"Reloaded {desk.config}." in page.text) == (200, True)
    assert "Restart Ponte to apply: [slack]." in page.text
    await desk["bob"].post("/chat", json={"message": PAID, "conversation": "work"})
    usage = (await desk["ana"].get("/admin/usage")).text
    assert usage.index("2 messages a day") < usage.index("9 messages a day"), "people come last"
    assert '<td data-head="channel">page</td>' in usage.partition("By channel")[2]
    assert re.search(r"1 message\b", usage)
    assert "50%" in usage
    assert "ponte.toml:1" in usage
    assert "Limits almost reached" not in (await desk["ana"].get("/admin")).text
    await desk["bob"].post("/chat", json={"message": "Hello", "conversation": "other"})
    nearly = (await desk["ana"].get("/admin")).text.partition("Limits almost reached")[2]
    assert "100%" in nearly
    (*_, line) = [
        one for one in (await desk.act("audit"))["lines"] if one["event"] == "config-reloaded"
    ]
    assert line["asker"] == "web:owner"


async def test_it_offers_an_example_for_each_heading_of_the_file(
    desk: Desk, tmp_path: Path
) -> None:
    page = (await desk["ana"].get("/admin/config")).text
    areas = re.findall(r'<textarea readonly [^>]*aria-label="(.+?)">(.*?)</textarea>', page, re.S)
    examples = {heading: html.unescape(text) for heading, text in areas}
    known = {field.name for field in fields(Config) if field.init} | {"slack"}  # of its adapter
    assert {heading.strip("[]") for heading in examples} == known
    assert len(examples) == len(areas)
    file = tmp_path / "ponte.toml"
    groups = examples["[groups]"]
    for heading, text in examples.items():
        assert f"<summary><code>{heading}</code></summary>" in page
        assert f"\n{heading.rstrip(']')}" in f"\n{text}"
        file.write_text(text if text == groups else f"{groups}\n{text}", encoding="utf-8")
        assert read_config(file) != Config(), heading
    assert examples["[limits]"].startswith("# --- Limits of a turn and of")
    assert f"\n{examples['[tables]']}".count("\n[tables.") == 4
    for language, words in (("pt-BR", "Abra uma seção"), ("fr", "Ouvrez une section")):
        shown = await desk["ana"].get("/admin/config", headers={"Accept-Language": language})
        assert words in html.unescape(shown.text)


async def test_the_tab_of_webhooks_names_them(own_desk: Desk) -> None:
    own_desk.config.write_text(
        '[groups]\nshipping = []\n[hooks.deploys]\nkind = "github"\n'
        'secret = "DEPLOYS_HOOK_SECRET"\npost_to = "slack:T1:C1"\n'
        'as = "shipping"\ntemplate = "{sender.login}"\n'
    )
    assert (await own_desk.send("owner", "reload", "config")).status_code == 200
    page = (await own_desk["owner"].get("/admin/operations")).text
    assert "<option>deploys</option>" in page
    assert ("Test a webhook" in page, "<h2>hooks test" in page) == (True, False)


async def test_usage_by_day_begins_with_the_newest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def report(_: Budget, by: str, since: str) -> Sequence[Mapping[str, Any]]:
        days = ("2026-11-17", "2026-11-20") if by == "day" else ()
        counts = {"turns": 3, "input": 1500, "output": 20, "cost": 0.25, "estimated": 1}
        return [{"name": day, **counts} for day in days]

    monkeypatch.setattr(Budget, "report", report)
    page = (await desk["ana"].get("/admin/usage")).text.partition("By day")[2]
    assert re.findall(r"<td[^>]*>(Nov \d+, 2026)<", page) == ["Nov 20, 2026", "Nov 17, 2026"]
    bars = re.findall(r'y="290" text-anchor="middle">([^<]+)<', page)
    assert bars == ["Nov 17", "Nov 18", "Nov 19", "Nov 20"], "days without use have their place"
    lines = re.findall(r'text-anchor="end">([^<]+)<', page)
    assert lines == ["$0", "$0.10", "$0.20", "$0.30"], "round numbers"
    assert (
        page.count(">1,520<") == page.count('<td class="amount" data-head="US dollars">$0.25<') == 2
    )
    assert page.count('class="value"') == 4, "each bar has its value"
    assert "The costs of 2 calls are upper estimates" in page.partition("By channel")[0]


async def test_the_checks_are_those_of_doctor(own_desk: Desk) -> None:
    desk = own_desk
    page = (await desk["owner"].get("/admin/checks")).text
    plain = re.sub(r"</?code>", "`", page)
    settings = desk.team.settings
    assert settings is not None
    matches = [
        one async for one in check_everything(Start(settings, Config(), Home(desk.team.home)))
    ]
    assert len(matches) > 10
    for one in matches:
        if one.state != "off":
            assert html.escape(one.words) in plain, one
    link = '<a href="/admin/setup?card=slack#slack">Setup</a>'
    assert f"Not connected. {link}" in page, "in place of names of settings"
    assert "PONTE_CODE is off" in re.sub("</?code>", "", page), "somebody chose it"
    for_admins = (await desk["ana"].get("/admin/checks")).text
    assert ("Not connected. </td>" in for_admins, "/admin/setup" in for_admins) == (True, False)


async def test_a_request_is_shown_in_full_to_whoever_may_see_it(own_desk: Desk) -> None:
    desk = own_desk
    ask = {"message": PAID, "conversation": "work"}
    card = (await desk["bob"].post("/chat", json=ask)).json()["cards"][0]

    async def find(who: str) -> Any:
        return (await desk[who].get(f"/cards/{card['id']}")).json()

    for who in ("owner", "ana"):
        shown_card = await find(who)
        assert "approve" in shown_card["actions"], who
        assert (shown_card["rows"][0]["name"], shown_card["refusal"]) == ("Order 12", "")
    desk.config.write_text('[tables.Orders]\napprovers = ["web:bob"]\napprovers_only = true\n')
    await desk.send("owner", "reload", "config")
    for who in ("owner", "ana"):
        shown_card = await find(who)
        assert "approve" not in shown_card["actions"], who
        assert shown_card["refusal"] == f"Only a designated approver can decide on {card['id']}."
    assert (await find("bob"))["refusal"] == ""
    await desk.act("people/add", name="eve")
    unknown = await desk["bob"].get("/cards/abc234")
    assert unknown.status_code == 404


async def test_no_tab_shows_codes_or_backticks(own_desk: Desk) -> None:
    """Names of settings stand only where the setup page has no field for them."""
    desk = own_desk
    conversation = "0123456789abcdef01234567"
    desk.team.openai.say(Script(status=400, message="no", match="unlucky words", times=0))
    ask = {"message": "unlucky words", "conversation": conversation}
    assert (await desk["owner"].post("/chat", json=ask)).json()["status"] == "failed"
    decision = {"action": "approve", "conversation": conversation}
    assert (await desk["owner"].post("/cards/abc234", json=decision)).status_code == 404
    add_schedule(desk.team.home)
    for tab in (*TABS, "/feedback"):
        page = (await desk["owner"].get(f"/admin{tab}")).text
        page = page.partition('<div class="examples">')[0]
        assert "not_found" not in page, tab
        assert "`" not in page, tab
        assert conversation not in page, tab
        for name in ("SLACK_BOT_TOKEN", "DISCORD_TOKEN", "STACKSPOT_CLIENT_ID"):
            assert name not in page, tab


@pytest.mark.parametrize("language", ["en", "pt-BR", "fr"])
async def test_the_demo_model_is_told_without_names_of_settings(language: str) -> None:
    with i18n.use_locale(language):
        health = await DemoModel().health()
        row = {"name": "model", "state": health.state, "words": health.words}
        table = TEXT_LISTS["status"].table([row], View(ZoneInfo("UTC"), is_page=True))
    assert "(" not in table.rows[0][2].partition("[")[0]
    assert "OPENAI" not in table.rows[0][2]


async def test_filters_and_languages(desk: Desk) -> None:
    wrong = await desk["ana"].get("/admin/audit", params={"since": "<x>"})
    assert (wrong.status_code, "t a date." in wrong.text) == (200, True)
    assert "<x>" not in wrong.text
    assert "t a date" in (await desk["ana"].get("/admin/usage?since=soon")).text
    people = (await desk["ana"].get("/admin/audit?event=person-added&person=web:bob")).text
    assert (people.count("person-added</td>"), "web:ana" in people) == (1, False)
    none = (await desk["ana"].get("/admin/audit?since=2001-01-01&until=2001-01-02")).text
    assert "No entries." in none
    for language, word in (("pt-BR", "Registro de auditoria"), ("fr", "Journal d’audit")):
        for tab in TABS:
            page = await desk["owner"].get(f"/admin{tab}", headers={"Accept-Language": language})
            assert (f'<html lang="{language}"' in page.text, word in page.text) == (True, True)


async def test_schedules_are_listed_and_the_operator_stops_runs_and_deletes_them(
    desk: Desk,
) -> None:
    assert "No schedules yet." in (await desk["owner"].get("/admin/schedules")).text
    add_schedule(desk.team.home)
    page = (await desk["ana"].get("/admin/schedules")).text
    assert "on the last working day (Monday to Friday) of each month" in page
    assert "&lt;i&gt;Stand-up&lt;/i&gt;" in page
    unknown = await desk.act("schedules/dance", id="abc234")
    assert unknown["error"]["code"] == "not_found"
    expected = {"pause": "paused", "resume": "active", "run": "active", "delete": ""}
    for action, state in expected.items():
        schedule = await desk.act(f"schedules/{action}", id="ABC234")
        # Its run may end, and pause it, at any time.
        assert (schedule["id"], schedule["state"]) == ("abc234", state or schedule["state"])
        if action == "pause":
            assert "paused: someone paused it" in (await desk["owner"].get("/admin/schedules")).text
        if action == "run":
            assert len((await desk.act("schedules/show", id="ABC234"))["runs"]) == 1
    assert await desk.act("schedules/list") == []
    for action, code in (("show", "not_found"), ("delete", "not_found")):
        assert (await desk.act(f"schedules/{action}", id="x"))["error"]["code"] == code
    lines = (await desk.act("audit"))["lines"][::-1]
    outcomes = [line["event"] for line in lines if line["asker"] == "operator"]
    assert [event for event in outcomes if event.startswith("schedule-")] == [
        "schedule-paused",
        "schedule-resumed",
        "schedule-run-requested",
        "schedule-deleted",
    ]


async def test_an_admin_changes_schedules_with_buttons(desk: Desk) -> None:
    """Each state offers its buttons, and a form that is sent twice starts one run."""
    add_schedule(desk.team.home)
    for action, words, offer in (
        ("pause", "Paused abc234.", ["resume", "run", "delete"]),
        ("resume", "Resumed abc234. Its next run is on ", ["pause", "run", "delete"]),
        ("run", "Started a run of abc234.", []),
        ("run", "Started a run of abc234.", []),
        ("delete", "Deleted abc234.", []),
        ("delete", "Schedule abc234 not found.", []),
    ):
        more = {"once": "o1"} if action == "run" else {}
        answer = await desk.send("ana", f"schedules {action}", "schedules", id="abc234", **more)
        assert answer.status_code == (404 if "not found" in words else 200), action
        assert words in answer.text, action
        if action == "run":  # which then may end, and pause the schedule, at any time
            runs = (await desk.act("schedules/show", id="abc234"))["runs"]
            assert len(runs) == 1
            assert re.search(r'data-head="last run">[^<–]+: \w', answer.text)
        else:
            assert re.findall(r'name="do" value="schedules (\w+)"', answer.text) == offer, action
    lines = (await desk.act("audit"))["lines"][::-1]
    outcomes = [line["event"] for line in lines if line["asker"] == "web:ana"]
    assert [event for event in dict.fromkeys(outcomes) if event.startswith("schedule-")] == [
        "schedule-paused",
        "schedule-resumed",
        "schedule-run-requested",
        "schedule-deleted",
    ]


async def test_the_audit_log_reads_as_sentences(own_desk: Desk) -> None:
    """Newest first, with the rows of a change as long as they are stored."""
    chat = await own_desk["bob"].post("/chat", json={"message": PAID, "conversation": "work"})
    (card,) = chat.json()["cards"]
    id = card["id"]
    done = await own_desk["ana"].post(f"/cards/{id}", json={"action": "approve", "revision": 1})
    assert done.json()["state"] == "done"
    text = (await own_desk["owner"].get("/admin/audit")).text
    cells = [html.unescape(each) for each in re.findall(r'data-head="details">(.*?)</td>', text)]
    words = [cell.replace("<code>", "").replace("</code>", "") for cell in cells]
    title = f"Change a row in Orders {id}"
    assert words[0] == f"Done: {title}"
    assert (
        words[1]
        == f"ana approved: {title} (Order 12 (Amount: 18 · Due: Jan 15, 2026), Paid: No → Yes)"
    )
    assert words[2] == f"bob requested: {title}"
    assert len({*words}) == len(words), "no sentence stands twice"
    assert words[3].startswith("Someone on the server created an API token for ")
    assert "::" not in text
    for language in ("pt-BR", "fr"):  # most lines have no rule
        page = await own_desk["owner"].get("/admin/audit", headers={"Accept-Language": language})
        assert "Project-Id" not in page.text
