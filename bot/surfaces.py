"""The platforms that this process serves: started, stopped and closed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.home import Home
from bot.settings import Settings
from core.base.tasks import run_together
from core.domain.platform import ChatPlatform, Platform
from core.integrations.integration import OwnerIntegration


@dataclass(slots=True)
class Surfaces:
    """The platforms of one process.

    `chats` are chat platforms. `owned` are the page and the terminal with their integrations.
    `accepts` says whether this process accepts messages; one that does not only posts answers.
    """

    accepts: bool = True
    chats: list[ChatPlatform] = field(default_factory=list)
    owned: list[tuple[OwnerIntegration[Any], Platform]] = field(default_factory=list)

    @property
    def all(self) -> Sequence[Platform]:
        """Return all platforms, the owner's first."""
        return [*(platform for _, platform in self.owned), *self.chats]

    async def start(self) -> None:
        """Start all platforms. Raise PonteError if one cannot be served."""
        await run_together(*(self._start(platform) for platform in self.all))

    async def _start(self, platform: Platform) -> None:
        always = [own for face, own in self.owned if face.always]
        if self.accepts or platform in always:
            await platform.start()
        elif platform in self.chats:
            await platform.start(listens=False)

    async def stop_intake(self) -> None:
        """Stop accepting messages on every platform."""
        for platform in self.all:
            await platform.stop_intake()

    async def close(self) -> None:
        """Close every platform, in reverse order."""
        for platform in reversed(self.all):
            await platform.close()

    def page_links(self, settings: Settings, home: Home) -> tuple[str, str]:
        """Return the page's address without and with its token; "" for both if no page is
        served."""
        served = [each for each in self.owned if self.accepts or each[0].always]
        links = (face.link(settings, own, home) for face, own in served)
        return next((both for both in links if both[0]), ("", ""))
