"""What a recording lives through: kills, full disks, clocks that step back, long ids, many readers, forgetting."""

from __future__ import annotations

import os
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import playhead as ph
from playhead.events import Cursor, Filter
from playhead.recording import Recording, writer
from tests.recordings import archived, check, killed, nursery, run, seqs, settled, some


def test_a_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    """kill -9 while opening, appending, rotating, indexing, summing up, archiving: what was acknowledged is there, once."""
    choose = random.Random(7)
    archives = 0
    with nursery() as nest:
        for place in range(10):
            path = tmp_path / f"{place}.playhead"
            told = 0
            for _ in range(10):
                told = max(told, killed(nest, path, choose.randrange(10**6), choose.uniform(0.01, 0.2)))
                began = time.monotonic()
                with Recording.open(path, segment_events=200) as recording:
                    assert time.monotonic() - began < 2
                    assert recording.missing == []
                    assert recording.head >= told
                    check(recording, list(range(1, recording.head + 1)))
                assert not [*path.rglob("*.tmp"), *path.rglob(".*.tmp")]
            archives += len(list((path / "archive").iterdir()))
    assert archives > 5


# full disks

_FULL = """
import os, resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from playhead.errors import RecordingFull
from playhead.recording import Recording
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, what = Path(sys.argv[1]), sys.argv[2]
recording = Recording.open(path, segment_events=1000)
old = "2001-01-01T00:00:00Z"
for n in range(3):
    events = [{"type": "a", "data": {"x": os.urandom(200).hex()}} for _ in range(1000)]
    recording.append([event | {"timestamp": old} for event in events[:10]] + events[10:])
recording._upkeep.wait()

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, -1))

def deed():
    recording._archive_after_s = -60.0
    if what == "archive":
        recording.sweep()
    elif what == "drop":
        recording._segments.drop(recording._segments.all()[:1])
    else:
        try:
            print("gone", recording.delete_older(datetime(2002, 1, 1, tzinfo=UTC)), flush=True)
        except RecordingFull:
            print("full", flush=True)

def tell():
    recording._upkeep.wait()
    seqs = recording.arrow().read_all()["seq"].to_pylist()
    archives = len(list((path / "archive").iterdir()))
    print(len(seqs), seqs == sorted(set(seqs)), archives, len(list(path.rglob("*.tmp"))), recording.missing, flush=True)

limit(int(sys.argv[3]))
deed()
tell()
limit(-1)
if what != "drop":
    deed()
recording.append([{"type": "a"}])
recording.sweep()
tell()
"""


def test_a_full_disk_while_archiving_loses_nothing(tmp_path: Path) -> None:
    """Segments stay as they are, without a draft; they are archived once there is room."""
    for size in (100_000, 0):
        said = run(_FULL, tmp_path / f"{size}.playhead", "archive", size).splitlines()
        assert said == ["3000 True 0 0 []", "3001 True 3 0 []"]


def test_a_full_disk_while_deleting_loses_nothing_else(tmp_path: Path) -> None:
    """It says so and deletes nothing of a segment that it cannot write anew; it does once there is room."""
    said = run(_FULL, tmp_path / "a.playhead", "delete", 100_000).splitlines()
    assert said == ["full", "3000 True 0 0 []", "gone 30", "2971 True 3 0 []"]


def test_a_segment_is_dropped_on_a_full_disk(tmp_path: Path) -> None:
    """What makes room needs none."""
    assert run(_FULL, tmp_path / "a.playhead", "drop", 0).splitlines() == ["2000 True 0 0 []", "2001 True 2 0 []"]
    with Recording.open(tmp_path / "a.playhead") as recording:
        assert recording.missing == []


# clocks and sizes


