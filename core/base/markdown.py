"""Markdown from untrusted sources: escape it, and disable links that nobody allowed.

A table's cell, a file or a quote can instruct the model to put secrets into an address. A person,
or a platform's link preview, would then open it. So an address that nobody allowed is shown as
code. Where not every platform reads code as code, its dots and colons are put in brackets
(`https[:]//evil[.]test`), which is called defanging.

An address is anything that any platform would link. Slack links bare domains and e-mail addresses.
Discord links text that begins with http, and masked links. CommonMark links inline links, reference
definitions, autolinks and images, with entities and escapes in them.

Code is left as it is where every platform reads it as code. That is a block between two lines of
three backticks, or a span of single backticks on one line.

Text can come from an attacker, so every pattern is linear or bounded (`tests/test_linear.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from core.base import commonmark
from core.base.text import clean_text, to_one_line

if TYPE_CHECKING:
    from markdown_it.token import Token

MAX_MARKDOWN_CHARACTERS, MAX_BRACKETS, MAX_LINES = 30_000, 2_000, 3_000
"""Maximum characters, brackets and lines of a text that is parsed as Markdown.

Parsers search for a link from each bracket, and for the end of emphasis from each star.
"""
_ADDRESS = re.compile(
    r"((?:(?<![a-z0-9+.-])[0-9+.-]*[a-z][a-z0-9+.-]*://|\b(?:mailto:|www\.))[^\s<>()\[\]`\"']+)",
    re.IGNORECASE,
)
_CHUNK = re.compile(r"[^\s<>\[\]`|]+")
_WEB = re.compile(r"(?:https?://|www\.)[^\W_]", re.IGNORECASE)
"""The beginning of a web address."""
_EVERYBODY = re.compile(r"@(?=(?:everyone|here|channel)\b)", re.IGNORECASE)
_EVERYBODY_IN_PATH = re.compile(
    r"(https?://[^\s<>@]{1,500}[/=])@(?=(?:everyone|here|channel)\b)", re.IGNORECASE
)
_MARKUP = re.compile(r"([\\`*_\]<>|~#]|&(?=[#\w]{1,32};)|\$(?=[^$]{0,2000}\$))")
BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
"""The line break that a model writes into a cell of a table, as GitHub shows it."""
HAIR_SPACE = "\u200a"
_IDEOGRAPH = "[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
_STRESS = re.compile(
    rf"((?<={_IDEOGRAPH}))?"
    r"(?:(?P<mark>\*{1,3}|~~|__)(?=\S)(?:[^\w\s*~][^*~_\n]{0,1000}?(?<=\S)"
    r"|[^*~_\n]{1,1000}?[^\w\s*~])(?P=mark)|\*\*(?=\S)[^*\n]{1,1000}?(?<=\S)\*\*)"
    rf"((?={_IDEOGRAPH}))?"
)
_NUMBERED_ITEM = re.compile(
    r"^[ \t]*(?P<mark>`{3,}|~{3,})(?:.|\n)*?(?:^[ \t]*(?P=mark)|\Z)"
    r"|^(?P<item>(?P<indent>(?:> ?)* *)(?P<number>\d{1,9}[.)] ).*)"
    r"(?P<below>(?:\n+(?P=indent) +\S.*)+)",
    re.MULTILINE,
)
"""A code block, or a numbered item with the indented lines below it."""
_FORMULA = re.compile(
    r"(?ms)\\\(.{1,2000}?\\\)|^ {0,3}\\\[|\$\$|\$(?![\s$])[^$\n]{1,1000}?(?<![\s\\])\$(?!\w)"
)
MAX_TRAILING_MARKS = 4
"""Maximum of marks after an allowed address. More could carry data to the linked server."""
_MAX_PASSES = 4
"""Maximum passes over a text.

