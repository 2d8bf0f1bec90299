"""`ponte doctor`: an operator asks whether what is set works, and is told part by part."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import web

from bot.cli.doctor import examine
from bot.config.ponte_toml import Config, TableConfig
from bot.home import Home, Start
from bot.settings import Settings, find_home, load
from bot.setup.stored import StoredSettings
from core.base.errors import PonteError
from core.domain.messages import Usage
from core.models import MODEL_INTEGRATION
from core.store.postgres import CONNECTION_OPTIONS
from tests.bot.conftest import Shell
from tests.code import sandboxed
from tests.contract.engines import Embedded
from tests.contract.test_allowances import begin_turn, budget_of, record_answer, record_question
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import BASE, ORDERS
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.real.postgres import Postgres
from tests.time_limits import Limits


@dataclass
class Told:
    code: int
    parts: dict[str, str]


async def doctor(home: Path, config: Config | None = None, /, **given: object) -> Told:
    """Examine a Ponte of which only `given` is on. (To prove a sandbox takes half a second.)"""
    lines: list[str] = []
    off = {"ponte_web": "off", "ponte_code": "off"}
    settings = Settings.model_validate({**off, "ponte_home": home, **given})
    code = await examine(Start(settings, config or Config(), Home(home)), lines.append)
    return Told(code, {line[6:].split(":")[0]: line for line in lines})


class ModelServer:
    """Lists models for who has the key."""

    def __init__(self) -> None:
        self.listed: Any = {"data": [{"id": "gpt-6-luna"}, {"id": "llama3:latest"}]}
        self.status = 200
        self.chat_status = 404
        self.url = ""

    async def chat(self, request: web.Request) -> web.Response:
        assert await request.json() == {}, "doctor would spend money"
        return web.json_response(
            {"error": {"message": "messages is missing"}}, status=self.chat_status
        )

    async def models(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer sk-right":
            return web.json_response({"error": {"message": "no"}}, status=401)
        if isinstance(self.listed, str):
            return web.Response(text=self.listed, content_type="text/html")
        return web.json_response(self.listed, status=self.status)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    server = ModelServer()
    app = web.Application()
    app.router.add_get("/v1/models", server.models)
    app.router.add_post("/v1/chat/completions", server.chat)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()


@pytest.mark.slow
def test_doctor_passes_without_any_settings(ponte: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONTE_WEB_PORT", "0")
    ponte("doctor")
    assert (ponte.code, ponte.err) == (0, "")
    assert f"ok    home: {ponte.home} (will be created)\n" in ponte.out
    assert "ok    model: the demo model; set OPENAI_API_KEY to use a real one\n" in ponte.out
    assert "off   nocodb: set NOCODB_URL\n" in ponte.out
    assert not ponte.home.exists()


async def test_the_model_is_asked_for(tmp_path: Path, server: ModelServer) -> None:
    options = {"openai_base_url": server.url, "openai_api_key": "sk-right"}
    report = await doctor(tmp_path, **options)
    assert report.parts["model"] == "ok    model: gpt-6-luna is available"
    assert (await doctor(tmp_path, **options, ponte_model="llama3")).code == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"openai_api_key": "sk-wrong"}, "the server rejected OPENAI_API_KEY (HTTP 401)"),
        (
            {"openai_api_key": "sk-right", "ponte_model": "gpt-9"},
            "The server doesn't have the model gpt-9 (PONTE_MODEL). Available models: "
            "gpt-6-luna, llama3:latest",
        ),
        (
            {"openai_base_url": "http://127.0.0.1:1/v1"},
            "127.0.0.1:1 didn't respond (ConnectError). Check OPENAI_BASE_URL and your "
            "network connection.",
        ),
    ],
)
async def test_a_model_that_would_not_answer_is_told(
    tmp_path: Path, server: ModelServer, given: dict[str, str], words: str
) -> None:
    report = await doctor(tmp_path, **{"openai_base_url": server.url, **given})
    assert (report.code, report.parts["model"]) == (1, f"FAIL  model: {words}")


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        (["gpt-6-luna", "gpt-transcribe"], "ok    voice: gpt-transcribe"),
        ([{"id": "any.gguf", "owned_by": "llamacpp"}], "ok    voice: gpt-transcribe"),
        (
            ["gpt-6-luna", "whisper-1"],
            "FAIL  voice: The server doesn't list the model gpt-transcribe, so voice messages may "
            "fail. Check PONTE_TRANSCRIBE_MODEL.",
        ),
    ],
)
async def test_the_model_of_voice_messages_is_looked_up(
    tmp_path: Path, server: ModelServer, listed: list[object], words: str
) -> None:
    server.listed = listed
    report = await doctor(
        tmp_path,
        openai_base_url=server.url,
        openai_api_key="sk-right",
        ponte_transcribe_model="gpt-transcribe",
    )
    assert report.parts["voice"] == words


async def test_servers_for_one_purpose_are_asked_with_their_own_keys(
    tmp_path: Path, server: ModelServer
) -> None:
    options = {
        "ponte_code": "auto",
        "openai_base_url": "http://127.0.0.1:1/v1",
        "openai_api_key": "sk-model",
        "ponte_transcribe_model": "gpt-transcribe",
        "ponte_transcribe_base_url": server.url,
        "ponte_transcribe_api_key": "sk-right",
        "ponte_code_base_url": server.url,
        "ponte_code_api_key": "sk-right",
    }
    parts = (await doctor(tmp_path, **options)).parts
    assert parts["code"] == "ok    code: Python hosted by OpenAI"
    assert "doesn't list the model gpt-transcribe" in parts["voice"]
    server.listed = "<html>no list</html>"
    keys = {"ponte_transcribe_api_key": "sk-right", "ponte_code_api_key": "sk-wrong"}
    parts = (await doctor(tmp_path, **{**options, **keys})).parts
    assert parts["voice"] == "ok    voice: gpt-transcribe"
    assert parts["code"] == "FAIL  code: the server rejected PONTE_CODE_API_KEY (HTTP 401)"
    server.listed = {"data": [{"id": "other"}]}
    parts = (await doctor(tmp_path, **options)).parts
    assert "doesn't have the model `gpt-6-luna`. Check the PONTE_CODE_MODEL" in parts["code"]


@pytest.mark.parametrize("listed", [["a", "gpt-6-luna"], [{"name": "gpt-6-luna"}]])
async def test_a_bare_list_of_models_is_read(
    tmp_path: Path, server: ModelServer, listed: list[object]
) -> None:
    server.listed = listed
    options = {"openai_base_url": server.url, "openai_api_key": "sk-right"}
    assert "gpt-6-luna is available" in (await doctor(tmp_path, **options)).parts["model"]


async def test_a_server_that_is_ill_is_told(tmp_path: Path, server: ModelServer) -> None:
    options = {"openai_base_url": server.url, "openai_api_key": "sk-right"}
    server.status = 404
    parts = (await doctor(tmp_path, **options)).parts["model"]
    assert "has no OpenAI API at this URL (HTTP 404). Check OPENAI_BASE_URL" in parts
    server.status = 503
    assert (
        (await doctor(tmp_path, **options))
        .parts["model"]
        .endswith(
            "failed (HTTP 503). Try again in a minute. If the problem continues, check "
            "OPENAI_BASE_URL and the server."
        )
    )
    for server.listed in ("a text", "<html><body>Welcome</body></html>"):
        server.status = 200
        parts = (await doctor(tmp_path, **options)).parts["model"]
        assert parts.startswith("FAIL")
        assert "has no OpenAI API at this URL (HTTP 200)" in parts
    server.listed = {"data": None}
    assert (await doctor(tmp_path, **options)).code == 0


async def test_a_server_controls_no_terminal(tmp_path: Path, server: ModelServer) -> None:
    server.listed = {"data": [{"id": "a\x1b]0;b\x07\x1b[2J\x9b1mc\nok    model: all good"}]}
    options = {"openai_base_url": server.url, "openai_api_key": "sk-right"}
    parts = (await doctor(tmp_path, **options)).parts["model"]
    assert parts.startswith("FAIL")
    assert parts.endswith("Available models: ac ok model: all good")


@pytest.mark.parametrize("reason", ["no list", "an empty list", "Azure"])
async def test_a_model_that_no_list_names_is_not_refused(
    tmp_path: Path, server: ModelServer, limits: Limits, reason: str
) -> None:
    """Gateways without `/models` answer, and Azure's list has models but no deployments."""
    if reason == "no list":
        server.status, server.chat_status = 404, 400
    elif reason == "an empty list":
        server.listed = {"data": []}
    else:
        limits(AZURE_DOMAINS=("127.0.0.1",))
    options = {"openai_base_url": server.url, "openai_api_key": "sk-right", "ponte_model": "ours"}
    report = await doctor(tmp_path, **options)
    assert report.code == 0
    assert report.parts["model"].startswith("ok    model: the server responds but doesn't list")


