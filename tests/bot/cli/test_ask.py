"""`ponte ask`: one prompt from the argument and standard input, one answer, and the exit codes."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.cli import commands as cli_commands
from tests.bot.conftest import Shell
from tests.fakes.holder import FakeHolder

CARD = {
    "id": "abc234",
    "title": "Update 1 row",
    "state": "open",
    "text": "",
    "rows": [],
    "actions": ["approve", "deny"],
    "expires_at": None,
}


def answer(text: str, status: str = "done", **more: Any) -> tuple[int, dict[str, Any]]:
    body = {"response": text, "status": status, "cards": [], "files": [], "turn": "t"}
    return 200, body | more


@pytest.fixture
def ask(ponte: Shell, fake_holder: FakeHolder, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `ponte ask` with these words, and these bytes on standard input."""

    def run(*words: str, typed: bytes = b"", command: str = "ask") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        fake_holder.asked.clear()
        ponte(command, *words)
        return ponte.code, ponte.out, ponte.err

    return run


def read_prompt(fake_holder: FakeHolder) -> str:
    ((route, body),) = fake_holder.asked
    assert route == "POST /chat"
    message = json.loads(body)
    assert message["conversation"].startswith("ask-")
    return str(message["message"])


def test_argument_and_standard_input_are_one_prompt(ask: Any, fake_holder: FakeHolder) -> None:
    fake_holder.answers["POST /chat"] = answer("Yes.\x1b[31m")
    for words, typed_text, prompt in [
        (["summarise"], b"one\ntwo\n", "summarise\n\none\ntwo"),
        (["summarise", "this:"], b"", "summarise this:"),
        ([], "\ufefféa\r\nb".encode(), "éa\nb"),
        (["look at"], b"@/etc/hostname", "look at\n\n@/etc/hostname"),
    ]:
        for command in ("ask", "chat") if words else ("ask",):
            assert ask(*words, typed=typed_text, command=command) == (0, "Yes.\n", ""), words
            assert read_prompt(fake_holder).replace("\r", "") == prompt
    assert set(fake_holder.typed) == {False}, "a prompt is never a command"


def test_only_the_answer_is_on_stdout(ask: Any, fake_holder: FakeHolder) -> None:
    fake_holder.answers["POST /chat"] = answer("Shall I?", cards=[CARD])
    code, out, err = ask("do it")
    assert (code, out) == (0, "Shall I?\n")
    assert err.splitlines() == [
        "  # Update 1 row · ● waiting for approval",
        "    (abc234)",
        "    Type: ponte changes approve abc234 · ponte changes deny abc234",
    ]


def test_what_is_no_answer_is_on_stderr_with_a_code(ask: Any, fake_holder: FakeHolder) -> None:
    error = {"error": {"code": "too_many", "message": "Too many requests."}}
    for reply, why in [
        (answer("The model's server isn't responding.", "failed"), "isn't responding"),
        (answer("Half of it\n\n_Stopped._", "stopped"), "Half of it\n\nStopped.\n"),
        ((429, error), "Too many requests."),
        ((403, error), "Too many requests."),
        ((500, {}), "HTTP 500"),
    ]:
        fake_holder.answers["POST /chat"] = reply
        code, out, err = ask("hello")
        assert (code, out) == (1, ""), why
        assert why in err


def test_a_prompt_whose_answer_is_lost_may_be_saved(ask: Any, fake_holder: FakeHolder) -> None:
    fake_holder.dies = True
    code, out, err = ask("hello")
    assert (code, out) == (1, "")
    assert "Check with `ponte threads list` before you try again." in err


def test_input_that_cannot_be_sent_is_refused_before_anything_is_sent(
    ask: Any, fake_holder: FakeHolder, tmp_path: Path
) -> None:
    large = b"a" * (cli_commands.MAX_PROMPT_BYTES + 1)
    for words, typed_text, why in [
        ([], b" \n", "The prompt is empty."),
        (["x"], large, "Standard input is larger than 1.8 MiB"),
        (["x"], b"\x89PNG\r\n\x1a\n\0\0", "isn't UTF-8 text"),
        (["x"], b"a\0b", "isn't UTF-8 text"),
        (["x", "--file", str(tmp_path / "none")], b"", "Can't read the file"),
    ]:
        code, out, err = ask(*words, typed=typed_text)
        assert (code, out, fake_holder.asked) == (1, "", []), why
        assert why in err


