"""The log on disk: durable, dense, idempotent, and honest about what it no longer holds."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest

from playhead.errors import CursorGone, InvalidEvent, RecordingClosed, RecordingDamaged, RecordingInUse, RecordingTooNew
from playhead.events import Cursor, Filter, new_event, uuid7
from playhead.recording import Recording, history


def some(count: int, **fields: object) -> list[dict[str, object]]:
    return [{"type": "job_progress", "jobId": "j", "data": {"n": n}, **fields} for n in range(count)]


def test_numbers_are_dense_across_segments_and_openings(tmp_path: Path) -> None:
    """Every event gets the next seq, over rotations and after closing."""
    with Recording.open(tmp_path / "a.playhead", segment_events=10) as recording:
        for _ in range(5):
            recording.append(some(7))
    with Recording.open(tmp_path / "a.playhead") as recording:
        assert recording.append(some(1)) == (36, 36)
        assert [event.seq for event in recording.read(limit=None)] == list(range(1, 37))
        assert recording.stats()["segments"] == 3


def test_data_comes_back_as_it_was_published(tmp_path: Path) -> None:
    """Typed columns lose nothing: wrong types, wholes written as floats and unknown fields come back."""
    data = [
        {"progressPercentage": 45.0, "currentStep": "x", "more": {"deep": [1, None, "é\u0000"]}},
        {"progressPercentage": 45},
        {"progressPercentage": 145, "siteUrl": 7, "goal": None},
        {"progressPercentage": True},
        {},
    ]
    with Recording.open(tmp_path / "a.playhead") as recording:
        recording.append([{"type": "job_progress", "data": one} for one in data])
        assert [event.data for event in recording.read()] == data
        column = recording.arrow().read_all()["progress_percentage"].to_pylist()
        assert column == [45.0, 45.0, None, None, None]


def test_an_id_is_stored_once_for_each_organisation(tmp_path: Path) -> None:
    """The same id again is accepted and not stored, in one request, later, and after opening again."""
    identity = uuid7()
    one = {"type": "job_log", "id": identity}
    with Recording.open(tmp_path / "a.playhead", segment_events=3) as recording:
        assert recording.append([one, one]) == (1, 1)
        assert recording.append([one], "other") == (2, 2)
        recording.append(some(9))
    with Recording.open(tmp_path / "a.playhead") as recording:
        assert recording.append([one]) == (None, None)
        assert recording.head == 11


def test_a_bad_event_stores_nothing_of_its_request(tmp_path: Path) -> None:
    """All or nothing, and the error names the event and the field."""
    with Recording.open(tmp_path / "a.playhead") as recording:
        with pytest.raises(InvalidEvent, match=r"event 1, field 'timestamp': .* has no time zone: write") as caught:
            recording.append([{"type": "a"}, {"type": "a", "timestamp": "2026-01-01T00:00:00"}])
        assert (caught.value.index, caught.value.field) == (1, "timestamp")
        assert recording.head == 0


def test_filters_apply_before_limits_and_combine(tmp_path: Path) -> None:
    """History by each filter and their combination equals a list filtered in memory."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    events = [
        {
            "type": ("job_started", "job_progress", "job_failed")[n % 3],
            "executionId": f"e{n % 4}", "batchId": f"b{n % 2}",
            "jobId": f"j{n % 5}", "timestamp": start + timedelta(seconds=(n * 7) % 60),
        }
        for n in range(100)
    ]  # fmt: skip
    with Recording.open(tmp_path / "a.playhead", segment_events=30) as recording:
        for n in range(0, 100, 20):
            recording.append(events[n : n + 20])
        everything = recording.read(limit=None)
        kinds = ["job_failed", "job_started"]
        since = start + timedelta(seconds=5)
        wanted = Filter.make(batch_id="b1", type=kinds, since=since, until="2026-01-01T00:00:50Z")
        expected = [event for event in everything if wanted.matches(event)]
        assert recording.read(where=wanted, limit=None) == expected
        assert recording.read(where=wanted, limit=3, offset=2) == expected[2:5]
        assert recording.read(where=wanted, limit=3, descending=True) == expected[::-1][:3]
        assert recording.count(wanted) == len(expected)
        assert recording.arrow(wanted).read_all()["seq"].to_pylist() == [event.seq for event in expected]
        early = [event for event in expected if event.seq <= 50]
        assert recording.read(where=wanted, at=Cursor(recording.epoch, 50), limit=None) == early


