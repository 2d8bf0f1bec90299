"""The setup page: who may use it, what it asks for, and what it never shows."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
import pytest_asyncio

from adapters.slack.client import SlackApi
from adapters.slack.setup import SCOPE_PURPOSES, manifest
from adapters.web.settings import WebSettings
from adapters.web.setup.gate import FORWARDING_HEADERS, SetupGate
from adapters.web.visitor import OwnerVisitor, Visit
from bot import logs
from bot.logs import Redaction
from bot.settings import Settings
from bot.setup import service
from core.base.proxies import Proxies
from core.domain.messages import Person
from tests.fakes.nocodb import filled
from tests.fakes.slack import BOT_TOKEN, FakeSlack
from tests.fakes.slack.records import APP_TOKEN
from tests.time_limits import Limits
from tests.web.test_admin import Desk, open_desk
from tests.web.test_every_button import RestartDouble

pytestmark = pytest.mark.asyncio(loop_scope="module")
OWNER = OwnerVisitor(Person("web", "owner"), session="s")
OTHER_ADDRESS = "http://127.0.0.1:1"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("setup") / "home") as desk:
        yield desk


async def send(desk: Desk, do: str, who: str = "owner", **fields: str) -> httpx.Response:
    form = {"form": await desk.form("owner", "setup"), "do": do, **fields}
    return await desk[who].post("/admin/setup", data=form)


async def test_the_check_warns_of_a_model_without_a_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of money would not count its use. After a check, a used-up limit is tried again."""
    tried = Mock()
    monkeypatch.setattr("bot.health.HealthBoard.retry_model", tried)
    async with open_desk(tmp_path / "home") as desk:
        desk.config.write_text('[[allowances]]\nof = "everybody"\nmoney = 20\n')
        await desk.act("reload")
        fields = {"card": "model", "value-openai_base_url": desk.team.openai.base_url}
        page = await send(desk, "check", **fields, **{"value-openai_api_key": "sk-test"})
        assert "Ponte doesn't know the price of" in notices(page)
        tried.assert_called_once()


def draft_of(page: httpx.Response, card: str) -> str:
    own = page.text.partition(f'id="{card}"')[2].partition("</details>")[0]
    match = re.search(r'name="draft" value="([^"]*)"', own)
    assert match is not None
    return match[1]


