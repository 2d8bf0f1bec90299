"""A real `ponte run` with the provider of a package, which is built on Authlib's server, and killed
in the middle of a sign-in."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.fakes import forker
from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, FakeProvider
from tests.real.nginx import free_port
from tests.web.oidc.scene import sentence_of

SECRET_NAME = "ACME_SIGN_IN_SECRET"


@asynccontextmanager
async def real_provider() -> AsyncIterator[str]:
    """Yield the issuer of a provider that registers clients and requires a nonce."""
    port = free_port()
    words = ("-m", "oidc_provider_mock", "--port", str(port))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", *words),
        *("--require-registration", "true", "--require-nonce", "true"),
        *("--user-claims", '{"sub": "a:b,c d", "name": "Ana", "email": "ana@example.com"}'),
        env={**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async for line in process.stderr:
            if b"running" in line.lower():
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def real_ponte(
    home: Path, issuer: str, client: tuple[str, str], port: int
) -> AsyncIterator[forker.Process]:
    """Yield a `ponte run` on this port with the provider `acme`, once it is ready."""
    id, secret = client
    (home / "ponte.toml").write_text(
        f'[sign_in.acme]\nissuer = "{issuer}"\nclient_id = "{id}"\nsecret = "{SECRET_NAME}"\n'
        "anyone = true\n"
    )
    env = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    env |= {
        "HOME": str(home),
        "PONTE_HOME": str(home / "ponte"),
        "PONTE_CONFIG": str(home / "ponte.toml"),
        "PONTE_WEB_PORT": str(port),
        SECRET_NAME: secret,
    }
    process = await forker.start("bot", "run", env=env, stderr=asyncio.subprocess.STDOUT)
    try:
        text = ""
        while process.stdout is not None and "ready" not in text:
            line = (await process.stdout.readline()).decode()
            assert line, text
            text += line
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.slow
async def test_a_real_provider_and_a_real_ponte(tmp_path: Path) -> None:
    """The provider checks the client, its secret, the redirect address and the nonce."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    async with real_provider() as issuer, httpx.AsyncClient(timeout=60) as browser:
        body = {"redirect_uris": [f"{address}/sign-in/acme/done"]}
        client = (await browser.post(f"{issuer}/oauth2/clients", json=body)).json()
        registered = (client["client_id"], client["client_secret"])
        async with real_ponte(tmp_path, issuer, registered, port):
            started = await browser.get(f"{address}/sign-in/acme")
            url = started.headers["location"]
            assert url.startswith(f"{issuer}/oauth2/authorize?")
            denied = await browser.post(url, data={"action": "deny"})
            assert denied.headers["location"].startswith(f"{address}/sign-in/acme/done?error=")
            granted = await browser.post(url, data={"sub": "a:b,c d"})
            answer = await browser.get(granted.headers["location"])
            assert (answer.status_code, sentence_of(answer)) == (200, "")
            assert (await browser.get(f"{address}/sign-in")).json()["signed_in"] is True
            person = (await browser.get(f"{address}/me")).json()
            assert person["person"] == "oidc:acme:a%3Ab%2Cc%20d"
            again = await browser.get(granted.headers["location"])
            assert (again.status_code, sentence_of(again)) == (200, "")
        async with real_ponte(tmp_path, issuer, (registered[0], "wrong-secret-of-ponte"), port):
            started = await browser.get(f"{address}/sign-in/acme")
            granted = await browser.post(started.headers["location"], data={"sub": "bia"})
            answer = await browser.get(granted.headers["location"])
            assert "isn't set up correctly" in sentence_of(answer)


@pytest.mark.slow
async def test_kill_between_the_provider_s_answer_and_the_session(tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    account = {"sub": "42", "name": "Ana"}
    async with (
        FakeProvider(account=account, redirects={f"{address}/sign-in/acme/done"}) as provider,
        httpx.AsyncClient(timeout=60) as browser,
    ):
        client = (CLIENT_ID, CLIENT_SECRET)
        async with real_ponte(tmp_path, provider.issuer, client, port) as process:
            started = await browser.get(f"{address}/sign-in/acme")
            back = (await browser.get(started.headers["location"])).headers["location"]
            provider.hold = "/keys"  # the provider has answered, and Ponte asks for its keys
            answer = asyncio.create_task(browser.get(back))
            await provider.wait_for("/keys")
            process.kill()
            with pytest.raises(httpx.HTTPError):
                await answer
        provider.hold = ""
        async with real_ponte(tmp_path, provider.issuer, client, port):
            assert (await browser.get(f"{address}/sign-in")).json()["signed_in"] is False
            refused = await browser.get(back)  # the provider's code is used
            assert "was already used" in sentence_of(refused)
            started = await browser.get(f"{address}/sign-in/acme")
            back = (await browser.get(started.headers["location"])).headers["location"]
            assert sentence_of(await browser.get(back)) == ""
            assert (await browser.get(f"{address}/me")).json()["person"] == "oidc:acme:42"
