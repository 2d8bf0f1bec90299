"""Text on its way to Slack and back.

Slack renders standard Markdown itself (`markdown` blocks and streams: tables, code, lists, links;
docs.slack.dev/reference/block-kit/blocks/markdown-block), so nothing is converted: what is left
to do is to take out what must not work. Slack's own mrkdwn is used only in labels of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlsplit

from core.fences import spans
from core.links import before_open_addresses, broken

PLAIN_LIMIT = 3000
"""Characters of the plain text that stands beside blocks, for push and screen readers."""

_JOINER = "\u2060"  # word joiner: without width, and not breaking; it breaks the control sequence
_CONTROL = re.compile(r"<(?=!(?:channel|here|everyone|group|subteam|date)|@[A-Z]|#[A-Z])", re.I)
_AT_ALL = re.compile(r"@(?=(?:channel|here|everyone)\b)", re.I)
_LINK = re.compile(
    r"(?P<image>!?)\[(?P<label>[^\[\]\n]*)\]"
    r"\((?P<url>[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?P<title>\s+\"[^\"\n]*\")?\)"
)
_BARE = re.compile(r"(?<![(\[<\w`])https?://[^\s<>\])]+")
_ANGLED = re.compile(r"<(?P<url>(?:https?|ftp|mailto|tel|slack):[^\s<>|]+)(?:\|[^<>\n]*)?>")
_BLOCK = re.compile(
    r"^[ \t]*(?P<mark>`{3,}(?!`)|~{3,}(?!~))[^\n]*\n.*?(?:^[ \t]*(?P=mark)[ \t]*$|\Z)", re.S | re.M
)
_SCHEMES = ("http", "https", "mailto")

_WORD = re.compile(r"\S+")
_SPACE, _SET_OFF = re.compile(r"\s*"), re.compile(r"[\s,:]*")
_ENTITY = re.compile("&(?:amp|lt|gt|quot|#x27);")  # Slack's, and those that we write ourselves
_FROM_SLACK = re.compile(r"<(?P<kind>[@#!]?)(?P<id>[^<|>\n]+)(?:\|(?P<label>[^<>\n]*))?>")
_MARKS = re.compile(
    r"(?<!\w)[*_~]{1,3}(?=\S)|(?<=\S)[*_~]{1,3}(?!\w)"  # emphasis
    r"|^[ \t]*#{1,6}[ \t]+|^[ \t]*(?:`{3,}|~{3,})[^\n]*\n?|`"  # headings, code
    r"|^(?=[ \t:|-]*-{3})[ \t:|-]+$\n?",  # rules, the line under a table's head
    re.M,
)


@dataclass(frozen=True, slots=True)
class Links:
    """Where links in an answer may lead; `hosts` None leaves all, else these and what is under
    them. A refused link stays readable and cannot be clicked. Images are only ever links."""

    hosts: frozenset[str] | None = None

    def allows(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").lower()
        except ValueError:
            return False
        if parts.scheme not in _SCHEMES:
            return False
        if self.hosts is None:
            return True
        return any(host == known or host.endswith("." + known) for known in self.hosts)


def markdown(text: str, links: Links) -> str:
    """The model's Markdown as it may be posted: nobody is notified, no link is hidden."""
    return neutral("".join(text[start:end] if code else _prose(text[start:end], links)
                           for start, end, code in _pieces(text)))  # fmt: skip


def _pieces(text: str) -> Iterator[tuple[int, int, bool]]:
    """Prose and code in turn: where each begins and ends, and whether it is code."""
    at = 0
    for block in [*(found.span() for found in _BLOCK.finditer(text)), (len(text), len(text))]:
        begun = at
        for start, end in spans(text[begun : block[0]]):
            yield at, begun + start, False
            yield begun + start, (at := begun + end), True
        yield at, block[0], False
        yield *block, True
        at = block[1]


def neutral(text: str) -> str:
    """Without the control sequences by which Slack notifies people, groups and channels."""
    return _AT_ALL.sub("@" + _JOINER, _CONTROL.sub("<" + _JOINER, text))


