"""Voice messages: their words, as the model's server writes them down.

The words are kept with the person's message in the transcript (`Item.spoken`), never in the text of
the message. Only that text can be a command, a decision or the answer to a form.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass, replace
from functools import partial

import structlog

from core.base.errors import PonteError
from core.base.model_faults import ModelServerFault
from core.base.openai import ModelServerClient, read_objects
from core.base.text import clean_text
from core.domain.messages import MAX_FILE_TEXT_CHARACTERS, File
from core.domain.records import Turn
from core.money.budget import Budget
from core.money.usage import PaidRun

log = structlog.get_logger("voice")
MAX_RECORDING_SECONDS = 1200
"""Discord's voice messages have up to 20 minutes. OpenAI's models refuse 1,500 seconds
(community.openai.com/t/1306684)."""
MAX_PLAUSIBLE_SECONDS = 10 * MAX_RECORDING_SECONDS
MIN_BYTES_PER_SECOND = 2_000
"""Speech has at least 16 kbit a second. For a recording of unknown length, the seconds that its
bytes could have are reserved."""
MAX_BYTES_PER_SECOND = 40_000
"""No format of voice messages has more than 320 kbit a second. Apps send the length themselves, so
one with more bytes is not believed: it would be paid too little."""
NO_SPEECH_PROBABILITY = 0.6
"""From this probability on, Whisper's own code takes a segment for silence."""
_SOUNDS = re.compile(r"\[[^][]*\]|\([^()]*\)|\*[^*]*\*|[♪♫.…\s-]+")
"""What Whisper writes for no speech: [BLANK_AUDIO], (silence), *music*."""
_SUFFIXES = (
    (re.compile(b"OggS"), "ogg"),
    (re.compile(b"RIFF....WAVE", re.DOTALL), "wav"),
    (re.compile(b"\x1a\x45\xdf\xa3"), "webm"),
    (re.compile(b"....ftyp", re.DOTALL), "m4a"),
    (re.compile(b"fLaC"), "flac"),
    (re.compile(b"ID3|\xff[\xe2-\xe7\xea-\xef\xf2-\xf7\xfa-\xff]"), "mp3"),
)
"""The first bytes of each format that the servers take, and its suffix."""
_LENGTHS = (
    # The last page of Ogg tells the samples so far (RFC 3533), Opus always has 48,000 a second.
    (rb"OggS.{24}OpusHead.*OggS..(.{8})", "<Q", 48_000),
    (rb"OggS.{24}\x01vorbis.{5}(.{4}).*OggS..(.{8})", "<IQ", 0),
    # A length that the recorder did not know is the largest number, or half of it (arecord, SoX).
    (
        rb"RIFF.{,999}?fmt .{12}(.{4}).{,999}?data"
        rb"(?!\xff{4}|\0{3}\x80|\xff{3}\x7f|\0\xf0\xff\x7f)(.{4})",
        "<II",
        0,
    ),
    (rb".*mvhd\0.{11}(?!.{4}\xff{4})(.{8})", ">II", 0),
    # After a time scale of milliseconds, as every writer uses it.
    (rb"\x1aE\xdf\xa3.{,999}?\*\xd7\xb1\x83\x0fB@.{,999}?D\x89\x88(.{8})", ">d", 1000),
    (rb"\x1aE\xdf\xa3.{,999}?\*\xd7\xb1\x83\x0fB@.{,999}?D\x89\x84(.{4})", ">f", 1000),
)
"""How formats name their length: the bytes of a number a second, if it is not the third value, and
of the whole number."""


class VoiceError(PonteError):
    """The words of a voice message could not be found out. The turn goes on without them, and the
    answer says so."""

    code = "voice"


TOO_LONG = (
    "`{name}` is longer than {minutes} minutes, so I didn't listen to it. Send a shorter "
    "voice message, or write your message."
)
TOO_LONG_FOR_SERVICE = (
    "I couldn't listen to `{name}`: it's too long for the service that turns speech into text. "
    "Send a shorter voice message, or write your message."
)
TOO_LARGE_FOR_SERVICE = (
    "I couldn't listen to `{name}`: the file is too large for the service that turns speech into "
    "text. Send a shorter voice message, or write your message."
)
RECORDING_UNREADABLE = (
    "I couldn't listen to `{name}`: it isn't a recording in a format that I know. Record it "
    "again, or write your message."
)
NO_SPEECH = (
    "I heard no words in `{name}`. Record it again, closer to the microphone, or write your "
    "message."
)
VOICE_KEY_REFUSED = (
    "I couldn't listen to `{name}`: the service that turns speech into text rejected Ponte's key. "
    "Until an admin fixes this, write your message."
)
NO_CREDIT = (
    "I couldn't listen to `{name}`: the account at the service that turns speech into text has no "
    "credit left. Until an admin fixes this, write your message."
)
UNKNOWN_MODEL = (
    "I couldn't listen to `{name}`: the service that turns speech into text doesn't have the model "
    "`{model}`. Until an admin fixes this, write your message."
)
NOT_AVAILABLE = (
    "I couldn't listen to `{name}`: the service that turns speech into text isn't available. "
    "Send it again later, or write your message."
)


RECORDING_REFUSALS = (
    # "audio duration 1830.5 seconds is longer than 1400 seconds" (OpenAI, speakr issue 168),
    # "Maximum clip duration (30s) exceeded" (vLLM).
    # "The upstream took too long" speaks of the server.
    (
        r"(?s)^(?!408|429|50[234]|.*\bt(ook|ak(es|ing))\b)"
        r".*(longer than|too long|max\w* \w+ duration)",
        TOO_LONG_FOR_SERVICE,
    ),
    (r"too (large|big)|max\w* \w+ size|^413", TOO_LARGE_FOR_SERVICE),
    (r"too.short", NO_SPEECH),
    (r"^4(00|15|22)", RECORDING_UNREADABLE),
    (r"", NOT_AVAILABLE),
)
"""How servers refuse a recording (status, code and message)."""


