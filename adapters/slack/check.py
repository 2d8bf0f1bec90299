"""The token's trial: at start, and for `ponte doctor`, each failure with what mends it."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.slack.api import Json, SlackApi
from adapters.slack.manifest import SCOPES, SOCKET_SCOPE
from adapters.slack.refusals import InDoubt, SlackRefused, TokenRefused
from core.errors import PlatformBusy, SettingsError
from core.proxies import Proxies
from core.records import Health

REFUSED_BOT = (
    "SLACK_BOT_TOKEN: Slack refuses it ({error}). Copy the Bot User OAuth Token (xoxb-…) from "
    "OAuth & Permissions; install the app to the workspace first."
)
REFUSED_APP = (
    "SLACK_APP_TOKEN: Slack refuses it ({error}). Under Basic Information, generate an "
    "app-level token (xapp-…) with the scope connections:write."
)
NO_SOCKET_MODE = (
    "SLACK_APP_TOKEN: the app has no Socket Mode ({error}). Turn it on under Socket Mode, "
    "or unset it and set SLACK_SIGNING_SECRET for HTTP."
)
NO_ANSWER = "Slack does not answer at {url} ({error}). Check the network and SLACK_API_URL."
MISSING = (
    "missing: {scope} ({what}). Add it under OAuth & Permissions and install the app again, "
    "or paste the manifest of `ponte slack-manifest`."
)
_SOCKET_OFF = frozenset({"not_allowed_token_type", "forbidden_team"})
"""docs.slack.dev/reference/methods/apps.connections.open."""


async def identity(api: SlackApi) -> tuple[Json, frozenset[str]]:
    """Who we are, by auth.test, and the token's scopes. Raises SettingsError, or InDoubt where
    Slack does not answer."""
    try:
        return await api.scopes()
    except (SlackRefused, TokenRefused) as refused:
        raise SettingsError(REFUSED_BOT, error=refused.error) from None


async def socket_url(app_api: SlackApi) -> str:
    """Where a socket may be opened (apps.connections.open). Raises SettingsError or InDoubt."""
    try:
        return str((await app_api.call("apps.connections.open"))["url"])
    except (SlackRefused, TokenRefused) as refused:
        sentence = NO_SOCKET_MODE if refused.error in _SOCKET_OFF else REFUSED_APP
        raise SettingsError(sentence, error=refused.error) from None


async def check(
    bot_token: str, app_token: str, signing_secret: str, base_url: str, proxies: Proxies
) -> Sequence[Health]:
    """Each setting against the live service, for the operator."""
    found: list[Health] = []
    api, app_api = SlackApi(bot_token, base_url, proxies), SlackApi(app_token, base_url, proxies)
    try:
        found += await _bot(api)
        if app_token:
            await socket_url(app_api)
            found.append(Health("slack socket", "on", f"Socket Mode, scope {SOCKET_SCOPE}"))
        elif signing_secret:
            found.append(Health("slack http", "on", "requests are verified at /slack/events"))
        else:
            found.append(Health("slack socket", "failing", "set SLACK_APP_TOKEN (Socket Mode) "
                                "or SLACK_SIGNING_SECRET (HTTP)"))  # fmt: skip
    except SettingsError as error:
        found.append(Health("slack", "failing", error.words()))
    except (InDoubt, PlatformBusy) as error:
        words = NO_ANSWER.format(url=base_url, error=error)
        found.append(Health("slack", "failing", words))
    finally:
        await api.close()
        await app_api.close()
    return found


async def _bot(api: SlackApi) -> Sequence[Health]:
    told, scopes = await identity(api)
    name = f"{told.get('user')} in {told.get('team')} ({told.get('team_id')})"
    missing = [
        Health("slack scope", "failing", MISSING.format(scope=scope, what=what))
        for scope, what in SCOPES.items()
        if scope not in scopes
    ]
    return [Health("slack token", "on", name), *missing]
