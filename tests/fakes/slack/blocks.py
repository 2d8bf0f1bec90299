"""Block Kit as strictly as Slack checks it (docs.slack.dev/reference/block-kit/blocks).

Slack's pages count characters. What was measured counts UTF-8 bytes, after `&`, `<` and `>` were
escaped (openclaw/openclaw/pull/115027 and /143882): so does this, for every limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from .records import Json, SlackErrorResponse

TEXT = 4_000
"""Bytes of `text`, also beside blocks: chat.update says so on its page and counts bytes
(openclaw/openclaw/pull/115027, pymc-labs/daimon/pull/106); posts were refused above it as well
(seratch/ChatGPT-in-Slack/issues/102)."""
MARKDOWN = 12_000
"""In all Markdown of one payload (reference/block-kit/blocks/markdown-block)."""
MESSAGE, CONTAINER = 12_000, 100
"""In all blocks of a message: "12,000 text characters with a buffer for block containers"
(slackapi/bolt-js/issues/2509); 11,341 in many containers were refused (issues/2867)."""
STREAM = 10_000
"""In a streamed message; between 10,600 and 11,300 were refused (openclaw/openclaw/pull/143882)."""
BLOCKS, VIEW_BLOCKS = 50, 100
"""reference/block-kit/blocks."""
MODAL_TITLE, METADATA, VIEW_BYTES = 24, 3000, 250_000
"""reference/views/modal-views; `view_too_large` of reference/methods/views.open."""
SECTION, FIELDS, FIELD = 3000, 10, 2000
"""reference/block-kit/blocks/section-block."""
CONTEXT, BUTTONS, HEADER, LABEL = 10, 25, 150, 2000
"""Elements and characters (reference/block-kit/blocks/context-block, actions-block, header-block,
input-block); 2,000 of one text in a context is ours."""
BUTTON, BUTTON_VALUE, NAME = 75, 2000, 255
"""reference/block-kit/block-elements/button-element; NAME is a block_id's and an action_id's."""
OPTIONS, OPTION, OPTION_VALUE, INITIAL, CHECKBOXES = 100, 75, 150, 3000, 10
"""reference/block-kit/block-elements/select-menu-element, composition-objects/option-object,
block-elements/plain-text-input-element, block-elements/checkboxes-element."""
CONTEXT_ACTIONS = 5
"""reference/block-kit/blocks/context-actions-block."""
_NUMBER = re.compile(r"-?\d{1,16}(\.\d+)?")
TABLE_ROWS, TABLE_CELLS = 100, 20
"""reference/block-kit/blocks/table-block; a message has one table at most."""
TAKES_TABLES = True
"""False: a workspace that does not know the table block."""
TAKES_DATA = True
"""False: a workspace that does not know data_table and data_visualization."""
TAKES_FEEDBACK = True
"""False: a workspace that does not know the block context_actions."""
DATA_ROWS, DATA_CHARACTERS, DATA_NUMBER = 101, 10_000, 2**53
"""reference/block-kit/blocks/data-table-block: rows with the header, characters of all cells. A
number beyond the last would be another one for JSON readers that use floats; this limit is ours."""
CHARTS, CHART_TITLE, CHART_LABEL = 2, 50, 20
"""Charts of a message (seen, not documented), and reference/block-kit/blocks/
data-visualization-block: characters of a title and an axis, and of a label and a series' name."""
CHART_SERIES, CHART_LINES, CHART_POINTS = 12, 6, 20
"""Series (segments of a pie); series of a line chart by one client library; points of a series."""
_MESSAGE_BLOCKS = {
    "markdown",
    "section",
    "context",
    "divider",
    "actions",
    "header",
    "rich_text",
    "table",
    "data_table",
    "data_visualization",
    "context_actions",
}
_VIEW_BLOCKS = {"section", "context", "divider", "actions", "header", "input", "rich_text"}
TOO_LONG = {"chat.update": "msg_too_long", "chat.postEphemeral": "msg_too_long"}
"""What a method says of too many bytes in blocks; the others say `msg_blocks_too_long`."""
TOO_MANY = {"chat.startStream", "chat.appendStream", "chat.stopStream"}
"""These say `msg_blocks_too_many`, all others `invalid_blocks`."""


