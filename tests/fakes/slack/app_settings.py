"""The configuration of the app, as its owner's configuration token reads and replaces it."""

from __future__ import annotations

import json
import time
from itertools import count

from .records import APP_ID, Json, SlackErrorResponse

METHODS = ("tooling.tokens.rotate", "apps.manifest.export", "apps.manifest.update")


class AppSettings:
    """A refresh token works once. `manifest` is what the app has: an update replaces all of it."""

    def __init__(self) -> None:
        self.manifest: Json = {}
        self.refresh_token = "xoxe-1-first"
        self.token = ""
        self._numbers = count(1)

    def run(self, method: str, args: Json, token: str) -> Json:
        if method == "tooling.tokens.rotate":
            if args.get("refresh_token") != self.refresh_token:
                raise SlackErrorResponse("invalid_refresh_token")
            number = next(self._numbers)
            self.refresh_token, self.token = f"xoxe-1-{number}", f"xoxe.xoxp-1-{number}"
            times = {"iat": int(time.time()), "exp": int(time.time()) + 43_200}
            return {"token": self.token, "refresh_token": self.refresh_token, **times}
        if not token or token != self.token:
            raise SlackErrorResponse("invalid_auth" if token else "not_authed")
        if args.get("app_id") != APP_ID:
            raise SlackErrorResponse("invalid_app_id")
        if method == "apps.manifest.export":
            return {"manifest": self.manifest}
        before, self.manifest = self.manifest, json.loads(args["manifest"])
        if "display_information" not in self.manifest:
            raise SlackErrorResponse("invalid_manifest")
        is_wider = _scopes(self.manifest) != _scopes(before)
        return {"app_id": APP_ID, "permissions_updated": is_wider}


def _scopes(manifest: Json) -> list[str]:
    return sorted(manifest.get("oauth_config", {}).get("scopes", {}).get("bot", []))
