"""What nobody should write: whatever is read gives events or an error of ours, in bounded memory."""

from __future__ import annotations

import gzip
import lzma
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

import playhead as ph
from playhead.bodies import MEDIA_TYPES, parse_body, parse_message
from playhead.errors import InvalidCursor, PlayheadError
from playhead.events import Cursor, NewEvent
from playhead.files.reading import Source, read
from playhead.times import duration_s, parse_time, parse_times
from playhead_server import params
from tests.mutations import NASTY, Maker
from tests.test_imports import WHOLE

SEEDS = st.integers(0, 2**32).map(lambda number: Maker(str(number)))
TEXTS = st.text(max_size=40)
VALUES = st.recursive(
    st.one_of(st.sampled_from(NASTY), TEXTS, st.integers(), st.floats(allow_nan=False), st.none()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
EVENTS = SEEDS.map(lambda maker: [maker.bent(maker.event()) for _ in range(maker.chance.choice((1, 2, 9)))])
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".xz": lambda plain: lzma.compress(plain, preset=0), ".zst": zstandard.compress,
}  # fmt: skip


def refused(error: Exception) -> bool:
    """Whether an error is one of ours, with something to say."""
    return isinstance(error, PlayheadError) and 5 < len(str(error)) < 2000


# Bodies, messages, cursors, filters, times


@settings(max_examples=300, deadline=None)
@given(st.one_of(SEEDS.map(lambda maker: maker.body()[0]), st.binary(max_size=60)), st.sampled_from([*MEDIA_TYPES, "", "a/b"]))
def test_any_body_is_events_or_an_error_of_ours(body: bytes, kind: str) -> None:
    """Valid ones with something replaced, and any bytes, as each kind of body."""
    try:
        assert all(isinstance(event, NewEvent) for event in parse_body(body, kind))
    except PlayheadError as error:
        assert refused(error)


@settings(max_examples=200, deadline=None)
@given(VALUES | EVENTS)
def test_any_message_is_events_or_an_error_of_ours(events: object) -> None:
    """What a socket publishes was decoded already, and may be anything."""
    try:
        assert all(isinstance(event, NewEvent) for event in parse_message(events))
    except PlayheadError as error:
        assert refused(error)


@given(TEXTS | st.from_regex(r"[a-zA-Z0-9]{1,40}:\d{1,25}"))
def test_any_cursor_is_one_or_refused(text: str) -> None:
    """What is read is what is written again, but for zeros in front."""
    try:
        assert Cursor.parse(str(Cursor.parse(text))) == Cursor.parse(text)
    except InvalidCursor as error:
        assert refused(error)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*params.FILTERS, "limit", "order"]), TEXTS | st.sampled_from(NASTY).map(str)), max_size=5
    )
)
def test_any_parameters_are_a_filter_or_refused(items: list[tuple[str, str]]) -> None:
    """The same of what a query says and of what a message says."""
    query = QueryParams(items)
    for read_as in (
        lambda: params.filter_of(query, None), lambda: params.number(query, "limit", 1, 0, 9),
        lambda: params.choice(query, "order", ("asc", "desc"), "asc"), lambda: params.known(query, *params.FILTERS),
        lambda: params.filter_of_message(dict(items), "o"),
    ):  # fmt: skip
        try:
            read_as()
        except ValueError as error:
            assert 5 < len(str(error)) < 2000


@settings(max_examples=200, deadline=None)
@given(VALUES | st.dictionaries(st.sampled_from(params.FILTERS), VALUES))
def test_any_filter_of_a_message_is_one_or_refused(given_filter: object) -> None:
    """A filter of any shape."""
    try:
        params.filter_of_message(given_filter, None)
    except ValueError as error:
        assert 5 < len(str(error)) < 2000


