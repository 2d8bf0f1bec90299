"""Python for the model, in a sandbox or at OpenAI."""

from __future__ import annotations

from bot.features.base import Feature, SetupCard, SetupField
from core.tools.code import CODE_INTEGRATION

FEATURE = Feature(
    integration=CODE_INTEGRATION,
    card=SetupCard(
        "code",
        "Python",
        "M8 7l-5 5 5 5M16 7l5 5-5 5",
        "Runs calculations, reads files and draws charts with Python.",
        (
            "Usually there is nothing to enter: auto uses OpenAI's interpreter with OpenAI's "
            "models, and otherwise a sandbox on this machine. To use OpenAI's interpreter "
            "alongside another model, enter an OpenAI API key and the name of an OpenAI model.",
        ),
        (
            SetupField(
                "ponte_code", words="Where Python runs", choices=("auto", "hosted", "local", "off")
            ),
            SetupField("ponte_code_api_key", words="API key", is_secret=True, example="sk-…"),
            SetupField("ponte_code_model", words="Name of the model", example="gpt-6-luna"),
            SetupField("ponte_code_base_url", words="Address (optional)"),
        ),
    ),
)
