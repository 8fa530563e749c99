"""Sticky sessions: signing and checking of cookie values, and reading and setting of cookies."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balance.lb.policy.sticky import LENGTH, CookieVerdict, Sessions, cookie, set_cookie

NOW = 1_800_000_000.0
NAMES = ("alpha", "beta", "gamma-10.0.0.7")
SESSIONS = Sessions(b"a secret of some length", NAMES, 3600)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("age", "verdict"), [(0, CookieVerdict.VALID), (3600, CookieVerdict.VALID), (3601, CookieVerdict.EXPIRED), (-5, CookieVerdict.VALID)]
)
def test_value_is_valid_until_max_age(name: str, age: float, verdict: CookieVerdict) -> None:
    assert SESSIONS.check(SESSIONS.issue(name, NOW), NOW + age) == (verdict, name if verdict is CookieVerdict.VALID else "")


def test_value_without_max_age_never_expires() -> None:
    sessions = Sessions(b"s", NAMES, 0)
    assert sessions.check(sessions.issue("beta", NOW), NOW * 2) == (CookieVerdict.VALID, "beta")


def test_value_of_removed_backend_is_gone() -> None:
    fewer = Sessions(b"a secret of some length", NAMES[1:], 3600)
    assert fewer.check(SESSIONS.issue("alpha", NOW), NOW) == (CookieVerdict.GONE, "")
    assert fewer.check(SESSIONS.issue("beta", NOW), NOW) == (CookieVerdict.VALID, "beta")


def test_value_of_another_secret_is_forged() -> None:
    assert Sessions(b"another secret", NAMES, 3600).check(SESSIONS.issue("beta", NOW), NOW) == (CookieVerdict.FORGED, "")


def test_every_flipped_bit_is_forged() -> None:
    raw = urlsafe_b64decode(SESSIONS.issue("beta", NOW))
    for bit in range(len(raw) * 8):
        changed = (int.from_bytes(raw) ^ 1 << bit).to_bytes(len(raw))
        assert SESSIONS.check(urlsafe_b64encode(changed).decode(), NOW) == (CookieVerdict.FORGED, "")


@given(st.text(max_size=60) | st.text(min_size=LENGTH, max_size=LENGTH) | st.text("AZaz09-_+/=", min_size=LENGTH, max_size=LENGTH))
def test_arbitrary_text_is_forged(text: str) -> None:
    assert SESSIONS.check(text, NOW) == (CookieVerdict.FORGED, "")


def test_value_is_opaque_and_cookie_safe() -> None:
    """It reveals neither name nor secret, and needs no quoting."""
    for name in NAMES:
        value = SESSIONS.issue(name, NOW)
        assert len(value) == LENGTH
        assert set(value) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        assert name.encode() not in urlsafe_b64decode(value)
    assert SESSIONS.issue("beta", NOW)[:16] != Sessions(b"another secret", NAMES, 0).issue("beta", NOW)[:16]
    assert "secret" not in repr(SESSIONS)


COOKIES: list[tuple[list[bytes], str | None]] = [
    ([], None),
    ([b"lb=1"], "1"),
    ([b"a=0; lb=1; c=2"], "1"),
    ([b"a=0;lb=1"], "1"),
    ([b" lb = 1 "], "1"),
    ([b"a=lb; xlb=2; lbx=3"], None),
    ([b"LB=1"], None),
    ([b"lb=1; lb=2"], "1"),
    ([b"a=1", b"lb=2"], "2"),
    ([b"lb=a=b=="], "a=b=="),
    ([b"lb"], None),
    ([b"lb="], ""),
    ([b'lb="1"'], '"1"'),
    ([b"lb=\xff"], "\xff"),
    ([b";;=;lb=1"], "1"),
]


@pytest.mark.parametrize(("headers", "expected"), COOKIES)
def test_cookie_is_found_by_whole_name(headers: list[bytes], expected: str | None) -> None:
    assert cookie(headers, "lb") == expected


@pytest.mark.parametrize(
    ("max_age", "secure", "expected"),
    [
        (0, False, b"lb=x; Path=/; HttpOnly; SameSite=Lax"),
        (0, True, b"lb=x; Path=/; HttpOnly; SameSite=Lax; Secure"),
        (90.5, True, b"lb=x; Path=/; Max-Age=90; HttpOnly; SameSite=Lax; Secure"),
    ],
)
def test_cookie_attributes(max_age: float, secure: bool, expected: bytes) -> None:
    assert set_cookie("lb", "x", max_age, secure=secure) == expected
