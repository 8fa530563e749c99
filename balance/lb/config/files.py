"""Files named in a configuration: reading them, and noticing their changes."""

from __future__ import annotations

import os
from collections.abc import Iterable

MIN_SECRET_BYTES = 16
"""Minimum length of a secret."""
POLL_SECONDS = 1.0
"""Interval between two checks of files that may change."""

_Stamp = tuple[int, int, int]


class FileError(Exception):
    """A file that cannot be used: the configuration `key` that names it, `what` is wrong, and the `cure`."""

    def __init__(self, key: str, what: str, cure: str) -> None:
        super().__init__(what)
        self.key, self.what, self.cure = key, what, cure


def read_text(key: str, path: str) -> str:
    """The text of a file, at most 4 MiB, decoded as Latin-1, since text around PEM blocks may be in any encoding. Raises `FileError`."""
    try:
        with open(path, encoding="latin-1") as file:
            return file.read(2**22)
    except OSError as error:
        raise FileError(key, f"{path} cannot be read: {(error.strerror or str(error)).lower()}", "name a readable file") from None


def read_secret(key: str, path: str) -> bytes:
    """The secret in a file, without the line ending. Raises `FileError` if it is shorter than `MIN_SECRET_BYTES`."""
    secret = read_text(key, path).rstrip("\r\n").encode("latin-1")
    if len(secret) < MIN_SECRET_BYTES:
        raise FileError(key, f"the secret in {path} is too short: {len(secret)} bytes", f"at least {MIN_SECRET_BYTES}: openssl rand -hex 32 > {path}")
    return secret


class FileWatch:
    """Notices changes of files when polled. `new`: the files have not been read yet, so their current state counts as a change."""

    def __init__(self, files: Iterable[str], *, new: bool = False) -> None:
        self._files = tuple(files)
        self._seen = self._stat()
        self._taken = () if new else self._seen

    def __repr__(self) -> str:
        return f"<FileWatch {', '.join(self._files)}>"

    def changed(self) -> bool:
        """Poll the files. True if they have changed since the last True (or `take`) and have settled: they are the same as at the previous poll."""
        seen, self._seen = self._seen, self._stat()
        if self._seen == self._taken or self._seen != seen:
            return False
        self.take()
        return True

    def take(self) -> None:
        """Take the state of the last poll as read."""
        self._taken = self._seen

    def _stat(self) -> tuple[_Stamp, ...]:
        return tuple(map(_stamp, self._files))


def _stamp(path: str) -> _Stamp:
    """A value that changes when a file is edited (even if its times are set back), made readable or replaced, or its link is changed."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return found.st_ctime_ns, found.st_ino, found.st_size
