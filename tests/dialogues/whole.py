"""The whole bot, composed as `ponte run` composes it, at a fake OpenAI, with its surfaces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bot.compose import compose
from bot.config.ponte_toml import Config
from bot.home import Home
from bot.ponte import Ponte
from bot.settings import Settings
from tests.fakes.link import parse_page_link
from tests.fakes.openai import FakeOpenAI

Json = dict[str, Any]


@dataclass
class Whole:
    """One process, and its page as a person's browser sees it."""

    app: Ponte
    web: httpx.AsyncClient

    async def ask(self, text: str, *, conversation: str = "c1", **files: bytes) -> Json:
        """What `POST /chat` answers; a file `sales_csv=…` is attached as sales.csv."""
        fixtures = {"message": text, "conversation": conversation}
        parts = [("file", (name.replace("_", "."), data)) for name, data in files.items()]
        if parts:
            answer = await self.web.post("/chat", data=fixtures, files=parts)
        else:
            answer = await self.web.post("/chat", json=fixtures)
        answer.raise_for_status()
        body: Json = answer.json()
        return body

    @asynccontextmanager
    async def program(self) -> AsyncIterator[httpx.AsyncClient]:
        """Yield the client of a program with an API token of the owner."""
        body = (await self.web.post("/me/tokens", json={})).json()
        headers = {"Authorization": f"Bearer {body['token']}"}
        base = self.web.base_url
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=20) as client:
            yield client

    async def file(self, shown: Json) -> bytes:
        return (await self.web.get(shown["url"])).content


@asynccontextmanager
async def run_composed(
    settings: Settings, config: Config | None = None, **more: Any
) -> AsyncIterator[Ponte]:
    """Run Ponte as `ponte run` does; `more` are arguments of `compose`."""
    home = Home(settings.ponte_home)
    with home.take():
        app = await compose(settings, config or Config(), home, **more)
        await app.start()
        try:
            yield app
        finally:
            await app.stop()


@asynccontextmanager
async def whole(home: Path, fake: FakeOpenAI, **settings: Any) -> AsyncIterator[Whole]:
    """`settings` may have the rules of ponte.toml as `config`."""
    config = settings.pop("config", None)
    choice = {
        "openai_api_key": "sk-test",
        "openai_base_url": fake.base_url,
        "ponte_home": home,
        "ponte_web_port": 0,
        "ponte_grace": 0.5,
        "ponte_code": "hosted",
        "ponte_titles": "off",
    }
    async with run_composed(Settings.model_validate({**choice, **settings}), config) as app:
        page, bearer = parse_page_link(app.links()[1])
        async with httpx.AsyncClient(base_url=page, headers=bearer, timeout=20) as web:
            yield Whole(app, web)
