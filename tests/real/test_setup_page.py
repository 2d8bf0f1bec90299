"""The setup page with a real NocoDB and a real llama.cpp server: checked, chosen, saved."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.home import Home
from bot.setup.stored import StoredSettings
from tests.real.llama import server
from tests.real.nocodb.seed import Seeded
from tests.web.test_admin import Desk, open_desk
from tests.web.test_setup_page import draft_of, notices, send

pytestmark = pytest.mark.slow


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path / "home") as desk:
        yield desk


def list_options(page: str, setting: str) -> list[str]:
    """The values that can be chosen for a setting."""
    own = page.partition(f'"value-{setting}"')[2].partition("</label>")[0]
    return [html.unescape(one) for one in re.findall(r'<option value="([^"]*)"', own)]


async def check_secrets_are_nowhere(desk: Desk, *secrets: str) -> None:
    pages = [await desk["owner"].get(path) for path in ("/admin/setup", "/metrics", "/admin/audit")]
    for secret in secrets:
        assert all(secret not in page.text for page in pages)


async def test_a_real_nocodb_is_checked_chosen_and_saved(desk: Desk, real_nocodb: Seeded) -> None:
    fields = {
        "card": "nocodb",
        "value-nocodb_url": f"{real_nocodb.url}/",
        "value-nocodb_token": "wrong" * 8,
    }
    page = await send(desk, "check", **fields)
    assert "wrongwrong" not in page.text
    assert "NocoDB responds" not in notices(page)
    fields["value-nocodb_token"] = real_nocodb.token
    page = await send(desk, "check", **fields)
    bases = list_options(page.text, "nocodb_base_id")
    assert {"CRM", "Archive"} <= {*bases}, notices(page)
    draft = draft_of(page, "nocodb")
    fields |= {"value-nocodb_token": "", "value-nocodb_base_id": "CRM", "draft": draft}
    page = await send(desk, "check", **fields)
    assert "base CRM" in notices(page)
    fields["draft"] = draft_of(page, "nocodb")
    await send(desk, "save", **fields)
    stored = StoredSettings(Home(desk.team.home)).read()
    assert (stored["NOCODB_TOKEN"], stored["NOCODB_BASE_ID"]) == (
        real_nocodb.token,
        "CRM",
    )
    await check_secrets_are_nowhere(desk, real_nocodb.token)


async def test_a_real_llama_cpp_is_checked_and_saved(desk: Desk, tmp_path: Path) -> None:
    if why := server.missing():
        pytest.skip(why)
    with server.llama(tmp_path) as origin:
        fields = {
            "card": "model",
            "value-openai_base_url": f"{origin}/v1",
            "value-openai_api_key": "sk-wrong-wrong-wrong",
        }
        page = await send(desk, "check", **fields)
        assert "rejected “API key”" in notices(page)
        fields["value-openai_api_key"] = server.KEY
        page = await send(desk, "check", **fields)
        assert "its context of 256 tokens" in notices(page)
        # The name of OpenAI's model is no choice there, so the only one is chosen.
        assert '<option value="smollm2" selected>' in page.text
        await send(desk, "save", **fields)
    stored = StoredSettings(Home(desk.team.home)).read()
    assert stored == {"OPENAI_API_KEY": server.KEY, "OPENAI_BASE_URL": f"{origin}/v1"}
    await check_secrets_are_nowhere(desk, "sk-wrong-wrong-wrong")
