"""`ponte run` as operators start it, with Slack on: over a socket, and over HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.slack.setup import SCOPE_PURPOSES
from tests.fakes import forker
from tests.fakes.slack import TEAM, FakeSlack
from tests.real.nginx import free_port


def environment(slack: FakeSlack, home: Path, **more: str) -> dict[str, str]:
    records = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return records | {
        "HOME": str(home),
        "PONTE_HOME": str(home / "ponte"),
        "PONTE_WEB": "off",
        "SLACK_BOT_TOKEN": slack.bot_token,
        "SLACK_API_URL": slack.base_url,
        **more,
    }


@asynccontextmanager
async def ponte(*words: str, env: Mapping[str, str]) -> AsyncIterator[forker.Process]:
    process = await forker.start("bot", *words, env=env, stderr=asyncio.subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until_ready(process: forker.Process) -> str:
    text = ""
    while process.stdout is not None and (line := (await process.stdout.readline()).decode()):
        text += line
        if "ready" in line:
            return text
    raise AssertionError(text)


async def test_ponte_run_answers_over_socket_mode_as_its_file_says_also_after_a_reload(
    tmp_path: Path,
) -> None:
    file = tmp_path / "ponte.toml"
    async with FakeSlack() as slack:
        alice = slack.person("Alice")
        general, dm = slack.channel("general", alice), slack.dm(alice)
        where = f'[channels."slack:{TEAM}:{general.id}"]\n'
        file.write_text(f"{where}answer_everything = true\n")
        slack.api.scopes = ["chat:write"]
        env = environment(slack, tmp_path, SLACK_APP_TOKEN=slack.app_token, PONTE_CONFIG=str(file))
        async with ponte("run", env=env) as process:
            text = await until_ready(process)
            assert "Socket Mode" in text
            assert "channels:history, groups:history is missing" in text
            direct = slack.say(alice, dm, "hello")
            assert (await slack.wait_for_answer(direct)).thread_ts == direct.ts
            message = slack.say(alice, general, "help")
            assert "quick-command" in (await slack.wait_for_answer(message)).visible_text
            file.write_text(f"{where}threads = false\nretention_days = 7\n")
            async with ponte("reload", env=env) as reload:
                assert await reload.wait() == 0
            slack.say(alice, general, "help")
            slack.say(alice, general, f"{slack.bot} status")
            await slack.wait_until(lambda: len(slack.workspace.by_bot(general.id)) == 2)
            status = slack.workspace.by_bot(general.id)[-1]
            assert not status.thread_ts
            assert (
                "Conversations here are deleted after 7 days without activity."
                in status.visible_text
            )
            assert "Answers: available" in status.visible_text
            await slack.deliveries.wait_for_deliveries()
            process.terminate()
            assert await process.wait() == 0
        assert all(delivery.attempts == 1 for delivery in slack.deliveries.all)


async def test_over_http_where_the_page_listens(tmp_path: Path) -> None:
    port = free_port()
    async with FakeSlack() as slack:
        env = environment(
            slack,
            tmp_path,
            PONTE_WEB="on",
            PONTE_WEB_PORT=str(port),
            SLACK_SIGNING_SECRET=slack.deliveries.signing_secret,
        )
        slack.deliveries.request_url = f"http://127.0.0.1:{port}/slack/events"
        alice = slack.person("Alice")
        general = slack.channel("general", alice)
        async with ponte("run", env=env) as process:
            await until_ready(process)
            message = slack.say(alice, general, f"{slack.bot} help")
            assert "quick-command" in (await slack.wait_for_answer(message)).visible_text
            command = slack.command(alice, general, "/quick-command", "joke")
            await slack.wait_until(lambda: command.acked.is_set())


async def test_a_wrong_token_ends_the_start_with_one_line(tmp_path: Path) -> None:
    async with FakeSlack() as slack:
        env = environment(slack, tmp_path, SLACK_APP_TOKEN=slack.app_token)
        slack.api.token = "xoxb-another"
        async with ponte("run", env=env) as process:
            text, _ = await process.communicate()
            assert process.returncode == 2
        assert b"SLACK_BOT_TOKEN" in text
        assert b"Traceback" not in text
        assert slack.bot_token.encode() not in text


async def test_the_doctor_and_the_manifest(tmp_path: Path) -> None:
    async with FakeSlack() as slack:
        slack.api.scopes = list(SCOPE_PURPOSES)
        env = environment(slack, tmp_path, SLACK_APP_TOKEN=slack.app_token)
        async with ponte("doctor", env=env) as process:
            text, _ = await process.communicate()
        assert b"slack token" in text
        assert b"FAIL  slack" not in text
        async with ponte("slack-manifest", env=env) as process:
            text, _ = await process.communicate()
        assert b'"socket_mode_enabled": true' in text
