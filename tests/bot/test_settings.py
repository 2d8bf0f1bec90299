"""An operator writes settings; Ponte takes them, or says what to write instead."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from bot.integrations import FACES
from bot.parts import summaries
from bot.settings import EnvFile, Settings, load
from core.base.errors import SettingsError
from core.base.i18n import use_locale
from core.integrations import plain_value
from core.people.rules import DailyTurns

pytestmark = pytest.mark.usefixtures("nothing_set")


def refusal() -> str:
    with pytest.raises(SettingsError) as error:
        load()
    return str(error.value)


def test_sign_in_with_slack_needs_both_of_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "PONTE_SIGN_IN_SLACK_SECRET: set it together with PONTE_SIGN_IN_SLACK_ID, or remove"
    for name in ("PONTE_SIGN_IN_SLACK_ID", "PONTE_SIGN_IN_SLACK_SECRET"):
        with monkeypatch.context() as environment:
            environment.setenv(name, "1234567890.1234567890")
            assert words in refusal()


PUT_RIGHT = [
    ("OPENAI_BASE_URL", "localhost:11434", "http://localhost:11434/v1"),
    ("OPENAI_BASE_URL", "https://models.example.com/", "https://models.example.com/v1"),
    ("OPENAI_BASE_URL", "127.0.0.1:8000/api/v1", "http://127.0.0.1:8000/api/v1"),
    ("OPENAI_BASE_URL", "https://m.example.com/v1/chat/completions", "https://m.example.com/v1"),
    ("PONTE_LOCALE", "pt", "pt-BR"),
    ("PONTE_LOCALE", "pt_BR", "pt-BR"),
    ("PONTE_LOCALE", "fr-FR", "fr"),
    ("PONTE_LOCALE", "en_US.UTF-8", "en"),
    ("PONTE_MODEL", "“gpt-6-luna”", "gpt-6-luna"),
    ("PONTE_MODEL", "\N{NO-BREAK SPACE}«gpt-6-luna»\N{ZERO WIDTH SPACE}", "gpt-6-luna"),
]


@pytest.mark.parametrize(("name", "typed", "meant"), PUT_RIGHT)
def test_what_can_mean_one_thing_only_is_put_right_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, typed: str, meant: str
) -> None:
    """In the file and in the environment."""
    (tmp_path / ".env").write_text(f"{name}={typed}\n", encoding="utf-8")
    for _ in range(2):
        settings = load()
        assert getattr(settings, name.lower()) == meant
        assert settings.notes == (f"{name} was corrected to {meant}",)
        (tmp_path / ".env").unlink(missing_ok=True)
        monkeypatch.setenv(name, typed)


@pytest.mark.parametrize(
    "typed",
    [
        "https://nocodb.example.com/dashboard/#/nc/p1/m2",
        "https://nocodb.example.com/#/w1/base",
        "https://nocodb.example.com/dashboard",
        "”https://nocodb.example.com”",
    ],
)
def test_nocodbs_address_may_be_copied_from_the_browser(
    monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.setenv("NOCODB_URL", typed.replace("”", "“", 1) if typed[0] == "”" else typed)
    settings = load()
    assert plain_value(settings.nocodb_url) == "https://nocodb.example.com"
    (notes,) = settings.notes
    assert notes == "NOCODB_URL was corrected: extra characters were removed"


def test_the_base_in_a_copied_address_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCODB_URL", "https://nc.example.com/dashboard/#/nc/pabcdefghij1234/m2")
    assert load().nocodb_base_id == "pabcdefghij1234"
    monkeypatch.setenv("NOCODB_BASE_ID", "pother")
    assert load().nocodb_base_id == "pother"


def test_a_key_in_quotes_is_the_key_and_no_note_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "“sk-hunter2”")
    settings = load()
    assert plain_value(settings.openai_api_key) == "sk-hunter2"
    assert settings.notes
    assert "hunter2" not in str(settings.notes)


@pytest.mark.parametrize(
    ("slip", "likely"),
    [
        ("PONTE_MODLE", "PONTE_MODEL"),
        ("DISCORD_BOT_TOKEN", "DISCORD_TOKEN"),
        ("OPENAI_KEY", "OPENAI_API_KEY"),
        ("SLACK_BOTTOKEN", "SLACK_BOT_TOKEN"),
        ("NOCODB_API_TOKEN", "NOCODB_TOKEN"),
    ],
)
def test_a_name_that_is_nearly_ours_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slip: str, likely: str
) -> None:
    monkeypatch.setenv(slip, "hunter2")
    assert load().notes == (f"{slip} isn't a setting. Did you mean {likely}?",)
    monkeypatch.delenv(slip)
    path = tmp_path / ".env"
    path.write_text(f"{slip}=hunter2\nPOSTGRES_PASSWORD=x\nOPENAI_ORG_ID=o\nPATH_X=1\n")
    assert load().notes == (f"{slip} in {path} isn't a setting. Did you mean {likely}?",)


@pytest.mark.parametrize("name", ["ASSISTANT_ID", "OPENAI_ASSISTANT_ID"])
def test_an_assistant_of_the_ended_api_is_told_where_its_parts_go(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "asst_1")
    (note,) = load().notes
    assert note.startswith(f"{name} is ignored")
    assert "docs/guides/model.md" in note


def test_a_line_that_cannot_be_read_is_told_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nPONTE_MODEL=m\n\n= nothing\nexport PONTE_LOCALE=fr\n")
    settings = load()
    assert (settings.ponte_model, settings.ponte_locale) == ("m", "fr")
    assert settings.notes == (f"Line 4 of {path} is ignored. Write it as `NAME=value`.",)
    with use_locale("fr"):  # doctor knows its language only after it has loaded the settings
        (words,) = settings.notes
    assert words.startswith(f"La ligne 4 de {path}")


def test_nothing_set_is_a_demo_on_loopback(tmp_path: Path) -> None:
    settings = load()
    assert (settings.openai_api_key, settings.slack, settings.nocodb) == (None, "off", "off")
    assert (settings.ponte_web, settings.ponte_web_host, settings.ponte_web_port) == (
        "on",
        "127.0.0.1",
        8080,
    )
    assert settings.ponte_config == tmp_path / "ponte.toml"
    assert settings.ponte_home.name == "ponte"
    assert settings.ponte_admins == {"web", "terminal"}


WRONG = [
    ("PONTE_MODEL_API", "magic", "write one of 'auto', 'conversations', 'responses', 'chat'"),
    ("PONTE_WEB_PORT", "eighty", "write a port, 0 to 65535"),
    ("PONTE_WEB_PORT", "65536", "write a port, 0 to 65535"),
    ("PONTE_WEB_HOST", "0.0.0.0", "PONTE_WEB_TOKEN: write at least 20 random letters"),
    ("PONTE_WEB_TOKEN", "hunter2-is-too-shor", "write at least 20 random letters and digits"),
    ("PONTE_WEB_TOKEN", "hunter2 with blanks in it", "write at least 20 random letters and digits"),
    ("PONTE_WEB_TOKEN", "hunter2-é-é-é-é-é-é-é-é", "it contains 'é', which can't be part of a key"),
    ("PONTE_WEB_TOKEN", "hunter2" * 100, "write at least 20 random letters and digits"),
    ("PONTE_WEB_HOST", "ponte.example.com", "PONTE_WEB_HOST or PONTE_WEB_URL lets others open"),
    ("PONTE_WEB_URL", "https://h/path", "write an origin without a path"),
    ("PONTE_WEB_URL", "ponte.example.com", "write a URL that starts with https://"),
    ("PONTE_DAILY_TURNS", "50", "write two whole numbers"),
    ("PONTE_DAILY_TURNS", "-1/5", "write two whole numbers"),
    ("PONTE_TIMEZONE", "Mars/Olympus", "write the name of a time zone"),
    ("PONTE_TIMEZONE", "/etc/passwd", "write the name of a time zone"),
    ("PONTE_LOCALE", "de", "write one of 'en', 'pt-BR', 'fr'"),
    ("PONTE_RETENTION_DAYS", "-1", "write a whole number of days"),
    ("PONTE_GRACE", "-0.1", "write a number of seconds, 0 to 3600"),
    ("PONTE_GRACE", "nan", "write a number of seconds, 0 to 3600"),
    ("PONTE_INSTRUCTIONS", "@nowhere.md", "the file 'nowhere.md' can't be read (No such file"),
    (
        "PONTE_ALLOW",
        "slack:U1,bob",
        "'bob' isn't valid; write one or more of slack:ID, discord:ID, *",
    ),
    ("PONTE_ADMINS", "web:Ana", "'web:Ana' isn't valid; write one or more of slack:ID"),
    ("PONTE_ADMINS", "terminal:ana", "'terminal:ana' isn't valid; write one or more of slack:ID"),
    (
        "PONTE_ADMINS",
        "*",
        "'*' isn't valid; write one or more of slack:ID, discord:ID, web, terminal",
    ),
    ("PONTE_CODE", "yes", "write one of 'auto', 'hosted', 'local', 'off'"),
    ("NOCODB_URL", "ftp://h", "write a URL that starts with https://"),
    ("OPENAI_BASE_URL", "https:///v1", "write a URL that starts with https://"),
    ("NOCODB_URL", "https://h/tables", "write an origin (https://host), or a bridge's URL"),
    ("OPENAI_BASE_URL", "models.example.com/v1", "write https://models.example.com/v1, or http://"),
    ("DISCORD_GATEWAY_URL", "https://h", "write a URL that starts with wss://"),
    ("HTTPS_PROXY", "http://[::1", "write a URL that starts with http:// and contains a host"),
    ("HTTPS_PROXY", "http://proxy:port", "write a URL that starts with http:// and contains"),
    ("HTTPS_PROXY", "proxy:3128", "write a URL that starts with http://"),
    ("SLACK_BOT_TOKEN", "xapp-1-A", "this is an app token"),
    ("SLACK_APP_TOKEN", "xoxb-1", "this is a bot token"),
    *(
        (name, value, words)
        for name in (
            "OPENAI_API_KEY",
            "NOCODB_TOKEN",
            "SLACK_BOT_TOKEN",
            "SLACK_APP_TOKEN",
            "DISCORD_TOKEN",
            "SLACK_SIGNING_SECRET",
            "STACKSPOT_CLIENT_SECRET",
            "PONTE_SIGN_IN_SLACK_SECRET",
            "OTEL_EXPORTER_OTLP_HEADERS",
        )
        for value, words in (
            (
                "sk-abc…xyz",
                "it contains '…', which can't be part of a key; enter the whole key again",
            ),
            ("sk-abc\u200bxyz", r"it contains '\u200b', which can't be part of a key"),
        )
    ),
    ("DATABASE_URL", "mysql://u:hunter2@h/d", "write an address as in postgresql://"),
    ("PONTE_MODEL_CONTEXT", "5", "write a whole number of tokens, at least 1024"),
    ("PONTE_HOME", "~no-such-user/ponte", "the home folder for ~ is unknown; write the full path"),
    ("PONTE_LOG", "xml", "write one of 'text', 'json'"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_wrong_setting_is_named_and_worded(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert words in text
    assert name in text
    assert text.count("\n") == 0
    assert "hunter2" not in text


def test_only_a_text_is_asked_for_as_a_text() -> None:
    """A number, a list or a day that is wrong says what to write."""
    questions = {
        name
        for name, field in Settings.model_fields.items()
        if field.json_schema_extra == {"write": "a text"}
    }
    numbers = {
        name
        for name in questions
        if re.search(r"\b(int|float|Decimal)\b", str(Settings.model_fields[name].annotation))
    }
    assert numbers == set()


def test_one_refusal_lists_all_wrong_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONTE_WEB_HOST", "0.0.0.0")
    monkeypatch.setenv("PONTE_WEB_PORT", "x")
    monkeypatch.setenv("PONTE_GRACE", "x")
    assert [line.split(":")[0] for line in refusal().splitlines()] == [
        "PONTE_WEB_PORT",
        "PONTE_WEB_TOKEN",
        "PONTE_GRACE",
    ]


def test_a_token_or_no_page_lets_it_listen_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONTE_WEB_HOST", "0.0.0.0")
    monkeypatch.setenv("PONTE_WEB_TOKEN", "a-long-random-text-2")
    assert load().ponte_web_host == "0.0.0.0"
    monkeypatch.delenv("PONTE_WEB_TOKEN")
    monkeypatch.setenv("PONTE_WEB", "off")
    assert load().ponte_web == "off"


def test_env_file_counts_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "PONTE_MODEL=from-file\nHTTPS_PROXY=http://proxy:3128\nPONTE_ALLOW=\nOTHER=1\n"
    )
    settings = load()
    assert settings.ponte_model == "from-file"
    assert settings.proxies.for_url("https://slack.com/api/") == "http://proxy:3128"
    assert settings.ponte_allow == frozenset()
    monkeypatch.setenv("PONTE_MODEL", "from-environment")
    assert load().ponte_model == "from-environment"


def test_an_env_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PONTE_MODEL=\xff\xfe\n")
    path = tmp_path / ".env"
    assert refusal().startswith(f"Can't read the file {path} (")


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "OPENAI_API_KEY": "sk-hunter2",
        "NOCODB_URL": "https://bridge.example.com/hunter2/execute",
        "PONTE_WEB_TOKEN": "hunter2-hunter2-hunter2",
        "HTTPS_PROXY": "http://user:hunter2@proxy:3128",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    settings = load()
    assert sorted(settings.secrets) == sorted(secrets.values())
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in repr(settings.proxies)
    monkeypatch.setenv("NOCODB_URL", "https://bridge.example.com/hunter2")
    assert "hunter2" not in refusal()


def test_instructions_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "you.md").write_text("You are kind.\n")
    monkeypatch.setenv("PONTE_INSTRUCTIONS", "@you.md")
    assert load().ponte_instructions == "You are kind."
    (tmp_path / "you.md").write_text(" \n")
    assert refusal() == "PONTE_INSTRUCTIONS: the file 'you.md' is empty."


def test_names_and_caps_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONTE_ALLOW", "slack:U1, discord:42 ,")
    monkeypatch.setenv("PONTE_ADMINS", "slack:U9,web:ana.b")
    monkeypatch.setenv("PONTE_DAILY_TURNS", "5 / 60")
    settings = load()
    assert settings.ponte_allow == {"slack:U1", "discord:42"}
    assert settings.ponte_admins == {"slack:U9", "web:ana.b"}
    assert settings.ponte_daily_turns == DailyTurns(5, 60)


def test_what_is_on_follows_from_what_is_set() -> None:
    token = SecretStr("t")
    assert Settings(slack_bot_token=token).slack == "off"
    assert Settings(slack_bot_token=token, slack_app_token=token).slack == "socket"
    assert Settings(slack_bot_token=token, slack_signing_secret=token).slack == "http"
    assert Settings(slack_signing_secret=token).slack == "off"
    assert Settings(nocodb_url=SecretStr("https://h/")).nocodb == "off"
    assert Settings(nocodb_url=SecretStr("https://h/"), nocodb_token=token).nocodb == "rest"
    assert Settings(nocodb_url=SecretStr("https://h/execute/")).nocodb == "bridge"


def test_a_public_url_needs_a_token() -> None:
    with pytest.raises(ValidationError, match="lets others open the page"):
        Settings(ponte_web_url="https://ponte.example.com")
    assert Settings(ponte_web_url="http://localhost:8080").ponte_web_token is None
    assert Settings(ponte_web_url="https://ponte.example.com", ponte_web="off")


SECRETS = [
    (address.upper(), secret.upper())
    for face in FACES
    for address, secrets in face.sent_to.items()
    for secret in secrets
]


@pytest.mark.parametrize(("address", "name"), SECRETS)
def test_an_address_of_the_file_gets_no_secret_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, name: str
) -> None:
    """A `.env` that came with somebody's folder must not lead our secrets to them."""
    url = "wss://evil.example" if address == "DISCORD_GATEWAY_URL" else "https://evil.example"
    secret = "hunter2-hunter2-hunter2"
    (tmp_path / ".env").write_text(f"{address}={url}\n")
    monkeypatch.setenv(name, secret)
    if name == "PONTE_SIGN_IN_SLACK_SECRET":
        monkeypatch.setenv("PONTE_SIGN_IN_SLACK_ID", "1.2")
    text = refusal()
    assert text == (
        f"{address} is in {tmp_path / '.env'}, but {name} is set elsewhere and would "
        "be sent there. Put both in one place."
    )
    (tmp_path / ".env").write_text(f"{address}={url}\n{name}={secret}\n")
    assert name in refusal(), "the environment's still wins"
    monkeypatch.delenv(name)
    assert secret in load().secrets
    monkeypatch.setenv(name, secret)
    monkeypatch.setenv(address, url)
    assert secret in load().secrets, "the environment's address wins"
    monkeypatch.delenv(name)
    (tmp_path / ".env").write_text(f"{name}={secret}\n")
    assert secret in load().secrets, "a secret of the file may go where the environment says"


