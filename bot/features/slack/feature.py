"""Slack."""

from __future__ import annotations

from adapters.slack import SLACK
from bot.features.base import Feature, SetupCard, SetupField

FEATURE = Feature(
    integration=SLACK,
    card=SetupCard(
        "slack",
        "Slack",
        "M9 4L7 20M17 4l-2 16M4 9h16M4 15h16",
        "Answers where your team writes: mentions, direct messages and followed threads.",
        (
            "Under Install App, install it in your workspace.",
            "Under OAuth & Permissions, copy the bot token.",
            "Under Basic Information, generate an app-level token with the connections:write "
            "scope.",
            "Optional: under [Your Slack apps](https://api.slack.com/apps), generate a "
            "configuration token and copy its refresh token.",
        ),
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
    ),
)
