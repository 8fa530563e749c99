"""Whether an address belongs to one of several networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

Network = ipaddress.IPv4Network | ipaddress.IPv6Network | str
"""A network, or "unix" for clients on a Unix socket."""


def covered(address: str, networks: Collection[Network]) -> bool:
    """True if one of the networks contains `address`: IPv4 (also IPv4-mapped IPv6), IPv6 with or without a zone, or "unix"."""
    if not networks or address == "unix":
        return address in networks
    known = ipaddress.ip_address(address.partition("%")[0])
    plain = getattr(known, "ipv4_mapped", None) or known
    return any(plain in network for network in networks if not isinstance(network, str))
