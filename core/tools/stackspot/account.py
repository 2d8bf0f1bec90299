"""Who we are at StackSpot, and where its services stand."""

from __future__ import annotations

from dataclasses import dataclass, field

REALM = "stackspot-freemium"
"""The realm of accounts without a contract; a company's is the slug that its portal shows."""
AUTH_URL = "https://idm.stackspot.com"
API_URL = "https://genai-code-buddy-api.stackspot.com"
AGENT_URL = "https://genai-inference-app.stackspot.com"


@dataclass(frozen=True, slots=True)
class Account:
    """A client's credentials in one realm. The portal calls the secret "client key"."""

    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    realm: str = REALM
    auth_url: str = AUTH_URL
    api_url: str = API_URL
    agent_url: str = AGENT_URL
