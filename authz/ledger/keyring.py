"""The files of one signing key through its life, and the list of every key that ever was in its place.

    record.key            the seed in use                     each seed a file as `keys.py` has it, mode 0600
    record.key.next       the seed that a rotation began with
    record.key.previous   the seed that was in use before
    record.key.list       JSON: the public keys, oldest first: since when, by which certificate, revoked when

In: the path of the key file. Out: seeds and Listed keys. Read by workers, followers and the command line;
changed by `custody` alone, one process at a time. Without a list the key in use is the only one there ever
was. A list that others may write is refused: who can add to it can have entries believed.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Final, NoReturn

import msgspec
from msgspec import Struct, structs

from authz.errors import KeyUnusable
from authz.ledger import certificates, keys
from authz.ledger.members import is_time

MAX_LIST: Final = 64 << 20  # bytes; a key made each hour, with its certificate, adds 10 MB a year


class Revoked(Struct, frozen=True, forbid_unknown_fields=True):
    """What the key attests is believed only where an outside anchor dates it before `at`."""

    at: str
    why: str


class Listed(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A public key; the times are RFC 3339 with six decimals. `since` is when it was made, "" if the list is
    younger than the key; until `overlap_until` the key before it signs beside it. `certificate` is base64.
    """

    jwk: dict[str, str]
    since: str = ""
    overlap_until: str = ""
    certificate: str = ""
    revoked: Revoked | None = None

    @property
    def public(self) -> bytes:
        return keys.from_jwk(self.jwk)

    @property
    def kid(self) -> str:
        return keys.thumbprint(self.public)


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[Listed]


class Keyring:
    """The files beside the key file `path`. Every method raises KeyUnusable, naming the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next, self.previous, self.list = (
            path.with_name(f"{path.name}.{part}") for part in ("next", "previous", "list")
        )

    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Changes whenever one of the files is replaced; cheap enough to be asked each second."""
        return tuple(map(_stamp, (self.path, self.previous, self.list)))

    def seed(self) -> bytes:
        """The seed in use, which has to be listed and not revoked."""
        seed = keys.load(self.path)
        found = self.in_use()
        if found.revoked:
            _refuse(self.path, f"revoked from {found.revoked.at} on; run `aegis keys rotate`")
        return seed

    def in_use(self) -> Listed:
        """The key in use, which has to be listed."""
        found = self.find(keys.public_key(keys.load(self.path)))
        if found is None:
            _refuse(self.path, f"a key that {self.list} does not have; change keys by `aegis keys rotate`")
        return found

    def seed_before(self) -> bytes | None:
        """The seed in use before, if it is there and not revoked."""
        if not os.path.lexists(self.previous):
            return None
        seed = keys.load(self.previous)
        found = self.find(keys.public_key(seed))
        return seed if found and not found.revoked else None

    def find(self, public: bytes) -> Listed | None:
        """What the list says of `public`."""
        return next((key for key in self.listed() if key.public == public), None)

    def listed(self) -> list[Listed]:
        """Every key, oldest first; the one in use if there is no list yet."""
        if not os.path.lexists(self.list):
            return [Listed(keys.jwk(keys.public_key(keys.load(self.path))))]
        found = _read(self.list)
        for key in found:
            _check(key, self.list)
        return found

    def write(self, listed: list[Listed]) -> None:
        """Replace the list, durably and at once. Only `custody` calls it."""
        data = msgspec.json.format(msgspec.json.encode(_File(listed)), indent=1) + b"\n"
        replace(self.list, data, mode=0o644)

    def revoke(self, public: bytes, revoked: Revoked) -> None:
        """Write into the list that `public` is revoked."""
        listed = self.listed()
        self.write([structs.replace(key, revoked=revoked) if key.public == public else key for key in listed])


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """`path` holds `data`, or what it held before, whenever the machine stops. Raises KeyUnusable."""
    try:
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise
        keys.sync_directory(path.parent)
    except OSError as error:
        _refuse(path, str(error.strerror))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> list[Listed]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            data = file.read(MAX_LIST + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        _refuse(path, str(error.strerror))
    if not stat.S_ISREG(mode) or mode & 0o022:
        _refuse(path, "others may write it; who can add a key can have it believed: make it mode 0644")
    if len(data) > MAX_LIST:
        _refuse(path, f"longer than {MAX_LIST} bytes")
    try:
        return msgspec.json.decode(data, type=_File).keys
    except (msgspec.MsgspecError, ValueError) as error:
        _refuse(path, str(error))


def _check(key: Listed, path: Path) -> None:
    try:
        kid = key.kid
        if key.certificate and certificates.subject(certificates.read(key.certificate)) != key.public:
            raise ValueError(f"{kid}: the certificate is of another key")
    except ValueError as error:
        _refuse(path, str(error))
    revoked_at = key.revoked.at if key.revoked else ""
    times = {"since": key.since, "overlap_until": key.overlap_until, "revoked.at": revoked_at}
    for name, time in times.items():
        if time and not is_time(time):
            _refuse(path, f"{kid}: {name}: not RFC 3339 in UTC with six decimals")


def _refuse(path: Path, what: str) -> NoReturn:
    raise KeyUnusable(f"{path}: {what}") from None
