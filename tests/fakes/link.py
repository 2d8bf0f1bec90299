"""The address that `ponte link` prints, as a script uses it."""

from __future__ import annotations

from urllib.parse import unquote


def opened(link: str) -> tuple[str, dict[str, str]]:
    """The page's origin, and the headers that open it."""
    origin, _, token = link.partition("/#token=")
    assert token, link
    return origin, {"Authorization": f"Bearer {unquote(token)}"}
