"""The live feed by itself: whoever reads, however slowly, gets each event that it wants once and in order."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.events import Event, Filter, uuid7
from playhead.recording import Recording
from playhead.times import now
from playhead_server import fanout as fanout_module
from playhead_server import groups as groups_module
from playhead_server.channels import Channels
from playhead_server.fanout import Fanout, Reader
from playhead_server.line import Line
from playhead_server.subscription import Subscription

NAMES = ("a", "b", "c")
TYPES = ("job_started", "job_progress", "job_failed")
names = st.lists(st.sampled_from(NAMES), max_size=2).map(lambda found: tuple(sorted(set(found))))
filters = st.builds(
    Filter, execution_id=names, batch_id=names, job_id=names,
    type=st.lists(st.sampled_from(TYPES), max_size=2).map(lambda found: tuple(sorted(set(found)))),
    organization_id=st.none() | st.sampled_from(NAMES),
)  # fmt: skip
name = st.none() | st.sampled_from(NAMES)
events = st.fixed_dictionaries({"type": st.sampled_from(TYPES), "executionId": name, "batchId": name, "jobId": name})


class Wanting:
    def __init__(self, where: Filter) -> None:
        self.where = where


def event_of(fields: dict[str, Any], owner: str | None) -> Event:
    moment = now()
    return Event(
        1, uuid7(), fields["type"], moment, fields["executionId"], fields["batchId"], fields["jobId"], owner, {}, moment, moment
    )


@given(st.lists(filters, max_size=12), st.lists(st.tuples(events, name), max_size=12), st.data())
def test_an_event_finds_the_groups_that_want_it(
    wanted: list[Filter], found: list[tuple[dict[str, Any], str | None]], data: st.DataObject
) -> None:
    """Those whose filter matches, each once, also after some have left."""
    channels = Channels[Wanting]()
    groups = [Wanting(where) for where in wanted]
    for group in groups:
        channels.add(group)
    for group in data.draw(st.lists(st.sampled_from(groups), unique=True) if groups else st.just([])):
        channels.remove(group)
        groups.remove(group)
    for fields, owner in found:
        event = event_of(fields, owner)
        told = list(channels.of(event))
        assert len(told) == len(set(told))
        assert set(told) == {group for group in groups if group.where.matches(event)}


class Client:
    """A client's side of a subscription, by the rule of the wire; ``is_slow`` has its line take nothing."""

    def __init__(self, fanout: Fanout, where: Filter, after: int) -> None:
        self.where, self.after, self.cursor = where, after, after
        self.seqs: list[int] = []
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.tasks: list[asyncio.Task[None]] = []
        self.errors: list[Exception] = []
        self._line = Line(self._send, is_compressed=False, limit_s=20, when_broken=self.errors.append)
        self.subscription = Subscription("s", Reader(fanout, where, after), self._line, "e", self._spawn, lambda _: None)
        self.subscription.begin()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    def turn(self) -> None:
        """Slow from now on, or not any more."""
        if self._may_write.is_set():
            self._may_write.clear()
        else:
            self._may_write.set()

    def heartbeat(self) -> None:
        """It moves the client on, too, if it gets through."""
        at = self.subscription.settle()
        if self._line.push(self._line.message(json.dumps({"op": "heartbeat", "at": f"e:{at}"}).encode())):
            self.subscription.tell(at)

    async def _send(self, message: Any) -> None:
        await self._may_write.wait()
        said = json.loads(message["text"])
        if said["op"] == "events":
            start, to = (int(said[name].partition(":")[2]) for name in ("from", "to"))
            seqs = [event["seq"] for event in said["events"]]
            assert start <= self.cursor, f"from {start} at {self.cursor}"
            assert all(self.cursor < seq <= to for seq in seqs), f"{seqs} up to {to} at {self.cursor}"
            self.seqs += seqs
            self.cursor = max(self.cursor, to)
        else:
            assert said["op"] in ("caught_up", "heartbeat")
            self.cursor = max(self.cursor, int(said["at"].partition(":")[2]))

    async def end(self, head: int, latest: int) -> None:
        """Let it read to the end."""
        self._may_write.set()
        async with asyncio.timeout(20):
            while not self.errors and self.cursor < latest:
                await asyncio.sleep(0.001)
        assert not self.errors, self.errors
        self.subscription.close()
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.result()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        assert self.cursor <= max(head, self.after)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A ring and messages that a few events fill, and a pause in which much happens."""
    monkeypatch.setattr(fanout_module, "_RING_EVENTS", 60)
    monkeypatch.setattr(fanout_module, "CHUNK", 10)
    monkeypatch.setattr(groups_module, "CHUNK", 10)
    monkeypatch.setattr(fanout_module, "_LEAST_PAUSE_S", 0.01)
    yield


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_every_reader_gets_every_event_once(seed: int) -> None:
    """Handed over or asked for, from the ring or the recording, with lines that stop, and when the ring loses some."""
    asyncio.run(_play(random.Random(seed)))


async def _play(chance: random.Random) -> None:
    some = [Filter(), Filter(type=("job_failed",)), Filter(job_id=("a",)), Filter(batch_id=("a", "b"), type=("job_started",))]
    with tempfile.TemporaryDirectory() as folder, Recording.open(Path(folder) / "a.playhead") as recording:
        fanout = Fanout(recording)
        clients: list[Client] = []
        for _ in range(chance.randrange(20, 120)):
            what = chance.random()
            if what < 0.4:
                count = chance.choice((1, 1, 3, 30))
                await asyncio.to_thread(recording.append, [
                    {"type": chance.choice(TYPES), **{name: chance.choice((None, *NAMES)) for name in ("jobId", "batchId")}}
                    for _ in range(count)
                ])  # fmt: skip
            elif what < 0.6:
                clients.append(Client(fanout, chance.choice(some), int(fanout.head * chance.choice((0, 0.3, 0.9, 1, 1, 1.1)))))
            elif what < 0.75 and clients:
                chance.choice(clients).turn()
            elif what < 0.85 and clients:
                chance.choice(clients).heartbeat()
            elif what < 0.98:
                await asyncio.sleep(chance.choice((0, 0.001, 0.005, 0.02)))
            else:
                fanout.lose()
        log = recording.read(limit=None)
        for client in clients:
            wanted = [event.seq for event in log if event.seq > client.after and client.where.matches(event)]
            await client.end(recording.head, max(wanted, default=0))
            assert client.seqs == wanted
        assert fanout.readers == 0
        fanout.close()
