"""What a message says, whoever posted it: people, other apps, and what was forwarded.

Other apps' messages mostly have an empty or a short `text`; what they say stands in `blocks` and
`attachments` (openclaw/openclaw issue 97727, NousResearch/hermes-agent issue 33469). All of it is
given in Slack's own mrkdwn, for `markup.readable`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from core.messages import Attachment

Json = Mapping[str, Any]
_LONGEST = 20_000
_DEEPEST = 8
NOT_A_FILE = frozenset({"tombstone", "hidden_by_limit"})
"""The `mode` of a file that is gone, or older than a free workspace shows."""


def words(message: Json) -> str:
    """What it says, without what is only a preview of a link."""
    return "\n".join(filter(None, [own(message), *unfurled(message)]))[:_LONGEST]


def own(message: Json) -> str:
    """The same without what hangs on it: what its author wrote."""
    text = str(message.get("text") or "").strip()
    shown = "\n".join(_lines(message.get("blocks"))).strip()
    if not text or (message.get("bot_id") and len(shown) > len(text)):
        text = shown or text
    return text[:_LONGEST]


def unfurled(message: Json) -> Sequence[str]:
    """What apps hang on a message, without forwarded messages and previews of links."""
    hung = _listed(message.get("attachments"))
    return [_attached(one) for one in hung if not is_forwarded(one) and not _is_preview(one)]


def forwarded(message: Json) -> Sequence[tuple[str, str, Json]]:
    """The messages that it shares: (who said it, what, the attachment)."""
    return [
        (str(one.get("author_id") or one.get("author_name") or "?"), _attached(one), one)
        for one in _listed(message.get("attachments"))
        if is_forwarded(one)
    ]  # fmt: skip


def is_forwarded(attachment: Json) -> bool:
    return bool(attachment.get("is_share") or attachment.get("is_msg_unfurl"))


def files(message: Json) -> tuple[Attachment, ...]:
    """`reference` is the file's id and its private address, which needs our token to be read. Of
    files in channels shared with other companies only the id is told
    (docs.slack.dev/reference/events/message/file_share)."""
    return tuple(
        Attachment(
            name=str(file.get("name") or file["id"]), type=str(file.get("mimetype") or ""),
            size=int(file.get("size") or 0),
            reference=f"{file['id']} {_address(file)}".strip(),
        )
        for file in _listed(message.get("files"))
        if file.get("id") and file.get("mode") not in NOT_A_FILE
    )  # fmt: skip


def _address(file: Json) -> str:
    return str(file.get("url_private_download") or file.get("url_private") or "")


def _is_preview(attachment: Json) -> bool:
    return bool(attachment.get("from_url") or attachment.get("original_url"))


def _attached(attachment: Json) -> str:
    """docs.slack.dev/reference/messaging/payload, "Legacy fields"."""
    said = [str(attachment.get(name) or "") for name in ("pretext", "title", "text")]
    said += list(_lines(attachment.get("blocks")))
    said += [
        f"{field.get('title') or ''}: {field.get('value') or ''}".strip(": ")
        for field in _listed(attachment.get("fields"))
    ]
    if not any(said):
        said = [str(attachment.get("fallback") or "")]
    return "\n".join(filter(None, said))


def _lines(blocks: Any, depth: int = 0) -> Iterator[str]:
    """What a person reads of blocks, a line for each; buttons and pictures by their names."""
    for block in _listed(blocks):
        if depth > _DEEPEST:
            return
        kind = block.get("type")
        if kind in ("rich_text_section", "rich_text_preformatted", "rich_text_quote"):
            yield "".join(map(_inline, _listed(block.get("elements"))))
        elif kind == "image":
            yield _text(block.get("title")) or str(block.get("alt_text") or "")
        elif kind == "table":
            for row in block.get("rows") or ():
                yield " | ".join(" ".join(_lines([cell], depth + 1)) for cell in _listed(row))
        elif kind == "actions":
            continue
        else:
            yield from filter(None, [_text(block.get("title")), _text(block.get("text"))])
            yield from filter(None, map(_text, _listed(block.get("fields"))))
            yield from _lines(block.get("elements"), depth + 1)


def _inline(element: Json) -> str:
    """docs.slack.dev/reference/block-kit/blocks/rich-text-block."""
    match element.get("type"):
        case "user":
            return f"<@{element.get('user_id')}>"
        case "usergroup":
            return f"<!subteam^{element.get('usergroup_id')}>"
        case "channel":
            return f"<#{element.get('channel_id')}>"
        case "broadcast":
            return f"<!{element.get('range')}>"
        case "emoji":
            return f":{element.get('name')}:"
        case "link":
            url, label = str(element.get("url") or ""), escape(str(element.get("text") or ""))
            return f"<{url}|{label}>" if label else f"<{url}>"
        case _:
            return escape(str(element.get("text") or element.get("fallback") or ""), quote=False)


def _text(value: Any) -> str:
    """A text object's words, or a plain string."""
    return str(value.get("text") or "") if isinstance(value, Mapping) else str(value or "")


def _listed(value: Any) -> Sequence[Json]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return [each for each in value if isinstance(each, Mapping)]
