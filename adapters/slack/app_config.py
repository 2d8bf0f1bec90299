"""Compares the Slack app with the manifest that Ponte needs, and completes it, with an app
configuration token (docs.slack.dev/app-manifests/configuring-apps-with-app-manifests)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from adapters.slack.client import REFUSED_BOT, SlackApi
from adapters.slack.errors import InDoubt, NotNow, SlackRefused
from adapters.slack.setup import SLACK_NO_ANSWER, find_app, settings_link
from core.base.errors import BadInput, PlatformBusy, SettingsError
from core.base.i18n import say
from core.base.proxies import Proxies
from core.domain.records import Health
from core.integrations import HomeFolder

Json = Mapping[str, Any]
TOKENS_FILE = "slack-config.json"
_SPARE_SECONDS = 300.0
_ROTATION_REFUSED = (
    "Slack rejected SLACK_CONFIG_TOKEN ({error}). Each refresh token works once. Generate a new "
    "pair at https://api.slack.com/apps, and copy the refresh token (xoxe-1-…)."
)
_APP_REFUSED = (
    "Slack didn't return the app's configuration ({error}). SLACK_CONFIG_TOKEN must belong to "
    "someone who manages the app."
)
_UPDATE_REFUSED = "Slack refused the new manifest ({error})."
_NOT_SHOWN = "The Slack app has changed in the meantime. Check it again."
_LACKS = "The Slack app lacks {names}. Add them with “Update the app” on the setup page."
_COMPLETE = "The Slack app has everything that the manifest has."
_UPDATED = "The Slack app is updated."
_REINSTALL = "The Slack app is updated. Reinstall it to grant its new scopes: {link}"


@dataclass(frozen=True, slots=True)
class SlackAppConfig:
    """The configuration of Ponte's Slack app, compared with the manifest `wanted`. A token for it
    lasts 12 hours, and a refresh token works once, so the newest pair is in TOKENS_FILE of the data
    folder. `refresh_token` is the pasted one. Methods raise SettingsError and HomeUnusable."""

    bot_token: str
    app_token: str
    refresh_token: str
    base_url: str
    proxies: Proxies
    home: HomeFolder
    wanted: Json

    async def check(self) -> Health:
        *_, lacks = await self._compare()
        return Health("slack app", "failing" if lacks else "on", lacks or say(_COMPLETE))

    async def update(self, shown: Sequence[str]) -> Health:
        """Add what the app lacks, and return what to do next. Raise BadInput unless `shown`, the
        findings that a person read, has all of it."""
        link, app, completed, lacks = await self._compare()
        if lacks and lacks not in shown:
            raise BadInput(_NOT_SHOWN)
        async with self._connect(await self._find_token(), _UPDATE_REFUSED) as api:
            answer = await api.call(
                "apps.manifest.update", app_id=app, manifest=json.dumps(completed)
            )
        sentence = _REINSTALL if answer.get("permissions_updated") else _UPDATED
        return Health("slack app", "on", say(sentence, link=link))

    async def _compare(self) -> tuple[str, str, Json, str]:
        """Return the address of the app's settings, its ID, its manifest completed (an update
        replaces the whole manifest), and a sentence on what it lacks; "" if nothing."""
        async with self._connect(self.bot_token, REFUSED_BOT) as api:
            identity, _ = await api.identify()
            app = await find_app(api, identity, self.app_token)
        async with self._connect(await self._find_token(), _APP_REFUSED) as api:
            answer = await api.call("apps.manifest.export", app_id=app)
        try:
            completed, additions = complete(answer["manifest"], self.wanted)
        except (KeyError, TypeError, AttributeError):
            raise SettingsError(_APP_REFUSED, error="unknown format") from None
        lacks = say(_LACKS, names=", ".join(additions)) if additions else ""
        return settings_link(identity["team_id"], app), app, completed, lacks

    @asynccontextmanager
    async def _connect(self, token: str, refusal: str) -> AsyncIterator[SlackApi]:
        """`refusal` is the sentence for an error that Slack names."""
        api = SlackApi(token, self.base_url, self.proxies)
        try:
            yield api
        except (SlackRefused, NotNow) as refused:
            raise SettingsError(refusal, error=refused.error) from None
        except (InDoubt, PlatformBusy) as error:
            raise SettingsError(SLACK_NO_ANSWER, url=self.base_url, error=error) from None
        finally:
            await api.close()

    async def _find_token(self) -> str:
        pasted = hashlib.sha256(self.refresh_token.encode()).hexdigest()
        tokens: Json = {}
        with suppress(OSError, ValueError, KeyError, TypeError):  # no file, or a damaged one
            stored = json.loads(await asyncio.to_thread((self.home.path / TOKENS_FILE).read_text))
            tokens = stored if stored["pasted"] == pasted else {}
            if tokens and tokens["exp"] > time.time() + _SPARE_SECONDS:
                return str(tokens["token"])
        refresh_token = tokens.get("refresh_token", self.refresh_token)
        async with self._connect("", _ROTATION_REFUSED) as api:
            answer = await api.call("tooling.tokens.rotate", refresh_token=refresh_token)
        try:
            names = ("token", "refresh_token", "exp")
            kept = {"pasted": pasted, **{name: answer[name] for name in names}}
        except KeyError:
            raise SettingsError(_ROTATION_REFUSED, error="unknown format") from None
        self.home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self.home.write_secret, TOKENS_FILE, json.dumps(kept).encode())
        return str(answer["token"])


def complete(installed: Any, wanted: Any, path: str = "") -> tuple[Any, Sequence[str]]:
    """Return `installed` with what `wanted` has and it lacks, and the names of that. What the team
    added or worded in another way stays; a switch is only turned on. Raise TypeError or
    AttributeError for parts of another form than in `wanted`."""
    kind = (
        dict if isinstance(wanted, dict) else list if isinstance(wanted, (list, tuple)) else object
    )
    if installed and not isinstance(installed, kind):
        raise TypeError(path)
    if isinstance(wanted, dict):
        result, additions = dict(installed or {}), list[str]()
        for name, value in wanted.items():
            result[name], added = complete(result.get(name), value, f"{path}.{name}".lstrip("."))
            additions += added
        return result, additions
    if isinstance(wanted, (list, tuple)):
        known = {_identify(item) for item in installed or ()}
        new = [item for item in wanted if _identify(item) not in known]
        return [*(installed or ()), *new], [_name(item) or path for item in new]
    if (wanted is True and installed is not True) or (wanted and installed is None):
        return wanted, [path]
    return (wanted if installed is None else installed), ()


def _name(item: Any) -> str:
    return item if isinstance(item, str) else str(item.get("name") or _identify(item))


def _identify(item: Any) -> str:
    """Suggested prompts have no name, so the team's own replace ours."""
    if isinstance(item, str):
        return item
    return str(item.get("command") or item.get("callback_id") or "")
