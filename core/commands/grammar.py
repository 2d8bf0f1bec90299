"""Parses the commands that a person can type instead of a message for the model.

All platforms use this parser and its errors. The first word of a command is the command's name,
bare or after `/` or `!`, and the rest must have the form of that command. "stop doing that" and
"help me with X" are therefore messages for the model. The English names work in every language.
People with another language can also use the names in `TRANSLATED`, with or without accents.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from core.base.errors import BadInput, PonteError, UnknownCommand
from core.base.i18n import LANGUAGE, LOCALES, nearest_locale, say
from core.base.splitting import fence_after_line, make_code_block
from core.base.text import clean_text
from core.commands.quick_commands import Inputs, check_unique_names, parse_input, render_input
from core.domain.messages import Message
from core.people.rules import RIGHT_KINDS

IMMEDIATE_COMMANDS = frozenset(
    {
        "stop",
        "approve",
        "change",
        "deny",
        "undo",
        "again",
        "forget",
        "help",
        "status",
        "usage",
        "changes",
        "why",
    }
    | {"approvals", "schedules", "schedule", "alerts"}
)
"""Commands that run as soon as they are stored. All others wait for their turn in the queue."""

COMMAND_NAMES = IMMEDIATE_COMMANDS | {
    "new",
    "quick-command",
    "setup",
    "rerun",
    "save",
    "saved",
    "share",
    "watch",
}

TRANSLATED: Mapping[str, Mapping[str, str]] = {
    "pt-BR": {
        "ajuda": "help",
        "estado": "status",
        "uso": "usage",
        "uso do canal": "usage channel",
        "nova conversa": "new",
        "esquecer sim": "forget yes",
        "parar": "stop",
        "reexecutar": "rerun",
        "salvas": "saved",
        "alterações": "changes",
        "aprovar": "approve",
        "alterar": "change",
        "repropor": "again",
        "recusar": "deny",
        "desfazer": "undo",
        "aprovações": "approvals",
        "porque": "why",
        "comando-rápido": "quick-command",
        "agendamentos": "schedules",
        "agendamento": "schedule",
        "alertas": "alerts",
        "alerta": "alert",
        "pare": "stop",
    },
    "fr": {
        "aide": "help",
        "état": "status",
        "utilisation": "usage",
        "utilisation du canal": "usage channel",
        "nouvelle conversation": "new",
        "oublier oui": "forget yes",
        "arrêter": "stop",
        "relancer": "rerun",
        "enregistrées": "saved",
        "modifications": "changes",
        "approuver": "approve",
        "modifier": "change",
        "reproposer": "again",
        "refuser": "deny",
        "annuler": "undo",
        "approbations": "approvals",
        "pourquoi": "why",
        "commande-rapide": "quick-command",
        "planifications": "schedules",
        "planification": "schedule",
        "alertes": "alerts",
        "alerte": "alert",
        "arrête": "stop",
        "arrêtez": "stop",
    },
}
"""Commands that erase or restart the conversation have two words, because a single word may be a
question."""


def _fold(text: str) -> str:
    # People type names of commands without accents on foreign keyboards.
    apart = unicodedata.normalize("NFD", text.casefold().lstrip("/!"))
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


_ENGLISH_NAMES = {
    _fold(name): english for names in TRANSLATED.values() for name, english in names.items()
}
RUN_PYTHON = "run-python"
"""The name of a message that is only one ```python block."""

USAGE_OF_CHANNEL = "channel"
_PLAIN_COMMANDS = frozenset(
    {"stop", "help", "status", "usage", "usage channel", "changes", "approvals", "schedules"}
    | {"alerts", "new"}
)
"""The commands that may end like a sentence, or be in quotes. Those that decide or delete must be
typed as they are: quoted text confirms nothing."""
_EDGES = re.compile(r"^[^\w/!>~<@#]+|[^\w~]+$|^_+|_+$")
"""What may stand around a command: marks of code, bold and quotes, the end of a sentence, signs.
What is struck out or quoted as somebody's (`>`) is no command."""
_SIGNS = (
    r"(\s|:[\w+-]+:|[\u200d\u203c\u2049\u20e3\u2190-\u21ff\u231a-\u23ff\u25a0-\u275a\u2764"
    r"\u2795-\u27bf\u2934\u2935\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff\U000e0020-\U000e007f])+"
)
_EMOJI = re.compile(f"^{_SIGNS}|{_SIGNS}$")
"""Emoji at the ends of a message, also as Slack writes them: ":raised_hand::skin-tone-3:"."""
_DOUBT = re.compile(
    "[❌❎✖✗✘☒👎🚫🚷⛔🛑✋🤚🖐🖕🙅⚠❓❔🤔⁉]"
    r"|:(x|no|not|do_not|dont|never|nope|cancel|wait|-1|thumbs_?down|octagonal_sign"
    r"|stop_sign|hand|raised_hand|thinking(_face)?|interrobang"
    r"|no_(entry|entry_sign|good)|\w+-gesturing-no|(\w+_)?(question|cross_mark|multiplication_x)):",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"^(please|pls|plz|por favor|s['’]?il (te|vous) plait|svp|stp|ponte)\b[\s,]*"
    r"|[\s,]*\b(please|pls|plz|por favor|pfv?|s['’]?il (te|vous) plait|svp|stp"
    r"|thanks|thank you|obrigad[oa]|merci|ponte)$"
)
_WITH_ID = frozenset({"approve", "deny", "undo", "again"})
SCHEDULE_ACTIONS = ("pause", "resume", "run", "delete", "show")
_ACTION_NAMES: Mapping[str, str] = {
    **{action: action for action in SCHEDULE_ACTIONS},
    "pausar": "pause", "retomar": "resume", "executar": "run", "excluir": "delete",
    "mostrar": "show",
    "suspendre": "pause", "reprendre": "resume", "executer": "run", "supprimer": "delete",
    "afficher": "show",
}  # fmt: skip
NEAR_DECISION = re.compile(
    r"[^\w>~]*(approve|deny|aprovar|recusar|approuver|refuser)[\s`]+([a-z0-9]{5,7})(?:\W.*)?",
    re.IGNORECASE | re.DOTALL,
)
"""A decision, perhaps with a mistyped ID, in code marks, with a code or a reason."""
_SCHEDULE = re.compile(r"(?P<id>[a-z2-7]{6})\s+(?P<action>\w{3,12})", re.IGNORECASE)
_FORMS = {
    "share": re.compile(r"([a-z2-7]{16})()()"),
    "save": re.compile(r"([a-z2-7]{16}) ((?:true|false)?/(?:true|false)?) (.+)", re.DOTALL),
    "watch": re.compile(r"([a-z2-7]{16}) ()((?:[^|]*\|){5}.*)", re.DOTALL),
}
"""The commands that forms and *Share* send."""
_DELETIONS = (" delete", " excluir", " supprimer")
_TURN = re.compile(r"[a-z2-7]{16}")
_SETUP_WORD = re.compile(r"[a-z2-7]{4}-[a-z2-7]{4}", re.IGNORECASE)
_PAGE = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_HEAD = re.compile(r"[/!]?([a-z]+(?:-command)?)(?=\s|$)", re.IGNORECASE)
_WORD = re.compile(r"\S+")
_ID = re.compile(r"(?=[a-z]*[2-7])[a-z2-7]{6}")
"""Every id contains a digit, so "approve please" is not a command."""
_ID_AND_CODE = re.compile(rf"({_ID.pattern})(?:\.([1-9][0-9]{{0,3}}))?(?:-([0-9]{{4}}))?")
"""An id, the revision in a button, and the digits under a change that was shown in full."""
_CHANGE = re.compile(rf"({_ID.pattern}(?:\.[1-9][0-9]{{0,3}})?)(?:\s+(.+))?", re.I | re.DOTALL)
_WHY = re.compile(
    rf"{_ID.pattern}|[a-z]+(_[a-z]+)+|{'|'.join(RIGHT_KINDS[:7])}|({'|'.join(RIGHT_KINDS)}):\S.*",
    re.DOTALL,
)
SLUG_PATTERN = r"[a-z0-9][a-z0-9_-]{0,99}"
MAX_APPROVED_TOGETHER = 10
MAX_CACHED_CHARACTERS = 4_000
_LONGEST_DECISION = 176
"""Characters of the longest immediate command. A command's name is searched for only in as many
characters at the beginning of a message."""

