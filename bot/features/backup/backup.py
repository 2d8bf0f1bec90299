"""`ponte backup` and `ponte restore`: a home as it was at one moment, in one file.

The moment is that of one read transaction on `ponte.db`. Files are written before their rows and
removed after them, so they are linked right after the transaction. If one is missing, its
conversation was forgotten meanwhile, and a new moment is taken. `threads.db` is left out: it
can be lost.

Work that was unfinished at that moment has most likely ended since: the message was answered, the
proposal approved. Continuing it would do it a second time, so all of it is closed.

Closing posts nothing. The author of a message is notified with their next message in that
conversation, and cards stay as they are in their channels. The rows of a partly applied change are
recorded as unknown.

`tar tzf FILE` lists it. Nothing in a file is trusted. A member is accepted only as a plain file,
under a name that a home uses, with the size and the SHA-256 in the manifest.
"""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import stat
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from bot import __version__
from bot.home import ASIDE_PREFIX, HomeUnusable, Start, sync_folder
from bot.integrations import FACES
from bot.settings import STORED_FILE
from bot.stores import SCHEMA, Stores
from core.base.errors import (
    RESTORED_REASON,
    BadInput,
    HomeTaken,
    NotStored,
    PonteError,
    Restored,
    Superseded,
)
from core.base.i18n import format_size, plural, say, use_locale
from core.base.private_files import create_file
from core.changes.ledger import SqlLedger
from core.domain.messages import Answer, decode_json, encode_json
from core.integrations import ChatIntegration, describe_read_error
from core.journal.journal import Journal
from core.journal.turn_rows import IS_OPEN
from core.people.audit import OPERATOR
from core.schedules.runs import close_schedules
from core.store import schema as snapshot
from core.store.database import Database, SqlConnection, select_values
from core.store.schema import DifferentSchema, find_foreign_entry
from core.tools.sample import SAMPLE_FILE

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1
BACKUP_NAMES = re.compile(
    r"ponte\.db|sample\.db|audit\.log(\.[0-9]{1,3})?"
    r"|pseudonyms\.key|page\.key|web-token|settings\.env|files/[0-9A-Za-z]{1,2}/[0-9A-Za-z]{1,64}"
)
"""The names in a home that a backup contains. A home of Ponte 0.1.0 has the audit log in files."""
_MAX_MANIFEST_BYTES = 64 << 20
_MAX_EXTENDED_HEADER_BYTES = 64 << 10
"""The limit of a header beyond an entry's own 512 bytes; a backup's hold a long size at most."""
_PIECE_BYTES = 1 << 20
_SAYS_NOTHING = "its list of contents is missing"
_GZIP_MARK = b"\x1f\x8b"
"""A backup begins with these bytes (RFC 1952)."""
_COMPRESSION_LEVEL = 3
"""zlib's level: a tenth larger than with the best one, and several times as fast."""


class DamagedBackup(PonteError):
    """A file to restore is no backup, or was changed or cut."""

    code = "damaged"
    sentence = (
        "{file} is damaged or isn't a Ponte backup: {why}. Nothing was changed. Use another backup."
    )


class DifferentBackup(PonteError):
    """This version of Ponte cannot use the backup's database."""

    code = "different_backup"
    sentence = (
        "{file} was made by another version of Ponte ({version}), and this version can't use it. "
        "Nothing was changed. Install that version, then restore the backup with it."
    )


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file's size in bytes, and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of a backup, which is its first file.

    `schema` and `fingerprint` are the version and the hash of its database's schema
    (core/store/schema.py). `created_at` is the moment of the backup (ISO 8601, UTC).
    `is_ponte_stopped`: no Ponte ran then. `rows` counts rows by table of `ponte.db`. `members` are
    the other files. `lost_files` are the ids of files whose bytes the data folder did not have.
    """

    format: int
    version: str
    schema: int
    fingerprint: str
    created_at: str
    is_ponte_stopped: bool
    rows: Mapping[str, int]
    members: Mapping[str, ArchiveMember]
    lost_files: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The size of all files together, in bytes."""
        return sum(member.size for member in self.members.values())


Write = Callable[[bytes], object]