Changes of the first pass, and unusual brackets, can require another.
"""
_FILE = re.compile(r"/files/[A-Za-z0-9_-]{1,64}|#[\w-]{0,64}")
_HOST = re.compile(r"[a-z0-9.-]{1,253}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
# Signs of an address: a dot before letters (including the dots that IDNA treats as a dot), or a
# scheme.
_HOT = re.compile(
    r"[\w-][.\u3002\uff0e\uff61](?:[^\W\d_]{2}|xn--)"
    r"|:[/\\]{2}"
    r"|\b(?:mailto|tel|sms|sip|xmpp|javascript|data|vbscript|file|slack|discord):(?=[^\s:])"
    r"|\d\.\d{1,3}(?::\d|/)",
    re.IGNORECASE,
)
_TELLS_MORE = r"(?:callto|mailto|news|sip|sms|tel|xmpp):(?=[^\s:])"
"""Schemes without slashes that begin an address, such as `mailto:`."""
# Discord links addresses with a scheme, and invites.
_HOT_ON_DISCORD = re.compile(
    rf":[/\\]{{2}}|\b(?:{_TELLS_MORE})"
    r"|\b(?:javascript|data|vbscript|file|slack|discord|steam):(?=[^\s:])"
    r"|discord(?:app)?[.\u3002\uff0e\uff61](?:gg|com)",
    re.IGNORECASE,
)
# Terminals link addresses with a scheme, and host names that begin with `www`.
_HOT_IN_TERMINAL = re.compile(rf"://|\b(?:{_TELLS_MORE})|\bwww\.", re.IGNORECASE)
_TERMINAL_CHUNK = re.compile(r"[^\s<>|]+")
_NOT_IN_ADDRESS = re.compile(r"[\"'{}()\[\]^`,;\\]")
_SCHEMED = re.compile(r":[/\\]{2}|\bwww\.|\bdiscord|\w:\S{0,100}@|\]\(|<[a-z]\w*:", re.IGNORECASE)
_NEVER = re.compile(r"[\\`\[\]<>{}|^\"]")  # RFC 3986 allows none of these
_UNUSUAL = re.compile(r"[^\w%/.?=&#+:-]")
_SIMPLE = re.compile(r"[A-Za-z0-9._~:/?#@!$&*+,;=%()-]+")
_TRAILING = ".,;:!?*_~`'\"”’»)]}|"
_LEFT = frozenset("+-.%_@")
_LINK = (
    r"!?\[(?P<label>[^\[\]]{0,500})\]\([ \t]{0,9}"
    r"(?P<target><[^<>]{0,2000}>|[^()\s<]{1,2000}(?:\([^()\s]{0,500}\)[^()\s]{0,500}){0,5})"
    r"(?:[ \t]{1,9}(?:\"[^\"]{0,300}\"|'[^']{0,300}'|\([^()]{0,300}\)))?[ \t]{0,9}\)"
)
_PIECE = re.compile(
    rf"(?P<link>{_LINK})|(?P<inline>\]\()|(?P<definition>\]:(?!//))"
    r"|<(?P<angled>[^<>\s]{1,2000})>|(?P<chunk>[^\s<>\[\]]+)"
)
_FENCE = re.compile(r"^(?:[ \t>]|[-*+] |\d{1,9}[.)] ){0,99}```", re.MULTILINE)
_GLUED = re.compile(r"[\[<]|[\]>](?![.,:;!?)]{0,3}(?:\s|$))")
_TARGET = re.compile(r"[ \t]{0,9}(\S{1,2000})")
_EMPHASIS = str.maketrans("", "", "*_~")
_MARKS = str.maketrans("", "", "*_~`")
_QUOTE_MARKS = str.maketrans("`“”«»", '\'""""')
_TAME = str.maketrans("`<>", "'‹›")
"""Replaces characters that begin code or an address in angle brackets by similar ones."""
_SUSPICIOUS = re.compile(r"[.:@&\\\u3002\uff0e\uff61]|\]\(")
"""Every address and link contains one of these characters, and so does every way to hide one."""


def is_too_complex(text: str) -> bool:
    """Return True if a text exceeds the limits of what is parsed as Markdown, which would take too
    long. It is then shown unformatted."""
    return (
        len(text) > MAX_MARKDOWN_CHARACTERS
        or text.count("[") + text.count("]") > MAX_BRACKETS
        or text.count("\n") >= MAX_LINES
    )


def escape_markdown(text: str) -> str:
    """Return an untrusted name or value on one line, with all Markdown escaped and addresses as
    code, so that it is shown as it is. Entities, which are shown as other characters, are escaped
    too, and dollars that could begin a formula. An opening bracket is not, because `\\[` begins a
    formula on the page."""
    # `_ADDRESS` has one group, so that every second piece of the split is an address.
    return "".join(
        f"`{piece}`" if number % 2 else _MARKUP.sub(r"\\\1", piece)
        for number, piece in enumerate(_ADDRESS.split(to_one_line(text)))
    )


def escape_cell(text: str) -> str:
    """Return an untrusted value for a cell of a Markdown table, escaped as by `escape_markdown`. A
    pipe is escaped in addresses, too: it would end the cell, even inside code."""
    return "".join(
        "`{}`".format(piece.replace("|", r"\|")) if number % 2 else _MARKUP.sub(r"\\\1", piece)
        for number, piece in enumerate(_ADDRESS.split(to_one_line(text)))
    )


