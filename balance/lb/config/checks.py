"""Checks across keys: contradictions within a section or between sections, and files that cannot be used."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from balance.config.schema import Complaint, SectionCheck
from balance.errors import suggestion
from balance.lb.config import shadowing
from balance.lb.config.certificates import use_authorities, use_pair
from balance.lb.config.files import FileError, read_secret, read_text
from balance.lb.config.model import MAX_BACKENDS, MAX_POOLS


def retry(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """`backoff_base` is at most `backoff_max`."""
    if values["backoff_base"] > values["backoff_max"]:
        yield "backoff_base", "is longer than backoff_max", "the first pause must not exceed the longest"


def certificate_files(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """Certificate and key can be read and belong together."""
    yield from _usable(lambda context: use_pair(context, values["certificate"], values["key"]))


def client_auth(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """Mutual TLS has a `ca`, and a `ca` is used."""
    mode, ca = values["mode"], values["ca"]
    if mode != "none" and not ca:
        yield "ca", "is missing", f"mode {mode} needs the PEM file of the authorities that sign client certificates"
    elif mode == "none" and ca:
        yield "ca", "has no effect with mode none", "set mode to optional or required, or remove ca"
    elif ca:
        yield from _usable(lambda context: use_authorities(context, ca))


def backend_tls(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """TLS settings for a backend do not contradict each other, and their files can be used."""
    ca, certificate, key = values["ca"], values["certificate"], values["key"]
    if ca and not values["verify"]:
        yield "ca", "has no effect with verify: false", "remove verify: false, or ca"
    elif ca:
        yield from _usable(lambda context: use_authorities(context, ca))
    try:
        values["server_name"].encode("idna")
    except UnicodeError:
        yield "server_name", f"invalid host {values['server_name']!r}", "labels between dots must have 1 to 63 characters"
    if bool(certificate) != bool(key):
        missing, given = ("key", "certificate") if certificate else ("certificate", "key")
        yield missing, f"is missing, but {given} is set", "set both or neither"
    elif certificate:
        yield from _usable(lambda context: use_pair(context, certificate, key))


def backend(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """A verified certificate has a host name to verify."""
    tls = values["tls"]
    if tls and tls.verify and not tls.server_name and values["address"].path:
        yield "tls", "needs server_name: a Unix socket has no host name to verify", "add tls.server_name"


def secret_in(key: str) -> SectionCheck:
    """A check that the file named by this key, if it is set, holds a usable secret."""

    def check(values: Mapping[str, Any]) -> Iterator[Complaint]:
        if values[key]:
            yield from _readable(key, read_secret, values[key])

    return check


def sticky(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """`secret` is set and usable."""
    if not values["secret"]:
        yield "secret", "is empty", "set it to the path of a file"
    yield from secret_in("secret")(values)


def discover(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """There is a source; a file is readable (its content may change at any time and is checked when it is read); `server` is an IP address."""
    if not values["dns"] and not values["srv"] and not values["file"]:
        yield "", "has no source", "set dns, srv or file"
    if values["file"]:
        yield from _readable("file", read_text, values["file"])
    server = values["server"]
    if server and values["file"]:
        yield "server", "is given beside file", "remove it"
    elif server:
        try:
            ip_address(server.host)
        except ValueError:
            yield "server", f"invalid IP address {server.host!r}", "write it like 127.0.0.1:53 or [::1]:53"


def health_check(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """A HEAD check expects no body."""
    if values["method"] == "HEAD" and values["expected_body"]:
        yield "expected_body", "has no effect with method HEAD, whose responses have no body", "set method to GET, or remove expected_body"


def outlier_detection(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """`base_ejection` is at most `max_ejection`."""
    if values["base_ejection"] > values["max_ejection"]:
        yield "base_ejection", "is longer than max_ejection", "the first ejection must not exceed the longest"


def rewrite(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """A rewrite changes something."""
    if not values["strip"] and not values["replace_prefix"]:
        yield "", "changes nothing", "set strip: true, or replace_prefix to a path"


def config(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """Backend names are unique, their number is within the limits, and each route names a known pool and can match."""
    yield from _names(values)
    yield from _counts(values)
    yield from _routes(values)


def _names(values: Mapping[str, Any]) -> Iterator[Complaint]:
    names = dict[str, str]()
    for at, pool in enumerate(values["pools"]):
        for index, one in enumerate(pool.backends):
            if one.name in names:
                yield f"pools[{at}].backends[{index}].name", f"{one.name!r} is already in pool {names[one.name]!r}", "names must be unique"
            names.setdefault(one.name, pool.name)


def _counts(values: Mapping[str, Any]) -> Iterator[Complaint]:
    pools, backends = values["pools"], values["backends"]
    count = len({one.name for pool in pools for one in pool.backends}) or len(backends)
    if count > MAX_BACKENDS:
        yield "backends" if backends else "pools", f"has {count} backends", f"at most {MAX_BACKENDS} in all"
    if len(pools) > MAX_POOLS:
        yield "pools", f"has {len(pools)} pools", f"at most {MAX_POOLS}"


def _routes(values: Mapping[str, Any]) -> Iterator[Complaint]:
    pools = [pool.name for pool in values["pools"]] or ["default"]
    for at, route in enumerate(values["routes"]):
        if route.pool not in pools:
            yield f"routes[{at}].pool", f"unknown pool {route.pool!r}", suggestion(route.pool, pools)
        earlier = shadowing.shadowing_routes(route.match, values["routes"][:at])
        if earlier:
            yield f"routes[{at}]", f"{route.name!r} never matches: all its requests go to {', '.join(earlier)}", "move it up, or remove it"


def _usable(use: Callable[[ssl.SSLContext], object]) -> Iterator[Complaint]:
    """Try the files on a context that is then thrown away."""
    try:
        use(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except FileError as error:
        yield error.key, error.what, error.cure


def _readable(key: str, read: Callable[[str, str], object], path: str) -> Iterator[Complaint]:
    try:
        read(key, path)
    except FileError as error:
        yield error.key, error.what, error.cure
