"""The services behind the operator's page, on top of those of the commands of `ponte`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from adapters.web import add_token
from bot.engine import Engine
from bot.page_accounts import PageAccountService, api_token_json, named_person
from bot.reload import Reloader
from bot.start import ModelRequests
from core.domain.messages import Person
from core.domain.records import DoctorFinding
from core.integrations.integration import OperatorAction

Json = Mapping[str, Any]


@dataclass(slots=True)
class AdministrationService:
    """The `Administration` port.

    `acts` are the commands `usage`, `limits`, `audit` and others. `check` runs `ponte doctor`.
    `page` returns the page's address, "" if there is none.
    """

    engine: Engine
    accounts: PageAccountService
    reloader: Reloader
    acts: Mapping[str, OperatorAction]
    check: Callable[..., AsyncIterator[DoctorFinding]]
    page: Callable[[], str]
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def findings(self, *model: ModelRequests) -> Sequence[Mapping[str, str]]:
        async with self._checking:  # it starts a sandbox and asks each service
            return [asdict(found) async for found in self.check(*model)]

    async def pending(self) -> Sequence[Json]:
        pending: Sequence[Json] = (await self.acts["pending"]({}))["pending"]
        return pending

    async def turns(self) -> Sequence[Json]:
        turns: Sequence[Json] = (await self.acts["turns"]({}))["turns"]
        return turns

    async def schedules(self) -> Sequence[Json]:
        found: Sequence[Json] = (await self.acts["schedules"]({"action": "list"}))["schedules"]
        return found

    async def change_schedule(self, action: str, id: str, once: str, by: Person) -> Json:
        arguments = {"action": action, "id": id, "once": once}
        done: Json = (await self.engine.schedules.on_command(arguments, by))["schedules"][0]
        return done

    async def usage(self, by: str, since: str) -> Json:
        return await self.acts["usage"]({"by": by, "since": since})

    async def limits(self) -> Sequence[Json]:
        limits: Sequence[Json] = (await self.acts["limits"]({}))["limits"]
        return limits

    async def names(self, keys: Collection[str]) -> Mapping[str, str]:
        return await self.engine.find_names(keys)

    async def audit(self, asked: Mapping[str, str]) -> Json:
        return await self.acts["audit"](asked)

    async def people(self) -> Sequence[Json]:
        tokens = await self.accounts.list_api_tokens()
        return [
            {
                "name": account.person.partition(":")[2],
                "added": account.added_at, "seen": account.last_visit,
                "tokens": sum(token.person == account.person for token in tokens),
            }
            for account in await self.accounts.list_all()
        ]  # fmt: skip

    async def add_person(self, name: str, by: Person) -> Json:
        token, kept = await self.accounts.add(named_person({"person": name}), by)
        return {"link": self._link(token), "conversations": kept}

    async def renew_person(self, name: str, by: Person) -> Json:
        token = await self.accounts.renew(named_person({"person": name}), by)
        return {"link": self._link(token)}

    async def remove_person(self, name: str, by: Person) -> None:
        await self.accounts.remove_account(named_person({"person": name}), by)

    async def api_tokens(self) -> Sequence[Json]:
        return [api_token_json(one) for one in await self.accounts.list_api_tokens()]

    async def revoke_api_token(self, id: str, by: Person) -> Json:
        return api_token_json(await self.accounts.revoke_api_token(id, by=by))

    async def check_config(self) -> Sequence[str]:
        return await asyncio.to_thread(self.reloader.check)

    async def reload_config(self, by: Person) -> Json:
        return await self.reloader.on_command({}, by)

    def _link(self, token: str) -> str:
        page = self.page()
        return add_token(page, token) if page else token