def test_a_clock_that_steps_back_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers stay dense and are the order; nothing expires early, and all of it does in the end."""
    clock = datetime.now(UTC)
    monkeypatch.setattr(writer, "now", lambda: clock)
    monkeypatch.setattr("playhead.recording.log.now", lambda: clock)
    with Recording.open(tmp_path / "a.playhead", retention_s=3600, segment_events=50) as recording:
        for step in (0, -1800, 60, -86400, 0, 7):
            clock += timedelta(seconds=step)
            recording.append(some(40))
            recording.sweep()
        log = check(recording, list(range(1, 241)))
        for _ in range(60):
            clock += timedelta(seconds=1800)
            recording.sweep()
            kept = {event.seq for event in recording.read(limit=None)}
            assert {event.seq for event in log if event.expires_at is not None and event.expires_at > clock} <= kept
        assert recording.count() == 0
        assert recording.append([{"type": "a"}]) == (241, 241)


def test_long_ids_of_wide_characters_come_back(tmp_path: Path) -> None:
    """256 characters of four bytes, a MB of them in a request: stored, found, exported, archived, read again."""
    ids = [chr(0x1F300 + n % 500) * 250 + f"{n:06d}" for n in range(350)]
    events = [
        {"type": "job_started", "jobId": one, "executionId": one[::-1], "batchId": ids[0], "data": {"goal": one}}
        for n, one in enumerate(ids)
    ]  # fmt: skip
    path = tmp_path / "a.playhead"
    with Recording.open(path) as recording:
        recording.append(events)
        log = check(recording, list(range(1, 351)))
        archived(recording)
    for _ in range(2):
        with Recording.open(path) as recording:
            assert check(recording, list(range(1, 351))) == log
            assert [event.job_id for event in log] == ids
            wanted = Filter.make(job_id=[ids[7], ids[300]], batch_id=ids[0])
            assert [event.seq for event in recording.read(where=wanted)] == [8, 301]
            assert recording.executions(Filter.make(execution_id=ids[9][::-1]))["goal"].to_pylist() == [ids[9]]
            assert recording.executions(states=["running"], at=Cursor(recording.epoch, 99)).num_rows == 99
    with ph.connect(path) as client:
        client.events().to_parquet(tmp_path / "b.parquet")
    with Recording.open(tmp_path / "b.parquet") as copy:
        assert [event.job_id for event in copy.read(limit=None)] == ids


# many at once


def test_a_hundred_readers_see_a_log_of_one_moment(tmp_path: Path) -> None:
    """Pages, counts, states and streams while events come, segments rotate, are archived and deleted."""
    old = "2001-01-01T00:00:00Z"
    wrong: list[str] = []
    begin, over = threading.Event(), threading.Event()
    asked = [0] * 100

    def ask(recording: Recording, place: int) -> None:
        begin.wait()
        while not over.wait(0.5):  # as people do; a hundred that never pause keep each other off
            try:
                look(recording, place)
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {error}")
                return
            asked[place] += 1

    def look(recording: Recording, place: int) -> None:
        oldest, head = recording.oldest, recording.head
        match place % 4:
            case 0:
                found = [event.seq for event in recording.read(limit=70, descending=True)][::-1]
            case 1:
                found = seqs(recording)
            case 2:
                found = [event.seq for event in recording.read(max(oldest, head - 300), limit=50)]
            case _:
                states = recording.executions(states=["running", "queued"])["first_seq"].to_pylist()
                assert states == sorted(set(states))
                assert recording.count() <= recording.head - oldest + 1
                return
        assert found == list(range(found[0], found[-1] + 1)), found

    with Recording.open(tmp_path / "a.playhead", segment_events=150) as recording:
        recording.append(some(10))
        threads = [threading.Thread(target=ask, args=(recording, place)) for place in range(100)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60
        n, gone = 0, 0
        begin.set()
        while not wrong and time.monotonic() < end and (n < 1000 or not gone or min(asked) < 2):
            first, last = recording.append(some(50, n, timestamp=old if n % 400 < 200 else "2026-01-01T00:00:00Z"))
            assert first is not None and last == first + 49
            n += 50
            if not n % 200:
                recording._archive_after_s = -60.0
                assert recording.sweep() == 0
            if n in (400, 600, 800):  # who asks for states begins again after each, so not all the time
                whole = [one for one in recording._segments.all()[:-1] if one.last < recording.head - 200]
                gone += sum(one.rows for one in whole)
                assert recording._upkeep is not None
                with recording._upkeep._deleting, recording._upkeep._unless_oldest(whole, []):
                    recording._segments.drop(whole)
        over.set()
        for thread in threads:
            thread.join()
        assert wrong == [] and min(asked) >= 2 and gone and n >= 1000
        recording.delete_older(datetime(2002, 1, 1, tzinfo=UTC))
        settled(recording)
        check(recording, [event.seq for event in recording.read(limit=None)])


# forgetting


def test_retention_drops_whole_segments_and_gives_space_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archived or not; a quiet newest segment is sealed after a thirtieth of the retention, so that it goes, too."""
    clock = datetime.now(UTC)
    monkeypatch.setattr(writer, "now", lambda: clock)
    monkeypatch.setattr("playhead.recording.log.now", lambda: clock)
    with Recording.open(tmp_path / "a.playhead", retention_s=3000, segment_events=1000, archive_after_s=500) as recording:
        for _ in range(4):
            recording.append([{"type": "a", "data": {"x": os.urandom(100).hex()}}] * 900 + some(100))
            clock += timedelta(seconds=99)
            recording.sweep()
            settled(recording)
        recording.append(some(10))
        assert recording.stats()["segments"] == 5
        clock += timedelta(seconds=101)
        recording.sweep()
        settled(recording)
        assert recording.stats()["segments"] == 6  # the newest was old enough
        assert len(list((recording.path / "archive").iterdir())) == 0
        clock += timedelta(seconds=399)
        recording.sweep()
        settled(recording)
        assert len(list((recording.path / "archive").iterdir())) == 4
        size = recording.stats()["bytes"]
        clock += timedelta(seconds=3000 - 896 + 5)
        assert recording.sweep() == 1000
        assert seqs(recording) == list(range(1001, 4011))
        clock += timedelta(seconds=50)
        assert recording.sweep() == 0  # the next has some minutes
        settled(recording)
        assert recording.stats()["bytes"] < size * 0.8
        clock += timedelta(seconds=4000)
        assert recording.sweep() == 3010
        assert recording.stats()["bytes"] < size * 0.2 and recording.head == 4010


