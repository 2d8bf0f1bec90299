"""Processes that can harm nobody: what holds them, how that is proved, and which one to use."""
