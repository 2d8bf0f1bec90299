"""All errors of Ponte that are shown to people or handled by type.

PonteError
├── Refusal                the person may not do this, here and now
│   ├── NotAllowed
│   ├── OverBudget
│   └── Forgotten          the conversation was erased
├── StatusUnknown          the platform has not identified the person yet; they can try again
├── BadInput               the person can correct the input
│   ├── Empty
│   ├── TooLarge
│   ├── UnknownCommand
│   ├── NotFound
│   └── Expired            nobody decided on the proposal in time
├── NotStored              the disk or database is unavailable or full: nothing was accepted
├── Unstorable             the database rejects these values: a repetition cannot help
├── ModelError             the model cannot answer
│   ├── NoKey · WrongKey · UnknownModel · NoQuota · RateLimited · ModelDown
│   ├── ModelSilent · TooLong · ModelRefused · Interrupted · TooManyRounds
│   └── PersonRefused      the model's server rejects this person (shown only to them)
├── ToolError              a tool failed; the model reads the error, too
│   └── WriteUnsure        the answer to a write was lost: it may have happened
├── Undeliverable          the platform rejects the post for good
│   ├── PostRemoved        a person deleted Ponte's post: it is never posted again
│   └── Restored           it is unknown what happened to the answer since the backup
├── PlatformBusy           the platform asks Ponte to wait (never shown)
├── SettingsError          a setting is wrong: exit code 2
├── HomeTaken              another process uses the home directory: exit code 1
├── Superseded             an old attempt or generation may write nothing more (never shown)
│   └── TakenOver          this process did not respond for so long that another one has the turn
└── Draining               this process stops and puts the turn back into the queue (never shown)

Each error is raised once, by the code that understands the failure. `sentence` is the
English source text with `{placeholders}`. `words()` is the text for the person: what
happened, what was stored, what to do.
"""

from __future__ import annotations

from typing import Any

from core.base.i18n import format_duration, say, translate_word, use_locale

RESTORED_REASON = "restored"
_TRANSLATED_VALUES = frozenset({"cause", "what", "why"})
"""Values under these names may be translatable texts themselves."""


class PonteError(Exception):
    """The base class of all errors, with a stable `code` and a translatable sentence.

    `values` fill the placeholders of the sentence. `{time}` stands for `seconds` in words. `proxy`
    is named in a sentence of its own.
    """

    code = "internal"
    sentence = (
        "Something went wrong. Your message is saved. Try again. If the problem continues, give "
        "this ID to the person who runs Ponte: {turn}."
    )

    def __init__(self, sentence: str = "", /, **values: object) -> None:
        self.sentence = sentence or type(self).sentence
        self.values = values
        super().__init__(self.sentence)

    def words(self) -> str:
        """Return the sentence for a person in the language of the current task. Values that are
        errors or texts of Ponte themselves are translated, too: _TRANSLATED_VALUES are the names
        under which such texts come. The value `{time}` is made of `seconds`, because its words
        depend on the language. `proxy` is a value of errors of requests that went through one. A
        placeholder without a value must not hide the error, so it then stays in the sentence."""
        values = {
            name: value.words() if isinstance(value, PonteError) else translate_word(str(value))
            for name, value in self.values.items()
            if name in _TRANSLATED_VALUES or isinstance(value, PonteError)
        }
        try:
            if "{time}" in self.sentence:
                values["time"] = format_duration(float(str(self.values["seconds"])))
            sentence = say(self.sentence, **{**self.values, **values})
        except (KeyError, IndexError):
            return self.sentence
        if proxy := self.values.get("proxy"):
            sentence += " " + say("The request went through the proxy {proxy}.", proxy=proxy)
        return sentence

    def __str__(self) -> str:
        with use_locale("en"):
            return self.words()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class Refusal(PonteError):
    """The base class of refusals: the person may not do this here and now. Their message is
    answered with the reason."""

    code = "forbidden"


class NotAllowed(Refusal):
    """No rule of ponte.toml or of the settings lets the person do this."""

    sentence = "You don't have permission to do that here. An admin can allow it."


