"""What `ponte doctor` says of safety: who can reach what, and what to mend.

`unsafe` is what docs/security.md calls so; a `note` is a choice that an operator should know of.
Nothing is asked of a service, and nothing is changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from bot.config import Config
from bot.home import PSEUDONYMS, WEB, Home
from bot.rights import RIGHTS
from bot.settings import TOKEN_LENGTH, Settings, is_loopback, plain
from core.errors import PonteError
from core.policy import EVERYBODY

_DIFFERENT = 8
"""Characters of a token that differ at least; `openssl rand -hex 16` has fewer once in millions."""
_KEYS = (WEB, PSEUDONYMS)


@dataclass(frozen=True, slots=True)
class Finding:
    topic: str
    words: str
    level: Literal["ok", "note", "unsafe"] = "ok"


def findings(settings: Settings, config: Config, home: Home) -> Iterator[Finding]:
    """Each with its mend."""
    yield from _home(home)
    yield from _files(settings)
    yield from _secrets(settings, home)
    yield from _page(settings)
    yield from _rights(settings, config)
    yield from caps(settings, config)


def caps(settings: Settings, config: Config) -> Iterator[Finding]:
    """Also for the start screen."""
    limits, chosen = config.limits, settings.ponte_daily_turns
    yield Finding(
        "caps",
        f"a turn makes at most {limits.costly_calls} tool calls that cost and "
        f"{limits.tool_calls} in all",
    )
    mend = "set PONTE_DAILY_TURNS, as in 100/2000 (per person / in all)"
    if chosen is not None and (chosen.person or chosen.everybody):
        told = (
            f"{chosen.person or 'any number'} for each person, {chosen.everybody or 'any'} in all"
        )
        yield Finding("caps", f"turns a day: {told}")
        return
    if settings.slack != "off":
        yield Finding("caps", f"Slack's members have no cap on turns a day; {mend}", "note")
    if settings.discord_token and chosen is not None:
        yield Finding("caps", f"on Discord strangers have no cap on turns a day; {mend}", "unsafe")
    elif settings.discord_token and EVERYBODY in settings.ponte_allow:
        words = "PONTE_ALLOW names everybody (*), so strangers on Discord have no cap on turns"
        yield Finding("caps", f"{words} a day; {mend}", "unsafe")
    elif settings.discord_token:
        cap = RIGHTS["discord"].unnamed
        most = f"{cap.person}/{cap.everybody}"
        yield Finding("caps", f"on Discord whoever is not named has {most} turns a day")


def _home(home: Home) -> Iterator[Finding]:
    try:
        found = home.path.stat()
    except FileNotFoundError:
        yield Finding("home", f"{home.path} will be made for this user alone")
        return
    except OSError as error:
        yield Finding("home", f"{home.path} cannot be looked at ({error.strerror})", "note")
        return
    if found.st_uid != os.geteuid():
        words = f"{home.path} belongs to another user (uid {found.st_uid}): run Ponte as that user"
        yield Finding("home", f"{words}, or set PONTE_HOME to a folder of your own", "unsafe")
        return
    opened = [home.path] if found.st_mode & 0o077 else []
    opened += [path for name in _KEYS if _mode(path := home.path / name) & 0o077]
    for path in opened:
        mode = "700" if path == home.path else "600"
        yield Finding("home", f"{path} is open to other users: chmod {mode} {path}", "unsafe")
    if not opened:
        yield Finding("home", f"{home.path} is closed to other users")


def _files(settings: Settings) -> Iterator[Finding]:
    """What steers Ponte: whoever may write it is the operator."""
    env = settings.env_file
    if env.path is not None and env.why:
        yield Finding("settings", f"{env.path} is not read: {env.why}", "note")
    read = [env.path] if env.path is not None and not env.why else []
    for path in (*read, settings.ponte_config):
        mode = _mode(path) if _is_reachable(path) else 0
        if mode & 0o002:
            yield Finding(
                "settings", f"{path} can be written by others: chmod o-w {path}", "unsafe"
            )
        elif mode & 0o004 and path == env.path and env.secret:
            words = f"{path} holds secrets and can be read by others: chmod 600 {path}"
            yield Finding("settings", words, "unsafe")
        elif _mode(path):
            yield Finding("settings", f"{path} is not open to others")


def _secrets(settings: Settings, home: Home) -> Iterator[Finding]:
    """Those by which others are let in: issued ones are their issuer's to make long enough."""
    if settings.ponte_web == "on":
        try:
            token = plain(settings.ponte_web_token) or home.kept_web_token()
        except PonteError as error:
            yield Finding("token", str(error), "unsafe")
            return
        if not token:
            yield Finding("token", "the page's token is made when Ponte first starts")
        elif len(set(token)) < _DIFFERENT:
            words = "the page's token repeats itself: write a random one (openssl rand -hex 16)"
            yield Finding("token", words, "unsafe")
        else:
            yield Finding("token", f"the page's token has {len(token)} characters")
    if settings.slack == "http" and len(plain(settings.slack_signing_secret)) < TOKEN_LENGTH:
        words = "SLACK_SIGNING_SECRET is shorter than Slack's are (32 characters): copy it anew"
        yield Finding("token", words, "unsafe")


