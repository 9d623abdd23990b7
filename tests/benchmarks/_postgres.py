"""PostgreSQL as the peer: a private cluster with the original schema, on a socket of its own, ended with the block."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from playhead.events import NewEvent
from tests.benchmarks._data import Data

if TYPE_CHECKING:
    import psycopg

COLUMNS = (
    "id", "type", "timestamp", "data", "execution_id", "batch_id", "job_id", "organization_id", "expires_at", "created_at",
)  # fmt: skip
_TABLE = """
CREATE TABLE events (
    id UUID PRIMARY KEY, type VARCHAR(64) NOT NULL, timestamp TIMESTAMPTZ NOT NULL, data JSONB NOT NULL,
    execution_id VARCHAR(256), batch_id VARCHAR(256), job_id VARCHAR(256), organization_id UUID,
    expires_at TIMESTAMPTZ, created_at TIMESTAMPTZ NOT NULL DEFAULT now())
"""
_INDEXES = (
    "type", "timestamp", "execution_id", "batch_id", "job_id", "organization_id", "expires_at", "execution_id, timestamp",
)  # fmt: skip
# Durability is the default one (fsync, synchronous_commit). The rest is what a machine of this size is given, not 128 MB.
_SETTINGS = {
    "listen_addresses": "", "shared_buffers": "1GB", "max_wal_size": "4GB", "maintenance_work_mem": "512MB",
    "work_mem": "64MB", "timezone": "UTC",
}  # fmt: skip
_CHUNK = 500_000
_encode = msgspec.json.Encoder().encode


def programs() -> Path | None:
    """Where ``initdb`` and ``postgres`` are, installed by apt where this user may; None with a word on stderr."""
    found = _installed()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing PostgreSQL by apt", file=sys.stderr)
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "postgresql"]):
            subprocess.run(["apt-get", *words], env=quiet, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False)
        found = _installed()
    if found is None:
        print("without PostgreSQL: install Debian's package `postgresql`", file=sys.stderr)
    return found


def _installed() -> Path | None:
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    elsewhere = shutil.which("initdb")
    return homes[-1].parent if homes else Path(elsewhere).parent if elsewhere else None


@contextlib.contextmanager
def cluster(home: Path) -> Iterator[str]:
    """A fresh cluster; gives what to connect with. Started as ``postgres`` by root, which initdb refuses to be."""
    folder = Path(tempfile.mkdtemp(prefix="bench-pg-"))
    who: dict[str, Any] = {"start_new_session": True, "cwd": folder}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        who |= {"user": "postgres", "group": "postgres", "extra_groups": []}
    server = None
    try:
        initdb = [home / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **who)
        options = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        with (folder / "log").open("w") as log:
            command = [home / "postgres", "-D", folder / "data", "-k", folder, *options]
            server = subprocess.Popen(command, stdout=log, stderr=log, **who)
        target = f"host={folder} user=postgres dbname=postgres"
        _wait(target, server, folder / "log")
        yield target
    finally:
        if server is not None:
            _end(server)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(target: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    end = time.monotonic() + 60
    while True:
        try:
            return psycopg.connect(target).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"PostgreSQL did not start:\n{log.read_text()}") from None
            time.sleep(0.05)


def _end(server: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, and what nothing survives
        server.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(30)
            return


class Postgres:
    """The table ``events`` and one connection to it that commits each statement."""

    def __init__(self, target: str) -> None:
        import psycopg

        self.target = target
        self.db: psycopg.Connection[Any] = psycopg.connect(target, autocommit=True)

    def close(self) -> None:
        """Disconnect."""
        self.db.close()

    def load(self, data: Data, folder: Path) -> None:
        """Store all events by COPY, then create the indexes and analyse."""
        self.db.execute(_TABLE)
        draft = folder / "load.csv"
        for first in range(1, data.events + 1, _CHUNK):
            data.write_csv(draft, first, min(first + _CHUNK - 1, data.events))
            with draft.open("rb") as file, self.db.cursor().copy("COPY events FROM STDIN (FORMAT csv)") as copy:
                while block := file.read(2**20):
                    copy.write(block)
            draft.unlink()
        for columns in _INDEXES:
            self.db.execute(f"CREATE INDEX ON events ({columns})")
        self.db.execute("VACUUM ANALYZE events")
        self.db.execute("CHECKPOINT")

    def copy(self, events: Sequence[NewEvent]) -> None:
        """Append by COPY, one commit."""
        with self.db.cursor().copy(f"COPY events ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            for row in _rows(events):
                copy.write_row(row)

    def insert(self, events: Sequence[NewEvent]) -> None:
        """Append by one INSERT of many rows, one commit."""
        one = f"({', '.join(['%s'] * len(COLUMNS))})"
        values = [value for row in _rows(events) for value in row]
        self.db.execute(f"INSERT INTO events VALUES {', '.join([one] * len(events))}", values)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The answer, fetched."""
        return self.db.execute(sql, values).fetchall()

    def bytes(self) -> int:
        """The table with its indexes."""
        return int(self.rows("SELECT pg_total_relation_size('events')")[0][0])


def _rows(events: Sequence[NewEvent]) -> list[tuple[object, ...]]:
    return [
        (
            one.id, one.type, one.timestamp, _encode(one.data).decode(), one.execution_id, one.batch_id, one.job_id,
            one.organization_id, one.timestamp + timedelta(days=30), one.timestamp,
        )
        for one in events
    ]  # fmt: skip
