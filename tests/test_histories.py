"""Real execution histories, imported as a user does, against figures that were computed from the original files."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import playhead as ph
from playhead.frames import concurrency, durations, executions, state_at
from playhead_server.server import Settings, running
from tests.conftest import TOKEN, playhead

HISTORIES = Path(os.environ.get("PLAYHEAD_DATA", Path(__file__).parents[2] / "shared" / "data"))
NAMES = ("spark_small", "spark_gpu_oom", "spark_exec_lost", "google2011_excerpt", "evalys_oar")


def truth_of(name: str) -> dict[str, Any]:
    """The figures, by one name each."""
    found: dict[str, Any] = json.loads((HISTORIES / f"{name}.truth.json").read_text())

    def first(*names: str) -> Any:
        return next((found[one] for one in names if one in found), None)

    by_state = {
        "completed": first("duration_tasks_success", "duration_FINISH_only", "duration"),
        "failed": first("duration_tasks_failed"),
    }
    return {
        "starts": first("task_starts", "attempts_started", "jobs"),
        "duration": first("duration_tasks", "duration_all_ended_attempts", "duration"),
        "completed": first("tasks_first_end_success", "attempts_completed_FINISH", "jobs"),
        "failed": first("tasks_first_end_not_success", "attempts_not_completed(EVICT+FAIL+KILL+LOST)") or 0,
        "running": first("tasks_never_ended", "attempts_still_running_at_end") or 0,
        "without_start": first("terminal_rows_while_not_running", "task_ids_ended_but_never_started") or 0,
        "concurrency": first("max_concurrency_ends_first", "max_concurrent_tasks_ends_first"),
        "state_at": found["state_at"],
        "by_state": {state: one for state, one in by_state.items() if one and one["n"]},
    }


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Without where it came from, and with states as text: which categories there are depends on what there is."""
    found = frame.astype({"state": "str"})
    found.attrs = {}
    return found


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the imported recordings."""
    return tmp_path_factory.mktemp("histories")


@contextlib.contextmanager
def _asked(recording: Path, way: str) -> Iterator[ph.Client]:
    """A client of a recording in this process, or of a server of it."""
    with contextlib.ExitStack() as opened:
        if way == "server":
            server = opened.enter_context(running(Settings(recording=recording, port=0, token=TOKEN, retention_s=1e9)))
            yield opened.enter_context(ph.connect(server.url, token=TOKEN))
        else:
            yield opened.enter_context(ph.connect(recording))


@pytest.mark.parametrize("way", ["recording", "server"])
@pytest.mark.parametrize("name", NAMES)
def test_real_histories_give_their_truths(recordings: Path, name: str, way: str) -> None:
    """Starts, ends, failures, durations, concurrency and past states equal the truths; a second import adds nothing."""
    file = HISTORIES / f"{name}.ndjson.gz"
    if not file.exists():
        assert not os.environ.get("CI"), f"{file} is missing"
        pytest.skip(f"{file} is not here; set PLAYHEAD_DATA to where the histories are")
    truth = truth_of(name)
    recording = recordings / f"{name}.playhead"
    done = playhead("import", str(file), str(recording))
    assert done.returncode == 0, done.stderr
    assert " 0 were there already" in done.stdout or way == "server"
    with _asked(recording, way) as client:
        rows = client.events().executions()
        pd.testing.assert_frame_equal(rows, client.executions())
        started = rows[rows["started"].notna()]
        assert len(started) == truth["starts"]
        assert (started["state"] == "completed").sum() == truth["completed"]
        assert (started["state"] == "failed").sum() == truth["failed"]
        assert (started["state"] == "running").sum() == truth["running"]
        assert (rows["started"].isna() & rows["ended"].notna()).sum() == truth["without_start"]
        seconds = rows["duration"].dropna().dt.total_seconds()
        assert len(seconds) == truth["duration"]["n"]
        assert seconds.sum() == pytest.approx(truth["duration"]["sum_s"], abs=1e-6)
        assert seconds.median() == pytest.approx(truth["duration"]["median_s"], abs=1e-6)
        assert seconds.quantile(0.95) == pytest.approx(truth["duration"]["p95_s"], abs=1e-6)
        assert (seconds.min(), seconds.max()) == (truth["duration"]["min_s"], truth["duration"]["max_s"])
        events = client.events().to_pandas()
        pd.testing.assert_frame_equal(executions(events), rows)
        by_state = client.events().durations(by="state")
        pd.testing.assert_frame_equal(by_state, durations(events, by="state"))
        for state, told in truth["by_state"].items():
            one = by_state.loc[state]
            assert (one["count"], one["total"].total_seconds()) == (told["n"], pytest.approx(told["sum_s"], abs=1e-6))
            assert one["median"].total_seconds() == pytest.approx(told["median_s"], abs=1e-9)
            assert one["p95"].total_seconds() == pytest.approx(told["p95_s"], abs=1e-9)
        at_once = client.events().concurrency()["running"]
        pd.testing.assert_series_equal(at_once, concurrency(events)["running"])
        assert at_once.max() == truth["concurrency"]["value"]
        assert at_once.idxmax() == pd.Timestamp(truth["concurrency"]["first_reached_at"])
        for moment in truth["state_at"]:
            past = client.events().state_at(moment["at"])
            pd.testing.assert_frame_equal(_plain(state_at(events, moment["at"])), _plain(past))
            begun = past[past["started"].notna()]
            wanted = {key.removeprefix("task_").removeprefix("tasks_"): value for key, value in moment.items()}
            assert (begun["state"] == "running").sum() == wanted["running"]
            starts = next(wanted[key] for key in ("starts_so_far", "started_so_far", "scheduled_so_far") if key in wanted)
            assert len(begun) == starts
            ended = [value for key, value in wanted.items() if key in ("ended_so_far", "ends_ok_so_far", "ends_failed_so_far")]
            if ended:
                assert past["ended"].notna().sum() == sum(ended)
    assert " 0 stored" in playhead("import", str(file), str(recording)).stdout


def test_no_events_give_the_same_columns(recordings: Path) -> None:
    """Frames of an empty log have the columns and dtypes of a full one."""
    with ph.connect(recordings / "empty.playhead") as client:
        events = client.events().to_pandas()
        nothing = client.executions()
        assert len(nothing) == 0 and str(nothing["started"].dtype) == "datetime64[us, UTC]"
        pd.testing.assert_series_equal(executions(events).dtypes, nothing.dtypes)
        running = concurrency(events)
        assert running.shape == (0, 1) and str(running.index.dtype) == "datetime64[us, UTC]"
        assert str(running["running"].dtype) == "int64"
    with pytest.raises(ValueError, match="is no events frame"):
        executions(pd.DataFrame({"seq": [1]}))
