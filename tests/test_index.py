"""Where things are in a segment: the same answer while it is written, once it is sealed, and made again from its file."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.columns import id_bytes, to_arrow
from playhead.events import JOB_TYPES, Event, uuid7
from playhead.recording.identities import EventIds, held
from playhead.recording.index import KINDS, Index, LiveIndex, SealedIndex, pair_digests
from playhead.recording.places import digest

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("a", "b", "c", "é")
FIRST = 1_000_000_000_001

name = st.none() | st.sampled_from(NAMES)
kind = st.sampled_from([*JOB_TYPES[:3], "batch_started", "other"])
rows = st.lists(st.tuples(kind, name, name, name), min_size=1, max_size=30)


def events_of(found: list[tuple[str, str | None, str | None, str | None]]) -> list[Event]:
    return [
        Event(
            FIRST + n, uuid7() if n % 3 else str(uuid.uuid4()), kind, START.replace(microsecond=n * 7 % 30), *names, None,
            {}, START, START,
        )
        for n, (kind, *names) in enumerate(found)
    ]  # fmt: skip


def indexes(events: list[Event], cuts: list[int], folder: Path) -> list[Index]:
    """One index of each form."""
    live = LiveIndex()
    for begin, end in pairwise(sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})):
        live.add(to_arrow(events[begin:end]), EventIds.of(id_bytes([event.id for event in events[begin:end]])))
    shuffled = to_arrow(events).take(np.random.default_rng(1).permutation(len(events)))  # noqa: F841  (read by its name)
    path = folder / "rows.parquet"
    with duckdb.connect() as db:
        db.execute("CREATE TABLE log AS SELECT * FROM shuffled")
        db.execute(f"COPY (SELECT * REPLACE (id::VARCHAR AS id) FROM log) TO '{path}'")
        stored = LiveIndex.of(db, "log")
        archived = LiveIndex.of(db, f"(SELECT * FROM read_parquet('{path}'))")
    sealed = live.seal(FIRST)
    sealed.save(folder / "of.index.npz")
    read = SealedIndex.read(folder / "of.index.npz", FIRST, events[-1].seq)
    assert read is not None
    return [live, stored, archived, sealed, stored.seal(FIRST), read]


@settings(deadline=None, max_examples=40)
@given(rows, st.lists(st.integers(1, 29), max_size=3))
def test_every_form_of_an_index_says_the_same(
    tmp_path_factory: object, found: list[tuple[str, str | None, str | None, str | None]], cuts: list[int]
) -> None:
    """Ranges of ids and pairs, a pair's batch, times and event ids, as a loop over the events finds them."""
    events = events_of(found)
    asked = [(execution, job) for execution in (None, *NAMES) for job in NAMES]
    for index in indexes(events, cuts, tmp_path_factory.mktemp("index")):  # type: ignore[attr-defined]
        moments = [(event.timestamp - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution) for event in events]
        assert index.times == (min(moments), max(moments))
        for kind in KINDS:
            for wanted in ([NAMES[0]], ["x"], list(NAMES), []):
                seqs = [event.seq for event in events if getattr(event, kind) in wanted]
                assert index.find(kind, wanted) == ((seqs[0], seqs[-1], len(seqs)) if seqs else None)
        said = index.pairs(pair_digests(asked))
        for place, pair in enumerate(asked):
            of = [event for event in events if (event.execution_id, event.job_id) == pair and event.type in JOB_TYPES]
            batches = {digest(event.batch_id or "") for event in of}
            expected = (of[0].seq, of[-1].seq, batches.pop() if len(batches) == 1 else 0) if of else (0, 0, 0)
            assert (said.first[place], said.last[place], said.batches[place]) == expected
        assert len(index.pairs(pair_digests([])).first) == 0
        ids = [event.id for event in events]
        assert index.holds(EventIds.of(id_bytes(ids))).all()
        others = [uuid7(), str(uuid.uuid4())]
        assert index.holds(EventIds.of(id_bytes([*others, ids[0], *others]))).tolist() == [False, False, True, False, False]


def test_ids_that_share_their_high_part_are_told_apart() -> None:
    """Of 40 bits the low 8 decide among those with the same 32."""
    ids = EventIds.of(id_bytes([str(uuid.UUID(int=n)) for n in range(5)]))
    arrays = {
        "events.made": np.array([-1, -1]),
        "events.high": np.array([0, 0, 0, 2**32 - 1], np.uint32), "events.low": np.array([1, 0, 7, 0], np.uint8),
    }  # fmt: skip
    assert held(arrays, ids).tolist() == [True, False, False, False, False]
    arrays["events.low"] = np.array([1, 2, 7, 0], np.uint8)
    assert not held(arrays, ids).any()
