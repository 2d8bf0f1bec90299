"""Once something from outside is in a thread, people still read what was written there.

Only links that nobody allowed are changed, and only where the surface would make them links. A pipe
gets plain text: the marks of Markdown are left out, and nothing else.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from adapters.terminal import chat
from core.base import text as text_module
from core.turn.run import LinkRules, TurnConfig
from tests.dialogues.bot_home import BotHome
from tests.dialogues.test_links import Author, Source, ask_for_tool_text
from tests.dialogues.whole import whole
from tests.fakes.keyboard import Keyboard
from tests.fakes.openai import FakeOpenAI, Script

EVIL = "https://evil.test/?q=secret"
NAMES = "Write to c01@example.com about report.csv, see ponte.toml."
JSON = '{"email": "c01@example.com", "file": "report.csv", "at": [1.5, {"a.b": "c:d"}]}'
CODE = "Run `df.to_csv('report.csv')` or:\n\n```python\nos.path.join(a.b, 'c.d')  # https://evil.test\n```"
ESCAPED = r'{"pattern": "a*b*c", "text": "say \"hi\" to C:\\data"}'
"""JSON whose backslashes and stars would be marks of Markdown."""
UNCLOSED = "```python\npython"
LINKED = f'{{"url":"{EVIL}","mail":"c01@example.com"}} and `[x]({EVIL})`'
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


async def run_terminal(home: Path, asked: io.StringIO, out: io.StringIO, code: int = 0) -> str:
    assert await chat.chat(home / "ponte.sock", asked, out, home.parent / "saved") == code
    return out.getvalue()


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    path = tmp_path / "orders.csv"
    path.write_text("id,mail\n1,c01@example.com\n")
    return path


async def test_a_pipe_gets_all_that_the_model_wrote(
    tmp_path: Path, fake: FakeOpenAI, orders: Path
) -> None:
    texts = {
        **{text: text for text in (NAMES, JSON, ESCAPED, UNCLOSED)},
        CODE: CODE.replace("`df.to_csv('report.csv')`", "df.to_csv('report.csv')"),
        LINKED: LINKED.replace("`", ""),
        f"see {EVIL} and [x]({EVIL})": f"see {EVIL} and x ({EVIL})",
        f'**See** [x]({EVIL} "a title")': f'See x ({EVIL} "a title")',
        f"[it][1]\n\n[1]: {EVIL}": f"it ({EVIL})\n\n[1]: {EVIL}",
        f"![a *chart*]({EVIL}) and <{EVIL}>": f"a *chart* ({EVIL}) and {EVIL}",
        r"~~R\$ 100~~ **R\$ 90**": "~~R$ 100~~ R$ 90",
        "| `a` | **b** |\n| --- | --- |\n| 1 | 2 |": "| a | b |\n| --- | --- |\n| 1 | 2 |",
    }
    async with whole(tmp_path / "home", fake, ponte_code="off"):
        for text, plain in texts.items():
            fake.say(text, text)
            output = io.StringIO(f"look @{orders}\nand again\n")
            out = await run_terminal(tmp_path / "home", output, io.StringIO())
            assert out == f"{plain}\n{plain}\n"


async def test_a_terminal_breaks_the_address_that_it_would_link(
    tmp_path: Path, fake: FakeOpenAI, orders: Path
) -> None:
    fake.say(f"{NAMES}\n\n{JSON}\n\n{CODE}", LINKED)
    async with whole(tmp_path / "home", fake, ponte_code="off"):
        output = io.StringIO(f"look @{orders}\nand again\n")
        out = await run_terminal(tmp_path / "home", output, Tty())
    text = _ANSI.sub("", out)
    for words in (NAMES, JSON, "df.to_csv('report.csv')", "os.path.join(a.b, 'c.d')"):
        assert words in text
    assert '"url":"https[:]//evil[.]test/?q=secret","mail":"c01@example.com"}' in text
    assert EVIL not in text


async def test_ponte_s_own_address_and_file_stay_in_status_and_errors(
    tmp_path: Path, fake: FakeOpenAI, orders: Path
) -> None:
    fake.say("Seen.", Script(status=401))
    async with whole(tmp_path / "home", fake, ponte_code="off") as ponte:
        page = ponte.app.links()[0]
        keyboard, piped = Keyboard(f"look @{orders}\nstatus\nusage\n"), io.StringIO("look\n")
        view = await run_terminal(tmp_path / "home", keyboard, io.StringIO())
        assert page in view
        failure = await run_terminal(tmp_path / "home", piped, Tty(), 1)
        for text in (view, failure):
            assert fake.base_url in text or "openai" not in text
            assert "[.]" not in text
            assert "[:]" not in text
        texts = (await ponte.ask("status"))["response"]
        assert page in texts
        assert f"`{page}`" not in texts, "it stays a link"


async def test_ponte_s_own_file_is_named_in_errors_of_every_surface(bot_home: BotHome) -> None:
    """`No price …, write it into ponte.toml` is said as it is, also to who read a table."""
    profile = TurnConfig(
        links=LinkRules(own_addresses=frozenset({"ponte.toml", "http://127.0.0.1:8080"}))
    )
    text = "ponte.toml (see http://127.0.0.1:8080), not toml.evil.test or http://127.0.0.1:8080/x"
    async with bot_home.open(Author(text), [Source()], profile=profile) as ponte:
        await ask_for_tool_text(ponte)
        answer = await ponte.ask("go on")
    assert answer.text == (
        "ponte.toml (see http://127.0.0.1:8080), not `toml.evil.test` or `http://127.0.0.1:8080/x`"
    )


@pytest.mark.parametrize("surface", ["slack", "discord"])
async def test_each_surface_changes_what_it_links(bot_home: BotHome, surface: str) -> None:
    text = f"c01@evil.test, report.csv, `[x]({EVIL})` and {EVIL}"
    schemes = frozenset({"web"}) if surface == "discord" else frozenset[str]()
    # The platform of `bot_home` is the page.
    profile = TurnConfig(links=LinkRules(with_scheme=schemes))
    async with bot_home.open(Author(text), [Source()], profile=profile) as ponte:
        await ask_for_tool_text(ponte)
        answer = await ponte.ask("go on")
    names = "c01@evil.test, report.csv" if surface == "discord" else "`c01@evil.test`, `report.csv`"
    assert answer.text == f"{names}, `[x]({EVIL})` and `{EVIL}`"


async def test_a_long_answer_is_cleaned_once_as_it_grows(
    bot_home: BotHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted on the way that an answer takes: characters handed to `clean` while it streams."""
    read = 0
    clean = text_module.clean_text

    def clean_and_count(said: str) -> str:
        nonlocal read
        read += len(said)
        return clean(said)

    monkeypatch.setattr(text_module, "clean_text", clean_and_count)
    reads = []
    author = Author()
    async with bot_home.open(author, [Source()]) as ponte:
        await ask_for_tool_text(ponte)
        for lines in (100, 200):
            author.text, read = "Ça va, né? Aussi là.\n\n" * lines, 0
            await ponte.ask("go on")
            reads.append(read)
    assert reads[1] < 2.4 * reads[0]
    assert reads[1] < 10 * len(author.text)