def test_deleting_gives_space_back_and_old_cursors_are_noticed(tmp_path: Path) -> None:
    """Deleted is really deleted; seq goes on; a cursor before the trimmed start is gone, the head's is not."""
    with Recording.open(tmp_path / "a.playhead", segment_events=10) as recording:
        recording.append(some(30, timestamp="2020-01-01T00:00:00Z"))
        recording.append(some(5))
        assert recording.delete_older(datetime(2021, 1, 1, tzinfo=UTC)) == 30
        assert (recording.oldest, recording.head) == (31, 35)
        with pytest.raises(CursorGone, match="older than what is kept"):
            recording.check(Cursor(recording.epoch, 3))
        with pytest.raises(CursorGone, match="another log"):
            recording.check(Cursor("zzz", 33))
        assert recording.delete_older(datetime(2999 - 800, 1, 1, tzinfo=UTC)) == 5
        assert recording.check(recording.cursor()) == 35
    with Recording.open(tmp_path / "a.playhead") as recording:
        assert recording.append(some(1)) == (36, 36)
        assert len(list((tmp_path / "a.playhead" / "segments").glob("*.duckdb"))) == 1


def test_what_expired_is_swept(tmp_path: Path) -> None:
    """Retention deletes by the time of storing, so an old history imported today stays."""
    with Recording.open(tmp_path / "a.playhead", retention_s=0.0) as recording:
        recording.append(some(3))
        assert recording.sweep() == 3
        assert recording.count() == 0
    with Recording.open(tmp_path / "b.playhead") as recording:
        recording.append(some(3, timestamp="1970-01-01T00:00:02Z"))
        assert recording.sweep() == 0


def test_a_second_process_is_told_who_has_it(tmp_path: Path) -> None:
    """RecordingInUse names the server that has the recording."""
    with Recording.open(tmp_path / "a.playhead", url="http://127.0.0.1:8765") as recording:
        code = f"from playhead.recording import Recording; Recording.open({str(recording.path)!r})"
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "playhead.connect('http://127.0.0.1:8765')" in answer.stderr
        with pytest.raises(RecordingInUse):
            Recording.open(recording.path)


def test_a_newer_format_and_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    """Neither is touched, and the message says what to do."""
    Recording.open(tmp_path / "a.playhead").close()
    about = tmp_path / "a.playhead" / "recording.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"format": 99}))
    with pytest.raises(RecordingTooNew, match="upgrade it"):
        Recording.open(tmp_path / "a.playhead")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.txt").write_text("mine")
    with pytest.raises(RecordingDamaged, match="other files"):
        Recording.open(tmp_path / "b")
    with pytest.raises(RecordingDamaged, match="check the path"):
        Recording.open(tmp_path / "c.playhead", create=False)


def test_a_full_disk_refuses_and_stores_nothing(tmp_path: Path) -> None:
    """When the disk takes no more, the append raises RecordingFull; all that was acknowledged is still there."""
    code = f"""
import resource, signal
from playhead.recording import Recording
from playhead.errors import RecordingFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
recording = Recording.open({str(tmp_path / "a.playhead")!r})
acknowledged = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, -1))
try:
    while True:
        acknowledged = recording.append([{{"type": "a", "data": {{"x": "y" * 100 + str(n)}}}} for n in range(1000)])[1]
except RecordingFull as error:
    print(acknowledged, str(error).count("free some space"), flush=True)
import os; os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    acknowledged, said = map(int, done.stdout.split())
    assert said == 1, done.stderr
    with Recording.open(tmp_path / "a.playhead") as recording:
        assert recording.head >= acknowledged > 0
        assert [event.seq for event in recording.read(limit=None)] == list(range(1, recording.head + 1))


def test_packing_without_room_hides_nothing(tmp_path: Path) -> None:
    """A sealed segment that cannot be packed is read on from its log, and is packed once there is room."""
    code = f"""
