"""The newest events: acknowledged from the journal, read from wherever they are, filed into a segment a moment later."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead.errors import InvalidEvent, RecordingClosed, RecordingDamaged, RecordingFull
from playhead.events import Filter
from playhead.recording import Recording, journal, tail
from playhead.recording.journal import NAMES, Journal, Record
from tests.recordings import check, run, some

# a process that files nothing by itself, and is killed
_KILLED = """
import os, sys
from playhead.recording import Recording, tail
tail._SOON_S = 600
recording = Recording.open(sys.argv[1], segment_events=1000)
recording.append([{"type": "a", "jobId": "one", "data": {"n": n, "deep": {"list": [1, None, 2.5]}}} for n in range(20)])
recording.append([{"type": "job_started", "jobId": "j", "executionId": "e", "timestamp": "1999-12-31T23:59:59.999999Z"}], "org")
recording.submit([]).result()
for n in range(30):
    recording.append([{"type": "a", "data": {"siteName": "é😀", "progressPercentage": 45.0, "n": n}}])
print(recording.head, recording.epoch, sep="\\n", flush=True)
if len(sys.argv) > 2:
    print(*(event.to_json().decode() for event in recording.read(limit=None)), sep="\\n", flush=True)
os.kill(os.getpid(), 9)
"""


def killed(path: Path, *, is_read: bool = False) -> list[str]:
    """A recording of 51 events whose process was killed, with none in a segment unless it was read; what it said."""
    return run(_KILLED, path, *(["read"] if is_read else [])).splitlines()


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    """Numbers, times, owners and data are what they were; then the journal is gone and the next number follows."""
    path = tmp_path / "a.playhead"
    assert killed(path)[0] == "51"
    assert any((path / name).stat().st_size for name in NAMES)
    with Recording.open(path, segment_events=1000) as recording:
        events = check(recording, list(range(1, 52)))
        assert events[0].data == {"n": 0, "deep": {"list": [1, None, 2.5]}}
        old = events[20]
        assert (old.organization_id, old.timestamp.year, old.timestamp.microsecond) == ("org", 1999, 999999)
        assert repr(events[-1].data["progressPercentage"]) == "45.0" and events[-1].data["siteName"] == "é😀"
        assert len({event.id for event in events}) == 51
        assert all(event.expires_at is not None and event.expires_at > event.created_at for event in events)
        assert recording.executions(attempts="all")["state"].to_pylist() == ["running"]
        assert recording.append(some(1)) == (52, 52)
    assert not [*path.glob("journal*")]
    with Recording.open(path) as recording:
        assert recording.read(limit=51) == events


def test_a_process_that_is_killed_told_the_same(tmp_path: Path) -> None:
    """What was read while it was in memory alone is what is read from the disk, also where it was filed before."""
    path = tmp_path / "a.playhead"
    _, epoch, *lines = killed(path, is_read=True)
    with Recording.open(path) as recording:
        assert recording.epoch == epoch
        assert [event.to_json().decode() for event in recording.read(limit=None)] == lines
        assert len(lines) == recording.stats()["events"] == 51


@pytest.mark.parametrize("harm", ["cut", "turned"])
def test_a_record_that_was_being_written_is_nothing(tmp_path: Path, harm: str) -> None:
    """The last record, cut short or half on the disk, was not acknowledged; all before it is there."""
    path = tmp_path / "a.playhead"
    killed(path)
    file = path / NAMES[0]
    text = bytearray(file.read_bytes())
    end = len(text.rstrip(b"\0"))
    if harm == "cut":
        text[end - 9 : end] = bytes(9)
    else:
        text[end - 3] ^= 0xFF
    file.write_bytes(text)
    with Recording.open(path) as recording:
        check(recording, list(range(1, 51)))
        assert recording.missing == []
        assert recording.append(some(1)) == (51, 51)


def test_a_journal_is_read_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened to read only, the journal is read as the segments are, by all questions, and left where it is."""
    path = tmp_path / "a.playhead"
    killed(path)
    writable = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and writable(path, mode))
    for _ in range(2):
        with Recording.open(path) as recording:
            assert recording.is_read_only and recording.failure is None
            check(recording, list(range(1, 52)))
            assert recording.count(Filter(job_id=("one",))) == 20
            assert recording.executions()["job_id"].to_pylist() == ["j"]
    monkeypatch.undo()
    with Recording.open(path) as recording:
        check(recording, list(range(1, 52)))


