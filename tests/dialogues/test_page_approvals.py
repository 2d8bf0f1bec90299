"""The page's list of requests: who finds what in it, and whose decision counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from core.changes.approval import TableRule, TableRules
from core.domain.messages import Answer, decode_json
from core.people.rules import Rule, RuleBook
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import ADA, MEMBER, bot, proposed_on_slack
from tests.dialogues.test_page_people import ANA, DELETE, OWNER, UPDATE, on_page, propose, says
from tests.fakes.choices import allow_list
from tests.fakes.config import fixed_rules
from tests.fakes.memory import MemoryPageAccounts
from tests.fakes.memory_table import MemoryTable
from tests.fakes.web_surfaces import make_page
from tests.time_limits import Limits
from tests.web.web_ponte import TOKEN, following, until


@asynccontextmanager
async def page(ponte: RunningBot) -> AsyncIterator[tuple[httpx.AsyncClient, ...]]:
    """Yield HTTP clients of the owner, Ana and Bia, on the page of this bot."""
    people = MemoryPageAccounts()
    web = make_page(ponte.engine, TOKEN, people)
    await web.start()
    tokens = [TOKEN, people.add("ana"), people.add("bia")]
    clients = [
        httpx.AsyncClient(
            base_url=web.address, headers={"Authorization": f"Bearer {token}"}, timeout=20
        )
        for token in tokens
    ]
    try:
        yield tuple(clients)
    finally:
        for client in clients:
            await client.aclose()
        await web.close()


async def waiting(client: httpx.AsyncClient) -> list[tuple[str, str | None, list[str]]]:
    answer = (await client.get("/approvals")).json()["approvals"]
    return [(one["id"], one.get("conversation"), one["actions"]) for one in answer]


async def test_each_person_finds_what_they_may_decide(bot_home: BotHome) -> None:
    """Their own small changes, and what an admin must approve; never what is another's."""
    table = MemoryTable({"1": dict(ADA), "2": dict(ADA)})
    both = ["approve", "deny"]
    policy = allow_list(frozenset({"slack:U1", "web:ana"}), frozenset({"web:owner"}))
    async with bot(bot_home, table, policy=policy) as ponte, page(ponte) as (owner, ana, bia):
        small = await propose(ponte, UPDATE, ANA)
        large = await propose(ponte, DELETE, ANA)
        slack = (await proposed_on_slack(ponte, "k1", "table_delete", ids=["2"])).id
        assert await waiting(ana) == [(small, "main", both)]
        assert await waiting(bia) == []
        assert await waiting(owner) == [(id, None, both) for id in (small, large, slack)]
        cases = ((bia, small, 404), (bia, slack, 404), (ana, large, 403), (bia, "zzz222", 404))
        for client, id, status in cases:
            for action in ("approve", "deny"):
                if (client, action) == (ana, "deny"):
                    continue
                answer = await client.post(f"/cards/{id}", json={"action": action})
                assert answer.status_code == status, (id, action, answer.text)
        assert table.applied == []
        response = await owner.post(f"/cards/{large}", json={"action": "approve"})
        assert (response.status_code, response.json()["state"]) == (200, "done")
        assert [id for id, *_ in await waiting(owner)] == [small, slack]


async def test_a_name_alone_links_nobody_to_slack(bot_home: BotHome) -> None:
    """A person of the page called as an approver in Slack decides nothing there."""
    policy = allow_list(frozenset({"slack:U1"}), frozenset({"slack:U9"}))
    table_rules = TableRules({"people": TableRule("ask", frozenset({"slack:ana", "slack:U5"}))})
    async with (
        bot(bot_home, MemoryTable({"1": dict(ADA)}), policy=policy, rules=table_rules) as ponte,
        page(ponte) as (owner, ana, _),
    ):
        id = (await proposed_on_slack(ponte, "k1", "table_delete", MEMBER, ids=["1"])).id
        for client in (ana, owner):
            assert await waiting(client) == []
            answer = await client.post(f"/cards/{id}", json={"action": "approve"})
            assert answer.status_code == 404


async def test_a_rule_gives_somebody_of_the_page_the_requests_of_a_table(bot_home: BotHome) -> None:
    policy = allow_list(frozenset({"web:ana"}))
    approves = Rule("1", frozenset({"web:bia"}), allow=("approve:People",))
    policy.read_rules = fixed_rules(RuleBook((approves,)))
    async with (
        bot(bot_home, MemoryTable({"1": dict(ADA)}), policy=policy) as ponte,
        page(ponte) as (_, ana, bia),
    ):
        id = await propose(ponte, DELETE, ANA)
        assert await waiting(bia) == [(id, None, ["approve", "deny"])]
        assert (await ana.post(f"/cards/{id}", json={"action": "approve"})).status_code == 403
        assert (await bia.post(f"/cards/{id}", json={"action": "approve"})).status_code == 200
        assert await waiting(bia) == []