def members(folder: Path) -> Mapping[str, ArchiveMember]:
    """Return size and SHA-256 of each file in and below a folder, by its relative name."""
    file_paths = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        file_paths[str(path.relative_to(folder))] = ArchiveMember(path.stat().st_size, digest)
    return file_paths


def write_archive(folder: Path, manifest: Manifest, out: BinaryIO) -> None:
    """Write a compressed tar archive of the manifest and then of the folder's files that it lists.
    Raises OSError."""
    manifest_bytes = encode_json(manifest).encode()
    with (
        # `w|` writes a stream from beginning to end, since `out` may be a pipe. The header of gzip
        # gets no file name ("") and no time (0).
        gzip.GzipFile("", "wb", _COMPRESSION_LEVEL, out, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        tar.addfile(_tar_entry(MANIFEST_NAME, len(manifest_bytes)), io.BytesIO(manifest_bytes))
        for name, member in manifest.members.items():
            with (folder / name).open("rb") as file:
                tar.addfile(_tar_entry(name, member.size), file)


def check(source: BinaryIO, name: str) -> Manifest:
    """Read a backup to its end and return its manifest, without storing anything: so a file that
    was just written is known to be complete. Raises DamagedBackup, DifferentBackup.
    """
    return _read_archive(source, name, lambda manifest: None, lambda member: nullcontext(len))


def extract_archive(
    source: BinaryIO, name: str, folder: Path, begin: Callable[[Manifest], None]
) -> Manifest:
    """Extract the archive's files into the empty `folder`, readable by this user only.

    `name` is the archive's in error messages. `begin` gets the manifest before anything is written,
    and may raise. Raises DamagedBackup, OSError if a file cannot be written, and whatever `begin`
    raises.
    """

    @contextmanager
    def put(member: str) -> Iterator[Write]:
        path = folder / member
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())

    return _read_archive(source, name, begin, put)


class _ArchiveEntry(tarfile.TarInfo):
    """An entry of a tar archive that refuses what Python would read whole into the memory: a small
    compressed archive can hold gigabytes of extended headers (PAX, GNU) and of lists of the parts
    of a sparse file.

    Each version of Python calls the two overridden methods; newer ones no longer call
    TarInfo.frombuf.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Return the entry with what its extended headers say. Raises tarfile.ReadError for a too
        large one, and for a sparse file."""
        is_long = not self.isreg() and self.size > _MAX_EXTENDED_HEADER_BYTES
        if is_long or self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("long header")
        entry: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return entry

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise tarfile.ReadError("sparse file")


def _read_archive(
    source: BinaryIO,
    name: str,
    begin: Callable[[Manifest], None],
    put: Callable[[str], AbstractContextManager[Write]],
) -> Manifest:
    """Read a backup from its beginning to its end, and return its manifest. `begin` gets the
    manifest first. `put` opens the place where a file of the archive is written, by its name.

    Anybody could have changed the archive. So it may contain only what its manifest lists, each
    once, as plain files with the listed sizes and checksums. Raises DamagedBackup, DifferentBackup.
    """
    try:
        with (
            gzip.GzipFile(fileobj=source, mode="rb") as zipped,
            # `_ArchiveEntry` refuses headers that would unpack to gigabytes in the memory.
            tarfile.open(fileobj=zipped, mode="r|", tarinfo=_ArchiveEntry) as tar,
        ):
            manifest = _read_manifest(tar, name)
            begin(manifest)
            missing = dict(manifest.members)
            while entry := tar.next():
                member, entry_name = missing.pop(entry.name, None), repr(entry.name[:80])
                if member is None or not BACKUP_NAMES.fullmatch(entry.name):
                    words = "it contains {what}, which doesn't belong in a backup"
                    raise DamagedBackup(file=name, why=say(words, what=entry_name))
                # A sparse file of a few bytes could unpack to any size.
                is_same = entry.isreg() and not entry.issparse() and entry.size == member.size
                if is_same:
                    with put(entry.name) as write:
                        is_same = _copy_member(tar, entry, write) == member.sha256
                if not is_same:
                    why = say("{what} doesn't match its checksum", what=entry_name)
                    raise DamagedBackup(file=name, why=why)
            if missing:
                raise DamagedBackup(file=name, why=say("{what} is missing", what=min(missing)))
            # At the end, gzip compares its own checksum.
            while zipped.read(_PIECE_BYTES):
                pass
    # RecursionError: `tarfile` calls itself for each extended header that follows another one.
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError, RecursionError) as error:
        raise DamagedBackup(file=name, why=say("it's incomplete")) from error
    return manifest


