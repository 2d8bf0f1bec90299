"""The form that changes a proposal: its inputs by the type of each field, and what was filled in.

The block id of an input is the position of its field in the form, because the titles of fields may
be longer than a block id, or alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any

from adapters.slack.render import (
    CARD_ACTION_PREFIX,
    MAX_BUTTON_BYTES,
    MAX_HEADER_BYTES,
    MAX_INITIAL_BYTES,
    MAX_LABEL_BYTES,
    MAX_OPTION_BYTES,
    MAX_OPTION_VALUE_BYTES,
    MAX_OPTIONS,
    SECTION_BYTES,
    Json,
    escaped_size,
    make_plain_text,
)
from core.base.i18n import say
from core.chat.incoming import describe_fields_left_out
from core.domain.changes import ChangeForm, FormField

CHANGE_FORM = f"{CARD_ACTION_PREFIX}change"
"""The callback id of the form, and the action id of the button that opens it."""
_FIELD_PREFIX = "change:"
_ELEMENT = "value"
_MAX_BLOCKS, _MAX_FORM_BYTES = 98, 200_000
"""Blocks of the inputs and their headers, and bytes of all of them. Slack allows 100 blocks in a
view, of which one says what was left out, and refuses a view of more than 250 KB
(docs.slack.dev/reference/views, reference/methods/views.open)."""


def build_change_form(form: ChangeForm, memory: Json) -> Json:
    """Return the form as a modal. `memory` is what it carries until it is submitted. A field that
    it cannot hold is named above the others."""
    blocks: list[Json] = []
    left_out: list[FormField] = []
    row, size = "", 0
    for at, field in enumerate(form.fields):
        header: Json = {
            "type": "header",
            "text": make_plain_text(field.row.strip(), MAX_HEADER_BYTES),
        }
        added = [header] if field.row != row else []
        label = make_plain_text(field.label.strip(), MAX_LABEL_BYTES)
        element = _build_element(field) | {"action_id": _ELEMENT}
        block = {"type": "input", "block_id": f"{_FIELD_PREFIX}{at}", "label": label}
        added.append(block | {"element": element, "optional": True})
        added_size = len(json.dumps(added))
        fits = size + added_size <= _MAX_FORM_BYTES and len(blocks + added) <= _MAX_BLOCKS
        if escaped_size(field.value) > MAX_INITIAL_BYTES or not fits:
            left_out.append(field)
            continue
        blocks, row, size = blocks + added, field.row, size + added_size
    for words in (describe_fields_left_out(form, left_out), form.title):
        if words:
            text = make_plain_text(words, SECTION_BYTES)
            blocks.insert(0, {"type": "section", "text": text})
    modal = {
        "type": "modal",
        "callback_id": CHANGE_FORM,
        "private_metadata": json.dumps(memory),
        "title": make_plain_text(say("Change"), MAX_BUTTON_BYTES),
        "blocks": blocks,
        "close": make_plain_text(say("Cancel"), MAX_BUTTON_BYTES),
    }
    submit = {"submit": make_plain_text(say("Send"), MAX_BUTTON_BYTES)}
    return modal | (submit if len(left_out) < len(form.fields) else {})


def read_new_values(view: Mapping[str, Any]) -> dict[str, str]:
    """Return the value of each input of a submitted form, by the position of its field."""
    return {
        block.removeprefix(_FIELD_PREFIX): _read_element(element)
        for block, elements in view.get("state", {}).get("values", {}).items()
        for element in elements.values()
    }


def _build_element(field: FormField) -> Json:
    """Return the input for a field. It is a text input if no other can hold the field's value."""
    value = field.value
    if field.type == "checkbox":
        return _build_choice("checkboxes", ["true"], value, [say("Yes")])
    if field.type == "select" and value in ("", *field.options):
        fits = all(o.strip() and escaped_size(o) <= MAX_OPTION_VALUE_BYTES for o in field.options)
        if fits and 0 < len(field.options) <= MAX_OPTIONS:
            return _build_choice("static_select", field.options, value, field.options)
    if field.type == "date":
        with suppress(ValueError):
            initial = {"initial_date": date.fromisoformat(value).isoformat()} if value else {}
            return {"type": "datepicker"} | initial
    multiline = field.type == "lines" or "\n" in value
    initial = {"initial_value": value} if value else {}
    return {"type": "plain_text_input", "multiline": multiline} | initial


def _build_choice(type: str, values: Sequence[str], chosen: str, labels: Sequence[str]) -> Json:
    """Return a menu or a checkbox. Slack wants the initial option written as in the list."""
    options = [
        {"text": make_plain_text(label, MAX_OPTION_BYTES), "value": value}
        for label, value in dict(zip(labels, values, strict=True)).items()
    ]
    element: Json = {"type": type, "options": options}
    initial = [option for option in options if option["value"] == chosen]
    if initial and type == "static_select":
        element["initial_option"] = initial[0]
    elif initial:
        element["initial_options"] = initial
    return element


def _read_element(element: Mapping[str, Any]) -> str:
    """Return the value of an input as a person would type it."""
    if element.get("type") == "checkboxes":
        return "true" if element.get("selected_options") else "false"
    chosen = element.get("selected_option") or {}
    return str(element.get("value") or element.get("selected_date") or chosen.get("value") or "")
