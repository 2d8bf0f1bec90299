"""What `ponte usage`, `ponte turns`, `ponte policy check` and the page /admin report. No service is
asked: group memberships and guest status are arguments.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import cast, get_args

from adapters.web import WEB
from bot.config.approvers import describe_blind_approvers
from bot.config.ponte_toml import Config, LiveConfig
from bot.config.quick_registry import QuickCommandRegistry
from bot.config.reload import (
    find_unknown_names,
    list_unchecked_names,
    misspelt_names,
)
from bot.home import Start
from bot.integrations import ADMINS
from bot.integrations import collect_rights as platform_rights
from bot.operation_results import PolicyCheck, RightVerdict, Rows, UsageReport
from core.base.errors import NotFound, WrongUsage
from core.base.i18n import format_moment, say
from core.changes.approval import Approval, TableRule
from core.changes.service import ChangeService
from core.domain.messages import Address, Person
from core.integrations import list_person_forms
from core.money.allowances import COUNTED_WORDS, format_amount, period_end
from core.money.budget import Budget, ReportRow
from core.people.policy import PlatformPeople, Policy
from core.people.rules import (
    NAMED_RIGHTS,
    OIDC_PLATFORM,
    OWNER_ID,
    RIGHT_KINDS,
    SOURCE_REASON,
    Rule,
    check_right_name,
    is_right,
    place_names,
)
from core.schedules.service import Scheduling
from core.tools.sample import SAMPLE_INTEGRATION, may_use_sample


async def report_usage(budget: Budget, by: str, since: str) -> UsageReport:
    """Return a row for each person, channel, model, tool or day (`by`), since the day `since`: a
    date or a word such as "yesterday", by default the first of this month. Raises WrongUsage.
    """
    if by not in get_args(ReportRow):
        choices = ", ".join(get_args(ReportRow))
        raise WrongUsage("Can't group by {by}. Choose one of: {known}.", by=by, known=choices)
    try:
        today = datetime.now(budget.zone).date()
        first = parse_day_word(since, today) if since else today.replace(day=1)
        first = first or date.fromisoformat(since)  # no word: a date
    except ValueError:
        raise WrongUsage(
            "`{since}` isn't a date. Enter a date such as 2026-11-01, or yesterday.", since=since
        ) from None
    rows = await budget.report(cast("ReportRow", by), first.isoformat())
    # Models whose calls have a cost all the same, and models whose calls have none.
    models = await budget.models_without_price(first.isoformat())
    return UsageReport(by, first.isoformat(), rows, *models)


async def report_pending(changes: ChangeService, schedules: Scheduling, reader: Person) -> Rows:
    """Return a row for each request, of anybody, that waits for a decision, without its values.
    `asker` is a person's key."""
    build_title = changes.views.builder.build_title
    requests = [
        (person, person.proposal) for person in await changes.ledger.list_waiting_for_people()
    ]
    return [
        {
            "id": change.id,
            "title": build_title(await schedules.withhold_change(change, reader)),
            "asker": proposal.asker.key,
            # The narrowest name: PLATFORM:WORKSPACE:CHANNEL.
            "place": place_names(proposal.address)[-1],
            "created_at": proposal.created_at,
            "expires_at": proposal.expires_at,
        }
        for change, proposal in requests
    ]


async def describe_changes(
    changes: ChangeService, schedules: Scheduling, ids: Collection[str], reader: Person
) -> Mapping[str, tuple[str, str]]:
    """Return title and first rows in words for the reader of /admin, by the change's id, without
    forgotten changes."""
    words, page = {}, Address(WEB.name, "main")
    for id in sorted(ids):
        with suppress(NotFound):
            change = await schedules.withhold_change(await changes.ledger.get(id), reader)
            builder = changes.views.builder
            fields = await changes.approval.find_card_fields(change, reader, page)
            words[id] = builder.build_title(change), builder.describe_rows(change, fields)
    return words


