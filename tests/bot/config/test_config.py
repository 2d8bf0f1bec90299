"""An operator writes `ponte.toml`; Ponte takes it, or says what is wrong in which line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bot.config.ponte_toml import (
    AgentConfig,
    ChannelConfig,
    Config,
    LiveConfig,
    QuickCommandConfig,
    QuickCommandInput,
    in_language,
    read_config,
)
from bot.config.reload import Reloader
from bot.features.schedules.feature import SchedulesConfig
from bot.settings import Settings
from core.base.errors import SettingsError
from core.changes.approval import Approvers, TableRule
from core.domain.messages import Address
from core.money.allowances import Allowance
from core.money.usage import NANODOLLARS_PER_DOLLAR, PaidRun, Price
from core.people.audit import OPERATOR, Audit
from core.people.rules import Rule
from tests.fakes.peers import ConnectedPeers

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
    with pytest.raises(SettingsError) as error:
        read(tmp_path, text)
    return str(error.value).splitlines()


def test_what_tables_fields_and_words_mean(tmp_path: Path) -> None:
    text = """
        [terms]
        "active customer" = "one with an order"
        [tables.Orders]
        about = "parcels"
        fields = { st_2 = "1 packed, 2 sent" }
    """
    config = read(tmp_path, text)
    assert config.table_rules.find_rule("orders") == TableRule(
        about="parcels", fields={"st_2": "1 packed, 2 sent"}
    )
    assert LiveConfig(config).turn.terms == {"active customer": "one with an order"}
    assert refusal(tmp_path, "[tables.Orders.fields]\nst_2 = 2\n[terms]\nbig = true") == [
        "ponte.toml:2: 'st_2': write text in quotes.",
        "ponte.toml:4: 'big': write text in quotes.",
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.channel(Address("slack", "C1", "T1", thread="9")) == ChannelConfig(
        True, "Be brief.\n"
    )
    assert config.channel(Address("slack", "C2", "T1")) == ChannelConfig()
    assert config.quick_commands["resumo-diario"] == QuickCommandConfig(
        title={"en": "Daily summary", "pt-BR": "Resumo diário"},
        description={"en": "What happened"},
        inputs={
            "day": QuickCommandInput(required=True),
            "tone": QuickCommandInput("choice", choices=("dry", "warm")),
        },
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
    with pytest.raises(SettingsError, match=r"PONTE_CONFIG: file .*/other\.toml not found\."):
        read_config(tmp_path / "other.toml", required=True)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "ponte.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"can't read .*ponte\.toml"):
        read_config(tmp_path / "ponte.toml")
    with pytest.raises(SettingsError, match=r"can't read .* \(Is a directory\)"):
        read_config(tmp_path)


WRONG = [
    (
        'colour = "red"',
        "1: 'colour': unknown key; use one of changes, tables, terms, tools, groups, rules, "
        "channels, quick_commands, agents, links, limits, schedules, alerts, hooks, ",
    ),
    ("channels = 3", "1: 'channels': write it as a section, [channels]."),
    ("[rules]\nwho = []", "1: 'rules': write each one as [[rules]], with two brackets."),
    ("[[channels]]", "1: 'channels': write it as a section, [channels]."),
    ('\n[channels."slack:T1:C1"]\n# so\ntypo = 1', "4: 'typo': unknown key; use one of "),
    ('[channels."slack:T1:C1"]\nstrict_mention = "yes"', "2: 'strict_mention': write true or"),
    ('[channels."slack:T1:C1"]\nstrict_mention = 1', "2: 'strict_mention': write true or"),
    ('[channels."slack:T1:C1"]\ninstructions = 1', "2: 'instructions': write text in quotes"),
    ("[channels.general]", "1: 'general': write a place, as in `web`, `slack`, "),
    ('[tables.Orders]\naccess = "closed"', "2: 'access': write one of 'hidden', 'read', 'ask',"),
    (
        "[tables.Orders]\nrows = 1",
        "2: 'rows': unknown key; use one of access, approvers, approvals, approvers_only",
    ),
    (
        '[tables.Orders]\napprovers = ["Ana"]',
        "2: 'approvers': write a person, as in slack:ID, the name of a",
    ),
    (
        'channels."slack:T1:C1" = 1',
        "1: 'slack:T1:C1': write it as a section, [channels.\"slack:T1:C1\"].",
    ),
    ('[quick_commands."a b"]\ntitle = "x"', "1: 'a b': write a slug of up to 100"),
    ('[quick_commands.a]\ntitle = { de = "x" }', "2: 'de': write a language: en, pt-BR or fr."),
    ('[quick_commands.a]\ntitle = "x"\nby = "slack:U1"', "3: 'by': write a list"),
    ('[quick_commands.a]\ntitle = "x"\nwhere = [\n"web",\n"irc"]', "3: 'where': write a place, "),
    ('[quick_commands.a]\ntitle = "x"\neffect = "buy"', "3: 'effect': write one of 'read', 's"),
    (
        '[quick_commands.a]\ntitle = "x"\n[quick_commands.a.inputs]\nx = { type = "date" }',
        "4: 'type': write one of 'text', 'number', 'boolean', 'choice'.",
    ),
    (
        '[quick_commands.a]\ntitle = "x"\ninputs.x.type = "choice"',
        "3: 'x': write choices = [\"…\"] and type",
    ),
    ("[limits]\ncalls = 1", "2: 'calls': unknown key; use one of costly_calls, tool_calls, "),
    ("[links]\nhost = 1", "2: 'host': unknown key; use one of hosts."),
    ("[schedules]\na = 1", "2: 'a': unknown key; use one of shortest_minutes, per_person."),
    ("[quick_commands.a.inputs.x]\na = 1", "2: 'a': unknown key; use one of type, required"),
    ("[quick_commands.a]\na = 1", "2: 'a': unknown key; use one of title, description, in"),
    ("[slack]\na = 1", "2: 'a': unknown key; use one of "),
    ("[limits]\ntool_calls = 1001", "2: 'tool_calls': write a number of at most 1000."),
    ("[limits]\ncostly_calls = -1", "2: 'costly_calls': write a number that isn't negative."),
    ("[groups]\nweb = []", "2: 'web': choose another name: lowercase letters"),
    ('[groups]\nfinance = ["Ana"]', "2: 'finance': write a person, user group or role"),
    (
        '[[rules]]\nallow = ["read"]\n[[rules]]\n\nwho = ["Ana"]\n',
        "5: 'who': write a person, as in slack:ID, the name of a group, or one of everybody, ",
    ),
    (
        '[[rules]]\nwho = ["sales"]\ndeny = ["read"]',
        "2: 'who': there is no group called 'sales'; [gr",
    ),
    (
        '[[rules]]\nwhere = ["here"]\ndeny = ["read"]',
        "2: 'where': write a place, as in `web`",
    ),
    (
        '[[rules]]\nallow = ["reed"]',
        "2: 'allow': write `chat`, `read`, ",
    ),
    ('[[rules]]\nallow = ["tool"]', "2: 'allow': write `chat`"),
    ('[[rules]]\nallow = ["chat:x"]', "2: 'allow': chat:x: write chat"),
    ('[[rules]]\nwho = ["members"]', "1: 'rules': write allow = "),
    ('[[rules]]\nallow = ["approve:Orders"]', "2: 'allow': approve:Orders is only for people and"),
    (
        '[[rules]]\nwho = ["slack"]\nallow = ["administer"]',
        "3: 'allow': administer is only for people and groups",
    ),
    (
        '[[rules]]\nwho = ["slack:T1"]\nallow = ["approve"]',
        "3: 'allow': approve is only for people and groups; slack:T1 is a workspace, ",
    ),
    (
        '[[rules]]\nwho = ["slack:U1", "slack:C1"]\nallow = ["chat", "administer"]',
        "3: 'allow': administer is only for people and groups; slack:C1 is a",
    ),
    (
        '[groups]\nshop = ["slack:C1"]\n[[rules]]\nwho = ["shop"]\nallow = ["approve:Orders"]',
        "5: 'allow': approve:Orders is only for people and groups; slack:C1 is",
    ),
    (
        '[[rules]]\nwho = ["discord:900000000000000001"]\nallow = ["approve"]\n'
        '[[rules]]\nwhere = ["discord:900000000000000001:900000000000000011"]\ndeny = ["code"]',
        "3: 'allow': approve is only for people and groups; discord:900000000000000001",
    ),
    (
        '[[rules]]\nwho = ["discord:900000000000000011"]\nallow = ["approve"]\n'
        '[channels."discord:900000000000000001:900000000000000011"]\ndeny = ["code"]',
        "3: 'allow': approve is only for people and groups; discord:900000000000000011",
    ),
    (
        '[[rules]]\nwho = ["discord:900000000000000012"]\nallow = ["approve"]\n'
        '[quick_commands.deploy]\nwhere = ["discord:900000000000000001:900000000000000012"]',
        "3: 'allow': approve is only for people and groups; discord:900000000000000012",
    ),
    (
        '[tables.Orders]\napprovers = ["slack:G1"]',
        "2: 'approvers': only people and groups can approve, and slack:G1 is a workspace, ",
    ),
    (
        '[groups]\nshop = ["slack:D1"]\n[tools.nocodb_update]\napprovers = ["shop"]',
        "4: 'approvers': only people and groups can approve, and slack:D1 is a workspace, ",
    ),
    (
        '[channels.slack]\napprovers = ["slack:E1"]',
        "2: 'approvers': only people and groups can approve, and slack:E1 is a workspace, ",
    ),
    (
        '[tables.Orders]\napprovers = ["asker", "slack"]',
        "2: 'approvers': only people and groups can approve, not all of slack",
    ),
    (
        '[tools.nocodb_update]\napprovers = ["discord"]',
        "2: 'approvers': only people and groups can approve, not all of discord",
    ),
    (
        '[channels."slack:T1:C1"]\nstrict_mention = true\nanswer_everything = true',
        "1: 'slack:T1:C1': write either `strict_mention` or `answer_everything`, not both.",
    ),
    ('[[allowances]]\nof = "each"\nturns = 1', "2: 'of': write one of 'each person', 'each ch"),
    ('[[allowances]]\nof = "everybody"', "1: 'allowances': write `money`, `tokens` or `turns`"),
    (
        '[[allowances]]\nof = "together"\nturns = 1',
        "1: 'allowances': add `who`, the people who share this limit",
    ),
    (
        '[[allowances]]\nof = "everybody"\nmoney = -1',
        "3: 'money': write a number that isn't negative.",
    ),
    ('[[allowances]]\nof = "everybody"\nmoney = inf', "3: 'money': write a number."),
    ('[[allowances]]\nof = "everybody"\nmoney = "5"', "3: 'money': write a number."),
    ('[[allowances]]\nof = "everybody"\ntokens = 1.5', "3: 'tokens': write a whole number."),
    ('[[allowances]]\nof = "everybody"\nper = "week"', "3: 'per': write one of 'day', 'month'"),
    (
        '[[allowances]]\nof = "everybody"\nturns = 1\n[[allowances]]\nof = "each person"\n'
        'turns = 1\nwho = ["sales"]',
        "7: 'who': there is no group called 'sales'; [groups] contains –",
    ),
    ("[prices.models.m]\ninput = 1", "1: 'output': this key is missing."),
    ("[prices.models.m]\nin = 1\ninput = 1\noutput = 1", "2: 'in': unknown key; use one of i"),
    (
        "[prices]\ncode = 1",
        "2: 'code': unknown key; use one of container, transcription, models",
    ),
    (
        '[hooks.x]\nkind = "gitlab"\nsecret = "XYZ"\npost_to = "slack:T1:C1"\nas = "a"\n'
        'template = "t"\n[groups]\na = []',
        "2: 'kind': write one of 'github', 'stripe', 'standard', 'secret'.",
    ),
    (
        '[hooks.x]\nkind = "github"\nsecret = "whsec_in_the_file"\npost_to = "slack:T1:C1"\n'
        'as = "a"\ntemplate = "t"\n[groups]\na = []',
        "3: 'secret': write a variable's name, such as HOOK_SECRET",
    ),
    (
        '[hooks.x]\nkind = "github"\nsecret = "XYZ"\npost_to = "web"\nas = "a"\n'
        'template = "t"\n[groups]\na = []',
        "4: 'post_to': write a channel, as in slack:T1:C1, or a person, as in slack:U1.",
    ),
    (
        '[hooks.x]\nkind = "github"\nsecret = "XYZ"\npost_to = "slack:T1:C1"\nas = "a"\n'
        'template = "t"',
        "5: 'as': there is no group called 'a'; [groups] contains –.",
    ),
    (
        '[hooks.x]\nkind = "github"\nsecret = "XYZ"\npost_to = "slack:T1:C1"\nas = "a"\n'
        "[groups]\na = []",
        "1: 'x': write either `template` or `instruction`, not both.",
    ),
    ('[[rules]]\nwhere = ["discord:11"]\ndeny = ["code"]', "2: 'where': write a place"),
    ('[[rules]]\nwhere = ["discord:900:900000000000000011"]', "2: 'where': write a place"),
    ('[[rules]]\nwhere = ["slack:C1"]\ndeny = ["code"]', "2: 'where': write a place"),
    ("[tables.m1]\napprovals = 3", "2: 'approvals': write one of 1, 2"),
    ('[tables.m1]\napprovers = ["clerks"]', "2: 'approvers': there is no group called 'clerks'"),
    ('[tools.x]\napprovers = ["members"]', "2: 'approvers': write a person"),
    ('[groups]\nasker = ["slack:U1"]', "2: 'asker': choose another name: lowercase letters"),
    ("[changes]\nremind_after = 4", "2: 'remind_after': write minutes or hours"),
    (
        "[tables.m1]\napprovers_only = true",
        "1: 'm1': `approvers_only` needs `approvers`, and can't be used with `access = \"auto\"`",
    ),
    (
        '[tables.m1]\naccess = "auto"\napprovers = ["asker"]\napprovers_only = true',
        "1: 'm1': `approvers_only` needs `approvers`, and can't be used with `access = \"auto\"`",
    ),
    (
        '[tables.m1]\nauto_fields = ["Status"]\nauto_people = ["slack:U1"]',
        "1: 'm1': `auto_fields` and `auto_people` need `access = \"auto\"`",
    ),
    (
        '[tables.m1]\naccess = "auto"\nauto_people = ["asker"]',
        "1: 'm1': `auto_people` names people and groups, not `asker`",
    ),
    (
        '[tables.m1]\naccess = "auto"\nauto_people = ["clerks"]',
        "3: 'auto_people': there is no group called 'clerks'",
    ),
    ("[tools.x]\naccess = 1", "2: 'access': unknown key; use one of approvers, approvals"),
    ("a = 1\na = 2", "2: not TOML: Cannot overwrite a value."),
    ("a = 1\n\nb = [1,\n", "3: not TOML: "),
    ("a = " + "[" * 20_000, "1: too many levels; use fewer."),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (line,) = refusal(tmp_path, text)
    assert line.startswith(f"ponte.toml:{words}")


def test_all_that_is_wrong_is_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = refusal(tmp_path, '[quick_commands.a]\nby = 1\ntitle = 1\n[channels.x]\ny = "z"\n')
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4", "5"]


def test_what_is_written_about_tables(tmp_path: Path) -> None:
    text = '[tables.Salaries]\naccess = "hidden"\n[tables.m1]\napprovers = ["slack:S1"]\n'
    rules = read(tmp_path, text).table_rules
    assert rules.is_hidden("m7", "salaries")
    assert rules.find_rule("m1", "Orders") == TableRule("ask", frozenset({"slack:S1"}))
    assert rules.find_rule("m2", "Customers") == TableRule()
    assert rules.find_unknown({"m1", "Orders"}) == ["Salaries"]


def test_what_is_written_about_approvers(tmp_path: Path) -> None:
    text = (
        '[groups]\nfinance = ["slack:S1"]\n[changes]\nremind_after = "30m"\n'
        'escalate_after = "2h"\n'
        '[tables.m1]\napprovers = ["asker", "finance"]\napprovals = 2\n'
        '[tools.stackspot_quick_command]\napprovers = ["slack:U1"]\n'
        '[channels."slack:T1:C1"]\napprovers = ["finance"]\n'
    )
    config = read(tmp_path, text)
    rules = config.table_rules
    assert rules.find_rule("m1") == TableRule("ask", frozenset({"asker", "finance"}), 2)
    assert rules.tools == {"stackspot_quick_command": Approvers(frozenset({"slack:U1"}))}
    assert (rules.remind_after, Config().table_rules.remind_after) == (1800.0, 0.0)
    assert (rules.escalate_after, Config().table_rules.escalate_after) == (7200.0, 0.0)
    assert read(tmp_path, '[changes]\nremind_after = "0"').table_rules.remind_after == 0
    live = LiveConfig(Config())
    live.current = config
    assert (live.table_rules.tools, live.table_rules.remind_after) == (rules.tools, 1800.0)


def test_agents_have_names_here_and_ids_there(tmp_path: Path) -> None:
    text = '[agents.reviewer]\nid = "01JAGENT"\ntitle = { fr = "Relecteur" }\n'
    assert read(tmp_path, text).agents == {"reviewer": AgentConfig("01JAGENT", {"fr": "Relecteur"})}
    assert refusal(tmp_path, '[agents.a]\nid = "../x"')[0].startswith(
        "ponte.toml:2: 'id': write the agent's ID"
    )
    (line,) = refusal(tmp_path, '[agents.a]\nid = "x"\nslug = "y"')
    assert line == "ponte.toml:3: 'slug': unknown key; use one of id, title, description."


def test_what_is_written_about_the_platforms(tmp_path: Path) -> None:
    path = tmp_path / "ponte.toml"
    path.write_text('[links]\nhosts = ["example.com"]\n[slack]\nbots = ["B0123456789"]\n')
    config = read_config(path)
    assert config.links.hosts == ("example.com",)
    assert config.section("slack").bots == ("B0123456789",)
    assert (Config().links.hosts, Config().section("slack").bots) == ((), ())
    path.write_text('[links]\nhosts = ["https://example.com"]\n')
    with pytest.raises(SettingsError, match="a host name"):
        read_config(path)


RULES = """
[groups]
finance = ["slack:S1", "discord:42", "web:ana"]

