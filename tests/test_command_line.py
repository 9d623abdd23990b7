"""The command line, each command in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import playhead as ph
from playhead_server.server import Running
from tests.conftest import TOKEN, playhead

DATA = {"currentStep": 'a, "b"', "progressPercentage": 45.5, "more": [1, None], "goal": "é"}


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".csv", ".ndjson", ".ndjson.gz"])
def test_export_and_import_by_ending(tmp_path: Path, ending: str) -> None:
    """A recording, out to a file and into another recording, is the same events."""
    with ph.connect(tmp_path / "a.playhead") as client:
        client.publish([{"type": "job_progress", "jobId": "j", "data": DATA}, {"type": "x"}])
        client.flush()
        events = list(client.events())
    assert playhead("export", str(tmp_path / "a.playhead"), str(tmp_path / f"a{ending}")).returncode == 0
    done = playhead("import", str(tmp_path / f"a{ending}"), str(tmp_path / "b.playhead"))
    assert "2 stored" in done.stdout, done.stderr
    with ph.connect(tmp_path / "b.playhead") as client:
        again = list(client.events())
    for name in ("id", "type", "timestamp", "job_id", "data"):
        assert [getattr(event, name) for event in again] == [getattr(event, name) for event in events]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a" + ending, "a.playhead", "b.playhead", "runtime"]


def test_over_a_server(server: Running, tmp_path: Path) -> None:
    """import, status, tail, export and prune speak to the local server, with the token from the discovery file."""
    lines = [json.dumps({"type": kind, "jobId": "j", "batchId": "b", "data": DATA}) for kind in ("job_started", "job_failed")]
    (tmp_path / "a.ndjson").write_text("\n".join(lines))
    assert "2 stored" in playhead("import", str(tmp_path / "a.ndjson"), server.url).stdout
    assert "0 stored, 2 were there already" in playhead("import", str(tmp_path / "a.ndjson"), server.url).stdout
    status = playhead("status")
    assert "2 events in 1 segments" in status.stdout and server.url in status.stdout and TOKEN not in status.stdout
    assert json.loads(playhead("status", "--json").stdout)["head"] == 2
    tail = playhead("tail", "--count", "2", "--batch", "b")
    assert [json.loads(line)["type"] for line in tail.stdout.splitlines()] == ["job_started", "job_failed"]
    assert "2 events" in playhead("export", server.url, str(tmp_path / "b.parquet")).stdout
    assert "2 events deleted" in playhead("prune", server.url, "--older-than", "0s").stdout
    assert server.recording.count() == 0


def test_large_events_are_imported_into_a_server(server: Running, tmp_path: Path) -> None:
    """More than a request takes goes in several."""
    lines = (json.dumps({"type": "a", "data": {"n": n, "pad": "x" * 4000}}) for n in range(5000))
    (tmp_path / "a.ndjson").write_text("\n".join(lines))
    done = playhead("import", str(tmp_path / "a.ndjson"), server.url)
    assert "5,000 stored" in done.stdout, done.stderr


def test_status_of_a_recording(tmp_path: Path) -> None:
    """Without a server too; a path that is misspelt begins no recording."""
    with ph.connect(tmp_path / "a.playhead") as client:
        client.publish({"type": "a"})
    assert "1 events in 1 segments" in playhead("status", str(tmp_path / "a.playhead")).stdout
    assert "there is no recording" in playhead("status", str(tmp_path / "b.playhead")).stderr
    assert not (tmp_path / "b.playhead").exists()


def test_tail_ends_by_ctrl_c(server: Running) -> None:
    """No traceback."""
    server.recording.append([{"type": "a"}])
    tail = subprocess.Popen(
        [sys.executable, "-m", "playhead", "tail"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )  # fmt: skip
    assert tail.stdout is not None
    assert json.loads(tail.stdout.readline())["type"] == "a"
    tail.send_signal(signal.SIGINT)
    _, err = tail.communicate(timeout=20)
    assert (tail.returncode, err) == (130, "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"type": "a"}\n{"type": "a", "timestamp": "2026-01-01T00:00:00"}\n', "line 2, field 'timestamp'"),
        ('{"type": "a"}\n{"type": ', "line 2: not JSON"),
        ('{"type": "a"}\n\n{"type": "a", "colour": 1}\n', "line 3, field 'colour'"),
    ],
)
def test_a_bad_file_stores_nothing(tmp_path: Path, content: str, says: str) -> None:
    """Which line and why; the recording is not even begun."""
    (tmp_path / "bad.ndjson").write_text(content)
    done = playhead("import", str(tmp_path / "bad.ndjson"), str(tmp_path / "c.playhead"))
    assert done.returncode == 1 and says in done.stderr and "nothing was imported" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "c.playhead").exists()


def test_errors_are_one_line(tmp_path: Path) -> None:
    """No traceback; the cause and the next step."""
    (tmp_path / "not.parquet").write_text("no")
    (tmp_path / "not.ndjson.gz").write_text("no")
    (tmp_path / "bad.csv").write_text('type,data\na,"[1,2]"\n')
    for words, says in (
        (("export", str(tmp_path / "none.playhead"), "x.csv"), "there is no recording"),
        (("export", str(tmp_path), "x.xls"), "ends in one of"),
        (("import", str(tmp_path / "none.ndjson"), str(tmp_path / "c.playhead")), "none.ndjson"),
        (("import", str(tmp_path / "not.parquet"), str(tmp_path / "c.playhead")), "cannot be read as parquet"),
        (("import", str(tmp_path / "not.ndjson.gz"), str(tmp_path / "c.playhead")), "not.ndjson.gz"),
        (("status", "ftp://host"), "write http://"),
        (("status",), "playhead serve"),
        (("status", "http://127.0.0.1:9"), "no playhead server answers"),
        (("prune", str(tmp_path / "none.playhead"), "--older-than", "30d"), "there is no recording"),
        (("prune", str(tmp_path), "--older-than", "99999999999d"), "longer than there has been time"),
        (("import", str(tmp_path / "bad.csv"), str(tmp_path / "c.playhead")), "bad.csv, row 1, field 'data'"),
    ):
        done = playhead(*words)
        assert done.returncode == 1 and says in done.stderr, (words, done.stderr)
        assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert not (tmp_path / "c.playhead").exists()


def test_the_demo_does_real_work(tmp_path: Path) -> None:
    """It audits distributions, ends by itself without a terminal and leaves a recording with a job for each."""
    done = playhead("demo", str(tmp_path / "demo.playhead"), "--limit", "4", stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert "4 jobs" in done.stdout and str(tmp_path / "demo.playhead") in done.stdout.replace("\n", "")
    with ph.connect(tmp_path / "demo.playhead") as client:
        rows = client.executions()
        assert len(rows) == 4 and set(rows["state"]) <= {"completed", "failed"}
        assert rows["duration"].notna().all() and rows["site_name"].notna().all()