async def test_a_gateway_without_a_list_says_what_is_wrong(
    tmp_path: Path, server: ModelServer
) -> None:
    """Only its Chat Completions check the key. The address is right."""
    options = {"openai_base_url": server.url, "openai_api_key": "sk-right"}
    server.status = 404
    for status, words in (
        (401, "the server rejected OPENAI_API_KEY (HTTP 401)"),
        (
            307,
            "The model's server redirects to another URL (HTTP 307), and Ponte doesn't follow "
            "redirects. Set OPENAI_BASE_URL to the final URL.",
        ),
        (
            503,
            "The model's server failed (HTTP 503). Try again in a minute. If the problem "
            "continues, check OPENAI_BASE_URL and the server.",
        ),
    ):
        server.chat_status = status
        assert (await doctor(tmp_path, **options)).parts["model"] == f"FAIL  model: {words}"


async def test_llama_cpp_answers_under_any_name(tmp_path: Path, server: ModelServer) -> None:
    """Unless it serves several models, as its router does."""
    options = {"openai_base_url": server.url, "openai_api_key": "sk-right"}
    own = {"id": "/models/qwen3.gguf", "object": "model", "owned_by": "llamacpp"}
    server.listed = {"object": "list", "data": [own]}
    assert (await doctor(tmp_path, **options)).parts[
        "model"
    ] == "ok    model: gpt-6-luna is available"
    server.listed["data"].append({**own, "id": "/models/gemma.gguf"})
    assert (await doctor(tmp_path, **options)).parts["model"].startswith("FAIL")


