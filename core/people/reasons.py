"""The sentences that tell a person why they have a right or lack it."""

from __future__ import annotations

from collections.abc import Mapping

from core.base.errors import StatusUnknown
from core.base.i18n import say
from core.domain.records import Verdict
from core.people.rules import ADMINS_RULE, ALLOW_RULE, DEFAULT_RULE

_ALLOW_HINT = (
    "An admin can allow it: PONTE_ALLOW must name you, one of your groups or this channel."
)
DEFAULT_REASONS: Mapping[str, str] = {
    "chat": "I only answer members of this workspace here. " + _ALLOW_HINT,
    "read": "You don't have permission to read tables here. " + _ALLOW_HINT,
    "propose": "You don't have permission to change data here. " + _ALLOW_HINT,
    "spend": "You don't have permission to run quick commands here. " + _ALLOW_HINT,
    "code": "You don't have permission to run code here. " + _ALLOW_HINT,
    "approve": "Only an admin or a designated approver can decide on that.",
    "administer": "Only an admin can do that. Admins are set in PONTE_ADMINS.",
}
"""The reason for a denial by right, when no rule of ponte.toml decided."""
_MISSING_RIGHT = (
    " (`{right}`). An admin can change that in `ponte.toml`. To see which rule applies, "
    "type `why {right}`."
)
RULE_REASONS: Mapping[str, str] = {
    "chat": "I can't chat with you here. An admin can change the rules in `ponte.toml`.",
    "read": "You don't have permission to read that here" + _MISSING_RIGHT,
    "propose": "You don't have permission to change that here" + _MISSING_RIGHT,
    "spend": "You don't have permission to run quick commands here" + _MISSING_RIGHT,
    "code": "You don't have permission to run code here" + _MISSING_RIGHT,
    "approve": "You don't have permission to decide on that here" + _MISSING_RIGHT,
    "administer": "You don't have permission to do that here" + _MISSING_RIGHT,
    "tool": "You don't have permission to use that tool here" + _MISSING_RIGHT,
    "command": "You don't have permission to run that quick command here" + _MISSING_RIGHT,
    "agent": "You don't have permission to ask that agent here" + _MISSING_RIGHT,
    "model": "You don't have permission to use this place's model" + _MISSING_RIGHT,
    "post": "You don't have permission to post there" + _MISSING_RIGHT,
}
"""The reason for a denial by right, when a rule of ponte.toml decided."""
GUEST_REASON = "You are a guest, and I only answer members here. " + _ALLOW_HINT
"""The reason for a denial that would not apply to a member."""
GUEST_DECISION_REASON = "Guests can't decide on changes and can't be admins. Only members can."
"""The reason for a denial of `DECISION_RIGHTS` to a guest."""
STAND_IN_REASON = "Programs can't do this. A person must ask for it."
"""The reason for a denial to one of the `StandIns`, whatever rules say."""
PROGRAM_DECISION_REASON = (
    "Programs can't decide on changes and can't be admins. A person must do this themselves."
)
"""The reason for a denial of `DECISION_RIGHTS` to a bot, or to a request with an API token."""
UNKNOWN_STATUS_REASON = StatusUnknown.sentence
NAME_TOO_LONG = "That name is too long. Names can have up to 1,000 characters."
_ALLOWED_SENTENCES: Mapping[str, str] = {
    ADMINS_RULE: "`{right}`: allowed, because the person is an admin (PONTE_ADMINS).",
    ALLOW_RULE: (
        "`{right}`: allowed, because PONTE_ALLOW names the person, one of their groups or the "
        "place."
    ),
    DEFAULT_RULE: "`{right}`: allowed by default here.",
}
_DENIED_SENTENCE = "`{right}`: denied. {reason}"


def explain(verdict: Verdict) -> str:
    """Return a sentence that says which rule decided, for the reply to `why`."""
    if verdict.allowed:
        words = _ALLOWED_SENTENCES.get(verdict.rule, "`{right}`: allowed by the rule `{rule}`.")
    else:
        words = "`{right}`: denied by the rule `{rule}`." if verdict.rule else _DENIED_SENTENCE
    reason = "" if verdict.allowed else verdict.words()
    return say(words, right=verdict.right, rule=verdict.rule, reason=reason)
