"""The safety of a setup: who can access what, with a remedy. No service is asked, and nothing is
changed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from bot.config.approvers import describe_blind_approvers
from bot.config.ponte_toml import Config
from bot.config.reload import misspelt_names
from bot.home import PAGE_KEY_FILE, PSEUDONYMS_FILE, WEB_TOKEN_FILE, Home
from bot.settings import STORED_FILE, Settings
from core.base.i18n import plural, say
from core.base.openai import OPENAI_URL, ModelEndpoint
from core.integrations import SafetyFinding, has_daily_turns, is_place
from core.money.usage import PaidRun

_SECRET_FILES = (WEB_TOKEN_FILE, PAGE_KEY_FILE, PSEUDONYMS_FILE, STORED_FILE)
"""Only the user of Ponte's process may read these."""
_TOPICS = ("home", "settings", "token", "page", "rights", "limits")
"""The topics of findings, in the order of the report."""


EVERYBODY_IN_RULES = "everybody"
"""The word for everybody in the rules of ponte.toml."""
UNKNOWN_PEOPLE = frozenset({EVERYBODY_IN_RULES, "guests", "outsiders"})
"""Words in rules for people whom the operator does not know one by one."""
PEOPLE_WORDS = {EVERYBODY_IN_RULES: "everyone", "guests": "guests", "outsiders": "outsiders"}
"""The names of these people in sentences."""
NO_ADMINS = "admins: none, so no one can approve deletions"


def list_findings(settings: Settings, config: Config, home: Home) -> list[SafetyFinding]:
    """Return what is safe and unsafe in a setup, sorted by topic, each with its fix. An
    integration's warning that nothing limits its use (`is_uncapped`) is left out if an allowance in
    ponte.toml limits how many turns a day each person has there."""
    findings = [*_check_home(home), *_check_files(settings)]
    findings += _check_rights_and_caps(settings, config)
    for integration in settings.faces:
        # Empty `who` or `where` stand for everybody or everywhere.
        capped = any(
            allowance.of == "each person" and allowance.per == "day" and allowance.turns is not None
            and (not allowance.who or {integration.name, EVERYBODY_IN_RULES} & {*allowance.who})
            and (not allowance.where or integration.name in allowance.where)
            for allowance in config.allowances
        )  # fmt: skip
        # The integration's own settings are a part of `settings`.
        own = integration.safety(settings, settings, home)
        if config.rule_book.rules:
            text = "where no rule decides, {words}"
            own = (
                replace(one, words=say(text, words=one.words)) if one.topic == "rights" else one
                for one in own
            )
        findings += [one for one in own if not (capped and one.is_uncapped)]
    # Names in ponte.toml, as of tools and agents, that do not exist and so have no effect.
    misspelt = misspelt_names(config, settings)
    findings += [SafetyFinding("rights", words, "unsafe") for words in misspelt]
    findings += _check_rules(config, settings.ponte_admins)
    blind = describe_blind_approvers(config, settings)
    findings += [SafetyFinding("rights", words, "note") for words in blind]
    return sorted(findings, key=lambda one: _TOPICS.index(one.topic))


