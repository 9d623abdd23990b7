"""
A server for long: events at a rate, clients that come and go, retention that turns over; memory, descriptors, latency flat.

    python -m tests.soak [--minutes 30] [--rate 2000] [--clients 200] [--retention 5m] [--seed N]

Each client stays for some seconds, watches everything or one of ten jobs, and comes back with its cursor or without; what it is
sent joins without a gap. Prints one table, a line a twentieth of the time; ends with status 1 when the last quarter
needs more than the second one: memory by 48 MB and a tenth, descriptors by a tenth, latency by twice and 20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import httpx
import msgspec
import zstandard
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.conftest import TOKEN, Process, process

_HEADERS = {"X-Playhead-Token": TOKEN}
_GROUP = 10
_PUBLISHERS = 10
_ROWS = 20
_STAYS_S = (3.0, 30.0)


class _Message(msgspec.Struct):
    """What of a message is looked at; the events only counted."""

    op: str
    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    at: str = ""
    events: list[msgspec.Raw] = []


_decode = msgspec.json.Decoder(_Message).decode


@dataclass
class Sample:
    """What was seen in one stretch of time."""

    minutes: float
    rss: int
    descriptors: int
    events: int
    bytes: int
    clients: int
    appends: list[float]
    lags: list[float]

    def words(self) -> list[str]:
        """As a line of the table."""
        return [
            f"{self.minutes:.1f}", f"{self.rss / 2**20:,.0f}", f"{self.descriptors}", f"{self.events:,}",
            f"{self.bytes / 1e6:,.1f}", f"{self.clients}", *(f"{share(self.appends, at):.1f}" for at in (0.5, 0.99)),
            *(f"{share(self.lags, at):.1f}" for at in (0.5, 0.99)),
        ]  # fmt: skip


@dataclass
class Run:
    """What publishers and clients of one run share."""

    url: str
    dice: random.Random
    end: float
    sent: int = 0
    heard: int = 0
    visits: int = 0
    clients: int = 0
    appends: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= self.end


def share(values: list[float], at: float) -> float:
    """A percentile of milliseconds; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * at))] if values else 0.0


def publishing(url: str, rate: float, seconds: float, seed: int, out: Connection) -> None:
    """Publish in a process of its own, so that a latency is the server's; says each second how it went."""
    asyncio.run(_publish_all(Run(url, random.Random(seed), time.monotonic() + seconds), rate, out))


async def _publish_all(run: Run, rate: float, out: Connection) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_PUBLISHERS):
            tasks.create_task(_publish(run, rate / _PUBLISHERS))
        while not run.is_over:
            await asyncio.sleep(1)
            _say(run, out)
    _say(run, out)


def _say(run: Run, out: Connection) -> None:
    out.send((run.sent, run.appends, run.wrong))
    run.appends, run.wrong = [], []