async def test_the_bridge_is_asked_and_its_url_is_not_shown(tmp_path: Path) -> None:
    async with FakeBridge() as bridge:
        report = await doctor(tmp_path, nocodb_url=bridge.url)
        assert report.parts["nocodb"].startswith("ok    nocodb: the bridge responds; tools: ")
        bridge_url = bridge.url
    report = await doctor(tmp_path, nocodb_url=bridge_url)
    assert report.code == 1
    assert report.parts["nocodb"].startswith("FAIL  nocodb: ")
    assert bridge_url not in report.parts["nocodb"]


async def test_a_bridge_that_does_not_list_its_tools_is_asked_whether_it_lives(
    tmp_path: Path,
) -> None:
    async with FakeBridge(lists_tools=False) as bridge:
        report = await doctor(tmp_path, nocodb_url=bridge.url)
        assert report.parts["nocodb"].endswith("the bridge responds, but doesn't list its tools")


@pytest.mark.parametrize(
    ("lacks", "lines"),
    [
        ((), {}),
        (
            ("/aggregate",),
            {
                "nocodb sums": "This NocoDB can't calculate sums, so Ponte adds up the rows page "
                "by page."
            },
        ),
        (
            ("/user/me",),
            {
                "nocodb role": "NocoDB doesn't report the role of Ponte's user. Check that it's "
                "Editor."
            },
        ),
        (
            ("v3/data/{base}/{table}/count",),
            {"nocodb counts": "NocoDB has no API v3 to count rows. Update NocoDB."},
        ),
        (
            ("v3/data/{base}/{table}/records",),
            {"nocodb rows": "NocoDB has no API v3 for rows. Update NocoDB."},
        ),
    ],
)
async def test_what_a_version_of_nocodb_lacks_has_a_line(
    tmp_path: Path, lacks: tuple[str, ...], lines: dict[str, str]
) -> None:
    async with FakeNocoDB(lacks=lacks) as nocodb:
        report = await doctor(tmp_path, nocodb_url=nocodb.origin, nocodb_token=filled.EDITOR)
    assert report.parts["nocodb"].startswith("ok    nocodb: NocoDB responds; base CRM: 3 tables")
    matches = {name: line for name, line in report.parts.items() if name.startswith("nocodb ")}
    required = "nocodb rows", "nocodb counts"
    assert matches == {
        name: f"{'FAIL ' if name in required else 'off  '} {name}: {words}"
        for name, words in lines.items()
    }


