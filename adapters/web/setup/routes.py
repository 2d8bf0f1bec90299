"""The routes of the setup page: cards, *Check*, *Save* and the new start."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from adapters.web import http_io
from adapters.web.admin import AdminView
from adapters.web.admin_lists import notice
from adapters.web.errors import UnknownPath
from adapters.web.http_io import RouteGroup, endpoint, visitor_of
from adapters.web.setup.gate import NOT_OWNER_SENTENCE
from adapters.web.setup.page import SetupView, render_findings, render_servers
from adapters.web.sign_in import TokenAuthentication, Visitors
from adapters.web.visitor import Visitor
from core.base.errors import BadInput, NotAllowed
from core.base.i18n import say
from core.integrations import Operator
from core.people.rules import OWNER_ID

FRESH_SECONDS = 300.0
"""How long after the owner's token was given *Check*, *Save* and the new start need it no more."""
NEEDS_NO_TOKEN = ("look", "people", "claim")
RESTART_REFRESH_SECONDS = 1
LINK_AGAIN_SENTENCE = (
    "For your security, paste your sign-in link again, then press the button again. What you "
    "typed has been kept."
)
WRONG_LINK_SENTENCE = "This isn't the owner's sign-in link. `ponte link` prints it."
Form = Mapping[str, str]


