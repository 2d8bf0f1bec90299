"""The webhooks of ponte.toml, and the secrets of its sign-in providers and MCP servers.

No code of a webhook is loaded before its first request.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from bot.config.ponte_toml import Config, LiveConfig
from bot.logs import mask_also
from bot.settings import Settings
from core.base.errors import SettingsError
from core.base.i18n import say
from core.chat.destinations import Destinations
from core.domain.ports import Inbox, Messenger
from core.integrations import HttpHandler, find_key_fault
from core.webhooks.hook import Hook, unfillable_parts

if TYPE_CHECKING:
    from core.webhooks.intake import HookIntake

_UNSET = "{where}: {variable} isn't set, so the webhook {name} rejects every request. Set it."
_NO_SIGN_IN = "{where}: {variable} isn't set. Sign-in with {name} needs it."
_NO_MCP_EXTRA = (
    "{where}: MCP servers need the `mcp` package. Install it with `pip install --require-hashes "
    "-r requirements/mcp.txt` (docs/guides/mcp.md)."
)
_UNSET_FOR_SERVER = "{where}: {variable} isn't set, so the MCP server {name} gets no token. Set it."
_OWN_SETTING = (
    "{where}: {variable} is one of Ponte's own settings. Put the token in another variable."
)
_SHORT = "{where}: {variable} is too short. Use at least 16 characters (`openssl rand -hex 32`)."
_NOT_BASE64 = (
    "{where}: {variable} isn't valid base64. Copy the secret exactly as the sender shows it."
)
_PLATFORM_OFF = "{where}: {platform} is off, so the webhook {name} can't post"

_NEVER_FILLED = "{where}: no request can fill {part} in the template of the webhook {name}"
_REPEATS = (
    "{where}: requests to the webhook {name} have no signed time. Anyone who captures one can "
    "send it again after the time set in `repeats_after`."
)
_NO_REPEATS = (
    "{where}: `repeats_after` has no effect for the webhook {name}, because each delivery of its "
    "kind has an ID"
)


@dataclass(slots=True)
class ConfiguredHooks:
    """Finds what answers requests to the webhooks of ponte.toml, which a reload can change. The
    code that receives them (`_intake`) is loaded with the first request."""

    settings: Settings
    config: LiveConfig
    messengers: Mapping[str, Messenger]
    inbox: Inbox
    _intake: HookIntake | None = field(default=None, init=False)

    def find_handler(self, name: str) -> HttpHandler | None:
        """Return the function that answers a request to the webhook `name`, also if there is none
        of this name: it then answers as to a wrong secret, so that nobody learns which names exist.
        Return None if ponte.toml has no webhook now."""
        if not self.config.current.hooks:
            return None
        if self._intake is None:
            from core.webhooks.intake import HookIntake

            self._intake = HookIntake(self._find, Destinations(self.messengers), self.inbox)
        return partial(self._intake.receive, name)

    def _find(self, name: str) -> Hook | None:
        hook = self.config.current.hooks.get(name)
        return hook.hook(name, self.settings.variable) if hook else None


def check_secrets(config: Config, settings: Settings) -> None:
    """Mask the secrets of all webhooks, sign-in providers and MCP servers in logs from now on.
    Raise SettingsError, with a line for each, for secrets of webhooks that are too short or not
    base64, for those that no header can hold, and for MCP servers that cannot be used."""
    # `secret` and `token` in ponte.toml are the names of variables, which hold the secrets.
    faults = list[str]()
    for name, server in config.mcp.items():
        where = config.location("mcp", name)
        if importlib.util.find_spec("mcp") is None:
            faults.append(say(_NO_MCP_EXTRA, where=where))
        # Else a token of another service would be sent to the server.
        if server.token and server.token.lower() in type(settings).model_fields:
            faults.append(say(_OWN_SETTING, where=where, variable=server.token))
    variables = [provider.secret for provider in config.sign_in.values()]
    variables += [server.token or "" for server in config.mcp.values()]
    variables += [hook.secret for hook in config.hooks.values() if hook.kind == "secret"]
    for variable in variables:
        mask_also(secret := settings.variable(variable))
        if fault := find_key_fault(secret):
            faults.append(f"{variable}: {fault}.")
    if config.hooks:
        from core.webhooks.intake import secret_fault  # not loaded without a webhook
    for name, own in config.hooks.items():
        hook, where = own.hook(name, settings.variable), config.location("hooks", name)
        # A secret with a fault is not masked, because the error below refuses the file.
        if hook.secret and (fault := secret_fault(hook.kind, hook.secret)):
            words = _NOT_BASE64 if fault == "encoding" else _SHORT
            faults.append(say(words, where=where, variable=own.secret))
        else:
            mask_also(hook.secret)
    if faults:
        raise SettingsError("{lines}", lines="\n".join(faults))


def find_faults(config: Config, settings: Settings) -> Iterator[str]:
    """Yield sentences about sign-in providers and webhooks that cannot work as configured, or that
    have a risk, each with its line."""
    for name, provider in config.sign_in.items():
        if not settings.variable(provider.secret):
            where, variable = config.location("sign_in", name), provider.secret
            yield say(_NO_SIGN_IN, where=where, variable=variable, name=name)
    for name, server in config.mcp.items():
        if server.token and not settings.variable(server.token):
            where = config.location("mcp", name)
            yield say(_UNSET_FOR_SERVER, where=where, variable=server.token, name=name)
    # A face gets its own settings and the shared ones. `settings` has both.
    used = {face.name for face in settings.faces if face.is_used(settings, settings)}
    for name, own in config.hooks.items():
        hook, where = own.hook(name, settings.variable), config.location("hooks", name)
        if not hook.secret:
            yield say(_UNSET, where=where, variable=own.secret, name=name)
        if (platform := hook.post_to.partition(":")[0]) not in used:
            yield say(_PLATFORM_OFF, where=where, platform=platform, name=name)
        for part in unfillable_parts(hook):
            yield say(_NEVER_FILLED, where=where, part=part, name=name)
        if hook.repeats_after:
            # Seconds after which an equal body without an id is another delivery, no repetition.
            # Only the kind "secret" uses that time: deliveries of the others have an id.
            words = _REPEATS if hook.kind == "secret" else _NO_REPEATS
            yield say(words, where=where, name=name)
