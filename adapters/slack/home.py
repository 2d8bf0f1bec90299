"""Slack's App Home: the Home tab with what concerns a person, and the suggested prompts of the
Messages tab."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import structlog

from adapters.slack import render
from adapters.slack.errors import FAILURES
from adapters.slack.events import Payload, author_home
from adapters.slack.presence import SlackSigns
from adapters.slack.render import Json
from adapters.slack.setup import describe_missing
from core.base.errors import NotStored
from core.base.i18n import plural, say, use_locale
from core.base.markdown import to_plain_text
from core.base.trust import defang
from core.chat.approval_notices import MORE_REQUESTS
from core.chat.buttons import offer
from core.domain.changes import Overview
from core.domain.messages import Address, Person
from core.domain.ports import Inbox, StatusBoard
from core.domain.records import Receipt
from core.people.policy import Policy
from core.turn.suggestions import StartingPoints, find_starting_points

log = structlog.get_logger("slack")
MAX_HOME_CARDS, MAX_HOME_LINES = 5, 10
"""The cards in each list of the Home tab, and the lines of its other lists. A view has at most 100
blocks (docs.slack.dev/reference/views/home-tab-views)."""
_CARD_BYTES, _ASKED_BYTES = 8_000, 1_500
"""Room for a card of a request to decide on, and of one's own request. A view may have 250 kB."""
_PROMPT_TITLE_CHARACTERS = 75
_IDENTIFY_PAUSES_SECONDS = (1.0, 5.0, *[30.0] * 120)
"""The pauses between attempts to draw the Home tab of a person whom Slack could not identify."""
_ALL_SCHEDULES = "To list all your schedules, type `schedules`."
_HELLO = "Mention me in a channel or send me a direct message. Type `help` for more."


@dataclass(frozen=True, slots=True)
class SlackHome:
    """Draws the App Home, the page that Slack shows when a person opens the app."""

    signs: SlackSigns
    policy: Policy
    board: StatusBoard
    inbox: Inbox

    async def on_opened(self, body: Payload, event: Payload) -> None:
        """Draw the tab of the App Home that a person has opened, by Slack's event about that."""
        team = self.signs.workspace.team
        person = Person("slack", str(event["user"]), author_home(team, body, event))
        for pause in _IDENTIFY_PAUSES_SECONDS:
            if await self.show(person, str(event.get("channel", "")), str(event.get("tab"))):
                return
            await asyncio.sleep(pause)

    async def show(self, person: Person, channel: str, tab: str = "home") -> bool:
        """Publish the person's Home tab, or suggest prompts in their Messages tab. `channel` is
        their direct message. Return False if Slack cannot identify them yet."""
        profile = (await self.signs.workspace.directory.profiles([person.id]))[person.id]
        address = Address("slack", channel, self.signs.workspace.team)
        with use_locale(profile.locale):
            start = await find_starting_points(self.board, self.policy, person, address)
            if tab == "messages":
                await self._suggest_prompts(channel, start)
                return True
            verdict = await self.policy.may(person, address, "chat")
            try:
                # Who may not chat sees only the reason.
                if verdict.allowed:
                    zone = profile.time_zone
                    overview = await self.board.overview(person, address, zone)
                    administers = await self.policy.may(person, address, "administer")
                    lacks = self._describe_lacks() if administers.allowed else ""
                    view = build_home_view(overview, start, channel, lacks)
                else:
                    view = _build_view([_build_paragraph(verdict.words())])
                await self.signs.workspace.api.call("views.publish", user_id=person.id, view=view)
            # The call failed, or the database did not answer `overview`. The tab is drawn anew when
            # it is opened again.
            except (*FAILURES, NotStored) as error:
                log.warning("could not update the Home tab", error=str(error))
                return True
        return not verdict.is_unknown

    def _describe_lacks(self) -> str:
        workspace = self.signs.workspace
        if not workspace.scopes:
            return ""
        return describe_missing(workspace.scopes, workspace.team, workspace.app)

    def show_after(self, person: Person, channel: str, receipt: Receipt) -> None:
        """Publish the Home tab again after the turn of a click there, which is answered in the
        direct message."""

        async def show() -> None:
            await self.inbox.wait_for_answer(receipt.seq)
            await self.show(person, channel)

        self.signs.tasks.start(show())

    async def _suggest_prompts(self, channel: str, start: StartingPoints) -> None:
        """Offer messages that the person can send with one click."""
        prompts = [
            {"title": suggestion.text[:_PROMPT_TITLE_CHARACTERS], "message": suggestion.text}
            for suggestion in start.suggestions
        ]
        if prompts:
            # With a `thread_ts`, Slack shows nothing in an app with an agent view. `call` leaves
            # out "prompts", an optional feature, for a while after refusals.
            await self.signs.call(
                "prompts",
                "assistant.threads.setSuggestedPrompts",
                channel_id=channel,
                title=say("Try one of these"),
                prompts=prompts,
            )


