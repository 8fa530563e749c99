"""TLS for clients: choice of the certificate, client authentication, and how a connection ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Authority
    from tests.lb.conftest import Balancer, Stream, World

GET = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"
LISTEN = {"listen": "127.0.0.1:0"}
MIB = 2**20


def failures(balancer: Balancer, reason: str) -> float:
    return balancer.metric(f'balance_tls_handshake_failures_total{{reason="{reason}"}}')


def raw(balancer: Balancer) -> socket.socket:
    """A TCP connection to the TLS port, without TLS."""
    return socket.create_connection(("127.0.0.1", balancer.tls_port), 15)


@pytest.fixture(scope="module")
def balancer(shared: World, authority: Authority) -> Balancer:
    """A balancer with four certificates, whose origin sends back the head or the body of the request."""

    def echo(stream: Stream) -> None:
        while (got := stream.message())[0]:
            body = got[0] if got[0].startswith(b"GET") else got[1]
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    pairs = [
        authority.issue("site", "site.test", "www.active_config.test"),
        authority.issue("wild", "*.wild.test"),
        authority.issue("exact", "a.wild.test"),
    ]
    pairs.append(authority.issue("later", "www.active_config.test", "a.wild.test"))
    return shared.balancer(shared.origin(echo), tls={**LISTEN, "certificates": pairs}, log={"level": "debug"}, limits={"max_header_size": "4KiB"})


SHOWN = {
    "site.test": "site", "www.active_config.test": "site", "WWW.Site.Test": "site",
    "b.wild.test": "wild", "a.wild.test": "exact",
    "wild.test": "site", "a.b.wild.test": "site", "unknown.test": "site", "": "site",
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_certificate_is_chosen_by_sni(balancer: Balancer, authority: Authority, name: str) -> None:
    context = authority.client()
    context.check_hostname = False
    stream = balancer.connect_tls(context, name or None)
    assert isinstance(stream.sock, ssl.SSLSocket)
    certificate = stream.sock.getpeercert()
    assert certificate
    assert certificate["subject"] == ((("commonName", SHOWN[name]),),)
    assert stream.send(GET).message()[0].startswith(b"HTTP/1.1 200 ")


def test_x_forwarded_proto_is_https(balancer: Balancer, authority: Authority) -> None:
    stream = balancer.connect_tls(authority.client())
    _head, seen = stream.send(b"GET / HTTP/1.1\r\nHost: site.test\r\nX-Forwarded-Proto: gopher\r\n\r\n").message()
    assert b"\r\nX-Forwarded-Proto: https\r\n" in seen
    assert seen.lower().count(b"x-forwarded-proto") == 1
    assert b"\r\nX-Forwarded-Proto: http\r\n" in balancer.get()[1]


def test_requests_share_a_connection_and_may_pipeline(balancer: Balancer, authority: Authority) -> None:
    stream = balancer.connect_tls(authority.client())
    stream.send(b"".join(GET.replace(b" / ", b" /%d " % number) for number in range(50)))
    assert [stream.message()[1].split(b" ")[1] for _number in range(50)] == [b"/%d" % number for number in range(50)]
    assert stream.send(GET).message()[0].startswith(b"HTTP/1.1 200 ")


def test_alpn_selects_http_1_1(balancer: Balancer, authority: Authority) -> None:
    context = authority.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    stream = balancer.connect_tls(context)
    assert isinstance(stream.sock, ssl.SSLSocket)
    assert stream.sock.selected_alpn_protocol() == "http/1.1"
    assert stream.sock.compression() is None


def test_tiny_packets_are_understood(balancer: Balancer, authority: Authority) -> None:
    """Handshake, request and response with a few bytes in each packet."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client().wrap_bio(incoming, outgoing, server_hostname="site.test")
    answer, sent = b"", False
    with raw(balancer) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not answer.endswith(b"\r\n\r\n\r\n\r\n") and b"site.test\r\n" not in answer:
            try:
                if not sent:
                    client.do_handshake()
                    client.write(GET)
                    sent = True
                answer += client.read(1000)
            except ssl.SSLWantReadError:
                data = outgoing.read()
                for at in range(0, len(data), 7):
                    sock.sendall(data[at : at + 7])
                incoming.write(sock.recv(5))
    assert answer.startswith(b"HTTP/1.1 200 ")


