"""Names in ponte.toml that nothing goes by are told, with the nearest that there is."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
import structlog

from bot.config.ponte_toml import Config, LiveConfig, read_config
from bot.config.reload import Reloader, misspelt_names
from bot.doctor.safety import list_findings
from bot.home import Home
from bot.integrations import FACES
from bot.logs import set_up_logging
from bot.settings import Settings
from core.base.errors import SettingsError
from core.base.http import HttpClient
from core.domain.ports import ToolSource
from core.domain.rights import Viewer
from core.imports.tools import ImportSource
from core.integrations import ToolIntegration
from core.journal.jobs import Alone
from core.people.audit import Audit
from core.tools.code.source import CodeSource
from core.tools.nocodb.bridge import BridgeSource
from core.tools.nocodb.source import NocoSource
from core.tools.sample import open_sample_base
from core.tools.sample.base import SampleSource
from core.tools.stackspot import StackSpot
from core.tools.stackspot.source import StackSpotSource
from tests.bot.conftest import RunningPonte, Shell
from tests.dialogues.office import office
from tests.fakes.code import FakeBackend
from tests.fakes.config import FixedConfig
from tests.fakes.quick_commands import RegisteredCommands

FILE = """
[quick_commands.fix-java]
[agents.reviewer]
id = "01JAGENT"

[tools.nocodb_delte]
approvers = ["slack:U1"]

[tools.nocodb_update]
approvers = ["slack:U1"]

[[rules]]
who = ["members"]
allow = ["agent:reviewr"]
deny = ["tool:run_pyton", "command:fix-jva", "tool:nocodb_*", "tool:xyz_*", "model:any", "read:Any"]

[channels.slack]
allow = ["chat", "command:Fix-Java", "command:other"]