class OverBudget(Refusal):
    """A limit of the person, or of all people, is used up. `limit` is its name in metrics."""

    code = "too_many"
    limit = "daily_turns"
    sentence = "You've reached your limit of {limit}."


class Forgotten(Refusal):
    """Somebody wants to read a message or an answer of a conversation that was erased, or a message
    that was withdrawn."""

    code = "forgotten"
    sentence = "This conversation was deleted."


class StatusUnknown(PonteError):
    """The platform has not reported in time who the person is (a member, a guest)."""

    code = "status_unknown"
    sentence = (
        "I couldn't check in time whether you're a member, so nothing was done. Try again in a "
        "minute. If the problem continues, contact the person who runs Ponte."
    )


class BadInput(PonteError):
    """The person entered something wrong, and they can correct it."""

    code = "bad_request"


class WrongUsage(BadInput):
    """A command of `ponte` has an argument that it does not take. The shell's exit code is 2."""

    code = "usage"


class GivenTwice(BadInput):
    """A command or a form has the same name twice, as in `priority=1 priority=2`."""

    sentence = "{key} appears twice. Use it only once."


class Empty(BadInput):
    """The message has no text, file or quote."""

    code = "empty"
    sentence = "Your message is empty. Type a question, or `help`."


class TooLarge(BadInput):
    """A file or text exceeds its limit."""

    code = "too_large"
    sentence = (
        "That's too large: {size}. The limit is {limit}. Send a smaller file, or send long text "
        "as a file."
    )


class UnknownCommand(BadInput):
    """A person typed the name of a quick command that does not exist, or that they may not run."""


class NotFound(BadInput):
    """There is no such object, or the person may not know of it."""

    code = "not_found"
    sentence = "Not found: {what}."


class Expired(BadInput):
    """A person decided on a proposed change too late."""

    code = "expired"
    sentence = (
        "Request {id} expired because no one approved it within 24 hours. Nothing was changed."
    )


class NotStored(PonteError):
    """The disk or the database is unavailable or full. Nothing was accepted."""

    code = "not_stored"
    sentence = (
        "I couldn't save your message. Send it again in a moment. If the problem continues, "
        "contact the person who runs Ponte."
    )


class TooManyDeliveries(PonteError):
    """A webhook got more requests in this minute than it may. Nothing was stored."""


class Unstorable(PonteError):
    """The database works but rejects these values because of their encoding, range or size. A
    repetition cannot help."""

    code = "unstorable"
    sentence = (
        "I couldn't save this because it contains something that the database rejects. I won't "
        "retry on my own. Ask in a different way, or contact the person who runs Ponte."
    )


class ModelError(PonteError):
    """The base class of errors because of which the model cannot answer. The person reads the
    sentence in place of an answer."""

    code = "model"


class NoKey(ModelError):
    """No API key is configured."""

    code = "no_key"
    sentence = "No model is set up. Set OPENAI_API_KEY."


class WrongKey(ModelError):
    """The model's server rejects the API key."""

    code = "wrong_key"
    sentence = "The model's server rejected the API key. Check the OPENAI_API_KEY setting."


class UnknownModel(ModelError):
    """The model's server does not know the configured model."""

    code = "unknown_model"
    sentence = "The model's server doesn't have the model `{model}`. Check the PONTE_MODEL setting."


class NoQuota(ModelError):
    """The account at the model's server has no credit left."""

    code = "no_quota"
    sentence = "The account at the model's provider has no credit left. Add credit, then try again."


class RateLimited(ModelError):
    """The model's server refuses requests for a while, because too many came."""

    code = "rate_limited"
    sentence = "The model's server is busy. Try again in {time}."


class ModelDown(ModelError):
    """The model's server does not respond, or ended the stream too early."""

    code = "model_down"
    sentence = "The model's server isn't responding. Your message is saved. Try again in a minute."


class ModelSilent(ModelError):
    """The model's server sent nothing for too long."""

    code = "model_silent"
    sentence = "The model didn't respond within {time}, so I stopped waiting. Try again."


class TooLong(ModelError):
    """The conversation is longer than the model's context."""

    code = "too_long"
    sentence = "This conversation is too long for the model. Type `new` to start a new one."