def test_a_journal_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening without it would hide what it holds."""
    path = tmp_path / "a.playhead"
    killed(path)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(RecordingDamaged, match=r"journal cannot be read.*Permission denied"):
        Recording.open(path)


def test_what_is_lost_before_the_journal_is_missed(tmp_path: Path) -> None:
    """The segment lost its end and the journal goes on behind it: the range between is named, the rest is there."""
    path = tmp_path / "a.playhead"
    epoch = killed(path)[1]
    log = Journal(path, epoch)
    *_, last = log.read(0)
    log.filed(is_all=True)
    for first in (100, 101):
        assert log.write([last._replace(first=first)])
    log.close(is_needed=True)
    for _ in range(2):
        with Recording.open(path) as recording:
            (gone,) = map(str, recording.missing)
            assert gone == "events from 1 to 99: they were to be filed before the journal"
            assert [event.seq for event in recording.read(limit=None)] == [100, 101]


def test_what_cannot_be_filed_is_read_all_the_same(tmp_path: Path) -> None:
    """Acknowledged events that the disk has no room for are in every answer, nothing more is taken, and it is said why."""
    with Recording.open(tmp_path / "a.playhead") as recording:
        fill(recording)
        given = str(uuid.uuid4())
        with no_room():
            recording.append([{"type": "job_failed", "jobId": "j", "executionId": "e", "id": given}])
            for _ in range(2):
                check(recording, list(range(1, 1002)))
                assert recording.executions()["state"].to_pylist() == ["failed"]
                assert recording.count(Filter(type=("job_failed",))) == 1
                assert recording.failure is not None and "File too large" in recording.failure
                with pytest.raises(RecordingFull, match=r"File too large.*free some space"):
                    recording.append(some(1))
                assert recording.head == 1001
            with pytest.raises(RecordingFull, match="File too large"):
                recording._rotate()
        assert recording.append([{"type": "job_failed", "id": given}]) == (None, None)
        assert recording.append(some(1)) == (1002, 1002)
        check(recording, list(range(1, 1003)))
        assert recording.failure is None


def fill(recording: Recording) -> None:
    """A thousand events in the newest segment's file."""
    recording.append([{"type": "a", "data": {"x": os.urandom(200).hex()}} for _ in range(999)])
    recording.append([{"type": "job_started", "jobId": "j", "executionId": "e"}])
    assert recording.count() == 1000


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """While no file grows beyond 150 kB: there is room in the journal and none behind the segment's log."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_could_not_be_filed_is_there_at_the_next_opening(tmp_path: Path) -> None:
    """Closed without room, a recording leaves its journal, and the next opening files it."""
    path = tmp_path / "a.playhead"
    with no_room_at_the_end(path) as recording:
        recording.append(some(3))
    assert (path / NAMES[0]).exists()
    with Recording.open(path) as recording:
        check(recording, list(range(1, 1004)))
    assert not (path / NAMES[0]).exists()


@contextlib.contextmanager
def no_room_at_the_end(path: Path) -> Iterator[Recording]:
    recording = Recording.open(path)
    fill(recording)
    with no_room():
        yield recording
        recording.close()


def test_a_write_that_fails_is_not_taken_for_one_that_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that could not be flushed may be on the disk; what was acknowledged with its number is what counts."""
    path = tmp_path / "a.playhead"
    recording = Recording.open(path)
    recording.append([{"type": "a", "data": {"n": 1}}])

    def fail(handle: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "fdatasync", fail)
        with pytest.raises(RecordingFull, match="Input/output error"):
            recording.append([{"type": "refused", "data": {"n": 2}}])
    assert recording.head == 1
    assert recording._tail is not None
    recording._tail.settle()  # from here on it goes into the other file
    recording.append([{"type": "a", "data": {"n": 3}}])
    for name in NAMES:
        (tmp_path / name).write_bytes((path / name).read_bytes())
    recording.close()
    found = Journal(tmp_path, recording.epoch).read(0)
    assert [(one.first, one.rows) for one in found] == [(1, 1), (2, 1)]
    assert b"refused" in (tmp_path / NAMES[0]).read_bytes() and b"refused" not in found[1].text


