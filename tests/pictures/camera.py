"""A drawing becomes a picture: HTML in the system's Chromium, with fonts of Debian's, as WebP."""

from __future__ import annotations

import base64
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from tests.pictures import discord, slack, terminal
from tests.web.page.browser import chromium

Json = dict[str, Any]
Draw = Callable[[Json, Mapping[str, str]], str]

HERE = Path(__file__).parent
SCALE = 2
"""Pixels for each of a page's own, so that a picture is sharp on every screen."""
QUALITY = 75
MARGIN = 12
FONTS = {
    "Lato": "fonts-lato",
    "Inter": "fonts-inter",
    "JetBrains Mono": "fonts-jetbrains-mono",
    "Noto Color Emoji": "fonts-noto-color-emoji",
}
FONT_CONFIG = """\
<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include>/etc/fonts/fonts.conf</include>
  <alias binding="strong"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
  <alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
  <alias binding="strong"><family>monospace</family>
    <prefer><family>JetBrains Mono</family></prefer></alias>
</fontconfig>
"""
DRAWN: Mapping[str, tuple[Draw, str]] = {
    "slack thread": (slack.thread, "slack"),
    "slack form": (slack.modal, "slack"),
    "slack home": (slack.home, "slack"),
    "discord talk": (discord.talk, "discord"),
    "discord form": (discord.form, "discord"),
    "terminal": (terminal.screen, "terminal"),
}
"""By a drawing's kind: what makes HTML of it, and the style sheet."""


def missing_fonts() -> list[str]:
    """The packages of those that are not installed."""
    result = subprocess.run(["fc-list", ":", "family"], capture_output=True, text=True, check=True)
    families = {name for line in result.stdout.splitlines() for name in line.split(",")}
    return [package for name, package in FONTS.items() if name not in families]


class Camera:
    """Takes pictures of pages of our own and of the real page. `develops` False: it only looks, as
    for a test, and every picture is empty."""

    def __init__(self, browser: Browser, develops: bool = True) -> None:
        self.browser = browser
        self.develops = develops

    async def draw(self, drawing: Json, files: Mapping[str, bytes]) -> bytes:
        if not self.develops:
            return b""
        images = {name: _data_url(data) for name, data in files.items()}
        width = drawing["width"] + 2 * MARGIN + 2
        page = await self.browser.new_page(viewport={"width": width, "height": 100})
        await page.set_content(document(drawing, images))
        await page.evaluate("document.fonts.ready")
        box = await page.locator("main").bounding_box()
        assert box
        height = round(box["height"]) + 2 * MARGIN
        await page.set_viewport_size({"width": width, "height": height})
        picture = await shot(page)
        await page.close()
        return picture

    async def look(self, page: Page, part: str = "body") -> bytes:
        """Of the page as it stands in its window, or of one element of it."""
        return await shot(page, part) if self.develops else b""


async def shot(page: Page, part: str = "body") -> bytes:
    """Of what its window shows, or of an element, each pixel drawn as `SCALE` by `SCALE`."""
    size = page.viewport_size
    assert size
    session = await page.context.new_cdp_session(page)
    clip = {**await page.evaluate("({ x: scrollX, y: scrollY })"), **size}
    if part != "body":
        box = await page.locator(part).bounding_box()
        assert box
        clip = {**box, "x": box["x"] + clip["x"], "y": box["y"] + clip["y"]}
    how = {"format": "webp", "quality": QUALITY, "clip": {**clip, "scale": SCALE}}
    return base64.b64decode((await session.send("Page.captureScreenshot", how))["data"])


def document(drawing: Json, images: Mapping[str, str]) -> str:
    draw, sheet = DRAWN[drawing["kind"]]
    css = (HERE / f"{sheet}.css").read_text("utf-8")
    dark = "dark" if drawing["theme"] == "dark" else ""
    ground = "#0f1113" if dark else "#f2f3f5"
    look = f"body {{ margin: {MARGIN}px; background: {ground} }} {css}"
    return (
        f'<!doctype html><meta charset="utf-8"><style>{look}</style>'
        f'<body class="{dark}" style="--width: {drawing["width"]}px">'
        f"{draw(drawing, images)}"
    )


def _data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@asynccontextmanager
async def camera(develops: bool = True) -> AsyncIterator[Camera]:
    """Where it develops, what the real page asks for as the system's fonts are ours."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as fonts:
        fonts.write(FONT_CONFIG)
        fonts.flush()
        if develops:
            os.environ["FONTCONFIG_FILE"] = fonts.name
        async with chromium() as browser:
            yield Camera(browser, develops)
