"""Files that are lost, damaged, of another format or not ours to write: what is left is answered, and what is not is said."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import playhead as ph
from playhead.errors import RecordingDamaged, RecordingInUse, RecordingReadOnly, RecordingTooNew
from playhead.events import Filter
from playhead.recording import Recording
from tests.recordings import archived, as_format_1, check, cut, files_of, killed, nursery, run, seqs, settled, some, three


def flipped(file: Path, place: float = 0.5, count: int = 40) -> None:
    text = bytearray(file.read_bytes())
    middle = int(len(text) * place)
    text[middle : middle + count] = bytes(byte ^ 0xFF for byte in text[middle : middle + count])
    file.write_bytes(text)


HARMS: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "cut": cut,
    "empty": lambda file: os.truncate(file, 0),
    "garbage at its beginning": lambda file: flipped(file, 0.0, 8192),
    "40 bytes flipped": flipped,
}


ASKED: list[Callable[[Recording], object]] = [
    lambda recording: recording.executions(),
    lambda recording: recording.count(Filter.make(job_id="j500")),
    lambda recording: recording.batches(Filter.make(type="job_failed")),
    lambda recording: recording.read(limit=8000),
]


@pytest.mark.parametrize("is_archive", [False, True], ids=["duckdb", "parquet"])
@pytest.mark.parametrize(("harm", "ask"), list(zip(HARMS, [seqs, *ASKED], strict=True)), ids=list(HARMS))
def test_a_segment_that_cannot_be_read_is_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_archive: bool, harm: str, ask: Callable[[Recording], object]
) -> None:
    """It is named, in `missing`, `stats()` and the log; what is left is answered, appended to, and missed when opened again."""
    path = tmp_path / "a.playhead"
    file = three(path, is_archive)[1]
    HARMS[harm](file)
    for opening in range(3):
        left = [*range(1, 3001), *range(6001, 10_001 + opening)]
        with Recording.open(path, segment_events=3000) as recording:
            if opening == 0 and not recording.missing:  # nobody has read it yet
                with pytest.raises(RecordingDamaged, match=rf"events from 3,001 to 6,000: {file.name}"):
                    ask(recording)
            log = check(recording, left)
            assert [(gone.first, gone.last) for gone in recording.missing] == [(3001, 6000)]
            assert "events from 3,001 to 6,000: " in recording.stats()["missing"][0]
            assert "events from 3,001 to 6,000: " in caplog.text
            assert recording.append([log[0], {"type": "a"}]) == (10_001 + opening, 10_001 + opening)
            assert recording.executions(Filter.make(job_id="j0")).num_rows
            caplog.clear()


@pytest.mark.parametrize("harm", HARMS)
def test_numbers_of_a_lost_newest_segment_are_not_given_again(tmp_path: Path, harm: str) -> None:
    """Where the newest segment cannot be read, numbers go on behind all that it can have held; and once only."""
    path = tmp_path / "a.playhead"
    newest = three(path, is_archive=False)[-1]
    HARMS[harm](newest)
    heads = []
    for opening in range(2):
        with Recording.open(path, segment_events=3000) as recording:
            assert [gone.first for gone in recording.missing] == [9001]
            heads.append(recording.append([{"type": "a"}])[0])
            assert seqs(recording)[:9000] == list(range(1, 9001)) and recording.count() == 9001 + opening
            first, last, _ = recording.missing[0]
            assert last is None or first <= last < heads[0]
    assert heads[0] > 10_000 and heads[1] == heads[0] + 1


def test_a_sealed_segment_without_its_log_ends_early(tmp_path: Path) -> None:
    """The log of a segment that was not packed is gone: what it held is missed, not passed over."""
    path = tmp_path / "a.playhead"
    run(
        "import os, sys; from playhead.recording import Recording; import playhead.recording.upkeep as upkeep\n"
        "upkeep.Upkeep._pack = lambda self, segment: None\n"
        "recording = Recording.open(sys.argv[1], segment_events=100)\n"
        "for n in range(3): recording.append([{'type': 'a'}] * 100)\nrecording.count()\n"
        "os.kill(os.getpid(), 9)",
        path,
    )
    (path / "segments" / f"{101:018d}.duckdb.wal").unlink()
    for _ in range(2):
        with Recording.open(path) as recording:
            assert [(gone.first, gone.last) for gone in recording.missing] == [(101, 200)]
            check(recording, [*range(1, 101), *range(201, 301)])


def test_what_is_missing_is_missed_until_later_events_expire(tmp_path: Path) -> None:
    """A damaged file comes back once it is whole again, and goes when later segments expire."""
    path = tmp_path / "a.playhead"
    file = three(path, is_archive=False)[1]
    whole = file.read_bytes()
    flipped(file)
    with Recording.open(path) as recording, contextlib.suppress(RecordingDamaged):  # it may have been noticed by opening
        recording.read(limit=None)
    assert [gone.first for gone in recording.missing] == [3001]
    file.write_bytes(whole)
    with Recording.open(path) as recording:
        assert recording.missing == []
        check(recording, list(range(1, 10_001)))
    flipped(file)
    with Recording.open(path, segment_events=100) as recording:
        with contextlib.suppress(RecordingDamaged):
            recording.read(limit=None)
        recording._segments.drop(recording._segments.all()[:-1], have_expired=True)
        assert recording.missing == [] and not file.exists()
        assert recording.append([{"type": "a"}]) == (10_001, 10_001)


def test_a_locked_or_forbidden_file_is_not_lost(tmp_path: Path) -> None:
    """Another program that has a segment open, a DuckDB shell say, makes nothing count as missing."""
    path = tmp_path / "a.playhead"
    newest = three(path, is_archive=False)[-1]
    code = "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(newest)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdin is not None and other.stdout.readline() == "open\n"
        with pytest.raises(RecordingInUse, match=str(other.pid)):
            Recording.open(path)
        other.stdin.close()
    with Recording.open(path) as recording:
        assert recording.missing == [] and recording.append([{"type": "a"}]) == (10_001, 10_001)


# to read only

_AS_NOBODY = """
import encodings.cp437, os, sys  # what cannot be imported any more as nobody
from playhead.errors import RecordingInUse, RecordingReadOnly
from playhead.recording import Recording
from datetime import UTC, datetime
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    recording = Recording.open(sys.argv[1])
except RecordingInUse as error:
    print(error, flush=True)
    sys.exit()
