"""Generated texts that are slow to make, kept between runs in ``$XDG_CACHE_HOME/balance``, by default ``~/.cache/balance``.

Theory. The name of an entry is a digest of everything that its texts depend on: the value they are made from, with all its fields; the sources
of the packages that make them; the interpreter. Any edit changes the digest, so entries never need to be invalidated. An entry begins with a
digest of its name and content: a torn, damaged or moved one counts as missing. A value with unknown fields is not cached, and nothing is cached
while the sources are being edited, since their digest would not be that of the running code. Without a usable directory, only time is lost.
Anybody who may write there could forge an entry, as they could edit the program: where that matters, switch the cache off.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import balance

SWITCH = "NO_BALANCE_CACHE"
"""Environment variable that switches the cache off if it is not empty. (Names that begin with `BALANCE_` are settings.)"""
LIMIT = 64 * 2**20
"""Maximum size of the directory in bytes. Beyond it, the oldest entries are removed until half of it is free."""
PACKAGES = ("balance", "balance.config", "balance.catalog", "balance.monitoring", "balance.promql", "balance.render", "balance.render.ruletests")
"""Packages with the code that makes the texts, and with the classes of the values they are made from."""
Value = TypeVar("Value")


def cached(make: Callable[[Value], list[str]]) -> Callable[[Value], list[str]]:
    """Wrap `make` so that it looks into the user's cache first; without a usable cache, `make` itself."""
    directory, code = _directory(), code_digest(Path(balance.__file__).parent.parent, balance.LOADED)
    return Cache(directory, code).cached(make) if directory and code else make


def _directory() -> Path | None:
    """The user's directory; None if there is none, or the cache is off. A relative `XDG_CACHE_HOME` is ignored, as its specification says."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    base = chosen if os.path.isabs(chosen) else os.path.expanduser("~/.cache")
    return Path(base, "balance") if os.path.isabs(base) and not os.environ.get(SWITCH) else None


def code_digest(root: Path, loaded: float) -> str | None:
    """A digest of the sources of `PACKAGES` below `root`, and of the interpreter. `loaded` is when this process loaded them, in seconds since 1970.

    None if the sources cannot be read, or changed after they were loaded.
    """
    pieces = [sys.version]
    try:
        for path in sorted(path for package in PACKAGES for path in root.joinpath(*package.split(".")).glob("*.py")):
            if path.stat().st_ctime > loaded - 1:  # a second for file systems with a coarse clock
                return None
            pieces += [path.relative_to(root).as_posix(), path.read_text("utf-8")]
    except (OSError, ValueError):
        return None
    return digest(*pieces) if len(pieces) > 1 else None


class Cache:
    """Lists of texts in a directory of at most `limit` bytes, made when needed. `code` is the digest of the code that makes the texts."""

    def __init__(self, directory: Path, code: str, limit: int = LIMIT) -> None:
        self.directory, self.code, self.limit = directory, code, limit
        self._fingerprints, self._room = Fingerprints(), 0

    def cached(self, make: Callable[[Value], list[str]]) -> Callable[[Value], list[str]]:
        """Wrap `make` so that it looks here first, and stores its results here."""

        def cached(value: Value) -> list[str]:
            try:
                name = digest(self.code, self._fingerprints.of(value))
            except TypeError:
                return make(value)
            texts = self._read(name)
            if texts is None:
                texts = make(value)
                self._write(name, texts)
            return texts

        return cached

    def _read(self, name: str) -> list[str] | None:
        """The texts of an entry; None if it is missing or damaged."""
        try:
            seal, body = (self.directory / name).read_text("utf-8").split("\n", 1)
        except (OSError, ValueError):
            return None
        if seal != digest(name, body):
            return None
        texts: list[str] = json.loads(body)
        return texts

    def _write(self, name: str, texts: list[str]) -> None:
        """Store an entry atomically."""
        body = json.dumps(texts)
        content = f"{digest(name, body)}\n{body}"
        with suppress(OSError):
            self.directory.mkdir(0o700, parents=True, exist_ok=True)
            self._make_room(len(content))
            handle, temporary = tempfile.mkstemp(dir=self.directory)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(content)
                os.replace(temporary, self.directory / name)
            finally:
                Path(temporary).unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Remove the oldest entries if `size` more bytes would exceed the limit."""
        if size > self._room:
            with os.scandir(self.directory) as found:  # closed also if another process removes an entry meanwhile
                entries = [(entry.stat(), entry.path) for entry in found]
            used = sum(stat.st_size for stat, _ in entries)
            if used + size > self.limit:
                for stat, path in sorted(entries, key=lambda entry: entry[0].st_mtime_ns):
                    if used <= self.limit // 2:
                        break
                    Path(path).unlink(missing_ok=True)
                    used -= stat.st_size
            self._room = self.limit - used
        self._room -= size


class Fingerprints:
    """Digests of values by their types and fields. An object that many values share is digested once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, str]] = {}  # keeps the object alive, so that its id is not reused

    def of(self, value: object) -> str:
        """A text that differs for any two different values. Raises `TypeError` for a value of a foreign class."""
        if value is None or type(value) in (bool, int, float, str):
            return f"{type(value).__name__} {value!r}"
        if id(value) not in self._known:
            self._known[id(value)] = value, digest(*self._pieces(value))
        return self._known[id(value)][1]

    def _pieces(self, value: object) -> Iterator[str]:
        kind = type(value)
        yield f"{kind.__module__}.{kind.__qualname__}"
        if kind in (tuple, list):
            yield from map(self.of, value)  # type: ignore[call-overload]
        elif kind in (set, frozenset):
            yield from sorted(map(self.of, value))  # type: ignore[call-overload]
        elif isinstance(value, Mapping):
            yield from (self.of(part) for pair in value.items() for part in pair)
        elif kind.__module__.rpartition(".")[0] not in PACKAGES:
            raise TypeError(f"no fingerprint of {kind.__qualname__}")
        elif isinstance(value, Enum):
            yield value.name
        else:
            yield from (self.of(part) for name in _fields(kind) for part in (name, getattr(value, name)))


def _fields(kind: type) -> Iterable[str]:
    """The names of the fields of a dataclass or a named tuple."""
    if is_dataclass(kind):
        return (field.name for field in fields(kind))
    names: Iterable[str] | None = getattr(kind, "_fields", None)
    if names is None:
        raise TypeError(f"no fingerprint of {kind.__qualname__}")
    return names


def digest(*pieces: str) -> str:
    """A digest of texts; the borders between them count."""
    hasher = blake2b(digest_size=20)
    for piece in pieces:
        data = piece.encode()
        hasher.update(b"%d " % len(data) + data)
    return hasher.hexdigest()