def test_every_address_that_gets_a_secret_is_known() -> None:
    addresses = {name for name in Settings.model_fields if name.endswith("_url")}
    sent_to = {name for face in FACES for name, secrets in face.sent_to.items() if secrets}
    assert sent_to == addresses - {"database_url"}


def test_a_proxy_of_the_file_reads_no_secret_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What goes to an https:// address it cannot read."""
    (tmp_path / ".env").write_text("HTTP_PROXY=http://evil.example:3128\n")
    monkeypatch.setenv("NOCODB_TOKEN", "hunter2")
    monkeypatch.setenv("NOCODB_URL", "https://tables.example.com")
    assert load().nocodb == "rest"
    monkeypatch.setenv("NOCODB_URL", "http://tables.example.com")
    assert refusal().startswith("HTTP_PROXY is in ")


def test_the_file_takes_no_secret_out_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else a file that came with somebody's folder could send one to a model or to a server."""
    monkeypatch.setenv("SLACK_BOT_TOKEN", "hunter2")
    (tmp_path / ".env").write_text(
        "PONTE_MODEL=${SLACK_BOT_TOKEN}\nPONTE_INSTRUCTIONS='a ${SLACK_BOT_TOKEN:-b}'\n"
        "_ENV_FILE=other\n"
    )
    settings = load()
    assert settings.ponte_model == "${SLACK_BOT_TOKEN}"
    assert settings.ponte_instructions == "a ${SLACK_BOT_TOKEN:-b}"


