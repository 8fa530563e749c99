"""Texts that take long to make, kept between runs in the user's cache directory: ``$XDG_CACHE_HOME/balance``, else ``~/.cache/balance``.

Theory. An entry is found under the digest of all that its texts depend on: the value they are made from, down to the last field; the sources
of the packages whose code makes them; the interpreter. What is edited has another digest, so no entry ever has to be found outdated. An entry
begins with a digest of its name and content: one that is torn, damaged or moved counts as missing. A value that is not known down to its
fields is not kept, and nothing is while the sources are being edited: their digest would not be that of the code that runs. If the directory
cannot be used, only time is lost. Who may write there could forge an entry, as they could edit the program: where that matters, switch it off.
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
"""The environment variable that switches it off, unless it is empty. `BALANCE_` would begin the name of a setting."""
LIMIT = 64 * 2**20
"""Bytes that the directory may hold. Beyond, the oldest entries go until half of it is free."""
PACKAGES = ("balance", "balance.catalog", "balance.monitoring", "balance.promql", "balance.render", "balance.render.ruletests")
"""Where the code is that makes the texts, and the classes of what they are made from."""
Thing = TypeVar("Thing")


def remembered(make: Callable[[Thing], list[str]]) -> Callable[[Thing], list[str]]:
    """A function that takes from the user's cache what `make` has made before, and does the same without one."""
    directory, code = _directory(), code_digest(Path(balance.__file__).parent.parent, balance.LOADED)
    return Cache(directory, code).remembered(make) if directory and code else make


def _directory() -> Path | None:
    """The user's directory; None if there is none, or it is switched off. A relative `XDG_CACHE_HOME` does not count, as its specification says."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = given if os.path.isabs(given) else os.path.expanduser("~/.cache")
    return Path(base, "balance") if os.path.isabs(base) and not os.environ.get(SWITCH) else None


def code_digest(root: Path, loaded: float) -> str | None:
    """The digest of the code that this process `loaded` at that time (seconds since 1970) from below `root`: its sources and the interpreter.
    None if they cannot be read, or were touched later.
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
    """Lists of texts in a directory, which need not exist and holds at most `limit` bytes. `code` is the digest of what makes them."""

    def __init__(self, directory: Path, code: str, limit: int = LIMIT) -> None:
        self.directory, self.code, self.limit = directory, code, limit
        self._fingerprints, self._room = Fingerprints(), 0

    def remembered(self, make: Callable[[Thing], list[str]]) -> Callable[[Thing], list[str]]:
        """The same function, which looks here before it makes something, and keeps it here."""

        def found(thing: Thing) -> list[str]:
            try:
                name = digest(self.code, self._fingerprints.of(thing))
            except TypeError:
                return make(thing)
            texts = self._read(name)
            if texts is None:
                texts = make(thing)
                self._write(name, texts)
            return texts

        return found

    def _read(self, name: str) -> list[str] | None:
        """The texts of an entry; None if there is none that is whole."""
        try:
            seal, body = (self.directory / name).read_text("utf-8").split("\n", 1)
        except (OSError, ValueError):
            return None
        if seal != digest(name, body):
            return None
        texts: list[str] = json.loads(body)
        return texts

    def _write(self, name: str, texts: list[str]) -> None:
        """Make an entry, in one step for whoever reads at the same time."""
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
        """Remove the oldest entries if `size` more bytes would be too many."""
        if size > self._room:
            entries = [(entry.stat(), entry.path) for entry in os.scandir(self.directory)]
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
    """Digests of values by their types and fields. An object that is part of many is looked at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, str]] = {}  # the object too: while it is there, no other has its number

    def of(self, value: object) -> str:
        """Another for every value that differs in anything. Raises `TypeError` for what has parts that cannot be seen."""
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
    """A digest of texts, where it matters where each ends."""
    made = blake2b(digest_size=20)
    for piece in pieces:
        data = piece.encode()
        made.update(b"%d " % len(data) + data)
    return made.hexdigest()