def test_deleted_text_is_in_no_file(tmp_path: Path) -> None:
    """What is deleted inside a segment is gone from all that is kept of it: log, file, index, states, archive."""
    path = tmp_path / "a.playhead"
    secret, plain = "x-the-secret-of-nobody-x", "y-what-everybody-knows-y"
    with Recording.open(path, segment_events=100) as recording:
        for n in range(0, 300, 50):
            recording.append(some(50, n, organizationId=None, data={"goal": plain}))
            old = {"type": "job_started", "timestamp": "2001-01-01T00:00:00Z", "data": {"goal": secret}}
            recording.append([old | {"jobId": secret, "batchId": secret}])
        recording.executions(states=["running"])
        settled(recording)

        def kept(word: str) -> int:
            texts = [file.read_bytes() for file in path.rglob("*") if file.is_file()]
            tables = [repr(pq.read_table(file).to_pylist()).encode() for file in path.rglob("*.parquet")]
            return sum(text.count(word.encode()) for text in texts + tables)

        size = recording.stats()["bytes"]
        assert kept(secret)
        assert recording.delete_older(datetime(2002, 1, 1, tzinfo=UTC)) == 6
        settled(recording)
        assert kept(plain)
        assert recording.stats()["bytes"] < size
        assert not kept(secret)
    with Recording.open(path) as recording:
        check(recording, [seq for seq in range(1, 307) if seq % 51])
        assert not kept(secret)