def test_another_users_file_is_not_read_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    assert load().env_file == EnvFile()
    path.write_text("PONTE_MODEL=from-file\n")
    assert (load().ponte_model, load().env_file) == ("from-file", EnvFile(path))
    looked_at = os.fstat

    def owned_by(uid: int) -> Callable[[int], os.stat_result]:
        def fstat(file: int) -> os.stat_result:
            match = looked_at(file)
            return os.stat_result((*match[:4], uid, *match[5:10]))

        return fstat

    monkeypatch.setattr(os, "fstat", owned_by(os.geteuid() + 7))
    settings = load()
    assert settings.ponte_model == "gpt-6-luna"
    assert settings.env_file.path == path
    assert settings.env_file.why.startswith("it belongs to another user (uid ")
    monkeypatch.setattr(os, "fstat", owned_by(0))
    assert load().ponte_model == "from-file", "root may write what it likes anyway"
    # Without what the setup page stored, the demo model would answer.
    monkeypatch.setenv("PONTE_HOME", str(tmp_path))
    (tmp_path / "settings.env").write_text("PONTE_MODEL=typed\n")
    monkeypatch.setattr(os, "fstat", owned_by(os.geteuid() + 7))
    with pytest.raises(SettingsError, match="it belongs to another user"):
        load()


def test_a_chat_platform_turns_the_sample_off_and_the_status_says_how_to_turn_it_on() -> None:
    tokens = {"slack_bot_token": "xoxb-1", "slack_app_token": "xapp-1"}
    for sample, words in ((None, "set PONTE_SAMPLE=on"), ("off", None)):
        settings = Settings.model_validate({**tokens, "ponte_sample": sample})
        shown = {part.name: part.words for part in summaries(settings)}
        assert shown.get("sample") == words
