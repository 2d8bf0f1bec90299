"""Discord. `adapters.discord.connection` alone imports the SDK, and is loaded lazily."""
