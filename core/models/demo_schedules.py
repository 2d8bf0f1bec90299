"""Schedules in the demo model: sentences in three languages as arguments of `schedule_propose`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from core.text.text import fold_to_letters

SCHEDULE_TOOL = "schedule_propose"
_WEEKDAYS: Mapping[str, str] = {
    "monday": "MON", "tuesday": "TUE", "wednesday": "WED", "thursday": "THU", "friday": "FRI",
    "saturday": "SAT", "sunday": "SUN",
    "segunda": "MON", "terca": "TUE", "quarta": "WED", "quinta": "THU", "sexta": "FRI",
    "sabado": "SAT", "domingo": "SUN",
    "lundi": "MON", "mardi": "TUE", "mercredi": "WED", "jeudi": "THU", "vendredi": "FRI",
    "samedi": "SAT", "dimanche": "SUN",
}  # fmt: skip
_TIME = r"(?P<hour>\d{1,2})(?:\s?[:h]\s?(?P<minute>\d{2})|\s?h)?"
_AT = rf"(?:at|as|a)\s+{_TIME}"
_REMINDERS = (
    rf"remind me (?P<day>today|tomorrow) {_AT} to (?P<what>.+)",
    rf"me lembre (?P<day>hoje|amanha) {_AT} de (?P<what>.+)",
    rf"rappelle-moi (?P<day>aujourd.hui|demain) {_AT} (?:de |d.)(?P<what>.+)",
)
_REPEATED = (
    rf"every (?P<day>day|{'|'.join(_WEEKDAYS)}) {_AT},? post (?P<what>.+)",
    rf"(?:todo dia|toda|todo) ?(?P<day>{'|'.join(_WEEKDAYS)})?(?:-feira)? {_AT},?"
    r" publique (?P<what>.+)",
    rf"(?:chaque|tous les) (?P<day>jour|jours|{'|'.join(_WEEKDAYS)}) {_AT},? publie (?P<what>.+)",
)
_CHANGES = (
    rf"(?:change|move) (?:the )?schedule (?P<id>[a-z2-7]{{6}}) to {_TIME}",
    rf"(?:mude|altere|passe) o agendamento (?P<id>[a-z2-7]{{6}}) para (?:as )?{_TIME}",
    rf"(?:change|modifie|passe) la planification (?P<id>[a-z2-7]{{6}}) (?:a|pour) {_TIME}",
)
_MAX_CHARACTERS = 1_000
_TODAY = ("today", "hoje", "aujourd")
_NOW = re.compile(r"\b(\d{4}-\d{2}-\d{2}), \d{2}:\d{2}", re.ASCII)


def parse_schedule(said: str, preface: str) -> dict[str, Any] | None:
    """Return the arguments of `schedule_propose` for a sentence, None if it is none.

    `preface` begins with the date at the asker's place. The text keeps the asker's spelling.
    """
    if len(said) > _MAX_CHARACTERS:
        return None
    text = said.strip().rstrip(".!")
    # Folding keeps the length, so that the text to post is taken from the original.
    folded = "".join(_fold(letter) for letter in text)
    found = _NOW.search(preface)
    for pattern in _REMINDERS:
        if (match := re.fullmatch(pattern, folded, re.DOTALL)) and found:
            day = date.fromisoformat(found[1])
            if not match["day"].startswith(_TODAY):
                day += timedelta(days=1)
            if (clock := _read_clock(match)) is None:
                return None
            at = f"{day.isoformat()}T{clock[0]:02}:{clock[1]:02}"
            return _arguments(text[match.start("what") :], at)
    for pattern in _CHANGES:
        if match := re.fullmatch(pattern, folded):
            if (clock := _read_clock(match)) is None:
                return None
            return _arguments("", f"{clock[0]}:{clock[1]:02}", replaces=match["id"])
    for pattern in _REPEATED:
        if match := re.fullmatch(pattern, folded, re.DOTALL):
            if (clock := _read_clock(match)) is None:
                return None
            weekday = _WEEKDAYS.get(match["day"] or "", "*")
            cron = f"{clock[1]} {clock[0]} * * {weekday}"
            return _arguments(text[match.start("what") :], cron)
    return None


def _arguments(what: str, when: str, *, replaces: str | None = None) -> dict[str, Any]:
    return {
        "kind": "post", "what": what, "when": when, "zone": None, "ends": None,
        "replaces": replaces,
    }  # fmt: skip


def _read_clock(match: re.Match[str]) -> tuple[int, int] | None:
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    return (hour, minute) if hour < 24 and minute < 60 else None


def _fold(letter: str) -> str:
    """Return one lower-case letter without accent."""
    plain = fold_to_letters(letter) if letter.isalpha() else letter.lower()
    return plain if len(plain) == 1 else letter