_NO_SLUG = "Specify a quick command: `quick-command SLUG`, then the text or key=value."
_IN_MARKS = "Nothing was decided. Type the command without the backticks."
_WRONG_SLUG = (
    "`{word}` isn't a valid quick command name. Names have up to 100 characters: lowercase "
    "letters, digits, - and _. Type `quick-command SLUG`, then the text or key=value."
)


@dataclass(frozen=True, slots=True)
class TypedCommand:
    """- `id`: the argument of approve, deny, undo, again, why and setup, the id after schedule,
      the turn after rerun, save, share and watch, or the page of schedules. For approve, several
      ids can be separated by spaces.
    - `slug`: the name of the quick command, the argument of usage, or the action of schedule and
      saved; of save, "true" for others and for days that move, around a slash.
    - `input`: the inputs of the quick command, or the new values for change.
    - `confirmed`: True for `forget yes`.
    - `reason`: the text after the id of `deny`; the name of a saved question; the values of an
      alert's form.
    - `code`: the Python of a message that consists of one code block.
    """

    name: str
    id: str = ""
    slug: str = ""
    input: Inputs = ""
    confirmed: bool = False
    code: str = ""
    reason: str = ""


def parse_command(text: str) -> TypedCommand | None:
    """Return the command that a message is, or None if the message is for the model. The name of
    the command may be written in English or in any supported language.

    A message is a command only if all of it has the form of one, but for emoji at its ends: "stop
    doing that" and "❌ approve abc234" are for the model. Raise UnknownCommand for an invalid name
    (slug) of a quick command and for a decision in code marks, as it is copied from a card, and
    BadInput for inputs that cannot be parsed.
    """
    # Long texts, of up to 2 MB, would fill the memory.
    parse = _parse if len(text) <= MAX_CACHED_CHARACTERS else _parse.__wrapped__
    command = parse(text)
    if command is None and len(text) <= _LONGEST_DECISION:
        command = _parse(_EMOJI.sub("", text))
        if (
            command
            and command.name not in {*_PLAIN_COMMANDS, "deny", "why"}
            and _DOUBT.search(text)
        ):
            return None
        if not command and "`" in text:
            decision = _parse(_EMOJI.sub("", text).replace("`", ""))
            if decision and decision.name in _WITH_ID:
                raise UnknownCommand(_IN_MARKS)
    return command


