"""A name in ponte.toml that no table, person or group has: it is told, and opens no table."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from bot.config.ponte_toml import Config, LiveConfig, read_config
from bot.config.reload import Reloader, UnknownNames
from bot.config.table_names import KnownNames
from bot.home import Home, Start
from bot.reports import check_rights
from bot.settings import Settings
from core.base.errors import SettingsError
from core.domain.messages import Address, Person
from core.domain.rights import Viewer
from core.journal.jobs import Alone
from core.people.audit import OPERATOR, Audit
from core.people.policy import Policy
from tests.fakes.choices import allow_list

TABLES = {"m1": "Invoices", "m2": "Customers", "m3": "Sales 2025"}
MIA = Person("slack", "U1", "T1", "Mia")
HERE = Address("slack", "C1", "T1", is_shared=True)
TYPO = """
[tables.Invoces]
approvers = ["slack:U8", "slack:U9"]
approvers_only = true
access = "{access}"
"""


class NoAudit:
    def note(self, event: str, by: Person, **facts: object) -> None:
        """A reload is no subject of these tests."""


def write(folder: Path, text: str) -> Path:
    path = folder / "ponte.toml"
    path.write_text(text)
    return path


def load(folder: Path, text: str) -> LiveConfig:
    return LiveConfig(read_config(write(folder, text)))


def may_read(live: LiveConfig, *names: str) -> bool:
    policy: Policy = allow_list(frozenset({"slack:U1"}))
    policy.read_rules = lambda: live.rule_book
    rights = policy.rights_of_member(MIA, HERE, frozenset())
    return live.table_rules.is_visible(Viewer(rights), *names)


@pytest.mark.parametrize("name", ["Invoces", "Invoicess", "Inwoices", "INVOICE"])
def test_a_restriction_holds_for_the_table_that_is_surely_meant(tmp_path: Path, name: str) -> None:
    live = load(tmp_path, TYPO.format(access="read").replace("Invoces", name))
    assert live.table_rules.find_rule("m1", "Invoices").approvals == 1, "not looked up yet"
    live.note_tables(TABLES)
    for names in (("m1", "Invoices"), ("Invoices",), ("Invoices", "m1")):
        rule = live.table_rules.find_rule(*names)
        assert (rule.access, rule.approvers_only, len(rule.approvers)) == ("read", True, 2)
    assert live.table_rules.find_rule("m2", "Customers").access == "ask"
    live.note_tables({**TABLES, "m4": name})
    assert live.table_rules.find_rule("m1", "Invoices").access == "ask", "now it has a table"


@pytest.mark.parametrize(
    ("tables", "name"),
    [
        ({"m1": "Invoices", "m2": "Invoites"}, "Invoides"),  # two are as near
        ({"m1": "Sales 2025"}, "Sales 2026"),
        ({"m1": "Invoices"}, "Inoivces"),
        ({"m1": "Invoices"}, "Invoices2"),
        ({"m1": "Invoices"}, "Customers"),
    ],
)
def test_no_other_table_is_restricted(tmp_path: Path, tables: dict[str, str], name: str) -> None:
    live = load(tmp_path, f'[tables."{name}"]\naccess = "hidden"\n')
    live.note_tables(tables)
    assert not any(live.table_rules.is_hidden(*pair) for pair in tables.items())


def test_a_denial_holds_too_and_a_permission_never_does(tmp_path: Path) -> None:
    denial = '[[rules]]\nwho = ["slack:U1"]\ndeny = ["read:Invoces"]\n'
    live = load(tmp_path, denial)
    assert may_read(live, "Invoices", "m1")
    live.note_tables(TABLES)
    assert not may_read(live, "Invoices", "m1")
    assert may_read(live, "Customers", "m2")
    channel = '[channels."slack:T1:C1"]\ndeny = ["read:Invoces"]\n'
    live = load(tmp_path, channel)
    live.note_tables(TABLES)
    assert not may_read(live, "Invoices", "m1")
    permission = (
        '[[rules]]\nwho = ["slack:U1"]\nallow = ["read:Invoces"]\n[[rules]]\ndeny = ["read"]\n'
        '[tables.Custmers]\naccess = "auto"\nauto_fields = ["Status"]\nauto_people = ["slack:U1"]\n'
    )
    live = load(tmp_path, permission)
    live.note_tables(TABLES)
    assert not may_read(live, "Invoices", "m1")
    rule = live.table_rules.find_rule("m2", "Customers")
    assert (rule.access, rule.auto_fields, rule.auto_people) == ("ask", frozenset(), frozenset())


def test_a_table_with_a_rule_of_its_own_keeps_the_stricter_of_both(tmp_path: Path) -> None:
    own = TYPO.format(access="read") + '[tables.m1]\napprovers = ["slack:U8"]\napprovals = 2\n'
    live = load(tmp_path, own)
    live.note_tables(TABLES)
    rule = live.table_rules.find_rule("m1", "Invoices")
    assert (rule.access, rule.approvals, rule.approvers) == ("read", 2, frozenset({"slack:U8"}))


async def reload(folder: Path, live: LiveConfig, known: KnownNames) -> tuple[Reloader, str]:
    """Reload, and return the sentence of a refusal; "" if the file applies."""

    async def look_up(config: Config) -> KnownNames:
        if known.tables is not None:
            live.note_tables(known.tables)
        return known

    settings = Settings.model_validate(
        {"ponte_home": folder / "home", "ponte_config": folder / "ponte.toml"}
    )
    reloader = Reloader(settings, live, cast("Audit", NoAudit()), Alone(), look_up)
    try:
        await reloader.reload_everywhere(OPERATOR)
    except UnknownNames as error:
        return reloader, error.words()
    return reloader, ""


async def test_a_reload_with_an_unknown_name_keeps_the_rules_in_force(tmp_path: Path) -> None:
    live = load(tmp_path, '[tables.Invoices]\naccess = "hidden"\n')
    for text, sentence in (
        (TYPO.format(access="ask"), "ponte.toml:2: table Invoces not found. "),
        ('[[rules]]\nallow = ["read:Custmers"]\n', "Did you mean Customers?"),
        ('[groups]\nteam = ["web:anna"]\n', "person web:anna not found"),
        ('[tables.Invoices]\napprovers = ["web:anna"]\n', "Did you mean web:ana?"),
        ('[tools.nocodb_delte]\napprovers = ["slack:U1"]\n', "Did you mean nocodb_delete?"),
    ):
        write(tmp_path, text)
        _, refusal = await reload(tmp_path, live, KnownNames(TABLES, ["web:owner", "web:ana"]))
        assert sentence in refusal, text
        assert "so the previous rules stay in force" in refusal
        assert live.table_rules.is_hidden("Invoices", "m1")


async def test_what_cannot_be_looked_up_is_told_as_not_checked(tmp_path: Path) -> None:
    live = load(tmp_path, "")
    write(tmp_path, TYPO.format(access="ask") + '[groups]\nteam = ["web:anna"]\n')
    reloader, refusal = await reload(tmp_path, live, KnownNames())
    assert refusal == ""
    assert "Not checked: Invoces, web:anna" in reloader.check().faults
    live.note_tables(TABLES)
    (held, unchecked) = reloader.check().faults
    assert held == (
        "ponte.toml:2: table Invoces not found. Its restrictions apply to Invoices. "
        "Did you mean that?"
    )
    assert unchecked == "Not checked: web:anna"


async def test_an_unknown_field_for_cards_is_told_with_the_nearest(tmp_path: Path) -> None:
    live = load(tmp_path, "")
    write(tmp_path, '[tables.Invoices]\ncard_fields = ["Amonut", "due", "f3"]\n')
    fields = {"Invoices": ["Amount", "f1", "Due", "f2", "Status", "f3"]}
    _, refusal = await reload(tmp_path, live, KnownNames(TABLES, [], fields))
    assert refusal.splitlines()[1:] == [
        "ponte.toml:2: field Amonut not found in this table, so cards don't show it. "
        "Did you mean Amount?"
    ]
    reloader, refusal = await reload(tmp_path, live, KnownNames(TABLES, []))
    assert (refusal, reloader.check().faults) == ("", ["Not checked: Amonut, due, f3"])


def test_an_unknown_group_is_told_with_the_nearest(tmp_path: Path) -> None:
    text = '[groups]\nfinance = ["slack:U1"]\n[tables.Invoices]\napprovers = ["finanse"]\n'
    with pytest.raises(SettingsError, match=r"Did you mean finance\?$"):
        read_config(write(tmp_path, text))
    assert Config().groups == {}


def test_only_tables_that_exist_have_a_title(tmp_path: Path) -> None:
    live = load(tmp_path, TYPO.format(access="read").replace("Invoces", "Nothing"))
    assert live.table_rules.find_title("Nothing") == "Nothing", "not looked up yet"
    live.note_tables(TABLES)
    titles = [live.table_rules.find_title(name) for name in ("Nothing", "m1", "INVOICES")]
    assert titles == ["", "Invoices", "Invoices"]


async def test_a_file_in_force_since_the_start_is_told_as_that(tmp_path: Path) -> None:
    live = load(tmp_path, TYPO.format(access="ask"))
    reloader, refusal = await reload(tmp_path, live, KnownNames(TABLES, []))
    assert refusal
    assert (reloader.check().is_in_force, len(reloader.check().faults)) == (True, 1)
    write(tmp_path, TYPO.format(access="read"))
    assert not reloader.check().is_in_force
    write(tmp_path, "[tables")
    assert not reloader.check().is_in_force


async def test_policy_check_judges_and_names_them(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, TYPO.format(access="ask")))
    settings = Settings.model_validate({"ponte_home": tmp_path / "home"})
    home = Home(tmp_path / "home")
    for tables, allowed, note in (
        (None, True, "Not checked: Invoces"),
        (TABLES, False, "ponte.toml:2: table Invoces not found."),
    ):
        start = Start(settings, config, home, known=KnownNames(tables))
        report = await check_rights(start, "web", rights=["approve:Invoices"])
        assert report.has_unknown_names == (tables is not None)
        assert [line.allowed for line in report.lines] == [allowed]
        assert any(note in line for line in report.notes)


def test_two_misspelt_names_of_one_table_both_restrict_it(tmp_path: Path) -> None:
    sections = [
        '[tables.Invoces]\naccess = "read"\n',
        '[tables.Invoicess]\napprovers = ["slack:U8"]\n',
    ]
    for text in ("".join(sections), "".join(reversed(sections))):
        live = load(tmp_path, text)
        live.note_tables(TABLES)
        rule = live.table_rules.find_rule("m1", "Invoices")
        assert (rule.access, rule.approvers) == ("read", frozenset({"slack:U8"}))
