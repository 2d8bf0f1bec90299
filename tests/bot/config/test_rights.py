"""`ponte policy check`: an operator asks who may do what, where, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.config.ponte_toml import read_config
from bot.doctor.safety import list_findings
from bot.home import Home
from bot.settings import Settings
from core.base.errors import SettingsError
from core.changes.approval import TableRules
from tests.bot.conftest import Shell

FILE = """
[groups]
finance = ["slack:S1"]

[[rules]]
who = ["finance"]
allow = ["read:Orders", "approve:Orders", "approve:Inv*"]

[[rules]]
who = ["everybody"]
where = ["shared"]
deny = ["read:Orders"]

[channels."slack:T1:C9"]
deny = ["code"]

[tables.Salaries]
access = "hidden"

[quick_commands.resumo]
title = "Summary"
"""


ANAS = """
[groups]
finance = ["web:ana"]

[[rules]]
who = ["finance"]
allow = ["read:Orders"]
"""


def rights(ponte: Shell, *words: str) -> dict[str, tuple[bool, str]]:
    """Each right: whether, and by which rule."""
    Path("ponte.toml").write_text(FILE)
    result = ponte("policy", "check", *words, "--json")
    assert result.code == 0, result.err
    return {line["right"]: (line["allowed"], line["rule"]) for line in json.loads(result.out)}


def test_what_somebody_may_do_and_which_rule_says_so(ponte: Shell) -> None:
    there = rights(ponte, "--person", "slack:U1", "--channel", "C2")
    assert there["chat"] == (True, "default")
    assert there["propose"] == (False, "none")
    assert there["read:Orders"] == (False, "ponte.toml:9")
    assert there["read:Salaries"] == (False, "[tables] Salaries")
    assert there["command:resumo"] == (True, "default")
    group = ("--group", "slack:S1")
    of_finance = rights(ponte, "--person", "slack:U1", "--channel", "C2", *group)
    assert of_finance["read:Orders"] == of_finance["approve:Orders"] == (True, "ponte.toml:5")
    assert of_finance["approve"] == (False, "none"), "not for other tables"
    assert of_finance["approve:Inv*"] == (True, "ponte.toml:5"), "a pattern has a line of its own"
    report = rights(ponte, "--person", "slack:T1:U1", "--channel", "slack:T1:C9", *group)
    assert (report["code"], report["read"][0]) == ((False, "ponte.toml:14"), True)
    assert rights(ponte, "--person", "slack:U1", "--channel", "C2", "--guest")["chat"][0] is False
    assert rights(ponte, "--person", "slack:U1")["read:Orders"] == (True, "default")
    assert rights(ponte, "--person", "terminal:owner")["administer"] == (True, "PONTE_ADMINS")
    outsider = rights(ponte, "--person", "slack:T2:U1", "--channel", "slack:T1:C2")
    assert outsider["chat"] == (False, "none")


def test_a_quick_command_has_places_and_people_of_its_own(ponte: Shell) -> None:
    Path("ponte.toml").write_text(
        '[quick_commands.resumo]\nby = ["slack:U1", "slack:S1"]\nwhere = ["slack:T1:C2"]\n'
    )
    there = ("--channel", "slack:T1:C2", "--right", "command:resumo", "--json")

    def check(person: str, *more: str) -> tuple[bool, str]:
        (line,) = json.loads(ponte("policy", "check", "--person", person, *more).out)
        return line["allowed"], line["rule"]

    by_registry = (False, "[quick_commands] resumo")
    assert check("slack:T1:U1", *there) == (True, "default")
    assert check("slack:T1:U2", *there) == by_registry
    assert check("slack:T1:U2", *there, "--group", "slack:S1") == (True, "default")
    assert check("slack:T1:U1", "--channel", "slack:T1:C3", *there[2:]) == by_registry
    ponte("policy", "check", "--person", "slack:T1:U2", *there[:-1])
    assert "Ask an admin to add you to `by` in ponte.toml." in ponte.out


def test_each_line_explains_itself(ponte: Shell) -> None:
    Path("ponte.toml").write_text(FILE)
    output = ponte("policy", "check", "--person", "slack:U1", "--channel", "C2").out
    lines = [line.split(maxsplit=3) for line in output.splitlines()]
    assert " ".join(lines[0]) == (
        f"slack:U1, in C2. Rules: {Path.cwd()}/ponte.toml. Settings of this folder (Ponte isn't"
        " running):"
    )
    why = {line[0]: line[3] for line in lines[1:] if len(line) == 4}
    assert why["read:Orders"] == "who everybody; where shared; deny read:Orders"
    assert why["propose"].startswith("You don't have permission to change data here")


def test_what_decides_alone_needs_is_asked_for_too(ponte: Shell) -> None:
    """A rule that means her settles all that a turn uses, and who her groups are is not asked."""
    Path("ponte.toml").write_text(ANAS)
    output = ponte("policy", "check", "--person", "web:ana").out
    assert "approve no none Only an admin" in " ".join(output.split())


def test_a_right_can_be_asked_for_that_no_rule_names(ponte: Shell) -> None:
    words = (
        "--person",
        "slack:U1",
        "--channel",
        "C2",
        "--right",
        "read:Customers",
        "--right",
        "propose:Customers",
        "--right",
        "code",
    )
    there = rights(ponte, *words)
    assert there == {
        "read:Customers": (True, "default"),
        "propose:Customers": (False, "none"),
        "code": (True, "default"),
    }
    assert rights(ponte, *words[:4], "--right", "read:Salaries") == {
        "read:Salaries": (False, "[tables] Salaries")
    }
    result = ponte("policy", "check", *words[:4], "--right", "reed:Customers")
    assert (result.code, result.out) == (2, "")
    assert "reed:Customers" in result.err
    assert "read:TABLE" in result.err


GUESTS = """
[[rules]]
who = ["slack:U1"]
allow = ["chat", "read", "approve", "administer"]

