"""A recording whose events are numbered elsewhere: a random life of one agrees with a plain list."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playhead.events import Event, Filter, new_event, uuid7
from playhead.recording import Recording
from playhead.recording.journal import Record
from playhead.recording.replica import Replica
from playhead.recording.stored import Stored
from playhead.times import expiry, now

STEP = st.one_of(
    st.tuples(st.just("store"), st.lists(st.integers(1, 9), min_size=1, max_size=4)),
    st.tuples(st.just("copy"), st.integers(1, 40)),
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("leap"), st.integers(1, 30)),
    st.tuples(st.just("adopt"), st.sampled_from(["e1", "e2", "e3"])),
    st.tuples(st.just("reopen"), st.just(0)),
)  # fmt: skip


def stored(first: int, count: int) -> Stored:
    """Some events as a server numbers them, and as another reads them."""
    moment = now()
    news = [new_event({"type": "job_progress", "jobId": f"j{n % 5}", "batchId": "b", "id": uuid7()}) for n in range(count)]
    ids = b"".join(bytes.fromhex(new.id.replace("-", "")) for new in news)
    made = Stored(first, news, [None] * count, ids, moment, expiry(moment, 1e6))
    record = made.record()
    assert record is not None
    return Stored.of(record)


def opened(path: Path) -> tuple[Recording, Replica]:
    recording = Recording.open(path, segment_events=12)
    return recording, recording.replica()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=14))
def test_a_replicas_life_is_a_lists(steps: list[tuple[str, object]]) -> None:
    """Events stored at their places, rows copied, a tail cut off, holes leapt over, epochs changed, and closed in between."""
    with tempfile.TemporaryDirectory() as folder:
        held: dict[int, Event] = {}
        head = 0
        recording, replica = opened(Path(folder) / "a.playhead")
        for place, (kind, value) in enumerate(steps):
            if kind == "store":
                many = []
                for count in value:  # type: ignore[attr-defined]
                    many.append(stored(head + 1, count))
                    held |= {event.seq: event for event in many[-1].events()}
                    head = many[-1].last
                replica.store(many)
            elif kind == "copy":
                with Recording.open(Path(folder) / f"b{place}.playhead", segment_events=7) as other:
                    source = other.replica()
                    source.begin_at(head + 1)
                    source.store([stored(head + 1, int(value))])  # type: ignore[call-overload]
                    rows = source.rows(head, 1000)
                    held |= {event.seq: event for event in other.read(limit=None)}
                replica.copy(rows)
                head = rows.last
            elif kind == "cut":
                head = int(head * value)  # type: ignore[operator]
                replica.cut(head)
                held = {seq: event for seq, event in held.items() if seq <= head}
            elif kind == "leap":
                head += int(value)  # type: ignore[call-overload]
                replica.begin_at(head + 1)
            elif kind == "adopt":
                replica.adopt(str(value))
                assert recording.epoch == value
            else:
                epoch = recording.epoch
                recording.close()
                recording, replica = opened(Path(folder) / "a.playhead")
                assert recording.epoch == epoch
            assert recording.head == head
            assert recording.read(limit=None) == [held[seq] for seq in sorted(held)]
            assert recording.count() == len(held)
            assert not recording.missing
        assert recording.arrow().read_all()["seq"].to_pylist() == sorted(held)
        found = recording.read(where=Filter.make(job_id="j1"), limit=None)
        assert found == [held[seq] for seq in sorted(held) if held[seq].job_id == "j1"]
        executions = recording.executions().to_pylist()
        assert {row["job_id"]: row["events"] for row in executions} == Counter(one.job_id for one in held.values())
        recording.close()


def test_a_whole_number_of_any_size_is_carried(tmp_path: Path) -> None:
    """What msgpack has not (more than 64 bits) travels as JSON, and is the same on the other side."""
    moment = now()
    new = new_event({"type": "a", "data": {"n": 10**30}})
    made = Stored(1, [new], [None], bytes.fromhex(new.id.replace("-", "")), moment, expiry(moment, 1e6))
    assert made.record() is None
    read = Stored.of(Record(1, 1, made.packed()))
    assert read.record() is None
    with Recording.open(tmp_path / "a.playhead") as recording:
        recording.replica().store([read])
        assert recording.read()[0].data == {"n": 10**30}


@pytest.mark.parametrize("first", [1, 500])
def test_a_new_recording_begins_where_others_hold_no_more(tmp_path: Path, first: int) -> None:
    """Its oldest is that seq, before and after it was closed."""
    with Recording.open(tmp_path / "a.playhead") as recording:
        recording.replica().begin_at(first)
        assert (recording.head, recording.oldest) == (first - 1, first)
    with Recording.open(tmp_path / "a.playhead") as recording:
        assert (recording.head, recording.oldest, recording.missing) == (first - 1, first, [])
