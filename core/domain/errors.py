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
├── AuditRefused           the audit log cannot be written: nothing was changed
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
English source text with `{placeholders}`. `words(locale)` is the text for the person: what
happened, what was stored, what to do.
"""

from __future__ import annotations

from typing import Any

from core.text.i18n import say, translate_word

RESTORED_REASON = "restored"
"""The reason recorded for a turn that was under way in a backup and ended without a post."""
_TRANSLATED_VALUES = frozenset({"cause", "what", "why"})
"""Names of values that may be translatable texts themselves."""


class PonteError(Exception):
    """The base class of all errors, with a stable `code` and a translatable sentence.

    `values` fill the placeholders of the sentence.
    """

    code = "internal"
    sentence = (
        "Something went wrong on my side. Your message is kept; "
        "please try again, or tell the operator: {turn}."
    )

    def __init__(self, sentence: str = "", /, **values: object) -> None:
        self.sentence = sentence or type(self).sentence
        self.values = values
        super().__init__(self.sentence)

    def words(self, locale: str | None = None) -> str:
        """Return the translated sentence, in `locale` or else in the asker's language."""
        told = {
            name: translate_word(str(self.values[name]), locale)
            for name in _TRANSLATED_VALUES & self.values.keys()
        }
        return say(self.sentence, locale, **{**self.values, **told})

    def __str__(self) -> str:
        try:
            return self.words("en")
        except (KeyError, IndexError):
            return self.sentence


class Refusal(PonteError):
    """The person may not do this, here and now."""

    code = "forbidden"


class NotAllowed(Refusal):
    """The person lacks a right."""

    sentence = "You may not do that here. An admin of this bot can allow it."


class OverBudget(Refusal):
    """An allowance or a limit is used up. `limit` is its name in metrics."""

    code = "too_many"
    limit = "daily_turns"
    sentence = "That is all for today: the cap of turns a day for each person is {limit}. "


class Forgotten(Refusal):
    """The conversation was erased."""

    code = "forgotten"
    sentence = "That conversation was forgotten; what it said is gone."


class StatusUnknown(PonteError):
    """The platform has not reported in time who the person is."""

    code = "status_unknown"
    sentence = (
        "I could not find out in time whether you are a member here, so I did nothing. "
        "Please try again in a minute; if it goes on, tell the operator."
    )


class BadInput(PonteError):
    """The person can correct the input."""

    code = "bad_request"


class Empty(BadInput):
    """The message has no text, file or quote."""

    code = "empty"
    sentence = "Your message is empty. Write a few words, or `help`."


class TooLarge(BadInput):
    """A file or text exceeds its limit."""

    code = "too_large"
    sentence = "That is too large: {size}, and at most {limit} fit. Send a smaller one, or a file."


class UnknownCommand(BadInput):
    pass


class NotFound(BadInput):
    """There is no such object, or the person may not know of it."""

    code = "not_found"
    sentence = "There is no {what} here."


class Expired(BadInput):
    """Nobody decided on the proposal within 24 hours."""

    code = "expired"
    sentence = "{id} has expired: nobody approved it within 24 hours, and nothing was changed."


class NotStored(PonteError):
    """The disk or the database is unavailable or full. Nothing was accepted."""

    code = "not_stored"
    sentence = (
        "I could not store your message, so I did not take it. "
        "Please send it again in a moment; if it goes on, tell the operator."
    )


class Unstorable(PonteError):
    """The database works but rejects these values because of their encoding, range or size."""

    code = "unstorable"
    sentence = (
        "I could not save this: it holds something that my database does not take. I will not try "
        "again by myself. Please ask in another way, or tell the operator."
    )


class ModelError(PonteError):
    """The model cannot answer."""

    code = "model"


class NoKey(ModelError):
    """No API key is configured."""

    code = "no_key"
    sentence = "No model is set up: the operator must set OPENAI_API_KEY."


class WrongKey(ModelError):
    """The model's server rejects the API key."""

    code = "wrong_key"
    sentence = "The model's server refuses the key. The operator must check OPENAI_API_KEY."


class UnknownModel(ModelError):
    """The model's server does not know the configured model."""

    code = "unknown_model"
    sentence = "The model {model!r} is not known to the server. The operator must set PONTE_MODEL."


