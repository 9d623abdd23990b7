"""
Live delivery: what a server's core carries, how late events are, what a connection costs; beside what others are used.

    python tests/benchmarks/bench_delivery.py [--seconds 10] [--only fanout,thousand,filters,ingest,idle,stopped,job]

The server is pinned to one core, publishers and readers to the other. ``fanout`` runs playhead, which stores every event
before it sends it, and three that store nothing in turn: ``websockets.broadcast()``, python-socketio, and Redis pub/sub
behind Starlette. An event has about 240 bytes; it is published alone, over a WebSocket. Latencies are from before it is
sent by the publisher to when a reader has taken it in, of 20 readers.

The figures to be quoted are those of ``--seconds 60``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks import _crowd  # noqa: E402
from tests.benchmarks._report import cpu_s  # noqa: E402
from tests.conftest import free_port  # noqa: E402

TOKEN = "token-of-the-benchmark"
HERE = Path(__file__).parent
PEERS = ("broadcast", "socketio", "redis")


def pin(core: int) -> Callable[[], None]:
    """What a child process does first: keep to one core."""
    cores = sorted(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {cores[core % len(cores)]})


class Server:
    """A server process and what it has used."""

    def __init__(self, name: str, process: subprocess.Popen[str], port: int, *others: subprocess.Popen[bytes]) -> None:
        self.name, self.process, self.port = name, process, port
        self._pids = [process.pid, *(other.pid for other in others)]

    def cpu_s(self) -> float:
        """Processor seconds of it and of what it stands on."""
        return sum(map(cpu_s, self._pids))

    def resident(self) -> int:
        """Bytes of memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def url(self, query: str = "") -> str:
        """Where readers connect."""
        base = f"ws://127.0.0.1:{self.port}"
        if self.name == "playhead":
            return f"{base}/api/events/ws?after=now{query}"
        return f"{base}/socket.io/?EIO=4&transport=websocket" if self.name == "socketio" else f"{base}/"

    def publish_url(self) -> str:
        """Where a publisher does."""
        base = f"ws://127.0.0.1:{self.port}"
        paths = {"playhead": "/api/events/ws", "socketio": "/socket.io/?EIO=4&transport=websocket"}
        return base + paths.get(self.name, "/publish")


@contextlib.contextmanager
def served(name: str, folder: Path) -> Iterator[Server]:
    """A server, pinned, ended with the block."""
    with contextlib.ExitStack() as stack:
        others: list[subprocess.Popen[bytes]] = []
        env = os.environ | {"PLAYHEAD_TOKEN": TOKEN, "PLAYHEAD_RUNTIME_DIR": str(folder)}
        if name == "redis":
            redis_port = free_port()
            command = ["redis-server", "--port", str(redis_port), "--save", "", "--dir", str(folder)]
            others.append(stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=pin(0))))
            stack.callback(others[0].terminate)
            env["PEER_REDIS_PORT"] = str(redis_port)
        port = free_port()
        if name == "playhead":
            recording = folder / f"{time.monotonic_ns()}.playhead"
            command = [sys.executable, "-m", "playhead", "serve", str(recording), "--port", str(port), "--log-level", "warning"]
        else:
            command = [sys.executable, str(HERE / "_peers.py"), name, str(port)]
        process = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, preexec_fn=_roomy(pin(0)))
        )
        stack.callback(process.kill)
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < end, f"{name} did not start"
            time.sleep(0.05)
        yield Server(name, process, port, *others)


def _roomy(first: Callable[[], None]) -> Callable[[], None]:
    def work() -> None:
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        first()

    return work


class Crowd:
    """Readers in a process of their own, connected."""

    def __init__(self, server: Server, count: int, channels: int = 1, *, is_compressed: bool = False) -> None:
        more = {"Sec-WebSocket-Protocol": "playhead.v1.zstd"} if is_compressed else {}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "_crowd.py"), "read", "--url", server.url("&batchId=b{n}" if channels > 1 else ""),
             "--count", str(count), "--headers", json.dumps(headers(server) | more), "--flavour", server.name,
             "--channels", str(channels)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=_roomy(pin(1)),
        )  # fmt: skip
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline())["opened"] == count

    def end(self) -> dict[str, Any]:
        """What they have seen."""
        out, _ = self._process.communicate("\n", timeout=120)
        found: dict[str, Any] = json.loads(out)
        return found


def headers(server: Server) -> dict[str, str]:
    """What a request of ours carries."""
    return {"X-Playhead-Token": TOKEN} if server.name == "playhead" else {}


