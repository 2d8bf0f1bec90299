"""`ponte backup`, `ponte restore` and `ponte migrate`."""

from __future__ import annotations

from bot.features.base import Feature


class BackupFeature(Feature):
    pass


FEATURE = BackupFeature()
