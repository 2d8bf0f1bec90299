"""The scenes: what people say and press in the studio, and when a picture is taken of it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
from playwright.async_api import FilePayload, Page, expect

from adapters.discord.card_embeds import build_embeds
from adapters.slack.render import card_blocks
from bot.config.ponte_toml import TableConfig
from bot.features.mcp_tools.feature import McpConfig, McpToolConfig
from core.domain.messages import Card, ChangeAction
from tests.fakes import forker
from tests.fakes.card_rows import card_row
from tests.fakes.config import with_sections
from tests.fakes.discord.people import fields
from tests.fakes.discord.world import Payload
from tests.fakes.hook_senders import encode_body, from_nocodb
from tests.fakes.slack import Post
from tests.fakes.stackspot import Look, Run
from tests.mcp_tools.double import McpDouble, serve
from tests.pictures import discord, slack
from tests.pictures.camera import Camera
from tests.pictures.studio import (
    BY_STATUS,
    EVERY_MONDAY,
    FILE_ISSUE,
    HELLO,
    ISSUE_TOOL,
    LATE_ORDERS_QUESTION,
    LEADS,
    MARK_IT,
    MOMENT,
    NOTES,
    OVERDUE,
    PAID,
    PAYMENT,
    PLOTTED,
    PROPOSED_BY_PROGRAM,
    SALES,
    TO_ACTIVE,
    TOKEN,
    ZONE,
    Studio,
)
from tests.pictures.terminal import Screen
from tests.terminal.test_at_a_terminal import Terminal
from tests.web.page.browser import say, visit

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]
Theme = Literal["light", "dark"]

DESK, TALL, FORM, PHONE = (1180, 800), (1180, 1190), (1180, 880), (390, 844)
USAGE, SIGN_IN = (1180, 860), (780, 360)
INBOX = (960, 600)
SET_UP, FEEDBACK, AGAIN = (860, 760), (620, 560), (760, 740)
COLUMNS, WIDE_COLUMNS = 88, 100
APART = timedelta(minutes=4)
"""One scene after the other: time stamps of Slack never go back."""
TYPED = "quick-command release-notes version=4.2 readers=customers"


@dataclass(frozen=True)
class Picture:
    """`drawing` says all that is to be read in it, and for what is drawn here all that there is but
    the `files`, by name. `taken` is the picture, where it is one of the real page."""

    name: str
    drawing: Json
    files: Mapping[str, bytes] = field(default_factory=dict)
    taken: bytes | None = None


Scene = Callable[[Studio, Camera], AsyncIterator[Picture]]


async def invoices_on_slack(studio: Studio, __: Camera) -> AsyncIterator[Picture]:
    message = mentions(studio, studio.ana, OVERDUE)
    await studio.slack.wait_for_answer(message)
    answered = on_slack(studio, "", message, "light").drawing
    studio.clock.shift(125)
    card = await studio.slack.wait_for_answer(
        studio.slack.say(studio.ana, studio.channel, PAID, message)
    )
    before = on_slack(studio, "", message, "light").drawing
    studio.slack.click(studio.rui, card, "Approve")
    await studio.slack.wait_until(lambda: "Undo" in card.buttons)
    await studio.redraw()
    (post,) = slack.posts(studio.slack, [card])
    *messages, _ = before["posts"]
    both = [*messages, {"after": "Rui Prado has pressed Approve on the card"}, post]
    yield Picture("slack-two-people", {**before, "posts": both})
    yield on_slack(studio, "slack-done", message, "dark", last=2)
    approved = on_slack(studio, "", message, "light").drawing
    studio.slack.click(studio.rui, card, "Undo")
    await studio.slack.wait_until(lambda: not card.buttons)
    await studio.redraw()
    undone = on_slack(studio, "", message, "light").drawing
    asked = {**answered, "posts": answered["posts"][:1]}
    frames = [asked, answered, before, approved, undone]
    yield Picture("slack-film", {"kind": "film", "theme": "light", "frames": frames})


async def hello_on_slack(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    message = mentions(studio, studio.ana, HELLO)
    await studio.slack.wait_for_answer(message)
    yield on_slack(studio, "slack-hello", message, "light")


async def french_on_slack(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    message = mentions(studio, studio.lea, LEADS)
    await studio.slack.wait_for_answer(message)
    studio.clock.shift(65)
    await studio.slack.wait_for_answer(
        studio.slack.say(studio.lea, studio.channel, TO_ACTIVE, message)
    )
    yield on_slack(studio, "slack-francais", message, "dark")


async def plot_on_slack(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    files = [("sales.csv", "text/csv", SALES)]
    message = mentions(studio, studio.ana, PLOTTED, files=files)
    await studio.slack.wait_for_answer(message)

    def posts_with_files() -> list[Post]:
        posts = studio.slack.workspace.by_bot(message.channel, message.ts)
        return [post for post in posts if post.files]

    await studio.slack.wait_until(lambda: sum(len(post.files) for post in posts_with_files()) == 1)
    images = {
        file.name: file.data
        for post in posts_with_files()
        for file in post.files
        if file.mimetype == "image/png"
    }
    yield on_slack(studio, "slack-plot", message, "light", images)


async def form_on_slack(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    command = "/quick-command"
    await studio.slack.command(studio.ana, studio.channel, command, "release-notes").acked.wait()
    view = studio.slack.workspace.views[-1]
    views = {name: view[name] for name in ("title", "submit", "close", "blocks")}
    drawing = {
        "kind": "slack form",
        "theme": "light",
        "width": 520,
        "view": views,
        "filled": {"field:version": "4.2", "field:readers": "customers"},
    }
    yield Picture("slack-form", drawing)


async def progress_on_slack(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    """Where the app is no agent: a session of Slack's shows no words."""
    workspace = studio.slack.workspace
    workspace.agent, studio.stackspot.held = False, True
    looks = Look("RUNNING", 0.42, "Summarise"), Look("COMPLETED", 1.0)
    studio.stackspot.go(Run(looks, NOTES))
    message = mentions(studio, studio.rui, TYPED)
    await studio.slack.wait_until(
        lambda: any("%" in statuses["status"] for statuses in workspace.statuses)
    )
    status = next(
        statuses["status"] for statuses in workspace.statuses if "%" in statuses["status"]
    )
    yield on_slack(studio, "slack-progress", message, "dark", status=status)
    studio.stackspot.held = False
    await studio.slack.wait_for_answer(message)
    yield on_slack(studio, "slack-notes", message, "dark")
    workspace.agent = True


