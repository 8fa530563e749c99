"""Certificates and authorities in use: read at start, chosen by SNI, and read again when their files change.

Theory. Every certificate of the configuration, and every backend, has one `Identity`: an SSL context made of a few files. A
connection keeps the context that it began with; a new one is made as a whole, off the event loop, and then takes the old one's place for
further handshakes. Files are replaced one after the other, so a change is acted on when nothing has moved between two looks; what
cannot be used then is told once, and what was there stays.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import PurePath

from balance.catalog import metrics
from balance.instruments import Instruments
from balance.lb.config.certificates import FileError, Leaf, use_authorities, use_pair
from balance.lb.config.model import BackendConfig, BackendTls, ClientAuth, Config, Pair, Tls
from balance.lb.errors import StartError
from balance.lb.logs import EventLog

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only. Those of TLS 1.3 are all like that."""
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

Built = tuple[ssl.SSLContext, Leaf | None]
Stamp = tuple[tuple[int, int, int], ...]


def server_context(tls: Tls, pair: Pair) -> Built:
    """The context that serves one certificate. Raises `FileError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.minimum_version = _VERSIONS[tls.min_version]
    leaf = use_pair(context, pair.certificate, pair.key)
    auth: ClientAuth = tls.client_auth
    context.verify_mode = _CLIENT_AUTH[auth.mode]
    if auth.ca:
        use_authorities(context, auth.ca)
    return context, leaf


def client_context(tls: BackendTls) -> Built:
    """The context for connections to a backend. Raises `FileError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.hostname_checks_common_name = False  # RFC 9525 section 2
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca:
        use_authorities(context, tls.ca)
    else:
        context.load_default_certs()
    return context, use_pair(context, tls.certificate, tls.key) if tls.certificate else None


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])


class Identity:
    """One context and the files that it is made of; for a `backend`, whose certificate must bear the `server_name`, or for clients."""

    def __init__(self, build: Callable[[], Built], files: Iterable[str], backend: str = "", server_name: str | None = None) -> None:
        self.backend, self.server_name = backend, server_name
        self.files = tuple(file for file in files if file)
        self._build = build
        self._stamp = self._seen = self._look()
        self.context, self.leaf = build()
        self.name = self.leaf.names[0] if self.leaf and self.leaf.names else PurePath(self.files[0]).stem if self.leaf else ""

    def __repr__(self) -> str:
        return f"<Identity {self.backend or self.name} from {', '.join(self.files)}>"

    def reread(self, *, force: bool) -> Built | None:
        """A new context if the files have changed and settled, or at once by `force`. Raises `FileError`, once for each change."""
        stamp, seen = self._look(), self._seen
        self._seen = stamp
        if force or (stamp != self._stamp and stamp == seen):
            self._stamp = stamp
            return self._build()
        return None

    def _look(self) -> Stamp:
        return tuple(map(_stamp, self.files))


def _stamp(path: str) -> tuple[int, int, int]:
    """What changes when a file does: edited (its times may have been set back), made readable, replaced, or its link pointed elsewhere."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return found.st_ctime_ns, found.st_ino, found.st_size


class Keyring:
    """All identities of a configuration. `reload` tells which backends have a new one."""

    def __init__(self, config: Config, instruments: Instruments, log: EventLog) -> None:
        self._instruments, self._log = instruments, log
        try:
            self._served = [_serving(config.tls, pair) for pair in config.tls.certificates] if config.tls else []
            self.backends = {backend.name: _towards(backend, backend.tls) for backend in config.backends if backend.tls}
        except FileError as error:  # the configuration was read a moment ago, and found correct
            raise StartError(error.what, where=error.key, cure=error.cure) from None
        self._index()
        for identity in self._all():
            self._warn(identity)

    def __repr__(self) -> str:
        return f"<Keyring {self._all()}>"

    @property
    def watched(self) -> bool:
        """Whether there are files that may change."""
        return any(identity.files for identity in self._all())

    @property
    def context(self) -> ssl.SSLContext:
        """For the next handshake of a client; it turns to the right certificate by itself."""
        return self._served[0].context

    def choose(self, connection: ssl.SSLObject, server_name: str | None, _context: ssl.SSLContext) -> None:
        """Have the connection served the certificate for a name: an exact one before a wildcard, which stands for one label (RFC 9525)."""
        name = (server_name or "").lower()
        found = self._names.get(name) or self._names.get(f"*.{name.partition('.')[2]}")
        if found:
            connection.context = found

    async def reload(self, *, force: bool = False) -> list[str]:
        """Read what has changed, or all by `force`, and use what is valid. The names of the backends that are affected."""
        found = await asyncio.to_thread(lambda: [(identity, _reread(identity, force)) for identity in self._all()])
        for identity, built in found:
            if isinstance(built, FileError):
                self._log("warning", "certificate_not_reloaded", files=identity.files, cause=built.what, cure=built.cure)
            elif built:
                identity.context, identity.leaf = built
                self._log("info", "certificate_reloaded", files=identity.files)
                self._warn(identity)
        self._index()
        return [identity.backend for identity, built in found if isinstance(built, tuple) and identity.backend]

    def _all(self) -> list[Identity]:
        return [*self._served, *self.backends.values()]

    def _index(self) -> None:
        """Names to contexts, the first certificate for a name winning; and what the metrics say."""
        self._names = {name: one.context for one in reversed(self._served) if one.leaf for name in one.leaf.names}
        if len(self._served) > 1:
            self.context.sni_callback = self.choose
        ends: dict[str, float] = {}
        for one in self._all():
            if one.leaf:
                ends[one.name] = min(one.leaf.not_after, ends.get(one.name, one.leaf.not_after))
        for name, end in ends.items():
            self._instruments.gauge(metrics.TLS_NOT_AFTER, certificate=name).set(end)

    def _warn(self, identity: Identity) -> None:
        if identity.leaf and (fault := identity.leaf.fault(time.time())):
            self._log("warning", "certificate_not_valid", files=identity.files, cause=fault, cure="renew it; it is taken up without a restart")


def _serving(tls: Tls, pair: Pair) -> Identity:
    return Identity(lambda: server_context(tls, pair), (pair.certificate, pair.key, tls.client_auth.ca))


def _towards(backend: BackendConfig, tls: BackendTls) -> Identity:
    return Identity(lambda: client_context(tls), (tls.certificate, tls.key, tls.ca), backend.name, tls.server_name or backend.address.host or None)


def _reread(identity: Identity, force: bool) -> Built | FileError | None:
    try:
        return identity.reread(force=force)
    except FileError as error:
        return error
