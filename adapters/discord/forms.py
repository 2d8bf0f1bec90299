"""Forms, and menus of their fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import discord

from adapters.discord.card_embeds import build_view, escape_cell
from adapters.discord.client import Interaction
from core.base.i18n import say
from core.base.text import to_one_line
from core.chat.interactions import describe_fields_left_out
from core.domain.changes import ChangeForm, FormField
from core.domain.records import QuickCommand

# components/reference.mdx: #text-input-text-input-structure, #label-label-structure.
MAX_INPUT_CHARACTERS, MAX_LABEL_CHARACTERS = 4000, 45
MAX_HINT_CHARACTERS, MAX_FIELD_ID_CHARACTERS = 100, 100
# interactions/receiving-and-responding.mdx#interaction-response-object-modal
MAX_FORM_TITLE_CHARACTERS, MAX_FORM_FIELDS = 45, 5

# A form's id says what it is about, so that it can be handled after a restart.
ASK_ID = "ponte:ask"
QUICK_ID = re.compile(r"ponte:quick:(?P<slug>[a-z0-9][a-z0-9_-]{0,79})(?P<named>:named)?")
"""The form for a quick command. A longer slug does not fit into an id, so its command runs without
a form."""
PROMPT_FIELD, QUOTE_FIELD, INPUT_FIELD = "prompt", "quote", "input"
FIELD_MENU_ID = re.compile(r"ponte:fields:(?P<press>[a-z2-7]{6}(?:\.\d{1,4})?):\d")
"""A menu that offers the fields of a form with more than MAX_FORM_FIELDS. The form itself has the
id of its button."""
# components/reference.mdx: #string-select-string-select-structure, #select-option-structure.
PRIVATE = "private"
"""The end of the form's id for a question that only its asker sees answered."""
MAX_MENU_OPTIONS, MAX_OPTION_CHARACTERS, MAX_MENUS = 25, 100, 5


def ask_form(*, is_private: bool) -> discord.ui.Modal:
    question = FormField(PROMPT_FIELD, say("Your message"), "lines", is_required=True)
    id = f"{ASK_ID}:{PRIVATE}" if is_private else ASK_ID
    return build_form(id, say("Ask Ponte"), [question])


def about_form(text: str, message: int, files: Sequence[str]) -> discord.ui.Modal:
    """Return the form that asks about a message. It contains that message's text, so that it is
    still known after a restart. `message` is the message's id if it has files, else 0. The form
    shows their names, `files`."""
    label = say("What do you want to know?")
    question = FormField(PROMPT_FIELD, label, "lines", is_required=True)
    hint = say("Files included: {names}", names=", ".join(files)) if files else ""
    quote = text[:MAX_INPUT_CHARACTERS]
    quoted = FormField(QUOTE_FIELD, say("The message"), "lines", quote, hint=hint)
    id = f"ponte:about:{message or ''}".strip(":")
    return build_form(id, say("Ask about this message"), [question, quoted])


def quick_form(slug: str, command: QuickCommand | None) -> discord.ui.Modal:
    """Return the form of a quick command, with a field for each named input, or one for all if the
    command is not known, has no named input, or has more than MAX_FORM_FIELDS.

    Its id tells whoever handles the submitted form the command, and with `:named` that there is a
    field for each input.
    """
    title = (command.title_and_description()[0] if command else "") or slug
    inputs = dict(command.inputs) if command else {}
    if not inputs or len(inputs) > MAX_FORM_FIELDS:
        field = FormField(INPUT_FIELD, say("Input: text or key=value"), "lines")
        return build_form(f"ponte:quick:{slug}", title, [field])
    fields = [
        FormField(name, name, "lines", is_required=bool(about.get("required")))
        for name, about in inputs.items()
    ]
    return build_form(f"ponte:quick:{slug}:named", title, fields)


def split_fields(form: ChangeForm) -> tuple[list[int], list[FormField]]:
    """Return the positions of the fields that a form or its menus can offer, and the other
    fields."""
    fitting = [
        at for at, field in enumerate(form.fields) if len(field.value) <= MAX_INPUT_CHARACTERS
    ]
    offered = fitting[: MAX_MENU_OPTIONS * MAX_MENUS]
    return offered, [field for at, field in enumerate(form.fields) if at not in offered]


def change_form(form: ChangeForm, positions: Sequence[int]) -> discord.ui.Modal:
    """Return the form that changes a proposal, with up to MAX_FORM_FIELDS fields. An input's id is
    its field's position, because titles may be too long for an id."""
    fields = [replace(form.fields[at], key=str(at), hint=form.fields[at].row) for at in positions]
    # The change's id with the revision that people saw.
    return build_form(f"ponte:change:{form.press_id}", form.title, fields)


