"""The few things that Ponte says without having been asked: each once, as a reply."""

from __future__ import annotations

import hashlib

import discord
import structlog

from adapters.discord.calls import IN_DOUBT, attempt
from adapters.discord.notes import Notes
from core.errors import PonteError
from core.words import say

log = structlog.get_logger("discord")
LONGEST_NONCE = 25  # resources/message.mdx#create-message-jsonform-params
DAY = 24 * 3600.0
MENTION = (
    "I cannot read a message here that does not mention me. Please mention me in it, "
    "or reply to me with the mention on."
)
BY_ROLE = (
    "You mentioned my role, and Discord does not show me what such a message says. "
    "Please pick the bot of that name in the list, not the role."
)
WAITS = "There are several of you here now, so I wait to be mentioned."
AWAY = (
    "I was away, and left {count} older messages here unanswered. "
    "Please send again what still matters."
)


class Hints:
    def __init__(self, notes: Notes, locale: str) -> None:
        self._notes = notes
        self._locale = locale

    async def mention_me(self, message: discord.Message) -> None:
        """Once a day in a channel: who wrote meant Ponte, but Discord did not tell what."""
        if self._notes.first_hint(f"mention:{message.channel.id}", DAY):
            await self.say(message, say(MENTION, self._locale), "mention")

    async def by_role(self, message: discord.Message) -> None:
        """Who wrote meant us, each time: silence would be no answer."""
        await self.say(message, say(BY_ROLE, self._locale), "role")

    async def waits_now(self, message: discord.Message) -> None:
        await self.say(message, say(WAITS, self._locale), "waits")

    async def away(self, newest: discord.Message, count: int) -> None:
        await self.say(newest, say(AWAY, self._locale, count=count), "away")

    async def say(self, message: discord.Message, words: str, about: str) -> None:
        """As a reply to `message`, so that it is never taken for an answer to another one."""
        nonce = hashlib.sha256(f"{about}:{message.id}".encode()).hexdigest()[:LONGEST_NONCE]
        reference = discord.MessageReference.from_message(message, fail_if_not_exists=False)
        try:
            await attempt(lambda: message.channel.send(words, nonce=nonce, reference=reference))
        except (PonteError, *IN_DOUBT) as error:
            log.info("hint not given", about=about, why=str(error)[:200])
