"""Sign-in with Slack, in a real `ponte run` behind a proxy with TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, slack_account
from tests.fakes.slack import TEAM, FakeSlack
from tests.real.nginx import free_port
from tests.slack.test_run import environment, ponte, until_ready
from tests.web.oidc.scene import sentence_of

PUBLIC = "https://ponte.example"


class Browser:
    """A browser behind the proxy. Its cookies are for https, which the proxy ends."""

    def __init__(self, port: int) -> None:
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self._cookies: dict[str, str] = {}

    async def get(self, url: str) -> httpx.Response:
        pairs = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers = {"Host": "ponte.example", "Cookie": pairs}
        answer = await self._client.get(url.removeprefix(PUBLIC), headers=headers)
        for line in answer.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            self._cookies[name] = rest.partition(";")[0]
        return answer

    async def sign_in(self) -> httpx.Response:
        started = await self.get("/sign-in/slack")
        async with httpx.AsyncClient() as elsewhere:
            back = (await elsewhere.get(started.headers["location"])).headers["location"]
        return await self.get(back)

    async def close(self) -> None:
        await self._client.aclose()


async def test_who_signs_in_with_slack_is_the_same_person_as_in_slack(tmp_path: Path) -> None:
    port = free_port()
    async with FakeSlack() as slack:
        slack.sign_in.redirects.add(f"{PUBLIC}/sign-in/slack/done")
        ana = slack.person("Ana")
        settings: dict[str, Any] = {
            "PONTE_WEB": "on",
            "PONTE_WEB_PORT": str(port),
            "PONTE_WEB_URL": PUBLIC,
            "PONTE_WEB_TOKEN": "a-token-of-the-page-in-tests",
            "PONTE_SIGN_IN_SLACK_ID": CLIENT_ID,
            "PONTE_SIGN_IN_SLACK_SECRET": CLIENT_SECRET,
            "SLACK_APP_TOKEN": slack.app_token,
        }
        async with ponte("run", env=environment(slack, tmp_path, **settings)) as process:
            await until_ready(process)
            browser = Browser(port)
            (way,) = (await browser.get("/sign-in")).json()["ways"]
            assert way == {"label": "Slack", "url": f"{PUBLIC}/sign-in/slack"}
            slack.sign_in.account = slack_account(ana.id, "T0OTHER")
            assert "another Slack workspace" in sentence_of(await browser.sign_in())
            assert (await browser.get("/me")).status_code == 401
            slack.sign_in.account = slack_account(ana.id, TEAM)
            answer = await browser.sign_in()
            assert (answer.status_code, sentence_of(answer)) == (200, "")
            me = (await browser.get("/me")).json()
            assert (me["person"], me["owner"]) == (f"slack:{TEAM}:{ana.id}", False)
            await browser.close()
            process.terminate()
            assert await process.wait() == 0
