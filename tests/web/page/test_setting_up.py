"""From the demo model to one's own tables, model and Slack, on the page of a real `ponte run`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.bot.test_process import Machine
from tests.fakes.nocodb import filled
from tests.fakes.nocodb.server import FakeNocoDB
from tests.fakes.openai.server import FakeOpenAI
from tests.fakes.slack.server import FakeSlack
from tests.web.page.browser import axe_source, findings, resize, say, visit

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]
RUN = (
    "import sys; from adapters.slack import SlackSettings; "
    "SlackSettings.model_fields['slack_api_url'].default = {!r}; "
    "SlackSettings.model_rebuild(force=True); "
    "from bot.cli.main import main; sys.exit(main(['run']))"
)
"""`ponte run` whose default address of Slack is another one. As a setting, it would be a part of
Slack's card, which then could only be read."""


@asynccontextmanager
async def run_ponte(folder: Path, slack: FakeSlack) -> AsyncIterator[str]:
    """Yield the sign-in link of a new Ponte."""
    machine = Machine(folder, folder / "home", "", {"PONTE_CODE": "off", "PONTE_GRACE": "1"})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RUN.format(slack.base_url),
        cwd=folder,
        env=machine.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        line = ""
        while not line.startswith("Ponte is ready"):
            line = (await process.stdout.readline()).decode()
            assert line, "it did not start"
        address = re.search(r"http://\S+", line)
        assert address
        yield f"{address[0]}/#token={(machine.home / 'web-token').read_text().strip()}"
    finally:
        process.kill()
        await process.communicate()


async def press(page: Page, card: str, button: str, **values: str) -> None:
    """Type values on a card of the setup page and press a button, by its label."""
    own = page.locator(f"details#{card}")
    if await own.get_attribute("open") is None:
        await own.locator("summary").press("Enter")
    for setting, value in values.items():
        await own.locator(f"[name=value-{setting}]").fill(value)
    async with page.expect_navigation():
        await own.get_by_role("button", name=button, exact=True).press("Enter")


async def start_again(page: Page, button: str) -> None:
    async with page.expect_navigation():
        await page.get_by_role("button", name=button).press("Enter")
    await page.wait_for_selector("details.setup")
    while await page.locator(".state.checking").count():  # the page is as it was when it was loaded
        await page.reload()


async def test_from_nothing_to_an_answer_over_own_tables(axe_tab: Page, tmp_path: Path) -> None:
    page, axe = axe_tab, axe_source()
    async with (
        FakeSlack() as slack,
        FakeOpenAI() as openai,
        FakeNocoDB() as nocodb,
        run_ponte(tmp_path, slack) as link,
    ):
        await visit(page, link)
        missing = page.locator("#missing").get_by_role("link")
        await expect(missing).to_have_text(["Slack", "Discord", "NocoDB", "StackSpot", "Python"])
        assert await findings(page, axe) == []
        await page.get_by_role("link", name="Connect your tables").click()
        card, notice = page.locator("#nocodb"), page.locator("#nocodb .notice")
        await expect(card).to_have_attribute("open", "")
        await press(page, "nocodb", "Check")
        await expect(notice).to_have_text("Fill in the fields first, then check them.")
        await press(page, "nocodb", "Check", nocodb_url=nocodb.origin, nocodb_token="wrong")
        await expect(notice).to_contain_text("NocoDB rejected the token")
        await press(page, "nocodb", "Check", nocodb_url=f"{nocodb.origin}/x")
        await expect(notice).to_contain_text("Type “Token” again")
        await expect(card.get_by_label("Address")).to_have_value(f"{nocodb.origin}/x")
        token = {"nocodb_token": filled.EDITOR}
        await press(page, "nocodb", "Check", nocodb_url=nocodb.origin, **token)
        await expect(notice).to_contain_text("base CRM: 3 tables")
        await expect(card.locator("select")).to_have_value("CRM")
        await expect(card.locator("summary")).to_be_in_viewport()
        await card.get_by_role("button", name="Names in .env").press("Enter")
        await expect(card.get_by_text("NOCODB_TOKEN")).to_be_visible()
        assert await findings(page, axe) == []
        await page.keyboard.press("Escape")
        await expect(card.get_by_text("NOCODB_TOKEN")).to_be_hidden()
        assert await findings(page, axe) == []
        await press(page, "nocodb", "Save")
        await expect(card.locator("summary")).to_contain_text("restart to apply")
        address = {"openai_base_url": openai.base_url}
        await press(page, "model", "Check", **address, openai_api_key="sk-fake-key")
        await expect(page.locator("#model .notice")).to_contain_text("gpt-6-luna is available")
        await expect(page.locator("#model option:checked")).to_have_text("gpt-6-luna (default)")
        await press(page, "model", "Save")
        await start_again(page, "Restart now")
        for name in ("model", "nocodb"):
            await expect(page.locator(f"#{name} .state")).to_have_text("connected")
        assert await findings(page, axe) == []
        await page.goto(f"{link.partition('/#')[0]}/")
        await expect(page.locator("#tries").get_by_role("link")).to_have_text(["Connect Slack"])
        await page.locator("#missing").get_by_role("link", name="Slack").press("Enter")
        await expect(page.locator("#slack")).to_have_attribute("open", "")
        await expect(page.locator("#slack ol > li")).to_have_count(5)
        openai.say("Customer 03 has the most orders.")
        await card.locator("summary").press("Enter")
        await card.get_by_role("link", name="Try it in a conversation").click()
        await page.wait_for_selector("#list[aria-busy=false]", state="attached")
        await say(page, "Who orders most?")
        await expect(page.locator(".body")).to_have_text("Customer 03 has the most orders.")