@pytest.mark.parametrize("version", ["2026.11.2-rc.1", "next"])
async def test_the_version_is_told_as_nocodb_writes_it(tmp_path: Path, version: str) -> None:
    """npm counts 0.301.3, Docker 2026.09.0, and npm's package tells none."""
    async with FakeNocoDB(version=version) as nocodb:
        report = await doctor(tmp_path, nocodb_url=nocodb.origin, nocodb_token=filled.EDITOR)
    assert report.parts["nocodb"].endswith(f"role editor; version {version}")


async def test_a_nocodb_without_api_v3_fails_with_the_version_it_needs(tmp_path: Path) -> None:
    async with FakeNocoDB(lacks=("/tables",)) as nocodb:
        report = await doctor(tmp_path, nocodb_url=nocodb.origin, nocodb_token=filled.EDITOR)
    assert "NocoDB's API v3 wasn't found" in report.parts["nocodb"]


async def test_nocodb_is_asked_for_its_base_and_the_role_there(tmp_path: Path) -> None:
    async with FakeNocoDB() as nocodb:
        options = {"nocodb_url": nocodb.origin, "nocodb_token": filled.VIEWER}
        report = await doctor(tmp_path, **options)
        assert report.parts["nocodb"] == (
            "ok    nocodb: NocoDB responds; base CRM: 3 tables; role viewer; read-only"
        )
        report = await doctor(tmp_path, **options, nocodb_base_id=filled.ARCHIVE)
        assert "Ponte's NocoDB user doesn't have access to this" in report.parts["nocodb"]
        options["nocodb_token"] = filled.OWNER
        report = await doctor(tmp_path, **options)
        assert report.code == 1
        assert f"NOCODB_BASE_ID to one of: {filled.CRM} (CRM)" in report.parts["nocodb"]
        report = await doctor(tmp_path, **options, nocodb_base_id=filled.CRM)
        assert report.parts["nocodb"].endswith("base CRM: 3 tables; role owner")
        options["nocodb_token"] = "wrong-token"
        report = await doctor(tmp_path, **options)
        assert "Check the NOCODB_TOKEN setting" in report.parts["nocodb"]
    report = await doctor(tmp_path, **options)
    assert "Check NOCODB_URL and your network connection." in report.parts["nocodb"]
    assert "wrong-token" not in report.parts["nocodb"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("customers", "Salaries (no effect)"),
        ("Custmers", "Custmers (its restrictions apply to Customers), Salaries (no effect)"),
        ("Costumers", "Costumers (no effect; did you mean Customers?), Salaries (no effect)"),
    ],
)
async def test_a_rule_for_a_table_that_is_not_there_is_told_with_the_nearest(
    tmp_path: Path, table: str, words: str
) -> None:
    async with FakeNocoDB() as nocodb:
        config = Config(tables={table: TableConfig("read"), "Salaries": TableConfig("hidden")})
        report = await doctor(
            tmp_path, config, nocodb_url=nocodb.origin, nocodb_token=filled.VIEWER
        )
    assert report.code == 1
    assert report.parts["nocodb"].endswith(f"has rules for tables that don't exist: {words}")


async def test_a_misspelt_table_of_the_sample_is_told_too(tmp_path: Path) -> None:
    report = await doctor(tmp_path, Config(tables={"Custmers": TableConfig("hidden")}))
    assert report.code == 1
    assert report.parts["sample"].endswith(
        "tables that don't exist: Custmers (its restrictions apply to Customers)"
    )
    assert (await doctor(tmp_path, Config(tables={"customers": TableConfig("read")}))).code == 0


@pytest.mark.parametrize("base", ["", BASE])
async def test_over_a_bridge_a_misspelt_table_is_told_too(tmp_path: Path, base: str) -> None:
    async with FakeBridge() as bridge:
        options = {"nocodb_url": bridge.url, "nocodb_base_id": base or None}
        config = Config(tables={"Custmers": TableConfig("hidden"), ORDERS: TableConfig("read")})
        report = await doctor(tmp_path, config, **options)
        assert report.code == 1
        assert report.parts["nocodb"].endswith(
            "tables that don't exist: Custmers (its restrictions apply to Customers)"
        )
        report = await doctor(
            tmp_path, Config(tables={"customers": TableConfig("hidden")}), **options
        )
        assert (report.code, report.parts["nocodb"][:4]) == (0, "ok  ")