[tables.Orders]
approvers = ["slack:U1"]
"""


def test_what_is_told_of_a_guest_is_what_a_click_of_theirs_does(ponte: Shell) -> None:
    Path("ponte.toml").write_text(GUESTS)
    questions = (
        "--person",
        "slack:U1",
        "--right",
        "approve",
        "--right",
        "approve:Orders",
        "--right",
        "administer",
        "--right",
        "read:Orders",
    )

    def check_rights(*more: str) -> dict[str, bool]:
        lines = json.loads(ponte("policy", "check", *questions, "--json", *more).out)
        return {line["right"]: line["allowed"] for line in lines}

    assert set(check_rights().values()) == {True}
    assert check_rights("--guest") == {
        "approve": False,
        "approve:Orders": False,
        "administer": False,
        "read:Orders": True,
    }


APPROVERS = """
[groups]
finance = ["slack:S1"]

[tables.Orders]
approvers = ["finance", "slack:U7"]

[[rules]]
who = ["slack:U7"]
deny = ["approve:Orders"]
"""


def test_whoever_a_table_names_may_approve_there(ponte: Shell) -> None:
    def check_approver(person: str, *more: str) -> tuple[bool, str]:
        Path("ponte.toml").write_text(APPROVERS)
        questions = ("--person", person, "--right", "approve:Orders", "--json", *more)
        (line,) = json.loads(ponte("policy", "check", *questions).out)
        return line["allowed"], line["rule"]

    assert check_approver("slack:U1") == (False, "none")
    assert check_approver("slack:U1", "--group", "slack:S1") == (True, "[tables] Orders")
    assert check_approver("slack:U1", "--group", "S1") == (True, "[tables] Orders")
    assert check_approver("slack:U1", "--group", "slack:S1", "--guest") == (False, "none")
    assert check_approver("slack:U7") == (False, "ponte.toml:8"), "a rule keeps them from it"


@pytest.mark.usefixtures("without_a_sandbox")
def test_administrators_are_told_apart_from_the_only_approvers(ponte: Shell) -> None:
    def check_approver(person: str, *more: str) -> tuple[bool, str]:
        words = '"slack:U7"]\napprovers_only = true'
        Path("ponte.toml").write_text(APPROVERS.replace('"slack:U7"]\n\n', f"{words}\n\n"))
        questions = ("--person", person, "--right", "approve:Orders", "--json", *more)
        (line,) = json.loads(ponte("policy", "check", *questions).out)
        assert ("only" in line["why"]) is (line["rule"] == "[tables] Orders")
        return line["allowed"], line["rule"]

    assert check_approver("terminal:owner") == (False, "[tables] Orders")
    assert check_approver("slack:U1", "--group", "slack:S1") == (True, "[tables] Orders")
    assert check_approver("slack:U1") == (False, "[tables] Orders")
    assert check_approver("slack:U7") == (False, "ponte.toml:9"), "a rule keeps them from it"
    text = " ".join(ponte("doctor").out.split())
    assert (
        "Orders: only finance, slack:U7 can decide on changes; other admins can't (ponte.toml:5)"
        in text
    )


@pytest.mark.parametrize("right", ["administer", "spend", "code"])
def test_a_right_that_is_not_for_one_table_is_told_so(ponte: Shell, right: str) -> None:
    words = f"{right}:Orders: write {right}, because this permission can't be limited to one item"
    result = ponte("policy", "check", "--person", "slack:U1", "--right", f"{right}:Orders")
    assert (result.code, result.err.strip()) == (2, f"{words}.")
    Path("ponte.toml").write_text(f'[[rules]]\nwho = ["slack:U1"]\nallow = ["{right}:Orders"]')
    result = ponte("doctor")
    assert (result.code, result.err.strip()) == (2, f"ponte.toml:3: 'allow': {words}.")


@pytest.mark.parametrize(
    "words",
    [
        ("--person", "Ana"),
        ("--person", "slak:U1"),
        ("--person", "slack:T1:U1:x"),
        ("--person", "slack:U1", "--channel", "discord:1:2"),
        ("--person", "slack:U1", "--channel", "slack:C1"),
        ("--person", "slack:U1", "--channel", "#finance"),
    ],
)
def test_what_is_not_understood_is_told_with_its_form(ponte: Shell, words: list[str]) -> None:
    result = ponte("policy", "check", *words)
    assert (result.code, result.out) == (2, "")
    assert "Write `--person` as platform:ID (slack:U1, slack:T1:U1, discord:42" in result.err


def test_what_rules_leave_open_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ponte.toml"
    path.write_text(
        '[[rules]]\nwho = ["guests"]\nallow = ["chat", "read:Menu"]\n'
        '[[rules]]\nallow = ["code"]\n[[rules]]\nwho=["slack:U1"]\nallow=["code"]\n'
    )
    settings = Settings.model_validate({"ponte_home": tmp_path / "home"})
    findings = list_findings(settings, read_config(path), Home(tmp_path / "home"))
    notes = [one.words for one in findings if one.topic == "rights" and one.level == "note"]
    assert notes == [
        "ponte.toml:1 gives guests these permissions: read:Menu",
        "ponte.toml:4 gives everyone these permissions: code",
    ]


def test_a_right_to_a_table_that_is_not_there_protects_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ponte.toml"
    path.write_text('[[rules]]\nallow = ["read:Orders", "propose:Salries", "read:x*"]\n')
    rules: TableRules = read_config(path).table_rules
    assert rules.find_unknown({"Orders", "Salaries"}) == ["Salries"]


def test_the_sample_tables_are_only_the_owners_in_each_language(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(person: str) -> list[str]:
        return ponte("policy", "check", "--person", person, "--right", "read").out.splitlines()

    head, line = check("web:ana")
    assert head.startswith("web:ana, in a direct message. Rules: no ponte.toml. ")
    assert line == (
        "read  no   none  The sample tables are only for the owner and, with PONTE_SAMPLE=on, for "
        "people who are invited."
    )
    assert check("web:owner")[1].startswith("read  yes")
    for locale, place in (("pt-BR", "em uma mensagem direta"), ("fr", "dans un message direct")):
        monkeypatch.setenv("PONTE_LOCALE", locale)
        head, line = check("web:ana")
        assert head.startswith(f"web:ana, {place}. ")
        assert "The sample tables" not in line
    monkeypatch.setenv("PONTE_LOCALE", "en")
    monkeypatch.setenv("PONTE_SAMPLE", "on")
    monkeypatch.setenv("PONTE_ALLOW", "slack:U1,slack:S1")
    assert check("web:ana")[1].startswith("read  yes")
    assert check("slack:T1:U1")[1].startswith("read  yes")
    assert check("slack:T1:U2")[1].startswith("read  no")
    monkeypatch.setenv("NOCODB_URL", "https://nocodb.example")
    monkeypatch.setenv("NOCODB_TOKEN", "x" * 40)
    assert check("web:ana")[1].startswith("read  yes")


ALONE = """
[[rules]]
who = ["slack:U1"]
allow = ["chat", "propose:Tickets"]

