"""The checks of `ponte doctor`."""

from __future__ import annotations

from collections.abc import Sequence

import discord

from adapters.discord import connection
from adapters.discord.client import IN_DOUBT
from adapters.discord.interactions import ASK_MENU
from core.base.i18n import say
from core.base.proxies import Proxies, add_proxy
from core.domain.records import Health

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
"""The permissions that the invitation asks a server for."""
INVITATION_SCOPES = ("bot", "applications.commands")
"""The scopes of the invitation are for the bot, and for its slash commands."""
DISCORD_NO_ANSWER = (
    "Discord didn't respond at {url} ({error}). Check your network connection and DISCORD_API_URL."
)
UNREGISTERED = "no commands registered yet; `ponte run` registers them when it starts"


async def check(
    token: str,
    api_url: str,
    gateway_url: str,
    message_content: bool,
    proxies: Proxies,
    everything: Sequence[str] = (),
) -> Sequence[Health]:
    """Check each setting against the live service, by REST calls only, without a gateway session.
    `everything`: the places where every message is for Ponte; they need the message content
    intent."""
    connection.set_sdk_addresses(api_url, gateway_url)
    client = discord.Client(
        intents=connection.intents(message_content), proxy=proxies.for_url(api_url)
    )
    try:
        async with client:
            await client.login(token)
            application = await client.application_info()
            name = client.user.name if client.user else "?"
            results = [Health("discord token", "on", f"{name} ({application.id})")]
            # Discord must have granted the intent to the app. The limited form is that of an app in
            # fewer than 100 servers.
            if message_content:
                flags = application.flags
                granted = flags.gateway_message_content or flags.gateway_message_content_limited
                words = say(
                    "the Message Content intent is granted"
                    if granted
                    else connection.INTENT_REFUSED
                )
                results.append(Health("discord intents", "on" if granted else "failing", words))
            else:
                results.append(Health("discord intents", "on", say("no privileged intents")))
            # All commands are registered together: one tells about all.
            registered = await client.http.get_global_commands(application.id)
            names = sorted(command["name"] for command in registered)
            words = ", ".join(names) if ASK_MENU in names else say(UNREGISTERED)
            results.append(Health("discord commands", "on", words))
            results.append(Health("discord invite", "on", invite_url(application.id)))
            if everything and message_content:
                words = say("answer_everything in {places}", places=", ".join(everything))
                results.append(Health("discord channels", "on", words))
            elif everything:
                results.append(Health("discord channels", "failing", say(connection.MENTIONS_ONLY)))
            return results
    except discord.LoginFailure:
        return [Health("discord token", "failing", say(connection.LOGIN_REFUSED))]
    except (discord.HTTPException, *IN_DOUBT) as error:
        words = say(
            DISCORD_NO_ANSWER,
            url=api_url,
            error=add_proxy(type(error).__name__, proxies.name_for(api_url)),
        )
        return [Health("discord", "failing", words)]


def invite_url(application: int) -> str:
    return discord.utils.oauth_url(application, permissions=PERMISSIONS, scopes=INVITATION_SCOPES)
