"""A card that was decided, rendered anew where it stands."""

from __future__ import annotations

from adapters.slack import cards
from adapters.slack.api import Json, SlackApi
from adapters.slack.lengths import SHORT, TEXT, cut
from adapters.slack.refusals import SHAPE_REFUSED, TOO_LONG, SlackRefused
from core.messages import Card


async def card_in_place(
    api: SlackApi, channel: str, ts: str, thread: str, card: Card, locale: str
) -> bool:
    """Edit the post `ts` (of `thread`, "" at the top level); False where the card is not in it.

    Raises as `SlackApi.call`. Doing it again changes nothing.
    """
    post = await _post(api, channel, ts, thread)
    if post is None:
        return False
    blocks = cards.replaced(post.get("blocks") or [], card, locale)
    if blocks is None:
        return False
    text = str(post.get("text") or cards.text(card))
    for limit in (TEXT, SHORT):
        try:
            await api.call("chat.update", channel=channel, ts=ts, blocks=blocks,
                           text=cut(text, limit))  # fmt: skip
            return True
        except SlackRefused as refused:
            if refused.error not in TOO_LONG | SHAPE_REFUSED:
                raise
    return False  # the outcome is posted beside it


async def _post(api: SlackApi, channel: str, ts: str, thread: str) -> Json | None:
    method = "conversations.replies" if thread else "conversations.history"
    told = await api.call(
        method, channel=channel, ts=thread or None, oldest=ts, latest=ts, inclusive=True, limit=2
    )
    return next((post for post in told.get("messages", []) if post.get("ts") == ts), None)