[[rules]]
who = ["finance"]
allow = ["read:Orders", "approve:Orders"]

[[rules]]
who = ["everybody"]
where = ["shared"]
deny = [
  "read:Orders",
]

[channels.slack]
language = "fr"
instructions = "Be brief."
strict_mention = true

[channels."slack:T1:C1"]
deny = ["code"]
answer_everything = true
"""


def test_rules_are_told_by_their_lines(tmp_path: Path) -> None:
    book = read(tmp_path, RULES).rule_book
    assert book.groups == {"finance": frozenset({"slack:S1", "discord:42", "web:ana"})}
    assert book.rules == (
        Rule("ponte.toml:5", frozenset({"finance"}), allow=("read:Orders", "approve:Orders")),
        Rule(
            "ponte.toml:9", frozenset({"everybody"}), frozenset({"shared"}), deny=("read:Orders",)
        ),
    )
    assert book.channels["slack:T1:C1"] == Rule("ponte.toml:21", deny=("code",))


def test_a_channel_has_the_narrowest_that_is_written_of_it(tmp_path: Path) -> None:
    config = read(tmp_path, RULES)
    elsewhere = config.channel(Address("slack", "C2", "T1", thread="9"))
    assert (elsewhere.language, elsewhere.strict_mention) == ("fr", True)
    there = config.channel(Address("slack", "C1", "T1"))
    assert (there.instructions, there.answer_everything, there.strict_mention) == (
        "Be brief.",
        True,
        None,
    )


WAYS = """
[channels.slack]
threads = false
answer_everything = true
retention_days = 30

