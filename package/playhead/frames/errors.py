"""What went wrong, message by message, with what varies in messages folded away."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from playhead.frames.executions import executions_of

# in this order; RE2, which looks at a million messages in about a second
_FOLDS = (
    (r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>)\]]+", "<url>"),
    (r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", "<uuid>"),
    (r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+(?:Z|[+-][0-9:]+)?", "<time>"),
    (r"(?:\b[A-Za-z]:)?(?:[\\/][\w.@-]+){2,}", "<path>"),
    (r"'[^']*'|\"[^\"]*\"|`[^`]*`", "<text>"),
    (r"\b0x[0-9a-fA-F]+\b|\b[0-9a-fA-F]*[0-9][0-9a-fA-F]{7,}\b", "<hex>"),
    (r"[-+]?[0-9]+(?:[.,:][0-9]+)*", "<n>"),
)


def errors(events: pd.DataFrame) -> pd.DataFrame:
    """
    Failures by message, those that are most first.

    Messages that differ only in urls, UUIDs, times, paths, quoted text, long hex and numbers are one.

    Args:
        events: Events in log order, or an executions frame.

    Returns:
        A row a message; ``error`` (str, what varies as ``<n>``, ``<url>`` ...), ``count`` (int64: failed or cancelled
        attempts), ``jobs`` (int64), ``messages`` (int64: how many different ones it stands for), ``first`` and ``last``
        (datetime64[us, UTC]: when attempts ended with it), ``example`` (str: the first as it was). Attempts that failed
        without a message are one row whose ``error`` is empty. No failures gives these columns.
    """
    rows = executions_of(events)
    failed = rows.loc[rows["state"].isin(["failed", "cancelled"]), ["job_id", "ended", "error"]]
    codes, told = pd.factorize(failed["error"].fillna(""))
    folded = pd.Series(folded_messages(pa.array(told.tolist(), pa.string())).to_pylist(), dtype="str")
    known = failed.assign(error=folded.reindex(codes).to_numpy(), example=failed["error"].fillna(""))
    groups = known.groupby("error", sort=False)
    frame = groups.agg(
        count=("job_id", "size"), jobs=("job_id", "nunique"), messages=("example", "nunique"), first=("ended", "min"),
        last=("ended", "max"), example=("example", "first"),
    )  # fmt: skip
    frame = frame.sort_values("count", ascending=False, kind="stable").reset_index()
    moments = dict.fromkeys(("first", "last"), "datetime64[us, UTC]")
    return frame.astype({"error": "str", "example": "str"} | dict.fromkeys(("count", "jobs", "messages"), "int64") | moments)


def folded_messages(messages: pa.Array) -> pa.Array:
    """Messages with what varies in them folded away."""
    for pattern, word in _FOLDS:
        messages = pc.replace_substring_regex(messages, pattern, word)
    return messages
