"""Generated messages through real sockets on both sides: a message arrives with its meaning unchanged, or not at all.

FUZZ_EXAMPLES sets the number of random examples of each kind; without it there are few, always the same.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from . import strict

if TYPE_CHECKING:
    from tests.lb.conftest import Balancer, Stream, World

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
fuzz = settings(
    max_examples=EXAMPLES or 60, derandomize=not EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    phases=list(Phase) if EXAMPLES else [Phase.generate],  # shrinking takes minutes if every example hangs
)  # fmt: skip
IDS = itertools.count()

# --- what is sent ---

TOKEN = st.text("abcXYZ09!#$%&'*+-.^`|~", min_size=1, max_size=6).map(lambda text: b"x" + text.encode())
VALUE = st.binary(max_size=12).map(lambda data: bytes(byte for byte in data if byte > 31 and byte != 127).strip())
BLANK = st.sampled_from([b"", b" ", b"\t", b" \t "])
TARGET = st.sampled_from(
    [b"/", b"//", b"/a/../b", b"/%2F%41?", b"/?a=b&&c", b"/a|b\\c", b"*", b"http://other", b"http://other:81/a?b", b"HTTP://other?x"]
)
BODY = st.binary(max_size=40) | st.sampled_from([b"0\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n", b"x" * 5000])


@st.composite
def chunks(draw: st.DrawFn, body: bytes) -> bytes:
    """A body in chunks of any size, with unusual spellings of the size."""
    found = b""
    while body:
        size = draw(st.integers(1, len(body)))
        spelling = draw(st.sampled_from([b"%x", b"%X", b"000%x", b"%x;a", b'%x;a="b;c"']))
        found, body = found + spelling % size + b"\r\n" + body[:size] + b"\r\n", body[size:]
    return found + draw(st.sampled_from([b"0\r\n\r\n", b"000\r\n\r\n"]))


@st.composite
def framed(draw: st.DrawFn, body: bytes) -> tuple[list[bytes], bytes]:
    """The header lines that frame a body, and its bytes."""
    if draw(st.booleans()):
        name = draw(st.sampled_from([b"Transfer-Encoding", b"transfer-encoding", b"TRANSFER-ENCODING"]))
        return [name + b":" + draw(BLANK) + draw(st.sampled_from([b"chunked", b"Chunked", b"chunked "]))], draw(chunks(body))
    name = draw(st.sampled_from([b"Content-Length", b"content-length", b"CONTENT-LENGTH"]))
    return [name + b":" + draw(BLANK) + b"%d" % len(body) + draw(BLANK)], body


@st.composite
def fields(draw: st.DrawFn) -> list[bytes]:
    """Header lines other than framing."""
    plain = st.tuples(TOKEN, BLANK, VALUE, BLANK).map(lambda parts: parts[0] + b":" + parts[1] + parts[2] + parts[3])
    special = st.sampled_from(
        [b"Connection: keep-alive", b"Connection: xa, XB", b"xa: nominated", b"TE: trailers", b"X_Y: 1", b"Forwarded: for=x", b"Upgrade: h2c"]
    )
    return draw(st.lists(plain | special, max_size=4))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One valid request with a unique `X-Id`."""
    method, target = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PROPFIND"])), draw(TARGET)
    if target == b"*":
        method = b"OPTIONS"
    lines, body = draw(framed(draw(BODY))) if draw(st.booleans()) else ([], b"")
    lines = draw(st.permutations([b"Host: test", b"X-Id: %08d" % next(IDS), *lines, *draw(fields())]))
    start = draw(st.sampled_from([b"", b"", b"\r\n"])) + method + b" " + target + b" HTTP/1.1"
    return b"\r\n".join([start, *lines, b"", b""]) + body


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The bytes in up to six pieces."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True) if begin < end]


