"""An operator writes `ponte.toml`; Ponte takes it, or says what is wrong in which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.config import Agent, Channel, Command, Config, Input, in_language, read_config
from core.changes.approval import TableRule
from core.errors import SettingsError
from core.messages import Address

GOOD = """
[channels."slack:T1:C1"]
strict_mention = true
instructions = \"\"\"
Be brief.
\"\"\"

[quick_commands.resumo-diario]
title = { en = "Daily summary", pt-BR = "Resumo diário" }
description = "What happened"
inputs.day = { required = true }
inputs.tone = { type = "choice", choices = ["dry", "warm"] }
where = ["slack:T1:C1", "web"]
by = ["slack:U1", "discord:42"]
effect = "write"
"""


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "ponte.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def refusal(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    return str(caught.value).splitlines()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.channel(Address("slack", "C1", "T1", thread="9")) == Channel(True, "Be brief.\n")
    assert config.channel(Address("slack", "C2", "T1")) == Channel()
    assert config.quick_commands["resumo-diario"] == Command(
        title={"en": "Daily summary", "pt-BR": "Resumo diário"},
        description={"en": "What happened"},
        inputs={"day": Input(required=True), "tone": Input("choice", choices=("dry", "warm"))},
        where=("slack:T1:C1", "web"),
        by=("slack:U1", "discord:42"),
        effect="write",
    )


def test_a_text_is_told_in_the_nearest_language(tmp_path: Path) -> None:
    command = read(tmp_path, GOOD).quick_commands["resumo-diario"]
    assert in_language(command.title, "pt_BR") == "Resumo diário"
    assert in_language(command.title, "fr") == "Daily summary"
    assert in_language({"fr": "Oui"}, "en") == "Oui"
    assert in_language({}, "en") == ""


def test_no_file_is_an_empty_one_unless_it_was_asked_for(tmp_path: Path) -> None:
    assert read_config(tmp_path / "ponte.toml") == Config()
    with pytest.raises(SettingsError, match=r"PONTE_CONFIG: there is no file .*/other\.toml\."):
        read_config(tmp_path / "other.toml", required=True)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "ponte.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_config(tmp_path / "ponte.toml")
    with pytest.raises(SettingsError, match=r"cannot be read \(Is a directory\)"):
        read_config(tmp_path)


WRONG = [
    (
        'colour = "red"',
        "1: 'colour' is not known here; known are changes, tables, channels, quick_commands, "
        "agents, links, limits, slack, discord.",
    ),
    ("channels = 3", "1: 'channels' must be a table."),
    ("[[channels]]", "1: 'channels' must be a table."),
    ('\n[channels."slack:T1:C1"]\n# so\ntypo = 1', "4: 'typo' is not known here; known are "),
    ('[channels."slack:T1:C1"]\nstrict_mention = "yes"', "2: 'strict_mention' must be true or"),
    ('[channels."slack:T1:C1"]\nstrict_mention = 1', "2: 'strict_mention' must be true or"),
    ('[channels."slack:T1:C1"]\ninstructions = 1', "2: 'instructions' must be a text in quotes"),
    ("[channels.general]", "1: 'general': write slack:WORKSPACE:CHANNEL"),
    ('[tables.Orders]\naccess = "closed"', "2: 'access' must be one of 'hidden', 'read', 'ask' or"),
    ("[tables.Orders]\nrows = 1", "2: 'rows' is not known here; known are access, approvers."),
    ('[tables.Orders]\napprovers = ["Ana"]', "2: 'approvers': write web, terminal, slack:ID"),
    ('channels."slack:T1:C1" = 1', "1: 'slack:T1:C1' must be a table."),
    ('[quick_commands."a b"]\ntitle = "x"', "1: 'a b': write a slug of up to 100"),
    ('[quick_commands.a]\ntitle = { de = "x" }', "2: 'de': write a language: en, pt-BR, fr."),
    ('[quick_commands.a]\ntitle = "x"\nby = "slack:U1"', "3: 'by' must be a list"),
    ('[quick_commands.a]\ntitle = "x"\nwhere = [\n"web",\n"irc"]', "3: 'where': write web, "),
    ('[quick_commands.a]\ntitle = "x"\neffect = "buy"', "3: 'effect' must be one of 'read', 's"),
    (
        '[quick_commands.a]\ntitle = "x"\n[quick_commands.a.inputs]\nx = { type = "date" }',
        "4: 'type' must be one of 'text', 'number', 'boolean' or 'choice'.",
    ),
    (
        '[quick_commands.a]\ntitle = "x"\ninputs.x.type = "choice"',
        "3: 'x': write choices = [\"…\"] with type",
    ),
    ("[limits]\ncalls = 1", "2: 'calls' is not known here; known are costly_calls, tool_calls."),
    ("[limits]\ntool_calls = 1001", "2: 'tool_calls' must be at most 1000."),
    ("[limits]\ncostly_calls = -1", "2: 'costly_calls' must not be negative."),
    ("[changes]\nauto_create_rows = 101", "2: 'auto_create_rows' must be at most 100."),
    ("a = 1\na = 2", "2: not TOML: Cannot overwrite a value."),
    ("a = 1\n\nb = [1,\n", "3: not TOML: "),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (line,) = refusal(tmp_path, text)
    assert line.startswith(f"ponte.toml:{words}")


def test_all_that_is_wrong_is_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = refusal(tmp_path, '[quick_commands.a]\nby = 1\ntitle = 1\n[channels.x]\ny = "z"\n')
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4", "5"]


def test_what_is_written_about_tables(tmp_path: Path) -> None:
    written = '[tables.Salaries]\naccess = "hidden"\n[tables.m1]\napprovers = ["slack:S1"]\n'
    rules = read(tmp_path, written).table_rules
    assert rules.hides("m7", "salaries")
    assert rules.of("m1", "Orders") == TableRule("ask", frozenset({"slack:S1"}))
    assert rules.of("m2", "Customers") == TableRule()
    assert rules.unknown({"m1", "Orders"}) == ["Salaries"]


def test_agents_have_names_here_and_ids_there(tmp_path: Path) -> None:
    text = '[agents.reviewer]\nid = "01JAGENT"\ntitle = { fr = "Relecteur" }\n'
    assert read(tmp_path, text).agents == {"reviewer": Agent("01JAGENT", {"fr": "Relecteur"})}
    assert refusal(tmp_path, '[agents.a]\nid = "../x"')[0].startswith(
        "ponte.toml:2: 'id': write the agent's id"
    )
    (line,) = refusal(tmp_path, '[agents.a]\nid = "x"\nslug = "y"')
    assert line == "ponte.toml:3: 'slug' is not known here; known are id, title, description."


def test_what_is_written_about_the_platforms(tmp_path: Path) -> None:
    path = tmp_path / "ponte.toml"
    path.write_text(
        '[links]\nhosts = ["example.com"]\n[slack]\nbots = ["B0123456789"]\n'
        "[discord]\nthreads = false\n"
    )
    config = read_config(path)
    assert config.links.hosts == ("example.com",)
    assert config.section("slack").bots == ("B0123456789",)
    assert config.section("discord").threads is False
    assert (Config().links.hosts, Config().section("discord").threads) == ((), True)
    path.write_text('[links]\nhosts = ["https://example.com"]\n')
    with pytest.raises(SettingsError, match="a host's name"):
        read_config(path)
