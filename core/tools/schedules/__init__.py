"""The tools with which a model proposes and lists schedules and reminders."""

SCHEDULE_TOOLS = ("schedule_propose", "schedule_list")
"""The names of the tools, for rules in ponte.toml."""
