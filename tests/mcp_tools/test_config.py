"""The sections `[mcp.NAME]` of ponte.toml."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.config.ponte_toml import read_config
from bot.config.reload import check_secrets, misspelt_names
from bot.settings import Settings
from core.base.errors import SettingsError
from core.money.usage import PaidRun

GOOD = '[mcp.desk]\nurl = "https://mcp.example.com/mcp"\n'


def read(folder: Path, text: str) -> Any:
    path = folder / "ponte.toml"
    path.write_text(text)
    return read_config(path)


def test_a_server_with_its_tools(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        GOOD + 'token = "DESK_TOKEN"\n[mcp.desk.tools]\n"a.b" = { effect = "read" }\n'
        'buy = { effect = "spend", price = 0.5 }\n',
    )
    server = config.section("mcp")["desk"].server("desk", lambda name: f"value of {name}")
    assert server.token == "value of DESK_TOKEN"
    assert server.effects == (("a.b", "read"), ("buy", "spend"))
    assert server.token not in repr(server)
    assert config.price_list.run_cost(PaidRun("mcp", "desk__buy")) == 0.5
    config.price_list.run_cost(PaidRun("mcp", "desk__a_b"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[mcp.desk]\nurl = "http://mcp.example.com/mcp"\n', "write https://"),
        ('[mcp.desk]\nurl = "http://93.184.216.34/mcp"\n', "write https://"),
        ('[mcp.desk]\nurl = "ftp://mcp.example.com"\n', "https://"),
        ('[mcp.desk]\nurl = "https://ana:secret@mcp.example.com"\n', "without a user name"),
        ('[mcp.Desk_1]\nurl = "https://mcp.example.com"\n', "lowercase letters"),
        (
            GOOD + 'command = "npx server"\n',
            "npm's supergateway or mcp-proxy: docs/guides/mcp-tools.md",
        ),
        ('[mcp.desk]\ncommand = "npx"\n', "only at a URL"),
        (GOOD + 'protocol = "2026-07-28"\n', "write one of '2025-06-18'"),
        (GOOD + 'tools = { a = { effect = "spend" } }\n', "price"),
        (GOOD + 'tools = { a = { effect = "read", price = 1.0 } }\n', "price"),
        (GOOD + 'tools = { a = { effect = "delete" } }\n', "write one of"),
        (GOOD + "tools = { a = { } }\n", "this key is missing"),
        (GOOD + 'tools = { a = { effect = "read", cost = 1 } }\n', "use one of effect, price"),
        (GOOD + 'tools = { "a b" = { effect = "read" } }\n', "the tool's name"),
        (
            GOOD + 'tools = { "a.b" = { effect = "read" }, "a/b" = { effect = "read" } }\n',
            "the same name",
        ),
        (
            GOOD + f'tools = {{ {"a" * 70}1 = {{ effect = "read" }}, '
            f'{"a" * 70}2 = {{ effect = "read" }} }}\n',
            "the same name",
        ),
    ],
)
def test_a_wrong_section_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, text)
    assert words in refused.value.words()
    assert "ponte.toml:" in refused.value.words()
    assert "secret" not in refused.value.words()


@pytest.mark.parametrize(
    "url", ["http://localhost:1/mcp", "http://mcp:8000/mcp", "http://10.0.0.7/mcp", "http://[::1]/"]
)
def test_a_server_in_the_own_network_needs_no_certificate(tmp_path: Path, url: str) -> None:
    assert read(tmp_path, f'[mcp.desk]\nurl = "{url}"\n').mcp["desk"].url == url


def test_without_the_package_a_sentence_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mcp" else find_spec(name)
    )
    settings = Settings.model_validate({"ponte_home": tmp_path})
    check_secrets(read(tmp_path, ""), settings)
    with pytest.raises(SettingsError) as refused:
        check_secrets(read(tmp_path, GOOD), settings)
    assert "ponte.toml:1: " in refused.value.words()
    assert "requirements/mcp.txt" in refused.value.words()


def test_no_server_gets_a_secret_of_another_service(tmp_path: Path) -> None:
    settings = Settings.model_validate({"ponte_home": tmp_path})
    with pytest.raises(SettingsError) as refused:
        check_secrets(read(tmp_path, GOOD + 'token = "OPENAI_API_KEY"\n'), settings)
    assert "OPENAI_API_KEY is one of Ponte's own settings" in refused.value.words()


def test_a_token_that_is_not_set_is_named(tmp_path: Path) -> None:
    settings = Settings.model_validate({"ponte_home": tmp_path})
    config = read(tmp_path, GOOD + 'token = "ABSENT_TOKEN"\n')
    (words,) = misspelt_names(config, settings)
    assert words.startswith("ponte.toml:1: ABSENT_TOKEN isn't set")


def test_without_a_server_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    import subprocess

    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from bot.compose import compose\n"
        "from bot.config.ponte_toml import Config\n"
        "from bot.home import Home\n"
        "from bot.settings import Settings\n"
        "async def main():\n"
        "    home = Home(Path(sys.argv[1]))\n"
        "    with home.take():\n"
        "        options = {'ponte_home': home.path, 'ponte_web_port': 0, 'ponte_code': 'off'}\n"
        "        app = await compose(Settings.model_validate(options), Config(), home)\n"
        "        await app.start()\n"
        "        await app.board.health()\n"
        "        await app.engine.assistant.toolbox.list_specs()\n"
        "        await app.stop()\n"
        "asyncio.run(main())\n"
        "names = ('mcp', 'mcp_types', 'core.tools.mcp.source', 'core.tools.mcp.session',\n"
        "         'core.tools.mcp.schema', 'jsonschema')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines()[-1] == "[]"
