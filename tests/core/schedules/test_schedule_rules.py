"""When schedules are due: days of 23 and 25 hours, missed runs, and rules that are refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from core.base.i18n import use_locale
from core.schedules.schedule import (
    BadSchedule,
    DuePlan,
    ScheduleDraft,
    ScheduleLimits,
    ScheduleRule,
    check_draft,
    find_clock_changes,
    next_after,
    next_dates,
    plan_due,
)
from core.schedules.words import describe_rule

HOUR = 3600.0
NEW_YORK, LISBON, SAO_PAULO, LORD_HOWE = (
    "America/New_York",
    "Europe/Lisbon",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
)


def instant(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def due_times(cron: str, zone: str, start: str, end: str) -> list[str]:
    """The due times between two dates of that zone, in its time."""
    at, last, match = instant(start, zone) - 1, instant(end, zone), list[str]()
    while (due := next_after(ScheduleRule(cron), zone, at)) and due < last:
        match.append(datetime.fromtimestamp(due, ZoneInfo(zone)).isoformat()[5:])
        at = due
    return match


DAYS: Sequence[tuple[str, str, str, str, Sequence[str]]] = (
    # A time that the clocks leave out, when the gap ends; a time that they repeat, once.
    ("30 2 * * *", NEW_YORK, "2027-03-13", "2027-03-16",
     ["03-13T02:30:00-05:00", "03-14T03:00:00-04:00", "03-15T02:30:00-04:00"]),
    ("30 1 * * *", NEW_YORK, "2027-11-06", "2027-11-09",
     ["11-06T01:30:00-04:00", "11-07T01:30:00-04:00", "11-08T01:30:00-05:00"]),
    ("30 1 * * *", LISBON, "2027-03-27", "2027-03-30",
     ["03-27T01:30:00+00:00", "03-28T02:00:00+01:00", "03-29T01:30:00+01:00"]),
    ("15 1 * * *", LISBON, "2027-10-30", "2027-11-02",
     ["10-30T01:15:00+01:00", "10-31T01:15:00+01:00", "11-01T01:15:00+00:00"]),
    # Lord Howe moves by half an hour; its summer begins in October.
    ("15 2 * * *", LORD_HOWE, "2027-10-02", "2027-10-05",
     ["10-02T02:15:00+10:30", "10-03T02:30:00+11:00", "10-04T02:15:00+11:00"]),
    ("45 1 * * *", LORD_HOWE, "2027-04-03", "2027-04-06",
     ["04-03T01:45:00+11:00", "04-04T01:45:00+11:00", "04-05T01:45:00+10:30"]),
    # São Paulo had its last change in 2019, at midnight: that day began at 01:00.
    ("0 0 * * *", SAO_PAULO, "2018-11-03", "2018-11-06",
     ["11-03T00:00:00-03:00", "11-04T01:00:00-02:00", "11-05T00:00:00-02:00"]),
    ("0 9 * * *", SAO_PAULO, "2027-02-27", "2027-03-02",
     ["02-27T09:00:00-03:00", "02-28T09:00:00-03:00", "03-01T09:00:00-03:00"]),
    # Two times in one gap are one run; minutes by steps in a certain hour are a time of day, too.
    ("0,30 2 * * *", NEW_YORK, "2027-03-14", "2027-03-15", ["03-14T03:00:00-04:00"]),
    ("*/30 2 * * *", NEW_YORK, "2027-03-14", "2027-03-15", ["03-14T03:00:00-04:00"]),
    ("*/30 1 * * *", NEW_YORK, "2027-11-07", "2027-11-08",
     ["11-07T01:00:00-04:00", "11-07T01:30:00-04:00"]),
    ("0 9 29 2 *", "UTC", "2027-01-01", "2033-01-01",
     ["02-29T09:00:00+00:00", "02-29T09:00:00+00:00"]),
    # Last working day: February 2027 ends on a Sunday, May 2027 on a Monday.
    ("0 9 LW * *", LISBON, "2027-02-01", "2027-06-01",
     ["02-26T09:00:00+00:00", "03-31T09:00:00+01:00", "04-30T09:00:00+01:00",
      "05-31T09:00:00+01:00"]),
    ("0 9 * * 5L", "UTC", "2027-01-01", "2027-03-01",
     ["01-29T09:00:00+00:00", "02-26T09:00:00+00:00"]),
)  # fmt: skip


def test_due_times_on_days_of_23_and_25_hours() -> None:
    wrong = {
        (cron, zone, start): times
        for cron, zone, start, end, expected in DAYS
        if (times := due_times(cron, zone, start, end)) != expected
    }
    assert not wrong


def test_an_hourly_schedule_runs_each_hour_that_passes() -> None:
    """25 times on the long day, 23 times on the short one; each instant once."""
    days = {
        (NEW_YORK, "2027-11-07"): 25,
        (NEW_YORK, "2027-03-14"): 23,
        (LISBON, "2027-10-31"): 25,
        (LISBON, "2027-03-28"): 23,
        (SAO_PAULO, "2027-11-07"): 24,
    }
    for (zone, day), count in days.items():
        end = (date.fromisoformat(day) + timedelta(1)).isoformat()
        assert len(due_times("0 * * * *", zone, day, end)) == count, (zone, day)
        assert len(due_times("*/15 * * * *", zone, day, end)) == count * 4, (zone, day)
    # Lord Howe's clocks show half past one twice, so that day has 24.5 hours.
    quarters = due_times("*/15 * * * *", LORD_HOWE, "2027-04-04", "2027-04-05")
    assert len(set(quarters)) == len(quarters) == 98


def test_each_day_has_one_run_from_wherever_the_next_one_is_computed() -> None:
    """Also from inside the hour that occurs twice, where the time of day was earlier already."""
    days = ((NEW_YORK, "2027-11-07"), (LORD_HOWE, "2027-04-04"), (NEW_YORK, "2027-03-14"))
    for zone, day in days:
        for cron in ("30 1 * * *", "45 1 * * *", "0 2 * * *", "30 2 * * *"):
            begin = instant(f"{day}T00:00:00", zone)
            first = next_after(ScheduleRule(cron), zone, begin - 1)
            assert first is not None
            for minutes in range(0, 6 * 60, 5):
                after = begin + minutes * 60
                due = next_after(ScheduleRule(cron), zone, after)
                assert due is not None
                assert due > after, (zone, cron, minutes)
                assert (due == first) == (after < first), (zone, cron, minutes)


def draft(
    cron: str = "0 9 * * *",
    *,
    at: float = 0.0,
    zone: str = "UTC",
    catch_up: float = 6 * HOUR,
    ends: float = 0.0,
    max_runs: int = 0,
    what: str = "say hello",
) -> ScheduleDraft:
    rule = ScheduleRule(run_at=at) if at else ScheduleRule(cron)
    return ScheduleDraft("ask", what, rule, zone, catch_up, ends, max_runs)


DUE = instant("2027-06-01T09:00")
DAY = 24 * HOUR
PLANS: Sequence[tuple[str, ScheduleDraft, float, DuePlan]] = (
    ("on time", draft(), 1.0, DuePlan(DUE, DUE + DAY)),
    ("late", draft(), 5 * HOUR, DuePlan(DUE, DUE + DAY, is_late=True)),
    ("too late", draft(), 7 * HOUR, DuePlan(0.0, DUE + DAY, False, DUE, 1)),
    ("too late by half a second", draft(), 6 * HOUR + 0.5, DuePlan(0.0, DUE + DAY, False, DUE, 1)),
    ("hours, of which the first is too late by half a second", draft("0 * * * *"), 6 * HOUR + 0.5,
     DuePlan(DUE + 6 * HOUR, DUE + 7 * HOUR, False, DUE, 6)),
    ("three days, then one run", draft(), 3 * DAY + HOUR,
     DuePlan(DUE + 3 * DAY, DUE + 4 * DAY, True, DUE, 3)),
    ("three days, no run", draft(), 3 * DAY + 8 * HOUR,
     DuePlan(0.0, DUE + 4 * DAY, False, DUE, 4)),
    ("an hour of quarters is one run", draft("*/15 * * * *"), HOUR + 1,
     DuePlan(DUE + HOUR, DUE + HOUR + 900, False, DUE, 4)),
    ("two years of quarters", draft("*/15 * * * *", catch_up=0.0), 730 * DAY + 1,
     DuePlan(0.0, DUE + 730 * DAY + 900, False, DUE, 1000)),
    ("once, on time", draft(at=DUE), 1.0, DuePlan(DUE, 0.0)),
    ("once, missed", draft(at=DUE), DAY, DuePlan(0.0, 0.0, False, DUE, 1)),
    ("no run after the end", draft(ends=DUE + HOUR), 1.0, DuePlan(DUE, 0.0)),
    ("no run after the end, which passed meanwhile", draft(ends=DUE + DAY + HOUR),
     2 * DAY + HOUR, DuePlan(0.0, 0.0, False, DUE, 2)),
    ("the last run late, after the end", draft(ends=DUE + DAY + HOUR), DAY + 2 * HOUR,
     DuePlan(DUE + DAY, 0.0, True, DUE, 1)),
    ("other zone data than when it was computed", draft("0 10 * * *"), 1.0,
     DuePlan(0.0, DUE + HOUR)),
)  # fmt: skip


def test_missed_runs_lead_to_one_run_at_most() -> None:
    wrong = {
        name: match
        for name, one, after, expected in PLANS
        if (match := plan_due(one, DUE, DUE + after)) != expected
    }
    assert not wrong


def refusals() -> Iterator[tuple[ScheduleDraft, ScheduleLimits, str]]:
    limits, now = ScheduleLimits(), instant("2027-01-01")
    yield draft("* * * * *"), limits, "every 1 min"
    yield draft("*/10 9 * * 1"), limits, "every 10 min"
    yield draft("0,59 0,23 * * *"), limits, "every 1 min"
    yield draft("0 * * * *"), ScheduleLimits(shortest_minutes=61), "every 60 min"
    yield draft("0 9 * *"), limits, "five fields"
    yield draft("0 0 9 * * *"), limits, "five fields"
    for never in ("30 2 *", "31 2,4 *", "31 4,6,9,11 *", "31 JUN *", "30 2 */2"):
        yield draft(f"0 9 {never}"), limits, "never due"
    yield draft("0 9 * 2 MON#5"), limits, "within the next 5 years"
    for rule, field in (
        ("0 25 * * *", "25"),
        ("60 9 * * *", "60"),
        ("0 9 ? * *", "?"),
        ("0 9 * 13 *", "13"),
        ("0 9 * * MONDAY", "MONDAY"),
        ("0 9 * * 1-9", "1-9"),
        ("32-1 9 32-1 * *", "32-1"),
        ("0 9 * * FRI-MON/2", "FRI-MON/2"),
    ):
        yield draft(rule), limits, f"has an invalid field: `{field}`."
    yield draft("0 9 * * MONDAY; DROP"), limits, "five fields"
    yield draft("0 9 29 2 *", ends=now + DAY), limits, "end before"
    yield draft(zone="Brasília"), limits, "Time zone `Brasília` not found"
    yield draft(zone="../../etc/passwd"), limits, "Time zone `../../etc/passwd` not found"
    yield draft(at=now - 1), limits, "has passed"
    yield draft(at=now + 3000 * DAY), limits, "within the next"
    yield draft(what="  \u200b "), limits, "what the schedule should do"
    yield draft(what="x" * 5000), limits, "too long"
    yield draft(catch_up=30 * DAY), limits, "7 days"
    yield draft(max_runs=-1), limits, "negative"
    yield ScheduleDraft("ask", "x", ScheduleRule("0 9 * * *", now + DAY), "UTC"), limits, "not both"
    yield ScheduleDraft("ask", "x", ScheduleRule(), "UTC"), limits, "not both"


def test_wrong_schedules_are_refused_in_words() -> None:
    now = instant("2027-01-01")
    for one, limits, words in refusals():
        with pytest.raises(BadSchedule) as error:
            check_draft(one, now, limits)
        assert words in error.value.words(), one


def test_a_schedule_ends_and_its_rule_is_stored_in_one_form() -> None:
    now, limits = instant("2027-01-01"), ScheduleLimits()
    finding = check_draft(draft("0  9 * *  mon-fri", max_runs=5), now, limits)
    assert finding.rule.cron == "0 9 * * MON-FRI"
    assert len(next_dates(finding, now, 9)) == 5
    (first, second, *_) = next_dates(finding, now, 9)
    assert next_dates(replace(finding, ends_at=second.timestamp()), now) == [first, second]
    once = check_draft(draft(at=now + 90 * DAY), now, limits)
    assert next_dates(once, now) == [datetime.fromtimestamp(now + 90 * DAY, UTC)]


def test_ranges_over_the_end_of_a_week_or_year_are_lists() -> None:
    now, limits = instant("2027-01-01"), ScheduleLimits()
    for typed_rule, record in {
        "0 9 * * fri-mon": "0 9 * * 5,6,0,1", "0 9 * * 5-1": "0 9 * * 5,6,0,1",
        "0 9 * * SAT-SUN": "0 9 * * 6,0", "0 9 * * 7-2": "0 9 * * 0,1,2",
        "0 9 * * 3,6-1": "0 9 * * 3,6,0,1", "0 9 * * 5-7": "0 9 * * 5-7",
        "0 9 1 nov-feb *": "0 9 1 11,12,1,2 *", "0 22-2 * * *": "0 22,23,0,1,2 * * *",
        "0 9 * * 1-1": "0 9 * * 1-1", "*/30 9 * * *": "0,30 9 * * *",
    }.items():  # fmt: skip
        assert check_draft(draft(typed_rule), now, limits).rule.cron == record
    times = due_times("0 9 * * FRI-MON", "UTC", "2027-01-01", "2027-01-10")
    assert [due[:5] for due in times] == ["01-01", "01-02", "01-03", "01-04", "01-08", "01-09"]


CLOCKS = {
    (NEW_YORK, "30 2 * * *"): ["2027-03-14T03:00-04:00"],
    (NEW_YORK, "30 1 * * *"): ["2027-11-07T01:30-04:00"],
    (NEW_YORK, "0,30 2 * * SUN"): ["2027-03-14T03:00-04:00"],
    (NEW_YORK, "*/30 2 * * *"): ["2027-03-14T03:00-04:00"],
    (NEW_YORK, "15,45 1,2 * * *"): [
        "2027-03-14T03:00-04:00", "2027-11-07T01:15-04:00", "2027-11-07T01:45-04:00"
    ],
    (NEW_YORK, "30 1,2 7 11 *"): ["2027-11-07T01:30-04:00"],
    (LORD_HOWE, "15 2 * * *"): ["2027-10-03T02:30+11:00"],
    (LORD_HOWE, "45 1 * * *"): ["2027-04-04T01:45+11:00"],
    ("Asia/Beirut", "0 0 * * *"): ["2027-03-28T01:00+03:00"],
    (NEW_YORK, "30 0-10 * * *"): ["2027-03-14T03:00-04:00", "2027-11-07T01:30-04:00"],
    (NEW_YORK, "0,15,30,45 2-23 * * *"): ["2027-03-14T03:00-04:00"],
    (NEW_YORK, "30 2 * * MON"): [],
    (NEW_YORK, "30 9 * * *"): [],
    (NEW_YORK, "*/30 * * * *"): [],
    (SAO_PAULO, "0 0 * * *"): [],
}  # fmt: skip


def test_times_that_the_clocks_skip_or_repeat_are_found() -> None:
    now = instant("2026-11-26")

    def changes(one: ScheduleDraft) -> list[str]:
        return [due.isoformat(timespec="minutes") for due in find_clock_changes(one, now)]

    wrong = {
        key: match
        for key, dates in CLOCKS.items()
        if (match := changes(draft(key[1], zone=key[0]))) != dates
    }
    assert not wrong
    skip = draft("30 2 * * *", zone=NEW_YORK)
    assert not changes(replace(skip, max_runs=5))
    assert len(changes(replace(skip, max_runs=200))) == 1
    assert not changes(replace(skip, ends_at=instant("2027-03-01")))
    for locale, words in (
        ("en", "Sunday, November 7, 2027, 1:30 AM (GMT-04:00)"),
        ("pt-BR", "domingo, 7 de novembro de 2027, 01:30 (-04:00 GMT)"),
        ("fr", "dimanche 7 novembre 2027, 01:30 (UTC-04:00)"),
    ):
        with use_locale(locale):
            once = draft(at=instant("2027-11-07T01:30", NEW_YORK), zone=NEW_YORK)
            assert describe_rule(once).replace("\u202f", " ").endswith(words)


def test_each_weekday_agrees_with_its_sentence() -> None:
    feminine = ("segunda-feira", "terça-feira", "quarta-feira", "quinta-feira", "sexta-feira")
    french = ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche")
    ordinals = ("premier", "deuxième", "troisième", "quatrième")
    for number, name in enumerate((*feminine, "sábado", "domingo"), 1):
        end, sign = ("a", "ª") if name in feminine else ("o", "º")
        day = french[number - 1]
        forms = {
            f"0 9 * * {number}": (f"tod{end} {name}, às 09:00", f"chaque {day} à 09:00"),
            f"0 9 * * {number}L": (
                f"n{end} últim{end} {name} de cada mês, às 09:00",
                f"le dernier {day} de chaque mois à 09:00",
            ),
            f"0 9 * * {number}#5": (
                f"tod{end} 5{sign} {name} de um mês, às 09:00",
                f"le cinquième {day} d’un mois à 09:00",
            ),
        }
        for nth, ordinal in enumerate(ordinals, 1):
            forms[f"0 9 * * {number}#{nth}"] = (
                f"tod{end} {nth}{sign} {name} do mês, às 09:00",
                f"le {ordinal} {day} de chaque mois à 09:00",
            )
        for rule, words in forms.items():
            for locale, sentence in zip(("pt-BR", "fr"), words, strict=True):
                with use_locale(locale):
                    assert describe_rule(draft(rule)) == sentence
        once = draft(at=instant(f"2027-11-0{number}T09:00", NEW_YORK), zone=NEW_YORK)
        with use_locale("pt-BR"):
            assert f"uma única vez, n{end} {name}, {number} de novembro" in describe_rule(once)


def test_rules_are_put_into_words_in_three_languages() -> None:
    """A rule that no sentence covers is shown as it is."""
    forms = {
        "30 8,17 * * MON-FRI": (
            "Monday to Friday at 8:30 AM and 5:30 PM",
            "de segunda a sexta-feira, às 08:30 e 17:30",
            "du lundi au vendredi à 08:30 et 17:30",
        ),
        "0 9 * * 0,6": (
            "every week on Saturday and Sunday at 9:00 AM",
            "todo sábado e domingo, às 09:00",
            "chaque samedi et dimanche à",
        ),
        "0 9 LW * *": (
            "on the last working day (Monday to Friday) of each month at 9:00 AM",
            "no último dia útil",
            "le dernier jour ouvré",
        ),
        "0 9 * * 5L": ("on the last Friday of each", "na última sexta-feira de", "vendredi"),
        "0 9 * * MON#2": ("on the second Monday of each", "toda 2ª segunda-feira do mês", "lundi"),
        "0 9 29 2 *": (
            "every year on February 29 at 9:00 AM (February 29 only in leap years)",
            "(29 de fevereiro só em anos bissextos)",
            "(29 février seulement les années bis",
        ),
        "0 9 31 * *": (
            "9:00 AM (no day 31 in February, April, June, September, and November)",
            "(sem dia 31 em fevereiro, abril, junho, setembro e novembro)",
            "(pas de 31 en février, avril, juin, septembre et novembre)",
        ),
        "0 9 30 * *": (
            "month at 9:00 AM (no day 30 in February)",
            "(sem dia 30 em fevereiro)",
            "(pas de 30 en février)",
        ),
        "0 9 29 * *": (
            "on day 29 of each month at 9:00 AM (February 29 only in leap years)",
            "no dia 29 de cada mês",
            "le 29 de",
        ),
        "0 9 29-30 * *": (
            "(no day 30 in February; February 29 only in leap years)",
            "(sem dia 30 em fevereiro; 29 de fevereiro só em anos bissextos)",
            "(pas de 30 en",
        ),
        "0 9 31 2,3 *": (
            "every year on March 31 at 9:00 AM (no day 31 in February)",
            "(sem dia 31 em fevereiro)",
            "(pas de 31 en février)",
        ),
        "0 9 28 * *": ("on day 28 of each month at 9:00 AM", "no dia 28 de cada mês", "le 28 de"),
        "0 9 * * 5-7": (
            "every week on Friday, Saturday, and Sunday at",
            "toda sexta-feira, sábado e domingo",
            "vendredi, samedi et dimanche",
        ),
        "0 9 * * 0,7": ("every week on Sunday at", "todo domingo,", "chaque dimanche à"),
        "0 9,9 1,1 * *": ("on day 1 of each month at 9:00 AM", "no dia 1 de", "le 1er de"),
        "0 9 1,15 * *": ("on days 1 and 15 of each", "nos dias 1 e 15", "les 1er et 15"),
        "0 9 7 * *": ("on day 7 of each month at 9:00 AM", "no dia 7 de cada mês", "le 7 de"),
        "*/15 * * * *": ("every 15 minutes", "a cada 15 minutos", "toutes les 15 minutes"),
        "0 * * * *": (
            "every hour, on the hour",
            "de hora em hora, na hora cheia",
            "toutes les heures, à l’heure pile",
        ),
        "1 * * * *": ("every hour, at 1 minute past", "hora, no minuto 1", "à la minute 1"),
        "30 * * * *": ("every hour, at 30 minutes past", "aos 30 min", "à la minute 30"),
        "0,30 * * * *": ("`0,30 * * * *`", "`0,30 * * * *`", "`0,30 * * * *`"),
        "*/25 * * * *": ("`*/25 * * * *`", "`*/25 * * * *`", "`*/25 * * * *`"),
        "0 9 13 * 5": ("`0 9 13 * 5`", "`0 9 13 * 5`", "`0 9 13 * 5`"),
        "0 9 31 2,4 1": ("`0 9 31 2,4 1`", "`0 9 31 2,4 1`", "`0 9 31 2,4 1`"),
    }
    wrong = {}
    for cron, all_words in forms.items():
        for locale, words in zip(("en", "pt-BR", "fr"), all_words, strict=True):
            with use_locale(locale):
                text = describe_rule(draft(cron)).replace("\u202f", " ").replace("\u00a0", " ")
            if words not in text:
                wrong[cron, locale] = text
    assert not wrong
    with use_locale("fr"):
        once = describe_rule(draft(at=instant("2027-01-15T08:00"), zone=LISBON))
        assert "vendredi 15 janvier 2027, 08:00" in once
        unknown = describe_rule(draft(at=instant("2027-01-15T08:00"), zone="Mars/Base"))
        assert unknown == once, "UTC, which Lisbon has in winter"
