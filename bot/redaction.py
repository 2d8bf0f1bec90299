"""Takes secrets out of what is written for operators: logs, errors, doctor's lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

MASK = "[secret]"
_SHORTEST = 4
"""A shorter secret would mask half of all words; nobody issues such."""

_TOKENS = re.compile(
    r"""
    xox[a-z](?:\.xox[a-z])?-[\w-]{8,}          # Slack: bot, user, refresh tokens
    | xapp-[\w-]{8,}                           # Slack: app-level token
    | sk-[\w-]{16,}                            # OpenAI and those that speak its API
    | [\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}     # Discord: bot token
    | eyJ[\w-]{8,}(?:\.[\w-]+){0,4}              # a JSON web token (StackSpot, NocoDB)
    | (?<=Bearer[ ])[\w.~+/=-]{8,}
    | (?<=://)[^\s/@:"]+:[^\s/@"]+(?=@)        # user:password in a URL
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Redaction:
    """Masks the given secrets, wherever they stand, and all that looks like a token."""

    def __init__(self, secrets: Iterable[str]) -> None:
        kept = {form for secret in secrets for form in _forms(secret) if len(form) >= _SHORTEST}
        longest_first = sorted(kept, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def of(self, text: str) -> str:
        return _TOKENS.sub(MASK, self._secrets.sub(MASK, text))


def _forms(secret: str) -> set[str]:
    """As it is, and as JSON and Python's repr would write it inside quotes."""
    return {secret, json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
