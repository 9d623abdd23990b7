"""Time travel: the executions of a past position. The recording gives whole rows; the peers each pair's last event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

from playhead.events import Filter
from playhead.recording import Recording
from tests.benchmarks._data import ENDS, Pick
from tests.benchmarks._postgres import Postgres
from tests.benchmarks._questions import REPETITIONS, timed
from tests.benchmarks._report import Report
from tests.benchmarks._stores import Raw, Stores

Works = dict[str, Callable[[], Any]]
_STATE = {"job_queued": "queued", "job_completed": "completed", "job_failed": "failed", "job_cancelled": "cancelled"}
_ENDED = ", ".join(f"'{kind}'" for kind in ENDS)


def travel(stores: Stores, report: Report) -> None:
    """Executions of one batch, and all active ones, at random positions; checked once, then timed."""
    picks = stores.data.picks(REPETITIONS, seed=2)
    with stores.recording() as recording, stores.raw() as raw:
        for label, make in (("executions of one batch", _batch_at), ("active executions of all", _active_at)):
            answers = {name: _states(work()) for name, work in make(picks[0], recording, raw, stores.postgres).items()}
            assert answers["playhead"], f"{label}: no answer"
            for name, states in answers.items():
                assert states == answers["playhead"], f"{label}: {name} differs"
            works = [make(pick, recording, raw, stores.postgres) for pick in picks]
            report.latencies(f"{label} at a cursor", timed(works, label, report))


def _states(answer: Any) -> set[tuple[str, str, str]]:
    """Execution, job and state, of an executions table or of rows that end in the last type."""
    if isinstance(answer, list):
        return {(execution, job, _STATE.get(kind, "running")) for execution, job, kind in answer}
    return set(zip(*(answer[name].to_pylist() for name in ("execution_id", "job_id", "state")), strict=True))


def _batch_at(pick: Pick, recording: Recording, raw: Raw, postgres: Postgres | None) -> Works:
    works: Works = {
        "playhead": lambda: recording.executions(Filter.make(batch_id=pick.batch_id), at=recording.cursor(pick.seq)),
        "duckdb": lambda: raw.run(
            "SELECT execution_id, job_id, arg_max(type, seq) FROM events WHERE batch_id = ? AND seq <= ? "
            "GROUP BY execution_id, job_id",
            [pick.batch_id, pick.seq],
        ),
    }
    if postgres is not None:
        works["postgres"] = lambda: postgres.rows(
            "SELECT DISTINCT ON (execution_id, job_id) execution_id, job_id, type FROM events "
            "WHERE batch_id = %s AND (timestamp, id) <= (%s, %s) "
            "ORDER BY execution_id, job_id, timestamp DESC, id DESC",
            [pick.batch_id, pick.timestamp.replace(tzinfo=UTC), pick.id],
        )
    return works


def _active_at(pick: Pick, recording: Recording, raw: Raw, postgres: Postgres | None) -> Works:
    works: Works = {
        "playhead": lambda: recording.executions(states=["queued", "running"], at=recording.cursor(pick.seq)),
        "duckdb": lambda: raw.run(
            "SELECT execution_id, job_id, arg_max(type, seq) AS kind FROM events WHERE seq <= ? "
            f"GROUP BY execution_id, job_id HAVING kind NOT IN ({_ENDED})",
            [pick.seq],
        ),
    }
    if postgres is not None:  # an anti-join first: the last event of the few that are left is quickly found
        moment = [pick.timestamp.replace(tzinfo=UTC), pick.id]
        works["postgres"] = lambda: postgres.rows(
            "SELECT execution_id, job_id, (SELECT type FROM events l WHERE l.job_id = q.job_id "
            "AND (l.timestamp, l.id) <= (%s, %s) ORDER BY l.timestamp DESC, l.id DESC LIMIT 1) FROM events q "
            "WHERE type = 'job_queued' AND (timestamp, id) <= (%s, %s) AND NOT EXISTS (SELECT FROM events e "
            f"WHERE e.job_id = q.job_id AND e.type IN ({_ENDED}) AND (e.timestamp, e.id) <= (%s, %s))",
            moment * 3,
        )
    return works