NASTY = [
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b",", b"\r\n\r\n", b"\r\n ", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n", b"Transfer-Encoding:\x0bchunked\r\n", b"Host: evil\r\n", b"Connection: close\r\n",
    b"0\r\n\r\n", b"0\r\nX: a\r\n\r\n", b"5\r\n", b"0", b"+", b"-", b"0x", b";", b"\xff", b"\x7f", b"#", b" HTTP/1.0", b"HTTP/1.1 200 OK\r\n",
    b"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with up to three deletions, duplications or insertions."""
    for _change in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        middle = draw(st.sampled_from([b"", data[at:end] * 2, data[at:end].swapcase(), *NASTY]))
        data = data[:at] + middle + data[end if draw(st.booleans()) else at :]
    return data


# --- towards the origin ---


class Reader:
    """An origin's script that reads with the independent parser `strict`, records the requests, and answers with their ids."""

    def __init__(self) -> None:
        self.got: list[strict.Message] = []
        self.broken: list[bytes] = []

    def __call__(self, stream: Stream) -> None:
        while True:
            try:
                message, stream.buffer = strict.request(stream.buffer)
            except strict.IncompleteError:
                if not stream._more():
                    return
                continue
            except strict.MalformedError:
                self.broken.append(stream.buffer)
                return
            self.got.append(message)
            number = b",".join(message.values(b"x-id"))
            stream.send(b"HTTP/1.1 200 OK\r\nX-Id: %b\r\nContent-Length: %d\r\n\r\n" % (number, len(number)) + number)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.fixture(scope="module")
def balancer(shared: World, reader: Reader) -> Balancer:
    return shared.balancer(shared.origin(reader), circuit_breaker=False, retry=False, log={"access": False})


@pytest.fixture(scope="module")
def impatient(shared: World, reader: Reader) -> Balancer:
    """A balancer with short timeouts, for streams that end in the middle of a request."""
    return shared.balancer(
        shared.origin(reader), circuit_breaker=False, retry=False, log={"access": False}, timeouts={"request_header": "10ms", "body_idle": "10ms"}
    )


def received(message: strict.Message) -> strict.Forwarded:
    """The request that an origin got, after checking the forwarding headers of the balancer."""
    tail = [(b"X-Forwarded-Host", message.values(b"host")[0]), (b"X-Forwarded-For", b"127.0.0.1"), (b"X-Forwarded-Proto", b"http")]
    end = [(name, value) for name, value in message.fields if name != b"Transfer-Encoding"][-3:]
    assert end == tail
    return strict.forwarded(message, b"")


def send(balancer: Balancer, pieces: list[bytes]) -> Stream:
    stream = balancer.connect()
    stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError):
        for piece in pieces:
            stream.send(piece)
    return stream


@fuzz
@given(data=st.data())
def test_requests_arrive_with_meaning_unchanged(balancer: Balancer, reader: Reader, data: st.DataObject) -> None:
    """Each of the pipelined requests gets its own answer."""
    raw = b"".join(data.draw(st.lists(requests(), min_size=1, max_size=5)))
    meant = strict.requests(raw)
    reader.got.clear()
    stream = send(balancer, data.draw(cuts(raw)))
    for number, message in enumerate(meant):
        head, body = stream.message()
        if not head and meant[number - 1].values(b"transfer-encoding"):  # a request behind chunks in the same read may be answered by closing
            del meant[number:]
            break
        assert head.startswith(b"HTTP/1.1 200 OK\r\nX-Id: ")
        assert body == message.values(b"x-id")[0]
    stream.close()
    assert [received(message) for message in reader.got] == [strict.forwarded(message, b"") for message in meant]
    assert not reader.broken


LAST = b"GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


@fuzz
@given(data=st.data())
def test_mutated_requests_arrive_correctly_or_not_at_all(impatient: Balancer, reader: Reader, data: st.DataObject) -> None:
    good = b"".join(data.draw(st.lists(requests(), min_size=1, max_size=3)))
    raw = data.draw(mutated(good)) + LAST
    reader.got.clear()
    stream = send(impatient, data.draw(cuts(raw)))
    answers = stream.rest()
    stream.close()
    meant = [strict.forwarded(message, b"127.0.0.1:%d" % impatient.port) for message in strict.requests(raw)]
    assert [received(message) for message in reader.got] == meant[: len(reader.got)]
    assert not reader.broken
    assert answers.count(b"HTTP/1.1 200 OK\r\n") <= len(reader.got)


# --- towards the client ---


