"""The three stores that are compared, filled with the same events; each is opened where it is asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from playhead.columns import FRAME, TABLE
from playhead.recording import Recording
from tests.benchmarks._data import Data
from tests.benchmarks._postgres import Postgres
from tests.benchmarks._report import size_of

_GROUP = 10_000
_SETTLED_S = 2.0
_SETTLE_LIMIT_S = 900.0


class Raw:
    """DuckDB alone: one file, the columns of the recording, no index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = duckdb.connect(str(path), config={"threads": 2})
        self._db.execute("SET enable_progress_bar = false")
        self._db.execute(f"CREATE TABLE IF NOT EXISTS events ({', '.join(f'{name} {kind}' for name, kind in TABLE.items())})")

    def append(self, rows: pa.Table) -> None:
        """Store a table, one commit."""
        self._db.execute("INSERT INTO events SELECT * FROM rows")

    def hold_checkpoints(self) -> None:
        """From now on commits are commits; what a checkpoint costs is told apart."""
        self._db.execute("SET wal_autocheckpoint = '100GB'")

    def run(self, sql: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """A statement, its rows as Python objects."""
        return self._db.cursor().execute(sql, values).fetchall()

    def arrow(self, sql: str, values: list[Any]) -> pa.Table:
        """The answer as Arrow."""
        return self._db.cursor().sql(sql, params=values).to_arrow_table()

    def close(self) -> None:
        """Checkpoint and close."""
        with contextlib.suppress(duckdb.Error):
            self._db.execute("CHECKPOINT")
        self._db.close()


class Stores:
    """Where everything is; ``postgres`` is None where it is left out."""

    def __init__(
        self, folder: Path, data: Data, postgres: Postgres | None, segment_events: int, *, is_archived: bool = False
    ) -> None:
        self.folder, self.data, self.postgres, self.is_archived = folder, data, postgres, is_archived
        self.path = folder / "bench.playhead"
        self.raw_path = folder / "raw.duckdb"
        self.segment_events = segment_events
        self.load_s: dict[str, float] = {}

    @contextlib.contextmanager
    def recording(self) -> Iterator[Recording]:
        """The recording, open."""
        with Recording.open(self.path, segment_events=self.segment_events) as found:
            yield found

    @contextlib.contextmanager
    def raw(self) -> Iterator[Raw]:
        """The DuckDB file, open."""
        with contextlib.closing(Raw(self.raw_path)) as found:
            yield found

    def load(self) -> None:
        """Fill all of them, and see that they hold the same."""
        begun = time.perf_counter()
        with self.recording() as recording:
            fill(recording, self.data, min(_GROUP, self.segment_events))
        self.load_s["playhead"] = time.perf_counter() - begun
        if self.is_archived:
            with Recording.open(self.path, segment_events=self.segment_events, archive_after_s=0.0) as recording:
                recording.sweep()
                while len(list((self.path / "archive").glob("0*.parquet"))) < recording.stats()["segments"] - 1:
                    time.sleep(0.1)
        begun = time.perf_counter()
        with self.raw() as raw:
            for first in range(1, self.data.events + 1, 10 * _GROUP):
                raw.append(self.data.table(first, min(first + 10 * _GROUP - 1, self.data.events)))
        self.load_s["duckdb"] = time.perf_counter() - begun
        if self.postgres is not None:
            begun = time.perf_counter()
            self.postgres.load(self.data, self.folder)
            self.load_s["postgres"] = time.perf_counter() - begun
        self._check()

    def settle(self) -> int:
        """Let the recording seal and archive what it will, at rest; the bytes of its directory after that."""
        with self.recording():
            before, since = size_of(self.path), time.monotonic()
            end = since + _SETTLE_LIMIT_S
            while time.monotonic() < min(since + _SETTLED_S, end):
                time.sleep(0.1)
                if (size := size_of(self.path)) != before:
                    before, since = size, time.monotonic()
        return size_of(self.path)

    def _check(self) -> None:
        """The first thousand rows are the same in all columns, and all have as many."""
        with self.recording() as recording, self.raw() as raw:
            names = [name for name in FRAME if name != "created_at"]  # ours is the time of storing
            ours = recording.arrow(upto=1000).read_all().select(names).to_pydict()
            sql = f"SELECT {', '.join(names)} FROM events WHERE seq <= 1000 ORDER BY seq"
            theirs = raw.arrow(sql.replace(" id,", " id::VARCHAR AS id,"), []).to_pydict()
            theirs["timestamp"] = [value.replace(tzinfo=ours["timestamp"][0].tzinfo) for value in theirs["timestamp"]]
            assert ours == theirs, "the recording and DuckDB do not hold the same"
            assert recording.count() == raw.run("SELECT count(*) FROM events")[0][0] == self.data.events


def fill(recording: Recording, data: Data, size: int) -> None:
    """Append all events in order; while a group is stored the next one is made."""
    waiting: Future[Any] | None = None
    for first in range(1, data.events + 1, size):
        events = data.rows(first, min(first + size - 1, data.events))
        if waiting is not None:
            waiting.result()
        waiting = recording.submit(events)
    if waiting is not None:
        waiting.result()
