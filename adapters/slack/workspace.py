"""The workspace of the token: who we are there, and which features Slack offers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from adapters.slack.client import FeatureFlags, SlackApi, identity
from adapters.slack.people import SlackPeople
from adapters.slack.render import ANSWER_PART_BYTES, Json, mentioned_ids, readable


@dataclass(slots=True)
class Workspace:
    """The workspace of the token.

    `bots` are the ids (B…) of other bots that may talk with Ponte. `team` is the workspace's id and
    `user` the bot's user id; both are "" until `identify` has returned.
    """

    api: SlackApi
    directory: SlackPeople
    bots: frozenset[str] = frozenset()
    flags: FeatureFlags = field(default_factory=FeatureFlags, init=False)
    part: int = field(default=ANSWER_PART_BYTES, init=False)
    """The maximum bytes of an answer's text in one post. It shrinks if Slack refuses that many."""
    team: str = field(default="", init=False)
    user: str = field(default="", init=False)
    scopes: frozenset[str] = field(default=frozenset(), init=False)
    """The scopes of the token; empty if Slack does not return them."""
    _identity: Json = field(default_factory=dict, init=False)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def identify(self) -> Json:
        """Return the response of auth.test, requested once. Raises the errors of `client.identity`.

        Resumed turns may call it before the adapter has started.
        """
        async with self._asking:
            if not self.user:
                self._identity, self.scopes = await identity(self.api)
                self.directory.team = self._identity["team_id"]
                self.team, self.user = self._identity["team_id"], self._identity["user_id"]
        return self._identity

    def known_names(self, text: str) -> dict[str, str]:
        """Return the known names of the people that a text from Slack mentions, by their ids."""
        known = self.directory.cached_member
        return {id: name for id in mentioned_ids(text) if (name := known(id).name)}

    def readable(self, text: str) -> str:
        """Return a text from Slack with names in place of ids, as far as they are known."""
        return readable(text, self.known_names(text) | {self.user: "Ponte"}, self.user)
