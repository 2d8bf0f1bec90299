"""Use the address that `ponte link` prints in a script."""

from __future__ import annotations

from urllib.parse import unquote


def parse_page_link(link: str) -> tuple[str, dict[str, str]]:
    """Return the page's origin and the headers that sign in."""
    origin, _, token = link.partition("/#token=")
    assert token, link
    return origin, {"Authorization": f"Bearer {unquote(token)}"}