def to_plain_text(text: str) -> str:
    """Return Markdown without its escapes and without the marks of emphasis, code spans and links.

    Lists, tables, code blocks and paragraphs with a formula stay as they are. Struck text keeps its
    marks. An answer in JSON stays complete, because a program may read it.
    """
    # The parser would take too long for a text that is too complex.
    if is_too_complex(text) or _is_json(text):
        return text
    # The parser finds each paragraph (a token of the type "inline") with its lines. `words` is
    # built from the paragraph's parts, without marks, and replaces these lines.
    lines = text.split("\n")
    for token in commonmark.parser().parse(text):
        # The parser knows no formulas, and would take a `_` or `*` in one for a mark of emphasis.
        if token.type != "inline" or not token.map or _FORMULA.search(token.content):
            continue
        words, target, label_start = "", "", 0
        for part in token.children or ():
            # A paragraph keeps its number of lines, so an HTML line break (BREAK) becomes a space.
            text_part = BREAK.sub(" ", part.content) if part.type == "text" else part.content
            words += "\n" if part.type in ("softbreak", "hardbreak") else text_part
            # Struck text keeps its marks, which say that it is not valid.
            if part.type in ("s_open", "s_close"):
                words += part.markup
            elif part.type == "link_open":
                target, label_start = _describe_target(part), len(words)
            elif part.type == "image":
                words += f" ({_describe_target(part)})"
            # An address that is its own label is written once.
            elif part.type == "link_close" and words[label_start:] != target:
                words += f" ({target})"
        sources, results = token.content.split("\n"), words.split("\n")
        # A code span over two lines becomes one line; then the paragraph stays as it is.
        if len(sources) != len(results):
            continue
        for number, (source, result) in enumerate(zip(sources, results, strict=True), token.map[0]):
            # Replaced within the line, which also has what the parser left out, such as the mark of
            # a list, or other cells. The parser removes the backslash before a `|` in a cell.
            in_cell = source.replace("|", r"\|")
            lines[number] = lines[number].replace(source, result).replace(in_cell, result)
    return "\n".join(lines)


def nest_items(text: str) -> str:
    """Return Markdown in which lines that a model indents by one or two spaces below a numbered
    item belong to it. CommonMark wants three, and else begins another list (0.31, section 5.2)."""

    def indent(match: re.Match[str]) -> str:
        """Return a numbered item with its further lines indented so far that they belong to it, and
        with numbered items in these lines treated alike."""
        if not (below := match["below"]):  # a code block, which stays as it is
            return match[0]
        begin = "\n" + match["indent"]
        # As many spaces as the first line below lacks to stand below the item's text. The group
        # "number" is the mark with its space, such as `12. `. A result below 1 adds no space.
        first = below.lstrip("\n")[len(match["indent"]) :]
        spaces = len(match["number"]) - len(first) + len(first.lstrip(" "))
        return match["item"] + nest_items(below.replace(begin, begin + " " * spaces))

    return _NUMBERED_ITEM.sub(indent, text)


def free_stress(text: str) -> str:
    """Return Markdown without code in which hair spaces enclose stress beside a Chinese, Japanese
    or Korean letter. CommonMark sees no end of it after a punctuation mark (0.31, section 6.2)."""
    return _STRESS.sub(
        lambda each: (
            each[0] if each[1] is each[3] is None else f"{HAIR_SPACE}{each[0]}{HAIR_SPACE}"
        ),
        text,
    )


def _is_json(text: str) -> bool:
    """Return whether the whole text is JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _describe_target(token: Token) -> str:
    """Return the address of a link or an image, and its title, if any, in quotation marks, for
    plain text in place of Markdown."""
    address, title = token.attrs.get("src") or token.attrs["href"], token.attrs.get("title")
    return f'{address} "{title}"' if title else str(address)


def find_addresses(text: str) -> frozenset[str]:
    """Return the complete addresses in a text that a person wrote. Links to them are allowed in the
    answer.

    An address ends at a space or bracket. Marks that end a sentence are left out.
    """
    addresses = set[str]()
    for chunk in _CHUNK.findall(text):
        if (hot := _find_address(chunk)) is not None:
            addresses.add(chunk[hot : _address_end(chunk, hot)])
    return frozenset(addresses)


def is_address(text: str) -> bool:
    """Return whether the whole text is an address, which `escape_markdown` would write as code."""
    return _ADDRESS.fullmatch(text) is not None


def split_web_addresses(text: str) -> list[str]:
    """Split a text without Markdown, and without NUL characters, at its web addresses, for a page
    that makes links of them. Every second piece is an address.

    They are the addresses that `Trust` allows or disables, to the same character.
    """

    def mark(found: re.Match[str]) -> str:
        """Return a chunk without spaces, with NUL around the web address in it, if any."""
        chunk, start = found[0], _find_address(found[0])
        if start is None or not _WEB.match(chunk, start):
            return chunk
        end = _address_end(chunk, start)
        return f"{chunk[:start]}\0{chunk[start:end]}\0{chunk[end:]}"

    return _CHUNK.sub(mark, text).split("\0")


def defang(text: str) -> str:
    """Return `text` with all addresses defanged (`https[:]//evil[.]test`): people can still read
    them, but no platform makes links of them."""
    return _NO_TRUST.defang(text)


def quote_inert(text: str) -> str:
    """Return all of an untrusted text as a Markdown quote (`> ` before each line) in which no
    platform hides, links or mentions anything."""
    return "\n".join(f"> {line.rstrip()}" for line in make_inert(text).split("\n"))


def show_reason(reason: str) -> str:
    """Return the reason of a denial, a person's text, for a place between quotation marks: nothing
    in it ends the quote or is a link, a mention or code."""
    return make_inert(reason).translate(_QUOTE_MARKS)


def make_inert(text: str) -> str:
    """Return all of an untrusted text in a form in which no platform hides, links or mentions
    anything: the marks of links, mentions and hidden text are replaced by signs that look alike."""
    words = defang(clean_text(text)).strip()
    # `||` hides text on Discord. Characters of no width would be invisible on a card, so the marks
    # of mentions are replaced by wide ones.
    for mark, wide in (("||", "｜｜"), ("<!", "‹!"), ("<@", "‹@"), ("<#", "‹#")):
        words = words.replace(mark, wide)
    return _EVERYBODY.sub("＠", words)


def encode_everybody_in_addresses(text: str) -> str:
    """Return text with `@here` in the path of an address as `%40here`, which leads to the same page
    and mentions nobody. An example is https://www.npmjs.com/package/@here/maps-api."""
    return _EVERYBODY_IN_PATH.sub(r"\1%40", text)


