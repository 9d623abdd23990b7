"""
One server and its clients for long: lines that break, a server that is killed, a job that is killed while the server is away.

    python -m tests.endurance [--reconnects 400] [--kills 5] [--rate 5000] [--away 60]

The long form of what `test_follow` and `test_publish` show in seconds: every reader has every event once and in order, and what
a job published while the server was away arrives exactly once, though the job was killed.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import playhead as ph
from playhead.client.status import ConnectionState
from playhead.events import Event
from tests.conftest import TOKEN, process, wait_for
from tests.line import line

_JOB = """
import os, time, playhead as ph
client = ph.connect({url!r}, token={token!r})
begun, n = time.monotonic(), 0
while time.monotonic() - begun < {seconds}:
    client.publish({{"type": "job_log", "jobId": "j", "data": {{"n": n}}}})
    n += 1
    time.sleep(max(0.0, begun + n / {rate} - time.monotonic()))
time.sleep(1.5)
print(n, flush=True)
os.kill(os.getpid(), 9)
"""


class Reader:
    """A client that follows everything; ``wrong`` is the first event that was not the next one."""

    def __init__(self, url: str) -> None:
        self.count, self.reconnects, self.wrong = 0, 0, ""
        self._state = "reconnecting"
        self.client = ph.connect(url, token=TOKEN)
        self.client.watch(on_events=self._take, on_status=self._told, after="start")

    def _take(self, events: list[Event], cursor: str) -> None:
        for event in events:
            self.count += 1
            if event.seq != self.count and not self.wrong:
                self.wrong = f"{event.seq} after {self.count - 1}"

    def _told(self, state: ConnectionState) -> None:
        self.reconnects += state.state == "connected" and self._state != "connected"
        self._state = state.state


def breaking(folder: Path, reconnects: int, kills: int, rate: float, seed: int) -> str:
    """Eight readers and a publisher through a line that breaks at random bytes, and a server that is killed."""
    with process(folder / "log.playhead", stderr=subprocess.DEVNULL) as server, line(server.url, seed=seed) as through:
        through.bytes_until_cut = 400_000
        readers = [Reader(through.url) for _ in range(8)]
        chance, killed, sent = random.Random(seed), 0, 0
        with ph.connect(server.url, token=TOKEN) as publisher:
            begun = time.monotonic()
            while sum(one.reconnects for one in readers) < reconnects or killed < kills:
                publisher.publish([{"type": "job_log", "jobId": f"j{n % 9}", "data": {"n": sent + n}} for n in range(50)])
                sent += 50
                time.sleep(max(0.0, begun + sent / rate - time.monotonic()))
                if sum(one.reconnects for one in readers) > reconnects * (killed + chance.random()) / kills and killed < kills:
                    server.kill()
                    server.start()
                    killed += 1
            took_s = time.monotonic() - begun
            assert publisher.flush(60)
            through.bytes_until_cut = None
            through.cut()
            wait_for(lambda: all(one.count >= sent for one in readers), 120)
            numbers = publisher.events().to_pandas()["data"].str.extract(r'"n":(\d+)')[0].astype(int).tolist()
        assert numbers == list(range(sent)), f"seed {seed}: the log is not what was published"
        for one in readers:
            assert not one.wrong and one.count == sent, f"seed {seed}: {one.wrong or one.count}"
            one.client.close()
        return (
            f"seed {seed}: {sent:,} events in {took_s:.0f} s, {killed} kills, {sum(one.reconnects for one in readers)} "
            f"connections of {len(readers)} readers, {through.cuts} cuts: each event once, in order"
        )


def away(folder: Path, seconds: float, rate: float) -> str:
    """The server away, a job that publishes meanwhile and is killed, and a new one."""
    with process(folder / "away.playhead", stderr=subprocess.DEVNULL) as server:
        server.kill()
        code = _JOB.format(url=server.url, token=TOKEN, seconds=seconds, rate=rate)
        env = os.environ | {"PLAYHEAD_SPILL_DIR": str(folder / "spill")}
        said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=seconds + 60)
        count = int(said.stdout)
        server.start()
        os.environ["PLAYHEAD_SPILL_DIR"] = str(folder / "spill")
        with ph.connect(server.url, token=TOKEN) as client:
            client.publish({"type": "job_log", "jobId": "j", "data": {"n": count}})
            assert client.flush(60)
            wait_for(lambda: client.events().count() > count)
            numbers = [event.data["n"] for event in client.events()]
        assert numbers == list(range(count + 1)), f"{len(numbers)} of {count + 1}"
        return f"{count:,} events at {rate:g}/s, the server away for {seconds:g} s, the job killed: each once, in order"


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reconnects", type=int, default=400)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--away", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PLAYHEAD_RUNTIME_DIR"] = folder
        print(breaking(Path(folder), args.reconnects, args.kills, args.rate, args.seed), flush=True)
        print(away(Path(folder), args.away, 1000), flush=True)


if __name__ == "__main__":
    main()
