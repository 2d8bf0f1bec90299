"""What can go wrong with StackSpot, worded for the person who must act.

StackSpotError
└── StillRunning     the quick command was started: StackSpot may still finish it

Their `code`: bad_credentials, wrong_realm, refused, not_allowed, unknown_command, unknown_agent,
unknown_run, bad_slug, bad_agent, bad_input, proxy, limit, busy, down, silent, unreadable,
too_large, misplaced, unknown (it may have happened), deadline, failed.
"""

from __future__ import annotations

from core.http import HttpAnswer, HttpError, HttpTimeout, HttpTooLarge, HttpUnreadable
from core.tools.remote import RemoteError
from core.tools.stackspot.refusal import Told, told_of
from core.tools.stackspot.request import Request
from core.words import say

_LOST = {
    "create": "StackSpot's answer was lost, so it is not known whether `{subject}` was started. "
    "I did not start it again: look at StackSpot first, then ask again if it is needed.",
    "agent": "StackSpot's answer was lost, so it is not known whether the agent {subject} took "
    "the question. I did not ask again by myself.",
}
_SILENT = "StackSpot did not answer in time. Please try again in a minute."
_DOWN = (
    "StackSpot cannot be reached. Please try again in a minute; "
    "if it goes on, the operator must check its address and the proxy."
)
_UNREADABLE = (
    "StackSpot answered something that I cannot read. Please try again in a minute; "
    "if it goes on, the operator must check the address that is set."
)
_TOO_LARGE = "StackSpot's answer is too large for me to take."
_AWAY = "StackSpot could no longer be asked how it stands, so I stopped waiting."
_STILL = "It was started, and StackSpot may still finish it."


class StackSpotError(RemoteError):
    """`passing`: it may be over in a moment. `after`: seconds that StackSpot wants us to wait."""

    def __init__(
        self,
        sentence: str,
        /,
        *,
        code: str,
        hint: str = "",
        unsure: bool = False,
        passing: bool = False,
        after: float = 0.0,
        **values: object,
    ) -> None:
        super().__init__(sentence, code=code, hint=hint, unsure=unsure, **values)
        self.passing = passing
        self.after = after


class StillRunning(StackSpotError):
    """Waiting came to an end before the run did, because of `cause`. `execution` is its id."""

    def __init__(self, cause: StackSpotError, execution: str) -> None:
        # What passes says "please try again": here that would run the command once more.
        super().__init__(
            _AWAY if cause.passing else cause.sentence,
            code=cause.code,
            hint=cause.hint,
            unsure=True,
            passing=cause.passing,
            after=cause.after,
            **cause.values,
        )
        self.execution = execution

    def words(self, locale: str = "en") -> str:
        return f"{super().words(locale)} {say(_STILL, locale)}"


def worded(error: HttpError, request: Request) -> StackSpotError:
    """The error of `request` in words: without addresses, tokens, or anything that we sent."""
    told = _told(error, request)
    if told.unsure and request.kind in _LOST:
        told = Told(_LOST[request.kind], "unknown", unsure=True)
    return StackSpotError(
        told.sentence,
        code=told.code,
        hint="",
        unsure=told.unsure,
        passing=told.passing,
        after=told.after,
        **{"subject": request.subject, **told.values},
    )


def _told(error: HttpError, request: Request) -> Told:
    if isinstance(error, HttpAnswer):
        return told_of(error, request.kind)
    if isinstance(error, HttpTooLarge):
        return Told(_TOO_LARGE, "too_large", unsure=not request.repeatable)
    unsure = error.sent and not request.repeatable
    if isinstance(error, HttpUnreadable):
        return Told(_UNREADABLE, "unreadable", unsure=unsure, passing=True)
    if isinstance(error, HttpTimeout):
        return Told(_SILENT, "silent", unsure=unsure, passing=True)
    return Told(_DOWN, "down", unsure=unsure, passing=True)
