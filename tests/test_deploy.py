"""What stands around the code says what the code says: the image, the compose files, examples for
proxies, scaling."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer.main
import uvicorn

from adapters.web.api.stream import KEEP_ALIVE_SECONDS
from adapters.web.http_io import MAX_FORM_BODY_BYTES
from adapters.web.server import MOUNTED_BODY_LIMIT_BYTES
from bot.cli.command_line import cli
from bot.settings import Settings
from core.journal import procrastinate_adapter
from core.observability.metrics import render_metrics
from core.store import postgres
from tests.sources import PRODUCT

ROOT = Path(__file__).parents[1]
NAMES = (
    "compose.yaml",
    "compose.sqlite.yaml",
    "Dockerfile",
    ".dockerignore",
    "docs/guides/scaling.md",
    "deploy/nginx.conf",
    "deploy/Caddyfile",
)
COMPOSE, EMBEDDED, DOCKERFILE, IGNORED, SCALING, NGINX, CADDY = (
    (ROOT / name).read_text() for name in NAMES
)
LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]
COMMANDS = set(typer.main.get_group(cli).list_commands(None))  # type: ignore[arg-type]
SETTINGS = {name.upper() for name in Settings.model_fields}
BEATS = 1
"""The connection on which notices come."""


def test_their_commands_are_ours() -> None:
    commands = re.findall(r"^\s+command: (\w+)$", COMPOSE, re.MULTILINE)
    commands += re.findall(r'^CMD \["(\w+)"\]$', DOCKERFILE, re.MULTILINE)
    assert sorted(commands) == ["run", "serve", "work"]
    assert "command:" not in EMBEDDED
    names = {words.split()[0] for words in re.findall(r"`ponte ([^`]+)`", SCALING)}
    assert names
    assert {*commands, *names} <= COMMANDS


def test_each_container_has_a_root_that_is_read_only_and_a_limit_of_memory() -> None:
    for file, containers in ((COMPOSE, 2), (EMBEDDED, 1)):  # in one file two share a template
        for line in ("read_only: true", "mem_limit: 2g", "no-new-privileges:true", "/tmp"):
            assert file.count(line) >= containers, line
    home = re.findall(r"PONTE_HOME=(\S+)", LAST_STAGE)
    assert f"\n  volumes: [{home[0]}]\n" in COMPOSE, "a process needs a folder to write to"


@pytest.mark.parametrize("name", ["aimock", "conformance"])
def test_what_npm_installs_has_a_hash(name: str) -> None:
    lock = json.loads((ROOT / f".ci/{name}/package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())
    assert not any("resolved" in one for one in packages.values()), "names no registry"
    text = (ROOT / ".ci/run").read_text()
    assert not re.search(r"npm (?!ci\b|checks)(i|install)\b(?!.*--package-lock-only)", text)


def test_their_settings_are_ours() -> None:
    ours = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
    of_compose = set(re.findall(r"^      ([A-Z_]+):", COMPOSE + EMBEDDED, re.MULTILINE))
    of_image = set(re.findall(r"\b(PONTE_[A-Z_]+)=", DOCKERFILE))
    values = set(re.findall(r"`(PONTE_[A-Z_]+|DATABASE_URL)`", SCALING))
    assert of_compose - ours <= SETTINGS
    of_proxies = set(re.findall(r"#   ([A-Z_]+)=", NGINX + CADDY))
    assert of_proxies == {"PONTE_WEB_URL", "PONTE_WEB_TOKEN"}
    assert (of_image | values | of_proxies) <= SETTINGS


def copied_paths() -> list[str]:
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [name for line in lines for name in line.split()]


def reaches_the_engine(name: str) -> bool:
    """As .dockerignore says: the last line that fits decides."""
    is_kept = True
    for line in filter(None, (line.partition("#")[0].strip() for line in IGNORED.splitlines())):
        pattern = line.removeprefix("!")
        if fnmatch(name, pattern) or fnmatch(name, f"{pattern}/*"):
            is_kept = line.startswith("!")
    return is_kept


def test_what_the_image_is_made_of_reaches_the_engine_and_nothing_else() -> None:
    private = [".env", ".git", ".venv", "ponte.toml", "tests", "docs", "dist", "deploy", "home"]
    assert [name for name in private if reaches_the_engine(name)] == []
    assert {"bot", "adapters", "core", "requirements"} <= set(copied_paths())
    for pattern in copied_paths():
        matches = [str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)]
        assert matches, pattern
        assert [name for name in matches if not reaches_the_engine(name)] == []
    (default,) = re.findall(r'^ARG REQUIREMENTS="(.+)"$', DOCKERFILE, re.MULTILINE)
    for pins in (*default.split(), "requirements/build.txt"):
        assert reaches_the_engine(pins)
        assert (ROOT / pins).exists()


def test_links_of_the_packages_point_to_what_the_image_has() -> None:
    """The wheel has what they point to, so its build ends without it."""
    copied = copied_paths()
    for folder in PRODUCT:
        for link in (path for path in (ROOT / folder).rglob("*") if path.is_symlink()):
            target = link.resolve().relative_to(ROOT)
            assert {str(target), *map(str, target.parents)} & {*copied}, link


def test_the_image_runs_as_nobody_else() -> None:
    assert re.search(r"useradd .*--uid 10001 ponte", LAST_STAGE)
    before, user, after = LAST_STAGE.partition("\nUSER ponte\n")
    assert user
    assert "RUN" not in after
    assert "HEALTHCHECK" in after
    assert "VOLUME" not in DOCKERFILE  # Railway refuses images with one
    assert "--require-hashes" in DOCKERFILE
    assert "/home/ponte/home" in before


def test_the_small_compose_file_keeps_the_home() -> None:
    (where,) = re.findall(r"PONTE_HOME=(\S+)", DOCKERFILE)
    assert f"- home:{where}\n" in EMBEDDED
    assert "\nvolumes:\n  home:\n" in EMBEDDED
    assert "PONTE_WEB_TOKEN: ${PONTE_WEB_TOKEN:?" in EMBEDDED  # it listens on 0.0.0.0
    (port,) = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
    for file in (COMPOSE, EMBEDDED):
        assert f'"127.0.0.1:8080:{port}"' in file
        (grace,) = re.findall(r"stop_grace_period: (\d+)s", file)
        assert int(grace) > Settings().ponte_grace


def test_base_images_are_pinned_by_digest() -> None:
    """One digest for one name: the image is built with the Python that it runs with."""
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    bases = re.findall(r"^FROM (?:--\S+ )*(\S+)", DOCKERFILE, re.MULTILINE)
    bases += re.findall(r"^COPY --from=(\S+)", DOCKERFILE, re.MULTILINE)
    bases += re.findall(r"^\s+image: (\S+)", COMPOSE + EMBEDDED, re.MULTILINE)
    outside = [base for base in bases if base not in stages]
    assert len(outside) >= 3
    pinned = [re.fullmatch(r"([\w./-]+:[\w.-]+)@sha256:[0-9a-f]{64}", base) for base in outside]
    assert [base for base, pin in zip(outside, pinned, strict=True) if pin is None] == []
    assert len(set(outside)) == len({pin[1] for pin in pinned if pin})


def in_bytes(size: str) -> int:
    """nginx's `m` is a MiB."""
    return int(size.removesuffix("m").removesuffix("MiB")) * 1024 * 1024


