"""What attacks are told of the outside."""

from __future__ import annotations

from typing import TypedDict


class Outside(TypedDict):
    """`secret` stands in the bot's environment and in `file`; `folder` is anybody's to write.

    `bot` is its process, `home` its folder, `port` a server on this machine; `memory` is the
    kernel's cap and `disk` what all its folders together may hold, in bytes.
    """

    secret: str
    file: str
    folder: str
    home: str
    python: str
    bot: int
    port: int
    memory: int
    disk: int
