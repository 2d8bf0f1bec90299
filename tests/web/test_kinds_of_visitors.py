"""Each kind of visitor in each state: who is let in, and what the others read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import pytest

from adapters.web import errors
from adapters.web.sign_in import Visitors
from adapters.web.visitor import PROVIDER_SESSION_ENDED, SESSION_SECONDS, Visit, Visitor
from bot.integrations import PLATFORM_RIGHTS
from core.base.errors import PonteError
from core.people.policy import Policy
from core.people.rules import Rule, RuleBook
from core.people.sign_ins import ABSENT_SECONDS, CONFIRMED_SECONDS
from tests.web.test_signed_in_people import CORP, SLACK, SignInPage
from tests.web.web_ponte import TOKEN

IDENTITIES = {"slack": SLACK, "oidc": CORP}
KEYS = {"owner": "web:owner", "link": "web:ana", **{k: i.person.key for k, i in IDENTITIES.items()}}
PROGRAMS = tuple(f"{kind}'s program" for kind in KEYS)

REASONS = {
    errors.SessionEnded.sentence: "",
    PROVIDER_SESSION_ENDED: "sign in again",
    errors.AccessRemoved.sentence: "removed",
    errors.LinkRenewed.sentence: "renewed",
    errors.LinksOff.sentence: "links off",
    errors.ConfirmAgain.sentence: "",
    errors.NotConfirmed.sentence: "",
    errors.WrongToken.sentence: "wrong token",
    "This API token has expired. Create a new one on the page or with `ponte people`.": "expired",
}
"""Sentence → what it says beyond its code."""
EXPIRED = dict.fromkeys((*PROGRAMS, "metrics", "mcp"), "unauthorized expired")
REVOKED = dict.fromkeys(EXPIRED, "unauthorized wrong token")
SIGN_IN_AGAIN = dict.fromkeys(IDENTITIES, "session_ended sign in again")
LEFT = dict.fromkeys(("slack", "slack's program"), "session_ended sign in again")
REFUSALS: Mapping[str, Mapping[str, str]] = {
    "fresh": {},
    "confirmed": {},
    "expired": {"owner": "session_ended", "link": "session_ended", **SIGN_IN_AGAIN, **EXPIRED},
    "removed": {
        "link": "session_ended removed",
        "link's token": "unauthorized removed",
        "link's program": "unauthorized wrong token",  # tokens are deleted with their account
        "slack": "session_ended removed",
        "slack's program": "session_ended removed",
        "oidc": "session_ended removed",
        "oidc's program": "session_ended removed",
    },
    "new token": {
        "link": "session_ended renewed",
        "link's token": "unauthorized renewed",
        **SIGN_IN_AGAIN,
        **REVOKED,
    },
    "signed out": {"owner": "session_ended", "link": "session_ended", **SIGN_IN_AGAIN},
    "links off": {
        "link": "session_ended links off",
        "link's token": "unauthorized links off",
        "link's program": "unauthorized links off",
    },
    "rule changed": {},
    "provider silent for an hour": {
        "slack": "status_unknown",
        "slack's program": "status_unknown",
        "oidc": "confirm_again",
    },
    "provider silent for a week": {
        **SIGN_IN_AGAIN,
        "slack's program": "status_unknown",
        "oidc's program": "confirm_again",
    },
    "provider gone": {
        **SIGN_IN_AGAIN,
        "slack's program": "session_ended sign in again",
        "oidc's program": "session_ended sign in again",
    },
    "left the provider": LEFT,
}
"""State → kind of visitor → code and reason of the refusal. All others are let in."""
PAGE = ("/me", "/metrics", "/mcp")
OPEN_PATHS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((*KEYS, "owner's token", "link's token"), PAGE),
    **dict.fromkeys(PROGRAMS, ("/v1/models",)),
    "metrics": ("/metrics",),
    "mcp": (),
}
"""Kind of visitor → which of some paths they may open, beside their rights by the rules."""


class Guests(SignInPage):
    """One visitor of each kind, who was let in once."""

    def __init__(self) -> None:
        super().__init__()
        self.headers_of: dict[str, dict[str, str]] = {}
        self.visitors: dict[str, Visitor] = {}
        self.book = RuleBook()
        self.rules = Visitors(self.auth, Policy(PLATFORM_RIGHTS, lambda: self.book))

    async def arrive(self) -> None:
        auth, people = self.auth, self.people
        tokens = {"owner's token": TOKEN, "link's token": people.add("ana")}
        link = await auth.find_token_visitor(tokens["link's token"], "")
        sessions = {"owner": auth.new_session(), "link": auth.new_session(link)}
        for kind, identity in IDENTITIES.items():
            sessions[kind] = await auth.open_session(identity)
        for kind, key in KEYS.items():
            tokens[f"{kind}'s program"] = people.add_api_token(key)
        for kind in ("metrics", "mcp"):
            tokens[kind] = people.add_api_token("owner", kind=kind)
        self.headers_of = {kind: self.headers(session) for kind, session in sessions.items()}
        for kind, token in tokens.items():
            self.headers_of[kind] = {"authorization": f"Bearer {token}"}
        for id, api_token in people.tokens.items():
            people.tokens[id] = replace(api_token, expires_at=self.time + SESSION_SECONDS)
        for kind, headers in self.headers_of.items():
            self.visitors[kind] = await auth.find_visitor(headers, "")

    async def why_refused(self, kind: str) -> str:
        """Return code and reason of the refusal, "" if the visitor is let in."""
        try:
            await self.auth.find_visitor(self.headers_of[kind], "")
        except PonteError as refused:
            return f"{refused.code} {REASONS[refused.sentence]}".rstrip()
        return ""

    async def is_open(self, path: str, kind: str) -> bool:
        try:
            visit = Visit(path, {"host": "localhost", **self.headers_of[kind]})
            return bool(await self.auth.admit(visit))
        except PonteError as refused:
            if refused.code == "forbidden":
                return False
            raise


async def stay(page: Guests) -> None: ...


async def be_confirmed(page: Guests) -> None:
    """An hour later, Slack still knows its person, and the company's provider has said so again."""
    page.time += CONFIRMED_SECONDS + 1
    described = await page.describe(page.headers_of["oidc"]["cookie"].partition("=")[2])
    page.headers_of["oidc"] = page.headers(await page.auth.open_session(CORP, described))


