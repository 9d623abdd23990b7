"""
The Standard Workload Format, version 2.2, of the Parallel Workloads Archive (Feitelson; cs.huji.ac.il/labs/parallel/workload).

    ; Computer: IBM SP2
    ; UnixStartTime: 867758400
    1  0  30  600  16  590  2048  16  900  -1  1  5  2  12  0  -1  -1  -1

A line is a job, 18 numbers; -1 is *not known*. ``executionId`` is the header's Computer or else the file's name, ``jobId`` the
job's number, ``batchId`` ``queue-<n>``, else ``partition-<n>``. Times count from the header's UnixStartTime, an instant in UTC,
so that no time zone of the header matters; from 1970 in a file that has none, as models have not.

- ``job_queued`` at its submit time, ``job_started`` when it has waited, its end when it has run: completed for status 1, failed
  for 0, cancelled for 5. A status that is not known, as in a model, is completed, and ``data.status`` says unknown.
- No wait is known: it starts when it is submitted. No run time is known, or it was cancelled with neither run time nor
  processors: it never starts, so that it has no duration, and its end is when it has waited. With no status either it
  stays queued.
- A job of several partial executions (status 2 to 4, lines of one number in a row) starts with the first of them and ends with
  the last, and is ``swf_suspended`` and ``swf_resumed`` between. Status 3 completes it, 4 fails it. A line of the whole job
  before them gives all else, but not the times.

Events come out in order of time, those of the same time in the order of the file. As long as submit times ascend, only those
of jobs that have not ended are held; otherwise all of them. Other header lines, further fields, negative numbers that are not
-1, and jobs without a submit time are counted as unmapped.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import inf, isfinite
from typing import NamedTuple

from playhead.files.source import Fields, Rows, Source, lines

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# of a line, in its order
_FIELDS = (
    "job", "submit", "wait", "run", "processors", "cpuTimePerProcessorS", "memoryPerProcessorKb", "requestedProcessors",
    "requestedTimeS", "requestedMemoryPerProcessorKb", "status", "user", "group", "executable", "queue", "partition",
    "precedingJob", "thinkTimeS",
)  # fmt: skip
_ASKED = (*_FIELDS[7:10], *_FIELDS[11:])  # known when it is submitted
_USED = _FIELDS[4:7]  # known when it has ended
_ENDS: dict[float | None, str] = {
    0: "job_failed", 1: "job_completed", 3: "job_completed", 4: "job_failed", 5: "job_cancelled", None: "job_completed",
}  # fmt: skip
_PARTIAL = (2, 3, 4)
_WANTED = "write a number, or -1 for what is not known"
_Number = int | float


class _Line(NamedTuple):
    """A line of a job: where it stands, and what is known of it by `_FIELDS`."""

    number: int
    known: dict[str, _Number]

    def data(self, names: tuple[str, ...]) -> Fields:
        return {name: self.known[name] for name in names if name in self.known}


class _Step(NamedTuple):
    """Something that happens to a job, so many seconds after the log begins."""

    at: _Number
    type: str
    line: _Line
    data: Fields


def rows(source: Source) -> Rows:
    """The events of a workload log, in order of time."""
    header, ascends = _survey(source)
    execution = header.pop("Computer", "") or source.stem
    began = _began(source, header.pop("UnixStartTime", "0"))
    source.unmapped.update(f"header {name}" for name in header)
    # by time, then by place, so that an entry is never compared by its fields
    waiting: list[tuple[_Number, int, int, str, Fields]] = []
    for steps in _jobs(source):
        submit = steps[0].at
        while ascends and waiting and waiting[0][0] <= submit:
            yield heapq.heappop(waiting)[3:]
        known = steps[0].line.known
        batch = next((f"{name}-{known[name]}" for name in ("queue", "partition") if name in known), None)
        for place, (at, kind, line, data) in enumerate(steps):
            where = f"line {line.number}"
            try:
                moment = began + timedelta(seconds=at)
            except OverflowError:
                raise source.refusal(where, f"{at:g} s after the log begins is after the year 9999") from None
            ids = {"executionId": execution, "batchId": batch, "jobId": str(known["job"])}
            fields = {"type": kind, "timestamp": moment, **ids, "data": data}
            heapq.heappush(waiting, (at, steps[0].line.number, place, where, fields))
    while waiting:
        yield heapq.heappop(waiting)[3:]


def _survey(source: Source) -> tuple[dict[str, str], bool]:
    """What the header says, and whether submit times ascend, which is to be known before the first event goes out."""
    header: dict[str, str] = {}
    last, ascends = -inf, True
    for _, line in lines(source):
        text = line.decode(errors="replace").strip()
        if text.startswith(";"):
            name, colon, value = text.lstrip("; \t").partition(":")
            if colon and name and not any(map(str.isspace, name)):
                header.setdefault(name, value.strip())
            continue
        try:
            submit = float(text.split(None, 2)[1])
        except (IndexError, ValueError):
            continue  # what is wrong with it is said when it is read
        if submit >= 0:
            ascends, last = ascends and submit >= last, submit
    return header, ascends


def _began(source: Source, text: str) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=float(text.split()[0]))
    except (IndexError, ValueError, OverflowError):
        wanted = "write seconds since 1970 in UTC, or leave it out to count from 1970"
        raise source.refusal("header", f"UnixStartTime {text!r} is no time; {wanted}") from None


def _jobs(source: Source) -> Iterator[list[_Step]]:
    """What happens to each job, in the order of the file."""
    texts = ((number, line.decode(errors="replace").strip()) for number, line in lines(source))
    read = (_Line(number, _known(source, f"line {number}", text.split())) for number, text in texts if text[:1] != ";")
    for _, group in groupby(read, lambda line: line.known["job"]):
        whole: _Line | None = None
        parts: list[_Line] = []
        for line in group:
            if line.known.get("status") in _PARTIAL:
                parts.append(line)
                continue
            yield from _job(source, whole, parts)
            whole, parts = line, []
        yield from _job(source, whole, parts)


def _job(source: Source, whole: _Line | None, parts: list[_Line]) -> Iterator[list[_Step]]:
    line = whole or (parts[0] if parts else None)
    if line is None:
        return
    submit = line.known.get("submit")
    if submit is None:
        source.unmapped["job without a submit time"] += 1
        return
    steps = [_Step(submit, "job_queued", line, line.data(_ASKED))]
    yield steps + (_partial_runs(submit, whole, parts) if parts else _run(submit, line))


def _run(submit: _Number, line: _Line) -> list[_Step]:
    known = line.known
    status, run = known.get("status"), known.get("run")
    began = submit + known.get("wait", 0)
    kind = _ENDS[status]
    used = line.data(_USED) | ({} if status is not None else {"status": "unknown"})
    if run is None or (status == 5 and run == 0 and not known.get("processors")):
        return [] if status is None else [_Step(began, kind, line, used)]
    return [_Step(began, "job_started", line, line.data(("processors",))), _Step(began + run, kind, line, used)]


def _partial_runs(submit: _Number, whole: _Line | None, parts: list[_Line]) -> list[_Step]:
    steps: list[_Step] = []
    at = submit
    for part in parts:
        at = part.known.get("submit", at) + part.known.get("wait", 0)
        steps.append(_Step(at, "swf_resumed" if steps else "job_started", part, part.data(("processors",))))
        at += part.known.get("run", 0)
        steps.append(_Step(at, "swf_suspended", part, {}))
    last = parts[-1]
    status = last.known["status"]
    if status == 2 and whole is not None:  # the whole knows how it went
        status = whole.known.get("status", 2)
    if status != 2:
        steps[-1] = _Step(at, _ENDS[status], last, (whole or last).data(_USED))
    return steps


def _known(source: Source, where: str, words: list[str]) -> dict[str, _Number]:
    """What a line says, checked."""
    if len(words) < len(_FIELDS):
        raise source.refusal(where, f"has {len(words)} fields, not {len(_FIELDS)}; write -1 for what is not known")
    known: dict[str, _Number] = {}
    for place, word in enumerate(words):
        if place >= len(_FIELDS):
            source.unmapped[f"field {place + 1}"] += 1
            continue
        name = _FIELDS[place]
        try:
            value: _Number = int(word) if word.lstrip("+-").isdecimal() else float(word)
            is_number = isfinite(value)
        except (ValueError, OverflowError):  # the latter of a number that no float holds
            is_number = False
        if not is_number:
            raise source.refusal(where, f"field {place + 1} ({name}) is {word[:80]!r}; {_WANTED}")
        if value >= 0:
            known[name] = value
        elif value != -1:
            source.unmapped[f"negative {name}"] += 1
    if type(known.get("job")) is not int:
        raise source.refusal(where, f"field 1 (job) is {words[0][:80]!r}; write the job's number")
    if known.get("status") not in (None, 2, *_ENDS):
        raise source.refusal(where, f"field 11 (status) is {words[10][:80]!r}; write 0 to 5, or -1 for what is not known")
    return known
