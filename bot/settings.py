"""All settings, from the environment or `.env`.

Settings are read in this module only; exceptions give their reason where they are. A field's name
is the variable's in lower case, and its description is in `.env.example`. Malformed settings stop
the start with a line for each, which never shows a secret.
"""

from __future__ import annotations

import difflib
import errno
import functools
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from dotenv.parser import parse_stream
from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BeforeValidator,
    PrivateAttr,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.web.settings import WebSettings
from bot.integrations import ADMINS, CARDS, FACES, SETUP_NAMES, Faces
from core.base.errors import SettingsError
from core.base.i18n import LOCALES, Locale, find_zone, nearest_locale, say, translate_word
from core.base.proxies import Proxies
from core.integrations import (
    ChatIntegration,
    ProxyUrl,
    SettingsPart,
    Url,
    describe_read_error,
    list_person_forms,
    plain_value,
    setting,
)
from core.people.rules import EVERYBODY_NAME, DailyTurns

STORED_FILE = "settings.env"
"""The file in the data folder with what was typed on the setup page."""
ASSISTANT_NAMES = {"ASSISTANT_ID", "OPENAI_ASSISTANT_ID"}
TYPO_SIMILARITY = 0.75
"""From this similarity on (difflib's ratio), an unknown name is reported as a misspelling."""
_TURNS = re.compile(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*")
_READ_OPTIONS = SettingsConfigDict(
    env_file_encoding="utf-8", env_ignore_empty=True, enable_decoding=False, extra="ignore"
)


def _parse_daily_turns(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _TURNS.fullmatch(value)
    if not match:
        raise ValueError("write two whole numbers, per person / for everyone, as in 50/1000")
    return DailyTurns(int(match[1]), int(match[2]))


def _check_time_zone(value: str) -> str:
    if value != "UTC" and find_zone(value) is None:
        raise ValueError("write the name of a time zone, as in America/Sao_Paulo")
    return value


def _default_home() -> Path:
    """Return the user's data folder; the root if this user has no home folder, as in a container
    with a user ID that the system does not know."""
    try:
        return user_data_path("ponte")
    except RuntimeError:
        return Path("/")


def _full_path(value: Path) -> Path:
    try:
        return value.expanduser().absolute()
    except RuntimeError:
        raise ValueError("the home folder for ~ is unknown; write the full path") from None


def _check_postgres_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("write an address as in postgresql://db.example.com/ponte")
    return value


FullPath = Annotated[Path, AfterValidator(_full_path)]


@dataclass(frozen=True, slots=True)
class EnvFile:
    """A file with settings: the `.env` of the present folder, or the data folder's `settings.env`.
    `why` says why it is not read; "" if it is."""

    path: Path | None = None
    why: str = ""
    secret: bool = False
    """A secret was read from it."""
    names: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The values in it by name."""
    unread: tuple[int, ...] = ()
    """Numbers of lines that cannot be parsed."""
    written_at: float = field(default=0.0, repr=False, compare=False)
    """Its time of change when read."""

    def describe_newer_file(self) -> str:
        """Return a sentence if the file was written again since it was read."""
        with suppress(OSError):
            path = self.path or Path(".env").absolute()
            if path.stat().st_mtime != self.written_at:
                words = "{path} changed after Ponte started. Restart Ponte to apply it."
                return say(words, path=path)
        return ""


def _parse_locale(value: object) -> object:
    """Return the supported locale of a language that is written in another way (`pt`, `pt_BR`,
    `fr-FR`, `en_US.UTF-8`)."""
    if isinstance(value, str) and nearest_locale(value)[:2] == value.strip()[:2].lower():
        return nearest_locale(value.strip())
    return value


class _SharedSettings(SettingsPart):
    """The settings that belong to no single integration."""

    faces: ClassVar[Faces] = FACES

    ponte_allow: frozenset[str] = setting(
        frozenset(),
        "people who can chat, read, request changes, run code and quick commands: slack:ID, "
        "discord:ID or *; comma-separated",
    )
    ponte_admins: frozenset[str] = setting(
        ADMINS, "admins: web, terminal, slack:ID or discord:ID; comma-separated"
    )
    ponte_daily_turns: Annotated[DailyTurns, BeforeValidator(_parse_daily_turns)] | None = setting(
        None,
        "daily limit of messages, per person / for everyone, as in 50/1000; 0 is no "
        "limit. On Discord, people who are not in PONTE_ALLOW have 50/1000 by default.",
    )
    ponte_timezone: Annotated[str, AfterValidator(_check_time_zone)] = setting(
        "UTC", "time zone of people whose platform reports none; limits start again at its midnight"
    )
    ponte_locale: Annotated[Locale, BeforeValidator(_parse_locale)] = setting(
        "en", f"language of people whose platform reports none: {', '.join(LOCALES)}"
    )
    ponte_retention_days: int = setting(
        0,
        "delete conversations after this many days without activity; 0 keeps them. "
        "ponte.toml can set it per place.",
        "write a whole number of days",
        ge=0,
    )
    ponte_audit_days: int = setting(
        0,
        "delete lines of the audit log after this many days; 0 keeps the newest 100 MB",
        "write a whole number of days",
        ge=0,
    )

    https_proxy: ProxyUrl | None = setting(None, "proxy for https:// addresses")
    http_proxy: ProxyUrl | None = setting(None, "proxy for http:// addresses")
    no_proxy: str = setting(
        "", "hosts to connect to without a proxy, and ranges such as 10.0.0.0/8; comma-separated"
    )
    ponte_home: FullPath = setting(_default_home(), "data folder of Ponte", "write a folder's path")
    database_url: Annotated[SecretStr, AfterValidator(_check_postgres_url)] | None = setting(
        None,
        "Postgres database for several processes, as in postgresql://… (docs/guides/scaling.md)",
    )

    @field_validator("ponte_allow", "ponte_admins", mode="before")
    @classmethod
    def _names(cls, value: object, info: ValidationInfo) -> object:
        """Check the people that PONTE_ALLOW or PONTE_ADMINS lists. `*` stands for everybody and can
        only be allowed; the name of the page or the terminal stands for its owner and can only be
        an admin."""
        if not isinstance(value, str):
            return value  # not the text of the variable: pydantic itself checks it
        # Names of chat platforms, patterns of the keys of people and groups, and the names of the
        # page and the terminal.
        chats, forms, owners = list_person_forms(cls.faces)
        bare = [EVERYBODY_NAME] if info.field_name == "ponte_allow" else owners
        write = [*(f"{chat}:ID" for chat in chats), *bare]
        names = [name.strip() for name in value.split(",") if name.strip()]
        for name in names:
            if name not in bare and not re.fullmatch("|".join(forms), name):
                raise ValueError(
                    say(
                        "{name} isn't valid; write one or more of {choices}, comma-separated",
                        name=repr(name),
                        choices=", ".join(write),
                    )
                )
        return frozenset(names)


if TYPE_CHECKING:
    from adapters.slack import SlackSettings
    from core.models import ModelSettings
    from core.tools.code import CodeSettings
    from core.tools.nocodb import NocodbSettings

    class _Parts(
        WebSettings, _SharedSettings, CodeSettings, NocodbSettings, SlackSettings, ModelSettings
    ):
        """The settings that code outside of a feature reads by name."""

else:
    # The first stands last in `.env.example`.
    _parts = [
        WebSettings,
        _SharedSettings,
        *reversed(dict.fromkeys(integration.settings for integration in FACES)),
    ]
    _parts = tuple(part for part in dict.fromkeys(_parts) if part is not SettingsPart)
    _Parts = create_model("_Parts", __base__=_parts)


class Settings(_Parts):
    """All settings of Ponte and its integrations, validated. An instance that is made directly
    reads nothing from the environment; `load` does."""

    _file: EnvFile = PrivateAttr(EnvFile())

    ponte_grace: float = setting(
        20.0,
        "seconds that running turns have to finish after SIGTERM",
        "write a number of seconds, 0 to 3600",
        ge=0,
        le=3600,
    )
    ponte_config: FullPath = setting(
        Path("ponte.toml"),
        "file with the rules for channels, tables and quick commands",
        "write a file's path",
    )
    ponte_log: Literal["text", "json"] = setting("text", "format of the log: text, json")
    ponte_log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "lowest level of log messages: debug, info, warning, error"
    )
    otel_exporter_otlp_endpoint: Url | None = setting(
        None,
        "URL that receives traces by OTLP over HTTP, as in http://localhost:4318 "
        "(docs/guides/watching.md)",
    )
    otel_exporter_otlp_headers: SecretStr | None = setting(
        None, "headers to send with traces, as in key=value,key=value"
    )

    @property
    def env_file(self) -> EnvFile:
        """The `.env` of the folder in which Ponte was started."""
        return self._file

    def source(self, name: str) -> Literal["", "environment", "file", "page"]:
        """Return where a setting's value comes from: the environment, the file `.env`, the setup
        page, or "" for its default. `name` is in lower case, as all compared names."""
        if name in _without_empty(os.environ):
            return "environment"
        if name in _without_empty(self._file.names):
            return "file"
        # Only the page's file can have set any other field.
        return "page" if name in self.model_fields_set else ""

    @property
    def page_file(self) -> Path | None:
        """The file that the setup page stored; None if no setting comes from it."""
        is_read = any(self.source(name) == "page" for name in SETUP_NAMES)
        return self.ponte_home / STORED_FILE if is_read else None

    def variable(self, name: str) -> str:
        """Return a variable of the environment or `.env`, such as one with a secret that ponte.toml
        names; "" if there is none."""
        return (os.environ.get(name) or self._file.names.get(name, "")).strip()

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on misspelt names, unreadable lines and corrected values."""
        return tuple(_list_notes(self))  # in the reader's language, which is known after loading

    @property
    def proxies(self) -> Proxies:
        """The proxies for every HTTP client: none reads the environment itself."""
        return Proxies(plain_value(self.https_proxy), plain_value(self.http_proxy), self.no_proxy)

    @property
    def is_personal(self) -> bool:
        """Neither a chat platform nor Postgres is configured, not even partly: only the owner and
        invited people use this Ponte."""
        chats = [
            integration for integration in self.faces if isinstance(integration, ChatIntegration)
        ]
        names = {name for integration in chats for name in integration.settings.model_fields}
        names.add("database_url")
        return not any(getattr(self, name) for name in names & self.model_fields_set)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Secrets must not appear in logs, errors, chats or a model's input."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(v.get_secret_value() for v in values if isinstance(v, SecretStr))


def load(faces: Faces = FACES, stored: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this process: from the environment, then `.env`, then the data
    folder's `settings.env`, which the setup page writes; the first one that has a name counts.

    A service of which the first two have the address or a secret gets nothing from `settings.env`.
    Raises SettingsError, with a line for each wrong one.

    `stored` stands for the contents of `settings.env`, to try them before they are written. `faces`
    describe the integrations whose settings are read.
    """
    environment = _environment_class(tuple(faces))
    try:
        file = _read_env_file(Path(".env").absolute())
        typed = _read_stored(file) if stored is None else EnvFile(names=stored)
        # `${NAME}` in a value does not read the environment. The settings class reads the
        # environment itself, with priority over these.
        names = _without_split_services(typed.names, file, faces) | _without_empty(file.names)
        values: Any = {k: v for k, v in names.items() if k in environment.model_fields}
        settings = environment(**values)
        settings._file = file  # `_names_from` reads it
        filed = [getattr(settings, name) for name in _names_from(settings, "file")]
        # `ponte doctor` then warns if other users can read the file.
        settings._file = replace(file, secret=any(isinstance(one, SecretStr) for one in filed))
    except ValidationError as error:
        lines = "\n".join(_describe_error(environment, fault) for fault in error.errors())
    except OSError as error:
        cause = describe_read_error(error)
        lines = say("Can't read the file {file} ({cause}).", file=error.filename, cause=cause)
    else:
        # Secrets from elsewhere that an address in `.env` would receive.
        if not (lines := "\n".join(_find_redirected_secrets(settings))):
            return settings
    raise SettingsError("{lines}", lines=lines)


def service_of(card: str, faces: Faces = FACES) -> frozenset[str]:
    """Return the settings with the address and the secrets of a card's service. All must come from
    one source, so that no secret is sent to an address of another source."""
    integration = next((candidate for candidate in faces if candidate.name == card), None)
    if integration is None:
        return frozenset()
    return frozenset(
        [*integration.sent_to, *(name for names in integration.sent_to.values() for name in names)]
    )


def _without_empty(names: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in names.items() if value}


def find_early(name: str, file: EnvFile | None = None) -> str:
    """Return a setting that is needed before the others, unchecked. Raises OSError."""
    file = file or _read_env_file(Path(".env").absolute())
    return (_without_empty(file.names) | _without_empty(os.environ)).get(name, "")


def find_home(file: EnvFile | None = None) -> Path | None:
    """Return the data folder that the environment or `.env` names, or the default one; None if it
    cannot be known. Raises OSError."""
    home = find_early("ponte_home", file)
    try:
        return _full_path(Path(home)) if home else _default_home()
    except ValueError:
        return None


def _read_stored(file: EnvFile) -> EnvFile:
    """Return the data folder's `settings.env`, without names that the setup page may not store.
    `file` is the `.env`, which can name the data folder. Raises OSError, also for a file that is
    not to be trusted."""
    home = find_home(file)
    if home is None:  # the validator reports a `~` without a home folder
        return EnvFile()
    check_is_file(home / STORED_FILE)
    stored = _read_env_file(home / STORED_FILE)
    # The file belongs to another user, so it was not read. Without it, Ponte would start with other
    # services than its owner chose.
    if stored.why:
        raise OSError(errno.EPERM, stored.why, str(home / STORED_FILE))
    names = {k: v for k, v in stored.names.items() if k.lower() in SETUP_NAMES}
    return replace(stored, names=names)


def check_is_file(path: Path) -> None:
    """Raise OSError for anything else: to read a FIFO would never end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file", str(path))


def _without_split_services(
    typed: Mapping[str, str], file: EnvFile, faces: Faces
) -> dict[str, str]:
    """Return the values typed on the setup page, without those of a service of which `.env` or the
    environment has the address or a secret: nothing may send a secret to another source's
    address."""
    values, elsewhere = (
        _without_empty(typed),
        {*_without_empty(file.names), *_without_empty(os.environ)},
    )
    # Each card has the settings of one service. `service_of` names its address and secrets.
    for card in CARDS.values():
        if service_of(card.name, faces) & elsewhere:
            for field in card.fields:
                values.pop(field.setting, None)
    return values


@functools.cache
def _environment_class(faces: Faces) -> type[Settings]:
    """Return the class that reads the settings of these integrations (a tuple) from the
    environment. Building one takes 8 ms, so it is cached."""
    lines = [
        integration.settings
        for integration in faces
        if not issubclass(Settings, integration.settings)
    ]
    combined: type[Settings] = create_model("Settings", __base__=(Settings, *dict.fromkeys(lines)))
    combined.faces = faces
    return type("Environment", (combined, _ReadEnvironment), {"model_config": _READ_OPTIONS})


class _ReadEnvironment(BaseSettings):
    """Reads the environment, with priority over the values of `.env` that are passed to
    `__init__`."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: object, init_settings: Any, env_settings: Any, *_: Any, **__: Any
    ) -> tuple[Any, ...]:
        return env_settings, init_settings


def _read_env_file(path: Path) -> EnvFile:
    """Return the names and values of a file with settings, and the numbers of lines that cannot be
    parsed. Raises OSError.

    A file of another user is not read, since it could send our secrets to other servers; root's
    file could do no more than root can.
    """
    try:
        file = path.open(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return EnvFile()
    with file:
        status = os.fstat(file.fileno())
        owner, written_at = status.st_uid, status.st_mtime
        if owner not in (0, os.geteuid()):
            # The caller decides: Ponte starts without such a `.env`, but with a warning.
            why = f"it belongs to another user (uid {owner}); change its owner"
            return EnvFile(path, why, written_at=written_at)
        names, unread = {}, []
        try:
            bindings = list(parse_stream(file))
        except UnicodeDecodeError as error:
            raise OSError(errno.EILSEQ, error.reason, path) from None
        for binding in bindings:
            if binding.error:
                # The parser counts blank lines above to a line.
                text = binding.original.string
                above = text[: len(text) - len(text.lstrip())].count("\n")
                unread.append(binding.original.line + above)
            elif binding.key:
                names[binding.key] = binding.value or ""
        return EnvFile(path, names=names, unread=tuple(unread), written_at=written_at)


def _list_notes(settings: Settings) -> Iterator[str]:
    """Yield sentences for the operator on unreadable lines of `.env`, on variables that look like
    misspelt settings, and on corrected values (such as a key in quotation marks)."""
    file = settings.env_file
    for number in file.unread:
        words = "Line {number} of {path} is ignored. Write it as `NAME=value`."
        yield say(words, number=number, path=file.path)
    fields = {name.upper() for name in type(settings).model_fields}
    variables = {**file.names, **os.environ}
    for name in sorted(variables.keys() & ASSISTANT_NAMES):
        words = (
            "{name} is ignored, because OpenAI's Assistants API has ended. "
            "docs/guides/model.md says where its instructions, model and functions go."
        )
        yield say(words, name=name)
    for name in sorted(variables.keys() - fields):
        # Only names with the same beginning, as PONTE_: nobody else's variables are reported.
        ours = [
            field for field in fields if field.partition("_")[0] == name.upper().partition("_")[0]
        ]
        likely = difflib.get_close_matches(name.upper(), ours, 1, TYPO_SIMILARITY)
        # A name in lower case is the setting itself.
        if likely and likely[0] != name.upper():
            words = "{name} isn't a setting. Did you mean {likely}?"
            if name in file.names:
                words = "{name} in {path} isn't a setting. Did you mean {likely}?"
            yield say(words, name=name, path=file.path, likely=likely[0])
    raw = {name.lower(): value for name, value in variables.items() if value}
    for name in sorted(settings.model_fields_set & raw.keys()):
        # Spaces around a value are removed without a note.
        value, raw_value = getattr(settings, name), raw[name].strip()
        # `@file` stands for the text of a file, so another value is no correction.
        if (
            isinstance(value, str | SecretStr)
            and raw_value[:1] != "@"
            and plain_value(value) != raw_value
        ):
            words = "{name} was corrected to {value}"
            if isinstance(value, SecretStr):
                words = "{name} was corrected: extra characters were removed"
            yield say(words, name=name.upper(), value=value)


def _names_from(settings: Settings, source: str) -> frozenset[str]:
    return frozenset(name for name in settings.model_fields_set if settings.source(name) == source)


def _find_redirected_secrets(settings: Settings) -> Iterator[str]:
    """Yield a line for each secret of the environment or the setup page that would be sent to an
    address in `.env`. Ponte then does not start.

    `.env` is read from the present folder, which somebody else may have sent, and must not redirect
    secrets to its author's server. `filed` are the settings from that file, `sent_to` the secrets
    by the setting of the address that gets them, and `leads` the settings that lead a request
    there: the address itself, or a proxy that reads what is not encrypted.
    """
    filed = _names_from(settings, "file")
    sent_to = {k: v for integration in settings.faces for k, v in integration.sent_to.items()}
    # The server for traces belongs to no integration.
    sent_to["otel_exporter_otlp_endpoint"] = ("otel_exporter_otlp_headers",)
    for address, secrets in sent_to.items():
        url = plain_value(getattr(settings, address))
        leads = [address] if address in filed else []
        if "http_proxy" in filed and url.startswith("http://"):
            leads.append("http_proxy")
        for lead in leads:
            for secret in secrets:
                if secret in settings.model_fields_set - filed:
                    yield say(
                        "{address} is in {file}, but {secret} is set elsewhere and would be sent "
                        "there. Put both in one place.",
                        address=lead.upper(),
                        file=settings.env_file.path,
                        secret=secret.upper(),
                    )


def _describe_error(settings: type[Settings], error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    if error["type"] == "literal_error":
        choices = error["ctx"]["expected"].replace(" or ", ", ")
        return say("{name}: write one of {choices}.", name=name.upper(), choices=choices)
    extra: Any = settings.model_fields[name].json_schema_extra
    words = str(error["ctx"]["error"] if error["type"] == "value_error" else extra["write"])
    return say("{name}: {what}.", name=name.upper(), what=translate_word(words))