def publishing(
    server: Server, rate: float, seconds: float, channels: int = 1, together: int = 1
) -> subprocess.Popen[str]:
    """A publisher in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(HERE / "_crowd.py"), "publish", "--url", server.publish_url(), "--headers",
         json.dumps(headers(server)), "--flavour", server.name, "--rate", str(rate), "--seconds", str(seconds),
         "--channels", str(channels), "--together", str(together)],
        stdout=subprocess.PIPE, text=True, preexec_fn=pin(1),
    )  # fmt: skip


def carried(
    server: Server, readers: int, rate: float, seconds: float, channels: int = 1, *, is_compressed: bool = False
) -> dict[str, Any]:
    """Publish to readers for a while; what arrived, how late, and what it cost the server."""
    crowd = Crowd(server, readers, channels, is_compressed=is_compressed)
    publisher = publishing(server, rate, seconds, channels)
    time.sleep(0.5)  # its imports and handshake
    before, begun = server.cpu_s(), time.monotonic()
    out, _ = publisher.communicate(timeout=seconds * 3 + 60)
    took = time.monotonic() - begun
    published = json.loads(out)["published"]
    time.sleep(3)  # for what is late
    cpu = server.cpu_s() - before
    found = crowd.end()
    expected = published * readers // channels
    return found | {
        "rate": published / max(took - 0.5, 0.001), "cpu": cpu, "core": cpu / took, "per_cpu_s": found["deliveries"] / cpu,
        "missing": expected - found["deliveries"], "us": cpu / max(found["deliveries"], 1) * 1e6,
    }  # fmt: skip


def line(label: str, found: dict[str, Any]) -> None:
    """One row of the table."""
    ages = "  ".join(f"{value:8.1f}" for value in found["ages_ms"])
    note = f"  MISSING {found['missing']:,}" if found["missing"] else ""
    note += f"  LOST {found['lost']:,}" if found["lost"] else ""
    note += f"  HOLES {found['holes']:,}" if found["holes"] else ""
    print(f"{label:<44} {found['per_cpu_s']:>11,.0f} {found['core']:>6.2f} {found['us']:>7.2f}   {ages}{note}", flush=True)


def head(title: str) -> None:
    """The table's head."""
    print(f"\n{title}\n{'':<44} {'deliv/cpu-s':>11} {'cores':>6} {'us each':>7}   "
          f"{'p50 ms':>8}  {'p99':>8}  {'p99.9':>8}  {'max':>8}")  # fmt: skip


def fanout(folder: Path, seconds: float) -> None:
    """100 readers, 1,000 events a second published one by one, playhead and the others in turn."""
    head("100 readers, 1,000 events/s one by one")
    ours = 0.0
    for name in ("playhead", *PEERS):
        with served(name, folder) as server:
            found = carried(server, 100, 1000, seconds)
        line(name + (" (durable)" if name == "playhead" else ""), found)
        ours = ours or found["per_cpu_s"]
        if name != "playhead":
            print(f"{'':<44} playhead is {ours / found['per_cpu_s']:.2f} x")


def thousand(folder: Path, seconds: float) -> None:
    """1,000 readers of everything."""
    head("1,000 readers, 1,000 events/s, all durable")
    for label, is_compressed in (("JSON", False), ("zstd frames", True)):
        with served("playhead", folder) as server:
            line(f"playhead, {label}", carried(server, 1000, 1000, seconds, is_compressed=is_compressed))


def filters(folder: Path, seconds: float) -> None:
    """Readers of one batch in a hundred: what an event costs grows with those that match."""
    head("100 filters, 2,000 events/s")
    for readers in (100, 1000, 5000):
        with served("playhead", folder) as server:
            line(f"playhead, {readers:,} readers", carried(server, readers, 2000, seconds, 100))


def ingest(folder: Path, seconds: float) -> None:
    """What is taken in over HTTP, answered once it is durable."""
    print("\ningest over HTTP, durable")
    with served("playhead", folder) as server:
        for label, connections, size in (("arrays of 1,000, 4 connections", 4, 1000), ("single events, 16 connections", 16, 1)):
            before, begun = server.cpu_s(), time.monotonic()
            count = asyncio.run(_posting(server.port, connections, size, min(seconds, 10)))
            took, cpu = time.monotonic() - begun, server.cpu_s() - before
            print(f"{label:<44} {count * size / took:>11,.0f} events/s {count / took:>9,.0f} requests/s "
                  f"{cpu / took:>5.2f} cores {cpu / (count * size) * 1e6:>8.1f} us an event", flush=True)  # fmt: skip


