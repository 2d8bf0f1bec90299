"""Which places every member of a workspace can read, as far as the platforms have told it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

from core.base.errors import PonteError
from core.base.tasks import BoundedDict, cancel_all
from core.domain.messages import Address
from core.domain.ports import Messenger

PLACE_TIMEOUT_SECONDS = 1.0
"""How long a report waits for what is not known; it is looked up on in the background."""
PLACE_REFRESH_SECONDS, PLACE_KNOWN_SECONDS = 60.0, 600.0
"""After the first time a platform is asked again; until the second, its last answer counts."""
PLACE_PAUSE_SECONDS, PLACE_LOOKUP_SECONDS = 2.0, 600.0
"""The pause before a platform that did not tell is asked again, and when that ends."""
_ANSWER_SECONDS = 10.0
_MAX_PLACES = 1_000


class PublicPlaces:
    """Asks platforms whether places are public, and keeps their answers for some minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: BoundedDict[Address, tuple[bool, float]] = BoundedDict(_MAX_PLACES)
        self._waiting: dict[Address, Messenger] = {}
        self._looking: asyncio.Task[None] | None = None

    async def find(
        self, places: Collection[Address], messengers: Mapping[str, Messenger]
    ) -> Mapping[Address, bool | None]:
        """Return whether each place is public; None if that is not known yet. A place of one person
        and a platform that is off are not public."""
        shared = [at for at in places if at.is_shared and at.platform in messengers]
        for place in shared:
            if self._read(place, PLACE_REFRESH_SECONDS) is None:
                self._waiting[place] = messengers[place.platform]
        if self._waiting:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look_up())
            await asyncio.wait({self._looking}, timeout=PLACE_TIMEOUT_SECONDS)
        known = {place: self._read(place, PLACE_KNOWN_SECONDS) for place in shared}
        return dict.fromkeys(places, False) | known

    async def close(self) -> None:
        await cancel_all([self._looking])

    def _read(self, place: Address, max_age: float) -> bool | None:
        is_public, told_at = self._known.get(place, (None, 0.0))
        return is_public if self._clock() - told_at <= max_age else None

    async def _look_up(self) -> None:
        end = self._clock() + PLACE_LOOKUP_SECONDS
        while True:
            await asyncio.gather(*(self._ask(*pair) for pair in [*self._waiting.items()]))
            if not self._waiting or self._clock() > end:
                break
            await asyncio.sleep(PLACE_PAUSE_SECONDS)
        self._waiting.clear()

    async def _ask(self, place: Address, messenger: Messenger) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                is_public = await messenger.is_public(place)
        except (PonteError, TimeoutError):
            return
        if is_public is not None:
            self._known[place] = is_public, self._clock()
            self._waiting.pop(place, None)
