"""The one time limit of everything in the doubles that waits for the bot."""

HANG_TIMEOUT_SECONDS: float | None = None
"""No limit: pytest ends a test that hangs (`timeout` in pyproject.toml).

A limit of its own would make a test depend on the speed of the machine.
"""
