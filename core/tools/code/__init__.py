"""The tool `run_python`: Python in a sandbox on this machine, or hosted by OpenAI."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import SecretStr

from core.base.errors import PonteError
from core.base.openai import OPENAI_URL, ModelEndpoint, check_server
from core.base.proxies import Proxies
from core.domain.ports import QuickCommands
from core.domain.records import Health
from core.integrations import (
    BaseUrl,
    Instructions,
    IntegrationDependencies,
    OperatorConfig,
    RuleNames,
    SettingsPart,
    SharedSettings,
    ToolBundle,
    ToolIntegration,
    plain_value,
    setting,
)

if TYPE_CHECKING:
    from core.tools.code.local import LocalBackend
    from core.tools.code.port import CodeBackend


CodePlace = Literal["off", "hosted", "local"]


class CodeSettings(SettingsPart):
    """The settings of the tool that runs Python, read from the environment."""

    ponte_code: Literal["auto", "hosted", "local", "off"] = setting(
        "auto",
        "where Python code runs: auto, hosted (at OpenAI), local (in a sandbox on this "
        "machine), off",
    )
    ponte_code_model: str | None = setting(
        None, "OpenAI's model for running Python; without it, PONTE_MODEL is used"
    )
    ponte_code_base_url: BaseUrl | None = setting(
        None, "base URL of another server with containers for running Python"
    )
    ponte_code_api_key: SecretStr | None = setting(
        None, "API key of that server; without the base URL, of OpenAI's"
    )
    ponte_code_description: Instructions | None = setting(
        None,
        "replaces the description of the Python tool that the model reads: a text, or @file",
        "write text, or @ followed by a file's name",
    )

    @property
    def code_server(self) -> tuple[str, str]:
        """Address and key of a server for Python alone; both "" if there is none."""
        return self.ponte_code_base_url or "", plain_value(self.ponte_code_api_key)


class CodeIntegration(ToolIntegration[CodeSettings]):
    """Builds the tool that runs Python, and checks it for `ponte doctor`."""

    name = "code"
    settings = CodeSettings
    sent_to: ClassVar = {"ponte_code_base_url": ("ponte_code_api_key",)}

    def choose_place(self, settings: CodeSettings, shared: SharedSettings) -> CodePlace:
        """With `auto`, OpenAI's containers run Python if the model's server is OpenAI's own,
        because only that server has them, or if there is a server for Python."""
        if settings.ponte_code != "auto":
            return settings.ponte_code
        if any(settings.code_server):
            return "hosted"
        official = ModelEndpoint(base_url=shared.openai_base_url or OPENAI_URL).is_official
        has_model = shared.ponte_model_api != "demo"
        return "hosted" if official and shared.openai_api_key and has_model else "local"

    def summary(self, settings: CodeSettings, shared: SharedSettings) -> Health:
        match self.choose_place(settings, shared):
            case "off":
                return Health("code", "off", "PONTE_CODE is off")
            case "hosted":
                return Health("code", "on", "Python hosted by OpenAI")
            case "local":
                return Health("code", "on", "Python in a sandbox on this machine")

    def build_backend(self, deps: IntegrationDependencies[CodeSettings]) -> CodeBackend:
        """Nothing is started yet."""
        settings, shared = deps.own, deps.shared
        if self.choose_place(settings, shared) == "local":
            return self._build_local(deps)
        # Each backend is loaded only if it is the one that the settings choose.
        from core.tools.code.hosted import HostedBackend, HostedOptions

        choice = HostedOptions(
            model=settings.ponte_code_model or shared.ponte_model,
            effort=shared.ponte_model_effort or "",
            # Runs are stored at OpenAI only if the model's conversations may be, too. With the APIs
            # `responses` and `chat`, the server is asked to store nothing. Nor is one for Python
            # alone: runs are erased at the model's server.
            store=shared.ponte_model_api in ("auto", "conversations")
            and not any(settings.code_server),
            config=deps.config,
        )
        deps.client.containers = deps.client.of_server(*settings.code_server)
        return HostedBackend(deps.client.containers, choice, pseudonym=deps.pseudonym)

    def _build_local(
        self, deps: IntegrationDependencies[CodeSettings], folder: Path | None = None
    ) -> LocalBackend:
        """`folder` replaces the home's folder for environments: `ponte doctor` uses a temporary
        one. Another process that takes over a thread, or forgets it, sends the notice "kernel",
        which ends the thread's kernel here."""
        # Loaded only if code runs on this machine.
        from core.tools.code.environment import PythonEnvironment, environments_folder
        from core.tools.code.local import Kernels, LocalBackend, max_kernels
        from core.tools.code.sandbox.sandbox import SandboxLimits

        limits, home = SandboxLimits(), deps.home.path
        # `kernel_places` records which process runs which thread's kernel.
        kernels = Kernels(deps.peers.kernel_places(), limits, max_kernels(limits))
        deps.peers.on("kernel", kernels.drop_forgotten)
        environment = PythonEnvironment(folder or environments_folder(home), deps.shared.proxies)
        # The operator chose the sandbox, so a machine that allows none is a failure. With "auto",
        # the tool is only off.
        is_required = deps.own.ponte_code == "local"
        return LocalBackend(environment, kernels, limits, is_required=is_required)

    def build(
        self, deps: IntegrationDependencies[CodeSettings], quick: QuickCommands
    ) -> ToolBundle:
        from core.tools.code.source import CodeSource

        backend = self.build_backend(deps)
        source = CodeSource(backend, deps.own.ponte_code_description or "")
        return ToolBundle(source, runner=source.runner, start=backend.start)

    def rule_names(self, settings: CodeSettings, config: OperatorConfig) -> RuleNames:
        return {"tool": ("run_python",)}

    async def check(self, deps: IntegrationDependencies[CodeSettings]) -> Sequence[Health]:
        """A local sandbox is started and tried, as `ponte run` does it, in a temporary folder, so
        that nothing of it stays. A server for Python is asked for its models. For any other choice,
        the settings alone give the state: containers cost money."""
        place = self.choose_place(deps.own, deps.shared)
        if place == "hosted" and any(deps.own.code_server):
            await self._check_server(deps)
        if place != "local":
            return [self.summary(deps.own, deps.shared)]
        with tempfile.TemporaryDirectory(prefix="ponte-doctor-") as folder:
            backend = self._build_local(deps, Path(folder))
            try:
                return [await backend.health()]
            finally:
                await backend.close()

    async def _check_server(self, deps: IntegrationDependencies[CodeSettings]) -> None:
        from core.tools.code.hosted import UNKNOWN_CODE_MODEL

        place = deps.client.of_server(*deps.own.code_server).place
        model = deps.own.ponte_code_model or deps.shared.ponte_model
        names = await check_server(deps.http, place, "PONTE_CODE_API_KEY")
        if names and model not in names:
            raise PonteError(UNKNOWN_CODE_MODEL, model=model)

    async def prepare(self, home: Path, proxies: Proxies, write: Callable[[str], None]) -> None:
        """Build the sandbox's Python with its libraries, so that the first run need not wait.

        The folder `home` exists. Raise PonteError with the reason if it cannot be built.
        """
        # Loaded only if code runs on this machine.
        from core.tools.code.environment import PythonEnvironment, environments_folder
        from core.tools.code.sandbox.sandbox import SandboxFailed

        async def tell(text: str) -> None:
            # The words have no subject, as in "is setting up Python".
            write(f"Ponte {text}")

        environment = PythonEnvironment(environments_folder(home), proxies)
        try:
            python = await environment.python(tell)
        except SandboxFailed as failed:
            raise PonteError("{why}", why=failed.cause) from None
        finally:
            await environment.close()
        if python.lacks:  # why the libraries could not be installed
            raise PonteError("{why}", why=python.lacks)
        # The path is that of `bin/python` in the folder that was built.
        write(f"ready: {python.path.parent.parent}")


CODE_INTEGRATION = CodeIntegration()
