"""How every command starts, and the two ways to run: until a signal, or for one command."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import structlog

from bot.compose import compose
from bot.config.ponte_toml import Config, read_config
from bot.config.reload import check_secrets
from bot.home import Home, HomeUnusable, Start
from bot.integrations import FACES, Faces
from bot.logs import set_up_logging
from bot.settings import find_early, find_home, load
from bot.setup.restart import Restart
from bot.setup.stored import UNDO_SECONDS, StoredSettings
from core.base.errors import HomeTaken, PonteError, SettingsError
from core.base.i18n import LANGUAGE, READER_IS_OWNER, TIME_ZONE, nearest_locale, say
from core.domain.records import DoctorFinding, ModelRequests

log = structlog.get_logger("process")
M_ARENA_MAX = -8
"""An option of glibc's malloc (mallopt(3)): how many heaps threads may have."""


def start(*, quiet: bool = False, asks_holder: bool = False, faces: Faces = FACES) -> Start:
    """Read the settings and ponte.toml, and set up logging and the language. Raises SettingsError.

    Files that the process writes from now on are readable by this user only. `quiet`: nothing is
    logged unless a log level was set. `asks_holder`: the command asks the process that holds the
    data folder, so that errors of ponte.toml matter only if there is none; they are then in
    `Start.fault`.
    """
    os.umask(0o077)
    with suppress(OSError):  # `load` reports it
        LANGUAGE.set(nearest_locale(find_early("ponte_locale") or LANGUAGE.get()))
    settings = load(faces)
    # Not set: the language that the shell's variables chose before (`bot/cli/main.py`).
    if "ponte_locale" not in settings.model_fields_set:
        settings = settings.model_copy(update={"ponte_locale": LANGUAGE.get()})
    LANGUAGE.set(settings.ponte_locale)
    TIME_ZONE.set(settings.ponte_timezone)
    # Whoever can run this command has the whole home folder, so texts address the owner.
    READER_IS_OWNER.set(True)
    set_up_logging(settings, quiet=quiet)
    # `why` the `.env` is not read, such as that another user owns it. `run`, which is not `quiet`,
    # says it on its start screen.
    if settings.env_file.why and quiet:
        file = settings.env_file
        sys.stderr.write(say("{path} isn't used ({why})", path=file.path, why=file.why) + ".\n")
    # A ponte.toml that PONTE_CONFIG names must exist; the one at the default path may be missing.
    asked_for = "ponte_config" in settings.model_fields_set
    # The default for a user without a home folder is the root folder, whose `name` is "".
    if not settings.ponte_home.name:
        raise SettingsError("PONTE_HOME: this user has no home folder. Set PONTE_HOME to a folder.")
    home = Home(settings.ponte_home)
    try:
        config = read_config(settings.ponte_config, required=asked_for, faces=faces)
        check_secrets(config, settings)
    except SettingsError as fault:
        if not asks_holder:
            raise
        return Start(settings, Config(), home, fault)
    return Start(settings, config, home)


def serve(*, takes: bool = True, works: bool = True) -> int:
    """Run Ponte until a signal, and return the exit code. `takes`: this process accepts messages;
    `works`: it runs their turns. If the setup page asked for a restart, replace this process by a
    new start instead. Raises SettingsError, HomeTaken, HomeUnusable."""
    restart = Restart()
    # Until `run` handles the signal itself, SIGTERM raises SystemExit, so that the trial of new
    # settings is postponed below and does not count as failed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with try_stored_settings(restart) as confirm:
        begun = start()
        if not (takes and works) and begun.settings.database_url is None:
            raise SettingsError(
                "DATABASE_URL isn't set, so one process does everything: `ponte run`. To run "
                "several processes, set it to postgresql://… (docs/guides/scaling.md)."
            )
        code = asyncio.run(run(begun, restart, confirm, takes=takes, works=works))
    if restart.is_requested:
        restart.execute()
    return code


@contextmanager
def try_stored_settings(restart: Restart) -> Iterator[Callable[[], None]]:
    """Yield the function that confirms the settings of the setup page, for the block to call once
    the page serves. New settings are on trial until then.

    If the block fails before that with new settings, start again with those before them. If the
    process dies, the next start does (bot/setup/stored.py).
    """
    stored = None
    with suppress(OSError):  # the start itself reports them
        folder = find_home()  # None: the start reports that, too
        stored = StoredSettings(Home(folder)) if folder else None
    is_trial = False
    with suppress(HomeUnusable):  # as on a full disk, on which an untried start is better than none
        is_trial = stored is not None and stored.begin_trial()
    if stored is None or not is_trial:
        yield lambda: None
        return
    try:
        yield stored.confirm
    except Exception as error:
        if stored.trial is None or stored.trial.state != "starting":  # they had been confirmed
            raise
        why = error.words() if isinstance(error, PonteError) else type(error).__name__
        stored.fail(why)
        words = (
            "Ponte can't start with the new settings ({why}), so it's starting with the "
            "previous ones."
        )
        sys.stderr.write(say(words, why=why) + "\n")
        restart.execute()  # does not return
    finally:
        with suppress(HomeUnusable):
            # After Ctrl+C, too, nothing is known about them: the next start tries them again.
            # Settings that were confirmed, or failed, stay so.
            stored.postpone()