def size(text: str) -> int:
    """Bytes once escaped; what is escaped already counts as it is."""
    for entity, mark in (("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(entity, mark)
    return len(text.encode()) + 4 * text.count("&") + 3 * (text.count("<") + text.count(">"))


def check_message(blocks: list[Json], method: str) -> None:
    """raises SlackErrorResponse with what this method says of it."""
    if len(blocks) > BLOCKS and method in TOO_MANY:
        raise SlackErrorResponse("msg_blocks_too_many")
    _check(blocks, _MESSAGE_BLOCKS, BLOCKS, "invalid_blocks")
    if not TAKES_TABLES and any(block["type"] == "table" for block in blocks):
        raise SlackErrorResponse("invalid_blocks")
    kinds = [block["type"] for block in blocks]
    if not TAKES_DATA and {"data_table", "data_visualization"} & {*kinds}:
        raise SlackErrorResponse("invalid_blocks")
    if not TAKES_FEEDBACK and "context_actions" in kinds:
        raise SlackErrorResponse("invalid_blocks")
    if kinds.count("table") + kinds.count("data_table") > 1:
        raise SlackErrorResponse("invalid_attachments")
    if kinds.count("data_visualization") > CHARTS:
        raise SlackErrorResponse("invalid_blocks")
    markdown = sum(size(block["text"]) for block in blocks if block["type"] == "markdown")
    if markdown > MARKDOWN or weight(blocks) > MESSAGE:
        raise SlackErrorResponse(TOO_LONG.get(method, "msg_blocks_too_long"))


def weight(blocks: list[Json]) -> int:
    """What counts against a message's limit."""
    return sum(map(size, _texts(blocks))) + CONTAINER * max(0, len(blocks) - 1)


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "text" and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)
    elif isinstance(part, list):
        for each in part:
            yield from _texts(each)


def check_view(view: Json) -> None:
    _check(view.get("blocks", []), _VIEW_BLOCKS, VIEW_BLOCKS, "invalid_arguments")
    if view.get("type") not in ("modal", "home"):
        raise SlackErrorResponse("invalid_arguments")
    if view["type"] == "modal":
        try:
            _check_text(view.get("title", {}), MODAL_TITLE, "plain_text")
        except SlackErrorResponse:
            raise SlackErrorResponse("invalid_arguments") from None
        if any(block["type"] == "input" for block in view["blocks"]) and "submit" not in view:
            raise SlackErrorResponse("invalid_arguments")
        if not view["blocks"] or not 1 <= size(view.get("callback_id", "x")) <= NAME:
            raise SlackErrorResponse("invalid_arguments")
        for name in ("submit", "close"):
            if name in view:
                _check_text(view[name], MODAL_TITLE, "plain_text")
    if size(view.get("private_metadata", "")) > METADATA:
        raise SlackErrorResponse("invalid_arguments")
    if len(json.dumps(view)) > VIEW_BYTES:
        raise SlackErrorResponse("view_too_large")


def _check(blocks: list[Json], allowed: set[str], most: int, error: str) -> None:
    ids = [block["block_id"] for block in blocks if block.get("block_id")]
    if len(blocks) > most or len(ids) != len(set(ids)) or any(size(id) > NAME for id in ids):
        raise SlackErrorResponse(error)
    for block in blocks:
        if block.get("type") not in allowed:
            raise SlackErrorResponse(error)
        if check := _CHECKS.get(block["type"]):
            try:
                check(block)
            except SlackErrorResponse:
                raise SlackErrorResponse(error) from None


def _section(block: Json) -> None:
    if "text" not in block and "fields" not in block:
        raise SlackErrorResponse("invalid_blocks")
    if "text" in block:
        _check_text(block["text"], SECTION)
    for field in block.get("fields", []):
        _check_text(field, FIELD)
    if len(block.get("fields", [])) > FIELDS:
        raise SlackErrorResponse("invalid_blocks")


def _rich_text(block: Json) -> None:
    if not block.get("elements"):
        raise SlackErrorResponse("invalid_blocks")
    for section in block["elements"]:
        if section["type"] not in ("rich_text_section", "rich_text_preformatted"):
            raise SlackErrorResponse("invalid_blocks")  # of what Slack has, what Ponte sends
        for element in section["elements"]:
            # reference/block-kit/blocks/rich-text-block: preformatted text has no style
            if section["type"] == "rich_text_preformatted" and set(element) != {"type", "text"}:
                raise SlackErrorResponse("invalid_blocks")
            if element["type"] == "text" and not element.get("text"):
                raise SlackErrorResponse("invalid_blocks")
            if set(element.get("style", {})) - {"bold", "italic", "strike", "code"}:
                raise SlackErrorResponse("invalid_blocks")


def _table(block: Json) -> None:
    if not 1 <= len(block["rows"]) <= TABLE_ROWS:
        raise SlackErrorResponse("invalid_blocks")
    if len(block.get("column_settings", [])) > TABLE_CELLS:
        raise SlackErrorResponse("invalid_blocks")
    for row in block["rows"]:
        if not 1 <= len(row) <= TABLE_CELLS:
            raise SlackErrorResponse("invalid_blocks")
        for cell in row:
            if cell["type"] == "rich_text":
                _rich_text(cell)
            elif cell["type"] != "raw_text" or not cell.get("text"):
                raise SlackErrorResponse("invalid_blocks")


def _data_table(block: Json) -> None:
    rows = block["rows"]
    if not block.get("caption") or not 2 <= len(rows) <= DATA_ROWS:
        raise SlackErrorResponse("invalid_blocks")
    if not 1 <= block.get("page_size", 5) <= 100 or len({len(row) for row in rows}) > 1:
        raise SlackErrorResponse("invalid_blocks")
    if not 1 <= len(rows[0]) <= TABLE_CELLS:
        raise SlackErrorResponse("invalid_blocks")
    if sum(len(cell["text"]) for row in rows for cell in row) > DATA_CHARACTERS:
        raise SlackErrorResponse("invalid_blocks")
    for number, row in enumerate(rows):
        for cell in row:
            keys = {"type", "text", "value"} if cell["type"] == "raw_number" else {"type", "text"}
            if cell["type"] not in ("raw_text", "raw_number") or set(cell) != keys:
                raise SlackErrorResponse("invalid_blocks")
            if not cell["text"] or (cell["type"] == "raw_number" and not number):
                raise SlackErrorResponse("invalid_blocks")
            if not abs(_number(cell.get("value", 0))) <= DATA_NUMBER:
                raise SlackErrorResponse("invalid_blocks")


def _data_visualization(block: Json) -> None:
    chart = block["chart"]
    if not 1 <= len(block["title"]) <= CHART_TITLE:
        raise SlackErrorResponse("invalid_blocks")
    if chart["type"] == "pie":
        _labels([each["label"] for each in chart["segments"]], CHART_SERIES)
        if not all(_number(each["value"]) > 0 for each in chart["segments"]):
            raise SlackErrorResponse("invalid_blocks")
        return
    if chart["type"] not in ("bar", "area", "line"):
        raise SlackErrorResponse("invalid_blocks")
    most = CHART_LINES if chart["type"] == "line" else CHART_SERIES
    _labels([each["name"] for each in chart["series"]], most)
    axis = chart["axis_config"]
    _labels(axis["categories"], CHART_POINTS)
    if any(len(axis.get(name, "")) > CHART_TITLE for name in ("x_label", "y_label")):
        raise SlackErrorResponse("invalid_blocks")
    for each in chart["series"]:
        if [point["label"] for point in each["data"]] != axis["categories"]:
            raise SlackErrorResponse("invalid_blocks")
        for point in each["data"]:
            _number(point["value"])


def _labels(labels: list[str], most: int) -> None:
    fit = all(1 <= len(label) <= CHART_LABEL for label in labels)
    if not fit or not 1 <= len(labels) <= most or len({*labels}) < len(labels):
        raise SlackErrorResponse("invalid_blocks")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SlackErrorResponse("invalid_blocks")
    return value


def _markdown(block: Json) -> None:
    if not isinstance(block.get("text"), str) or not block["text"]:
        raise SlackErrorResponse("invalid_blocks")


def _context(block: Json) -> None:
    if not 1 <= len(block["elements"]) <= CONTEXT:
        raise SlackErrorResponse("invalid_blocks")
    for element in block["elements"]:
        _check_text(element, FIELD)


def _actions(block: Json) -> None:
    if not 1 <= len(block["elements"]) <= BUTTONS:
        raise SlackErrorResponse("invalid_blocks")
    ids = [element["action_id"] for element in block["elements"]]
    if len(ids) != len(set(ids)):
        raise SlackErrorResponse("invalid_blocks")
    for element in block["elements"]:
        if element["type"] == "static_select":
            _options(element)
            continue
        if element["type"] != "button":
            raise SlackErrorResponse("invalid_blocks")
        _check_text(element["text"], BUTTON, "plain_text")
        if size(element["action_id"]) > NAME or size(element.get("value", "")) > BUTTON_VALUE:
            raise SlackErrorResponse("invalid_blocks")
        if element.get("style", "primary") not in ("primary", "danger"):
            raise SlackErrorResponse("invalid_blocks")


def _context_actions(block: Json) -> None:
    """reference/block-kit/blocks/context-actions-block, block-elements/feedback-buttons-element:
    both buttons are required, each with a text and a value."""
    if not 1 <= len(block["elements"]) <= CONTEXT_ACTIONS:
        raise SlackErrorResponse("invalid_blocks")
    for element in block["elements"]:
        if element["type"] != "feedback_buttons" or size(element.get("action_id", "")) > NAME:
            raise SlackErrorResponse("invalid_blocks")
        for button in (element.get("positive_button"), element.get("negative_button")):
            if not button or set(button) - {"text", "value", "accessibility_label"}:
                raise SlackErrorResponse("invalid_blocks")
            _check_text(button["text"], BUTTON, "plain_text")
            if not 1 <= size(button.get("value", "")) <= BUTTON_VALUE:
                raise SlackErrorResponse("invalid_blocks")
            if size(button.get("accessibility_label", "")) > BUTTON:
                raise SlackErrorResponse("invalid_blocks")


def _input(block: Json) -> None:
    _check_text(block["label"], LABEL, "plain_text")
    if "hint" in block:
        _check_text(block["hint"], LABEL, "plain_text")
    element = block["element"]
    if element["type"] not in _INPUTS:
        raise SlackErrorResponse("invalid_blocks")
    _INPUTS[element["type"]](element)


def _text_input(element: Json) -> None:
    most = element.get("max_length", INITIAL)
    if not 1 <= most <= INITIAL or size(element.get("initial_value", "")) > INITIAL:
        raise SlackErrorResponse("invalid_blocks")
    if len(element.get("initial_value", "")) > most:
        raise SlackErrorResponse("invalid_blocks")
    if not element.get("multiline") and "\n" in element.get("initial_value", ""):
        raise SlackErrorResponse("invalid_blocks")


def _number_input(element: Json) -> None:
    """`is_decimal_allowed` is required (block-elements/number-input-element)."""
    initial = element.get("initial_value", "0")
    if not isinstance(element.get("is_decimal_allowed"), bool) or not _NUMBER.fullmatch(initial):
        raise SlackErrorResponse("invalid_blocks")
    if "." in initial and not element["is_decimal_allowed"]:
        raise SlackErrorResponse("invalid_blocks")


def _datepicker(element: Json) -> None:
    try:
        if len(element.get("initial_date", "2026-01-01")) != len("2026-01-01"):
            raise SlackErrorResponse("invalid_blocks")
        date.fromisoformat(element.get("initial_date", "2026-01-01"))
    except ValueError:
        raise SlackErrorResponse("invalid_blocks") from None


def _options(element: Json) -> None:
    options = element["options"]
    most = CHECKBOXES if element["type"] == "checkboxes" else OPTIONS
    if not 1 <= len(options) <= most or len({one["value"] for one in options}) < len(options):
        raise SlackErrorResponse("invalid_blocks")
    for option in options:
        _check_text(option["text"], OPTION)
        if element["type"] == "static_select" and option["text"]["type"] != "plain_text":
            raise SlackErrorResponse("invalid_blocks")
        if not 1 <= size(option["value"]) <= OPTION_VALUE:
            raise SlackErrorResponse("invalid_blocks")
    value = element.get("initial_options", [{}])
    if not value or any(one not in options for one in value if one):
        raise SlackErrorResponse("invalid_blocks")
    if element.get("initial_option", options[0]) not in options:
        raise SlackErrorResponse("invalid_blocks")


_INPUTS = {
    "plain_text_input": _text_input,
    "number_input": _number_input,
    "datepicker": _datepicker,
    "static_select": _options,
    "checkboxes": _options,
}


def _header(block: Json) -> None:
    _check_text(block["text"], HEADER, "plain_text")


_CHECKS = {
    "section": _section,
    "markdown": _markdown,
    "context": _context,
    "actions": _actions,
    "context_actions": _context_actions,
    "input": _input,
    "header": _header,
    "rich_text": _rich_text,
    "table": _table,
    "data_table": _data_table,
    "data_visualization": _data_visualization,
}


def _check_text(text: Json, limit: int, kind: str = "") -> None:
    if text.get("type") not in ((kind,) if kind else ("plain_text", "mrkdwn")):
        raise SlackErrorResponse("invalid_blocks")
    if not isinstance(text.get("text"), str) or not 1 <= size(text["text"]) <= limit:
        raise SlackErrorResponse("invalid_blocks")
