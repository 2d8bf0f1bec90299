"""The name of the person who owns this Ponte, as cards, the model and the audit log show it."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress

from core.base.errors import NotStored
from core.base.text import to_one_line
from core.journal.peers import Peers
from core.people.owner_name import SqlOwnerName

OWNER_RENAMED_TOPIC = "owner-name"
"""The notification between processes that the owner changed their name."""
MAX_OWNER_NAME_CHARS = 60


class OwnerName:
    """The `OwnerNames` port. The name from the page is used first, then the name of the system
    user."""

    def __init__(self, store: SqlOwnerName, peers: Peers) -> None:
        self._default = _clean_name(system_user_name())
        self._store = store
        self._peers = peers
        self._stored = ""
        peers.on(OWNER_RENAMED_TOPIC, self._on_renamed)

    @property
    def current(self) -> str:
        """The owner's name; "" only if the system user has no name either."""
        return self._stored or self._default

    async def load(self) -> None:
        """Read the stored name. Raise NotStored."""
        self._stored = _clean_name(await self._store.read())

    async def change(self, name: str) -> None:
        """Store a name; "" returns to the default. Raise NotStored."""
        await self._store.write(_clean_name(name))
        await self.load()
        with suppress(NotStored):  # the other processes read it at their next start
            await self._peers.notify(OWNER_RENAMED_TOPIC, "")

    async def _on_renamed(self, _: str) -> None:
        with suppress(NotStored):
            await self.load()


def system_user_name() -> str:
    """Return the full name of the system user that runs this process, else the login name; ""
    if the system has no entry for this user, as in some containers."""
    try:
        user = pwd.getpwuid(os.geteuid())
    except KeyError:
        return ""
    # The first field of GECOS is the full name; "&" in it stands for the login name (passwd(5)).
    full = user.pw_gecos.partition(",")[0].replace("&", user.pw_name.capitalize())
    return full.strip() or user.pw_name


def _clean_name(name: str) -> str:
    return to_one_line(name, MAX_OWNER_NAME_CHARS).strip()
