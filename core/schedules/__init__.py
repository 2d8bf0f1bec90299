"""Schedules: how they are proposed, changed and listed, and the turns of their runs."""

SCHEDULE_TOOLS = ("schedule_propose", "schedule_list")
"""The names of the model's tools, for rules in ponte.toml."""
