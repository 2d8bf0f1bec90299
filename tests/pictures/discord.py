"""What stands in the fake Discord, drawn as a person sees it: what was sent, as HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from markdown_it import MarkdownIt

from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.world import Payload
from tests.pictures.slack import avatar
from tests.pictures.studio import MOMENT, ZONE

Json = dict[str, Any]

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("strikethrough")
_MOMENT = re.compile(r"<t:(\d+):([Rf])>")
_SMALL = re.compile(r"^(<p>)?-# (.+?)(</p>|<br />)?$", re.MULTILINE)
_STYLES = {1: "blurple", 2: "grey", 3: "green", 4: "red"}


def messages(discord: FakeDiscord, said: Iterable[Payload]) -> list[Json]:
    """As the pictures' records have them."""
    return [_message(discord, one) for one in said]


def _message(discord: FakeDiscord, one: Payload) -> Json:
    at = datetime.fromisoformat(one["timestamp"]).astimezone(ZONE)
    text: Json = {"who": one["author"]["global_name"], "at": f"{at:%H:%M}"}
    if one["author"]["bot"]:
        text["app"] = True
    if metadata := one.get("interaction_metadata"):
        text["used"] = metadata["user"]["global_name"]
    if one["content"]:
        me = discord.world.me
        text["text"] = replace_moments(one["content"].replace(f"<@{me.id}>", f"@{me.name}"))
    if one["embeds"]:
        text["embeds"] = [_embed(embed) for embed in one["embeds"]]
    if one["components"]:
        text["buttons"] = [
            [
                {
                    "label": button.get("label") or button["emoji"]["name"],
                    "style": _STYLES[button["style"]],
                }
                for button in row["components"]
            ]
            for row in one["components"]
        ]
    if one["attachments"]:
        text["files"] = [file["filename"] for file in one["attachments"]]
    return text


def of_bot(embeds: Iterable[Json]) -> Json:
    """A message of Ponte with these embeds, at the studio's moment."""
    at = f"{MOMENT.astimezone(ZONE):%H:%M}"
    return {"who": "Ponte", "at": at, "app": True, "embeds": [_embed(each) for each in embeds]}


def _embed(embed: Json) -> Json:
    return {
        "title": embed.get("title", ""),
        "description": replace_moments(embed.get("description", "")),
        "colour": f"#{embed.get('color', 0):06x}",
        "author": embed.get("author", {}).get("name", ""),
        "footer": embed.get("footer", {}).get("text", ""),
    }


def replace_moments(text: str) -> str:
    """With moments as a reader sees them."""

    def describe_moment(found: re.Match[str]) -> str:
        if found[2] == "f":
            return f"{datetime.fromtimestamp(int(found[1]), ZONE):%-d %B %Y %H:%M}"
        hours = round((int(found[1]) - MOMENT.timestamp()) / 3600)
        return "in a day" if 22 <= hours <= 26 else f"in {hours} hours"

    return _MOMENT.sub(describe_moment, text)


def talk(drawing: Json, images: Mapping[str, str]) -> str:
    body = "".join(_message_html(message, drawing, images) for message in drawing["messages"])
    sign = "@" if drawing.get("direct") else "#"
    title = f"<i>{sign}</i><b>{html.escape(drawing['place'])}</b>"
    return f'<main class="discord"><header>{title}</header>{body}</main>'


def form(drawing: Json, _: Mapping[str, str]) -> str:
    modal = drawing["modal"]
    fields = "".join(map(_field, modal["fields"]))
    return (
        f'<main class="discord form"><h1>{html.escape(modal["title"])}</h1>{fields}<footer>'
        '<span class="button grey">Cancel</span><span class="button blurple">Submit</span>'
        "</footer></main>"
    )


def _field(field: Json) -> str:
    required = "<em>*</em>" if field["required"] else ""
    about = f'<p class="about">{html.escape(field["about"])}</p>' if field["about"] else ""
    value = html.escape(field["value"]) or "&nbsp;"
    label = html.escape(field["label"])
    return f'<label>{label}{required}</label>{about}<div class="field">{value}</div>'


def _message_html(message: Json, drawing: Json, images: Mapping[str, str]) -> str:
    text = ""
    if message.get("used"):
        who = html.escape(message["used"])
        text = f'<p class="used"><b>{who}</b> used <span>/{drawing["command"]}</span></p>'
    badge = '<span class="badge">APP</span>' if message.get("app") else ""
    parts = []
    if message.get("text"):
        parts.append(f'<div class="markdown">{prose(message["text"])}</div>')
    parts += [_card(embed) for embed in message.get("embeds", ())]
    for row in message.get("buttons", ()):
        buttons = "".join(
            f'<span class="button {button["style"]}">{html.escape(button["label"])}</span>'
            for button in row
        )
        parts.append(f'<p class="actions">{buttons}</p>')
    parts += [
        f'<img class="plot" src="{images[name]}">'
        if name in images
        else f'<p class="file">{html.escape(name)}</p>'
        for name in message.get("files", ())
    ]
    return (
        f'{text}<article>{avatar(message["who"], bool(message.get("app")))}<div class="said">'
        f'<div class="by"><b>{html.escape(message["who"])}</b>{badge}<time>{message["at"]}</time>'
        f"</div>{''.join(parts)}</div></article>"
    )


def _card(embed: Json) -> str:
    return (
        f'<div class="embed" style="border-color:{embed["colour"]}">'
        f'<p class="author">{html.escape(embed["author"])}</p>'
        f"<b>{html.escape(embed['title'])}</b>"
        f'<div class="markdown">{prose(embed["description"])}</div>'
        f'<p class="footer">{html.escape(embed["footer"])}</p></div>'
    )


def prose(text: str) -> str:
    drawing = _SMALL.sub(r"\1<small>\2</small>\3", _MARKDOWN.render(text))
    return re.sub(r"@Ponte\b", '<span class="mention">@Ponte</span>', drawing)
