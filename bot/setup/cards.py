"""The cards of the set-up page, and the settings that it may store."""

from __future__ import annotations

from collections.abc import Mapping

from bot.features.base import SetupCard, find_features

CARDS: Mapping[str, SetupCard] = {
    feature.card.name: feature.card for feature in find_features() if feature.card
}
"""The cards by the name of their integration, in the order of the page."""
PEOPLE_SETTINGS = ("ponte_allow", "ponte_admins", "ponte_sample")
"""Who may do what. The page writes them when a person of a chat platform is chosen."""
SETUP_NAMES = frozenset(
    [*(field.setting for card in CARDS.values() for field in card.fields), *PEOPLE_SETTINGS]
)
"""All settings that the page may store. None of them names a folder, a database, a proxy or the
page itself."""