async def run(
    begun: Start,
    restart: Restart | None = None,
    on_serving: Callable[[], None] | None = None,
    *,
    takes: bool = True,
    works: bool = True,
) -> int:
    """Serve everything that is configured until SIGTERM or SIGINT, or until a restart is requested,
    and return the exit code. A second signal skips the wait for running turns.

    `on_serving` is called once the page serves. `takes`: this process accepts messages. `works`: it
    runs turns. The data folder stays locked until the end.
    """
    settings, config, home = begun.settings, begun.config, begun.home
    stop, hurry = asyncio.Event(), asyncio.Event()

    # All threads share one heap of malloc: 5 to 10 MB less, at the same speed. Importing the SDKs
    # in threads would give each its own heap, which stays. Only glibc has this.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    loop = asyncio.get_running_loop()

    def end() -> None:
        # The first signal during a restart only prevents the new start: this run ends already.
        if not (restart and restart.cancel()):
            (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    async with AsyncExitStack() as closing:
        closing.enter_context(home.take())

        async def begin() -> None:
            """Build Ponte, start it, and write the start screen. `closing` stops it, also if a
            later step fails."""
            app = await compose(
                settings,
                config,
                home,
                accepts=takes,
                runs_turns=works,
                check=_check_everything,
                # Logs mask the secrets that the page made for itself, such as its token.
                on_secrets=lambda own: set_up_logging(settings.model_copy(update=dict(own))),
                restart=restart,
            )
            closing.push_async_callback(app.stop, hurry)
            loop.add_signal_handler(signal.SIGHUP, app.reloader.on_hangup)
            await app.start()
            if restart:
                restart.begin(stop, app.surfaces.hand_over)
            if on_serving:
                on_serving()
            # Each change of these settings ends with another start.
            stored = StoredSettings(home)
            stored.drop_last()
            loop.call_later(UNDO_SECONDS + 1, stored.drop_last)
            # A full collection would walk what a start leaves: 50 ms in which all waits.
            gc.freeze()
            # Rare collections suffice: a turn's objects form no cycles
            # (tests/core/turn/test_turn.py).
            gc.set_threshold(5_000, 20, 20)
            try:
                await app.announce()
            except OSError as error:  # as on a full disk, or of a pipe that nobody reads
                log.warning("could not write the start screen to stdout", error=str(error))
                # Later writes to stdout, and its flush at the end, would fail too.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

        beginning, stopping = asyncio.create_task(begin()), asyncio.create_task(stop.wait())
        await asyncio.wait({beginning, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            beginning.cancel()  # a signal came before the start was complete
        with suppress(asyncio.CancelledError):
            await beginning  # raises what prevented the start
            await stopping
    if not beginning.cancelled():
        log.info("Ponte stopped")
    return 0


def _check_everything(begun: Start, *model: ModelRequests) -> AsyncIterator[DoctorFinding]:
    from bot.doctor.checks import check_everything

    return check_everything(begun, *model)


@asynccontextmanager
async def local(begun: Start, *, prepares: bool = False) -> AsyncIterator[Path]:
    """Yield the Unix socket of the process that holds the data folder, for a command of the shell.

    If no process does, this one takes the folder and serves the socket while the block runs, but no
    chat platform and no page. `prepares`: it also makes ready what only a turn needs, such as a
    check of the model's server. Raises SettingsError if ponte.toml has errors then.
    """
    async with AsyncExitStack() as stack:
        # Held: the process that has it serves the socket.
        with suppress(HomeTaken):
            stack.enter_context(begun.home.take())
            if begun.fault:
                raise begun.fault
            # Commands can ask it for the checks of `ponte doctor` (`check`).
            app = await compose(
                begun.settings, begun.config, begun.home, surfaces=False, check=_check_everything
            )
            stack.push_async_callback(app.stop)
            await app.start(prepares=prepares)
        # A path short enough for a Unix socket, perhaps through an open folder.
        yield Path(stack.enter_context(begun.home.address()))
