"""An engineer's job publishes: at once, whatever the server does, and each event arrives once and in order."""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import jwt
import pytest

import playhead as ph
from playhead.errors import RecordingInUse
from playhead_server.server import Running, Settings, running
from tests.conftest import TOKEN, process, wait_for
from tests.line import line


def numbers(client: ph.Client) -> list[int]:
    return [event.data["n"] for event in client.events()]


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


def test_a_pool_is_told_job_by_job(server: Running) -> None:
    """map with an executor: queued when submitted, ended when done; a failure is raised in its place, as Executor.map does."""
    with ph.connect() as client, concurrent.futures.ThreadPoolExecutor(2) as pool:
        with client.batch("pool") as batch:
            results = batch.map(lambda n: 10 // n, [5, 2, 0, 1], executor=pool, name=lambda n: f"n{n}")
            assert [next(results), next(results)] == [2, 5]
            with pytest.raises(ZeroDivisionError):
                next(results)
        client.flush(5)
        rows = client.executions(batch_id="pool").set_index("job_id")
        assert rows["state"].to_dict() == {"n5": "completed", "n2": "completed", "n0": "failed", "n1": "completed"}
        assert rows["queued"].notna().all() and rows["duration"].notna().all()


def test_a_job_is_never_broken_by_what_it_says(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Progress that is no number, data that is no JSON: said in the log, the job goes on."""
    deep: list[object] = []
    for _ in range(2000):
        deep = [deep]

    class Unsayable(Exception):
        def __str__(self) -> str:
            raise KeyError("no words")

    with ph.connect() as client:
        with client.batch("b") as batch:
            with batch.job("j") as job:
                job.progress(float("nan"))
                job.progress(10, thing=object(), tree=deep, step="on")
                job.complete(result=object(), files=3)
            with pytest.raises(Unsayable), batch.job("https://example.com/" + "x" * 500):
                raise Unsayable
        client.flush(5)
        rows = client.executions()
        assert rows["state"].tolist() == ["completed", "failed"]
        assert rows["progress"].tolist()[0] == 10 and rows["step"].tolist()[0] == "on"
        assert rows["job_id"].str.len().max() == 256 and "Unsayable" in rows["error"].tolist()[1]
        end = next(iter(client.events(type="job_completed")))
        assert end.data == {"files": 3, "message": "left out, as it cannot be published: result"}
    assert "NaN" in caplog.text and "cannot be written as JSON" in caplog.text


def test_nothing_waits_for_a_server_that_is_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of calls return at once, memory stays bounded, one line in the log; then all arrives, once and in order."""
    with process(tmp_path / "log.playhead") as server, ph.connect(server.url, token=TOKEN) as client:
        server.kill()
        for n in range(30_000):
            client.publish({"type": "a", "data": {"n": n}})
        assert not client.flush(0.1)
        wait_for(lambda: client._publisher.in_memory == 0)  # type: ignore[attr-defined]  # all in the file
        assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1
        server.start()
        assert client.flush(30)
        assert numbers(client) == list(range(30_000))


def test_a_hung_server_is_no_different(tmp_path: Path, server: Running) -> None:
    """The line carries nothing and does not break: within a second what was published is in a file; then it goes on."""
    with line(server.url) as through, ph.connect(through.url, token=TOKEN) as client:
        client.publish({"type": "a", "data": {"n": 0}})
        client.flush(5)
        through.freeze()
        for n in range(1, 200):
            client.publish({"type": "a", "data": {"n": n}})
        spilled = tmp_path / "runtime" / "spill"
        wait_for(lambda: b"".join(file.read_bytes() for file in spilled.glob("*.ndjson")).count(b"\n") == 199, 3)
        through.thaw()
        assert client.flush(20)
        assert numbers(client) == list(range(200))
        assert not list(spilled.glob("*.ndjson"))


def test_a_dead_jobs_events_are_sent_by_the_next(tmp_path: Path) -> None:
    """Published while the server is away, the job killed a second later: the next process delivers them, once."""
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
            assert numbers(client) == list(range(101))


def test_what_a_crash_cut_in_the_file_is_left_out(tmp_path: Path, server: Running) -> None:
    """A last line without its end is no event; the lines before it are sent."""
    from playhead.client.spill import Spill, wire
    from playhead.events import new_event

    spill = Spill(server.url)
    spill.append([wire(new_event({"type": "a", "data": {"n": n}})) for n in range(3)])
    file = next((tmp_path / "runtime" / "spill").glob("*.ndjson"))
    spill.release()
    file.write_bytes(file.read_bytes() + b'{"type": "a", "da')
    with ph.connect() as client:
        client.publish({"type": "a", "data": {"n": 3}})
        assert client.flush(5)
        assert numbers(client) == [0, 1, 2, 3]


def test_one_refused_event_takes_no_other_along(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The server refuses one event of a batch for good: it is said, and the rest is stored."""
    settings = Settings(recording=tmp_path / "a.playhead", port=0, token=TOKEN, jwt_secret="s" * 32)
    token = jwt.encode({"scope": "publish"}, "s" * 32, "HS256")
    with running(settings) as server, ph.connect(server.url, token=token) as client:
        client.publish([{"type": "a", "data": {"n": n}} | ({"organizationId": "x"} if n == 50 else {}) for n in range(100)])
        assert client.flush(10)
        assert [event.data["n"] for event in server.recording.read(limit=None)] == [n for n in range(100) if n != 50]
    assert "organizationId" in caplog.text


def test_after_close_nothing_is_lost(server: Running) -> None:
    """What is published after close(), or while another thread closes, is delivered all the same, once."""
    client = ph.connect()
    count = 400

    def work(thread: int) -> None:
        for n in range(count):
            client.publish({"type": "a", "data": {"n": thread * count + n}})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        client.close()
        time.sleep(0.005)
    for thread in threads:
        thread.join()
    client.close()
    client.publish({"type": "a", "data": {"n": 4 * count}})
    assert client.flush(10)
    assert sorted(numbers(client)) == list(range(4 * count + 1))
    client.close()


def _in_a_worker(url: str, first: int) -> None:
    client = ph.connect(url, token=TOKEN)  # and never closed
    for n in range(first, first + 50):
        client.publish({"type": "a", "data": {"n": n}})


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_worker_processes_publish(server: Running, method: str) -> None:
    """Workers with clients of their own, and a forked child that uses its parent's, each deliver what they say."""
    with ph.connect() as client:
        client.publish({"type": "a", "data": {"n": -1}})
        assert client.flush(5)
        context = multiprocessing.get_context(method)
        workers = [context.Process(target=_in_a_worker, args=(server.url, first)) for first in (0, 50)]
        if method == "fork":
            workers.append(context.Process(target=lambda: client.publish({"type": "a", "data": {"n": 100}})))  # no close
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
            assert worker.exitcode == 0
        client.publish({"type": "a", "data": {"n": 101}})
        assert client.flush(5)
        wanted = [-1, *range(100), *([100] if method == "fork" else []), 101]
        assert sorted(numbers(client)) == wanted


def test_threads_publish_in_their_own_order(server: Running) -> None:
    """Eight threads, one client: every event once, each thread's in its order."""
    with ph.connect() as client:

        def work(thread: int) -> None:
            for n in range(200):
                client.publish({"type": "a", "data": {"thread": thread, "n": n}})

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.flush(10)
        data = [event.data for event in client.events()]
        for thread_number in range(8):
            assert [one["n"] for one in data if one["thread"] == thread_number] == list(range(200))


def test_a_script_that_forgets_to_close_loses_nothing(server: Running) -> None:
    """The end of the program sends what is left."""
    code = "import playhead as ph; ph.connect().publish([{'type': 'a'} for n in range(500)])"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, env=os.environ)
    assert server.recording.head == 500


def test_a_recording_takes_events_without_a_server(tmp_path: Path) -> None:
    """The same methods over a directory: publish, executions, batches, follow."""
    with ph.connect(tmp_path / "night.playhead") as client:
        with client.batch("b") as batch, batch.job("j") as job:
            job.progress(50)
        assert client.flush(5)
        assert client.executions()["state"].tolist() == ["completed"]
        assert client.batches()["batch_id"].tolist() == ["b"]
        with client.follow(after="start") as follow:
            assert [next(follow).type for _ in range(5)][1] == "job_started"


def test_a_job_without_a_place_of_its_own(server: Running) -> None:
    """Where neither a discovery file nor a spill file can be, url and token are enough."""
    code = f"""
import playhead as ph
client = ph.connect({server.url!r}, token={TOKEN!r})
client.publish({{"type": "a"}})
print(client.flush(5))
"""
    env = os.environ | {"PLAYHEAD_RUNTIME_DIR": "/dev/null/none"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, env=env)
    assert done.stdout == "True\n" and "the spill folder cannot be used" in done.stderr, done.stderr
