"""The routes by which people manage their own API tokens."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field
from starlette.requests import Request

from adapters.web.adapter import Site
from adapters.web.answers import ApiTokenEntry, ApiTokenList, StatusAnswer
from adapters.web.errors import UnknownPath
from adapters.web.http_io import RequestBody, visitor_of
from adapters.web.routing import RouteGroup, endpoint
from core.domain.records import ApiToken
from core.ports.rights import PageAccounts


class ApiTokenRequest(RequestBody):
    """The body of `POST /me/tokens`. `days` is how long the token is valid; 0 means without end."""

    name: str = Field("", max_length=1000)
    days: int = Field(0, ge=0, le=3660)


class ApiTokenRoutes(RouteGroup):
    """The visitor's own API tokens. An API token itself opens none of these routes."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def _accounts(self) -> PageAccounts:
        if self._site.accounts is None:
            raise UnknownPath
        return self._site.accounts

    @endpoint("GET", "/me/tokens", refuses=(404,))
    async def list_all(self, request: Request) -> ApiTokenList:
        """List the visitor's API tokens, the oldest first."""
        tokens = await self._accounts.list_api_tokens(visitor_of(request).person.key)
        return {"tokens": [_token_json(one) for one in tokens]}

    @endpoint("POST", "/me/tokens", status=201, refuses=(404, 503))
    async def create(self, request: Request, body: ApiTokenRequest) -> ApiTokenEntry:
        """Create an API token. Only this answer contains its text."""
        key = visitor_of(request).person.key
        token, text = await self._accounts.create_api_token(key, body.name, body.days)
        return {**_token_json(token), "token": text}

    @endpoint("DELETE", "/me/tokens/{id}", refuses=(404, 503))
    async def revoke(self, request: Request) -> StatusAnswer:
        """Revoke one of the visitor's API tokens. Raise NotFound, also for another person's."""
        key = visitor_of(request).person.key
        await self._accounts.revoke_api_token(str(request.path_params["id"]), key)
        return {"status": "revoked"}


def _token_json(token: ApiToken) -> ApiTokenEntry:
    """Return what people may see of a token. Times are in seconds since the epoch; `expires` is 0
    for never."""
    is_expired = token.is_expired(datetime.now(UTC).timestamp())
    return {
        "id": token.id, "name": token.name, "added": token.added_at, "expires": token.expires_at,
        "seen": token.last_use, "expired": is_expired,
    }  # fmt: skip
