"""Disables links that nobody allowed.

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

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.base import commonmark
from core.base.markdown import is_too_complex
from core.base.text import clean_text

_CHUNK = re.compile(r"[^\s<>\[\]`|]+")
_WEB = re.compile(r"(?:https?://|www\.)[^\W_]", re.IGNORECASE)
_EVERYBODY = re.compile(r"@(?=(?:everyone|here|channel)\b)", re.IGNORECASE)
_EVERYBODY_IN_PATH = re.compile(
    r"(https?://[^\s<>@]{1,500}[/=])@(?=(?:everyone|here|channel)\b)", re.IGNORECASE
)
MAX_TRAILING_MARKS = 4
"""Maximum of marks after an allowed address. More could carry data to the linked server."""
_MAX_PASSES = 4
"""Changes of the first pass, and unusual brackets, can require another."""
_FILE = re.compile(r"/files/[A-Za-z0-9_-]{1,64}|#[\w-]{0,64}")
_HOST = re.compile(r"[a-z0-9.-]{1,253}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
# Signs of an address: a dot before letters (including the dots that IDNA treats as a dot), or a
# scheme.
HOT = re.compile(
    r"[\w-][.\u3002\uff0e\uff61](?:[^\W\d_]{2}|xn--)"
    r"|:[/\\]{2}"
    r"|\b(?:mailto|tel|sms|sip|xmpp|javascript|data|vbscript|file|slack|discord):(?=[^\s:])"
    r"|\d\.\d{1,3}(?::\d|/)",
    re.IGNORECASE,
)
_TELLS_MORE = r"(?:callto|mailto|news|sip|sms|tel|xmpp):(?=[^\s:])"
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
_GLUED = re.compile(r"[\[<]|[\]>](?![.,:;!?)]{0,3}(?:\s|$))")
_TARGET = re.compile(r"[ \t]{0,9}(\S{1,2000})")
_EMPHASIS = str.maketrans("", "", "*_~")
_MARKS = str.maketrans("", "", "*_~`")
_QUOTE_MARKS = str.maketrans("`“”«»", '\'""""')
_TAME = str.maketrans("`<>", "'‹›")
_SUSPICIOUS = re.compile(r"[.:@&\\\u3002\uff0e\uff61]|\]\(")
"""Every address and link contains one of these characters, and so does every way to hide one."""


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


def split_web_addresses(text: str) -> list[str]:
    """The text has no Markdown and no NUL characters. Every second piece is an address, to the same
    character as `Trust` allows or disables it."""

    def mark(found: re.Match[str]) -> str:
        chunk, start = found[0], _find_address(found[0])
        if start is None or not _WEB.match(chunk, start):
            return chunk
        end = _address_end(chunk, start)
        return f"{chunk[:start]}\0{chunk[start:end]}\0{chunk[end:]}"

    return _CHUNK.sub(mark, text).split("\0")


def defang(text: str) -> str:
    return _NO_TRUST.defang(text)


def quote_inert(text: str) -> str:
    return "\n".join(f"> {line.rstrip()}" for line in make_inert(text).split("\n"))


def show_reason(reason: str) -> str:
    """A person's text, for a place between quotation marks: nothing in it ends the quote or is a
    link, a mention or code."""
    return make_inert(reason).translate(_QUOTE_MARKS)


def make_inert(text: str) -> str:
    """No platform hides, links or mentions anything in the result: such marks are replaced by signs
    that look alike."""
    harmless_text = defang(clean_text(text)).strip()
    # `||` hides text on Discord. Characters of no width would be invisible on a card, so the marks
    # of mentions are replaced by wide ones.
    for mark, wide in (("||", "｜｜"), ("<!", "‹!"), ("<@", "‹@"), ("<#", "‹#")):
        harmless_text = harmless_text.replace(mark, wide)
    return _EVERYBODY.sub("＠", harmless_text)


def encode_everybody_in_addresses(text: str) -> str:
    """`%40here` leads to the same page and mentions nobody. An example is
    https://www.npmjs.com/package/@here/maps-api."""
    return _EVERYBODY_IN_PATH.sub(r"\1%40", text)


def defang_for_discord(text: str) -> str:
    """E-mail addresses and host names are left as they are."""
    return Trust(links_bare_names=False).defang(text) if _SCHEMED.search(text) else text


