"""Sign-in to the page with a company's accounts: `[page]` and `[sign_in.NAME]` of ponte.toml."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, StrictBool

from bot.config.toml_values import StrictSection, VariableName
from bot.features.base import Feature
from core.base.i18n import say
from core.integrations import Integration, SettingsPart, SharedSettings, must_match
from core.people.rules import OIDC_PLATFORM, OIDC_RIGHTS
from core.people.sign_ins import SIGN_INS_TABLE

if TYPE_CHECKING:
    from adapters.web.oidc.provider import Provider

_UNSET = "{where}: {variable} isn't set. Sign-in with {name} needs it."
ENTRA_HOSTS = (
    "microsoftonline.com",
    "microsoftonline.us",
    "microsoftonline.de",
    "microsoftonline.cn",
    "chinacloudapi.cn",
    "sts.windows.net",
    "ciamlogin.com",
)
"""The hosts of Microsoft Entra, with the national clouds."""
ENTRA_SHARED_TENANTS = frozenset(
    {"common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"}
)
"""These tenants are not one organization. The last is that of private accounts."""


def _check_issuer(value: str) -> str:
    """Return a provider's address if Ponte may trust its accounts: it uses https, and, at Microsoft
    Entra, belongs to one organization. pydantic turns the ValueError into the operator's line."""
    # Loaded only if ponte.toml has a provider.
    from adapters.web.oidc.provider import is_allowed_url

    # The second argument is the provider's own address (the issuer), here the same one. Plain http
    # passes only if both are on this machine, a user name (`name@`) never. A query is refused,
    # because Ponte appends a path to the address.
    if not is_allowed_url(value, value) or "?" in value:
        raise ValueError("write an address that starts with https://, without a user name or query")
    tenants = {*urlsplit(value).path.lower().split("/")} & ENTRA_SHARED_TENANTS
    if is_entra_issuer(value) and tenants:
        words = (
            "{name} isn't limited to your organization; write your tenant's ID, as in "
            "https://login.microsoftonline.com/TENANT-ID/v2.0"
        )
        raise ValueError(say(words, name=repr(min(tenants))))
    return value


def is_entra_issuer(issuer: str) -> bool:
    """Return whether this is Microsoft Entra, where a tenant's admin can write any address into the
    claim `email`."""
    host = (urlsplit(issuer).hostname or "").rstrip(".")
    return any(host == one or host.endswith(f".{one}") for one in ENTRA_HOSTS)


ProviderName = Annotated[
    str,
    must_match(
        "(?!slack$)[a-z0-9][a-z0-9-]{0,31}",
        "write another name, of up to 32 lowercase letters, digits and hyphens; sign-in with "
        "Slack needs no section: set PONTE_SIGN_IN_SLACK_ID and PONTE_SIGN_IN_SLACK_SECRET",
    ),
]
"""Up to 32 lowercase letters, digits and hyphens; not `slack`."""
Issuer = Annotated[str, AfterValidator(_check_issuer)]
"""The https address by which a provider names itself, as in `https://login.example.com`."""
Domain = Annotated[
    str,
    must_match(r"[a-z0-9-]+(\.[a-z0-9-]+)+", "write a lowercase domain, such as example.com"),
]
"""A domain in lowercase letters, as in `example.com`."""


@dataclass(frozen=True, slots=True)
class PageConfig(StrictSection):
    """The page for people."""

    links: StrictBool = True
    """false: nobody signs in with a link of `ponte people add`; the owner still does"""


@dataclass(frozen=True, slots=True)
class SignInConfig(StrictSection):
    """A provider of accounts (OpenID Connect) with which people sign in to the page.

    Set exactly one of `domains`, `groups` and `anyone`.
    """

    issuer: Issuer
    """the provider's address, as its discovery document names it"""
    client_id: str
    """the ID of the application that you registered at the provider"""
    secret: VariableName
    """the environment variable with the application's secret"""
    label: str = ""
    """the provider's name on the button; default: the section's name"""
    domains: tuple[Domain, ...] = ()
    """whose accounts can sign in: Google's `hd`, elsewhere the domain of a verified email"""
    groups: tuple[str, ...] = ()
    """whose members can sign in, as the claim `groups` of the ID token names them"""
    anyone: StrictBool = False
    """true: everybody with an account at the provider can sign in"""

    def __post_init__(self) -> None:
        """Raise ValueError unless the section has exactly one rule for who may sign in, and the
        provider's tokens can prove it. Pydantic turns it into a line for the operator."""
        if [bool(self.domains), bool(self.groups), self.anyone].count(True) != 1:
            raise ValueError(
                'write exactly one of domains = ["…"], groups = ["…"] and anyone = true'
            )
        if self.domains and is_entra_issuer(self.issuer):
            raise ValueError(
                "with Entra, an email address doesn't prove its domain; write groups = "
                '["…"], or anyone = true for all accounts of the tenant'
            )
        if not self.client_id.strip():
            raise ValueError("write the application's client_id")

    def provider(self, name: str, variable: Callable[[str], str]) -> Provider:
        """`variable` returns the value of an environment variable, such as that of `secret`."""
        # Loaded only if ponte.toml has a provider.
        from adapters.web.oidc.provider import Provider

        return Provider(
            name,
            self.label.strip() or name,
            self.issuer,
            self.client_id,
            variable(self.secret),
            frozenset(self.domains),
            frozenset(self.groups),
            self.anyone,
        )


class SignInIntegration(Integration[SettingsPart]):
    """The people of all providers: one platform, on which nobody writes."""

    name = OIDC_PLATFORM
    settings = SettingsPart
    rights = OIDC_RIGHTS
    ids = r"[a-z0-9_-]+:(?:[^:,\s]+|group:[^,]+)"

    def summary(self, own: SettingsPart, shared: SharedSettings) -> None:
        """The page's check tells about providers."""


class SignInFeature(Feature):
    """Reads the providers in ponte.toml, and checks their secrets."""

    def list_secrets(self, config: Any) -> Iterator[tuple[str, bool]]:
        for provider in config.sign_in.values():
            yield provider.secret, True

    def find_faults(self, config: Any, settings: Any) -> Iterator[str]:
        for name, provider in config.sign_in.items():
            if not settings.variable(provider.secret):
                where, variable = config.location("sign_in", name), provider.secret
                yield say(_UNSET, where=where, variable=variable, name=name)


FEATURE = SignInFeature(
    integration=SignInIntegration(),
    tables=(SIGN_INS_TABLE,),
    tables_after="api_tokens",
    sections={"page": PageConfig, "sign_in": Mapping[ProviderName, SignInConfig]},
    audit_sentences={
        "person-added": "{asker} invited {person}",
        "person-link-renewed": "{asker} renewed {person}'s sign-in link",
        "person-removed": "{asker} removed {person}",
        "person-signed-in": "{person} signed in",
        "person-sessions-ended": "{person} signed out everywhere",
        "api-token-added": "{asker} created an API token for {person}",
        "api-token-revoked": "{asker} revoked one of {person}'s API tokens",
        "provider-moved": "{asker} moved the sign-in provider {provider} to {issuer}",
    },
)
