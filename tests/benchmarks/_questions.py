"""What is asked: each question to the recording's API, as SQL to DuckDB and as SQL to PostgreSQL, with the same answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, timedelta
from functools import partial
from typing import Any, NamedTuple

from playhead.events import Filter
from playhead.recording import Recording
from tests.benchmarks._data import Data, Pick
from tests.benchmarks._postgres import COLUMNS, Postgres
from tests.benchmarks._report import Peers, Report, in_turn
from tests.benchmarks._stores import Raw, Stores

REPETITIONS = 50
_BUDGET_S = 30.0  # seconds for a question, all stores together; then it has been asked often enough
_BAD = ("job_failed", "job_cancelled")


class Question(NamedTuple):
    """One question: the arguments of ``read`` and ``arrow``, and what follows ``FROM events`` for the peers."""

    asked: dict[str, Any]
    duckdb: tuple[str, list[Any]]
    postgres: tuple[str, list[Any]]


def by_id(name: str, pick: Pick) -> Question:
    """Everything of one job, execution or batch."""
    value = getattr(pick, name)
    where = Filter.make(**{name: value})
    return Question(
        {"where": where, "limit": None},
        (f"WHERE {name} = ? ORDER BY seq", [value]),
        (f"WHERE {name} = %s ORDER BY timestamp, id", [value]),
    )


def in_window(window_s: float, pick: Pick) -> Question:
    """Two rare types in a window of time."""
    since, until = pick.timestamp, pick.timestamp + timedelta(seconds=window_s)
    since_utc, until_utc = since.replace(tzinfo=UTC), until.replace(tzinfo=UTC)
    return Question(
        {"where": Filter.make(type=_BAD, since=since_utc, until=until_utc), "limit": None},
        ("WHERE type IN (?, ?) AND timestamp >= ? AND timestamp < ? ORDER BY seq", [*_BAD, since, until]),
        (
            "WHERE type IN (%s, %s) AND timestamp >= %s AND timestamp < %s ORDER BY timestamp, id",
            [*_BAD, since_utc, until_utc],
        ),
    )


def following(pick: Pick) -> Question:
    """The next 1,000."""
    return Question(
        {"after": pick.seq, "limit": 1000},
        ("WHERE seq > ? ORDER BY seq LIMIT 1000", [pick.seq]),
        (
            "WHERE (timestamp, id) > (%s, %s) ORDER BY timestamp, id LIMIT 1000",
            [pick.timestamp.replace(tzinfo=UTC), pick.id],
        ),
    )


def latest(_: Pick) -> Question:
    """The newest 100, newest first."""
    return Question(
        {"limit": 100, "descending": True},
        ("ORDER BY seq DESC LIMIT 100", []),
        ("ORDER BY timestamp DESC, id DESC LIMIT 100", []),
    )


def questions(data: Data) -> dict[str, Callable[[Pick], Question]]:
    """By what the table calls them. The window is an hour, or a tenth of all where that is less."""
    span = data.time_at(data.events) - data.time_at(1)
    window_s = min(3600.0, span.total_seconds() / 10)
    return {
        "one job": partial(by_id, "job_id"),
        "one execution": partial(by_id, "execution_id"),
        "one batch": partial(by_id, "batch_id"),
        f"2 types in {window_s / 60:.3g} minutes": partial(in_window, window_s),
        "next 1,000 after a cursor": following,
        "latest 100": latest,
    }


def ask(stores: Stores, report: Report) -> None:
    """Every question, checked once and then timed."""
    picks = stores.data.picks(REPETITIONS, seed=1)
    with stores.recording() as recording, stores.raw() as raw:
        for label, make in questions(stores.data).items():
            _check(make(picks[0]), recording, raw, stores.postgres, label)
            works = [_works(make(pick), recording, raw, stores.postgres) for pick in picks]
            found = timed(works, label, report)
            theirs = {"postgres": found.get("postgres", [])}
            report.latencies(f"{label}, objects", {"playhead": found["objects"], "duckdb": found["rows"]} | theirs)
            report.latencies(f"{label}, Arrow", {"playhead": found["arrow"], "duckdb": found["table"]} | theirs)
        for label, kind in (("all", None), ("one type", "job_failed")):
            where = Filter.make(type=kind)
            condition = f" WHERE type = '{kind}'" if kind else ""
            works = _counts(where, condition, recording, raw, stores.postgres)
            assert len({work() for work in works.values()}) == 1, f"count of {label} differs"
            report.latencies(f"count of {label}", timed([works] * REPETITIONS, f"count of {label}", report))


def timed(works: list[dict[str, Callable[[], Any]]], label: str, report: Report) -> Peers:
    """Each set of works in turn, until all are done or it has taken too long, which the report then says."""
    found: Peers = {}
    end = time.monotonic() + _BUDGET_S
    for order, one in enumerate(works):
        in_turn(one, found, order)
        if time.monotonic() > end and 2 <= order < len(works) - 1:
            report.notes.append(f"{label}: {order + 1} repetitions of {len(works)}, for want of time")
            break
    return found


def _works(asked: Question, recording: Recording, raw: Raw, postgres: Postgres | None) -> dict[str, Callable[[], Any]]:
    more, values = asked.duckdb
    works: dict[str, Callable[[], Any]] = {
        "objects": lambda: recording.read(**asked.asked),
        "arrow": lambda: recording.arrow(**asked.asked).read_all(),
        "rows": lambda: raw.run(f"SELECT * FROM events {more}", values),
        "table": lambda: raw.arrow(f"SELECT * REPLACE (id::VARCHAR AS id) FROM events {more}", values),
    }
    if postgres is not None:
        tail, given = asked.postgres
        works["postgres"] = lambda: postgres.rows(f"SELECT {', '.join(COLUMNS)} FROM events {tail}", given)
    return works


def _check(asked: Question, recording: Recording, raw: Raw, postgres: Postgres | None, label: str) -> None:
    works = _works(asked, recording, raw, postgres)
    ids = [event.id for event in works["objects"]()]
    assert ids, f"{label}: no answer"
    assert ids == works["arrow"]()["id"].to_pylist(), f"{label}: Arrow differs"
    assert ids == works["table"]()["id"].to_pylist(), f"{label}: DuckDB differs"
    if postgres is not None:
        assert ids == [str(row[0]) for row in works["postgres"]()], f"{label}: PostgreSQL differs"


def _counts(
    where: Filter, condition: str, recording: Recording, raw: Raw, postgres: Postgres | None
) -> dict[str, Callable[[], object]]:
    sql = f"SELECT count(*) FROM events{condition}"
    works: dict[str, Callable[[], object]] = {
        "playhead": lambda: recording.count(where),
        "duckdb": lambda: raw.run(sql)[0][0],
    }
    if postgres is not None:
        works["postgres"] = lambda: postgres.rows(sql)[0][0]
    return works
