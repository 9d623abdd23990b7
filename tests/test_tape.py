"""The recording as a page holds it: the rules of `playhead.state` in JavaScript, and the bytes in between."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playhead.columns import to_arrow
from playhead.events import Event
from playhead.state import STATES, Execution, Executions
from playhead.widgets._tape import Tape
from tests.test_state import _EVENTS, _ONE

Ask = Callable[[dict[str, Any]], list[dict[str, Any]]]
_SCRIPT = Path(__file__).parent / "front" / "tell_rows.js"


@pytest.fixture(scope="module")
def page() -> Iterator[Ask]:
    """The page's own code, in node: pieces and positions in, rows at each of them out."""
    node = shutil.which("node")
    assert node is not None, "node is missing: make ready installs it"
    with subprocess.Popen([node, str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask(question: dict[str, Any]) -> list[dict[str, Any]]:
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
            answer: list[dict[str, Any]] = json.loads(stdout.readline() or '"the script has failed"')
            return answer

        yield ask
        stdin.close()


def told(row: Execution, seqs: Sequence[int]) -> dict[str, Any]:
    """A row as the page tells it."""

    def us(moment: Any) -> int | None:
        return None if moment is None else round(moment.timestamp() * 1_000_000)

    return {
        "execution": row.execution_id or "", "job": row.job_id, "batch": row.batch_id or "", "state": STATES.index(row.state),
        "attempt": row.attempt, "progress": row.progress, "step": row.step or "", "url": row.url or "",
        "error": row.error or "", "queued": us(row.queued), "started": us(row.started), "ended": us(row.ended),
        "duration": row.duration_ms,
        "goal": row.goal or "", "siteName": row.site_name or "", "siteUrl": row.site_url or "", "seqs": list(seqs),
    }  # fmt: skip


def wanted(events: Sequence[Event]) -> dict[str, Any]:
    """What the rules in Python make of events."""
    rows = Executions(events).newest()
    seqs: dict[tuple[str | None, str | None], list[int]] = {}
    for event in events:
        seqs.setdefault((event.execution_id, event.job_id), []).insert(0, event.seq)
    first = {pair: numbers[-1] for pair, numbers in seqs.items()}  # a place is taken by the first event of any type
    rows.sort(key=lambda row: first[(row.execution_id, row.job_id)])
    counts = [sum(row.state == state for row in rows) for state in STATES]
    made = [told(row, seqs[(row.execution_id, row.job_id)]) for row in rows]
    return {"rows": made, "counts": counts, "size": len(rows)}


def odd(found: dict[str, Any], expected: dict[str, Any]) -> list[Any]:
    """Where two answers differ."""
    differ = [(name, found[name], expected[name]) for name in ("counts", "size") if found[name] != expected[name]]
    for place, (one, other) in enumerate(zip(found["rows"], expected["rows"], strict=False)):
        differ += [(place, name, one[name], value) for name, value in other.items() if one[name] != value]
    return differ


def text(pieces: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(piece).decode() for piece in pieces]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(_EVENTS, st.lists(st.tuples(st.integers(1, 20), st.sampled_from(["append", "extend", "seal"])), max_size=8), st.data())
def test_a_page_has_the_rows_of_the_rules(page: Ask, events: list[Event], parts: list[tuple[int, str]], data: Any) -> None:
    """
    For random events in random pieces, live or from a table, sealed or not: at random positions each execution's newest
    attempt, field by field, its events, and the counts; and the same of the events of one batch alone.
    """
    tape, live, rest = Tape(), [], events
    for size, how in [*parts, (len(events), "append")]:
        if how == "seal":
            if tape.unsealed:
                tape.seal()
        elif rest:
            part, rest = rest[:size], rest[size:]
            live.append(tape.extend(to_arrow(part)) if how == "extend" else tape.append(part))
    positions = data.draw(st.lists(st.integers(0, len(events)), min_size=1, max_size=5))
    answer = [wanted(events[:position]) for position in positions]
    for pieces in (live, tape.pieces()):
        told_rows = page({"pieces": text(pieces), "positions": positions})
        for position, found, expected in zip(positions, told_rows, answer, strict=True):
            assert (position, odd(found, expected)) == (position, [])
    some = [event for event in events if event.batch_id == "p"]
    asked = {"pieces": text(live), "positions": [len(some)], "batch": "p"}
    if some:  # names are those of the attempt whatever its batch
        found, expected = page(asked)[0], wanted(some)
        for one in (found, expected):
            one["rows"].sort(key=lambda row: (row["execution"], row["job"]))
        assert [differs for differs in odd(found, expected) if differs[1] not in ("goal", "siteName", "siteUrl")] == []


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_ONE, min_size=40, max_size=40), st.lists(st.integers(0, 12_000), min_size=1, max_size=6))
def test_any_position_of_a_long_tape(page: Ask, some: list[Event], positions: list[int]) -> None:
    """Past several keyframes, forwards and backwards, deflated pieces: the rows are those of the events up to there."""
    events = [msgspec.structs.replace(some[n * 7 % 40], seq=n + 1, job_id=f"job {n % 77}") for n in range(12_000)]
    tape = Tape()
    for first in range(0, 12_000, 5_000):
        tape.extend(to_arrow(events[first : first + 5_000]))
    assert tape.sealed[0].startswith(b"zlib")
    told_rows = page({"pieces": text(tape.pieces()), "positions": positions})
    for position, found in zip(positions, told_rows, strict=True):
        expected = wanted(events[:position])
        assert (found["counts"], found["size"]) == (expected["counts"], expected["size"])
        assert [row | {"seqs": None} for row in found["rows"]] == [row | {"seqs": None} for row in expected["rows"]]


def test_far_times_unicode_and_many_types(page: Ask) -> None:
    """Months between two events, times that run backwards, text of any kind, more types than a byte counts."""
    events = [
        msgspec.convert(
            {
                "seq": n + 1, "id": f"00000000-0000-0000-0000-{n:012}", "type": f"kind_{n}" if n % 3 else "job_progress",
                "timestamp": f"20{70 - n % 50:02}-0{1 + n % 9}-01T00:00:00.{n:06}Z",
                "jobId": f"job ☃ {n % 5}",
                "executionId": None, "batchId": None, "organizationId": None,
                "data": {"currentStep": "𝄞" * (n % 4), "message": "ü"}, "createdAt": "2026-01-01T00:00:00Z",
            },
            Event,
        )
        for n in range(900)
    ]  # fmt: skip
    tape = Tape()
    pieces = [tape.extend(to_arrow(events[:500])), tape.append(events[500:])]
    found = page({"pieces": text(pieces), "positions": [700, 900, 3]})
    assert found == [wanted(events[:700]), wanted(events), wanted(events[:3])]
