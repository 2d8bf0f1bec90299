from tests.web.conftest import _uvicorn_ends_at_once, ponte  # noqa: F401 - fixtures