def defang_for_discord(text: str) -> str:
    """Return `text` with the addresses defanged that Discord would link.

    E-mail addresses and host names are left as they are.
    """
    return Trust(links_bare_names=False).defang(text) if _SCHEMED.search(text) else text


def defang_for_terminal(text: str) -> str:
    """Return `text` with the addresses broken up that a terminal would make clickable."""
    return Trust(is_code_inert=False).defang(text)


@dataclass(frozen=True, slots=True)
class Trust:
    """The addresses that links may lead to, and what the platform links.

    `hosts` are allowed with their subdomains. `written` are allowed addresses that the asker wrote
    in this thread, or that belong to Ponte.

    - `is_code_inert`: the platform links nothing inside code. False is a terminal, which knows no
      Markdown and links every address with a scheme.
    - `links_bare_names`: it also links host names and e-mail addresses without a scheme.
    - `links_anything`: False is a pipe or a file.
    """

    hosts: frozenset[str] = frozenset()
    written: frozenset[str] = frozenset()
    is_code_inert: bool = True
    links_bare_names: bool = True
    links_anything: bool = True

    def allows(self, url: str) -> bool:
        """Return True if the address is allowed.

        Rejects what parsers read in different ways: a user name, a backslash, or a host with other
        than plain letters. Also rejects text after the host that could begin another address.
        """
        # The asker wrote this address, or it is one of Ponte's own.
        if url in self.written:
            return True
        # Platforms also link a host without a scheme.
        whole = url if _SCHEME.match(url) and "://" in url else f"https://{url}"
        # `_NEVER`: characters that no address may contain. Browsers skip more than two slashes and
        # find another host than `urlsplit`.
        if _NEVER.search(whole) or whole.startswith(("https:///", "http:///")):
            return False
        try:
            parts = urlsplit(whole)
            # `port` is read only because that raises ValueError for a port that is no number.
            host, _ = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            return False
        if parts.scheme.lower() not in ("https", "http") or not _HOST.fullmatch(host):
            return False
        # With a user name or brackets, the part before the port differs from the host.
        if parts.netloc.lower().partition(":")[0].rstrip(".") != host:
            return False
        rest = whole[whole.find("://") + 3 + len(parts.netloc) :]
        # Some platforms end an address at an unusual character, and the rest could be another one.
        # `_HOT` finds signs of an address, such as a scheme, or a dot before letters.
        odd = _UNUSUAL.search(rest)
        if odd and _HOT.search(rest, odd.start()):
            return False
        return any(host == one or host.endswith(f".{one}") for one in self.hosts)

    def _sanitize_for_terminal(self, text: str, stray_ticks: commonmark.StrayTicks) -> str:
        """Return the text for a terminal, which links addresses even in code: those outside code
        blocks are disabled unless they are allowed. Code blocks stay as they are, so that people
        can copy them. `stray_ticks` is that of the text before (`CodeLines`)."""
        lines = text.split("\n")
        code = commonmark.find_code_lines(text, lines, stray_ticks)
        for at, line in enumerate(lines):
            if at not in code.lines:
                lines[at] = self._defang_terminal_line(line)
        return "\n".join(lines)

    def sanitize(self, text: str, stray_ticks: commonmark.StrayTicks = 0) -> str:
        """Return the text with all addresses disabled that are not allowed: they stay readable, but
        no platform makes links of them. A model that was misled by a table or a file could
        otherwise send people, or data in an address, to a foreign server.

        `stray_ticks` is `CodeLines.stray_ticks` of the text before this one: how its unpaired
        backticks change what Discord reads as code here. Sanitizing the result once more changes
        nothing.
        """
        # A pipe or a file links nothing.
        if not self.links_anything or not _may_hold_address(text):
            return text
        # Parsing it could take seconds, so every address in it is disabled.
        if is_too_complex(text):
            return self.defang(text)
        source = before = text.replace("\r\n", "\n").replace("\r", "\n")
        # Terminals link addresses inside code too.
        if not self.is_code_inert:
            sanitized = self._sanitize_for_terminal(source, stray_ticks)
            return text if sanitized == source else sanitized
        # A disabled address can change what the text around it means, so it is read again.
        for _ in range(_MAX_PASSES):
            lines = before.split("\n")
            code = commonmark.find_code_lines(before, lines, stray_ticks)
            for at, line in enumerate(lines):
                if at in code.lines:
                    continue
                # Platforms disagree about which parts of these lines are code, so addresses are
                # disabled in all of them, and not by backticks (`sure`).
                if code.stray_ticks or at in code.disputed:
                    lines[at] = self._sanitize_prose(line, sure=False)
                    continue
                # All platforms see the same code spans: every second piece is one. `before` and
                # `after` say that a span is directly beside the piece: no backtick may go there.
                pieces = line.split("`")
                last = len(pieces) - 1
                for n in range(0, len(pieces), 2):
                    pieces[n] = self._sanitize_prose(pieces[n], before=n > 0, after=n < last)
                lines[at] = "`".join(pieces)
            sanitized = "\n".join(lines)
            if sanitized == before:
                break
            before = sanitized
        # The parser still finds a link that is not allowed: then all addresses are broken up, the
        # allowed ones, too.
        if not self._has_only_allowed_targets(before):
            return self.defang(source)
        return text if before == source else before

    def defang(self, text: str) -> str:
        """Return the text with all addresses that are not allowed defanged, even inside code.

        Links in Markdown syntax are broken too.
        """
        if not self.links_anything:  # a pipe or a file
            return text
        if not self.is_code_inert:  # a terminal, which knows no Markdown
            return "\n".join(map(self._defang_terminal_line, text.split("\n")))
        # Backticks disable no address, because they may not be read as code there (`sure`). Links
        # in Markdown are broken even if their address is allowed (`whole`).
        return "\n".join(
            self._sanitize_prose(line, sure=False, whole=False) for line in text.split("\n")
        )

    def split_sanitized(
        self, text: str, split: Callable[[str], Sequence[str]]
    ) -> tuple[str, tuple[str, ...]]:
        """Return the text with disabled addresses, and the parts into which `split` divides it, one
        for each post.

        A cut through code or an address could create a link. So each part is checked by itself. If
        one has a link that the whole text did not have, use a stricter method: first break all
        addresses that are not allowed, even in code, then all addresses.
        """
        text_before, parts = text, tuple[str, ...]()
        for tame in (self.sanitize, self.defang, _NO_TRUST.defang):
            text_before = tame(text)
            parts = tuple(split(text_before))
            if all(not _may_hold_address(part) or self.sanitize(part) == part for part in parts):
                break
        return text_before, parts

    def _defang_terminal_line(self, line: str) -> str:
        return _TERMINAL_CHUNK.sub(lambda found: self._defang_terminal_chunk(found[0]), line)

    def _defang_terminal_chunk(self, chunk: str) -> str:
        """Return a piece of a line without spaces for a terminal, with the addresses in it broken
        that are not allowed. An allowed one is kept only if the piece ends with it, or with at most
        MAX_TRAILING_MARKS characters after it.

        Addresses count as written, and as they look once the piece's Markdown is rendered.
        """
        if ":" not in chunk and "&" not in chunk and "www." not in chunk.lower():
            return chunk
        out, at = list[str](), 0
        while match := _HOT_IN_TERMINAL.search(chunk, at):
            start = _address_start(chunk, match.start(), at)
            end = _address_end(chunk, start)
            # More marks after an allowed address could carry data to its server.
            if self.allows(chunk[start:end]) and len(chunk) - end <= MAX_TRAILING_MARKS:
                return "".join([*out, chunk[at:]])
            # Its entities and escapes are decoded, so that none of them hides a part of an address.
            if "&" in chunk[start:] or "\\" in chunk[start:]:
                chunk = chunk[:start] + commonmark.unescape(chunk[start:])
            # Break it up to the next character that no address has, such as a bracket.
            other = _NOT_IN_ADDRESS.search(chunk, max(match.end(), start + 1))
            end = min(end, other.start()) if other else _address_end(chunk, start)
            out += [chunk[at:start], _break_address(chunk[start:end])]
            at = end
        safe = "".join([*out, chunk[at:]])
        # Without marks such as `**`, the piece may show an address that they had cut in two.
        visible = commonmark.unescape(safe).translate(_MARKS)
        if visible == safe or (match := _HOT_IN_TERMINAL.search(visible)) is None:
            return safe
        start = _address_start(visible, match.start())
        end = _address_end(visible, start)
        is_allowed = self.allows(visible[start:end]) and len(visible) - end <= MAX_TRAILING_MARKS
        return safe if is_allowed else _break_address(visible)

    def _sanitize_prose(
        self,
        text: str,
        sure: bool = True,
        before: bool = False,
        after: bool = False,
        whole: bool = True,
    ) -> str:
        """Return a piece of one line outside code, in which all addresses and links are disabled
        that are not allowed. It is read part by part: links, beginnings of links, text in angle
        brackets, and chunks without spaces. A space inside the signs of a link (`] (`, `] :`, `<
        …`) makes them plain text.

        `sure`: platforms would read code there as code, so an address may be disabled by backticks.
        `before` and `after`: a code span is directly next to the text. `whole`: allowed links in
        Markdown syntax may stay.
        """
        if not _may_hold_address(text):
            return text
        out, at = [""], 0
        # The code that follows counts for what is glued to an address at the end of the text.
        behind = f"{text}`" if after else text
        while at < len(text) and (piece := _PIECE.search(text, at)):
            out.append(text[at : piece.start()])
            at = piece.end()
            # Next to other code, a new backtick would join the run of the other one. After a
            # backslash, it would be no mark of code.
            beside = (before and piece.start() == 0) or (after and at == len(text))
            # Or directly after an address that was put into backticks.
            beside = beside or (out[-1] == "" and out[-2].endswith("`"))
            escaped = text[max(0, piece.start() - 1) : piece.start()] in ("\\", "<")
            code = sure and self.is_code_inert and not beside and not escaped
            match piece.lastgroup:
                case "link":  # a whole link or image: `[label](target)`
                    label = self._sanitize_prose(piece["label"], sure, whole=whole)
                    image, where = piece[0].startswith("!"), piece["target"]
                    where = commonmark.unescape(where[1:-1] if where.startswith("<") else where)
                    # A platform loads an image without a click, so only Ponte's files may be one.
                    is_file = bool(_FILE.fullmatch(where))
                    if whole and self._allows_target(where) and (is_file or not image):
                        mark = "!" if image else ""
                        rest = piece[0][len(mark) + 1 + len(piece["label"]) :]
                        out.append(f"{mark}[{label}{rest}")
                    else:
                        out.append(f"{label} ({self._disable_address(where, code)})".strip())
                case "inline":  # `](` of a link that `_LINK` does not match
                    end = self._allowed_target_end(text, at) if whole else 0
                    out.append(text[piece.start() : end] if end else "] (")
                    at = end or at
                case "definition":  # `]:` of a reference definition: `[label]: target`
                    match = _TARGET.match(text, at)
                    target = match[1] if match else ""
                    if target.startswith("<") and target.endswith(">"):
                        target = target[1:-1]
                    fine = whole and match and self._allows_target(target)
                    out.append("]:" if fine else "] :")
                case "angled":  # an autolink, `<https://…>`, or a tag
                    inner = piece["angled"]
                    if not _SCHEME.match(inner):
                        glued = bool(_GLUED.match(behind, at - 1))
                        out.append(f"<{self._sanitize_chunk(inner, False, glued)}>")
                    elif whole and self.allows(inner):
                        out.append(f"<{inner}>")
                    elif _find_address(inner) is not None:
                        out.append(self._disable_address(inner, code))
                    else:
                        out.append(f"< {inner}>")
                case _:
                    glued = (after and at == len(text)) or bool(_GLUED.match(behind, at))
                    out.append(self._sanitize_chunk(piece["chunk"], code, glued))
        return "".join([*out, text[at:]])

    def _allowed_target_end(self, text: str, start: int) -> int:
        """Return the end of the link target that begins at index `start`, after `](`, if it is
        allowed and the link ends or has a title after it; else 0."""
        while text[start : start + 1] in (" ", "\t"):
            start += 1
        target = commonmark.parse_link_target(text, start)
        if target is None or not self._allows_target(target[0]):
            return 0
        return target[1] if text[target[1] : target[1] + 1] in (")", " ") else 0

    def _allows_target(self, target: str) -> bool:
        return bool(_FILE.fullmatch(target)) or self.allows(target)

    def _find_address(self, chunk: str) -> int | None:
        return _find_address(chunk, _HOT if self.links_bare_names else _HOT_ON_DISCORD)

    def _sanitize_chunk(self, chunk: str, code: bool, glued: bool) -> str:
        """Return a piece of prose without spaces, in which the address, if any, is disabled unless
        it is allowed.

        `code`: it may be disabled by backticks. `glued`: code or a bracket follows directly, which
        Discord would include in the address, so that an allowed one is disabled, too.
        """
        if not _may_hold_address(chunk):
            return chunk
        # An address may be hidden behind entities or backslashes, which Markdown removes.
        plain = commonmark.unescape(chunk) if "&" in chunk or "\\" in chunk else chunk
        start = self._find_address(chunk)
        if start is None or plain != chunk:
            # `hidden`: the index of the address in the decoded text. None: at most one that marks
            # of emphasis interrupt (`_EMPHASIS`), which is disabled from the beginning (0).
            hidden = start if plain == chunk else self._find_address(plain)
            if hidden is None and self._find_address(plain.translate(_EMPHASIS)) is None:
                return chunk
            fine = hidden is not None and self.allows(plain[hidden : _address_end(plain, hidden)])
            if start is None or not fine:
                # Decoded backticks and angle brackets must not become markup.
                return self._sanitize_decoded(plain.translate(_TAME), hidden or 0, code)
        end = _address_end(chunk, start)
        address = chunk[start:end]
        # Before an address, platforms read a backslash in different ways.
        escaped = chunk[:start].endswith("\\")
        # Many marks after an allowed address could carry data to its server.
        if (
            self.allows(address)
            and not glued
            and not escaped
            and len(chunk) - end <= MAX_TRAILING_MARKS
        ):
            return chunk
        code = code and not escaped  # after a backslash, a backtick begins no code
        return chunk[:start] + self._disable_address(address, code) + chunk[end:]

    def _sanitize_decoded(self, chunk: str, start: int, code: bool) -> str:
        """Return a piece of prose whose entities and escapes are decoded, with the address that
        begins at `start` disabled. `code`: platforms would read backticks around it as code, so
        backticks may disable it. Otherwise, its dots and colons are put in brackets.

        If more than simple marks surround the address, all of the piece is disabled: what is
        decoded could be Markdown.
        """
        end = _address_end(chunk, start)
        if (chunk[:start] + chunk[end:]).strip("(),.;!?\"'"):
            safe = self._disable_address(chunk, code)
        else:
            safe = chunk[:start] + self._disable_address(chunk[start:end], code) + chunk[end:]
        # Directly after a bracket, these would begin a link's target or a definition.
        return f" {safe}" if safe.startswith((":", "(")) else safe

    def _disable_address(self, address: str, code: bool) -> str:
        """Return the address so that no platform links it: in backticks, or with brackets around
        its dots and colons if `code` is False (code is not read as code there) or if it has
        characters that mean something in Markdown."""
        return f"`{address}`" if code and _SIMPLE.fullmatch(address) else _break_address(address)

    def _has_only_allowed_targets(self, text: str) -> bool:
        """Return True if the CommonMark parser finds only allowed links and images in the text. It
        is a last check on what the patterns of this module left."""
        own_urls = set(map(commonmark.parser().normalizeLink, self.written))
        targets = commonmark.find_targets(text)
        return all(self._allows_target(where) or where in own_urls for where in targets)


