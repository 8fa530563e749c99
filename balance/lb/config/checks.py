"""What no single key shows: contradictions within a section, and files that cannot be used."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from balance.lb.config.certificates import FileError, use_authorities, use_pair

Complaint = tuple[str, str, str]
"""What a check of a whole section found: key, what, cure."""
Check = Callable[[Mapping[str, Any]], Iterator[Complaint]]


def nothing(_values: Mapping[str, Any]) -> Iterator[Complaint]:
    """Find nothing wrong."""
    return iter(())


def retry(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """The first pause fits."""
    if values["backoff_base"] > values["backoff_max"]:
        yield "backoff_base", "is longer than backoff_max", "the first pause cannot exceed the longest"


def pair(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """Certificate and key can be read and belong together."""
    yield from _usable(lambda context: use_pair(context, values["certificate"], values["key"]))


def client_auth(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """Mutual TLS has authorities, and they are used."""
    mode, ca = values["mode"], values["ca"]
    if mode != "none" and not ca:
        yield "ca", "is missing", f"mode {mode} needs the PEM file of the authorities that clients' certificates come from"
    elif mode == "none" and ca:
        yield "ca", "is given, but no client is asked for a certificate", "set mode to optional or required, or remove ca"
    elif ca:
        yield from _usable(lambda context: use_authorities(context, ca))


def backend_tls(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """What is to be trusted, and what we show of ourselves."""
    ca, certificate, key = values["ca"], values["certificate"], values["key"]
    if ca and not values["verify"]:
        yield "ca", "is given, but verify is false", "remove verify: false, or ca"
    elif ca:
        yield from _usable(lambda context: use_authorities(context, ca))
    try:
        values["server_name"].encode("idna")
    except UnicodeError:
        yield "server_name", f"{values['server_name']!r} is no host name", "labels of 1 to 63 characters between dots"
    if bool(certificate) != bool(key):
        missing, given = ("key", "certificate") if certificate else ("certificate", "key")
        yield missing, f"is missing, but there is a {given}", "give both or none"
    elif certificate:
        yield from _usable(lambda context: use_pair(context, certificate, key))


def backend(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """A certificate can be verified only for a name."""
    tls = values["tls"]
    if tls and tls.verify and not tls.server_name and values["address"].path:
        yield "tls", "has no server_name, and a Unix socket has no host name to verify", "add tls.server_name"


def _usable(use: Callable[[ssl.SSLContext], object]) -> Iterator[Complaint]:
    """Try it on a context of no further use."""
    try:
        use(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except FileError as error:
        yield error.key, error.what, error.cure
