"""Decides who signed in at a provider. Nothing here waits or asks a server.

OpenID Connect Core 1.0, section 3.1.3.7, lists the checks of an ID token.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from core.base.errors import Refusal
from core.base.proxies import is_loopback, is_reserved_address, parse_address
from core.base.text import to_one_line
from core.domain.messages import Person
from core.integrations import parse_url, plain_value
from core.people.rules import OIDC_PLATFORM
from core.people.sign_ins import Identity, escape_subject

if TYPE_CHECKING:
    from adapters.web.settings import WebSettings
    from core.integrations import OperatorConfig, SharedSettings

SLACK_NAME = "slack"
"""The name of sign-in with Slack. No provider of ponte.toml can have it."""
GOOGLE_ISSUER = "https://accounts.google.com"
CLOCK_TOLERANCE_SECONDS = 60
MAX_SUBJECT_CHARACTERS = 255
"""The limit of OpenID Connect Core 1.0, section 2."""
MAX_ACCOUNT_NAME_CHARACTERS = 80
MAX_GROUPS_CHARACTERS = 100_000
_SLACK_USER, _SLACK_WORKSPACE = re.compile("[UW][A-Z0-9]+"), re.compile("[TE][A-Z0-9]+")
SIGNING_ALGORITHMS = frozenset({
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
})  # fmt: skip
"""Algorithms with a public key. With the others, the token would be signed by whoever knows the
client's secret (HS256) or by nobody (none)."""
REDIRECT_ERRORS = frozenset(
    {
        "invalid_request",
        "unauthorized_client",
        "access_denied",
        "unsupported_response_type",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
    }
)
"""Errors of a redirect (RFC 6749, section 4.1.2.1). Anybody can send others, so none is logged."""
SIGN_IN_SENTENCES = {
    "expired": "This sign-in took too long, was already used, or started in another browser. Try "
    "again.",
    "denied": "You didn't finish signing in with {label}. Try again.",
    "again": "Sign in again to continue.",
    "provider": "{label} didn't sign you in. Try again. If the problem continues, contact the "
    "person who runs Ponte.",
    "away": "{label} isn't responding right now. Try again in a few minutes.",
    "setup": "Sign-in with {label} isn't set up correctly. Contact the person who runs Ponte.",
    "token": "Ponte can't verify the response from {label}. Try again. If the problem continues, "
    "contact the person who runs Ponte.",
    "clock": "The clocks of Ponte and {label} are {minutes} minutes apart. Contact the person "
    "who runs Ponte.",
    "workspace": "This account is from another Slack workspace. Sign in with your account in "
    "Ponte's workspace.",
    "domain": "You can't sign in here with this account. Use your company account, or contact "
    "the person who runs Ponte.",
    "group": "Your account isn't in any of the groups that can sign in here. Contact the person "
    "who runs Ponte.",
    "groups-missing": "{label} didn't report which groups you're in. Contact the person who runs "
    "Ponte.",
}


class SignInRefused(Refusal):
    """A sign-in that was refused. `reason` is a key of SIGN_IN_SENTENCES, `detail` is for the log.
    The value `label`, the provider's name, is set where the sentence is shown."""

    reason = ""
    detail = ""


def refusal(reason: str, detail: str = "", **values: object) -> SignInRefused:
    refused = SignInRefused(SIGN_IN_SENTENCES[reason], **{"label": "", **values})
    refused.reason, refused.detail = reason, detail
    return refused


@dataclass(frozen=True, slots=True)
class Provider:
    """A service whose accounts can sign in: Slack, or an OpenID Connect provider of ponte.toml.
    `label` is its name for people, `issuer` its address, `client_id` and `secret` those of Ponte
    there. Who of its accounts may sign in: those of `domains`, the members of `groups`, or
    `anyone`; only one of these is set. For Slack, whose people must be of one workspace, none
    is."""

    name: str
    label: str
    issuer: str
    client_id: str
    secret: str = field(repr=False)
    domains: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    anyone: bool = False

    @property
    def is_slack(self) -> bool:
        return self.name == SLACK_NAME


@dataclass(frozen=True, slots=True)
class Discovery:
    """The parts of a provider's discovery document that Ponte uses: the addresses for the browser
    (`authorization`), for tokens, and of its keys.

    `algorithms` can sign ID tokens. `has_pkce`: it checks a verifier (RFC 7636). `posts_secret`: it
    takes the client's secret in the body, and not in a header. `names_issuer`: it names itself in
    its redirect (RFC 9207). `has_groups`: it has a scope for the groups of an account.
    """

    authorization: str
    token: str
    keys: str
    algorithms: frozenset[str]
    has_pkce: bool
    posts_secret: bool
    names_issuer: bool
    has_groups: bool


