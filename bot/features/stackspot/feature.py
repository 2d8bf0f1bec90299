"""StackSpot's quick commands and agents."""

from __future__ import annotations

from bot.features.base import Feature, SetupCard, SetupField
from core.tools.stackspot import QUICK_COMMAND_RUN, STACKSPOT

FEATURE = Feature(
    integration=STACKSPOT,
    kinds={"run": QUICK_COMMAND_RUN},
    card=SetupCard(
        "stackspot",
        "StackSpot",
        "M13 3L5 14h6l-1 7 8-11h-6z",
        "Runs StackSpot's quick commands and agents.",
        (
            "Open your profile in [StackSpot AI](https://ai.stackspot.com).",
            "Under Access Token, copy the client ID and the client key.",
        ),
        (
            SetupField("stackspot_client_id", words="Client ID"),
            SetupField("stackspot_client_secret", words="Client key", is_secret=True),
            SetupField("stackspot_realm", words="Realm"),
        ),
    ),
)
