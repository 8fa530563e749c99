"""TLS files: checks that they can be used, and reads names and validity of certificates.

Used when a configuration is read, and by `balance.lb.data.keyring` when a file has changed.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from balance.lb.config.files import FileError, read_text

_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"
_ENCRYPTED = ("BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED")
_ALTERNATIVE_NAMES = bytes.fromhex("0603551d11")
"""The object identifier 2.5.29.17, as DER."""
_BOOLEAN, _UTC_TIME, _DNS_NAME, _VERSION, _EXTENSIONS = 0x01, 0x17, 0x82, 0xA0, 0xA3


@dataclass(frozen=True, slots=True)
class Leaf:
    """DNS names (lower case, may be wildcards) and validity (Unix time in seconds) of a certificate."""

    names: tuple[str, ...]
    not_before: float
    not_after: float

    def fault(self, now: float) -> str:
        """Why peers will reject it at `now` (Unix time in seconds); empty if it is valid."""
        if now > self.not_after:
            return f"it expired at {datetime.fromtimestamp(self.not_after, UTC):%Y-%m-%dT%H:%M:%SZ}"
        if now < self.not_before:
            return f"it is not valid before {datetime.fromtimestamp(self.not_before, UTC):%Y-%m-%dT%H:%M:%SZ}"
        return ""


def use_pair(context: ssl.SSLContext, certificate: str, key: str) -> Leaf:
    """Load the certificate (PEM, optionally with its chain) and its key into the context; returns the certificate's data. Raises `FileError`."""
    text = read_text("certificate", certificate)
    if _CERTIFICATE not in text or _END not in text:
        raise FileError("certificate", f"{certificate} contains no PEM certificate", f"convert it: openssl x509 -in {certificate} -out NEW.pem")
    secret = read_text("key", key)
    if any(mark in secret for mark in _ENCRYPTED):
        raise FileError("key", f"{key} is encrypted", f"remove the passphrase and protect the file: openssl pkey -in {key} -out NEW.key")
    if "PRIVATE KEY-----" not in secret:
        raise FileError("key", f"{key} contains no PEM private key", f"convert it: openssl pkey -in {key} -out NEW.key")
    try:
        context.load_cert_chain(certificate, key, password="")
        return read_leaf(ssl.PEM_cert_to_DER_cert(text[text.index(_CERTIFICATE) : text.index(_END) + len(_END)]))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise FileError("key", f"{key} does not belong to {certificate}", "use the key that the certificate was made for") from None
        raise FileError("certificate", f"{certificate} with {key} cannot be used: {_reason(error)}", "fix the files") from None
    except (OSError, ValueError, IndexError) as error:
        raise FileError("certificate", f"{certificate} with {key} cannot be used: {error}", "fix the files") from None


def use_authorities(context: ssl.SSLContext, path: str) -> None:
    """Make the context trust the certificates in the PEM file and no others. Raises `FileError`."""
    if _CERTIFICATE not in read_text("ca", path):
        raise FileError("ca", f"{path} contains no PEM certificate", f"convert it: openssl x509 -in {path} -out NEW.pem")
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise FileError("ca", f"{path} cannot be used: {_reason(error)}", "fix the file") from None


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return reason.lower().replace("_", " ") if reason else str(error)


# --- X.509 in DER (RFC 5280 section 4.1), as far as needed ---


def read_leaf(der: bytes) -> Leaf:
    """Names and validity of a certificate in DER that OpenSSL has accepted. Raises `ValueError` or `IndexError` if it is malformed."""
    tbs = next(_parts(next(_parts(der))[1]))[1]
    fields = [(tag, value) for tag, value in _parts(tbs) if tag != _VERSION]
    not_before, not_after = (_time(tag, value) for tag, value in _parts(fields[3][1]))
    extensions = [value for tag, value in fields if tag == _EXTENSIONS]
    return Leaf(tuple(_names(extensions[0])) if extensions else (), not_before, not_after)


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and value of each DER element."""
    at = 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(data[at : at + count]), at + count
        yield tag, data[at : at + size]
        at += size


def _names(extensions: bytes) -> Iterator[str]:
    """The DNS names in the subject alternative name extension, in lower case."""
    for _tag, extension in _parts(next(_parts(extensions))[1]):
        if extension.startswith(_ALTERNATIVE_NAMES):
            value = next(value for tag, value in _parts(extension[len(_ALTERNATIVE_NAMES) :]) if tag != _BOOLEAN)
            for tag, name in _parts(next(_parts(value))[1]):
                if tag == _DNS_NAME:
                    yield name.decode("ascii", "replace").lower()


def _time(tag: int, value: bytes) -> float:
    """Unix time of ``YYMMDDhhmmssZ`` (years 1950 to 2049) or ``YYYYMMDDhhmmssZ``."""
    digits = value.decode("ascii").removesuffix("Z")
    if tag == _UTC_TIME:
        digits = ("19" if digits >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