async def expire(page: Guests) -> None:
    page.time += SESSION_SECONDS


async def lose_the_account(page: Guests) -> None:
    page.people.remove("ana")
    for key in (SLACK.person.key, CORP.person.key):
        page.people.remove_sign_in(key)


async def get_a_new_token(page: Guests) -> None:
    page.people.add("ana")
    for identity in IDENTITIES.values():
        await page.people.end_all_sessions(identity.person)
    for id in list(page.people.tokens):
        await page.people.revoke_api_token(id)


async def sign_out(page: Guests) -> None:
    for headers in page.headers_of.values():
        await page.auth.sign_out(Visit("/logout", headers))


async def turn_links_off(page: Guests) -> None:
    page.has_links = False


async def lose_the_right(page: Guests) -> None:
    page.book = RuleBook((Rule("ponte.toml", deny=("chat",)),))


async def wait_an_hour(page: Guests) -> None:
    page.directory.has_left = None
    page.time += CONFIRMED_SECONDS + 1


async def wait_a_week(page: Guests) -> None:
    page.directory.has_left = None
    page.time += ABSENT_SECONDS + 1


async def lose_the_provider(page: Guests) -> None:
    page.providers.clear()


async def leave_the_provider(page: Guests) -> None:
    page.directory.has_left = True
    page.time += 61


STATES: Mapping[str, Callable[[Guests], Awaitable[None]]] = {
    "fresh": stay,
    "confirmed": be_confirmed,
    "expired": expire,
    "removed": lose_the_account,
    "new token": get_a_new_token,
    "signed out": sign_out,
    "links off": turn_links_off,
    "rule changed": lose_the_right,
    "provider silent for an hour": wait_an_hour,
    "provider silent for a week": wait_a_week,
    "provider gone": lose_the_provider,
    "left the provider": leave_the_provider,
}


@pytest.mark.parametrize("state", STATES)
async def test_who_is_let_in_and_why_others_are_not(state: str) -> None:
    page = Guests()
    await page.arrive()
    await STATES[state](page)
    refusals = {kind: reason for kind in page.visitors if (reason := await page.why_refused(kind))}
    assert refusals == REFUSALS[state]
    for kind, visitor in page.visitors.items():
        is_allowed = await page.auth.is_still_allowed(visitor)
        assert is_allowed == (kind not in refusals), f"the open stream of {kind}"
        may_chat = await page.rules.may(visitor.person, "chat")
        assert may_chat == (state != "rule changed"), kind


async def test_what_each_kind_may_open() -> None:
    page = Guests()
    await page.arrive()
    paths = (*PAGE, "/v1/models")
    opened = {
        kind: tuple([path for path in paths if await page.is_open(path, kind)])
        for kind in page.visitors
    }
    assert opened == OPEN_PATHS
