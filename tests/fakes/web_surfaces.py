"""The page and the terminal over an engine, as a running Ponte builds them."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

from adapters.web.http_io import DeclaredRoute
from adapters.web.hub import Hub, WebAdapter
from adapters.web.server import list_routes, make_application
from adapters.web.sign_in import SocketAuthentication, TokenAuthentication, Visitors
from bot.engine import Engine
from bot.health import HealthBoard, PartHealth
from core.chat.people import People
from core.journal.jobs import Alone
from core.people.page_accounts import PageAccounts
from tests.fakes.memory import MemoryOwnerName, MemoryPageAccounts, page_secrets
from tests.fakes.operator import MemoryOperator


def make_page(engine: Engine, token: str, accounts: PageAccounts | None = None) -> WebAdapter:
    """Return the page of these accounts, on a free port, whose owner signs in with `token`. It is
    not started."""
    accounts = accounts or MemoryPageAccounts()
    people = replace(engine.people, accounts=accounts, owner=MemoryOwnerName())
    auth = TokenAuthentication("127.0.0.1", page_secrets(token), "", accounts, people.owner)
    return _make_adapter(engine, Visitors(auth, people.policy), ("127.0.0.1", 0), people)


def make_terminal(engine: Engine, listener: socket.socket) -> WebAdapter:
    """Return the terminal on this Unix socket. It is not started."""
    return _make_adapter(engine, Visitors(SocketAuthentication(MemoryOwnerName())), listener)


def _make_adapter(
    engine: Engine,
    visitors: Visitors,
    listener: tuple[str, int] | socket.socket,
    people: People | None = None,
) -> WebAdapter:
    board = HealthBoard(PartHealth([]), engine)
    hub = Hub(visitors, engine.conversations, board, Alone())
    web = WebAdapter(hub, board, MemoryOperator(), engine.notices, listener, people)
    engine.platforms.replies[visitors.auth.platform] = web.reply
    return web


def served_routes(*, page: bool) -> list[DeclaredRoute]:
    """Return the routes of the page, or of the home's socket."""
    part: Any = Mock()
    app: Any = make_application(
        part, list_routes(part, part, part, part, part if page else None), {}, None
    )
    routes = list(app._app.routes)
    assert all(isinstance(one, DeclaredRoute) for one in routes)
    return routes


def all_routes() -> list[DeclaredRoute]:
    """Return the routes of the page, then those that only the home's socket has."""
    page = served_routes(page=True)
    paths = {one.path for one in page}
    return [*page, *(one for one in served_routes(page=False) if one.path not in paths)]
