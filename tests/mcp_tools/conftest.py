import pytest


@pytest.fixture(autouse=True)
def desk_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_TOKEN", "desk-token-0123456789")
