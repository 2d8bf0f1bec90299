"""Every route with odd values in each of its parameters: none of them is an unexpected error."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.datastructures import ImmutableMultiDict

from adapters.web.admin import TABS
from adapters.web.errors import status_of
from bot.config.ponte_toml import read_config
from bot.operation_service import build_arguments_model
from bot.operations import OPERATIONS
from bot.settings import Settings
from core.base.errors import PonteError
from tests.dialogues.whole import run_composed
from tests.fakes.link import parse_page_link
from tests.sources import ROOT, list_sources

pytestmark = pytest.mark.slow

ODD_TEXTS = (
    *("abc", "1.5", "-1", "\0", str(2**63), "9" * 5000, "", "\u202eabc", "\u2028", "{x}", "%s"),
    *("²", "../..", "2026-13-99", "9999-12-31", "0001-01-01", "https://[", "slack:T1:U1:", ":::"),
)
"""The values of parameters of paths, queries and forms, which are texts."""
ODD_PARTS: tuple[Any, ...] = (
    1.5,
    -1,
    2**63,
    1e300,
    True,
    None,
    [],
    {},
    [None],
    {"a": {}},
    "\ud800",
)
ODD_VALUES = (*ODD_TEXTS, *ODD_PARTS)
"""The values of fields in JSON."""
SURROGATE = "%ED%A0%80"
PAY = (
    '/nocodb nocodb_update {"table": "Invoices",'
    ' "changes": [{"id": 3, "fields": {"Status": "Paid"}}]}'
)
CONFIG = """
[groups]
deploys = ["slack:U1"]
[hooks.deploys]
kind = "secret"
secret = "HOOK_SECRET"
post_to = "slack:T1:C1"
as = "deploys"
template = "{message}"
"""
Json = dict[str, Any]


class Trial:
    """Requests of the owner, and those of them that ended in an unexpected error."""

    def __init__(self, page: httpx.AsyncClient, socket: httpx.AsyncClient) -> None:
        self.page = page
        self.socket = socket
        self.failures: list[str] = []
        self.count = 0

    async def send(self, client: httpx.AsyncClient, method: str, url: str, **more: Any) -> None:
        self.count += 1
        headers = {"Prefer": "respond-async", **more.pop("headers", {})}
        async with client.stream(method, url, headers=headers, **more) as answer:
            # Streams of events do not end.
            is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
            text = "" if is_stream else (await answer.aread()).decode(errors="replace")
        if answer.status_code in (500, 501, 502):
            what = {name: str(value)[:120] for name, value in more.items()}
            self.failures.append(f"{answer.status_code} {method} {url[:120]} {what} {text[:200]}")


def fill(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """Return a value that a schema allows."""
    while ref := schema.get("$ref"):
        schema = schemas[ref.rpartition("/")[2]]
    for name in ("anyOf", "allOf", "oneOf"):
        if choices := schema.get(name):
            return fill(choices[0], schemas)
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    match schema.get("type"):
        case "object":
            return {name: fill(part, schemas) for name, part in fields_of(schema, schemas).items()}
        case "array":
            return [fill(schema.get("items", {}), schemas)]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
    return "c1"


def fields_of(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    while ref := schema.get("$ref"):
        schema = schemas[ref.rpartition("/")[2]]
    return dict(schema.get("properties", {}))


def change_fields(value: Any) -> Iterator[Any]:
    """Yield the value with an odd value in place of each of its parts."""
    yield from ODD_VALUES
    if isinstance(value, dict):
        for name, part in value.items():
            yield from ({**value, name: odd} for odd in change_fields(part))
    elif isinstance(value, list) and value:
        yield from ([odd] for odd in change_fields(value[0]))


def fill_path(path: str, known: Mapping[str, str], name: str = "", odd: str = "") -> str:
    """Return the path with known values of its parameters, and an encoded odd one for `name`."""
    return re.sub(
        r"\{(\w+)\}", lambda m: odd if m[1] == name else quote(known.get(m[1], "x"), safe=""), path
    )


@pytest.fixture
async def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    home = tmp_path / "home"
    home.mkdir()
    file = home / "ponte.toml"
    file.write_text(CONFIG)
    settings = Settings.model_validate(
        {
            "ponte_home": home,
            "ponte_config": file,
            "ponte_code": "off",
            "ponte_web_port": 0,
            "ponte_grace": 0.5,
            "hook_secret": "s" * 32,
        }
    )
    async with run_composed(settings, read_config(file)) as ponte:
        page, bearer = parse_page_link(ponte.links()[1])
        transport = httpx.AsyncHTTPTransport(uds=str(home / "ponte.sock"))
        async with (
            httpx.AsyncClient(base_url=page, headers=bearer, timeout=60) as web,
            httpx.AsyncClient(base_url="http://ponte", transport=transport, timeout=60) as socket,
        ):
            yield Trial(web, socket)


async def test_no_parameter_of_a_route_is_an_unexpected_error(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = (await trial.page.post("/chat", json={"message": PAY, "conversation": "c1"})).json()
    known = {"turn": answer["turn"], "conversation": "c1", "number": "1"}
    read_names = set[str]()
    find = ImmutableMultiDict.__getitem__

    def note_name(parameters: Any, name: str) -> Any:
        read_names.add(name)
        return find(parameters, name)

    monkeypatch.setattr(ImmutableMultiDict, "__getitem__", note_name)
    for client in (trial.page, trial.socket):
        document = (await client.get("/openapi.json")).json()
        schemas = document["components"]["schemas"]
        for path, methods in document["paths"].items():
            for method, route in methods.items():
                if path in ("/operator/{operation}", "/login", "/logout", "/me/sessions"):
                    continue
                known["id"] = answer["cards"][0]["id"] if "/cards/" in path else "c1"
                content = route.get("requestBody", {}).get("content", {})
                schema = content.get("application/json", {}).get("schema")
                valid: Json = {"json": fill(schema, schemas)} if schema else {}
                declared = {p["name"] for p in route.get("parameters", ()) if p["in"] == "query"}
                for tab in TABS if path == "/admin/{tab}" else ("",):
                    url = fill_path(path, known | {"tab": tab})
                    read_names.clear()
                    if method != "delete":
                        await trial.send(client, method, url, **valid)
                    for name in declared | read_names:
                        for odd in (*map(quote, ODD_TEXTS), SURROGATE):
                            await trial.send(client, method, f"{url}?{name}={odd}", **valid)
                for parameter in route.get("parameters", ()):
                    name = parameter["name"]
                    for odd in ODD_TEXTS:
                        if parameter["in"] == "path":
                            wrong = fill_path(path, known, name, quote(odd, safe=""))
                            await trial.send(client, method, wrong, **valid)
                        elif parameter["in"] == "header" and "\0" not in odd:
                            raw: Json = {name: odd.encode()}
                            await trial.send(client, method, url, headers=raw, **valid)
                for body in change_fields(valid["json"]) if schema else ():
                    headers = {"Content-Type": "application/json"}
                    data = json.dumps(body)
                    await trial.send(client, method, url, content=data, headers=headers)
    assert trial.failures == []


async def test_no_argument_of_an_operation_is_an_unexpected_error(trial: Trial) -> None:
    """Through the shell's socket, and through the forms of the page."""
    page = (await trial.page.get("/admin/config")).text
    form = re.search(r'name="form" value="([^"]+)"', page)
    assert form
    for name, operation in OPERATIONS.items():
        if name == "doctor":  # its one argument is a choice, and it asks all services
            continue
        schema = build_arguments_model(operation).model_json_schema()
        filled = fill(schema, {})
        for arguments in change_fields(filled):
            body = json.dumps({"arguments": arguments})
            url, headers = f"/operator/{operation.path}", {"Content-Type": "application/json"}
            await trial.send(trial.socket, "post", url, content=body, headers=headers)
        for argument in filled if operation.admin_page else ():
            for odd in ODD_TEXTS:
                fields = {f"argument-{key}": str(value) for key, value in filled.items()}
                fields |= {"do": name, "form": form[1], f"argument-{argument}": odd}
                await trial.send(trial.page, "post", "/admin/people", data=fields)
    assert trial.failures == []


