"""Webhooks: requests of other programs that lead to a post or to a turn of the model.

The operator configures each one in `[hooks.NAME]` of ponte.toml.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core.text.markdown import escape_markdown
from core.text.text import truncate, truncate_with_note

HOOK_PLATFORM = "hook"
"""The platform of a `Person` that stands for a webhook. Its id is the webhook's name."""
HOOK_RIGHTS = ("chat", "read", "propose", "model", "tool")
"""The only rights that a webhook can have. It cannot run code or quick commands, and cannot
decide."""
HookKind = Literal["github", "stripe", "standard", "secret"]
"""How a webhook proves who sent it (`core.chat.hook_signatures`)."""
MAX_BODY_CHARACTERS = 20_000
"""Characters of a body that a model reads."""
MAX_FIELD_CHARACTERS = 1_000
"""Characters of one field in a post."""
EVENT_FIELD = "x_github_event"
"""The field that holds the kind of GitHub's event, which is not in the body."""
_FIELD = re.compile(r"\{([A-Za-z0-9_.-]{1,200})\}")


@dataclass(frozen=True, slots=True)
class Hook:
    """The configuration of one webhook.

    - `secret`: its secret, "" if the variable of the environment is not set. Then nobody passes.
    - `platform`, `workspace`, `channel`: the place of its posts; or `person`, who gets a direct
      message.
    - `template`: the post, with fields of the body in braces; or `instruction` for the model.
    - `header`, `id_field`: for the kind "secret", the header with the secret, and the field of the
      body with the id of a delivery.
    """

    name: str
    kind: HookKind
    secret: str
    platform: str
    workspace: str = ""
    channel: str = ""
    person: str = ""
    template: str = ""
    instruction: str = ""
    header: str = ""
    id_field: str = ""
    per_minute: int = 60


def find_field(body: Any, path: str) -> Any:
    """Return the value at a path such as `data.rows.0.Name`; None if there is none."""
    for key in path.split("."):
        if isinstance(body, Mapping):
            body = body.get(key)
        elif isinstance(body, list) and re.fullmatch("[0-9]{1,9}", key) and int(key) < len(body):
            body = body[int(key)]
        else:
            return None
    return body


def fill_template(template: str, body: Any) -> str:
    """Return the template with its fields filled from the body. Each value is one line, at most
    MAX_FIELD_CHARACTERS long, with its Markdown escaped. A missing field is empty."""

    def fill(found: re.Match[str]) -> str:
        value = find_field(body, found[1])
        if value is None:
            return ""
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return escape_markdown(truncate(said, MAX_FIELD_CHARACTERS))

    return _FIELD.sub(fill, template)


def describe_body(body: Any) -> str:
    """Return the body as text for the model, at most MAX_BODY_CHARACTERS of it."""
    said = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return truncate_with_note(said, MAX_BODY_CHARACTERS)
