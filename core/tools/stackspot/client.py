"""StackSpot AI as a small library, which also stands alone.

async with StackSpot(client_id, client_secret, realm="my-company") as stackspot:
    result = await stackspot.run("explain-code", {"language": "python", "code": source})
    print(result.text)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from core.http import HttpClient, Proxies
from core.tools.stackspot.api import (
    AGENT_URL,
    API_URL,
    AUTH_URL,
    REALM,
    Account,
    Clock,
    MachineClock,
    StackSpotApi,
    Wire,
)
from core.tools.stackspot.execution import (
    DEADLINE,
    AgentAnswer,
    Agents,
    Executions,
    OnProgress,
    Result,
    Status,
)


class StackSpot:
    """Any number of runs at once share its connections and its token.

    `http` belongs to whoever gave it; without one it makes its own, through `proxies`, and closes
    it. `deadline` is in seconds, for one run and for one agent's answer. Every method raises
    `StackSpotError`.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        realm: str = REALM,
        auth_url: str = AUTH_URL,
        api_url: str = API_URL,
        agent_url: str = AGENT_URL,
        deadline: float = DEADLINE,
        http: HttpClient | None = None,
        proxies: Proxies | None = None,
        clock: Clock | None = None,
    ) -> None:
        account = Account(client_id, client_secret, realm, auth_url, api_url, agent_url)
        clock = clock or MachineClock()
        self._own_http = http is None
        self._http = http or HttpClient(proxies=proxies)
        self._api = StackSpotApi(account, Wire(self._http), clock)
        self._executions = Executions(api_url, self._api, clock, deadline)
        self._agents = Agents(agent_url, self._api, deadline)
        self.deadline = deadline

    async def check(self) -> None:
        """Get a token, or find that the one at hand is still good."""
        await self._api.token.get()

    async def run(
        self,
        slug: str,
        input: str | Mapping[str, Any] = "",
        *,
        conversation_id: str = "",
        on_progress: OnProgress | None = None,
    ) -> Result:
        """Start a quick command and wait for what it says; `conversation_id` is a ULID."""
        execution = await self.create(slug, input, conversation_id=conversation_id)
        return await self.wait(execution, on_progress=on_progress)

    async def create(
        self, slug: str, input: str | Mapping[str, Any] = "", *, conversation_id: str = ""
    ) -> str:
        """Start a quick command; gives the execution's id. Its loss is the code "unknown"."""
        return await self._executions.create(slug, input, conversation_id)

    async def status(self, execution: str) -> Status:
        """How it stands now, from one look."""
        return await self._executions.look(execution)

    async def wait(self, execution: str, *, on_progress: OnProgress | None = None) -> Result:
        """Wait for what was started; raises StillRunning where it does not come to its end."""
        status = await self._executions.wait(execution, on_progress)
        return Result(status.answer, execution, status.conversation)

    async def ask_agent(self, agent: str, prompt: str, *, conversation_id: str = "") -> AgentAnswer:
        """One question to an agent, in a conversation that goes on."""
        return await self._agents.ask(agent, prompt, conversation_id)

    async def close(self) -> None:
        await self._api.token.close()
        if self._own_http:
            await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()
