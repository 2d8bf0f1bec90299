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
        "M4 5h16v14H4zM4 10h16M10 10v9",
        "Reads your team's tables, and changes rows after approval.",
        (
            "In NocoDB, click your picture, then Account Settings, then Tokens.",
            "Create an API token, and paste it below with the address of NocoDB.",
        ),
        (
            SetupField("nocodb_url", words="Address", example="https://nocodb.example.com"),
            SetupField("nocodb_token", words="Token", is_secret=True),
            SetupField("nocodb_base_id", words="Base"),
        ),
    ),
)
