"""Discord. Nothing here imports the SDK: `adapters.discord.adapter` does, and is loaded lazily."""
