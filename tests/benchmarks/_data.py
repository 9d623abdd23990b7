"""
The events that the recording's benchmark stores: generated once by seed, kept as Parquet, given out in each store's form.

The shape is that of a fleet of browser jobs: about 13 events a job (queued, started, progress and log, an end), 20-100
jobs an execution, three executions a batch; a batch's events lie close together, between those of the batches that run
at the same time. At 10M events: 770,000 jobs, 12,800 executions, 4,300 batches, 12.8 hours, about 250 bytes of JSON each.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec
import pyarrow as pa

from playhead.columns import TABLE
from playhead.events import NewEvent
from playhead.times import time_text

ENDS = ("job_completed", "job_failed", "job_cancelled")
_DATA = """
SET enable_progress_bar = false; SET threads = 2; SET memory_limit = '4GB';
CREATE MACRO u(salt, a, b) AS (hash(salt, a, b, {seed}) % 1000003)::DOUBLE / 1000003;
CREATE MACRO uid(salt, a) AS md5(salt || ':' || a || ':{seed}')::UUID::VARCHAR;
CREATE TABLE executions AS SELECT i, uid('execution', i) AS execution_id, uid('batch', i // 3) AS batch_id,
    20 + floor(u('jobs', i, 0) * 81)::INT AS jobs, i * 3.6 + u('begun', i, 0) * 30 AS begun,
    uid('organization', floor(u('who', i, 0) * u('whose', i, 0) * 50)::INT) AS organization_id
  FROM range({executions}) r(i);
CREATE TABLE jobs AS SELECT i * 101 + j AS job, uid('job', i * 101 + j) AS job_id, execution_id, batch_id, organization_id,
    begun + (j // 8) * 60 + u('start', i, j) * 20 AS start_s, 40 + u('length', i, j) * 60 AS length_s,
    floor(u('site', i, j) * 2000)::INT AS site, floor(u('goal', i, j) * 200)::INT AS goal,
    8 + floor(u('steps', i, j) * 7)::INT AS steps, u('fate', i, j) AS fate
  FROM executions, range(101) r(j) WHERE j < jobs;
CREATE TABLE steps AS SELECT job, s, start_s + length_s * (s + u('step', job, s) * 0.8) / (steps + 1) AS at_s
  FROM jobs, range(16) r(s) WHERE s <= steps + 1 ORDER BY at_s LIMIT {total};
CREATE VIEW marked AS SELECT job, s, TIMESTAMP '2026-10-01' + to_microseconds((at_s * 1e6)::BIGINT) AS timestamp,
    md5('event:' || job || ':' || s || ':{seed}') AS x,
    (printf('%012x', epoch_ms(timestamp)) || '7' || x[1:3] || '8' || x[4:18])::UUID AS id FROM steps;
CREATE TABLE numbered AS SELECT row_number() OVER (ORDER BY timestamp, id) AS seq, job, s, timestamp, id
  FROM marked ORDER BY seq;
CREATE VIEW told AS SELECT seq, id::VARCHAR AS id, timestamp, execution_id, batch_id, job_id, organization_id,
    CASE WHEN s = 0 THEN 'job_queued' WHEN s = 1 THEN 'job_started' WHEN s > steps THEN
        CASE WHEN fate < 0.9 THEN 'job_completed' WHEN fate < 0.97 THEN 'job_failed' ELSE 'job_cancelled' END
      WHEN hash(job, s) % 23 = 0 THEN 'job_log' ELSE 'job_progress' END AS type,
    'https://www.site-' || site || '.example.com' AS site_url, 'Site Number ' || site AS site_name,
    CASE WHEN s <= steps THEN 'Collect the product catalogue, prices and availability for campaign ' || goal END AS goal,
    CASE WHEN s BETWEEN 2 AND steps THEN ['navigate', 'login', 'search', 'open_listing', 'extract', 'paginate', 'validate',
      'screenshot', 'submit_form', 'wait'][1 + (s * 7 + goal) % 10] END AS current_step,
    CASE WHEN s BETWEEN 2 AND steps THEN
      'https://www.site-' || site || '.example.com/catalog/' || hash(job, s) % 100000 || '?page=' || s END AS current_url,
    CASE WHEN s > steps AND fate < 0.9 THEN 100 WHEN s > 1 THEN (95 * s / (steps + 1))::INT END AS percent,
    CASE WHEN s <= 1 THEN '"priority":' || goal % 5 || ',"retryCount":0'
      WHEN s > steps THEN '"status":"done","durationMs":' || (length_s * 1000)::INT || ',"itemsExtracted":' || hash(job) % 500
        || ',"error":' || CASE WHEN fate < 0.9 THEN 'null' ELSE '"TimeoutError: selector .price not found"' END
      WHEN hash(job, s) % 23 = 0 THEN '"message":"page ' || s || ' took ' || hash(job, s) % 3000 || ' ms","level":"info"'
      ELSE '' END AS rest
  FROM numbered JOIN jobs USING (job);
"""
_PART = """
COPY (SELECT seq, id, type, timestamp, execution_id, batch_id, job_id, organization_id, site_url, site_name, goal, current_step,
    current_url, percent::DOUBLE AS progress_percentage, '{{' || rest || '}}' AS data,
    timestamp + INTERVAL 350 MICROSECONDS AS created_at, timestamp + INTERVAL 30 DAYS AS expires_at,
    '{{"siteUrl":"' || site_url || '","siteName":"' || site_name || '"' || coalesce(',"goal":"' || goal || '"', '')
      || coalesce(',"currentStep":"' || current_step || '","currentUrl":"' || current_url || '"', '')
      || coalesce(',"progressPercentage":' || percent, '') || CASE rest WHEN '' THEN '' ELSE ',' || rest END || '}}' AS whole
  FROM told WHERE seq BETWEEN {first} AND {first} + {size} - 1 ORDER BY seq)
TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 50000)
"""
_A_PART = 1_000_000  # events a file: sorted whole, 10M rows of this width would not fit in memory
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Pick(NamedTuple):
    """One event, at random: what questions are asked about."""

    seq: int
    id: str
    timestamp: datetime  # UTC, without a zone
    execution_id: str
    batch_id: str
    job_id: str


class Data:
    """``events`` events to ask about, and ``spare`` ones after them to append while it is measured."""

    def __init__(self, folder: Path, events: int, spare: int, seed: int) -> None:
        self.events, self.spare = events, spare
        total = events + spare
        path = folder / f"events-{total}-{seed}"
        if not path.exists():
            draft = folder / "draft"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            with duckdb.connect(str(draft / "scratch.duckdb")) as db:
                db.execute(_DATA.format(seed=seed, total=total, executions=total // 720 + 200))
                for first in range(1, total + 1, _A_PART):
                    db.execute(_PART.format(first=first, size=_A_PART, path=draft / f"{first:09d}.parquet"))
            (draft / "scratch.duckdb").unlink()
            draft.rename(path)
        self._db = duckdb.connect(config={"threads": 2})
        self._db.execute("SET enable_progress_bar = false")
        self._db.execute(f"CREATE VIEW source AS SELECT * FROM '{path}/*.parquet'")

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def ask(self, sql: str, *values: object) -> list[Any]:
        """Rows of ``source``, the events with the columns of `TABLE` and ``whole``, all of ``data`` as JSON."""
        return self._db.cursor().execute(sql, list(values)).fetchall()

    def table(self, first: int, last: int) -> pa.Table:
        """Events ``first..last`` with the columns of `TABLE`."""
        return self._arrow(", ".join(TABLE), first, last)

    def rows(self, first: int, last: int) -> list[NewEvent]:
        """Events ``first..last``, validated."""
        names = ("id", "type", "timestamp", "execution_id", "batch_id", "job_id", "organization_id", "whole")
        table = self._arrow(", ".join(names), first, last)
        return [
            NewEvent(one, kind, at.replace(tzinfo=UTC), execution, batch, job, organization, _decode(whole))
            for one, kind, at, execution, batch, job, organization, whole in zip(
                *(table.column(name).to_pylist() for name in names), strict=True
            )
        ]

    def published(self, first: int, last: int) -> list[dict[str, Any]]:
        """Events ``first..last`` as a publisher writes them."""
        return [
            {
                "id": one.id, "type": one.type, "timestamp": time_text(one.timestamp), "executionId": one.execution_id,
                "batchId": one.batch_id, "jobId": one.job_id, "organizationId": one.organization_id, "data": one.data,
            }
            for one in self.rows(first, last)
        ]  # fmt: skip

    def picks(self, count: int, seed: int) -> list[Pick]:
        """Events at random places of the log, the same ones for the same seed."""
        places = self.ask(
            "SELECT DISTINCT 1 + (hash(i, ?) % ?)::BIGINT FROM range(?) r(i) ORDER BY 1", seed, self.events, 2 * count
        )
        marks = ", ".join(str(place) for (place,) in places[:: max(1, len(places) // count)][:count])
        found = self.ask(
            "SELECT seq, id, timestamp, execution_id, batch_id, job_id FROM source "
            f"WHERE seq IN ({marks}) ORDER BY hash(seq)"
        )
        return [Pick(*row) for row in found]

    def time_at(self, seq: int) -> datetime:
        """The timestamp of an event, UTC, without a zone."""
        found: datetime = self.ask("SELECT timestamp FROM source WHERE seq = ?", seq)[0][0]
        return found

    def _arrow(self, columns: str, first: int, last: int) -> pa.Table:
        query = f"SELECT {columns} FROM source WHERE seq BETWEEN {first} AND {last} ORDER BY seq"
        return self._db.cursor().sql(query).to_arrow_table()

    def write_csv(self, path: Path, first: int, last: int) -> None:
        """Events ``first..last`` for PostgreSQL's COPY."""
        self._db.cursor().execute(
            "COPY (SELECT id, type, timestamp || '+00', whole, execution_id, batch_id, job_id, organization_id, "
            "expires_at || '+00', created_at || '+00' "
            f"FROM source WHERE seq BETWEEN {first} AND {last} ORDER BY seq) TO '{path}' (FORMAT csv, HEADER false)"
        )
