"""What stands in the fake Slack, drawn as a person sees it: what was posted, as HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from adapters import web as page
from tests.fakes.slack import FakeSlack, Post
from tests.fakes.slack.records import BOT_USER, FileRecord
from tests.pictures.studio import MOMENT, ZONE

Json = dict[str, Any]

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_DATE = re.compile(r"<!date\^(\d+)\^[^|>]*\|[^>]*>")
_MRKDWN = (
    (re.compile(r"`([^`\n]+)`"), r"<code>\1</code>"),
    (re.compile(r"(?<![\w*])\*([^*\n]+)\*(?![\w*])"), r"<b>\1</b>"),
    (re.compile(r"(?<![\w_])_([^_\n]+)_(?![\w_])"), r"<i>\1</i>"),
    (re.compile(r"&lt;(https?://[^|&]+)\|([^&]+)&gt;"), r'<a href="\1">\2</a>'),
)
_FENCE = re.compile(r"```\n?(.*?)\n?```", re.DOTALL)
"""Slack knows no name of a language after the marks: it would be the first line of the code."""
_MENTION = re.compile(r"@(?:Ponte|Ana Sousa|Rui Prado|Léa Martin)\b")
_DAYS = {
    "en": ("today at", "tomorrow at"),
    "fr": ("aujourd’hui à", "demain à"),
    "pt": ("hoje às", "amanhã às"),
}


def posts(slack: FakeSlack, stood: Sequence[Post]) -> list[Json]:
    """As the pictures' records have them: who, when, text or blocks, files."""
    people = [slack.workspace.people[post.user] for post in stood]
    reader = next((someone.locale for someone in people if not someone.is_bot), "en")
    return [_post(slack, post, reader) for post in stood]


def moment(seconds: float, locale: str) -> str:
    """As Slack words `{date_short_pretty} {time}` for a reader in the studio's zone."""
    at = datetime.fromtimestamp(seconds, ZONE)
    return f"{_DAYS[locale[:2]][(at.date() - MOMENT.date()).days]} {at:%H:%M}"


def of_bot(blocks: Sequence[Json], locale: str = "en") -> Json:
    """A post of Ponte with these blocks, at the studio's moment."""
    shown = [_replace_dates(block, locale) for block in blocks]
    return {"who": "Ponte", "at": f"{MOMENT.astimezone(ZONE):%H:%M}", "app": True, "blocks": shown}


def _post(slack: FakeSlack, post: Post, locale: str) -> Json:
    text: Json = {
        "who": slack.workspace.people[post.user].name,
        "at": f"{datetime.fromtimestamp(float(post.ts), ZONE):%H:%M}",
    }
    if post.user == BOT_USER:
        text["app"] = True
    if post.blocks:
        text["blocks"] = [_replace_dates(block, locale) for block in post.blocks]
    elif post.text:
        text["text"] = _replace_mentions(slack, post.text)
    if post.files:
        text["files"] = [
            {"name": file.name, "type": file.mimetype, "lines": _lines(file)} for file in post.files
        ]
    if post.reactions:
        text["reactions"] = sorted(post.reactions)
    return text


def _lines(file: FileRecord) -> list[str]:
    """Of a text, its beginning."""
    if file.mimetype.startswith("image/"):
        return []
    return file.data.decode().rstrip().split("\n")[:8]


def _replace_mentions(slack: FakeSlack, text: str) -> str:
    return re.sub(r"<@(\w+)>", lambda found: "@" + slack.workspace.people[found[1]].name, text)


def _replace_dates(block: Any, locale: str) -> Any:
    """With moments as a reader sees them."""
    if isinstance(block, Mapping):
        return {name: _replace_dates(value, locale) for name, value in block.items()}
    if isinstance(block, str):
        return _DATE.sub(lambda found: moment(int(found[1]), locale), block)
    return [_replace_dates(each, locale) for each in block] if isinstance(block, list) else block


def thread(drawing: Json, images: Mapping[str, str]) -> str:
    """`images`: data URLs by file name."""
    drawings = [
        _rule(post["after"]) if "after" in post else _post_html(post, images)
        for post in drawing["posts"]
    ]
    if earlier := drawing["earlier"]:
        drawings.insert(0, _rule(f"{earlier} earlier"))
    elif count := len(drawings) - 1 - any("after" in post for post in drawing["posts"]):
        drawings.insert(1, _rule("1 reply" if count == 1 else f"{count} replies"))
    if drawing["status"]:
        status = html.escape(drawing["status"])
        drawings.append(f'<p class="status"><b>Ponte</b> {status}</p>')
    title = f'<b>Thread</b><span class="where"># {html.escape(drawing["place"])}</span>'
    body = "".join(drawings)
    return f'<main class="slack thread"><header>{title}<i class="close"></i></header>{body}</main>'


def modal(drawing: Json, _: Mapping[str, str]) -> str:
    view = drawing["view"]
    value = drawing.get("filled", {})
    body = "".join(_block(block, value) for block in view["blocks"])
    title, submit, close = (
        html.escape(view[name]["text"]) for name in ("title", "submit", "close")
    )
    return (
        f'<main class="slack modal"><header><b>{title}</b><i class="close"></i></header>'
        f'<div class="form">{body}</div><footer><span class="button">{close}</span>'
        f'<span class="button primary">{submit}</span></footer></main>'
    )


