"""The kinds of values that a setting takes: how each is written, read and refused.

A refusal's words complete a line that begins with the setting's name.

Every setting, from the environment or `.env`: the only file that reads either.

A field's name is the variable's, in small letters; its description stands in `.env.example`.
What is malformed refuses to start with one line for each wrong setting, never showing a secret.
"""

from __future__ import annotations

import ipaddress
import os
import re
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.rights import ADMINS
from core.errors import SettingsError
from core.http import Proxies
from core.policy import DailyCaps, DailyTurns

TOKEN_LENGTH = 20
"""Characters that a token which a person sets has at least."""
_PLATFORM_NAME = re.compile(r"slack:[A-Za-z0-9]+|discord:[0-9]+")
_TURNS = re.compile(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*")


def plain(value: str | SecretStr | None) -> str:
    """The text of a setting, also of a secret one; "" where it is not set."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value or ""


def token_fault(token: str) -> str:
    """What to write instead of this token for the page; "" where it serves."""
    if re.fullmatch(rf"[!-~]{{{TOKEN_LENGTH},500}}", token):
        return ""
    return (
        f"write at least {TOKEN_LENGTH} random letters and digits, "
        "as `openssl rand -hex 16` gives them"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _parts(text: str, schemes: tuple[str, ...]) -> SplitResult:
    try:
        parts = urlsplit(text)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"write a URL that begins with {schemes[0]}:// and names a host")
    return parts


def _http(value: str) -> str:
    _parts(value, ("https", "http"))
    return value


def _socket(value: str) -> str:
    _parts(value, ("wss", "ws"))
    return value


def _proxy(value: SecretStr) -> SecretStr:
    _parts(plain(value), ("http", "https"))
    return value


def _origin(value: str) -> str:
    parts = _parts(value, ("https", "http"))
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise ValueError("write an origin without a path, as in https://ponte.example.com")
    return value.rstrip("/")


def _nocodb(value: SecretStr) -> SecretStr:
    path = _parts(plain(value), ("https", "http")).path.rstrip("/")
    if path and not path.endswith("/execute"):
        raise ValueError("write an origin (https://host), or a bridge's URL ending in /execute")
    return value


def _bot_token(value: SecretStr) -> SecretStr:
    if plain(value).startswith("xapp-"):
        raise ValueError("that is an app token; the bot token begins with xoxb-")
    return value


def _app_token(value: SecretStr) -> SecretStr:
    if plain(value).startswith("xoxb-"):
        raise ValueError("that is a bot token; the app token begins with xapp-")
    return value


def _instructions(value: str) -> str:
    if not value.startswith("@"):
        return value
    try:
        text = Path(value[1:]).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the file {value[1:]!r} cannot be read ({cause(error)})") from None
    if not text:
        raise ValueError(f"the file {value[1:]!r} is empty")
    return text


def _names(write: str, *bare: str) -> Callable[[object], object]:
    def split(value: object) -> object:
        if not isinstance(value, str):
            return value
        names = [name.strip() for name in value.split(",") if name.strip()]
        for name in names:
            if name not in bare and not _PLATFORM_NAME.fullmatch(name):
                raise ValueError(f"{name!r} names nobody; write {write}, comma-separated")
        return frozenset(names)

    return split


def _turns(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _TURNS.fullmatch(value)
    if not found:
        raise ValueError("write two whole numbers, per person / in all, as in 50/1000")
    return DailyTurns(int(found[1]), int(found[2]))


def _zone(value: str) -> str:
    try:
        return value if value == "UTC" else zoneinfo.ZoneInfo(value).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("write a time zone's name, as in America/Sao_Paulo") from None


def _full_path(value: Path) -> Path:
    try:
        return value.expanduser().absolute()
    except RuntimeError:
        raise ValueError("the home folder that ~ stands for is not known; write it out") from None


def _not_built(value: SecretStr) -> SecretStr:
    raise ValueError("the distributed engine is not built yet; unset it to use PONTE_HOME")


def cause(error: OSError | UnicodeDecodeError) -> str:
    """Why a file could not be read, in the system's few words."""
    return error.reason if isinstance(error, UnicodeDecodeError) else error.strerror or "unreadable"


Switch = Literal["on", "off"]
Url = Annotated[str, AfterValidator(_http)]
ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy)]
SocketUrl = Annotated[str, AfterValidator(_socket)]
Origin = Annotated[str, AfterValidator(_origin)]
NocodbUrl = Annotated[SecretStr, AfterValidator(_nocodb)]
BotToken = Annotated[SecretStr, AfterValidator(_bot_token)]
AppToken = Annotated[SecretStr, AfterValidator(_app_token)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_not_built)]
Instructions = Annotated[str, AfterValidator(_instructions)]
Zone = Annotated[str, AfterValidator(_zone)]
FullPath = Annotated[Path, AfterValidator(_full_path)]
Turns = Annotated[DailyTurns, BeforeValidator(_turns)]
Allowed = Annotated[frozenset[str], BeforeValidator(_names("slack:ID, discord:ID or *", "*"))]
Admins = Annotated[
    frozenset[str],
    BeforeValidator(_names("slack:ID, discord:ID, web or terminal", "web", "terminal")),
]


