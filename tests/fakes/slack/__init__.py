"""A strict fake Slack: `async with FakeSlack() as slack`, or `python -m tests.fakes.slack`."""

from .records import (
    APP_TOKEN,
    BOT_TOKEN,
    BOT_USER,
    MENTION,
    SIGNING_SECRET,
    TEAM,
    Json,
    Post,
    SlackChannel,
    SlackErrorResponse,
    SlackPerson,
)
from .server import FakeSlack

__all__ = [
    "APP_TOKEN",
    "BOT_TOKEN",
    "BOT_USER",
    "MENTION",
    "SIGNING_SECRET",
    "TEAM",
    "FakeSlack",
    "Json",
    "Post",
    "SlackChannel",
    "SlackErrorResponse",
    "SlackPerson",
]
