"""Rules for what Markdown's standard does not have: formulas, task lists and footnotes.

A formula is `$…$`, `$$…$$`, `\\(…\\)` or `\\[…\\]`. Prices such as `$5 and $10` are none: the
rule for a single dollar is that of Pandoc, and stricter.
"""

from __future__ import annotations

import re
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from core.base.markdown import split_web_addresses

MAX_FORMULA_CHARS = 2_000
"""A longer formula stays as it was written."""
MAX_FOOTNOTES = 100
_CLOSERS = {"$$": "$$", r"\[": r"\]", r"\(": r"\)"}
# An opening dollar has no letter or digit before it and no space after it; a closing one no space
# before it and no letter or digit after it.
_DOLLARS = re.compile(r"\$(?![\s$])([^$\n]{1,1000}?)(?<![\s\\])\$(?![\w$])")
_TEX = re.compile(r"[\\^_{}=<>+]")
_FOOTNOTE = re.compile(r"\[\^([^\s\]]{1,40})\]:[ \t]+(\S.*)")
_REFERENCE = re.compile(r"\[\^([^\s\]]{1,40})\]")
_TASK = re.compile(r"\[([ xX])\][ \t]+")


def enable_markup(markdown: MarkdownIt) -> None:
    """Add the rules to a parser. Its renderer then meets the tokens `math_inline`, `math_block` and
    `footnote_reference`, and list items with the attribute `class`."""
    markdown.inline.ruler.before("escape", "math_inline", _inline_math)
    markdown.inline.ruler.before("link", "footnote_reference", _footnote_reference)
    options: RuleOptionsType = {"alt": ["paragraph", "blockquote", "list"]}
    markdown.block.ruler.before("fence", "math_block", _block_math, options)
    markdown.block.ruler.before("reference", "footnote", _footnote, options)
    markdown.core.ruler.after("block", "footnotes", _append_footnotes)
    markdown.core.ruler.after("inline", "tasks", _mark_tasks)
    markdown.core.ruler.after("inline", "addresses", _link_addresses)


def _inline_math(state: StateInline, silent: bool) -> bool:
    source, begin = state.src, state.pos
    opener = source[begin : begin + 2]
    if closer := _CLOSERS.get(opener):
        end = source.find(closer, begin + 2, begin + MAX_FORMULA_CHARS)
        if end < 0 or not source[begin + 2 : end].strip():
            return False
        end += 2
    elif source[begin] == "$":
        end = _dollar_end(source, begin)
        if not end:
            return False
    else:
        return False
    if not silent:
        state.push("math_inline", "", 0).content = source[begin:end]
    state.pos = end
    return True


def _dollar_end(source: str, begin: int) -> int:
    """Return the end of the formula in single dollars that begins here; 0 if this is none."""
    before = source[begin - 1] if begin else " "
    found = _DOLLARS.match(source, begin)
    if found is None or before.isalnum() or before in "$\\":
        return 0
    # What begins with a digit is a price, unless it is a number alone or has a sign of TeX.
    inner = found[1]
    if inner[0].isdigit() and not _TEX.search(inner) and not inner.replace(".", "").isalnum():
        return 0
    return found.end()


def _block_math(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Recognize a formula that begins a line and ends one, with no empty line in it."""
    begin = state.bMarks[start] + state.tShift[start]
    closer = _CLOSERS.get(state.src[begin : begin + 2])
    if closer is None or closer == r"\)":
        return False
    for line in range(start, end):
        if state.isEmpty(line):
            return False
        text = state.src[begin : state.eMarks[line]]
        if len(text) > MAX_FORMULA_CHARS:
            return False
        at = text.find(closer, 2)
        if at >= 0:
            if text[at + 2 :].strip() or not text[2:at].strip():
                return False
            break
    else:
        return False
    if not silent:
        token = state.push("math_block", "", 0)
        token.content, token.map = text.strip(), [start, line + 1]
        state.line = line + 1
    return True


def _footnote(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    begin = state.bMarks[start] + state.tShift[start]
    found = _FOOTNOTE.match(state.src[begin : state.eMarks[start]])
    notes: dict[str, str] = state.env.setdefault("footnotes", {})
    if found is None or found[1] in notes or len(notes) >= MAX_FOOTNOTES:
        return False
    if not silent:
        notes[found[1]] = found[2].strip()
        state.line = start + 1
    return True


def _footnote_reference(state: StateInline, silent: bool) -> bool:
    found = _REFERENCE.match(state.src, state.pos)
    labels = list(state.env.get("footnotes", ()))
    if found is None or found[1] not in labels:
        return False
    if not silent:
        token = state.push("footnote_reference", "", 0)
        token.content = str(labels.index(found[1]) + 1)
    state.pos = found.end()
    return True


def _append_footnotes(state: StateCore) -> None:
    """Append a numbered list of the footnotes. Their text is parsed with the rest."""
    notes = state.env.get("footnotes")
    if not notes:
        return
    state.tokens.append(Token("ordered_list_open", "ol", 1, attrs={"class": "footnotes"}))
    for text in notes.values():
        inline = Token("inline", "", 0, content=text, children=[], block=True)
        state.tokens += [
            Token("list_item_open", "li", 1), inline, Token("list_item_close", "li", -1)
        ]  # fmt: skip
    state.tokens.append(Token("ordered_list_close", "ol", -1))


def _link_addresses(state: StateCore) -> None:
    """Make links of plain addresses, except in the text of a link."""
    for inline in state.tokens:
        depth, children = 0, list[Token]()
        for token in inline.children or ():
            depth += token.nesting if token.type.startswith("link_") else 0
            is_plain = token.type == "text" and not depth
            for number, piece in enumerate(split_web_addresses(token.content) if is_plain else ()):
                url = piece if "://" in piece else f"https://{piece}"
                text = Token("text", "", 0, content=piece)
                link = [Token("link_open", "a", 1, attrs={"href": url}), text]
                children += [*link, Token("link_close", "a", -1)] if number % 2 else [text]
            children += [] if is_plain else [token]
        inline.children = inline.children and children


def _mark_tasks(state: StateCore) -> None:
    """Show `[ ]` and `[x]` at the beginning of a list item as boxes."""
    for item, paragraph, inline in zip(
        state.tokens, state.tokens[1:], state.tokens[2:], strict=False
    ):
        children: list[Any] = inline.children or []
        if (item.type, paragraph.type, inline.type) != (
            "list_item_open", "paragraph_open", "inline",
        ) or not children:  # fmt: skip
            continue
        found = _TASK.match(children[0].content)
        if children[0].type == "text" and found:
            box = "☐" if found[1] == " " else "☑"
            children[0].content = f"{box} {children[0].content[found.end() :]}"
            item.attrSet("class", "task")
