"""StackSpot's quick commands and agents."""

from __future__ import annotations

from bot.features.base import Feature, SetupCard, SetupField, SetupLink
from core.tools.stackspot import QUICK_COMMAND_RUN, STACKSPOT

FEATURE = Feature(
    integration=STACKSPOT,
    kinds={"run": QUICK_COMMAND_RUN},
    card=SetupCard(
        "stackspot",
        "StackSpot",
        "Runs StackSpot's quick commands and agents.",
        "A client ID and a client key. StackSpot AI shows them in your profile under Access Token.",
        (
            SetupField("stackspot_client_id", words="Client ID"),
            SetupField("stackspot_client_secret", words="Client key", is_secret=True),
            SetupField("stackspot_realm", words="Realm"),
        ),
        (SetupLink("https://ai.stackspot.com", words="StackSpot AI"),),
    ),
)