def test_events_that_wait_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same id again is the same event, whether the first is in the journal, being filed or in a segment."""
    monkeypatch.setattr(tail, "_SOON_S", 600)
    ids = [str(uuid.uuid4()) for _ in range(20)]
    with Recording.open(tmp_path / "a.playhead", segment_events=7) as recording:
        for place, one in enumerate(ids):
            assert recording.append([{"type": "a", "id": one}]) == (place + 1, place + 1)
            assert recording.append([{"type": "a", "id": one}]) == (None, None)
            if not place % 6:
                assert recording.append([{"type": "a", "id": ids[place // 2]}]) == (None, None)
        check(recording, list(range(1, 21)))


@pytest.mark.parametrize("rows", [1, 900])
def test_what_the_journal_cannot_hold_is_filed_at_once(tmp_path: Path, rows: int) -> None:
    """Whole numbers of more than 64 bits, and groups larger than the journal."""
    value: Any = 2**80 if rows == 1 else "x" * 20_000
    with Recording.open(tmp_path / "a.playhead") as recording:
        recording.append(some(3))
        recording.append([{"type": "big", "data": {"value": value}}] * rows)
        recording.append(some(3, 3))
        assert recording.head == rows + 6
        assert [event.data["value"] for event in recording.read(where=Filter(type=("big",)), limit=None)] == [value] * rows
    with Recording.open(tmp_path / "a.playhead") as recording:
        assert [event.seq for event in recording.read(limit=None)] == list(range(1, rows + 7))


def test_segments_are_as_long_as_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where many groups are filed together."""
    monkeypatch.setattr(tail, "_SOON_S", 600)
    with Recording.open(tmp_path / "a.playhead", segment_events=10) as recording:
        for n in range(33):
            recording.append(some(1, n))
        recording.append(some(25, 33))
        check(recording, list(range(1, 59)))
        assert [segment.first for segment in recording._segments.all()] == [1, 11, 21, 31, 59]


def test_a_journal_of_another_log_is_none(tmp_path: Path) -> None:
    """Files that were copied from elsewhere are not read as this log's."""
    killed(tmp_path / "a.playhead")
    with Recording.open(tmp_path / "b.playhead"):
        pass
    for name in NAMES:
        (tmp_path / "b.playhead" / name).write_bytes((tmp_path / "a.playhead" / name).read_bytes())
    with Recording.open(tmp_path / "b.playhead") as recording:
        assert recording.head == 0
        assert recording.append(some(1)) == (1, 1)


def test_no_room_for_a_journal_is_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every commit is then one of the segment's."""
    monkeypatch.setattr(journal, "SIZE", 0)
    with Recording.open(tmp_path / "a.playhead") as recording:
        recording.append(some(3))
        recording.append(some(3, 3))
        assert recording._segments.newest.last == 6
        check(recording, list(range(1, 7)))


