"""The checks of `ponte doctor`: each part of the settings against the live service, and safety."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from bot import doctor as installation
from bot.config.reload import describe_config_file
from bot.doctor.safety import list_findings
from bot.features.base import find_features
from bot.home import Start
from bot.logs import Redaction
from bot.parts import CHECK_FAILED_SENTENCE, NO_POSTGRES_SENTENCE, dependencies, model_client
from bot.settings import Settings
from bot.stores import SCHEMA
from core.base.errors import PonteError
from core.base.http import HttpAnswer, HttpClient, HttpError
from core.base.i18n import say, translate_word
from core.domain.records import DoctorFinding, Health, ModelRequests
from core.integrations import IntegrationDependencies, plain_value
from core.models import MODEL_INTEGRATION
from core.money.settlement import count_estimates
from core.store.database import SqlConnection, check_free_space, check_schema, inspect_file
from core.store.remembered import read_text

NO_ANSWER_SENTENCE = (
    "The server didn't respond ({why}). Check your network connection and HTTPS_PROXY."
)
NO_ANSWER_AT_SENTENCE = (
    "{address} didn't respond ({why}). Check {setting} and your network connection."
)
USAGE_DAYS = 30
T = TypeVar("T")
ESTIMATES_SENTENCE = (
    "in the last {days} days, the server didn't report usage for {estimates} of {calls} paid "
    "calls; their costs are upper estimates"
)
_SAFETY_STATES: Mapping[str, Literal["on", "note", "failing"]] = {
    "ok": "on",
    "note": "note",
    "unsafe": "failing",
}


async def _check_model(start: Start, model: ModelRequests) -> AsyncIterator[DoctorFinding]:
    """Yield what up to four paid requests to the model find out. "announce" yields a note about
    their cost instead, if there is anything to send."""
    settings = start.settings
    async with HttpClient(proxies=settings.proxies) as http:
        deps = dependencies(settings, start.config, start.home, http, model_client(settings))
        notice = MODEL_INTEGRATION.describe_requests(deps)
        if model == "announce" and notice:
            yield DoctorFinding("model requests", "note", notice)
            return
        # Else the demo model answers: `send_requests` says so and sends nothing.
        async for finding in MODEL_INTEGRATION.send_requests(deps):
            yield finding


async def check_everything(start: Start, *model: ModelRequests) -> AsyncIterator[DoctorFinding]:
    """Check each part against its live service, and yield what was found, without secrets: first
    what needs no network, then each integration, and at the end the usage and safety.

    With `model`, check only the model: "announce" yields a note about the cost of the paid
    requests, and "send" makes them."""
    for request in model:
        async for finding in _check_model(start, request):
            yield finding
    if model:
        return
    settings = start.settings

    checks: list[tuple[str, Awaitable[Sequence[Health]]]] = [
        ("packages", _check_packages(start)),
        ("settings", _check_settings(start)),
        ("config", _as_is(describe_config_file(start.config, settings.ponte_config))),
        ("home", _check_home(start)),
    ]
    if settings.database_url is not None:
        checks.append(("database", _check_database(plain_value(settings.database_url))))
    failing = set[str]()
    for name, check in checks:
        for finding in await _run_check(settings, name, check):
            failing |= {name} if finding.state == "failing" else set()
            yield finding
    async with _open_parts(start) as parts:
        for integration in settings.faces:
            # `settings` has the integration's own and the shared ones.
            part = integration.summary(settings, settings)
            if part is None and not integration.is_used(settings, settings):
                continue
            # Asked only if its settings are complete.
            is_off = part is not None and part.state != "on"
            face_check = _as_is(part) if part and is_off else integration.check(parts)
            name = part.name if part else integration.name
            for finding in await _run_check(settings, name, face_check):
                yield finding
    # The usage is in the database, so without it there is nothing to read.
    if failing.isdisjoint(("home", "database")):
        for finding in await _run_check(settings, "usage", _check_usage(start)):
            yield finding
    for safety_finding in list_findings(settings, start.config, start.home):
        state = _SAFETY_STATES[safety_finding.level]
        words = Redaction(settings.secrets).of(safety_finding.words)
        yield DoctorFinding(f"safety {safety_finding.topic}", state, words)


async def check_integration(
    start: Start, name: str
) -> tuple[Sequence[DoctorFinding], Mapping[str, Sequence[str]]]:
    """Check one integration against its live service, for the setup page. Also return the values
    that its settings can have, such as names of models, by setting."""
    settings, choices = start.settings, dict[str, Sequence[str]]()
    integration = next(candidate for candidate in settings.faces if candidate.name == name)
    async with _open_parts(start) as parts:
        findings = await _run_check(settings, name, integration.check(parts))
        with suppress(Exception):  # a server may answer anything; `findings` says what is wrong
            choices = {**await integration.list_choices(parts)}
    return findings, choices


async def update_app(start: Start, name: str, shown: Sequence[str]) -> str:
    """Add to the integration's app what `shown`, findings of its check, say that it lacks. Return
    what to do next. Raises PonteError, HttpError or OSError."""
    integration = next(face for face in start.settings.faces if face.name == name)
    async with _open_parts(start) as parts:
        return (await integration.update_app(parts, shown)).words


@asynccontextmanager
async def _open_parts(start: Start) -> AsyncIterator[IntegrationDependencies[Any]]:
    settings = start.settings
    client = model_client(settings)
    try:
        async with HttpClient(proxies=settings.proxies) as http:
            parts = dependencies(settings, start.config, start.home, http, client)
            yield replace(parts, read_remembered=partial(_read_remembered, start))
    finally:
        await client.close()


async def _run_check(
    settings: Settings, name: str, check: Awaitable[Sequence[Health]]
) -> Sequence[DoctorFinding]:
    """Return what a check found, or a failing part with the reason why it failed, without secrets:
    one failure must not stop the other checks."""
    try:
        states = await check
    except (HttpError, PonteError) as error:
        words = _describe_failure(error, _addresses(settings).get(name))
        states = [Health(name, "failing", words)]
    except OSError as error:
        states = [Health(name, "failing", error.strerror or type(error).__name__)]
    except ModuleNotFoundError as missing:
        states = [Health(name, "failing", say(NO_POSTGRES_SENTENCE, name=missing.name))]
    except Exception as error:
        # Its text may hold an address or a key.
        words = say(CHECK_FAILED_SENTENCE, kind=type(error).__name__)
        states = [Health(name, "failing", words)]
    redaction = Redaction(settings.secrets)
    return [
        DoctorFinding(part.name, part.state, redaction.of(translate_word(part.words)))
        for part in states
    ]


def _describe_failure(error: HttpError | PonteError, address: tuple[str, str] | None) -> str:
    """Return why a check failed. If the server did not respond, its `address` is named, for the
    operator: the error's own sentence is for people in a chat, who must not read addresses."""
    cause = error if isinstance(error, HttpError) else error.__cause__ or error.__context__
    if isinstance(cause, HttpError) and not isinstance(cause, HttpAnswer) and address is not None:
        server, setting = address
        return say(NO_ANSWER_AT_SENTENCE, why=cause.reason, address=server, setting=setting)
    if isinstance(error, HttpError):
        return say(NO_ANSWER_SENTENCE, why=error.reason)
    return error.words()


