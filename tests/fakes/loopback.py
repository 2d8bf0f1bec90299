"""Serve an application on loopback, as all doubles do."""

from __future__ import annotations

from aiohttp import web


async def serve_on_loopback(
    app: web.Application, port: int = 0, *, cancels: bool = False
) -> tuple[web.AppRunner, str]:
    """Start it; return what stops it (`cleanup`), and its origin. `cancels`: a handler whose caller
    hangs up is cancelled."""
    runner = web.AppRunner(app, handler_cancellation=cancels, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"