def test_records_follow_each_other(tmp_path: Path) -> None:
    """What is left of an earlier use of a file is not taken for its end, wherever it begins."""
    log = Journal(tmp_path, "abc")
    for first in range(1, 11):
        assert log.write([Record(first, 1, b"x" * 40)])
    log.filed(is_all=True)
    assert log.write([Record(11, 1, b"y" * 40)])
    assert [one.first for one in Journal(tmp_path, "abc").read(0)] == [11]
    log.turn()
    assert log.write([Record(12, 3, b"z" * 7)])
    assert [(one.first, one.last) for one in Journal(tmp_path, "abc").read(0)] == [(11, 11), (12, 14)]
    assert [(one.first, one.last) for one in Journal(tmp_path, "abc").read(11)] == [(12, 14)]
    assert Journal(tmp_path, "abd").read(0) == []
    file = tmp_path / NAMES[1]
    file.write_bytes(file.read_bytes()[:30])
    assert [one.first for one in Journal(tmp_path, "abc").read(0)] == [11]
    log.close(is_needed=False)
    assert not [*tmp_path.iterdir()]


def test_deleted_text_leaves_the_journal_while_others_append(tmp_path: Path) -> None:
    """Whatever is appended meanwhile, both files are wiped."""
    path, over = tmp_path / "a.playhead", threading.Event()
    with Recording.open(path, segment_events=500) as recording:
        def append() -> None:
            while not over.is_set():
                recording.append([{"type": "a", "data": {"goal": "plain"}}])
                time.sleep(0.0005)

        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(append)
            for n in range(20):
                secret = f"the-secret-{n}-of-nobody"
                for _ in range(5):  # in both files
                    recording.append([{"type": "a", "timestamp": "2001-01-01T00:00:00Z", "data": {"goal": secret * 50}}])
                    recording.count()
                assert recording.delete_older(datetime(2002, 1, 1, tzinfo=UTC)) == 5
                assert not [name for name in NAMES if secret.encode() in (path / name).read_bytes()]
            over.set()
            done.result()
        check(recording, [event.seq for event in recording.read(where=Filter(type=("a",)), limit=None)])
        assert recording.count() == recording.head - 100


def test_what_was_deleted_is_in_no_journal_after_a_kill(tmp_path: Path) -> None:
    """A journal that a kill left is not written on: it goes when it is filed."""
    path = tmp_path / "a.playhead"
    killed(path)
    with Recording.open(path) as recording:
        assert recording.delete_older(datetime(2000, 1, 1, tzinfo=UTC)) == 1
        assert not [*path.glob("journal*")]
        recording.append(some(1))
        assert b"1999" not in b"".join((path / name).read_bytes() for name in NAMES)
        assert recording.count() == 51


def test_an_interrupted_reader_takes_nothing_along(tmp_path: Path) -> None:
    """Ctrl-C, at whatever moment of a read: no event is lost or doubled by it."""
    code = """
import random, signal, sys
from playhead.recording import Recording
choose = random.Random(int(sys.argv[2]))
recording = Recording.open(sys.argv[1], segment_events=300)
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
hits = 0
for n in range(150):
    recording.append([{"type": "a", "data": {"n": n}}] * choose.randint(1, 30))
    try:
        signal.setitimer(signal.ITIMER_REAL, choose.uniform(0.0001, 0.006))
        recording.count(); recording.read(limit=5)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except (KeyboardInterrupt, RuntimeError):  # DuckDB's own for it is the latter
        hits += 1
seqs = [event.seq for event in recording.read(limit=None)]
print(hits > 10, seqs == list(range(1, recording.head + 1)))
"""
    seed = random.randrange(10**6)
    print("seed", seed)
    assert run(code, tmp_path / "a.playhead", seed) == "True True\n"


def test_a_refused_record_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its flush failed, it was refused, and the process was killed: it is not in the log."""
    with Recording.open(tmp_path / "a.playhead") as recording:
        recording.append(some(1))

        def fail(handle: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(journal.os, "fdatasync", fail)
            with pytest.raises(RecordingFull):
                recording.append(some(9, 1))
        for name in NAMES:
            (tmp_path / name).write_bytes((tmp_path / "a.playhead" / name).read_bytes())
    assert all(one.last == 1 for one in Journal(tmp_path, recording.epoch).read(0))


def test_a_forked_child_leaves_it_to_the_parent(tmp_path: Path) -> None:
    """It neither files, wipes nor deletes, and hangs nowhere, whatever the parent's threads held when it began."""
    with Recording.open(tmp_path / "a.playhead", segment_events=50) as recording:
        for n in range(30):
            recording.append(some(7, n * 7))
            if not (child := os.fork()):
                refused = 0
                for deed in (recording.sweep, lambda: recording.delete_older(datetime(2100, 1, 1, tzinfo=UTC))):
                    try:
                        deed()
                    except RecordingClosed:
                        refused += 1
                recording.close()
                os._exit(refused)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
        check(recording, list(range(1, 211)))


