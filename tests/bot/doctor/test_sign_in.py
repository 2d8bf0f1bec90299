"""`ponte doctor` and sign-in: each provider's discovery document, and what Slack needs."""

from __future__ import annotations

from pathlib import Path

from bot.config.ponte_toml import Config
from bot.features.sign_in.feature import SignInConfig
from tests.bot.doctor.test_doctor import doctor
from tests.fakes.config import with_sections
from tests.fakes.oidc import FakeProvider
from tests.real.nginx import free_port

SLACK = {"ponte_sign_in_slack_id": "1.2", "ponte_sign_in_slack_secret": "a-secret-of-the-app"}


def config(issuer: str) -> Config:
    return with_sections(
        sign_in={"acme": SignInConfig(issuer, "ponte", "ACME_SECRET", anyone=True)}
    )


async def test_each_provider_is_asked_for_its_discovery_document(tmp_path: Path) -> None:
    page = {"ponte_web": "on", "ponte_web_port": free_port()}
    async with FakeProvider() as provider:
        found = await doctor(tmp_path, config(provider.issuer), **page)
        assert found.parts["sign-in acme"] == f"ok    sign-in acme: {provider.issuer}"
        found = await doctor(tmp_path, config(f"{provider.issuer}/"), **page)
        line = found.parts["sign-in acme"]
        assert line.startswith("FAIL")
        assert f"names the issuer {provider.issuer})" in line, "it differs by a slash"
        provider.document["token_endpoint"] = "http://elsewhere.example/token"
        found = await doctor(tmp_path, config(provider.issuer), **page)
        assert "token_endpoint is not an https address" in found.parts["sign-in acme"]
    found = await doctor(tmp_path, config(provider.issuer), **page)
    assert "(ConnectError)" in found.parts["sign-in acme"]
    assert found.code == 1


async def test_sign_in_with_slack_needs_https_and_slack(tmp_path: Path) -> None:
    page = {"ponte_web": "on", "ponte_web_port": free_port(), **SLACK}
    found = await doctor(tmp_path, **page)
    assert "Set PONTE_WEB_URL=https://…" in found.parts["sign-in slack"]
    async with FakeProvider(is_slack=True) as slack:
        page |= {
            "ponte_web_url": "https://ponte.example",
            "ponte_web_token": "a-token-of-the-page-in-tests",
            "slack_api_url": f"{slack.origin}/api/",
        }
        found = await doctor(tmp_path, **page)
        assert "set SLACK_BOT_TOKEN and SLACK_APP_TOKEN" in found.parts["sign-in slack"]