def _read_manifest(tar: tarfile.TarFile, name: str) -> Manifest:
    """Return the manifest, the first member of each backup, so that a reader can refuse a backup
    before it writes anything. `name` is the archive's in error messages. Raises DamagedBackup if
    there is no readable manifest, DifferentBackup if it has another format."""
    entry = tar.next()
    is_plain = entry is not None and entry.name == MANIFEST_NAME and entry.isreg()
    if entry is None or not is_plain or entry.size > _MAX_MANIFEST_BYTES:
        raise DamagedBackup(file=name, why=say(_SAYS_NOTHING))
    manifest_file = tar.extractfile(entry)
    try:
        values = json.loads(manifest_file.read() if manifest_file else b"")
        # A manifest of another `format` may have other fields, so only the version of Ponte is
        # read, for the error. It is cut, because nothing has checked it.
        if values["format"] != FORMAT_VERSION:
            raise DifferentBackup(file=name, version=str(values["version"])[:40])
        return decode_json(Manifest, json.dumps(values))
    # RecursionError: JSON that is nested too deeply.
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedBackup(file=name, why=say(_SAYS_NOTHING)) from error


def _copy_member(tar: tarfile.TarFile, entry: tarfile.TarInfo, write: Write) -> str:
    digest, file = hashlib.sha256(), tar.extractfile(entry)
    while file and (piece := file.read(_PIECE_BYTES)):
        digest.update(piece)
        write(piece)
    return digest.hexdigest()


def _tar_entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


_RESTORED = (
    "The proposal {id} does not count any more: this system was set back to a backup in which "
    "nobody had decided on it. Whether it was carried out since is not known here; read the rows "
    "before you propose it again."
)


async def close_unfinished(database: Database) -> tuple[int, int, int]:
    """Close all unfinished turns, open proposals and changes that are being applied, because most
    of them have ended since the backup: to go on with them could do them twice. Return how many
    turns and proposals were closed, and how many schedules were paused.

    Call it before anything else uses the database. Raises NotStored.
    """
    journal, ledger = Journal(database), SqlLedger(database)
    open_turns = await database.read(
        lambda c: select_values(c, f"SELECT seq FROM inbox WHERE {IS_OPEN} ORDER BY seq")  # noqa: S608
    )
    for seq in open_turns:
        # Undeliverable, with an apology as its answer if it has none.
        try:
            turn = await journal.begin(seq)  # None: it has ended
            if turn and turn.answer is None:
                with use_locale(turn.message.locale):
                    words = Restored().words()
                answer = Answer(words, status="failed", code=RESTORED_REASON)
                # None: no round of the model is left to record. "": the answer is not posted now.
                await journal.record_answer(turn, answer, None, "")
            if turn:
                await journal.end_turn(turn, "undeliverable", RESTORED_REASON)
        except Superseded:  # its conversation was forgotten while it ran
            sql = "UPDATE inbox SET state = 'withdrawn' WHERE seq = ?"
            await database.write(lambda c: c.execute(sql, (seq,)).close())  # noqa: B023
    waiting = await ledger.list_waiting_for_people()
    for change in waiting:
        # The model reads the note in the next turn. The cards stay in the channels, so the change
        # counts as drawn. None: no person decided.
        note = _RESTORED.format(id=change.id)
        revision = change.proposal.revision
        closed = await ledger.close(change.id, "withdrawn", None, note, time.time(), revision)
        await ledger.record_drawn(closed)
    await database.write(_mark_unknown)
    # Since the backup, runs may have taken place, and schedules may have been deleted.
    paused = await database.write(lambda c: close_schedules(c, time.time()))
    return len(open_turns), len(waiting), paused


def _mark_unknown(connection: SqlConnection) -> None:
    """Mark unwritten rows of partly applied changes as unknown, and drop pending notifications.
    Since the backup, these rows may have been written and these notifications sent.
    """
    connection.execute(
        "UPDATE steps SET state = 'unknown' WHERE state IN ('waiting', 'writing')"
        " AND change IN (SELECT id FROM changes WHERE state = 'applying')"
    )
    connection.execute("UPDATE outbox SET state = 'refused' WHERE state IN ('new', 'posting')")