async def _posting(port: int, connections: int, size: int, seconds: float) -> int:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    bodies = []
    for n in range(20):
        events = [json.loads(_crowd.event(n * size + m, 50)) for m in range(size)]
        body = json.dumps(events if size > 1 else events[0], separators=(",", ":")).encode()
        bodies.append(
            f"POST /api/events HTTP/1.1\r\nHost: x\r\nX-Playhead-Token: {TOKEN}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
    end = time.monotonic() + seconds

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        count = 0
        while time.monotonic() < end:
            writer.write(bodies[count % len(bodies)])
            answered = await reader.readuntil(b"\r\n\r\n")
            assert answered.startswith(b"HTTP/1.1 201"), answered
            length = int(answered.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            count += 1
        writer.close()
        return count

    return sum(await asyncio.gather(*(one() for _ in range(connections))))


def idle(folder: Path, seconds: float) -> None:
    """5,000 readers and nothing to read."""
    print("\n5,000 readers, nothing published")
    with served("playhead", folder) as server:
        time.sleep(1)
        before = server.resident()
        crowd = Crowd(server, 5000, 100)
        grown, cpu = server.resident() - before, server.cpu_s()
        time.sleep(seconds)
        cpu, later = server.cpu_s() - cpu, server.resident() - before
        found = crowd.end()
        beats = found["others"] / 5000 - 3  # welcome, subscribed, caught_up
        print(f"{'':<44} {grown / 5000 / 1024:.1f} KB each ({later / 5000 / 1024:.1f} after {seconds:g} s), "
              f"{cpu / seconds:.3f} cores, {beats:.1f} heartbeats each, {found['frames']} other messages, "
              f"{found['lost']} lost")  # fmt: skip


def stopped(folder: Path, seconds: float) -> None:
    """One reader is stopped (SIGSTOP) at 10,000 events a second, for half of the time, then goes on."""
    head("20 readers and one that is stopped, 10,000 events/s")
    for is_stopping in (False, True):
        with served("playhead", folder) as server:
            crowd, victim = Crowd(server, 20), Crowd(server, 1)
            publisher = publishing(server, 10_000, seconds + 8, together=50)
            time.sleep(8)  # the ring is full then
            before, cpu, begun = server.resident(), server.cpu_s(), time.monotonic()
            if is_stopping:
                victim._process.send_signal(signal.SIGSTOP)
            time.sleep(max(1, min(20, seconds / 2)))
            grown = server.resident() - before
            victim._process.send_signal(signal.SIGCONT)
            published = json.loads(publisher.communicate(timeout=seconds * 3 + 60)[0])["published"]
            time.sleep(2)
            cpu, took = server.cpu_s() - cpu, time.monotonic() - begun
            found, slow = crowd.end(), victim.end()
            line("one is stopped" if is_stopping else "all read", found | {
                "per_cpu_s": found["deliveries"] / cpu, "core": cpu / took, "us": cpu / max(1, found["deliveries"]) * 1e6,
                "missing": published * 20 - found["deliveries"],
            })  # fmt: skip
            print(f"{'':<44} memory grew {grown / 2**20:.1f} MiB; the one got {slow['deliveries']:,} of {published:,}, "
                  f"{slow['holes']} holes, lost {slow['lost']}")  # fmt: skip


_JOB = """
import json, sys, time, playhead as ph
client = ph.connect(sys.argv[1], token=sys.argv[2])
with client.batch("b") as batch, batch.job("site") as job:
    for n in range(200): job.progress(n % 100, step="warm")
    took = []
    for n in range(20_000):
        begun = time.perf_counter_ns()
        job.progress(n % 100, step="Extracting data", url="https://example.com/a")
        took.append(time.perf_counter_ns() - begun)
        if n % 10 == 0: time.sleep(0.001)
    begun = time.perf_counter_ns()
    for n in range(1_000_000): pass
    plain = time.perf_counter_ns() - begun
    begun = time.perf_counter_ns()
    for n in batch.track(range(1_000_000)): pass
    tracked = time.perf_counter_ns() - begun
took.sort()
print(json.dumps({"p50": took[len(took) // 2] / 1e3, "p99": took[int(0.99 * len(took))] / 1e3,
                  "p99.9": took[int(0.999 * len(took))] / 1e3, "track": (tracked - plain) / 1e9}))
"""


def job(folder: Path, seconds: float) -> None:
    """What publishing costs the job, with a server and without one."""
    print("\nin the job: microseconds")
    with served("playhead", folder) as server:
        for label, url in (("server up", f"http://127.0.0.1:{server.port}"), ("server down", f"http://127.0.0.1:{free_port()}")):
            done = subprocess.run(
                [sys.executable, "-c", _JOB, url, TOKEN], capture_output=True, text=True, check=True, preexec_fn=pin(1),
                env=os.environ | {"PLAYHEAD_RUNTIME_DIR": str(folder)},
            )  # fmt: skip
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"{label:<44} progress p50 {found['p50']:.1f}, p99 {found['p99']:.1f}, p99.9 {found['p99.9']:.1f}; "
                  f"track {found['track']:.3f} an iteration", flush=True)  # fmt: skip


SECTIONS: dict[str, Callable[[Path, float], None]] = {
    "fanout": fanout, "thousand": thousand, "filters": filters, "ingest": ingest, "idle": idle, "stopped": stopped, "job": job,
}  # fmt: skip


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SECTIONS))
    asked = parser.parse_args()
    if unknown := set(asked.only) - set(SECTIONS):
        parser.error(f"--only takes {', '.join(SECTIONS)}; not {', '.join(sorted(unknown))}")
    if not shutil.which("redis-server"):
        parser.error("redis-server is missing; `make ready` installs it")
    print(f"load {os.getloadavg()[0]:.1f} before, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="bench-delivery-") as folder:
        for name in asked.only:
            SECTIONS[name](Path(folder), asked.seconds)


if __name__ == "__main__":
    main()
