"""One streamed message while it is open (chat.startStream, appendStream, stopStream).

Slack ends a stream by itself after some five minutes, and takes only what follows on what was
said; so this one is left before, and where the text changed behind it. What a stream unfurls is not
ours to say (slackapi/node-slack-sdk pull 2389).
"""

from __future__ import annotations

import time
from typing import Any

from adapters.slack.api import Json, SlackApi
from adapters.slack.lengths import CONTAINER, STREAM, size, weight
from adapters.slack.refusals import STOPPED, STREAM_OVER, TOO_LONG, InDoubt, SlackRefused
from core.messages import ReplyTo

LIFE = 240.0
"""Seconds after which a stream is closed and another one begun; Slack's own limit is about 300
(slackapi/node-slack-sdk issue 2702, slackapi/python-slack-sdk issue 1859)."""


class StoppedByUser(Exception):
    """A person pressed Slack's own Stop: nothing more is taken."""


class Stream:
    def __init__(self, api: SlackApi, channel: str, ts: str, key: str, sent: str) -> None:
        self.ts = ts
        self.sent = sent
        self.began = time.monotonic()
        self._api = api
        self._channel = channel
        self._key = key

    @classmethod
    async def start(
        cls, api: SlackApi, to: ReplyTo, thread: str, key: str, text: str, team: str
    ) -> Stream:
        """Raises as `SlackApi.call`. The key cannot be told to Slack before the stop."""
        channel = to.address.channel
        began = await api.call(
            "chat.startStream", channel=channel, thread_ts=thread, chunks=_chunks(text),
            recipient_user_id=to.asker.id, recipient_team_id=to.asker.workspace or team,
            patience=0.0, claimed=True,
        )  # fmt: skip
        return cls(api, channel, str(began["ts"]), key, text)

    @property
    def old(self) -> bool:
        return time.monotonic() - self.began > LIFE

    async def append(self, text: str) -> bool:
        """Let `text` stand there; False where this stream can no longer do that. Raises
        StoppedByUser, and as `SlackApi.call`."""
        if not text.startswith(self.sent):
            return False
        if text == self.sent:
            return True
        done = await self._try("chat.appendStream", chunks=_chunks(text[len(self.sent) :]))
        if done:
            self.sent = text
        return done

    async def stop(
        self, text: str, blocks: list[Json], session: str = "", claimed: bool = False
    ) -> bool:
        """Close it with `text` standing there; False where an edit must bring the text. Raises as
        `append`. `session`: what the thread's session is then; Slack makes it "active"."""
        follows = text.startswith(self.sent)
        fits = size(text) + CONTAINER + weight(blocks) <= STREAM
        rest = text[len(self.sent) :] if follows else ""
        done = await self._try(
            "chat.stopStream", chunks=_chunks(rest), metadata=post_metadata(self._key),
            blocks=blocks if follows and fits and blocks else None,
            session_status=session or None, claimed=claimed,
        )  # fmt: skip
        return done and follows and (fits or not blocks)

    async def _try(self, method: str, **arguments: Any) -> bool:
        """An answer that was lost counts as not done: the edit that follows puts it right."""
        try:
            await self._api.call(method, channel=self._channel, ts=self.ts, **arguments)
        except SlackRefused as refused:
            if refused.error in STOPPED:
                raise StoppedByUser from None
            if refused.error in STREAM_OVER or refused.error in TOO_LONG:
                return False
            raise
        except InDoubt:
            return False
        return True


def post_metadata(key: str) -> Json:
    """What a post of ours is found by (docs.slack.dev/messaging/message-metadata)."""
    return {"event_type": "ponte_post", "event_payload": {"key": key}}


def _chunks(text: str) -> list[Json] | None:
    return [{"type": "markdown_text", "text": text}] if text else None
