"""Why there is no safe place to run code in, and what the operator can do: by what the system said.

The sentences of bubblewrap: https://github.com/containers/bubblewrap/blob/main/bubblewrap.c.
"""

from __future__ import annotations

from core.words import say

NO_BWRAP = "bubblewrap is not installed: `apt install bubblewrap` (or your system's package)"
NOT_LINUX = "safe places to run code in need Linux; this is {system}"
NO_TABLE = "no filter is known for this processor ({machine}): x86_64 and aarch64 have one"
NO_LANDLOCK = (
    "this Linux has no Landlock (5.13 or later, with `landlock` in /sys/kernel/security/lsm)"
)
DISHONEST = "it did not hold: the probe {what}"
MUTE = "the probe ended without an answer"

_NAMESPACES = (
    "this machine lets no ordinary user make namespaces: "
    "`sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000`; "
    "in a container its runtime decides"
)
_APPARMOR = (
    "AppArmor takes namespaces their rights: give /usr/bin/bwrap a profile with `userns`, "
    "or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
)
_RECOGNISED = (
    ("No such file or directory: 'bwrap'", NO_BWRAP),
    ("No permissions to create new namespace", _NAMESPACES),
    ("Creating new namespace failed", _NAMESPACES),
    ("setting up uid map", _APPARMOR),
    ("setgroups", _APPARMOR),
    ("Failed to make / slave", _APPARMOR),
    ("loopback: Failed RTM_NEWADDR", _APPARMOR),
    ("Can't mount proc", "this container hides parts of /proc, so that no new one can be mounted"),
    ("Unknown option", "bubblewrap is too old: 0.8 or later is needed"),
    ("Can't find source path", "the sandbox's Python cannot be read by others: {said}"),
    ("Permission denied: '", "the sandbox's Python cannot be read by others: {said}"),
    ("ModuleNotFoundError", "the sandbox's Python is broken: {said}"),
    ("Operation not permitted", "this bot is root and may not become another user: {said}"),
    ("Invalid argument", "this bot is root and cannot become another user: {said}"),
)


def worded(cause: str) -> str:
    """The operator's words for what a program said that did not start."""
    said = cause.strip().splitlines()[-1] if cause.strip() else ""
    for needle, words in _RECOGNISED:
        if needle in cause:
            return say(words, "en", said=said)
    return said
