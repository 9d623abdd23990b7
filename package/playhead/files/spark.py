"""
Event logs of Spark: a line of JSON for each event that its listeners were told.

    {"Event":"SparkListenerTaskStart","Stage ID":0,"Stage Attempt ID":0,"Task Info":{"Task ID":7,"Launch Time":1727966096099,…}}

A task is a job: ``executionId`` is the application's id, ``batchId`` ``stage-<id>.<attempt>``, ``jobId`` ``task-<id>``,
``siteName`` its stage's name. It starts at its launch time. At its finish time it is completed; or cancelled, when it was
killed, or denied to commit, which Spark counts as killed; or failed. A second end, *Resubmitted*, is one more event.

A stage is a batch: ``batch_started`` and ``batch_completed``. Applications, Spark's jobs, executors and SQL queries are events
of types of their own, without a ``jobId``: ``spark_sql_started``. All other events are counted by name as unmapped, and so
are those without a time. Texts keep their first line. Times are instants in UTC, milliseconds.

The events stay in the order of the file. Its last line may be cut off, as it is while Spark still writes it. A log without an
application's id, as a later part of a rolling log, is named by its file: ``events_2_app-1`` belongs to ``app-1``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec

from playhead.files.source import Fields, Rows, Source, lines

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = 2_000  # characters of a text that are kept
_PART = re.compile(r"events_\d+_")
_KILLED = ("TaskKilled", "TaskCommitDenied")  # as Spark's own AppStatusListener counts them


class _Rule(NamedTuple):
    """What a listener event becomes: its type, what it is about, where its time stands, and what goes into ``data`` as what."""

    type: str
    about: Literal["task", "stage", "application"]
    time: str
    data: dict[str, str]


_TASK = {"index": "Task Info/Index", "attempt": "Task Info/Attempt", "executor": "Task Info/Executor ID"}
_STAGE = {"siteName": "Stage Info/Stage Name", "tasks": "Stage Info/Number of Tasks"}
_RULES = {
    "SparkListenerTaskStart": _Rule("job_started", "task", "Task Info/Launch Time", _TASK | {
        "host": "Task Info/Host", "locality": "Task Info/Locality", "speculative": "Task Info/Speculative",
    }),
    "SparkListenerTaskEnd": _Rule("job_completed", "task", "Task Info/Finish Time", _TASK | {
        "runTimeMs": "Task Metrics/Executor Run Time",
        "cpuTimeNs": "Task Metrics/Executor CPU Time",
        "deserializeTimeMs": "Task Metrics/Executor Deserialize Time",
        "gcTimeMs": "Task Metrics/JVM GC Time",
        "resultBytes": "Task Metrics/Result Size",
        "peakMemoryBytes": "Task Metrics/Peak Execution Memory",
        "memoryBytesSpilled": "Task Metrics/Memory Bytes Spilled",
        "diskBytesSpilled": "Task Metrics/Disk Bytes Spilled",
        "bytesRead": "Task Metrics/Input Metrics/Bytes Read",
        "bytesWritten": "Task Metrics/Output Metrics/Bytes Written",
        "shuffleRemoteBytesRead": "Task Metrics/Shuffle Read Metrics/Remote Bytes Read",
        "shuffleLocalBytesRead": "Task Metrics/Shuffle Read Metrics/Local Bytes Read",
        "shuffleWaitMs": "Task Metrics/Shuffle Read Metrics/Fetch Wait Time",
        "shuffleBytesWritten": "Task Metrics/Shuffle Write Metrics/Shuffle Bytes Written",
    }),
    "SparkListenerStageSubmitted": _Rule("batch_started", "stage", "Stage Info/Submission Time", _STAGE),
    "SparkListenerStageCompleted": _Rule(
        "batch_completed", "stage", "Stage Info/Completion Time", _STAGE | {"error": "Stage Info/Failure Reason"},
    ),
    "SparkListenerApplicationStart": _Rule("spark_application_started", "application", "Timestamp", {
        "name": "App Name", "user": "User", "attempt": "App Attempt ID",
    }),
    "SparkListenerApplicationEnd": _Rule("spark_application_ended", "application", "Timestamp", {}),
    "SparkListenerJobStart": _Rule("spark_job_started", "application", "Submission Time", {
        "sparkJob": "Job ID", "stages": "Stage IDs", "sql": "Properties/spark.sql.execution.id",
        "description": "Properties/spark.job.description",
    }),
    "SparkListenerJobEnd": _Rule("spark_job_ended", "application", "Completion Time", {
        "sparkJob": "Job ID", "outcome": "Job Result/Result", "error": "Job Result/Exception/Message",
    }),
    "SparkListenerExecutorAdded": _Rule("spark_executor_added", "application", "Timestamp", {
        "executor": "Executor ID", "host": "Executor Info/Host", "cores": "Executor Info/Total Cores",
    }),
    "SparkListenerExecutorRemoved": _Rule(
        "spark_executor_removed", "application", "Timestamp", {"executor": "Executor ID", "reason": "Removed Reason"},
    ),
    "SparkListenerSQLExecutionStart": _Rule("spark_sql_started", "application", "time", {
        "sql": "executionId", "description": "description",
    }),
    "SparkListenerSQLExecutionEnd": _Rule("spark_sql_ended", "application", "time", {
        "sql": "executionId", "error": "errorMessage",
    }),
}  # fmt: skip


def rows(source: Source) -> Rows:
    """The events of a Spark event log, in the order of the file."""
    execution = _application(source)
    stages: dict[str, str] = {}  # their names
    for number, told in _told(source):
        name = told["Event"].rpartition(".")[2]
        rule = _RULES.get(name)
        if rule is None:
            source.unmapped[name] += 1
            continue
        try:
            fields = _fields(told, rule)
        except (ValueError, OverflowError) as error:
            raise source.refusal(f"line {number}, {name}", error) from None
        batch, data = fields.get("batchId", ""), fields["data"]
        if rule.about == "stage" and "siteName" in data:
            stages[batch] = data["siteName"]
        elif rule.about == "task" and batch in stages:
            data["siteName"] = stages[batch]
        if fields["timestamp"] <= _EPOCH:  # Spark writes 0 or -1 for what it does not know
            source.unmapped[f"{name} without a time"] += 1
        else:
            yield f"line {number}", fields | {"executionId": execution}


def _fields(told: Fields, rule: _Rule) -> Fields:
    """The event that a line becomes; raises ValueError."""
    fields: Fields = {"type": rule.type, "timestamp": _EPOCH + timedelta(milliseconds=_whole(told, rule.time, 0))}
    data = {name: kept for name, path in rule.data.items() if (kept := _kept(_at(told, path))) is not None}
    if rule.about != "application":
        at = "Stage Info/" if rule.about == "stage" else ""
        fields["batchId"] = f"stage-{_whole(told, f'{at}Stage ID')}.{_whole(told, f'{at}Stage Attempt ID', 0)}"
    if rule.about == "task":
        fields["jobId"] = f"task-{_whole(told, 'Task Info/Task ID')}"
        if rule.type == "job_completed":
            fields["type"], why = _end(told)
            data |= why
    return fields | {"data": data}


def _told(source: Source) -> Rows:
    """What each line tells, with its number; but not the last one, if it is cut off."""
    for number, line in lines(source):
        try:
            told = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            if not line.endswith(b"\n"):
                source.unmapped["last line, cut off"] += 1
                return
            raise source.refusal(f"line {number}", f"not JSON: {error}") from None
        if not isinstance(told, dict) or not isinstance(told.get("Event"), str):
            raise source.refusal(f"line {number}", 'no event of Spark; write one like {"Event":"SparkListenerTaskStart",…}')
        yield str(number), told


def _application(source: Source) -> str:
    """The application's id, which the log tells before the first task, or else the file's name."""
    for _, told in _told(source._replace(unmapped=source.unmapped.copy())):
        if told["Event"].endswith("SparkListenerTaskStart"):
            break
        if told["Event"].endswith("SparkListenerApplicationStart"):
            if isinstance(identity := told.get("App ID"), str) and identity:
                return identity
            break
    return _PART.sub("", source.stem, count=1)


def _end(told: Fields) -> tuple[str, Fields]:
    """How a task ended, and why, if it was not well."""
    reason = _at(told, "Task End Reason/Reason")
    if not isinstance(reason, str):
        raise ValueError("'Task End Reason/Reason' is missing; write Success, or why it failed")
    if reason == "Success":
        return "job_completed", {}
    why = _at(told, "Task End Reason")
    texts = (_kept(why.get(key)) for key in ("Description", "Message", "Loss Reason", "Kill Reason"))
    error = next((text for text in texts if isinstance(text, str)), None)
    failure = why.get("Class Name")
    known = {"errorClass": failure} if isinstance(failure, str) else {}
    message = ": ".join(text for text in (known.get("errorClass"), error) if text) or reason
    return "job_cancelled" if reason in _KILLED else "job_failed", {"reason": reason, **known, "error": message}


def _at(told: Any, path: str) -> Any:
    """What stands at a path like ``Task Info/Index``, or None."""
    for name in path.split("/"):
        told = told.get(name) if isinstance(told, dict) else None
    return told


def _whole(told: Fields, path: str, default: int | None = None) -> int:
    """The whole number at a path; raises ValueError."""
    found = _at(told, path)
    if found is None and default is not None:
        return default
    if type(found) is not int:
        raise ValueError(f"{path!r} is {'missing' if found is None else repr(found)[:80]}; write a whole number")
    return found


def _kept(value: Any) -> Any:
    """A number as it is, the first line of a text, a list of whole numbers; None for what is not kept."""
    if isinstance(value, str):
        return next((line.strip()[:_LONGEST] for line in value.splitlines() if line.strip()), None)
    if isinstance(value, list):
        return value if all(type(one) is int for one in value) else None
    return value if isinstance(value, int | float) else None
