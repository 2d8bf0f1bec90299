"""The guide for people who chat, on the page without a token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapters.web.page.routes import PAGE_FOLDER
from bot.settings import Settings
from tests.web.web_ponte import WebPonte

ROOT = Path(__file__).parents[2]
TITLES = {"en": "Chat with Ponte", "pt-BR": "Conversar com o Ponte", "fr": "Discuter avec Ponte"}


async def test_everybody_reads_it_in_their_language_and_its_links_lead_to_pages(
    ponte: WebPonte,
) -> None:
    async with ponte.stranger() as stranger:
        for locale, title in TITLES.items():
            guide = PAGE_FOLDER / f"guide.{locale}.md"
            assert guide.resolve() == ROOT / "docs" / "chat" / f"{locale}.md"
            receipt = {"Accept-Language": locale}
            for path, headers in (("/guide", receipt), (f"/guide?locale={locale}", {})):
                page = await stranger.get(path, headers=headers)
                assert page.status_code == 200
                assert f"<h1>{title}</h1>" in page.text
                assert f'<html lang="{locale}">' in page.text
                assert "<script" not in page.text
                policy = page.headers["content-security-policy"]
                assert policy.startswith("default-src 'none'; style-")
            links = re.findall(r'<a href="([^"]*)"', page.text)
            others = [link.partition("locale=")[2] for link in links if "?locale=" in link]
            assert sorted([locale, *others]) == sorted(TITLES)
            assert "/guide?page=privacy" in links
            assert [one for one in links if one != "/" and not one.startswith("/guide?")] == []
        privacy = await stranger.get("/guide?page=privacy")
    assert "<h1>Privacy</h1>" in privacy.text
    assert "<code>ponte person export KEY</code>" in privacy.text
    links = re.findall(r'<a href="([^"]*)"', privacy.text)
    assert [one for one in links if one != "/" and not one.startswith("/guide?")] == []
    assert "](" not in privacy.text


async def test_it_leads_back_to_the_conversation_in_which_it_was_opened(ponte: WebPonte) -> None:
    async with ponte.stranger() as stranger:
        page = await stranger.get("/guide?conversation=abc-1&locale=en")
        assert '<a href="/#abc-1">Back to the conversation</a>' in page.text
        assert "/guide?conversation=abc-1&amp;page=privacy" in page.text
        page = await stranger.get("/guide?conversation=")
        assert '<a href="/#">' in page.text
        for query in ("", "?conversation=a)b", f"?conversation={'a' * 65}"):
            page = await stranger.get(f"/guide{query}")
            assert ("/#" in page.text, page.status_code) == (False, 200)


@pytest.mark.parametrize("page", ["on", "off"])
def test_its_address_is_the_public_one_of_the_page(page: str) -> None:
    public = {
        "ponte_web_url": "https://ponte.example.com",
        "ponte_web_token": "0123456789abcdefg" * 2,
    }
    assert Settings.model_validate({"ponte_web": page}).guide_url == ""
    url = Settings.model_validate({"ponte_web": page, **public}).guide_url
    assert url == ("https://ponte.example.com/guide" if page == "on" else "")