def build_home_view(
    overview: Overview, start: StartingPoints, channel: str, lacks: str = ""
) -> Json:
    """Return the Home tab for views.publish. `channel` is the person's direct message, where clicks
    are answered. `lacks` tells an admin what the app lacks."""
    blocks = [render.build_section(render.escape_text(lacks))] if lacks else []
    blocks.append(render.build_header(say("Waiting for your approval")))
    if shown := overview.waiting.cards[:MAX_HOME_CARDS]:
        blocks += _separate(render.cards_blocks(shown, _CARD_BYTES * len(shown), tables=False))
        if hidden_count := len(overview.waiting.changes) - len(shown):
            blocks.append(_build_note(plural(*MORE_REQUESTS, hidden_count)))
    else:
        blocks.append(_build_paragraph(say("No requests are waiting for you.")))
    if overview.asked:
        blocks.append(render.build_header(say("What you asked for")))
        own = overview.asked[:MAX_HOME_CARDS]
        drawn = (render.card_blocks(card, _ASKED_BYTES, tables=False) for card in own)
        blocks += _separate(chain.from_iterable(drawn))
        if (hidden_count := len(overview.asked) - MAX_HOME_CARDS) > 0:
            # Only a number: there is no command that lists them.
            blocks.append(_build_note(f"… +{hidden_count}"))
    if overview.schedules:
        blocks.append(render.build_header(say("Schedules")))
    for schedule in overview.schedules[:MAX_HOME_LINES]:
        word, label = ("pause", "Pause") if schedule.is_active else ("resume", "Resume")
        command = f"schedule {schedule.id} {word}"
        (row,) = render.build_buttons([offer("schedule", command, label)])
        # Plain text would show the marks of Markdown. Slack links addresses in it and reads `<…>`
        # all the same, so these are disabled after that.
        words = render.escape_text(defang(to_plain_text(schedule.text)))
        text = render.make_plain_text(words, render.SECTION_BYTES)
        blocks.append({"type": "section", "text": text, "accessory": row["elements"][0]})
    if len(overview.schedules) > MAX_HOME_LINES:
        blocks.append(_build_note(say(_ALL_SCHEDULES)))
    for title, lines in (
        (say("Remaining"), overview.remaining),
        (say("Try one of these"), [suggestion.text for suggestion in start.suggestions]),
    ):
        if lines:
            words = "\n".join(f"• {line}" for line in lines[:MAX_HOME_LINES])
            blocks += [render.build_header(title), _build_paragraph(words)]
    return _build_view([*blocks, _build_note(say(_HELLO))], channel)


def _separate(cards: Iterable[Json]) -> list[Json]:
    """Put a dividing line between cards. The first block of each is its note, whose `block_id` ends
    with ":note"."""
    blocks = list[Json]()
    for block in cards:
        if blocks and block.get("block_id", "").endswith(":note"):
            blocks.append({"type": "divider"})
        blocks.append(block)
    return blocks


def _build_view(blocks: Sequence[Json], channel: str = "") -> Json:
    return {"type": "home", "private_metadata": channel, "blocks": list(blocks)}


def _build_paragraph(text: str) -> Json:
    return render.build_section(render.escape_text(defang(text)))


def _build_note(text: str) -> Json:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": render.escape_text(text)}]}
