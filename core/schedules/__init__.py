"""Schedules: how they are proposed, changed and listed, and the turns of their runs."""

SCHEDULE_TOOLS = ("schedule_propose", "schedule_list")