@settings(max_examples=300, deadline=None)
@given(
    TEXTS | st.sampled_from(NASTY)
    | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,14}[+-][0-9]{2}:[0-9]{2}", fullmatch=True)
    | st.datetimes(timezones=st.timezones() | st.just(UTC))
)  # fmt: skip
def test_any_time_is_one_or_refused(value: Any) -> None:
    """Times, and durations, at the ends of the calendar too."""
    for parse in (parse_time, lambda one: parse_times([one, one]), lambda one: duration_s(str(one))):
        try:
            parse(value)
        except ValueError as error:
            assert str(error)


def test_a_filter_of_too_many_values_is_refused() -> None:
    """A socket could hold a hundred of them, each as large as a message."""
    with pytest.raises(ValueError, match="it takes 10,000"):
        params.filter_of_message({"jobId": ["j"] * 10_001}, None)


def test_a_long_time_is_refused_at_once() -> None:
    """A megabyte that looks like the beginning of many times costs no more than to be read, and is not said again."""
    begun = time.perf_counter()
    for text in ("00:00" * 200_000, "2026-01-01T00:00:00." + "0" * 10**6, "0" * 10**6 + " 00:00"):
        with pytest.raises(ValueError, match="no RFC 3339 time") as caught:
            params.time_of(text, "since")
        assert len(str(caught.value)) < 300
    assert time.perf_counter() - begun < 1


# Files


def table(rows: list[dict[str, Any]], path: Path) -> None:
    """Rows as Parquet or an Arrow file, by its ending."""
    made = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(made, path)
    else:
        with pa.ipc.new_file(str(path), made.schema) as writer:
            writer.write_table(made)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A file of each kind that can be imported."""
    folder = tmp_path_factory.mktemp("whole")
    found = {kind: text.encode() for kind, text in WHOLE.items()}
    with ph.Recording.open(folder / "a.playhead") as recording:
        recording.append([Maker(str(n)).event() | {"data": {"goal": "=1", "error": "é"}} for n in range(20)])
    with ph.connect(folder / "a.playhead") as client:
        for kind in ("ndjson", "csv", "parquet", "arrow"):
            getattr(client.events(), {"arrow": "to_parquet"}.get(kind, f"to_{kind}"))(folder / f"a.{kind}")
        table(client.events().to_arrow().to_pylist(), folder / "a.arrow")
    return found | {kind: (folder / f"a.{kind}").read_bytes() for kind in ("ndjson", "csv", "parquet", "arrow")}


@settings(max_examples=400, deadline=None)
@given(SEEDS, st.sampled_from(["spark", "swf", "xes", "ndjson", "csv", "parquet", "arrow"]), st.sampled_from(list(PACKERS)))
def test_any_file_is_events_or_refused(wholes: dict[str, bytes], maker: Maker, kind: str, packed: str) -> None:
    """A file of each kind with bytes of it replaced, before it was packed or after; nothing else is ever raised."""
    content = wholes[kind]
    packed = "" if kind in ("parquet", "arrow") else packed
    content = PACKERS[packed](maker.cut(content)) if maker.chance.random() < 0.6 else maker.cut(PACKERS[packed](content))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a.{kind}{packed}")
        path.write_bytes(content)
        try:
            assert all(isinstance(event, NewEvent) for event in read(Source(path, kind, Counter())))
        except ValueError as error:
            assert "nothing was imported" in str(error) and str(path) in str(error)


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"type": "a", "data": 7}, "row 1, field 'data'"),
        ({"type": "a", "data": "[" * 99_999}, "row 1, field 'data'"),
        ({"type": "a", "progress_percentage": "much"}, "no number"),
        ({"type": "a", "site_url": 7}, "no text"),
        ({"type": ["a"]}, "column type: is of type list"),
        ({"type": "a", "data": "x" * 200_000}, "a value has 200,000 bytes"),
        ({"type": "a", "timestamp": timedelta(1)}, "must be RFC 3339"),
        ({"type": "a", "timestamp": datetime(1, 1, 1, tzinfo=UTC)}, "outside the years"),
    ],
)
def test_a_table_of_another_shape_is_refused(tmp_path: Path, row: dict[str, Any], says: str, ending: str) -> None:
    """Columns of other types and values, named."""
    path = tmp_path / f"a{ending}"
    table([row], path)
    with pytest.raises(ValueError, match=re.escape(says)):
        list(read(Source(path, ending[1:], Counter())))


def test_numbers_that_are_no_numbers(tmp_path: Path) -> None:
    """Whole numbers of a thousand digits, and times before the first year, are refused where they stand."""
    for name, text, says in (
        ("a.swf", "1 0 " + "9" * 1000 + " 1" * 15, "field 3 (wait)"),
        ("b.xes", WHOLE["xes"].replace("2026", "0001", 1), "0001"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=re.escape(says)) as caught:
            list(read(Source(tmp_path / name, name[2:], Counter())))
        assert "nothing was imported" in str(caught.value)


READER = """
import resource, sys
from collections import Counter
from pathlib import Path
import pyarrow.csv, pyarrow.parquet
from playhead.files.reading import Source, kind_of, read
def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = most()
for name in sys.argv[1:]:
    try:
        print(Path(name).name, sum(1 for _ in read(Source(Path(name), kind_of(Path(name)), Counter()))))
    except ValueError as error:
        print(Path(name).name, error)
