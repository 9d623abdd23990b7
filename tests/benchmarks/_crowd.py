"""
Many WebSocket readers in one process, as cheap as Python allows, and publishers that send one event at a time.

The readers speak just enough of RFC 6455 to count events and to take the age of some of them; ``sent`` in an event is
the publisher's CLOCK_MONOTONIC in nanoseconds, which all processes of a machine share. Client frames carry the mask 0, so
masking is no work (section 5.3).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import uvloop
import zstandard

_SENT = re.compile(rb'"sent":(\d+),"n":(\d+)')
_MARK = b'"sent":'
_SAMPLED = 20  # readers whose every event is looked at
_inflate = zstandard.ZstdDecompressor().decompress


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """A client's frame."""
    size = len(payload)
    head = bytes([128 | opcode])
    if size < 126:
        return head + bytes([128 | size]) + bytes(4) + payload
    if size < 65_536:
        return head + bytes([254]) + size.to_bytes(2, "big") + bytes(4) + payload
    return head + bytes([255]) + size.to_bytes(8, "big") + bytes(4) + payload


def handshake(url: str, headers: dict[str, str]) -> bytes:
    """The request that opens a WebSocket."""
    parts = urlsplit(url)
    lines = [
        f"GET {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1", f"Host: {parts.netloc}",
        "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Connection:
    """What all readers do."""

    def __init__(self, crowd: Crowd, opening: bytes) -> None:
        self._crowd, self._opening = crowd, opening
        self._is_open = False
        self.numbers: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods alone
        self._transport.write(self._opening)

    def connection_lost(self, error: Exception | None) -> None:
        """A reader less."""
        self._crowd.lost += 1


class Reader(Connection, asyncio.Protocol):
    """One reader; ``say`` is what it answers to the first messages (Socket.IO's own handshake)."""

    def __init__(self, crowd: Crowd, opening: bytes, is_sampled: bool) -> None:
        super().__init__(crowd, opening)
        self._is_sampled = is_sampled
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Take whole messages."""
        data = self._rest + data if self._rest else data
        place, size = 0, len(data)
        if not self._is_open:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            assert data.startswith(b"HTTP/1.1 101"), data[:200]
            self._is_open = True
            self._crowd.opened += 1
            place = end + 4
        while size - place >= 2:
            length, head = data[place + 1] & 127, 2
            if length == 126:
                length, head = int.from_bytes(data[place + 2 : place + 4], "big"), 4
            elif length == 127:
                length, head = int.from_bytes(data[place + 2 : place + 10], "big"), 10
            if size - place < head + length or size - place < head:
                break
            self._message(data[place] & 15, data[place + head : place + head + length])
            place += head + length
        self._rest = data[place:]

    def _message(self, opcode: int, payload: bytes) -> None:
        crowd = self._crowd
        if opcode == 9:
            self._transport.write(frame(payload, 10))
        elif opcode == 8:
            crowd.closed += 1
        elif payload[:1] == b"0" and crowd.flavour == "socketio":
            self._transport.write(frame(b"40"))
        elif payload == b"2":
            self._transport.write(frame(b"3"))
        elif count := (payload := self._plain(opcode, payload)).count(_MARK):
            crowd.frames += 1
            crowd.deliveries += count
            if self._is_sampled:
                now = time.monotonic_ns()
                for sent, number in _SENT.findall(payload):
                    crowd.ages.append(now - int(sent))
                    self.numbers.append(int(number))
        else:
            crowd.others += 1

    def _plain(self, opcode: int, payload: bytes) -> bytes:
        return _inflate(payload) if opcode == 2 else payload


class Tally(Connection, asyncio.BufferedProtocol):
    """A reader that only counts its events, so that a thousand of them leave the core to the others."""

    buffer = bytearray(2**18)  # what comes is counted before anything else is read
    view = memoryview(buffer)

    def __init__(self, crowd: Crowd, opening: bytes) -> None:
        super().__init__(crowd, opening)
        self._begun = b""  # of the handshake, or of a frame's head
        self._left = 0  # bytes of the frame that are still to come
        self._end = b""  # of the last piece: a mark may begin in it
        self._ping: bytes | None = None  # what has come of one

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where what comes is put."""
        return self.view

    def buffer_updated(self, size: int) -> None:
        """Count what is in it."""
        place = 0
        if not self._is_open:
            self._begun += bytes(self.view[:size])
            end = self._begun.find(b"\r\n\r\n")
            if end < 0:
                return
            assert self._begun.startswith(b"HTTP/1.1 101"), self._begun[:200]
            self._is_open = True
            self._crowd.opened += 1
            place, self._begun = size - len(self._begun) + end + 4, b""
        while place < size:
            if not self._left and not (place := self._head(place, size)):
                return
            piece = min(self._left, size - place)
            if self._ping is not None:
                self._ping += bytes(self.view[place : place + piece])
            else:
                self._count(place, place + piece)
            place += piece
            self._left -= piece
            if self._ping is not None and not self._left:
                self._transport.write(frame(self._ping, 10))

    def _head(self, place: int, size: int) -> int:
        """Read a frame's head; where its payload begins, 0 where it is not all there."""
        known = len(self._begun)
        head = self._begun + bytes(self.view[place : min(size, place + 10 - known)])
        length = 2 if len(head) < 2 else {126: 4, 127: 10}.get(head[1] & 127, 2)
        if len(head) < length:
            self._begun = head
            return 0
        self._begun, self._end = b"", b""
        self._left = head[1] & 127 if length == 2 else int.from_bytes(head[2:length], "big")
        self._ping = b"" if head[0] & 15 == 9 else None
        if head[0] & 15 == 8:
            self._crowd.closed += 1
        self._crowd.frames += 1
        return place + length - known

    def _count(self, begin: int, end: int) -> None:
        crowd = self._crowd
        crowd.deliveries += self.buffer.count(_MARK, begin, end)
        if self._end:
            crowd.deliveries += (self._end + bytes(self.view[begin : min(end, begin + len(_MARK) - 1)])).count(_MARK)
        self._end = bytes(self.view[max(begin, end - len(_MARK) + 1) : end]) if end - begin < self._left else b""

    def eof_received(self) -> None:
        """The other side has ended."""


class Crowd:
    """All readers of a process."""

    def __init__(self, flavour: str) -> None:
        self.flavour = flavour
        self.opened = self.lost = self.closed = self.frames = self.deliveries = self.others = 0
        self.ages: list[int] = []

    async def run(self, urls: list[str], headers: dict[str, str], until: Callable[[], bool]) -> list[Reader | Tally]:
        """Connect all, say so on stdout, read until told to end on stdin."""
        loop = asyncio.get_running_loop()
        readers: list[Reader | Tally] = []
        for number, url in enumerate(urls):
            parts = urlsplit(url)
            is_sampled = number % max(1, len(urls) // _SAMPLED) == 0
            reader: Reader | Tally
            if is_sampled or self.flavour == "socketio" or "Sec-WebSocket-Protocol" in headers:
                reader = Reader(self, handshake(url, headers), is_sampled)
            else:
                reader = Tally(self, handshake(url, headers))
            await loop.create_connection(lambda reader=reader: reader, parts.hostname, parts.port)
            readers.append(reader)
            while number - self.opened > 50:
                await asyncio.sleep(0.001)
        while self.opened < len(urls):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # Socket.IO's second handshake
        print(json.dumps({"opened": self.opened}), flush=True)
        while not until():
            await asyncio.sleep(0.02)
        return readers


def publish(asked: argparse.Namespace) -> int:
    """Send events at a pace over one WebSocket, one or some at a time; how many."""
    url, headers, flavour, rate, channels = asked.url, asked.headers, asked.flavour, asked.rate, asked.channels
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sending = threading.Lock()
        line.sendall(handshake(url, headers))
        threading.Thread(target=_answer_pings, args=(line, sending), daemon=True).start()
        time.sleep(0.3)
        if flavour == "socketio":
            line.sendall(frame(b"40"))
            time.sleep(0.3)
        total = int(rate * asked.seconds)
        begun = time.monotonic()
        for n in range(0, total, asked.together):
            pause = begun + n / rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            text = frame(message(flavour, [event(m, channels) for m in range(n, n + asked.together)]))
            with sending:
                line.sendall(text)
        time.sleep(0.2)
    return total


def event(n: int, channels: int) -> str:
    """An event of about 240 bytes."""
    data = (
        f'{{"sent":{time.monotonic_ns()},"n":{n},"currentStep":"Extracting data","currentUrl":'
        f'"https://www.site-{n % 2000}.example.com/catalog/{n}","progressPercentage":{n % 101}}}'
    )
    return f'{{"type":"job_progress","jobId":"j{n % 997}","batchId":"b{n % channels}","data":{data}}}'


def message(flavour: str, events: list[str]) -> bytes:
    """How each server is told of events; of one, where it knows no more."""
    if flavour == "playhead":
        return f'{{"op":"publish","id":"p","events":[{",".join(events)}]}}'.encode()
    return f'42["pub",{events[0]}]'.encode() if flavour == "socketio" else events[0].encode()


def _answer_pings(line: socket.socket, sending: threading.Lock) -> None:
    """Take what a publisher is told; a server cuts whoever does not answer its pings."""
    with contextlib.suppress(OSError), line.makefile("rb") as told:
        while told.readline() not in (b"\r\n", b""):  # of the handshake's answer
            pass
        while len(head := told.read(2)) == 2:
            length = head[1] & 127
            if length > 125:
                length = int.from_bytes(told.read(2 if length == 126 else 8), "big")
            payload = told.read(length)
            if head[0] & 15 == 9:
                with sending:
                    line.sendall(frame(payload, 10))


def main() -> None:
    """Read or publish as asked for, and print what was found as a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("read", "publish"))
    parser.add_argument("--url", help="{n} in it is the number of a reader's channel")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--headers", type=json.loads, default={})
    parser.add_argument("--flavour", default="playhead")
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--together", type=int, default=1, help="events that are published at once")
    asked = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if asked.what == "publish":
        total = publish(asked)
        print(json.dumps({"published": total}))
        return
    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), is_over.set()), daemon=True).start()
    crowd = Crowd(asked.flavour)
    urls = [asked.url.replace("{n}", str(n % asked.channels)) for n in range(asked.count)]
    readers = uvloop.run(crowd.run(urls, asked.headers, is_over.is_set))
    ages = sorted(crowd.ages)
    holes = sum(
        later - number != asked.channels for one in readers for number, later in zip(one.numbers, one.numbers[1:], strict=False)
    )
    print(json.dumps({
        "deliveries": crowd.deliveries, "frames": crowd.frames, "others": crowd.others, "lost": crowd.lost, "holes": holes,
        "ages_ms": [ages[min(len(ages) - 1, int(share * len(ages)))] / 1e6 for share in (0.5, 0.99, 0.999, 1)] if ages else [],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
