"""Webhooks: who may send one, what is stored of it, and how a repeated delivery is recognised."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest

from core.base.errors import NotStored, TooManyDeliveries
from core.chat.destinations import Destinations
from core.domain.messages import Address, Message, Person, ReplyTo
from core.domain.ports import NO_STEP, TransactionStep
from core.domain.records import Receipt
from core.webhooks.hook import (
    MAX_BODY_CHARACTERS,
    MAX_FIELD_CHARACTERS,
    Hook,
    HookKind,
    describe_body,
    fill_template,
    find_field,
    unfillable_parts,
)
from core.webhooks.intake import MAX_DEPTH, HookIntake, is_genuine, secret_fault
from tests.fakes.hook_senders import (
    PLAIN_SECRET,
    STANDARD_SECRET,
    Headers,
    encode_body,
    from_github,
    from_nocodb,
    from_standard,
    from_stripe,
)

NOW = 1_800_000_000.0
ASK = "Say what happened."
HOOKS = {
    "git": Hook("git", "github", PLAIN_SECRET, "slack:T1:C1", instruction=ASK),
    "pay": Hook("pay", "stripe", PLAIN_SECRET, "slack:T1:C1",
                template="Paid: {data.sum} {x}"),
    "std": Hook("std", "standard", STANDARD_SECRET, "slack:U1", instruction=ASK),
    "row": Hook("row", "secret", PLAIN_SECRET, "slack:T1:C1", instruction="stop",
                header="X-Hook-Secret", id_field="id"),
    "off": Hook("off", "secret", "", "slack:T1:C1", instruction=ASK, header="X-Hook-Secret"),
    "dead": Hook("dead", "secret", PLAIN_SECRET, "discord:1:2", instruction=ASK,
                 header="X-Hook-Secret"),
}  # fmt: skip


class Letters:
    """The part of a chat platform that says where to post."""

    async def open_direct_message(self, person: Person) -> tuple[ReplyTo, str]:
        return self.destination_in(Address("slack", f"D{person.id}", "T1"), person), ""

    def destination_in(self, address: Address, person: Person) -> ReplyTo:
        return ReplyTo(address, person, "since", "")


class Storing:
    def __init__(self) -> None:
        self.stored: dict[str, Message] = {}
        self.is_full = self.has_too_many = False
        self.audited = list[str]()
        """The webhooks of new messages that came with a step for their transaction."""

    async def find_times(self, event_keys: Collection[str]) -> Mapping[str, float]:
        return {key: self.stored[key].sent_at for key in event_keys if key in self.stored}

    async def accept(self, message: Message, also: TransactionStep = NO_STEP) -> Receipt:
        if self.has_too_many:
            raise TooManyDeliveries
        if self.is_full:
            raise NotStored
        is_new = message.event_key not in self.stored
        if is_new and also is not NO_STEP:
            self.audited.append(message.author.key)
        self.stored.setdefault(message.event_key, message)
        return Receipt(len(self.stored), message.turn, is_new)


class Desk:
    def __init__(self) -> None:
        self.now, self.inbox, self.hooks = NOW, Storing(), dict(HOOKS)
        services: Any = ({"slack": Letters()}, self.inbox)
        platforms, inbox = services
        self.intake = HookIntake(self.hooks.get, Destinations(platforms), inbox, lambda: self.now)

    async def send(self, name: str, headers: Headers, body: bytes) -> tuple[int, Any]:
        status, self.headers, text = await self.intake.receive(name, headers, body)
        return status, json.loads(text)

    async def read(self, content_type: str, body: bytes) -> str:
        """Return what is stored of a body with this type, which GitHub signs."""
        headers = {**from_github(body, "1"), "content-type": content_type}
        assert (await self.send("git", headers, body))[0] == 202
        (message,) = self.inbox.stored.values()
        return message.context[0].text


async def test_each_kind_lets_in_what_its_sender_signs_and_nothing_else() -> None:
    desk, body = Desk(), encode_body({"id": "evt_1", "data": {"sum": 5}})
    late, early = NOW - 301, NOW + 301

    def without(headers: Headers, name: str) -> Headers:
        return {key: value for key, value in headers.items() if key != name}

    github, standard = from_github(body, "d-1"), from_standard(body, "msg_1", NOW)
    cases: list[tuple[str, str, Headers, int]] = [
        ("github", "git", github, 202),
        ("github: only SHA-1", "git", without(github, "x-hub-signature-256"), 401),
        ("github: no delivery", "git", without(github, "x-github-delivery"), 400),
        (
            "github: in capitals",
            "git",
            {**github, "x-hub-signature-256": github["x-hub-signature-256"].upper()},
            401,
        ),
        ("stripe", "pay", from_stripe(body, NOW), 202),
        ("stripe: two secrets", "pay", from_stripe(body, NOW, replaced=True), 202),
        ("stripe: old", "pay", from_stripe(body, late), 401),
        ("stripe: from the future", "pay", from_stripe(body, early), 401),
        (
            "stripe: another time",
            "pay",
            {name: value.replace("t=", "t=1") for name, value in from_stripe(body, NOW).items()},
            401,
        ),
        ("stripe: no time", "pay", {"stripe-signature": "v1=00"}, 401),
        ("standard", "std", standard, 202),
        ("standard: another id", "std", {**standard, "webhook-id": "msg_2"}, 401),
        ("standard: old", "std", from_standard(body, "msg_1", late), 401),
        ("standard: not ASCII", "std", {**standard, "webhook-signature": "v1,é"}, 401),
        ("secret", "row", from_nocodb(), 202),
        ("secret: wrong", "row", {"x-hook-secret": PLAIN_SECRET + "."}, 401),
        ("secret: none", "row", {}, 401),
        ("secret: with a scheme", "row", {"x-hook-secret": f"Bearer {PLAIN_SECRET}"}, 202),
        ("secret: Basic", "row", {"x-hook-secret": basic(f"grafana:{PLAIN_SECRET}")}, 202),
        ("secret: Basic, another one", "row", {"x-hook-secret": basic("grafana:secret")}, 401),
        ("secret: Basic, not base64", "row", {"x-hook-secret": "Basic é="}, 401),
        ("secret: only a scheme", "row", {"x-hook-secret": "Bearer "}, 401),
        ("secret: no UTF-8", "row", {"x-hook-secret": "Bearer \udce9"}, 401),
        ("standard: no UTF-8", "std", {**standard, "webhook-signature": "v1,\udce9"}, 401),
        ("secret: not set here, Basic", "off", {"x-hook-secret": basic(":")}, 401),
        ("secret: not set here", "off", {"x-hook-secret": ""}, 401),
        ("no such webhook", "nope", from_nocodb(), 401),
        ("its platform is off", "dead", from_nocodb(), 503),
    ]
    for what, name, headers, expected in cases:
        status, text = await desk.send(name, headers, body)
        assert status == expected, (what, text)
        assert status != 503 or "(discord is off)" in text["error"]["message"]
        if status == 401:
            assert text["error"]["code"] == "unauthorized", what
    for name, headers in (("git", github), ("pay", from_stripe(body, NOW)), ("std", standard)):
        status, _ = await desk.send(name, headers, body + b" ")
        assert status == 401, f"{name}: another body"


def basic(credentials: str) -> str:
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


async def test_nobody_learns_which_webhooks_there_are() -> None:
    intake = Desk().intake
    answers = [await intake.receive(name, {}, b"{}") for name in ("git", "row", "off", "nope")]
    assert all(answer == answers[0] for answer in answers)


async def test_a_repeated_delivery_is_stored_once_and_told_so() -> None:
    desk = Desk()
    event = encode_body({"id": "evt_1", "x": 1})
    no_id, other = encode_body({"rows": [1]}), encode_body({"rows": [2]})
    requests: list[tuple[str, Headers, bytes, str]] = [
        ("git", from_github(event, "d-1"), event, "stored"),
        ("git", from_github(event, "d-1"), event, "repeated"),
        ("git", from_github(event, "d-2"), event, "stored"),
        ("pay", from_stripe(event, NOW), event, "stored"),
        ("pay", from_stripe(event, NOW + 60), event, "repeated"),  # Stripe signs each attempt anew
        ("std", from_standard(event, "msg_1", NOW), event, "stored"),
        ("std", from_standard(event, "msg_1", NOW + 60), event, "repeated"),
        ("row", from_nocodb(), event, "stored"),
        ("row", from_nocodb(), event, "repeated"),
        ("row", from_nocodb(), no_id, "stored"),
        ("row", from_nocodb(), no_id, "repeated"),
        ("row", from_nocodb(), other, "stored"),
    ]
    for number, (name, headers, body, expected) in enumerate(requests):
        status, text = await desk.send(name, headers, body)
        assert (status, text["status"]) == (202, expected), number
    keys = ["hook:git:d-1", "hook:git:d-2", "hook:pay:evt_1", "hook:std:msg_1", "hook:row:evt_1"]
    assert [*desk.inbox.stored][:5] == keys
    assert desk.inbox.audited.count("hook:git") == 2
    odd = "x" * 500 + "\n"
    await desk.send("git", from_github(event, odd), event)
    assert len([*desk.inbox.stored][-1]) < 100, "an odd id is stored as its digest"
    ping = await desk.send("git", from_github(event, "d-3", event="ping"), event)
    assert ping == (200, {"status": "pong"})
    assert "hook:git:d-3" not in desk.inbox.stored
    nameless = encode_body({"object": "event"})
    assert (await desk.send("pay", from_stripe(nameless, NOW), nameless))[0] == 400


async def test_a_compressed_body_is_refused_and_a_template_is_not_posted_empty() -> None:
    desk, body = Desk(), gzip.compress(encode_body({"data": {"sum": 5}}))
    status, text = await desk.send("row", {**from_nocodb(), "content-encoding": "gzip"}, body)
    assert (status, text["error"]["code"], desk.inbox.stored) == (415, "compressed", {})
    headers = {**from_nocodb(), "content-encoding": "identity"}
    assert (await desk.send("row", headers, b"{}"))[0] == 202


async def test_too_many_requests_and_a_full_disk_are_answered_so_that_the_sender_waits() -> None:
    desk = Desk()
    desk.now = NOW - NOW % 60 + 18.5
    desk.inbox.has_too_many = True
    status, text = await desk.send("row", from_nocodb(), b"{}")
    assert (status, text["error"]["code"], desk.headers["retry-after"]) == (429, "too_many", "42")
    desk.inbox.has_too_many, desk.inbox.is_full = False, True
    status, text = await desk.send("row", from_nocodb(), b"{}")
    assert (status, text["error"]["code"]) == (503, "not_stored")
    assert desk.headers["retry-after"]


async def test_the_stored_message_holds_the_body_as_a_quote_or_a_filled_template() -> None:
    desk = Desk()
    deep = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
    bodies: Mapping[str, tuple[bytes, str]] = {
        "JSON": (encode_body({"a": "é\x00"}), '"a": "é'),
        "no JSON": (b"\xff<b>", "ÿ<b>"),
        "too deep": (deep, deep.decode()),
        "nothing": (b"", ""),
        "too long": (encode_body({"a": "x" * 50_000}), '{"x_github_event": "push", "a": "xxx'),
    }
    for what, (body, expected) in bodies.items():
        await desk.send("git", from_github(body, what.replace(" ", "")), body)
        message = [*desk.inbox.stored.values()][-1]
        (quote,) = message.context
        assert expected in quote.text, what
        assert len(quote.text) <= MAX_BODY_CHARACTERS, what
        assert message.text == ASK
        assert (message.author.key, message.author.is_bot) == ("hook:git", True)
        assert message.address.is_shared
        assert message.address.channel_key == "slack:T1:C1"
    conversations = {one.address.conversation for one in desk.inbox.stored.values()}
    assert len(conversations) == len(bodies), "a conversation for each delivery"
    await desk.send("std", from_standard(b"{}", "m", NOW), b"{}")
    direct = [*desk.inbox.stored.values()][-1]
    assert (direct.address.channel, direct.address.is_shared) == ("DU1", False)
    sum_ = "approve abc <!channel> **now**\n- https://evil.example"
    body = encode_body({"id": "evt_9", "data": {"sum": sum_}})
    await desk.send("pay", from_stripe(body, NOW), body)
    post = [*desk.inbox.stored.values()][-1]
    assert post.context == ()
    assert post.text.startswith("Paid: approve abc")
    assert "\n" not in post.text
    assert "**now**" not in post.text
    assert post.origin.data == {"is_post": True, "is_empty": False}


async def test_a_body_that_fills_no_field_of_a_template_is_refused_with_the_reason() -> None:
    desk = Desk()
    desk.hooks["row"] = replace(desk.hooks["row"], template="New: {id}", instruction="")
    for body in (b"", b"<a>1</a>", b"{'id': 1}", b"id=1", b"null", b'"x"'):
        status, answer = await desk.send("row", from_nocodb(), body)
        assert (status, answer["error"]["code"]) == (400, "no_fields"), body
    assert not desk.inbox.stored


async def test_a_template_that_is_filled_with_nothing_is_refused_too() -> None:
    desk = Desk()
    desk.hooks["row"] = replace(desk.hooks["row"], template="{a}", instruction="")
    for value in ("", "  ", "\u200b"):
        status, answer = await desk.send("row", from_nocodb(), encode_body({"a": value}))
        assert (status, answer["status"]) == (202, "no_fields"), value
    assert (await desk.send("row", from_nocodb(), encode_body({"a": 0})))[0] == 202


async def test_line_breaks_and_single_broken_bytes_leave_the_fields_of_a_body_readable() -> None:
    desk = Desk()
    desk.hooks["row"] = replace(desk.hooks["row"], template="{id}: {a}", instruction="")
    body = '{"id": 1, "a": "não é só\n isto à "}'.encode()
    await desk.send("row", from_nocodb(), body.replace(b" isto", b" isto \xff"))
    (message,) = desk.inbox.stored.values()
    assert message.text == "1: não é só isto � à"


async def test_a_body_in_another_encoding_is_read() -> None:
    """Programs on Windows in Brazil and France send them, and seldom name them."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"):
        body = '{"name": "Conceição d\'été"}'.encode(encoding)
        for charset in ("", "; charset=utf-8", f"; charset={encoding}", "; charset=x"):
            delivery = await Desk().read(f"text/json{charset}", body)
            assert "Conceição d'été" in delivery, (encoding, charset)
    body = '{"x-name": "José"}'.encode("cp1252")
    for charset in ("utf-16", "undefined", "punycode", "idna", "hex"):  # which cannot be meant
        delivery = await Desk().read(f"application/json; charset={charset}", body)
        assert '"x-name": "José"' in delivery, charset
    form = b"name=Concei%E7%E3o&caf\xe9=caf%C3%A9"
    delivery = await Desk().read("application/x-www-form-urlencoded", form)
    assert '"name": "Conceição", "café": "café"' in delivery


