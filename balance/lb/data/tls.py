"""TLS between a socket's transport and one of our protocols (`client`, `upstream`), to which it looks like a plain transport.

Theory. OpenSSL works on two memory buffers: what the peer sent goes into one, what it is to get comes out of the other. The event
loop has such a layer too; this one exists because ending matters here as much as sending. It can end our direction alone (`write_eof`:
close_notify, then the end of the stream), which lets a refused client read its answer; it tells an end that the peer announced
(close_notify: `eof_received`) from one that anybody on the way can cause (`connection_lost` alone), so that what was cut off is never
taken for whole (RFC 9112 section 9.8); and a handshake costs no task and no timer, because the client's own deadline covers it.

All that a read brought is deciphered at once and handed over in one piece, so nothing waits in between and flow control is that of the
socket. Renegotiation is off in every context, so writing never has to wait for reading.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

_RECORD = 2**14
"""The most that one record holds (RFC 8446 section 5.1)."""

_REASONS = {
    "HTTP_REQUEST": "plain_http", "HTTPS_PROXY_REQUEST": "plain_http",
    "WRONG_VERSION_NUMBER": "no_tls", "UNKNOWN_PROTOCOL": "no_tls", "PACKET_LENGTH_TOO_LONG": "no_tls", "RECORD_LAYER_FAILURE": "no_tls",
    "UNSUPPORTED_PROTOCOL": "version", "VERSION_TOO_LOW": "version", "NO_PROTOCOLS_AVAILABLE": "version", "INAPPROPRIATE_FALLBACK": "version",
    "NO_SHARED_CIPHER": "cipher", "NO_SUITABLE_KEY_SHARE": "cipher", "NO_SUITABLE_SIGNATURE_ALGORITHM": "cipher", "NO_SHARED_GROUP": "cipher",
    "CERTIFICATE_VERIFY_FAILED": "client_certificate", "PEER_DID_NOT_RETURN_A_CERTIFICATE": "client_certificate",
}  # fmt: skip
"""OpenSSL's reasons as the catalog's."""

_REFUSALS = (
    "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "UNKNOWN_CA",
    "ACCESS_DENIED", "CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "DECRYPT_ERROR",
)  # fmt: skip


class TlsError(Exception):
    """No secure connection to a server could be made: the cause, in OpenSSL's words."""


def reason_of(error: ssl.SSLError) -> str:
    """Why a handshake of a client failed, in a word of the catalog."""
    name = error.reason or ""
    return "refused_by_client" if "ALERT" in name else _REASONS.get(name, "other")


