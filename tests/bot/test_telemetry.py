"""Logs tell operators what happened, in one line each, and never a secret."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings

import pytest
import structlog
from pydantic import SecretStr

from bot.logs import Redaction, set_up_logging
from bot.settings import Settings

pytestmark = pytest.mark.usefixtures("logging_as_it_was")

SECRET = 'hun"ter2\\'


def logs(form: str = "text", level: str = "info", *, quiet: bool = False) -> io.StringIO:
    output = io.StringIO()
    options = {"ponte_log": form, "ponte_log_level": level, "openai_api_key": SECRET}
    set_up_logging(Settings.model_validate(options), quiet=quiet, stream=output)
    return output


def fail() -> None:
    raise ValueError(f"the key {SECRET} is bad")


def log_failure() -> None:
    try:
        fail()
    except ValueError:
        structlog.get_logger("test").error("failed", exc_info=True)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_secret_is_masked_wherever_it_stands(form: str, level: str) -> None:
    output = logs(form, level)
    log = structlog.get_logger("test")
    log.info(f"event {SECRET}", value=SECRET, nested={"a": [SECRET]}, kept=SecretStr(SECRET))
    try:
        fail()
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception("it said %s", SECRET)
    text = output.getvalue()
    assert text.count("[secret]") >= 5
    for form_of_it in (SECRET, json.dumps(SECRET), "hun"):
        assert form_of_it not in text


def test_a_warning_of_a_library_is_a_line_of_the_log() -> None:
    output = logs()
    warnings.showwarning(UserWarning(f"{SECRET} is old"), UserWarning, "library.py", 1)
    assert "[secret] is old" in output.getvalue()


@pytest.mark.parametrize(
    "token",
    [
        "xoxb-1234567890-abcdef",
        "xoxe.xoxb-1-1234567890",
        "xapp-1-A0123-abcdef",
        "sk-proj-abcdefghijklmnop",
        "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_token_is_masked(token: str) -> None:
    assert Redaction(()).of(f"a {token} b") == "a [secret] b"


def test_bearers_and_passwords_in_urls_are_masked_and_words_are_not() -> None:
    redaction = Redaction(["abc"])
    assert redaction.of("Bearer abcdefgh.1") == "Bearer [secret]"
    assert redaction.of("http://u:p@proxy:3128/") == "http://[secret]@proxy:3128/"
    header = "'Proxy-Authorization': 'Basic dXNlcjpodW50ZXIy'"  # as aiohttp's errors show it
    assert redaction.of(header) == "'Proxy-Authorization': 'Basic [secret]'"
    for harmless in (
        "abc task-force sk-1",
        "Basic Information",
        "http://host:80/a@b",
        "10:30 a@b.c",
    ):
        assert redaction.of(harmless) == harmless


def test_a_fault_is_one_line_with_its_place() -> None:
    output = logs()
    log_failure()
    (line,) = output.getvalue().splitlines()
    assert 'error   test: failed exception="ValueError: the key [secret] is bad"' in line
    assert "location=test_telemetry.py:" in line


def test_tracebacks_are_for_debugging() -> None:
    output = logs(level="debug")
    log_failure()
    assert "Traceback (most recent call last):" in output.getvalue()


def test_nobody_can_forge_a_line_or_a_colour() -> None:
    output = logs()
    structlog.get_logger("test").info("a\nb", text="x\n2026 error \x1b[31m", plain="fine")
    (line,) = output.getvalue().splitlines()
    assert "\x1b" not in line
    assert line.endswith(r'test: "a\nb" text="x\n2026 error \x1b[31m" plain=fine')


def test_a_line_of_json_is_one_line_for_every_reader() -> None:
    output = logs("json")
    structlog.get_logger("test").info("x", table="a\u2028b\x85c\u202ed é")
    (line,) = output.getvalue().splitlines()
    assert r'"a\u2028b\u0085c\u202ed é"' in line
    assert json.loads(line)["table"] == "a\u2028b\x85c\u202ed é"


def test_the_turns_id_is_in_every_line_also_in_a_librarys() -> None:
    output = logs("json")
    with structlog.contextvars.bound_contextvars(turn="abc"):
        structlog.get_logger("test").info("ours")
        logging.getLogger("library").info("theirs")
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [(line["event"], line["logger"], line["turn"]) for line in lines] == [
        ("ours", "test", "abc"),
        ("theirs", "library", "abc"),
    ]


def test_libraries_that_log_texts_and_tokens_are_capped() -> None:
    output = logs(level="debug")
    logging.getLogger("discord.http").debug("a body")
    logging.getLogger("httpx").info("GET https://bridge/execute")
    logging.getLogger("other").debug("fine")
    assert [line.split()[2] for line in output.getvalue().splitlines()] == ["other:"]


def test_messages_below_the_log_level_are_dropped() -> None:
    output = logs(level="error")
    structlog.get_logger("test").warning("no")
    structlog.get_logger("test").error("yes")
    assert output.getvalue().count("\n") == 1


def test_a_quiet_command_logs_only_where_a_level_was_set() -> None:
    output = io.StringIO()
    set_up_logging(Settings(), quiet=True, stream=output)
    for log in (structlog.get_logger("test"), logging.getLogger("library")):
        log.info("no")
        log.warning("no")
        log.critical("no")
    assert output.getvalue() == ""
    output = logs(quiet=True)
    structlog.get_logger("test").info("yes")
    assert "yes" in output.getvalue()


def test_a_thread_that_ends_in_a_fault_is_told() -> None:
    output = logs()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    line = '"unhandled exception in a thread of Python" exception="ValueError: the key [secret]'
    assert line in output.getvalue()


def test_a_logger_that_was_used_is_heard_in_a_later_test() -> None:
    """Which tests run in one process, and in which order, is different in each run."""
    log = structlog.get_logger("test")
    logs()
    log.info("kept in the first test's settings")
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as events:
        log.info("heard")
    assert [line["event"] for line in events] == ["heard"]
