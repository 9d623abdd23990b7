"""
Events that are spread: a Dask DataFrame, larger than memory or than one machine, answers as a frame does.

What belongs together, the events of one execution and job, is brought together by a shuffle, and each part is asked by
itself, so answers are exact. What comes back is a plain frame: a row an attempt, or fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

Question = Callable[[pd.DataFrame], pd.DataFrame]
PAIR = ["execution_id", "job_id"]


def is_spread(events: Any) -> bool:
    """Whether these events are a Dask DataFrame."""
    return hasattr(events, "dask") and hasattr(events, "map_partitions")


def by_pair(events: Any, columns: Sequence[str], ask: Question, empty: pd.DataFrame) -> pd.DataFrame:
    """
    What a question says of the events of each execution and job, all of them in log order, put together.

    Args:
        events: A Dask DataFrame with the columns of an events frame.
        columns: Those that the question needs, ``seq`` among them.
        ask: The question; it is sent to the workers.
        empty: What it says of no events.
    """
    needed = events[list(columns)]
    together = needed.shuffle(on=PAIR, npartitions=needed.npartitions)
    found: pd.DataFrame = together.map_partitions(_in_order, ask, meta=empty).compute()
    return found.astype(empty.dtypes.to_dict()).reset_index(drop=True)


def narrowed(events: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of all events, in log order, as a plain frame."""
    found: pd.DataFrame = events[list(columns)].compute()
    return found.sort_values("seq", kind="stable", ignore_index=True)


def _in_order(part: pd.DataFrame, ask: Question) -> pd.DataFrame:
    return ask(part.sort_values("seq", kind="stable", ignore_index=True))