async def report_limits(budget: Budget) -> Rows:
    """Return a row for each limit, with what is used of it now: first those of no single person,
    each with the most used first.

    `name` is the key of the person or place whose use is counted, or words for a group or for all.
    `person` is a key, "" if the count is of no single person. `share` is 1.0 if all is used.
    `limit`, `used` and `until` are words. `source` is where the limit is written, such as
    ponte.toml.
    """
    # The owner's limits are those in their conversation `main` of the web page.
    owner, page = Person(WEB.name, OWNER_ID), Address(WEB.name, "main")
    limits = []
    for count in await budget.list_counters(owner, page):
        scope, allowance = count.scope, count.scope.allowance
        for unit, limit in allowance.limits():
            spent = getattr(count.spent, unit)
            limits.append(
                {
                    "name": scope.person or scope.place or say(COUNTED_WORDS[allowance.of]),
                    "person": scope.person,
                    "limit": allowance.describe_limit(unit),
                    "used": format_amount(unit, spent),
                    "share": spent / limit if limit else 1.0,  # nothing may be spent
                    "until": format_moment(period_end(count.period, budget.zone)),
                    "source": allowance.source,
                }
            )
    return sorted(limits, key=lambda row: (row["person"] != "", -row["share"]))


_DAYS_AGO = {
    "today": 0, "hoje": 0, "aujourd'hui": 0, "aujourd’hui": 0,
    "yesterday": 1, "ontem": 1, "hier": 1,
}  # fmt: skip


def parse_day_word(text: str, today: date) -> date | None:
    """Return the day that a word means, in English, Portuguese or French; None for other texts."""
    ago = _DAYS_AGO.get(text.strip().lower())
    return None if ago is None else today - timedelta(days=ago)


def parse_moment(written: str, zone: tzinfo, *, end: bool = False) -> str:
    """Return the moment that a person wrote, in UTC as in the audit log; "" for "". It is a date
    with or without a time, or a word such as "yesterday", in the time zone `zone`. A day without a
    time means its beginning, or with `end` its end. Raises WrongUsage.
    """
    if not written:
        return ""
    try:
        day = parse_day_word(written, datetime.now(zone).date())
        written = day.isoformat() if day else written
        moment = datetime.fromisoformat(written)
        # The end of a day is the beginning of the next one.
        if end and len(written) <= len("2026-11-01"):
            moment += timedelta(days=1)
        zoned_moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return zoned_moment.astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        raise WrongUsage(
            "`{word}` isn't a date. Enter a date such as 2026-11-01 or 2026-11-01T14:30, or "
            "yesterday.",
            word=written[:40],
        ) from None


UNKNOWN_WORKSPACE = "?"
"""This stands for a workspace that was not named. Person and place are in the same one."""
PLAIN_RIGHTS = tuple(kind for kind in RIGHT_KINDS if kind not in NAMED_RIGHTS)
_NO_RIGHT = (
    "`{right}` isn't a permission. Use {known}, some of these for a single table (read:TABLE), "
    "or tool:NAME, command:SLUG, agent:NAME, model:NAME, post:PLACE."
)
_FORM = (
    "Write `--person` as platform:ID (slack:U1, slack:T1:U1, discord:42, web:ana, web) and "
    "`--channel` as an ID, slack:T1:C1 or discord:SERVER:CHANNEL. Threads have the rules of their "
    "channel."
)
_NO_GROUP = (
    "`{group}` isn't the ID of a user group or role. Write `--group` as platform:ID (slack:S1, "
    "discord:ROLE). The names in `[groups]` of ponte.toml can't be used here."
)
_GROUPS_UNKNOWN = (
    "User groups and roles aren't looked up. If the person has one that ponte.toml names, add "
    "`--group`, for example `--group slack:S1`."
)


def _read_person_and_place(begun: Start, person: str, channel: str) -> tuple[Person, Address]:
    """Return the person and the place that `--person` and `--channel` name.

    `person` is a key, with or without a workspace, or the name of a platform for its owner;
    `channel` an id, or a place's whole name. A workspace that neither names is taken from
    ponte.toml, if it has the channel in only one; else it is UNKNOWN_WORKSPACE for both. Raises
    WrongUsage.
    """
    platforms, book = platform_rights(begun.settings.faces), begun.config.rule_book
    # ADMINS are the platforms with one owner, such as `web`.
    platform, *ids = (f"{person}:{OWNER_ID}" if person in ADMINS else person).split(":")
    # The id of a person of an OIDC provider contains a colon: `oidc:acme:SUB`.
    ids = [":".join(ids)] if platform == OIDC_PLATFORM else ids
    if platform not in platforms or not 1 <= len(ids) <= 2 or not all(ids):
        raise WrongUsage(_FORM)
    place = channel.split(":") if channel else []
    if len(place) not in (0, 1, 3) or not all(place) or (place[1:] and place[0] != platform):
        raise WrongUsage(_FORM)
    # No rule is found by a name.
    if not platforms[platform].has_one_owner and not re.fullmatch("[A-Z0-9]*", "".join(place[-1:])):
        raise WrongUsage(_FORM)
    # Slack's people belong to a workspace.
    has_home = platforms[platform].own_workspace
    named = ids[0] if len(ids) == 2 else ""
    workspace = place[1] if len(place) == 3 else named or (UNKNOWN_WORKSPACE if has_home else "")
    if len(place) == 1:  # the file may name the channel's workspace
        names = {*book.channels}.union(*(r.where for r in book.rules))
        homes = {name.split(":")[1] for name in names if re.fullmatch(
            rf"{platform}:[^:]+:{re.escape(channel)}", name
        )}  # fmt: skip
        workspace = homes.pop() if len(homes) == 1 and not named else workspace
    # Without `--channel`, the place is a conversation that only the person reads.
    where = Address(platform, place[-1] if place else "", workspace, is_shared=bool(place))
    return Person(platform, ids[-1], (named or workspace) if has_home else ""), where