import os, resource, signal, time
from playhead.recording import Recording
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
recording = Recording.open({str(tmp_path / "a.playhead")!r})
recording.append([{{"type": "a", "data": {{"x": os.urandom(200).hex()}}}} for n in range(1000)])
recording.count()
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, -1))
recording._rotate()
recording._upkeep.wait()
print(recording.count(), recording.stats()["segments"], flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
recording.append([{{"type": "a"}}])
recording.sweep()
recording._upkeep.wait()
print(recording.count(), *sorted(file.name[15:] for file in (recording.path / "segments").glob("*.duckdb*")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "could not be packed, it stays as it is" in done.stderr, done.stderr
    assert done.stdout == "1000 2\n1001 001-1.duckdb 001.duckdb 001.duckdb.wal\n", done.stderr


def test_threads_append_and_read_together(tmp_path: Path) -> None:
    """Many writers and readers at once: every request's events are contiguous, subscribers see the log in order."""
    heard: list[int] = []
    with Recording.open(tmp_path / "a.playhead", segment_events=200) as recording:
        recording.subscribe(lambda events: heard.extend(event.seq for event in events))

        def work() -> None:
            for _ in range(20):
                first, last = recording.append(some(5))
                assert first is not None and last == first + 4
                assert recording.read(first - 1, upto=last)[-1].seq == last

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recording.head == 800
        assert heard == list(range(1, 801))


def test_killed_at_random_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """kill -9 while appending, five times over rotations: what was acknowledged is there, and seq has no hole."""
    code = f"""
from playhead.recording import Recording
recording = Recording.open({str(tmp_path / "a.playhead")!r}, segment_events=500)
while True:
    print(recording.append([{{"type": "a"}}] * 50)[1], flush=True)
"""
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(30)][-1]
        process.kill()
        rest = process.communicate()[0].split()
        acknowledged = max([acknowledged, *[int(word) for word in rest if int(word) > acknowledged]])
        with Recording.open(tmp_path / "a.playhead") as recording:
            assert recording.head >= acknowledged
            assert recording.arrow().read_all()["seq"].to_pylist() == list(range(1, recording.head + 1))


def test_a_forked_child_keeps_off(tmp_path: Path) -> None:
    """A child that ends normally harms nothing of its parent's, may not append, and holds no lock."""
    code = f"""
import os, sys
from playhead.errors import RecordingClosed
from playhead.recording import Recording
recording = Recording.open({str(tmp_path / "a.playhead")!r})
recording.append([{{"type": "a"}}] * 200)
if not (child := os.fork()):
    try:
        recording.append([{{"type": "a"}}])
    except RecordingClosed as error:
        print(error, flush=True)
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
recording.append([{{"type": "a"}}] * 200)
stay, go = os.pipe()
if not os.fork():
    os.read(stay, 1)
    os._exit(0)
recording.close()
with Recording.open({str(tmp_path / "a.playhead")!r}) as again:
    again.append([{{"type": "a"}}])
    print(again.count(), flush=True)
    os.write(go, b"x")
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    said, status, count = done.stdout.splitlines()
    assert "was forked from the one that has it open" in said
    assert (status, count) == ("0", "401"), done.stderr
    with Recording.open(tmp_path / "a.playhead") as recording:
        assert recording.count() == 401


def test_a_request_that_is_cancelled_stops_nobody(tmp_path: Path) -> None:
    """Waiting for it may be given up at any time; the writer goes on."""
    with Recording.open(tmp_path / "a.playhead") as recording:
        for _ in range(50):
            recording.submit([new_event({"type": "a"})]).cancel()
        first, last = recording.append([{"type": "b"}])
        assert first == last == recording.head
        assert recording.count() == recording.head


def test_nothing_new_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A request of duplicates, or of nothing, calls no subscriber."""
    heard: list[int] = []
    with Recording.open(tmp_path / "a.playhead") as recording:
        recording.subscribe(lambda events: heard.append(events[-1].seq))
        one = {"type": "a", "id": uuid7()}
        recording.append([one])
        recording.append([one])
        assert recording.append([]) == (None, None)
    assert heard == [1] and caplog.text == ""


def test_streams_with_limits_are_the_pages(tmp_path: Path) -> None:
    """arrow() with a limit, an offset, upwards and downwards, over segments, equals read()."""
    with Recording.open(tmp_path / "a.playhead", segment_events=10) as recording:
        for _ in range(5):
            recording.append(some(9))
        for descending in (False, True):
            for limit, offset, after in ((None, 0, None), (7, 0, None), (25, 13, 5), (0, 0, None), (100, 40, 30)):
                page = recording.read(after, limit=limit, offset=offset, descending=descending)
                stream = recording.arrow(after=after, limit=limit, offset=offset, descending=descending).read_all()
                assert stream["seq"].to_pylist() == [event.seq for event in page]


def test_an_index_only_narrows(tmp_path: Path) -> None:
    """Missing, damaged, of another version or too short: it is made again, and every answer stays the same."""

    def answers(recording: Recording) -> list[object]:
        where = [Filter.make(job_id=f"j{n}") for n in (0, 7, 33, 99)]
        return [[event.seq for event in recording.read(where=one, limit=None)] for one in where] + [recording.count()]

    events = [{"type": "a", "id": uuid7(), "jobId": f"j{n // 3}", "batchId": f"b{n % 2}"} for n in range(100)]
    path = tmp_path / "a.playhead"
    with Recording.open(path, segment_events=20) as recording:
        for n in range(0, 100, 10):
            recording.append(events[n : n + 10])
        wanted = answers(recording)
    files = sorted((path / "segments").glob("*.index.npz"))
    assert len(files) == 5 and wanted[2] == [100] and wanted[3] == []
    files[0].unlink()
    files[1].write_bytes(b"no index")
    files[2].write_bytes(files[3].read_bytes()[:100])
    files[3].write_bytes(files[4].read_bytes())
    with np.load(files[4]) as whole:
        short = dict(whole) | {"about": np.array([*whole["about"][:2], 90])}
    np.savez(files[4], **short)
    with Recording.open(path, segment_events=20) as recording:
        assert answers(recording) == wanted
        assert recording.append(events) == (None, None)
    assert sorted((path / "segments").glob("*.index.npz")) == files
    with Recording.open(path, segment_events=20) as recording:
        assert answers(recording) == wanted
        assert recording.append(events) == (None, None)


def test_a_page_is_whole_while_events_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is of one moment: a deletion that comes meanwhile makes no short one, which would be taken for the last."""
    with Recording.open(tmp_path / "a.playhead", segment_events=1000) as recording:
        recording.append(some(300, timestamp="2000-01-01T00:00:00Z"))
        recording.append(some(300))
        counted = history._counted

        def then_deleted(*given: object) -> object:
            found = counted(*given)  # type: ignore[arg-type]
            monkeypatch.setattr(history, "_counted", counted)
            recording.delete_older(datetime(2001, 1, 1, tzinfo=UTC))
            return found

        monkeypatch.setattr(history, "_counted", then_deleted)
        assert [event.seq for event in recording.read(limit=400)] == list(range(1, 401))
        monkeypatch.setattr(history, "_counted", counted)
        assert [event.seq for event in recording.read(limit=100)] == list(range(301, 401))


def test_what_is_published_twice_is_stored_once_wherever_it_lies(tmp_path: Path) -> None:
    """Made ids and given ones, twice in a request, over requests, segments and openings: the log holds each once, in order."""
    given = [uuid7() for _ in range(12)] + [str(uuid.uuid4()) for _ in range(12)]
    expected: list[str] = []
    made = 0
    for opening in range(3):
        with Recording.open(tmp_path / "a.playhead", segment_events=7) as recording:
            for n in range(10):
                ids = [given[(opening * 31 + n * 7 + k * k) % len(given)] if k % 4 else None for k in range(3 + n)]
                before = recording.head
                first, last = recording.append([{"type": "a"} | ({"id": one} if one else {}) for one in ids])
                fresh = [one for k, one in enumerate(ids) if not one or (one not in expected and one not in ids[:k])]
                expected += [one for one in fresh if one]
                made += sum(one is None for one in fresh)
                assert (first, last) == ((before + 1, before + len(fresh)) if fresh else (None, None))
    with Recording.open(tmp_path / "a.playhead") as recording:
        stored = [event.id for event in recording.read(limit=None)]
        assert len(set(stored)) == len(stored) == len(expected) + made
        assert [one for one in stored if one in given] == expected


def test_it_can_be_closed_while_others_read(tmp_path: Path) -> None:
    """Closing waits for the calls that are going on; whoever asks after that is told that it is closed."""
    for round_ in range(2):
        recording = Recording.open(tmp_path / f"{round_}.playhead", segment_events=50)
        for _ in range(4):
            recording.append([{"type": "job_started", "jobId": "j", "executionId": "x"}] * 40)
        told: list[Exception] = []

        def read(recording: Recording = recording, told: list[Exception] = told) -> None:
            try:
                while True:
                    recording.read(0, limit=100)
            except (RecordingClosed, duckdb.ConnectionException) as error:  # the latter between a question and its rows
                told.append(error)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for one in readers:
            one.start()
        time.sleep(0.02 * round_)
        recording.close()
        for one in readers:
            one.join(10)
        assert len(told) == 4
        with pytest.raises(RecordingClosed, match="open it again"):
            recording.read(0)
