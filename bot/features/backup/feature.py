"""`ponte backup`, `ponte restore` and `ponte migrate`."""

from __future__ import annotations

from bot.features.base import Feature

FEATURE = Feature(
    audit_sentences={"backup-restored": "{asker} restored a backup from {backup_time}"}
)
