"""The grammar as people meet it: what they type, and whether it is a command."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base.errors import BadInput, UnknownCommand
from core.base.text import clean_text
from core.commands.grammar import (
    COMMAND_NAMES,
    MAX_CACHED_CHARACTERS,
    RUN_PYTHON,
    TypedCommand,
    is_decision,
    parse_command,
    render_command,
)
from core.commands.quick_commands import Inputs
from tests.fakes.choices import make_message

TRICKY = st.text(st.sampled_from("ab=\"'\\{}[]:,1 \n“”`~"), max_size=60)


def is_decision_text(text: str) -> bool:
    return is_decision(make_message(text, "k1"))


TEXTS = st.one_of(st.text(max_size=80), TRICKY).map(clean_text)
CODE = TEXTS.filter(lambda code: bool(code.strip()))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.just(1.5), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
WORDS = ["help", "status", "new", "forget", "stop", "usage", "changes"]
COMMANDS = st.one_of(
    st.sampled_from(WORDS).map(TypedCommand),
    st.builds(
        TypedCommand,
        st.sampled_from(["approve", "deny", "undo"]),
        st.from_regex(r"[a-z2-7]{5}[2-7]", fullmatch=True),
    ),
    st.just(TypedCommand("forget", confirmed=True)),
    st.just(TypedCommand("schedules", id="3")),
    st.just(TypedCommand("schedule", id="abc234", slug="pause")),
    CODE.map(lambda code: TypedCommand(RUN_PYTHON, code=code)),
    st.builds(
        lambda slug, given: TypedCommand("quick-command", slug=slug, input=given),
        st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True),
        st.one_of(
            TEXTS,
            st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_.-]{0,8}", fullmatch=True), TEXTS),
            st.dictionaries(TEXTS, VALUES, max_size=4),
        ),
    ),
)


NESTED: Inputs = {"r": [1, 2.5], "d": {"a": None}}


def quick_command(slug: str, input: Inputs = "") -> TypedCommand:
    return TypedCommand("quick-command", slug=slug, input=input)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("help", TypedCommand("help")),
        ("  /help \n", TypedCommand("help")),
        ("!Stop", TypedCommand("stop")),
        ("NEW", TypedCommand("new")),
        ("\u200bstatus", TypedCommand("status")),
        ("schedules 2", TypedCommand("schedules", id="2")),
        ("agendamento abc234 Retomar", TypedCommand("schedule", id="abc234", slug="resume")),
        ("planification abc234 exécuter", TypedCommand("schedule", id="abc234", slug="run")),
        ("forget", TypedCommand("forget")),
        ("forget Yes", TypedCommand("forget", confirmed=True)),
        ("approve abc234", TypedCommand("approve", id="abc234")),
        ("/Deny ABC234", TypedCommand("deny", id="abc234")),
        ("recusar ABC234.2 No,\nwait", TypedCommand("deny", id="abc234.2", reason="No,\nwait")),
        ("undo  zzzzz7", TypedCommand("undo", id="zzzzz7")),
        ("quick-command explain", quick_command("explain")),
        ("/quick-command a-1_b hello there", quick_command("a-1_b", "hello there")),
        ('quick-command b a=1 c="d e" f=', quick_command("b", {"a": "1", "c": "d e", "f": ""})),
        ('quick-command b {"r": [1, 2.5], "d": {"a": null}}', quick_command("b", NESTED)),
        ("```python\nprint(1)\n```", TypedCommand(RUN_PYTHON, code="print(1)")),
        ("~~~~py\nif x:\n    ```\n~~~~\n", TypedCommand(RUN_PYTHON, code="if x:\n    ```")),
    ],
)
def test_a_typed_command_is_parsed(text: str, command: TypedCommand) -> None:
    assert parse_command(text) == command


FOR_THE_MODEL = """
stop doing that please | help me with the orders | new table for customers | forget it |
approve | approve please | approve abc23 | approve abc239 | approve abc234 now | / help |
//help | quick-commands are nice | run-python | schedule abc234 pause it |
schedule abc234 start | schedules 0
"""
CODE_FOR_THE_MODEL = (
    "```\nprint(1)\n```",
    "```js\nalert(1)\n```",
    "```python\n```",
    "```python\nprint(1)\n```\nwhy does it fail?",
    "```python\na\n```\n```python\nb\n```",
    "```python\nnever closed",
)


def test_a_message_for_the_model() -> None:
    for text in ("", "   ", *map(str.strip, FOR_THE_MODEL.split("|")), *CODE_FOR_THE_MODEL):
        assert parse_command(text) is None, text
        assert not is_decision_text(text), text


AT_ONCE = "stop|/approve abc234|deny abc234|undo abc234|forget|forget yes|help|status|usage|changes"
LATER = "new|quick-command explain x|quick-command Not!|quick-command e x=1 and|```python\n1\n```"


def test_decisions_never_wait() -> None:
    because = "because " * 50
    now = [*AT_ONCE.split("|"), f"refuser abc234 {because}", "stop" + " " * 5000]
    later = [*LATER.split("|"), f"deny that {because}", f"approve abc234 {because}"]
    assert [text for text in now if not is_decision_text(text)] == []
    assert [text for text in later if is_decision_text(text)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("quick-command", "Specify a quick command"),
        ("/quick-command Explain x", "`Explain` isn't a valid quick command name"),
        ("quick-command ../../etc x", "`../../etc` isn't a valid quick command name"),
        ("quick-command -x", "`-x` isn't a valid quick command name"),
        ("quick-command " + "a" * 101, "up to 100 characters: lowercase letters"),
    ],
)
def test_a_wrong_slug_is_told(text: str, words: str) -> None:
    with pytest.raises(UnknownCommand) as error:
        parse_command(text)
    assert words in error.value.words()
    assert len(error.value.words()) < 300


@given(COMMANDS)
def test_what_is_rendered_is_read_back(command: TypedCommand) -> None:
    assert parse_command(render_command(command)) == command


@given(
    st.sampled_from([*sorted(COMMAND_NAMES), "quick-command a", ""]), st.one_of(st.text(), TRICKY)
)
def test_any_text_is_read_or_told(head: str, rest: str) -> None:
    try:
        command = parse_command(f"{head} {rest}")
    except BadInput as error:
        error.words()
    else:
        assert command is None or parse_command(render_command(command)) == command


def test_a_decision_has_at_most_176_characters() -> None:
    assert is_decision_text(f"{'approve':170}abc234")
    assert not is_decision_text(f"{'approve':171}abc234")


@pytest.mark.parametrize(
    ("written", "command"),
    [
        ("Stop.", "stop"), ("STOP!!!", "stop"), ("stop please", "stop"), ("Please stop", "stop"),
        ("Stop, please!", "stop"), ("stop…", "stop"), ("/stop!", "stop"), ("**stop**", "stop"),
        ("help.", "help"), ("status?", "status"), ("`usage`", "usage"), ("“Changes”", "changes"),
        ("parar!", "stop"), ("Pare, por favor.", "stop"), ("Ajuda?", "help"),
        ("Uso do canal?", "usage channel"), ("arrête !", "stop"), ("Arrêter, svp", "stop"),
        ("Arrête s’il te plaît", "stop"), ("État ?", "status"), ("« aide »", "help"),
        ("new.", "new"),
        ("approve abc234.", "approve abc234"), ("undo abc234!", "undo abc234"),
        ("deny abc234.", "deny abc234"),
        ("deny abc234 because `x`", "deny abc234 because `x`"),
        ("stop 🛑", "stop"), ("Stop ‼️", "stop"), ("STOP ⛔", "stop"), ("stop❗", "stop"),
        ("stop :octagonal_sign:", "stop"), (":raised_hand::skin-tone-3: stop", "stop"),  # Slack's
        ("parar :+1::skin-tone-2: :pray:", "stop"),
        ("approve abc234 :white_check_mark:", "approve abc234"),
        ("approve abc234 👍🏽", "approve abc234"), ("✅ undo abc234", "undo abc234"),
        ("forget yes :wastebasket:", "forget yes"),
        ("schedule abc234 pause ⏸️", "schedule abc234 pause"),
        ("why abc234 :thinking_face:", "why abc234"), ("usage channel 📊", "usage channel"),
        ("approve abc234 ❤️", "approve abc234"), ("⭐ undo abc234 ⤴️", "undo abc234"),
        ("schedules 2️⃣", "schedules 2"), ("❌ deny abc234", "deny abc234"),
        ("deny abc234 no :x:", "deny abc234 no :x:"),
        ("change abc234 Status = :x:", "change abc234 Status = :x:"),
        ("Ponte, stop!", "stop"), ("(stop)", "stop"), ("stop;", "stop"), ("STOP STOP", "stop"),
        ("```stop```", "stop"), ("```\nhelp\n```", "help"), ("pare 🙏", "stop"),
        ("why abc234?", "why abc234"), ("schedule abc234 pause.", "schedule abc234 pause"),
        ("schedules 2.", "schedules 2"), ("approve abc234, abc235", "approve abc234 abc235"),
        ("approuver abc234 !", "approve abc234"),
        ("deny abc234, too dear", "deny abc234 too dear"),
    ],
)  # fmt: skip
def test_a_command_as_people_type_it(written: str, command: str) -> None:
    parse = parse_command(written)
    assert parse is not None
    assert parse == parse_command(command)


@pytest.mark.parametrize(
    "text",
    [
        "stop the server please", "stop doing that", "please stop the import", "help me", "why?",
        "new?", "share", "forget.", "forget yes!", "please", "por favor", "thanks", "merci",
        "ponte",
        "'deny abc234'", "“forget yes”", "*undo abc234*",
        "status of order 7?", "para", "`stop` the server", "~stop~", "> stop", "", "`", "!!!",
        "stop\nplease", "help us, please.", "a" * 300, ":x:", "stop :x: it", "「approve abc234」",
        "❝forget yes❞", ":x: forget yes", "🚫 forget yes", "❌ approve abc234",
        "👎🏽 approve abc234", "approve abc234 :thumbsdown::skin-tone-3:", "undo abc234 ❓",
        ":no_entry_sign: again abc234", "approve abc234 :grey_question:",
        "❌ change abc234 Status = Paid", "schedule abc234 delete ❌",
        "🚫 quick-command deploy a=1",
        "❌ ```python\nprint(1)\n```", "🚷 approve abc234", "approve abc234 :NO:",
    ],
)  # fmt: skip
def test_a_sentence_that_only_begins_like_a_command_is_for_the_model(text: str) -> None:
    assert parse_command(text) is None


@pytest.mark.parametrize(
    "text",
    ["`approve abc234`", "approve `abc234`", "`aprovar abc234` 👍", "```\napprove abc234\n```"],
)
def test_a_decision_in_code_marks_decides_nothing_and_asks_no_model(text: str) -> None:
    with pytest.raises(BadInput, match="without the backticks"):
        parse_command(text)


def test_a_long_message_does_not_stay_in_memory() -> None:
    text = "hello " * MAX_CACHED_CHARACTERS
    references = sys.getrefcount(text)
    assert parse_command(text) is None
    assert sys.getrefcount(text) == references
