"""What tests of recordings share: events, every way to ask at once, processes to kill, files to harm."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import duckdb

from playhead.events import Event
from playhead.recording import Recording
from tests.test_history import rows_of

TYPES = ("job_queued", "job_started", "job_progress", "job_progress", "job_completed", "job_failed")


def some(count: int, start: int = 0, **fields: object) -> list[dict[str, object]]:
    return [
        {"type": TYPES[n % 6], "jobId": f"j{n // 7}", "executionId": f"e{n % 3}", "data": {"n": n}, **fields}
        for n in range(start, start + count)
    ]


def archived(recording: Recording) -> Recording:
    """Everything but the newest segment is Parquet."""
    recording._rotate()
    recording._archive_after_s = -60.0
    recording.sweep()
    settled(recording)
    return recording


def settled(recording: Recording) -> None:
    assert recording._upkeep is not None
    recording._upkeep.wait()


def seqs(recording: Recording) -> list[int]:
    found: list[int] = recording.arrow().read_all()["seq"].to_pylist()
    return found


def check(recording: Recording, expected: list[int]) -> list[Event]:
    """Every way to ask agrees on which events there are."""
    log = recording.read(limit=None)
    assert [event.seq for event in log] == expected == seqs(recording)
    assert recording.count() == len(expected)
    rows = [row for row in rows_of(log) if row["state"] in ("queued", "running")]
    assert recording.executions(states=["running", "queued"]).to_pylist() == rows
    return log


def files_of(path: Path) -> list[tuple[str, int, int]]:
    return sorted((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in [path, *path.rglob("*")])


def run(code: str, *given: object) -> str:
    """What a script prints, in its own process; numbered ``given`` are its arguments."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, given)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.stdout


def three(path: Path, is_archive: bool) -> list[Path]:
    """A recording of three full segments and the newest; their files."""
    with Recording.open(path, segment_events=3000) as recording:
        for n in range(10):
            recording.append(some(1000, n * 1000, id=None, data={"x": os.urandom(50).hex()}))
        if is_archive:
            archived(recording)
        settled(recording)
    return sorted((path / "archive").iterdir()) if is_archive else sorted((path / "segments").glob("*.duckdb"))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size * 2 // 3)


def as_format_1(path: Path) -> None:
    """Make the directory what format 1 wrote: no catalogue, no archive, every segment as it was appended."""
    about = json.loads((path / "recording.json").read_text())
    (path / "recording.json").write_text(json.dumps(about | {"format": 1}) + "\n")
    (path / "segments.json").unlink()
    shutil.rmtree(path / "archive")
    for file in list((path / "segments").glob("*.*")):
        if file.suffix == ".duckdb":
            with duckdb.connect() as db:
                db.execute(f"ATTACH '{file}' AS now (READ_ONLY); ATTACH '{path / 'old'}' AS old")
                db.execute("CREATE TABLE old.events AS SELECT * FROM now.events ORDER BY seq; CHECKPOINT old")
            (path / "old").rename(file.with_name(f"{file.name[:18]}.duckdb"))
        if file.suffix != ".duckdb" or "-" in file.name:
            file.unlink()


_NURSERY = """
import os, random, sys
from playhead.recording import Recording, tail

def live(path, seed):
    choose = random.Random(seed)
    tail._SOON_S = choose.choice([0.002, 0.02, 0.2])  # much or little is in the journal alone
    recording = Recording.open(path, segment_events=200)
    types = ("job_started", "job_progress", "job_progress", "job_completed", "job_failed", "note")
    while True:
        last = recording.append(
            [{"type": choose.choice(types), "jobId": f"j{choose.randrange(90)}", "executionId": "e", "data": {"x": "y" * 50}}
             for _ in range(choose.randint(1, 80))])[1]
        os.write(1, b"%d\\n" % last)
        if not choose.randrange(4):
            recording._archive_after_s = -60.0
            recording.sweep()

for line in iter(sys.stdin.readline, ""):
    path, seed = line.split()
    if not (child := os.fork()):
        try:
            live(path, seed)
        finally:
            os._exit(1)
    print("child", child, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextlib.contextmanager
def nursery() -> Iterator[tuple[IO[str], IO[str]]]:
    """A process that has imported everything, to have children of it killed."""
    with subprocess.Popen([sys.executable, "-c", _NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        assert it.stdin is not None and it.stdout is not None
        yield it.stdin, it.stdout
        it.stdin.close()


def killed(nursery: tuple[IO[str], IO[str]], path: Path, seed: int, after_s: float) -> int:
    """Have a process append to a recording and end it; the last seq that it was told."""
    ask, answer = nursery
    ask.write(f"{path} {seed}\n")
    ask.flush()
    child = int(answer.readline().removeprefix("child "))
    time.sleep(after_s)  # the moment of the kill is what varies
    os.kill(child, signal.SIGKILL)
    told = 0
    while not (line := answer.readline()).startswith("ended"):
        told = int(line)
    assert line == f"ended {-signal.SIGKILL}\n"
    return told