_NO_TRUST = Trust()


class GrowingMarkdown:
    """Sanitizes the text of an answer while it grows, so that no half of a link is shown.

    The end of the text is held back while it could still become another link. Finished blocks are
    not parsed again.
    """

    def __init__(self) -> None:
        """Create the object for one answer, whose text is still empty."""
        self._trust = Trust()
        """What the last `render` was called with. This first one allows no address."""
        self._source = ""
        """The blocks that have ended. `_done` is their sanitized form, so that they are parsed only
        once."""
        self._done = ""
        self._stray_ticks: commonmark.StrayTicks = 0
        """How the unpaired backticks of these blocks affect how Discord reads the text after
        them."""
        self._shown = ""
        """The part that was returned last. It is returned again while the text has hardly grown."""
        self._length = 0
        """The length of the text that was parsed last, by which its growth is measured."""

    def render(self, text: str, trust: Trust) -> str:
        """Return the part of `text` that can be shown, with the addresses disabled that `trust`
        does not allow. `text` is the whole text so far.

        If it does not continue the text of the call before, or `trust` has changed, start again
        from its beginning.
        """
        if not trust.links_anything:  # as in a pipe or a file, which links nothing
            return text
        # A file or a source that came meanwhile changes which links are allowed.
        if trust != self._trust or not text.startswith(self._source):
            self._trust, self._source, self._done, self._stray_ticks = trust, "", "", 0
            self._shown, self._length = "", 0
        tail = text[len(self._source) :]
        # A block that has not ended is parsed again only after it grew by 5 %: to parse it for each
        # piece would take time that grows with the square of its length.
        if self._length and abs(len(text) - self._length) < len(tail) // 20:
            return self._shown
        self._length = len(text)
        # What is finished goes from `tail` to `_source`, and its safe form to `_done`, so that it
        # is not parsed again.
        if end := ended_blocks_length(tail) or self._last_line_start(tail):
            block = tail[:end]
            self._done += trust.sanitize(block, self._stray_ticks)
            self._stray_ticks = commonmark.find_code_lines(
                block, block.split("\n"), self._stray_ticks
            ).stray_ticks
            self._source += block
            tail = tail[end:]
        self._shown = self._done + trust.sanitize(tail[: settled_length(tail)], self._stray_ticks)
        return self._shown

    def _last_line_start(self, text: str) -> int:
        """Return the index of the last line of an unfinished block that begins something of its
        own, such as an item of a long list. The text before it is finished, and need not be parsed
        again. Return 0 if it may still belong together with what follows.
        """
        # A line break at the very end belongs to the last line, hence `- 1`.
        end = text.rfind("\n", 0, max(0, len(text) - 1)) + 1
        # An indented line belongs to the item before it.
        while end and text[end : end + 1].isspace():
            end = text.rfind("\n", 0, end - 1) + 1
        before = text[:end]
        if not before or is_too_complex(before) or settled_length(before) < end:
            return 0
        # Unpaired backticks (`stray_ticks`) change what Discord reads as code later, and on lines
        # in `disputed` platforms disagree about that.
        code = commonmark.find_code_lines(before, before.split("\n"), self._stray_ticks)
        return 0 if code.stray_ticks or code.disputed else end