[tables.Tickets]
access = "auto"
auto_fields = ["Status"]
auto_people = ["slack:S1"]
"""
RULE = "who slack:U1; allow chat, propose:Tickets"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--group", "slack:S1"), f"{RULE}; without approval: Status"),
        ((), RULE),
        (("--group", "slack:S1", "--guest"), RULE),
    ],
)
def test_who_updates_which_fields_without_approval(
    ponte: Shell, words: tuple[str, ...], why: str
) -> None:
    Path("ponte.toml").write_text(ALONE)
    questions = ("--person", "slack:U1", "--right", "propose:Tickets", "--json", *words)
    (line,) = json.loads(ponte("policy", "check", *questions).out)
    assert (line["allowed"], line["why"]) == (True, why)


MODERATED = """
[groups]
moderators = ["discord:5001"]

[[rules]]
who = ["moderators"]
allow = ["chat", "approve"]

[[rules]]
who = ["discord"]
where = ["discord:900000000000000001:900000000000000011"]
allow = ["chat"]
"""


@pytest.mark.parametrize(
    "place", ["discord:900000000000000001:900000000000000011", "900000000000000011"]
)
def test_the_first_rule_that_applies_is_the_one_that_is_named(ponte: Shell, place: str) -> None:
    """A later rule allows `chat` too, and needs no look-up of groups. The file names the server of
    the channel."""
    Path("ponte.toml").write_text(MODERATED)
    words = ("--person", "discord:42", "--channel", place, "--right", "chat")
    lines = ponte("policy", "check", *words, "--group", "discord:5001").out.splitlines()
    assert lines[0].startswith("discord:42, in discord:900000000000000001:900000000000000011. ")
    assert "ponte.toml:5 " in lines[1]
    assert ponte.err == ""
    assert "ponte.toml:9 " in ponte("policy", "check", *words).out
    assert "User groups and roles aren't looked up." in ponte.err
    ponte("policy", "check", *words, "--group", "moderators")
    assert "`discord:moderators` isn't the ID of a user group or role." in ponte.err


def test_without_chat_nothing_else_is_possible(ponte: Shell) -> None:
    Path("ponte.toml").write_text('[[rules]]\ndeny = ["chat"]\n')
    ponte("policy", "check", "--person", "slack:U1")
    assert "Without `chat`, Ponte doesn't answer" in ponte.err


@pytest.mark.parametrize("owner", ["web", "terminal"])
def test_the_owner_has_the_name_that_settings_use(ponte: Shell, owner: str) -> None:
    Path("ponte.toml").write_text(MODERATED)
    assert (
        "yes  PONTE_ADMINS"
        in ponte("policy", "check", "--person", owner, "--right", "administer").out
    )
    assert ponte.err == ""


@pytest.mark.parametrize("place", ["discord:ask", "slack:C1", "slack:general"])
def test_a_channel_without_its_server_is_refused(tmp_path: Path, place: str) -> None:
    """It would match no message."""
    path = tmp_path / "ponte.toml"
    path.write_text(f'[[rules]]\nwhere = ["{place}"]\nallow = ["chat"]\n')
    with pytest.raises(SettingsError, match="discord:SERVER:CHANNEL"):
        read_config(path)
