"""The whole path: a job publishes, a server records, clients follow, ask and come back after anything."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import playhead as ph
from playhead.errors import RecordingInUse
from playhead.events import Event
from playhead_server.server import Running
from tests.conftest import TOKEN, process


def wait_for(condition: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "not within its time"
        time.sleep(0.01)


def test_a_batch_from_the_job_to_a_frame(server: Running) -> None:
    """connect() finds the local server; what a batch publishes is a frame, executions and batches."""
    with ph.connect() as client:
        with client.batch("night") as batch:
            with batch.job("a", goal="Extract", site_url="https://a") as job:
                job.progress(45, step="Reading", url="https://a/1")
            with pytest.raises(ZeroDivisionError), batch.job("b"):
                1 / 0  # noqa: B018
            assert list(batch.track(range(3))) == [0, 1, 2]
            assert list(batch.map(str, [1, 2])) == ["1", "2"]
        assert client.flush(5)
        rows = client.executions(batch_id="night").set_index("job_id")
        assert rows.loc["a", ["state", "progress", "step", "goal"]].tolist() == ["completed", 45.0, "Reading", "Extract"]
        assert rows.loc["b", ["state", "error"]].tolist() == ["failed", "ZeroDivisionError: division by zero"]
        frame = client.events(batch_id="night").to_pandas()
        assert frame.attrs["playhead"]["count"] == len(frame) == client.events(batch_id="night").count()
        assert str(frame["timestamp"].dtype) == "datetime64[us, UTC]"
        assert client.batches().loc[0, ["batch_id", "completed", "failed"]].tolist() == ["night", 4, 1]
        with pytest.raises(RecordingInUse, match=server.url):
            ph.connect(server.recording.path)


def test_frame_then_follow_is_the_log(server: Running) -> None:
    """A frame's cursor continues exactly, by WebSocket, while events go on."""
    with ph.connect() as client:
        client.publish([{"type": "a", "data": {"n": n}} for n in range(100)])
        client.flush()
        stop = threading.Event()

        def publish() -> None:
            while not stop.wait(0.002):
                client.publish({"type": "a"})

        publisher = threading.Thread(target=publish)
        publisher.start()
        frame = client.events().to_pandas()
        seqs = frame["seq"].tolist()
        for event in client.follow(after=frame.attrs["playhead"]["cursor"]):
            seqs.append(event.seq)
            if len(seqs) >= 300:
                break
        stop.set()
        publisher.join()
        assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("transport", ["websocket", "sse", "polling"])
def test_each_transport_gives_every_event_once(server: Running, transport: str) -> None:
    """History, then live, by each way through."""
    from playhead.client.http import Http
    from playhead.client.stream import Subscription
    from playhead.events import Filter

    found: list[int] = []
    server.recording.append([{"type": "a", "jobId": "x"}] * 30)
    http = Http(server.url, TOKEN)
    watch = Subscription(
        http, Filter.make(job_id="x"), "start", lambda events, cursor: found.extend(e.seq for e in events),
        polling_interval=0.05, transport=transport,
    )  # fmt: skip
    wait_for(lambda: len(found) >= 30)
    server.recording.append([{"type": "a", "jobId": "y"}, {"type": "a", "jobId": "x"}])
    wait_for(lambda: len(found) >= 31)
    assert found == [*range(1, 31), 32]
    assert watch.status.transport == transport
    watch.close()
    http.close()


async def test_the_async_client_is_the_same_awaited(server: Running) -> None:
    """publish, follow and executions from a running loop."""
    async with ph.AsyncClient(server.url, token=TOKEN) as client:
        client.publish([{"type": "job_started", "jobId": "j"}, {"type": "job_completed", "jobId": "j"}])
        found: list[Event] = []
        async with asyncio.timeout(20):
            async for event in client.follow(after="start"):
                found.append(event)
                if len(found) == 2:
                    break
        assert (await client.executions())["state"].tolist() == ["completed"]


def test_killed_servers_lose_nothing(tmp_path: Path) -> None:
    """kill -9 under load, several times: every event is there once, seq has no hole, a follower has seen each once."""
    rounds = int(os.environ.get("PLAYHEAD_KILLS", "3"))
    with process(tmp_path / "log.playhead") as server, ph.connect(server.url, token=TOKEN) as client:
        seen: list[int] = []
        numbers: list[int] = []

        def take(events: list[Event], cursor: str) -> None:
            seen.extend(event.seq for event in events)
            numbers.extend(event.data["n"] for event in events)

        watch = client.watch(on_events=take, after="start")
        count = 0
        for _ in range(rounds):
            for _ in range(400):
                client.publish({"type": "a", "data": {"n": count}})
                count += 1
                time.sleep(0.0005)
            server.kill()
            for _ in range(50):
                client.publish({"type": "a", "data": {"n": count}})
                count += 1
            server.start()
        assert client.flush(30)
        wait_for(lambda: len(seen) >= count)
        assert numbers == list(range(count))
        assert seen == list(range(1, count + 1))
        assert client.events().to_pandas()["seq"].tolist() == seen
        watch.close()


