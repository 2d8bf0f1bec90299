"""The file of the setup page: what it holds, who wins, and a start that fails."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from bot.app import try_stored_settings
from bot.home import Home, HomeUnusable
from bot.settings import load
from bot.setup.restart import Restart
from bot.setup.stored import LAST_FILE, TRIAL_FILE, UNDO_SECONDS, StoredSettings
from core.base.errors import BadInput, SettingsError

KEY, URL = "OPENAI_API_KEY", "OPENAI_BASE_URL"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_set: None) -> Home:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("PONTE_HOME", str(folder))
    return Home(folder)


@pytest.fixture
def page_file(home: Home) -> StoredSettings:
    return StoredSettings(home)


@pytest.mark.parametrize(
    "value",
    ["sk-1", "a b", "it's", 'say "x"', "back\\slash\\", "a=b#c", "${HOME}", "$(id)", "a;b&c"],
)
def test_a_value_is_read_as_it_was_typed(page_file: StoredSettings, value: str) -> None:
    page_file.write({KEY: value, "PONTE_MODEL": "açúcar"})
    assert page_file.read() == {KEY: value, "PONTE_MODEL": "açúcar"}
    settings = load()
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == value
    assert settings.source("openai_api_key") == "page"


def test_only_its_user_can_read_it(page_file: StoredSettings, home: Home) -> None:
    page_file.write({KEY: "sk-1"})
    page_file.write({KEY: "sk-2"})
    for path in home.path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PONTE_HOME", "/tmp"),
        ("DATABASE_URL", "postgresql://db"),
        ("PONTE_WEB_HOST", "0.0.0.0"),
        ("PONTE_WEB_TOKEN", "x" * 30),
        ("PONTE_SETUP", "on"),
        ("PONTE_CONFIG", "x.toml"),
        ("HTTPS_PROXY", "http://evil"),
        ("LD_PRELOAD", "x.so"),
        (KEY, "a\nPONTE_HOME=/tmp"),
        (KEY, "a\rb"),
        (KEY, "a\x00b"),
        (KEY, "a\x1b[2Jb"),
        (KEY, "a\u2028b"),
        (KEY, "@/etc/passwd"),
        (KEY, "x" * 5_000),
    ],
)
def test_what_does_not_belong_there_is_refused(
    page_file: StoredSettings, name: str, value: str
) -> None:
    page_file.write({"PONTE_MODEL": "m"})
    with pytest.raises(BadInput):
        page_file.write({"PONTE_MODEL": "n", name: value})
    assert page_file.read() == {"PONTE_MODEL": "m"}


def test_other_names_in_the_file_are_not_read(page_file: StoredSettings, home: Home) -> None:
    lines = (
        f"PONTE_WEB_HOST=0.0.0.0\nHTTPS_PROXY=http://evil:1\nDATABASE_URL=postgresql://d\n{KEY}=k\n"
    )
    (home.path / "settings.env").write_text(lines)
    settings = load()
    assert (settings.ponte_web_host, settings.https_proxy, settings.database_url) == (
        "127.0.0.1",
        None,
        None,
    )
    assert settings.openai_api_key is not None


def test_the_environment_wins_and_an_empty_value_does_not_count(
    page_file: StoredSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_file.write({"PONTE_MODEL": "from-page", "PONTE_CODE": "off"})
    Path(".env").write_text("PONTE_MODEL=from-file\nPONTE_CODE=\n")
    monkeypatch.setenv("PONTE_CODE", "")
    settings = load()
    assert (settings.ponte_model, settings.ponte_code) == ("from-file", "off")
    assert (settings.source("ponte_model"), settings.source("ponte_code")) == ("file", "page")
    monkeypatch.setenv("PONTE_MODEL", "from-environment")
    assert load().ponte_model == "from-environment"


@pytest.mark.parametrize("place", ["environment", "file"])
@pytest.mark.parametrize(
    ("elsewhere", "typed", "lost"),
    [
        ({URL: "https://evil.example"}, {KEY: "sk-page"}, "openai_api_key"),
        ({KEY: "sk-else"}, {URL: "https://page.example"}, "openai_base_url"),
        ({"NOCODB_URL": "https://evil.example"}, {"NOCODB_TOKEN": "t"}, "nocodb_token"),
        (
            {"SLACK_API_URL": "https://evil.example"},
            {"SLACK_BOT_TOKEN": "xoxb-1"},
            "slack_bot_token",
        ),
        ({"DISCORD_GATEWAY_URL": "wss://evil.example"}, {"DISCORD_TOKEN": "t"}, "discord_token"),
        (
            {"STACKSPOT_AUTH_URL": "https://evil.example"},
            {"STACKSPOT_CLIENT_SECRET": "s"},
            "stackspot_client_secret",
        ),
    ],
)
def test_address_and_secret_of_a_service_come_from_one_place(
    page_file: StoredSettings,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    elsewhere: dict[str, str],
    typed: dict[str, str],
    lost: str,
) -> None:
    page_file.write(typed)
    for name, value in elsewhere.items():
        if place == "file":
            Path(".env").write_text(f"{name}={value}\n")
        else:
            monkeypatch.setenv(name, value)
    settings = load()
    assert lost not in settings.model_fields_set


def test_a_proxy_of_the_folder_does_not_get_a_secret_of_the_page(page_file: StoredSettings) -> None:
    page_file.write({"NOCODB_URL": "http://nocodb.internal", "NOCODB_TOKEN": "t"})
    Path(".env").write_text("HTTP_PROXY=http://evil.example:3128\n")
    with pytest.raises(SettingsError, match="is set elsewhere and would be sent there"):
        load()


def test_new_settings_are_on_trial_until_the_page_serves(page_file: StoredSettings) -> None:
    assert not page_file.begin_trial()
    page_file.write({KEY: "good"})
    assert page_file.begin_trial()
    page_file.confirm()
    assert not page_file.begin_trial()
    page_file.write({KEY: "bad"})
    assert page_file.begin_trial()
    # The process dies here.
    assert not page_file.begin_trial(), "the settings before are in force, and they were good"
    assert page_file.read() == {KEY: "good"}
    trial = page_file.trial
    assert trial is not None
    assert (trial.state, trial.names) == ("failed", (KEY,))
    assert "ended while it was starting" in trial.why


def test_a_start_that_fails_says_why(page_file: StoredSettings) -> None:
    page_file.write({KEY: "good"})
    page_file.confirm()
    page_file.write({KEY: "bad", "PONTE_MODEL": "m"})
    assert page_file.begin_trial()
    page_file.fail("the port is taken")
    assert page_file.read() == {KEY: "good"}
    assert page_file.trial is not None
    assert (page_file.trial.why, page_file.trial.names) == (
        "the port is taken",
        (KEY, "PONTE_MODEL"),
    )
    page_file.write({KEY: "better"})
    assert page_file.begin_trial()
    page_file.confirm()
    assert page_file.read() == {KEY: "better"}
    assert page_file.trial is None


def test_a_start_that_somebody_ended_is_repeated(page_file: StoredSettings) -> None:
    page_file.write({KEY: "new"})
    assert page_file.begin_trial()
    page_file.postpone()
    assert page_file.begin_trial()
    assert page_file.read() == {KEY: "new"}


def test_a_second_process_does_not_end_the_trial_of_the_first(
    page_file: StoredSettings, home: Home
) -> None:
    page_file.write({KEY: "new"})
    assert page_file.begin_trial()
    with home.take():
        assert not page_file.begin_trial()
    assert page_file.read() == {KEY: "new"}


def test_undo_returns_once_to_the_settings_before(page_file: StoredSettings) -> None:
    page_file.write({KEY: "one"})
    page_file.confirm()
    page_file.write({KEY: "two"})
    page_file.write({KEY: "three"})
    assert page_file.undo() == (KEY,)
    assert page_file.read() == {KEY: "one"}
    page_file.confirm()
    assert page_file.undo() == ()
    page_file.write({KEY: "four"})
    page_file.confirm()
    assert page_file.undo() == (KEY,)
    assert page_file.undo() == ()
    assert page_file.read() == {KEY: "one"}
    assert page_file.begin_trial()
    page_file.postpone()
    assert page_file.begin_trial()
    page_file.confirm()
    assert page_file.undo() == ()
    assert page_file.read() == {KEY: "one"}


@pytest.mark.parametrize("way", ["undo", "write"])
def test_what_is_taken_back_before_the_restart_waits_for_none(
    page_file: StoredSettings, way: str
) -> None:
    page_file.write({KEY: "one"})
    page_file.confirm()
    page_file.write({KEY: "two"})
    page_file.undo() if way == "undo" else page_file.write({KEY: "one"})
    assert page_file.read() == {KEY: "one"}
    assert page_file.trial is None
    assert page_file.undo() == ()


def test_an_undo_whose_start_fails_changes_nothing(page_file: StoredSettings) -> None:
    page_file.write({KEY: "one"})
    page_file.confirm()
    page_file.write({KEY: "two"})
    page_file.confirm()
    assert page_file.undo() == (KEY,)
    page_file.begin_trial()
    page_file.fail("no")
    assert page_file.read() == {KEY: "two"}
    assert page_file.undo() == ()


@pytest.mark.parametrize("step", range(6))
def test_a_process_that_dies_between_two_files_leaves_one_of_both(
    home: Home, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Die before each file that a save, a trial and a failure write."""
    page_file = StoredSettings(home)
    page_file.write({KEY: "good"})
    page_file.confirm()
    write, count = Home.write_secret, 0

    def die(self: Home, name: str, secret: bytes) -> None:
        nonlocal count
        count += 1
        if count > step:
            raise HomeUnusable(home=home.path, cause="No space left on device")
        write(self, name, secret)

    with monkeypatch.context() as patched:
        patched.setattr(Home, "write_secret", die)
        with pytest.raises(HomeUnusable):
            _save_and_fail(page_file)
    assert page_file.read() in ({KEY: "good"}, {KEY: "new"})
    page_file.begin_trial()
    page_file.begin_trial()
    assert page_file.read() == {KEY: "good"}
    page_file.confirm()
    page_file.write({KEY: "later"})
    assert page_file.begin_trial()
    assert page_file.read() == {KEY: "later"}


