"""Names for conversations, as StackSpot writes its own: ULIDs (https://github.com/ulid/spec)."""

from __future__ import annotations

import hashlib

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base32: no I, L, O, U
_LENGTH = 26
_TIME = 1_767_225_600_000
"""The 48 bits of time in each, in milliseconds: 2026-01-01 UTC. It must be a moment that every
reader of ULIDs can hold; a hash's bits would often stand for a year after 9999."""


def ulid_of(*key: str) -> str:
    """The ULID that belongs to `key`: always the same one, and another for any other key."""
    digest = hashlib.sha256("\0".join(key).encode()).digest()[:10]
    number = _TIME << 80 | int.from_bytes(digest)
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))
