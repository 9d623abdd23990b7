"""What changes a store: appending, committing at a steady pace, dropping what is old."""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from functools import partial
from typing import Any

from playhead.columns import to_arrow
from playhead.events import Event, Filter, NewEvent, uuid7
from playhead.recording import Recording
from tests.benchmarks._data import Data
from tests.benchmarks._postgres import Postgres
from tests.benchmarks._report import Peers, Report, in_turn, percentile
from tests.benchmarks._stores import Raw, Stores

Append = Callable[[list[NewEvent], Callable[[], None]], None]  # events, and whom to tell when they are durable
GROUP = 1000
GROUPS_A_TURN = 30  # of one store, then of the next
_TURN = GROUPS_A_TURN * GROUP
_PACED = 100  # events, each 5 ms: 20,000 a second
_PACE_S = 0.005
_AFTER_S = 0.1


def ingest(stores: Stores, report: Report, rounds: int) -> None:
    """Durable appends of a thousand Python objects, each store in turn, onto all that is stored already.

    The recording's turn ends when all of it is in the segment's file, too: nothing of it is left to the others' turns.
    """
    data, found = stores.data, {}
    with stores.recording() as recording, stores.raw() as raw:
        raw.hold_checkpoints()
        for n in range(rounds):
            first, size = data.events + 1 + n * 2 * _TURN, _TURN
            halves = [(first, first + size - 1), (first + size, first + 2 * size - 1)]
            in_turn(_appends(data, halves, recording, raw, stores.postgres), found, n)
    rates = {name: [_TURN / took * 1000 for took in values] for name, values in found.items()}
    for label, ours in (("dicts as published", "dicts"), ("validated events", "events")):
        for what, raw_name, theirs in (
            ("table built inside / COPY", "inside", "copy"),
            ("table built before / INSERT", "outside", "insert"),
        ):
            peers = {"playhead": rates[ours], "duckdb": rates[raw_name], "postgres": rates.get(theirs, [])}
            report.rates(f"append, {label} (peers: {what})", peers)


def _appends(
    data: Data, halves: list[tuple[int, int]], recording: Recording, raw: Raw, postgres: Postgres | None
) -> dict[str, Callable[[], object]]:
    """A way to append a group each; every store gets both halves, each once."""
    dicts, events = data.published(*halves[0]), data.rows(*halves[1])
    first, second = (_stored(data.rows(*half), half[0]) for half in halves)
    tables = [to_arrow(group) for group in _groups(first)]

    def append(given: list[Any]) -> None:
        for group in _groups(given):
            recording.append(group)
        recording.stats()  # which waits until all is filed

    def each(work: Callable[[Any], object], given: list[Any]) -> None:
        for group in given:
            work(group)

    works: dict[str, Callable[[], object]] = {
        "dicts": lambda: append(dicts),
        "events": lambda: append(events),
        "outside": lambda: each(raw.append, tables),
        "inside": lambda: each(lambda group: raw.append(to_arrow(group)), _groups(second)),
    }
    if postgres is not None:
        others = data.rows(*halves[0])
        works |= {
            "copy": lambda: each(postgres.copy, _groups(others)), "insert": lambda: each(postgres.insert, _groups(events)),
        }  # fmt: skip
    return works


def _groups(given: list[Any]) -> list[list[Any]]:
    return [given[place : place + GROUP] for place in range(0, len(given), GROUP)]


def _stored(events: list[NewEvent], first: int) -> list[Event]:
    return [
        Event(seq, new.id, new.type, new.timestamp, new.execution_id, new.batch_id, new.job_id, new.organization_id,
              new.data, new.timestamp, new.timestamp)
        for seq, new in enumerate(events, first)
    ]  # fmt: skip


def commit(stores: Stores, report: Report, seconds: float) -> None:
    """From when a group is due to when it is durable, at 20,000 events a second, over three rotations and more."""
    base = stores.data.rows(1, min(20_000, stores.data.events))
    size = max(GROUP, int(seconds / _PACE_S * _PACED / 4.5))
    found: Peers = {}
    os.sync()  # what was written before is on the disk
    with Recording.open(stores.folder / "paced.playhead", segment_events=size) as recording:
        def append(events: list[NewEvent], told: Callable[[], None]) -> None:
            recording.submit(events).add_done_callback(lambda _: told())

        found["playhead"] = paced(append, base, seconds)
        rotations = recording.stats()["segments"] - 1
    with contextlib.closing(Raw(stores.folder / "paced.duckdb")) as raw, _grouped(raw) as insert:
        found["duckdb"] = paced(insert, base, seconds)
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)):
        report.numbers(
            f"commit at 20,000 events/s, {name}, ms",
            {store: percentile(values, share) for store, values in found.items()}, "{:,.2f}",
        )  # fmt: skip
    report.notes.append(f"commit: {seconds:g} s in groups of {_PACED}, {rotations} rotations; DuckDB with its own checkpoints")
    shutil.rmtree(stores.folder / "paced.playhead")
    (stores.folder / "paced.duckdb").unlink()


