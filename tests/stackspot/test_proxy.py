"""Through a real proxy on loopback, as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say."""

from __future__ import annotations

import asyncio

from core.tools.stackspot import Proxies
from tests.fakes.proxy import ForwardProxy
from tests.fakes.stackspot import FakeStackSpot
from tests.fakes.stackspot.clock import SteppedClock
from tests.stackspot.command_scene import client, error_of


async def test_everything_goes_through_the_proxy(fake: FakeStackSpot, clock: SteppedClock) -> None:
    async with ForwardProxy() as proxy:
        proxies = Proxies(http=proxy.url)
        async with client(fake.url, clock, proxies=proxies) as stackspot:
            assert (await stackspot.run("echo", "a")).text == "echo: a"
            assert (await stackspot.ask_agent("01AGENT", "a")).text == "(1) You said: a"
        lines = [line.split("?")[0] for line in proxy.asked]
    execution = next(iter(fake.executions))
    callback = f"GET {fake.url}/v1/quick-commands/callback/{execution}"
    assert [line.removesuffix(" HTTP/1.1") for line in lines] == [
        f"POST {fake.url}/acme/oidc/oauth/token",
        f"POST {fake.url}/v1/quick-commands/create-execution/echo",
        *[callback] * 3,
        f"POST {fake.url}/v1/agent/01AGENT/chat",
    ]
    assert fake.refused == []


async def test_no_proxy_is_respected(fake: FakeStackSpot, clock: SteppedClock) -> None:
    async with ForwardProxy() as proxy:
        proxies = Proxies(http=proxy.url, no="example.org, 127.0.0.1")
        async with client(fake.url, clock, proxies=proxies) as stackspot:
            await stackspot.run("echo", "a")
        assert proxy.asked == []


async def test_https_goes_through_a_tunnel(clock: SteppedClock) -> None:
    """Where it leads nobody speaks TLS: that the tunnel was asked for is all that is seen here."""
    async with asyncio.timeout(120), ForwardProxy() as proxy, FakeStackSpot() as fake:
        place = fake.url.removeprefix("http://")
        proxies = Proxies(https=proxy.url)
        async with client(f"https://{place}", clock, proxies=proxies) as stackspot:
            error = await error_of(stackspot.check())
        assert (error.code, error.unsure) == ("down", False)
        assert proxy.asked == [f"CONNECT {place} HTTP/1.1"] * 4


async def test_a_proxy_that_knows_its_users(fake: FakeStackSpot, clock: SteppedClock) -> None:
    async with ForwardProxy("ada", "hunter2") as proxy:
        async with client(fake.url, clock, proxies=Proxies(http=proxy.url)) as stackspot:
            assert (await stackspot.run("echo", "a")).text == "echo: a"
        stranger = Proxies(http=proxy.url.replace("hunter2", "wrong"))
        async with client(fake.url, clock, proxies=stranger) as stackspot:
            error = await error_of(stackspot.check())
    assert error.code == "proxy"
    assert "HTTP_PROXY" in str(error)
    assert "hunter2" not in str(error)