@lru_cache(maxsize=512)  # each of many waiting turns asks several times
def _parse(text: str) -> TypedCommand | None:
    text = text.strip()
    # A message that is one Python code block runs the code.
    if text.startswith(("```", "~~~")) and (block := _parse_code_block(clean_text(text))):
        return block
    text = _strip_courtesies(text)
    # A message may be long, so only its beginning is cleaned to find a name.
    start = clean_text(text[:_LONGEST_DECISION])
    # A name in another language is replaced by the English one.
    if (translated := _translate_name(text, start.strip())) != text:
        text, start = translated, clean_text(translated[:_LONGEST_DECISION])
    head = _HEAD.match(start)
    name = head[1].lower() if head else ""
    if name == "alert":  # a schedule, under the name that people know
        name = "schedule"
    if name not in COMMAND_NAMES:
        return None
    rest = clean_text(text).strip()[head.end() if head else 0 :].strip()
    end = rest.rstrip(".!?")  # `rest` without the end of a sentence
    # A command whose rest has another form is a message for the model.
    if name == "quick-command":
        slug, *inputs = rest.split(maxsplit=1)[:2] if rest else ("",)
        if not slug:
            raise UnknownCommand(_NO_SLUG)
        check_slug(slug)
        return TypedCommand(name, slug=slug, input=parse_input(inputs[0]) if inputs else "")
    if name in _WITH_ID:  # followed by an id, which has a digit: "approve please" is none
        if name == "deny":
            word, *reasons = rest.split(maxsplit=1) or ("",)
            # As in "deny ab12cd, because …" and "deny ab12cd."
            word = word.rstrip(",:" if reasons else ".!")
            is_command = bool(_ID_AND_CODE.fullmatch(word.lower()))
            reason = reasons[0] if reasons else ""
            return TypedCommand(name, id=word.lower(), reason=reason) if is_command else None
        ids = rest.lower().rstrip(".!").replace(",", " ").split()
        most = MAX_APPROVED_TOGETHER if name == "approve" else 1
        is_command = 1 <= len(ids) <= most and all(map(_ID_AND_CODE.fullmatch, ids))
        return TypedCommand(name, id=" ".join(dict.fromkeys(ids))) if is_command else None
    if name == "change":
        return _parse_change(rest)
    if name == "schedule":
        match = _SCHEDULE.fullmatch(end)
        action = _ACTION_NAMES.get(_fold(match["action"])) if match else None
        if not match or not action:
            return None
        return TypedCommand(name, id=match["id"].lower(), slug=action)
    if name in ("schedules", "alerts") and _PAGE.fullmatch(end):
        return TypedCommand(name, id=end)
    if name in _FORMS:
        match = _FORMS[name].fullmatch(rest)
        return TypedCommand(name, id=match[1], slug=match[2], reason=match[3]) if match else None
    if name == "saved" and end.endswith(_DELETIONS):
        return TypedCommand(name, slug="delete", reason=end.rpartition(" ")[0])
    if name == "rerun" and _TURN.fullmatch(end):
        return TypedCommand(name, id=end)
    if name == "setup":  # with the word by which the owner of the page proves an account
        return TypedCommand(name, id=end.lower()) if _SETUP_WORD.fullmatch(end) else None
    if name == "why":
        return TypedCommand(name, id=end) if _WHY.fullmatch(end) else None
    if name == "forget" and rest.lower() == "yes":
        return TypedCommand(name, confirmed=True)
    if name == "usage" and rest.lower() == USAGE_OF_CHANNEL:
        return TypedCommand(name, slug=USAGE_OF_CHANNEL)
    return None if rest else TypedCommand(name)


