"""Secrets and signed URLs are removed before a model or a chat sees them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection
from typing import Any

from core.base.i18n import say
from core.base.text import clean_text, fold_to_letters

_SIGNED_URL_NAMES = {"signedpath", "signedurl"}
"""NocoDB's fields with addresses that open a file without a sign-in."""
_SECRET_NAMES = {
    *("password", "secret", "token", "authtoken", "accesstoken", "refreshtoken", "apitoken"),
    *("apikey", "clientsecret", "privatekey", "xctoken", "xcauth", "authorization"),
    *("passwd", "passphrase", "secretkey", "accesskey"),
    *("senha", "segredo", "chaveapi", "chavedeapi"),  # Portuguese
    *("motdepasse", "mdp", "cleapi", "contrasena"),  # French, Spanish
}
WITHHELD_MARK = "[withheld]"
NO_SECRET: tuple[object, ...] = (None, "", [], {})
"""Empty cells. A zero is a secret like any other."""


def redact(value: Any, secrets: Collection[str] = _SECRET_NAMES) -> Any:
    """Remove secrets and signed URLs at any depth, before a model or a chat sees the data.
    `secrets` are the names of fields, compared without case, accents, `_`, `-` and spaces. Empty
    secrets remain."""
    if isinstance(value, list):
        return [redact(member, secrets) for member in value]
    if isinstance(value, tuple):
        return tuple(redact(member, secrets) for member in value)
    if not isinstance(value, dict):
        return value
    # A signed URL opens a file without a sign-in.
    return {
        name: say(WITHHELD_MARK)
        if member not in NO_SECRET and _fold_name(name) in secrets
        else redact(member, secrets)
        for name, member in value.items()
        if _fold_name(name) not in _SIGNED_URL_NAMES
    }


def pretty_json(text: str) -> str:
    """Return a text as indented JSON without secrets; "" if it is no JSON object or list."""
    if not text.lstrip().startswith(("{", "[")):
        return ""
    try:
        return clean_text(json.dumps(redact(json.loads(text)), ensure_ascii=False, indent=2))
    except (ValueError, RecursionError):
        return ""


_PAIR = re.compile(
    r"""(?P<head>(?<!\\)(?P<mark>\\{0,20}["'])(?P<name>[^"'\\\n]{1,80})(?P=mark)\s*:\s*(?P=mark))"""
    r"""(?P<value>(?:(?!(?<!\\)(?P=mark)).)+)"""
)
"""A field and its value in JSON. In a text that is JSON, their quotation marks are escaped."""


def withhold_in_text(text: str) -> str:
    """`WITHHELD_MARK` replaces the secrets in JSON that stands inside the text."""
    return _PAIR.sub(
        lambda pair: (
            pair["head"]
            + (
                say(WITHHELD_MARK)
                if is_secret_name(pair["name"])
                else withhold_in_text(pair["value"])
            )
        ),
        text,
    )


def is_secret_name(name: str) -> bool:
    return _fold_name(name) in _SECRET_NAMES


def remove_signed_urls(value: Any) -> Any:
    """The URLs differ each time that a row is read, so two readings could not be compared."""
    return redact(value, secrets=())


@functools.lru_cache(4096)
def _fold_name(name: str) -> str:
    return fold_to_letters(name).replace("_", "").replace("-", "").replace(" ", "")
