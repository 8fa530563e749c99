"""Sticky sessions: a cookie by which a client comes back to its backend.

Theory. The value is a pseudonym of the backend, the time of issue, and an HMAC-SHA256 over both, cut to 128 bits (RFC 2104 section 5). The
pseudonym is an HMAC of the name, so the value tells neither name nor address, and balancers that share the secret understand each other's.
A client can keep and repeat a value but not make one, so it cannot choose a backend that it was not given.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from enum import Enum

PSEUDONYM, TIME, SEAL = 12, 5, 16
"""Bytes of each part: 33 in all, which makes 44 characters of a cookie without padding."""
LENGTH = (PSEUDONYM + TIME + SEAL) * 4 // 3


class CookieVerdict(Enum):
    """What a cookie's value is worth; the values are those of the metric."""

    VALID = "valid"
    FORGED = "forged"
    EXPIRED = "expired"
    GONE = "gone"


class Sessions:
    """Makes and checks values for the backends of one pool. `max_age` in seconds, 0 for no end."""

    def __init__(self, secret: bytes, backends: Iterable[str], max_age: float) -> None:
        self._secret = secret
        self._max_age = max_age
        self._pseudonyms = {name: self._mac(b"backend", name.encode())[:PSEUDONYM] for name in backends}
        self._names = {pseudonym: name for name, pseudonym in self._pseudonyms.items()}

    def __repr__(self) -> str:
        return f"<Sessions for {len(self._names)} backends>"  # without the secret

    def issue(self, backend: str, now: float) -> str:
        """A value that names the backend. `now`: seconds since 1970, since several balancers and restarts share it."""
        told = self._pseudonyms[backend] + int(now).to_bytes(TIME)
        return urlsafe_b64encode(told + self._mac(b"value", told)[:SEAL]).decode()

    def check(self, value: str, now: float) -> tuple[CookieVerdict, str]:
        """What the value is worth, and if it is valid the backend's name; `GONE` if there is none of that name in this pool any more."""
        if len(value) != LENGTH or not value.isascii():
            return CookieVerdict.FORGED, ""
        try:
            raw = urlsafe_b64decode(value)
        except ValueError:
            return CookieVerdict.FORGED, ""
        told, seal = raw[: PSEUDONYM + TIME], raw[PSEUDONYM + TIME :]
        if not hmac.compare_digest(self._mac(b"value", told)[:SEAL], seal):
            return CookieVerdict.FORGED, ""
        if self._max_age and now - int.from_bytes(told[PSEUDONYM:]) > self._max_age:
            return CookieVerdict.EXPIRED, ""
        name = self._names.get(told[:PSEUDONYM])
        return (CookieVerdict.VALID, name) if name is not None else (CookieVerdict.GONE, "")

    def _mac(self, purpose: bytes, text: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + b"\0" + text, "sha256")


def cookie(headers: Iterable[bytes], name: str) -> str | None:
    """The value of the first cookie of this name in the values of Cookie headers (RFC 6265 section 4.2.1), quotes and all; None if
    there is none. The first is the one of the longest path (section 5.4), where there are several."""
    wanted = name.encode()
    for header in headers:
        if wanted not in header:
            continue
        for pair in header.split(b";"):
            key, equals, value = pair.partition(b"=")
            if equals and key.strip(b" \t") == wanted:
                return value.strip(b" \t").decode("latin-1")
    return None


def set_cookie(name: str, value: str, max_age: float, *, secure: bool) -> bytes:
    """The value of a Set-Cookie header (RFC 6265 section 4.1.1). `secure`: the client came by TLS. `max_age` 0: until the browser is closed."""
    attributes = ["Path=/", f"Max-Age={int(max_age)}" if max_age else "", "HttpOnly", "SameSite=Lax", "Secure" if secure else ""]
    return "; ".join([f"{name}={value}", *filter(None, attributes)]).encode("latin-1")