def is_command_name(text: str) -> bool:
    """Return whether this is the name of a command in any language, also without what has to follow
    it: `approve` is one, and no command."""
    name = _fold(text.strip().rstrip(".!? "))
    return name in {*COMMAND_NAMES, "alert"} or name in _ENGLISH_NAMES


def parse_message(message: Message) -> TypedCommand | None:
    """Return the command that the message is, or None if it is for the model: text of a program, a
    file or a webhook is never a command."""
    return parse_command(message.text) if message.may_be_command else None


def is_decision(message: Message) -> bool:
    """Return whether the message is one of IMMEDIATE_COMMANDS, such as a decision on a change: it
    runs at once, before the messages that wait in its conversation. A command with an error waits
    for its turn, which reports the error."""
    text = message.text.strip()
    # A quick look first: long messages, which are many, need not be parsed. Only `change` and
    # `deny`, which free text follows, can be long.
    if len(text) > _LONGEST_DECISION and not _may_be_long(text):
        return False
    try:
        command = parse_message(message)
    except BadInput:
        return False
    return command is not None and command.name in IMMEDIATE_COMMANDS


def is_stop(message: Message) -> bool:
    return is_decision(message) and parse_message(message) == TypedCommand("stop")


def localize_command(english: str) -> str:
    names = TRANSLATED.get(nearest_locale(LANGUAGE.get()), {})
    return next((name for name, command in names.items() if command == english), english)


def split_change_id(id: str) -> tuple[str, int, str]:
    """Return the id of the change, the revision that the person saw (0 for none), and the code
    below the full text that they confirm ("" for none)."""
    match = _ID_AND_CODE.fullmatch(id)
    return (match[1], int(match[2] or 0), match[3] or "") if match else (id, 0, "")


def check_slug(slug: str) -> None:
    if not re.fullmatch(SLUG_PATTERN, slug):
        raise UnknownCommand(_WRONG_SLUG, word=slug[:40])


def render_command(command: TypedCommand) -> str:
    """`parse_command` reads the text as `command`: a click, a form or a schedule is stored as the
    message that a person would type."""
    if command.name == RUN_PYTHON:
        return make_code_block(command.code, "python")
    if command.name == "change" and isinstance(command.input, dict):
        return render_change(command.id, command.input)
    parts = [command.name, command.id, "yes" if command.confirmed else "", command.slug]
    parts += [render_input(command.input) if command.input != "" else "", command.reason]
    return " ".join(part for part in parts if part)


def render_change(press_id: str, values: Mapping[str, str]) -> str:
    """`press_id` is the id with the revision."""
    # Escaped, so that cleaning the text neither changes a field's title nor breaks the JSON.
    return f"change {press_id} {json.dumps(values)}"


def _may_be_long(text: str) -> bool:
    start = clean_text(text[:_LONGEST_DECISION])
    head = _HEAD.match(_translate_name(start, start))
    return head is not None and head[1].lower() in ("change", "deny")


