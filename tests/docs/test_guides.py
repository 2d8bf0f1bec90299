"""What the guides promise is tried as their readers would try it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from pydantic import SecretStr

from bot.cli.doctor import try_model
from bot.config.ponte_toml import Config
from bot.home import Home, Start
from bot.settings import Settings
from core.base.i18n import say, use_locale
from core.commands.grammar import parse_command
from core.domain.messages import Answer
from tests.bot.doctor.test_doctor_model import ANSWERS, CALLS, COUNTS
from tests.dialogues.bot_home import BotHome
from tests.dialogues.decisions import bot, propose
from tests.dialogues.office import PAID, office
from tests.dialogues.test_nocodb_web import Page
from tests.docs.conftest import ROOT
from tests.docs.test_documents import spans
from tests.docs.test_troubleshooting import all_sentences, begins
from tests.fakes.link import parse_page_link
from tests.fakes.memory_table import MemoryTable
from tests.fakes.nocodb import filled
from tests.fakes.openai import FakeOpenAI

QUOTING = ["docs/guides/model.md", "docs/guides/secrets.md", "docs/guides/upgrade.md"]
"""Pages whose quotations are Ponte's own sentences."""
MODEL = (ROOT / "docs/guides/model.md").read_text("utf-8")


def page_client(link: str) -> httpx.AsyncClient:
    """Return a client that is signed in by this link."""
    address, bearer = parse_page_link(link)
    return httpx.AsyncClient(base_url=address, headers=bearer, timeout=20)


def read_rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the table whose head begins with this cell, without backticks."""
    table = text[text.index(f"| {heading} |") :].partition("\n\n")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


@pytest.mark.parametrize("row", read_rows(MODEL, "server"), ids=lambda row: row[0])
async def test_each_server_of_the_guide_answers(row: list[str], tmp_path: Path) -> None:
    """The double takes the place of the server, at the path of the guide's address."""
    _, url, key, model, _ = ["" if cell == "–" else cell for cell in row]
    options = {"openai_base_url": url, "openai_api_key": key, "ponte_model": model}
    settings = Settings.model_validate({k: v for k, v in options.items() if v})
    assert url == (settings.openai_base_url or ""), "it's complete"
    async with FakeOpenAI(key=key, without={"conversations", "responses"}) as fake:
        fake.models.append(settings.ponte_model)
        fake.say(COUNTS, CALLS, ANSWERS)
        own = {**options, "openai_base_url": fake.base_url, "ponte_home": tmp_path / "home"}
        settings = Settings.model_validate({k: v for k, v in own.items() if v})
        lines: list[str] = []
        start = Start(settings, Config(), Home(tmp_path / "home"))
        code = await try_model(start, lines.append, lambda: None)
    host = f"{settings.ponte_model} at 127.0.0.1"
    assert any(f"{host}: Chat Completions API, history stored only here" in x for x in lines)
    assert code == 0, lines


@pytest.mark.slow
def test_a_sentence_that_a_page_quotes_can_be_read_from_ponte() -> None:
    """`…` stands for what is filled in."""
    text = "\n".join((ROOT / name).read_text("utf-8") for name in QUOTING)
    quotes = {" ".join(quote.split()) for quote in re.findall(r"“([^”]+)”", text)}
    assert [one for one in quotes if not any(begins(each, one) for each in all_sentences())] == []


def test_the_steps_of_the_picture_are_those_of_its_page() -> None:
    folder = ROOT / "docs/explanation"
    picture = (folder / "reliability.svg").read_text("utf-8")
    groups = ElementTree.fromstring(picture).iterfind(".//{*}g[@class='number']")
    numbers = [text.text for group in groups for text in group.iterfind("{*}text")]
    page = (folder / "reliability.md").read_text("utf-8")
    assert numbers == re.findall(r"^(\d)\. ", page, re.MULTILINE)
    assert len(picture) <= 12_000


CHAT_PAGES = {"en": "en.md", "pt-BR": "pt-BR.md", "fr": "fr.md"}
BUTTONS = ("Approve", "Change…", "Deny", "Undo", "Propose again", "Stop")


def read_chat_page(locale: str) -> str:
    return (ROOT / "docs/chat" / CHAT_PAGES[locale]).read_text("utf-8")


@pytest.mark.parametrize("locale", CHAT_PAGES)
def test_what_people_type_is_a_command_as_it_is_written(locale: str) -> None:
    """In each language the page has the same commands, in the same order."""
    names = [
        [
            command.name
            for typed_text in spans(f"docs/chat/{CHAT_PAGES[each]}")
            if typed_text != "@Ponte"
            and (
                (command := parse_command(typed_text.replace("ID", "l5wq5u")))
                or pytest.fail(typed_text)
            )
        ]
        for each in ("en", locale)
    ]
    assert names[0] == names[1]
    assert "approve" in names[0]


@pytest.mark.parametrize("locale", CHAT_PAGES)
def test_buttons_have_the_labels_that_people_see(locale: str) -> None:
    page = read_chat_page(locale)
    with use_locale(locale):
        labels = [say(button) for button in BUTTONS]
    assert [label for label in labels if f"**{label}**" not in page] == []
    assert page.count("\n| ") == read_chat_page("en").count("\n| ")


@pytest.mark.parametrize("locale", CHAT_PAGES)
async def test_what_stands_beside_the_buttons_decides_when_it_is_typed(
    tmp_path: Path, locale: str
) -> None:
    heading = re.findall(r"^\| (\w+) \|", read_chat_page(locale), re.MULTILINE)[0]
    approve, change, deny, undo, again = (
        row[1] for row in read_rows(read_chat_page(locale), heading)
    )
    table = MemoryTable({"1": {"Name": "Ada"}})
    table.is_editable = True
    async with bot(BotHome(tmp_path / "home"), table) as ponte:

        async def type_words(words: str, id: str) -> Answer:
            return await ponte.ask(re.sub(r"ID Statu[st] =", "ID Name =", words).replace("ID", id))

        card = await propose(ponte, "table_update", rows={"1": {"Name": "Bea"}})
        await type_words(change, card.id)
        await type_words(approve, card.id)
        assert table.rows["1"]["Name"] == change.rpartition(" = ")[2]
        await type_words(undo, card.id)
        assert table.rows["1"]["Name"] == "Ada"
        card = await propose(ponte, "table_update", rows={"1": {"Name": "Bea"}})
        await type_words(deny, card.id)
        response = await ponte.engine.changes.ledger.get(card.id)
        assert (response.state, response.denial_reason) == ("denied", deny.partition("ID ")[2])
        assert (await type_words(again, card.id)).cards[0].state == "open"


async def test_a_request_outlives_a_changed_token_of_nocodb(tmp_path: Path) -> None:
    """As guides/secrets.md says: not if somebody approves it while the token is refused."""
    async with office(tmp_path) as team:
        users = team.nocodb.world.users
        async with team.open() as app, page_client(app.links()[1]) as client:
            page = Page(client, team)
            waiting, hasty = await page.card(PAID), await page.card(PAID)
            users["new-token"] = users.pop(filled.EDITOR)
            end = await page.clicks("approve", hasty["id"])
            assert (end["state"], "Nothing was changed." in end["text"]) == ("failed", True)
            assert "NocoDB rejected the token." in end["text"]
        fresh = SecretStr("new-token")
        async with team.open(nocodb_token=fresh) as app, page_client(app.links()[1]) as client:
            page = Page(client, team)
            assert (await page.clicks("approve", waiting["id"]))["state"] == "done"