async def ended_cards(_: Studio, __: Camera) -> AsyncIterator[Picture]:
    """Cards of changes that were not made, or were undone."""
    before = {"Invoice": "INV-2003", "Status": "Overdue", "Paid on": None}
    row = card_row(before, before | {"Status": "Paid", "Paid on": "2026-11-18"})
    ends: tuple[tuple[str, str, tuple[ChangeAction, ...]], ...] = (
        ("denied", "Requested by Ana Sousa. Denied by Rui Prado.", ("reason",)),
        ("failed", "Approved by Rui Prado. The database did not respond.", ()),
        ("expired", "Requested by Ana Sousa.", ("again",)),
        ("undone", "Approved by Rui Prado. Undone by Ana Sousa.", ()),
    )
    cards = [
        Card(
            f"abc23{number}",
            "proposal",
            "Change a row in Invoices",
            words,
            state=state,
            actions=actions,
            rows=(row,),
            decided_at=MOMENT.timestamp(),
        )
        for number, (state, words, actions) in enumerate(ends, 2)
    ]
    drawing: Json = {"kind": "slack thread", "theme": "light", "width": 750, "place": "invoices"}
    blocks = [block for card in cards for block in card_blocks(card)]
    drawing |= {"status": "", "earlier": 0, "posts": [slack.of_bot(blocks)]}
    yield Picture("slack-ended", drawing)
    drawing = {"kind": "discord talk", "theme": "dark", "width": 620, "place": "sales"}
    embeds = [dict(embed.to_dict()) for embed in build_embeds(cards)]
    drawing |= {"command": "", "messages": [discord.of_bot(embeds)]}
    yield Picture("discord-ended", drawing)


