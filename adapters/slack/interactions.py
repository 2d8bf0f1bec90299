"""Handles commands, shortcuts, forms and clicks on Slack.

Slack sends each of them once, and shows the person an error unless the acknowledgement arrives
within three seconds. `SlackInteraction` adapts one of them to `core.chat.incoming`. Before it is
stored, Slack is called only to open a form, because the form is the answer. People who may not chat
see no form.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.context.ack.async_ack import AsyncAck

from adapters.slack import events, forms, render
from adapters.slack.errors import FAILURES
from adapters.slack.events import Kind, ParsedMessage, Payload, Source, is_direct, reply_to
from adapters.slack.home import SlackHome
from adapters.slack.intake import SlackLocations
from adapters.slack.presence import CommandNotices, Workspace
from core.base.errors import BadInput, UnknownCommand
from core.base.i18n import say, use_locale
from core.base.text import clean_text
from core.chat.buttons import CODE_LATE, SHOW_CODE, find_button
from core.chat.incoming import EVENT_FAILED
from core.chat.interactions import (
    ASK_TEXT,
    NO_DIRECT_MESSAGE,
    InteractionLimits,
    InteractionRequest,
    Interactions,
)
from core.commands.grammar import TypedCommand, parse_command, render_command
from core.commands.quick_commands import check_inputs
from core.domain.buttons import ButtonForm, ButtonPress, PressResult
from core.domain.changes import ChangeForm
from core.domain.messages import PERSON, Address, AskedIn, Attachment, Message, Person, Quote
from core.domain.records import QuickCommand, Receipt

log = structlog.get_logger("slack")

ASK_COMMAND, QUICK_COMMAND = "/ponte", "/quick-command"
RESPONSE_URL_SECONDS = 1700.0
"""Ponte uses a response_url so long. It expires after 30 minutes
(docs.slack.dev/interactivity/handling-user-interaction, "response_url"); the last 100 seconds are a
margin."""
SLACK_FORM_SECONDS = 1.0
"""A form may wait so long for the person's rights and the list of quick commands. Its trigger
expires after three seconds (docs.slack.dev/interactivity, "trigger_id")."""
SLACK_OPEN_SECONDS = 1.5
"""Seconds that a form may take to open, retries included: the acknowledgement comes after it."""
SLACK_WORK_SECONDS = 10.0
"""How long the work of a press may take, once the press is acknowledged."""
_MAX_REMEMBERED_FILES = 5
"""Files of a message that a form carries, because of its 3,000 characters."""
_ID = re.compile("^ponte_(?:card_)?|:.*")
"""What surrounds a button's name in its action id or callback id."""
_ON_IT = "Running `/quick-command {given}`"
_THINKING = "Ponte is thinking…"
_ANSWERED_THERE = "I'm answering in <{url}|our direct message>, where only you see it."

Ack = Callable[[], Awaitable[object]]
Notify = Callable[[str], Awaitable[object]]
"""Shows words to the person who acted alone."""


