"""Everything that can go wrong and be told.

PonteError
├── Refusal                a person may not, here, now
│   ├── NotAllowed
│   ├── OverBudget
│   └── Forgotten          the conversation was erased
├── StatusUnknown          the platform has not told who the person is: they try again
├── BadInput               the person can mend it
│   ├── Empty
│   ├── TooLarge
│   ├── UnknownCommand
│   ├── NotFound
│   └── Expired            a proposal that nobody decided in time
├── NotStored              the disk or database refused: nothing was accepted
├── Unstorable             the database does not take these values: asking it again cannot help
├── AuditRefused           the audit log cannot be written: nothing was changed
├── ModelError             the model cannot answer this
│   ├── NoKey · WrongKey · UnknownModel · NoQuota · RateLimited · ModelDown
│   ├── ModelSilent · TooLong · ModelRefused · Interrupted · TooManyRounds
│   └── PersonRefused      the model's server refuses this person (said to them alone)
├── ToolError              a tool could not do it; the model is told too
│   └── WriteUnsure        a write whose answer was lost: it may have happened
├── Undeliverable          the platform refuses the post for good
│   ├── PostRemoved        a person deleted our post: never post it again
│   └── Restored           what became of it since the backup is not known
├── PlatformBusy           the platform asks us to wait (never shown)
├── SettingsError          a setting is wrong: exit 2
├── HomeTaken              another process holds the home: exit 1
├── Superseded             an old attempt or generation may write nothing more (never shown)
│   └── TakenOver          this process stood still for so long that another one has the turn
└── Draining               this process stops: the turn is put back for the next one (never shown)

An error is raised once, at the depth that understands it. `sentence` is the English source with
`{placeholders}`; `words(locale)` is what a person reads: what happened, what was kept, what to do.
"""

from __future__ import annotations

from typing import Any

from core.text.i18n import say, translate_word

RESTORED_REASON = "restored"
"""Why a turn that was under way in a backup ended without being posted."""
_TRANSLATED_VALUES = frozenset({"cause", "what", "why"})
"""Values that may be words of the catalogue themselves."""


class PonteError(Exception):
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
        """In `locale`, else in the language of whoever asked."""
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
    code = "forbidden"


class NotAllowed(Refusal):
    sentence = "You may not do that here. An admin of this bot can allow it."


class OverBudget(Refusal):
    """`limit`: which one, as metrics name it."""

    code = "too_many"
    limit = "daily_turns"
    sentence = "That is all for today: the cap of turns a day for each person is {limit}. "


class Forgotten(Refusal):
    code = "forgotten"
    sentence = "That conversation was forgotten; what it said is gone."


class StatusUnknown(PonteError):
    code = "status_unknown"
    sentence = (
        "I could not find out in time whether you are a member here, so I did nothing. "
        "Please try again in a minute; if it goes on, tell the operator."
    )


class BadInput(PonteError):
    code = "bad_request"


class Empty(BadInput):
    code = "empty"
    sentence = "Your message is empty. Write a few words, or `help`."


class TooLarge(BadInput):
    code = "too_large"
    sentence = "That is too large: {size}, and at most {limit} fit. Send a smaller one, or a file."


class UnknownCommand(BadInput):
    pass


class NotFound(BadInput):
    code = "not_found"
    sentence = "There is no {what} here."


class Expired(BadInput):
    code = "expired"
    sentence = "{id} has expired: nobody approved it within 24 hours, and nothing was changed."


class NotStored(PonteError):
    code = "not_stored"
    sentence = (
        "I could not store your message, so I did not take it. "
        "Please send it again in a moment; if it goes on, tell the operator."
    )


class Unstorable(PonteError):
    """The database works, and does not take these values: their encoding, range or size."""

    code = "unstorable"
    sentence = (
        "I could not save this: it holds something that my database does not take. I will not try "
        "again by myself. Please ask in another way, or tell the operator."
    )


class ModelError(PonteError):
    code = "model"


class NoKey(ModelError):
    code = "no_key"
    sentence = "No model is set up: the operator must set OPENAI_API_KEY."