def list_providers(
    settings: WebSettings, shared: SharedSettings, config: OperatorConfig, *, has_slack: bool = True
) -> Mapping[str, Provider]:
    """Return the providers by name, Slack first. `has_slack`: Ponte answers in Slack, which alone
    can tell later whether a person of Slack is still there."""
    sections = config.section("sign_in").items()
    # `variable` reads the environment variable with the provider's secret.
    providers = {name: section.provider(name, shared.variable) for name, section in sections}
    if settings.has_slack_sign_in and has_slack:
        # The issuer is the origin of Slack's API, https://slack.com, or that of a test server.
        parts = urlsplit(shared.slack_api_url)
        issuer, secret = f"{parts.scheme}://{parts.netloc}", settings.ponte_sign_in_slack_secret
        id = settings.ponte_sign_in_slack_id
        slack = Provider(SLACK_NAME, "Slack", issuer, id, plain_value(secret))
        providers = {SLACK_NAME: slack, **providers}
    return providers


def is_allowed_url(url: object, issuer: str) -> bool:
    """Ponte sends secrets to https addresses, and to http on this machine if the issuer is there
    too."""
    try:
        parts = parse_url(url if isinstance(url, str) else "", "https", "http")
    except ValueError:
        return False
    host = parts.hostname or ""
    with suppress(ValueError, OSError):  # a name and no address
        # Resolvers also take 2852039166 and 0xa9.254.43518 for an IPv4 address (inet_aton(3)).
        ipv4 = "" if ":" in host else socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
        if is_reserved_address(parse_address(ipv4 or host)):
            return False
    is_here = is_loopback(host) and is_loopback(urlsplit(issuer).hostname or "")
    return (parts.scheme == "https" or is_here) and "@" not in parts.netloc and not parts.fragment


def read_discovery(document: object, issuer: str) -> Discovery:
    """The document names the addresses to which Ponte sends secrets, so each must be safe. Raise
    SignInRefused if one is not, or if the document is of another issuer."""
    if not isinstance(document, dict):
        raise refusal("setup", "the discovery document is not a JSON object")
    if document.get("issuer") != issuer:
        named = to_one_line(str(document.get("issuer")), 200)
        raise refusal("setup", f"the discovery document names the issuer {named}")
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        # If the issuer is on this machine, http addresses on it are allowed, too.
        if not is_allowed_url(document.get(name), issuer):
            raise refusal("setup", f"{name} is not an https address")
    # Every provider must support RS256, so that counts where the field is missing.
    algorithms = document.get("id_token_signing_alg_values_supported", ["RS256"])
    allowed = SIGNING_ALGORITHMS.intersection(_texts(algorithms))
    if not allowed:
        raise refusal("setup", "ID tokens are not signed with a public key")
    methods = document.get("token_endpoint_auth_methods_supported")
    return Discovery(
        document["authorization_endpoint"],
        document["token_endpoint"],
        document["jwks_uri"],
        allowed,
        has_pkce="S256" in _texts(document.get("code_challenge_methods_supported")),
        posts_secret="client_secret_post" in _texts(methods),
        names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        has_groups="groups" in _texts(document.get("scopes_supported")),
    )


def authorization_url(
    provider: Provider,
    found: Discovery,
    parameters: Mapping[str, str],
    team: str = "",
    *,
    asks_groups: bool = False,
) -> str:
    """`team`: the Slack workspace whose sign-in Slack then shows. `asks_groups`: the person's
    groups are wanted, if the provider has them."""
    scope = "openid profile email"
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "scope": f"{scope} groups" if asks_groups and found.has_groups else scope,
        **({"team": team} if team else {}),
        **parameters,
    }
    join = "&" if urlsplit(found.authorization).query else "?"
    return f"{found.authorization}{join}{urlencode(query)}"


def check_redirect(provider: Provider, found: Discovery, query: Mapping[str, str]) -> str:
    """Raise SignInRefused, whose reason is the key of the sentence that the person reads.

    The issuer is compared so that an answer of one provider cannot be passed off as that of another
    (RFC 9207).
    """
    issuer = query.get("iss")
    if issuer != provider.issuer and (found.names_issuer or issuer is not None):
        raise refusal("token", "the redirect names another issuer")
    if error := query.get("error"):
        # For example login_required: with `prompt=none`, a provider may not ask the person.
        reason = "again" if error.endswith("_required") else "provider"
        reason = "denied" if error == "access_denied" else reason
        # Anybody can put any text into a redirect, so only the standard errors go to the log.
        raise refusal(reason, error if error in REDIRECT_ERRORS else "other")
    if not query.get("code"):
        raise refusal("provider", "the redirect has no code")
    return query["code"]


