"""An operator asks whether their setup is safe, and is told what to mend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bot.config.ponte_toml import Config, TableConfig, read_config
from bot.doctor.safety import list_findings
from bot.home import Home
from bot.settings import Settings, load
from core.integrations import SafetyFinding
from tests.bot.conftest import Shell

TOKEN = "kX2vQ9-a-good-long-random-token"
SLACK = {"slack_bot_token": "xoxb-1", "slack_app_token": "xapp-1"}
DISCORD = {"discord_token": "d"}


def find_all(home: Path, config: Config | None = None, /, **given: Any) -> list[SafetyFinding]:
    settings = Settings.model_validate({"ponte_home": home, **given})
    return list(list_findings(settings, config or Config(), Home(home)))


def finding_texts(level: str, home: Path, config: Config | None = None, /, **given: Any) -> str:
    """The words of one level, a line each."""
    return "\n".join(one.words for one in find_all(home, config, **given) if one.level == level)


def test_workspaces_and_channels_in_ponte_admins_are_reported(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert finding_texts("note", home, ponte_admins="slack:U1,slack:T1,slack:C1") == (
        "PONTE_ADMINS: slack:C1, slack:T1 are workspaces or channels and make no one an admin"
    )
    assert finding_texts("note", home, ponte_admins="slack:U1,slack:S1,web") == ""


@pytest.mark.parametrize(
    ("allow", "words"),
    [
        ('["chat", "read"]', ""),
        (
            '["chat", "propose:Orders"]',
            "slack:T1:C1: people can request changes but not decide on"
            " them, because `allow` doesn't contain `approve`",
        ),
        ('["chat", "propose", "approve"]', ""),
        ('["chat", "propose", "approve:Orders"]', ""),
    ],
)
def test_where_changes_are_proposed_and_nobody_may_decide(
    tmp_path: Path, allow: str, words: str
) -> None:
    path = tmp_path / "ponte.toml"
    path.write_text(f'[channels."slack:T1:C1"]\nallow = {allow}\n')
    notes = finding_texts("note", tmp_path / "home", read_config(path))
    assert notes == (f"{words} (ponte.toml:1)" if words else "")


def test_with_rules_the_defaults_are_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "ponte.toml"
    path.write_text('[[rules]]\ndeny = ["chat"]\n')
    config = read_config(path)
    words = finding_texts("ok", tmp_path / "home", config, **DISCORD)
    assert "where no rule decides, discord: everyone can chat" in words


@pytest.mark.parametrize(
    ("approvers", "is_noted"),
    [('["slack:U1"]', True), ('["finance"]', False), ('["slack:U1", "slack:U2"]', False)],
)
def test_more_approvals_than_people_are_noted(
    tmp_path: Path, approvers: str, is_noted: bool
) -> None:
    path = tmp_path / "ponte.toml"
    path.write_text(
        '[groups]\nfinance = ["slack:U1", "slack:U3"]\n'
        f"[tables.Bills]\napprovals = 2\napprovers_only = true\napprovers = {approvers}\n"
    )
    notes = finding_texts("note", tmp_path / "home", read_config(path))
    assert ("Bills: each change needs 2 approvals" in notes) is is_noted


def test_approvers_who_cannot_read_the_table_are_noted(tmp_path: Path) -> None:
    path, home = tmp_path / "ponte.toml", tmp_path / "home"
    rules = (
        '[groups]\nfinance = ["slack:SFIN", "web:ana"]\n'
        '[tables.Bills]\napprovers = ["finance", "asker", "web"]\n'
        '[[rules]]\nwho = ["{who}"]\nallow = ["read"]\n[[rules]]\ndeny = ["read:Bills"]\n'
    )
    note = "Bills: {names} can approve changes but can't read this table."
    for who, names in (("nobody", "slack:SFIN, web, web:ana"), ("slack:SFIN", "web, web:ana")):
        path.write_text(rules.format(who="slack:UX" if who == "nobody" else who))
        notes = finding_texts("note", home, read_config(path))
        assert note.format(names=names) in notes
        assert "(ponte.toml:3)" in notes
    path.write_text(rules.format(who="everybody"))
    assert "can't read this table" not in finding_texts("note", home, read_config(path))


def test_a_fresh_home_passes(tmp_path: Path) -> None:
    fresh = find_all(tmp_path / "home")
    assert {one.level for one in fresh} == {"ok"}
    assert {one.topic for one in fresh} == {"home", "token", "page", "rights", "limits"}
    home = Home(tmp_path / "home")
    with home.take():
        token = home.web_token()
        assert {one.level for one in find_all(home.path)} == {"ok"}
        assert token not in str(find_all(home.path))


@pytest.mark.parametrize(
    ("name", "mode", "mend"),
    [
        ("", 0o755, "chmod 700"),
        ("", 0o710, "chmod 700"),
        ("web-token", 0o644, "chmod 600"),
        ("pseudonyms.key", 0o640, "chmod 600"),
        ("page.key", 0o640, "chmod 600"),
    ],
)
def test_a_home_that_others_can_look_into(tmp_path: Path, name: str, mode: int, mend: str) -> None:
    home = Home(tmp_path / "home")
    with home.take():
        home.web_token()
        home.pseudonyms()
        home.page_key()
    path = home.path / name
    path.chmod(mode)
    assert finding_texts("unsafe", home.path) == (
        f"Other users can open {path}. Run `{mend} {path}`."
    )


def test_another_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert "belongs to another user" in finding_texts("unsafe", tmp_path)
    assert "set PONTE_HOME to a folder of your own" in finding_texts("unsafe", tmp_path)


@pytest.mark.parametrize(
    ("text", "mode", "unsafe"),
    [
        (
            "OPENAI_API_KEY=sk-1\n",
            0o644,
            "{env} contains secrets, and other users can read it. Run `chmod 600 {env}`.",
        ),
        ("OPENAI_API_KEY=sk-1\n", 0o600, ""),
        ("OPENAI_API_KEY=sk-1\n", 0o640, ""),
        ("PONTE_MODEL=m\n", 0o644, ""),
        ("PONTE_MODEL=m\n", 0o646, "Other users can change {env}. Run `chmod o-w {env}`."),
    ],
)
def test_a_file_of_settings_that_others_can_reach(
    ponte: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, mode: int, unsafe: str
) -> None:
    monkeypatch.setattr("bot.doctor.safety._is_reachable", lambda path: True)
    env = tmp_path / ".env"
    env.write_text(text)
    env.chmod(mode)
    findings = list_findings(load(), Config(), Home(ponte.home))
    words = "\n".join(one.words for one in findings if one.level == "unsafe")
    assert words == unsafe.format(env=env)
    sentence = f"other users can't read {env}"
    assert (sentence in [one.words for one in findings]) == (not mode & 0o004)


def test_what_lies_in_a_closed_folder_is_not_reached(ponte: Shell, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-1\n")
    (tmp_path / ".env").chmod(0o644)
    tmp_path.chmod(0o700)
    assert all(one.level != "unsafe" for one in list_findings(load(), Config(), Home(ponte.home)))


def test_a_file_of_tables_and_channels_that_others_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.doctor.safety._is_reachable", lambda path: True)
    config = tmp_path / "ponte.toml"
    config.touch()
    config.chmod(0o666)
    words = finding_texts("unsafe", tmp_path / "home", ponte_config=config)
    assert words == f"Other users can change {config}. Run `chmod o-w {config}`."


@pytest.mark.parametrize(
    ("given", "unsafe"),
    [
        ({}, ""),
        ({"ponte_web_host": "::1"}, ""),
        (
            {"ponte_web_host": "0.0.0.0"},
            "PONTE_WEB_HOST=0.0.0.0 accepts connections from other machines.",
        ),
        ({"ponte_web_url": "http://ponte.example"}, "PONTE_WEB_URL doesn't start with https."),
        ({"ponte_web_host": "0.0.0.0", "ponte_web_url": "https://ponte.example"}, ""),
        ({"ponte_web_url": "https://ponte.example"}, ""),
        ({"ponte_web_host": "0.0.0.0", "ponte_web": "off"}, ""),
    ],
)
def test_a_page_beyond_loopback_without_tls_in_front(
    tmp_path: Path, given: dict[str, str], unsafe: str
) -> None:
    words = finding_texts("unsafe", tmp_path / "home", ponte_web_token=TOKEN, **given)
    assert words.startswith(unsafe) if unsafe else words == ""
    assert (
        not unsafe or "Set PONTE_WEB_HOST=127.0.0.1, or put a TLS proxy in front and set" in words
    )
    needs_proxy = "ponte_web_host" in given and "ponte_web_url" in given
    notes = finding_texts("ok", tmp_path / "home", ponte_web_token=TOKEN, **given)
    assert ("Let only the proxy reach port 8080" in notes) is needs_proxy


def test_secrets_that_can_be_guessed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert "is repetitive" in finding_texts("unsafe", home, ponte_web_token="ab" * 20)
    http = {"slack_bot_token": "xoxb-1", "slack_signing_secret": "short"}
    assert "SLACK_SIGNING_SECRET is too short" in finding_texts("unsafe", home, **http)
    assert "SLACK_SIGNING_SECRET" not in finding_texts(
        "unsafe", home, **http | {"slack_signing_secret": "0123456789abcdef0123456789abcdef"}
    )
    home.mkdir(mode=0o700)
    (home / "web-token").write_text("short")
    assert "web-token: write at least 20 random" in finding_texts("unsafe", home)


def test_who_may_do_what_is_told_by_surface(tmp_path: Path) -> None:
    home = tmp_path / "home"
    words = finding_texts("ok", home, **SLACK, **DISCORD)
    assert "admins: terminal, web" in words
    assert "slack: members can chat, read tables, and run code and quick commands" in words
    assert "No one can change data" in words
    assert "slack: guests and people from other organizations can't chat" in words
    assert "discord: everyone can chat" in words
    allow = frozenset({"slack:C1", "discord:600"})
    words = finding_texts("ok", home, **SLACK, **DISCORD, ponte_allow=allow)
    assert "can also change data: slack:C1" in words
    assert "people from other organizations, only these can use Ponte: slack:C1" in words
    assert "discord: everyone can chat; full permissions: discord:600" in words
    notes = finding_texts("note", home, **SLACK, **DISCORD, ponte_allow=frozenset("*"))
    assert "slack: guests and people from other organizations have full permissions" in notes
    assert "discord: everyone has full permissions, strangers included" in notes
    assert "admins: none, so no one can approve deletions" in finding_texts(
        "ok", home, ponte_admins=frozenset()
    )


def test_what_happens_without_a_person_is_told(tmp_path: Path) -> None:
    alone = TableConfig("auto", auto_fields=("Status",), auto_people=("slack:U1",))
    config = Config(
        tables={"Visits": TableConfig("auto"), "Orders": TableConfig(), "Tickets": alone}
    )
    notes = finding_texts("note", tmp_path / "home", config)
    assert "creating one row at a time needs no approval in Visits, Tickets" in notes
    words = (
        "Tickets: slack:U1 can update Status without approval, up to 20 rows an hour (ponte.toml"
    )
    assert words in notes


def test_models_without_a_price_are_named_beside_limits_of_money(tmp_path: Path) -> None:
    path, home = tmp_path / "ponte.toml", tmp_path / "home"
    path.write_text(
        '[[allowances]]\nof = "each person"\nmoney = 1.0\n[channels."slack:T1:C1"]\nmodel = "big"\n'
    )
    given = {"openai_base_url": "http://127.0.0.1:9/v1", "ponte_model": "gpt-6-luna"}
    words = "Ponte doesn't know the price of gpt-6-luna, big. Limits in money count only"
    assert words in finding_texts("note", home, read_config(path), **given)
    path.write_text(path.read_text() + "[prices.models.gpt-6-luna]\ninput = 1\noutput = 1\n")
    assert "the price of big. " in finding_texts("note", home, read_config(path), **given)
    official = {"openai_api_key": "sk-1", "ponte_model": "gpt-6-luna"}
    path.write_text('[[allowances]]\nof = "each person"\nmoney = 1.0\n')
    for known in (official, {}, {**given, "ponte_model_api": "demo"}):
        assert "the price" not in finding_texts("note", home, read_config(path), **known)


def test_a_voice_model_without_a_price_is_named_beside_limits_of_money(tmp_path: Path) -> None:
    path, home = tmp_path / "ponte.toml", tmp_path / "home"
    path.write_text('[[allowances]]\nof = "each person"\nmoney = 1.0\n')
    given = {"openai_api_key": "sk-1", "ponte_transcribe_model": "whisper-mine"}
    words = "Ponte doesn't know the price of whisper-mine. "
    assert words in finding_texts("note", home, read_config(path), **given)
    own = {**given, "ponte_model_api": "demo", "ponte_transcribe_api_key": "sk-2"}
    assert words in finding_texts("note", home, read_config(path), **own)
    priced = {**given, "ponte_transcribe_model": "gpt-transcribe"}
    for known in (priced, {**given, "ponte_model_api": "demo"}):
        assert "the price" not in finding_texts("note", home, read_config(path), **known)
    ollama = {"openai_base_url": "http://127.0.0.1:9/v1", "ponte_model_context": 8192}
    elsewhere = {**ollama, **priced, "ponte_transcribe_api_key": "sk-2"}
    notes = finding_texts("note", home, read_config(path), **elsewhere)
    assert "Ponte doesn't know the price of gpt-6-luna. " in notes, (
        "OpenAI's price of the recording counts"
    )
    path.write_text(path.read_text() + "[prices]\ntranscription = 0.001\n")
    assert "the price" not in finding_texts("note", home, read_config(path), **given)


@pytest.mark.parametrize(
    ("more", "is_capped"),
    [
        ("turns = 20", True),
        ('turns = 20\nwho = ["slack"]\nwhere = ["slack"]', True),
        ('turns = 20\nper = "month"', False),
        ('turns = 20\nwho = ["slack:U1"]', False),
        ('turns = 20\nwhere = ["discord"]', False),
        ("tokens = 20", False),
    ],
)
def test_an_allowance_of_each_persons_messages_is_a_daily_limit(
    tmp_path: Path, more: str, is_capped: bool
) -> None:
    path = tmp_path / "ponte.toml"
    path.write_text(f'[[allowances]]\nof = "each person"\n{more}\n')
    notes = finding_texts("note", tmp_path / "home", read_config(path), **SLACK)
    assert ("set PONTE_DAILY_TURNS" not in notes) is is_capped


@pytest.mark.parametrize(
    ("given", "level", "words"),
    [
        (SLACK, "note", "Slack members have no daily message limit; set PONTE_DAILY_TURNS"),
        (SLACK | {"ponte_daily_turns": "0/0"}, "note", "Slack members have no daily message limit"),
        (
            SLACK | {"ponte_daily_turns": "5/0"},
            "ok",
            "messages per day: 5 per person, no limit in total",
        ),
        (
            DISCORD,
            "ok",
            "people on Discord who aren't in PONTE_ALLOW can send 50/1000 messages a day",
        ),
        (DISCORD | {"ponte_allow": "discord:1"}, "ok", "n't in PONTE_ALLOW can send 50/1000"),
        (
            DISCORD | {"ponte_allow": "*"},
            "unsafe",
            "(*), and people on Discord have no daily message limit",
        ),
        (
            DISCORD | {"ponte_daily_turns": "0/0"},
            "unsafe",
            "people on Discord have no daily message limit",
        ),
        (
            DISCORD | {"ponte_allow": "*", "ponte_daily_turns": "9/9"},
            "ok",
            "per day: 9 per person",
        ),
    ],
)
def test_caps_are_told(tmp_path: Path, given: dict[str, str], level: str, words: str) -> None:
    assert words in finding_texts(level, tmp_path / "home", **given)


def test_doctor_fails_only_for_unsafe_settings(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONTE_CODE", "off")
    monkeypatch.setenv("PONTE_WEB_PORT", "0")
    assert ponte("doctor").code == 0, ponte.out
    assert "ok    safety page: only this machine can open the page" in ponte.out
    monkeypatch.setenv("PONTE_ALLOW", "*")
    assert ponte("doctor").code == 0, ponte.out
    ponte.home.mkdir()
    ponte.home.chmod(0o755)
    assert ponte("doctor").code == 1
    assert f"FAIL  safety home: Other users can open {ponte.home}. Run `chmod 700" in ponte.out
