"""A drawing becomes a picture: HTML in the system's Chromium, with fonts of Debian's, as WebP."""

from __future__ import annotations

import base64
import os
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
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
FRAME_MILLISECONDS = 3000
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
        """A film has a drawing for each of its frames, which are as high as the highest."""
        if not self.develops:
            return b""
        images = {name: _data_url(data) for name, data in files.items()}
        drawings = drawing["frames"] if drawing["kind"] == "film" else [drawing]
        heights = [await self._shoot(each, images) for each in drawings]
        height = max(height for height, _ in heights)
        frames = [(await self._shoot(each, images, height))[1] for each in drawings]
        return frames[0] if len(frames) == 1 else animate(frames)

    async def _shoot(
        self, drawing: Json, images: Mapping[str, str], height: int = 0
    ) -> tuple[int, bytes]:
        """The height that it needs, and where `height` is given, the picture."""
        width = drawing["width"] + 2 * MARGIN + 2
        page = await self.browser.new_page(viewport={"width": width, "height": height or 100})
        await page.set_content(document(drawing, images))
        await page.evaluate("document.fonts.ready")
        box = await page.locator("main").bounding_box()
        assert box
        picture = await shot(page) if height else b""
        await page.close()
        return round(box["height"]) + 2 * MARGIN, picture

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


def animate(frames: Sequence[bytes]) -> bytes:
    """One WebP that shows its frames again and again, each for `FRAME_MILLISECONDS`.

    Source: the container specification of WebP (RFC 9649, section 2.7).
    """
    assert frames[0][12:16] == b"VP8X", "as Chromium writes it"
    size = frames[0][24:30]  # of the canvas
    head = bytes(6) + size + FRAME_MILLISECONDS.to_bytes(3, "little") + b"\2"  # no blending
    parts = [_chunk(b"VP8X", b"\2\0\0\0" + size), _chunk(b"ANIM", bytes(6))]
    parts += [_chunk(b"ANMF", head + _pixels(frame)) for frame in frames]
    return _chunk(b"RIFF", b"WEBP" + b"".join(parts))


def _pixels(frame: bytes) -> bytes:
    """Its chunks without those that stand once for all frames."""
    chunks, at = b"", 12
    while at < len(frame):
        (length,) = struct.unpack_from("<I", frame, at + 4)
        end = at + 8 + length + length % 2
        if frame[at : at + 4] in (b"ALPH", b"VP8 ", b"VP8L"):
            chunks += frame[at:end]
        at = end
    return chunks


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)


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
