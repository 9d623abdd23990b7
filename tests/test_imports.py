"""Files of other systems: what `playhead import` makes of Spark's event logs, workload logs (SWF) and XES."""

from __future__ import annotations

import gzip
import json
import lzma
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pandas as pd
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import playhead as ph
from playhead import frames
from playhead.events import NewEvent
from playhead.files.reading import Source, kind_of, read
from tests.conftest import playhead

# Spark


def info(task: int, launch: int, finish: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "Task ID": task, "Index": task, "Attempt": 0, "Partition ID": task, "Launch Time": launch, "Executor ID": "1",
        "Host": "host1", "Locality": "PROCESS_LOCAL", "Speculative": False, "Getting Result Time": 0, "Finish Time": finish,
        "Failed": False, "Killed": False, "Accumulables": [{"ID": 2, "Name": "internal.metrics.x", "Update": 3}],
    } | more  # fmt: skip


def task_start(task: int, launch: int, **more: Any) -> dict[str, Any]:
    told = {"Event": "SparkListenerTaskStart", "Stage ID": 0, "Stage Attempt ID": 0}
    return told | {"Task Info": info(task, launch)} | more


def task_end(task: int, launch: int, finish: int, reason: dict[str, Any], **more: Any) -> dict[str, Any]:
    told = {"Event": "SparkListenerTaskEnd", "Stage ID": 0, "Stage Attempt ID": 0, "Task Type": "ResultTask"}
    return told | {"Task End Reason": reason, "Task Info": info(task, launch, finish)} | more


T0 = 1_727_966_096_000  # 2024-10-03T14:34:56Z in ms
STAGE = {
    "Stage ID": 0, "Stage Attempt ID": 0, "Stage Name": "collect at <console>:26", "Number of Tasks": 5, "RDD Info": [],
    "Parent IDs": [], "Details": "org.apache.spark…", "Submission Time": T0 + 40, "Accumulables": [],
}  # fmt: skip
METRICS = {
    "Executor Deserialize Time": 21, "Executor Deserialize CPU Time": 20_000_000, "Executor Run Time": 1674,
    "Executor CPU Time": 1_500_000_000, "Peak Execution Memory": 4096, "Result Size": 1940, "JVM GC Time": 280,
    "Result Serialization Time": 1, "Memory Bytes Spilled": 0, "Disk Bytes Spilled": 0,
    "Shuffle Read Metrics": {"Remote Bytes Read": 7, "Local Bytes Read": 8, "Fetch Wait Time": 2, "Total Records Read": 1},
    "Shuffle Write Metrics": {"Shuffle Bytes Written": 8_490_586, "Shuffle Write Time": 3, "Shuffle Records Written": 4},
    "Input Metrics": {"Bytes Read": 0, "Records Read": 0}, "Output Metrics": {"Bytes Written": 5, "Records Written": 1},
    "Updated Blocks": [],
}  # fmt: skip
APPLICATION = "application_1707709865217_0493"
SPARK: list[dict[str, Any]] = [
    {"Event": "SparkListenerLogStart", "Spark Version": "3.5.1"},
    {"Event": "SparkListenerResourceProfileAdded", "Resource Profile Id": 0},
    {"Event": "SparkListenerApplicationStart", "App Name": "Ü-Bericht", "App ID": APPLICATION, "Timestamp": T0, "User": "zoë"},
    {
        "Event": "SparkListenerExecutorAdded", "Timestamp": T0 + 10, "Executor ID": "1",
        "Executor Info": {"Host": "host1", "Total Cores": 8, "Log Urls": {}},
    },
    {"Event": "org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart", "executionId": 3, "description": "q",
     "details": "", "physicalPlanDescription": "== Physical Plan ==\n…", "sparkPlanInfo": {}, "time": T0 + 20},
    {"Event": "org.apache.spark.sql.execution.ui.SparkListenerDriverAccumUpdates", "executionId": 3, "accumUpdates": [[1, 2]]},
    {"Event": "SparkListenerJobStart", "Job ID": 9, "Submission Time": T0 + 30, "Stage Infos": [STAGE], "Stage IDs": [0],
     "Properties": {"spark.sql.execution.id": "3"}},
    {"Event": "SparkListenerStageSubmitted", "Stage Info": STAGE, "Properties": {}},
    *(task_start(task, T0 + 99 + task) for task in range(6)),
    task_end(0, T0 + 99, T0 + 2552, {"Reason": "Success"}, **{"Task Metrics": METRICS}),
    task_end(1, T0 + 100, T0 + 2600, {
        "Reason": "ExceptionFailure", "Class Name": "java.io.IOException", "Description": "disk «/d» is full\n\tat x",
        "Stack Trace": [], "Full Stack Trace": "…",
    }),
    task_end(2, T0 + 101, T0 + 2700, {"Reason": "TaskKilled", "Kill Reason": "Stage cancelled"}),
    task_end(3, T0 + 102, T0 + 2800, {"Reason": "ExecutorLostFailure", "Executor ID": "1", "Loss Reason": "Process Lost"}),
    task_end(0, T0 + 99, T0 + 2900, {"Reason": "Resubmitted"}),
    task_end(4, T0 + 103, 0, {"Reason": "Success"}),
    {"Event": "SparkListenerStageCompleted",
     "Stage Info": STAGE | {"Completion Time": T0 + 3000, "Failure Reason": "boom\nat"}},
    {"Event": "SparkListenerJobEnd", "Job ID": 9, "Completion Time": T0 + 3001,
     "Job Result": {"Result": "JobFailed", "Exception": {"Message": "Job aborted\nwhy", "Stack Trace": []}}},
    {"Event": "com.nvidia.spark.SparkRapidsBuildInfoEvent", "time": "not a number", "Timestamp": {}},
    {"Event": "SparkListenerApplicationEnd", "Timestamp": T0 + 3100},
]  # fmt: skip


