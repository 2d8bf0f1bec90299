"""The settings of the page."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator
from pydantic_core.core_schema import ValidationInfo

from core.base.proxies import is_loopback
from core.integrations import Origin, SettingsPart, Switch, plain_value, setting, token_fault


class WebSettings(SettingsPart):
    """The settings of the page."""

    ponte_web: Switch = setting("on", "whether the web page and HTTP API are served: on, off")
    ponte_web_host: str = setting("127.0.0.1", "address that the web page listens on")
    ponte_web_port: int = setting(
        8080, "port that the web page listens on", "write a port, 0 to 65535", ge=0, le=65535
    )
    ponte_web_url: Origin | None = setting(
        None, "public origin of the page behind a proxy, as in https://ponte.example.com"
    )
    ponte_web_token: SecretStr | None = setting(
        None,
        "the owner's token for the page, at least 20 characters. Without it, Ponte creates one at "
        "the first start (`ponte link` shows it). Required if other machines can connect.",
    )

    ponte_setup: Switch | None = setting(
        None,
        "setup in the page: on (then also behind an https proxy), off; without it only "
        "where nobody but this machine can open the page",
    )

    @field_validator("ponte_web_token")
    @classmethod
    def _check_token(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Return the token of PONTE_WEB_TOKEN. Raise ValueError if it is weak, or missing where
        others than this machine can open the page."""
        host, url = info.data.get("ponte_web_host", "127.0.0.1"), info.data.get("ponte_web_url")
        if value is not None and (wrong := token_fault(plain_value(value))):
            raise ValueError(wrong)
        if info.data.get("ponte_web") != "on" or value is not None:
            return value
        # Without a token, Ponte creates one, which is enough while only this machine can connect.
        if not is_loopback(host) or (url and not is_loopback(urlsplit(url).hostname or "")):
            raise ValueError(
                "write at least 20 random letters and digits, as `openssl rand -hex 16` gives "
                "them: PONTE_WEB_HOST or PONTE_WEB_URL lets others open the page"
            )
        return value

    ponte_sign_in_slack_id: str = setting(
        "", "client ID of your Slack app, for sign-in with Slack (docs/guides/sign-in.md)"
    )
    ponte_sign_in_slack_secret: SecretStr | None = setting(
        None, "client secret of your Slack app, for sign-in with Slack"
    )

    @field_validator("ponte_sign_in_slack_secret")
    @classmethod
    def _check_sign_in(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # Pydantic checks fields in their order, so the id is known here.
        if bool(value) != bool(info.data.get("ponte_sign_in_slack_id")):
            raise ValueError("set it together with PONTE_SIGN_IN_SLACK_ID, or remove both")
        return value

    @property
    def has_slack_sign_in(self) -> bool:
        is_public = (self.ponte_web_url or "").startswith("https://") and self.ponte_web == "on"
        return is_public and self.ponte_sign_in_slack_secret is not None

    @property
    def guide_url(self) -> str:
        """The public address of the guide for people who chat; "" if others cannot open it."""
        url = self.ponte_web_url
        return f"{url}/guide" if url and self.ponte_web == "on" else ""

    def page_url(self, listening: str = "") -> str:
        """Return the address of the page as a browser opens it: the public origin if one is set,
        else `listening`, the address at which the page really listens. An address that means all of
        the machine's addresses cannot be opened, so loopback takes its place there.

        Without `listening`, return that of the settings as they are: port 0 stands for one that the
        system chooses later.
        """
        if not listening:
            host = self.ponte_web_host
            return self.ponte_web_url or (
                f"http://{f'[{host}]' if ':' in host else host}:{self.ponte_web_port}"
            )
        for anywhere, here in (("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
            listening = listening.replace(anywhere, here)
        return self.ponte_web_url or listening