def describe_left_out(form: ChangeForm, left_out: Sequence[FormField]) -> str:
    """Return the sentence on fields that the form cannot hold; "" for none."""
    return describe_fields_left_out(form, left_out, lambda name: escape_cell(name, None))


def build_field_menus(form: ChangeForm, positions: Sequence[int]) -> discord.ui.View:
    """Return menus, of MAX_MENU_OPTIONS fields each, to choose those of the form."""
    menus: list[discord.ui.Select[Any]] = []
    for start in range(0, len(positions), MAX_MENU_OPTIONS):
        options = [
            discord.SelectOption(
                # Discord refuses an empty label.
                label=to_one_line(form.fields[at].label, MAX_OPTION_CHARACTERS) or "…",
                description=to_one_line(form.fields[at].row, MAX_OPTION_CHARACTERS) or None,
                value=str(at),
            )
            for at in positions[start : start + MAX_MENU_OPTIONS]
        ]
        # `press_id` has the revision that people saw. The number tells menus apart.
        id = f"ponte:fields:{form.press_id}:{len(menus)}"
        most = min(MAX_FORM_FIELDS, len(options))
        menus.append(discord.ui.Select(custom_id=id, options=options, max_values=most))
    return build_view(menus)


def build_form(id: str, title: str, fields: Sequence[FormField]) -> discord.ui.Modal:
    """Return a form that the SDK does not track: submissions are handled by its id, so that they
    work after a restart. What is too long is cut: Discord refuses the whole form for it, as for an
    empty label."""
    title = to_one_line(title, MAX_FORM_TITLE_CHARACTERS) or "…"
    modal = discord.ui.Modal(title=title, custom_id=id, timeout=None)
    for field in fields[:MAX_FORM_FIELDS]:
        label = discord.ui.Label(
            text=to_one_line(field.label, MAX_LABEL_CHARACTERS) or "…",
            description=to_one_line(field.hint, MAX_HINT_CHARACTERS) or None,
            component=_build_input(field, field.key[:MAX_FIELD_ID_CHARACTERS]),
        )
        modal.add_item(label)
    modal.stop()
    return modal


def read_form_values(interaction: Interaction) -> dict[str, str]:
    """Return the values of a submitted form by field id. A checkbox gives "true" or "false", a menu
    its one chosen option or ""."""
    data: Mapping[str, Any] = interaction.data or {}
    values = {}
    for item in _list_components(data.get("components") or []):
        # A text field and a checkbox have `value`, a menu has `values`; other items have neither.
        if "value" in item or "values" in item:
            value = item.get("value", "".join(item.get("values") or ()))
            is_ticked = isinstance(value, bool)
            values[str(item["custom_id"])] = str(value).lower() if is_ticked else str(value or "")
    return values


def _build_input(field: FormField, id: str) -> discord.ui.Item[Any]:
    """Return a checkbox, a menu or a text field: the latter if no other can hold the field's value,
    such as one that the menu does not offer."""
    labels = field.labels or field.options
    options = dict(zip(field.options, labels, strict=True))
    if field.type == "checkbox":
        return discord.ui.Checkbox(custom_id=id, default=field.value == "true")
    if field.type == "select" and field.value in ("", *options):
        # Discord refuses the whole form if one option is empty or too long.
        texts = (*options, *labels)
        fits = all(text.strip() and len(text) <= MAX_OPTION_CHARACTERS for text in texts)
        if fits and 0 < len(options) <= MAX_MENU_OPTIONS:
            offered = [
                discord.SelectOption(label=label, value=option, default=option == field.value)
                for option, label in options.items()
            ]
            return discord.ui.Select(custom_id=id, options=offered, min_values=0, required=False)
    # Fields with longer values are in no form that changes a proposal (`split_fields`). There, none
    # is required, because an empty input empties the field.
    is_long = field.type == "lines" or "\n" in field.value
    return discord.ui.TextInput(
        custom_id=id,
        style=discord.TextStyle.paragraph if is_long else discord.TextStyle.short,
        default=field.value or None,
        required=field.is_required,
        max_length=field.max_characters or MAX_INPUT_CHARACTERS,
    )


def _list_components(components: list[Any]) -> list[Mapping[str, Any]]:
    """Return all components of a form, also inner ones: a row has several in `components`, a label
    one in `component`."""
    items: list[Mapping[str, Any]] = []
    for item in components:
        items.append(item)
        inner = item.get("components") or ([item["component"]] if "component" in item else [])
        items.extend(_list_components(inner))
    return items