class NoQuota(ModelError):
    """The account has no credit left."""

    code = "no_quota"
    sentence = "The model's account has no credit left. The operator must top it up."


class RateLimited(ModelError):
    """The model's server limits the rate of requests."""

    code = "rate_limited"
    sentence = "The model's server is busy. Please try again in {seconds} s."


class ModelDown(ModelError):
    """The model's server does not respond, or ended the stream too early."""

    code = "model_down"
    sentence = "The model's server does not answer. Your message is kept; try again in a minute."


class ModelSilent(ModelError):
    """The stream sent nothing for too long."""

    code = "model_silent"
    sentence = "The model said nothing for {seconds} s, so I stopped waiting. Please try again."


class TooLong(ModelError):
    """The conversation exceeds the model's context."""

    code = "too_long"
    sentence = "This conversation is too long for the model. Write `new` to start a fresh one."


class ModelRefused(ModelError):
    """The model declined to answer."""

    code = "refused"
    sentence = "The model declined to answer that."


class PersonRefused(ModelRefused):
    """The model's server rejects this person because of earlier requests. Only they see this
    error."""

    code = "person_refused"
    sentence = (
        "The model's server refuses to answer you, because of what was asked under your name "
        "before. Please talk to the operator."
    )


class Interrupted(ModelError):
    """The process died several times during this turn."""

    code = "interrupted"
    sentence = (
        "I was interrupted {times} times while answering this and gave up, so that nothing is "
        "done twice. What I had begun may be half done: please check, then ask again."
    )


class TooManyRounds(ModelError):
    """The turn used the largest number of model calls without an answer."""

    code = "too_many_rounds"
    sentence = "I used my tools {rounds} times without coming to an end, so I stopped here."


class ToolError(PonteError):
    """A tool failed. The model reads the error as the outcome of its call.

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
    """The applier cannot tell whether its write happened."""


class Undeliverable(PonteError):
    """The platform rejects the post for good. `reason` is the platform's own error code, for the
    log."""

    code = "undeliverable"
    sentence = "I could not post my last answer here ({reason}). It is kept."


class PostRemoved(Undeliverable):
    """A person deleted Ponte's post. It is never posted again."""

    code = "removed"
    sentence = "The answer was removed by a person."


class Restored(Undeliverable):
    """A turn's answer may be missing because a backup was restored. The next answer in the
    conversation mentions it, because a post of its own might appear next to an answer that was
    given."""

    code = RESTORED_REASON
    sentence = (
        "I was set back to a backup in which your last message here had no answer yet. If you "
        "find none above, please ask again."
    )


class PlatformBusy(PonteError):
    """The platform asks Ponte to wait. `seconds` is the time from its Retry-After header."""

    code = "platform_busy"
    sentence = "The platform asks me to wait {seconds} s."

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds=seconds)
        self.seconds = seconds


class SettingsError(PonteError):
    """A setting is wrong. The process exits with code 2."""

    code = "settings"


class HomeTaken(PonteError):
    """Another process uses the home directory. The process exits with code 1."""

    code = "home_taken"
    sentence = "Another Ponte (process {pid}) already uses {home}. Stop it, or set PONTE_HOME."


class Superseded(PonteError):
    """An old attempt of a turn, or one of a forgotten conversation, tried to write."""

    code = "superseded"
    sentence = "An older attempt tried to write."


class TakenOver(Superseded):
    """Another process may be working on this turn, so this one must not write its result."""

    code = "taken_over"
    sentence = "Another process has this turn, or may have it."


class Draining(PonteError):
    """This process stops. The turn goes back into the queue, and the next process continues it."""

    code = "draining"
    sentence = "This process stops; the next one goes on."


REFUSALS = frozenset({NotAllowed.code, OverBudget.code, "not_allowed"})
"""Codes of denials by a right or an allowance, including the code that a model reads."""


def is_refusal(code: str) -> bool:
    """Return whether an answer with this error code denies the person a right or an allowance, or
    could not check it."""
    return code in REFUSALS or code == StatusUnknown.code


class AuditRefused(PonteError):
    """The audit log cannot be written. `path` is its file, `cause` the error text of the system."""

    code = "audit"
    sentence = (
        "I could not write the audit log ({cause}), so I changed nothing. "
        "The operator must make {path} writable; then decide again."
    )
