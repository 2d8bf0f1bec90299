"""Sign-in providers in ponte.toml: each mistake is an error with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.config.ponte_toml import Config, read_config
from bot.config.reload import check_secrets, misspelt_names
from bot.logs import Redaction
from bot.settings import Settings
from core.base.errors import SettingsError

ACME = {
    "issuer": '"https://login.example.com"',
    "client_id": '"ponte"',
    "secret": '"ACME_SECRET"',
    "anyone": "true",
}


def read(tmp_path: Path, name: str = "acme", **changed: str) -> Config:
    keys = {key: value for key, value in {**ACME, **changed}.items() if value}
    lines = [f"{key} = {value}" for key, value in keys.items()]
    path = tmp_path / "ponte.toml"
    path.write_text("\n".join([f"[sign_in.{name}]", *lines]))
    return read_config(path)


def test_a_provider_as_it_is_written(tmp_path: Path) -> None:
    config = read(tmp_path, label='"Acme"', anyone="", groups='["finance"]')
    provider = config.section("sign_in")["acme"].provider("acme", {"ACME_SECRET": "s"}.__getitem__)
    assert (provider.label, sorted(provider.groups)) == ("Acme", ["finance"])
    assert (provider.secret, "secret" in repr(provider)) == ("s", False)
    here = read(tmp_path, issuer='"http://127.0.0.1:8080/realms/a"').section("sign_in")["acme"]
    assert here.provider("acme", lambda _: "").label == "acme"


ONE_OF_THREE = 'write exactly one of domains = ["…"], groups = ["…"] and anyone = true'
TENANT = "isn't limited to your organization"
NO_DOMAIN = "with Entra, an email address doesn't prove its domain"


@pytest.mark.parametrize(
    ("changed", "line", "words"),
    [
        ({"anyone": ""}, 1, ONE_OF_THREE),
        ({"anyone": "false"}, 1, ONE_OF_THREE),
        ({"domains": '["example.com"]'}, 1, ONE_OF_THREE),
        ({"groups": '["a"]'}, 1, ONE_OF_THREE),
        ({"anyone": "", "domains": '["a.com"]', "groups": '["a"]'}, 1, ONE_OF_THREE),
        ({"anyone": "", "domains": '["Example.com"]'}, 5, "a lowercase domain"),
        ({"anyone": "", "domains": '["@example.com"]'}, 5, "a lowercase domain"),
        ({"anyone": "", "domains": '["com"]'}, 5, "a lowercase domain"),
        ({"issuer": '"http://login.example.com"'}, 2, "https://"),
        ({"issuer": '"login.example.com"'}, 2, "https://"),
        ({"issuer": '"https://login.example.com?a=b"'}, 2, "without a user name or query"),
        ({"issuer": '"https://me@login.example.com"'}, 2, "without a user name or query"),
        ({"issuer": '"https://login.microsoftonline.com/common/v2.0"'}, 2, TENANT),
        ({"issuer": '"https://login.microsoftonline.com/Organizations/v2.0"'}, 2, TENANT),
        ({"issuer": '"https://login.microsoftonline.us/consumers/v2.0"'}, 2, TENANT),
        (
            {"issuer": '"https://LOGIN.microsoftonline.com./common/v2.0"'},
            2,
            TENANT,
        ),
        (
            {
                "issuer": '"https://login.microsoftonline.com/T/v2.0"',
                "anyone": "",
                "domains": '["example.com"]',
            },
            1,
            NO_DOMAIN,
        ),
        (
            {
                "issuer": '"https://sts.windows.net/T/"',
                "anyone": "",
                "domains": '["example.com"]',
            },
            1,
            NO_DOMAIN,
        ),
        ({"client_id": '" "'}, 1, "client_id"),
        ({"client_id": ""}, 1, "this key is missing"),
        ({"secret": '"the secret itself"'}, 4, "write a variable's name"),
        ({"scope": '"openid"'}, 6, "unknown key; use one of issuer, client_id"),
        ({"anyone": '"yes"'}, 5, "write true or false"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, changed: dict[str, str], line: int, words: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, **changed)
    text = refused.value.words()
    assert text.startswith(f"ponte.toml:{line}: ")
    assert words in text
    assert "the secret itself" not in text


@pytest.mark.parametrize("name", ["slack", '"Acme"', '"a b"', '"a:b"', "x" * 33])
def test_names_that_no_provider_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, name)
    assert "write another name" in refused.value.words()


def test_a_secret_that_is_not_set_is_named_and_one_that_is_set_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, settings = read(tmp_path), Settings()
    fault = "ponte.toml:1: ACME_SECRET isn't set. Sign-in with acme needs it."
    assert list(misspelt_names(config, settings)) == [fault]
    monkeypatch.setenv("ACME_SECRET", "a-secret-of-acme-in-tests")
    assert list(misspelt_names(config, settings)) == []
    check_secrets(config, settings)
    assert "a-secret-of-acme" not in Redaction([]).of("with a-secret-of-acme-in-tests")