def settled_length(text: str) -> int:
    """Return how much of a growing text can be shown already, because later text does not change
    what it means: whole words and whole links only. In an open code block it ends before the first
    address, because the block may turn out to be no code.
    """
    end = max(text.rfind(" "), text.rfind("\n")) + 1
    # A bracket or a backtick has its partner in the same paragraph, so only the last one matters.
    block = text.rfind("\n\n", 0, end) + 1
    # An odd number of fences: a code block is open. Only whole lines of it count.
    if len(_FENCE.findall(text, 0, end)) % 2:
        return length_before_open_address(text[: text.rfind("\n", 0, end) + 1])
    bracket = text.rfind("[", block, end)
    if bracket >= 0:
        close = text.find("]", bracket, end)
        # The label `[…]` or the target `(…)` of a link has not ended.
        if close < 0 or (text[close + 1 : close + 2] == "(" and text.find(")", close, end) < 0):
            end = bracket
    # A code span that has not ended: what follows decides whether it is one.
    if text.count("`", block, end) % 2:
        end = text.rfind("`", block, end)
    return end


def length_before_open_address(text: str) -> int:
    """Return how much of a growing text may be shown as it is if its last code block is still open:
    up to the line with the first address in that block. Without an end, the block may turn out to
    be no code. Return the length of the text if there is no such address.
    """
    fences = [match.start() for match in _FENCE.finditer(text)]
    # With an odd number of fences, the last one opens a block.
    hot = _HOT.search(text, fences[-1]) if len(fences) % 2 else None
    return text.rfind("\n", 0, hot.start()) + 1 if hot else len(text)


