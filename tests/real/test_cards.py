"""Cards through the whole program: the demo model proposes, people decide on the page, in Slack
and on the command line, and the table behind the bridge holds what they decided."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from core.base.http import HttpAnswer, HttpClient
from tests.fakes import forker
from tests.fakes.bridge import FakeBridge
from tests.fakes.bridge_tables import CUSTOMERS
from tests.fakes.slack import FakeSlack
from tests.real.test_whole import bearer_of, clean_environment, ponte

Json = Mapping[str, Any]


def asking(tool: str, **args: Any) -> str:
    return f"/nocodb {tool} {json.dumps({'table_id': CUSTOMERS, **args})}"


class Page:
    """What the page's script does."""

    def __init__(self, http: HttpClient, origin: str, bearer: Mapping[str, str]) -> None:
        self._http = http
        self.origin = origin
        self._bearer = bearer

    async def says(self, text: str) -> Json:
        message: Json = await self._http.post_json(
            f"{self.origin}/chat", {"message": text}, headers=self._bearer
        )
        return message

    async def clicks(self, id: str, action: str) -> tuple[int, Json]:
        try:
            body = await self._http.post_json(
                f"{self.origin}/cards/{id}", {"action": action}, headers=self._bearer
            )
        except HttpAnswer as refused:
            return refused.status, refused.json
        return 200, body

    async def cards(self) -> list[Json]:
        body = await self._http.get_json(f"{self.origin}/conversations/main", headers=self._bearer)
        return list(body["cards"])


@asynccontextmanager
async def page(bridge: FakeBridge, home: Path, **settings: str) -> AsyncIterator[Page]:
    own = {"PONTE_HOME": str(home), "PONTE_WEB_PORT": "0", "NOCODB_URL": bridge.url, **settings}
    async with ponte(own) as (_, lines), HttpClient() as http:
        yield Page(http, lines[-1].split()[-1], bearer_of(home))


async def command(bridge: FakeBridge, home: Path, *words: str) -> str:
    """What `ponte …` prints beside the process that runs."""
    env = {**clean_environment(), "PONTE_HOME": str(home), "NOCODB_URL": bridge.url}
    process = await forker.start("bot", *words, env=env)
    out, _ = await process.communicate()
    return out.decode()


async def test_on_the_page_from_the_question_to_the_undo(tmp_path: Path) -> None:
    async with FakeBridge() as bridge:
        rows = bridge.api.rows[CUSTOMERS]
        async with page(bridge, tmp_path) as ana:
            body = await ana.says(asking("create_record", record_data={"Name": "Zoé"}))
            (card,) = body["cards"]
            assert (card["title"], card["state"]) == ("Create a row in Customers", "open")
            (row,) = card["rows"]
            assert (row["name"], row["before"], row["after"]) == ("Zoé", None, {"Name": "Zoé"})
            assert row["changes"] == [], "the name is not repeated"
        async with page(bridge, tmp_path) as ana:
            id = card["id"]
            status, decision = await ana.clicks(id, "approve")
            assert (status, decision["state"], decision["change"]) == (200, "done", id)
            assert [row["Name"] for row in rows].count("Zoé") == 1
            assert (await ana.clicks(id, "approve"))[1] == decision, "a second click"
            assert [c["state"] for c in await ana.cards()] == ["done"]
            _, undone = await ana.clicks(id, "undo")
            assert (undone["state"], undone["change"]) == ("undone", id)
            assert "Zoé" not in [row["Name"] for row in rows]
            assert (await ana.clicks("zzzzz2", "approve"))[0] == 404


async def test_the_operator_sees_and_undoes_it_on_the_command_line(tmp_path: Path) -> None:
    async with FakeBridge() as bridge:
        row = bridge.api.rows[CUSTOMERS][2]
        async with page(bridge, tmp_path) as ana:
            change = {"record_id": 3, "record_data": {"Status": "Active"}}
            (card,) = (await ana.says(asking("update_record", **change)))["cards"]
            await ana.clicks(card["id"], "approve")
            assert row["Status"] == "Active"
            listing = await command(bridge, tmp_path, "changes", "list")
            heading, line = listing.splitlines()
            assert heading == "Latest changes:"
            assert line.startswith(f"- {card['id']} Change a row in Customers: done. Requested by ")
            assert "Undone" in await command(bridge, tmp_path, "changes", "undo", card["id"])
            assert row["Status"] == "Lead"
            listing = await command(bridge, tmp_path, "changes", "list")
            assert ": undone. Requested by " in listing
            assert f"Undo {card['id']}" in listing


async def test_in_slack_by_a_click_on_the_post(tmp_path: Path) -> None:
    async with FakeBridge() as bridge, FakeSlack() as slack:
        ana, bob = slack.person("Ana"), slack.person("Bob")
        rights = {"PONTE_ALLOW": f"slack:{ana.id}"}
        general = slack.channel("general", ana, bob)
        ask = asking("create_record", record_data={"Name": "Zoé"})
        async with page(bridge, tmp_path, **slack.settings, **rights):
            post = await slack.wait_for_answer(slack.say(ana, general, f"{slack.bot} {ask}"))
            await slack.wait_until(lambda: post.card_buttons == ["Approve", "Change…", "Deny"])
            await slack.click(bob, post, "Approve").acked.wait()
            await slack.wait_until(lambda: slack.ephemeral_posts(general.id))
            refusal = slack.ephemeral_posts(general.id)[-1].visible_text
            assert "have permission to change data" in refusal
            await slack.click(ana, post, "Approve").acked.wait()
            await slack.wait_until(lambda: post.card_buttons == ["Undo"])
            assert "Zoé" in [row["Name"] for row in bridge.api.rows[CUSTOMERS]]
            id = post.buttons["Undo"]["value"]
            slack.say(ana, general, f"{slack.bot} undo {id}")
            rows = bridge.api.rows[CUSTOMERS]
            await slack.wait_until(lambda: "Zoé" not in [row["Name"] for row in rows])
            await slack.wait_until(lambda: "undone" in post.visible_text)
            assert not post.card_buttons
