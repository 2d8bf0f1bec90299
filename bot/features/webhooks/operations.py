"""Shows what a webhook would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from bot.operation_results import Json
from bot.operations import ShellArgument, ShellOption, add_command_group, operation

if TYPE_CHECKING:
    from bot.home import Start

add_command_group("hooks", "Test the webhooks of ponte.toml.", after="policy")


@operation("hooks test", needs="settings", admin_page=True, example="deploys --body delivery.json")
async def preview_hook(
    start: Start,
    name: Annotated[
        str,
        ShellArgument(
            "The webhook's name in ponte.toml.", options=lambda config: config.section("hooks")
        ),
    ],
    body: Annotated[str, ShellOption("A file with the body of a request.", is_file=True)] = "",
) -> Json:
    """Show what a webhook delivery would post, and with which permissions. Nothing is posted."""
    # `ponte --help` imports this module, so it loads little.
    from bot.parts import summaries
    from bot.reports import find_rights
    from core.base.errors import NotFound
    from core.webhooks.intake import preview_delivery

    config, hooks = start.config, start.config.section("hooks")
    if name not in hooks:
        raise NotFound("Webhook {name} not found in ponte.toml. Check the name.", name=name)
    hook = hooks[name].hook(name, start.settings.variable)
    # `why` there would be no answer; "" if there would.
    author, place, text, quoted, why = preview_delivery(hook, body.encode())
    # The programs that ponte.toml configures, such as webhooks, with all rights that they can have.
    # `find_rights` returns those that rules give this one.
    kinds = config.rule_book.stand_ins[author.platform].rights
    return {
        "name": name,
        "post_to": hooks[name].post_to,
        "is_post": bool(hook.template),  # the filled template is posted, and no model runs
        "is_answered": not why,
        "why": why,
        "is_off": place.platform
        in {part.name for part in summaries(start.settings) if part.state != "on"},
        "text": text,
        "body": quoted,
        "rights": await find_rights(start, author, place, kinds),
    }
