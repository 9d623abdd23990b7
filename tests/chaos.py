"""
Servers that share a log, publishers and readers on them, and what goes wrong meanwhile; then whether anything was lost.

    python -m tests.chaos --seconds 300 --rate 3000 --readers 24 --seed 1

Every reader comes and goes through nginx, to whichever server it is given, with the cursor it has. A publisher sends again
what was not answered, with the same ids. At the end each reader has every acknowledged event once and in order of seq, and
all recordings are equal row by row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import zstandard
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.line import Line, line
from tests.shared_log import HEADERS, Nginx, Redis, Server, rows_of, settle, shared

_decode = msgspec.json.Decoder().decode
_inflate = zstandard.ZstdDecompressor().decompressobj
_HOPS_S = (0.2, 0.5, 1.0, 3.0, 10.0)


class Publisher:
    """Sends events at a rate, each batch until it is acknowledged; ``acked`` are their ids, in its own order."""

    def __init__(self, url: str, name: str, rate: float, size: int) -> None:
        self._url, self.name, self._pause_s, self._size = url, name, size / rate, size
        self.acked: list[str] = []
        self.failed = 0
        self.slowest_s = 0.0

    async def run(self, end: float) -> None:
        """Until a moment; what it has begun it brings to an end."""
        async with httpx.AsyncClient(base_url=self._url, headers=HEADERS, timeout=20) as client:
            due, number = time.monotonic(), 0
            while time.monotonic() < end:
                ids = [str(uuid.uuid4()) for _ in range(self._size)]
                events = [
                    {"type": "job_progress", "id": one, "jobId": self.name, "batchId": "chaos",
                     "data": {"progressPercentage": number % 100, "n": number + place}}
                    for place, one in enumerate(ids)
                ]  # fmt: skip
                number += self._size
                await self._publish(client, events)
                self.acked += ids
                due += self._pause_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _publish(self, client: httpx.AsyncClient, events: list[dict[str, Any]]) -> None:
        begun = time.monotonic()
        while True:
            try:
                answer = await client.post("/api/events", json=events)
                if answer.status_code == 201:
                    self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
                    return
                assert answer.status_code in (429, 502, 503, 504), answer.text
            except httpx.HTTPError:
                pass
            self.failed += 1
            await asyncio.sleep(0.1)


class Reader:
    """Follows the log over connections that end; ``ids`` is what it was given since it last had to begin anew."""

    def __init__(self, url: str, hop_s: float, seed: int) -> None:
        self._url, self._hop_s, self._random = url.replace("http", "ws") + "/api/events/ws", hop_s, random.Random(seed)
        self.ids: list[str] = []
        self.cursor = "start"
        self.connections = self.resets = self.provisional = 0
        self.wrong: list[str] = []

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Until it has everything."""
        while not is_over():
            try:
                async with connect(
                    self._url, subprotocols=["playhead.v1.zstd"], compression=None, max_size=None,  # type: ignore[list-item]
                    additional_headers=HEADERS, open_timeout=5, close_timeout=1, ping_interval=2, ping_timeout=5, proxy=None,
                ) as socket:  # fmt: skip
                    self.connections += 1
                    await socket.send(json.dumps({"op": "subscribe", "id": "r", "after": self.cursor}))
                    end = time.monotonic() + self._hop_s * self._random.uniform(0.5, 1.5)
                    while time.monotonic() < end and not is_over():
                        try:
                            frame = await asyncio.wait_for(socket.recv(), 0.5)
                        except TimeoutError:
                            continue
                        if not self._take(_decode(_inflate().decompress(frame) if isinstance(frame, bytes) else frame)):
                            break
            except (OSError, WebSocketException, TimeoutError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.1)

    def _take(self, message: dict[str, Any]) -> bool:
        kind = message["op"]
        if kind == "events":
            mine, start = self._seq(message["from"]), int(message["from"].partition(":")[2])
            if start > mine:
                self.wrong.append(f"a gap: {message['from']} at {self.cursor}")
            for event in message["events"]:
                if event["seq"] <= mine:
                    self.wrong.append(f"{event['seq']} again at {self.cursor}")
                self.ids.append(event["id"])
            self.cursor = message["to"]
        elif kind == "subscribed" and self.cursor == "start":
            self.cursor = message["from"]
        elif kind in ("heartbeat", "caught_up"):
            self._seq(message["at"])
            self.cursor = message["at"]
        elif kind == "provisional":
            self.provisional += len(message["events"])
        elif kind == "reset":
            self.resets += 1
            self.ids, self.cursor = [], "start"
            return False
        return True

    def _seq(self, position: str) -> int:
        epoch = position.partition(":")[0]
        own_epoch, _, own = self.cursor.partition(":")
        if own_epoch != epoch:
            self.wrong.append(f"{position} at {self.cursor}")
        return int(own)