def test_a_terminal_without_a_prompt_is_wrong_usage(
    ponte: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Tty())
    assert ponte("ask").code == 2
    assert "Specify a prompt, as text or on standard input." in ponte.err


def test_files_are_sent_along(ask: Any, fake_holder: FakeHolder, tmp_path: Path) -> None:
    fake_holder.answers["POST /chat"] = answer("Read.")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"contents of {name}")
    typed_in_chat = f"@{tmp_path}/b.csv"
    assert ask(f"read {typed_in_chat}", "--file", str(tmp_path / "a.csv"))[0] == 0
    ((_, body),) = fake_holder.asked
    assert ("contents of a.csv" in body, "contents of b.csv" in body) == (True, True)


def test_a_file_that_never_ends_is_refused(ask: Any, fake_holder: FakeHolder) -> None:
    code, out, err = ask("read", "--file", "/dev/zero")
    assert (code, out, fake_holder.asked) == (1, "", [])
    assert "The limit is 20 MiB" in err


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("read @none.csv", "none.csv"),
        ("read @none.csv, please", "none.csv"),
        ("what is in @none.csv?", "none.csv"),
        ("the sums (@none.xlsx)", "none.xlsx"),
        ('read @"my sales.csv"', "my sales.csv"),
        ("read @./none", "./none"),
        ("read @~/none", "~/none"),
        ("read @/none/at/all", "/none/at/all"),
        ("read @settings.YAML", "settings.YAML"),
        ("look at @photo.heic", "photo.heic"),
        ("@a.csv and @none.log", "none.log"),
    ],
)
def test_a_prompt_that_names_a_missing_file_is_not_sent(
    ask: Any,
    fake_holder: FakeHolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prompt: str,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("a")
    fake_holder.answers["POST /chat"] = answer("Paid.")
    code, out, err = ask(prompt)
    assert (code, out, fake_holder.asked) == (1, "", [])
    assert f"File {name} not found. Nothing was sent." in err
    assert "Is a directory" in ask(f"read @{tmp_path}/")[2]
    os.mkfifo(tmp_path / "pipe")
    for endless in (tmp_path / "pipe", "/dev/zero"):
        assert "Not a regular file" in ask(f"read @{endless}")[2]


def test_words_that_are_no_files_are_sent(
    ask: Any, fake_holder: FakeHolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("contents of a")
    fake_holder.answers["POST /chat"] = answer("Sent.")
    for words in ("ask @ana", "npm install @here/maps-api", "@app.route", "me@none.csv", "@ana."):
        assert ask(words)[:2] == (0, "Sent.\n"), words
    assert ask("What is in @a.csv?")[0] == 0
    assert "contents of a" in fake_holder.asked[0][1]
    fake_holder.asked.clear()
    monkeypatch.setenv("TZ", "America/Sao_Paulo")
    ask("what day is it?")
    assert json.loads(fake_holder.asked[0][1])["time_zone"] == "America/Sao_Paulo"


def test_a_saved_question_is_shown_as_if_it_was_typed(ask: Any, fake_holder: FakeHolder) -> None:
    fake_holder.answers["GET /quick-commands"] = 200, {"commands": [], "saved": ["Unpaid orders"]}
    fake_holder.answers["POST /chat"] = answer("Here.")
    assert ask("--saved", "the unpaid orders", typed=b"not read")[:2] == (0, "Here.\n")
    _, (_, body) = fake_holder.asked
    assert json.loads(body)["message"] == "show the unpaid orders"
    code, out, err = ask("--saved", "invoices")
    assert (code, out) == (1, "")
    assert "Saved question `invoices` not found here." in err
    assert [route for route, _ in fake_holder.asked] == ["GET /quick-commands"], "no model is asked"
    assert ask("--saved", "unpaid", "and more")[0] == 2