print(most() - before)
"""


def test_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    """What unpacks to hundreds of megabytes is refused with what to do, and never held."""
    size = 2**28
    blank, text = b" " * 2**20, b"a" * 2**20
    many = b'{"type":"a","data":{"a":"%b"}}\n' % (b"x" * 50_000) * 20

    def pack(name: str, first: bytes, piece: bytes, count: int) -> None:
        opener: Any = {"gz": gzip.open, "xz": lzma.open, "zst": zstandard.open}[name.rpartition(".")[2]]
        with opener(tmp_path / name, "wb") as out:
            out.write(first)
            for _ in range(count):
                out.write(piece)

    pack("a.ndjson.gz", b"", text, 48)
    pack("b.ndjson.zst", b"", many, size // len(many))
    pack("c.xes.xz", b"<log>", text, 24)
    pack("d.xes.zst", b"<log><string key='a' value='", text, 24)
    pack("e.csv.gz", b"type\n", text, 8)
    pack("f.swf.zst", b"", blank, 256)
    (tmp_path / "g.xes").write_bytes(b"<log>" + b"<a>" * 10**6)
    (tmp_path / "h.xes").write_bytes(b"<!--" + b"x" * 2**24)
    rows = 30_000
    long = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(['{"a":"' + "x" * 60_000 + '"}']))
    kinds = pa.array(["a"] * rows)
    pyarrow.parquet.write_table(pa.table({"type": kinds[:2000], "data": long[:2000]}), tmp_path / "i.parquet")
    zeros = pa.table({"type": pa.array(["z" * size])})
    pyarrow.parquet.write_table(zeros, tmp_path / "j.parquet", use_dictionary=False, compression="zstd")
    pyarrow.parquet.write_table(pa.table({"type": kinds, "other": pa.array([[0] * 100] * rows)}), tmp_path / "k.parquet")
    names = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run([sys.executable, "-c", READER, *names], capture_output=True, text=True, timeout=60, check=True)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines()[:-1])
    for name, says in {
        "a.ndjson.gz": "line 1: has over 33,554,432 bytes", "b.ndjson.zst": "unpack it first",
        "c.xes.xz": "over 1,048,576 bytes", "d.xes.zst": "over 1,048,576 bytes", "e.csv.gz": "cannot be read as csv",
        "f.swf.zst": "line 1: has over",
        "g.xes": "over 100 deep", "h.xes": "before its root: has over 65,536", "i.parquet": "2000",
        "j.parquet": "250 times its size", "k.parquet": "30000",
    }.items():  # fmt: skip
        assert says in said[name], said[name]
        assert says.isdigit() or "nothing was imported" in said[name]
    assert int(done.stdout.splitlines()[-1]) < 400 * 1024, "kilobytes"
