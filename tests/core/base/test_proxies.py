"""Which requests go through a proxy."""

from __future__ import annotations

import pytest

from core.base.http import Proxies

PROXIES = Proxies("http://secure:1", "http://plain:2", "internal.example, .corp,h:8080, [::1]")


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://slack.com/api/", "http://secure:1"),
        ("wss://gateway.discord.gg/", "http://secure:1"),
        ("http://example.org/", "http://plain:2"),
        ("https://internal.example/x", None),
        ("https://a.internal.example/x", None),
        ("https://notinternal.example/x", "http://secure:1"),
        ("https://HOST.CORP/", None),
        ("http://h:8080/", None),
        ("http://h/", "http://plain:2"),
        ("http://[::1]:3000/", None),
    ],
)
def test_no_proxy_is_kept_to(url: str, proxy: str | None) -> None:
    assert PROXIES.for_url(url) == proxy


def test_star_and_nothing_set_connect_directly() -> None:
    assert Proxies("http://p", "http://p", "*").for_url("https://a") is None
    assert Proxies().for_url("https://a") is None


def test_a_proxys_password_is_not_shown() -> None:
    assert "hunter2" not in repr(Proxies("http://u:hunter2@p"))
