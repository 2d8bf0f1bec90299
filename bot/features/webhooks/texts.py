"""The texts of webhooks."""

from __future__ import annotations

from collections.abc import Iterator

from bot.operation_texts import TEXTS, ResultText, Row, View
from core.base.i18n import say
from core.base.text import clean_text


def format_delivery(result: Row, view: View) -> Iterator[str]:
    """Yield what `ponte hooks test` shows: the place, the permissions with their rules, and the
    post or the request to the model, or why nothing would be posted."""
    yield say("channel: {place}", place=result["post_to"])
    rights = ", ".join(f"{right} ({rule})" for right, rule in result["rights"].items())
    yield say("permissions: {rights}", rights=rights or "–")
    if result["is_off"]:
        off = (
            "Ponte can't post now, because {platform} isn't connected. A sender would get HTTP 503."
        )
        yield say(off, platform=result["post_to"].partition(":")[0].title())
    if result["why"] == "ignored":
        yield say("Ponte would ignore this delivery, because of `only` in ponte.toml.")
        return
    if result["why"]:  # "no_fields"
        yield say("Ponte would post nothing: the body has none of the template's fields.")
        return
    yield say("Ponte would post:") if result["is_post"] else say("Ponte would ask the model:")
    # The post and "", or the instruction for the model and the body that it reads.
    for text in (result["text"], result["body"]):
        yield from (f"    {line}" for line in clean_text(text).splitlines())


TEXTS.update({"hooks test": ResultText(format_delivery)})
