"""Discord."""

from __future__ import annotations

from adapters.discord import DISCORD
from bot.features.base import Feature, SetupCard, SetupField, SetupLink

FEATURE = Feature(
    integration=DISCORD,
    card=SetupCard(
        "discord",
        "Discord",
        "Answers direct messages and mentions on your Discord servers.",
        "A bot of your own. Create an application in the developer portal and copy the token "
        "from its Bot page. Then press Check to get the link that invites it to a server.",
        (
            SetupField("discord_token", words="Bot token", is_secret=True),
            SetupField(
                "discord_message_content",
                words="Read messages without a mention (needs the intent in the portal)",
                choices=("off", "on"),
            ),
        ),
        (
            SetupLink(
                "https://discord.com/developers/applications", words="Discord's developer portal"
            ),
        ),
    ),
)