def _explain(fault: ModelServerFault) -> str:
    if fault.is_quota_exhausted:
        return NO_CREDIT
    if fault.is_unknown_model:
        return UNKNOWN_MODEL
    if fault.is_wrong_key:
        return VOICE_KEY_REFUSED
    words = f"{fault.status} {fault.code} {fault.message}".lower()
    return next(sentence for pattern, sentence in RECORDING_REFUSALS if re.search(pattern, words))


@dataclass(frozen=True, slots=True)
class Transcriber:
    """Turns speech into text with `model`, at the server of `client`. The cost counts in the
    allowances of the recording's author."""

    client: ModelServerClient
    model: str
    budget: Budget

    async def transcribe(self, turn: Turn, file: File, data: bytes, seconds: float) -> str:
        """Return the words of a recording. `seconds` is its length as the sender's app reports it,
        0 if unknown.

        A turn that begins again pays once for each file. Raises VoiceError, OverBudget, NotStored.
        """
        suffix = find_suffix(data)
        seconds = max(read_length(data), seconds)
        # A length shorter than so many bytes can have, or not a number, is not believed: it would
        # make the recording cheap.
        if not seconds >= len(data) / MAX_BYTES_PER_SECOND:
            seconds = 0.0
        if seconds > MAX_RECORDING_SECONDS:
            raise VoiceError(TOO_LONG, name=file.name, minutes=MAX_RECORDING_SECONDS // 60)
        if not suffix:
            raise VoiceError(RECORDING_UNREADABLE, name=file.name)
        call_id = f"voice:{file.id}"
        # At an unknown length, the longest that the bytes can hold is reserved.
        paid = PaidRun(
            "transcription",
            self.model,
            seconds=seconds or len(data) / MIN_BYTES_PER_SECOND,
            official=self.client.place.is_official,
        )
        await self.budget.reserve_run(turn, call_id, paid)
        try:
            words, real_seconds = await self.client.call_with_retries(
                partial(self._request, f"voice.{suffix}", data)
            )
        except ModelServerFault as fault:
            log.warning("voice message not transcribed", error=str(fault))
            # `is_undone`: the server certainly did no work, so the reservation is released.
            await self.budget.settle_run(turn.seq, call_id, paid, not fault.is_undone)
            raise VoiceError(_explain(fault), name=file.name, model=self.model) from None
        real = replace(paid, seconds=real_seconds or paid.seconds)
        await self.budget.settle_run(turn.seq, call_id, real, begun=True)
        if not _SOUNDS.sub("", words):  # nothing but notes such as [BLANK_AUDIO]
            raise VoiceError(NO_SPEECH, name=file.name)
        return words

    async def _request(self, name: str, data: bytes) -> tuple[str, float]:
        return read_transcript(await self.client.transcribe(self.model, name, data))


def find_suffix(data: bytes) -> str:
    """Return "ogg", "mp3" … by the first bytes; "" for an unknown format. The name in the message
    cannot be trusted.

    OpenAI reads the format from the ending alone (laravel/ai pull request 316). Slack's clips are
    MP4, whatever their name (hermes-agent pull request 51287).
    """
    return next((suffix for start, suffix in _SUFFIXES if start.match(data)), "")


def read_length(data: bytes) -> float:
    """Return the seconds that an Ogg, WAV, MP4 or WebM file itself names; 0.0 if it names none, or
    an implausible number."""
    for pattern, layout, fixed_rate in _LENGTHS:
        if head := re.match(pattern, data, re.DOTALL):
            *rates, count = struct.unpack(layout, b"".join(head.groups()))
            if (rate := sum(rates, fixed_rate)) and 0 < count / rate < MAX_PLAUSIBLE_SECONDS:
                return float(count / rate)
    return 0.0


def read_transcript(body: str) -> tuple[str, float]:
    """Return the words and the seconds of a server's answer: JSON, or the words alone.

    The seconds are those that the server charges, or else the length that it measured; 0 for none
    or an implausible number. whisper.cpp and vLLM send errors with HTTP 200 (whisper.cpp pull
    request 1539). Raises ModelServerFault.
    """
    try:
        answer = json.loads(body)
    except RecursionError:  # nested too deeply to be such an answer
        answer = None
    except ValueError:
        answer = body
    # Words alone. A web page or cut JSON is no answer of such a server.
    if isinstance(answer, str) and not answer.lstrip().startswith(("<", "{")):
        answer = {"text": answer}
    if not isinstance(answer, dict):
        raise ModelServerFault("foreign")
    if answer.get("error") or answer.get("object") == "error":
        # 400, a bad request: the person reads that the file is unreadable.
        raise ModelServerFault("refused", status=400, body=answer)
    segments, words = read_objects(answer.get("segments")), answer.get("text")
    if not isinstance(words, str):
        if not segments:
            raise ModelServerFault("foreign")
        words = " ".join(str(segment.get("text", "")).strip() for segment in segments)
    # Whisper invents words for silence, such as "Thanks for watching!".
    silences = [segment.get("no_speech_prob") for segment in segments]
    if silences and all(isinstance(p, float) and p > NO_SPEECH_PROBABILITY for p in silences):
        words = ""
    usage = answer.get("usage")
    seconds = usage.get("seconds") if isinstance(usage, dict) else answer.get("duration")
    if not isinstance(seconds, (int, float)) or not 0 < seconds < MAX_PLAUSIBLE_SECONDS:
        seconds = 0.0
    return clean_text(words).strip()[:MAX_FILE_TEXT_CHARACTERS], seconds
