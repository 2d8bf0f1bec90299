"""The texts of backups."""

from __future__ import annotations

from bot.operation_texts import AUDIT_SENTENCES

AUDIT_SENTENCES["backup-restored"] = "{asker} restored a backup from {backup_time}"