@dataclass(frozen=True, slots=True)
class SlackPlace:
    """The place where a person used a command, a button or a form.

    `thread` is "" at the top level. `url` is the response_url, "" if there is none. `home` is the
    person's workspace, "" if Slack contradicts itself.
    """

    user: str
    home: str
    channel: str
    thread: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class SlackInteraction:
    """The port `ChatInteraction` for one command, shortcut, click or form.

    `key` is the event key of the message that it becomes, "" if it becomes none. `notices` notify
    the person of a slow answer, because nothing else shows that it is under way. `source`: what its
    answer refers to; None for a new post in its place.
    """

    workspace: Workspace
    locations: SlackLocations
    place: SlackPlace
    key: str
    ack: Ack
    show_privately: Notify
    source: Source | None = None
    notices: CommandNotices | None = None
    without_form: str = forms.TYPE_IT
    """What the person can do if the form cannot be shown, in English."""
    home: SlackHome | None = None
    """This is set for a click on the Home tab, which is drawn again after its turn."""
    trigger: str = ""
    """The id that opens a form once, within a few seconds."""
    is_acknowledged: bool = False
    """The interaction was acknowledged before anything else."""
    checks_rights: bool = False

    @property
    def limits(self) -> InteractionLimits:
        """The time that the check of rights for a form may take, and the sentence that the person
        reads if it takes longer."""
        # Storing has no deadline: a message stored late can still be answered, because the
        # response_url is valid for half an hour.
        return InteractionLimits(
            SLACK_FORM_SECONDS,
            checks_rights_before_storing=self.checks_rights,
            without_rights=say(self.without_form, self.locale),
            form_seconds=SLACK_FORM_SECONDS,
            work_seconds=SLACK_WORK_SECONDS if self.is_acknowledged else SLACK_FORM_SECONDS,
        )

    @property
    def person(self) -> Person:
        return Person("slack", self.place.user, self.place.home)

    @property
    def address(self) -> Address:
        """The place where they acted, for questions of rights."""
        place = self.place
        return Address(
            "slack",
            place.channel,
            self.workspace.team,
            place.thread,
            is_shared=not is_direct(place.channel, {}),
        )

    @property
    def locale(self) -> str:
        """The locale is English until the person's language is known."""
        return self.workspace.directory.locale(self.place.user)

    async def learn_about_person(self) -> None:
        """A form or a refusal is written in the person's language."""
        await self.workspace.directory.profiles([self.place.user])

    async def make_message(self, request: InteractionRequest) -> Message:
        """Return the message as far as it is known without asking Slack. The turn looks up the rest
        when it starts. `source`: what the answer refers to, None for a new post. `place.url`: the
        response_url, "" if there is none."""
        place, key = self.place, request.event_key or self.key
        profile = self.workspace.directory.cached_member(place.user)
        author = Person("slack", place.user, place.home, profile.name)
        now = f"{time.time():.6f}"
        # At the top level of a channel each person has a conversation of their own, unless the
        # channel is one. `{}`: without an event, the channel's id decides whether it is a direct
        # message.
        team, direct = self.workspace.team, is_direct(place.channel, {})
        is_flat = self.locations.is_flat(place.channel, {})
        if place.thread:
            # The conversation is that of a message written in the thread.
            message = ParsedMessage(
                team, place.channel, now, place.user, "", place.thread, direct=direct
            )
            address = await self.locations.address_of(message, is_flat)
        else:
            person = "" if is_flat else place.user
            address = Address("slack", place.channel, team, person=person, is_shared=not direct)
        # Without a post to refer to, the present time stands for a post's time stamp.
        source = self.source or Source(now, place.thread, "command")
        expires = time.time() + RESPONSE_URL_SECONDS if place.url else 0.0
        return Message(
            event_key=key,
            text=request.text,
            author=author,
            address=address,
            reply_to=reply_to(address, author, str(source), key, place.url, expires),
            context=request.context,
            attachments=request.files,
            locale=profile.locale.replace("_", "-"),
            time_zone=profile.time_zone,
            sent_at=float(now),
            # A slash command and a submitted form count as clicks, too, but for free text.
            is_click=request.origin == PERSON and not request.is_typed,
            asked_in=request.asked_in,
            origin=request.origin,
        )

    async def acknowledge(self, receipt: Receipt, request: InteractionRequest) -> bool:
        """Acknowledge the interaction, and return whether it is new. A command that takes long gets
        a notice. After a click on the Home tab (`home`), the tab is drawn again."""
        # In a thread, a session or the status line shows that the turn is under way. Elsewhere a
        # notice through the response_url (`place.url`) does.
        if receipt.is_new and self.notices and not self.place.thread:
            # The text of "Ask Ponte" is a question, not a command.
            name, _, given = request.text.partition(" ")
            is_command = name == "quick-command"
            words = say(_ON_IT if is_command else _THINKING, self.locale, given=given[:200])
            self.notices.begin(receipt.turn, self.place.url, words)
        await self.ack()
        if self.home and receipt.is_new:
            self.home.show_after(self.person, self.place.channel, receipt)
        return receipt.is_new

    async def notify(self, words: str) -> None:
        await self.show_privately(words)

    async def open_form(self, press: ButtonPress, form: ButtonForm | ChangeForm) -> str:
        """The form carries what it needs when it is submitted."""
        memory = _memory(self.place) | {"ts": press.post.rpartition(":")[2], "press": press.subject}
        with use_locale(self.locale):
            if isinstance(form, ChangeForm):
                view = forms.build_change_form(form, memory)
            else:
                view = forms.build_form(press.button.name, form, memory)
            return await open_view(self.workspace, self.trigger, view, self.without_form)

    async def show(self, result: PressResult) -> None:
        """Show what a press or a form results in to the person alone."""
        if not self.is_acknowledged:
            await self.ack()
        if result.code:
            with use_locale(self.locale):
                codes = [clean_text(data.decode()) for _, data in result.code]
                # If Slack refuses the blocks, the person gets a sentence.
                blocks = render.build_code_blocks(codes)
                if not await respond(self.workspace, self.place, say(SHOW_CODE), blocks=blocks):
                    await respond(self.workspace, self.place, say(CODE_LATE))
        elif result.words:
            await respond(self.workspace, self.place, result.words)


