"""Proofs that the owner of the page is a certain person of a chat platform."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.domain.messages import Person

CLAIM_SECONDS = 600.0
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(slots=True)
class IdentityClaim:
    """A claim of the page's owner to be `person` (`platform:id`) on a chat platform. It is proven
    when that person sends `word`, which only the page shows, to Ponte there. It ends at `until`
    (monotonic seconds)."""

    person: str
    word: str
    until: float
    is_proven: bool = False


class IdentityClaims:
    """The claims of the page's owner to be certain people of chat platforms, at most one for each
    platform. They are in the memory of this process alone: a restart ends them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._claims: dict[str, IdentityClaim] = {}

    def begin(self, platform: str, id: str) -> IdentityClaim:
        """The claim replaces an earlier one of that platform. The owner must send its word to Ponte
        from that account (`setup abcd-efgh`) within CLAIM_SECONDS. The hyphen makes it easy to
        type."""
        letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
        word = f"{letters[:4]}-{letters[4:]}"
        claim = IdentityClaim(f"{platform}:{id}", word, self._clock() + CLAIM_SECONDS)
        self._claims[platform] = claim
        return claim

    def find(self, platform: str) -> IdentityClaim | None:
        claim = self._claims.get(platform)
        return claim if claim and claim.until > self._clock() else None

    def prove(self, person: Person, word: str) -> bool:
        """A proven claim cannot be proven again."""
        claim = self.find(person.platform)
        if claim is None or claim.is_proven or claim.person != f"{person.platform}:{person.id}":
            return False
        # The time that this comparison takes does not depend on how much of the word is right.
        claim.is_proven = secrets.compare_digest(claim.word.encode(), word.lower().encode())
        return claim.is_proven
