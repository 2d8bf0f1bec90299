"""Where the cards of programs' requests are posted, and who decides on them there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.domain.messages import Person
from core.people.sign_ins import Identity
from tests.fakes.slack import TEAM, FakeSlack
from tests.mcp.client import PAY, read_result, run_ponte


def on_slack(slack: FakeSlack, **more: Any) -> dict[str, Any]:
    """Return the settings of a Ponte that is connected to this Slack."""
    return {
        "slack_bot_token": SecretStr(slack.bot_token),
        "slack_api_url": slack.base_url,
        "slack_app_token": SecretStr(slack.app_token),
        **more,
    }


async def test_another_person_approves_in_slack_after_ponte_was_killed(tmp_path: Path) -> None:
    async with FakeSlack() as slack:
        bruno, cara = slack.person("Bruno"), slack.person("Cara")
        place = slack.channel("changes", bruno, cara)
        file = f'[mcp_server]\npost_to = "slack:{TEAM}:{place.id}"\n'
        settings = on_slack(slack, ponte_admins=f"slack:{bruno.id}", ponte_allow="web:ana")
        async with run_ponte(tmp_path / "home", file, **settings) as ponte:
            await slack.deliveries.wait_until_connected()
            token = await ponte.create_token("ana")
            async with ponte.connect(token) as client:
                result = await client.call_tool("propose_change", PAY)
                request = read_result(result)
                assert request["where"] == "Slack, in a channel", request
            await slack.wait_until(lambda: len(slack.workspace.by_bot(place.id)) == 1)
            (card,) = slack.workspace.by_bot(place.id)
            assert "Requested by ana with “Claude Code”" in card.visible_text
            assert not slack.workspace.pings
        async with run_ponte(tmp_path / "home", file, **settings) as ponte:
            await slack.deliveries.wait_until_connected()
            slack.click(cara, card, "Approve")
            slack.click(bruno, card, "Approve")
            await slack.wait_until(lambda: "Undo" in card.buttons)
            assert "Approved by Bruno" in card.visible_text
            async with ponte.connect(token) as client:
                arguments = {"id": request["id"]}
                status = read_result(await client.call_tool("change_status", arguments))
                assert status["state"] == "done"
                again = read_result(await client.call_tool("propose_change", PAY))
                assert again["error"]["code"] == "no_change"


async def test_without_its_platform_nothing_is_proposed(tmp_path: Path) -> None:
    file = '[mcp_server]\npost_to = "discord:1:2"\n'
    async with (
        run_ponte(tmp_path / "home", file) as ponte,
        ponte.connect(await ponte.create_token()) as client,
    ):
        result = await client.call_tool("propose_change", PAY)
        assert read_result(result)["error"]["code"] == "no_place"
        assert (await ponte.page.get("/approvals")).json()["approvals"] == []


async def test_a_place_that_denies_the_right_is_named_with_it(tmp_path: Path) -> None:
    """The list is of the person's own place, so listing the tools again would change nothing."""
    async with FakeSlack() as slack:
        places = {"propose": slack.channel("changes"), "chat": slack.channel("quiet")}
        places["tool:nocodb_update"] = slack.channel("reads")
        for number, (right, place) in enumerate(places.items()):
            file = f"""
                [mcp_server]
                post_to = "slack:{TEAM}:{place.id}"
                [[rules]]
                where = ["slack:{TEAM}:{place.id}"]
                deny = ["{right}"]
            """
            settings = on_slack(slack, ponte_allow="web:ana")
            async with run_ponte(tmp_path / str(number), file, **settings) as ponte:
                await slack.deliveries.wait_until_connected()
                async with ponte.connect(await ponte.create_token("ana")) as client:
                    names = [tool.name for tool in (await client.list_tools()).tools]
                    assert "propose_change" in names
                    refused = read_result(await client.call_tool("propose_change", PAY))["error"]
            assert refused["code"] == "forbidden"
            assert f"`{right}`" in refused["message"]
            assert "Slack, in a channel" in refused["message"]
            assert "list the tools" not in str(refused)


async def test_who_signed_in_with_slack_decides_in_their_direct_message(tmp_path: Path) -> None:
    async with FakeSlack() as slack:
        ana = slack.person("Ana")
        dm = slack.dm(ana)
        settings = on_slack(
            slack,
            ponte_allow=f"slack:{ana.id}",
            ponte_web_url="https://ponte.example.com",
            ponte_web_token=SecretStr("0123456789abcdef" * 2),
            ponte_sign_in_slack_id="1.2",
            ponte_sign_in_slack_secret=SecretStr("0123456789abcdef"),
        )
        async with run_ponte(tmp_path / "home", **settings) as ponte:
            await slack.deliveries.wait_until_connected()
            person = Person("slack", ana.id, TEAM, "Ana")
            await ponte.app.accounts.record_sign_in(Identity("slack", person), time.time())
            _, token = await ponte.app.accounts.create_api_token(person.key, "", 0, None, "mcp")
            async with ponte.connect(token) as client:
                request = read_result(await client.call_tool("propose_change", PAY))
                assert request["where"] == "Slack, in a direct message", request
                await slack.wait_until(lambda: len(slack.workspace.by_bot(dm.id)) == 1)
                (card,) = slack.workspace.by_bot(dm.id)
                assert "Requested by you with “Claude Code”" in card.visible_text
                slack.click(ana, card, "Approve")
                await slack.wait_until(lambda: "Undo" in card.buttons)
                arguments = {"id": request["id"]}
                status = read_result(await client.call_tool("change_status", arguments))
                assert status["state"] == "done"
