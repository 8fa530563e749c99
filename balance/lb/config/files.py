"""Files that a configuration names."""

from __future__ import annotations

import os
from collections.abc import Iterable

MIN_SECRET_BYTES = 16
POLL_SECONDS = 1.0
"""Between two looks at files that may change."""

_Stamp = tuple[int, int, int]


class FileError(Exception):
    """A file that cannot be used: the key of the configuration that names it, what is wrong, and the cure."""

    def __init__(self, key: str, what: str, cure: str) -> None:
        super().__init__(what)
        self.key, self.what, self.cure = key, what, cure


def read_text(key: str, path: str) -> str:
    """The text in a file, at most 4 MiB of it, each byte as one character: prose around what counts may be in any encoding."""
    try:
        with open(path, encoding="latin-1") as file:
            return file.read(2**22)
    except OSError as error:
        raise FileError(key, f"{path} cannot be read: {(error.strerror or str(error)).lower()}", "name a readable file") from None


def read_secret(key: str, path: str) -> bytes:
    """The secret in a file, without the end of its line; raises `FileError` if it is too short to be one."""
    secret = read_text(key, path).rstrip("\r\n").encode("latin-1")
    if len(secret) < MIN_SECRET_BYTES:
        raise FileError(key, f"{path} holds {len(secret)} bytes, too few for a secret", f"at least {MIN_SECRET_BYTES}: openssl rand -hex 32 > {path}")
    return secret


class FileWatch:
    """Files that are looked at now and then. `new`: nobody has read them yet, so the first change is that they are there."""

    def __init__(self, files: Iterable[str], *, new: bool = False) -> None:
        self._files = tuple(files)
        self._seen = self._look()
        self._taken = () if new else self._seen

    def __repr__(self) -> str:
        return f"<FileWatch {', '.join(self._files)}>"

    def changed(self) -> bool:
        """Look: whether they have changed since this was last true (or `take`), and have settled: nothing has moved since the look before."""
        seen, self._seen = self._seen, self._look()
        if self._seen == self._taken or self._seen != seen:
            return False
        self.take()
        return True

    def take(self) -> None:
        """As they were at the last look they are about to be read."""
        self._taken = self._seen

    def _look(self) -> tuple[_Stamp, ...]:
        return tuple(map(_stamp, self._files))


def _stamp(path: str) -> _Stamp:
    """What changes when a file does: edited (its times may have been set back), made readable, replaced, or its link pointed elsewhere."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return found.st_ctime_ns, found.st_ino, found.st_size
