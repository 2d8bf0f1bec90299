"""One turn as the web adapter streams it: `POST /chat` asked for events, read until its end."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from core.http import HttpClient, HttpError

SILENCE = 60.0
"""Seconds; the stream sends a comment every 15."""
WAITS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Seconds before each new try to reach Ponte: a restart takes less than their sum."""

Upload = tuple[str, tuple[str, bytes]]
"""The form's field, then the file's name and bytes."""


async def turn_stream(
    http: HttpClient,
    url: str,
    asked: Mapping[str, str],
    files: Sequence[Upload],
    headers: Mapping[str, str],
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Events with their data, the last one `done` or `error`.

    Raises HttpError, also where the stream ends before the turn.
    """
    accepts = {**headers, "Accept": "text/event-stream"}
    sent: dict[str, Any] = {"form": asked, "files": files} if files else {"body": asked}
    async with http.lines("POST", url, headers=accepts, silence=SILENCE, **sent) as lines:
        name = ""
        async for line in lines:
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":  # our server writes each as one line of JSON
                yield name, json.loads(value)
                if name in ("done", "error"):
                    return
    raise HttpError("the stream ended early")
