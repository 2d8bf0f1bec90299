"""Block Kit as strictly as Slack checks it (docs.slack.dev/reference/block-kit/blocks)."""

from __future__ import annotations

from .records import Json, Refused

MESSAGE_CHARACTERS = 13_200
MARKDOWN_CHARACTERS = 12_000
_MESSAGE_BLOCKS = {"markdown", "section", "context", "divider", "actions", "header",
                   "context_actions"}  # fmt: skip
_VIEW_BLOCKS = {"section", "context", "divider", "actions", "header", "input"}


def check_message(blocks: list[Json]) -> None:
    """Raises Refused("invalid_blocks") or ("msg_too_long")."""
    _check(blocks, _MESSAGE_BLOCKS, 50)
    markdown = sum(len(block["text"]) for block in blocks if block["type"] == "markdown")
    if markdown > MARKDOWN_CHARACTERS:
        raise Refused("msg_blocks_too_long")
    if sum(_characters(block) for block in blocks) > MESSAGE_CHARACTERS:
        raise Refused("msg_too_long")


def check_view(view: Json) -> None:
    _check(view.get("blocks", []), _VIEW_BLOCKS, 100)
    if view.get("type") not in ("modal", "home"):
        raise Refused("invalid_arguments")
    if view["type"] == "modal":
        _check_text(view.get("title", {}), 24, "plain_text")
        if any(block["type"] == "input" for block in view["blocks"]) and "submit" not in view:
            raise Refused("invalid_arguments")
    if len(view.get("private_metadata", "")) > 3000:
        raise Refused("invalid_arguments")


def _check(blocks: list[Json], allowed: set[str], most: int) -> None:
    ids = [block["block_id"] for block in blocks if block.get("block_id")]
    if len(blocks) > most or len(ids) != len(set(ids)) or any(len(id) > 255 for id in ids):
        raise Refused("invalid_blocks")
    for block in blocks:
        if block.get("type") not in allowed:
            raise Refused("invalid_blocks")
        if check := _CHECKS.get(block["type"]):
            check(block)


def _section(block: Json) -> None:
    if "text" not in block and "fields" not in block:
        raise Refused("invalid_blocks")
    if "text" in block:
        _check_text(block["text"], 3000)
    for field in block.get("fields", []):
        _check_text(field, 2000)
    if len(block.get("fields", [])) > 10:
        raise Refused("invalid_blocks")


def _markdown(block: Json) -> None:
    if not isinstance(block.get("text"), str) or not block["text"]:
        raise Refused("invalid_blocks")


def _context(block: Json) -> None:
    if not 1 <= len(block["elements"]) <= 10:
        raise Refused("invalid_blocks")
    for element in block["elements"]:
        _check_text(element, 2000)


def _actions(block: Json) -> None:
    if not 1 <= len(block["elements"]) <= 25:
        raise Refused("invalid_blocks")
    ids = [element["action_id"] for element in block["elements"]]
    if len(ids) != len(set(ids)):
        raise Refused("invalid_blocks")
    for element in block["elements"]:
        if element["type"] != "button":
            raise Refused("invalid_blocks")
        _check_text(element["text"], 75, "plain_text")
        if len(element["action_id"]) > 255 or len(element.get("value", "")) > 2000:
            raise Refused("invalid_blocks")
        if element.get("style", "primary") not in ("primary", "danger"):
            raise Refused("invalid_blocks")


def _input(block: Json) -> None:
    _check_text(block["label"], 2000, "plain_text")
    element = block["element"]
    if element["type"] == "static_select" and not 1 <= len(element["options"]) <= 100:
        raise Refused("invalid_blocks")
    for option in element.get("options", []):
        _check_text(option["text"], 75, "plain_text")
        if len(option["value"]) > 150:
            raise Refused("invalid_blocks")
    if len(element.get("initial_value", "")) > 3000:
        raise Refused("invalid_blocks")


def _header(block: Json) -> None:
    _check_text(block["text"], 150, "plain_text")


_CHECKS = {"section": _section, "markdown": _markdown, "context": _context, "actions": _actions,
           "input": _input, "header": _header}  # fmt: skip


def _check_text(text: Json, limit: int, kind: str = "") -> None:
    if text.get("type") not in ((kind,) if kind else ("plain_text", "mrkdwn")):
        raise Refused("invalid_blocks")
    if not isinstance(text.get("text"), str) or not 1 <= len(text["text"]) <= limit:
        raise Refused("invalid_blocks")


def _characters(block: Json) -> int:
    if block["type"] == "markdown":
        return len(block["text"])
    return len(block.get("text", {}).get("text", "")) if block["type"] == "section" else 0
