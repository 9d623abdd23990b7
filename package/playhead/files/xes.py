"""
XES, the event logs of process mining (IEEE 1849-2016).

    <log><string key="concept:name" value="night"/>
      <trace><string key="concept:name" value="case 7"/>
        <event><string key="concept:name" value="Register"/><string key="lifecycle:transition" value="start"/>
          <date key="time:timestamp" value="2026-11-23T18:00:00.000+01:00"/></event></trace></log>

A trace is a job: ``executionId`` is the log's concept:name or else the file's name, ``jobId`` the trace's concept:name or else
``trace-<n>``, ``batchId`` its ``batch``, as `playhead.frames.event_log` calls it. ``currentStep`` is an event's concept:name,
``siteName`` its org:resource. One event makes one event, by its place in its trace in order of time:

- schedule, assign and reassign before anything else are ``job_queued``; the first other one is ``job_started``;
- the last one ends the job: cancelled by pi_abort and withdraw, failed by ate_abort, else completed. But schedule, assign,
  reassign, start, suspend, resume and unknown say that more is to come: then the job has no end, as the log has none;
- all others are ``job_progress``: a trace has one life, that of its activities stays in ``data["lifecycle:transition"]``.
  A trace of a single event has an end and no start, or a start and no end.

Other attributes go to ``data`` by their keys, those of the trace to its first event as ``case:<key>``: dates as RFC 3339 text
in UTC, numbers and booleans as such where they are ones, else as their text. A time without a zone is UTC. Events come out in
order of time over all traces, so all are held. Counted as unmapped: events without a time or outside a trace, lists and
containers, attributes inside attributes, attributes without key or value, other attributes of the log, its extensions,
globals and classifiers.

The file is streamed. A DTD is refused, so there are no entities to expand and none that are fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from math import isfinite
from operator import itemgetter
from typing import IO, Any
from xml.etree.ElementTree import Element, ParseError, iterparse
from xml.parsers import expat

from playhead.files.source import Fields, Rows, Source, opened
from playhead.times import parse_time, time_text

_PIECE = 64  # bytes read at a time until the root: what follows a DTD's beginning is parsed before it can be refused
# bytes of a text or a tag, and of what is before the root: older expats begin with such again at each piece
_LONGEST, _PROLOG = 2**20, 2**16
_DEEPEST = 100
_QUEUES = ("schedule", "assign", "reassign")
_GOES_ON = (*_QUEUES, "start", "suspend", "resume", "unknown")
_ABORTS = {"ate_abort": "job_failed", "pi_abort": "job_cancelled", "withdraw": "job_cancelled"}
_NAME, _WHEN, _RESOURCE, _TRANSITION = "concept:name", "time:timestamp", "org:resource", "lifecycle:transition"
_KINDS = ("string", "date", "int", "float", "boolean", "id")
_Found = tuple[datetime, str, Fields]  # an event: its time, its place, its fields


def rows(source: Source) -> Rows:
    """The events of an XES log, in order of time."""
    log: Fields = {}
    found: list[_Found] = []
    with opened(source) as file:
        _refuse_dtd(source, file)
    with opened(source) as file:
        try:
            for number, (case, events) in enumerate(_traces(source, _steps(source, file), log), 1):
                found += _job(f"trace-{number}", case, events)
        except ParseError as error:
            raise source.refusal(f"line {error.position[0]}", f"not XML: {error}") from None
    execution = _text(log.pop(_NAME, None)) or source.stem
    source.unmapped.update(f"log attribute {key}" for key in log)
    found.sort(key=itemgetter(0))  # stable: at the same time, in the order of the traces
    for _, where, fields in found:
        yield where, fields | {"executionId": execution}


def _refuse_dtd(source: Source, file: Any) -> None:
    """Read up to the root element with nothing but the parser, as what is declared stands before it."""
    parser = expat.ParserCreate()
    seen: list[tuple[int, str]] = []
    parser.StartDoctypeDeclHandler = lambda *_: seen.append((parser.CurrentLineNumber, "!DOCTYPE"))
    parser.StartElementHandler = lambda name, _: seen.append((parser.CurrentLineNumber, name))
    try:
        watched = _Watched(source, file, _PROLOG)
        while not seen and (piece := watched.read(_PIECE)):
            parser.Parse(piece)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two of an encoding that is unknown, or not of bytes
        raise source.refusal(f"line {parser.CurrentLineNumber}", f"not XML: {error}") from None
    if not seen:
        return  # what is read next says what is wrong
    line, name = seen[0]
    if name == "!DOCTYPE":
        raise source.refusal(f"line {line}", "a DTD can declare entities, which are not read; take <!DOCTYPE …> out")
    if name.rpartition(":")[2] != "log":
        raise source.refusal(f"line {line}", f"the root is <{name}>, not the <log> of XES")


class _Watched:
    """The file, as long as the parser makes something of it: what is one text or tag, it holds until it ends."""

    def __init__(self, source: Source, file: IO[bytes], most: int) -> None:
        self._source, self._file, self._most, self.vain = source, file, most, 0

    def read(self, size: int = -1, /) -> bytes:
        self.vain += size
        if self.vain > self._most:
            what = "a text or a tag" if self._most == _LONGEST else "what is before its root"
            raise self._source.refusal(what, f"has over {self._most:,} bytes")
        return self._file.read(size)


def _steps(source: Source, file: IO[bytes]) -> Iterator[tuple[str, Element]]:
    watched = _Watched(source, file, _LONGEST)
    for step in iterparse(watched, ("start", "end")):
        watched.vain = 0
        yield step


def _traces(source: Source, parsed: Iterator[tuple[str, Element]], log: Fields) -> Iterator[tuple[Fields, list[_Found]]]:
    """Each trace's attributes and events in order of time; ``log`` is given the log's. What was read is let go of."""
    path: list[Element] = []
    events: list[_Found] = []
    traces = place = 0
    for what, element in parsed:
        if what == "start":
            path.append(element)
            if len(path) > _DEEPEST:
                raise source.refusal(f"trace {traces}", f"has elements inside elements, over {_DEEPEST} deep")
            if len(path) == 2 and _tag(element) == "trace":
                traces, place, events = traces + 1, 0, []
            continue
        path.pop()
        tag, depth = _tag(element), len(path)
        if depth == 2 and tag == "event" and _tag(path[1]) == "trace":
            place += 1
            where = f"trace {traces}, event {place}"
            attributes = _attributes(source, element)
            if _WHEN in attributes:
                events.append((_moment(source, where, attributes.pop(_WHEN)), where, attributes))
            else:
                source.unmapped["event without a time"] += 1
            element.clear()
        elif depth == 1:
            if tag == "trace":
                yield _attributes(source, element), sorted(events, key=itemgetter(0))
            elif tag in (*_KINDS, "list", "container"):
                log |= _attributes(source, [element])
            else:
                source.unmapped["event outside a trace" if tag == "event" else tag] += 1
            path[0].clear()


def _job(unnamed: str, case: Fields, events: list[_Found]) -> Iterator[_Found]:
    """A trace's events as those of a job, but for the log's name."""
    ids = {"jobId": _text(case.pop(_NAME, None)) or unnamed, "batchId": _text(case.pop("batch", None))}
    about = {f"case:{key}": value for key, value in case.items()}
    has_begun = False
    for place, (moment, where, attributes) in enumerate(events):
        transition = (_text(attributes.get(_TRANSITION)) or "").lower()
        if place == len(events) - 1 and transition not in _GOES_ON:
            kind = _ABORTS.get(transition, "job_completed")
        elif has_begun:
            kind = "job_progress"
        else:
            kind = "job_queued" if transition in _QUEUES else "job_started"
        has_begun = has_begun or kind != "job_queued"
        known = {"currentStep": _text(attributes.pop(_NAME, None)), "siteName": _text(attributes.pop(_RESOURCE, None))}
        data = (about if place == 0 else {}) | attributes | {key: value for key, value in known.items() if value}
        yield moment, where, {"type": kind, "timestamp": moment, **ids, "data": data}


def _attributes(source: Source, children: Iterable[Element]) -> Fields:
    """The attributes among what is in a log, a trace or an event, by their keys."""
    found: Fields = {}
    for child in children:
        tag, key, value = _tag(child), child.get("key"), child.get("value")
        if tag == "event":
            continue
        if tag not in _KINDS:  # list and container too
            source.unmapped[f"{tag} {key}" if key else tag] += 1
        elif not key or value is None:
            source.unmapped[f"attribute {key} without a value" if key else "attribute without a key"] += 1
        else:
            found[key] = _typed(tag, value)
            if len(child):
                source.unmapped[f"attribute inside {key}"] += len(child)
    return found


def _typed(tag: str, value: str) -> Any:
    try:
        return _TYPES.get(tag, str)(value)
    except (ValueError, KeyError):
        return value


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text.strip())
    return parse_time(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def _int(text: str) -> int:
    if abs(number := int(text)) >= 2**63:  # more than most readers of JSON take
        raise ValueError(text)
    return number


def _float(text: str) -> float:
    if not isfinite(number := float(text)):  # JSON has none
        raise ValueError(text)
    return number


_TYPES: dict[str, Callable[[str], Any]] = {
    "date": lambda text: time_text(_time(text)), "int": _int, "float": _float,
    "boolean": lambda text: {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()],
}  # fmt: skip


def _moment(source: Source, where: str, value: Any) -> datetime:
    """An event's time, whatever the type of its attribute."""
    try:
        return _time(str(value))
    except ValueError:
        wanted = "write it like 2026-11-23T18:00:00.000+01:00"
        raise source.refusal(where, f"{_WHEN} {str(value)[:80]!r} is no time; {wanted}") from None


def _text(value: Any) -> str | None:
    """A value as a name: text that is not empty, or None."""
    return None if value is None or value == "" else str(value)


def _tag(element: Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]