@dataclass(frozen=True)
class SetupRoutes(RouteGroup):
    """Only the owner's own session opens these routes."""

    visitors: Visitors
    operator: Operator
    _confirmed: dict[str, float] = field(default_factory=dict)

    @property
    def auth(self) -> TokenAuthentication:
        return cast("TokenAuthentication", self.visitors.auth)

    @endpoint("GET", "/admin/setup", media=("text/html",))
    async def show(self, request: Request) -> Response:
        """Return the setup page in HTML, for the owner's own session."""
        visitor = visitor_of(request)
        page = AdminView(self.visitors, self.operator, visitor, request.query_params)
        if why := self._why_closed(request, visitor):
            # The owner in a browser reads on the page itself why it cannot be used here. Others get
            # an error, and so does a program with the owner's token, which has no session.
            if visitor.person.id != OWNER_ID or not visitor.session:
                raise NotAllowed(why)
            return page.frame("setup", notice("note", say(why)))
        # The name of the card that is shown unfolded, such as that of a platform.
        card = str(request.query_params.get("card", ""))
        return await self._draw(request, page, open_card=card)

    @endpoint("POST", "/admin/setup", media=("text/html",))
    async def act(self, request: Request) -> Response:
        """Send a form of the setup page."""
        visitor = visitor_of(request)
        if why := self._why_closed(request, visitor):
            raise NotAllowed(why)
        form = await http_io.read_form(request, self.auth.form_token(visitor))
        # `{}`: a sent form has no parameters in its address, such as the filter of a report.
        page = AdminView(self.visitors, self.operator, visitor, {})
        # `do` is the button that was pressed, `draft` the id under which the entries are stored.
        card, do = form.get("card", ""), form.get("do", "")
        # `update-app` is about what the check of the shown draft found.
        draft = form.get("draft", "") if do == "update-app" else ""
        values = {
            name.removeprefix("value-"): value
            for name, value in form.items()
            if name.startswith("value-")
        }
        try:
            if do in ("check", "save"):
                # Before the token is asked for: what was typed must not be lost by that. `earlier`
                # is the draft that the form showed; secrets that were not typed again stay there.
                earlier = form.get("draft", "")
                draft = await self._run(visitor, "draft", card=card, values=values, earlier=earlier)
            if do not in NEEDS_NO_TOKEN and (fault := await self._confirm(request, visitor, form)):
                # A BadInput takes a template, so the translated sentence is put in as a value.
                raise BadInput("{fault}", fault=say(fault))
            return await self._act(request, page, visitor, form, draft)
        except BadInput as error:
            result = notice("bad", *error.words().splitlines())
            # With a draft, the form shows what that holds.
            parts = {"open_card": card, "result": result, "values": {} if draft else values}
            return await self._draw(request, page, 400, draft, **parts)

    async def _act(
        self, request: Request, page: AdminView, visitor: Visitor, form: Form, draft: str
    ) -> Response:
        """Carry out the button of a form (`do`), and return the page as it is then. `draft` is the
        id of the card's entries, which `act` has stored. The caller has checked the owner's token
        where that is needed. Raise BadInput, UnknownPath."""
        card, id, do = form.get("card", ""), form.get("id", ""), form.get("do", "")
        parts: dict[str, Any] = {}  # what `_draw` shows besides the present settings
        match do:
            case "look":
                servers = await self._run(visitor, "look")
                values = {"openai_base_url": servers[0]["address"]} if servers else {}
                parts = {"open_card": card, "result": render_servers(servers), "values": values}
            case "check" | "update-app":
                await self._run(visitor, do.replace("-", "_"), draft=draft)
                shown = await self._run(visitor, "show_draft", draft=draft)
                result = render_findings(shown["findings"])
                parts = {"open_card": card, "result": result, "draft": draft}
            case "people":
                parts = {"open_card": card}
                # Without a name: the "I've sent it" button, which only draws the page again.
                if name := form.get("name"):
                    found = await self._run(visitor, "find_people", platform=card, name=name)
                    sentence = "" if found else say("Ponte doesn't know anyone with that name.")
                    parts |= {"found": found, "result": sentence and notice("note", sentence)}
            case "claim":
                await self._run(visitor, "claim", platform=card, id=id)
                parts = {"open_card": card}
            case "grant-me" | "grant-change" | "grant-approve":
                right = do.removeprefix("grant-")
                await self._run(visitor, "grant", platform=card, id=id, right=right)
            case "revoke":
                await self._run(visitor, "revoke", person=id)
            case "sample":
                await self._run(visitor, "share_sample")
            case "save":
                await self._run(visitor, "save", draft=draft)
            case "remove":
                await self._run(visitor, "remove", card=card)
            case "undo":
                if not await self._run(visitor, "undo"):
                    parts = {"result": notice("note", say("There is nothing to undo."))}
            case "apply":
                await self._run(visitor, "apply")
                sentence = say(
                    "Ponte is restarting with the new settings. This page will reload on its own."
                )
                body = notice("good", sentence)
                return page.frame("setup", body, refresh_seconds=RESTART_REFRESH_SECONDS)
            case _:
                raise UnknownPath
        return await self._draw(request, page, **parts)

    async def _draw(
        self, request: Request, page: AdminView, status: int = 200, draft: str = "", **parts: Any
    ) -> Response:
        """`draft` is the id of what was entered on a card, `parts` are further fields of
        `SetupView`. Forms ask for the sign-in token unless the owner gave it a short time ago, so
        that who finds an open browser cannot change settings."""
        visitor = visitor_of(request)
        view = SetupView(
            self.auth.form_token(visitor),
            ZoneInfo(self.visitors.time_zone),
            asks_token=not await self._is_fresh(request, visitor),
            has_sign_in=bool(self.visitors.sign_in and self.visitors.sign_in.list_providers()),
            **parts,
        )
        if draft:
            shown = await self._run(visitor, "show_draft", draft=draft)
            view = replace(view, draft_id=draft, draft=shown)
        setup = await self._run(visitor, "show")
        return page.frame("setup", view.render(setup), status)

    async def _run(self, visitor: Visitor, step: str, **arguments: Any) -> Any:
        """The steps are in `bot/setup/service.py`, which adapters do not import."""
        step_arguments = {"step": step, "arguments": arguments}
        return await self.operator.run("setup step", step_arguments, visitor.person)

    def _why_closed(self, request: Request, visitor: Visitor) -> str:
        gate, visit = self.visitors.setup, http_io.read_visit(request.scope)
        return gate.why_closed(visit, visitor) if gate else NOT_OWNER_SENTENCE

    async def _is_fresh(self, request: Request, visitor: Visitor) -> bool:
        """Return whether the owner signed in, or gave their token again, within FRESH_SECONDS."""
        age = await self.auth.measure_session_age(http_io.read_visit(request.scope))
        confirmed = self._confirmed.get(visitor.session)
        since = time.monotonic() - confirmed if confirmed is not None else age
        return min(age, since) <= FRESH_SECONDS

    async def _confirm(self, request: Request, visitor: Visitor, form: Form) -> str:
        """Return "" if the owner signed in or gave their token within the last FRESH_SECONDS, or
        gives it with this form; else a sentence to translate. Raise TooManyTries, NotStored."""
        if token := form.get("token", ""):
            # The visit has the client's address, for which wrong tokens are counted. The sign-in
            # link, which holds the token, is accepted in its place.
            if not await self.auth.is_owner_token(token, http_io.read_visit(request.scope)):
                return WRONG_LINK_SENTENCE
            # Noted for this session; old notes of all sessions are dropped.
            now = time.monotonic()
            for session, at in list(self._confirmed.items()):
                if at < now - FRESH_SECONDS:
                    del self._confirmed[session]
            self._confirmed[visitor.session] = now
            return ""
        return "" if await self._is_fresh(request, visitor) else LINK_AGAIN_SENTENCE