async def test_the_owner_decides_nothing_where_only_others_do(bot_home: BotHome) -> None:
    policy = allow_list(frozenset({"web:ana"}), frozenset({"web:owner", "terminal:owner"}))
    rule = TableRule("ask", frozenset({"web:bia"}), approvers_only=True)
    async with (
        bot(
            bot_home,
            MemoryTable({"1": dict(ADA)}),
            policy=policy,
            rules=TableRules({"people": rule}),
        ) as ponte,
        page(ponte) as (owner, _, bia),
    ):
        id = await propose(ponte, DELETE, ANA)
        assert await waiting(owner) == []
        assert (await owner.post(f"/cards/{id}", json={"action": "approve"})).status_code == 403
        assert await waiting(bia) == [(id, None, ["approve", "deny"])]
        assert (await bia.post(f"/cards/{id}", json={"action": "approve"})).status_code == 200
        assert (await owner.post(f"/cards/{id}", json={"action": "undo"})).status_code == 403


async def test_only_the_tabs_of_those_who_may_decide_are_told(
    bot_home: BotHome, limits: Limits
) -> None:
    """A new request, a decision, and nothing at all to anybody else."""
    # What is new is also written when a silent stream is kept alive, but then it comes late.
    limits(KEEP_ALIVE_SECONDS=3600.0)
    async with (
        bot(bot_home, MemoryTable({"1": dict(ADA)})) as ponte,
        page(ponte) as (owner, _, bia),
        following(owner, "desk") as owners,
        following(bia, "desk") as bias,
    ):
        await until(owners, "ready"), await until(bias, "ready")
        id = await propose(ponte, DELETE, ANA)
        assert (await until(owners, "requests"))[-1].data == {"count": 1}
        await says(ponte, f"deny {id}", ANA)
        assert (await until(owners, "requests"))[-1].data == {"count": 0}
        await bia.post("/chat", json={"message": "help", "conversation": "desk"})
        events = await until(bias, "done")
        assert "requests" not in {event.name for event in events}


async def test_the_owner_s_own_request_names_them(bot_home: BotHome) -> None:
    async with bot(bot_home, MemoryTable({"1": dict(ADA)})) as ponte:
        for locale, words in {
            "en": "Requested by you.",
            "pt-BR": "Solicitação sua.",
            "fr": "Demande faite par vous.",
        }.items():
            answer = await ponte.ask_message(replace(on_page(DELETE, OWNER), locale=locale))
            listing = await ponte.ask_message(replace(on_page("approvals", OWNER), locale=locale))
            for card in (*answer.cards, *listing.cards):
                assert card.text.startswith(words)


async def test_an_owner_without_a_name_is_the_owner_of_the_page_to_others(
    bot_home: BotHome,
) -> None:
    admins = allow_list(admins=frozenset({"web:ana", "web:owner"}))
    async with bot(bot_home, MemoryTable({"1": dict(ADA)}), policy=admins) as ponte:
        await propose(ponte, DELETE, OWNER)
        (card,) = (await says(ponte, "approvals", ANA)).cards
        assert card.text.startswith("Requested by the owner of the page.")


async def test_forgetting_a_conversation_empties_its_cards_elsewhere(bot_home: BotHome) -> None:
    """An approver's list of requests keeps the cards, and none of their values."""
    async with bot(bot_home, MemoryTable({"1": dict(ADA)})) as ponte:
        id = await propose(ponte, UPDATE, ANA)
        (card,) = (await says(ponte, "approvals", OWNER)).cards
        assert (card.id, bool(card.rows)) == (id, True)
        await says(ponte, "forget", ANA)
        content = await ponte.engine.stores.database.read(
            lambda c: c.execute("SELECT answer FROM inbox WHERE answer LIKE '%cards%'").fetchall()
        )
        (listed,) = [decode_json(Answer, row["answer"]).cards for row in content]
        assert [(one.id, one.rows, one.actions) for one in listed] == [(id, (), ())]


