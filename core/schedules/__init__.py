"""Schedules: messages that are sent at set times."""
