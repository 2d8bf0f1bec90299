"""The modals: a question about a message, a quick command, and the inputs that it lacks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.slack.lengths import fit, size
from core.records import QuickCommand
from core.words import say

Json = dict[str, Any]

ASK, QUICK, INPUTS = "ponte_ask", "ponte_quick", "ponte_inputs"
"""Callback ids: of the two message shortcuts too (the first two)."""
QUESTION, SLUG, INPUT = "question", "slug", "input"
"""Block ids, which are the names of what was filled in."""
FIELD = "field:"
_ELEMENT = "value"
_LONGEST = _MEMORY = 2900
"""Of a section, of what stands in an input, and of `private_metadata`: 3,000 (docs.slack.dev/
reference/block-kit/blocks/section-block, block-elements/plain-text-input-element, and
reference/views)."""
_WORDS = 24
"""Of a modal's title and buttons (docs.slack.dev/reference/views/modal-views)."""
_LABEL, _OPTIONS, _SHOWN, _VALUE = 2000, 100, 75, 150
"""Of an input's label, and of a list: options, of one's words, and of its value (docs.slack.dev/
reference/block-kit/blocks/input-block, block-elements/select-menu-element, composition-objects/
option-object)."""
_FIELDS = 40
"""A view has 100 blocks (docs.slack.dev/reference/views); nobody fills in so many."""


def ask(memory: Json, locale: str) -> Json:
    """ "Ask Ponte" on a message: `memory` says where and about what."""
    block = _input(QUESTION, say("What do you want to know about this message?", locale),
                   multiline=True)  # fmt: skip
    return _modal(ASK, say("Ask Ponte", locale), say("Ask", locale), [block], memory, locale)


def quick(commands: Sequence[QuickCommand], text: str, memory: Json, locale: str) -> Json:
    """A quick command by name; chosen from a list where the registry knows any."""
    name = say("Quick command", locale)
    pairs = [(c.told(locale)[0] or c.slug, c.slug) for c in commands]
    slug = _select(SLUG, name, pairs) if _choosable(pairs) else _input(SLUG, name)
    given = _input(INPUT, say("Text for it", locale), multiline=True, optional=True, initial=text)
    return _modal(QUICK, name, say("Run", locale), [slug, given], memory, locale)


def inputs(command: QuickCommand, memory: Json, locale: str, wrong: str = "") -> Json:
    """The inputs that one quick command takes."""
    blocks: list[Json] = []
    title, description = command.told(locale)
    if description or wrong:
        words = {"type": "plain_text", "text": fit(wrong or description, _LONGEST)}
        blocks.append({"type": "section", "text": words})
    for name, kind in list(command.inputs.items())[:_FIELDS]:
        optional = not kind.get("required")
        pairs = [(str(choice), str(choice)) for choice in kind.get("choices") or ()]
        if _choosable(pairs):
            blocks.append(_select(FIELD + name, name, pairs, optional))
        else:
            blocks.append(_input(FIELD + name, name, multiline=True, optional=optional))
    kept = memory | {"slug": command.slug}
    return _modal(INPUTS, title or command.slug, say("Run", locale), blocks, kept, locale)


def filled(view: Mapping[str, Any]) -> dict[str, str]:
    """What was typed or chosen, by block id; what was left empty is not there."""
    values: dict[str, str] = {}
    for block, elements in view.get("state", {}).get("values", {}).items():
        for element in elements.values():
            chosen = element.get("selected_option") or {}
            if value := element.get("value") or chosen.get("value"):
                values[block] = str(value)
    return values


def memory(view: Mapping[str, Any]) -> Json:
    """What the modal was opened with."""
    kept: Json = json.loads(view.get("private_metadata") or "{}")
    return kept


def _modal(
    callback: str, title: str, submit: str, blocks: list[Json], kept: Json, locale: str
) -> Json:
    return {
        "type": "modal", "callback_id": callback, "title": _plain(title, _WORDS),
        "submit": _plain(submit, _WORDS), "close": _plain(say("Cancel", locale), _WORDS),
        "blocks": blocks, "private_metadata": _fitting(kept),
    }  # fmt: skip


def _fitting(kept: Json) -> str:
    text = json.dumps(kept)
    while size(text) > _MEMORY and kept.get("about"):
        kept = kept | {"about": kept["about"][: len(kept["about"]) // 2]}
        text = json.dumps(kept)
    return text


def _input(
    name: str, label: str, multiline: bool = False, optional: bool = False, initial: str = ""
) -> Json:
    element: Json = {"type": "plain_text_input", "action_id": _ELEMENT, "multiline": multiline}
    if initial:
        element["initial_value"] = fit(initial, _LONGEST)
    return {"type": "input", "block_id": name, "label": _plain(label, _LABEL), "element": element,
            "optional": optional}  # fmt: skip


def _choosable(pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether a list holds them all, as they are; else what is meant is typed."""
    return 0 < len(pairs) <= _OPTIONS and all(size(value) <= _VALUE for _, value in pairs)


def _select(
    name: str, label: str, pairs: Sequence[tuple[str, str]], optional: bool = False
) -> Json:
    options = [{"text": _plain(shown, _SHOWN), "value": value} for shown, value in pairs]
    element = {"type": "static_select", "action_id": _ELEMENT, "options": options}
    return {"type": "input", "block_id": name, "label": _plain(label, _LABEL), "element": element,
            "optional": optional}  # fmt: skip


def _plain(text: str, limit: int) -> Json:
    return {"type": "plain_text", "text": fit(text, limit) or "…"}