async def test_a_bridge_that_does_not_list_its_tables_says_so(tmp_path: Path) -> None:
    async with FakeBridge(patched=False) as bridge:
        config = Config(tables={"Custmers": TableConfig("hidden")})
        report = await doctor(tmp_path, config, nocodb_url=bridge.url)
        assert (report.code, report.parts["nocodb"][:4]) == (0, "ok  ")
        assert report.parts["nocodb"].endswith(
            "The bridge doesn't list its tables, so Ponte can't check the table names in "
            "ponte.toml. Check them yourself: a rule with a misspelled name has no effect."
        )
        report = await doctor(tmp_path, Config(), nocodb_url=bridge.url)
        assert "can't check" not in report.parts["nocodb"]


async def test_the_page_needs_its_port(tmp_path: Path, limits: Limits) -> None:
    limits(SILENCE_SECONDS=0.1)
    with socket.create_server(("127.0.0.1", 0)) as busy_socket:
        port = busy_socket.getsockname()[1]
        page: dict[str, object] = {"ponte_web": "on", "ponte_web_port": port}
        report = await doctor(tmp_path, **page)
        assert report.code == 1
        assert f"Another program uses port {port}" in report.parts["web"]
        home = Home(tmp_path)
        with home.take(), home.listen():
            report = await doctor(tmp_path, **page)
            assert report.parts["web"][:4] == "ok  "
            assert report.parts["web"].endswith("is in use by the running Ponte")


async def test_an_address_of_another_machine_is_told(tmp_path: Path) -> None:
    page: dict[str, object] = {"ponte_web": "on", "ponte_web_host": "192.0.2.1"}
    report = await doctor(
        tmp_path, **page, ponte_web_token="a-long-random-text-2", ponte_web_port=0
    )
    assert report.parts["web"] == "FAIL  web: Cannot assign requested address"


async def test_a_home_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    report = await doctor(tmp_path / "home")
    assert report.code == 1
    words = f"Can't write to {tmp_path / 'home'}. Set PONTE_HOME to another folder."
    assert words in report.parts["home"]


HALF_SET = [
    ({"stackspot_client_id": "id"}, "FAIL", "incomplete: STACKSPOT_CLIENT_SECRET is"),
    ({"stackspot_client_secret": "s"}, "FAIL", "incomplete: STACKSPOT_CLIENT_ID is"),
    ({"ponte_code": "off"}, "off", "PONTE_CODE is off"),
    ({"ponte_web": "off"}, "off", "PONTE_WEB is off"),
    ({"slack_bot_token": "xoxb-1"}, "FAIL", "SLACK_BOT_TOKEN is set, but SLACK_APP_TOKEN is mi"),
    ({"slack_app_token": "xapp-1"}, "FAIL", "SLACK_BOT_TOKEN is missing. Slack needs it."),
    ({"slack_signing_secret": "s"}, "FAIL", "SLACK_BOT_TOKEN is missing. Slack needs it."),
    ({"nocodb_url": "https://tables.example.com"}, "FAIL", "NOCODB_TOKEN is missing"),
    ({"nocodb_token": "t"}, "FAIL", "set NOCODB_URL"),
]


@pytest.mark.parametrize(("given", "mark", "words"), HALF_SET)
async def test_what_is_half_set_is_off_or_a_failure_and_says_why(
    tmp_path: Path, given: dict[str, str], mark: str, words: str
) -> None:
    report = await doctor(tmp_path, **given)
    part = next(iter(given)).removeprefix("ponte_").partition("_")[0]
    assert report.code == (mark == "FAIL")
    assert report.parts[part].startswith(f"{mark:<4}  {part}: {words}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ponte_code", "code", "mark"), [("auto", 0, "off "), ("local", 1, "FAIL")]
)
async def test_a_machine_without_a_sandbox_fails_only_who_asked_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ponte_code: str, code: int, mark: str
) -> None:
    monkeypatch.setattr(
        "core.tools.code.sandbox.barriers._find_obstacle", lambda: PonteError("this is no Linux")
    )
    report = await doctor(tmp_path / "home", ponte_code=ponte_code)
    assert (report.code, report.parts["code"]) == (code, f"{mark}  code: local: this is no Linux")
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
async def test_the_sandbox_is_proved(tmp_path: Path) -> None:
    async with sandboxed.local(tmp_path):
        report = await doctor(tmp_path, ponte_code="auto")
    assert report.parts["code"].startswith("ok    code: local: ")
    assert "all checks passed" in report.parts["code"]


