"""Two runs beside each other: what became faster or slower, what fails now and did not, and how sure that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from playhead.frames.executions import executions_of, newest

_ENOUGH = 5  # runs of each side from which on an interval says something
_RESAMPLES = 2_000
_SIDES = ("a", "b")


def compare(a: pd.DataFrame, b: pd.DataFrame, by: str | None = None, *, least: float = 0.1) -> pd.DataFrame:
    """
    How the executions of ``b`` differ from those of ``a``.

    Only the newest attempt of each job counts; durations are those of completed ones.

    Args:
        a, b: Events in log order, or executions frames: last night's and tonight's, say.
        by: The column that matches them; ``site_url`` where both have some, else ``job_id``, when not given.
        least: From which share on a difference of medians counts as faster or slower.

    Returns:
        A row for each value of ``by`` in either, in order of how much changed: newly failing first, then still failing,
        then by the ratio. Index ``by``; columns ``change`` (category: ``newly failing``, ``still failing``, ``fixed``,
        ``slower``, ``faster``, ``same``, ``new``, ``gone``), ``runs_a runs_b failed_a failed_b`` (int64), ``median_a
        median_b`` (timedelta64[ns]), ``ratio`` (float64: median_b / median_a), and where both sides have at least 5
        completed runs ``low`` and ``high`` (the 95 % interval of the ratio: bootstrap of both sides,
        `scipy.stats.bootstrap`, percentiles) and ``effect`` (Cliff's delta, -1 to 1, above 0 where b is slower;
        `scipy.stats.mannwhitneyu`). With an interval, faster and slower are only said where it leaves out 1.

        ``attrs["comparison"]`` has ``matched`` (values with completed runs on both sides), the ``median_ratio`` of these, its
        interval ``low`` and ``high``, and ``p`` of Wilcoxon's signed-rank test of the logarithms (None for fewer than 5).

    Raises:
        ValueError: there is no such column, or ``least`` is not above 0.
    """
    if not least > 0:
        raise ValueError(f"least={least!r} must be above 0; write 0.1 for a tenth")
    sides = [newest(executions_of(frame)) for frame in (a, b)]
    by = by or ("site_url" if all(rows["site_url"].notna().any() for rows in sides) else "job_id")
    for rows in sides:
        if by not in rows.columns:
            raise ValueError(f"by={by!r} is no column of an executions frame; it has {', '.join(rows.columns)}")
    told = [_side(rows, by, name) for rows, name in zip(sides, _SIDES, strict=True)]
    frame = told[0].join(told[1], how="outer")
    counts = [f"{what}_{side}" for what in ("runs", "failed") for side in _SIDES]
    frame[counts] = frame[counts].fillna(0).astype("int64")
    runs = [dict(iter(_completed(rows).groupby(by)["duration"])) for rows in sides]
    medians = {side: frame[f"us_{side}"] for side in _SIDES}
    frame["ratio"] = (medians["b"] / medians["a"].where(medians["a"] > 0)).astype("float64")
    sure = ["low", "high", "effect"]
    found = [_certainty(*(_us(one.get(key)) for one in runs)) for key in frame.index]
    frame[sure] = pd.DataFrame(found, index=frame.index, columns=sure, dtype="float64")
    frame["change"] = _changes(frame, least)
    for side in _SIDES:
        frame[f"median_{side}"] = pd.to_timedelta((medians[side] * 1000).round(), unit="ns").astype("timedelta64[ns]")
    order = frame["change"].cat.codes.where(frame["change"].isin(_ORDER[:2]), len(_ORDER))
    away = np.log(frame["ratio"].where(frame["ratio"] > 0)).abs().fillna(0)
    frame = frame.assign(order=order, away=-away).sort_values(["order", "away"], kind="stable")
    compared: pd.DataFrame = frame[["change", *counts, "median_a", "median_b", "ratio", *sure]].rename_axis(by)
    compared.attrs["comparison"] = _overall(compared["ratio"].dropna().to_numpy())
    return compared


_ORDER = ("newly failing", "still failing", "slower", "faster", "fixed", "same", "new", "gone")


def _completed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["state"] == "completed") & rows["duration"].notna()]


def _side(rows: pd.DataFrame, by: str, name: str) -> pd.DataFrame:
    known = rows.dropna(subset=by)
    groups = known.assign(failed=known["state"] == "failed").groupby(by, observed=True)
    found = groups.agg(**{f"runs_{name}": ("job_id", "size"), f"failed_{name}": ("failed", "sum")})
    done = _completed(known)
    found[f"us_{name}"] = done.assign(us=done["duration"].astype("int64")).groupby(by, observed=True)["us"].median()
    return found


def _scipy() -> Any:
    try:
        from scipy import stats
    except ModuleNotFoundError:
        raise ModuleNotFoundError("compare needs SciPy for its intervals: pip install 'playhead[analysis]'") from None
    return stats


def _us(lengths: pd.Series | None) -> np.ndarray:
    return np.zeros(0) if lengths is None else lengths.astype("int64").to_numpy(float)


def _certainty(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """The interval of the ratio of medians, and Cliff's delta; NaN where there are too few."""
    if len(a) < _ENOUGH or len(b) < _ENOUGH or not np.median(a) > 0:
        return np.nan, np.nan, np.nan
    stats = _scipy()
    effect = 2 * stats.mannwhitneyu(b, a).statistic / (len(a) * len(b)) - 1
    if len(np.unique(a)) == len(np.unique(b)) == 1:
        return b[0] / a[0], b[0] / a[0], float(effect)

    def ratio(x: np.ndarray, y: np.ndarray, axis: int = -1) -> Any:
        below = np.median(x, axis=axis)
        return np.median(y, axis=axis) / np.where(below > 0, below, np.nan)

    found = stats.bootstrap((a, b), ratio, n_resamples=_RESAMPLES, method="percentile", vectorized=True, rng=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high), float(effect)


def _changes(frame: pd.DataFrame, least: float) -> pd.Series:
    is_sure = frame["low"].isna() | (frame["low"] > 1) | (frame["high"] < 1)
    fails_a, fails_b = frame["failed_a"] > 0, frame["failed_b"] > 0
    conditions = {
        "new": frame["runs_a"] == 0, "gone": frame["runs_b"] == 0, "newly failing": fails_b & ~fails_a,
        "still failing": fails_a & fails_b, "fixed": fails_a & ~fails_b, "slower": is_sure & (frame["ratio"] >= 1 + least),
        "faster": is_sure & (frame["ratio"] <= 1 / (1 + least)),
    }  # fmt: skip
    words = np.select([one.to_numpy(bool) for one in conditions.values()], list(conditions), "same")
    return pd.Series(pd.Categorical(words, categories=list(_ORDER), ordered=True), index=frame.index)


def _overall(ratios: np.ndarray) -> dict[str, Any]:
    """What all that is matched says together."""
    logs = np.log(ratios[ratios > 0])
    about: dict[str, Any] = {"matched": len(logs), "median_ratio": float(np.exp(np.median(logs))) if len(logs) else None}
    about |= {"low": None, "high": None, "p": None}
    if len(logs) >= _ENOUGH and len(np.unique(logs)) > 1:
        stats = _scipy()
        found = stats.bootstrap((logs,), np.median, n_resamples=_RESAMPLES, method="percentile", rng=0).confidence_interval
        about |= {"low": float(np.exp(found.low)), "high": float(np.exp(found.high))}
        about["p"] = float(stats.wilcoxon(logs).pvalue) if logs.any() else 1.0
    return about
