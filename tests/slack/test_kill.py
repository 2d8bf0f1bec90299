"""kill -9, socket drops and duplicates: one answer to each message, in order."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from adapters.slack.posts import key_of
from tests.fakes import forker
from tests.fakes.slack import FakeSlack, Post, SlackChannel
from tests.slack.victim import story


class Victim:
    """The bot as a process of its own, on one home, as often as it is started."""

    def __init__(self, home: Path, slack: FakeSlack) -> None:
        self._home = home
        self._slack = slack
        self.more: tuple[str, ...] = ()
        self._process: forker.Process | None = None

    async def start(self, *, ready: bool = True) -> None:
        """`ready` False: it may die before it says so."""
        self._process = await forker.start(
            "tests.slack.victim", str(self._home), self._slack.base_url, *self.more
        )
        if self._process.stdout is not None:
            line = await self._process.stdout.readline()
            assert line == b"ready\n" or not ready

    def kill(self) -> None:
        """At once: it does not even get the answer to the call that it is making."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)

    async def wait_for_exit(self) -> None:
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> int:
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.terminate()
        return await self._process.wait()


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as fake:
        fake.api.limits.on = False
        fake.deliveries.ack_limit = 60.0
        fake.deliveries.retry_delays = (0.02,) * 60
        yield fake


@pytest.fixture
async def victim(slack: FakeSlack, tmp_path: Path) -> AsyncIterator[Victim]:
    bot = Victim(tmp_path, slack)
    yield bot
    await bot.stop()


def texts(slack: FakeSlack, said: Post) -> list[str]:
    return [answer.visible_text for answer in slack.finished_answers(said)]


async def wait_for_story(slack: FakeSlack, said: Post, *questions: str) -> None:
    """Until the whole answers stand there, in however many posts, in order, and nothing else."""
    whole = " ".join("".join(story(question)) for question in questions).split()
    await slack.wait_until(lambda: " ".join(texts(slack, said)).split() == whole, 60)


