"""`ponte doctor`: each part of the settings, tried against the live service; and its safety."""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.app import Start, local_code, stackspot_client
from bot.health import lineup, page_url
from bot.safety import findings
from bot.settings import Settings, plain
from bot.telemetry import Redaction
from core.errors import PonteError
from core.http import HttpAnswer, HttpClient, HttpError
from core.records import Health
from core.tools.nocodb.api import NocoApi
from core.tools.nocodb.bridge_api import BridgeApi
from core.tools.nocodb.schema import Schemas
from core.tools.nocodb.source import sight

Check = Callable[[Start, HttpClient], Awaitable[str]]
"""Says what is well, in a few words. Raises PonteError, HttpError, OSError for what is not."""

_OPENAI = "https://api.openai.com/v1"
_MARKS = {"on": "ok", "off": "off", "failing": "FAIL"}
_LEVELS = {"ok": "ok", "note": "note", "unsafe": "FAIL"}
_SECONDS = 10.0


async def examine(start: Start, write: Callable[[str], None]) -> int:
    """Write one line a part; returns 1 when one fails or is unsafe, else 0."""
    failing = False
    redaction = Redaction(start.settings.secrets)
    async with HttpClient(proxies=start.settings.proxies) as http:
        for part in (Health("home", "on"), *lineup(start.settings)):
            for health in await _examined(part, start, http):
                failing = failing or health.state == "failing"
                line = f"{_MARKS[health.state]:<4}  {health.name}: {health.words}"
                write(redaction.of(line))
    for found in findings(start.settings, start.config, start.home):
        failing = failing or found.level == "unsafe"
        write(redaction.of(f"{_LEVELS[found.level]:<4}  safety {found.topic}: {found.words}"))
    return int(failing)


async def _examined(part: Health, start: Start, http: HttpClient) -> Sequence[Health]:
    if part.state == "on" and part.name in _TELLING:
        return await _TELLING[part.name](start)
    return [await _one(part, start, http)]


async def _one(part: Health, start: Start, http: HttpClient) -> Health:
    check = _CHECKS.get(part.name)
    if part.state != "on" or check is None:
        return part
    try:
        return Health(part.name, "on", await check(start, http))
    except PonteError as error:
        return Health(part.name, "failing", str(error))
    except HttpError as error:
        return Health(part.name, "failing", f"the server does not answer ({error.reason})")
    except OSError as error:
        return Health(part.name, "failing", error.strerror or type(error).__name__)


async def _slack(start: Start) -> Sequence[Health]:
    from adapters.slack.setup import check

    settings = start.settings
    return await check(
        plain(settings.slack_bot_token), plain(settings.slack_app_token),
        plain(settings.slack_signing_secret), settings.slack_api_url, settings.proxies,
    )  # fmt: skip


async def _home(start: Start, http: HttpClient) -> str:
    path = start.home.path
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise PonteError("{path} cannot be written; set PONTE_HOME to another folder", path=path)
    return f"{path}" if nearest == path else f"{path} (will be made)"


async def _model(start: Start, http: HttpClient) -> str:
    settings = start.settings
    demo = settings.ponte_model_api == "demo"
    if demo or not (settings.openai_api_key or settings.openai_base_url):
        return next(part.words for part in lineup(settings) if part.name == "model")
    base = (settings.openai_base_url or _OPENAI).rstrip("/")
    key = plain(settings.openai_api_key)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        listed = await http.get_json(f"{base}/models", headers=headers, timeout=_SECONDS)
    except HttpAnswer as error:
        raise _model_refusal(error) from None
    names = _names(listed)
    if names and not {settings.ponte_model, f"{settings.ponte_model}:latest"} & names:
        raise PonteError(
            "the server does not know PONTE_MODEL={name}; it has {some}",
            name=settings.ponte_model,
            some=", ".join(sorted(names)[:5]),
        )
    return f"{settings.ponte_model} is there"


