"""The bot: composes core and adapters, and is what a person starts."""

__version__ = "0.1.0"
