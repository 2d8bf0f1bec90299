"""Modals: several lines of input. What they are about stands in their id, so they outlive us."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import discord

from core.records import QuickCommand
from core.words import say

# components/reference.mdx: #text-input-text-input-structure, #label-label-structure.
LONGEST, LONGEST_LABEL, LONGEST_ABOUT, LONGEST_ID = 4000, 45, 100, 100
# interactions/receiving-and-responding.mdx#interaction-response-object-modal
LONGEST_TITLE, MOST_FIELDS = 45, 5
ASK = "ponte:ask"
ABOUT = re.compile(r"ponte:about(?::(?P<message>\d{1,20}))?")
QUICK = re.compile(r"ponte:quick:(?P<slug>[a-z0-9][a-z0-9_-]{0,79})(?P<named>:named)?")
"""A longer slug has no room in an id; its command runs without a form."""
PROMPT, QUOTE, INPUT = "prompt", "quote", "input"


def ask(locale: str) -> discord.ui.Modal:
    modal = _modal(say("Ask Ponte", locale), ASK)
    modal.add_item(_lines(say("Your message", locale), PROMPT))
    return _unkept(modal)


def about(text: str, message: int, files: Sequence[str], locale: str) -> discord.ui.Modal:
    """The message's text goes into the modal: after a restart nobody would know it. `message` is
    its id where it has files, which are named."""
    modal = _modal(say("Ask about this message", locale), f"ponte:about:{message or ''}".strip(":"))
    modal.add_item(_lines(say("What do you want to know?", locale), PROMPT))
    quoted = _lines(say("The message", locale), QUOTE, text[:LONGEST], required=False)
    if files:
        along = say("Its files come along: {names}", locale, names=", ".join(files))
        quoted.description = along[:LONGEST_ABOUT]
    modal.add_item(quoted)
    return _unkept(modal)


def quick(slug: str, known: QuickCommand | None, locale: str) -> discord.ui.Modal:
    """A field for each input where the command has a few by name, else one for all."""
    title = (known.told(locale)[0] if known else "") or slug
    inputs = dict(known.inputs) if known else {}
    if not inputs or len(inputs) > MOST_FIELDS:
        modal = _modal(title, f"ponte:quick:{slug}")
        modal.add_item(_lines(say("Its text, or key=value …", locale), INPUT, required=False))
        return _unkept(modal)
    modal = _modal(title, f"ponte:quick:{slug}:named")
    for name, about in inputs.items():
        modal.add_item(_lines(name, name, required=bool(about.get("required"))))
    return _unkept(modal)


def values(interaction: discord.Interaction[Any]) -> dict[str, str]:
    """What was filled in, by field."""
    data: Mapping[str, Any] = interaction.data or {}
    found: dict[str, str] = {}
    for item in _items(data.get("components") or []):
        if "value" in item:
            found[str(item["custom_id"])] = str(item["value"])
    return found


def _items(components: list[Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for item in components:
        found.append(item)
        inner = item.get("components") or ([item["component"]] if "component" in item else [])
        found.extend(_items(inner))
    return found


def _modal(title: str, id: str) -> discord.ui.Modal:
    return discord.ui.Modal(title=title[:LONGEST_TITLE], custom_id=id, timeout=None)


def _lines(label: str, id: str, default: str = "", required: bool = True) -> discord.ui.Label[Any]:
    field: discord.ui.TextInput[Any] = discord.ui.TextInput(
        style=discord.TextStyle.paragraph,
        custom_id=id[:LONGEST_ID],
        default=default or None,
        required=required,
        max_length=LONGEST,
    )
    return discord.ui.Label(text=label[:LONGEST_LABEL], component=field)


def _unkept(modal: discord.ui.Modal) -> discord.ui.Modal:
    """The SDK must not keep it: what is sent in is found by its id, also after a restart."""
    modal.stop()
    return modal