async def test_only_the_named_events_are_answered() -> None:
    desk = Desk()
    only = {"x_github_event": ["push", "issues"], "issue.open": ["true", "yes"]}
    desk.hooks["git"] = replace(HOOKS["git"], only=only)
    ignored: list[Any] = [
        {},
        {"issue": {"open": False}},
        {"issue": [True]},
        {"issue": None},
        "true",
    ]
    for number, other in enumerate(ignored):
        body = json.dumps(other).encode()
        answer = await desk.send("git", from_github(body, str(number)), body)
        assert answer == (200, {"status": "ignored"})
    assert desk.inbox.stored == {}
    for number, target in enumerate(({"issue": {"open": True}}, {"issue.open": "yes"})):
        body = json.dumps(target).encode()
        assert (await desk.send("git", from_github(body, f"w{number}"), body))[0] == 202
    desk.hooks["git"] = replace(HOOKS["git"], only={"x_github_event": ["issues"]})
    assert (await desk.send("git", from_github(body, "other"), body))[0] == 200


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{a} {rows.0.b} {rows.1.b}|{rows.x}|{none}", "1 two |" + "|"),
        ("{rows.0000000001}|{rows.0000000000}|{rows.99999999999}", "||"),
        ("{obj} {flag} {a.b.c}", r'\{"k": 1\} true '),
        ("{} { a } {{a}}", "{} 1 {1}"),
        ("{long}", "y" * (MAX_FIELD_CHARACTERS - 1) + "…"),
    ],
)
def test_a_template_takes_only_fields_by_their_path(template: str, expected: str) -> None:
    body = {"a": 1, "rows": [{"b": "two"}], "obj": {"k": 1}, "flag": True, "long": "y" * 5_000}
    assert fill_template(template, body).replace("\\", "") == expected.replace("\\", "")


