"""Forms, and menus of their fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import discord

from adapters.discord.card_embeds import build_view, escape_cell
from adapters.discord.client import Interaction
from core.base.i18n import say
from core.base.text import to_one_line
from core.chat.interactions import describe_fields_left_out
from core.domain.buttons import ButtonForm
from core.domain.changes import ChangeForm, FormField
from core.domain.records import QuickCommand

# components/reference.mdx: #text-input-text-input-structure, #label-label-structure.
MAX_INPUT_CHARACTERS, MAX_LABEL_CHARACTERS = 4000, 45
MAX_HINT_CHARACTERS, MAX_FIELD_ID_CHARACTERS = 100, 100
# interactions/receiving-and-responding.mdx#interaction-response-object-modal
MAX_FORM_TITLE_CHARACTERS, MAX_FORM_FIELDS = 45, 5

# The id of a form says what it is about, so that it can be handled after a restart.
ASK_ID = "ponte:ask"
QUICK_ID = re.compile(r"ponte:quick:(?P<slug>[a-z0-9][a-z0-9_-]{0,79})(?P<named>:named)?")
"""The id of the form for a quick command. A longer slug does not fit into an id, so its command
runs without a form."""
PROMPT_FIELD, QUOTE_FIELD, INPUT_FIELD = "prompt", "quote", "input"
FIELD_MENU_ID = re.compile(r"ponte:fields:(?P<press>[a-z2-7]{6}(?:\.\d{1,4})?):\d")
"""The id of a menu that offers the fields of a form with more than MAX_FORM_FIELDS. The form itself
has the id of its button."""
# components/reference.mdx: #string-select-string-select-structure, #select-option-structure.
MAX_MENU_OPTIONS, MAX_OPTION_CHARACTERS, MAX_MENUS = 25, 100, 5


def ask_form() -> discord.ui.Modal:
    """Return the form of `/ask`: one field for a message of several lines."""
    return _build_modal(
        say("Ask Ponte"), ASK_ID, [_build_text_field(say("Your message"), PROMPT_FIELD)]
    )


def about_form(text: str, message: int, files: Sequence[str]) -> discord.ui.Modal:
    """Return the form that asks about a message.

    The text of that message is in a field of the form, so that it is still known after a restart.
    `message` is the message's id if it has files, else 0. `files` are the names of these files,
    which the form shows.
    """
    question = _build_text_field(say("What do you want to know?"), PROMPT_FIELD)
    quote = text[:MAX_INPUT_CHARACTERS]
    quoted = _build_text_field(say("The message"), QUOTE_FIELD, quote, required=False)
    if files:
        along = say("Files included: {names}", names=", ".join(files))
        quoted.description = along[:MAX_HINT_CHARACTERS]
    id = f"ponte:about:{message or ''}".strip(":")  # without files, it names no message
    return _build_modal(say("Ask about this message"), id, [question, quoted])


def quick_form(slug: str, command: QuickCommand | None) -> discord.ui.Modal:
    """Return the form of a quick command, with a field for each named input.

    It has one field for all inputs if the command is not known, has no named input, or has more
    than MAX_FORM_FIELDS of them. Its id tells whoever handles the submitted form the command, and
    with `:named` that there is a field for each input.
    """
    title = (command.title_and_description()[0] if command else "") or slug
    inputs = dict(command.inputs) if command else {}
    if not inputs or len(inputs) > MAX_FORM_FIELDS:
        field = _build_text_field(say("Input: text or key=value"), INPUT_FIELD, required=False)
        return _build_modal(title, f"ponte:quick:{slug}", [field])
    fields = [
        _build_text_field(name, name, required=bool(about.get("required")))
        for name, about in inputs.items()
    ]
    return _build_modal(title, f"ponte:quick:{slug}:named", fields)


def split_fields(form: ChangeForm) -> tuple[list[int], list[FormField]]:
    """Return the positions of the fields that a form or its menus can offer, and the other
    fields."""
    fitting = [
        at for at, field in enumerate(form.fields) if len(field.value) <= MAX_INPUT_CHARACTERS
    ]
    offered = fitting[: MAX_MENU_OPTIONS * MAX_MENUS]
    return offered, [field for at, field in enumerate(form.fields) if at not in offered]


def change_form(form: ChangeForm, positions: Sequence[int]) -> discord.ui.Modal:
    """Return the form that changes a proposal, with its fields at up to MAX_FORM_FIELDS positions.
    The id of each input is the position of its field, because titles may be too long for an id."""
    labels = []
    for at in positions:
        field = form.fields[at]
        labels.append(
            discord.ui.Label(
                # Discord refuses an empty label.
                text=to_one_line(field.label, MAX_LABEL_CHARACTERS) or "…",
                description=to_one_line(field.row, MAX_HINT_CHARACTERS) or None,
                component=_build_input(field, str(at)),
            )
        )
    title = to_one_line(form.title, MAX_FORM_TITLE_CHARACTERS) or form.id
    # `press_id` is the change's id with the revision that people saw.
    return _build_modal(title, f"ponte:change:{form.press_id}", labels)


def describe_left_out(form: ChangeForm, left_out: Sequence[FormField]) -> str:
    """Return the sentence on the fields that the form cannot hold; "" if there are none."""
    return describe_fields_left_out(form, left_out, lambda name: escape_cell(name, None))


def build_field_menus(form: ChangeForm, positions: Sequence[int]) -> discord.ui.View:
    """Return menus that offer the fields at these positions, to choose those of the form. A menu
    holds MAX_MENU_OPTIONS fields, so there may be several."""
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
        # `press_id`: the change with the revision that people saw. The number tells menus apart.
        id = f"ponte:fields:{form.press_id}:{len(menus)}"
        most = min(MAX_FORM_FIELDS, len(options))
        menus.append(discord.ui.Select(custom_id=id, options=options, max_values=most))
    return build_view(menus)


def build_form(id: str, form: ButtonForm) -> discord.ui.Modal:
    """Return the form of a button. `id` is that of the button."""
    labels = []
    for field in form.fields[:MAX_FORM_FIELDS]:
        input = _build_input(field, field.key)
        if isinstance(input, discord.ui.TextInput):
            input.required = field.is_required
            input.max_length = field.max_characters or MAX_INPUT_CHARACTERS
        text, hint = field.label[:MAX_LABEL_CHARACTERS], field.hint[:MAX_HINT_CHARACTERS]
        labels.append(discord.ui.Label(text=text, description=hint or None, component=input))
    return _build_modal(form.title, id, labels)


def read_form_values(interaction: Interaction) -> dict[str, str]:
    """Return the values of a submitted form by the ids of their fields. A checkbox gives "true" or
    "false", a menu its one chosen option or ""."""
    data: Mapping[str, Any] = interaction.data or {}
    values = {}
    for item in _list_components(data.get("components") or []):
        # A text field and a checkbox have `value`, a menu has `values`; other items have neither.
        if "value" in item or "values" in item:
            value = item.get("value", "".join(item.get("values") or ()))
            is_ticked = isinstance(value, bool)
            values[str(item["custom_id"])] = str(value).lower() if is_ticked else str(value)
    return values


def _build_modal(title: str, id: str, fields: Sequence[discord.ui.Label[Any]]) -> discord.ui.Modal:
    """Return a form that the SDK does not track: submissions are handled by the form's id, so that
    they work after a restart."""
    title = title[:MAX_FORM_TITLE_CHARACTERS]
    modal = discord.ui.Modal(title=title, custom_id=id, timeout=None)
    for field in fields:
        modal.add_item(field)
    modal.stop()
    return modal


def _build_text_field(
    label: str,
    id: str,
    default: str = "",
    required: bool = True,
) -> discord.ui.Label[Any]:
    """Return a field of a form for text of several lines. Longer labels and ids are cut, because
    Discord refuses the whole form for them."""
    field: discord.ui.TextInput[Any] = discord.ui.TextInput(
        style=discord.TextStyle.paragraph,
        custom_id=id[:MAX_FIELD_ID_CHARACTERS],
        default=default or None,
        required=required,
        max_length=MAX_INPUT_CHARACTERS,
    )
    return discord.ui.Label(text=label[:MAX_LABEL_CHARACTERS], component=field)


def _build_input(field: FormField, id: str) -> discord.ui.Item[Any]:
    """Return the input for a field: a checkbox, a menu or a text field. It is a text field if no
    other can hold the field's value, such as one that the menu does not offer."""
    options = tuple(dict.fromkeys(field.options))  # without repetitions
    if field.type == "checkbox":
        return discord.ui.Checkbox(custom_id=id, default=field.value == "true")
    if field.type == "select" and field.value in ("", *options):
        # Discord refuses the whole form if one option is empty or too long.
        fits = all(option.strip() and len(option) <= MAX_OPTION_CHARACTERS for option in options)
        if fits and 0 < len(options) <= MAX_MENU_OPTIONS:
            offered = [
                discord.SelectOption(label=option, value=option, default=option == field.value)
                for option in options
            ]
            return discord.ui.Select(custom_id=id, options=offered, min_values=0, required=False)
    # Not required, because an empty input empties the field. Fields with longer values are in no
    # form (`split_fields`).
    is_long = field.type == "lines" or "\n" in field.value
    return discord.ui.TextInput(
        custom_id=id,
        style=discord.TextStyle.paragraph if is_long else discord.TextStyle.short,
        default=field.value or None,
        required=False,
        max_length=MAX_INPUT_CHARACTERS,
    )


def _list_components(components: list[Any]) -> list[Mapping[str, Any]]:
    """Return all components of a form, also those inside others: a row has several in `components`,
    a label has one in `component`."""
    items: list[Mapping[str, Any]] = []
    for item in components:
        items.append(item)
        inner = item.get("components") or ([item["component"]] if "component" in item else [])
        items.extend(_list_components(inner))
    return items