class WrongKey(ModelError):
    code = "wrong_key"
    sentence = "The model's server refuses the key. The operator must check OPENAI_API_KEY."


class UnknownModel(ModelError):
    code = "unknown_model"
    sentence = "The model {model!r} is not known to the server. The operator must set PONTE_MODEL."


class NoQuota(ModelError):
    code = "no_quota"
    sentence = "The model's account has no credit left. The operator must top it up."


class RateLimited(ModelError):
    code = "rate_limited"
    sentence = "The model's server is busy. Please try again in {seconds} s."


class ModelDown(ModelError):
    code = "model_down"
    sentence = "The model's server does not answer. Your message is kept; try again in a minute."


class ModelSilent(ModelError):
    code = "model_silent"
    sentence = "The model said nothing for {seconds} s, so I stopped waiting. Please try again."


class TooLong(ModelError):
    code = "too_long"
    sentence = "This conversation is too long for the model. Write `new` to start a fresh one."


class ModelRefused(ModelError):
    code = "refused"
    sentence = "The model declined to answer that."


class PersonRefused(ModelRefused):
    code = "person_refused"
    sentence = (
        "The model's server refuses to answer you, because of what was asked under your name "
        "before. Please talk to the operator."
    )


class Interrupted(ModelError):
    code = "interrupted"
    sentence = (
        "I was interrupted {times} times while answering this and gave up, so that nothing is "
        "done twice. What I had begun may be half done: please check, then ask again."
    )


class TooManyRounds(ModelError):
    code = "too_many_rounds"
    sentence = "I used my tools {rounds} times without coming to an end, so I stopped here."


class ToolError(PonteError):
    """`hint` tells the model what to try instead; `code` is one word for it and for logs; `usage`
    (a `core.domain.messages.Usage`) what the failed call cost all the same."""

    code = "tool"

    def __init__(
        self, sentence: str, /, *, code: str = "tool", hint: str = "", **values: object
    ) -> None:
        super().__init__(sentence, **values)
        self.code = code
        self.hint = hint
        self.usage: Any = None


class WriteUnsure(ToolError):
    """Raised by an applier where it cannot say whether its write happened."""


class Undeliverable(PonteError):
    """`reason` is the platform's own word for it, for the log."""

    code = "undeliverable"
    sentence = "I could not post my last answer here ({reason}). It is kept."


class PostRemoved(Undeliverable):
    code = "removed"
    sentence = "The answer was removed by a person."


class Restored(Undeliverable):
    """Said with the next message: unasked it might come beside an answer that was given."""

    code = RESTORED_REASON
    sentence = (
        "I was set back to a backup in which your last message here had no answer yet. If you "
        "find none above, please ask again."
    )


class PlatformBusy(PonteError):
    """`seconds`: how long the platform asks us to wait, as its Retry-After says."""

    code = "platform_busy"
    sentence = "The platform asks me to wait {seconds} s."

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds=seconds)
        self.seconds = seconds


class SettingsError(PonteError):
    code = "settings"


class HomeTaken(PonteError):
    code = "home_taken"
    sentence = "Another Ponte (process {pid}) already uses {home}. Stop it, or set PONTE_HOME."


class Superseded(PonteError):
    code = "superseded"
    sentence = "An older attempt tried to write."


class TakenOver(Superseded):
    code = "taken_over"
    sentence = "Another process has this turn, or may have it."


class Draining(PonteError):
    code = "draining"
    sentence = "This process stops; the next one goes on."


REFUSALS = frozenset({NotAllowed.code, OverBudget.code, "not_allowed"})
"""The codes of what a right or an allowance keeps a person from, also where a model reads it."""


def is_refusal(code: str) -> bool:
    """Return whether this code's answer tells a person that they get none."""
    return code in REFUSALS or code == StatusUnknown.code


class AuditRefused(PonteError):
    """`path` is the file, `cause` the system's words."""

    code = "audit"
    sentence = (
        "I could not write the audit log ({cause}), so I changed nothing. "
        "The operator must make {path} writable; then decide again."
    )
