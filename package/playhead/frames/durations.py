"""How long things took: executions, their steps, attempts that were for nothing, and what has gone silent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import numpy as np
import pandas as pd

from playhead.events import END_TYPES, JOB_TYPES, START_TYPE
from playhead.frames.executions import checked, executions, executions_of
from playhead.frames.spread import PAIR, by_pair, is_spread
from playhead.times import parse_time

OF_STEPS = ("seq", "execution_id", "job_id", "type", "timestamp", "current_step")  # columns that `steps` needs


def durations(events: pd.DataFrame, by: str | Sequence[str] = "site_name") -> pd.DataFrame:
    """
    How long executions took, and how many failed, by a column.

    Args:
        events: Events in log order, or an executions frame.
        by: A column of an executions frame, or several: ``"site_name"``, ``"goal"``, ``["batch_id", "state"]``.

    Returns:
        A row for each value, in order of the values, executions without one last (``NaN``); index ``by``, columns ``count``
        (int64: attempts with a duration), ``failures`` (int64: failed attempts), ``median``, ``p95`` (linear between two),
        ``max``, ``total`` (timedelta64[ns]; NaT where there is no duration). No events gives these columns.

    Raises:
        ValueError: there is no such column.
    """
    rows = executions_of(events)
    names = [by] if isinstance(by, str) else list(by)
    for name in names:
        if name not in rows.columns:
            raise ValueError(f"by={name!r} is no column of an executions frame; it has {', '.join(rows.columns)}")
    us = rows["duration"].astype("int64").where(rows["duration"].notna())
    told = rows[names].assign(us=us, failed=rows["state"] == "failed")
    groups = told.groupby(names if len(names) > 1 else names[0], dropna=False, observed=True)
    frame = groups.agg(count=("us", "count"), failures=("failed", "sum"))
    frame["median"], frame["p95"] = groups["us"].median(), groups["us"].quantile(0.95)
    frame["max"], frame["total"] = groups["us"].max(), groups["us"].sum(min_count=1)
    return _typed(frame, counts=["count", "failures"], lengths=["median", "p95", "max", "total"])


def steps(events: pd.DataFrame) -> pd.DataFrame:
    """
    How long executions were in each step.

    A step lasts from the event that tells it (``currentStep``) to the next one of the same attempt that tells another, or to
    the attempt's end, or, while it runs, to the last event of all. What an attempt tells after its end counts for nothing.

    Args:
        events: Events in log order.

    Returns:
        A row a step, that which took most first; index ``step`` (str), columns ``visits`` and ``executions`` (int64: attempts),
        ``total``, ``median``, ``p95``, ``max`` (timedelta64[ns], of visits). No steps gives these columns.

    Raises:
        ValueError: columns are missing.
    """
    checked(events, OF_STEPS)
    last = events["timestamp"].max()
    if is_spread(events):
        ask = partial(_visits, last=last.compute())
        seen = by_pair(events, OF_STEPS, ask, pd.DataFrame({"step": pd.Series(dtype="str"), "attempt": 0, "us": 0.0}).astype(
            {"attempt": "int64", "us": "float64"}
        ))  # fmt: skip
    else:
        seen = _visits(events, last)
    groups = seen.groupby("step")
    frame = groups.agg(visits=("us", "count"), executions=("attempt", "nunique"), total=("us", "sum"))
    frame["median"], frame["p95"], frame["max"] = groups["us"].median(), groups["us"].quantile(0.95), groups["us"].max()
    frame.index = frame.index.astype("str")
    frame = frame.sort_values("total", ascending=False, kind="stable")
    return _typed(frame, counts=["visits", "executions"], lengths=["total", "median", "p95", "max"])


def _visits(events: pd.DataFrame, last: pd.Timestamp) -> pd.DataFrame:
    """Each stay in a step: ``step``, ``attempt`` (the seq of its first event), ``us``; what goes on lasts to ``last``."""
    rows = events.loc[events["job_id"].notna() & events["type"].isin(JOB_TYPES)]
    pair = rows.groupby(PAIR, dropna=False, sort=False).ngroup().to_numpy()
    kinds = rows["type"].astype(object).to_numpy()
    moments = rows["timestamp"].astype("int64").to_numpy()
    attempt, is_over = _attempts(pair, kinds)
    told = rows["current_step"].to_numpy(object)
    is_end = np.isin(kinds, END_TYPES) & ~is_over
    is_told = ~pd.isna(told) & ~is_over & ~is_end
    order = np.lexsort((np.arange(len(rows)), attempt))
    seqs = rows["seq"].to_numpy()[order]
    first_of = np.zeros(len(rows) + 1, np.int64)
    first_of[attempt[order][::-1]] = seqs[::-1]  # what is assigned last stays
    order = order[(is_told | is_end)[order]]
    attempt, told, is_end, moments_of = attempt[order], told[order], is_end[order], moments[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (attempt[1:] != attempt[:-1]) | is_end[1:] | (told[1:] != told[:-1])
    attempt, told, is_end, moments_of = attempt[begins], told[begins], is_end[begins], moments_of[begins]
    until = np.full(len(attempt), 0 if pd.isna(last) else last.as_unit("us").asm8.astype("int64"))
    goes_on = attempt[1:] == attempt[:-1]
    until[:-1][goes_on] = moments_of[1:][goes_on]
    us = (until - moments_of).astype("float64")
    found: pd.DataFrame = pd.DataFrame({"step": pd.Series(told, dtype="str"), "attempt": first_of[attempt], "us": us})[~is_end]
    return found


def _attempts(pair: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number for the attempt of each event, of a pair and a type in log order; and whether that was over before it."""
    is_start, is_end = kinds == START_TYPE, np.isin(kinds, END_TYPES)
    order = np.lexsort((np.arange(len(pair)), pair))
    first = np.ones(len(pair), bool)
    first[1:] = pair[order][1:] != pair[order][:-1]
    turns = np.flatnonzero((is_start | is_end)[order] | first)  # what can change whether an attempt is over
    begins = np.zeros(len(pair), bool)
    begins[first] = True
    ends_before = np.zeros(len(turns), bool)
    ends_before[1:] = is_end[order][turns[:-1]] & ~first[turns[1:]]
    begins[turns[ends_before & is_start[order][turns]]] = True  # a start behind an end
    numbers = np.cumsum(begins)
    ends = np.where(is_end[order], np.arange(len(pair)), len(pair))
    first_end = np.minimum.reduceat(ends, np.flatnonzero(begins)) if len(pair) else ends
    is_over = np.arange(len(pair)) > first_end[numbers - 1] if len(pair) else np.zeros(0, bool)
    found, over = np.empty(len(pair), np.int64), np.empty(len(pair), bool)
    found[order], over[order] = numbers, is_over
    return found, over