@contextlib.contextmanager
def _grouped(raw: Raw) -> Iterator[Append]:
    """A way to append to DuckDB from a thread that commits all that waits together, as the recording does."""
    waiting: queue.SimpleQueue[tuple[list[NewEvent], Callable[[], None]] | None] = queue.SimpleQueue()

    def work() -> None:
        while (one := waiting.get()) is not None:
            group = [one]
            while not waiting.empty():
                if (more := waiting.get()) is None:
                    return
                group.append(more)
            raw.append(to_arrow(_stored([event for events, _ in group for event in events], 1)))
            for _, told in group:
                told()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield lambda events, told: waiting.put((events, told))
    finally:
        waiting.put(None)
        thread.join()


def paced(append: Append, base: list[NewEvent], seconds: float) -> list[float]:
    """Milliseconds of each group, counted from when it was due, so that waiting for another counts too."""
    found: list[float] = []
    groups = int(seconds / _PACE_S)
    a_turn = len(base) // _PACED
    gc.collect()
    gc.freeze()  # ``base`` is the measuring's own: no collection has to go through it
    begun = time.perf_counter() + 0.1
    for n in range(groups):
        turn, place = divmod(n, a_turn)
        events = _fresh(base[place * _PACED : (place + 1) * _PACED], turn)
        due = begun + n * _PACE_S
        if (pause := due - time.perf_counter()) > 0:
            time.sleep(pause)
        append(events, lambda due=due: found.append((time.perf_counter() - due) * 1000))
    end = time.monotonic() + 60
    while len(found) < groups and time.monotonic() < end:
        time.sleep(0.01)
    gc.unfreeze()
    assert len(found) == groups, "not all was committed"
    return found


def drop(stores: Stores, report: Report) -> None:
    """Delete the oldest tenth by time, while a group of ten is appended each 10 ms."""
    data = stores.data
    than = data.time_at(data.events // 10 + 1)
    expected = data.ask("SELECT count(*) FROM source WHERE timestamp < ?", than)[0][0]
    ten = data.rows(data.events - 9, data.events)
    freed: dict[str, float] = {}
    took: dict[str, float] = {}
    longest: dict[str, float] = {}

    before = stores.settle()
    with stores.recording() as recording:
        took["playhead"], longest["playhead"] = meanwhile(
            lambda: recording.append(_fresh(ten)), lambda: recording.delete_older(than.replace(tzinfo=UTC)), expected
        )
        assert not recording.read(where=Filter.make(until=than.replace(tzinfo=UTC)), limit=1), "something is left"
    freed["playhead"] = before - stores.settle()

    before = stores.raw_path.stat().st_size
    with stores.raw() as raw:
        took["duckdb"], longest["duckdb"] = meanwhile(
            lambda: raw.append(to_arrow(_stored(_fresh(ten), 1))),
            lambda: raw.run("DELETE FROM events WHERE timestamp < ?", [than])[0][0], expected,
        )  # fmt: skip
    freed["duckdb"] = before - stores.raw_path.stat().st_size

    if stores.postgres is not None:
        before = stores.postgres.bytes()
        with contextlib.closing(Postgres(stores.postgres.target)) as other:
            delete = partial(stores.postgres.db.execute, "DELETE FROM events WHERE timestamp < %s", [than.replace(tzinfo=UTC)])
            took["postgres"], longest["postgres"] = meanwhile(
                lambda: other.insert(_fresh(ten)), lambda: delete().rowcount, expected
            )
        stores.postgres.db.execute("VACUUM events")
        freed["postgres"] = before - stores.postgres.bytes()
    report.numbers(f"dropping the oldest {expected:,}, ms", took)
    report.numbers("  longest commit meanwhile, ms", longest, "{:,.2f}")
    report.text("  given back, bytes an event dropped", *(
        f"{freed[name] / expected:,.1f}" if name in freed else "" for name in ("playhead", "duckdb", "postgres")
    ))  # fmt: skip


def _fresh(events: list[NewEvent], turn: int = 0) -> list[NewEvent]:
    """The same as others, which no store has; of other executions and jobs each turn."""
    mark = f"{turn:04x}"
    return [
        NewEvent(
            uuid7(), old.type, old.timestamp, f"{old.execution_id}{mark}", f"{old.batch_id}{mark}", f"{old.job_id}{mark}",
            old.organization_id, old.data,
        )
        for old in events
    ]


def meanwhile(append: Callable[[], object], work: Callable[[], object], expected: object) -> tuple[float, float]:
    """Milliseconds of ``work``, which gives ``expected``, and of the longest append that overlapped it."""
    found: list[tuple[float, float]] = []
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.wait(0.01):
            begun = time.perf_counter()
            append()
            found.append((begun, time.perf_counter()))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        time.sleep(0.5)
        begun = time.perf_counter()
        answer = work()
        ended = time.perf_counter()
        time.sleep(_AFTER_S)
    finally:
        is_over.set()
        thread.join()
    assert answer == expected, f"{answer} deleted, not {expected}"
    near = [stop - start for start, stop in found if stop >= begun and start <= ended + _AFTER_S]
    return (ended - begun) * 1000, max(near) * 1000


