"""
Publish to `follow` through a real server: latency percentiles at a paced rate, and what a durable append costs.

    python tests/benchmarks/bench_live.py [--rate 1000] [--seconds 10]

Prints one table. The peer of the append is raw DuckDB inserting the same rows from Arrow, in turn, in the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb

import playhead as ph
from playhead.columns import TABLE, to_arrow
from playhead.recording import Recording


def latency(rate: int, seconds: float, folder: Path) -> list[float]:
    """Milliseconds from `publish` in one client to `follow` in another, an event at a time."""
    token = "token-of-the-benchmark"
    command = [sys.executable, "-m", "playhead", "serve", str(folder / "live.playhead"), "--port", "0"]
    env = os.environ | {"PLAYHEAD_TOKEN": token, "PLAYHEAD_RUNTIME_DIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
        url = server.stdout.readline().strip() if server.stdout else ""
        publisher = ph.connect(url, token=token)
        follower = ph.connect(url, token=token)
        total = int(rate * seconds)
        found: list[float] = []
        is_ready = threading.Event()

        def read() -> None:
            for event in follower.follow(after="start"):
                arrived = time.monotonic()
                if event.type == "bench_ready":
                    is_ready.set()
                    continue
                found.append((arrived - event.data["sent"]) * 1000)
                if len(found) == total:
                    return

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        publisher.publish({"type": "bench_ready"})
        if not is_ready.wait(20):
            raise SystemExit("the follower did not start")
        begun = time.monotonic()
        for n in range(total):
            pause = begun + n / rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            publisher.publish({"type": "job_progress", "jobId": "bench", "data": {"sent": time.monotonic(), "n": n}})
        reader.join(30)
        publisher.close()
        follower.close()
        server.terminate()
    return found


def append_ratio(folder: Path, groups: int = 30, size: int = 1000) -> tuple[float, float]:
    """Median events a second of `Recording.append` from dicts, and of raw DuckDB from an Arrow table built beforehand."""
    ours: list[float] = []
    raw: list[float] = []
    database = duckdb.connect(str(folder / "raw.duckdb"))
    database.execute("SET wal_autocheckpoint = '100GB'")
    columns = ", ".join(f"{name} {kind}" for name, kind in TABLE.items())
    database.execute(f"CREATE TABLE events ({columns})")
    with Recording.open(folder / "append.playhead") as recording:
        for group in range(groups):
            events = [
                {"type": "job_progress", "jobId": f"j{group}", "data": {"currentStep": "x", "progressPercentage": n % 100}}
                for n in range(size)
            ]
            begun = time.perf_counter()
            recording.append(events)
            ours.append(size / (time.perf_counter() - begun))
            rows = to_arrow(recording.read(recording.head - size, limit=None))  # noqa: F841
            begun = time.perf_counter()
            database.execute("INSERT INTO events SELECT * FROM rows")
            raw.append(size / (time.perf_counter() - begun))
    database.close()
    return statistics.median(ours), statistics.median(raw)


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = sorted(latency(asked.rate, asked.seconds, Path(folder)))
        ours, raw = append_ratio(Path(folder))
    p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
    print(f"publish to follow at {asked.rate:,}/s, n={len(found):,}: p50 {p50:.1f} ms, p99 {p99:.1f}, max {found[-1]:.1f}")
    print(f"durable append, groups of 1,000 dicts: {ours:,.0f}/s; raw DuckDB, rows ready in Arrow: {raw:,.0f}/s "
          f"(ratio {ours / raw:.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