def notices(page: httpx.Response) -> str:
    found = re.findall(r'<(?:p|div) class="notice.*?</(?:p|div)>', page.text, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", " ".join(found)))


def nocodb(desk: Desk, token: str = filled.EDITOR) -> dict[str, str]:
    return {
        "card": "nocodb",
        "value-nocodb_url": desk.team.nocodb.origin,
        "value-nocodb_token": token,
    }


async def test_only_the_owners_own_session_opens_it(desk: Desk) -> None:
    expected = {
        "owner": 200,
        "ana": 403,
        "bob": 403,
        "program": 403,
        "stranger": 401,
        "socket": 404,
    }
    for name, status in expected.items():
        page = await desk[name].get("/admin/setup")
        assert page.status_code == status, name
        if status == 200:
            assert "<script" not in page.text
            assert "style=" not in page.text
            assert page.headers["content-security-policy"].startswith("default-src 'none'")
            continue
        assert "SLACK_BOT_TOKEN" not in page.text, name
        for do in (
            "check",
            "save",
            "apply",
            "look",
            "people",
            "claim",
            "grant-me",
            "revoke",
            "undo",
        ):
            assert (await send(desk, do, name)).status_code == status, (name, do)
    token = {"Authorization": f"Bearer {desk.tokens['owner']}"}
    assert (await desk["stranger"].get("/admin/setup", headers=token)).status_code == 403
    assert "/admin/setup" in (await desk["owner"].get("/admin")).text
    assert "/admin/setup" not in (await desk["ana"].get("/admin")).text
    assert not (desk.team.home / "settings.env").exists()


async def test_no_other_form_of_the_operators_page_reaches_it(desk: Desk) -> None:
    """They ask neither for the owner's link nor whether a proxy is in between."""
    for do in ("setup show", "setup undo", "setup step"):
        assert (await desk.send("owner", do, "operations")).status_code == 404, do
    page = await desk["owner"].get("/admin/operations")
    assert "setup undo" not in page.text


async def test_a_form_of_another_site_or_session_does_nothing(desk: Desk) -> None:
    for form in ("", "x", "é", await desk.form("ana", "config")):
        page = await desk["owner"].post(
            "/admin/setup", data={"form": form, "do": "save", **nocodb(desk)}
        )
        assert page.status_code == 403, form
    data = {"form": await desk.form("owner", "setup"), "do": "save", **nocodb(desk)}
    page = await desk["owner"].post(
        "/admin/setup", data=data, headers={"Origin": "https://evil.example"}
    )
    assert page.status_code == 403
    assert not (desk.team.home / "settings.env").exists()


@pytest.mark.parametrize("header", FORWARDING_HEADERS)
async def test_through_a_proxy_it_is_closed(desk: Desk, header: str) -> None:
    page = await desk["owner"].get("/admin/setup", headers={header: "203.0.113.7"})
    assert "through a proxy" in page.text
    assert "<form" not in page.text
    data = {"form": await desk.form("owner", "setup"), "do": "look", "card": "model"}
    page = await desk["owner"].post("/admin/setup", data=data, headers={header: "x"})
    assert page.status_code == 403


@pytest.mark.parametrize(
    ("settings", "host", "reason"),
    [
        ({}, "127.0.0.1:8080", ""),
        ({}, "localhost", ""),
        ({}, "[::1]:8080", ""),
        ({}, "ponte.example.com", "through a proxy"),
        ({}, "", "through a proxy"),
        ({"ponte_setup": "on"}, "localhost", ""),
        ({"ponte_setup": "off"}, "localhost", "PONTE_SETUP is off"),
        ({"database_url": "postgresql://db/ponte"}, "localhost", "DATABASE_URL"),
        (
            {"database_url": "postgresql://db/ponte", "ponte_setup": "on"},
            "localhost",
            "DATABASE_URL",
        ),
        ({"ponte_web_host": "0.0.0.0"}, "localhost", "Other people can open"),
        ({"ponte_web_host": "0.0.0.0", "ponte_setup": "on"}, "localhost", "https"),
        (
            {"ponte_web_url": "https://ponte.example.com"},
            "ponte.example.com",
            "Other people can open",
        ),
        (
            {"ponte_web_url": "http://ponte.example.com", "ponte_setup": "on"},
            "ponte.example.com",
            "https",
        ),
        (
            {"ponte_web_url": "https://ponte.example.com", "ponte_setup": "on"},
            "ponte.example.com",
            "",
        ),
    ],
)
async def test_it_is_offered_only_where_nobody_else_can_open_it(
    settings: dict[str, str], host: str, reason: str
) -> None:
    own = Settings.model_validate({"ponte_web_token": "a-token-of-enough-letters", **settings})
    assert isinstance(own, WebSettings)
    visit = Visit("/admin/setup", {"host": host}, "127.0.0.1")
    why = SetupGate.from_settings(own, own).why_closed(visit, OWNER)
    assert (reason in why) if reason else not why, why


async def test_a_request_from_another_machine_is_refused() -> None:
    own = Settings()
    visit = Visit("/admin/setup", {"host": "localhost"}, "192.0.2.1")
    assert "through a proxy" in SetupGate.from_settings(own, own).why_closed(visit, OWNER)


async def test_a_service_is_checked_before_anything_is_stored(desk: Desk) -> None:
    page = await send(desk, "check", **nocodb(desk, "a-wrong-token"))
    assert "failing" in notices(page)
    page = await send(desk, "check", **nocodb(desk))
    assert "NocoDB responds" in notices(page), notices(page)
    assert filled.EDITOR not in page.text
    assert not (desk.team.home / "settings.env").exists()
    # The bases are listed to choose from, and the token need not be typed again.
    bases = [base.title for base in desk.team.nocodb.world.bases.values()]
    assert all(f'<option value="{html.escape(title)}"' in page.text for title in bases[:1])
    fields = nocodb(desk, "") | {"draft": draft_of(page, "nocodb")}
    page = await send(desk, "save", **fields, **{"value-nocodb_base_id": bases[0]})
    assert page.status_code == 200
    assert "Saved: NocoDB. Restart Ponte to apply the change." in notices(page)
    stored = (desk.team.home / "settings.env").read_text()
    assert f"NOCODB_TOKEN='{filled.EDITOR}'" in stored
    assert filled.EDITOR not in (await desk["owner"].get("/admin/setup?card=nocodb")).text
    lines = (await desk.act("audit"))["lines"]
    (saved,) = [line for line in lines if line["event"] == "setup-saved"]
    assert saved["settings"] == "NOCODB_BASE_ID, NOCODB_TOKEN, NOCODB_URL"
    assert filled.EDITOR not in str(lines)
    assert (await send(desk, "undo")).status_code == 200
    assert "NOCODB" not in (desk.team.home / "settings.env").read_text()


async def test_the_slack_app_is_compared_and_updated(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the check has shown what it lacks."""
    async with FakeSlack() as slack:
        at_slack = partial(SlackApi.__init__, base_url=slack.base_url)

        def connect(api: SlackApi, token: str, _: str, proxies: Proxies) -> None:
            at_slack(api, token, proxies=proxies)

        monkeypatch.setattr(SlackApi, "__init__", connect)
        slack.api.scopes = list(SCOPE_PURPOSES)
        app = deepcopy(manifest())
        app["features"]["slash_commands"] = []
        slack.api.app_settings.manifest = app
        values = {"bot": BOT_TOKEN, "app": APP_TOKEN, "config": "xoxe-1-first"}
        fields = {f"value-slack_{name}_token": value for name, value in values.items()}
        page = await send(desk, "check", card="slack", **fields)
        assert "lacks /ponte, /quick-command. Add" in notices(page)
        assert ">Update the app</button>" in page.text
        assert "xoxe-1-first" not in page.text
        draft = draft_of(page, "slack")
        app["features"]["shortcuts"] = []
        page = await send(desk, "update-app", card="slack", draft=draft)
        assert (page.status_code, "changed in the meantime" in notices(page)) == (400, True)
        page = await send(desk, "check", card="slack", draft=draft)
        assert "lacks /ponte, /quick-command, Ask Ponte, Quick command. Add" in notices(page)
        page = await send(desk, "update-app", card="slack", draft=draft_of(page, "slack"))
        assert "The Slack app is updated." in notices(page), notices(page)
        assert ">Update the app</button>" not in page.text
        assert slack.api.app_settings.manifest == json.loads(json.dumps(manifest()))
        lines = (await desk.act("audit"))["lines"]
        (line,) = [line for line in lines if line["event"] == "setup-app-updated"]
        assert (line["service"], "xoxe" in str(lines)) == ("slack", False)


async def test_a_service_without_an_app_has_none_to_update(desk: Desk) -> None:
    page = await send(desk, "check", **nocodb(desk))
    page = await send(desk, "update-app", card="nocodb", draft=draft_of(page, "nocodb"))
    assert (page.status_code, "Not found: app." in notices(page)) == (400, True)


async def test_who_changes_the_address_types_the_secret_again(desk: Desk) -> None:
    page = await send(desk, "check", **nocodb(desk))
    draft = draft_of(page, "nocodb")
    for do in ("check", "save"):
        fields = {"card": "nocodb", "draft": draft, "value-nocodb_url": OTHER_ADDRESS}
        page = await send(desk, do, **fields)
        assert page.status_code == 400
        assert "Type “Token” again, because “Address” has changed." in notices(page)
    await send(desk, "save", **nocodb(desk, ""), draft=draft)
    page = await send(desk, "check", card="nocodb", **{"value-nocodb_url": OTHER_ADDRESS})
    assert "again, because" in notices(page), "nor may the stored secret go there"
    await send(desk, "undo")


def read_settings_file(desk: Desk) -> str:
    file = desk.team.home / "settings.env"
    return file.read_text() if file.exists() else ""


@pytest.mark.parametrize("do", ["check", "save"])
@pytest.mark.parametrize("why", ["expired", "unknown", "replaced by many", "of another card"])
async def test_a_tab_whose_secret_is_no_longer_kept_asks_for_it_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, limits: Limits, do: str, why: str
) -> None:
    """It neither checks nor stores the secret before, which another tab has saved."""
    await send(desk, "save", **nocodb(desk, "token-that-the-first-tab-saved"))
    try:
        before = read_settings_file(desk)
        page = await send(desk, "check", **nocodb(desk))
        draft = draft_of(page, "nocodb")
        match why:
            case "expired":
                setup = desk.ponte.setup
                later = setup._clock() + service.DRAFT_SECONDS
                monkeypatch.setattr(setup, "_clock", lambda: later)
            case "unknown":  # as after a new start of Ponte
                draft = "unknown"
            case "replaced by many":
                limits(MAX_DRAFTS=1)
                await send(desk, "check", **nocodb(desk))
            case "of another card":
                other = {"card": "model", "value-openai_api_key": "sk-typed-on-another-card"}
                draft = draft_of(await send(desk, "check", **other), "model")
        page = await send(desk, do, **nocodb(desk, ""), draft=draft)
        assert page.status_code == 400
        assert "The secrets that you typed have expired" in notices(page)
        assert read_settings_file(desk) == before
        assert "failing" not in notices(page), "the stored token wasn't sent"
        assert draft_of(page, "nocodb") == ""
        assert f'value="{desk.team.nocodb.origin}"' in page.text, "what can be shown stays"
        page = await send(desk, do, **nocodb(desk), draft=draft)
        assert page.status_code == 200, "a secret that was typed again needs no draft"
    finally:
        await send(desk, "remove", card="nocodb")


async def test_what_has_not_changed_is_not_saved(desk: Desk) -> None:
    """So what the last change took the place of can still be brought back."""
    python = {"card": "code", "value-ponte_code": "off"}
    assert "Saved: Python. Restart Ponte to apply the change." in notices(
        await send(desk, "save", **python)
    )
    for again in (python, {"card": "stackspot"}):
        page = await send(desk, "save", **again)
        assert page.status_code == 400
        assert "Nothing was saved, because nothing has changed." in notices(page)
    lines = (await desk.act("audit"))["lines"]
    assert lines[0]["event"] == "setup-saved"
    assert lines[0]["settings"] == "PONTE_CODE"
    page = await send(desk, "undo")
    assert "Restart now" not in page.text, "nothing waits for a restart"
    assert "PONTE_CODE" not in read_settings_file(desk)
    assert "There is nothing to undo." in notices(await send(desk, "undo"))


async def test_two_presses_of_restart_now_are_one_restart(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one may wait in the queue of the socket, and then comes to the new process."""
    await send(desk, "save", card="code", **{"value-ponte_code": "off"})
    for is_confirmed in (False, True):
        restart = RestartDouble()
        monkeypatch.setattr(desk.ponte.setup, "_restart", restart)
        if is_confirmed:
            desk.ponte.setup._stored.confirm()
        page = await send(desk, "apply")
        assert page.headers["refresh"] == "1; url=/admin/setup"
        assert restart.requests == int(not is_confirmed)
    page = await send(desk, "remove", card="code")
    assert "Removed: Python. Restart Ponte to apply the change." in notices(page)


async def test_the_first_check_of_a_server_asks_for_one_of_its_models(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server other than OpenAI's lacks the default, which nobody has chosen there."""
    monkeypatch.setattr(desk.team.openai, "models", ["llama-4", "qwen-4"])
    fields = {"card": "model", "value-openai_base_url": desk.team.openai.base_url}
    page = await send(desk, "check", **fields, **{"value-openai_api_key": "sk-test"})
    assert "The server responds. Choose one of its models." in notices(page)
    assert "failing" not in notices(page)
    assert '<option value="" selected>Choose…</option>' in page.text
    assert '<option value="llama-4">' in page.text
    chosen = {"draft": draft_of(page, "model"), "value-ponte_model": "gpt-6-luna"}
    page = await send(desk, "check", **fields, **chosen)
    assert "doesn't have the model gpt-6-luna (“Name of the model”)" in notices(page)


async def test_the_first_screen_offers_the_owner_what_is_missing(desk: Desk) -> None:
    """Each name leads to its row."""
    welcome = (await desk["owner"].get("/welcome")).json()
    assert welcome["connect"] == ["slack", "discord", "stackspot", "code"]
    assert (await desk["ana"].get("/welcome")).json()["connect"] == []


async def test_two_tabs_have_a_draft_each(desk: Desk) -> None:
    first = draft_of(await send(desk, "check", **nocodb(desk)), "nocodb")
    second = draft_of(await send(desk, "check", **nocodb(desk, "a-wrong-token")), "nocodb")
    assert first != second
    page = await send(desk, "check", **nocodb(desk, ""), draft=first)
    assert "NocoDB responds" in notices(page)
    page = await send(desk, "check", **nocodb(desk, ""), draft=second)
    assert "failing" in notices(page)
    assert (await send(desk, "save", **nocodb(desk, ""), draft=first)).status_code == 200
    assert f"NOCODB_TOKEN='{filled.EDITOR}'" in read_settings_file(desk)
    await send(desk, "remove", card="nocodb")


async def test_a_typed_secret_is_in_no_answer_metric_or_request_to_the_model(desk: Desk) -> None:
    """The last four characters are shown."""
    secrets = {"nocodb": "typed-nocodb-token-4711", "model": "sk-typed-model-key-0815"}
    cards = {
        "nocodb": nocodb(desk, secrets["nocodb"]),
        "model": {
            "card": "model",
            "value-openai_base_url": OTHER_ADDRESS,
            "value-openai_api_key": secrets["model"],
        },
    }
    texts = []
    for do in ("check", "save"):
        for fields in cards.values():
            page = await send(desk, do, **fields)
            assert page.status_code == 200
            texts.append(page.text)
            paths = ("/metrics", "/status", "/admin", "/admin/checks", "/admin/audit")
            texts += [(await desk["owner"].get(path)).text for path in paths]
            for output in ("text", "json"):
                answer = await desk["socket"].post("/operator/setup/show", json={"output": output})
                assert answer.status_code == 200
                texts.append(answer.text)
    assert all(f"…{secret[-4:]}" in texts[-1] for secret in secrets.values())
    for words in (f"What is {secrets['nocodb'][-4:]}?", "Which services are connected?"):
        await desk["owner"].post("/chat", json={"message": words, "conversation": "setup"})
    assert desk.team.openai.requests
    for secret in secrets.values():
        assert secret[:-4] not in desk.team.model_input()
        assert not [text for text in texts if secret[:-4] in text]
    for card in cards:
        await send(desk, "remove", card=card)


async def test_a_secret_is_masked_as_soon_as_it_is_typed(desk: Desk) -> None:
    """In a log of *Check*, too: it is in no setting then. The last thousand forms are known."""
    for number in range(2_000):
        logs.mask_also(f"typed-before-{number:04}", is_typed=True)
    assert len(logs.typed_secrets) == 1_000
    await send(desk, "check", **nocodb(desk, "typed-but-in-force-nowhere"))
    assert Redaction(()).of("token=typed-but-in-force-nowhere") == "token=[secret]"


async def test_the_owners_token_is_needed_again(desk: Desk, limits: Limits) -> None:
    limits(FRESH_SECONDS=-1.0)
    page = await desk["owner"].get("/admin/setup?card=nocodb")
    assert 'name="token"' in page.text
    page = await send(desk, "check", **nocodb(desk))
    assert page.status_code == 400
    assert "NocoDB responds" not in page.text
    assert "What you typed has been kept." in notices(page)
    draft = draft_of(page, "nocodb")
    for token in ("wrong", desk.tokens["ana"], "#token="):
        page = await send(desk, "check", **nocodb(desk, ""), draft=draft, token=token)
        assert page.status_code == 400, token
        assert "isn't the owner's sign-in link" in notices(page)
    link = f"{desk.address}/#token={desk.tokens['owner']}"
    page = await send(desk, "check", **nocodb(desk, ""), draft=draft, token=link)
    assert "NocoDB responds" in notices(page), "what was typed was kept"
    assert desk.tokens["owner"] not in page.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"card": "nothing"}, "Not found: card"),
        ({"card": "slack", "value-slack_bot_token": "xapp-1"}, "this is an app token"),
        ({"card": "nocodb", "value-nocodb_url": "not an address"}, "“Address”: write a URL"),
        ({"card": "nocodb", "value-nocodb_token": "@/etc/passwd"}, "can't start with @"),
        ({"card": "model", "value-ponte_model": "a\nDATABASE_URL=x"}, "line break"),
        ({"card": "code", "value-ponte_code": "anywhere"}, "“Where Python runs”: write"),
    ],
)
async def test_wrong_values_are_refused_with_what_to_do(
    desk: Desk, fields: dict[str, str], words: str
) -> None:
    page = await send(desk, "save", **fields)
    assert page.status_code in (400, 404)
    assert words in notices(page), notices(page)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"card": "nocodb", "value-nocodb_url": "x"},
            "«\xa0Adresse\xa0»\xa0: écrivez une URL qui commence",
        ),
        (
            {"card": "nocodb", "value-nocodb_url": "a.example"},
            "«\xa0Adresse\xa0»\xa0: écrivez https://a.exa",
        ),
        (
            {"card": "nocodb", "value-nocodb_url": "http://a/b"},
            "«\xa0Adresse\xa0»\xa0: écrivez une origine",
        ),
        ({"card": "slack", "value-slack_app_token": "xoxb-1"}, "ceci est un jeton de bot"),
        (
            {"card": "model", "value-openai_api_key": "sk-a…z"},
            "«\xa0Clé d’API\xa0»\xa0: la valeur contient",
        ),
        (
            {"card": "nocodb", "value-nocodb_token": "a…z"},
            "«\xa0Jeton\xa0»\xa0: la valeur contient",
        ),
        ({"card": "code", "value-ponte_code": "?"}, "\xa0: écrivez l’une de ces valeurs"),
    ],
)
async def test_wrong_values_are_refused_in_the_language_of_the_page(
    desk: Desk, fields: dict[str, str], words: str
) -> None:
    form = {"form": await desk.form("owner", "setup"), "do": "save", **fields}
    page = await desk["owner"].post("/admin/setup", data=form, headers={"Accept-Language": "fr"})
    assert words in notices(page), notices(page)