async def _publish(run: Run, rate: float) -> None:
    """Groups of events at a rate, each acknowledged before the next."""
    async with httpx.AsyncClient(base_url=run.url, headers=_HEADERS, timeout=30, trust_env=False) as http:
        due = time.monotonic()
        while not run.is_over:
            events = [
                {"type": "job_progress", "jobId": f"j{run.dice.randrange(10)}", "executionId": f"x{run.sent // 5000}",
                 "data": {"progressPercentage": n * 10, "sent": time.time(), "currentStep": "soaking"}}
                for n in range(_GROUP)
            ]  # fmt: skip
            begun = time.perf_counter()
            answer = await http.post("/api/events", json=events)
            run.appends.append((time.perf_counter() - begun) * 1000)
            if answer.status_code != 201:
                run.wrong.append(f"a request was answered {answer.status_code}: {answer.text[:200]}")
            run.sent += _GROUP
            due = max(due + _GROUP / rate, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def hear(run: Run, said: Connection) -> None:
    """Take what the publishers say, until they end."""
    heard = asyncio.Event()
    asyncio.get_running_loop().add_reader(said.fileno(), heard.set)
    try:
        while True:
            await heard.wait()
            heard.clear()
            while said.poll():
                run.sent, appends, wrong = said.recv()
                run.appends += appends
                run.wrong += wrong
    except EOFError:
        asyncio.get_running_loop().remove_reader(said.fileno())


async def visit(run: Run) -> None:
    """One client after the other: each stays for a while and goes, in good order or not."""
    cursor: str | None = None
    address = f"ws{run.url.removeprefix('http')}/api/events/ws"
    while not run.is_over:
        job = run.dice.choice([None, *(f"j{n}" for n in range(10))])
        after = cursor if cursor is not None and run.dice.random() < 0.5 else "now"
        stay = min(run.end, time.monotonic() + run.dice.uniform(*_STAYS_S))
        try:
            async with connect(
                address, additional_headers=_HEADERS, proxy=None, compression=None, max_size=None, open_timeout=30,
                subprotocols=["playhead.v1.zstd"],  # type: ignore[list-item]  # a Subprotocol is a str
            ) as socket:  # fmt: skip
                run.clients += 1
                run.visits += 1
                try:
                    subscribe = {"op": "subscribe", "id": "all", "after": after}
                    await socket.send(json.dumps(subscribe | ({"filter": {"jobId": job}} if job else {})))
                    cursor = await _listen(run, socket, stay, cursor)
                finally:
                    run.clients -= 1
                if run.dice.random() < 0.3:
                    socket.transport.abort()
        except (OSError, WebSocketException, TimeoutError) as error:
            if not run.is_over:
                run.wrong.append(f"a client was cut off: {error!r}")


async def _listen(run: Run, socket: ClientConnection, stay: float, cursor: str | None) -> str | None:
    """The cursor that a client has come to, or None when it has to begin anew."""
    at, unpack = -1, zstandard.ZstdDecompressor()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(stay):  # a loop's time is the monotonic one
            async for message in socket:
                said = _decode(unpack.decompress(message) if isinstance(message, bytes) else message)
                if said.op == "events":
                    if at >= 0 and _seq(said.from_) > at:
                        run.wrong.append(f"a gap: {at} and then {said.from_}")
                    at, cursor = _seq(said.to), said.to
                    run.heard += len(said.events)
                    if said.events and run.dice.random() < 0.05:
                        sent = msgspec.json.decode(said.events[-1])["data"]["sent"]
                        run.lags.append((time.time() - sent) * 1000)
                elif said.op in ("heartbeat", "caught_up") and _seq(said.at) > at:
                    at, cursor = _seq(said.at), said.at
                elif said.op in ("reset", "error"):
                    run.wrong += [f"an error: {message!r}"] if said.op == "error" else []
                    return None
    return cursor


def _seq(cursor: str) -> int:
    return int(cursor.rpartition(":")[2])


async def watch(run: Run, pid: int, minutes: float) -> list[Sample]:
    """A sample each twentieth of the time."""
    found: list[Sample] = []
    begun = time.monotonic()
    home = Path(f"/proc/{pid}")
    async with httpx.AsyncClient(base_url=run.url, headers=_HEADERS, timeout=30, trust_env=False) as http:
        for row in range(1, _ROWS + 1):
            await asyncio.sleep(max(0.0, begun + row * minutes * 60 / _ROWS - time.monotonic() - 0.5))
            figures = (await http.get("/api/stats")).json()
            rss = int((home / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            descriptors = len(list((home / "fd").iterdir()))
            appends, run.appends = run.appends, []
            lags, run.lags = run.lags, []
            found.append(
                Sample(
                    (time.monotonic() - begun) / 60, rss, descriptors, figures["events"], figures["bytes"], run.clients,
                    appends, lags,
                )
            )  # fmt: skip
    return found


def judged(samples: list[Sample]) -> list[str]:
    """What grew from the second quarter to the last."""
    quarter = max(1, len(samples) // 4)
    before, after = samples[quarter : 2 * quarter], samples[-quarter:]
    found = []
    for name, allowed in (("rss", lambda was: was * 1.1 + 48 * 2**20), ("descriptors", lambda was: was * 1.1 + 10)):
        was, now = (median(getattr(one, name) for one in some) for some in (before, after))
        if now > allowed(was):
            found.append(f"{name} grew from {was:,.0f} to {now:,.0f}")
    for name in ("appends", "lags"):
        was, now = (median(share(getattr(one, name), 0.99) for one in some) for some in (before, after))
        if now > 2 * was + 20:
            found.append(f"p99 of {name} grew from {was:.1f} to {now:.1f} ms")
    return found


async def soak(server: Process, args: argparse.Namespace) -> tuple[Run, list[Sample]]:
    """All of it at once."""
    seconds = args.minutes * 60
    said, out = multiprocessing.Pipe(duplex=False)
    publisher = multiprocessing.get_context("spawn").Process(
        target=publishing, args=(server.url, args.rate, seconds, args.seed, out), daemon=True
    )
    publisher.start()
    out.close()
    run = Run(server.url, random.Random(args.seed), time.monotonic() + seconds)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hear(run, said))
        for _ in range(args.clients):
            tasks.create_task(visit(run))
        watching = tasks.create_task(watch(run, server.process.pid, args.minutes))
    publisher.join()
    if publisher.exitcode:
        run.wrong.append("the publishers broke off")
    return run, watching.result()


def main() -> None:
    """Run it, print the table, and say whether it was flat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=2000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--retention", default="5m")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PLAYHEAD_RUNTIME_DIR"] = folder
        log = (Path(folder) / "log").open("w+")
        with process(Path(folder) / "log.playhead", "--retention", args.retention, stderr=log) as server:
            run, samples = asyncio.run(soak(server, args))
            status, _, _ = server.end()
        log.seek(0)
        said = log.read()
    columns = ("min", "RSS MB", "fds", "events held", "MB on disk", "clients", "append p50", "p99 ms", "lag p50", "p99 ms")
    table = Table(*columns, box=None, header_style="bold", title=f"soak, seed {args.seed}")
    for sample in samples:
        table.add_row(*sample.words())
    Console(width=120).print(table)
    wrong = run.wrong[:5] + judged(samples)
    if status != 0 or "Traceback" in said:
        wrong.append(f"the server ended with {status}: {said[-2000:]}")
    print(f"{run.sent:,} events published, {run.heard:,} delivered in {run.visits:,} visits, {len(run.wrong)} faults")
    print("\n".join(wrong) if wrong else "flat")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