class ScriptedOrigin:
    """An origin's script that answers /generated with `pieces`, and every other target with the target itself."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.close = False

    def __call__(self, stream: Stream) -> None:
        stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while head := stream.head():
            target = head.split(b" ")[1]
            if target != b"/generated":
                stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(target) + target)
                continue
            for piece in self.pieces:
                stream.send(piece)
            if self.close:
                return


@pytest.fixture(scope="module")
def scripted_origin() -> ScriptedOrigin:
    return ScriptedOrigin()


@pytest.fixture(scope="module")
def front(shared: World, scripted_origin: ScriptedOrigin) -> Balancer:
    return shared.balancer(
        shared.origin(scripted_origin),
        circuit_breaker=False,
        retry=False,
        log={"access": False},
        timeouts={"first_byte": "10ms", "response_idle": "10ms"},
    )


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bool]:
    """One valid response, and whether it ends with the connection."""
    status = draw(st.sampled_from([b"200 OK", b"204 No Content", b"304 Not Modified", b"404 \xff\t!", b"599 "]))
    ends = draw(st.booleans())
    none = status[:3] in (b"204", b"304")
    lines, body = ([], b"") if none else ([b"Connection: close"], draw(BODY)) if ends else draw(framed(draw(BODY)))
    lines = draw(st.permutations([*lines, *draw(fields())]))
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""]) + body, ends and not none


def fetch(balancer: Balancer, scripted_origin: ScriptedOrigin, pieces: list[bytes], *, close: bool) -> bytes:
    """The whole answer to one request; checks that the next client gets its own answer."""
    scripted_origin.pieces, scripted_origin.close = pieces, close
    stream = balancer.connect().send(b"GET /generated HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    answer = stream.rest()
    stream.close()
    name = b"/%d" % next(IDS)
    assert balancer.get(name.decode())[1] == name
    while answer.startswith(b"HTTP/1.1 1"):
        answer = answer.partition(b"\r\n\r\n")[2]
    return answer


def understood(answer: bytes) -> tuple[bytes, strict.Fields, bytes] | None:
    """Status, fields and body; None if the client can tell that the answer is incomplete."""
    try:
        message, rest = strict.response(answer, head=False, ended=False)
    except strict.IncompleteError:
        return None
    assert rest == b""
    return message.start[1], plain(message), message.body


def plain(message: strict.Message) -> strict.Fields:
    """The end-to-end fields, each run of blanks in a value as one, because folded lines may be joined by any blanks."""
    return tuple((name, BLANKS.sub(b" ", value)) for name, value in strict.end_to_end(message))


@fuzz
@given(data=st.data())
def test_responses_arrive_with_meaning_unchanged(front: Balancer, scripted_origin: ScriptedOrigin, data: st.DataObject) -> None:
    raw, ends = data.draw(responses())
    message, _rest = strict.response(raw, head=False, ended=True)
    answer = fetch(front, scripted_origin, data.draw(cuts(raw)), close=ends)
    assert understood(answer) == (message.start[1], plain(message), message.body)
    assert answer.split(b"\r\n")[0] == raw.split(b"\r\n")[0]


@fuzz
@given(data=st.data())
def test_mutated_responses_become_correct_502_or_abort(front: Balancer, scripted_origin: ScriptedOrigin, data: st.DataObject) -> None:
    good, ends = data.draw(responses())
    raw = data.draw(mutated(good))
    answer = fetch(front, scripted_origin, data.draw(cuts(raw)), close=ends)
    outcome = understood(answer) if answer else None
    if outcome is None or outcome[0] in (b"502", b"504"):
        return
    assert outcome == meant(raw, ended=ends)


BLANKS = re.compile(rb"[ \t]+")
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
FOLD = re.compile(rb"[ \t]*\r?\n[ \t]+")


def meant(raw: bytes, *, ended: bool) -> tuple[bytes, strict.Fields, bytes] | None:
    """The meaning of a response to a lenient reader, who accepts bare LF and folded lines; without interim responses."""
    head, end, rest = raw, END_OF_HEAD.search(raw), b""
    if end is not None:
        head, rest = raw[: end.start()], raw[end.end() :]
    if head.startswith(b"HTTP/1.1 1"):
        return meant(rest, ended=ended)
    head = FOLD.sub(b" ", head).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    message, _rest = strict.response(head + b"\r\n\r\n" + rest, head=False, ended=ended)
    fields = plain(message)
    if message.start[1] == b"204":
        fields = tuple((name, value) for name, value in fields if name.lower() != b"content-length")
    return message.start[1], fields, message.body
