"""Discord."""

from __future__ import annotations

from adapters.discord import DISCORD
from bot.features.base import Feature, SetupCard, SetupField

FEATURE = Feature(
    integration=DISCORD,
    card=SetupCard(
        "discord",
        "Discord",
        "M7 8h10a4 4 0 0 1 4 4v5l-4-2H7l-4 2v-5a4 4 0 0 1 4-4zM8 11v2M7 12h2M16 12h.01",
        "Answers direct messages and mentions on your Discord servers.",
        (
            "Create an application in [Discord's developer portal]"
            "(https://discord.com/developers/applications).",
            "Copy the token from its Bot page.",
            "Paste it below and press Check to get the link that invites the bot.",
        ),
        (
            SetupField("discord_token", words="Bot token", is_secret=True),
            SetupField(
                "discord_message_content",
                words="Read messages without a mention (needs the intent in the portal)",
                choices=("off", "on"),
            ),
        ),
    ),
)