def is_refusal(error: BaseException | None) -> bool:
    """Whether the peer would not have our certificate. A TLS 1.3 server says so only after the client's side of the handshake is done."""
    name = (error.reason if isinstance(error, ssl.SSLError) else None) or ""
    return "ALERT" in name and name.endswith(_REFUSALS)


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One secured connection. A server's `app` is connected at once, so that it can time the handshake; a client's when that is done."""

    __slots__ = ("_app", "_error", "_full", "_incoming", "_mute", "_object", "_outgoing", "_over", "_report", "_shaken", "_transport", "done")

    def __init__(
        self, app: asyncio.Protocol, context: ssl.SSLContext, report: Callable[[TlsTransport, str, str], None] | None = None, name: str | None = None
    ) -> None:
        """`report`: makes it the server's side; told once, with reason and cause, if the handshake fails. `name`: of the server, for a client."""
        super().__init__()
        self._app = app
        self._report = report
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=report is not None, server_hostname=name)
        self._error: Exception | None = None
        self.done = False
        """whether the handshake is"""
        self._full = False  # the peer takes no more for now
        self._mute = False  # our direction has ended
        self._over = False  # so has the peer's, or the connection is beyond use
        self._shaken: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<TlsTransport {self._object.version() if self.done else 'handshake'} of {self._app}>"

    async def shaken(self) -> None:
        """Wait for the end of the handshake with a server; whoever stops waiting breaks it off. Raises `TlsError`."""
        if self.done:
            return
        if self._error is None:
            self._shaken = asyncio.get_running_loop().create_future()
            try:
                await self._shaken
            finally:
                self._shaken = None
                if not self.done:
                    self.abort()
        if self._error is not None:
            raise TlsError(str(self._error)) from None

    # --- as the protocol of the socket's transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._report:
            self._app.connection_made(self)
        else:
            self._shake()

    def data_received(self, data: bytes) -> None:
        """Hand over all that can be deciphered."""
        pieces: list[bytes] = []
        ended = False
        for at in range(0, len(data), _RECORD):  # OpenSSL's buffers never shrink, so they get little at once
            if self._over or self._error or ended:
                break
            self._incoming.write(data[at : at + _RECORD])
            if self.done or self._shake():
                ended = self._decipher(pieces)
        if not self.done:
            return
        self._flush()  # answers to changes of keys, alerts
        if pieces:
            self._app.data_received(b"".join(pieces))
        if self._over or not (ended or self._error):
            return
        self._over = True
        if ended:
            if not self._app.eof_received():
                self.close()
        else:
            self._transport.close()

    def eof_received(self) -> bool:
        """The stream ended. Without close_notify before, the socket's transport closes itself, and the protocol learns of the loss alone."""
        return self._over and self._error is None

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done:
            self._failed("closed_by_client", exc or ConnectionResetError("closed during the handshake"))
        if self._report or self.done:
            self._app.connection_lost(exc or self._error)  # which may still feed us what the socket holds
        self._over = True

    def pause_writing(self) -> None:
        self._full = True
        if self.done:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        if self.done:
            self._app.resume_writing()

    def _shake(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()  # the alert that says why
            self._failed(reason_of(error), error)
            self._over = True
            self._transport.close()
            return False
        self.done = True
        self._flush()
        self._wake()
        if not self._report:
            self._app.connection_made(self)
        return not self._over and not self._transport.is_closing()

    def _failed(self, reason: str, error: Exception) -> None:
        """Report a handshake that failed, once."""
        if self._report:
            report, self._report = self._report, _ignore
            report(self, reason, str(error) or type(error).__name__)
        else:
            self._error = self._error or error
            self._wake()

    def _wake(self) -> None:
        if self._shaken and not self._shaken.done():
            self._shaken.set_result(None)

    def _decipher(self, pieces: list[bytes]) -> bool:
        """Add what is in the buffer; whether the peer's direction has ended."""
        try:
            while self._incoming.pending or self._object.pending():
                piece = self._object.read(_RECORD)
                if not piece:
                    return True
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # how the end is told if ours came first
            return True
        except ssl.SSLError as error:
            self._error = error
        return False

    def _flush(self) -> None:
        """Send what OpenSSL has to say. A peer that takes nothing and yet has it say more and more (alerts, changes of keys) is cut off."""
        if self._outgoing.pending and not self._transport.is_closing():
            if self._full:
                self.abort()
            else:
                self._transport.write(self._outgoing.read())

    # --- as the transport of our protocol ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._mute or not self.done or self._transport.is_closing():
            return
        pieces: list[bytes] = []
        sent = 0
        try:
            while sent < len(data):
                sent += self._object.write(data[sent : sent + _RECORD])
                pieces.append(self._outgoing.read())
        except ssl.SSLError as error:
            self._error = error
            self.abort()
            return
        self._transport.writelines(pieces)  # joined, a large piece would cost more than its encryption

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._app = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._app

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """End our direction; the peer's goes on."""
        if not self.done:
            self.abort()
            return
        self._say_goodbye()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """End the connection after what has been written; a handshake that is under way is broken off."""
        if not self.done:
            self.abort()
            return
        self._say_goodbye()
        self._transport.close()

    def abort(self) -> None:
        if not self.done:
            self._failed("unfinished", TimeoutError("given up"))
        self._mute = self._over = True
        self._transport.abort()

    def _say_goodbye(self) -> None:
        if not self._mute:
            self._mute = True
            with suppress(ssl.SSLError):  # it would like to read the peer's goodbye as well
                self._object.unwrap()
            if self._outgoing.pending and not self._transport.is_closing():
                self._transport.write(self._outgoing.read())

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._object if name == "ssl_object" else self._transport.get_extra_info(name, default)


def _ignore(_connection: TlsTransport, _reason: str, _cause: str) -> None:
    """It has been told."""
