"""An operator replays a recording into a server, for a dashboard or a test: in order, at its pace, and nothing unsaid."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import playhead as ph
from playhead.cli import main
from playhead.cli import replay as command
from playhead.cli.pace import TICK_S, Pace, due
from playhead.client.remote import RemoteClient
from playhead.events import Event, NewEvent, uuid7
from playhead_server.server import Running, Settings, running
from tests.conftest import TOKEN, playhead, process, wait_for

START = datetime(2026, 1, 1, tzinfo=UTC)
KEPT = ("type", "execution_id", "batch_id", "job_id", "data")
DATA = {"currentStep": 'a, "b"', "progressPercentage": 45.0, "more": [1, None, {"é": 1e300}], "goal": "\u2028"}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def fields(seconds: float, kind: str = "job_progress", **more: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": at(seconds), "executionId": "X", "batchId": "b", "jobId": "j", **more}


NIGHT = [
    fields(0, "batch_started", jobId=None, executionId=None),
    fields(1, "job_started", data=DATA),
    fields(60),
    fields(30, data={"late": True}),
    fields(61, "thing.other", batchId="c", jobId=None),
    fields(62, "job_started", executionId=None),
    fields(600, "job_completed"),
]


def record(path: Path, events: list[dict[str, Any]]) -> Path:
    with ph.Recording.open(path) as recording:
        recording.append(events)
    return path


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A recording of ten minutes."""
    return record(tmp_path / "night.playhead", NIGHT)


Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`playhead replay` in this process: its exit status, and what it says on stdout and stderr."""

    def once(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["playhead", "replay", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return once


def held(server: Running) -> list[Event]:
    return server.recording.read(limit=None)


def contents(events: list[Event]) -> list[tuple[Any, ...]]:
    return [tuple(getattr(event, name) for name in KEPT) for event in events]


# into a server


@pytest.mark.parametrize("kind", ["recording", "parquet", "server"])
def test_a_replay_is_the_same_events_again(server: Running, night: Path, tmp_path: Path, run: Run, kind: str) -> None:
    """In log order, with new ids, their times as far apart as they were, divided by the speed, and never of the future."""
    with ph.Recording.open(night) as recording:
        events = recording.read(limit=None)
    source, begun = str(night), datetime.now(UTC)
    if kind == "parquet":
        source = str(tmp_path / "night.parquet")
        assert playhead("export", str(night), source).returncode == 0
    if kind == "server":
        settings = Settings(recording=night, port=0, token=TOKEN, write_discovery=False)
        with running(settings) as other:
            source = other.url
            status, out, err = run(source, "--speed", "1000", "--source-token", TOKEN)
    else:
        status, out, err = run(source, server.url, "--speed", "1000")
    assert (status, err) == (0, "")
    assert out.startswith(f"7 events of {source} replayed into {server.url} in ") and out.count("\n") == 1
    again = held(server)
    assert contents(again) == contents(events)
    assert not {event.id for event in again} & {event.id for event in events}
    assert begun < again[0].timestamp
    for event, new in zip(events, again, strict=True):
        assert new.timestamp - again[0].timestamp == (event.timestamp - START) / 1000
        assert new.timestamp < new.created_at


def test_more_than_a_page_is_replayed(server: Running, tmp_path: Path, run: Run) -> None:
    """Thousands of events that are due at once are all there, in order, from a server too."""
    numbers = list(range(12_345))
    source = record(tmp_path / "many.playhead", [fields(n / 1000, data={"n": n}) for n in numbers])
    assert "12,345 events" in run(str(source), "--speed", "1e6")[1]
    assert [event.data["n"] for event in held(server)] == numbers
    with running(Settings(recording=tmp_path / "other.playhead", port=0, token=TOKEN, write_discovery=False)) as other:
        assert "12,345 events" in run(server.url, other.url, "--speed", "1e6", "--token", TOKEN)[1]
        assert [event.data["n"] for event in held(other)] == numbers


def test_one_batch(server: Running, night: Path, run: Run) -> None:
    """--batch leaves the others out, and the pauses that only they would end."""
    assert run(str(night), "--batch", "c")[1].startswith("1 events")
    assert contents(held(server)) == [("thing.other", "X", "c", None, {})]


def test_a_second_replay(server: Running, night: Path, run: Run) -> None:
    """It makes next attempts of the same executions; with --prefix, executions and batches of its own."""
    for more in ((), (), ("--prefix", "two/")):
        assert run(str(night), "--speed", "1000", *more)[0] == 0
    with ph.connect(server.url) as client:
        rows = client.executions()
        found = rows[["execution_id", "batch_id", "attempt"]].astype(object)
        found = found.where(found.notna(), None)
        assert found.values.tolist() == [
            ["X", "b", 1], [None, "b", 1], ["X", "b", 2], ["two/X", "two/b", 1], ["two/", "two/b", 1],
        ]  # fmt: skip
        assert rows["duration"].dropna().unique().tolist() == [timedelta(seconds=0.599)]


def test_long_ids_keep_their_place_behind_a_prefix(server: Running, tmp_path: Path, run: Run) -> None:
    """Where both together are too long, the id is cut and still told from others."""
    longs = [fields(0, executionId="x" * 255 + end) for end in "ab"]
    source = record(tmp_path / "long.playhead", longs)
    assert run(str(source), "--prefix", "again/")[0] == 0
    ids = [event.execution_id or "" for event in held(server)]
    assert len(set(ids)) == 2 and all(one.startswith("again/xxx") and len(one) == 256 for one in ids)


def test_progress_in_a_terminal(server: Running, night: Path) -> None:
    """A line on stderr that goes away; in a pipe there is none."""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    command_line = [sys.executable, "-m", "playhead", "replay", str(night), "--speed", "400"]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=theirs, env=env) as replaying:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            shown += piece
        out, _ = replaying.communicate(timeout=20)
    os.close(ours)
    assert b"7 of 7 events" in shown and b"2026-01-01 00:10:00Z" in shown and out.startswith(b"7 events")


# what is refused


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--speed", "0"), "--speed 0: write a number from 0.01 on, such as 60"),
        (("--speed", "-1"), "--speed -1: write"),
        (("--speed", "nan"), "--speed nan: write"),
        (("--speed", "inf"), "--speed inf: write"),
        (("--skip-idle", "0"), "--skip-idle 0: write a number of seconds from 0.001 on, such as 2"),
        (("--skip-idle", "nan"), "--skip-idle nan: write"),
        (("--prefix", "x" * 65), "--prefix has 65 characters: write 64 at most"),
        (("--batch", "d"), "holds no event of batch 'd', so there is nothing to replay"),
        (("--batch", ""), "1 to 256 characters"),
        (("copy.playhead",), "'copy.playhead' is no server's url: write http://"),
        (("http://127.0.0.1:9",), "no playhead server answers at http://127.0.0.1:9"),
        (("--token", "wrong-token"), "refused access"),
    ],
)
def test_refused(server: Running, night: Path, tmp_path: Path, run: Run, words: tuple[str, ...], says: str) -> None:
    """One line that says what to write; nothing is published, nothing is left in a file."""
    status, out, err = run(str(night), *words)
    assert (status, out, err.count("\n")) == (1, "", 1) and says in err, err
    assert not held(server) and not list(tmp_path.glob("runtime/spill/*")) and not Path("copy.playhead").exists()


def test_what_is_there_to_replay(
    server: Running, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt path begins no recording, an empty one is said to be, and so is that no server runs here."""
    assert "there is no recording" in run(str(tmp_path / "none.playhead"))[2]
    assert not (tmp_path / "none.playhead").exists()
    empty = str(record(tmp_path / "empty.playhead", []))
    assert f"{empty} holds no event" in run(empty)[2]
    monkeypatch.setenv("PLAYHEAD_RUNTIME_DIR", str(tmp_path / "elsewhere"))
    assert "start one with `playhead serve`" in run(empty)[2]
    monkeypatch.setenv("PLAYHEAD_URL", server.url)
    assert "refused access" in run(str(record(tmp_path / "one.playhead", NIGHT[:1])))[2]