def _check_rights_and_caps(settings: Settings, config: Config) -> Iterator[SafetyFinding]:
    """Report who is admin, how many rules there are, and what limits usage and cost. A limit of
    money without a known price limits nothing, so that is reported, too. A finding without a level
    is "ok"."""
    admins = ", ".join(sorted(settings.ponte_admins))
    who = say("admins: {names}", names=admins) if admins else say(NO_ADMINS)
    yield SafetyFinding("rights", who)
    if places := sorted(n for n in settings.ponte_admins if is_place(n, settings.faces)):
        words = "PONTE_ADMINS: {names} are workspaces or channels and make no one an admin"
        yield SafetyFinding("rights", say(words, names=", ".join(places)), "note")
    if rules := len(config.rule_book.rules) + len(config.rule_book.channels):
        words = plural(
            "{count} rule in ponte.toml applies first. Run `ponte policy check` to see "
            "who can do what.",
            "{count} rules in ponte.toml apply first. Run `ponte policy check` to see "
            "who can do what.",
            rules,
        )
        yield SafetyFinding("rights", words)
    limits, chosen = config.limits, settings.ponte_daily_turns
    words = (
        "each message can lead to at most {costly} paid tool calls and {total} tool calls in total"
    )
    yield SafetyFinding("limits", say(words, costly=limits.costly_calls, total=limits.tool_calls))
    # Only a limit of money limits the cost.
    if any(allowance.money is not None for allowance in config.allowances):
        words = plural(
            "ponte.toml limits usage ({count} limit)",
            "ponte.toml limits usage ({count} limits)",
            len(config.allowances),
        )
        yield SafetyFinding("limits", words)
        if words := describe_unpriced(settings, config):
            yield SafetyFinding("limits", words, "note")
    elif settings.openai_api_key:  # without a key, the model's server takes no money
        words = "Spending has no limit. Set one with `[[allowances]]` in ponte.toml."
        yield SafetyFinding("limits", say(words), "note")
    # `chosen` is None if PONTE_DAILY_TURNS is not set. In it, 0 is no limit. If both are 0, each
    # platform reports that itself (`safety`).
    if chosen is not None and has_daily_turns(settings):
        each, all = (cap or say("no limit") for cap in (chosen.person, chosen.everybody))
        words = "messages per day: {each} per person, {all} in total"
        yield SafetyFinding("limits", say(words, each=each, all=all))


def describe_unpriced(settings: Settings, config: Config) -> str:
    """Return a warning that limits of money do not count some models in use, because no price of
    them is known; "" if there is no such model or no such limit."""
    place = ModelEndpoint(base_url=settings.openai_base_url or OPENAI_URL)
    # OpenAI's prices hold only on OpenAI's server (`official`).
    prices = replace(config.price_list, official=place.is_official)
    names = dict.fromkeys([settings.ponte_model, *(c.model for c in config.channels.values())])
    # The demo model answers on no server.
    unknown = [name for name in names if name and not (settings.demo or prices.find(name))]
    voice = settings.transcribe_model
    if any(settings.voice_server):
        place = ModelEndpoint(base_url=settings.voice_server[0] or OPENAI_URL)
    heard = PaidRun("transcription", voice, official=place.is_official)
    if voice and prices.run_cost(heard) is None:
        unknown.append(voice)
    is_limited = any(allowance.money is not None for allowance in config.allowances)
    if not is_limited or not unknown:
        return ""
    words = (
        "Ponte doesn't know the price of {models}. Limits in money count only the cost that "
        "the model's server reports. Set a price in ponte.toml (`[prices]`)."
    )
    return say(words, models=", ".join(unknown))


def _check_rules(config: Config, admins: Collection[str]) -> Iterator[SafetyFinding]:
    """Report rules of ponte.toml that give more, or leave fewer people to decide, than one may
    expect. A "note" is a choice that an operator should know about; a finding without it is
    "ok"."""
    # UNKNOWN_PEOPLE are sets such as guests. A rule without `who` is for everybody.
    for rule in config.rule_book.rules:
        who = sorted(rule.who & UNKNOWN_PEOPLE) if rule.who else [EVERYBODY_IN_RULES]
        if who and (rights := [right for right in rule.allow if right != "chat"]):
            text = "{rule} gives {who} these permissions: {rights}"
            names = ", ".join(say(PEOPLE_WORDS[one]) for one in who)
            words = say(text, who=names, rights=", ".join(rights), rule=rule.source)
            yield SafetyFinding("rights", words, "note")
    # Places where changes can be proposed, but nobody can decide on them.
    for place, place_rule in config.rule_book.channels.items():
        allowed = {right.partition(":")[0] for right in place_rule.allow}
        if "propose" in allowed and "approve" not in allowed:
            words = (
                "{place}: people can request changes but not decide on them, because `allow` "
                "doesn't contain `approve` ({rule})"
            )
            yield SafetyFinding("rights", say(words, place=place, rule=place_rule.source), "note")
    # Rows that change although nobody decides: with `access = "auto"`, a new row needs no approval,
    # and neither do updates of `auto_fields` by `auto_people`.
    open_tables = [name for name, table in config.tables.items() if table.access == "auto"]
    if open_tables:
        words = "creating one row at a time needs no approval in {tables}"
        yield SafetyFinding("rights", say(words, tables=", ".join(open_tables)), "note")
    for name, table in config.tables.items():
        if table.auto_fields and table.auto_people:
            text = (
                "{table}: {names} can update {fields} without approval, up to {count} rows "
                "an hour ({rule})"
            )
            words = say(
                text,
                table=name,
                names=", ".join(table.auto_people),
                count=table.auto_per_hour,
                fields=", ".join(table.auto_fields),
                rule=config.location("tables", name),
            )
            yield SafetyFinding("rights", words, "note")
    for name, table in config.tables.items():
        if table.approvers_only:
            text = "{table}: only {names} can decide on changes; other admins can't ({rule})"
            names, location = ", ".join(sorted(table.approvers)), config.location("tables", name)
            yield SafetyFinding("rights", say(text, table=name, names=names, rule=location))
        named = {one for each in table.approvers for one in config.groups.get(each, (each,))}
        deciders = named if table.approvers_only else named.union(admins)
        # A user group or role is one name for any number of people.
        if len(deciders) < table.approvals:
            text = (
                "{table}: each change needs {count} approvals, and ponte.toml and PONTE_ADMINS "
                "name {number}. Unless these include a user group or role, no one can approve."
            )
            words = say(text, table=name, count=table.approvals, number=len(deciders))
            yield SafetyFinding("rights", words, "note")


