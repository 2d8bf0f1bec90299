"""Which model answers, as the settings say."""

from __future__ import annotations

from bot.settings import Settings
from bot.values import plain
from core.model.demo import DemoModel
from core.model.input import Read
from core.model.options import Options
from core.model.probe import Level
from core.model.served import ServedModel
from core.model.server import Late
from core.openai import OPENAI, Client, Place
from core.ports import Model

LEVELS: dict[str, Level] = {
    "conversations": "conversations",
    "responses": "responses",
    "chat": "chat",
}


def client(settings: Settings) -> Client:
    """The one for the process; whoever holds it closes it."""
    key, url = plain(settings.openai_api_key), settings.openai_base_url or OPENAI
    return Client(Place(key, url, settings.proxies))


def choose(settings: Settings, client: Client, secret: bytes, read: Read, late: Late) -> Model:
    """The demo model where neither a key nor a server is set; `secret` keys pseudonyms."""
    api, key = settings.ponte_model_api, plain(settings.openai_api_key)
    if api == "demo" or (api == "auto" and not key and not settings.openai_base_url):
        return DemoModel()
    options = Options(
        model=settings.ponte_model, effort=settings.ponte_model_effort or "", secret=secret
    )
    return ServedModel(client, options, level=LEVELS.get(api), read=read, late=late)