def test_a_log_is_not_replayed_into_itself(server: Running, run: Run) -> None:
    """By its url, by another name of the same server, or by the recording that it holds: refused, with what to do."""
    server.recording.append(NIGHT)
    other_name = server.url.replace("127.0.0.1", "localhost")
    for source in (server.url, other_name, str(server.recording.path)):
        status, _, err = run(source, server.url, "--source-token", TOKEN)
        assert status == 1 and f"is the log that {server.url} holds" in err, err
        assert f"playhead export {server.url} copy.parquet" in err
    assert server.recording.head == len(NIGHT)


# what breaks in


def replaying(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "playhead", "replay", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )  # fmt: skip


def test_ctrl_c_ends_a_replay(server: Running, night: Path) -> None:
    """What was published has arrived, how many is said, and the status is 130."""
    replay = replaying(str(night), "--speed", "10", "--batch", "b")
    wait_for(lambda: server.recording.head == 2)
    replay.send_signal(signal.SIGINT)
    out, err = replay.communicate(timeout=20)
    assert (replay.returncode, err) == (130, "")
    assert out.startswith(f"interrupted: 2 of 6 events of {night} replayed into {server.url} in ")
    assert server.recording.head == 2


def test_a_server_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """The replay goes on; what happened meanwhile arrives when it is back, in order and once."""
    source = record(tmp_path / "source.playhead", [fields(n / 10, data={"n": n}) for n in range(40)])
    with process(tmp_path / "log.playhead") as serving:
        replay = replaying(str(source), serving.url, "--token", TOKEN)
        with ph.connect(serving.url, token=TOKEN) as client:
            wait_for(lambda: client.stats()["head"] > 5)
            serving.kill()
            assert replay.poll() is None
            serving.start()
            out, err = replay.communicate(timeout=60)
            assert replay.returncode == 0, err
            assert out.startswith("40 events")
            assert [event.data["n"] for event in client.events()] == list(range(40))


