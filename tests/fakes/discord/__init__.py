"""A strict Discord on the wire: REST, gateway, interactions and CDN, on loopback.

`async with FakeDiscord() as discord:` runs it in this process; `python -m tests.fakes.discord`
runs it as its own.
"""

from tests.fakes.discord.interactions import Exchange
from tests.fakes.discord.people import DiscordPerson
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.gate import Gate

__all__ = ["DiscordPerson", "Exchange", "FakeDiscord", "Gate"]
