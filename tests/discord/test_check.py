"""What `ponte doctor` tells of Discord."""

from __future__ import annotations

from adapters.discord.setup import PERMISSIONS, check, invite_url
from core.base.proxies import Proxies
from tests.discord.discord_ponte import DiscordPonte
from tests.fakes.discord import FakeDiscord


async def check_discord(
    discord: FakeDiscord, message_content: bool = False
) -> dict[str, tuple[str, str]]:
    findings = await check(
        discord.token, discord.api_url, discord.gateway_url, message_content, Proxies()
    )
    return {health.name: (health.state, health.words) for health in findings}


async def test_a_correct_setup_passes_every_check(discord: FakeDiscord, live: DiscordPonte) -> None:
    await live.ready()
    match = await check_discord(discord)
    assert match["discord token"] == ("on", f"ponte ({discord.world.me.id})")
    assert match["discord intents"][0] == "on"
    assert "quick-command" in match["discord commands"][1]
    assert match["discord invite"][1] == invite_url(discord.world.me.id)


async def test_the_invitation_asks_for_what_the_adapter_uses() -> None:
    assert invite_url(1) == (
        "https://discord.com/oauth2/authorize?client_id=1"
        "&scope=bot+applications.commands&permissions=309237763136"
    )
    assert PERMISSIONS.value == 309237763136


async def test_missing_commands_a_wrong_token_and_a_wrong_address_are_named(
    discord: FakeDiscord,
) -> None:
    assert "ponte run" in (await check_discord(discord))["discord commands"][1]
    discord.refuse("GET", "/users/@me", 401)
    state, words = (await check_discord(discord))["discord token"]
    assert (state, "DISCORD_TOKEN" in words) == ("failing", True)
    discord.lose("GET", "/users/@me", times=9)
    state, words = (await check_discord(discord))["discord"]
    assert (state, "DISCORD_API_URL" in words) == ("failing", True)


async def test_a_proxy_that_does_not_respond_is_named(discord: FakeDiscord) -> None:
    proxies = Proxies(http="http://u:hunter2@127.0.0.1:9")
    url = discord.api_url
    (finding,) = await check(discord.token, url, discord.gateway_url, False, proxies)
    assert "ClientProxyConnectionError, proxy 127.0.0.1:9)" in finding.words
    around = Proxies(http=proxies.http, no="127.0.0.0/8")
    assert (await check(discord.token, url, discord.gateway_url, False, around))[0].state == "on"


async def test_an_intent_that_was_not_granted(discord: FakeDiscord) -> None:
    assert (await check_discord(discord, message_content=True))["discord intents"][0] == "failing"
    discord.grant_message_content()
    assert (await check_discord(discord, message_content=True))["discord intents"][0] == "on"