async def home_on_slack(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    """The Home tab of somebody who may approve a request that waits."""
    card = await studio.slack.wait_for_answer(mentions(studio, studio.ana, MARK_IT))
    studio.slack.dm(studio.rui)
    studio.slack.open_home(studio.rui)
    await studio.slack.wait_until(lambda: studio.rui.id in studio.slack.workspace.homes)
    # The metadata has an id that no one sees, which differs from run to run.
    view = {**studio.slack.workspace.homes[studio.rui.id], "private_metadata": ""}
    view["blocks"] = slack.of_bot(view["blocks"])["blocks"]  # with its moments as he sees them
    drawing = {"kind": "slack home", "theme": "light", "width": 620, "view": view}
    yield Picture("slack-home", drawing)
    studio.slack.click(studio.rui, card, "Deny")
    await studio.slack.wait_until(lambda: "Approve" not in card.buttons)


async def discord_talk(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    interaction = await studio.maya.slash("ask", studio.server, prompt=LATE_ORDERS_QUESTION)
    await interaction.wait_until(lambda exchange: "Source" in exchange.text)
    assert interaction.original
    drawing = {
        "kind": "discord talk",
        "theme": "dark",
        "width": 620,
        "place": "sales",
        "command": "ask",
        "messages": discord.messages(studio.discord, [interaction.original]),
    }
    yield Picture("discord-ask", drawing)
    message = await studio.maya.mention(PAID, studio.server)
    threads = studio.discord.world.channels
    await studio.discord.wait_until(lambda: int(message["id"]) in threads)
    thread = threads[int(message["id"])]
    messages = await studio.maya.wait_for_messages(
        lambda seen: any(one["embeds"] for one in seen), thread
    )
    yield Picture("discord-card", _in_thread(studio, message, messages, thread.name, "dark"))


async def discord_form(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    interaction = await studio.maya.slash("quick-command", studio.server, slug="release-notes")
    await interaction.wait_for_ack()
    values = {"version": "4.2", "readers": "customers"}
    inputs = fields(interaction.data["components"])
    views = [
        {
            "label": component.get("label") or component["component"]["label"],
            "required": component.get("component", component).get("required", True),
            "about": component.get("description") or "",
            "value": values.get(item["custom_id"], item.get("value") or ""),
        }
        for component, item in zip(interaction.data["components"], inputs, strict=True)
    ]
    drawing = {
        "kind": "discord form",
        "theme": "dark",
        "width": 460,
        "modal": {"title": interaction.data["title"], "fields": views},
    }
    yield Picture("discord-form", drawing)


def _in_thread(
    studio: Studio, said: Payload, shown: list[Payload], name: str, theme: Theme
) -> Json:
    return {
        "kind": "discord talk",
        "theme": theme,
        "width": 620,
        "place": name,
        "command": "",
        "messages": discord.messages(studio.discord, [said, *shown]),
    }


async def page_on_a_desk(studio: Studio, camera: Camera) -> AsyncIterator[Picture]:
    async with page_of(studio, camera, "main", DESK, "light") as page:
        yield await photograph_page("page-welcome", page, camera)
    async with page_of(studio, camera, "main", TALL, "light") as page:
        await asks(page, OVERDUE, "Source:")
        await say(page, PAID)
        await expect(page.locator(".card .approve")).to_be_visible()
        await expect(page.locator("#approvals-count")).to_have_text("1")
        await expect(page.get_by_role("button", name="Run again")).to_be_visible()
        yield await photograph_page("page-talk", page, camera)
    async with page_of(studio, camera, "notes", DESK, "light") as page:
        await page.locator("#quick").click()
        await page.get_by_label("version (required)").fill("4.2")
        await page.get_by_label("readers (required)").select_option("customers")
        await expect(page.locator("#approvals-count")).to_have_text("1")
        yield await photograph_page("page-form", page, camera, "#quick-form")
    async with page_of(studio, camera, "plot", TALL, "dark") as page:
        csv = FilePayload(name="sales.csv", mimeType="text/csv", buffer=SALES)
        await page.set_input_files("#files", csv)
        await asks(page, PLOTTED, "Sales grew")
        await expect(page.locator(".answer .files img")).to_be_visible()
        await page.get_by_role("tab", name="Code").click()
        await expect(page.locator(".ran pre")).to_contain_text("read_csv")
        await expect(page.locator("#approvals-count")).to_have_text("1")
        yield await photograph_page("page-code", page, camera)


async def sign_in_page(studio: Studio, camera: Camera) -> AsyncIterator[Picture]:
    """Somebody without a session. The address that it names is not that of a test."""
    width, height = SIGN_IN
    context = await camera.browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark", locale="en-GB"
    )
    page = await context.new_page()
    await page.goto(studio.app.links()[1].partition("#")[0])
    await expect(page.locator("#ways a")).to_be_visible()
    await page.evaluate("document.getElementById('host').textContent = 'ponte.example.com'")
    yield await photograph_page("page-sign-in", page, camera)
    await context.close()


async def page_on_a_phone(studio: Studio, camera: Camera) -> AsyncIterator[Picture]:
    async with page_of(studio, camera, "fatura", PHONE, "dark", "pt-BR") as page:
        await asks(page, BY_STATUS, "Fonte:")
        await expect(page.locator("#approvals-count")).to_have_text("1")
        yield await photograph_page("page-phone", page, camera)
    async with page_of(studio, camera, "pago", PHONE, "light") as page:
        await say(page, PAID)
        approve = page.locator(".card .approve")
        await approve.click()
        await expect(page.locator(".card .undo")).to_be_visible()
        await expect(page.locator("#approvals-count")).to_have_text("1")
        yield await photograph_page("page-phone-done", page, camera)
        undo = page.get_by_role("button", name="Undo: Change 2 rows in Invoices", exact=True)
        await undo.click()
        await expect(undo).to_be_hidden()


async def form_of_a_card(studio: Studio, camera: Camera) -> AsyncIterator[Picture]:
    """A request that was changed once, and its form open again."""
    async with page_of(studio, camera, "change", FORM, "light") as page:
        await say(page, PAID)
        card = page.locator(".card")
        await card.locator(".change").click()
        await card.get_by_label("Paid on").first.fill("2026-11-17")
        await card.get_by_role("button", name="Save").click()
        await expect(card.locator(".words")).to_contain_text("Version 2")
        await card.locator(".change").click()
        await expect(card.locator("form")).to_be_visible()
        yield await photograph_page("page-change", page, camera, ".card")
        await page.reload()
        await card.locator(".deny").click()
        await card.locator(".reason [type=submit]").click()
        await expect(card).to_have_attribute("data-state", "denied")


async def approvals_on_the_page(studio: Studio, camera: Camera) -> AsyncIterator[Picture]:
    """A card in each language, and the list of all that wait, hours later."""
    begin = datetime.now(ZONE)
    for number, locale in enumerate(("en-GB", "fr", "pt-BR")):
        name = {"en-GB": "en"}.get(locale, locale.lower())
        studio.clock.move_to(begin + number * APART)  # cards say the minute at which they expire
        async with page_of(studio, camera, f"card-{name}", PHONE, "light", locale) as page:
            await say(page, PAID)
            await expect(page.locator(".card .approve")).to_be_visible()
            yield await photograph_page(f"card-{name}", page, camera, ".card")
    studio.clock.shift(2.5 * 3600)
    async with page_of(studio, camera, "inbox", INBOX, "light") as page:
        await page.locator("#approvals").click()
        for number in (1, -1):
            await page.locator("#requests-list button").nth(number).click()
        await expect(page.locator("#requests-together button")).to_be_visible()
        yield await photograph_page("page-approvals", page, camera, "#requests")


async def at_a_terminal(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    async with terminal(studio) as output:
        await output.says(OVERDUE, "Source:")
        await output.says(PAID, "Type:")
        yield Picture("terminal-chat", drawing_of(output, "ponte chat"))


async def two_approvers_on_slack(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    """One approval of two is there."""
    rui, lea = (f"slack:{one.id}" for one in (studio.rui, studio.lea))
    both = TableConfig(approvers=(rui, lea), approvals=2)
    live = studio.app.live
    live.current = replace(live.current, tables={"Invoices": both})
    message = mentions(studio, studio.ana, PAID)
    card = await studio.slack.wait_for_answer(message)
    studio.clock.shift(60)
    studio.slack.click(studio.rui, card, "Approve")
    await studio.slack.wait_until(lambda: "1 of 2" in card.visible_text)
    yield on_slack(studio, "slack-approvers", message, "light")
    studio.slack.click(studio.ana, card, "Deny")
    await studio.slack.wait_until(lambda: "Approve" not in card.buttons)
    live.current = replace(live.current, tables={})


async def webhook_on_slack(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    page = studio.app.links()[1].partition("#")[0]
    before = len(studio.slack.workspace.by_bot(studio.channel.id))
    async with httpx.AsyncClient(base_url=page, timeout=20) as program:
        answer = await program.post(
            "/hooks/payments", content=encode_body(PAYMENT), headers=from_nocodb()
        )
    assert answer.is_success, answer.text
    posts = studio.slack.workspace.by_bot
    await studio.slack.wait_until(lambda: len(posts(studio.channel.id)) > before)
    post = posts(studio.channel.id)[-1]
    studio.clock.shift(65)
    message = studio.slack.say(
        studio.ana, studio.channel, f"{studio.slack.bot} {MARK_IT}", thread=post
    )
    card = await studio.slack.wait_for_answer(message)
    yield on_slack(studio, "slack-webhook", post, "light")
    studio.slack.click(studio.rui, card, "Deny")
    await studio.slack.wait_until(lambda: "Approve" not in card.buttons)


async def mcp_on_slack(studio: Studio, camera: Camera) -> AsyncIterator[Picture]:
    """The card of a change that a program proposed."""
    accounts, posts = studio.app.accounts, studio.slack.workspace.by_bot
    person = accounts.person("ana")
    await accounts.invite(person)
    _, token = await accounts.create_api_token(person.key, "", 0, None, "mcp")
    before = len(posts(studio.channel.id))
    params = {"name": "propose_change", "arguments": PROPOSED_BY_PROGRAM}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "User-Agent": "Claude Code/2",
    }
    page = studio.app.links()[1].partition("#")[0]
    async with httpx.AsyncClient(base_url=page, headers=headers, timeout=20) as program:
        answer = await program.post("/mcp", json=body)
    assert answer.is_success, answer.text
    await studio.slack.wait_until(lambda: len(posts(studio.channel.id)) > before)
    post = posts(studio.channel.id)[-1]
    yield on_slack(studio, "slack-mcp", post, "light")
    studio.slack.click(studio.rui, post, "Deny")
    await studio.slack.wait_until(lambda: "Approve" not in post.buttons)


async def schedule_on_discord(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    """It is approved, and listed."""
    message = await studio.maya.mention(EVERY_MONDAY, studio.server)
    threads = studio.discord.world.channels
    await studio.discord.wait_until(lambda: int(message["id"]) in threads)
    thread = threads[int(message["id"])]

    async def wait(met: Callable[[Payload], object]) -> list[Payload]:
        return await studio.maya.wait_for_messages(lambda seen: any(map(met, seen)), thread)

    (card,) = await wait(lambda one: one["embeds"])
    await studio.maya.click(card, "Approve")
    await wait(lambda one: any("Undo" in str(row) for row in one["components"]))
    await studio.redraw()
    asks = await studio.maya.mention("schedules", thread)
    view = await wait(lambda one: one["content"].startswith("Schedules:"))
    values = sorted([asks, *view], key=lambda one: int(one["id"]))
    yield Picture("discord-schedule", _in_thread(studio, message, values, thread.name, "dark"))


async def usage_on_the_page(studio: Studio, camera: Camera) -> AsyncIterator[Picture]:
    """Two weeks of three people, in place of what the scenes have used."""
    for person in (studio.ana, studio.rui, studio.lea):  # so that their names are known
        await studio.slack.wait_for_answer(mentions(studio, person, "usage"))
    day_counts = (3, 5, 4, 6, 2, 0, 0, 4, 7, 5, 9, 6, 1, 0)
    people = [studio.ana, studio.rui, studio.ana, studio.lea]
    days = [MOMENT.date() - timedelta(days=age) for age in range(len(day_counts))]
    lines = [day for day, count in zip(days, day_counts, strict=True) for _ in range(count)]
    place = f"slack:{studio.ana.team}:{studio.channel.id}"

    def write(connection: Any) -> None:
        for table in ("usage", "spendings", "counters"):
            connection.execute(f"DELETE FROM {table}")
        for seq, day in enumerate(lines, 1):
            person = f"slack:{studio.ana.team}:{people[seq % 4].id}"
            counts = 2_900 + 137 * (seq % 9), 210 + 31 * (seq % 5), 0.004 + 0.0007 * (seq % 6)
            connection.execute(
                "INSERT INTO usage (seq, day, person, conversation, input, output, cost, place)"
                " VALUES (?, ?, ?, '', ?, ?, ?, ?)",
                (seq, f"{day}", person, *counts, place),
            )
            connection.execute(
                "INSERT INTO spendings (seq, part, person, kind, name, input, output, cost)"
                " VALUES (?, '1', ?, 'model', 'gpt-6-luna', ?, ?, ?)",
                (seq, person, *counts),
            )

    await studio.app.engine.stores.database.write(write)
    async with page_of(studio, camera, "usage", USAGE, "light") as page:
        await page.locator("#me").click()
        await page.get_by_role("menuitem", name="Administration").click()
        await page.get_by_role("link", name="Usage").click()
        yield await photograph_page("page-usage", page, camera)


async def mcp_tool_on_slack(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    """The card of a call of a tool of another MCP server."""
    live, tools = studio.app.live, {"create_issue": McpToolConfig("write")}
    async with serve(McpDouble([ISSUE_TOOL])) as url:
        live.current = with_sections(
            live.current, mcp={"tracker": McpConfig(f"{url}/mcp", tools=tools)}
        )
        await studio.app.sources["mcp_tools"].servers.accept("tracker")
        message = mentions(studio, studio.ana, FILE_ISSUE)
        card = await studio.slack.wait_for_answer(message)
        yield on_slack(studio, "slack-mcp-tool", message, "light")
        studio.slack.click(studio.rui, card, "Deny")
        await studio.slack.wait_until(lambda: "Approve" not in card.buttons)
        live.current = with_sections(live.current, mcp={})


async def set_up_on_the_page(studio: Studio, camera: Camera) -> AsyncIterator[Picture]:
    """A new Ponte, whose owner has checked the address and the token of NocoDB."""
    folder = studio.home.parent / "fresh"
    folder.mkdir()
    env = {"PATH": os.environ["PATH"], "PONTE_HOME": f"{folder}/home", "PONTE_WEB_PORT": "0"}
    env |= {"PONTE_CODE": "off", "PONTE_TIMEZONE": ZONE.key}
    process = await forker.start("bot", "run", cwd=folder, env=env)
    assert process.stdout
    line = ""
    while not line.startswith("Ponte is ready"):
        line = (await process.stdout.readline()).decode()
        assert line, "it did not start"
    (base,) = re.findall(r"http://\S+", line)
    width, height = SET_UP
    context = await camera.browser.new_context(
        viewport={"width": width, "height": height}, locale="en-GB"
    )
    page = await context.new_page()
    await visit(page, f"{base}/#token={(folder / 'home' / 'web-token').read_text().strip()}")
    await page.goto(f"{base}/admin/setup")
    card = page.locator("#nocodb")
    await card.locator("summary").click()
    await card.get_by_label("Address").fill(studio.nocodb.origin)
    await card.get_by_label("Token").fill(TOKEN)
    async with page.expect_navigation():
        await card.get_by_role("button", name="Check", exact=True).click()
    await expect(card.locator(".notice")).to_contain_text("base Sales")
    await card.get_by_label("Address").fill("https://nocodb.example.com")
    yield await photograph_page("page-setup", page, camera)
    await context.close()
    process.kill()
    await process.wait()


async def feedback_on_the_page(studio: Studio, camera: Camera) -> AsyncIterator[Picture]:
    """A thumb down, and the form that asks what was wrong."""
    async with page_of(studio, camera, "feedback", FEEDBACK, "light") as page:
        await asks(page, OVERDUE, "Source:")
        await page.get_by_role("button", name="Bad answer").click()
        await page.get_by_label("What was wrong?").fill("The credit of Padaria Lua is missing.")
        await page.get_by_label("Share the question and the answer").check()
        yield await photograph_page("page-feedback", page, camera)


async def answer_again(studio: Studio, camera: Camera) -> AsyncIterator[Picture]:
    """A day later, when an invoice is paid; then its question is saved. Earlier cards expire."""
    async with page_of(studio, camera, "again", AGAIN, "light") as page:
        await asks(page, LATE_ORDERS_QUESTION, "Source:")
        studio.clock.shift(timedelta(days=1))
        studio.nocodb.world.bases["psales"].table("Invoices").update(3, {"Status": "Paid"})
        await page.clock.set_system_time(datetime.now(ZONE))
        await page.reload()
        await page.get_by_role("button", name="Run again").click()
        newest = page.locator("#log > li").last
        await expect(newest).to_contain_text("3 rows (on Nov 19: 4).", timeout=20_000)
        await newest.get_by_role("button", name="Save…").click()
        await page.get_by_label("Name").fill("overdue invoices")
        await page.locator(".saving [type=submit]").hover()
        await expect(page.locator("#list")).to_contain_text("Today")
        await expect(page.locator("#approvals-count")).to_be_hidden()
        yield await photograph_page("page-again", page, camera)


async def doctor_at_a_terminal(studio: Studio, _: Camera) -> AsyncIterator[Picture]:
    """A new folder of settings, with a token that NocoDB does not know."""
    folder = studio.home.parent / "new"
    folder.mkdir()
    own = studio.app.settings
    (folder / ".env").write_text(
        f"OPENAI_API_KEY=sk-test\nOPENAI_BASE_URL={own.openai_base_url}\nPONTE_CODE=off\n"
        f"NOCODB_URL={studio.nocodb.origin}\nNOCODB_TOKEN=another\nPONTE_HOME={folder}/home\n"
    )
    (folder / ".env").chmod(0o600)
    env = {"PATH": os.environ["PATH"], "PONTE_WEB_PORT": "0"}
    process = await forker.start("bot", "doctor", cwd=folder, env=env)
    output = (await process.communicate())[0]
    text = output.decode().replace(str(folder), "/srv/ponte")
    text = re.sub(r"Ponte \S+ in \S+, with all \d+", "Ponte 0.3.0 in /opt/ponte, with all 29", text)
    screen = Screen(WIDE_COLUMNS)
    screen.write(f"$ ponte doctor\n{text}".replace("\n", "\r\n"))
    yield Picture("terminal-doctor", _terminal(screen.styled_lines(), "ponte doctor", 860))


SCENES: tuple[Scene, ...] = (
    invoices_on_slack,
    hello_on_slack,
    french_on_slack,
    plot_on_slack,
    form_on_slack,
    home_on_slack,
    discord_talk,
    discord_form,
    page_on_a_desk,
    page_on_a_phone,
    at_a_terminal,
    progress_on_slack,
    form_of_a_card,
    two_approvers_on_slack,
    webhook_on_slack,
    mcp_on_slack,
    schedule_on_discord,
    doctor_at_a_terminal,
    usage_on_the_page,
    ended_cards,
    sign_in_page,
    mcp_tool_on_slack,
    set_up_on_the_page,
    feedback_on_the_page,
    answer_again,
    approvals_on_the_page,
)


async def play_scenes(studio: Studio, camera: Camera, *names: str) -> AsyncIterator[Picture]:
    """All pictures, each as soon as it is there, settled; `names`: of these scenes alone."""
    for number, scene in enumerate(SCENES):
        if names and scene.__name__ not in names:
            continue
        studio.clock.move_to(MOMENT + number * APART)
        async for picture in scene(studio, camera):
            drawing = studio.normalize(picture.drawing)
            yield Picture(picture.name, drawing, picture.files, picture.taken)


def mentions(studio: Studio, someone: Any, text: str, **more: Any) -> Post:
    message: Post = studio.slack.say(someone, studio.channel, f"{studio.slack.bot} {text}", **more)
    return message


def on_slack(
    studio: Studio,
    name: str,
    asked: Post,
    theme: Theme,
    files: Mapping[str, bytes] | None = None,
    last: int = 0,
    status: str = "",
) -> Picture:
    """The thread as it stands; its `last` posts, where not all."""
    posts = studio.slack.workspace.thread(asked.channel, asked.ts)
    drawing = {
        "kind": "slack thread",
        "theme": theme,
        "width": 750,
        "place": studio.channel.name,
        "status": status,
        "earlier": len(posts) - last if last else 0,
        "posts": slack.posts(studio.slack, posts[-last:]),
    }
    return Picture(name, drawing, files or {})


@asynccontextmanager
async def page_of(
    studio: Studio,
    camera: Camera,
    conversation: str,
    size: tuple[int, int],
    theme: Theme,
    locale: str = "en-GB",
) -> AsyncIterator[Page]:
    width, height = size
    context = await camera.browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=theme,
        locale=locale,
        timezone_id=ZONE.key,
    )
    await context.clock.install(time=datetime.now(ZONE))
    page = await context.new_page()
    page.set_default_timeout(20_000)
    await visit(page, studio.app.links()[1])
    base = studio.app.links()[1].partition("#")[0]
    await page.goto(f"{base}#{conversation}")
    await expect(page.locator("#tries button")).not_to_have_count(0)
    yield page
    await context.close()


async def asks(page: Page, text: str, shown: str) -> None:
    await say(page, text)
    await expect(page.locator(".answer").last).to_contain_text(shown, timeout=20_000)


async def photograph_page(name: str, page: Page, camera: Camera, part: str = "body") -> Picture:
    """The real page or an element of it, and what is to be read there, once it has all that there
    is to be."""
    await expect(page.locator("#stop")).to_be_hidden()
    if await page.locator(".said").count():
        await expect(page.locator("#title")).not_to_have_text("Ponte")
    await page.evaluate("document.activeElement.blur()")
    await page.evaluate("document.fonts.ready")
    text = await page.inner_text(part)
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    return Picture(name, {"kind": "page", "text": lines}, taken=await camera.look(page, part))


def drawing_of(terminal: Terminal, title: str) -> Json:
    screen = Screen(COLUMNS)
    screen.write(terminal.written)
    lines = screen.styled_lines()
    while lines and (not lines[-1] or lines[-1][0]["text"].startswith("You:")):
        lines.pop()  # the prompt that follows, which may be there in part
    return _terminal(lines, title, 780)


def _terminal(lines: list[list[Json]], title: str, width: int) -> Json:
    return {"kind": "terminal", "theme": "dark", "width": width, "title": title, "lines": lines}


@asynccontextmanager
async def terminal(studio: Studio) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    process = await forker.start(
        "tests.terminal.talk",
        str(studio.home / "ponte.sock"),
        cwd=studio.home.parent,
        env={**os.environ, "TERM": "xterm", "TZ": ZONE.key},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    event = Terminal(ours)
    try:
        await event.until("You:")
        yield event
        event.type("/exit\r")
        async with asyncio.timeout(120):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
