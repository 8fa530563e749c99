"""Sticky sessions: a signed cookie that sends a client back to its backend.

Theory. The value is a pseudonym of the backend, the time of issue, and an HMAC-SHA256 of both, truncated to 128 bits (RFC 2104 section 5).
The pseudonym is an HMAC of the name, so the value reveals neither name nor address, and balancers with the same secret accept each
other's cookies. A client can keep and repeat a value but not make one, so it cannot choose its backend.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from enum import Enum

PSEUDONYM, TIME, SEAL = 12, 5, 16
"""Bytes of each part: 33 in all, which are 44 characters in base64 without padding."""
LENGTH = (PSEUDONYM + TIME + SEAL) * 4 // 3
"""Characters of a value."""


class CookieVerdict(Enum):
    """Result of checking a cookie's value."""

    VALID = "valid"
    FORGED = "forged"
    EXPIRED = "expired"
    GONE = "gone"


class Sessions:
    """Makes and checks cookie values for the backends of one pool. `max_age`: seconds, 0 for no limit."""

    def __init__(self, secret: bytes, backends: Iterable[str], max_age: float) -> None:
        self._secret = secret
        self._max_age = max_age
        self._pseudonyms = {name: self._mac(b"backend", name.encode())[:PSEUDONYM] for name in backends}
        self._names = {pseudonym: name for name, pseudonym in self._pseudonyms.items()}

    def __repr__(self) -> str:
        return f"<Sessions for {len(self._names)} backends>"  # without the secret

    def issue(self, backend: str, now: float) -> str:
        """A cookie value for the backend. `now`: Unix time in seconds, which other balancers and later runs share."""
        told = self._pseudonyms[backend] + int(now).to_bytes(TIME)
        return urlsafe_b64encode(told + self._mac(b"value", told)[:SEAL]).decode()

    def check(self, value: str, now: float) -> tuple[CookieVerdict, str]:
        """Check a cookie value at `now` (Unix time in seconds): the verdict, and the backend's name if it is `VALID`, else "".

        `GONE`: the backend is no longer in the pool.
        """
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
    """The value of the first cookie with this name in the values of Cookie headers (RFC 6265 section 4.2.1), quotes included; None if
    there is none. If there are several, the first is the one with the longest path (section 5.4)."""
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
    """The value of a Set-Cookie header (RFC 6265 section 4.1.1). `secure`: the client uses TLS. `max_age`: seconds, 0 until the browser is closed."""
    attributes = ["Path=/", f"Max-Age={int(max_age)}" if max_age else "", "HttpOnly", "SameSite=Lax", "Secure" if secure else ""]
    return "; ".join([f"{name}={value}", *filter(None, attributes)]).encode("latin-1")
