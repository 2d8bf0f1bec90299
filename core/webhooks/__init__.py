"""Webhooks: messages that other programs send."""
