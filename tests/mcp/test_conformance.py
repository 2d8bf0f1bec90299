"""The conformance suite of the Model Context Protocol against `/mcp`, for both kinds of protocol
version: with sessions and without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from adapters.mcp_server.endpoint import HttpAnswer, McpEndpoint
from tests.mcp.client import run_ponte
from tests.mcp.conformance import check_server, missing

NOT_OFFERED = {
    "Ponte has no prompts": {
        *("prompts-list", "prompts-get-simple", "prompts-get-with-args"),
        *("prompts-get-embedded-resource", "prompts-get-with-image"),
        "sep-2549-prompts-list-caching-hints",
    },
    "Ponte has no resources": {
        *("resources-list", "resources-read-text", "resources-read-binary"),
        *("resources-templates-read", "resources-subscribe", "resources-unsubscribe"),
        "sep-2549-resources-list-caching-hints",
        "sep-2549-resources-templates-list-caching-hints",
    },
    "Ponte completes nothing, and sends no log": {"completion-complete", "logging-set-level"},
    "the suite looks for tools of its own": {
        *("tools-call-image", "tools-call-audio", "tools-call-embedded-resource"),
        *("tools-call-mixed-content", "tools-call-with-logging", "tools-call-with-progress"),
        *("tools-call-sampling", "tools-call-elicitation", "json-schema-2020-12-tool-found"),
        *("elicitation-sep1034-general", "elicitation-sep1330-general"),
        *("sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"),
        *("sep-2243-server-no-xmcp-tool", "sep-2243-server-decode-base64"),
        *("sep-2243-server-validate-param-match", "sep-2243-server-reject-invalid-param-chars"),
        "sep-2243-server-reject-param-mismatch",
        *("sep-2322-elicitation-incomplete", "sep-2322-list-roots-incomplete"),
        *("sep-2322-sampling-incomplete", "sep-2322-respect-client-capabilities"),
        *("sep-2322-multi-round-r1", "sep-2322-multiple-inputs-incomplete"),
        *("sep-2322-non-tool-incomplete", "sep-2322-request-state-incomplete"),
        *("sep-2322-result-type-included", "sep-2322-reject-tampered-state"),
    },
}
"""The checks that fail, because they are of what Ponte does not offer."""


@pytest.mark.slow
async def test_the_conformance_suite_finds_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why := missing():
        pytest.skip(why)
    token, handle = "", McpEndpoint.handle

    async def add_token(
        endpoint: McpEndpoint, headers: Mapping[str, str], body: bytes
    ) -> HttpAnswer:
        """Answer a request of the suite, which can send no token."""
        return await handle(endpoint, {**headers, "authorization": f"Bearer {token}"}, body)

    monkeypatch.setattr(McpEndpoint, "handle", add_token)
    succeeded, failed = set[str](), set[str]()
    async with run_ponte(tmp_path / "home") as ponte:
        token = await ponte.create_token()
        for version in ("2025-11-25", "2026-07-28"):
            results = await check_server(f"{ponte.url}/mcp", version, tmp_path / version)
            succeeded |= results["SUCCESS"]
            failed |= results["FAILURE"]
    assert failed == set[str]().union(*NOT_OFFERED.values())
    expected = {"server-initialize", "tools-list", "localhost-host-rebinding-rejected"}
    assert expected <= succeeded