def ended_blocks_length(text: str) -> int:
    """Return the index at which the last top-level block of a growing Markdown text starts; 0 if
    there is only one. Later text does not change the blocks before it, so they are finished.

    An incomplete last line is ignored, because it can still change the structure.
    """
    text = text[: text.rfind("\n") + 1]
    if is_too_complex(text):  # it is not parsed, so nothing counts as finished
        return 0
    # A token that closes a block has the nesting -1.
    starts = [
        t.map[0] for t in commonmark.parse_blocks(text) if t.map and t.level == 0 and t.nesting >= 0
    ]
    if len(starts) < 2:
        return 0
    return sum(len(line) + 1 for line in text.split("\n")[: starts[-1]])


def _may_hold_address(text: str) -> bool:
    return _SUSPICIOUS.search(text) is not None


def _find_address(chunk: str, hot: re.Pattern[str] = _HOT) -> int | None:
    """Return the index of the first address in a piece of text without spaces, or None. `hot`
    matches the signs of an address."""
    match = hot.search(chunk)
    return None if match is None else _address_start(chunk, match.start())


def _address_start(chunk: str, start: int, least: int = 0) -> int:
    """Return where the address begins that was recognized at `start`, for example by its dots; it
    may begin earlier, but not before `least`."""
    while start > least and (chunk[start - 1].isalnum() or chunk[start - 1] in _LEFT):
        start -= 1
    return start


def _address_end(chunk: str, start: int) -> int:
    """Return the index of the end of the address that begins at `start`, before marks that end a
    sentence. As on all platforms, a closing bracket belongs to the address if its opening bracket
    does."""
    end = len(chunk)
    opening_count, closing_count = chunk.count("(", start), chunk.count(")", start)
    while end > start and chunk[end - 1] in _TRAILING:
        if chunk[end - 1] == ")":
            if closing_count <= opening_count:
                break
            closing_count -= 1
        end -= 1
    return end


def _break_address(address: str) -> str:
    """Return an address that no platform links: with brackets around its dots, colons and at-signs
    (`https[:]//evil[.]test`)."""
    cut = re.sub(r"([.:@\u3002\uff0e\uff61])(?=[^\s\])(])", r"[\1]", address)
    return cut.replace("](", "] (").replace("]:", "] :")
