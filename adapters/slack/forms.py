"""Builds the forms (modals), and reads what people entered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any

from adapters.slack.render import (
    SECTION_BYTES,
    Json,
    build_header,
    build_section,
    cut_unescaped,
    escaped_size,
    make_plain_text,
)
from core.base.i18n import say
from core.chat.interactions import describe_fields_left_out
from core.domain.buttons import ButtonForm
from core.domain.changes import ChangeForm, FormField
from core.domain.records import QuickCommand

ASK_FORM, QUICK_COMMAND_FORM, INPUTS_FORM = "ponte_ask", "ponte_quick", "ponte_inputs"
"""Callback ids of forms. The first two are also those of the message shortcuts."""
QUESTION_BLOCK, SLUG_BLOCK, INPUT_BLOCK = "question", "slug", "input"
"""Block ids of the input fields, by which `read_new_values` returns their values."""
FIELD_PREFIX = "field:"
"""The block ids of a quick command's own inputs begin with this."""
_ELEMENT = "value"
MAX_INITIAL_BYTES = _MEMORY = 2900
"""Bytes of an input's initial text, and of `private_metadata`. Slack allows 3,000
(docs.slack.dev/reference/block-kit/block-elements/plain-text-input-element, reference/views)."""
MAX_BUTTON_BYTES = 24
"""The limit for a modal's title and buttons (docs.slack.dev/reference/views/modal-views)."""
MAX_LABEL_BYTES, MAX_OPTIONS, MAX_OPTION_BYTES, MAX_OPTION_VALUE_BYTES = 2000, 100, 75, 150
"""The limits of form fields: of a label, of the number of options, of an option's text and of its
value. Source, below docs.slack.dev/reference/block-kit: blocks/input-block,
block-elements/select-menu-element, composition-objects/option-object."""
TYPE_IT = "Type `/quick-command SLUG`, then the text or key=value."
CHANGE_FORM = "ponte_card_change"
_CHANGE_FIELD_PREFIX = "change:"
"""The block ids of inputs that change a proposal begin with this. The position of the field
follows, because the titles of fields may be longer than a block id, or alike."""
_MAX_BLOCKS, _MAX_FORM_BYTES = 98, 200_000
"""Blocks of the inputs and their headers, and bytes of all. Slack allows 100 blocks in a view, of
which two may be sentences above the inputs, and refuses a view of more than 250 KB
(docs.slack.dev/reference/views, reference/methods/views.open)."""


def ask_form(memory: Json) -> Json:
    """`memory` is what the form carries until it is submitted: the place and the message."""
    label = say("What do you want to know about this message?")
    block = _build_input(QUESTION_BLOCK, label, _build_text_input())
    return _build_modal(ASK_FORM, say("Ask Ponte"), say("Ask"), [block], memory)


def quick_command_form(commands: Sequence[QuickCommand], text: str, memory: Json) -> Json:
    """Return the form that runs a quick command. Its name is chosen from a list if the registry
    offers one, else typed."""
    name = say("Quick command")
    titles = [c.title_and_description()[0] or c.slug for c in commands]
    menu = _build_menu([c.slug for c in commands], titles)
    fields = [
        _build_input(SLUG_BLOCK, name, menu or _build_text_input(multiline=False)),
        _build_input(INPUT_BLOCK, say("Input text"), _build_text_input(text), optional=True),
    ]
    return _build_modal(QUICK_COMMAND_FORM, name, say("Run"), fields, memory)


def inputs_form(command: QuickCommand, memory: Json, wrong: str = "") -> Json:
    """Return the form with the inputs of one quick command. If Slack does not allow all of them, a
    sentence tells to type the command. The error `wrong` takes the place of the description above
    them. The command's slug is added to `memory`, which the form carries until it is submitted."""
    blocks: list[Json] = []
    size = 0  # the bytes of all inputs
    for name, kind in command.inputs.items():
        # `kind` has the input's choices and whether it is required. If Slack cannot show all of the
        # choices, the person types one.
        choices = [str(choice) for choice in kind.get("choices") or ()]
        element = _build_menu(choices, choices) or _build_text_input()
        block = _build_input(FIELD_PREFIX + name, name, element, optional=not kind.get("required"))
        size += len(json.dumps(block))
        # `_MAX_BLOCKS` leaves room for the two sentences above the inputs.
        if size > _MAX_FORM_BYTES or len(blocks) == _MAX_BLOCKS:
            blocks.insert(0, build_section(say(TYPE_IT)))
            break
        blocks.append(block)
    title, description = command.title_and_description()
    # The description is inserted last, so that it comes first.
    if above := wrong or description:
        blocks.insert(0, {"type": "section", "text": make_plain_text(above, SECTION_BYTES)})
    data = memory | {"slug": command.slug}
    return _build_modal(INPUTS_FORM, title or command.slug, say("Run"), blocks, data)


def build_form(name: str, form: ButtonForm, memory: Json) -> Json:
    """`memory` holds the place, the post with the button, and what the button is about."""
    blocks = []
    for field in form.fields:
        most = {"max_length": field.max_characters} if field.max_characters else {}
        element = _build_element(field) | most
        block = _build_input(field.key, field.label, element, optional=not field.is_required)
        if field.hint and field.type != "checkbox":  # a checkbox has it as its label
            block["hint"] = make_plain_text(field.hint, MAX_LABEL_BYTES)
        blocks.append(block)
    return _build_modal(f"ponte_{name}", form.title, say("Send"), blocks, memory)


def read_form_memory(view: Mapping[str, Any]) -> Json:
    """Slack returns the data that a form was opened with (`private_metadata`)."""
    data: Json = json.loads(view.get("private_metadata") or "{}")
    return data


