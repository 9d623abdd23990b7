"""
A log of two servers over Redis: how late events are on the other server, how many it takes, what an event costs whom.

    python tests/benchmarks/bench_cluster.py [--seconds 20] [--rounds 3] [--events 300000] [--join 200000] [--only …]

``across``: single events at a rate, published on one server over a WebSocket and read on the other; beside Redis pub/sub
behind two Starlettes, which stores nothing. ``through``: arrays of 1,000 over HTTP to both servers at once, until both
recordings have all of them; beside one server without Redis, and beside bare XADD and XREAD of the same arrays in Python,
which keep nothing but the stream. ``join``: a third server comes to a log of so many events, of which the stream has the
last million at most, while events go on; how late these are on the others before and meanwhile. ``--join 5000000`` for the
figure to be quoted. ``costs``: what CONTRIBUTING.md computes with.

Seconds of processor an event are of each process, from /proc; everything shares the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
import msgspec  # noqa: E402
import redis as library  # noqa: E402
from websockets.asyncio.client import ClientConnection, connect  # noqa: E402

from tests.benchmarks._report import cpu_s, percentile  # noqa: E402
from tests.conftest import Process, free_port  # noqa: E402
from tests.shared_log import HEADERS, Redis, Server, settle, shared, state  # noqa: E402

_SIZE = 1_000
_decode = msgspec.json.Decoder().decode


def say(words: str) -> None:
    """Print what was measured, or what goes on."""
    print(words, flush=True)


def event(n: int) -> dict[str, Any]:
    """About 240 bytes of JSON."""
    data = {"currentStep": "Extracting data", "currentUrl": f"https://example.com/{n}", "progressPercentage": n % 100}
    named = {"type": "job_progress", "batchId": "b", "jobId": f"j{n % 100}", "executionId": f"e{n % 100}"}
    return named | {"data": data | {"n": n}}


class Latencies:
    """When each event was sent and when it came, of one publisher and one reader in this process."""

    def __init__(self, publish_url: str, read_url: str, rate: float, *, is_playhead: bool) -> None:
        self._publish_url, self._read_url, self._rate, self._is_playhead = publish_url, read_url, rate, is_playhead
        self._sent: dict[int, float] = {}
        self.found: list[tuple[float, float]] = []  # when it was sent, and how late it came

    async def run(self, seconds: float, is_over: threading.Event | None = None) -> list[float]:
        """The latencies in ms."""
        headers = HEADERS if self._is_playhead else {}
        options: dict[str, Any] = {"additional_headers": headers, "compression": None, "proxy": None}
        async with connect(self._read_url, **options) as reading, connect(self._publish_url, **options) as publishing:
            await asyncio.sleep(0.5)
            reader = asyncio.create_task(self._read(reading))
            answers = asyncio.create_task(self._ignore(publishing))
            begun, count = time.monotonic(), 0
            while time.monotonic() - begun < seconds and not (is_over and is_over.is_set()):
                message = event(count)
                text = {"op": "publish", "id": "p", "events": [message]} if self._is_playhead else message
                self._sent[count] = time.perf_counter()
                await publishing.send(json.dumps(text))
                count += 1
                await asyncio.sleep(max(0.0, begun + count / self._rate - time.monotonic()))
            end = time.monotonic() + 5
            while len(self.found) < count and time.monotonic() < end:
                await asyncio.sleep(0.05)
            for task in (reader, answers):
                task.cancel()
            await asyncio.gather(reader, answers, return_exceptions=True)
            assert len(self.found) == count or not self._is_playhead, f"{len(self.found)} of {count} came"
        return [late for _, late in self.found]

    async def _read(self, socket: ClientConnection) -> None:
        async for frame in socket:
            now = time.perf_counter()
            message = _decode(frame)
            for one in message.get("events", []) if self._is_playhead else [message]:
                sent = self._sent[one["data"]["n"]]
                self.found.append((sent, (now - sent) * 1000))

    async def _ignore(self, socket: ClientConnection) -> None:
        async for _ in socket:
            pass


def ws(url: str, path: str = "/api/events/ws") -> str:
    """The WebSocket of a server."""
    return url.replace("http", "ws", 1) + path


def across(folder: Path, seconds: float, rate: float) -> None:
    """Publish on one server, receive on the other."""
    redis = Redis(folder / "redis", fsync="everysec")
    try:
        with shared(folder, 2, redis.url, "--log-level", "warning") as (one, two):
            before = [cpu_s(pid) for pid in (one.process.pid, two.process.pid, redis.process.pid)]
            found = asyncio.run(Latencies(ws(one.url), ws(two.url) + "?after=now", rate, is_playhead=True).run(seconds))
            after = [cpu_s(pid) for pid in (one.process.pid, two.process.pid, redis.process.pid)]
            costs = [(b - a) / len(found) * 1e6 for a, b in zip(before, after, strict=True)]
        with _starlettes(folder, redis.port) as (first, second):
            theirs = asyncio.run(Latencies(f"{first}/publish", f"{second}/", rate, is_playhead=False).run(seconds))
        for name, late in (("playhead, durable", found), ("pub/sub, nothing stored", theirs)):
            say(f"across   {name:24} p50 {percentile(late, 0.5):6.1f} ms  p99 {percentile(late, 0.99):6.1f}  "
                f"max {max(late):6.1f}  of {len(late):,} at {rate:g}/s")  # fmt: skip
        say(f"across   ratio of p50 {percentile(found, 0.5) / percentile(theirs, 0.5):.1f}; processor us an event: the server "
            f"that takes it in {costs[0]:.0f}, the other {costs[1]:.0f}, Redis {costs[2]:.0f}")  # fmt: skip
    finally:
        redis.kill()


@contextlib.contextmanager
def _starlettes(folder: Path, redis_port: int) -> Iterator[list[str]]:
    env = os.environ | {"PEER_REDIS_PORT": str(redis_port)}
    running, urls = [], []
    for _ in range(2):
        port = free_port()
        command = [sys.executable, str(Path(__file__).parent / "_peers.py"), "redis", str(port)]
        running.append(subprocess.Popen(command, env=env))
        urls.append(f"ws://127.0.0.1:{port}")
    time.sleep(3)
    try:
        yield urls
    finally:
        for one in running:
            one.kill()
            one.wait()


def post_all(urls: Sequence[str], bodies: Sequence[bytes]) -> None:
    """Every body to one of the servers in turn, two requests at a time for each."""

    def send(place: int) -> None:
        with httpx.Client(base_url=urls[place % len(urls)], headers=HEADERS | {"Content-Type": "application/json"}) as client:
            for body in bodies[place :: 2 * len(urls)]:
                assert client.post("/api/events", content=body, timeout=60).status_code == 201

    with ThreadPoolExecutor(2 * len(urls)) as pool:
        list(pool.map(send, range(2 * len(urls))))


def through(folder: Path, events: int, rounds: int) -> None:
    """Arrays of 1,000 to both servers, until both recordings have them."""
    bodies = [json.dumps([event(n + place) for place in range(_SIZE)]).encode() for n in range(0, events, _SIZE)]
    rates: dict[str, list[float]] = {"two servers": [], "one, no Redis": [], "bare stream": []}
    for turn in range(rounds):
        redis = Redis(folder / f"redis{turn}", fsync="everysec")
        try:
            with shared(folder / f"two{turn}", 2, redis.url, "--log-level", "warning") as servers:
                pids = [*(one.process.pid for one in servers), redis.process.pid]
                before = [cpu_s(pid) for pid in pids]
                begun = time.monotonic()
                post_all([one.url for one in servers], bodies)
                while any(int(state(one.url)["cursor"].partition(":")[2]) < events for one in servers):
                    time.sleep(0.02)
                rates["two servers"].append(events / (time.monotonic() - begun))
                costs = [(cpu_s(pid) - a) / events * 1e6 for pid, a in zip(pids, before, strict=True)]
                memory = redis.ask("INFO", "memory")["used_memory"] / 2**20
            rates["bare stream"].append(_bare(redis, bodies))
        finally:
            redis.kill()
        alone = Process(folder / f"alone{turn}.playhead", 0, "--log-level", "warning", stderr=subprocess.DEVNULL)
        try:
            begun = time.monotonic()
            post_all([alone.url], bodies)
            rates["one, no Redis"].append(events / (time.monotonic() - begun))
        finally:
            alone.kill()
    for name, found in rates.items():
        say(f"through  {name:16} {median(found):9,.0f} events/s  (of {', '.join(f'{one:,.0f}' for one in found)})")
    say(f"through  processor us an event: each server {costs[0]:.1f} and {costs[1]:.1f} (it takes half of them in, and reads "
        f"all), Redis {costs[2]:.1f}; Redis has {memory:.0f} MiB with at most 100,000 events and their ids")  # fmt: skip


def _bare(redis: Redis, bodies: Sequence[bytes]) -> float:
    """XADD of each array by one thread, XREAD and decoding of all by another."""
    client, count = library.Redis(port=redis.port, protocol=2), 0
    begun = time.monotonic()

    def read() -> None:
        nonlocal count
        reader, last = library.Redis(port=redis.port, protocol=2), "0"
        while count < len(bodies):
            for _, rows in reader.xread({"bare": last}, count=100, block=1000):
                for position, fields in rows:
                    _decode(fields[b"d"])
                    last = position
                    count += 1

    reading = threading.Thread(target=read)
    reading.start()
    for body in bodies:
        client.xadd("bare", {"d": body})
    reading.join()
    return len(bodies) * _SIZE / (time.monotonic() - begun)


def costs(folder: Path, events: int) -> None:
    """What an event costs the server that takes it in, one that follows, and Redis, with one that follows and with three."""
    bodies = [json.dumps([event(n + place) for place in range(_SIZE)]).encode() for n in range(0, events, _SIZE)]
    for count in (2, 4):
        redis = Redis(folder / f"redis{count}", fsync="everysec")
        try:
            with shared(folder / f"of{count}", count, redis.url, "--log-level", "warning") as servers:
                pids = [redis.process.pid, *(one.process.pid for one in servers)]
                before = [cpu_s(pid) for pid in pids]
                post_all([servers[0].url], bodies)
                settle(servers, 120)
                us = [(cpu_s(pid) - a) / events * 1e6 for pid, a in zip(pids, before, strict=True)]
                size = redis.ask("INFO", "memory")["used_memory"] / min(events, 100_000)
        finally:
            redis.kill()
        say(f"costs    {count} servers, arrays of 1,000; processor us an event: takes it in {us[1]:.1f}, follows "
            f"{median(us[2:]):.1f}, Redis {us[0]:.2f}; Redis holds {size:.0f} bytes an event")  # fmt: skip


def join(folder: Path, events: int, rate: float) -> None:
    """A third server comes while events go on."""
    redis = Redis(folder / "redis", fsync="everysec")
    try:
        with shared(folder, 2, redis.url, "--log-level", "warning") as servers:
            say(f"join     publishing {events:,} events")
            for start in range(0, events, 100 * _SIZE):
                size = min(100 * _SIZE, events - start)
                post_all(
                    [one.url for one in servers],
                    [json.dumps([event(n + k) for k in range(_SIZE)]).encode() for n in range(start, start + size, _SIZE)],
                )
            settle(servers, 120)
            over = threading.Event()
            late = Latencies(ws(servers[0].url), ws(servers[1].url) + "?after=now", rate, is_playhead=True)
            with ThreadPoolExecutor(1) as pool:
                going = pool.submit(lambda: asyncio.run(late.run(3600, over)))
                time.sleep(15)
                begun = time.perf_counter()
                third = Server(folder / "third.playhead", redis.url, "--log-level", "warning")
                while state(third.url)["status"] != "ok":
                    time.sleep(0.1)
                took_s = time.perf_counter() - begun
                over.set()
                going.result()
            settle([*servers, third], 60)
            counts = {httpx.get(f"{one.url}/api/stats", headers=HEADERS).json()["events"] for one in (*servers, third)}
            third.kill()
        before = [ms for sent, ms in late.found if sent < begun]
        meanwhile = [ms for sent, ms in late.found if sent >= begun]
        assert len(counts) == 1, counts
        say(f"join     complete in {took_s:.0f} s ({events / took_s:,.0f} events/s), {counts.pop():,} events in each; live p99 "
            f"{percentile(before, 0.99):.1f} -> {percentile(meanwhile, 0.99):.1f} ms "
            f"({percentile(meanwhile, 0.99) / percentile(before, 0.99):.1f}x), p50 {percentile(before, 0.5):.1f} -> "
            f"{percentile(meanwhile, 0.5):.1f}, at {rate:g}/s")  # fmt: skip
    finally:
        redis.kill()


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--join", type=int, default=200_000)
    parser.add_argument("--only", default="across,through,costs,join")
    args = parser.parse_args()
    os.environ.setdefault("PLAYHEAD_RUNTIME_DIR", tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only.split(","):
            place = Path(folder) / name
            place.mkdir()
            if name == "across":
                across(place, args.seconds, args.rate)
            elif name == "through":
                through(place, args.events, args.rounds)
            elif name == "costs":
                costs(place, args.events)
            else:
                join(place, args.join, args.rate)


if __name__ == "__main__":
    main()
