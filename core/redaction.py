"""What no model and no chat may see of a system's answer: addresses that grant access, secrets."""

from __future__ import annotations

import functools
from typing import Any

from core.text import plain

_DROPPED = {"signedpath", "signedurl"}
_SECRET = {
    *("password", "secret", "token", "authtoken", "accesstoken", "refreshtoken", "apitoken"),
    *("apikey", "clientsecret", "privatekey", "xctoken", "xcauth", "authorization"),
    *("passwd", "passphrase", "secretkey", "accesskey"),
    *("senha", "segredo", "chaveapi", "chavedeapi"),  # Portuguese
    *("motdepasse", "mdp", "cleapi", "contrasena"),  # French, Spanish
}
MARK = "[withheld]"


def withheld(value: Any) -> Any:
    """`value` without signed addresses, and with secrets replaced by a mark, at any depth.

    Names are compared without case, accents, `_`, `-` and blanks. A secret that is empty stays as
    it is.
    """
    if isinstance(value, list):
        return [withheld(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: MARK if each and _plain(name) in _SECRET else withheld(each)
        for name, each in value.items()
        if _plain(name) not in _DROPPED
    }


def unsigned(value: Any) -> Any:
    """`value` without signed addresses, at any depth: they differ each time that a row is read."""
    if isinstance(value, list):
        return [unsigned(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: unsigned(each) for name, each in value.items() if _plain(name) not in _DROPPED}


@functools.lru_cache(4096)
def _plain(name: str) -> str:
    return plain(name).replace("_", "").replace("-", "").replace(" ", "")
