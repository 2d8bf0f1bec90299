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


async def test_every_link_of_it_leads_to_a_page(tmp_path: Path) -> None:
    async with open_desk(tmp_path / "home") as desk:
        for locale in TITLES:
            page = await desk["stranger"].get(f"/guide?locale={locale}")
            links = re.findall(r'<a href="([^"]*)"', page.text)
            assert "/guide?page=privacy" in links
            for link in links:
                assert link == "/" or link.startswith("/guide?"), link
        privacy = await desk["stranger"].get("/guide?page=privacy")
        assert "<h1>Privacy</h1>" in privacy.text
        assert "<code>ponte person export KEY</code>" in privacy.text
        for link in re.findall(r'<a href="([^"]*)"', privacy.text):
            assert link == "/" or link.startswith("/guide?"), link
        assert "](" not in privacy.text


@pytest.mark.parametrize("page", ["on", "off"])
def test_its_address_is_the_public_one_of_the_page(page: str) -> None:
    public = {
        "ponte_web_url": "https://ponte.example.com",
        "ponte_web_token": "0123456789abcdefg" * 2,
    }
    assert Settings.model_validate({"ponte_web": page}).guide_url == ""
    url = Settings.model_validate({"ponte_web": page, **public}).guide_url
    assert url == ("https://ponte.example.com/guide" if page == "on" else "")
