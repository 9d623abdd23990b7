"""The columns of the log: many events at once give what each gives alone, and all of it comes back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.columns import KNOWN, TABLE, events_of, id_bytes, split, to_arrow
from playhead.events import Event, uuid7

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
percent = st.integers(0, 100)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | floats | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=4
)
near = percent | st.sampled_from([-1, 101, 45.0, 45.5, 100.5, -0.5, 0.0, -0.0, True]) | values
known = st.fixed_dictionaries({}, optional=dict.fromkeys(KNOWN, texts | values) | {"progressPercentage": near})
usual = st.fixed_dictionaries({}, optional=dict.fromkeys(KNOWN, texts) | {"progressPercentage": percent})
datas = st.builds(lambda one, more: {**more, **one}, known | usual, st.dictionaries(texts, values, max_size=2))


def event(seq: int, data: dict[str, Any]) -> Event:
    return Event(seq, uuid7(), "job_log", NOW, None, None, "j", None, data, NOW, NOW)


@settings(deadline=None)
@given(st.lists(datas, max_size=6) | st.lists(usual, max_size=6))
def test_many_are_split_as_each_is(found: list[dict[str, Any]]) -> None:
    """The typed columns and the rest of a group are those of its events one by one."""
    table = to_arrow([event(seq, data) for seq, data in enumerate(found, 1)])
    assert table.schema.names == list(TABLE)
    rows = zip(*(table[name].to_pylist() for name in (*KNOWN.values(), "data")), strict=True)
    assert [repr((row[:-1], row[-1])) for row in rows] == [repr(split(data)) for data in found]


@settings(deadline=None)
@given(st.lists(datas, min_size=1, max_size=6))
def test_what_goes_into_a_table_comes_back(found: list[dict[str, Any]]) -> None:
    """Events are the same after a table of the log, through the types that it has on disk."""
    events = [event(seq, data) for seq, data in enumerate(found, 1)]
    rows = to_arrow(events)  # noqa: F841  (DuckDB reads it by its name)
    with duckdb.connect() as db:
        db.execute(f"CREATE TABLE log ({', '.join(f'{name} {kind}' for name, kind in TABLE.items())})")
        db.execute("INSERT INTO log FROM rows")
        back = events_of(db.sql("SELECT * REPLACE (id::VARCHAR AS id) FROM log ORDER BY seq").to_arrow_table())
    assert [repr(one) for one in back] == [repr(Event(*_fields(one, sort=back[n].data))) for n, one in enumerate(events)]


def _fields(one: Event, sort: dict[str, Any]) -> list[Any]:
    """With ``data`` in the order that it comes back in."""
    assert one.data.keys() == sort.keys()
    found = [getattr(one, name) for name in Event.__struct_fields__]
    found[Event.__struct_fields__.index("data")] = {name: one.data[name] for name in sort}
    return found


@pytest.mark.parametrize("identity", ["x", "0" * 35 + "-", "0" * 35, "g" * 36])
def test_an_id_that_is_no_uuid_is_refused(identity: str) -> None:
    """Also where the lengths of several add up."""
    with pytest.raises(ValueError):
        id_bytes([identity, "0" * 32, "-" * 36])