def test_a_dead_jobs_events_are_sent_by_the_next(tmp_path: Path) -> None:
    """Published while the server is away, the job killed: the next process delivers them, once."""
    with process(tmp_path / "log.playhead") as server:
        server.kill()
        code = f"""
import os, time, playhead as ph
client = ph.connect({server.url!r}, token={TOKEN!r})
client.publish([{{"type": "a", "data": {{"n": n}}}} for n in range(100)])
time.sleep(1.5)
os.kill(os.getpid(), 9)
"""
        subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=60)
        server.start()
        with ph.connect(server.url, token=TOKEN) as client:
            client.publish({"type": "a", "data": {"n": 100}})
            assert client.flush(20)
            assert [event.data["n"] for event in client.events()] == list(range(101))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "playhead", *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".csv", ".ndjson", ".ndjson.gz"])
def test_export_and_import_by_ending(tmp_path: Path, ending: str) -> None:
    """A recording, out to a file and into another recording, is the same events."""
    data = {"currentStep": "a, \"b\"", "progressPercentage": 45.5, "more": [1, None], "goal": "é"}
    with ph.connect(tmp_path / "a.playhead") as client:
        client.publish([{"type": "job_progress", "jobId": "j", "data": data}, {"type": "x"}])
        client.flush()
        events = list(client.events())
    assert run("export", str(tmp_path / "a.playhead"), str(tmp_path / f"a{ending}")).returncode == 0
    done = run("import", str(tmp_path / f"a{ending}"), str(tmp_path / "b.playhead"))
    assert "2 stored" in done.stdout, done.stderr
    with ph.connect(tmp_path / "b.playhead") as client:
        again = list(client.events())
    for name in ("id", "type", "timestamp", "job_id", "data"):
        assert [getattr(event, name) for event in again] == [getattr(event, name) for event in events]


def test_errors_of_the_command_line_are_one_line(tmp_path: Path) -> None:
    """No traceback; the cause and the next step; nothing half stored."""
    bad = tmp_path / "bad.ndjson"
    bad.write_text('{"type": "a"}\n{"type": "a", "timestamp": "2026-01-01T00:00:00"}\n')
    for words, says in (
        (("import", str(bad), str(tmp_path / "c.playhead")), "line 2, field 'timestamp'"),
        (("export", str(tmp_path / "none.playhead"), "x.csv"), "there is no recording"),
        (("export", str(tmp_path), "x.xls"), "ends in one of"),
        (("status",), "playhead serve"),
        (("serve", str(tmp_path / "d.playhead"), "--redis-url", "redis://localhost"), "--redis-url"),
        (("serve", str(tmp_path / "d.playhead"), "--host", "0.0.0.0", "--no-auth"), "loopback"),
    ):
        done = run(*words)
        assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "c.playhead").exists()


def test_the_demo_does_real_work(tmp_path: Path) -> None:
    """It audits distributions, ends by itself and leaves a recording with a job for each."""
    done = run("demo", str(tmp_path / "demo.playhead"), "--limit", "4")
    assert done.returncode == 0, done.stderr
    assert "4 jobs" in done.stdout
    with ph.connect(tmp_path / "demo.playhead") as client:
        rows = client.executions()
        assert len(rows) == 4 and set(rows["state"]) <= {"completed", "failed"}
        assert rows["duration"].notna().all()


def test_importing_is_light() -> None:
    """`import playhead` loads no pandas, duckdb, starlette or ipywidgets."""
    code = "import sys, playhead; print([m for m in ('pandas', 'duckdb', 'starlette', 'ipywidgets') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


_HISTORIES = Path(os.environ.get("PLAYHEAD_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.mark.parametrize("name", ["spark_small", "spark_gpu_oom", "spark_exec_lost", "google2011_excerpt", "evalys_oar"])
def test_real_histories_give_their_truths(tmp_path: Path, name: str) -> None:
    """Starts, ends, failures, durations and concurrency equal figures computed from the original files."""
    file = _HISTORIES / f"{name}.ndjson.gz"
    if not file.exists():
        assert not os.environ.get("CI"), f"{file} is missing"
        pytest.skip(f"{file} is not here")
    truth = json.loads((_HISTORIES / f"{name}.truth.json").read_text())
    with gzip.open(file) as lines:
        events = [json.loads(line) for line in lines]
    from playhead.frames import concurrency

    with ph.connect(tmp_path / "a.playhead") as client:
        for place in range(0, len(events), 10_000):
            client.recording.append(events[place : place + 10_000])  # type: ignore[attr-defined]
        rows = client.executions()
    ended = rows[rows["duration"].notna()]
    wanted = truth.get("duration") or truth.get("duration_all_ended_attempts") or truth["duration_tasks"]
    assert len(ended) == wanted["n"]
    assert ended["duration"].dt.total_seconds().sum() == pytest.approx(wanted["sum_s"], abs=1e-6)
    assert ended["duration"].dt.total_seconds().median() == pytest.approx(wanted["median_s"], abs=1e-6)
    starts = truth.get("task_starts") or truth.get("attempts_started") or truth["expected_event_counts"]["job_started"]
    assert rows["started"].notna().sum() == starts
    most = truth.get("max_concurrency_ends_first") or truth["max_concurrent_tasks_ends_first"]
    assert concurrency(rows)["running"].max() == most["value"]
