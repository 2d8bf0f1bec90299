"""Webhooks: posts and answers, with and without rights."""

from __future__ import annotations

from tests.dialogues.office import DUPLICATES, LEADS, PAID
from tests.fakes.openai import Script
from tests.guard.scenes import CHATS, scene
from tests.guard.stage import Stage

HEAD = '[groups]\ncrew = ["BOB"]\n'
HOOK = """
[hooks.NAME]
kind = "secret"
secret = "GUARD_SECRET"
post_to = "PLACE"
as = "crew"
"""
RIGHTS = """
[[rules]]
who = ["crew"]
allow = ["read:Customers", "read:Orders", "propose:Orders", "propose:Customers", "spend", "code"]
"""


def ask(instruction: str, more: str = "", rights: str = RIGHTS) -> str:
    """Return a ponte.toml with the webhook `ask`."""
    hook = HOOK.replace("NAME", "ask")
    return f'{HEAD}{rights}{hook}instruction = "{instruction}"\n{more}'


def tell(template: str, place: str = "PLACE") -> str:
    """Return a ponte.toml with the webhook `tell`."""
    hook = HOOK.replace("NAME", "tell").replace("PLACE", place)
    return f'{HEAD}{hook}template = "{template}"\n'


@scene(CHATS, toml=tell("New: {text} {link}"))
async def a_webhook_posts(s: Stage) -> None:
    body = {"id": "1", "text": "**Ada** @everyone", "link": "https://evil.example/h"}
    await s.hook("tell", body)
    await s.hook("tell", body)
    await s.hook("tell", body, secret="a wrong secret of somebody")
    await s.hook("nowhere", body)


@scene(CHATS, toml=tell("{text}"))
async def a_webhook_posts_what_looks_like_a_command(s: Stage) -> None:
    texts = (
        "stop", "forget yes", "approve abcde2", "help", "quick-command explain x",
        "```python\nprint(1)\n```",
    )  # fmt: skip
    for number, text in enumerate(texts):
        await s.hook("tell", {"id": str(number), "text": text})


@scene(CHATS, toml=tell("New: {text}", place="ALICE"))
async def a_webhook_posts_to_a_person(s: Stage) -> None:
    await s.hook("tell", {"id": "1", "text": "for you"})
    await s.say("alice", "What was that?", dm=True)


@scene(CHATS, toml=ask("Report on https://ours.example/report."))
async def a_webhook_asks(s: Stage) -> None:
    await s.hook("ask", {"id": "1", "text": "Order 12", "link": "https://evil.example/h"})
    await s.hook("ask", {"id": "2", "text": "stop"})
    await s.say("alice", "What is this?")


@scene(CHATS, toml=ask("help"))
async def a_webhook_whose_instruction_is_a_command(s: Stage) -> None:
    await s.hook("ask", {"id": "1", "text": "forget yes"})


@scene(CHATS, toml=ask(LEADS))
async def a_webhook_reads_rows(s: Stage) -> None:
    await s.hook("ask", {"id": "1"})


@scene(CHATS, toml=ask(LEADS, rights=""))
async def a_webhook_without_rights(s: Stage) -> None:
    await s.hook("ask", {"id": "1"})


@scene(CHATS, toml=f'{ask("Report.")}[[rules]]\nwho = ["crew"]\ndeny = ["chat"]\n')
async def a_webhook_that_may_not_chat(s: Stage) -> None:
    await s.hook("ask", {"id": "1"})


@scene(CHATS, toml=ask(PAID))
async def a_webhook_proposes(s: Stage) -> None:
    await s.hook("ask", {"id": "1"})
    await s.press("alice", "Approve")
    await s.press("bob", "Approve")
    await s.press("bea", "Approve")
    await s.press("bea", "Undo")


@scene(CHATS, toml=ask(DUPLICATES))
async def a_webhook_proposes_and_is_denied(s: Stage) -> None:
    await s.hook("ask", {"id": "1"})
    await s.press("alice", "Deny")
    await s.press("bea", "Deny")


@scene(CHATS, toml=ask("Please add Zed", '[tables.Customers]\naccess = "auto"\n'))
async def a_webhook_is_approved_by_nobody(s: Stage) -> None:
    s.model("add Zed", "nocodb_create", table="Customers", rows=[{"Name": "Zed"}])
    await s.hook("ask", {"id": "1"})


@scene(CHATS, toml=ask("Use everything"))
async def a_webhook_wants_other_tools(s: Stage) -> None:
    s.model("Use everything", "run_python", code="print(1)")
    await s.hook("ask", {"id": "1"})
    s.model("Use everything", "stackspot_quick_command", slug="explain", input="x")
    await s.hook("ask", {"id": "2"})
    s.model("Use everything", "schedule_propose", kind="post", what="x", when="0 9 * * *",
            zone="UTC", ends=None, replaces=None)  # fmt: skip
    await s.hook("ask", {"id": "3"})
    s.model("Use everything", "post_message", to="#sales", text="x")
    await s.hook("ask", {"id": "4"})


@scene(CHATS, toml=ask("Report.", "turns_per_day = 1\n"))
async def a_webhook_uses_up_its_allowance(s: Stage) -> None:
    for number in range(3):
        await s.hook("ask", {"id": str(number)})


@scene(CHATS, toml=ask("Report.", "per_minute = 1\n"))
async def a_webhook_is_too_fast(s: Stage) -> None:
    for number in range(2):
        await s.hook("ask", {"id": str(number)})


@scene(CHATS, toml=ask("Report."))
async def people_write_under_a_webhook(s: Stage) -> None:
    await s.say("alice", "Before")
    await s.hook("ask", {"id": "1", "text": "Order 12"})
    await s.say("alice", "After")


@scene(CHATS, toml=ask("Break down"))
async def the_model_fails_for_a_webhook(s: Stage) -> None:
    s.office.openai.say(Script(status=400, code="invalid_prompt", match="Break"))
    await s.hook("ask", {"id": "1"})