def _model_refusal(error: HttpAnswer) -> PonteError:
    if error.status in (401, 403):
        return PonteError("the server refuses OPENAI_API_KEY (HTTP {s})", s=error.status)
    return PonteError("the server answers with HTTP {s}", s=error.status)


def _names(listed: Any) -> frozenset[str]:
    data = listed.get("data") if isinstance(listed, Mapping) else None
    models = data if isinstance(data, list) else []
    return frozenset(str(one.get("id")) for one in models if isinstance(one, Mapping))


async def _nocodb(start: Start, http: HttpClient) -> str:
    settings = start.settings
    url, token = plain(settings.nocodb_url), plain(settings.nocodb_token)
    if settings.nocodb == "bridge":
        return await _bridge(BridgeApi(url, token, http, pauses=()))
    api = NocoApi(url, token, http, pauses=(), timeout=_SECONDS)
    schemas = Schemas(api, settings.nocodb_base_id or "")
    seen = await sight(api, schemas, start.config.table_rules)
    if seen.unknown:
        raise PonteError(
            "{path} has rules for tables that are not there, which protect nothing: {names}",
            path=settings.ponte_config.name, names=", ".join(seen.unknown),
        )  # fmt: skip
    return f"NocoDB answers; {seen}" + ("; it can change nothing" if seen.only_read else "")


async def _bridge(bridge: BridgeApi) -> str:
    tools = await bridge.tools(timeout=_SECONDS)
    if tools is None:
        await bridge.alive(timeout=_SECONDS)
        return "the bridge answers; it does not say which tools it has"
    return f"the bridge answers; it has {len(tools)} tools"


async def _stackspot(start: Start, http: HttpClient) -> str:
    stackspot, config = stackspot_client(start.settings, http), start.config
    try:
        async with asyncio.timeout(_SECONDS):
            await stackspot.check()
    except TimeoutError:
        raise PonteError("StackSpot gives no token within {s:.0f} s", s=_SECONDS) from None
    finally:
        await stackspot.close()
    return (
        f"it gives a token for the realm {start.settings.stackspot_realm}; "
        f"in ponte.toml: quick commands {len(config.quick_commands)}, agents {len(config.agents)}"
    )


async def _web(start: Start, http: HttpClient) -> str:
    settings = start.settings
    if _is_free(settings):
        return f"{page_url(settings)} is free to listen on"
    if start.home.is_served():
        return f"{page_url(settings)} is in use, by the Ponte that runs"
    raise PonteError(
        "port {port} is in use by another program; set PONTE_WEB_PORT to another one",
        port=settings.ponte_web_port,
    )


def _is_free(settings: Settings) -> bool:
    """Raises OSError for an address that is not this machine's."""
    host, port = settings.ponte_web_host, settings.ponte_web_port
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


async def _discord(start: Start) -> Sequence[Health]:
    check = await asyncio.to_thread(importlib.import_module, "adapters.discord.setup")
    settings = start.settings
    found: Sequence[Health] = await check.check(
        plain(settings.discord_token), settings.discord_api_url, settings.discord_gateway_url,
        settings.discord_message_content == "on", settings.proxies,
    )  # fmt: skip
    return found


async def _code(start: Start) -> Sequence[Health]:
    """The local sandbox is proved as `run` does it; the hosted one is the model's server."""
    if start.settings.code == "hosted":
        return [part for part in lineup(start.settings) if part.name == "code"]
    with tempfile.TemporaryDirectory(prefix="ponte-doctor-") as folder:
        backend = local_code(start.settings, start.home, Path(folder))
        try:
            return [await backend.health()]
        finally:
            await backend.close()


_CHECKS: Mapping[str, Check] = {
    "home": _home,
    "model": _model,
    "nocodb": _nocodb,
    "stackspot": _stackspot,
    "web": _web,
}
_TELLING: Mapping[str, Callable[[Start], Awaitable[Sequence[Health]]]] = {
    "code": _code,
    "slack": _slack,
    "discord": _discord,
}
