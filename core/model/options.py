"""What the operator chose about the model, and our own limits with it."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

DEFAULT_MODEL = "gpt-6-luna"


@dataclass(frozen=True, slots=True)
class Options:
    """`effort` "" is "low" at OpenAI and the server's own default elsewhere.

    `secret` keys the names under which a server knows persons and threads. Seconds: `silence`
    that a stream may keep, `drain` for a stream that nobody listens to any more, `lock` to wait
    for a locked conversation. Tokens: `window` of history that is sent, `compact` from which
    OpenAI compacts by itself. Over 272,000 tokens gpt-6-luna doubles its price, which `window`
    stays under; servers elsewhere tell when less fits, and then less is sent.
    """

    model: str = DEFAULT_MODEL
    effort: str = ""
    secret: bytes = field(default=b"", repr=False)
    silence: float = 120.0
    drain: float = 60.0
    lock: float = 15.0
    window: int = 200_000
    compact: int = 100_000

    def pseudonym(self, name: str) -> str:
        """A stable name that tells nothing: HMAC-SHA256, 64 characters (OpenAI takes 64 to 128)."""
        return hmac.new(self.secret, name.encode(), hashlib.sha256).hexdigest()
