"""A real nginx with `deploy/nginx.conf` as it stands, but for its ports, its certificate, and where
Ponte listens; in a folder of its own.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "deploy" / "nginx.conf"
HOST = "ponte.example.com"
_MAIN = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    {temporary}
    include {folder}/ponte.conf;
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def missing() -> str:
    """Why there is none; "" where there is one."""
    if program() and shutil.which("openssl"):
        return ""
    return "needs nginx and openssl (apt install nginx openssl)"


@dataclass
class Nginx:
    port: int
    plain_port: int
    certificate: Path

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def connect(self) -> ssl.SSLSocket:
        """A connection over TLS, to a host of that name."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.trust().wrap_socket(plain, server_hostname=HOST)


@contextmanager
def before(port: int, folder: Path) -> Iterator[Nginx]:
    """It stands before the Ponte that listens on that port of this machine."""
    nginx = Nginx(free_port(), free_port(), folder / "fullchain.pem")
    _certify(nginx.certificate, folder / "privkey.pem")
    (folder / "ponte.conf").write_text(_adapt_config(EXAMPLE.read_text(), port, nginx, folder))
    temporary = "\n    ".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY)
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, temporary=temporary))
    words = [program() or "nginx", "-e", "stderr", "-p", str(folder), "-c", "nginx.conf"]
    result = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    with (folder / "log").open("ab") as log, subprocess.Popen(words, stderr=log) as process:
        try:
            _wait_for(folder / "pid", process)
            yield nginx
        finally:
            process.terminate()


def free_port() -> int:
    """Return a port below those that the system gives out, which begin at 32,768 on Linux. Between
    this call and nginx's own, another test cannot get it for its server or its connection."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as trial, suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port


def _adapt_config(text: str, port: int, made: Nginx, folder: Path) -> str:
    """Each change must find its line: an example that says it otherwise is not what is tested."""
    changes = (
        (r"server 127\.0\.0\.1:8080;", f"server 127.0.0.1:{port};"),
        (r"listen 80;", f"listen 127.0.0.1:{made.plain_port};"),
        (r"listen 443 ", f"listen 127.0.0.1:{made.port} "),
        (r"/etc/letsencrypt/live/ponte\.example\.com/", f"{folder}/"),
    )
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    return text


def _certify(certificate: Path, key: Path) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={HOST}",
        "-addext",
        f"subjectAltName=DNS:{HOST}",
    ]
    words += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)


def _wait_for(pid: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until nginx accepts connections: it writes `pid` after it has opened its ports."""
    while not (pid.exists() and pid.read_text().strip()):
        assert process.poll() is None, "nginx ended"
