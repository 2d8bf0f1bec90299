"""Slack: mention it, write to it, and it answers in the thread.

`adapter.SlackAdapter` is the `Platform`; slack-bolt is known to `bolt` and `api` alone, which are
imported in a thread when the adapter starts.
"""