async def check_rights(
    begun: Start,
    person: str,
    channel: str = "",
    *,
    groups: Sequence[str] = (),
    guest: bool = False,
    rights: Sequence[str] = (),
) -> PolicyCheck:
    """Return what `ponte policy check` shows: the place, the file, notes (its misspelt names,
    unknown groups), and a verdict for each right.

    `rights` are by default all plain rights, and those to single things that the file names. No
    platform is asked: `groups` and `guest` are what it would tell. Raises WrongUsage.
    """
    settings, config, live = begun.settings, begun.config, LiveConfig(begun.config)
    if begun.known.tables is not None:
        live.note_tables(begun.known.tables)
    platforms = platform_rights(settings.faces)
    who, where = _read_person_and_place(begun, person, channel)
    platform = who.platform
    for right in rights:
        check_right_name(right)
        if not is_right(right):
            raise WrongUsage(_NO_RIGHT, right=right[:80], known=", ".join(PLAIN_RIGHTS))

    prefix = f"{platform}:{platforms[platform].group_prefix}"
    forms = "|".join(list_person_forms(settings.faces)[1])
    groups = [group if ":" in group else f"{platform}:{group}" for group in groups]
    for group in groups:
        if not group.startswith(prefix) or not re.fullmatch(forms, group):
            raise WrongUsage(_NO_GROUP, group=group[:80])

    async def membership(_: Person, max_age: float) -> frozenset[str]:
        return frozenset(groups)

    async def is_guest(_: Person, max_age: float) -> bool:
        return guest

    policy = Policy(
        platforms,
        lambda: live.rule_book,
        settings.ponte_allow,
        settings.ponte_admins,
        PlatformPeople(
            dict.fromkeys(platforms, membership),
            {name: is_guest for name, platform in platforms.items() if platform.own_workspace},
        ),
    )
    # A verdict is right with unknown groups too, but may name another rule than the first.
    await policy.prepare(who, where, confirmed=True, seconds=1)
    right_names = dict.fromkeys(rights or (*PLAIN_RIGHTS, *_named_rights(config)))
    lines = [await _judge_right(policy, live, who, where, right) for right in right_names]
    # The sample tables have a rule besides the rights.
    for_invited = settings.ponte_sample == "on"
    if (
        SAMPLE_INTEGRATION.is_used(settings, settings)
        and (who.platform == WEB.name or for_invited)
        and not may_use_sample(await policy.rights(who, where), for_invited=for_invited)
    ):
        lines = [
            replace(line, allowed=False, rule="none", why=say(SOURCE_REASON))
            if line.allowed and line.right.partition(":")[0] == "read"
            else line
            for line in lines
        ]
    known = begun.known
    notes = [*misspelt_names(config, settings, known), *list_unchecked_names(config, known)]
    notes += [*describe_blind_approvers(config, settings)]
    approvers = [table.approvers for table in config.tables.values()]
    approvers += [tool.approvers for tool in config.tools.values()]
    is_grouped = not platforms[platform].has_one_owner  # its people can be in groups
    if is_grouped and not groups and policy.groups_matter(platform, frozenset().union(*approvers)):
        notes.append(say(_GROUPS_UNKNOWN))
    if any(line.right == "chat" and not line.allowed for line in lines[:-1]):
        notes.append(say("Without `chat`, Ponte doesn't answer, so nothing else is possible."))
    shown = where.channel if where.workspace == UNKNOWN_WORKSPACE else place_names(where)[-1]
    unknown = bool(find_unknown_names(config, settings, known))
    return PolicyCheck(shown if channel else "", str(config.path or ""), notes, lines, unknown)