def _check_home(home: Home) -> Iterator[SafetyFinding]:
    """Report whether other users of this machine can read the data folder or a secret file in it. A
    finding without a level is "ok"."""
    try:
        status = home.path.stat()
    except FileNotFoundError:
        yield SafetyFinding(
            "home", say("{path} will be created for this user only", path=home.path)
        )
        return
    except OSError as error:
        words = say("can't check {path} ({why})", path=home.path, why=error.strerror)
        yield SafetyFinding("home", words, "note")
        return
    if status.st_uid != os.geteuid():
        words = (
            "{path} belongs to another user (uid {uid}). Run Ponte as that user, or set "
            "PONTE_HOME to a folder of your own."
        )
        yield SafetyFinding("home", say(words, path=home.path, uid=status.st_uid), "unsafe")
        return
    # 0o077 are all rights of other users. The mode of a missing file counts as 0.
    open_paths = [home.path] if status.st_mode & 0o077 else []
    open_paths += [path for name in _SECRET_FILES if _read_mode(path := home.path / name) & 0o077]
    for path in open_paths:
        mode = "700" if path == home.path else "600"
        words = say("Other users can open {path}. Run `chmod {mode} {path}`.", path=path, mode=mode)
        yield SafetyFinding("home", words, "unsafe")
    if not open_paths:
        yield SafetyFinding("home", say("other users can't open {path}", path=home.path))


def _check_files(settings: Settings) -> Iterator[SafetyFinding]:
    """Report settings files that other users of this machine can write or read. Whoever can write
    them controls Ponte; whoever can read them may get its secrets. A file in a folder that others
    cannot enter is safe in any mode."""
    env = settings.env_file
    # On misspelt names, unreadable lines and corrected values.
    for words in settings.notes:
        yield SafetyFinding("settings", words, "note")
    if env.path is not None and env.why:
        words = say("{path} isn't used ({why})", path=env.path, why=env.why)
        yield SafetyFinding("settings", words, "note")
    setting_files = [env.path] if env.path is not None and not env.why else []
    for path in (*setting_files, settings.ponte_config):
        mode = _read_mode(path) if _is_reachable(path) else 0
        # The mode's bits for other users: 2 is to write, 4 to read. Those for the file's group are
        # not checked.
        if mode & 0o002:
            words = say("Other users can change {path}. Run `chmod o-w {path}`.", path=path)
            yield SafetyFinding("settings", words, "unsafe")
        elif mode & 0o004 and path == env.path and env.secret:
            words = "{path} contains secrets, and other users can read it. Run `chmod 600 {path}`."
            yield SafetyFinding("settings", say(words, path=path), "unsafe")
        elif not mode & 0o004 and _read_mode(path):  # 0: there is no such file
            yield SafetyFinding("settings", say("other users can't read {path}", path=path))


def _read_mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0


def _is_reachable(path: Path) -> bool:
    return all(_read_mode(folder) & 0o001 for folder in path.parents)