@pytest.mark.usefixtures("without_a_sandbox")
def test_the_file_of_settings_is_named(ponte: Shell) -> None:
    ponte("doctor")
    assert "ok    settings: environment; no .env file here\n" in ponte.out
    before = load()
    (Path.cwd() / ".env").write_text("PONTE_WEB=off\n")
    (Path.cwd() / ".env").chmod(0o600)
    ponte("doctor")
    assert f"ok    settings: environment and {Path.cwd() / '.env'}\n" in ponte.out
    assert "off   web: PONTE_WEB is off\n" in ponte.out
    assert "changed after Ponte started" in before.env_file.describe_newer_file()
    with_env = load()
    assert with_env.env_file.describe_newer_file() == ""
    os.utime(Path.cwd() / ".env", (1, 1))
    assert "Restart Ponte to apply it" in with_env.env_file.describe_newer_file()
    home = Home(find_home() or Path())
    with home.take():
        StoredSettings(home).write({"PONTE_MODEL": "m"})
    ponte("doctor")
    assert f"ok    settings: environment and {Path.cwd() / '.env'}\n" in ponte.out
    assert f"ok    settings: setup page, {home.path / 'settings.env'} (in a" in ponte.out


async def test_a_look_that_breaks_is_a_line_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_error(*_: object) -> None:
        raise RuntimeError("with a secret in it")

    monkeypatch.setattr(type(MODEL_INTEGRATION), "check", raise_error)
    report = await doctor(tmp_path, openai_api_key="sk-right")
    assert (report.code, report.parts["model"]) == (
        1,
        "FAIL  model: this check failed because of a bug in Ponte (RuntimeError)",
    )
    assert "nocodb" in report.parts


async def test_amounts_that_are_estimates_are_told(tmp_path: Path) -> None:
    """Also while another process has the database open; without one nothing is made."""
    assert "usage" not in (await doctor(tmp_path / "none")).parts
    assert not (tmp_path / "none").exists()
    engine = await Embedded.open(tmp_path)
    budget = budget_of(engine)
    for number, count in enumerate((True, False, False)):
        turn = await begin_turn(engine, channel=f"C{number}")
        await record_question(engine, budget, turn)
        assert "usage" not in (await doctor(tmp_path)).parts or number == 2
        await record_answer(engine, turn, Usage(100, 0, 10, is_estimated=not count))
    report = await doctor(tmp_path)
    assert report.parts["usage"] == (
        "ok    usage: in the last 30 days, the server didn't report usage for 2 of 3 paid calls; "
        "their costs are upper estimates"
    )
    assert report.code == 0
    await engine.close()


async def test_the_processes_of_a_shared_database_are_told(
    migrated_postgres: str, real_postgres: Postgres, tmp_path: Path
) -> None:
    """It fails only where messages are received that no process answers."""
    database = real_postgres.database()
    empty = await doctor(tmp_path, database_url=real_postgres.url(database))
    real_postgres.execute(f"DROP DATABASE {database}")
    version = empty.parts["database"].removeprefix("ok    database: ").partition(",")[0]
    assert (empty.code, empty.parts["database"]) == (
        0,
        f"ok    database: {version}, empty; Ponte creates its tables on first start",
    )
    assert version.startswith("Postgres 1")
    with psycopg.connect(migrated_postgres, autocommit=True, **CONNECTION_OPTIONS) as connection:
        for takes, works, mark, words in (
            (0, 0, "ok  ", "no Ponte process is using it"),
            (0, 1, "ok  ", "processes that receive events: 0; processes that answer messages: 1"),
            (1, 1, "ok  ", "processes that receive events: 1; processes that answer messages: 1"),
            (
                1,
                0,
                "FAIL",
                "processes that receive events: 1; processes that answer messages: 0; "
                "no messages are answered until `ponte work` runs",
            ),
        ):
            connection.execute("DELETE FROM processes")
            connection.execute(
                "INSERT INTO processes (id, name, has_intake, has_workers, started_at, seen_at)"
                " VALUES ('p1', 'host 1', %s, %s, 0, extract(epoch FROM now()))",
                (takes, works),
            )
            report = await doctor(tmp_path, database_url=migrated_postgres)
            assert report.parts["database"].startswith(f"{mark}  database: {version}, schema ")
            assert report.parts["database"].partition("; ")[2] == words
            assert report.code == (mark == "FAIL")
