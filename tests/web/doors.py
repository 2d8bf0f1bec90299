"""A login whose clock stands still until a test moves it."""

from __future__ import annotations

from adapters.web.sign_in import TokenAuthentication
from core.base.errors import Refusal
from tests.fakes.memory import MemoryOwnerName, MemoryPageAccounts, page_secrets
from tests.web.web_ponte import TOKEN


class Doors:
    """`ana` is the token of a person."""

    def __init__(self, token: str = TOKEN, *, is_generated: bool = False) -> None:
        self.time = 0.0
        self.people = MemoryPageAccounts()
        self.ana = self.people.add("ana")
        self.login = TokenAuthentication(
            "127.0.0.1",
            page_secrets(token, is_generated=is_generated),
            "",
            self.people,
            MemoryOwnerName(),
            clock=lambda: self.time,
            now=lambda: self.time,
        )

    async def offer(self, token: str, address: str = "10.0.0.1") -> str:
        """Return whom the token lets in, or the name of the refusal."""
        try:
            visitor = await self.login.find_visitor({"authorization": f"Bearer {token}"}, address)
        except Refusal as refused:
            return type(refused).__name__
        return visitor.person.key

    def session(self, value: str) -> dict[str, str]:
        return {"cookie": f"{self.login.cookie}={value}"}
