"""Run the examples in docs/guides/scripts.md; docs/reference/http.md names each path."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from core.domain.messages import Answer
from tests.fakes.web_surfaces import all_routes
from tests.web.web_ponte import Turn, WebPonte

_DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (_DOCS / "reference" / "http.md").read_text("utf-8")
GUIDE = (_DOCS / "guides" / "scripts.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Language and text of each that asks what is under /v1/."""
    chapter = GUIDE.partition("## Clients of OpenAI's API")[2]
    return [(matche[1], matche[2]) for matche in _BLOCK.finditer(chapter)]


async def ran(ponte: WebPonte, *command: str) -> str:
    address = f"{ponte.web.address}/v1"
    parameters = {
        "OPENAI_BASE_URL": address,
        "OPENAI_API_KEY": ponte.people.add_api_token("owner"),
        "PATH": os.environ["PATH"],
    }
    process = await asyncio.create_subprocess_exec(
        *command, env=parameters, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, trouble = await process.communicate()
    assert (process.returncode, trouble.decode()) == (0, "")
    return out.decode()


@pytest.mark.slow
async def test_the_examples_do_what_they_say() -> None:
    async def speaks(turn: Turn) -> Answer:
        await turn.show("You ")
        return Answer(f"You said: {turn.message.text}")

    ponte = WebPonte(speaks)
    await ponte.open()
    try:
        (_, export), (_, package), (_, curl) = examples()
        assert export.startswith("export OPENAI_BASE_URL=http://127.0.0.1:8080/v1 ")
        result = await ran(ponte, sys.executable, "-c", package)
        assert result == "You said: list tables\nYou said: What is my cat called? 0\n"
        result = await ran(ponte, "sh", "-ec", curl)
        assert '"content":"You said: list tables"' in result
        assert result.endswith("data: [DONE]\n\n")
        messages = [row.message for row in ponte.rows.values()]
        assert [one.text for one in messages].count("list tables") == 3
        assert [one.address.channel for one in messages].count("work") == 3
    finally:
        await ponte.close()


def test_every_path_is_named() -> None:
    """Except those that only the page and the command line use."""
    names = {route.path for route in all_routes() if "text/html" not in route.declaration.media}
    names = {path for path in names if not path.startswith(("/page/", "/operator/"))}
    missing = [path for path in names if path.replace(":path", "") not in REFERENCE]
    assert not missing