class ModelRefused(ModelError):
    """The model or its server refused the request because of its content."""

    code = "refused"
    sentence = "The model declined to answer."


class PersonRefused(ModelRefused):
    """The model's server rejects this person because of earlier requests. Only they see this
    error."""

    code = "person_refused"
    sentence = (
        "The model's server won't answer you because of earlier requests under your name. "
        "Contact the person who runs Ponte."
    )


class Interrupted(ModelError):
    """The process died several times during this turn, so Ponte gives the turn up."""

    code = "interrupted"
    sentence = (
        "I was interrupted {times} times while answering and stopped trying, so that nothing "
        "is done twice. Some work may be half done. Check it, then ask again."
    )


class TooManyRounds(ModelError):
    """The model called tools in each of the largest number of rounds (requests to the model) that a
    turn may have, and gave no answer."""

    code = "too_many_rounds"
    limit = "rounds"
    sentence = "I used tools {rounds} times without finishing, so I stopped."


class ToolError(PonteError):
    """The model reads the error as the outcome of its call.

    `hint` tells the model what to try instead. `code` names the error for the model and for logs.
    `usage` (a `core.domain.messages.Usage`) is the cost of the failed call.
    """

    code = "tool"

    def __init__(
        self, sentence: str, /, *, code: str = "tool", hint: str = "", **values: object
    ) -> None:
        super().__init__(sentence, **values)
        self.code = code
        self.hint = hint
        self.usage: Any = None


class WriteUnsure(ToolError):
    """It is not known whether a write to another system happened, for example because its answer
    was lost. It must not simply be repeated."""


class Undeliverable(PonteError):
    """The platform rejects the post for good. `reason` is the platform's own error code, for the
    log."""

    code = "undeliverable"
    sentence = "I couldn't post my last answer here ({reason}). The answer is saved."


class PostRemoved(Undeliverable):
    """A person deleted Ponte's post, or the message that it would answer. It is never posted
    again."""

    code = "removed"
    sentence = "Someone deleted the answer."


class Restored(Undeliverable):
    """A turn's answer may be missing because a backup was restored. The next answer in the
    conversation mentions it, because a post of its own might appear next to an answer that was
    given."""

    code = RESTORED_REASON
    sentence = (
        "Ponte was restored from a backup made before your last message here was answered. "
        "If you see no answer above, ask again."
    )


class PlatformBusy(PonteError):
    """The platform asks Ponte to wait before the request is repeated. `seconds` is the time from
    its Retry-After header."""

    code = "platform_busy"
    sentence = "The platform asks me to wait {seconds} s."

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds=seconds)
        self.seconds = seconds


class NotSent(Exception):
    """A request to a platform surely had no effect, for example because there was no connection, so
    it may be repeated."""


class SettingsError(PonteError):
    """A setting of Ponte is wrong or missing, so that it cannot start. The process exits with code
    2."""

    code = "settings"


class HomeTaken(PonteError):
    """Another process uses Ponte's folder of data (PONTE_HOME), which only one may. The process
    exits with code 1."""

    code = "home_taken"
    sentence = (
        "Another Ponte (process {pid}) is using {home}. Stop it, or set PONTE_HOME to another "
        "folder."
    )


class Superseded(PonteError):
    """An old attempt at a turn tried to write although a newer one has begun, the turn has ended,
    or its conversation was forgotten. Nothing was written."""

    code = "superseded"
    sentence = "An outdated attempt tried to save its result, which was discarded."


class TakenOver(Superseded):
    """Another process may be working on this turn, because this one did not respond for a while. So
    this one must not write the turn's result."""

    code = "taken_over"
    sentence = "Another process may already be handling this message."


class Draining(PonteError):
    """This process stops. The turn goes back into the queue, and the next process continues it."""

    code = "draining"
    sentence = "Ponte is stopping. It will pick up where it left off."


REFUSALS = frozenset({NotAllowed.code, OverBudget.code, "not_allowed"})
"""Codes of denials by a right or an allowance, including the code that a model reads."""


def is_refusal(code: str) -> bool:
    return code in REFUSALS or code == StatusUnknown.code
