"""Every name and rate that the adapter knows stands on a page of Slack's, or was published."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters.slack import client, errors, people, posts, setup, surface
from adapters.slack import people as channels
from adapters.slack.errors import InDoubt, NotNow, SlackRefused, TokenRefused
from adapters.slack.rate_limits import TIERS
from tests.fakes.slack import app_settings, reference
from tests.fakes.slack.api import REACTIONS, READS, WRITES

ROOT = Path(__file__).parents[2]
SETS = {
    name: value
    for module in (channels, client, errors, people, posts, setup, surface)
    for name, value in vars(module).items()
    if isinstance(value, frozenset)
    and name not in ("POSTS", "NEEDED_METHODS", "_FORMS", "_UNREPEATABLE")
}
CALLED = {*WRITES, *READS, *REACTIONS, *app_settings.METHODS, "apps.connections.open"}


def test_every_name_is_known_of_some_method() -> None:
    unknown = {
        error
        for errors in SETS.values()
        for error in errors
        if not any(reference.stands(method, error) for method in CALLED)
    }
    assert unknown == set()


def test_no_name_means_two_things() -> None:
    kinds = (
        "GONE",
        "STREAM_OVER",
        "STREAM_STOPPED",
        "MESSAGE_TOO_LONG",
        "SHAPE_REFUSED",
        "TOKEN_REFUSED",
        "NOT_NOW",
        "UNSURE",
        "RATE_LIMITED",
        "FEATURE_OFF",
    )
    for n, one in enumerate(kinds):
        for other in kinds[n + 1 :]:
            assert not SETS[one] & SETS[other], (one, other)


def test_the_methods_that_are_called_are_those_that_the_double_knows() -> None:
    """And each of them has its page."""
    names = set()
    for path in (ROOT / "adapters" / "slack").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names |= {node.value} & set(reference.METHODS)
    assert names - {""} <= CALLED
    assert set(reference.METHODS) >= CALLED


def test_rates_are_those_of_the_pages() -> None:
    assert {method: reference.TIERS[reference.METHOD_TIERS[method]] for method in TIERS} == TIERS
    assert set(reference.METHOD_TIERS) - set(TIERS) == {"apps.connections.open"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("update_failed", NotNow),
        ("external_channel_migrating", NotNow),
        ("messaging_processing_failed", NotNow),
        ("team_added_to_org", NotNow),
        ("token_revoked", TokenRefused),
        ("token_expired", TokenRefused),
        ("account_inactive", TokenRefused),
        ("org_login_required", NotNow),
        ("invalid_auth", TokenRefused),
        ("fatal_error", InDoubt),
        ("is_archived", SlackRefused),
        ("never_heard_of", SlackRefused),
    ],
)
def test_what_a_name_means(error: str, kind: type[Exception]) -> None:
    response = SimpleNamespace(status_code=200, data={"ok": False, "error": error})
    match = errors.explain_failure("chat.update", response)
    assert type(match) is kind
    assert error in str(match)


def test_a_missing_feature_is_tried_again_after_minutes_and_another_after_an_hour() -> None:
    now = [0.0]
    feature_flags = client.FeatureFlags(lambda: now[0])
    feature_flags.note_refusal("streams", "unknown_method")
    assert not feature_flags.is_on("streams")
    for _ in range(2):
        feature_flags.note_refusal("sessions", "never_heard_of")
    feature_flags.note_success("sessions")
    for n in range(3):
        feature_flags.note_refusal("sessions", "never_heard_of")
        assert feature_flags.is_on("sessions") is (n < 2)
    for _ in range(3):
        feature_flags.note_refusal("reactions", "message_not_found")
    features: tuple[client.Feature, ...] = ("streams", "sessions", "reactions")
    for seconds, expected in (
        (299.0, "reactions"),
        (301.0, "streams reactions"),
        (3601.0, "streams sessions reactions"),
    ):
        now[0] = seconds
        assert " ".join(each for each in features if feature_flags.is_on(each)) == expected
    assert feature_flags.words == "streams: unknown_method, sessions: never_heard_of"
    feature_flags.note_success("streams")
    assert feature_flags.words == "sessions: never_heard_of"
