"""TLS between a socket's transport and one of our protocols (`client`, `upstream`), which sees it as an ordinary transport.

Theory. OpenSSL works on two memory buffers: bytes from the peer go into one, bytes for the peer come out of the other. The event loop has
such a layer too; this one exists because ending a connection matters here as much as sending. It can end our direction alone
(`write_eof`: close_notify, then the end of the stream), which lets a refused client read its response. It distinguishes an end that the
peer announced (close_notify: `eof_received`) from one that anyone on the path can cause (`connection_lost` alone), so that truncated data
is never taken for complete (RFC 9112 section 9.8). And a handshake costs no task and no timer, because the client's deadline covers it.

All data of a read is decrypted at once and passed on in one piece, so nothing is buffered in between and flow control is that of the
socket. Renegotiation is off in every context, so writing never has to wait for reading.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

_RECORD = 2**14
"""Maximum bytes of a record (RFC 8446 section 5.1)."""

_REASONS = {
    "HTTP_REQUEST": "plain_http", "HTTPS_PROXY_REQUEST": "plain_http",
    "WRONG_VERSION_NUMBER": "no_tls", "UNKNOWN_PROTOCOL": "no_tls", "PACKET_LENGTH_TOO_LONG": "no_tls", "RECORD_LAYER_FAILURE": "no_tls",
    "UNSUPPORTED_PROTOCOL": "version", "VERSION_TOO_LOW": "version", "NO_PROTOCOLS_AVAILABLE": "version", "INAPPROPRIATE_FALLBACK": "version",
    "NO_SHARED_CIPHER": "cipher", "NO_SUITABLE_KEY_SHARE": "cipher", "NO_SUITABLE_SIGNATURE_ALGORITHM": "cipher", "NO_SHARED_GROUP": "cipher",
    "CERTIFICATE_VERIFY_FAILED": "client_certificate", "PEER_DID_NOT_RETURN_A_CERTIFICATE": "client_certificate",
}  # fmt: skip
"""OpenSSL's reasons, mapped to those of the catalog."""

_REFUSALS = (
    "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "UNKNOWN_CA",
    "ACCESS_DENIED", "CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "DECRYPT_ERROR",
)  # fmt: skip


class TlsError(Exception):
    """TLS with a backend failed; the text is OpenSSL's message."""


def reason_of(error: ssl.SSLError) -> str:
    """Why a client's handshake failed, as a value of the catalog's label."""
    name = error.reason or ""
    return "refused_by_client" if "ALERT" in name else _REASONS.get(name, "other")


def is_refusal(error: BaseException | None) -> bool:
    """True if the peer rejected our certificate. A TLS 1.3 server does so only after the client's side of the handshake is done."""
    name = (error.reason if isinstance(error, ssl.SSLError) else None) or ""
    return "ALERT" in name and name.endswith(_REFUSALS)


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """A TLS connection. On the server side, `app` is connected at once, so that it can time the handshake; on the client side, after it."""

    __slots__ = ("_app", "_error", "_full", "_incoming", "_mute", "_object", "_outgoing", "_over", "_report", "_shaken", "_transport", "done")

    def __init__(
        self, app: asyncio.Protocol, context: ssl.SSLContext, report: Callable[[TlsTransport, str, str], None] | None = None, name: str | None = None
    ) -> None:
        """`report`: makes it the server side, called once with reason and cause if a handshake fails; `name`: server name, client side only."""
        super().__init__()
        self._app = app
        self._report = report
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=report is not None, server_hostname=name)
        self._error: Exception | None = None
        self.done = False
        """True when the handshake is complete"""
        self._full = False  # the send buffer is full
        self._mute = False  # our direction has ended
        self._over = False  # the peer's direction has ended, or the connection is unusable
        self._shaken: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<TlsTransport {self._object.version() if self.done else 'handshake'} of {self._app}>"

    async def shaken(self) -> None:
        """Wait for the end of the client-side handshake; cancelling aborts the connection. Raises `TlsError`."""
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
        """Decrypt the data and pass it on."""
        pieces: list[bytes] = []
        ended = False
        for at in range(0, len(data), _RECORD):  # in small parts: OpenSSL's buffers never shrink
            if self._over or self._error or ended:
                break
            self._incoming.write(data[at : at + _RECORD])
            if self.done or self._shake():
                ended = self._decipher(pieces)
        if not self.done:
            return
        self._flush()  # answers to key updates, alerts
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
        """The stream has ended. Without a close_notify before, the transport closes, and the protocol gets only `connection_lost`."""
        return self._over and self._error is None

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done:
            self._failed("closed_by_client", exc or ConnectionResetError("closed during the handshake"))
        if self._report or self.done:
            self._app.connection_lost(exc or self._error)  # which may still feed us the rest from the socket
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
        """Continue the handshake. Returns True when it is complete."""
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
        """Report a failed handshake, once."""
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
        """Append the decrypted data to `pieces`. Returns True if the peer's direction has ended."""
        try:
            while self._incoming.pending or self._object.pending():
                piece = self._object.read(_RECORD)
                if not piece:
                    return True
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the peer's end after ours
            return True
        except ssl.SSLError as error:
            self._error = error
        return False

    def _flush(self) -> None:
        """Send OpenSSL's pending output. Abort if the peer reads nothing but keeps causing output (alerts, key updates)."""
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
        """End our direction; the peer's continues."""
        if not self.done:
            self.abort()
            return
        self._send_close_notify()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """Close the connection after sending what has been written; abort an incomplete handshake."""
        if not self.done:
            self.abort()
            return
        self._send_close_notify()
        self._transport.close()

    def abort(self) -> None:
        if not self.done:
            self._failed("unfinished", TimeoutError("handshake aborted"))
        self._mute = self._over = True
        self._transport.abort()

    def _send_close_notify(self) -> None:
        if not self._mute:
            self._mute = True
            with suppress(ssl.SSLError):  # it also wants to read the peer's close_notify
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
    """Does nothing: a failure has already been reported."""