def _parse_change(rest: str) -> TypedCommand | None:
    """Return the command `change` from what follows its name: an id, then the new values, as a JSON
    object or as lines such as `Status = Paid`. A line without `=` continues the value above it.
    Return None if that is no such command. Raise BadInput for invalid JSON or a repeated name."""
    match = _CHANGE.fullmatch(rest)
    if match is None:
        return None
    id, text = match[1].lower(), match[2] or ""
    if text.startswith("{"):
        return TypedCommand("change", id=id, input=parse_input(text))
    # Without values it is a command, too: the error then names the fields that it can change.
    pairs: list[tuple[str, str]] = []
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip():
            pairs.append((name.strip(), value.strip()))
        elif pairs:  # a value of several lines
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]}\n{line}")
        else:
            return None
    return TypedCommand("change", id=id, input=check_unique_names(pairs))


def _strip_courtesies(text: str) -> str:
    """Return the English command if the message adds only marks, the end of a sentence or a polite
    word to it, as in "Stop, please!"; otherwise return the text as it is. Only commands that decide
    and delete nothing (`_PLAIN_COMMANDS`) are recognised so freely."""
    if len(text) > _LONGEST_DECISION:  # longer than any command that runs at once
        return text
    inner = _strip_edges(text)
    # Several lines, or a path such as "/ tmp", are no command.
    if "\n" in inner or (inner.startswith(("/", "!")) and not inner[1:2].isalpha()):
        return text
    plain_words = _strip_edges(_POLITE.sub("", _fold(inner))).split()
    # "Stop stop!" is one command.
    bare = plain_words[0] if len(set(plain_words)) == 1 else " ".join(plain_words)
    command = _ENGLISH_NAMES.get(bare, bare)
    # "New?" is a question about something else.
    if command in _PLAIN_COMMANDS and not (command == "new" and "?" in text):
        return command
    return text


def _strip_edges(text: str) -> str:
    return _EDGES.sub("", _EDGES.sub("", text))


def _translate_name(text: str, start: str) -> str:
    """Return the text with the English command name in place of a translated one at its beginning;
    else the text as it is. `start` is the beginning of the text without invisible characters."""
    # A translation may have two words; it is then the whole message.
    whole = " ".join(_fold(start).split())
    if len(text) <= _LONGEST_DECISION and whole in _ENGLISH_NAMES:
        return _ENGLISH_NAMES[whole]
    head = _WORD.match(start)
    name = _ENGLISH_NAMES.get(_fold(head[0])) if head else None
    return name + clean_text(text).strip()[len(head[0]) :] if head and name else text


def _parse_code_block(text: str) -> TypedCommand | None:
    """Return the command that runs a Python code block, if the whole message is one block that is
    marked as Python; else None."""
    opening, *lines = text.split("\n")
    # `fence_after_line` returns the fence of the block that is open after a line, or None. Its last
    # argument, the longest allowed mark, counts only for a line that may open a block.
    fence = fence_after_line(opening, None, len(opening))
    if fence is None or fence.info.strip().lower() not in ("python", "py") or len(lines) < 2:
        return None
    # The block must be all of the message: its last line closes it, and none before.
    *code, closing = lines
    if fence_after_line(closing, fence, 0) or any(
        fence_after_line(line, fence, 0) is None for line in code
    ):
        return None
    source = "\n".join(code)
    return TypedCommand(RUN_PYTHON, code=source) if source.strip() else None


NEXT_LINE = "Next, try: `{message}`"
"""Suggests a message: the page makes a button of it, which only fills it in."""
MAX_SUGGESTION_CHARACTERS = 200
_ADDRESS_OR_MENTION = re.compile(r"://|www\.|[@#<>]")


def is_suggestion(label: str, message: str) -> bool:
    """Return whether `message`, written as code after `label` in a line as `NEXT_LINE`, is for the
    model: no command, without addresses and mentions. The label may be in any language, because
    answers are shown again in another one."""
    if label.strip() not in _list_labels() or len(message) > MAX_SUGGESTION_CHARACTERS:
        return False
    try:
        return parse_command(message) is None and not _ADDRESS_OR_MENTION.search(message)
    except PonteError:
        return False


@cache
def _list_labels() -> frozenset[str]:
    return frozenset(say(NEXT_LINE, locale, message="").strip("` ") for locale in LOCALES)
