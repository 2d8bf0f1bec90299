"""The platforms that people reach Ponte on."""

PLATFORMS = {
    "slack": "adapters.slack.connection",
    "discord": "adapters.discord.connection",
    "web": "adapters.web.adapter",
    "terminal": "adapters.web.adapter",
}
"""Name → the module with its `Platform`, imported only where it is on."""