BAD = {
    "plain HTTP": (GET, "plain_http"),
    "not TLS": (b"\x00" * 300, "no_tls"),
    "SSH": (b"SSH-2.0-OpenSSH_9.9\r\n", "no_tls"),
    "broken ClientHello": (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "other"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_handshake_is_closed_and_counted(balancer: Balancer, case: str) -> None:
    data, reason = BAD[case]
    before = failures(balancer, reason)
    with raw(balancer) as sock:
        sock.sendall(data)
        answer = sock.makefile("rb").read()
    assert b"HTTP" not in answer
    balancer.becomes(f'balance_tls_handshake_failures_total{{reason="{reason}"}}', before + 1)
    assert balancer.event("tls_handshake_failed", reason=reason)["level"] == "debug"


@pytest.mark.parametrize("how", ["close", "reset", "part of a ClientHello"])
def test_client_leaving_handshake_is_counted(balancer: Balancer, how: str) -> None:
    before = failures(balancer, "closed_by_client")
    sock = raw(balancer)
    if how == "part of a ClientHello":
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    balancer.becomes('balance_tls_handshake_failures_total{reason="closed_by_client"}', before + 1)


def test_client_rejecting_certificate_is_counted(balancer: Balancer, stranger: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        balancer.connect_tls(stranger.client())
    balancer.becomes('balance_tls_handshake_failures_total{reason="refused_by_client"}', 1)


def test_non_ascii_sni_logs_no_warning(balancer: Balancer, authority: Authority) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client().wrap_bio(incoming, outgoing, server_hostname="site.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with raw(balancer) as sock:
        sock.sendall(outgoing.read().replace(b"site.test", b"s\xfft\xc3.test"))
        sock.makefile("rb").read()
    assert not [event for event in balancer.events if event["level"] not in ("debug", "info")]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("least", ["1.2", "1.3"])
def test_older_tls_version_is_refused(world: World, authority: Authority, least: str) -> None:
    balancer = world.balancer(world.origin(), tls={**LISTEN, "certificates": [authority.issue("site", "site.test")], "min_version": least})
    old = authority.client()
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_1, "1.3": ssl.TLSVersion.TLSv1_2}[least]
    with pytest.raises(ssl.SSLError):
        balancer.connect_tls(old)
    balancer.becomes('balance_tls_handshake_failures_total{reason="version"}', 1)
    assert balancer.connect_tls(authority.client()).send(GET).message()[1] == b"ok"


ADMITTED = {
    ("none", "nothing"): True, ("none", "theirs"): True, ("none", "a stranger's"): True,
    ("optional", "nothing"): True, ("optional", "theirs"): True, ("optional", "a stranger's"): False,
    ("required", "nothing"): False, ("required", "theirs"): True, ("required", "a stranger's"): False,
}  # fmt: skip


def admitted(balancer: Balancer, context: ssl.SSLContext, name: str) -> bool:
    """True if a request is answered; with TLS 1.3, a rejected client certificate shows only then."""
    try:
        return balancer.connect_tls(context, name).send(GET).message()[1] == b"ok"
    except (ssl.SSLError, ConnectionError):
        return False


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("mode", ["none", "optional", "required"])
def test_client_authentication_modes(world: World, authority: Authority, stranger: Authority, mode: str, version: ssl.TLSVersion) -> None:
    auth = {"mode": mode} if mode == "none" else {"mode": mode, "ca": str(authority.ca)}
    certificates = [authority.issue("site", "site.test"), authority.issue("other", "other.test")]
    origin = world.origin()
    balancer = world.balancer(origin, tls={**LISTEN, "certificates": certificates, "client_auth": auth})
    shown = {"nothing": None, "theirs": authority.issue("client"), "a stranger's": stranger.issue("client")}
    refused = 0
    for name in ("site.test", "other.test"):
        for what, pair in shown.items():
            context = authority.client(pair)
            context.maximum_version = version
            context.minimum_version = version
            assert admitted(balancer, context, name) is ADMITTED[mode, what]
            refused += not ADMITTED[mode, what]
    balancer.becomes('balance_tls_handshake_failures_total{reason="client_certificate"}', refused)
    assert len(origin.heads) == 6 - refused


def test_handshake_timeout_and_connection_limit(world: World, authority: Authority) -> None:
    """A handshake must end within `request_header`, and counts as a connection meanwhile."""
    tls = {**LISTEN, "certificates": [authority.issue("site", "site.test")]}
    balancer = world.balancer(world.origin(), tls=tls, limits={"max_connections": 3}, timeouts={"request_header": "1s"})
    silent = [raw(balancer) for _connection in range(3)]
    balancer.becomes("balance_active_connections", 3)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        balancer.connect_tls(authority.client())
    assert failures(balancer, "unfinished") == 1
    assert balancer.metric('balance_http_requests_total{method="OTHER",status="503"}') == 0
    assert balancer.get()[1] == b"503 Service Unavailable: too many connections\n"
    for sock in silent:
        assert sock.recv(100) == b""
        sock.close()
    balancer.becomes('balance_tls_handshake_failures_total{reason="unfinished"}', 4)
    assert balancer.connect_tls(authority.client()).send(GET).message()[1] == b"ok"


def test_broken_handshakes_leak_nothing(world: World, authority: Authority) -> None:
    balancer = world.balancer(world.origin(), tls={**LISTEN, "certificates": [authority.issue("site", "site.test")]})
    open_files = f"/proc/{balancer.process.pid}/fd"
    before = len(os.listdir(open_files))
    for number in range(300):
        with raw(balancer) as sock:
            sock.sendall((GET, b"\x16\x03\x01", b"\x00" * 100)[number % 3])
    balancer.becomes("balance_active_connections", 0)
    world.until(lambda: len(os.listdir(open_files)) <= before)
    assert failures(balancer, "plain_http") + failures(balancer, "no_tls") + failures(balancer, "closed_by_client") == 300
    assert balancer.connect_tls(authority.client()).send(GET).message()[1] == b"ok"


def test_truncated_upload_is_never_passed_on_as_complete(world: World, authority: Authority) -> None:
    """The stream ends without close_notify, or with it, before the body does; chunked and by length."""
    heads = {b"Content-Length: 100\r\n\r\nabc": b"abc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n": b"3\r\nabc\r\n"}
    begun: list[bytes] = []
    got: list[bytes] = []

    def script(stream: Stream) -> None:
        begun.append(stream.until(b"abc"))
        got.append(begun[-1] + stream.rest())

    origin = world.origin(script)
    balancer = world.balancer(origin, tls={**LISTEN, "certificates": [authority.issue("site", "site.test")]}, retry=False)
    for count, (rest, body) in enumerate(heads.items()):
        for politely in (False, True):
            stream = balancer.connect_tls(authority.client()).send(b"POST / HTTP/1.1\r\nHost: site.test\r\n" + rest)
            world.until(lambda: len(begun) > len(got))
            if politely and isinstance(stream.sock, ssl.SSLSocket):
                with contextlib.suppress(OSError):  # the connection is reset
                    stream.sock.unwrap()
            else:
                stream.sock.shutdown(socket.SHUT_WR)
            world.until(lambda: len(got) == 2 * count + politely + 1)  # noqa: B023
            assert got[-1].endswith(b"\r\n\r\n" + body)
            stream.close()
    world.until(lambda: [line["reason"] for line in balancer.access()] == ["client_abort"] * 4)


def test_truncated_response_ends_without_close_notify(world: World, authority: Authority) -> None:
    """A complete one ends with it."""

    def script(stream: Stream) -> None:
        head, _body = stream.message()
        stream.send(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 100\r\n\r\nabc" if b" /cut " in head else b"\r\nabc"))

    balancer = world.balancer(world.origin(script), tls={**LISTEN, "certificates": [authority.issue("site", "site.test")]}, retry=False)
    whole = balancer.connect_tls(authority.client()).send(GET.replace(b"1.1", b"1.0"))
    assert whole.rest().endswith(b"\r\n\r\nabc")
    cut = balancer.connect_tls(authority.client()).send(GET.replace(b" / ", b" /cut "))
    assert cut.until(b"abc").endswith(b"abc")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        cut.sock.recv(100)


def test_client_refused_while_sending_gets_answer(balancer: Balancer, authority: Authority) -> None:
    """And then a close_notify."""
    stream = balancer.connect_tls(authority.client())
    stream.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + b"x" * 1000)
    assert stream.message()[0].startswith(b"HTTP/1.1 400 ")
    assert stream.rest() == b""  # close_notify: without it this raises
    stream = balancer.connect_tls(authority.client())
    stream.send(b"GET / HTTP/1.1\r\nHost: site.test\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
    assert stream.rest().startswith(b"HTTP/1.1 431 ")


def test_idle_connection_gets_close_notify(world: World, authority: Authority) -> None:
    tls = {**LISTEN, "certificates": [authority.issue("site", "site.test")]}
    balancer = world.balancer(world.origin(), tls=tls, timeouts={"keep_alive": "200ms", "request_header": "200ms", "shutdown": "5s"})
    used, unused = balancer.connect_tls(authority.client()).send(GET), balancer.connect_tls(authority.client())
    assert used.message()[1] == b"ok"
    assert used.rest() == b""
    assert unused.rest() == b""
    partial = balancer.connect_tls(authority.client()).send(GET[:-2])
    assert partial.rest().startswith(b"HTTP/1.1 408 ")
    busy = world.balancer(world.origin(), tls=tls, timeouts={"shutdown": "15s"})
    idle = busy.connect_tls(authority.client()).send(GET)
    assert idle.message()[1] == b"ok"
    busy.signal(signal.SIGTERM)
    assert idle.rest() == b""
    assert busy.wait() == 0


def test_bodies_stream_with_backpressure(world: World, authority: Authority) -> None:
    size = 5 * MIB
    take, taken = threading.Event(), threading.Event()

    def script(stream: Stream) -> None:
        head = stream.head()
        if head.startswith(b"POST"):
            take.wait()
            assert stream.skip(size) == size
            taken.set()
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        else:
            block = bytes(range(256)) * 4096
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (20 * MIB))
            for _block in range(20):
                stream.send(block)

    back = authority.issue("back", "127.0.0.1")
    origin = world.origin(script, authority.server(back))
    balancer = world.balancer(
        backends=[{"name": "a", "address": f"127.0.0.1:{origin.port}", "tls": {"ca": str(authority.ca)}}],
        tls={**LISTEN, "certificates": [authority.issue("site", "site.test")]},
    )
    up = balancer.connect_tls(authority.client())
    sender = threading.Thread(target=lambda: up.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: %d\r\n\r\n" % size + b"u" * size))
    sender.start()
    world.until(lambda: origin.streams)
    assert memory(balancer) < 100 * MIB
    take.set()
    assert up.message()[1] == b"ok"
    assert taken.is_set()
    sender.join()
    down = balancer.connect_tls(authority.client()).send(GET)
    head = down.head()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert down.exactly(MIB) == bytes(range(256)) * 4096
    assert memory(balancer) < 100 * MIB
    assert down.skip(19 * MIB) == 19 * MIB
    assert down.send(GET).head().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("way", ["in", "out"])
def test_idle_connection_keeps_no_buffers(world: World, authority: Authority, way: str) -> None:
    def script(stream: Stream) -> None:
        while stream.message()[0]:
            stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    size, request = (2, b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: %d\r\n\r\n" % MIB + bytes(MIB)) if way == "in" else (MIB, GET)
    balancer = world.balancer(world.origin(script), tls={**LISTEN, "certificates": [authority.issue("site", "site.test")]})

    def transfer() -> None:
        stream = balancer.connect_tls(authority.client()).send(request)
        stream.head()
        assert stream.skip(size) == size

    for _connection in range(10):
        transfer()
    before = memory(balancer)
    for _connection in range(100):
        transfer()
    assert memory(balancer) - before < 100 * 120 * 1024  # 40 KiB each; 280 KiB if buffers grow with what is read or written at once


def memory(balancer: Balancer) -> float:
    return balancer.metric("process_resident_memory_bytes")


def test_tls_without_plain_listener(world: World, authority: Authority, tmp_path: object) -> None:
    path = f"{tmp_path}/tls.sock"
    tls = {"listen": ["127.0.0.1:0", f"unix:{path}"], "certificates": [authority.issue("site", "site.test")]}
    balancer = world.balancer(world.origin(), listen=None, tls=tls)
    assert balancer.listen == []
    assert balancer.connect_tls(authority.client()).send(GET).message()[1] == b"ok"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        with authority.client().wrap_socket(sock, server_hostname="site.test") as secure:
            secure.sendall(GET)
            assert secure.recv(1000).startswith(b"HTTP/1.1 200 ")