def build_change_form(form: ChangeForm, memory: Json) -> Json:
    """Return the form that changes a proposal as a modal, which carries `memory` until it is
    submitted. A field that it cannot hold, because its value is too long or Slack allows no more,
    is named above the others."""
    blocks: list[Json] = []
    left_out: list[FormField] = []
    row, size = "", 0  # the row of the last field that is shown, and the bytes of all blocks
    for at, field in enumerate(form.fields):
        # The fields of a row stand below its name. A name of spaces alone is shown as "…".
        added = [build_header(field.row.strip())] if field.row != row else []
        name, label = f"{_CHANGE_FIELD_PREFIX}{at}", field.label.strip()
        # Optional, because an empty input empties the field.
        added.append(_build_input(name, label, _build_element(field), optional=True))
        added_size = len(json.dumps(added))
        # `_MAX_BLOCKS` leaves room for the two sentences above the fields.
        fits = size + added_size <= _MAX_FORM_BYTES and len(blocks + added) <= _MAX_BLOCKS
        if escaped_size(field.value) > MAX_INITIAL_BYTES or not fits:
            left_out.append(field)
            continue
        blocks, row, size = blocks + added, field.row, size + added_size
    # The title is inserted last, so that it comes first.
    for words in (describe_fields_left_out(form, left_out), form.title):
        if words:
            blocks.insert(0, {"type": "section", "text": make_plain_text(words, SECTION_BYTES)})
    # Without any field, there is nothing to send.
    submit = say("Send") if len(left_out) < len(form.fields) else ""
    return _build_modal(CHANGE_FORM, say("Change"), submit, blocks, memory)


def read_new_values(view: Mapping[str, Any]) -> dict[str, str]:
    """Return the inputs of a submitted form by block id, or by the field's position in a form that
    changes a proposal. Empty values are "", an empty checkbox is "false"."""
    return {
        block.removeprefix(_CHANGE_FIELD_PREFIX): _read_element(element)
        for block, elements in view.get("state", {}).get("values", {}).items()
        for element in elements.values()
    }


def _build_modal(callback: str, title: str, submit: str, blocks: list[Json], data: Json) -> Json:
    """Return a form that carries `data` as JSON until it is submitted. Slack limits that JSON, so
    the message's text in it (`about`) is halved until it fits. Without `submit`, the form only
    shows something."""
    memory = json.dumps(data)
    while escaped_size(memory) > _MEMORY and data.get("about"):
        data = data | {"about": data["about"][: len(data["about"]) // 2]}
        memory = json.dumps(data)
    modal = {
        "type": "modal",
        "callback_id": callback,
        # Slack has one limit for the title and the buttons of a form.
        "title": make_plain_text(title, MAX_BUTTON_BYTES),
        "close": make_plain_text(say("Cancel"), MAX_BUTTON_BYTES),
        "blocks": blocks,
        "private_metadata": memory,
    }
    return modal | ({"submit": make_plain_text(submit, MAX_BUTTON_BYTES)} if submit else {})


def _build_input(name: str, label: str, element: Json, *, optional: bool = False) -> Json:
    """`name` is the block's id."""
    return {
        "type": "input",
        "block_id": name,
        "label": make_plain_text(label, MAX_LABEL_BYTES),
        "element": element | {"action_id": _ELEMENT},
        "optional": optional,
    }


def _build_text_input(initial: str = "", *, multiline: bool = True) -> Json:
    element: Json = {"type": "plain_text_input", "multiline": multiline}
    if initial:
        element["initial_value"] = cut_unescaped(initial, MAX_INITIAL_BYTES)
    return element


def _build_menu(values: Sequence[str], labels: Sequence[str], chosen: str = "") -> Json | None:
    fits = all(v.strip() and escaped_size(v) <= MAX_OPTION_VALUE_BYTES for v in values)
    if not fits or not 0 < len(values) <= MAX_OPTIONS:
        return None
    return _build_choice("static_select", values, labels, chosen)


def _build_element(field: FormField) -> Json:
    """Return the input for a field: a text input if no other can hold its value, such as a menu
    that lacks it or is not possible (Slack limits the number and length of options), or a date that
    is none."""
    value = field.value
    if field.type == "checkbox":
        return _build_choice("checkboxes", ["true"], [field.hint or say("Yes")], value)
    is_option = field.type == "select" and value in ("", *field.options)
    if is_option and (menu := _build_menu(field.options, field.labels or field.options, value)):
        return menu
    if field.type == "date":
        with suppress(ValueError):
            initial = {"initial_date": date.fromisoformat(value).isoformat()} if value else {}
            return {"type": "datepicker"} | initial
    return _build_text_input(value, multiline=field.type == "lines" or "\n" in value)


def _build_choice(type: str, values: Sequence[str], labels: Sequence[str], chosen: str) -> Json:
    """Return a menu or a checkbox with `chosen` selected, if it is one of `values`. Slack wants the
    initial option written as in the list. Equal values are offered once."""
    options = [
        {"text": make_plain_text(label, MAX_OPTION_BYTES), "value": value}
        for value, label in dict(zip(values, labels, strict=True)).items()
    ]
    element: Json = {"type": type, "options": options}
    initial = [option for option in options if option["value"] == chosen]
    if initial and type == "static_select":
        element["initial_option"] = initial[0]
    elif initial:
        element["initial_options"] = initial
    return element


def _read_element(element: Mapping[str, Any]) -> str:
    """Return an input's value as a person would type it: `true` or `false` for a checkbox, the
    chosen option of a menu, a date as in 2026-11-20, or the text; "" for none."""
    if element.get("type") == "checkboxes":
        return "true" if element.get("selected_options") else "false"
    chosen = element.get("selected_option") or {}
    return str(element.get("value") or element.get("selected_date") or chosen.get("value") or "")
