"""The guide for people who chat, on the page without a token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapters.web.page.routes import PAGE_FOLDER
from bot.settings import Settings
from tests.web.test_admin import open_desk

ROOT = Path(__file__).parents[2]
TITLES = {"en": "Chat with Ponte", "pt-BR": "Conversar com o Ponte", "fr": "Discuter avec Ponte"}


@pytest.mark.parametrize("locale", TITLES)
async def test_everybody_reads_it_in_their_language(tmp_path: Path, locale: str) -> None:
    guide = PAGE_FOLDER / f"guide.{locale}.md"
    assert guide.resolve() == ROOT / "docs" / "chat" / f"{locale}.md"
    async with open_desk(tmp_path / "home") as desk:
        accepted = {"Accept-Language": locale}
        for path, headers in (("/guide", accepted), (f"/guide?locale={locale}", {})):
            page = await desk["stranger"].get(path, headers=headers)
            assert page.status_code == 200
            assert f"<h1>{TITLES[locale]}</h1>" in page.text
            assert f'<html lang="{locale}">' in page.text
            assert "<script" not in page.text
            assert page.headers["content-security-policy"].startswith("default-src 'none'; style-")
        others = re.findall(r'href="/guide\?locale=([^"]+)"', page.text)
        assert sorted([locale, *others]) == sorted(TITLES)


@pytest.mark.parametrize("page", ["on", "off"])
def test_its_address_is_the_public_one_of_the_page(page: str) -> None:
    public = {
        "ponte_web_url": "https://ponte.example.com",
        "ponte_web_token": "0123456789abcdefg" * 2,
    }
    assert Settings.model_validate({"ponte_web": page}).guide_url == ""
    url = Settings.model_validate({"ponte_web": page, **public}).guide_url
    assert url == ("https://ponte.example.com/guide" if page == "on" else "")