def spark_text(told: Iterable[Any] = SPARK) -> str:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in told)


def imported(path: Path, kind: str | None = None) -> tuple[list[NewEvent], Counter[str]]:
    """The events of a file, and what of it had no place in one."""
    source = Source(path, kind or kind_of(path), Counter())
    return list(read(source)), source.unmapped


def ends(events: Iterable[NewEvent]) -> list[tuple[str | None, str]]:
    return [(event.job_id, event.type) for event in events if event.job_id]


def states(target: Path, *names: str) -> list[tuple[Any, ...]]:
    """Columns of the executions frame of a recording, None for what is missing."""
    with ph.connect(target) as client:
        frame = client.executions()[list(names)]
    values = ([None if pd.isna(value) else value for value in row] for row in frame.itertuples(index=False, name=None))
    return sorted(map(tuple, values), key=str)


def at(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def test_a_spark_log_is_imported_once(tmp_path: Path) -> None:
    """Tasks are executions with times, errors and their stage; the rest is counted; a second import adds nothing."""
    (tmp_path / APPLICATION).write_text(spark_text())
    target = tmp_path / "a.playhead"
    done = playhead("import", str(tmp_path / APPLICATION), str(target))
    assert done.returncode == 0, done.stderr
    assert "19 events read, 19 stored, 0 were there already" in done.stdout
    for said in ("SparkListenerDriverAccumUpdates", "SparkRapidsBuildInfoEvent", "SparkListenerTaskEnd without a time"):
        assert f"1 x {said}" in done.stdout
    names = ("execution_id", "batch_id", "site_name")
    assert set(states(target, *names)) == {(APPLICATION, "stage-0.0", "collect at <console>:26")}
    day = "2024-10-03T14:34:"
    assert states(target, "job_id", "attempt", "state", "started", "ended", "error") == [
        ("task-0", 1, "completed", at(f"{day}56.099"), at(f"{day}58.552"), None),
        ("task-1", 1, "failed", at(f"{day}56.100"), at(f"{day}58.600"), "java.io.IOException: disk «/d» is full"),
        ("task-2", 1, "cancelled", at(f"{day}56.101"), at(f"{day}58.700"), "Stage cancelled"),
        ("task-3", 1, "failed", at(f"{day}56.102"), at(f"{day}58.800"), "Process Lost"),
        ("task-4", 1, "running", at(f"{day}56.103"), None, None),
        ("task-5", 1, "running", at(f"{day}56.104"), None, None),
    ]
    again = playhead("import", str(tmp_path / APPLICATION), str(target))
    assert "19 events read, 0 stored, 19 were there already" in again.stdout


def test_a_spark_log_keeps_what_is_worth_asking(tmp_path: Path) -> None:
    """Metrics with units, why a task ended, and stages, jobs, executors and queries as events of their own."""
    (tmp_path / "log").write_text(spark_text())
    events, unmapped = imported(tmp_path / "log")
    stage = {"siteName": "collect at <console>:26"}
    task = {"index": 0, "attempt": 0, "executor": "1"}
    found = {(event.type, event.job_id): event.data for event in events}
    assert found["job_started", "task-0"] == stage | task | {"host": "host1", "locality": "PROCESS_LOCAL", "speculative": False}
    assert found["job_completed", "task-0"] == stage | task | {
        "runTimeMs": 1674, "cpuTimeNs": 1_500_000_000, "deserializeTimeMs": 21, "gcTimeMs": 280, "resultBytes": 1940,
        "peakMemoryBytes": 4096, "memoryBytesSpilled": 0, "diskBytesSpilled": 0, "bytesRead": 0, "bytesWritten": 5,
        "shuffleRemoteBytesRead": 7, "shuffleLocalBytesRead": 8, "shuffleWaitMs": 2, "shuffleBytesWritten": 8_490_586,
    }  # fmt: skip
    assert found["job_failed", "task-0"] == stage | task | {"reason": "Resubmitted", "error": "Resubmitted"}
    assert found["job_failed", "task-1"]["errorClass"] == "java.io.IOException"
    about = [(event.type, event.batch_id, event.data) for event in events if event.job_id is None]
    assert about == [
        ("spark_application_started", None, {"name": "Ü-Bericht", "user": "zoë"}),
        ("spark_executor_added", None, {"executor": "1", "host": "host1", "cores": 8}),
        ("spark_sql_started", None, {"sql": 3, "description": "q"}),
        ("spark_job_started", None, {"sparkJob": 9, "stages": [0], "sql": "3"}),
        ("batch_started", "stage-0.0", stage | {"tasks": 5}),
        ("batch_completed", "stage-0.0", stage | {"tasks": 5, "error": "boom"}),
        ("spark_job_ended", None, {"sparkJob": 9, "outcome": "JobFailed", "error": "Job aborted"}),
        ("spark_application_ended", None, {}),
    ]
    assert unmapped == {
        "SparkListenerLogStart": 1, "SparkListenerResourceProfileAdded": 1, "SparkListenerDriverAccumUpdates": 1,
        "SparkListenerTaskEnd without a time": 1, "SparkRapidsBuildInfoEvent": 1,
    }  # fmt: skip


def framed(text: bytes) -> bytes:
    """Packed in two frames, as what is written in parts is."""
    return zstandard.compress(text[:700]) + zstandard.compress(text[700:])


@pytest.mark.parametrize(
    ("ending", "packed"),
    [
        ("", bytes), (".json", bytes), (".inprogress", bytes), (".gz", gzip.compress), (".xz", lzma.compress),
        (".zst", framed), (".zstd", zstandard.compress), (".zstd.inprogress", zstandard.compress),
        (".inprogress.gz", gzip.compress),
    ],
)  # fmt: skip
def test_a_spark_log_is_known_by_how_it_begins(tmp_path: Path, ending: str, packed: Callable[[bytes], bytes]) -> None:
    """Packed or not, whatever it is called: the same events with the same ids."""
    (tmp_path / "plain").write_text(spark_text())
    path = tmp_path / f"app-20241003143456-0000{ending}"
    path.write_bytes(packed(b"\n" + spark_text().encode()[:-1]))
    assert kind_of(path) == "spark"
    events, _ = imported(path)
    assert ends(events) == ends(imported(tmp_path / "plain")[0]) and events[0].execution_id == APPLICATION
    assert imported(path)[0] == events


def test_a_log_that_is_still_written_grows(tmp_path: Path) -> None:
    """A last line that is cut off is counted; the finished log adds only what came after it."""
    path = tmp_path / "app-1.inprogress"
    whole = spark_text().encode()
    for cut in (len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        some, unmapped = imported(path)
        assert unmapped["last line, cut off"] == 1
    path.write_bytes(whole)
    events, unmapped = imported(path)
    assert events[: len(some)] == some and len(events) == len(some) + 1 and not unmapped["last line, cut off"]


def test_a_part_of_a_rolling_log_is_named_by_its_file(tmp_path: Path) -> None:
    """A log that does not tell its application's id belongs to the one in its name."""
    path = tmp_path / "events_2_app-20241003143456-0000"
    path.write_text(spark_text([one for one in SPARK if one["Event"] != "SparkListenerApplicationStart"]))
    assert {event.execution_id for event in imported(path)[0]} == {"app-20241003143456-0000"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"Event":"SparkListenerTaskSt\n', "line 2: not JSON"),
        ('{"type":"job_started"}\n', "line 2: no event of Spark; write one like"),
        ("[1]", "line 2: no event of Spark"),
        (spark_text([{"Event": "SparkListenerTaskStart", "Task Info": {"Launch Time": T0}}]), "'Stage ID' is missing"),
        (spark_text([task_start(1, T0) | {"Stage ID": "one"}]), "line 2, SparkListenerTaskStart: 'Stage ID' is 'one'; write a"),
        (spark_text([task_start(1, 10**18)]), "line 2, SparkListenerTaskStart"),
        (spark_text([task_end(1, T0, T0, {})]), "'Task End Reason/Reason' is missing"),
    ],
)
def test_a_bad_line_of_a_spark_log_is_named(tmp_path: Path, line: str, says: str) -> None:
    """Which line, what is wrong with it, and what to write; no event is let through."""
    path = tmp_path / "app-1"
    path.write_text(spark_text(SPARK[:1]) + line)
    with pytest.raises(ValueError, match="nothing was imported") as caught:
        imported(path)
    assert says in str(caught.value) and str(path) in str(caught.value)


def cut_up(text: str) -> st.SearchStrategy[bytes]:
    """A text with a piece of it replaced by anything."""
    whole = text.encode()
    place = st.integers(0, len(whole))
    return st.builds(
        lambda start, length, other: whole[:start] + other + whole[start + length :], place, place, st.binary(max_size=9)
    )


@settings(max_examples=150, deadline=None)
@given(st.deferred(lambda: st.one_of(*(st.tuples(st.just(kind), cut_up(text)) for kind, text in WHOLE.items()))))
def test_what_is_damaged_is_read_or_refused(damaged: tuple[str, bytes]) -> None:
    """A file with anything in it gives events, or a ValueError that says that nothing was imported; no other error."""
    kind, content = damaged
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(content)
        try:
            imported(path, kind)
        except ValueError as error:
            assert "nothing was imported" in str(error)


def test_what_a_file_is(tmp_path: Path) -> None:
    """The ending says it, else the first line; what neither tells asks for --format."""
    for name, text, kind in (
        ("a.swf", "", "swf"), ("a.xes.gz", "", "xes"), ("a.ndjson.zst", "", "ndjson"), ("a.spark", "", "spark"),
        ("b.json", '{"id": null, "type": "job_started"}\n', "ndjson"), ("b.txt", "\n; Version: 2.2\n", "swf"),
        ("b.xml", "\ufeff<?xml version='1.0'?>\n<log/>", "xes"), ("b", "<log>", "xes"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
        assert kind_of(tmp_path / name) == kind, name
    for name in ("c.xls", "c", "c.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"\0\n") if name == "c.gz" else b"\x00\xff")
        with pytest.raises(ValueError, match="say --format"):
            kind_of(tmp_path / name)
    (tmp_path / "d.gz").write_text("not packed")
    with pytest.raises(ValueError, match="nothing was imported"):
        kind_of(tmp_path / "d.gz")


# the Standard Workload Format

SWF = """\
;       Version: 2.2
;      Computer: IBM SP2
; UnixStartTime: 867758400
;      TimeZoneString: Europe/Stockholm
;          Note: Straße – not ASCII
  1   0  30  600  16  590.5  2048  16  900  -1  1  5  2  12  0  -1  -1  -1
  2  10   5   -1  -1     -1    -1   8  900  -1  5  5  2  12  0  -1   1  20
  3  20   5  100   4     -1    -1   8  900  -1  0  5  2  -1 -1   3  -1  -1
  4  30  10   60   4     -1    -1   8  900  -1  1  5  2  -1 -1  -1  -1  -1
  4  30  10   30   4     -1    -1   8  900  -1  2  5  2  -1 -1  -1  -1  -1
  4  -1  15   30   4     -1    -1   8  900  -1  3  5  2  -1 -1  -1  -1  -1
  5  40   0    0   1     -1    -1   1   -1  -1  5  5  2  -1 -1  -1  -1  -1
  6  50  -1   20   1     -1    -1   1   -1  -1 -1  5  2  -1 -1  -1  -1  -1
"""


def test_a_workload_log_is_imported_once(tmp_path: Path) -> None:
    """Submit, wait and run times become queued, started and ended, by status; a second import adds nothing."""
    (tmp_path / "KTH-SP2.swf.gz").write_bytes(gzip.compress(SWF.encode()))
    target = tmp_path / "a.playhead"
    done = playhead("import", str(tmp_path / "KTH-SP2.swf.gz"), str(target))
    assert done.returncode == 0, done.stderr
    assert "19 events read, 19 stored" in done.stdout
    assert "no place in an event has: 1 x header Version, 1 x header TimeZoneString, 1 x header Note" in done.stdout
    hour = "1997-07-01T12:"
    assert states(target, "execution_id", "job_id", "batch_id", "state", "queued", "started", "ended") == [
        ("IBM SP2", "1", "queue-0", "completed", at(f"{hour}00:00"), at(f"{hour}00:30"), at(f"{hour}10:30")),
        ("IBM SP2", "2", "queue-0", "cancelled", at(f"{hour}00:10"), None, at(f"{hour}00:15")),
        ("IBM SP2", "3", "partition-3", "failed", at(f"{hour}00:20"), at(f"{hour}00:25"), at(f"{hour}02:05")),
        ("IBM SP2", "4", None, "completed", at(f"{hour}00:30"), at(f"{hour}00:40"), at(f"{hour}01:55")),
        ("IBM SP2", "5", None, "cancelled", at(f"{hour}00:40"), at(f"{hour}00:40"), at(f"{hour}00:40")),
        ("IBM SP2", "6", None, "completed", at(f"{hour}00:50"), at(f"{hour}00:50"), at(f"{hour}01:10")),
    ]
    assert "0 stored, 19 were there already" in playhead("import", str(tmp_path / "KTH-SP2.swf.gz"), str(target)).stdout


def test_a_workload_log_keeps_its_fields(tmp_path: Path) -> None:
    """What was asked for stands at the submission, what was used at the end, with units; a job swapped out says when."""
    (tmp_path / "a.swf").write_text(SWF)
    events, _ = imported(tmp_path / "a.swf")
    of = {(event.job_id, event.type): event.data for event in events}
    assert of["1", "job_queued"] == {
        "requestedProcessors": 16, "requestedTimeS": 900, "user": 5, "group": 2, "executable": 12, "queue": 0,
    }  # fmt: skip
    assert of["1", "job_started"] == {"processors": 16}
    assert of["1", "job_completed"] == {"processors": 16, "cpuTimePerProcessorS": 590.5, "memoryPerProcessorKb": 2048}
    assert of["2", "job_queued"]["precedingJob"] == 1 and of["2", "job_queued"]["thinkTimeS"] == 20
    assert of["6", "job_completed"]["status"] == "unknown"
    swapped = [(event.type, event.timestamp.strftime("%M:%S")) for event in events if event.job_id == "4"]
    assert swapped == [
        ("job_queued", "00:30"), ("job_started", "00:40"), ("swf_suspended", "01:10"), ("swf_resumed", "01:25"),
        ("job_completed", "01:55"),
    ]  # fmt: skip


def test_a_workload_log_without_a_header(tmp_path: Path) -> None:
    """Times count from 1970, the file gives the name, and what has no place is counted."""
    (tmp_path / "model.swf").write_text("7 -1" + " 0" * 16 + "\n8 0.5 1 1 -9" + " -1" * 5 + " 4 1 1 1 1 1 1 1 99 98\n")
    events, unmapped = imported(tmp_path / "model.swf")
    assert [(event.execution_id, event.job_id, event.type, event.timestamp.timestamp()) for event in events] == [
        ("model", "8", "job_queued", 0.5), ("model", "8", "job_started", 1.5), ("model", "8", "job_failed", 2.5),
    ]  # fmt: skip
    assert unmapped == {"job without a submit time": 1, "negative processors": 1, "field 19": 1, "field 20": 1}


_NOT_KNOWN = st.just(-1)
_SECONDS = st.integers(0, 500)
_USED = _NOT_KNOWN | st.integers(0, 4)
_STATUS = st.sampled_from([-1, 0, 1, 5])
_JOBS = st.lists(st.tuples(_SECONDS, _NOT_KNOWN | _SECONDS, _NOT_KNOWN | _SECONDS, _USED, _STATUS), max_size=12)


@settings(max_examples=60, deadline=None)
@given(_JOBS, st.booleans())
def test_any_workload_log_comes_out_in_order_of_time(jobs: list[tuple[int, ...]], is_sorted: bool) -> None:
    """Sorted or not: every job is queued once and ends by its status, events ascend, and a start has its wait and run."""
    if is_sorted:
        jobs.sort()
    text = "".join(
        f"{number} {submit} {wait} {run} {used} -1 -1 1 -1 -1 {status} -1 -1 -1 -1 -1 -1 -1\n"
        for number, (submit, wait, run, used, status) in enumerate(jobs)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.swf")
        path.write_text(text)
        events, _ = imported(path)
    times = [event.timestamp for event in events]
    assert times == sorted(times)
    kinds = {-1: "job_completed", 0: "job_failed", 1: "job_completed", 5: "job_cancelled"}
    for number, (submit, wait, run, used, status) in enumerate(jobs):
        steps = [(event.type, event.timestamp.timestamp()) for event in events if event.job_id == str(number)]
        began = submit + max(wait, 0)
        ran = run >= 0 and not (status == 5 and run == 0 and used <= 0)
        expected = [("job_queued", submit)]
        if ran:
            expected += [("job_started", began), (kinds[status], began + run)]
        elif status != -1:
            expected += [(kinds[status], began)]
        assert steps == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 2 3\n", "line 1: has 3 fields, not 18; write -1 for what is not known"),
        (SWF + "x" + " 1" * 17, "line 14: field 1 (job) is 'x'; write a number"),
        ("1.5" + " 1" * 17, "line 1: field 1 (job) is '1.5'; write the job's number"),
        ("1 nan" + " 1" * 16, "line 1: field 2 (submit) is 'nan'"),
        ("1" * 5000 + " 1" * 17, "field 1 (job)"),
        ("1 1 1 1 1 1 1 1 1 1 7" + " 1" * 7, "line 1: field 11 (status) is '7'; write 0 to 5"),
        ("1 1 9e13" + " 1" * 15, "line 1: 9e+13 s after the log begins"),
        ("; UnixStartTime: UNKNOWN\n", "header: UnixStartTime 'UNKNOWN' is no time; write seconds since 1970"),
    ],
)
def test_a_bad_line_of_a_workload_log_is_named(tmp_path: Path, text: str, says: str) -> None:
    """Which line and field, and what to write instead."""
    (tmp_path / "a.swf").write_text(text)
    with pytest.raises(ValueError, match="nothing was imported") as caught:
        imported(tmp_path / "a.swf")
    assert says in str(caught.value)


# XES

XES = """\
<?xml version="1.0" encoding="UTF-8" ?>
<log xes.version="1849.2016" xes.features="nested-attributes" xmlns="http://www.xes-standard.org/">
  <extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
  <global scope="event"><string key="concept:name" value="__INVALID__"/></global>
  <classifier name="Activity" keys="concept:name"/>
  <string key="concept:name" value="Anträge"/>
  <string key="lifecycle:model" value="standard"/>
  <trace>
    <string key="concept:name" value="case ①"/>
    <int key="amount" value="7000"/>
    <event><date key="time:timestamp" value="2026-01-01T10:00:00+01:00"/><string key="concept:name" value="register"/>
      <string key="lifecycle:transition" value="schedule"/></event>
    <event><date key="time:timestamp" value="2026-01-01T09:30:00.123456789Z"/><string key="concept:name" value="check"/>
      <string key="lifecycle:transition" value="complete"/><float key="score" value="0.5"/><float key="odd" value="NaN"/>
      <boolean key="ok" value="true"/><date key="due" value="2026-02-01T00:00:00+01:00"/>
      <int key="big" value="99999999999999999999"/>
      <list key="notes"><values><string key="a" value="b"/></values></list>
      <string key="deep" value="kept"><string key="inner" value="lost"/></string></event>
    <event><date key="time:timestamp" value="2026-01-01T09:10:00"/><string key="concept:name" value="check"/>
      <string key="lifecycle:transition" value="start"/><string key="org:resource" value="Zoë"/></event>
    <event><date key="time:timestamp" value="2026-01-01T10:00:00Z"/><string key="concept:name" value="decide"/>
      <string key="lifecycle:transition" value="COMPLETE"/><int key="org:resource" value="112"/></event>
    <event><string key="concept:name" value="never"/></event>
  </trace>
  <trace>
    <event><date key="time:timestamp" value="2026-01-01T09:20:00Z"/><string key="concept:name" value="a"/></event>
    <event><date key="time:timestamp" value="2026-01-01T09:40:00Z"/><string key="concept:name" value="b"/>
      <string key="lifecycle:transition" value="ate_abort"/></event>
  </trace>
  <trace><string key="concept:name" value="open"/><string key="batch" value="night"/>
    <event><date key="time:timestamp" value="2026-01-01T09:50:00Z"/><string key="lifecycle:transition" value="start"/></event>
    <event><date key="time:timestamp" value="2026-01-01T09:51:00Z"/><string key="lifecycle:transition" value="suspend"/></event>
  </trace>
  <trace><string key="concept:name" value="withdrawn"/>
    <event><date key="time:timestamp" value="2026-01-01T09:52:00Z"/>
      <string key="lifecycle:transition" value="withdraw"/></event>
  </trace>
  <trace><string key="concept:name" value="empty"/></trace>
  <event><date key="time:timestamp" value="2026-01-01T09:00:00Z"/></event>
</log>
"""


def test_an_xes_log_is_imported_once(tmp_path: Path) -> None:
    """Traces are executions from their first event to their last, whatever the order in the file; the rest is counted."""
    (tmp_path / "a.xes").write_text(XES)
    target = tmp_path / "a.playhead"
    done = playhead("import", str(tmp_path / "a.xes"), str(target))
    assert done.returncode == 0, done.stderr
    assert "9 events read, 9 stored" in done.stdout
    assert "1 x event without a time" in done.stdout and "1 x list notes" in done.stdout
    names = ("execution_id", "job_id", "batch_id", "state", "queued", "started", "ended", "step", "site_name")
    hour = "2026-01-01T"
    assert states(target, *names) == [
        ("Anträge", "case ①", None, "completed", at(f"{hour}09:00"), at(f"{hour}09:10"), at(f"{hour}10:00"), "decide", "112"),
        ("Anträge", "open", "night", "running", None, at(f"{hour}09:50"), None, None, None),
        ("Anträge", "trace-2", None, "failed", None, at(f"{hour}09:20"), at(f"{hour}09:40"), "b", None),
        ("Anträge", "withdrawn", None, "cancelled", None, None, at(f"{hour}09:52"), None, None),
    ]
    assert "0 stored, 9 were there already" in playhead("import", str(tmp_path / "a.xes"), str(target)).stdout


def test_an_xes_log_keeps_its_attributes(tmp_path: Path) -> None:
    """Typed, by their keys; events of all traces in order of time; what has no place is counted."""
    (tmp_path / "a.xes.xz").write_bytes(lzma.compress(XES.encode()))
    events, unmapped = imported(tmp_path / "a.xes.xz")
    assert [event.timestamp for event in events] == sorted(event.timestamp for event in events)
    case = [event for event in events if event.job_id == "case ①"]
    assert [(event.type, event.data["currentStep"]) for event in case] == [
        ("job_queued", "register"), ("job_started", "check"), ("job_progress", "check"), ("job_completed", "decide"),
    ]  # fmt: skip
    assert case[0].data == {"case:amount": 7000, "lifecycle:transition": "schedule", "currentStep": "register"}
    assert case[2].timestamp == datetime(2026, 1, 1, 9, 30, 0, 123456, tzinfo=UTC)
    assert case[2].data == {
        "lifecycle:transition": "complete", "score": 0.5, "odd": "NaN", "ok": True, "due": "2026-01-31T23:00:00.000000Z",
        "big": "99999999999999999999", "deep": "kept", "currentStep": "check",
    }  # fmt: skip
    assert unmapped == {
        "extension": 1, "global": 1, "classifier": 1, "log attribute lifecycle:model": 1, "list notes": 1,
        "attribute inside deep": 1, "event without a time": 1, "event outside a trace": 1,
    }  # fmt: skip


BOMB = """<?xml version="1.0"?>
<!-- a log -->
<!DOCTYPE log [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<log><trace><string key="concept:name" value="&c;"/></trace></log>"""
NAME = '<string key="concept:name" value="{}"/>'
EVENT = '<log><trace><event><date key="time:timestamp" value="{}"/></event></trace></log>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_dtd_is_refused(tmp_path: Path, encoding: str) -> None:
    """Entities cannot be declared, to be expanded or to be fetched, in no encoding."""
    for text in (BOMB, '<!DOCTYPE log SYSTEM "http://127.0.0.1/entities"><log/>'):
        (tmp_path / "a.xes").write_bytes(text.encode(encoding))
        with pytest.raises(ValueError, match="a DTD can declare entities") as caught:
            imported(tmp_path / "a.xes")
        assert f"line {3 if text is BOMB else 1}: " in str(caught.value) and "nothing was imported" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: not XML"),
        ("<log>\n<trace>", "line 2: not XML: no element found"),
        ('<?xml version="1.0" encoding="klingon"?><log/>', "line 1: not XML: unknown encoding"),
        ('<?xml version="1.0" encoding="utf-7"?><log/>', "line 1: not XML"),
        ("<html/>", "line 1: the root is <html>, not the <log> of XES"),
        ("<log>&nbsp;</log>", "line 1: not XML: undefined entity"),
        (EVENT.format("yesterday"), "trace 1, event 1: time:timestamp 'yesterday' is no time; write it like 2026-11-23T"),
        (EVENT.format("1066-10-14T09:00:00Z"), "is no time"),
        (EVENT.format("2026-01-01").replace("<event>", NAME.format("x" * 300) + "<event>"), "event 1, field 'jobId': has 300"),
    ],
)
def test_a_bad_xes_log_is_named(tmp_path: Path, text: str, says: str) -> None:
    """Which line or event, and what to write instead."""
    (tmp_path / "a.xes").write_text(text)
    with pytest.raises(ValueError, match="nothing was imported") as caught:
        imported(tmp_path / "a.xes")
    assert says in str(caught.value)


WHOLE = {"spark": spark_text(), "swf": SWF, "xes": XES}


def xes_of(log: pd.DataFrame) -> str:
    """An event log as text, as a tool for process mining writes it."""
    traces = []
    for case, rows in log.groupby("case:concept:name", sort=False):
        told = [f'<string key="concept:name" value={quoteattr(str(case))}/>']
        if pd.notna(batch := rows["case:batch"].iloc[0]):
            told.append(f'<string key="batch" value={quoteattr(batch)}/>')
        for row in rows.to_dict("records"):
            texts = {key: row[key] for key in ("concept:name", "lifecycle:transition", "org:resource") if pd.notna(row[key])}
            told += ["<event>", *(f'<string key="{key}" value={quoteattr(text)}/>' for key, text in texts.items())]
            told += [f'<date key="time:timestamp" value="{row["time:timestamp"].isoformat()}"/>', "</event>"]
        traces.append(f"<trace>{''.join(told)}</trace>")
    return f'<log><string key="concept:name" value="again"/>{"".join(traces)}</log>'


def test_an_event_log_comes_back_as_the_same_cases(tmp_path: Path) -> None:
    """What `frames.event_log` gives to process mining is imported as executions with the same states and times."""
    with ph.connect(tmp_path / "a.playhead") as client:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        told = [
            ("done", ["job_queued", "job_started", "job_progress", "job_completed"]), ("broken", ["job_started", "job_failed"]),
            ("stopped", ["job_queued", "job_cancelled"]), ("<open> & 'on'", ["job_started", "job_progress"]),
            ("waiting", ["job_queued"]), ("alone", ["job_completed"]),
        ]  # fmt: skip
        for number, (job, kinds) in enumerate(told):
            for place, kind in enumerate(kinds):
                ids = {"executionId": "x", "batchId": "b", "jobId": job}
                data = {"currentStep": f"step {place}", "siteName": f"{job}.example"}
                when = moment + timedelta(seconds=10 * place + number)
                client.publish({"type": kind, "timestamp": when, **ids, "data": data})
        client.flush()
        before = client.executions()
        (tmp_path / "a.xes").write_text(xes_of(frames.event_log(client.events().to_pandas())))
    with ph.connect(tmp_path / "b.playhead") as client:
        client.recording.submit(imported(tmp_path / "a.xes")[0]).result()
        after = client.executions()
    names = ["batch_id", "state", "queued", "started", "ended", "step", "site_name"]
    before["job_id"] = before["execution_id"] + "/" + before["job_id"]
    first, second = (frame.set_index("job_id")[names].sort_index() for frame in (before, after))
    pd.testing.assert_frame_equal(first, second)