[channels."slack:T1"]
answer_everything = false

[channels."slack:T1:C1"]
strict_mention = true
threads = true

[channels."slack:T2:C2"]
strict_mention = true
"""


def test_a_narrower_place_takes_back_what_a_wider_one_says(tmp_path: Path) -> None:
    config = read(tmp_path, WAYS)

    def way(channel: str, workspace: str) -> tuple[object, ...]:
        own = config.channel(Address("slack", channel, workspace, is_shared=True))
        return own.strict_mention, own.answer_everything, own.threads, own.retention_days

    assert way("C9", "T9") == (None, True, False, 30)
    assert way("C9", "T1") == (None, False, False, 30)
    assert way("C1", "T1") == (True, None, True, 30)
    assert way("C2", "T2") == (True, None, False, 30)


def test_what_may_be_spent_and_what_it_costs(tmp_path: Path) -> None:
    text = """
    groups.finance = ["slack:S1"]
    [[allowances]]
    of = "each person"
    money = 0.5
    [[allowances]]
    of = "together"
    who = ["finance", "guests", "slack:U1"]
    where = ["slack:T1"]
    per = "month"
    tokens = 200_000
    turns = 50
    [prices]
    container = 0.04
    [prices.models."my-model"]
    input = 0.10
    output = 1
    [prices.quick_commands]
    "*" = 0.02
    fix-java = 0.10
    """
    config = read(tmp_path, text)
    who, where = frozenset({"finance", "guests", "slack:U1"}), frozenset({"slack:T1"})
    assert config.turn_allowances == (
        Allowance("each person", money=NANODOLLARS_PER_DOLLAR // 2, source="ponte.toml:3"),
        Allowance("together", "month", None, 200_000, 50, who, where, "ponte.toml:6"),
    )
    prices = config.price_list
    assert prices.find("my-model") == Price(0.1, 0.1, 0.1, 1.0)
    assert prices.find("gpt-6-luna") is not None
    payments = (
        PaidRun("container"),
        PaidRun("quick_commands", "fix-java"),
        PaidRun("quick_commands", "x"),
        PaidRun("agents", "x"),
    )
    assert [prices.run_cost(each) for each in payments] == [0.04, 0.10, 0.02, None]


def test_what_is_written_about_schedules(tmp_path: Path) -> None:
    config = read(tmp_path, "[schedules]\nshortest_minutes = 5\nper_person = 3")
    assert LiveConfig(config).section("schedules") == SchedulesConfig(5, 3)
    assert LiveConfig(read(tmp_path, "")).section("schedules") == SchedulesConfig()
    assert refusal(tmp_path, "[schedules]\nshortest_minutes = 0") == [
        "ponte.toml:2: 'shortest_minutes': write a number that is at least 1."
    ]


def test_prices_follow_the_file_for_whoever_holds_them(tmp_path: Path) -> None:
    live = LiveConfig(read(tmp_path, "[prices]\ncontainer = 1"), has_official_prices=False)
    live.current = read(tmp_path, "[prices]\ncontainer = 2")
    assert (live.price_list.container, live.price_list.official) == (2, False)


def test_a_place_may_allow_to_decide_there(tmp_path: Path) -> None:
    """It gives the right to nobody: it leaves it to those who have it."""
    text = '[channels."slack:T1:C1"]\nallow = ["chat", "approve:Orders", "administer"]'
    allow = read(tmp_path, text).channel(Address("slack", "C1", "T1")).allow
    assert allow == ("chat", "approve:Orders", "administer")


def test_places_may_be_named_where_nobody_decides(tmp_path: Path) -> None:
    text = (
        '[groups]\nshop = ["slack:C1", "slack:T1"]\n[[rules]]\nwho = ["shop", "slack:T1"]\n'
        'allow = ["read"]\ndeny = ["approve"]'
    )
    assert read(tmp_path, text).rule_book.rules[0].allow == ("read",)


async def test_a_reload_in_one_process_reaches_the_others(tmp_path: Path) -> None:
    """Each reads its own file, and one with errors changes nothing."""
    audit = cast("Audit", SimpleNamespace(note=lambda *_, **__: None))
    live, reloaders = [], []
    for number, peers in enumerate(ConnectedPeers.make(3)):
        file = tmp_path / f"{number}.toml"
        live.append(LiveConfig(Config()))
        settings = Settings(ponte_config=file, ponte_home=tmp_path)
        reloaders.append(Reloader(settings, live[-1], audit, peers))
        file.write_text("[limits]\ntool_calls = 7\n" if number < 2 else "[limits]\nwhat = 7\n")
    before = live[2].current
    await reloaders[0].reload_everywhere(OPERATOR)
    assert [one.current.limits.tool_calls for one in live[:2]] == [7, 7]
    assert live[2].current is before