def retries(events: pd.DataFrame) -> pd.DataFrame:
    """
    The jobs that needed more than one attempt, and what the earlier ones cost.

    Args:
        events: Events in log order, or an executions frame.

    Returns:
        A row a job with several attempts, in order of its first event: ``execution_id job_id batch_id`` (str), ``attempts
        failed`` (int64), ``state`` (of the newest attempt), ``first_error`` (str), ``wasted`` (timedelta64[ns]: the durations
        of all attempts but the newest). None gives these columns.
    """
    rows = executions_of(events)
    groups = rows.groupby(PAIR, dropna=False, sort=False)
    several = rows[groups["attempt"].transform("size") > 1]
    us = several["duration"].astype("int64").where(several["duration"].notna())
    told = several.assign(failed=several["state"] == "failed", us=us, state=several["state"].astype("str"))
    is_newest = ~told.duplicated(PAIR, keep="last")
    told.loc[is_newest, "us"] = 0
    groups = told.groupby(PAIR, dropna=False, sort=False)
    frame = groups.agg(
        batch_id=("batch_id", "first"), attempts=("attempt", "size"), failed=("failed", "sum"), state=("state", "last"),
        first_error=("error", "first"), wasted=("us", "sum"),
    ).reset_index()  # fmt: skip
    frame = _typed(frame, counts=["attempts", "failed"], lengths=["wasted"])
    return frame.astype(dict.fromkeys([*PAIR, "batch_id", "state", "first_error"], "str"))


def stalled(events: pd.DataFrame, after: str = "5min", *, at: datetime | str | None = None) -> pd.DataFrame:
    """
    The executions that run and have said nothing for long.

    Args:
        events: Events in log order.
        after: How long, as pandas writes it: ``"5min"``.
        at: As of this moment, a time with a zone; when not given, that of the latest event.

    Returns:
        Rows of an executions frame in order of their silence, longest first, with ``last`` (datetime64[us, UTC]: their newest
        event) and ``silent`` (timedelta64[us]: from then to ``at``).

    Raises:
        ValueError: ``after`` is no length of time, ``at`` has no zone, or columns are missing.
    """
    checked(events)
    try:
        length = pd.Timedelta(after)
    except ValueError:
        raise ValueError(f"after={after!r} is no length of time; write '5min'") from None
    moment = events["timestamp"].max() if at is None else pd.Timestamp(parse_time(at, "at"))
    if is_spread(events):
        moment = moment.compute() if hasattr(moment, "compute") else moment
        known = events[events["timestamp"] <= moment]
        empty = pd.DataFrame({name: pd.Series(dtype="str") for name in PAIR})
        empty["last"] = pd.Series(dtype="datetime64[us, UTC]")
        last = by_pair(known, ("seq", *PAIR, "type", "timestamp"), _last, empty)
    else:
        known = events[events["timestamp"] <= moment] if len(events) else events
        last = _last(known)
    rows = executions(known)
    rows = rows[rows["state"] == "running"]
    rows = rows.merge(last, on=PAIR, how="left")
    rows["last"] = rows["last"].astype("datetime64[us, UTC]")
    rows["silent"] = (moment - rows["last"]).astype("timedelta64[us]")
    found: pd.DataFrame = rows[rows["silent"] >= length].sort_values("silent", ascending=False, kind="stable")
    return found.reset_index(drop=True)


def _last(events: pd.DataFrame) -> pd.DataFrame:
    """When each execution and job was last heard of."""
    of_jobs = events[events["job_id"].notna() & events["type"].isin(JOB_TYPES)]
    found: pd.DataFrame = of_jobs.groupby(PAIR, dropna=False, sort=False)["timestamp"].max().rename("last").reset_index()
    return found


def _typed(frame: pd.DataFrame, *, counts: Sequence[str], lengths: Sequence[str]) -> pd.DataFrame:
    """Counts as int64, and microseconds as lengths of time."""
    frame = frame.astype(dict.fromkeys(counts, "int64"))
    for name in lengths:
        ns = (frame[name].astype("float64") * 1000).round()  # halves of a microsecond, as a median may have
        frame[name] = pd.to_timedelta(ns, unit="ns").astype("timedelta64[ns]")
    return frame