async def test_only_people_who_may_ask_for_it_get_the_form_of_a_card(bot_home: BotHome) -> None:
    """The form is of the version of its card, and what it sends is checked again."""
    table = MemoryTable({"1": dict(ADA)})
    table.is_editable = True
    policy = allow_list(frozenset({"web:ana"}), frozenset({"web:owner"}))
    async with bot(bot_home, table, policy=policy) as ponte, page(ponte) as (owner, ana, bia):
        id = await propose(ponte, UPDATE, ANA)
        body = {"action": "change", "values": {"Name": "Grace"}}
        assert (await bia.get(f"/cards/{id}/form")).status_code == 404
        assert (await bia.post(f"/cards/{id}", json=body)).status_code == 404
        large = await propose(ponte, DELETE, ANA)
        assert (await owner.get(f"/cards/{large}/form")).status_code == 400, "nothing to change"
        form = (await ana.get(f"/cards/{id}/form")).json()
        assert (form["revision"], [field["key"] for field in form["fields"]]) == (1, ["Name"])
        wrong = await ana.post(f"/cards/{id}", json={**body, "values": {"Name": "wrong"}})
        assert "takes no such value" in wrong.json()["text"]
        assert "card" not in wrong.json()
        change = (await ana.post(f"/cards/{id}", json=body)).json()
        assert change["card"]["revision"] == 2
        old = (await ana.post(f"/cards/{id}", json=body)).json()
        assert "This version was replaced" in old["text"]
        assert (change["status"], old["status"]) == ("done", "failed")
        form = (await ana.get(f"/cards/{id}/form")).json()
        assert [form["revision"], form["fields"][0]["value"]] == [2, "Grace"]
        await ana.post(f"/cards/{id}", json={"action": "deny", "revision": 2})
        response = await ana.get(f"/cards/{id}/form")
        assert (response.status_code, "can't be changed" in response.text) == (400, True)
        assert table.applied == []


async def test_every_count_is_of_all_requests_that_wait(bot_home: BotHome, limits: Limits) -> None:
    limits(MAX_LISTED_CHANGES=2)
    limits(MAX_LISTED_CHANGES=2)
    table = MemoryTable({"1": dict(ADA)})
    async with bot(bot_home, table) as ponte, page(ponte) as (owner, *_):
        for _ in range(3):
            await propose(ponte, UPDATE, OWNER)
        answer = (await owner.get("/approvals")).json()
        assert (len(answer["approvals"]), answer["more"]) == (2, 1)
        async with following(owner) as tab:
            assert (await until(tab, "requests"))[-1].data == {"count": 3}
        assert "3 requests are waiting for you." in (await says(ponte, "approvals", OWNER)).text


async def test_a_list_that_is_open_learns_of_new_values_and_approves_none_unseen(
    bot_home: BotHome,
) -> None:
    table = MemoryTable({"1": dict(ADA)})
    table.is_editable = True
    async with (
        bot(bot_home, table) as ponte,
        page(ponte) as (owner, ana, _),
        following(owner, "desk") as tab,
    ):
        await until(tab, "ready")
        first, second = [await propose(ponte, UPDATE, ANA) for _ in range(2)]
        while (await until(tab, "requests"))[-1].data != {"count": 2}:
            pass  # the two may be counted one by one
        listed = (await owner.get("/approvals")).json()["approvals"]
        assert [(one["id"], one["asker"]) for one in listed] == [(first, "ana"), (second, "ana")]
        assert listed[0]["asked_at"] <= listed[1]["asked_at"] < listed[0]["expires_at"]
        body = {"action": "change", "values": {"Name": "Grace"}}
        assert (await ana.post(f"/cards/{second}", json=body)).status_code == 200
        assert (await until(tab, "requests"))[-1].data == {"count": 2}
        both = {"action": "approve", "revision": 1, "others": [f"{second}.1"]}
        refused = await owner.post(f"/cards/{first}", json=both)
        assert (refused.status_code, table.applied) == (400, [])
        assert second in refused.json()["error"]["message"]
        both["others"] = [f"{second}.2"]
        assert (await owner.post(f"/cards/{first}", json=both)).status_code == 200
        assert await waiting(owner) == []


async def test_a_card_shows_how_somebody_else_decided_to_those_who_may_see_it(
    bot_home: BotHome,
) -> None:
    async with (
        bot(bot_home, MemoryTable({"1": dict(ADA)})) as ponte,
        page(ponte) as (owner, ana, bia),
    ):
        id = await propose(ponte, UPDATE, ANA)
        card = (await owner.get(f"/cards/{id}")).json()
        assert (card["state"], card["actions"]) == ("open", ["approve", "deny"])
        await ana.post(f"/cards/{id}", json={"action": "deny"})
        card = (await owner.get(f"/cards/{id}")).json()
        assert (card["state"], card["actions"]) == ("denied", [])
        assert "Denied by ana." in card["text"]
        for client, unknown in ((bia, id), (owner, "zzz222")):
            assert (await client.get(f"/cards/{unknown}")).status_code == 404