def _addresses(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return host and port of each integration's server, and the setting that holds it. The rest of
    an address may be secret. Of two addresses, the first counts."""
    addresses = {}
    for integration in settings.faces:
        for setting in integration.sent_to:
            value = getattr(settings, setting, None)
            parts = urlsplit(plain_value(value) if isinstance(value, str | SecretStr) else "")
            if parts.hostname and integration.name not in addresses:
                port = f":{parts.port}" if parts.port else ""
                addresses[integration.name] = (f"{parts.hostname}{port}", setting.upper())
    return addresses


async def _check_packages(start: Start) -> Sequence[Health]:
    """Report where Ponte is installed, missing packages and wrong versions, and what else has
    packages with the names of Ponte's."""
    settings = start.settings
    extras = {"postgres"} if settings.database_url else set()
    for feature in find_features():
        extras.update(feature.list_extras(start.config, settings))
    report = await asyncio.to_thread(installation.inspect_installation, extras)
    words = installation.describe(report, say)
    return [Health("packages", "on" if report.is_complete else "failing", words)]


async def _check_settings(start: Start) -> Sequence[Health]:
    """Report which files the settings come from in this folder."""
    file, page = start.settings.env_file, start.settings.page_file
    part = Health("settings", "on", say("environment and {path}", path=file.path))
    if file.why:
        words = say("environment; {path} isn't used ({why})", path=file.path, why=file.why)
        part = Health("settings", "failing", words)
    elif words := file.describe_newer_file():
        part = Health("settings", "failing", words)
    elif file.path is None:
        part = Health("settings", "on", say("environment; no .env file here"))
    if page is None:
        return [part]
    words = "setup page, {path} (in a backup only with `ponte backup --secrets`)"
    return [part, Health("settings", "on", say(words, path=page))]


async def _as_is(part: Health) -> Sequence[Health]:
    return [part]


async def _check_database(url: str) -> Sequence[Health]:
    """Report version and schema of the Postgres server, and which processes use it. Processes that
    receive messages (`takes`) without any that answers (`works`) are a failure."""
    from core.store.postgres import check_server
    from core.store.processes import read_cluster

    version, schema, status = await asyncio.to_thread(check_server, url, read_cluster)
    if status is None:
        words = say(
            "Postgres {version}, empty; Ponte creates its tables on first start", version=version
        )
        return [Health("database", "on", words)]
    runs = status.words if status.takes or status.works else say("no Ponte process is using it")
    failing = bool(status.takes and not status.works)
    words = say("Postgres {version}, schema {schema}", version=version, schema=schema)
    return [Health("database", "failing" if failing else "on", f"{words}; {runs}")]


async def _read_stored(start: Start, look: Callable[[SqlConnection], T]) -> T | None:
    """Return what `look` reads in the database, without changing it; None if there is none yet."""
    url = start.settings.database_url
    if url is None:
        return await asyncio.to_thread(inspect_file, start.home.path / "ponte.db", look)
    from core.store.postgres import check_server

    *_, result = await asyncio.to_thread(check_server, plain_value(url), look)
    return result


async def _read_remembered(start: Start, name: str) -> str:
    return await _read_stored(start, partial(read_text, name=name)) or ""


async def _check_usage(start: Start) -> Sequence[Health]:
    """Report how many calls of the last USAGE_DAYS days have estimated costs."""
    since = (datetime.now(UTC) - timedelta(days=USAGE_DAYS)).date().isoformat()
    calls, estimates = await _read_stored(start, partial(count_estimates, since=since)) or (0, 0)
    if not estimates:
        return []
    words = say(ESTIMATES_SENTENCE, days=USAGE_DAYS, calls=calls, estimates=estimates)
    return [Health("usage", "on", words)]


async def _check_home(start: Start) -> Sequence[Health]:
    """Report whether the data folder can be used. If it does not exist, the folder in which it
    would be created is tested instead. Raises PonteError, OSError."""
    path = start.home.path
    # A link whose target is missing does not "exist", but no folder can be created in its place.
    nearest = next(
        parent for parent in (path, *path.parents) if parent.exists() or parent.is_symlink()
    )
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise PonteError("Can't write to {path}. Set PONTE_HOME to another folder.", path=path)
    await asyncio.to_thread(check_free_space, nearest)
    if nearest != path:
        return [Health("home", "on", say("{path} (will be created)", path=path))]
    start.home.check()  # its owner and rights, and whether its lock file can be opened
    await asyncio.to_thread(check_schema, path / "ponte.db", SCHEMA)
    return [Health("home", "on", str(path))]