said = set()
for deed in (lambda: recording.append([{"type": "a"}]), recording.sweep, lambda: recording.delete_older(datetime.now(UTC))):
    try:
        deed()
    except RecordingReadOnly as error:
        said.add(str(error).count("is open to read only"))
log = recording.read(limit=None)
rows = recording.executions(states=["running", "queued"]).num_rows
print(recording.is_read_only, said, log[-1].seq, recording.count(), recording.arrow().read_all().num_rows, rows, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def shelf() -> Iterator[Path]:
    """A place that another user may look into (pytest's is for its owner)."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        for item in [Path(folder), *Path(folder).rglob("*")]:
            item.chmod(0o755)


def nobody(path: Path) -> subprocess.Popen[str]:
    if os.getuid():
        for item in [path, *path.rglob("*")]:
            item.chmod(0o555 if item.is_dir() else 0o444)
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", _AS_NOBODY, str(path)], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("state", ["closed", "killed", "archived", "of format 1"])
def test_where_nothing_can_be_written_it_is_read(shelf: Path, state: str) -> None:
    """By two processes at once, also with a log that was never checkpointed; nothing is written, and writing says why not."""
    path = shelf / "a.playhead"
    with Recording.open(path, segment_events=300) as recording:
        for n in range(0, 1000, 100):
            recording.append(some(100, n))
        if state == "archived":
            archived(recording)
    expected = 1000
    if state == "killed":
        with nursery() as nest:
            while expected == 1000:
                expected = max(expected, killed(nest, path, 3, 0.3))
    elif state == "of format 1":
        as_format_1(path)
    before = files_of(path)
    with nobody(path) as one, nobody(path) as other:
        for reader in (one, other):
            assert reader.stdout is not None and reader.stderr is not None
            line = reader.stdout.readline().split()
            assert line[:2] == ["True", "{1}"], line or reader.stderr.read()
            assert int(line[2]) == int(line[3]) == int(line[4]) >= expected
        for reader in (one, other):
            assert reader.communicate("")[1] == ""
    assert files_of(path) == before
    with Recording.open(path) as recording:
        check(recording, list(range(1, int(line[2]) + 1)))


def test_who_may_only_read_is_told_that_it_is_in_use(shelf: Path) -> None:
    """A writer elsewhere: RecordingInUse and where it is served, also while it archives; nothing counts as missing."""
    path = shelf / "a.playhead"
    with Recording.open(path, url="http://127.0.0.1:8765", segment_events=3000) as recording:
        for n in range(6):
            recording.append(some(1000, n))
        recording._archive_after_s = -60.0
        recording.sweep()
        with nobody(path) as other:
            assert "playhead.connect('http://127.0.0.1:8765')" in other.communicate("")[0]
        with pytest.raises(RecordingInUse):
            Recording.open(path)
        settled(recording)
        check(recording, list(range(1, 6001)))


def test_a_read_only_export_takes_nothing(tmp_path: Path) -> None:
    """An exported file is a recording to read only, and is not written to."""
    path = tmp_path / "a.playhead"
    three(path, is_archive=False)
    with ph.connect(path) as client:
        client.events().to_parquet(tmp_path / "b.parquet")
    before = files_of(tmp_path / "b.parquet")
    with Recording.open(tmp_path / "b.parquet") as copy:
        check(copy, list(range(1, 10_001)))
        for deed in (copy.sweep, lambda: copy.append([{"type": "a"}]), lambda: copy.delete_older(datetime.now(UTC))):
            with pytest.raises(RecordingReadOnly, match="open to read only"):
                deed()  # type: ignore[operator]
    assert files_of(tmp_path / "b.parquet") == before
    cut(tmp_path / "b.parquet")
    with pytest.raises(RecordingDamaged):
        Recording.open(tmp_path / "b.parquet")


# formats


def test_a_recording_of_format_1_is_migrated(tmp_path: Path) -> None:
    """The same events, numbers and epoch; then it is of today's format, its old segment packed."""
    path = tmp_path / "a.playhead"
    with Recording.open(path, segment_events=100) as recording:
        recording.append(some(100))
        recording.append(some(50))
        log, epoch = recording.read(limit=None), recording.epoch
    as_format_1(path)
    for _ in range(2):
        with Recording.open(path) as recording:
            assert (check(recording, list(range(1, 151))), recording.epoch) == (log, epoch)
            assert recording.missing == []
            settled(recording)
        assert json.loads((path / "recording.json").read_text())["format"] == 4
        names = sorted(file.name[15:] for file in (path / "segments").glob("*.duckdb"))
        assert names == ["001-1.duckdb", "101.duckdb"]
        assert [one["first"] for one in json.loads((path / "segments.json").read_text())["segments"]] == [1, 101]


def test_a_recording_of_a_later_format_is_left_alone(tmp_path: Path) -> None:
    """It is refused and nothing in it changes."""
    path = tmp_path / "a.playhead"
    three(path, is_archive=True)
    about = json.loads((path / "recording.json").read_text())
    (path / "recording.json").write_text(json.dumps(about | {"format": 5}))
    before = [one for one in files_of(path) if not one[0].endswith("lock")]
    with pytest.raises(RecordingTooNew):
        Recording.open(path)
    assert [one for one in files_of(path) if not one[0].endswith("lock")] == before
