"""Signed addresses of single files, for clients that have no session of the page.

An address lets whoever has it download one file for an hour. It ends earlier if the file's
conversation is forgotten, because the file is then deleted.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import urlencode

DOWNLOAD_PREFIX = "/download/"
"""The prefix of signed addresses. Requests for them need no token."""
LINK_SECONDS = 3600
"""How long an address works."""


class FileLinks:
    """Signs and checks addresses of files. `secret` is a key that all processes share."""

    def __init__(self, secret: bytes, now: Callable[[], float] = time.time) -> None:
        # A key of its own: a signature of something else never fits.
        self._key = hmac.digest(secret, b"ponte file link", "sha256")
        self._now = now

    def path(self, file: str) -> str:
        """Return the path and query under which the file (its id) can be downloaded."""
        until = str(int(self._now()) + LINK_SECONDS)
        query = urlencode({"until": until, "signature": self._sign(file, until)})
        return f"{DOWNLOAD_PREFIX}{file}?{query}"

    def is_valid(self, file: str, until: str, signature: str) -> bool:
        """Return whether that is the signature for this file, and the time is not over."""
        expected = self._sign(file, until).encode()
        is_ours = hmac.compare_digest(expected, signature.encode(errors="replace"))
        return is_ours and self._now() < int(until)

    def _sign(self, file: str, until: str) -> str:
        signed = f"{file} {until}".encode(errors="replace")
        return hmac.new(self._key, signed, hashlib.sha256).hexdigest()