def test_the_model_reads_no_secret_field_of_a_row_that_nocodb_sends() -> None:
    file = {"title": "a.pdf", "signedPath": "dltemp/signed/a.pdf"}
    row = {"Id": 2, "Name": "Ana", "Password": "hunter2", "Files": [file]}
    words = describe_body({"type": "manual", "data": {"rows": [row]}})
    assert "Ana" in words
    assert "hunter2" not in words
    assert "dltemp" not in words


def test_a_weak_secret_is_named() -> None:
    assert secret_fault("standard", STANDARD_SECRET) == ""
    assert secret_fault("github", PLAIN_SECRET) == ""
    assert secret_fault("standard", "whsec_no base64 at all") == "encoding"
    assert secret_fault("secret", "short") == "short"


def test_an_unset_secret_lets_nobody_in_with_any_kind() -> None:
    for hook in HOOKS.values():
        unset = replace(hook, secret="")
        for headers in ({}, {"x-hook-secret": ""}, {"stripe-signature": f"t={int(NOW)},v1="}):
            assert not is_genuine(unset, headers, b"", NOW), hook.kind


FIELDS = {"action": "opened", "Unit Price": "3 €"}


@pytest.mark.parametrize(("content_type", "body", "expected"), [
    ("application/x-www-form-urlencoded", b"payload=%7B%22action%22%3A%22opened%22%7D",
     {"action": "opened"}),
    ("Application/X-WWW-Form-URLencoded; charset=UTF-8",
     b"action=opened&Unit+Price=3+%E2%82%AC", FIELDS),
    ("application/x-www-form-urlencoded; charset=iso-8859-1", b"Pre%E7o=5&vazio=",
     {"Preço": "5", "vazio": ""}),
    ("application/x-www-form-urlencoded", b"item=a&item=b&data=%5B1%5D",
     {"item": ["a", "b"], "data": [1]}),
    ("application/x-www-form-urlencoded", b"payload=%7B%22a%22%3A1%7D&token=x",
     {"payload": {"a": 1}, "token": "[withheld]"}),
    ("application/x-www-form-urlencoded", b'{"action": "opened"}', {"action": "opened"}),
    ("application/x-www-form-urlencoded", b"payload=not%20JSON", "not JSON"),
    ("application/x-www-form-urlencoded", b"a=1&" * 1001, None),
    ("application/x-www-form-urlencoded; charset=none", b"a=%E7", {"a": "ç"}),
    ("text/plain", b"a=1", None),
    ("multipart/form-data; boundary=X",
     '--X\r\nContent-Disposition: form-data; name="Preço"\r\n\r\ncafé\r\n--X\r\n'
     'Content-Disposition: form-data; name="f"; filename="a b.txt"\r\n\r\nabc\r\n--X--'.encode(),
     {"Preço": "café", "f": "a b.txt"}),
    ('multipart/form-data; boundary="-- 7"',
     b'---- 7\r\nContent-Disposition: form-data; name="payload"\r\n\r\n{"a": [1]}\r\n---- 7--',
     {"a": [1]}),
    ("multipart/form-data; boundary=X",
     b'--X\r\nContent-Disposition: form-data; name="c"\r\n'
     b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9\r\n--X--",
     {"c": "caf\u00e9"}),
    ("multipart/form-data", b"--X\r\nno boundary", None),
    ("multipart/form-data; boundary=X", b"--X\r\n\r\nno name\r\n--X--", None),
    ("\u20ac \"; ;;", b"a=1", None),
    ("", b"a=1", None),
])  # fmt: skip
async def test_a_form_is_read_like_json_with_the_signature_over_its_bytes(
    content_type: str, body: bytes, expected: Any
) -> None:
    desk = Desk()
    content = await desk.read(content_type, body)
    if isinstance(expected, dict):
        assert json.loads(content) == {"x_github_event": "push", **expected}
    else:
        assert content == (expected or body.decode())[:MAX_BODY_CHARACTERS]
    headers = {**from_github(body, "1"), "content-type": content_type}
    assert (await desk.send("git", headers, body + b"&more=1"))[0] == 401


