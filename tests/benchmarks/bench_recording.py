"""
The recording against DuckDB alone and PostgreSQL: appending, committing, size, questions, opening, export, dropping.

    python tests/benchmarks/bench_recording.py [--events 100000] [--rounds 5] [--seconds 10] [--only queries,open]
                                               [--no-postgres] [--keep DIR] [--segment-events N] [--seed 42] [--archived]

All three hold the same generated events (`_data.py`) and are measured in turn in one run; each answer is checked against
the peers' before it is timed. DuckDB is one file with the recording's columns and no index; PostgreSQL is a private
cluster, durable as it is by default, with the original schema and its indexes. Prints one table: medians, for latencies
p50 / p99 in ms; a ratio above 1 means that playhead is that many times better.

``commit`` comes first, on an idle disk: a disk that still writes and frees what PostgreSQL did delays any commit by 100 ms. All
other sections run on all ``--events``; a segment is a twentieth of them, 25,000 to 250,000. The figures to be
quoted are those of ``--events 10000000 --seconds 60``.

``--archived`` has the recording's sealed segments kept as Parquet before anything is asked, as old ones are.

``--keep DIR`` works in that directory, leaves the stores there and finds the generated events again the next time.
PostgreSQL is installed by apt where it is missing and root asks; the cluster ends with the run, as does all else.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks import _postgres  # noqa: E402
from tests.benchmarks._data import Data  # noqa: E402
from tests.benchmarks._export import export, run  # noqa: E402
from tests.benchmarks._questions import ask  # noqa: E402
from tests.benchmarks._report import Report, say  # noqa: E402
from tests.benchmarks._stores import Stores  # noqa: E402
from tests.benchmarks._travel import travel  # noqa: E402
from tests.benchmarks._writing import GROUP, GROUPS_A_TURN, commit, drop, ingest  # noqa: E402

SECTIONS = ("commit", "size", "open", "queries", "travel", "export", "ingest", "drop")  # the last ones change the stores
_OPEN = """
import json, os, sys, time
import duckdb, numpy, pandas, pyarrow
from playhead.columns import events_of, to_arrow
from playhead.recording import Recording
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before, begun = resident(), time.perf_counter()
if sys.argv[2] == "playhead":
    found = Recording.open(sys.argv[1])
    assert len(found.read(limit=1, descending=True)) == 1
else:
    found = duckdb.connect(sys.argv[1], config={"threads": 2})
    assert len(found.execute("SELECT * FROM events ORDER BY seq DESC LIMIT 1").fetchall()) == 1
print(json.dumps({"seconds": time.perf_counter() - begun, "grown": resident() - before}))
found.close()
"""


def size(stores: Stores, report: Report) -> None:
    """Bytes an event, at rest."""
    found = {"playhead": stores.settle(), "duckdb": stores.raw_path.stat().st_size}
    if stores.postgres is not None:
        found["postgres"] = stores.postgres.bytes()
    report.numbers("bytes an event on disk", {name: size / stores.data.events for name, size in found.items()})


def opening(stores: Stores, report: Report, rounds: int) -> None:
    """A fresh process opens the recording and asks for the newest event."""
    found: dict[str, list[dict[str, Any]]] = {"playhead": [], "duckdb": []}
    for _ in range(rounds):
        for name, path in (("playhead", stores.path), ("duckdb", stores.raw_path)):
            found[name].append(run(_OPEN, str(path), name))
    shown = (("opening, until the first answer, ms", "seconds", 1000.0), ("  memory grown, MiB", "grown", 2**-20))
    for label, field, unit in shown:
        peers = {name: median(one[field] * unit for one in values) for name, values in found.items()}
        report.numbers(label, peers)


def measure(stores: Stores, report: Report, asked: argparse.Namespace) -> None:
    """The sections asked for; those that add and delete come last."""
    works: dict[str, Callable[[], None]] = {
        "commit": lambda: commit(stores, report, asked.seconds),
        "size": lambda: size(stores, report),
        "open": lambda: opening(stores, report, asked.rounds),
        "queries": lambda: ask(stores, report),
        "travel": lambda: travel(stores, report),
        "export": lambda: export(stores, report, min(asked.rounds, 3)),
        "ingest": lambda: ingest(stores, report, asked.rounds),
        "drop": lambda: drop(stores, report),
    }
    if "commit" in asked.only:
        say("commit")
        report.head("commit")
        works.pop("commit")()
    if set(asked.only) - {"commit"}:
        say(f"storing {stores.data.events:,} events in each")
        stores.load()
        loads = {name: [stores.data.events / seconds] for name, seconds in stores.load_s.items()}
        report.rates("loading all, the quickest way of each", loads)
    for name, work in works.items():
        if name in asked.only:
            say(name)
            report.head(name)
            work()


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SECTIONS))
    parser.add_argument("--no-postgres", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    parser.add_argument("--segment-events", type=int, metavar="N")
    parser.add_argument("--archived", action="store_true")
    parser.add_argument("--seed", type=int, default=42)
    asked = parser.parse_args()
    if unknown := set(asked.only) - set(SECTIONS):
        parser.error(f"--only takes {', '.join(SECTIONS)}; not {', '.join(sorted(unknown))}")
    if asked.events < 10_000 or asked.rounds < 1:
        parser.error("--events from 10000, --rounds from 1")
    return asked


@contextlib.contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """A directory that is gone after the block, or the one to keep, without an earlier run's stores."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="bench-recording-") as folder:
            yield Path(folder)
        return
    keep.mkdir(parents=True, exist_ok=True)
    for name in ("bench.playhead", "raw.duckdb", "raw.duckdb.wal", "paced.playhead", "paced.duckdb", "paced.duckdb.wal"):
        path = keep / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    yield keep.resolve()


def main() -> None:
    """Fill the stores, measure, print the table."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as on Ctrl-C, what was started is ended
    report = Report()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(workplace(asked.keep))
        postgres = None
        if not asked.no_postgres and asked.only != ["commit"] and (home := _postgres.programs()) is not None:
            postgres = _postgres.Postgres(stack.enter_context(_postgres.cluster(home)))
            stack.callback(postgres.close)
        say(f"generating {asked.events:,} events")
        data = stack.enter_context(contextlib.closing(
            Data(folder, asked.events, asked.rounds * GROUPS_A_TURN * 2 * GROUP, asked.seed)
        ))  # fmt: skip
        size = asked.segment_events or max(25_000, min(250_000, asked.events // 20))
        stores = Stores(folder, data, postgres, size, is_archived=asked.archived)
        begun, before = time.monotonic(), os.getloadavg()[0]
        try:
            measure(stores, report, asked)
        finally:
            version = postgres.rows("SHOW server_version")[0][0].split()[0] if postgres is not None else "none"
            print(f"{asked.events:,} events, {asked.rounds} rounds, segments of {stores.segment_events:,}, "
                  f"{time.monotonic() - begun:,.0f} s; Python {platform.python_version()}, DuckDB {duckdb.__version__}, "
                  f"PostgreSQL {version}; load {before:.1f} before")  # fmt: skip
            report.print()


if __name__ == "__main__":
    main()
