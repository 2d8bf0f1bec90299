"""The list of conversations over HTTP: names, pins, search, export, and what is not there."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest
from markdown_it import MarkdownIt

from adapters.web.page.routes import conversation_title
from core.domain.messages import PERSON, PROGRAM, Answer, Attachment, encode_json
from core.domain.records import ConversationSummary
from tests.fakes.choices import make_message
from tests.web.web_ponte import Client, Turn, WebPonte


async def post_message(client: Client, text: str, conversation: str = "main") -> None:
    answer = await client.post("/chat", json={"message": text, "conversation": conversation})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("hello", "hello"),
        ("# A *heading*\n\nand `more`", "A heading and more"),
        ("see [our page](https://example.com) on my_table and 2*3*4",
         "see our page on my_table and 2*3*4"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("- one\n- two", "one two"),
        ("word " * 30, "word word word word word word word word word word word word…"),
        ("x" * 90, "x" * 59 + "…"),
        ("  ", "plan.pdf"),
    ],
)  # fmt: skip
def test_a_title_is_the_first_words_without_their_marks(text: str, title: str) -> None:
    first = make_message(text, "k1")
    file = Attachment("plan.pdf", "application/pdf", 1)
    conversation_summary = ConversationSummary("c1", replace(first, attachments=(file,)))
    assert conversation_title(conversation_summary) == title
    assert conversation_title(replace(conversation_summary, title="*Plans*")) == "*Plans*"


async def test_conversations_are_listed_newest_first(ponte: WebPonte, client: Client) -> None:
    assert (await client.get("/conversations")).json() == {"conversations": []}
    await post_message(client, "about apples", "a")
    await post_message(client, "about pears", "b")
    body = (await client.get("/conversations")).json()["conversations"]
    assert [(one["id"], one["title"], one["pinned"]) for one in body] == [
        ("b", "about pears", False),
        ("a", "about apples", False),
    ]
    mark = await client.patch("/conversations/a", json={"title": "  Fruit\n", "pinned": True})
    assert mark.status_code == 200
    body = (await client.get("/conversations")).json()["conversations"]
    assert [(one["id"], one["title"]) for one in body] == [("a", "Fruit"), ("b", "about pears")]
    await client.patch("/conversations/a", json={"title": ""})
    body = (await client.get("/conversations", params={"search": "APPLES"})).json()
    assert [(one["title"], one["turn"]) for one in body["conversations"]] == [
        ("about apples", ponte.rows[1].message.turn)
    ]


async def test_what_is_not_there_or_not_understood(client: Client) -> None:
    for method, path in (
        ("PATCH", "/conversations/none"),
        ("DELETE", "/conversations/none"),
        ("GET", "/conversations/none/export"),
    ):
        body = {"pinned": True} if method == "PATCH" else None
        assert (await client.request(method, path, json=body)).status_code == 404
    await post_message(client, "hello")
    for wrong in ({"title": 5}, {"colour": "red"}, {"pinned": "perhaps"}):
        assert (await client.patch("/conversations/main", json=wrong)).status_code == 400


async def test_an_export_survives_an_open_code_block(client: Client) -> None:
    for number, text in enumerate(
        (
            "See:\n```python\nx = 1",
            "~~~\nx",
            "````md\n```\nx\n```",
            "- a\n  ```\n  x",
            "> ```\n> x",
            "```\nx\n```\n\n```js\ny",
            "``` \nclosed\n```",
            "    ```\n    x",
            "```",
        )
    ):
        for message in (text, "the next one"):
            await post_message(client, message, f"c{number}")
        export = (await client.get(f"/conversations/c{number}/export")).text
        tokens = MarkdownIt().parse(export)
        assert sum(token.type == "heading_open" for token in tokens) == 5, export


async def test_an_export_is_a_file(client: Client) -> None:
    await post_message(client, "Où est *São Paulo*?")
    response = await client.get("/conversations/main/export")
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.headers["content-disposition"].startswith("attachment; filename=")
    assert response.text.startswith("# Où est São Paulo?\n")
    assert "You said: Où est *São Paulo*?" in response.text
    await client.patch("/conversations/main", json={"title": "Cities: of Brazil"})
    response = await client.get("/conversations/main/export")
    assert response.text.startswith("# Cities: of Brazil\n")
    assert "Cities" in response.headers["content-disposition"]


async def test_only_the_last_answered_message_is_asked_again(
    ponte: WebPonte, client: Client
) -> None:
    await post_message(client, "one")
    await post_message(client, "two")
    first, last = (ponte.rows[seq].message.turn for seq in (1, 2))

    async def again(turn: str) -> httpx.Response:
        return await client.post("/chat", json={"message": "three", "replaces": turn})

    reply = await again(first)
    assert (reply.status_code, reply.json()["error"]["message"]) == (
        400,
        "Invalid request: only the last message can be sent again.",
    )
    assert (await again("aaaaaaaaaaaaaaaa")).status_code == 404
    assert (await again(last)).json()["response"] == "You said: three"
    value = (await client.get("/conversations/main")).json()["messages"]
    assert [one["text"] for one in value if one["role"] == "user"] == ["one", "three"]


@pytest.mark.parametrize("may_be_command", [False, True])
async def test_what_nobody_typed_stays_so_when_it_is_asked_again(
    ponte: WebPonte, client: Client, may_be_command: bool
) -> None:
    """A press of the button repeats the text of a program or a schedule, and writes nothing."""
    await post_message(client, "approve abc234")
    origin = replace(PROGRAM, may_be_command=may_be_command)
    message = encode_json(replace(ponte.rows[1].message, origin=origin))
    ponte.database.execute("UPDATE inbox SET message = ?, is_decision = ?", message, may_be_command)
    for seq, text in ((1, "approve abc234 "), (2, "approve abc234"), (3, "approve abc235")):
        body = {"message": text, "replaces": ponte.rows[seq].message.turn}
        assert (await client.post("/chat", json=body)).status_code == 200
    matches = [ponte.rows[seq].message.origin for seq in (2, 3, 4)]
    assert matches == [origin, origin, PERSON]


async def test_a_message_that_still_runs_is_not_asked_again(
    ponte: WebPonte, client: Client
) -> None:
    async def script(turn: Turn) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    ponte.script = script
    later = {"Prefer": "respond-async"}
    turn = (await client.post("/chat", json={"message": "one"}, headers=later)).json()["turn"]
    response = await client.post("/chat", json={"message": "two", "replaces": turn}, headers=later)
    assert (response.status_code, response.json()["error"]["message"]) == (
        400,
        "Invalid request: the message has no answer yet.",
    )
    assert len(ponte.rows) == 1


async def test_words_are_in_the_language_that_is_asked_for(ponte: WebPonte) -> None:
    ponte.script = lambda turn: _answer(turn.message.locale)
    for language, words in (
        ("pt-BR", "Não encontrei: conversa."),
        ("fr", "Introuvable\N{NO-BREAK SPACE}: conversation."),
    ):
        async with ponte.client(**{"Accept-Language": language}) as client:
            response = await client.get("/conversations/none/export")
            assert response.json()["error"]["message"].startswith(words)
            assert (await client.get("/page/words.json")).json()["locale"] == language


async def _answer(text: str) -> Answer:
    return Answer(text)
