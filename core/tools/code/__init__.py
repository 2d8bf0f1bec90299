"""Python that a model or a person has run, here in a sandbox or hosted by OpenAI."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from core.clients.http import Proxies
from core.domain.errors import PonteError
from core.domain.records import Health
from core.integrations.integration import (
    IntegrationDependencies,
    OperatorConfig,
    QuickRegistry,
    RuleNames,
    SharedSettings,
    ToolBundle,
    ToolIntegration,
)
from core.integrations.settings import Instructions, SettingsPart, setting

if TYPE_CHECKING:
    from core.tools.code.local import LocalBackend
    from core.tools.code.port import CodeBackend


class CodeSettings(SettingsPart):
    ponte_code: Literal["auto", "hosted", "local", "off"] = setting(
        "auto", "where Python runs: auto, hosted (by OpenAI), local (a sandbox here), off"
    )
    ponte_code_model: str | None = setting(
        None, "the model that OpenAI runs Python with; not set: the one of PONTE_MODEL"
    )
    ponte_code_description: Instructions | None = setting(
        None,
        "what the model is told of running Python, in place of our own words: a text, or @file",
        "a text, or @ and a file's name",
    )


class Code(ToolIntegration[CodeSettings]):
    name = "code"
    settings = CodeSettings

    def place(self, own: CodeSettings, shared: SharedSettings) -> Literal["off", "hosted", "local"]:
        """Where Python runs; `auto` follows the model: OpenAI's own server, or this machine."""
        if own.ponte_code != "auto":
            return own.ponte_code
        host = urlsplit(shared.openai_base_url or "https://api.openai.com").hostname or ""
        official = host == "openai.com" or host.endswith(".openai.com")
        asked = shared.ponte_model_api != "demo"
        return "hosted" if official and shared.openai_api_key and asked else "local"

    def summary(self, own: CodeSettings, shared: SharedSettings) -> Health:
        match self.place(own, shared):
            case "off":
                return Health("code", "off", "PONTE_CODE is off")
            case "hosted":
                return Health("code", "on", "Python hosted by OpenAI")
            case "local":
                return Health("code", "on", "Python in a sandbox on this machine")

    def backend(self, deps: IntegrationDependencies[CodeSettings]) -> CodeBackend | None:
        """None where it is off. Starts nothing yet."""
        own, shared = deps.own, deps.shared
        match self.place(own, shared):
            case "off":
                return None
            case "local":
                return self._local(deps)
            case "hosted":
                from core.tools.code.hosted import Choice, HostedBackend

                choice = Choice(
                    model=own.ponte_code_model or shared.ponte_model,
                    effort=shared.ponte_model_effort or "",
                    # Nothing is stored by who chose a level at which the model's server stores
                    # nothing.
                    store=shared.ponte_model_api in ("auto", "conversations"),
                    prices=lambda: deps.config.price_list,
                )
                return HostedBackend(deps.client, choice, pseudonym=deps.pseudonym)

    def _local(
        self, deps: IntegrationDependencies[CodeSettings], folder: Path | None = None
    ) -> LocalBackend:
        """`folder` is the one for environments, where it is not the home's."""
        from core.tools.code.environment import Environment, place
        from core.tools.code.local import Kernels, LocalBackend, most_kernels
        from core.tools.code.sandbox.sandbox import Limits

        limits, home = Limits(), deps.home.path
        kernels = Kernels(deps.peers.kernel_places(), limits, most_kernels(limits))
        deps.peers.on("kernel", kernels.drop_forgotten)
        return LocalBackend(
            Environment(folder or place(home), deps.shared.proxies),
            kernels,
            limits,
            wanted=deps.own.ponte_code == "local",
        )

    def build(
        self, deps: IntegrationDependencies[CodeSettings], quick: QuickRegistry
    ) -> ToolBundle | None:
        from core.tools.code.source import CodeSource

        backend = self.backend(deps)
        if backend is None:
            return None
        source = CodeSource(backend, deps.own.ponte_code_description or "")
        return ToolBundle(source, runner=source.runner, start=backend.start)

    def rule_names(self, own: CodeSettings, config: OperatorConfig) -> RuleNames:
        return {"tool": ("run_python",)}

    async def check(self, deps: IntegrationDependencies[CodeSettings]) -> Sequence[Health]:
        """The local sandbox is proved as `run` does it; the hosted one is the model's server."""
        if self.place(deps.own, deps.shared) != "local":
            return [self.summary(deps.own, deps.shared)]
        with tempfile.TemporaryDirectory(prefix="ponte-doctor-") as folder:
            backend = self._local(deps, Path(folder))
            try:
                return [await backend.health()]
            finally:
                await backend.close()

    async def prepare(self, home: Path, proxies: Proxies, write: Callable[[str], None]) -> None:
        """Make the environment with its libraries, in a `home` that is there.

        Raises PonteError with the reason where it cannot be made.
        """
        from core.tools.code.environment import Environment, place
        from core.tools.code.sandbox.sandbox import SandboxFailed

        async def tell(words: str) -> None:
            write(f"Ponte {words}")

        environment = Environment(place(home), proxies)
        try:
            python = await environment.python(tell)
        except SandboxFailed as failed:
            raise PonteError("{why}", why=failed.cause) from None
        finally:
            await environment.close()
        if python.lacks:
            raise PonteError("{why}", why=python.lacks)
        write(f"ready: {python.path.parent.parent}")


CODE = Code()
