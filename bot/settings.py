"""Every setting, from the environment or `.env`: the only file that reads either.

A field's name is the variable's, in small letters; its description stands in `.env.example`.
What is malformed refuses to start with one line for each wrong setting, never showing a secret.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.values import (
    Admins,
    Allowed,
    AppToken,
    BotToken,
    DatabaseUrl,
    FullPath,
    Instructions,
    NocodbUrl,
    Origin,
    ProxyUrl,
    SocketUrl,
    Switch,
    Turns,
    Url,
    Zone,
    cause,
    is_loopback,
    plain,
)
from core.errors import SettingsError
from core.policy import DailyCaps
from core.proxies import Proxies


def setting(default: object, meaning: str, write: str = "a text", **limits: Any) -> Any:
    """A field: its meaning in one line, and what to write there, for the error."""
    return Field(default, description=meaning, json_schema_extra={"write": write}, **limits)


class Settings(BaseModel):
    """All settings, validated. Made by hand it reads nothing of the environment."""

    model_config = ConfigDict(
        frozen=True, hide_input_in_errors=True, validate_default=True, str_strip_whitespace=True
    )

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
        "off", "ask Discord for the message content intent (follow-ups without a mention): on, off"
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
    ponte_admins: Admins = setting(
        frozenset({"web", "terminal"}), "who approves what needs an admin; comma-separated"
    )
    ponte_daily_turns: Turns | None = setting(
        None, "turns a day, per person / in all; 0 = no cap; Discord without PONTE_ALLOW: 50/1000"
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
        None, "the page's token; required to listen beyond loopback"
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
        if info.data.get("ponte_web") != "on" or value is not None:
            return value
        why = "" if is_loopback(host) else f"PONTE_WEB_HOST={host} listens beyond this machine"
        if url and not is_loopback(urlsplit(url).hostname or ""):
            why = f"PONTE_WEB_URL={url} opens the page to others"
        if why:
            raise ValueError(f"set it to a long random text, because {why}")
        return value

    @property
    def proxies(self) -> Proxies:
        """What every client is given; none of them reads the environment by itself."""
        return Proxies(plain(self.https_proxy), plain(self.http_proxy), self.no_proxy)

    @property
    def daily_caps(self) -> DailyCaps:
        return DailyCaps(self.ponte_daily_turns, self.ponte_allow)

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
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        enable_decoding=False,
        extra="ignore",
    )


def load() -> Settings:
    """The settings of this process. Raises SettingsError, one line for each wrong one."""
    try:
        return _Environment()
    except ValidationError as error:
        lines = "\n".join(_line(found) for found in error.errors())
    except (OSError, UnicodeDecodeError) as error:
        lines = f"The file .env cannot be read ({cause(error)})."
    raise SettingsError("{lines}", lines=lines)


def _line(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    if error["type"] == "value_error":
        return f"{name.upper()}: {error['ctx']['error']}."
    if error["type"] == "literal_error":
        return f"{name.upper()}: write one of {error['ctx']['expected']}."
    extra = Settings.model_fields[name].json_schema_extra
    return f"{name.upper()}: write {extra['write'] if isinstance(extra, dict) else 'a text'}."