def _prose(text: str, links: Links) -> str:
    def link(found: re.Match[str]) -> str:
        label, url = found["label"] or found["url"], found["url"]
        if links.allows(url):
            return f"[{label}]({url})"
        return f"{label} (`{url}`)" if url else label

    def angled(found: re.Match[str]) -> str:
        url = found["url"]
        return f"<{url}>" if links.allows(url) else f"`{url}`"

    text = _ANGLED.sub(angled, _LINK.sub(link, text))
    if links.hosts is None:
        return text
    return _BARE.sub(lambda f: f.group() if links.allows(f.group()) else f"`{f.group()}`", text)


def settled(text: str) -> int:
    """How much of a growing text reads the same whatever comes next: whole words, whole links."""
    end = max(text.rfind(" "), text.rfind("\n")) + 1
    line = text.rfind("\n", 0, end) + 1
    opened = text.rfind("[", line, end)
    if opened >= 0 and not _LINK.match(text, opened):
        after = text.find("](", opened, end)
        if after >= 0 or text.find("]", opened, end) < 0:
            end = opened - 1 if opened > line and text[opened - 1] == "!" else opened
    if _in_fence(text, line):  # before the block ends, nothing says that it is code
        return before_open_addresses(text[:end])
    return text.rfind("`", line, end) if text.count("`", line, end) % 2 else end


def _in_fence(text: str, line: int) -> bool:
    return len(re.findall(r"^[ \t]*(?:`{3,}|~{3,})", text[:line] + "\n", re.M)) % 2 == 1


def plain(text: str) -> str:
    """The words of a Markdown text, without its marks, safe as a message's `text`."""
    text = without_links_in_code(text)
    words = _MARKS.sub("", _LINK.sub(lambda found: found["label"] or found["url"], text)).strip()
    written = set(text.split())  # what only the missing marks made one word is no address
    words = _WORD.sub(lambda found: found[0] if found[0] in written else broken(found[0]), words)
    short = words if len(words) <= PLAIN_LIMIT else words[: PLAIN_LIMIT - 1] + "…"
    return escaped(short) or "…"


def without_links_in_code(text: str) -> str:
    """For where marks of code are taken off, or may be cut: addresses in it are broken."""
    return "".join(broken(text[start:end]) if code else text[start:end]
                   for start, end, code in _pieces(text))  # fmt: skip


def escaped(text: str) -> str:
    """Text as it stands literally in mrkdwn and in plain text: `&`, `<`, `>` are Slack's own."""
    literal = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _AT_ALL.sub("@" + _JOINER, literal)


def mentioned(text: str) -> frozenset[str]:
    """The ids of the people that a message from Slack mentions."""
    return frozenset(f["id"] for f in _FROM_SLACK.finditer(text) if f["kind"] == "@")


def readable(text: str, names: Mapping[str, str], bot: str) -> str:
    """A message from Slack as people read it; the bot's own name at its ends is left out."""
    text = _without_ends(text, re.compile(rf"<@{re.escape(bot)}(?:\|[^<>]*)?>"))

    def said(found: re.Match[str]) -> str:
        kind, id, label = found["kind"], found["id"], found["label"]
        if kind == "@":
            return "@" + (names.get(id) or label or id)
        if kind == "#":
            return "#" + (label or id)
        if kind == "!":
            return label or "@" + id.split("^")[0]
        return f"{label} ({id})" if label and label not in id else id.removeprefix("mailto:")

    return _ENTITY.sub(lambda found: unescape(found[0]), _FROM_SLACK.sub(said, text)).strip()


def _without_ends(text: str, name: re.Pattern[str]) -> str:
    """Without the names at its beginning, and what sets them off there, and at its end."""
    found = [each.span() for each in name.finditer(text)]
    start, end = 0, len(text)
    for first, last in found:
        if (_SET_OFF if start else _SPACE).fullmatch(text, start, first) is None:
            break
        start = last
    for first, last in reversed(found):
        if first < start or text[last:end].strip():
            break
        end = first
    if start and (marks := _SET_OFF.match(text, start, end)):
        start = marks.end()
    return text[start:end]