NO_STATUS = {
    *("internal", "tool", "undeliverable", "removed", "restored", "superseded", "taken_over"),
    *("model", "no_key", "wrong_key", "unknown_model", "no_quota", "rate_limited", "model_down"),
    *("model_silent", "too_long", "refused", "person_refused", "interrupted", "too_many_rounds"),
    *(
        "voice",
        "draining",
        "platform_busy",
        "no_python",
        "installation_failed",
        "token_over",
        "files_too_large",
    ),
    *("home_taken", "different_schema", "no_room", "damaged", "different_backup", "not_the_same"),
    *("unreachable", "unreadable"),
}
"""Codes of errors that no route raises: an answer or a tool's result tells them, or they end a
command or a start. They are faults of Ponte where a route does raise them."""


def all_errors(base: type[PonteError] = PonteError) -> Iterator[type[PonteError]]:
    for one in base.__subclasses__():
        if one.__module__.partition(".")[0] in ("adapters", "bot", "core"):
            yield one
            yield from all_errors(one)


def test_every_error_that_a_route_raises_has_a_status() -> None:
    for path in list_sources():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith("core.tools.code.") and "__main__" not in name:
            importlib.import_module(name)
    statuses = dict[str, set[int]]()
    for kind in all_errors():
        error = kind.__new__(kind)
        statuses.setdefault(kind.code, set()).add(status_of(error))
    unknown = {code for code, found in statuses.items() if 500 in found}
    assert unknown == NO_STATUS
    assert statuses["bad_schedule"] == {400}
    assert all(len(found) == 1 for found in statuses.values()), statuses
