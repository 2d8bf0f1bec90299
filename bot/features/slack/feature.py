"""Slack."""

from __future__ import annotations

from adapters.slack import SLACK
from bot.features.base import Feature, SetupCard, SetupField, SetupLink

FEATURE = Feature(
    integration=SLACK,
    card=SetupCard(
        "slack",
        "Slack",
        "Answers where your team writes: mentions, direct messages and followed threads.",
        "An app in your workspace. The first link creates it with everything that Ponte "
        "needs. Then install it, copy the bot token from OAuth & Permissions, and generate "
        "an app-level token with the connections:write scope under Basic Information.",
        (
            SetupField("slack_bot_token", words="Bot token", is_secret=True, example="xoxb-…"),
            SetupField("slack_app_token", words="App token", is_secret=True, example="xapp-…"),
            SetupField(
                "slack_config_token",
                words="Configuration refresh token, to check and update the app (optional)",
                is_secret=True,
                example="xoxe-1-…",
            ),
        ),
        (SetupLink("https://api.slack.com/apps", words="Your Slack apps"),),
    ),
)
