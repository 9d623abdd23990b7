"""Validating many events at once says what validating each says."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.errors import InvalidEvent
from playhead.events import NewEvent, new_event, uuid7, uuid7s
from playhead.intake import new_events
from playhead.times import parse_time, parse_times, time_text

TIME = "2026-11-23T18:00:00.123456Z"


class Text(enum.StrEnum):
    """A string that is not only that."""

    A = "a"


def usual(n: int) -> dict[str, Any]:
    data = {"siteUrl": "x", "n": n, "f": n / 4, "more": None, "is": True}
    return {"id": uuid7(), "type": "job_log", "timestamp": TIME, "jobId": f"j{n}", "batchId": None, "seq": n, "data": data}


ODD: list[Any] = [
    {}, {"type": None}, {"type": "A"}, {"type": Text.A}, {"type": "a.new_type"}, {"type": "a", "x": 1}, {"type": "a", 3: 1},
    {"type": "a", "job_id": "snake", "createdAt": 3}, {"type": "a", "jobId": ""}, {"type": "a", "jobId": "é" * 257},
    {"type": "a", "jobId": "é" * 256}, {"type": "a", "batchId": "\ud800"}, {"type": "a", "executionId": 7},
    {"type": "a", "organizationId": Text.A}, {"type": "a", "id": "x"}, {"type": "a", "id": uuid.UUID(int=7)},
    {"type": "a", "id": str(uuid.UUID(int=2**128 - 1)).upper()}, {"type": "a", "id": "é" * 36}, {"type": "a", "id": [1]},
    {"type": "a", "timestamp": "2026-13-23T18:00:00.123456Z"}, {"type": "a", "timestamp": "1899-12-31T23:59:59.999999Z"},
    {"type": "a", "timestamp": "2026-11-23T18:00:00.123456"}, {"type": "a", "timestamp": "2026-11-23T18:00:00,123456Z"},
    {"type": "a", "timestamp": "2026-11-23T18:00:00.12345678901Z"}, {"type": "a", "timestamp": "2026-11-23T18:00:00.1+02:00"},
    {"type": "a", "timestamp": datetime(2026, 1, 1)}, {"type": "a", "timestamp": datetime(2026, 1, 1, tzinfo=UTC)},
    {"type": "a", "timestamp": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))}, {"type": "a", "timestamp": 7},
    {"type": "a", "data": []}, {"type": "a", "data": {"a": float("nan")}}, {"type": "a", "data": {"a": [float("inf")]}},
    {"type": "a", "data": {"a": "\ud800"}}, {"type": "a", "data": {"\ud800": 1}}, {"type": "a", "data": {1: 2}},
    {"type": "a", "data": {"a": 2**64}}, {"type": "a", "data": {"a": 2**64 - 1}}, {"type": "a", "data": {"a": Text.A}},
    {"type": "a", "data": {Text.A: 1}}, {"type": "a", "data": {"a": (1, datetime(2026, 1, 1, tzinfo=UTC))}},
    {"type": "a", "data": {"a": "x" * 65_528}}, {"type": "a", "data": {"a": "x" * 65_529}},
    {"type": "a", "data": {"a": object()}},
    {"type": "a", "data": {"a": {"b": [1, {"c": None}]}}}, {"type": "a", "data": {str(n): n for n in range(100)}},
    NewEvent(uuid7(), "a", datetime(2026, 1, 1, tzinfo=UTC), None, None, None, None, {}), [], "x", None,
]  # fmt: skip
DEEP: Any = {}
for _ in range(62):
    DEEP = {"a": DEEP}
ODD += [{"type": "a", "data": {"a": DEEP}}, {"type": "a", "data": {"a": {"a": DEEP}}}]
ODD += [{"type": "a", "data": {"a": {"a": DEEP | {"b": 1}}}}]


def said_of(work: Callable[[], list[NewEvent]], given_ids: list[bool]) -> object:
    """The events, without what is made anew each time, or the error."""
    try:
        made = work()
    except InvalidEvent as error:
        return str(error), error.index, error.field
    return [
        (repr(one.data), type(one.type), one.type, one.execution_id, one.batch_id, one.job_id, one.organization_id,
         one.fresh_id, *((one.id, repr(one.timestamp)) if is_given else ()))
        for one, is_given in zip(made, given_ids, strict=True)
    ]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 12), st.lists(st.tuples(st.integers(0, 12), st.sampled_from(ODD)), max_size=2))
def test_many_are_validated_as_each_is(count: int, odd: list[tuple[int, Any]]) -> None:
    """The same events, or the same error of the same event, whatever is among them."""
    events: list[Any] = [usual(n) for n in range(count)]
    for place, one in odd:
        events.insert(place, one)
    fixed = [isinstance(one, dict) and {"id", "timestamp"} <= one.keys() for one in events]
    one_by_one = said_of(lambda: [new_event(one, index) for index, one in enumerate(events)], fixed)
    assert said_of(lambda: new_events(events), fixed) == one_by_one


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_a_group_of_one_odd_kind(odd: Any) -> None:
    """Also where all are unusual in the same way."""
    events = [odd] * 10
    fixed = [isinstance(odd, dict) and {"id", "timestamp"} <= odd.keys()] * 10
    one_by_one = said_of(lambda: [new_event(one, index) for index, one in enumerate(events)], fixed)
    assert said_of(lambda: new_events(events), fixed) == one_by_one


def test_what_is_published_is_a_copy() -> None:
    """Changing it afterwards changes no event; what a group lacks is made for each."""
    events: list[dict[str, Any]] = [{"type": "job_log", "data": {"n": n}} for n in range(20)]
    made = new_events(events)
    events[3]["data"]["n"] = "changed"
    assert [one.data["n"] for one in made] == list(range(20))
    assert len({one.id for one in made}) == 20 and all(one.fresh_id for one in made)
    assert all(one.timestamp.tzinfo is UTC for one in made)


def test_ids_ascend_in_groups_too() -> None:
    """uuid7 and uuid7s draw on one clock."""
    found = [uuid7(), *uuid7s(100), uuid7(), *uuid7s(100), uuid7()]
    assert found == sorted(set(found))


@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2261, 12, 31)), min_size=1, max_size=5))
def test_times_are_read_as_they_are_written(moments: list[datetime]) -> None:
    """One by one and together."""
    zoned = [moment.replace(tzinfo=UTC) for moment in moments]
    texts = [time_text(moment) for moment in zoned]
    assert parse_times(texts) == [parse_time(text) for text in texts] == zoned
