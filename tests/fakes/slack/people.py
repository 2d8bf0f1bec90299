"""Actions of people in the fake workspace: posts, edits, clicks, commands, modals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import chat
from .delivery import Deliveries, Delivery
from .reads import user_json
from .records import (
    APP_ID,
    BOT_USER,
    MENTION,
    TEAM,
    FileRecord,
    Hook,
    Json,
    Post,
    SlackChannel,
    SlackPerson,
    file_json,
    name_button,
    new_id,
    redact_file,
)
from .workspace import Workspace


class PeopleActions:
    def __init__(self, workspace: Workspace, deliveries: Deliveries) -> None:
        self.workspace = workspace
        self.deliveries = deliveries

    def person(self, name: str, **details: Any) -> SlackPerson:
        """Someone new. `team`, `locale`, `tz`, `is_bot`, `guest` as in `SlackPerson`."""
        someone = SlackPerson(new_id("U"), name, **details)
        self.workspace.people[someone.id] = someone
        return someone

    def join(self, name: str, **details: Any) -> SlackPerson:
        """Let somebody join the workspace now; arguments as for `person`."""
        someone = self.person(name, **details)
        self._tell_of(someone, "team_join")
        return someone

    def change_person(self, someone: SlackPerson, **details: Any) -> None:
        """Change a person's data: name, zone, guest, status…; a status alone raises the event too
        (docs.slack.dev/reference/events/user_status_changed)."""
        for name, value in details.items():
            setattr(someone, name, value)
        self._tell_of(someone, "user_change")

    def _tell_of(self, someone: SlackPerson, event: str) -> None:
        if self.workspace.hears_of_people:
            user = user_json(someone, locale=False)
            at = self.workspace.clock.ts()
            self.event({"type": event, "user": user, "cache_ts": 0, "event_ts": at})

    def channel(self, name: str, *members: SlackPerson, bot: bool = True) -> SlackChannel:
        return self._place("C", name, "channel", members, bot)

    def dm(self, someone: SlackPerson) -> SlackChannel:
        return self._place("D", someone.name, "im", (someone,), True)

    def group_dm(self, *members: SlackPerson) -> SlackChannel:
        return self._place("G", "group", "mpim", members, True)

    def _place(
        self, prefix: str, name: str, kind: Any, members: Sequence[SlackPerson], bot: bool
    ) -> SlackChannel:
        ids = {member.id for member in members} | ({BOT_USER} if bot else set())
        place = SlackChannel(new_id(prefix), name, kind, ids)
        self.workspace.places[place.id] = place
        return place

    def leave(self, someone: str, place: SlackChannel) -> Delivery:
        """Let a person, or the bot, leave a channel (reference/events/member_left_channel)."""
        place.members.discard(someone)
        event = {"type": "member_left_channel", "user": someone, "channel": place.id}
        return self.event(event | {"channel_type": place.id[0], "team": TEAM})

    def say(
        self,
        someone: SlackPerson,
        place: SlackChannel,
        text: str,
        thread: Post | None = None,
        files: Sequence[tuple[str, str, bytes] | tuple[str, str, bytes, float]] = (),
        attachments: Sequence[Json] = (),
        envelope: Json | None = None,
        **extra: Any,
    ) -> Post:
        """Post as a person. `files`: (name, type, bytes). `attachments`: what it shares of other
        messages. The app gets what Slack sends; `extra` and `envelope` differ from that."""
        root = (thread.thread_ts or thread.ts) if thread else ""
        post = Post(place.id, self.workspace.clock.ts(), someone.id, text, thread_ts=root)
        post.files = [self._file(someone, *file) for file in files]
        post.attachments = list(attachments)
        self.workspace.add(post)
        event = self._message_event(someone, place, post) | extra
        self.event(event | ({"subtype": "file_share"} if files else {}), envelope)
        if MENTION in text and place.kind != "im":
            twin = {k: v for k, v in event.items() if k not in ("channel_type", "subtype")}
            self.event(twin | {"type": "app_mention"}, envelope)
        for file in post.files:
            self.event({"type": "file_shared", "file_id": file.id, "channel_id": place.id})
        return post

    def record_clip(
        self,
        someone: SlackPerson,
        place: SlackChannel,
        data: bytes,
        seconds: float = 3.0,
        text: str = "",
        mimetype: str = "audio/mp4",
        thread: Post | None = None,
    ) -> Post:
        """Post an audio clip, as Slack's recorder does: MP4, sometimes called video/mp4."""
        name = "audio_message.mp4"
        return self.say(someone, place, text, thread, files=[(name, mimetype, data, seconds)])

    def alert(
        self,
        place: SlackChannel,
        blocks: Sequence[Json] = (),
        attachments: Sequence[Json] = (),
        thread: Post | None = None,
        files: Sequence[tuple[str, str, bytes]] = (),
        text: str = "",
    ) -> Post:
        """Another app posts: its `text` is mostly empty, and what it says stands beside it
        (openclaw/openclaw/issues/97727)."""
        robot = self.person("Alerts", is_bot=True)
        root = (thread.thread_ts or thread.ts) if thread else ""
        post = Post(place.id, self.workspace.clock.ts(), robot.id, text, thread_ts=root)
        post.bot_id, post.blocks = "B" + robot.id[1:], list(blocks)
        post.attachments = list(attachments)
        post.files = [self._file(robot, *file) for file in files]
        self.workspace.add(post)
        event = self._message_event(robot, place, post)
        self.event(event | {"subtype": "bot_message", "username": "Alerts"})
        return post

    def _message_event(self, someone: SlackPerson, place: SlackChannel, post: Post) -> Json:
        event = post.event() | {"channel": place.id, "channel_type": place.kind}
        event |= {"event_ts": post.ts, "team": someone.team, "client_msg_id": new_id("msg-")}
        if someone.team != TEAM:
            event["user_team"] = someone.team
        if someone.is_bot:
            event["bot_id"] = "B" + someone.id[1:]
        if post.files:
            shared_with_strangers, origin = place.shared_with_strangers, self.workspace.origin
            event["files"] = [
                redact_file(file) if shared_with_strangers else file_json(file, origin)
                for file in post.files
            ]
        if post.thread_ts:
            root = self.workspace.posts[place.id, post.thread_ts]
            event["parent_user_id"] = root.user
        return event

    def _file(
        self, someone: SlackPerson, name: str, mimetype: str, data: bytes, seconds: float = 0.0
    ) -> FileRecord:
        file = FileRecord(new_id("F"), name, mimetype, data, someone.id, True, seconds)
        self.workspace.files[file.id] = file
        return file

    def event(self, event: Json, envelope: Json | None = None) -> Delivery:
        """Send an event, wrapped as the Events API wraps it; `envelope` differs from that."""
        place = self.workspace.places.get(str(event.get("channel", "")))
        return self.deliveries.send(
            "events_api",
            {
                "type": "event_callback",
                "team_id": TEAM,
                "context_team_id": TEAM,
                "api_app_id": APP_ID,
                "event_id": new_id("Ev"),
                "event_time": 0,
                "event": event,
                "is_ext_shared_channel": bool(place and place.shared_with_strangers),
                "authorizations": [
                    {
                        "enterprise_id": None,
                        "team_id": TEAM,
                        "user_id": BOT_USER,
                        "is_bot": True,
                        "is_enterprise_install": False,
                    }
                ],
            }
            | (envelope or {}),
        )

    def edit(self, post: Post, text: str) -> Delivery:
        """Change the text of a post. Each edit that leaves a mention of the app in a channel is
        also an `app_mention`, with `edited` (slackapi/bolt-js issue 960)."""
        before = post.event()
        post.text, post.edited = text, self.workspace.clock.ts()
        post.versions.append(text)
        place = self.workspace.places[post.channel]
        if MENTION in text and place.kind != "im":
            self.event(
                post.event() | {"type": "app_mention", "channel": place.id, "event_ts": post.edited}
            )
        return self.event(
            {
                "type": "message",
                "subtype": "message_changed",
                "hidden": True,
                "channel": post.channel,
                "channel_type": place.kind,
                "ts": post.edited,
                "event_ts": post.edited,
                "message": post.event(),
                "previous_message": before,
            }
        )

    def remove(self, post: Post) -> None:
        """Delete a post, one's own or (as an admin) the bot's."""
        chat.remove(self.workspace, post)

    def stop(self, someone: SlackPerson, place: SlackChannel, thread_ts: str) -> Delivery:
        """Press the native stop button: it is there only while the session says `processing`,
        which stays so until the app changes it (reference/events/agent_session_stopped)."""
        if self.workspace.sessions.get((place.id, thread_ts)) != "processing":
            raise AssertionError("there is no stop button")
        open_streams = self.stop_streams(place, thread_ts)
        return self.event(
            {
                "type": "agent_session_stopped",
                "channel": place.id,
                "thread_ts": thread_ts,
                "user": someone.id,
                "streaming_message_ts": open_streams,
                "event_ts": self.workspace.clock.ts(),
            }
        )

    def stop_streams(self, place: SlackChannel, thread_ts: str) -> list[str]:
        """What the button does to open streams; the event may still be lost on its way."""
        streams = [
            post for post in self.workspace.thread(place.id, thread_ts) if post.stream is not None
        ]
        for post in streams:
            if post.stream is not None:
                post.stream.stopped = True
        return [post.ts for post in streams]

    def open_home(self, someone: SlackPerson, tab: str = "home") -> Delivery:
        place = next(
            (
                p
                for p in self.workspace.places.values()
                if p.kind == "im" and someone.id in p.members
            ),
            None,
        )
        return self.event(
            {
                "type": "app_home_opened",
                "user": someone.id,
                "tab": tab,
                "channel": place.id if place else "D0NONE",
                "event_ts": self.workspace.clock.ts(),
            }
        )

    def click(
        self, someone: SlackPerson, post: Post, label: str, lies: Json | None = None
    ) -> Delivery:
        button = post.buttons[label]
        return self.interact(
            someone,
            {
                "type": "block_actions",
                "trigger_id": self.workspace.trigger(),
                "channel": {"id": post.channel},
                "message": post.event(),
                "container": {
                    "type": "message",
                    "message_ts": post.ts,
                    "channel_id": post.channel,
                    "thread_ts": post.thread_ts or None,
                },
                "actions": [
                    {
                        "type": "button",
                        "action_id": button["action_id"],
                        "block_id": button["block_id"],
                        "value": button.get("value", ""),
                        "action_ts": self.workspace.clock.ts(),
                    }
                ],
            },
            lies,
        )

    def rate(
        self, someone: SlackPerson, post: Post, thumb: str, lies: Json | None = None
    ) -> Delivery | None:
        """Press the thumb `up` or `down`. Pressed again, it is taken back, and Slack sends no event
        of that (reported for GitLab's app)."""
        button = {"up": "positive_button", "down": "negative_button"}[thumb]
        if post.votes.get(someone.id) == button:
            del post.votes[someone.id]
            return None
        post.votes[someone.id] = button
        element = post.thumbs
        return self.interact(
            someone,
            {
                "type": "block_actions",
                "trigger_id": self.workspace.trigger(),
                "channel": {"id": post.channel},
                "message": post.event(),
                "container": {"type": "message", "message_ts": post.ts, "channel_id": post.channel},
                "actions": [
                    {
                        "type": "feedback_buttons",
                        "action_id": element["action_id"],
                        "block_id": "b1",
                        "value": element[button]["value"],
                        "action_ts": self.workspace.clock.ts(),
                    }
                ],
            },
            lies,
        )

    def click_home(self, someone: SlackPerson, label: str) -> Delivery:
        """Press the last button with this label on the person's Home tab. Such a click names no
        channel, no message and no response_url."""
        view = self.workspace.homes[someone.id]
        buttons = [
            (block, each)
            for block in view["blocks"]
            for each in (*block.get("elements", ()), block.get("accessory", {}))
            if each.get("type") == "button"
        ]
        block, button = {name_button(button): (block, button) for block, button in buttons}[label]
        return self.interact(
            someone,
            {
                "type": "block_actions",
                "trigger_id": self.workspace.trigger(),
                "container": {"type": "view", "view_id": "V1"},
                "view": {**view, "id": "V1"},
                "actions": [
                    {
                        "type": "button",
                        "action_id": button["action_id"],
                        "block_id": block.get("block_id", "b1"),
                        "value": button["value"],
                        "action_ts": self.workspace.clock.ts(),
                    }
                ],
            },
        )

    def shortcut(self, someone: SlackPerson, post: Post, callback_id: str) -> Delivery:
        return self.interact(
            someone,
            {
                "type": "message_action",
                "callback_id": callback_id,
                "message": post.event(),
                "trigger_id": self.workspace.trigger(),
                "channel": {"id": post.channel},
                "message_ts": post.ts,
                "action_ts": self.workspace.clock.ts(),
            },
        )

    def submit(
        self, someone: SlackPerson, view: Json, values: dict[str, str], lies: Json | None = None
    ) -> Delivery:
        """Fill a modal: block id → what is typed or chosen. Slack sends every input, those that
        nobody touched with their initial values, empty ones as null."""
        state = {}
        for block in view["blocks"]:
            if block["type"] == "input":
                element = block["element"]
                request = read_input(element, values.get(block["block_id"]))
                state[block["block_id"]] = {element["action_id"]: request}
        return self.interact(
            someone,
            {
                "type": "view_submission",
                "trigger_id": self.workspace.trigger(),
                "view": {**view, "state": {"values": state}, "app_installed_team_id": TEAM},
            },
            lies,
        )

    def command(
        self,
        someone: SlackPerson,
        place: SlackChannel,
        command: str,
        text: str,
        lies: Json | None = None,
    ) -> Delivery:
        return self.deliveries.send(
            "slash_commands",
            {
                "command": command,
                "text": text,
                "user_id": someone.id,
                "user_name": someone.name,
                "channel_id": place.id,
                "channel_name": place.name,
                "team_id": someone.team,
                "team_domain": "ponte",
                "api_app_id": APP_ID,
                "trigger_id": self.workspace.trigger(),
                "response_url": self._response_url(place.id, someone, True),
                "is_enterprise_install": "false",
            }
            | (lies or {}),
        )

    def interact(self, someone: SlackPerson, payload: Json, lies: Json | None = None) -> Delivery:
        channel = payload.get("channel", {}).get("id", "")
        text = payload | {
            "team": {"id": TEAM, "domain": "ponte"},
            "api_app_id": APP_ID,
            "enterprise": None,
            "user": {"id": someone.id, "name": someone.name, "team_id": someone.team},
            "is_enterprise_install": False,
        }
        if channel:
            text["response_url"] = self._response_url(channel, someone)
        return self.deliveries.send("interactive", text | (lies or {}))

    def _response_url(self, channel: str, someone: SlackPerson, command: bool = False) -> str:
        id = new_id("hook-")
        self.workspace.hooks[id] = Hook(channel, someone.id, command)
        return f"{self.workspace.origin}/response/{id}"


def read_input(element: Json, value: str | None) -> Json:
    """The state of an input with this value; None: as it was opened. A checkbox's is "true"."""
    kind = element["type"]
    options = {one["value"]: one for one in element.get("options", [])}
    if kind == "static_select":
        choice = element.get("initial_option") if value is None else {"value": value}
        return {"type": kind, "selected_option": choice}
    if kind == "checkboxes":
        ticked = element.get("initial_options", [])
        if value is not None:
            ticked = list(options.values()) if value == "true" else []
        return {"type": kind, "selected_options": ticked}
    if kind == "datepicker":
        date = element.get("initial_date") if value is None else value
        return {"type": kind, "selected_date": date or None}
    return {
        "type": kind,
        "value": (element.get("initial_value") if value is None else value) or None,
    }