def home(drawing: Json, _: Mapping[str, str]) -> str:
    body = "".join(_block(block, {}) for block in drawing["view"]["blocks"])
    tabs = "".join(f"<span>{tab}</span>" for tab in ("Home", "Messages", "About"))
    return (
        f'<main class="slack home"><header><b>Ponte</b></header><nav>{tabs}</nav>'
        f'<div class="view">{body}</div></main>'
    )


def _rule(words: str) -> str:
    return f'<div class="replies"><span>{words}</span></div>'


def _post_html(post: Json, images: Mapping[str, str]) -> str:
    who = html.escape(post["who"])
    badge = '<span class="badge">APP</span>' if post.get("app") else ""
    parts = [_block(block, {}) for block in post.get("blocks", ())]
    if "text" in post:
        text = html.escape(post["text"])
        text = _MENTION.sub(lambda found: f'<span class="mention">{found[0]}</span>', text)
        parts.append(f'<div class="markdown"><p>{_mrkdwn(text)}</p></div>')
    parts += [_file(file, images) for file in post.get("files", ())]
    parts += [
        f'<span class="reaction">{_EMOJI.get(name, name)} 1</span>'
        for name in post.get("reactions", ())
    ]
    return (
        f'<article>{avatar(post["who"], bool(post.get("app")))}<div class="said"><div class="by">'
        f"<b>{who}</b>{badge}<time>{post['at']}</time></div>{''.join(parts)}</div></article>"
    )


_EMOJI = {"hourglass_flowing_sand": "⏳"}
_HUES = {"Ana Sousa": "#b5562b", "Rui Prado": "#5a7d2a", "Léa Martin": "#8a4b8f", "Maya": "#b5562b"}


def avatar(name: str, app: bool) -> str:
    if app:
        return f'<span class="avatar app">{PONTE}</span>'
    letters = "".join(word[0] for word in name.split()[:2])
    hue = _HUES.get(name, "#555")
    return f'<span class="avatar" style="background:{hue}">{letters}</span>'


PONTE = (Path(page.__file__).parent / "page" / "ponte.svg").read_text("utf-8")
"""The bot's own sign."""


def _block(block: Json, filled: Mapping[str, str]) -> str:
    match block["type"]:
        case "markdown":
            return f'<div class="markdown">{_MARKDOWN.render(block["text"])}</div>'
        case "section":
            return f'<p class="section">{_text(block["text"])}</p>'
        case "header":
            return f"<h2>{_text(block['text'])}</h2>"
        case "rich_text":
            return f'<p class="section">{_rich_text(block)}</p>'
        case "table":
            rows = (
                f"<tr>{''.join(f'<td>{_rich_text(cell)}</td>' for cell in row)}</tr>"
                for row in block["rows"]
            )
            return f'<table class="rows">{"".join(rows)}</table>'
        case "context":
            text = " ".join(_text(element) for element in block["elements"])
            return f'<p class="context">{text}</p>'
        case "actions":
            return f'<p class="actions">{"".join(map(_button, block["elements"]))}</p>'
        case "divider":
            return "<hr>"
        case "context_actions":
            return '<p class="thumbs">👍 👎</p>'
        case "input":
            return _input(block, filled)
        case kind:
            raise NotImplementedError(f"a picture of a block of type {kind!r}")


def _text(text: Json) -> str:
    if text["type"] == "mrkdwn":
        return _mrkdwn(text["text"])  # Slack's `&`, `<`, `>` stand escaped in it
    return html.escape(html.unescape(text["text"]))


def _rich_text(block: Json) -> str:
    """Sections of plain text in styles; another element is refused."""
    text = ""
    for section in block["elements"]:
        for element in section["elements"]:
            assert (section["type"], element["type"]) == ("rich_text_section", "text")
            words = html.escape(element["text"]).replace("\n", "<br>")
            for style in element.get("style", ()):
                tag = {"bold": "b", "strike": "s"}[style]
                words = f"<{tag}>{words}</{tag}>"
            text += words
    return text


def _mrkdwn(escaped: str) -> str:
    parts = _FENCE.split(escaped)
    for number, part in enumerate(parts):
        if number % 2:
            parts[number] = f'<span class="block">{part}</span>'
            continue
        text = part.strip("\n") if len(parts) > 1 else part
        for pattern, drawing in _MRKDWN:
            text = pattern.sub(drawing, text)
        parts[number] = text.replace("\n", "<br>")
    return "".join(parts)


def _button(element: Json) -> str:
    style = element.get("style", "")
    return f'<span class="button {style}">{_text(element["text"])}</span>'


def _input(block: Json, filled: Mapping[str, str]) -> str:
    element, label = block["element"], _text(block["label"])
    optional = ' <span class="optional">(optional)</span>' if block.get("optional") else ""
    value = filled.get(block["block_id"]) or element.get("initial_value", "")
    kind = "select" if element["type"] == "static_select" else "field"
    if kind == "select":
        names = {option["value"]: option["text"]["text"] for option in element["options"]}
        value = names.get(value, "")
    if element.get("multiline"):
        kind += " lines"
    view = html.escape(value) or "&nbsp;"
    return f'<label>{label}{optional}</label><div class="{kind}">{view}</div>'


def _file(file: Json, images: Mapping[str, str]) -> str:
    name = html.escape(file["name"])
    if file["name"] in images:
        return f'<p class="filename">{name} ▾</p><img class="plot" src="{images[file["name"]]}">'
    numbered = "".join(f"<li>{html.escape(line) or ' '}</li>" for line in file["lines"])
    return f'<div class="file"><p class="filename">{name} ▾</p><ol>{numbered}</ol></div>'
