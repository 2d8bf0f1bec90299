"""The texts of the sample tables."""

from __future__ import annotations

from bot.operation_texts import AUDIT_SENTENCES, TEXTS, make_sentence

AUDIT_SENTENCES["sample-reset"] = "{asker} restored the sample tables"
TEXTS["sample reset"] = make_sentence(
    "Restored the sample tables. Earlier changes to them can no longer be approved or undone."
)
