"""Transcriptions (`POST /v1/audio/transcriptions`). A recording of the tests is the first bytes of
a format, a bar, and the words that the server hears in it."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import TYPE_CHECKING

from aiohttp import web

from tests.fakes.openai.errors import OpenAIErrorResponse, unknown_model, wrong_key

if TYPE_CHECKING:
    from tests.fakes.openai.state import Json, State

STARTS = {
    "ogg": b"OggS\x00\x02",
    "wav": b"RIFF\x24\x00\x00\x00WAVE",
    "webm": b"\x1a\x45\xdf\xa3",
    "m4a": b"\x00\x00\x00\x20ftypM4A ",
    "mp3": b"ID3\x04",
    "flac": b"fLaC",
}
REFUSALS = {
    "too long": (
        400,
        "audio duration 1560.0 seconds is longer than 1400 seconds which is the maximum",
    ),
    "clip too long": (400, "Maximum clip duration (30s) exceeded."),  # vLLM
    "too large": (413, f"Maximum content size limit ({25 * 2**20}) exceeded (26304221 bytes read)"),
    "too many tokens": (
        400,
        "Total number of tokens in instructions + audio is too large for this model.",
    ),
    "too short": (400, "Audio file is too short. Minimum audio length is 0.1 seconds."),
    "slow": (504, "The upstream server took too long to respond."),
    "corrupt": (400, "Audio file might be corrupted or unsupported"),
}
"""What servers say of a recording that they do not take, by `state.speech`."""
ENDINGS = {"mp4": "m4a", "oga": "ogg", "mpga": "mp3", "mpeg": "mp3"}
MAX_BYTES = 25 * 2**20
SUPPORTED = "['flac', 'm4a', 'mp3', 'mp4', 'mpeg', 'mpga', 'oga', 'ogg', 'wav', 'webm']"


def record(words: str, kind: str = "ogg") -> bytes:
    """Return a recording of these words in that format."""
    return STARTS[kind] + b"|" + words.encode()


async def transcribe(state: State, body: Json, data: bytes) -> web.Response:
    """Answer as OpenAI does; `state.speech` makes it another server, or an ill one."""
    if "file" not in body:
        raise OpenAIErrorResponse(400, "you must provide a file", param="file")
    if body.get("model") not in state.speech_models:
        raise unknown_model(str(body.get("model")))
    if len(data) > MAX_BYTES:
        raise OpenAIErrorResponse(413, f"Maximum content size limit ({MAX_BYTES}) exceeded")
    ending = PurePath(body["file"]).suffix.removeprefix(".").lower()
    kind = ENDINGS.get(ending, ending)
    if kind not in STARTS:
        raise OpenAIErrorResponse(400, f"Unrecognized file format. Supported formats: {SUPPORTED}")
    if not data.startswith(STARTS[kind]):
        raise OpenAIErrorResponse(400, "Audio file might be corrupted or unsupported")
    words = data.partition(b"|")[2].decode()
    match state.speech:
        case refusal if refusal in REFUSALS:
            raise OpenAIErrorResponse(*REFUSALS[refusal], code="invalid_value")
        case "key":
            raise wrong_key()
        case "quota":
            raise OpenAIErrorResponse(
                429, "You exceeded your current quota", code="insufficient_quota"
            )
        case "silent":
            await state.release.wait()
        case "text":  # response_format=text of whisper.cpp
            return web.Response(text=f" {words}\n")
        case "segments":
            segments = [{"text": f" {word}", "no_speech_prob": 0.01} for word in words.split()]
            return web.json_response({"segments": segments})
        case "invents":  # what Whisper hears in silence (openai/whisper discussion 1606)
            answer = {"text": "Thanks for watching!"}
            segments = [{"text": answer["text"], "no_speech_prob": 0.94}]
            return web.json_response({**answer, "segments": segments})
        case "error in 200":  # whisper.cpp without ffmpeg, vLLM (whisper.cpp pull request 1539)
            return web.json_response({"error": "Failed to execute ffmpeg command."})
        case "broken":
            return web.Response(status=500, text="Internal Server Error")
        case "page":
            return web.Response(text="<!doctype html><title>Welcome</title>")
        case "deep":
            return web.Response(text="[" * 90_000, content_type="application/json")
        case "no words":
            return web.json_response({"text": "[BLANK_AUDIO]"})
    usage = {"type": "duration", "seconds": state.speech_seconds} if state.speech_seconds else {}
    return web.Response(text=json.dumps({"text": words, **({"usage": usage} if usage else {})}))
