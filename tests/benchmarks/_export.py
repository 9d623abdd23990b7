"""Export over HTTP by a client of its own process, while another follows live events of the same server."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import playhead as ph
from playhead.times import time_text
from tests.benchmarks._data import Data
from tests.benchmarks._report import Report, percentile, say
from tests.benchmarks._stores import Stores

MOST = 1_000_000
_RATE = 100
_QUIET_S = 5.0
_TOKEN = "token-of-the-benchmark"
_PULL = """
import json, sys, time
import pandas, pyarrow
import playhead as ph
url, token, until = sys.argv[1:]
with ph.connect(url, token=token) as client:
    client.events(limit=1).to_pandas()
    begun = time.perf_counter()
    frame = client.events(until=until).to_pandas()
    took, ended = time.perf_counter() - begun, time.monotonic()
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
print(json.dumps({"seconds": took, "rows": len(frame), "peak": peak, "ended": ended}))
"""
_PULL_POSTGRES = """
import json, sys, time
import pandas, psycopg
target, until = sys.argv[1:]
columns = ["id", "type", "timestamp", "execution_id", "batch_id", "job_id", "organization_id", "data", "created_at"]
with psycopg.connect(target) as db:
    begun = time.perf_counter()
    chosen = ", ".join(columns).replace("data", "data::text")
    rows = db.execute(f"SELECT {chosen} FROM events WHERE timestamp < %s ORDER BY timestamp, id", [until]).fetchall()
    frame = pandas.DataFrame(rows, columns=columns)
    took, ended = time.perf_counter() - begun, time.monotonic()
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
print(json.dumps({"seconds": took, "rows": len(frame), "peak": peak, "ended": ended}))
"""


def run(code: str, *words: str, **environment: str) -> dict[str, Any]:
    """What a program says, as JSON, on its only line; it ends with us."""
    command = [sys.executable, "-c", code, *words]
    env = os.environ | environment
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True) as child:
        try:
            said = child.communicate(timeout=1800)[0]
        finally:
            child.kill()
    if child.returncode:
        raise SystemExit("a measuring process failed")
    found: dict[str, Any] = json.loads(said)
    return found


def resident(pid: int | str) -> int:
    """Bytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def server(recording: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """A server process; its url and process id."""
    env = os.environ | {"PLAYHEAD_TOKEN": _TOKEN, "PLAYHEAD_RUNTIME_DIR": str(folder)}
    command = [sys.executable, "-m", "playhead", "serve", str(recording), "--port", "0", "--log-level", "warning"]
    with (folder / "server.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env, start_new_session=True)
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url.startswith("http"):
                log.seek(0)
                raise SystemExit(f"the server did not start:\n{log.read()}")
            yield url, process.pid
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


class Live:
    """Events published at a steady rate and followed: (when published, milliseconds until they arrived)."""

    def __init__(self, url: str) -> None:
        self._publisher, self._follower = (ph.connect(url, token=_TOKEN) for _ in range(2))
        self._found: list[tuple[float, float]] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._write)]
        for thread in self._threads:
            thread.start()

    def latencies(self, since: float, until: float) -> list[float]:
        """Those published in between, once they are there; at least one."""
        end = time.monotonic() + 30
        while not self._found or self._found[-1][0] < until:
            if time.monotonic() > end:
                raise SystemExit("the follower got nothing")
            time.sleep(0.01)
        return [took for sent, took in self._found if since <= sent < until]

    def close(self) -> None:
        """End both."""
        self._is_over.set()
        self._threads[1].join(10)
        self._publisher.close()
        self._follower.close()
        self._threads[0].join(10)

    def _read(self) -> None:
        for event in self._follower.follow(job_id="bench-live"):
            self._found.append((event.data["sent"], (time.monotonic() - event.data["sent"]) * 1000))
            if self._is_over.is_set():
                return

    def _write(self) -> None:
        due = time.monotonic()
        while not self._is_over.is_set():
            self._publisher.publish({"type": "job_log", "jobId": "bench-live", "data": {"sent": time.monotonic()}})
            due = max(due + 1 / _RATE, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))


class Peak:
    """The most memory that a process holds while the block runs."""

    def __init__(self, pid: int) -> None:
        self._pid, self._is_over = pid, threading.Event()
        self.before = self.most = resident(pid)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.01):
            self.most = max(self.most, resident(self._pid))


def export(stores: Stores, report: Report, rounds: int) -> None:
    """Everything, or the first million, to pandas: by HTTP, and by psycopg."""
    until, expected = _bound(stores.data)
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    grown: list[int] = []
    busy: list[float] = []
    with server(stores.path, stores.folder) as (url, pid):
        live = Live(url)
        try:
            begun = time.monotonic() + 1
            live.latencies(begun, begun)  # it is connected and warm
            time.sleep(_QUIET_S)
            quiet = live.latencies(begun, time.monotonic())
            for n in range(rounds):
                say(f"export, round {n + 1} of {rounds}")
                with Peak(pid) as peak:
                    one = run(_PULL, url, _TOKEN, until, PLAYHEAD_RUNTIME_DIR=str(stores.folder))
                ours.append(one)
                busy += live.latencies(one["ended"] - one["seconds"], one["ended"])  # a monotonic clock is the machine's
                grown.append(peak.most - peak.before)
                if stores.postgres is not None:
                    theirs.append(run(_PULL_POSTGRES, stores.postgres.target, until))
        finally:
            live.close()
    assert {one["rows"] for one in ours + theirs} == {expected}, "an export is not complete"
    rates = {"playhead": [one["rows"] / one["seconds"] for one in ours]}
    rates["postgres"] = [one["rows"] / one["seconds"] for one in theirs]
    report.rates(f"export of {expected:,} to pandas", rates)
    seconds = {name: [expected / rate for rate in values] for name, values in rates.items()}
    report.row("  seconds", lambda values: f"{sorted(values)[len(values) // 2]:.2f}", seconds)
    mebi = 2**20
    report.text("  peak memory of the client, MiB", *_peaks(ours), "", *_peaks(theirs))
    report.text("  growth of the server, most, MiB", f"{max(grown) / mebi:,.0f}")
    report.text("  live p50 / p99 / max ms, before", _live(quiet))
    report.text("  live p50 / p99 / max ms, during", _live(busy))


def _bound(data: Data) -> tuple[str, int]:
    """The time that a million events, or all, lie before, and how many do."""
    until = data.time_at(min(MOST, data.events)) + timedelta(microseconds=1)
    before = "SELECT count(*) FROM source WHERE timestamp < ? AND seq <= ?"
    return time_text(until.replace(tzinfo=UTC)), data.ask(before, until, data.events)[0][0]


def _peaks(found: list[dict[str, Any]]) -> list[str]:
    return [f"{max(one['peak'] for one in found) / 2**20:,.0f}"] if found else []


def _live(values: list[float]) -> str:
    return f"{percentile(values, 0.5):.1f} / {percentile(values, 0.99):.1f} / {max(values):.1f}"
