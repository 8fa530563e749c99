"""A scripted DNS server on loopback, UDP and TCP on one port."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from .conftest import PATIENCE


class DnsServer:
    """`records`: name and record type to rows; `rcodes`: error codes by name; names in `mute` get no answer. A name exists if it has
    records of any type. `questions`: the queries so far, in order; `by_tcp`: the number of queries over TCP."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.rcodes: dict[str, dns.rcode.Rcode] = {}
        self.mute: set[str] = set()
        self.truncating = False
        self.ttl = 1
        self.questions: list[tuple[str, str]] = []
        self.by_tcp = 0
        self._streams = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._streams.getsockname()[1]
        self._packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._packets.bind(("127.0.0.1", self.port))
        self._threads = [threading.Thread(target=self._serve_packets), threading.Thread(target=self._serve_streams)]
        for thread in self._threads:
            thread.start()

    def put(self, name: str, kind: str, *rows: str) -> None:
        """Replace the records of this type for the name."""
        self.records[name, kind] = list(rows)

    def _answer(self, data: bytes, *, truncating: bool = False) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.questions.append((name, kind))
        if name in self.mute:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        known = any(name == one for one, _kind in self.records)
        response.set_rcode(self.rcodes.get(name, dns.rcode.NOERROR if known else dns.rcode.NXDOMAIN))
        rows = self.records.get((name, kind), [])
        if truncating:
            response.flags |= dns.flags.TC
        elif rows and name not in self.rcodes:
            response.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", kind, *rows))
        return response.to_wire(max_size=65535)

    def _serve_packets(self) -> None:
        with suppress(OSError):
            while True:
                data, client = self._packets.recvfrom(4096)
                if not data:
                    return
                if answer := self._answer(data, truncating=self.truncating):
                    self._packets.sendto(answer, client)

    def _serve_streams(self) -> None:
        with suppress(OSError):
            while True:
                stream, _address = self._streams.accept()
                with stream:
                    stream.settimeout(PATIENCE)
                    (length,) = struct.unpack("!H", stream.recv(2, socket.MSG_WAITALL))
                    self.by_tcp += 1
                    if answer := self._answer(stream.recv(length, socket.MSG_WAITALL)):
                        stream.sendall(struct.pack("!H", len(answer)) + answer)

    def close(self) -> None:
        """Stop; an empty packet wakes the UDP thread."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        with suppress(OSError):
            self._streams.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._packets.close()
        self._streams.close()
