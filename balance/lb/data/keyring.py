"""Certificates and authorities in use: read at start, selected by SNI, and read again when their files change.

Theory. Every certificate of the configuration, and every different TLS setting for backends, has an `Identity`: an SSL context and the
files it is made from. Backends with the same settings share one. A connection keeps the context that it began with; a new context is
built off the event loop and then replaces the old one for further handshakes. Files are often replaced one after the other, so a change
is applied when two polls in a row find the same; if the files cannot be used then, that is logged once, and the old context stays.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import PurePath

from balance.instruments import Instruments
from balance.lb.catalog import metrics
from balance.lb.config.certificates import Leaf, use_authorities, use_pair
from balance.lb.config.files import FileError, FileWatch
from balance.lb.config.model import BackendConfig, BackendTls, CertificateFiles, ClientAuth, Config, Tls
from balance.lb.logs import EventLog

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Cipher suites of TLS 1.2: only forward secrecy and authenticated encryption, as in all of TLS 1.3."""
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

Built = tuple[ssl.SSLContext, Leaf | None]
"""An SSL context, and the data of its certificate, if it has one."""


def server_context(tls: Tls, pair: CertificateFiles) -> Built:
    """The server-side context for one certificate. Raises `FileError`."""
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
    """The client-side context for connections to a backend. Raises `FileError`."""
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
    """An SSL context and the files it is made from. `name`: first DNS name of its certificate, for metrics. Raises `FileError`."""

    def __init__(self, build: Callable[[], Built], files: Iterable[str]) -> None:
        self.files = tuple(file for file in files if file)
        self._build = build
        self._watch = FileWatch(self.files)
        self.context, self.leaf = build()
        self.name = self.leaf.names[0] if self.leaf and self.leaf.names else PurePath(self.files[0]).stem if self.leaf else ""

    def __repr__(self) -> str:
        return f"<Identity {self.name} from {', '.join(self.files)}>"

    def reread(self, *, force: bool) -> Built | None:
        """A new context if the files have changed and settled, or with `force`; else None. Raises `FileError`, once per change."""
        changed = self._watch.changed()
        if force:
            self._watch.take()
        return self._build() if force or changed else None


class Keyring:
    """All identities of a configuration and its `backends`, including discovered ones. Raises `FileError`."""

    def __init__(self, config: Config, backends: Iterable[BackendConfig], instruments: Instruments, log: EventLog) -> None:
        self._instruments, self._log = instruments, log
        self._served = [_serving(config.tls, pair) for pair in config.tls.certificates] if config.tls else []
        self._towards: dict[BackendTls, Identity] = {}
        self._warned: set[Identity] = set()
        self.follow(backends)
        self._index()

    def __repr__(self) -> str:
        return f"<Keyring {self._all()}>"

    def follow(self, backends: Iterable[BackendConfig]) -> None:
        """Keep the identities for these backends and no others. Raises `FileError`; then nothing has changed."""
        wanted = dict.fromkeys(_nameless(backend.tls) for backend in backends if backend.tls)
        self._towards = {tls: self._towards.get(tls) or _towards(tls) for tls in wanted}

    def towards(self, backend: BackendConfig) -> Identity | None:
        """The identity for connections to a backend, None for plain HTTP."""
        return self._towards[_nameless(backend.tls)] if backend.tls else None

    @property
    def watched(self) -> bool:
        """True if there are files that may change."""
        return any(identity.files for identity in self._all())

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next handshake with a client; its SNI callback selects the certificate."""
        return self._served[0].context

    def choose(self, connection: ssl.SSLObject, server_name: str | None, _context: ssl.SSLContext) -> None:
        """SNI callback: select the certificate for a server name, an exact match before a wildcard for one label (RFC 9525)."""
        name = (server_name or "").lower()
        found = self._names.get(name) or self._names.get(f"*.{name.partition('.')[2]}")
        if found:
            connection.context = found

    async def reload(self, *, force: bool = False) -> list[Identity]:
        """Reload changed files, or all with `force`, and use the valid ones. Returns the identities that have changed; call `show` then."""
        present = self._all()
        found = await asyncio.to_thread(lambda: [(identity, _reread(identity, force)) for identity in present])
        for identity, built in found:
            if isinstance(built, FileError):
                self._log("warning", "certificate_not_reloaded", files=identity.files, cause=built.what, cure=built.cure)
            elif built:
                identity.context, identity.leaf = built
                self._log("info", "certificate_reloaded", files=identity.files)
                self._warned.discard(identity)
        self._index()
        return [identity for identity, built in found if isinstance(built, tuple)]

    def _all(self) -> list[Identity]:
        return [*self._served, *self._towards.values()]

    def _index(self) -> None:
        """Map names to contexts; the first certificate for a name wins."""
        self._names = {name: one.context for one in reversed(self._served) if one.leaf for name in one.leaf.names}
        if len(self._served) > 1:
            self.context.sni_callback = self.choose

    def show(self) -> None:
        """Update the metrics, and log a warning for each invalid certificate, once: the keyring is now active."""
        ends: dict[str, float] = {}
        for one in self._all():
            if one.leaf:
                ends[one.name] = min(one.leaf.not_after, ends.get(one.name, one.leaf.not_after))
        shown = dict(list(ends.items())[: metrics.CERTIFICATE.bound])
        self._instruments.retain("certificate", shown)
        for name, end in shown.items():
            self._instruments.gauge(metrics.TLS_NOT_AFTER, certificate=name).set(end)
        present = set(self._all())
        for identity in present - self._warned:
            self._warn(identity)
        self._warned = present

    def _warn(self, identity: Identity) -> None:
        if identity.leaf and (fault := identity.leaf.fault(time.time())):
            self._log("warning", "certificate_not_valid", files=identity.files, cause=fault, cure="renew it; it is reloaded without a restart")


def _serving(tls: Tls, pair: CertificateFiles) -> Identity:
    return Identity(lambda: server_context(tls, pair), (pair.certificate, pair.key, tls.client_auth.ca))


def _towards(tls: BackendTls) -> Identity:
    return Identity(lambda: client_context(tls), (tls.certificate, tls.key, tls.ca))


def _nameless(tls: BackendTls) -> BackendTls:
    """The settings that a context depends on."""
    return replace(tls, server_name="")


def _reread(identity: Identity, force: bool) -> Built | FileError | None:
    try:
        return identity.reread(force=force)
    except FileError as error:
        return error
