"""For `ponte doctor`: the token, the intent, the commands, and the address that invites us."""

from __future__ import annotations

from collections.abc import Sequence

import discord

from adapters.discord.client import IN_DOUBT, intents
from adapters.discord.connection import ASK_MENU, INTENT_REFUSED, LOGIN_REFUSED, aim
from core.http import Proxies
from core.records import Health

PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    create_public_threads=True,
    embed_links=True,
    attach_files=True,
    read_message_history=True,
    add_reactions=True,
)
"""What the invitation asks a server for."""
SCOPES = ("bot", "applications.commands")
NO_ANSWER = "Discord does not answer at {url} ({error}). Check the network and DISCORD_API_URL."
UNREGISTERED = "none yet: the first `ponte run` registers them"


async def check(
    token: str, api_url: str, gateway_url: str, message_content: bool, proxies: Proxies
) -> Sequence[Health]:
    """Each setting against the live service, over REST alone: no gateway session is begun."""
    aim(api_url, gateway_url)
    client = discord.Client(intents=intents(message_content), proxy=proxies.for_url(api_url))
    try:
        async with client:
            await client.login(token)
            return await _examined(client, message_content)
    except discord.LoginFailure:
        return [Health("discord token", "failing", LOGIN_REFUSED)]
    except (discord.HTTPException, *IN_DOUBT) as error:
        words = NO_ANSWER.format(url=api_url, error=type(error).__name__)
        return [Health("discord", "failing", words)]


async def _examined(client: discord.Client, message_content: bool) -> Sequence[Health]:
    application = await client.application_info()
    name = client.user.name if client.user else "?"
    found = [Health("discord token", "on", f"{name} ({application.id})")]
    if message_content:
        flags = application.flags
        granted = flags.gateway_message_content or flags.gateway_message_content_limited
        words = "message content is granted" if granted else INTENT_REFUSED
        found.append(Health("discord intents", "on" if granted else "failing", words))
    else:
        found.append(Health("discord intents", "on", "none that is privileged"))
    registered = await client.http.get_global_commands(application.id)
    names = sorted(command["name"] for command in registered)
    told = ", ".join(names) if ASK_MENU in names else UNREGISTERED
    found.append(Health("discord commands", "on", told))
    found.append(Health("discord invite", "on", invite_url(application.id)))
    return found


def invite_url(application: int) -> str:
    """Where a server's owner lets Ponte in."""
    return discord.utils.oauth_url(application, permissions=PERMISSIONS, scopes=SCOPES)