[prices.quick_commands]
fix_java = 0.1
"*" = 0.2
"""
TOLD = [
    "ponte.toml:6: tool nocodb_delte not found, so this line has no effect. Did you mean "
    "nocodb_delete?",
    "ponte.toml:14: agent reviewr not found, so this line has no effect. Did you mean reviewer?",
    "ponte.toml:15: tool run_pyton not found, so this line has no effect. Did you mean run_python?",
    "ponte.toml:15: command fix-jva not found, so this line has no effect. Did you mean fix-java?",
    "ponte.toml:15: tool xyz_* not found, so this line has no effect",
    "ponte.toml:18: command other not found, so this line has no effect",
    "ponte.toml:21: command fix_java not found, so this line has no effect. Did you mean fix-java?",
]


def find_misspelt_names(folder: Path, text: str, **given: str) -> Sequence[str]:
    path = folder / "ponte.toml"
    path.write_text(text)
    settings = Settings.model_validate({"ponte_home": folder / "home", **given})
    return misspelt_names(read_config(path), settings)


def test_each_name_is_told_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    assert find_misspelt_names(tmp_path, FILE) == TOLD


HOOK = """
[groups]
crew = []
[hooks.x]
kind = "{kind}"
secret = "HOOK_OF_TESTS"
post_to = "slack:T1:C1"
as = "crew"
template = "t"
"""


def test_without_a_registry_any_command_may_be_named(tmp_path: Path) -> None:
    rule = '[[rules]]\nallow = ["spend", "command:deploy"]\n[prices.quick_commands]\ndeploy = 0.1\n'
    assert find_misspelt_names(tmp_path, rule) == []
    registry = '[quick_commands.summary]\ntitle = "x"\n'
    assert len(find_misspelt_names(tmp_path, rule + registry)) == 2


def test_a_webhook_that_cannot_work_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = {"slack_bot_token": "xoxb-1", "slack_app_token": "xapp-1"}
    off = "ponte.toml:4: slack is off, so the webhook x can't post"
    unset = "ponte.toml:4: HOOK_OF_TESTS isn't set, so the webhook x rejects every request. Set it."
    assert find_misspelt_names(tmp_path, HOOK.format(kind="github")) == [unset, off]
    monkeypatch.setenv("HOOK_OF_TESTS", "a secret that is long")
    assert find_misspelt_names(tmp_path, HOOK.format(kind="github"), **on) == []


def test_a_template_that_never_fills_and_the_risk_of_repeats_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_OF_TESTS", "a secret that is long")
    on = {"slack_bot_token": "xoxb-1", "slack_app_token": "xapp-1"}

    def find_faults(kind: str, template: str, more: str = "") -> Sequence[str]:
        text = HOOK.format(kind=kind).replace('"t"', f'"{template}"') + more
        return find_misspelt_names(tmp_path, text, **on)

    assert find_faults("secret", "{data.rows.0.Unit Price} {Preço}") == []
    assert find_faults("secret", "{rows[0].Name} {{a}}") == [
        f"ponte.toml:4: no request can fill {part} in the template of the webhook x"
        for part in ("{rows[0].Name}", "{", "}")
    ]
    (risk,) = find_faults("secret", "t", 'repeats_after = "1h"\n')
    assert risk.endswith("can send it again after the time set in `repeats_after`.")
    (none,) = find_faults("github", "t", 'repeats_after = "30m"\n')
    assert "`repeats_after` has no effect for the webhook x, because each delivery" in none


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("abc-123", "github", "HOOK_OF_TESTS is too short."),
        ("a secret that is long", "standard", "HOOK_OF_TESTS isn't valid base64"),
    ],
)
def test_a_secret_that_protects_nothing_is_refused_with_its_line(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch, value: str, kind: str, words: str
) -> None:
    Path("ponte.toml").write_text(HOOK.format(kind=kind))
    monkeypatch.setenv("HOOK_OF_TESTS", value)
    result = ponte("doctor")
    assert result.code == 2
    assert result.err.startswith(f"ponte.toml:4: {words}")
    assert value not in result.err


MCP_SERVER = """[mcp.crm]
url = "https://crm.test/mcp"
token = "HOOK_OF_TESTS"
tools.find.effect = "read"
"""
PROVIDER = """[sign_in.acme]
issuer = "https://acme.test"
client_id = "x"
secret = "HOOK_OF_TESTS"
domains = ["acme.test"]
"""


@pytest.mark.parametrize("text", [HOOK.format(kind="secret"), MCP_SERVER, PROVIDER])
def test_a_secret_that_no_header_can_hold_is_refused(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """As a page shows it, shortened by dots."""
    Path("ponte.toml").write_text(text)
    monkeypatch.setenv("HOOK_OF_TESTS", "sk-abc-abc-abc-abc…xyz")
    assert ponte("doctor").code == 2
    assert (
        "HOOK_OF_TESTS: it contains '…', which can't be part of a key; enter the whole key"
        in ponte.err
    )
    assert "abc" not in ponte.err


def test_spaces_and_line_breaks_around_a_secret_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOOK_OF_TESTS", " sk-abc\r\n")
    assert Settings().variable("HOOK_OF_TESTS") == "sk-abc"


def test_secrets_of_webhooks_are_masked_in_logs(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("ponte.toml").write_text(HOOK.format(kind="github"))
    monkeypatch.setenv("HOOK_OF_TESTS", "a secret that is long")
    ponte("policy", "check", "--person", "slack:U1")
    log = io.StringIO()
    set_up_logging(Settings(), stream=log)
    structlog.get_logger("x").warning("it was a secret that is long")
    assert "it was [secret]" in log.getvalue()


def test_a_reload_refuses_such_a_secret_and_keeps_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ponte.toml"
    file.write_text(HOOK.format(kind="github"))
    monkeypatch.setenv("HOOK_OF_TESTS", "abc-123")
    settings = Settings(ponte_config=file)
    live = LiveConfig(Config())
    reloader = Reloader(settings, live, cast(Audit, None), Alone())
    before = live.current
    with pytest.raises(SettingsError, match="HOOK_OF_TESTS is too short"):
        reloader.reload()
    assert live.current is before
    assert "HOOK_OF_TESTS is too short" in str(reloader.check().faults)


@pytest.mark.parametrize(
    ("url", "tool", "words"),
    [
        ("https://n.test", "nocodb_update", []),
        ("https://n.test", "nocodb_execute", ["tool nocodb_execute not found"]),
        ("https://n.test/execute", "nocodb_execute", []),
        ("https://n.test/execute", "nocodb_update", ["tool nocodb_update not found"]),
        ("", "nocodb_update", []),
        ("", "nocodb_execute", []),
    ],
)
def test_the_tools_are_those_of_the_nocodb_that_is_set(
    tmp_path: Path, url: str, tool: str, words: list[str]
) -> None:
    settings = {"nocodb_url": url, "nocodb_token": "t"} if url else {}
    match = find_misspelt_names(tmp_path, f"[tools.{tool}]\napprovals = 2\n", **settings)
    assert len(match) == len(words)
    assert all(word in line for word, line in zip(words, match, strict=True))


def test_the_doctor_fails_for_them(tmp_path: Path) -> None:
    path = tmp_path / "ponte.toml"
    path.write_text(FILE)
    settings = Settings.model_validate({"ponte_home": tmp_path / "home"})
    findings = list_findings(settings, read_config(path), Home(tmp_path / "home"))
    unsafe = [one.words for one in findings if one.level == "unsafe" and one.topic == "rights"]
    assert unsafe == TOLD


def test_policy_check_names_them_beside_its_answer(ponte: Shell) -> None:
    Path("ponte.toml").write_text(FILE)
    ponte("policy", "check", "--person", "slack:U1", "--json")
    assert ponte.code == 1
    assert json.loads(ponte.out)
    assert ponte.err.splitlines() == [*TOLD, "Not checked: Any"]


async def test_a_reload_names_them_and_keeps_the_rules(
    running_ponte: RunningPonte, tmp_path: Path
) -> None:
    (tmp_path / "ponte.toml").write_text(FILE)
    code, errors = await running_ponte.fail("reload")
    kept = (
        "ponte.toml wasn't applied, so the previous rules stay in force. Correct these names, then "
        "run `ponte reload`:"
    )
    unknown_table = "ponte.toml:15: table Any not found, so this line has no effect"
    assert (code, errors.splitlines()) == (1, [kept, *TOLD, unknown_table])


async def test_policy_check_asks_a_running_ponte_for_names(
    running_ponte: RunningPonte, tmp_path: Path
) -> None:
    (tmp_path / "ponte.toml").write_text('[groups]\nteam = ["web:owner", "web:nobody"]\n')
    code, _, errors = await running_ponte.check("policy", "check", "--person", "web")
    assert code == 1
    assert "ponte.toml:2: person web:nobody not found" in errors
    assert "web:owner" not in errors
    assert "Not checked" not in errors


async def test_a_reload_looks_up_fields_for_cards(
    running_ponte: RunningPonte, tmp_path: Path
) -> None:
    (tmp_path / "ponte.toml").write_text('[tables.Invoices]\ncard_fields = ["Amonut", "Issued"]\n')
    code, errors = await running_ponte.fail("reload")
    assert code == 1
    assert errors.splitlines()[1:] == [
        "ponte.toml:2: field Amonut not found in this table, so cards don't show it. "
        "Did you mean Amount?"
    ]


def test_a_reload_logs_them(tmp_path: Path) -> None:
    file = tmp_path / "ponte.toml"
    file.write_text(FILE)
    settings = Settings(ponte_config=file, ponte_home=tmp_path)
    reloader = Reloader(settings, LiveConfig(Config()), cast(Audit, None), Alone())
    with structlog.testing.capture_logs() as events:
        reloader.reload()
    event = "config contains unknown names"
    assert [line["problems"] for line in events if line["event"] == event] == [TOLD]


async def test_the_names_are_those_of_the_tools_that_are_offered(tmp_path: Path) -> None:
    async with HttpClient() as http:
        stackspot = StackSpot("id", "secret", http=http)
        config = FixedConfig(known_agents={"reviewer": ("01JAGENT", "", "")})
        nocodb = NocoSource("http://127.0.0.1:1", "t", http, pauses=())
        sample = SampleSource(open_sample_base(tmp_path, "UTC"), "Shop")
        offers: dict[str, Sequence[ToolSource]] = {
            "nocodb": [
                nocodb,
                ImportSource(nocodb),
                BridgeSource("http://127.0.0.1:1/execute", "t", http, pauses=()),
            ],
            "sample": [sample, ImportSource(sample)],
            "stackspot": [StackSpotSource(stackspot, RegisteredCommands(), config)],
            "code": [CodeSource(FakeBackend())],
            "mcp_tools": [],  # ponte.toml names them
        }
        for face in FACES:
            if isinstance(face, ToolIntegration):
                tools = [
                    tool for source in offers[face.name] for tool in await source.tools(Viewer())
                ]
                settings = Settings.model_validate({})
                rules = face.rule_names(settings, Config())["tool"]
                assert sorted(rules or ()) == sorted(tool.spec.name for tool in tools), (
                    f"`rule_names` of {face.name} names the tools that rules may name"
                )
        await stackspot.close()


def test_the_tools_of_chat_platforms_are_known(tmp_path: Path) -> None:
    text = (
        '[[rules]]\ndeny = ["tool:post_message", "tool:read_messages", "tool:schedule_propose"]\n'
    )
    assert find_misspelt_names(tmp_path, f"{text}[tools.post_message]\napprovals = 2") == []


async def test_each_tool_of_a_running_ponte_can_be_named(tmp_path: Path) -> None:
    """Otherwise a reload would refuse a rule that has an effect."""
    async with office(tmp_path / "home") as team, team.open() as app:
        names = {spec.name for spec in await app.engine.assistant.toolbox.list_specs()}
    assert {"saved_question", "ask_person", "post_message"} <= names
    rights = ", ".join(f'"tool:{name}"' for name in names)
    assert find_misspelt_names(tmp_path, f"[[rules]]\ndeny = [{rights}]\n") == []
