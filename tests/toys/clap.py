"""A button that comes in as one row: *Save…* under an answer, with a form of one text field."""

from __future__ import annotations

from core.domain.buttons import Button, ButtonForm
from core.domain.changes import FormField

SAVE = Button(
    "save",
    "Save…",
    "answer",
    form=ButtonForm("Save answer", (FormField("title", "Title", "text", is_required=True),)),
    command="save {subject} as {title}",
)
