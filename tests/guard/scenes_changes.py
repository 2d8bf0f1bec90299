"""Proposals of each kind: rows, quick commands, posts elsewhere; decided, undone and failed."""

from __future__ import annotations

from typing import Any

from tests.dialogues.office import DUPLICATES, LEADS, PAID
from tests.guard.scenes import CHATS, scene
from tests.guard.stage import Stage

PAY_TWO = [{"id": order, "fields": {"Amount": 7}} for order in (41, 42)]


@scene()
async def rows_approved_and_undone(s: Stage) -> None:
    await s.say("alice", PAID)
    await s.press("alice", "Approve")
    await s.say("alice", "What happened?")
    await s.press("alice", "Undo")
    await s.say("alice", "changes")


@scene()
async def rows_denied(s: Stage) -> None:
    await s.say("alice", PAID)
    await s.press("alice", "Deny")
    await s.say("alice", "And now?")


@scene()
async def rows_approved_by_typing(s: Stage) -> None:
    await s.say("alice", PAID)
    id = s.newest("changes")
    await s.say("alice", f"approve {id}")
    await s.say("alice", f"approve {id}")
    await s.say("alice", f"undo {id}")
    await s.say("alice", f"why {id}")


@scene()
async def another_member_decides(s: Stage) -> None:
    await s.say("alice", PAID)
    id = s.newest("changes")
    await s.say("bob", f"approve {id}")
    await s.say("stan", f"approve {id}")
    await s.say("bea", f"approve {id}")
    await s.say("bob", f"undo {id}")


@scene()
async def an_admin_must_approve(s: Stage) -> None:
    await s.say("alice", DUPLICATES)
    id = s.newest("changes")
    await s.say("alice", f"approve {id}")
    await s.say("bea", "approvals")
    await s.say("bea", f"approve {id}")
    await s.say("bea", f"undo {id}")


@scene(toml='[tables.Orders]\naccess = "ask"\napprovers = ["BOB"]\n')
async def a_named_approver_decides(s: Stage) -> None:
    await s.say("alice", PAID)
    id = s.newest("changes")
    await s.say("alice", f"approve {id}")
    await s.say("bob", "approvals")
    await s.say("bob", f"approve {id}")


@scene(toml='[tables.Orders]\napprovers = ["ALICE", "BOB"]\napprovals = 2\n')
async def two_must_approve(s: Stage) -> None:
    await s.say("alice", PAID)
    id = s.newest("changes")
    await s.say("alice", f"approve {id}")
    await s.say("alice", f"approve {id}")
    await s.say("bob", f"approve {id}")


@scene(toml='[tables.Customers]\naccess = "auto"\n')
async def the_policy_approves_one_new_row(s: Stage) -> None:
    s.model("add Zed", "nocodb_create", table="Customers", rows=[{"Name": "Zed"}])
    await s.say("alice", "Please add Zed")
    s.model("add both", "nocodb_create", table="Customers",
            rows=[{"Name": "Yan"}, {"Name": "Xie"}])  # fmt: skip
    await s.say("alice", "Please add both")


@scene(toml='[tables.Orders]\naccess = "read"\n[tables.Customers]\naccess = "hidden"\n')
async def tables_that_cannot_be_changed(s: Stage) -> None:
    await s.say("alice", PAID)
    await s.say("alice", LEADS)


@scene()
async def rows_that_changed_meanwhile(s: Stage) -> None:
    await s.say("alice", PAID)
    s.office.table("Orders").update(12, {"Paid": True})
    await s.press("alice", "Approve")


@scene()
async def a_change_fails_half_way(s: Stage) -> None:
    s.model("two orders", "nocodb_update", table="Orders", changes=PAY_TWO)
    await s.say("alice", "Change two orders")
    s.office.table("Orders").update(42, {"Amount": 1})
    id = s.newest("changes")
    await s.say("bea", f"approve {id}")
    await s.say("bea", f"undo {id}")


@scene()
async def a_proposal_expires(s: Stage) -> None:
    await s.say("alice", PAID)
    id = s.newest("changes")
    await s.wait_time(25 * 3600)
    await s.say("alice", f"approve {id}")
    await s.say("alice", "changes")


@scene()
async def the_conversation_of_a_proposal_is_forgotten(s: Stage) -> None:
    await s.say("alice", PAID)
    await s.say("alice", "forget yes")


@scene()
async def quick_commands_typed(s: Stage) -> None:
    await s.say("alice", "quick-command explain a bridge")
    await s.say("alice", "quick-command translate-all everything")
    await s.say("alice", "quick-command close-month day=1")
    await s.say("stan", "quick-command explain a tunnel")


@scene()
async def quick_commands_of_the_model(s: Stage) -> None:
    s.model("explain it", "stackspot_quick_command", slug="explain", input="a bridge")
    await s.say("alice", "Please explain it")
    s.model("translate it", "stackspot_quick_command", slug="translate-all", input="all")
    await s.say("alice", "Please translate it")
    await s.press("alice", "Approve")


@scene()
async def a_quick_command_that_writes(s: Stage) -> None:
    s.model("close it", "stackspot_quick_command", slug="close-month", input="May")
    await s.say("alice", "Please close it")
    id = s.newest("changes")
    await s.say("bob", f"approve {id}")
    await s.say("alice", f"approve {id}")
    await s.say("alice", f"undo {id}")


@scene(toml='[[rules]]\nwho = ["ALICE"]\ndeny = ["spend", "command:close-month"]\n')
async def quick_commands_without_the_right(s: Stage) -> None:
    await s.say("alice", "quick-command translate-all everything")
    s.model("close it", "stackspot_quick_command", slug="close-month", input="May")
    await s.say("alice", "Please close it")


def _mention(s: Stage, channel: str) -> str:
    place: Any = getattr(s.surface, channel)
    return f"<#{place.id}|{place.name}>" if s.surface.name == "slack" else f"<#{place.id}>"


@scene(CHATS)
async def a_post_elsewhere(s: Stage) -> None:
    s.model("Tell", "post_message", to="#sales", text="We are **ready** https://evil.example")
    await s.say("alice", f"Tell {_mention(s, 'sales')} that we are ready")
    await s.press("bob", "Approve")
    await s.press("alice", "Approve")
    await s.say("alice", f"undo {s.newest('changes')}")


@scene(CHATS)
async def a_post_elsewhere_denied(s: Stage) -> None:
    s.model("Tell", "post_message", to="#sales", text="Not this")
    await s.say("alice", f"Tell {_mention(s, 'sales')} not this")
    await s.press("alice", "Deny")
    s.model("Shout", "post_message", to="#nowhere", text="Nor this")
    await s.say("alice", "Shout in #nowhere")


@scene(("page",))
async def no_post_elsewhere_on_the_page(s: Stage) -> None:
    s.model("Tell", "post_message", to="#sales", text="Not this")
    await s.say("alice", "Tell #sales that we are ready")