async def ask_until_killed(
    slack: FakeSlack, victim: Victim, ask: Callable[[], Post], question: str, method: str, nth: int
) -> list[Post]:
    """Ask until the process is killed at the nth call of this method. Return the messages.

    A busy machine shows a story in fewer calls. It is told again then."""
    calls, questions = 0, list[Post]()

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            victim.kill()

    slack.after[method] = count
    exited = asyncio.create_task(victim.wait_for_exit())
    while calls < nth and not exited.done():
        questions.append(ask())
        task = asyncio.create_task(wait_for_story(slack, questions[-1], question))
        await asyncio.wait({exited, task}, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
    await exited
    return questions


@pytest.mark.parametrize(
    ("method", "nth", "question"),
    [
        ("chat.postMessage", 1, "hello"),
        ("chat.postMessage", 1, "tell 40"),
        ("chat.postMessage", 2, "tell 300"),
        ("chat.update", 1, "tell 40"),
        ("conversations.replies", 1, "tell 40"),
    ],
)
async def test_after_the_effect_and_before_its_record(
    slack: FakeSlack, victim: Victim, method: str, nth: int, question: str
) -> None:
    alice = slack.person("Alice")
    general = slack.channel("general", alice)
    await victim.start()
    is_looking = method == "conversations.replies"
    if is_looking:  # it dies again while it looks for its own post
        slack.after["chat.postMessage"] = victim.kill

    def ask() -> Post:
        return slack.say(alice, general, f"{slack.bot} {question}")

    questions = await ask_until_killed(slack, victim, ask, question, method, nth)
    slack.after.pop("chat.postMessage", None)
    await victim.start(ready=not is_looking)
    if is_looking:
        await victim.wait_for_exit()
        await victim.start()
    for message in questions:
        await wait_for_story(slack, message, question)


@pytest.mark.slow
async def test_a_request_that_slack_handles_after_the_next_start(
    slack: FakeSlack, victim: Victim
) -> None:
    """The next process looks for the post that the killed one asked for before it is there."""
    alice = slack.person("Alice")
    general = slack.channel("general", alice)
    await victim.start()
    gate = slack.api.hold("chat.postMessage")
    message = slack.say(alice, general, f"{slack.bot} hello")
    await gate.wait_until_reached()
    victim.kill()
    await victim.wait_for_exit()
    slack.after["conversations.replies"] = gate.release
    await victim.start()
    await slack.wait_until(lambda: slack.api.calls["conversations.replies"] == 2)
    assert await victim.stop() == 0
    assert texts(slack, message) == story("hello")


async def test_where_a_channel_has_no_threads(slack: FakeSlack, victim: Victim) -> None:
    """Its own posts are looked for in the channel, among what others say; it dies again as it does
    that."""
    kill = iter([victim.kill])
    alice, bob = slack.person("Alice"), slack.person("Bob")
    general = slack.channel("general", alice, bob)
    victim.more = ("flat",)
    await victim.start()
    slack.after["conversations.history"] = lambda: next(kill, lambda: None)()
    slack.after["chat.postMessage"] = victim.kill
    slack.say(alice, general, "tell 40")
    await victim.wait_for_exit()
    del slack.after["chat.postMessage"]
    slack.say(bob, general, f"{alice.mention} is it still there?")
    await victim.start(ready=False)
    await victim.wait_for_exit()
    await victim.start()
    slack.say(bob, general, "hello")
    whole = "".join([*story("tell 40"), *story("hello")]).split()

    def words() -> list[str]:
        posts = [post for post in slack.workspace.by_bot(general.id) if not post.thread_ts]
        return " ".join(post.visible_text for post in posts).split()

    await slack.wait_until(lambda: words() == whole, 60)
    await slack.wait_until(
        lambda: not any(post.reactions for post in slack.workspace.in_channel(general.id))
    )


@pytest.mark.parametrize(
    ("method", "nth"),
    [
        ("chat.startStream", 1),
        ("chat.appendStream", 1),
        ("chat.appendStream", 2),
        ("chat.stopStream", 1),
    ],
)
async def test_in_the_middle_of_a_stream(
    slack: FakeSlack, victim: Victim, method: str, nth: int
) -> None:
    alice = slack.person("Alice")
    dm = slack.dm(alice)
    await victim.start()

    def ask() -> Post:
        return slack.say(alice, dm, "tell 120")

    question = await ask_until_killed(slack, victim, ask, "tell 120", method, nth)
    await victim.start()
    for message in question:
        await wait_for_story(slack, message, "tell 120")
    assert len(slack.workspace.by_bot(dm.id)) == len(question)
    stops = [arguments for name, arguments in slack.api.log if name == "chat.stopStream"]
    if method == "chat.startStream":
        assert key_of(stops[0]), "nobody has kept its time stamp; from now on it has a key"


async def test_as_the_acknowledgement_goes_out(slack: FakeSlack, victim: Victim) -> None:
    alice = slack.person("Alice")
    general = slack.channel("general", alice)
    await victim.start()
    slack.deliveries.on_ack = lambda delivery: victim.kill()
    message = slack.say(alice, general, f"{slack.bot} hello")
    await victim.wait_for_exit()
    slack.deliveries.on_ack = lambda delivery: None
    await victim.start()
    await wait_for_story(slack, message, "hello")


@pytest.mark.slow
async def test_at_random_with_drops_and_duplicates(slack: FakeSlack, victim: Victim) -> None:
    chance = random.Random(5)
    slack.deliveries.twice = 0.3
    alice = slack.person("Alice")
    places = [slack.channel(str(number), alice) for number in range(4)]
    places += [slack.dm(alice) for _ in range(2)]
    roots = [(place, slack.say(alice, place, f"{slack.bot} root")) for place in places]
    messages: list[tuple[SlackChannel, Post, list[str]]] = [
        (place, root, ["root"]) for place, root in roots
    ]
    for kill in range(6):
        await victim.start()
        for place, root, question in messages:
            words = "tell 20" if chance.random() < 0.2 else f"{kill} {place.name}"
            question.append(words)
            slack.say(alice, place, f"{slack.bot} {words}", thread=root)
        await more_calls(slack, chance.randrange(len(places)))
        if kill % 3 == 2:
            slack.deliveries.drop()
        if kill % 2:  # a turn survives two crashes; the third would end in an apology
            await all_told(slack, messages)
        victim.kill()
        await victim.wait_for_exit()
    await victim.start()
    await all_told(slack, messages)
    assert await victim.stop() == 0


async def more_calls(slack: FakeSlack, count: int) -> None:
    """Until the bot has made so many more: a moment somewhere in its work."""
    target = slack.api.calls.total() + count
    await slack.wait_until(lambda: slack.api.calls.total() >= target)


async def all_told(slack: FakeSlack, said: list[tuple[SlackChannel, Post, list[str]]]) -> None:
    for _, root, question in said:
        await wait_for_story(slack, root, *question)


async def test_messages_that_were_edited_or_deleted_while_nobody_was_there(
    slack: FakeSlack, victim: Victim
) -> None:
    """Slack tries to deliver an event for some minutes only. An answer of its history that lacks a
    message may be a fault."""
    alice = slack.person("Alice")
    dm = slack.dm(alice)
    await victim.start()
    slack.after["chat.update"] = victim.kill
    first = slack.say(alice, dm, "tell 300")
    message = slack.say(alice, dm, "my secret is swordfish")
    edit = slack.say(alice, dm, "quick-command helo")
    await slack.deliveries.wait_for_deliveries()
    await victim.wait_for_exit()
    slack.after.pop("chat.update")
    slack.deliveries.lost = []
    slack.remove(message)
    slack.edit(edit, "hello")
    slack.deliveries.lost = None
    slack.workspace.absences = {edit.ts: 2}
    await victim.start()
    await wait_for_story(slack, edit, "hello")
    assert slack.workspace.absences == {edit.ts: 0}
    await wait_for_story(slack, first, "tell 300")
    assert texts(slack, message) == []
