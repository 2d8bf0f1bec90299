"""Somebody's words in Markdown of ours.

Links in text that tools brought: to allowed hosts they lead, others are only to be read.

A table's cell can tell the model to put what it knows into an address and to ask a person, or the
platform's preview, to open it. So an address whose host nobody allowed stands as code: readable,
not clickable, on every platform.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from core.text import after, one_line

_ADDRESS = re.compile(
    r"(\b(?:[a-z][a-z0-9+.-]*://|mailto:|www\.)[^\s<>()\[\]`\"']+)", re.IGNORECASE
)
_MARKUP = re.compile(r"([\\`*_\[\]<>|~#])")


def markless(text: str) -> str:
    """Names and values on one line, as nothing but text: addresses stand as code."""
    pieces = _ADDRESS.split(one_line(text))
    return "".join(
        f"`{piece}`" if number % 2 else _MARKUP.sub(r"\\\1", piece)
        for number, piece in enumerate(pieces)
    )


_URL = r"[a-z][a-z0-9+.-]{1,20}:[^\s<>()\[\]`\"']+(?:\([^\s<>()`]*\)[^\s<>()\[\]`\"']*)*"
_ANY = re.compile(
    r"(?P<code>`+)[^`].*?(?P=code)(?!`)"
    r"|!?\[(?P<label>[^\]\n]*)\]\(\s*<?(?P<target>[^\s)>]+)>?(?:\s+[\"'(][^\n)]*[\"')])?\s*\)"
    rf"|<(?P<angled>{_URL})>"
    rf"|(?P<bare>\b(?:https?|ftp|mailto):(?:{_URL[len('[a-z][a-z0-9+.-]{1,20}:') :]}))"
    r"|(?P<naked>\bwww\.[^\s<>()\[\]`\"']+)",
    re.IGNORECASE | re.DOTALL,
)
_DEFINITION = re.compile(r"^ {0,3}\[[^\]\n]+\]:[ \t]*<?(\S+?)>?(?:[ \t].*)?$")
_TRAILING = ".,;:!?*_~"


def tamed(text: str, hosts: Collection[str]) -> str:
    """`text` in Markdown whose links lead only to `hosts` and what is under them.

    Code blocks and code spans stay as they are.
    """
    return "".join(_tamed_parts(text, frozenset(hosts)))


def allowed(url: str, hosts: Collection[str]) -> bool:
    """Whether an address leads to one of `hosts` by https or http, or to somewhere under it."""
    try:
        parts = urlsplit(url if ":" in url else f"https://{url}")
        host = (parts.hostname or "").lower().rstrip(".")
    except ValueError:
        return False
    if parts.scheme.lower() not in ("https", "http") or "@" in parts.netloc:
        return False
    return any(host == known or host.endswith(f".{known}") for known in hosts)


def _tamed_parts(text: str, hosts: frozenset[str]) -> Iterator[str]:
    """Runs of lines outside code blocks are tamed, the blocks are not."""
    fence, run = None, list[str]()
    for line in text.splitlines(keepends=True):
        before, fence = fence, after(line.rstrip("\n"), fence, len(text) + 1)
        if before is None and fence is None:
            run.append(_without_definition(line, hosts))
            continue
        yield _ANY.sub(lambda found: _shown(found, hosts), "".join(run))
        run.clear()
        yield line
    yield _ANY.sub(lambda found: _shown(found, hosts), "".join(run))


def _without_definition(line: str, hosts: frozenset[str]) -> str:
    """`[1]: https://…` makes every `[1]` in the text a link."""
    found = _DEFINITION.match(line.rstrip("\n"))
    if found is None or allowed(found[1], hosts):
        return line
    return line.replace("]:", "] :", 1)


def _shown(found: re.Match[str], hosts: frozenset[str]) -> str:
    if found["code"]:
        return found[0]
    if found["target"] is not None:
        if allowed(found["target"], hosts) and not found[0].startswith("!"):
            return found[0]
        return f"{found['label']} ({_code(found['target'])})".strip()
    url = found["angled"] or found["bare"] or found["naked"]
    end = url.rstrip(_TRAILING) if not found["angled"] else url
    return found[0] if allowed(url, hosts) else _code(end) + url[len(end) :]


def _code(url: str) -> str:
    return f"`{url.replace('`', '%60')}`"
