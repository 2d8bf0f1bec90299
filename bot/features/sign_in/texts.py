"""The texts of sign-in."""

from __future__ import annotations

from bot.operation_texts import AUDIT_SENTENCES, TEXTS, make_sentence

AUDIT_SENTENCES["provider-moved"] = "{asker} moved the sign-in {provider} to {issuer}"
TEXTS["people move-provider"] = make_sentence("People of {name} now sign in with {issuer}.")
TEXTS["people readmit"] = make_sentence("{name} can sign in again.")