def test_the_journal_of_a_lost_segment_is_kept(tmp_path: Path) -> None:
    """The file that the journal's events were to go into is gone: they are put aside, and numbers go on far behind."""
    path = tmp_path / "a.playhead"
    killed(path)
    (path / "segments" / f"{1:018d}.duckdb").unlink()
    with Recording.open(path) as recording:
        assert recording.missing and recording.missing[0].last is None
        assert recording.append(some(1))[0] == 1_000_000_001
    (kept,) = path.glob("*.kept")
    assert b"job_started" in kept.read_bytes()
    run("import os, sys; from playhead.recording import Recording\n"
        "Recording.open(sys.argv[1]).append([{'type': 'a'}]); os.kill(os.getpid(), 9)", path)  # fmt: skip
    with Recording.open(path) as recording:  # what is behind the lost segment is filed as ever
        assert recording.count() == 2
    assert [*path.glob("*.kept")] == [kept]


def test_a_process_that_ends_without_close_ends_well(tmp_path: Path) -> None:
    """Also where the events that it files at its end fill a segment."""
    path = tmp_path / "a.playhead"
    code = """
import sys
from playhead.recording import Recording, tail
tail._SOON_S = 600
recording = Recording.open(sys.argv[1], segment_events=10)
for n in range(25):
    recording.append([{"type": "a"}])
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert not [*path.glob("journal*")]
    with Recording.open(path) as recording:
        check(recording, list(range(1, 26)))


def test_the_same_ids_at_once_are_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads publish the same events, while others file them."""
    monkeypatch.setattr(tail, "_SOON_S", 0.001)
    ids = [str(uuid.uuid4()) for _ in range(400)]
    with Recording.open(tmp_path / "a.playhead", segment_events=90) as recording, ThreadPoolExecutor(2) as pool:
        def publish(_: int) -> int:
            return sum(recording.append([{"type": "a", "id": one}]) != (None, None) for one in ids)

        assert sum(pool.map(publish, range(2))) == 400
        assert sorted(event.id for event in recording.read(limit=None)) == sorted(ids)


def test_a_full_journal_makes_room_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that fill both files are filed as they come, and a kill in between takes none."""
    path = tmp_path / "a.playhead"
    code = """
import os, sys
from playhead.recording import Recording, tail
tail._SOON_S, tail._MANY = 600, 10**9
recording = Recording.open(sys.argv[1])
for n in range(25):
    recording.append([{"type": "a", "data": {"n": n, "x": "y" * 30_000}}] * 20)
print(recording._segments.newest.last < recording.head, flush=True)
os.kill(os.getpid(), 9)
"""
    assert run(code, path) == "True\n"
    with Recording.open(path) as recording:
        assert [event.data["n"] for event in recording.read(limit=None)] == [n for n in range(25) for _ in range(20)]


def test_an_event_that_cannot_be_a_row_is_refused(tmp_path: Path) -> None:
    """An `Event` that somebody made by hand is looked at like any other."""
    with Recording.open(tmp_path / "a.playhead") as recording:
        recording.append(some(1))
        event = recording.read()[0]
        for change in ({"timestamp": datetime(2026, 1, 1)}, {"data": {"x": object()}}, {"job_id": 7}):
            with pytest.raises(InvalidEvent):
                recording.append([msgspec.structs.replace(event, id=str(uuid.uuid4()), **change)])
        assert recording.append([event]) == (None, None)
        check(recording, [1])
