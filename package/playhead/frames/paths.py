"""What a batch waited for, and its events as process mining reads them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from playhead.events import JOB_TYPES
from playhead.frames.executions import checked, executions_of
from playhead.frames.spread import is_spread, narrowed

# of XES 1.0's standard extension (IEEE 1849-2016, lifecycle:transition)
_TRANSITIONS = {
    "job_queued": "schedule", "job_started": "start", "job_completed": "complete", "job_failed": "ate_abort",
    "job_cancelled": "pi_abort",
}  # fmt: skip

# columns that `event_log` needs
OF_LOG = ("seq", "execution_id", "job_id", "batch_id", "type", "timestamp", "site_name", "current_step")


def critical_path(events: pd.DataFrame, batch_id: str | None = None) -> pd.DataFrame:
    """
    The chain of executions that a batch could not have ended sooner than.

    From the attempt that ended last, back to the one that ended last before that began, and so on: each may have waited for the
    one before. What runs still, or never began, is left out.

    Args:
        events: Events in log order, or an executions frame.
        batch_id: This batch; all executions when not given.

    Returns:
        Rows of an executions frame, first to last, with ``gap`` (timedelta64[us]: from the end of the one before, of the
        first from the first start of all, to its start) and ``share`` (float64, 0-1: of the time from the first start to the
        last end). None gives these columns.
    """
    rows = executions_of(events)
    if batch_id is not None:
        rows = rows[rows["batch_id"] == batch_id]
    rows = rows[rows["started"].notna() & rows["ended"].notna()].sort_values("ended", kind="stable")
    started, ended = (rows[name].astype("int64").to_numpy() for name in ("started", "ended"))
    chain: list[int] = []
    place = len(rows) - 1
    while place >= 0:
        chain.append(place)
        place = min(int(np.searchsorted(ended, started[place], side="right")), place) - 1
    found = rows.iloc[chain[::-1]].reset_index(drop=True)
    begun = rows["started"].min()
    before = found["ended"].shift(1).fillna(begun) if len(found) else found["ended"]
    found["gap"] = (found["started"] - before).astype("timedelta64[us]")
    whole = rows["ended"].max() - begun
    found["share"] = (found["duration"] / whole).astype("float64") if len(found) and whole else np.zeros(len(found))
    return found


def event_log(events: pd.DataFrame) -> pd.DataFrame:
    """
    The events of jobs as pm4py reads them.

    Args:
        events: Events in log order.

    Returns:
        A row an event of a job; ``case:concept:name`` (str: execution and job), ``concept:name`` (str: the step that it tells,
        else its type), ``time:timestamp`` (datetime64[us, UTC]), ``lifecycle:transition`` (str: ``schedule``, ``start``,
        ``complete``, ``ate_abort``, ``pi_abort``, else ``unknown``), ``case:batch`` and ``org:resource`` (str: batch and site).
        No events gives these columns.

    Raises:
        ValueError: columns are missing.
    """
    checked(events, OF_LOG)
    if is_spread(events):
        events = narrowed(events, OF_LOG)
    rows = events[events["job_id"].notna() & events["type"].isin(JOB_TYPES)]
    kinds = rows["type"].astype("str")
    text = {name: rows[name].astype("str") for name in ("execution_id", "job_id", "batch_id", "site_name", "current_step")}
    alone = rows["execution_id"].isna()
    return pd.DataFrame(
        {
            "case:concept:name": text["job_id"].where(alone, text["execution_id"] + "/" + text["job_id"]),
            "concept:name": text["current_step"].where(rows["current_step"].notna(), kinds),
            "time:timestamp": rows["timestamp"].astype("datetime64[us, UTC]"),
            "lifecycle:transition": kinds.map(_TRANSITIONS).fillna("unknown").astype("str"),
            "case:batch": text["batch_id"],
            "org:resource": text["site_name"],
        }
    ).reset_index(drop=True)
