"""Who somebody is by the claims of an ID token, and which tokens are none."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from adapters.web.oidc.provider import (
    GOOGLE_ISSUER,
    Provider,
    SignInRefused,
    identify,
    read_discovery,
)
from adapters.web.oidc.tokens import UNKNOWN_KEY, read_claims
from core.domain.messages import Person
from tests.fakes.oidc import (
    LEFT_OUT,
    SLACK_TEAM,
    merge,
    new_ec_key,
    new_key,
    public_keys,
    sign_token,
    slack_account,
)

NOW = 1_800_000_000.0
ISSUER = "https://login.example"
CLAIMS = {
    "iss": ISSUER,
    "aud": "ponte",
    "sub": "42",
    "iat": NOW,
    "exp": NOW + 300,
    "nonce": "n",
    "name": "Ana",
    "email": "ana@example.com",
    "email_verified": True,
}


def provider(**more: Any) -> Provider:
    fields: dict[str, Any] = {"anyone": not more.keys() & {"domains", "groups"}, **more}
    fields = {
        name: frozenset(one) if isinstance(one, list) else one for name, one in fields.items()
    }
    return Provider(
        **{"name": "acme", "label": "Acme", "issuer": ISSUER, "client_id": "ponte", "secret": "s"}
        | fields
    )


SLACK = provider(name="slack", label="Slack", anyone=False)


def reason(claims: Mapping[str, Any], by: Provider, team: str = SLACK_TEAM) -> str:
    """Return the reason of the refusal, "" if the person is admitted."""
    try:
        identify(claims, by, "n", NOW, team)
    except SignInRefused as refused:
        return refused.reason if refused.words() else "no words"
    return ""


def test_who_it_is_with_oidc_and_with_slack() -> None:
    ana = identify({**CLAIMS, "groups": ["/finance"]}, provider(), "n", NOW)
    assert (ana.provider, ana.person, ana.groups) == (
        "acme",
        Person("oidc", "acme:42", name="Ana"),
        ("/finance",),
    )
    ana = identify({**CLAIMS, **slack_account()}, SLACK, "n", NOW, SLACK_TEAM)
    assert ana.person == Person("slack", "U1", SLACK_TEAM, "Ana")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"iss": "https://evil.example"}, "token"),
        ({"iss": f"{ISSUER}/"}, "token"),
        ({"iss": [ISSUER]}, "token"),  # CVE-2026-75509 of joserfc
        ({"iss": LEFT_OUT}, "token"),
        ({"aud": "other"}, "token"),
        ({"aud": LEFT_OUT}, "token"),
        ({"aud": {"ponte": 1}}, "token"),
        ({"aud": ["ponte"]}, ""),
        ({"aud": ["ponte", "other"]}, "token"),
        ({"aud": ["ponte", "other"], "azp": "ponte"}, ""),
        ({"aud": ["ponte", "other"], "azp": "other"}, "token"),
        ({"azp": "other"}, "token"),
        ({"azp": None}, "token"),
        ({"nonce": "another"}, "token"),
        ({"nonce": ["n"]}, "token"),
        ({"nonce": LEFT_OUT}, "token"),
        ({"exp": LEFT_OUT}, "token"),
        ({"exp": "9999999999"}, "token"),
        ({"exp": float("nan")}, "token"),
        ({"exp": float("inf")}, "token"),
        ({"iat": True}, "token"),
        ({"iat": NOW + 59}, ""),
        ({"iat": NOW + 61}, "clock"),
        ({"nbf": NOW + 61}, "clock"),
        ({"iat": NOW - 359, "exp": NOW - 59}, ""),
        ({"iat": NOW - 360, "exp": NOW - 60}, "clock"),
        ({"sub": ""}, "token"),
        ({"sub": 42}, "token"),
        ({"sub": ["42"]}, "token"),
        ({"sub": "4" * 300}, "token"),
        ({"sub": LEFT_OUT}, "token"),
        ({"sub": "4\ufffd2"}, "token"),
    ],
)
def test_claims_of_another_value_or_type_admit_nobody(
    changed: Mapping[str, Any], expected: str
) -> None:
    assert reason(merge(CLAIMS, changed), provider()) == expected


@pytest.mark.parametrize("seconds", [600, -600])
def test_a_clock_that_is_ten_minutes_off_is_named(seconds: int) -> None:
    claims = {**CLAIMS, "iat": NOW + seconds, "exp": NOW + seconds + 300}
    with pytest.raises(SignInRefused) as refused:
        identify(claims, provider(), "n", NOW)
    refused.value.values["label"] = "Acme"
    assert "The clocks of Ponte and Acme are 10 minutes apart." in refused.value.words()


@pytest.mark.parametrize(
    ("admitted", "changed", "expected"),
    [
        ({"domains": ["example.com"]}, {}, ""),
        ({"domains": ["example.com"]}, {"email": "ana@EXAMPLE.com"}, ""),
        ({"domains": ["example.com"]}, {"email_verified": "true"}, ""),
        ({"domains": ["example.com"]}, {"email_verified": "false"}, "domain"),
        ({"domains": ["example.com"]}, {"email_verified": "True"}, "domain"),
        ({"domains": ["example.com"]}, {"email_verified": 1}, "domain"),
        ({"domains": ["example.com"]}, {"email_verified": LEFT_OUT}, "domain"),
        ({"domains": ["example.com"]}, {"email": "ana@sub.example.com"}, "domain"),
        ({"domains": ["example.com"]}, {"email": "ana@example.com@evil.example"}, "domain"),
        ({"domains": ["example.com"]}, {"email": "example.com"}, "domain"),
        ({"domains": ["example.com"]}, {"email": ["ana@example.com"]}, "domain"),
        ({"domains": ["example.com"]}, {"email": LEFT_OUT, "hd": "example.com"}, "domain"),
        ({"groups": ["finance"]}, {"groups": ["finance", "it"]}, ""),
        ({"groups": ["finance"]}, {"groups": "finance"}, ""),
        ({"groups": ["finance"]}, {"groups": ["/finance"]}, "group"),
        ({"groups": ["finance"]}, {"groups": ["Finance"]}, "group"),
        ({"groups": ["finance"]}, {"groups": []}, "group"),
        ({"groups": ["finance"]}, {"groups": {"finance": True}}, "group"),
        ({"groups": ["finance"]}, {}, "groups-missing"),
        ({"groups": ["finance"]}, {"groups": ["finance"], "hasgroups": True}, "groups-missing"),
        (
            {"groups": ["finance"]},
            {"groups": ["finance"], "_claim_names": {"groups": "src1"}},
            "groups-missing",
        ),
        ({"groups": ["finance"]}, {"groups": ["finance"] * 20_000}, "groups-missing"),
        ({"anyone": False}, {}, "domain"),
    ],
)
def test_who_is_admitted(
    admitted: Mapping[str, Any], changed: Mapping[str, Any], expected: str
) -> None:
    assert reason(merge(CLAIMS, changed), provider(**admitted)) == expected


def test_at_google_only_the_organization_counts() -> None:
    """Anybody can make a private account of Google with an address of a company."""
    google = provider(issuer=GOOGLE_ISSUER, domains=["example.com"])
    claims = {**CLAIMS, "iss": GOOGLE_ISSUER}
    assert reason(claims, google) == "domain"
    assert reason({**claims, "hd": "example.com"}, google) == ""
    assert reason({**claims, "hd": "other.example"}, google) == "domain"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ""),
        ({"https://slack.com/team_id": "T0OTHER"}, "workspace"),
        ({"https://slack.com/team_id": [SLACK_TEAM]}, "workspace"),
        ({"https://slack.com/team_id": LEFT_OUT}, "workspace"),
        ({"https://slack.com/user_id": LEFT_OUT}, "token"),
        ({"https://slack.com/user_id": "U1:T2"}, "token"),
        ({"https://slack.com/user_id": "U1,web"}, "token"),
        ({"https://slack.com/user_id": ""}, "token"),
    ],
)
def test_only_people_of_pontes_own_workspace(changed: Mapping[str, Any], expected: str) -> None:
    """People of shared channels have the team of their own workspace."""
    assert reason(merge({**CLAIMS, **slack_account()}, changed), SLACK) == expected
    assert reason(merge({**CLAIMS, **slack_account()}, changed), SLACK, "") in (
        "workspace",
        "token",
    )


SUBJECTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), min_size=1, max_size=255
)


@given(SUBJECTS, SUBJECTS)
def test_no_two_subjects_have_one_key_and_none_looks_like_another(first: str, second: str) -> None:
    keys = []
    for subject in (first, second):
        person = identify({**CLAIMS, "sub": subject}, provider(), "n", NOW).person
        keys.append(person.key)
        assert person.key.startswith("oidc:acme:")
        assert person.key.count(":") == 2
        assert not set(person.key) & set(", \t\n\0\\/\"'<>*")
    assert (keys[0] == keys[1]) == (first == second)


def test_a_name_is_one_clean_line_and_never_an_email() -> None:
    def name(**changed: Any) -> str:
        return identify(merge(CLAIMS, changed), provider(), "n", NOW).person.name

    assert name(name="A\u202en\na\x1b[31m" + "x" * 300).startswith("An a")
    assert len(name(name="x" * 300)) <= 80
    assert name(name=LEFT_OUT, preferred_username="ana") == "ana"
    assert name(name=["Ana"]) == name(name="") == "42"


KEY = new_key()
FOREIGN = new_key()
EC = new_ec_key()
GIVEN = public_keys(KEY, EC)["keys"]


def make_unsigned(header: str, claims: str = "e30") -> str:
    return f"{base64.urlsafe_b64encode(header.encode()).rstrip(b'=').decode()}.{claims}."


def signed_with_the_public_key() -> str:
    """Return a token that takes the public key for a secret (HS256)."""
    text = make_unsigned('{"alg":"HS256","kid":"first"}').rstrip(".")
    digest = hmac.digest(KEY.as_pem(private=False), text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "token",
    [
        make_unsigned('{"alg":"none","kid":"first"}'),
        make_unsigned('{"alg":"None"}'),
        make_unsigned('{"alg":["RS256"]}'),
        make_unsigned("{}"),
        make_unsigned("[]"),
        signed_with_the_public_key(),
        sign_token(FOREIGN, {"sub": "1"}),
        sign_token(FOREIGN, {"sub": "1"}, jwk=FOREIGN.as_dict(private=False)),
        sign_token(FOREIGN, {"sub": "1"}, jku="https://evil.example/keys"),
        sign_token(FOREIGN, {"sub": "1"}, x5u="https://evil.example/cert"),
        sign_token(EC, {"sub": "1"}, alg="ES256", kid="first"),
        sign_token(KEY, {"sub": "1"}, alg="RS384"),
        sign_token(KEY, {"sub": "1"}, crit=[]),
        sign_token(KEY, {"sub": "1"})[:-8] + "AAAAAAAA",
        sign_token(KEY, {"sub": "1"}).rpartition(".")[0] + ".",
        "",
        "a.b.c",
        "e30.e30.e30.e30.e30",
    ],
    ids=lambda _: "token",  # keys are new in each process
)
def test_tokens_that_the_provider_did_not_sign(token: str) -> None:
    with pytest.raises(SignInRefused) as refused:
        read_claims(token, GIVEN, {"RS256", "ES256"})
    assert refused.value.reason == "token"


def test_keys_that_are_not_for_signatures_are_not_used() -> None:
    token = sign_token(KEY, {"sub": "1"})
    assert read_claims(token, GIVEN, {"RS256"}) == {"sub": "1"}
    for changed in ({"use": "enc"}, {"alg": "RS512"}, {"kid": "second"}, {"kty": "oct", "k": "AA"}):
        with pytest.raises(SignInRefused) as refused:
            read_claims(token, [{**GIVEN[0], **changed}], {"RS256"})
        assert refused.value.detail == UNKNOWN_KEY
    broken = {**GIVEN[0], "n": "!"}
    with pytest.raises(SignInRefused):
        read_claims(token, [broken], {"RS256"})


def test_a_key_without_an_id_is_tried_for_a_token_that_names_one() -> None:
    unnamed = {name: value for name, value in GIVEN[0].items() if name != "kid"}
    assert read_claims(sign_token(KEY, {"sub": "1"}), [unnamed], {"RS256"}) == {"sub": "1"}
    with pytest.raises(SignInRefused) as refused:
        read_claims(sign_token(FOREIGN, {"sub": "1"}), [unnamed], {"RS256"})
    assert refused.value.detail == UNKNOWN_KEY, "the provider may have another key by now"


def test_a_token_without_a_key_id_is_tried_with_each_key() -> None:
    token = sign_token(KEY, {"sub": "1"}, kid=LEFT_OUT)
    keys = public_keys(new_key("a"), KEY, EC)["keys"]
    assert read_claims(token, keys, {"RS256", "ES256"}) == {"sub": "1"}
    with pytest.raises(SignInRefused):
        read_claims(sign_token(FOREIGN, {}, kid=LEFT_OUT), keys, {"RS256"})
    other_curve = ECKey.generate_key("P-384", {"kid": "b"})
    odd: list[dict[str, Any]] = [{"kty": "EC"}, {"kty": "EC", "crv": "P-256", "x": 7, "y": "!"}]
    keys = [*odd, *public_keys(other_curve, EC)["keys"]]
    token = sign_token(EC, {"sub": "1"}, alg="ES256", kid=LEFT_OUT)
    assert read_claims(token, keys, {"ES256"}) == {"sub": "1"}


DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize?tenant=1",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": "https://keys.example/keys",
}


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://evil.example"},
        {"issuer": f"{ISSUER}/"},
        {"issuer": [ISSUER]},
        {"token_endpoint": "http://login.example/token"},
        {"token_endpoint": "http://127.0.0.1/token"},
        {"token_endpoint": "https:///token"},
        {"token_endpoint": "https://169.254.169.254/token"},
        {"jwks_uri": "https://[::ffff:169.254.169.254]/keys"},
        {"token_endpoint": "https://2852039166/token"},
        {"token_endpoint": "https://0xa9.254.43518/token"},
        {"token_endpoint": "https://169.254.169.254./token"},
        {"jwks_uri": "https://[fe80::1]/keys"},
        {"jwks_uri": "https://0.0.0.0/keys"},
        {"token_endpoint": "https://ponte:secret@login.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": LEFT_OUT},
        {"authorization_endpoint": ["https://login.example"]},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://login.example:0/x"},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
        {"id_token_signing_alg_values_supported": "RS256"},
    ],
)
def test_a_discovery_document_that_is_not_used(changed: Mapping[str, Any]) -> None:
    with pytest.raises(SignInRefused) as refused:
        read_discovery(merge(DOCUMENT, changed), ISSUER)
    assert refused.value.reason == "setup"


def test_a_discovery_document_on_this_machine_may_use_http() -> None:
    here = "http://127.0.0.1:8080"
    document = {name: str(url).replace(ISSUER, here) for name, url in DOCUMENT.items()}
    assert read_discovery(document, here).token == f"{here}/token"
    assert read_discovery(DOCUMENT, ISSUER).algorithms == {"RS256"}
    others: tuple[object, ...] = (None, [], "x", 7)
    for other in others:
        with pytest.raises(SignInRefused):
            read_discovery(other, ISSUER)
