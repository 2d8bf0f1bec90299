"""The Reply of a platform that keeps posts: one visible answer, whatever happens."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from core.base.errors import NotStored, PlatformBusy, PostRemoved, Superseded, Undeliverable
from core.base.tasks import Backoff
from core.chat.reply import GrowingReply, TurnPosts
from core.domain.messages import Answer, File, Progress, ReplyTo, decode_json, encode_json
from core.domain.ports import AnswerPart
from tests.contract.engines import Embedded
from tests.contract.test_journal import again, begin_turn
from tests.fakes.choices import make_message
from tests.fakes.gate import Gate
from tests.fakes.posts import KeptPosts
from tests.fakes.recorder import LIMIT, Faults, Recorder, RecordingSurface
from tests.time_limits import Limits

TO = make_message("hello", "m1").reply_to
FILES = (File("f1", "plot.png", "image/png", 9), File("f2", "rows.csv", "text/csv", 9))


class Place:
    def __init__(self) -> None:
        self.recorder = Recorder()
        self.posts = KeptPosts()
        self.surface = RecordingSurface(self.recorder, TO)

    def reply(self) -> GrowingReply:
        """Each call is another process: it has what was stored, and no more."""
        to = decode_json(ReplyTo, encode_json(TO))
        self.surface = RecordingSurface(self.recorder, to)
        return GrowingReply(self.surface, self.posts, to.turn)

    @property
    def visible(self) -> list[str]:
        return self.recorder.visible(TO.source)

    def calls(self, name: str) -> int:
        return self.recorder.calls.count(name)


@pytest.fixture
def place(limits: Limits) -> Place:
    limits(POST_BACKOFF=Backoff(0.0))
    return Place()


def answer(*parts: str, files: tuple[File, ...] = ()) -> Answer:
    return Answer("\n\n".join(parts), parts=parts, files=files)


def hold_posts(place: Place, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Return the gate that each post passes before it has its effect."""
    gate, make_post = Gate(), place.recorder.post

    async def post(channel: str, source: str, key: str, text: str) -> str:
        await gate.wait()
        return await make_post(channel, source, key, text)

    monkeypatch.setattr(place.recorder, "post", post)
    return gate


async def until(condition: Callable[[], bool]) -> None:
    for _ in itertools.takewhile(lambda _: not condition(), itertools.count()):
        await asyncio.sleep(0)


async def test_an_answer_is_posted_once_however_often_it_is_brought(place: Place) -> None:
    for _ in range(3):
        await place.reply().finish(answer("hi", "there"))
    assert place.visible == ["hi", "there"]
    assert place.calls("post") == 2


async def test_what_is_shown_becomes_the_answer(place: Place) -> None:
    reply = place.reply()
    await reply.show(Progress("h"))
    await until(lambda: place.visible == ["h"])
    await reply.show(Progress("hi"))
    await until(lambda: place.visible == ["hi"])
    await reply.finish(answer("hi you"))
    assert place.visible == ["hi you"]
    assert place.calls("post") == 1


async def test_another_process_goes_on_with_what_was_shown(place: Place) -> None:
    await place.reply().show(Progress("x" * (LIMIT + 1)))
    await until(lambda: len(place.visible) == 2)
    await place.reply().finish(answer("one", "two", "three"))
    assert place.visible == ["one", "two", "three"]
    assert place.calls("post") == 3


async def test_what_was_shown_too_much_is_deleted(place: Place) -> None:
    reply = place.reply()
    await reply.show(Progress("x" * (3 * LIMIT)))
    await until(lambda: len(place.visible) == 3)
    await reply.finish(answer("short"))
    assert place.visible == ["short"]
    await place.reply().finish(answer("short"))
    assert place.calls("delete") == 2


@pytest.mark.parametrize("lost", ["lose_before", "lose_after"])
async def test_a_post_in_doubt_is_looked_up(place: Place, lost: str) -> None:
    setattr(place.recorder.faults, lost, 1)
    await place.reply().finish(answer("hi", "there"))
    assert place.visible == ["hi", "there"]
    assert place.calls("find") == 1


@pytest.mark.parametrize("lost", ["lose_before", "lose_after"])
async def test_an_edit_and_a_deletion_in_doubt_are_repeated(place: Place, lost: str) -> None:
    reply = place.reply()
    await reply.show(Progress("x" * (LIMIT + 1)))
    await until(lambda: len(place.visible) == 2)
    setattr(place.recorder.faults, lost, 3)
    await reply.finish(answer("short"))
    assert place.visible == ["short"]


@pytest.mark.parametrize("lost", ["lose_before", "lose_after"])
async def test_files_are_uploaded_once(place: Place, lost: str) -> None:
    await place.reply().finish(answer("look"))
    setattr(place.recorder.faults, lost, 2)
    for _ in range(2):
        await place.reply().finish(answer("look", files=FILES))
    assert place.visible == ["look", "plot.png, rows.csv"]


