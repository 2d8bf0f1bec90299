"""The tables of NocoDB."""

from __future__ import annotations

from bot.features.base import Feature, SetupCard, SetupField
from core.tools.nocodb import NOCODB_INTEGRATION, ROW_KINDS

FEATURE = Feature(
    integration=NOCODB_INTEGRATION,
    kinds={**ROW_KINDS},
    card=SetupCard(
        "nocodb",
        "NocoDB",
        "Reads your team's tables, and changes rows after approval.",
        "The address of your NocoDB and an API token. In NocoDB, open your picture, then "
        "Account Settings and Tokens.",
        (
            SetupField("nocodb_url", words="Address", example="https://nocodb.example.com"),
            SetupField("nocodb_token", words="Token", is_secret=True),
            SetupField("nocodb_base_id", words="Base"),
        ),
    ),
)
