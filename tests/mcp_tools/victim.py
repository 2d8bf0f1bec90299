"""A Ponte in a process of its own that approves a change: `victim HOME FILE ID`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bot.compose import compose
from bot.config.ponte_toml import read_config
from bot.home import Home
from bot.settings import Settings
from tests.mcp.client import ALONE


async def approve(folder: Path, file: Path, id: str) -> None:
    """Approve the change, and wait for its end."""
    home = Home(folder)
    options = {**ALONE, "ponte_mcp": "off", "ponte_home": folder, "ponte_config": file}
    with home.take():
        app = await compose(Settings.model_validate(options), read_config(file), home)
        await app.start()
        await app.run_command(f"approve {id}", False)


if __name__ == "__main__":
    asyncio.run(approve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
