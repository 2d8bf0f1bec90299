"""What the surfaces make a link, each by its own rules and stricter than it is where those are not
known: in doubt it is a link. Written apart from the code that it judges.

Slack (docs.slack.dev/messaging/formatting-message-text, .../blocks/markdown-block): Markdown's
links, images, definitions and autolinks, `<url|label>`, and by itself every address with a scheme,
bare domain and e-mail address; nothing within code. Discord (support.discord.com, "Markdown Text
101"): masked links, `<https://…>`, `https://…`, its own scheme and invites. The page: what its HTML
says. A terminal: whatever has a scheme, also within backticks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://[^\s<>|`]*", re.I)
_NAMED = re.compile(r"(?:mailto|tel|sms):[^\s<>|`]+", re.I)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:[.。．｡][\w-]+)+")
_DOMAIN = re.compile(
    r"[\w-]+(?:[.。．｡][\w-]+)*[.。．｡](?:[^\W\d_]{2,}|xn--[\w-]+)(?:[/?#:][^\s<>|`]*)?"
)
_ANGLED = re.compile(r"<((?:[a-z][a-z0-9+.-]*:|//[\w-]+\.)[^>|\s]*)(?:\|[^>\n]*)?>", re.I)
_OWN = re.compile(r"/files/[\w-]+|#.*")


def markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def slack(text: str) -> list[str]:
    """The links of a `markdown` block or a stream."""
    links: list[str] = []
    lines = text.split("\n")

    def read(tokens: Sequence[Token]) -> None:
        for token in tokens:
            if token.type == "fence":
                start, end = token.map or (0, 0)
                is_closed = end - start > 1 and lines[end - 1].strip(" >") == "```"
                if token.markup != "```" or not is_closed:
                    links.extend(find_autolinks(token.content))
            elif (
                token.type == "code_block"
                or (token.type == "code_inline" and token.markup != "`")
                or token.type == "text"
            ):
                links.extend(find_autolinks(token.content))
            links.extend(str(v) for n in ("href", "src") if (v := token.attrGet(n)))
            read(token.children or ())

    read(markdown().parse(text))
    links += mrkdwn(text)
    return links


def mrkdwn(text: str) -> list[str]:
    """The links of mrkdwn: sections, contexts, a message's `text`."""
    prose = re.sub(r"```.+?```", " ", text, flags=re.S)
    prose = re.sub(r"`[^`\n]+`", " ", prose)
    return [*_ANGLED.findall(prose), *find_autolinks(unescape(prose))]


def find_autolinks(text: str) -> list[str]:
    if not any(mark in text for mark in ".:@。．｡"):
        return []  # the patterns would look through a long word from each of its letters
    matches = [m for kind in (_SCHEME, _NAMED, _MAIL) for m in kind.findall(text)]
    rest = _MAIL.sub(" ", _NAMED.sub(" ", _SCHEME.sub(" ", text)))
    return [*matches, *(f"http://{m}" for m in _DOMAIN.findall(rest))]


def slack_post(text: str, blocks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of a whole message. Its `text` counts too: a push shows it, and nobody says how."""
    links = mrkdwn(text)
    for block in blocks:
        if block["type"] == "markdown":
            links += slack(block["text"])
            continue
        for words in _words(block):
            links += mrkdwn(words)
    return links


def _words(value: Any) -> Iterator[str]:
    """Every text in a block but a button's."""
    if isinstance(value, Mapping):
        if value.get("type") in ("mrkdwn", "plain_text", "text") and isinstance(
            value.get("text"), str
        ):
            yield value["text"]
            return
        for name, each in value.items():
            if name != "value":
                yield from _words(each)
    elif isinstance(value, list):
        for each in value:
            yield from _words(each)


# In the order in which Discord's client tries them at each place.
_DISCORD = re.compile(
    r"(?P<escape>\\[^0-9A-Za-z\s])"
    r"|```(?P<block>.+?)```"
    r"|(?P<ticks>`+)(?!`)(?P<code>.*?[^`])(?P=ticks)(?!`)"
    r"|<(?P<angled>[a-z][a-z0-9+.-]*:[^\s>]+)>"
    r"|\[(?:\\.|[^\[\]\\]|\[[^\]]*\])*\]\(\s*<?(?P<masked>[^\s)>]+)>?[^)]*\)"
    r"|(?P<url>(?:https?|discord|steam)://[^\s<]+[^<.,:;\"'\]\s])"
    r"|(?P<invite>(?:discord\.gg|discord(?:app)?\.com/invite)/[\w-]+)",
    re.S | re.I,
)


def discord(text: str) -> list[str]:
    return [
        matche[matche.lastgroup]
        for matche in _DISCORD.finditer(text)
        if matche.lastgroup in ("angled", "masked", "url", "invite")
    ]


def discord_message(message: Mapping[str, Any]) -> list[str]:
    """Of a message as its gateway tells it, with its embeds."""
    links = discord(message["content"])
    for embed in message.get("embeds") or ():
        links += [embed[name] for name in ("url",) if embed.get(name)]
        fields = [field[name] for field in embed.get("fields") or () for name in ("name", "value")]
        for words in [embed.get("title"), embed.get("description"), *fields]:
            links += discord(words or "")
    return links


def page(html: str) -> list[str]:
    """What a browser could open or fetch, our own files aside."""
    targets = [
        unescape(m[1]) for m in re.finditer(r'<(?:a|img)\b[^>]*?\s(?:href|src)="([^"]*)"', html)
    ]
    return [target for target in targets if not _OWN.fullmatch(target)]


def piece(text: str) -> list[str]:
    """Of the Markdown that a script gets from the HTTP API and renders with whatever it likes."""
    return [*slack(text), *discord(text)]


def terminal(text: str) -> list[str]:
    """A terminal knows no code; fenced blocks are left to the person who copies them."""
    return _SCHEME.findall(re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