@pytest.mark.parametrize(("path", "expected"), [
    ("Unit Price", "3 €"), ("Preço", 5), ("Prec\u0327o", 5), ("Status@", "on"), (" Status@ ", "on"),
    ("No.", 7), ("U.S. Tax", 0.1), ("a/b [c] (d) #1 50%", True), ("rows.1.Prix d’achat : net", 9),
    ("rows.0.x.y", 1), ("rows.2.x", None), ("rows.-1.x", None), ("日本語", "ok"), ("no", None),
])  # fmt: skip
def test_names_of_fields_have_spaces_accents_and_signs(path: str, expected: Any) -> None:
    body = {
        "Unit Price": "3 €",
        "Preço": 5,
        "Status@": "on",
        "No.": 7,
        "U.S. Tax": 0.1,
        "a/b [c] (d) #1 50%": True,
        "rows": [{"x": {"y": 1}}, {"Prix d’achat : net": 9}],
        "日本語": "ok",
    }
    assert find_field(body, path) == expected
    form = fill_template(f"<{{{path}}}>", body)
    assert "{" not in form
    assert (form == "<>") is (expected is None)


@pytest.mark.parametrize(("kind", "template", "expected"), [
    ("secret", "New: {data.rows.0.Unit Price} {Preço} {No.} {a_b-c}", []),
    ("secret", "fixed text {items[0][name]}", []),
    ("github", "{x_github_event}: {action}", []),
    ("secret", "{x_github_event}", ["{x_github_event}"]),
    ("github", "{payload.action}", ["{payload.action}"]),
    ("secret", "{payload.action}", []),
    ("secret", "{} { }", ["{ }", "{", "}"]),
    ("secret", "{{name}}", ["{", "}"]),
    ("secret", "{rows[0].Name} {a..b} {.a} {$.a}", ["{rows[0].Name}", "{a..b}", "{.a}", "{$.a}"]),
    ("secret", "{name", ["{name"]),
    ("secret", "name}", ["}"]),
    ("secret", "{a\nb}", ["{a\nb", "}"]),
])  # fmt: skip
def test_a_template_that_can_never_fill_is_found(
    kind: HookKind, template: str, expected: list[str]
) -> None:
    hook = Hook("x", kind, PLAIN_SECRET, "slack:T1:C1", template=template)
    assert list(unfillable_parts(hook)) == expected
    if not expected:
        assert "{" not in fill_template(template, {})


@pytest.mark.parametrize("start", [NOW, NOW + 1799, NOW + 3599])
async def test_an_equal_body_counts_again_after_the_time_that_the_operator_set(
    start: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HOOKS, "row", replace(HOOKS["row"], repeats_after=3600.0))
    desk, body = Desk(), encode_body({"temperature": 20})
    answers = []
    for minute in (0, 1, 59, 61, 90, 120, 122, 300, 359, 361):
        desk.now = start + minute * 60
        _, text = await desk.send("row", from_nocodb(), body)
        answers.append((minute, text["status"]))
    new = [minute for minute, status in answers if status == "stored"]
    assert new == [0, 61, 122, 300, 361]


async def test_without_that_time_and_with_an_id_a_delivery_counts_once_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, with_id = encode_body({"temperature": 20}), encode_body({"id": 5})
    for repeats_after, body in ((0.0, plain), (60.0, with_id)):
        monkeypatch.setitem(HOOKS, "row", replace(HOOKS["row"], repeats_after=repeats_after))
        desk = Desk()
        for day in range(3):
            desk.now = NOW + day * 86_400
            _, text = await desk.send("row", from_nocodb(), body)
            assert text["status"] == ("repeated" if day else "stored")