def test_a_server_that_stays_away(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end says that not all has arrived, with a status of 1; the next that publishes there sends the rest."""
    monkeypatch.setattr(command, "_PATIENCE_S", 0.3)
    source = record(tmp_path / "source.playhead", [fields(n / 5, data={"n": n}) for n in range(10)])
    with process(tmp_path / "log.playhead") as serving:
        publish = RemoteClient.put

        def put(client: RemoteClient, events: list[NewEvent]) -> None:
            serving.kill()
            publish(client, events)

        monkeypatch.setattr(RemoteClient, "put", put)
        status, out, err = run(str(source), serving.url, "--speed", "10", "--token", TOKEN)
        assert status == 1 and out.startswith("10 events")
        assert "not all of them have arrived" in err and "kept in a file" in err
        serving.start()
        with ph.connect(serving.url, token=TOKEN) as client:
            client.publish({"type": "next"})
            assert client.flush(20)
            assert [event.data.get("n") for event in client.events()] == [*range(10), None]


def test_a_source_that_goes_away_and_comes_back(
    server: Running, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of a server that does not answer is asked for again."""
    monkeypatch.setattr(command, "_PAGE", 5)
    source = record(tmp_path / "source.playhead", [fields(n / 10, data={"n": n}) for n in range(20)])
    with process(source) as serving:
        read, asked = RemoteClient.page, 0

        def page(client: RemoteClient, *where: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked == 3:
                serving.kill()
            if asked == 5:
                serving.start()
            return read(client, *where)

        monkeypatch.setattr(RemoteClient, "page", page)
        words = (serving.url, server.url, "--speed", "100", "--token", TOKEN, "--source-token", TOKEN)
        assert run(*words)[1].startswith("20 events")
        assert [event.data["n"] for event in held(server)] == list(range(20)) and asked > 5


def test_a_source_that_stays_away(server: Running, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some attempts the replay says how far it came, and why no further; what it published has arrived."""
    monkeypatch.setattr(command, "_PAGE", 5)
    monkeypatch.setattr(command, "_READS", 2)
    source = record(tmp_path / "source.playhead", [fields(n / 10, data={"n": n}) for n in range(20)])
    with process(source) as serving:
        read, pages = RemoteClient.page, 0

        def page(client: RemoteClient, *where: Any) -> Any:
            nonlocal pages
            if pages == 2:
                serving.kill()
            found = read(client, *where)
            pages += 1
            return found

        monkeypatch.setattr(RemoteClient, "page", page)
        words = (serving.url, server.url, "--speed", "100", "--token", TOKEN, "--source-token", TOKEN)
        status, out, err = run(*words)
        assert status == 1 and f"no playhead server answers at {serving.url}" in err
        assert out.startswith("broken off: 10 of 20 events")
        assert [event.data["n"] for event in held(server)] == list(range(10))


def test_what_a_server_refuses_is_counted(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    """A client knows how many of its events never arrive, and how many did."""
    with ph.connect(server.url) as client:
        assert isinstance(client, RemoteClient)
        good, bad = (NewEvent(uuid7(), kind, START, None, None, None, None, {}) for kind in ("good", "Not A Type"))
        client.put([good, bad, bad])
        assert client.flush(10)
        assert (client.taken, client.lost, server.recording.head) == (1, 2, 1)
    assert "was refused" in caplog.text


# the pace, without a clock


def placed(seconds: list[float], *options: float) -> list[tuple[float, float]]:
    pace = Pace(*options)
    return [tuple(round(one, 6) for one in pace.place(at(second))) for second in seconds]  # type: ignore[misc]


def test_the_pace_is_the_recordings_divided_by_the_speed() -> None:
    """An event is due when its timestamp says; one that runs backwards at once, and it bears the time that it has."""
    assert placed([5, 5, 65, 35, 64, 65, 185], 60) == [(0, 0), (0, 0), (1, 1), (1, 0.5), (1, 0.983333), (1, 1), (3, 3)]
    assert placed([0, 1], 0.1) == [(0, 0), (10, 10)]
    assert placed([0, -60, 60], 60) == [(0, 0), (0, -1), (1, 1)]


def test_long_pauses_are_cut_short() -> None:
    """To what is asked for, out of the times too, also of events that come late."""
    seconds = [0, 60, 660, 720, 30, 61, 659, 700]
    assert placed(seconds, 60, 2) == [(0, 0), (1, 1), (3, 3), (4, 4), (4, 0.5), (4, 1.016667), (4, 3), (4, 3.666667)]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.sampled_from([0.1, 1, 60, 1e4]),
    st.none() | st.floats(0.001, 100),
)  # fmt: skip
def test_what_every_pace_keeps(seconds: list[float], speed: float, most: float | None) -> None:
    """What is due never falls, no pause is longer than asked for, and times stay in their order."""
    pace = Pace(speed, most)
    places = [pace.place(at(second)) for second in seconds]
    for before, after in pairwise(places):
        assert 0 <= after.due_s - before.due_s <= (most or 1e9) + 1e-6
    assert all(place.bears_s <= place.due_s for place in places)
    order = sorted(range(len(seconds)), key=lambda place: at(seconds[place]))
    assert all(places[a].bears_s <= places[b].bears_s + 1e-6 for a, b in pairwise(order) if places[a].bears_s >= 0)


def test_cuts_without_number_are_forgotten_but_for_the_newest() -> None:
    """A pace holds no more for a long recording than for a short one."""
    pace = Pace(1, 0.001)
    for second in range(5000):
        assert pace.place(at(second)).due_s == pytest.approx(second / 1000)
    assert len(pace._cuts) <= 1001
    assert pace.place(at(4800)).bears_s == pytest.approx(4.8)


class Time:
    """A clock that only waiting moves."""

    def __init__(self, costs_s: float = 0.0) -> None:
        self.now_s, self.waits, self._costs_s = 0.0, 0, costs_s

    def elapsed(self) -> float:
        self.now_s += self._costs_s
        return self.now_s

    def wait(self, seconds: float) -> bool:
        self.now_s += min(seconds, 0.1)
        self.waits += 1
        return False


def event_at(seconds: float) -> Event:
    return Event(1, "", "a", at(seconds), None, None, None, None, {}, START)


@pytest.mark.parametrize("speed", [1, 60, 1000])
def test_what_is_due_goes_together(speed: float) -> None:
    """A dense recording costs a wait a tick and not one an event; none is early, and none late by more than a tick."""
    time = Time()
    events = [event_at(n / 500) for n in range(20_000)]
    seen: list[Event] = []
    groups = 0
    for group in due([events[:5], events[5:]], Pace(speed), time.elapsed, time.wait):
        groups += 1
        for event, bears_s in group:
            assert -1e-9 <= time.now_s - bears_s <= TICK_S + 1e-9
            assert bears_s == pytest.approx((event.timestamp - START).total_seconds() / speed)
        seen += [event for event, _ in group]
    assert seen == events
    lasts_s = 40 / speed
    assert groups <= lasts_s / TICK_S + 22 and time.waits <= lasts_s / TICK_S + 1


def test_a_replay_that_is_slower_than_its_pace_catches_up() -> None:
    """Groups grow to a limit, nothing is waited for, and the times stay those of the pace."""
    time = Time(costs_s=0.001)
    groups = list(due([[event_at(n / 10) for n in range(10_000)]], Pace(1000), time.elapsed, time.wait))
    assert max(map(len, groups)) == 1000 and time.waits < 5
    assert groups[-1][-1][1] == pytest.approx(0.9999)


def test_a_wait_can_end_it() -> None:
    """What was due is given, and nothing after it."""
    time = Time()
    found = list(due([[event_at(0), event_at(0), event_at(60)]], Pace(1), time.elapsed, lambda seconds: True))
    assert [len(group) for group in found] == [2]
