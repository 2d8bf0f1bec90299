"""The file format of `ponte backup`: a gzipped tar whose first member is a manifest of the others.

`tar tzf FILE` lists it. Nothing in a file is trusted. A member is accepted only as a plain file,
under a name that a home uses, with the size and the SHA-256 in the manifest.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.base.errors import PonteError
from core.base.i18n import say
from core.domain.messages import decode_json, encode_json

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1
BACKUP_NAMES = re.compile(
    r"ponte\.db|sample\.db|audit\.log(\.[0-9]{1,3})?"
    r"|pseudonyms\.key|web-token|files/[0-9A-Za-z]{1,2}/[0-9A-Za-z]{1,64}"
)
"""The names in a home that a backup contains."""
_MAX_MANIFEST_BYTES = 64 << 20
"""Bytes of a manifest."""
_PIECE_BYTES = 1 << 20
_SAYS_NOTHING = "its list of contents is missing"
_COMPRESSION_LEVEL = 3
"""zlib's level. The file is a tenth larger than with the best level, and written several times as
fast."""


class DamagedBackup(PonteError):
    """The file is no readable backup."""

    code = "damaged"
    sentence = (
        "{file} is damaged or is not a Ponte backup: {why}. Nothing was changed. Use another "
        "backup."
    )


class DifferentBackup(PonteError):
    """The backup was made by a version of Ponte with another schema."""

    code = "different_backup"
    sentence = (
        "{file} was made by another version of Ponte ({version}), and this version cannot use it. "
        "Nothing was changed. Install that version, then restore the backup with it."
    )


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """The size in bytes and the SHA-256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of a backup.

    `schema` and `fingerprint` are those of its database (core/store/schema.py).
    `created_at` is the moment of the backup (ISO 8601, UTC). `is_ponte_stopped` says that no Ponte
    ran then. `rows`
    are the numbers of rows by table of `ponte.db`. `lost_files` are the ids of files whose bytes
    the home did not have.
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
        """Return the bytes of all members."""
        return sum(member.size for member in self.members.values())


Write = Callable[[bytes], object]


def members(folder: Path) -> Mapping[str, ArchiveMember]:
    """Return the files in the folder by their relative names."""
    file_paths = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        file_paths[str(path.relative_to(folder))] = ArchiveMember(path.stat().st_size, digest)
    return file_paths


def write_archive(folder: Path, manifest: Manifest, out: BinaryIO) -> None:
    """Write the folder's files and the manifest to `out`. Raise OSError."""
    manifest_bytes = encode_json(manifest).encode()
    with (
        gzip.GzipFile("", "wb", _COMPRESSION_LEVEL, out, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        tar.addfile(_tar_entry(MANIFEST_NAME, len(manifest_bytes)), io.BytesIO(manifest_bytes))
        for name, member in manifest.members.items():
            with (folder / name).open("rb") as file:
                tar.addfile(_tar_entry(name, member.size), file)


def check(source: BinaryIO, name: str) -> Manifest:
    """Read the archive to its end and return its manifest, without storing anything.

    Raise DamagedBackup, DifferentBackup.
    """
    return _read(source, name, lambda manifest: None, lambda member: nullcontext(len))


def extract_archive(
    source: BinaryIO, name: str, folder: Path, begin: Callable[[Manifest], None]
) -> Manifest:
    """Extract the members into `folder`, which is empty, readable by this user only.

    `name` is the archive's name in error messages. `begin` gets the manifest first and may raise.
    Raise DamagedBackup, OSError if a file cannot be written, and whatever `begin` raises.
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

    return _read(source, name, begin, put)


def _read(
    source: BinaryIO,
    name: str,
    begin: Callable[[Manifest], None],
    put: Callable[[str], AbstractContextManager[Write]],
) -> Manifest:
    try:
        with (
            gzip.GzipFile(fileobj=source, mode="rb") as zipped,
            tarfile.open(fileobj=zipped, mode="r|") as tar,
        ):
            manifest = _read_manifest(tar, name)
            begin(manifest)
            missing = dict(manifest.members)
            while entry := tar.next():
                member, entry_name = missing.pop(entry.name, None), repr(entry.name[:80])
                if member is None or not BACKUP_NAMES.fullmatch(entry.name):
                    raise DamagedBackup(
                        file=name,
                        why=say(
                            "it contains {what}, which does not belong in a backup", what=entry_name
                        ),
                    )
                is_same = entry.isreg() and not entry.issparse() and entry.size == member.size
                if is_same:
                    with put(entry.name) as write:
                        is_same = _copy_member(tar, entry, write) == member.sha256
                if not is_same:
                    why = say("the content of {what} has changed", what=entry_name)
                    raise DamagedBackup(file=name, why=why)
            if missing:
                raise DamagedBackup(file=name, why=say("{what} is missing", what=min(missing)))
            while zipped.read(_PIECE_BYTES):  # to its checksum
                pass
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
        raise DamagedBackup(file=name, why=say("it is cut off")) from error
    return manifest


def _read_manifest(tar: tarfile.TarFile, name: str) -> Manifest:
    entry = tar.next()
    if (
        entry is None
        or entry.name != MANIFEST_NAME
        or not entry.isreg()
        or entry.size > _MAX_MANIFEST_BYTES
    ):
        raise DamagedBackup(file=name, why=say(_SAYS_NOTHING))
    manifest_file = tar.extractfile(entry)
    try:
        values = json.loads(manifest_file.read() if manifest_file else b"")
        if values["format"] != FORMAT_VERSION:
            raise DifferentBackup(file=name, version=str(values["version"])[:40])
        return decode_json(Manifest, json.dumps(values))
    except (KeyError, TypeError, ValueError) as error:
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
