"""The form that changes a proposal, over HTTP: who gets it, and how it is sent back."""

from __future__ import annotations

import json

from core.base.errors import BadInput, Expired, NotAllowed, NotFound, PonteError
from core.commands.grammar import parse_command
from core.domain.changes import ChangeForm, FormField
from core.domain.messages import Address, Person
from tests.web.web_ponte import Client, WebPonte

FIELDS = (
    FormField("1.City", "City", "select", "Porto", ("Porto", "Faro"), "Ann"),
    FormField("2.City", "City", "text", "<b>", row="Bo"),
)
FORM = ChangeForm("abc234", 3, "Update 2 rows", FIELDS)


async def test_the_form_comes_with_the_proposed_values(ponte: WebPonte, client: Client) -> None:
    ponte.board.forms["abc234"] = FORM
    answer = await client.get("/cards/abc234/form")
    assert answer.json() == {
        "id": "abc234",
        "revision": 3,
        "title": "Update 2 rows",
        "fields": [
            {
                "key": "1.City",
                "label": "City",
                "type": "select",
                "value": "Porto",
                "options": ["Porto", "Faro"],
                "row": "Ann",
            },
            {
                "key": "2.City",
                "label": "City",
                "type": "text",
                "value": "<b>",
                "options": [],
                "row": "Bo",
            },
        ],
    }
    assert answer.headers["content-type"] == "application/json"


async def test_the_form_is_asked_for_in_the_place_and_name_of_the_reader(ponte: WebPonte) -> None:
    questions: list[tuple[str, Person, Address]] = []

    async def find_form(press_id: str, person: Person, address: Address) -> ChangeForm:
        questions.append((press_id, person, address))
        return FORM

    ponte.board.find_form = find_form  # type: ignore[method-assign]
    async with ponte.person(ponte.people.add("ana")) as ana:
        assert (await ana.get("/cards/abc234/form?conversation=work")).status_code == 200
    ((press_id, person, address),) = questions
    assert (press_id, person.key, address.channel) == ("abc234", "web:ana", "work")
    assert ponte.web.hub.visitors.owns(person, address.conversation)


async def test_a_refusal_has_its_status_and_words(ponte: WebPonte, client: Client) -> None:
    errors: dict[PonteError, int] = {
        NotFound(what="card"): 404,
        NotAllowed("No."): 403,
        Expired(id="abc234"): 410,
        BadInput("It can't be changed."): 400,
    }
    for error, status in errors.items():
        ponte.board.forms["abc234"] = error
        answer = await client.get("/cards/abc234/form")
        assert (answer.status_code, answer.json()["error"]["message"]) == (status, error.words())
    for path in ("abc234.2/form", "ABC/form", "abc234/form?conversation=a/b"):
        assert (await client.get(f"/cards/{path}")).status_code == 404, path


async def test_the_values_are_sent_as_one_command(ponte: WebPonte, client: Client) -> None:
    values = {"1.City": 'Fa"ro\n= {x}', "2.City": "a\u202eb\u0000\ud800c", "Preço": ""}
    body = json.dumps({"action": "change", "revision": 3, "values": values})
    headers = {"Content-Type": "application/json"}
    response = await client.post("/cards/abc234", content=body, headers=headers)
    assert response.status_code == 200
    message = ponte.rows[1].message
    assert message.is_click
    assert "\n" not in message.text
    command = parse_command(message.text)
    assert command
    assert (command.name, command.id) == ("change", "abc234.3")
    assert command.input == {"1.City": 'Fa"ro\n= {x}', "2.City": "ab\ufffdc", "Preço": ""}


async def test_values_that_are_no_text_or_too_long_are_refused(
    ponte: WebPonte, client: Client
) -> None:
    for values, status in (({"City": 1}, 400), (["City"], 400), ({"City": "x" * 2_000_000}, 413)):
        body = {"action": "change", "values": values}
        assert (await client.post("/cards/abc234", json=body)).status_code == status
    assert ponte.rows == {}


async def test_a_program_and_a_stranger_get_no_form(ponte: WebPonte) -> None:
    ponte.board.forms["abc234"] = FORM
    body = {"action": "change", "values": {"1.City": "Faro"}}
    async with ponte.program() as program, ponte.stranger() as stranger:
        for client, status in ((program, 403), (stranger, 401)):
            assert (await client.get("/cards/abc234/form")).status_code == status
            assert (await client.post("/cards/abc234", json=body)).status_code == status
    assert ponte.rows == {}