_STACKSPOT = ("stackspot_client_secret",)
SENT_TO = {
    "openai_base_url": ("openai_api_key",),
    "slack_api_url": ("slack_bot_token", "slack_app_token"),
    "discord_api_url": ("discord_token",),
    "discord_gateway_url": ("discord_token",),
    "nocodb_url": ("nocodb_token",),
    "stackspot_auth_url": _STACKSPOT,
    "stackspot_api_url": _STACKSPOT,
    "stackspot_agent_url": _STACKSPOT,
    "stackspot_files_url": _STACKSPOT,
    "ponte_web_url": ("ponte_web_token",),
}
"""Addresses, and the secrets that go there: the last stands behind the # of the page's link."""


@dataclass(frozen=True, slots=True)
class EnvFile:
    """The `.env` of the folder that Ponte was started in; `why` it is not read, "" where it is."""

    path: Path | None = None
    why: str = ""
    secret: bool = False
    """Whether a secret was read from it."""


def setting(default: object, meaning: str, write: str = "a text", **limits: Any) -> Any:
    """A field: its meaning in one line, and what to write there, for the error."""
    return Field(default, description=meaning, json_schema_extra={"write": write}, **limits)


class Settings(BaseModel):
    """All settings, validated. Made by hand it reads nothing of the environment."""

    model_config = ConfigDict(
        frozen=True, hide_input_in_errors=True, validate_default=True, str_strip_whitespace=True
    )

    _file: EnvFile = PrivateAttr(EnvFile())

    openai_api_key: SecretStr | None = setting(
        None, "the key of the model's server; without it and a base URL: the demo model"
    )
    openai_base_url: Url | None = setting(
        None, "another server with OpenAI's API (Ollama, llama.cpp, vLLM, OpenRouter, …)"
    )
    ponte_model: str = setting("gpt-6-luna", "the model's name", "a model's name", min_length=1)
    ponte_model_effort: str | None = setting(None, "how hard the model thinks: low, medium, high")
    ponte_model_api: Literal["auto", "conversations", "responses", "chat", "demo"] = setting(
        "auto", "how to speak with it: auto, conversations, responses, chat, demo"
    )
    ponte_instructions: Instructions | None = setting(
        None, "the assistant's instructions: a text, or @file", "a text, or @ and a file's name"
    )

    slack_bot_token: BotToken | None = setting(None, "Slack's bot token (xoxb-…)")
    slack_app_token: AppToken | None = setting(
        None, "Slack's app token (xapp-…): with the bot token, Slack is on by Socket Mode"
    )
    slack_signing_secret: SecretStr | None = setting(
        None, "with the bot token and no app token: Slack is on over HTTP at /slack/events"
    )
    slack_api_url: Url = setting(
        "https://slack.com/api/", "the base of Slack's Web API (a proxy, a fake)"
    )
    discord_token: SecretStr | None = setting(None, "the bot's token: with it, Discord is on")
    discord_api_url: Url = setting(
        "https://discord.com/api/v10", "the base of Discord's API (a proxy, a fake)"
    )
    discord_gateway_url: SocketUrl = setting(
        "wss://gateway.discord.gg/", "the base of Discord's gateway (a proxy, a fake)"
    )
    discord_message_content: Switch = setting(
        "off",
        "ask Discord for the message content intent "
        "(follow-ups without a mention, replies, threads): on, off",
    )

    nocodb_url: NocodbUrl | None = setting(
        None, "NocoDB's origin, or the URL of a bridge, which ends in /execute"
    )
    nocodb_token: SecretStr | None = setting(None, "NocoDB's API token (a bridge: its bearer)")
    nocodb_base_id: str | None = setting(None, "the base; needed where the token sees several")
    stackspot_client_id: str | None = setting(None, "StackSpot's client id")
    stackspot_client_secret: SecretStr | None = setting(None, "StackSpot's client key")
    stackspot_realm: str = setting(
        "stackspot-freemium", "the account's realm", "the realm's name", pattern=r"^[\w.-]+$"
    )
    stackspot_auth_url: Url = setting("https://idm.stackspot.com", "where StackSpot gives tokens")
    stackspot_api_url: Url = setting(
        "https://genai-code-buddy-api.stackspot.com", "where StackSpot runs quick commands"
    )
    stackspot_agent_url: Url = setting(
        "https://genai-inference-app.stackspot.com", "where StackSpot's agents answer"
    )
    stackspot_files_url: Url = setting(
        "https://data-integration-api.stackspot.com", "where StackSpot takes files"
    )
    stackspot_deadline: float = setting(
        300.0,
        "seconds that a run at StackSpot is waited for",
        "seconds, 10 to 3600",
        ge=10,
        le=3600,
    )
    stackspot_unknown: Literal["refuse", "allow"] = setting(
        "refuse", "quick commands and agents that ponte.toml does not name: refuse, allow"
    )
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

    ponte_allow: Allowed = setting(
        frozenset(), "who may use everything: slack:ID, discord:ID, *; comma-separated"
    )
    ponte_admins: Admins = setting(ADMINS, "who approves what needs an admin; comma-separated")
    ponte_daily_turns: Turns | None = setting(
        None,
        "turns a day, per person / in all; 0 = no cap; Discord, who is not in PONTE_ALLOW: 50/1000",
    )
    ponte_timezone: Zone = setting("UTC", "the time zone where the platform does not tell")
    ponte_locale: Literal["en", "pt-BR", "fr"] = setting(
        "en", "the language where the platform does not tell: en, pt-BR, fr"
    )
    ponte_retention_days: int = setting(
        0, "forget threads that are idle for longer; 0 = keep", "a whole number of days", ge=0
    )

    https_proxy: ProxyUrl | None = setting(None, "the proxy for https:// addresses")
    http_proxy: ProxyUrl | None = setting(None, "the proxy for http:// addresses")
    no_proxy: str = setting("", "hosts that are reached without a proxy; comma-separated")
    ponte_home: FullPath = setting(
        user_data_path("ponte"), "where what Ponte keeps is stored", "a folder's path"
    )
    database_url: DatabaseUrl | None = setting(
        None, "postgresql://…: the distributed engine (not built yet)"
    )
    ponte_web: Switch = setting("on", "the web page and HTTP API: on, off")
    ponte_web_host: str = setting("127.0.0.1", "the address that the web page listens on")
    ponte_web_port: int = setting(
        8080, "the port that the web page listens on", "a port, 0 to 65535", ge=0, le=65535
    )
    ponte_web_url: Origin | None = setting(None, "the public origin, where a proxy stands in front")
    ponte_web_token: SecretStr | None = setting(
        None,
        "the page's token, at least 20 characters; not set: made at first start, in the home "
        "(ponte link shows it); required to listen beyond loopback",
    )
    ponte_grace: float = setting(
        20.0, "seconds that SIGTERM leaves to running turns", "seconds, 0 or more", ge=0, le=3600
    )
    ponte_config: FullPath = setting(
        Path("ponte.toml"), "the file with channels, tables, quick commands", "a file's path"
    )
    ponte_log: Literal["text", "json"] = setting("text", "how logs are written: text, json")
    ponte_log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "what is logged: debug, info, warning, error"
    )

    @field_validator("ponte_web_token")
    @classmethod
    def _guarded(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        host, url = info.data.get("ponte_web_host", "127.0.0.1"), info.data.get("ponte_web_url")
        if value is not None and (wrong := token_fault(plain(value))):
            raise ValueError(wrong)
        if info.data.get("ponte_web") != "on" or value is not None:
            return value
        why = "" if is_loopback(host) else f"PONTE_WEB_HOST={host} listens beyond this machine"
        if url and not is_loopback(urlsplit(url).hostname or ""):
            why = f"PONTE_WEB_URL={url} opens the page to others"
        if why:
            raise ValueError(f"set it ({token_fault('')}), because {why}")
        return value

    @property
    def env_file(self) -> EnvFile:
        """Where they were read beside the environment."""
        return self._file

    @property
    def proxies(self) -> Proxies:
        """What every client is given; none of them reads the environment by itself."""
        return Proxies(plain(self.https_proxy), plain(self.http_proxy), self.no_proxy)

    @property
    def daily_caps(self) -> DailyCaps:
        return DailyCaps(self.ponte_daily_turns)

    @property
    def code(self) -> Literal["off", "hosted", "local"]:
        """Where Python runs; `auto` follows the model: OpenAI's own server, or this machine."""
        if self.ponte_code != "auto":
            return self.ponte_code
        host = urlsplit(self.openai_base_url or "https://api.openai.com").hostname or ""
        official = host == "openai.com" or host.endswith(".openai.com")
        asked = self.ponte_model_api != "demo"
        return "hosted" if official and self.openai_api_key and asked else "local"

    @property
    def nocodb(self) -> Literal["off", "rest", "bridge"]:
        """How NocoDB is spoken with: a bridge may ask for no token, NocoDB itself does."""
        if urlsplit(plain(self.nocodb_url)).path.rstrip("/"):
            return "bridge"
        return "rest" if self.nocodb_url and self.nocodb_token else "off"

    @property
    def stackspot(self) -> bool:
        """Whether there are credentials for it."""
        return bool(self.stackspot_client_id and self.stackspot_client_secret)

    @property
    def slack(self) -> Literal["off", "socket", "http"]:
        """How Slack's events come in."""
        if self.slack_bot_token is None:
            return "off"
        return "socket" if self.slack_app_token else "http" if self.slack_signing_secret else "off"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that may stand in no log, error, chat or model's input."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(v.get_secret_value() for v in values if isinstance(v, SecretStr))


class _Environment(Settings, BaseSettings):
    model_config = SettingsConfigDict(
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        enable_decoding=False,
        extra="ignore",
    )


def load() -> Settings:
    """The settings of this process. Raises SettingsError, one line for each wrong one."""
    try:
        with _env_file() as (file, opened):
            options: dict[str, Any] = {"_env_file": opened}
            settings = _Environment(**options)
        filed = (getattr(settings, name) for name in _filed(settings))
        settings._file = replace(file, secret=any(isinstance(one, SecretStr) for one in filed))
    except ValidationError as error:
        lines = "\n".join(_line(found) for found in error.errors())
    except (OSError, UnicodeDecodeError) as error:
        lines = f"The file .env cannot be read ({cause(error)})."
    else:
        if not (lines := "\n".join(_led_astray(settings))):
            return settings
    raise SettingsError("{lines}", lines=lines)


@contextmanager
def _env_file() -> Iterator[tuple[EnvFile, str | None]]:
    """What there is, and the path to read while the block runs: of the file that was looked at,
    whatever takes its name meanwhile. Raises OSError.

    Another user's could name servers for our secrets; root's could not do more than root can.
    """
    path = Path(".env").absolute()
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield EnvFile(), None
        return
    try:
        owner = os.fstat(file).st_uid
        if owner in (0, os.geteuid()):
            yield EnvFile(path), f"/proc/self/fd/{file}"
        else:
            why = f"it belongs to another user (uid {owner}); make it yours, or start elsewhere"
            yield EnvFile(path, why), None
    finally:
        os.close(file)


def _filed(settings: Settings) -> frozenset[str]:
    """What was read from `.env`: the environment wins over it where it is not empty."""
    given = {name.lower() for name, value in os.environ.items() if value}
    return frozenset(settings.model_fields_set - given)


def _led_astray(settings: Settings) -> Iterator[str]:
    """One line for each secret of the environment that would go to an address of `.env`: a file
    that came with somebody's folder must not lead it anywhere."""
    filed = _filed(settings)
    for address, secrets in SENT_TO.items():
        url = plain(getattr(settings, address))
        leads = [address] if address in filed else []
        if "http_proxy" in filed and url.startswith("http://"):
            leads.append("http_proxy")  # it reads what is not encrypted
        for lead in leads:
            for secret in secrets:
                if secret in settings.model_fields_set - filed:
                    yield (
                        f"{lead.upper()} stands in {settings.env_file.path}, but {secret.upper()} "
                        "is set in the environment, and would be sent there. Put both in one place."
                    )


def _line(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    if error["type"] == "value_error":
        return f"{name.upper()}: {error['ctx']['error']}."
    if error["type"] == "literal_error":
        return f"{name.upper()}: write one of {error['ctx']['expected']}."
    extra = Settings.model_fields[name].json_schema_extra
    return f"{name.upper()}: write {extra['write'] if isinstance(extra, dict) else 'a text'}."