def _page(settings: Settings) -> Iterator[Finding]:
    if settings.ponte_web == "off":
        return
    public = urlsplit(settings.ponte_web_url or "")
    here = is_loopback(settings.ponte_web_host)
    known = not public.hostname or is_loopback(public.hostname)
    if public.scheme == "https":
        words = f"the page is reached over TLS, as {settings.ponte_web_url}"
        if not here:
            words += f"; let nobody but the proxy reach port {settings.ponte_web_port}"
        yield Finding("page", words)
    elif here and known:
        yield Finding("page", "the page listens on this machine alone, and asks for its token")
    else:
        what = "PONTE_WEB_URL is not https" if here else (
            f"PONTE_WEB_HOST={settings.ponte_web_host} listens beyond this machine")  # fmt: skip
        yield Finding(
            "page",
            f"{what}, so the token and all that is said can be read on the way: put a proxy with "
            "TLS in front and set PONTE_WEB_URL=https://…, or listen on 127.0.0.1",
            "unsafe",
        )


def _rights(settings: Settings, config: Config) -> Iterator[Finding]:
    """Who may do what, by surface."""
    allow, admins = settings.ponte_allow, settings.ponte_admins
    yield Finding("rights", f"admins: {_names(admins) or 'nobody, so nobody may approve deletes'}")
    yield Finding(
        "rights", "terminal: who can open the home's socket may do everything, as its owner"
    )
    if settings.ponte_web == "on":
        yield Finding("rights", "web: who has the token may do everything, as its owner")
    if settings.slack != "off":
        named = _names(name for name in allow if name.startswith("slack:"))
        more = f"; change data too: {named}" if named else "; nobody may change data"
        if EVERYBODY in allow:
            more = "; change data too, because PONTE_ALLOW names everybody (*)"
        words = "slack: members may chat, read tables, run code and quick commands"
        yield Finding("rights", f"{words}{more}")
        yield _outsiders(allow)
    if settings.discord_token:
        named = _names(name for name in allow if name.startswith("discord:"))
        more = f"; everything: {named}" if named else ""
        if EVERYBODY in allow:
            words = "discord: everybody, strangers too, may do everything: name servers or roles"
            yield Finding("rights", f"{words} instead of * in PONTE_ALLOW", "note")
        else:
            yield Finding("rights", f"discord: everybody may chat{more}")
    if rows := config.changes.auto_create_rows:
        words = f"creates of up to {rows} rows need nobody's approval (auto_create_rows)"
        yield Finding("rights", words, "note")
    open_tables = [name for name, table in config.tables.items() if table.access == "auto"]
    if open_tables:
        words = f"one new row at a time needs nobody's approval in {', '.join(open_tables)}"
        yield Finding("rights", words, "note")
    if settings.stackspot and settings.stackspot_unknown == "allow":
        words = "quick commands and agents that ponte.toml does not name may run: STACKSPOT_UNKNOWN"
        yield Finding("rights", words, "note")


def _outsiders(allow: frozenset[str]) -> Finding:
    """On Slack: guests, and people of other organisations in shared channels."""
    if EVERYBODY in allow:
        words = "guests and people of other organisations may do everything, because of * in "
        return Finding("rights", f"slack: {words}PONTE_ALLOW: name people or groups", "note")
    named = _names(name for name in allow if name.startswith("slack:"))
    if named:
        words = f"only who is named so: {named}"
        return Finding("rights", f"slack: of guests and people of other organisations, {words}")
    return Finding("rights", "slack: guests and people of other organisations may not chat")


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _mode(path: Path) -> int:
    """0 where there is nothing."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0


def _is_reachable(path: Path) -> bool:
    """Whether others can come to it at all: a closed folder above it closes it too."""
    return all(_mode(folder) & 0o001 for folder in path.parents)
