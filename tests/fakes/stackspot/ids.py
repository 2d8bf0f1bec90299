"""ULIDs as StackSpot makes and takes them (https://github.com/ulid/spec)."""

from __future__ import annotations

import re
import secrets

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(f"[0-7][{_ALPHABET}]{{25}}")


def is_ulid(text: str) -> bool:
    return _ULID.fullmatch(text) is not None


def new_ulid() -> str:
    return "01" + "".join(secrets.choice(_ALPHABET) for _ in range(24))
