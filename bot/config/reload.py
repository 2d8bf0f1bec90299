"""`ponte reload` and SIGHUP: reads ponte.toml again without interrupting a turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from bot.config.names import misspelt_names
from bot.config.ponte_toml import Config, LiveConfig, read_config
from bot.config.webhooks import check_secrets
from bot.operation_results import Reload
from bot.settings import Settings
from core.base.errors import SettingsError
from core.base.i18n import say
from core.domain.records import Health
from core.journal.peers import Peers
from core.people.audit import OPERATOR, Audit

log = structlog.get_logger("config")


def check_file(config: Config, path: Path) -> Health:
    """Return which file the configuration was read from, and whether it still exists."""
    if config.path is None:
        return Health("config", "off", say("no file {path}", path=path))
    if config.path.exists():
        return Health("config", "on", str(config.path))
    words = "{path} no longer exists. Its rules apply until Ponte stops. Restore the file."
    return Health("config", "failing", say(words, path=config.path))


class Reloader:
    """Reads ponte.toml again and replaces the live configuration."""

    def __init__(self, settings: Settings, live: LiveConfig, audit: Audit, peers: Peers) -> None:
        self._settings = settings
        self._live = live
        self._audit = audit
        self._peers = peers
        peers.on("reload", self._on_peer)

    def reload(self) -> Sequence[str]:
        """Read the file and use it from now on.

        Return the changed sections that take effect only at the next start. Raise SettingsError;
        then the old file stays in use.
        """
        settings, before, now = self._settings, self._live.current, self._read(required=True)
        self._live.current = now
        names = [face.name for face in settings.faces if face.section]
        later = [name for name in names if before.section(name) != now.section(name)]
        log.info("config reloaded", file=str(now.path))
        if misspelt := misspelt_names(now, settings):
            log.warning("config contains unknown names", problems=misspelt)
        if later:
            log.warning("config changes need a restart", sections=later)
        return later

    def on_hangup(self) -> None:
        """Handle SIGHUP. A wrong file changes nothing, and the log says why."""
        if self._try_to_reload():
            self._audit.note("config-reloaded", OPERATOR, file=self._settings.ponte_config.name)

    def check(self) -> Sequence[str]:
        """Return the faults of the file as it is now, each with its line, and misspelt names. The
        live configuration does not change."""
        is_chosen = "ponte_config" in self._settings.model_fields_set
        try:
            config = self._read(required=is_chosen or self._live.current.path is not None)
        except SettingsError as error:
            return error.words().splitlines()
        return misspelt_names(config, self._settings)

    def _read(self, *, required: bool) -> Config:
        path, faces = self._settings.ponte_config, self._settings.faces
        config = read_config(path, required=required, faces=faces)
        check_secrets(config, self._settings)
        return config

    async def health(self) -> Health:
        """Return which file is in force."""
        return check_file(self._live.current, self._settings.ponte_config)

    async def reload_everywhere(self) -> Reload:
        """Reload here, and have other processes read their own files. Raise SettingsError."""
        later = self.reload()
        await self._peers.notify("reload", "")
        misspelt = misspelt_names(self._live.current, self._settings)
        return Reload(str(self._settings.ponte_config), later, misspelt)

    async def _on_peer(self, _: str) -> None:
        self._try_to_reload()

    def _try_to_reload(self) -> bool:
        try:
            self.reload()
        except SettingsError as error:
            log.error("config is invalid; the previous one stays in use", error=str(error))
            return False
        return True
