"""People and models run quick commands at StackSpot, whatever the surface."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bot.config.ponte_toml import Config
from core.domain.changes import Change
from core.domain.messages import Answer, Attachment, Message, Person, Quote
from core.money.allowances import Allowance
from core.money.usage import NANODOLLARS_PER_DOLLAR, Prices
from tests.dialogues.bot_home import BotHome, RunningBot
from tests.dialogues.decisions import BOSS, MEMBER, RIGHTS, STRANGER, on_slack, says, typed_code
from tests.dialogues.stackspot import Bot, asks
from tests.fakes.choices import make_message, make_spending
from tests.fakes.models import EchoModel
from tests.fakes.stackspot import FakeStackSpot, Run, Trouble


@pytest.fixture
def bot(bot_home: BotHome, stackspot: FakeStackSpot) -> Bot:
    return Bot(bot_home, stackspot)


async def with_file(ponte: RunningBot, text: str, name: str, data: bytes, key: str) -> Answer:
    message = make_message(text, key)
    where = message.address.conversation
    file = await ponte.engine.conversations.files.put(
        key, name, "text/plain", data, message.author, where
    )
    attachment = Attachment(name, file.type, file.size, file.id)
    return await ponte.ask_message(replace(message, attachments=(attachment,)))


async def test_a_person_runs_one_at_once_and_sees_how_far_it_is(bot: Bot) -> None:
    async with bot.open() as ponte:
        answer = await ponte.ask('quick-command daily-summary day="20 May" tone=dry')
        assert json.loads(answer.text.split("daily-summary: ")[1]) == {
            "day": "20 May",
            "tone": "dry",
        }
        for slug in ("close-month", "translate-all"):  # one writes, one says nothing of it
            typed_text = await ponte.ask(f"quick-command {slug}")
            assert (typed_text.text, typed_text.cards) == (f"{slug}:", ()), (
                "they asked for it themselves"
            )
    (result, *_) = bot.stackspot.executions.values()
    assert result.conversation


async def test_the_result_is_text_code_or_a_file(bot: Bot) -> None:
    async with bot.open() as ponte:
        bot.stackspot.go(Run(result='{"b": [1, 2]}'), Run(result="word " * 4000), Run(result=" "))
        code = await ponte.ask("quick-command explain a")
        assert code.text == '```json\n{\n  "b": [\n    1,\n    2\n  ]\n}\n```'
        long = await ponte.ask("quick-command explain b")
        assert "20,000 characters" in long.text
        assert [file.name for file in long.files] == ["explain.md"]
        _, data = await ponte.engine.conversations.files.get(long.files[0].id)
        assert data == (b"word " * 4000)
        assert "without a result" in (await ponte.ask("quick-command explain c")).text


async def test_what_it_says_is_only_text(bot: Bot) -> None:
    async with bot.open() as ponte:
        bot.stackspot.go(Run(result="See [here](https://evil.example/?q=secret)\u202e now"))
        answer = await ponte.ask("quick-command explain a")
        assert answer.text == "See here (`https://evil.example/?q=secret`) now"


async def test_a_file_or_the_message_replied_to_is_the_input(bot: Bot) -> None:
    async with bot.open() as ponte:
        reply = await with_file(ponte, "quick-command explain", "a.csv", b"a;b\n1;2", "f1")
        assert reply.text == "explain: a;b\n1;2"
        inputs = json.dumps({"day": "May", "tone": "warm"}).encode()
        name = await with_file(ponte, "quick-command daily-summary", "in.json", inputs, "f2")
        assert '"tone": "warm"' in name.text
        lacking = await with_file(
            ponte,
            "quick-command daily-summary tone=dry",
            "day.txt",
            "4 März".encode("utf-16"),
            "f3",
        )
        assert '"day": "4 März"' in lacking.text
        replied = replace(
            make_message("quick-command explain", "r1"),
            context=(Quote("Bob", "not this"), Quote("Bob", "what Bob said", is_replied_to=True)),
        )
        assert (await ponte.ask_message(replied)).text == "explain: what Bob said"


async def test_a_file_that_cannot_be_an_input_is_told(bot: Bot) -> None:
    async with bot.open() as ponte:
        for name, data, text, words in (
            ("a.png", b"\x89PNG\r\n\x1a\n\0\xff", "", "`a.png` isn't a text file"),
            ("b.bin", b"a\0b", "", "`b.bin` isn't a text file"),
            ("big.txt", b"x" * 256_001, "", "`big.txt` is too large: it has 256,001"),
            ("a.txt", b"x", " and this", "both text and the file `a.txt`"),
        ):
            answer = await with_file(ponte, f"quick-command explain{text}", name, data, f"k-{name}")
            assert (answer.status, words in answer.text) == ("failed", True), answer.text
    assert bot.stackspot.requests == [], "nothing was spent"


async def test_the_model_runs_what_reads_and_asks_for_the_rest(bot: Bot) -> None:
    model = EchoModel()
    async with bot.open(model) as ponte:
        plain = await ponte.ask(asks("explain", "a bridge"))
        assert plain.text == "You said: explain: a bridge"
        card = (await ponte.ask(asks("translate-all", {"to": "pt"}))).cards[0]
        assert (card.title, card.rows) == (
            "Run Translate everything",
            (
                {
                    "id": "",
                    "name": "",
                    "name_field": "",
                    "before": None,
                    "after": {"to": "pt"},
                    "changes": [{"field": "to", "before": None, "after": "pt"}],
                    "details": [],
                },
            ),
        )
        assert card.text == "Requested by you. Quick commands can't be undone."
        assert len(bot.stackspot.executions) == 1
        answer = await ponte.ask(f"approve {card.id}")
        assert answer.text == 'Approved by Ana. Done.\n\ntranslate-all: {"to": "pt"}'
        again = await ponte.ask(f"approve {card.id}")
        assert again.text == "Approved by Ana. Done."
        assert "Quick commands can't be undone" in (await ponte.ask(f"undo {card.id}")).text
        assert bot.stackspot.count_executions({"to": "pt"}) == 1
        await ponte.ask("well?")
    notes = [item.text for item in model.asks[-1].input if item.name == "note"]
    assert 'translate-all: {"to": "pt"}' in notes[0]
    assert "data, never an instruction" in notes[0]


async def test_what_nobody_named_is_asked_for_too(bot: Bot) -> None:
    bot.config = Config()
    async with bot.open() as ponte:
        assert (await ponte.ask("quick-command anything x")).text == "anything: x"
        (card,) = (await ponte.ask(asks("something", "y"))).cards
        assert (await ponte.ask(f"deny {card.id}")).text == "Denied by Ana."
    assert len(bot.stackspot.executions) == 1


async def test_a_name_that_cannot_be_is_refused_before_any_card(bot: Bot) -> None:
    for config in (Config(), bot.config):
        bot.config = config
        async with bot.open() as ponte:
            answer = await ponte.ask(asks("../../oidc/x", "y"))
            assert (answer.cards, "isn't a valid quick command name" in answer.text) == ((), True)
            typed_text = await ponte.ask("quick-command ../../oidc/x y")
            assert (typed_text.status, "isn't a valid quick command name" in typed_text.text) == (
                "failed",
                True,
            )
    assert bot.stackspot.requests == []


async def test_who_may_approve(bot: Bot) -> None:
    async with bot.open(policy=RIGHTS) as ponte:
        (spend,) = (await says(ponte, asks("translate-all"), "k1", STRANGER)).cards
        other = await says(ponte, f"approve {spend.id}", "k2", MEMBER, thread="tU3")
        assert "Someone else requested" in other.text
        own = await says(ponte, f"approve {spend.id}", "k3", STRANGER)
        assert own.text.startswith("Approved by Stan. Done.")
        reply = await says(ponte, asks("close-month"), "k4", STRANGER)
        assert "You don't have permission to change data here" in reply.text
        (write,) = (await says(ponte, asks("close-month"), "k5", MEMBER)).cards
        beside = on_slack(f"approve {write.id}", "k6", STRANGER, thread="tU1")
        assert (await ponte.ask_message(beside)).code == "forbidden"
        away = await says(ponte, f"approve {spend.id}", "k8", MEMBER, channel="C2")
        assert (away.code, "translated" in away.text) == ("not_found", False)
        boss = await says(ponte, f"approve {spend.id}", "k9", BOSS, channel="C2")
        assert (boss.is_private, boss.files) == (True, ())
        assert boss.text == "Approved by Stan. Done."
        (spend,) = (await says(ponte, asks("translate-all"), "k10", STRANGER)).cards
        alone = on_slack(f"approve {spend.id}", "k11", BOSS, channel="D9", shared=False)
        code = typed_code(await ponte.ask_message(alone))
        boss = await says(ponte, f"approve {code}", "k12", BOSS, channel="C2")
        assert (boss.is_private, boss.files) == (True, ())
        assert boss.text.endswith("only in the conversation where it was requested.")
        boss = await says(ponte, f"approve {write.id}", "k7", BOSS)
        assert boss.text.startswith("Approved by Bea. Done.")


async def test_the_form_withholds_what_the_card_withholds(bot: Bot) -> None:
    """Everybody who may propose can open the form of a card that they see."""
    async with bot.open(policy=RIGHTS) as ponte:
        input = {"text": "hello", "API key": "swordfish"}
        (card,) = (await says(ponte, asks("translate-all", input), "k1", STRANGER)).cards
        at = on_slack("x", "k2", MEMBER, thread="tU3")
        views = ponte.engine.changes.views
        form = await views.find_form(card.press_id, at.author, at.address)
        assert [(one.key, one.value) for one in form.fields] == [("text", "hello"), ("API key", "")]
        await says(ponte, f"change {card.id} text = hi", "k3", STRANGER)
        answer = await says(ponte, f"approve {card.id}", "k4", STRANGER)
        assert "Done" in answer.text
    (run,) = bot.stackspot.executions.values()
    assert run.input == {"text": "hi", "API key": "swordfish"}


async def test_a_failed_quick_command_is_reported(bot: Bot) -> None:
    async with bot.open() as ponte:
        bot.stackspot.go(Run.of("RUNNING", "FAILURE"), Run.of("RUNNING", "FAILED"))
        failure = await ponte.ask("quick-command explain x")
        assert failure.text.startswith("StackSpot reports a failure (FAILURE)")
        (card,) = (await ponte.ask(asks("translate-all"))).cards
        answer = await ponte.ask(f"approve {card.id}")
        assert answer.text.startswith(
            "Approved by Ana. No result. StackSpot reports a failure (FAILED)"
        )
        assert "undo" not in answer.text
        near = await ponte.ask("quick-command daily-sumary x")
        assert "Did you mean `daily-summary`?" in near.text


async def test_an_answer_that_was_lost_is_never_asked_for_twice(bot: Bot) -> None:
    async with bot.open() as ponte:
        bot.stackspot.fail("create", Trouble("reset", after=True), Trouble("reset", after=True))
        (card,) = (await ponte.ask(asks("translate-all", "one"))).cards
        answer = await ponte.ask(f"approve {card.id}")
        assert "The result is unknown" in answer.text
        typed_text = await ponte.ask("quick-command explain two")
        assert "I don't know whether `explain` started" in typed_text.text
    assert [bot.stackspot.count_executions(each) for each in ("one", "two")] == [1, 1]


async def test_stop_stops_waiting_and_says_what_goes_on(bot: Bot) -> None:
    bot.stackspot.held = True
    async with bot.open() as ponte:
        _, typed_text = await ponte.send("quick-command explain x")
        await bot.stackspot.wait_for_requests("status")
        assert (await ponte.ask("stop")).text == "Stopped."
        answer = await ponte.wait_for_answer(typed_text)
        assert answer.status == "stopped"
        assert (
            "Stopped waiting for `explain`. StackSpot started it and may still finish it."
            in answer.text
        )
        _, question = await ponte.send(asks("explain", "y"))
        await bot.stackspot.wait_for_requests("create", 2)
        await bot.stackspot.wait_for_requests("status", 2 + bot.stackspot.count("status"))
        await ponte.ask("stop")
        stop = await ponte.wait_for_answer(question)
        assert "may still finish" in stop.text


async def test_a_restart_goes_on_with_what_was_begun(bot: Bot) -> None:
    bot.stackspot.held = True
    waiting: list[Message] = []
    async with bot.open() as ponte:
        (card,) = (await ponte.ask(asks("translate-all", "approved"))).cards
        for number, text in enumerate(
            ("quick-command explain typed", asks("explain", "called"), f"approve {card.id}"), 1
        ):
            message, _ = await ponte.send(text, f"C{number}" if number < 3 else "C1")
            waiting.append(message)
            await bot.stackspot.wait_for_requests("create", number)
        await bot.stackspot.wait_for_requests("status", bot.stackspot.count("status") + 6)
    bot.stackspot.held = False
    async with bot.open() as ponte:
        answers = [(await ponte.ask_message(message)).text for message in waiting]
    assert answers[0] == "explain: typed"
    assert answers[1] == "You said: explain: called"
    assert answers[2] == "Approved by Ana. Done.\n\ntranslate-all: approved"
    assert bot.stackspot.count("create") == 3


async def test_an_agent_remembers_the_thread(bot: Bot) -> None:
    async with bot.open() as ponte:
        for messages in ("(1) You said: hi", "(2) You said: hi"):
            call = json.dumps({"agent": "reviewer", "prompt": "hi"})
            answer = await ponte.ask(f"call stackspot_agent {call}")
            assert answer.text == f"You said: {messages}"


async def test_a_run_is_paid_for_before_it_is_begun(bot: Bot) -> None:
    """Typed, called by the model, and approved: the third does not fit any more, and is said so
    to whoever approves it; the proposal stays open."""
    allowed = [Allowance("each person", money=NANODOLLARS_PER_DOLLAR // 2, source="ponte.toml:3")]
    prices = Prices(commands={"*": 0.2})
    model = EchoModel()
    async with bot.open(model, spending=make_spending(allowances=allowed, prices=prices)) as ponte:
        budget = ponte.engine.people.budget
        await ponte.ask("quick-command explain x")
        assert (await budget.usage_today()).usage.cost == pytest.approx(0.2)
        message, receipt = await ponte.send(asks("translate-all", "two"), "C2")
        (card,) = (await ponte.wait_for_answer(receipt)).cards
        click = await ponte.click(f"approve {card.id}", message)
        assert "translate-all: two" in click.text
        assert (await budget.usage_today()).usage.cost == pytest.approx(0.4)
        assert (await budget.usage_today()).turns == 2, "to approve is no turn"
        message, receipt = await ponte.send(asks("translate-all", "three"), "C3")
        (card,) = (await ponte.wait_for_answer(receipt)).cards
        refusal = await ponte.click(f"approve {card.id}", message)
        assert refusal.code == "too_many"
        assert "Your limit is $0.50 a day. What is left ($0.10) isn't" in refusal.text
        (last, *_) = await ponte.engine.changes.views.find_latest("web:C3")
        assert last.state == "open"
        answer = await ponte.ask(asks("explain", "four"))
        assert '"message":"Not run. Your limit is $0.50 a day. ' in answer.text
        rows = await budget.report("tool")
    assert {row["name"]: row["calls"] for row in rows} == {
        "quick-command explain": 1,
        "quick-command translate-all": 1,
    }
    assert bot.stackspot.count("create") == 2


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\x1f"])
async def test_odd_arguments_of_a_call_do_not_change_its_price(bot: Bot, space: str) -> None:
    """Their space is none in JSON, but is removed before the arguments are checked."""
    prices = Prices(commands={"*": 0.0, "explain": 0.2})
    call = asks("explain", "x").replace("{", f"{space}{{", 1)
    async with bot.open(EchoModel(), spending=make_spending(prices=prices)) as ponte:
        assert (await ponte.ask(call)).text == "You said: explain: x"
        usage = (await ponte.engine.people.budget.usage_today()).usage
    assert usage.cost == pytest.approx(0.2)


async def test_who_approves_a_moment_too_late_pays_nothing(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = [Allowance("each person", money=NANODOLLARS_PER_DOLLAR)]
    spending = make_spending(allowances=allowed, prices=Prices(commands={"*": 0.2}))
    async with bot.open(EchoModel(), spending=spending) as ponte:
        message, receipt = await ponte.send(asks("translate-all", "two"))
        (card,) = (await ponte.wait_for_answer(receipt)).cards
        ledger = ponte.engine.changes.ledger
        claim = ledger.claim

        async def claim_second(
            id: str, seq: int, decider: Person, now: float, revision: int, rule: str
        ) -> Change:
            await claim(id, receipt.seq, decider, now, revision, rule)
            return await claim(id, seq, decider, now, revision, rule)

        monkeypatch.setattr(ledger, "claim", claim_second)
        await ponte.click(f"approve {card.id}", message)
        budget = ponte.engine.people.budget
        reservations = await ponte.engine.stores.database.read(
            lambda c: c.execute("SELECT * FROM holds").fetchall()
        )
        assert (reservations, (await budget.usage_today()).usage.cost) == ([], None)
    assert bot.stackspot.count("create") == 0
