"""What Discord refuses, each limit and code beside the page that it comes from.

Pages are those of github.com/discord/discord-api-docs (August 2026), under developers/; numbers
such as #1315 are issues there, in which Discord's own people or many users tell what they saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Payload = dict[str, Any]
Files = Sequence[tuple[str, bytes]]
MIB = 1024 * 1024
SELECT, TEXT_INPUT, CHECKBOX = 3, 4, 23
"""Types of components (components/reference.mdx#component-object-component-types)."""

# resources/message.mdx#create-message-jsonform-params. Characters are code points (#1315).
CONTENT, NONCE, EMBEDS = 2000, 25, 10
# resources/message.mdx#embed-object-embed-limits: each, and over all embeds of a message.
EMBED = {"title": 256, "description": 4096}
EMBED_FIELDS, FIELD_NAME, FIELD_VALUE = 25, 256, 1024
FOOTER, AUTHOR, IN_ALL_EMBEDS = 2048, 256, 6000
# reference.mdx#uploading-files: of one file, where nobody boosts or pays. Bots have no more (#8572)
# but by the server's boosts (#2037): support.discord.com, Server Boosting FAQ, levels 2 and 3.
FILE = 10 * MIB
BOOSTED = {0: FILE, 1: FILE, 2: 50 * MIB, 3: 100 * MIB}
REQUEST = 25 * MIB  # resources/message.mdx#create-message-limitations
ATTACHMENTS = 10  # code 30015
# components/reference.mdx: #legacy-message-component-behavior, #action-row, #button, #custom-id.
ROWS, BUTTONS, LABEL, CUSTOM_ID = 5, 5, 80, 100
# interactions/receiving-and-responding.mdx#interaction-response-object-modal, and
# components/reference.mdx: #label-label-structure, #text-input-text-input-structure.
MODAL_TITLE, MODAL_FIELDS, FIELD_LABEL, FIELD_ABOUT, INPUT = 45, 5, 45, 100, 4000
# components/reference.mdx: #string-select, #select-option-structure.
OPTIONS, OPTION, PLACEHOLDER = 25, 100, 150
# interactions/application-commands.mdx: #autocomplete, #application-command-object (structures),
# #registering-a-command, #slash-commands (characters of one command in all).
CHOICES, CHOICE_NAME, CHOICE_VALUE = 25, 100, 100
COMMAND_NAME, COMMAND_ABOUT, COMMAND_OPTIONS, COMMAND_IN_ALL = 32, 100, 25, 8000
COMMANDS = {1: 100, 2: 15, 3: 15}
THREAD_NAME = 100  # resources/channel.mdx#start-thread-from-message-json-params
HISTORY = 100  # resources/message.mdx#get-channel-messages-query-string-params
# interactions/receiving-and-responding.mdx: #responding-to-an-interaction, #create-followup-message
ACK_SECONDS, TOKEN_SECONDS, FOLLOWUPS = 3.0, 900.0, 5
# resources/message.mdx#create-message-jsonform-params: "the past few minutes", and nothing exacter.
NONCE_SECONDS = 180.0

# topics/opcodes-and-status-codes.mdx#json-json-error-codes has the codes and their words. No page
# tells the HTTP status that goes with each, so nobody may build on it.
CODES: Mapping[int, tuple[int, str]] = {
    10003: (404, "Unknown Channel"),
    10004: (404, "Unknown Guild"),
    10007: (404, "Unknown Member"),
    10008: (404, "Unknown Message"),
    10013: (404, "Unknown User"),
    10015: (404, "Unknown Webhook"),
    10062: (404, "Unknown interaction"),
    20016: (429, "This action cannot be performed due to slowmode rate limit"),
    20028: (429, "The write action you are performing on the channel has hit the write rate limit"),
    20029: (429, "The write action you are performing on the server has hit the write rate limit"),
    30015: (400, "Maximum number of attachments in a message reached (10)"),
    30032: (400, "Maximum number of application commands reached"),
    30034: (400, "Maximum number of daily application command creates has been reached (200)"),
    30046: (429, "Maximum number of edits to messages older than 1 hour reached. Try again later"),
    40001: (401, "Unauthorized"),
    40003: (429, "You are opening direct messages too fast"),
    40004: (403, "Send messages has been temporarily disabled"),
    40005: (413, "Request entity too large"),
    40006: (403, "This feature has been temporarily disabled server-side"),
    40060: (400, "Interaction has already been acknowledged."),
    40062: (429, "Service resource is being rate limited"),
    40094: (400, "This interaction has hit the maximum number of follow up messages"),
    40333: (403, "Cloudflare is blocking your request"),
    50001: (403, "Missing Access"),
    50003: (403, "Cannot execute action on a DM channel"),
    50005: (403, "Cannot edit a message authored by another user"),
    50006: (400, "Cannot send an empty message"),
    50007: (403, "Cannot send messages to this user"),
    50008: (400, "Cannot send messages in a non-text channel"),
    50013: (403, "Missing Permissions"),
    50014: (401, "Invalid authentication token"),
    50024: (400, "Cannot execute action on this channel type"),
    50027: (401, "Invalid Webhook Token"),
    50035: (400, "Invalid Form Body"),
    50045: (400, "File uploaded exceeds the maximum size"),
    50083: (400, "Thread is archived"),
    50278: (403, "Cannot send messages to this user due to having no mutual guilds"),
    90001: (403, "Reaction was blocked"),
    130000: (503, "API resource is currently overloaded. Try again a little later"),
    160002: (400, "Cannot reply without permission to read message history"),
    160004: (400, "A thread has already been created for this message"),
    160005: (400, "Thread is locked"),
    200000: (400, "Message was blocked by automatic moderation"),
    240000: (400, "Message blocked by harmful links filter"),
    400001: (403, "Access to file uploads has been limited for this guild"),
}


class DiscordErrorResponse(Exception):
    """An error answer, by Discord's code; `about` says what of the request it is."""

    def __init__(self, code: int, about: str = "") -> None:
        self.code = code
        self.status, words = CODES[code]
        super().__init__(f"{words}: {about}" if about else words)


def check_message(payload: Payload, files: Files, largest: int, kept: int = 0) -> None:
    """Raise DiscordErrorResponse if Discord would refuse this message or edit; `kept` are the
    attachments that stay, `largest` is for one file here, in bytes."""
    if len(payload.get("content") or "") > CONTENT:
        raise DiscordErrorResponse(50035, "content: must be 2000 or fewer in length")
    if len(str(payload.get("nonce") or "")) > NONCE:
        raise DiscordErrorResponse(50035, "nonce")
    sizes = [len(data) for _, data in files]
    if max(sizes, default=0) > largest or sum(sizes) > REQUEST:
        raise DiscordErrorResponse(40005)
    if len(sizes) + kept > ATTACHMENTS:
        raise DiscordErrorResponse(30015)
    _check_embeds(payload.get("embeds") or [])
    _check_components(payload.get("components") or [])


def check_modal(data: Payload) -> None:
    """Raises DiscordErrorResponse for a form that Discord does not show."""
    items = data.get("components") or []
    if not 1 <= len(data.get("title") or "") <= MODAL_TITLE or not 1 <= len(items) <= MODAL_FIELDS:
        raise DiscordErrorResponse(50035, "title or components of a modal")
    inputs = [item["component"] for item in items]
    _check_ids([data.get("custom_id"), *(each.get("custom_id") for each in inputs)])
    for item, text in zip(items, inputs, strict=True):
        if not 1 <= len(item.get("label") or "") <= FIELD_LABEL:
            raise DiscordErrorResponse(50035, "label of a modal's field")
        if len(item.get("description") or "") > FIELD_ABOUT:
            raise DiscordErrorResponse(50035, "description of a modal's field")
        if text["type"] not in (TEXT_INPUT, SELECT, CHECKBOX):
            raise DiscordErrorResponse(50035, "type of a modal's field")
        if len(text.get("value") or "") > INPUT or not 1 <= text.get("max_length", 1) <= INPUT:
            raise DiscordErrorResponse(50035, "value or max_length of a text input")
        if text["type"] == TEXT_INPUT and text.get("style") not in (1, 2):
            raise DiscordErrorResponse(50035, "style of a text input")
        if len(text.get("value") or "") > text.get("max_length", INPUT):
            raise DiscordErrorResponse(50035, "value of a text input")
        if text["type"] == SELECT:
            _check_select(text)
            if text.get("required", True) and text.get("min_values", 1) == 0:
                raise DiscordErrorResponse(50035, "min_values of a required select")


def check_choices(choices: Sequence[Payload]) -> None:
    """Raises DiscordErrorResponse for what autocomplete does not offer."""
    if len(choices) > CHOICES or not all(
        1 <= len(one["name"]) <= CHOICE_NAME and 1 <= len(str(one["value"])) <= CHOICE_VALUE
        for one in choices
    ):
        raise DiscordErrorResponse(50035, "choices")


def check_commands(commands: Sequence[Payload]) -> None:
    """Raises DiscordErrorResponse for commands that cannot be registered."""
    kinds = [command.get("type", 1) for command in commands]
    if any(kinds.count(kind) > most for kind, most in COMMANDS.items()):
        raise DiscordErrorResponse(30032)
    for command in commands:
        slash = command.get("type", 1) == 1
        options = command.get("options") or []
        needs = [bool(option.get("required")) for option in options]
        if not slash and (options or command.get("description")):
            raise DiscordErrorResponse(50035, "options and description are for slash commands")
        if len(options) > COMMAND_OPTIONS or needs != sorted(needs, reverse=True):
            raise DiscordErrorResponse(50035, "options: at most 25, required ones first")
        if not all(_is_named(each) for each in (*([command] if slash else []), *options)):
            raise DiscordErrorResponse(50035, "name or description of a command")
        if sum(map(_command_length, [command, *options])) > COMMAND_IN_ALL:
            raise DiscordErrorResponse(50035, "a command of more than 8000 characters")


def is_empty(payload: Payload, files: Files) -> bool:
    """White space alone is nothing (github.com/qaisjp/go-discord-irc pull request 133)."""
    content = (payload.get("content") or "").strip()
    return not (content or payload.get("embeds") or files)


def _check_embeds(embeds: Sequence[Payload]) -> None:
    long = any(
        len(part) > most or not (part or name in EMBED)
        for embed in embeds
        for name, part, most in _embed_parts(embed)
    )
    in_all = sum(len(part) for embed in embeds for _, part, _ in _embed_parts(embed))
    many = any(len(embed.get("fields") or []) > EMBED_FIELDS for embed in embeds)
    if long or many or len(embeds) > EMBEDS or in_all > IN_ALL_EMBEDS:
        raise DiscordErrorResponse(50035, "embeds")


def _embed_parts(embed: Payload) -> Iterator[tuple[str, str, int]]:
    """White space around a text does not count."""
    for name, most in EMBED.items():
        yield name, str(embed.get(name) or "").strip(), most
    for field in embed.get("fields") or []:
        yield "field.name", field["name"].strip(), FIELD_NAME
        yield "field.value", field["value"].strip(), FIELD_VALUE
    for name, key, most in (("footer", "text", FOOTER), ("author", "name", AUTHOR)):
        if embed.get(name):
            yield name, embed[name][key].strip(), most


def _check_components(rows: Sequence[Payload]) -> None:
    items = [item for row in rows for item in row["components"]]
    if len(rows) > ROWS or not all(1 <= len(row["components"]) <= BUTTONS for row in rows):
        raise DiscordErrorResponse(50035, "components: at most 5 rows of 1 to 5 buttons")
    for row in rows:
        selects = [item for item in row["components"] if item.get("type") == SELECT]
        if selects and len(row["components"]) > 1:
            raise DiscordErrorResponse(50035, "a select fills its row")
        for select in selects:
            _check_select(select)
    buttons = [item for item in items if item.get("type") != SELECT]
    # components/reference.mdx: a button has a label, an emoji or both.
    texts = [button.get("label") or (button.get("emoji") or {}).get("name") for button in buttons]
    if not all(1 <= len(text or "") <= LABEL for text in texts):
        raise DiscordErrorResponse(50035, "label of a button")
    _check_ids([item.get("custom_id") for item in items])


def _check_select(select: Payload) -> None:
    options = select.get("options") or []
    values = {option["value"] for option in options}
    if not 1 <= len(options) <= OPTIONS or len(values) < len(options):
        raise DiscordErrorResponse(50035, "options of a select: 1 to 25, each value once")
    for option in options:
        texts = option.get("label") or "", option["value"]
        if not all(1 <= len(text) <= OPTION for text in texts):
            raise DiscordErrorResponse(50035, "label or value of an option")
        if len(option.get("description") or "") > OPTION:
            raise DiscordErrorResponse(50035, "description of an option")
    if len(select.get("placeholder") or "") > PLACEHOLDER:
        raise DiscordErrorResponse(50035, "placeholder of a select")
    least, most = select.get("min_values", 1), select.get("max_values", 1)
    if not 0 <= least <= most <= len(options) or most < 1:
        raise DiscordErrorResponse(50035, "min_values or max_values of a select")
    if sum(bool(option.get("default")) for option in options) > most:
        raise DiscordErrorResponse(50035, "more defaults than max_values")


def _check_ids(ids: Sequence[str | None]) -> None:
    if not all(id and len(id) <= CUSTOM_ID for id in ids) or len(set(ids)) < len(ids):
        raise DiscordErrorResponse(50035, "custom_id: 1 to 100 characters, each once")


def _is_named(named: Payload) -> bool:
    name, about = named["name"], named.get("description") or ""
    return (
        1 <= len(name) <= COMMAND_NAME
        and name == name.lower()
        and name.replace("-", "").replace("_", "").isalnum()
        and 1 <= len(about) <= COMMAND_ABOUT
    )


def _command_length(named: Payload) -> int:
    """The longest translation of each counts."""
    return sum(
        max(map(len, [named.get(key) or "", *(named.get(f"{key}_localizations") or {}).values()]))
        for key in ("name", "description")
    )
