"""The cards of the set-up page: what each connects, and the settings that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SetupField:
    """A setting that people can type on a card of the set-up page. `choices` are its values if it
    has only a few. A value that is secret is never shown again."""

    setting: str
    words: str
    is_secret: bool = False
    choices: Sequence[str] = ()
    example: str = ""


@dataclass(frozen=True, slots=True)
class SetupLink:
    """A link on a card of the set-up page, such as to the page where a service creates tokens.
    `words` is its text."""

    url: str
    words: str


@dataclass(frozen=True, slots=True)
class SetupCard:
    """A card of the set-up page: one service that can be connected there. `purpose` says what the
    service is for, `needs` what somebody needs to connect it and where they get it. `links` are the
    addresses that `needs` speaks of."""

    name: str
    title: str
    purpose: str
    needs: str
    fields: Sequence[SetupField]
    links: Sequence[SetupLink] = ()

    @property
    def names(self) -> frozenset[str]:
        """The names of the settings that the card's fields set, as environment variables: in
        capitals."""
        return frozenset(each.setting.upper() for each in self.fields)


CARDS: Mapping[str, SetupCard] = {
    card.name: card
    for card in (
        SetupCard(
            "model",
            "Model",
            "Answers questions and uses your tables, quick commands and Python.",
            "An OpenAI API key, or the address of another server that has OpenAI's API, such as "
            "Ollama, llama.cpp, vLLM or LM Studio. OpenAI charges for each answer.",
            (
                SetupField("openai_base_url", words="Address", example="http://127.0.0.1:11434/v1"),
                SetupField("openai_api_key", words="API key", is_secret=True, example="sk-…"),
                SetupField("ponte_model", words="Name of the model"),
                SetupField("ponte_transcribe_model", words="Model for voice messages (optional)"),
            ),
            (
                SetupLink(
                    "https://platform.openai.com/api-keys", words="Create an API key at OpenAI"
                ),
            ),
        ),
        SetupCard(
            "slack",
            "Slack",
            "Answers where your team writes: mentions, direct messages and followed threads.",
            "An app in your workspace. The first link creates it with everything that Ponte "
            "needs. Then install it, copy the bot token from OAuth & Permissions, and generate "
            "an app-level token with the connections:write scope under Basic Information.",
            (
                SetupField("slack_bot_token", words="Bot token", is_secret=True, example="xoxb-…"),
                SetupField("slack_app_token", words="App token", is_secret=True, example="xapp-…"),
            ),
            (SetupLink("https://api.slack.com/apps", words="Your Slack apps"),),
        ),
        SetupCard(
            "discord",
            "Discord",
            "Answers direct messages and mentions on your Discord servers.",
            "A bot of your own. Create an application in the developer portal and copy the token "
            "from its Bot page. Then press Check to get the link that invites it to a server.",
            (
                SetupField("discord_token", words="Bot token", is_secret=True),
                SetupField(
                    "discord_message_content",
                    words="Read messages without a mention (needs the intent in the portal)",
                    choices=("off", "on"),
                ),
            ),
            (
                SetupLink(
                    "https://discord.com/developers/applications",
                    words="Discord's developer portal",
                ),
            ),
        ),
        SetupCard(
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
        SetupCard(
            "stackspot",
            "StackSpot",
            "Runs StackSpot's quick commands and agents.",
            "A client ID and a client key. StackSpot AI shows them in your profile under Access "
            "Token.",
            (
                SetupField("stackspot_client_id", words="Client ID"),
                SetupField("stackspot_client_secret", words="Client key", is_secret=True),
                SetupField("stackspot_realm", words="Realm"),
            ),
            (SetupLink("https://ai.stackspot.com", words="StackSpot AI"),),
        ),
        SetupCard(
            "code",
            "Python",
            "Calculates, reads files and draws plots with Python.",
            "Usually nothing: auto uses OpenAI's interpreter with OpenAI's models, and otherwise "
            "a sandbox on this machine.",
            (
                SetupField(
                    "ponte_code",
                    words="Where Python runs",
                    choices=("auto", "hosted", "local", "off"),
                ),
            ),
        ),
    )
}
"""The cards by the name of their integration, in the order of the page."""
PEOPLE_SETTINGS = ("ponte_allow", "ponte_admins", "ponte_sample")
"""Who may do what. The page writes them when a person of a chat platform is chosen."""
SETUP_NAMES = frozenset(
    [*(field.setting for card in CARDS.values() for field in card.fields), *PEOPLE_SETTINGS]
)
"""All settings that the page may store. None of them names a folder, a database, a proxy or the
page itself."""
