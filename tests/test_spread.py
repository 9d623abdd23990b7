"""Dask: a local cluster answers every question as a frame does, of a recording's archive that it reads in place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import duckdb
import pandas as pd
import polars
import pytest
from dask.distributed import Client as Cluster

import playhead as ph
from playhead import frames
from playhead.recording import Recording
from tests.conftest import playhead, wait_for
from tests.test_histories import HISTORIES, truth_of
from tests.test_questions import QUESTIONS, lived, plain


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two workers, each a process, as on two machines."""
    home = str(tmp_path_factory.mktemp("dask"))
    with Cluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=home) as found:
        yield found


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording whose sealed segments, of 500 events, are all in its archive."""
    path = tmp_path_factory.mktemp("spread") / "a.playhead"
    with Recording.open(path, segment_events=500, archive_after_s=0.0) as recording:
        for seed in range(10):
            recording.append(list(lived(seed, 500)))
        recording.append([{"type": "note"}])
        wait_for(lambda: recording.sweep() or len(list((path / "archive").glob("*.parquet"))) == 10, 60)
    return path


def test_a_cluster_answers_as_a_frame_does(cluster: Any, archived: Path) -> None:
    """Every question, of the archive's Parquet, read in place by two workers."""
    spread = dd.read_parquet(archived / "archive")
    with ph.connect(archived) as client:
        frame = client.events(limit=5_000).to_pandas()
    assert spread.npartitions > 1 and len(spread) == len(frame) == 5_000
    for name, words in QUESTIONS.items():
        asked, expected = (getattr(frames, name)(events, *words) for events in (spread, frame))
        pd.testing.assert_frame_equal(plain(asked), plain(expected), obj=name, check_dtype=True)
    compared, expected = frames.compare(spread, frame, "job_id"), frames.compare(frame, frame, "job_id")
    pd.testing.assert_frame_equal(plain(compared), plain(expected))


def test_a_real_history_gives_its_truths(cluster: Any, tmp_path: Path) -> None:
    """Of a folder by day that a query wrote, Dask, Polars (streaming) and DuckDB give what the history's truth says."""
    file = HISTORIES / "google2011_excerpt.ndjson.gz"
    if not file.exists():
        assert not os.environ.get("CI"), f"{file} is missing"
        pytest.skip(f"{file} is not here; set PLAYHEAD_DATA to where the histories are")
    assert playhead("import", str(file), str(tmp_path / "a.playhead")).returncode == 0
    with ph.connect(tmp_path / "a.playhead") as client:
        count = client.events().to_parquet(tmp_path / "days", partition="day")
        frame = client.events().to_pandas()
    told = json.loads((tmp_path / "days" / "_playhead.json").read_text())
    assert told == {"cursor": frame.attrs["playhead"]["cursor"], "count": count, "filters": {}} and count == len(frame)
    days = sorted(frame["timestamp"].dt.strftime("day=%Y-%m-%d").unique())
    assert sorted(one.name for one in (tmp_path / "days").iterdir() if one.is_dir()) == days
    spread = dd.read_parquet(tmp_path / "days")
    rows, truth = frames.executions(spread), truth_of("google2011_excerpt")
    started = rows[rows["started"].notna()]
    assert (len(started), (started["state"] == "completed").sum()) == (truth["starts"], truth["completed"])
    seconds = rows["duration"].dropna().dt.total_seconds()
    assert seconds.sum() == pytest.approx(truth["duration"]["sum_s"], abs=1e-6)
    assert seconds.median() == pytest.approx(truth["duration"]["median_s"], abs=1e-6)
    assert frames.concurrency(spread)["running"].max() == truth["concurrency"]["value"]
    by_type = frame["type"].astype("str").value_counts().to_dict()
    lazy = polars.scan_parquet(tmp_path / "days" / "**" / "*.parquet", hive_partitioning=True).group_by("type").len()
    assert dict(lazy.collect(engine="streaming").iter_rows()) == by_type
    with duckdb.connect() as db:
        files = f"{tmp_path}/days/**/*.parquet"
        found = db.execute("SELECT type, count(*) FROM read_parquet(?) GROUP BY 1", [files]).fetchall()
    assert dict(found) == by_type
    with ph.connect(tmp_path / "a.playhead") as client, pytest.raises(FileExistsError, match="name a new folder"):
        client.events().to_parquet(tmp_path / "days", partition="day")