def defang_for_terminal(text: str) -> str:
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
        """Rejects what parsers read in different ways: a user name, a backslash, or a host with
        other than plain letters. Also rejects text after the host that could begin another
        address."""
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
        # Some platforms end an address at an unusual character, and the rest could be another one
        # (`HOT`: a scheme, or a dot before letters).
        odd = _UNUSUAL.search(rest)
        if odd and HOT.search(rest, odd.start()):
            return False
        return any(
            host == allowed_host or host.endswith(f".{allowed_host}") for allowed_host in self.hosts
        )

    def _sanitize_for_terminal(self, text: str, stray_ticks: commonmark.StrayTicks) -> str:
        """A terminal links addresses even in code, so all outside code blocks are disabled unless
        they are allowed. Code blocks stay as they are, so that people can copy them. `stray_ticks`:
        unpaired backticks of the text before, which change what Discord reads as code here."""
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
        if not self.links_anything or not _SUSPICIOUS.search(text):
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
                # All platforms see the same code spans here: every second piece is one. A backtick
                # directly beside one (`before`, `after`) would join it.
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
        """Disable addresses that are not allowed, even inside code. Links in Markdown syntax are
        broken too."""
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
        """Return the safe text and its parts, one for each post. A cut through code or an address
        could create a link. So each part is checked by itself. If one has a link that the whole
        text did not have, use a stricter method: first break all addresses that are not allowed,
        even in code, then all addresses."""
        text_before, parts = text, tuple[str, ...]()
        for tame in (self.sanitize, self.defang, _NO_TRUST.defang):
            text_before = tame(text)
            parts = tuple(split(text_before))
            # Sanitizing changed nothing in the only part, and would change nothing again.
            if tame == self.sanitize and (text_before, *parts) == (text, text):
                break
            if all(not _SUSPICIOUS.search(part) or self.sanitize(part) == part for part in parts):
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
        if not _SUSPICIOUS.search(text):
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
            # a whole link or image: `[label](target)`
            # `](` of a link that `_LINK` does not match
            # an autolink, `<https://…>`, or a tag
            match piece.lastgroup:
                case "link":
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
                case "inline":
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
                case "angled":
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
        """`start` is behind `](`. Return the end of the target; 0 unless it is allowed and the link
        ends or has a title after it."""
        while text[start : start + 1] in (" ", "\t"):
            start += 1
        target = commonmark.parse_link_target(text, start)
        if target is None or not self._allows_target(target[0]):
            return 0
        return target[1] if text[target[1] : target[1] + 1] in (")", " ") else 0

    def _allows_target(self, target: str) -> bool:
        return bool(_FILE.fullmatch(target)) or self.allows(target)

    def _find_address(self, chunk: str) -> int | None:
        return _find_address(chunk, HOT if self.links_bare_names else _HOT_ON_DISCORD)

    def _sanitize_chunk(self, chunk: str, code: bool, glued: bool) -> str:
        """`chunk` is prose without spaces. `code`: it may be disabled by backticks. `glued`: code
        or a bracket follows directly, which Discord would include in the address, so that an
        allowed one is disabled, too."""
        if not _SUSPICIOUS.search(chunk):
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
        return f"`{address}`" if code and _SIMPLE.fullmatch(address) else _break_address(address)

    def _has_only_allowed_targets(self, text: str) -> bool:
        # It is a last check on what the patterns of this module left.
        others = [url for url in commonmark.find_targets(text) if not self._allows_target(url)]
        own_urls = map(commonmark.parser().normalizeLink, self.written if others else ())
        return set(own_urls).issuperset(others)


_NO_TRUST = Trust()


def _find_address(chunk: str, hot: re.Pattern[str] = HOT) -> int | None:
    match = hot.search(chunk)
    return None if match is None else _address_start(chunk, match.start())


def _address_start(chunk: str, start: int, least: int = 0) -> int:
    while start > least and (chunk[start - 1].isalnum() or chunk[start - 1] in _LEFT):
        start -= 1
    return start


def _address_end(chunk: str, start: int) -> int:
    """Marks that end a sentence are left out. As on all platforms, a closing bracket belongs to the
    address if its opening bracket does."""
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
    cut = re.sub(r"([.:@\u3002\uff0e\uff61])(?=[^\s\])(])", r"[\1]", address)
    return cut.replace("](", "] (").replace("]:", "] :")
