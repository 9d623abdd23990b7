"""
Questions to frames, beside the obvious pandas and Polars, in one run; medians of several rounds, each beginning with another.

    python tests/benchmarks/bench_frames.py [--sizes 10000,1000000] [--rounds 3] [--folder FOLDER] [--seed 1]

All start from the same events frame in memory (Polars from its own), made as `_data` says; ``recording`` and ``server`` ask a
query instead. The peers take one attempt a job for granted, which these events keep to, and must come to the same figures.
Of 10,000,000 events the frame and one question at a time alone take 16 GB of memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import polars as pl

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import playhead as ph  # noqa: E402
from playhead import frames  # noqa: E402
from playhead.recording import Recording  # noqa: E402
from playhead_server.server import Settings, running  # noqa: E402
from tests.benchmarks._data import Data  # noqa: E402
from tests.benchmarks._report import Peers, in_turn, say  # noqa: E402
from tests.benchmarks._stores import fill  # noqa: E402

_PAIR = ["execution_id", "job_id"]
_ENDS = ["job_completed", "job_failed", "job_cancelled"]
NAMES = ("executions", "state_at", "concurrency", "throughput", "durations", "steps", "errors")


class Pandas:
    """As one writes it."""

    def __init__(self, frame: pd.DataFrame, at: pd.Timestamp) -> None:
        self._frame, self._at = frame, at

    def executions(self, frame: pd.DataFrame | None = None) -> pd.DataFrame:
        """A row a job."""
        frame = self._frame if frame is None else frame
        rows = frame.groupby(_PAIR, sort=False).agg(
            batch_id=("batch_id", "first"), site_name=("site_name", "last"), goal=("goal", "last"),
            step=("current_step", "last"), progress=("progress_percentage", "last"), events=("seq", "size"),
            first_seq=("seq", "first"), last_seq=("seq", "last"),
        )  # fmt: skip
        begun = frame[frame["type"] == "job_started"].groupby(_PAIR, sort=False)["timestamp"].first()
        over = frame[frame["type"].isin(_ENDS)].groupby(_PAIR, sort=False)[["timestamp", "type"]].first()
        rows["started"], rows["ended"], rows["state"] = begun, over["timestamp"], over["type"]
        rows["duration"] = rows["ended"] - rows["started"]
        return rows.reset_index()

    def state_at(self) -> pd.DataFrame:
        """As of a moment."""
        return self.executions(self._frame[self._frame["timestamp"] <= self._at])

    def concurrency(self) -> pd.Series:
        """Running at each change."""
        rows = self.executions().dropna(subset="started")
        change = pd.concat([pd.Series(1, index=rows["started"]), pd.Series(-1, index=rows["ended"].dropna())])
        return change.groupby(level=0).sum().sort_index().cumsum()

    def throughput(self) -> pd.DataFrame:
        """Ended a minute, by how."""
        rows = self.executions()
        return rows.groupby([rows["ended"].dt.floor("1min"), "state"], observed=True).size().unstack(fill_value=0)

    def durations(self) -> pd.DataFrame:
        """By site."""
        groups = self.executions().groupby("site_name")["duration"]
        return groups.agg(count="count", median="median", p95=lambda one: one.quantile(0.95), max="max")

    def steps(self) -> pd.DataFrame:
        """Time in each step, up to the next event that tells another."""
        told = self._frame[self._frame["current_step"].notna() | self._frame["type"].isin(_ENDS)]
        changed = told["current_step"] != told.groupby(_PAIR, sort=False)["current_step"].shift(1)
        told = told[changed]
        length = told.groupby(_PAIR, sort=False)["timestamp"].shift(-1) - told["timestamp"]
        return length.groupby(told["current_step"]).agg(["count", "sum", "median", "max"])

    def errors(self) -> pd.Series:
        """Failures by message."""
        failed = self._frame[self._frame["type"].isin(["job_failed", "job_cancelled"])]
        return failed["data"].str.extract('"error":"([^"]*)"')[0].str.replace(r"\d+", "<n>", regex=True).value_counts()


class Polars:
    """The same in Polars, lazily."""

    def __init__(self, frame: pl.DataFrame, at: pd.Timestamp) -> None:
        self._frame, self._at = frame.lazy(), at.to_pydatetime()

    def _rows(self, frame: pl.LazyFrame | None = None) -> pl.LazyFrame:
        moment, kind = pl.col("timestamp"), pl.col("type")
        return (self._frame if frame is None else frame).group_by(_PAIR).agg(
            pl.col("batch_id").first(), *(pl.col(name).drop_nulls().last() for name in (
                "site_name", "goal", "current_step", "progress_percentage",
            )),
            pl.len().alias("events"), pl.col("seq").min().alias("first_seq"), pl.col("seq").max().alias("last_seq"),
            moment.filter(kind == "job_started").first().alias("started"),
            moment.filter(kind.is_in(_ENDS)).first().alias("ended"),
            kind.filter(kind.is_in(_ENDS)).first().alias("state"),
        ).with_columns((pl.col("ended") - pl.col("started")).alias("duration"))  # fmt: skip

    def executions(self) -> pl.DataFrame:
        """A row a job, in order."""
        return self._rows().sort("first_seq").collect()

    def state_at(self) -> pl.DataFrame:
        """As of a moment."""
        return self._rows(self._frame.filter(pl.col("timestamp") <= self._at)).sort("first_seq").collect()

    def concurrency(self) -> pl.DataFrame:
        """Running at each change."""
        rows = self._rows().filter(pl.col("started").is_not_null())
        sides = [rows.select(pl.col(name).alias("at"), pl.lit(n).alias("n")) for name, n in (("started", 1), ("ended", -1))]
        change = pl.concat(sides).drop_nulls("at").group_by("at").agg(pl.col("n").sum()).sort("at")
        return change.with_columns(pl.col("n").cum_sum().alias("running")).collect()

    def throughput(self) -> pl.DataFrame:
        """Ended a minute, by how."""
        return self._rows().group_by(pl.col("ended").dt.truncate("1m"), "state").len().sort("ended").collect()

    def durations(self) -> pl.DataFrame:
        """By site."""
        length = pl.col("duration")
        figures = [length.count().alias("count"), length.median().alias("median"), length.quantile(0.95, "linear").alias("p95")]
        return self._rows().group_by("site_name").agg(*figures, length.max().alias("max")).sort("site_name").collect()


def measure(data: Data, folder: Path, rounds: int) -> list[tuple[str, ...]]:
    """A row for each question."""
    path = folder / f"{data.events}.playhead"
    if not path.exists():
        say(f"{data.events:,} events: a recording is made")
        with Recording.open(path) as recording:
            fill(recording, data, min(data.events, 50_000))
    with ph.connect(path) as client:
        frame = client.events().to_pandas()
    at = frame["timestamp"].iloc[len(frame) // 2]
    words: dict[str, tuple[Any, ...]] = {"state_at": (at,), "throughput": ("1min",)}
    pandas, polars = Pandas(frame, at), Polars(pl.from_pandas(frame), at)
    found: dict[str, Peers] = {}

    def turn(peers: dict[str, Callable[[str], Callable[[], object]]], count: int) -> None:
        for name in NAMES:
            works = {who: ask(name) for who, ask in peers.items()}
            in_turn({who: work for who, work in works.items() if work is not None}, found.setdefault(name, {}), count)

    for count in range(rounds):
        say(f"{data.events:,} events: round {count + 1} of {rounds}")
        turn({
            "frame": lambda name: partial(getattr(frames, name), frame, *words.get(name, ())),
            "pandas": lambda name: getattr(pandas, name), "polars": lambda name: getattr(polars, name, None),
        }, count)  # fmt: skip
    _agree(frame, pandas, polars)
    settings = Settings(recording=path, port=0, write_discovery=False)
    with running(settings) as server, ph.connect(server.url, token=server.token) as client:
        for count in range(rounds):
            turn({"server": lambda name: partial(getattr(client.events(), name), *words.get(name, ()))}, count)
    with ph.connect(path) as client:
        for count in range(rounds):
            turn({"recording": lambda name: partial(getattr(client.events(), name), *words.get(name, ()))}, count)
    return [_row(data.events, name, {who: median(times) / 1000 for who, times in found[name].items()}) for name in NAMES]


def _agree(frame: pd.DataFrame, pandas: Pandas, polars: Polars) -> None:
    rows, theirs, polar = frames.executions(frame), pandas.executions(), polars.executions()
    assert len(rows) == len(theirs) == len(polar)
    total = rows["duration"].sum()
    assert total == theirs["duration"].sum() == polar["duration"].sum(), "durations differ"
    assert frames.concurrency(frame)["running"].max() == pandas.concurrency().max() == polars.concurrency()["running"].max()


def _row(events: int, name: str, s: dict[str, float]) -> tuple[str, ...]:
    def told(who: str) -> str:
        return f"{s[who]:.3f}" if who in s else ""

    def ratio(who: str) -> str:
        return f"{s[who] / s['frame']:.1f}x" if who in s else ""

    sides = [told(who) for who in ("frame", "pandas", "polars")]
    return (f"{events:,}", name, *sides, ratio("pandas"), ratio("polars"), told("recording"), told("server"))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Questions to frames beside pandas and Polars.")
    parser.add_argument("--sizes", default="10000,1000000", help="events, comma between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where data is kept from run to run")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    lines = [("events", "question", "frame s", "pandas s", "polars s", "of pandas", "of polars", "recording s", "server s")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for size in map(int, asked.sizes.split(",")):
            data = Data(folder, size, 0, asked.seed)
            lines += measure(data, folder, asked.rounds)
            data.close()
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    for line in lines:
        print("  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True)))


if __name__ == "__main__":
    main()