STANDARD_STREAM = "-"
"""The file name that means stdout or stdin."""
SNAPSHOT_ATTEMPTS = 5
"""How many moments are tried if files disappear while they are linked."""
_DATED_NAME = re.compile(r"ponte-\d{8}T\d{6}Z\.tar\.gz")
"""The name of a backup in a folder."""
_SMALL_FILES = ("pseudonyms.key", "page.key", "web-token")


class StoredInPostgres(PonteError):
    """`ponte backup` or `ponte restore` is used although all data is in Postgres."""

    sentence = (
        "DATABASE_URL is set, so all data is in Postgres. Back it up with `umask 077; "
        'pg_dump --format=custom --file=ponte.dump "$DATABASE_URL"`. Restore into an empty '
        'database with `pg_restore --exit-on-error --dbname="$DATABASE_URL" ponte.dump` '
        "(docs/guides/operations.md)."
    )


class NotWritten(PonteError):
    """`ponte backup` could not write its file."""

    sentence = "Can't write {file} ({cause}). No backup was made."


def backup(begun: Start, file: str, keep: int = 0, *, with_secrets: bool = False) -> int:
    """Write a backup to `file`, to stdout for "-", or, if `file` is a folder, into it under a name
    with the moment. Return the exit code.

    In a folder, only the newest `keep` backups stay; 0 keeps all. `with_secrets` includes the
    settings of the setup page. A Ponte may run meanwhile. Raises PonteError.
    """
    home = begun.home
    if not (home.path / "ponte.db").exists():
        raise PonteError("{home} has no data yet.", home=home.path)
    if home.path.stat().st_uid != os.geteuid():
        words = "The folder {home} belongs to another user. Run this command as that user."
        raise PonteError(words, home=home.path)
    if file == STANDARD_STREAM:
        # Changing the file's mode now is too late: the shell created it with its umask, and
        # somebody may already have opened it.
        status = os.fstat(sys.stdout.fileno())
        is_open = status.st_mode & 0o077 or status.st_uid != os.geteuid()
        if stat.S_ISREG(status.st_mode) and is_open:
            raise PonteError(
                "Other users can read the file that standard output goes to, and a backup "
                "contains the page's token. Specify a file name instead, for example `ponte "
                "backup ponte.tar.gz`."
            )
    folder = Path(file) if file != STANDARD_STREAM and Path(file).is_dir() else None
    if keep and folder is None:
        raise BadInput(
            "`--keep` needs a folder, and {file} isn't one. Create it, or leave out `--keep`.",
            file=file,
        )
    now = datetime.now(UTC)
    path = folder / f"ponte-{now:%Y%m%dT%H%M%SZ}.tar.gz" if folder else Path(file)
    if file != STANDARD_STREAM and path.resolve().is_relative_to(home.path.resolve()):
        raise BadInput("{file} is inside the data folder. Choose a place outside it.", file=path)
    with ExitStack() as stack:
        # Else none can start until the backup is written.
        is_stopped = True
        try:
            stack.enter_context(home.take())
        except HomeTaken:
            is_stopped = False
        staged = stack.enter_context(home.staging("backup"))
        names = (*_SMALL_FILES, STORED_FILE) if with_secrets else _SMALL_FILES
        manifest = _collect_files(home.path, staged, now, names, stopped=is_stopped)
        if file == STANDARD_STREAM:
            write_archive(staged, manifest, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            _write_backup(path, staged, manifest)
    if folder and keep:
        # The names contain the moment, so they sort the backups.
        collected = [path for path in folder.iterdir() if _DATED_NAME.fullmatch(path.name)]
        for old in sorted(collected, reverse=True)[keep:]:
            old.unlink(missing_ok=True)
    report = _report_backup(manifest, str(path))
    # The backup itself may go to stdout.
    sys.stderr.writelines(f"{line}\n" for line in report)
    return 0


def restore(begun: Start, file: str, *, replace: bool, resume: bool) -> int:
    """Replace the data folder by the backup in `file` ("-" for stdin), and return the exit code.

    All is extracted, checked and migrated in a folder beside the data first. `replace` moves the
    present data aside; without it, a folder with data is refused. `resume` continues turns that
    were running when the backup was made, which is safe only if Ponte was stopped then. Raises
    PonteError; then the data folder is unchanged.
    """
    home = begun.home
    name = say("the input from stdin") if file == STANDARD_STREAM else file
    with ExitStack() as stack:
        if file == STANDARD_STREAM:
            source: BinaryIO = sys.stdin.buffer
        else:
            try:
                source = stack.enter_context(open(file, "rb"))
            except OSError as error:
                cause = describe_read_error(error)
                words = "Can't read the file {file} ({cause})."
                raise BadInput(words, file=file, cause=cause) from None
        stack.enter_context(home.take())
        former = home.entries()
        if former and not replace:
            raise PonteError(
                "{home} already has data. To replace it with the backup, add `--replace`. The "
                "current data is moved aside, not deleted.",
                home=home.path,
            )
        staged = stack.enter_context(home.staging("restore"))

        def begin(manifest: Manifest) -> None:
            if SCHEMA.find_pending(manifest.schema, manifest.fingerprint) is None:
                raise DifferentBackup(file=name, version=manifest.version[:40])
            if resume and not manifest.is_ponte_stopped:
                raise PonteError(
                    "{file} was made while Ponte was running, so some of its unfinished work "
                    "may already be done. Restore without `--resume`, so that nothing is done "
                    "twice.",
                    file=name,
                )
            # Twice: for the extracted files, and because the migration of an older schema can write
            # the whole database again.
            snapshot.check_room(home.path, 2 * manifest.size, say("a restored data folder"))

        try:
            manifest = extract_archive(source, name, staged, begin)
            _check_database(staged, manifest, name)
        except OSError as error:
            raise HomeUnusable(home=home.path, cause=describe_read_error(error)) from None
        closed_counts = asyncio.run(_close_unfinished_work(staged, manifest, resume=resume))
        # The folders' own entries must be on disk before they replace the home.
        for each in [staged, *(one for one in staged.rglob("*") if one.is_dir())]:
            sync_folder(each)
        aside = f"{ASIDE_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        while (home.path / aside).exists():  # of another restore within this second
            aside += "+"
        home.replace(staged, aside)
    report = _report_restored(manifest, closed_counts, home.path / aside if former else None)
    sys.stdout.writelines(f"{line}\n" for line in report)
    return 0


def _collect_files(
    home: Path, staged: Path, now: datetime, names: Sequence[str], *, stopped: bool
) -> Manifest:
    """Copy what a backup contains from `home` into the folder `staged`: the database, the stored
    files that it names, the sample tables, and the small files `names`. Return the manifest. The
    database and the stored files are those of one moment, although a Ponte may run meanwhile
    (unless `stopped`). A database that a restore would refuse is not backed up."""
    database = home / "ponte.db"
    # A file may be deleted after the database was copied; then both are copied once more.
    for tries in range(1, SNAPSHOT_ATTEMPTS + 1):
        snapshot.check_room(home, snapshot.database_bytes(database), say("a backup"))
        copy = staged / database.name
        copy.unlink(missing_ok=True)
        snapshot.copy_database(database, copy)
        ids = _list_file_ids(copy)
        # Files are never changed, so a second name for the same bytes is a copy.
        files, staged_files = home / "files", staged / "files"
        shutil.rmtree(staged_files, ignore_errors=True)
        missing_ids = set[str]()
        for id in ids:
            place = Path(id[:2]) / id
            (staged_files / place).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                os.link(files / place, staged_files / place)
            except FileNotFoundError:
                missing_ids.add(id)
            except OSError:  # a file system without links
                shutil.copyfile(files / place, staged_files / place)

        # A missing file that still has its row was lost before: another moment would not have it.
        recorded_ids = set(_list_file_ids(database)) if missing_ids else set()
        if not missing_ids or recorded_ids.issuperset(missing_ids) or tries == SNAPSHOT_ATTEMPTS:
            break
    if (sample := home / SAMPLE_FILE).exists():
        with suppress(NotStored):  # damaged sample tables must not prevent a backup
            snapshot.copy_database(sample, staged / SAMPLE_FILE)
    try:
        for name in names:
            with suppress(FileNotFoundError):
                shutil.copyfile(home / name, staged / name)
    except OSError as error:
        raise NotWritten(file=staged, cause=describe_read_error(error)) from None
    with closing(sqlite3.connect(copy)) as connection:
        version, fingerprint = snapshot.read_schema_version(connection)
    if SCHEMA.find_pending(version, fingerprint) is None:
        raise DifferentSchema(path=database)
    if name := find_foreign_entry(copy, SCHEMA):
        raise PonteError(
            "The schema of {path} differs from the one Ponte created: {name}. A backup made now "
            "couldn't be restored, so Ponte didn't make one. Undo that change in the database, "
            "then try again.",
            path=database,
            name=name,
        )
    return Manifest(
        FORMAT_VERSION,
        __version__,
        version,
        fingerprint,
        now.isoformat(timespec="seconds"),
        stopped,
        snapshot.count_rows(copy),
        members(staged),
        tuple(sorted(missing_ids)),
    )


def _list_file_ids(database: Path) -> Sequence[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [id for (id,) in connection.execute("SELECT id FROM files")]


def _write_backup(path: Path, staged: Path, manifest: Manifest) -> None:
    """Write the backup to a file with another name (`.part`), sync it and read it back, and only
    then give it its name: a full disk, or a kill, leaves no file that looks like a backup. The lock
    tells a second `ponte backup` that the first one still writes it."""
    part = path.with_name(f"{path.name}.part")
    _check_backup_target(path)
    try:
        snapshot.check_room(path.parent, manifest.size, say("a backup"))
        _remove_leftover(part)
        with create_file(part) as file:
            # Without the lock, another backup's `_remove_leftover` would remove this file.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                write_archive(staged, manifest, file)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                if check(file, str(path)) != manifest:
                    raise DamagedBackup(file=path, why=say("its list of contents is missing"))
                part.replace(path)
                sync_folder(path.parent)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise NotWritten(file=path, cause=describe_read_error(error)) from None


def _check_backup_target(path: Path) -> None:
    """Raise BadInput if the target exists and is not an older backup. `ponte backup ponte.toml`
    must not overwrite `ponte.toml`, and a device such as `/dev/sda` must not be replaced by a file.
    """
    try:
        if path.is_symlink() or not path.is_file():
            is_backup = not os.path.lexists(path)
        else:
            with path.open("rb") as file:
                # Also an empty file, such as `mktemp` makes.
                is_backup = file.read(2) in (b"", _GZIP_MARK)
    except OSError as error:
        raise NotWritten(file=path, cause=describe_read_error(error)) from None
    if not is_backup:
        words = "{file} exists and isn't a backup. No backup was made. Choose another name."
        raise BadInput(words, file=path)


def _remove_leftover(part: Path) -> None:
    """Remove the unfinished file `part` of a killed backup. A file of another user or with a second
    name stays, and so does anything but a plain file.

    Raises BlockingIOError if a living process has locked it, and other OSErrors.
    """
    try:
        # O_NONBLOCK: opening a named pipe would wait for its writer.
        descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        status = os.fstat(descriptor)
        # Somebody could have made it a hard link of a file of theirs.
        is_plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another backup may have removed that file, and begun its own, before we had the lock.
        with suppress(FileNotFoundError):
            is_same = os.path.samestat(status, part.lstat())
            if is_plain and is_same and status.st_uid == os.geteuid():
                part.unlink()
    finally:
        os.close(descriptor)


def _check_database(staged: Path, manifest: Manifest, name: str) -> None:
    """Raise DamagedBackup unless the extracted database is intact, matches the manifest and has its
    files. `name` is the archive's in error messages.

    The schema is checked first: reading a table could otherwise run a view or a virtual table that
    somebody put there. Only entries that a version of Ponte creates are accepted.
    """
    database = staged / "ponte.db"
    try:
        if foreign := find_foreign_entry(database, SCHEMA):
            why = say("its database has a different schema ({name})", name=repr(foreign[:80]))
            raise DamagedBackup(file=name, why=why)
        snapshot.check_integrity(database)
        with closing(sqlite3.connect(database)) as connection:
            version = snapshot.read_schema_version(connection)
        manifest_version = (manifest.schema, manifest.fingerprint)
        same = version == manifest_version and snapshot.count_rows(database) == manifest.rows
        ids = _list_file_ids(database)
        # The manifest lists files that were lost before the backup.
        lost_ids = {id for id in ids if not (staged / "files" / id[:2] / id).exists()}
        missing = lost_ids.difference(manifest.lost_files)
    except sqlite3.Error as error:
        raise DamagedBackup(file=name, why=str(error)) from None
    # An id of another form, such as one with "../", is not of Ponte.
    strange = any(not BACKUP_NAMES.fullmatch(f"files/{id[:2]}/{id}") for id in ids)
    if not same or missing or strange:
        raise DamagedBackup(file=name, why=say("its parts come from different backups"))


async def _close_unfinished_work(
    staged: Path, manifest: Manifest, *, resume: bool
) -> tuple[int, int, int]:
    """Open the extracted data folder, which migrates its database to the newest schema, and close
    what was under way when the backup was made, unless it is to be resumed. Return how many turns
    and proposals were closed, and how many schedules were paused."""
    # `keeps=False`: the backup itself is the copy before the migration.
    stores, closed = await Stores.open_in_home(staged, keeps=False), (0, 0, 0)
    try:
        if not resume:
            closed = await close_unfinished(stores.database)
            # What a chat adapter remembers may be outdated, too: messages that were sent since the
            # backup must not be answered as if they were new.
            for integration in FACES:
                if isinstance(integration, ChatIntegration):
                    await integration.prepare_restored(stores.database)
        # Conversations on the model's server may have turns that the backup lacks, so the thread's
        # `record`, which refers to them, is emptied.
        await stores.database.write(lambda c: c.execute("UPDATE threads SET record = ''").close())
        await stores.audit.write_note("backup-restored", OPERATOR, backup_time=manifest.created_at)
    finally:
        await stores.close()
    return closed


def _report_backup(manifest: Manifest, file: str) -> Iterator[str]:
    """Yield what `ponte backup` prints: what the backup contains, and how to protect it."""
    yield _describe_manifest(manifest)
    if file == STANDARD_STREAM:
        yield say("To verify this backup, restore it to an empty data folder with `ponte restore`.")
    else:
        yield say("The backup was verified: {file}.", file=file)
    if count := len(manifest.lost_files):
        yield plural(
            "The content of {count} file was already missing from the data folder.",
            "The content of {count} files was already missing from the data folder.",
            count,
        )
    yield say(
        "Protect the backup as carefully as the data folder. It doesn't contain .env, ponte.toml "
        "or the sandbox's Python."
    )
    if STORED_FILE in manifest.members:
        yield say("It contains settings.env, which has the secrets typed on the setup page.")
    else:
        yield say(
            "It doesn't contain the setup page's settings.env either. To include that file, "
            "add `--secrets`."
        )


def _describe_manifest(manifest: Manifest) -> str:
    return say(
        "Data folder as of {at}: schema {schema}, messages: {count}, files: {total}, total size: "
        "{size}.",
        at=manifest.created_at,
        schema=manifest.schema,
        size=format_size(manifest.size),
        count=manifest.rows.get("inbox", 0),
        total=manifest.rows.get("files", 0),
    )


def _report_restored(
    manifest: Manifest, closed: tuple[int, int, int], aside: Path | None
) -> Iterator[str]:
    """Yield what `ponte restore` prints. `closed` are the numbers of turns, proposals and paused
    schedules, `aside` is the folder with the former data."""
    yield _describe_manifest(manifest)
    yield say("The backup was verified and restored.")
    turns, proposals, paused = closed
    if turns or proposals:
        yield say(
            "Unfinished work was closed, because Ponte may have finished it after the backup. "
            "Messages without an answer: {turns}. Undecided requests: {proposals}.",
            turns=turns,
            proposals=proposals,
        )
    if paused:
        yield plural(
            "{count} schedule is paused, because it may have run after the backup. To continue it, "
            "run `ponte schedules resume ID`; `ponte schedules list` shows the ID.",
            "{count} schedules are paused, because they may have run after the backup. To continue "
            "one, run `ponte schedules resume ID`; `ponte schedules list` shows the IDs.",
            paused,
        )
    yield say(
        "Data deleted after {at} is back, and people removed after that can sign in again. Delete "
        "that data and remove those people again.",
        at=manifest.created_at,
    )
    if aside:
        words = "The previous data folder is in {path}. Delete it when you no longer need it."
        yield say(words, path=aside)