class Chaos:
    """One run."""

    def __init__(self, folder: Path, *, servers: int = 3, readers: int = 24, rate: float = 3000, seed: int = 0) -> None:
        self._folder, self._count, self._readers, self._rate = folder, servers, readers, rate
        self._random = random.Random(seed)
        self.seed = seed
        self.did: Counter[str] = Counter()

    def run(self, seconds: float, every_s: float, faults: Sequence[str]) -> str:
        """What became of it; raises AssertionError with what is wrong."""
        redis = Redis(self._folder / "redis", fsync="everysec")
        try:
            with line(redis.url, is_raw=True) as link, shared(self._folder, self._count, link.url) as servers:
                nginx = Nginx(self._folder / "nginx", [one.port for one in servers])
                try:
                    return asyncio.run(self._run(seconds, every_s, faults, redis, link, servers, nginx))
                finally:
                    nginx.kill()
        finally:
            redis.kill()

    async def _run(
        self, seconds: float, every_s: float, faults: Sequence[str], redis: Redis, link: Line, servers: list[Server],
        nginx: Nginx,
    ) -> str:  # fmt: skip
        size = max(1, int(self._rate / 200))
        publishers = [Publisher(nginx.url, f"p{n}", self._rate / 6, size) for n in range(6)]
        readers = [Reader(nginx.url, _HOPS_S[n % len(_HOPS_S)], self.seed + n) for n in range(self._readers)]
        end = time.monotonic() + seconds
        expected: list[str] = []
        is_done = asyncio.Event()
        deadline = end + 60 + seconds

        def is_over(reader: Reader) -> bool:
            return time.monotonic() > deadline or (is_done.is_set() and len(reader.ids) >= len(expected))

        reading = [asyncio.create_task(reader.run(lambda reader=reader: is_over(reader))) for reader in readers]  # type: ignore[misc]
        publishing = [asyncio.create_task(one.run(end)) for one in publishers]
        while time.monotonic() + every_s < end:
            await asyncio.sleep(every_s * self._random.uniform(0.7, 1.3))
            await self._break(self._random.choice(faults), redis, link, servers, nginx)
        await asyncio.gather(*publishing)
        await asyncio.to_thread(settle, servers)
        rows = [await asyncio.to_thread(rows_of, one.url) for one in servers]
        expected += [json.loads(row)["id"] for row in rows[0]]
        is_done.set()
        await asyncio.gather(*reading)
        return self._verdict(publishers, readers, rows, expected)

    async def _break(self, what: str, redis: Redis, link: Line, servers: list[Server], nginx: Nginx) -> None:
        self.did[what] += 1
        rest_s = self._random.uniform(0.3, 3)
        if what == "server":
            one = self._random.choice(servers)
            one.kill()
            await asyncio.sleep(rest_s)
            await asyncio.to_thread(one.start)
        elif what == "nginx":
            nginx.kill()
            await asyncio.to_thread(nginx.start)
        elif what == "link":
            link.cut()
        elif what == "stall":
            link.freeze()
            await asyncio.sleep(rest_s)
            link.thaw()
        elif what == "freeze":
            redis.freeze()
            await asyncio.sleep(rest_s)
            redis.thaw()
        elif what == "away":
            redis.freeze()
            await asyncio.sleep(60)
            redis.thaw()
        elif what == "redis":
            redis.kill()
            await asyncio.sleep(rest_s)
            await asyncio.to_thread(redis.start)
        elif what == "flush":
            redis.ask("FLUSHALL")

    def _verdict(
        self, publishers: list[Publisher], readers: list[Reader], rows: list[list[str]], expected: list[str]
    ) -> str:
        acked = [one for publisher in publishers for one in publisher.acked]
        wrong = []
        if missing := set(acked) - set(expected):
            wrong.append(f"{len(missing)} of {len(acked)} acknowledged events are not in the log")
        if len(set(expected)) != len(expected):
            wrong.append(f"{len(expected) - len(set(expected))} events are in the log twice")
        wrong += [f"recording {n} differs from 0" for n, one in enumerate(rows) if one != rows[0]]
        if [json.loads(row)["seq"] for row in rows[0]] != list(range(1, len(expected) + 1)):
            wrong.append("the seqs have holes")
        for n, reader in enumerate(readers):
            if reader.ids != expected:
                place = next((k for k, (a, b) in enumerate(zip(reader.ids, expected, strict=False)) if a != b), len(reader.ids))
                wrong.append(f"reader {n} has {len(reader.ids)} of {len(expected)}, and differs from {place + 1} on")
            wrong += [f"reader {n}: {text}" for text in reader.wrong[:3]]
        assert not wrong, f"seed {self.seed}: {wrong[:8]}"
        return (
            f"seed {self.seed}: {len(acked):,} events acknowledged, {len(expected):,} in the log, each once and in order with "
            f"{len(readers)} readers over {sum(one.connections for one in readers)} connections; "
            f"{', '.join(f'{count} x {what}' for what, count in sorted(self.did.items()))}; "
            f"{sum(one.resets for one in readers)} resets, {sum(one.failed for one in publishers)} requests sent again, "
            f"slowest answer {max(one.slowest_s for one in publishers):.1f} s"
        )


def main() -> None:
    """Run it as long as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--every", type=float, default=10, help="seconds from one fault to the next")
    parser.add_argument("--rate", type=float, default=3000, help="events a second")
    parser.add_argument("--readers", type=int, default=24)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--faults", default="server,redis,freeze,nginx,link,stall")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(Path(folder), readers=args.readers, rate=args.rate, seed=args.seed)
        try:
            print(chaos.run(args.seconds, args.every, args.faults.split(",")))
        except AssertionError as wrong:
            sys.exit(str(wrong))


if __name__ == "__main__":
    main()