async def test_the_owner_of_slack_proves_the_account(axe_tab: Page, tmp_path: Path) -> None:
    page, axe = axe_tab, axe_source()
    await page.set_extra_http_headers({"Accept-Language": "pt-BR"})
    async with FakeSlack() as slack, run_ponte(tmp_path, slack) as link:
        ana = slack.person("Ana Souza")
        slack.channel("general", ana)
        await visit(page, link)
        await resize(page, 390, 844, dark=True)
        await page.goto(f"{link.partition('/#')[0]}/admin/setup")
        card, notice = page.locator("#slack"), page.locator("#slack .notice")
        app_token = {"slack_app_token": slack.app_token}
        await press(page, "slack", "Verificar", slack_bot_token="xoxb-wrong", **app_token)
        await expect(notice).to_contain_text("O Slack rejeitou “Token do bot”")
        slack.api.scopes = ["chat:write"]
        await press(page, "slack", "Verificar", slack_bot_token=slack.bot_token)
        await expect(notice).to_contain_text("Escopos ausentes: app_mentions:read")
        await press(page, "slack", "Salvar")
        await start_again(page, "Reiniciar agora")
        await slack.deliveries.wait_until_connected()
        place = slack.dm(ana)
        await slack.wait_for_answer(slack.say(ana, place, "help"))
        await page.reload()
        if await card.get_attribute("open") is None:
            await card.locator("summary").press("Enter")
        await card.get_by_label("Nome", exact=True).fill("ana")
        await press(page, "slack", "Buscar")
        assert await findings(page, axe) == []
        choice = await card.get_by_label("Ana Souza").bounding_box()
        assert choice
        assert choice["width"] < 40, "a radio button is not as wide as the card"
        await card.get_by_label("Ana Souza").press("Space")
        await press(page, "slack", "Sou eu")
        word = await card.locator(".notice code").inner_text()
        await slack.wait_for_answer(slack.say(ana, place, word))
        await press(page, "slack", "Já enviei")
        assert await findings(page, axe) == []
        await press(page, "slack", "Permitir que eu altere dados e aprove alterações")
        await start_again(page, "Reiniciar agora")
        await expect(card).to_contain_text(f"Podem alterar dados: Ana Souza (slack:{ana.id})")
        await expect(card).to_contain_text(
            "Podem aprovar alterações e administrar o Ponte: Ana Souza"
        )