@dataclass(frozen=True, slots=True)
class SlackHandlers:
    """Slash commands, shortcuts, forms and buttons, which Bolt passes on. Each handler turns what a
    person did into the text of a message, or opens a form."""

    interactions: Interactions
    workspace: Workspace
    locations: SlackLocations
    notices: CommandNotices
    home: SlackHome

    def register(self, app: AsyncApp) -> None:
        """Bolt calls the first handler that matches; `claims` knows what they match."""
        app.command(ASK_COMMAND)(self.on_private_question)
        app.command(QUICK_COMMAND)(self.on_command)
        app.shortcut(forms.ASK_FORM)(self.on_shortcut)
        app.shortcut(forms.QUICK_COMMAND_FORM)(self.on_shortcut)
        app.view(forms.ASK_FORM)(self.on_question_form)
        app.view(forms.QUICK_COMMAND_FORM)(self.on_quick_form)
        app.view(forms.INPUTS_FORM)(self.on_quick_form)
        app.view(re.compile("^ponte_"))(self.on_form)
        app.action(re.compile("^ponte_"))(self.on_press)

    def claims(self, body: Payload) -> bool:
        """Return whether a handler takes an interaction, of which any part may be missing."""
        view, actions = body.get("view") or {}, body.get("actions")
        match body.get("type"):
            case "block_actions":
                action = actions[0] if isinstance(actions, list) and actions else None
                return _is_ours(action, "action_id")
            case "view_submission":
                # Bolt takes every other view for a step of a workflow, and fails without one.
                return _is_ours(view, "callback_id") and view.get("type") == "modal"
            case "message_action":
                return body.get("callback_id") in (forms.ASK_FORM, forms.QUICK_COMMAND_FORM)
        return body.get("command") in (ASK_COMMAND, QUICK_COMMAND)

    async def on_private_question(self, ack: AsyncAck, command: dict[str, Any]) -> None:
        """Handle `/ponte QUESTION`: it counts as asked in the direct message with Ponte."""
        user, channel = command["user_id"], command["channel_id"]
        text = self.workspace.readable(command.get("text", "")).strip()

        async def answer(words: str, **values: object) -> None:
            await ack(text=say(words, self.workspace.directory.locale(user), **values))

        if not text:
            await answer(ASK_TEXT)
            return
        try:
            async with asyncio.timeout(SLACK_OPEN_SECONDS):
                call = self.workspace.api.call("conversations.open", users=user, patience=1)
                direct = str((await call)["channel"]["id"])
        except (TimeoutError, *FAILURES):
            await answer(NO_DIRECT_MESSAGE)
            return
        team, name = self.workspace.team, command.get("channel_name", "")
        home = events.home_of(team, [command.get("team_id")])
        link = f"{(await self.workspace.identify())['url']}archives/{direct}"
        confirm = partial(answer, _ANSWERED_THERE, url=link)
        key = f"slack:{team}:{direct}:command:{command['trigger_id']}"
        interaction = replace(
            self._make_interaction(
                SlackPlace(user, home, direct), key, confirm, lambda words: ack(text=words)
            ),
            checks_rights=True,
        )
        # Slack does not tell the names of private channels ("privategroup").
        is_named = re.fullmatch(r"(?!privategroup$|mpdm-).+", name)
        place = Address("slack", channel, team, is_shared=True)
        asked_in = AskedIn(place, f"#{name}" if is_named else "")
        request = InteractionRequest(
            text, is_typed=True, asked_in=None if is_direct(channel, {}) else asked_in
        )
        await self.interactions.submit(interaction, request)

    async def on_command(self, ack: AsyncAck, command: dict[str, Any]) -> None:
        """Handle `/quick-command SLUG …`. A form asks for missing inputs, or without any text for
        the command."""
        home = events.home_of(self.workspace.team, [command.get("team_id")])
        place = SlackPlace(
            command["user_id"], home, command["channel_id"], "", command["response_url"]
        )

        # A command has no other id, so `trigger_id` marks a repeated delivery.
        key = f"slack:{self.workspace.team}:{place.channel}:command:{command['trigger_id']}"
        # Words in the acknowledgement of a command are shown to this person only.
        interaction = self._make_interaction(
            place, key, ack, lambda words: ack(text=words), notices=self.notices
        )
        typed_text = self.workspace.readable(command.get("text", ""))
        # None: the text, for example empty, is no complete command.
        typed_command = _parse_quick_command(f"quick-command {typed_text}")
        # Those that the person may run. `_find_missing` returns a sentence about inputs that the
        # command requires and the text lacks; "" if nothing is known of it: then the turn checks
        # it.
        commands = await self._find_quick_commands(interaction)
        chosen = commands.get(typed_command.slug) if typed_command else None
        is_incomplete = typed_command and _find_missing(chosen, typed_command)
        # Text that is no command is submitted too: the turn says what is wrong with it.
        if not is_incomplete and (typed_command or typed_text):
            # "spend": the right that the person needs at least.
            request = InteractionRequest(f"quick-command {typed_text}", "spend")
            await self.interactions.submit(interaction, request)
            return

        async def show() -> str:
            """Open the form for the quick command, or for a choice of one, and acknowledge the
            command. Return why it could not be opened, or "". The form carries the `_memory` of the
            place, because Slack does not send the place with a submitted form."""
            with use_locale(interaction.locale):
                if typed_command and chosen:
                    # Without any input, nothing was wrong: the form itself asks.
                    missing = _find_missing(chosen, typed_command) if typed_command.input else ""
                    view = forms.inputs_form(chosen, _memory(place), missing)
                else:
                    view = forms.quick_command_form(list(commands.values()), "", _memory(place))
                words = await open_view(self.workspace, command["trigger_id"], view, forms.TYPE_IT)
            if not words:  # else `show_form` notifies, which acknowledges the command
                await ack()
            return words

        await self.interactions.show_form(interaction, show)

    async def on_shortcut(self, ack: AsyncAck, shortcut: dict[str, Any]) -> None:
        """Open the form by which a person asks about a message or runs a quick command on it."""
        about = shortcut.get("message") or {}
        channel = shortcut["channel"]["id"]
        thread = str(about.get("thread_ts") or "")  # the message may be in a thread already
        # The answer comes below that message, unless the whole channel is one conversation.
        if is_direct(channel, {}) or self.locations.settings_of(channel).threads is not False:
            thread = thread or str(about.get("ts") or shortcut.get("message_ts", ""))
        place = SlackPlace(
            shortcut["user"]["id"],
            self._home_of(shortcut),
            channel,
            thread,
            shortcut.get("response_url", ""),
        )
        # No key: only the submitted form becomes a message.
        interaction = self._make_interaction(
            place, "", ack, partial(respond, self.workspace, place)
        )

        async def show() -> str:
            """Open the form. It carries what it needs of the message, because nothing is stored
            until it is sent. Return why it could not be opened, or ""."""
            text = self.workspace.readable(events.text_of(about))
            # A form carries only 3,000 characters. So a file has its id in place of its address,
            # and only the beginning of its name.
            memory = _memory(place) | {
                "by": str(about.get("user") or about.get("username") or ""),
                "about": text,
                "ts": str(about.get("ts") or ""),
                "files": [
                    [file.reference.partition(" ")[0], file.name[:60], file.type, file.size]
                    for file in events.files_of(about)[:_MAX_REMEMBERED_FILES]
                ],
            }
            with use_locale(interaction.locale):
                if shortcut["callback_id"] == forms.ASK_FORM:
                    view = forms.ask_form(memory)
                else:
                    commands = await self._find_quick_commands(interaction)
                    # A field of this form contains the text.
                    view = forms.quick_command_form(
                        list(commands.values()), text, memory | {"about": ""}
                    )
                return await open_view(self.workspace, shortcut["trigger_id"], view, forms.TYPE_IT)

        await self.interactions.show_form(interaction, show)
        await ack()

    async def on_question_form(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        """Handle the form "Ask Ponte": the question goes with its message and that one's files."""
        view, memory = body["view"], forms.read_form_memory(body["view"])
        by = str(memory.get("by") or "?")
        name = self.workspace.directory.cached_member(by).name or by
        ts, about = str(memory.get("ts", "")), str(memory.get("about", ""))
        quote = Quote(name, about, is_replied_to=True, reference=ts)
        request = InteractionRequest(
            forms.read_new_values(view).get(forms.QUESTION_BLOCK, ""),
            is_typed=True,
            context=(quote,),
            files=tuple(
                Attachment(name=str(name), type=str(type), size=int(size), reference=str(id))
                for id, name, type, size in memory.get("files") or ()
            ),
        )
        interaction = self._read_form(ack, body, notices=self.notices)
        await self.interactions.submit(interaction, request)

    async def on_quick_form(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        """Handle a form of a quick command. Its values become the command that a person would have
        typed. It is shown again with an error, or with fields for missing inputs."""
        view, filled_in = body["view"], forms.read_new_values(body["view"])
        values = {name: value for name, value in filled_in.items() if value}
        interaction = self._read_form(ack, body, notices=self.notices)
        commands = await self._find_quick_commands(interaction)
        with use_locale(interaction.locale):
            command, update, field = self._read_quick_form(view, values, commands)
        if update is not None:
            await ack(**update)
            return
        # An error of storing stands under this field.
        interaction = replace(
            interaction, show_privately=lambda words: ack(**_field_error(field, words))
        )
        request = InteractionRequest(render_command(command), "spend")
        await self.interactions.submit(interaction, request)

    async def on_form(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        """Handle the submitted form of a button. An error is shown under its first field. A form
        names no channel: its place is in its memory, the data that it was opened with."""
        view, memory = body["view"], forms.read_form_memory(body["view"])
        # Forms of version 0.2 carry the turn under a name of its own.
        subject = str(memory.get("press") or memory.get("turn", ""))
        if (button := find_button(_ID.sub("", view["callback_id"]), subject)) is None:
            await self.on_unknown(ack, body)
            return
        values = forms.read_new_values(view)
        # 0.0: what the button stored has the time of its press.
        press = ButtonPress(button, subject, 0.0, str(memory["ts"]), values, is_marked=True)
        await self._press(self._read_form(ack, body), press)

    async def on_press(self, ack: AsyncAck, body: dict[str, Any], action: dict[str, Any]) -> None:
        """Handle a button of the bot's post or of the Home tab. Each press is acknowledged, else
        Slack shows a warning beside the button."""
        # On the Home tab there is no post; the view's `private_metadata` is the person's direct
        # message.
        view, post = body.get("view") or {}, body.get("message") or {}
        channel = view.get("private_metadata", "") if view else body["channel"]["id"]
        user, thread, ts = body["user"]["id"], post.get("thread_ts") or "", post.get("ts", "")
        url = body.get("response_url", "")
        place = SlackPlace(user, self._home_of(body), channel, str(thread), url)
        id, subject = action["action_id"], str(action.get("value", ""))
        if chosen := action.get("selected_option"):  # of a menu of buttons
            id, _, subject = chosen["value"].partition(" ")
        if (button := find_button(_ID.sub("", id), subject)) is None:
            await self.on_unknown(ack, body)
            return
        # A click that is delivered twice has the same time.
        pressed = f"{id}:{action['action_ts']}"
        key = f"slack:{self.workspace.team}:{channel}:{ts}:{pressed}:{user}"

        async def notify(words: str) -> None:
            await ack()
            await respond(self.workspace, place, words)

        interaction = SlackInteraction(
            self.workspace,
            self.locations,
            place,
            key,
            ack,
            notify,
            without_form=button.without_form,
            trigger=body["trigger_id"],
            is_acknowledged=button.work is not None,
        )
        if button.work:
            await ack()
        at = float(action["action_ts"])
        await self._press(interaction, ButtonPress(button, subject, at, ts, is_marked=True))
        await ack()  # last: a form may have been opened before

    async def _press(self, interaction: SlackInteraction, press: ButtonPress) -> None:
        """`press.post` is the time stamp of the post with the button, "" for the Home tab, which is
        drawn again."""
        button, place, ts = press.button, interaction.place, press.post
        # The answer refers to the card, or for a quiet button to its post; else it is a new post.
        kind: Kind = "card" if button.place in ("card", "cards") else "quiet"
        source = Source(ts, place.thread, kind) if kind == "card" or button.is_quiet else None
        interaction = replace(
            interaction, source=source if ts else None, home=None if ts else self.home
        )
        await self.interactions.press(interaction, replace(press, post=f"{place.channel}:{ts}"))

    def _read_form(
        self, ack: AsyncAck, body: Payload, notices: CommandNotices | None = None
    ) -> SlackInteraction:
        """Return the interaction of a submitted form. Slack names no channel: its place is in the
        data that it was opened with."""
        view = body["view"]
        memory, user = forms.read_form_memory(view), body["user"]["id"]
        names = ("channel", "thread", "url")
        place = SlackPlace(user, self._home_of(body), *(memory[name] for name in names))
        key = f"slack:{self.workspace.team}:{place.channel}:view:{view['id']}"
        return self._make_interaction(
            place,
            key,
            ack,
            lambda words: ack(**_field_error(_find_first_input(view), words)),
            notices,
        )

    async def on_unknown(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack(**self.answer_unknown(body))

    def answer_unknown(self, body: Payload) -> dict[str, Any]:
        """Return the acknowledgement of what only another version of Ponte or of the app's manifest
        has, with a sentence where Slack has a place for it."""
        kind, user = body.get("type"), body.get("user")
        id = str(user.get("id", "") if isinstance(user, Mapping) else body.get("user_id", ""))
        words = say(EVENT_FAILED, self.workspace.directory.locale(id))
        if kind in ("block_suggestion", "dialog_suggestion"):
            return {"options": []}
        if "command" in body:
            return {"text": words}
        if kind == "view_submission" and (field := _find_first_input(body.get("view") or {})):
            return _field_error(field, words)
        url = str(body.get("response_url") or "")
        # A button of a link has done all that it does, as has a form that was closed.
        is_link = kind == "block_actions" and not self.claims(body)
        if url and not is_link and kind not in ("view_closed", "dialog_cancellation"):
            place = SlackPlace(id, "", "", "", url)
            self.interactions.tasks.start(respond(self.workspace, place, words))
        return {}

    def _make_interaction(
        self,
        place: SlackPlace,
        key: str,
        ack: Ack,
        notify: Notify,
        notices: CommandNotices | None = None,
    ) -> SlackInteraction:
        """`key` is "" if the interaction becomes no message. `notices` tell the person that an
        answer is slow."""
        return SlackInteraction(
            self.workspace, self.locations, place, key, ack, notify, notices=notices
        )

    async def _find_quick_commands(self, interaction: SlackInteraction) -> dict[str, QuickCommand]:
        commands = await self.interactions.find_quick_commands(interaction, SLACK_FORM_SECONDS)
        return {command.slug: command for command in commands}

    def _read_quick_form(
        self, view: Payload, values: Mapping[str, str], commands: Mapping[str, QuickCommand]
    ) -> tuple[TypedCommand, Payload | None, str]:
        """Return the quick command of a form, a response that asks for more or shows an error (None
        if the command is complete), and the field under which an error belongs, also one of
        storing.

        One form has a name and a text. The other has a field for each input of the command, whose
        slug is in its memory.
        """
        memory = forms.read_form_memory(view)
        slug = str(memory.get("slug") or values.get(forms.SLUG_BLOCK, "")).strip().lower()
        inputs: Any
        if view["callback_id"] == forms.INPUTS_FORM:
            inputs = {
                name.removeprefix(forms.FIELD_PREFIX): value for name, value in values.items()
            }
            # `values` has no empty fields, so an error stands under the first filled one.
            field = next(iter(values), forms.FIELD_PREFIX)
        else:
            inputs, field = values.get(forms.INPUT_BLOCK, ""), forms.INPUT_BLOCK
        # Parsed as if it had been typed, so that the same rules apply.
        command_words = TypedCommand("quick-command", slug=slug, input=inputs)
        typed_command = _parse_quick_command(render_command(command_words))
        # What was entered is no name, or more than one.
        if typed_command is None or typed_command.slug != slug:
            error = UnknownCommand("Quick command `{slug}` not found.", slug=slug)
            response = _field_error(forms.SLUG_BLOCK, error.words())
            return TypedCommand("quick-command"), response, forms.SLUG_BLOCK
        command = commands.get(typed_command.slug)
        missing = _find_missing(command, typed_command)
        if not missing:
            return typed_command, None, field
        # A field for each input helps only if they are known and not shown already.
        if command is None or view["callback_id"] == forms.INPUTS_FORM:
            return typed_command, _field_error(field, missing), field
        # A form with the command's own inputs takes this one's place. It tells what is missing only
        # if a text was entered: without one, nothing was wrong.
        form = forms.inputs_form(command, memory, missing if inputs else "")
        return typed_command, {"response_action": "update", "view": form}, field

    def _home_of(self, payload: Payload) -> str:
        places = [(payload.get("team") or {}).get("id"), (payload.get("view") or {}).get("team_id")]
        return events.home_of(self.workspace.team, [payload["user"].get("team_id")], places)


async def open_view(workspace: Workspace, trigger: str, view: Payload, words: str) -> str:
    """Return "" once the form is open. If Slack refuses it or its trigger has expired, return
    `words` in the language of the current task."""
    try:
        async with asyncio.timeout(SLACK_OPEN_SECONDS):
            await workspace.api.call("views.open", trigger_id=trigger, view=view, patience=1)
    except (TimeoutError, *FAILURES) as error:
        log.warning("could not open a modal", error=str(error))
        return say(words)
    return ""


async def respond(workspace: Workspace, place: SlackPlace, words: str, **content: Any) -> bool:
    """Show words and other `content` to the person who acted alone. Return whether Slack took
    them."""
    content |= {"text": words, "thread_ts": place.thread or None}
    flags = {"response_type": "ephemeral", "replace_original": False}
    try:
        if place.url:
            return await workspace.api.respond(place.url, content | flags)
        if place.channel:  # a press on the Home tab has no such address
            to = place.channel
            await workspace.api.call(
                "chat.postEphemeral", patience=1, channel=to, user=place.user, **content
            )
        return bool(place.channel)
    except FAILURES:
        return False


def _is_ours(part: object, id: str) -> bool:
    return isinstance(part, Mapping) and str(part.get(id)).startswith("ponte_")


def _find_first_input(view: Payload) -> str:
    inputs = (block["block_id"] for block in view.get("blocks", ()) if block["type"] == "input")
    return next(inputs, "")


def _parse_quick_command(text: str) -> TypedCommand | None:
    try:
        return parse_command(text)
    except BadInput:
        return None


def _find_missing(command: QuickCommand | None, typed_command: TypedCommand) -> str:
    """Return a sentence about required inputs that are missing; "" if there are none."""
    if command is None:
        return ""
    try:
        check_inputs(command, typed_command.input, is_typed=True)
    except BadInput as error:
        return error.words()
    return ""


def _memory(place: SlackPlace) -> dict[str, Any]:
    """Return where the person was, because Slack does not send that with a submitted form."""
    return {"channel": place.channel, "thread": place.thread, "url": place.url}


def _field_error(field: str, words: str) -> dict[str, Any]:
    return {"response_action": "errors", "errors": {field: words}}
