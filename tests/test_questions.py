"""Questions to a query: the answers that a frame of its events gives, wherever they are; and a frame that goes on live."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import playhead as ph
from playhead import frames
from playhead.recording import Recording
from playhead_server.server import Running
from tests.conftest import TOKEN
from tests.test_frames import LIFE

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
FILTERS: tuple[dict[str, Any], ...] = (
    {}, {"job_id": "j1"}, {"execution_id": ["e1", "e2"]}, {"batch_id": "b1"}, {"type": ["job_started", "job_failed"]},
    {"since": EPOCH + timedelta(seconds=20)}, {"until": EPOCH + timedelta(seconds=50), "job_id": ["j1", "j2"]},
    {"at": EPOCH + timedelta(seconds=40)}, {"limit": 7}, {"limit": 0},
)  # fmt: skip
MOMENT = EPOCH + timedelta(seconds=45)
QUESTIONS: dict[str, tuple[Any, ...]] = {
    "executions": (), "state_at": (MOMENT,), "batches": (), "concurrency": (), "throughput": ("10s",), "durations": ("state",),
    "steps": (), "retries": (), "errors": (), "stalled": ("5s",), "critical_path": (), "event_log": (),
}  # fmt: skip


def check(client: ph.Client, filters: dict[str, Any]) -> None:
    """Every question to the query gives what it gives to the frame."""
    query = client.events(**filters)
    frame = query.to_pandas()
    for name, words in QUESTIONS.items():
        asked, expected = getattr(query, name)(*words), getattr(frames, name)(frame, *words)
        pd.testing.assert_frame_equal(plain(asked), plain(expected), obj=f"{name} of {filters}")
    made = query.executions()
    assert (made.attrs["playhead"]["cursor"], made.attrs["playhead"]["count"]) == (frame.attrs["playhead"]["cursor"], len(made))
    for other in (query, frame):
        pd.testing.assert_frame_equal(plain(query.compare(other, "job_id")), plain(frames.compare(frame, frame, "job_id")))


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """With categories as text: which there are depends on what there is."""
    found = frame.astype({name: "str" for name in frame.columns if isinstance(frame[name].dtype, pd.CategoricalDtype)})
    found.attrs = {}
    return found


@settings(max_examples=15, deadline=None)
@given(life=LIFE, filters=st.sampled_from(FILTERS))
def test_a_recording_answers_as_its_frame_does(
    tmp_path_factory: pytest.TempPathFactory, life: list[dict[str, Any]], filters: dict[str, Any]
) -> None:
    """Random lives, each kind of filter, each question."""
    path = tmp_path_factory.mktemp("questions") / "a.playhead"
    with Recording.open(path) as recording:
        recording.append(life)
    with ph.connect(path) as client:
        check(client, filters)


def lived(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Events of a busy minute and a half."""
    luck = random.Random(seed)
    kinds = ["job_queued", "job_started", "job_progress", "job_progress", "job_completed", "job_failed", "other"]
    for n in range(count):
        data = {"currentStep": luck.choice("abc"), "siteName": luck.choice("xy"), "error": f"no row {luck.randrange(9)}"}
        yield {
            "type": luck.choice(kinds), "timestamp": EPOCH + timedelta(seconds=90 * n / count), "data": data,
            "jobId": f"j{luck.randrange(30)}", "executionId": luck.choice(["e1", "é"]), "batchId": luck.choice(["b1", "b2"]),
        }  # fmt: skip


async def test_a_server_answers_as_its_frame_does(server: Running) -> None:
    """Each kind of filter, each question, and the same awaited."""
    with ph.connect(server.url, token=TOKEN) as client:
        client.publish(list(lived(1, 600)))
        assert client.flush(20)
        for filters in FILTERS:
            check(client, filters)
        frame = client.events().to_pandas()
    async with ph.AsyncClient(server.url, token=TOKEN) as later:
        query = later.events()
        for name, words in QUESTIONS.items():
            pd.testing.assert_frame_equal(
                plain(await getattr(query, name)(*words)), plain(getattr(frames, name)(frame, *words)), obj=name
            )
        compared = await query.compare(later.events(), "job_id")
        pd.testing.assert_frame_equal(plain(compared), plain(frames.compare(frame, frame, "job_id")))


@pytest.mark.parametrize(("where", "times"), [("server", 300), ("recording", 700)])
def test_a_frame_goes_on_live(server: Running, tmp_path: Path, where: str, times: int) -> None:
    """A frame, then `follow` from its cursor, while three publish: together they are the log, in 1,000 random interleavings."""
    luck, over, seen = random.Random(7), threading.Event(), []
    with ph.connect(server.url, token=TOKEN) if where == "server" else ph.connect(tmp_path / "a.playhead") as client:

        def publish(number: int) -> None:
            while not over.is_set():
                client.publish([{"type": luck.choice("ab"), "jobId": f"j{number}"}] * luck.randrange(1, 4))
                over.wait(luck.random() / 50)

        publishers = [threading.Thread(target=publish, args=(number,)) for number in range(3)]
        for one in publishers:
            one.start()
        try:
            for _ in range(times):
                filters = luck.choice([{}, {}, {"job_id": "j0"}, {"type": "b"}])
                frame = client.events(**filters).to_pandas()
                with client.follow(after=frame.attrs["playhead"]["cursor"], **filters) as follow:
                    live = [event.seq for event, _ in zip(follow, range(luck.randrange(1, 4)), strict=False)]
                seen.append((filters, frame["seq"].tolist() + live))
        finally:
            over.set()
            for one in publishers:
                one.join()
        assert client.flush(20)
        for filters, seqs in seen:
            log = client.events(**filters, limit=len(seqs)).to_arrow()["seq"].to_pylist()
            assert log == seqs
