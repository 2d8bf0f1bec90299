"""The programs that the guides show run against the doubles of their services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from core.tools.stackspot.api import StackSpotUrls
from tests.docs.test_documents import blocks
from tests.fakes.openai import FakeOpenAI, Script
from tests.fakes.openai.script import Run as CodeRun
from tests.fakes.stackspot import FakeStackSpot, Look, Run
from tests.fakes.stackspot.state import CLIENT, REALM, SECRET


async def run_program(document: str, replaced: Mapping[str, str]) -> None:
    """Run the only program of a guide, with the names and addresses of a double."""
    (text,) = (one.text for one in blocks() if (one.document, one.language) == (document, "python"))
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    program, asks, rest = text.partition("asyncio.run(main())\n")
    assert (asks, rest) == ("asyncio.run(main())\n", ""), "it runs when it is started"
    names: dict[str, Any] = {}
    exec(compile(program, document, "exec"), names)
    await names["main"]()


async def test_the_interpreter_prints_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    async with FakeOpenAI() as fake:
        fake.runs(Script(text="42", runs=(CodeRun(),)))
        key = 'os.environ["OPENAI_API_KEY"]'
        await run_program("docs/guides/python.md", {key: f'{key}, "{fake.base_url}"'})
        assert fake.containers.all == {}
    assert "\n42\n()\n" in capsys.readouterr().out


async def test_the_client_of_stackspot_runs_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STACKSPOT_CLIENT_SECRET", SECRET)
    async with FakeStackSpot() as fake:
        fake.go(Run((Look("COMPLETED", 1.0),), result="It adds."))
        urls = StackSpotUrls(fake.url, fake.url, fake.url)
        imports = "import os\n"
        replacement = {
            '"your-client-id"': f'"{CLIENT}"',
            '"my-company"': f'"{REALM}", urls={urls!r}',
            imports: f"{imports}from core.tools.stackspot.api import StackSpotUrls\n",
        }
        await run_program("docs/guides/stackspot.md", replacement)
        assert fake.refused == []
    assert capsys.readouterr().out == "It adds.\n"