async def test_without_ponte_run_nothing_is_started_anew(desk: Desk) -> None:
    page = await send(desk, "apply")
    assert page.status_code == 400
    assert "can restart itself" in notices(page)


async def test_what_stands_in_env_is_only_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_API_URL", "https://slack.example/api/")
    monkeypatch.setenv("PONTE_MODEL", "my-model")
    async with open_desk(tmp_path / "home") as desk:
        page = await desk["owner"].get("/admin/setup?card=slack")
        assert "SLACK_API_URL is set in the environment. Change it there." in page.text
        assert 'name="value-slack_bot_token"' not in page.text
        assert 'name="value-ponte_model"' not in page.text
        answer = await send(desk, "save", card="slack", **{"value-slack_bot_token": "xoxb-1"})
        assert answer.status_code == 400
        assert not (tmp_path / "home/settings.env").exists()


async def test_a_model_server_is_found_and_its_models_can_be_chosen(
    desk: Desk, limits: Limits
) -> None:
    address = desk.team.openai.base_url
    silent = ("LM Studio", OTHER_ADDRESS)
    limits(LOCAL_SERVERS=(silent, ("Ollama", address)))
    page = await send(desk, "look", card="model")
    assert f"Ollama: {address}" in notices(page)
    assert "LM Studio" not in notices(page)
    assert f'name="value-openai_base_url" value="{address}"' in page.text
    fields = {"card": "model", "value-openai_base_url": address}
    page = await send(desk, "check", **fields, **{"value-openai_api_key": "sk-test"})
    assert "is available" in notices(page)
    for name in desk.team.openai.models:
        assert f'value="{name}"' in page.text
    limits(LOCAL_SERVERS=(silent,))
    page = await send(desk, "look", card="model")
    assert "No model server responds" in notices(page)