def identify(
    claims: Mapping[str, Any], provider: Provider, nonce: str, now: float, team: str = ""
) -> Identity:
    """Return who signed in by the claims of an ID token whose signature is valid. Raise
    SignInRefused. `team` is the id of Ponte's Slack workspace. The identity of a person of an OIDC
    provider also has the groups of the token, which are the person's groups at the provider."""
    _check_token(claims, provider, nonce, now)
    # `sub` is the id of the account at the provider. Names can change, it does not.
    subject = claims.get("sub")
    subject = subject if isinstance(subject, str) else ""
    # U+FFFD stands for halves of surrogate pairs, which may have differed.
    if not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or "\ufffd" in subject:
        raise refusal("token", "sub is not a text of 1 to 255 characters")
    names = _texts([claims.get("name"), claims.get("preferred_username"), subject])
    lines = (to_one_line(name, MAX_ACCOUNT_NAME_CHARACTERS) for name in names)
    name = next(filter(None, lines), provider.name)
    if provider.is_slack:
        user = claims.get("https://slack.com/user_id")
        home = claims.get("https://slack.com/team_id")
        # An `owner` would become the page's owner.
        if not isinstance(user, str) or not _SLACK_USER.fullmatch(user):
            raise refusal("token", "user_id is not an id of Slack")
        # Everybody with any Slack workspace could sign in otherwise.
        if not _SLACK_WORKSPACE.fullmatch(team) or home != team:
            raise refusal("workspace")
        return Identity(provider.name, Person("slack", user, workspace=team, name=name))
    groups = _check_admission(claims, provider)
    person = Person(OIDC_PLATFORM, f"{provider.name}:{escape_subject(subject)}", name=name)
    return Identity(provider.name, person, groups, provider.issuer)


def _check_token(claims: Mapping[str, Any], provider: Provider, nonce: str, now: float) -> None:
    """`nonce` was sent with this browser's request, and the token must repeat it. A claim of
    another type never passes."""
    audience = claims.get("aud")
    audiences = _texts([audience] if isinstance(audience, str) else audience)
    # A token for several programs must say that it was issued to this one.
    names_party = "azp" in claims or len(audiences) > 1
    rules = {
        "iss": claims.get("iss") == provider.issuer,
        "aud": provider.client_id in audiences,
        "azp": not names_party or claims.get("azp") == provider.client_id,
        "nonce": claims.get("nonce") == nonce,
    }
    for name, is_right in rules.items():
        if not is_right:
            raise refusal("token", f"{name} is another one")
    # `iat` is when it was issued, `exp` its end, `nbf` its beginning, which may be missing.
    issued, expires = _read_time(claims, "iat"), _read_time(claims, "exp")
    begins = _read_time(claims, "nbf") if "nbf" in claims else issued
    is_early = max(issued, begins) > now + CLOCK_TOLERANCE_SECONDS
    if is_early or expires <= now - CLOCK_TOLERANCE_SECONDS:
        # The provider issued the token a moment ago, so its time tells how far the clocks differ.
        minutes = max(1, round(abs(now - issued) / 60))
        raise refusal("clock", f"iat differs by {minutes} minutes", minutes=minutes)


def _check_admission(claims: Mapping[str, Any], provider: Provider) -> tuple[str, ...]:
    """Return the groups of somebody who may sign in by the rule of ponte.toml for this provider:
    anyone, accounts of some domains, or members of some groups. Raise SignInRefused."""
    # Some providers send one group as a text and not as a list.
    value, elsewhere = claims.get("groups"), claims.get("_claim_names")
    groups = tuple(_texts([value] if isinstance(value, str) else value))
    # Entra leaves the groups out if there are too many, and names an address of theirs instead.
    is_cut = "hasgroups" in claims or (isinstance(elsewhere, dict) and "groups" in elsewhere)
    # An incomplete list is worth nothing: it may lack the group that decides. A longer list than
    # Ponte stores with an account counts as incomplete.
    if is_cut or len("".join(groups)) > MAX_GROUPS_CHARACTERS:
        groups, is_cut = (), True
    if provider.groups and (is_cut or "groups" not in claims):
        raise refusal("groups-missing", f"groups is {'cut off' if is_cut else 'missing'}")
    is_admitted = (
        provider.anyone
        or _find_domain(claims, provider) in provider.domains
        or not provider.groups.isdisjoint(groups)
    )
    if not is_admitted:
        reason = "group" if provider.groups else "domain"
        raise refusal(reason, f"the {reason} is not in ponte.toml")
    return groups


def _find_domain(claims: Mapping[str, Any], provider: Provider) -> str:
    """Return the domain that an account belongs to, "" if none is proven.

    Google's `hd` is the organization that manages the account. Anybody can make an account of
    Google with an address of another domain, which lasts after the address was taken from them.
    """
    if provider.issuer == GOOGLE_ISSUER:
        return str(claims.get("hd")).lower()
    # Some providers send the boolean as a text, such as AWS Cognito.
    verified = claims.get("email_verified")
    is_verified = verified is True or verified == "true"
    email = str(claims.get("email")) if is_verified else ""
    return email.partition("@")[2].lower()


def _read_time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
        return value  # NaN is not below
    raise refusal("token", f"{name} is not a time")


def _texts(value: object) -> Sequence[str]:
    return (
        [element for element in value if isinstance(element, str)]
        if isinstance(value, list)
        else []
    )
