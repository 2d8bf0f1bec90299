"""Where Python runs, as the settings say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bot.home import Home
from bot.settings import Settings
from core.errors import PonteError
from core.openai import Client
from core.tools.code.hosted.backend import HostedBackend
from core.tools.code.hosted.interpreter import Choice
from core.tools.code.local.backend import LocalBackend
from core.tools.code.local.environment import Environment, place
from core.tools.code.local.kernels import Kernels, most_kernels
from core.tools.code.local.marks import Marks
from core.tools.code.local.sandbox.sandbox import Limits, SandboxFailed
from core.tools.code.port import CodeBackend

Pseudonym = Callable[[str], str]


def choose_code(
    settings: Settings, home: Home, client: Client, pseudonym: Pseudonym
) -> CodeBackend | None:
    """None where it is off. `auto`: OpenAI where it is the model's server, else this machine."""
    match settings.code:
        case "off":
            return None
        case "hosted":
            return HostedBackend(client, _choice(settings), pseudonym=pseudonym)
        case "local":
            return local(settings, home)


def _choice(settings: Settings) -> Choice:
    """Nothing is stored by who chose a level at which the model's server stores nothing."""
    return Choice(
        model=settings.ponte_code_model or settings.ponte_model,
        effort=settings.ponte_model_effort or "",
        store=settings.ponte_model_api in ("auto", "conversations"),
    )


def local(settings: Settings, home: Home, environments: Path | None = None) -> LocalBackend:
    """Starts nothing yet. `environments` is the folder for them, where it is not the home's."""
    limits = Limits()
    return LocalBackend(
        Environment(environments or place(home.path), settings.proxies),
        Kernels(Marks(home.path / "kernels"), limits, most_kernels(limits)),
        limits,
        wanted=settings.ponte_code == "local",
    )


async def made(settings: Settings, home: Home, write: Callable[[str], None]) -> int:
    """Make the environment with its libraries if it is not there yet; the exit code.

    Raises PonteError with the reason where it cannot be made.
    """

    async def tell(words: str) -> None:
        write(f"Ponte {words}")

    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = Environment(place(home.path), settings.proxies)
    try:
        python = await environment.python(tell)
    except SandboxFailed as failed:
        raise PonteError("{why}", why=failed.cause) from None
    finally:
        await environment.close()
    if python.lacks:
        raise PonteError("{why}", why=python.lacks)
    write(f"ready: {python.path.parent.parent}")
    return 0
