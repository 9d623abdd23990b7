"""The newest events: acknowledged from the journal, read from wherever they are, filed into a segment a moment later."""

from __future__ import annotations

import contextlib
import os
import resource
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from playhead.errors import RecordingDamaged, RecordingFull
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
    with pytest.raises(RecordingDamaged, match=r"Permission denied.*journal"):
        Recording.open(path)


def test_what_is_lost_before_the_journal_is_missed(tmp_path: Path) -> None:
    """The segment lost its end and the journal goes on behind it: the range between is named, the rest is there."""
    path = tmp_path / "a.playhead"
    epoch = killed(path)[1]
    log = Journal(path, epoch)
    *_, last = log.read(0)
    log.filed(is_all=True)
    for first in (100, 101):
        assert log.write(last._replace(first=first))
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
        assert log.write(Record(first, 1, b"x" * 40))
    log.filed(is_all=True)
    assert log.write(Record(11, 1, b"y" * 40))
    assert [one.first for one in Journal(tmp_path, "abc").read(0)] == [11]
    log.turn()
    assert log.write(Record(12, 3, b"z" * 7))
    assert [(one.first, one.last) for one in Journal(tmp_path, "abc").read(0)] == [(11, 11), (12, 14)]
    assert [(one.first, one.last) for one in Journal(tmp_path, "abc").read(11)] == [(12, 14)]
    assert Journal(tmp_path, "abd").read(0) == []
    file = tmp_path / NAMES[1]
    file.write_bytes(file.read_bytes()[:30])
    assert [one.first for one in Journal(tmp_path, "abc").read(0)] == [11]
    log.close(is_needed=False)
    assert not [*tmp_path.iterdir()]