async def find_rights(
    start: Start, who: Person, where: Address, kinds: Collection[str]
) -> Mapping[str, str]:
    """Return the rights of these kinds (such as "read") that a person or webhook has at a place,
    each with the rule that gives it, also to single things that ponte.toml names, such as
    "read:Orders"."""
    config, settings = start.config, start.settings
    policy = Policy(
        platform_rights(settings.faces),
        # A policy takes a function, because a reload changes the book.
        lambda: config.rule_book,
        settings.ponte_allow,
        settings.ponte_admins,
    )
    named = [right for right in _named_rights(config) if right.split(":")[0] in kinds]
    live = LiveConfig(config)
    verdicts = [await _judge_right(policy, live, who, where, right) for right in (*kinds, *named)]
    return {verdict.right: verdict.rule for verdict in verdicts if verdict.allowed}


async def _judge_right(
    policy: Policy, config: LiveConfig, who: Person, where: Address, asked: str
) -> RightVerdict:
    """Judge a right such as "read:Customers" by the rule that decides it: the settings of a table
    come first, then its approvers, then the rules and the entries of quick commands, as when Ponte
    itself decides."""
    right, _, name = asked.partition(":")
    # Only drafts need kinds of change (`{}`).
    approval = Approval(policy, {}, config)
    of_table = bool(name) and right in ("read", "propose", "approve")
    table = config.table_rules.find_rule(name) if of_table else TableRule()
    if table.access == "hidden" or (table.access == "read" and right != "read"):
        return RightVerdict(asked, False, f"[tables] {name}", f"access = {table.access}")
    if right == "approve" and name:
        verdict = await approval.judge_approver(who, where, name)
        if verdict.rule.startswith("tables."):
            words = (
                "only these approvers: {names}" if table.approvers_only else "approvers: {names}"
            )
            why = say(words, names=", ".join(sorted(table.approvers)))
            return RightVerdict(asked, verdict.allowed, f"[tables] {name}", why)
    else:
        # Without a name: whether the right is for everything, not only for one table.
        verdict = await policy.may(who, where, right, name)
    # A command's own entry (`by`, `where`) comes last and can only refuse: it keeps out also people
    # whom a rule allows all commands. `refuse` asks `is_named` whether `by` names the person.
    if right == "command" and name in config.quick_commands:
        registry = QuickCommandRegistry(config, policy.is_named, policy=policy)
        if refusal := await registry.refuse(who, where, name):
            return RightVerdict(asked, False, f"[quick_commands] {name}", refusal.words())
    book = policy.read_rules()
    rules = {rule.source: _describe_rule(rule) for rule in book.rules}
    for place, rule in book.channels.items():
        rules[rule.source] = f"[channels] {place}: {_describe_rule(rule)}"
    why = rules.get(verdict.rule, "" if verdict.allowed else verdict.words())
    if (
        verdict.allowed
        and right == "propose"
        and await approval.updates_alone(who, where, table, ("approve", name))
    ):
        fields = ", ".join(sorted(table.auto_fields))
        why = "; ".join(filter(None, [why, say("without approval: {fields}", fields=fields)]))
    return RightVerdict(asked, verdict.allowed, verdict.rule or "none", why)


def _describe_rule(rule: Rule) -> str:
    parts = {
        "who": sorted(rule.who),
        "where": sorted(rule.where),
        "allow": rule.allow,
        "deny": rule.deny,
    }
    return "; ".join(f"{key} {', '.join(part)}" for key, part in parts.items() if part)


def _named_rights(config: Config) -> Iterator[str]:
    """Yield the rights to single things that ponte.toml names, as in `read:Orders`, each once. A
    pattern such as `read:C*` is judged like a name."""
    kinds = ("read", "propose", "approve")
    names = [f"{kind}:{name}" for name in config.tables for kind in kinds]
    names += [f"command:{slug}" for slug in config.quick_commands]
    names += [f"agent:{name}" for name in config.agents]
    for rule in (*config.rule_book.rules, *config.rule_book.channels.values()):
        names += [each for each in (*rule.allow, *rule.deny) if ":" in each]
    return iter(dict.fromkeys(names))
