"""Actions of people on the fake Discord, and what they see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tests.fakes.discord import messages
from tests.fakes.discord.interactions import (
    AUTOCOMPLETE,
    COMMAND,
    COMPONENT,
    MODAL_SUBMIT,
    Exchange,
)
from tests.fakes.discord.limits import CHECKBOX, SELECT, TEXT_INPUT
from tests.fakes.discord.world import THREAD, Channel, Payload, User

if TYPE_CHECKING:
    from tests.fakes.discord.server import FakeDiscord

OPTION_STRING, OPTION_ATTACHMENT = 3, 11


class DiscordPerson:
    def __init__(self, discord: FakeDiscord, user: User) -> None:
        self.discord = discord
        self.user = user

    @property
    def id(self) -> int:
        return self.user.id

    @property
    def dm(self) -> Channel:
        return self.discord.world.dm(self.user)

    async def say(
        self,
        text: str,
        where: Channel | None = None,
        *,
        files: Sequence[tuple[str, bytes]] = (),
        reply_to: Payload | None = None,
        ping: bool = True,
        ago: float = 0.0,
        id: int = 0,
        **more: Any,
    ) -> Payload:
        """Write `text` in a DM to the bot, or `where`; `ago` seconds ago."""
        world, rest = self.discord.world, self.discord.rest
        channel = where or self.dm
        reference = None
        if reply_to is not None:
            reference = {"message_id": reply_to["id"], "channel_id": str(channel.id)}
        message = messages.make(
            world,
            channel,
            self.user,
            text,
            attachments=messages.attachments(world, channel.id, rest.base, files),
            reference=reference,
            allowed={**messages.EVERYBODY, "replied_user": ping},
            id=id or world.clock.snowflake(ago),
            **more,
        )
        await rest.send_event("MESSAGE_CREATE", message)
        return message

    async def speak(self, data: bytes, seconds: float = 3.0, **more: Any) -> Payload:
        """Send a voice message: no text, one file with a length and a waveform, and the flag
        (resources/message.mdx, voice messages)."""
        name, channel = "voice-message.ogg", more.pop("where", None) or self.dm
        world, rest = self.discord.world, self.discord.rest
        (file,) = messages.attachments(world, channel.id, rest.base, [(name, data)])
        file |= {"content_type": "audio/ogg", "duration_secs": seconds, "waveform": "AAAA"}
        file |= more.pop("file", {})
        message = messages.make(
            world, channel, self.user, "", attachments=[file], flags=1 << 13, **more
        )
        await rest.send_event("MESSAGE_CREATE", message)
        return message

    async def mention(self, text: str, where: Channel, **more: Any) -> Payload:
        return await self.say(f"<@{self.discord.world.me.id}> {text}", where, **more)

    async def post_in_forum(self, text: str, forum: Channel) -> Channel:
        """Begin a post with a mention. It is a thread that has the id of its first message
        (topics/threads.mdx)."""
        world = self.discord.world
        thread = world.channel(
            type=THREAD, name=text[:100], guild=forum.guild, parent=forum.id, owner=self.id
        )
        await self.mention(text, thread, id=thread.id)
        return thread

    async def ask(self, text: str, where: Channel | None = None, **more: Any) -> Payload:
        """Ask in a DM to the bot, or by a mention in `where`; return the answer of an echo."""
        await (self.mention(text, where, **more) if where else self.say(text, **more))
        return await self.wait_for_text(f"You said: {text}", where)

    async def mention_role(self, text: str, where: Channel, **more: Any) -> Payload:
        """As the mention picker often does it: with the bot's own role."""
        assert where.guild is not None
        return await self.say(f"<@&{where.guild.own_role}> {text}", where, **more)

    async def forward(self, message: Payload, where: Channel | None = None) -> Payload:
        """The message as it stands, in another place (resources/message.mdx, Forwards)."""
        attachments = (
            "type",
            "content",
            "embeds",
            "attachments",
            "timestamp",
            "edited_timestamp",
            "flags",
            "mentions",
            "mention_roles",
            "components",
        )
        snapshot = {"message": {key: message[key] for key in attachments}}
        reference = {"type": 1, "message_id": message["id"], "channel_id": message["channel_id"]}
        return await self.say("", where, message_reference=reference, message_snapshots=[snapshot])

    async def edit(self, message: Payload, text: str) -> None:
        message["content"] = text
        channel = self.discord.world.channels[int(message["channel_id"])]
        message |= messages.mentions(
            self.discord.world, channel, message, {**messages.EVERYBODY, "replied_user": False}
        )
        message["edited_timestamp"] = self.discord.world.clock.timestamp()
        await self.discord.rest.send_event("MESSAGE_UPDATE", message)

    async def delete(self, message: Payload) -> None:
        await self.discord.rest.remove(message)

    async def wait_for_messages(
        self, met: Callable[[list[Payload]], object], where: Channel | None = None
    ) -> list[Payload]:
        """Wait until `met` is true for the bot's messages there; return them."""
        channel = where or self.dm
        world = self.discord.world

        def bot_messages() -> list[Payload]:
            return world.messages_by(world.me.id, channel.id)

        await world.wait_until(lambda: met(bot_messages()))
        return bot_messages()

    async def wait_for_text(self, text: str, where: Channel | None = None) -> Payload:
        """Wait for a message of the bot that contains `text`; return it."""
        match = await self.wait_for_messages(
            lambda seen: any(text in m["content"] for m in seen), where
        )
        return next(m for m in match if text in m["content"])

    async def slash(
        self, name: str, where: Channel | None = None, *, locale: str = "en-US", **options: object
    ) -> Exchange:
        """`/name`: text options by name, and files as (name, bytes)."""
        return await self._command(COMMAND, name, where, locale, options, "")

    async def autocomplete(
        self, name: str, focused: str, where: Channel | None = None, **options: object
    ) -> list[Payload]:
        exchange = await self._command(AUTOCOMPLETE, name, where, "en-US", options, focused)
        await exchange.wait_for_ack()
        choices: list[Payload] = exchange.data["choices"]
        return choices

    async def _command(
        self,
        type: int,
        name: str,
        where: Channel | None,
        locale: str,
        options: dict[str, object],
        focused: str,
    ) -> Exchange:
        channel = where or self.dm
        command = self.discord.command(name)
        new_options: list[Payload] = []
        resolved: Payload = {}
        for key, value in options.items():
            option: Payload = {"name": key, "type": OPTION_STRING, "value": value}
            if isinstance(value, tuple):
                world, base = self.discord.world, self.discord.rest.base
                (result,) = messages.attachments(world, channel.id, base, [value])
                resolved.setdefault("attachments", {})[result["id"]] = result
                option |= {"type": OPTION_ATTACHMENT, "value": result["id"]}
            if key == focused:
                option["focused"] = True
            new_options.append(option)
        data = {
            "id": command["id"],
            "name": name,
            "type": 1,
            "options": new_options,
            "resolved": resolved,
        }
        return await self.discord.interactions.begin(type, self.user, channel, data, locale)

    async def context_menu(self, name: str, message: Payload) -> Exchange:
        channel = self.discord.world.channels[int(message["channel_id"])]
        command = self.discord.command(name)
        granted = bool(self.discord.gateway.granted & messages.MESSAGE_CONTENT)
        view = messages.withhold_content(self.discord.world, message, granted, target=True)
        data = {
            "id": command["id"],
            "name": name,
            "type": 3,
            "target_id": message["id"],
            "resolved": {"messages": {message["id"]: view}},
        }
        return await self.discord.interactions.begin(COMMAND, self.user, channel, data, "en-US")

    async def click(self, message: Payload, label: str, locale: str = "en-US") -> Exchange:
        """Click the button with that label, or else with that emoji, under `message`. The one that
        approves is *Approve*, whatever it says."""
        channel = self.discord.world.channels[int(message["channel_id"])]
        buttons = [item for row in message["components"] for item in row["components"]]
        button = next(b for b in buttons if name_button(b) == label and not b.get("disabled"))
        data = {"custom_id": button["custom_id"], "component_type": 2}
        return await self.discord.interactions.begin(
            COMPONENT, self.user, channel, data, locale, message=message
        )

    async def select(self, message: Payload, *values: str, menu: int = 0) -> Exchange:
        """Choose these options of a select menu under `message`."""
        channel = self.discord.world.channels[int(message["channel_id"])]
        menus = [
            item
            for row in message["components"]
            for item in row["components"]
            if item["type"] == SELECT
        ]
        data = {
            "custom_id": menus[menu]["custom_id"],
            "component_type": SELECT,
            "values": list(values),
        }
        return await self.discord.interactions.begin(
            COMPONENT, self.user, channel, data, "en-US", message=message
        )

    async def submit(self, modal: Exchange, **values: object) -> Exchange:
        """Fill in and send the modal that an interaction was answered with. A checkbox has a bool,
        a select its option. The message under whose component it was opened comes along."""
        rows: list[Payload] = []
        for item in fields(modal.data["components"]):
            id, default = item["custom_id"], read_default(item)
            value = values.get(id, default)
            body = {"type": item["type"], "custom_id": id}
            body |= (
                {"values": [value] if value else []} if item["type"] == SELECT else {"value": value}
            )
            rows.append({"type": 18, "component": body})
        data = {"custom_id": modal.data["custom_id"], "components": rows}
        more = {} if modal.original is None else {"message": modal.original}
        return await self.discord.interactions.begin(
            MODAL_SUBMIT, self.user, modal.channel, data, "en-US", **more
        )


def name_button(button: Payload) -> str:
    if str(button.get("custom_id")).startswith("ponte:approve:"):
        return "Approve"
    return str(button.get("label") or (button.get("emoji") or {}).get("name"))


def fields(components: list[Payload]) -> list[Payload]:
    """The inputs of a modal."""
    matches: list[Payload] = []
    for item in components:
        if item["type"] in (SELECT, TEXT_INPUT, CHECKBOX):
            matches.append(item)
        inner = item.get("components") or ([item["component"]] if "component" in item else [])
        matches.extend(fields(inner))
    return matches


def read_default(item: Payload) -> object:
    """What an input holds that nobody touched."""
    if item["type"] == CHECKBOX:
        return bool(item.get("default"))
    if item["type"] == SELECT:
        return next((one["value"] for one in item["options"] if one.get("default")), "")
    return item.get("value") or ""
