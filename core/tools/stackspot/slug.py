"""A quick command's name, as it may stand in an address."""

from __future__ import annotations

import re
from urllib.parse import quote

from core.commands import SLUG
from core.tools.stackspot.error import StackSpotError


def quoted_slug(slug: str) -> str:
    """`slug` for a path. Raises StackSpotError for what no quick command can be named."""
    if not re.fullmatch(SLUG, slug):
        raise StackSpotError(
            "{slug} is no name of a quick command: a name has up to 100 lower-case letters, "
            "digits, - and _, and begins with a letter or digit.",
            code="bad_slug",
            slug=repr(slug[:40]),
        )
    return quote(slug, safe="")