async def test_code_behind_a_button_is_not_uploaded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash, too, no post with it is looked for. The post of an answer with code alone is
    the last one, whose id is saved when the turn ends."""
    code = File("f3", "code-0a1b2c.py", "text/x-python", 9)
    await place.reply().finish(answer("old", files=(*FILES, code)))
    assert place.visible == ["old", "plot.png, rows.csv, code-0a1b2c.py"]
    monkeypatch.setattr(RecordingSurface, "has_code_button", True)
    for files, uploads in (((*FILES, code), ["plot.png, rows.csv"]), ((code,), [])):
        place.recorder, place.posts = Recorder(), KeptPosts()
        place.recorder.faults.lose_after = 2
        for _ in range(2):
            await place.reply().finish(answer("look", files=files))
        assert place.visible == ["look", *uploads]
        assert place.calls("find") <= 2
        assert (0 in place.posts.posts) == bool(uploads)


async def test_a_process_that_dies_after_the_effect_is_followed_by_one_that_looks(
    place: Place,
) -> None:
    place.recorder.after_effect = event = asyncio.Event()
    dying = asyncio.create_task(place.reply().finish(answer("hi")))
    await event.wait()
    dying.cancel()
    await asyncio.wait({dying})
    await place.reply().finish(answer("hi"))
    assert place.visible == ["hi"]
    assert place.calls("post") == 1


@pytest.mark.parametrize("is_own", [False, True])
@pytest.mark.parametrize("made", ["late", "never"])
async def test_a_request_with_an_unknown_outcome_is_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, made: str, is_own: bool
) -> None:
    """A platform may handle a request after its post was looked for: that of a process that died,
    or an own one that got no response."""
    monkeypatch.setattr(RecordingSurface, "arrival_seconds", 0.001)
    if is_own:
        place.recorder.faults = Faults(lose_before=1)
    else:
        await place.posts.record_posting(1, place.reply().first_key)
    find = place.recorder.find

    async def find_before_it_is_made(source: str, key: str) -> str | None:
        position = await find(source, key)
        if made == "late" and not place.recorder.posts:
            await place.recorder.post("C1", source, key, "hi")
        return position

    monkeypatch.setattr(place.recorder, "find", find_before_it_is_made)
    await place.reply().finish(answer("hi"))
    assert place.visible == ["hi"]
    assert place.calls("find") == 2


async def test_a_busy_platform_is_waited_for(place: Place) -> None:
    place.recorder.faults = Faults(busy=1)
    await place.reply().show(Progress("h"))
    await until(lambda: place.visible == ["h"])
    place.recorder.faults = Faults(busy=3)
    await place.reply().finish(answer("hi"))
    assert place.visible == ["hi"]


async def test_the_sign_of_work_begins_without_a_word_and_goes_with_the_turn(place: Place) -> None:
    reply = place.reply()
    await reply.show(Progress())
    await until(lambda: place.surface.doing == [""])
    await reply.show(Progress(current_step="is reading the tables…"))
    await until(lambda: place.surface.doing[-1] == "is reading the tables…")
    assert place.recorder.posts == []
    await reply.finish(answer("hi"))
    await reply.wait_for_updates()
    assert place.surface.doing == []
    assert place.visible == ["hi"]


async def test_signs_go_once_and_again_after_another_try(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply, ends = place.reply(), list[str]()

    async def end_activity() -> None:
        ends.append("end")

    monkeypatch.setattr(place.surface, "end_activity", end_activity)
    await reply.finish(answer("hi"))
    await reply.wait_for_updates()
    await reply.wait_for_updates()
    assert ends == ["end"]
    await reply.finish(answer("hi"))  # a post that fails may set a sign again
    await reply.wait_for_updates()
    assert ends == ["end", "end"]


async def test_a_busy_platform_is_not_pressed_with_progress(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[AnswerPart] = []

    async def busy(key: str, part: AnswerPart) -> str:
        questions.append(part)
        raise PlatformBusy(3600)

    reply = place.reply()
    with monkeypatch.context() as patch:
        patch.setattr(place.surface, "post", busy)
        for n in range(50):
            await reply.show(Progress("x" * (n + 1)))
            await asyncio.sleep(0)
        assert len(questions) == 1
    await reply.finish(answer("hi"))
    assert place.visible == ["hi"]


async def test_a_post_that_a_person_removed_is_never_made_again(place: Place) -> None:
    reply = place.reply()
    await reply.show(Progress("h"))
    await until(lambda: place.visible == ["h"])
    place.recorder.remove("p1")
    for again_ in (reply, place.reply(), place.reply()):
        with pytest.raises(PostRemoved):
            await again_.finish(answer("hi", "there"))
    assert place.visible == []


async def test_progress_tells_that_a_person_removed_it(place: Place) -> None:
    reply = place.reply()
    await reply.show(Progress("h"))
    await until(lambda: place.visible == ["h"])
    place.recorder.remove("p1")
    await reply.show(Progress("hi"))
    await until(lambda: place.posts.posts[1].state == "removed")
    with pytest.raises(PostRemoved):
        await reply.show(Progress("hi y"))
    with pytest.raises(PostRemoved):
        await reply.finish(answer("hi you"))


async def test_a_place_that_refuses_for_good_is_not_pressed(place: Place) -> None:
    place.recorder.faults = Faults(refuse="channel_gone")
    with pytest.raises(Undeliverable, match="channel_gone"):
        await place.reply().finish(answer("hi"))
    assert place.calls("post") == 1


async def test_nothing_is_posted_that_could_not_be_journalled(place: Place) -> None:
    place.posts.refusing = 1
    with pytest.raises(NotStored):
        await place.reply().finish(answer("hi"))
    assert place.recorder.posts == []
    await place.reply().finish(answer("hi"))
    assert place.visible == ["hi"]


async def test_a_post_whose_record_was_refused_is_found_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = place.posts.record_posted

    async def refuse_record(number: int, post: str, last: bool = False) -> None:
        monkeypatch.setattr(place.posts, "record_posted", posts)
        raise NotStored

    monkeypatch.setattr(place.posts, "record_posted", refuse_record)
    with pytest.raises(NotStored):
        await place.reply().finish(answer("hi"))
    await place.reply().finish(answer("hi"))
    assert place.visible == ["hi"]
    assert place.calls("post") == 1


async def test_a_post_that_was_under_way_when_its_turn_was_stopped_is_not_made_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply, gate = place.reply(), hold_posts(place, monkeypatch)
    first = asyncio.create_task(reply.finish(answer("whole")))
    await gate.wait_until_reached()
    first.cancel()
    await asyncio.wait({first})
    second = asyncio.create_task(reply.finish(answer("stopped")))
    for _ in range(10):
        await asyncio.sleep(0)
    gate.release()
    await second
    assert place.visible == ["stopped"]
    assert (place.calls("post"), place.calls("find")) == (1, 0)


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
async def test_a_post_under_way_ends_before_another_process_continues(
    place: Place, monkeypatch: pytest.MonkeyPatch, limits: Limits, seconds: float
) -> None:
    """Its id is recorded. If it takes too long, it is cancelled and never made."""
    limits(SETTLE_SECONDS=seconds)
    own, gate = place.reply(), hold_posts(place, monkeypatch)
    first = asyncio.create_task(own.finish(answer("hi")))
    await gate.wait_until_reached()
    first.cancel()
    await asyncio.wait({first})
    settling = asyncio.create_task(own.settle_posts())
    if seconds:
        await asyncio.sleep(0)
        gate.release()
    await settling
    assert [post.id for post in place.posts.posts.values()] == (["p1"] if seconds else [""])
    gate.release()
    await place.reply().finish(answer("hi"))
    assert place.visible == ["hi"]
    assert (place.calls("post"), place.calls("find")) == (1, 0 if seconds else 1)


@pytest.mark.parametrize("is_slow", [True, False])
async def test_progress_under_way_ends_before_another_process_continues(
    place: Place, monkeypatch: pytest.MonkeyPatch, limits: Limits, is_slow: bool
) -> None:
    limits(SETTLE_SECONDS=0.0 if is_slow else 3600.0)
    own, gate = place.reply(), hold_posts(place, monkeypatch)
    await own.show(Progress("h"))
    await gate.wait_until_reached()
    if not is_slow:
        gate.release()
    await own.settle_posts()
    gate.release()
    await own.wait_for_updates()
    await place.reply().finish(answer("hi"))
    assert place.visible == ["hi"]
    assert (place.calls("post"), place.calls("find")) == (1, int(is_slow))


async def test_a_post_that_arrives_after_the_turn_was_taken_over_is_deleted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply, gate = place.reply(), hold_posts(place, monkeypatch)
    late = asyncio.create_task(reply.finish(answer("whole")))
    await gate.wait_until_reached()
    late.cancel()
    await asyncio.wait({late})
    correcting = asyncio.create_task(reply.correct_late_posts(answer("whole"), ()))
    await asyncio.sleep(0)
    gate.release()
    await correcting
    assert place.visible == []
    assert (place.calls("post"), place.calls("delete")) == (1, 1)


async def test_the_last_post_of_a_turn_that_goes_back_to_the_queue_is_not_made_twice(
    stores: Embedded,
) -> None:
    """Its id would have been stored with the end of the turn, which did not come."""
    recorder, turn = Recorder(), await begin_turn(stores)
    for _ in range(2):
        posts = TurnPosts(stores.journal, turn)
        surface = RecordingSurface(recorder, turn.message.reply_to)
        await GrowingReply(surface, posts, turn.id).finish(answer("hello"))
        await posts.keep()
        turn = await again(stores, turn.seq)
        assert [post.id for post in turn.posts] == ["p1"]
    assert recorder.visible(turn.message.reply_to.source) == ["hello"]
    assert (recorder.calls.count("post"), recorder.calls.count("find")) == (1, 0)


async def test_an_old_generation_posts_nothing_new(stores: Embedded) -> None:
    recorder, turn = Recorder(), await begin_turn(stores)
    surface = RecordingSurface(recorder, turn.message.reply_to)
    await stores.journal.record_posting(turn, 1, "k1")
    await stores.journal.record_posted(turn, 1, await surface.post("k1", AnswerPart(1, "my secr")))
    turn = await again(stores, turn.seq)
    await stores.journal.forget("web:C1")
    reply = GrowingReply(surface, TurnPosts(stores.journal, turn), turn.id)
    with pytest.raises(Superseded):
        await reply.finish(answer("Forgotten.", "And more."))
    assert recorder.visible(turn.message.reply_to.source) == ["Forgotten."]


async def test_progress_is_throttled_and_the_answer_is_not(place: Place) -> None:
    reply = place.reply()
    place.surface.interval = 3600.0
    for n in range(50):
        await reply.show(Progress("x" * (n + 1)))
        await asyncio.sleep(0)
    await until(lambda: len(place.visible) == 1)
    await reply.finish(answer("the answer"))
    assert place.visible == ["the answer"]
    assert (place.calls("post"), place.calls("edit")) == (1, 1)


async def test_only_what_is_shown_is_rendered(place: Place) -> None:
    rendered = list[str]()
    reply = place.reply()
    place.surface.interval = 3600.0
    for n in range(50):

        async def render(text: str = "x" * (n + 1)) -> Progress:
            rendered.append(text)
            return Progress(text.upper())

        await reply.show(Progress("raw"), render)
        await asyncio.sleep(0)
    await until(lambda: len(place.visible) == 1)
    assert place.visible == [rendered[0].upper()]
    await reply.finish(answer("the answer"))
    assert len(rendered) == 1


async def test_progress_never_waits_for_the_platform(place: Place) -> None:
    place.recorder.after_effect = event = asyncio.Event()
    reply = place.reply()
    await reply.show(Progress("h"))
    await event.wait()
    for n in range(50):
        await reply.show(Progress("h" * n))  # the platform takes nothing until the end
    assert place.calls("post") == 1


async def test_progress_that_comes_after_the_answer_is_dropped(place: Place) -> None:
    reply = place.reply()
    await reply.show(Progress("h"))
    await reply.finish(answer("hi"))
    await reply.show(Progress("h"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert place.visible == ["hi"]


async def test_another_process_brings_out_the_rest(stores: Embedded) -> None:
    """Of three parts the first is posted, the second's answer was lost, the third is missing."""
    turn = await begin_turn(stores)
    await stores.journal.record_answer(turn, answer("one", "two", "three"))
    recorder, posts = Recorder(), TurnPosts(stores.journal, turn)
    surface = RecordingSurface(recorder, turn.message.reply_to)
    for number, part in enumerate(("one", "two"), 1):
        await posts.record_posting(number, f"{turn.id}:{number}")
        await surface.post(f"{turn.id}:{number}", AnswerPart(number, part))
    await posts.record_posted(1, "p1")
    heir = await stores.kill()
    turn = await again(heir, turn.seq)
    assert turn.answer
    surface = RecordingSurface(recorder, turn.message.reply_to)
    await GrowingReply(surface, TurnPosts(heir.journal, turn), turn.id).finish(turn.answer)
    await heir.journal.end_turn(turn, turn.answer.status)
    assert recorder.visible(turn.message.reply_to.source) == ["one", "two", "three"]
    assert recorder.calls.count("post") == 3
    assert (await heir.journal.history_entry(turn.id)).state == "done"


@pytest.mark.parametrize("trouble", ["busy", "lost"])
async def test_a_platform_that_never_takes_it_is_left_after_an_hour(
    place: Place, limits: Limits, trouble: str
) -> None:
    limits(MAX_DELIVERY_SECONDS=0.05)
    place.recorder.faults = Faults(busy=10**6) if trouble == "busy" else Faults(lose_before=10**6)
    with pytest.raises(Undeliverable, match=r"PlatformBusy|AnswerLost"):
        await place.reply().finish(answer("hi"))
    assert trouble == "lost" or place.calls("post") < 10, "who is busy is not pressed"