def test_a_backup_never_replaces_them(page_file: StoredSettings, home: Home) -> None:
    page_file.write({KEY: "sk"})
    assert not {"settings.env", LAST_FILE, TRIAL_FILE} & set(home.entries())


def _save_and_fail(page_file: StoredSettings) -> None:
    page_file.write({KEY: "new"})
    page_file.begin_trial()
    page_file.fail("x")


@pytest.mark.parametrize("name", ["settings.env", LAST_FILE, TRIAL_FILE])
@pytest.mark.parametrize("kind", ["fifo", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_an_error_in_words(
    page_file: StoredSettings, home: Home, name: str, kind: str
) -> None:
    """Also a FIFO, which would let a start wait forever."""
    page_file.write({KEY: "new"})
    path = home.path / name
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"\xff\xfe")
    for step in (page_file.read, lambda: page_file.trial, page_file.undo, page_file.begin_trial):
        with suppress(HomeUnusable):
            step()
    if name == "settings.env":
        with pytest.raises(SettingsError, match=r"Can't read the file .*settings\.env"):
            load()


@pytest.mark.parametrize("text", ["[]", "{", '{"state": "saved"}', "null", "7"])
def test_a_damaged_trial_counts_as_none(page_file: StoredSettings, home: Home, text: str) -> None:
    (home.path / TRIAL_FILE).write_text(text)
    assert page_file.trial is None
    assert not page_file.begin_trial()


def test_a_full_disk_does_not_prevent_a_start(
    page_file: StoredSettings, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else "Start again now" on a full disk would end Ponte."""
    page_file.write({KEY: "new"})

    def refuse(self: Home, name: str, secret: bytes) -> None:
        raise HomeUnusable(home=self.path, cause="No space left on device")

    monkeypatch.setattr(Home, "write_secret", refuse)
    with try_stored_settings(Restart()) as confirm:
        confirm()
    assert page_file.read() == {KEY: "new"}


def test_settings_saved_later_are_not_blamed_for_the_end_of_a_run(
    page_file: StoredSettings,
) -> None:
    page_file.write({KEY: "good"})

    def run() -> None:
        with try_stored_settings(Restart()) as confirm:
            confirm()
            page_file.write({KEY: "later"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert page_file.read() == {KEY: "later"}
    assert page_file.trial is not None
    assert page_file.trial.state == "saved"


def test_the_settings_before_are_deleted_a_day_after_the_restart(
    page_file: StoredSettings, home: Home
) -> None:
    """They may have a secret that was replaced because somebody else knew it."""
    page_file.write({KEY: "sk-1"})
    page_file.confirm()
    page_file.write({KEY: "sk-2"})
    file = home.path / LAST_FILE
    before = file.stat().st_mtime - UNDO_SECONDS
    os.utime(file, (before, before))
    page_file.drop_last()
    assert "sk-1" in file.read_text(), "a start that fails needs them"
    page_file.confirm()
    page_file.drop_last()
    assert "sk-1" in file.read_text(), "the day begins with the restart"
    os.utime(file, (before, before))
    page_file.drop_last()
    assert "sk-1" not in file.read_text()
    assert page_file.undo() == ()
    assert page_file.read() == {KEY: "sk-2"}