def in_seconds(time: str) -> int:
    return int(time[:-1]) * {"s": 1, "h": 3600}[time[-1]]


def test_the_proxies_take_what_ponte_takes_and_wait_as_long() -> None:
    most, of_slack = re.findall(r"client_max_body_size (\S+);", NGINX)
    (of_caddy,) = re.findall(r"max_size (\S+)", CADDY)
    for size in (most, of_caddy):
        assert MAX_FORM_BODY_BYTES < in_bytes(size) < MAX_FORM_BODY_BYTES + 1024 * 1024
    assert MOUNTED_BODY_LIMIT_BYTES < in_bytes(of_slack) < 2 * MOUNTED_BODY_LIMIT_BYTES
    texts = {file.partition("larger than the ")[2].split(" that")[0] for file in (NGINX, CADDY)}
    assert texts == {f"{in_bytes(most) // 1024 // 1024} MiB"}
    silences = re.findall(r"proxy_read_timeout (\S+);", NGINX)
    assert in_seconds(silences[0]) > 10 * KEEP_ALIVE_SECONDS
    matches = re.findall(r"keepalive(?:_timeout)? (\d+s)", NGINX + CADDY)
    assert len(matches) == 2
    assert max(map(in_seconds, matches)) < uvicorn.Config("app").timeout_keep_alive


@pytest.mark.slow
def test_caddy_takes_its_example(tmp_path: Path) -> None:
    if shutil.which("caddy") is None:
        pytest.skip("blocked: there is no Caddy here, and none is installed for this alone")
    words = ["caddy", "validate", "--adapter", "caddyfile", "--config", "deploy/Caddyfile"]
    alone = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    result = subprocess.run(words, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_what_is_to_be_watched_is_told() -> None:
    metrics = render_metrics()
    matches = re.findall(r"`(ponte_\w+)", SCALING)
    assert matches
    assert [name for name in matches if f"# TYPE {name}" not in metrics] == []


def test_the_connections_are_counted() -> None:
    most = postgres.MAX_POOL_CONNECTIONS + procrastinate_adapter.WORKER_CONNECTIONS + BEATS
    assert f"Connections: {most} for each worker" in SCALING
    assert f"Version {postgres.MIN_SERVER_VERSION} to" in SCALING
