"""Every button of the page, of Slack's Home and of the cards in chats is pressed by some test.

The buttons are listed from the code that draws them: their labels, or on the page also their id and
class. The presses are listed from the tests: the strings in calls that press something, such as
`slack.click(ana, post, "Approve")`. The buttons of `/admin` are pressed one after the other in
`tests/web/test_every_button.py`.
"""

from __future__ import annotations

import ast
import functools
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.chat.buttons import BUTTONS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "adapters/web/page"
PRESSES = {"click", "click_home", "press", "dispatch_event", "tap", "dblclick", "rate"}
"""Methods of Playwright and of the doubles that press a button."""
FUNCTION = re.compile(r"^(?:export )?(?:async )?function |\A", re.MULTILINE)
QUOTED = re.compile(r'"([a-z_]+)"')
DRAWN = re.compile(r'make\("button", |\b(?:iconButton|copyButton|form)\(')
"""How the scripts draw a button."""
BUILDING = ("icons.js", "dialogs.js:20", "dialogs.js:23")
"""The functions that draw a button with a label of their caller: it is listed at their calls."""
FOLDERS = ("web/page", "dialogues", "slack", "discord")


def _name(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _strings(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _find_values(function: ast.AST) -> dict[str, ast.expr]:
    """Return what the variables of a function stand for, by name: what is assigned to them, or what
    a loop takes them from."""
    values = dict[str, ast.expr]()
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[target], value=value):
                values |= dict.fromkeys(_names(target), value)
            case ast.For(target=target, iter=value):
                values |= dict.fromkeys(_names(target), value)
    return values


@functools.cache
def list_pressed() -> str:
    """Return the strings in calls of tests that press something, by a method or by a function of
    the tests that calls one, and in what the variables in these calls stand for."""
    calls = dict[ast.AsyncFunctionDef | ast.FunctionDef, list[ast.Call]]()
    for path in (path for folder in FOLDERS for path in (ROOT / "tests" / folder).rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            for part in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(part, ast.AsyncFunctionDef | ast.FunctionDef):
                    calls[part] = [one for one in ast.walk(part) if isinstance(one, ast.Call)]
    pressing = set(PRESSES)
    for _ in range(2):  # a helper, and a helper that calls it
        pressing |= {
            function.name
            for function in calls
            if not function.name.startswith("test_")
            and any(_name(call) in pressing for call in calls[function])
        }
    found = list[str]()
    for function in calls:
        presses = [call for call in calls[function] if _name(call) in pressing]
        values = _find_values(function) if presses else {}
        for call in presses:
            parts = [call, *(values[name] for name in _names(call) & values.keys())]
            found += (text for part in parts for text in _strings(part))
    return "\n".join(found)


def list_chat_buttons() -> set[str]:
    """Return the labels of the buttons of Slack, with its Home, and of Discord."""
    labels = {button.label for button in BUTTONS.values()} | {"Resume"}
    return {label.partition("{")[0] for label in labels}


def list_page_buttons() -> dict[str, set[str]]:
    """Return, for each place that draws a button of the page, how a test may name the button."""
    sentences = json.loads((PAGE / "sentences.json").read_text("utf-8"))
    buttons = dict[str, set[str]]()

    def find_names(part: str) -> set[str]:
        ids = re.findall(r'\b(?:id[:=] ?|list\()"([a-z-]+)"', part)
        # `rate_${name}` stands for several sentences, of which the first has to be pressed.
        keys = {
            *ids,
            *QUOTED.findall(part),
            *(f"{name}up" for name in re.findall(r"`(\w+_)\$", part)),
        }
        return {
            *(f"#{id}" for id in ids),
            *(f".{name}" for name in re.findall(r'class: "([a-z-]+)"', part)),
            *(f"[{name}" for name in re.findall(r'"(data-[a-z]+)": [a-z]', part)),
            *re.findall(r'closest\?\.\("(\.table th) button"', part),
            # Up to its first value: a label such as "Show all {count} rows".
            *(sentences[key].partition("{")[0] for key in keys & sentences.keys()),
        } - {"", ".quiet-button", ".chip"}

    for match in re.finditer(r"<button[^>]*>", (PAGE / "index.html").read_text("utf-8")):
        buttons[f"index.html: {match[0]}"] = find_names(match[0])
    for path in sorted(PAGE.glob("*.js")):
        source = path.read_text("utf-8")
        for match in DRAWN.finditer(source):
            place = f"{path.name}:{source.count(chr(10), 0, match.start()) + 1}"
            if place.startswith(BUILDING):
                continue
            part = source[match.start() : match.end() + 200].partition("\n")[0]
            names = find_names(part.partition("on: {")[0])
            if all(name.startswith("[") for name in names):  # the label is made in another line
                names |= find_names(_find_function(source, match.start()))
            buttons[f"{place}: {part}"] = names
    return buttons


def _find_function(source: str, index: int) -> str:
    """Return the function of a script around an index."""
    starts = [match.start() for match in FUNCTION.finditer(source)]
    after = [start for start in starts if start > index]
    return source[max(start for start in starts if start <= index) : after[0] if after else None]


def test_each_button_of_slack_and_discord_is_pressed() -> None:
    pressed = list_pressed()
    assert {label for label in list_chat_buttons() if label not in pressed} == set()


def test_each_button_of_the_page_is_pressed() -> None:
    pressed = html.unescape(list_pressed())
    missing = {
        button: names
        for button, names in list_page_buttons().items()
        if not any(name and name in pressed for name in names)
    }
    assert missing == {}
